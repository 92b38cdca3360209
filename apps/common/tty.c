/* tty.c - see tty.h. No terminal mode is ever changed, so none has to be restored. */
#include "common/tty.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/utf8.h"
#include "common/number.h"

#define REPLACEMENT "\xef\xbf\xbd"

bool tty_is(int fd) {
    const char *term = getenv("TERM");
    return isatty(fd) == 1 && term != NULL && strcmp(term, "dumb") != 0;
}

size_t tty_width(int fd) {
    int64_t columns = 0;
    const char *text = getenv("COLUMNS");
    if (text == NULL || number_int(text, &columns) != NUMBER_OK || columns <= 0) {
        struct winsize size = {0};
        columns = ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    }
    return columns < 40 ? 40 : columns > 200 ? 200 : (size_t)columns;
}

bool tty_colour(int fd) {
    const char *none = getenv("NO_COLOR");
    return tty_is(fd) && (none == NULL || *none == '\0');
}

bool tty_blocks(void) {
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value != NULL && *value != '\0') {
            return strstr(value, "UTF-8") != NULL || strstr(value, "utf8") != NULL ||
                   strstr(value, "utf-8") != NULL;
        }
    }
    return false;
}

void tty_bar(struct buf *out, double share, size_t width, bool colour) {
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    share = share > 0 ? (share < 1 ? share : 1) : 0; /* NaN -> 0 */
    bool blocks = tty_blocks();
    size_t parts = (size_t)(share * (double)width * 8 + 0.5);
    size_t whole = parts / 8, rest = parts % 8;
    if (!blocks) {
        whole += rest >= 4 ? 1 : 0;
        rest = 0;
    }
    (void)buf_add_text(out, colour ? "\033[36m" : "");
    for (size_t i = 0; i < whole; i++) {
        (void)buf_add_text(out, blocks ? "█" : "#");
    }
    (void)buf_add_text(out, eighths[rest]);
    (void)buf_add_text(out, colour ? "\033[0m" : "");
    (void)buf_printf(out, "%*s", (int)(width - whole - (rest > 0 ? 1 : 0)), "");
}

/* Bytes of the control character at text, 0 if it is none: C0, DEL, and C1 (U+0080..U+009F). */
static size_t control(const char *text, size_t size, bool one_line) {
    unsigned char c = (unsigned char)text[0];
    if (c == 0xc2 && size > 1 && (unsigned char)text[1] < 0xa0) {
        return 2;
    }
    bool space = c == '\n' || c == '\t';
    return c == 0x7f || (c < 0x20 && (one_line || !space)) ? 1 : 0;
}

void tty_safe(struct buf *out, const char *text, size_t size, bool one_line) {
    size_t good = utf8_check(text, size), start = 0;
    for (size_t i = 0; i < size;) {
        size_t bad = i < good ? control(text + i, size - i, one_line) : 1;
        if (bad == 0) {
            i++;
            continue;
        }
        (void)buf_add(out, text + start, i - start);
        (void)buf_add_text(out, REPLACEMENT);
        if (i >= good) {
            good = i + 1 + utf8_check(text + i + 1, size - i - 1);
        }
        i += bad;
        start = i;
    }
    (void)buf_add(out, text + start, size - start);
}

size_t tty_columns(const char *text, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        n += ((unsigned char)text[i] & 0xc0) != 0x80 ? 1 : 0;
    }
    return n;
}

void tty_pad(struct buf *out, const char *text, size_t width) {
    struct buf safe;
    buf_init(&safe, 1 << 16);
    tty_safe(&safe, text, strlen(text), true);
    size_t size = safe.size, columns = tty_columns(safe.data != NULL ? safe.data : "", size);
    bool cut = columns > width;
    while (cut && columns > width - 1 && size > 0) {
        size--;
        while (size > 0 && ((unsigned char)safe.data[size] & 0xc0) == 0x80) {
            size--;
        }
        columns--;
    }
    (void)buf_add(out, safe.data, size);
    if (cut) {
        (void)buf_add_text(out, "…");
        columns++;
    }
    (void)buf_printf(out, "%*s", (int)(width - columns), "");
    buf_done(&safe);
}

void tty_progress_init(struct tty_progress *progress, bool wanted) {
    *progress = (struct tty_progress){.on = wanted && tty_is(STDERR_FILENO), .last = -1};
}

void tty_progress_show(struct tty_progress *progress, const char *what, const char *name,
                       double share) {
    if (!progress->on) {
        return;
    }
    share = share > 0 ? (share < 1 ? share : 1) : 0;
    int now = (int)(share * 100) + 101 * (int)((unsigned char)name[0] + strlen(name));
    if (progress->shown && now == progress->last) {
        return;
    }
    struct buf line;
    buf_init(&line, 4096);
    (void)buf_printf(&line, "\r\033[K%s ", what);
    tty_pad(&line, name, 24);
    (void)buf_add_text(&line, " ");
    tty_bar(&line, share, 24, tty_colour(STDERR_FILENO));
    (void)buf_printf(&line, " %3.0f %%", share * 100);
    (void)fwrite(line.data, 1, line.size, stderr);
    (void)fflush(stderr);
    buf_done(&line);
    progress->shown = true;
    progress->last = now;
}

void tty_progress_clear(struct tty_progress *progress) {
    if (progress->shown) {
        (void)fputs("\r\033[K", stderr);
        (void)fflush(stderr);
        progress->shown = false;
    }
}
