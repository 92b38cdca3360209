/* test_canon_rules.c - small vocabularies by hand. Goals: merges go by rank, not by length, and the
 * leftmost first; added tokens come before merges, the longest first; pretokenisers cut; bytes are the
 * last resort of SentencePiece; pieces of characters are merged; unknown rules are said to be. */
#include <string.h>

#include "base/alloc.h"
#include "canon/canon.h"
#include "check.h"

static struct packllm_error err;
static struct canon_work work;

#define TOKEN(text, score, flags)                                                                  \
    { text, sizeof(text) - 1, score, flags }
#define MERGE(text)                                                                                \
    { (const uint8_t *)(text), sizeof(text) - 1 }
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct canon_token pairs[] = {
    TOKEN("a", 0, 0),
    TOKEN("b", 0, 0),
    TOKEN("c", 0, 0),
    TOKEN("ab", 0, 0),
    TOKEN("bc", 0, 0),
    TOKEN("aa", 0, 0),
    TOKEN("\xc4\xa0", 0, 0),
    TOKEN("\xc4\xa0"
          "a",
          0, 0),
    TOKEN("<a>", 0, CANON_ADDED),
    TOKEN("<a>b", 0, CANON_ADDED),
    TOKEN("1", 0, 0),
    TOKEN("\xc3\x83", 0, 0),
    TOKEN("\xc2\xa9", 0, 0),
    TOKEN("\xc3\x83\xc2\xa9", 0, 0),
    TOKEN("11", 0, 0),
    TOKEN("'", 0, 0),
};
static const struct canon_text merges[] = {
    MERGE("b c"), MERGE("a b"), MERGE("a a"), MERGE("\xc4\xa0 a"), MERGE("\xc3\x83 \xc2\xa9"),
    MERGE("1 1")};

static struct canon *open_pairs(const char *pre) {
    struct canon_source s = {.model = CANON_BYTE_PAIRS,
                             .pre = pre,
                             .tokens = pairs,
                             .n_tokens = COUNT(pairs),
                             .merges = merges,
                             .n_merges = COUNT(merges)};
    struct canon *c = NULL;
    assert_int_equal(canon_open(&c, &s, &err), PACKLLM_OK);
    return c;
}

static void expect(const struct canon *c, const char *text, const int32_t *ids, size_t n) {
    assert_int_equal(canon_encode(c, &work, text, strlen(text), 0, &err), PACKLLM_OK);
    assert_int_equal(work.n, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(work.id[i], ids[i]);
    }
}
#define EXPECT(c, text, ...)                                                                       \
    expect(c, text, (const int32_t[]){__VA_ARGS__}, COUNT(((const int32_t[]){__VA_ARGS__})))

static void byte_pairs(void **state) {
    (void)state;
    struct canon *c = open_pairs("smollm");
    EXPECT(c, "abc", 0, 4);  /* rank before place */
    EXPECT(c, "aaa", 5, 0);  /* the leftmost of equals */
    EXPECT(c, "aa a", 5, 7); /* cut before the space */
    EXPECT(c, "11", 10, 10); /* digits stand alone */
    EXPECT(c, "a<a>bb<a>a", 0, 9, 1, 8, 0);
    EXPECT(c, "\xc3\xa9", 13);
    EXPECT(c, "a\x01z", 0); /* what no token spells is left out */
    assert_int_equal(work.dropped, 2);
    assert_int_equal(canon_encode(c, &work, "a\xc3", 2, CANON_LETTER, &err), PACKLLM_OK);
    assert_int_equal(work.n, 2); /* half a character */
    assert_int_equal(work.id[1], 11);
    assert_int_equal(canon_bounds(c, &work, "aa a1", 5, 0, &err), PACKLLM_OK);
    assert_int_equal(work.n, 3);
    assert_int_equal(work.end[0], 2);
    assert_int_equal(work.end[1], 4);
    assert_int_equal(work.end[2], 5);
    assert_int_equal(canon_merge(c, &work, "11", 2, &err), PACKLLM_OK);
    assert_int_equal(work.n, 1);
    canon_work_done(&work);
    canon_close(c);
    c = open_pairs("superbpe");
    EXPECT(c, "1111", 10, 14, 10); /* 1, then three from the right */
    canon_work_done(&work);
    canon_close(c);
}

static void pieces(void **state) {
    (void)state;
    static const struct canon_token tokens[] = {
        TOKEN("<unk>", 0, 0),
        TOKEN("<0xE2>", 0, 0),
        TOKEN("<0x96>", 0, 0),
        TOKEN("<0x81>", 0, 0),
        TOKEN("a", -3, 0),
        TOKEN("b", -3, 0),
        TOKEN("ab", -2, 0),
        TOKEN("ba", -1, 0),
        TOKEN("\xe2\x96\x81", -4, 0),
        TOKEN("\xe2\x96\x81"
              "a",
              -5, 0),
        TOKEN("\n\n", 0, CANON_ADDED),
        TOKEN("\n", 0, CANON_ADDED),
        TOKEN("<0x82>", 0, 0),
        TOKEN("<0xAC>", 0, 0),
    };
    struct canon_source s = {
        .model = CANON_PIECES, .pre = "", .tokens = tokens, .n_tokens = COUNT(tokens)};
    struct canon *c = NULL;
    assert_int_equal(canon_open(&c, &s, &err), PACKLLM_OK);
    EXPECT(c, "aba", 4, 7); /* the better score, not the leftmost */
    EXPECT(c, " a", 9);
    EXPECT(c, "\n\n\na", 10, 11, 4);
    EXPECT(c, "\xe2\x82\xac", 1, 12, 13);
    EXPECT(c, "a\xe2\x96\x81", 4, 1, 2, 3); /* the mark itself is not a space */
    canon_work_done(&work);
    canon_close(c);
}

static void refusals(void **state) {
    (void)state;
    struct canon_source s = {
        .model = CANON_BYTE_PAIRS, .pre = "nobody's", .tokens = pairs, .n_tokens = COUNT(pairs)};
    struct canon *c = NULL;
    assert_int_equal(canon_open(&c, &s, &err), PACKLLM_E_UNSUPPORTED);
    s.model = CANON_PIECES; /* without byte tokens */
    assert_int_equal(canon_open(&c, &s, &err), PACKLLM_E_UNSUPPORTED);
    s.n_tokens = 0;
    assert_int_equal(canon_open(&c, &s, &err), PACKLLM_E_MODEL);
    assert_null(c);
}

static void no_memory(void **state) {
    (void)state;
    struct canon_source s = {.model = CANON_BYTE_PAIRS,
                             .pre = "deepseek-llm",
                             .tokens = pairs,
                             .n_tokens = COUNT(pairs),
                             .merges = merges,
                             .n_merges = COUNT(merges)};
    enum packllm_status status = PACKLLM_E_MEMORY;
    unsigned long failed = 0;
    for (unsigned long nth = 1; status != PACKLLM_OK && nth < 1000; nth++) {
        struct canon *c = NULL;
        alloc_fail_nth(nth);
        status = canon_open(&c, &s, &err);
        if (status == PACKLLM_OK) {
            status = canon_encode(c, &work, "ab <a>bc 11", 11, 0, &err);
        }
        alloc_fail_nth(0);
        failed += status == PACKLLM_E_MEMORY;
        canon_work_done(&work);
        canon_close(c);
    }
    assert_int_equal(status, PACKLLM_OK);
    assert_true(failed > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_pairs),
        cmocka_unit_test(pieces),
        cmocka_unit_test(refusals),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
