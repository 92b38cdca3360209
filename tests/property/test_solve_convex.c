/* test_solve_convex.c - properties of the solver on random convex functions that are no pools:
 *     f = log sum_k exp(a_k . lambda + b_k) + lambda' B'B lambda / 2,
 * B of low rank (H singular), up to 24 members, scales over four orders of magnitude, caps. The
 * optimum is checked by its certificate, and that against a linear program solved by hand. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/rng.h"
#include "solve/solve.h"
#include "check.h"

#define MOST 24
#define TERMS 6

struct convex {
    size_t n, terms, rank;
    double a[TERMS][MOST], b[TERMS], B[TERMS][MOST];
};

static double uniform(uint64_t *s) {
    return 2 * rng_uniform(rng_next(s)) - 1;
}

static enum packllm_status eval(void *ctx, const double *lambda, double *f, double *g, double *H) {
    const struct convex *c = ctx;
    size_t n = c->n;
    double e[TERMS], max = -HUGE_VAL, sum = 0;
    for (size_t k = 0; k < c->terms; k++) {
        e[k] = c->b[k];
        for (size_t i = 0; i < n; i++) {
            e[k] += c->a[k][i] * lambda[i];
        }
        max = fmax(max, e[k]);
    }
    for (size_t k = 0; k < c->terms; k++) {
        e[k] = exp(e[k] - max);
        sum += e[k];
    }
    *f = max + log(sum);
    memset(g, 0, n * sizeof *g);
    memset(H, 0, n * n * sizeof *H);
    for (size_t k = 0; k < c->terms; k++) {
        for (size_t i = 0; i < n; i++) {
            g[i] += e[k] / sum * c->a[k][i];
        }
    }
    for (size_t k = 0; k < c->terms; k++) {
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < n; j++) {
                double mean_i = g[i], mean_j = g[j];
                H[i * n + j] += e[k] / sum * (c->a[k][i] - mean_i) * (c->a[k][j] - mean_j);
            }
        }
    }
    for (size_t k = 0; k < c->rank; k++) {
        double y = 0;
        for (size_t i = 0; i < n; i++) {
            y += c->B[k][i] * lambda[i];
        }
        *f += y * y / 2;
        for (size_t i = 0; i < n; i++) {
            g[i] += y * c->B[k][i];
            for (size_t j = 0; j < n; j++) {
                H[i * n + j] += c->B[k][i] * c->B[k][j];
            }
        }
    }
    return PACKLLM_OK;
}

static struct convex random_function(size_t n, uint64_t *s) {
    struct convex c = {.n = n, .terms = 1 + rng_next(s) % TERMS, .rank = rng_next(s) % TERMS};
    double scale = pow(10, 2.2 * uniform(s) - 0.8); /* up to 25: what a log-probability can span */
    for (size_t k = 0; k < TERMS; k++) {
        c.b[k] = uniform(s);
        for (size_t i = 0; i < n; i++) {
            c.a[k][i] = scale * uniform(s);
            c.B[k][i] = sqrt(scale) * uniform(s);
            if (i > 0 && rng_next(s) % 6 == 0) {
                c.a[k][i] = c.a[k][i - 1];
                c.B[k][i] = c.B[k][i - 1];
            }
        }
    }
    return c;
}

static double gap_by_definition(const struct solve_problem *p, const double *lambda) {
    double f, g[MOST], H[MOST * MOST], gap = 0, left = 1;
    bool full[MOST] = {false};
    (void)eval(p->ctx, lambda, &f, g, H);
    for (size_t i = 0; i < p->n; i++) {
        double prior = p->prior != NULL ? p->prior[i] : 1.0 / (double)p->n;
        g[i] += p->ridge * (lambda[i] - prior);
    }
    /* Around the first entry: sum(lambda) = sum(s), and far less cancels. */
    double middle = g[0];
    for (size_t i = 0; i < p->n; i++) {
        gap += lambda[i] * (g[i] - middle);
    }
    for (size_t round = 0; round < p->n && left > 0; round++) {
        size_t best = p->n;
        for (size_t i = 0; i < p->n; i++) {
            best = !full[i] && (best == p->n || g[i] < g[best]) ? i : best;
        }
        double take = fmin(p->cap != NULL ? p->cap[best] : 1, left);
        gap -= take * (g[best] - middle);
        left -= take;
        full[best] = true;
    }
    return gap;
}

static void certified(void **state) {
    (void)state;
    unsigned long passes = 0;
    for (uint64_t seed = check_first_seed(), end = seed + 3000; seed < end; seed++) {
        uint64_t s = seed;
        size_t n = 1 + rng_next(&s) % MOST;
        struct convex c = random_function(n, &s);
        double cap[MOST], sum = 0, lambda[MOST], scale = 0;
        for (size_t i = 0; i < n; i++) {
            cap[i] = rng_next(&s) % 3 == 0 ? 1 : 0.02 + 0.5 * rng_uniform(rng_next(&s));
            sum += cap[i];
            scale = fmax(scale, fabs(c.a[0][i]) + c.B[0][i] * c.B[0][i]);
        }
        struct solve_problem p = {.n = n, .eval = eval, .ctx = &c};
        p.cap = sum >= 1 && rng_next(&s) % 2 == 0 ? cap : NULL;
        p.ridge = rng_next(&s) % 3 == 0 ? rng_uniform(rng_next(&s)) : 0;
        struct solve_result r;
        struct packllm_error err = {0};
        double tolerance = 1e-10 * fmax(scale, 1);
        CHECK_CASE(seed, solve_exact(&p, tolerance, 100, lambda, &r, &err) == PACKLLM_OK, "%s",
                   err.message);
        CHECK_CASE(seed, r.gap <= tolerance, "n %zu terms %zu rank %zu: gap %g > %g, %u passes", n,
                   c.terms, c.rank, r.gap, tolerance, r.passes);
        double gap = gap_by_definition(&p, lambda);
        CHECK_CASE(seed, fabs(gap - r.gap) <= 1e-12 * fmax(scale, 1), "gap %g, definition %g",
                   r.gap, gap);
        sum = 0;
        for (size_t i = 0; i < n; i++) {
            CHECK_CASE(seed, lambda[i] >= 0 && lambda[i] <= (p.cap != NULL ? cap[i] : 1), "%zu", i);
            CHECK_CASE(seed, lambda[i] == 0 || lambda[i] >= 1e-13, "a crumb: %g", lambda[i]);
            sum += lambda[i];
        }
        CHECK_CASE(seed, fabs(sum - 1) < 1e-14, "sum %.17g", sum);
        passes += r.passes;
    }
    print_message("%.2f passes a case\n", (double)passes / 3000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(certified)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
