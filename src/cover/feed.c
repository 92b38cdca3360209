/* feed.c - histories for pools in the tokens of another vocabulary: at places that another tokenizer
 * chose the canonical history of the text before; or tokens as they are given. */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "cover/private.h"

static size_t between_characters(const struct cover *c, size_t x) {
    while (canon_mid_character(c, x)) {
        x--;
    }
    return x;
}

static void link_place(struct cover *c, struct cover_node *node, size_t place) {
    c->next_place[place] = node->place;
    node->place = place + 1;
}

static enum packllm_status places_begin(struct cover *c, size_t n, struct packllm_error *err) {
    base_free(c->next_place);
    c->next_place = alloc_zero(n, sizeof *c->next_place);
    return c->next_place != NULL ? PACKLLM_OK : fail_memory(err, n * sizeof *c->next_place);
}

static void places_end(struct cover *c) {
    for (size_t i = 0; i < c->n_nodes; i++) {
        c->nodes[i]->place = 0;
    }
    c->on_place = NULL;
    c->places = NULL;
    c->n_places = 0;
}

enum packllm_status feed_tell(const struct cover *c, const struct cover_node *node,
                              const struct cover_row *row, struct packllm_error *err) {
    struct cover_tokens told = row_told(row);
    enum packllm_status status = PACKLLM_OK;
    for (size_t k = node->place; k != 0 && status >= 0; k = c->next_place[k - 1]) {
        status = c->on_place(c->on_place_data, k - 1, &told, err);
    }
    return status;
}

enum packllm_status feed_mark(struct cover *c, struct packllm_error *err) {
    size_t at = 0;
    c->n_request = 0;
    for (size_t k = 0; k < c->n_places; k++) {
        size_t x = c->places[k] > 0 ? between_characters(c, c->places[k] + c->lead) : 0;
        while (at + 1 < c->n_chain && c->chain[at + 1]->at <= x) {
            at++;
        }
        struct cover_node *node = c->root;
        enum packllm_status status = PACKLLM_OK;
        if (x > 0) {
            status = canon_prefix(c, c->chain[at]->at <= x ? c->chain[at] : c->root, x, &node, err);
        }
        if (status >= 0) {
            status = node_request(c, node, err); /* those of the chain are wanted already */
        }
        if (status < 0) {
            return status;
        }
        link_place(c, node, k);
    }
    return PACKLLM_OK;
}

enum packllm_status cover_read_places(struct cover *c, const char *text, size_t size,
                                      const size_t *places, size_t n, cover_place_fn visit,
                                      void *data, struct packllm_error *err) {
    assert(visit != NULL);
    enum packllm_status status = places_begin(c, n, err);
    if (status < 0) {
        return status;
    }
    c->on_place = visit;
    c->on_place_data = data;
    c->places = places;
    c->n_places = n;
    status = cover_read_tokens(c, text, size, NULL, NULL, err);
    places_end(c);
    return status;
}

static enum packllm_status given_nodes(struct cover *c, const int32_t *tokens, size_t n,
                                       struct packllm_error *err) {
    struct cover_node *node = node_get(c, NULL, c->member->start, 0, err);
    c->root = node;
    for (size_t k = 0; k < n && node != NULL; k++) {
        link_place(c, node, k);
        node->wanted = true;
        node = tokens[k] >= 0 ? node_get(c, node, tokens[k], node->at + 1, err) : node;
    }
    if (node == NULL) {
        return PACKLLM_E_MEMORY;
    }
    node->wanted = true;
    c->chain[0] = node;
    c->n_chain = 1;
    c->size = c->known = node->at;
    if (node->n_tokens > c->member->n_ctx) {
        return fail_context(
            err, c->member->index, node->n_tokens, c->member->n_ctx,
            "the text is %u tokens, as they are given, and member '%s' has a context of %u; "
            "shorten the text or ask for a larger context (-c)",
            (unsigned)node->n_tokens, c->member->name, (unsigned)c->member->n_ctx);
    }
    struct cover_node *const targets[] = {c->root, node};
    return lane_evaluate(c, targets + (c->root == node), c->root == node ? 1 : 2, err);
}

static enum packllm_status tell_nothing(void *data, size_t place, const struct cover_tokens *row,
                                        struct packllm_error *err) {
    (void)data, (void)place, (void)row, (void)err;
    return PACKLLM_OK;
}

enum packllm_status cover_read_given(struct cover *c, const int32_t *tokens, size_t n,
                                     cover_place_fn visit, void *data, struct packllm_error *err) {
    cover_forget(c);
    enum packllm_status status = cover_reserve(c, n + 1, err);
    if (status >= 0) {
        status = places_begin(c, n, err);
    }
    if (status >= 0 && c->room_chain == 0) {
        c->chain = alloc_array(64, sizeof *c->chain);
        c->room_chain = c->chain != NULL ? 64 : 0;
        status = c->chain != NULL ? status : fail_memory(err, 64 * sizeof *c->chain);
    }
    if (status < 0) {
        return status;
    }
    c->given = true;
    c->on_place = visit != NULL ? visit : tell_nothing;
    c->on_place_data = data;
    status = given_nodes(c, tokens, n, err);
    places_end(c);
    if (status < 0) {
        cover_forget(c);
    }
    return status;
}

static struct cover_node *fed(const struct cover *c) {
    assert(c->front.n_open == 1); /* after cover_narrow */
    return c->front.open[0].node;
}

/* The front stands behind node, and node only. */
static enum packllm_status stand_behind(struct cover *c, struct cover_node *node,
                                        struct packllm_error *err) {
    enum packllm_status status = node->row == NULL ? node_revive(c, node, err) : PACKLLM_OK;
    if (status >= 0) {
        front_start(c, &c->front, node);
        node_sweep(c);
    }
    return status;
}

enum packllm_status cover_follow(struct cover *c, const char *bytes, size_t size,
                                 struct packllm_error *err) {
    enum packllm_status status = cover_reserve(c, c->size + size, err);
    struct cover_node *node = fed(c);
    if (status < 0) {
        return status;
    }
    memcpy(c->text + c->size, bytes, size);
    c->size += size;
    size_t x = between_characters(c, c->size);
    if (x > node->at) {
        status = canon_prefix(c, node, x, &node, err);
    }
    if (status >= 0) {
        status = stand_behind(c, node, err);
    }
    c->size -= status < 0 ? size : 0;
    return status;
}

enum packllm_status cover_feed(struct cover *c, int32_t token, struct packllm_error *err) {
    enum packllm_status status = cover_reserve(c, c->size + 1, err);
    if (status < 0 || token < 0) {
        return status;
    }
    struct cover_node *node = node_get(c, fed(c), token, c->size + 1, err);
    if (node == NULL) {
        return PACKLLM_E_MEMORY;
    }
    status = stand_behind(c, node, err);
    c->size += status >= 0 ? 1 : 0;
    return status;
}

bool cover_row_fed(const struct cover *c, struct cover_tokens *out) {
    const struct cover_node *node = c->front.n_open > 0 ? c->front.open[0].node : NULL;
    if (node == NULL || node->row == NULL) {
        return false;
    }
    *out = row_told(node->row);
    return true;
}
