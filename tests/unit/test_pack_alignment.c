/* test_pack_alignment.c - the one map that sessions and packllm_align_open make. Goals: a vocabulary
 * that puts a space before a text does not put one before a token, which stands inside a text; a member
 * that many timelines share gives the same map as the member itself; while a map is made, nothing of
 * the member changes that another thread might read. */
#include "pack/pack.h"

#include "check.h"

enum { TOKENS = 4 };

static struct packllm_error err;

static const struct packllm_own_token reference_tokens[TOKENS] = {{.bytes = "abb", .size = 3},
                                                                  {.bytes = "ba", .size = 2},
                                                                  {.bytes = " ab", .size = 3},
                                                                  {.bytes = "</s>", .end = true}};
static const struct packllm_own_token member_tokens[] = {{.bytes = "</s>", .size = 4, .end = true},
                                                         {.bytes = " ", .size = 1},
                                                         {.bytes = "a", .size = 1},
                                                         {.bytes = "b", .size = 1},
                                                         {.bytes = "ab", .size = 2},
                                                         {.bytes = " a", .size = 2}};
static const int32_t first[TOKENS] = {4, 3, 5, 0}; /* "ab", "b", " a", the end */

static int no_logits(void *data, const int32_t *history, size_t n, float *out) {
    (void)data;
    (void)history;
    (void)n;
    (void)out;
    return 1;
}

static struct member *open_own(const char *name, const struct packllm_own_token *tokens,
                               uint32_t n) {
    struct packllm_own_member own = {.name = name,
                                     .tokens = tokens,
                                     .n_tokens = n,
                                     .start = -1,
                                     .n_ctx = 8,
                                     .logits = no_logits};
    struct member *m = NULL;
    assert_int_equal(member_own_open(&m, &own, 0, NULL, &err), PACKLLM_OK);
    return m;
}

struct seen {
    const struct member *member, *real;
    int calls;
};

static bool unchanged(void *ctx, double share) {
    struct seen *seen = ctx;
    (void)share;
    seen->calls++;
    assert_true(seen->member->space_prefix && seen->real->space_prefix);
    return true;
}

static void check_map(struct member *reference, struct member *member, const struct member *real) {
    struct seen seen = {member, real, 0};
    struct align_map map = {0};
    char warning[64];
    bool cached = true;
    const struct pack_align how = {.reference = reference,
                                   .member = member,
                                   .method = PACKLLM_ALIGN_FIRST,
                                   .n_threads = 1,
                                   .progress = unchanged,
                                   .progress_ctx = &seen};
    assert_int_equal(pack_align(&map, &how, warning, sizeof warning, &cached, &err), PACKLLM_OK);
    assert_false(cached);
    assert_true(seen.calls > 0);
    assert_int_equal(map.n, TOKENS);
    assert_memory_equal(map.to, first, sizeof first);
    align_done(&map);
}

static void test_tokens_stand_inside_a_text(void **state) {
    struct member *reference = open_own("reference", reference_tokens, TOKENS);
    struct member *real =
        open_own("member", member_tokens, sizeof member_tokens / sizeof *member_tokens);
    struct member *shared = NULL;
    struct member_gate *gate = NULL;
    int32_t tokens[8];
    size_t n = 0;
    (void)state;
    real->space_prefix = true;
    check_map(reference, real, real);
    assert_int_equal(member_gate_open(&gate, &err), PACKLLM_OK);
    assert_int_equal(member_shared_open(&shared, real, 2, gate, &err), PACKLLM_OK);
    check_map(reference, shared, real);
    assert_int_equal(member_tokenize(shared, "abb", 3, tokens, 8, &n, &err), PACKLLM_OK);
    assert_int_equal(n, 3); /* " a", "b", "b": a text still begins with its space */
    assert_int_equal(tokens[0], 5);
    member_close(shared);
    member_gate_close(gate);
    member_close(reference);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens_stand_inside_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
