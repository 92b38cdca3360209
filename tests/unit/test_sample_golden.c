/* test_sample_golden.c - draws follow the distribution that NumPy computes for llama.cpp's chain
 * (tests/golden/make_golden.py): nothing outside it is ever drawn, and counts pass a chi-square. */
#include <math.h>

#include "sample/sample.h"
#include "check.h"
#include "golden.h"

#define IDS 16
#define DRAWS 40000

static struct packllm_sampling read_options(FILE *file) {
    double o[8];
    assert_int_equal(golden_read(file, "options", o, 8), 8);
    struct packllm_sampling params = {.temp = o[0],
                                      .top_k = (int32_t)o[1],
                                      .top_p = o[2],
                                      .min_p = o[3],
                                      .repeat_penalty = o[4],
                                      .repeat_last_n = (int32_t)o[5],
                                      .presence_penalty = o[6],
                                      .frequency_penalty = o[7],
                                      .seed = 99};
    return params;
}

static void one_case(FILE *file) {
    struct packllm_sampling params = read_options(file);
    struct sampler *sampler = NULL;
    double x[IDS], history[IDS], p[IDS], chi = 0;
    int counts[IDS] = {0}, cells = 0;
    assert_int_equal(sampler_open(&sampler, &params, NULL), PACKLLM_OK);
    assert_int_equal(golden_read(file, "x", x, IDS), IDS);
    size_t size = golden_read(file, "history", history, IDS);
    assert_int_equal(golden_read(file, "p", p, IDS), IDS);
    for (size_t k = 0; k < size; k++) {
        assert_int_equal(sampler_accept(sampler, (int32_t)history[k], NULL), PACKLLM_OK);
    }
    for (uint64_t position = 0; position < DRAWS; position++) {
        struct sample_candidate candidates[IDS];
        for (size_t i = 0; i < IDS; i++) {
            candidates[i] = (struct sample_candidate){(int32_t)i, x[i]};
        }
        counts[candidates[sampler_pick(sampler, candidates, IDS, position)].id]++;
    }
    for (size_t i = 0; i < IDS; i++) {
        if (p[i] == 0) {
            assert_int_equal(counts[i], 0);
        } else {
            double want = p[i] * DRAWS, off = counts[i] - want;
            chi += off * off / fmax(want, 5);
            cells++;
        }
    }
    assert_true(chi < cells + 6 * sqrt(2.0 * cells));
    sampler_close(sampler);
}

static void draws_follow_numpy(void **state) {
    (void)state;
    FILE *file = golden_open("sample.txt");
    for (int left = (int)golden_number(file, "cases"); left > 0; left--) {
        one_case(file);
    }
    golden_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(draws_follow_numpy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
