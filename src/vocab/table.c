/* table.c - building and freeing a vocabulary table, see table.h. */
#include "vocab/table.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

/* Far above any real vocabulary; keeps 32-bit offsets safe. */
enum { VOCAB_MAX_TOKENS = 1 << 24, VOCAB_MAX_BYTES = 1 << 30 };

enum packllm_status vocab_builder_begin(struct vocab_builder *b, uint32_t n,
                                        struct packllm_error *err) {
    *b = (struct vocab_builder){.n_expected = n};
    if (n == 0 || n > VOCAB_MAX_TOKENS) {
        return fail(err, PACKLLM_E_MODEL, PACKLLM_NO_MEMBER,
                    "a vocabulary of %u tokens cannot be used (1 to %d are)", (unsigned)n,
                    VOCAB_MAX_TOKENS);
    }
    b->room = (size_t)n * 8;
    b->table.bytes = alloc_array(b->room, 1);
    b->table.offset = alloc_zero((size_t)n + 1, sizeof *b->table.offset);
    b->table.kind = alloc_zero(n, 1);
    if (b->table.bytes == NULL || b->table.offset == NULL || b->table.kind == NULL) {
        vocab_builder_drop(b);
        return fail_memory(err, (size_t)n * 16);
    }
    return PACKLLM_OK;
}

enum packllm_status vocab_builder_add(struct vocab_builder *b, const void *bytes, size_t size,
                                      enum vocab_kind kind, struct packllm_error *err) {
    struct vocab_table *t = &b->table;
    assert(t->n < b->n_expected);
    if (kind == VOCAB_END || kind == VOCAB_MASKED) {
        size = 0;
    } else if (size == 0) {
        kind = VOCAB_MASKED;
    }
    size_t used = t->offset[t->n];
    if (size > VOCAB_MAX_BYTES - used) {
        return fail(err, PACKLLM_E_MODEL, PACKLLM_NO_MEMBER,
                    "the vocabulary's pieces are longer than %d bytes in all", VOCAB_MAX_BYTES);
    }
    if (used + size > b->room) {
        size_t room = (used + size) * 2;
        uint8_t *grown = alloc_resize(t->bytes, room, 1);
        if (grown == NULL) {
            return fail_memory(err, room);
        }
        t->bytes = grown;
        b->room = room;
    }
    if (size > 0) {
        memcpy(t->bytes + used, bytes, size);
    }
    t->kind[t->n] = (uint8_t)kind;
    t->n++;
    t->offset[t->n] = (uint32_t)(used + size);
    if (size > t->longest) {
        t->longest = (uint32_t)size;
    }
    return PACKLLM_OK;
}

void vocab_builder_end(struct vocab_builder *b, struct vocab_table *out) {
    assert(b->table.n == b->n_expected);
    *out = b->table;
    *b = (struct vocab_builder){0};
}

void vocab_builder_drop(struct vocab_builder *b) {
    vocab_table_done(&b->table);
    *b = (struct vocab_builder){0};
}

void vocab_table_done(struct vocab_table *t) {
    base_free(t->bytes);
    base_free(t->offset);
    base_free(t->kind);
    *t = (struct vocab_table){0};
}
