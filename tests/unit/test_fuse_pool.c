/* test_fuse_pool.c - the floor and the pools against long doubles; the edges. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "fuse/fuse.h"
#include "check.h"
#include "rows.h"

#define N PACKLLM_EVENTS

/* Goal: the floor is the formula, its least value is FUSE_LOG_FLOOR, and sums stay 1. */
static void floor_is_the_formula(void **state) {
    (void)state;
    double q[N] = {0};
    float out[N];
    q[7] = 1;
    fuse_floor(q, out);
    assert_true(out[0] == (float)log(FUSE_FLOOR / N) && out[256] == out[0]);
    assert_true((double)out[0] >= FUSE_LOG_FLOOR && (double)out[0] < FUSE_LOG_FLOOR + 1e-3);
    uint64_t s = 3;
    for (int round = 0; round < 300; round++) {
        double sum = 0, check = 0;
        for (size_t c = 0; c < N; c++) {
            q[c] = exp(5 * rows_normal(&s));
            sum += q[c];
        }
        for (size_t c = 0; c < N; c++) {
            q[c] /= sum;
        }
        fuse_floor(q, out);
        for (size_t c = 0; c < N; c++) {
            double want = log((1 - FUSE_FLOOR) * q[c] + FUSE_FLOOR / N);
            assert_true(fabs((double)out[c] - want) <= 1e-6 * (fabs(want) + 1e-9));
            check += exp((double)out[c]);
        }
        assert_true(fabs(check - 1) < 1e-6);
    }
}

/* Goal: both pools agree with long doubles to float rounding, sums are 1 within 1e-6, members at 0
 * may have no row, and e_k gives the row bit for bit. */
static void pools_are_right(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 1500; seed < end; seed++) {
        uint64_t s = seed;
        size_t n = 1 + rng_next(&s) % 5;
        struct rows rows;
        double lambda[5];
        float out[N];
        rows_open(&rows, n, 1, seed);
        rows_lambda(n, &s, lambda);
        const float *row[5];
        size_t used = 0, last = 0;
        for (size_t i = 0; i < n; i++) {
            row[i] = lambda[i] != 0 ? rows.logq[i] : NULL;
            used += lambda[i] != 0 ? 1 : 0;
            last = lambda[i] != 0 ? i : last;
        }
        for (int linear = 0; linear < 2; linear++) {
            long double want[N], sum = 0, check = 0;
            for (size_t c = 0; c < N; c++) {
                want[c] = 0;
                for (size_t i = 0; i < n; i++) {
                    if (lambda[i] != 0) {
                        long double l = (long double)row[i][c];
                        want[c] += (long double)lambda[i] * (linear ? expl(l) : l);
                    }
                }
                want[c] = linear ? want[c] : expl(want[c]);
                sum += want[c];
            }
            fuse_pool(linear ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG, n, lambda, row, out);
            for (size_t c = 0; c < N; c++) {
                long double log_want = logl(want[c] / sum);
                CHECK_CASE(
                    seed, fabsl((long double)out[c] - log_want) <= 1.3e-7L * (0.1L - log_want),
                    "linear %d event %zu: %.9g, want %.9Lg", linear, c, (double)out[c], log_want);
                check += expl((long double)out[c]);
            }
            CHECK_CASE(seed, fabsl(check - 1) < 1e-6L, "sum %.9Lg", check);
            CHECK_CASE(seed, used > 1 || memcmp(out, row[last], sizeof out) == 0, "e_k");
        }
        rows_close(&rows);
    }
}

/* Goal: events of -inf stay impossible (log: for any member with weight; linear: for all), and the
 * out row may be one of the rows. */
static void impossible_events(void **state) {
    (void)state;
    float a[N], b[N], out[N];
    for (size_t c = 0; c < N; c++) {
        a[c] = c % 2 == 0 ? logf(1.0F / 129) : -(float)HUGE_VAL;
        b[c] = c < 100 ? logf(0.01F) : -(float)HUGE_VAL;
    }
    const float *rows[2] = {a, b};
    fuse_pool(PACKLLM_POOL_LOG, 2, (const double[]){0.5, 0.5}, rows, out);
    assert_true(out[1] == -(float)HUGE_VAL && out[200] == -(float)HUGE_VAL);
    assert_true(fabs((double)out[0] - log(0.02)) < 1e-6);
    fuse_pool(PACKLLM_POOL_LINEAR, 2, (const double[]){0.5, 0.5}, rows, out);
    assert_true(out[101] == -(float)HUGE_VAL);
    assert_true(fabs((double)out[1] - log(0.005)) < 1e-6);
    fuse_pool(PACKLLM_POOL_LOG, 2, (const double[]){0, 1}, (const float *const[]){NULL, b}, b);
    assert_true(b[3] == logf(0.01F));
    fuse_pool(PACKLLM_POOL_LOG, 2, (const double[]){0.5, 0.5}, rows, a);
    assert_true(fabs((double)a[0] - log(0.02)) < 1e-6);
}

/* Goal: a sum other than 1 is a temperature and still a distribution; all weights 0: uniform. */
static void free_sums(void **state) {
    (void)state;
    struct rows rows;
    float one[N], two[N];
    double sum = 0;
    rows_open(&rows, 2, 1, 5);
    const float *const row[] = {rows.logq[0], rows.logq[1]};
    fuse_pool(PACKLLM_POOL_LOG, 2, (const double[]){0, 0}, row, one);
    for (size_t c = 0; c < N; c++) {
        assert_true(fabs((double)one[c] + log(N)) < 1e-6);
    }
    fuse_pool(PACKLLM_POOL_LOG, 2, (const double[]){0.5, 0.5}, row, one);
    fuse_pool(PACKLLM_POOL_LOG, 2, (const double[]){1.5, 1.5}, row, two);
    for (size_t c = 0; c < N; c++) {
        double cooled = 3 * ((double)one[c] - (double)one[0]);
        assert_true(fabs((double)two[c] - (double)two[0] - cooled) < 1e-4);
        sum += exp((double)two[c]);
    }
    assert_true(fabs(sum - 1) < 1e-6);
    rows_close(&rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floor_is_the_formula),
        cmocka_unit_test(pools_are_right),
        cmocka_unit_test(impossible_events),
        cmocka_unit_test(free_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
