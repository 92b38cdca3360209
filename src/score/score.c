/* score.c - reading texts with members, see score.h. */
#include "score/score.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/status.h"

double score_clock(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void score_reading_done(struct score_reading *r) {
    base_free(r->logq);
    base_free(r->parked);
    *r = (struct score_reading){0};
}

struct visit {
    struct score_reading *r;
    const char *text; /* of this window */
    size_t low;       /* offset of the window in the whole text */
    size_t skip;      /* bytes of the window that another one scores */
};

static void visit_byte(void *data, size_t offset, const double *q, double parked) {
    struct visit *v = data;
    if (offset < v->skip) {
        return;
    }
    float *row = v->r->logq + (v->low + offset) * PACKLLM_EVENTS;
    fuse_floor(q, row);
    v->r->parked[v->low + offset] = (float)parked;
    v->r->nll_model -= (double)row[(uint8_t)v->text[offset]];
}

static enum packllm_status read_window(struct cover *cover, struct visit *v, size_t size,
                                       size_t from, struct packllm_error *err) {
    enum packllm_status status = cover_sync(cover, v->text, size, err);
    if (status >= 0) {
        status = cover_walk(cover, visit_byte, v, err);
    }
    if (status < 0) {
        return status;
    }
    struct cover_canonical part;
    cover_canonical(cover, v->skip, &part);
    v->r->whole.nll += part.nll;
    v->r->whole.nll_full += part.nll_full;
    v->r->whole.tokens += part.tokens;
    if (v->low + size > from) {
        size_t low = from > v->low + v->skip ? from - v->low : v->skip;
        cover_canonical(cover, low, &part);
        v->r->canonical.nll += part.nll;
        v->r->canonical.nll_full += part.nll_full;
        v->r->canonical.tokens += part.tokens;
    }
    v->r->resyncs += cover_resyncs(cover);
    v->r->windows++;
    return PACKLLM_OK;
}

/* Cuts the text into windows of at most a context, each half covered by the one before. */
static enum packllm_status read_windows(struct cover *cover, const struct member *member,
                                        const char *text, size_t size, size_t from,
                                        struct score_reading *r, struct packllm_error *err) {
    size_t room = size + 16, n = 0, *ends = NULL;
    struct member *m = (struct member *)(uintptr_t)member;
    int32_t *tokens = alloc_array(room, sizeof *tokens);
    enum packllm_status status = PACKLLM_OK;
    if (tokens == NULL || (ends = alloc_array(room + 1, sizeof *ends)) == NULL) {
        status = fail_memory(err, room * 12);
        goto out;
    }
    status = member_tokenize(m, text, size, tokens, room, &n, err);
    if (status < 0) {
        goto out;
    }
    size_t at = 0, most = member->n_ctx > 48 ? member->n_ctx - 32 : member->n_ctx / 2;
    ends[0] = 0;
    for (size_t i = 0; i < n; i++) {
        at += vocab_size(&member->table, tokens[i]);
        size_t lead = member->space_prefix ? 1 : 0;
        ends[i + 1] = at > lead ? at - lead : 0;
    }
    for (size_t first = 0, done = 0; done < size && status >= 0; first += most / 2) {
        size_t low = ends[first], high = first + most >= n ? size : ends[first + most];
        while (low > 0 && ((uint8_t)text[low] & 0xc0) == 0x80) {
            low--;
        }
        while (high < size && ((uint8_t)text[high] & 0xc0) == 0x80) {
            high--;
        }
        struct visit v = {.r = r, .text = text + low, .low = low, .skip = done - low};
        status = read_window(cover, &v, high - low, from, err);
        done = high;
    }
out:
    base_free(tokens);
    base_free(ends);
    return status;
}

enum packllm_status score_read(struct cover *cover, const struct member *member, const char *text,
                               size_t size, size_t from, bool windows, struct score_reading *out,
                               struct packllm_error *err) {
    struct packllm_error why;
    struct score_reading r = {.bytes = size};
    double start = score_clock(), inside = cover_seconds(cover);
    uint64_t forwards = cover_forwards(cover);
    r.logq = alloc_array(size, PACKLLM_EVENTS * sizeof *r.logq);
    r.parked = alloc_array(size, sizeof *r.parked);
    if (r.logq == NULL || r.parked == NULL) {
        score_reading_done(&r);
        return fail_memory(err, size * PACKLLM_EVENTS * sizeof(float));
    }
    struct visit v = {.r = &r, .text = text};
    enum packllm_status status = read_window(cover, &v, size, from, &why);
    if (status == PACKLLM_E_CONTEXT && windows) {
        status = read_windows(cover, member, text, size, from, &r, &why);
    }
    if (status < 0) {
        score_reading_done(&r);
        if (err != NULL) {
            *err = why;
            err->member = member->index;
        }
        return status;
    }
    r.forwards = cover_forwards(cover) - forwards;
    r.seconds = score_clock() - start;
    r.seconds_model = cover_seconds(cover) - inside;
    *out = r;
    return PACKLLM_OK;
}

static enum packllm_status solve_block(const struct score_method *m, struct fuse_block *block,
                                       double *lambda, struct score_weights *out,
                                       struct packllm_error *err) {
    size_t n = block->n_members;
    double *nll = alloc_array(n, sizeof *nll);
    if (nll == NULL) {
        return fail_memory(err, n * sizeof *nll);
    }
    fuse_member_nll(block, nll);
    enum packllm_status status = PACKLLM_OK;
    switch (m->weigher) {
    case PACKLLM_WEIGH_EXACT: {
        struct solve_problem problem = {.n = n,
                                        .eval = fuse_objective,
                                        .ctx = block,
                                        .prior = m->prior,
                                        .cap = m->cap,
                                        .ridge = m->shrink / (double)block->n_bytes,
                                        .order = block->order};
        struct solve_result result = {0};
        status = solve_exact(&problem, 1e-10, 200, lambda, &result, err);
        out->gap = result.gap;
        out->passes = result.passes;
        break;
    }
    case PACKLLM_WEIGH_SIM:
        /* A fixed unit of four bytes: nats per token of different tokenizers do not compare. */
        for (size_t i = 0; i < n; i++) {
            nll[i] *= 4.0;
        }
        status = solve_sim(nll, n, m->tau, lambda, err);
        break;
    case PACKLLM_WEIGH_UNIFORM:
        solve_uniform(n, lambda);
        break;
    case PACKLLM_WEIGH_TOP1:
        solve_top1(nll, n, lambda);
        break;
    case PACKLLM_WEIGH_FIXED:
        status = solve_fixed(m->fixed, n, lambda, err);
        break;
    }
    base_free(nll);
    if (status >= 0) {
        status = fuse_objective(block, lambda, &out->objective, NULL, NULL);
    }
    return status;
}

enum packllm_status score_weigh(const struct score_method *method, size_t n,
                                const struct score_reading *const *readings, const char *text,
                                size_t bytes, double *lambda, struct score_weights *out,
                                struct packllm_error *err) {
    struct score_weights w = {.objective = (double)NAN, .gap = (double)NAN};
    double start = score_clock();
    if (bytes == 0) {
        if (method->weigher == PACKLLM_WEIGH_FIXED) {
            return solve_fixed(method->fixed, n, lambda, err);
        }
        memcpy(lambda, method->prior, n * sizeof *lambda);
        *out = w;
        return PACKLLM_OK;
    }
    const float **logq = alloc_array(n, sizeof *logq);
    uint16_t *event = alloc_array(bytes, sizeof *event);
    struct fuse_block block = {0};
    enum packllm_status status = PACKLLM_OK;
    if (logq == NULL || event == NULL) {
        status = fail_memory(err, bytes * sizeof *event);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        logq[i] = readings[i]->logq;
    }
    for (size_t t = 0; t < bytes; t++) {
        event[t] = (uint8_t)text[t];
    }
    status = fuse_block_init(&block, method->pool, n, bytes, logq, event, method->prior,
                             method->cap, err);
    if (status >= 0) {
        status = solve_block(method, &block, lambda, &w, err);
        fuse_block_done(&block);
    }
    if (status >= 0) {
        w.seconds = score_clock() - start;
        *out = w;
    }
out:
    base_free(logq);
    base_free(event);
    return status;
}
