/* begun.c - the first token behind a prompt that ends inside a token ("The capital of Fran"). The row
 * behind the prompt's own tokens knows texts in which a token ended there, so it speaks of something
 * else. The cover of the display member D knows which histories h are live, with the bytes s that stand
 * behind each; the alphabet of this step is their tokens that begin with s (docs/math.md, "Choosing"):
 *
 *   pi(h, v) ~ P_D(h, v | x) prod_t p(c_t | x c_<t) / q_D(c_t | x c_<t)      s c_1 … c_n the bytes of v
 *
 * Where a token ends with the prompt, s is empty, so those that may follow are among them. */
#include "pack/choose.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "pack/likely.h"

enum {
    BEGUN_MOST = 256,       /* tokens of D, whatever the sampling settings are */
    CONSTRAINED_MOST = 4096 /* of a history, asked whether a grammar allows them */
};

/* Below it the prompt more likely than not ends inside a token. */
#define ENDED 0.5

/* A history is not enough for the first token: of a member that was read in tokens, the other ends of the
 * prompt's last bytes. */
static enum packllm_status read_ends(struct packllm_session *s, size_t i,
                                     struct packllm_error *err) {
    bool read = false;
    enum packllm_status status = cover_read_tail(s->covers[i], &read, err);
    if (status < 0 || read) {
        pack_count_from_here(s, i);
        return status;
    }
    return pack_read_again(s, i, err);
}

enum packllm_status begun_look(struct packllm_session *s, struct packllm_error *err) {
    struct cover *cover = s->covers[s->display];
    enum packllm_status status = PACKLLM_OK;
    double share = 1.0;
    s->inside = false;
    /* A pack of one is its member, token for token. A chat's reply stands behind words of a template,
     * which are whole; a reference's tokens say themselves what may be written. */
    if (s->pack->n == 1 || s->params.choose != PACKLLM_CHOOSE_TOKENS || s->known ||
        s->chat != NULL || s->mapped.on) {
        return PACKLLM_OK;
    }
    if (!s->in_tokens) {
        s->inside = cover_ended(cover) < ENDED;
        return PACKLLM_OK;
    }
    status = cover_ended_told(cover, &share, err);
    if (status < 0 || share >= ENDED) {
        return status;
    }
    s->in_tokens = false;
    for (size_t i = 0; i < s->pack->n && status >= 0; i++) {
        status = pack_member_active(s, i) ? read_ends(s, i, err) : PACKLLM_OK;
    }
    s->inside = status >= 0 && cover_ended(cover) < ENDED;
    s->back_to_tokens = s->inside;
    s->in_tokens = !s->inside; /* the estimate was wrong */
    return status;
}

enum packllm_status begun_take(struct packllm_session *s, struct packllm_error *err) {
    struct cover *display = s->covers[s->display];
    enum packllm_status status = cover_take_begun(display, s->begun_index, s->pending, err);
    for (size_t i = 0; i < s->pack->n && status >= 0 && s->back_to_tokens; i++) {
        if (i != s->display && pack_member_active(s, i)) {
            status = cover_take_same(s->covers[i], display, err);
        }
    }
    return status;
}

static int by_mass(const void *left, const void *right) {
    const struct candidate *a = left;
    const struct candidate *b = right;
    return a->mass != b->mass ? (a->mass < b->mass) - (a->mass > b->mass)
                              : (a->rank > b->rank) - (a->rank < b->rank);
}

/* Those of keys[n] that the grammar allows behind the bytes that stand already. */
static size_t allowed(const struct packllm_session *s, const struct cover_begun *begun,
                      uint64_t *keys, size_t n) {
    const struct prefix_tree *tree = s->pack->trees[s->display];
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (choice_fits(s, tree->table, tree->ids[likely_rank(keys[i])], begun->place.depth)) {
            keys[kept++] = keys[i];
        }
    }
    return kept;
}

static int by_key(const void *left, const void *right) {
    const uint64_t *a = left;
    const uint64_t *b = right;
    return (*a < *b) - (*a > *b);
}

/* The `most` likeliest of all histories into found[2 * most], in order. keys[CONSTRAINED_MOST or most]:
 * scratch. of: NULL, or the session whose grammar they must fit. */
static size_t likeliest(const struct packllm_session *of, const struct cover_begun *begun,
                        size_t n_begun, size_t most, uint64_t *keys, struct candidate *found) {
    size_t n = 0;
    for (size_t k = 0; k < n_begun; k++) {
        const struct prefix_place *place = &begun[k].place;
        size_t tried = of != NULL ? CONSTRAINED_MOST : most;
        size_t top = likely_top(&begun[k].row, begun[k].low, place->high, tried, keys);
        if (of != NULL) {
            top = allowed(of, &begun[k], keys, top);
            qsort(keys, top, sizeof *keys, by_key);
            top = top < most ? top : most;
        }
        for (size_t i = 0; i < top; i++) {
            found[n + i] = (struct candidate){.rank = likely_rank(keys[i]),
                                              .begun = place->depth,
                                              .index = (unsigned)k,
                                              .mass = begun[k].w * likely_mass(keys[i])};
        }
        qsort(found, n + top, sizeof *found, by_mass);
        n = n + top < most ? n + top : most;
    }
    return n;
}

static double mass_of(const struct cover_begun *begun, uint32_t rank) {
    return begun->w * (double)begun->row.mass[rank];
}

static size_t add(const struct cover_begun *begun, size_t index, uint32_t rank,
                  struct candidate *found, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (found[i].rank == rank && found[i].index == index) {
            return n;
        }
    }
    found[n] = (struct candidate){.rank = rank,
                                  .begun = begun[index].place.depth,
                                  .index = (unsigned)index,
                                  .mass = mass_of(&begun[index], rank)};
    return n + 1;
}

/* For each history the longest of D's tokens that goes on with what these bytes begin with. */
static size_t add_bytes(const struct prefix_tree *tree, const struct cover_begun *begun,
                        size_t n_begun, const uint8_t *bytes, uint32_t size,
                        struct candidate *found, size_t n) {
    for (size_t k = 0; k < n_begun; k++) {
        struct prefix_place place = begun[k].place;
        uint32_t best = UINT32_MAX;
        for (uint32_t b = 0; b < size && prefix_step(tree, &place, bytes[b]); b++) {
            best = prefix_ending(tree, &place) > 0 ? place.low : best;
        }
        n = best != UINT32_MAX ? add(begun, k, best, found, n) : n;
    }
    return n;
}

/* What the other members would write, and tokens that a bias is asked for. */
static size_t add_asked(struct packllm_session *s, const struct cover_begun *begun, size_t n_begun,
                        struct cover_begun *others, size_t n, size_t room) {
    struct choice *c = s->choice;
    const struct prefix_tree *tree = s->pack->trees[s->display];
    struct candidate top[2 * TOP_OTHER];
    for (size_t k = 1; k < c->n_active; k++) {
        size_t n_others = cover_begun(s->covers[c->active[k]], others);
        size_t n_top = likeliest(NULL, others, n_others, TOP_OTHER, c->keys, top);
        const struct prefix_tree *its = s->pack->trees[c->active[k]];
        for (size_t t = 0; t < n_top && n + n_begun < room; t++) {
            int32_t id = its->ids[top[t].rank];
            n = add_bytes(tree, begun, n_begun, vocab_bytes(its->table, id) + top[t].begun,
                          vocab_size(its->table, id) - top[t].begun, c->found, n);
        }
    }
    for (size_t i = 0; i < s->params.n_bias; i++) {
        int32_t token = s->bias[i].token;
        bool text =
            token >= 0 && (uint32_t)token < tree->table->n && vocab_is_text(tree->table, token);
        for (size_t k = 0; text && k < n_begun && n < room; k++) {
            uint32_t rank = tree->rank[token];
            if (rank >= begun[k].low && rank < begun[k].place.high) {
                n = add(begun, k, rank, c->found, n);
            }
        }
    }
    return n;
}

/* By the bytes that they write. */
static int compare(const struct prefix_tree *tree, const struct candidate *a,
                   const struct candidate *b) {
    int32_t left = tree->ids[a->rank], right = tree->ids[b->rank];
    size_t n_left = vocab_size(tree->table, left) - a->begun;
    size_t n_right = vocab_size(tree->table, right) - b->begun;
    int order =
        memcmp(vocab_bytes(tree->table, left) + a->begun,
               vocab_bytes(tree->table, right) + b->begun, n_left < n_right ? n_left : n_right);
    return order != 0 ? order : (n_left > n_right) - (n_left < n_right);
}

/* Those that may be written, one of a token: D goes on as its tokenizer would have the text, so that
 * " Fran" and "ce" give way to " France". */
static enum packllm_status keep(struct packllm_session *s, const struct cover_begun *begun,
                                size_t n, struct candidates *out, struct packllm_error *err) {
    struct choice *c = s->choice;
    const struct prefix_tree *tree = s->pack->trees[s->display];
    struct cover *cover = s->covers[s->display];
    enum packllm_status status = PACKLLM_OK;
    qsort(c->found, n, sizeof *c->found, by_mass);
    for (size_t i = 0; i < n && status >= 0; i++) {
        struct candidate v = c->found[i];
        bool canonical = true, repeated = false;
        out->inside += v.mass;
        for (size_t k = 0; k < out->kept; k++) {
            repeated = repeated || c->found[k].rank == v.rank;
        }
        if (repeated || !(v.mass > 0.0) ||
            !choice_fits(s, tree->table, tree->ids[v.rank], v.begun)) {
            continue;
        }
        status = cover_check_begun(cover, &begun[v.index], tree->ids[v.rank], &canonical, err);
        if (!canonical) {
            continue;
        }
        size_t at = out->kept++;
        for (; at > 0 && compare(tree, &c->found[at - 1], &v) > 0; at--) {
            c->found[at] = c->found[at - 1];
        }
        v.index = begun[v.index].index;
        c->found[at] = v;
    }
    return status;
}

enum packllm_status begun_candidates(struct packllm_session *s, struct candidates *out,
                                     struct packllm_error *err) {
    struct choice *c = s->choice;
    const struct prefix_tree *tree = s->pack->trees[s->display];
    struct cover_begun *begun = alloc_array(2 * COVER_BEGUN_MOST, sizeof *begun);
    if (begun == NULL) {
        return fail_memory(err, 2 * COVER_BEGUN_MOST * sizeof *begun);
    }
    size_t n_begun = cover_begun(s->covers[s->display], begun);
    size_t most = choice_how_many(s, tree->n < BEGUN_MOST ? tree->n : BEGUN_MOST);
    most = most < c->room / 2 ? most : c->room / 2;
    *out = (struct candidates){.log_z = n_begun > 0 ? begun[0].row.log_z : 0.0};
    size_t n = likeliest(s->constraint != NULL ? s : NULL, begun, n_begun, most, c->keys, c->found);
    double unlikely = s->params.sampling.temp > 0.0 ? UNLIKELY : UNLIKELY_GREEDY;
    while (c->n_active > 1 && n > 1 && c->found[n - 1].mass < unlikely * c->found[0].mass) {
        n--;
    }
    n = add_asked(s, begun, n_begun, begun + COVER_BEGUN_MOST, n, c->room - 1);
    for (size_t k = 0; k < n_begun; k++) {
        out->end += begun[k].place.depth == 0 ? begun[k].w * begun[k].row.end : 0.0;
    }
    out->inside = out->end;
    enum packllm_status status = keep(s, begun, n, out, err);
    base_free(begun);
    return status;
}
