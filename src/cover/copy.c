/* copy.c - what one timeline evaluated, for another one of the same member: histories with what their
 * rows said along the known text, and the longest lane, whose cells both hold from then on. Rows
 * themselves are not copied: who goes on evaluates the one at the end of the text anyway. */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "cover/private.h"
#include "member/member_shared.h"

static void *copy_of(const void *data, size_t n, size_t size) {
    void *out = alloc_array(n, size);
    if (out != NULL && n > 0) {
        memcpy(out, data, n * size);
    }
    return out;
}

/* Text, what it stands behind, and slices. */
static enum packllm_status copy_text(struct cover *to, const struct cover *from,
                                     struct packllm_error *err) {
    enum packllm_status status = cover_set_prefix(to, from->prefix, from->n_prefix, err);
    if (status >= 0) {
        status = cover_reserve(to, from->known, err);
    }
    if (status < 0) {
        return status;
    }
    base_free(to->slices);
    base_free(to->slice_byte);
    base_free(to->slice_mass);
    to->slices = copy_of(from->slices, from->n_slices, sizeof *to->slices);
    to->slice_byte = copy_of(from->slice_byte, from->n_children, sizeof *to->slice_byte);
    to->slice_mass = copy_of(from->slice_mass, from->n_children, sizeof *to->slice_mass);
    to->room_slices = to->room_children = 0;
    if (to->slices == NULL || to->slice_byte == NULL || to->slice_mass == NULL) {
        to->n_slices = to->n_children = 0;
        return fail_memory(err, from->n_slices * sizeof *to->slices);
    }
    to->n_slices = to->room_slices = from->n_slices;
    to->n_children = to->room_children = from->n_children;
    to->line_ends = from->line_ends;
    to->told = from->told;
    memcpy(to->text, from->text, from->known);
    to->size = to->known = from->known;
    return PACKLLM_OK;
}

/* Histories of the known text. A parent stands before its children in nodes. */
static enum packllm_status copy_nodes(struct cover *to, struct cover *from,
                                      struct packllm_error *err) {
    base_free(to->nodes);
    base_free(to->chain);
    to->room_nodes = to->n_nodes = to->room_chain = to->n_chain = 0;
    to->nodes = alloc_zero(from->n_nodes, sizeof(struct cover_node *));
    to->chain = alloc_zero(from->n_chain, sizeof(struct cover_node *));
    if (to->nodes == NULL || to->chain == NULL) {
        return fail_memory(err, from->n_nodes * sizeof(struct cover_node *));
    }
    to->room_nodes = from->n_nodes;
    to->room_chain = from->n_chain;
    for (size_t i = 0; i < from->n_nodes; i++) {
        struct cover_node *old = from->nodes[i];
        old->number = SIZE_MAX;
        if (old->at > from->known || (old->parent != NULL && old->parent->number == SIZE_MAX)) {
            continue;
        }
        struct cover_node *node = alloc_array(1, sizeof *node);
        if (node == NULL) {
            return fail_memory(err, sizeof *node);
        }
        *node = *old;
        node->cover = to;
        node->parent = old->parent != NULL ? to->nodes[old->parent->number] : NULL;
        node->row = NULL;
        node->wanted = false;
        node->place = 0;
        node->same_at = to->at[node->at];
        to->at[node->at] = node;
        old->number = to->n_nodes;
        to->nodes[to->n_nodes++] = node;
    }
    for (size_t i = 0; i < from->n_chain && from->chain[i]->at <= from->known; i++) {
        assert(from->chain[i]->number < to->n_nodes);
        to->chain[to->n_chain++] = to->nodes[from->chain[i]->number];
    }
    to->root = to->chain[0];
    return PACKLLM_OK;
}

/* The lane that holds most of the known text. */
static enum packllm_status copy_lane(struct cover *to, const struct cover *from,
                                     struct packllm_error *err) {
    const struct cover_node *tip = to->chain[to->n_chain - 1];
    int32_t *path = alloc_array((size_t)tip->n_tokens + 1, sizeof *path);
    uint32_t best = 0, most = 0;
    if (path == NULL) {
        return fail_memory(err, tip->n_tokens * sizeof *path);
    }
    lane_path(to, tip, path);
    for (uint32_t k = 0; k < from->member->n_seq; k++) {
        const struct cover_lane *lane = &from->lanes[k];
        uint32_t n = 0;
        while (n < lane->n && n < tip->n_tokens && lane->tokens[n] == path[n]) {
            n++;
        }
        best = n > most ? k : best;
        most = n > most ? n : most;
    }
    enum packllm_status status = member_shared_copy(to->kv, 0, from->kv, (int32_t)best, most, err);
    if (status >= 0) {
        memcpy(to->lanes[0].tokens, path, most * sizeof *path);
        to->lanes[0].n = most;
        to->lanes[0].used = ++to->stamp;
    }
    base_free(path);
    return status;
}

enum packllm_status cover_copy(struct cover *to, struct cover *from, struct packllm_error *err) {
    assert(to != from && to->member == from->member && to->lead == from->lead);
    cover_forget(to);
    node_drop_all(to);
    if (from->given || from->all != to->all || from->n_chain == 0 ||
        from->chain[0]->at > from->known) {
        return fail(err, PACKLLM_E_UNSUPPORTED, to->member->index, "there is no text to copy");
    }
    enum packllm_status status = copy_text(to, from, err);
    if (status >= 0) {
        status = copy_nodes(to, from, err);
    }
    if (status >= 0) {
        status = copy_lane(to, from, err);
    }
    if (status < 0) {
        cover_forget(to);
        node_drop_all(to);
    }
    return status;
}
