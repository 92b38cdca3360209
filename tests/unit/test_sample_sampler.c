/* test_sample_sampler.c - options, history, bias, ties and draws of the sampler. (The chain against
 * a restatement on random input: tests/property.) */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "sample/sample.h"
#include "check.h"

static struct packllm_sampling off(void) {
    struct packllm_sampling params = {0};
    params.temp = 1;
    params.top_p = 1;
    params.repeat_penalty = 1;
    return params;
}

static struct sampler *open_sampler(struct packllm_sampling params) {
    struct sampler *sampler = NULL;
    struct packllm_error err;
    if (sampler_open(&sampler, &params, &err) != PACKLLM_OK) {
        print_error("%s\n", err.message);
        fail();
    }
    return sampler;
}

/* The id picked from ids 0, 1, … with these values. */
static int32_t pick(struct sampler *sampler, const double *values, size_t n, uint64_t position) {
    struct sample_candidate candidates[16];
    assert_true(n <= 16);
    for (size_t i = 0; i < n; i++) {
        candidates[i] = (struct sample_candidate){(int32_t)i, values[i]};
    }
    return candidates[sampler_pick(sampler, candidates, n, position)].id;
}

/* Goal: greedy takes the largest, the lowest id of equals, in any order of candidates. */
static void greedy_and_ties(void **state) {
    (void)state;
    struct packllm_sampling params = off();
    params.temp = 0;
    struct sampler *sampler = open_sampler(params);
    struct sample_candidate candidates[3] = {{9, -1}, {4, -1}, {7, -2}};
    assert_int_equal(candidates[sampler_pick(sampler, candidates, 3, 0)].id, 4);
    assert_int_equal(pick(sampler, (double[]){-3, -1, -2}, 3, 5), 1);
    double none[3] = {-HUGE_VAL, -HUGE_VAL, -HUGE_VAL};
    assert_int_equal(pick(sampler, none, 3, 0), 0);
    sampler_close(sampler);
    params = off();
    params.top_k = 2; /* a cut between equals keeps the lower ids, so 2 is never drawn */
    sampler = open_sampler(params);
    for (uint64_t position = 0; position < 200; position++) {
        assert_true(pick(sampler, (double[]){-1, -1, -1}, 3, position) != 2);
        assert_int_equal(pick(sampler, none, 3, position), 0);
    }
    sampler_close(sampler);
}

/* Goal: penalties count only the last repeat_last_n; positive divided, negative multiplied; then
 * frequency times count and presence once. Worked numbers. */
static void penalties(void **state) {
    (void)state;
    struct packllm_sampling params = off();
    params.temp = 0;
    params.repeat_penalty = 2;
    params.repeat_last_n = 2;
    struct sampler *sampler = open_sampler(params);
    assert_int_equal(pick(sampler, (double[]){4, 3}, 2, 0), 0);
    assert_int_equal(sampler_accept(sampler, 0, NULL), PACKLLM_OK);
    assert_int_equal(pick(sampler, (double[]){4, 3}, 2, 0), 1);   /* 2 < 3 */
    assert_int_equal(pick(sampler, (double[]){-2, -3}, 2, 0), 1); /* -4 < -3 */
    (void)sampler_accept(sampler, 7, NULL);
    assert_int_equal(pick(sampler, (double[]){4, 3}, 2, 0), 1);
    (void)sampler_accept(sampler, 7, NULL);
    assert_int_equal(pick(sampler, (double[]){4, 3}, 2, 0), 0); /* 0 is two back: forgotten */
    (void)sampler_accept(sampler, 0, NULL);
    sampler_reset(sampler);
    assert_int_equal(pick(sampler, (double[]){4, 3}, 2, 0), 0);
    sampler_close(sampler);

    params.repeat_penalty = 1;
    params.repeat_last_n = -1; /* all */
    params.frequency_penalty = 0.5;
    params.presence_penalty = 0.25;
    sampler = open_sampler(params);
    for (int i = 0; i < 1000; i++) {
        (void)sampler_accept(sampler, 0, NULL); /* 500.25 */
    }
    (void)sampler_accept(sampler, 1, NULL); /* 0.75 */
    assert_int_equal(pick(sampler, (double[]){499.4, 0}, 2, 0), 1);
    assert_int_equal(pick(sampler, (double[]){499.6, 0}, 2, 0), 0);
    sampler_close(sampler);

    params.repeat_last_n = 0; /* off, whatever the penalties say */
    sampler = open_sampler(params);
    (void)sampler_accept(sampler, 0, NULL);
    assert_int_equal(pick(sampler, (double[]){0.1, 0}, 2, 0), 0);
    sampler_close(sampler);
}

/* Goal: a bias is added first, is replaced by the next for the same id, -inf bans, many are kept. */
static void biases(void **state) {
    (void)state;
    struct packllm_sampling params = off();
    params.temp = 0;
    struct sampler *sampler = open_sampler(params);
    for (int32_t id = 1000; id < 1500; id++) {
        assert_int_equal(sampler_bias(sampler, id, 1, NULL), PACKLLM_OK);
    }
    assert_int_equal(sampler_bias(sampler, 1, 5, NULL), PACKLLM_OK);
    assert_int_equal(pick(sampler, (double[]){0, -4, -1}, 3, 0), 1);
    assert_int_equal(sampler_bias(sampler, 1, -HUGE_VAL, NULL), PACKLLM_OK);
    assert_int_equal(pick(sampler, (double[]){-9, 4, -10}, 3, 0), 0);
    sampler_reset(sampler);
    assert_int_equal(pick(sampler, (double[]){-9, 4, -10}, 3, 0), 0);
    struct packllm_error err;
    assert_int_equal(sampler_bias(sampler, 1, nan(""), &err), PACKLLM_E_ARG);
    assert_int_equal(sampler_bias(sampler, 1, HUGE_VAL, &err), PACKLLM_E_ARG);
    sampler_close(sampler);
}

/* Goal: draws follow softmax(x / temp) (chi-square over 12 outcomes, mean 11, deviation 4.7), and a
 * draw is a function of seed and position alone. */
static void draws_follow_the_distribution(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct packllm_sampling params = off();
        params.temp = 0.5 + 0.4 * (double)seed;
        params.seed = seed;
        struct sampler *sampler = open_sampler(params);
        double x[12], p[12], sum = 0, chi = 0;
        int counts[12] = {0};
        for (int i = 0; i < 12; i++) {
            x[i] = -0.25 * i + 100;
            p[i] = exp((x[i] - 100) / params.temp);
            sum += p[i];
        }
        const int draws = 40000;
        for (int k = 0; k < draws; k++) {
            counts[pick(sampler, x, 12, (uint64_t)k)]++;
        }
        for (int i = 0; i < 12; i++) {
            double want = draws * p[i] / sum;
            chi += (counts[i] - want) * (counts[i] - want) / want;
        }
        assert_true(chi < 11 + 6 * 4.7);
        int32_t first = pick(sampler, x, 12, 3);
        sampler_reset(sampler);
        assert_int_equal(pick(sampler, x, 12, 3), first);
        sampler_close(sampler);
    }
}

/* Goal: a wrong option is refused by name, value and range; NaN and infinities too. */
static void wrong_options(void **state) {
    (void)state;
    struct sampler *sampler = NULL;
    struct packllm_error err;
    const double wrong[] = {nan(""), HUGE_VAL, -HUGE_VAL, 1e300, -1e300};
    for (size_t w = 0; w < sizeof wrong / sizeof *wrong; w++) {
        for (size_t field = 0; field < 6; field++) {
            struct packllm_sampling params = off();
            double *const fields[] = {&params.temp,
                                      &params.top_p,
                                      &params.min_p,
                                      &params.repeat_penalty,
                                      &params.presence_penalty,
                                      &params.frequency_penalty};
            *fields[field] = wrong[w];
            assert_int_equal(sampler_open(&sampler, &params, &err), PACKLLM_E_ARG);
            assert_null(sampler);
        }
    }
    struct packllm_sampling params = off();
    params.top_p = 1.5;
    assert_int_equal(sampler_open(&sampler, &params, &err), PACKLLM_E_ARG);
    assert_string_equal(err.message, "sampling: top_p is 1.5, not in [0, 1]");
    params = off();
    params.repeat_last_n = -2;
    assert_int_equal(sampler_open(&sampler, &params, &err), PACKLLM_E_ARG);
    params = off();
    params.repeat_penalty = 0;
    assert_int_equal(sampler_open(&sampler, &params, &err), PACKLLM_E_ARG);
}

/* Goal: every allocation may fail, and the sampler can be used afterwards. */
static void no_memory(void **state) {
    (void)state;
    struct packllm_sampling params = off();
    params.repeat_penalty = 1.1;
    params.repeat_last_n = 500;
    struct sampler *sampler = NULL;
    alloc_fail_nth(1);
    assert_int_equal(sampler_open(&sampler, &params, NULL), PACKLLM_E_MEMORY);
    for (unsigned long nth = 1; nth < 12; nth++) {
        sampler = open_sampler(params);
        int failures = 0;
        alloc_fail_nth(nth);
        for (int32_t id = 0; id < 600; id++) {
            enum packllm_status status = sampler_accept(sampler, id, NULL);
            failures += status == PACKLLM_E_MEMORY ? 1 : 0;
            assert_true(status == PACKLLM_OK || status == PACKLLM_E_MEMORY);
        }
        alloc_fail_nth(0);
        assert_true(failures <= 1);
        assert_int_equal(pick(sampler, (double[]){-1, -2}, 2, 0) < 2, 1);
        sampler_close(sampler);
    }
    sampler_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_and_ties), cmocka_unit_test(penalties),
        cmocka_unit_test(biases),          cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(wrong_options),   cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
