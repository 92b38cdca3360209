/* score.h - members x text -> negative log-likelihoods, and the prompt's problem for the solver. */
#ifndef SCORE_SCORE_H
#define SCORE_SCORE_H

#include "cover/cover.h"
#include "fuse/fuse.h"
#include "packllm/packllm.h"
#include "solve/solve.h"

/* One member's reading of a text. */
struct score_reading {
    size_t bytes;
    float *logq;      /* [bytes][257] log-probabilities with the floor, nats */
    float *parked;    /* [bytes] share of parked ends */
    float *ended;     /* [bytes] P(a token ends before that byte | the bytes before it) */
    double nll_model; /* sum over all bytes through the byte model, nats */
    struct cover_canonical canonical; /* from byte `from` of score_read on */
    struct cover_canonical whole;     /* from the first byte on */
    uint64_t windows, resyncs, forwards;
    double seconds;       /* wall time of the reading */
    double seconds_model; /* of it inside the model library */
};
void score_reading_done(struct score_reading *r);

/* Reads text with the cover; where it is longer than the member's context and windows is true, in
 * windows that overlap by half a context (each byte is scored once, with the longer context).
 * progress goes through the cover. *out is written on success only (free it with _done). */
enum packllm_status score_read(struct cover *cover, const struct member *member, const char *text,
                               size_t size, size_t from, bool windows, struct score_reading *out,
                               struct packllm_error *err);

/* score_read without windows, and only the rows from byte `from` on are kept: out->bytes = size - from
 * of them, out->nll_model and out->canonical of them. For texts that part behind a beginning. */
enum packllm_status score_read_tail(struct cover *cover, const struct member *member,
                                    const char *text, size_t size, size_t from,
                                    struct score_reading *out, struct packllm_error *err);

/* score_read of texts side by side (cover_sync_beside), at most COVER_BESIDE_MOST, without windows: rows
 * from byte `base` on, out[k].bytes = size - base of them, out[k].nll_model of them; out[k].canonical from
 * `from` on. What was evaluated, and its time, stands in the first. */
struct score_text {
    const char *text;
    size_t size, base, from;
};
enum packllm_status score_read_beside(struct cover *cover, const struct member *member,
                                      const struct score_text *texts, size_t n,
                                      struct score_reading *out, struct packllm_error *err);

/* How lambda is to be found. */
struct score_method {
    enum packllm_weigher weigher;
    enum packllm_pool pool;
    double shrink, tau;
    const double *fixed;    /* [n] for PACKLLM_WEIGH_FIXED and _CBTM */
    const int32_t *experts; /* [3] for PACKLLM_WEIGH_DEXPERTS: base, expert, anti-expert */
    double alpha;           /* < 0: fitted */
    const double *prior;    /* [n], > 0, sum 1 */
    const double *cap;      /* [n] in (0, 1] */
};
struct score_weights {
    double objective, gap; /* nats per byte; gap NAN where nothing was optimised */
    double error;          /* of the objective, nats per byte: 0 in bytes */
    unsigned passes;
    /* Of the mixture that ran along the bytes, NAN but for bayes: its loss, nats per byte; nats in all
     * above the best member, and what they cannot exceed. */
    double prequential, regret, regret_bound;
    double seconds;
};
/* lambda[n] from the first `bytes` bytes of the readings. bytes = 0: the prior. */
enum packllm_status score_weigh(const struct score_method *method, size_t n,
                                const struct score_reading *const *readings, const char *text,
                                size_t bytes, double *lambda, struct score_weights *out,
                                struct packllm_error *err);

/* The same from rows logq[n] -> [bytes][257], where byte t counts weight[t] (NULL: all alike). */
enum packllm_status score_weigh_rows(const struct score_method *method, size_t n,
                                     const float *const *logq, const char *text, size_t bytes,
                                     const double *weight, double *lambda,
                                     struct score_weights *out, struct packllm_error *err);

/* For the two spaces: the problem (n, eval, ctx, order set) as the method wants it. nll[n], nats per
 * byte, is scratch afterwards; unit: what sim's are counted in, bytes. The objective is per byte. */
enum packllm_status score_solve(const struct score_method *method, struct solve_problem *problem,
                                double *nll, double unit, double bytes, double *lambda,
                                struct score_weights *out, struct packllm_error *err);
/* Where there is no prompt: the prior, or what was given. */
enum packllm_status score_weigh_nothing(const struct score_method *method, size_t n, double *lambda,
                                        struct score_weights *out, struct packllm_error *err);

#endif
