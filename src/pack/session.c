/* session.c - one timeline: the prompt read by every member, lambda found, then steps pulled. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"
#include "math/logsum.h"
#include "pack/choose.h"

/* The largest share of an end that a reply leaves unopened because its member has little weight. */
#define EPSILON_MOST 0.03

void pack_enter(struct packllm_session *s) {
    member_gate_enter(s->pack->gate);
    member_gate_expect(s->pack->gate, &s->ticket, false);
}

void pack_leave(struct packllm_session *s, bool steps_follow) {
    member_gate_expect(s->pack->gate, &s->ticket, steps_follow);
    member_gate_leave(s->pack->gate);
}

void packllm_session_cancel(struct packllm_session *s) {
    atomic_store(&s->cancel, true);
}

enum packllm_status pack_check_utf8(const char *text, size_t size, struct packllm_error *err) {
    size_t whole = utf8_check(text, size);
    if (whole != size) {
        return fail(err, PACKLLM_E_TEXT, PACKLLM_NO_MEMBER,
                    "the text is not valid UTF-8 at byte %zu (0x%02x)", whole,
                    (unsigned)(uint8_t)text[whole]);
    }
    return PACKLLM_OK;
}

void pack_fill_weights(struct packllm_session *s, size_t size, const struct score_weights *w,
                       double evaluate) {
    size_t dropped = 0;
    double likely = 0.0, most = 0.0;
    for (size_t i = 0; i < s->pack->n; i++) {
        const struct score_reading *r = &s->readings[i];
        const struct member *m = s->pack->members[i];
        const struct pack_dropped *d = &s->dropped[i];
        double tokens = r->whole.tokens > 0 ? (double)r->whole.tokens : 1.0;
        double bits = MATH_BITS_PER_NAT / (double)r->bytes;
        dropped += d->after > 0;
        likely = d->likely > likely ? d->likely : likely;
        most = d->most > most ? d->most : most;
        s->member_weights[i] =
            (struct packllm_member_weight){.name = m->name,
                                           .weight = s->lambda[i],
                                           .bits_per_byte = r->whole.nll * bits,
                                           .bits_per_byte_model = r->nll_model * bits,
                                           .perplexity = exp(r->whole.nll_full / tokens),
                                           .tokens = r->whole.tokens,
                                           .windows = r->windows,
                                           .vocabulary = m->table.n,
                                           .seconds = r->seconds,
                                           .bytes = r->bytes,
                                           .dropped = d->after > 0,
                                           .gain_likely = d->likely,
                                           .gain_most = d->most};
    }
    s->weights = (struct packllm_weights){
        .space = s->in_tokens ? "tokens" : "bytes",
        .reference = s->in_tokens && s->mapped.on ? (int32_t)s->mapped.reference : -1,
        .error = w->error,
        .pool = s->params.pool,
        .weigher = s->params.weigher,
        .shrink = s->params.shrink,
        .bytes = size,
        .bits_per_byte = w->objective * MATH_BITS_PER_NAT,
        .objective = w->objective,
        .gap = w->gap,
        .passes = w->passes,
        .dropped = dropped,
        .gain_likely = likely,
        .gain_most = most,
        .prequential = w->prequential * MATH_BITS_PER_NAT,
        .regret = w->regret,
        .regret_bound = w->regret_bound,
        .n_members = s->pack->n,
        .members = s->member_weights,
        .seconds_evaluate = evaluate,
        .seconds_solve = w->seconds};
}

static enum packllm_status read_prompt(struct packllm_session *s, const char *text, size_t size,
                                       bool windows, struct packllm_error *err) {
    if (text == NULL || size == 0) {
        return fail(err, PACKLLM_E_TEXT, PACKLLM_NO_MEMBER,
                    "the prompt is empty: the weights come from what it says, give some text");
    }
    enum packllm_status status = pack_check_utf8(text, size, err);
    if (status >= 0) {
        status = pack_check_weigher(&s->params, s->pack->n, false, err);
    }
    if (status < 0) {
        return status;
    }
    double start = base_clock();
    struct score_weights w = {0};
    atomic_store(&s->cancel, false);
    s->ready = s->started = s->closing = s->known = false;
    pack_drop_text(s);
    s->in_tokens = s->may_use_tokens;
    bool crowd = pack_is_crowd(s, size);
    if (s->in_tokens) {
        status = crowd ? pack_read_crowd(s, text, size, windows, &w, err)
                       : pack_read_tokens(s, text, size, &w, err);
        /* Where nobody asked for tokens, a text that needs windows is read in bytes. */
        s->in_tokens =
            !(status == PACKLLM_E_CONTEXT && windows && s->params.space == PACKLLM_SPACE_AUTO);
    }
    if (!s->in_tokens) {
        status = crowd ? pack_read_crowd(s, text, size, windows, &w, err)
                       : pack_read_bytes(s, text, size, size, 0, windows, &w, err);
    }
    double evaluate = base_clock() - start - w.seconds;
    if (status < 0) {
        pack_drop_readings(s);
        return status == PACKLLM_E_CONTEXT ? pack_context_error(s, text, size, err) : status;
    }
    pack_keep_weighted(s);
    pack_fill_weights(s, size, &w, evaluate);
    s->seconds_prompt = base_clock() - start;
    pack_drop_readings(s);
    return PACKLLM_OK;
}

enum packllm_status packllm_session_weigh(struct packllm_session *s, const char *text, size_t size,
                                          struct packllm_error *err) {
    pack_enter(s);
    enum packllm_status status = read_prompt(s, text, size, true, err);
    pack_leave(s, false);
    return status;
}

/* Canonical tokens of the prompt, also of a member that stopped reading it. */
static enum packllm_status prompt_tokens(const struct packllm_session *s, size_t i,
                                         const char *text, size_t size, uint64_t *out,
                                         struct packllm_error *err) {
    *out = s->weights.members[i].tokens;
    if (s->dropped[i].after == 0) {
        return PACKLLM_OK;
    }
    size_t n = 0, room = size + 16;
    int32_t *tokens = alloc_array(room, sizeof *tokens);
    enum packllm_status status =
        tokens != NULL ? member_tokenize(s->pack->members[i], text, size, tokens, room, &n, err)
                       : fail_memory(err, room * sizeof *tokens);
    base_free(tokens);
    *out = n;
    return status;
}

void pack_reset_reply(struct packllm_session *s) {
    s->emitted = s->releasable = 0;
    s->utf8 = (struct utf8_state){0};
    s->pending = -1;
    s->position = s->tokens = 0;
    s->n_top = 0;
    s->inside = s->back_to_tokens = false;
    s->begun = 0;
    s->finish = PACKLLM_FINISH_NONE;
    s->normaliser_min = s->normaliser_max = 1.0;
    s->jensen_checked = s->jensen_violations = 0;
    s->seconds_generate = 0.0;
    stopper_reset(s->stopper);
    sampler_reset(s->sampler);
    s->ready = true;
}

enum packllm_status packllm_session_prompt(struct packllm_session *s, const char *text, size_t size,
                                           struct packllm_error *err) {
    pack_enter(s);
    enum packllm_status status = read_prompt(s, text, size, false, err);
    pack_leave(s, status >= 0);
    status = status < 0 ? status : pack_check_room(s, err);
    if (status >= 0) {
        status = pack_stop_strings(s, NULL, err);
    }
    if (status < 0) {
        return status;
    }
    pack_choose_display(s);
    for (size_t i = 0; i < s->pack->n && status >= 0; i++) {
        status = prompt_tokens(s, i, text, size, &s->tokens_before[i], err);
    }
    return status < 0 ? status : pack_begin_reply(s, text, size, s->tokens_before[s->display], err);
}

enum packllm_status pack_stop_strings(struct packllm_session *s, const char *more,
                                      struct packllm_error *err) {
    if (s->stops_more == (more != NULL)) {
        return PACKLLM_OK;
    }
    size_t n = s->params.n_stop;
    struct stopper *stopper = NULL;
    const char **stop = alloc_array(n + 1, sizeof *stop);
    if (stop == NULL) {
        return fail_memory(err, (n + 1) * sizeof *stop);
    }
    for (size_t i = 0; i < n; i++) {
        stop[i] = s->stop[i];
    }
    stop[n] = more;
    enum packllm_status status = stopper_open(&stopper, stop, n + (more != NULL), err);
    base_free(stop);
    if (status >= 0) {
        stopper_close(s->stopper);
        s->stopper = stopper;
        s->stops_more = more != NULL;
    }
    return status;
}

void pack_choose_display(struct packllm_session *s) {
    s->display = 0;
    for (size_t i = 1; i < s->pack->n; i++) {
        s->display = s->lambda[i] > s->lambda[s->display] ? i : s->display;
    }
    if (s->params.weigher == PACKLLM_WEIGH_DEXPERTS) {
        s->display = (size_t)s->params.experts[0];
    }
    if (s->params.display >= 0) {
        s->display = (size_t)s->params.display;
    }
    if (s->mapped.on) {
        s->display = s->mapped.reference;
    }
}

/* Penalties look back at the prompt, too, as llama.cpp's tools do. */
static enum packllm_status accept_prompt(struct packllm_session *s, const char *text, size_t size,
                                         struct packllm_error *err) {
    const struct packllm_sampling *o = &s->params.sampling;
    if (o->repeat_last_n == 0 ||
        (o->repeat_penalty == 1.0 && o->presence_penalty == 0.0 && o->frequency_penalty == 0.0)) {
        return PACKLLM_OK;
    }
    bool bytewise = s->params.choose == PACKLLM_CHOOSE_BYTES;
    size_t n = 0, room = size + 16;
    int32_t *tokens = alloc_array(room, sizeof *tokens);
    enum packllm_status status = PACKLLM_OK;
    if (tokens == NULL) {
        return fail_memory(err, room * sizeof *tokens);
    }
    if (!bytewise) {
        status = member_tokenize(s->pack->members[s->display], text, size, tokens, room, &n, err);
    }
    for (; bytewise && n < size; n++) {
        tokens[n] = (uint8_t)text[n];
    }
    /* What the display member cannot spell is no reason to fail: it reads around it. */
    status = status == PACKLLM_E_TEXT ? PACKLLM_OK : status;
    for (size_t k = 0; k < n && status >= 0; k++) {
        status = sampler_accept(s->sampler, tokens[k], err);
    }
    base_free(tokens);
    return status;
}

enum packllm_status pack_begin_reply(struct packllm_session *s, const char *text, size_t size,
                                     uint64_t prompt_tokens, struct packllm_error *err) {
    s->constraint = s->constraint_given; /* one that became free text is bound anew */
    if (s->constraint != NULL) {
        bool bytewise = s->params.choose == PACKLLM_CHOOSE_BYTES;
        enum packllm_status status =
            constraint_begin(s->constraint, bytewise ? NULL : s->pack->trees[s->display],
                             s->pack->members[s->display]->name, err);
        if (status < 0) {
            return status;
        }
    }
    for (size_t i = 0; i < s->pack->n; i++) {
        pack_count_from_here(s, i);
    }
    s->prompt_tokens = prompt_tokens;
    buf_cut(&s->text, 0);
    buf_cut(&s->prompt, 0);
    if (size > 0 && !buf_add(&s->prompt, text, size)) {
        return fail_memory(err, size);
    }
    s->known = false;
    pack_reset_reply(s);
    enum packllm_status status = size > 0 ? accept_prompt(s, text, size, err) : PACKLLM_OK;
    return status < 0 ? status : choice_bias(s, err);
}

enum packllm_status packllm_session_weights(const struct packllm_session *s,
                                            struct packllm_weights *out_weights) {
    if (s->weights.members == NULL) {
        return PACKLLM_E_ARG;
    }
    *out_weights = s->weights;
    return PACKLLM_OK;
}

enum packllm_status packllm_session_set_weights(struct packllm_session *s, const double *weights,
                                                size_t n, struct packllm_error *err) {
    if (n != s->pack->n) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "%zu weights for %zu members", n,
                    s->pack->n);
    }
    if (s->params.weigher == PACKLLM_WEIGH_DEXPERTS) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "dexperts is no weighted mean: open a session with another weigher");
    }
    if (!s->ready || s->started) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "weights are set between the prompt and the first step");
    }
    enum packllm_status status = solve_fixed(weights, n, s->lambda, err);
    for (size_t i = 0; i < n && status >= 0; i++) {
        s->member_weights[i].weight = s->lambda[i];
    }
    return status;
}

/* ---- steps ------------------------------------------------------------------------------------ */

bool pack_member_active(const struct packllm_session *s, size_t i) {
    /* Of a text that is given the weights may change on the way. */
    return s->known || s->lambda[i] != 0.0 ||
           (s->params.choose == PACKLLM_CHOOSE_TOKENS && i == s->display);
}

/* What an end of a member does to the pool is lambda times what it does to the member: one of little
 * weight need not open ends for which one of much weight would. */
static void set_epsilons(struct packllm_session *s) {
    for (size_t i = 0; i < s->pack->n; i++) {
        double lambda = s->lambda[i], epsilon = s->params.epsilon;
        if (s->covers[i] != NULL && lambda > 0.0 && lambda < 0.5) {
            double most = epsilon > EPSILON_MOST ? epsilon : EPSILON_MOST;
            double wide = epsilon * 0.5 / lambda;
            cover_set_epsilon(s->covers[i], wide < most ? wide : most);
        }
    }
}

/* By the chosen token as it is: the display member, in token space all of them. */
static bool follows_tokens(const struct packllm_session *s, size_t i) {
    return s->params.choose == PACKLLM_CHOOSE_TOKENS &&
           (i == s->display || (s->in_tokens && pack_member_active(s, i)));
}

/* The members go on by what was chosen last: the display member by its token, the others by the
 * bytes, which are known now, so that few of their ends need a row. */
enum packllm_status pack_advance(struct packllm_session *s, struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    bool bytewise = s->params.choose == PACKLLM_CHOOSE_BYTES;
    if (!s->started) {
        for (size_t i = 0; i < s->pack->n && status >= 0; i++) {
            if (pack_member_active(s, i) && (s->covers[i] == NULL || s->chat != NULL)) {
                status = pack_read_again(s, i, err); /* a chat knows who stands already */
            }
        }
        status = status >= 0 ? begun_look(s, err) : status;
        for (size_t i = 0; i < s->pack->n && status >= 0 && !s->inside; i++) {
            status = follows_tokens(s, i) ? cover_narrow(s->covers[i], err) : status;
        }
        set_epsilons(s);
        s->started = status >= 0;
        return status;
    }
    if (s->pending < 0) {
        return status;
    }
    char byte = (char)s->pending;
    const char *bytes = &byte;
    size_t size = 1;
    if (!bytewise) {
        const struct vocab_table *table = &s->pack->members[s->display]->table;
        bytes = (const char *)vocab_bytes(table, s->pending) + s->begun;
        size = vocab_size(table, s->pending) - s->begun;
    }
    if (s->inside) {
        status = begun_take(s, err);
    }
    for (size_t i = 0; i < s->pack->n && status >= 0; i++) {
        if (s->inside && (i == s->display || s->back_to_tokens)) {
            continue; /* it went on */
        }
        if (follows_tokens(s, i)) {
            status = pack_tokens_advance(s, i, s->pending, err);
        } else if (pack_member_active(s, i)) {
            /* The space before a text is the display member's alone. */
            size_t own = s->known && s->first && size > 0 && bytes[0] == ' ' ? 1 : 0;
            status = cover_extend(s->covers[i], bytes + own, size - own, bytewise, err);
        }
    }
    s->in_tokens = s->in_tokens || (s->inside && s->back_to_tokens && status >= 0);
    s->pending = -1;
    s->first = s->inside = s->back_to_tokens = false;
    return status;
}

/* Gives out what no stop string and no half character holds back. */
static void release(struct packllm_session *s, struct packllm_piece *piece) {
    bool bad;
    size_t whole = utf8_whole(s->text.data != NULL ? s->text.data + s->emitted : "",
                              s->releasable - s->emitted, &bad);
    piece->text = s->text.data != NULL ? s->text.data + s->emitted : "";
    piece->size = whole;
    s->emitted += whole;
}

static enum packllm_status close_text(struct packllm_session *s, enum packllm_finish finish,
                                      struct packllm_piece *piece) {
    s->finish = finish;
    s->closing = true;
    s->releasable += finish == PACKLLM_FINISH_STOP ? 0 : stopper_held(s->stopper);
    release(s, piece);
    return piece->size > 0 ? PACKLLM_PIECE : PACKLLM_FINISHED;
}

static enum packllm_status take(struct packllm_session *s, int32_t id, struct packllm_piece *piece,
                                struct packllm_error *err) {
    char byte = (char)id;
    const char *bytes = &byte;
    size_t size = 1, may = 0;
    if (s->params.choose == PACKLLM_CHOOSE_TOKENS) {
        const struct vocab_table *table = &s->pack->members[s->display]->table;
        bytes = (const char *)vocab_bytes(table, id) + s->begun;
        size = vocab_size(table, id) - s->begun;
    }
    enum packllm_status status = sampler_accept(s->sampler, id, err);
    if (status >= 0 && s->constraint != NULL) {
        status = constraint_take(s->constraint, bytes, size, err);
        s->constraint = constraint_is_text(s->constraint) ? NULL : s->constraint;
    }
    if (status < 0) {
        return status;
    }
    if (!buf_add(&s->text, bytes, size)) {
        return fail_memory(err, s->text.size + size);
    }
    for (size_t k = 0; k < size; k++) {
        (void)utf8_step(&s->utf8, (uint8_t)bytes[k]);
    }
    s->pending = id;
    s->position++;
    s->tokens++;
    bool stopped = stopper_add(s->stopper, bytes, size, &may);
    s->releasable += may;
    if (stopped) {
        return close_text(s, PACKLLM_FINISH_STOP, piece);
    }
    if (s->params.max_tokens >= 0 && s->tokens >= (uint64_t)s->params.max_tokens) {
        bool whole = s->constraint != NULL && constraint_must_end(s->constraint);
        return close_text(s, whole ? PACKLLM_FINISH_END : PACKLLM_FINISH_LENGTH, piece);
    }
    release(s, piece);
    return PACKLLM_PIECE;
}

enum packllm_status pack_step(struct packllm_session *s, struct packllm_piece *out_piece,
                              struct packllm_error *err) {
    struct packllm_piece piece = {.text = "", .token = -1};
    struct packllm_error why = {0};
    if (!s->ready) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "no prompt: call packllm_session_prompt before a step");
    }
    if (s->closing) {
        return PACKLLM_FINISHED;
    }
    if (atomic_load(&s->cancel)) {
        s->ready = false;
        return fail(err, PACKLLM_E_CANCELLED, PACKLLM_NO_MEMBER, "cancelled");
    }
    double start = base_clock();
    int32_t id = -1;
    enum packllm_status status = PACKLLM_OK;
    if (s->params.max_tokens == 0) {
        status = close_text(s, PACKLLM_FINISH_LENGTH, &piece);
    } else if (s->constraint != NULL && constraint_must_end(s->constraint)) {
        status = close_text(s, PACKLLM_FINISH_END, &piece); /* no model need be asked */
    } else {
        status = pack_advance(s, &why);
        if (status >= 0) {
            status = s->params.choose == PACKLLM_CHOOSE_BYTES
                         ? choose_byte(s, &id, &piece.logprob, &why)
                         : choose_token(s, &id, &piece.logprob, &why);
        }
        if (status == PACKLLM_E_CONTEXT) {
            status = close_text(s, PACKLLM_FINISH_LENGTH, &piece);
        } else if (status >= 0 && id < 0) {
            status = close_text(s, PACKLLM_FINISH_END, &piece);
        } else if (status >= 0) {
            piece.token = s->params.choose == PACKLLM_CHOOSE_TOKENS ? id : -1;
            piece.begun = s->begun;
            status = take(s, id, &piece, &why);
        }
    }
    s->seconds_generate += base_clock() - start;
    if (status < 0) {
        s->ready = false;
        if (err != NULL) {
            *err = why;
        }
        return status;
    }
    *out_piece = piece;
    return status;
}

enum packllm_status packllm_session_step(struct packllm_session *s, struct packllm_piece *out_piece,
                                         struct packllm_error *err) {
    pack_enter(s);
    enum packllm_status status = pack_step(s, out_piece, err);
    pack_leave(s, status == PACKLLM_PIECE);
    return status;
}

enum packllm_finish packllm_session_finish(const struct packllm_session *s) {
    return s->finish;
}

/* Canonical tokens of the text written: those of prompt and text less those of the prompt. */
static enum packllm_status count_tokens(struct packllm_session *s, size_t i, uint64_t *out,
                                        struct packllm_error *err) {
    size_t size = s->prompt.size, n = 0, room = size + s->text.size + 16;
    bool bad;
    int32_t *tokens = alloc_array(room, sizeof *tokens);
    size_t written = s->text.size > 0 ? utf8_whole(s->text.data, s->text.size, &bad) : 0;
    *out = 0;
    if (tokens == NULL || !buf_add(&s->prompt, s->text.data, written)) {
        base_free(tokens);
        return fail_memory(err, room * sizeof *tokens);
    }
    if (s->prompt.size > 0 && member_tokenize(s->pack->members[i], s->prompt.data, s->prompt.size,
                                              tokens, room, &n, NULL) >= 0) {
        *out = n > s->tokens_before[i] ? n - s->tokens_before[i] : 0;
    }
    buf_cut(&s->prompt, size);
    base_free(tokens);
    return PACKLLM_OK;
}

enum packllm_status packllm_session_stats(struct packllm_session *s,
                                          struct packllm_stats *out_stats,
                                          struct packllm_error *err) {
    uint64_t resyncs = 0;
    for (size_t i = 0; i < s->pack->n; i++) {
        uint64_t tokens = 0;
        struct packllm_member_stats *m = &s->member_stats[i];
        *m = (struct packllm_member_stats){.name = s->pack->members[i]->name,
                                           .weight = s->lambda[i]};
        if (s->covers[i] == NULL || s->weights.members == NULL) {
            continue;
        }
        enum packllm_status status = count_tokens(s, i, &tokens, err);
        if (status < 0) {
            return status;
        }
        m->forwards = cover_forwards(s->covers[i]) - s->forwards_before[i];
        m->seconds = cover_seconds(s->covers[i]) - s->seconds_before[i];
        m->tokens = tokens;
        resyncs += cover_resyncs(s->covers[i]);
    }
    *out_stats = (struct packllm_stats){.bytes = s->emitted,
                                        .tokens = s->tokens,
                                        .prompt_tokens = s->prompt_tokens,
                                        .display = (int32_t)s->display,
                                        .resyncs = resyncs,
                                        .normaliser_min = s->normaliser_min,
                                        .normaliser_max = s->normaliser_max,
                                        .jensen_checked = s->jensen_checked,
                                        .jensen_violations = s->jensen_violations,
                                        .seconds_prompt = s->seconds_prompt,
                                        .seconds_generate = s->seconds_generate,
                                        .n_members = s->pack->n,
                                        .members = s->member_stats};
    return PACKLLM_OK;
}

enum packllm_status packllm_session_why(const struct packllm_session *s,
                                        struct packllm_why *out_why) {
    if (!s->params.why || !s->started) {
        return PACKLLM_E_ARG;
    }
    *out_why = (struct packllm_why){.n_members = s->pack->n, .members = s->why};
    return PACKLLM_OK;
}
