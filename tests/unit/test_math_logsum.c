/* test_math_logsum.c - sums of exponentials against long doubles, and the vector exp and log. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "math/logsum.h"
#include "math/vec.h"
#include "check.h"

#define MANY 100003

static long double slow_log_sum(const double *x, size_t n) {
    long double max = -(long double)HUGE_VAL, sum = 0;
    for (size_t i = 0; i < n; i++) {
        max = x[i] > (double)max ? (long double)x[i] : max;
    }
    for (size_t i = 0; i < n; i++) {
        sum += expl((long double)x[i] - max);
    }
    return max + logl(sum);
}

/* Goal: right to 1e-13 at every length around the vector width and at 1e5 terms, for doubles and
 * floats, with -inf among the terms, at huge offsets. */
static void log_sum_is_right(void **state) {
    (void)state;
    static double x[MANY];
    static float f[MANY];
    uint64_t s = 5;
    for (size_t i = 0; i < MANY; i++) {
        f[i] = (float)(40 * rng_uniform(rng_next(&s)) - 20);
        f[i] = i % 17 == 3 ? -(float)HUGE_VAL : f[i];
        x[i] = (double)f[i];
    }
    for (size_t n = 1; n <= MANY; n = n < 40 ? n + 1 : n * 3 + 1) {
        long double want = slow_log_sum(x, n);
        assert_true(fabsl((long double)math_log_sum_exp(x, n) - want) < 1e-13L);
        assert_true(math_log_sum_exp_f(f, n) == math_log_sum_exp(x, n));
    }
    double large[3] = {1e8, 1e8 - 1, -HUGE_VAL}, small[2] = {-1e8, -1e8};
    assert_true(fabs(math_log_sum_exp(large, 3) - (1e8 + log(1 + exp(-1)))) < 1e-7);
    assert_true(fabs(math_log_sum_exp(small, 2) - (-1e8 + log(2))) < 1e-7);
}

/* Goal: the edges: nothing, only -inf, a +inf. */
static void edges_of_log_sum(void **state) {
    (void)state;
    double none[9], one = 3.25;
    for (size_t i = 0; i < 9; i++) {
        none[i] = -HUGE_VAL;
    }
    assert_true(math_log_sum_exp(NULL, 0) == -HUGE_VAL);
    assert_true(math_log_sum_exp(none, 9) == -HUGE_VAL);
    assert_true(math_log_sum_exp(&one, 1) == 3.25);
    none[4] = HUGE_VAL;
    assert_true(math_log_sum_exp(none, 9) == HUGE_VAL);
    assert_true(math_max_f(NULL, 0) == -HUGE_VAL);
    float few[5] = {-3, -1, -(float)HUGE_VAL, -2, -9};
    assert_true(math_max_f(few, 5) == -1.0);
}

/* Goal: softmax sums to 1, keeps order, works in place, and is exactly 0 for -inf. */
static void softmax_is_a_distribution(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 1000; seed < end; seed++) {
        uint64_t s = seed;
        double x[40], p[40];
        size_t n = 1 + rng_next(&s) % 40;
        for (size_t i = 0; i < n; i++) {
            x[i] = 800 * rng_uniform(rng_next(&s)) - 400;
            x[i] = i > 0 && rng_next(&s) % 5 == 0 ? -HUGE_VAL : x[i];
        }
        long double log_sum = slow_log_sum(x, n);
        math_softmax(x, n, p);
        for (size_t i = 0; i < n; i++) {
            double want = (double)expl((long double)x[i] - log_sum);
            CHECK_CASE(seed, fabs(p[i] - want) <= 2e-13 * want + 1e-300, "%zu: %g, want %g", i,
                       p[i], want);
        }
        CHECK_CASE(seed, fabs(math_sum(p, n) - 1) < 1e-14, "sum %.17g", math_sum(p, n));
        math_softmax(x, n, x);
        CHECK_CASE(seed, memcmp(x, p, n * sizeof *x) == 0, "in place");
    }
}

/* Goal: the compensated sum does not lose small terms beside large ones. */
static void sum_is_compensated(void **state) {
    (void)state;
    double hard[4] = {1, 1e100, 1, -1e100};
    assert_true(math_sum(hard, 4) == 2);
    assert_true(math_sum(NULL, 0) == 0);
    double with_inf[3] = {1, -HUGE_VAL, 2};
    assert_true(math_sum(with_inf, 3) == -HUGE_VAL);
    static double x[MANY];
    uint64_t s = 9;
    long double want = 0;
    for (size_t i = 0; i < MANY; i++) {
        x[i] = exp(60 * rng_uniform(rng_next(&s)) - 30) * (i % 2 == 0 ? 1 : -1);
        want += (long double)x[i];
    }
    assert_true(fabsl((long double)math_sum(x, MANY) - want) < 1e-15L * fabsl(want) + 1e-6L);
}

/* Goal: the errors that vec.h states hold (4e-16 for exp, 8e-16 for log), every lane, whole range. */
static void vector_functions_are_accurate(void **state) {
    (void)state;
    uint64_t s = 2;
    for (int i = 0; i < 300000; i++) {
        double range = i % 3 == 0 ? 708 : i % 3 == 1 ? 30 : 0.5;
        double x[4], y[4], e[4], l[4];
        for (int k = 0; k < 4; k++) {
            x[k] = range * (2 * rng_uniform(rng_next(&s)) - 1);
            y[k] = i % 2 == 0 ? exp(x[k]) : 1 + 0.4 * x[k] / range;
        }
        vec_double v;
        vec_load(x, &v);
        vec_exp(&v);
        vec_store(&v, e);
        vec_load(y, &v);
        vec_log(&v);
        vec_store(&v, l);
        for (int k = 0; k < 4; k++) {
            long double want = expl((long double)x[k]);
            assert_true(fabsl((long double)e[k] - want) <= 4e-16L * want);
            want = logl((long double)y[k]);
            assert_true(fabsl((long double)l[k] - want) <= 8e-16L * fabsl(want));
        }
    }
    vec_double edge = {-HUGE_VAL, -708.5, 0, -0.0};
    vec_exp(&edge);
    assert_true(edge[0] == 0 && edge[1] == 0 && edge[2] == 1 && edge[3] == 1);
    edge = (vec_double){0, -1, 1, 0x1p-1074};
    vec_log(&edge);
    assert_true(edge[0] == -HUGE_VAL && edge[1] == -HUGE_VAL && edge[2] == 0);
    assert_true(edge[3] == -HUGE_VAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_sum_is_right),
        cmocka_unit_test(edges_of_log_sum),
        cmocka_unit_test(softmax_is_a_distribution),
        cmocka_unit_test(sum_is_compensated),
        cmocka_unit_test(vector_functions_are_accurate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
