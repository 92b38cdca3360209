/* test_score_weighers_golden.c - greedy, free, em and bayes on fuse's objective against what
 * make_golden.py says: the paper's folds of logits, SLSQP, EM iterated to the end, Bayes byte by byte. */
#include <math.h>

#include "fuse/fuse.h"
#include "solve/solve.h"
#include "check.h"
#include "golden.h"

#define N PACKLLM_EVENTS
#define MEMBERS 4
#define BYTES 8

static double values[MEMBERS * BYTES * N];
static float logq[MEMBERS * BYTES * N];

static void compare(const char *what, const double *got, const double *want, size_t n,
                    double most) {
    for (size_t i = 0; i < n; i++) {
        if (!(fabs(got[i] - want[i]) <= most)) {
            print_error("%s, member %zu of %zu: %.9g, golden %.9g\n", what, i, n, got[i], want[i]);
            fail();
        }
    }
}

static void one_case(FILE *file, struct fuse_block *log_block, struct fuse_block *linear) {
    size_t n = log_block->n_members;
    double prior[MEMBERS], want[MEMBERS], lambda[MEMBERS], nll[MEMBERS], F;
    struct solve_result r;
    (void)golden_read(file, "prior", prior, MEMBERS);
    double ridge = golden_number(file, "ridge");
    fuse_member_nll(log_block, nll);
    for (int k = 0; k < 2; k++) {
        struct fuse_block *block = k == 0 ? log_block : linear;
        struct solve_problem p = {
            .n = n, .eval = fuse_objective, .ctx = block, .order = block->order};
        assert_int_equal(solve_greedy(&p, nll, lambda, &r, NULL), PACKLLM_OK);
        assert_int_equal(golden_read(file, "greedy", want, MEMBERS), n);
        compare("greedy", lambda, want, n, 1e-12);
        assert_true(fabs(r.f - golden_number(file, "greedy_f")) <
                    1e-7); /* float rows, unnormalised */
    }
    for (int k = 0; k < 2; k++) {
        struct solve_problem p = {.n = n,
                                  .eval = fuse_objective,
                                  .ctx = log_block,
                                  .prior = prior,
                                  .ridge = k == 0 ? 0 : ridge,
                                  .order = log_block->order};
        assert_int_equal(solve_free(&p, 1e-12, 200, lambda, &r, NULL), PACKLLM_OK);
        assert_int_equal(golden_read(file, "free", want, MEMBERS), n);
        F = r.f;
        for (size_t i = 0; i < n; i++) {
            F += p.ridge / 2 * (lambda[i] - prior[i]) * (lambda[i] - prior[i]);
        }
        double golden = golden_number(file, "free_F");
        assert_true(F <= golden + 1e-11 && F >= golden - 1e-7);
        compare("free", lambda, want, n, 2e-3);
    }
    struct solve_problem p = {
        .n = n, .eval = fuse_objective, .ctx = linear, .order = linear->order};
    assert_int_equal(solve_em(&p, 1e-12, 200, lambda, &r, NULL), PACKLLM_OK);
    assert_int_equal(golden_read(file, "em", want, MEMBERS), n);
    double golden = golden_number(file, "em_f"), loss;
    assert_true(r.f <= golden + 1e-12 && r.f >= golden - 1e-5);
    compare("em", lambda, want, n, 1e-3); /* EM itself is what is slow */
    for (size_t i = 0; i < n; i++) {
        nll[i] *= (double)linear->n_bytes;
    }
    assert_int_equal(solve_bayes(nll, prior, n, lambda, &loss, NULL), PACKLLM_OK);
    assert_int_equal(golden_read(file, "bayes", want, MEMBERS), n);
    compare("bayes", lambda, want, n, 1e-11);
    golden = golden_number(file, "bayes_loss");
    assert_true(fabs(loss - golden) <= 1e-11 * golden);
}

/* The rows and events that follow in the file: fills logq and event. */
static void read_rows(FILE *file, size_t n, size_t T, uint16_t *event) {
    double events[BYTES];
    assert_int_equal(golden_read(file, "logq", values, MEMBERS * BYTES * N), n * T * N);
    for (size_t i = 0; i < n * T * N; i++) {
        logq[i] = (float)values[i];
    }
    (void)golden_read(file, "event", events, BYTES);
    for (size_t t = 0; t < T; t++) {
        event[t] = (uint16_t)events[t];
    }
}

static void one_steered(FILE *file) {
    size_t T = (size_t)golden_number(file, "bytes");
    uint16_t event[BYTES];
    double want[N], f, alpha = 0.7;
    float out[N];
    read_rows(file, 3, T, event);
    struct fuse_experts e = {logq, logq + T * N, logq + 2 * T * N, event, T};
    (void)golden_read(file, "pool", want, N);
    fuse_experts_pool(e.base, e.expert, e.anti, alpha, out);
    for (size_t c = 0; c < N; c++) {
        assert_true(fabs((double)out[c] - want[c]) <= 3e-6 * (1 + fabs(want[c])));
    }
    assert_int_equal(fuse_experts_objective(&e, &alpha, &f, NULL, NULL), PACKLLM_OK);
    assert_true(fabs(f - golden_number(file, "loss")) < 1e-12);
    struct solve_problem p = {.n = 1, .eval = fuse_experts_objective, .ctx = &e};
    struct solve_result r;
    assert_int_equal(solve_free(&p, 1e-12, 200, &alpha, &r, NULL), PACKLLM_OK);
    double golden = golden_number(file, "best_loss");
    assert_true(r.f <= golden + 1e-12 && r.f >= golden - 1e-8);
    double best = golden_number(file, "alpha");
    compare("alpha", &alpha, &best, 1, 1e-3);
}

static void as_scipy_says(void **state) {
    (void)state;
    FILE *file = golden_open("weighers.txt");
    for (int left = (int)golden_number(file, "cases"); left > 0; left--) {
        double shape[2];
        uint16_t event[BYTES];
        const float *column[MEMBERS];
        struct fuse_block log_block, linear;
        (void)golden_read(file, "shape", shape, 2);
        size_t n = (size_t)shape[0], T = (size_t)shape[1];
        read_rows(file, n, T, event);
        for (size_t i = 0; i < n; i++) {
            column[i] = logq + i * T * N;
        }
        assert_int_equal(
            fuse_block_init(&log_block, PACKLLM_POOL_LOG, n, T, column, event, NULL, NULL, NULL),
            PACKLLM_OK);
        assert_int_equal(
            fuse_block_init(&linear, PACKLLM_POOL_LINEAR, n, T, column, event, NULL, NULL, NULL),
            PACKLLM_OK);
        one_case(file, &log_block, &linear);
        fuse_block_done(&log_block);
        fuse_block_done(&linear);
    }
    for (int left = (int)golden_number(file, "experts"); left > 0; left--) {
        one_steered(file);
    }
    golden_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_scipy_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
