/* private.h - what the files of the server share.
 *
 * Threads: the HTTP library runs one for each connection; they parse, queue a job, wait for what it
 * brings and write that. The scheduler's workers own the sessions and are the only ones that
 * evaluate. They meet in a job (its lock) and in the queue (its own). */
#ifndef SERVER_PRIVATE_H
#define SERVER_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "common/json.h"
#include "server/ask.h"
#include "server/serve.h"

/* ---- models: the pack, each member alone, and sets of weights that were pinned ---- */

struct model {
    char *name;
    struct packllm_pack *pack; /* the pack, or a view of one member */
    bool own;                  /* the view is ours to close */
    size_t n;                  /* members */
    size_t display;            /* member of `pack` whose tokens are the model's */
    int32_t start, end;        /* token ids, -1: none */
    bool space;                /* the display member puts a space before a text */
    uint32_t n_vocab, n_ctx;
};

enum { PINS = 256, PIN_ID = 16 };
struct pin {
    char id[PIN_ID];
    double *weights; /* [n members of the pack] */
};

/* ---- metrics.c: one list, for counting and for telling ---- */

#define METRICS(X)                                                                                 \
    X(REQUESTS, "requests_total", "counter", "requests that were answered")                        \
    X(REFUSED, "requests_refused_total", "counter", "requests answered with a status of 400 up")   \
    X(CANCELLED, "requests_cancelled_total", "counter", "requests whose client went away")         \
    X(PROMPT_TOKENS, "prompt_tokens_total", "counter", "display tokens of prompts read")           \
    X(TOKENS, "completion_tokens_total", "counter", "display tokens written")                      \
    X(SHARED, "prompts_shared_total", "counter",                                                   \
      "prompts whose beginning was taken from a request at work")                                  \
    X(PROMPT_MS, "prompt_milliseconds_total", "counter", "time spent reading prompts")             \
    X(STEP_MS, "generate_milliseconds_total", "counter", "time spent in steps")                    \
    X(ACTIVE, "sessions_active", "gauge", "replies that are being written")                        \
    X(QUEUED, "requests_queued", "gauge", "requests that wait for their turn")                     \
    X(PINNED, "weights_pinned", "gauge", "sets of weights that are kept")
enum metric {
#define X(id, name, kind, help) METRIC_##id,
    METRICS(X)
#undef X
        N_METRICS
};
struct metrics {
    atomic_uint_least64_t value[N_METRICS];
};
void metrics_write(const struct metrics *metrics, struct buf *out);

/* ---- job.c: one request's work, and what came of it so far ---- */

struct piece {
    int32_t token;           /* -1: the end */
    bool first;              /* of the prompt: it has no log-probability */
    double logprob;          /* nats */
    size_t begun;            /* bytes of the token that the prompt ended with */
    size_t at, size;         /* its other bytes in choice.bytes */
    size_t text_end;         /* bytes of choice.text given out when it came */
    struct packllm_top *top; /* [n_top] */
    size_t n_top;
};

/* why.c: the members' part in the pieces of a reply. */
struct why_member {
    const char *name;
    double weight, logprob; /* nats; NAN: it did not take part */
    char would[64];         /* "": not known */
};
struct why_piece {
    size_t at, size; /* in choice.text, which may end before */
    double logprob;
    struct why_member *members; /* [n_members] */
    size_t n_members;
};
struct why {
    struct why_piece *pieces; /* [n] */
    size_t n, room, end;      /* end: where the next one begins */
    struct utf8_state character;
};

enum choice_state { CHOICE_WAITS, CHOICE_READS, CHOICE_WRITES, CHOICE_DONE };

struct choice {
    struct job *job;
    size_t prompt, index;
    enum choice_state state;
    struct packllm_session *session; /* a worker's; others may cancel it under the lock */
    struct buf text;                 /* the reply so far, what echo repeats first */
    struct buf bytes;                /* of the pieces */
    struct piece *pieces;            /* [n_pieces]; only with logprobs */
    size_t n_pieces, room_pieces;
    struct why why; /* only if asked for */
    enum packllm_finish finish;
    uint64_t prompt_tokens, tokens;
    struct packllm_weights weights; /* members point into member_weights; space NULL: none yet */
    struct packllm_member_weight *member_weights;
};

struct job {
    struct ask ask;
    const struct model *model;
    struct packllm_pack *pack; /* the model's, or a view of the members asked for */
    bool own_pack;
    size_t display;
    double *fixed; /* [members of pack] pinned weights, or NULL */
    char id[40];
    int64_t created;
    double started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    atomic_bool cancelled; /* the client went, or the server stops */
    bool finished;         /* nobody of the scheduler's looks at it any more */
    bool failed;           /* error says why */
    struct ask_error error;
    struct choice *choices; /* [n_choices] prompts in turn, each n times */
    size_t n_choices, n_begun, n_ended;
    struct job *next; /* in the queue */
    /* the stream's own: */
    size_t *sent_text, *sent_pieces, *sent_why; /* [n_choices] */
    bool *sent_first, *sent_last;               /* [n_choices] */
    double last_sent;
};

struct job *job_open(void);
void job_close(struct job *job);
bool job_choices(struct job *job, struct ask_error *e); /* once ask, pack and display are set */
/* Under the lock: an error of the library becomes the job's. */
void job_fail(struct job *job, enum packllm_status status, const struct packllm_error *err);
bool job_piece(struct choice *c, const struct packllm_piece *piece, bool first);
void job_cancel(struct job *job);
/* Waits until something changed or seconds have passed; with the lock held. */
void job_wait(struct job *job, double seconds);

/* After a step, before its text is added; with the lock held. False: no memory. */
bool why_add(struct choice *c, const struct packllm_piece *piece);
/* Pieces that may be told: those that the text has reached; all: the last one may be cut. */
size_t why_told(const struct choice *c, bool all);
void why_write(struct json *json, const struct choice *c, size_t from, size_t to);
void why_done(struct why *why);

/* ---- scheduler.c ---- */

struct scheduler;
struct scheduler *scheduler_open(struct serve *serve);
/* Queues it: true, or false with 429 or 503. */
bool scheduler_add(struct scheduler *s, struct job *job, struct ask_error *e);
/* Choices of a cancelled job that nobody has begun are over; not with the job's lock. */
void scheduler_drop(struct scheduler *s, struct job *job);
/* No more jobs; what is there is finished, for at most `grace` seconds, then broken off. */
void scheduler_stop(struct scheduler *s, double grace);
void scheduler_close(struct scheduler *s); /* once nobody adds any more; NULL allowed */

/* ---- slots.c: sessions between two choices ---- */

struct slot {
    struct packllm_session *session; /* NULL: none yet; the worker's while busy */
    struct packllm_pack *pack;       /* the session's */
    struct buf key;                  /* the text it was given, for comparing */
    bool busy;
    uint64_t used;
    bool reads, writes; /* its worker is at the prompt, or behind it: others may take a copy */
    struct share_wait *waits; /* who wants one */
};
/* What the choice's text begins with, as a key: *out is the caller's. */
void slot_key(struct buf *out, const struct choice *c);
/* The slot that is not busy and suits the choice best; there must be one. whole: the pack that views of
 * a job's own are of. */
struct slot *slot_choose(struct slot *slots, size_t n, const struct job *job,
                         const struct packllm_pack *whole, const struct buf *key);
void slot_clear(struct slot *slot); /* closes its session */
size_t slot_shares(const struct slot *slot, const struct packllm_pack *pack,
                   const struct packllm_pack *whole, const struct buf *key); /* bytes; 0: none */

/* ---- share.c: slots at work whose text begins like another request's ---- */

/* What workers wait for each other with. */
struct share {
    pthread_mutex_t *lock; /* the scheduler's */
    pthread_cond_t given;
    struct slot *slots; /* [n] */
    size_t n;
    const struct packllm_pack *whole;
};
bool share_init(struct share *share, pthread_mutex_t *lock, struct slot *slots, size_t n,
                const struct packllm_pack *whole);
void share_done(struct share *share);
/* Before the slot's prompt is read; its key is set, its session has `have` bytes of it. Waits for a copy
 * of what another slot reads, where that is worth it; true: there is one. */
bool share_take(struct share *share, struct slot *slot, size_t have, const atomic_bool *cancelled);
/* By the worker of a slot, between two calls of its session: gives copies to those who wait. */
void share_give(struct share *share, struct slot *slot);
/* Its work is over; fine: once more, else those who wait look elsewhere. */
void share_end(struct share *share, struct slot *slot, bool fine);

/* echo.c: a choice whose prompt's tokens are wanted with their log pi. A worker's thread. */
enum packllm_status echo_read(struct serve *serve, struct choice *c, struct packllm_error *err);
/* The bytes of ids: the text they stand for. False: *e. */
bool tokens_text(const struct model *model, const int32_t *ids, size_t n, struct buf *out,
                 struct ask_error *e);
void choice_weights(struct choice *c, const struct packllm_weights *weights);
/* The parameters of a choice's session. */
struct packllm_session_params choice_params(const struct serve *serve, const struct choice *c);

/* ---- calls.c: replies that are calls of a tool ---- */

struct call {
    size_t name, name_size; /* in choice.text */
    size_t from, to;        /* of the arguments, as far as they have come */
};
/* The reply is a call, and its name is there. */
bool choice_call(const struct choice *c, struct call *out);
/* Bytes of the text that may be told: of a call up to what has come of its arguments, none as long as the
 * text may become a call that has no name yet. */
size_t choice_told(const struct choice *c, bool last);
const char *choice_finish(const struct choice *c); /* the reason */
/* The member tool_calls; from: bytes of the text that were told before. */
void call_write(struct json *json, const struct choice *c, const struct call *call, size_t from,
                bool chunk);

/* ---- reply.c: structs to JSON ---- */

void reply_error(struct buf *out, const struct ask_error *e);
void reply_job(struct buf *out, struct job *job);
/* What is new since the last call as SSE events; true once all has been told. With the lock held. */
bool reply_stream(struct buf *out, struct job *job);
void reply_weights(struct buf *out, const struct packllm_weights *weights, const char *id);

/* ---- routes.c, model.c, guard.c, log.c ---- */

struct http_exchange;
struct serve {
    struct serve_config config;
    char *host, *key;
    int port;
    struct http *http;
    struct scheduler *scheduler;
    struct metrics metrics;
    struct packllm_session_params params;
    double *fixed;        /* of params */
    struct model *models; /* [n_models]; the first is the pack */
    size_t n_models;
    atomic_bool loaded, stopping; /* stopping: what still runs is to end */
    pthread_mutex_t lock;         /* of pins and ids */
    struct pin pins[PINS];
    size_t n_pins; /* in all; the oldest gives way */
    uint64_t salt, counter;
};

/* A name that none had before, behind a prefix. */
void routes_id(struct serve *serve, char *out, size_t room, const char *prefix);
/* Before the body is read: false with *e (401, 403, 404, 405). */
bool routes_admit(struct serve *serve, struct http_exchange *x, struct ask_error *e);
void routes_handle(struct serve *serve, struct http_exchange *x);
/* model.c: what a request is for becomes its job's; false with *e. */
bool model_choose(struct serve *serve, struct job *job, struct ask_error *e);
/* Keeps weights under a new id; the oldest set gives way. */
bool model_pin(struct serve *serve, const double *weights, char out_id[PIN_ID],
               struct ask_error *e);
bool model_unknown(const struct serve *serve, const char *name, struct ask_error *e); /* false */
bool guard_loopback(const char *host);
bool guard_key(const char *key, const char *authorization);
/* host: what the server listens on; loopback_only: other names are refused (DNS rebinding). */
bool guard_host(const char *host_header, const char *host, bool loopback_only);
bool guard_origin(const char *origin, const char *host_header);
void log_request(const struct serve *serve, const char *id, const char *method, const char *path,
                 int status, double seconds, struct job *job);

#endif
