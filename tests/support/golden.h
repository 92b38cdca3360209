/* golden.h - reads the vectors that tests/golden/make_golden.py wrote: lines `key count value…`, in
 * order. Everything unexpected (no file, another key, too many values) ends the program with a
 * message, since then the test is wrong and not the code. */
#ifndef SUPPORT_GOLDEN_H
#define SUPPORT_GOLDEN_H

#include <stddef.h>
#include <stdio.h>

/* tests/golden/<name> below $PACKLLM_SOURCE, or below the current folder. */
FILE *golden_open(const char *name);
void golden_close(FILE *file);
/* The next line, which must have this key; at most room values into out. Returns how many. */
size_t golden_read(FILE *file, const char *key, double *out, size_t room);
/* The same with exactly one value. */
double golden_number(FILE *file, const char *key);

#endif
