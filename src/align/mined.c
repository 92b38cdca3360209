/* mined.c - the nearest text token of each text token that has no equal one: minimum Levenshtein
 * distance over bytes, lowest id ("MinED" of the PackLLM paper), the same as comparing all with all.
 *
 * Half of such tokens have a neighbour at distance 1 and most at 1 or 2; those are found by a join
 * (join.c). The rest walks over the member's words by how much longer or shorter they are, 0, 1, 2, …,
 * since a distance is at least the difference of lengths. In between a second bound, from the bytes that
 * stand in the two words wherever, spares most comparisons: all of the longer word's bytes that have no
 * equal one in the other cost an edit each. */
#include "align/mined.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/status.h"

enum { THREADS_MAX = 64, UNKNOWN_DISTANCE = 1 << 30 };

struct task {
    void (*work)(void *arg, bool own);
    void *arg;
};

static void *thread_main(void *data) {
    const struct task *task = data;
    task->work(task->arg, false);
    return NULL;
}

/* Threads that cannot be had are done without. */
void mined_parallel(const struct mined *m, void (*work)(void *arg, bool own), void *arg) {
    pthread_t thread[THREADS_MAX];
    struct task task = {.work = work, .arg = arg};
    unsigned n = 0;
    while (n + 1 < m->request->threads && n < THREADS_MAX &&
           pthread_create(&thread[n], NULL, thread_main, &task) == 0) {
        n++;
    }
    work(arg, true);
    while (n > 0) {
        (void)pthread_join(thread[--n], NULL);
    }
}

bool mined_progress(struct mined *m, double from, double to, double share) {
    const struct align_request *r = m->request;
    if (!atomic_load(&m->stop) && r->progress != NULL &&
        !r->progress(r->progress_ctx, from + (to - from) * share)) {
        atomic_store(&m->stop, true);
    }
    return !atomic_load(&m->stop);
}

/* ---- the words ----------------------------------------------------------------------------- */

static struct bag bag_of(const uint8_t *bytes, uint32_t size) {
    struct bag bag = {0};
    for (uint32_t i = 0; i < size; i++) {
        uint64_t bit = (uint64_t)1 << (bytes[i] % 64);
        int level = 0;
        while (level < BAG_LEVELS && (bag.level[level] & bit) != 0) {
            level++;
        }
        if (level < BAG_LEVELS) {
            bag.level[level] |= bit;
        } else {
            bag.over++;
        }
    }
    return bag;
}

/* At least the bytes that two words have in common, each as often as in both. */
static uint32_t common(const struct bag *a, const struct bag *b) {
    uint64_t n = a->over < b->over ? a->over : b->over;
    for (int level = 0; level < BAG_LEVELS; level++) {
        n += (uint64_t)__builtin_popcountll(a->level[level] & b->level[level]);
    }
    return (uint32_t)n;
}

/* Words by size, then by id: a counting sort. Of those with equal bytes the lowest id wins. */
static enum packllm_status list_words(struct mined *m, struct packllm_error *err) {
    const struct vocab_table *t = m->request->member;
    m->longest = t->longest;
    m->first = alloc_zero((size_t)t->longest + 2, sizeof *m->first);
    m->words = alloc_array(t->n, sizeof *m->words);
    m->bags = alloc_array(t->n, sizeof *m->bags);
    if (m->first == NULL || m->words == NULL || m->bags == NULL) {
        return fail_memory(err, t->n * (sizeof *m->words + sizeof *m->bags));
    }
    for (int32_t id = 0; id < (int32_t)t->n; id++) {
        m->first[vocab_size(t, id) + 1] += align_is_text(t, id);
    }
    for (uint32_t size = 1; size <= t->longest + 1; size++) {
        m->first[size] += m->first[size - 1];
    }
    m->n_words = m->first[t->longest + 1];
    for (int32_t id = 0; id < (int32_t)t->n; id++) {
        if (align_is_text(t, id)) { /* first[size] runs to the end of its size, and is set back */
            uint32_t at = m->first[vocab_size(t, id)]++;
            m->words[at] = (struct word){vocab_bytes(t, id), vocab_size(t, id), id};
            m->bags[at] = bag_of(vocab_bytes(t, id), vocab_size(t, id));
        }
    }
    for (uint32_t size = t->longest + 1; size > 0; size--) {
        m->first[size] = m->first[size - 1];
    }
    m->first[0] = 0;
    return PACKLLM_OK;
}

static enum packllm_status list_queries(struct mined *m, const struct align_map *map,
                                        struct packllm_error *err) {
    const struct vocab_table *t = m->request->reference;
    m->queries = alloc_array(t->n, sizeof *m->queries);
    if (m->queries == NULL) {
        return fail_memory(err, t->n * sizeof *m->queries);
    }
    for (int32_t id = 0; id < (int32_t)t->n; id++) {
        if (map->to[id] == ALIGN_NONE && align_is_text(t, id)) {
            struct query *q = &m->queries[m->n_queries++];
            q->bytes = vocab_bytes(t, id);
            q->size = vocab_size(t, id);
            q->id = (uint32_t)id;
            atomic_init(&q->best, (uint64_t)UNKNOWN_DISTANCE << 32);
            m->longest_query = q->size > m->longest_query ? q->size : m->longest_query;
        }
    }
    return PACKLLM_OK;
}

/* ---- the walk ------------------------------------------------------------------------------ */

struct walk {
    struct mined *m;
    atomic_uint next; /* query */
};

/* Words of one size that are to be compared with the query that is set in edit, several at once. */
struct batch {
    struct mined *m;
    struct query *q;
    struct edit *edit;
    uint32_t n, word[EDIT_LANES];
};

static void compare(struct batch *b) {
    const struct word *words = b->m->words;
    const uint8_t *text[EDIT_LANES];
    uint32_t distance[EDIT_LANES], size = words[b->word[0]].size;
    if (b->n == 0) {
        return;
    }
    for (uint32_t i = 0; i < EDIT_LANES; i++) {
        text[i] = words[b->word[i < b->n ? i : 0]].bytes;
    }
    if (b->q->size <= EDIT_LANES_MAX) {
        edit_lanes(b->edit, text, size, distance);
    }
    for (uint32_t i = 0; i < b->n; i++) {
        uint32_t best = best_distance(atomic_load_explicit(&b->q->best, memory_order_relaxed));
        if (b->q->size > EDIT_LANES_MAX) {
            distance[i] = edit_distance(b->edit, text[i], size, best);
        }
        if (distance[i] <= best) {
            offer(b->q, distance[i], words[b->word[i]].id);
        }
    }
    b->n = 0;
}

/* The first word of a size with at least this id. */
static uint32_t first_of_id(const struct mined *m, uint32_t size, int32_t id) {
    uint32_t low = m->first[size], high = m->first[size + 1];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (m->words[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The words of one size. No distance is below least. Where the best so far has a lower id, a word
 * must be strictly nearer, and ids ascend: once none can be, none will. */
static void walk_size(struct batch *b, uint32_t size, uint32_t least) {
    const struct mined *m = b->m;
    const struct bag bag = bag_of(b->q->bytes, b->q->size);
    const uint32_t last = m->first[size + 1], longer = size > b->q->size ? size : b->q->size;
    for (uint32_t i = m->first[size]; i < last;) {
        uint64_t best = atomic_load_explicit(&b->q->best, memory_order_relaxed);
        uint32_t split = first_of_id(m, size, (int32_t)(uint32_t)best);
        uint32_t bound = best_distance(best) - (i >= split), end = i < split ? split : last;
        if (bound < least) {
            break;
        }
        uint32_t shared = longer > bound ? longer - bound : 0;
        for (; i < end && b->n < EDIT_LANES; i++) {
            if (common(&bag, &m->bags[i]) >= shared) {
                b->word[b->n++] = i;
            }
        }
        if (b->n == EDIT_LANES) {
            compare(b);
        }
    }
    compare(b);
}

static void walk_query(struct mined *m, struct query *q, struct edit *edit) {
    struct batch b = {.m = m, .q = q, .edit = edit};
    const uint32_t known = q->size <= JOIN_MAX ? 3 : 1; /* the joins have met all within 2 */
    if (best_distance(atomic_load(&q->best)) < known) {
        return;
    }
    edit_set(edit, q->bytes, q->size);
    for (uint32_t apart = 0; apart <= best_distance(atomic_load(&q->best)); apart++) {
        uint32_t least = apart > known ? apart : known;
        bool below = q->size > apart, above = (uint64_t)q->size + apart <= m->longest;
        if (below && q->size - apart <= m->longest) {
            walk_size(&b, q->size - apart, least);
        }
        if (above && apart > 0) {
            walk_size(&b, q->size + apart, least);
        }
        if (!below && !above) {
            return;
        }
    }
}

static void walk_work(void *arg, bool own) {
    struct walk *walk = arg;
    struct mined *m = walk->m;
    struct edit edit;
    if (!edit_init(&edit, m->longest_query)) {
        atomic_store(&m->failed, true);
        return;
    }
    for (uint32_t done = 0; !atomic_load(&m->stop) && !atomic_load(&m->failed); done++) {
        uint32_t i = atomic_fetch_add(&walk->next, 1);
        if (i >= m->n_queries) {
            break;
        }
        walk_query(m, &m->queries[i], &edit);
        if (own && done % 16 == 0 && !mined_progress(m, 0.3, 1, (double)i / m->n_queries)) {
            break;
        }
    }
    edit_done(&edit);
}

/* ---- all of it ----------------------------------------------------------------------------- */

static enum packllm_status find(struct mined *m, struct packllm_error *err) {
    struct walk walk = {.m = m};
    bool good = mined_join(m, 1, 0, 0.1) && mined_join(m, 2, 0.1, 0.3);
    if (good) {
        mined_parallel(m, walk_work, &walk);
    }
    if (atomic_load(&m->stop)) {
        return fail(err, PACKLLM_E_CANCELLED, PACKLLM_NO_MEMBER,
                    "cancelled while nearest tokens were looked for");
    }
    return good && !atomic_load(&m->failed)
               ? PACKLLM_OK
               : fail_memory(err, (size_t)m->n_queries * sizeof *m->queries);
}

enum packllm_status align_mined(struct align_map *map, const struct align_request *request,
                                struct packllm_error *err) {
    struct mined m = {.request = request};
    enum packllm_status s = list_words(&m, err);
    if (s == PACKLLM_OK) {
        s = list_queries(&m, map, err);
    }
    if (s == PACKLLM_OK && m.n_words > 0 && m.n_queries > 0) {
        s = find(&m, err);
        for (uint32_t i = 0; i < m.n_queries && s == PACKLLM_OK; i++) {
            uint64_t best = atomic_load(&m.queries[i].best);
            map->to[m.queries[i].id] = (int32_t)(uint32_t)best;
            map->distance[m.queries[i].id] = best_distance(best);
        }
    }
    base_free(m.words);
    base_free(m.first);
    base_free(m.bags);
    base_free(m.queries);
    return s;
}
