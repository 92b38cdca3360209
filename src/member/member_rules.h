/* member_rules.h - a GGUF file's tokenizer rules in our own form (canon). */
#ifndef MEMBER_MEMBER_RULES_H
#define MEMBER_MEMBER_RULES_H

#include "canon/canon.h"
#include "packllm/packllm.h"

/* The reference: tokens of text into out, or a negative number. Nothing is put in front. */
typedef int32_t (*member_reference_fn)(void *data, const char *text, size_t size, int32_t *out,
                                       size_t cap);

/* Rules of the file at path over these tokens. *out NULL, and PACKLLM_OK: they are not known here,
 * or do not give what the reference gives on texts of all kinds. */
enum packllm_status member_rules_open(struct canon **out, const char *path, const char *label,
                                      int index, const struct canon_token *tokens, uint32_t n,
                                      member_reference_fn reference, void *data,
                                      struct packllm_error *err);
/* As member_ops.tokenize, of text as it stands. */
enum packllm_status member_rules_tokenize(const struct canon *c, const char *text, size_t size,
                                          int32_t *out, size_t cap, size_t *out_n,
                                          struct packllm_error *err);

#endif
