/* member.h - a language model as the rest of packllm sees it: a vocabulary, a tokenizer, and
 * contexts that turn histories of tokens into rows of logits. The rooms above know no llama.cpp.
 *
 *   member          one model: loaded weights and vocabulary; shared, does not change
 *   member_context  its KV caches for one timeline: up to n_seq histories side by side
 *
 * A history (sequence) is a list of tokens from the start of the text; it begins with the member's
 * start token, which the caller evaluates like any other. Sequences are numbered 0..n_seq-1.
 * Threads: one thread at a time per context, and per member for evaluation. abort_flag may be set
 * from anywhere.
 */
#ifndef MEMBER_MEMBER_H
#define MEMBER_MEMBER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "canon/canon.h"
#include "packllm/packllm.h"
#include "vocab/table.h"

struct packllm_own_member; /* packllm.h, unstable tier */
struct member;
struct member_context;

/* One token to evaluate: appended to the end of its sequence. */
struct member_item {
    int32_t token;
    int32_t seq;
    bool want_row;
};

/* A wanted row: logits[n_vocab] (table.n) of item `item`, valid during the call only. Returns < 0
 * to stop the evaluation (with *err filled). Called in the order of items. */
typedef enum packllm_status (*member_row_fn)(void *ctx, size_t item, const float *logits,
                                             struct packllm_error *err);

/* A control token that a template's words spell; text lives as long as the member. */
struct member_control {
    int32_t token;
    const char *text;
    bool strips_left, strips_right; /* white space beside it belongs to it */
};

struct buf;
struct member_ops {
    /* Canonical tokenisation of text (UTF-8, size bytes; contents: special tokens are not parsed)
     * without the start token. For a member with space_prefix the pieces spell " " + text, but
     * where it stands inside a text. E_TEXT if the vocabulary cannot spell it. *out_n <= cap, else
     * E_ARG. From any thread. */
    enum packllm_status (*tokenize)(struct member *m, const char *text, size_t size, bool inside,
                                    int32_t *out, size_t cap, size_t *out_n,
                                    struct packllm_error *err);
    enum packllm_status (*context_open)(struct member *m, struct member_context **out,
                                        struct packllm_error *err);
    void (*context_close)(struct member_context *c);
    /* Evaluates items in order, in bounded chunks. On an error every sequence is back at the length
     * it had before the call. E_CONTEXT when the cache has no room; E_CANCELLED on abort_flag. */
    enum packllm_status (*eval)(struct member_context *c, const struct member_item *items, size_t n,
                                member_row_fn on_row, void *ctx, struct packllm_error *err);
    /* Makes dst hold the first n tokens of src (dst != src; what dst held is dropped). */
    enum packllm_status (*fork)(struct member_context *c, int32_t dst, int32_t src, uint32_t n,
                                struct packllm_error *err);
    /* Keeps the first n tokens of seq; n = 0 drops it (always works). */
    enum packllm_status (*truncate)(struct member_context *c, int32_t seq, uint32_t n,
                                    struct packllm_error *err);
    /* The messages, then the beginning of the reply, as the template writes them; NULL: it has none.
     * Called through member_chat.h only. */
    enum packllm_status (*chat_render)(struct member *m, const struct packllm_message *messages,
                                       size_t n, struct buf *out, struct packllm_error *err);
    /* The control tokens in words of the template, in their order; E_ARG where cap is too small. */
    enum packllm_status (*chat_controls)(struct member *m, const char *words, size_t size,
                                         struct member_control *out, size_t cap, size_t *out_n,
                                         struct packllm_error *err);
    void (*close)(struct member *m);
};

struct member {
    const struct member_ops *ops;
    char *name; /* as the user calls it */
    char *path;
    char *description;
    int index; /* in the pack: errors name it */
    struct vocab_table table;
    const struct canon *canon; /* its tokenizer's rules, or NULL: not known, ask tokenize */
    int32_t start;             /* first token of a history, or -1: none */
    bool space_prefix;         /* puts a space before a text: condition on it, do not score it */
    uint32_t n_ctx;            /* tokens a timeline may have, start token included */
    uint32_t n_ctx_train;
    uint32_t n_seq;      /* histories of a context */
    uint32_t n_parallel; /* timelines that they are for: n_ctx tokens each */
    size_t rows_stay; /* rows of a call of so many tokens stay where they are until the next call */
    uint64_t bytes_weights;
    double prior, cap;
    double temperature;    /* what is pooled is its q^(1/t); 1: as it is */
    const char *chat_form; /* how its chat template is called; "plain": none */
    char *chat_warning;    /* why it is plain, or NULL */
    int32_t chat_start;    /* first token of what its template writes, or -1 */
};

struct member_context {
    struct member *member;
    uint32_t *length;        /* [n_seq] tokens in each sequence, kept by the implementation */
    atomic_bool *abort_flag; /* polled during eval; may be NULL */
    float greatest;          /* of the logits of the row that is being handed out */
    uint64_t forwards;       /* tokens evaluated in all */
    double seconds;          /* spent inside the model library in all */
};

/* Thin, checked front (member.c): arguments are checked here, once, before any implementation. */
enum packllm_status member_tokenize(struct member *m, const char *text, size_t size, int32_t *out,
                                    size_t cap, size_t *out_n, struct packllm_error *err);
/* The same of bytes from the middle of a text: nothing is put before them. */
enum packllm_status member_tokenize_inside(struct member *m, const char *text, size_t size,
                                           int32_t *out, size_t cap, size_t *out_n,
                                           struct packllm_error *err);
enum packllm_status member_context_open(struct member *m, struct member_context **out,
                                        struct packllm_error *err);
void member_context_close(struct member_context *c); /* NULL allowed */
enum packllm_status member_eval(struct member_context *c, const struct member_item *items, size_t n,
                                member_row_fn on_row, void *ctx, struct packllm_error *err);
enum packllm_status member_fork(struct member_context *c, int32_t dst, int32_t src, uint32_t n,
                                struct packllm_error *err);
enum packllm_status member_truncate(struct member_context *c, int32_t seq, uint32_t n,
                                    struct packllm_error *err);
void member_close(struct member *m); /* NULL allowed */

/* Opens a GGUF file on libllama (member_llama.c), or says that this build has none. index and
 * counts for the progress callback of params. Thread pool and back end are shared, reference
 * counted. params has no zero fields left to default except n_ctx (0 = min(4096, trained)). */
enum packllm_status member_llama_open(struct member **out, const struct packllm_member_spec *spec,
                                      int index, const struct packllm_params *params,
                                      struct packllm_error *err);
/* The same, but of the file only the vocabulary is loaded: n_ctx is 0 and no context can be opened.
 * Files without weights will do. */
enum packllm_status member_llama_vocabulary(struct member **out,
                                            const struct packllm_member_spec *spec, int index,
                                            const struct packllm_params *params,
                                            struct packllm_error *err);
/* Estimate from the file's header alone. */
enum packllm_status member_llama_memory(const struct packllm_member_spec *spec, int index,
                                        const struct packllm_params *params,
                                        struct packllm_memory *out, struct packllm_error *err);

/* A member from callbacks (member_own.c): for tests, teaching, and models of one's own. */
enum packllm_status member_own_open(struct member **out, const struct packllm_own_member *own,
                                    int index, const struct packllm_params *params,
                                    struct packllm_error *err);

#endif
