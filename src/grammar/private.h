/* private.h - the compiled form of a grammar, and how it is built: parse.c calls build.c, check.c
 * finishes.
 *
 * A rule is a small automaton over bytes; an edge reads a byte, reads nothing, or calls a rule. So
 * repetition needs no recursion, and only calls are pushed (state.c). A repeated part becomes a rule
 * without a name: {m,n} is n calls, not n copies.
 */
#ifndef GRAMMAR_PRIVATE_H
#define GRAMMAR_PRIVATE_H

#include "grammar/grammar.h"

#define GRAMMAR_NONE UINT32_MAX

enum {
    GRAMMAR_TEXT_MAX = 1 << 20,   /* bytes of its source */
    GRAMMAR_STATES_MAX = 1 << 18, /* of the automaton */
    GRAMMAR_EDGES_MAX = 1 << 20,
    GRAMMAR_DEPTH_MAX = 64,      /* of nested groups */
    GRAMMAR_ITEMS_MAX = 1 << 16, /* ways in which a text is read at once */
    GRAMMAR_WORK_MAX = 1 << 20,  /* steps for one byte */
    GRAMMAR_KEPT_MAX = 1 << 24   /* entries kept along a text */
};

enum edge_kind { EDGE_FREE, EDGE_BYTES, EDGE_CALL };

struct edge {
    uint32_t from, to;
    uint32_t rule; /* EDGE_CALL */
    uint8_t kind, low, high;
};

struct rule {
    uint32_t start, end;
    uint32_t name, name_size; /* in the source; size 0: a part without a name */
    size_t where;             /* of its definition, or of its first use */
    bool defined, nullable;
};

struct grammar {
    uint32_t n_states, n_edges, n_rules, root;
    struct edge *edges; /* [n_edges] by state, after grammar_finish */
    uint32_t *first;    /* [n_states + 1] into edges */
    uint32_t *accepts;  /* [n_states] the rule that ends here, or GRAMMAR_NONE */
    struct rule *rules;
};

struct builder {
    struct grammar *g;
    uint32_t edges_room, rules_room;
    const bool *bytes; /* [256] or NULL */
    bool full, no_memory;
    uint32_t *names; /* [names_room] open addressing: rule + 1, or 0 */
    uint32_t names_room, n_names;
    const char *text;
    size_t size;
};

struct range { /* of code points, both included */
    uint32_t low, high;
};

/* build.c. After `full` or `no_memory` additions do nothing. */
uint32_t build_state(struct builder *b);
void build_free(struct builder *b, uint32_t from, uint32_t to);
void build_call(struct builder *b, uint32_t from, uint32_t rule, uint32_t to);
void build_range(struct builder *b, uint32_t from, struct range range, uint32_t to);
/* The rule of this name, made at its first mention. */
uint32_t build_name(struct builder *b, size_t at, size_t size);
/* The part from *start to *end, min..max times (max GRAMMAR_NONE: without end). */
void build_repeat(struct builder *b, uint32_t *start, uint32_t *end, uint32_t min, uint32_t max);

/* parse.c */
enum packllm_status grammar_parse(struct builder *b, struct packllm_error *err);
/* The error at a byte of the source. */
enum packllm_status grammar_error(const struct builder *b, size_t at, struct packllm_error *err,
                                  const char *format, ...) __attribute__((format(printf, 4, 5)));
/* check.c: sorts the edges, takes out what leads nowhere, refuses left recursion. */
enum packllm_status grammar_finish(struct builder *b, struct packllm_error *err);

#endif
