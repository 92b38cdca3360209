/* test_solve_closed.c - sim, uniform, top1, fixed. */
#include <math.h>

#include "base/rng.h"
#include "solve/solve.h"
#include "check.h"

/* Goal: sim is softmax(-nll / tau), the same bits however the members are numbered. */
static void sim(void **state) {
    (void)state;
    double lambda[3];
    const double nll[3] = {1, 1 + log(2), 1 + log(4)};
    assert_int_equal(solve_sim(nll, 3, 1, lambda, NULL), PACKLLM_OK);
    assert_true(fabs(lambda[0] - 4.0 / 7) < 1e-15 && fabs(lambda[2] - 1.0 / 7) < 1e-15);
    assert_int_equal(solve_sim(nll, 3, 1e-5, lambda, NULL), PACKLLM_OK);
    assert_true(lambda[0] == 1 && lambda[1] == 0);
    for (uint64_t seed = check_first_seed(), end = seed + 1000; seed < end; seed++) {
        uint64_t s = seed;
        double a[9], b[9], lambda_a[9], lambda_b[9];
        size_t n = 1 + rng_next(&s) % 9, shift = rng_next(&s) % n;
        for (size_t i = 0; i < n; i++) {
            a[i] = rng_uniform(rng_next(&s)) * (rng_next(&s) % 2 == 0 ? 1 : 50);
            a[i] = i > 0 && rng_next(&s) % 4 == 0 ? a[i - 1] : a[i];
        }
        for (size_t i = 0; i < n; i++) {
            b[i] = a[(i + shift) % n];
        }
        assert_int_equal(solve_sim(a, n, 0.7, lambda_a, NULL), PACKLLM_OK);
        assert_int_equal(solve_sim(b, n, 0.7, lambda_b, NULL), PACKLLM_OK);
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            CHECK_CASE(seed, lambda_b[i] == lambda_a[(i + shift) % n], "member %zu", i);
            sum += lambda_a[i];
        }
        CHECK_CASE(seed, fabs(sum - 1) < 1e-14, "sum %.17g", sum);
    }
}

/* Goal: top1 takes the lowest loss, the first of equals; uniform is 1/n. */
static void top1_and_uniform(void **state) {
    (void)state;
    double lambda[4];
    solve_top1((const double[]){3, 1, 1, 2}, 4, lambda);
    assert_true(lambda[0] == 0 && lambda[1] == 1 && lambda[2] == 0 && lambda[3] == 0);
    solve_top1((const double[]){3}, 1, lambda);
    assert_true(lambda[0] == 1);
    solve_uniform(4, lambda);
    assert_true(lambda[0] == 0.25 && lambda[3] == 0.25);
}

/* Goal: fixed normalises, keeps what sums to 1, and refuses by member. */
static void fixed(void **state) {
    (void)state;
    double lambda[2];
    struct packllm_error err;
    assert_int_equal(solve_fixed((const double[]){0.25, 0.75}, 2, lambda, NULL), PACKLLM_OK);
    assert_true(lambda[0] == 0.25 && lambda[1] == 0.75);
    assert_int_equal(solve_fixed((const double[]){3, 1}, 2, lambda, NULL), PACKLLM_OK);
    assert_true(lambda[0] == 0.75 && lambda[1] == 0.25);
    const double bad[] = {-1, nan(""), HUGE_VAL};
    for (size_t k = 0; k < 3; k++) {
        assert_int_equal(solve_fixed((const double[]){1, bad[k]}, 2, lambda, &err), PACKLLM_E_ARG);
        assert_int_equal(err.member, 1);
    }
    assert_int_equal(solve_fixed((const double[]){0, 0}, 2, lambda, &err), PACKLLM_E_ARG);
    assert_int_equal(solve_fixed((const double[]){1e308, 1e308}, 2, lambda, &err), PACKLLM_E_ARG);
    assert_true(lambda[0] == 0.75);
    assert_int_equal(solve_sim((const double[]){1, 2}, 2, 0, lambda, &err), PACKLLM_E_ARG);
    assert_int_equal(solve_sim((const double[]){1, 2}, 2, nan(""), lambda, &err), PACKLLM_E_ARG);
    assert_int_equal(solve_sim((const double[]){1, nan("")}, 2, 1, lambda, &err), PACKLLM_E_ARG);
    assert_int_equal(err.member, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sim),
        cmocka_unit_test(top1_and_uniform),
        cmocka_unit_test(fixed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
