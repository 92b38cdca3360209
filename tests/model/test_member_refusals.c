/* test_member_refusals.c - files that cannot be members. Goal: each is refused with one clear line
 * that names the member and the file and says what is wrong, before libllama could abort on it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf_make.h"
#include "member/member.h"
#include "member/member_gguf.h"

static char folder[64], path[128];
static struct made spm, bpe;
static struct packllm_error err;

static enum packllm_status open_path(const char *name) {
    const struct packllm_member_spec spec = {.path = path, .name = name, .n_gpu_layers = -1};
    const struct packllm_params params = {.n_threads = 1, .n_seq = 4};
    struct packllm_memory memory;
    struct member *m = NULL;
    err = (struct packllm_error){0};
    enum packllm_status s = member_llama_open(&m, &spec, 5, &params, &err);
    assert_true((m != NULL) == (s == PACKLLM_OK));
    member_close(m);
    struct packllm_error other = {0};
    enum packllm_status t = member_llama_memory(&spec, 5, &params, &memory, &other);
    assert_true(s != PACKLLM_OK || t == PACKLLM_OK);
    return s;
}

/* Opening the file is refused with `status`; the line names member and file, and holds `words`. */
static void refused(enum packllm_status status, const char *words) {
    enum packllm_status s = open_path("bob");
    if (s != status || strstr(err.message, words) == NULL || strstr(err.message, path) == NULL ||
        strstr(err.message, "member 'bob'") == NULL || strchr(err.message, '\n') != NULL ||
        err.member != 5 || err.status != status) {
        fail_msg("expected status %d and '%s', got %d: %s", (int)status, words, (int)s,
                 err.message);
    }
}

static void refused_made(struct made m, const char *words) {
    assert_true(made_save(&m, path));
    made_free(&m);
    refused(PACKLLM_E_MODEL, words);
}

static void refused_bytes(const void *bytes, size_t size, enum packllm_status status,
                          const char *words) {
    struct made m = made_copy(bytes, size);
    assert_true(made_save(&m, path));
    made_free(&m);
    refused(status, words);
}

static void test_good_ones(void **state) {
    (void)state;
    assert_true(made_save(&spm, path));
    assert_int_equal(open_path("bob"), PACKLLM_OK);
    assert_true(made_save(&bpe, path));
    assert_int_equal(open_path(NULL), PACKLLM_OK);
}

static void test_files(void **state) {
    char kept[sizeof path];
    (void)state;
    (void)unlink(path);
    refused(PACKLLM_E_IO, "No such file");
    memcpy(kept, path, sizeof path);
    memcpy(path, folder, sizeof folder);
    refused(PACKLLM_E_IO, "it is a directory");
    memcpy(path, kept, sizeof path);
    assert_int_equal(mkfifo(path, 0600), 0);
    refused(PACKLLM_E_IO, "not a regular file");
    (void)unlink(path);
    refused_bytes("", 0, PACKLLM_E_IO, "it is empty");
    refused_bytes("GG", 2, PACKLLM_E_MODEL, "not a GGUF file");
    refused_bytes("PK\x03\x04 a zip file, say", 20, PACKLLM_E_MODEL, "not a GGUF file");
    refused_bytes("GGUF\x01\0\0\0", 8, PACKLLM_E_MODEL, "version 1");
    refused_bytes("GGUF\0\0\0\x03", 8, PACKLLM_E_MODEL, "another byte order");
    refused_bytes("GGUF\x03\0\0\0", 8, PACKLLM_E_MODEL, "truncated");
}

static void test_truncated(void **state) {
    (void)state;
    for (size_t size = 9; size < spm.size; size += size < 9000 ? 97 : 7919) {
        refused_bytes(spm.bytes, size, PACKLLM_E_MODEL, "truncated");
    }
    refused_bytes(spm.bytes, spm.size - 128, PACKLLM_E_MODEL, "truncated");
}

static void test_no_models(void **state) {
    (void)state;
    refused_made(made_without(&spm, "general.architecture"), "names no architecture");
    refused_made(made_set_u32(&spm, "general.architecture", 1), "names no architecture");
    refused_made(made_set_text(&spm, "general.type", "adapter"), "needs its base model");
    refused_made(made_set_u32(&spm, "split.count", 3), "llama-gguf-split");
}

static void test_architectures(void **state) {
    (void)state;
    refused_made(made_set_text(&spm, "general.architecture", "bert"), "an encoder");
    refused_made(made_set_text(&spm, "general.architecture", "gemma-embedding"), "embedding model");
    refused_made(made_set_text(&spm, "general.architecture", "t5"), "an encoder-decoder");
    refused_made(made_set_text(&spm, "general.architecture", "llada"), "a diffusion model");
    refused_made(made_set_text(&spm, "general.architecture", "clip"), "an image encoder");
    refused_made(made_set_text(&spm, "general.architecture", "nosuch"), "nosuch");
    refused_made(made_set_u32(&spm, "llama.pooling_type", 1), "embedding model");
    refused_made(made_set_bool(&spm, "llama.attention.causal", false),
                 "not predict the next token");
    /* An architecture that libllama does not know, with all numbers that we ask for. */
    struct made a = made_set_text(&spm, "general.architecture", "nosuch");
    struct made b = made_set_u32(&a, "nosuch.block_count", 2);
    struct made c = made_set_u32(&b, "nosuch.embedding_length", 32);
    refused_made(made_set_u32(&c, "nosuch.context_length", 128), "unknown model architecture");
    made_free(&a);
    made_free(&b);
    made_free(&c);
}

static void test_vocabularies(void **state) {
    (void)state;
    refused_made(made_without(&spm, "tokenizer.ggml.model"), "no tokenizer");
    refused_made(made_set_text(&spm, "tokenizer.ggml.model", "no_vocab"), "no tokenizer");
    refused_made(made_set_text(&spm, "tokenizer.ggml.model", "bert"), "WordPiece (WPM)");
    refused_made(made_set_text(&spm, "tokenizer.ggml.model", "t5"), "Unigram (UGM)");
    refused_made(made_set_text(&spm, "tokenizer.ggml.model", "rwkv"), "RWKV");
    refused_made(made_set_text(&spm, "tokenizer.ggml.model", "nosuch"),
                 "unknown tokenizer 'nosuch'");
    refused_made(made_without(&spm, "tokenizer.ggml.tokens"), "no usable vocabulary");
    refused_made(made_without(&bpe, "tokenizer.ggml.merges"), "without merges");
    refused_made(made_set_text(&bpe, "tokenizer.ggml.pre", "nosuch"), "nosuch");
    refused_made(made_set_u32(&spm, "tokenizer.ggml.eos_token_id", 9999), "eos_token_id");
    refused_made(made_set_text(&spm, "tokenizer.ggml.add_space_prefix", "x"), "add_space_prefix");
}

/* A SentencePiece vocabulary without a byte: libllama's tokenizer would throw. */
static void test_missing_byte(void **state) {
    struct made m = made_copy(spm.bytes, spm.size);
    (void)state;
    for (size_t i = 0; i + 6 < m.size; i++) {
        if (memcmp(m.bytes + i, "<0x07>", 6) == 0) {
            memcpy(m.bytes + i, "<0zz7>", 6);
        }
    }
    refused_made(m, "no token for byte 0x07");
}

static void test_duplicate_token(void **state) {
    struct made m = made_copy(spm.bytes, spm.size);
    (void)state;
    for (size_t i = 0; i + 6 < m.size; i++) {
        if (memcmp(m.bytes + i, "<0x07>", 6) == 0) {
            memcpy(m.bytes + i, "<0x08>", 6);
        }
    }
    refused_made(m, "twice");
}

static void test_numbers(void **state) {
    static const uint32_t heads[] = {4, 4, 4};
    (void)state;
    refused_made(made_set_u32(&spm, "llama.block_count", 0), "block_count");
    refused_made(made_set_u32(&spm, "llama.block_count", 100000), "block_count");
    refused_made(made_without(&spm, "llama.block_count"), "block_count");
    refused_made(made_set_text(&spm, "llama.context_length", "long"), "context_length");
    refused_made(made_set_u32(&spm, "llama.embedding_length", 64), "token weights");
    refused_made(made_set_u32(&spm, "llama.attention.head_count_kv", 3), "heads");
    refused_made(
        made_set_array(&spm, "llama.attention.head_count", GGUF_U32, 3, heads, sizeof heads),
        "head_count");
    refused_made(made_set_u32(&spm, "llama.rope.dimension_count", 7), "rope.dimension_count");
    refused_made(made_set_u32(&spm, "llama.expert_count", 8), "expert counts");
    refused_made(made_set_f32(&spm, "llama.attention.layer_norm_rms_epsilon", -1), "epsilon");
    refused_made(made_set_text(&spm, "llama.rope.scaling.type", "odd"), "rope.scaling.type");
    refused_made(made_set_u32(&spm, "general.alignment", 48), "general.alignment");
    refused_made(made_set_u32(&spm, "llama.feed_forward_length", 65), "could not be loaded");
}

/* Damaged weights load; what comes out of them is no number, and is refused as it comes. */
static enum packllm_status see(void *ctx, size_t item, const float *logits,
                               struct packllm_error *e) {
    (void)ctx, (void)item, (void)logits, (void)e;
    return PACKLLM_OK;
}

static void test_damaged_weights(void **state) {
    const struct packllm_member_spec spec = {.path = path, .n_gpu_layers = -1};
    const struct packllm_params params = {.n_threads = 1, .n_seq = 4};
    const struct member_item item = {.token = 5, .want_row = true};
    struct member *m = NULL;
    struct member_context *c = NULL;
    struct made broken = made_copy(spm.bytes, spm.size);
    (void)state;
    memset(broken.bytes + broken.size - 4096, 0xff, 4096); /* NaN */
    assert_true(made_save(&broken, path));
    made_free(&broken);
    assert_int_equal(member_llama_open(&m, &spec, 0, &params, &err), PACKLLM_OK);
    assert_int_equal(member_context_open(m, &c, &err), PACKLLM_OK);
    assert_int_equal(member_eval(c, &item, 1, see, NULL, &err), PACKLLM_E_MODEL);
    assert_non_null(strstr(err.message, "not numbers"));
    assert_int_equal(c->length[0], 0);
    member_context_close(c);
    member_close(m);
}

static void test_requests(void **state) {
    struct packllm_member_spec spec = {.path = path, .n_gpu_layers = -1};
    struct packllm_params params = {.n_threads = 1, .n_seq = 4};
    struct member *m = NULL;
    (void)state;
    assert_true(made_save(&spm, path));
    spec.n_ctx = 129;
    assert_int_equal(member_llama_open(&m, &spec, 0, &params, &err), PACKLLM_E_ARG);
    assert_non_null(strstr(err.message, "128"));
    spec.n_ctx = 3;
    assert_int_equal(member_llama_open(&m, &spec, 0, &params, &err), PACKLLM_E_ARG);
    spec.n_ctx = 0;
    params.n_seq = 65;
    assert_int_equal(member_llama_open(&m, &spec, 0, &params, &err), PACKLLM_E_ARG);
    params.n_seq = 4;
    params.n_ctx = 100000; /* the pack's wish: as much as the member has */
    assert_int_equal(member_llama_open(&m, &spec, 0, &params, &err), PACKLLM_OK);
    assert_int_equal(m->n_ctx, 128);
    member_close(m);
    spec.n_ctx = 64;
    assert_int_equal(member_llama_open(&m, &spec, 0, &params, &err), PACKLLM_OK);
    assert_int_equal(m->n_ctx, 64);
    assert_int_equal(m->n_ctx_train, 128);
    member_close(m);
    assert_int_equal(member_llama_open(&m, NULL, 0, &params, &err), PACKLLM_E_ARG);
    spec.path = NULL;
    assert_int_equal(member_llama_open(&m, &spec, 0, &params, &err), PACKLLM_E_ARG);
}

static bool cancel_at_once(void *data, int member, double share) {
    int *calls = data;
    assert_int_equal(member, 2);
    assert_true(share >= 0 && share <= 1);
    (*calls)++;
    return false;
}

static void test_cancelled_load(void **state) {
    int calls = 0;
    const struct packllm_member_spec spec = {.path = path, .n_gpu_layers = -1};
    const struct packllm_params params = {
        .n_threads = 1, .n_seq = 4, .progress = cancel_at_once, .progress_data = &calls};
    struct member *m = NULL;
    (void)state;
    assert_true(made_save(&spm, path));
    assert_int_equal(member_llama_open(&m, &spec, 2, &params, &err), PACKLLM_E_CANCELLED);
    assert_int_equal(calls, 1);
    assert_null(m);
}

static void count_line(void *data, int level, const char *line) {
    int *lines = data;
    assert_true(level >= 1 && level <= 4);
    assert_null(strchr(line, '\n'));
    (*lines)++;
}

static void test_log(void **state) {
    int lines = 0;
    const struct packllm_member_spec spec = {.path = path, .n_gpu_layers = -1};
    const struct packllm_params params = {
        .n_threads = 1, .n_seq = 4, .log = count_line, .log_data = &lines};
    struct member *m = NULL;
    (void)state;
    assert_true(made_save(&spm, path));
    assert_int_equal(member_llama_open(&m, &spec, 0, &params, &err), PACKLLM_OK);
    assert_true(lines > 5);
    member_close(m);
}

static int setup(void **state) {
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/packllm-refusals-%ld", (long)getpid());
    (void)snprintf(path, sizeof path, "%s/model.gguf", folder);
    spm = made_model(MADE_SPM, 1);
    bpe = made_model(MADE_BPE, 1);
    return mkdir(folder, 0700);
}

static int teardown(void **state) {
    (void)state;
    made_free(&spm);
    made_free(&bpe);
    (void)unlink(path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_ones),     cmocka_unit_test(test_files),
        cmocka_unit_test(test_truncated),     cmocka_unit_test(test_no_models),
        cmocka_unit_test(test_architectures), cmocka_unit_test(test_vocabularies),
        cmocka_unit_test(test_missing_byte),  cmocka_unit_test(test_duplicate_token),
        cmocka_unit_test(test_numbers),       cmocka_unit_test(test_damaged_weights),
        cmocka_unit_test(test_requests),      cmocka_unit_test(test_cancelled_load),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
