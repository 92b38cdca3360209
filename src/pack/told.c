/* told.c - how likely a pack finds a text whose tokens are given, from one reading of the members
 * (docs/math.md, "Known tokens"). The bytes have the pool's probabilities; where the display member's
 * tokens end is its own to say. A token's number is the step of
 *
 *     log P(bytes so far) + log P_D(a token ends here | bytes so far)
 *
 * so they add up to what packllm_session_score and packllm_session_options find in the same bytes. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"

#define LEAST_END                                                                                  \
    1e-9 /* of an end that D does not know of: the tokens are not its own of this text */

struct tell {
    struct packllm_session *s;
    const int32_t *tokens;
    size_t n, display;
    const double *given; /* [n_members], or NULL */
    size_t weighed;      /* bytes that weights come from, where they neither run nor are given */
    bool runs;
    char *text;
    size_t size, whole; /* bytes of all tokens, and of whole characters */
    size_t *ends;       /* [n] */
    size_t n_active, *active;
    double *lambda;                        /* [n_active] */
    const struct score_reading **readings; /* [n_members] */
    double *log_p;                         /* [whole] */
    double *blocks;                        /* [whole / PACK_BLOCK + 1][n_members] */
    const float **rows;                    /* [n_active] */
    struct score_weights found;
};

static uint32_t token_size(const struct tell *t, size_t k, const char **out_bytes) {
    const struct member *m = t->s->pack->members[t->display];
    const char *bytes = (const char *)vocab_bytes(&m->table, t->tokens[k]);
    uint32_t size = vocab_size(&m->table, t->tokens[k]);
    bool own = k == 0 && m->space_prefix && size > 0 && bytes[0] == ' '; /* no byte of the text */
    *out_bytes = bytes + (own ? 1 : 0);
    return size - (own ? 1 : 0);
}

static enum packllm_status spell(struct tell *t, struct packllm_error *err) {
    const struct member *m = t->s->pack->members[t->display];
    const char *bytes;
    for (size_t k = 0; k < t->n; k++) {
        if (t->tokens[k] < 0 || (uint32_t)t->tokens[k] >= m->table.n ||
            !vocab_is_text(&m->table, t->tokens[k])) {
            return fail(err, PACKLLM_E_TEXT, m->index, "token %d of member '%s' is no text",
                        (int)t->tokens[k], m->name);
        }
        t->size += token_size(t, k, &bytes);
    }
    t->text = alloc_array(t->size + 1, 1);
    t->ends = alloc_array(t->n + 1, sizeof *t->ends);
    t->active = alloc_array(t->s->pack->n, sizeof *t->active);
    t->lambda = alloc_array(t->s->pack->n, sizeof *t->lambda);
    t->rows = alloc_array(t->s->pack->n, sizeof *t->rows);
    t->readings = alloc_array(t->s->pack->n, sizeof *t->readings);
    t->log_p = alloc_array(t->size + 1, sizeof *t->log_p);
    t->blocks = alloc_zero((t->size / PACK_BLOCK + 1) * t->s->pack->n, sizeof *t->blocks);
    if (t->text == NULL || t->ends == NULL || t->active == NULL || t->lambda == NULL ||
        t->rows == NULL || t->readings == NULL || t->log_p == NULL || t->blocks == NULL) {
        return fail_memory(err, t->size + t->n * sizeof *t->ends);
    }
    for (size_t i = 0; i < t->s->pack->n; i++) {
        t->readings[i] = &t->s->readings[i];
    }
    size_t at = 0;
    for (size_t k = 0; k < t->n; k++) {
        uint32_t size = token_size(t, k, &bytes);
        memcpy(t->text + at, bytes, size);
        at += size;
        t->ends[k] = at;
    }
    bool bad;
    t->whole = utf8_whole(t->text, t->size, &bad);
    return bad ? pack_check_utf8(t->text, t->size, err) : PACKLLM_OK;
}

/* Members without a say read nothing, but for D. */
static enum packllm_status read(struct tell *t, struct packllm_error *err) {
    struct packllm_session *s = t->s;
    enum packllm_status status = PACKLLM_OK;
    for (size_t i = 0; i < s->pack->n && status >= 0; i++) {
        struct cover *cover = NULL;
        if (t->given != NULL && t->given[i] == 0.0 && i != t->display) {
            continue;
        }
        status = pack_cover(s, i, &cover, err);
        if (status >= 0) {
            status = score_read(cover, s->pack->members[i], t->text, t->whole, t->whole, false,
                                &s->readings[i], err);
        }
        if (status >= 0) {
            pack_keep_best(s);
        }
    }
    return status == PACKLLM_E_CONTEXT ? pack_context_error(s, t->text, t->whole, err) : status;
}

/* lambda from the first `size` bytes. */
static enum packllm_status weigh(struct tell *t, size_t size, struct packllm_error *err) {
    struct packllm_session *s = t->s;
    struct score_method method;
    enum packllm_status status = PACKLLM_OK;
    if (t->given != NULL) {
        status = solve_fixed(t->given, s->pack->n, s->lambda, err);
    } else {
        status = pack_method(s, t->text, size, &method, err);
        if (status >= 0) {
            status = score_weigh(&method, s->pack->n, t->readings, t->text, size, s->lambda,
                                 &t->found, err);
        }
    }
    t->n_active = 0;
    for (size_t i = 0; i < s->pack->n; i++) {
        if (s->lambda[i] != 0.0) {
            t->lambda[t->n_active] = s->lambda[i];
            t->active[t->n_active++] = i;
        }
    }
    return status;
}

static double log_byte(struct tell *t, size_t x) {
    float logp[PACKLLM_EVENTS];
    for (size_t k = 0; k < t->n_active; k++) {
        t->rows[k] = t->s->readings[t->active[k]].logq + x * PACKLLM_EVENTS;
    }
    pack_pool(t->s, t->n_active, t->active, t->lambda, t->rows, logp);
    return (double)logp[(uint8_t)t->text[x]];
}

/* log P_D(a token ends behind token k | the bytes up to there); the text's last is what may begin with
 * its bytes. */
static double log_end(const struct tell *t, size_t k) {
    if (t->ends[k] == t->whole) {
        return 0.0;
    }
    double share = (double)t->s->readings[t->display].ended[t->ends[k]];
    return log(share > LEAST_END ? share : LEAST_END);
}

/* log p of every byte into t->log_p; the weights of every block, or the one set, into t->blocks. */
static enum packllm_status tell_bytes(struct tell *t, struct packllm_error *err) {
    size_t n = t->s->pack->n;
    enum packllm_status status = PACKLLM_OK;
    for (size_t x = 0; x < t->whole && status >= 0; x++) {
        if (x == 0 || (t->runs && x % PACK_BLOCK == 0)) {
            status = atomic_load(&t->s->cancel)
                         ? fail(err, PACKLLM_E_CANCELLED, PACKLLM_NO_MEMBER, "cancelled")
                         : weigh(t, x == 0 ? t->weighed : x, err);
            memcpy(t->blocks + x / PACK_BLOCK * n, t->s->lambda, n * sizeof *t->blocks);
        }
        t->log_p[x] = status >= 0 ? log_byte(t, x) : 0.0;
    }
    return status;
}

static void tell_tokens(const struct tell *t, double *out_logprob, double *out_weights) {
    size_t n = t->s->pack->n, x = 0;
    double end = 0.0, over = 0.0;
    for (size_t k = 0; k < t->n; k++) {
        size_t block = t->runs ? (x < t->whole ? x : t->whole - 1) / PACK_BLOCK : 0;
        memcpy(out_weights + k * n, t->blocks + block * n, n * sizeof *out_weights);
        out_logprob[k] = (double)NAN;
        if (t->ends[k] > t->whole) {
            continue;
        }
        double next = log_end(t, k), sum = over + next - end;
        for (; x < t->ends[k]; x++) {
            sum += t->log_p[x];
        }
        /* The pool may do without D's doubt whether a token ended, which then comes back in full: what
         * a token cannot take is the next one's. */
        over = sum > 0.0 ? sum : 0.0;
        out_logprob[k] = sum - over;
        end = next;
    }
    for (size_t k = t->n; k-- > 0 && over > 0.0;) { /* or, at the end, of those before */
        double room = isnan(out_logprob[k]) ? 0.0 : -out_logprob[k];
        double takes = room < over ? room : over;
        out_logprob[k] += takes > 0.0 ? takes : 0.0;
        over -= takes;
    }
}

/* Whether only the display member has a say. */
static bool alone(const struct tell *t) {
    for (size_t i = 0; i < t->s->pack->n; i++) {
        if (t->given == NULL || (t->given[i] != 0.0 && i != t->display)) {
            return t->s->pack->n == 1;
        }
    }
    return true;
}

static enum packllm_status tell(struct tell *t, size_t context, double *out_logprob,
                                double *out_weights, struct packllm_error *err) {
    struct packllm_session *s = t->s;
    double start = base_clock();
    enum packllm_status status = spell(t, err);
    if (status < 0) {
        return status;
    }
    if (t->whole == 0 || alone(t)) {
        status = weigh(t, 0, err);
        for (size_t k = 0; k < t->n && status >= 0; k++) {
            out_logprob[k] = (double)NAN;
            memcpy(out_weights + k * s->pack->n, s->lambda, s->pack->n * sizeof *out_weights);
        }
        return status;
    }
    t->weighed = context > 0 ? t->ends[(context < t->n ? context : t->n) - 1] : 0;
    t->weighed = t->weighed < t->whole ? t->weighed : t->whole;
    t->runs = t->given == NULL && t->weighed == 0;
    status = read(t, err);
    if (status >= 0) {
        member_gate_leave(s->pack->gate); /* as in contexts.c */
        status = tell_bytes(t, err);
        member_gate_enter(s->pack->gate);
    }
    if (status < 0) {
        return status;
    }
    tell_tokens(t, out_logprob, out_weights);
    if (t->given == NULL) {
        pack_fill_weights(s, t->runs ? t->whole : t->weighed, &t->found, base_clock() - start);
    }
    return PACKLLM_OK;
}

enum packllm_status packllm_session_tell(struct packllm_session *s, const int32_t *tokens, size_t n,
                                         const double *weights, size_t context, double *out_logprob,
                                         double *out_weights, struct packllm_error *err) {
    if (s->may_use_tokens || s->params.space == PACKLLM_SPACE_TOKENS) {
        return fail(err, PACKLLM_E_UNSUPPORTED, PACKLLM_NO_MEMBER,
                    "tokens are told from one reading only where members are fused in bytes");
    }
    struct tell t = {.s = s,
                     .tokens = tokens,
                     .n = n,
                     .given = weights,
                     .display = s->params.display >= 0 ? (size_t)s->params.display : 0};
    pack_enter(s);
    atomic_store(&s->cancel, false);
    s->ready = s->started = s->closing = s->known = s->in_tokens = false;
    pack_drop_readings(s);
    pack_chat_close(s->chat);
    s->chat = NULL;
    memset(s->dropped, 0, s->pack->n * sizeof *s->dropped);
    enum packllm_status status = tell(&t, context, out_logprob, out_weights, err);
    pack_drop_readings(s);
    pack_leave(s, false);
    base_free(t.text);
    base_free(t.ends);
    base_free(t.active);
    base_free(t.lambda);
    base_free(t.rows);
    base_free(t.readings);
    base_free(t.log_p);
    base_free(t.blocks);
    return status;
}
