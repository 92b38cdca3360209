/* test_pack_mapped_golden.c - members with different vocabularies in a reference's tokens against what
 * make_golden.py says: MinED by comparing all with all, rows by their definition, and the paper's greedy
 * search on logits. The members are a function of their history that both sides compute. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "packllm/packllm.h"

#include "check.h"
#include "golden.h"

enum { MEMBERS = 3, TOKENS = 24, BYTES = 8, TEXT = 200 };

static struct packllm_error err;

struct vocabulary {
    int index;
    size_t n;
    struct packllm_own_token token[TOKENS];
    char bytes[TOKENS][BYTES];
};

static int logits(void *data, const int32_t *history, size_t n, float *out) {
    const struct vocabulary *v = data;
    unsigned long h = (unsigned long)v->index + 1;
    for (size_t i = 0; i < n; i++) {
        h = (h * 31 + (unsigned long)history[i] + 7) % 1009;
    }
    for (unsigned long t = 0; t < v->n; t++) {
        out[t] = (float)((double)((h * (t + 3) * 17 + t * t * 5) % 251) / 25);
    }
    return 0;
}

static void read_vocabulary(FILE *file, struct vocabulary *v, int index) {
    double bytes[BYTES];
    v->index = index;
    v->n = 2 + (size_t)golden_number(file, "tokens");
    assert_true(v->n <= TOKENS);
    v->token[0] = (struct packllm_own_token){.bytes = "<s>", .size = 3, .control = true};
    v->token[1] = (struct packllm_own_token){.bytes = "</s>", .size = 4, .end = true};
    for (size_t t = 2; t < v->n; t++) {
        size_t size = golden_read(file, "token", bytes, BYTES);
        for (size_t b = 0; b < size; b++) {
            v->bytes[t][b] = (char)bytes[b];
        }
        v->token[t] = (struct packllm_own_token){.bytes = v->bytes[t], .size = size};
    }
}

static void compare(struct packllm_pack *pack, struct packllm_session_params p, const char *text,
                    size_t size, const double *lambda, double objective) {
    struct packllm_session *session = NULL;
    struct packllm_weights w;
    assert_int_equal(packllm_session_open(&session, pack, &p, &err), PACKLLM_OK);
    if (packllm_session_weigh(session, text, size, &err) != PACKLLM_OK) {
        print_error("%s\n", err.message);
        fail();
    }
    assert_int_equal(packllm_session_weights(session, &w), PACKLLM_OK);
    assert_string_equal(w.space, "tokens");
    assert_int_equal(w.reference, p.reference);
    for (size_t i = 0; i < MEMBERS && lambda != NULL; i++) {
        CHECK_CASE(p.reference, fabs(w.members[i].weight - lambda[i]) < 1e-9,
                   "feed %d mass %d member %zu: %.12g, golden %.12g", p.feed, p.mass, i,
                   w.members[i].weight, lambda[i]);
    }
    CHECK_CASE(p.reference, fabs(w.objective - objective) < 1e-6,
               "feed %d mass %d weights %d: objective %.9f, golden %.9f", p.feed, p.mass, p.weigher,
               w.objective, objective);
    packllm_session_close(session);
}

static void test_the_papers_way_and_ours(void **state) {
    (void)state;
    static struct vocabulary v[MEMBERS];
    static const char *const names[MEMBERS] = {"a", "b", "c"};
    struct packllm_own_member own[MEMBERS];
    struct packllm_pack *pack = NULL;
    double bytes[TEXT], lambda[MEMBERS];
    char text[TEXT];
    FILE *file = golden_open("mapped.txt");
    size_t size = golden_read(file, "text", bytes, TEXT);
    for (size_t i = 0; i < size; i++) {
        text[i] = (char)bytes[i];
    }
    assert_int_equal((int)golden_number(file, "members"), MEMBERS);
    for (int i = 0; i < MEMBERS; i++) {
        read_vocabulary(file, &v[i], i);
        own[i] = (struct packllm_own_member){.name = names[i],
                                             .tokens = v[i].token,
                                             .n_tokens = v[i].n,
                                             .n_ctx = 256,
                                             .logits = logits,
                                             .data = &v[i]};
    }
    assert_int_equal(packllm_pack_open_own(&pack, own, MEMBERS, NULL, &err), PACKLLM_OK);
    for (int32_t reference = 0; reference < MEMBERS; reference++) {
        for (int k = 0; k < 4; k++) {
            struct packllm_session_params p = packllm_session_params_default();
            p.space = PACKLLM_SPACE_TOKENS;
            p.reference = reference;
            p.feed = k < 2 ? PACKLLM_FEED_TEXT : PACKLLM_FEED_TRANSLATED;
            p.mass = k % 2 == 0 ? PACKLLM_MASS_SPLIT : PACKLLM_MASS_PAPER;
            p.weigher = PACKLLM_WEIGH_UNIFORM;
            compare(pack, p, text, size, NULL, golden_number(file, "uniform_f"));
            p.weigher = PACKLLM_WEIGH_GREEDY;
            assert_int_equal(golden_read(file, "greedy", lambda, MEMBERS), MEMBERS);
            compare(pack, p, text, size, lambda, golden_number(file, "greedy_f"));
        }
    }
    packllm_pack_close(pack);
    golden_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_papers_way_and_ours)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
