/* canon.h - a vocabulary's own rules: which tokens its tokenizer makes of a text, and where it may
 * not join them. Byte-pair merges with ranks behind a pretokeniser, or SentencePiece's merges by
 * score with bytes as a last resort; added tokens are cut out first. The same ids as libllama's
 * tokenizer gives, without it: exact, fast, and answerable about pieces of characters
 * (docs/internals/canon.md).
 *
 * A struct canon does not change once it is open; each thread brings a struct canon_work.
 */
#ifndef CANON_CANON_H
#define CANON_CANON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "canon/pre.h"
#include "packllm/packllm.h"

enum canon_model {
    CANON_BYTE_PAIRS, /* GGUF's "gpt2"; CANON_PAIRS_MARKS where the pretokeniser says so */
    CANON_PIECES,     /* "llama": SentencePiece */
    CANON_PAIRS_MARKS /* "gemma4": merges with ranks over characters, spaces as U+2581 */
};

enum canon_flags { CANON_ADDED = 1, CANON_STRIP_LEFT = 2, CANON_STRIP_RIGHT = 4 };

struct canon_token {
    const char *text; /* as the file has it */
    uint32_t size;
    float score;    /* CANON_PIECES */
    unsigned flags; /* CANON_ADDED: user-defined, and not a control or unknown token too */
};

struct canon_text {
    const uint8_t *bytes;
    size_t size;
};

/* What a vocabulary's rules are made of; read while opening only. */
struct canon_source {
    enum canon_model model;
    const char *pre; /* tokenizer.ggml.pre, "" where the file has none */
    const struct canon_token *tokens;
    uint32_t n_tokens;
    const struct canon_text *merges; /* "left right", the best first */
    uint32_t n_merges;
};

struct canon;

/* E_UNSUPPORTED: rules that are not known here (the pretokeniser, or marks without byte tokens);
 * E_MODEL: a vocabulary too large. */
enum packllm_status canon_open(struct canon **out, const struct canon_source *source,
                               struct packllm_error *err);
void canon_close(struct canon *c); /* NULL allowed */
size_t canon_memory(const struct canon *c);

/* Tokens of a text, or where its pieces end. For one struct canon only. */
struct canon_work {
    int32_t *id;   /* [n] of the last canon_encode */
    uint32_t *end; /* [n] bytes of the text up to their ends, ascending */
    size_t n, room;
    size_t dropped; /* bytes that the vocabulary cannot spell, or strips */
    /* the rest is scratch */
    struct canon_char *chars;
    size_t room_chars;
    struct pre_work pre;
    struct canon_part *part, *part_next;
    size_t n_part, room_part;
    uint8_t *present; /* [added tokens] */
    struct canon_symbol *symbol;
    size_t room_symbols;
    struct canon_pair *heap;
    size_t n_heap, room_heap;
};
void canon_work_done(struct canon_work *w); /* zeroed is empty */

/* The canonical tokens of text[0..size), size < 2^31, into w->id. An incomplete character at its end
 * counts as one with the bits `tail` (enum canon_bits). Nothing is put in front. */
enum packllm_status canon_encode(const struct canon *c, struct canon_work *w, const char *text,
                                 size_t size, uint8_t tail, struct packllm_error *err);
/* Only the places that no merge crosses: w->end[0..w->n), the last is size. */
enum packllm_status canon_bounds(const struct canon *c, struct canon_work *w, const char *text,
                                 size_t size, uint8_t tail, struct packllm_error *err);
/* Merges alone, without pretokeniser and added tokens: exact for the bytes of two tokens that stand
 * in one piece. */
enum packllm_status canon_merge(const struct canon *c, struct canon_work *w, const char *text,
                                size_t size, struct packllm_error *err);
/* Bytes are symbols: pieces of characters can be merged. */
bool canon_splits_characters(const struct canon *c);
/* Merges go over the whole text but for added tokens. */
bool canon_unbounded(const struct canon *c);

#endif
