/* tally.h - what is summed over scored bytes: the pool's loss, or that of a mixture that runs along
 * them (bayes, hedge). pack's own. */
#ifndef PACK_TALLY_H
#define PACK_TALLY_H

#include "pack/pack.h" /* first: it asks for the experimental tier */

struct tally {
    struct packllm_session *s;
    const struct packllm_score_params *p;
    double *memory;
    const float **rows;  /* [n + 1] of this byte; the last is the pool's, for the mixture */
    double *log2_member; /* [n] */
    double *nll;         /* [n] of the scored bytes through the byte models, nats */
    double nll_pack;     /* of what is reported: the pool, or the mixture */
    uint64_t jensen;
    /* The experts of the mixture: the members, and with hedge the pool behind them. 0: it is not one. */
    size_t n_experts;
    double *log_w, *logp; /* [n_experts] weights before this byte, log-probabilities of it */
    double *before; /* [n_experts] losses over the bytes that ran before the scored ones, nats */
    double mixture_before, nll_pool;
};

enum packllm_status tally_open(struct tally *t, struct packllm_session *s,
                               const struct packllm_score_params *p, struct packllm_error *err);
void tally_close(struct tally *t);
/* bayes: the mixture runs along the first `context` bytes of the readings. */
void tally_context(struct tally *t, const char *text, size_t context);
/* One scored byte, with t->rows set. */
void tally_byte(struct tally *t, size_t offset, uint8_t byte, double parked);
/* The distribution after the last byte, with t->rows set: next[257], sum 1. */
void tally_next(struct tally *t, double *next);
/* regret, its bound and the posteriors into out and the session's members; NAN without a mixture. */
void tally_finish(const struct tally *t, struct packllm_score *out);

#endif
