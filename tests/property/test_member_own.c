/* test_member_own.c - properties of members from callbacks and of the fakes that other tests build
 * on. Goals: histories mean lists of tokens, to the bit; a canonical tokenisation spells its text,
 * and tokenising it again gives the same tokens. Seeds are printed where something fails. */
#define PACKLLM_EXPERIMENTAL
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fake.h"
#include "histories.h"
#include "member/member.h"

static struct packllm_error err;

static void test_histories(void **state) {
    const struct packllm_params params = {.n_seq = 6};
    unsigned long rows = 0;
    (void)state;
    for (int v = 0; v < FAKE_VOCABULARIES; v++) {
        struct fake *f = fake_open((enum fake_vocabulary)v, NULL);
        struct packllm_own_member own = fake_member(f, "fake");
        struct member *m = NULL;
        assert_int_equal(member_own_open(&m, &own, 0, &params, &err), PACKLLM_OK);
        for (uint64_t seed = 1; seed <= 8; seed++) {
            rows += histories_check(m, seed * 100 + (uint64_t)v, 100, 0, 0).rows;
        }
        member_close(m);
        fake_close(f);
    }
    assert_true(rows > 5000);
}

/* Every vocabulary, with its own tokenizer and with longest match, with and without a space first. */
static void test_spelling(void **state) {
    uint64_t rng = 77;
    (void)state;
    for (int v = 0; v < 4 * FAKE_VOCABULARIES; v++) {
        enum fake_vocabulary vocabulary = (enum fake_vocabulary)(v / 4);
        struct fake *f = fake_open(vocabulary, NULL);
        struct packllm_own_member own = fake_member(f, "fake");
        struct member *m = NULL;
        own.tokenize = v % 2 == 0 ? own.tokenize : NULL;
        assert_int_equal(member_own_open(&m, &own, 0, NULL, &err), PACKLLM_OK);
        m->space_prefix = v % 4 >= 2;
        fake_mark_kinds(f, &m->table);
        for (int i = 0; i < 100; i++) {
            char text[64], spelled[128];
            int32_t tokens[65];
            size_t n = 0, at = 0,
                   size = fake_text(&rng, text, sizeof text, vocabulary == FAKE_LACKING);
            if (member_tokenize(m, text, size, tokens, 65, &n, &err) != PACKLLM_OK) {
                fail_msg("vocabulary %d, text %d: %s", v, i, err.message);
            }
            for (size_t j = 0; j < n; j++) {
                assert_true(vocab_is_text(&m->table, tokens[j]));
                memcpy(spelled + at, vocab_bytes(&m->table, tokens[j]),
                       vocab_size(&m->table, tokens[j]));
                at += vocab_size(&m->table, tokens[j]);
            }
            assert_int_equal(at, size + m->space_prefix);
            assert_memory_equal(spelled + m->space_prefix, text, size);
        }
        member_close(m);
        fake_close(f);
    }
}

/* The fakes are what they say: canonical is not longest match, twins are never canonical, pieces of
 * characters occur, user-defined tokens win. */
static void test_awkward(void **state) {
    static const char hard[] = "abc \xe2\x82\xac \xc3\xa9t xthe end\n\n\n<b>";
    int32_t tokens[64], greedy[64];
    (void)state;
    for (int v = 0; v < FAKE_VOCABULARIES; v++) {
        struct fake *f = fake_open((enum fake_vocabulary)v, NULL);
        struct packllm_own_member own = fake_member(f, "fake");
        struct member *m = NULL;
        size_t n = 0, n_greedy = 0;
        assert_int_equal(member_own_open(&m, &own, 0, NULL, &err), PACKLLM_OK);
        assert_int_equal(member_tokenize(m, hard, sizeof hard - 1, tokens, 64, &n, &err),
                         PACKLLM_OK);
        member_close(m);
        own.tokenize = NULL;
        assert_int_equal(member_own_open(&m, &own, 0, NULL, &err), PACKLLM_OK);
        assert_int_equal(member_tokenize(m, hard, sizeof hard - 1, greedy, 64, &n_greedy, &err),
                         PACKLLM_OK);
        bool same = n == n_greedy && memcmp(tokens, greedy, n * sizeof *tokens) == 0;
        assert_int_equal(same, v == FAKE_BYTES);
        member_close(m);
        fake_close(f);
    }
}

/* Rows depend on the last two tokens only, and some are -inf where asked for. */
static void test_fake_rows(void **state) {
    struct fake_params params = fake_params_default();
    const int32_t a[] = {5, 9, 70, 71}, b[] = {70, 71};
    float row[700], other[700];
    (void)state;
    params.lost = 0.25;
    struct fake *f = fake_open(FAKE_NESTED, &params);
    fake_logits(f, a, 4, row);
    fake_logits(f, b, 2, other);
    assert_memory_equal(row, other, fake_size(f) * sizeof *row);
    fake_logits(f, b + 1, 1, other);
    assert_memory_not_equal(row, other, fake_size(f) * sizeof *row);
    uint32_t lost = 0;
    for (uint32_t i = 0; i < fake_size(f); i++) {
        lost += row[i] < -1e30F;
    }
    assert_in_range(lost, fake_size(f) / 8, fake_size(f) / 2);
    fake_close(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histories),
        cmocka_unit_test(test_spelling),
        cmocka_unit_test(test_awkward),
        cmocka_unit_test(test_fake_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
