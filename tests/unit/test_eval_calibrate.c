/* test_eval_calibrate.c - the search over settings, on losses that are made up. Goals: a member that
 * knows the answers gets the prior, and that holds on items held out; temperatures of members that are
 * too sure or too shy are found; labels that mean nothing give no gain; an item held out is looked at
 * with the settings of the others, exactly; what cannot be bettered stays as it is; stopping stops. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "eval/calibrate.h"
#include "check.h"

enum { ITEMS = 200, OPTIONS = 4, MEMBERS = 2 };

struct quiz {
    double score[ITEMS][MEMBERS][OPTIONS]; /* log-probabilities up to a constant */
    size_t gold[ITEMS];
};

static double uniform(uint64_t seed, size_t a, size_t b) {
    return ((double)(rng_key(seed, a, b) >> 11) + 0.5) * 0x1p-53;
}

static double normal(uint64_t seed, size_t a, size_t b) {
    return sqrt(-2 * log(uniform(seed, a, 2 * b))) *
           cos(6.283185307179586 * uniform(seed, a, 2 * b + 1));
}

/* The softmax of the members' scores, weighed by the priors (as much shrinkage would have it). */
static enum packllm_status quiz_loss(void *data, size_t item, const struct calib_point *point,
                                     double *out_loss, bool *out_right, struct packllm_error *err) {
    const struct quiz *q = data;
    double z[OPTIONS], most = -HUGE_VAL, sum = 0;
    size_t best = 0;
    (void)err;
    for (size_t o = 0; o < OPTIONS; o++) {
        z[o] = 0;
        for (size_t i = 0; i < MEMBERS; i++) {
            z[o] += point->prior[i] * q->score[item][i][o] / point->temperature[i];
        }
        best = z[o] > z[best] ? o : best;
        most = fmax(most, z[o]);
    }
    for (size_t o = 0; o < OPTIONS; o++) {
        sum += exp(z[o] - most);
    }
    *out_loss = most + log(sum) - z[q->gold[item]];
    *out_right = best == q->gold[item];
    return PACKLLM_OK;
}

/* Member 0 knows (its scores times `sure`), the other guesses; shuffled: labels of their own. */
static void make_quiz(struct quiz *q, uint64_t seed, double sure, double other, bool shuffled) {
    for (size_t k = 0; k < ITEMS; k++) {
        double p[OPTIONS], sum = 0, at = uniform(seed, k, 500), truth[OPTIONS];
        for (size_t o = 0; o < OPTIONS; o++) {
            truth[o] = 2 * normal(seed, k, o);
            p[o] = exp(truth[o]);
            sum += p[o];
            q->score[k][0][o] = sure * truth[o];
            q->score[k][1][o] = other * normal(seed, k, 100 + o);
        }
        q->gold[k] = OPTIONS - 1;
        for (size_t o = 0; o + 1 < OPTIONS; o++) {
            at -= p[o] / sum;
            if (at < 0) {
                q->gold[k] = o;
                break;
            }
        }
        q->gold[k] = shuffled ? (size_t)(uniform(seed, k, 900) * OPTIONS) : q->gold[k];
    }
}

static struct calib begin(struct quiz *q, struct calib_point *before, bool temperatures) {
    assert_true(calib_point_init(before, MEMBERS, 1));
    return (struct calib){.n_members = MEMBERS,
                          .n_items = ITEMS,
                          .folds = 5,
                          .temperatures = temperatures,
                          .before = before,
                          .loss = quiz_loss,
                          .data = q};
}

static struct quiz quiz;

static void finds_the_better_member(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct calib_point before;
        struct calib_result r;
        make_quiz(&quiz, seed, 1, 2, false);
        struct calib c = begin(&quiz, &before, false);
        assert_int_equal(calib_fit(&c, &r, NULL), PACKLLM_OK);
        CHECK_CASE(seed, r.point.prior[0] > 0.8, "prior %g", r.point.prior[0]);
        CHECK_CASE(seed, r.change < -3 * r.stderr_change, "%g ± %g", r.change, r.stderr_change);
        CHECK_CASE(seed, r.right_held_out > r.right_before, "%zu", r.right_held_out);
        CHECK_CASE(seed, r.fitted <= r.held_out + 1e-12, "fitted %g", r.fitted);
        assert_true(r.point.temperature[0] == 1 && r.point.temperature[1] == 1);
        calib_result_done(&r);
        calib_point_done(&before);
    }
}

static void finds_temperatures(void **state) {
    (void)state;
    static const double sure[] = {0.5, 1, 2};
    for (size_t s = 0; s < 3; s++) {
        struct calib_point before;
        struct calib_result r;
        make_quiz(&quiz, 11 + s, sure[s], 1, false);
        struct calib c = begin(&quiz, &before, true);
        assert_int_equal(calib_fit(&c, &r, NULL), PACKLLM_OK);
        double scale = r.point.prior[0] / r.point.temperature[0] * sure[s];
        CHECK_CASE(s, fabs(log(scale)) < 0.35, "scale %g", scale);
        calib_result_done(&r);
        calib_point_done(&before);
    }
}

static void empty_labels_gain_nothing(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct calib_point before;
        struct calib_result r;
        make_quiz(&quiz, 100 + seed, 1, 2, true);
        struct calib c = begin(&quiz, &before, false);
        assert_int_equal(calib_fit(&c, &r, NULL), PACKLLM_OK);
        double right = ((double)r.right_held_out - (double)r.right_before) / ITEMS;
        CHECK_CASE(seed, right < 3 * r.stderr_right + 1e-9, "%g ± %g", right, r.stderr_right);
        calib_result_done(&r);
        calib_point_done(&before);
    }
}

/* Item 0 likes a shrinkage of 4, item 1 one of 1/2. */
static enum packllm_status two_loss(void *data, size_t item, const struct calib_point *point,
                                    double *out_loss, bool *out_right, struct packllm_error *err) {
    double likes = item == 0 ? 2 : -1, is = point->shrink > 0 ? log2(point->shrink) : -9;
    (void)data;
    (void)err;
    *out_loss = (is - likes) * (is - likes);
    *out_right = item == 0;
    return PACKLLM_OK;
}

static void folds_do_not_leak(void **state) {
    (void)state;
    for (int blocks = 0; blocks < 2; blocks++) {
        struct calib_point before;
        struct calib_result r;
        assert_true(calib_point_init(&before, 1, 1));
        struct calib c = {.n_members = 1,
                          .n_items = 2,
                          .folds = 2,
                          .blocks = blocks != 0,
                          .before = &before,
                          .loss = two_loss};
        assert_int_equal(calib_fit(&c, &r, NULL), PACKLLM_OK);
        assert_true(fabs(r.held_out - 9) < 1e-12); /* each at what the other likes */
        assert_true(fabs(r.before - 2.5) < 1e-12);
        assert_true(fabs(log2(r.point.shrink) - 0.5) < 1e-12); /* between the two */
        assert_true(fabs(r.fitted - 2.25) < 1e-12);
        calib_result_done(&r);
        calib_point_done(&before);
    }
}

static enum packllm_status flat_loss(void *data, size_t item, const struct calib_point *point,
                                     double *out_loss, bool *out_right, struct packllm_error *err) {
    (void)data;
    (void)item;
    (void)point;
    (void)err;
    *out_loss = 1;
    *out_right = true;
    return PACKLLM_OK;
}

static bool stop_at_five(void *data, size_t points) {
    (void)data;
    return points < 5;
}

static void stays_and_stops(void **state) {
    (void)state;
    struct calib_point before;
    struct calib_result r;
    struct packllm_error err;
    assert_true(calib_point_init(&before, MEMBERS, 0.3));
    before.prior[0] = 0.123;
    before.prior[1] = 0.877;
    before.temperature[1] = 1.777;
    struct calib c = {.n_members = MEMBERS,
                      .n_items = 10,
                      .folds = 3,
                      .temperatures = true,
                      .before = &before,
                      .loss = flat_loss};
    assert_int_equal(calib_fit(&c, &r, NULL), PACKLLM_OK);
    assert_true(r.point.prior[0] == 0.123 && r.point.temperature[1] == 1.777 &&
                r.point.shrink == 0.3);
    assert_true(r.change == 0 && r.stderr_change == 0 && r.right_held_out == 10);
    calib_result_done(&r);
    c.progress = stop_at_five;
    assert_int_equal(calib_fit(&c, &r, &err), PACKLLM_E_CANCELLED);
    c.folds = 11;
    assert_int_equal(calib_fit(&c, &r, &err), PACKLLM_E_ARG);
    assert_non_null(strstr(err.message, "folds"));
    calib_point_done(&before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_better_member), cmocka_unit_test(finds_temperatures),
        cmocka_unit_test(empty_labels_gain_nothing), cmocka_unit_test(folds_do_not_leak),
        cmocka_unit_test(stays_and_stops)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
