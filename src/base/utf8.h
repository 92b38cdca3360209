/* utf8.h - UTF-8 as RFC 3629 has it: no surrogates, nothing above U+10FFFF, shortest forms only.
 * A state machine over bytes, so that a character may arrive in pieces. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct utf8_state {
    uint8_t need;      /* continuation bytes still missing, 0..3; 0 = between characters */
    uint8_t low, high; /* range of the next byte when need > 0 */
};

/* Zero-initialised = between characters. False: the byte cannot stand here (state unchanged). */
bool utf8_step(struct utf8_state *state, uint8_t byte);
bool utf8_may_follow(const struct utf8_state *state, uint8_t byte);
/* Offset of the first byte that is not part of a valid whole character; size if all is valid. */
size_t utf8_check(const char *text, size_t size);
/* The same, but an incomplete character at the very end is not counted against the text: returns
 * how many bytes stand in whole valid characters, and in *bad whether what follows is invalid. */
size_t utf8_whole(const char *text, size_t size, bool *bad);
/* The text with U+FFFD for every part of it that is no character (each longest beginning of one, else
 * each byte: Unicode 15, 3.9) into out[3 * size]. Returns how many stand there; *out_size bytes. */
size_t utf8_repair(const char *text, size_t size, char *out, size_t *out_size);

#endif
