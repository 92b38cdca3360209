/* experts.c - a base model steered by the difference of two others (DExperts, arXiv 2105.03023), see
 * fuse.h.
 *
 *     p(c) ~ q_B(c) (q_E(c) / q_A(c))^alpha  over  V = { c : q_B(c) >= 0.1 max q_B },  0 elsewhere
 *
 * the log-linear pool with the weights (1, alpha, -alpha). A negative weight rewards what the anti-expert
 * finds unlikely, mostly noise far out in the tail; hence V, which depends on the base alone. Then
 * the floor, as everywhere.
 *
 * The loss of a prompt as a function of alpha, with d = l_E - l_A, over the bytes that stand in V:
 *
 *     L(alpha) = mean_t [ log sum_{c in V} exp(l_B + alpha d) - l_B(x_t) - alpha d(x_t) ]
 *     L' = mean_t ( E[d] - d(x_t) ),   L'' = mean_t Var(d) >= 0
 *
 * convex. A byte outside V costs log(257 / eta) whatever alpha is.
 */
#include <math.h>
#include <stdbool.h>

#include "fuse/fuse.h"
#include "math/logsum.h"

#define SHARE 0.1 /* of the base's largest probability */

/* z[c] = l_B + alpha d inside V, -inf outside; returns its log-sum-exp. */
static double steer(const float *base, const float *expert, const float *anti, double alpha,
                    double *z) {
    double least = math_max_f(base, PACKLLM_EVENTS) + log(SHARE);
    for (size_t c = 0; c < PACKLLM_EVENTS; c++) {
        bool inside = (double)base[c] >= least;
        z[c] = inside ? (double)base[c] + alpha * ((double)expert[c] - (double)anti[c]) : -HUGE_VAL;
    }
    return math_log_sum_exp(z, PACKLLM_EVENTS);
}

void fuse_experts_pool(const float *base, const float *expert, const float *anti, double alpha,
                       float *out_logp) {
    double z[PACKLLM_EVENTS];
    double norm = steer(base, expert, anti, alpha, z);
    for (size_t c = 0; c < PACKLLM_EVENTS; c++) {
        z[c] = exp(z[c] - norm);
    }
    fuse_floor(z, out_logp);
}

enum packllm_status fuse_experts_objective(void *ctx, const double *alpha, double *f, double *g,
                                           double *H) {
    const struct fuse_experts *e = ctx;
    double z[PACKLLM_EVENTS], count = (double)e->n_bytes;
    struct math_sum loss = {0}, slope = {0}, curve = {0};
    for (size_t t = 0; t < e->n_bytes; t++) {
        const float *expert = e->expert + t * PACKLLM_EVENTS, *anti = e->anti + t * PACKLLM_EVENTS;
        double norm = steer(e->base + t * PACKLLM_EVENTS, expert, anti, alpha[0], z);
        double seen = z[e->event[t]], mean = 0, var = 0;
        if (seen == -HUGE_VAL) {
            math_sum_add(&loss, log(PACKLLM_EVENTS / FUSE_FLOOR));
            continue;
        }
        math_sum_add(&loss, norm - seen);
        for (size_t c = 0; c < PACKLLM_EVENTS; c++) {
            z[c] = z[c] == -HUGE_VAL ? 0 : exp(z[c] - norm);
            mean += z[c] * ((double)expert[c] - (double)anti[c]);
        }
        for (size_t c = 0; c < PACKLLM_EVENTS; c++) {
            double d = (double)expert[c] - (double)anti[c] - mean;
            var += z[c] * d * d;
        }
        math_sum_add(&slope, mean - ((double)expert[e->event[t]] - (double)anti[e->event[t]]));
        math_sum_add(&curve, var);
    }
    *f = math_sum_total(&loss) / count;
    if (g != NULL) {
        *g = math_sum_total(&slope) / count;
    }
    if (H != NULL) {
        *H = math_sum_total(&curve) / count;
    }
    return PACKLLM_OK;
}
