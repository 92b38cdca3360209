/* prefix.h - the tokens of a vocabulary sorted by their bytes, so that all tokens that begin with a
 * string are one range, and the next bytes are its sub-ranges.
 *
 * A place is a string s that at least one token begins with. The structure keeps a node for every
 * place that at least two different tokens begin with; below a single token a place is just how far
 * one has come in its bytes. About 40 bytes a token on real vocabularies.
 */
#ifndef VOCAB_PREFIX_H
#define VOCAB_PREFIX_H

#include "vocab/table.h"

struct prefix_node;
struct prefix_child;

struct prefix_tree {
    const struct vocab_table *table;
    uint32_t n;     /* text tokens */
    int32_t *ids;   /* [table->n] text tokens sorted by bytes (among equals user-defined, normal,
                         byte, then by id), from n on the others by id */
    uint32_t *rank; /* [table->n] position in ids, UINT32_MAX for END and MASKED tokens */
    int32_t *ends;  /* [n_ends] ids of the END tokens, ascending */
    uint32_t n_ends;
    struct prefix_node *nodes;
    uint32_t n_nodes;
    uint8_t *child_byte;  /* children of all nodes, grouped, bytes ascending */
    uint32_t *child_low;  /* [n_children] first rank of the child's range */
    uint32_t *child_node; /* [n_children] its node, or UINT32_MAX: a single token */
    uint32_t n_children;
};

struct prefix_node {
    uint32_t low, high;   /* ranks of the tokens that begin with s */
    uint32_t ending;      /* the first `ending` of them are s itself */
    uint32_t first_child; /* into the child arrays */
    uint32_t n_children;
};

/* Where one stands: the tokens low..high begin with the `depth` bytes read so far. */
struct prefix_place {
    uint32_t node; /* UINT32_MAX: a single token, low */
    uint32_t low, high;
    uint32_t depth;
};

enum packllm_status prefix_init(struct prefix_tree *tree, const struct vocab_table *table,
                                struct packllm_error *err);
void prefix_done(struct prefix_tree *tree);
/* Bytes of memory it holds. */
size_t prefix_memory(const struct prefix_tree *tree);

struct prefix_place prefix_root(const struct prefix_tree *tree);
/* Goes on by one byte; false if no token does. */
bool prefix_step(const struct prefix_tree *tree, struct prefix_place *place, uint8_t byte);
/* The tokens that are exactly the bytes read: ranks place.low .. place.low + the result. */
uint32_t prefix_ending(const struct prefix_tree *tree, const struct prefix_place *place);

#endif
