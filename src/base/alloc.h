/* alloc.h - checked allocation: sizes are multiplied with a check, and tests can make the nth
 * allocation fail. Freed by base_free (plain free underneath). */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stddef.h>

/* n * size bytes, NULL when it overflows or there is none. n = 0 gives one byte, so NULL always
 * means failure. alloc_zero clears. */
void *alloc_array(size_t n, size_t size);
void *alloc_zero(size_t n, size_t size);
/* Grows or shrinks; on failure NULL and the old block stays. */
void *alloc_resize(void *old, size_t n, size_t size);
char *alloc_text(const char *text, size_t size); /* a copy with a NUL behind it */
void base_free(void *block);                     /* NULL allowed */

/* Tests: let the nth allocation from now fail (1 = the next), once; 0 = never. Process-wide. */
void alloc_fail_nth(unsigned long nth);

#endif
