/* test_member_own.c - members from callbacks, through the checked front. Goals: histories, forks and
 * rollbacks give exactly the rows of the same history made fresh; wrong arguments are refused and
 * change nothing; failures and cancels leave the lengths as they were. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "fake.h"
#include "member/member.h"

static struct packllm_error err;

struct rows {
    float *values; /* [n][n_vocab] */
    size_t n, room, n_vocab;
    size_t fail_at; /* the row at which the callback stops; SIZE_MAX: none */
};

static enum packllm_status keep_row(void *ctx, size_t item, const float *logits,
                                    struct packllm_error *e) {
    struct rows *r = ctx;
    (void)item, (void)e;
    if (r->n == r->fail_at) {
        return PACKLLM_E_INTERNAL;
    }
    assert_true(r->n < r->room);
    memcpy(r->values + r->n * r->n_vocab, logits, r->n_vocab * sizeof *logits);
    r->n++;
    return PACKLLM_OK;
}

struct bench {
    struct fake *fake;
    struct member *m;
    struct member_context *c;
    struct rows rows;
};

static void bench_open(struct bench *b, enum fake_vocabulary vocabulary) {
    const struct packllm_params params = {.n_seq = 6};
    b->fake = fake_open(vocabulary, NULL);
    struct packllm_own_member own = fake_member(b->fake, "fake");
    assert_int_equal(member_own_open(&b->m, &own, 3, &params, &err), PACKLLM_OK);
    assert_int_equal(member_context_open(b->m, &b->c, &err), PACKLLM_OK);
    b->rows = (struct rows){.room = 256, .n_vocab = b->m->table.n, .fail_at = SIZE_MAX};
    b->rows.values = calloc(256 * b->rows.n_vocab, sizeof(float));
}

static void bench_close(struct bench *b) {
    member_context_close(b->c);
    member_close(b->m);
    fake_close(b->fake);
    free(b->rows.values);
}

static enum packllm_status eval(struct bench *b, int32_t seq, const int32_t *tokens, size_t n,
                                bool rows) {
    struct member_item items[64];
    for (size_t i = 0; i < n; i++) {
        items[i] = (struct member_item){.token = tokens[i], .seq = seq, .want_row = rows};
    }
    return member_eval(b->c, items, n, keep_row, &b->rows, &err);
}

static void assert_row(struct bench *b, size_t row, const int32_t *history, size_t n) {
    float *expected = calloc(b->rows.n_vocab, sizeof *expected);
    fake_logits(b->fake, history, n, expected);
    assert_memory_equal(b->rows.values + row * b->rows.n_vocab, expected,
                        b->rows.n_vocab * sizeof *expected);
    free(expected);
}

static void test_fields(void **state) {
    struct bench b;
    (void)state;
    bench_open(&b, FAKE_NESTED);
    assert_string_equal(b.m->name, "fake");
    assert_int_equal(b.m->index, 3);
    assert_int_equal(b.m->table.n, fake_size(b.fake));
    assert_int_equal(b.m->start, 0);
    assert_int_equal(b.m->table.kind[0], VOCAB_MASKED);
    assert_int_equal(b.m->table.kind[fake_end(b.fake)], VOCAB_END);
    assert_int_equal(b.m->n_seq, 6);
    assert_int_equal(b.m->n_ctx, 512);
    assert_false(b.m->space_prefix);
    bench_close(&b);
}

static void test_rows_forks_and_rollbacks(void **state) {
    struct bench b;
    const int32_t tokens[] = {0, 99, 100, 101, 102};
    const int32_t branch[] = {0, 99, 100, 120};
    (void)state;
    bench_open(&b, FAKE_NESTED);
    assert_int_equal(eval(&b, 0, tokens, 5, true), PACKLLM_OK);
    for (size_t i = 0; i < 5; i++) {
        assert_row(&b, i, tokens, i + 1);
    }
    assert_int_equal(b.c->forwards, 5);
    assert_int_equal(member_fork(b.c, 4, 0, 3, &err), PACKLLM_OK);
    assert_int_equal(b.c->length[4], 3);
    assert_int_equal(eval(&b, 4, branch + 3, 1, true), PACKLLM_OK);
    assert_row(&b, 5, branch, 4);
    assert_int_equal(member_truncate(b.c, 0, 3, &err), PACKLLM_OK);
    assert_int_equal(eval(&b, 0, branch + 3, 1, true), PACKLLM_OK);
    assert_row(&b, 6, branch, 4);
    assert_int_equal(member_fork(b.c, 0, 4, 0, &err), PACKLLM_OK); /* nothing of it: dropped */
    assert_int_equal(b.c->length[0], 0);
    bench_close(&b);
}

static void test_several_sequences_in_one_call(void **state) {
    struct bench b;
    const struct member_item items[] = {
        {0, 1, false}, {0, 2, false}, {99, 1, true}, {50, 2, true}, {98, 1, true}};
    const int32_t one[] = {0, 99, 98}, two[] = {0, 50};
    (void)state;
    bench_open(&b, FAKE_BYTES);
    assert_int_equal(member_eval(b.c, items, 5, keep_row, &b.rows, &err), PACKLLM_OK);
    assert_int_equal(b.rows.n, 3);
    assert_row(&b, 0, one, 2);
    assert_row(&b, 1, two, 2);
    assert_row(&b, 2, one, 3);
    bench_close(&b);
}

static void test_wrong_arguments(void **state) {
    struct bench b;
    const int32_t good[] = {0, 99};
    (void)state;
    bench_open(&b, FAKE_BYTES);
    assert_int_equal(eval(&b, 0, good, 2, false), PACKLLM_OK);
    const struct {
        struct member_item items[2];
        enum packllm_status status;
    } wrong[] = {
        {{{0, 6, false}, {0, 0, false}}, PACKLLM_E_ARG},
        {{{0, 0, false}, {0, -1, false}}, PACKLLM_E_ARG},
        {{{-1, 0, false}, {0, 0, false}}, PACKLLM_E_ARG},
        {{{0, 0, false}, {(int32_t)b.m->table.n, 0, false}}, PACKLLM_E_ARG},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err.message[0] = '\0';
        assert_int_equal(member_eval(b.c, wrong[i].items, 2, keep_row, &b.rows, &err),
                         wrong[i].status);
        assert_int_equal(err.member, 3);
        assert_non_null(strstr(err.message, "fake"));
        assert_int_equal(b.c->length[0], 2);
    }
    struct member_item row = {99, 0, true};
    assert_int_equal(member_eval(b.c, &row, 1, NULL, NULL, &err), PACKLLM_E_ARG);
    assert_int_equal(member_eval(b.c, NULL, 1, keep_row, NULL, &err), PACKLLM_E_ARG);
    assert_int_equal(member_eval(b.c, NULL, 0, NULL, NULL, &err), PACKLLM_OK);
    assert_int_equal(member_fork(b.c, 0, 0, 1, &err), PACKLLM_E_ARG);
    assert_int_equal(member_fork(b.c, 1, 0, 3, &err), PACKLLM_E_ARG);
    assert_int_equal(member_fork(b.c, 6, 0, 1, &err), PACKLLM_E_ARG);
    assert_int_equal(member_fork(b.c, 1, -1, 1, &err), PACKLLM_E_ARG);
    assert_int_equal(member_truncate(b.c, 0, 3, &err), PACKLLM_E_ARG);
    assert_int_equal(member_truncate(b.c, 99, 0, &err), PACKLLM_E_ARG);
    assert_int_equal(b.c->length[0], 2);
    member_context_close(NULL);
    member_close(NULL);
    bench_close(&b);
}

static void test_context_full(void **state) {
    struct bench b;
    int32_t tokens[64] = {0};
    (void)state;
    bench_open(&b, FAKE_BYTES);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(eval(&b, 0, tokens, 64, false), PACKLLM_OK);
    }
    assert_int_equal(eval(&b, 0, tokens, 1, false), PACKLLM_E_CONTEXT);
    assert_non_null(strstr(err.message, "512"));
    assert_int_equal(b.c->length[0], 512);
    assert_int_equal(member_truncate(b.c, 0, 500, &err), PACKLLM_OK);
    assert_int_equal(eval(&b, 0, tokens, 13, false), PACKLLM_E_CONTEXT);
    assert_int_equal(b.c->length[0], 500);
    assert_int_equal(eval(&b, 0, tokens, 12, false), PACKLLM_OK);
    bench_close(&b);
}

static void test_failures_leave_lengths(void **state) {
    struct bench b;
    const int32_t tokens[] = {0, 99, 100, 101, 102};
    atomic_bool stop = true;
    (void)state;
    bench_open(&b, FAKE_BYTES);
    assert_int_equal(eval(&b, 0, tokens, 2, false), PACKLLM_OK);
    b.rows.fail_at = 1;
    assert_int_equal(eval(&b, 0, tokens + 2, 3, true), PACKLLM_E_INTERNAL);
    assert_int_equal(b.c->length[0], 2);
    b.c->abort_flag = &stop;
    assert_int_equal(eval(&b, 0, tokens + 2, 3, false), PACKLLM_E_CANCELLED);
    assert_int_equal(b.c->length[0], 2);
    atomic_store(&stop, false);
    b.rows.fail_at = SIZE_MAX;
    b.rows.n = 0;
    assert_int_equal(eval(&b, 0, tokens + 2, 1, true), PACKLLM_OK);
    assert_row(&b, 0, tokens, 3);
    bench_close(&b);
}

static int bad_logits(void *data, const int32_t *history, size_t n, float *out) {
    const int *what = data;
    (void)history, (void)n;
    for (int i = 0; i < 3; i++) {
        out[i] = *what == 2 ? -INFINITY : 0;
    }
    out[1] = *what == 0 ? NAN : *what == 1 ? INFINITY : out[1];
    return *what == 3 ? 7 : 0;
}

static void test_bad_logits(void **state) {
    const struct packllm_own_token tokens[] = {
        {.bytes = "a", .size = 1}, {.bytes = "b", .size = 1}, {.end = true}};
    const struct packllm_params params = {.n_seq = 4};
    int what = 0;
    (void)state;
    for (; what < 5; what++) {
        struct packllm_own_member own = {.name = "odd",
                                         .tokens = tokens,
                                         .n_tokens = 3,
                                         .start = -1,
                                         .n_ctx = 8,
                                         .logits = bad_logits,
                                         .data = &what};
        struct member *m = NULL;
        struct member_context *c = NULL;
        float values[3];
        struct rows rows = {.values = values, .room = 1, .n_vocab = 3, .fail_at = SIZE_MAX};
        const struct member_item item = {.want_row = true};
        assert_int_equal(member_own_open(&m, &own, 0, &params, &err), PACKLLM_OK);
        assert_int_equal(member_context_open(m, &c, &err), PACKLLM_OK);
        assert_int_equal(member_eval(c, &item, 1, keep_row, &rows, &err),
                         what < 4 ? PACKLLM_E_MODEL : PACKLLM_OK);
        assert_int_equal(c->length[0], what < 4 ? 0 : 1);
        member_context_close(c);
        member_close(m);
    }
}

static void test_tokenize(void **state) {
    struct bench b;
    int32_t tokens[16];
    size_t n = 77;
    (void)state;
    bench_open(&b, FAKE_NESTED);
    /* (b,c) is merged before (a,b): the token abc is not canonical for "abc". */
    assert_int_equal(member_tokenize(b.m, "abc", 3, tokens, 16, &n, &err), PACKLLM_OK);
    assert_int_equal(n, 2);
    assert_int_equal(vocab_size(&b.m->table, tokens[0]), 1);
    assert_int_equal(vocab_size(&b.m->table, tokens[1]), 2);
    n = 77;
    assert_int_equal(member_tokenize(b.m, "a\xff", 2, tokens, 16, &n, &err), PACKLLM_E_TEXT);
    assert_non_null(strstr(err.message, "offset 1"));
    assert_int_equal(member_tokenize(b.m, "abcabc", 6, tokens, 3, &n, &err), PACKLLM_E_TEXT);
    assert_int_equal(member_tokenize(b.m, NULL, 3, tokens, 16, &n, &err), PACKLLM_E_ARG);
    assert_int_equal(n, 77);
    assert_int_equal(member_tokenize(b.m, NULL, 0, tokens, 16, &n, &err), PACKLLM_OK);
    assert_int_equal(n, 0);
    bench_close(&b);
    bench_open(&b, FAKE_LACKING);
    assert_int_equal(member_tokenize(b.m, "q", 1, tokens, 16, &n, &err), PACKLLM_E_TEXT);
    bench_close(&b);
}

/* A tokenizer that loses a byte, as byte-pair vocabularies without all bytes do. */
static long lossy(void *data, const char *text, size_t size, int32_t *out, size_t cap) {
    size_t n = 0;
    (void)data;
    for (size_t i = 0; i < size && n < cap; i++) {
        if (text[i] == 'a' || text[i] == 'b') {
            out[n++] = text[i] - 'a';
        }
    }
    return (long)n;
}

static void test_silent_loss_is_found(void **state) {
    const struct packllm_own_token tokens[] = {{.bytes = "a", .size = 1},
                                               {.bytes = "b", .size = 1}};
    int what = 4;
    struct packllm_own_member own = {.name = "lossy",
                                     .tokens = tokens,
                                     .n_tokens = 2,
                                     .start = -1,
                                     .n_ctx = 8,
                                     .tokenize = lossy,
                                     .logits = bad_logits,
                                     .data = &what};
    struct member *m = NULL;
    int32_t out[8];
    size_t n = 0;
    (void)state;
    assert_int_equal(member_own_open(&m, &own, 0, NULL, &err), PACKLLM_OK);
    assert_int_equal(m->n_seq, 12);
    assert_int_equal(member_tokenize(m, "abba", 4, out, 8, &n, &err), PACKLLM_OK);
    assert_int_equal(n, 4);
    assert_int_equal(member_tokenize(m, "abxba", 5, out, 8, &n, &err), PACKLLM_E_TEXT);
    assert_non_null(strstr(err.message, "0x78 at offset 2"));
    assert_int_equal(member_tokenize(m, "abx", 3, out, 8, &n, &err), PACKLLM_E_TEXT);
    member_close(m);
}

static void test_longest_match(void **state) {
    const struct packllm_own_token tokens[] = {
        {.control = true},          {.bytes = "b", .size = 1}, {.bytes = "abc", .size = 3},
        {.bytes = "ab", .size = 2}, {.bytes = "a", .size = 1}, {.bytes = "abc", .size = 3},
        {.bytes = "c", .size = 1},  {.bytes = " a", .size = 2}};
    const int32_t expected[] = {2, 3, 4, 6};
    int what = 4;
    struct packllm_own_member own = {.name = "greedy",
                                     .tokens = tokens,
                                     .n_tokens = 8,
                                     .start = 0,
                                     .n_ctx = 8,
                                     .logits = bad_logits,
                                     .data = &what};
    struct member *m = NULL;
    int32_t out[8];
    size_t n = 0;
    (void)state;
    assert_int_equal(member_own_open(&m, &own, 0, NULL, &err), PACKLLM_OK);
    assert_int_equal(member_tokenize(m, "abcabac", 7, out, 8, &n, &err), PACKLLM_OK);
    assert_int_equal(n, 4);
    assert_memory_equal(out, expected, sizeof expected);
    assert_int_equal(member_tokenize(m, "abd", 3, out, 8, &n, &err), PACKLLM_E_TEXT);
    assert_non_null(strstr(err.message, "0x64 at offset 2"));
    assert_int_equal(member_tokenize(m, "aaaa", 4, out, 3, &n, &err), PACKLLM_E_ARG);
    m->space_prefix = true; /* then " a" stands first */
    assert_int_equal(member_tokenize(m, "abc", 3, out, 8, &n, &err), PACKLLM_OK);
    assert_int_equal(n, 3);
    assert_int_equal(out[0], 7);
    /* but not inside a text */
    assert_int_equal(member_tokenize_inside(m, "abc", 3, out, 8, &n, &err), PACKLLM_OK);
    assert_int_equal(n, 1);
    assert_int_equal(out[0], 2);
    member_close(m);
}

static void test_open_refuses(void **state) {
    struct fake *f = fake_open(FAKE_BYTES, NULL);
    struct member *m = NULL;
    (void)state;
    for (int what = 0; what < 8; what++) {
        struct packllm_own_member own = fake_member(f, "x");
        struct packllm_params params = {.n_seq = 12};
        own.name = what == 0 ? "" : what == 1 ? NULL : own.name;
        own.n_tokens = what == 2 ? 0 : own.n_tokens;
        own.start = what == 3 ? (int32_t)own.n_tokens : what == 4 ? -2 : own.start;
        own.n_ctx = what == 5 ? 0 : own.n_ctx;
        own.logits = what == 6 ? NULL : own.logits;
        params.n_seq = what == 7 ? 65 : params.n_seq;
        assert_int_equal(member_own_open(&m, &own, 0, &params, &err), PACKLLM_E_ARG);
        assert_null(m);
    }
    fake_close(f);
}

static void test_memory_failures(void **state) {
    struct fake *f = fake_open(FAKE_NESTED, NULL);
    struct packllm_own_member own = fake_member(f, "x");
    const struct packllm_params params = {.n_seq = 4};
    unsigned long nth = 1;
    (void)state;
    own.tokenize = NULL;
    for (enum packllm_status s = PACKLLM_E_MEMORY; s != PACKLLM_OK; nth++) {
        struct member *m = NULL;
        struct member_context *c = NULL;
        const struct member_item items[] = {{0, 0, false}, {0, 0, false}};
        alloc_fail_nth(nth);
        s = member_own_open(&m, &own, 0, &params, &err);
        s = s == PACKLLM_OK ? member_context_open(m, &c, &err) : s;
        s = s == PACKLLM_OK ? member_eval(c, items, 2, NULL, NULL, &err) : s;
        s = s == PACKLLM_OK ? member_fork(c, 1, 0, 2, &err) : s;
        alloc_fail_nth(0);
        assert_true(s == PACKLLM_OK || s == PACKLLM_E_MEMORY);
        member_context_close(c);
        member_close(m);
        assert_true(nth < 100);
    }
    assert_true(nth > 8);
    fake_close(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_rows_forks_and_rollbacks),
        cmocka_unit_test(test_several_sequences_in_one_call),
        cmocka_unit_test(test_wrong_arguments),
        cmocka_unit_test(test_context_full),
        cmocka_unit_test(test_failures_leave_lengths),
        cmocka_unit_test(test_bad_logits),
        cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_silent_loss_is_found),
        cmocka_unit_test(test_longest_match),
        cmocka_unit_test(test_open_refuses),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
