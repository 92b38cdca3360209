/* likely.c - see likely.h. Rows are as wide as a vocabulary and a choice needs a few of it: whole blocks
 * that hold nothing large enough are passed over by their sums, the rest by vectors. */
#include "pack/likely.h"

#include <math.h>

#include "math/vec.h"

/* The first of ranks low..high-1 with a mass above `than`, or high. */
static uint32_t first_of(const float *mass, uint32_t low, uint32_t high, float than) {
    for (; low + VEC_FLOATS <= high; low += VEC_FLOATS) {
        vec_floats x;
        memcpy(&x, mass + low, sizeof x);
        if (vec_any_above(&x, than)) {
            break;
        }
    }
    while (low < high && mass[low] <= than) {
        low++;
    }
    return low;
}

/* The next from `rank` on with a mass above `than`, or n. */
static uint32_t next_of(const struct cover_tokens *row, uint32_t rank, uint32_t n, float than) {
    while (rank < n) {
        uint32_t block = rank / COVER_BLOCK, end = (block + 1) * COVER_BLOCK;
        end = end < n ? end : n;
        /* 1e-6 for the rounding of the sum */
        if (row->block[block] * (1.0 + 1e-6) <= (double)than) {
            rank = end;
            continue;
        }
        rank = first_of(row->mass, rank, end, than);
        if (rank < end) {
            return rank;
        }
    }
    return n;
}

/* heap[n] with the smallest on top, but for the one at i. */
static void sift(uint64_t *heap, size_t n, size_t i) {
    uint64_t moved = heap[i];
    for (size_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        child += child + 1 < n && heap[child + 1] < heap[child] ? 1 : 0;
        if (heap[child] >= moved) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

size_t likely_top(const struct cover_tokens *row, uint32_t low, uint32_t high, size_t most,
                  uint64_t *keys) {
    size_t count = most < high - low ? most : high - low;
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = likely_key(row->mass[low + i], low + i);
    }
    for (size_t i = count / 2; i-- > 0;) {
        sift(keys, count, i);
    }
    for (uint32_t rank = low + (uint32_t)count; count > 0 && rank < high; rank++) {
        rank = next_of(row, rank, high, (float)likely_mass(keys[0]));
        if (rank < high) { /* of equal masses the one that is there stays: its rank is lower */
            keys[0] = likely_key(row->mass[rank], rank);
            sift(keys, count, 0);
        }
    }
    return count;
}

size_t likely_above(const struct cover_tokens *row, uint32_t n, double least, size_t most,
                    uint64_t *keys) {
    size_t count = 0;
    float nearly = nextafterf((float)least, 0.0F); /* below it even where the cast rounds up */
    for (uint32_t rank = 0; rank < n; rank++) {
        rank = next_of(row, rank, n, nearly);
        if (rank < n && (double)row->mass[rank] >= least) {
            if (count == most) {
                return most + 1;
            }
            keys[count++] = likely_key(row->mass[rank], rank);
        }
    }
    return count;
}
