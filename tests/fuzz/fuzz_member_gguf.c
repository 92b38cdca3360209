/* fuzz_member_gguf.c - any bytes as a GGUF file: the reader refuses or accepts, and what it accepts
 * lies within the bytes. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "member/member_facts.h"
#include "member/member_gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct member_gguf g;
    struct member_facts facts = {0};
    struct packllm_memory memory;
    struct packllm_error err;
    if (member_gguf_parse(&g, data, size, "input", 0, &err) != PACKLLM_OK) {
        return 0;
    }
    for (size_t i = 0; i < g.n_kv; i++) {
        const struct member_gguf_kv *kv = &g.kv[i];
        double number = 0;
        uint64_t whole = 0;
        assert(kv->key + kv->key_size <= g.size && kv->value + kv->value_size <= g.size);
        (void)member_gguf_integer(&g, kv, &whole);
        (void)member_gguf_element(&g, kv, kv->count - 1, &number);
        size_t at = 0, length = 0;
        for (uint64_t j = 0; kv->type == GGUF_ARRAY && kv->element == GGUF_STRING && j < kv->count;
             j++) {
            const uint8_t *text = member_gguf_next_string(&g, kv, &at, &length);
            assert(text >= g.bytes && text + length <= g.bytes + g.size);
        }
    }
    assert(g.n_tensors == 0 || g.data <= g.file_size);
    assert(g.tensor_bytes <= g.file_size);
    if (member_facts_check(&facts, &g, "input", 0, &err) == PACKLLM_OK) {
        facts.n_ctx = facts.n_ctx_train;
        facts.n_seq = 4;
        member_facts_memory(&facts, &memory);
        assert(memory.total >= memory.weights);
    }
    member_gguf_done(&g);
    return 0;
}
