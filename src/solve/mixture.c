/* mixture.c - Bayes: each expert (a member, or a pool) explains the text so far, or not.
 *
 *     p(x_t | x_<t) = sum_i w_i(t) q_i(x_t),    w_i(t + 1) = w_i(t) q_i(x_t) / p(x_t | x_<t)
 *
 * The product of the left sides telescopes, so the mixture's whole loss is
 *
 *     -log sum_i w_i(0) prod_t q_i(x_t)  <=  loss_i + log 1 / w_i(0)     for every i:
 *
 * with n equal experts never more than log n nats above the best, in all. Weights are kept as logs:
 * after a few hundred bytes products are below the smallest double.
 */
#include <assert.h>
#include <math.h>

#include "base/status.h"
#include "solve/solve.h"

#define SNAP 1e-12 /* weights below are 0, as in solve_exact: the member costs nothing then */

double solve_mixture_step(size_t n, const double *logp, double *log_w) {
    double max = -HUGE_VAL, sum = 0;
    for (size_t i = 0; i < n; i++) {
        log_w[i] += logp[i];
        max = fmax(max, log_w[i]);
    }
    assert(isfinite(max));
    for (size_t i = 0; i < n; i++) {
        sum += exp(log_w[i] - max);
    }
    double mix = max + log(sum);
    for (size_t i = 0; i < n; i++) {
        log_w[i] -= mix;
    }
    return mix;
}

enum packllm_status solve_bayes(const double *loss, const double *prior, size_t n, double *lambda,
                                double *out_loss, struct packllm_error *err) {
    double least = HUGE_VAL;
    assert(n >= 1);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(loss[i]) || !(prior[i] > 0)) {
            return fail(err, PACKLLM_E_ARG, (int)i,
                        "weights: its loss %g is not finite, or its prior %g not > 0", loss[i],
                        prior[i]);
        }
        least = fmin(least, loss[i] - log(prior[i]));
    }
    for (size_t i = 0; i < n; i++) {
        lambda[i] = exp(least - (loss[i] - log(prior[i])));
    }
    double sum = solve_sorted_sum(lambda, n);
    *out_loss = least - log(sum);
    for (size_t i = 0; i < n; i++) {
        lambda[i] = lambda[i] / sum < SNAP ? 0 : lambda[i];
    }
    sum = solve_sorted_sum(lambda, n);
    for (size_t i = 0; i < n; i++) {
        lambda[i] /= sum;
    }
    return PACKLLM_OK;
}
