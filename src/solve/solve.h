/* solve.h - weights on the simplex. Knows no models: it sees a convex function of lambda.
 *
 *     minimise  F(lambda) = f(lambda) + ridge / 2 * |lambda - prior|^2
 *     over      S = { lambda : sum = 1, 0 <= lambda_i <= cap_i }
 *
 * Certificate: gap = lambda . grad F - min over S of s . grad F (a greedy fill when there are caps).
 * F is convex, so F(lambda) - min F <= gap.
 */
#ifndef SOLVE_SOLVE_H
#define SOLVE_SOLVE_H

#include <stddef.h>

#include "packllm/packllm.h"

struct solve_problem {
    size_t n; /* members, K >= 1 */
    /* f (nats per byte), g[n] and H[n][n] row-major; g and H may be NULL. One call is one pass. */
    enum packllm_status (*eval)(void *ctx, const double *lambda, double *f, double *g, double *H);
    void *ctx;
    const double *prior; /* [n] on the simplex, or NULL: 1/n each */
    const double *cap;   /* [n] in (0, 1], sum >= 1, or NULL: 1 each */
    double ridge;        /* kappa / T, >= 0 */
    /* [n] a permutation, or NULL: 0, 1, 2, …. Members enter every sum here in this order. With an
     * order that depends on the members' data only (fuse_order), and an eval that keeps it too,
     * permuting the members permutes lambda bit for bit. */
    const size_t *order;
};

struct solve_result {
    double f;        /* nats per byte, without the ridge, at lambda */
    double gap;      /* nats per byte, of F */
    unsigned passes; /* calls of eval, line-search ones counted */
};

/* Newton's method on S: at each step the quadratic model is minimised over S exactly (active set),
 * then a line search that is safe against rounding. Starts at the prior (brought below the caps).
 * Stops at gap <= tolerance, at max_passes (>= 1), or where rounding lets the gap shrink no further
 * (about 1e-14); returns the point of the smallest gap, and the gap is always the certified one at
 * the returned lambda: compare it with the tolerance. Weights below 1e-12 become exactly 0. Members
 * that eval cannot tell apart (bit-equal derivatives, same prior and cap) get the same weight.
 * lambda[n] is written on success. E_ARG: a field is out of its range; E_INTERNAL: eval returned
 * something not finite; or what eval returned. */
enum packllm_status solve_exact(const struct solve_problem *problem, double tolerance,
                                unsigned max_passes, double *lambda, struct solve_result *out,
                                struct packllm_error *err);
/* The certificate of any lambda in S, by one call of eval. */
enum packllm_status solve_gap(const struct solve_problem *problem, const double *lambda,
                              double *out_gap, struct packllm_error *err);

/* The paper's grid, see greedy.c. nll[n]: f at each vertex. passes is 21 (n - 1); the gap, which one
 * more evaluation gives, is that of the pure problem (no ridge, no caps). */
enum packllm_status solve_greedy(const struct solve_problem *problem, const double *nll,
                                 double *lambda, struct solve_result *out,
                                 struct packllm_error *err);

/* lambda >= 0, sum <= SOLVE_FREE_MOST, lambda_i <= cap_i where a cap is below 1, see free.c: for an f
 * that is convex there (the log-linear pool). Everything else as with solve_exact; the gap is that
 * of F over this set. */
#define SOLVE_FREE_MOST 16.0 /* a power of two: scaling by it is exact */
enum packllm_status solve_free(const struct solve_problem *problem, double tolerance,
                               unsigned max_passes, double *lambda, struct solve_result *out,
                               struct packllm_error *err);

/* The linear pool, f = mean_t -log sum_i lambda_i q_i, without ridge and caps, see em.c: a few steps
 * of expectation maximisation from the prior (> 0), then solve_exact. gap: log max_i mean_t(q_i/q). */
enum packllm_status solve_em(const struct solve_problem *problem, double tolerance,
                             unsigned max_passes, double *lambda, struct solve_result *out,
                             struct packllm_error *err);

/* lambda_i ~ prior_i exp(-loss_i), see mixture.c; loss[n] in nats over the whole text, prior[n] > 0
 * with sum 1. out_loss: of the mixture that runs from the prior, nats, <= loss_i - log prior_i for
 * every i. Permuting the members permutes lambda bit for bit; weights below 1e-12 become 0. */
enum packllm_status solve_bayes(const double *loss, const double *prior, size_t n, double *lambda,
                                double *out_loss, struct packllm_error *err);
/* One byte of that mixture: logp[n] of what stood there, log_w[n] (logs of weights that sum to 1) are
 * brought up to date. Returns its log-probability, nats. At least one log_w + logp is finite. */
double solve_mixture_step(size_t n, const double *logp, double *log_w);

/* lambda = softmax(-nll / tau); nll[n] in nats per unit, finite, tau > 0 (PackLLM, "sim"); lambda may be nll. Permuting
 * the members permutes the weights bit for bit. */
enum packllm_status solve_sim(const double *nll, size_t n, double tau, double *lambda,
                              struct packllm_error *err);
void solve_uniform(size_t n, double *lambda);
void solve_top1(const double *nll, size_t n, double *lambda); /* ties to the lowest index */
/* Checks (finite, >= 0, sum > 0) and normalises. E_ARG names what is wrong. */
enum packllm_status solve_fixed(const double *given, size_t n, double *lambda,
                                struct packllm_error *err);

/* The sum of x[n] >= 0 in ascending order, so that it does not depend on how the members are numbered.
 * n is small: n^2 steps and no memory. */
double solve_sorted_sum(const double *x, size_t n);

#endif
