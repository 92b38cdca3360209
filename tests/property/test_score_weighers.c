/* test_score_weighers.c - properties of the weighers beside exact, on the pools' objective: where the
 * weights lie, who is never better than whom, that numbering does not matter, what copies change, and
 * the bounds of the running mixtures. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/rng.h"
#include "fuse/fuse.h"
#include "solve/solve.h"
#include "check.h"
#include "rows.h"

enum { MOST = 6, CASES = 1000 };

struct weighed {
    double greedy[MOST], free[MOST], em[MOST], bayes[MOST], exact[MOST];
    struct solve_result r_greedy, r_free, r_em, r_exact;
    double bayes_loss;
};

static void block_init(uint64_t seed, struct fuse_block *block, const struct rows *rows,
                       const float *const *column, size_t n, enum packllm_pool pool) {
    CHECK_CASE(seed,
               fuse_block_init(block, pool, n, rows->n_bytes, column, rows->event, NULL, NULL,
                               NULL) == PACKLLM_OK,
               "init");
}

/* All weighers that fit the pool, without ridge, priors and caps. */
static struct weighed weigh(uint64_t seed, struct fuse_block *block) {
    struct weighed w = {.bayes_loss = 0};
    size_t n = block->n_members;
    double nll[MOST], loss[MOST], prior[MOST];
    struct solve_problem p = {.n = n, .eval = fuse_objective, .ctx = block, .order = block->order};
    fuse_member_nll(block, nll);
    for (size_t i = 0; i < n; i++) {
        loss[i] = nll[i] * (double)block->n_bytes;
        prior[i] = 1.0 / (double)n;
    }
    bool good = solve_exact(&p, 1e-10, 200, w.exact, &w.r_exact, NULL) == PACKLLM_OK &&
                solve_greedy(&p, nll, w.greedy, &w.r_greedy, NULL) == PACKLLM_OK;
    if (block->pool == PACKLLM_POOL_LOG) {
        good = good && solve_free(&p, 1e-10, 200, w.free, &w.r_free, NULL) == PACKLLM_OK;
    } else {
        good = good && solve_em(&p, 1e-10, 200, w.em, &w.r_em, NULL) == PACKLLM_OK &&
               solve_bayes(loss, prior, n, w.bayes, &w.bayes_loss, NULL) == PACKLLM_OK;
    }
    CHECK_CASE(seed, good, "a weigher failed");
    return w;
}

static void check_simplex(uint64_t seed, const double *lambda, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        CHECK_CASE(seed, lambda[i] >= 0, "weight %zu: %g", i, lambda[i]);
        sum += lambda[i];
    }
    CHECK_CASE(seed, fabs(sum - 1) < 1e-13, "sum %.17g", sum);
}

/* max over C = {lambda >= 0, sum <= 16} of what the gradient says can be gained. */
static double free_gap(struct fuse_block *block, const double *lambda) {
    double f, g[MOST], least = 0;
    long double gap = 0;
    (void)fuse_objective(block, lambda, &f, g, NULL);
    for (size_t i = 0; i < block->n_members; i++) {
        gap += (long double)lambda[i] * (long double)g[i];
        least = fmin(least, g[i]);
    }
    return (double)(gap - 16 * (long double)least);
}

static size_t random_rows(uint64_t seed, struct rows *rows, uint64_t *s, bool copies) {
    size_t n = 1 + rng_next(s) % MOST;
    rows_open(rows, n, 1 + rng_next(s) % 10, seed);
    for (size_t i = 1; copies && i < n; i++) {
        if (rng_next(s) % 4 == 0) {
            rows_copy(rows, rng_next(s) % i, i);
        }
    }
    return n;
}

/* Goal: weights where they should be; f(exact) <= f(greedy), f(sim), f(uniform), every member, f(em)
 * within the gaps, and the other way for em; f(free) <= f(exact); certificates bound the distances. */
static void order_of_merit(void **state) {
    (void)state;
    unsigned bound = 0;
    for (uint64_t seed = check_first_seed(), end = seed + CASES; seed < end; seed++) {
        uint64_t s = seed;
        struct rows rows;
        struct fuse_block block;
        size_t n = random_rows(seed, &rows, &s, true);
        enum packllm_pool pool = seed % 2 == 0 ? PACKLLM_POOL_LOG : PACKLLM_POOL_LINEAR;
        block_init(seed, &block, &rows, (const float *const *)rows.logq, n, pool);
        struct weighed w = weigh(seed, &block);
        double nll[MOST], sim[MOST], uniform[MOST], f, exact = w.r_exact.f - w.r_exact.gap - 1e-13;
        fuse_member_nll(&block, nll);
        check_simplex(seed, w.greedy, n);
        CHECK_CASE(seed, exact <= w.r_greedy.f, "greedy: %.12g", w.r_greedy.f);
        CHECK_CASE(seed, w.r_greedy.f - w.r_greedy.gap <= w.r_exact.f + 1e-13, "greedy's gap %g",
                   w.r_greedy.gap);
        (void)solve_sim(nll, n, 1, sim, NULL);
        solve_uniform(n, uniform);
        (void)fuse_objective(&block, sim, &f, NULL, NULL);
        CHECK_CASE(seed, exact <= f, "sim: %.12g", f);
        (void)fuse_objective(&block, uniform, &f, NULL, NULL);
        CHECK_CASE(seed, exact <= f, "uniform: %.12g", f);
        for (size_t i = 0; i < n; i++) { /* 1e-6: rows sum to 1 to float rounding only */
            CHECK_CASE(seed, exact <= nll[i] + 1e-6, "member %zu: %.12g", i, nll[i]);
            CHECK_CASE(seed, w.r_greedy.f <= nll[i] + 1e-6, "greedy above member %zu", i);
        }
        if (pool == PACKLLM_POOL_LOG) {
            double sum = 0;
            CHECK_CASE(seed, w.r_free.f <= w.r_exact.f + w.r_free.gap + 1e-13, "free %.12g, %.12g",
                       w.r_free.f, w.r_exact.f);
            CHECK_CASE(seed, w.r_free.gap <= 1e-9, "gap %g", w.r_free.gap);
            CHECK_CASE(seed, fabs(free_gap(&block, w.free) - w.r_free.gap) <= 1e-11,
                       "gap %g, by definition %g", w.r_free.gap, free_gap(&block, w.free));
            for (size_t i = 0; i < n; i++) {
                CHECK_CASE(seed, w.free[i] >= 0, "%g", w.free[i]);
                sum += w.free[i];
            }
            CHECK_CASE(seed, sum <= 16 + 1e-12, "sum %.17g", sum);
            bound += sum > 16 - 1e-9 ? 1 : 0;
        } else {
            check_simplex(seed, w.em, n);
            check_simplex(seed, w.bayes, n);
            CHECK_CASE(seed, w.r_em.gap <= 1e-9, "gap %g", w.r_em.gap);
            CHECK_CASE(seed, w.r_em.f - w.r_em.gap <= w.r_exact.f + 1e-13, "em %.12g gap %g, %.12g",
                       w.r_em.f, w.r_em.gap, w.r_exact.f);
            for (size_t i = 0; i < n; i++) {
                CHECK_CASE(seed,
                           w.bayes_loss <= nll[i] * (double)rows.n_bytes + log((double)n) + 1e-9,
                           "member %zu: %g, bayes %g", i, nll[i], w.bayes_loss);
            }
        }
        fuse_block_done(&block);
        rows_close(&rows);
    }
    print_message("free: %u of %d at the bound on the sum\n", bound, CASES / 2);
}

/* Goal: permuting the members permutes the weights bit for bit. Greedy's tie goes to the copy that
 * stands first, so it is compared where no member is given twice. */
static void permutes_exactly(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + CASES; seed < end; seed++) {
        uint64_t s = seed;
        struct rows rows;
        struct fuse_block a, b;
        bool copies = seed % 4 < 2;
        size_t n = random_rows(seed, &rows, &s, copies), shift = rng_next(&s) % n;
        enum packllm_pool pool = seed % 2 == 0 ? PACKLLM_POOL_LOG : PACKLLM_POOL_LINEAR;
        const float *column[MOST];
        for (size_t i = 0; i < n; i++) {
            column[i] = rows.logq[(i + shift) % n];
        }
        block_init(seed, &a, &rows, (const float *const *)rows.logq, n, pool);
        block_init(seed, &b, &rows, column, n, pool);
        struct weighed x = weigh(seed, &a), y = weigh(seed, &b);
        CHECK_CASE(seed, x.r_greedy.f == y.r_greedy.f && x.r_free.f == y.r_free.f, "f differs");
        CHECK_CASE(seed, x.r_em.gap == y.r_em.gap && x.bayes_loss == y.bayes_loss, "em or bayes");
        for (size_t i = 0; i < n; i++) {
            size_t k = (i + shift) % n;
            CHECK_CASE(seed, y.free[i] == x.free[k], "free %zu", i);
            CHECK_CASE(seed, y.em[i] == x.em[k] && y.bayes[i] == x.bayes[k], "em or bayes %zu", i);
            CHECK_CASE(seed, copies || y.greedy[i] == x.greedy[k], "greedy %zu", i);
        }
        fuse_block_done(&a);
        fuse_block_done(&b);
        rows_close(&rows);
    }
}

/* Goal: a member given twice leaves f where it was, and the copies share. Not so greedy: the copy is one
 * more chance to fold that member in. */
static void doubling(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + CASES; seed < end; seed++) {
        uint64_t s = seed;
        struct rows rows;
        struct fuse_block a, b;
        size_t n = random_rows(seed, &rows, &s, false);
        n = n == MOST ? MOST - 1 : n;
        size_t twin = rng_next(&s) % n;
        enum packllm_pool pool = seed % 2 == 0 ? PACKLLM_POOL_LOG : PACKLLM_POOL_LINEAR;
        const float *column[MOST];
        for (size_t i = 0; i <= n; i++) {
            column[i] = rows.logq[i < n ? i : twin];
        }
        block_init(seed, &a, &rows, column, n, pool);
        block_init(seed, &b, &rows, column, n + 1, pool);
        struct weighed x = weigh(seed, &a), y = weigh(seed, &b);
        if (pool == PACKLLM_POOL_LOG) {
            CHECK_CASE(seed, fabs(x.r_free.f - y.r_free.f) <= 1e-9, "free");
            CHECK_CASE(seed, y.free[twin] == y.free[n], "copies: %g %g", y.free[twin], y.free[n]);
        } else {
            CHECK_CASE(seed, fabs(x.r_em.f - y.r_em.f) <= 1e-9, "em");
            CHECK_CASE(seed, y.em[twin] == y.em[n] && y.bayes[twin] == y.bayes[n], "copies");
        }
        fuse_block_done(&a);
        fuse_block_done(&b);
        rows_close(&rows);
    }
}

/* Goal: the mixture of the exact pool and every member never costs more than log(K + 1) nats above the
 * best of them, with weights that sum to 1 all along. */
static void hedge(void **state) {
    (void)state;
    double most = 0;
    for (uint64_t seed = check_first_seed(), end = seed + CASES; seed < end; seed++) {
        uint64_t s = seed;
        struct rows rows;
        struct fuse_block block;
        size_t n = random_rows(seed, &rows, &s, true);
        enum packllm_pool pool = seed % 2 == 0 ? PACKLLM_POOL_LOG : PACKLLM_POOL_LINEAR;
        block_init(seed, &block, &rows, (const float *const *)rows.logq, n, pool);
        struct weighed w = weigh(seed, &block);
        double log_w[MOST + 1], loss[MOST + 1] = {0}, logp[MOST + 1], total = 0, least = HUGE_VAL;
        for (size_t i = 0; i <= n; i++) {
            log_w[i] = -log((double)n + 1);
        }
        for (size_t t = 0; t < rows.n_bytes; t++) {
            const float *row[MOST];
            float p[PACKLLM_EVENTS];
            double sum = 0;
            for (size_t i = 0; i < n; i++) {
                row[i] = rows.logq[i] + t * PACKLLM_EVENTS;
                logp[i] = (double)row[i][rows.event[t]];
            }
            fuse_pool(pool, n, w.exact, row, p);
            logp[n] = (double)p[rows.event[t]];
            total -= solve_mixture_step(n + 1, logp, log_w);
            for (size_t i = 0; i <= n; i++) {
                loss[i] -= logp[i];
                sum += exp(log_w[i]);
            }
            CHECK_CASE(seed, fabs(sum - 1) < 1e-12, "byte %zu: sum %.17g", t, sum);
        }
        for (size_t i = 0; i <= n; i++) {
            least = fmin(least, loss[i]);
        }
        CHECK_CASE(seed, total <= least + log((double)n + 1) + 1e-9, "%g, best %g", total, least);
        most = fmax(most, (total - least) / log((double)n + 1));
        fuse_block_done(&block);
        rows_close(&rows);
    }
    print_message("hedge: at most %.3f of the bound\n", most);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_of_merit),
        cmocka_unit_test(permutes_exactly),
        cmocka_unit_test(doubling),
        cmocka_unit_test(hedge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
