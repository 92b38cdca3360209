/* options.c - many ways of weighing and fusing side by side, from one reading of the members: the
 * options of a multiple-choice question behind their common context.
 *
 * A member reads the options side by side (cover_sync_beside), so the context is evaluated once and what
 * the options need goes into common batches. What is kept is what every method needs: the rows of the
 * context, once, and those of each option. A method is put
 * into the session for as long as it counts, so that weights, pools and running mixtures are the very
 * ones of packllm_session_score. */
#include "pack/tally.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"
#include "math/logsum.h"

struct call {
    struct packllm_session *s;
    const char *context;
    size_t size;
    const struct packllm_option *options;
    size_t n_options;
    struct packllm_options_params params;
    char *text;                  /* the context and room for the longest option */
    struct score_reading *tails; /* [n_members][n_options] from the end of the context on */
    double *nll, *context_nll, *weights, *seconds, *reading, *forward;
    uint64_t *tokens;
};

struct packllm_method packllm_method_default(void) {
    struct packllm_session_params p = packllm_session_params_default();
    return (struct packllm_method){.weigher = p.weigher,
                                   .pool = p.pool,
                                   .shrink = p.shrink,
                                   .tau = p.tau,
                                   .alpha = p.alpha,
                                   .experts = {-1, -1, -1},
                                   .member = -1};
}

struct packllm_options_params packllm_options_params_default(void) {
    return (struct packllm_options_params){.refit = false, .fresh = true};
}

void packllm_options_done(struct packllm_options *options) {
    if (options != NULL) {
        base_free((void *)(uintptr_t)options->nll); /* one block, see room */
        *options = (struct packllm_options){0};
    }
}

/* ---- what may be asked for ---- */

enum packllm_status pack_check_method(struct packllm_session *s, const struct packllm_method *m,
                                      struct packllm_error *err) {
    struct packllm_session_params p = s->params;
    if (m->member >= 0) {
        return (size_t)m->member < s->pack->n ? PACKLLM_OK
                                              : fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                                                     "there is no member %d", (int)m->member);
    }
    p.weigher = m->weigher;
    p.pool = m->pool;
    p.alpha = m->alpha;
    memcpy(p.experts, m->experts, sizeof p.experts);
    if (packllm_pool_name(m->pool) == NULL || !(m->shrink >= 0.0) || !isfinite(m->shrink) ||
        !(m->tau > 0.0) || !isfinite(m->tau)) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "a method's pool is no known one, its shrink below 0, or its tau not above it");
    }
    enum packllm_status status = pack_check_weigher(&p, s->pack->n, true, err);
    if (status >= 0 && m->weigher == PACKLLM_WEIGH_FIXED && m->fixed == NULL) {
        status = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "fixed weights are missing");
    }
    if (status >= 0 && m->weigher == PACKLLM_WEIGH_CBTM) {
        status = pack_domains(s->pack, err);
    }
    if (status >= 0 && m->whole &&
        (m->pool != PACKLLM_POOL_LINEAR || m->weigher == PACKLLM_WEIGH_HEDGE)) {
        status = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                      "whole options are mixed by weights of the linear pool, and hedge mixes "
                      "them anyway");
    }
    return status;
}

static enum packllm_status check_text(const char *what, const char *text, size_t size,
                                      struct packllm_error *err) {
    if (text == NULL || size == 0) {
        return fail(err, PACKLLM_E_TEXT, PACKLLM_NO_MEMBER, "%s is empty", what);
    }
    return pack_check_utf8(text, size, err);
}

static enum packllm_status check(const struct call *c, const struct packllm_method *methods,
                                 size_t n_methods, struct packllm_error *err) {
    enum packllm_status status = check_text("the context", c->context, c->size, err);
    if (status >= 0 && c->params.refit && c->params.running) {
        status = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                      "weights that run are never refitted: give up one of the two");
    }
    if (status >= 0 && (c->n_options == 0 || n_methods == 0)) {
        status = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "no options, or no methods");
    }
    for (size_t o = 0; o < c->n_options && status >= 0; o++) {
        status = check_text("an option", c->options[o].text, c->options[o].size, err);
    }
    for (size_t m = 0; m < n_methods && status >= 0; m++) {
        status = pack_check_method(c->s, &methods[m], err);
    }
    return status;
}

enum packllm_status packllm_session_fits(const struct packllm_session *s, const char *text,
                                         size_t size, struct packllm_error *err) {
    bool close = false;
    for (size_t i = 0; i < s->pack->n; i++) {
        /* A token spells a byte at least, but for the start and a space in front. */
        close = close || size + 2 > s->pack->members[i]->n_ctx;
    }
    struct packllm_error why = {.status = PACKLLM_OK};
    (void)(close && pack_context_error(s, text, size, &why));
    if (why.status == PACKLLM_E_CONTEXT && err != NULL) {
        *err = why;
    }
    return why.status == PACKLLM_E_CONTEXT ? PACKLLM_E_CONTEXT : PACKLLM_OK;
}

/* ---- reading ---- */

static size_t join(const struct call *c, size_t o) {
    memcpy(c->text + c->size, c->options[o].text, c->options[o].size);
    return c->size + c->options[o].size;
}

enum packllm_status pack_read_options(struct packllm_session *s, size_t i, const char *context,
                                      size_t size, const struct packllm_option *options,
                                      size_t n_options, bool fresh, struct score_reading *out,
                                      struct packllm_error *err) {
    struct cover *cover = NULL;
    enum packllm_status status = pack_cover(s, i, &cover, err);
    size_t longest = 0;
    for (size_t o = 1; o < n_options; o++) {
        longest = options[o].size > options[longest].size ? o : longest;
    }
    size_t each = size + options[longest].size;
    char *text = alloc_array(COVER_BESIDE_MOST, each);
    if (status >= 0 && text == NULL) {
        status = fail_memory(err, COVER_BESIDE_MOST * each);
    }
    if (status >= 0 && fresh) {
        cover_forget(cover);
    }
    for (size_t first = 0; first < n_options && status >= 0; first += COVER_BESIDE_MOST) {
        struct score_text texts[COVER_BESIDE_MOST];
        size_t n = 0;
        for (; n < COVER_BESIDE_MOST && first + n < n_options; n++) {
            const struct packllm_option *option = &options[first + n];
            memcpy(text + n * each, context, size);
            memcpy(text + n * each + size, option->text, option->size);
            texts[n] = (struct score_text){.text = text + n * each,
                                           .size = size + option->size,
                                           .base = first + n == 0 ? 0 : size,
                                           .from = size};
        }
        status = score_read_beside(cover, s->pack->members[i], texts, n, out + first, err);
    }
    if (status == PACKLLM_E_CONTEXT && text != NULL) {
        memcpy(text, context, size);
        memcpy(text + size, options[longest].text, options[longest].size);
        status = pack_context_error(s, text, each, err);
    }
    base_free(text);
    return status;
}

static enum packllm_status read_member(struct call *c, size_t i, struct packllm_error *err) {
    struct packllm_session *s = c->s;
    struct score_reading *tail = c->tails + i * c->n_options;
    enum packllm_status status = pack_read_options(s, i, c->context, c->size, c->options,
                                                   c->n_options, c->params.fresh, tail, err);
    for (size_t o = 0; o < c->n_options && status >= 0; o++) {
        c->tokens[i] += tail[o].forwards;
        c->reading[i] += tail[o].seconds;
        c->forward[i] += tail[o].seconds_model;
    }
    if (status >= 0) {
        s->readings[i] = tail[0];
        tail[0] = (struct score_reading){0};
    }
    /* The members to keep are the best at what all of them read first. */
    if (status >= 0) {
        pack_keep_best(s);
    }
    return status;
}

/* Row of byte x of context and option o under member i. */
static const float *row_of(const struct call *c, size_t i, size_t o, size_t x) {
    const struct score_reading *whole = &c->s->readings[i];
    return o == 0 || x < c->size
               ? whole->logq + x * PACKLLM_EVENTS
               : c->tails[i * c->n_options + o].logq + (x - c->size) * PACKLLM_EVENTS;
}

/* ---- weighing ---- */

/* lambda into the session, from the first `size` bytes of context and option. */
static enum packllm_status weigh(struct call *c, const struct packllm_method *m, size_t o,
                                 size_t size, double *out_context, struct packllm_error *err) {
    struct packllm_session *s = c->s;
    size_t n = s->pack->n;
    (void)join(c, o);
    struct score_method method;
    struct score_weights w = {0};
    enum packllm_status status = pack_method(s, c->text, size, &method, err);
    if (m->weigher == PACKLLM_WEIGH_FIXED) {
        method.fixed = m->fixed;
    }
    struct score_reading *joined = alloc_zero(n, sizeof *joined);
    const struct score_reading **readings = alloc_array(n, sizeof *readings);
    if (status >= 0 && (joined == NULL || readings == NULL)) {
        status = fail_memory(err, n * sizeof *joined);
    }
    for (size_t i = 0; i < n && status >= 0; i++) {
        readings[i] = &s->readings[i];
        if (size > c->size && o > 0) {
            size_t row = PACKLLM_EVENTS * sizeof(float);
            joined[i] = (struct score_reading){.bytes = size, .logq = alloc_array(size, row)};
            if (joined[i].logq == NULL) {
                status = fail_memory(err, size * row);
                break;
            }
            memcpy(joined[i].logq, s->readings[i].logq, c->size * row);
            memcpy(joined[i].logq + c->size * PACKLLM_EVENTS, row_of(c, i, o, c->size),
                   (size - c->size) * row);
            readings[i] = &joined[i];
        }
    }
    if (status >= 0) {
        status = score_weigh(&method, n, readings, c->text, size, s->lambda, &w, err);
    }
    for (size_t i = 0; i < n && joined != NULL; i++) {
        score_reading_done(&joined[i]);
    }
    base_free(joined);
    base_free(readings);
    *out_context = w.objective;
    return status;
}

/* ---- scoring ---- */

/* -log sum_i lambda_i P_i(option) of the members' losses. */
static double mix_whole(const double *lambda, const double *nll, size_t n) {
    double least = HUGE_VAL, sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        least = lambda[i] > 0.0 ? fmin(least, nll[i]) : least;
    }
    for (size_t i = 0; i < n; i++) {
        sum += lambda[i] > 0.0 ? lambda[i] * exp(least - nll[i]) : 0.0;
    }
    return least - log(sum);
}

static enum packllm_status score_option(struct call *c, const struct packllm_method *m, size_t o,
                                        double *out_nll, double *out_context,
                                        struct packllm_error *err) {
    static const struct packllm_score_params no_params = {0};
    struct tally t;
    enum packllm_status status = tally_open(&t, c->s, &no_params, err);
    if (status < 0) {
        return status;
    }
    tally_context(&t, c->context, c->size);
    for (size_t x = c->size; x < c->size + c->options[o].size; x++) {
        bool turns = x == c->size || (x % PACK_BLOCK == 0 && !m->whole);
        if (c->params.running && turns) {
            double loss;
            status = weigh(c, m, o, x - x % PACK_BLOCK, x == c->size ? out_context : &loss, err);
            if (status < 0) {
                break;
            }
        }
        for (size_t i = 0; i < c->s->pack->n; i++) {
            t.rows[i] = row_of(c, i, o, x);
        }
        tally_byte(&t, x, (uint8_t)c->options[o].text[x - c->size], 0.0);
    }
    *out_nll = m->whole ? mix_whole(c->s->lambda, t.nll, c->s->pack->n) : t.nll_pack;
    tally_close(&t);
    return status;
}

/* One member alone needs no weights: its own rows, or its canonical figures. */
static void score_alone(struct call *c, const struct packllm_method *m, double *nll,
                        double *out_context, double *lambda) {
    size_t i = (size_t)m->member;
    const struct score_reading *whole = &c->s->readings[i];
    double sum = 0.0;
    for (size_t k = 0; k < c->s->pack->n; k++) {
        lambda[k] = k == i ? 1.0 : 0.0;
    }
    for (size_t o = 0; o < c->n_options; o++) {
        const struct score_reading *own = o == 0 ? whole : &c->tails[i * c->n_options + o];
        /* A choice ends with its last token, as lm-eval counts it; one option alone is a stretch of a
         * text, which may go on with the bytes of a longer one. */
        nll[o] = m->canonical ? own->canonical.nll : 0.0;
        nll[o] += m->canonical && c->n_options > 1 ? own->canonical.let_off : 0.0;
        for (size_t x = 0; x < c->options[o].size && !m->canonical; x++) {
            nll[o] -= (double)row_of(c, i, o, c->size + x)[(uint8_t)c->options[o].text[x]];
        }
    }
    for (size_t x = 0; x < c->size; x++) {
        sum -= (double)whole->logq[x * PACKLLM_EVENTS + (uint8_t)c->context[x]];
    }
    sum = m->canonical ? whole->whole.nll - whole->canonical.nll : sum;
    *out_context = sum / (double)c->size;
}

static enum packllm_status run_method(struct call *c, const struct packllm_method *m, size_t k,
                                      struct packllm_error *err) {
    struct packllm_session *s = c->s;
    double start = base_clock(), *nll = c->nll + k * c->n_options;
    double *lambda = c->weights + k * s->pack->n;
    enum packllm_status status = PACKLLM_OK;
    if (m->member >= 0) {
        score_alone(c, m, nll, &c->context_nll[k], lambda);
    } else {
        pack_put_method(s, m);
        for (size_t o = 0; o < c->n_options && status >= 0; o++) {
            if (!c->params.running && (o == 0 || c->params.refit)) {
                size_t size = c->params.refit ? join(c, o) : c->size;
                status = weigh(c, m, o, size, &c->context_nll[k], err);
            }
            if (status >= 0) {
                status = score_option(c, m, o, &nll[o], &c->context_nll[k], err);
            }
        }
        memcpy(lambda, s->lambda, s->pack->n * sizeof *lambda);
    }
    c->seconds[k] = base_clock() - start;
    return status;
}

/* ---- the call ---- */

static enum packllm_status room(struct call *c, size_t n_methods, struct packllm_error *err) {
    size_t n = c->s->pack->n, longest = 0;
    for (size_t o = 0; o < c->n_options; o++) {
        longest = c->options[o].size > longest ? c->options[o].size : longest;
    }
    /* All that is given out, in one block; counts are as wide as doubles. */
    _Static_assert(sizeof(uint64_t) == sizeof(double), "one block holds both");
    size_t each = c->n_options + n + 2, all = n_methods * each + 3 * n;
    double *block = alloc_zero(all, sizeof *block);
    c->text = alloc_array(c->size + longest + 1, 1);
    c->tails = alloc_zero(n * c->n_options, sizeof *c->tails);
    if (block == NULL || c->text == NULL || c->tails == NULL) {
        base_free(block);
        return fail_memory(err, all * sizeof *block + c->size + longest);
    }
    memcpy(c->text, c->context, c->size);
    c->nll = block;
    c->weights = c->nll + n_methods * c->n_options;
    c->context_nll = c->weights + n_methods * n;
    c->seconds = c->context_nll + n_methods;
    c->reading = c->seconds + n_methods;
    c->forward = c->reading + n;
    c->tokens = (uint64_t *)(void *)(c->forward + n);
    return PACKLLM_OK;
}

static void call_done(struct call *c) {
    for (size_t k = 0; c->tails != NULL && k < c->s->pack->n * c->n_options; k++) {
        score_reading_done(&c->tails[k]);
    }
    base_free(c->tails);
    base_free(c->text);
    pack_drop_readings(c->s);
}

enum packllm_status packllm_session_options(struct packllm_session *s, const char *context,
                                            size_t size, const struct packllm_option *options,
                                            size_t n_options, const struct packllm_method *methods,
                                            size_t n_methods,
                                            const struct packllm_options_params *params,
                                            struct packllm_options *out_options,
                                            struct packllm_error *err) {
    struct call c = {.s = s,
                     .context = context,
                     .size = size,
                     .options = options,
                     .n_options = n_options,
                     .params = params != NULL ? *params : packllm_options_params_default()};
    double start = base_clock();
    struct packllm_session_params own = s->params;
    enum packllm_status status = check(&c, methods, n_methods, err);
    if (status < 0) {
        return status;
    }
    atomic_store(&s->cancel, false);
    s->ready = s->in_tokens = false;
    pack_drop_readings(s);
    status = room(&c, n_methods, err);
    for (size_t i = 0; i < s->pack->n && status >= 0; i++) {
        status = read_member(&c, i, err);
    }
    for (size_t k = 0; k < n_methods && status >= 0; k++) {
        status = run_method(&c, &methods[k], k, err);
    }
    s->params = own;
    if (status >= 0) {
        *out_options = (struct packllm_options){.nll = c.nll,
                                                .context = c.context_nll,
                                                .weights = c.weights,
                                                .own = c.seconds,
                                                .tokens = c.tokens,
                                                .reading = c.reading,
                                                .forward = c.forward,
                                                .seconds = base_clock() - start,
                                                .n_methods = n_methods,
                                                .n_options = n_options,
                                                .n_members = s->pack->n};
    } else {
        base_free(c.nll);
    }
    call_done(&c);
    return status;
}
