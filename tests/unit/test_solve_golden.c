/* test_solve_golden.c - log-sum-exp, softmax and sim against SciPy (tests/golden/make_golden.py). */
#include <math.h>

#include "math/logsum.h"
#include "solve/solve.h"
#include "check.h"
#include "golden.h"

#define MOST 64

static void as_scipy_says(void **state) {
    (void)state;
    FILE *file = golden_open("math.txt");
    for (int left = (int)golden_number(file, "cases"); left > 0; left--) {
        double x[MOST], want[MOST], got[MOST];
        size_t n = golden_read(file, "x", x, MOST);
        double log_sum = golden_number(file, "log_sum");
        assert_true(fabs(math_log_sum_exp(x, n) - log_sum) <= 1e-13 * (1 + fabs(log_sum)));
        (void)golden_read(file, "softmax", want, MOST);
        math_softmax(x, n, got);
        for (size_t i = 0; i < n; i++) {
            assert_true(fabs(got[i] - want[i]) <= 1e-12 * want[i]);
        }
        (void)golden_read(file, "nll", x, MOST);
        double tau = golden_number(file, "tau");
        (void)golden_read(file, "sim", want, MOST);
        assert_int_equal(solve_sim(x, n, tau, got, NULL), PACKLLM_OK);
        for (size_t i = 0; i < n; i++) {
            assert_true(fabs(got[i] - want[i]) <= 1e-14);
        }
    }
    golden_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_scipy_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
