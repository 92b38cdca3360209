/* known.c - a text that is given token by token, for callers who want log pi of tokens they have: the
 * same steps as a reply's, but for who chooses. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>

#include "base/status.h"

enum packllm_status pack_know(struct packllm_session *s, struct packllm_error *err) {
    for (size_t i = 0; i < s->pack->n; i++) {
        pack_count_from_here(s, i);
        s->tokens_before[i] = 0;
    }
    buf_cut(&s->text, 0);
    buf_cut(&s->prompt, 0);
    s->prompt_tokens = 0;
    s->seconds_prompt = 0.0;
    s->started = s->known = true;
    pack_reset_reply(s);
    return choice_bias(s, err);
}

/* Nobody has read a text, so there is nothing to tell but names and weights. */
void pack_fill_names(struct packllm_session *s) {
    for (size_t i = 0; i < s->pack->n; i++) {
        const struct member *m = s->pack->members[i];
        s->member_weights[i] = (struct packllm_member_weight){.name = m->name,
                                                              .weight = s->lambda[i],
                                                              .bits_per_byte = (double)NAN,
                                                              .bits_per_byte_model = (double)NAN,
                                                              .perplexity = (double)NAN,
                                                              .vocabulary = m->table.n};
    }
    s->weights = (struct packllm_weights){.space = s->in_tokens ? "tokens" : "bytes",
                                          .pool = s->params.pool,
                                          .weigher = PACKLLM_WEIGH_FIXED,
                                          .bits_per_byte = (double)NAN,
                                          .objective = (double)NAN,
                                          .gap = (double)NAN,
                                          .n_members = s->pack->n,
                                          .members = s->member_weights};
}

static enum packllm_status begin(struct packllm_session *s, const double *weights, size_t n,
                                 struct packllm_error *err) {
    if (s->mapped.on) {
        return fail(err, PACKLLM_E_UNSUPPORTED, PACKLLM_NO_MEMBER,
                    "a text is not given token by token in the tokens of a reference");
    }
    if (s->params.choose != PACKLLM_CHOOSE_TOKENS || s->params.weigher == PACKLLM_WEIGH_DEXPERTS) {
        return fail(err, PACKLLM_E_UNSUPPORTED, PACKLLM_NO_MEMBER,
                    "a text is given token by token only where tokens are chosen, and not with "
                    "dexperts");
    }
    if (n != s->pack->n) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "%zu weights for %zu members", n,
                    s->pack->n);
    }
    enum packllm_status status = solve_fixed(weights, n, s->lambda, err);
    if (status < 0) {
        return status;
    }
    atomic_store(&s->cancel, false);
    s->ready = s->closing = false;
    s->in_tokens = s->may_use_tokens;
    s->display = s->params.display >= 0 ? (size_t)s->params.display : 0;
    pack_drop_text(s);
    for (size_t i = 0; i < n && status >= 0; i++) {
        struct cover *cover = NULL;
        status = pack_cover(s, i, &cover, err);
        if (status >= 0) {
            status = cover_begin(cover, i == s->display || s->in_tokens, err);
        }
    }
    if (status < 0) {
        return status;
    }
    pack_fill_names(s);
    s->first = s->pack->members[s->display]->space_prefix && n > 1 && !s->in_tokens;
    return pack_know(s, err);
}

enum packllm_status packllm_session_begin(struct packllm_session *s, const double *weights,
                                          size_t n, struct packllm_error *err) {
    pack_enter(s);
    enum packllm_status status = begin(s, weights, n, err);
    pack_leave(s, status >= 0);
    return status;
}

enum packllm_status packllm_session_reweigh(struct packllm_session *s, const double *weights,
                                            size_t n, struct packllm_error *err) {
    if (!s->ready || !s->known || n != s->pack->n) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "other weights for each of the members follow packllm_session_begin");
    }
    enum packllm_status status = solve_fixed(weights, n, s->lambda, err);
    for (size_t i = 0; i < n && status >= 0; i++) {
        s->member_weights[i].weight = s->lambda[i];
    }
    return status;
}

enum packllm_status pack_put_known(struct packllm_session *s, int32_t token,
                                   struct packllm_error *err) {
    const struct vocab_table *table = &s->pack->members[s->display]->table;
    const char *bytes = (const char *)vocab_bytes(table, token);
    size_t size = vocab_size(table, token);
    enum packllm_status status = sampler_accept(s->sampler, token, err);
    if (status < 0) {
        return status;
    }
    if (!buf_add(&s->prompt, bytes, size)) {
        return fail_memory(err, s->prompt.size + size);
    }
    for (size_t k = 0; k < size; k++) {
        (void)utf8_step(&s->utf8, (uint8_t)bytes[k]);
    }
    s->pending = token;
    s->prompt_tokens++;
    return PACKLLM_OK;
}

enum packllm_status pack_check_token(const struct member *m, int32_t token,
                                     struct packllm_error *err) {
    return token >= 0 && (uint32_t)token < m->table.n && vocab_is_text(&m->table, token)
               ? PACKLLM_OK
               : fail(err, PACKLLM_E_TEXT, m->index, "token %d of member '%s' is no text",
                      (int)token, m->name);
}

struct packllm_piece pack_known_piece(const struct member *m, int32_t token) {
    return (struct packllm_piece){.text = (const char *)vocab_bytes(&m->table, token),
                                  .size = vocab_size(&m->table, token),
                                  .token = token};
}

static enum packllm_status check(const struct packllm_session *s, int32_t token,
                                 struct packllm_error *err) {
    const struct member *m = s->pack->members[s->display];
    if (!s->ready || !s->known || s->tokens > 0) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "tokens are given after packllm_session_begin and before any step");
    }
    enum packllm_status status = pack_check_token(m, token, err);
    if (status < 0) {
        return status;
    }
    struct utf8_state state = s->utf8;
    const uint8_t *bytes = vocab_bytes(&m->table, token);
    for (uint32_t k = 0; k < vocab_size(&m->table, token); k++) {
        if (!utf8_step(&state, bytes[k])) {
            return fail(err, PACKLLM_E_TEXT, m->index,
                        "token %d of member '%s' makes the text invalid UTF-8", (int)token,
                        m->name);
        }
    }
    return PACKLLM_OK;
}

enum packllm_status packllm_session_force(struct packllm_session *s, int32_t token,
                                          struct packllm_piece *out_piece,
                                          struct packllm_error *err) {
    enum packllm_status status = check(s, token, err);
    if (status < 0) {
        return status;
    }
    struct packllm_piece piece = pack_known_piece(s->pack->members[s->display], token);
    int32_t chosen = -1;
    if (atomic_load(&s->cancel)) {
        s->ready = false;
        return fail(err, PACKLLM_E_CANCELLED, PACKLLM_NO_MEMBER, "cancelled");
    }
    s->forced = token;
    pack_enter(s);
    status = pack_advance(s, err);
    if (status >= 0) {
        status = choose_token(s, &chosen, &piece.logprob, err);
    }
    pack_leave(s, status >= 0);
    s->forced = -1;
    if (status >= 0) {
        status = pack_put_known(s, token, err);
    }
    if (status < 0) {
        s->ready = false;
        return status;
    }
    *out_piece = piece;
    return PACKLLM_OK;
}

struct reading {
    struct packllm_session *s;
    const int32_t *tokens;
    size_t next;
    packllm_given_fn each;
    void *data;
};

/* The row before tokens[place]: as packllm_session_force has it, but that nothing moves on. */
static enum packllm_status on_row(void *data, size_t place, const struct cover_tokens *row,
                                  struct packllm_error *err) {
    struct reading *r = data;
    struct packllm_session *s = r->s;
    if (place != r->next) {
        return fail(err, PACKLLM_E_INTERNAL, PACKLLM_NO_MEMBER, "row %zu came as number %zu", place,
                    r->next);
    }
    int32_t token = r->tokens[r->next++], chosen = -1;
    enum packllm_status status = check(s, token, err);
    if (status < 0) {
        return status;
    }
    struct packllm_piece piece = pack_known_piece(s->pack->members[s->display], token);
    s->given_row = row;
    s->forced = token;
    status = choose_token(s, &chosen, &piece.logprob, err);
    s->given_row = NULL;
    s->forced = -1;
    if (status >= 0) {
        status = pack_put_known(s, token, err);
    }
    if (status >= 0 && r->each != NULL && !r->each(r->data, place, &piece)) {
        return fail(err, PACKLLM_E_CANCELLED, PACKLLM_NO_MEMBER, "cancelled");
    }
    return status;
}

enum packllm_status packllm_session_read(struct packllm_session *s, const int32_t *tokens, size_t n,
                                         packllm_given_fn each, void *data,
                                         struct packllm_error *err) {
    struct reading r = {.s = s, .tokens = tokens, .each = each, .data = data};
    if (s->pack->n != 1) {
        return fail(err, PACKLLM_E_UNSUPPORTED, PACKLLM_NO_MEMBER,
                    "a text is read in one go by one member alone, this pack has %zu", s->pack->n);
    }
    if (!s->ready || !s->known || s->prompt_tokens > 0 || s->params.why) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "tokens are read right after packllm_session_begin, without params.why");
    }
    for (size_t i = 0; i < n; i++) { /* before they are evaluated */
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= s->pack->members[0]->table.n) {
            return fail(err, PACKLLM_E_TEXT, 0, "token %d of member '%s' is no text",
                        (int)tokens[i], s->pack->members[0]->name);
        }
    }
    pack_enter(s);
    enum packllm_status status = cover_read_given(s->covers[0], tokens, n, on_row, &r, err);
    if (status >= 0) {
        status = cover_narrow(s->covers[0], err);
    }
    pack_leave(s, status >= 0);
    s->pending = -1; /* the members stand behind the last token already */
    s->ready = status >= 0;
    return status;
}

enum packllm_status packllm_session_top(const struct packllm_session *s,
                                        const struct packllm_top **out_top, size_t *out_n) {
    *out_top = s->top;
    *out_n = s->n_top;
    return PACKLLM_OK;
}
