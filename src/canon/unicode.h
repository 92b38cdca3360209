/* unicode.h - what the tokenizers' rules ask of a code point. */
#ifndef CANON_UNICODE_H
#define CANON_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* General categories, and white space. All else (separators that are no white space, controls, what
 * is not assigned) has no bit. */
enum canon_bits {
    CANON_LETTER = 1,
    CANON_NUMBER = 2,
    CANON_MARK = 4,
    CANON_PUNCTUATION = 8,
    CANON_SYMBOL = 16,
    CANON_WHITE = 32
};

extern const uint32_t canon_unicode_n;
extern const uint32_t canon_unicode[]; /* [canon_unicode_n] */
extern const uint8_t canon_ascii[128];

/* The code point's bits; 0 above U+10FFFF. */
uint8_t canon_class(uint32_t code);

/* One character of a text. */
struct canon_char {
    uint32_t at;   /* byte where it begins */
    uint32_t code; /* UINT32_MAX: no whole character */
    uint8_t bits;
};

/* Characters of text[0..size): at most `size`, and one more that only marks the end. A byte that is
 * no UTF-8 stands for itself, with no bits; an incomplete character at the very end is one
 * character with the bits `tail`. */
size_t canon_decode(const char *text, size_t size, uint8_t tail, struct canon_char *out);

#endif
