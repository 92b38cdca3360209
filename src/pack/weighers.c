/* weighers.c - the list of weighers: names, what they prove, what they cannot be asked for. */
#include "pack/pack.h"

#include "base/status.h"

static const struct {
    const char *name, *certifies;
} weighers[] = {
    [PACKLLM_WEIGH_EXACT] = {"exact", "objective + ridge is within gap of its minimum over the "
                                      "capped simplex"},
    [PACKLLM_WEIGH_SIM] = {"sim", NULL},
    [PACKLLM_WEIGH_UNIFORM] = {"uniform", NULL},
    [PACKLLM_WEIGH_TOP1] = {"top1", NULL},
    [PACKLLM_WEIGH_FIXED] = {"fixed", NULL},
    [PACKLLM_WEIGH_GREEDY] = {"greedy", "objective is within gap of its minimum over the simplex"},
    [PACKLLM_WEIGH_FREE] = {"free", "objective + ridge is within gap of its minimum over weights "
                                    ">= 0 of sum <= 16"},
    [PACKLLM_WEIGH_EM] = {"em", "objective is within gap of its minimum over the simplex"},
    [PACKLLM_WEIGH_BAYES] = {"bayes", "the running mixture's loss is at most regret_bound nats in "
                                      "all above the best member's"},
    [PACKLLM_WEIGH_HEDGE] = {"hedge", "the loss is at most regret_bound nats in all above the best "
                                      "of pool and members"},
};
enum { N_WEIGHERS = sizeof weighers / sizeof *weighers };

const char *packllm_weigher_name(enum packllm_weigher weigher) {
    return (unsigned)weigher < N_WEIGHERS ? weighers[weigher].name : NULL;
}

const char *packllm_weigher_certifies(enum packllm_weigher weigher) {
    return (unsigned)weigher < N_WEIGHERS ? weighers[weigher].certifies : NULL;
}

enum packllm_status pack_check_weigher(const struct packllm_session_params *p, bool scoring,
                                       struct packllm_error *err) {
    const char *name = packllm_weigher_name(p->weigher);
    if (name == NULL) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "the weigher is no known one");
    }
    bool linear = p->weigher == PACKLLM_WEIGH_EM || p->weigher == PACKLLM_WEIGH_BAYES;
    if ((linear && p->pool != PACKLLM_POOL_LINEAR) ||
        (p->weigher == PACKLLM_WEIGH_FREE && p->pool != PACKLLM_POOL_LOG)) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "%s weighs the %s pool only", name,
                    packllm_pool_name(linear ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG));
    }
    if (p->weigher == PACKLLM_WEIGH_HEDGE && !scoring) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "hedge runs along a text that is known: it can score, not weigh or write");
    }
    return PACKLLM_OK;
}
