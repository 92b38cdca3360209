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
 * are: sums of ROW_BLOCK of them keep six digits and more. The loads of a permutation wait for memory,
 * and what is worked out of sixteen of them runs meanwhile: a loop of loads alone is no faster. */
static float exponentials(const float *logits, const int32_t *ids, size_t n, float max,
                          float *out) {
    vec_floats sums = {0};
    size_t i = 0;
    for (; i + VEC_FLOATS <= n; i += VEC_FLOATS) {
        const int32_t *id = ids + i;
        vec_floats x = {logits[id[0]],  logits[id[1]],  logits[id[2]],  logits[id[3]],
                        logits[id[4]],  logits[id[5]],  logits[id[6]],  logits[id[7]],
                        logits[id[8]],  logits[id[9]],  logits[id[10]], logits[id[11]],
                        logits[id[12]], logits[id[13]], logits[id[14]], logits[id[15]]};
        x -= max;
        vec_exp_floats(&x);
        sums += x;
        memcpy(out + i, &x, sizeof x);
    }
    if (i < n) { /* the last few with lanes that come to 0 */
        vec_floats x = {0};
        x -= HUGE_VALF;
        for (size_t k = i; k < n; k++) {
            x[k - i] = logits[ids[k]] - max;
        }
        vec_exp_floats(&x);
        sums += x;
        memcpy(out + i, &x, (n - i) * sizeof *out);
    }
    return vec_sum_floats(&sums);
}

/* The sum alone. */
static double sum_of(const float *logits, const int32_t *ids, uint32_t n, float max) {
    float masses[ROW_BLOCK];
    double sum = 0.0;
    for (uint32_t low = 0; low < n; low += ROW_BLOCK) {
        uint32_t size = n - low < ROW_BLOCK ? n - low : ROW_BLOCK;
        sum += (double)exponentials(logits, ids + low, size, max, masses);
    }
    return sum;
}

bool row_load(struct cover_row *row, const struct prefix_tree *tree, const float *logits,
              float max) {
    uint32_t n = tree->n, others = tree->table->n - n;
    if (!isfinite(max)) {
        return false;
    }
    double end = sum_of(logits, tree->ends, tree->n_ends, max), sum = 0.0;
    double rest = sum_of(logits, tree->ids + n, others, max);
    for (uint32_t low = 0; low < n; low += ROW_BLOCK) {
        uint32_t size = n - low < ROW_BLOCK ? n - low : ROW_BLOCK;
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

/* Four sums side by side: one addition need not wait for the last. */
static double sum_blocks(const double *block, uint32_t n) {
    vec_double sums = {0}, v;
    uint32_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES) {
        vec_load(block + i, &v);
        sums += v;
    }
    double sum = vec_sum(&sums);
    for (; i < n; i++) {
        sum += block[i];
    }
    return sum;
}

static double sum_masses(const float *mass, uint32_t n) {
    vec_double sums = {0}, v;
    uint32_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES) {
        vec_load_float(mass + i, &v);
        sums += v;
    }
    double sum = vec_sum(&sums);
    for (; i < n; i++) {
        sum += (double)mass[i];
    }
    return sum;
}

double row_range(const struct cover_row *row, uint32_t low, uint32_t high) {
    uint32_t first = (low + ROW_BLOCK - 1) / ROW_BLOCK, last = high / ROW_BLOCK;
    if (low >= high) {
        return 0.0;
    }
    if (first >= last) { /* no whole block */
        return sum_masses(row->mass + low, high - low);
    }
    return sum_masses(row->mass + low, first * ROW_BLOCK - low) +
           sum_blocks(row->block + first, last - first) +
           sum_masses(row->mass + (size_t)last * ROW_BLOCK, high - last * ROW_BLOCK);
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
