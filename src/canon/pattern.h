/* pattern.h - the small part of regular expressions that pretokenisers are written in, over
 * characters with their Unicode bits; first match of the alternatives in order, greedy repeats, as
 * in Perl and ECMAScript. Repeats of single characters are loops, so a run of any length costs
 * neither stack nor more than its own length.
 *
 *   x  .escapes \r \n \t \s \S \d \p{L} \p{Lu}… (all letters) \p{N} \p{M} \p{P} \p{S} \p{Han}
 *   [x-y…] [^…] [x-y…&&^…] (the second part is taken out)   ( ) (?: ) |   ? * + {n} {m,n}
 *   (?=…) (?!…)
 */
#ifndef CANON_PATTERN_H
#define CANON_PATTERN_H

#include <stdbool.h>

#include "canon/unicode.h"
#include "packllm/packllm.h"

struct pattern;

/* Compiles `text`, which must be well-formed (ours are; E_INTERNAL says at which byte it is not). */
enum packllm_status pattern_open(struct pattern **out, const char *text, struct packllm_error *err);
void pattern_close(struct pattern *p); /* NULL allowed */
size_t pattern_memory(const struct pattern *p);

/* Where one stands in a match: kept between matches, so that it is allocated once. */
struct pattern_stack {
    struct pattern_choice *choice;
    size_t room;
    bool failed; /* no memory */
};
void pattern_stack_done(struct pattern_stack *s);

/* The end of the match that begins at `from`, not beyond `end`; SIZE_MAX: none. */
size_t pattern_match(const struct pattern *p, struct pattern_stack *s,
                     const struct canon_char *chars, size_t from, size_t end);

#endif
