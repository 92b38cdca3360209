/* build.c - states and edges of the automaton: characters become ranges of bytes here. */
#include <string.h>

#include "base/alloc.h"
#include "grammar/private.h"

uint32_t build_state(struct builder *b) {
    if (b->g->n_states == GRAMMAR_STATES_MAX) {
        b->full = true;
        return 0;
    }
    return b->g->n_states++;
}

static void add_edge(struct builder *b, struct edge edge) {
    struct grammar *g = b->g;
    if (b->full || b->no_memory) {
        return;
    }
    if (g->n_edges == GRAMMAR_EDGES_MAX) {
        b->full = true;
        return;
    }
    if (g->n_edges == b->edges_room) {
        uint32_t room = b->edges_room == 0 ? 256 : 2 * b->edges_room;
        struct edge *edges = alloc_resize(g->edges, room, sizeof *edges);
        if (edges == NULL) {
            b->no_memory = true;
            return;
        }
        g->edges = edges;
        b->edges_room = room;
    }
    g->edges[g->n_edges++] = edge;
}

void build_free(struct builder *b, uint32_t from, uint32_t to) {
    add_edge(b, (struct edge){.from = from, .to = to, .kind = EDGE_FREE, .rule = GRAMMAR_NONE});
}

void build_call(struct builder *b, uint32_t from, uint32_t rule, uint32_t to) {
    add_edge(b, (struct edge){.from = from, .to = to, .kind = EDGE_CALL, .rule = rule});
}

/* Only the bytes that can be written: a range may fall apart. */
static void add_bytes(struct builder *b, uint32_t from, uint32_t low, uint32_t high, uint32_t to) {
    while (low <= high) {
        while (low <= high && b->bytes != NULL && !b->bytes[low]) {
            low++;
        }
        uint32_t end = low;
        while (end < high && (b->bytes == NULL || b->bytes[end + 1])) {
            end++;
        }
        if (low <= high) {
            add_edge(b, (struct edge){.from = from,
                                      .to = to,
                                      .kind = EDGE_BYTES,
                                      .rule = GRAMMAR_NONE,
                                      .low = (uint8_t)low,
                                      .high = (uint8_t)end});
        }
        low = end + 1;
    }
}

/* ---- characters as bytes ------------------------------------------------------------------------ */

static unsigned encode(uint32_t c, uint8_t *out) {
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    unsigned n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (unsigned i = n - 1; i > 0; i--) {
        out[i] = (uint8_t)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (uint8_t)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

/* Sequences of n bytes from low to high, in the order of their characters. tails[k]: the state from
 * which any k continuation bytes lead to the end, made when first needed. */
static void add_sequences(struct builder *b, uint32_t from, const uint8_t *low, const uint8_t *high,
                          unsigned n, uint32_t to, uint32_t *tails) {
    if (n == 1) {
        add_bytes(b, from, low[0], high[0], to);
        return;
    }
    if (low[0] == high[0]) {
        uint32_t next = build_state(b);
        add_bytes(b, from, low[0], low[0], next);
        add_sequences(b, next, low + 1, high + 1, n - 1, to, tails);
        return;
    }
    static const uint8_t least[3] = {0x80, 0x80, 0x80}, most[3] = {0xbf, 0xbf, 0xbf};
    uint32_t first = low[0], last = high[0];
    if (memcmp(low + 1, least, n - 1) != 0) {
        uint32_t next = build_state(b);
        add_bytes(b, from, first, first, next);
        add_sequences(b, next, low + 1, most, n - 1, to, tails);
        first++;
    }
    if (memcmp(high + 1, most, n - 1) != 0) {
        uint32_t next = build_state(b);
        add_bytes(b, from, last, last, next);
        add_sequences(b, next, least, high + 1, n - 1, to, tails);
        last--;
    }
    if (first > last) {
        return;
    }
    tails[0] = to;
    for (unsigned k = 1; k < n; k++) {
        if (tails[k] == GRAMMAR_NONE) {
            tails[k] = build_state(b);
            add_bytes(b, tails[k], 0x80, 0xbf, tails[k - 1]);
        }
    }
    add_bytes(b, from, first, last, tails[n - 1]);
}

void build_range(struct builder *b, uint32_t from, struct range range, uint32_t to) {
    static const struct range lengths[] = {
        {0, 0x7f}, {0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, 0x10ffff}};
    uint32_t tails[4] = {GRAMMAR_NONE, GRAMMAR_NONE, GRAMMAR_NONE, GRAMMAR_NONE};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint32_t low = range.low > lengths[i].low ? range.low : lengths[i].low;
        uint32_t high = range.high < lengths[i].high ? range.high : lengths[i].high;
        uint8_t one[4], two[4];
        if (low <= high) {
            unsigned n = encode(low, one);
            (void)encode(high, two);
            add_sequences(b, from, one, two, n, to, tails);
        }
    }
}

/* ---- rules --------------------------------------------------------------------------------------- */

static uint32_t add_rule(struct builder *b, struct rule rule) {
    struct grammar *g = b->g;
    if (g->n_rules == b->rules_room) {
        uint32_t room = b->rules_room == 0 ? 32 : 2 * b->rules_room;
        struct rule *rules = alloc_resize(g->rules, room, sizeof *rules);
        if (rules == NULL) {
            b->no_memory = true;
            return GRAMMAR_NONE;
        }
        g->rules = rules;
        b->rules_room = room;
    }
    g->rules[g->n_rules] = rule;
    return g->n_rules++;
}

static uint32_t *name_slot(struct builder *b, const char *name, size_t size) {
    uint32_t hash = 2166136261U; /* FNV-1a */
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ (uint8_t)name[i]) * 16777619U;
    }
    for (uint32_t i = hash & (b->names_room - 1);; i = (i + 1) & (b->names_room - 1)) {
        uint32_t *slot = &b->names[i];
        if (*slot == 0) {
            return slot;
        }
        const struct rule *rule = &b->g->rules[*slot - 1];
        if (rule->name_size == size && memcmp(b->text + rule->name, name, size) == 0) {
            return slot;
        }
    }
}

static bool grow_names(struct builder *b) {
    if (2 * (b->n_names + 1) < b->names_room) {
        return true;
    }
    uint32_t *old = b->names, room = b->names_room;
    b->names_room = room == 0 ? 64 : 2 * room;
    b->names = alloc_zero(b->names_room, sizeof *b->names);
    if (b->names == NULL) {
        b->names = old;
        b->names_room = room;
        b->no_memory = true;
        return false;
    }
    for (uint32_t i = 0; i < room; i++) {
        if (old[i] != 0) {
            const struct rule *rule = &b->g->rules[old[i] - 1];
            *name_slot(b, b->text + rule->name, rule->name_size) = old[i];
        }
    }
    base_free(old);
    return true;
}

uint32_t build_name(struct builder *b, size_t at, size_t size) {
    if (!grow_names(b)) {
        return GRAMMAR_NONE;
    }
    uint32_t *slot = name_slot(b, b->text + at, size);
    if (*slot == 0) {
        uint32_t start = build_state(b), end = build_state(b);
        uint32_t rule = add_rule(b, (struct rule){.start = start,
                                                  .end = end,
                                                  .name = (uint32_t)at,
                                                  .name_size = (uint32_t)size,
                                                  .where = at});
        if (rule == GRAMMAR_NONE) {
            return rule;
        }
        *slot = rule + 1;
        b->n_names++;
    }
    return *slot - 1;
}

void build_repeat(struct builder *b, uint32_t *start, uint32_t *end, uint32_t min, uint32_t max) {
    uint32_t from = build_state(b);
    if ((max == GRAMMAR_NONE && min <= 1) || (max == 1 && min == 0)) { /* * + ?: without a call */
        uint32_t to = build_state(b);
        build_free(b, from, *start);
        if (min == 0) {
            build_free(b, from, to);
        }
        if (max == GRAMMAR_NONE) {
            build_free(b, *end, from);
        }
        if (max == 1 || min == 1) {
            build_free(b, *end, to);
        }
        *start = from;
        *end = to;
        return;
    }
    uint32_t part = add_rule(b, (struct rule){.start = *start, .end = *end, .defined = true});
    if (part == GRAMMAR_NONE) {
        return;
    }
    uint32_t at = from, to = build_state(b);
    for (uint32_t i = 0; i < (max == GRAMMAR_NONE ? min : max) && !b->full; i++) {
        if (i >= min) {
            build_free(b, at, to);
        }
        uint32_t next = build_state(b);
        build_call(b, at, part, next);
        at = next;
    }
    if (max == GRAMMAR_NONE) {
        build_call(b, at, part, at);
    }
    build_free(b, at, to);
    *start = from;
    *end = to;
}
