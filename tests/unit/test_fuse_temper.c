/* test_fuse_temper.c - a member's temperature: nothing is touched at 1; else the row is q^(1/t),
 * normalised, with the floor; twice is once with the product; a large one makes all events alike. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "fuse/fuse.h"
#include "check.h"

enum { CASES = 200 };

static void make_row(uint64_t seed, float *out) {
    double q[PACKLLM_EVENTS], sum = 0;
    for (size_t e = 0; e < PACKLLM_EVENTS; e++) {
        double u = (double)(rng_key(seed, e, 0) >> 11) * 0x1p-53;
        q[e] = exp(12 * u - 12);
        sum += q[e];
    }
    for (size_t e = 0; e < PACKLLM_EVENTS; e++) {
        q[e] /= sum;
    }
    fuse_floor(q, out);
}

static void powers(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        float row[PACKLLM_EVENTS], same[PACKLLM_EVENTS], warm[PACKLLM_EVENTS];
        double t = exp(2 * ((double)(rng_key(seed, 999, 0) >> 11) * 0x1p-53 - 0.5)), sum = 0;
        double total = 0;
        make_row(seed, row);
        memcpy(same, row, sizeof row);
        memcpy(warm, row, sizeof row);
        fuse_temper(1, same);
        assert_memory_equal(same, row, sizeof row);
        fuse_temper(t, warm);
        for (size_t e = 0; e < PACKLLM_EVENTS; e++) {
            sum += exp((double)row[e] / t);
        }
        for (size_t e = 0; e < PACKLLM_EVENTS; e++) {
            double want =
                (1 - FUSE_FLOOR) * exp((double)row[e] / t) / sum + FUSE_FLOOR / PACKLLM_EVENTS;
            CHECK_CASE(seed, fabs((double)warm[e] - log(want)) < 1e-5, "t %g: %g, want %g", t,
                       (double)warm[e], log(want));
            total += exp((double)warm[e]);
        }
        CHECK_CASE(seed, fabs(total - 1) < 1e-5, "sum %g", total);
        fuse_temper(1 / t, warm); /* and back, but for the floor */
        for (size_t e = 0; e < PACKLLM_EVENTS; e++) {
            CHECK_CASE(seed, (double)row[e] / t < -18 || fabs((double)(warm[e] - row[e])) < 1e-2,
                       "%g, was %g", (double)warm[e], (double)row[e]);
        }
    }
}

static void ends(void **state) {
    (void)state;
    float row[PACKLLM_EVENTS], cold[PACKLLM_EVENTS];
    make_row(7, row);
    memcpy(cold, row, sizeof row);
    fuse_temper(1e6, row);
    fuse_temper(0.01, cold);
    for (size_t e = 0; e < PACKLLM_EVENTS; e++) {
        assert_true(fabs((double)row[e] + log(PACKLLM_EVENTS)) < 1e-4);
        assert_true((double)cold[e] >= FUSE_LOG_FLOOR - 0.01);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(powers), cmocka_unit_test(ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
