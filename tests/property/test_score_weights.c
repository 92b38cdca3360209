/* test_score_weights.c - properties of the weights: the solver on the pools' objective. Stands with
 * room score, the lowest that sees both fuse and solve. The certificate is recomputed here from the
 * definition, not from the solver's code. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/rng.h"
#include "fuse/fuse.h"
#include "solve/solve.h"
#include "check.h"
#include "rows.h"

#define MOST 8
#define TOLERANCE 1e-9

/* One random problem: rows (sometimes with copies), prior, caps, ridge. */
struct weigh_case {
    uint64_t seed;
    struct rows rows;
    struct fuse_block block;
    double prior[MOST], cap[MOST];
    struct solve_problem problem;
};

static void case_init(struct weigh_case *c, uint64_t seed, bool pure) {
    uint64_t s = seed;
    size_t n = 1 + rng_next(&s) % MOST;
    enum packllm_pool pool = rng_next(&s) % 3 == 0 ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG;
    c->seed = seed;
    rows_open(&c->rows, n, 1 + rng_next(&s) % 12, seed);
    for (size_t i = 1; i < n; i++) {
        if (rng_next(&s) % 5 == 0) {
            rows_copy(&c->rows, rng_next(&s) % i, i);
        }
    }
    double sum = 0, caps = 0;
    for (size_t i = 0; i < n; i++) {
        c->prior[i] = rng_next(&s) % 2 == 0 ? 1 : 0.1 + rng_uniform(rng_next(&s));
        c->cap[i] = rng_next(&s) % 2 == 0 ? 1 : 0.2 + 0.7 * rng_uniform(rng_next(&s));
        sum += c->prior[i];
        caps += c->cap[i];
    }
    for (size_t i = 0; i < n; i++) {
        c->prior[i] /= sum;
        c->cap[i] = caps < 1 ? 1 : c->cap[i];
    }
    bool capped = !pure && rng_next(&s) % 2 == 0;
    bool ridged = !pure && rng_next(&s) % 2 == 0;
    bool with_prior = !pure && rng_next(&s) % 2 == 0;
    const double *prior = with_prior ? c->prior : NULL, *cap = capped ? c->cap : NULL;
    CHECK_CASE(seed,
               fuse_block_init(&c->block, pool, n, c->rows.n_bytes,
                               (const float *const *)c->rows.logq, c->rows.event, prior, cap,
                               NULL) == PACKLLM_OK,
               "init");
    c->problem = (struct solve_problem){.n = n,
                                        .eval = fuse_objective,
                                        .ctx = &c->block,
                                        .prior = prior,
                                        .cap = cap,
                                        .ridge = ridged ? 0.1 * rng_uniform(rng_next(&s)) : 0,
                                        .order = c->block.order};
}

static void case_done(struct weigh_case *c) {
    fuse_block_done(&c->block);
    rows_close(&c->rows);
}

static double prior_of(const struct solve_problem *p, size_t i) {
    return p->prior != NULL ? p->prior[i] : 1.0 / (double)p->n;
}

/* F and, if g is given, its gradient. */
static double value(const struct solve_problem *p, const double *lambda, double *g) {
    double f;
    if (p->eval(p->ctx, lambda, &f, g, NULL) != PACKLLM_OK) {
        fail();
    }
    for (size_t i = 0; i < p->n; i++) {
        double away = lambda[i] - prior_of(p, i);
        f += p->ridge / 2 * away * away;
        if (g != NULL) {
            g[i] += p->ridge * away;
        }
    }
    return f;
}

/* lambda . g - min over S of s . g, in long doubles: repeatedly the cheapest member that has room. */
static double gap_by_definition(const struct solve_problem *p, const double *lambda) {
    double g[MOST];
    bool full[MOST] = {false};
    long double left = 1, gap = 0;
    (void)value(p, lambda, g);
    for (size_t i = 0; i < p->n; i++) {
        gap += (long double)lambda[i] * (long double)g[i];
    }
    while (left > 0) {
        size_t best = p->n;
        for (size_t i = 0; i < p->n; i++) {
            best = !full[i] && (best == p->n || g[i] < g[best]) ? i : best;
        }
        if (best == p->n) {
            break;
        }
        long double take = p->cap != NULL ? (long double)p->cap[best] : 1;
        take = take < left ? take : left;
        gap -= take * (long double)g[best];
        left -= take;
        full[best] = true;
    }
    return (double)gap;
}

static struct solve_result solve(struct weigh_case *c, double *lambda) {
    struct solve_result result = {0};
    struct packllm_error err = {0};
    CHECK_CASE(c->seed,
               solve_exact(&c->problem, TOLERANCE, 60, lambda, &result, &err) == PACKLLM_OK, "%s",
               err.message);
    return result;
}

static bool feasible(const struct solve_problem *p, const double *lambda) {
    double sum = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (!(lambda[i] >= 0 && lambda[i] <= (p->cap != NULL ? p->cap[i] : 1))) {
            return false;
        }
        sum += lambda[i];
    }
    return fabs(sum - 1) < 1e-14;
}

/* Goal: lambda is in S, the tolerance is reached, the certificate is the definition's (here and from
 * solve_gap); one member gives 1. */
static void certified(void **state) {
    (void)state;
    unsigned most_passes = 0, over = 0, cases = 0;
    for (uint64_t seed = check_first_seed(), end = seed + 2000; seed < end; seed++, cases++) {
        struct weigh_case c;
        double lambda[MOST], gap;
        case_init(&c, seed, seed % 2 == 0);
        struct solve_result r = solve(&c, lambda);
        CHECK_CASE(seed, feasible(&c.problem, lambda), "not on the simplex");
        CHECK_CASE(seed, r.gap <= TOLERANCE, "gap %g after %u passes", r.gap, r.passes);
        gap = gap_by_definition(&c.problem, lambda);
        CHECK_CASE(seed, fabs(gap - r.gap) <= 1e-12, "gap %g, by definition %g", r.gap, gap);
        CHECK_CASE(seed, solve_gap(&c.problem, lambda, &gap, NULL) == PACKLLM_OK, "gap");
        CHECK_CASE(seed, gap <= r.gap + 1e-15, "gap %g, solve_gap %g", r.gap, gap);
        CHECK_CASE(seed, c.problem.n > 1 || lambda[0] == 1, "one member: %.17g", lambda[0]);
        if (c.block.pool == PACKLLM_POOL_LOG) {
            most_passes = r.passes > most_passes ? r.passes : most_passes;
            over += r.passes > 16 ? 1 : 0;
        }
        case_done(&c);
    }
    print_message("log pool: at most %u passes to 1e-9, %u of %u over 16\n", most_passes, over,
                  cases);
    assert_int_equal(over, 0);
}

/* Goal: nothing beats it: sim, uniform, top1, every vertex, random points, and lambda shifted between
 * two members by 0.02 and 0.1 (as far as they are in S). */
static void beats_everything(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 1000; seed < end; seed++) {
        struct weigh_case c;
        double lambda[MOST], nll[MOST], x[MOST];
        uint64_t s = seed;
        case_init(&c, seed, seed % 2 == 0);
        const struct solve_problem *p = &c.problem;
        size_t n = p->n;
        (void)solve(&c, lambda);
        double best = value(p, lambda, NULL) - TOLERANCE;
        fuse_member_nll(&c.block, nll);
        for (size_t k = 0; k < 24 + n; k++) {
            if (k == 0) {
                (void)solve_sim(nll, n, 1, x, NULL);
            } else if (k == 1) {
                solve_uniform(n, x);
            } else if (k == 2) {
                solve_top1(nll, n, x);
            } else if (k < 3 + n) {
                memset(x, 0, sizeof x);
                x[k - 3] = 1;
            } else if (k < 8 + n) {
                rows_lambda(n, &s, x);
            } else {
                size_t from = rng_next(&s) % n, to = rng_next(&s) % n;
                double shift = k % 2 == 0 ? 0.02 : 0.1;
                memcpy(x, lambda, sizeof x);
                x[from] -= shift;
                x[to] += shift;
            }
            if (feasible(p, x)) {
                CHECK_CASE(seed, best <= value(p, x, NULL), "rival %zu: %.12g < %.12g", k,
                           value(p, x, NULL), best + TOLERANCE);
            }
        }
        case_done(&c);
    }
}

/* Goal: permuting the members permutes lambda bit for bit (copies of a member included), with priors,
 * caps and ridge going along. */
static void permutes_exactly(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 1000; seed < end; seed++) {
        struct weigh_case c, d;
        double lambda[MOST], permuted[MOST];
        float *column[MOST];
        size_t order[MOST];
        uint64_t s = seed;
        case_init(&c, seed, seed % 2 == 0);
        size_t n = c.problem.n;
        for (size_t i = 0; i < n; i++) {
            size_t j = rng_next(&s) % (i + 1);
            order[i] = i;
            order[i] = order[j];
            order[j] = i;
        }
        d = c;
        d.rows.logq = column;
        for (size_t i = 0; i < n; i++) {
            column[i] = c.rows.logq[order[i]];
            d.prior[i] = c.prior[order[i]];
            d.cap[i] = c.cap[order[i]];
        }
        d.problem.prior = c.problem.prior != NULL ? d.prior : NULL;
        d.problem.cap = c.problem.cap != NULL ? d.cap : NULL;
        d.problem.ctx = &d.block;
        CHECK_CASE(seed,
                   fuse_block_init(&d.block, c.block.pool, n, c.rows.n_bytes,
                                   (const float *const *)column, c.rows.event, d.problem.prior,
                                   d.problem.cap, NULL) == PACKLLM_OK,
                   "init");
        d.problem.order = d.block.order;
        struct solve_result r = solve(&c, lambda), q = solve(&d, permuted);
        CHECK_CASE(seed, r.f == q.f && r.gap == q.gap && r.passes == q.passes, "results differ");
        for (size_t i = 0; i < n; i++) {
            CHECK_CASE(seed, permuted[i] == lambda[order[i]], "%zu: %.17g, %.17g", i, permuted[i],
                       lambda[order[i]]);
        }
        fuse_block_done(&d.block);
        case_done(&c);
    }
}

/* Goal: giving a member twice leaves the optimum where it is (ridge 0), and the copies share. */
static void doubling_leaves_f(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 1000; seed < end; seed++) {
        struct weigh_case c, d;
        double lambda[MOST], doubled[MOST + 1];
        float *column[MOST + 1];
        case_init(&c, seed, true);
        size_t n = c.problem.n, twin = seed % n;
        memcpy(column, c.rows.logq, n * sizeof *column);
        column[n] = column[twin];
        d = c;
        CHECK_CASE(seed,
                   fuse_block_init(&d.block, c.block.pool, n + 1, c.rows.n_bytes,
                                   (const float *const *)column, c.rows.event, NULL, NULL,
                                   NULL) == PACKLLM_OK,
                   "init");
        d.problem.n = n + 1;
        d.problem.order = d.block.order;
        d.problem.ctx = &d.block;
        struct solve_result r = solve(&c, lambda), q = solve(&d, doubled);
        CHECK_CASE(seed, fabs(r.f - q.f) <= TOLERANCE, "f %.12g, doubled %.12g", r.f, q.f);
        CHECK_CASE(seed, doubled[n] == doubled[twin], "copies: %.17g %.17g", doubled[n],
                   doubled[twin]);
        fuse_block_done(&d.block);
        case_done(&c);
    }
}

/* Goal: without caps and ridge, L(exact) <= the best member's NLL (within the tolerance), and a ridge
 * that grows brings lambda to the prior. */
static void guarantee_and_prior(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 1000; seed < end; seed++) {
        struct weigh_case c;
        double lambda[MOST], nll[MOST];
        case_init(&c, seed, true);
        size_t n = c.problem.n;
        struct solve_result r = solve(&c, lambda);
        fuse_member_nll(&c.block, nll);
        for (size_t i = 0; i < n; i++) { /* 1e-6: rows sum to 1 to float rounding only */
            CHECK_CASE(seed, r.f <= nll[i] + 1e-6, "member %zu is better: %g < %g", i, nll[i], r.f);
        }
        c.problem.prior = c.prior;
        c.problem.ridge = 1e7;
        (void)solve(&c, lambda);
        for (size_t i = 0; i < n; i++) {
            CHECK_CASE(seed, fabs(lambda[i] - c.prior[i]) < 1e-3, "%g, prior %g", lambda[i],
                       c.prior[i]);
        }
        case_done(&c);
    }
}

/* Goal: prompts of the usual lengths: at most 8 passes to 1e-6 and 16 to 1e-9, also with copies. */
static void usual_prompts(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 8; seed < end; seed++) {
        static const size_t members[] = {2, 3, 4, 8}, bytes[] = {50, 400, 800, 50};
        size_t n = members[seed % 4];
        struct rows rows;
        struct fuse_block block;
        struct solve_result r;
        double lambda[MOST];
        rows_open(&rows, n, bytes[seed / 4 % 4], seed);
        if (seed >= 4 && n > 2) {
            rows_copy(&rows, 0, n - 1);
        }
        CHECK_CASE(seed,
                   fuse_block_init(&block, PACKLLM_POOL_LOG, n, rows.n_bytes,
                                   (const float *const *)rows.logq, rows.event, NULL, NULL,
                                   NULL) == PACKLLM_OK,
                   "init");
        struct solve_problem p = {
            .n = n, .eval = fuse_objective, .ctx = &block, .order = block.order};
        CHECK_CASE(seed, solve_exact(&p, 1e-6, 60, lambda, &r, NULL) == PACKLLM_OK, "solve");
        CHECK_CASE(seed, r.gap <= 1e-6 && r.passes <= 8, "gap %g, %u passes", r.gap, r.passes);
        CHECK_CASE(seed, solve_exact(&p, 1e-9, 60, lambda, &r, NULL) == PACKLLM_OK, "solve");
        CHECK_CASE(seed, r.gap <= 1e-9 && r.passes <= 16, "gap %g, %u passes", r.gap, r.passes);
        fuse_block_done(&block);
        rows_close(&rows);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certified),           cmocka_unit_test(beats_everything),
        cmocka_unit_test(permutes_exactly),    cmocka_unit_test(doubling_leaves_f),
        cmocka_unit_test(guarantee_and_prior), cmocka_unit_test(usual_prompts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
