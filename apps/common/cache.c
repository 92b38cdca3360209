/* cache.c - see cache.h. */
#include "common/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/status.h"

const struct cache_default cache_defaults[] = {
    {"smollm2-135m", "SmolLM2-135M-Instruct.Q4_1.gguf", "Apache-2.0"},
    {"gemma-3-270m", "gemma-3-270m-q4_k_m.gguf", "Gemma terms of use"},
};
const size_t n_cache_defaults = sizeof cache_defaults / sizeof cache_defaults[0];

enum { PATH_CEILING = 1 << 16 };
static const char ENDING[] = ".gguf";

const struct cache_default *cache_find_default(const char *name) {
    for (size_t i = 0; i < n_cache_defaults; i++) {
        if (strcmp(cache_defaults[i].name, name) == 0) {
            return &cache_defaults[i];
        }
    }
    return NULL;
}

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

enum packllm_status cache_folder(const char *given, struct buf *out, struct packllm_error *err) {
    const char *xdg = variable("XDG_CACHE_HOME"), *home = variable("HOME");
    if (given != NULL && *given != '\0') {
        (void)buf_add_text(out, given);
    } else if (xdg != NULL) {
        (void)buf_printf(out, "%s/packllm", xdg);
    } else if (home != NULL) {
        (void)buf_printf(out, "%s/.cache/packllm", home);
    } else {
        return fail(err, PACKLLM_E_IO, PACKLLM_NO_MEMBER,
                    "there is no cache folder: set HOME, XDG_CACHE_HOME or PACKLLM_CACHE");
    }
    return out->failed ? fail_memory(err, PATH_CEILING) : PACKLLM_OK;
}

static bool is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool has_ending(const char *name) {
    size_t n = strlen(name), m = sizeof ENDING - 1;
    return n > m && strcmp(name + n - m, ENDING) == 0;
}

static bool file_in(const char *folder, const char *part, const char *name, struct buf *out_path) {
    for (int with = 0; with < 2; with++) {
        buf_cut(out_path, 0);
        (void)buf_printf(out_path, "%s%s/%s%s", folder, part, name, with != 0 ? ENDING : "");
        if (!out_path->failed && is_file(out_path->data)) {
            return true;
        }
    }
    return false;
}

enum cache_state cache_find(const char *folder, const char *name, struct buf *out_path) {
    const struct cache_default *known = cache_find_default(name);
    if (known != NULL) {
        if (file_in(folder, "/models", known->file, out_path)) {
            return CACHE_HERE;
        }
        buf_cut(out_path, 0);
        (void)buf_printf(out_path, "%s/models/%s", folder, known->file);
        return CACHE_MISSING;
    }
    if (*name == '\0' || *name == '.' || strchr(name, '/') != NULL) {
        return CACHE_UNKNOWN; /* names are entries, never paths */
    }
    const char *llama = variable("LLAMA_CACHE");
    if (file_in(folder, "/models", name, out_path) ||
        (llama != NULL && file_in(llama, "", name, out_path))) {
        return CACHE_HERE;
    }
    return CACHE_UNKNOWN;
}

static bool add_model(struct cache_list *list, const char *name, size_t name_size,
                      const char *path) {
    struct cache_model *models = alloc_resize(list->models, list->n + 1, sizeof *models);
    if (models == NULL) {
        return false;
    }
    list->models = models;
    struct cache_model *model = &models[list->n];
    struct stat st;
    *model = (struct cache_model){.name = alloc_text(name, name_size),
                                  .path = alloc_text(path, strlen(path))};
    if (model->name == NULL || model->path == NULL) {
        base_free(model->name);
        base_free(model->path);
        return false;
    }
    list->n++;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        model->here = true;
        model->bytes = (uint64_t)st.st_size;
    }
    return true;
}

static bool is_default_file(const char *file) {
    for (size_t i = 0; i < n_cache_defaults; i++) {
        if (strcmp(cache_defaults[i].file, file) == 0) {
            return true;
        }
    }
    return false;
}

static int by_name(const void *a, const void *b) {
    const struct cache_model *left = a, *right = b;
    return strcmp(left->name, right->name);
}

/* A folder that is not there or cannot be read holds no models. */
static bool add_folder(struct cache_list *list, const char *folder, bool foreign,
                       struct buf *path) {
    DIR *dir = opendir(folder);
    bool ok = true;
    if (dir == NULL) {
        return true;
    }
    size_t start = list->n;
    for (struct dirent *entry = NULL; ok && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.' || !has_ending(entry->d_name) ||
            (!foreign && is_default_file(entry->d_name))) {
            continue;
        }
        buf_cut(path, 0);
        ok = buf_printf(path, "%s/%s", folder, entry->d_name);
        if (ok && is_file(path->data)) {
            ok = add_model(list, entry->d_name, strlen(entry->d_name) - (sizeof ENDING - 1),
                           path->data);
            if (ok) {
                list->models[list->n - 1].foreign = foreign;
            }
        }
    }
    (void)closedir(dir);
    if (list->n > start) {
        qsort(list->models + start, list->n - start, sizeof *list->models, by_name);
    }
    return ok;
}

enum packllm_status cache_list_read(struct cache_list *list, const char *folder,
                                    struct packllm_error *err) {
    struct buf path, models;
    *list = (struct cache_list){0};
    buf_init(&path, PATH_CEILING);
    buf_init(&models, PATH_CEILING);
    bool ok = buf_printf(&models, "%s/models", folder);
    for (size_t i = 0; ok && i < n_cache_defaults; i++) {
        buf_cut(&path, 0);
        ok = buf_printf(&path, "%s/%s", models.data, cache_defaults[i].file) &&
             add_model(list, cache_defaults[i].name, strlen(cache_defaults[i].name), path.data);
        if (ok) {
            list->models[list->n - 1].is_default = true;
        }
    }
    ok = ok && add_folder(list, models.data, false, &path);
    const char *llama = variable("LLAMA_CACHE");
    ok = ok && (llama == NULL || add_folder(list, llama, true, &path));
    buf_done(&path);
    buf_done(&models);
    if (!ok) {
        cache_list_done(list);
        return fail_memory(err, PATH_CEILING);
    }
    return PACKLLM_OK;
}

void cache_list_done(struct cache_list *list) {
    for (size_t i = 0; i < list->n; i++) {
        base_free(list->models[i].name);
        base_free(list->models[i].path);
    }
    base_free(list->models);
    *list = (struct cache_list){0};
}

/* execv takes char *const: these texts are not written to. */
static char *unconst(const char *text) {
    union {
        const char *in;
        char *out;
    } both = {.in = text};
    return both.out;
}

static void close_both(const int ends[2]) {
    for (int i = 0; i < 2 && ends[i] >= 0; i++) {
        (void)close(ends[i]);
    }
}

/* Lines that are being put together; of a longer one its beginning is kept. */
struct lines {
    char text[4096];
    size_t size;
};

/* What fd (nonblocking) has for now. */
static void drain(int fd, struct lines *lines, const struct cache_watch *watch) {
    char chunk[512];
    ssize_t n = 0;
    while (fd >= 0 && (n = read(fd, chunk, sizeof chunk)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (chunk[i] == '\n') {
                lines->text[lines->size] = '\0';
                watch->line(watch->data, lines->text);
                lines->size = 0;
            } else if (lines->size + 1 < sizeof lines->text && chunk[i] != '\0') {
                lines->text[lines->size++] = chunk[i];
            }
        }
    }
}

/* Waits for the script. When a stop is asked for on a terminal the script has heard of it, too; from
 * elsewhere (kill PID) it has not, and its shell hears of ours when the download in hand has ended: that
 * is waited for a second. Looking again and again loses no signal between a look and a wait. */
static pid_t await(pid_t child, int fd, const struct cache_watch *watch, int *out_status) {
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    struct lines lines = {.size = 0};
    pid_t ended = 0;
    for (int left = 50; ended == 0 && left > 0;) {
        drain(fd, &lines, watch);
        ended = waitpid(child, out_status, WNOHANG);
        if (ended == 0) {
            bool stop = watch->stop != NULL && watch->stop();
            if (stop && left-- == 50) {
                (void)kill(child, SIGTERM);
            }
            (void)nanosleep(&pause, NULL);
        }
    }
    drain(fd, &lines, watch);
    return ended;
}

enum packllm_status cache_run_script(const char *script, const char *folder,
                                     const char *const *arguments, size_t n_args,
                                     const struct cache_watch *watch, int *out_exit,
                                     struct packllm_error *err) {
    int ends[2] = {-1, -1};
    char **argv = alloc_zero(n_args + 5, sizeof *argv);
    if (argv == NULL) {
        return fail_memory(err, (n_args + 5) * sizeof *argv);
    }
    argv[0] = unconst("sh");
    argv[1] = unconst("-c");
    argv[2] = unconst(script);
    argv[3] = unconst("fetch-models");
    for (size_t i = 0; i < n_args; i++) {
        argv[4 + i] = unconst(arguments[i]);
    }
    if (watch->line != NULL && pipe(ends) != 0) {
        ends[0] = ends[1] = -1; /* then the words go to stderr as they are */
    }
    if (ends[0] >= 0) {
        (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    }
    pid_t child = fork();
    if (child < 0) {
        int why = errno;
        base_free(argv);
        close_both(ends);
        return fail(err, PACKLLM_E_IO, PACKLLM_NO_MEMBER, "cannot start sh: %s", strerror(why));
    }
    if (child == 0) {
        if (ends[1] >= 0) {
            (void)dup2(ends[1], STDERR_FILENO);
            close_both(ends);
        }
        (void)dup2(STDERR_FILENO, STDOUT_FILENO);
        if (setenv("PACKLLM_CACHE", folder, 1) == 0) {
            (void)execv("/bin/sh", argv);
        }
        _exit(127);
    }
    base_free(argv);
    if (ends[1] >= 0) {
        (void)close(ends[1]);
        ends[1] = -1;
    }
    int status = 0;
    pid_t ended = await(child, ends[0], watch, &status);
    int why = errno;
    close_both(ends);
    if (ended < 0) {
        return fail(err, PACKLLM_E_IO, PACKLLM_NO_MEMBER, "lost sh: %s", strerror(why));
    }
    *out_exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return PACKLLM_OK;
}
