/* test_member_gguf.c - the strict reader of GGUF headers and the arithmetic on them. Goals: a good
 * file is read as it was written; every truncation and every damaged field is refused; the estimate
 * follows from the header. What libllama makes of damaged files: tests/model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "gguf_make.h"
#include "member/member_facts.h"
#include "member/member_gguf.h"

static struct made spm, bpe;
static struct packllm_error err;

static enum packllm_status parse(struct member_gguf *g, const struct made *m) {
    return member_gguf_parse(g, m->bytes, m->size, "member 'x' (x.gguf)", 1, &err);
}

static enum packllm_status check(const struct made *m, struct member_facts *facts) {
    struct member_gguf g;
    enum packllm_status s = parse(&g, m);
    s = s == PACKLLM_OK ? member_facts_check(facts, &g, "member 'x' (x.gguf)", 1, &err) : s;
    member_gguf_done(&g);
    return s;
}

static void test_reads_what_was_written(void **state) {
    struct member_gguf g;
    char text[32];
    uint64_t number = 0;
    double real = 0;
    size_t at = 0, size = 0;
    (void)state;
    assert_int_equal(parse(&g, &spm), PACKLLM_OK);
    assert_int_equal(g.version, 3);
    assert_int_equal(g.alignment, 32);
    assert_true(member_gguf_text(&g, member_gguf_find(&g, "general.architecture"), text, 32));
    assert_string_equal(text, "llama");
    assert_false(member_gguf_text(&g, member_gguf_find(&g, "general.architecture"), text, 5));
    assert_true(member_gguf_integer(&g, member_gguf_find(&g, "llama.block_count"), &number));
    assert_int_equal(number, 2);
    const struct member_gguf_kv *eps =
        member_gguf_find(&g, "llama.attention.layer_norm_rms_epsilon");
    assert_false(member_gguf_integer(&g, eps, &number));
    assert_true(member_gguf_element(&g, eps, 0, &real));
    assert_float_equal(real, 1e-5, 1e-9);
    assert_null(member_gguf_find(&g, "llama.block"));
    const struct member_gguf_kv *tokens = member_gguf_find(&g, "tokenizer.ggml.tokens");
    assert_int_equal(tokens->count, 274);
    assert_memory_equal(member_gguf_next_string(&g, tokens, &at, &size), "<unk>", 5);
    assert_memory_equal(member_gguf_next_string(&g, tokens, &at, &size), "<s>", 3);
    assert_int_equal(size, 3);
    const struct member_gguf_tensor *t = member_gguf_find_tensor(&g, "token_embd.weight");
    assert_int_equal(t->shape[0], 32);
    assert_int_equal(t->shape[1], 274);
    assert_int_equal(t->size, 32 * 274 * 4);
    assert_int_equal(g.data + g.tensor_bytes, spm.size);
    member_gguf_done(&g);
}

static void test_every_truncation(void **state) {
    (void)state;
    for (size_t size = 0; size < spm.size; size += size < 12000 ? 1 : 613) {
        struct member_gguf g;
        const struct made cut = {spm.bytes, size};
        if (parse(&g, &cut) != PACKLLM_E_MODEL) {
            fail_msg("%zu of %zu bytes were accepted", size, spm.size);
        }
        member_gguf_done(&g);
    }
}

static void test_opens_files(void **state) {
    struct member_gguf g;
    char path[64];
    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/packllm-gguf-%ld", (long)getpid());
    assert_true(made_save(&bpe, path));
    assert_int_equal(member_gguf_open(&g, path, "label", 0, &err), PACKLLM_OK);
    assert_int_equal(g.file_size, bpe.size);
    member_gguf_done(&g);
    (void)unlink(path);
    assert_int_equal(member_gguf_open(&g, path, "label", 4, &err), PACKLLM_E_IO);
    assert_int_equal(err.member, 4);
    assert_int_equal(member_gguf_open(&g, "/tmp", "label", 4, &err), PACKLLM_E_IO);
}

static void test_duplicate_names(void **state) {
    struct member_gguf g;
    struct made m = made_set_u32(&spm, "llama.block_counx", 2);
    (void)state;
    for (size_t i = 0; i + 17 < m.size; i++) {
        if (memcmp(m.bytes + i, "llama.block_counx", 17) == 0) {
            m.bytes[i + 16] = 't';
        }
    }
    assert_int_equal(parse(&g, &m), PACKLLM_E_MODEL);
    assert_non_null(strstr(err.message, "twice"));
    made_free(&m);
    m = made_copy(spm.bytes, spm.size);
    for (size_t i = 0; i + 12 < m.size; i++) {
        if (memcmp(m.bytes + i, "blk.1.ffn_up", 12) == 0) {
            m.bytes[i + 4] = '0';
        }
    }
    assert_int_equal(parse(&g, &m), PACKLLM_E_MODEL);
    made_free(&m);
}

static void test_arrays_of_layers(void **state) {
    static const int32_t two[] = {4, 4}, negative[] = {4, -4};
    struct member_facts facts;
    (void)state;
    struct made m = made_set_array(&spm, "llama.attention.head_count", GGUF_I32, 2, two, 8);
    assert_int_equal(check(&m, &facts), PACKLLM_OK);
    made_free(&m);
    m = made_set_array(&spm, "llama.attention.head_count", GGUF_I32, 2, negative, 8);
    assert_int_equal(check(&m, &facts), PACKLLM_E_MODEL);
    made_free(&m);
}

static void test_facts(void **state) {
    struct member_facts facts = {0};
    (void)state;
    assert_int_equal(check(&spm, &facts), PACKLLM_OK);
    assert_string_equal(facts.arch, "llama");
    assert_true(facts.space_prefix);
    assert_false(facts.whole_only);
    assert_int_equal(facts.n_vocab, 274);
    assert_int_equal(facts.n_ctx_train, 128);
    assert_int_equal(facts.n_ff, 64);
    /* 2 layers x 2 heads x (8 + 8) x 2 bytes */
    assert_int_equal(facts.kv_cell, 128);
    struct made m = made_set_bool(&spm, "tokenizer.ggml.add_space_prefix", false);
    assert_int_equal(check(&m, &facts), PACKLLM_OK);
    assert_false(facts.space_prefix);
    made_free(&m);
    assert_int_equal(check(&bpe, &facts), PACKLLM_OK);
    assert_false(facts.space_prefix);
}

static void test_memory(void **state) {
    struct member_facts facts = {0}, wide;
    struct packllm_memory small, large;
    (void)state;
    assert_int_equal(check(&spm, &facts), PACKLLM_OK);
    facts.n_ctx = 128;
    facts.n_seq = 12;
    facts.n_parallel = 1;
    assert_int_equal(member_llama_cells(128, 1, 12), 512); /* 128 + 12 x 32, whole 256es */
    member_facts_memory(&facts, &small);
    assert_int_equal(small.kv, 512 * 128);
    assert_int_equal(small.weights, facts.weights);
    assert_int_equal(small.total, small.weights + small.kv + small.buffers);
    wide = facts;
    wide.n_vocab = 262144;
    member_facts_memory(&wide, &large);
    assert_true(large.buffers - small.buffers > (uint64_t)128 * 262144 * 4);
    wide = facts;
    wide.n_ctx = 4096;
    member_facts_memory(&wide, &large);
    assert_int_equal(large.kv, 4608 * 128);
}

/* Random damage: refused or accepted, never read beyond the bytes (run under ASan). */
static void test_random_damage(void **state) {
    uint64_t rng = 20240601;
    int accepted = 0;
    (void)state;
    for (int i = 0; i < 4000; i++) {
        const struct made *from = i % 2 ? &spm : &bpe;
        struct made m = made_copy(from->bytes, from->size);
        struct member_facts facts;
        for (uint64_t n = 1 + rng_next(&rng) % 3; n > 0; n--) {
            m.bytes[rng_next(&rng) % 9000] = (uint8_t)rng_next(&rng);
        }
        accepted += check(&m, &facts) == PACKLLM_OK;
        made_free(&m);
    }
    assert_in_range(accepted, 1, 3999);
}

static void test_memory_failures(void **state) {
    enum packllm_status s = PACKLLM_E_MEMORY;
    (void)state;
    for (unsigned long nth = 1; s != PACKLLM_OK; nth++) {
        struct member_facts facts;
        alloc_fail_nth(nth);
        s = check(&spm, &facts);
        alloc_fail_nth(0);
        assert_true(s == PACKLLM_OK || s == PACKLLM_E_MEMORY);
        assert_true(nth < 50);
    }
}

static int setup(void **state) {
    (void)state;
    spm = made_model(MADE_SPM, 1);
    bpe = made_model(MADE_BPE, 1);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    made_free(&spm);
    made_free(&bpe);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_was_written),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_opens_files),
        cmocka_unit_test(test_duplicate_names),
        cmocka_unit_test(test_arrays_of_layers),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
