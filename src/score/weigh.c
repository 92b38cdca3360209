/* weigh.c - the weights from the readings of a prompt: each weigher's problem for the solver. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"
#include "score/score.h"

#define TOLERANCE 1e-10 /* of the gap, nats per byte */
enum { MOST_PASSES = 200 };

/* The posterior, and the loss of the mixture that ran along the prompt. */
static enum packllm_status weigh_bayes(const struct score_method *m, double *nll, size_t n,
                                       double count, double *lambda, struct score_weights *out,
                                       struct packllm_error *err) {
    size_t best = 0;
    double loss = 0;
    for (size_t i = 0; i < n; i++) {
        nll[i] *= count;
        best =
            nll[i] < nll[best] || (nll[i] == nll[best] && m->prior[i] > m->prior[best]) ? i : best;
    }
    enum packllm_status status = solve_bayes(nll, m->prior, n, lambda, &loss, err);
    if (status == PACKLLM_OK) {
        out->prequential = loss / count;
        out->regret = loss - nll[best];
        out->regret_bound = -log(m->prior[best]);
    }
    return status;
}

static void steer(const struct score_method *m, double alpha, size_t n, double *lambda) {
    for (size_t i = 0; i < n; i++) {
        lambda[i] = 0;
    }
    lambda[m->experts[0]] = 1;
    lambda[m->experts[1]] = alpha;
    lambda[m->experts[2]] = alpha > 0 ? -alpha : 0;
}

static enum packllm_status weigh_experts(const struct score_method *m, struct fuse_block *block,
                                         double *lambda, struct score_weights *out,
                                         struct packllm_error *err) {
    struct fuse_experts e = {block->logq[m->experts[0]], block->logq[m->experts[1]],
                             block->logq[m->experts[2]], block->event, block->n_bytes};
    struct solve_problem problem = {.n = 1, .eval = fuse_experts_objective, .ctx = &e};
    double alpha = m->alpha;
    enum packllm_status status = PACKLLM_OK;
    if (alpha < 0) {
        struct solve_result result = {0};
        status = solve_free(&problem, TOLERANCE, MOST_PASSES, &alpha, &result, err);
        out->gap = result.gap;
        out->passes = result.passes;
    }
    if (status == PACKLLM_OK) {
        steer(m, alpha, block->n_members, lambda);
        status = fuse_experts_objective(&e, &alpha, &out->objective, NULL, NULL);
    }
    return status;
}

enum packllm_status score_solve(const struct score_method *m, struct solve_problem *problem,
                                double *nll, double unit, double bytes, double *lambda,
                                struct score_weights *out, struct packllm_error *err) {
    size_t n = problem->n;
    enum packllm_status status = PACKLLM_OK;
    struct solve_result result = {.gap = (double)NAN};
    problem->prior = m->prior;
    problem->cap = m->cap;
    problem->ridge = m->shrink / bytes;
    switch (m->weigher) {
    case PACKLLM_WEIGH_EXACT:
    case PACKLLM_WEIGH_HEDGE: /* the pool among its experts */
        status = solve_exact(problem, TOLERANCE, MOST_PASSES, lambda, &result, err);
        break;
    case PACKLLM_WEIGH_FREE:
        status = solve_free(problem, TOLERANCE, MOST_PASSES, lambda, &result, err);
        break;
    case PACKLLM_WEIGH_EM:
        status = solve_em(problem, TOLERANCE, MOST_PASSES, lambda, &result, err);
        break;
    case PACKLLM_WEIGH_GREEDY:
        status = solve_greedy(problem, nll, lambda, &result, err);
        break;
    case PACKLLM_WEIGH_BAYES:
        status = weigh_bayes(m, nll, n, bytes, lambda, out, err);
        break;
    case PACKLLM_WEIGH_SIM:
        for (size_t i = 0; i < n; i++) {
            nll[i] *= unit;
        }
        status = solve_sim(nll, n, m->tau, lambda, err);
        break;
    case PACKLLM_WEIGH_UNIFORM:
        solve_uniform(n, lambda);
        break;
    case PACKLLM_WEIGH_TOP1:
        solve_top1(nll, n, lambda);
        break;
    case PACKLLM_WEIGH_FIXED:
    case PACKLLM_WEIGH_CBTM: /* of words, found before */
        status = solve_fixed(m->fixed, n, lambda, err);
        break;
    case PACKLLM_WEIGH_DEXPERTS: /* a problem of its own: weigh_experts */
        status = fail(err, PACKLLM_E_UNSUPPORTED, PACKLLM_NO_MEMBER,
                      "experts are steered in bytes only: say --space bytes");
        break;
    }
    out->gap = result.gap;
    out->passes = result.passes;
    return status < 0 ? status : problem->eval(problem->ctx, lambda, &out->objective, NULL, NULL);
}

/* A fixed unit of four bytes for sim: nats per token of different tokenizers do not compare. */
#define SIM_BYTES 4.0

static enum packllm_status solve_block(const struct score_method *m, struct fuse_block *block,
                                       double *lambda, struct score_weights *out,
                                       struct packllm_error *err) {
    size_t n = block->n_members;
    if (m->weigher == PACKLLM_WEIGH_DEXPERTS) {
        return weigh_experts(m, block, lambda, out, err);
    }
    double *nll = alloc_array(n, sizeof *nll);
    if (nll == NULL) {
        return fail_memory(err, n * sizeof *nll);
    }
    fuse_member_nll(block, nll);
    struct solve_problem problem = {
        .n = n, .eval = fuse_objective, .ctx = block, .order = block->order};
    enum packllm_status status =
        score_solve(m, &problem, nll, SIM_BYTES, block->count, lambda, out, err);
    base_free(nll);
    return status;
}

/* What is not computed is not a number. */
static const struct score_weights nothing = {.objective = (double)NAN,
                                             .gap = (double)NAN,
                                             .prequential = (double)NAN,
                                             .regret = (double)NAN,
                                             .regret_bound = (double)NAN};

enum packllm_status score_weigh_nothing(const struct score_method *method, size_t n, double *lambda,
                                        struct score_weights *out, struct packllm_error *err) {
    *out = nothing;
    if (method->weigher == PACKLLM_WEIGH_FIXED || method->weigher == PACKLLM_WEIGH_CBTM) {
        return solve_fixed(method->fixed, n, lambda, err);
    }
    if (method->weigher == PACKLLM_WEIGH_DEXPERTS) {
        steer(method, method->alpha >= 0 ? method->alpha : 1, n, lambda); /* nothing to fit on */
        return PACKLLM_OK;
    }
    memcpy(lambda, method->prior, n * sizeof *lambda);
    return PACKLLM_OK;
}

enum packllm_status score_weigh(const struct score_method *method, size_t n,
                                const struct score_reading *const *readings, const char *text,
                                size_t bytes, double *lambda, struct score_weights *out,
                                struct packllm_error *err) {
    const float **logq = alloc_array(n, sizeof *logq);
    if (logq == NULL) {
        return fail_memory(err, n * sizeof *logq);
    }
    for (size_t i = 0; i < n; i++) {
        logq[i] = readings[i]->logq;
    }
    enum packllm_status status =
        score_weigh_rows(method, n, logq, text, bytes, NULL, lambda, out, err);
    base_free(logq);
    return status;
}

enum packllm_status score_weigh_rows(const struct score_method *method, size_t n,
                                     const float *const *logq, const char *text, size_t bytes,
                                     const double *weight, double *lambda,
                                     struct score_weights *out, struct packllm_error *err) {
    struct score_weights w = nothing;
    double start = base_clock();
    if (bytes == 0) {
        return score_weigh_nothing(method, n, lambda, out, err);
    }
    uint16_t *event = alloc_array(bytes, sizeof *event);
    struct fuse_block block = {0};
    if (event == NULL) {
        return fail_memory(err, bytes * sizeof *event);
    }
    for (size_t t = 0; t < bytes; t++) {
        event[t] = (uint8_t)text[t];
    }
    enum packllm_status status = fuse_block_init(&block, method->pool, n, bytes, logq, event,
                                                 method->prior, method->cap, err);
    if (status >= 0) {
        fuse_block_weigh(&block, weight);
        status = solve_block(method, &block, lambda, &w, err);
        fuse_block_done(&block);
    }
    if (status >= 0) {
        w.seconds = base_clock() - start;
        *out = w;
    }
    base_free(event);
    return status;
}
