/* member_llama.c - members on libllama. The ONLY file that includes llama.h, hence its length:
 * everything above sees tokens, rows and histories. What libllama would abort on is refused before it gets there, by the
 * checked front (member.c), by our own reader of the file (member_gguf.c), or here.
 *
 * Rollback and forks are promised to the rooms above for every class of model, but libllama gives
 * them for plain attention only: a recurrent state cannot go back, and a sliding window may be
 * overwritten. So each sequence has its tokens (histories) and the number of them that libllama's
 * memory holds (`held`); what it does not hold any more is evaluated again when next needed, and
 * counted in `forwards`. So that this is little, states of recurrent and hybrid models are kept at
 * places where a history may branch (`marks`). */
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/status.h"
#include "llama.h"
#include "member/member.h"
#include "member/member_base.h"
#include "member/member_facts.h"
#include "member/member_log.h"
#include "member/member_rules.h"
#include "member/member_spell.h"

enum { CHUNK = MEMBER_LLAMA_CHUNK };

/* Some byte-pair pre-tokenisers run through std::regex, which recurses once a character: 300,000
 * bytes without a space end the process (deepseek, falcon, gpt-neox). A longer run is cut here. */
enum { RUN_MAX = 2048 };

/* Calls with more tokens read a text: nothing branches off before its end. */
enum { MARKED_MOST = 32 };

/* What members of one file share: weights, and the vocabulary in our form. */
struct weights {
    char *path;
    int32_t n_gpu_layers;
    bool whole; /* not the vocabulary alone */
    struct llama_model *model;
    struct vocab_table table; /* filled by the first member, as are the rules */
    struct canon *canon;      /* or NULL */
    unsigned users;
    struct weights *next;
};

struct llama_member {
    struct member base;
    struct weights *weights;
    struct llama_model *model; /* of weights */
    const struct llama_vocab *vocab;
    char *lora; /* path of the adapter, or NULL */
    float lora_scale;
    struct llama_adapter_lora *adapter; /* loaded while contexts use it */
    unsigned adapter_users;
    int32_t n_threads;
    int32_t n_swa;
    bool whole_only;       /* recurrent, hybrid: a state can be copied or dropped as a whole only */
    bool cut_runs;         /* long runs are cut before libllama tokenises them */
    int32_t space_mark[3]; /* byte tokens of U+2581 where the vocabulary writes a space so; or -1 */
    void (*log)(void *data, int level, const char *line);
    void *log_data;
    const char *chat; /* a name of libllama's, or the file's own template; NULL: plain */
};

struct pool {
    struct ggml_threadpool *threads; /* NULL: one thread needs none */
    int32_t n_threads;
    unsigned users;
    pthread_mutex_t busy; /* a pool computes one graph at a time */
    struct pool *next;
};

struct llama_ctx {
    struct member_context base;
    struct member_histories histories;
    struct llama_context *context;
    llama_memory_t memory;
    struct pool *pool;
    uint32_t *held;  /* [n_seq] tokens of the history that libllama's memory holds */
    uint32_t *saved; /* [n_seq] lengths before a call */
    uint32_t n_cells;
    /* whole_only: states kept, in libllama's sequences n_seq + 0..n_marks-1; length 0: none */
    struct member_histories marks;
    uint32_t n_marks;
    uint64_t mark_used[MEMBER_LLAMA_MARKS], stamp;
    bool adapted; /* uses the member's adapter */
    struct llama_batch batch;
};

/* ---- libllama's log ------------------------------------------------------------------------ */

static void on_log(enum ggml_log_level level, const char *text, void *data) {
    (void)data;
    member_log_add(level == GGML_LOG_LEVEL_CONT ? MEMBER_LOG_SAME : (int)level, text);
}

static void log_begin(const struct llama_member *m) {
    member_log_begin(m->log, m->log_data);
}

static void start_library(void) {
    llama_log_set(on_log, NULL);
    llama_backend_init();
}

/* ---- the shared thread pool ---------------------------------------------------------------- */

/* One pool per number of threads for the whole process: members of a pack take turns, and idle
 * workers of a second pool would poll on the cores that the first one needs. */
static pthread_mutex_t pools_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pool *pools;

static struct pool *pool_take(int32_t n_threads) {
    (void)pthread_mutex_lock(&pools_lock);
    struct pool *p = pools;
    while (p != NULL && p->n_threads != n_threads) {
        p = p->next;
    }
    if (p == NULL && (p = alloc_zero(1, sizeof *p)) != NULL) {
        struct ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
        /* Workers that look out for the next graph keep sessions' threads waiting. */
        params.poll = 0;
        p->n_threads = n_threads;
        p->threads = n_threads > 1 ? ggml_threadpool_new(&params) : NULL;
        (void)pthread_mutex_init(&p->busy, NULL);
        p->next = pools;
        pools = p;
    }
    if (p != NULL) {
        p->users++;
    }
    (void)pthread_mutex_unlock(&pools_lock);
    return p;
}

static void pool_give(struct pool *p) {
    if (p == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&pools_lock);
    if (--p->users == 0) {
        struct pool **link = &pools;
        while (*link != p) {
            link = &(*link)->next;
        }
        *link = p->next;
        if (p->threads != NULL) {
            ggml_threadpool_free(p->threads);
        }
        (void)pthread_mutex_destroy(&p->busy);
        base_free(p);
    }
    (void)pthread_mutex_unlock(&pools_lock);
}

/* ---- shared weights and adapters ----------------------------------------------------------- */

static pthread_mutex_t weights_lock = PTHREAD_MUTEX_INITIALIZER;
static struct weights *all_weights;

static void weights_give(struct weights *w) {
    (void)pthread_mutex_lock(&weights_lock);
    if (--w->users == 0) {
        struct weights **link = &all_weights;
        while (*link != w) {
            link = &(*link)->next;
        }
        *link = w->next;
        if (w->model != NULL) {
            llama_model_free(w->model);
        }
        vocab_table_done(&w->table);
        canon_close(w->canon);
        base_free(w->path);
        base_free(w);
    }
    (void)pthread_mutex_unlock(&weights_lock);
}

/* The entry of that file, empty where it is the first use. */
static struct weights *weights_take(const char *path, int32_t n_gpu_layers, bool whole) {
    (void)pthread_mutex_lock(&weights_lock);
    struct weights *w = all_weights;
    while (w != NULL &&
           (strcmp(w->path, path) != 0 || w->n_gpu_layers != n_gpu_layers || w->whole != whole)) {
        w = w->next;
    }
    char *copy = w == NULL ? alloc_text(path, strlen(path)) : NULL;
    if (copy != NULL && (w = alloc_zero(1, sizeof *w)) != NULL) {
        w->path = copy;
        w->n_gpu_layers = n_gpu_layers;
        w->whole = whole;
        w->next = all_weights;
        all_weights = w;
    }
    if (w != NULL) {
        w->users++;
    } else {
        base_free(copy);
    }
    (void)pthread_mutex_unlock(&weights_lock);
    return w;
}

/* An adapter stays loaded while a context uses it, no longer: each one that is loaded makes the
 * graphs of all later contexts over its base larger (docs/internals/member.md). */
static enum packllm_status adapter_take(struct llama_member *m, struct packllm_error *err) {
    enum packllm_status s = PACKLLM_OK;
    (void)pthread_mutex_lock(&weights_lock);
    if (m->adapter == NULL) {
        log_begin(m);
        m->adapter = llama_adapter_lora_init(m->model, m->lora);
        const char *why = member_log_end();
        if (m->adapter == NULL) {
            s = fail(err, PACKLLM_E_MODEL, m->base.index,
                     "member '%s': its adapter '%s' could not be loaded: %s", m->base.name, m->lora,
                     why);
        }
    }
    m->adapter_users += s == PACKLLM_OK;
    (void)pthread_mutex_unlock(&weights_lock);
    return s;
}

static void adapter_give(struct llama_member *m) {
    (void)pthread_mutex_lock(&weights_lock);
    if (--m->adapter_users == 0) {
        llama_adapter_lora_free(m->adapter);
        m->adapter = NULL;
    }
    (void)pthread_mutex_unlock(&weights_lock);
}

/* ---- vocabulary ---------------------------------------------------------------------------- */

/* Ends of text. is_eog also holds marks of fill-in-the-middle, and Gemma's HTML tag </s>, which
 * libllama takes for an end because of its spelling. */
static bool is_end(const struct llama_vocab *v, llama_token id) {
    if (!llama_vocab_is_eog(v, id)) {
        return false;
    }
    if (id == llama_vocab_eos(v) || id == llama_vocab_eot(v)) {
        return true;
    }
    const int attr = (int)llama_vocab_get_attr(v, id);
    return id != llama_vocab_fim_pad(v) && id != llama_vocab_fim_rep(v) &&
           id != llama_vocab_fim_sep(v) &&
           (strcmp(llama_vocab_get_text(v, id), "</s>") != 0 ||
            (attr & (LLAMA_TOKEN_ATTR_NORMAL | LLAMA_TOKEN_ATTR_USER_DEFINED)) == 0);
}

static bool is_suppressed(const struct llama_vocab *v, llama_token id) {
    int32_t n = 0;
    const llama_token *list = llama_vocab_get_suppress_tokens(v, &n);
    for (int32_t i = 0; i < n; i++) {
        if (list[i] == id) {
            return true;
        }
    }
    return false;
}

/* Kinds are bit masks and may be combined: the strictest bit wins. */
static enum vocab_kind kind_of(const struct llama_vocab *v, llama_token id) {
    const int attr = (int)llama_vocab_get_attr(v, id);
    const char *text = llama_vocab_get_text(v, id);
    if (is_end(v, id)) {
        return VOCAB_END;
    }
    if ((attr & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN | LLAMA_TOKEN_ATTR_UNUSED)) ||
        member_is_padding(text, id) || is_suppressed(v, id)) {
        return VOCAB_MASKED;
    }
    if (attr & LLAMA_TOKEN_ATTR_USER_DEFINED) {
        return VOCAB_USER;
    }
    if (attr & LLAMA_TOKEN_ATTR_BYTE) {
        return member_byte_of_text(text) >= 0 ? VOCAB_BYTE : VOCAB_MASKED;
    }
    return attr & LLAMA_TOKEN_ATTR_NORMAL ? VOCAB_NORMAL : VOCAB_MASKED;
}

static enum packllm_status add_token(struct llama_member *m, struct vocab_builder *b, char **piece,
                                     int32_t *room, llama_token id, struct packllm_error *err) {
    enum vocab_kind kind = kind_of(m->vocab, id);
    int32_t size = llama_token_to_piece(m->vocab, id, *piece, *room, 0, true);
    if (size < 0) {
        char *larger = alloc_resize(*piece, (size_t)-size, 1);
        if (larger == NULL) {
            return fail_memory(err, (size_t)-size);
        }
        *piece = larger;
        *room = -size;
        size = llama_token_to_piece(m->vocab, id, *piece, *room, 0, true);
    }
    static const char unknown[] = "[UNK_BYTE_0x"; /* what libllama writes for no byte at all */
    if (size < 0 || (kind == VOCAB_NORMAL && (size_t)size >= sizeof unknown &&
                     memcmp(*piece, unknown, sizeof unknown - 1) == 0)) {
        kind = VOCAB_MASKED;
        size = 0;
    }
    return vocab_builder_add(b, *piece, (size_t)size, kind, err);
}

static enum packllm_status fill_table(struct llama_member *m, struct packllm_error *err) {
    int32_t n = llama_vocab_n_tokens(m->vocab), room = 256;
    struct vocab_builder b = {0};
    char *piece = alloc_array((size_t)room, 1);
    enum packllm_status s =
        piece != NULL ? vocab_builder_begin(&b, (uint32_t)n, err) : fail_memory(err, (size_t)room);
    for (llama_token id = 0; s == PACKLLM_OK && id < n; id++) {
        s = add_token(m, &b, &piece, &room, id, err);
    }
    base_free(piece);
    if (s != PACKLLM_OK) {
        vocab_builder_drop(&b);
        return s;
    }
    vocab_builder_end(&b, &m->weights->table);
    return PACKLLM_OK;
}

/* BOS ids lie (SmolLM2's is <|im_start|> but it adds none); so: BOS where the file says that it is
 * added, else <|endoftext|>, else EOS, else BOS, each only if it is a control token. */
static int32_t find_start(const struct llama_vocab *v) {
    llama_token bos = llama_vocab_bos(v), eos = llama_vocab_eos(v);
    if (llama_vocab_get_add_bos(v) && bos >= 0) {
        return bos;
    }
    for (llama_token id = 0; id < llama_vocab_n_tokens(v); id++) {
        if (llama_vocab_is_control(v, id) &&
            strcmp(llama_vocab_get_text(v, id), "<|endoftext|>") == 0) {
            return id;
        }
    }
    if (eos >= 0 && llama_vocab_is_control(v, eos)) {
        return eos;
    }
    return bos >= 0 && llama_vocab_is_control(v, bos) ? bos : -1;
}

/* A SentencePiece vocabulary must have all bytes as tokens: where it does not, libllama throws out
 * of its tokenizer and the process ends. C0, C1 and F5..FF stand in no text. */
static enum packllm_status check_bytes(const struct llama_member *m, struct packllm_error *err) {
    bool has[256] = {false};
    for (llama_token id = 0; id < (llama_token)m->base.table.n; id++) {
        const char *text = llama_vocab_get_text(m->vocab, id);
        int byte = member_byte_of_text(text);
        if (byte >= 0) {
            has[byte] = true;
        } else if (text[0] != '\0' && text[1] == '\0') {
            has[(unsigned char)text[0]] = true;
        }
    }
    for (unsigned byte = 0; byte < 0xf5; byte++) {
        if (!has[byte] && byte != 0xc0 && byte != 0xc1) {
            return fail(err, PACKLLM_E_MODEL, m->base.index,
                        "member '%s' (%s): its SentencePiece vocabulary has no token for byte "
                        "0x%02x, so it cannot spell every text; use a model with byte fallback",
                        m->base.name, m->base.path, byte);
        }
    }
    return PACKLLM_OK;
}

static int32_t tokenize_raw(const struct llama_member *m, const char *text, size_t size,
                            int32_t *out, size_t cap) {
    int32_t room = cap < INT32_MAX ? (int32_t)cap : INT32_MAX;
    return llama_tokenize(m->vocab, text, (int32_t)size, out, room, false, false);
}

/* Where a vocabulary writes a space as U+2581, that character itself in a text would come back as a
 * space; it is spelled by its three byte tokens instead. */
static void find_space_mark(struct llama_member *m) {
    static const char mark[] = MEMBER_SPACE_MARK;
    int32_t tokens[8];
    int32_t n = tokenize_raw(m, mark, 3, tokens, 8);
    m->space_mark[0] = -1;
    if (n != 1 || vocab_size(&m->base.table, tokens[0]) != 1 ||
        *vocab_bytes(&m->base.table, tokens[0]) != ' ') {
        return;
    }
    int32_t found[3] = {-1, -1, -1};
    for (int32_t id = 0; id < (int32_t)m->base.table.n; id++) {
        for (int i = 0; i < 3; i++) {
            if (m->base.table.kind[id] == VOCAB_BYTE &&
                *vocab_bytes(&m->base.table, id) == (uint8_t)mark[i]) {
                found[i] = id;
            }
        }
    }
    if (found[0] >= 0 && found[1] >= 0 && found[2] >= 0) {
        memcpy(m->space_mark, found, sizeof found);
    }
}

static int32_t reference_tokens(void *data, const char *text, size_t size, int32_t *out,
                                size_t cap) {
    return tokenize_raw(data, text, size, out, cap);
}

/* The tokenizer's rules in our own form, where they are known. */
static enum packllm_status find_rules(struct llama_member *m, struct packllm_error *err) {
    const uint32_t n = m->base.table.n;
    struct canon_token *tokens = alloc_zero(n, sizeof *tokens);
    if (tokens == NULL) {
        return fail_memory(err, n * sizeof *tokens);
    }
    for (uint32_t i = 0; i < n; i++) {
        const llama_token id = (llama_token)i;
        const int attr = (int)llama_vocab_get_attr(m->vocab, id);
        const bool added = (attr & LLAMA_TOKEN_ATTR_USER_DEFINED) != 0 &&
                           (attr & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) == 0;
        tokens[i].text = llama_vocab_get_text(m->vocab, id);
        tokens[i].size = (uint32_t)strlen(tokens[i].text);
        tokens[i].score = llama_vocab_get_score(m->vocab, id);
        tokens[i].flags = (added ? CANON_ADDED : 0U) |
                          ((attr & LLAMA_TOKEN_ATTR_LSTRIP) != 0 ? CANON_STRIP_LEFT : 0U) |
                          ((attr & LLAMA_TOKEN_ATTR_RSTRIP) != 0 ? CANON_STRIP_RIGHT : 0U);
    }
    enum packllm_status s = member_rules_open(&m->weights->canon, m->base.path, m->base.name,
                                              m->base.index, tokens, n, reference_tokens, m, err);
    base_free(tokens);
    return s;
}

/* ---- tokenising ---------------------------------------------------------------------------- */

static enum packllm_status llama_member_tokenize(struct member *base, const char *text, size_t size,
                                                 bool inside, int32_t *out, size_t cap,
                                                 size_t *out_n, struct packllm_error *err) {
    struct llama_member *m = (struct llama_member *)base;
    char *spaced = NULL;
    if (size > INT32_MAX / 2) {
        return fail(err, PACKLLM_E_ARG, base->index, "member '%s': a text of %zu bytes is too long",
                    base->name, size);
    }
    if (base->space_prefix && !inside) {
        spaced = alloc_array(size + 1, 1);
        if (spaced == NULL) {
            return fail_memory(err, size + 1);
        }
        spaced[0] = ' ';
        memcpy(spaced + 1, text, size);
        text = spaced;
        size++;
    }
    if (base->canon != NULL) {
        enum packllm_status s =
            member_rules_tokenize(base->canon, text, size, out, cap, out_n, err);
        base_free(spaced);
        return s;
    }
    size_t n = 0;
    bool full = false;
    for (size_t at = 0; at < size && !full;) {
        size_t span = member_span(text + at, size - at, m->cut_runs ? RUN_MAX : SIZE_MAX,
                                  m->space_mark[0] >= 0);
        if (span > 0) {
            int32_t got = tokenize_raw(m, text + at, span, out + n, cap - n);
            full = got < 0;
            n += full ? 0 : (size_t)got;
            at += span;
        } else { /* at U+2581 */
            full = cap - n < 3;
            for (int i = 0; i < 3 && !full; i++) {
                out[n++] = m->space_mark[i];
            }
            at += 3;
        }
    }
    base_free(spaced);
    if (full) {
        return fail(err, PACKLLM_E_ARG, base->index,
                    "member '%s': the text has more than the %zu tokens there is room for",
                    base->name, cap);
    }
    *out_n = n;
    return PACKLLM_OK;
}

/* ---- contexts ------------------------------------------------------------------------------ */

static bool on_abort(void *data) {
    const struct llama_ctx *c = data;
    return c->base.abort_flag != NULL && atomic_load(c->base.abort_flag);
}

static void llama_member_context_close(struct member_context *base) {
    struct llama_ctx *c = (struct llama_ctx *)base;
    if (c->context != NULL) {
        llama_detach_threadpool(c->context);
        llama_free(c->context);
    }
    if (c->batch.token != NULL) {
        llama_batch_free(c->batch);
    }
    if (c->adapted) {
        adapter_give((struct llama_member *)base->member);
    }
    pool_give(c->pool);
    member_histories_done(&c->histories);
    member_histories_done(&c->marks);
    base_free(c->saved);
    base_free(c->held);
    base_free(c);
}

/* Not 0 where the library computes attention by tools/llama/attention.c. Otherwise flash attention
 * is off: ggml's own splits a single token's cells by the number of threads, and then the bits of a
 * row depend on it. See docs/internals/member.md. */
extern const int packllm_attention __attribute__((weak));

static enum llama_flash_attn_type attention(const struct llama_member *m) {
    if (&packllm_attention == NULL || packllm_attention == 0) {
        return LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    return m->weights->n_gpu_layers == 0 ? LLAMA_FLASH_ATTN_TYPE_ENABLED
                                         : LLAMA_FLASH_ATTN_TYPE_AUTO;
}

static struct llama_context_params context_params(const struct llama_member *m,
                                                  struct llama_ctx *c) {
    struct llama_context_params p = llama_context_default_params();
    p.n_ctx = c->n_cells;
    p.n_batch = CHUNK;
    p.n_ubatch = CHUNK;
    p.n_seq_max = m->base.n_seq + c->n_marks;
    p.n_outputs_max = p.n_seq_max > CHUNK ? p.n_seq_max : CHUNK; /* less: libllama aborts */
    p.n_threads = m->n_threads;
    p.n_threads_batch = m->n_threads;
    p.flash_attn_type = attention(m);
    p.abort_callback = on_abort;
    p.abort_callback_data = c;
    p.kv_unified = true;
    p.swa_full = true;
    return p;
}

static enum packllm_status context_start(struct llama_ctx *c, struct packllm_error *err) {
    struct llama_member *m = (struct llama_member *)c->base.member;
    if (m->lora != NULL) {
        enum packllm_status s = adapter_take(m, err);
        if (s != PACKLLM_OK) {
            return s;
        }
        c->adapted = true;
    }
    log_begin(m);
    c->context = llama_init_from_model(m->model, context_params(m, c));
    if (c->context == NULL) {
        return fail(err, PACKLLM_E_MODEL, m->base.index,
                    "member '%s' (%s): no context of %" PRIu32 " tokens could be made: %s",
                    m->base.name, m->base.path, m->base.n_ctx, member_log_end());
    }
    (void)member_log_end();
    c->memory = llama_get_memory(c->context);
    if (c->memory == NULL || llama_pooling_type(c->context) != LLAMA_POOLING_TYPE_NONE ||
        !llama_get_causal_attn(c->context)) {
        return fail(err, PACKLLM_E_MODEL, m->base.index,
                    "member '%s' (%s) is an embedding model or an encoder: it predicts no text",
                    m->base.name, m->base.path);
    }
    if (c->adapted && llama_set_adapters_lora(c->context, &m->adapter, 1, &m->lora_scale) != 0) {
        return fail(err, PACKLLM_E_MODEL, m->base.index,
                    "member '%s': its adapter '%s' could not be set", m->base.name, m->lora);
    }
    llama_attach_threadpool(c->context, c->pool->threads, c->pool->threads);
    return PACKLLM_OK;
}

static enum packllm_status llama_member_context_open(struct member *base,
                                                     struct member_context **out,
                                                     struct packllm_error *err) {
    struct llama_member *m = (struct llama_member *)base;
    struct llama_ctx *c = alloc_zero(1, sizeof *c);
    if (c == NULL) {
        return fail_memory(err, sizeof *c);
    }
    c->base.member = base;
    c->n_cells = member_llama_cells(base->n_ctx, base->n_parallel, base->n_seq);
    c->n_marks = member_llama_marks(m->whole_only, base->n_seq);
    enum packllm_status s = member_histories_init(&c->histories, base->n_seq, err);
    if (s == PACKLLM_OK && c->n_marks > 0) {
        s = member_histories_init(&c->marks, c->n_marks, err);
    }
    if (s == PACKLLM_OK) {
        c->held = alloc_zero(base->n_seq, sizeof *c->held);
        c->saved = alloc_zero(base->n_seq, sizeof *c->saved);
        c->pool = pool_take(m->n_threads);
        c->batch = llama_batch_init(CHUNK, 0, 1);
        s = c->held == NULL || c->saved == NULL || c->pool == NULL ? fail_memory(err, sizeof *c)
                                                                   : context_start(c, err);
    }
    if (s != PACKLLM_OK) {
        llama_member_context_close(&c->base);
        return s;
    }
    c->base.length = c->histories.length;
    *out = &c->base;
    return PACKLLM_OK;
}

/* ---- evaluating ---------------------------------------------------------------------------- */

/* Makes libllama hold no more than n tokens of seq: fewer where it cannot go back. */
static void hold(struct llama_ctx *c, int32_t seq, uint32_t n) {
    const struct llama_member *m = (const struct llama_member *)c->base.member;
    bool good = n == 0 ? false : llama_memory_seq_rm(c->memory, seq, (llama_pos)n, -1);
    if (good) {
        /* Removing never fails where the attention has a window, even if cells of the window that
         * is now needed were used for later tokens. */
        llama_pos first = llama_memory_seq_pos_min(c->memory, seq);
        llama_pos needed = m->n_swa > 0 ? (llama_pos)n - m->n_swa + 1 : 0;
        good = first >= 0 && (m->whole_only || first <= (needed > 0 ? needed : 0)) &&
               llama_memory_seq_pos_max(c->memory, seq) == (llama_pos)n - 1;
    }
    if (!good) {
        (void)llama_memory_seq_rm(c->memory, seq, -1, -1);
    }
    c->held[seq] = good ? n : 0;
}

/* ---- states kept --------------------------------------------------------------------------- */

static void mark_drop(struct llama_ctx *c, uint32_t k) {
    (void)llama_memory_seq_rm(c->memory, (llama_seq_id)(c->base.member->n_seq + k), -1, -1);
    c->marks.length[k] = 0;
}

static void marks_drop(struct llama_ctx *c) {
    for (uint32_t k = 0; k < c->n_marks; k++) {
        mark_drop(c, k);
    }
}

/* Whether the first n tokens of the two are the same. */
static bool same(const int32_t *a, const int32_t *b, uint32_t n) {
    return n > 0 && memcmp(a, b, n * sizeof *a) == 0;
}

/* A state that no history begins with any more would take cells of a hybrid's attention. */
static void marks_sweep(struct llama_ctx *c) {
    const struct member_histories *h = &c->histories;
    for (uint32_t k = 0; k < c->n_marks; k++) {
        const uint32_t n = c->marks.length[k];
        bool wanted = n == 0;
        for (uint32_t seq = 0; seq < h->n_seq && !wanted; seq++) {
            wanted = h->length[seq] >= n && same(h->tokens[seq], c->marks.tokens[k], n);
        }
        if (!wanted) {
            mark_drop(c, k);
        }
    }
}

/* Keeps the state that seq stands at, in place of the one unused for longest. */
static enum packllm_status mark_here(struct llama_ctx *c, int32_t seq, struct packllm_error *err) {
    const uint32_t n = c->held[seq];
    uint32_t oldest = 0;
    if (n == 0) {
        return PACKLLM_OK;
    }
    for (uint32_t k = 0; k < c->n_marks; k++) {
        if (c->marks.length[k] == n && same(c->marks.tokens[k], c->histories.tokens[seq], n)) {
            c->mark_used[k] = ++c->stamp;
            return PACKLLM_OK;
        }
        oldest = c->mark_used[k] < c->mark_used[oldest] ? k : oldest;
    }
    mark_drop(c, oldest);
    for (uint32_t i = 0; i < n; i++) {
        enum packllm_status s =
            member_histories_push(&c->marks, (int32_t)oldest, c->histories.tokens[seq][i], err);
        if (s != PACKLLM_OK) {
            c->marks.length[oldest] = 0;
            return s;
        }
    }
    llama_memory_seq_cp(c->memory, seq, (llama_seq_id)(c->base.member->n_seq + oldest), -1, -1);
    c->mark_used[oldest] = ++c->stamp;
    return PACKLLM_OK;
}

/* seq goes on from the longest beginning of its history that any state stands at. */
static void start_from_best(struct llama_ctx *c, int32_t seq) {
    const struct member_histories *h = &c->histories;
    const uint32_t n_seq = h->n_seq, length = h->length[seq];
    uint32_t most = c->held[seq];
    llama_seq_id from = -1;
    for (uint32_t s = 0; s < n_seq + c->n_marks; s++) {
        const bool lane = s < n_seq;
        const uint32_t n = lane ? c->held[s] : c->marks.length[s - n_seq];
        const int32_t *tokens = lane ? h->tokens[s] : c->marks.tokens[s - n_seq];
        if (n > most && n <= length && same(tokens, h->tokens[seq], n)) {
            most = n;
            from = (llama_seq_id)s;
        }
    }
    if (from < 0) {
        return;
    }
    if ((uint32_t)from >= n_seq) {
        c->mark_used[(uint32_t)from - n_seq] = ++c->stamp;
    }
    (void)llama_memory_seq_rm(c->memory, seq, -1, -1);
    llama_memory_seq_cp(c->memory, from, seq, -1, -1);
    c->held[seq] = most;
}

static void batch_add(struct llama_ctx *c, int32_t token, int32_t seq, uint32_t at, bool row) {
    int32_t i = c->batch.n_tokens++;
    c->batch.token[i] = token;
    c->batch.pos[i] = (llama_pos)at;
    c->batch.n_seq_id[i] = 1;
    c->batch.seq_id[i][0] = seq;
    c->batch.logits[i] = row;
}

static enum packllm_status decode(struct llama_ctx *c, struct packllm_error *err) {
    struct llama_member *m = (struct llama_member *)c->base.member;
    (void)pthread_mutex_lock(&c->pool->busy);
    double start = base_clock();
    log_begin(m);
    int32_t rc = llama_decode(c->context, c->batch);
    if (rc == 1 && c->n_marks > 0) { /* no room: the states kept give way */
        marks_drop(c);
        rc = llama_decode(c->context, c->batch);
    }
    llama_synchronize(c->context);
    c->base.seconds += base_clock() - start;
    (void)pthread_mutex_unlock(&c->pool->busy);
    if (rc == 0) {
        c->base.forwards += (uint64_t)c->batch.n_tokens;
        (void)member_log_end();
        return PACKLLM_OK;
    }
    if (rc == 2) {
        (void)member_log_end();
        return fail(err, PACKLLM_E_CANCELLED, m->base.index,
                    "cancelled while member '%s' was evaluated", m->base.name);
    }
    if (rc == 1) {
        (void)member_log_end();
        return fail(err, PACKLLM_E_CONTEXT, m->base.index,
                    "member '%s': its cache of %" PRIu32 " cells has no room for %" PRId32
                    " tokens more; give it a larger context (-c)",
                    m->base.name, c->n_cells, c->batch.n_tokens);
    }
    return fail(err, PACKLLM_E_MODEL, m->base.index,
                "member '%s': libllama could not evaluate %" PRId32 " tokens (%" PRId32 "): %s",
                m->base.name, c->batch.n_tokens, rc, member_log_end());
}

/* Evaluates again what libllama's memory lost of a sequence. */
static enum packllm_status refill(struct llama_ctx *c, int32_t seq, struct packllm_error *err) {
    if (c->n_marks > 0 && c->held[seq] < c->histories.length[seq]) {
        start_from_best(c, seq);
    }
    while (c->held[seq] < c->histories.length[seq]) {
        uint32_t left = c->histories.length[seq] - c->held[seq];
        uint32_t n = left < CHUNK ? left : CHUNK;
        c->batch.n_tokens = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t at = c->held[seq] + i;
            batch_add(c, c->histories.tokens[seq][at], seq, at, false);
        }
        enum packllm_status s = decode(c, err);
        if (s != PACKLLM_OK) {
            hold(c, seq, c->held[seq]);
            return s;
        }
        c->held[seq] += n;
    }
    return PACKLLM_OK;
}

/* The next chunk: items [from, *to). */
static enum packllm_status chunk(struct llama_ctx *c, const struct member_item *items, size_t from,
                                 size_t n, size_t *to, struct packllm_error *err) {
    size_t i = from;
    enum packllm_status s = PACKLLM_OK;
    c->batch.n_tokens = 0;
    for (; i < n && i - from < CHUNK && s == PACKLLM_OK; i++) {
        batch_add(c, items[i].token, items[i].seq, c->base.length[items[i].seq], items[i].want_row);
        s = member_histories_push(&c->histories, items[i].seq, items[i].token, err);
    }
    *to = i;
    return s == PACKLLM_OK ? decode(c, err) : s;
}

static enum packllm_status hand_out(struct llama_ctx *c, const struct member_item *items,
                                    size_t from, size_t to, member_row_fn on_row, void *ctx,
                                    struct packllm_error *err) {
    enum packllm_status s = PACKLLM_OK;
    for (size_t i = from; i < to && s >= 0; i++) {
        if (!items[i].want_row) {
            continue;
        }
        const float *row = llama_get_logits_ith(c->context, (int32_t)(i - from));
        if (row == NULL) {
            return fail(err, PACKLLM_E_INTERNAL, c->base.member->index,
                        "member '%s': libllama gave no row for token %zu of a batch",
                        c->base.member->name, i - from);
        }
        s = member_row_check(&c->base, row, err);
        s = s == PACKLLM_OK ? on_row(ctx, i, row, err) : s;
    }
    return s;
}

static enum packllm_status llama_member_eval(struct member_context *base,
                                             const struct member_item *items, size_t n,
                                             member_row_fn on_row, void *ctx,
                                             struct packllm_error *err) {
    struct llama_ctx *c = (struct llama_ctx *)base;
    const uint32_t n_seq = base->member->n_seq;
    enum packllm_status s = PACKLLM_OK;
    if (on_abort(c)) {
        return fail(err, PACKLLM_E_CANCELLED, base->member->index,
                    "cancelled before member '%s' was evaluated", base->member->name);
    }
    memcpy(c->saved, base->length, n_seq * sizeof *c->saved);
    for (size_t i = 0; i < n && s == PACKLLM_OK; i++) {
        s = refill(c, items[i].seq, err);
        /* Few tokens: ends of tokens, or text that is written. Others may branch off here too. */
        if (s == PACKLLM_OK && c->n_marks > 0 && n <= MARKED_MOST) {
            s = mark_here(c, items[i].seq, err);
        }
    }
    for (size_t from = 0, to = 0; from < n && s >= 0; from = to) {
        s = chunk(c, items, from, n, &to, err);
        for (size_t i = from; i < to && s == PACKLLM_OK; i++) {
            c->held[items[i].seq] = base->length[items[i].seq];
        }
        s = s == PACKLLM_OK ? hand_out(c, items, from, to, on_row, ctx, err) : s;
    }
    if (s >= 0) {
        return PACKLLM_OK;
    }
    for (uint32_t seq = 0; seq < n_seq; seq++) {
        if (base->length[seq] != c->saved[seq]) {
            base->length[seq] = c->saved[seq];
            hold(c, (int32_t)seq, c->held[seq] < c->saved[seq] ? c->held[seq] : c->saved[seq]);
        }
    }
    return s;
}

/* ---- fork and truncate --------------------------------------------------------------------- */

/* What dst shares with src from the start stays where it is, and only the tail is copied: a copy
 * costs time for every cell of it. */
static enum packllm_status llama_member_fork(struct member_context *base, int32_t dst, int32_t src,
                                             uint32_t n, struct packllm_error *err) {
    struct llama_ctx *c = (struct llama_ctx *)base;
    const struct llama_member *m = (const struct llama_member *)base->member;
    uint32_t common = member_histories_common(&c->histories, dst, src, n);
    uint32_t was = base->length[dst];
    enum packllm_status s = member_histories_copy(&c->histories, dst, src, common, n, err);
    if (s != PACKLLM_OK) {
        return s;
    }
    if (m->whole_only) {
        if (common < n || was != n || c->held[dst] != n) {
            hold(c, dst, 0);
            if (c->held[src] == n && base->length[src] == n) {
                llama_memory_seq_cp(c->memory, src, dst, -1, -1);
                c->held[dst] = n;
            }
        }
        return PACKLLM_OK;
    }
    uint32_t keep = common < c->held[dst] ? common : c->held[dst];
    uint32_t end = n < c->held[src] ? n : c->held[src];
    if (c->held[dst] != keep || keep == 0) {
        hold(c, dst, keep);
        keep = c->held[dst];
    }
    if (end > keep) {
        llama_memory_seq_cp(c->memory, src, dst, (llama_pos)keep, (llama_pos)end);
        hold(c, dst, end);
    }
    return PACKLLM_OK;
}

static enum packllm_status llama_member_truncate(struct member_context *base, int32_t seq,
                                                 uint32_t n, struct packllm_error *err) {
    struct llama_ctx *c = (struct llama_ctx *)base;
    (void)err;
    base->length[seq] = n;
    if (c->held[seq] > n) {
        hold(c, seq, n);
    }
    if (c->n_marks > 0) {
        marks_sweep(c);
    }
    return PACKLLM_OK;
}

/* ---- chats --------------------------------------------------------------------------------- */

static int32_t render(const char *chat, const struct packllm_message *messages, size_t n, char *out,
                      size_t cap, struct llama_chat_message *copy) {
    for (size_t i = 0; i < n; i++) {
        copy[i] = (struct llama_chat_message){messages[i].role, messages[i].content};
    }
    return llama_chat_apply_template(chat, copy, n, true, out, (int32_t)cap);
}

static enum packllm_status llama_member_chat_render(struct member *base,
                                                    const struct packllm_message *messages,
                                                    size_t n, struct buf *out,
                                                    struct packllm_error *err) {
    const struct llama_member *m = (const struct llama_member *)base;
    size_t cap = 256 * (n + 4);
    struct llama_chat_message *copy = alloc_array(n, sizeof *copy);
    char *text = alloc_array(cap, 1);
    int32_t size = copy != NULL && text != NULL ? render(m->chat, messages, n, text, cap, copy) : 0;
    if (size > 0 && (size_t)size > cap) {
        char *larger = alloc_resize(text, (size_t)size, 1);
        text = larger != NULL ? larger : text;
        cap = larger != NULL ? (size_t)size : cap;
        size = larger != NULL ? render(m->chat, messages, n, text, cap, copy) : 0;
    }
    enum packllm_status s = PACKLLM_OK;
    if (size < 0) {
        s = fail(err, PACKLLM_E_MODEL, base->index,
                 "member '%s': its chat template '%s' does not take these messages", base->name,
                 base->chat_form);
    } else if (size == 0 || (size_t)size > cap || !buf_add(out, text, (size_t)size)) {
        s = fail_memory(err, cap);
    }
    base_free(text);
    base_free(copy);
    return s;
}

static enum packllm_status llama_member_chat_controls(struct member *base, const char *words,
                                                      size_t size, struct member_control *out,
                                                      size_t cap, size_t *out_n,
                                                      struct packllm_error *err) {
    const struct llama_member *m = (const struct llama_member *)base;
    const int special = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN;
    size_t room = size + 8, found = 0;
    int32_t *tokens = room < INT32_MAX ? alloc_array(room, sizeof *tokens) : NULL;
    if (tokens == NULL) {
        return fail_memory(err, room * sizeof *tokens);
    }
    int32_t n = llama_tokenize(m->vocab, words, (int32_t)size, tokens, (int32_t)room, false, true);
    for (int32_t i = 0; i < n && found < cap; i++) {
        const int attr = (int)llama_vocab_get_attr(m->vocab, tokens[i]);
        const char *text = llama_vocab_get_text(m->vocab, tokens[i]);
        if ((attr & special) != 0 && text[0] != '\0') {
            out[found++] =
                (struct member_control){.token = tokens[i],
                                        .text = text,
                                        .strips_left = (attr & LLAMA_TOKEN_ATTR_LSTRIP) != 0,
                                        .strips_right = (attr & LLAMA_TOKEN_ATTR_RSTRIP) != 0};
        }
    }
    base_free(tokens);
    *out_n = found;
    return n >= 0 ? PACKLLM_OK
                  : fail(err, PACKLLM_E_ARG, base->index,
                         "member '%s': its chat template is too long", base->name);
}

enum { TEMPLATES_MOST = 256 };

/* What libllama calls the file's template: it knows templates by their marks and does not tell which
 * it took, but two that write the same are the same. */
static const char *name_of_template(const char *chat) {
    static const struct packllm_message sample[] = {
        {"system", "s"}, {"user", "u"}, {"assistant", "a"}, {"user", "v"}};
    struct llama_chat_message copy[4];
    char ours[1024], theirs[1024];
    const char *names[TEMPLATES_MOST];
    int32_t n = llama_chat_builtin_templates(names, TEMPLATES_MOST);
    int32_t size = render(chat, sample, 4, ours, sizeof ours, copy);
    for (int32_t i = 0; i < n && i < TEMPLATES_MOST && size > 0 && size <= 1024; i++) {
        if (render(names[i], sample, 4, theirs, sizeof theirs, copy) == size &&
            memcmp(ours, theirs, (size_t)size) == 0) {
            return names[i];
        }
    }
    return "own";
}

static enum packllm_status refuse_template(const struct llama_member *m, const char *name,
                                           const char *const *names, int32_t n,
                                           struct packllm_error *err) {
    struct buf list;
    buf_init(&list, 4096);
    for (int32_t i = 0; i < n; i++) {
        (void)buf_printf(&list, "%s, ", names[i]);
    }
    enum packllm_status s = fail(err, PACKLLM_E_ARG, m->base.index,
                                 "member '%s': there is no chat template '%s'; there are %splain",
                                 m->base.name, name, list.data != NULL ? list.data : "");
    buf_done(&list);
    return s;
}

static enum packllm_status choose_template(struct llama_member *m, const char *wanted,
                                           struct packllm_error *err) {
    const char *names[TEMPLATES_MOST];
    int32_t n = llama_chat_builtin_templates(names, TEMPLATES_MOST);
    n = n < TEMPLATES_MOST ? n : TEMPLATES_MOST;
    m->base.chat_start = llama_vocab_get_add_bos(m->vocab) ? m->base.start : -1;
    if (wanted != NULL && strcmp(wanted, "plain") == 0) {
        return PACKLLM_OK;
    }
    for (int32_t i = 0; i < n && wanted != NULL; i++) {
        if (strcmp(names[i], wanted) == 0) {
            m->chat = m->base.chat_form = names[i];
            return PACKLLM_OK;
        }
    }
    if (wanted != NULL) {
        return refuse_template(m, wanted, names, n, err);
    }
    const char *own = llama_model_chat_template(m->model, NULL), *why = NULL;
    struct llama_chat_message copy[1];
    static const struct packllm_message hello[] = {{"user", "u"}};
    char out[1024];
    if (own == NULL || own[0] == '\0') {
        why = "has no chat template, so it is likely a base model";
    } else if (render(own, hello, 1, out, sizeof out, copy) <= 0) {
        why = "has a chat template that is not known here";
    } else {
        m->chat = own;
        m->base.chat_form = name_of_template(own);
        return PACKLLM_OK;
    }
    struct buf text;
    buf_init(&text, 1024);
    (void)buf_printf(&text,
                     "member '%s' %s: chats are written for it in the plain form, \"### User:\"",
                     m->base.name, why);
    m->base.chat_warning = text.data != NULL ? alloc_text(text.data, text.size) : NULL;
    buf_done(&text);
    return m->base.chat_warning != NULL ? PACKLLM_OK : fail_memory(err, 128);
}

/* ---- opening ------------------------------------------------------------------------------- */

static void llama_member_close(struct member *base) {
    struct llama_member *m = (struct llama_member *)base;
    if (m->weights != NULL) {
        weights_give(m->weights);
    }
    base->table = (struct vocab_table){0}; /* it belongs to the weights */
    base_free(m->lora);
    member_base_done(base);
    base_free(m);
}

static const struct member_ops llama_ops = {
    .tokenize = llama_member_tokenize,
    .context_open = llama_member_context_open,
    .context_close = llama_member_context_close,
    .eval = llama_member_eval,
    .fork = llama_member_fork,
    .truncate = llama_member_truncate,
    .chat_render = llama_member_chat_render,
    .chat_controls = llama_member_chat_controls,
    .close = llama_member_close,
};

static enum packllm_status load(struct llama_member *m, const struct packllm_member_spec *spec,
                                const struct packllm_params *params, struct packllm_error *err) {
    /* An empty list of devices: libllama leaves GPUs alone where no layer goes there. */
    ggml_backend_dev_t none[] = {NULL};
    /* The space in front is put there by our own tokenize, so that pieces spell it exactly. */
    struct llama_model_kv_override overrides[] = {
        {.tag = LLAMA_KV_OVERRIDE_TYPE_BOOL, .key = "tokenizer.ggml.add_space_prefix"},
        {.tag = LLAMA_KV_OVERRIDE_TYPE_BOOL, .key = ""},
    };
    struct member_progress progress = {.params = params, .index = m->base.index};
    struct llama_model_params p = llama_model_default_params();
    p.n_gpu_layers = spec->n_gpu_layers >= 0 ? spec->n_gpu_layers : params->n_gpu_layers;
    m->weights = weights_take(spec->path, p.n_gpu_layers, m->base.n_ctx > 0);
    if (m->weights == NULL) {
        return fail_memory(err, strlen(spec->path));
    }
    if (m->weights->model != NULL) {
        m->model = m->weights->model;
        m->vocab = llama_model_get_vocab(m->model);
        return PACKLLM_OK;
    }
    if (p.n_gpu_layers == 0) {
        p.devices = none;
    }
    p.kv_overrides = overrides;
    p.vocab_only = m->base.n_ctx == 0;
    p.progress_callback = member_on_progress;
    p.progress_callback_user_data = &progress;
    if (ggml_cpu_has_amx_int8() != 0) {
        /* Virtual machines list AMX without backing it, and the first product dies of it. */
        p.use_extra_bufts = false;
    }
    log_begin(m);
    m->model = llama_model_load_from_file(spec->path, p);
    if (m->model == NULL && progress.cancelled) {
        (void)member_log_end();
        return fail(err, PACKLLM_E_CANCELLED, m->base.index,
                    "cancelled while member '%s' was loaded", m->base.name);
    }
    if (m->model == NULL) {
        return fail(err, PACKLLM_E_MODEL, m->base.index, "member '%s' (%s) could not be loaded: %s",
                    m->base.name, spec->path, member_log_end());
    }
    (void)member_log_end();
    m->weights->model = m->model;
    m->vocab = llama_model_get_vocab(m->model);
    return PACKLLM_OK;
}

/* What the file's header did not show. */
static enum packllm_status check_loaded(const struct llama_member *m, struct packllm_error *err) {
    enum llama_vocab_type type = llama_vocab_type(m->vocab);
    const char *what = NULL;
    if (llama_model_has_encoder(m->model) || !llama_model_has_decoder(m->model)) {
        what = "is an encoder, or an encoder-decoder";
    } else if (llama_model_is_diffusion(m->model)) {
        what = "is a diffusion model";
    } else if (type != LLAMA_VOCAB_TYPE_SPM && type != LLAMA_VOCAB_TYPE_BPE) {
        what = "has a vocabulary that is neither SentencePiece nor byte-pair";
    }
    return what == NULL ? PACKLLM_OK
                        : fail(err, PACKLLM_E_MODEL, m->base.index,
                               "member '%s' (%s) %s; packllm needs a causal language model over "
                               "bytes",
                               m->base.name, m->base.path, what);
}

static enum packllm_status fill_member(struct llama_member *m, const struct member_facts *facts,
                                       struct packllm_error *err) {
    char text[256];
    (void)llama_model_desc(m->model, text, sizeof text);
    m->base.description = alloc_text(text, strlen(text));
    if (m->base.description == NULL) {
        return fail_memory(err, sizeof text);
    }
    m->base.bytes_weights = llama_model_size(m->model);
    m->base.start = find_start(m->vocab);
    m->base.space_prefix = facts->space_prefix;
    m->n_swa = llama_model_n_swa(m->model);
    m->whole_only =
        facts->whole_only || llama_model_is_recurrent(m->model) || llama_model_is_hybrid(m->model);
    m->cut_runs = llama_vocab_type(m->vocab) == LLAMA_VOCAB_TYPE_BPE;
    bool first = m->weights->table.n == 0;
    enum packllm_status s = first ? fill_table(m, err) : PACKLLM_OK;
    m->base.table = m->weights->table;
    if (s == PACKLLM_OK && llama_vocab_type(m->vocab) == LLAMA_VOCAB_TYPE_SPM) {
        s = check_bytes(m, err);
    }
    if (s == PACKLLM_OK) {
        find_space_mark(m);
        s = first ? find_rules(m, err) : PACKLLM_OK;
    }
    m->base.canon = m->weights->canon;
    return s;
}

static enum packllm_status open_file(struct member **out, const struct packllm_member_spec *spec,
                                     int index, const struct packllm_params *params, bool whole,
                                     struct packllm_error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (out == NULL || spec == NULL || spec->path == NULL || params == NULL) {
        return fail(err, PACKLLM_E_ARG, index, "member_llama_open: a pointer is missing");
    }
    struct llama_member *m = alloc_zero(1, sizeof *m);
    struct member_facts facts = {0};
    if (m == NULL) {
        return fail_memory(err, sizeof *m);
    }
    m->log = params->log;
    m->log_data = params->log_data;
    m->lora_scale = (float)spec->lora_scale;
    enum packllm_status s =
        member_base_init(&m->base, &llama_ops, spec->name, spec->path, index, err);
    if (s == PACKLLM_OK && spec->lora != NULL) {
        m->lora = alloc_text(spec->lora, strlen(spec->lora));
        s = m->lora != NULL ? PACKLLM_OK : fail_memory(err, strlen(spec->lora));
    }
    if (s == PACKLLM_OK) {
        s = whole ? member_facts_read(&facts, spec, index, params, err)
                  : member_facts_vocabulary(&facts, spec, index, err);
    }
    if (s == PACKLLM_OK) {
        (void)pthread_once(&once, start_library);
        m->base.n_ctx = facts.n_ctx;
        m->base.n_ctx_train = facts.n_ctx_train;
        m->base.n_seq = facts.n_seq;
        m->base.n_parallel = facts.n_parallel;
        m->base.rows_stay = CHUNK;
        m->base.prior = spec->prior > 0 ? spec->prior : 1;
        m->base.cap = spec->cap > 0 ? spec->cap : 1;
        m->n_threads = spec->n_threads > 0     ? spec->n_threads
                       : params->n_threads > 0 ? params->n_threads
                                               : 1;
        s = load(m, spec, params, err);
    }
    if (s == PACKLLM_OK) {
        s = check_loaded(m, err);
    }
    if (s == PACKLLM_OK) {
        s = fill_member(m, &facts, err);
    }
    if (s == PACKLLM_OK) {
        s = choose_template(m, spec->chat_template, err);
    }
    if (s != PACKLLM_OK) {
        llama_member_close(&m->base);
        return s;
    }
    *out = &m->base;
    return PACKLLM_OK;
}

enum packllm_status member_llama_open(struct member **out, const struct packllm_member_spec *spec,
                                      int index, const struct packllm_params *params,
                                      struct packllm_error *err) {
    return open_file(out, spec, index, params, true, err);
}

enum packllm_status member_llama_vocabulary(struct member **out,
                                            const struct packllm_member_spec *spec, int index,
                                            const struct packllm_params *params,
                                            struct packllm_error *err) {
    return open_file(out, spec, index, params, false, err);
}

enum packllm_status member_llama_memory(const struct packllm_member_spec *spec, int index,
                                        const struct packllm_params *params,
                                        struct packllm_memory *out, struct packllm_error *err) {
    if (spec == NULL || spec->path == NULL || params == NULL || out == NULL) {
        return fail(err, PACKLLM_E_ARG, index, "member_llama_memory: a pointer is missing");
    }
    struct member_facts facts = {0};
    enum packllm_status s = member_facts_read(&facts, spec, index, params, err);
    if (s == PACKLLM_OK) {
        member_facts_memory(&facts, out);
    }
    return s;
}
