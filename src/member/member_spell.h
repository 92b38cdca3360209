/* member_spell.h - how vocabularies of GGUF files write bytes, padding and spaces. */
#ifndef MEMBER_MEMBER_SPELL_H
#define MEMBER_MEMBER_SPELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMBER_SPACE_MARK "\xe2\x96\x81" /* U+2581, SentencePiece's space */

/* "<0x0A>" -> 10; -1 for anything else. */
int member_byte_of_text(const char *text);
/* Rows that were added to round the matrix up: their kind says nothing, their text does. */
bool member_is_padding(const char *text, int32_t id);
/* Bytes of text that can be handed to a tokenizer at once: up to the first space mark (stop_at_mark),
 * and at most about run_max of one run of spaces or of anything else, cut between characters. */
size_t member_span(const char *text, size_t size, size_t run_max, bool stop_at_mark);

#endif
