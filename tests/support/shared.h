/* shared.h - where tests find the project's shared models and data, and the default pack. */
#ifndef TESTS_SHARED_H
#define TESTS_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* $PACKLLM_SHARED (default ../shared) / name; false if it is not there. */
bool shared_path(char *out, size_t room, const char *name);
/* A file of the default pack: $PACKLLM_CACHE, else $XDG_CACHE_HOME/packllm, else ~/.cache/packllm,
 * then models/name; false if it is not there. */
bool shared_pack_path(char *out, size_t room, const char *name);
/* A whole file, malloced; NULL if it cannot be read. */
uint8_t *shared_read(const char *path, size_t *out_size);

#endif
