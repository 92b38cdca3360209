/* told.c - how likely a pack finds a text whose tokens are given, from one reading of the members
 * (docs/math.md, "Known tokens"). The bytes have the pool's probabilities; where the display member's
 * tokens end is its own to say. A token's number is the step of
 *
 *     log P(bytes so far) + log P_D(a token ends here | bytes so far)
 *
 * so they add up to what packllm_session_score and packllm_session_options find in the same bytes. What
 * else might have stood there has log pi as choose.c makes it, but that only the bytes that the text
 * shares, and the first that it does not, are corrected: the rows behind others are not known. */
#include "pack/choose.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"
#include "pack/likely.h"

/* Of an end that D does not know of. */
#define LEAST_END 1e-9

/* What D says where a token begins. */
struct place {
    uint64_t likely[TOP_DISPLAY]; /* keys, see likely.h */
    size_t n;
    double end;
};

struct tell {
    struct packllm_session *s;
    const int32_t *tokens;
    size_t n;
    const struct member *display;
    size_t at;           /* its place in the pack */
    const double *given; /* [n_members], or NULL */
    size_t weighed;      /* bytes that weights come from, where they neither run nor are given */
    bool runs;
    char *text;
    size_t size;
    size_t *ends; /* [n] */
    size_t n_active, *active;
    double *lambda;                        /* [n_active] */
    const float **rows;                    /* [n_active] */
    const struct score_reading **readings; /* [n_members] */
    double *log_p;                         /* [size] */
    float *pooled;                         /* [size][257], where others are told */
    struct place *places;                  /* [n], alike */
    struct score_weights found;
};

static uint32_t token_size(const struct tell *t, size_t k, const char **out_bytes) {
    const struct vocab_table *table = &t->display->table;
    const char *bytes = (const char *)vocab_bytes(table, t->tokens[k]);
    uint32_t size = vocab_size(table, t->tokens[k]);
    bool own = k == 0 && t->display->space_prefix && size > 0 && bytes[0] == ' ';
    *out_bytes = bytes + (own ? 1 : 0); /* that space is no byte of the text */
    return size - (own ? 1 : 0);
}

static enum packllm_status room(struct tell *t, struct packllm_error *err) {
    size_t n = t->s->pack->n, bytes = (t->size + 1) * PACKLLM_EVENTS;
    bool others = t->s->params.n_top > 0;
    t->text = alloc_array(t->size + 1, 1);
    t->ends = alloc_array(t->n, sizeof *t->ends);
    t->active = alloc_array(n, sizeof *t->active);
    t->lambda = alloc_array(n, sizeof *t->lambda);
    t->rows = alloc_array(n, sizeof *t->rows);
    t->readings = alloc_array(n, sizeof *t->readings);
    t->log_p = alloc_array(t->size + 1, sizeof *t->log_p);
    t->pooled = others ? alloc_array(bytes, sizeof *t->pooled) : NULL;
    t->places = others ? alloc_zero(t->n, sizeof *t->places) : NULL;
    return t->text != NULL && t->ends != NULL && t->active != NULL && t->lambda != NULL &&
                   t->rows != NULL && t->readings != NULL && t->log_p != NULL &&
                   (!others || (t->pooled != NULL && t->places != NULL))
               ? PACKLLM_OK
               : fail_memory(err, others ? bytes * sizeof *t->pooled : t->size);
}

static void room_done(struct tell *t) {
    base_free(t->text);
    base_free(t->ends);
    base_free(t->active);
    base_free(t->lambda);
    base_free(t->rows);
    base_free(t->readings);
    base_free(t->log_p);
    base_free(t->pooled);
    base_free(t->places);
}

static enum packllm_status unsupported(struct packllm_error *err, const char *why) {
    return fail(err, PACKLLM_E_UNSUPPORTED, PACKLLM_NO_MEMBER,
                "tokens are not told from one reading: %s", why);
}

/* Whether the tokens are the ones that D makes of what they spell. */
static enum packllm_status check_tokens(const struct tell *t, struct packllm_error *err) {
    struct member *m = t->s->pack->members[t->at];
    size_t n = 0, most = t->size + 16;
    int32_t *own = alloc_array(most, sizeof *own);
    if (own == NULL) {
        return fail_memory(err, most * sizeof *own);
    }
    enum packllm_status status = member_tokenize(m, t->text, t->size, own, most, &n, err);
    if (status >= 0 && (n != t->n || memcmp(own, t->tokens, n * sizeof *own) != 0)) {
        status = unsupported(err, "its display member makes others of this text");
    }
    base_free(own);
    return status;
}

static enum packllm_status spell(struct tell *t, struct packllm_error *err) {
    const char *bytes;
    enum packllm_status status = PACKLLM_OK;
    for (size_t k = 0; k < t->n && status >= 0; k++) {
        status = pack_check_token(t->display, t->tokens[k], err);
        t->size += status >= 0 ? token_size(t, k, &bytes) : 0;
    }
    status = status >= 0 ? room(t, err) : status;
    for (size_t k = 0, at = 0; k < t->n && status >= 0; k++) {
        uint32_t size = token_size(t, k, &bytes);
        memcpy(t->text + at, bytes, size);
        at += size;
        t->ends[k] = at;
    }
    for (size_t i = 0; i < t->s->pack->n && status >= 0; i++) {
        t->readings[i] = &t->s->readings[i];
    }
    if (status < 0) {
        return status;
    }
    bool bad;
    size_t whole = utf8_whole(t->text, t->size, &bad);
    if (bad) {
        return pack_check_utf8(t->text, t->size, err);
    }
    return whole > 0 && whole == t->size
               ? check_tokens(t, err)
               : unsupported(err, "they end inside a character, or spell nothing");
}

static enum packllm_status on_row(void *data, size_t index, const struct cover_tokens *row,
                                  int32_t token, size_t end, struct packllm_error *err) {
    const struct tell *t = data;
    (void)token;
    (void)end;
    (void)err;
    if (index < t->n) {
        struct place *place = &t->places[index];
        uint32_t all = t->s->pack->trees[t->at]->n;
        place->n = likely_top(row, 0, all, TOP_DISPLAY, place->likely);
        place->end = row->end;
    }
    return PACKLLM_OK;
}

/* Members without a say read nothing, but for D. What they read depends on nothing read before. */
static enum packllm_status read(struct tell *t, struct packllm_error *err) {
    struct packllm_session *s = t->s;
    enum packllm_status status = PACKLLM_OK;
    for (size_t i = 0; i < s->pack->n && status >= 0; i++) {
        struct cover *cover = NULL;
        bool display = i == t->at;
        if (t->given != NULL && t->given[i] == 0.0 && !display) {
            continue;
        }
        status = pack_cover(s, i, &cover, err);
        if (status < 0) {
            break;
        }
        cover_forget(cover);
        cover_set_rows(cover, display && t->places != NULL ? on_row : NULL, t);
        status = score_read(cover, s->pack->members[i], t->text, t->size, t->size, false,
                            &s->readings[i], err);
        cover_set_rows(cover, NULL, NULL);
        if (status >= 0) {
            pack_keep_best(s);
        }
    }
    return status == PACKLLM_E_CONTEXT ? pack_context_error(s, t->text, t->size, err) : status;
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

/* log p of every byte, and all the row where others are told. */
static enum packllm_status pool_bytes(struct tell *t, struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    for (size_t x = 0; x < t->size && status >= 0; x++) {
        float own[PACKLLM_EVENTS];
        float *row = t->pooled != NULL ? t->pooled + x * PACKLLM_EVENTS : own;
        if (x == 0 || (t->runs && x % PACK_BLOCK == 0)) {
            status = atomic_load(&t->s->cancel)
                         ? fail(err, PACKLLM_E_CANCELLED, PACKLLM_NO_MEMBER, "cancelled")
                         : weigh(t, x == 0 ? t->weighed : x, err);
        }
        for (size_t k = 0; k < t->n_active; k++) {
            t->rows[k] = t->readings[t->active[k]]->logq + x * PACKLLM_EVENTS;
        }
        pack_pool(t->s, t->n_active, t->active, t->lambda, t->rows, row);
        t->log_p[x] = (double)row[(uint8_t)t->text[x]];
    }
    return status;
}

/* log P_D(a token ends behind token k | the bytes up to there); the text's last is what may begin with
 * its bytes. */
static double log_end(const struct tell *t, size_t k) {
    if (t->ends[k] == t->size) {
        return 0.0;
    }
    double share = (double)t->readings[t->at]->ended[t->ends[k]];
    return log(share > LEAST_END ? share : LEAST_END);
}

static void number_tokens(const struct tell *t, double *logprob) {
    double end = 0.0, over = 0.0;
    for (size_t k = 0, x = 0; k < t->n; k++) {
        double next = log_end(t, k), sum = over + next - end;
        for (; x < t->ends[k]; x++) {
            sum += t->log_p[x];
        }
        /* The pool may do without D's doubt whether a token ended, which then comes back in full: what
         * a token cannot take is the next one's. */
        over = sum > 0.0 ? sum : 0.0;
        logprob[k] = sum - over;
        end = next;
    }
    for (size_t k = t->n; k-- > 0 && over > 0.0;) { /* or, at the end, of those before */
        double takes = -logprob[k] < over ? -logprob[k] : over;
        logprob[k] += takes;
        over -= takes;
    }
}

/* log p / q_D of an event behind the first x bytes. */
static double ratio(const struct tell *t, size_t x, unsigned event) {
    const float *own = t->readings[t->at]->logq + x * PACKLLM_EVENTS;
    return (double)t->pooled[x * PACKLLM_EVENTS + event] - (double)own[event];
}

static void offer(struct packllm_session *s, int32_t token, double log_pi) {
    struct packllm_top one = {.token = token, .logprob = log_pi < 0.0 ? log_pi : 0.0};
    choice_add_top(s, &one);
}

/* What might have stood in the place of token k, behind the first x bytes. */
static void tell_others(const struct tell *t, size_t k, size_t x, double logprob) {
    struct packllm_session *s = t->s;
    const struct prefix_tree *tree = s->pack->trees[t->at];
    s->n_top = 0;
    if (t->places == NULL) {
        return;
    }
    const struct place *place = &t->places[k];
    offer(s, t->tokens[k], logprob);
    for (size_t i = 0; i < place->n; i++) {
        int32_t token = tree->ids[likely_rank(place->likely[i])];
        const uint8_t *bytes = vocab_bytes(tree->table, token);
        uint32_t size = vocab_size(tree->table, token);
        double mass = likely_mass(place->likely[i]), log_pi = log(mass);
        if (token == t->tokens[k] || !(mass > 0.0) || (k == 0 && t->display->space_prefix) ||
            !choice_fits(s, tree->table, token, 0)) {
            continue;
        }
        for (uint32_t b = 0; b < size && x + b < t->size; b++) {
            log_pi += ratio(t, x + b, bytes[b]);
            if (bytes[b] != (uint8_t)t->text[x + b]) {
                break;
            }
        }
        offer(s, token, log_pi);
    }
    if (place->end > 0.0 && s->utf8.need == 0) {
        offer(s, -1, log(place->end) + ratio(t, x, PACKLLM_EVENT_END));
    }
}

static enum packllm_status tell_tokens(struct tell *t, const double *logprob, packllm_given_fn each,
                                       void *data, struct packllm_error *err) {
    struct packllm_session *s = t->s;
    enum packllm_status status = PACKLLM_OK;
    for (size_t k = 0; k < t->n && status >= 0; k++) {
        struct packllm_piece piece = pack_known_piece(t->display, t->tokens[k]);
        piece.logprob = logprob[k];
        tell_others(t, k, k > 0 ? t->ends[k - 1] : 0, logprob[k]);
        status = pack_put_known(s, t->tokens[k], err);
        if (status >= 0 && each != NULL && !each(data, k, &piece)) {
            status = fail(err, PACKLLM_E_CANCELLED, PACKLLM_NO_MEMBER, "cancelled");
        }
    }
    return status;
}

/* How many members read. */
static size_t readers(const struct tell *t) {
    size_t n = 0;
    for (size_t i = 0; i < t->s->pack->n; i++) {
        n += i == t->at || t->given == NULL || t->given[i] != 0.0;
    }
    return n;
}

/* The session stands behind the text. */
static enum packllm_status stand(struct tell *t, double seconds, struct packllm_error *err) {
    struct packllm_session *s = t->s;
    enum packllm_status status = cover_narrow(s->covers[s->display], err);
    if (status < 0) {
        return status;
    }
    if (t->given != NULL) {
        pack_fill_names(s);
    } else {
        pack_fill_weights(s, t->runs ? t->size : t->weighed, &t->found, seconds);
    }
    s->first = false;
    return pack_know(s, err);
}

static enum packllm_status tell(struct tell *t, size_t context, packllm_given_fn each, void *data,
                                struct packllm_error *err) {
    struct packllm_session *s = t->s;
    double start = base_clock();
    enum packllm_status status = spell(t, err);
    if (status < 0) {
        return status;
    }
    s->display = t->at;
    t->weighed = context > 0 ? t->ends[(context < t->n ? context : t->n) - 1] : 0;
    t->runs = t->given == NULL && t->weighed == 0;
    double *logprob = alloc_array(t->n, sizeof *logprob);
    status = logprob != NULL ? read(t, err) : fail_memory(err, t->n * sizeof *logprob);
    if (status >= 0) {
        member_gate_leave(s->pack->gate); /* as in contexts.c */
        status = pool_bytes(t, err);
        member_gate_enter(s->pack->gate);
    }
    if (status >= 0) {
        number_tokens(t, logprob);
        status = stand(t, base_clock() - start, err);
    }
    status = status >= 0 ? tell_tokens(t, logprob, each, data, err) : status;
    base_free(logprob);
    s->pending = -1; /* the members stand behind the last token already */
    s->ready = status >= 0;
    return status;
}

enum packllm_status packllm_session_tell(struct packllm_session *s, const int32_t *tokens, size_t n,
                                         const double *weights, size_t context,
                                         packllm_given_fn each, void *data,
                                         struct packllm_error *err) {
    size_t display = s->params.display >= 0 ? (size_t)s->params.display : 0;
    struct tell t = {.s = s,
                     .tokens = tokens,
                     .n = n,
                     .given = weights,
                     .display = s->pack->members[display],
                     .at = display};
    if (s->may_use_tokens || s->params.choose != PACKLLM_CHOOSE_TOKENS ||
        s->params.weigher == PACKLLM_WEIGH_DEXPERTS || s->params.why ||
        t.display->temperature != 1.0 || readers(&t) == 1) {
        /* One alone has its own numbers. */
        return unsupported(err, "its members must be several, fused in bytes, and choose tokens");
    }
    if (readers(&t) > s->pack->n_contexts) { /* those who go on must stand behind it */
        return unsupported(err, "not all of its members fit into memory at once");
    }
    pack_enter(s);
    atomic_store(&s->cancel, false);
    s->ready = s->started = s->closing = s->known = s->in_tokens = false;
    pack_drop_text(s);
    enum packllm_status status = tell(&t, context, each, data, err);
    pack_drop_readings(s);
    pack_leave(s, status >= 0);
    room_done(&t);
    return status;
}
