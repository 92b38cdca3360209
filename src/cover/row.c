/* row.c - rows of logits as ranges of probability, see row.h. */
#include "cover/row.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "math/vec.h"

bool row_init(struct cover_row *row, const struct prefix_tree *tree) {
    *row = (struct cover_row){0};
    row->mass = alloc_array((size_t)tree->n + 1, sizeof *row->mass);
    row->block = alloc_array((size_t)tree->n / ROW_BLOCK + 1, sizeof *row->block);
    return row->mass != NULL && row->block != NULL;
}

void row_done(struct cover_row *row) {
    base_free(row->mass);
    base_free(row->block);
    *row = (struct cover_row){0};
}

/* exp(logits[ids[i]] - max) into out[n]; returns the sum, in a fixed order. In floats, as the masses
 * are: sums of ROW_BLOCK of them keep six digits and more. */
static float exponentials(const float *logits, const int32_t *ids, size_t n, float max,
                          float *out) {
    vec_floats sums = {0};
    size_t i = 0;
    for (; i + VEC_FLOATS <= n; i += VEC_FLOATS) {
        const int32_t *id = ids + i;
        vec_floats x = {logits[id[0]], logits[id[1]], logits[id[2]], logits[id[3]],
                        logits[id[4]], logits[id[5]], logits[id[6]], logits[id[7]]};
        x -= max;
        vec_exp_floats(&x);
        sums += x;
        memcpy(out + i, &x, sizeof x);
    }
    for (; i < n; i++) {
        out[i] = expf(logits[ids[i]] - max);
        sums[i % VEC_FLOATS] += out[i];
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
           ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

static float greatest(const float *x, size_t n) {
    vec_floats max, next;
    float found = -HUGE_VALF;
    size_t i = 0;
    for (size_t lane = 0; lane < VEC_FLOATS; lane++) {
        max[lane] = found;
    }
    for (; i + VEC_FLOATS <= n; i += VEC_FLOATS) {
        memcpy(&next, x + i, sizeof next);
        vec_float_bits larger = (vec_float_bits)(next > max);
        max = (vec_floats)(((vec_float_bits)next & larger) | ((vec_float_bits)max & ~larger));
    }
    for (; i < n; i++) {
        found = x[i] > found ? x[i] : found;
    }
    for (size_t lane = 0; lane < VEC_FLOATS; lane++) {
        found = max[lane] > found ? max[lane] : found;
    }
    return found;
}

bool row_load(struct cover_row *row, const struct prefix_tree *tree, const float *logits) {
    uint32_t n = tree->n, others = tree->table->n - n;
    float max = greatest(logits, tree->table->n), one;
    if (!isfinite(max)) {
        return false;
    }
    double end = 0.0, sum = 0.0, rest = 0.0;
    for (uint32_t i = 0; i < tree->n_ends; i++) {
        (void)exponentials(logits, &tree->ends[i], 1, max, &one);
        end += (double)one;
    }
    for (uint32_t i = 0; i < others; i++) {
        (void)exponentials(logits, &tree->ids[n + i], 1, max, &one);
        rest += (double)one;
    }
    for (uint32_t low = 0; low < n; low += ROW_BLOCK) {
        uint32_t size = n - low < ROW_BLOCK ? n - low : ROW_BLOCK;
        /* Ids are in the order of bytes, so logits come from anywhere: ask for the next block's. */
        for (uint32_t i = low + ROW_BLOCK; i < n && i < low + 2 * ROW_BLOCK; i++) {
            __builtin_prefetch(logits + tree->ids[i]);
        }
        double part = (double)exponentials(logits, tree->ids + low, size, max, row->mass + low);
        row->block[low / ROW_BLOCK] = part;
        sum += part;
    }
    double full = sum + rest;
    sum += end;
    if (!(sum > 0.0)) {
        return false;
    }
    double scale = 1.0 / sum;
    float scale_f = (float)scale;
    uint32_t i = 0;
    for (; i + VEC_FLOATS <= n; i += VEC_FLOATS) {
        vec_floats x;
        memcpy(&x, row->mass + i, sizeof x);
        x *= scale_f;
        memcpy(row->mass + i, &x, sizeof x);
    }
    for (; i < n; i++) {
        row->mass[i] *= scale_f;
    }
    for (uint32_t b = 0; b * ROW_BLOCK < n; b++) {
        row->block[b] *= scale;
    }
    row->end = end * scale;
    row->log_z = (double)max + log(sum);
    row->log_full = (double)max + log(full);
    return true;
}

void row_bend(struct cover_row *row, const struct prefix_tree *tree, uint8_t byte) {
    struct prefix_place place = prefix_root(tree);
    if (!prefix_step(tree, &place, byte)) {
        return;
    }
    row->end += 0.5 * row_range(row, place.low, place.high);
    for (uint32_t rank = place.low; rank < place.high; rank++) {
        row->mass[rank] *= 0.5F;
    }
    for (uint32_t b = place.low / ROW_BLOCK; b * ROW_BLOCK < place.high; b++) {
        row->block[b] = 0.0;
        for (uint32_t i = b * ROW_BLOCK; i < tree->n && i < (b + 1) * ROW_BLOCK; i++) {
            row->block[b] += (double)row->mass[i];
        }
    }
}

struct cover_tokens row_told(const struct cover_row *row) {
    return (struct cover_tokens){row->mass, row->block, row->end, row->log_z};
}

double row_range(const struct cover_row *row, uint32_t low, uint32_t high) {
    double sum = 0.0;
    while (low < high && low % ROW_BLOCK != 0) {
        sum += (double)row->mass[low++];
    }
    for (; high - low >= ROW_BLOCK && low < high; low += ROW_BLOCK) {
        sum += row->block[low / ROW_BLOCK];
    }
    while (low < high) {
        sum += (double)row->mass[low++];
    }
    return sum;
}

void row_spread(const struct cover_row *row, const struct prefix_tree *tree,
                const struct prefix_place *place, double w, double *q) {
    if (place->node == UINT32_MAX) {
        int32_t id = tree->ids[place->low];
        if (place->depth < vocab_size(tree->table, id)) {
            q[vocab_bytes(tree->table, id)[place->depth]] += w * (double)row->mass[place->low];
        }
        return;
    }
    const struct prefix_node *node = &tree->nodes[place->node];
    for (uint32_t i = 0; i < node->n_children; i++) {
        uint32_t child = node->first_child + i;
        uint32_t high = i + 1 < node->n_children ? tree->child_low[child + 1] : node->high;
        q[tree->child_byte[child]] += w * row_range(row, tree->child_low[child], high);
    }
}
