/* cache.h - the folder of downloaded models, and names for what lies in it. Files that are called
 * .gguf in `models/` there count; LLAMA_CACHE is read too, never written. */
#ifndef COMMON_CACHE_H
#define COMMON_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "packllm/packllm.h"

/* The default pack. */
struct cache_default {
    const char *name, *file, *licence;
};
extern const struct cache_default cache_defaults[];
extern const size_t n_cache_defaults;

const struct cache_default *cache_find_default(const char *name); /* NULL: none */

/* The folder: given (an option), else $XDG_CACHE_HOME/packllm, else ~/.cache/packllm. */
enum packllm_status cache_folder(const char *given, struct buf *out, struct packllm_error *err);

/* The file that a name in the cache means: a default model's name, or a file's name with or
 * without .gguf. out_path gets the path, where it is or (default models) will be. */
enum cache_state {
    CACHE_HERE,
    CACHE_MISSING, /* a default model that is not downloaded yet */
    CACHE_UNKNOWN
};
enum cache_state cache_find(const char *folder, const char *name, struct buf *out_path);

struct cache_model {
    char *name; /* a default model's name, else the file's without .gguf */
    char *path;
    uint64_t bytes; /* 0: not there */
    bool here, is_default;
    bool foreign; /* in LLAMA_CACHE */
};
struct cache_list {
    struct cache_model *models; /* [n], default models first, then by name */
    size_t n;
};

enum packllm_status cache_list_read(struct cache_list *list, const char *folder,
                                    struct packllm_error *err);
void cache_list_done(struct cache_list *list);

struct cache_watch {
    void (*line)(void *data,
                 const char *text); /* a line of the script's; NULL: they go to stderr */
    void *data;
    bool (*stop)(void); /* asked now and then; true: the script is told to end. May be NULL */
};

/* Runs the fetch script, `sh -c script`, with n_args arguments. out_exit: the script's exit status, which has said what was wrong;
 * 127 = no shell. */
enum packllm_status cache_run_script(const char *script, const char *folder,
                                     const char *const *arguments, size_t n_args,
                                     const struct cache_watch *watch, int *out_exit,
                                     struct packllm_error *err);

#endif
