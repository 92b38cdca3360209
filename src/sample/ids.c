/* ids.c - see ids.h. */
#include "sample/ids.h"

#include "base/alloc.h"
#include "base/rng.h"

void ids_done(struct ids *ids) {
    base_free(ids->entries);
    *ids = (struct ids){0};
}

/* The entry of id, or the free one where it would go. room > 0, and an entry is free. */
static struct ids_entry *find(const struct ids *ids, int32_t id) {
    size_t at = (size_t)rng_key(0, 0, (uint64_t)(uint32_t)id) & (ids->room - 1);
    while (ids->entries[at].used && ids->entries[at].id != id) {
        at = (at + 1) & (ids->room - 1);
    }
    return &ids->entries[at];
}

double ids_get(const struct ids *ids, int32_t id) {
    if (ids->used == 0) {
        return 0;
    }
    const struct ids_entry *entry = find(ids, id);
    return entry->used ? entry->value : 0;
}

static bool grow(struct ids *ids) {
    struct ids larger = {.room = ids->room == 0 ? 64 : 2 * ids->room};
    larger.entries = alloc_zero(larger.room, sizeof *larger.entries);
    if (larger.entries == NULL) {
        return false;
    }
    for (size_t i = 0; i < ids->room; i++) {
        if (ids->entries[i].used) {
            *find(&larger, ids->entries[i].id) = ids->entries[i];
            larger.used++;
        }
    }
    ids_done(ids);
    *ids = larger;
    return true;
}

double *ids_at(struct ids *ids, int32_t id) {
    if (ids->room > 0) {
        struct ids_entry *entry = find(ids, id);
        if (entry->used) {
            return &entry->value;
        }
    }
    if (2 * (ids->used + 1) > ids->room && !grow(ids)) {
        return NULL;
    }
    struct ids_entry *entry = find(ids, id);
    *entry = (struct ids_entry){.id = id, .used = true};
    ids->used++;
    return &entry->value;
}
