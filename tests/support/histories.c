/* histories.c - see histories.h. */
#include "histories.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

enum { SEQ_MAX = 64, LENGTH_MAX = 40, ITEMS_MAX = 24 };

struct run {
    struct member *m;
    struct member_context *c, *fresh;
    uint64_t rng, seed;
    int32_t tokens[SEQ_MAX][LENGTH_MAX]; /* what each sequence must hold */
    uint32_t length[SEQ_MAX];
    struct member_item items[ITEMS_MAX];
    size_t n_items;
    float *rows[ITEMS_MAX]; /* of the items that wanted one */
    float *again;
    double tolerance;
    atomic_bool flag;
    size_t cancel_at;
    struct histories_result result;
};

static uint32_t below(struct run *r, uint64_t n) {
    return (uint32_t)(rng_next(&r->rng) % n);
}

static void check(struct run *r, enum packllm_status s, enum packllm_status expected,
                  const struct packllm_error *err) {
    if (s != expected) {
        fail_msg("seed %llu: status %d instead of %d: %s", (unsigned long long)r->seed, (int)s,
                 (int)expected, s < 0 ? err->message : "");
    }
    for (uint32_t seq = 0; seq < r->m->n_seq; seq++) {
        if (r->c->length[seq] != r->length[seq]) {
            fail_msg("seed %llu: sequence %u has %u tokens instead of %u",
                     (unsigned long long)r->seed, seq, r->c->length[seq], r->length[seq]);
        }
    }
}

static enum packllm_status keep(void *ctx, size_t item, const float *logits,
                                struct packllm_error *err) {
    struct run *r = ctx;
    (void)err;
    memcpy(r->rows[item], logits, r->m->table.n * sizeof *logits);
    if (item == r->cancel_at) {
        atomic_store(&r->flag, true);
    }
    return PACKLLM_OK;
}

static enum packllm_status keep_again(void *ctx, size_t item, const float *logits,
                                      struct packllm_error *err) {
    struct run *r = ctx;
    (void)err, (void)item;
    memcpy(r->again, logits, r->m->table.n * sizeof *logits);
    return PACKLLM_OK;
}

/* The row of item i against that of its history evaluated afresh. */
static void compare(struct run *r, size_t i) {
    struct packllm_error err;
    struct member_item items[LENGTH_MAX];
    int32_t seq = r->items[i].seq;
    uint32_t n = r->length[seq]; /* less the items of the sequence behind this one */
    for (size_t j = i + 1; j < r->n_items; j++) {
        n -= r->items[j].seq == seq;
    }
    for (uint32_t j = 0; j < n; j++) {
        items[j] = (struct member_item){.token = r->tokens[seq][j], .want_row = j + 1 == n};
    }
    assert_int_equal(member_truncate(r->fresh, 0, 0, &err), PACKLLM_OK);
    assert_int_equal(member_eval(r->fresh, items, n, keep_again, r, &err), PACKLLM_OK);
    for (uint32_t k = 0; k < r->m->table.n; k++) {
        double difference = (double)r->rows[i][k] - (double)r->again[k];
        difference = difference < 0 ? -difference : difference;
        r->result.worst = difference > r->result.worst ? difference : r->result.worst;
        if (difference > r->tolerance) {
            fail_msg("seed %llu: after %u tokens of sequence %d logit %u is %g instead of %g",
                     (unsigned long long)r->seed, n, (int)seq, k, (double)r->rows[i][k],
                     (double)r->again[k]);
        }
    }
    r->result.rows++;
}

/* Some tokens for one to three sequences, interleaved; now and then cancelled in the middle. */
static void evaluate(struct run *r, int32_t first) {
    struct packllm_error err;
    uint32_t was[SEQ_MAX], n_seq = 1 + below(r, 3), at = below(r, r->m->n_seq);
    memcpy(was, r->length, sizeof was);
    r->n_items = 0;
    for (uint32_t n = 1 + below(r, ITEMS_MAX); n > 0; n--) {
        uint32_t seq = (at + below(r, n_seq)) % r->m->n_seq;
        if (r->length[seq] < LENGTH_MAX) {
            int32_t token = first + (int32_t)below(r, r->m->table.n - (uint32_t)first);
            r->tokens[seq][r->length[seq]++] = token;
            r->items[r->n_items++] = (struct member_item){
                .token = token, .seq = (int32_t)seq, .want_row = below(r, 3) == 0};
        }
    }
    bool cancel = below(r, 8) == 0;
    atomic_store(&r->flag, cancel);
    enum packllm_status s = member_eval(r->c, r->items, r->n_items, keep, r, &err);
    if (cancel && r->n_items > 0) {
        memcpy(r->length, was, sizeof was);
        check(r, s, PACKLLM_E_CANCELLED, &err);
        r->result.cancels++;
    } else {
        check(r, s, PACKLLM_OK, &err);
        r->result.evaluations++;
        for (size_t i = 0; i < r->n_items; i++) {
            if (r->items[i].want_row) {
                compare(r, i);
            }
        }
    }
    atomic_store(&r->flag, false);
}

static void step(struct run *r, int32_t first) {
    struct packllm_error err;
    uint32_t seq = below(r, r->m->n_seq), src = below(r, r->m->n_seq), n;
    switch (below(r, 4)) {
    case 0: /* as often as not the whole */
        if (seq != src) {
            n = below(r, 2) == 0 ? r->length[src] : below(r, r->length[src] + 1);
            enum packllm_status s = member_fork(r->c, (int32_t)seq, (int32_t)src, n, &err);
            memcpy(r->tokens[seq], r->tokens[src], n * sizeof **r->tokens);
            r->length[seq] = n;
            check(r, s, PACKLLM_OK, &err);
            r->result.forks++;
        }
        break;
    case 1:
        n = below(r, 2) == 0 ? 0 : below(r, r->length[seq] + 1);
        r->length[seq] = n;
        check(r, member_truncate(r->c, (int32_t)seq, n, &err), PACKLLM_OK, &err);
        r->result.truncations++;
        break;
    default:
        evaluate(r, first);
    }
}

struct histories_result histories_check(struct member *m, uint64_t seed, int steps, int32_t first,
                                        double tolerance) {
    struct packllm_error err;
    struct run *r = calloc(1, sizeof *r);
    float *rows = calloc((size_t)m->table.n * (ITEMS_MAX + 1), sizeof *rows);
    assert_true(r != NULL && rows != NULL && m->n_seq <= SEQ_MAX);
    r->m = m;
    r->seed = r->rng = seed;
    r->tolerance = tolerance;
    r->cancel_at = SIZE_MAX;
    for (size_t i = 0; i < ITEMS_MAX; i++) {
        r->rows[i] = rows + i * m->table.n;
    }
    r->again = rows + (size_t)ITEMS_MAX * m->table.n;
    assert_int_equal(member_context_open(m, &r->c, &err), PACKLLM_OK);
    assert_int_equal(member_context_open(m, &r->fresh, &err), PACKLLM_OK);
    r->c->abort_flag = &r->flag;
    for (int i = 0; i < steps; i++) {
        step(r, first);
    }
    member_context_close(r->c);
    member_context_close(r->fresh);
    struct histories_result result = r->result;
    free(rows);
    free(r);
    return result;
}
