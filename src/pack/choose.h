/* choose.h - what choose.c and begun.c share: the candidates for the next token and how they are found. */
#ifndef PACK_CHOOSE_H
#define PACK_CHOOSE_H

#include "pack/pack.h"

enum {
    TOP_DISPLAY = 64, /* candidates from D */
    TOP_OTHER = 8,    /* from each other member */
    CHOICE_DEPTH = 64 /* bytes of a token that are corrected */
};

/* What D finds that much less likely than its first choice is no candidate by itself. */
#define UNLIKELY 1e-4
#define UNLIKELY_GREEDY 1e-3 /* only the first matters */

struct candidate {
    uint32_t rank;  /* in D's tree: sorted ranks are sorted bytes */
    uint32_t begun; /* bytes of it that stand already, and */
    unsigned index; /* the history that it follows: see cover_begun */
    double mass;    /* as D has it */
    double logp;    /* log of it */
    double delta;   /* log of the product of p / q_D */
};

/* Candidates found[low..high) that go on with one byte. */
struct branch {
    uint32_t low, high;
    double ratio; /* log of p / q_D there */
    float log_p;  /* the pool's of that byte */
    uint8_t byte;
    bool longer; /* behind it some go on */
};

struct choice {
    struct candidate *found; /* [room] */
    uint64_t *keys;          /* [room] of D's likeliest, see likely.h */
    struct sample_candidate *sampled;
    uint64_t *marks; /* [room / 64 + 1] bits of ranks: the set of candidates; empty between steps */
    uint32_t *ranks; /* [room] tokens that a grammar allows */
    size_t room;
    size_t n_active;
    size_t *active;                  /* members with lambda > 0 or D, D first */
    double *lambda;                  /* of the active ones */
    char *views;                     /* [CHOICE_DEPTH + 1][n] of cover_view_size() */
    float *logq;                     /* [n + 1][257], the last one D's with its temperature */
    const float **rows;              /* [n] */
    struct cover_tokens *token_rows; /* [n] of the active ones, in token space */
    double *least;           /* [n] in token space: what a member finds unlikely is below it */
    struct branch *branches; /* [room + CHOICE_DEPTH] */
    double best;             /* log pi of the best candidate that correct.c found so far, and */
    double unlikely;         /* how far below it nothing need be exact; -inf: all must */
};

/* The candidates of a step, c->found[0..kept), sorted by the bytes that they write. */
struct candidates {
    size_t kept;
    double inside; /* D's mass of all that were looked at, and of the end */
    double end;    /* of the end */
    double log_z;  /* raw logit = log(mass) + log_z */
};

/* choose.c. Whether what the token writes may stand behind the text (valid UTF-8, a character may be
 * open; what a grammar allows). begun: bytes of it that stand already. */
bool choice_fits(const struct packllm_session *s, const struct vocab_table *table, int32_t id,
                 uint32_t begun);
/* Among the s->params.n_top likeliest, if it is one of them; ties to the lowest id. */
void choice_add_top(struct packllm_session *s, const struct packllm_top *one);
/* How many of D's tokens, of which there are `all`, the sampling settings can bring to the top. */
size_t choice_how_many(const struct packllm_session *s, uint32_t all);

/* correct.c. The active member's view at a depth of the trie; at depth 0 cover_view_of gives it. */
struct cover_view *choice_view(const struct packllm_session *s, size_t depth, size_t k);
/* Pool there: p into logp[257], q_D beside it in c->logq[0], without its temperature. */
void choice_pool(struct packllm_session *s, size_t depth, float *logp);
/* Log of the share of the best token's pi below which a token cannot be chosen; -inf: any may be, or is
 * told. */
double choice_unlikely(const struct packllm_session *s);
/* Gives found[0..n), sorted by what they write, their deltas, and the end its. */
void choice_correct(struct packllm_session *s, size_t n, double *end_delta);

/* begun.c. Before the first token: whether the text ends inside one of the display member's
 * (s->inside). Then that token is chosen in bytes, whatever the text was read in. */
enum packllm_status begun_look(struct packllm_session *s, struct packllm_error *err);
/* Then: the tokens that the text may have begun, and those that may follow it. */
enum packllm_status begun_candidates(struct packllm_session *s, struct candidates *out,
                                     struct packllm_error *err);
/* After it: the display member goes on by it, in token space all members. */
enum packllm_status begun_take(struct packllm_session *s, struct packllm_error *err);

#endif
