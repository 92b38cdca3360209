/* member_rules.c - reads the rules out of a file's header, and trusts them only where they agree with
 * the model library on a set of texts: a vocabulary may have ways that its header does not say. */
#include "member/member_rules.h"

#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "member/member_gguf.h"

/* Words, contractions, numbers, runs of white space, scripts with and without spaces, marks, emoji,
 * code, tags, what looks like an added token, control characters. */
static const char *const probes[] = {
    "Hello, world! It's 1234567 o'clock; they'LL say \"we've\" and I'd go.",
    "   leading,  double   triple    four\n\n\ttabs\t\tand \n \n  lines\r\n\r\nend   ",
    "def f(x):\n    return x**2 + 3.14159e-10  # caf\xc3\xa9\n\n\n    if __name__ == '__main__':\n",
    "L'\xc3\xa9t\xc3\xa9, na\xc3\xafve co\xc3\xb6peration, "
    "\xe2\x80\x9cquotes\xe2\x80\x9d\xe2\x80\x94"
    "dash\xe2\x80\xa6",
    "\xe4\xb8\xad\xe6\x96\x87\xe5\xad\x97\xe7\xac\xa6\xef\xbc\x8c\xe6\xb2\xa1\xe6\x9c\x89\xe7\xa9"
    "\xba"
    "\xe6\xa0\xbc\xe3\x80\x82 \xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe3\x81\xae\xe3\x83\x86",
    "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xd9\x85\xd8\xb1\xd8\xad\xd8\xa8\xd8\xa7 "
    "\xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87 "
    "\xed\x95\x9c\xea\xb5\xad\xec\x96\xb4 \xe0\xb8\xaa\xe0\xb8\xa7\xe0\xb8\xb1",
    "\xf0\x9f\x98\x80\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb \xf0\x9f\x87\xab\xf0\x9f\x87\xb7"
    "e\xcc\x81o\xcc\x88 \xe2\x91\xa0\xe2\x85\xab\xc2\xbd \xe2\x82\xac$\xc2\xa3+=<>^~|`",
    "<b>bold</b> <|endoftext|> <unused1> [PAD1] </s> <table> <0x41>&amp; http://a.b/c?d=e&f#g_h",
    "0 00 000 0000 1,234,567.89 \xd9\xa1\xd9\xa2\xd9\xa3\xd9\xa4 12a34b v1.2.3-rc4",
    "CamelCaseWords HTTPServer snake_case_name ALLCAPS mixedUP \xc3\x89\xc3\x80\xc3\xa9\xc3\xa0",
    "\xc2\xa0\xc2\xa0nbsp\xe3\x80\x80wide\xe2\x80\x83"
    "em\xe2\x80\xa8sep \xc2\x85 \x01\x02\x7f",
};

static bool agrees(const struct canon *c, struct canon_work *w, const char *text,
                   member_reference_fn reference, void *data) {
    int32_t ids[1024];
    struct packllm_error err;
    int32_t n = reference(data, text, strlen(text), ids, sizeof ids / sizeof *ids);
    return n >= 0 && canon_encode(c, w, text, strlen(text), 0, &err) == PACKLLM_OK &&
           w->n == (size_t)n && memcmp(w->id, ids, (size_t)n * sizeof *ids) == 0;
}

static enum packllm_status read_merges(const struct member_gguf *g, struct canon_source *source,
                                       struct canon_text **out, struct packllm_error *err) {
    const struct member_gguf_kv *kv = member_gguf_find(g, "tokenizer.ggml.merges");
    if (kv == NULL || source->model == CANON_PIECES) {
        return PACKLLM_OK;
    }
    struct canon_text *merges = alloc_array((size_t)kv->count, sizeof *merges);
    size_t at = 0;
    if (merges == NULL) {
        return fail_memory(err, (size_t)kv->count * sizeof *merges);
    }
    for (uint64_t i = 0; i < kv->count; i++) {
        merges[i].bytes = member_gguf_next_string(g, kv, &at, &merges[i].size);
    }
    source->merges = *out = merges;
    source->n_merges = (uint32_t)kv->count;
    return PACKLLM_OK;
}

/* False: a kind of vocabulary that canon does not know. */
static bool read_names(const struct member_gguf *g, struct canon_source *source, char pre[64]) {
    char model[64] = "";
    const struct member_gguf_kv *kv = member_gguf_find(g, "tokenizer.ggml.pre");
    pre[0] = '\0';
    if (!member_gguf_text(g, member_gguf_find(g, "tokenizer.ggml.model"), model, sizeof model) ||
        (kv != NULL && !member_gguf_text(g, kv, pre, 64))) {
        return false;
    }
    source->pre = pre;
    if (strcmp(model, "gemma4") == 0) {
        source->pre = "gemma4";
    }
    source->model = strcmp(model, "llama") == 0    ? CANON_PIECES
                    : strcmp(model, "gemma4") == 0 ? CANON_PAIRS_MARKS
                                                   : CANON_BYTE_PAIRS;
    return source->model != CANON_BYTE_PAIRS || strcmp(model, "gpt2") == 0;
}

enum packllm_status member_rules_open(struct canon **out, const char *path, const char *label,
                                      int index, const struct canon_token *tokens, uint32_t n,
                                      member_reference_fn reference, void *data,
                                      struct packllm_error *err) {
    struct member_gguf g;
    struct canon_source source = {.tokens = tokens, .n_tokens = n};
    struct canon_text *merges = NULL;
    char pre[64];
    *out = NULL;
    enum packllm_status s = member_gguf_open(&g, path, label, index, err);
    if (s != PACKLLM_OK) {
        return s;
    }
    bool known = read_names(&g, &source, pre);
    s = known ? read_merges(&g, &source, &merges, err) : s;
    s = s == PACKLLM_OK && known ? canon_open(out, &source, err) : s;
    base_free(merges);
    member_gguf_done(&g);
    if (s == PACKLLM_E_UNSUPPORTED || s == PACKLLM_E_MODEL) {
        return PACKLLM_OK;
    }
    struct canon_work w = {0};
    bool right = true;
    for (size_t i = 0; *out != NULL && right && i < sizeof probes / sizeof *probes; i++) {
        right = agrees(*out, &w, probes[i], reference, data);
    }
    canon_work_done(&w);
    if (!right) {
        canon_close(*out);
        *out = NULL;
    }
    return s;
}

enum packllm_status member_rules_tokenize(const struct canon *c, const char *text, size_t size,
                                          int32_t *out, size_t cap, size_t *out_n,
                                          struct packllm_error *err) {
    struct canon_work w = {0};
    enum packllm_status s = canon_encode(c, &w, text, size, 0, err);
    if (s == PACKLLM_OK && w.n > cap) {
        s = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                 "the text has more than the %zu tokens there is room for", cap);
    }
    if (s == PACKLLM_OK) {
        memcpy(out, w.id, w.n * sizeof *out);
        *out_n = w.n;
    }
    canon_work_done(&w);
    return s;
}
