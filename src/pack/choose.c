/* choose.c - from bytes to what users expect (docs/math.md, "Choosing"). The alphabet is the tokens
 * of the display member D and END; for a token v of bytes c_1 … c_n
 *
 *   pi(v) ~ p_D(v | h_D) prod_t p(c_t | x c_<t) / q_D(c_t | x c_<t),  pi(END) alike
 *
 * with p the pool and q_D D's own next-byte distribution. With one member, or lambda = e_D, pi is
 * p_D exactly. The products are taken along the trie of the candidates, each byte once.
 */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "pack/choose.h"
#include "pack/likely.h"

enum {
    FORCED = 256, /* from D, where log pi of a given token is wanted */
    /* Under a grammar: bytes tried to list every token that fits, and the likeliest tokens tried
     * where there are more. */
    TRIED_BYTES = 2000,
    TRIED_MOST = 4096
};

#define LEAST_MASS 1e-45
#define LEAST_P 1e-30 /* as in fuse/tokens.c: nothing is impossible */

enum packllm_status choice_open(struct choice **out, const struct packllm_session *s,
                                struct packllm_error *err) {
    size_t n = s->pack->n, room = PACKLLM_EVENTS;
    for (size_t i = 0; i < n; i++) {
        room = s->pack->trees[i]->n + 1 > room ? s->pack->trees[i]->n + 1 : room;
    }
    struct choice *c = alloc_zero(1, sizeof *c);
    if (c == NULL) {
        return fail_memory(err, sizeof *c);
    }
    *out = c;
    c->room = room;
    c->found = alloc_array(room, sizeof *c->found);
    c->sampled = alloc_array(room, sizeof *c->sampled);
    c->keys = alloc_array(room, sizeof *c->keys);
    c->marks = alloc_zero(room / 64 + 1, sizeof *c->marks);
    c->ranks = alloc_array(s->constraint != NULL ? room : 1, sizeof *c->ranks);
    c->active = alloc_array(n, sizeof *c->active);
    c->lambda = alloc_array(n, sizeof *c->lambda);
    c->views = alloc_array((CHOICE_DEPTH + 1) * n, cover_view_size());
    c->logq = alloc_array(n + 1, PACKLLM_EVENTS * sizeof *c->logq);
    c->rows = alloc_array(n, sizeof *c->rows);
    c->least = alloc_array(n, sizeof *c->least);
    c->branches = alloc_array(room + CHOICE_DEPTH, sizeof *c->branches);
    c->token_rows = alloc_array(n, sizeof *c->token_rows);
    if (c->found == NULL || c->sampled == NULL || c->active == NULL || c->lambda == NULL ||
        c->views == NULL || c->logq == NULL || c->rows == NULL || c->least == NULL ||
        c->token_rows == NULL || c->branches == NULL || c->ranks == NULL || c->marks == NULL ||
        c->keys == NULL) {
        return fail_memory(err, room * sizeof *c->found);
    }
    return PACKLLM_OK;
}

void choice_close(struct choice *c) {
    if (c == NULL) {
        return;
    }
    base_free(c->found);
    base_free(c->sampled);
    base_free(c->keys);
    base_free(c->marks);
    base_free(c->ranks);
    base_free(c->active);
    base_free(c->lambda);
    base_free(c->views);
    base_free(c->logq);
    base_free(c->rows);
    base_free(c->least);
    base_free(c->branches);
    base_free(c->token_rows);
    base_free(c);
}

/* The active members: D first, the others in their order. */
static void find_active(struct packllm_session *s, bool display_first) {
    struct choice *c = s->choice;
    c->n_active = 0;
    if (display_first) {
        c->active[c->n_active] = s->display;
        c->lambda[c->n_active++] = s->lambda[s->display];
    }
    for (size_t i = 0; i < s->pack->n; i++) {
        if (s->lambda[i] != 0.0 && !(display_first && i == s->display)) {
            c->active[c->n_active] = i;
            c->lambda[c->n_active++] = s->lambda[i];
        }
    }
}

bool choice_fits(const struct packllm_session *s, const struct vocab_table *table, int32_t id,
                 uint32_t begun) {
    struct utf8_state state = s->utf8;
    const uint8_t *bytes = vocab_bytes(table, id);
    for (uint32_t k = begun; k < vocab_size(table, id); k++) {
        if (!utf8_step(&state, bytes[k])) {
            return false;
        }
    }
    return s->constraint == NULL ||
           constraint_fits(s->constraint, bytes + begun, vocab_size(table, id) - begun);
}

static bool may_be_next(const struct packllm_session *s, const struct cover_tokens *row,
                        uint32_t rank) {
    const struct prefix_tree *tree = s->pack->trees[s->display];
    return row->mass[rank] > 0.0F && choice_fits(s, tree->table, tree->ids[rank], 0);
}

static int by_mass(const void *left, const void *right) {
    const uint64_t *a = left;
    const uint64_t *b = right;
    return (*a < *b) - (*a > *b);
}

/* likely_top among the tokens that the grammar allows. Where few are allowed all of them are listed
 * along the trie (*out_all: keys[] has all); else most of the likeliest fit, and are tried first. */
static size_t top_allowed(struct packllm_session *s, const struct cover_tokens *row, size_t most,
                          bool *out_all) {
    struct choice *c = s->choice;
    const struct prefix_tree *tree = s->pack->trees[s->display];
    size_t n = 0, count = 0;
    *out_all = constraint_list(s->constraint, TRIED_BYTES, c->ranks, &n);
    for (size_t tried = 8 * most; !*out_all && count < most && tried <= TRIED_MOST; tried *= 8) {
        count = 0;
        n = likely_top(row, 0, tree->n, tried < tree->n ? tried : tree->n, c->keys);
        for (size_t i = 0; i < n; i++) {
            if (choice_fits(s, tree->table, tree->ids[likely_rank(c->keys[i])], 0)) {
                c->keys[count++] = c->keys[i];
            }
        }
    }
    if (count < most && !*out_all) {
        *out_all = constraint_list(s->constraint, SIZE_MAX, c->ranks, &n);
        count = 0;
    }
    for (size_t i = 0; *out_all && i < n; i++) {
        c->keys[count++] = likely_key(row->mass[c->ranks[i]], c->ranks[i]);
    }
    qsort(c->keys, count, sizeof *c->keys, by_mass);
    *out_all = *out_all && count <= most;
    return count < most ? count : most;
}

static void mark(struct choice *c, uint32_t rank) {
    c->marks[rank / 64] |= UINT64_C(1) << rank % 64;
}

/* The candidates marked into found[], ascending, each once; nothing is marked any more. */
static size_t take_marked(struct choice *c, uint32_t all) {
    size_t n = 0;
    for (uint32_t w = 0; w <= all / 64; w++) {
        for (uint64_t left = c->marks[w]; left != 0; left &= left - 1) {
            uint32_t bit = (uint32_t)__builtin_ctzll(left);
            c->found[n++] = (struct candidate){.rank = 64 * w + bit};
        }
        c->marks[w] = 0;
    }
    return n;
}

/* In bytes: D's tokens that begin what another member would say, the longest that its bytes begin
 * with. */
static void mark_beginnings(struct packllm_session *s) {
    struct choice *c = s->choice;
    const struct prefix_tree *own = s->pack->trees[s->display];
    uint64_t top[TOP_OTHER];
    for (size_t k = 1; k < c->n_active; k++) {
        size_t i = c->active[k];
        struct cover_tokens row;
        if (!cover_row_here(s->covers[i], &row)) {
            continue;
        }
        const struct prefix_tree *tree = s->pack->trees[i];
        size_t found = likely_top(&row, 0, tree->n, TOP_OTHER, top);
        for (size_t t = 0; t < found; t++) {
            int32_t id = tree->ids[likely_rank(top[t])];
            struct prefix_place place = prefix_root(own);
            uint32_t best = UINT32_MAX;
            for (uint32_t b = 0; b < vocab_size(tree->table, id) &&
                                 prefix_step(own, &place, vocab_bytes(tree->table, id)[b]);
                 b++) {
                best = prefix_ending(own, &place) > 0 ? place.low : best;
            }
            if (best != UINT32_MAX) {
                mark(c, best);
            }
        }
    }
}

size_t choice_how_many(const struct packllm_session *s, uint32_t all) {
    const struct packllm_sampling *o = &s->params.sampling;
    size_t most = TOP_DISPLAY;
    bool alone = s->choice->n_active == 1;
    if (s->forced >= 0) {
        return alone ? most : (all < FORCED ? all : FORCED); /* the number is what is asked for */
    }
    if (o->temp > 0.0 && o->top_k <= 0) {
        return alone ? all : (all < 256 ? all : 256);
    }
    if (o->temp > 0.0 && (size_t)o->top_k > most) {
        most = (size_t)o->top_k;
    }
    if (o->repeat_penalty < 1.0 || o->presence_penalty < 0.0 || o->frequency_penalty < 0.0) {
        return alone ? all : (all < 256 ? all : 256); /* they lift tokens from anywhere */
    }
    if (o->repeat_penalty != 1.0 || o->presence_penalty != 0.0 || o->frequency_penalty != 0.0) {
        /* Penalties can lift what is just below the cut. */
        most += o->repeat_last_n < 0 ? (size_t)(s->tokens + s->prompt_tokens)
                                     : (size_t)o->repeat_last_n;
    }
    most += s->params.n_bias; /* and so can a bias that takes others away */
    return most < all ? most : all;
}

static void name_first(struct packllm_why_member *why, const struct vocab_table *table, int32_t id,
                       double p) {
    bool bad;
    const char *piece = (const char *)vocab_bytes(table, id);
    size_t whole = vocab_size(table, id);
    whole = whole < sizeof why->first ? whole : sizeof why->first - 1;
    whole = utf8_whole(piece, whole, &bad);
    memcpy(why->first, piece, whole);
    why->first[whole] = '\0';
    why->first_logprob = log(p);
}

/* NLL(pool) <= sum lambda NLL at an event that was chosen, for weights >= 0 of sum 1: else a bug. */
static void check_jensen(struct packllm_session *s, unsigned event, const float *logp) {
    const struct choice *c = s->choice;
    double bound = 0.0, sum = 0.0;
    for (size_t k = 0; k < c->n_active; k++) {
        bound -= c->lambda[k] > 0.0 ? c->lambda[k] * (double)c->rows[k][event] : 0.0;
        sum += c->lambda[k];
    }
    if (sum > 1.0 - 1e-9 && s->params.weigher != PACKLLM_WEIGH_DEXPERTS) {
        s->jensen_checked++;
        s->jensen_violations += -(double)logp[event] > bound + 1e-4; /* rows are floats */
    }
}

static void record_why(struct packllm_session *s, const char *bytes, size_t size, bool end) {
    struct choice *c = s->choice;
    for (size_t i = 0; i < s->pack->n; i++) {
        s->why[i] =
            (struct packllm_why_member){.logprob = (double)NAN, .first_logprob = (double)NAN};
    }
    for (size_t k = 0; k < c->n_active; k++) {
        cover_view_of(s->covers[c->active[k]], choice_view(s, 0, k));
        memcpy(choice_view(s, 1, k), choice_view(s, 0, k), cover_view_size());
        s->why[c->active[k]].logprob = 0.0;
    }
    for (size_t b = 0; b < size + (end ? 1 : 0); b++) {
        float logp[PACKLLM_EVENTS];
        const unsigned event = end ? PACKLLM_EVENT_END : (uint8_t)bytes[b];
        choice_pool(s, 1, logp);
        check_jensen(s, event, logp);
        for (size_t k = 0; k < c->n_active; k++) {
            struct cover_view *step = choice_view(s, 1, k);
            s->why[c->active[k]].logprob += (double)c->rows[k][event];
            if (!end) {
                (void)cover_view_step(s->covers[c->active[k]], step, (uint8_t)event, step);
            }
        }
    }
    for (size_t k = 0; k < c->n_active; k++) {
        size_t i = c->active[k];
        struct packllm_why_member *why = &s->why[i];
        const struct cover *cover = s->covers[i];
        struct cover_tokens row;
        uint64_t best;
        const struct prefix_tree *tree = s->pack->trees[i];
        if (cover_row_here(cover, &row) && likely_top(&row, 0, tree->n, 1, &best) == 1) {
            name_first(why, tree->table, tree->ids[likely_rank(best)], likely_mass(best));
        }
    }
}

/* In token space: log of what the pool makes of an event by all active members' rows. own: log of D's
 * probability of it. */
static double pooled(const struct packllm_session *s, uint32_t rank, bool end, double own) {
    const struct choice *c = s->choice;
    double log_p = 0.0, p = 0.0;
    bool linear = s->params.pool == PACKLLM_POOL_LINEAR;
    for (size_t k = 0; k < c->n_active; k++) {
        const struct cover_tokens *row = &c->token_rows[k];
        double q = end ? row->end : (double)row->mass[rank];
        if (c->lambda[k] > 0.0 && linear) {
            p += c->lambda[k] * q;
        } else if (c->lambda[k] > 0.0) {
            log_p += c->lambda[k] * (q <= LEAST_P ? log(LEAST_P) : k == 0 ? own : log(q));
        }
    }
    return linear ? log(p > LEAST_P ? p : LEAST_P) : log_p;
}

/* What a member finds that much less likely than its first choice comes back only if another member asks. */
static double least_likely(const struct packllm_session *s, double most) {
    return most * (s->params.sampling.temp > 0.0 ? UNLIKELY : UNLIKELY_GREEDY);
}

/* In token space: c->least, and whether what all members find unlikely cannot be chosen, for the pool
 * likes some member's first choice so much better. */
static bool unlikely_for_all(struct packllm_session *s) {
    struct choice *c = s->choice;
    const struct prefix_tree *tree = s->pack->trees[s->display];
    double best = -HUGE_VAL, bound = 0.0;
    bool linear = s->params.pool == PACKLLM_POOL_LINEAR;
    for (size_t k = 0; k < c->n_active; k++) {
        uint64_t first;
        if (likely_top(&c->token_rows[k], 0, tree->n, 1, &first) == 0) {
            return false;
        }
        uint32_t rank = likely_rank(first);
        c->least[k] = least_likely(s, likely_mass(first));
        bound += c->lambda[k] * (linear ? c->least[k] : log(c->least[k]));
        if (choice_fits(s, tree->table, tree->ids[rank], 0)) {
            double own = (double)c->token_rows[0].mass[rank];
            best = fmax(best, pooled(s, rank, false, log(own > LEAST_P ? own : LEAST_P)));
        }
    }
    return (linear ? log(bound) : bound) <= best + choice_unlikely(s);
}

/* In token space: the likeliest of the other members' rows, which are over D's tokens, too. few: those
 * that D finds likely are all marked. */
static void mark_likeliest(struct packllm_session *s, bool few) {
    struct choice *c = s->choice;
    const uint32_t all = s->pack->trees[s->display]->n;
    uint64_t top[TOP_DISPLAY];
    bool likely = few && unlikely_for_all(s);
    for (size_t k = 1; k < c->n_active; k++) {
        size_t n = likely ? likely_above(&c->token_rows[k], all, c->least[k], TOP_DISPLAY, top)
                          : TOP_DISPLAY + 1;
        if (n > TOP_DISPLAY) {
            n = likely_top(&c->token_rows[k], 0, all, TOP_DISPLAY, top);
        }
        for (size_t t = 0; t < n; t++) {
            mark(c, likely_rank(top[t]));
        }
    }
}

static void correct_in_tokens(struct packllm_session *s, size_t n, double *end_delta) {
    struct choice *c = s->choice;
    double end = log(c->token_rows[0].end);
    for (size_t i = 0; i < n; i++) {
        double own = c->found[i].logp;
        c->found[i].delta = pooled(s, c->found[i].rank, false, own) - own;
    }
    *end_delta = pooled(s, 0, true, end) - end;
}

/* Over D's tokens, of which one member may not have bytes of its own for what was chosen. */
static void record_why_mapped(struct packllm_session *s, int32_t id, bool end) {
    struct choice *c = s->choice;
    const struct prefix_tree *tree = s->pack->trees[s->display];
    for (size_t i = 0; i < s->pack->n; i++) {
        s->why[i] =
            (struct packllm_why_member){.logprob = (double)NAN, .first_logprob = (double)NAN};
    }
    for (size_t k = 0; k < c->n_active; k++) {
        const struct cover_tokens *row = &c->token_rows[k];
        struct packllm_why_member *why = &s->why[c->active[k]];
        uint64_t best;
        double p = end ? row->end : (double)row->mass[tree->rank[id]];
        why->logprob = log(p > LEAST_P ? p : LEAST_P);
        if (likely_top(row, 0, tree->n, 1, &best) == 1) {
            name_first(why, tree->table, tree->ids[likely_rank(best)], likely_mass(best));
        }
    }
}

/* What must be among the candidates: a token that is given, and those with a bias. */
static void mark_asked(const struct packllm_session *s) {
    const struct prefix_tree *tree = s->pack->trees[s->display];
    for (size_t i = 0; i < s->params.n_bias; i++) {
        int32_t token = s->bias[i].token;
        if (token >= 0 && (uint32_t)token < tree->table->n && vocab_is_text(tree->table, token)) {
            mark(s->choice, tree->rank[token]);
        }
    }
    if (s->forced >= 0) {
        mark(s->choice, tree->rank[s->forced]);
    }
}

/* Under a grammar, when D finds every allowed token impossible: one of single bytes, by the pool. */
static size_t offer_bytes(struct packllm_session *s) {
    struct choice *c = s->choice;
    const struct prefix_tree *tree = s->pack->trees[s->display];
    float logp[PACKLLM_EVENTS];
    size_t n = 0;
    for (size_t k = 0; k < c->n_active; k++) {
        cover_view_of(s->covers[c->active[k]], choice_view(s, 0, k));
    }
    choice_pool(s, 0, logp);
    for (unsigned b = 0; b < 256; b++) {
        struct prefix_place place = prefix_root(tree);
        if (constraint_allows(s->constraint, (uint8_t)b) && prefix_step(tree, &place, (uint8_t)b) &&
            prefix_ending(tree, &place) > 0) {
            c->sampled[n++] =
                (struct sample_candidate){.id = tree->ids[place.low], .logp = (double)logp[b]};
        }
    }
    return n;
}

/* A mass that a float cannot hold still has a logarithm: nothing is impossible. */
static double log_mass(const struct candidate *v) {
    return log(v->mass > 0.0 ? v->mass : LEAST_MASS);
}

void choice_add_top(struct packllm_session *s, const struct packllm_top *one) {
    size_t at = s->n_top;
    while (at > 0 && (s->top[at - 1].logprob < one->logprob ||
                      (s->top[at - 1].logprob <= one->logprob && one->token >= 0 &&
                       s->top[at - 1].token > one->token))) {
        at--;
    }
    if (at >= s->params.n_top) {
        return;
    }
    s->n_top += s->n_top < s->params.n_top ? 1 : 0;
    for (size_t k = s->n_top - 1; k > at; k--) {
        s->top[k] = s->top[k - 1];
    }
    s->top[at] = *one;
}

/* The n_top likeliest by log pi, before the sampling chain; ties to the lowest id, the end last. */
static void record_top(struct packllm_session *s, const struct candidates *all, double logp_end,
                       double log_normaliser) {
    const struct choice *c = s->choice;
    const struct prefix_tree *tree = s->pack->trees[s->display];
    bool may_end = all->end > 0.0 && s->utf8.need == 0 && !s->params.sampling.ignore_eos;
    s->n_top = 0;
    for (size_t i = 0; i < all->kept + (may_end ? 1 : 0) && s->params.n_top > 0; i++) {
        bool end = i == all->kept;
        struct packllm_top one = {
            .token = end ? -1 : tree->ids[c->found[i].rank],
            .logprob = (end ? logp_end : c->found[i].logp + c->found[i].delta) - log_normaliser,
            .begun = end ? 0 : c->found[i].begun};
        choice_add_top(s, &one);
    }
}

enum packllm_status choice_bias(struct packllm_session *s, struct packllm_error *err) {
    const struct vocab_table *table = &s->pack->members[s->display]->table;
    enum packllm_status status = PACKLLM_OK;
    for (size_t i = 0; i < s->params.n_bias && status >= 0; i++) {
        int32_t token = s->bias[i].token;
        if (token < 0 || (uint32_t)token >= table->n) {
            return fail(err, PACKLLM_E_ARG, (int)s->display,
                        "a bias for token %d: member '%s' has tokens 0 to %u", (int)token,
                        s->pack->members[s->display]->name, (unsigned)table->n - 1);
        }
        bool end = table->kind[token] == VOCAB_END;
        status = sampler_bias(s->sampler, end ? (int32_t)table->n : token, s->bias[i].bias, err);
    }
    return status;
}

/* likely_top, more of them where too few can follow the text: in the middle of a character few do, and
 * a poor model may rank them low. *out_all: none of those the display member prefers could follow. */
static size_t top_fitting(struct packllm_session *s, const struct cover_tokens *row, size_t most,
                          bool *out_all) {
    struct choice *c = s->choice;
    const uint32_t all = s->pack->trees[s->display]->n;
    for (size_t tried = most;; tried *= 4) {
        size_t n = likely_top(row, 0, all, tried < all ? tried : all, c->keys), fit = 0;
        /* With others to ask, one is enough. */
        for (size_t i = 0; i < n && !(fit > 0 && c->n_active > 1); i++) {
            fit += may_be_next(s, row, likely_rank(c->keys[i]));
        }
        if (fit >= most || n == all || s->forced >= 0 || (fit > 0 && c->n_active > 1)) {
            *out_all = n > most && c->n_active > 1;
            return n;
        }
    }
}

/* D's own are keys[n]. likely: those that are not too unlikely. */
static void mark_own(struct packllm_session *s, const struct cover_tokens *row, size_t n,
                     bool likely) {
    struct choice *c = s->choice;
    double most = 0.0;
    for (size_t i = 0; i < n && likely; i++) {
        double mass = likely_mass(c->keys[i]);
        most = mass > most && may_be_next(s, row, likely_rank(c->keys[i])) ? mass : most;
    }
    double least = likely ? least_likely(s, most) : 0.0;
    for (size_t i = 0; i < n; i++) {
        if (likely_mass(c->keys[i]) >= least) {
            mark(c, likely_rank(c->keys[i]));
        }
    }
}

/* The same at once, where D's first choice fits and no more than `most` are likely: then the others
 * need not be looked for. */
static bool mark_few(struct packllm_session *s, const struct cover_tokens *row, size_t most) {
    struct choice *c = s->choice;
    uint32_t all = s->pack->trees[s->display]->n;
    uint64_t first;
    if (likely_top(row, 0, all, 1, &first) == 0 || !may_be_next(s, row, likely_rank(first))) {
        return false;
    }
    size_t n = likely_above(row, all, least_likely(s, likely_mass(first)), most, c->keys);
    for (size_t i = 0; i < n && n <= most; i++) {
        mark(c, likely_rank(c->keys[i]));
    }
    return n <= most;
}

/* The candidates behind the display member's one history, whose row is at hand. */
static enum packllm_status find_candidates(struct packllm_session *s, struct candidates *out,
                                           struct packllm_error *err) {
    struct choice *c = s->choice;
    const struct prefix_tree *tree = s->pack->trees[s->display];
    struct cover_tokens row;
    if (s->given_row != NULL) {
        row = *s->given_row;
    } else if (!cover_row_here(s->covers[s->display], &row)) {
        return fail(err, PACKLLM_E_INTERNAL, (int)s->display, "the display member has no row");
    }
    bool alone = c->n_active == 1, all_of_few = false;
    size_t most_found = choice_how_many(s, tree->n);
    bool asked = s->constraint != NULL || s->forced >= 0;
    bool few = !alone && !asked && mark_few(s, &row, most_found);
    if (!few) {
        size_t own = s->constraint != NULL ? top_allowed(s, &row, most_found, &all_of_few)
                                           : top_fitting(s, &row, most_found, &all_of_few);
        mark_own(s, &row, own, !alone && !all_of_few && s->forced < 0);
    }
    if (!alone && !all_of_few && !s->first) {
        if (s->in_tokens) {
            mark_likeliest(s, few);
        } else {
            mark_beginnings(s);
        }
    }
    mark_asked(s);
    size_t n = take_marked(c, tree->n);
    *out = (struct candidates){.inside = row.end, .end = row.end, .log_z = row.log_z};
    for (size_t i = 0; i < n; i++) {
        uint32_t rank = c->found[i].rank;
        double mass = (double)row.mass[rank];
        bool forced = tree->ids[rank] == s->forced;
        out->inside += mass;
        if ((mass > 0.0 || forced) && choice_fits(s, tree->table, tree->ids[rank], 0)) {
            c->found[out->kept].rank = rank; /* all else is 0 */
            c->found[out->kept++].mass = mass;
        }
    }
    return PACKLLM_OK;
}

/* Gives each its logarithm and its delta. */
static void correct_candidates(struct packllm_session *s, size_t kept, double *end_delta) {
    struct choice *c = s->choice;
    *end_delta = 0.0;
    for (size_t i = 0; i < kept; i++) {
        c->found[i].logp = log_mass(&c->found[i]);
    }
    if (c->n_active == 1 || s->first) {
        return; /* the display member's own */
    }
    if (s->in_tokens) {
        correct_in_tokens(s, kept, end_delta);
        return;
    }
    choice_correct(s, kept, end_delta);
}

/* What the sampler draws from; *sum: what it comes to, not normalised. */
static size_t to_sample(struct packllm_session *s, const struct candidates *all, double logp_end,
                        double *sum) {
    struct choice *c = s->choice;
    const struct prefix_tree *tree = s->pack->trees[s->display];
    size_t n = 0;
    *sum = 0.0;
    for (size_t i = 0; i < all->kept; i++) {
        double logp = c->found[i].logp + c->found[i].delta;
        *sum += exp(logp);
        c->sampled[n++] =
            (struct sample_candidate){.id = tree->ids[c->found[i].rank], .logp = logp + all->log_z};
    }
    if (all->end > 0.0 && (s->constraint == NULL || constraint_may_end(s->constraint)) &&
        s->utf8.need == 0 && !s->params.sampling.ignore_eos) {
        *sum += exp(logp_end);
        c->sampled[n++] =
            (struct sample_candidate){.id = (int32_t)tree->table->n, .logp = logp_end + all->log_z};
    }
    return n == 0 && s->constraint != NULL ? offer_bytes(s) : n;
}

enum packllm_status choose_token(struct packllm_session *s, int32_t *out_id, double *out_logprob,
                                 struct packllm_error *err) {
    struct choice *c = s->choice;
    const struct prefix_tree *tree = s->pack->trees[s->display];
    struct candidates all;
    enum packllm_status status = PACKLLM_OK;
    find_active(s, true);
    for (size_t k = 0; k < c->n_active && s->in_tokens && status >= 0; k++) {
        status = pack_tokens_row(s, c->active[k], &c->token_rows[k], err);
    }
    if (status >= 0 && s->inside) {
        status = begun_candidates(s, &all, err);
        s->inside = all.kept > 0; /* else as if it did not */
        status = status < 0 || s->inside ? status : cover_narrow(s->covers[s->display], err);
    }
    if (status >= 0 && !s->inside) {
        status = find_candidates(s, &all, err);
    }
    if (status < 0) {
        return status;
    }
    double end_delta = 0.0, sum = 0.0;
    correct_candidates(s, all.kept, &end_delta);
    double logp_end = log(all.end) + end_delta;
    status = s->constraint != NULL ? constraint_status(s->constraint, err) : PACKLLM_OK;
    if (status < 0) {
        return status;
    }
    size_t n_sampled = to_sample(s, &all, logp_end, &sum);
    if (n_sampled == 0) {
        return fail(err, PACKLLM_E_MODEL, (int)s->display,
                    "member '%s' offers no token that keeps the text valid UTF-8",
                    s->pack->members[s->display]->name);
    }
    double normaliser = sum + (all.inside < 1.0 ? 1.0 - all.inside : 0.0);
    s->normaliser_min = normaliser < s->normaliser_min ? normaliser : s->normaliser_min;
    s->normaliser_max = normaliser > s->normaliser_max ? normaliser : s->normaliser_max;
    int32_t id = s->forced;
    if (id < 0) {
        id = c->sampled[sampler_pick(s->sampler, c->sampled, n_sampled, s->position)].id;
    }
    bool end = id == (int32_t)tree->table->n;
    *out_logprob = logp_end - log(normaliser);
    s->begun = 0;
    for (size_t i = 0; i < all.kept && !end; i++) {
        if (tree->ids[c->found[i].rank] == id) {
            *out_logprob = c->found[i].logp + c->found[i].delta - log(normaliser);
            s->begun = c->found[i].begun;
            s->begun_index = c->found[i].index;
        }
    }
    record_top(s, &all, logp_end, log(normaliser));
    if (s->params.why && s->mapped.on) {
        record_why_mapped(s, id, end);
    } else if (s->params.why) {
        record_why(s, end ? "" : (const char *)vocab_bytes(tree->table, id) + s->begun,
                   end ? 0 : vocab_size(tree->table, id) - s->begun, end);
    }
    *out_id = end ? -1 : id;
    return PACKLLM_OK;
}

enum packllm_status choose_byte(struct packllm_session *s, int32_t *out_id, double *out_logprob,
                                struct packllm_error *err) {
    struct choice *c = s->choice;
    float logp[PACKLLM_EVENTS];
    (void)err;
    find_active(s, false);
    for (size_t k = 0; k < c->n_active; k++) {
        cover_view_of(s->covers[c->active[k]], choice_view(s, 0, k));
    }
    choice_pool(s, 0, logp);
    size_t n = 0;
    for (int e = 0; e < PACKLLM_EVENTS; e++) {
        bool fits = e == PACKLLM_EVENT_END ? s->utf8.need == 0 && !s->params.sampling.ignore_eos
                                           : utf8_may_follow(&s->utf8, (uint8_t)e);
        if (s->constraint != NULL) {
            fits = fits && (e == PACKLLM_EVENT_END ? constraint_may_end(s->constraint)
                                                   : constraint_allows(s->constraint, (uint8_t)e));
        }
        if (fits) {
            c->sampled[n++] = (struct sample_candidate){.id = e, .logp = (double)logp[e]};
        }
    }
    size_t picked = sampler_pick(s->sampler, c->sampled, n, s->position);
    int32_t id = c->sampled[picked].id;
    *out_logprob = (double)logp[id];
    if (s->params.why) {
        char byte = (char)id;
        record_why(s, &byte, id == PACKLLM_EVENT_END ? 0 : 1, id == PACKLLM_EVENT_END);
    }
    *out_id = id == PACKLLM_EVENT_END ? -1 : id;
    return PACKLLM_OK;
}
