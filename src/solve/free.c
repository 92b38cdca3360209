/* free.c - weights >= 0 whose sum is free: the log-linear pool with a temperature of its own.
 *
 *     minimise  F(lambda) = f(lambda) + ridge / 2 |lambda - prior|^2
 *     over      C = { lambda >= 0, sum lambda <= M, lambda_i <= cap_i where cap_i < 1 },   M = 16
 *
 * The prior lies on the simplex, so the ridge pulls the shares toward it and the sum toward 1. The
 * bound M is needed: where every observed byte is the likeliest one, f falls for ever along lambda
 * (the temperature goes to 0) and has no minimum; with it C is compact and the certificate a number.
 *
 * Solved as what it is, a capped simplex with one member more: lambda_i = M s_i, s_0 = 1 - sum s the
 * part of M that is not used. With F as a function of s, dF/ds_i = M dF/dlambda_i and dF/ds_0 = 0, so
 *
 *     gap = s . grad_s F - min over S of s . grad_s F = lambda . g - M min(0, min_i g_i)   (no caps)
 *
 * is the certificate over C: F(lambda) - min_C F <= gap.
 */
#include <assert.h>
#include <math.h>

#include "base/alloc.h"
#include "base/status.h"
#include "solve/solve.h"

struct stretched {
    const struct solve_problem *inner;
    double *prior, *lambda, *g, *H; /* [n], [n], [n], [n][n] */
};

static double ridge_part(const struct stretched *st, const double *lambda) {
    double away = 0;
    for (size_t k = 0; k < st->inner->n;
         k++) { /* in the problem's order: see struct solve_problem */
        size_t i = st->inner->order != NULL ? st->inner->order[k] : k;
        away += (lambda[i] - st->prior[i]) * (lambda[i] - st->prior[i]);
    }
    return st->inner->ridge / 2 * away;
}

/* F and its derivatives by s: members 0..n-1, the slack n. */
static enum packllm_status eval(void *ctx, const double *s, double *f, double *g, double *H) {
    const struct stretched *st = ctx;
    size_t n = st->inner->n, wide = n + 1;
    for (size_t i = 0; i < n; i++) {
        st->lambda[i] = SOLVE_FREE_MOST * s[i];
    }
    enum packllm_status status = st->inner->eval(st->inner->ctx, st->lambda, f, st->g, st->H);
    if (status != PACKLLM_OK) {
        return status;
    }
    *f += ridge_part(st, st->lambda);
    for (size_t i = 0; i < n; i++) {
        g[i] = SOLVE_FREE_MOST * (st->g[i] + st->inner->ridge * (st->lambda[i] - st->prior[i]));
        for (size_t j = 0; j < n; j++) {
            double h = st->H[i * n + j] + (i == j ? st->inner->ridge : 0);
            H[i * wide + j] = SOLVE_FREE_MOST * SOLVE_FREE_MOST * h;
        }
        H[i * wide + n] = H[n * wide + i] = 0;
    }
    g[n] = H[n * wide + n] = 0;
    return PACKLLM_OK;
}

enum packllm_status solve_free(const struct solve_problem *problem, double tolerance,
                               unsigned max_passes, double *lambda, struct solve_result *out,
                               struct packllm_error *err) {
    size_t n = problem->n, wide = n + 1;
    assert(n >= 1 && n <= 4096);
    size_t size = 3 * n + n * n + 3 * wide;
    double *memory = alloc_array(size, sizeof *memory);
    size_t *order = alloc_array(wide, sizeof *order);
    enum packllm_status status = PACKLLM_OK;
    if (memory == NULL || order == NULL) {
        status = fail_memory(err, size * sizeof *memory);
        goto out;
    }
    struct stretched st = {.inner = problem,
                           .prior = memory,
                           .lambda = memory + n,
                           .g = memory + 2 * n,
                           .H = memory + 3 * n};
    double *start = st.H + n * n, *cap = start + wide, *s = cap + wide;
    for (size_t i = 0; i < n; i++) {
        double most = problem->cap != NULL && problem->cap[i] < 1 ? problem->cap[i] : 1;
        st.prior[i] = problem->prior != NULL ? problem->prior[i] : 1.0 / (double)n;
        start[i] = st.prior[i] / SOLVE_FREE_MOST;
        cap[i] = most < 1 ? most / SOLVE_FREE_MOST : 1;
        order[i] = problem->order != NULL ? problem->order[i] : i;
    }
    start[n] = 1 - 1 / SOLVE_FREE_MOST;
    cap[n] = 1;
    order[n] = n;
    struct solve_problem stretched = {
        .n = wide, .eval = eval, .ctx = &st, .prior = start, .cap = cap, .order = order};
    struct solve_result result = {0};
    status = solve_exact(&stretched, tolerance, max_passes, s, &result, err);
    if (status == PACKLLM_OK) {
        for (size_t i = 0; i < n; i++) {
            lambda[i] = SOLVE_FREE_MOST * s[i];
        }
        result.f -= ridge_part(&st, lambda);
        *out = result;
    }
out:
    base_free(memory);
    base_free(order);
    return status;
}
