/* rng.c - keyed noise, see rng.h. splitmix64's finaliser over each part of the key in turn. */
#include "base/rng.h"

#include <math.h>

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

uint64_t rng_next(uint64_t *state) {
    *state += 0x9e3779b97f4a7c15U;
    return mix(*state);
}

uint64_t rng_key(uint64_t seed, uint64_t position, uint64_t symbol) {
    uint64_t key = mix(seed + 0x9e3779b97f4a7c15U);
    key = mix(key ^ (position + 0x7f4a7c159e3779b9U));
    return mix(key ^ (symbol * 0x9e3779b97f4a7c15U + 0x243f6a8885a308d3U));
}

double rng_uniform(uint64_t bits) {
    return ((double)(bits >> 12) + 0.5) * 0x1p-52;
}

double rng_gumbel(uint64_t seed, uint64_t position, uint64_t symbol) {
    return -log(-log(rng_uniform(rng_key(seed, position, symbol))));
}
