/* row.c - rows of logits as ranges of probability, see row.h. */
#include "cover/row.h"

#include <math.h>

#include "base/alloc.h"
#include "math/logsum.h"
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

/* scratch[i] = exp(logits[i] - max); returns the sum, in a fixed order. */
static double exponentials(const float *logits, size_t n, double max, float *scratch) {
    vec_double sums, shift;
    vec_set(0.0, &sums);
    vec_set(max, &shift);
    size_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES) {
        vec_double x;
        vec_load_float(logits + i, &x);
        x -= shift;
        vec_exp(&x);
        sums += x;
        vec_store_float(&x, scratch + i);
    }
    double sum = vec_sum(&sums);
    for (; i < n; i++) {
        double x = exp((double)logits[i] - max);
        scratch[i] = (float)x;
        sum += x;
    }
    return sum;
}

bool row_load(struct cover_row *row, const struct prefix_tree *tree, const float *logits,
              float *scratch) {
    double max = math_max_f(logits, tree->table->n);
    if (!(isfinite(max))) {
        return false;
    }
    double full = exponentials(logits, tree->table->n, max, scratch);
    double end = 0.0;
    for (uint32_t i = 0; i < tree->n_ends; i++) {
        end += (double)scratch[tree->ends[i]];
    }
    double sum = end;
    for (uint32_t low = 0; low < tree->n; low += ROW_BLOCK) {
        uint32_t high = tree->n - low < ROW_BLOCK ? tree->n : low + ROW_BLOCK;
        double part = 0.0;
        for (uint32_t i = low; i < high; i++) {
            float x = scratch[tree->ids[i]];
            row->mass[i] = x;
            part += (double)x;
        }
        row->block[low / ROW_BLOCK] = part;
        sum += part;
    }
    if (!(sum > 0.0)) {
        return false;
    }
    double scale = 1.0 / sum;
    float scale_f = (float)scale;
    for (uint32_t i = 0; i < tree->n; i++) {
        row->mass[i] *= scale_f;
    }
    for (uint32_t b = 0; b * ROW_BLOCK < tree->n; b++) {
        row->block[b] *= scale;
    }
    row->end = end * scale;
    row->log_z = max + log(sum);
    row->log_full = max + log(full);
    return true;
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
