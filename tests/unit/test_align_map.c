/* test_align_map.c - small vocabularies by hand. Goals: each method maps what it should, by bytes and
 * by kind; ties and duplicates go to the lowest id; nothing is mapped to token 0 for want of a token;
 * a cancel and a failed allocation leave nothing behind. */
#include <string.h>

#include "align/align.h"
#include "base/alloc.h"
#include "check.h"

struct token {
    const char *text;
    enum vocab_kind kind;
};

static struct packllm_error err;

static void make(struct vocab_table *out, const struct token *tokens, uint32_t n) {
    struct vocab_builder b;
    assert_int_equal(vocab_builder_begin(&b, n, &err), PACKLLM_OK);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(
            vocab_builder_add(&b, tokens[i].text, strlen(tokens[i].text), tokens[i].kind, &err),
            PACKLLM_OK);
    }
    vocab_builder_end(&b, out);
}

/* The first byte's fallback token, as a tokenizer without merges would say: ids of `member` below. */
static int32_t first(void *ctx, const uint8_t *bytes, size_t size) {
    ++*(int *)ctx;
    return size > 0 && bytes[0] == 'h' ? 6 : ALIGN_NONE;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct token reference[] = {
    {"<unk>", VOCAB_MASKED}, /* 0 */
    {"</s>", VOCAB_END},     /* 1 */
    {"A", VOCAB_BYTE},       /* 2 */
    {"\xff", VOCAB_BYTE},    /* 3 */
    {"the", VOCAB_NORMAL},   /* 4 */
    {" the", VOCAB_NORMAL},  /* 5 */
    {"hello", VOCAB_NORMAL}, /* 6 */
    {"A", VOCAB_NORMAL},     /* 7 */
    {"<b>", VOCAB_USER},     /* 8 */
    {"B", VOCAB_BYTE},       /* 9 */
    {"Q", VOCAB_NORMAL},     /* 10 */
    {"", VOCAB_NORMAL},      /* 11: becomes masked */
};
static const struct token member[] = {
    {"cat", VOCAB_NORMAL},    /* 0 */
    {"<eot>", VOCAB_END},     /* 1 */
    {"<eos>", VOCAB_END},     /* 2 */
    {"A", VOCAB_BYTE},        /* 3 */
    {"the", VOCAB_USER},      /* 4 */
    {"the", VOCAB_NORMAL},    /* 5 */
    {"hell", VOCAB_NORMAL},   /* 6 */
    {"hallo", VOCAB_NORMAL},  /* 7 */
    {"<c>", VOCAB_NORMAL},    /* 8 */
    {"B", VOCAB_NORMAL},      /* 9 */
    {"A", VOCAB_NORMAL},      /* 10 */
    {"Q", VOCAB_BYTE},        /* 11 */
    {"hidden", VOCAB_MASKED}, /* 12 */
};

struct pair {
    int32_t to;
    uint32_t distance;
};

static void check_map(enum align_method method, const struct pair *expected, int calls) {
    struct vocab_table r, m;
    struct align_map map;
    int called = 0;
    make(&r, reference, COUNT(reference));
    make(&m, member, COUNT(member));
    struct align_request request = {.reference = &r,
                                    .member = &m,
                                    .method = method,
                                    .threads = 2,
                                    .first = first,
                                    .first_ctx = &called};
    assert_int_equal(align_build(&map, &request, &err), PACKLLM_OK);
    assert_int_equal(map.n, COUNT(reference));
    assert_int_equal(map.n_member, COUNT(member));
    assert_int_equal(called, calls);
    uint32_t exact = 0, near = 0;
    for (uint32_t i = 0; i < map.n; i++) {
        assert_int_equal(map.to[i], expected[i].to);
        assert_int_equal(map.distance[i], expected[i].distance);
        exact += map.to[i] >= 0 && map.distance[i] == 0;
        near += map.to[i] >= 0 && map.distance[i] > 0;
    }
    assert_int_equal(map.exact, exact);
    assert_int_equal(map.near, near);
    assert_int_equal(map.unmatched, map.n - exact - near);
    align_done(&map);
    vocab_table_done(&r);
    vocab_table_done(&m);
}

#define NONE                                                                                       \
    { ALIGN_NONE, ALIGN_FAR }

static void by_equal_bytes(void **state) {
    (void)state;
    static const struct pair expected[] = {NONE, {1, 0},  {3, 0}, NONE,   {4, 0},  NONE,
                                           NONE, {10, 0}, NONE,   {9, 0}, {11, 0}, NONE};
    check_map(ALIGN_EXACT, expected, 0);
}

static void by_the_first_token(void **state) {
    (void)state;
    static const struct pair expected[] = {NONE,   {1, 0},  {3, 0}, NONE,   {4, 0},  NONE,
                                           {6, 1}, {10, 0}, NONE,   {9, 0}, {11, 0}, NONE};
    check_map(ALIGN_FIRST, expected, 3); /* " the", "hello", "<b>" */
}

static void by_distance(void **state) {
    (void)state;
    /* " the": "the" twice at 1, the lower id. "hello": "hell" and "hallo" at 1, the lower. "Q": only
     * text is near; of the single letters at 1 the lower id. */
    static const struct pair expected[] = {NONE,   {1, 0},  {3, 0}, NONE,   {4, 0}, {4, 1},
                                           {6, 1}, {10, 0}, {8, 1}, {9, 0}, {9, 1}, NONE};
    check_map(ALIGN_MINED, expected, 0);
}

static void nothing_to_map_to(void **state) {
    (void)state;
    static const struct token few[] = {{"x", VOCAB_MASKED}, {"a", VOCAB_BYTE}};
    struct vocab_table r, m;
    struct align_map map;
    make(&r, reference, COUNT(reference));
    make(&m, few, COUNT(few));
    struct align_request request = {
        .reference = &r, .member = &m, .method = ALIGN_MINED, .threads = 1};
    assert_int_equal(align_build(&map, &request, &err), PACKLLM_OK);
    assert_int_equal(map.unmatched, map.n);
    for (uint32_t i = 0; i < map.n; i++) {
        assert_int_equal(map.to[i], ALIGN_NONE);
    }
    align_done(&map);
    vocab_table_done(&r);
    vocab_table_done(&m);
}

static bool refuse(void *ctx, double share) {
    assert_true(share >= 0 && share <= 1);
    ++*(int *)ctx;
    return false;
}

static void cancelled(void **state) {
    (void)state;
    struct vocab_table r, m;
    struct align_map map = {.n = 7};
    int asked = 0;
    make(&r, reference, COUNT(reference));
    make(&m, member, COUNT(member));
    struct align_request request = {.reference = &r,
                                    .member = &m,
                                    .method = ALIGN_MINED,
                                    .threads = 3,
                                    .progress = refuse,
                                    .progress_ctx = &asked};
    assert_int_equal(align_build(&map, &request, &err), PACKLLM_E_CANCELLED);
    assert_int_equal(map.n, 7);
    assert_int_equal(asked, 1);
    vocab_table_done(&r);
    vocab_table_done(&m);
}

static void no_memory(void **state) {
    (void)state;
    struct vocab_table r, m;
    make(&r, reference, COUNT(reference));
    make(&m, member, COUNT(member));
    int called = 0, failures = 0;
    for (int method = ALIGN_EXACT; method <= ALIGN_MINED; method++) {
        enum packllm_status s = PACKLLM_E_MEMORY;
        for (unsigned long nth = 1; s != PACKLLM_OK; nth++) {
            struct align_map map = {.n = 7};
            struct align_request request = {.reference = &r,
                                            .member = &m,
                                            .threads = 1,
                                            .method = (enum align_method)method,
                                            .first = first,
                                            .first_ctx = &called};
            alloc_fail_nth(nth);
            s = align_build(&map, &request, &err);
            alloc_fail_nth(0);
            if (s == PACKLLM_OK) {
                align_done(&map);
            } else {
                assert_int_equal(s, PACKLLM_E_MEMORY);
                assert_int_equal(map.n, 7);
                failures++;
            }
            assert_true(nth < 100);
        }
    }
    assert_true(failures > 10);
    vocab_table_done(&r);
    vocab_table_done(&m);
}

static void too_long(void **state) {
    (void)state;
    char *text = malloc(ALIGN_TOKEN_MAX + 2);
    memset(text, 'a', ALIGN_TOKEN_MAX + 1);
    text[ALIGN_TOKEN_MAX + 1] = '\0';
    const struct token longest[] = {{text, VOCAB_NORMAL}};
    struct vocab_table r, m;
    struct align_map map;
    make(&r, longest, 1);
    make(&m, member, COUNT(member));
    struct align_request request = {
        .reference = &r, .member = &m, .method = ALIGN_MINED, .threads = 1};
    assert_int_equal(align_build(&map, &request, &err), PACKLLM_E_MODEL);
    assert_non_null(strstr(err.message, "65537"));
    request.method = ALIGN_EXACT;
    assert_int_equal(align_build(&map, &request, &err), PACKLLM_OK);
    align_done(&map);
    vocab_table_done(&r);
    vocab_table_done(&m);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_equal_bytes), cmocka_unit_test(by_the_first_token),
        cmocka_unit_test(by_distance),    cmocka_unit_test(nothing_to_map_to),
        cmocka_unit_test(cancelled),      cmocka_unit_test(no_memory),
        cmocka_unit_test(too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
