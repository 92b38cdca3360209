/* fuse.h - pools of the members' byte distributions (method: log-linear and linear), and the
 * prompt's objective as a function of lambda for the solver. Knows no members, no llama.cpp.
 *
 * A distribution is PACKLLM_EVENTS = 257 log-probabilities in nats (floats), none below
 * FUSE_LOG_FLOOR: q <- (1 - eta) q + eta / 257 with eta = FUSE_FLOOR is part of the model.
 */
#ifndef FUSE_FUSE_H
#define FUSE_FUSE_H

#include <stddef.h>
#include <stdint.h>

#include "packllm/packllm.h"

#define FUSE_FLOOR 1e-9
#define FUSE_LOG_FLOOR (-26.2724) /* log(FUSE_FLOOR / PACKLLM_EVENTS), rounded down */

/* q[257] >= 0 with sum 1 (to rounding) -> out[257] = log((1 - eta) q + eta / 257). */
void fuse_floor(const double *q, float *out_logq);

/* A member's temperature, in place: q <- q^(1/t) normalised, with the floor again. t > 0; at 1 nothing
 * is touched. */
void fuse_temper(double t, float *logq);

/* Fused log-probabilities, normalised (sum of exp is 1 to rounding). logq: [n] pointers to [257];
 * lambda[n]: members at 0 are skipped (their pointer may be NULL). lambda = e_k gives member k's
 * row bit for bit. log: p ~ prod q_i^lambda_i; linear: p = sum lambda_i q_i, normalised. lambda >= 0,
 * of any sum; all 0: uniform (log pool only); values of -inf are events that cannot happen, but at least one event must be
 * possible. No memory, any thread. */
void fuse_pool(enum packllm_pool pool, size_t n, const double *lambda, const float *const *logq,
               float *out_logp);

/* The observed bytes of a prompt under every member. */
struct fuse_block {
    size_t n_members, n_bytes;
    const float *const *logq; /* [n_members] -> [n_bytes][257], nats */
    const uint16_t *event;    /* [n_bytes], 0..256: what stood there */
    enum packllm_pool pool;
    /* [n_members] the canonical order: by what the members are (mean NLL, prior, cap, then the bytes
     * of their columns), never by where they stand. It is the `order` of struct solve_problem, and
     * sums over members run in it, so results do not depend on the numbering. Owned by the block. */
    size_t *order;
    double *scratch; /* owned by the block */
    /* How much each byte counts [n_bytes], > 0; NULL: all alike. Means are weighted ones, and
     * `count` is the sum, n_bytes where all are 1. */
    const double *weight;
    double count;
};
/* prior and cap [n_members] (NULL: all equal) only settle the order: give what the solver gets.
 * n_members and n_bytes >= 1. The arrays must outlive the block. E_ARG: a value that is no log-probability of a floored
 * distribution (not in [FUSE_LOG_FLOOR - 0.01, 0.01]: NaN and -inf too), or an event > 256. */
enum packllm_status fuse_block_init(struct fuse_block *block, enum packllm_pool pool,
                                    size_t n_members, size_t n_bytes, const float *const *logq,
                                    const uint16_t *event, const double *prior, const double *cap,
                                    struct packllm_error *err);
void fuse_block_done(struct fuse_block *block);
/* weight: see the struct; the array must outlive the block. */
void fuse_block_weigh(struct fuse_block *block, const double *weight);

/* The mean negative log-likelihood of the pool, with gradient and Hessian: the eval of
 * struct solve_problem, ctx is the fuse_block. For the log pool (Mattern, arXiv 1302.2839):
 *   L = mean_t [ log sum_c exp(sum_i lambda_i l_i(t,c)) - sum_i lambda_i l_i(t, x_t) ]
 *   dL/di = mean_t ( E_lambda[l_i] - l_i(x_t) ),  H_ij = mean_t Cov_lambda(l_i, l_j)
 * for the linear one L = mean_t -log sum_i lambda_i q_i(x_t). Everything in doubles, sums in a fixed
 * order: the same bits every run. One thread at a time per block (scratch). */
enum packllm_status fuse_objective(void *ctx, const double *lambda, double *f, double *g,
                                   double *H);
/* Mean NLL of each member over the block, nats per byte (weighted as the block is). */
void fuse_member_nll(const struct fuse_block *block, double *out_nll);

/* A base steered by expert and anti-expert, see experts.c: q_B (q_E / q_A)^alpha over the events whose
 * base probability is at least 0.1 times the largest, normalised, with the floor. Rows are [257] and
 * finite; out_logp may be one of them. */
void fuse_experts_pool(const float *base, const float *expert, const float *anti, double alpha,
                       float *out_logp);
struct fuse_experts {
    const float *base, *expert, *anti; /* [n_bytes][257], nats, floored */
    const uint16_t *event;             /* [n_bytes], 0..256 */
    size_t n_bytes;                    /* >= 1 */
};
/* The mean loss of that pool (without the floor where a byte is inside) as a function of alpha[1] >= 0:
 * the eval of a struct solve_problem with n = 1, for solve_free; ctx is a struct fuse_experts. */
enum packllm_status fuse_experts_objective(void *ctx, const double *alpha, double *f, double *g,
                                           double *H);

#endif
