/* member_base.h - what the kinds of members share: histories kept as token arrays, the check of a
 * row, the clock. Private to this room. */
#ifndef MEMBER_MEMBER_BASE_H
#define MEMBER_MEMBER_BASE_H

#include "member/member.h"

enum {
    MEMBER_SEQ_MIN = 4,
    MEMBER_SEQ_DEFAULT = 12,
    MEMBER_SEQ_MAX = 64,
    MEMBER_SEQ_ALL = 256 /* of all timelines of a context; libllama knows no more */
};

/* The tokens of every sequence: [n_seq][n_ctx], allocated as they grow. */
struct member_histories {
    int32_t **tokens; /* [n_seq] */
    uint32_t *room;   /* [n_seq] */
    uint32_t *length; /* [n_seq], what member_context.length points to */
    uint32_t n_seq;
};

enum packllm_status member_histories_init(struct member_histories *h, uint32_t n_seq,
                                          struct packllm_error *err);
void member_histories_done(struct member_histories *h);
/* Appends; the sequence's length grows by one. */
enum packllm_status member_histories_push(struct member_histories *h, int32_t seq, int32_t token,
                                          struct packllm_error *err);
/* How many of the first n tokens of src dst has too, from the start. */
uint32_t member_histories_common(const struct member_histories *h, int32_t dst, int32_t src,
                                 uint32_t n);
/* dst becomes the first n tokens of src; keep of them are there already. */
enum packllm_status member_histories_copy(struct member_histories *h, int32_t dst, int32_t src,
                                          uint32_t keep, uint32_t n, struct packllm_error *err);

/* A row that a softmax can be taken of: no NaN, no +inf, something above -inf. Sets c->greatest. */
enum packllm_status member_row_check(struct member_context *c, const float *logits,
                                     struct packllm_error *err);

/* name, or the file name of path without .gguf where it is NULL; *size bytes of it. */
const char *member_name_of(const char *name, const char *path, size_t *size);
/* The fields every kind fills the same way. */
enum packllm_status member_base_init(struct member *m, const struct member_ops *ops,
                                     const char *name, const char *path, int index,
                                     struct packllm_error *err);
void member_base_done(struct member *m);

/* The library's progress, handed on to the caller of the pack. */
struct member_progress {
    const struct packllm_params *params;
    int index;
    bool cancelled;
};
bool member_on_progress(float share, void *data); /* struct member_progress; false: stop */

#endif
