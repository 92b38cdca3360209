/* row.h - a row of logits as probabilities in the order of the sorted vocabulary, so that the mass
 * of all tokens that begin with a string is the sum of one range. */
#ifndef COVER_ROW_H
#define COVER_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cover/cover.h"
#include "vocab/prefix.h"

enum { ROW_BLOCK = COVER_BLOCK };

struct cover_row {
    float *mass;     /* [tree->n] probabilities by rank; sum + end = 1 */
    double *block;   /* sums of ROW_BLOCK of them: ranges need no subtraction */
    double end;      /* of the END tokens together */
    double log_z;    /* log of the sum over text and END tokens: log p = logit - log_z */
    double log_full; /* the same over the whole vocabulary */
};

bool row_init(struct cover_row *row, const struct prefix_tree *tree);
void row_done(struct cover_row *row);
/* logits: [table->n], no NaN, no +inf. False: no usable token has a finite logit. */
bool row_load(struct cover_row *row, const struct prefix_tree *tree, const float *logits);
/* Half of what begins with that byte counts as END from now on. */
void row_bend(struct cover_row *row, const struct prefix_tree *tree, uint8_t byte);
/* What those outside the room see of it. */
struct cover_tokens row_told(const struct cover_row *row);
/* The mass of ranks low..high-1. */
double row_range(const struct cover_row *row, uint32_t low, uint32_t high);
/* q[byte] += w * mass of the tokens that go on with byte at this place. */
void row_spread(const struct cover_row *row, const struct prefix_tree *tree,
                const struct prefix_place *place, double w, double *q);

#endif
