/* mapped.c - token space of members with different vocabularies: the tokens are those of a reference
 * member, the other members' rows come over a map (docs/math.md, "Mapped tokens"). */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <math.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"

enum packllm_status pack_mapped_open(struct packllm_session *s, struct packllm_error *err) {
    size_t n = s->pack->n;
    struct pack_mapped *m = &s->mapped;
    const struct packllm_session_params *p = &s->params;
    if (p->display >= 0 && p->reference >= 0 && p->display != p->reference) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "the members do not share a vocabulary: text is written in the tokens of the "
                    "reference '%s', not of '%s'",
                    s->pack->members[p->reference]->name, s->pack->members[p->display]->name);
    }
    m->on = true;
    m->shares = alloc_zero(n, sizeof *m->shares);
    m->maps = alloc_zero(n, sizeof *m->maps);
    m->mass = alloc_zero(n, sizeof(float *));
    m->block = alloc_zero(n, sizeof(double *));
    return m->shares != NULL && m->maps != NULL && m->mass != NULL && m->block != NULL
               ? PACKLLM_OK
               : fail_memory(err, n * sizeof *m->maps);
}

static void forget_maps(struct packllm_session *s) {
    struct pack_mapped *m = &s->mapped;
    for (size_t i = 0; i < s->pack->n; i++) {
        if (m->maps != NULL) {
            score_map_done(&m->maps[i]);
        }
        if (m->mass != NULL) {
            base_free(m->mass[i]);
            m->mass[i] = NULL;
        }
        if (m->block != NULL) {
            base_free(m->block[i]);
            m->block[i] = NULL;
        }
    }
    m->made = false;
}

void pack_mapped_close(struct packllm_session *s) {
    struct pack_mapped *m = &s->mapped;
    forget_maps(s);
    base_free(m->shares);
    base_free(m->maps);
    base_free(m->mass);
    base_free(m->block);
    *m = (struct pack_mapped){0};
}

static bool on_progress(void *ctx, double share) {
    struct packllm_session *s = ctx;
    if (s->params.progress != NULL) {
        s->params.progress(s->params.progress_data, s->progressing, share);
    }
    return !atomic_load(&s->cancel);
}

static enum packllm_status make_map(struct packllm_session *s, size_t i,
                                    struct packllm_error *err) {
    size_t r = s->mapped.reference;
    struct member *reference = s->pack->members[r], *member = s->pack->members[i];
    bool cached = false;
    char warning[512] = "";
    struct align_map map = {0};
    const struct pack_align how = {.reference = reference,
                                   .member = member,
                                   .method = s->params.align,
                                   .n_threads = s->pack->params.n_threads,
                                   .cache = s->params.align_cache,
                                   .progress = on_progress,
                                   .progress_ctx = s};
    s->progressing = (int)i;
    enum packllm_status status = pack_align(&map, &how, warning, sizeof warning, &cached, err);
    if (status >= 0) {
        status = score_map_init(&s->mapped.maps[i], s->pack->trees[r], s->pack->trees[i], map.to,
                                map.distance, s->params.mass == PACKLLM_MASS_PAPER, err);
        align_done(&map);
    }
    if (status >= 0 && score_map_matched(&s->mapped.maps[i]) == 0) {
        score_map_done(&s->mapped.maps[i]);
        status = fail(err, PACKLLM_E_ARG, (int)i,
                      "no token of the reference '%s' stands in the vocabulary of '%s' (%s): take "
                      "another map, another reference, or fuse them in bytes",
                      reference->name, member->name, packllm_align_name(s->params.align));
    }
    return status;
}

static enum packllm_status maps_for(struct packllm_session *s, size_t reference,
                                    struct packllm_error *err) {
    struct pack_mapped *m = &s->mapped;
    enum packllm_status status = PACKLLM_OK;
    uint32_t differs;
    m->reference = reference;
    if (m->made && m->made_for == reference) {
        return PACKLLM_OK;
    }
    forget_maps(s);
    for (size_t i = 0; i < s->pack->n && status >= 0; i++) {
        m->shares[i] = i == reference || pack_same_vocabulary(s, reference, i, &differs);
        status = m->shares[i] ? status : make_map(s, i, err);
    }
    m->made = status >= 0;
    m->made_for = reference;
    return status;
}

/* ---- readings ---- */

struct text {
    const char *text;
    size_t size, weighed, context;
    double *nll; /* [n] of the first `weighed` bytes, nats */
};

/* The member reads the text in its own tokens. */
static enum packllm_status read_own(struct packllm_session *s, size_t i, const struct text *t,
                                    struct score_tokens *out, struct packllm_error *err) {
    struct cover_canonical behind;
    enum packllm_status status =
        pack_read_own_tokens(s, i, t->text, t->size, t->context, false, out, err);
    if (status >= 0) {
        cover_canonical(s->covers[i], t->weighed, &behind);
        t->nll[i] = s->readings[i].whole.nll - (t->weighed < t->size ? behind.nll : 0.0);
        pack_keep_best(s);
    }
    return status;
}

/* The reference is the member that understands the prompt best; its reading stays in *out. */
static enum packllm_status choose_reference(struct packllm_session *s, const struct text *t,
                                            size_t *out_reference, struct score_tokens *out,
                                            struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    size_t best = 0;
    for (size_t i = 0; i < s->pack->n && status >= 0; i++) {
        struct score_tokens tokens = {0};
        status = read_own(s, i, t, &tokens, err);
        if (status >= 0 && (i == 0 || t->nll[i] < t->nll[best])) {
            score_tokens_done(out);
            *out = tokens;
            best = i;
        } else {
            score_tokens_done(&tokens);
        }
    }
    if (status < 0) {
        score_tokens_done(out);
    }
    *out_reference = best;
    return status;
}

static enum packllm_status read_mapped(struct packllm_session *s, size_t i, const struct text *t,
                                       size_t begin, bool read_before,
                                       const struct score_tokens *reference,
                                       struct score_tokens *out, struct packllm_error *err) {
    const struct member *first = s->pack->members[s->mapped.reference];
    struct score_reading *r = &s->readings[i];
    struct cover *cover = NULL;
    bool translated = s->params.feed == PACKLLM_FEED_TRANSLATED, open = s->covers[i] != NULL;
    struct score_mapped_text text = {
        .text = t->text,
        .size = t->size,
        .reference = s->pack->trees[s->mapped.reference],
        .tokens = reference,
        .translated = translated,
        .silent_first = first->space_prefix != s->pack->members[i]->space_prefix,
    };
    enum packllm_status status = pack_cover(s, i, &cover, err);
    double start = base_clock(), inside = status >= 0 ? cover_seconds(cover) : 0.0;
    uint64_t forwards = status >= 0 ? cover_forwards(cover) : 0;
    if (!read_before) {
        *r = (struct score_reading){.bytes = t->size, .windows = 1};
    }
    if (status >= 0 && translated && !read_before) {
        /* Its own figures are of the text as it is. */
        status = cover_read_tokens(cover, t->text, t->size, false, NULL, NULL, err);
        open = true;
    }
    if (status >= 0 && translated && open) {
        cover_canonical(cover, 0, &r->whole);
        cover_canonical(cover, begin, &r->canonical);
    }
    if (status >= 0) {
        status = score_read_mapped(cover, &s->mapped.maps[i], &text, out, &r->nll_model, err);
    }
    if (status >= 0 && !translated) {
        cover_canonical(cover, 0, &r->whole);
        cover_canonical(cover, begin, &r->canonical);
    }
    if (status >= 0) {
        r->forwards += cover_forwards(cover) - forwards;
        r->seconds += base_clock() - start;
        r->seconds_model += cover_seconds(cover) - inside;
    }
    return status;
}

enum packllm_status pack_mapped_read(struct packllm_session *s, const char *text, size_t size,
                                     size_t weighed, size_t context, struct score_tokens *tokens,
                                     struct packllm_error *err) {
    size_t n = s->pack->n, reference = 0;
    double *nll = alloc_zero(n, sizeof *nll);
    struct text t = {text, size, weighed, context, nll};
    int32_t named = s->params.reference >= 0 ? s->params.reference : s->params.display;
    struct score_tokens read = {0};
    enum packllm_status status = nll != NULL ? PACKLLM_OK : fail_memory(err, n * sizeof *nll);
    if (status >= 0 && named >= 0) {
        reference = (size_t)named;
        status = read_own(s, reference, &t, &read, err);
    } else if (status >= 0) {
        status = choose_reference(s, &t, &reference, &read, err);
    }
    if (status >= 0) {
        tokens[reference] = read;
        status = maps_for(s, reference, err);
    }
    size_t from = score_tokens_from(&tokens[reference], context);
    size_t begin = from > 0 ? tokens[reference].end[from - 1] : 0;
    for (size_t i = 0; i < n && status >= 0; i++) {
        if (i == reference) {
            continue;
        }
        status = s->mapped.shares[i]
                     ? read_own(s, i, &t, &tokens[i], err)
                     : read_mapped(s, i, &t, begin, named < 0, &tokens[reference], &tokens[i], err);
        if (status >= 0) {
            pack_keep_best(s);
        }
    }
    base_free(nll);
    return status;
}

/* ---- writing ---- */

enum packllm_status pack_tokens_advance(struct packllm_session *s, size_t i, int32_t token,
                                        struct packllm_error *err) {
    if (!s->mapped.on || s->mapped.shares[i]) {
        return cover_append(s->covers[i], token, err);
    }
    if (s->params.feed == PACKLLM_FEED_TRANSLATED) {
        return cover_feed(s->covers[i], s->mapped.maps[i].to[token], err);
    }
    const struct vocab_table *table = &s->pack->members[s->mapped.reference]->table;
    return cover_follow(s->covers[i], (const char *)vocab_bytes(table, token),
                        vocab_size(table, token), err);
}

enum packllm_status pack_tokens_row(struct packllm_session *s, size_t i, struct cover_tokens *out,
                                    struct packllm_error *err) {
    struct cover_tokens own;
    struct pack_mapped *m = &s->mapped;
    bool mapped = m->on && !m->shares[i];
    if (mapped ? !cover_row_fed(s->covers[i], &own) : !cover_row_here(s->covers[i], &own)) {
        return fail(err, PACKLLM_E_INTERNAL, (int)i, "a member has no row");
    }
    if (mapped) {
        const struct score_map *map = &m->maps[i];
        if (m->mass[i] == NULL) {
            m->mass[i] = alloc_array((size_t)map->n + 1, sizeof(float));
            m->block[i] = alloc_array(map->n / COVER_BLOCK + 1, sizeof(double));
        }
        if (m->mass[i] == NULL || m->block[i] == NULL) {
            return fail_memory(err, (size_t)map->n * sizeof(float));
        }
        double end = score_map_row(map, &own, m->mass[i], m->block[i]);
        own = (struct cover_tokens){m->mass[i], m->block[i], end, 0.0};
    }
    *out = own;
    return PACKLLM_OK;
}

enum packllm_status pack_tokens_read_again(struct packllm_session *s, size_t i,
                                           struct packllm_error *err) {
    const struct pack_mapped *m = &s->mapped;
    if (!m->on || m->shares[i] || s->params.feed == PACKLLM_FEED_TEXT) {
        return cover_read_tokens(s->covers[i], s->prompt.data, s->prompt.size, false, NULL, NULL,
                                 err);
    }
    size_t n = 0, room = s->prompt.size + 16;
    int32_t *tokens = alloc_array(room, sizeof *tokens);
    enum packllm_status status =
        tokens != NULL ? PACKLLM_OK : fail_memory(err, room * sizeof *tokens);
    if (status >= 0) {
        status = member_tokenize(s->pack->members[m->reference], s->prompt.data, s->prompt.size,
                                 tokens, room, &n, err);
    }
    for (size_t k = 0; k < n && status >= 0; k++) {
        tokens[k] = m->maps[i].to[tokens[k]];
    }
    if (status >= 0) {
        status = cover_read_given(s->covers[i], tokens, n, NULL, NULL, err);
    }
    base_free(tokens);
    return status;
}
