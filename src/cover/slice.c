/* slice.c - along known text a row matters only where the text goes: it is reduced to the next
 * bytes at each depth and then given back. A few hundred numbers instead of a whole vocabulary. */
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
