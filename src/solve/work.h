/* work.h - what solve_exact and solve_gap share: a problem in internal order, points with their
 * derivatives, one pass of eval. solve's own. */
#ifndef SOLVE_WORK_H
#define SOLVE_WORK_H

#include <stddef.h>

#include "solve/solve.h"

#define SUM_TOLERANCE 1e-9 /* of a prior or a lambda that should sum to 1 */

/* A point and all that is known there, in internal order. */
struct point {
    double *x, *g, *H; /* [n], [n], [n][n]: of F */
    double f, F, gap;
};

struct work {
    const struct solve_problem *problem;
    size_t n;
    unsigned passes;
    double *memory;            /* what all double arrays below are cut from */
    double *prior, *cap;       /* [n], internal order */
    double *lambda, *g, *H;    /* [n], [n], [n][n], the caller's order, for eval */
    double *s, *d, *quadratic; /* the model's minimiser, the direction, quadratic.c's work */
    struct point now, trial, best;
    size_t *order, *face;
    unsigned char *state;
};

enum packllm_status solve_work_init(struct work *work, const struct solve_problem *problem,
                                    struct packllm_error *err);
void solve_work_done(struct work *work);

/* One pass: fills g, H, f, F and gap of point at point->x. Uses work->s. */
enum packllm_status solve_work_pass(struct work *work, struct point *point,
                                    struct packllm_error *err);
/* Adds what is missing for sum = 1 to the members with room, in proportion to it (or takes it in
 * proportion to the weights), so that x is in S to the last digits. */
void solve_work_repair(size_t n, const double *cap, double *x);

#endif
