/* test_score_golden.c - the weights of solve_exact on fuse's objective against those that
 * make_golden.py found by trying every face of the simplex: pure, with prior and ridge, with caps. */
#include <math.h>

#include "fuse/fuse.h"
#include "solve/solve.h"
#include "check.h"
#include "golden.h"

#define N PACKLLM_EVENTS
#define MEMBERS 4
#define BYTES 8

static double values[MEMBERS * BYTES * N], prior[MEMBERS], cap[MEMBERS], ridge;
static float logq[MEMBERS * BYTES * N];

static void one_problem(FILE *file, struct fuse_block *block, int kind) {
    size_t n = block->n_members;
    double want[MEMBERS], lambda[MEMBERS], F;
    struct solve_result result;
    struct solve_problem problem = {
        .n = n, .eval = fuse_objective, .ctx = block, .order = block->order};
    problem.prior = kind == 1 ? prior : NULL;
    problem.ridge = kind == 1 ? ridge : 0;
    problem.cap = kind == 2 ? cap : NULL;
    double best = golden_number(file, "best_f");
    assert_int_equal(golden_read(file, "best", want, MEMBERS), n);
    assert_int_equal(solve_exact(&problem, 1e-12, 60, lambda, &result, NULL), PACKLLM_OK);
    F = result.f;
    for (size_t i = 0; i < n && kind == 1; i++) {
        F += ridge / 2 * (lambda[i] - prior[i]) * (lambda[i] - prior[i]);
    }
    assert_true(fabs(F - best) < 1e-11);
    for (size_t i = 0; i < n; i++) {
        if (!(fabs(lambda[i] - want[i]) < 1e-6)) {
            print_error("problem %d, weight %zu: %.9g, golden %.9g\n", kind, i, lambda[i], want[i]);
            fail();
        }
    }
}

static void as_scipy_says(void **state) {
    (void)state;
    FILE *file = golden_open("fuse.txt");
    (void)golden_read(file, "floor_q", values, N);
    (void)golden_read(file, "floor_log", values, N);
    for (int left = (int)golden_number(file, "cases"); left > 0; left--) {
        double shape[2], events[BYTES];
        uint16_t event[BYTES];
        const float *column[MEMBERS];
        (void)golden_read(file, "shape", shape, 2);
        size_t n = (size_t)shape[0], T = (size_t)shape[1];
        (void)golden_read(file, "logq", values, MEMBERS * BYTES * N);
        for (size_t i = 0; i < n * T * N; i++) {
            logq[i] = (float)values[i];
        }
        (void)golden_read(file, "event", events, BYTES);
        for (size_t t = 0; t < T; t++) {
            event[t] = (uint16_t)events[t];
        }
        for (size_t i = 0; i < n; i++) {
            column[i] = logq + i * T * N;
        }
        (void)golden_read(file, "lambda", values, MEMBERS);
        (void)golden_read(file, "prior", prior, MEMBERS);
        (void)golden_read(file, "cap", cap, MEMBERS);
        ridge = golden_number(file, "ridge");
        for (int linear = 0; linear < 2; linear++) {
            struct fuse_block block;
            (void)golden_read(file, "pool", values, N);
            (void)golden_number(file, "f");
            (void)golden_read(file, "g", values, N);
            (void)golden_read(file, "h", values, N);
            assert_int_equal(fuse_block_init(&block,
                                             linear ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG, n, T,
                                             column, event, NULL, NULL, NULL),
                             PACKLLM_OK);
            for (int kind = 0; kind < 3; kind++) {
                one_problem(file, &block, kind);
            }
            fuse_block_done(&block);
        }
    }
    golden_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_scipy_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
