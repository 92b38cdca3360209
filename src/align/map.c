/* map.c - maps by equal bytes, by kind, and by the member's own tokenisation; the nearest tokens are
 * mined.c's. */
#include <string.h>

#include "align/edit.h"
#include "align/private.h"
#include "base/alloc.h"
#include "base/status.h"

/* The member's tokens by their bytes. */
struct look_up {
    const struct vocab_table *table;
    int32_t *slot; /* [mask + 1] lowest id of a text token with these bytes, or ALIGN_NONE */
    size_t mask;
    int32_t fallback[256]; /* lowest fallback token of a byte */
    int32_t end;           /* lowest END token */
};

static bool same(const struct vocab_table *t, int32_t id, const uint8_t *bytes, uint32_t size) {
    return vocab_size(t, id) == size && memcmp(vocab_bytes(t, id), bytes, size) == 0;
}

/* The slot that holds these bytes, or the free one where they would go. */
static int32_t *slot_of(const struct look_up *l, const uint8_t *bytes, uint32_t size) {
    size_t at = (size_t)align_hash(bytes, size) & l->mask;
    while (l->slot[at] != ALIGN_NONE && !same(l->table, l->slot[at], bytes, size)) {
        at = (at + 1) & l->mask;
    }
    return &l->slot[at];
}

static enum packllm_status look_up_init(struct look_up *l, const struct vocab_table *t,
                                        struct packllm_error *err) {
    *l = (struct look_up){.table = t, .mask = 1, .end = ALIGN_NONE};
    while (l->mask < (size_t)t->n * 2) {
        l->mask = l->mask * 2 + 1;
    }
    l->slot = alloc_array(l->mask + 1, sizeof *l->slot);
    if (l->slot == NULL) {
        return fail_memory(err, (l->mask + 1) * sizeof *l->slot);
    }
    memset(l->slot, 0xff, (l->mask + 1) * sizeof *l->slot);
    memset(l->fallback, 0xff, sizeof l->fallback);
    for (int32_t id = (int32_t)t->n - 1; id >= 0; id--) { /* downwards: the lowest id stays */
        if (align_is_text(t, id)) {
            *slot_of(l, vocab_bytes(t, id), vocab_size(t, id)) = id;
        } else if (t->kind[id] == VOCAB_BYTE && vocab_size(t, id) == 1) {
            l->fallback[*vocab_bytes(t, id)] = id;
        } else if (t->kind[id] == VOCAB_END) {
            l->end = id;
        }
    }
    return PACKLLM_OK;
}

static void put(struct align_map *map, uint32_t id, int32_t to, uint32_t distance) {
    map->to[id] = to;
    map->distance[id] = to == ALIGN_NONE ? ALIGN_FAR : distance;
}

/* What needs no distance. */
static void put_equal(struct align_map *map, const struct align_request *r, const struct look_up *l,
                      int32_t id) {
    const struct vocab_table *t = r->reference;
    int32_t to = ALIGN_NONE;
    if (t->kind[id] == VOCAB_END) {
        to = l->end;
    } else if (align_is_text(t, id)) {
        to = *slot_of(l, vocab_bytes(t, id), vocab_size(t, id));
        if (to == ALIGN_NONE && vocab_size(t, id) == 1 && r->method != ALIGN_MINED) {
            to = l->fallback[*vocab_bytes(t, id)];
        }
    } else if (t->kind[id] == VOCAB_BYTE && vocab_size(t, id) == 1) {
        to = l->fallback[*vocab_bytes(t, id)];
        to = to != ALIGN_NONE ? to : *slot_of(l, vocab_bytes(t, id), 1);
    }
    put(map, (uint32_t)id, to, 0);
}

static enum packllm_status put_first(struct align_map *map, const struct align_request *r,
                                     struct packllm_error *err) {
    const struct vocab_table *t = r->reference;
    struct edit edit;
    if (!edit_init(&edit, t->longest)) {
        return fail_memory(err, t->longest * (size_t)32);
    }
    enum packllm_status s = PACKLLM_OK;
    for (int32_t id = 0; id < (int32_t)t->n && s == PACKLLM_OK; id++) {
        if (map->to[id] != ALIGN_NONE || !align_is_text(t, id)) {
            continue;
        }
        int32_t to = r->first(r->first_ctx, vocab_bytes(t, id), vocab_size(t, id));
        if (to >= 0 && (uint32_t)to < r->member->n) {
            edit_set(&edit, vocab_bytes(t, id), vocab_size(t, id));
            put(map, (uint32_t)id, to,
                edit_distance(&edit, vocab_bytes(r->member, to), vocab_size(r->member, to),
                              UINT32_MAX - 1));
        }
        if (id % 4096 == 0 && r->progress != NULL &&
            !r->progress(r->progress_ctx, (double)id / t->n)) {
            s = fail(err, PACKLLM_E_CANCELLED, PACKLLM_NO_MEMBER, "cancelled");
        }
    }
    edit_done(&edit);
    return s;
}

bool align_map_init(struct align_map *map, uint32_t n, uint32_t n_member) {
    *map = (struct align_map){.n = n, .n_member = n_member};
    map->to = alloc_array(n, sizeof *map->to);
    map->distance = alloc_array(n, sizeof *map->distance);
    if (map->to == NULL || map->distance == NULL) {
        align_done(map);
        return false;
    }
    memset(map->to, 0xff, (size_t)n * sizeof *map->to); /* ALIGN_NONE, ALIGN_FAR */
    memset(map->distance, 0xff, (size_t)n * sizeof *map->distance);
    return true;
}

void align_map_count(struct align_map *map) {
    map->exact = map->near = map->unmatched = 0;
    for (uint32_t id = 0; id < map->n; id++) {
        uint32_t *count = map->to[id] == ALIGN_NONE ? &map->unmatched
                          : map->distance[id] == 0  ? &map->exact
                                                    : &map->near;
        ++*count;
    }
}

void align_done(struct align_map *map) {
    base_free(map->to);
    base_free(map->distance);
    *map = (struct align_map){0};
}

enum packllm_status align_build(struct align_map *out, const struct align_request *request,
                                struct packllm_error *err) {
    const struct vocab_table *t = request->reference, *m = request->member;
    struct align_map map;
    struct look_up look_up;
    if (request->method != ALIGN_EXACT &&
        (t->longest > ALIGN_TOKEN_MAX || m->longest > ALIGN_TOKEN_MAX)) {
        return fail(err, PACKLLM_E_MODEL, PACKLLM_NO_MEMBER,
                    "a vocabulary has a token of %u bytes; distances are taken up to %d",
                    (unsigned)(t->longest > m->longest ? t->longest : m->longest), ALIGN_TOKEN_MAX);
    }
    if (!align_map_init(&map, t->n, m->n)) {
        return fail_memory(err, (size_t)t->n * 8);
    }
    enum packllm_status s = look_up_init(&look_up, m, err);
    for (int32_t id = 0; s == PACKLLM_OK && id < (int32_t)t->n; id++) {
        put_equal(&map, request, &look_up, id);
    }
    base_free(look_up.slot);
    if (s == PACKLLM_OK && request->method == ALIGN_FIRST) {
        s = put_first(&map, request, err);
    } else if (s == PACKLLM_OK && request->method == ALIGN_MINED) {
        s = align_mined(&map, request, err);
    }
    if (s != PACKLLM_OK) {
        align_done(&map);
        return s;
    }
    align_map_count(&map);
    *out = map;
    return PACKLLM_OK;
}
