/* join.c - pairs of words within one or two edits, by what is left when bytes are deleted.
 *
 * If q and t are at distance <= k, then some string can be had from both by at most k deletions in
 * each: delete the bytes that an edit inserts, deletes or exchanges. (The idea is Mor and Fraenkel's,
 * CACM 25(12), 1982.) So the hashes of what is left of the queries are put in a table, and those of
 * the member's words are looked up; whoever meets is compared. The table holds the queries, not the
 * words, because they are fewer and those found with one edit need not be looked for with two. */
#include <string.h>

#include "align/mined.h"
#include "base/alloc.h"

enum {
    ENTRIES_MAX = 1 << 22, /* of a table: more queries than fit are taken in several rounds */
    VARIANTS_MAX = 1 + (JOIN_MAX + 2) + (JOIN_MAX + 2) * (JOIN_MAX + 1) / 2,
    CHUNK = 1024 /* words that a thread takes at a time */
};

/* The hash of a string is sum of value(byte) * BASE^(bytes before it), mod 2^64. A byte that is
 * deleted takes one factor BASE from all that stand behind it; so with sums over the beginnings of the
 * string each variant costs two multiplications. A collision costs a comparison, and changes nothing. */
#define BASE UINT64_C(0x9e3779b97f4a7c15)
#define BASE_INVERSE UINT64_C(0xf1de83e19937733d) /* BASE * BASE_INVERSE = 1 mod 2^64 */
#define SPREAD UINT64_C(0xd6e8feb86659fd93)

static uint64_t mix(uint64_t h) {
    h = (h ^ (h >> 32)) * SPREAD;
    return h ^ (h >> 29);
}

/* Hashes of the string with 0 to `edits` bytes deleted. In a run of equal bytes it does not matter
 * which is deleted: the first. */
static uint32_t variants(const uint8_t *bytes, uint32_t size, uint32_t edits,
                         uint64_t out[VARIANTS_MAX]) {
    uint64_t sum[JOIN_MAX + 3], power = 1; /* sum[i]: over the first i bytes */
    uint32_t n = 0;
    sum[0] = 0;
    for (uint32_t i = 0; i < size; i++, power *= BASE) {
        sum[i + 1] = sum[i] + (bytes[i] + UINT64_C(1)) * SPREAD * power;
    }
    out[n++] = mix(sum[size]);
    for (uint32_t i = 0; i < size; i++) {
        if (i > 0 && bytes[i] == bytes[i - 1]) {
            continue;
        }
        uint64_t one = sum[size] - sum[i + 1];
        out[n++] = mix(sum[i] + one * BASE_INVERSE);
        for (uint32_t j = i + 1; j < size && edits > 1; j++) {
            if (j > i + 1 && bytes[j] == bytes[j - 1]) {
                continue;
            }
            uint64_t middle = sum[j] - sum[i + 1], end = sum[size] - sum[j + 1];
            out[n++] = mix(sum[i] + (middle + end * BASE_INVERSE) * BASE_INVERSE);
        }
    }
    return n;
}

struct table {
    uint32_t *start; /* [2^bits + 1] -> into items */
    struct item {
        uint32_t tag, query;
    } * items;
    unsigned bits;
    uint32_t least, most; /* bytes of its shortest and longest query */
};

struct join {
    struct mined *m;
    uint32_t edits;
    struct table table;
    atomic_uint next; /* word */
    double from, to;
};

static bool wanted(const struct mined *m, uint32_t query, uint32_t edits) {
    const struct query *q = &m->queries[query];
    return q->size <= JOIN_MAX && best_distance(atomic_load(&q->best)) >= edits;
}

static uint32_t *start_of(const struct table *t, uint64_t h) {
    return &t->start[h >> (64 - t->bits)];
}

/* Queries from *at on, as many as fit; *at becomes the first that did not. */
static bool table_init(struct table *t, const struct mined *m, uint32_t edits, uint32_t *at) {
    uint64_t hash[VARIANTS_MAX];
    uint32_t entries = 0, end = *at;
    *t = (struct table){.bits = 10, .least = UINT32_MAX};
    for (; end < m->n_queries && entries < ENTRIES_MAX - VARIANTS_MAX; end++) {
        if (wanted(m, end, edits)) {
            uint32_t size = m->queries[end].size;
            entries += edits > 1 ? 1 + size + size * (size - 1) / 2 : 1 + size;
            t->least = size < t->least ? size : t->least;
            t->most = size > t->most ? size : t->most;
        }
    }
    while (((uint32_t)1 << t->bits) < entries) {
        t->bits++;
    }
    t->start = alloc_zero(((size_t)1 << t->bits) + 1, sizeof *t->start);
    t->items = alloc_array(entries, sizeof *t->items);
    if (t->start == NULL || t->items == NULL) {
        return false;
    }
    /* Counted, then filled from the end of each bucket, so that start ends up at its beginning. */
    for (int fill = 0; fill < 2; fill++) {
        for (uint32_t i = *at; i < end; i++) {
            uint32_t n = wanted(m, i, edits)
                             ? variants(m->queries[i].bytes, m->queries[i].size, edits, hash)
                             : 0;
            for (uint32_t v = 0; v < n; v++) {
                uint32_t *start = start_of(t, hash[v]);
                if (fill == 0) {
                    ++*start;
                } else {
                    t->items[--*start] = (struct item){.tag = (uint32_t)hash[v], .query = i};
                }
            }
        }
        for (size_t b = 1; fill == 0 && b <= (size_t)1 << t->bits; b++) {
            t->start[b] += t->start[b - 1];
        }
    }
    *at = end;
    return true;
}

static void table_done(struct table *t) {
    base_free(t->start);
    base_free(t->items);
}

/* Compares a word with the queries that have something left in common with it. */
static void meet(struct join *j, const struct word *word, struct edit *edit, uint32_t *seen) {
    struct mined *m = j->m;
    uint64_t hash[VARIANTS_MAX];
    uint32_t n = variants(word->bytes, word->size, j->edits, hash);
    bool set = false;
    for (uint32_t v = 0; v < n; v++) {
        const uint32_t *start = start_of(&j->table, hash[v]);
        for (uint32_t i = start[0]; i < start[1]; i++) {
            const struct item *item = &j->table.items[i];
            struct query *q = &m->queries[item->query];
            if (item->tag != (uint32_t)hash[v] || seen[item->query] == (uint32_t)word->id + 1) {
                continue;
            }
            seen[item->query] = (uint32_t)word->id + 1;
            uint32_t best = best_distance(atomic_load_explicit(&q->best, memory_order_relaxed));
            uint32_t apart = q->size > word->size ? q->size - word->size : word->size - q->size;
            if (apart > best) {
                continue;
            }
            if (!set) {
                edit_set(edit, word->bytes, word->size);
                set = true;
            }
            uint32_t d = edit_distance(edit, q->bytes, q->size, best);
            if (d <= best) {
                offer(q, d, word->id);
            }
        }
    }
}

static void work(void *arg, bool own) {
    struct join *j = arg;
    struct mined *m = j->m;
    struct edit edit = {0};
    uint32_t *seen = alloc_zero(m->n_queries, sizeof *seen);
    bool good = edit_init(&edit, JOIN_MAX + 2) && seen != NULL;
    if (!good) {
        atomic_store(&m->failed, true);
    }
    while (good && !atomic_load(&m->stop) && !atomic_load(&m->failed)) {
        uint32_t at = atomic_fetch_add(&j->next, CHUNK);
        if (at >= m->n_words) {
            break;
        }
        uint32_t end = m->n_words - at < CHUNK ? m->n_words : at + CHUNK;
        for (uint32_t i = at; i < end; i++) {
            uint32_t size = m->words[i].size;
            if (size + j->edits >= j->table.least && size <= j->table.most + j->edits) {
                meet(j, &m->words[i], &edit, seen);
            }
        }
        if (own && !mined_progress(m, j->from, j->to, (double)end / m->n_words)) {
            break;
        }
    }
    edit_done(&edit);
    base_free(seen);
}

bool mined_join(struct mined *m, uint32_t edits, double from, double to) {
    for (uint32_t at = 0; at < m->n_queries;) {
        double share = (double)at / m->n_queries;
        if (!mined_progress(m, from, to, share)) {
            break; /* asked here too, since other threads may take all the words */
        }
        struct join j = {.m = m, .edits = edits, .from = from + (to - from) * share, .to = to};
        bool good = table_init(&j.table, m, edits, &at);
        j.to = from + (to - from) * at / m->n_queries;
        if (good && j.table.most > 0) {
            mined_parallel(m, work, &j);
        }
        table_done(&j.table);
        if (!good || atomic_load(&m->failed)) {
            return false;
        }
    }
    return true;
}
