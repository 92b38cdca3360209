/* correct.c - what the pack makes of the display member's tokens (docs/math.md, "Choosing"): each
 * candidate's product of p / q_D over its bytes, along the trie of the candidates, so that the pool is
 * worked out once at a place that several share.
 *
 * Most of them are the tails of tokens that cannot be chosen any more. Since p_D(v) <= prod q_D(c_t),
 * pi(v) is at most the pool's probability of the bytes so far. Where that is below what a sampler would
 * take beside the best token found, the tail is left as D has it. The likeliest byte comes first at every
 * place, so a good token is found early. */
#include "pack/choose.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>

/* Rows are floats, so a bound that is nearly met is not met. */
#define SLACK 1e-3 /* nats */

/* Bytes that were gone along. */
struct trail {
    size_t depth;
    double delta; /* log of the product of p / q_D */
    double log_p; /* log of the product of p */
};

struct cover_view *choice_view(const struct packllm_session *s, size_t depth, size_t k) {
    const struct choice *c = s->choice;
    return (struct cover_view *)(void *)(c->views + (depth * s->pack->n + k) * cover_view_size());
}

void choice_pool(struct packllm_session *s, size_t depth, float *logp) {
    struct choice *c = s->choice;
    double q[PACKLLM_EVENTS];
    for (size_t k = 0; k < c->n_active; k++) {
        float *row = c->logq + k * PACKLLM_EVENTS;
        (void)cover_view_next(s->covers[c->active[k]], choice_view(s, depth, k), q);
        double t = s->pack->members[c->active[k]]->temperature;
        fuse_floor(q, row);
        if (k == 0 && t != 1.0) {
            float *own = row;
            row = c->logq + s->pack->n * PACKLLM_EVENTS;
            memcpy(row, own, PACKLLM_EVENTS * sizeof *row);
        }
        fuse_temper(t, row);
        c->rows[k] = row;
    }
    pack_pool(s, c->n_active, c->active, c->lambda, c->rows, logp);
}

/* What the candidate writes. */
static uint32_t rest_size(const struct prefix_tree *tree, const struct candidate *v) {
    return vocab_size(tree->table, tree->ids[v->rank]) - v->begun;
}

static uint8_t rest_byte(const struct prefix_tree *tree, const struct candidate *v, size_t at) {
    return vocab_bytes(tree->table, tree->ids[v->rank])[v->begun + at];
}

/* All bytes of the candidate were gone along. */
static void finish(struct choice *c, struct candidate *v, double delta) {
    v->delta = delta;
    c->best = v->logp + delta > c->best ? v->logp + delta : c->best;
}

/* The branches of found[low..high) behind `depth` bytes, the pool's likeliest first. */
static size_t find_branches(const struct packllm_session *s, size_t low, size_t high, size_t depth,
                            const float *logp, struct branch *out) {
    const struct choice *c = s->choice;
    const struct prefix_tree *tree = s->pack->trees[s->display];
    size_t n = 0;
    while (low < high) {
        struct branch b = {.low = (uint32_t)low, .byte = rest_byte(tree, &c->found[low], depth)};
        b.log_p = logp[b.byte];
        for (; low < high && rest_byte(tree, &c->found[low], depth) == b.byte; low++) {
            b.longer = b.longer || rest_size(tree, &c->found[low]) > depth + 1;
        }
        b.high = (uint32_t)low;
        size_t at = n++;
        for (; at > 0 && out[at - 1].log_p < b.log_p; at--) {
            out[at] = out[at - 1];
        }
        out[at] = b;
    }
    return n;
}

/* Candidates found[low..high) share the bytes of the trail. branches: room for high - low of them, and
 * one more for each byte that may follow: of n branches of m candidates none has more than m - n + 1. */
static void correct(struct packllm_session *s, size_t low, size_t high, const struct trail *trail,
                    struct branch *branches, double *end_delta) {
    struct choice *c = s->choice;
    const struct prefix_tree *tree = s->pack->trees[s->display];
    const size_t depth = trail->depth;
    float logp[PACKLLM_EVENTS];
    for (; low < high && rest_size(tree, &c->found[low]) == depth; low++) {
        finish(c, &c->found[low], trail->delta);
    }
    if (low == high && depth > 0) {
        return;
    }
    choice_pool(s, depth, logp);
    if (depth == 0) {
        *end_delta = (double)logp[PACKLLM_EVENT_END] - (double)c->logq[PACKLLM_EVENT_END];
    }
    size_t n = find_branches(s, low, high, depth, logp, branches);
    for (size_t b = 0; b < n; b++) { /* c->logq goes when another place is looked at */
        branches[b].ratio = (double)branches[b].log_p - (double)c->logq[branches[b].byte];
    }
    for (size_t b = 0; b < n; b++) {
        const struct branch *branch = &branches[b];
        const struct trail next = {depth + 1, trail->delta + branch->ratio,
                                   trail->log_p + (double)branch->log_p};
        bool likely = next.log_p >= c->best + c->unlikely;
        if (branch->longer && likely && depth + 1 < CHOICE_DEPTH) {
            for (size_t k = 0; k < c->n_active; k++) {
                (void)cover_view_step(s->covers[c->active[k]], choice_view(s, depth, k),
                                      branch->byte, choice_view(s, depth + 1, k));
            }
            correct(s, branch->low, branch->high, &next, branches + n, end_delta);
            continue;
        }
        for (size_t i = branch->low; i < branch->high; i++) {
            if (rest_size(tree, &c->found[i]) == depth + 1) {
                finish(c, &c->found[i], next.delta);
            } else {
                c->found[i].delta = next.delta;
            }
        }
    }
}

double choice_unlikely(const struct packllm_session *s) {
    const struct packllm_sampling *o = &s->params.sampling;
    bool lifted = o->repeat_penalty != 1.0 || o->presence_penalty != 0.0 ||
                  o->frequency_penalty != 0.0 || s->params.n_bias > 0;
    if (lifted || s->forced >= 0 || s->params.n_top > 0 || s->params.why) {
        return -HUGE_VAL; /* an unlikely token may be taken, or is told */
    }
    return (o->temp <= 0.0 ? 0.0 : o->min_p > 0.0 ? log(o->min_p) : -HUGE_VAL) - SLACK;
}

void choice_correct(struct packllm_session *s, size_t n, double *end_delta) {
    struct choice *c = s->choice;
    for (size_t k = 0; k < c->n_active; k++) {
        cover_view_of(s->covers[c->active[k]], choice_view(s, 0, k));
    }
    c->best = -HUGE_VAL;
    c->unlikely = choice_unlikely(s);
    correct(s, 0, n, &(struct trail){0}, c->branches, end_delta);
}
