/* nearest.c - see nearest.h. */
#include "common/nearest.h"

#include <string.h>

enum { LONGEST = 63 };

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

size_t nearest_distance(const char *a, const char *b) {
    size_t rows[3][LONGEST + 1]; /* the row before the last, the last, this one */
    size_t n = smaller(strlen(a), LONGEST), m = smaller(strlen(b), LONGEST);
    size_t *older = rows[0], *last = rows[1], *here = rows[2];
    for (size_t j = 0; j <= m; j++) {
        last[j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        here[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = smaller(last[j], here[j - 1]) + 1;
            best = smaller(best, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                best = smaller(best, older[j - 2] + 1);
            }
            here[j] = best;
        }
        size_t *free_row = older;
        older = last;
        last = here;
        here = free_row;
    }
    return last[m];
}

void nearest_init(struct nearest *nearest, const char *word) {
    *nearest = (struct nearest){.word = word};
}

void nearest_offer(struct nearest *nearest, const char *candidate) {
    size_t distance = nearest_distance(nearest->word, candidate);
    size_t typed = strlen(nearest->word);
    size_t limit = 1 + smaller(typed, strlen(candidate)) / 4;
    /* A beginning of the word is a good guess too, but not as good as a slip of one letter. */
    if (typed > 2 && strncmp(nearest->word, candidate, typed) == 0) {
        distance = smaller(distance, 2);
        limit = limit > 2 ? limit : 2;
    }
    if (distance <= limit && distance < typed &&
        (nearest->best == NULL || distance < nearest->distance)) {
        nearest->best = candidate;
        nearest->distance = distance;
    }
}
