/* plain.c - plain decoding of known texts by one member, what speeds are compared with: one text token by
 * token, or several side by side, a batch of one token of each. No cover, no choice. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"

struct stream {
    int32_t *tokens; /* [n] of the whole text */
    size_t n, first; /* first: of those that are decoded */
};

/* A row is wanted, as whoever samples wants it, and not looked at. */
static enum packllm_status ignore_row(void *ctx, size_t item, const float *logits,
                                      struct packllm_error *err) {
    (void)ctx;
    (void)item;
    (void)logits;
    (void)err;
    return PACKLLM_OK;
}

/* The text's tokens, and those of its context evaluated on sequence seq. */
static enum packllm_status begin(struct member *m, struct member_context *kv, int32_t seq,
                                 const struct packllm_plain *text, struct stream *out,
                                 struct packllm_error *err) {
    size_t room = text->size + 16, count = 0, at = 0;
    out->tokens = alloc_array(room, sizeof *out->tokens);
    struct member_item *items = alloc_array(room + 1, sizeof *items);
    enum packllm_status status = PACKLLM_OK;
    if (out->tokens == NULL || items == NULL) {
        status = fail_memory(err, room * sizeof *items);
    } else {
        status = member_tokenize(m, text->text, text->size, out->tokens, room, &out->n, err);
    }
    if (status >= 0 && m->start >= 0) {
        items[count++] = (struct member_item){.token = m->start, .seq = seq};
    }
    for (; status >= 0 && out->first < out->n && at < text->context_bytes; out->first++) {
        at += vocab_size(&m->table, out->tokens[out->first]);
        items[count++] = (struct member_item){.token = out->tokens[out->first], .seq = seq};
    }
    if (status >= 0 && count > 0) {
        items[count - 1].want_row = true;
        status = member_eval(kv, items, count, ignore_row, NULL, err);
    }
    base_free(items);
    return status;
}

/* One token of each text that is not at its end, until all are. */
static enum packllm_status decode(struct member_context *kv, const struct stream *streams, size_t n,
                                  struct member_item *items, uint64_t *tokens,
                                  struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    for (size_t i = 0, count = 1; count > 0 && status >= 0; i++) {
        count = 0;
        for (size_t k = 0; k < n; k++) {
            size_t at = streams[k].first + i;
            if (at < streams[k].n) {
                items[count++] = (struct member_item){
                    .token = streams[k].tokens[at], .seq = (int32_t)k, .want_row = true};
            }
        }
        if (count > 0) {
            status = member_eval(kv, items, count, ignore_row, NULL, err);
            *tokens += count;
        }
    }
    return status;
}

enum packllm_status packllm_bench_plain_many(struct packllm_pack *pack, size_t member,
                                             const struct packllm_plain *texts, size_t n,
                                             double *out_seconds, uint64_t *out_tokens,
                                             struct packllm_error *err) {
    bool right = member < pack->n && n > 0 && n <= pack->members[member]->n_seq;
    for (size_t k = 0; right && k < n; k++) {
        right = texts[k].size > 0 && texts[k].context_bytes < texts[k].size;
    }
    if (!right) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "no such member, no text to decode, or more texts than n_seq");
    }
    struct member *m = pack->members[member];
    struct member_context *kv = NULL;
    struct stream *streams = alloc_zero(n, sizeof *streams);
    struct member_item *items = alloc_zero(n, sizeof *items);
    uint64_t tokens = 0;
    enum packllm_status status = PACKLLM_OK;
    if (streams == NULL || items == NULL) {
        status = fail_memory(err, n * sizeof *streams);
    } else {
        status = member_context_open(m, &kv, err);
    }
    for (size_t k = 0; k < n && status >= 0; k++) {
        status = begin(m, kv, (int32_t)k, &texts[k], &streams[k], err);
    }
    double start = base_clock();
    if (status >= 0) {
        status = decode(kv, streams, n, items, &tokens, err);
    }
    if (status >= 0) {
        *out_seconds = base_clock() - start;
        *out_tokens = tokens;
    }
    for (size_t k = 0; streams != NULL && k < n; k++) {
        base_free(streams[k].tokens);
    }
    member_context_close(kv);
    base_free(streams);
    base_free(items);
    return status;
}

enum packllm_status packllm_bench_plain(struct packllm_pack *pack, size_t member, const char *text,
                                        size_t size, size_t context_bytes, double *out_seconds,
                                        uint64_t *out_tokens, struct packllm_error *err) {
    const struct packllm_plain one = {.text = text, .size = size, .context_bytes = context_bytes};
    return packllm_bench_plain_many(pack, member, &one, 1, out_seconds, out_tokens, err);
}
