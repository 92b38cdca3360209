/* test_solve_exact.c - the solver on functions whose minimum is known, and its errors. (Random
 * functions and the certificate: tests/property.) */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "solve/solve.h"
#include "check.h"

#define MOST 128

/* f = sum_i a_i (lambda_i - c_i)^2 / 2 + b_i lambda_i. fail_at: that pass returns an error. */
struct separable {
    size_t n;
    double a[MOST], b[MOST], c[MOST];
    unsigned passes, fail_at;
    double poison; /* added to the first entry of g */
};

static enum packllm_status eval_separable(void *ctx, const double *lambda, double *f, double *g,
                                          double *H) {
    struct separable *s = ctx;
    *f = 0;
    if (++s->passes == s->fail_at) {
        return PACKLLM_E_CANCELLED;
    }
    for (size_t i = 0; i < s->n; i++) {
        double away = lambda[i] - s->c[i];
        *f += s->a[i] * away * away / 2 + s->b[i] * lambda[i];
        if (g != NULL) {
            g[i] = s->a[i] * away + s->b[i] + (i == 0 ? s->poison : 0);
        }
        for (size_t j = 0; H != NULL && j < s->n; j++) {
            H[i * s->n + j] = i == j ? s->a[i] : 0;
        }
    }
    return PACKLLM_OK;
}

/* f = -log(q . lambda): the linear pool of one byte. */
static enum packllm_status eval_log(void *ctx, const double *lambda, double *f, double *g,
                                    double *H) {
    const double *q = ctx;
    double sum = 0;
    for (size_t i = 0; i < 3; i++) {
        sum += q[i] * lambda[i];
    }
    *f = -log(sum);
    for (size_t i = 0; i < 3; i++) {
        g[i] = -q[i] / sum;
        for (size_t j = 0; j < 3; j++) {
            H[i * 3 + j] = q[i] * q[j] / sum / sum;
        }
    }
    return PACKLLM_OK;
}

static struct solve_problem problem_of(struct separable *s) {
    return (struct solve_problem){.n = s->n, .eval = eval_separable, .ctx = s};
}

static struct solve_result solve(const struct solve_problem *problem, double *lambda) {
    struct solve_result result = {0};
    struct packllm_error err;
    if (solve_exact(problem, 1e-12, 60, lambda, &result, &err) != PACKLLM_OK) {
        print_error("%s\n", err.message);
        fail();
    }
    return result;
}

/* Goal: one member gets exactly 1, for one pass. */
static void one_member(void **state) {
    (void)state;
    struct separable s = {.n = 1, .a = {1}, .b = {5}};
    struct solve_problem problem = problem_of(&s);
    double lambda[1];
    struct solve_result result = solve(&problem, lambda);
    assert_true(lambda[0] == 1 && result.gap == 0 && result.passes == 1 && result.f == 5.5);
}

/* Goal: minima inside, on a face, and at a vertex are found, zeros are exact. */
static void known_minima(void **state) {
    (void)state;
    struct separable s = {.n = 3, .a = {1, 1, 1}, .c = {0.5, 0.3, 0.2}};
    struct solve_problem problem = problem_of(&s);
    double lambda[3];
    struct solve_result result = solve(&problem, lambda);
    assert_true(fabs(lambda[0] - 0.5) < 1e-10 && fabs(lambda[1] - 0.3) < 1e-10);
    assert_true(result.gap <= 1e-12 && result.passes <= 3);

    s.c[2] = -2; /* its own minimum is far outside: 0.6, 0.4, 0 */
    result = solve(&problem, lambda);
    assert_true(fabs(lambda[0] - 0.6) < 1e-10 && fabs(lambda[1] - 0.4) < 1e-10);
    assert_true(lambda[2] == 0);

    s.b[1] = -10;
    result = solve(&problem, lambda);
    assert_true(lambda[0] == 0 && lambda[1] == 1 && lambda[2] == 0);
    assert_true(result.gap == 0);
}

/* Goal: caps hold exactly; caps that sum to 1 leave one point; a prior above its cap is no start. */
static void caps(void **state) {
    (void)state;
    struct separable s = {.n = 3, .b = {1, 2, 3}};
    struct solve_problem problem = problem_of(&s);
    double lambda[3];
    problem.cap = (const double[]){0.5, 0.3, 1};
    struct solve_result result = solve(&problem, lambda);
    assert_true(lambda[0] == 0.5 && lambda[1] == 0.3 && fabs(lambda[2] - 0.2) < 1e-15);
    assert_true(result.gap <= 1e-15);
    problem.prior = (const double[]){1, 0, 0};
    result = solve(&problem, lambda);
    assert_true(lambda[0] == 0.5 && lambda[1] == 0.3 && fabs(lambda[2] - 0.2) < 1e-15);
    problem.cap = (const double[]){0.5, 0.25, 0.25};
    result = solve(&problem, lambda);
    assert_true(lambda[0] == 0.5 && lambda[1] == 0.25 && lambda[2] == 0.25);
    assert_true(result.gap == 0 && result.passes == 1);
}

/* Goal: the ridge pulls toward the prior: with f = 0 the prior itself, with f linear the projection
 * of prior - b / ridge. */
static void ridge(void **state) {
    (void)state;
    struct separable s = {.n = 3};
    struct solve_problem problem = problem_of(&s);
    double lambda[3];
    problem.prior = (const double[]){0.7, 0.2, 0.1};
    problem.ridge = 0.5;
    struct solve_result result = solve(&problem, lambda);
    assert_true(lambda[0] == 0.7 && lambda[1] == 0.2 && lambda[2] == 0.1);
    s.b[0] = 0.1; /* shifts by -0.2 + 0.2/3, 0.2/3, 0.2/3 */
    result = solve(&problem, lambda);
    assert_true(fabs(lambda[0] - (0.7 - 0.4 / 3)) < 1e-10);
    assert_true(fabs(lambda[1] - (0.2 + 0.2 / 3)) < 1e-10);
    assert_true(fabs(result.f - 0.1 * lambda[0]) < 1e-15); /* f is without the ridge */
}

/* Goal: nothing to choose between (H = 0, g = 0, or members that are copies): the start stays, and
 * copies share equally. */
static void indifferent(void **state) {
    (void)state;
    struct separable s = {.n = 4};
    struct solve_problem problem = problem_of(&s);
    double lambda[4];
    struct solve_result result = solve(&problem, lambda);
    for (size_t i = 0; i < 4; i++) {
        assert_true(lambda[i] == 0.25);
    }
    assert_true(result.gap == 0 && result.passes == 1);
    double q[3] = {1e-3, 0.5, 0.5};
    problem = (struct solve_problem){.n = 3, .eval = eval_log, .ctx = q};
    result = solve(&problem, lambda);
    assert_true(lambda[0] == 0 && lambda[1] == lambda[2] && result.gap <= 1e-12);
}

/* Goal: steep functions (the linear pool where one member gives the byte 4e-12) converge too. */
static void steep(void **state) {
    (void)state;
    double q[3] = {4e-12, 3e-12, 1};
    struct solve_problem problem = {.n = 3, .eval = eval_log, .ctx = q};
    double lambda[3];
    problem.prior = (const double[]){0.5, 0.5, 0};
    struct solve_result result = solve(&problem, lambda);
    assert_true(lambda[2] == 1 && result.gap <= 1e-12 && result.passes <= 60);
}

/* Goal: 128 members, most of them useless. */
static void many_members(void **state) {
    (void)state;
    struct separable s = {.n = MOST};
    for (size_t i = 0; i < MOST; i++) {
        s.a[i] = 0.5 + (double)(i % 7);
        s.c[i] = i % 10 == 0 ? 0.1 : -0.2 - 0.001 * (double)i;
    }
    struct solve_problem problem = problem_of(&s);
    double lambda[MOST], sum = 0;
    struct solve_result result = solve(&problem, lambda);
    for (size_t i = 0; i < MOST; i++) {
        assert_true(lambda[i] >= 0);
        assert_true(i % 10 == 0 || lambda[i] == 0);
        sum += lambda[i];
    }
    assert_true(fabs(sum - 1) < 1e-14 && result.gap <= 1e-12 && result.passes <= 4);
}

/* Goal: max_passes is kept, and what comes back is certified where it stands. */
static void few_passes(void **state) {
    (void)state;
    double q[3] = {4e-12, 1, 0.5}, lambda[3], gap;
    struct solve_problem problem = {.n = 3, .eval = eval_log, .ctx = q};
    problem.prior = (const double[]){1, 0, 0};
    for (unsigned most = 1; most < 5; most++) {
        struct solve_result result;
        assert_int_equal(solve_exact(&problem, 0, most, lambda, &result, NULL), PACKLLM_OK);
        assert_true(result.passes <= most);
        assert_int_equal(solve_gap(&problem, lambda, &gap, NULL), PACKLLM_OK);
        assert_true(gap == result.gap);
    }
}

/* Goal: wrong problems are refused with a line that says what is wrong; errors of eval come
 * through; results are untouched on failure. */
static void errors(void **state) {
    (void)state;
    struct separable s = {.n = 2, .a = {1, 1}};
    struct solve_problem good = problem_of(&s), bad;
    struct solve_result result = {.passes = 77};
    struct packllm_error err;
    double lambda[2] = {5, 5}, gap = 5;
    struct {
        double prior[2], cap[2], ridge;
        const char *message;
    } cases[] = {
        {{0.5, 0.6}, {1, 1}, 0, "weights: the priors sum to 1.1 instead of 1"},
        {{-0.5, 1.5}, {1, 1}, 0, "weights: the prior -0.5 is not in [0, 1]"},
        {{0.5, 0.5}, {0.5, 0.4}, 0, "weights: the caps sum to 0.9; together they must allow 1"},
        {{0.5, 0.5}, {1.5, 0.4}, 0, "weights: the cap 1.5 is not in (0, 1]"},
        {{0.5, 0.5}, {0, 1}, 0, "weights: the cap 0 is not in (0, 1]"},
        {{0.5, 0.5}, {1, 1}, -1, "weights: the ridge is -1, it must be finite and >= 0"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        bad = good;
        bad.prior = cases[k].prior;
        bad.cap = cases[k].cap;
        bad.ridge = cases[k].ridge;
        assert_int_equal(solve_exact(&bad, 0, 9, lambda, &result, &err), PACKLLM_E_ARG);
        assert_string_equal(err.message, cases[k].message);
        assert_int_equal(solve_gap(&bad, (const double[]){1, 0}, &gap, &err), PACKLLM_E_ARG);
    }
    bad = good;
    bad.ridge = nan("");
    assert_int_equal(solve_exact(&bad, 0, 9, lambda, &result, &err), PACKLLM_E_ARG);
    bad = good;
    bad.n = 0;
    assert_int_equal(solve_exact(&bad, 0, 9, lambda, &result, &err), PACKLLM_E_ARG);
    assert_int_equal(solve_exact(&good, nan(""), 9, lambda, &result, &err), PACKLLM_E_ARG);
    assert_int_equal(solve_gap(&good, (const double[]){0.5, 0.4}, &gap, &err), PACKLLM_E_ARG);
    assert_int_equal(solve_gap(&good, (const double[]){-0.5, 1.5}, &gap, &err), PACKLLM_E_ARG);
    assert_int_equal(solve_gap(&good, (const double[]){0.5, nan("")}, &gap, &err), PACKLLM_E_ARG);
    s.c[0] = 0.9;
    for (unsigned at = 1; at < 3; at++) {
        s.passes = 0;
        s.fail_at = at;
        assert_int_equal(solve_exact(&good, 0, 9, lambda, &result, &err), PACKLLM_E_CANCELLED);
        assert_int_equal(err.status, PACKLLM_E_CANCELLED);
    }
    s.fail_at = 0;
    s.poison = nan("");
    assert_int_equal(solve_exact(&good, 0, 9, lambda, &result, &err), PACKLLM_E_INTERNAL);
    assert_true(lambda[0] == 5 && lambda[1] == 5 && gap == 5 && result.passes == 77);
}

/* Goal: every allocation may fail. */
static void no_memory(void **state) {
    (void)state;
    struct separable s = {.n = 2, .a = {1, 1}};
    struct solve_problem problem = problem_of(&s);
    struct solve_result result;
    double lambda[2];
    unsigned long nth = 0;
    enum packllm_status status;
    do {
        alloc_fail_nth(++nth);
        status = solve_exact(&problem, 0, 9, lambda, &result, NULL);
        assert_true(status == PACKLLM_OK || status == PACKLLM_E_MEMORY);
    } while (status != PACKLLM_OK);
    alloc_fail_nth(0);
    assert_int_equal(nth, 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_member),   cmocka_unit_test(known_minima), cmocka_unit_test(caps),
        cmocka_unit_test(ridge),        cmocka_unit_test(indifferent),  cmocka_unit_test(steep),
        cmocka_unit_test(many_members), cmocka_unit_test(few_passes),   cmocka_unit_test(errors),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
