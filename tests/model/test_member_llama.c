/* test_member_llama.c - members on libllama, with tiny models. Goals: ids and mean NLL as a separate
 * program measured them (shared/models/README.md); the same rows however a history came about
 * (chunks, forks, rollbacks, several sequences); pieces spell the text; cancel and failure leave a
 * usable context; the oracle agrees. Shared models missing: those tests are skipped and say so. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf_make.h"
#include "member/member.h"
#include "oracle.h"
#include "shared.h"

enum { TOKENS_MAX = 512 };
/* Rows of the same history through different batch shapes differ in the last bits. */
static const double tolerance = 2e-3;

static struct packllm_error err;
static int32_t threads = 1;

struct bench {
    struct member *m;
    struct member_context *c;
    int32_t tokens[TOKENS_MAX];
    size_t n;
    float *rows; /* [rows_max][n_vocab] */
    size_t rows_max;
    size_t n_rows;
    size_t cancel_at; /* row at which flag is set; SIZE_MAX: none */
    atomic_bool flag;
};

static enum packllm_status keep_row(void *ctx, size_t item, const float *logits,
                                    struct packllm_error *e) {
    struct bench *b = ctx;
    (void)item, (void)e;
    assert_true(b->n_rows < b->rows_max);
    memcpy(b->rows + b->n_rows * b->m->table.n, logits, b->m->table.n * sizeof *logits);
    if (b->n_rows++ == b->cancel_at) {
        atomic_store(&b->flag, true);
    }
    return PACKLLM_OK;
}

static bool bench_open(struct bench *b, const char *path, uint32_t n_seq) {
    const struct packllm_member_spec spec = {.path = path, .n_gpu_layers = -1};
    const struct packllm_params params = {.n_threads = threads, .n_seq = n_seq};
    *b = (struct bench){.cancel_at = SIZE_MAX};
    if (member_llama_open(&b->m, &spec, 0, &params, &err) != PACKLLM_OK ||
        member_context_open(b->m, &b->c, &err) != PACKLLM_OK) {
        fail_msg("%s", err.message);
    }
    b->rows_max = b->m->table.n < 1000 ? TOKENS_MAX : 4;
    b->rows = calloc(b->rows_max * b->m->table.n, sizeof *b->rows);
    return b->rows != NULL;
}

static void bench_close(struct bench *b) {
    member_context_close(b->c);
    member_close(b->m);
    free(b->rows);
}

static void bench_shared(struct bench *b, const char *name) {
    char path[512];
    if (!shared_path(path, sizeof path, name)) {
        print_message("skipped: %s is not there (PACKLLM_SHARED)\n", name);
        skip();
    }
    assert_true(bench_open(b, path, 6));
}

static void text_tokens(struct bench *b, const char *text) {
    b->tokens[0] = b->m->start;
    if (member_tokenize(b->m, text, strlen(text), b->tokens + 1, TOKENS_MAX - 1, &b->n, &err) !=
        PACKLLM_OK) {
        fail_msg("%s", err.message);
    }
    b->n++;
}

static enum packllm_status eval(struct bench *b, int32_t seq, size_t from, size_t to, bool rows) {
    struct member_item items[TOKENS_MAX];
    for (size_t i = from; i < to; i++) {
        items[i - from] = (struct member_item){.token = b->tokens[i], .seq = seq, .want_row = rows};
    }
    return member_eval(b->c, items, to - from, keep_row, b, &err);
}

static double logprob(const struct bench *b, size_t row, int32_t token) {
    const float *logits = b->rows + row * b->m->table.n;
    double max = (double)logits[0], sum = 0;
    for (uint32_t i = 0; i < b->m->table.n; i++) {
        max = fmax(max, (double)logits[i]);
    }
    for (uint32_t i = 0; i < b->m->table.n; i++) {
        sum += exp((double)logits[i] - max);
    }
    return (double)logits[token] - max - log(sum);
}

static double mean_nll(const struct bench *b) {
    double sum = 0;
    for (size_t i = 0; i + 1 < b->n; i++) {
        sum -= logprob(b, i, b->tokens[i + 1]);
    }
    return sum / (double)(b->n - 1);
}

static void assert_rows_near(const struct bench *b, size_t row, size_t other) {
    const float *p = b->rows + row * b->m->table.n, *q = b->rows + other * b->m->table.n;
    double most = 0;
    for (uint32_t i = 0; i < b->m->table.n; i++) {
        most = fmax(most, fabs((double)p[i] - (double)q[i]));
    }
    if (most > tolerance) {
        fail_msg("rows %zu and %zu differ by %g", row, other, most);
    }
}

/* ---- known values -------------------------------------------------------------------------- */

static const char lily[] = "Once upon a time, there was a little girl named Lily.";
static const char dream[] =
    "I drift through a neural forest, where threads of light pulse in the dark.";
static const int32_t lily_ids[] = {1,   403, 407, 261, 378, 432, 383, 286,
                                   261, 376, 298, 315, 421, 395, 317, 426};
static const int32_t dream_ids[] = {1,   303, 281, 322, 443, 434, 391, 262, 324, 430,
                                    291, 290, 279, 284, 260, 434, 446, 272, 439, 261,
                                    430, 277, 269, 336, 431, 275, 308, 305, 434, 280,
                                    444, 438, 431, 430, 301, 312, 281, 278, 453, 448};

static void known(const char *model, const char *text, const int32_t *ids, size_t n, double nll) {
    struct bench b;
    bench_shared(&b, model);
    assert_true(b.m->space_prefix);
    assert_int_equal(b.m->start, 1);
    text_tokens(&b, text);
    assert_int_equal(b.n, n);
    assert_memory_equal(b.tokens, ids, n * sizeof *ids);
    assert_int_equal(eval(&b, 0, 0, b.n, true), PACKLLM_OK);
    assert_int_equal(b.n_rows, n);
    if (fabs(mean_nll(&b) - nll) > 2e-4) {
        fail_msg("%s: mean NLL %.6f, expected %.4f", model, mean_nll(&b), nll);
    }
    assert_int_equal(b.c->forwards, n);
    assert_true(b.c->seconds > 0);
    bench_close(&b);
}

static void test_known_values(void **state) {
    (void)state;
    known("models/stories260K.gguf", lily, lily_ids, 16, 0.1001);
    known("models/llama2xs260K.gguf", lily, lily_ids, 16, 0.1541);
    known("models/aidreams260K.gguf", dream, dream_ids, 40, 2.5411);
}

static void test_greedy_text(void **state) {
    static const char expected[] =
        ", there was a little girl named Lily. She loved to play outside in the park. One day, she "
        "saw a big, red ball. She wanted to play with it, but it was too high.";
    struct bench b;
    char text[512];
    size_t size = 0;
    (void)state;
    bench_shared(&b, "models/stories260K.gguf");
    text_tokens(&b, "Once upon a time");
    assert_int_equal(eval(&b, 0, 0, b.n, true), PACKLLM_OK);
    while (size < sizeof expected - 1) {
        const float *row = b.rows + (b.n_rows - 1) * b.m->table.n;
        int32_t best = 0;
        for (int32_t i = 1; i < (int32_t)b.m->table.n; i++) {
            best = row[i] > row[best] ? i : best;
        }
        memcpy(text + size, vocab_bytes(&b.m->table, best), vocab_size(&b.m->table, best));
        size += vocab_size(&b.m->table, best);
        b.tokens[b.n++] = best;
        assert_int_equal(eval(&b, 0, b.n - 1, b.n, true), PACKLLM_OK);
    }
    assert_memory_equal(text, expected, sizeof expected - 1);
    bench_close(&b);
}

/* ---- histories ----------------------------------------------------------------------------- */

static const char longer[] =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but it was too high. Lily's mom "
    "said, \"Lily, let's go to the park.\" Lily was sad and didn't know what to do. She said, \"I "
    "will be your friend too.\" They played together in the sun all day long, and ran and jumped.";

static void test_chunks_forks_rollbacks(void **state) {
    struct bench b;
    (void)state;
    bench_shared(&b, "models/stories260K.gguf");
    text_tokens(&b, longer);
    assert_true(b.n > 130); /* more than two chunks of rows */
    size_t n = 100;
    assert_int_equal(eval(&b, 0, 0, b.n, true), PACKLLM_OK);
    size_t fresh = b.n_rows;
    assert_int_equal(fresh, b.n);
    /* In uneven pieces, without most of the rows. */
    assert_int_equal(eval(&b, 1, 0, 7, false), PACKLLM_OK);
    assert_int_equal(eval(&b, 1, 7, n - 1, false), PACKLLM_OK);
    assert_int_equal(eval(&b, 1, n - 1, n, true), PACKLLM_OK);
    assert_rows_near(&b, n - 1, fresh);
    /* A fork from the middle continues as the original did. */
    assert_int_equal(member_fork(b.c, 2, 0, (uint32_t)n, &err), PACKLLM_OK);
    assert_int_equal(b.c->length[2], n);
    assert_int_equal(eval(&b, 2, n, n + 1, true), PACKLLM_OK);
    assert_rows_near(&b, n, fresh + 1);
    /* A standby sequence that shares all but its tail. */
    b.tokens[n + 1]++;
    assert_int_equal(eval(&b, 2, n + 1, n + 3, false), PACKLLM_OK);
    b.tokens[n + 1]--;
    assert_int_equal(member_fork(b.c, 2, 0, (uint32_t)n + 5, &err), PACKLLM_OK);
    assert_int_equal(eval(&b, 2, n + 5, n + 6, true), PACKLLM_OK);
    assert_rows_near(&b, n + 5, fresh + 2);
    /* Back, then on. */
    assert_int_equal(member_truncate(b.c, 0, 20, &err), PACKLLM_OK);
    assert_int_equal(b.c->length[0], 20);
    assert_int_equal(eval(&b, 0, 20, 31, false), PACKLLM_OK);
    assert_int_equal(eval(&b, 0, 31, 32, true), PACKLLM_OK);
    assert_rows_near(&b, 31, fresh + 3);
    /* Dropping the source leaves the fork. */
    assert_int_equal(member_truncate(b.c, 0, 0, &err), PACKLLM_OK);
    assert_int_equal(eval(&b, 2, n + 6, n + 7, true), PACKLLM_OK);
    assert_rows_near(&b, n + 6, fresh + 4);
    bench_close(&b);
}

static void test_several_sequences_in_one_batch(void **state) {
    struct bench b;
    struct member_item items[8];
    (void)state;
    bench_shared(&b, "models/stories260K.gguf");
    text_tokens(&b, lily);
    assert_int_equal(eval(&b, 0, 0, b.n, true), PACKLLM_OK);
    for (int32_t seq = 1; seq <= 3; seq++) {
        assert_int_equal(member_fork(b.c, seq, 0, 4U + (uint32_t)seq, &err), PACKLLM_OK);
    }
    for (int i = 0; i < 6; i++) { /* two tokens each, interleaved */
        int32_t seq = 1 + i % 3;
        items[i] =
            (struct member_item){.token = b.tokens[4 + seq + i / 3], .seq = seq, .want_row = true};
    }
    assert_int_equal(member_eval(b.c, items, 6, keep_row, &b, &err), PACKLLM_OK);
    for (size_t i = 0; i < 6; i++) {
        assert_rows_near(&b, 4 + 1 + i % 3 + i / 3, b.n + i);
    }
    bench_close(&b);
}

static void test_cancel(void **state) {
    struct bench b;
    (void)state;
    bench_shared(&b, "models/stories260K.gguf");
    text_tokens(&b, longer);
    assert_int_equal(eval(&b, 0, 0, 10, true), PACKLLM_OK);
    size_t fresh = b.n_rows;
    b.c->abort_flag = &b.flag;
    b.cancel_at = fresh + 66; /* in the second chunk of rows, so before the third */
    assert_int_equal(eval(&b, 0, 10, b.n, true), PACKLLM_E_CANCELLED);
    assert_int_equal(err.status, PACKLLM_E_CANCELLED);
    assert_int_equal(b.c->length[0], 10);
    assert_true(b.n_rows - fresh < b.n - 10);
    assert_int_equal(eval(&b, 0, 10, 11, true), PACKLLM_E_CANCELLED);
    assert_int_equal(b.c->length[0], 10);
    atomic_store(&b.flag, false);
    b.cancel_at = SIZE_MAX;
    size_t first = fresh;
    b.n_rows = first;
    assert_int_equal(eval(&b, 0, 10, 20, true), PACKLLM_OK); /* goes on as if nothing was */
    assert_int_equal(eval(&b, 1, 0, 20, true), PACKLLM_OK);
    for (size_t i = 10; i < 20; i++) {
        assert_rows_near(&b, first + i - 10, first + 10 + i);
    }
    bench_close(&b);
}

static void test_context_limits(void **state) {
    struct bench b;
    (void)state;
    bench_shared(&b, "models/aidreams260K.gguf");
    assert_int_equal(b.m->n_ctx, 128);
    for (size_t i = 0; i < 200; i++) {
        b.tokens[i] = 300;
    }
    assert_int_equal(eval(&b, 0, 0, 129, false), PACKLLM_E_CONTEXT);
    assert_non_null(strstr(err.message, "128"));
    assert_int_equal(b.c->length[0], 0);
    assert_int_equal(eval(&b, 0, 0, 128, false), PACKLLM_OK);
    assert_int_equal(eval(&b, 0, 0, 1, false), PACKLLM_E_CONTEXT);
    /* Cells are shared: forks are free, separate histories fill them. */
    assert_int_equal(member_fork(b.c, 1, 0, 127, &err), PACKLLM_OK);
    assert_int_equal(eval(&b, 1, 0, 1, true), PACKLLM_OK);
    enum packllm_status s = PACKLLM_OK;
    for (int32_t seq = 2; seq < 6 && s == PACKLLM_OK; seq++) {
        s = eval(&b, seq, 0, 128, false);
    }
    assert_int_equal(s, PACKLLM_E_CONTEXT);
    assert_non_null(strstr(err.message, "cells"));
    assert_int_equal(b.c->length[5], 0);
    assert_int_equal(member_truncate(b.c, 2, 0, &err), PACKLLM_OK);
    assert_int_equal(eval(&b, 5, 0, 100, false), PACKLLM_OK);
    bench_close(&b);
}

/* The same calls twice: the same bits; and with two threads as with one. */
static void test_same_bits(void **state) {
    struct bench b, two;
    (void)state;
    bench_shared(&b, "models/llama2xs260K.gguf");
    text_tokens(&b, lily);
    assert_int_equal(eval(&b, 0, 0, b.n, true), PACKLLM_OK);
    member_context_close(b.c);
    assert_int_equal(member_context_open(b.m, &b.c, &err), PACKLLM_OK);
    assert_int_equal(eval(&b, 0, 0, b.n, true), PACKLLM_OK);
    assert_memory_equal(b.rows, b.rows + b.n * b.m->table.n, b.n * b.m->table.n * sizeof *b.rows);
    threads = 2;
    bench_shared(&two, "models/llama2xs260K.gguf");
    threads = 1;
    text_tokens(&two, lily);
    assert_int_equal(eval(&two, 0, 0, two.n, true), PACKLLM_OK);
    assert_memory_equal(b.rows, two.rows, b.n * b.m->table.n * sizeof *b.rows);
    bench_close(&two);
    bench_close(&b);
}

/* ---- vocabularies -------------------------------------------------------------------------- */

static const char *const texts[] = {
    "a",
    " a",
    "  two  spaces ",
    "Lily's caf\xc3\xa9 costs 3\xe2\x82\xac.\n\nThe end.\t",
    "\xf0\x9f\x98\x80 emoji",
    "<b>bold</b> <s> </s> <|endoftext|> <0x41>",
    "a\xe2\x96\x81 b",
    "\xe2\x96\x81",
    "123 4567 \\ {x: [1]}",
    "\xe4\xbd\xa0\xe5\xa5\xbd",
};

/* member_tokenize checks that the pieces spell the text; here the pieces are looked at again. */
static void check_spelling(struct bench *b) {
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        char text[256] = "";
        size_t size = 0, skip_space = b->m->space_prefix;
        text_tokens(b, texts[t]);
        for (size_t i = 1; i < b->n; i++) {
            assert_true(vocab_is_text(&b->m->table, b->tokens[i]));
            memcpy(text + size, vocab_bytes(&b->m->table, b->tokens[i]),
                   vocab_size(&b->m->table, b->tokens[i]));
            size += vocab_size(&b->m->table, b->tokens[i]);
        }
        assert_int_equal(size, strlen(texts[t]) + skip_space);
        assert_true(!skip_space || text[0] == ' ');
        assert_memory_equal(text + skip_space, texts[t], strlen(texts[t]));
    }
}

static void open_made(struct bench *b, enum made_kind kind, char path[64]) {
    struct made m = made_model(kind, 1);
    (void)snprintf(path, 64, "/tmp/packllm-made-%ld.gguf", (long)getpid());
    assert_true(made_save(&m, path));
    made_free(&m);
    assert_true(bench_open(b, path, 4));
}

static void test_spelling_spm(void **state) {
    struct bench b;
    char path[64];
    (void)state;
    open_made(&b, MADE_SPM, path);
    assert_true(b.m->space_prefix);
    assert_int_equal(b.m->start, 1);
    assert_int_equal(b.m->table.kind[0], VOCAB_MASKED);
    assert_int_equal(b.m->table.kind[1], VOCAB_MASKED);
    assert_int_equal(b.m->table.kind[2], VOCAB_END);
    for (int32_t byte = 0; byte < 256; byte++) {
        assert_int_equal(b.m->table.kind[3 + byte], VOCAB_BYTE);
        assert_int_equal(vocab_size(&b.m->table, 3 + byte), 1);
        assert_int_equal(*vocab_bytes(&b.m->table, 3 + byte), byte);
    }
    assert_int_equal(vocab_size(&b.m->table, 259), 1); /* the space mark */
    assert_int_equal(*vocab_bytes(&b.m->table, 259), ' ');
    check_spelling(&b);
    bench_close(&b);
    (void)unlink(path);
}

static void test_spelling_bpe(void **state) {
    struct bench b;
    char path[64];
    size_t n = 0;
    int32_t out[8];
    (void)state;
    open_made(&b, MADE_BPE, path);
    assert_false(b.m->space_prefix);
    assert_int_equal(b.m->start, MADE_BPE_END); /* not the BOS that the file names */
    assert_int_equal(b.m->table.kind[MADE_BPE_END], VOCAB_END);
    assert_int_equal(b.m->table.kind[MADE_BPE_USER], VOCAB_USER);
    assert_int_equal(b.m->table.kind[MADE_BPE_PAD], VOCAB_MASKED);
    assert_int_equal(b.m->table.kind[MADE_BPE_UNUSED], VOCAB_MASKED);
    check_spelling(&b);
    text_tokens(&b, "a<b>c");
    assert_int_equal(b.n, 4);
    assert_int_equal(b.tokens[2], MADE_BPE_USER);
    assert_int_equal(member_tokenize(b.m,
                                     "ab\x07"
                                     "c",
                                     4, out, 8, &n, &err),
                     PACKLLM_E_TEXT);
    assert_non_null(strstr(err.message, "0x07 at offset 2"));
    assert_int_equal(member_tokenize(b.m, "a\0c", 3, out, 8, &n, &err), PACKLLM_OK);
    assert_int_equal(n, 3);
    assert_int_equal(member_tokenize(b.m, "x y z x y z", 11, out, 8, &n, &err), PACKLLM_E_ARG);
    bench_close(&b);
    (void)unlink(path);
}

static void test_long_runs(void **state) {
    struct bench b;
    char path[64];
    const size_t size = 300000;
    char *text = malloc(size);
    int32_t *out = malloc((size + 1) * sizeof *out);
    size_t n = 0;
    (void)state;
    open_made(&b, MADE_BPE, path);
    memset(text, 'x', size);
    assert_int_equal(member_tokenize(b.m, text, size, out, size + 1, &n, &err), PACKLLM_OK);
    assert_int_equal(n, size);
    memset(text, ' ', size);
    assert_int_equal(member_tokenize(b.m, text, size, out, size + 1, &n, &err), PACKLLM_OK);
    bench_close(&b);
    (void)unlink(path);
    free(text);
    free(out);
}

/* ---- the oracle ---------------------------------------------------------------------------- */

static void test_oracle(void **state) {
    struct bench b;
    struct oracle o;
    char path[512], text[256];
    llama_token ids[TOKENS_MAX];
    (void)state;
    bench_shared(&b, "models/stories260K.gguf");
    assert_true(shared_path(path, sizeof path, "models/stories260K.gguf"));
    assert_true(oracle_open(&o, path, 512, 1));
    int32_t n = oracle_tokenize(&o, longer, strlen(longer), true, ids, TOKENS_MAX);
    text_tokens(&b, longer);
    assert_int_equal(n, b.n);
    assert_memory_equal(ids, b.tokens, b.n * sizeof *ids);
    assert_int_equal(eval(&b, 0, 0, b.n, true), PACKLLM_OK);
    assert_true(fabs(oracle_mean_nll(&o, ids, n) - mean_nll(&b)) < 1e-4);
    n = oracle_tokenize(&o, "Once upon a time", 16, true, ids, TOKENS_MAX);
    assert_int_equal(oracle_greedy(&o, ids, n, TOKENS_MAX, 8, text, sizeof text), 8);
    assert_string_equal(text, ", there was a little girl");
    oracle_close(&o);
    bench_close(&b);
}

/* ---- the default pack ---------------------------------------------------------------------- */

static void bench_pack(struct bench *b, const char *name) {
    char path[512];
    if (!shared_pack_path(path, sizeof path, name)) {
        print_message("skipped: %s is not in the cache (./bootstrap demo gets it)\n", name);
        skip();
    }
    assert_true(bench_open(b, path, 6));
}

static bool spells(struct bench *b, int32_t id, const char *text) {
    return vocab_size(&b->m->table, id) == strlen(text) &&
           memcmp(vocab_bytes(&b->m->table, id), text, strlen(text)) == 0;
}

static void test_smollm(void **state) {
    struct bench b;
    int32_t out[16];
    size_t n;
    (void)state;
    bench_pack(&b, "SmolLM2-135M-Instruct.Q4_1.gguf");
    assert_int_equal(b.m->table.n, 49152);
    assert_int_equal(b.m->start, 0); /* <|endoftext|>; its BOS would be <|im_start|> */
    assert_int_equal(b.m->table.kind[0], VOCAB_END);
    assert_int_equal(b.m->table.kind[1], VOCAB_MASKED);
    assert_int_equal(b.m->table.kind[2], VOCAB_END);    /* <|im_end|> */
    assert_int_equal(b.m->table.kind[3], VOCAB_MASKED); /* <repo_name>: eog says libllama */
    assert_false(b.m->space_prefix);
    check_spelling(&b);
    assert_int_equal(member_tokenize(b.m, "a\x04", 2, out, 16, &n, &err), PACKLLM_E_TEXT);
    assert_non_null(strstr(err.message, "0x04 at offset 1"));
    assert_int_equal(member_tokenize(b.m, "\xf1\x80\x80\x80", 4, out, 16, &n, &err),
                     PACKLLM_E_TEXT);
    bench_close(&b);
}

static void test_gemma(void **state) {
    struct bench b;
    (void)state;
    bench_pack(&b, "gemma-3-270m-q4_k_m.gguf");
    assert_int_equal(b.m->table.n, 262144);
    assert_int_equal(b.m->start, 2);
    assert_false(b.m->space_prefix);
    for (int32_t id = 0; id < 262144; id++) {
        assert_int_equal(b.m->table.kind[id] == VOCAB_END, id == 1 || id == 106);
    }
    text_tokens(&b, "\n\n\n<blockquote>   x");
    assert_int_equal(b.n, 5); /* user-defined tokens are cut out before any merge */
    assert_int_equal(b.m->table.kind[b.tokens[1]], VOCAB_USER);
    assert_true(spells(&b, b.tokens[1], "\n\n\n"));
    assert_true(spells(&b, b.tokens[2], "<blockquote>"));
    assert_true(spells(&b, b.tokens[3], "   "));
    check_spelling(&b);
    bench_close(&b);
}

/* A window of 512 tokens: a rollback further than that, and a fork from before it, are right. */
static void test_sliding_window(void **state) {
    struct bench b;
    enum { LONG = 700, SHORT = 60 };
    struct member_item *items = calloc(LONG, sizeof *items);
    (void)state;
    bench_pack(&b, "gemma-3-270m-q4_k_m.gguf");
    for (size_t i = 0; i < LONG; i++) {
        items[i] = (struct member_item){.token = i == 0 ? 2 : (int32_t)(1000 + i * 37), .seq = 0};
    }
    items[SHORT].want_row = true;
    assert_int_equal(member_eval(b.c, items, LONG, keep_row, &b, &err), PACKLLM_OK);
    assert_int_equal(member_fork(b.c, 1, 0, SHORT, &err), PACKLLM_OK);
    assert_int_equal(member_truncate(b.c, 0, SHORT, &err), PACKLLM_OK);
    struct member_item one = items[SHORT];
    assert_int_equal(member_eval(b.c, &one, 1, keep_row, &b, &err), PACKLLM_OK);
    one.seq = 1;
    assert_int_equal(member_eval(b.c, &one, 1, keep_row, &b, &err), PACKLLM_OK);
    for (size_t row = 1; row < 3; row++) {
        double p = logprob(&b, 0, 107), q = logprob(&b, row, 107);
        if (fabs(p - q) > 0.05) {
            fail_msg("after a rollback %g, before %g", q, p);
        }
    }
    bench_close(&b);
    free(items);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_greedy_text),
        cmocka_unit_test(test_chunks_forks_rollbacks),
        cmocka_unit_test(test_several_sequences_in_one_batch),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_context_limits),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_spelling_spm),
        cmocka_unit_test(test_spelling_bpe),
        cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_smollm),
        cmocka_unit_test(test_gemma),
        cmocka_unit_test(test_sliding_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
