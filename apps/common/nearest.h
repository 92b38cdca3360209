/* nearest.h - the word somebody probably meant. */
#ifndef COMMON_NEAREST_H
#define COMMON_NEAREST_H

#include <stddef.h>

/* Edit distance over bytes: insertions, deletions, exchanges and swaps of neighbours cost 1.
 * Texts longer than 63 bytes are cut there. */
size_t nearest_distance(const char *a, const char *b);

/* Keeps the nearest of the words offered, if it is near enough to be worth a suggestion. */
struct nearest {
    const char *word; /* what was written */
    const char *best; /* NULL: none is near */
    size_t distance;
};

void nearest_init(struct nearest *nearest, const char *word);
void nearest_offer(struct nearest *nearest, const char *candidate);

#endif
