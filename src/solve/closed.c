/* closed.c - the weights that need no search: sim, uniform, top1, fixed. */
#include <assert.h>
#include <math.h>

#include "base/status.h"
#include "solve/solve.h"

double solve_sorted_sum(const double *x, size_t n) {
    double sum = 0, last = -HUGE_VAL;
    for (;;) {
        double next = HUGE_VAL;
        size_t count = 0;
        for (size_t i = 0; i < n; i++) {
            if (x[i] > last && x[i] < next) {
                next = x[i];
                count = 1;
            } else if (x[i] == next) {
                count++;
            }
        }
        if (count == 0) {
            return sum;
        }
        sum += (double)count * next;
        last = next;
    }
}

enum packllm_status solve_sim(const double *nll, size_t n, double tau, double *lambda,
                              struct packllm_error *err) {
    assert(n >= 1);
    if (!(tau > 0) || isinf(tau)) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "weights: tau is %g, it must be finite and > 0", tau);
    }
    double least = HUGE_VAL;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(nll[i])) {
            return fail(err, PACKLLM_E_ARG, (int)i, "weights: its loss %g is not finite", nll[i]);
        }
        least = fmin(least, nll[i]);
    }
    for (size_t i = 0; i < n; i++) {
        lambda[i] = exp((least - nll[i]) / tau);
    }
    double sum = solve_sorted_sum(lambda, n);
    for (size_t i = 0; i < n; i++) {
        lambda[i] /= sum;
    }
    return PACKLLM_OK;
}

void solve_uniform(size_t n, double *lambda) {
    for (size_t i = 0; i < n; i++) {
        lambda[i] = 1.0 / (double)n;
    }
}

void solve_top1(const double *nll, size_t n, double *lambda) {
    assert(n >= 1);
    size_t best = 0;
    for (size_t i = 0; i < n; i++) {
        lambda[i] = 0;
        if (nll[i] < nll[best]) {
            best = i;
        }
    }
    lambda[best] = 1;
}

enum packllm_status solve_fixed(const double *given, size_t n, double *lambda,
                                struct packllm_error *err) {
    assert(n >= 1);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(given[i]) || given[i] < 0) {
            return fail(err, PACKLLM_E_ARG, (int)i,
                        "weights: the given weight %g is not a finite number >= 0", given[i]);
        }
    }
    double sum = solve_sorted_sum(given, n);
    if (!(sum > 0) || isinf(sum)) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "weights: the given weights sum to %g; at least one must be > 0", sum);
    }
    for (size_t i = 0; i < n; i++) {
        lambda[i] = given[i] / sum;
    }
    return PACKLLM_OK;
}
