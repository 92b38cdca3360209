/* weighers.c - the list of weighers: names, what they prove, what they cannot be asked for. */
#include "pack/pack.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
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
    [PACKLLM_WEIGH_DEXPERTS] = {"dexperts", "objective is within gap of its minimum over alpha in "
                                            "0..16 (where alpha is fitted)"},
    [PACKLLM_WEIGH_CBTM] = {"cbtm", NULL},
};
enum { N_WEIGHERS = sizeof weighers / sizeof *weighers };

const char *packllm_weigher_name(enum packllm_weigher weigher) {
    return (unsigned)weigher < N_WEIGHERS ? weighers[weigher].name : NULL;
}

const char *packllm_weigher_certifies(enum packllm_weigher weigher) {
    return (unsigned)weigher < N_WEIGHERS ? weighers[weigher].certifies : NULL;
}

static enum packllm_status check_experts(const struct packllm_session_params *p, size_t n,
                                         struct packllm_error *err) {
    const int32_t *e = p->experts;
    for (int k = 0; k < 3; k++) {
        if (e[k] < 0 || (size_t)e[k] >= n) {
            return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                        "dexperts: there is no member %d; base, expert and anti-expert are wanted",
                        (int)e[k]);
        }
    }
    if (e[0] == e[1] || e[0] == e[2] || e[1] == e[2]) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "dexperts: base, expert and anti-expert must be three different members");
    }
    if (!(p->alpha <= SOLVE_FREE_MOST)) {
        return fail(
            err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
            "dexperts: alpha is %g: give one from 0 to %g, or less than 0 to have it fitted",
            p->alpha, SOLVE_FREE_MOST);
    }
    return PACKLLM_OK;
}

enum packllm_status pack_check_weigher(const struct packllm_session_params *p, size_t n,
                                       bool scoring, struct packllm_error *err) {
    const char *name = packllm_weigher_name(p->weigher);
    if (name == NULL) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "the weigher is no known one");
    }
    bool linear = p->weigher == PACKLLM_WEIGH_EM || p->weigher == PACKLLM_WEIGH_BAYES;
    if ((linear && p->pool != PACKLLM_POOL_LINEAR) ||
        ((p->weigher == PACKLLM_WEIGH_FREE || p->weigher == PACKLLM_WEIGH_DEXPERTS) &&
         p->pool != PACKLLM_POOL_LOG)) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "%s weighs the %s pool only", name,
                    packllm_pool_name(linear ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG));
    }
    if (p->weigher == PACKLLM_WEIGH_HEDGE && !scoring) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "hedge runs along a text that is known: it can score, not weigh or write");
    }
    return p->weigher == PACKLLM_WEIGH_DEXPERTS ? check_experts(p, n, err) : PACKLLM_OK;
}

void pack_pool(const struct packllm_session *s, size_t n, const size_t *active,
               const double *lambda, const float *const *rows, float *out_logp) {
    if (s->params.weigher != PACKLLM_WEIGH_DEXPERTS) {
        fuse_pool(s->params.pool, n, lambda, rows, out_logp);
        return;
    }
    const float *part[3] = {NULL, NULL, NULL};
    for (size_t k = 0; k < n; k++) {
        for (size_t e = 0; e < 3; e++) {
            part[e] = (active != NULL ? active[k] : k) == (size_t)s->params.experts[e] ? rows[k]
                                                                                       : part[e];
        }
    }
    double alpha = s->lambda[s->params.experts[1]];
    bool steers = alpha != 0.0; /* else expert and anti-expert are not asked */
    fuse_experts_pool(part[0], steers ? part[1] : part[0], steers ? part[2] : part[0], alpha,
                      out_logp);
}

/* ---- domains ---- */

/* Examples of a domain are pieces of its file of about so many bytes, ended at white space; of each
 * member so many centres are kept. */
enum { DOMAIN_MAX = 64 << 20, EXAMPLE = 2000, CENTRES = 8 };

static enum packllm_status read_domain(const struct packllm_pack *pack, size_t i, struct buf *out,
                                       struct packllm_error *err) {
    char chunk[1 << 14];
    size_t n;
    const char *path = pack->domain[i], *name = pack->members[i]->name;
    FILE *file = fopen(path, "rbe");
    while (file != NULL && (n = fread(chunk, 1, sizeof chunk, file)) > 0 &&
           buf_add(out, chunk, n)) {
    }
    bool bad = file == NULL || ferror(file) != 0;
    int why = errno;
    if (file != NULL) {
        (void)fclose(file);
    }
    if (bad) {
        return fail(err, PACKLLM_E_IO, (int)i, "member '%s': cannot read its domain text '%s': %s",
                    name, path, strerror(why));
    }
    if (out->failed) {
        return fail(err, PACKLLM_E_IO, (int)i,
                    "member '%s': its domain text '%s' is longer than 64 MiB, the most one may be",
                    name, path);
    }
    size_t whole = out->size > 0 ? utf8_check(out->data, out->size) : 0;
    if (whole != out->size || out->size == 0) {
        return fail(err, PACKLLM_E_TEXT, (int)i, "member '%s': its domain text '%s' is %s", name,
                    path, out->size == 0 ? "empty" : "not valid UTF-8");
    }
    return PACKLLM_OK;
}

static enum packllm_status cut_examples(const struct buf *text, size_t member,
                                        struct cbtm_text **all, size_t *n,
                                        struct packllm_error *err) {
    for (size_t from = 0; from < text->size;) {
        size_t to = from + EXAMPLE < text->size ? from + EXAMPLE : text->size;
        while (to < text->size && text->data[to] != ' ' && text->data[to] != '\n') {
            to++;
        }
        struct cbtm_text *grown = alloc_resize(*all, *n + 1, sizeof *grown);
        if (grown == NULL) {
            return fail_memory(err, *n * sizeof *grown);
        }
        *all = grown;
        grown[(*n)++] = (struct cbtm_text){text->data + from, to - from, member};
        from = to;
    }
    return PACKLLM_OK;
}

enum packllm_status pack_domains(struct packllm_pack *pack, struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    struct cbtm_text *examples = NULL;
    size_t n = 0;
    if (pack->cbtm != NULL) {
        return PACKLLM_OK;
    }
    struct buf *texts = alloc_zero(pack->n, sizeof *texts);
    if (texts == NULL) {
        return fail_memory(err, pack->n * sizeof *texts);
    }
    for (size_t i = 0; i < pack->n; i++) {
        buf_init(&texts[i], DOMAIN_MAX);
    }
    for (size_t i = 0; i < pack->n && status >= 0; i++) {
        status = pack->domain[i] != NULL
                     ? read_domain(pack, i, &texts[i], err)
                     : fail(err, PACKLLM_E_ARG, (int)i,
                            "cbtm weighs by the members' domain texts, and '%s' has none: give "
                            "domain = FILE",
                            pack->members[i]->name);
        if (status >= 0) {
            status = cut_examples(&texts[i], i, &examples, &n, err);
        }
    }
    if (status >= 0) {
        status = cbtm_open(&pack->cbtm, examples, n, pack->n, CENTRES, err);
    }
    for (size_t i = 0; i < pack->n; i++) {
        buf_done(&texts[i]);
    }
    base_free(texts);
    base_free(examples);
    return status;
}

enum packllm_status pack_method(struct packllm_session *s, const char *text, size_t size,
                                struct score_method *out, struct packllm_error *err) {
    bool cbtm = s->params.weigher == PACKLLM_WEIGH_CBTM;
    *out = (struct score_method){.weigher = s->params.weigher,
                                 .pool = s->params.pool,
                                 .shrink = s->params.shrink,
                                 .tau = s->params.tau,
                                 .fixed = cbtm ? s->nearness : s->fixed,
                                 .experts = s->params.experts,
                                 .alpha = s->params.alpha,
                                 .prior = s->pack->prior,
                                 .cap = s->pack->cap};
    return cbtm ? cbtm_weigh(s->pack->cbtm, text, size, s->nearness, NULL, err) : PACKLLM_OK;
}
