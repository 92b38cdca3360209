/* routes_tokens.c - the display member's tokens: texts to ids and back, and what lm-eval asks of a tokenizer. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "server/http.h"
#include "server/private.h"
#include "server/routes.h"

static void ids(struct json *json, const int32_t *tokens, size_t n) {
    json_key(json, "tokens");
    json_begin_array(json);
    for (size_t i = 0; i < n; i++) {
        json_int(json, tokens[i]);
    }
    json_end_array(json);
}

/* A token's name for lm-eval, which only compares it. */
static void special(struct json *json, const char *key, int32_t id) {
    char text[32];
    (void)snprintf(text, sizeof text, "<|%.3s:%d|>", key, (int)id);
    json_key_text(json, key, id >= 0 ? text : NULL);
}

bool route_get_tokenizer(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    struct json json;
    const struct model *m = &serve->models[0];
    struct packllm_member_info info = {0};
    (void)e;
    (void)packllm_pack_member(m->pack, m->display, &info);
    json_init(&json, &x->reply);
    json_begin_object(&json);
    json_key_text(&json, "name", info.name);
    json_key_uint(&json, "vocab_size", m->n_vocab);
    special(&json, "eos_token", m->end);
    special(&json, "bos_token", m->start);
    json_key(&json, "eos_token_id");
    json_int(&json, m->end);
    json_key(&json, "bos_token_id");
    json_int(&json, m->start);
    json_key(&json, "chat_template");
    json_nothing(&json);
    json_end_object(&json);
    return true;
}

/* The names that /tokenizer_info gives the end and the start are tokenised as these, where they stand
 * alone: clients ask for the id of eos_token so. */
static int32_t named(const struct model *m, const struct ask_text *ask) {
    char text[32];
    (void)snprintf(text, sizeof text, "<|eos:%d|>", (int)m->end);
    if (strcmp(ask->text, text) == 0) {
        return m->end;
    }
    (void)snprintf(text, sizeof text, "<|bos:%d|>", (int)m->start);
    return strcmp(ask->text, text) == 0 ? m->start : -1;
}

bool route_post_tokenize(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    const struct model *m = &serve->models[0];
    struct ask_text ask;
    struct packllm_error err = {0};
    bool fine =
        ask_text_read(&ask, false, x->body.data != NULL ? x->body.data : "", x->body.size, e);
    int32_t *tokens = fine ? alloc_array(ask.size + 17, sizeof *tokens) : NULL;
    size_t n = 0, first = 0;
    if (fine && tokens == NULL) {
        (void)ask_fail(e, 503, NULL, "there is not enough memory for this request");
        fine = false;
    }
    if (fine && named(m, &ask) >= 0) {
        tokens[n++] = named(m, &ask);
    } else if (fine && ask.size > 0) {
        first = ask.special && m->start >= 0 ? 1 : 0;
        tokens[0] = m->start;
        if (packllm_pack_tokenize(m->pack, m->display, ask.text, ask.size, tokens + first,
                                  ask.size + 16, &n, &err) < 0) {
            fine = ask_fail(e, 400, "prompt", "%s", err.message);
        }
        n += first;
    }
    if (fine) {
        struct json json;
        json_init(&json, &x->reply);
        json_begin_object(&json);
        ids(&json, tokens, n);
        json_key_uint(&json, "count", n);
        json_key_uint(&json, "max_model_len", m->n_ctx);
        json_end_object(&json);
    }
    base_free(tokens);
    ask_text_done(&ask);
    return fine;
}

bool route_post_detokenize(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    struct ask_text ask;
    struct buf text;
    buf_init(&text, (size_t)1 << 28);
    bool fine =
        ask_text_read(&ask, true, x->body.data != NULL ? x->body.data : "", x->body.size, e) &&
        tokens_text(&serve->models[0], ask.ids, ask.n_ids, &text, e);
    if (!fine) {
        (void)snprintf(e->param, sizeof e->param, "tokens");
    } else {
        struct json json;
        json_init(&json, &x->reply);
        json_begin_object(&json);
        json_key(&json, "prompt");
        json_bytes(&json, text.data != NULL ? text.data : "", text.size);
        json_key(&json, "content");
        json_bytes(&json, text.data != NULL ? text.data : "", text.size);
        json_end_object(&json);
    }
    buf_done(&text);
    ask_text_done(&ask);
    return fine;
}
