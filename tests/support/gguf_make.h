/* gguf_make.h - makes small GGUF models for tests, whole and with one thing changed. The weights are
 * random: the models run, and say nothing. */
#ifndef TESTS_GGUF_MAKE_H
#define TESTS_GGUF_MAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct made {
    uint8_t *bytes;
    size_t size;
};

enum made_kind {
    MADE_SPM,    /* SentencePiece, byte fallback, <s> first, puts a space before a text */
    MADE_BPE,    /* GPT-2 bytes and merges; <|endoftext|>, user-defined <b>, a padded row, an unused
                 row; no token for the byte 0x07; BOS is not added */
    MADE_WINDOW, /* as MADE_SPM, gemma3: attention sees 8 tokens back in most layers */
    MADE_STATE,  /* as MADE_SPM, mamba: a recurrent state, no attention */
    MADE_HYBRID  /* as MADE_SPM, lfm2: a convolution's state in one layer, attention in the other */
};
enum { MADE_BPE_END = 0, MADE_BPE_USER = 1, MADE_BPE_PAD = 2, MADE_BPE_UNUSED = 3 };

/* Aborts where memory ends. Frees nothing that it is given. */
struct made made_model(enum made_kind kind, uint64_t seed);
struct made made_copy(const void *bytes, size_t size);
/* Replaces or adds a key. type and payload as in a file: a text's payload has its length first. */
struct made made_set(const struct made *m, const char *key, uint32_t type, const void *payload,
                     size_t size);
struct made made_set_text(const struct made *m, const char *key, const char *text);
struct made made_set_u32(const struct made *m, const char *key, uint32_t value);
struct made made_set_bool(const struct made *m, const char *key, bool value);
struct made made_set_f32(const struct made *m, const char *key, float value);
/* An array of n elements of `element`, raw. */
struct made made_set_array(const struct made *m, const char *key, uint32_t element, uint64_t n,
                           const void *payload, size_t size);
struct made made_without(const struct made *m, const char *key);
bool made_save(const struct made *m, const char *path);
void made_free(struct made *m);

#endif
