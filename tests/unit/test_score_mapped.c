/* test_score_mapped.c - a row over a reference's tokens. Goals: it sums to 1; mass is shared and never
 * there twice; the paper's way repeats it; what has no token gets the even part; equal vocabularies pass
 * to the bit. */
#include <math.h>
#include <string.h>

#include "score/mapped.h"

#include "check.h"

static struct packllm_error err;

struct side {
    struct vocab_table table;
    struct prefix_tree tree;
};

static void side_open(struct side *s, const char *const *texts, uint32_t n) {
    struct vocab_builder b;
    assert_int_equal(vocab_builder_begin(&b, n + 1, &err), PACKLLM_OK);
    assert_int_equal(vocab_builder_add(&b, "", 0, VOCAB_END, &err), PACKLLM_OK);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(vocab_builder_add(&b, texts[i], strlen(texts[i]), VOCAB_NORMAL, &err),
                         PACKLLM_OK);
    }
    vocab_builder_end(&b, &s->table);
    assert_int_equal(prefix_init(&s->tree, &s->table, &err), PACKLLM_OK);
}

static void side_close(struct side *s) {
    prefix_done(&s->tree);
    vocab_table_done(&s->table);
}

static double of(const struct side *s, const float *mass, int32_t id) {
    return (double)mass[s->tree.rank[id]];
}

/* Ids from 1; 0 is END. The member's "ab" stands for "ab" (exact) and "abc" (distance 1). */
static void test_mass_is_shared_or_repeated(void **state) {
    (void)state;
    static const char *const reference[] = {"a", "b", "ab", "abc", "zz", "a"};
    static const char *const member[] = {"b", "ab", "a", "long"};
    const int32_t to[] = {0, 3, 1, 2, 2, -1, 3};
    const uint32_t distance[] = {0, 0, 0, 0, 1, UINT32_MAX, 0};
    struct side r, m;
    side_open(&r, reference, 6);
    side_open(&m, member, 4);
    float mass[5] = {0}, out[7];
    double block[1] = {0}, p[] = {0.1, 0.2, 0.3, 0.25, 0.15}; /* END, b, ab, a, long */
    for (int32_t id = 1; id <= 4; id++) {
        mass[m.tree.rank[id]] = (float)p[id];
    }
    struct cover_tokens row = {.mass = mass, .block = block, .end = p[0]};
    struct score_map map;
    assert_int_equal(score_map_init(&map, &r.tree, &m.tree, to, distance, false, &err), PACKLLM_OK);
    assert_int_equal(score_map_matched(&map), 5);
    assert_false(map.whole);
    double end = score_map_row(&map, &row, out, block), each = 0.15 / 7;
    assert_true(fabs(end - (0.1 + each)) < 1e-6);
    assert_true(fabs(of(&r, out, 1) - (0.25 + each)) < 1e-6);
    assert_true(fabs(of(&r, out, 2) - (0.2 + each)) < 1e-6);
    assert_true(fabs(of(&r, out, 3) - (0.3 * 2 / 3 + each)) < 1e-6);
    assert_true(fabs(of(&r, out, 4) - (0.3 / 3 + each)) < 1e-6);
    assert_true(fabs(of(&r, out, 5) - each) < 1e-6);
    assert_true(fabs(of(&r, out, 6) - each) < 1e-6); /* the second "a" is not canonical */
    assert_true(fabs(block[0] + end - 1) < 1e-6);
    score_map_done(&map);
    assert_int_equal(score_map_init(&map, &r.tree, &m.tree, to, distance, true, &err), PACKLLM_OK);
    end = score_map_row(&map, &row, out, block);
    double sum = 0.1 + 0.25 + 0.2 + 0.3 + 0.3 + 0.25;
    assert_true(fabs(end - 0.1 / sum) < 1e-6);
    assert_true(fabs(of(&r, out, 3) - 0.3 / sum) < 1e-6);
    assert_true(fabs(of(&r, out, 4) - 0.3 / sum) < 1e-6);
    assert_true(of(&r, out, 5) == 0.0);
    assert_true(fabs(block[0] + end - 1) < 1e-6);
    score_map_done(&map);
    side_close(&r);
    side_close(&m);
}

static void test_rows_of_equal_vocabularies_pass(void **state) {
    (void)state;
    static const char *const reference[] = {"a", "b", "c"}, *const member[] = {"c", "a", "b"};
    const int32_t to[] = {0, 2, 3, 1};
    const uint32_t distance[4] = {0};
    struct side r, m;
    side_open(&r, reference, 3);
    side_open(&m, member, 3);
    float mass[3] = {0.3F, 1e-20F, 0.1F}, out[3];
    double block[1];
    struct cover_tokens row = {.mass = mass, .block = block, .end = 0.6};
    struct score_map map;
    assert_int_equal(score_map_init(&map, &r.tree, &m.tree, to, distance, false, &err), PACKLLM_OK);
    assert_true(map.whole);
    assert_true(score_map_row(&map, &row, out, block) == 0.6);
    assert_memory_equal(out, mass, sizeof mass);
    /* A member that says nothing of what the reference has is even. */
    memset(mass, 0, sizeof mass);
    row.end = 0;
    assert_true(fabs(score_map_row(&map, &row, out, block) - 0.25) < 1e-7);
    assert_true(fabs((double)out[1] - 0.25) < 1e-7);
    score_map_done(&map);
    side_close(&r);
    side_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mass_is_shared_or_repeated),
        cmocka_unit_test(test_rows_of_equal_vocabularies_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
