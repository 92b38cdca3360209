/* cover.h - one member as a model of bytes (docs/math.md, "Covers").
 *
 * The text is the bytes of a canonical token sequence. A *cover* is a history of tokens with its
 * weight and the bytes of the text behind it; all live covers together are the *front*, and give
 * the distribution of the next byte and END. Ends whose row is not evaluated are *parked*: they
 * keep their share, with a stand-in for their next byte. An end is opened (its row evaluated) when
 * its share of P(text) exceeds epsilon and retokenising a window says that it is canonical.
 *
 * One walk serves all uses; only where rows come from differs:
 *   cover_sync    known text: rows of the canonical tokens in one batch, those of other ends in a
 *                 few more rounds; then the walk is repeated on the rows that are there
 *   cover_extend  text as it is written: rows on demand
 * What the walk opens depends on the text so far only, so both give the same model (causal).
 *
 * Offsets count bytes of the caller's text. Threads: one at a time per cover.
 */
#ifndef COVER_COVER_H
#define COVER_COVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "member/member.h"
#include "packllm/packllm.h"
#include "vocab/prefix.h"

struct cover;

/* tree: of member->table, shared by the covers of one member. epsilon in (0, 1). all: every
 * tokenisation counts, not the canonical one alone; those that end at one byte become one. */
enum packllm_status cover_open(struct cover **out, struct member *member,
                               const struct prefix_tree *tree, double epsilon, bool all,
                               atomic_bool *abort_flag, struct packllm_error *err);
void cover_close(struct cover *cover); /* NULL allowed */
/* Another owner's from now on: what was evaluated stays, and the next cover_sync finds what it
 * shares. */
void cover_adopt(struct cover *cover, double epsilon, atomic_bool *abort_flag);

/* From now on; rows do not depend on it. */
void cover_set_epsilon(struct cover *cover, double epsilon);

/* `to` holds what `from` has evaluated of its known text and what that stands behind, as if it had been
 * given that text; from goes on as it was. Both of one shared member (member_shared.h), else, or
 * where nothing is known of from, E_UNSUPPORTED. On an error `to` is empty. Nobody may use either meanwhile. */
enum packllm_status cover_copy(struct cover *to, struct cover *from, struct packllm_error *err);

/* Several texts at once, for reading alone: the rows that they have in common are evaluated once, and
 * what each of them needs goes into common batches. Text k is then asked through cover_beside(cover, k)
 * until the next call: cover_walk, cover_walk_from, cover_canonical, cover_resyncs. It keeps what it
 * shares with the k-th text of the last call. No row behind its last byte is evaluated, and nothing goes on
 * from there. The cover's own text stays. On an error all those texts are empty. */
enum { COVER_BESIDE_MOST = 16 };
struct cover_text {
    const char *text;
    size_t size; /* > 0 */
};
enum packllm_status cover_sync_beside(struct cover *cover, const struct cover_text *texts, size_t n,
                                      struct packllm_error *err);
struct cover *cover_beside(struct cover *cover, size_t k);

/* Progress of a long evaluation: share 0..1. */
typedef void (*cover_progress_fn)(void *data, double share);
void cover_set_progress(struct cover *cover, cover_progress_fn fn, void *data);

/* The text stands behind these tokens from now on (the start token is one of them); n = 0: behind the
 * member's start token. They are conditioned on, and are no bytes of the text. If they change, the
 * text is empty; what the member evaluated of them stays. */
enum packllm_status cover_set_prefix(struct cover *cover, const int32_t *tokens, size_t n,
                                     struct packllm_error *err);
/* From this byte of the text on, half of what begins with a line end counts as END (docs/math.md,
 * "Chats"); SIZE_MAX: nowhere, the default. To be said before cover_sync. */
void cover_set_line_ends(struct cover *cover, size_t from);

/* Forgets the text and all that was evaluated: what follows is as in a new cover. */
void cover_forget(struct cover *cover);

/* Sets the text; evaluates what is not shared with the text before. E_CONTEXT if it does not fit.
 * On an error the text is empty. It may be empty behind tokens of cover_set_prefix only. */
enum packllm_status cover_sync(struct cover *cover, const char *text, size_t size,
                               struct packllm_error *err);
/* Sets the text anew and gives the rows of its canonical tokens: index from 0, the token that stands
 * there, the byte of the text where it ends. No ends are opened: for pools in token space. The text
 * then ends in a single history (cover_narrow, cover_append). visit may be NULL. go_on: only rows that the
 * last call with go_on did not give, where nothing else was read since: from some index on. */
struct cover_tokens;
typedef enum packllm_status (*cover_token_fn)(void *data, size_t index,
                                              const struct cover_tokens *row, int32_t token,
                                              size_t end, struct packllm_error *err);
enum packllm_status cover_read_tokens(struct cover *cover, const char *text, size_t size,
                                      bool go_on, cover_token_fn visit, void *data,
                                      struct packllm_error *err);
/* From now on cover_sync gives those rows, too, of tokens that it evaluates; NULL: no more. */
void cover_set_rows(struct cover *cover, cover_token_fn visit, void *data);
/* Canonical tokens of that text, and the last of them (-1: none). */
size_t cover_chain(const struct cover *cover, int32_t *out_last);
/* For pools in the tokens of another vocabulary. Sets the text anew; visit gets, in any order, for each
 * of the places[n] (bytes of the text, ascending) the row behind the canonical history of the text
 * before it: of a place inside a character, before that character. The text then ends in a single
 * history (cover_narrow, cover_follow), and cover_canonical holds. */
typedef enum packllm_status (*cover_place_fn)(void *data, size_t place,
                                              const struct cover_tokens *row,
                                              struct packllm_error *err);
enum packllm_status cover_read_places(struct cover *cover, const char *text, size_t size,
                                      const size_t *places, size_t n, cover_place_fn visit,
                                      void *data, struct packllm_error *err);
/* The same behind tokens as they are given, none of them known to spell a text: place k is before
 * tokens[k]; -1 leaves the history as it is. Then cover_narrow and cover_feed. visit may be NULL. */
enum packllm_status cover_read_given(struct cover *cover, const int32_t *tokens, size_t n,
                                     cover_place_fn visit, void *data, struct packllm_error *err);
/* Goes on by bytes: to the canonical history of the text so far; by a token, or -1. */
enum packllm_status cover_follow(struct cover *cover, const char *bytes, size_t size,
                                 struct packllm_error *err);
enum packllm_status cover_feed(struct cover *cover, int32_t token, struct packllm_error *err);
/* The row behind it. */
bool cover_row_fed(const struct cover *cover, struct cover_tokens *out);
/* The walk over the text that cover_sync set: for each of its bytes t, visit gets q[257] = the
 * distribution of byte t given the bytes before it (sums to 1, no floor) and the share of parked
 * ends. Afterwards the front stands at the end of the text. */
typedef void (*cover_visit_fn)(void *data, size_t offset, const double *q, double parked);
enum packllm_status cover_walk(struct cover *cover, cover_visit_fn visit, void *data,
                               struct packllm_error *err);
/* The same, but only bytes from `from` on are visited: what nobody asks for is not worked out. */
enum packllm_status cover_walk_from(struct cover *cover, size_t from, cover_visit_fn visit,
                                    void *data, struct packllm_error *err);

/* An empty text, its first row evaluated: cover_append (tokens true: also the space that the
 * vocabulary puts first is the caller's) or cover_extend may follow. */
enum packllm_status cover_begin(struct cover *cover, bool tokens, struct packllm_error *err);
/* Writes bytes behind the text. eager: ends are opened byte by byte; else only once all the bytes
 * stand (they are known), which costs fewer forwards. */
enum packllm_status cover_extend(struct cover *cover, const char *bytes, size_t size, bool eager,
                                 struct packllm_error *err);
/* Writes one token behind the text and makes it the only cover: for a member that generates in its
 * own tokens. The text must end in a single history (after cover_sync, or this). */
enum packllm_status cover_append(struct cover *cover, int32_t token, struct packllm_error *err);
/* Makes the canonical history of the text the only cover (before the first cover_append). */
enum packllm_status cover_narrow(struct cover *cover, struct packllm_error *err);

/* q[257] of the next event; returns the share of parked ends. */
double cover_next(struct cover *cover, double *q);

/* ---- looking ahead without evaluating: a copy of the front, stepped by bytes ------------------ */

struct cover_view;
size_t cover_view_size(void); /* bytes of one */
void cover_view_of(struct cover *cover, struct cover_view *out);
/* out = view after byte; out may be view. Returns the probability of the byte there. */
double cover_view_step(const struct cover *cover, const struct cover_view *view, uint8_t byte,
                       struct cover_view *out);
double cover_view_next(const struct cover *cover, const struct cover_view *view, double *q);

/* The row of the newest single history, if there is one (after cover_append, cover_narrow, or where
 * a history ends exactly at the end of the text): probabilities by rank of the tree. */
enum { COVER_BLOCK = 64 };

struct cover_tokens {
    const float *mass;   /* [tree->n], text tokens by rank */
    const double *block; /* [ceil(tree->n / COVER_BLOCK)] sums of COVER_BLOCK of them */
    double end;          /* of the END tokens */
    double log_z;        /* raw logit = log(mass) + log_z */
};
bool cover_row_here(const struct cover *cover, struct cover_tokens *out);

/* ---- a text that ends inside a token (begin.c), after cover_sync and cover_walk ------------------ */

/* A live history and the bytes of the text behind it: its next token begins with them. */
struct cover_begun {
    struct cover_tokens row;
    struct prefix_place place; /* of those bytes: the tokens that begin with them, */
    uint32_t low;              /* and from this rank on those that are longer */
    double w;                  /* P(text, next token is v) / P(text) = w * mass of v */
    unsigned index;            /* what cover_take_begun knows it by */
};
enum { COVER_BEGUN_MOST = 40 };
/* Into out[COVER_BEGUN_MOST], the heaviest first; how many. Valid until the cover changes. */
size_t cover_begun(const struct cover *cover, struct cover_begun *out);
/* P(a token ends where the text does | text), of the histories that are live there. */
double cover_ended(const struct cover *cover);
/* The same with the ends that were not opened: for each byte, inside cover_walk's visit. */
double cover_ends(const struct cover *cover);
/* About the same behind cover_read_tokens, from what it evaluated: the share of any other end counts as
 * of no end there. Text and rows stay; cover_narrow, or cover_sync and cover_walk, may follow. */
enum packllm_status cover_ended_told(struct cover *cover, double *out_share,
                                     struct packllm_error *err);
/* Behind cover_read_tokens, too: evaluates the other ends of the last bytes, where a token that reaches the
 * end may have begun. The front stands at the end then, as behind cover_walk. *out_read false: no row of the text before is known,
 * and nothing was done. */
enum packllm_status cover_read_tail(struct cover *cover, bool *out_read, struct packllm_error *err);
/* Whether that history with the token behind it is canonical. */
enum packllm_status cover_check_begun(struct cover *cover, const struct cover_begun *begun,
                                      int32_t token, bool *canonical, struct packllm_error *err);
/* Writes the token's other bytes behind the text, and makes it the only cover, as cover_append does. */
enum packllm_status cover_take_begun(struct cover *cover, unsigned index, int32_t token,
                                     struct packllm_error *err);
/* The same of another member with the same vocabulary: the text and the one history of `from`. */
enum packllm_status cover_take_same(struct cover *cover, const struct cover *from,
                                    struct packllm_error *err);

/* ---- figures ---------------------------------------------------------------------------------- */

/* Canonical negative log-likelihood of the text set by cover_sync. Nats. */
struct cover_canonical {
    double nll;      /* bytes from `from` on, over text and END tokens; a token that `from` cuts is
                        conditioned on its part before it, and the last token counts as the
                        beginning of whatever begins with its bytes */
    double let_off;  /* what the last token does not pay in nll, for something longer may follow */
    double nll_full; /* the same tokens with the softmax over the whole vocabulary, nothing cut */
    uint64_t tokens; /* that end behind `from` */
};
void cover_canonical(const struct cover *cover, size_t from, struct cover_canonical *out);
uint64_t cover_resyncs(const struct cover *cover);
uint64_t cover_forwards(const struct cover *cover); /* tokens evaluated, in all */
double cover_seconds(const struct cover *cover);    /* inside the model library, in all */
size_t cover_size(const struct cover *cover);       /* bytes of the text */

#endif
