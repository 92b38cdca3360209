/* test_solve_weighers.c - greedy, free, em and bayes on problems small enough to try every point of a
 * fine grid: each certificate is at least the true distance from the minimum. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "solve/solve.h"
#include "check.h"

enum { BYTES = 12, MOST = 3 };

/* The linear pool over observed bytes: f = mean_t -log sum_i w_i q_i(t). */
struct table {
    size_t n;
    double q[BYTES][MOST];
    unsigned calls;
};

static enum packllm_status linear(void *ctx, const double *w, double *f, double *g, double *H) {
    struct table *table = ctx;
    size_t n = table->n;
    table->calls++;
    *f = 0;
    for (size_t i = 0; g != NULL && i < n; i++) {
        g[i] = 0;
    }
    for (size_t i = 0; H != NULL && i < n * n; i++) {
        H[i] = 0;
    }
    for (size_t t = 0; t < BYTES; t++) {
        const double *q = table->q[t];
        double mix = 0;
        for (size_t i = 0; i < n; i++) {
            mix += w[i] * q[i];
        }
        *f -= log(mix) / BYTES;
        for (size_t i = 0; g != NULL && i < n; i++) {
            g[i] -= q[i] / mix / BYTES;
            for (size_t j = 0; H != NULL && j < n; j++) {
                H[i * n + j] += q[i] * q[j] / mix / mix / BYTES;
            }
        }
    }
    return PACKLLM_OK;
}

/* The log-linear pool over two events of which the first was seen: convex for every lambda >= 0. */
static enum packllm_status logistic(void *ctx, const double *w, double *f, double *g, double *H) {
    struct table *table = ctx;
    size_t n = table->n;
    *f = 0;
    memset(g, 0, n * sizeof *g);
    memset(H, 0, n * n * sizeof *H);
    for (size_t t = 0; t < BYTES; t++) {
        double z = 0;
        for (size_t i = 0; i < n; i++) {
            z += w[i] * table->q[t][i];
        }
        double wrong = 1 / (1 + exp(z));
        *f += (z > 0 ? log1p(exp(-z)) : log1p(exp(z)) - z) / BYTES;
        for (size_t i = 0; i < n; i++) {
            g[i] -= wrong * table->q[t][i] / BYTES;
            for (size_t j = 0; j < n; j++) {
                H[i * n + j] += wrong * (1 - wrong) * table->q[t][i] * table->q[t][j] / BYTES;
            }
        }
    }
    return PACKLLM_OK;
}

static struct table random_table(uint64_t *s, double low, double high) {
    struct table table = {.n = 1 + rng_next(s) % MOST};
    for (size_t t = 0; t < BYTES; t++) {
        for (size_t i = 0; i < MOST; i++) {
            table.q[t][i] = low + (high - low) * rng_uniform(rng_next(s));
        }
    }
    return table;
}

/* The least f on a grid of the simplex. */
static double least_linear(struct table *table, int grid) {
    double best = HUGE_VAL, f;
    for (int a = 0; a <= (table->n > 1 ? grid : 0); a++) {
        for (int b = 0; b <= (table->n > 2 ? grid - a : 0); b++) {
            double w[MOST] = {(double)a / grid, (double)b / grid};
            w[table->n - 1] =
                (double)(grid - (table->n > 1 ? a : 0) - (table->n > 2 ? b : 0)) / grid;
            (void)linear(table, w, &f, NULL, NULL);
            best = fmin(best, f);
        }
    }
    return best;
}

/* Goal: em's and greedy's gaps are no smaller than what a grid of the simplex gains on them; em's is
 * log max_i mean_t(q_i / q_w); greedy takes 21 (n - 1) passes and is on its grid. */
static void em_and_greedy(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 300; seed < end; seed++) {
        uint64_t s = seed;
        struct table table = random_table(&s, 0.001, 1);
        size_t n = table.n;
        struct solve_problem p = {.n = n, .eval = linear, .ctx = &table};
        struct solve_result r;
        double w[MOST], f, g[MOST], nll[MOST], most = 0, best = least_linear(&table, 100);
        CHECK_CASE(seed, solve_em(&p, 1e-10, 200, w, &r, NULL) == PACKLLM_OK, "em");
        (void)linear(&table, w, &f, g, NULL);
        for (size_t i = 0; i < n; i++) {
            most = fmax(most, -g[i]);
        }
        CHECK_CASE(seed, fabs(log(most) - r.gap) < 1e-14, "gap %g, definition %g", r.gap,
                   log(most));
        CHECK_CASE(seed, r.gap <= 1e-10 && f <= best + r.gap + 1e-15, "%g, grid %g", f, best);
        for (size_t i = 0; i < n; i++) {
            double e[MOST] = {0};
            e[i] = 1;
            (void)linear(&table, e, &nll[i], NULL, NULL);
        }
        table.calls = 0;
        CHECK_CASE(seed, solve_greedy(&p, nll, w, &r, NULL) == PACKLLM_OK, "greedy");
        (void)linear(&table, w, &f, NULL, NULL);
        CHECK_CASE(seed, r.passes == 21 * (n - 1) && table.calls <= r.passes + 3, "%u", r.passes);
        CHECK_CASE(seed, r.f == f && f <= best + r.gap + 1e-15, "%g gap %g, grid %g", f, r.gap,
                   best);
        for (size_t i = 0; i < n; i++) { /* two foldings of steps 1/20 */
            CHECK_CASE(seed, fabs(w[i] * 400 - round(w[i] * 400)) < 1e-10, "%.17g", w[i]);
            CHECK_CASE(seed, f <= nll[i] + 1e-14, "member %zu is better", i);
        }
    }
}

/* Goal: of equals greedy keeps the incumbent, the member that stands first. */
static void greedy_ties(void **state) {
    (void)state;
    struct table table = {.n = 3};
    for (size_t t = 0; t < BYTES; t++) {
        table.q[t][0] = table.q[t][2] = 0.3 + 0.01 * (double)t;
        table.q[t][1] = 0.9 * table.q[t][0];
    }
    struct solve_problem p = {.n = 3, .eval = linear, .ctx = &table};
    struct solve_result r;
    double w[3], nll[3];
    for (size_t i = 0; i < 3; i++) {
        (void)linear(&table, (double[]){i == 0, i == 1, i == 2}, &nll[i], NULL, NULL);
    }
    assert_int_equal(solve_greedy(&p, nll, w, &r, NULL), PACKLLM_OK);
    assert_true(w[0] == 1 && w[1] == 0 && w[2] == 0);
    p.order = (const size_t[]){2, 1, 0};
    assert_int_equal(solve_greedy(&p, nll, w, &r, NULL), PACKLLM_OK);
    assert_true(w[2] == 1);
}

static double free_value(struct table *table, const double *w, double ridge) {
    double f, g[MOST], H[MOST * MOST];
    (void)logistic(table, w, &f, g, H);
    for (size_t i = 0; i < table->n; i++) {
        double away = w[i] - 1.0 / (double)table->n;
        f += ridge / 2 * away * away;
    }
    return f;
}

/* Goal: no point of {lambda >= 0, sum <= 16, below the caps} is better than free's by more than its gap. */
static void free_sum(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 300; seed < end; seed++) {
        uint64_t s = seed;
        struct table table = random_table(&s, seed % 3 == 0 ? 0 : -0.6, 1);
        size_t n = table.n = 1 + table.n % 2;
        double cap[2] = {rng_next(&s) % 2 == 0 ? 0.4 : 1, 1}, w[MOST];
        struct solve_problem p = {.n = n, .eval = logistic, .ctx = &table};
        p.cap = n == 2 ? cap : NULL;
        p.ridge = rng_next(&s) % 2 == 0 ? 0.02 : 0;
        struct solve_result r;
        CHECK_CASE(seed, solve_free(&p, 1e-10, 200, w, &r, NULL) == PACKLLM_OK, "free");
        double F = free_value(&table, w, p.ridge), sum = w[0] + (n == 2 ? w[1] : 0);
        CHECK_CASE(seed, r.gap <= 1e-10, "gap %g", r.gap);
        CHECK_CASE(seed, fabs(r.f - free_value(&table, w, 0)) < 1e-14, "f %g", r.f);
        CHECK_CASE(seed, w[0] >= 0 && sum <= 16 + 1e-12, "sum %g", sum);
        CHECK_CASE(seed, n == 1 || cap[0] == 1 || w[0] <= cap[0], "above its cap: %g", w[0]);
        for (int a = 0; a <= 160; a++) {
            for (int b = 0; b <= (n == 2 ? 160 - a : 0); b++) {
                double x[MOST] = {a / 10.0, b / 10.0};
                if (n == 2 && cap[0] < 1 && x[0] > cap[0]) {
                    continue;
                }
                CHECK_CASE(seed, F - r.gap - 1e-14 <= free_value(&table, x, p.ridge), "%g %g", x[0],
                           x[1]);
            }
        }
    }
}

/* Goal: the posterior is prior times likelihood, the running mixture's loss is the closed form's and at
 * most loss_i + log 1/prior_i; 10^5 nats neither overflow nor underflow. */
static void bayes(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 1000; seed < end; seed++) {
        uint64_t s = seed;
        size_t n = 1 + rng_next(&s) % 6;
        double prior[6], loss[6] = {0}, log_w[6], lambda[6], logp[6], total, sum = 0, run = 0;
        double scale = seed % 2 == 0 ? 1 : 2000;
        for (size_t i = 0; i < n; i++) {
            prior[i] = 0.05 + rng_uniform(rng_next(&s));
            sum += prior[i];
        }
        for (size_t i = 0; i < n; i++) {
            prior[i] /= sum;
            log_w[i] = log(prior[i]);
        }
        for (size_t t = 0; t < 50; t++) {
            for (size_t i = 0; i < n; i++) {
                logp[i] = -scale * rng_uniform(rng_next(&s));
                loss[i] -= logp[i];
            }
            run -= solve_mixture_step(n, logp, log_w);
        }
        CHECK_CASE(seed, solve_bayes(loss, prior, n, lambda, &total, NULL) == PACKLLM_OK, "bayes");
        CHECK_CASE(seed, fabs(run - total) <= 1e-12 * (1 + total), "%.17g, running %.17g", total,
                   run);
        sum = 0;
        for (size_t i = 0; i < n; i++) {
            CHECK_CASE(seed, fabs(lambda[i] - exp(log_w[i])) <= 1e-9, "%g %g", lambda[i], log_w[i]);
            CHECK_CASE(seed, total <= loss[i] - log(prior[i]) + 1e-12 * total, "above %zu", i);
            CHECK_CASE(seed, lambda[i] == 0 || lambda[i] >= 1e-13, "a crumb: %g", lambda[i]);
            sum += lambda[i];
        }
        CHECK_CASE(seed, fabs(sum - 1) < 1e-14, "sum %.17g", sum);
    }
    double lambda[2], total;
    struct packllm_error err;
    assert_int_equal(
        solve_bayes((double[]){1, nan("")}, (double[]){0.5, 0.5}, 2, lambda, &total, &err),
        PACKLLM_E_ARG);
    assert_int_equal(err.member, 1);
}

static enum packllm_status broken(void *ctx, const double *w, double *f, double *g, double *H) {
    (void)ctx, (void)w, (void)f, (void)g, (void)H;
    return PACKLLM_E_MODEL;
}

/* Goal: what the objective returns comes back, and lambda stays as it was. */
static void errors(void **state) {
    (void)state;
    struct solve_problem p = {.n = 2, .eval = broken};
    struct solve_result r;
    double lambda[2] = {7, 7};
    assert_int_equal(solve_greedy(&p, (double[]){1, 2}, lambda, &r, NULL), PACKLLM_E_MODEL);
    assert_int_equal(solve_free(&p, 0, 9, lambda, &r, NULL), PACKLLM_E_MODEL);
    assert_int_equal(solve_em(&p, 0, 9, lambda, &r, NULL), PACKLLM_E_MODEL);
    assert_true(lambda[0] == 7 && lambda[1] == 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(em_and_greedy), cmocka_unit_test(greedy_ties), cmocka_unit_test(free_sum),
        cmocka_unit_test(bayes),         cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
