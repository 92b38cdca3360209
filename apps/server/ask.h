/* ask.h - what a client asks for: the bodies of /v1/completions, /v1/chat/completions and
 * /v1/weights as a struct, every field checked, nothing of JSON left. */
#ifndef SERVER_ASK_H
#define SERVER_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef PACKLLM_EXPERIMENTAL
#define PACKLLM_EXPERIMENTAL /* tokens, views, log pi of given tokens */
#endif
#include "packllm/packllm.h"

/* Caps. What they bound is written where it is refused. */
enum {
    ASK_BODY = 8 << 20, /* bytes */
    ASK_DEPTH = 32,     /* of JSON */
    ASK_PROMPTS = 256,
    ASK_MESSAGES = 2048,
    ASK_N = 16,
    ASK_LOGPROBS = 20,
    ASK_STOPS = 64,
    ASK_STOP_BYTES = 1024,
    ASK_BIASES = 1024,
    ASK_TOKENS = 1 << 20, /* max_tokens, and ids of a prompt */
    ASK_MEMBERS = 4096,
    ASK_TOOLS = 128,      /* and calls in a message */
    ASK_GRAMMAR = 1 << 16 /* bytes */
};

/* An error as the API has it. */
struct ask_error {
    int status; /* HTTP */
    const char *type;
    const char *code; /* NULL: null */
    char param[64];   /* "": null */
    char message[1200];
    uint64_t n_prompt_tokens, n_ctx; /* of exceed_context_size_error, else 0 */
    int retry_after;                 /* seconds; 0: none */
};
/* Fills *e and returns false, so that `return ask_fail(…)` reads. */
bool ask_fail(struct ask_error *e, int status, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

struct ask_prompt {
    char *text; /* NULL where it is given as ids */
    size_t size;
    int32_t *ids;
    size_t n_ids;
};

struct ask_weight {
    char *name; /* NULL: by place */
    double value;
};

enum ask_kind { ASK_COMPLETION, ASK_CHAT, ASK_WEIGHTS };

struct ask {
    enum ask_kind kind;
    char *model; /* NULL: the pack */
    struct ask_prompt *prompts;
    size_t n_prompts;
    struct packllm_message *messages; /* of a chat; role and content are ours */
    size_t n_messages;
    int64_t max_tokens; /* < 0: until the end */
    unsigned n;
    bool logprobs;
    unsigned n_top;
    bool echo, stream, include_usage;
    struct packllm_sampling sampling;
    bool seeded;
    char **stop;
    size_t n_stop;
    struct packllm_bias *bias;
    size_t n_bias;
    char *json_schema, *grammar;
    bool tools;   /* the schema is of calls: a reply that begins with "{" is one */
    bool or_text; /* or the reply is text */
    /* packllm: {…} */
    struct ask_weight *weights;
    size_t n_weights;
    char **members;
    size_t n_members;
    int64_t context_tokens; /* -1: not given */
    bool why;               /* who carried what */
};

/* False: *e; ask_done in any case. */
bool ask_read(struct ask *ask, enum ask_kind kind, const char *body, size_t size,
              struct ask_error *e);
void ask_done(struct ask *ask);
/* What the library says of a schema, if it says it of a tool's: true, and *e names the tool. */
bool ask_tools_blamed(const char *message, struct ask_error *e);

/* The small routes: /tokenize {prompt or content, add_special_tokens} and /detokenize {tokens}. */
struct ask_text {
    char *text;
    size_t size;
    int32_t *ids;
    size_t n_ids;
    bool special;
};
bool ask_text_read(struct ask_text *ask, bool tokens, const char *body, size_t size,
                   struct ask_error *e);
void ask_text_done(struct ask_text *ask);

#endif
