/* edit.h - Levenshtein distance over bytes, one pattern against many texts. */
#ifndef ALIGN_EDIT_H
#define ALIGN_EDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct edit {
    const uint8_t *bytes; /* the pattern; must stay while it is set */
    uint32_t size;
    uint32_t words, words_max; /* of 64 rows each */
    uint64_t *equal;           /* [256][words]: rows of the pattern that hold the byte */
    uint64_t *up, *down;       /* [words] work space of long patterns */
};

/* longest: bytes of the longest pattern that will be set. False: no memory. */
bool edit_init(struct edit *e, uint32_t longest);
void edit_done(struct edit *e);
void edit_set(struct edit *e, const uint8_t *bytes, uint32_t size);
/* The distance of the pattern to a text, or bound + 1 where it is above bound. */
uint32_t edit_distance(struct edit *e, const uint8_t *text, uint32_t size, uint32_t bound);
/* The distances of a pattern of at most 64 bytes to several texts of one size. */
enum { EDIT_LANES = 8, EDIT_LANES_MAX = 64 };
void edit_lanes(const struct edit *e, const uint8_t *const text[EDIT_LANES], uint32_t size,
                uint32_t out[EDIT_LANES]);

#endif
