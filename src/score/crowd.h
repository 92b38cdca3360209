/* crowd.h - which members of a large pack cannot earn weight on a text, judged by a piece of it: by
 * their multipliers at the pool's weights, never by their own loss (docs/math.md, "Large packs").
 *
 * Positions are bytes, or tokens of the shared vocabulary; figures are in nats per position. */
#ifndef SCORE_CROWD_H
#define SCORE_CROWD_H

#include "score/score.h"
#include "solve/solve.h"

/* Where the members' rows come from. */
struct score_stretch {
    void *data;
    /* The mean loss on positions low..high-1 of the n members member[n] as a problem: n, eval, ctx and
     * order. finish frees what begin made. */
    enum packllm_status (*begin)(void *data, size_t n, const size_t *member, size_t low,
                                 size_t high, struct solve_problem *out, struct packllm_error *err);
    void (*finish)(void *data, struct solve_problem *problem);
};

/* What a piece says of a member. */
struct score_outlook {
    double multiplier; /* dF/dlambda_j less that of the members with weight, on the piece */
    double error;      /* standard error of it as an estimate of the whole text's */
    double likely;     /* most that weight on j alone would take off the objective, as estimated */
    double most;       /* the same at a multiplier SCORE_CROWD_Z errors lower */
};
#define SCORE_CROWD_Z 3.0
enum { SCORE_CROWD_BATCHES = 16, SCORE_CROWD_LEAST_PIECE = 64 };

/* method's prior and cap are of the n members of this problem. lambda[n]: solve true: found on the
 * positions 0..read-1 and written; else given. whole: positions of the text. read >= 16. */
enum packllm_status score_crowd_look(const struct score_method *method,
                                     const struct score_stretch *stretch, size_t n,
                                     const size_t *member, size_t read, size_t whole, bool solve,
                                     double *lambda, struct score_outlook *out,
                                     struct packllm_error *err);
/* Whether the weigher minimises the objective over the simplex, so that multipliers decide. */
bool score_crowd_can(enum packllm_weigher weigher);
/* Marks whom of n to keep: at most `most`, those with weight first, then by what they may still take
 * off; members of whom that is at most `slack` go. Those kept have caps of sum >= 1. Returns the
 * number kept. */
size_t score_crowd_keep(size_t n, const double *lambda, const struct score_outlook *outlook,
                        const double *cap, size_t least, size_t most, double slack, bool *out_keep,
                        size_t *work);
/* prior[n] of all and the members of a subset: out[n_of] so that the ridge over the subset is, but
 * for a constant, that over all with weight 0 elsewhere. */
void score_crowd_prior(const double *prior, size_t n_of, const size_t *member, double *out);

#endif
