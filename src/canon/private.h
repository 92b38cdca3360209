/* private.h - what the files of the canon room share. */
#ifndef CANON_PRIVATE_H
#define CANON_PRIVATE_H

#include "canon/added.h"
#include "canon/canon.h"

enum { CANON_NONE = -1 };

struct canon_rank {
    int32_t left, right, result; /* pieces */
};

/* Pieces: the tokens, as what they spell (bytes; spaces for U+2581), and behind them what merges
 * make on the way and is no token. Equal bytes stand for one piece only. */
struct canon {
    enum canon_model model;
    struct pre pre;
    uint32_t n_tokens, n_pieces, room_pieces;
    uint8_t *bytes;
    uint32_t *offset; /* [n_pieces + 1] */
    size_t room_bytes;
    float *score;   /* [n_tokens], CANON_PIECES */
    uint32_t *slot; /* [n_slots] piece + 1, by a hash of its bytes */
    uint32_t n_slots;
    struct canon_rank *rank; /* [n_ranks], the best first */
    uint32_t n_ranks;
    uint32_t *rank_slot; /* [n_rank_slots] rank + 1, by a hash of left and right */
    uint32_t n_rank_slots;
    int32_t byte_piece[256]; /* CANON_BYTE_PAIRS: the piece of a single byte */
    int32_t byte_token[256]; /* what stands for a byte of a piece that is no token */
    struct canon_added added;
};

/* A stretch of the text: a token, or to be merged. */
struct canon_part {
    uint32_t from, end;
    int32_t token; /* CANON_NONE: text. CANON_SKIP: not to be spelled */
};
enum { CANON_SKIP = -2 };

/* lookups (canon.c) */
int32_t canon_find(const struct canon *c, const char *bytes, size_t size); /* piece */
int32_t canon_find_rank(const struct canon *c, int32_t left, int32_t right);

/* added.c: the parts of the text into w->part. */
enum packllm_status canon_partition(const struct canon *c, struct canon_work *w, const char *text,
                                    size_t size, struct packllm_error *err);

/* merge.c: the tokens of one piece, which begins at byte `at` of the text, behind those of w. */
enum packllm_status canon_merge_piece(const struct canon *c, struct canon_work *w, const char *text,
                                      size_t from, size_t end, struct packllm_error *err);
enum packllm_status canon_put(struct canon_work *w, int32_t id, size_t end,
                              struct packllm_error *err);

#endif
