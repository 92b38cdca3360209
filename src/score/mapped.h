/* mapped.h - a member with another vocabulary as rows over a reference's tokens (docs/math.md, "Mapped
 * tokens"). The map itself, reference token -> member token, comes from outside (align). */
#ifndef SCORE_MAPPED_H
#define SCORE_MAPPED_H

#include "score/tokens.h"

struct score_map {
    uint32_t n;     /* text tokens of the reference, by rank; END is event n */
    uint32_t *from; /* [n] rank of the member's token, UINT32_MAX: none */
    float *share;   /* [n] of that token's mass */
    int32_t *to; /* [n_ids] by the reference's ids what a translated text is made of, -1: nothing */
    uint32_t n_ids;
    bool whole; /* the vocabularies are the same but for their numbers: rows pass as they are */
    bool paper;
};
/* to, distance [reference->table->n] as align.h has them. paper: mass is not shared, but repeated. */
enum packllm_status score_map_init(struct score_map *map, const struct prefix_tree *reference,
                                   const struct prefix_tree *member, const int32_t *to,
                                   const uint32_t *distance, bool paper, struct packllm_error *err);
void score_map_done(struct score_map *map);
uint32_t score_map_matched(const struct score_map *map); /* text tokens that have one */

/* The member's row over the reference's tokens: mass[map->n] and block sums of COVER_BLOCK of them, END
 * returned. */
double score_map_row(const struct score_map *map, const struct cover_tokens *row, float *mass,
                     double *block);

/* A text as the reference reads it, and how the other members are to. */
struct score_mapped_text {
    const char *text;
    size_t size;
    const struct prefix_tree *reference;
    const struct score_tokens *tokens; /* the reference's reading */
    bool translated;                   /* the member is fed mapped tokens, else the text itself */
    /* The reference and the member do not agree whether a text begins with a space: the member says
     * nothing of the first token. */
    bool silent_first;
};
/* The member's rows at the reference's tokens, of the same events and places. *out_nll: nats, of what
 * stood there. E_CONTEXT. */
enum packllm_status score_read_mapped(struct cover *cover, const struct score_map *map,
                                      const struct score_mapped_text *text,
                                      struct score_tokens *out, double *out_nll,
                                      struct packllm_error *err);
/* Ids that a translated text of n tokens is made of, into out[n]; actual: the reference's ranks. */
void score_translate(const struct score_map *map, const struct prefix_tree *reference,
                     const uint32_t *actual, size_t n, int32_t *out);

#endif
