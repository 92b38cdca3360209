/* member_facts.c - checks a model's header, see member_facts.h. Every refusal here stands for an
 * abort or a silent zero in libllama; which, docs/internals/member.md says. */
#include "member/member_facts.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "member/member_base.h"
#include "member/member_lora.h"

enum { LAYERS_MAX = 512, EXPERTS_MAX = 512, HEADS_MAX = 1 << 16, VOCAB_MAX = 1 << 24 };
enum { TYPE_F32 = 0, TYPE_F16 = 1, TYPE_Q8_1 = 9, TYPE_Q8_K = 15, TYPE_I8 = 24, TYPE_F64 = 28 };
enum { TOKEN_BYTE = 6 }; /* tokenizer.ggml.token_type */

struct check {
    const struct member_gguf *g;
    struct member_facts *f;
    const char *label;
    int index;
    struct packllm_error *err;
};

static enum packllm_status bad(const struct check *c, const char *format, ...) BASE_PRINTF(2, 3);
static enum packllm_status bad(const struct check *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    enum packllm_status s = member_gguf_refuse(c->label, c->index, c->err, format, args);
    va_end(args);
    return s;
}

/* The key <architecture>.<suffix>, or NULL. */
static const struct member_gguf_kv *of_arch(const struct check *c, const char *suffix) {
    char key[256];
    (void)snprintf(key, sizeof key, "%s.%s", c->f->arch, suffix);
    return member_gguf_find(c->g, key);
}

/* A u32 in low..high, as libllama reads it; *out keeps its value where the key is missing. */
static enum packllm_status get_u32(const struct check *c, const char *suffix, bool required,
                                   uint64_t low, uint64_t high, uint32_t *out) {
    const struct member_gguf_kv *kv = of_arch(c, suffix);
    uint64_t value = 0;
    if (kv == NULL) {
        return required ? bad(c,
                              "has no %s.%s: its header is damaged or incomplete; get the file "
                              "again",
                              c->f->arch, suffix)
                        : PACKLLM_OK;
    }
    if (kv->type != GGUF_U32 || !member_gguf_integer(c->g, kv, &value) || value < low ||
        value > high) {
        return bad(
            c, "is damaged: %s.%s is not a u32 from %" PRIu64 " to %" PRIu64 "; get the file again",
            c->f->arch, suffix, low, high);
    }
    *out = (uint32_t)value;
    return PACKLLM_OK;
}

/* One number for all layers, or an array of one a layer: the value of layer i. */
static bool of_layer(const struct check *c, const struct member_gguf_kv *kv, uint32_t i,
                     double *out) {
    if (kv == NULL) {
        return false;
    }
    return member_gguf_element(c->g, kv, kv->type == GGUF_ARRAY ? i : 0, out);
}

/* ---- general ------------------------------------------------------------------------------- */

struct refusal {
    const char *name, *what;
};

static const struct refusal refused_archs[] = {
    {"bert", "an encoder"},
    {"modern-bert", "an encoder"},
    {"nomic-bert", "an encoder"},
    {"nomic-bert-moe", "an encoder"},
    {"neo-bert", "an encoder"},
    {"jina-bert-v2", "an encoder"},
    {"jina-bert-v3", "an encoder"},
    {"eurobert", "an encoder"},
    {"gemma-embedding", "an embedding model"},
    {"llama-embed", "an embedding model"},
    {"t5", "an encoder-decoder"},
    {"t5encoder", "an encoder"},
    {"dream", "a diffusion model"},
    {"llada", "a diffusion model"},
    {"llada-moe", "a diffusion model"},
    {"rnd1", "a diffusion model"},
    {"clip", "an image encoder"},
    {"wavtokenizer-dec", "an audio decoder"},
    {"qwen3tts", "a speech model"},
    {"pockettts", "a speech model"},
    {"eagle3", "a draft head of another model"},
    {"dflash", "a draft head of another model"},
    {"gemma4-assistant", "a draft head of another model"},
};

static const struct refusal refused_tokenizers[] = {
    {"bert", "WordPiece (WPM), which rewrites text"},
    {"t5", "Unigram (UGM), which rewrites text"},
    {"rwkv", "RWKV's, which packllm does not know"},
    {"plamo2", "PLaMo-2's, which packllm does not know"},
    {"hybriddna", "HybridDNA's, which packllm does not know"},
    {"whitespace", "one of whole words, which packllm does not know"},
    {"test", "a dummy"},
};

static const char *const whole_only_archs[] = {
    "mamba",      "mamba2",         "rwkv6",     "rwkv6qwen2",    "rwkv7",       "arwkv7",
    "jamba",      "falcon-h1",      "plamo2",    "granitehybrid", "lfm2",        "lfm2moe",
    "nemotron_h", "nemotron_h_moe", "qwen3next", "kimi-linear",   "bailingmoe3", "kimi-k3",
    "glm5-next",  "qwen35",         "qwen35moe", "qwen4exp",      "deepseek4",   "minimax-01",
};

static enum packllm_status check_arch(const struct check *c) {
    struct member_facts *f = c->f;
    char type[64] = "model";
    const struct member_gguf_kv *kv = member_gguf_find(c->g, "general.architecture");
    if (!member_gguf_text(c->g, kv, f->arch, sizeof f->arch) || f->arch[0] == '\0') {
        return bad(c, "names no architecture (general.architecture): it is no model, or damaged");
    }
    kv = member_gguf_find(c->g, "general.type");
    if (kv != NULL &&
        (!member_gguf_text(c->g, kv, type, sizeof type) || strcmp(type, "model") != 0)) {
        return bad(c, "is not a model but of type '%s' (general.type)%s", type,
                   strcmp(type, "adapter") == 0 ? ": a LoRA adapter needs its base model" : "");
    }
    for (size_t i = 0; i < sizeof refused_archs / sizeof *refused_archs; i++) {
        if (strcmp(f->arch, refused_archs[i].name) == 0) {
            return bad(c, "is %s (architecture '%s'): packllm needs a causal language model",
                       refused_archs[i].what, f->arch);
        }
    }
    for (size_t i = 0; i < sizeof whole_only_archs / sizeof *whole_only_archs; i++) {
        f->whole_only = f->whole_only || strcmp(f->arch, whole_only_archs[i]) == 0;
    }
    uint64_t parts = 0;
    kv = member_gguf_find(c->g, "split.count");
    if (kv != NULL && (!member_gguf_integer(c->g, kv, &parts) || parts > 1)) {
        return bad(c,
                   "is one of several parts of a model: merge them with llama-gguf-split --merge");
    }
    return PACKLLM_OK;
}

/* libllama asserts that an epsilon is not negative; no number of a model is NaN or infinite. */
static enum packllm_status check_floats(const struct check *c) {
    for (size_t i = 0; i < c->g->n_kv; i++) {
        const struct member_gguf_kv *kv = &c->g->kv[i];
        if (kv->element != GGUF_F32 && kv->element != GGUF_F64) {
            continue;
        }
        const char *key = (const char *)c->g->bytes + kv->key;
        const char suffix[] = "epsilon";
        const size_t n = sizeof suffix - 1;
        bool epsilon = kv->key_size >= n && memcmp(key + kv->key_size - n, suffix, n) == 0;
        for (uint64_t j = 0; j < kv->count; j++) {
            double value = -1;
            (void)member_gguf_element(c->g, kv, j, &value);
            if (!isfinite(value) || (epsilon && (value < 0 || value > 1))) {
                return bad(c, "is damaged: %.*s is %g; get the file again", (int)kv->key_size, key,
                           value);
            }
        }
    }
    return PACKLLM_OK;
}

/* ---- vocabulary ---------------------------------------------------------------------------- */

static enum packllm_status check_token_texts(const struct check *c,
                                             const struct member_gguf_kv *tokens,
                                             const struct member_gguf_kv *types) {
    struct member_names names = {0};
    enum packllm_status s = member_names_init(&names, (size_t)tokens->count, c->err);
    size_t at = 0, size = 0;
    for (uint64_t i = 0; i < tokens->count && s == PACKLLM_OK; i++) {
        const uint8_t *text = member_gguf_next_string(c->g, tokens, &at, &size);
        double type = 0;
        if (size > 4096) {
            s = bad(c, "is damaged: token %" PRIu64 " is %zu bytes long; get the file again", i,
                    size);
        } else if (memchr(text, 0, size) != NULL && size > 1) {
            s = bad(c, "is damaged: token %" PRIu64 " holds a NUL byte; get the file again", i);
        } else if (size > 0 && !member_names_add(&names, text, size)) {
            s = bad(c,
                    "is damaged: token %" PRIu64 " stands in its vocabulary twice; get the file "
                    "again",
                    i);
        } else if (types != NULL && member_gguf_element(c->g, types, i, &type) &&
                   type == (double)TOKEN_BYTE && size != 6) {
            s = bad(c,
                    "is damaged: token %" PRIu64 " is marked as a byte but is not spelled <0xXX>; "
                    "get the file again",
                    i);
        }
    }
    member_names_done(&names);
    return s;
}

/* An array beside the tokens: the type asked for, and as long as the vocabulary. */
static enum packllm_status check_beside(const struct check *c, const char *key, uint32_t element,
                                        uint64_t n, const struct member_gguf_kv **out) {
    const struct member_gguf_kv *kv = member_gguf_find(c->g, key);
    if (kv != NULL && (kv->type != GGUF_ARRAY || kv->element != element || kv->count != n)) {
        return bad(c, "is damaged: %s does not fit its %" PRIu64 " tokens; get the file again", key,
                   n);
    }
    *out = kv;
    return PACKLLM_OK;
}

static enum packllm_status check_special_ids(const struct check *c, uint64_t n) {
    const char prefix[] = "tokenizer.ggml.", suffix[] = "_token_id";
    const size_t p = sizeof prefix - 1, q = sizeof suffix - 1;
    for (size_t i = 0; i < c->g->n_kv; i++) {
        const struct member_gguf_kv *kv = &c->g->kv[i];
        const char *key = (const char *)c->g->bytes + kv->key;
        uint64_t id = 0;
        if (kv->key_size < p + q || memcmp(key, prefix, p) != 0 ||
            memcmp(key + kv->key_size - q, suffix, q) != 0) {
            continue;
        }
        if (kv->type != GGUF_U32 || !member_gguf_integer(c->g, kv, &id)) {
            return bad(c, "is damaged: %.*s is not a u32; get the file again", (int)kv->key_size,
                       key);
        }
        if (id >= n && id != UINT32_MAX) {
            return bad(c,
                       "is damaged: %.*s is %" PRIu64 " of %" PRIu64 " tokens; get the file again",
                       (int)kv->key_size, key, id, n);
        }
    }
    return PACKLLM_OK;
}

static enum packllm_status check_tokenizer_model(const struct check *c, char *model, size_t room) {
    const struct member_gguf_kv *kv = member_gguf_find(c->g, "tokenizer.ggml.model");
    if (!member_gguf_text(c->g, kv, model, room) || strcmp(model, "no_vocab") == 0 ||
        strcmp(model, "none") == 0) {
        return bad(c, "has no tokenizer (tokenizer.ggml.model): packllm reads and writes text");
    }
    for (size_t i = 0; i < sizeof refused_tokenizers / sizeof *refused_tokenizers; i++) {
        if (strcmp(model, refused_tokenizers[i].name) == 0) {
            return bad(c,
                       "has a vocabulary that cannot be used: %s. SentencePiece and byte-pair "
                       "vocabularies can",
                       refused_tokenizers[i].what);
        }
    }
    if (strcmp(model, "llama") != 0 && strcmp(model, "gpt2") != 0 && strcmp(model, "gemma4") != 0) {
        return bad(c,
                   "has an unknown tokenizer '%s'; SentencePiece (llama) and byte-pair (gpt2) "
                   "can be used",
                   model);
    }
    return PACKLLM_OK;
}

static enum packllm_status check_vocabulary(const struct check *c) {
    struct member_facts *f = c->f;
    char model[64] = "";
    const struct member_gguf_kv *tokens = member_gguf_find(c->g, "tokenizer.ggml.tokens");
    const struct member_gguf_kv *types = NULL, *scores = NULL, *kv;
    enum packllm_status s = check_tokenizer_model(c, model, sizeof model);
    if (s != PACKLLM_OK) {
        return s;
    }
    if (tokens == NULL || tokens->type != GGUF_ARRAY || tokens->element != GGUF_STRING ||
        tokens->count == 0 || tokens->count > VOCAB_MAX) {
        return bad(c, "has no usable vocabulary (tokenizer.ggml.tokens)");
    }
    f->n_vocab = (uint32_t)tokens->count;
    f->vocabulary = tokens->value_size;
    s = check_beside(c, "tokenizer.ggml.token_type", GGUF_I32, tokens->count, &types);
    s = s == PACKLLM_OK ? check_beside(c, "tokenizer.ggml.scores", GGUF_F32, tokens->count, &scores)
                        : s;
    s = s == PACKLLM_OK ? check_token_texts(c, tokens, types) : s;
    s = s == PACKLLM_OK ? check_special_ids(c, tokens->count) : s;
    if (s != PACKLLM_OK) {
        return s;
    }
    kv = member_gguf_find(c->g, "tokenizer.ggml.merges");
    if (kv != NULL && (kv->type != GGUF_ARRAY || kv->element != GGUF_STRING)) {
        return bad(c, "is damaged: tokenizer.ggml.merges is no list of texts; get the file again");
    }
    f->vocabulary += kv != NULL ? kv->value_size : 0;
    if (strcmp(model, "llama") != 0 && kv == NULL) {
        return bad(c, "has a byte-pair vocabulary without merges (tokenizer.ggml.merges)");
    }
    f->space_prefix = strcmp(model, "llama") == 0;
    kv = member_gguf_find(c->g, "tokenizer.ggml.add_space_prefix");
    if (kv != NULL && kv->type != GGUF_BOOL) {
        return bad(c, "is damaged: tokenizer.ggml.add_space_prefix is no truth value");
    }
    if (kv != NULL && strcmp(model, "llama") == 0) {
        f->space_prefix = c->g->bytes[kv->value] != 0;
    }
    return PACKLLM_OK;
}

/* ---- hyperparameters ----------------------------------------------------------------------- */

/* A per-layer number: u32, or an array of u32 or i32 of one a layer, each in 0..high. */
static enum packllm_status check_layers(const struct check *c, const char *suffix, uint64_t high,
                                        uint64_t *largest) {
    const struct member_gguf_kv *kv = of_arch(c, suffix);
    if (kv == NULL) {
        return PACKLLM_OK;
    }
    bool good = kv->type == GGUF_U32 || (kv->type == GGUF_ARRAY && kv->count == c->f->n_layer &&
                                         (kv->element == GGUF_U32 || kv->element == GGUF_I32));
    for (uint64_t i = 0; i < kv->count && good; i++) {
        double value = -1;
        good = member_gguf_element(c->g, kv, i, &value) && value >= 0 && value <= (double)high;
        if (good && (uint64_t)value > *largest) {
            *largest = (uint64_t)value;
        }
    }
    return good ? PACKLLM_OK
                : bad(c,
                      "is damaged: %s.%s is not a number or one a layer from 0 to %" PRIu64
                      "; get the file again",
                      c->f->arch, suffix, high);
}

/* Models of states may have no rotation, but for these hybrids. */
static bool rotates(const struct member_facts *f) {
    static const char *const archs[] = {"lfm2", "falcon-h1", "qwen3next", "qwen35"};
    bool does = !f->whole_only;
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        does = does || strncmp(f->arch, archs[i], strlen(archs[i])) == 0;
    }
    return does;
}

/* Width of a head's rotated part: even, not wider than the head; with 0 libllama never ends. */
static enum packllm_status check_rope(const struct check *c, const char *suffix, uint32_t head) {
    uint32_t rope = head;
    enum packllm_status s = get_u32(c, suffix, false, rotates(c->f) ? 2 : 0, 1 << 16, &rope);
    if (s == PACKLLM_OK && of_arch(c, suffix) != NULL &&
        (rope % 2 != 0 || (head > 0 && rope > head))) {
        s = bad(c, "is damaged: %s.%s is %" PRIu32 " with heads of %" PRIu32 "; get the file again",
                c->f->arch, suffix, rope, head);
    }
    return s;
}

static enum packllm_status check_heads(const struct check *c, uint32_t *key, uint32_t *value) {
    const struct member_facts *f = c->f;
    const struct member_gguf_kv *heads = of_arch(c, "attention.head_count");
    const struct member_gguf_kv *heads_kv = of_arch(c, "attention.head_count_kv");
    double first = 0;
    if (of_layer(c, heads, 0, &first) && first > 0) {
        *key = *value = f->n_embd / (uint32_t)first;
    }
    enum packllm_status s = get_u32(c, "attention.key_length", false, 1, 1 << 16, key);
    s = s == PACKLLM_OK ? get_u32(c, "attention.value_length", false, 1, 1 << 16, value) : s;
    uint32_t key_window = *key, value_window = *value;
    s = s == PACKLLM_OK ? get_u32(c, "attention.key_length_swa", false, 1, 1 << 16, &key_window)
                        : s;
    s = s == PACKLLM_OK ? get_u32(c, "attention.value_length_swa", false, 1, 1 << 16, &value_window)
                        : s;
    s = s == PACKLLM_OK ? check_rope(c, "rope.dimension_count", *key) : s;
    s = s == PACKLLM_OK ? check_rope(c, "rope.dimension_count_swa", key_window) : s;
    for (uint32_t i = 0; i < f->n_layer && s == PACKLLM_OK; i++) {
        double n = 0, n_kv = 0;
        (void)of_layer(c, heads, i, &n);
        if (n > 0 && of_layer(c, heads_kv, i, &n_kv) && n_kv > 0 && fmod(n, n_kv) != 0) {
            s = bad(c,
                    "is damaged: %g heads over %g key-value heads in layer %" PRIu32
                    "; get the file again",
                    n, n_kv, i);
        }
    }
    return s;
}

/* Sections of a rotation in several dimensions: some must be there. */
static enum packllm_status check_sections(const struct check *c) {
    const struct member_gguf_kv *kv = of_arch(c, "rope.dimension_sections");
    bool good = kv == NULL || (kv->type == GGUF_ARRAY && kv->count >= 1 && kv->count <= 4);
    double sum = kv == NULL;
    for (uint64_t i = 0; good && kv != NULL && i < kv->count; i++) {
        double value = -1;
        good = member_gguf_element(c->g, kv, i, &value) && value >= 0 && value <= 1 << 16;
        sum += value;
    }
    return good && sum > 0
               ? PACKLLM_OK
               : bad(c, "is damaged: %s.rope.dimension_sections; get the file again", c->f->arch);
}

/* A window with a pattern that gives it to no layer: libllama asserts that some layer has it. */
static enum packllm_status check_window(const struct check *c) {
    const struct member_gguf_kv *kv = of_arch(c, "attention.sliding_window_pattern");
    uint32_t window = 0;
    bool some = kv == NULL;
    enum packllm_status s = get_u32(c, "attention.sliding_window", false, 0, INT32_MAX, &window);
    if (s != PACKLLM_OK || window == 0 || kv == NULL) {
        return s;
    }
    for (uint64_t i = 0; i < kv->count && kv->count <= LAYERS_MAX; i++) {
        double value = 1;
        some = some || (member_gguf_element(c->g, kv, i, &value) &&
                        (kv->type == GGUF_ARRAY ? value != 0 && i < c->f->n_layer : value != 1));
    }
    return some ? PACKLLM_OK
                : bad(c, "is damaged: it has a sliding window, but its pattern gives it to no "
                         "layer; get the file again");
}

/* libllama asserts that a convolution over tokens sees more than the one it stands at. */
static enum packllm_status check_convolution(const struct check *c) {
    uint32_t n = 2;
    return get_u32(c, "shortconv.l_cache", false, 2, 1 << 16, &n);
}

static enum packllm_status check_experts(const struct check *c) {
    uint32_t n = 0, groups = 0, groups_used = 0;
    uint64_t used = 0;
    enum packllm_status s = get_u32(c, "expert_count", false, 0, EXPERTS_MAX, &n);
    s = s == PACKLLM_OK ? check_layers(c, "expert_used_count", EXPERTS_MAX, &used) : s;
    s = s == PACKLLM_OK ? get_u32(c, "expert_group_count", false, 0, EXPERTS_MAX, &groups) : s;
    s = s == PACKLLM_OK ? get_u32(c, "expert_group_used_count", false, 0, EXPERTS_MAX, &groups_used)
                        : s;
    if (s != PACKLLM_OK) {
        return s;
    }
    bool good = n == 0 ? used == 0 && groups == 0 : used > 0 && used <= n && groups < n;
    if (n > 0 && groups > 1) {
        good = good && n % groups == 0 && groups_used > 0 && groups_used < groups;
    }
    return good ? PACKLLM_OK : bad(c, "is damaged: its expert counts do not fit each other");
}

static enum packllm_status check_rope_scaling(const struct check *c) {
    static const char *const known[] = {"none", "linear", "yarn", "longrope"};
    char type[32] = "linear";
    const struct member_gguf_kv *kv = of_arch(c, "rope.scaling.type");
    if (kv != NULL && !member_gguf_text(c->g, kv, type, sizeof type)) {
        return bad(c, "is damaged: %s.rope.scaling.type is no text", c->f->arch);
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(type, known[i]) == 0) {
            return PACKLLM_OK;
        }
    }
    return bad(c, "has an unknown rope.scaling.type '%s'", type);
}

/* KV cache: an f16 key and value per KV head and layer. With swa_full windows save nothing. */
static void count_cache(const struct check *c, uint32_t key, uint32_t value) {
    struct member_facts *f = c->f;
    const struct member_gguf_kv *heads = of_arch(c, "attention.head_count_kv");
    uint32_t rank = 0, rope = 0, inner = 0, state = 0, kernel = 0;
    heads = heads != NULL ? heads : of_arch(c, "attention.head_count");
    for (uint32_t i = 0; i < f->n_layer; i++) {
        double n = 0;
        (void)of_layer(c, heads, i, &n);
        f->kv_cell += (uint64_t)n * (key + value) * 2;
    }
    (void)get_u32(c, "attention.kv_lora_rank", false, 0, UINT32_MAX, &rank);
    (void)get_u32(c, "rope.dimension_count", false, 0, UINT32_MAX, &rope);
    if (rank > 0) { /* latent attention keeps one compressed key a layer */
        f->kv_cell = (uint64_t)f->n_layer * (rank + rope) * 2;
    }
    (void)get_u32(c, "ssm.inner_size", false, 0, UINT32_MAX, &inner);
    (void)get_u32(c, "ssm.state_size", false, 0, UINT32_MAX, &state);
    (void)get_u32(c, "ssm.conv_kernel", false, 0, UINT32_MAX, &kernel);
    f->state = (uint64_t)f->n_layer * inner * (state + kernel) * 4;
    uint32_t conv = 0, head = 0;
    (void)get_u32(c, "shortconv.l_cache", false, 0, UINT32_MAX, &conv);
    (void)get_u32(c, "wkv.head_size", false, 0, UINT32_MAX, &head);
    f->state += (uint64_t)f->n_layer * f->n_embd * conv * 4;
    f->state += head > 0 ? (uint64_t)f->n_layer * f->n_embd * (head + 2) * 4 : 0;
}

static enum packllm_status check_numbers(const struct check *c) {
    struct member_facts *f = c->f;
    uint32_t key = 0, value = 0, pooling = 0, nextn = 0, rows = f->n_vocab;
    const struct member_gguf_kv *kv = of_arch(c, "attention.causal");
    enum packllm_status s = get_u32(c, "block_count", true, 1, LAYERS_MAX, &f->n_layer);
    s = s == PACKLLM_OK ? get_u32(c, "embedding_length", true, 1, 1 << 20, &f->n_embd) : s;
    s = s == PACKLLM_OK ? get_u32(c, "context_length", true, 8, INT32_MAX, &f->n_ctx_train) : s;
    s = s == PACKLLM_OK ? get_u32(c, "nextn_predict_layers", false, 0, f->n_layer - 1, &nextn) : s;
    s = s == PACKLLM_OK ? get_u32(c, "vocab_size", false, 1, VOCAB_MAX, &rows) : s;
    s = s == PACKLLM_OK ? get_u32(c, "pooling_type", false, 0, 16, &pooling) : s;
    s = s == PACKLLM_OK ? check_layers(c, "attention.head_count", HEADS_MAX, &f->n_head) : s;
    s = s == PACKLLM_OK ? check_layers(c, "attention.head_count_kv", HEADS_MAX, &f->n_head) : s;
    s = s == PACKLLM_OK ? check_layers(c, "feed_forward_length", 1 << 24, &f->n_ff) : s;
    s = s == PACKLLM_OK ? check_heads(c, &key, &value) : s;
    s = s == PACKLLM_OK ? check_sections(c) : s;
    s = s == PACKLLM_OK ? check_window(c) : s;
    s = s == PACKLLM_OK ? check_convolution(c) : s;
    s = s == PACKLLM_OK ? check_experts(c) : s;
    s = s == PACKLLM_OK ? check_rope_scaling(c) : s;
    if (s != PACKLLM_OK) {
        return s;
    }
    if (pooling != 0) {
        return bad(c,
                   "is an embedding model (%s.pooling_type): packllm needs a causal language "
                   "model",
                   f->arch);
    }
    if (kv != NULL && (kv->type != GGUF_BOOL || c->g->bytes[kv->value] == 0)) {
        return bad(c,
                   "does not predict the next token (%s.attention.causal): it is an encoder or "
                   "a diffusion model",
                   f->arch);
    }
    count_cache(c, key, value);
    return PACKLLM_OK;
}

/* ---- tensors ------------------------------------------------------------------------------- */

static enum packllm_status check_tensors(const struct check *c) {
    const struct member_facts *f = c->f;
    const struct member_gguf_tensor *embd = member_gguf_find_tensor(c->g, "token_embd.weight");
    const struct member_gguf_tensor *output = member_gguf_find_tensor(c->g, "output.weight");
    if (embd == NULL) {
        return bad(c, "has no weights for its tokens (token_embd.weight): it is a vocabulary only, "
                      "or damaged");
    }
    for (int i = 0; i < 2; i++) {
        const struct member_gguf_tensor *t = i == 0 ? embd : output;
        if (t != NULL &&
            (t->n_dims != 2 || t->shape[0] != f->n_embd || t->shape[1] != f->n_vocab)) {
            return bad(c,
                       "is damaged: its token weights are %" PRIu64 " x %" PRIu64
                       ", its vocabulary and width say %" PRIu32 " x %" PRIu32
                       "; get the file again",
                       t->shape[1], t->shape[0], f->n_vocab, f->n_embd);
        }
    }
    for (size_t i = 0; i < c->g->n_tensors; i++) {
        const struct member_gguf_tensor *t = &c->g->tensor[i];
        const char *name = (const char *)c->g->bytes + t->name;
        bool vector = t->n_dims == 1;
        /* Not for weights: types of activations, integers (but tables of ids), doubles. */
        bool odd =
            t->type == TYPE_Q8_1 || t->type == TYPE_Q8_K ||
            (t->type >= TYPE_I8 && t->type <= TYPE_F64 && strstr(f->arch, "deepseek4") == NULL);
        if (odd || (vector && t->type != TYPE_F32)) {
            return bad(c,
                       "is damaged: tensor %.*s has type %" PRIu32
                       ", which weights do not have; get the file again",
                       (int)t->name_size, name, t->type);
        }
    }
    return PACKLLM_OK;
}

/* ---- all of it ----------------------------------------------------------------------------- */

enum packllm_status member_facts_check(struct member_facts *out, const struct member_gguf *g,
                                       const char *label, int index, struct packllm_error *err) {
    struct member_facts facts = {.weights = g->tensor_bytes};
    const struct check c = {.g = g, .f = &facts, .label = label, .index = index, .err = err};
    enum packllm_status s = check_arch(&c);
    s = s == PACKLLM_OK ? check_floats(&c) : s;
    s = s == PACKLLM_OK ? check_vocabulary(&c) : s;
    s = s == PACKLLM_OK ? check_numbers(&c) : s;
    s = s == PACKLLM_OK ? check_tensors(&c) : s;
    if (s == PACKLLM_OK) {
        *out = facts;
    }
    return s;
}

void member_facts_label(char *out, size_t room, const char *name, const char *path) {
    size_t size = 0;
    name = member_name_of(name, path, &size);
    (void)snprintf(out, room, "member '%.*s' (%s)", (int)size, name, path);
}

enum packllm_status member_facts_read(struct member_facts *out,
                                      const struct packllm_member_spec *spec, int index,
                                      const struct packllm_params *params,
                                      struct packllm_error *err) {
    char label[512];
    struct member_gguf g = {0};
    member_facts_label(label, sizeof label, spec->name, spec->path);
    uint32_t n_seq = params->n_seq != 0 ? params->n_seq : MEMBER_SEQ_DEFAULT;
    if (n_seq < MEMBER_SEQ_MIN || n_seq > MEMBER_SEQ_MAX) {
        return fail(err, PACKLLM_E_ARG, index, "n_seq is %" PRIu32 ", it must be in %d..%d", n_seq,
                    MEMBER_SEQ_MIN, MEMBER_SEQ_MAX);
    }
    struct member_facts facts = {0};
    enum packllm_status s = member_gguf_open(&g, spec->path, label, index, err);
    if (s == PACKLLM_OK) {
        s = member_facts_check(&facts, &g, label, index, err);
    }
    if (s == PACKLLM_OK && spec->lora != NULL) {
        s = member_lora_check(&g, facts.arch, spec->lora, label, index, &facts.adapter, err);
        facts.weights += facts.adapter;
    }
    member_gguf_done(&g);
    if (s != PACKLLM_OK) {
        return s;
    }
    facts.n_parallel = params->n_parallel > 0 ? params->n_parallel : 1;
    facts.n_seq = n_seq * facts.n_parallel;
    uint32_t asked = spec->n_ctx != 0 ? spec->n_ctx : params->n_ctx;
    uint32_t usual = facts.n_ctx_train < 4096 ? facts.n_ctx_train : 4096;
    if (spec->n_ctx > facts.n_ctx_train) {
        return fail(err, PACKLLM_E_ARG, index,
                    "%s was trained on contexts of %" PRIu32 " tokens; %" PRIu32 " were asked for",
                    label, facts.n_ctx_train, spec->n_ctx);
    }
    if (asked != 0 && asked < 8) {
        return fail(err, PACKLLM_E_ARG, index,
                    "%s: a context of %" PRIu32 " tokens is too small; 8 is the least", label,
                    asked);
    }
    facts.n_ctx = asked == 0 ? usual : asked < facts.n_ctx_train ? asked : facts.n_ctx_train;
    *out = facts;
    return PACKLLM_OK;
}

enum packllm_status member_facts_vocabulary(struct member_facts *out,
                                            const struct packllm_member_spec *spec, int index,
                                            struct packllm_error *err) {
    char label[512];
    struct member_gguf g = {0};
    struct member_facts facts = {0};
    const struct check c = {.g = &g, .f = &facts, .label = label, .index = index, .err = err};
    member_facts_label(label, sizeof label, spec->name, spec->path);
    enum packllm_status s = member_gguf_open(&g, spec->path, label, index, err);
    if (s == PACKLLM_OK) {
        s = check_arch(&c);
        s = s == PACKLLM_OK ? check_floats(&c) : s;
        s = s == PACKLLM_OK ? check_vocabulary(&c) : s;
        member_gguf_done(&g);
    }
    if (s == PACKLLM_OK) {
        *out = facts;
    }
    return s;
}
