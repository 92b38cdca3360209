/* tokens.c - token space, see tokens.h. */
#include "score/tokens.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"

void score_tokens_done(struct score_tokens *t) {
    fuse_rows_done(&t->rows);
    base_free(t->end);
    *t = (struct score_tokens){0};
}

enum packllm_status score_tokens_copy(struct score_tokens *to, const struct score_tokens *from,
                                      struct packllm_error *err) {
    struct score_tokens copy = {.last_low = from->last_low, .last_high = from->last_high};
    size_t n = from->rows.n;
    copy.end = alloc_array(n, sizeof *copy.end);
    enum packllm_status status = copy.end != NULL ? fuse_rows_copy(&copy.rows, &from->rows, err)
                                                  : fail_memory(err, n * sizeof *copy.end);
    if (status < 0) {
        score_tokens_done(&copy);
        return status;
    }
    if (n > 0) {
        memcpy(copy.end, from->end, n * sizeof *copy.end);
    }
    copy.room = n;
    *to = copy;
    return PACKLLM_OK;
}

struct reader {
    const struct prefix_tree *tree;
    struct score_tokens tokens;
};

static enum packllm_status on_token(void *data, size_t index, const struct cover_tokens *row,
                                    int32_t token, size_t end, struct packllm_error *err) {
    struct reader *r = data;
    struct score_tokens *t = &r->tokens;
    fuse_rows_cut(&t->rows, index);
    if (index != t->rows.n) {
        return fail(err, PACKLLM_E_INTERNAL, PACKLLM_NO_MEMBER, "row %zu came as number %zu", index,
                    t->rows.n);
    }
    if (t->rows.n + 1 > t->room) {
        size_t room = t->room * 2 + 64;
        size_t *grown = alloc_resize(t->end, room, sizeof *grown);
        if (grown == NULL) {
            return fail_memory(err, room * sizeof *grown);
        }
        t->end = grown;
        t->room = room;
    }
    t->end[t->rows.n] = end;
    return fuse_rows_add(&t->rows, row->mass, row->block, COVER_BLOCK, r->tree->n + 1, row->end,
                         r->tree->rank[token], err);
}

/* What depends on where the text ends. */
static double end_text(struct reader *r, const struct cover *cover) {
    struct score_tokens *t = &r->tokens;
    const struct vocab_table *table = r->tree->table;
    struct prefix_place place = prefix_root(r->tree);
    double nll = 0.0;
    int32_t last;
    fuse_rows_cut(&t->rows, cover_chain(cover, &last));
    for (uint32_t b = 0; last >= 0 && b < vocab_size(table, last); b++) {
        (void)prefix_step(r->tree, &place, vocab_bytes(table, last)[b]);
    }
    t->last_low = place.low;
    t->last_high = place.high;
    for (size_t i = 0; i < t->rows.n; i++) {
        nll -= (double)t->rows.observed[i];
    }
    return nll;
}

enum packllm_status score_read_tokens(struct cover *cover, const struct prefix_tree *tree,
                                      const char *text, size_t size, size_t context, bool go_on,
                                      struct score_tokens *out, struct score_reading *out_reading,
                                      struct packllm_error *err) {
    struct reader r = {.tree = tree};
    if (go_on) {
        r.tokens = *out;
        *out = (struct score_tokens){0};
    }
    uint64_t forwards = cover_forwards(cover);
    double start = base_clock(), inside = cover_seconds(cover);
    enum packllm_status status = cover_read_tokens(cover, text, size, go_on, on_token, &r, err);
    if (status < 0) {
        score_tokens_done(&r.tokens);
        return status;
    }
    struct score_reading reading = {.bytes = size, .nll_model = end_text(&r, cover), .windows = 1};
    cover_canonical(cover, 0, &reading.whole);
    size_t from = score_tokens_from(&r.tokens, context);
    cover_canonical(cover, from > 0 ? r.tokens.end[from - 1] : 0, &reading.canonical);
    reading.forwards = cover_forwards(cover) - forwards;
    reading.seconds = base_clock() - start;
    reading.seconds_model = cover_seconds(cover) - inside;
    *out = r.tokens;
    *out_reading = reading;
    return PACKLLM_OK;
}

size_t score_tokens_until(const struct score_tokens *t, size_t bytes) {
    size_t n = 0;
    while (n < t->rows.n && t->end[n] <= bytes) {
        n++;
    }
    return n;
}

size_t score_tokens_from(const struct score_tokens *t, size_t bytes) {
    size_t n = score_tokens_until(t, bytes);
    return n < t->rows.n && n > 0 && t->end[n - 1] < bytes ? n + 1 : n;
}

static enum packllm_status begin(struct fuse_tokens *k, enum packllm_pool pool, size_t n,
                                 const struct score_tokens *readings, size_t low, size_t high,
                                 double unit, const struct fuse_rows ***out_rows,
                                 struct packllm_error *err) {
    const struct fuse_rows **rows = alloc_array(n, sizeof *rows);
    if (rows == NULL) {
        return fail_memory(err, n * sizeof *rows);
    }
    for (size_t i = 0; i < n; i++) {
        rows[i] = &readings[i].rows;
    }
    enum packllm_status status = fuse_tokens_init(k, pool, n, rows, low, high, unit, err);
    if (status < 0) {
        base_free(rows);
        return status;
    }
    *out_rows = rows;
    return PACKLLM_OK;
}

static enum packllm_status solve_tokens(const struct score_method *m, struct fuse_tokens *k,
                                        double *lambda, struct score_weights *w,
                                        struct packllm_error *err) {
    size_t n = k->n_members;
    double *nll = alloc_zero(n, sizeof *nll);
    if (nll == NULL) {
        return fail_memory(err, n * sizeof *nll);
    }
    for (size_t t = 0; t < k->n_positions; t++) {
        for (size_t i = 0; i < n; i++) {
            nll[i] -= (double)k->observed[t * n + i] / k->unit;
        }
    }
    struct solve_problem problem = {
        .n = n, .eval = fuse_tokens_objective, .ctx = k, .order = k->order};
    /* The members' tokens are the same: sim's unit is one of them. */
    double unit = k->unit / (double)k->n_positions;
    enum packllm_status status = score_solve(m, &problem, nll, unit, k->unit, lambda, w, err);
    base_free(nll);
    return status;
}

enum packllm_status score_weigh_tokens(const struct score_method *method, size_t n,
                                       const struct score_tokens *readings, size_t n_positions,
                                       size_t bytes, double *lambda, struct score_weights *out,
                                       struct packllm_error *err) {
    struct score_weights w;
    double start = base_clock();
    struct fuse_tokens k;
    const struct fuse_rows **rows = NULL;
    (void)score_weigh_nothing(method, n, lambda, &w, NULL);
    if (n_positions == 0) {
        return score_weigh_nothing(method, n, lambda, out, err);
    }
    enum packllm_status status =
        begin(&k, method->pool, n, readings, 0, n_positions, (double)bytes, &rows, err);
    if (status < 0) {
        return status;
    }
    status = solve_tokens(method, &k, lambda, &w, err);
    if (status >= 0) {
        status = fuse_tokens_error(&k, rows, 0, lambda, &w.error, err);
    }
    fuse_tokens_done(&k);
    base_free(rows);
    if (status >= 0) {
        w.seconds = base_clock() - start;
        *out = w;
    }
    return status;
}

enum packllm_status score_tokens_loss(enum packllm_pool pool, size_t n,
                                      const struct score_tokens *readings, size_t low, size_t high,
                                      const double *lambda, double *out_loss,
                                      struct packllm_error *err) {
    struct fuse_tokens k;
    const struct fuse_rows **rows = NULL;
    enum packllm_status status = begin(&k, pool, n, readings, low, high, 1.0, &rows, err);
    if (status < 0) {
        return status;
    }
    for (size_t t = low; t < high; t++) {
        out_loss[t - low] = t + 1 < readings[0].rows.n
                                ? fuse_tokens_loss(&k, lambda, t - low)
                                : fuse_tokens_loss_among(&k, lambda, t - low, readings[0].last_low,
                                                         readings[0].last_high);
    }
    fuse_tokens_done(&k);
    base_free(rows);
    return PACKLLM_OK;
}
