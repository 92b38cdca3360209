/* logsum.c - sums of exponentials, see logsum.h.
 *
 * log sum_i exp(x_i) = m + log sum_i exp(x_i - m), m = max x: no term overflows and the largest is
 * exactly 1. Sums run in eight lanes (two vectors) that are added in a fixed order at the end.
 */
#include "math/logsum.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#include "math/vec.h"

/* Eight values from x[0..n), what is missing filled with -inf. Exactly one of d and f is given. */
static void load_eight(const double *d, const float *f, size_t at, size_t n, vec_double out[2]) {
    assert(d != NULL || f != NULL);
    if (n - at >= 8) {
        for (size_t half = 0; half < 2; half++) {
            if (d != NULL) {
                vec_load(d + at + 4 * half, &out[half]);
            } else {
                vec_load_float(f + at + 4 * half, &out[half]);
            }
        }
        return;
    }
    double tail[8];
    for (size_t i = 0; i < 8; i++) {
        tail[i] = at + i < n ? (d != NULL ? d[at + i] : (double)f[at + i]) : -HUGE_VAL;
    }
    vec_load(tail, &out[0]);
    vec_load(tail + 4, &out[1]);
}

static double max_of(const double *d, const float *f, size_t n) {
    vec_double max[2], x[2];
    vec_bits nan = {0}, found;
    vec_set(-HUGE_VAL, &max[0]);
    max[1] = max[0];
    for (size_t at = 0; at < n; at += 8) {
        load_eight(d, f, at, n, x);
        vec_max_into(&max[0], &x[0]);
        vec_max_into(&max[1], &x[1]);
        for (size_t half = 0; half < 2; half++) {
            vec_is_nan(&x[half], &found);
            nan |= found;
        }
    }
    bool has_nan = (nan[0] | nan[1] | nan[2] | nan[3]) != 0;
    assert(!has_nan);
    (void)has_nan;
    vec_max_into(&max[0], &max[1]);
    return vec_max(&max[0]);
}

static double log_sum(const double *d, const float *f, size_t n) {
    double m = max_of(d, f, n);
    if (isinf(m)) {
        return m; /* nothing but -inf, or a +inf: either is the answer */
    }
    vec_double sum[2], x[2];
    vec_set(0, &sum[0]);
    sum[1] = sum[0];
    for (size_t at = 0; at < n; at += 8) {
        load_eight(d, f, at, n, x);
        for (size_t half = 0; half < 2; half++) {
            x[half] -= m;
            vec_exp(&x[half]);
            sum[half] += x[half];
        }
    }
    return m + log(vec_sum(&sum[0]) + vec_sum(&sum[1]));
}

double math_log_sum_exp(const double *x, size_t n) {
    return log_sum(x, NULL, n);
}

double math_log_sum_exp_f(const float *x, size_t n) {
    return log_sum(NULL, x, n);
}

double math_max_f(const float *x, size_t n) {
    return max_of(NULL, x, n);
}

void math_softmax(const double *x, size_t n, double *out) {
    double m = max_of(x, NULL, n);
    assert(isfinite(m));
    double sum = 0;
    for (size_t at = 0; at < n; at += 8) {
        vec_double v[2];
        double e[8];
        load_eight(x, NULL, at, n, v);
        for (size_t half = 0; half < 2; half++) {
            v[half] -= m;
            vec_exp(&v[half]);
            vec_store(&v[half], e + 4 * half);
        }
        sum += vec_sum(&v[0]) + vec_sum(&v[1]);
        memcpy(out + at, e, (n - at < 8 ? n - at : 8) * sizeof *e);
    }
    for (size_t i = 0; i < n; i++) {
        out[i] /= sum;
    }
}

double math_sum(const double *x, size_t n) {
    struct math_sum sum = {0};
    for (size_t i = 0; i < n; i++) {
        math_sum_add(&sum, x[i]);
    }
    return math_sum_total(&sum);
}

void math_sum_add(struct math_sum *sum, double x) {
    double total = sum->total + x;
    if (fabs(sum->total) >= fabs(x)) {
        sum->lost += (sum->total - total) + x;
    } else {
        sum->lost += (x - total) + sum->total;
    }
    sum->total = total;
}

double math_sum_total(const struct math_sum *sum) {
    /* With infinite terms lost is NaN (inf - inf); the plain sum is right. */
    return isfinite(sum->total) ? sum->total + sum->lost : sum->total;
}
