/* pack_write.c - the members at work as a pack file, with settings that were found for them. Reading one is
 * apps/common/packfile.c. */
#define _XOPEN_SOURCE 700 /* realpath */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "common/cache.h"
#include "common/number.h"

/* Only what an INI file gives back as it is. */
static bool writable(const char *text) {
    size_t n = strlen(text);
    return n > 0 && strpbrk(text, "\r\n;#]") == NULL && strchr(" \t\"", text[0]) == NULL &&
           strchr(" \t", text[n - 1]) == NULL;
}

static bool add_setting(struct buf *out, const char *key, const char *value) {
    return value == NULL || (writable(value) && buf_printf(out, "%s = %s\n", key, value));
}

static bool add_number(struct buf *out, const char *key, double value, double usual) {
    return value == usual || buf_printf(out, "%s = %.7g\n", key, value);
}

/* A file by its name in the cache, or else by its whole path. */
static bool add_model(const struct cli *cli, const struct spec *spec, struct buf *out) {
    struct buf path;
    buf_init(&path, 1 << 16);
    bool named = cache_find(cli->folder.data, spec->name, &path) == CACHE_HERE &&
                 strcmp(path.data, spec->path) == 0;
    char *whole = named ? NULL : realpath(spec->path, NULL);
    bool fine = add_setting(out, "model", named ? spec->name : whole != NULL ? whole : spec->path);
    free(whole); /* realpath's */
    buf_done(&path);
    return fine;
}

static bool add_file(struct buf *out, const char *key, const char *path, double scale) {
    char number[NUMBER_TEXT];
    if (path == NULL) {
        return true;
    }
    char *whole = realpath(path, NULL);
    number_shortest(number, scale);
    bool fine = whole != NULL && writable(whole) && buf_printf(out, "%s = %s", key, whole) &&
                (scale == 1 || buf_printf(out, ":%s", number)) && buf_add_text(out, "\n");
    free(whole);
    return fine;
}

static bool add_member(const struct work *work, const struct pack_settings *p, size_t i,
                       struct buf *out) {
    const struct spec *spec = &work->specs[i];
    const struct packllm_member_spec *m = &spec->member;
    return writable(spec->name) && buf_printf(out, "\n[%s]\n", spec->name) &&
           add_model(work->cli, spec, out) && add_file(out, "lora", spec->lora, m->lora_scale) &&
           add_file(out, "domain", spec->domain, 1) &&
           add_setting(out, "chat-template", spec->chat_template) &&
           add_number(out, "cap", m->cap, 1) && add_number(out, "c", (double)m->n_ctx, 0) &&
           add_number(out, "ngl", (double)m->n_gpu_layers, -1) &&
           add_number(out, "threads", (double)m->n_threads, 0) &&
           add_number(out, "prior", p->prior[i] * (double)work->n, -1) &&
           add_number(out, "temperature", p->temperature[i], 1);
}

int work_write_pack(const struct work *work, const char *path, const struct pack_settings *p) {
    struct output_file file;
    struct buf out;
    buf_init(&out, 1 << 24);
    bool fine = buf_printf(&out, "# %s\nshrink = %.7g\n", p->comment, p->shrink);
    size_t i = 0;
    while (i < work->n && fine) {
        fine = add_member(work, p, i, &out);
        i += fine;
    }
    int code = EXIT_FINE;
    if (!fine) {
        code = ui_fail(work->cli, EXIT_WORK,
                       "member '%s': its name, or a path of its files, cannot stand in a pack file",
                       work->specs[i < work->n ? i : 0].name);
    }
    code = code == EXIT_FINE ? output_file_open(work->cli, &file, path) : code;
    if (code == EXIT_FINE) {
        bool whole = fwrite(out.data, 1, out.size, file.stream) == out.size;
        code = output_file_close(work->cli, &file, whole);
        code = whole || code != EXIT_FINE
                   ? code
                   : ui_fail(work->cli, EXIT_WORK, "cannot write '%s'", path);
    }
    buf_done(&out);
    return code;
}
