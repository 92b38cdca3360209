/* align.h - from a reference vocabulary to a member's: for every reference token the member's token
 * that stands for it (docs/math.md, "Vocabulary maps").
 *
 *   text (normal, user-defined)  the same bytes, else what the method says
 *   a fallback byte              the member's fallback byte, else its text token of that one byte
 *   END                          the member's lowest END token
 *   masked                       nothing
 *
 * Text goes to text: only `exact` and `first` also take a fallback byte for a token of one byte, since
 * nearest is a question among pieces of text. Of several tokens with the same bytes the lowest id is
 * taken, user-defined or not: "smallest distance, then lowest id" stays the whole definition. */
#ifndef ALIGN_ALIGN_H
#define ALIGN_ALIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packllm/packllm.h"
#include "vocab/table.h"

#define ALIGN_NONE (-1)             /* no token; never an id */
#define ALIGN_FAR UINT32_MAX        /* its distance */
enum { ALIGN_TOKEN_MAX = 1 << 16 }; /* bytes of a token that is compared by distance */

enum align_method {
    ALIGN_EXACT, /* the same bytes or nothing */
    ALIGN_FIRST, /* else the first token of the bytes in the member's own tokenisation */
    ALIGN_MINED  /* else the text token at the smallest edit distance over bytes, lowest id */
};

struct align_map {
    uint32_t n;         /* reference tokens */
    uint32_t n_member;  /* the member's tokens: to[] lies below */
    int32_t *to;        /* [n] the member's token, or ALIGN_NONE */
    uint32_t *distance; /* [n] bytes inserted, deleted or exchanged; ALIGN_FAR for ALIGN_NONE */
    uint32_t exact, near, unmatched; /* mapped at distance 0, mapped further, not mapped */
};

struct align_request {
    const struct vocab_table *reference, *member;
    enum align_method method;
    unsigned threads; /* of ALIGN_MINED, at least 1; the map does not depend on it */
    /* ALIGN_FIRST: the member's first token of these bytes, or ALIGN_NONE: it cannot spell them. */
    int32_t (*first)(void *ctx, const uint8_t *bytes, size_t size);
    void *first_ctx;
    /* Share of the work done, 0..1, from the calling thread; false cancels. May be NULL. */
    bool (*progress)(void *ctx, double share);
    void *progress_ctx;
};

/* E_CANCELLED; E_MODEL for a text token above ALIGN_TOKEN_MAX. */
enum packllm_status align_build(struct align_map *out, const struct align_request *request,
                                struct packllm_error *err);
void align_done(struct align_map *map);

/* Text of the vocabulary in the sense above. */
static inline bool align_is_text(const struct vocab_table *t, int32_t id) {
    return t->kind[id] <= VOCAB_USER && vocab_size(t, id) > 0;
}

#endif
