/* test_fuse_block.c - the block: what it refuses, its order, the members' losses, memory. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "fuse/fuse.h"
#include "check.h"
#include "rows.h"

static enum packllm_status init(struct fuse_block *block, const struct rows *rows,
                                struct packllm_error *err) {
    return fuse_block_init(block, PACKLLM_POOL_LOG, rows->n_members, rows->n_bytes,
                           (const float *const *)rows->logq, rows->event, NULL, NULL, err);
}

/* Goal: values that are no floored log-probabilities are refused with member and byte, as are
 * events that do not exist. */
static void wrong_values(void **state) {
    (void)state;
    struct rows rows;
    struct fuse_block block;
    struct packllm_error err;
    rows_open(&rows, 2, 10, 1);
    const float wrong[] = {nanf(""), -(float)HUGE_VAL, 0.1F, -27};
    for (size_t w = 0; w < 4; w++) {
        float *at = &rows.logq[1][7 * PACKLLM_EVENTS + 256], old = *at;
        *at = wrong[w];
        assert_int_equal(init(&block, &rows, &err), PACKLLM_E_ARG);
        assert_int_equal(err.member, 1);
        assert_string_equal(err.message,
                            "fuse: byte 7 has a value that is no floored log-probability");
        *at = old;
    }
    rows.event[3] = 257;
    assert_int_equal(init(&block, &rows, &err), PACKLLM_E_ARG);
    assert_string_equal(err.message, "fuse: byte 3: event 257 is none");
    rows_close(&rows);
}

/* Goal: the order is by loss, then prior, cap, bytes; whatever the numbering. */
static void order_is_canonical(void **state) {
    (void)state;
    struct rows rows;
    struct fuse_block block;
    double nll[4];
    rows_open(&rows, 4, 12, 2);
    rows_copy(&rows, 0, 2); /* 0 and 2 differ by the prior only */
    const double prior[4] = {0.3, 0.3, 0.1, 0.3};
    assert_int_equal(fuse_block_init(&block, PACKLLM_POOL_LOG, 4, 12,
                                     (const float *const *)rows.logq, rows.event, prior, NULL,
                                     NULL),
                     PACKLLM_OK);
    fuse_member_nll(&block, nll);
    for (size_t a = 0; a + 1 < 4; a++) {
        size_t i = block.order[a], j = block.order[a + 1];
        assert_true(nll[i] < nll[j] || (i == 2 && j == 0));
    }
    double want = 0;
    for (size_t t = 0; t < 12; t++) {
        want -= (double)rows.logq[1][t * PACKLLM_EVENTS + rows.event[t]] / 12;
    }
    assert_true(fabs(nll[1] - want) < 1e-14);
    fuse_block_done(&block);
    fuse_block_done(&block); /* harmless */
    rows_close(&rows);
}

/* Goal: every allocation may fail, for both pools. */
static void no_memory(void **state) {
    (void)state;
    struct rows rows;
    struct fuse_block block;
    rows_open(&rows, 2, 10, 1);
    for (unsigned long nth = 1; nth < 3; nth++) {
        alloc_fail_nth(nth);
        assert_int_equal(init(&block, &rows, NULL), PACKLLM_E_MEMORY);
    }
    alloc_fail_nth(0);
    assert_int_equal(init(&block, &rows, NULL), PACKLLM_OK);
    fuse_block_done(&block);
    rows_close(&rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_values),
        cmocka_unit_test(order_is_canonical),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
