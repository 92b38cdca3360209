/* test_base_rng.c - keyed noise: a function of its key alone, uniform, and different for every part
 * of the key. */
#include <math.h>

#include "base/rng.h"
#include "check.h"

/* Goal: the noise never changes between versions, else no reply could be repeated. */
static void noise_is_pinned(void **state) {
    (void)state;
    uint64_t s = 0;
    assert_true(rng_next(&s) == UINT64_C(0xe220a8397b1dcdaf)); /* splitmix64's published values */
    assert_true(rng_next(&s) == UINT64_C(0x6e789e6aa1b965f4));
    assert_true(rng_next(&s) == UINT64_C(0x06c45d188009454f));
    assert_true(rng_key(1, 2, 3) == rng_key(1, 2, 3));
    assert_true(rng_key(0, 0, 0) == UINT64_C(0x32e6497792ef1706));
    assert_true(rng_key(1, 2, 3) == UINT64_C(0xb96f62a701c04eea));
}

/* Goal: uniform numbers are strictly inside (0, 1) at both ends, so Gumbel noise is finite. */
static void uniform_is_open(void **state) {
    (void)state;
    assert_true(rng_uniform(0) > 0);
    assert_true(rng_uniform(UINT64_MAX) < 1);
    assert_true(isfinite(-log(-log(rng_uniform(0)))));
    assert_true(isfinite(-log(-log(rng_uniform(UINT64_MAX)))));
}

/* Goal: along each part of the key the noise is uniform (chi-square over 64 cells, 63 degrees of
 * freedom: mean 63, standard deviation 11) and neighbours do not agree. */
static void each_part_matters(void **state) {
    (void)state;
    for (int part = 0; part < 3; part++) {
        double cells[64] = {0};
        double covariance = 0, last = 0.5;
        const int count = 64000;
        for (int i = 0; i < count; i++) {
            uint64_t k = (uint64_t)i;
            uint64_t bits = part == 0   ? rng_key(k, 5, 9)
                            : part == 1 ? rng_key(5, k, 9)
                                        : rng_key(5, 9, k);
            double u = rng_uniform(bits);
            cells[(int)(u * 64)] += 1;
            covariance += (u - 0.5) * (last - 0.5);
            last = u;
        }
        double chi = 0;
        for (int c = 0; c < 64; c++) {
            chi += (cells[c] - 1000) * (cells[c] - 1000) / 1000;
        }
        assert_true(chi < 63 + 6 * 11.3);
        assert_true(fabs(covariance / count) < 6.0 / 12 / sqrt(count));
    }
}

/* Goal: Gumbel noise has mean 0.5772 and variance pi^2 / 6. */
static void gumbel_has_its_moments(void **state) {
    (void)state;
    const int count = 200000;
    double sum = 0, squares = 0;
    for (int i = 0; i < count; i++) {
        double x = rng_gumbel(3, (uint64_t)i, 7);
        sum += x;
        squares += x * x;
    }
    double mean = sum / count, variance = squares / count - mean * mean;
    assert_true(fabs(mean - 0.5772156649) < 6 * 1.2825 / sqrt(count));
    assert_true(fabs(variance - 1.6449340668) < 0.05);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_is_pinned),
        cmocka_unit_test(uniform_is_open),
        cmocka_unit_test(each_part_matters),
        cmocka_unit_test(gumbel_has_its_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
