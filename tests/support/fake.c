/* fake.c - see fake.h. */
#include "fake.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

struct merge {
    const char *left, *right;
};

/* In the order of their ranks: the first is merged first. */
static const struct merge nested[] = {
    {"b", "c"},   {"t", "h"},  {"a", "b"},   {"ab", "c"},  {"th", "e"}, {" ", "th"},
    {" ", "the"}, {"c", "d"},  {"bc", "d"},  {"a", "a"},   {"aa", "a"}, {"aa", "aa"},
    {"i", "n"},   {"in", "g"}, {"e", "r"},   {"th", "er"}, {" ", "a"},  {" a", "n"},
    {" ", "in"},  {"n", "g"},  {"\n", "\n"}, {NULL, NULL}};
static const struct merge utf8[] = {{"\x82", "\xac"},
                                    {"\xe2", "\x82"},
                                    {" ", "\xc3"},
                                    {"\xc3", "\xa9"},
                                    {"\xa9", "t"},
                                    {" \xc3", "\xa9"},
                                    {"\xe2\x82", "\xac"},
                                    {"\xf0", "\x9f"},
                                    {"\xf0\x9f", "\x98"},
                                    {"\x98", "\x80"},
                                    {"\xf0\x9f\x98", "\x80"},
                                    {"e", "\xcc"},
                                    {"t", "h"},
                                    {"th", "\xc3"},
                                    {NULL, NULL}};
static const struct merge fallback[] = {{"t", "h"}, {"th", "e"},       {" ", "the"}, {"i", "n"},
                                        {" ", "a"}, {"\xc3\xa9", "t"}, {"e", "r"},   {"b", "c"},
                                        {"a", "b"}, {"ab", "c"},       {NULL, NULL}};
static const struct merge user[] = {{"<", "b"}, {"t", "h"}, {"th", "e"}, {"\n", "a"},
                                    {" ", " "}, {"b", ">"}, {"x", "t"},  {NULL, NULL}};
static const struct merge none[] = {{NULL, NULL}};

static const struct merge *const merges_of[FAKE_VOCABULARIES] = {
    [FAKE_BYTES] = none,        [FAKE_NESTED] = nested, [FAKE_UTF8] = utf8,
    [FAKE_FALLBACK] = fallback, [FAKE_TWINS] = nested,  [FAKE_USER] = user,
    [FAKE_LACKING] = nested};

static const char *const user_tokens[] = {"\n\n", "\n\n\n", "<b>", "</b>", "   ", "the end", NULL};
static const char *const characters[] = {"\xc3\xa9", "\xe2\x82\xac", NULL}; /* of FAKE_FALLBACK */

enum { TOKENS_MAX = 640, BYTES_MAX = 8 };

struct fake {
    enum fake_vocabulary vocabulary;
    struct fake_params params;
    struct packllm_own_token tokens[TOKENS_MAX];
    char bytes[TOKENS_MAX][BYTES_MAX];
    enum vocab_kind kind[TOKENS_MAX];
    uint32_t n;
    int32_t start, end;
    struct {
        int32_t left, right, whole;
    } merge[64];
    uint32_t n_merges;
    atomic_ullong calls;
};

struct fake_params fake_params_default(void) {
    return (struct fake_params){.seed = 1, .scale = 4, .end_bias = -4, .n_ctx = 512};
}

static int32_t add(struct fake *f, const void *bytes, size_t size, enum vocab_kind kind) {
    if (f->n == TOKENS_MAX || size > BYTES_MAX) {
        abort();
    }
    memcpy(f->bytes[f->n], bytes, size);
    f->tokens[f->n] = (struct packllm_own_token){.bytes = f->bytes[f->n],
                                                 .size = size,
                                                 .end = kind == VOCAB_END,
                                                 .control = kind == VOCAB_MASKED};
    f->kind[f->n] = kind;
    return (int32_t)f->n++;
}

/* The first token of the kind with these bytes, or -1. */
static int32_t find(const struct fake *f, const void *bytes, size_t size, enum vocab_kind kind) {
    for (uint32_t i = 0; i < f->n; i++) {
        if (f->kind[i] == kind && f->tokens[i].size == size &&
            memcmp(f->bytes[i], bytes, size) == 0) {
            return (int32_t)i;
        }
    }
    return -1;
}

static void add_single(struct fake *f) {
    for (int i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        bool lacking =
            f->vocabulary == FAKE_LACKING && ((i >= 0x01 && i <= 0x08) || i == 'q' || i >= 0xf0);
        if (f->vocabulary == FAKE_FALLBACK) {
            (void)add(f, &byte, 1, VOCAB_BYTE);
        } else if (!lacking) {
            (void)add(f, &byte, 1, VOCAB_NORMAL);
        }
    }
    for (char c = ' '; f->vocabulary == FAKE_FALLBACK && c <= '~'; c++) {
        (void)add(f, &c, 1, VOCAB_NORMAL);
    }
    for (size_t i = 0; f->vocabulary == FAKE_FALLBACK && characters[i] != NULL; i++) {
        (void)add(f, characters[i], strlen(characters[i]), VOCAB_NORMAL);
    }
}

static void add_merges(struct fake *f) {
    const struct merge *list = merges_of[f->vocabulary];
    for (size_t i = 0; list[i].left != NULL; i++) {
        char whole[BYTES_MAX * 2 + 1];
        int32_t left = find(f, list[i].left, strlen(list[i].left), VOCAB_NORMAL);
        int32_t right = find(f, list[i].right, strlen(list[i].right), VOCAB_NORMAL);
        int size = snprintf(whole, sizeof whole, "%s%s", list[i].left, list[i].right);
        int32_t id = find(f, whole, (size_t)size, VOCAB_NORMAL);
        id = id >= 0 ? id : add(f, whole, (size_t)size, VOCAB_NORMAL);
        if (left < 0 || right < 0 || f->n_merges == sizeof f->merge / sizeof *f->merge) {
            abort();
        }
        f->merge[f->n_merges].left = left;
        f->merge[f->n_merges].right = right;
        f->merge[f->n_merges++].whole = id;
    }
}

struct fake *fake_open(enum fake_vocabulary vocabulary, const struct fake_params *params) {
    struct fake *f = calloc(1, sizeof *f);
    if (f == NULL) {
        abort();
    }
    f->vocabulary = vocabulary;
    f->params = params != NULL ? *params : fake_params_default();
    f->start = add(f, "<s>", 3, VOCAB_MASKED);
    f->end = add(f, "</s>", 4, VOCAB_END);
    add_single(f);
    add_merges(f);
    for (size_t i = 0; vocabulary == FAKE_USER && user_tokens[i] != NULL; i++) {
        (void)add(f, user_tokens[i], strlen(user_tokens[i]), VOCAB_USER);
    }
    for (uint32_t i = 0, n = f->n; vocabulary == FAKE_TWINS && i < n; i++) {
        if (f->kind[i] == VOCAB_NORMAL && (f->tokens[i].size > 1 || f->bytes[i][0] == 'a')) {
            (void)add(f, f->bytes[i], f->tokens[i].size, VOCAB_NORMAL);
        }
    }
    (void)add(f, "<pad>", 5, VOCAB_MASKED);
    return f;
}

void fake_close(struct fake *f) {
    free(f);
}

uint32_t fake_size(const struct fake *f) {
    return f->n;
}

int32_t fake_end(const struct fake *f) {
    return f->end;
}

uint64_t fake_calls(const struct fake *f) {
    return atomic_load(&f->calls);
}

void fake_mark_kinds(const struct fake *f, struct vocab_table *table) {
    for (uint32_t i = 0; i < f->n; i++) {
        table->kind[i] = (uint8_t)f->kind[i];
    }
}

/* ---- tokenizer ----------------------------------------------------------------------------- */

/* The first symbol: a character where the vocabulary has it, else a byte. */
static int32_t first_symbol(const struct fake *f, const char *text, size_t size, size_t *taken) {
    uint8_t lead = (uint8_t)text[0];
    size_t length = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    int32_t id = -1;
    if (f->vocabulary == FAKE_FALLBACK && length > 1 && length <= size) {
        id = find(f, text, length, VOCAB_NORMAL);
    }
    *taken = id >= 0 ? length : 1;
    id = id >= 0 ? id : find(f, text, 1, VOCAB_NORMAL);
    return id >= 0 ? id : find(f, text, 1, VOCAB_BYTE);
}

/* Lowest rank first, leftmost first among equals, until nothing merges. Returns the new length. */
static size_t merge_all(const struct fake *f, int32_t *symbols, size_t n) {
    for (uint32_t rank = 0; rank < f->n_merges;) {
        bool merged = false;
        for (size_t i = 0; i + 1 < n && !merged; i++) {
            if (symbols[i] == f->merge[rank].left && symbols[i + 1] == f->merge[rank].right) {
                symbols[i] = f->merge[rank].whole;
                memmove(symbols + i + 1, symbols + i + 2, (n - i - 2) * sizeof *symbols);
                n--;
                merged = true;
            }
        }
        rank = merged ? 0 : rank + 1;
    }
    return n;
}

/* Longest user-defined token at text, or -1. */
static int32_t user_at(const struct fake *f, const char *text, size_t size) {
    int32_t best = -1;
    for (uint32_t i = 0; i < f->n; i++) {
        size_t length = f->tokens[i].size;
        if (f->kind[i] == VOCAB_USER && length <= size && memcmp(f->bytes[i], text, length) == 0 &&
            (best < 0 || length > f->tokens[best].size)) {
            best = (int32_t)i;
        }
    }
    return best;
}

long fake_tokenize(const struct fake *f, const char *text, size_t size, int32_t *out, size_t cap) {
    size_t n = 0, piece = 0; /* symbols out, and where the piece being merged begins */
    int32_t *symbols = malloc((size + 1) * sizeof *symbols);
    if (symbols == NULL) {
        abort();
    }
    for (size_t at = 0; at < size;) {
        int32_t id = user_at(f, text + at, size - at);
        size_t taken = id >= 0 ? f->tokens[id].size : 0;
        if (id >= 0) {
            n = piece + merge_all(f, symbols + piece, n - piece);
            symbols[n++] = id;
            piece = n;
        } else {
            id = first_symbol(f, text + at, size - at, &taken);
            if (id < 0) {
                free(symbols);
                return -1;
            }
            symbols[n++] = id;
        }
        at += taken;
    }
    n = piece + merge_all(f, symbols + piece, n - piece);
    if (n <= cap) {
        memcpy(out, symbols, n * sizeof *out);
    }
    free(symbols);
    return n <= cap ? (long)n : -1;
}

/* ---- model --------------------------------------------------------------------------------- */

void fake_logits(const struct fake *f, const int32_t *history, size_t n, float *out_logits) {
    const struct fake_params *p = &f->params;
    uint64_t last = n > 0 ? (uint64_t)(uint32_t)history[n - 1] + 1 : 0;
    uint64_t before = n > 1 ? (uint64_t)(uint32_t)history[n - 2] + 1 : 0;
    uint64_t context = rng_key(p->seed, last, before);
    for (uint32_t i = 0; i < f->n; i++) {
        uint64_t bits = rng_key(p->seed, context, i);
        double logit = p->scale * (rng_uniform(bits) - 0.5);
        /* Longer tokens are likelier, as in real models: texts are not all single bytes. */
        logit += 0.5 * p->scale * (f->tokens[i].size > 1);
        logit += (int32_t)i == f->end ? p->end_bias : 0;
        bool lost = p->lost > 0 && rng_uniform(rng_key(p->seed + 1, context, i)) < p->lost;
        out_logits[i] = lost ? -INFINITY : (float)logit;
    }
    /* Something must stay possible. */
    out_logits[f->end] = isinf(out_logits[f->end]) ? -30.0F : out_logits[f->end];
}

static long tokenize_member(void *data, const char *text, size_t size, int32_t *out, size_t cap) {
    const struct fake *f = data;
    return fake_tokenize(f, text, size, out, cap);
}

static int logits_member(void *data, const int32_t *history, size_t n, float *out_logits) {
    struct fake *f = data;
    (void)atomic_fetch_add(&f->calls, 1);
    fake_logits(f, history, n, out_logits);
    return 0;
}

struct packllm_own_member fake_member(const struct fake *f, const char *name) {
    union {
        const struct fake *from;
        void *to;
    } data = {.from = f}; /* the callbacks change nothing but the counter */
    return (struct packllm_own_member){
        .name = name,
        .tokens = f->tokens,
        .n_tokens = f->n,
        .start = f->params.no_start ? -1 : f->start,
        .n_ctx = f->params.n_ctx,
        .tokenize = tokenize_member,
        .logits = logits_member,
        .data = data.to,
    };
}

/* ---- texts --------------------------------------------------------------------------------- */

size_t fake_text(uint64_t *rng, char *out, size_t max, bool plain) {
    static const char *const pieces[] = {"a",
                                         "b",
                                         "c",
                                         "d",
                                         "e",
                                         "h",
                                         "i",
                                         "n",
                                         "g",
                                         "r",
                                         "t",
                                         " ",
                                         "the",
                                         "abc",
                                         "aaaa",
                                         " an",
                                         "\n",
                                         "\n\n",
                                         "<b>",
                                         "</b>",
                                         "<",
                                         ">",
                                         "   ",
                                         "the end",
                                         "x",
                                         "Z",
                                         "7",
                                         ".",
                                         "\xc3\xa9",
                                         "\xc3\xa9t",
                                         "e\xcc\x81",
                                         "\xe2\x82\xac",
                                         "\xe2\x82\xa8",
                                         "q",
                                         "\xf0\x9f\x98\x80",
                                         "\xf0\x9f\x98\x81",
                                         "\x01"};
    const size_t n_pieces = sizeof pieces / sizeof *pieces, n_plain = n_pieces - 4;
    size_t want = 1 + (size_t)(rng_next(rng) % max), size = 0;
    while (size < want) {
        const char *piece = pieces[rng_next(rng) % (plain ? n_plain : n_pieces)];
        size_t length = strlen(piece);
        if (size + length > max) {
            out[size++] = 'a';
            continue;
        }
        memcpy(out + size, piece, length);
        size += length;
    }
    return size;
}
