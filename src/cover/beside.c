/* beside.c - several texts of one member at once, for reading alone. Each is a cover of its own that has
 * neither lanes nor a context: the main one evaluates for all. A row goes to every text that has its
 * history and wants it (lane.c), so a common beginning is evaluated once though the texts part behind it;
 * and in each round of ends the requests of all texts make one batch, since a batch of few rows costs
 * nearly as much as one of many. */
#include <assert.h>

#include "base/alloc.h"
#include "base/status.h"
#include "cover/private.h"

/* Texts that there are stay: they keep what they share with the next ones. */
static enum packllm_status beside_open(struct cover *c, size_t n, struct packllm_error *err) {
    if (c->beside == NULL) {
        c->beside = alloc_zero(COVER_BESIDE_MOST, sizeof *c->beside);
    }
    while (c->beside != NULL && c->n_beside < n) {
        struct cover *b = alloc_zero(1, sizeof *b);
        if (b == NULL) {
            return fail_memory(err, sizeof *b);
        }
        b->main = c;
        b->member = c->member;
        b->tree = c->tree;
        b->all = c->all;
        b->lead = c->lead;
        b->line_ends = SIZE_MAX;
        b->pairs = c->pairs;
        c->beside[c->n_beside++] = b;
    }
    return c->beside != NULL ? PACKLLM_OK : fail_memory(err, COVER_BESIDE_MOST * sizeof *c->beside);
}

static enum packllm_status set_text(struct cover *b, const struct cover_text *text,
                                    struct packllm_error *err) {
    const struct cover *c = b->main;
    b->epsilon = c->epsilon;
    b->settled = false;
    enum packllm_status status = cover_set_prefix(b, c->prefix, c->n_prefix, err);
    cover_set_line_ends(b, c->line_ends == SIZE_MAX ? SIZE_MAX : c->line_ends - c->lead);
    return status >= 0 ? cover_set_text(b, text->text, text->size, err) : status;
}

/* Rows of the chains, then those that the walks ask for. */
static enum packllm_status evaluate(struct cover *c, struct cover **texts, size_t n,
                                    struct packllm_error *err) {
    struct cover_node *targets[2 * COVER_BESIDE_MOST];
    size_t n_targets = 0;
    for (size_t k = 0; k < n; k++) {
        size_t i = texts[k]->n_chain - 1;
        while (i > 0 && !texts[k]->chain[i]->wanted) {
            i--;
        }
        if (texts[k]->root != texts[k]->chain[0]) {
            targets[n_targets++] = texts[k]->root;
        }
        targets[n_targets++] = texts[k]->chain[i];
    }
    c->together = texts;
    c->n_together = n;
    enum packllm_status status = cover_keep_lane(texts[0], err);
    if (status >= 0) {
        status = lane_evaluate(c, targets, n_targets, err);
    }
    for (int round = 0; round < COVER_ROUNDS && status >= 0; round++) {
        c->n_request = 0;
        for (size_t k = 0; k < n && status >= 0; k++) {
            size_t before = c->n_request;
            status = texts[k]->settled ? PACKLLM_OK : cover_walk(texts[k], NULL, NULL, err);
            texts[k]->settled = c->n_request == before;
        }
        if (status < 0 || c->n_request == 0) {
            break;
        }
        status = lane_evaluate(c, c->request, c->n_request, err);
    }
    c->n_together = 0;
    return status;
}

enum packllm_status cover_sync_beside(struct cover *c, const struct cover_text *texts, size_t n,
                                      struct packllm_error *err) {
    assert(c->main == NULL && n > 0 && n <= COVER_BESIDE_MOST);
    enum packllm_status status = beside_open(c, n, err);
    for (size_t k = 0; k < n && status >= 0; k++) {
        status = set_text(c->beside[k], &texts[k], err);
    }
    if (status >= 0) {
        status = evaluate(c, c->beside, n, err);
        if (status == PACKLLM_E_CONTEXT) { /* no room for all at once: one after the other */
            status = PACKLLM_OK;
            for (size_t k = 0; k < n && status >= 0; k++) {
                cover_forget(c->beside[k]);
                status = set_text(c->beside[k], &texts[k], err);
                status = status >= 0 ? evaluate(c, &c->beside[k], 1, err) : status;
            }
        }
    }
    for (size_t k = 0; k < c->n_beside && status < 0; k++) {
        cover_forget(c->beside[k]);
    }
    return status;
}

struct cover *cover_beside(struct cover *c, size_t k) {
    assert(k < c->n_beside);
    return c->beside[k];
}
