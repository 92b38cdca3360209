/* reply.c - structs to JSON: whole replies and pieces of streams are written from the same job, so they
 * cannot say different things. */
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "server/private.h"

void reply_error(struct buf *out, const struct ask_error *e) {
    struct json json;
    json_init(&json, out);
    json_begin_object(&json);
    json_key(&json, "error");
    json_begin_object(&json);
    json_key_text(&json, "message", e->message);
    json_key_text(&json, "type", e->type);
    json_key_text(&json, "param", e->param[0] != '\0' ? e->param : NULL);
    if (e->code != NULL) {
        json_key_text(&json, "code", e->code);
    } else {
        json_key_uint(&json, "code", (uint64_t)e->status);
    }
    if (e->n_ctx > 0) {
        json_key_uint(&json, "n_prompt_tokens", e->n_prompt_tokens);
        json_key_uint(&json, "n_ctx", e->n_ctx);
    }
    json_end_object(&json);
    json_end_object(&json);
}

/* ---- tokens ---- */

/* A token's text behind what the prompt begun of it, or where its bytes are no whole characters
 * "bytes:\xNN…". */
static void token_text(const struct job *job, int32_t id, size_t begun, struct buf *out) {
    struct packllm_token token = {.bytes = ""};
    buf_cut(out, 0);
    if (id < 0) {
        (void)buf_add_text(out, "<|end|>");
        return;
    }
    (void)packllm_pack_token(job->pack, job->display, id, &token);
    begun = begun < token.size ? begun : 0;
    token.bytes += begun;
    token.size -= begun;
    if (token.kind == PACKLLM_TOKEN_TEXT && utf8_check(token.bytes, token.size) == token.size) {
        (void)buf_add(out, token.bytes, token.size);
        return;
    }
    (void)buf_add_text(out, token.kind == PACKLLM_TOKEN_TEXT ? "bytes:" : "<|control|>");
    for (size_t i = 0; i < token.size; i++) {
        (void)buf_printf(out, "\\x%02x", (unsigned)(unsigned char)token.bytes[i]);
    }
}

static void json_token(struct json *json, const struct job *job, int32_t id, size_t begun,
                       struct buf *text) {
    token_text(job, id, begun, text);
    json_bytes(json, text->data != NULL ? text->data : "", text->size);
}

/* A dictionary: keys must differ, so of tokens that read the same the likelier stands. The piece's own
 * token is always there, with the very number that token_logprobs has. */
static void top_dictionary(struct json *json, const struct job *job, const struct piece *p,
                           struct buf *text) {
    struct buf own;
    bool seen = false;
    buf_init(&own, 1 << 16);
    token_text(job, p->token, p->begun, &own);
    json_begin_object(json);
    for (size_t i = 0; i < p->n_top; i++) {
        bool repeated = false;
        bool is_own = p->top[i].token == p->token;
        for (size_t k = 0; k < i && !repeated; k++) {
            struct buf before;
            buf_init(&before, 1 << 16);
            token_text(job, p->top[k].token, p->top[k].begun, &before);
            token_text(job, p->top[i].token, p->top[i].begun, text);
            repeated = before.size == text->size &&
                       (text->size == 0 || memcmp(before.data, text->data, text->size) == 0);
            buf_done(&before);
        }
        token_text(job, p->top[i].token, p->top[i].begun, text);
        bool reads_own = text->size == own.size &&
                         (own.size == 0 || memcmp(text->data, own.data, own.size) == 0);
        if (repeated || (reads_own && !is_own)) {
            continue;
        }
        seen = seen || is_own;
        json_key_double(json, text->data != NULL ? text->data : "", p->top[i].logprob);
    }
    if (!seen) {
        json_key_double(json, own.data != NULL ? own.data : "", p->logprob);
    }
    json_end_object(json);
    buf_done(&own);
}

/* Pieces that are told: those that begin before the text ends (a stop string is no text). */
static size_t told_pieces(const struct choice *c, bool all) {
    size_t n = c->n_pieces, size = c->text.size;
    if (!all) {
        while (n > 0 && c->pieces[n - 1].at + c->pieces[n - 1].size > size) {
            n--;
        }
    } else if (c->finish == PACKLLM_FINISH_STOP) {
        while (n > 0 && c->pieces[n - 1].size > 0 && c->pieces[n - 1].at >= size) {
            n--;
        }
    }
    return n;
}

static void completion_logprobs(struct json *json, const struct choice *c, size_t from, size_t to) {
    const struct job *job = c->job;
    struct buf text;
    buf_init(&text, 1 << 16);
    json_begin_object(json);
    json_key(json, "tokens");
    json_begin_array(json);
    for (size_t i = from; i < to; i++) {
        json_token(json, job, c->pieces[i].token, c->pieces[i].begun, &text);
    }
    json_end_array(json);
    json_key(json, "token_logprobs");
    json_begin_array(json);
    for (size_t i = from; i < to; i++) {
        if (c->pieces[i].first) {
            json_nothing(json);
        } else {
            json_double(json, c->pieces[i].logprob);
        }
    }
    json_end_array(json);
    json_key(json, "top_logprobs");
    json_begin_array(json);
    for (size_t i = from; i < to; i++) {
        if (c->pieces[i].first) {
            json_nothing(json);
        } else {
            top_dictionary(json, job, &c->pieces[i], &text);
        }
    }
    json_end_array(json);
    json_key(json, "text_offset");
    json_begin_array(json);
    size_t characters = 0, at = 0;
    for (size_t i = 0; i < to; i++) {
        for (; at < c->pieces[i].at; at++) {
            characters += ((unsigned char)c->bytes.data[at] & 0xc0) != 0x80;
        }
        if (i >= from) {
            json_uint(json, characters);
        }
    }
    json_end_array(json);
    json_end_object(json);
    buf_done(&text);
}

static void chat_entry(struct json *json, const struct job *job, int32_t token, double logprob,
                       struct buf *text) {
    struct packllm_token t = {.bytes = ""};
    json_key(json, "token");
    json_token(json, job, token, 0, text); /* a chat begins no token */
    json_key_double(json, "logprob", logprob);
    json_key(json, "bytes");
    json_begin_array(json);
    if (token >= 0) {
        (void)packllm_pack_token(job->pack, job->display, token, &t);
    }
    for (size_t i = 0; i < t.size; i++) {
        json_uint(json, (unsigned char)t.bytes[i]);
    }
    json_end_array(json);
}

static void chat_logprobs(struct json *json, const struct choice *c, size_t from, size_t to) {
    struct buf text;
    buf_init(&text, 1 << 16);
    json_begin_object(json);
    json_key(json, "content");
    json_begin_array(json);
    for (size_t i = from; i < to; i++) {
        const struct piece *p = &c->pieces[i];
        json_begin_object(json);
        chat_entry(json, c->job, p->token, p->logprob, &text);
        json_key(json, "top_logprobs");
        json_begin_array(json);
        for (size_t k = 0; k < p->n_top; k++) {
            json_begin_object(json);
            chat_entry(json, c->job, p->top[k].token, p->top[k].logprob, &text);
            json_end_object(json);
        }
        json_end_array(json);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
    buf_done(&text);
}

static void logprobs(struct json *json, const struct choice *c, size_t from, size_t to) {
    json_key(json, "logprobs");
    if (!c->job->ask.logprobs) {
        json_nothing(json);
    } else if (c->job->ask.kind == ASK_CHAT) {
        chat_logprobs(json, c, from, to);
    } else {
        completion_logprobs(json, c, from, to);
    }
}

/* ---- packllm: who speaks ---- */

static void members(struct json *json, const struct packllm_weights *w) {
    json_key_text(json, "space", w->space);
    json_key_text(json, "pool", packllm_pool_name(w->pool));
    json_key_text(json, "weights", packllm_weigher_name(w->weigher));
    json_key_double(json, "bits_per_byte", w->bits_per_byte);
    json_key(json, "members");
    json_begin_array(json);
    for (size_t i = 0; i < w->n_members; i++) {
        const struct packllm_member_weight *m = &w->members[i];
        json_begin_object(json);
        json_key_text(json, "name", m->name);
        json_key_double(json, "weight", m->weight);
        json_key_double(json, "bits_per_byte", m->bits_per_byte);
        json_key_double(json, "bits_per_byte_model", m->bits_per_byte_model);
        json_key_double(json, "perplexity", m->tokens > 0 ? m->perplexity : (double)NAN);
        json_key_uint(json, "tokens", m->tokens);
        json_end_object(json);
    }
    json_end_array(json);
}

static void weights_of(struct json *json, const struct job *job) {
    if (job->choices[0].weights.space != NULL) {
        members(json, &job->choices[0].weights);
    }
    if (job->n_choices > job->ask.n) {
        json_key(json, "prompts");
        json_begin_array(json);
        for (size_t i = 0; i < job->n_choices; i += job->ask.n) {
            json_begin_object(json);
            if (job->choices[i].weights.space != NULL) {
                members(json, &job->choices[i].weights);
            }
            json_end_object(json);
        }
        json_end_array(json);
    }
}

/* Pieces of one reply stand beside the weights, those of several in a list of their own. */
static void whole_packllm(struct json *json, const struct job *job) {
    json_key(json, "packllm");
    json_begin_object(json);
    weights_of(json, job);
    if (job->ask.why && job->n_choices == 1) {
        why_write(json, &job->choices[0], 0, why_told(&job->choices[0], true));
    } else if (job->ask.why) {
        json_key(json, "choices");
        json_begin_array(json);
        for (size_t i = 0; i < job->n_choices; i++) {
            json_begin_object(json);
            why_write(json, &job->choices[i], 0, why_told(&job->choices[i], true));
            json_end_object(json);
        }
        json_end_array(json);
    }
    json_end_object(json);
}

/* Of a chunk: the weights with the first one of a choice, and the pieces that its text has reached. */
static void chunk_packllm(struct json *json, struct job *job, const struct choice *c, bool last) {
    size_t from = job->sent_why[c->index], to = why_told(c, last);
    bool first = !job->sent_first[c->index];
    to = to > from ? to : from;
    if (!first && to == from) {
        return;
    }
    json_key(json, "packllm");
    json_begin_object(json);
    if (first) {
        weights_of(json, job);
    }
    if (to > from) {
        why_write(json, c, from, to);
    }
    json_end_object(json);
    job->sent_why[c->index] = to;
}

void reply_weights(struct buf *out, const struct packllm_weights *w, const char *id) {
    struct json json;
    json_init(&json, out);
    json_begin_object(&json);
    json_key_text(&json, "id", id);
    json_key_text(&json, "object", "packllm.weights");
    json_key_double(&json, "shrink", w->shrink);
    json_key_uint(&json, "bytes", w->bytes);
    json_key_double(&json, "objective", w->objective);
    json_key_double(&json, "gap", w->gap);
    json_key_uint(&json, "passes", w->passes);
    members(&json, w);
    json_key(&json, "seconds");
    json_begin_object(&json);
    json_key_double(&json, "evaluate", w->seconds_evaluate);
    json_key_double(&json, "solve", w->seconds_solve);
    json_end_object(&json);
    json_end_object(&json);
}

/* ---- whole replies and streams ---- */

static void head(struct json *json, const struct job *job, bool chunk) {
    bool chat = job->ask.kind == ASK_CHAT;
    json_key_text(json, "id", job->id);
    json_key_text(json, "object",
                  !chat   ? "text_completion"
                  : chunk ? "chat.completion.chunk"
                          : "chat.completion");
    json_key(json, "created");
    json_int(json, job->created);
    json_key_text(json, "model", job->ask.model != NULL ? job->ask.model : job->model->name);
    json_key_text(json, "system_fingerprint", "packllm-" PACKLLM_VERSION);
}

static void usage(struct json *json, const struct job *job) {
    uint64_t prompt = 0, written = 0;
    for (size_t i = 0; i < job->n_choices; i++) {
        prompt += i % job->ask.n == 0 ? job->choices[i].prompt_tokens : 0;
        written += job->choices[i].tokens;
    }
    json_key(json, "usage");
    json_begin_object(json);
    json_key_uint(json, "prompt_tokens", prompt);
    json_key_uint(json, "completion_tokens", written);
    json_key_uint(json, "total_tokens", prompt + written);
    json_end_object(json);
}

void reply_job(struct buf *out, struct job *job) {
    struct json json;
    bool chat = job->ask.kind == ASK_CHAT;
    json_init(&json, out);
    json_begin_object(&json);
    head(&json, job, false);
    json_key(&json, "choices");
    json_begin_array(&json);
    for (size_t i = 0; i < job->n_choices; i++) {
        const struct choice *c = &job->choices[i];
        const char *text = c->text.data != NULL ? c->text.data : "";
        struct call call;
        bool called = choice_call(c, &call);
        json_begin_object(&json);
        json_key_uint(&json, "index", i);
        if (chat) {
            json_key(&json, "message");
            json_begin_object(&json);
            json_key_text(&json, "role", "assistant");
            json_key(&json, "content");
            if (called) {
                json_nothing(&json);
                call_write(&json, c, &call, 0, false);
            } else {
                json_bytes(&json, text, c->text.size);
            }
            json_end_object(&json);
        } else {
            json_key(&json, "text");
            json_bytes(&json, text, c->text.size);
        }
        logprobs(&json, c, 0, told_pieces(c, true));
        json_key_text(&json, "finish_reason", choice_finish(c));
        json_end_object(&json);
    }
    json_end_array(&json);
    usage(&json, job);
    whole_packllm(&json, job);
    json_end_object(&json);
}

static void event(struct buf *out, struct buf *data) {
    (void)buf_add_text(out, "data: ");
    (void)buf_add(out, data->data != NULL ? data->data : "", data->size);
    (void)buf_add_text(out, "\n\n");
    buf_cut(data, 0);
}

static void chunk_delta(struct json *json, const struct choice *c, bool role, size_t from,
                        size_t to) {
    const char *text = c->text.data != NULL ? c->text.data + from : "";
    struct call call;
    bool tools = c->job->ask.tools;
    if (c->job->ask.kind != ASK_CHAT) {
        json_key(json, "text");
        json_bytes(json, text, to - from);
        return;
    }
    json_key(json, "delta");
    json_begin_object(json);
    if (role) {
        json_key_text(json, "role", "assistant");
    }
    if (tools && to > from && choice_call(c, &call)) {
        call_write(json, c, &call, from, true);
    } else if (tools && role && to == from) { /* not known yet */
        json_key_text(json, "content", NULL);
    } else if (role || to > from) {
        json_key(json, "content");
        json_bytes(json, text, to - from);
    }
    json_end_object(json);
}

static void chunk(struct buf *out, struct job *job, struct choice *c, bool last) {
    size_t i = c->index, from = job->sent_text[i], pieces = job->sent_pieces[i];
    size_t to = told_pieces(c, last && c->state == CHOICE_DONE), told = choice_told(c, last);
    bool role = !job->sent_first[i];
    struct buf data;
    struct json json;
    to = to > pieces ? to : pieces;
    buf_init(&data, (size_t)1 << 28);
    json_init(&json, &data);
    json_begin_object(&json);
    head(&json, job, true);
    json_key(&json, "choices");
    json_begin_array(&json);
    json_begin_object(&json);
    json_key_uint(&json, "index", i);
    chunk_delta(&json, c, role, from, told);
    logprobs(&json, c, pieces, to);
    json_key_text(&json, "finish_reason", last ? choice_finish(c) : NULL);
    json_end_object(&json);
    json_end_array(&json);
    chunk_packllm(&json, job, c, last);
    json_end_object(&json);
    event(out, &data);
    buf_done(&data);
    job->sent_text[i] = told;
    job->sent_pieces[i] = to;
    job->sent_first[i] = true;
    job->sent_last[i] = last;
}

bool reply_stream(struct buf *out, struct job *job) {
    struct buf data;
    buf_init(&data, 1 << 20);
    for (size_t i = 0; i < job->n_choices; i++) {
        struct choice *c = &job->choices[i];
        bool last = c->state == CHOICE_DONE && !job->failed;
        bool news = choice_told(c, last) > job->sent_text[i] ||
                    (job->ask.kind == ASK_CHAT && !job->sent_first[i] && c->state == CHOICE_WRITES);
        if (!job->sent_last[i] && (news || last)) {
            chunk(out, job, c, last);
        }
    }
    if (job->finished && job->failed) {
        reply_error(&data, &job->error);
        event(out, &data);
    } else if (job->finished) {
        if (job->ask.include_usage) {
            struct json json;
            json_init(&json, &data);
            json_begin_object(&json);
            head(&json, job, true);
            json_key(&json, "choices");
            json_begin_array(&json);
            json_end_array(&json);
            usage(&json, job);
            json_key(&json, "packllm");
            json_begin_object(&json);
            weights_of(&json, job);
            json_end_object(&json);
            json_end_object(&json);
            event(out, &data);
        }
        (void)buf_add_text(out, "data: [DONE]\n\n");
    }
    buf_done(&data);
    return job->finished;
}
