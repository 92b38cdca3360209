/* lane.c - the row provider: which of the member's sequences (lanes) a history is evaluated in.
 * A lane knows the tokens it holds; a history goes where it shares the longest beginning: on the
 * tip of that lane, or in a fork of it. What no lane holds any more is evaluated again. */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "cover/private.h"

/* Texts side by side: who shares so many tokens with a batch waits for it. A batch costs about as much as
 * that many rows of it. */
enum { SHARED_LEAST = 4 };

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
            c->lanes[k].tip = NULL;
        }
        c->lanes[k].pinned = false;
    }
}

/* What a row says to a history: what follows it; the text decides whether the row is kept. */
static enum packllm_status tell_row(struct cover_node *node, const struct cover_row *row,
                                    const float *logits, bool *alive, struct packllm_error *err) {
    struct cover *c = node->cover;
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
            return status;
        }
    }
    if (c->on_place != NULL) {
        enum packllm_status status = feed_tell(c, node, row, err);
        if (status < 0) {
            return status;
        }
    }
    *alive = true;
    if (c->given) {
        *alive = c->on_place == NULL || node == c->chain[0]; /* the end: text will go on from it */
        node->sliced = !*alive; /* it was told, and is not wanted again */
    } else if (c->size == c->known) {
        enum packllm_status status = slice_row(c, node, row, alive, err);
        if (status < 0) {
            return status;
        }
    }
    *alive = *alive && c->main == NULL; /* nobody goes on behind a text beside others */
    return PACKLLM_OK;
}

/* The same history in the k-th of the texts that are read together, if its row is wanted. */
static struct cover_node *twin(const struct cover *c, size_t k, const struct cover_node *node) {
    const struct cover *other = c->together[k];
    struct cover_node *found = node->at <= other->known ? other->at[node->at] : NULL;
    while (found != NULL && !(found->wanted && !node_ready(found) && node_same(found, node))) {
        found = found->same_at;
    }
    return found;
}

static enum packllm_status load_row(struct cover *c, const struct cover_node *node,
                                    const float *logits, float greatest, struct cover_row **out,
                                    struct packllm_error *err) {
    struct cover_row *row = node_spare_row(c, err);
    if (row == NULL) {
        return PACKLLM_E_MEMORY;
    }
    if (!row_load(row, c->tree, logits, greatest)) {
        c->spare[c->n_spare++] = row;
        return fail(err, PACKLLM_E_MODEL, c->member->index,
                    "member '%s': it gives no usable prediction (all tokens impossible, or not a "
                    "number); the file may be damaged",
                    c->member->name);
    }
    if (node->at >= node->cover->line_ends) {
        row_bend(row, c->tree, '\n');
    }
    *out = row;
    return PACKLLM_OK;
}

/* Takes a row in, for all texts that want it. */
static enum packllm_status take_row(struct cover *c, struct cover_node *node, const float *logits,
                                    float greatest, struct packllm_error *err) {
    bool alive = false;
    struct cover_row *row = NULL;
    enum packllm_status status = PACKLLM_OK;
    for (size_t k = 0; k <= c->n_together && status >= 0; k++) {
        struct cover_node *to = k == 0 ? node : twin(c, k - 1, node);
        if (to == NULL || !to->wanted || node_ready(to)) {
            continue; /* two targets of one batch shared it */
        }
        status = row == NULL ? load_row(c, to, logits, greatest, &row, err) : status;
        status = status >= 0 ? tell_row(to, row, logits, &alive, err) : status;
    }
    if (row != NULL && alive && status >= 0) {
        node->row = row;
        c->live[c->n_live++] = node;
    } else if (row != NULL) {
        c->spare[c->n_spare++] = row;
    }
    return status;
}

static enum packllm_status on_row(void *ctx, size_t item, const float *logits,
                                  struct packllm_error *err) {
    struct cover *c = ctx;
    struct cover_batch *b = &c->batch;
    enum packllm_status status = take_row(c, b->node[item], logits, c->kv->greatest, err);
    b->done++;
    if (c->progress != NULL && b->n >= 32 && b->done % 16 == 0) {
        c->progress(c->progress_data, (double)item / (double)b->n);
    }
    return status;
}

static enum packllm_status flush(struct cover *c, struct packllm_error *err) {
    struct cover_batch *b = &c->batch;
    enum packllm_status status = PACKLLM_OK;
    b->done = 0;
    if (b->n > 0) {
        status = member_eval(c->kv, b->items, b->n, on_row, c, err);
    }
    for (uint32_t k = 0; k < c->member->n_seq; k++) {
        if (b->tip[k] != NULL) {
            c->lanes[k].n = status >= 0 ? b->tip[k]->n_tokens : c->kv->length[k];
            c->lanes[k].tip = status >= 0 && b->tip[k]->cover == c ? b->tip[k] : NULL;
            c->lanes[k].pinned = b->tip[k]->cover != c && b->tip[k]->on_chain;
            b->tip[k] = NULL;
        }
    }
    b->n = 0;
    return status;
}

/* A lane to write to: not busy, not `src`, not the longest (all others branch off it), of the rest
 * the one that was used longest ago; a pinned one only where nothing is gained by waiting for others. */
static int32_t oldest(const struct cover *c, int32_t src) {
    int32_t found = -1;
    uint32_t main_lane = 0;
    for (uint32_t k = 1; k < c->member->n_seq; k++) {
        main_lane = c->lanes[k].n > c->lanes[main_lane].n ? k : main_lane;
    }
    for (int pinned = 0; pinned <= (c->batch.n == 0 ? 1 : 0) && found < 0; pinned++) {
        for (uint32_t k = 0; k < c->member->n_seq; k++) {
            if (c->batch.tip[k] == NULL && (int32_t)k != src && k != main_lane &&
                c->lanes[k].pinned == (pinned > 0) &&
                (found < 0 || c->lanes[k].used < c->lanes[found].used)) {
                found = (int32_t)k;
            }
        }
    }
    return found;
}

static enum packllm_status too_long(const struct cover *c, struct packllm_error *err) {
    return fail(err, PACKLLM_E_CONTEXT, c->member->index,
                "member '%s': its context of %u tokens is full; a larger one can be asked for "
                "with -c",
                c->member->name, (unsigned)c->member->n_ctx);
}

/* Room for n items more. */
static enum packllm_status reserve(struct cover_batch *b, size_t n, struct packllm_error *err) {
    if (b->n + n <= b->room) {
        return PACKLLM_OK;
    }
    size_t room = (b->n + n) * 2;
    struct member_item *items = alloc_resize(b->items, room, sizeof *items);
    b->items = items != NULL ? items : b->items;
    struct cover_node **nodes = alloc_resize(b->node, room, sizeof *nodes);
    b->node = nodes != NULL ? nodes : b->node;
    if (items == NULL || nodes == NULL) {
        return fail_memory(err, room * sizeof *items);
    }
    b->room = room;
    return PACKLLM_OK;
}

/* How many of the target's tokens the batch brings into one lane more than `shared`; in *covered, whether
 * that lane will show all the rows that are wanted on the way to the target. Then they are asked for. */
static uint32_t pending(struct cover *c, struct cover_node *target, uint32_t first, uint32_t shared,
                        bool *covered) {
    struct cover_batch *b = &c->batch;
    uint32_t most = shared;
    *covered = false;
    for (uint32_t k = 0; k < c->member->n_seq && !*covered; k++) {
        const struct cover_node *tip = b->tip[k];
        const int32_t *tokens = c->lanes[k].tokens;
        uint32_t n = 0;
        while (tip != NULL && n < tip->n_tokens && n < target->n_tokens &&
               tokens[n] == b->path[n]) {
            n++;
        }
        most = n > most ? n : most;
        if (n < target->n_tokens || first < c->lanes[k].n) {
            continue;
        }
        while (tip->n_tokens > n) {
            tip = tip->parent;
        }
        *covered = node_same(tip, target);
        for (size_t i = 0; i < b->n && *covered; i++) {
            for (const struct cover_node *node = target; node != NULL; node = node->parent) {
                b->items[i].want_row |= b->items[i].seq == (int32_t)k && node->wanted &&
                                        b->node[i] != NULL && node_same(node, b->node[i]);
            }
        }
    }
    return most - shared;
}

static enum packllm_status add(struct cover *c, struct cover_node *target,
                               struct packllm_error *err) {
    struct cover_batch *b = &c->batch;
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
        return too_long(c, err);
    }
    int32_t *path = b->path;
    lane_path(c, target, path);
    int32_t src = -1;
    uint32_t shared = 0;
    for (uint32_t k = 0; k < c->member->n_seq; k++) {
        uint32_t length = common(&c->lanes[k], path, first);
        if (src < 0 || length > shared || (length == shared && c->lanes[k].n == length)) {
            if (b->tip[k] == NULL || length > shared) {
                src = (int32_t)k;
                shared = length;
            }
        }
    }
    bool covered = false;
    if (c->n_together > 0 && pending(c, target, first, shared, &covered) >= SHARED_LEAST &&
        !covered) {
        enum packllm_status status = flush(c, err);
        return status < 0 ? status : add(c, target, err);
    }
    if (covered) {
        return PACKLLM_OK;
    }
    int32_t dst = src;
    if (b->tip[src] != NULL || c->lanes[src].n != shared) {
        dst = oldest(c, src);
        if (dst < 0) {
            enum packllm_status status = flush(c, err);
            return status < 0 ? status : add(c, target, err);
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
    lane->tip = NULL;
    lane->used = ++c->stamp;
    c->lanes[src].used = c->stamp;
    b->tip[dst] = target;
    enum packllm_status status = reserve(b, n - shared, err);
    if (status < 0) {
        return status;
    }
    for (uint32_t k = shared; k < n; k++) {
        b->items[b->n + k - shared] = (struct member_item){.token = path[k], .seq = dst};
        b->node[b->n + k - shared] = NULL; /* of a prefix */
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

/* Text that is written token by token: the target is one token behind what a lane holds. The same as
 * add, without a look at all the tokens before. False: it is not so. */
static bool add_to_tip(struct cover *c, struct cover_node *target) {
    struct cover_batch *b = &c->batch;
    uint32_t k = c->member->n_seq;
    if (target->parent == NULL || target->n_tokens > c->member->n_ctx || b->room == 0 ||
        !target->wanted || node_ready(target)) {
        return false;
    }
    while (k-- > 0 && c->lanes[k].tip != target->parent) {
    }
    if (k >= c->member->n_seq) {
        return false;
    }
    struct cover_lane *lane = &c->lanes[k];
    assert(lane->n + 1 == target->n_tokens);
    lane->tokens[lane->n] = target->token;
    lane->tip = NULL;
    lane->used = ++c->stamp;
    b->tip[k] = target;
    b->items[0] = (struct member_item){.token = target->token, .seq = (int32_t)k, .want_row = true};
    b->node[0] = target;
    b->n = 1;
    return true;
}

/* A member without a start token says nothing about the first one: all alike. */
static enum packllm_status empty_history(struct cover *c, struct cover_node *root,
                                         struct packllm_error *err) {
    float *zeros = alloc_zero(c->member->table.n, sizeof *zeros);
    if (zeros == NULL) {
        return fail_memory(err, c->member->table.n * sizeof *zeros);
    }
    enum packllm_status status = take_row(c, root, zeros, 0.0F, err);
    base_free(zeros);
    return status;
}

enum packllm_status lane_evaluate(struct cover *c, struct cover_node *const *targets, size_t n,
                                  struct packllm_error *err) {
    struct cover_batch *b = &c->batch;
    enum packllm_status status = PACKLLM_OK;
    bool may_be_empty = c->member->start < 0 && c->n_prefix == 0;
    b->n = 0;
    for (size_t i = 0; i < n && status >= 0; i++) {
        struct cover_node *root = targets[i];
        while (may_be_empty && root->parent != NULL) {
            root = root->parent;
        }
        if (may_be_empty && root->wanted && !node_ready(root)) {
            status = empty_history(c, root, err);
        }
        if (status >= 0 && !(n == 1 && add_to_tip(c, targets[i]))) {
            status = add(c, targets[i], err);
        }
    }
    if (status >= 0) {
        return flush(c, err);
    }
    for (uint32_t k = 0; k < c->member->n_seq; k++) {
        if (b->tip[k] != NULL) {
            c->lanes[k].n = c->kv->length[k];
            b->tip[k] = NULL;
        }
    }
    return status;
}
