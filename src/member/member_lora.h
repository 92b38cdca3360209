/* member_lora.h - is a file a LoRA adapter that fits a base? By both headers, before libllama sees
 * either: some damaged or foreign adapters end the process there. Two bases of one shape cannot be
 * told apart: adapters carry no fingerprint of theirs. */
#ifndef MEMBER_MEMBER_LORA_H
#define MEMBER_MEMBER_LORA_H

#include "member/member_gguf.h"
#include "packllm/packllm.h"

/* base: the open header of the model; arch: its architecture. out_bytes: of the adapter's weights.
 * E_MODEL: no adapter, a damaged one, or one of another base. */
enum packllm_status member_lora_check(const struct member_gguf *base, const char *arch,
                                      const char *path, const char *label, int index,
                                      uint64_t *out_bytes, struct packllm_error *err);

#endif
