/* oracle.h - what libllama itself says, asked for in the plainest way: no packllm code, one sequence,
 * default context, its own tokenizer with its own start. For tests that one member through packllm
 * is that member. Header only, so that any test of tests/model can include it. */
#ifndef TESTS_MODEL_ORACLE_H
#define TESTS_MODEL_ORACLE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "llama.h"

/* Whether the library has the attention of tools/llama/attention.c. */
extern const int packllm_attention __attribute__((weak));

static inline bool oracle_attention_is_ours(void) {
    return &packllm_attention != NULL && packllm_attention != 0;
}

struct oracle {
    struct llama_model *model;
    struct llama_context *context;
    const struct llama_vocab *vocab;
};

static inline void oracle_quiet(enum ggml_log_level level, const char *text, void *data) {
    (void)level, (void)text, (void)data;
}

static inline void oracle_close(struct oracle *o) {
    if (o->context != NULL) {
        llama_free(o->context);
    }
    if (o->model != NULL) {
        llama_model_free(o->model);
    }
    *o = (struct oracle){0};
}

/* n_ctx tokens; flash attention as packllm sets it, so that tolerances stay small. */
static inline bool oracle_open(struct oracle *o, const char *path, uint32_t n_ctx,
                               int32_t n_threads) {
    struct llama_model_params mp = llama_model_default_params();
    struct llama_context_params cp = llama_context_default_params();
    llama_log_set(oracle_quiet, NULL);
    llama_backend_init();
    *o = (struct oracle){0};
    mp.n_gpu_layers = 0;
    mp.use_extra_bufts = ggml_cpu_has_amx_int8() == 0;
    cp.n_ctx = n_ctx;
    cp.n_batch = n_ctx;
    cp.n_threads = cp.n_threads_batch = n_threads;
    cp.flash_attn_type =
        oracle_attention_is_ours() ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    o->model = llama_model_load_from_file(path, mp);
    o->context = o->model != NULL ? llama_init_from_model(o->model, cp) : NULL;
    if (o->context == NULL) {
        oracle_close(o);
        return false;
    }
    o->vocab = llama_model_get_vocab(o->model);
    return true;
}

/* Ids of the text; with the start token that the model itself adds, if add_start. */
static inline int32_t oracle_tokenize(const struct oracle *o, const char *text, size_t size,
                                      bool add_start, llama_token *out, int32_t room) {
    return llama_tokenize(o->vocab, text, (int32_t)size, out, room, add_start, false);
}

/* Nothing remembered, then the tokens in one batch; rows of all of them are kept. */
static inline bool oracle_eval(struct oracle *o, const llama_token *tokens, int32_t n) {
    struct llama_batch batch = llama_batch_init(n, 0, 1);
    llama_memory_clear(llama_get_memory(o->context), true);
    for (int32_t i = 0; i < n; i++) {
        batch.token[i] = tokens[i];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    batch.n_tokens = n;
    bool good = llama_decode(o->context, batch) == 0;
    llama_batch_free(batch);
    return good;
}

static inline const float *oracle_row(const struct oracle *o, int32_t i) {
    return llama_get_logits_ith(o->context, i);
}

/* log softmax(row)[token] over the whole vocabulary, nats. */
static inline double oracle_logprob(const struct oracle *o, const float *row, llama_token token) {
    int32_t n = llama_vocab_n_tokens(o->vocab);
    float max = row[0];
    double sum = 0;
    for (int32_t i = 1; i < n; i++) {
        max = row[i] > max ? row[i] : max;
    }
    for (int32_t i = 0; i < n; i++) {
        sum += exp((double)(row[i] - max));
    }
    return (double)(row[token] - max) - log(sum);
}

/* How far the second best token is behind the best one, nats. */
static inline double oracle_margin(const struct oracle *o, const float *row) {
    float best = -INFINITY, second = -INFINITY;
    for (int32_t i = 0; i < llama_vocab_n_tokens(o->vocab); i++) {
        if (row[i] > best) {
            second = best;
            best = row[i];
        } else if (row[i] > second) {
            second = row[i];
        }
    }
    return (double)(best - second);
}

/* Mean negative log-likelihood of tokens 1..n-1 in nats; NAN where it cannot be evaluated. */
static inline double oracle_mean_nll(struct oracle *o, const llama_token *tokens, int32_t n) {
    double sum = 0;
    if (n < 2 || !oracle_eval(o, tokens, n)) {
        return (double)NAN;
    }
    for (int32_t i = 0; i + 1 < n; i++) {
        sum -= oracle_logprob(o, oracle_row(o, i), tokens[i + 1]);
    }
    return sum / (n - 1);
}

/* Greedy continuation of the n tokens already in tokens[], up to room tokens in all, an end of
 * generation, or max new ones. Text of the new tokens into out (NUL-terminated). Returns how many
 * tokens were written, or -1. Control tokens are not written, but continue. */
static inline int32_t oracle_greedy(struct oracle *o, llama_token *tokens, int32_t n, int32_t room,
                                    int32_t max, char *out, size_t out_room) {
    int32_t vocabulary = llama_vocab_n_tokens(o->vocab), done = 0;
    size_t size = 0;
    out[0] = '\0';
    if (n < 1 || !oracle_eval(o, tokens, n)) {
        return -1;
    }
    const float *row = oracle_row(o, n - 1);
    while (done < max && n < room) {
        llama_token best = 0;
        for (llama_token i = 1; i < vocabulary; i++) {
            best = row[i] > row[best] ? i : best;
        }
        if (llama_vocab_is_eog(o->vocab, best)) {
            break;
        }
        int32_t length = llama_token_to_piece(o->vocab, best, out + size,
                                              (int32_t)(out_room - size - 1), 0, false);
        if (length < 0) {
            return -1;
        }
        size += (size_t)length;
        out[size] = '\0';
        tokens[n++] = best;
        done++;
        struct llama_batch batch = llama_batch_get_one(&tokens[n - 1], 1);
        if (llama_decode(o->context, batch) != 0) {
            return -1;
        }
        row = oracle_row(o, -1);
    }
    return done;
}

#endif
