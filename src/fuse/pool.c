/* pool.c - one fused distribution: the floor and the two pools, see fuse.h. Called for every byte of
 * a reply, so no memory and no libm call in the loops (math/vec.h).
 */
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "fuse/fuse.h"
#include "math/vec.h"

#define WHOLE                                                                                      \
    ((size_t)PACKLLM_EVENTS / VEC_LANES * VEC_LANES) /* 256: the events in whole vectors */
#define PADDED ((size_t)VEC_PAD(PACKLLM_EVENTS))

static void floored_log(vec_double *v) {
    *v = (1 - FUSE_FLOOR) * *v + FUSE_FLOOR / PACKLLM_EVENTS;
    vec_log(v);
}

void fuse_floor(const double *q, float *out_logq) {
    vec_double v;
    for (size_t c = 0; c < WHOLE; c += VEC_LANES) {
        vec_load(q + c, &v);
        floored_log(&v);
        vec_store_float(&v, out_logq + c);
    }
    vec_set(q[PACKLLM_EVENT_END], &v);
    floored_log(&v);
    out_logq[PACKLLM_EVENT_END] = (float)v[0];
}

/* Four events of a row; from WHOLE on the last event and padding that gets `rest`. */
static void load_events(const float *row, size_t c, double rest, vec_double *to) {
    if (c < WHOLE) {
        vec_load_float(row + c, to);
    } else {
        *to = (vec_double){(double)row[PACKLLM_EVENT_END], rest, rest, rest};
    }
}

/* z <- sum_i lambda_i l_i; padding -inf. */
static void mix_logs(size_t n, const double *lambda, const float *const *logq, double *z) {
    vec_double sum, v;
    for (size_t c = 0; c < PADDED; c += VEC_LANES) {
        vec_set(0, &sum);
        for (size_t i = 0; i < n; i++) {
            if (lambda[i] != 0) { /* 0 * -inf would be NaN */
                load_events(logq[i], c, -HUGE_VAL, &v);
                sum += lambda[i] * v;
            }
        }
        vec_store(&sum, z + c);
    }
}

/* z <- sum_i lambda_i exp(l_i); padding 0. Returns the sum. */
static double mix_probabilities(size_t n, const double *lambda, const float *const *logq,
                                double *z) {
    vec_double sum, v, total;
    vec_set(0, &total);
    for (size_t c = 0; c < PADDED; c += VEC_LANES) {
        vec_set(0, &sum);
        for (size_t i = 0; i < n; i++) {
            if (lambda[i] != 0) {
                load_events(logq[i], c, -HUGE_VAL, &v);
                vec_exp(&v);
                sum += lambda[i] * v;
            }
        }
        vec_store(&sum, z + c);
        total += sum;
    }
    return vec_sum(&total);
}

/* log sum_c exp z_c over a padded row. */
static double log_normaliser(const double *z) {
    vec_double max, v, sum;
    vec_load(z, &max);
    for (size_t c = VEC_LANES; c < PADDED; c += VEC_LANES) {
        vec_load(z + c, &v);
        vec_max_into(&max, &v);
    }
    double m = vec_max(&max);
    assert(isfinite(m)); /* some event is possible, and none is NaN */
    vec_set(0, &sum);
    for (size_t c = 0; c < PADDED; c += VEC_LANES) {
        vec_load(z + c, &v);
        v -= m;
        vec_exp(&v);
        sum += v;
    }
    return m + log(vec_sum(&sum));
}

void fuse_pool(enum packllm_pool pool, size_t n, const double *lambda, const float *const *logq,
               float *out_logp) {
    size_t used = 0, last = 0;
    for (size_t i = 0; i < n; i++) {
        assert(lambda[i] >= 0);
        if (lambda[i] != 0) {
            used++;
            last = i;
        }
    }
    if (used == 0) { /* every power is 1 */
        assert(pool == PACKLLM_POOL_LOG);
        for (size_t c = 0; c < PACKLLM_EVENTS; c++) {
            out_logp[c] = (float)-log((double)PACKLLM_EVENTS);
        }
        return;
    }
    if (used == 1 && lambda[last] == 1) {
        memmove(out_logp, logq[last], PACKLLM_EVENTS * sizeof *out_logp);
        return;
    }
    double z[PADDED];
    float out[PADDED];
    bool linear = pool == PACKLLM_POOL_LINEAR;
    double normaliser;
    if (linear) {
        normaliser = mix_probabilities(n, lambda, logq, z);
        assert(normaliser > 0 && isfinite(normaliser));
    } else {
        mix_logs(n, lambda, logq, z);
        normaliser = log_normaliser(z);
    }
    for (size_t c = 0; c < PADDED; c += VEC_LANES) {
        vec_double v;
        vec_load(z + c, &v);
        if (linear) {
            v /= normaliser;
            vec_log(&v);
        } else {
            v -= normaliser;
        }
        vec_store_float(&v, out + c);
    }
    memcpy(out_logp, out, PACKLLM_EVENTS * sizeof *out);
}

void fuse_temper(double t, float *logq) {
    double z[PADDED];
    vec_double v;
    if (t == 1) {
        return;
    }
    for (size_t c = 0; c < PADDED; c += VEC_LANES) {
        load_events(logq, c, -HUGE_VAL, &v);
        v /= t;
        vec_store(&v, z + c);
    }
    double normaliser = log_normaliser(z);
    for (size_t c = 0; c < PADDED; c += VEC_LANES) {
        vec_load(z + c, &v);
        v -= normaliser;
        vec_exp(&v);
        vec_store(&v, z + c);
    }
    fuse_floor(z, logq);
}
