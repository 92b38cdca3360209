/* work.c - checks a problem, brings it into internal order, and evaluates points; see work.h. */
#include "solve/work.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#include "base/alloc.h"
#include "base/status.h"
#include "math/logsum.h"
#include "solve/quadratic.h"

static size_t point_size(size_t n) {
    return n * n + 2 * n;
}

static double *cut(double **from, size_t n) {
    double *piece = *from;
    *from += n;
    return piece;
}

static struct point cut_point(double **from, size_t n) {
    struct point point = {0};
    point.x = cut(from, n);
    point.g = cut(from, n);
    point.H = cut(from, n * n);
    return point;
}

void solve_work_done(struct work *work) {
    base_free(work->memory);
    base_free(work->order);
    base_free(work->face);
    base_free(work->state);
}

static enum packllm_status check_problem(const struct solve_problem *problem,
                                         struct packllm_error *err) {
    size_t n = problem->n;
    if (n == 0) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "weights: no members");
    }
    if (!(problem->ridge >= 0) || isinf(problem->ridge)) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "weights: the ridge is %g, it must be finite and >= 0", problem->ridge);
    }
    double prior = 0, cap = 0;
    for (size_t i = 0; i < n; i++) {
        if (problem->prior != NULL) {
            if (!(problem->prior[i] >= 0 && problem->prior[i] <= 1 + SUM_TOLERANCE)) {
                return fail(err, PACKLLM_E_ARG, (int)i, "weights: the prior %g is not in [0, 1]",
                            problem->prior[i]);
            }
            prior += problem->prior[i];
        }
        if (problem->cap != NULL) {
            if (!(problem->cap[i] > 0 && problem->cap[i] <= 1)) {
                return fail(err, PACKLLM_E_ARG, (int)i, "weights: the cap %g is not in (0, 1]",
                            problem->cap[i]);
            }
            cap += problem->cap[i];
        }
    }
    if (problem->prior != NULL && fabs(prior - 1) > SUM_TOLERANCE) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "weights: the priors sum to %.12g instead of 1", prior);
    }
    if (problem->cap != NULL && cap < 1 - SUM_TOLERANCE) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "weights: the caps sum to %g; together they must allow 1", cap);
    }
    return PACKLLM_OK;
}

enum packllm_status solve_work_init(struct work *work, const struct solve_problem *problem,
                                    struct packllm_error *err) {
    size_t n = problem->n;
    *work = (struct work){.problem = problem, .n = n};
    enum packllm_status status = check_problem(problem, err);
    if (status != PACKLLM_OK) {
        return status;
    }
    if (n > 4096) { /* n * n below stays far from overflow */
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "weights: %zu members, at most 4096", n);
    }
    size_t size = 4 * n + n * n + 2 * n + QUADRATIC_WORK(n) + 3 * point_size(n);
    work->memory = alloc_array(size, sizeof *work->memory);
    work->order = alloc_array(n, sizeof *work->order);
    work->face = alloc_array(n, sizeof *work->face);
    work->state = alloc_zero(n, 1);
    if (work->memory == NULL || work->order == NULL || work->face == NULL || work->state == NULL) {
        solve_work_done(work);
        return fail_memory(err, size * sizeof *work->memory);
    }
    double *from = work->memory;
    work->prior = cut(&from, n);
    work->cap = cut(&from, n);
    work->lambda = cut(&from, n);
    work->g = cut(&from, n);
    work->H = cut(&from, n * n);
    work->s = cut(&from, n);
    work->d = cut(&from, n);
    work->quadratic = cut(&from, QUADRATIC_WORK(n));
    work->now = cut_point(&from, n);
    work->trial = cut_point(&from, n);
    work->best = cut_point(&from, n);
    for (size_t i = 0; i < n; i++) {
        size_t k = problem->order != NULL ? problem->order[i] : i;
        assert(k < n && work->state[k] == 0); /* a permutation */
        work->state[k] = 1;
        work->order[i] = k;
        work->prior[i] = problem->prior != NULL ? problem->prior[k] : 1.0 / (double)n;
        work->cap[i] = problem->cap != NULL ? problem->cap[k] : 1;
    }
    return PACKLLM_OK;
}

/* gap = sum_i (x_i - s_i)(g_i - v) for the vertex s that minimises g . s over S and v the level where
 * its filling ends: no term is negative, so nothing cancels. Uses work->s. */
static double gap_at(struct work *work, const struct point *point) {
    double level, gap = 0;
    quadratic_fill(work->n, point->g, work->cap, work->s, &level);
    for (size_t i = 0; i < work->n; i++) {
        gap += fmax((point->x[i] - work->s[i]) * (point->g[i] - level), 0);
    }
    return gap;
}

enum packllm_status solve_work_pass(struct work *work, struct point *point,
                                    struct packllm_error *err) {
    size_t n = work->n;
    const struct solve_problem *problem = work->problem;
    for (size_t i = 0; i < n; i++) {
        work->lambda[work->order[i]] = point->x[i];
    }
    work->passes++;
    enum packllm_status status =
        problem->eval(problem->ctx, work->lambda, &point->f, work->g, work->H);
    if (status != PACKLLM_OK) {
        return fail(err, status, PACKLLM_NO_MEMBER, "weights: pass %u of the objective failed: %s",
                    work->passes, packllm_status_text(status));
    }
    bool finite = isfinite(point->f);
    double away = 0;
    for (size_t i = 0; i < n; i++) {
        size_t row = work->order[i];
        double shift = point->x[i] - work->prior[i];
        away += shift * shift;
        point->g[i] = work->g[row] + problem->ridge * shift;
        finite = finite && isfinite(point->g[i]);
        for (size_t j = 0; j < n; j++) {
            double h = work->H[row * n + work->order[j]] + (i == j ? problem->ridge : 0);
            point->H[i * n + j] = h;
            finite = finite && isfinite(h);
        }
    }
    if (!finite) {
        return fail(err, PACKLLM_E_INTERNAL, PACKLLM_NO_MEMBER,
                    "weights: the objective is not finite (pass %u)", work->passes);
    }
    point->F = point->f + 0.5 * problem->ridge * away;
    point->gap = gap_at(work, point);
    return PACKLLM_OK;
}

void solve_work_repair(size_t n, const double *cap, double *x) {
    for (int round = 0; round < 4; round++) {
        double sum = math_sum(x, n);
        double missing = 1 - sum;
        double room = 0;
        for (size_t i = 0; i < n; i++) {
            room += missing > 0 ? (x[i] > 0 ? cap[i] - x[i] : 0) : x[i];
        }
        if (missing == 0) {
            return;
        }
        bool all = missing > room; /* those at 0 must help */
        if (all) {
            room = 0;
            for (size_t i = 0; i < n; i++) {
                room += cap[i] - x[i];
            }
        }
        if (room <= 0) {
            return;
        }
        for (size_t i = 0; i < n; i++) {
            if (missing < 0) {
                x[i] += missing * (x[i] / room);
            } else if (all || x[i] > 0) {
                x[i] += fmin(missing / room, 1) * (cap[i] - x[i]);
            }
            x[i] = fmin(fmax(x[i], 0), cap[i]);
        }
    }
}
