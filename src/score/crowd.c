/* crowd.c - judging members by a piece of a text, see crowd.h.
 *
 * Symbols: F the objective with its ridge, lambda the weights, w the members that share the level
 * (those between 0 and their caps) in proportion to lambda, d = e_j - w.
 *
 *     m_j = d . grad F       s_j^2 = variance of m_j over B batches of the piece / B
 *     error of m_j as an estimate of the whole text's = s_j sqrt(1 - read / whole)
 *     most(M) = max over 0 <= a <= 1 of a M - a^2/2 d'Hd, M = z error - m_j
 */
#include "score/crowd.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

bool score_crowd_can(enum packllm_weigher weigher) {
    return weigher == PACKLLM_WEIGH_EXACT || weigher == PACKLLM_WEIGH_EM;
}

void score_crowd_prior(const double *prior, size_t n_of, const size_t *member, double *out) {
    double sum = 0.0;
    for (size_t k = 0; k < n_of; k++) {
        sum += prior[member[k]];
    }
    /* On the simplex a shift by the same amount changes |lambda - prior|^2 by a constant only. */
    for (size_t k = 0; k < n_of; k++) {
        out[k] = prior[member[k]] + (1.0 - sum) / (double)n_of;
    }
}

/* The members on the level: weights w of sum 1. */
static void find_level(size_t n, const double *lambda, const double *cap, const double *g,
                       double *w) {
    double sum = 0.0;
    size_t highest = 0;
    for (size_t i = 0; i < n; i++) {
        w[i] = lambda[i] > 0.0 && lambda[i] < cap[i] ? lambda[i] : 0.0;
        sum += w[i];
        bool with = lambda[i] > 0.0, better = lambda[highest] <= 0.0 || g[i] > g[highest];
        highest = with && better ? i : highest;
    }
    if (sum <= 0.0) { /* all at their caps, or one member has all: the last to be filled */
        w[highest] = sum = 1.0;
    }
    for (size_t i = 0; i < n; i++) {
        w[i] /= sum;
    }
}

/* m[j] = g_j - w . g */
static void multipliers(size_t n, const double *w, const double *g, double *m) {
    double level = 0.0;
    for (size_t i = 0; i < n; i++) {
        level += w[i] * g[i];
    }
    for (size_t j = 0; j < n; j++) {
        m[j] = g[j] - level;
    }
}

static double gain(double slope, double curvature) {
    if (slope <= 0.0) {
        return 0.0;
    }
    return slope >= curvature ? slope - curvature / 2 : slope * slope / (2 * curvature);
}

/* d'Hd for every j, with the ridge's part. */
static void curvatures(size_t n, const double *w, const double *H, double ridge, double *out) {
    double whole = 0.0, square = 0.0;
    for (size_t j = 0; j < n; j++) {
        double hw = 0.0;
        for (size_t i = 0; i < n; i++) {
            hw += H[j * n + i] * w[i];
        }
        out[j] = H[j * n + j] - 2 * hw + ridge * (1 - 2 * w[j]);
        whole += w[j] * hw;
        square += w[j] * w[j];
    }
    for (size_t j = 0; j < n; j++) {
        double h = out[j] + whole + ridge * square;
        out[j] = h > 0.0 ? h : 0.0;
    }
}

/* Adds to sum and squares the batches' multipliers, each as long as the mean of them. */
static enum packllm_status batches(const struct score_stretch *stretch, size_t n,
                                   const size_t *member, size_t read, const double *lambda,
                                   const double *w, double *g, double *m, double *sum,
                                   double *squares, struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    double mean = (double)read / SCORE_CROWD_BATCHES;
    for (size_t b = 0; b < SCORE_CROWD_BATCHES && status >= 0; b++) {
        size_t low = b * read / SCORE_CROWD_BATCHES, high = (b + 1) * read / SCORE_CROWD_BATCHES;
        struct solve_problem problem = {0};
        double f;
        status = stretch->begin(stretch->data, n, member, low, high, &problem, err);
        if (status < 0) {
            break;
        }
        status = problem.eval(problem.ctx, lambda, &f, g, NULL);
        stretch->finish(stretch->data, &problem);
        multipliers(n, w, g, m);
        for (size_t j = 0; j < n; j++) {
            double x = m[j] * (double)(high - low) / mean;
            sum[j] += x;
            squares[j] += x * x;
        }
    }
    return status;
}

enum packllm_status score_crowd_look(const struct score_method *method,
                                     const struct score_stretch *stretch, size_t n,
                                     const size_t *member, size_t read, size_t whole, bool solve,
                                     double *lambda, struct score_outlook *out,
                                     struct packllm_error *err) {
    struct solve_problem problem = {0};
    struct score_weights weights = {0};
    double f, *memory = alloc_zero(n * n + 7 * n, sizeof *memory);
    if (memory == NULL) {
        return fail_memory(err, n * n * sizeof *memory);
    }
    double *H = memory, *g = H + n * n, *w = g + n, *m = w + n, *h = m + n, *sum = h + n,
           *squares = sum + n, *nll = squares + n;
    enum packllm_status status = stretch->begin(stretch->data, n, member, 0, read, &problem, err);
    if (status < 0) {
        goto out;
    }
    if (solve) {
        status = score_solve(method, &problem, nll, 1.0, (double)read, lambda, &weights, err);
    }
    status = status < 0 ? status : problem.eval(problem.ctx, lambda, &f, g, H);
    stretch->finish(stretch->data, &problem);
    if (status < 0) {
        goto out;
    }
    /* The text's own ridge, not the piece's: what is asked is the text's multiplier. */
    double ridge = method->weigher == PACKLLM_WEIGH_EM ? 0.0 : method->shrink / (double)whole;
    find_level(n, lambda, method->cap, g, w);
    curvatures(n, w, H, ridge, h);
    status = batches(stretch, n, member, read, lambda, w, nll, m, sum, squares, err);
    for (size_t i = 0; i < n; i++) {
        g[i] += ridge * (lambda[i] - method->prior[i]);
    }
    multipliers(n, w, g, m);
    const double count = SCORE_CROWD_BATCHES;
    for (size_t j = 0; j < n && status >= 0; j++) {
        double variance = (squares[j] - sum[j] * sum[j] / count) / (count - 1) / count;
        double left = read < whole ? 1 - (double)read / (double)whole : 0.0;
        out[j] = (struct score_outlook){.multiplier = m[j],
                                        .error = sqrt((variance > 0 ? variance : 0.0) * left)};
        out[j].likely = gain(-m[j], h[j]);
        out[j].most = gain(SCORE_CROWD_Z * out[j].error - m[j], h[j]);
    }
out:
    base_free(memory);
    return status;
}

/* < 0: a comes first. */
static int compare(const double *lambda, const struct score_outlook *o, size_t a, size_t b) {
    if (lambda[a] != lambda[b]) {
        return lambda[a] > lambda[b] ? -1 : 1;
    }
    if (o[a].most != o[b].most) {
        return o[a].most > o[b].most ? -1 : 1;
    }
    return a < b ? -1 : 1;
}

size_t score_crowd_keep(size_t n, const double *lambda, const struct score_outlook *outlook,
                        const double *cap, size_t least, size_t most, double slack, bool *out_keep,
                        size_t *work) {
    size_t kept = 0;
    double caps = 0.0;
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        for (; at > 0 && compare(lambda, outlook, i, work[at - 1]) < 0; at--) {
            work[at] = work[at - 1];
        }
        work[at] = i;
        out_keep[i] = false;
    }
    for (size_t k = 0; k < n; k++) {
        size_t i = work[k];
        bool hopeful = lambda[i] > 0.0 || outlook[i].most > slack;
        if ((k < most && (hopeful || k < least)) || caps < 1.0) {
            out_keep[i] = true;
            caps += cap[i];
            kept++;
        }
    }
    return kept;
}
