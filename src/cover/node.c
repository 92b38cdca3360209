/* node.c - histories: found by where they end, and the rows they hold. */
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "cover/private.h"

struct cover_node *node_get(struct cover *c, struct cover_node *parent, int32_t token, size_t at,
                            struct packllm_error *err) {
    for (struct cover_node *node = c->at[at]; node != NULL; node = node->same_at) {
        if (node->parent == parent && node->token == token) {
            return node;
        }
    }
    if (c->n_nodes == c->room_nodes) {
        size_t room = c->room_nodes * 2 + 256;
        struct cover_node **grown = alloc_resize(c->nodes, room, sizeof *grown);
        if (grown == NULL) {
            (void)fail_memory(err, room * sizeof *grown);
            return NULL;
        }
        c->nodes = grown;
        c->room_nodes = room;
    }
    struct cover_node *node = alloc_zero(1, sizeof *node);
    if (node == NULL) {
        (void)fail_memory(err, sizeof *node);
        return NULL;
    }
    node->cover = c;
    node->parent = parent;
    node->token = token;
    node->at = at;
    node->n_tokens = parent != NULL ? parent->n_tokens + 1 : c->n_prefix > 0 ? c->n_prefix : 0;
    node->n_tokens += parent == NULL && c->n_prefix == 0 && token >= 0 ? 1 : 0;
    node->same_at = c->at[at];
    c->at[at] = node;
    c->nodes[c->n_nodes++] = node;
    return node;
}

bool node_ready(const struct cover_node *node) {
    return node->row != NULL || node->sliced;
}

bool node_same(const struct cover_node *a, const struct cover_node *b) {
    while (a != NULL && b != NULL && a != b && a->token == b->token && a->at == b->at) {
        a = a->parent;
        b = b->parent;
    }
    return a == b;
}

struct cover_row *node_spare_row(struct cover *c, struct packllm_error *err) {
    if (c->n_live + c->n_spare + 1 > c->room_live) {
        size_t room = c->room_live * 2 + 16;
        struct cover_node **live = alloc_resize(c->live, room, sizeof *live);
        if (live != NULL) {
            c->live = live;
        }
        struct cover_row **spare = alloc_resize(c->spare, room, sizeof *spare);
        if (spare != NULL) {
            c->spare = spare;
        }
        if (live == NULL || spare == NULL) {
            (void)fail_memory(err, room * sizeof *live);
            return NULL;
        }
        c->room_live = room;
    }
    if (c->n_spare > 0) {
        return c->spare[--c->n_spare];
    }
    struct cover_row *row = alloc_zero(1, sizeof *row);
    if (row == NULL || !row_init(row, c->tree)) {
        (void)fail_memory(err, (size_t)c->tree->n * sizeof(float));
        if (row != NULL) {
            row_done(row);
        }
        base_free(row);
        return NULL;
    }
    return row;
}

void node_release(struct cover *c, struct cover_node *node) {
    if (node->row == NULL) {
        return;
    }
    c->spare[c->n_spare++] = node->row; /* room for all rows: node_spare_row */
    node->row = NULL;
    for (size_t i = 0; i < c->n_live; i++) {
        if (c->live[i] == node) {
            c->live[i] = c->live[--c->n_live];
            break;
        }
    }
}

void node_forget(struct cover *c, struct cover_node *node) {
    node_release(c, node);
    node->sliced = false;
    node->n_slices = 0;
}

enum packllm_status node_revive(struct cover *c, struct cover_node *node,
                                struct packllm_error *err) {
    node_forget(c, node);
    node->wanted = true;
    return lane_evaluate(c, &node, 1, err);
}

int32_t node_first(const struct cover *c) {
    return c->n_prefix > 0 ? c->prefix[c->n_prefix - 1] : c->member->start;
}

void node_drop_all(struct cover *c) {
    node_cut(c, 0);
    for (size_t i = 0; i < c->n_nodes; i++) {
        node_release(c, c->nodes[i]);
        base_free(c->nodes[i]);
    }
    if (c->at != NULL) {
        c->at[0] = NULL;
    }
    c->n_nodes = c->n_slices = c->n_children = 0;
    c->size = c->known = 0;
    c->n_chain = 0;
    c->root = NULL;
}

void node_sweep(struct cover *c) {
    for (size_t i = c->n_live; i-- > 0;) {
        bool used = false;
        for (unsigned k = 0; k < c->front.n_open; k++) {
            used = used || c->front.open[k].node == c->live[i];
        }
        if (!used) {
            node_release(c, c->live[i]);
        }
    }
}

void node_cut(struct cover *c, size_t keep_bytes) {
    size_t kept = 0;
    c->front.n_open = c->front.n_parked = 0;
    node_sweep(c);
    for (uint32_t k = 0; c->main == NULL && k < c->member->n_seq; k++) {
        c->lanes[k].tip = NULL; /* it may go, the tokens stay */
    }
    if (c->at != NULL) { /* else no text was ever set */
        memset(c->at, 0, (c->room + 1) * sizeof(struct cover_node *));
    }
    for (size_t i = 0; i < c->n_nodes; i++) {
        struct cover_node *node = c->nodes[i];
        if (node->at > keep_bytes) {
            base_free(node);
            continue;
        }
        /* What a row said holds only where it said it about text that stays. */
        if (node->at + node->n_slices > keep_bytes) {
            node_forget(c, node);
        }
        node->on_chain = false;
        node->wanted = false;
        node->same_at = c->at[node->at];
        c->at[node->at] = node;
        c->nodes[kept++] = node;
    }
    c->n_nodes = kept;
    slice_compact(c);
}

enum packllm_status node_request(struct cover *c, struct cover_node *node,
                                 struct packllm_error *err) {
    if (node->wanted) {
        return PACKLLM_OK;
    }
    c = c->main != NULL ? c->main : c;
    if (c->n_request == c->room_request) {
        size_t room = c->room_request * 2 + 64;
        struct cover_node **grown = alloc_resize(c->request, room, sizeof *grown);
        if (grown == NULL) {
            return fail_memory(err, room * sizeof *grown);
        }
        c->request = grown;
        c->room_request = room;
    }
    node->wanted = true;
    c->request[c->n_request++] = node;
    return PACKLLM_OK;
}
