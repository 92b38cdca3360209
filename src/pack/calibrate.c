/* calibrate.c - labelled texts kept as rows, so that settings of a pack (priors, shrinkage, the members'
 * temperatures) can be tried on them many times from one reading of the members (docs/math.md,
 * "Calibration"). What is tried goes through the functions that weigh and pool everywhere else. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

enum { ROW = PACKLLM_EVENTS };

struct item {
    char *context;
    size_t size;
    struct packllm_option *options; /* [n_options], texts owned */
    size_t n_options, gold;
    float **context_rows; /* [n_members] -> [size][257] */
    float **rows;         /* [n_members][n_options] -> [option's size][257] */
};

struct packllm_calibration {
    struct packllm_session *session;
    struct item *items; /* [n] */
    size_t n, room;
    uint64_t bytes;
};

/* ---- items ---- */

static void item_done(struct item *it, size_t members) {
    for (size_t i = 0; i < members && it->context_rows != NULL; i++) {
        base_free(it->context_rows[i]);
    }
    for (size_t k = 0; k < members * it->n_options && it->rows != NULL; k++) {
        base_free(it->rows[k]);
    }
    for (size_t o = 0; o < it->n_options && it->options != NULL; o++) {
        base_free((void *)(uintptr_t)it->options[o].text);
    }
    base_free(it->context_rows);
    base_free(it->rows);
    base_free(it->options);
    base_free(it->context);
    *it = (struct item){0};
}

static float *copy_rows(struct packllm_calibration *c, const float *rows, size_t n) {
    float *copy = alloc_array(n, ROW * sizeof *copy);
    if (copy != NULL) {
        memcpy(copy, rows, n * ROW * sizeof *copy);
        c->bytes += n * ROW * sizeof *copy;
    }
    return copy;
}

/* The member reads the context with each option. */
static enum packllm_status read_member(struct packllm_calibration *c, struct item *it, size_t i,
                                       struct packllm_error *err) {
    struct score_reading *r = alloc_zero(it->n_options, sizeof *r);
    if (r == NULL) {
        return fail_memory(err, it->n_options * sizeof *r);
    }
    enum packllm_status status = pack_read_options(c->session, i, it->context, it->size,
                                                   it->options, it->n_options, true, r, err);
    if (status >= 0) {
        it->context_rows[i] = copy_rows(c, r[0].logq, it->size);
    }
    for (size_t o = 0; o < it->n_options; o++) {
        float **to = &it->rows[i * it->n_options + o];
        if (status >= 0) {
            *to = copy_rows(c, r[o].logq + (o == 0 ? it->size * ROW : 0), it->options[o].size);
        }
        if (status >= 0 && (it->context_rows[i] == NULL || *to == NULL)) {
            status = fail_memory(err, (it->size + it->options[o].size) * ROW * sizeof(float));
        }
        score_reading_done(&r[o]);
    }
    base_free(r);
    return status;
}

static enum packllm_status item_read(struct packllm_calibration *c, struct item *it,
                                     const char *context, size_t size,
                                     const struct packllm_option *options, size_t n_options,
                                     struct packllm_error *err) {
    size_t n = c->session->pack->n;
    it->context = alloc_text(context, size);
    it->size = size;
    it->options = alloc_zero(n_options, sizeof *it->options);
    it->context_rows = alloc_zero(n, sizeof *it->context_rows);
    it->rows = alloc_zero(n * n_options, sizeof *it->rows);
    if (it->context == NULL || it->options == NULL || it->context_rows == NULL ||
        it->rows == NULL) {
        return fail_memory(err, size + n * n_options * sizeof *it->rows);
    }
    for (size_t o = 0; o < n_options; o++) {
        it->options[o] =
            (struct packllm_option){alloc_text(options[o].text, options[o].size), options[o].size};
        it->n_options++;
        if (it->options[o].text == NULL) {
            return fail_memory(err, options[o].size);
        }
    }
    enum packllm_status status = PACKLLM_OK;
    for (size_t i = 0; i < n && status >= 0; i++) {
        status = read_member(c, it, i, err);
    }
    return status;
}

enum packllm_status packllm_calibration_open(struct packllm_calibration **out,
                                             struct packllm_session *session,
                                             struct packllm_error *err) {
    struct packllm_calibration *c = alloc_zero(1, sizeof *c);
    if (c == NULL) {
        return fail_memory(err, sizeof *c);
    }
    c->session = session;
    *out = c;
    return PACKLLM_OK;
}

void packllm_calibration_close(struct packllm_calibration *c) {
    for (size_t k = 0; c != NULL && k < c->n; k++) {
        item_done(&c->items[k], c->session->pack->n);
    }
    if (c != NULL) {
        base_free(c->items);
        base_free(c);
    }
}

uint64_t packllm_calibration_bytes(const struct packllm_calibration *c) {
    return c->bytes;
}

enum packllm_status packllm_calibration_add(struct packllm_calibration *c, const char *context,
                                            size_t size, const struct packllm_option *options,
                                            size_t n_options, size_t gold,
                                            struct packllm_error *err) {
    struct packllm_session *s = c->session;
    if (context == NULL || size == 0 || n_options == 0 || gold >= n_options) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "a context, options and the gold one of them are wanted");
    }
    enum packllm_status status = pack_check_utf8(context, size, err);
    for (size_t o = 0; o < n_options && status >= 0; o++) {
        status = options[o].text == NULL || options[o].size == 0
                     ? fail(err, PACKLLM_E_TEXT, PACKLLM_NO_MEMBER, "an option is empty")
                     : pack_check_utf8(options[o].text, options[o].size, err);
    }
    if (status >= 0 && c->n == c->room) {
        size_t room = c->room * 2 + 64;
        struct item *grown = alloc_resize(c->items, room, sizeof *grown);
        if (grown == NULL) {
            return fail_memory(err, room * sizeof *grown);
        }
        c->items = grown;
        c->room = room;
    }
    if (status < 0) {
        return status;
    }
    struct item it = {.gold = gold};
    atomic_store(&s->cancel, false);
    s->ready = s->in_tokens = false;
    status = item_read(c, &it, context, size, options, n_options, err);
    if (status < 0) {
        item_done(&it, s->pack->n);
        return status;
    }
    c->items[c->n++] = it;
    return PACKLLM_OK;
}

/* ---- what is tried ---- */

static double temperature_of(const struct packllm_calibration_point *p, size_t i) {
    return p->temperature != NULL ? p->temperature[i] : 1.0;
}

static enum packllm_status check_point(const struct packllm_calibration *c, size_t item,
                                       const struct packllm_calibration_point *p,
                                       struct packllm_error *err) {
    bool fine = item < c->n && p->shrink >= 0.0 && isfinite(p->shrink);
    double sum = 0.0;
    for (size_t i = 0; i < c->session->pack->n && fine; i++) {
        double t = temperature_of(p, i);
        fine = p->prior[i] > 0.0 && isfinite(p->prior[i]) && t > 0.0 && isfinite(t);
        sum += p->prior[i];
    }
    return fine && fabs(sum - 1.0) < 1e-9
               ? PACKLLM_OK
               : fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                      "no such item, or priors that are not above 0 with sum 1, a shrinkage below "
                      "0, or a temperature that is not above it");
}

/* out[n_members]: the rows as the temperatures make them; copies where they are not 1. */
static bool temper(const struct packllm_calibration_point *p, size_t n, float *const *rows,
                   size_t bytes, const float **out) {
    bool fine = true;
    for (size_t i = 0; i < n; i++) {
        double t = temperature_of(p, i);
        out[i] = rows[i];
        if (t != 1.0 && fine) {
            float *copy = alloc_array(bytes, ROW * sizeof *copy);
            fine = copy != NULL;
            for (size_t x = 0; fine && x < bytes; x++) {
                memcpy(copy + x * ROW, rows[i] + x * ROW, ROW * sizeof *copy);
                fuse_temper(t, copy + x * ROW);
            }
            out[i] = fine ? copy : out[i];
        }
    }
    return fine;
}

static void temper_done(size_t n, float *const *rows, const float **out) {
    for (size_t i = 0; i < n; i++) {
        if (out[i] != rows[i]) {
            base_free((void *)(uintptr_t)out[i]);
        }
    }
}

static enum packllm_status score_option(const struct packllm_calibration *c, const struct item *it,
                                        const struct packllm_calibration_point *p, size_t o,
                                        const double *lambda, double *out,
                                        struct packllm_error *err) {
    size_t n = c->session->pack->n, bytes = it->options[o].size;
    const float **rows = alloc_array(2 * n, sizeof *rows), **here = rows + n;
    float **own = alloc_array(n, sizeof *own);
    enum packllm_status status = PACKLLM_OK;
    if (rows == NULL || own == NULL) {
        base_free(rows);
        base_free(own);
        return fail_memory(err, n * sizeof *rows);
    }
    for (size_t i = 0; i < n; i++) {
        own[i] = it->rows[i * it->n_options + o];
    }
    if (!temper(p, n, own, bytes, rows)) {
        status = fail_memory(err, bytes * ROW * sizeof(float));
    }
    *out = 0.0;
    for (size_t x = 0; x < bytes && status >= 0; x++) {
        float logp[PACKLLM_EVENTS];
        for (size_t i = 0; i < n; i++) {
            here[i] = rows[i] + x * ROW;
        }
        fuse_pool(PACKLLM_POOL_LOG, n, lambda, here, logp);
        *out -= (double)logp[(uint8_t)it->options[o].text[x]];
    }
    temper_done(n, own, rows);
    base_free(rows);
    base_free(own);
    return status;
}

enum packllm_status packllm_calibration_score(const struct packllm_calibration *c, size_t item,
                                              const struct packllm_calibration_point *p,
                                              double *out_nll, double *out_lambda,
                                              struct packllm_error *err) {
    size_t n = c->session->pack->n;
    enum packllm_status status = check_point(c, item, p, err);
    if (status < 0) {
        return status;
    }
    const struct item *it = &c->items[item];
    struct score_method method = {.weigher = PACKLLM_WEIGH_EXACT,
                                  .pool = PACKLLM_POOL_LOG,
                                  .shrink = p->shrink,
                                  .tau = 1.0,
                                  .alpha = -1.0,
                                  .prior = p->prior,
                                  .cap = c->session->pack->cap};
    struct score_weights w;
    const float **rows = alloc_array(n, sizeof *rows);
    if (rows == NULL) {
        return fail_memory(err, n * sizeof *rows);
    }
    status =
        temper(p, n, it->context_rows, it->size, rows)
            ? score_weigh_rows(&method, n, rows, it->context, it->size, NULL, out_lambda, &w, err)
            : fail_memory(err, it->size * ROW * sizeof(float));
    temper_done(n, it->context_rows, rows);
    base_free(rows);
    for (size_t o = 0; o < it->n_options && status >= 0; o++) {
        status = score_option(c, it, p, o, out_lambda, &out_nll[o], err);
    }
    return status;
}

enum packllm_status packllm_calibration_one(const struct packllm_calibration *c, const bool *use,
                                            double *out_lambda, double *out_gap,
                                            struct packllm_error *err) {
    size_t n = c->session->pack->n, bytes = 0, at = 0;
    for (size_t k = 0; k < c->n; k++) {
        bytes += use[k] ? c->items[k].options[c->items[k].gold].size : 0;
    }
    if (bytes == 0) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "nothing to calibrate on");
    }
    double *equal = alloc_array(n, sizeof *equal);
    const float **rows = alloc_zero(n, sizeof *rows);
    char *text = alloc_array(bytes, 1);
    bool fine = equal != NULL && rows != NULL && text != NULL;
    for (size_t i = 0; i < n && fine; i++) {
        float *all = alloc_array(bytes, ROW * sizeof *all);
        equal[i] = 1.0 / (double)n;
        rows[i] = all;
        fine = all != NULL;
        at = 0;
        for (size_t k = 0; k < c->n && fine; k++) {
            const struct item *it = &c->items[k];
            const struct packllm_option *gold = &it->options[it->gold];
            if (use[k]) {
                memcpy(all + at * ROW, it->rows[i * it->n_options + it->gold],
                       gold->size * ROW * sizeof *all);
                memcpy(text + at, gold->text, gold->size);
                at += gold->size;
            }
        }
    }
    struct score_method method = {.weigher = PACKLLM_WEIGH_EXACT,
                                  .pool = PACKLLM_POOL_LOG,
                                  .tau = 1.0,
                                  .alpha = -1.0,
                                  .prior = equal,
                                  .cap = c->session->pack->cap};
    struct score_weights w = {0};
    enum packllm_status status =
        fine ? score_weigh_rows(&method, n, rows, text, bytes, NULL, out_lambda, &w, err)
             : fail_memory(err, bytes * ROW * sizeof(float));
    *out_gap = w.gap;
    for (size_t i = 0; i < n && rows != NULL; i++) {
        base_free((void *)(uintptr_t)rows[i]);
    }
    base_free(equal);
    base_free(rows);
    base_free(text);
    return status;
}
