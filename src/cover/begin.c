/* begin.c - a text that ends inside a token: which histories are live there, with which bytes behind
 * them, and going on by a token that begins with those bytes. */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "cover/private.h"

/* Bytes that are walked: to read their other ends, and to tell whether that is needed, by the rows that
 * there are. */
enum { TAIL = 64, TAIL_TOLD = 32 };

static_assert((int)COVER_BEGUN_MOST == (int)FRONT_OPEN, "one for each open cover");

/* Where a row is not there any more the place was not kept either. */
static bool usable(const struct cover *c, const struct cover_open *o) {
    return o->node->row != NULL && o->place.depth == c->size - o->node->at;
}

/* The share of the text that the cover stands for. */
static double share(const struct cover *c, const struct cover_open *o) {
    double ending, longer;
    int32_t token;
    node_here(c, o, c->front.x, &ending, &longer, &token);
    return o->w * longer;
}

size_t cover_begun(const struct cover *c, struct cover_begun *out) {
    double shares[FRONT_OPEN];
    size_t n = 0;
    for (unsigned i = 0; i < c->front.n_open && c->front.x == c->size && !c->front.lost; i++) {
        const struct cover_open *o = &c->front.open[i];
        if (!usable(c, o)) {
            continue;
        }
        double mine = share(c, o);
        size_t at = n++;
        for (; at > 0 && shares[at - 1] < mine; at--) {
            shares[at] = shares[at - 1];
            out[at] = out[at - 1];
        }
        shares[at] = mine;
        /* A token that is exactly those bytes would have ended: another history has that. */
        uint32_t ending = o->place.depth > 0 ? prefix_ending(c->tree, &o->place) : 0;
        out[at] = (struct cover_begun){.row = row_told(o->node->row),
                                       .place = o->place,
                                       .low = o->place.low + ending,
                                       .w = o->w,
                                       .index = i};
    }
    return n;
}

double cover_ends(const struct cover *c) {
    const struct cover_view *f = &c->front;
    double ends = f->lost ? 1.0 : 0.0;
    for (unsigned i = 0; i < f->n_open && !f->lost; i++) {
        ends += f->open[i].node->at == f->x ? f->open[i].w : 0.0;
    }
    for (unsigned i = 0; i < f->n_parked && !f->lost; i++) {
        ends += f->parked[i].at == f->x ? f->parked[i].w : 0.0;
    }
    return ends;
}

double cover_ended(const struct cover *c) {
    double ended = 0.0, all = 0.0;
    for (unsigned i = 0; i < c->front.n_open && !c->front.lost; i++) {
        const struct cover_open *o = &c->front.open[i];
        double mine = share(c, o);
        all += mine;
        ended += o->node->at == c->front.x ? mine : 0.0;
    }
    return all > 0.0 ? ended / all : 1.0;
}

/* Where a walk over the last bytes begins: what begins further back hardly reaches the end. NULL:
 * what follows from its row is not known. */
static struct cover_node *tail_start(const struct cover *c, size_t tail) {
    size_t first = c->n_chain;
    while (first > 0 && c->chain[first - 1]->at + tail > c->size) {
        first--;
    }
    first = first > 0 ? first - 1 : 0;
    bool known = c->n_chain > 0 && c->size == c->known && node_ready(c->chain[first]);
    return known ? c->chain[first] : NULL;
}

/* The walk from there, on the rows that there are; others are asked for. Bytes count from `counted` on. */
static enum packllm_status walk_tail(struct cover *c, const struct cover_node *counted,
                                     struct cover_node *start, struct packllm_error *err) {
    uint64_t resyncs = c->resyncs;
    enum packllm_status status = PACKLLM_OK;
    front_count_anew(c);
    for (size_t x = counted->at; x < start->at; x++) {
        front_count(c, (uint8_t)c->text[x]);
    }
    c->n_request = 0;
    front_start(c, &c->front, start);
    front_ready(c);
    for (size_t x = start->at; x < c->known && status >= 0; x++) {
        c->p_last[x] = front_step(c, &c->front, (uint8_t)c->text[x], &c->front);
        front_count(c, (uint8_t)c->text[x]);
        status = settle_front(c, true, err);
    }
    c->resyncs = resyncs;
    return status;
}

enum packllm_status cover_ended_told(struct cover *c, double *out_share,
                                     struct packllm_error *err) {
    struct cover_node *counted = tail_start(c, TAIL), *start = tail_start(c, TAIL_TOLD);
    double ended = 0.0, all = 0.0;
    *out_share = 1.0;
    if (counted == NULL || start == NULL) {
        return PACKLLM_OK;
    }
    enum packllm_status status = walk_tail(c, counted, start, err);
    for (size_t i = 0; i < c->n_request; i++) {
        c->request[i]->wanted = false; /* nobody evaluates them */
    }
    c->n_request = 0;
    for (unsigned i = 0; i < c->front.n_open && !c->front.lost; i++) {
        double mine = share(c, &c->front.open[i]);
        all += mine;
        ended += c->front.open[i].node->at == c->front.x ? mine : 0.0;
    }
    for (unsigned i = 0; i < c->front.n_parked && !c->front.lost; i++) {
        all += c->front.parked[i].w;
    }
    *out_share = all > 0.0 ? ended / all : 1.0;
    return status;
}

enum packllm_status cover_read_tail(struct cover *c, bool *out_read, struct packllm_error *err) {
    struct cover_node *start = tail_start(c, TAIL);
    *out_read = start != NULL;
    if (start == NULL) {
        return PACKLLM_OK;
    }
    enum packllm_status status = walk_tail(c, start, start, err);
    for (size_t round = 0; round < TAIL && status >= 0 && c->n_request > 0; round++) {
        status = lane_evaluate(c, c->request, c->n_request, err);
        status = status >= 0 ? walk_tail(c, start, start, err) : status;
    }
    return status;
}

/* Writes what the text does not have of the token behind it; the caller says whether it stays. */
static enum packllm_status write_rest(struct cover *c, const struct cover_node *node, int32_t token,
                                      size_t *out_rest, struct packllm_error *err) {
    const struct vocab_table *table = &c->member->table;
    size_t skip = c->size - node->at, size = vocab_size(table, token);
    assert(vocab_is_text(table, token) && size > skip);
    enum packllm_status status = cover_reserve(c, c->size + size - skip, err);
    if (status >= 0) {
        memcpy(c->text + c->size, vocab_bytes(table, token) + skip, size - skip);
        *out_rest = size - skip;
    }
    return status;
}

enum packllm_status cover_check_begun(struct cover *c, const struct cover_begun *begun,
                                      int32_t token, bool *canonical, struct packllm_error *err) {
    struct cover_node *parent = c->front.open[begun->index].node;
    size_t rest = 0;
    enum packllm_status status = write_rest(c, parent, token, &rest, err);
    struct cover_node node = {.parent = parent, .token = token, .at = c->size + rest};
    if (status >= 0) {
        status = canon_check(c, &node, err);
    }
    *canonical = node.valid != NODE_INVALID;
    return status;
}

/* One history from here on, alone in the member's memory: see cover_narrow. The text ends with it. */
static enum packllm_status stand(struct cover *c, struct cover_node *node,
                                 struct packllm_error *err) {
    int32_t *path = alloc_array((size_t)node->n_tokens + 1, sizeof *path);
    size_t size = c->size;
    if (path == NULL) {
        return fail_memory(err, node->n_tokens * sizeof *path);
    }
    lane_path(c, node, path);
    lane_keep_best(c, path, node->n_tokens);
    base_free(path);
    c->size = node->at;
    node->valid = NODE_VALID;
    enum packllm_status status = node->row == NULL ? node_revive(c, node, err) : PACKLLM_OK;
    if (status < 0) {
        c->size = size;
        return status;
    }
    front_start(c, &c->front, node);
    node_sweep(c);
    return PACKLLM_OK;
}

enum packllm_status cover_take_begun(struct cover *c, unsigned index, int32_t token,
                                     struct packllm_error *err) {
    struct cover_node *parent = c->front.open[index].node;
    size_t rest = 0;
    enum packllm_status status = write_rest(c, parent, token, &rest, err);
    struct cover_node *node = status >= 0 ? node_get(c, parent, token, c->size + rest, err) : NULL;
    if (node == NULL) {
        return status < 0 ? status : PACKLLM_E_MEMORY;
    }
    return stand(c, node, err);
}

enum packllm_status cover_take_same(struct cover *c, const struct cover *from,
                                    struct packllm_error *err) {
    const struct cover_node *last = from->front.open[0].node;
    size_t n = 0;
    for (const struct cover_node *node = last; node->parent != NULL; node = node->parent) {
        n++;
    }
    assert(c->lead == from->lead && from->front.n_open == 1 && last->at == from->size);
    const struct cover_node **theirs = alloc_array(n + 1, sizeof(struct cover_node *));
    enum packllm_status status =
        theirs != NULL ? cover_reserve(c, from->size, err) : fail_memory(err, n * sizeof *theirs);
    struct cover_node *node = c->root;
    if (status >= 0) {
        memcpy(c->text, from->text, from->size);
        for (size_t k = n; k-- > 0; last = last->parent) {
            theirs[k] = last;
        }
    }
    for (size_t k = 0; k < n && status >= 0; k++) {
        node = node_get(c, node, theirs[k]->token, theirs[k]->at, err);
        status = node != NULL ? PACKLLM_OK : PACKLLM_E_MEMORY;
    }
    base_free(theirs);
    return status < 0 ? status : stand(c, node, err);
}
