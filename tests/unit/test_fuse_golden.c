/* test_fuse_golden.c - floor, pools, objective against NumPy (tests/golden/make_golden.py). The best
 * weights that stand in the same file are for test_score_golden.c. */
#include <math.h>

#include "fuse/fuse.h"
#include "check.h"
#include "golden.h"

#define N PACKLLM_EVENTS
#define MEMBERS 4
#define BYTES 8

static void close_to(const double *got, const double *want, size_t n, double tolerance) {
    for (size_t i = 0; i < n; i++) {
        if (!(fabs(got[i] - want[i]) <= tolerance * (1 + fabs(want[i])))) {
            print_error("value %zu: %.17g, golden %.17g\n", i, got[i], want[i]);
            fail();
        }
    }
}

static double values[MEMBERS * BYTES * N];

/* Goal: fuse_floor is the golden floor. */
static void the_floor(FILE *file) {
    double q[N], want[N], got[N];
    float out[N];
    assert_int_equal(golden_read(file, "floor_q", q, N), N);
    assert_int_equal(golden_read(file, "floor_log", want, N), N);
    fuse_floor(q, out);
    for (size_t c = 0; c < N; c++) {
        got[c] = (double)out[c];
    }
    close_to(got, want, N, 1e-7);
}

static void one_shape(FILE *file) {
    static float logq[MEMBERS * BYTES * N];
    double shape[2], events[BYTES], lambda[MEMBERS], ignored[MEMBERS];
    uint16_t event[BYTES];
    const float *column[MEMBERS];
    (void)golden_read(file, "shape", shape, 2);
    size_t n = (size_t)shape[0], T = (size_t)shape[1];
    assert_int_equal(golden_read(file, "logq", values, MEMBERS * BYTES * N), n * T * N);
    for (size_t i = 0; i < n * T * N; i++) {
        logq[i] = (float)values[i];
    }
    assert_int_equal(golden_read(file, "event", events, BYTES), T);
    for (size_t t = 0; t < T; t++) {
        event[t] = (uint16_t)events[t];
    }
    for (size_t i = 0; i < n; i++) {
        column[i] = logq + i * T * N;
    }
    (void)golden_read(file, "lambda", lambda, n);
    (void)golden_read(file, "prior", ignored, n);
    (void)golden_read(file, "cap", ignored, n);
    (void)golden_number(file, "ridge");
    for (int linear = 0; linear < 2; linear++) {
        enum packllm_pool pool = linear ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG;
        double want[N], got[N], f, g[MEMBERS], H[MEMBERS * MEMBERS];
        float out[N];
        struct fuse_block block;
        fuse_pool(pool, n, lambda, column, out);
        for (size_t c = 0; c < N; c++) {
            got[c] = (double)out[c];
        }
        assert_int_equal(golden_read(file, "pool", want, N), N);
        close_to(got, want, N, n == 1 ? 1e-6 : 1.2e-7); /* one member: the row as it is */
        assert_int_equal(fuse_block_init(&block, pool, n, T, column, event, NULL, NULL, NULL),
                         PACKLLM_OK);
        assert_int_equal(fuse_objective(&block, lambda, &f, g, H), PACKLLM_OK);
        want[0] = golden_number(file, "f");
        close_to(&f, want, 1, 1e-14);
        (void)golden_read(file, "g", want, n);
        close_to(g, want, n, 1e-13);
        (void)golden_read(file, "h", want, n * n);
        close_to(H, want, n * n, 1e-12);
        for (int k = 0; k < 3; k++) {
            (void)golden_number(file, "best_f");
            (void)golden_read(file, "best", ignored, n);
        }
        fuse_block_done(&block);
    }
}

static void as_numpy_says(void **state) {
    (void)state;
    FILE *file = golden_open("fuse.txt");
    the_floor(file);
    for (int left = (int)golden_number(file, "cases"); left > 0; left--) {
        one_shape(file);
    }
    golden_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_numpy_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
