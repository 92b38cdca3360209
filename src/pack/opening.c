/* opening.c - a session's parameters are checked and copied, and it is opened and closed. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "pack/choose.h"

enum { TEXT_MAX = 1 << 28 }; /* bytes of a reply */

struct packllm_session_params packllm_session_params_default(void) {
    return (struct packllm_session_params){
        .space = PACKLLM_SPACE_AUTO,
        .pool = PACKLLM_POOL_LOG,
        .weigher = PACKLLM_WEIGH_EXACT,
        .choose = PACKLLM_CHOOSE_TOKENS,
        .drop = PACKLLM_DROP_AUTO,
        .align = PACKLLM_ALIGN_MINED,
        .feed = PACKLLM_FEED_TEXT,
        .mass = PACKLLM_MASS_SPLIT,
        .reference = -1,
        .shrink = 1.0,
        .tau = 1.0,
        .epsilon = 0.003,
        .display = -1,
        .experts = {-1, -1, -1},
        .alpha = -1.0,
        .max_tokens = -1,
        .sampling = {.temp = 0.8,
                     .top_k = 40,
                     .top_p = 0.95,
                     .min_p = 0.05,
                     .repeat_penalty = 1.0,
                     .repeat_last_n = 64},
    };
}

static enum packllm_status check_params(const struct packllm_session_params *p, size_t n,
                                        struct packllm_error *err) {
    if (packllm_pool_name(p->pool) == NULL || (unsigned)p->choose > PACKLLM_CHOOSE_BYTES ||
        (unsigned)p->covers > PACKLLM_COVERS_ALL || (unsigned)p->space > PACKLLM_SPACE_TOKENS ||
        (unsigned)p->drop > PACKLLM_DROP_OFF) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "space, pool, drop or choose is no known one");
    }
    enum packllm_status status = pack_check_weigher(p, n, true, err);
    if (status < 0) {
        return status;
    }
    if (!(p->shrink >= 0.0) || !isfinite(p->shrink)) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "shrink is %g: give a number >= 0",
                    p->shrink);
    }
    if (!(p->tau > 0.0) || !isfinite(p->tau)) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "tau is %g: give a number > 0", p->tau);
    }
    if (!(p->epsilon > 0.0 && p->epsilon < 1.0)) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "epsilon is %g: give one in (0, 1)",
                    p->epsilon);
    }
    if (p->n_top > 64) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "n_top is %zu: give 0 to 64", p->n_top);
    }
    if (p->display >= 0 && (size_t)p->display >= n) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "there is no member %d to display",
                    (int)p->display);
    }
    if (packllm_align_name(p->align) == NULL || packllm_feed_name(p->feed) == NULL ||
        packllm_mass_name(p->mass) == NULL) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "align, feed or mass is no known one");
    }
    if (p->reference >= 0 && (size_t)p->reference >= n) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "there is no member %d to be the reference", (int)p->reference);
    }
    if ((p->n_stop > 0 && p->stop == NULL) || (p->n_bias > 0 && p->bias == NULL)) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "%s is NULL: set its count to 0",
                    p->n_stop > 0 && p->stop == NULL ? "stop" : "bias");
    }
    for (size_t i = 0; i < p->n_stop; i++) {
        if (p->stop[i] == NULL) {
            return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "stop string %zu is NULL", i);
        }
    }
    if (p->weigher == PACKLLM_WEIGH_FIXED && p->fixed == NULL) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "fixed weights are missing");
    }
    return PACKLLM_OK;
}

static enum packllm_status copy_arrays(struct packllm_session *s, struct packllm_error *err) {
    size_t n = s->pack->n, n_stop = s->params.n_stop;
    if (s->params.weigher == PACKLLM_WEIGH_FIXED) {
        s->fixed = alloc_array(n, sizeof *s->fixed);
        if (s->fixed == NULL) {
            return fail_memory(err, n * sizeof *s->fixed);
        }
        enum packllm_status status = solve_fixed(s->params.fixed, n, s->fixed, err);
        if (status < 0) {
            return status;
        }
        s->params.fixed = s->fixed;
    }
    const char *cache = s->params.align_cache;
    if (cache != NULL) {
        s->params.align_cache = s->align_cache = alloc_text(cache, strlen(cache));
        if (s->align_cache == NULL) {
            return fail_memory(err, strlen(cache));
        }
    }
    s->bias = alloc_array(s->params.n_bias, sizeof *s->bias);
    s->top = alloc_array(s->params.n_top, sizeof *s->top);
    if (s->bias == NULL || s->top == NULL) {
        return fail_memory(err, s->params.n_bias * sizeof *s->bias);
    }
    if (s->params.n_bias > 0) {
        memcpy(s->bias, s->params.bias, s->params.n_bias * sizeof *s->bias);
    }
    s->params.bias = s->bias;
    s->stop = alloc_zero(n_stop, sizeof(char *));
    if (s->stop == NULL) {
        return fail_memory(err, n_stop * sizeof(char *));
    }
    for (size_t i = 0; i < n_stop; i++) {
        s->stop[i] = alloc_text(s->params.stop[i], strlen(s->params.stop[i]));
        if (s->stop[i] == NULL) {
            s->params.n_stop = i;
            return fail_memory(err, strlen(s->params.stop[i]));
        }
    }
    s->params.stop = NULL;
    s->params.grammar = s->params.json_schema = NULL; /* constrain.c has what it needs of them */
    return PACKLLM_OK;
}

enum packllm_status packllm_session_open(struct packllm_session **out_session,
                                         struct packllm_pack *pack,
                                         const struct packllm_session_params *params,
                                         struct packllm_error *err) {
    struct packllm_session_params p = params != NULL ? *params : packllm_session_params_default();
    size_t n = pack->n;
    enum packllm_status status = check_params(&p, n, err);
    if (status < 0) {
        return status;
    }
    struct packllm_session *s = alloc_zero(1, sizeof *s);
    if (s == NULL) {
        return fail_memory(err, sizeof *s);
    }
    s->pack = pack;
    s->params = p;
    s->pending = s->forced = -1;
    buf_init(&s->text, TEXT_MAX);
    buf_init(&s->prompt, TEXT_MAX);
    s->covers = alloc_zero(n, sizeof(struct cover *));
    s->readings = alloc_zero(n, sizeof *s->readings);
    s->told = alloc_zero(n, sizeof *s->told);
    s->lambda = alloc_zero(n, sizeof *s->lambda);
    s->dropped = alloc_zero(n, sizeof *s->dropped);
    s->nearness = alloc_zero(n, sizeof *s->nearness);
    s->member_weights = alloc_zero(n, sizeof *s->member_weights);
    s->member_stats = alloc_zero(n, sizeof *s->member_stats);
    s->member_scores = alloc_zero(n, sizeof *s->member_scores);
    s->forwards_before = alloc_zero(n, sizeof *s->forwards_before);
    s->tokens_before = alloc_zero(n, sizeof *s->tokens_before);
    s->seconds_before = alloc_zero(n, sizeof *s->seconds_before);
    s->why = alloc_zero(n, sizeof *s->why);
    if (s->covers == NULL || s->readings == NULL || s->told == NULL || s->lambda == NULL ||
        s->dropped == NULL || s->nearness == NULL || s->member_weights == NULL ||
        s->member_stats == NULL || s->member_scores == NULL || s->forwards_before == NULL ||
        s->tokens_before == NULL || s->seconds_before == NULL || s->why == NULL) {
        status = fail_memory(err, n * 64);
    }
    if (status >= 0) {
        status = copy_arrays(s, err);
    }
    if (status >= 0 && p.weigher == PACKLLM_WEIGH_CBTM) {
        (void)pthread_mutex_lock(&pack->lock);
        status = pack_domains(pack, err);
        (void)pthread_mutex_unlock(&pack->lock);
    }
    if (status >= 0) {
        status = pack_choose_space(s, err);
    }
    if (status >= 0) {
        status = sampler_open(&s->sampler, &s->params.sampling, err);
    }
    if (status >= 0) {
        status = stopper_open(&s->stopper, (const char *const *)s->stop, s->params.n_stop, err);
    }
    if (status >= 0) {
        status = constraint_open(&s->constraint_given, p.grammar, p.json_schema,
                                 p.json_schema_or_text, err);
        s->constraint = s->constraint_given;
    }
    if (status >= 0) {
        status = choice_open(&s->choice, s, err);
    }
    if (status < 0) {
        packllm_session_close(s);
        return status;
    }
    *out_session = s;
    return PACKLLM_OK;
}

void packllm_session_close(struct packllm_session *s) {
    if (s == NULL) {
        return;
    }
    member_gate_expect(s->pack->gate, &s->ticket, false);
    pack_drop_readings(s);
    pack_drop_told(s);
    pack_mapped_close(s);
    base_free(s->align_cache);
    for (size_t i = 0; s->covers != NULL && i < s->pack->n; i++) {
        cover_close(s->covers[i]);
    }
    for (size_t i = 0; s->stop != NULL && i < s->params.n_stop; i++) {
        base_free(s->stop[i]);
    }
    choice_close(s->choice);
    constraint_close(s->constraint_given);
    sampler_close(s->sampler);
    stopper_close(s->stopper);
    pack_chat_close(s->chat);
    buf_done(&s->text);
    buf_done(&s->prompt);
    base_free(s->stop);
    base_free(s->bias);
    base_free(s->top);
    base_free(s->fixed);
    base_free(s->covers);
    base_free(s->readings);
    base_free(s->told);
    base_free(s->lambda);
    base_free(s->dropped);
    base_free(s->nearness);
    base_free(s->member_weights);
    base_free(s->member_stats);
    base_free(s->member_scores);
    base_free(s->forwards_before);
    base_free(s->tokens_before);
    base_free(s->seconds_before);
    base_free(s->why);
    base_free(s);
}
