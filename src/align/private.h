/* private.h - what the files of the align room share. */
#ifndef ALIGN_PRIVATE_H
#define ALIGN_PRIVATE_H

#include "align/align.h"

/* A map of the sizes of both vocabularies with nothing mapped. False: no memory. */
bool align_map_init(struct align_map *map, uint32_t n, uint32_t n_member);
void align_map_count(struct align_map *map); /* fills exact, near, unmatched */

/* mined.c: maps those text tokens of the reference that have no token yet. */
enum packllm_status align_mined(struct align_map *map, const struct align_request *request,
                                struct packllm_error *err);

/* hash.c, the only file that includes xxhash.h. */
struct align_key {
    uint64_t low, high;
};
uint64_t align_hash(const void *bytes, size_t size);
struct align_key align_hash_wide(const void *bytes, size_t size);

#endif
