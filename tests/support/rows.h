/* rows.h - made-up byte distributions for tests of the pools and the solver: members of different
 * skill looking at the same text, some of them alike. */
#ifndef SUPPORT_ROWS_H
#define SUPPORT_ROWS_H

#include <stddef.h>
#include <stdint.h>

struct rows {
    size_t n_members, n_bytes;
    float **logq;    /* [n_members] -> [n_bytes][257], nats, floored */
    uint16_t *event; /* [n_bytes] */
};

/* Aborts when there is no memory. The same seed gives the same rows. */
void rows_open(struct rows *rows, size_t n_members, size_t n_bytes, uint64_t seed);
void rows_close(struct rows *rows);
/* Member `to` becomes a copy of member `from`. */
void rows_copy(struct rows *rows, size_t from, size_t to);
/* A point of the simplex: sometimes a vertex, sometimes with zeros. */
void rows_lambda(size_t n, uint64_t *state, double *lambda);
double rows_normal(uint64_t *state); /* a standard normal number */

#endif
