/* use.c - one session, many methods: how it weighs and fuses may be changed between two texts, and what
 * its members remember be forgotten. For callers that let each method write its own reply behind one
 * prompt, which the members read once. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

void pack_put_method(struct packllm_session *s, const struct packllm_method *method) {
    s->params.weigher = method->weigher;
    s->params.pool = method->pool;
    s->params.shrink = method->shrink;
    s->params.tau = method->tau;
    s->params.alpha = method->alpha;
    memcpy(s->params.experts, method->experts, sizeof method->experts);
}

static enum packllm_status set_fixed(struct packllm_session *s, const double *weights,
                                     struct packllm_error *err) {
    size_t n = s->pack->n;
    if (s->fixed == NULL) {
        s->fixed = alloc_array(n, sizeof *s->fixed);
        if (s->fixed == NULL) {
            return fail_memory(err, n * sizeof *s->fixed);
        }
    }
    s->params.fixed = s->fixed;
    return solve_fixed(weights, n, s->fixed, err);
}

/* A member alone is the pack with all weight on it. */
static enum packllm_status use_member(struct packllm_session *s, size_t member,
                                      struct packllm_error *err) {
    double *alone = alloc_zero(s->pack->n, sizeof *alone);
    if (alone == NULL) {
        return fail_memory(err, s->pack->n * sizeof *alone);
    }
    alone[member] = 1.0;
    enum packllm_status status = set_fixed(s, alone, err);
    base_free(alone);
    if (status >= 0) {
        s->params.weigher = PACKLLM_WEIGH_FIXED;
        s->params.pool = PACKLLM_POOL_LOG;
    }
    return status;
}

enum packllm_status packllm_session_use(struct packllm_session *s,
                                        const struct packllm_method *method,
                                        struct packllm_error *err) {
    enum packllm_status status = pack_check_method(s, method, err);
    if (status >= 0 && method->member < 0 &&
        (method->whole || method->weigher == PACKLLM_WEIGH_HEDGE)) {
        status = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                      "whole options and hedge need a text that is known: they cannot write");
    }
    if (status < 0) {
        return status;
    }
    s->ready = false;
    s->may_use_tokens = false;
    if (method->member >= 0) {
        return use_member(s, (size_t)method->member, err);
    }
    if (method->weigher == PACKLLM_WEIGH_FIXED) {
        status = set_fixed(s, method->fixed, err);
    }
    if (status >= 0) {
        pack_put_method(s, method);
    }
    return status;
}

void packllm_session_forget(struct packllm_session *s) {
    s->ready = false;
    for (size_t i = 0; i < s->pack->n; i++) {
        if (s->covers[i] != NULL) {
            cover_forget(s->covers[i]);
        }
    }
}
