/* slice.c - along known text a row matters only where the text goes: it is reduced to the next
 * bytes at each depth and then given back. A few hundred numbers instead of a whole vocabulary. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "cover/private.h"

/* What the walk over rows counts as nothing is nothing here, too, else the two part where a text is as
 * good as impossible. */
#define LEAST 1e-37

static enum packllm_status reserve(struct cover *c, struct packllm_error *err) {
    if (c->n_slices + 1 > c->room_slices) {
        size_t room = c->room_slices * 2 + 1024;
        struct cover_slice *grown = alloc_resize(c->slices, room, sizeof *grown);
        if (grown == NULL) {
            return fail_memory(err, room * sizeof *grown);
        }
        c->slices = grown;
        c->room_slices = room;
    }
    if (c->n_children + 256 > c->room_children) {
        size_t room = c->room_children * 2 + 16384;
        uint8_t *bytes = alloc_resize(c->slice_byte, room, 1);
        if (bytes != NULL) {
            c->slice_byte = bytes;
        }
        float *mass = alloc_resize(c->slice_mass, room, sizeof *mass);
        if (mass != NULL) {
            c->slice_mass = mass;
        }
        if (bytes == NULL || mass == NULL || room > UINT32_MAX) {
            return fail_memory(err, room * 5);
        }
        c->room_children = room;
    }
    return PACKLLM_OK;
}

enum packllm_status slice_row(struct cover *c, struct cover_node *node, const struct cover_row *row,
                              bool *alive, struct packllm_error *err) {
    struct prefix_place place = prefix_root(c->tree);
    node->first_slice = (uint32_t)c->n_slices;
    node->n_slices = 0;
    *alive = false;
    for (size_t t = node->at;; t++) {
        uint32_t n = t > node->at ? prefix_ending(c->tree, &place) : 0;
        double ending = row_range(row, place.low, place.low + n);
        double longer = row_range(row, place.low + n, place.high);
        if (ending + longer < LEAST) {
            break;
        }
        enum packllm_status status = reserve(c, err);
        if (status < 0) {
            return status;
        }
        struct cover_slice *s = &c->slices[c->n_slices++];
        *s = (struct cover_slice){.ending = (float)ending,
                                  .longer = (float)longer,
                                  .token = n > 0 ? c->tree->ids[place.low] : -1,
                                  .first = (uint32_t)c->n_children};
        node->n_slices++;
        double q[PACKLLM_EVENTS] = {0};
        row_spread(row, c->tree, &place, 1.0, q);
        for (int byte = 0; byte < 256; byte++) {
            if (q[byte] > 1e-13 * (ending + longer)) {
                c->slice_byte[c->n_children] = (uint8_t)byte;
                c->slice_mass[c->n_children++] = (float)q[byte];
                s->n++;
            }
        }
        if (t == c->known) {
            *alive = true;
            break;
        }
        if (!prefix_step(c->tree, &place, (uint8_t)c->text[t])) {
            break;
        }
    }
    node->sliced = true;
    return PACKLLM_OK;
}

static int by_slice(const void *a, const void *b) {
    uint32_t x = (*(struct cover_node *const *)a)->first_slice;
    uint32_t y = (*(struct cover_node *const *)b)->first_slice;
    return (x > y) - (x < y);
}

/* Moves the histories' slices, which ascend, together. */
static void close_up(struct cover *c, struct cover_node *const *nodes, size_t n) {
    size_t n_slices = 0, n_children = 0;
    for (size_t i = 0; i < n; i++) {
        const struct cover_slice *from = c->slices + nodes[i]->first_slice;
        nodes[i]->first_slice = (uint32_t)n_slices;
        for (uint32_t k = 0; k < nodes[i]->n_slices; k++) {
            struct cover_slice s = from[k];
            memmove(c->slice_byte + n_children, c->slice_byte + s.first, s.n);
            memmove(c->slice_mass + n_children, c->slice_mass + s.first,
                    s.n * sizeof *c->slice_mass);
            s.first = (uint32_t)n_children;
            n_children += s.n;
            c->slices[n_slices++] = s;
        }
    }
    c->n_slices = n_slices;
    c->n_children = n_children;
}

void slice_compact(struct cover *c) {
    size_t used = 0, n = 0;
    for (size_t i = 0; i < c->n_nodes; i++) {
        used += c->nodes[i]->n_slices;
    }
    if (used == 0) {
        c->n_slices = c->n_children = 0;
    }
    if (used * 2 >= c->n_slices) {
        return;
    }
    struct cover_node **nodes = alloc_array(c->n_nodes, sizeof(struct cover_node *));
    if (nodes == NULL) {
        return; /* then another time */
    }
    for (size_t i = 0; i < c->n_nodes; i++) {
        if (c->nodes[i]->n_slices > 0) {
            nodes[n++] = c->nodes[i];
        }
    }
    qsort(nodes, n, sizeof *nodes, by_slice);
    close_up(c, nodes, n);
    base_free(nodes);
}
