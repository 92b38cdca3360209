/* space.c - token space: where all members share a vocabulary, their rows are fused as they are, one
 * history each and no covers. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"
#include "math/logsum.h"

static bool same_token(const struct vocab_table *a, const struct vocab_table *b, uint32_t id) {
    bool in_a = id < a->n, in_b = id < b->n;
    /* Rows that are there to round the matrix up do not count. */
    if (!in_a || !in_b) {
        return (in_a ? a : b)->kind[id] == VOCAB_MASKED;
    }
    int32_t token = (int32_t)id;
    uint32_t size = vocab_size(a, token);
    return a->kind[id] == b->kind[id] && size == vocab_size(b, token) &&
           memcmp(vocab_bytes(a, token), vocab_bytes(b, token), size) == 0;
}

bool pack_same_vocabulary(const struct packllm_session *s, size_t first, size_t other,
                          uint32_t *differs) {
    const struct member *m = s->pack->members[first], *o = s->pack->members[other];
    const struct vocab_table *a = &m->table, *b = &o->table;
    uint32_t n = a->n > b->n ? a->n : b->n, id = 0;
    while (a->bytes != b->bytes && id < n && same_token(a, b, id)) {
        id++;
    }
    *differs = id;
    return (a->bytes == b->bytes || id == n) && m->space_prefix == o->space_prefix;
}

enum packllm_status pack_choose_space(struct packllm_session *s, struct packllm_error *err) {
    const struct packllm_pack *pack = s->pack;
    bool asked = s->params.space == PACKLLM_SPACE_TOKENS;
    s->may_use_tokens = asked || (s->params.space == PACKLLM_SPACE_AUTO && pack->n > 1 &&
                                  s->params.choose == PACKLLM_CHOOSE_TOKENS);
    /* Experts are steered in bytes, and hedging runs along them. */
    bool of_bytes =
        s->params.weigher == PACKLLM_WEIGH_HEDGE || s->params.weigher == PACKLLM_WEIGH_DEXPERTS;
    s->may_use_tokens = s->may_use_tokens && !of_bytes;
    if (asked && of_bytes) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "the weights '%s' are found in bytes: say --space bytes",
                    packllm_weigher_name(s->params.weigher));
    }
    if (asked && s->params.choose == PACKLLM_CHOOSE_BYTES) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "tokens are the space, and bytes are to be chosen: give up one of the two");
    }
    for (size_t i = 0; i < pack->n; i++) {
        if (pack->members[i]->temperature != 1.0 && asked) {
            return fail(err, PACKLLM_E_ARG, (int)i,
                        "member '%s' has a temperature, which is of bytes: say --space bytes",
                        pack->members[i]->name);
        }
        s->may_use_tokens = s->may_use_tokens && pack->members[i]->temperature == 1.0;
    }
    uint32_t differs = 0;
    bool same = true;
    for (size_t i = 1; i < pack->n && s->may_use_tokens && same; i++) {
        same = pack_same_vocabulary(s, 0, i, &differs);
    }
    if (s->may_use_tokens && !same && asked) {
        return pack_mapped_open(s, err);
    }
    s->may_use_tokens = s->may_use_tokens && same;
    return PACKLLM_OK;
}

void pack_drop_told(struct packllm_session *s) {
    for (size_t i = 0; s->told != NULL && i < s->pack->n; i++) {
        score_tokens_done(&s->told[i]);
    }
}

static void tokens_free(struct score_tokens *tokens, size_t n) {
    for (size_t i = 0; tokens != NULL && i < n; i++) {
        score_tokens_done(&tokens[i]);
    }
    base_free(tokens);
}

enum packllm_status pack_read_own_tokens(struct packllm_session *s, size_t i, const char *text,
                                         size_t size, size_t context, bool go_on,
                                         struct score_tokens *out, struct packllm_error *err) {
    struct cover *cover = NULL;
    enum packllm_status status = pack_cover(s, i, &cover, err);
    return status < 0 ? status
                      : score_read_tokens(cover, s->pack->trees[i], text, size, context, go_on, out,
                                          &s->readings[i], err);
}

/* All members' readings of text: *out[n], to be freed by tokens_free. */
static enum packllm_status read_all(struct packllm_session *s, const char *text, size_t size,
                                    size_t weighed, size_t context, bool go_on,
                                    struct score_tokens **out, struct packllm_error *err) {
    size_t n = s->pack->n;
    struct score_tokens *tokens = alloc_zero(n, sizeof *tokens);
    enum packllm_status status = tokens != NULL ? PACKLLM_OK : fail_memory(err, n * sizeof *tokens);
    for (size_t i = 0; i < n && status >= 0 && go_on; i++) {
        tokens[i] = s->told[i];
        s->told[i] = (struct score_tokens){0};
    }
    if (status >= 0 && s->mapped.on) {
        status = pack_mapped_read(s, text, size, weighed, context, tokens, err);
    }
    for (size_t i = 0; i < n && status >= 0 && !s->mapped.on; i++) {
        status = pack_read_own_tokens(s, i, text, size, context, go_on, &tokens[i], err);
        if (status >= 0) {
            pack_keep_best(s);
        }
    }
    if (status < 0) {
        tokens_free(tokens, n);
        return status;
    }
    *out = tokens;
    return PACKLLM_OK;
}

enum packllm_status pack_read_tokens(struct packllm_session *s, const char *text, size_t size,
                                     struct score_weights *w, struct packllm_error *err) {
    struct score_tokens *tokens = NULL;
    /* 4 KB a token and member stay, where sessions may be many and begin alike. */
    bool go_on = s->pack->gate != NULL && !s->mapped.on;
    enum packllm_status status = read_all(s, text, size, size, 0, go_on, &tokens, err);
    if (status < 0) {
        return status;
    }
    struct score_method method;
    status = pack_method(s, text, size, &method, err);
    if (status >= 0) {
        member_gate_leave(s->pack->gate); /* as in contexts.c */
        status = score_weigh_tokens(&method, s->pack->n, tokens, tokens[0].rows.n, size, s->lambda,
                                    w, err);
        member_gate_enter(s->pack->gate);
    }
    for (size_t i = 0; i < s->pack->n && go_on; i++) {
        s->told[i] = tokens[i];
        tokens[i] = (struct score_tokens){0};
    }
    tokens_free(tokens, s->pack->n);
    return status;
}

/* The bytes that are scored begin at the first token that begins behind the context. */
enum packllm_status pack_score_tokens(struct packllm_session *s, const char *text, size_t size,
                                      size_t context, struct packllm_score *out,
                                      struct packllm_error *err) {
    struct score_tokens *tokens = NULL;
    double start = base_clock();
    size_t n = s->pack->n;
    struct score_weights w = {0};
    atomic_store(&s->cancel, false);
    s->ready = false;
    enum packllm_status status = read_all(s, text, size, context, context, false, &tokens, err);
    if (status < 0) {
        return status;
    }
    double evaluate = base_clock() - start;
    const struct score_tokens *t = &tokens[0];
    size_t low = score_tokens_until(t, context), high = t->rows.n;
    size_t weighed = low > 0 ? t->end[low - 1] : 0;
    size_t from = score_tokens_from(t, context);
    size_t begin = from > 0 ? t->end[from - 1] : 0;
    double *loss = alloc_array(high - from + 1, sizeof *loss);
    struct score_method method;
    if (loss == NULL) {
        status = fail_memory(err, high * sizeof *loss);
    } else if (from >= high) {
        status = fail(err, PACKLLM_E_TEXT, PACKLLM_NO_MEMBER,
                      "no token begins behind the %zu bytes of context", context);
    }
    if (status >= 0) {
        status = pack_method(s, text, weighed, &method, err);
    }
    if (status >= 0) {
        status = score_weigh_tokens(&method, n, tokens, low, weighed, s->lambda, &w, err);
    }
    if (status >= 0) {
        status = score_tokens_loss(s->params.pool, n, tokens, from, high, s->lambda, loss, err);
    }
    if (status >= 0) {
        double bits = MATH_BITS_PER_NAT / (double)(size - begin), sum = 0.0;
        for (size_t k = 0; k < high - from; k++) {
            sum += loss[k];
        }
        for (size_t i = 0; i < n; i++) {
            const struct score_reading *r = &s->readings[i];
            double nll = r->canonical.nll, mapped = 0.0;
            for (size_t k = from; k < high; k++) {
                mapped -= (double)tokens[i].rows.observed[k];
            }
            uint64_t before = r->whole.tokens - r->canonical.tokens;
            s->member_scores[i] = (struct packllm_member_score){
                .name = s->pack->members[i]->name,
                .weight = s->lambda[i],
                .bits_per_byte = nll * bits,
                .bits_per_byte_model = (s->mapped.on ? mapped : nll) * bits,
                .forwards = !s->mapped.on          ? high - from
                            : r->forwards > before ? r->forwards - before
                                                   : 0,
                .tokens = s->mapped.on ? r->canonical.tokens : high - from,
                .windows = 1,
                .seconds = r->seconds,
                .posterior = (double)NAN};
        }
        *out = (struct packllm_score){.bytes = size - begin,
                                      .context_bytes = begin,
                                      .reference = s->mapped.on ? (int32_t)s->mapped.reference : -1,
                                      .n_members = n,
                                      .members = s->member_scores,
                                      .bits_per_byte = sum * bits,
                                      .seconds_evaluate = evaluate,
                                      .seconds_solve = w.seconds,
                                      .posterior = (double)NAN,
                                      .regret = (double)NAN,
                                      .regret_bound = (double)NAN};
    }
    base_free(loss);
    tokens_free(tokens, n);
    return status;
}
