/* tokens.c - pools in token space, see tokens.h. */
#include "fuse/tokens.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

/* Nothing is impossible: 0 * -inf has no value, and a float of 1e-30 is as good as none. */
#define LEAST_LOGP (-70.0F)

struct kept {
    uint32_t event;
    float p;
};

static float log_of(double p) {
    float l = p > 0.0 ? (float)log(p) : LEAST_LOGP;
    return l > LEAST_LOGP ? l : LEAST_LOGP;
}

/* ---- one member's rows ---- */

static enum packllm_status reserve(struct fuse_rows *r, size_t kept, struct packllm_error *err) {
    if (r->n + 1 > r->room) {
        size_t room = r->room * 2 + 64;
        size_t *first = alloc_resize(r->first, room + 1, sizeof *first);
        r->first = first != NULL ? first : r->first;
        float **floats[] = {&r->rest, &r->least, &r->observed};
        bool good = first != NULL;
        for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
            float *grown = alloc_resize(*floats[i], room, sizeof **floats[i]);
            *floats[i] = grown != NULL ? grown : *floats[i];
            good = good && grown != NULL;
        }
        uint32_t *actual = alloc_resize(r->actual, room, sizeof *actual);
        r->actual = actual != NULL ? actual : r->actual;
        if (!good || actual == NULL) {
            return fail_memory(err, room * 32);
        }
        r->room = room;
    }
    size_t used = r->n > 0 ? r->first[r->n] : 0;
    if (used + kept > r->room_kept) {
        size_t room = (used + kept) * 2;
        uint32_t *event = alloc_resize(r->event, room, sizeof *event);
        r->event = event != NULL ? event : r->event;
        float *logp = alloc_resize(r->logp, room, sizeof *logp);
        r->logp = logp != NULL ? logp : r->logp;
        if (event == NULL || logp == NULL) {
            return fail_memory(err, room * 8);
        }
        r->room_kept = room;
    }
    r->first[0] = 0;
    return PACKLLM_OK;
}

/* Into a heap with the least on top: (p, then the lower event) is greater. */
static bool below(struct kept a, struct kept b) {
    return a.p < b.p || (a.p == b.p && a.event > b.event);
}

static void offer(struct kept *heap, size_t *n, struct kept x) {
    size_t i;
    if (*n < FUSE_TOKENS_KEPT) {
        for (i = (*n)++; i > 0 && below(x, heap[(i - 1) / 2]); i = (i - 1) / 2) {
            heap[i] = heap[(i - 1) / 2];
        }
    } else if (!below(heap[0], x)) {
        return;
    } else {
        for (i = 0;;) {
            size_t child = 2 * i + 1;
            if (child >= *n) {
                break;
            }
            child += child + 1 < *n && below(heap[child + 1], heap[child]) ? 1 : 0;
            if (!below(heap[child], x)) {
                break;
            }
            heap[i] = heap[child];
            i = child;
        }
    }
    heap[i] = x;
}

static int by_event(const void *left, const void *right) {
    const struct kept *a = left, *b = right;
    return (a->event > b->event) - (a->event < b->event);
}

enum packllm_status fuse_rows_add(struct fuse_rows *r, const float *mass, const double *block,
                                  uint32_t block_size, uint32_t vocabulary, double end,
                                  uint32_t observed, struct packllm_error *err) {
    struct kept heap[FUSE_TOKENS_KEPT + 1];
    size_t n = 0;
    assert(observed < vocabulary && (r->n == 0 || r->vocabulary == vocabulary));
    enum packllm_status status = reserve(r, FUSE_TOKENS_KEPT + 1, err);
    if (status < 0) {
        return status;
    }
    r->vocabulary = vocabulary;
    offer(heap, &n, (struct kept){vocabulary - 1, (float)end});
    for (uint32_t low = 0; low < vocabulary - 1; low += block_size) {
        uint32_t high = vocabulary - 1 - low < block_size ? vocabulary - 1 : low + block_size;
        if (n == FUSE_TOKENS_KEPT && block[low / block_size] * (1.0 + 1e-6) < (double)heap[0].p) {
            continue;
        }
        for (uint32_t rank = low; rank < high; rank++) {
            offer(heap, &n, (struct kept){rank, mass[rank]});
        }
    }
    float least = n == FUSE_TOKENS_KEPT ? heap[0].p : 0.0F;
    float seen = observed == vocabulary - 1 ? (float)end : mass[observed];
    qsort(heap, n, sizeof *heap, by_event);
    struct kept key = {.event = observed};
    if (bsearch(&key, heap, n, sizeof *heap, by_event) == NULL) {
        heap[n++] = (struct kept){observed, seen};
        qsort(heap, n, sizeof *heap, by_event);
    }
    size_t at = r->first[r->n];
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        r->event[at + i] = heap[i].event;
        r->logp[at + i] = log_of((double)heap[i].p);
        sum += (double)heap[i].p;
    }
    r->rest[r->n] = n < vocabulary ? log_of(1.0 - sum) : LEAST_LOGP;
    r->least[r->n] = log_of((double)least);
    r->observed[r->n] = log_of((double)seen);
    r->actual[r->n] = observed;
    r->first[++r->n] = at + n;
    return PACKLLM_OK;
}

static void *copy_of(const void *data, size_t n, size_t size) {
    void *out = alloc_array(n, size);
    if (out != NULL && n > 0) {
        memcpy(out, data, n * size);
    }
    return out;
}

enum packllm_status fuse_rows_copy(struct fuse_rows *to, const struct fuse_rows *from,
                                   struct packllm_error *err) {
    size_t n = from->n, kept = n > 0 ? from->first[n] : 0;
    struct fuse_rows r = {.n = n, .room = n, .vocabulary = from->vocabulary, .room_kept = kept};
    r.first = copy_of(from->first, n > 0 ? n + 1 : 0, sizeof *r.first);
    r.event = copy_of(from->event, kept, sizeof *r.event);
    r.logp = copy_of(from->logp, kept, sizeof *r.logp);
    r.rest = copy_of(from->rest, n, sizeof *r.rest);
    r.least = copy_of(from->least, n, sizeof *r.least);
    r.observed = copy_of(from->observed, n, sizeof *r.observed);
    r.actual = copy_of(from->actual, n, sizeof *r.actual);
    if (r.first == NULL || r.event == NULL || r.logp == NULL || r.rest == NULL || r.least == NULL ||
        r.observed == NULL || r.actual == NULL) {
        fuse_rows_done(&r);
        return fail_memory(err, kept * 8);
    }
    *to = r;
    return PACKLLM_OK;
}

void fuse_rows_cut(struct fuse_rows *r, size_t n) {
    r->n = n < r->n ? n : r->n;
}

enum packllm_status fuse_rows_order(struct fuse_rows *r, const size_t *at,
                                    struct packllm_error *err) {
    struct fuse_rows old = *r, *to = r;
    *to = (struct fuse_rows){.vocabulary = old.vocabulary};
    enum packllm_status status = PACKLLM_OK;
    for (size_t t = 0; t < old.n && status >= 0; t++) {
        size_t from = old.first[at[t]], count = old.first[at[t] + 1] - from;
        status = reserve(to, count, err);
        if (status >= 0) {
            size_t first = to->first[t];
            memcpy(to->event + first, old.event + from, count * sizeof *old.event);
            memcpy(to->logp + first, old.logp + from, count * sizeof *old.logp);
            to->rest[t] = old.rest[at[t]];
            to->least[t] = old.least[at[t]];
            to->observed[t] = old.observed[at[t]];
            to->actual[t] = old.actual[at[t]];
            to->first[t + 1] = first + count;
            to->n = t + 1;
        }
    }
    fuse_rows_done(&old);
    return status;
}

void fuse_rows_done(struct fuse_rows *r) {
    base_free(r->first);
    base_free(r->event);
    base_free(r->logp);
    base_free(r->rest);
    base_free(r->least);
    base_free(r->observed);
    base_free(r->actual);
    *r = (struct fuse_rows){0};
}

/* ---- all members ---- */

/* The events that any member keeps at a position, ascending; returns how many. at[n_members] goes
 * along the members' kept events. */
static size_t merge(const struct fuse_rows *const *rows, size_t n, size_t t, size_t *at,
                    uint32_t *out) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        at[i] = rows[i]->first[t];
    }
    for (;;) {
        uint32_t next = UINT32_MAX;
        for (size_t i = 0; i < n; i++) {
            if (at[i] < rows[i]->first[t + 1] && rows[i]->event[at[i]] < next) {
                next = rows[i]->event[at[i]];
            }
        }
        if (next == UINT32_MAX) {
            return count;
        }
        for (size_t i = 0; i < n; i++) {
            at[i] += at[i] < rows[i]->first[t + 1] && rows[i]->event[at[i]] == next;
        }
        out[count++] = next;
    }
}

/* One member's log-probabilities of the merged events and of the rest, every stride-th float. */
static void spread(const struct fuse_rows *r, size_t t, const uint32_t *events, size_t count,
                   size_t stride, float *out) {
    size_t at = r->first[t], kept = r->first[t + 1] - at;
    double missing = (double)(count - kept), others = (double)r->vocabulary - (double)kept;
    float each = others > 0.0 ? r->rest[t] - (float)log(others) : LEAST_LOGP;
    each = each > LEAST_LOGP ? each : LEAST_LOGP;
    for (size_t e = 0; e < count; e++) {
        bool mine = at < r->first[t + 1] && r->event[at] == events[e];
        out[e * stride] = mine ? r->logp[at++] : each;
    }
    double left = others - missing;
    float rest = left > 0.0 && others > 0.0 ? r->rest[t] + (float)log(left / others) : LEAST_LOGP;
    out[count * stride] = rest > LEAST_LOGP ? rest : LEAST_LOGP;
}

static void order_members(struct fuse_tokens *k) {
    double *nll = k->scratch;
    for (size_t i = 0; i < k->n_members; i++) {
        nll[i] = 0.0;
        for (size_t t = 0; t < k->n_positions; t++) {
            nll[i] -= (double)k->observed[t * k->n_members + i];
        }
        size_t at = i;
        for (; at > 0 && nll[k->order[at - 1]] > nll[i]; at--) {
            k->order[at] = k->order[at - 1];
        }
        k->order[at] = i;
    }
}

enum packllm_status fuse_tokens_init(struct fuse_tokens *k, enum packllm_pool pool,
                                     size_t n_members, const struct fuse_rows *const *rows,
                                     size_t low, size_t high, double unit,
                                     struct packllm_error *err) {
    assert(n_members > 0 && low < high && unit > 0.0);
    *k = (struct fuse_tokens){
        .n_members = n_members, .n_positions = high - low, .unit = unit, .pool = pool};
    size_t most = 0;
    for (size_t i = 0; i < n_members; i++) {
        assert(rows[i]->n >= high && rows[i]->vocabulary == rows[0]->vocabulary);
        most += FUSE_TOKENS_KEPT + 1;
    }
    uint32_t *events = alloc_array(most, sizeof *events);
    size_t *at = alloc_array(n_members, sizeof *at);
    k->first = alloc_array(k->n_positions + 1, sizeof *k->first);
    k->observed = alloc_array(k->n_positions * n_members, sizeof *k->observed);
    k->order = alloc_array(n_members, sizeof *k->order);
    k->scratch = alloc_array(most + n_members + 1, sizeof *k->scratch);
    enum packllm_status status = PACKLLM_OK;
    if (events == NULL || at == NULL || k->first == NULL || k->observed == NULL ||
        k->order == NULL || k->scratch == NULL) {
        status = fail_memory(err, k->n_positions * n_members * sizeof(float));
    }
    /* The union is at most the sum, and for like members little more than one of them. */
    size_t used = 0;
    for (int pass = 0; pass < 2 && status >= 0; pass++) {
        used = 0;
        for (size_t t = low; t < high && status >= 0; t++) {
            size_t count = merge(rows, n_members, t, at, events);
            k->first[t - low] = used;
            for (size_t i = 0; pass == 1 && i < n_members; i++) {
                spread(rows[i], t, events, count, n_members, k->logp + used * n_members + i);
                k->observed[(t - low) * n_members + i] = rows[i]->observed[t];
                if (rows[i]->actual[t] != rows[0]->actual[t]) {
                    status = fail(err, PACKLLM_E_ARG, (int)i,
                                  "the members' tokens part at position %zu", t);
                }
            }
            if (pass == 1) {
                memcpy(k->event + used, events, count * sizeof *events);
                k->event[used + count] = UINT32_MAX;
            }
            used += count + 1;
        }
        k->first[k->n_positions] = used;
        if (pass == 0 && status >= 0) {
            k->logp = alloc_array(used * n_members, sizeof *k->logp);
            k->event = alloc_array(used, sizeof *k->event);
            status = k->logp != NULL && k->event != NULL
                         ? status
                         : fail_memory(err, used * n_members * sizeof(float));
        }
    }
    base_free(events);
    base_free(at);
    if (status < 0) {
        fuse_tokens_done(k);
        return status;
    }
    order_members(k);
    return PACKLLM_OK;
}

void fuse_tokens_done(struct fuse_tokens *k) {
    base_free(k->first);
    base_free(k->event);
    base_free(k->logp);
    base_free(k->observed);
    base_free(k->order);
    base_free(k->scratch);
    *k = (struct fuse_tokens){0};
}

/* Scores of the events of a position under lambda into z; returns log sum exp. */
static double scores(const struct fuse_tokens *k, const double *lambda, size_t t, double *z) {
    size_t n = k->n_members, count = k->first[t + 1] - k->first[t];
    double most = -HUGE_VAL, sum = 0.0;
    for (size_t e = 0; e < count; e++) {
        const float *l = k->logp + (k->first[t] + e) * n;
        z[e] = 0.0;
        for (size_t m = 0; m < n; m++) {
            size_t i = k->order[m];
            z[e] += lambda[i] == 0.0 ? 0.0 : lambda[i] * (double)l[i];
        }
        most = z[e] > most ? z[e] : most;
    }
    for (size_t e = 0; e < count; e++) {
        sum += exp(z[e] - most);
    }
    return most + log(sum);
}

static double mixture(const struct fuse_tokens *k, const double *lambda, size_t t) {
    double p = 0.0;
    for (size_t m = 0; m < k->n_members; m++) {
        size_t i = k->order[m];
        p += lambda[i] * exp((double)k->observed[t * k->n_members + i]);
    }
    return p;
}

double fuse_tokens_loss(const struct fuse_tokens *k, const double *lambda, size_t t) {
    if (k->pool == PACKLLM_POOL_LINEAR) {
        return -log(mixture(k, lambda, t));
    }
    double loss = scores(k, lambda, t, k->scratch);
    for (size_t m = 0; m < k->n_members; m++) {
        size_t i = k->order[m];
        loss -= lambda[i] == 0.0 ? 0.0 : lambda[i] * (double)k->observed[t * k->n_members + i];
    }
    return loss;
}

double fuse_tokens_loss_among(const struct fuse_tokens *k, const double *lambda, size_t t,
                              uint32_t low, uint32_t high) {
    double total = scores(k, lambda, t, k->scratch), sum = 0.0;
    for (size_t e = k->first[t]; e < k->first[t + 1]; e++) {
        double p = 0.0;
        if (k->event[e] < low || k->event[e] >= high) {
            continue;
        }
        for (size_t i = 0; k->pool == PACKLLM_POOL_LINEAR && i < k->n_members; i++) {
            p += lambda[i] * exp((double)k->logp[e * k->n_members + i]);
        }
        sum += k->pool == PACKLLM_POOL_LINEAR ? p : exp(k->scratch[e - k->first[t]] - total);
    }
    return -log(sum);
}

/* Gradient and Hessian of the linear pool at a position. */
static void add_linear(const struct fuse_tokens *k, const double *lambda, size_t t, double *g,
                       double *H) {
    size_t n = k->n_members;
    const float *seen = k->observed + t * n;
    double p = mixture(k, lambda, t);
    for (size_t i = 0; i < n && g != NULL; i++) {
        double gi = exp((double)seen[i]) / p;
        g[i] -= gi;
        for (size_t j = 0; j < n && H != NULL; j++) {
            H[i * n + j] += gi * exp((double)seen[j]) / p;
        }
    }
}

/* Of the log pool: E[l_i] - l_i(observed), and Cov(l_i, l_j). */
static void add_log(const struct fuse_tokens *k, const double *lambda, size_t t, double *g,
                    double *H) {
    size_t n = k->n_members, count = k->first[t + 1] - k->first[t];
    double *z = k->scratch, *mean = k->scratch + count;
    double total = scores(k, lambda, t, z);
    memset(mean, 0, n * sizeof *mean);
    for (size_t e = 0; e < count; e++) {
        const float *l = k->logp + (k->first[t] + e) * n;
        z[e] = exp(z[e] - total);
        for (size_t i = 0; i < n; i++) {
            mean[i] += z[e] * (double)l[i];
        }
    }
    for (size_t i = 0; i < n; i++) {
        g[i] += mean[i] - (double)k->observed[t * n + i];
    }
    for (size_t e = 0; e < count && H != NULL; e++) {
        const float *l = k->logp + (k->first[t] + e) * n;
        for (size_t i = 0; i < n; i++) {
            double d = (double)l[i] - mean[i];
            for (size_t j = 0; j <= i; j++) {
                H[i * n + j] +=
                    z[e] * (d * ((double)l[j] - mean[j])); /* the same for i, j turned */
            }
        }
    }
}

enum packllm_status fuse_tokens_objective(void *ctx, const double *lambda, double *f, double *g,
                                          double *H) {
    const struct fuse_tokens *k = ctx;
    size_t n = k->n_members;
    bool log_pool = k->pool == PACKLLM_POOL_LOG;
    double sum = 0.0;
    if (g != NULL) {
        memset(g, 0, n * sizeof *g);
    }
    if (H != NULL) {
        memset(H, 0, n * n * sizeof *H);
    }
    for (size_t t = 0; t < k->n_positions; t++) {
        sum += fuse_tokens_loss(k, lambda, t);
        if (g != NULL) {
            (log_pool ? add_log : add_linear)(k, lambda, t, g, H);
        }
    }
    for (size_t i = 0; i < n && g != NULL; i++) {
        g[i] /= k->unit;
        for (size_t j = 0; j <= i && H != NULL; j++) {
            H[i * n + j] /= k->unit;
            H[j * n + i] = H[i * n + j];
        }
    }
    *f = sum / k->unit;
    return PACKLLM_OK;
}

/* At most: an event that a member does not keep is as likely as the least it keeps, and Hoelder's
 * inequality for what nobody keeps. At least: nothing of either. */
static double error_at(const struct fuse_rows *const *rows, size_t n, const double *lambda,
                       size_t t, size_t *at, uint32_t *events) {
    size_t count = merge(rows, n, t, at, events);
    double sure = 0.0, most = 0.0, rest = 0.0, total = 0.0;
    for (size_t i = 0; i < n; i++) {
        at[i] = rows[i]->first[t];
        rest += lambda[i] * (double)rows[i]->rest[t];
        total += lambda[i];
    }
    for (size_t e = 0; e < count; e++) {
        double z = 0.0;
        bool all = true;
        for (size_t i = 0; i < n; i++) {
            bool mine = at[i] < rows[i]->first[t + 1] && rows[i]->event[at[i]] == events[e];
            all = all && (mine || lambda[i] == 0.0);
            z += lambda[i] * (double)(mine ? rows[i]->logp[at[i]] : rows[i]->least[t]);
            at[i] += mine;
        }
        *(all ? &sure : &most) += exp(z);
    }
    /* With weights that do not sum to 1 the number of events counts: (sum x)^L n^(1 - L). */
    double others = (double)rows[0]->vocabulary - (double)count;
    most += others > 0.0 ? exp(rest + (1.0 - total) * log(others)) : 0.0;
    return log1p(most / sure);
}

enum packllm_status fuse_tokens_error(const struct fuse_tokens *k,
                                      const struct fuse_rows *const *rows, size_t low,
                                      const double *lambda, double *out,
                                      struct packllm_error *err) {
    size_t n = k->n_members;
    uint32_t *events = alloc_array(n * (FUSE_TOKENS_KEPT + 1), sizeof *events);
    size_t *at = alloc_array(n, sizeof *at);
    enum packllm_status status = events != NULL && at != NULL
                                     ? PACKLLM_OK
                                     : fail_memory(err, n * FUSE_TOKENS_KEPT * sizeof *events);
    double sum = 0.0;
    for (size_t t = 0; t < k->n_positions && status >= 0 && k->pool == PACKLLM_POOL_LOG; t++) {
        sum += error_at(rows, n, lambda, low + t, at, events);
    }
    base_free(events);
    base_free(at);
    *out = sum / k->unit;
    return status;
}
