/* tally.c - the sums over scored bytes, see tally.h.
 *
 * bayes: the members' mixture, from the prior, along the context and then the scored bytes.
 * hedge: the mixture of the pool (its lambda from the context, fixed) and every member, from equal
 * weights at the first scored byte. Each byte is mixed with the weights that stand before it, so the
 * figures are causal, and what is reported is a distribution over texts like any other.
 */
#include "pack/tally.h"

#include <math.h>

#include "base/alloc.h"
#include "base/status.h"
#include "math/logsum.h"

enum packllm_status tally_open(struct tally *t, struct packllm_session *s,
                               const struct packllm_score_params *p, struct packllm_error *err) {
    size_t n = s->pack->n, room = n + 1;
    bool hedge = s->params.weigher == PACKLLM_WEIGH_HEDGE;
    *t = (struct tally){.s = s, .p = p};
    t->rows = alloc_zero(room, sizeof *t->rows);
    t->memory = alloc_zero(5 * room, sizeof *t->memory);
    if (t->rows == NULL || t->memory == NULL) {
        tally_close(t);
        return fail_memory(err, 5 * room * sizeof *t->memory);
    }
    t->log2_member = t->memory;
    t->nll = t->memory + room;
    t->log_w = t->memory + 2 * room;
    t->logp = t->memory + 3 * room;
    t->before = t->memory + 4 * room;
    t->n_experts = hedge ? n + 1 : s->params.weigher == PACKLLM_WEIGH_BAYES ? n : 0;
    for (size_t i = 0; i < t->n_experts; i++) {
        t->log_w[i] = hedge ? -log((double)t->n_experts) : log(s->pack->prior[i]);
    }
    return PACKLLM_OK;
}

void tally_close(struct tally *t) {
    base_free(t->rows);
    base_free(t->memory);
}

void tally_context(struct tally *t, const char *text, size_t context) {
    if (t->s->params.weigher != PACKLLM_WEIGH_BAYES) {
        return;
    }
    for (size_t x = 0; x < context; x++) {
        for (size_t i = 0; i < t->n_experts; i++) {
            const float *row = t->s->readings[i].logq + x * PACKLLM_EVENTS;
            t->logp[i] = (double)row[(uint8_t)text[x]];
            t->before[i] -= t->logp[i];
        }
        t->mixture_before -= solve_mixture_step(t->n_experts, t->logp, t->log_w);
    }
}

/* The loss of the mixture at this byte; the weights go on. pool: the pool's loss there. */
static double mix(struct tally *t, uint8_t byte, double pool) {
    for (size_t i = 0; i < t->n_experts; i++) {
        t->logp[i] = i < t->s->pack->n ? (double)t->rows[i][byte] : -pool;
    }
    return -solve_mixture_step(t->n_experts, t->logp, t->log_w);
}

void tally_byte(struct tally *t, size_t offset, uint8_t byte, double parked) {
    struct packllm_session *s = t->s;
    float logp[PACKLLM_EVENTS];
    double bound = 0.0, sum = 0.0;
    pack_pool(s, s->pack->n, NULL, s->lambda, t->rows, logp);
    for (size_t i = 0; i < s->pack->n; i++) {
        double nll = -(double)t->rows[i][byte];
        t->nll[i] += nll;
        t->log2_member[i] = -nll * MATH_BITS_PER_NAT;
        bound += s->lambda[i] > 0.0 ? s->lambda[i] * nll : 0.0;
        sum += s->lambda[i];
    }
    double nll = -(double)logp[byte];
    /* Rows are floats. Jensen's bound is for weights >= 0 of sum 1 (or more): not always free's. */
    bool bounded = sum > 1.0 - 1e-9 && s->params.weigher != PACKLLM_WEIGH_DEXPERTS;
    t->jensen += bounded && nll > bound + 1e-4 ? 1 : 0;
    t->nll_pool += nll;
    nll = t->n_experts > 0 ? mix(t, byte, nll) : nll;
    t->nll_pack += nll;
    if (t->p->per_byte != NULL) {
        t->p->per_byte(t->p->per_byte_data, offset, -nll * MATH_BITS_PER_NAT, t->log2_member,
                       parked);
    }
}

void tally_next(struct tally *t, double *next) {
    struct packllm_session *s = t->s;
    float logp[PACKLLM_EVENTS];
    double sum = 0.0;
    pack_pool(s, s->pack->n, NULL, s->lambda, t->rows, logp);
    if (t->n_experts > 0) {
        for (size_t i = 0; i < t->n_experts; i++) {
            t->logp[i] = exp(t->log_w[i]);
        }
        t->rows[s->pack->n] = logp;
        fuse_pool(PACKLLM_POOL_LINEAR, t->n_experts, t->logp, t->rows, logp);
    }
    for (int e = 0; e < PACKLLM_EVENTS; e++) {
        next[e] = exp((double)logp[e]);
        sum += next[e];
    }
    for (int e = 0; e < PACKLLM_EVENTS; e++) {
        next[e] /= sum;
    }
}

void tally_finish(const struct tally *t, struct packllm_score *out) {
    size_t n = t->s->pack->n, best = 0;
    double least = HUGE_VAL;
    out->regret = out->regret_bound = out->posterior = (double)NAN;
    for (size_t i = 0; i < n; i++) {
        t->s->member_scores[i].posterior = t->n_experts > 0 ? exp(t->log_w[i]) : (double)NAN;
    }
    if (t->n_experts == 0) {
        return;
    }
    for (size_t i = 0; i < t->n_experts; i++) {
        double loss = t->before[i] + (i < n ? t->nll[i] : t->nll_pool);
        best = loss < least ? i : best;
        least = fmin(loss, least);
    }
    bool hedge = t->n_experts > n;
    out->regret = t->mixture_before + t->nll_pack - least;
    out->regret_bound = hedge ? log((double)t->n_experts) : -log(t->s->pack->prior[best]);
    out->posterior = hedge ? exp(t->log_w[n]) : (double)NAN;
}
