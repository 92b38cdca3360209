/* sampler.c - the chain of sample.h.
 *
 * Order and meaning are llama.cpp's: bias is added; then, for each id that stands count > 0 times in
 * the last n accepted, x <- x > 0 ? x / repeat : x * repeat, x <- x - count frequency - presence;
 * top-k by value; top-p keeps the shortest head of the sorted list whose probabilities (softmax of
 * what top-k left) reach p, one at least; min-p keeps x >= max + log p; x <- x / temperature; draw.
 *
 * Departs from llama.cpp in three ways. Numbers are doubles. Ties are settled by the id, where a sort
 * leaves them to chance. The draw is argmax of x + G(seed, position, id), G standard Gumbel: the same
 * distribution as softmax(x), but a function of the key alone.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"
#include "sample/ids.h"
#include "sample/sample.h"

#define HEAD 256 /* top-p looks at so many of the largest before it sorts everything */

struct sampler {
    struct packllm_sampling params;
    bool penalties;  /* some penalty does something */
    struct ids bias; /* id -> bias */
    bool biased;
    struct ids count; /* id -> how often it stands in the history */
    int32_t *history; /* [room]; a ring of the last repeat_last_n, not kept if that is -1 */
    size_t room, size, oldest; /* of the ring */
};

/* ---- options and history -------------------------------------------------------------------- */

static enum packllm_status check_range(const char *name, double value, double low, double high,
                                       struct packllm_error *err) {
    if (value >= low && value <= high) {
        return PACKLLM_OK;
    }
    return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "sampling: %s is %g, not in [%g, %g]", name,
                value, low, high);
}

static enum packllm_status check(const struct packllm_sampling *p, struct packllm_error *err) {
    const double most = 1e6; /* no more than a guard against nonsense */
    const struct {
        const char *name;
        double value, low, high;
    } fields[] = {
        {"temp", p->temp, -most, most},
        {"top_p", p->top_p, 0, 1},
        {"min_p", p->min_p, 0, 1},
        {"repeat_penalty", p->repeat_penalty, 1e-6, most},
        {"repeat_last_n", (double)p->repeat_last_n, -1, 0x1p30},
        {"presence_penalty", p->presence_penalty, -most, most},
        {"frequency_penalty", p->frequency_penalty, -most, most},
    };
    enum packllm_status status = PACKLLM_OK;
    for (size_t i = 0; i < sizeof fields / sizeof *fields && status == PACKLLM_OK; i++) {
        status = check_range(fields[i].name, fields[i].value, fields[i].low, fields[i].high, err);
    }
    return status;
}

enum packllm_status sampler_open(struct sampler **out, const struct packllm_sampling *params,
                                 struct packllm_error *err) {
    enum packllm_status status = check(params, err);
    if (status != PACKLLM_OK) {
        return status;
    }
    struct sampler *sampler = alloc_zero(1, sizeof *sampler);
    if (sampler == NULL) {
        return fail_memory(err, sizeof *sampler);
    }
    sampler->params = *params;
    sampler->penalties = params->repeat_last_n != 0 &&
                         (params->repeat_penalty != 1 || params->presence_penalty != 0 ||
                          params->frequency_penalty != 0);
    *out = sampler;
    return PACKLLM_OK;
}

void sampler_close(struct sampler *sampler) {
    if (sampler != NULL) {
        ids_done(&sampler->bias);
        ids_done(&sampler->count);
        base_free(sampler->history);
        base_free(sampler);
    }
}

void sampler_reset(struct sampler *sampler) {
    ids_done(&sampler->count);
    sampler->size = sampler->oldest = 0;
}

enum packllm_status sampler_bias(struct sampler *sampler, int32_t id, double bias,
                                 struct packllm_error *err) {
    if (isnan(bias) || (isinf(bias) && bias > 0)) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "sampling: the bias of token %d is %g, it must be a number or -inf", (int)id,
                    bias);
    }
    double *at = ids_at(&sampler->bias, id);
    if (at == NULL) {
        return fail_memory(err, sizeof *at);
    }
    *at = bias;
    sampler->biased = true;
    return PACKLLM_OK;
}

/* The ring has room for one more, or is as long as it may be. */
static bool reserve_history(struct sampler *sampler) {
    size_t longest = (size_t)sampler->params.repeat_last_n;
    if (sampler->size < sampler->room || sampler->room == longest) {
        return true;
    }
    size_t room = sampler->room == 0 ? 64 : 2 * sampler->room; /* a full ring starts at 0 here */
    room = room < longest ? room : longest;
    int32_t *history = alloc_resize(sampler->history, room, sizeof *history);
    if (history == NULL) {
        return false;
    }
    sampler->history = history;
    sampler->room = room;
    return true;
}

enum packllm_status sampler_accept(struct sampler *sampler, int32_t id, struct packllm_error *err) {
    if (!sampler->penalties) {
        return PACKLLM_OK;
    }
    bool ring = sampler->params.repeat_last_n > 0;
    if (ring && !reserve_history(sampler)) {
        return fail_memory(err, 2 * sampler->room * sizeof *sampler->history);
    }
    double *count = ids_at(&sampler->count, id);
    if (count == NULL) {
        return fail_memory(err, 2 * sampler->count.room * sizeof *sampler->count.entries);
    }
    *count += 1;
    if (!ring) {
        return PACKLLM_OK;
    }
    if (sampler->size == sampler->room) {
        double *old = ids_at(&sampler->count, sampler->history[sampler->oldest]);
        assert(old != NULL && *old >= 1);
        *old -= 1;
        sampler->history[sampler->oldest] = id;
        sampler->oldest = (sampler->oldest + 1) % sampler->room;
    } else {
        sampler->history[sampler->size++] = id;
    }
    return PACKLLM_OK;
}

/* ---- the chain ------------------------------------------------------------------------------ */

/* Whether a stands before b in the sorted list: larger value, then lower id. */
static bool before(const struct sample_candidate *a, const struct sample_candidate *b) {
    return a->logp > b->logp || (a->logp == b->logp && a->id < b->id);
}

static int compare(const void *a, const void *b) {
    return before(a, b) ? -1 : before(b, a) ? 1 : 0;
}

static void swap(struct sample_candidate *a, struct sample_candidate *b) {
    struct sample_candidate c = *a;
    *a = *b;
    *b = c;
}

/* heap[k]: the last of the sorted list on top. */
static void sift(struct sample_candidate *heap, size_t k, size_t at) {
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= k) {
            return;
        }
        if (child + 1 < k && before(&heap[child], &heap[child + 1])) {
            child++;
        }
        if (!before(&heap[at], &heap[child])) {
            return;
        }
        swap(&heap[at], &heap[child]);
        at = child;
    }
}

/* Brings the first k of the sorted list to the front, sorted; the rest follows in any order. */
static void sort_head(struct sample_candidate *candidates, size_t n, size_t k) {
    if (k < n) {
        for (size_t i = k / 2 + 1; i-- > 0;) {
            sift(candidates, k, i);
        }
        for (size_t i = k; i < n; i++) {
            if (before(&candidates[i], &candidates[0])) {
                swap(&candidates[i], &candidates[0]);
                sift(candidates, k, 0);
            }
        }
    }
    qsort(candidates, k < n ? k : n, sizeof *candidates, compare);
}

static void add_bias_and_penalties(const struct sampler *sampler,
                                   struct sample_candidate *candidates, size_t n) {
    const struct packllm_sampling *p = &sampler->params;
    for (size_t i = 0; i < n; i++) {
        double *x = &candidates[i].logp;
        assert(!isnan(*x));
        if (sampler->biased) {
            *x += ids_get(&sampler->bias, candidates[i].id);
        }
        double count = sampler->penalties ? ids_get(&sampler->count, candidates[i].id) : 0;
        if (count > 0) {
            *x = *x > 0 ? *x / p->repeat_penalty : *x * p->repeat_penalty;
            *x -= count * p->frequency_penalty + p->presence_penalty;
        }
    }
}

/* How many of the head's k sorted candidates reach the mass; k + 1 when they do not. */
static size_t reach(const struct sample_candidate *sorted, size_t k, double mass) {
    double sum = 0;
    for (size_t i = 0; i < k; i++) {
        sum += exp(sorted[i].logp - sorted[0].logp);
        if (sum >= mass) {
            return i + 1;
        }
    }
    return k + 1;
}

/* *sorted: the candidates are in order already. Returns how many stay, in front, sorted. */
static size_t cut_top_p(struct sample_candidate *candidates, size_t n, bool *sorted, double p) {
    double max = -HUGE_VAL, sum = 0;
    for (size_t i = 0; i < n; i++) {
        max = fmax(max, candidates[i].logp);
    }
    if (isinf(max)) { /* nothing is possible, or one thing infinitely so */
        sort_head(candidates, n, 1);
        *sorted = true;
        return 1;
    }
    size_t head = *sorted || n <= HEAD ? n : HEAD;
    if (!*sorted) {
        sort_head(candidates, n, head);
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp(candidates[i].logp - max);
    }
    size_t keep = reach(candidates, head, p * sum);
    if (keep > head && head < n) {
        sort_head(candidates, n, n);
        keep = reach(candidates, n, p * sum);
    }
    *sorted = true;
    return keep < n ? keep : n;
}

static size_t cut_min_p(struct sample_candidate *candidates, size_t n, double p) {
    double max = -HUGE_VAL;
    for (size_t i = 0; i < n; i++) {
        max = fmax(max, candidates[i].logp);
    }
    double least = max + log(p);
    size_t keep = 0;
    for (size_t i = 0; i < n; i++) {
        if (candidates[i].logp >= least) {
            swap(&candidates[keep++], &candidates[i]);
        }
    }
    return keep;
}

size_t sampler_pick(struct sampler *sampler, struct sample_candidate *candidates, size_t n,
                    uint64_t position) {
    const struct packllm_sampling *p = &sampler->params;
    assert(n >= 1);
    add_bias_and_penalties(sampler, candidates, n);
    bool draw = p->temp > 0;
    bool sorted = false;
    if (draw && p->top_k > 0) { /* the cuts never touch the largest: argmax needs none of them */
        size_t k = (size_t)p->top_k < n ? (size_t)p->top_k : n;
        sort_head(candidates, n, k);
        n = k;
        sorted = true;
    }
    if (draw && p->top_p < 1) {
        n = cut_top_p(candidates, n, &sorted, p->top_p);
    }
    if (draw && p->min_p > 0) {
        n = cut_min_p(candidates, n, p->min_p);
    }
    size_t best = 0;
    struct sample_candidate most = {0, 0};
    for (size_t i = 0; i < n; i++) {
        struct sample_candidate now = candidates[i];
        if (draw) {
            candidates[i].logp /= p->temp;
            now.logp = candidates[i].logp +
                       rng_gumbel(p->seed, position, (uint64_t)(uint32_t)candidates[i].id);
        }
        if (i == 0 || before(&now, &most)) {
            most = now;
            best = i;
        }
    }
    return best;
}
