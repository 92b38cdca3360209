/* packfile.h - `--pack FILE`: an INI file, one section a member.
 *
 *     [law]                           the member's name
 *     model = smollm2-135m            a path or a name in the cache; needed
 *     lora = adapters/law.gguf:0.8    and the other settings of -m (prior, cap, c, ngl, threads)
 *     domain = law.txt                text of its domain, for --weights cbtm
 *
 * Paths that do not begin with / are looked for beside the file first. */
#ifndef COMMON_PACKFILE_H
#define COMMON_PACKFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/spec.h"

/* *out_specs[*out_n] in the file's order, to be freed with packfile_done. E_IO: it cannot be read or
 * is larger than 1 MiB; E_ARG names file, line and key. settings: those of a configuration may stand
 * before the first section. */
enum packllm_status packfile_read(const char *path, bool settings, struct spec **out_specs,
                                  size_t *out_n, struct packllm_error *err);
void packfile_done(struct spec *specs, size_t n);

/* A configuration file: settings before the first section, then members as in a pack file, if any. */
struct packfile_setting {
    char *key, *value; /* is_file(key): beside the file where it is there */
    int line;
};
struct packfile_config {
    struct packfile_setting *settings; /* [n] */
    size_t n;
    bool members; /* it has sections: the file is a pack file, too */
};
/* E_IO, E_ARG as above; out is to be freed with packfile_config_done in any case. */
enum packllm_status packfile_config(const char *path, bool (*is_file)(const char *key),
                                    struct packfile_config *out, struct packllm_error *err);
void packfile_config_done(struct packfile_config *config);

#endif
