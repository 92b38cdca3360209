/* likely.c - see likely.h. Rows are as wide as a vocabulary and a choice needs a few of it: whole blocks
 * that hold nothing large enough are passed over by their sums, the rest is counted by vectors. */
#include "pack/likely.h"

#include <math.h>

#include "math/vec.h"

#define INFINITE 0x7f800000U /* the bits of an infinite float */

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Where the block of a rank ends, at most at `high`. */
static uint32_t block_end(uint32_t rank, uint32_t high) {
    uint32_t end = (rank / COVER_BLOCK + 1) * COVER_BLOCK;
    return end < high ? end : high;
}

/* Whether its sum allows a mass of at least that in a rank's block; 1e-6 for the rounding of the sum. */
static bool block_may(const struct cover_tokens *row, uint32_t rank, float least) {
    return row->block[rank / COVER_BLOCK] * (1.0 + 1e-6) >= (double)least;
}

/* How many of ranks low..high-1 have a mass of at least `least`; where that is more than `enough`, more
 * than enough. */
static size_t count_from(const struct cover_tokens *row, uint32_t low, uint32_t high, float least,
                         size_t enough) {
    size_t count = 0;
    for (uint32_t rank = low, end; rank < high && count <= enough; rank = end) {
        end = block_end(rank, high);
        if (block_may(row, rank, least)) {
            count += vec_count_from(row->mass + rank, end - rank, least);
        }
    }
    return count;
}

/* Those of at least `above`, and of at least `least` the first `equal`: their number. */
static size_t take(const struct cover_tokens *row, uint32_t low, uint32_t high, float least,
                   float above, size_t equal, uint64_t *keys) {
    size_t taken = 0;
    for (uint32_t rank = low, end; rank < high; rank = end) {
        uint32_t found[COVER_BLOCK];
        size_t n = 0;
        end = block_end(rank, high);
        if (!block_may(row, rank, least) || vec_largest(row->mass + rank, end - rank) < least) {
            continue;
        }
        for (uint32_t i = rank; i < end; i++) {
            found[n] = i; /* written without asking: a jump that cannot be foretold costs more */
            n += row->mass[i] >= least;
        }
        for (size_t i = 0; i < n; i++) {
            float mass = row->mass[found[i]];
            if (mass >= above || equal > 0) {
                equal -= mass < above;
                keys[taken++] = likely_key(mass, found[i]);
            }
        }
    }
    return taken;
}

/* The largest of all; of equal ones that of the lowest rank. */
static size_t take_first(const struct cover_tokens *row, uint32_t low, uint32_t high,
                         uint64_t *keys) {
    float most = -1.0F;
    uint32_t at = low;
    for (uint32_t rank = low, end; rank < high; rank = end) {
        end = block_end(rank, high);
        float largest =
            block_may(row, rank, most) ? vec_largest(row->mass + rank, end - rank) : -1.0F;
        if (largest > most) {
            most = largest;
            at = rank;
        }
    }
    while (at < high && row->mass[at] < most) {
        at++;
    }
    if (at < high) {
        keys[0] = likely_key(most, at);
    }
    return at < high;
}

/* The least mass that is taken is found bit by bit: floats >= 0 are in the order of their bits. */
size_t likely_top(const struct cover_tokens *row, uint32_t low, uint32_t high, size_t most,
                  uint64_t *keys) {
    if (most == 1) {
        return take_first(row, low, high, keys);
    }
    uint32_t least = 0, above = INFINITE; /* of mass >= least are `most` and more, >= above fewer */
    size_t n = high - low, n_above = 0;
    while (n > most && above - least > 1) {
        uint32_t middle = least + (above - least) / 2;
        size_t count = count_from(row, low, high, float_of(middle), most);
        if (count >= most) {
            least = middle;
            n = count;
        } else {
            above = middle;
            n_above = count;
        }
    }
    /* Of equal masses those of the lowest ranks. */
    return take(row, low, high, float_of(least), float_of(above), most - n_above, keys);
}

size_t likely_above(const struct cover_tokens *row, uint32_t n, double least, size_t most,
                    uint64_t *keys) {
    float from = (float)least;
    from = (double)from < least ? nextafterf(from, HUGE_VALF) : from;
    return count_from(row, 0, n, from, most) > most ? most + 1
                                                    : take(row, 0, n, from, from, 0, keys);
}
