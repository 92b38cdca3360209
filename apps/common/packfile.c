/* packfile.c - see packfile.h. The only file that includes inih's header. inih calls back for keys
 * only, so sections are counted here as lines go in: an empty or a second one must not get lost. */
#include "common/packfile.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/status.h"
#include "common/number.h"

enum { FILE_MAX = 1 << 20, MEMBERS_MAX = 4096 };

struct reader {
    const char *path;
    const char *text; /* what is left of the file */
    int line;
    struct spec *specs;
    struct packfile_settings settings;
    size_t n, room;
    bool skip_settings;
    struct packfile_config *config; /* where settings are wanted, and members are not */
    bool (*is_file)(const char *key);
    struct packllm_error *err;
    enum packllm_status status;
};

static enum packllm_status bad(struct reader *r, const char *what) {
    r->status = fail(r->err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "%s:%d: %s", r->path, r->line, what);
    return r->status;
}

static void begin_member(struct reader *r, const char *name, size_t size) {
    if (r->n == MEMBERS_MAX) {
        (void)bad(r, "there are more than 4096 members");
        return;
    }
    for (size_t i = 0; i < r->n; i++) {
        if (strlen(r->specs[i].name) == size && memcmp(r->specs[i].name, name, size) == 0) {
            char what[256];
            (void)snprintf(what, sizeof what, "there are two sections [%.*s]",
                           (int)(size < 128 ? size : 128), name);
            (void)bad(r, what);
            return;
        }
    }
    if (r->n == r->room) {
        size_t room = r->room * 2 + 16;
        struct spec *grown = alloc_resize(r->specs, room, sizeof *grown);
        if (grown == NULL) {
            r->status = fail_memory(r->err, room * sizeof *grown);
            return;
        }
        r->specs = grown;
        r->room = room;
    }
    struct spec *spec = &r->specs[r->n];
    *spec = (struct spec){.member = packllm_member_spec_default(), .name = alloc_text(name, size)};
    if (spec->name == NULL) {
        r->status = fail_memory(r->err, size);
        return;
    }
    r->n++;
}

static void see_line(struct reader *r, const char *line, size_t size) {
    size_t at = strspn(line, " \t");
    if (at >= size || line[at] != '[') {
        return;
    }
    const char *end = memchr(line + at, ']', size - at);
    if (end == NULL || end == line + at + 1) {
        (void)bad(r, "a section is [NAME]");
        return;
    }
    begin_member(r, line + at + 1, (size_t)(end - line) - at - 1);
}

/* fgets for inih; NULL ends the parse. */
static char *next_line(char *out, int room, void *data) {
    struct reader *r = data;
    size_t size = strcspn(r->text, "\n");
    if (*r->text == '\0' || r->status < 0) {
        return NULL;
    }
    r->line++;
    if (size + 2 > (size_t)room) {
        char what[64];
        (void)snprintf(what, sizeof what, "a line may have %d bytes, this one has %zu", room - 2,
                       size);
        (void)bad(r, what);
        return NULL;
    }
    memcpy(out, r->text, size);
    out[size] = '\n';
    out[size + 1] = '\0';
    see_line(r, out, size);
    r->text += size + (r->text[size] == '\n');
    return r->status < 0 ? NULL : out;
}

static bool is_path(const char *key) {
    return strcmp(key, "model") == 0 || strcmp(key, "lora") == 0 || strcmp(key, "domain") == 0;
}

/* The value as a path beside the pack file, where there is such a file. */
static void resolve(const struct reader *r, const char *value, struct buf *out) {
    const char *slash = strrchr(r->path, '/');
    struct stat st;
    if (*value != '/' && slash != NULL) {
        size_t size = strcspn(value, ":"); /* lora = FILE:SCALE */
        (void)buf_add(out, r->path, (size_t)(slash - r->path) + 1);
        (void)buf_add(out, value, size);
        if (!out->failed && stat(out->data, &st) == 0) {
            (void)buf_add_text(out, value + size);
            return;
        }
        buf_cut(out, 0);
    }
    (void)buf_add_text(out, value);
}

static enum packllm_status keep_setting(struct reader *r, const char *key, const char *value) {
    struct packfile_config *c = r->config;
    struct buf path;
    buf_init(&path, 1 << 16);
    if (r->is_file(key) && *value != '\0') {
        resolve(r, value, &path);
        value = path.data != NULL ? path.data : "";
    }
    struct packfile_setting *grown = alloc_resize(c->settings, c->n + 1, sizeof *grown);
    if (grown != NULL) {
        c->settings = grown;
        c->settings[c->n] = (struct packfile_setting){.key = alloc_text(key, strlen(key)),
                                                      .value = alloc_text(value, strlen(value)),
                                                      .line = r->line};
        c->n++;
    }
    bool fine = grown != NULL && !path.failed && grown[c->n - 1].key != NULL &&
                grown[c->n - 1].value != NULL;
    buf_done(&path);
    return fine ? PACKLLM_OK : fail_memory(r->err, strlen(value));
}

/* Before the first section: of the pack. */
static int on_pack_key(struct reader *r, const char *key, const char *value) {
    double number = 0;
    if (strcmp(key, "shrink") != 0) {
        (void)bad(r,
                  "settings stand in a section, [NAME] of the member; shrink alone, which is the "
                  "pack's, stands before them");
        return 0;
    }
    if (number_double(value, &number) != NUMBER_OK || !(number >= 0) || number > 1e9) {
        (void)bad(r, "shrink is a number from 0 to 1e9");
        return 0;
    }
    r->settings = (struct packfile_settings){.shrink_given = true, .shrink = number};
    return 1;
}

static int on_key(void *data, const char *section, const char *key, const char *value) {
    struct reader *r = data;
    char where[512];
    (void)snprintf(where, sizeof where, "%s:%d: [%s]", r->path, r->line, section);
    if (r->status < 0) {
        return 0;
    }
    if (r->config != NULL) {
        r->status = r->n == 0 ? keep_setting(r, key, value) : r->status;
        return r->status >= 0;
    }
    if (r->n == 0 && r->skip_settings) {
        return 1;
    }
    if (r->n == 0) {
        return on_pack_key(r, key, value);
    }
    struct spec *spec = &r->specs[r->n - 1];
    struct buf path;
    buf_init(&path, 1 << 16);
    if (is_path(key) && *value != '\0') {
        resolve(r, value, &path);
        value = path.data != NULL ? path.data : "";
    }
    if (path.failed) {
        r->status = fail_memory(r->err, 1 << 16);
    } else if (strcmp(key, "name") == 0) {
        (void)bad(r, "the section's name is the member's");
    } else if (strcmp(key, "model") != 0) {
        r->status = spec_set(spec, where, key, value, r->err);
    } else if (spec_remote(value)) {
        r->status = fail(r->err, PACKLLM_E_UNSUPPORTED, PACKLLM_NO_MEMBER,
                         "%s: model=%s: remote members are not in this version yet", where, value);
    } else if (spec->path != NULL || *value == '\0') {
        (void)bad(r, *value == '\0' ? "model = names no file" : "there are two models");
    } else {
        spec->path = alloc_text(value, strlen(value));
        r->status = spec->path != NULL ? PACKLLM_OK : fail_memory(r->err, strlen(value));
    }
    buf_done(&path);
    return r->status >= 0;
}

static enum packllm_status read_all(const char *path, struct buf *out, struct packllm_error *err) {
    char chunk[1 << 14];
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (n = read(fd, chunk, sizeof chunk)) > 0 && buf_add(out, chunk, (size_t)n)) {
    }
    int why = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (fd < 0 || n < 0) {
        return fail(err, PACKLLM_E_IO, PACKLLM_NO_MEMBER, "cannot read the file '%s': %s", path,
                    strerror(why));
    }
    if (out->failed) {
        return fail(err, PACKLLM_E_IO, PACKLLM_NO_MEMBER,
                    "the file '%s' is larger than 1 MiB, the most one may be", path);
    }
    if (out->size > 0 && memchr(out->data, '\0', out->size) != NULL) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "the file '%s' is no text: it has a NUL byte", path);
    }
    return PACKLLM_OK;
}

static void parse(struct reader *r, const struct buf *text) {
    r->text = text->data != NULL ? text->data : "";
    if (strncmp(r->text, "\xef\xbb\xbf", 3) == 0) { /* a byte-order mark, as some editors put */
        r->text += 3;
    }
    int line = ini_parse_stream(next_line, r, on_key, r);
    if (line != 0 && r->status >= 0) {
        r->line = line > 0 ? line : r->line;
        (void)bad(r, "this is neither [NAME] nor key = value");
    }
}

enum packllm_status packfile_read(const char *path, bool settings, struct spec **out_specs,
                                  size_t *out_n, struct packfile_settings *out_settings,
                                  struct packllm_error *err) {
    struct buf text;
    buf_init(&text, FILE_MAX);
    struct reader r = {
        .path = path, .skip_settings = settings, .err = err, .status = read_all(path, &text, err)};
    if (r.status >= 0) {
        parse(&r, &text);
    }
    for (size_t i = 0; i < r.n && r.status >= 0; i++) {
        if (r.specs[i].path == NULL) {
            r.status = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                            "%s: section [%s] has no 'model = FILE'", path, r.specs[i].name);
        }
    }
    if (r.n == 0 && r.status >= 0) {
        r.status = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                        "the pack file '%s' has no members: a member is a section [NAME] with "
                        "'model = FILE'",
                        path);
    }
    buf_done(&text);
    if (r.status < 0) {
        packfile_done(r.specs, r.n);
        return r.status;
    }
    *out_settings = r.settings;
    *out_specs = r.specs;
    *out_n = r.n;
    return PACKLLM_OK;
}

void packfile_done(struct spec *specs, size_t n) {
    for (size_t i = 0; i < n; i++) {
        spec_done(&specs[i]);
    }
    base_free(specs);
}

enum packllm_status packfile_config(const char *path, bool (*is_file)(const char *key),
                                    struct packfile_config *out, struct packllm_error *err) {
    struct buf text;
    *out = (struct packfile_config){0};
    buf_init(&text, FILE_MAX);
    struct reader r = {.path = path,
                       .config = out,
                       .is_file = is_file,
                       .err = err,
                       .status = read_all(path, &text, err)};
    if (r.status >= 0) {
        parse(&r, &text);
    }
    out->members = r.n > 0;
    packfile_done(r.specs, r.n);
    buf_done(&text);
    return r.status;
}

void packfile_config_done(struct packfile_config *config) {
    for (size_t i = 0; i < config->n; i++) {
        base_free(config->settings[i].key);
        base_free(config->settings[i].value);
    }
    base_free(config->settings);
    *config = (struct packfile_config){0};
}
