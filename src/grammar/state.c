/* state.c - where a text stands in a grammar: Earley's algorithm [1] over the rules' automata.
 *
 * Behind each byte stands a set of items (state, origin): a rule that was called behind byte
 * `origin` has come to `state`. A call made behind byte i is kept once, as a wait in set i, however
 * many ways led there; so ambiguity costs no more than the text's length squared, where stacks of
 * their own would double with each byte. Rules that may be empty are stepped over at the call [2].
 * A call that is the last thing in its rule hands its caller's waits on, so that lists written by
 * recursion at their end do not have to be closed one by one [3].
 *
 * [1] J. Earley, An efficient context-free parsing algorithm, CACM 13(2), 1970.
 * [2] J. Aycock, R. N. Horspool, Practical Earley parsing, Computer Journal 45(6), 2002.
 * [3] J. Leo, A general context-free parsing algorithm running in linear time on every LR(k)
 *     grammar without using lookahead, TCS 82(1), 1991; here only for calls known to be last.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "grammar/private.h"

struct item {
    uint32_t state, origin;
};

struct wait { /* when rule, called here, ends: go on at state of the rule called behind origin */
    uint32_t rule, state, origin; /* state GRAMMAR_NONE: the text may end */
};

struct set {
    uint32_t live, waits; /* where its entries begin */
    bool may_end;
    uint64_t mask[4];
};

struct seen {
    uint32_t rule, state, origin, stamp; /* rule GRAMMAR_NONE: an item, else a wait */
};

struct grammar_state {
    const struct grammar *g;
    struct set *sets; /* [sets_room], 0..depth in use */
    size_t depth, sets_room;
    struct item *live; /* of all sets: items that wait for a byte */
    struct wait *waits;
    uint32_t n_live, n_waits;
    size_t live_room, waits_room;
    struct item *todo; /* items of the set that is being made */
    size_t todo_room;
    uint32_t n_todo;
    struct seen *seen; /* [seen_room] open addressing */
    size_t seen_room, n_seen;
    uint32_t stamp, work;
    enum packllm_status status; /* < 0: a push failed */
};

/* Room for one more in a list of any kind. */
static bool room_for(void **list, size_t n, size_t *room, size_t size) {
    if (n < *room) {
        return true;
    }
    size_t more = *room == 0 ? 64 : 2 * *room;
    void *grown = n >= GRAMMAR_KEPT_MAX ? NULL : alloc_resize(*list, more, size);
    if (grown == NULL) {
        return false;
    }
    *list = grown;
    *room = more;
    return true;
}

static uint32_t slot_of(uint32_t rule, uint32_t state, uint32_t origin, size_t room) {
    uint64_t key = ((uint64_t)state << 32 | origin) * UINT64_C(0x9e3779b97f4a7c15);
    key ^= ((uint64_t)rule + 1) * UINT64_C(0xc2b2ae3d27d4eb4f);
    key ^= key >> 29;
    return (uint32_t)(key & (room - 1));
}

static bool grow_seen(struct grammar_state *s) {
    size_t room = s->seen_room == 0 ? 256 : 2 * s->seen_room;
    struct seen *seen = alloc_zero(room, sizeof *seen);
    if (seen == NULL) {
        return false;
    }
    for (size_t i = 0; i < s->seen_room; i++) {
        const struct seen *old = &s->seen[i];
        if (old->stamp == s->stamp) {
            uint32_t k = slot_of(old->rule, old->state, old->origin, room);
            while (seen[k].stamp == s->stamp) {
                k = (uint32_t)((k + 1) & (room - 1));
            }
            seen[k] = *old;
        }
    }
    base_free(s->seen);
    s->seen = seen;
    s->seen_room = room;
    return true;
}

/* True once for each (rule, state, origin) of a set. */
static bool is_new(struct grammar_state *s, uint32_t rule, uint32_t state, uint32_t origin) {
    if (++s->work > GRAMMAR_WORK_MAX || s->n_seen > GRAMMAR_ITEMS_MAX) {
        s->status = PACKLLM_E_UNSUPPORTED;
        return false;
    }
    if (2 * (s->n_seen + 1) > s->seen_room && !grow_seen(s)) {
        s->status = PACKLLM_E_MEMORY;
        return false;
    }
    uint32_t k = slot_of(rule, state, origin, s->seen_room);
    for (; s->seen[k].stamp == s->stamp; k = (uint32_t)((k + 1) & (s->seen_room - 1))) {
        const struct seen *at = &s->seen[k];
        if (at->state == state && at->origin == origin && at->rule == rule) {
            return false;
        }
    }
    s->seen[k] = (struct seen){rule, state, origin, s->stamp};
    s->n_seen++;
    return true;
}

static void add_item(struct grammar_state *s, uint32_t state, uint32_t origin) {
    if (!is_new(s, GRAMMAR_NONE, state, origin)) {
        return;
    }
    if (!room_for((void **)&s->todo, s->n_todo, &s->todo_room, sizeof *s->todo)) {
        s->status = PACKLLM_E_MEMORY;
        return;
    }
    s->todo[s->n_todo++] = (struct item){state, origin};
}

static void add_wait(struct grammar_state *s, uint32_t rule, uint32_t state, uint32_t origin) {
    if (!is_new(s, rule, state, origin)) {
        return;
    }
    if (!room_for((void **)&s->waits, s->n_waits, &s->waits_room, sizeof *s->waits)) {
        s->status = PACKLLM_E_MEMORY;
        return;
    }
    s->waits[s->n_waits++] = (struct wait){rule, state, origin};
}

static uint32_t waits_end(const struct grammar_state *s, uint32_t set) {
    return set == s->depth ? s->n_waits : s->sets[set + 1].waits;
}

/* A rule called behind `origin` has ended here: its callers go on. */
static void complete(struct grammar_state *s, uint32_t rule, uint32_t origin) {
    if (origin == s->depth) {
        return; /* it is empty, and was stepped over */
    }
    uint32_t end = waits_end(s, origin);
    s->work += end - s->sets[origin].waits;
    for (uint32_t k = s->sets[origin].waits; k < end && s->status >= 0; k++) {
        struct wait wait = s->waits[k];
        if (wait.rule == rule && wait.state == GRAMMAR_NONE) {
            s->sets[s->depth].may_end = true;
        } else if (wait.rule == rule) {
            add_item(s, wait.state, wait.origin);
        }
    }
}

static void call(struct grammar_state *s, const struct edge *edge, uint32_t origin) {
    const struct grammar *g = s->g;
    uint32_t caller = g->accepts[edge->to];
    if (caller != GRAMMAR_NONE && origin != s->depth) {
        uint32_t end = waits_end(s, origin);
        s->work += end - s->sets[origin].waits;
        for (uint32_t k = s->sets[origin].waits; k < end && s->status >= 0; k++) {
            struct wait wait = s->waits[k];
            if (wait.rule == caller) {
                add_wait(s, edge->rule, wait.state, wait.origin);
            }
        }
    } else {
        add_wait(s, edge->rule, edge->to, origin);
    }
    add_item(s, g->rules[edge->rule].start, (uint32_t)s->depth);
    if (g->rules[edge->rule].nullable) {
        add_item(s, edge->to, origin);
    }
}

/* From the items that are there to all that follow without a byte; the set is then whole. */
static void close_set(struct grammar_state *s) {
    const struct grammar *g = s->g;
    struct set *set = &s->sets[s->depth];
    for (uint32_t i = 0; i < s->n_todo && s->status >= 0; i++) {
        struct item item = s->todo[i];
        bool reads = false;
        if (g->accepts[item.state] != GRAMMAR_NONE) {
            complete(s, g->accepts[item.state], item.origin);
        }
        for (uint32_t e = g->first[item.state]; e < g->first[item.state + 1]; e++) {
            const struct edge *edge = &g->edges[e];
            if (edge->kind == EDGE_FREE) {
                add_item(s, edge->to, item.origin);
            } else if (edge->kind == EDGE_CALL) {
                call(s, edge, item.origin);
            } else {
                reads = true;
                for (unsigned b = edge->low; b <= edge->high; b++) {
                    set->mask[b / 64] |= UINT64_C(1) << (b % 64);
                }
            }
        }
        if (reads) {
            if (!room_for((void **)&s->live, s->n_live, &s->live_room, sizeof *s->live)) {
                s->status = PACKLLM_E_MEMORY;
                return;
            }
            s->live[s->n_live++] = item;
        }
    }
}

static void begin_set(struct grammar_state *s) {
    s->sets[s->depth] = (struct set){.live = s->n_live, .waits = s->n_waits};
    s->n_todo = 0;
    s->n_seen = 0;
    s->work = 0;
    if (++s->stamp == 0) { /* old stamps would look new */
        memset(s->seen, 0, s->seen_room * sizeof *s->seen);
        s->stamp = 1;
    }
}

void grammar_state_reset(struct grammar_state *s) {
    const struct rule *root = &s->g->rules[s->g->root];
    s->depth = 0;
    s->n_live = s->n_waits = 0;
    s->status = PACKLLM_OK;
    begin_set(s);
    add_wait(s, s->g->root, GRAMMAR_NONE, 0);
    add_item(s, root->start, 0);
    s->sets[0].may_end = root->nullable;
    close_set(s);
}

enum packllm_status grammar_state_open(struct grammar_state **out, const struct grammar *grammar,
                                       struct packllm_error *err) {
    struct grammar_state *s = alloc_zero(1, sizeof *s);
    if (s == NULL) {
        return fail_memory(err, sizeof *s);
    }
    s->g = grammar;
    if (!room_for((void **)&s->sets, 0, &s->sets_room, sizeof *s->sets)) {
        grammar_state_close(s);
        return fail_memory(err, sizeof *s->sets);
    }
    grammar_state_reset(s);
    enum packllm_status status = grammar_state_status(s, err);
    if (status < 0) {
        grammar_state_close(s);
        return status;
    }
    *out = s;
    return PACKLLM_OK;
}

void grammar_state_close(struct grammar_state *s) {
    if (s != NULL) {
        base_free(s->sets);
        base_free(s->live);
        base_free(s->waits);
        base_free(s->todo);
        base_free(s->seen);
        base_free(s);
    }
}

bool grammar_state_push(struct grammar_state *s, uint8_t byte) {
    if (s->status < 0 || !grammar_mask_has(s->sets[s->depth].mask, byte)) {
        return false;
    }
    if (!room_for((void **)&s->sets, s->depth + 1, &s->sets_room, sizeof *s->sets)) {
        s->status = PACKLLM_E_MEMORY;
        return false;
    }
    uint32_t end = s->n_live;
    s->depth++;
    begin_set(s);
    for (uint32_t k = s->sets[s->depth - 1].live; k < end; k++) {
        struct item item = s->live[k];
        for (uint32_t e = s->g->first[item.state]; e < s->g->first[item.state + 1]; e++) {
            const struct edge *edge = &s->g->edges[e];
            if (edge->kind == EDGE_BYTES && edge->low <= byte && byte <= edge->high) {
                add_item(s, edge->to, item.origin);
            }
        }
    }
    close_set(s);
    if (s->status < 0) {
        grammar_state_pop(s, 1);
        return false;
    }
    return true;
}

void grammar_state_pop(struct grammar_state *s, size_t n) {
    if (n > 0) {
        s->depth -= n;
        s->n_live = s->sets[s->depth + 1].live;
        s->n_waits = s->sets[s->depth + 1].waits;
    }
}

const uint64_t *grammar_state_allowed(const struct grammar_state *s) {
    return s->sets[s->depth].mask;
}

bool grammar_state_may_end(const struct grammar_state *s) {
    return s->sets[s->depth].may_end;
}

enum packllm_status grammar_state_status(const struct grammar_state *s, struct packllm_error *err) {
    if (s->status == PACKLLM_E_MEMORY) {
        return fail(err, PACKLLM_E_MEMORY, PACKLLM_NO_MEMBER,
                    "not enough memory for the grammar behind byte %zu of the reply", s->depth);
    }
    if (s->status < 0) {
        return fail(err, s->status, PACKLLM_NO_MEMBER,
                    "the grammar is too ambiguous: behind byte %zu of the reply there are more "
                    "than %d ways to read it",
                    s->depth, GRAMMAR_ITEMS_MAX);
    }
    return PACKLLM_OK;
}
