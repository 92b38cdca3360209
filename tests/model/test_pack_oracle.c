/* test_pack_oracle.c - one member through packllm is that member: its greedy text is libllama's own,
 * its perplexity and canonical bits per byte are those of the plain token model; a prompt that ends
 * inside a word is gone on with as the word. Tiny models always, the default pack's where the cache has
 * it. */
#include <string.h>

#include "oracle.h"
#include "packllm/packllm.h"
#include "shared.h"

#include "check.h"

static struct packllm_error err;

static const char *const texts[] = {
    "Once upon a time, there was a little girl named Lily. She liked to play",
    "The dog and the cat were friends. They went to the park and",
};

static void compare(const char *path, int steps) {
    struct oracle o;
    struct packllm_pack *pack = NULL;
    struct packllm_session *session = NULL;
    struct packllm_member_spec spec = packllm_member_spec_default();
    struct packllm_params params = packllm_params_default();
    struct packllm_session_params p = packllm_session_params_default();
    params.n_threads = 1; /* the oracle's */
    params.n_ctx = 256;
    p.sampling.temp = 0.0;
    p.max_tokens = steps;
    spec.path = path;
    spec.name = "member";
    assert_true(oracle_open(&o, path, 256, 1));
    assert_int_equal(packllm_pack_open(&pack, &spec, 1, &params, &err), PACKLLM_OK);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        llama_token tokens[256];
        char expected[4096], got[4096];
        struct packllm_weights weights;
        struct packllm_piece piece;
        size_t size = 0;
        assert_int_equal(packllm_session_open(&session, pack, &p, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_prompt(session, texts[i], strlen(texts[i]), &err),
                         PACKLLM_OK);
        assert_int_equal(packllm_session_weights(session, &weights), PACKLLM_OK);
        while (packllm_session_step(session, &piece, &err) == PACKLLM_PIECE) {
            memcpy(got + size, piece.text, piece.size);
            size += piece.size;
        }
        int32_t n = oracle_tokenize(&o, texts[i], strlen(texts[i]), true, tokens, 256);
        bool own_start = llama_vocab_get_add_bos(o.vocab);
        if (!own_start) {
            /* The neutral start of a vocabulary that adds none by itself (docs/internals). */
            memmove(tokens + 1, tokens, (size_t)n * sizeof *tokens);
            llama_token start[4];
            assert_int_equal(llama_tokenize(o.vocab, "<|endoftext|>", 13, start, 4, false, true),
                             1);
            tokens[0] = start[0];
            n++;
        }
        double nll = oracle_mean_nll(&o, tokens, n);
        double perplexity = exp(nll);
        double bits = nll * (double)(n - 1) / log(2.0) / (double)strlen(texts[i]);
        print_message("%s: perplexity %.5f, libllama %.5f; bits/byte %.5f and %.5f\n", path,
                      weights.members[0].perplexity, perplexity, weights.members[0].bits_per_byte,
                      bits);
        assert_true(fabs(weights.members[0].perplexity / perplexity - 1.0) <= 1e-3);
        int32_t made = oracle_greedy(&o, tokens, n, 256, steps, expected, sizeof expected);
        assert_true(made > 0);
        assert_int_equal(size, strlen(expected));
        assert_memory_equal(got, expected, size);
        packllm_session_close(session);
    }
    packllm_pack_close(pack);
    oracle_close(&o);
}

static void test_tiny_models(void **state) {
    static const char *const names[] = {"models/stories260K.gguf", "models/llama2xs260K.gguf",
                                        "models/aidreams260K.gguf"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char path[1024];
        if (!shared_path(path, sizeof path, names[i])) {
            skip();
        }
        compare(path, 40);
    }
}

static void test_default_pack(void **state) {
    static const char *const names[] = {"SmolLM2-135M-Instruct.Q4_1.gguf",
                                        "gemma-3-270m-q4_k_m.gguf"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char path[1024];
        if (!shared_pack_path(path, sizeof path, names[i])) {
            skip();
        }
        compare(path, 24);
    }
}

static const struct {
    const char *prompt, *rest;
} words[] = {
    {"Once upon a time, there was a little girl nam", "ed"},
    {"Once upon a t", "ime"},
    {"The boy was very happy. He said, \"Thank yo", "u"},
    {"The dog wanted to pl", "ay"},
};

static void go_on(const char *path) {
    struct packllm_pack *pack = NULL;
    struct packllm_member_spec specs[] = {packllm_member_spec_default(),
                                          packllm_member_spec_default()};
    static const double alone[] = {1.0, 0.0}; /* a pack of one goes on as its member does */
    struct packllm_params params = packllm_params_default();
    struct packllm_session_params p = packllm_session_params_default();
    params.n_threads = 1;
    params.n_ctx = 128;
    p.sampling.temp = 0.0;
    p.max_tokens = 6;
    p.weigher = PACKLLM_WEIGH_FIXED;
    p.fixed = alone;
    specs[0].path = specs[1].path = path;
    specs[0].name = "member";
    specs[1].name = "other";
    assert_int_equal(packllm_pack_open(&pack, specs, 2, &params, &err), PACKLLM_OK);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct packllm_session *session = NULL;
        struct packllm_piece piece;
        char got[256];
        size_t size = 0;
        assert_int_equal(packllm_session_open(&session, pack, &p, &err), PACKLLM_OK);
        assert_int_equal(
            packllm_session_prompt(session, words[i].prompt, strlen(words[i].prompt), &err),
            PACKLLM_OK);
        while (packllm_session_step(session, &piece, &err) == PACKLLM_PIECE) {
            memcpy(got + size, piece.text, piece.size);
            size += piece.size;
        }
        got[size] = '\0';
        print_message("%s|%s\n", words[i].prompt, got);
        assert_int_equal(strncmp(got, words[i].rest, strlen(words[i].rest)), 0);
        packllm_session_close(session);
    }
    packllm_pack_close(pack);
}

static void test_words_are_ended(void **state) {
    static const char *const names[] = {"models/stories260K.gguf", "models/llama2xs260K.gguf"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char path[1024];
        if (!shared_path(path, sizeof path, names[i])) {
            skip();
        }
        go_on(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tiny_models),
                                       cmocka_unit_test(test_words_are_ended),
                                       cmocka_unit_test(test_default_pack)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
