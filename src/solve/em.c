/* em.c - expectation maximisation for the linear pool, f(w) = mean_t -log q_w, q_w = sum_i w_i q_i.
 *
 *     w_i <- mean_t w_i q_i / q_w = w_i (-df/dw_i)
 *
 * f falls at every step, slowly near the end: so a few steps, then Newton (solve_exact) from there,
 * on the pure problem. Certificate: for any w* on the simplex, as log is concave,
 *
 *     f(w) - f(w*) = mean_t log(q_w* / q_w) <= log mean_t(q_w* / q_w) <= log max_i mean_t(q_i / q_w)
 *
 * Since w . grad f = -1, that maximum is 1 + gap with gap the one of solve_exact: the certificate
 * is log(1 + gap), never more than gap.
 */
#include <assert.h>
#include <math.h>

#include "base/alloc.h"
#include "base/status.h"
#include "solve/solve.h"

enum { STEPS = 12 };

enum packllm_status solve_em(const struct solve_problem *problem, double tolerance,
                             unsigned max_passes, double *lambda, struct solve_result *out,
                             struct packllm_error *err) {
    size_t n = problem->n;
    assert(n >= 1);
    double *w = alloc_array(2 * n, sizeof *w), *g = w + n;
    enum packllm_status status = PACKLLM_OK;
    if (w == NULL) {
        return fail_memory(err, 2 * n * sizeof *w);
    }
    for (size_t i = 0; i < n; i++) {
        w[i] = problem->prior != NULL ? problem->prior[i] : 1.0 / (double)n;
    }
    unsigned passes = 0;
    for (; passes < STEPS && passes + 1 < max_passes; passes++) {
        double f, most = 0;
        status = problem->eval(problem->ctx, w, &f, g, NULL);
        if (status != PACKLLM_OK) {
            status = fail(err, status, PACKLLM_NO_MEMBER, "weights: the objective failed: %s",
                          packllm_status_text(status));
            goto out;
        }
        for (size_t i = 0; i < n; i++) {
            most = fmax(most, -g[i]);
        }
        if (log(most) <= tolerance) {
            break;
        }
        for (size_t i = 0; i < n; i++) {
            w[i] *= fmax(-g[i], 0);
        }
    }
    struct solve_problem rest = *problem;
    struct solve_result result = {0};
    rest.prior = w; /* where it starts; without a ridge it means nothing else */
    rest.cap = NULL;
    rest.ridge = 0;
    status = solve_exact(&rest, tolerance, max_passes - passes, lambda, &result, err);
    if (status == PACKLLM_OK) {
        result.gap = log1p(result.gap);
        result.passes += passes;
        *out = result;
    }
out:
    base_free(w);
    return status;
}
