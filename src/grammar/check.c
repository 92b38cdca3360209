/* check.c - the last pass over a grammar: everything named is defined, nothing is left-recursive,
 * and what can never be finished is taken out, so that no text that is begun is a dead end.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "grammar/private.h"

/* [*out_first[n_states + 1]] into out_edges: edge numbers by a state that they lead to; a call is
 * listed under the start of its rule too. */
struct backward {
    uint32_t *first, *edges;
};

static bool backward_init(struct backward *back, const struct grammar *g) {
    back->first = alloc_zero((size_t)g->n_states + 2, sizeof *back->first);
    back->edges = alloc_array(2 * (size_t)g->n_edges, sizeof *back->edges);
    if (back->first == NULL || back->edges == NULL) {
        return false;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t e = 0; e < g->n_edges; e++) {
            uint32_t to[2] = {g->edges[e].to, 0};
            unsigned n = 1;
            if (g->edges[e].kind == EDGE_CALL) {
                to[n++] = g->rules[g->edges[e].rule].start;
            }
            for (unsigned i = 0; i < n; i++) {
                if (pass == 0) {
                    back->first[to[i] + 2]++;
                } else {
                    back->edges[back->first[to[i] + 1]++] = e;
                }
            }
        }
        for (uint32_t s = 0; pass == 0 && s < g->n_states; s++) {
            back->first[s + 2] += back->first[s + 1];
        }
    }
    return true;
}

static void backward_done(struct backward *back) {
    base_free(back->first);
    base_free(back->edges);
}

/* out[n_states]: whether the end of its rule can be reached from a state; bytes: by reading, else
 * without. todo[n_states]: work space. */
static void reach(const struct grammar *g, const struct backward *back, bool bytes, bool *out,
                  uint32_t *todo) {
    uint32_t n = 0;
    memset(out, 0, g->n_states * sizeof *out);
    for (uint32_t r = 0; r < g->n_rules; r++) {
        if (!out[g->rules[r].end]) {
            out[g->rules[r].end] = true;
            todo[n++] = g->rules[r].end;
        }
    }
    while (n > 0) {
        uint32_t state = todo[--n];
        for (uint32_t k = back->first[state]; k < back->first[state + 1]; k++) {
            const struct edge *e = &g->edges[back->edges[k]];
            bool yes = e->kind == EDGE_FREE || (e->kind == EDGE_BYTES && bytes) ||
                       (e->kind == EDGE_CALL && out[e->to] && out[g->rules[e->rule].start]);
            if (yes && !out[e->from]) {
                out[e->from] = true;
                todo[n++] = e->from;
            }
        }
    }
}

/* Edges in the order of their states; those among equals keep their order. */
static bool sort_edges(struct grammar *g) {
    struct edge *sorted = alloc_array(g->n_edges, sizeof *sorted);
    uint32_t *first = alloc_zero((size_t)g->n_states + 2, sizeof *first);
    if (sorted == NULL || first == NULL) {
        base_free(sorted);
        base_free(first);
        return false;
    }
    for (uint32_t e = 0; e < g->n_edges; e++) {
        first[g->edges[e].from + 2]++;
    }
    for (uint32_t s = 0; s < g->n_states; s++) {
        first[s + 2] += first[s + 1];
    }
    for (uint32_t e = 0; e < g->n_edges; e++) {
        sorted[first[g->edges[e].from + 1]++] = g->edges[e];
    }
    base_free(g->edges);
    base_free(g->first);
    g->edges = sorted;
    g->first = first;
    return true;
}

/* Takes out what is not alive, and goes past states that only lead on. */
static bool prune(struct grammar *g, const bool *alive) {
    uint32_t kept = 0;
    for (uint32_t e = 0; e < g->n_edges; e++) {
        struct edge edge = g->edges[e];
        if (alive[edge.to] &&
            (edge.kind != EDGE_CALL || alive[g->rules[edge.rule].start])) {
            g->edges[kept++] = edge;
        }
    }
    g->n_edges = kept;
    if (!sort_edges(g)) {
        return false;
    }
    for (uint32_t e = 0; e < g->n_edges; e++) {
        /* A ring of states that only lead on has no way out and is dead; the bound is for safety. */
        for (uint32_t i = 0; i < g->n_states; i++) {
            uint32_t to = g->edges[e].to, at = g->first[to];
            if (g->accepts[to] != GRAMMAR_NONE || g->first[to + 1] != at + 1 ||
                g->edges[at].kind != EDGE_FREE) {
                break;
            }
            g->edges[e].to = g->edges[at].to;
        }
    }
    return true;
}

/* ---- left recursion --------------------------------------------------------------------------------- */

/* Rules that a rule may begin with, as edges of a graph of rules. */
struct begins {
    uint32_t *from, *to;
    uint32_t n;
};

/* Appends those of rule r; seen[n_states] is shared, since no state belongs to two rules. */
static void add_begins(const struct grammar *g, uint32_t r, const bool *empty, bool *seen,
                       uint32_t *todo, struct begins *out) {
    uint32_t n = 0;
    todo[n++] = g->rules[r].start;
    seen[g->rules[r].start] = true;
    while (n > 0) {
        uint32_t state = todo[--n];
        for (uint32_t k = g->first[state]; k < g->first[state + 1]; k++) {
            const struct edge *e = &g->edges[k];
            if (e->kind == EDGE_CALL) {
                out->from[out->n] = r;
                out->to[out->n++] = e->rule;
            }
            bool on = e->kind == EDGE_FREE || (e->kind == EDGE_CALL && empty[g->rules[e->rule].start]);
            if (on && !seen[e->to]) {
                seen[e->to] = true;
                todo[n++] = e->to;
            }
        }
    }
}

/* A rule on a circle of the graph, or GRAMMAR_NONE. left[n_rules], next[n_rules]: work space. Rules
 * that begin with no other are taken away until none is left, or each that is left has another. */
static uint32_t find_circle(const struct grammar *g, const struct begins *begins, uint32_t *left,
                            uint32_t *next, uint32_t *first, uint32_t *list, uint32_t *todo) {
    memset(left, 0, g->n_rules * sizeof *left);
    memset(first, 0, ((size_t)g->n_rules + 2) * sizeof *first);
    for (uint32_t k = 0; k < begins->n; k++) {
        left[begins->from[k]]++;
        first[begins->to[k] + 2]++;
    }
    for (uint32_t r = 0; r < g->n_rules; r++) {
        first[r + 2] += first[r + 1];
    }
    for (uint32_t k = 0; k < begins->n; k++) {
        list[first[begins->to[k] + 1]++] = begins->from[k];
    }
    uint32_t n = 0, gone = 0;
    for (uint32_t r = 0; r < g->n_rules; r++) {
        if (left[r] == 0) {
            todo[n++] = r;
        }
    }
    while (n > 0) {
        uint32_t r = todo[--n];
        gone++;
        for (uint32_t k = first[r]; k < first[r + 1]; k++) {
            if (--left[list[k]] == 0) {
                todo[n++] = list[k];
            }
        }
    }
    if (gone == g->n_rules) {
        return GRAMMAR_NONE;
    }
    uint32_t at = GRAMMAR_NONE;
    for (uint32_t k = 0; k < begins->n; k++) {
        if (left[begins->from[k]] > 0 && left[begins->to[k]] > 0) {
            next[begins->from[k]] = begins->to[k];
            at = begins->from[k];
        }
    }
    for (uint32_t i = 0; i < g->n_rules; i++) { /* after so many steps one is on the circle */
        at = next[at];
    }
    for (uint32_t i = 0; i < g->n_rules && g->rules[at].name_size == 0; i++) {
        at = next[at];
    }
    return at;
}

static enum packllm_status check_left(struct builder *b, const bool *empty, bool *seen,
                                      uint32_t *todo, struct packllm_error *err) {
    struct grammar *g = b->g;
    uint32_t *work = alloc_array(2 * (size_t)g->n_edges + 4 * ((size_t)g->n_rules + 2) + g->n_edges,
                                 sizeof *work);
    if (work == NULL) {
        return fail_memory(err, g->n_edges * sizeof *work);
    }
    struct begins begins = {.from = work, .to = work + g->n_edges};
    uint32_t *list = work + 2 * (size_t)g->n_edges, *left = list + g->n_edges;
    uint32_t *next = left + g->n_rules + 2, *first = next + g->n_rules + 2;
    memset(seen, 0, g->n_states * sizeof *seen);
    for (uint32_t r = 0; r < g->n_rules; r++) {
        add_begins(g, r, empty, seen, todo, &begins);
    }
    uint32_t rule = find_circle(g, &begins, left, next, first, list, todo);
    base_free(work);
    if (rule == GRAMMAR_NONE) {
        return PACKLLM_OK;
    }
    const struct rule *r = &g->rules[rule];
    return grammar_error(b, r->where, err,
                         "the rule '%.*s' is left-recursive: it may begin with itself; write a "
                         "repetition with * or +",
                         (int)(r->name_size < 64 ? r->name_size : 64), b->text + r->name);
}

/* ---- all of it ------------------------------------------------------------------------------------- */

static enum packllm_status check_names(struct builder *b, struct packllm_error *err) {
    struct grammar *g = b->g;
    g->root = GRAMMAR_NONE;
    for (uint32_t r = 0; r < g->n_rules; r++) {
        const struct rule *rule = &g->rules[r];
        if (!rule->defined) {
            return grammar_error(b, rule->where, err, "the rule '%.*s' is not defined",
                                 (int)(rule->name_size < 64 ? rule->name_size : 64),
                                 b->text + rule->name);
        }
        if (rule->name_size == 4 && memcmp(b->text + rule->name, "root", 4) == 0) {
            g->root = r;
        }
    }
    if (g->root == GRAMMAR_NONE) {
        return grammar_error(b, b->size, err, "there is no rule 'root', where a text begins");
    }
    return PACKLLM_OK;
}

enum packllm_status grammar_finish(struct builder *b, struct packllm_error *err) {
    struct grammar *g = b->g;
    struct backward back = {NULL, NULL};
    enum packllm_status status = check_names(b, err);
    if (status < 0) {
        return status;
    }
    size_t n_work = g->n_states > g->n_rules ? g->n_states : g->n_rules;
    bool *alive = alloc_array(g->n_states, sizeof *alive);
    bool *empty = alloc_array(g->n_states, sizeof *empty);
    bool *seen = alloc_array(g->n_states, sizeof *seen);
    uint32_t *todo = alloc_array(n_work, sizeof *todo);
    g->accepts = alloc_array(g->n_states, sizeof *g->accepts);
    if (alive == NULL || empty == NULL || seen == NULL || todo == NULL || g->accepts == NULL ||
        !sort_edges(g) || !backward_init(&back, g)) {
        status = fail_memory(err, g->n_edges * sizeof *g->edges);
    } else {
        memset(g->accepts, 0xff, g->n_states * sizeof *g->accepts);
        for (uint32_t r = 0; r < g->n_rules; r++) {
            g->accepts[g->rules[r].end] = r;
        }
        reach(g, &back, true, alive, todo);
        reach(g, &back, false, empty, todo);
        for (uint32_t r = 0; r < g->n_rules; r++) {
            g->rules[r].nullable = empty[g->rules[r].start];
        }
        status = check_left(b, empty, seen, todo, err);
        if (status >= 0 && !alive[g->rules[g->root].start]) {
            status = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                          "no text satisfies the grammar: 'root' never comes to an end%s",
                          b->bytes != NULL ? " in the bytes that the member's tokens can write" : "");
        }
        if (status >= 0 && !prune(g, alive)) {
            status = fail_memory(err, g->n_edges * sizeof *g->edges);
        }
    }
    backward_done(&back);
    base_free(alive);
    base_free(empty);
    base_free(seen);
    base_free(todo);
    return status;
}
