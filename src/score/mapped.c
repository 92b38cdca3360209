/* mapped.c - rows over a reference's tokens, see mapped.h. */
#include "score/mapped.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

/* At least so much of a mapped row is spread evenly. A token that has no equal would else be as good
 * as impossible, and one of them in a prompt would end a member's say. */
#define EVEN 1e-3

static bool same_bytes(const struct prefix_tree *tree, uint32_t a, uint32_t b) {
    int32_t left = tree->ids[a], right = tree->ids[b];
    uint32_t size = vocab_size(tree->table, left);
    return size == vocab_size(tree->table, right) &&
           memcmp(vocab_bytes(tree->table, left), vocab_bytes(tree->table, right), size) == 0;
}

/* Shares of 2^-distance; of tokens with the same bytes the first one, which is the canonical one. */
static enum packllm_status share_mass(struct score_map *map, const struct prefix_tree *reference,
                                      const struct prefix_tree *member, const uint32_t *distance,
                                      struct packllm_error *err) {
    double *sum = alloc_zero((size_t)member->n + 1, sizeof *sum);
    if (sum == NULL) {
        return fail_memory(err, member->n * sizeof *sum);
    }
    map->whole = map->n == member->n;
    for (uint32_t r = 0; r < map->n; r++) {
        if (map->from[r] == UINT32_MAX) {
            map->whole = false;
            continue;
        }
        uint32_t edits = distance[reference->ids[r]];
        bool twin = r > 0 && map->from[r - 1] == map->from[r] && same_bytes(reference, r - 1, r);
        map->share[r] = twin ? 0.0F : ldexpf(1.0F, -(int)(edits < 30 ? edits : 30));
        map->whole = map->whole && !twin && edits == 0;
        sum[map->from[r]] += (double)map->share[r];
    }
    for (uint32_t r = 0; r < map->n; r++) {
        if (map->from[r] != UINT32_MAX) {
            map->whole = map->whole && sum[map->from[r]] == 1.0;
            map->share[r] = (float)((double)map->share[r] / sum[map->from[r]]);
        }
    }
    base_free(sum);
    return PACKLLM_OK;
}

enum packllm_status score_map_init(struct score_map *out, const struct prefix_tree *reference,
                                   const struct prefix_tree *member, const int32_t *to,
                                   const uint32_t *distance, bool paper,
                                   struct packllm_error *err) {
    uint32_t n = reference->n, n_ids = reference->table->n;
    struct score_map map = {.n = n,
                            .n_ids = n_ids,
                            .from = alloc_array((size_t)n + 1, sizeof *map.from),
                            .share = alloc_zero((size_t)n + 1, sizeof *map.share),
                            .to = alloc_array((size_t)n_ids + 1, sizeof *map.to),
                            .paper = paper};
    if (map.from == NULL || map.share == NULL || map.to == NULL) {
        score_map_done(&map);
        return fail_memory(err, (size_t)n_ids * 12);
    }
    for (uint32_t id = 0; id < n_ids; id++) {
        bool text = to[id] >= 0 && vocab_is_text(member->table, to[id]);
        map.to[id] = text ? to[id] : -1;
    }
    for (uint32_t r = 0; r < n; r++) {
        int32_t token = map.to[reference->ids[r]];
        map.from[r] = token >= 0 ? member->rank[token] : UINT32_MAX;
        map.share[r] = 1.0F;
    }
    if (!paper) {
        enum packllm_status status = share_mass(&map, reference, member, distance, err);
        if (status < 0) {
            score_map_done(&map);
            return status;
        }
    }
    *out = map;
    return PACKLLM_OK;
}

void score_map_done(struct score_map *map) {
    base_free(map->from);
    base_free(map->share);
    base_free(map->to);
    *map = (struct score_map){0};
}

uint32_t score_map_matched(const struct score_map *map) {
    uint32_t count = 0;
    for (uint32_t r = 0; r < map->n; r++) {
        count += map->from[r] != UINT32_MAX;
    }
    return count;
}

static void sum_blocks(const float *mass, uint32_t n, double *block) {
    for (uint32_t low = 0; low < n; low += COVER_BLOCK) {
        uint32_t high = n - low < COVER_BLOCK ? n : low + COVER_BLOCK;
        double sum = 0.0;
        for (uint32_t r = low; r < high; r++) {
            sum += (double)mass[r];
        }
        block[low / COVER_BLOCK] = sum;
    }
}

/* What a member says that says nothing. */
static double even_row(uint32_t n, float *mass, double *block) {
    for (uint32_t r = 0; r < n; r++) {
        mass[r] = (float)(1.0 / ((double)n + 1.0));
    }
    sum_blocks(mass, n, block);
    return 1.0 / ((double)n + 1.0);
}

double score_map_row(const struct score_map *map, const struct cover_tokens *row, float *mass,
                     double *block) {
    double sum = row->end, end = row->end;
    for (uint32_t r = 0; r < map->n; r++) {
        mass[r] = map->from[r] == UINT32_MAX ? 0.0F : row->mass[map->from[r]] * map->share[r];
        sum += (double)mass[r];
    }
    if (!(sum > 0.0)) {
        return even_row(map->n, mass, block);
    }
    if (!map->whole) {
        double even = map->paper ? 0.0 : 1.0 - sum > EVEN ? 1.0 - sum : EVEN;
        double scale = (1.0 - even) / sum, each = even / ((double)map->n + 1.0);
        for (uint32_t r = 0; r < map->n; r++) {
            mass[r] = (float)((double)mass[r] * scale + each);
        }
        end = end * scale + each;
    }
    sum_blocks(mass, map->n, block);
    return end;
}

/* ---- readings ---- */

struct reader {
    const struct score_map *map;
    const struct score_mapped_text *text;
    struct fuse_rows rows;
    size_t *order; /* [n] at which place of rows a position stands */
    float *mass;   /* [map->n] */
    double *block;
    double nll;
};

static enum packllm_status on_place(void *data, size_t place, const struct cover_tokens *row,
                                    struct packllm_error *err) {
    struct reader *r = data;
    bool silent = place == 0 && r->text->silent_first;
    double end = silent ? even_row(r->map->n, r->mass, r->block)
                        : score_map_row(r->map, row, r->mass, r->block);
    size_t at = r->rows.n;
    enum packllm_status status =
        fuse_rows_add(&r->rows, r->mass, r->block, COVER_BLOCK, r->map->n + 1, end,
                      r->text->tokens->rows.actual[place], err);
    if (status >= 0) {
        r->order[place] = at;
        r->nll -= (double)r->rows.observed[at];
    }
    return status;
}

void score_translate(const struct score_map *map, const struct prefix_tree *reference,
                     const uint32_t *actual, size_t n, int32_t *out) {
    for (size_t k = 0; k < n; k++) {
        out[k] = map->to[reference->ids[actual[k]]];
    }
}

static enum packllm_status read_rows(struct reader *r, struct cover *cover, size_t *places,
                                     int32_t *ids, struct packllm_error *err) {
    const struct score_mapped_text *t = r->text;
    size_t n = t->tokens->rows.n;
    if (t->translated) {
        score_translate(r->map, t->reference, t->tokens->rows.actual, n, ids);
        return cover_read_given(cover, ids, n, on_place, r, err);
    }
    for (size_t k = 0; k < n; k++) {
        places[k] = k > 0 ? t->tokens->end[k - 1] : 0;
    }
    return cover_read_places(cover, t->text, t->size, places, n, on_place, r, err);
}

enum packllm_status score_read_mapped(struct cover *cover, const struct score_map *map,
                                      const struct score_mapped_text *text,
                                      struct score_tokens *out, double *out_nll,
                                      struct packllm_error *err) {
    size_t n = text->tokens->rows.n;
    struct reader r = {.map = map,
                       .text = text,
                       .order = alloc_zero(n, sizeof *r.order),
                       .mass = alloc_array((size_t)map->n + 1, sizeof *r.mass),
                       .block = alloc_array(map->n / COVER_BLOCK + 1, sizeof *r.block)};
    size_t *places = alloc_array(n, sizeof *places), *end = alloc_array(n, sizeof *end);
    int32_t *ids = alloc_array(n, sizeof *ids);
    enum packllm_status status = PACKLLM_OK;
    if (r.order == NULL || r.mass == NULL || r.block == NULL || places == NULL || end == NULL ||
        ids == NULL) {
        status = fail_memory(err, (size_t)map->n * sizeof *r.mass);
    }
    if (status >= 0) {
        status = read_rows(&r, cover, places, ids, err);
    }
    if (status >= 0 && r.rows.n != n) {
        status = fail(err, PACKLLM_E_INTERNAL, PACKLLM_NO_MEMBER, "%zu rows for %zu places",
                      r.rows.n, n);
    }
    if (status >= 0) {
        status = fuse_rows_order(&r.rows, r.order, err);
    }
    base_free(r.order);
    base_free(r.mass);
    base_free(r.block);
    base_free(places);
    base_free(ids);
    if (status < 0) {
        fuse_rows_done(&r.rows);
        base_free(end);
        return status;
    }
    memcpy(end, text->tokens->end, n * sizeof *end);
    *out = (struct score_tokens){.rows = r.rows,
                                 .end = end,
                                 .last_low = text->tokens->last_low,
                                 .last_high = text->tokens->last_high,
                                 .room = n};
    *out_nll = r.nll;
    return PACKLLM_OK;
}
