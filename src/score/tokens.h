/* tokens.h - readings and weights in token space: members that share a vocabulary. */
#ifndef SCORE_TOKENS_H
#define SCORE_TOKENS_H

#include "fuse/tokens.h"
#include "score/score.h"

/* One member's rows along a text's canonical tokens. */
struct score_tokens {
    struct fuse_rows rows;
    size_t *end;                  /* [rows.n] bytes of the text up to and with this token */
    uint32_t last_low, last_high; /* events that begin with the bytes of the last token */
    size_t room;
};
void score_tokens_done(struct score_tokens *t);
/* *to, empty, becomes the same rows. */
enum packllm_status score_tokens_copy(struct score_tokens *to, const struct score_tokens *from,
                                      struct packllm_error *err);

/* Reads text with the cover; figures of canonical are of the tokens that begin at byte `context` or
 * behind it. reading gets what a reading in bytes has beside its block: its logq
 * stays NULL, nll_model is that of the tokens. Both are written on success only. E_CONTEXT: no
 * windows here. go_on: *out is what the last call with this cover and go_on gave, or zeros, and is kept as
 * far as it holds; on an error it is done. */
enum packllm_status score_read_tokens(struct cover *cover, const struct prefix_tree *tree,
                                      const char *text, size_t size, size_t context, bool go_on,
                                      struct score_tokens *out, struct score_reading *out_reading,
                                      struct packllm_error *err);
/* Positions of tokens that end at or before that byte; the first that begins at or behind it. */
size_t score_tokens_until(const struct score_tokens *t, size_t bytes);
size_t score_tokens_from(const struct score_tokens *t, size_t bytes);

/* lambda[n] from the first n_positions tokens, which spell `bytes` bytes. out->error: see
 * fuse_tokens_error, nats per byte. E_UNSUPPORTED: a weigher of bytes only. */
enum packllm_status score_weigh_tokens(const struct score_method *method, size_t n,
                                       const struct score_tokens *readings, size_t n_positions,
                                       size_t bytes, double *lambda, struct score_weights *out,
                                       struct packllm_error *err);
/* The pool's loss on positions low..high-1 in nats: out_loss[high - low]. The last token of the text
 * counts as a beginning, as in cover_canonical. */
enum packllm_status score_tokens_loss(enum packllm_pool pool, size_t n,
                                      const struct score_tokens *readings, size_t low, size_t high,
                                      const double *lambda, double *out_loss,
                                      struct packllm_error *err);

#endif
