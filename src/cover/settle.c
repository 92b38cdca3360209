/* settle.c - opens the ends whose share asks for it, and starts anew where nothing explains the
 * text. On known text a row that is missing is asked for, and its end stays parked this time. */
#include "base/status.h"
#include "cover/private.h"

/* Drops the parked ends that the bytes since, or the token before, show not to be canonical. */
static enum packllm_status prune(struct cover *c, struct packllm_error *err) {
    struct cover_view *f = &c->front;
    enum packllm_status status = PACKLLM_OK;
    unsigned dropped = 0;
    c->bounds_known = false;
    for (unsigned i = c->all ? 0 : f->n_parked; i-- > 0 && status >= 0;) {
        struct cover_parked *p = &f->parked[i];
        bool canonical = true;
        if (p->parent == NULL) {
            continue;
        }
        if (!p->joined) {
            p->joined = true;
            status = canon_behind_gap(c, p->parent) ? PACKLLM_OK
                                                    : canon_pair(c, p->parent->token, p->token,
                                                                 p->parent->at, &canonical, err);
        }
        while (status >= 0 && canonical && !p->closed && p->at + p->place.depth < f->x) {
            uint8_t byte = (uint8_t)c->text[p->at + p->place.depth];
            bool follows = false;
            p->closed = !prefix_step(c->tree, &p->place, byte);
            if (!p->closed && !p->split && prefix_ending(c->tree, &p->place) > 0) {
                status = canon_pair(c, p->token, c->tree->ids[p->place.low], p->at, &follows, err);
                p->split = p->split || follows;
            }
            canonical = !p->closed || p->split;
        }
        if (!canonical) {
            *p = f->parked[--f->n_parked];
            dropped++;
        }
    }
    if (dropped > 0) {
        (void)front_normalise(c, f);
    }
    return status;
}

/* The history's row is there: replaces its parked end by what the row says about the bytes that
 * have come since. */
static void replay(struct cover *c, struct cover_node *node, double w) {
    struct cover_view *f = &c->front;
    struct cover_open o = {.node = node, .place = prefix_root(c->tree), .w = w};
    front_set_standin(c, node);
    for (size_t t = node->at; t < f->x; t++) {
        double ending, longer;
        int32_t token;
        if (!node_enter(c, &o, t, (uint8_t)c->text[t])) {
            return;
        }
        node_here(c, &o, t + 1, &ending, &longer, &token);
        if (w * ending > 1e-14) {
            double share = w * ending;
            if (t + 1 < f->x) {
                double p = c->p_last[t + 1] > 1e-30 ? c->p_last[t + 1] : 1e-30;
                double ratio = c->standin[(uint8_t)c->text[t + 1]] / p;
                share *= ratio < 1.0 ? ratio : 1.0;
            }
            struct cover_parked end = {.parent = node,
                                       .at = t + 1,
                                       .w = share,
                                       .base = w * ending,
                                       .place = prefix_root(c->tree),
                                       .token = token};
            front_park(f, &end);
        }
    }
    front_add_open(f, node, w, o.place);
}

static enum packllm_status obtain(struct cover *c, struct cover_node *node, bool known,
                                  struct packllm_error *err) {
    /* Slices say nothing of bytes that were written since: there a row is needed. */
    if (node->row != NULL || (known && node->sliced)) {
        return PACKLLM_OK;
    }
    if (known) {
        return node_request(c, node, err);
    }
    return node_revive(c, node, err);
}

enum packllm_status settle_resync(struct cover *c, bool known, struct packllm_error *err) {
    struct cover_view *f = &c->front;
    size_t x = f->x, whole = x;
    while (whole > 0 && canon_mid_character(c, whole)) {
        whole--;
    }
    struct cover_node *node = NULL;
    f->lost = true;
    enum packllm_status status = canon_path(c, whole, &node, err);
    if (status < 0 || node == NULL) {
        return status;
    }
    c->resyncs++;
    status = obtain(c, node, known, err);
    if (status < 0 || !node_ready(node)) {
        return status;
    }
    f->n_open = f->n_parked = 0;
    f->lost = false;
    front_set_standin(c, node);
    replay(c, node, 1.0);
    if (!(front_normalise(c, f) > 0.0)) {
        f->lost = true;
    }
    return PACKLLM_OK;
}

enum packllm_status settle_front(struct cover *c, bool known, struct packllm_error *err) {
    struct cover_view *f = &c->front;
    if (f->lost || f->n_open + f->n_parked == 0) {
        return f->lost && canon_mid_character(c, f->x) ? PACKLLM_OK : settle_resync(c, known, err);
    }
    for (bool changed = true; changed;) {
        enum packllm_status pruned = prune(c, err);
        if (pruned < 0) {
            return pruned;
        }
        if (f->n_open + f->n_parked == 0) {
            return settle_resync(c, known, err);
        }
        changed = false;
        for (unsigned i = 0; i < f->n_parked && !changed; i++) {
            struct cover_parked p = f->parked[i];
            if (p.w <= c->epsilon || p.pending || p.parent == NULL) {
                continue;
            }
            struct cover_node *node = node_get(c, p.parent, p.token, p.at, err);
            enum packllm_status status = PACKLLM_OK;
            if (node == NULL) {
                return PACKLLM_E_MEMORY;
            }
            if (node->valid == NODE_UNKNOWN) {
                status = canon_check(c, node, err);
            }
            if (status >= 0 && node->valid == NODE_VALID) {
                status = obtain(c, node, known, err);
            }
            if (status < 0) {
                return status;
            }
            if (node->valid == NODE_VALID && !node_ready(node)) {
                f->parked[i].pending = true;
                continue;
            }
            f->parked[i] = f->parked[--f->n_parked];
            if (node->valid == NODE_VALID) {
                replay(c, node, p.base);
            }
            changed = true;
            if (!(front_normalise(c, f) > 1e-300)) {
                return settle_resync(c, known, err);
            }
        }
    }
    return PACKLLM_OK;
}
