/* tokens.h - pools in token space: members that share a vocabulary, position by position of one
 * tokenisation. Knows no members, no llama.cpp.
 *
 * A whole block of positions x vocabulary x members does not fit anywhere, so of each row only the
 * most probable tokens are kept, with the observed one, and the mass and number of the rest. A token
 * that one member keeps and another does not gets an equal part of the other's rest, what nobody
 * keeps is one event. The log pool of that is within fuse_tokens_error of the pool of whole rows.
 */
#ifndef FUSE_TOKENS_H
#define FUSE_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packllm/packllm.h"

enum { FUSE_TOKENS_KEPT = 512 };

/* One member's rows at the positions of a text. */
struct fuse_rows {
    size_t n, room;      /* positions */
    uint32_t vocabulary; /* events of a row: text tokens by rank, then END */
    size_t *first;       /* [n + 1] into event, logp */
    uint32_t *event;     /* kept ones, ascending at each position */
    float *logp;         /* nats */
    size_t room_kept;
    float *rest;      /* [n] log of the mass that is not kept; -inf: none */
    float *least;     /* [n] no event that is not kept has a larger log-probability */
    float *observed;  /* [n] log-probability of what stood there, nats */
    uint32_t *actual; /* [n] what stood there */
};

/* Appends a row: mass[vocabulary - 1] by rank, and END; the observed event. block: sums of
 * block_size masses each, to skip what is too small. */
enum packllm_status fuse_rows_add(struct fuse_rows *rows, const float *mass, const double *block,
                                  uint32_t block_size, uint32_t vocabulary, double end,
                                  uint32_t observed, struct packllm_error *err);
/* Rows that were added in another order: row t becomes what was row at[t], each once. */
enum packllm_status fuse_rows_order(struct fuse_rows *rows, const size_t *at,
                                    struct packllm_error *err);
/* *to, empty, becomes the same rows. */
enum packllm_status fuse_rows_copy(struct fuse_rows *to, const struct fuse_rows *from,
                                   struct packllm_error *err);
/* Keeps the first n. */
void fuse_rows_cut(struct fuse_rows *rows, size_t n);
void fuse_rows_done(struct fuse_rows *rows);

/* The rows of all members, by event. */
struct fuse_tokens {
    size_t n_members, n_positions;
    double unit; /* the objective is in nats per this many: the bytes of the text, or positions */
    enum packllm_pool pool;
    size_t *first;   /* [n_positions + 1] */
    uint32_t *event; /* [first[n_positions]]; the last one of a position is the rest, UINT32_MAX */
    float *logp;     /* [first[n_positions]][n_members] */
    float *observed; /* [n_positions][n_members] */
    size_t *order;   /* [n_members], see struct solve_problem */
    double *scratch;
};
/* rows[n_members] of the same positions and vocabulary (asserted); positions low..high-1, at least
 * one. E_ARG: the members' observed events differ. */
enum packllm_status fuse_tokens_init(struct fuse_tokens *tokens, enum packllm_pool pool,
                                     size_t n_members, const struct fuse_rows *const *rows,
                                     size_t low, size_t high, double unit,
                                     struct packllm_error *err);
void fuse_tokens_done(struct fuse_tokens *tokens);

/* As fuse_objective, nats per unit; ctx is the fuse_tokens. */
enum packllm_status fuse_tokens_objective(void *ctx, const double *lambda, double *f, double *g,
                                          double *H);
/* The same of one position, not divided: -log p(observed). */
double fuse_tokens_loss(const struct fuse_tokens *tokens, const double *lambda, size_t position);
/* -log of what the pool gives to all events low..high-1 that are kept: of a last token that the end of
 * the text may have cut, as a beginning. */
double fuse_tokens_loss_among(const struct fuse_tokens *tokens, const double *lambda,
                              size_t position, uint32_t low, uint32_t high);
/* The log pool of whole rows is at most *out from fuse_tokens_objective at lambda, nats per unit.
 * rows and low as in fuse_tokens_init. */
enum packllm_status fuse_tokens_error(const struct fuse_tokens *tokens,
                                      const struct fuse_rows *const *rows, size_t low,
                                      const double *lambda, double *out, struct packllm_error *err);

#endif
