/* packllm.h - fuse several language models at test time. The only public header.
 *
 * A *pack* holds the members (models, shared, does not change); a *session* is one timeline of
 * text: the members' KV caches, their covers, the weights lambda, the sampler. Steps are pulled:
 *
 *     struct packllm_pack *pack = NULL;
 *     struct packllm_session *session = NULL;
 *     struct packllm_piece piece;
 *     struct packllm_error err;
 *     enum packllm_status s = packllm_pack_open(&pack, specs, n, NULL, &err);
 *     if (s == PACKLLM_OK) s = packllm_session_open(&session, pack, NULL, &err);
 *     if (s == PACKLLM_OK) s = packllm_session_prompt(session, text, strlen(text), &err);
 *     while (s >= 0 && (s = packllm_session_step(session, &piece, &err)) == PACKLLM_PIECE) {
 *         fwrite(piece.text, 1, piece.size, stdout);
 *     }
 *
 * Rules that hold everywhere
 *   - A function returns a status: 0 fine, > 0 progress, < 0 an error; then *err, if given, says
 *     which member and what, in one line. `out_*` is written only on success.
 *   - Text is UTF-8 bytes with a length; offsets and lengths count bytes. A NUL is a byte of text.
 *   - Units: nats inside (objective, gap, log-probabilities), bits per byte where named so.
 *   - close functions take NULL. Nothing is printed, nothing is global, no signal is touched.
 *   - Threads: drive the sessions of one pack from one thread. With packllm_params.n_parallel > 1
 *     each session may have a thread of its own: what they evaluate at the same time is one batch
 *     (packllm_step_many does so), and any thread may open and close sessions.
 *     packllm_session_cancel may be called from any thread (and from a signal handler).
 *
 * The method is PackLLM (arXiv 2404.11531), fused in bytes: docs/math.md.
 */
#ifndef PACKLLM_H
#define PACKLLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PACKLLM_API __attribute__((visibility("default")))
#else
#define PACKLLM_API
#endif

#define PACKLLM_VERSION "0.1.0"

/* The events of a byte distribution: 0..255 a byte, PACKLLM_EVENT_END the end of the text. */
#define PACKLLM_EVENT_END 256
#define PACKLLM_EVENTS 257

/* ---- statuses ------------------------------------------------------------------------------ */

/* One list: name, value, what it means (packllm_status_text). */
#define PACKLLM_STATUSES(X)                                                                        \
    X(PACKLLM_OK, 0, "fine")                                                                       \
    X(PACKLLM_PIECE, 1, "a piece of text was produced")                                            \
    X(PACKLLM_FINISHED, 2, "generation has ended: see packllm_session_finish")                     \
    X(PACKLLM_E_ARG, -1, "wrong use: an argument is out of its range")                             \
    X(PACKLLM_E_MEMORY, -2, "not enough memory")                                                   \
    X(PACKLLM_E_IO, -3, "a file could not be read or written")                                     \
    X(PACKLLM_E_MODEL, -4, "a model cannot be used")                                               \
    X(PACKLLM_E_CONTEXT, -5, "the text does not fit a member's context")                           \
    X(PACKLLM_E_TEXT, -6, "the text is not usable: empty, or not valid UTF-8")                     \
    X(PACKLLM_E_CANCELLED, -7, "cancelled by packllm_session_cancel")                              \
    X(PACKLLM_E_UNSUPPORTED, -8, "not supported by this version or this member")                   \
    X(PACKLLM_E_INTERNAL, -9, "a bug in packllm: please report it")

enum packllm_status {
#define X(name, value, text) name = value,
    PACKLLM_STATUSES(X)
#undef X
};

#define PACKLLM_NO_MEMBER (-1)

struct packllm_error {
    enum packllm_status status;
    int member;         /* index of the member it is about, or PACKLLM_NO_MEMBER */
    char message[1024]; /* one line, UTF-8, NUL-terminated: what, where, and what to do */
    uint64_t n_tokens;  /* E_CONTEXT: of the text for that member; 0: not known */
    uint64_t n_ctx;     /* and what its context holds */
};

PACKLLM_API const char *packllm_version(void);
PACKLLM_API const char *packllm_status_text(enum packllm_status status);

/* ---- names of methods: one list each, for parsers, help texts and results ------------------- */

enum packllm_pool { PACKLLM_POOL_LOG, PACKLLM_POOL_LINEAR };
enum packllm_weigher {
    PACKLLM_WEIGH_EXACT,    /* certified optimum of the prompt's objective (docs/math.md) */
    PACKLLM_WEIGH_SIM,      /* softmax(-NLL / tau), the paper's similarity weights */
    PACKLLM_WEIGH_UNIFORM,  /* 1 / K */
    PACKLLM_WEIGH_TOP1,     /* the member of the lowest bits/byte alone */
    PACKLLM_WEIGH_FIXED,    /* given by the caller */
    PACKLLM_WEIGH_GREEDY,   /* the paper's grid: steps of 0.05, member after member */
    PACKLLM_WEIGH_FREE,     /* weights >= 0 that need not sum to 1; log-linear pool only */
    PACKLLM_WEIGH_EM,       /* expectation maximisation; linear pool only */
    PACKLLM_WEIGH_BAYES,    /* prior times likelihood; linear pool only; scoring: running on */
    PACKLLM_WEIGH_HEDGE,    /* running mixture of the exact pool and each member; scoring only */
    PACKLLM_WEIGH_DEXPERTS, /* a base steered by expert and anti-expert; log-linear pool only */
    PACKLLM_WEIGH_CBTM      /* how near the prompt's words are to each member's domain text */
};
/* What the members are fused in. auto: tokens where all members share a vocabulary, else bytes.
 * tokens of members that do not share one are those of a reference member (docs/math.md, "Mapped
 * tokens"). */
enum packllm_space { PACKLLM_SPACE_AUTO, PACKLLM_SPACE_BYTES, PACKLLM_SPACE_TOKENS };
/* auto: a large pack's members stop reading a prompt early where they cannot earn weight. */
enum packllm_drop { PACKLLM_DROP_AUTO, PACKLLM_DROP_OFF };
/* Which of a member's tokens stands for a token of the reference. */
enum packllm_align {
    PACKLLM_ALIGN_EXACT, /* the same bytes */
    PACKLLM_ALIGN_FIRST, /* else the first token of the bytes in the member's own tokenisation */
    PACKLLM_ALIGN_MINED  /* else the token at the smallest edit distance over bytes, lowest id */
};
/* What a member with another vocabulary reads: the text in its own tokens, or the tokens that stand for
 * the reference's (the paper's way). */
enum packllm_feed { PACKLLM_FEED_TEXT, PACKLLM_FEED_TRANSLATED };
/* A token that stands for several of the reference's: they share its mass, or each gets all of it (the
 * paper's way). */
enum packllm_mass { PACKLLM_MASS_SPLIT, PACKLLM_MASS_PAPER };
/* What counts as the text's tokens (experimental): what the tokenizer makes of it, or whatever spells it. */
enum packllm_covers { PACKLLM_COVERS_CANONICAL, PACKLLM_COVERS_ALL };
enum packllm_choose { PACKLLM_CHOOSE_TOKENS, PACKLLM_CHOOSE_BYTES };
enum packllm_finish {
    PACKLLM_FINISH_NONE,
    PACKLLM_FINISH_STOP,
    PACKLLM_FINISH_LENGTH,
    PACKLLM_FINISH_END
};

/* "log", "exact", "stop", … ; NULL for a value outside the enum. */
PACKLLM_API const char *packllm_pool_name(enum packllm_pool pool);
PACKLLM_API const char *packllm_weigher_name(enum packllm_weigher weigher);
/* What the figures of this weigher prove, in a few words; NULL: nothing. */
PACKLLM_API const char *packllm_weigher_certifies(enum packllm_weigher weigher);
PACKLLM_API const char *packllm_finish_name(enum packllm_finish finish);
PACKLLM_API const char *packllm_align_name(enum packllm_align method);
PACKLLM_API const char *packllm_feed_name(enum packllm_feed feed);
PACKLLM_API const char *packllm_mass_name(enum packllm_mass mass);

/* ---- pack ---------------------------------------------------------------------------------- */

struct packllm_pack;

/* One member. Zero fields mean the default: use packllm_member_spec_default() and change fields. */
struct packllm_member_spec {
    const char *path;     /* a GGUF file; members of one path and n_gpu_layers share its weights */
    const char *name;     /* how results and errors call it; NULL = the file's name without .gguf */
    uint32_t n_ctx;       /* context in tokens; 0 = the pack's */
    int32_t n_gpu_layers; /* layers on a GPU; -1 = the pack's */
    int32_t n_threads;    /* 0 = the pack's */
    double prior;         /* relative prior weight, > 0; 1 by default */
    double cap;           /* upper bound of its weight, in (0, 1]; 1 by default */
    double temperature;   /* what is pooled is its q^(1/t), normalised (in bytes); 1 by default */
    const char *lora;     /* a LoRA adapter (GGUF) over the model, or NULL */
    double lora_scale;    /* finite; 1 by default */
    const char *domain;   /* a text file of its domain, for PACKLLM_WEIGH_CBTM; or NULL */
    /* How it writes a chat: a name of llama.cpp's ("chatml", "gemma", "llama3", …) or "plain"; NULL =
     * as the file says (packllm_session_chat). */
    const char *chat_template;
};

struct packllm_params {
    uint32_t n_ctx;        /* context of every member, tokens; 0 = min(4096, the model's own) */
    int32_t n_threads;     /* 0 = the machine's cores, at most 16 */
    int32_t n_gpu_layers;  /* 0 by default */
    uint32_t n_seq;        /* histories a member may hold side by side, 4..64; 0 = 12 */
    uint64_t memory_limit; /* bytes the pack may take; 0 = what the machine has free */
    uint32_t n_parallel; /* sessions that threads may drive at the same time, 1..16; 1 by default */
    /* Called while members load, with member index and share 0..1; false cancels. May be NULL. */
    bool (*progress)(void *data, int member, double share);
    void *progress_data;
    /* Lines of libllama's log, level 1 debug .. 4 error. May be NULL. */
    void (*log)(void *data, int level, const char *line);
    void *log_data;
};

/* What a member is, from packllm_pack_member. Pointers live as long as the pack. */
struct packllm_member_info {
    const char *name;
    const char *path;
    const char *description;   /* architecture, size and quantisation, as libllama says it */
    const char *chat_template; /* its name in llama.cpp's list; "own" where only the file's text is
                                  known; "plain": it has none, and is likely no chat model */
    const char *chat_warning;  /* why it is plain, for people; NULL: nothing to say */
    uint32_t n_vocab;          /* rows of its output, tokens */
    uint32_t n_ctx;            /* context, tokens */
    uint32_t n_ctx_train;      /* context it was trained with, tokens */
    uint64_t bytes_weights;    /* size of its weights, bytes */
};

/* An estimate before anything is loaded, bytes. */
struct packllm_memory {
    uint64_t weights; /* the files' tensors, adapters included */
    uint64_t adapter; /* of these the adapters' */
    uint64_t kv;      /* KV caches at full context */
    uint64_t buffers; /* logits, compute and row buffers, vocabularies */
    uint64_t tables;  /* of these the vocabularies', which members of one file share */
    uint64_t total;
    uint32_t contexts;  /* a pack: contexts that are open at once at most while its members read */
    uint64_t available; /* what the machine has free now; 0 = not known */
};

PACKLLM_API struct packllm_member_spec packllm_member_spec_default(void);
PACKLLM_API struct packllm_params packllm_params_default(void);

/* Loads n >= 1 members. params may be NULL. Refuses before loading what cannot be a member or does
 * not fit the machine's memory (E_MODEL, E_MEMORY with numbers). */
PACKLLM_API enum packllm_status packllm_pack_open(struct packllm_pack **out_pack,
                                                  const struct packllm_member_spec *specs, size_t n,
                                                  const struct packllm_params *params,
                                                  struct packllm_error *err);
/* out_members: NULL or [n], the estimate per member. Reads the files' headers only. */
PACKLLM_API enum packllm_status packllm_pack_memory(const struct packllm_member_spec *specs,
                                                    size_t n, const struct packllm_params *params,
                                                    struct packllm_memory *out_total,
                                                    struct packllm_memory *out_members,
                                                    struct packllm_error *err);
PACKLLM_API void packllm_pack_close(struct packllm_pack *pack);
PACKLLM_API size_t packllm_pack_size(const struct packllm_pack *pack);
PACKLLM_API enum packllm_status packllm_pack_member(const struct packllm_pack *pack, size_t member,
                                                    struct packllm_member_info *out_info);

/* ---- session ------------------------------------------------------------------------------- */

struct packllm_session;

/* As llama.cpp means them, in its order: bias, penalties, top-k, top-p, min-p, temperature. */
struct packllm_sampling {
    double temp;              /* <= 0: greedy; 0.8 */
    int32_t top_k;            /* <= 0: off; 40 */
    double top_p;             /* 1: off; 0.95 */
    double min_p;             /* 0: off; 0.05 */
    double repeat_penalty;    /* 1: off; 1 */
    int32_t repeat_last_n;    /* display tokens looked back at; 0: off, -1: all; 64 */
    double presence_penalty;  /* 0: off */
    double frequency_penalty; /* 0: off */
    uint64_t seed;            /* 0 */
    bool ignore_eos;          /* the end is never chosen */
};

struct packllm_bias {
    int32_t token; /* one that ends texts stands for the end */
    double bias;   /* added to log pi before anything else; -INFINITY: never */
};

struct packllm_session_params {
    enum packllm_space space;
    enum packllm_pool pool;
    enum packllm_weigher weigher;
    enum packllm_choose choose;
    enum packllm_covers covers; /* canonical */
    enum packllm_drop drop;     /* for exact and em; other weighers read everything */
    /* PACKLLM_SPACE_TOKENS where the members do not share a vocabulary, else of no effect: */
    enum packllm_align align; /* mined */
    enum packllm_feed feed;   /* text */
    enum packllm_mass mass;   /* split */
    int32_t reference;        /* member; -1 = the lowest bits/byte on the prompt */
    const char *align_cache;  /* mined maps are kept in `maps` in this folder; NULL: nowhere */
    double shrink;       /* kappa of the ridge toward the prior (exact, free, hedge); 0 = none */
    double tau;          /* temperature of sim */
    const double *fixed; /* [n_members] for PACKLLM_WEIGH_FIXED: >= 0, sum 1 (normalised) */
    int32_t experts[3];  /* members for PACKLLM_WEIGH_DEXPERTS: base, expert, anti-expert */
    double alpha;        /* their weights are 1, alpha, -alpha; < 0: fitted on the prompt */
    double epsilon;      /* share of P(text) from which an end of a token is evaluated, (0, 1) */
    int32_t display;     /* member whose tokens are chosen among; -1 = the largest weight */
    int64_t max_tokens;  /* display tokens to generate; < 0 = until the end or a full context */
    struct packllm_sampling sampling;
    const char *const *stop; /* [n_stop] strings that end the text (not part of it) */
    size_t n_stop;
    bool why; /* keep what packllm_session_why tells */
    /* The reply is a text of the grammar, unless it is cut (docs/grammar.md). At most one of the two;
     * NULL: anything. E_ARG: it does not parse, is too large, or no text satisfies it. Copied. */
    const char *grammar;     /* GBNF, the language of llama.cpp's grammars */
    const char *json_schema; /* JSON Schema, the part of it that is supported */
    /* With a schema of objects: or any text that does not begin with "{", white space aside. */
    bool json_schema_or_text;
    size_t n_top; /* keep what packllm_session_top tells: so many tokens; 0..64 */
    const struct packllm_bias *bias; /* [n_bias] of display tokens; copied */
    size_t n_bias;
    /* Called while a prompt is evaluated: member, share 0..1. May be NULL. */
    void (*progress)(void *data, int member, double share);
    void *progress_data;
};

struct packllm_member_weight {
    const char *name;
    double weight; /* lambda: >= 0 and of sum 1; free: of any sum; dexperts: 1, alpha, -alpha */
    double bits_per_byte;       /* canonical tokenisation, over the prompt */
    double bits_per_byte_model; /* through its byte model: what the pool sees */
    double perplexity;          /* per token of its own tokenizer, full softmax */
    uint64_t tokens;            /* canonical tokens of the prompt, the start token not counted */
    uint64_t windows;           /* 1, or more where the prompt is longer than its context */
    uint32_t vocabulary;        /* rows of its output */
    double seconds;             /* spent evaluating the prompt */
    uint64_t bytes;             /* of the prompt that it read; what is said above is of these */
    bool dropped;               /* it stopped reading early, and has weight 0 */
    /* dropped, else 0: most that weight on it could take off the objective, nats per byte: as estimated
     * on what it read, and at a multiplier three standard errors lower. */
    double gain_likely, gain_most;
};

struct packllm_weights {
    const char *space; /* "bytes" or "tokens" */
    int32_t reference; /* whose tokens, where the members do not share a vocabulary; else -1 */
    double
        error; /* tokens: of a row what matters is kept; the objective is within this, nats per byte */
    enum packllm_pool pool;
    enum packllm_weigher weigher;
    double shrink;
    uint64_t bytes;       /* of the prompt */
    double bits_per_byte; /* of the pack on the prompt */
    double objective;     /* nats per byte, without the ridge */
    double gap;           /* certified: objective + ridge is at most this far above its minimum over
                             the weights that the weigher may give those members that were not
                             dropped (greedy: over all weights that sum to 1),
                             nats per byte; NAN where the weigher optimises nothing */
    unsigned passes;      /* evaluations of the objective */
    size_t dropped; /* members that stopped early: gap is over the others, error and gain_* tell */
    double gain_likely, gain_most; /* the largest of theirs */
    /* bayes, else NAN: of the mixture that ran from the prior along the prompt. */
    double prequential;  /* its bits per byte */
    double regret;       /* nats, in all, above the best member */
    double regret_bound; /* what the regret cannot exceed: log 1 / the best member's prior */
    size_t n_members;
    const struct packllm_member_weight *members; /* [n_members], owned by the session */
    double seconds_evaluate, seconds_solve;
};

struct packllm_piece {
    const char *text; /* valid UTF-8, owned by the session until the next step */
    size_t size;      /* bytes; 0 while a character is incomplete */
    int32_t token;    /* display token, or -1 (bytewise choice) */
    /* log pi of it, nats (docs/math.md); exact with n_top > 0 or why, else to some hundredths */
    double logprob;
    /* Bytes of the token that the prompt ended with, so that only the others are text: > 0 at most for
     * the first token behind a prompt that ends inside one. */
    size_t begun;
};

struct packllm_member_stats {
    const char *name;
    double weight;
    uint64_t forwards; /* tokens evaluated since the prompt ended */
    uint64_t tokens;   /* canonical tokens of the text written, in this member's tokenizer */
    double seconds;    /* inside the model library, since the prompt ended */
};

struct packllm_stats {
    uint64_t bytes;                        /* generated */
    uint64_t tokens;                       /* display tokens generated, the end not counted */
    uint64_t prompt_tokens;                /* display tokens of the prompt */
    int32_t display;                       /* member whose tokens are chosen among */
    uint64_t resyncs;                      /* times a cover set was lost and rebuilt */
    double normaliser_min, normaliser_max; /* of pi, over the steps: near 1 (docs/math.md) */
    /* With params.why: bytes (and the end) where NLL(pool) <= sum lambda NLL was looked at, and where it
     * did not hold, which is a bug. */
    uint64_t jensen_checked, jensen_violations;
    double seconds_prompt, seconds_generate;
    size_t n_members;
    const struct packllm_member_stats *members; /* owned by the session */
};

/* Who said what, for the piece of the last step (params.why). */
struct packllm_why_member {
    double logprob; /* of the piece's bytes under this member's byte model, nats */
    char first[64]; /* what it would have written: its own likeliest token, valid UTF-8 */
    double first_logprob;
};
struct packllm_why {
    size_t n_members;
    const struct packllm_why_member *members; /* owned by the session; weight 0 members: NAN */
};

PACKLLM_API struct packllm_session_params packllm_session_params_default(void);
/* params may be NULL; its arrays are copied. */
PACKLLM_API enum packllm_status packllm_session_open(struct packllm_session **out_session,
                                                     struct packllm_pack *pack,
                                                     const struct packllm_session_params *params,
                                                     struct packllm_error *err);
PACKLLM_API void packllm_session_close(struct packllm_session *session);
/* A new session that takes over what the members of `old` (NULL: none) have evaluated: a prompt or a
 * chat that begins as the text of old costs what is new of it. What it gives is what a session opened
 * anew gives, up to rounding. The packs are one pack, or views of one. Closes old; on an error old is
 * as it was. */
PACKLLM_API enum packllm_status
packllm_session_open_from(struct packllm_session **out_session, struct packllm_pack *pack,
                          const struct packllm_session_params *params, struct packllm_session *old,
                          struct packllm_error *err);
/* The same, but `from` goes on as it was: session gets a copy of what the members of from have evaluated
 * of its prompt, of the same pack or a view of it, with n_parallel > 1. Nobody may drive either session
 * meanwhile. E_UNSUPPORTED: there is nothing to copy. On an error a prompt of session costs all of it. */
PACKLLM_API enum packllm_status packllm_session_copy(struct packllm_session *session,
                                                     struct packllm_session *from,
                                                     struct packllm_error *err);

/* Sets the timeline to text: what it shares with the text already there is reused, the rest is
 * evaluated, lambda is found. E_TEXT: empty, or not UTF-8 (the message has the byte offset).
 * E_CONTEXT: longer than a member's context (numbers given). After an error or a cancel the
 * session can be used again. */
PACKLLM_API enum packllm_status packllm_session_prompt(struct packllm_session *session,
                                                       const char *text, size_t size,
                                                       struct packllm_error *err);
/* The same for weighing only: a member with a shorter context reads in windows; no step follows. */
PACKLLM_API enum packllm_status packllm_session_weigh(struct packllm_session *session,
                                                      const char *text, size_t size,
                                                      struct packllm_error *err);
/* A turn of a chat: the timeline becomes these messages, as each member's own template writes them
 * (docs/math.md, "Chats"), and stands where the assistant's reply begins; steps give the reply.
 * Templates and earlier turns stay in the caches: what the messages share with those before is
 * reused. lambda comes from the users' messages, later ones weighing more. A member without a
 * template that is known writes "### User:" and "### Assistant:". A tool's message is written as a user's,
 * but says nothing of lambda. Strings are NUL-terminated UTF-8; what
 * stands in a content is text and never a control token. E_ARG: no messages, an unknown role, or
 * the last one is neither the user's nor a tool's; E_TEXT, E_CONTEXT as above. */
struct packllm_message {
    const char *role; /* "system", "user", "assistant", "tool" */
    const char *content;
};
PACKLLM_API enum packllm_status packllm_session_chat(struct packllm_session *session,
                                                     const struct packllm_message *messages,
                                                     size_t n, struct packllm_error *err);
/* One display token (or byte): PACKLLM_PIECE, or PACKLLM_FINISHED, or an error. */
PACKLLM_API enum packllm_status packllm_session_step(struct packllm_session *session,
                                                     struct packllm_piece *out_piece,
                                                     struct packllm_error *err);
/* What one session's step gave. */
struct packllm_event {
    enum packllm_status status; /* PACKLLM_PIECE, PACKLLM_FINISHED, or an error */
    struct packllm_piece piece;
    struct packllm_error error;
};
/* A step of each of n sessions of one pack, at the same time: out_events[n]. With n_parallel > 1 the
 * members evaluate for all of them in one batch. OK, or E_ARG, E_MEMORY: then no step was taken. */
PACKLLM_API enum packllm_status packllm_step_many(struct packllm_session *const *sessions, size_t n,
                                                  struct packllm_event *out_events,
                                                  struct packllm_error *err);
PACKLLM_API enum packllm_finish packllm_session_finish(const struct packllm_session *session);
/* Ends what runs in this session, also in the middle of a model's evaluation: E_CANCELLED there. */
PACKLLM_API void packllm_session_cancel(struct packllm_session *session);

PACKLLM_API enum packllm_status packllm_session_weights(const struct packllm_session *session,
                                                        struct packllm_weights *out_weights);
/* weights [n_members], >= 0, normalised; holds for the steps that follow. */
PACKLLM_API enum packllm_status packllm_session_set_weights(struct packllm_session *session,
                                                            const double *weights, size_t n,
                                                            struct packllm_error *err);
PACKLLM_API enum packllm_status packllm_session_stats(struct packllm_session *session,
                                                      struct packllm_stats *out_stats,
                                                      struct packllm_error *err);
PACKLLM_API enum packllm_status packllm_session_why(const struct packllm_session *session,
                                                    struct packllm_why *out_why);

/* ---- scoring known text -------------------------------------------------------------------- */

struct packllm_score_params {
    size_t context_bytes;    /* lambda comes from these; the rest is scored */
    bool through_generation; /* walk byte by byte through the path that generates */
    bool next;               /* fill next[]: the distribution after the text */
    /* Called for each scored byte: offset in the text, log2 of the pack's probability, log2 of each
     * member's q [n_members], share of parked ends (largest of the members). May be NULL. */
    void (*per_byte)(void *data, size_t offset, double log2_pack, const double *log2_members,
                     double parked);
    void *per_byte_data;
};

struct packllm_member_score {
    const char *name;
    double weight;
    double bits_per_byte;       /* alone, canonical, over the scored bytes */
    double bits_per_byte_model; /* alone, through its byte model */
    uint64_t forwards;          /* tokens evaluated for the scored bytes */
    uint64_t tokens;            /* canonical tokens of the scored bytes */
    uint64_t windows;
    double seconds;
    double posterior; /* bayes, hedge, else NAN: its share of the mixture after the last byte */
};

struct packllm_score {
    uint64_t bytes, context_bytes; /* scored, context */
    double bits_per_byte;          /* of the pack */
    uint64_t resyncs;
    uint64_t jensen_violations; /* bytes with NLL(pool) > sum lambda NLL: a bug if not 0 */
    int32_t reference;          /* as in packllm_weights */
    size_t n_members;
    const struct packllm_member_score *members; /* owned by the session */
    double next[PACKLLM_EVENTS];                /* fused, sums to 1; zeros unless asked for */
    double seconds_evaluate, seconds_solve;
    /* bayes and hedge, else NAN: the scored bytes' loss is that of a mixture that runs along them. */
    double posterior;    /* hedge: the pool's share of it after the last byte */
    double regret;       /* nats, in all, above the best of its experts (bayes: with the context) */
    double regret_bound; /* what the regret cannot exceed */
};

PACKLLM_API struct packllm_score_params packllm_score_params_default(void);
PACKLLM_API enum packllm_status packllm_session_score(struct packllm_session *session,
                                                      const char *text, size_t size,
                                                      const struct packllm_score_params *params,
                                                      struct packllm_score *out_score,
                                                      struct packllm_error *err);

/* ---- unstable: may change with any version ---------------------------------------------------- */

#ifdef PACKLLM_EXPERIMENTAL

/* A member of your own: a vocabulary, a tokenizer, and a function from a history to logits. Used by
 * tests, teaching, and to bring a model that libllama cannot run. Copied at the call. */
struct packllm_own_token {
    const char *bytes;
    size_t size;
    bool end;     /* ends the text */
    bool control; /* never part of text */
};
struct packllm_own_member {
    const char *name;
    const struct packllm_own_token *tokens; /* [n_tokens] */
    size_t n_tokens;
    int32_t start; /* first token of every history, or -1: none */
    uint32_t n_ctx;
    /* Canonical tokenisation of text into out[cap]; returns the number of tokens, or < 0: it cannot
     * be spelled. NULL: greedy longest match. */
    long (*tokenize)(void *data, const char *text, size_t size, int32_t *out, size_t cap);
    /* Messages and the beginning of the reply as its chat template writes them, into out[cap]; returns
     * the length (if it exceeds cap, it is asked again with more room), or < 0. Contents must stand in it as they are; tokens that are `end` or `control`
     * are written as their bytes. NULL: the plain form. */
    long (*chat)(void *data, const struct packllm_message *messages, size_t n, char *out,
                 size_t cap);
    /* logits[n_tokens] after history[n]; returns 0, or else the evaluation fails. */
    int (*logits)(void *data, const int32_t *history, size_t n, float *out_logits);
    void *data;
};
PACKLLM_API enum packllm_status packllm_pack_open_own(struct packllm_pack **out_pack,
                                                      const struct packllm_own_member *members,
                                                      size_t n, const struct packllm_params *params,
                                                      struct packllm_error *err);

/* Plain decoding of text by one member, token by token behind context_bytes: what speeds are
 * compared with. Seconds for the *out_tokens canonical tokens behind the context. */
PACKLLM_API enum packllm_status packllm_bench_plain(struct packllm_pack *pack, size_t member,
                                                    const char *text, size_t size,
                                                    size_t context_bytes, double *out_seconds,
                                                    uint64_t *out_tokens,
                                                    struct packllm_error *err);

/* The same for n texts side by side (at most packllm_params.n_seq, and as many timelines as the pack has):
 * batches of one token of each, until the longest ends. */
struct packllm_plain {
    const char *text;
    size_t size, context_bytes;
};
PACKLLM_API enum packllm_status packllm_bench_plain_many(struct packllm_pack *pack, size_t member,
                                                         const struct packllm_plain *texts,
                                                         size_t n, double *out_seconds,
                                                         uint64_t *out_tokens,
                                                         struct packllm_error *err);

/* Some members of a pack as a pack of their own: models and vocabularies are the pack's, which must be
 * closed after it. members[n]: indices, ascending. */
PACKLLM_API enum packllm_status packllm_pack_view(struct packllm_pack **out_view,
                                                  struct packllm_pack *pack, const size_t *members,
                                                  size_t n, struct packllm_error *err);

/* A member's tokens. Any thread may ask, also while sessions run. */
enum packllm_token_kind { PACKLLM_TOKEN_TEXT, PACKLLM_TOKEN_END, PACKLLM_TOKEN_CONTROL };
struct packllm_token {
    enum packllm_token_kind kind;
    const char *bytes; /* [size], no NUL behind them; none but for text */
    size_t size;
};
PACKLLM_API enum packllm_status packllm_pack_token(const struct packllm_pack *pack, size_t member,
                                                   int32_t id, struct packllm_token *out_token);
/* The first token of every text (-1: none), the lowest that ends one (-1: none), and whether the
 * member puts a space before a text. */
PACKLLM_API enum packllm_status packllm_pack_ends(const struct packllm_pack *pack, size_t member,
                                                  int32_t *out_start, int32_t *out_end,
                                                  bool *out_space);
/* Canonical tokens of text into out[cap], the start not among them. E_ARG: cap is too small (size + 16
 * is enough). */
PACKLLM_API enum packllm_status packllm_pack_tokenize(const struct packllm_pack *pack,
                                                      size_t member, const char *text, size_t size,
                                                      int32_t *out, size_t cap, size_t *out_n,
                                                      struct packllm_error *err);

/* A text that is given token by token: begin sets the timeline to an empty text with the weights
 * given [n_members] (normalised), force puts a token of the display member behind it and tells its
 * log pi, as if the session had chosen it; reweigh gives other weights for what follows. Steps may
 * follow, also right after begin. Where the display member puts a space before a text, the first
 * token of a text is its own alone: its log pi is the display member's. params.choose must be
 * tokens. E_TEXT: the token is no text, or its bytes cannot stand there. */
PACKLLM_API enum packllm_status packllm_session_begin(struct packllm_session *session,
                                                      const double *weights, size_t n,
                                                      struct packllm_error *err);
PACKLLM_API enum packllm_status packllm_session_reweigh(struct packllm_session *session,
                                                        const double *weights, size_t n,
                                                        struct packllm_error *err);
PACKLLM_API enum packllm_status packllm_session_force(struct packllm_session *session,
                                                      int32_t token,
                                                      struct packllm_piece *out_piece,
                                                      struct packllm_error *err);
/* The same for the n tokens of a text that was just begun, of a pack of one member: they are read at
 * reading speed, and each (NULL: nobody) is called for them in turn, as if packllm_session_force had
 * given it; false stops with E_CANCELLED. What it may ask: packllm_session_top. E_UNSUPPORTED: several
 * members. */
typedef bool (*packllm_given_fn)(void *data, size_t index, const struct packllm_piece *piece);
PACKLLM_API enum packllm_status packllm_session_read(struct packllm_session *session,
                                                     const int32_t *tokens, size_t n,
                                                     packllm_given_fn each, void *data,
                                                     struct packllm_error *err);
/* The same of several members, fused in bytes, from one reading of the whole text (docs/math.md, "Known
 * tokens"): what is told adds up to the pool's log-probability of the bytes. The weights are given
 * [n_members]; or (NULL) come from the first `context` tokens; or (0) run, as in packllm_options_params.
 * packllm_session_top tells each token beside others, whose bytes are corrected up to the first that the
 * text does not share. Steps may follow. E_UNSUPPORTED, before anything is told: packllm_session_force
 * will do (members share a vocabulary, one alone has the weight, or more than fit side by side; params.why;
 * tokens that are not the display member's own of this text, or end inside a character). */
PACKLLM_API enum packllm_status packllm_session_tell(struct packllm_session *session,
                                                     const int32_t *tokens, size_t n,
                                                     const double *weights, size_t context,
                                                     packllm_given_fn each, void *data,
                                                     struct packllm_error *err);
/* The likeliest tokens of the last step (params.n_top), best first. The pointer lives until the next. */
struct packllm_top {
    int32_t token; /* -1: the end */
    double logprob;
    size_t begun; /* as in struct packllm_piece */
};
PACKLLM_API enum packllm_status packllm_session_top(const struct packllm_session *session,
                                                    const struct packllm_top **out_top,
                                                    size_t *out_n);

/* How two vocabularies meet: for every token of a reference the member's token that stands for it
 * (docs/math.md, "Vocabulary maps"). Of the files only the vocabularies are loaded. */
struct packllm_align_params {
    enum packllm_align method; /* mined */
    int32_t n_threads;         /* 0 = the machine's cores, at most 16; the map is the same */
    const char *cache;         /* mined maps are kept in `maps` in this folder; NULL: nowhere */
    /* Called with member 0 or 1 while it loads, -1 while the map is made; false cancels. May be NULL. */
    bool (*progress)(void *data, int member, double share);
    void *progress_data;
    void (*log)(void *data, int level, const char *line); /* as in packllm_params */
    void *log_data;
};
struct packllm_align_map {
    const char *reference, *member;  /* names */
    uint32_t n, n_member;            /* tokens of both */
    const int32_t *to;               /* [n] the member's token, -1: none */
    const uint32_t *distance;        /* [n] edits in bytes; UINT32_MAX where there is no token */
    uint32_t exact, near, unmatched; /* at distance 0, further, without a token; n in all */
    double seconds;                  /* for the map, without loading */
    bool cached;                     /* it was read from the cache */
    const char *warning;             /* what was wrong with the cache; "" for nothing */
};
struct packllm_alignment;

PACKLLM_API struct packllm_align_params packllm_align_params_default(void);
/* params may be NULL. */
PACKLLM_API enum packllm_status packllm_align_open(struct packllm_alignment **out_alignment,
                                                   const struct packllm_member_spec *reference,
                                                   const struct packllm_member_spec *member,
                                                   const struct packllm_align_params *params,
                                                   struct packllm_error *err);
PACKLLM_API void packllm_align_close(struct packllm_alignment *alignment);
/* The pointers live as long as the alignment. */
PACKLLM_API enum packllm_status packllm_align_get(const struct packllm_alignment *alignment,
                                                  struct packllm_align_map *out_map);
/* The bytes of a token, of the reference (of_member false) or of the member; none for tokens that are
 * no text. *out_usable: it is among the tokens between which distances are taken. */
PACKLLM_API enum packllm_status packllm_align_token(const struct packllm_alignment *alignment,
                                                    bool of_member, int32_t id,
                                                    const void **out_bytes, size_t *out_size,
                                                    bool *out_usable);

/* Several texts behind one context, weighed and fused in many ways from one reading of the members, in
 * bytes: what multiple choice asks for (docs/design.md, "Options"). */
struct packllm_option {
    const char *text; /* scored behind the context, as it is: a space between them is part of it */
    size_t size;
};
struct packllm_method {
    enum packllm_weigher weigher;
    enum packllm_pool pool;
    double shrink, tau, alpha; /* as in packllm_session_params */
    const double *fixed;       /* [n_members] for PACKLLM_WEIGH_FIXED */
    int32_t experts[3];
    bool whole;     /* sum_i lambda_i P_i(option): a mixture of whole options; linear pool */
    int32_t member; /* >= 0: this member alone, through its byte model; the rest is not looked at */
    /* With member: along its canonical tokens; of several options the last one whole, as lm-eval counts;
     * else as packllm_member_score has it. */
    bool canonical;
};
struct packllm_options_params {
    bool refit; /* lambda from context and option, for each option anew; else from the context */
    /* lambda runs: at byte x it comes from all bytes before the last multiple of 64 up to x, of the
     * option too (none: the prior). Not with refit; whole options keep the first. */
    bool running;
    /* Forget what was read before: the figures then depend on nothing but this call. Else what the
     * context shares with the last text is reused, which moves the last bits. */
    bool fresh;
};
struct packllm_options {
    const double *nll;      /* [n_methods][n_options] of the option behind the context, nats */
    const double *context;  /* [n_methods] of what lambda came from, nats per byte; or NAN */
    const double *weights;  /* [n_methods][n_members] (refit: of the last option) */
    const double *own;      /* [n_methods] seconds of its own: weighing and fusing */
    const uint64_t *tokens; /* [n_members] evaluated */
    const double *reading;  /* [n_members] seconds of the member's reading */
    const double *forward;  /* [n_members] of them inside the model library */
    double seconds;         /* in all */
    size_t n_methods, n_options, n_members;
};
PACKLLM_API struct packllm_method packllm_method_default(void);
PACKLLM_API struct packllm_options_params packllm_options_params_default(void);
/* Arrays of *out_options live until packllm_options_done. E_ARG: a method that does not fit its pool
 * or the pack; E_TEXT: an empty text, or one that is not UTF-8; E_CONTEXT: as with a prompt, there are
 * no windows. Afterwards the session needs a prompt before a step. */
PACKLLM_API enum packllm_status
packllm_session_options(struct packllm_session *session, const char *context, size_t size,
                        const struct packllm_option *options, size_t n_options,
                        const struct packllm_method *methods, size_t n_methods,
                        const struct packllm_options_params *params,
                        struct packllm_options *out_options, struct packllm_error *err);
PACKLLM_API void packllm_options_done(struct packllm_options *options);
/* From the next prompt on the session weighs and fuses as the method says, in bytes: several methods
 * can write behind one prompt that the members read once. E_ARG: as above, or the method cannot
 * write. */
PACKLLM_API enum packllm_status packllm_session_use(struct packllm_session *session,
                                                    const struct packllm_method *method,
                                                    struct packllm_error *err);
/* Members forget what they read: figures then depend on nothing but what follows. */
PACKLLM_API void packllm_session_forget(struct packllm_session *session);
/* Labelled texts kept as rows, for trying settings of the pack on them: 1 KB a byte and member. Their
 * losses are those of packllm_session_options under exact weights and the log pool (docs/math.md,
 * "Calibration"). */
struct packllm_calibration;
struct packllm_calibration_point {
    const double *prior;       /* [n_members] > 0, sum 1 */
    const double *temperature; /* [n_members] > 0 over what the members were opened with; NULL: 1 */
    double shrink;
};
/* The session must outlive it; adding a text takes what the session stood at. */
PACKLLM_API enum packllm_status packllm_calibration_open(struct packllm_calibration **out,
                                                         struct packllm_session *session,
                                                         struct packllm_error *err);
PACKLLM_API void packllm_calibration_close(struct packllm_calibration *calibration);
/* Item k is the k-th added. Errors as of packllm_session_options; gold: the right option. */
PACKLLM_API enum packllm_status packllm_calibration_add(struct packllm_calibration *calibration,
                                                        const char *context, size_t size,
                                                        const struct packllm_option *options,
                                                        size_t n_options, size_t gold,
                                                        struct packllm_error *err);
PACKLLM_API uint64_t packllm_calibration_bytes(const struct packllm_calibration *calibration);
/* out_nll[n_options] nats behind the context, out_lambda[n_members]. */
PACKLLM_API enum packllm_status
packllm_calibration_score(const struct packllm_calibration *calibration, size_t item,
                          const struct packllm_calibration_point *point, double *out_nll,
                          double *out_lambda, struct packllm_error *err);
/* The one lambda that minimises the mean loss per byte of the gold texts of the items in use
 * [n items]: convex, within *out_gap of the minimum. */
PACKLLM_API enum packllm_status
packllm_calibration_one(const struct packllm_calibration *calibration, const bool *use,
                        double *out_lambda, double *out_gap, struct packllm_error *err);
/* E_CONTEXT if a member cannot read a text of this kind in one go; nothing is evaluated. */
PACKLLM_API enum packllm_status packllm_session_fits(const struct packllm_session *session,
                                                     const char *text, size_t size,
                                                     struct packllm_error *err);

#endif /* PACKLLM_EXPERIMENTAL */

#ifdef __cplusplus
}
#endif
#endif
