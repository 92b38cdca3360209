/* test_eval_grade.c - marks, means, standard errors, McNemar's test and the paired bootstrap against
 * NumPy and SciPy (tests/golden/make_golden.py); ties; the matching of written answers. */
#include <math.h>

#include "eval/grade.h"
#include "check.h"
#include "golden.h"

enum { MOST = 256, CHOICES = 8 };

static void close_to(double got, double want) {
    assert_true(fabs(got - want) <= 1e-11 * (1 + fabs(want)));
}

static void read_marks(FILE *file, size_t n, struct grade_mark *out) {
    for (size_t i = 0; i < n; i++) {
        double nll[CHOICES], size[CHOICES], want[3];
        size_t bytes[CHOICES], choices = golden_read(file, "nll", nll, CHOICES);
        (void)golden_read(file, "bytes", size, CHOICES);
        size_t gold = (size_t)golden_number(file, "gold");
        (void)golden_read(file, "mark", want, 3);
        for (size_t k = 0; k < choices; k++) {
            bytes[k] = (size_t)size[k];
        }
        out[i] = grade_choice(nll, bytes, choices, gold);
        assert_true(out[i].right == (want[0] > 0) && out[i].right_norm == (want[1] > 0));
        close_to(out[i].gold_nll, want[2]);
    }
    double mean[3], error[3];
    (void)golden_read(file, "mean", mean, 3);
    (void)golden_read(file, "stderr", error, 3);
    struct grade_sum sum = grade_add_up(out, n);
    close_to(sum.accuracy, mean[0]);
    close_to(sum.accuracy_norm, mean[1]);
    close_to(sum.gold_nll, mean[2]);
    if (n > 1) {
        close_to(sum.stderr_accuracy, error[0]);
        close_to(sum.stderr_norm, error[1]);
        close_to(sum.stderr_nll, error[2]);
    } else {
        assert_true(isnan(sum.stderr_accuracy) && isnan(sum.stderr_nll));
    }
}

static void as_scipy_says(void **state) {
    (void)state;
    FILE *file = golden_open("marks.txt");
    for (int left = (int)golden_number(file, "cases"); left > 0; left--) {
        struct grade_mark a[MOST], b[MOST];
        struct grade_pair pair;
        double interval[2];
        size_t n = (size_t)golden_number(file, "items");
        (void)golden_number(file, "choices");
        size_t rounds = (size_t)golden_number(file, "rounds");
        read_marks(file, n, a);
        read_marks(file, n, b);
        assert_true(grade_compare(a, b, n, 17, rounds, &pair));
        assert_int_equal(pair.won, (size_t)golden_number(file, "won"));
        assert_int_equal(pair.lost, (size_t)golden_number(file, "lost"));
        close_to(pair.mcnemar, golden_number(file, "mcnemar"));
        close_to(pair.difference, golden_number(file, "difference"));
        (void)golden_read(file, "interval", interval, 2);
        close_to(pair.low, interval[0]);
        close_to(pair.high, interval[1]);
        close_to(pair.nll_difference, golden_number(file, "difference"));
        (void)golden_read(file, "interval", interval, 2);
        close_to(pair.nll_low, interval[0]);
        close_to(pair.nll_high, interval[1]);
    }
    golden_close(file);
}

static void ties_go_to_the_first(void **state) {
    (void)state;
    const double nll[] = {2, 2, 2};
    const size_t bytes[] = {1, 1, 1};
    assert_true(grade_choice(nll, bytes, 3, 0).right);
    assert_false(grade_choice(nll, bytes, 3, 1).right);
    close_to(grade_choice(nll, bytes, 3, 2).gold_nll, log(3));
}

static void coin(void **state) {
    (void)state;
    close_to(grade_mcnemar(0, 0), 1);
    close_to(grade_mcnemar(0, 1), 1);
    close_to(grade_mcnemar(5, 0), 2.0 / 32);
    close_to(grade_mcnemar(1, 3), 2 * 5.0 / 16);
    assert_true(grade_mcnemar(3000, 2000) < 1e-40);
}

static void answers(void **state) {
    (void)state;
    assert_true(grade_exact(" Camera.\n", "camera"));
    assert_false(grade_exact("cameras", "camera"));
    assert_true(grade_number("so 3 + 4 = 7 and 1,234.50 in all.", "1234.5"));
    assert_true(grade_number("it is -12", "-12"));
    assert_false(grade_number("12 of 13", "12"));
    assert_false(grade_number("none", "12"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_scipy_says),
                                       cmocka_unit_test(ties_go_to_the_first),
                                       cmocka_unit_test(coin), cmocka_unit_test(answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
