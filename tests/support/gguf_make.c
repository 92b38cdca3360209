/* gguf_make.c - see gguf_make.h. */
#include "gguf_make.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "member/member_gguf.h"

enum { EMBD = 32, HEADS = 4, HEADS_KV = 2, FF = 64, LAYERS = 2, CONTEXT = 128, ALIGN = 32 };
#define SPACE_MARK "\xe2\x96\x81"
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4, UNUSED = 5, BYTE = 6 };

static void put(struct made *m, const void *bytes, size_t size) {
    m->bytes = realloc(m->bytes, m->size + size + 1);
    if (m->bytes == NULL) {
        abort();
    }
    if (size > 0) {
        memcpy(m->bytes + m->size, bytes, size);
    }
    m->size += size;
}

static void put_number(struct made *m, uint64_t value, size_t width) {
    uint8_t bytes[8];
    for (size_t i = 0; i < width; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    put(m, bytes, width);
}

static void put_string(struct made *m, const void *text, size_t size) {
    put_number(m, size, 8);
    put(m, text, size);
}

static void put_zeros(struct made *m, size_t alignment) {
    while (m->size % alignment != 0) {
        put(m, "", 1);
    }
}

void made_free(struct made *m) {
    free(m->bytes);
    *m = (struct made){0};
}

struct made made_copy(const void *bytes, size_t size) {
    struct made m = {0};
    put(&m, bytes, size);
    return m;
}

/* ---- editing ------------------------------------------------------------------------------- */

/* Everything but `key`, then the new key if payload is there. */
static struct made edit(const struct made *m, const char *key, uint32_t type, const void *payload,
                        size_t size) {
    struct member_gguf g = {0};
    struct made out = {0};
    if (member_gguf_parse(&g, m->bytes, m->size, "made", 0, NULL) != PACKLLM_OK) {
        abort();
    }
    const struct member_gguf_kv *old = member_gguf_find(&g, key);
    const struct member_gguf_tensor *last = &g.tensor[g.n_tensors - 1];
    size_t infos = g.tensor[0].name - 8;
    size_t infos_end = last->name + last->name_size + 4 + 8 * last->n_dims + 12;
    put(&out, m->bytes, 16);
    put_number(&out, g.n_kv - (old != NULL) + (payload != NULL), 8);
    for (size_t i = 0; i < g.n_kv; i++) {
        if (&g.kv[i] != old) {
            put(&out, m->bytes + g.kv[i].key - 8,
                g.kv[i].value + g.kv[i].value_size - (g.kv[i].key - 8));
        }
    }
    if (payload != NULL) {
        put_string(&out, key, strlen(key));
        put_number(&out, type, 4);
        put(&out, payload, size);
    }
    put(&out, m->bytes + infos, infos_end - infos);
    put_zeros(&out, (size_t)g.alignment);
    put(&out, m->bytes + g.data, m->size - (size_t)g.data);
    member_gguf_done(&g);
    return out;
}

struct made made_set(const struct made *m, const char *key, uint32_t type, const void *payload,
                     size_t size) {
    return edit(m, key, type, payload, size);
}

struct made made_without(const struct made *m, const char *key) {
    return edit(m, key, 0, NULL, 0);
}

struct made made_set_text(const struct made *m, const char *key, const char *text) {
    struct made payload = {0};
    put_string(&payload, text, strlen(text));
    struct made out = edit(m, key, GGUF_STRING, payload.bytes, payload.size);
    made_free(&payload);
    return out;
}

struct made made_set_u32(const struct made *m, const char *key, uint32_t value) {
    return edit(m, key, GGUF_U32, &value, sizeof value);
}

struct made made_set_bool(const struct made *m, const char *key, bool value) {
    uint8_t byte = value;
    return edit(m, key, GGUF_BOOL, &byte, 1);
}

struct made made_set_f32(const struct made *m, const char *key, float value) {
    return edit(m, key, GGUF_F32, &value, sizeof value);
}

struct made made_set_array(const struct made *m, const char *key, uint32_t element, uint64_t n,
                           const void *payload, size_t size) {
    struct made whole = {0};
    put_number(&whole, element, 4);
    put_number(&whole, n, 8);
    put(&whole, payload, size);
    struct made out = edit(m, key, GGUF_ARRAY, whole.bytes, whole.size);
    made_free(&whole);
    return out;
}

bool made_save(const struct made *m, const char *path) {
    FILE *file = fopen(path, "wb");
    bool good = file != NULL && fwrite(m->bytes, 1, m->size, file) == m->size;
    return file != NULL && fclose(file) == 0 && good;
}

/* ---- making -------------------------------------------------------------------------------- */

struct maker {
    struct made keys, infos, data;
    uint64_t n_keys, n_tensors, rng;
    struct made tokens, types, scores, merges;
    uint64_t n_tokens, n_merges;
};

static void key(struct maker *k, const char *name, uint32_t type) {
    put_string(&k->keys, name, strlen(name));
    put_number(&k->keys, type, 4);
    k->n_keys++;
}

static void key_u32(struct maker *k, const char *name, uint32_t value) {
    key(k, name, GGUF_U32);
    put_number(&k->keys, value, 4);
}

static void key_f32(struct maker *k, const char *name, float value) {
    key(k, name, GGUF_F32);
    put(&k->keys, &value, sizeof value);
}

static void key_text(struct maker *k, const char *name, const char *text) {
    key(k, name, GGUF_STRING);
    put_string(&k->keys, text, strlen(text));
}

static void key_array(struct maker *k, const char *name, uint32_t element, uint64_t n,
                      const struct made *payload) {
    key(k, name, GGUF_ARRAY);
    put_number(&k->keys, element, 4);
    put_number(&k->keys, n, 8);
    put(&k->keys, payload->bytes, payload->size);
}

static void tensor(struct maker *k, const char *name, uint64_t columns, uint64_t rows) {
    put_string(&k->infos, name, strlen(name));
    put_number(&k->infos, rows > 0 ? 2 : 1, 4);
    put_number(&k->infos, columns, 8);
    if (rows > 0) {
        put_number(&k->infos, rows, 8);
    }
    put_number(&k->infos, 0, 4); /* F32 */
    put_number(&k->infos, k->data.size, 8);
    for (uint64_t i = 0; i < columns * (rows > 0 ? rows : 1); i++) {
        double value = rng_uniform(rng_next(&k->rng)) - 0.5;
        float weight = rows > 0 ? (float)value : 1.0F;
        if (strstr(name, "ssm_a") != NULL) {
            weight = -0.6F - (float)value; /* a state that fades: others overflow */
        }
        put(&k->data, &weight, sizeof weight);
    }
    put_zeros(&k->data, ALIGN);
    k->n_tensors++;
}

static void token(struct maker *k, const char *text, uint32_t type, float score) {
    put_string(&k->tokens, text, strlen(text));
    put_number(&k->types, type, 4);
    put(&k->scores, &score, sizeof score);
    k->n_tokens++;
}

static void merge(struct maker *k, const char *left, const char *right) {
    char text[64];
    int size = snprintf(text, sizeof text, "%s %s", left, right);
    put_string(&k->merges, text, (size_t)size);
    (void)snprintf(text, sizeof text, "%s%s", left, right);
    token(k, text, NORMAL, 0);
    k->n_merges++;
}

static void spm_tokens(struct maker *k) {
    static const char *const pieces[] = {SPACE_MARK, "a",  "b",   "c",        "t",
                                         "h",        "e",  "th",  "the",      SPACE_MARK "the",
                                         "ab",       "bc", "abc", "\xc3\xa9", SPACE_MARK "a"};
    token(k, "<unk>", UNKNOWN, 0);
    token(k, "<s>", CONTROL, 0);
    token(k, "</s>", CONTROL, 0);
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        (void)snprintf(text, sizeof text, "<0x%02X>", byte);
        token(k, text, BYTE, 0);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        token(k, pieces[i], NORMAL, -(float)i);
    }
    key_text(k, "tokenizer.ggml.model", "llama");
    key_u32(k, "tokenizer.ggml.bos_token_id", 1);
    key_u32(k, "tokenizer.ggml.eos_token_id", 2);
    key_array(k, "tokenizer.ggml.scores", GGUF_F32, k->n_tokens, &k->scores);
}

/* GPT-2's way of writing bytes as printable characters. */
static void byte_text(unsigned byte, char out[4]) {
    unsigned code = byte, others = 0;
    for (unsigned i = 0; i <= byte; i++) {
        bool printable = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i <= 0xac) || i >= 0xae;
        if (!printable) {
            code = i == byte ? 256 + others : code;
            others++;
        }
    }
    if (code < 0x80) {
        out[0] = (char)code;
        out[1] = '\0';
    } else {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        out[2] = '\0';
    }
}

static void bpe_tokens(struct maker *k) {
    char text[4];
    token(k, "<|endoftext|>", CONTROL, 0);
    token(k, "<b>", USER, 0);
    token(k, "[PAD2]", USER, 0);
    token(k, "<unused>", UNUSED, 0);
    for (unsigned byte = 0; byte < 256; byte++) {
        byte_text(byte, text);
        if (byte != 0x07) {
            token(k, text, NORMAL, 0);
        }
    }
    merge(k, "b", "c");
    merge(k, "a", "b");
    merge(k, "ab", "c");
    merge(k, "t", "h");
    merge(k, "th", "e");
    merge(k, "\xc4\xa0", "the"); /* a space */
    key_text(k, "tokenizer.ggml.model", "gpt2");
    key_text(k, "tokenizer.ggml.pre", "gpt-2");
    key_u32(k, "tokenizer.ggml.bos_token_id", 4); /* a lie, as in SmolLM2 */
    key_u32(k, "tokenizer.ggml.eos_token_id", 0);
    key_array(k, "tokenizer.ggml.merges", GGUF_STRING, k->n_merges, &k->merges);
}

static void layer_tensors(struct maker *k, int layer, const char *const *names,
                          const uint64_t (*shapes)[2]) {
    for (size_t i = 0; names[i] != NULL; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "blk.%d.%s", layer, names[i]);
        tensor(k, name, shapes[i][0], shapes[i][1]);
    }
}

enum { HEAD = EMBD / HEADS, KV = HEAD * HEADS_KV, INNER = 2 * EMBD, STATE = 4, RANK = 2, CONV = 4 };

/* Columns and rows of a layer's matrices; 0 rows: a vector. */
static const char *const llama_names[] = {
    "attn_norm.weight", "attn_q.weight",   "attn_k.weight",   "attn_v.weight", "attn_output.weight",
    "ffn_norm.weight",  "ffn_gate.weight", "ffn_down.weight", "ffn_up.weight", NULL};
static const uint64_t llama_shapes[][2] = {{EMBD, 0},  {EMBD, EMBD}, {EMBD, KV},
                                           {EMBD, KV}, {EMBD, EMBD}, {EMBD, 0},
                                           {EMBD, FF}, {FF, EMBD},   {EMBD, FF}};
static const char *const gemma_names[] = {"attn_q_norm.weight", "attn_k_norm.weight",
                                          "post_attention_norm.weight", "post_ffw_norm.weight",
                                          NULL};
static const uint64_t gemma_shapes[][2] = {{HEAD, 0}, {HEAD, 0}, {EMBD, 0}, {EMBD, 0}};
static const char *const mamba_names[] = {"attn_norm.weight",
                                          "ssm_in.weight",
                                          "ssm_conv1d.weight",
                                          "ssm_conv1d.bias",
                                          "ssm_x.weight",
                                          "ssm_dt.weight",
                                          "ssm_dt.bias",
                                          "ssm_a",
                                          "ssm_d",
                                          "ssm_out.weight",
                                          NULL};
static const uint64_t mamba_shapes[][2] = {
    {EMBD, 0},     {EMBD, 2 * INNER}, {CONV, INNER},  {INNER, 0}, {INNER, RANK + 2 * STATE},
    {RANK, INNER}, {INNER, 0},        {STATE, INNER}, {INNER, 0}, {INNER, EMBD}};

static const char *const conv_names[] = {
    "attn_norm.weight",          "shortconv.conv.weight", "shortconv.in_proj.weight",
    "shortconv.out_proj.weight", "ffn_norm.weight",       "ffn_gate.weight",
    "ffn_down.weight",           "ffn_up.weight",         NULL};
static const uint64_t conv_shapes[][2] = {{EMBD, 0}, {CONV, EMBD}, {EMBD, 3 * EMBD}, {EMBD, EMBD},
                                          {EMBD, 0}, {EMBD, FF},   {FF, EMBD},       {EMBD, FF}};

static void tensors(struct maker *k, enum made_kind kind) {
    tensor(k, "token_embd.weight", EMBD, k->n_tokens);
    tensor(k, kind == MADE_HYBRID ? "token_embd_norm.weight" : "output_norm.weight", EMBD, 0);
    for (int layer = 0; layer < LAYERS; layer++) {
        if (kind == MADE_STATE) {
            layer_tensors(k, layer, mamba_names, mamba_shapes);
            continue;
        }
        if (kind == MADE_HYBRID && layer == 0) {
            layer_tensors(k, layer, conv_names, conv_shapes);
            continue;
        }
        if (kind == MADE_HYBRID) { /* norms of queries and keys */
            layer_tensors(k, layer, (const char *const[]){gemma_names[0], gemma_names[1], NULL},
                          gemma_shapes);
        }
        layer_tensors(k, layer, llama_names, llama_shapes);
        if (kind == MADE_WINDOW) {
            layer_tensors(k, layer, gemma_names, gemma_shapes);
        }
    }
}

static void number(struct maker *k, const char *arch, const char *suffix, uint32_t value) {
    char name[64];
    (void)snprintf(name, sizeof name, "%s.%s", arch, suffix);
    key_u32(k, name, value);
}

static void numbers(struct maker *k, enum made_kind kind) {
    static const char *const archs[] = {[MADE_SPM] = "llama",
                                        [MADE_BPE] = "llama",
                                        [MADE_WINDOW] = "gemma3",
                                        [MADE_STATE] = "mamba",
                                        [MADE_HYBRID] = "lfm2"};
    const char *arch = archs[kind];
    char name[64];
    key_text(k, "general.architecture", arch);
    number(k, arch, "block_count", LAYERS);
    number(k, arch, "embedding_length", EMBD);
    number(k, arch, "context_length", CONTEXT);
    (void)snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", arch);
    key_f32(k, name, 1e-5F);
    if (kind == MADE_STATE) {
        number(k, arch, "ssm.conv_kernel", CONV);
        number(k, arch, "ssm.inner_size", INNER);
        number(k, arch, "ssm.state_size", STATE);
        number(k, arch, "ssm.time_step_rank", RANK);
        return;
    }
    number(k, arch, "feed_forward_length", FF);
    number(k, arch, "attention.head_count", HEADS);
    if (kind == MADE_HYBRID) {
        struct made heads = {0};
        put_number(&heads, 0, 4); /* the first layer has no attention */
        put_number(&heads, HEADS_KV, 4);
        (void)snprintf(name, sizeof name, "%s.attention.head_count_kv", arch);
        key_array(k, name, GGUF_I32, LAYERS, &heads);
        made_free(&heads);
        number(k, arch, "shortconv.l_cache", CONV);
    } else {
        number(k, arch, "attention.head_count_kv", HEADS_KV);
    }
    number(k, arch, "rope.dimension_count", HEAD);
    if (kind == MADE_WINDOW) {
        number(k, arch, "attention.key_length", HEAD);
        number(k, arch, "attention.value_length", HEAD);
        number(k, arch, "attention.sliding_window", 8);
        number(k, arch, "attention.sliding_window_pattern", 2);
    }
}

struct made made_model(enum made_kind kind, uint64_t seed) {
    struct maker k = {.rng = seed};
    struct made out = {0};
    numbers(&k, kind);
    if (kind == MADE_BPE) {
        bpe_tokens(&k);
    } else {
        spm_tokens(&k);
    }
    key_array(&k, "tokenizer.ggml.tokens", GGUF_STRING, k.n_tokens, &k.tokens);
    key_array(&k, "tokenizer.ggml.token_type", GGUF_I32, k.n_tokens, &k.types);
    tensors(&k, kind);
    put(&out, "GGUF", 4);
    put_number(&out, 3, 4);
    put_number(&out, k.n_tensors, 8);
    put_number(&out, k.n_keys, 8);
    put(&out, k.keys.bytes, k.keys.size);
    put(&out, k.infos.bytes, k.infos.size);
    put_zeros(&out, ALIGN);
    put(&out, k.data.bytes, k.data.size);
    made_free(&k.keys);
    made_free(&k.infos);
    made_free(&k.data);
    made_free(&k.tokens);
    made_free(&k.types);
    made_free(&k.scores);
    made_free(&k.merges);
    return out;
}
