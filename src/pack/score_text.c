/* score_text.c - scoring known text with the pack: in one go, or by the walk that generates. */
#include "pack/tally.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"
#include "math/logsum.h"

struct packllm_score_params packllm_score_params_default(void) {
    return (struct packllm_score_params){0};
}

/* The members' rows behind the text, into t->rows. */
static void next_rows(struct tally *t, float *store) {
    double q[PACKLLM_EVENTS];
    for (size_t i = 0; i < t->s->pack->n; i++) {
        (void)cover_next(t->s->covers[i], q);
        fuse_floor(q, store + i * PACKLLM_EVENTS);
        fuse_temper(t->s->pack->members[i]->temperature, store + i * PACKLLM_EVENTS);
        t->rows[i] = store + i * PACKLLM_EVENTS;
    }
}

/* The same bytes again, through the path that generates: each read by all members before the next. */
static enum packllm_status walk(struct packllm_session *s, const char *text, size_t size,
                                size_t context, struct tally *t, float *store,
                                struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    double q[PACKLLM_EVENTS];
    for (size_t i = 0; i < s->pack->n && status >= 0; i++) {
        /* What the whole text left in the caches would have been evaluated in other batches. */
        struct cover *cover = NULL;
        status = pack_cover(s, i, &cover, err);
        if (status < 0) {
            break;
        }
        cover_forget(cover);
        status = cover_sync(s->covers[i], text, context, err);
        if (status >= 0) {
            status = cover_walk(s->covers[i], NULL, NULL, err);
        }
        s->forwards_before[i] = cover_forwards(s->covers[i]);
    }
    for (size_t x = context; x < size && status >= 0; x++) {
        double parked = 0.0;
        for (size_t i = 0; i < s->pack->n; i++) {
            double share = cover_next(s->covers[i], q);
            parked = share > parked ? share : parked;
            fuse_floor(q, store + i * PACKLLM_EVENTS);
            fuse_temper(s->pack->members[i]->temperature, store + i * PACKLLM_EVENTS);
            t->rows[i] = store + i * PACKLLM_EVENTS;
        }
        tally_byte(t, x, (uint8_t)text[x], parked);
        for (size_t i = 0; i < s->pack->n && status >= 0; i++) {
            status = cover_extend(s->covers[i], text + x, 1, true, err);
        }
        if (atomic_load(&s->cancel)) {
            status = fail(err, PACKLLM_E_CANCELLED, PACKLLM_NO_MEMBER, "cancelled");
        }
    }
    return status;
}

static void batch(struct packllm_session *s, const char *text, size_t size, size_t context,
                  struct tally *t) {
    for (size_t x = context; x < size; x++) {
        double parked = 0.0;
        for (size_t i = 0; i < s->pack->n; i++) {
            const struct score_reading *r = &s->readings[i];
            t->rows[i] = r->logq + x * PACKLLM_EVENTS;
            parked = (double)r->parked[x] > parked ? (double)r->parked[x] : parked;
        }
        tally_byte(t, x, (uint8_t)text[x], parked);
    }
}

static void fill_score(struct packllm_session *s, const struct packllm_score_params *p,
                       const struct tally *t, size_t scored, struct packllm_score *out) {
    double bits = MATH_BITS_PER_NAT / (double)scored;
    for (size_t i = 0; i < s->pack->n; i++) {
        const struct score_reading *r = &s->readings[i];
        uint64_t before = r->whole.tokens - r->canonical.tokens;
        out->resyncs += p->through_generation ? cover_resyncs(s->covers[i]) : r->resyncs;
        s->member_scores[i] = (struct packllm_member_score){
            .name = s->pack->members[i]->name,
            .weight = s->lambda[i],
            .bits_per_byte = r->canonical.nll * bits,
            .bits_per_byte_model = t->nll[i] * bits,
            .forwards = p->through_generation ? cover_forwards(s->covers[i]) - s->forwards_before[i]
                                              : (r->forwards > before ? r->forwards - before : 0),
            .tokens = r->canonical.tokens,
            .windows = r->windows,
            .seconds = r->seconds};
    }
    out->bits_per_byte = t->nll_pack * bits;
    out->jensen_violations = t->jensen;
}

static enum packllm_status score_text(struct packllm_session *s, const char *text, size_t size,
                                      const struct packllm_score_params *params,
                                      struct packllm_score *out_score, struct packllm_error *err) {
    struct packllm_score_params p = params != NULL ? *params : packllm_score_params_default();
    size_t n = s->pack->n;
    struct packllm_score score = {0};
    if (text == NULL || size == 0 || p.context_bytes >= size) {
        return fail(err, PACKLLM_E_TEXT, PACKLLM_NO_MEMBER,
                    "nothing to score: the text has %zu bytes, the context takes %zu", size,
                    p.context_bytes);
    }
    enum packllm_status status = pack_check_utf8(text, size, err);
    if (status < 0) {
        return status;
    }
    if (p.through_generation && p.context_bytes == 0) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "walking needs a context to start from: give context bytes > 0");
    }
    if (p.context_bytes > 0 && ((uint8_t)text[p.context_bytes] & 0xc0) == 0x80) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "byte %zu, where the context ends, is inside a character", p.context_bytes);
    }
    bool by_bytes = p.through_generation || p.per_byte != NULL || p.next;
    if (s->may_use_tokens && by_bytes && s->params.space == PACKLLM_SPACE_TOKENS) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "walking, figures of each byte and of the next one are of bytes: say --space "
                    "bytes");
    }
    if (s->may_use_tokens && !by_bytes) {
        status = pack_score_tokens(s, text, size, p.context_bytes, out_score, err);
        if (status != PACKLLM_E_CONTEXT || s->params.space == PACKLLM_SPACE_TOKENS) {
            return status;
        }
    }
    struct tally t;
    float *store = alloc_array(n, PACKLLM_EVENTS * sizeof *store);
    double start = base_clock();
    status = tally_open(&t, s, &p, err);
    if (status >= 0 && store == NULL) {
        status = fail_memory(err, n * PACKLLM_EVENTS * sizeof(float));
    }
    atomic_store(&s->cancel, false);
    s->ready = s->in_tokens = false;
    struct score_weights w = {0};
    if (status >= 0) {
        status = pack_read_bytes(s, text, size, p.context_bytes, p.context_bytes,
                                 !p.through_generation, &w, err);
    }
    score.seconds_evaluate = base_clock() - start - w.seconds;
    if (status >= 0) {
        tally_context(&t, text, p.context_bytes);
    }
    if (status >= 0 && p.through_generation) {
        status = walk(s, text, size, p.context_bytes, &t, store, err);
    } else if (status >= 0) {
        batch(s, text, size, p.context_bytes, &t);
    }
    if (status >= 0) {
        score.bytes = size - p.context_bytes;
        score.context_bytes = p.context_bytes;
        score.reference = -1;
        score.n_members = n;
        score.members = s->member_scores;
        score.seconds_solve = w.seconds;
        fill_score(s, &p, &t, size - p.context_bytes, &score);
        tally_finish(&t, &score);
        if (p.next) {
            next_rows(&t, store);
            tally_next(&t, score.next);
        }
        *out_score = score;
    }
    pack_drop_readings(s);
    base_free(store);
    tally_close(&t);
    if (status == PACKLLM_E_CONTEXT && p.through_generation) { /* the least of all, not the first */
        status = pack_context_error(s, text, size, err);
    }
    return status;
}

enum packllm_status packllm_session_score(struct packllm_session *s, const char *text, size_t size,
                                          const struct packllm_score_params *params,
                                          struct packllm_score *out_score,
                                          struct packllm_error *err) {
    member_gate_enter(s->pack->gate);
    enum packllm_status status = score_text(s, text, size, params, out_score, err);
    member_gate_leave(s->pack->gate);
    return status;
}
