/* prefix.c - the sorted-prefix structure, see prefix.h. Built level by level: a queue of ranges,
 * each cut into the sub-ranges of its next bytes. */
#include "vocab/prefix.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

#define NO_NODE UINT32_MAX

/* qsort has no context argument: keys carry what the comparison needs. */
struct sort_key {
    const uint8_t *bytes;
    uint32_t size;
    int32_t id;
    uint8_t kind;
};

/* Which of several tokens with equal bytes stands in canonical text: user-defined ones are matched
 * first, byte-fallback ones last. */
static int preference(uint8_t kind) {
    return kind == VOCAB_USER ? 0 : kind == VOCAB_NORMAL ? 1 : 2;
}

static int compare_keys(const void *left, const void *right) {
    const struct sort_key *a = left;
    const struct sort_key *b = right;
    uint32_t common = a->size < b->size ? a->size : b->size;
    int order = memcmp(a->bytes, b->bytes, common);
    if (order == 0) {
        order = (a->size > b->size) - (a->size < b->size);
    }
    if (order == 0) {
        order = preference(a->kind) - preference(b->kind);
    }
    return order != 0 ? order : (a->id > b->id) - (a->id < b->id);
}

static enum packllm_status sort_tokens(struct prefix_tree *tree, struct packllm_error *err) {
    const struct vocab_table *table = tree->table;
    struct sort_key *keys = alloc_array(table->n, sizeof *keys);
    if (keys == NULL) {
        return fail_memory(err, table->n * sizeof *keys);
    }
    for (uint32_t id = 0; id < table->n; id++) {
        int32_t token = (int32_t)id;
        if (vocab_is_text(table, token)) {
            keys[tree->n++] = (struct sort_key){vocab_bytes(table, token), vocab_size(table, token),
                                                token, table->kind[id]};
        } else if (table->kind[id] == VOCAB_END) {
            tree->ends[tree->n_ends++] = token;
        }
        tree->rank[id] = UINT32_MAX;
    }
    uint32_t last = tree->n;
    for (uint32_t id = 0; id < table->n; id++) {
        if (!vocab_is_text(table, (int32_t)id)) {
            tree->ids[last++] = (int32_t)id;
        }
    }
    qsort(keys, tree->n, sizeof *keys, compare_keys);
    for (uint32_t i = 0; i < tree->n; i++) {
        tree->ids[i] = keys[i].id;
        tree->rank[keys[i].id] = i;
    }
    base_free(keys);
    return PACKLLM_OK;
}

static uint8_t byte_at(const struct prefix_tree *tree, uint32_t rank, uint32_t depth) {
    return vocab_bytes(tree->table, tree->ids[rank])[depth];
}
static uint32_t size_at(const struct prefix_tree *tree, uint32_t rank) {
    return vocab_size(tree->table, tree->ids[rank]);
}

static enum packllm_status grow(struct prefix_tree *tree, uint32_t *room_nodes,
                                uint32_t *room_children, struct packllm_error *err) {
    /* One more node and up to 256 more children must fit. */
    if (tree->n_nodes + 1 > *room_nodes) {
        *room_nodes = *room_nodes * 2 + 64;
        struct prefix_node *nodes = alloc_resize(tree->nodes, *room_nodes, sizeof *nodes);
        if (nodes == NULL) {
            return fail_memory(err, *room_nodes * sizeof *nodes);
        }
        tree->nodes = nodes;
    }
    if (tree->n_children + 256 > *room_children) {
        *room_children = *room_children * 2 + 512;
        uint8_t *bytes = alloc_resize(tree->child_byte, *room_children, 1);
        if (bytes != NULL) {
            tree->child_byte = bytes;
        }
        uint32_t *low = alloc_resize(tree->child_low, *room_children, sizeof *low);
        if (low != NULL) {
            tree->child_low = low;
        }
        uint32_t *node = alloc_resize(tree->child_node, *room_children, sizeof *node);
        if (node != NULL) {
            tree->child_node = node;
        }
        if (bytes == NULL || low == NULL || node == NULL) {
            return fail_memory(err, *room_children * 9U);
        }
    }
    return PACKLLM_OK;
}

/* Nodes are made in breadth-first order, so `depth` grows when a level is done. */
static enum packllm_status build_nodes(struct prefix_tree *tree, struct packllm_error *err) {
    uint32_t room_nodes = 0, room_children = 0;
    uint32_t level_end = 1, depth = 0;
    enum packllm_status status = grow(tree, &room_nodes, &room_children, err);
    if (status < 0) {
        return status;
    }
    tree->nodes[tree->n_nodes++] = (struct prefix_node){.low = 0, .high = tree->n};
    for (uint32_t i = 0; i < tree->n_nodes; i++) {
        if (i == level_end) {
            depth++;
            level_end = tree->n_nodes;
        }
        uint32_t at = tree->nodes[i].low, high = tree->nodes[i].high;
        while (at < high && size_at(tree, at) == depth) {
            at++;
        }
        tree->nodes[i].ending = at - tree->nodes[i].low;
        tree->nodes[i].first_child = tree->n_children;
        while (at < high) {
            uint8_t byte = byte_at(tree, at, depth);
            uint32_t end = at + 1;
            while (end < high && byte_at(tree, end, depth) == byte) {
                end++;
            }
            status = grow(tree, &room_nodes, &room_children, err);
            if (status < 0) {
                return status;
            }
            uint32_t child = tree->n_children++;
            tree->child_byte[child] = byte;
            tree->child_low[child] = at;
            tree->child_node[child] = NO_NODE;
            if (end - at > 1) {
                tree->child_node[child] = tree->n_nodes;
                tree->nodes[tree->n_nodes++] = (struct prefix_node){.low = at, .high = end};
            }
            at = end;
        }
        tree->nodes[i].n_children = tree->n_children - tree->nodes[i].first_child;
    }
    return PACKLLM_OK;
}

enum packllm_status prefix_init(struct prefix_tree *tree, const struct vocab_table *table,
                                struct packllm_error *err) {
    *tree = (struct prefix_tree){.table = table};
    tree->ids = alloc_array(table->n, sizeof *tree->ids);
    tree->rank = alloc_array(table->n, sizeof *tree->rank);
    tree->ends = alloc_array(table->n, sizeof *tree->ends);
    enum packllm_status status = PACKLLM_OK;
    if (tree->ids == NULL || tree->rank == NULL || tree->ends == NULL) {
        status = fail_memory(err, table->n * 12U);
    }
    if (status >= 0) {
        status = sort_tokens(tree, err);
    }
    if (status >= 0) {
        status = build_nodes(tree, err);
    }
    if (status >= 0) {
        /* END tokens are few: give the rest of the array back. */
        int32_t *ends = alloc_resize(tree->ends, tree->n_ends, sizeof *ends);
        tree->ends = ends != NULL ? ends : tree->ends;
    } else {
        prefix_done(tree);
    }
    return status;
}

void prefix_done(struct prefix_tree *tree) {
    base_free(tree->ids);
    base_free(tree->rank);
    base_free(tree->ends);
    base_free(tree->nodes);
    base_free(tree->child_byte);
    base_free(tree->child_low);
    base_free(tree->child_node);
    *tree = (struct prefix_tree){0};
}

size_t prefix_memory(const struct prefix_tree *tree) {
    return (size_t)tree->table->n * (sizeof *tree->ids + sizeof *tree->rank) +
           (size_t)tree->n_nodes * sizeof *tree->nodes +
           (size_t)tree->n_children * (1 + 2 * sizeof(uint32_t));
}

struct prefix_place prefix_root(const struct prefix_tree *tree) {
    return (struct prefix_place){.node = 0, .low = 0, .high = tree->n};
}

bool prefix_step(const struct prefix_tree *tree, struct prefix_place *place, uint8_t byte) {
    if (place->node == NO_NODE) {
        if (place->depth >= size_at(tree, place->low) ||
            byte_at(tree, place->low, place->depth) != byte) {
            return false;
        }
        place->depth++;
        return true;
    }
    const struct prefix_node *node = &tree->nodes[place->node];
    uint32_t low = node->first_child, end = low + node->n_children, high = end;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (tree->child_byte[middle] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == end || tree->child_byte[low] != byte) {
        return false;
    }
    place->high = low + 1 < end ? tree->child_low[low + 1] : node->high;
    place->low = tree->child_low[low];
    place->node = tree->child_node[low];
    place->depth++;
    return true;
}

uint32_t prefix_ending(const struct prefix_tree *tree, const struct prefix_place *place) {
    if (place->node == NO_NODE) {
        return size_at(tree, place->low) == place->depth ? 1 : 0;
    }
    return tree->nodes[place->node].ending;
}
