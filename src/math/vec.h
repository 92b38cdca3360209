/* vec.h - exp and log of four doubles at a time, for the loops that run over 257 events or a whole
 * vocabulary. GNU vector types (gcc and clang lower them to what the processor has), a fixed number
 * of lanes and products never fused (-ffp-contract=off), so the bits are the same everywhere.
 * Vectors travel by pointer: passed by value their ABI depends on the processor (-Wpsabi).
 *
 * Arrays that these loops run over are padded to whole vectors: VEC_PAD(n) doubles.
 */
#ifndef MATH_VEC_H
#define MATH_VEC_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VEC_LANES 4
#define VEC_PAD(n) (((n) + (VEC_LANES - 1)) / VEC_LANES * VEC_LANES)

typedef double vec_double __attribute__((vector_size(32)));
typedef uint64_t vec_bits __attribute__((vector_size(32)));
typedef float vec_float __attribute__((vector_size(16)));

static inline void vec_load(const double *from, vec_double *to) {
    memcpy(to, from, sizeof *to);
}
static inline void vec_store(const vec_double *from, double *to) {
    memcpy(to, from, sizeof *from);
}
static inline void vec_load_float(const float *from, vec_double *to) {
    vec_float four;
    memcpy(&four, from, sizeof four);
    *to = __builtin_convertvector(four, vec_double);
}
static inline void vec_store_float(const vec_double *from, float *to) {
    vec_float four = __builtin_convertvector(*from, vec_float);
    memcpy(to, &four, sizeof four);
}
static inline void vec_set(double x, vec_double *to) {
    *to = (vec_double){x, x, x, x};
}
/* Lanes in a fixed order. */
static inline double vec_sum(const vec_double *x) {
    return ((*x)[0] + (*x)[1]) + ((*x)[2] + (*x)[3]);
}
static inline double vec_max(const vec_double *x) {
    double low = (*x)[0] > (*x)[1] ? (*x)[0] : (*x)[1];
    double high = (*x)[2] > (*x)[3] ? (*x)[2] : (*x)[3];
    return low > high ? low : high;
}
/* yes where mask is all ones, no where it is 0. */
static inline void vec_select(const vec_bits *mask, const vec_double *yes, const vec_double *no,
                              vec_double *to) {
    *to = (vec_double)(((vec_bits)*yes & *mask) | ((vec_bits)*no & ~*mask));
}
/* All ones in the lanes that are NaN. */
static inline void vec_is_nan(const vec_double *x, vec_bits *mask) {
    vec_bits magnitude = (vec_bits)*x & UINT64_C(0x7fffffffffffffff);
    *mask = (vec_bits)(magnitude > UINT64_C(0x7ff0000000000000));
}
static inline void vec_max_into(vec_double *max, const vec_double *x) {
    vec_bits mask = (vec_bits)(*x > *max);
    vec_select(&mask, x, max, max);
}

/* *x <- exp(*x) for x <= 709. x = k ln 2 + r with |r| <= ln 2 / 2 (ln 2 in two parts, the first one
 * short enough that k times it is exact), exp(r) by its Taylor sum to r^12 (the rest is below 2e-16
 * of it), 2^k by the exponent bits. Relative error <= 4e-16; below -708: 0, so -inf is too. */
static inline void vec_exp(vec_double *x) {
    const double shift = 0x1.8p52; /* adding it rounds to an integer, kept in the low bits */
    vec_double low, v;
    vec_set(-708.0, &low);
    vec_bits alive = (vec_bits)(*x >= low);
    vec_select(&alive, x, &low, &v);
    vec_double t = v * 1.44269504088896340736 + shift;
    vec_double k = t - shift;
    vec_double r = v - k * 6.93147180369123816490e-01 - k * 1.90821492927058770002e-10;
    vec_double r2 = r * r, r4 = r2 * r2;
    vec_double a = (1.0 / 2 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
    vec_double b = (1.0 / 720 + r * (1.0 / 5040)) + r2 * (1.0 / 40320 + r * (1.0 / 362880));
    vec_double c = (1.0 / 3628800 + r * (1.0 / 39916800)) + r2 * (1.0 / 479001600);
    vec_double p = 1.0 + (r + r2 * (a + r4 * (b + r4 * c)));
    vec_bits scale = ((vec_bits)t + 1023U) << 52;
    *x = (vec_double)((vec_bits)(p * (vec_double)scale) & alive);
}

typedef float vec_floats __attribute__((vector_size(64)));
typedef uint32_t vec_float_bits __attribute__((vector_size(64)));
#define VEC_FLOATS 16

/* *x <- exp(*x) for x <= 88, sixteen floats at a time. As vec_exp, with the Taylor sum to r^7.
 * Relative error <= 2e-7; below -87: 0. */
static inline void vec_exp_floats(vec_floats *x) {
    const float shift = 0x1.8p23F;
    vec_float_bits alive = (vec_float_bits)(*x >= -87.0F);
    vec_floats v = (vec_floats)((vec_float_bits)*x & alive); /* 0 where not: no NaN, no overflow */
    vec_floats t = v * 1.44269504F + shift;
    vec_floats k = t - shift;
    vec_floats r = v - k * 0.693359375F + k * 2.12194440e-4F;
    vec_floats r2 = r * r;
    vec_floats a = (1.0F / 2 + r * (1.0F / 6)) + r2 * (1.0F / 24 + r * (1.0F / 120));
    vec_floats b = 1.0F / 720 + r * (1.0F / 5040);
    vec_floats p = 1.0F + (r + r2 * (a + (r2 * r2) * b));
    vec_float_bits scale = ((vec_float_bits)t + 127U) << 23;
    *x = (vec_floats)((vec_float_bits)(p * (vec_floats)scale) & alive);
}

/* Lanes in a fixed order: halves onto each other. */
static inline float vec_sum_floats(const vec_floats *x) {
    typedef float vec_half __attribute__((vector_size(32)));
    vec_half low, high;
    vec_float sum, upper;
    memcpy(&low, x, sizeof low);
    memcpy(&high, (const char *)x + sizeof low, sizeof high);
    low += high;
    memcpy(&sum, &low, sizeof sum);
    memcpy(&upper, (const char *)&low + sizeof sum, sizeof upper);
    sum += upper;
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

/* The largest of x[n], none of them NaN; -inf for none. */
static inline float vec_largest(const float *x, size_t n) {
    vec_floats most = {0}, v;
    float largest = -HUGE_VALF;
    size_t i = 0;
    most -= HUGE_VALF;
    for (; i + VEC_FLOATS <= n; i += VEC_FLOATS) {
        memcpy(&v, x + i, sizeof v);
        vec_float_bits larger = (vec_float_bits)(v > most);
        most = (vec_floats)(((vec_float_bits)v & larger) | ((vec_float_bits)most & ~larger));
    }
    for (; i < n; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    for (size_t lane = 0; lane < VEC_FLOATS; lane++) {
        largest = most[lane] > largest ? most[lane] : largest;
    }
    return largest;
}

/* How many of x[n] are >= least. */
static inline size_t vec_count_from(const float *x, size_t n, float least) {
    vec_float_bits counts = {0};
    vec_floats v;
    size_t i = 0, count = 0;
    for (; i + VEC_FLOATS <= n; i += VEC_FLOATS) {
        memcpy(&v, x + i, sizeof v);
        counts -= (vec_float_bits)(v >= least);
    }
    for (; i < n; i++) {
        count += x[i] >= least;
    }
    for (size_t lane = 0; lane < VEC_FLOATS; lane++) {
        count += counts[lane];
    }
    return count;
}

/* *x <- log(*x) for normal x > 0; -inf below the least normal number, 0 and negative ones included.
 * x = 2^k m with m in [sqrt 1/2, sqrt 2), log m = 2 atanh(s), s = (m - 1) / (m + 1), as a sum of odd
 * powers to s^19 (the rest is below 1e-16 of it). Relative error <= 8e-16. */
static inline void vec_log(vec_double *x) {
    vec_double least, minus_inf;
    vec_set(0x1p-1022, &least);
    vec_set(-HUGE_VAL, &minus_inf);
    vec_bits alive = (vec_bits)(*x >= least);
    vec_double v;
    vec_select(&alive, x, &least, &v);
    const uint64_t root_half = 0x3fe6a09e667f3bcdU; /* sqrt(1/2) */
    vec_bits bits = (vec_bits)v - root_half;        /* so that the carry splits at sqrt(1/2) */
    /* k + 1024 is positive: convert through the mantissa of 2^52. */
    vec_bits k_bits = ((bits + (UINT64_C(1024) << 52)) >> 52) | UINT64_C(0x4330000000000000);
    vec_double k = (vec_double)k_bits - (0x1p52 + 1024.0);
    vec_double m = (vec_double)((bits & UINT64_C(0x000fffffffffffff)) + root_half);
    vec_double s = (m - 1.0) / (m + 1.0);
    vec_double z = s * s, z2 = z * z, z4 = z2 * z2;
    vec_double a = (2.0 / 3 + z * (2.0 / 5)) + z2 * (2.0 / 7 + z * (2.0 / 9));
    vec_double b = (2.0 / 11 + z * (2.0 / 13)) + z2 * (2.0 / 15 + z * (2.0 / 17));
    vec_double c = z4 * (2.0 / 19 + z * (2.0 / 21));
    vec_double tail = s * z * (a + z4 * (b + c));
    vec_double result =
        k * 6.93147180369123816490e-01 + (2.0 * s + (tail + k * 1.90821492927058770002e-10));
    vec_select(&alive, &result, &minus_inf, x);
}

#endif
