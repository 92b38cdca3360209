/* member_nollama.c - stands in for member_llama.c in a build without libllama (PACKLLM_LLAMA=off). */
#include "base/status.h"
#include "member/member.h"

static enum packllm_status none(int index, struct packllm_error *err) {
    return fail(err, PACKLLM_E_UNSUPPORTED, index,
                "this build of packllm has no llama.cpp (PACKLLM_LLAMA=off): it cannot open GGUF "
                "files; build with PACKLLM_LLAMA=source");
}

enum packllm_status member_llama_open(struct member **out, const struct packllm_member_spec *spec,
                                      int index, const struct packllm_params *params,
                                      struct packllm_error *err) {
    (void)out, (void)spec, (void)params;
    return none(index, err);
}

enum packllm_status member_llama_vocabulary(struct member **out,
                                            const struct packllm_member_spec *spec, int index,
                                            const struct packllm_params *params,
                                            struct packllm_error *err) {
    (void)out, (void)spec, (void)params;
    return none(index, err);
}

enum packllm_status member_llama_memory(const struct packllm_member_spec *spec, int index,
                                        const struct packllm_params *params,
                                        struct packllm_memory *out, struct packllm_error *err) {
    (void)spec, (void)params, (void)out;
    return none(index, err);
}
