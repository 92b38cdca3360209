/* edit.c - Myers' bit-parallel distance (J. ACM 46(3), 1999) with Hyyrö's blocks for patterns of more
 * than 64 bytes (Nordic J. Computing 10, 2003).
 *
 * A column of the dynamic programme is kept as differences between neighbouring rows, +1 in `up`, -1
 * in `down`; a byte of the text turns a column into the next with a dozen operations on 64 rows at
 * once. The score is the last row's value. Departs from the papers: it is the distance of the whole
 * texts, so row 0 grows by one a column (a one is shifted in), and the work ends as soon as the bytes
 * that are left cannot bring the score back to the bound. */
#include "align/edit.h"

#include <string.h>

#include "base/alloc.h"

bool edit_init(struct edit *e, uint32_t longest) {
    *e = (struct edit){.words_max = longest / 64 + 1};
    e->equal = alloc_zero((size_t)256 * e->words_max, sizeof *e->equal);
    e->up = alloc_zero(e->words_max, sizeof *e->up);
    e->down = alloc_zero(e->words_max, sizeof *e->down);
    if (e->equal == NULL || e->up == NULL || e->down == NULL) {
        edit_done(e);
        return false;
    }
    return true;
}

void edit_done(struct edit *e) {
    base_free(e->equal);
    base_free(e->up);
    base_free(e->down);
    *e = (struct edit){0};
}

void edit_set(struct edit *e, const uint8_t *bytes, uint32_t size) {
    for (uint32_t i = 0; i < e->size; i++) { /* the old pattern's rows, and no others */
        memset(e->equal + (size_t)e->bytes[i] * e->words, 0, e->words * sizeof *e->equal);
    }
    e->bytes = bytes;
    e->size = size;
    e->words = size > 64 ? (size + 63) / 64 : 1;
    for (uint32_t i = 0; i < size; i++) {
        e->equal[(size_t)bytes[i] * e->words + i / 64] |= (uint64_t)1 << (i % 64);
    }
}

static uint32_t short_distance(const struct edit *e, const uint8_t *text, uint32_t size,
                               uint32_t bound) {
    const uint64_t last = (uint64_t)1 << (e->size - 1);
    uint64_t up = UINT64_MAX, down = 0;
    uint32_t score = e->size;
    for (uint32_t i = 0; i < size; i++) {
        uint64_t equal = e->equal[text[i]];
        uint64_t vertical = equal | down;
        uint64_t zero = (((equal & up) + up) ^ up) | equal;
        uint64_t right = down | ~(zero | up), left = up & zero;
        score += (right & last) != 0;
        score -= (left & last) != 0;
        if (score > (uint64_t)bound + (size - 1 - i)) {
            return bound + 1;
        }
        right = (right << 1) | 1;
        up = (left << 1) | ~(vertical | right);
        down = right & vertical;
    }
    return score;
}

static uint32_t long_distance(struct edit *e, const uint8_t *text, uint32_t size, uint32_t bound) {
    uint32_t score = e->size;
    memset(e->up, 0xff, e->words * sizeof *e->up);
    memset(e->down, 0, e->words * sizeof *e->down);
    for (uint32_t i = 0; i < size; i++) {
        const uint64_t *row = e->equal + (size_t)text[i] * e->words;
        uint64_t right_in = 1, left_in = 0; /* what the block above hands down */
        for (uint32_t w = 0; w < e->words; w++) {
            uint64_t last = (uint64_t)1 << (w + 1 < e->words ? 63 : (e->size - 1) % 64);
            uint64_t up = e->up[w], down = e->down[w], equal = row[w];
            uint64_t vertical = equal | down;
            equal |= left_in;
            uint64_t zero = (((equal & up) + up) ^ up) | equal;
            uint64_t right = down | ~(zero | up), left = up & zero;
            uint64_t right_out = (right & last) != 0, left_out = (left & last) != 0;
            right = (right << 1) | right_in;
            left = (left << 1) | left_in;
            e->up[w] = left | ~(vertical | right);
            e->down[w] = right & vertical;
            right_in = right_out;
            left_in = left_out;
        }
        score = score + (uint32_t)right_in - (uint32_t)left_in;
        if (score > (uint64_t)bound + (size - 1 - i)) {
            return bound + 1;
        }
    }
    return score;
}

uint32_t edit_distance(struct edit *e, const uint8_t *text, uint32_t size, uint32_t bound) {
    uint32_t d = e->size == 0    ? size
                 : size == 0     ? e->size
                 : e->words == 1 ? short_distance(e, text, size, bound)
                                 : long_distance(e, text, size, bound);
    return d <= bound ? d : bound + 1;
}

typedef uint64_t lanes __attribute__((vector_size(EDIT_LANES * sizeof(uint64_t))));

/* short_distance with a text in each lane; there is no bound to stop at, since all would have to. */
void edit_lanes(const struct edit *e, const uint8_t *const text[EDIT_LANES], uint32_t size,
                uint32_t out[EDIT_LANES]) {
    const uint64_t last = e->size - 1;
    lanes up = ~(lanes){0}, down = {0}, score = (lanes){0} + e->size;
    for (uint32_t i = 0; i < size; i++) {
        /* Written out: lanes filled by a loop go through memory, and wait for it. */
        lanes equal = {e->equal[text[0][i]], e->equal[text[1][i]], e->equal[text[2][i]],
                       e->equal[text[3][i]], e->equal[text[4][i]], e->equal[text[5][i]],
                       e->equal[text[6][i]], e->equal[text[7][i]]};
        lanes vertical = equal | down;
        lanes zero = (((equal & up) + up) ^ up) | equal;
        lanes right = down | ~(zero | up), left = up & zero;
        score += (right >> last & 1) - (left >> last & 1);
        right = right << 1 | 1;
        up = left << 1 | ~(vertical | right);
        down = right & vertical;
    }
    for (int k = 0; k < EDIT_LANES; k++) {
        out[k] = (uint32_t)score[k];
    }
}
