/* solve.c - solve_exact and the certificate: Newton's method on the capped simplex, see solve.h.
 *
 * Symbols: x in S the weights, F(x) = f(x) + ridge / 2 |x - prior|^2, g and H the gradient and the
 * Hessian of F. One pass of eval gives f, g and H at a trial point, so an accepted trial already
 * has what the next step needs: passes = 1 + the trials.
 *
 * Step: s = argmin over S of the quadratic model at x (quadratic.c); d = s - x; trial x + a d,
 * a = 1 first. F is convex, so phi(a) = F(x + a d) has a growing derivative phi'(a) = g(x + a d) . d,
 * and the line search can judge by it where differences of F drown in rounding. Accepted is a trial
 *   - with phi(a) <= phi(0) + 1e-4 a phi'(0)                      (Armijo), or
 *   - with phi'(a) <= 0: then phi(a) <= phi(0) by convexity, no digits of F needed, or
 *   - with phi(a) <= phi(0) + noise, and phi'(a) <= -0.8 phi'(0) (Hager and Zhang's form) or the
 *     gap at most half of what it was, or
 *   - whose gap is within the tolerance.
 * Else a shrinks to where the secant of phi' has its zero.
 */
#include "solve/solve.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/status.h"
#include "solve/quadratic.h"
#include "solve/work.h"

#define SNAP 1e-12  /* weights below are 0 */
#define NOISE 1e-13 /* relative rounding of F */

/* Whether swapping members a and b leaves the quadratic model as it is, bit for bit: above all the
 * same member given twice. The mean of a minimiser and its mirror image minimises too, so such
 * members get equal weights, whichever way they are numbered. */
static bool twins(const struct work *work, size_t a, size_t b) {
    const struct point *point = &work->now;
    size_t n = work->n;
    if (point->g[a] != point->g[b] || point->x[a] != point->x[b] ||
        work->prior[a] != work->prior[b] || work->cap[a] != work->cap[b] ||
        point->H[a * n + a] != point->H[b * n + b]) {
        return false;
    }
    for (size_t j = 0; j < n; j++) {
        if (j != a && j != b && point->H[a * n + j] != point->H[b * n + j]) {
            return false;
        }
    }
    return true;
}

static void share_between_twins(const struct work *work, double *s) {
    for (size_t a = 0; a < work->n; a++) {
        double sum = s[a];
        size_t count = 1;
        for (size_t b = 0; b < a && count == 1; b++) {
            count += twins(work, b, a) ? 1 : 0; /* done with its first one */
        }
        if (count > 1) {
            continue;
        }
        for (size_t b = a + 1; b < work->n; b++) {
            if (twins(work, a, b)) {
                sum += s[b];
                count++;
            }
        }
        for (size_t b = a; count > 1 && b < work->n; b++) {
            if (b == a || twins(work, a, b)) {
                s[b] = sum / (double)count;
            }
        }
    }
}

/* g . d for a direction with sum d = 0. The gradient is taken around its mean over what moves: near
 * the optimum those entries agree to many digits, and a sum of d off by a rounding would drown the
 * rest. */
static double slope_at(const struct point *point, const double *d, size_t n) {
    double mean = 0, moved = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        mean += fabs(d[i]) * point->g[i];
        moved += fabs(d[i]);
    }
    mean = moved > 0 ? mean / moved : 0;
    for (size_t i = 0; i < n; i++) {
        sum += (point->g[i] - mean) * d[i];
    }
    return sum;
}

static void set_trial(struct work *work, double step) {
    double *x = work->trial.x;
    for (size_t i = 0; i < work->n; i++) {
        double v = step == 1 ? work->s[i] : work->now.x[i] + step * work->d[i];
        x[i] = v < SNAP ? 0 : fmin(v, work->cap[i]);
    }
    solve_work_repair(work->n, work->cap, x);
}

static void swap_points(struct point *a, struct point *b) {
    struct point c = *a;
    *a = *b;
    *b = c;
}

static void copy_result(struct work *work) {
    const struct point *from = &work->now;
    struct point *to = &work->best;
    memcpy(to->x, from->x, work->n * sizeof *to->x);
    to->f = from->f;
    to->F = from->F;
    to->gap = from->gap;
}

/* Trials along work->d until one is accepted (it becomes work->now). *out_moved false: none was,
 * rounding stands in the way or the passes are spent. */
static enum packllm_status line_search(struct work *work, double tolerance, unsigned max_passes,
                                       bool *out_moved, struct packllm_error *err) {
    size_t n = work->n;
    double slope = slope_at(&work->now, work->d, n);
    double noise = NOISE * (1 + fabs(work->now.F));
    double step = 1;
    *out_moved = false;
    while (work->passes < max_passes && step > 1e-12) {
        set_trial(work, step);
        if (memcmp(work->trial.x, work->now.x, n * sizeof(double)) == 0) {
            return PACKLLM_OK;
        }
        enum packllm_status status = solve_work_pass(work, &work->trial, err);
        if (status != PACKLLM_OK) {
            return status;
        }
        double slope_there = slope_at(&work->trial, work->d, n);
        double rise = work->trial.F - work->now.F;
        if (work->trial.gap <= tolerance || rise <= 1e-4 * step * slope || slope_there <= 0 ||
            (rise <= noise &&
             (slope_there <= -0.8 * slope || work->trial.gap <= 0.5 * work->now.gap))) {
            swap_points(&work->now, &work->trial);
            *out_moved = true;
            return PACKLLM_OK;
        }
        double secant = slope / (slope - slope_there);
        step *= secant > 0 ? fmin(fmax(secant, 0.05), 0.7) : 0.05; /* never 1 again: pass used s */
    }
    return PACKLLM_OK;
}

static void start(struct work *work) {
    double *x = work->now.x;
    for (size_t i = 0; i < work->n; i++) {
        x[i] = fmin(work->prior[i], work->cap[i]);
    }
    solve_work_repair(work->n, work->cap, x);
}

static enum packllm_status newton(struct work *work, double tolerance, unsigned max_passes,
                                  struct packllm_error *err) {
    size_t n = work->n;
    start(work);
    enum packllm_status status = solve_work_pass(work, &work->now, err);
    if (status != PACKLLM_OK) {
        return status;
    }
    copy_result(work);
    unsigned stalled = 0;
    while (work->now.gap > tolerance && work->passes < max_passes && stalled < 3) {
        struct point *now = &work->now;
        quadratic_minimise(n, now->g, now->H, work->cap, now->x, work->s, work->quadratic,
                           work->state, work->face);
        share_between_twins(work, work->s);
        for (size_t i = 0; i < n; i++) {
            work->d[i] = work->s[i] - now->x[i];
        }
        double gap = now->gap;
        if (!(slope_at(now, work->d, n) < 0)) {
            break; /* the model sees nothing to gain: rounding */
        }
        bool moved = false;
        status = line_search(work, tolerance, max_passes, &moved, err);
        if (status != PACKLLM_OK) {
            return status;
        }
        if (!moved) {
            break;
        }
        stalled = work->now.gap < 0.5 * gap || work->now.gap > 1e-11 ? 0 : stalled + 1;
        if (work->now.gap < work->best.gap) {
            copy_result(work);
        }
    }
    return PACKLLM_OK;
}

enum packllm_status solve_exact(const struct solve_problem *problem, double tolerance,
                                unsigned max_passes, double *lambda, struct solve_result *out,
                                struct packllm_error *err) {
    struct work work;
    assert(max_passes >= 1);
    enum packllm_status status = solve_work_init(&work, problem, err);
    if (status != PACKLLM_OK) {
        return status;
    }
    if (!(tolerance >= 0)) {
        status = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                      "weights: the tolerance is %g, it must be >= 0", tolerance);
    } else {
        status = newton(&work, tolerance, max_passes, err);
    }
    if (status == PACKLLM_OK) {
        for (size_t i = 0; i < work.n; i++) {
            lambda[work.order[i]] = work.best.x[i];
        }
        *out = (struct solve_result){work.best.f, work.best.gap, work.passes};
    }
    solve_work_done(&work);
    return status;
}

enum packllm_status solve_gap(const struct solve_problem *problem, const double *lambda,
                              double *out_gap, struct packllm_error *err) {
    struct work work;
    enum packllm_status status = solve_work_init(&work, problem, err);
    if (status != PACKLLM_OK) {
        return status;
    }
    double sum = 0;
    for (size_t i = 0; i < work.n; i++) {
        double x = lambda[work.order[i]];
        if (!(x >= 0 && x <= work.cap[i] + SUM_TOLERANCE)) {
            status = fail(err, PACKLLM_E_ARG, (int)work.order[i],
                          "weights: %g is not between 0 and the cap %g", x, work.cap[i]);
            break;
        }
        work.now.x[i] = x;
        sum += x;
    }
    if (status == PACKLLM_OK && !(fabs(sum - 1) <= SUM_TOLERANCE)) {
        status = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                      "weights: they sum to %.12g instead of 1", sum);
    }
    if (status == PACKLLM_OK) {
        status = solve_work_pass(&work, &work.now, err);
    }
    if (status == PACKLLM_OK) {
        *out_gap = work.now.gap;
    }
    solve_work_done(&work);
    return status;
}
