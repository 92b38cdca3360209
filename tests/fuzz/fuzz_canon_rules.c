/* fuzz_canon_rules.c - any bytes as tokens, merges and text: opening refuses or works, and the tokens
 * of a text end where they should, in order. The first two bytes choose the kind of vocabulary and how
 * many of the lines behind them are tokens and merges; the rest is text. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "canon/canon.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const pres[] = {
    "default", "llama-bpe", "jais-2", "minicpm5", "deepseek-llm", "deepseek-v3", "youtu",
    "falcon",  "qwen35",    "viking", "tekken",   "chameleon",    "gpt-4o",      "tiny_aya",
    "kimi-k2", "superbpe",  "afmoe",  "laguna",   "exaone-moe",   "gemma4",      "sarvam-moe",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct canon_token tokens[64 + 16];
    struct canon_text merges[64];
    struct packllm_error err;
    struct canon_work w = {0};
    struct canon *c = NULL;
    if (size < 2) {
        return 0;
    }
    struct canon_source s = {.model = data[0] % 3 == 0   ? CANON_PIECES
                                      : data[0] % 3 == 1 ? CANON_BYTE_PAIRS
                                                         : CANON_PAIRS_MARKS,
                             .pre = pres[data[0] / 3 % (sizeof pres / sizeof *pres)],
                             .tokens = tokens,
                             .merges = merges};
    uint32_t n_tokens = data[1] % 64, n_merges = data[1] / 4;
    static const char *const marks[] = {"<0xE2>", "<0x96>", "<0x81>"};
    for (int i = 0; i < 3; i++) {
        tokens[s.n_tokens++] = (struct canon_token){.text = marks[i], .size = 6};
    }
    size_t at = 2;
    while (at < size && (s.n_tokens < n_tokens || s.n_merges < n_merges)) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t n = end != NULL ? (size_t)(end - data) - at : size - at;
        if (s.n_tokens < n_tokens) {
            tokens[s.n_tokens] = (struct canon_token){.text = (const char *)data + at,
                                                      .size = (uint32_t)n,
                                                      .score = n > 0 ? (float)data[at] : 0.0F};
            tokens[s.n_tokens++].flags = n > 2 ? data[at + 1] % 8U : 0U;
        } else {
            merges[s.n_merges++] = (struct canon_text){data + at, n};
        }
        at += n + 1;
    }
    at = at < size ? at : size;
    char *text = malloc(size - at + 1);
    assert(text != NULL);
    memcpy(text, data + at, size - at);
    if (canon_open(&c, &s, &err) == PACKLLM_OK) {
        uint32_t last = 0;
        enum packllm_status status = canon_encode(c, &w, text, size - at, CANON_LETTER, &err);
        assert(status == PACKLLM_OK);
        for (size_t i = 0; i < w.n; i++) {
            assert(w.id[i] >= 0 && (uint32_t)w.id[i] < s.n_tokens);
            assert(w.end[i] >= last && w.end[i] <= size - at);
            last = w.end[i];
        }
        status = canon_bounds(c, &w, text, size - at, 0, &err);
        assert(status == PACKLLM_OK && (w.n == 0 || w.end[w.n - 1] <= size - at));
        status = canon_merge(c, &w, text, size - at, &err);
        assert(status == PACKLLM_OK);
    }
    canon_work_done(&w);
    canon_close(c);
    free(text);
    return 0;
}
