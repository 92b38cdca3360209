/* test_pack_tails.c - tails of tokens that cannot be chosen are not corrected (src/pack/correct.c), and in token
 * space what all members find unlikely is no candidate (choose.c).
 * Goals: the text is that of a session which must tell the likeliest tokens and so corrects all, token
 * for token, greedy and sampled, log-linear and linear, also behind prompts that end inside a token; log pi of
 * what is chosen differs by the normaliser alone, and by little; tails are in fact left out. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "fake.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CASES = 240, TOKENS = 12, MEMBERS = 3 };

static struct packllm_error err;

struct written {
    int32_t token[TOKENS];
    double logprob[TOKENS];
    size_t n;
};

static void write_text(struct packllm_pack *pack, const struct packllm_session_params *params,
                       const char *prompt, size_t size, struct written *out) {
    struct packllm_session *session = NULL;
    struct packllm_piece piece;
    out->n = 0;
    assert_int_equal(packllm_session_open(&session, pack, params, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_prompt(session, prompt, size, &err), PACKLLM_OK);
    while (out->n < TOKENS && packllm_session_step(session, &piece, &err) == PACKLLM_PIECE) {
        if (piece.token >= 0) {
            out->token[out->n] = piece.token;
            out->logprob[out->n++] = piece.logprob;
        }
    }
    packllm_session_close(session);
}

static struct packllm_session_params settings(uint64_t seed) {
    struct packllm_session_params p = packllm_session_params_default();
    p.pool = seed % 3 == 0 ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG;
    p.shrink = 20.0; /* all have a say */
    p.max_tokens = TOKENS;
    p.sampling.seed = seed;
    p.sampling.temp = seed % 2 == 0 ? 0.0 : 0.7 + 0.1 * (double)(seed % 7);
    /* top-p looks at the sum of all, and that is what tails change. */
    p.sampling.top_p = 1.0;
    p.sampling.top_k = seed % 5 == 0 ? 0 : 40;
    p.sampling.min_p = seed % 11 == 0 ? 0.0 : 0.05;
    return p;
}

/* one: the members share a vocabulary, in whose tokens they are fused; they disagree more and more. */
static void same_text(bool one) {
    size_t tokens = 0, differ = 0;
    double most = 0.0;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct fake *fakes[MEMBERS];
        struct packllm_own_member own[MEMBERS];
        struct packllm_pack *pack = NULL;
        struct written quick, all;
        char prompt[64];
        uint64_t rng = seed;
        size_t n = 2 + seed % 2, size = fake_text(&rng, prompt, sizeof prompt, true);
        for (size_t i = 0; i < n; i++) {
            struct fake_params f = fake_params_default();
            f.seed = 8 * seed + i;
            f.scale = one ? 2.0 + (double)(seed % 9) : 3.0;
            f.end_bias = -6.0;
            fakes[i] =
                fake_open((enum fake_vocabulary)((seed + (one ? 0 : 2 * i)) % FAKE_USER), &f);
            own[i] = fake_member(fakes[i], i == 0 ? "one" : i == 1 ? "two" : "three");
        }
        assert_int_equal(packllm_pack_open_own(&pack, own, n, NULL, &err), PACKLLM_OK);
        struct packllm_session_params p = settings(seed);
        p.space = one ? PACKLLM_SPACE_TOKENS : PACKLLM_SPACE_BYTES;
        write_text(pack, &p, prompt, size, &quick);
        p.n_top = 1;
        write_text(pack, &p, prompt, size, &all);
        CHECK_CASE(seed, quick.n == all.n, "%zu tokens, %zu", quick.n, all.n);
        for (size_t k = 0; k < quick.n; k++) {
            double off = fabs(quick.logprob[k] - all.logprob[k]);
            CHECK_CASE(seed, quick.token[k] == all.token[k], "token %zu is %d, not %d", k,
                       (int)quick.token[k], (int)all.token[k]);
            CHECK_CASE(seed, p.sampling.min_p > 0.0 || p.sampling.temp <= 0.0 || off <= 0.0,
                       "without a cut %g", off);
            most = fmax(most, off);
            differ += off > 0.0;
            tokens++;
        }
        packllm_pack_close(pack);
        for (size_t i = 0; i < n; i++) {
            fake_close(fakes[i]);
        }
    }
    print_message("%zu tokens, log pi of %zu differs, by %g at most\n", tokens, differ, most);
    assert_true(tokens > 5 * CASES && differ > tokens / (one ? 200 : 20) && most < 0.5);
}

static void test_in_bytes(void **state) {
    (void)state;
    same_text(false);
}

static void test_in_tokens(void **state) {
    (void)state;
    same_text(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_in_bytes),
                                       cmocka_unit_test(test_in_tokens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
