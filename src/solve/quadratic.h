/* quadratic.h - a convex quadratic over the capped simplex, minimised exactly. solve's own. */
#ifndef SOLVE_QUADRATIC_H
#define SOLVE_QUADRATIC_H

#include <stddef.h>

/* minimise over s in S: g . (s - x) + 1/2 (s - x)' H (s - x), S = { sum = 1, 0 <= s <= cap }.
 * x[n] in S, not changed; s[n] is written and in S. H[n][n] row-major, symmetric, positive
 * semidefinite up to rounding: it may be singular, then a minimiser near x is taken.
 * work: QUADRATIC_WORK(n) doubles; state: [n] bytes. */
#define QUADRATIC_WORK(n) ((n) * (n) + 4 * (n))
void quadratic_minimise(size_t n, const double *g, const double *H, const double *cap,
                        const double *x, double *s, double *work, unsigned char *state,
                        size_t *face);

/* The vertex of S that minimises g . s: caps are filled from the smallest g up (ties to the lowest
 * index). out_level: the g at which the filling ends. */
void quadratic_fill(size_t n, const double *g, const double *cap, double *s, double *out_level);

#endif
