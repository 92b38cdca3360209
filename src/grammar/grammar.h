/* grammar.h - what may be written: a GBNF grammar (docs/grammar.md) compiled to bytes, and where a
 * text stands in it. Knows no models: a byte in, the set of next bytes out.
 *
 * What a state allows can always be finished: parts of the grammar from which no end is reachable
 * are taken out when it is compiled.
 */
#ifndef GRAMMAR_GRAMMAR_H
#define GRAMMAR_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packllm/packllm.h"

struct grammar;
struct grammar_state;

/* Compiles a grammar. bytes: NULL, or [256] which bytes can be written at all. E_ARG with line and
 * column: it does not parse, is left-recursive, too large, or no text satisfies it. */
enum packllm_status grammar_open(struct grammar **out, const char *text, size_t size,
                                 const bool *bytes, struct packllm_error *err);
void grammar_close(struct grammar *grammar); /* NULL allowed */

/* A state stands behind the bytes pushed so far. The grammar must outlive it. */
enum packllm_status grammar_state_open(struct grammar_state **out, const struct grammar *grammar,
                                       struct packllm_error *err);
void grammar_state_close(struct grammar_state *state); /* NULL allowed */
void grammar_state_reset(struct grammar_state *state);
/* Goes on by a byte. False: it is not allowed here, or the state has failed; nothing changed. */
bool grammar_state_push(struct grammar_state *state, uint8_t byte);
/* Takes back the last n bytes, n <= those pushed. Pushing and taking back is how one looks ahead. */
void grammar_state_pop(struct grammar_state *state, size_t n);
/* The bytes that may follow, bit b % 64 of word b / 64; until the next call. All zero: only the end. */
const uint64_t *grammar_state_allowed(const struct grammar_state *state);
bool grammar_state_may_end(const struct grammar_state *state);
/* An error once a push failed for another reason than the byte: no memory, or the text can be read
 * in more ways than are kept. */
enum packllm_status grammar_state_status(const struct grammar_state *state,
                                         struct packllm_error *err);

/* schema.c: a grammar whose texts are JSON that satisfies the schema, appended to out. or_text: white
 * space may stand before it, and so may any text that does not go on with "{" there. E_ARG: it is no
 * JSON, uses what is not supported (named, with where), or cannot be satisfied. */
struct buf;
enum packllm_status grammar_from_schema(struct buf *out, const char *text, size_t size,
                                        bool or_text, struct packllm_error *err);

static inline bool grammar_mask_has(const uint64_t *mask, uint8_t byte) {
    return (mask[byte / 64] >> (byte % 64) & 1) != 0;
}

#endif
