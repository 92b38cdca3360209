/* test_member_rules.c - our own tokenizer rules against libllama's, on the vocabularies that come with
 * libllama and on those of the default pack. Goals: the ids of the recorded cases (.inp, .out), all of
 * them; the same ids as llama_tokenize on random texts of many scripts; every code point is of the kind
 * that libllama takes it for; long runs take no longer than they should; at most 64 bytes a token.
 * PACKLLM_RANDOM=10000 makes more random texts, PACKLLM_SEED others. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "member/member.h"
#include "member/member_gguf.h"
#include "oracle.h"
#include "shared.h"

static struct packllm_error err;

struct file {
    char path[1024];
    struct member *member;
    struct oracle oracle;
    struct canon_work work;
};

static const char *const names[] = {
    "aquila",
    "baichuan",
    "command-r",
    "deepseek-coder",
    "deepseek-llm",
    "falcon",
    "gemma-4",
    "gpt-2",
    "gpt-neox",
    "llama-bpe",
    "llama-spm",
    "mpt",
    "phi-3",
    "qwen2",
    "qwen35",
    "refact",
    "starcoder",
    "*SmolLM2-135M-Instruct.Q4_1.gguf",
    "*gemma-3-270m-q4_k_m.gguf",
};
enum { N_NAMES = sizeof names / sizeof *names };

static void close_file(struct file *f) {
    canon_work_done(&f->work);
    member_close(f->member);
    oracle_close(&f->oracle);
}

static bool open_file(struct file *f, const char *name) {
    *f = (struct file){0};
    const char *prefix = getenv("PACKLLM_LLAMA_PREFIX");
    if (name[0] == '*') {
        if (!shared_pack_path(f->path, sizeof f->path, name + 1)) {
            return false;
        }
    } else {
        (void)snprintf(f->path, sizeof f->path, "%s/share/llama/vocab/ggml-vocab-%s.gguf",
                       prefix != NULL ? prefix : "", name);
        FILE *there = fopen(f->path, "rb");
        if (there == NULL) {
            return false;
        }
        (void)fclose(there);
    }
    struct packllm_member_spec spec = packllm_member_spec_default();
    struct packllm_params params = packllm_params_default();
    struct llama_model_params mp = llama_model_default_params();
    struct llama_model_kv_override overrides[] = {
        {.tag = LLAMA_KV_OVERRIDE_TYPE_BOOL, .key = "tokenizer.ggml.add_space_prefix"},
        {.tag = LLAMA_KV_OVERRIDE_TYPE_BOOL, .key = ""},
    };
    spec.path = f->path;
    enum packllm_status s = member_llama_vocabulary(&f->member, &spec, 0, &params, &err);
    if (s != PACKLLM_OK) {
        print_error("%s: %s\n", name, err.message);
    }
    assert_int_equal(s, PACKLLM_OK);
    llama_log_set(oracle_quiet, NULL);
    mp.vocab_only = true;
    mp.kv_overrides = overrides;
    f->oracle.model = llama_model_load_from_file(f->path, mp);
    assert_non_null(f->oracle.model);
    f->oracle.vocab = llama_model_get_vocab(f->oracle.model);
    return true;
}

/* Own ids of text; of a vocabulary that puts a space first, of " " + text. */
static size_t own(struct file *f, const char *text, size_t size) {
    assert_int_equal(canon_encode(f->member->canon, &f->work, text, size, 0, &err), PACKLLM_OK);
    return f->work.n;
}

/* ---- recorded cases ---------------------------------------------------------------------------- */

static unsigned recorded(struct file *f) {
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char path[1100];
    size_t size = 0, out_size = 0;
    (void)snprintf(path, sizeof path, "%s.inp", f->path);
    char *in = (char *)shared_read(path, &size);
    (void)snprintf(path, sizeof path, "%s.out", f->path);
    char *out = (char *)shared_read(path, &out_size);
    if (in == NULL || out == NULL) {
        free(in);
        free(out);
        return 0;
    }
    in[size] = out[out_size] = '\0';
    unsigned n = 0;
    char *line = out;
    for (char *text = in, *next; text != NULL && *line != '\0'; text = next) {
        next = strstr(text, mark);
        size_t length = next != NULL ? (size_t)(next - text) : strlen(text);
        next = next != NULL ? next + sizeof mark - 1 : NULL;
        char spaced[4096];
        size_t lead = f->member->space_prefix && length > 0;
        spaced[0] = ' ';
        assert_true(length + 2 < sizeof spaced);
        memcpy(spaced + lead, text, length);
        size_t got = own(f, spaced, lead + length), k = 0;
        char *end = strchr(line, '\n');
        for (char *at = line; at < end; k++) {
            char *behind = at;
            long id = strtol(at, &behind, 10);
            if (behind == at || behind > end) {
                break;
            }
            CHECK_CASE(n, k < got && f->work.id[k] == id, "%s: '%.*s' at %zu: %d, not %ld", f->path,
                       (int)length, text, k, k < got ? f->work.id[k] : -1, id);
            at = behind;
        }
        CHECK_CASE(n, k == got, "%s: '%.*s': %zu tokens, not %zu", f->path, (int)length, text, got,
                   k);
        n++;
        line = end + 1;
    }
    free(in);
    free(out);
    return n;
}

/* ---- random texts ------------------------------------------------------------------------------ */

static uint64_t state_of;

static uint32_t below(uint32_t n) {
    state_of = state_of * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)((state_of >> 33) % n);
}

static size_t put_code(char *out, uint32_t code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; code >>= 6) {
        out[i] = (char)(0x80 | (code & 0x3f));
    }
    out[0] = (char)(leads[n] | code);
    return n;
}

static uint32_t any_code(void) {
    static const uint32_t blocks[][2] = {
        {0x20, 0x7f},       {0xa0, 0x250},      {0x300, 0x370},     {0x370, 0x530},
        {0x590, 0x700},     {0x900, 0xa00},     {0xe00, 0xe80},     {0x1100, 0x1200},
        {0x2000, 0x2070},   {0x20a0, 0x2c00},   {0x3000, 0x3100},   {0x3400, 0x3420},
        {0x4e00, 0x9fff},   {0xac00, 0xd7a4},   {0xf900, 0xfb00},   {0xfe00, 0x10000},
        {0x1f300, 0x1fb00}, {0x20000, 0x20100}, {0x10400, 0x10500}, {0x1, 0x20},
    };
    if (below(40) == 0) {
        uint32_t code = 1 + below(0x10ffff);
        return code >= 0xd800 && code < 0xe000 ? 0x3042 : code;
    }
    size_t b = below(sizeof blocks / sizeof *blocks);
    return blocks[b][0] + below(blocks[b][1] - blocks[b][0]);
}

/* A few pieces of all kinds, at most `room` bytes; never U+2581, which libllama takes for a space. */
static size_t random_text(const struct file *f, char *out, size_t room) {
    static const char *const words[] = {
        "'s",
        "'S",
        "'re",
        "'LL",
        "'ve",
        "'",
        "''",
        "can't",
        " the",
        "The",
        "HTTPServer",
        "x",
        " I",
        "don",
        "\n",
        "\r\n",
        "\n\n\n",
        "\t",
        "  ",
        "    ",
        " ",
        "\xc2\xa0",
        "\xe3\x80\x80",
        "...",
        "!?",
        " -- ",
        "==",
        "{}();",
        "//",
        "\\n",
        "</s>",
        "<b>",
        "<|endoftext|>",
        "<unk>",
        "[PAD1]",
        "<0x0A>",
        "123",
        "1234567",
        " 3.14",
        "0x1f",
        "caf\xc3\xa9",
        "e\xcc\x81",
        "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb",
        "\xe4\xb8\xad\xe6\x96\x87",
        "IMGIMGABCZ",
        "<sentinel:12>",
        "\xef\xbc\x8c",
        "\xe2\x80\x99s",
        "\xd9\xa1\xd9\xa2\xd9\xa3\xd9\xa4",
    };
    size_t n = 0;
    for (uint32_t left = 1 + below(14); left > 0 && n + 300 < room; left--) {
        uint32_t kind = below(10), times = 1 + below(below(6) == 0 ? 40 : 4);
        if (kind < 4) {
            const char *word = words[below(sizeof words / sizeof *words)];
            memcpy(out + n, word, strlen(word));
            n += strlen(word);
        } else if (kind == 4) { /* a run of one character */
            static const char runs[] = " \n\t1-=a.'\r";
            memset(out + n, runs[below(sizeof runs - 1)], times);
            n += times;
        } else if (kind < 7) { /* what some token spells */
            int32_t id = (int32_t)below(f->member->table.n);
            uint32_t size = vocab_size(&f->member->table, id);
            const uint8_t *bytes = vocab_bytes(&f->member->table, id);
            bool ascii = size < 100;
            for (uint32_t i = 0; i < size && ascii; i++) {
                ascii = bytes[i] < 0x80;
            }
            if (ascii) {
                memcpy(out + n, bytes, size);
                n += size;
            }
        } else if (kind == 7) { /* letters, digits and punctuation */
            for (uint32_t i = 0; i < times; i++) {
                out[n++] = (char)(0x21 + below(0x5e));
            }
        } else {
            for (uint32_t i = 0; i < 1 + below(5); i++) {
                uint32_t code = any_code();
                n += put_code(out + n, code == 0x2581 ? 'q' : code);
            }
        }
    }
    return n;
}

static void compare(struct file *f, uint64_t seed, const char *text, size_t size) {
    static llama_token ids[8192];
    int32_t n = oracle_tokenize(&f->oracle, text, size, false, ids, 8192);
    size_t got = own(f, text, size), k = 0;
    while (k < got && (int32_t)k < n && f->work.id[k] == ids[k]) {
        k++;
    }
    if (n >= 0 && k == got && got == (size_t)n) {
        return;
    }
    print_error("%s: seed %llu: %zu tokens, not %d; at %zu: %d, not %d\ntext:", f->path,
                (unsigned long long)seed, got, n, k, k < got ? f->work.id[k] : -1,
                (int32_t)k < n ? ids[k] : -1);
    for (size_t i = 0; i < size; i++) {
        print_error((uint8_t)text[i] > 0x20 && (uint8_t)text[i] < 0x7f ? "%c" : "\\x%02x",
                    (unsigned)(uint8_t)text[i]);
    }
    print_error("\n");
    fail();
}

static void random_texts(struct file *f, uint64_t n) {
    char text[2048];
    uint64_t first = check_first_seed();
    for (uint64_t seed = first; seed < first + n; seed++) {
        state_of = seed * 0x9e3779b97f4a7c15U;
        size_t size = random_text(f, text, sizeof text);
        compare(f, seed, text, size);
    }
}

/* ---- the tests --------------------------------------------------------------------------------- */

static void all_files(void **state) {
    (void)state;
    const char *more = getenv("PACKLLM_RANDOM");
    uint64_t n_random = more != NULL ? strtoull(more, NULL, 10) : 200;
    unsigned files = 0, cases = 0;
    for (size_t i = 0; i < N_NAMES; i++) {
        struct file f;
        if (!open_file(&f, names[i])) {
            continue;
        }
        if (f.member->canon == NULL) {
            print_error("%s: its rules are not known\n", names[i]);
        }
        assert_non_null(f.member->canon);
        double each = (double)canon_memory(f.member->canon) / f.member->table.n;
        unsigned n = recorded(&f);
        clock_t begin = clock();
        random_texts(&f, n_random);
        print_message("%-18.18s %6u tokens, %4.1f bytes each, %2u cases, %llu texts in %.1f s\n",
                      names[i], f.member->table.n, each, n, (unsigned long long)n_random,
                      (double)(clock() - begin) / CLOCKS_PER_SEC);
        assert_true(each <= 64.0);
        files++;
        cases += n;
        close_file(&f);
    }
    if (files == 0) {
        print_message(
            "no vocabularies in $PACKLLM_LLAMA_PREFIX/share/llama/vocab, no default pack\n");
        exit(77);
    }
    print_message("%u files, %u cases\n", files, cases);
}

/* GPT-2's tokens and merges behind every pretokeniser: libllama is told another name for it. */
static struct canon *with_pre(struct file *f, const char *pre) {
    struct member_gguf g;
    uint32_t n = (uint32_t)llama_vocab_n_tokens(f->oracle.vocab);
    struct canon_token *tokens = calloc(n, sizeof *tokens);
    assert_int_equal(member_gguf_open(&g, f->path, "file", 0, &err), PACKLLM_OK);
    const struct member_gguf_kv *kv = member_gguf_find(&g, "tokenizer.ggml.merges");
    struct canon_text *merges = calloc((size_t)kv->count, sizeof *merges);
    assert_non_null(tokens);
    assert_non_null(merges);
    for (uint32_t i = 0; i < n; i++) {
        tokens[i].text = llama_vocab_get_text(f->oracle.vocab, (llama_token)i);
        tokens[i].size = (uint32_t)strlen(tokens[i].text);
    }
    size_t at = 0;
    for (uint64_t i = 0; i < kv->count; i++) {
        merges[i].bytes = member_gguf_next_string(&g, kv, &at, &merges[i].size);
    }
    struct canon_source source = {.model = CANON_BYTE_PAIRS,
                                  .pre = pre,
                                  .tokens = tokens,
                                  .n_tokens = n,
                                  .merges = merges,
                                  .n_merges = (uint32_t)kv->count};
    struct canon *c = NULL;
    enum packllm_status s = canon_open(&c, &source, &err);
    free(tokens);
    free(merges);
    member_gguf_done(&g);
    assert_int_equal(s, PACKLLM_OK);
    return c;
}

static void pretokenisers(void **state) {
    (void)state;
    static const char *const pres[] = {
        "default",      "llama-bpe",      "dbrx",        "jais-2",     "minicpm5",
        "deepseek-llm", "deepseek-coder", "deepseek-v3", "spark2_5",   "youtu",
        "falcon",       "smollm",         "qwen2",       "qwen35",     "bloom",
        "viking",       "tekken",         "chameleon",   "gpt-4o",     "granite-embed-multi-97m",
        "tiny_aya",     "kimi-k2",        "superbpe",    "bailingmoe", "seed-coder",
        "ufakzeka",     "afmoe",          "laguna",      "exaone-moe", "glm4",
    };
    const char *more = getenv("PACKLLM_RANDOM");
    uint64_t n_random = more != NULL ? strtoull(more, NULL, 10) : 30;
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) {
        struct file f;
        if (!open_file(&f, "gpt-2")) {
            skip();
        }
        llama_model_free(f.oracle.model);
        struct llama_model_params mp = llama_model_default_params();
        struct llama_model_kv_override overrides[] = {
            {.tag = LLAMA_KV_OVERRIDE_TYPE_STR, .key = "tokenizer.ggml.pre"},
            {.tag = LLAMA_KV_OVERRIDE_TYPE_BOOL, .key = ""},
        };
        (void)snprintf(overrides[0].val_str, sizeof overrides[0].val_str, "%s", pres[i]);
        mp.vocab_only = true;
        mp.kv_overrides = overrides;
        f.oracle.model = llama_model_load_from_file(f.path, mp);
        assert_non_null(f.oracle.model);
        f.oracle.vocab = llama_model_get_vocab(f.oracle.model);
        const struct canon *real = f.member->canon;
        struct canon *c = with_pre(&f, pres[i]);
        f.member->canon = c;
        (void)snprintf(f.path, sizeof f.path, "gpt-2 as %s", pres[i]);
        random_texts(&f, n_random);
        f.member->canon = real;
        canon_close(c);
        close_file(&f);
    }
}

/* Each code point between letters, digits, spaces and punctuation: the cuts show its kind. */
static void code_points(void **state) {
    (void)state;
    static const char *const which[] = {"gpt-2", "deepseek-coder", "qwen35"};
    for (size_t i = 0; i < 3; i++) {
        struct file f;
        if (!open_file(&f, which[i])) {
            skip();
        }
        char text[2048];
        size_t n = 0;
        for (uint32_t code = 1; code <= 0x10ffff; code++) {
            if ((code >= 0xd800 && code < 0xe000) || code == 0x2581) {
                continue;
            }
            text[n++] = 'a';
            n += put_code(text + n, code);
            text[n++] = '.';
            n += put_code(text + n, code);
            memcpy(text + n, "1 ", 2);
            n += 2;
            n += put_code(text + n, code);
            if (n > 1000 || code == 0x10ffff) {
                compare(&f, code, text, n);
                n = 0;
            }
        }
        close_file(&f);
    }
}

static double seconds(struct file *f, const char *text, size_t size) {
    struct timespec a, b;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    (void)own(f, text, size);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    return (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
}

static void long_runs(void **state) {
    (void)state;
    static const char *const fill[] = {"a", "\n", " ", "1", "=", "aB", "\xe4\xb8\xad", " \n", "' "};
    enum { BIG = 1 << 20 };
    char *text = malloc(BIG + 8);
    assert_non_null(text);
    for (size_t i = 0; i < N_NAMES; i++) {
        struct file f;
        if ((i % 4 != 0 && names[i][0] != '*') || !open_file(&f, names[i])) {
            continue;
        }
        double worst = 0.0;
        for (size_t k = 0; k < sizeof fill / sizeof *fill; k++) {
            size_t n = 0;
            for (; n < BIG; n += strlen(fill[k])) {
                memcpy(text + n, fill[k], strlen(fill[k]));
            }
            double taken = seconds(&f, text, n);
            worst = taken > worst ? taken : worst;
        }
        print_message("%-18.18s a megabyte of one kind: at most %.2f s\n", names[i], worst);
        assert_true(worst < 20.0);
        close_file(&f);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_files),
        cmocka_unit_test(pretokenisers),
        cmocka_unit_test(code_points),
        cmocka_unit_test(long_runs),
    };
    const char *only = getenv("PACKLLM_ONLY");
    if (only != NULL) {
        cmocka_set_test_filter(only);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
