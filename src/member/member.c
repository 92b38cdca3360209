/* member.c - the checked front of every member: arguments are looked at here, once, so that no
 * implementation (and no library below it, which would abort) ever sees a wrong one. */
#include "member/member.h"

#include <inttypes.h>

#include "base/status.h"
#include "base/utf8.h"
#include "member/member_base.h"

static enum packllm_status check_seq(const struct member_context *c, int32_t seq,
                                     struct packllm_error *err) {
    const struct member *m = c->member;
    if (seq < 0 || (uint32_t)seq >= m->n_seq) {
        return fail(err, PACKLLM_E_ARG, m->index,
                    "member '%s': sequence %" PRId32 " is not in 0..%" PRIu32, m->name, seq,
                    m->n_seq - 1);
    }
    return PACKLLM_OK;
}

/* The pieces must spell the text, behind a space where one is due: vocabularies exist that lack bytes, and then tokenizers drop them
 * silently. */
static enum packllm_status check_spelling(const struct member *m, const char *text, size_t size,
                                          bool space_due, const int32_t *tokens, size_t n,
                                          struct packllm_error *err) {
    size_t at = 0; /* bytes of the text matched so far */
    bool same = true;
    for (size_t i = 0; i < n && same; i++) {
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= m->table.n) {
            return fail(err, PACKLLM_E_INTERNAL, m->index,
                        "member '%s': its tokenizer gave token %" PRId32 " of %" PRIu32, m->name,
                        tokens[i], m->table.n);
        }
        const uint8_t *bytes = vocab_bytes(&m->table, tokens[i]);
        uint32_t length = vocab_size(&m->table, tokens[i]);
        same = length > 0;
        for (uint32_t j = 0; j < length && same; j++) {
            if (space_due) {
                same = bytes[j] == ' ';
                space_due = false;
            } else {
                same = at < size && bytes[j] == (uint8_t)text[at];
                at += same;
            }
        }
    }
    if (!same || at != size || space_due) {
        return fail(
            err, PACKLLM_E_TEXT, m->index,
            "member '%s' cannot spell the text: its vocabulary has no token for byte 0x%02x "
            "at offset %zu; take this character out, or leave this member out",
            m->name, at < size ? (unsigned)(unsigned char)text[at] : 0U, at);
    }
    return PACKLLM_OK;
}

static enum packllm_status tokenize(struct member *m, const char *text, size_t size, bool inside,
                                    int32_t *out, size_t cap, size_t *out_n,
                                    struct packllm_error *err) {
    if (m == NULL || (text == NULL && size > 0) || (out == NULL && cap > 0) || out_n == NULL) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "member_tokenize: a pointer is missing");
    }
    size_t valid = size > 0 ? utf8_check(text, size) : 0;
    if (valid != size) {
        return fail(err, PACKLLM_E_TEXT, PACKLLM_NO_MEMBER,
                    "the text is not valid UTF-8: byte 0x%02x at offset %zu",
                    (unsigned)(unsigned char)text[valid], valid);
    }
    if (size == 0) {
        *out_n = 0;
        return PACKLLM_OK;
    }
    size_t n = 0;
    enum packllm_status s = m->ops->tokenize(m, text, size, inside, out, cap, &n, err);
    if (s == PACKLLM_OK) {
        s = check_spelling(m, text, size, m->space_prefix && !inside, out, n, err);
    }
    if (s == PACKLLM_OK) {
        *out_n = n;
    }
    return s;
}

enum packllm_status member_tokenize(struct member *m, const char *text, size_t size, int32_t *out,
                                    size_t cap, size_t *out_n, struct packllm_error *err) {
    return tokenize(m, text, size, false, out, cap, out_n, err);
}

enum packllm_status member_tokenize_inside(struct member *m, const char *text, size_t size,
                                           int32_t *out, size_t cap, size_t *out_n,
                                           struct packllm_error *err) {
    return tokenize(m, text, size, true, out, cap, out_n, err);
}

enum packllm_status member_context_open(struct member *m, struct member_context **out,
                                        struct packllm_error *err) {
    if (m == NULL || out == NULL) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "member_context_open: a pointer is missing");
    }
    if (m->n_ctx == 0) {
        return fail(err, PACKLLM_E_UNSUPPORTED, m->index,
                    "member '%s': only its vocabulary was loaded", m->name);
    }
    return m->ops->context_open(m, out, err);
}

void member_context_close(struct member_context *c) {
    if (c != NULL) {
        c->member->ops->context_close(c);
    }
}

enum packllm_status member_eval(struct member_context *c, const struct member_item *items, size_t n,
                                member_row_fn on_row, void *ctx, struct packllm_error *err) {
    if (c == NULL || (items == NULL && n > 0)) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "member_eval: a pointer is missing");
    }
    const struct member *m = c->member;
    uint32_t added[MEMBER_SEQ_ALL] = {0};
    for (size_t i = 0; i < n; i++) {
        enum packllm_status s = check_seq(c, items[i].seq, err);
        if (s != PACKLLM_OK) {
            return s;
        }
        if (items[i].token < 0 || (uint32_t)items[i].token >= m->table.n) {
            return fail(err, PACKLLM_E_ARG, m->index,
                        "member '%s': token %" PRId32 " is not in 0..%" PRIu32, m->name,
                        items[i].token, m->table.n - 1);
        }
        if (items[i].want_row && on_row == NULL) {
            return fail(err, PACKLLM_E_ARG, m->index,
                        "member '%s': a row is wanted but nobody takes it", m->name);
        }
        if (c->length[items[i].seq] + added[items[i].seq] >= m->n_ctx) {
            return fail(err, PACKLLM_E_CONTEXT, m->index,
                        "member '%s': its context of %" PRIu32 " tokens is full; give it a larger "
                        "one (-c) or a shorter text",
                        m->name, m->n_ctx);
        }
        added[items[i].seq]++;
    }
    return n > 0 ? m->ops->eval(c, items, n, on_row, ctx, err) : PACKLLM_OK;
}

enum packllm_status member_fork(struct member_context *c, int32_t dst, int32_t src, uint32_t n,
                                struct packllm_error *err) {
    if (c == NULL) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "member_fork: a pointer is missing");
    }
    enum packllm_status s = check_seq(c, dst, err);
    if (s == PACKLLM_OK) {
        s = check_seq(c, src, err);
    }
    if (s != PACKLLM_OK) {
        return s;
    }
    if (dst == src) {
        return fail(err, PACKLLM_E_ARG, c->member->index,
                    "member '%s': sequence %" PRId32 " cannot be forked to itself", c->member->name,
                    src);
    }
    if (n > c->length[src]) {
        return fail(err, PACKLLM_E_ARG, c->member->index,
                    "member '%s': %" PRIu32 " tokens of sequence %" PRId32 ", which has %" PRIu32,
                    c->member->name, n, src, c->length[src]);
    }
    return n > 0 ? c->member->ops->fork(c, dst, src, n, err)
                 : c->member->ops->truncate(c, dst, 0, err);
}

enum packllm_status member_truncate(struct member_context *c, int32_t seq, uint32_t n,
                                    struct packllm_error *err) {
    if (c == NULL) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "member_truncate: a pointer is missing");
    }
    enum packllm_status s = check_seq(c, seq, err);
    if (s != PACKLLM_OK) {
        return s;
    }
    if (n > c->length[seq]) {
        return fail(err, PACKLLM_E_ARG, c->member->index,
                    "member '%s': %" PRIu32 " tokens of sequence %" PRId32 ", which has %" PRIu32,
                    c->member->name, n, seq, c->length[seq]);
    }
    return n < c->length[seq] ? c->member->ops->truncate(c, seq, n, err) : PACKLLM_OK;
}

void member_close(struct member *m) {
    if (m != NULL) {
        m->ops->close(m);
    }
}
