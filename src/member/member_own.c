/* member_own.c - a member from the caller's callbacks (packllm.h, unstable tier). Rows are asked for
 * with the whole history, so forks and rollbacks are exact, and so are tests on such members. */
#define PACKLLM_EXPERIMENTAL
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/status.h"
#include "member/member.h"
#include "member/member_base.h"

struct own_member {
    struct member base;
    long (*tokenize)(void *data, const char *text, size_t size, int32_t *out, size_t cap);
    int (*logits)(void *data, const int32_t *history, size_t n, float *out_logits);
    void *data;
    int32_t *sorted; /* [n_sorted] text tokens by their bytes, lower id first; for longest match */
    uint32_t n_sorted;
    long (*chat)(void *data, const struct packllm_message *messages, size_t n, char *out,
                 size_t cap);
    struct member_control *controls; /* [n_controls] what `chat` may write as control tokens */
    uint32_t n_controls;
};

struct own_context {
    struct member_context base;
    struct member_histories histories;
    float *row; /* [table.n] */
};

/* ---- greedy longest match ------------------------------------------------------------------ */

static int compare_bytes(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size) {
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

/* Heap sort: qsort has no argument for the table, and C17 no qsort_r. */
static bool before(const struct vocab_table *t, int32_t a, int32_t b) {
    int order =
        compare_bytes(vocab_bytes(t, a), vocab_size(t, a), vocab_bytes(t, b), vocab_size(t, b));
    return order != 0 ? order < 0 : a < b;
}

static void sift(const struct vocab_table *t, int32_t *heap, uint32_t root, uint32_t n) {
    for (;;) {
        uint32_t child = 2 * root + 1;
        if (child >= n) {
            return;
        }
        if (child + 1 < n && before(t, heap[child], heap[child + 1])) {
            child++;
        }
        if (!before(t, heap[root], heap[child])) {
            return;
        }
        int32_t swap = heap[root];
        heap[root] = heap[child];
        heap[child] = swap;
        root = child;
    }
}

static enum packllm_status sort_tokens(struct own_member *m, struct packllm_error *err) {
    const struct vocab_table *t = &m->base.table;
    m->sorted = alloc_array(t->n, sizeof *m->sorted);
    if (m->sorted == NULL) {
        return fail_memory(err, t->n * sizeof *m->sorted);
    }
    for (uint32_t i = 0; i < t->n; i++) {
        if (vocab_is_text(t, (int32_t)i)) {
            m->sorted[m->n_sorted++] = (int32_t)i;
        }
    }
    for (uint32_t i = m->n_sorted / 2; i-- > 0;) {
        sift(t, m->sorted, i, m->n_sorted);
    }
    for (uint32_t n = m->n_sorted; n > 1; n--) {
        int32_t swap = m->sorted[0];
        m->sorted[0] = m->sorted[n - 1];
        m->sorted[n - 1] = swap;
        sift(t, m->sorted, 0, n - 1);
    }
    return PACKLLM_OK;
}

/* The lowest id with exactly these bytes, or -1. */
static int32_t find_token(const struct own_member *m, const uint8_t *bytes, size_t size) {
    const struct vocab_table *t = &m->base.table;
    uint32_t low = 0, high = m->n_sorted;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int32_t id = m->sorted[mid];
        if (compare_bytes(vocab_bytes(t, id), vocab_size(t, id), bytes, size) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low < m->n_sorted) {
        int32_t id = m->sorted[low];
        if (compare_bytes(vocab_bytes(t, id), vocab_size(t, id), bytes, size) == 0) {
            return id;
        }
    }
    return -1;
}

static enum packllm_status longest_match(const struct own_member *m, const char *text, size_t size,
                                         int32_t *out, size_t cap, size_t *out_n,
                                         struct packllm_error *err) {
    size_t n = 0;
    for (size_t at = 0; at < size;) {
        size_t length = size - at < m->base.table.longest ? size - at : m->base.table.longest;
        int32_t id = -1;
        for (; length > 0 && id < 0; length -= id < 0) {
            id = find_token(m, (const uint8_t *)text + at, length);
        }
        if (id < 0) {
            return fail(err, PACKLLM_E_TEXT, m->base.index,
                        "member '%s' cannot spell byte 0x%02x at offset %zu", m->base.name,
                        (unsigned)(unsigned char)text[at], at);
        }
        if (n == cap) {
            return fail(err, PACKLLM_E_ARG, m->base.index,
                        "member '%s': the text has more than %zu tokens", m->base.name, cap);
        }
        out[n++] = id;
        at += length;
    }
    *out_n = n;
    return PACKLLM_OK;
}

static enum packllm_status own_tokenize(struct member *base, const char *text, size_t size,
                                        bool inside, int32_t *out, size_t cap, size_t *out_n,
                                        struct packllm_error *err) {
    struct own_member *m = (struct own_member *)base;
    enum packllm_status s = PACKLLM_OK;
    char *spaced = NULL;
    if (base->space_prefix && !inside) {
        spaced = alloc_array(size + 1, 1);
        if (spaced == NULL) {
            return fail_memory(err, size + 1);
        }
        spaced[0] = ' ';
        memcpy(spaced + 1, text, size);
        text = spaced;
        size++;
    }
    if (m->tokenize == NULL) {
        s = longest_match(m, text, size, out, cap, out_n, err);
    } else {
        long n = m->tokenize(m->data, text, size, out, cap);
        if (n < 0 || (size_t)n > cap) {
            s = fail(err, n < 0 ? PACKLLM_E_TEXT : PACKLLM_E_ARG, base->index,
                     n < 0 ? "member '%s': its tokenizer cannot spell the text"
                           : "member '%s': its tokenizer gave more tokens than there is room for",
                     base->name);
        } else {
            *out_n = (size_t)n;
        }
    }
    base_free(spaced);
    return s;
}

/* ---- contexts ------------------------------------------------------------------------------ */

static void own_context_close(struct member_context *base) {
    struct own_context *c = (struct own_context *)base;
    member_histories_done(&c->histories);
    base_free(c->row);
    base_free(c);
}

static enum packllm_status own_context_open(struct member *m, struct member_context **out,
                                            struct packllm_error *err) {
    struct own_context *c = alloc_zero(1, sizeof *c);
    if (c == NULL) {
        return fail_memory(err, sizeof *c);
    }
    c->base.member = m;
    enum packllm_status s = member_histories_init(&c->histories, m->n_seq, err);
    if (s == PACKLLM_OK) {
        c->row = alloc_array(m->table.n, sizeof *c->row);
        if (c->row == NULL) {
            s = fail_memory(err, m->table.n * sizeof *c->row);
        }
    }
    if (s != PACKLLM_OK) {
        own_context_close(&c->base);
        return s;
    }
    c->base.length = c->histories.length;
    *out = &c->base;
    return PACKLLM_OK;
}

static enum packllm_status own_item(struct own_context *c, const struct member_item *item, size_t i,
                                    member_row_fn on_row, void *ctx, struct packllm_error *err) {
    struct own_member *m = (struct own_member *)c->base.member;
    if (c->base.abort_flag != NULL && atomic_load(c->base.abort_flag)) {
        return fail(err, PACKLLM_E_CANCELLED, m->base.index, "cancelled while member '%s' was read",
                    m->base.name);
    }
    enum packllm_status s = member_histories_push(&c->histories, item->seq, item->token, err);
    if (s != PACKLLM_OK) {
        return s;
    }
    c->base.forwards++;
    if (!item->want_row) {
        return PACKLLM_OK;
    }
    double start = base_clock();
    int failed =
        m->logits(m->data, c->histories.tokens[item->seq], c->histories.length[item->seq], c->row);
    c->base.seconds += base_clock() - start;
    if (failed != 0) {
        return fail(err, PACKLLM_E_MODEL, m->base.index,
                    "member '%s': its logits function failed (%d) at token %" PRIu32, m->base.name,
                    failed, c->histories.length[item->seq]);
    }
    s = member_row_check(&c->base, c->row, err);
    return s == PACKLLM_OK ? on_row(ctx, i, c->row, err) : s;
}

static enum packllm_status own_eval(struct member_context *base, const struct member_item *items,
                                    size_t n, member_row_fn on_row, void *ctx,
                                    struct packllm_error *err) {
    struct own_context *c = (struct own_context *)base;
    uint32_t before_call[MEMBER_SEQ_ALL];
    enum packllm_status s = PACKLLM_OK;
    memcpy(before_call, base->length, base->member->n_seq * sizeof *before_call);
    for (size_t i = 0; i < n && s >= 0; i++) {
        s = own_item(c, &items[i], i, on_row, ctx, err);
    }
    if (s < 0) {
        memcpy(base->length, before_call, base->member->n_seq * sizeof *before_call);
        return s;
    }
    return PACKLLM_OK;
}

static enum packllm_status own_fork(struct member_context *base, int32_t dst, int32_t src,
                                    uint32_t n, struct packllm_error *err) {
    struct own_context *c = (struct own_context *)base;
    uint32_t keep = member_histories_common(&c->histories, dst, src, n);
    return member_histories_copy(&c->histories, dst, src, keep, n, err);
}

static enum packllm_status own_truncate(struct member_context *base, int32_t seq, uint32_t n,
                                        struct packllm_error *err) {
    (void)err;
    base->length[seq] = n;
    return PACKLLM_OK;
}

/* ---- chats --------------------------------------------------------------------------------- */

static enum packllm_status own_chat_render(struct member *base,
                                           const struct packllm_message *messages, size_t n,
                                           struct buf *out, struct packllm_error *err) {
    struct own_member *m = (struct own_member *)base;
    size_t cap = 4096;
    for (;;) {
        char *text = alloc_array(cap, 1);
        if (text == NULL) {
            return fail_memory(err, cap);
        }
        long size = m->chat(m->data, messages, n, text, cap);
        bool fits = size >= 0 && (size_t)size <= cap;
        bool added = fits && buf_add(out, text, (size_t)size);
        base_free(text);
        if (size < 0) {
            return fail(err, PACKLLM_E_MODEL, base->index,
                        "member '%s': its chat function failed (%ld)", base->name, size);
        }
        if (fits) {
            return added ? PACKLLM_OK : fail_memory(err, cap);
        }
        cap = (size_t)size;
    }
}

static enum packllm_status own_chat_controls(struct member *base, const char *words, size_t size,
                                             struct member_control *out, size_t cap, size_t *out_n,
                                             struct packllm_error *err) {
    const struct own_member *m = (const struct own_member *)base;
    size_t n = 0;
    for (size_t at = 0; at < size;) {
        size_t longest = 0;
        for (uint32_t i = 0; i < m->n_controls; i++) {
            size_t length = strlen(m->controls[i].text);
            if (length > longest && length <= size - at &&
                memcmp(words + at, m->controls[i].text, length) == 0) {
                if (n == cap) {
                    return fail(err, PACKLLM_E_ARG, base->index, "too many control tokens");
                }
                longest = length;
                out[n] = m->controls[i];
            }
        }
        n += longest > 0;
        at += longest > 0 ? longest : 1;
    }
    *out_n = n;
    return PACKLLM_OK;
}

static enum packllm_status keep_controls(struct own_member *m, const struct packllm_own_member *own,
                                         struct packllm_error *err) {
    m->controls = alloc_zero(own->n_tokens, sizeof *m->controls);
    if (m->controls == NULL) {
        return fail_memory(err, own->n_tokens * sizeof *m->controls);
    }
    for (size_t i = 0; i < own->n_tokens; i++) {
        const struct packllm_own_token *token = &own->tokens[i];
        if ((token->control || token->end) && token->size > 0) {
            char *text = alloc_text(token->bytes, token->size);
            if (text == NULL) {
                return fail_memory(err, token->size);
            }
            m->controls[m->n_controls++] =
                (struct member_control){.token = (int32_t)i, .text = text};
        }
    }
    return PACKLLM_OK;
}

static void own_close(struct member *base) {
    struct own_member *m = (struct own_member *)base;
    for (uint32_t i = 0; i < m->n_controls; i++) {
        base_free((void *)(uintptr_t)m->controls[i].text);
    }
    base_free(m->controls);
    base_free(m->sorted);
    member_base_done(base);
    base_free(m);
}

static const struct member_ops own_ops = {
    .tokenize = own_tokenize,
    .context_open = own_context_open,
    .context_close = own_context_close,
    .eval = own_eval,
    .fork = own_fork,
    .truncate = own_truncate,
    .chat_render = own_chat_render,
    .chat_controls = own_chat_controls,
    .close = own_close,
};

/* ---- opening ------------------------------------------------------------------------------- */

static enum packllm_status check_own(const struct packllm_own_member *own, int index,
                                     struct packllm_error *err) {
    const char *what = NULL;
    if (own->name == NULL || own->name[0] == '\0') {
        what = "it has no name";
    } else if (own->tokens == NULL || own->n_tokens == 0) {
        what = "it has no tokens";
    } else if (own->n_tokens > (size_t)INT32_MAX) {
        what = "it has too many tokens";
    } else if (own->start < -1 || own->start >= (int64_t)own->n_tokens) {
        what = "its start token is not one of its tokens";
    } else if (own->n_ctx == 0) {
        what = "its context has no room";
    } else if (own->logits == NULL) {
        what = "it has no logits function";
    }
    for (size_t i = 0; what == NULL && i < own->n_tokens; i++) {
        if (own->tokens[i].bytes == NULL && own->tokens[i].size > 0) {
            what = "a token has a size but no bytes";
        }
    }
    return what == NULL ? PACKLLM_OK
                        : fail(err, PACKLLM_E_ARG, index, "member '%s' of one's own: %s",
                               own->name != NULL ? own->name : "", what);
}

static enum packllm_status fill_table(struct member *m, const struct packllm_own_member *own,
                                      struct packllm_error *err) {
    struct vocab_builder builder = {0};
    enum packllm_status s = vocab_builder_begin(&builder, (uint32_t)own->n_tokens, err);
    for (size_t i = 0; s == PACKLLM_OK && i < own->n_tokens; i++) {
        const struct packllm_own_token *token = &own->tokens[i];
        enum vocab_kind kind = token->end       ? VOCAB_END
                               : token->control ? VOCAB_MASKED
                                                : VOCAB_NORMAL;
        bool text = kind == VOCAB_NORMAL;
        s = vocab_builder_add(&builder, token->bytes, text ? token->size : 0, kind, err);
    }
    if (s == PACKLLM_OK) {
        vocab_builder_end(&builder, &m->table);
    } else {
        vocab_builder_drop(&builder);
    }
    return s;
}

enum packllm_status member_own_open(struct member **out, const struct packllm_own_member *own,
                                    int index, const struct packllm_params *params,
                                    struct packllm_error *err) {
    if (out == NULL || own == NULL) {
        return fail(err, PACKLLM_E_ARG, index, "member_own_open: a pointer is missing");
    }
    enum packllm_status s = check_own(own, index, err);
    if (s != PACKLLM_OK) {
        return s;
    }
    uint32_t n_seq = params != NULL && params->n_seq != 0 ? params->n_seq : MEMBER_SEQ_DEFAULT;
    if (n_seq < MEMBER_SEQ_MIN || n_seq > MEMBER_SEQ_MAX) {
        return fail(err, PACKLLM_E_ARG, index, "n_seq is %" PRIu32 ", it must be in %d..%d", n_seq,
                    MEMBER_SEQ_MIN, MEMBER_SEQ_MAX);
    }
    struct own_member *m = alloc_zero(1, sizeof *m);
    if (m == NULL) {
        return fail_memory(err, sizeof *m);
    }
    s = member_base_init(&m->base, &own_ops, own->name, "", index, err);
    if (s == PACKLLM_OK) {
        m->base.description = alloc_text("own member", strlen("own member"));
        s = m->base.description != NULL ? fill_table(&m->base, own, err) : fail_memory(err, 10);
    }
    if (s == PACKLLM_OK && own->tokenize == NULL) {
        s = sort_tokens(m, err);
    }
    if (s == PACKLLM_OK && own->chat != NULL) {
        s = keep_controls(m, own, err);
        m->base.chat_form = "own";
        m->base.chat_start = own->start;
    }
    if (s != PACKLLM_OK) {
        own_close(&m->base);
        return s;
    }
    m->chat = own->chat;
    m->tokenize = own->tokenize;
    m->logits = own->logits;
    m->data = own->data;
    m->base.start = own->start;
    m->base.n_ctx = own->n_ctx;
    m->base.n_ctx_train = own->n_ctx;
    m->base.n_parallel = params != NULL && params->n_parallel > 0 ? params->n_parallel : 1;
    m->base.n_seq = n_seq * m->base.n_parallel;
    *out = &m->base;
    return PACKLLM_OK;
}
