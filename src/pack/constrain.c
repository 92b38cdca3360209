/* constrain.c - the reply as a text of a grammar: which bytes, which tokens may come next.
 *
 * The grammar is compiled twice. At the opening, to refuse what is wrong with it. At each prompt for
 * the display member: only bytes that it has a token for are left, so that whatever the grammar
 * allows can be written, and there is always a next token.
 */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "grammar/grammar.h"

enum { SCHEMA_GRAMMAR_MAX = 1 << 20 }; /* bytes of a grammar made from a schema */

struct constraint {
    struct buf text; /* of the grammar */
    const struct prefix_tree *tree;
    struct grammar *grammar; /* for the tokens of tree, or for all bytes */
    struct grammar_state *state;
    bool or_text; /* free text is allowed, too */
    bool begun;   /* the first byte that is no white space was chosen */
    bool is_text; /* and it was not JSON's */
};

static enum packllm_status compile(struct constraint *c, const bool *bytes,
                                   struct packllm_error *err) {
    struct grammar *grammar = NULL;
    struct grammar_state *state = NULL;
    enum packllm_status status =
        grammar_open(&grammar, c->text.data != NULL ? c->text.data : "", c->text.size, bytes, err);
    if (status >= 0) {
        status = grammar_state_open(&state, grammar, err);
    }
    if (status < 0) {
        grammar_close(grammar);
        return status;
    }
    grammar_state_close(c->state);
    grammar_close(c->grammar);
    c->grammar = grammar;
    c->state = state;
    return PACKLLM_OK;
}

enum packllm_status constraint_open(struct constraint **out, const char *grammar,
                                    const char *json_schema, bool or_text,
                                    struct packllm_error *err) {
    *out = NULL;
    if (grammar == NULL && json_schema == NULL) {
        return PACKLLM_OK;
    }
    if (grammar != NULL && json_schema != NULL) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "a grammar and a JSON schema are given: give up one");
    }
    struct constraint *c = alloc_zero(1, sizeof *c);
    if (c == NULL) {
        return fail_memory(err, sizeof *c);
    }
    buf_init(&c->text, SCHEMA_GRAMMAR_MAX);
    enum packllm_status status = PACKLLM_OK;
    if (json_schema != NULL) {
        status = grammar_from_schema(&c->text, json_schema, strlen(json_schema), or_text, err);
        c->or_text = or_text;
    } else if (!buf_add_text(&c->text, grammar)) {
        status = strlen(grammar) > SCHEMA_GRAMMAR_MAX
                     ? fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                            "the grammar is longer than %d bytes", SCHEMA_GRAMMAR_MAX)
                     : fail_memory(err, strlen(grammar));
    }
    if (status >= 0) {
        struct packllm_error why = {0};
        status = compile(c, NULL, &why);
        if (status < 0 && json_schema != NULL) {
            status = fail(err, status, PACKLLM_NO_MEMBER,
                          "JSON schema: nothing satisfies it, or it is too large, or a $ref leads "
                          "straight back to itself (%s)",
                          why.message);
        } else if (status < 0 && err != NULL) {
            *err = why;
        }
    }
    if (status < 0) {
        constraint_close(c);
        return status;
    }
    *out = c;
    return PACKLLM_OK;
}

void constraint_close(struct constraint *c) {
    if (c != NULL) {
        grammar_state_close(c->state);
        grammar_close(c->grammar);
        buf_done(&c->text);
        base_free(c);
    }
}

enum packllm_status constraint_begin(struct constraint *c, const struct prefix_tree *tree,
                                     const char *member, struct packllm_error *err) {
    c->begun = c->is_text = false;
    if (tree == c->tree) {
        grammar_state_reset(c->state);
        return grammar_state_status(c->state, err);
    }
    bool bytes[256] = {false};
    struct packllm_error why = {0};
    for (uint32_t rank = 0; tree != NULL && rank < tree->n; rank++) {
        int32_t id = tree->ids[rank];
        if (vocab_size(tree->table, id) == 1) {
            bytes[vocab_bytes(tree->table, id)[0]] = true;
        }
    }
    enum packllm_status status = compile(c, tree != NULL ? bytes : NULL, &why);
    if (status < 0) {
        return fail(err, status, PACKLLM_NO_MEMBER, "member '%s': %s", member, why.message);
    }
    c->tree = tree;
    return PACKLLM_OK;
}

enum packllm_status constraint_take(struct constraint *c, const char *bytes, size_t size,
                                    struct packllm_error *err) {
    for (size_t i = 0; i < size; i++) {
        if (!grammar_state_push(c->state, (uint8_t)bytes[i])) {
            enum packllm_status status = grammar_state_status(c->state, err);
            return status < 0 ? status
                              : fail(err, PACKLLM_E_INTERNAL, PACKLLM_NO_MEMBER,
                                     "a byte was chosen that the grammar does not allow");
        }
        if (c->or_text && !c->begun && memchr(" \t\r\n", bytes[i], 4) == NULL) {
            c->begun = true;
            c->is_text = bytes[i] != '{';
        }
    }
    return PACKLLM_OK;
}

enum packllm_status constraint_status(const struct constraint *c, struct packllm_error *err) {
    return grammar_state_status(c->state, err);
}

bool constraint_may_end(const struct constraint *c) {
    return grammar_state_may_end(c->state);
}

bool constraint_must_end(const struct constraint *c) {
    const uint64_t *mask = grammar_state_allowed(c->state);
    return (mask[0] | mask[1] | mask[2] | mask[3]) == 0;
}

bool constraint_is_text(const struct constraint *c) {
    return c->is_text;
}

bool constraint_allows(const struct constraint *c, uint8_t byte) {
    return grammar_mask_has(grammar_state_allowed(c->state), byte);
}

bool constraint_fits(struct constraint *c, const uint8_t *bytes, size_t size) {
    size_t n = 0;
    while (n < size && grammar_state_push(c->state, bytes[n])) {
        n++;
    }
    grammar_state_pop(c->state, n);
    return n == size;
}

/* ---- all tokens that fit ------------------------------------------------------------------------ */

struct walk {
    struct constraint *c;
    uint32_t *ranks;
    size_t n;
    size_t budget; /* bytes that may still be tried */
};

static bool step(struct walk *w, uint8_t byte) {
    if (!constraint_allows(w->c, byte) || w->budget == 0) {
        return false;
    }
    w->budget--;
    return grammar_state_push(w->c->state, byte);
}

static void walk_node(struct walk *w, const struct prefix_node *node, uint32_t depth) {
    const struct prefix_tree *tree = w->c->tree;
    for (uint32_t k = 0; k < node->ending; k++) {
        w->ranks[w->n++] = node->low + k;
    }
    for (uint32_t k = node->first_child; k < node->first_child + node->n_children; k++) {
        if (!step(w, tree->child_byte[k])) {
            continue;
        }
        if (tree->child_node[k] != UINT32_MAX) {
            walk_node(w, &tree->nodes[tree->child_node[k]], depth + 1);
        } else {
            int32_t id = tree->ids[tree->child_low[k]];
            uint32_t size = vocab_size(tree->table, id), at = depth + 1;
            while (at < size && step(w, vocab_bytes(tree->table, id)[at])) {
                at++;
            }
            if (at == size) {
                w->ranks[w->n++] = tree->child_low[k];
            }
            grammar_state_pop(w->c->state, at - depth - 1);
        }
        grammar_state_pop(w->c->state, 1);
    }
}

bool constraint_list(struct constraint *c, size_t budget, uint32_t *ranks, size_t *out_n) {
    struct walk w = {.c = c, .ranks = ranks, .budget = budget};
    if (c->tree->n_nodes > 0) {
        walk_node(&w, &c->tree->nodes[0], 0);
    }
    *out_n = w.n;
    return w.budget > 0;
}
