/* lane.c - the row provider: which of the member's sequences (lanes) a history is evaluated in.
 * A lane knows the tokens it holds; a history goes where it shares the longest beginning: on the
 * tip of that lane, or in a fork of it. What no lane holds any more is evaluated again. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "cover/private.h"

struct batch {
    struct cover *c;
    struct member_item *items; /* [room] */
    struct cover_node **node;  /* [room] of each item */
    size_t n, room, done;
    uint32_t *grown; /* [n_seq] length of each lane once the batch is evaluated */
    bool *busy;      /* [n_seq] the batch writes to this lane */
};

void lane_path(const struct cover *c, const struct cover_node *node, int32_t *out) {
    for (; node != NULL && node->n_tokens > 0; node = node->parent) {
        out[node->n_tokens - 1] = node->token;
    }
    if (c->n_prefix > 0) {
        memcpy(out, c->prefix, c->n_prefix * sizeof *out);
    }
}

static uint32_t common(const struct cover_lane *lane, const int32_t *tokens, uint32_t n) {
    uint32_t i = 0, most = lane->n < n ? lane->n : n;
    while (i < most && lane->tokens[i] == tokens[i]) {
        i++;
    }
    return i;
}

void lane_keep_best(struct cover *c, const int32_t *tokens, uint32_t n) {
    uint32_t best = 0, length = 0;
    for (uint32_t k = 0; k < c->member->n_seq; k++) {
        uint32_t shared = common(&c->lanes[k], tokens, n);
        if (shared > length) {
            best = k;
            length = shared;
        }
    }
    for (uint32_t k = 0; k < c->member->n_seq; k++) {
        uint32_t keep = k == best ? length : 0;
        if (keep < c->lanes[k].n && member_truncate(c->kv, (int32_t)k, keep, NULL) != PACKLLM_OK) {
            (void)member_truncate(c->kv, (int32_t)k, 0, NULL);
            keep = 0;
        }
        if (c->lanes[k].n > keep) {
            c->lanes[k].n = keep;
        }
    }
}

/* Takes a row in: the history learns what follows, the text decides what is kept. */
static enum packllm_status take_row(struct cover *c, struct cover_node *node, const float *logits,
                                    struct packllm_error *err) {
    if (node_ready(node)) {
        return PACKLLM_OK; /* two targets of one batch shared it */
    }
    struct cover_row *row = node_spare_row(c, err);
    if (row == NULL) {
        return PACKLLM_E_MEMORY;
    }
    if (!row_load(row, c->tree, logits)) {
        c->spare[c->n_spare++] = row;
        return fail(err, PACKLLM_E_MODEL, c->member->index,
                    "member '%s': it gives no usable prediction (all tokens impossible, or not a "
                    "number); the file may be damaged",
                    c->member->name);
    }
    if (node->at >= c->line_ends) {
        row_bend(row, c->tree, '\n');
    }
    node->end = row->end;
    node->log_z = row->log_z;
    node->wanted = false;
    if (node->on_chain && node->n_tokens + 1 - c->chain[0]->n_tokens < c->n_chain) {
        int32_t next = c->chain[node->n_tokens + 1 - c->chain[0]->n_tokens]->token;
        node->nll = row->log_z - (double)logits[next];
        node->nll_full = row->log_full - (double)logits[next];
    }
    if (c->on_token != NULL && node->on_chain && node != c->chain[c->n_chain - 1]) {
        const struct cover_node *next = c->chain[node->n_tokens + 1 - c->chain[0]->n_tokens];
        struct cover_tokens told = row_told(row);
        enum packllm_status status =
            c->on_token(c->on_token_data, node->n_tokens - c->chain[0]->n_tokens, &told,
                        next->token, next->at - c->lead, err);
        if (status < 0) {
            c->spare[c->n_spare++] = row;
            return status;
        }
    }
    bool alive = true;
    if (c->size == c->known) {
        enum packllm_status status = slice_row(c, node, row, &alive, err);
        if (status < 0) {
            c->spare[c->n_spare++] = row;
            return status;
        }
    }
    if (alive) {
        node->row = row;
        c->live[c->n_live++] = node;
    } else {
        c->spare[c->n_spare++] = row;
    }
    return PACKLLM_OK;
}

static enum packllm_status on_row(void *ctx, size_t item, const float *logits,
                                  struct packllm_error *err) {
    struct batch *b = ctx;
    struct cover *c = b->c;
    enum packllm_status status = take_row(c, b->node[item], logits, err);
    b->done++;
    if (c->progress != NULL && b->n >= 32 && b->done % 16 == 0) {
        c->progress(c->progress_data, (double)item / (double)b->n);
    }
    return status;
}

static enum packllm_status flush(struct batch *b, struct packllm_error *err) {
    struct cover *c = b->c;
    enum packllm_status status = PACKLLM_OK;
    if (b->n > 0) {
        status = member_eval(c->kv, b->items, b->n, on_row, b, err);
    }
    for (uint32_t k = 0; k < c->member->n_seq; k++) {
        if (b->busy[k]) {
            c->lanes[k].n = status >= 0 ? b->grown[k] : c->kv->length[k];
            b->busy[k] = false;
        }
    }
    b->n = 0;
    return status;
}

/* A lane to write to: not busy, not `src`, not the longest (all others branch off it), of the rest
 * the one that was used longest ago. */
static int32_t oldest(const struct batch *b, int32_t src) {
    int32_t found = -1;
    uint32_t main_lane = 0;
    for (uint32_t k = 1; k < b->c->member->n_seq; k++) {
        main_lane = b->c->lanes[k].n > b->c->lanes[main_lane].n ? k : main_lane;
    }
    for (uint32_t k = 0; k < b->c->member->n_seq; k++) {
        if (!b->busy[k] && (int32_t)k != src && k != main_lane &&
            (found < 0 || b->c->lanes[k].used < b->c->lanes[found].used)) {
            found = (int32_t)k;
        }
    }
    return found;
}

static enum packllm_status add(struct batch *b, struct cover_node *target, int32_t *path,
                               struct packllm_error *err) {
    struct cover *c = b->c;
    uint32_t n = target->n_tokens, first = n;
    for (struct cover_node *node = target; node != NULL; node = node->parent) {
        if (node->wanted && !node_ready(node) && node->n_tokens > 0) {
            first = node->n_tokens - 1;
        }
    }
    if (first == n) {
        return PACKLLM_OK; /* another target's path brought it */
    }
    if (n > c->member->n_ctx) {
        return fail(err, PACKLLM_E_CONTEXT, c->member->index,
                    "member '%s': its context of %u tokens is full; a larger one can be asked for "
                    "with -c",
                    c->member->name, (unsigned)c->member->n_ctx);
    }
    lane_path(c, target, path);
    int32_t src = -1;
    uint32_t shared = 0;
    for (uint32_t k = 0; k < c->member->n_seq; k++) {
        uint32_t length = common(&c->lanes[k], path, first);
        if (src < 0 || length > shared || (length == shared && c->lanes[k].n == length)) {
            if (!b->busy[k] || length > shared) {
                src = (int32_t)k;
                shared = length;
            }
        }
    }
    int32_t dst = src;
    if (b->busy[src] || c->lanes[src].n != shared) {
        dst = oldest(b, src);
        if (dst < 0) {
            enum packllm_status status = flush(b, err);
            return status < 0 ? status : add(b, target, path, err);
        }
        enum packllm_status status = shared > 0 ? member_fork(c->kv, dst, src, shared, err)
                                                : member_truncate(c->kv, dst, 0, err);
        if (status < 0) {
            return status;
        }
    }
    struct cover_lane *lane = &c->lanes[dst];
    memcpy(lane->tokens, path, n * sizeof *path);
    lane->n = shared;
    lane->used = ++c->stamp;
    c->lanes[src].used = c->stamp;
    b->busy[dst] = true;
    b->grown[dst] = n;
    if (b->n + n - shared > b->room) {
        size_t room = (b->n + n - shared) * 2;
        struct member_item *items = alloc_resize(b->items, room, sizeof *items);
        b->items = items != NULL ? items : b->items;
        struct cover_node **nodes = alloc_resize(b->node, room, sizeof *nodes);
        b->node = nodes != NULL ? nodes : b->node;
        if (items == NULL || nodes == NULL) {
            return fail_memory(err, room * sizeof *items);
        }
        b->room = room;
    }
    for (uint32_t k = shared; k < n; k++) {
        b->items[b->n + k - shared] = (struct member_item){.token = path[k], .seq = dst};
    }
    for (struct cover_node *node = target; node != NULL && node->n_tokens > shared;
         node = node->parent) {
        size_t i = b->n + node->n_tokens - 1 - shared;
        b->items[i].want_row = node->wanted && !node_ready(node);
        b->node[i] = node;
    }
    b->n += n - shared;
    return PACKLLM_OK;
}

/* A member without a start token says nothing about the first one: all alike. */
static enum packllm_status empty_history(struct cover *c, struct cover_node *root,
                                         struct packllm_error *err) {
    float *zeros = alloc_zero(c->member->table.n, sizeof *zeros);
    if (zeros == NULL) {
        return fail_memory(err, c->member->table.n * sizeof *zeros);
    }
    enum packllm_status status = take_row(c, root, zeros, err);
    base_free(zeros);
    return status;
}

enum packllm_status lane_evaluate(struct cover *c, struct cover_node *const *targets, size_t n,
                                  struct packllm_error *err) {
    struct batch b = {.c = c};
    uint32_t n_seq = c->member->n_seq;
    int32_t *path = alloc_array((size_t)c->member->n_ctx + 1, sizeof *path);
    b.grown = alloc_zero(n_seq, sizeof *b.grown);
    b.busy = alloc_zero(n_seq, sizeof *b.busy);
    enum packllm_status status = PACKLLM_OK;
    if (path == NULL || b.grown == NULL || b.busy == NULL) {
        status = fail_memory(err, c->member->n_ctx * sizeof *path);
    }
    for (size_t i = 0; i < n && status >= 0; i++) {
        struct cover_node *root = targets[i];
        while (root->parent != NULL) {
            root = root->parent;
        }
        if (root->wanted && !node_ready(root) && root->n_tokens == 0) {
            status = empty_history(c, root, err);
        }
        if (status >= 0) {
            status = add(&b, targets[i], path, err);
        }
    }
    if (status >= 0) {
        status = flush(&b, err);
    } else if (b.busy != NULL && b.grown != NULL) {
        for (uint32_t k = 0; k < n_seq; k++) {
            c->lanes[k].n = b.busy[k] ? c->kv->length[k] : c->lanes[k].n;
        }
    }
    base_free(path);
    base_free(b.grown);
    base_free(b.busy);
    base_free(b.items);
    base_free(b.node);
    return status;
}
