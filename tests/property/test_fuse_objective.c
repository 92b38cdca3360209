/* test_fuse_objective.c - properties of the objective: right to long doubles, derivatives that are
 * derivatives, convexity's inequality, the same bits in any numbering, doubling a member. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/rng.h"
#include "fuse/fuse.h"
#include "math/logsum.h"
#include "check.h"
#include "rows.h"

#define N PACKLLM_EVENTS
#define MOST 6

struct derivatives {
    double f, g[MOST], H[MOST * MOST];
};

static void init(struct fuse_block *block, enum packllm_pool pool, const struct rows *rows) {
    if (fuse_block_init(block, pool, rows->n_members, rows->n_bytes,
                        (const float *const *)rows->logq, rows->event, NULL, NULL,
                        NULL) != PACKLLM_OK) {
        fail();
    }
}

static struct derivatives at(struct fuse_block *block, const double *lambda) {
    struct derivatives d = {0};
    if (fuse_objective(block, lambda, &d.f, d.g, d.H) != PACKLLM_OK) {
        fail();
    }
    return d;
}

/* The formulas of fuse.h once more, literally, in long doubles. */
static long double slow(const struct rows *rows, bool linear, const double *lambda, long double *g,
                        long double *H) {
    size_t n = rows->n_members;
    long double f = 0;
    memset(g, 0, n * sizeof *g);
    memset(H, 0, n * n * sizeof *H);
    for (size_t t = 0; t < rows->n_bytes; t++) {
        long double l[MOST][N], p[N], sum = 0, mean[MOST];
        size_t x = rows->event[t];
        for (size_t c = 0; c < N; c++) {
            long double z = 0, q = 0;
            for (size_t i = 0; i < n; i++) {
                l[i][c] = (long double)rows->logq[i][t * N + c];
                z += (long double)lambda[i] * l[i][c];
                q += (long double)lambda[i] * expl(l[i][c]);
            }
            p[c] = linear ? q : expl(z);
            sum += p[c];
        }
        if (linear) {
            f -= logl(p[x]);
            for (size_t i = 0; i < n; i++) {
                g[i] -= expl(l[i][x]) / p[x];
                for (size_t j = 0; j < n; j++) {
                    H[i * n + j] += expl(l[i][x] + l[j][x]) / p[x] / p[x];
                }
            }
            continue;
        }
        f += logl(sum) - logl(p[x]);
        for (size_t i = 0; i < n; i++) {
            mean[i] = 0;
            for (size_t c = 0; c < N; c++) {
                mean[i] += p[c] / sum * l[i][c];
            }
            g[i] += mean[i] - l[i][x];
        }
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < n; j++) {
                for (size_t c = 0; c < N; c++) {
                    H[i * n + j] += p[c] / sum * (l[i][c] - mean[i]) * (l[j][c] - mean[j]);
                }
            }
        }
    }
    return f / (long double)rows->n_bytes;
}

/* Goal: f, g and H are right to 1e-13 relative: a certificate of 1e-9 stands on them. */
static void right_to_long_doubles(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 150; seed < end; seed++) {
        uint64_t s = seed;
        size_t n = 1 + rng_next(&s) % MOST;
        bool linear = rng_next(&s) % 2 == 0;
        struct rows rows;
        struct fuse_block block;
        double lambda[MOST];
        long double g[MOST], H[MOST * MOST];
        rows_open(&rows, n, 1 + rng_next(&s) % 12, seed);
        rows_lambda(n, &s, lambda);
        init(&block, linear ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG, &rows);
        long double f = slow(&rows, linear, lambda, g, H), T = (long double)rows.n_bytes;
        struct derivatives d = at(&block, lambda);
        CHECK_CASE(seed, fabsl((long double)d.f - f) <= 1e-14L * (1 + fabsl(f)), "f %.17g", d.f);
        for (size_t i = 0; i < n; i++) {
            CHECK_CASE(seed,
                       fabsl((long double)d.g[i] - g[i] / T) <= 1e-13L * (1 + fabsl(g[i] / T)),
                       "g[%zu] %.17g, want %.17Lg", i, d.g[i], g[i] / T);
        }
        for (size_t i = 0; i < n * n; i++) {
            CHECK_CASE(seed,
                       fabsl((long double)d.H[i] - H[i] / T) <= 1e-13L * (1 + fabsl(H[i] / T)),
                       "H[%zu] %.17g, want %.17Lg", i, d.H[i], H[i] / T);
        }
        double f_only, f_again;
        CHECK_CASE(seed, fuse_objective(&block, lambda, &f_only, NULL, NULL) == PACKLLM_OK, "f");
        CHECK_CASE(seed, fuse_objective(&block, lambda, &f_again, NULL, d.H) == PACKLLM_OK, "H");
        CHECK_CASE(seed, f_only == d.f && f_again == d.f, "the same f however much is asked for");
        fuse_block_done(&block);
        rows_close(&rows);
    }
}

/* Goal: g and H are the derivatives of f and g (central differences), also at faces. */
static void central_differences(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 1000; seed < end; seed++) {
        uint64_t s = seed;
        size_t n = 1 + rng_next(&s) % MOST, k = rng_next(&s) % n;
        struct rows rows;
        struct fuse_block block;
        double lambda[MOST], up[MOST], down[MOST];
        rows_open(&rows, n, 1 + rng_next(&s) % 10, seed);
        rows_lambda(n, &s, lambda);
        bool linear = rng_next(&s) % 2 == 0;
        init(&block, linear ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG, &rows);
        memcpy(up, lambda, sizeof up);
        memcpy(down, lambda, sizeof down);
        struct derivatives here = at(&block, lambda);
        /* The linear pool's scale is 1 / |g|: it may be as steep as 1 / (floor). */
        double step = linear ? 1e-5 / (1 + fabs(here.g[k])) / (double)rows.n_bytes : 1e-5;
        up[k] += step;
        down[k] -= step; /* outside the simplex is no matter here */
        struct derivatives high = at(&block, up), low = at(&block, down);
        double slope = (high.f - low.f) / 2 / step;
        CHECK_CASE(seed, fabs(slope - here.g[k]) < 1e-6 * (1 + fabs(here.g[k])),
                   "linear %d: slope %.9g, g %.9g", linear, slope, here.g[k]);
        for (size_t i = 0; i < n; i++) {
            double bend = (high.g[i] - low.g[i]) / 2 / step, h = here.H[i * n + k];
            double scale = sqrt(here.H[i * n + i] * here.H[k * n + k]);
            CHECK_CASE(seed, fabs(bend - h) < 1e-5 * (1 + scale), "bend %.9g, H %.9g", bend, h);
            CHECK_CASE(seed, h == here.H[k * n + i], "H is symmetric");
        }
        fuse_block_done(&block);
        rows_close(&rows);
    }
}

/* Goal: f is the mean loss of fuse_pool's rows; NLL(pool) <= sum lambda NLL for each byte and in the
 * mean; f at a vertex is that member's NLL; f along a segment is convex. */
static void pools_and_jensen(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 1000; seed < end; seed++) {
        uint64_t s = seed;
        size_t n = 1 + rng_next(&s) % MOST, T = 1 + rng_next(&s) % 10;
        enum packllm_pool pool = rng_next(&s) % 2 == 0 ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG;
        struct rows rows;
        struct fuse_block block;
        double lambda[MOST], other[MOST], middle[MOST], nll[MOST];
        rows_open(&rows, n, T, seed);
        rows_lambda(n, &s, lambda);
        rows_lambda(n, &s, other);
        init(&block, pool, &rows);
        fuse_member_nll(&block, nll);
        double loss = 0, mean = 0;
        for (size_t t = 0; t < T; t++) {
            const float *row[MOST];
            float out[N];
            double bound = 0;
            for (size_t i = 0; i < n; i++) {
                row[i] = rows.logq[i] + t * N;
                bound -= lambda[i] * (double)row[i][rows.event[t]];
            }
            fuse_pool(pool, n, lambda, row, out);
            double own = -(double)out[rows.event[t]];
            CHECK_CASE(seed, own <= bound + 1e-6 * (1 + bound), "byte %zu: %g > %g", t, own, bound);
            loss += own / (double)T;
        }
        struct derivatives here = at(&block, lambda), there = at(&block, other);
        CHECK_CASE(seed, fabs(here.f - loss) < 1e-6 * (1 + loss), "f %g, rows %g", here.f, loss);
        for (size_t i = 0; i < n; i++) {
            mean += lambda[i] * nll[i];
            middle[i] = (lambda[i] + other[i]) / 2;
            double vertex[MOST] = {0};
            vertex[i] = 1;
            /* A row sums to 1 to float rounding only, and the log pool normalises. */
            CHECK_CASE(seed, fabs(at(&block, vertex).f - nll[i]) < 1e-6, "vertex %zu", i);
        }
        CHECK_CASE(seed, here.f <= mean + 1e-6, "Jensen: %g > %g", here.f, mean);
        CHECK_CASE(seed, at(&block, middle).f <= (here.f + there.f) / 2 + 1e-13, "convex");
        fuse_block_done(&block);
        rows_close(&rows);
    }
}

/* Goal: numbering the members otherwise gives the same bits, and a member given twice changes f by
 * rounding only, wherever its weight stands. */
static void numbering_and_doubling(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 1000; seed < end; seed++) {
        uint64_t s = seed;
        size_t n = 2 + rng_next(&s) % (MOST - 1), order[MOST];
        enum packllm_pool pool = rng_next(&s) % 2 == 0 ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG;
        struct rows rows, permuted;
        struct fuse_block block, block_permuted;
        double lambda[MOST], lambda_permuted[MOST];
        float *column[MOST];
        rows_open(&rows, n, 1 + rng_next(&s) % 6, seed);
        rows_copy(&rows, 0, n - 1); /* doubled */
        rows_lambda(n, &s, lambda);
        for (size_t i = 0; i < n; i++) {
            size_t j = rng_next(&s) % (i + 1);
            order[i] = i;
            order[i] = order[j];
            order[j] = i;
        }
        permuted = rows;
        permuted.logq = column;
        for (size_t i = 0; i < n; i++) {
            column[i] = rows.logq[order[i]];
        }
        /* Equal weights: twins of unequal weight may change places in the canonical order. */
        lambda[0] = lambda[n - 1] = (lambda[0] + lambda[n - 1]) / 2;
        for (size_t i = 0; i < n; i++) {
            lambda_permuted[i] = lambda[order[i]];
        }
        init(&block, pool, &rows);
        init(&block_permuted, pool, &permuted);
        struct derivatives a = at(&block, lambda), b = at(&block_permuted, lambda_permuted);
        CHECK_CASE(seed, a.f == b.f, "f %.17g %.17g", a.f, b.f);
        for (size_t i = 0; i < n; i++) {
            CHECK_CASE(seed, b.g[i] == a.g[order[i]], "g[%zu] %.17g %.17g", i, b.g[i],
                       a.g[order[i]]);
            for (size_t j = 0; j < n; j++) {
                CHECK_CASE(seed, b.H[i * n + j] == a.H[order[i] * n + order[j]], "H[%zu,%zu]", i,
                           j);
            }
        }
        double both = lambda[0] + lambda[n - 1];
        lambda[0] = both;
        lambda[n - 1] = 0;
        CHECK_CASE(seed, fabs(at(&block, lambda).f - a.f) < 1e-13 * (1 + a.f), "doubled");
        fuse_block_done(&block);
        fuse_block_done(&block_permuted);
        rows_close(&rows);
    }
}

/* Goal: a byte that counts k times is a byte that stands there k times; all counting the same, be it
 * a half, changes nothing but by rounding. */
static void bytes_that_count_more(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 500; seed < end; seed++) {
        uint64_t s = seed;
        size_t n = 1 + rng_next(&s) % MOST, total = 0;
        enum packllm_pool pool = rng_next(&s) % 2 == 0 ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG;
        struct rows rows, longer;
        struct fuse_block block, repeated;
        double lambda[MOST], weight[6], half[6], nll[2][MOST];
        size_t n_bytes = 1 + rng_next(&s) % 6;
        rows_open(&rows, n, n_bytes, seed);
        rows_lambda(n, &s, lambda);
        for (size_t t = 0; t < n_bytes; t++) {
            weight[t] = (double)(1 + rng_next(&s) % 3);
            half[t] = 0.5;
            total += (size_t)weight[t];
        }
        rows_open(&longer, n, total, seed);
        for (size_t t = 0, k = 0; t < n_bytes; t++) {
            for (size_t again = 0; again < (size_t)weight[t]; again++, k++) {
                longer.event[k] = rows.event[t];
                for (size_t i = 0; i < n; i++) {
                    memcpy(longer.logq[i] + k * N, rows.logq[i] + t * N, N * sizeof(float));
                }
            }
        }
        init(&block, pool, &rows);
        init(&repeated, pool, &longer);
        double plain = at(&block, lambda).f;
        fuse_block_weigh(&block, half);
        CHECK_CASE(seed, fabs(at(&block, lambda).f - plain) < 1e-13 * (1 + plain), "halves");
        fuse_block_weigh(&block, weight);
        struct derivatives a = at(&block, lambda), b = at(&repeated, lambda);
        CHECK_CASE(seed, fabs(a.f - b.f) < 1e-12 * (1 + b.f), "f %.17g %.17g", a.f, b.f);
        fuse_member_nll(&block, nll[0]);
        fuse_member_nll(&repeated, nll[1]);
        for (size_t i = 0; i < n; i++) {
            CHECK_CASE(seed, fabs(nll[0][i] - nll[1][i]) < 1e-12 * (1 + nll[1][i]), "nll");
            CHECK_CASE(seed, fabs(a.g[i] - b.g[i]) < 1e-11 * (1 + fabs(b.g[i])), "g[%zu]", i);
            for (size_t j = 0; j < n; j++) {
                double h = b.H[i * n + j];
                CHECK_CASE(seed, fabs(a.H[i * n + j] - h) < 1e-10 * (1 + fabs(h)), "H[%zu,%zu]", i,
                           j);
            }
        }
        fuse_block_done(&block);
        fuse_block_done(&repeated);
        rows_close(&rows);
        rows_close(&longer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_to_long_doubles), cmocka_unit_test(central_differences),
        cmocka_unit_test(pools_and_jensen),      cmocka_unit_test(numbering_and_doubling),
        cmocka_unit_test(bytes_that_count_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
