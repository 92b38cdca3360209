/* hash.c - the one file that includes xxhash.h: hashes of bytes, for look-ups and for names and
 * checksums of the maps on disk. */
#include <xxhash.h>

#include "align/private.h"

uint64_t align_hash(const void *bytes, size_t size) {
    return XXH3_64bits(bytes, size);
}

struct align_key align_hash_wide(const void *bytes, size_t size) {
    XXH128_hash_t h = XXH3_128bits(bytes, size);
    return (struct align_key){.low = h.low64, .high = h.high64};
}
