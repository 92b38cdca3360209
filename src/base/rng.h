/* rng.h - keyed noise: a pure function of (seed, position, symbol), so that a choice does not
 * depend on how many numbers were drawn before it (method: drafting on or off, same text). */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

uint64_t rng_key(uint64_t seed, uint64_t position, uint64_t symbol);  /* 64 well-mixed bits */
double rng_uniform(uint64_t bits);                                    /* in (0, 1), never 0 or 1 */
double rng_gumbel(uint64_t seed, uint64_t position, uint64_t symbol); /* -log(-log(u)) */

/* A stream for tests: splitmix64 (Steele, Lea, Flood 2014), state advanced by each call. */
uint64_t rng_next(uint64_t *state);

#endif
