/* input.c - the text: -p, -f, "-" or a pipe; every byte as it stands, up to a ceiling. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "cli.h"

static int read_all(struct cli *cli, int fd, const char *name, struct buf *out) {
    char chunk[1 << 16];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n == 0) { /* Ctrl-C ends who feeds a pipe, too, so its end may be all that is seen */
            return stop_asked() ? stop_exit() : EXIT_FINE;
        }
        if (n < 0) {
            if (stop_asked()) {
                return stop_exit();
            }
            if (errno == EINTR) {
                continue;
            }
            return ui_fail(cli, EXIT_WORK, "cannot read %s: %s", name, strerror(errno));
        }
        if (!buf_add(out, chunk, (size_t)n)) {
            return ui_fail(cli, EXIT_WORK, "%s is longer than %zu MiB, the most it may have", name,
                           out->ceiling >> 20);
        }
    }
}

int input_file(struct cli *cli, const char *path, struct buf *out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR && !stop_asked()) { /* a pipe that nobody writes to waits */
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0) {
        return stop_asked()
                   ? stop_exit()
                   : ui_fail(cli, EXIT_WORK, "cannot open '%s': %s", path, strerror(errno));
    }
    struct stat st;
    int code;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        code = ui_fail(cli, EXIT_WORK, "'%s' is a directory, not a file of text", path);
    } else {
        char name[512];
        (void)snprintf(name, sizeof name, "'%s'", path);
        code = read_all(cli, fd, name, out);
    }
    (void)close(fd);
    return code;
}

static bool from_stdin(const struct cli *cli) {
    return cli->args.n_operands == 1 && strcmp(cli->args.operands[0], "-") == 0;
}

/* --lossy: U+FFFD for what is no character. */
static int repair(struct cli *cli, struct buf *text) {
    size_t size = 0, good = utf8_check(text->data, text->size);
    char *out = alloc_array(text->size, 3);
    if (out == NULL) {
        return ui_fail(cli, EXIT_WORK, "no memory to repair a prompt of %zu bytes", text->size);
    }
    cli->replaced = utf8_repair(text->data, text->size, out, &size);
    ui_warn(cli,
            "the prompt is not valid UTF-8 (first at offset %zu of %zu): U+FFFD stands in %zu "
            "place%s",
            good, text->size, cli->replaced, cli->replaced == 1 ? "" : "s");
    buf_cut(text, 0);
    bool fits = buf_add(text, out, size);
    base_free(out);
    return fits ? EXIT_FINE
                : ui_fail(cli, EXIT_WORK,
                          "the repaired prompt is longer than %zu MiB, the most it "
                          "may have",
                          text->ceiling >> 20);
}

/* Found here before models are loaded, so that the word comes at once. */
static int check(struct cli *cli, struct buf *text) {
    if (text->size == 0) {
        return ui_fail(cli, EXIT_WORK,
                       "the prompt is empty: give one with -p or -f, or through a pipe");
    }
    size_t good = utf8_check(text->data, text->size);
    if (good < text->size && opt_set(&cli->args, OPT_LOSSY)) {
        return repair(cli, text);
    }
    if (text->size >= 3 && memcmp(text->data, "\xef\xbb\xbf", 3) == 0) {
        ui_warn(cli, "the prompt begins with a byte-order mark, which is read as text; take it out "
                     "if it does not belong there");
    }
    if (good < text->size) {
        return ui_fail(cli, EXIT_WORK,
                       "the prompt is not valid UTF-8: byte 0x%02x at offset %zu of %zu; --lossy "
                       "reads U+FFFD in its place",
                       (unsigned)(unsigned char)text->data[good], good, text->size);
    }
    return EXIT_FINE;
}

void input_json(struct json *json, const struct cli *cli) {
    if (opt_set(&cli->args, OPT_LOSSY)) {
        json_key_uint(json, "replaced", cli->replaced);
    }
}

int input_read(struct cli *cli, struct buf *out) {
    const struct args_value *prompt = &cli->args.values[OPT_PROMPT];
    const struct args_value *file = &cli->args.values[OPT_FILE];
    int code = EXIT_FINE;
    if (cli->args.n_operands == 1 && !from_stdin(cli)) {
        return ui_fail(cli, EXIT_USE,
                       "unexpected argument '%s'; a text is given with -p TEXT or -f FILE",
                       cli->args.operands[0]);
    }
    int flags = (prompt->set && prompt->source == ARGS_FLAGS ? 1 : 0) +
                (file->set && file->source == ARGS_FLAGS ? 1 : 0) + (from_stdin(cli) ? 1 : 0);
    if (flags > 1) {
        return ui_fail(cli, EXIT_USE, "only one of -p, -f and - can give the text");
    }
    bool by_flag = flags == 1; /* which beats the environment */
    if (from_stdin(cli)) {
        code = read_all(cli, STDIN_FILENO, "standard input", out);
    } else if (file->set && (!by_flag || file->source == ARGS_FLAGS)) {
        code = strcmp(file->text, "-") == 0 ? read_all(cli, STDIN_FILENO, "standard input", out)
                                            : input_file(cli, file->text, out);
    } else if (prompt->set) {
        if (!buf_add_text(out, prompt->text)) {
            code = ui_fail(cli, EXIT_WORK, "the prompt is too long");
        }
    } else if (isatty(STDIN_FILENO) == 1) {
        return ui_fail(cli, EXIT_USE, "no prompt: give -p TEXT or -f FILE, or pipe one in");
    } else {
        code = read_all(cli, STDIN_FILENO, "standard input", out);
    }
    return code == EXIT_FINE ? check(cli, out) : code;
}
