/* likely.h - the likeliest tokens of a row, as keys: a number whose order is that of the masses, the
 * lower rank first among equal ones. */
#ifndef PACK_LIKELY_H
#define PACK_LIKELY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cover/cover.h"

/* Masses are >= 0, and floats >= 0 are in the order of their bits. */
static inline uint64_t likely_key(float mass, uint32_t rank) {
    uint32_t bits;
    memcpy(&bits, &mass, sizeof bits);
    return (uint64_t)bits << 32 | (UINT32_MAX - rank);
}
static inline uint32_t likely_rank(uint64_t key) {
    return UINT32_MAX - (uint32_t)key;
}
static inline double likely_mass(uint64_t key) {
    uint32_t bits = (uint32_t)(key >> 32);
    float mass;
    memcpy(&mass, &bits, sizeof mass);
    return (double)mass;
}

/* The `most` largest of ranks low..high-1 into keys[], in any order; how many there are. */
size_t likely_top(const struct cover_tokens *row, uint32_t low, uint32_t high, size_t most,
                  uint64_t *keys);
/* All of at least this mass, ascending by rank; most + 1: there are more than `most`. */
size_t likely_above(const struct cover_tokens *row, uint32_t n, double least, size_t most,
                    uint64_t *keys);

#endif
