/* member_lora.c - checks an adapter's header against its base's, see member_lora.h. Low-rank
 * adapters: arXiv 2106.09685; y = W x + scale * alpha / rank * B (A x). */
#include "member/member_lora.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"

enum { TYPE_F32 = 0, TYPE_F16 = 1, TYPE_Q8_0 = 8, TYPE_BF16 = 30 };

struct check {
    const struct member_gguf *base, *g;
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

static bool text_is(const struct check *c, const char *key, const char *wanted, char *found,
                    size_t room) {
    found[0] = '\0';
    return member_gguf_text(c->g, member_gguf_find(c->g, key), found, room) &&
           strcmp(found, wanted) == 0;
}

static enum packllm_status check_keys(const struct check *c, const char *arch) {
    char found[64];
    double alpha = 0.0;
    const struct member_gguf_kv *kv = member_gguf_find(c->g, "adapter.lora.alpha");
    if (!text_is(c, "general.type", "adapter", found, sizeof found) ||
        !text_is(c, "adapter.type", "lora", found, sizeof found)) {
        return bad(c,
                   "is no LoRA adapter (its header says '%s'): lora= wants the GGUF file that "
                   "convert_lora_to_gguf.py of llama.cpp writes",
                   found);
    }
    if (!text_is(c, "general.architecture", arch, found, sizeof found)) {
        return bad(c, "is for a base of architecture '%s', and this one is '%s'", found, arch);
    }
    if (kv == NULL || kv->type != GGUF_F32 || !member_gguf_element(c->g, kv, 0, &alpha) ||
        !isfinite(alpha)) {
        return bad(c, "is damaged: adapter.lora.alpha is no number; get the file again");
    }
    if (member_gguf_find(c->g, "adapter.alora.invocation_tokens") != NULL) {
        return bad(c, "is switched on by tokens in the text (aLoRA), which packllm does not do");
    }
    return PACKLLM_OK;
}

/* The other half of a pair, and the tensor of the base that both change. */
static enum packllm_status check_pair(const struct check *c, const struct member_gguf_tensor *a) {
    char name[256];
    const char *whole = (const char *)c->g->bytes + a->name;
    size_t stem = a->name_size - strlen(".lora_a");
    if (stem >= sizeof name - sizeof ".lora_b") {
        return bad(c, "is damaged: a tensor's name is too long; get the file again");
    }
    (void)snprintf(name, sizeof name, "%.*s.lora_b", (int)stem, whole);
    const struct member_gguf_tensor *b = member_gguf_find_tensor(c->g, name);
    name[stem] = '\0';
    const struct member_gguf_tensor *of = member_gguf_find_tensor(c->base, name);
    if (b == NULL) {
        return bad(c, "is damaged: tensor %s has one half only; get the file again", name);
    }
    if (of == NULL) {
        return bad(c, "changes %s, which the base does not have: it was made for another base",
                   name);
    }
    if (strcmp(name, "token_embd.weight") == 0) {
        return bad(c, "changes the token embeddings, which libllama cannot do for every base: "
                      "train one without them");
    }
    if (a->n_dims != 2 || b->n_dims != 2 || of->n_dims != 2 || a->shape[0] != of->shape[0] ||
        b->shape[1] != of->shape[1] || a->shape[1] != b->shape[0] || a->shape[1] == 0) {
        return bad(c, "does not fit %s of the base: it was made for another base", name);
    }
    return PACKLLM_OK;
}

static bool ends_with(const struct check *c, const struct member_gguf_tensor *t, const char *end) {
    size_t size = strlen(end);
    return t->name_size > size &&
           memcmp(c->g->bytes + t->name + t->name_size - size, end, size) == 0;
}

static enum packllm_status check_tensors(const struct check *c) {
    size_t halves[2] = {0, 0};
    for (size_t i = 0; i < c->g->n_tensors; i++) {
        const struct member_gguf_tensor *t = &c->g->tensor[i];
        bool a = ends_with(c, t, ".lora_a"), b = ends_with(c, t, ".lora_b");
        if (t->type != TYPE_F32 && t->type != TYPE_F16 && t->type != TYPE_BF16 &&
            t->type != TYPE_Q8_0) {
            return bad(c, "has weights of a type (%u) that adapters do not have",
                       (unsigned)t->type);
        }
        if (!a && !b) {
            return bad(c, "holds %.*s, which is not half of a LoRA pair",
                       (int)(t->name_size < 128 ? t->name_size : 128),
                       (const char *)c->g->bytes + t->name);
        }
        halves[b]++;
        enum packllm_status s = a ? check_pair(c, t) : PACKLLM_OK;
        if (s != PACKLLM_OK) {
            return s;
        }
    }
    return halves[0] > 0 && halves[0] == halves[1]
               ? PACKLLM_OK
               : bad(c, "is damaged: %zu and %zu halves of pairs; get the file again", halves[0],
                     halves[1]);
}

enum packllm_status member_lora_check(const struct member_gguf *base, const char *arch,
                                      const char *path, const char *label, int index,
                                      uint64_t *out_bytes, struct packllm_error *err) {
    struct member_gguf g = {0};
    char name[512];
    (void)snprintf(name, sizeof name, "%s: the adapter '%s'", label, path);
    enum packllm_status s = member_gguf_open(&g, path, name, index, err);
    const struct check c = {.base = base, .g = &g, .label = name, .index = index, .err = err};
    s = s == PACKLLM_OK ? check_keys(&c, arch) : s;
    s = s == PACKLLM_OK ? check_tensors(&c) : s;
    if (s == PACKLLM_OK) {
        *out_bytes = g.tensor_bytes;
    }
    member_gguf_done(&g);
    return s;
}
