/* test_fuse_tokens.c - pools in token space. Goal: what is kept of the rows gives the objective of
 * whole rows within the error that it states, its derivatives are right, and a member alone is
 * itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "check.h"
#include "fuse/tokens.h"

enum { CASES = 1000, BLOCK = 64, MEMBERS = 4, POSITIONS = 5, VOCABULARY = 1500 };

static struct packllm_error err;

static double draw(uint64_t *rng) {
    *rng = *rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(*rng >> 11) * 0x1p-53;
}

struct world {
    size_t n, positions;
    uint32_t vocabulary;
    float p[MEMBERS][POSITIONS][VOCABULARY]; /* END last */
    uint32_t observed[POSITIONS];
    struct fuse_rows rows[MEMBERS];
    const struct fuse_rows *pointers[MEMBERS];
    double lambda[MEMBERS];
};

static struct world w;

static void make(uint64_t seed) {
    uint64_t rng = seed * 77 + 1;
    double sum = 0.0;
    w.n = 1 + (size_t)(draw(&rng) * MEMBERS);
    w.positions = 1 + (size_t)(draw(&rng) * POSITIONS);
    /* Below and above what is kept. */
    w.vocabulary = draw(&rng) < 0.5 ? 2 + (uint32_t)(draw(&rng) * 500)
                                    : 600 + (uint32_t)(draw(&rng) * (VOCABULARY - 600));
    double sharp = 1.0 + draw(&rng) * 12.0;
    for (size_t t = 0; t < w.positions; t++) {
        w.observed[t] = (uint32_t)(draw(&rng) * w.vocabulary);
    }
    for (size_t i = 0; i < w.n; i++) {
        w.rows[i] = (struct fuse_rows){0};
        w.pointers[i] = &w.rows[i];
        w.lambda[i] = draw(&rng) < 0.2 ? 0.0 : draw(&rng) + 0.01;
        sum += w.lambda[i];
        for (size_t t = 0; t < w.positions; t++) {
            double block[VOCABULARY / BLOCK + 1] = {0}, total = 0.0;
            float *p = w.p[i][t];
            for (uint32_t v = 0; v < w.vocabulary; v++) {
                p[v] = (float)exp(sharp * (draw(&rng) + draw(&rng) - 1.0));
                total += (double)p[v];
            }
            for (uint32_t v = 0; v < w.vocabulary; v++) {
                p[v] = (float)((double)p[v] / total);
                block[v / BLOCK] += v + 1 < w.vocabulary ? (double)p[v] : 0.0;
            }
            assert_int_equal(fuse_rows_add(&w.rows[i], p, block, BLOCK, w.vocabulary,
                                           (double)p[w.vocabulary - 1], w.observed[t], &err),
                             PACKLLM_OK);
        }
    }
    for (size_t i = 0; i < w.n; i++) {
        w.lambda[i] = sum > 0.0 ? w.lambda[i] / sum : 1.0 / (double)w.n;
    }
}

static void forget(void) {
    for (size_t i = 0; i < w.n; i++) {
        fuse_rows_done(&w.rows[i]);
    }
}

static double whole(const double *lambda) {
    double f = 0.0;
    for (size_t t = 0; t < w.positions; t++) {
        double sum = 0.0, seen = 0.0;
        for (uint32_t v = 0; v < w.vocabulary; v++) {
            double z = 0.0;
            for (size_t i = 0; i < w.n; i++) {
                z += lambda[i] * log((double)w.p[i][t][v]);
            }
            sum += exp(z);
            seen = v == w.observed[t] ? z : seen;
        }
        f += log(sum) - seen;
    }
    return f / (double)w.positions;
}

static void test_kept_columns_are_enough(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct fuse_tokens k;
        double f = 0.0, error = 0.0, g[MEMBERS], H[MEMBERS * MEMBERS];
        make(seed);
        assert_int_equal(fuse_tokens_init(&k, PACKLLM_POOL_LOG, w.n, w.pointers, 0, w.positions,
                                          (double)w.positions, &err),
                         PACKLLM_OK);
        assert_int_equal(fuse_tokens_objective(&k, w.lambda, &f, g, H), PACKLLM_OK);
        assert_int_equal(fuse_tokens_error(&k, w.pointers, 0, w.lambda, &error, &err), PACKLLM_OK);
        double exact = whole(w.lambda);
        CHECK_CASE(seed, fabs(f - exact) <= error + 1e-5, "%.9f, whole rows %.9f, error %g", f,
                   exact, error);
        if (w.vocabulary <= FUSE_TOKENS_KEPT) {
            CHECK_CASE(seed, fabs(f - exact) <= 1e-5, "all kept: %.9f and %.9f", f, exact);
        }
        for (size_t i = 0; i < w.n; i++) {
            double up[MEMBERS], down[MEMBERS], f_up = 0.0, f_down = 0.0, g_up[MEMBERS],
                                               g_down[MEMBERS];
            for (size_t j = 0; j < w.n; j++) {
                up[j] = w.lambda[j] + (i == j ? 1e-4 : 0.0);
                down[j] = w.lambda[j] - (i == j ? 1e-4 : 0.0);
            }
            assert_int_equal(fuse_tokens_objective(&k, up, &f_up, g_up, NULL), PACKLLM_OK);
            assert_int_equal(fuse_tokens_objective(&k, down, &f_down, g_down, NULL), PACKLLM_OK);
            double slope = (f_up - f_down) / 2e-4;
            CHECK_CASE(seed, fabs(slope - g[i]) <= 1e-4 * (1.0 + fabs(g[i])), "g %g, slope %g",
                       g[i], slope);
            for (size_t j = 0; j < w.n; j++) {
                double curve = (g_up[j] - g_down[j]) / 2e-4;
                CHECK_CASE(seed, fabs(curve - H[i * w.n + j]) <= 1e-4 * (1.0 + fabs(curve)),
                           "H %g, difference %g", H[i * w.n + j], curve);
            }
        }
        fuse_tokens_done(&k);
        forget();
    }
}

static void test_a_member_alone_is_itself(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        for (int pool = PACKLLM_POOL_LOG; pool <= PACKLLM_POOL_LINEAR; pool++) {
            struct fuse_tokens k;
            double f = 0.0, alone = 0.0, e[MEMBERS] = {0};
            make(seed);
            size_t i = seed % w.n;
            e[i] = 1.0;
            assert_int_equal(fuse_tokens_init(&k, (enum packllm_pool)pool, w.n, w.pointers, 0,
                                              w.positions, 3.0, &err),
                             PACKLLM_OK);
            assert_int_equal(fuse_tokens_objective(&k, e, &f, NULL, NULL), PACKLLM_OK);
            for (size_t t = 0; t < w.positions; t++) {
                alone -= log((double)w.p[i][t][w.observed[t]]) / 3.0;
            }
            CHECK_CASE(seed, fabs(f - alone) <= 1e-5 * (1.0 + alone), "%g and %g", f, alone);
            fuse_tokens_done(&k);
            forget();
        }
    }
}

static void test_rows_that_part_are_refused(void **state) {
    (void)state;
    make(3);
    struct fuse_tokens k;
    struct fuse_rows other = {0};
    double block[VOCABULARY / BLOCK + 1] = {0};
    for (size_t t = 0; t < w.positions; t++) {
        uint32_t observed = (w.observed[t] + 1) % w.vocabulary;
        assert_int_equal(
            fuse_rows_add(&other, w.p[0][t], block, BLOCK, w.vocabulary, 0.0, observed, &err),
            PACKLLM_OK);
    }
    const struct fuse_rows *pointers[] = {&w.rows[0], &other};
    assert_int_equal(fuse_tokens_init(&k, PACKLLM_POOL_LOG, 2, pointers, 0, w.positions, 1.0, &err),
                     PACKLLM_E_ARG);
    fuse_rows_done(&other);
    forget();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_columns_are_enough),
        cmocka_unit_test(test_a_member_alone_is_itself),
        cmocka_unit_test(test_rows_that_part_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
