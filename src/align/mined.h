/* mined.h - the two ways of finding nearest tokens, and what they share. Private to this room. */
#ifndef ALIGN_MINED_H
#define ALIGN_MINED_H

#include <stdatomic.h>

#include "align/edit.h"
#include "align/private.h"

/* A member's text token. */
struct word {
    const uint8_t *bytes;
    uint32_t size;
    int32_t id;
};

/* A reference token that is looked for. `best` orders by distance, then by id: distance << 32 | id. */
struct query {
    const uint8_t *bytes;
    uint32_t size;
    uint32_t id; /* in the reference */
    _Atomic uint64_t best;
};

/* The bytes of a word without their order, of 64 kinds: which stand in it at least once and twice, and
 * how many there are beyond that (more levels cost more than they spare). */
enum { BAG_LEVELS = 2 };
struct bag {
    uint64_t level[BAG_LEVELS];
    uint64_t over;
};

struct mined {
    const struct align_request *request;
    struct word *words; /* [n_words] by size, then by id */
    uint32_t n_words;
    uint32_t *first;  /* [longest + 2] -> index of the first word of at least that many bytes */
    struct bag *bags; /* [n_words] */
    uint32_t longest; /* word, bytes */
    struct query *queries; /* [n_queries] */
    uint32_t n_queries;
    uint32_t longest_query;
    atomic_bool stop, failed; /* cancelled; a thread found no memory */
};

static inline uint32_t best_distance(uint64_t best) {
    return (uint32_t)(best >> 32);
}

/* The minimum of what all threads find does not depend on their order. */
static inline void offer(struct query *q, uint32_t distance, int32_t id) {
    uint64_t now = atomic_load_explicit(&q->best, memory_order_relaxed);
    uint64_t mine = (uint64_t)distance << 32 | (uint32_t)id;
    while (mine < now && !atomic_compare_exchange_weak_explicit(
                             &q->best, &now, mine, memory_order_relaxed, memory_order_relaxed)) {
    }
}

/* Runs work(arg, own) on request->threads threads, the caller's among them (own: true for it only). */
void mined_parallel(const struct mined *m, void (*work)(void *arg, bool own), void *arg);
/* Tells the progress of a stretch of the work, from the caller's thread; false: stop. */
bool mined_progress(struct mined *m, double from, double to, double share);

/* join.c: every query of at most JOIN_MAX bytes without a word within `edits` - 1 meets every word
 * within `edits` (1 or 2); words further off may be met too. False: no memory. */
enum { JOIN_MAX = 40 };
bool mined_join(struct mined *m, uint32_t edits, double from, double to);

#endif
