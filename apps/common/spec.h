/* spec.h - reads `-m SPEC`: a path or a name, then comma-separated settings. Whether the file is
 * there is not asked here. */
#ifndef COMMON_SPEC_H
#define COMMON_SPEC_H

#include "packllm/packllm.h"

struct spec {
    char *path;                        /* a path or a name, as written */
    char *name;                        /* NULL: none given */
    char *lora;                        /* an adapter's path, or NULL */
    char *domain;                      /* a text's path, or NULL */
    char *chat_template;               /* a name, or NULL */
    struct packllm_member_spec member; /* its texts stay NULL */
};

/* E_ARG: an unknown setting (with the nearest), a value out of range; E_UNSUPPORTED: a setting or
 * kind of member that comes with a later version. */
enum packllm_status spec_read(struct spec *spec, const char *text, struct packllm_error *err);
/* One setting; where: what errors begin with ("-m SPEC", or a file and a section). */
enum packllm_status spec_set(struct spec *spec, const char *where, const char *key,
                             const char *value, struct packllm_error *err);
/* http://… and https://…, which come with a later version. */
bool spec_remote(const char *text);
void spec_done(struct spec *spec);

#endif
