/* log.c - one line a request on stderr: who asked for what, how it went; never what was said. */
#include <stdio.h>
#include <time.h>

#include "common/tty.h"
#include "server/private.h"

void log_request(const struct serve *serve, const char *id, const char *method, const char *path,
                 int status, double seconds, struct job *job) {
    struct buf line, safe;
    uint64_t prompt_tokens = 0, tokens = 0;
    if (serve->config.quiet) {
        return;
    }
    if (job != NULL) { /* it may still be at work, if the client has left */
        (void)pthread_mutex_lock(&job->lock);
        for (size_t i = 0; i < job->n_choices; i++) {
            prompt_tokens += job->choices[i].prompt_tokens;
            tokens += job->choices[i].tokens;
        }
        (void)pthread_mutex_unlock(&job->lock);
    }
    buf_init(&line, 1 << 16);
    buf_init(&safe, 1 << 12); /* a longer path is cut */
    size_t size = 0;
    while (path[size] != '\0' && size < 256) {
        size++;
    }
    tty_safe(&safe, path, size, true);
    const char *shown = safe.data != NULL ? safe.data : "";
    const char *model = job != NULL && job->model != NULL ? job->model->name : NULL;
    char when[32] = "";
    struct tm tm;
    time_t now = time(NULL);
    if (gmtime_r(&now, &tm) != NULL) {
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    }
    if (serve->config.log_json) {
        struct json json;
        json_init(&json, &line);
        json_begin_object(&json);
        json_key_text(&json, "time", when);
        json_key_text(&json, "level", status >= 500 ? "error" : status >= 400 ? "warn" : "info");
        json_key_text(&json, "message", "request");
        json_key_text(&json, "request_id", id);
        json_key_text(&json, "method", method);
        json_key_text(&json, "path", shown);
        json_key_uint(&json, "status", (uint64_t)status);
        json_key_double(&json, "seconds", seconds);
        json_key_text(&json, "model", model);
        json_key_uint(&json, "prompt_tokens", prompt_tokens);
        json_key_uint(&json, "completion_tokens", tokens);
        json_end_object(&json);
        (void)buf_add_text(&line, "\n");
    } else {
        (void)buf_printf(&line, "%s %s %s %s %d %.3fs", when, id, method, shown, status, seconds);
        if (model != NULL) {
            (void)buf_printf(&line, " model=%s tokens=%llu+%llu", model,
                             (unsigned long long)prompt_tokens, (unsigned long long)tokens);
        }
        (void)buf_add_text(&line, "\n");
    }
    if (line.data != NULL) {
        (void)fwrite(line.data, 1, line.size, stderr);
        (void)fflush(stderr);
    }
    buf_done(&line);
    buf_done(&safe);
}
