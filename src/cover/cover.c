/* cover.c - a member's text and its walk, see cover.h. */
#include "cover/cover.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "cover/private.h"

enum packllm_status cover_open(struct cover **out, struct member *member,
                               const struct prefix_tree *tree, double epsilon, bool all,
                               atomic_bool *abort_flag, struct packllm_error *err) {
    struct cover *c = alloc_zero(1, sizeof *c);
    if (c == NULL) {
        return fail_memory(err, sizeof *c);
    }
    c->member = member;
    c->tree = tree;
    c->epsilon = epsilon;
    c->all = all;
    c->lead = member->space_prefix ? 1 : 0;
    c->line_ends = SIZE_MAX;
    c->lanes = alloc_zero(member->n_seq, sizeof *c->lanes);
    enum packllm_status status = PACKLLM_OK;
    c->pairs = alloc_zero(CANON_PAIRS, sizeof *c->pairs);
    c->batch.tip = alloc_zero(member->n_seq, sizeof(struct cover_node *));
    c->batch.path = alloc_array((size_t)member->n_ctx + 1, sizeof *c->batch.path);
    if (c->lanes == NULL || c->pairs == NULL || c->batch.tip == NULL || c->batch.path == NULL) {
        status = fail_memory(err, CANON_PAIRS * sizeof *c->pairs);
    }
    for (uint32_t k = 0; status >= 0 && k < member->n_seq; k++) {
        c->lanes[k].tokens = alloc_array((size_t)member->n_ctx + 1, sizeof(int32_t));
        if (c->lanes[k].tokens == NULL) {
            status = fail_memory(err, member->n_ctx * sizeof(int32_t));
        }
    }
    if (status >= 0) {
        status = member_context_open(member, &c->kv, err);
    }
    if (status < 0) {
        cover_close(c);
        return status;
    }
    c->kv->abort_flag = abort_flag;
    *out = c;
    return PACKLLM_OK;
}

static void row_free(struct cover_row *row) {
    row_done(row);
    base_free(row);
}

void cover_close(struct cover *c) {
    if (c == NULL) {
        return;
    }
    for (size_t i = 0; i < c->n_beside; i++) {
        cover_close(c->beside[i]);
    }
    base_free(c->beside);
    for (size_t i = 0; i < c->n_nodes; i++) {
        if (c->nodes[i]->row != NULL) {
            row_free(c->nodes[i]->row);
        }
        base_free(c->nodes[i]);
    }
    for (size_t i = 0; i < c->n_spare; i++) {
        row_free(c->spare[i]);
    }
    for (uint32_t k = 0; c->lanes != NULL && k < c->member->n_seq; k++) {
        base_free(c->lanes[k].tokens);
    }
    member_context_close(c->kv);
    base_free(c->text);
    base_free(c->nodes);
    base_free(c->at);
    base_free(c->chain);
    base_free(c->slices);
    base_free(c->slice_byte);
    base_free(c->slice_mass);
    base_free(c->lanes);
    base_free(c->batch.items);
    base_free(c->batch.node);
    base_free(c->batch.tip);
    base_free(c->batch.path);
    base_free(c->spare);
    base_free(c->live);
    base_free(c->p_last);
    base_free(c->request);
    base_free(c->next_place);
    base_free(c->tokens);
    base_free(c->prefix);
    base_free(c->main == NULL ? c->pairs : NULL);
    canon_work_done(&c->work);
    base_free(c);
}

void cover_adopt(struct cover *c, double epsilon, atomic_bool *abort_flag) {
    c->epsilon = epsilon; /* it says which ends are opened, and rows do not depend on it */
    c->kv->abort_flag = abort_flag;
    if (c->given) { /* tokens that are no text: nothing of them can be shared */
        cover_forget(c);
    }
}

void cover_set_epsilon(struct cover *c, double epsilon) {
    c->epsilon = epsilon;
}

void cover_set_progress(struct cover *c, cover_progress_fn fn, void *data) {
    c->progress = fn;
    c->progress_data = data;
}

enum packllm_status cover_reserve(struct cover *c, size_t size, struct packllm_error *err) {
    if (size + 8 <= c->room) { /* canon.c looks at what may follow */
        return PACKLLM_OK;
    }
    size_t room = size * 2 + 256, old = c->room;
    char *text = alloc_resize(c->text, room, 1);
    c->text = text != NULL ? text : c->text;
    struct cover_node **at = alloc_resize(c->at, room + 1, sizeof(struct cover_node *));
    c->at = at != NULL ? at : c->at;
    double *p_last = alloc_resize(c->p_last, room + 1, sizeof *p_last);
    c->p_last = p_last != NULL ? p_last : c->p_last;
    if (text == NULL || at == NULL || p_last == NULL) {
        return fail_memory(err, room * (1 + sizeof *at + sizeof *p_last));
    }
    memset(c->at + (old > 0 ? old + 1 : 0), 0,
           (room + 1 - (old > 0 ? old + 1 : 0)) * sizeof(struct cover_node *));
    c->room = room;
    return PACKLLM_OK;
}

/* The canonical histories of c->text as nodes, their rows wanted where they are missing. */
static enum packllm_status make_chain(struct cover *c, struct packllm_error *err) {
    size_t n = 0;
    enum packllm_status status = canon_tokens(c, c->lead, c->size, &n, err);
    if (status < 0) {
        return status;
    }
    struct cover_node *node = node_get(c, NULL, node_first(c), 0, err);
    if (node == NULL) {
        return PACKLLM_E_MEMORY;
    }
    c->root = node;
    if (n + node->n_tokens > c->member->n_ctx) {
        return fail_context(
            err, c->member->index, n + node->n_tokens, c->member->n_ctx,
            "the text is %zu tokens (%zu bytes) for member '%s', whose context holds %u; "
            "shorten the text or ask for a larger context (-c)",
            n + node->n_tokens, c->size - c->lead, c->member->name, (unsigned)c->member->n_ctx);
    }
    if (n + 1 > c->room_chain) {
        struct cover_node **grown = alloc_resize(c->chain, n * 2 + 64, sizeof *grown);
        if (grown == NULL) {
            return fail_memory(err, n * 2 * sizeof *grown);
        }
        c->chain = grown;
        c->room_chain = n * 2 + 64;
    }
    c->n_chain = 0;
    c->chain[c->n_chain++] = node;
    for (size_t i = 0; i < n; i++) {
        status = canon_next(c, &node, c->tokens[i], c->size, err);
        if (status < 0) {
            return status;
        }
        c->n_chain -= c->tokens[i] < 0; /* it takes the place of the one before the gap */
        c->chain[c->n_chain++] = node;
    }
    for (size_t i = 0; i < c->n_chain; i++) {
        /* The last one has no next token to have learnt about; its row is needed to go on, where
         * the text can. */
        node = c->chain[i];
        bool last = i + 1 == c->n_chain, followed = !last && node->on_chain;
        node->on_chain = true;
        node->wanted = last && c->main != NULL ? false : !node_ready(node) || !followed;
        if (node->wanted) {
            node_forget(c, node);
        }
    }
    c->root->wanted = !node_ready(c->root) || c->root->wanted;
    return node->at == c->size || c->size == c->lead
               ? PACKLLM_OK
               : fail(err, PACKLLM_E_TEXT, c->member->index,
                      "member '%s': its vocabulary cannot spell the text (near byte %zu)",
                      c->member->name, node->at);
}

/* Nodes that stood on the old chain keep what they know of their next token only if it is still
 * their next token. */
static size_t chain_kept(const struct cover *c, size_t keep_bytes) {
    size_t n = 0;
    while (n + 1 < c->n_chain && c->chain[n + 1]->at <= keep_bytes &&
           c->chain[n]->at + c->chain[n]->n_slices <= keep_bytes) {
        n++;
    }
    return n;
}

enum packllm_status cover_set_text(struct cover *c, const char *text, size_t size,
                                   struct packllm_error *err) {
    if (c->given) {
        cover_forget(c); /* of those tokens no text is known, so nothing is shared with it */
    }
    size_t total = size + c->lead, keep = 0;
    enum packllm_status status = cover_reserve(c, total, err);
    if (status < 0) {
        return status;
    }
    if (c->known > 0) {
        keep = c->lead;
        while (keep < c->known && keep < total && c->text[keep] == text[keep - c->lead]) {
            keep++;
        }
    }
    /* Rows of the very end said nothing of what comes now: stay a byte behind. */
    size_t kept = chain_kept(c, keep);
    struct cover_node *last = kept > 0 ? c->chain[kept] : NULL;
    int32_t last_token = last != NULL ? last->token : -1;
    struct cover_node *before = kept > 0 ? c->chain[kept - 1] : NULL;
    node_cut(c, keep);
    for (size_t i = 0; i < kept; i++) {
        c->chain[i]->on_chain = true;
    }
    if (c->lead > 0) {
        c->text[0] = ' ';
    }
    if (size > 0) {
        memcpy(c->text + c->lead, text, size);
    }
    c->size = c->known = total;
    status = make_chain(c, err);
    if (status >= 0 && c->on_place != NULL) {
        status = feed_mark(c, err);
    }
    if (status < 0) {
        return status;
    }
    /* If the new tokens part from the old ones, the history before must learn its next one anew. */
    for (size_t i = 0; i + 1 < c->n_chain && before != NULL; i++) {
        if (c->chain[i] == before && c->chain[i + 1]->token != last_token) {
            before->wanted = true;
            node_forget(c, before);
        }
    }
    return PACKLLM_OK;
}

enum packllm_status cover_keep_lane(struct cover *c, struct packllm_error *err) {
    struct cover_node *tip = c->chain[c->n_chain - 1];
    int32_t *path = alloc_array((size_t)tip->n_tokens + 1, sizeof *path);
    if (path == NULL) {
        return fail_memory(err, tip->n_tokens * sizeof *path);
    }
    lane_path(c, tip, path);
    uint32_t first = tip->n_tokens;
    for (size_t i = c->n_chain; i-- > 0;) {
        if (c->chain[i]->wanted && c->chain[i]->n_tokens > 0) {
            first = c->chain[i]->n_tokens - 1;
        }
    }
    lane_keep_best(c->main != NULL ? c->main : c, path, first);
    base_free(path);
    return PACKLLM_OK;
}

static enum packllm_status sync_text(struct cover *c, const char *text, size_t size,
                                     struct packllm_error *err) {
    enum packllm_status status = cover_set_text(c, text, size, err);
    if (status >= 0) {
        status = cover_keep_lane(c, err);
    }
    if (status < 0) {
        return status;
    }
    struct cover_node *tip = c->chain[c->n_chain - 1];
    struct cover_node *const first_rows[] = {c->root, tip};
    status = lane_evaluate(c, first_rows + (c->root == c->chain[0]), c->root != c->chain[0] ? 2 : 1,
                           err);
    if (status >= 0 && c->on_place != NULL && c->n_request > 0) {
        status = lane_evaluate(c, c->request, c->n_request, err);
    }
    for (int round = 0; round < COVER_ROUNDS && status >= 0 && !c->tokens_only; round++) {
        c->n_request = 0;
        status = cover_walk(c, NULL, NULL, err);
        if (status < 0 || c->n_request == 0) {
            break;
        }
        status = lane_evaluate(c, c->request, c->n_request, err);
    }
    return status;
}

enum packllm_status cover_set_prefix(struct cover *c, const int32_t *tokens, size_t n,
                                     struct packllm_error *err) {
    if (n == c->n_prefix && (n == 0 || memcmp(tokens, c->prefix, n * sizeof *tokens) == 0)) {
        return PACKLLM_OK;
    }
    if (n >= c->member->n_ctx) {
        return fail(err, PACKLLM_E_CONTEXT, c->member->index,
                    "the text stands behind %zu tokens of member '%s', whose context holds %u; ask "
                    "for a larger context (-c)",
                    n, c->member->name, (unsigned)c->member->n_ctx);
    }
    int32_t *copy = alloc_array(n, sizeof *copy);
    if (copy == NULL) {
        return fail_memory(err, n * sizeof *copy);
    }
    if (n > 0) {
        memcpy(copy, tokens, n * sizeof *copy);
    }
    node_drop_all(c);
    c->told = false;
    base_free(c->prefix);
    c->prefix = copy;
    c->n_prefix = (uint32_t)n;
    return PACKLLM_OK;
}

void cover_set_line_ends(struct cover *c, size_t from) {
    size_t at = from == SIZE_MAX ? from : from + c->lead;
    size_t low = at < c->line_ends ? at : c->line_ends;
    for (size_t i = 0; i < c->n_nodes && at != c->line_ends; i++) {
        if (c->nodes[i]->at >= low) {
            node_forget(c, c->nodes[i]); /* it was, or was not, bent */
        }
    }
    c->line_ends = at;
}

void cover_forget(struct cover *c) {
    for (size_t i = 0; i < c->n_beside; i++) {
        cover_forget(c->beside[i]);
    }
    node_cut(c, 0);
    for (size_t i = 0; i < c->n_nodes; i++) {
        node_forget(c, c->nodes[i]);
    }
    slice_compact(c);
    c->size = c->known = 0;
    c->n_chain = 0;
    c->given = c->told = false;
    c->front.n_open = c->front.n_parked = 0;
    if (c->main != NULL) {
        return; /* the lanes are not its own */
    }
    lane_keep_best(c, NULL, 0);
    for (uint32_t k = 0; k < c->member->n_seq; k++) {
        c->lanes[k].used = 0; /* the same choices of lanes as in a new cover: the same sums */
    }
    c->stamp = 0;
}

enum packllm_status cover_sync(struct cover *c, const char *text, size_t size,
                               struct packllm_error *err) {
    if (size == 0 && c->n_prefix == 0) {
        return fail(err, PACKLLM_E_TEXT, c->member->index, "the text is empty");
    }
    /* Of the same text the rows were given already. */
    bool told = c->told && size > 0 && size + c->lead == c->known &&
                memcmp(c->text + c->lead, text, size) == 0;
    c->told = false;
    enum packllm_status status = sync_text(c, text, size, err);
    c->told = told && status >= 0;
    if (status < 0) {
        cover_forget(c);
    }
    return status;
}

void cover_set_rows(struct cover *c, cover_token_fn visit, void *data) {
    c->on_token = visit;
    c->on_token_data = data;
}

size_t cover_chain(const struct cover *c, int32_t *out_last) {
    *out_last = c->n_chain > 1 ? c->chain[c->n_chain - 1]->token : -1;
    return c->n_chain > 0 ? c->n_chain - 1 : 0;
}

enum packllm_status cover_read_tokens(struct cover *c, const char *text, size_t size, bool go_on,
                                      cover_token_fn visit, void *data, struct packllm_error *err) {
    if (!go_on || !c->told) {
        cover_forget(c); /* rows that are known already are not given */
    }
    cover_set_rows(c, visit, data);
    c->tokens_only = true;
    enum packllm_status status = cover_sync(c, text, size, err);
    cover_set_rows(c, NULL, NULL);
    c->tokens_only = false;
    c->told = go_on && status >= 0;
    return status;
}

enum packllm_status cover_walk(struct cover *c, cover_visit_fn visit, void *data,
                               struct packllm_error *err) {
    return cover_walk_from(c, 0, visit, data, err);
}

enum packllm_status cover_walk_from(struct cover *c, size_t from, cover_visit_fn visit, void *data,
                                    struct packllm_error *err) {
    double q[PACKLLM_EVENTS];
    enum packllm_status status = PACKLLM_OK;
    assert(c->n_chain > 0 && c->size == c->known);
    c->resyncs = 0;
    front_count_anew(c);
    front_start(c, &c->front, c->root);
    front_ready(c);
    for (size_t x = 0; x < c->known && status >= 0; x++) {
        if (visit != NULL && x >= c->lead + from) {
            double parked = front_next(c, &c->front, q);
            visit(data, x - c->lead, q, parked);
        }
        c->p_last[x] = front_step(c, &c->front, (uint8_t)c->text[x], &c->front);
        front_count(c, (uint8_t)c->text[x]);
        if (x + 1 < c->known || c->main == NULL) { /* nobody goes on behind a text beside others */
            status = settle_front(c, true, err);
        }
    }
    if (visit != NULL) {
        node_sweep(c);
    }
    return status;
}

enum packllm_status cover_begin(struct cover *c, bool tokens, struct packllm_error *err) {
    cover_forget(c);
    enum packllm_status status = cover_reserve(c, c->lead, err);
    struct cover_node *node = status >= 0 ? node_get(c, NULL, c->member->start, 0, err) : NULL;
    if (node == NULL) {
        return status < 0 ? status : PACKLLM_E_MEMORY;
    }
    c->root = node;
    node->valid = NODE_VALID;
    status = node_revive(c, node, err);
    if (status < 0) {
        return status;
    }
    front_count_anew(c);
    front_start(c, &c->front, node);
    return !tokens && c->lead > 0 ? cover_extend(c, " ", 1, false, err) : PACKLLM_OK;
}

enum packllm_status cover_extend(struct cover *c, const char *bytes, size_t size, bool eager,
                                 struct packllm_error *err) {
    enum packllm_status status = cover_reserve(c, c->size + size, err);
    front_ready(c);
    for (size_t i = 0; i < size && status >= 0; i++) {
        c->text[c->size] = bytes[i];
        c->p_last[c->size] = front_step(c, &c->front, (uint8_t)bytes[i], &c->front);
        front_count(c, (uint8_t)bytes[i]);
        c->size++;
        if (eager || i + 1 == size) {
            status = settle_front(c, false, err);
        }
    }
    node_sweep(c);
    return status;
}

static struct cover_node *single(const struct cover *c) {
    for (unsigned i = 0; i < c->front.n_open; i++) {
        struct cover_node *node = c->front.open[i].node;
        if (node->at == c->size && node->row != NULL) {
            return node;
        }
    }
    return NULL;
}

enum packllm_status cover_narrow(struct cover *c, struct packllm_error *err) {
    struct cover_node *node =
        c->n_chain > 0 && c->size == c->known ? c->chain[c->n_chain - 1] : NULL;
    if (node == NULL) {
        return fail(err, PACKLLM_E_INTERNAL, c->member->index, "no canonical history to narrow to");
    }
    enum packllm_status status = node->row == NULL ? node_revive(c, node, err) : PACKLLM_OK;
    int32_t *path = alloc_array((size_t)node->n_tokens + 1, sizeof *path);
    if (path == NULL) {
        return fail_memory(err, node->n_tokens * sizeof *path);
    }
    if (status >= 0) {
        /* Other histories would stand between the cells of this one, and the order of cells is the
         * order of sums: without them the member goes on as it would alone. */
        lane_path(c, node, path);
        lane_keep_best(c, path, node->n_tokens);
        /* Nothing but a vocabulary's own space stands there: its first token brings it. */
        c->size = c->known = node->at < c->size ? node->at : c->size;
        front_start(c, &c->front, node);
        node_sweep(c);
    }
    base_free(path);
    return status;
}

enum packllm_status cover_append(struct cover *c, int32_t token, struct packllm_error *err) {
    struct cover_node *parent = single(c);
    assert(parent != NULL && vocab_is_text(&c->member->table, token));
    uint32_t size = vocab_size(&c->member->table, token);
    enum packllm_status status = cover_reserve(c, c->size + size, err);
    if (status < 0) {
        return status;
    }
    memcpy(c->text + c->size, vocab_bytes(&c->member->table, token), size);
    struct cover_node *node = node_get(c, parent, token, c->size + size, err);
    if (node == NULL) {
        return PACKLLM_E_MEMORY;
    }
    c->size += size;
    node->valid = NODE_VALID;
    status = node->row == NULL ? node_revive(c, node, err) : PACKLLM_OK;
    if (status < 0) {
        c->size -= size;
        return status;
    }
    front_start(c, &c->front, node);
    node_sweep(c);
    return PACKLLM_OK;
}

double cover_next(struct cover *c, double *q) {
    front_ready(c);
    return front_next(c, &c->front, q);
}

size_t cover_view_size(void) {
    return sizeof(struct cover_view);
}

void cover_view_of(struct cover *c, struct cover_view *out) {
    front_ready(c);
    front_copy(&c->front, out);
    for (unsigned i = 0; i < out->n_parked; i++) {
        out->parked[i].parent = NULL;
    }
}

double cover_view_step(const struct cover *c, const struct cover_view *view, uint8_t byte,
                       struct cover_view *out) {
    double p = front_step(c, view, byte, out);
    if (out->n_open + out->n_parked == 0) {
        out->lost = true;
    }
    return p;
}

double cover_view_next(const struct cover *c, const struct cover_view *view, double *q) {
    return front_next(c, view, q);
}

bool cover_row_here(const struct cover *c, struct cover_tokens *out) {
    const struct cover_node *node = single(c);
    if (node == NULL) {
        return false;
    }
    *out = row_told(node->row);
    return true;
}

void cover_canonical(const struct cover *c, size_t from, struct cover_canonical *out) {
    size_t start = from + c->lead;
    *out = (struct cover_canonical){0};
    for (size_t i = 0; i + 1 < c->n_chain; i++) {
        const struct cover_node *node = c->chain[i];
        if (c->chain[i + 1]->at <= start) {
            /* The space that the vocabulary puts first may be a token of its own: perplexity, as
             * the model's own tools have it, counts it; bytes do not. */
            if (from == 0) {
                out->nll_full += node->nll_full;
                out->tokens++;
            }
            continue;
        }
        double nll = node->nll;
        if (i > 0) {
            /* Bytes that the vocabulary cannot spell: any, as likely as any other. */
            size_t gap =
                node->at - c->chain[i - 1]->at - vocab_size(&c->member->table, node->token);
            out->nll += gap > 0 && node->at > start ? (double)gap * log(PACKLLM_EVENTS) : 0.0;
        }
        if (node->at < start && start - node->at < node->n_slices) {
            /* A token cut by the beginning: given that it begins as it does. */
            const struct cover_slice *s = &c->slices[node->first_slice + (start - node->at)];
            nll += log((double)s->ending + (double)s->longer);
        }
        size_t depth = c->chain[i + 1]->at - node->at;
        if (i + 2 == c->n_chain && depth < node->n_slices) {
            /* The text may end inside what would have been a longer token: the baseline must not
             * pay for that, so the last bytes count as a beginning. */
            const struct cover_slice *s = &c->slices[node->first_slice + depth];
            out->let_off = log((double)s->ending + (double)s->longer) -
                           log((double)s->ending > 0.0 ? (double)s->ending : 1.0);
            nll -= out->let_off;
        }
        out->nll += nll > 0.0 ? nll : 0.0;
        out->nll_full += node->nll_full;
        out->tokens++;
    }
}

uint64_t cover_resyncs(const struct cover *c) {
    return c->resyncs;
}
uint64_t cover_forwards(const struct cover *c) {
    return c->kv->forwards;
}
double cover_seconds(const struct cover *c) {
    return c->kv->seconds;
}
size_t cover_size(const struct cover *c) {
    return c->size > c->lead ? c->size - c->lead : 0;
}
