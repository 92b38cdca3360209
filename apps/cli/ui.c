/* ui.c - the one door to stderr: plain lines, or with --log-json one JSON object a line. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void ui_line(struct cli *cli, enum ui_level level, const char *text) {
    struct buf line;
    buf_init(&line, 1 << 20);
    if (cli->log_json) {
        struct json json;
        json_init(&json, &line);
        json_begin_object(&json);
        json_key_text(&json, "level", level_names[level]);
        json_key_text(&json, "message", text);
        json_end_object(&json);
    } else {
        (void)buf_add_text(&line, level == UI_ERROR  ? "packllm: error: "
                                  : level == UI_WARN ? "packllm: warning: "
                                                     : "");
        (void)buf_add_text(&line, text);
    }
    (void)buf_add_text(&line, "\n");
    tty_progress_clear(&cli->progress);
    if (line.data != NULL) {
        (void)fwrite(line.data, 1, line.size, stderr);
        (void)fflush(stderr);
    }
    buf_done(&line);
}

/* What is not a line of our own making (paths, words of users) is made safe for a terminal. */
static void say(struct cli *cli, enum ui_level level, const char *text) {
    struct buf safe;
    buf_init(&safe, 1 << 16);
    tty_safe(&safe, text, strlen(text), true);
    ui_line(cli, level, safe.data != NULL ? safe.data : "");
    buf_done(&safe);
}

int ui_fail(struct cli *cli, int code, const char *format, ...) {
    char text[4096];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    say(cli, UI_ERROR, text);
    return code;
}

void ui_warn(struct cli *cli, const char *format, ...) {
    char text[4096];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    say(cli, UI_WARN, text);
}

int ui_status(struct cli *cli, enum packllm_status status, const struct packllm_error *err) {
    if (stop_asked()) {
        tty_progress_clear(&cli->progress);
        return stop_exit();
    }
    const char *text = err->message[0] != '\0' ? err->message : packllm_status_text(status);
    bool wrong_use = status == PACKLLM_E_ARG || status == PACKLLM_E_UNSUPPORTED;
    return ui_fail(cli, wrong_use ? EXIT_USE : EXIT_WORK, "%s", text);
}

void ui_lines(struct cli *cli, enum ui_level level, const struct buf *text) {
    for (const char *p = text->data; p != NULL && *p != '\0';) {
        const char *end = strchr(p, '\n');
        size_t size = end != NULL ? (size_t)(end - p) : strlen(p);
        struct buf line;
        buf_init(&line, 1 << 16);
        if (buf_add(&line, p, size)) {
            ui_line(cli, level, line.data);
        }
        buf_done(&line);
        p = end != NULL ? end + 1 : NULL;
    }
}
