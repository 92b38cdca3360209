/* member_facts.h - what a GGUF header says about a model, checked: whether it can be a member, what
 * libllama would abort on, and how much memory it will take. */
#ifndef MEMBER_MEMBER_FACTS_H
#define MEMBER_MEMBER_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "member/member_gguf.h"
#include "packllm/packllm.h"

/* Tokens, and so rows, of one llama_decode. Each row costs two vocabulary-wide float rows in libllama
 * (a megabyte each for 262,144 tokens); larger batches were not faster, with rows or without. */
enum { MEMBER_LLAMA_CHUNK = 64 };

/* States that a context of a recurrent or hybrid model keeps beside its sequences'. */
enum { MEMBER_LLAMA_MARKS = 8 };

struct member_facts {
    char arch[64];
    bool space_prefix; /* its tokenizer puts a space before a text */
    bool whole_only;   /* its memory cannot be cut: recurrent or hybrid */
    uint32_t n_ctx, n_ctx_train, n_seq, n_parallel;
    uint32_t n_vocab, n_embd, n_layer;
    uint64_t n_ff, n_head; /* the largest of the layers */
    uint64_t kv_cell;      /* bytes of KV cache per token */
    uint64_t state;        /* bytes of recurrent state per sequence */
    uint64_t weights;      /* bytes of tensors */
    uint64_t adapter;      /* bytes of the adapter's */
    uint64_t vocabulary;   /* bytes of the vocabulary's texts and merges */
};

/* Reads and checks the file of spec. params: n_ctx (0 = min(4096, trained)), n_seq, n_parallel. */
enum packllm_status member_facts_read(struct member_facts *out,
                                      const struct packllm_member_spec *spec, int index,
                                      const struct packllm_params *params,
                                      struct packllm_error *err);
/* A file whose vocabulary alone is wanted: it may lack weights, and what only they need. */
enum packllm_status member_facts_vocabulary(struct member_facts *out,
                                            const struct packllm_member_spec *spec, int index,
                                            struct packllm_error *err);
/* The model in an open header, without the request's own numbers. */
enum packllm_status member_facts_check(struct member_facts *out, const struct member_gguf *g,
                                       const char *label, int index, struct packllm_error *err);
/* How errors call a member: member 'name' (path). */
void member_facts_label(char *out, size_t room, const char *name, const char *path);

/* Cells of a KV cache for n_ctx tokens of each timeline and forks of n_seq histories in all. */
uint32_t member_llama_cells(uint32_t n_ctx, uint32_t n_parallel, uint32_t n_seq);
/* How many states are kept: none where a memory can be cut. */
uint32_t member_llama_marks(bool whole_only, uint32_t n_seq);
void member_facts_memory(const struct member_facts *f, struct packllm_memory *out);

#endif
