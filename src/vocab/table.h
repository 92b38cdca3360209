/* table.h - a vocabulary: id -> bytes and kind. Filled once by a member, then read-only. */
#ifndef VOCAB_TABLE_H
#define VOCAB_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packllm/packllm.h"

enum vocab_kind {
    VOCAB_NORMAL, /* an ordinary piece of text */
    VOCAB_USER,   /* a user-defined (added) token: text, cut out before any merge */
    VOCAB_BYTE,   /* a byte-fallback token: one byte */
    VOCAB_END,    /* ends the text; stays in the softmax as the event END */
    VOCAB_MASKED  /* control, unknown, unused, padded, suppressed: leaves the softmax */
};

struct vocab_table {
    uint32_t n;       /* rows of the output */
    uint8_t *bytes;   /* all pieces one after another */
    uint32_t *offset; /* [n + 1] into bytes; MASKED and END tokens have no bytes */
    uint8_t *kind;    /* [n], enum vocab_kind */
    uint32_t longest; /* bytes of the longest token */
};

static inline const uint8_t *vocab_bytes(const struct vocab_table *t, int32_t id) {
    return t->bytes + t->offset[id];
}
static inline uint32_t vocab_size(const struct vocab_table *t, int32_t id) {
    return t->offset[id + 1] - t->offset[id];
}
static inline bool vocab_is_text(const struct vocab_table *t, int32_t id) {
    return t->kind[id] <= VOCAB_BYTE && vocab_size(t, id) > 0;
}

/* Builder: begin, add ids 0, 1, 2, … in order, end. A text token with no bytes becomes MASKED. */
struct vocab_builder {
    struct vocab_table table;
    uint32_t n_expected;
    size_t room;
};
enum packllm_status vocab_builder_begin(struct vocab_builder *b, uint32_t n,
                                        struct packllm_error *err);
enum packllm_status vocab_builder_add(struct vocab_builder *b, const void *bytes, size_t size,
                                      enum vocab_kind kind, struct packllm_error *err);
/* Moves the table out; all n must have been added (assert). */
void vocab_builder_end(struct vocab_builder *b, struct vocab_table *out);
void vocab_builder_drop(struct vocab_builder *b);
void vocab_table_done(struct vocab_table *t);

#endif
