/* routes.c - what is asked for, and who may ask. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "embed_web_app_js.h"
#include "embed_web_icon_svg.h"
#include "embed_web_index_html.h"
#include "embed_web_pack_js.h"
#include "embed_web_server_js.h"
#include "embed_web_style_css.h"
#include "server/http.h"
#include "server/private.h"

typedef bool (*route_fn)(struct serve *serve, struct http_exchange *x, struct ask_error *e);

static bool get_page(struct serve *serve, struct http_exchange *x, struct ask_error *e);
static bool get_health(struct serve *serve, struct http_exchange *x, struct ask_error *e);
static bool get_models(struct serve *serve, struct http_exchange *x, struct ask_error *e);
static bool get_model(struct serve *serve, struct http_exchange *x, struct ask_error *e);
static bool get_props(struct serve *serve, struct http_exchange *x, struct ask_error *e);
static bool get_tokenizer(struct serve *serve, struct http_exchange *x, struct ask_error *e);
static bool get_metrics(struct serve *serve, struct http_exchange *x, struct ask_error *e);
static bool post_completion(struct serve *serve, struct http_exchange *x, struct ask_error *e);
static bool post_chat(struct serve *serve, struct http_exchange *x, struct ask_error *e);
static bool post_weights(struct serve *serve, struct http_exchange *x, struct ask_error *e);
static bool post_tokenize(struct serve *serve, struct http_exchange *x, struct ask_error *e);
static bool post_detokenize(struct serve *serve, struct http_exchange *x, struct ask_error *e);
static bool post_unsupported(struct serve *serve, struct http_exchange *x, struct ask_error *e);

static const struct route {
    const char *path, *method;
    route_fn run;
    bool open;    /* needs no key */
    bool loading; /* answers while the pack is loading */
} routes[] = {
    {"/", "GET", get_page, true, true},
    {"/index.html", "GET", get_page, true, true},
    {"/pack.js", "GET", get_page, true, true},
    {"/server.js", "GET", get_page, true, true},
    {"/app.js", "GET", get_page, true, true},
    {"/style.css", "GET", get_page, true, true},
    {"/icon.svg", "GET", get_page, true, true},
    {"/favicon.ico", "GET", get_page, true, true},
    {"/health", "GET", get_health, true, false},
    {"/v1/models", "GET", get_models, false, false},
    {"/v1/models/", "GET", get_model, false, false}, /* and a name */
    {"/props", "GET", get_props, false, false},
    {"/tokenizer_info", "GET", get_tokenizer, false, false},
    {"/metrics", "GET", get_metrics, false, true},
    {"/v1/completions", "POST", post_completion, false, false},
    {"/v1/chat/completions", "POST", post_chat, false, false},
    {"/v1/weights", "POST", post_weights, false, false},
    {"/tokenize", "POST", post_tokenize, false, false},
    {"/detokenize", "POST", post_detokenize, false, false},
    {"/v1/embeddings", "POST", post_unsupported, false, true},
    {"/v1/images/generations", "POST", post_unsupported, false, true},
    {"/v1/audio/transcriptions", "POST", post_unsupported, false, true},
    {"/v1/audio/speech", "POST", post_unsupported, false, true},
};

static const struct route *find(const char *path, const char *method, const char **out_allowed) {
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        size_t size = strlen(routes[i].path);
        bool begins = routes[i].run == get_model && strncmp(routes[i].path, path, size) == 0;
        if (strcmp(routes[i].path, path) == 0 || begins) {
            *out_allowed = routes[i].method;
            bool head = strcmp(method, "HEAD") == 0 && strcmp(routes[i].method, "GET") == 0;
            if (head || strcmp(routes[i].method, method) == 0) {
                return &routes[i];
            }
        }
    }
    return NULL;
}

/* ---- before the body ---- */

static void make_id(struct serve *serve, char *out, size_t room, const char *prefix) {
    (void)pthread_mutex_lock(&serve->lock);
    uint64_t x = serve->salt + ++serve->counter * 0x9e3779b97f4a7c15ULL;
    (void)pthread_mutex_unlock(&serve->lock);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    (void)snprintf(out, room, "%s%012llx", prefix, (unsigned long long)((x ^ (x >> 31)) >> 16));
}

static bool admit(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    const char *allowed = NULL, *length = http_header(x, "Content-Length");
    const char *host = http_header(x, "Host");
    const struct route *route = find(x->path, x->method, &allowed);
    if (!guard_host(host, serve->host, serve->key == NULL)) {
        return ask_fail(e, 403, NULL, "the Host header names no address of this server");
    }
    if (!guard_origin(http_header(x, "Origin"), host)) {
        return ask_fail(e, 403, NULL, "pages of other sites may not use this server");
    }
    if (serve->key != NULL && !(route != NULL && route->open) &&
        !guard_key(serve->key, http_header(x, "Authorization"))) {
        return ask_fail(e, 401, NULL, "the key is missing or wrong: Authorization: Bearer KEY");
    }
    if (allowed == NULL) {
        return ask_fail(e, 404, NULL, "there is no such route");
    }
    if (route == NULL) {
        x->allow = allowed;
        return ask_fail(e, 405, NULL, "this route takes %s", allowed);
    }
    if (length != NULL && (strlen(length) > 9 || strtol(length, NULL, 10) > ASK_BODY)) {
        return ask_fail(e, 413, NULL, "the body has %.20s bytes: at most %d", length, ASK_BODY);
    }
    if (!route->loading && !atomic_load(&serve->loaded)) {
        (void)ask_fail(e, 503, NULL, "Loading model");
        e->type = "unavailable_error";
        return false;
    }
    return true;
}

static void refuse(struct http_exchange *x, const struct ask_error *e) {
    buf_cut(&x->reply, 0);
    reply_error(&x->reply, e);
    x->type = "application/json";
    x->status = e->status;
    x->retry_after = e->retry_after;
    x->more = NULL;
}

bool routes_admit(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    make_id(serve, x->id, sizeof x->id, "req-");
    if (!admit(serve, x, e)) {
        refuse(x, e);
        return false;
    }
    return true;
}

void routes_handle(struct serve *serve, struct http_exchange *x) {
    struct ask_error e = {0};
    const char *allowed = NULL;
    const struct route *route = find(x->path, x->method, &allowed);
    x->status = 200;
    if (route == NULL || !route->run(serve, x, &e)) {
        refuse(x, &e);
    }
    if (x->reply.failed) {
        (void)ask_fail(&e, 503, NULL, "there is not enough memory for the reply");
        x->reply.failed = false;
        refuse(x, &e);
    }
}

/* ---- what is told ---- */

static bool get_page(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    static const char html[] = "text/html; charset=utf-8", css[] = "text/css; charset=utf-8",
                      js[] = "text/javascript; charset=utf-8", svg[] = "image/svg+xml";
    static const struct file {
        const char *path, *type, *bytes;
        size_t size;
    } files[] = {
        {"/pack.js", js, embed_web_pack_js, sizeof embed_web_pack_js - 1},
        {"/server.js", js, embed_web_server_js, sizeof embed_web_server_js - 1},
        {"/app.js", js, embed_web_app_js, sizeof embed_web_app_js - 1},
        {"/style.css", css, embed_web_style_css, sizeof embed_web_style_css - 1},
        {"/icon.svg", svg, embed_web_icon_svg, sizeof embed_web_icon_svg - 1},
        {"/favicon.ico", svg, embed_web_icon_svg, sizeof embed_web_icon_svg - 1},
        {NULL, html, embed_web_index_html, sizeof embed_web_index_html - 1},
    };
    const struct file *file = files;
    (void)serve;
    (void)e;
    while (file->path != NULL && strcmp(x->path, file->path) != 0) {
        file++;
    }
    x->type = file->type;
    return buf_add(&x->reply, file->bytes, file->size) || true;
}

static bool get_health(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    (void)e;
    (void)serve;
    return buf_add_text(&x->reply, "{\"status\":\"ok\"}") || true;
}

static bool get_metrics(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    (void)e;
    x->type = "text/plain; version=0.0.4";
    metrics_write(&serve->metrics, &x->reply);
    return true;
}

static bool unknown_model(const struct serve *serve, const char *name, struct ask_error *e) {
    struct buf list;
    buf_init(&list, 4096);
    for (size_t i = 0; i < serve->n_models; i++) {
        (void)buf_printf(&list, "%s%s", i > 0 ? ", " : "", serve->models[i].name);
    }
    (void)ask_fail(e, 404, "model", "there is no model '%.100s'; there are: %.900s", name,
                   list.data != NULL ? list.data : "");
    e->code = "model_not_found";
    buf_done(&list);
    return false;
}

static void model(struct json *json, const struct model *m) {
    json_begin_object(json);
    json_key_text(json, "id", m->name);
    json_key_text(json, "object", "model");
    json_key_uint(json, "created", 0);
    json_key_text(json, "owned_by", "packllm");
    json_key(json, "meta");
    json_begin_object(json);
    json_key_uint(json, "members", m->n);
    json_key_uint(json, "n_vocab", m->n_vocab);
    json_key_uint(json, "n_ctx", m->n_ctx);
    json_end_object(json);
    json_end_object(json);
}

static bool get_model(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    const char *name = x->path + strlen("/v1/models/");
    struct json json;
    json_init(&json, &x->reply);
    for (size_t i = 0; i < serve->n_models; i++) {
        if (strcmp(serve->models[i].name, name) == 0) {
            model(&json, &serve->models[i]);
            return true;
        }
    }
    return unknown_model(serve, name, e);
}

static bool get_models(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    struct json json;
    (void)e;
    json_init(&json, &x->reply);
    json_begin_object(&json);
    json_key_text(&json, "object", "list");
    json_key(&json, "data");
    json_begin_array(&json);
    for (size_t i = 0; i < serve->n_models; i++) {
        model(&json, &serve->models[i]);
    }
    json_end_array(&json);
    json_end_object(&json);
    return true;
}

static bool get_props(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    struct json json;
    const struct model *pack = &serve->models[0];
    (void)e;
    json_init(&json, &x->reply);
    json_begin_object(&json);
    json_key_text(&json, "version", PACKLLM_VERSION);
    json_key_text(&json, "model", pack->name);
    json_key_uint(&json, "total_slots", serve->config.parallel);
    json_key_uint(&json, "n_ctx", pack->n_ctx);
    json_key_text(&json, "weights", packllm_weigher_name(serve->params.weigher));
    json_key_text(&json, "pool", packllm_pool_name(serve->params.pool));
    json_key(&json, "members");
    json_begin_array(&json);
    for (size_t i = 0; i < pack->n; i++) {
        struct packllm_member_info info = {0};
        (void)packllm_pack_member(pack->pack, i, &info);
        json_begin_object(&json);
        json_key_text(&json, "name", info.name);
        json_key_text(&json, "description", info.description);
        json_key_text(&json, "chat_template", info.chat_template);
        json_key_uint(&json, "n_vocab", info.n_vocab);
        json_key_uint(&json, "n_ctx", info.n_ctx);
        json_key(&json, "display");
        json_bool(&json, i == pack->display);
        json_end_object(&json);
    }
    json_end_array(&json);
    json_end_object(&json);
    return true;
}

static bool post_unsupported(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    (void)serve;
    (void)x;
    return ask_fail(e, 501, NULL,
                    "not supported: this server completes text (/v1/completions, "
                    "/v1/chat/completions)");
}

/* ---- tokens ---- */

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

static bool get_tokenizer(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
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

static bool post_tokenize(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    const struct model *m = &serve->models[0];
    struct ask_text ask;
    struct packllm_error err = {0};
    bool fine =
        ask_text_read(&ask, false, x->body.data != NULL ? x->body.data : "", x->body.size, e);
    int32_t *tokens = fine ? alloc_array(ask.size + 17, sizeof *tokens) : NULL;
    size_t n = 0, first = 0;
    if (fine && tokens == NULL) {
        fine = ask_fail(e, 503, NULL, "there is not enough memory for this request");
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

static bool post_detokenize(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
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

/* ---- models and weights of a request ---- */

static bool find_pin(struct serve *serve, const char *id, struct job *job, struct ask_error *e) {
    size_t n = serve->models[0].n;
    bool found = false;
    (void)pthread_mutex_lock(&serve->lock);
    for (size_t i = 0; i < PINS && !found; i++) {
        if (serve->pins[i].weights != NULL && strcmp(serve->pins[i].id, id) == 0) {
            found = true;
            job->fixed = alloc_array(n, sizeof *job->fixed);
            if (job->fixed != NULL) {
                memcpy(job->fixed, serve->pins[i].weights, n * sizeof *job->fixed);
            }
        }
    }
    (void)pthread_mutex_unlock(&serve->lock);
    if (!found) {
        return ask_fail(e, 404, "model",
                        "there is no set of weights '%.40s': POST /v1/weights gives one, and the "
                        "last %d are kept",
                        id, PINS);
    }
    return job->fixed != NULL || ask_fail(e, 503, NULL, "there is not enough memory");
}

static bool choose_model(struct serve *serve, struct job *job, struct ask_error *e) {
    const char *name = job->ask.model != NULL ? job->ask.model : serve->models[0].name;
    size_t pack_size = strlen(serve->models[0].name);
    for (size_t i = 0; i < serve->n_models && job->model == NULL; i++) {
        job->model = strcmp(serve->models[i].name, name) == 0 ? &serve->models[i] : NULL;
    }
    if (job->model == NULL && strncmp(name, serve->models[0].name, pack_size) == 0 &&
        name[pack_size] == '@') {
        job->model = &serve->models[0];
        if (!find_pin(serve, name + pack_size + 1, job, e)) {
            return false;
        }
    }
    if (job->model == NULL) {
        return unknown_model(serve, name, e);
    }
    job->pack = job->model->pack;
    job->display = job->model->display;
    return true;
}

static bool member_index(const struct packllm_pack *pack, const char *name, size_t *out,
                         struct ask_error *e) {
    struct packllm_member_info info;
    for (size_t i = 0; i < packllm_pack_size(pack); i++) {
        if (packllm_pack_member(pack, i, &info) >= 0 && strcmp(info.name, name) == 0) {
            *out = i;
            return true;
        }
    }
    return ask_fail(e, 400, "packllm", "the model has no member '%.100s'", name);
}

static bool choose_members(struct job *job, struct ask_error *e) {
    size_t n = packllm_pack_size(job->pack), kept = 0;
    struct packllm_error err = {0};
    if (job->ask.n_members == 0) {
        return true;
    }
    bool *wanted = alloc_zero(n, sizeof *wanted);
    size_t *list = alloc_zero(n, sizeof *list);
    bool fine = wanted != NULL && list != NULL;
    if (!fine) {
        (void)ask_fail(e, 503, NULL, "there is not enough memory");
    }
    for (size_t i = 0; i < job->ask.n_members && fine; i++) {
        size_t at = 0;
        fine = member_index(job->pack, job->ask.members[i], &at, e);
        wanted[at] = true;
    }
    size_t display = 0;
    for (size_t i = 0; i < n && fine; i++) {
        display = wanted[i] && i == job->display ? kept : display;
        if (wanted[i]) {
            list[kept++] = i;
        }
    }
    if (fine && !wanted[job->display]) {
        fine = ask_fail(e, 400, "packllm.members",
                        "the member whose tokens are counted must be among them (GET /props)");
    }
    if (fine && job->fixed != NULL) {
        fine = ask_fail(e, 400, "packllm.members", "a pinned set of weights is of all members");
    }
    if (fine && kept < n) {
        struct packllm_pack *view = NULL;
        fine = packllm_pack_view(&view, job->pack, list, kept, &err) >= 0 ||
               ask_fail(e, 503, NULL, "%s", err.message);
        if (fine) {
            job->pack = view;
            job->own_pack = true;
            job->display = display;
        }
    }
    base_free(wanted);
    base_free(list);
    return fine;
}

static bool choose_weights(struct job *job, struct ask_error *e) {
    size_t n = packllm_pack_size(job->pack);
    double sum = 0;
    if (job->ask.n_weights == 0) {
        return true;
    }
    bool named_ones = job->ask.weights[0].name != NULL;
    if (!named_ones && job->ask.n_weights != n) {
        return ask_fail(e, 400, "packllm.weights", "%zu weights for %zu members",
                        job->ask.n_weights, n);
    }
    base_free(job->fixed);
    job->fixed = alloc_zero(n, sizeof *job->fixed);
    if (job->fixed == NULL) {
        return ask_fail(e, 503, NULL, "there is not enough memory");
    }
    for (size_t i = 0; i < job->ask.n_weights; i++) {
        size_t at = i;
        if (named_ones && !member_index(job->pack, job->ask.weights[i].name, &at, e)) {
            return false;
        }
        job->fixed[at] = job->ask.weights[i].value;
        sum += job->ask.weights[i].value;
    }
    return sum > 0 || ask_fail(e, 400, "packllm.weights", "one weight must be above 0");
}

/* A prompt that cannot fit is refused before anything is evaluated, with both numbers. */
static bool check_context(const struct job *job, struct ask_error *e) {
    for (size_t i = 0; i < job->ask.n_prompts && job->ask.kind == ASK_COMPLETION; i++) {
        const struct ask_prompt *p = &job->ask.prompts[i];
        size_t n = p->n_ids, most = p->size + 16;
        if (p->ids == NULL && p->size >= job->model->n_ctx) {
            int32_t *tokens = alloc_array(most, sizeof *tokens);
            if (tokens != NULL) {
                (void)packllm_pack_tokenize(job->pack, job->display, p->text, p->size, tokens, most,
                                            &n, NULL);
            }
            base_free(tokens);
        }
        if (n >= job->model->n_ctx) {
            (void)ask_fail(e, 400, "prompt",
                           "prompt %zu has %zu tokens, and the context holds %u with the reply", i,
                           n, (unsigned)job->model->n_ctx);
            e->type = "exceed_context_size_error";
            e->code = "context_length_exceeded";
            e->n_prompt_tokens = n;
            e->n_ctx = job->model->n_ctx;
            return false;
        }
    }
    return true;
}

/* ---- jobs ---- */

static void end_job(struct http_exchange *x) {
    struct job *job = x->data;
    x->data = NULL;
    if (job == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&job->lock);
    while (!job->finished) {
        job_cancel(job); /* again and again: a session that just begins forgets a cancel */
        job_wait(job, 0.02);
    }
    (void)pthread_mutex_unlock(&job->lock);
    job_close(job);
}

/* Waits, with the lock held, for something to happen, and looks after the client meanwhile. */
static void wait_a_little(struct serve *serve, struct http_exchange *x, struct job *job) {
    job_wait(job, 0.1);
    if (!job->finished && !atomic_load(&job->cancelled) && http_gone(x)) {
        atomic_fetch_add(&serve->metrics.value[METRIC_CANCELLED], 1);
        job_cancel(job);
    }
    if (!job->finished && (atomic_load(&serve->stopping) || atomic_load(&job->cancelled))) {
        job_cancel(job);
    }
}

static bool stream_more(struct http_exchange *x, struct buf *out) {
    struct job *job = x->data;
    struct serve *serve = x->server;
    (void)pthread_mutex_lock(&job->lock);
    bool over = reply_stream(out, job);
    while (!over && out->size == 0) {
        wait_a_little(serve, x, job);
        over = reply_stream(out, job);
        if (out->size == 0 && base_clock() - job->last_sent > 1.0) {
            (void)buf_add_text(out, ": ping\n\n");
        }
    }
    job->last_sent = base_clock();
    (void)pthread_mutex_unlock(&job->lock);
    return over;
}

static bool parse_job(struct serve *serve, struct http_exchange *x, enum ask_kind kind,
                      struct job *job, struct ask_error *e) {
    if (!ask_read(&job->ask, kind, x->body.data != NULL ? x->body.data : "", x->body.size, e) ||
        !choose_model(serve, job, e) || !choose_members(job, e) || !choose_weights(job, e) ||
        !check_context(job, e)) {
        return false;
    }
    make_id(serve, job->id, sizeof job->id, kind == ASK_CHAT ? "chatcmpl-" : "cmpl-");
    if (!job->ask.seeded) {
        (void)pthread_mutex_lock(&serve->lock);
        job->ask.sampling.seed = serve->salt ^ (serve->counter * 0xd1342543de82ef95ULL);
        (void)pthread_mutex_unlock(&serve->lock);
    }
    return job_choices(job, e);
}

static bool run_job(struct serve *serve, struct http_exchange *x, enum ask_kind kind,
                    struct ask_error *e) {
    struct job *job = job_open();
    if (job == NULL) {
        return ask_fail(e, 503, NULL, "there is not enough memory for this request");
    }
    x->server = serve;
    if (!parse_job(serve, x, kind, job, e) || !scheduler_add(serve->scheduler, job, e)) {
        job_close(job);
        return false;
    }
    x->data = job;
    x->done = end_job;
    (void)pthread_mutex_lock(&job->lock);
    double until = base_clock() + 0.5;
    /* What fails at once gets its own status, also where a stream is wanted. */
    while (!job->finished &&
           !(job->ask.stream && (base_clock() > until || job->choices[0].state >= CHOICE_WRITES))) {
        wait_a_little(serve, x, job);
    }
    bool fine = !(job->finished && job->failed);
    if (!fine) {
        *e = job->error;
        if (atomic_load(&job->cancelled) && !atomic_load(&serve->stopping) && http_gone(x)) {
            (void)ask_fail(e, 499, NULL, "the client left"); /* for the log */
        }
    } else if (job->ask.stream) {
        x->type = "text/event-stream";
        x->more = stream_more;
        job->last_sent = 0; /* whoever waited so long is told at once that we live */
    } else if (kind != ASK_WEIGHTS) {
        reply_job(&x->reply, job);
    }
    (void)pthread_mutex_unlock(&job->lock);
    return fine;
}

static bool post_completion(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    return run_job(serve, x, ASK_COMPLETION, e);
}

static bool post_chat(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    return run_job(serve, x, ASK_CHAT, e);
}

/* Keeps weights under a new id; the oldest set gives way. */
static bool pin(struct serve *serve, const double *weights, char out_id[PIN_ID],
                struct ask_error *e) {
    size_t n = serve->models[0].n;
    double *copy = alloc_array(n, sizeof *copy);
    if (copy == NULL) {
        return ask_fail(e, 503, NULL, "there is not enough memory");
    }
    memcpy(copy, weights, n * sizeof *copy);
    make_id(serve, out_id, PIN_ID, "w");
    (void)pthread_mutex_lock(&serve->lock);
    struct pin *place = &serve->pins[serve->n_pins++ % PINS];
    base_free(place->weights);
    place->weights = copy;
    (void)snprintf(place->id, PIN_ID, "%s", out_id);
    atomic_store(&serve->metrics.value[METRIC_PINNED], serve->n_pins < PINS ? serve->n_pins : PINS);
    (void)pthread_mutex_unlock(&serve->lock);
    return true;
}

/* Weights that were given without a prompt: nothing was read, so there is nothing to tell but them. */
static void given_weights(struct job *job) {
    struct choice *c = &job->choices[0];
    size_t n = packllm_pack_size(job->pack);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += job->fixed[i];
    }
    for (size_t i = 0; i < n; i++) {
        struct packllm_member_info info = {0};
        (void)packllm_pack_member(job->pack, i, &info);
        c->member_weights[i] = (struct packllm_member_weight){.name = info.name,
                                                              .weight = job->fixed[i] / sum,
                                                              .bits_per_byte = (double)NAN,
                                                              .bits_per_byte_model = (double)NAN,
                                                              .perplexity = (double)NAN};
    }
    c->weights = (struct packllm_weights){.weigher = PACKLLM_WEIGH_FIXED,
                                          .bits_per_byte = (double)NAN,
                                          .objective = (double)NAN,
                                          .gap = (double)NAN,
                                          .n_members = n,
                                          .members = c->member_weights};
}

static bool post_weights(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    char id[PIN_ID];
    if (!run_job(serve, x, ASK_WEIGHTS, e)) {
        return false;
    }
    struct job *job = x->data;
    struct packllm_weights *w = &job->choices[0].weights;
    if (job->model != &serve->models[0] || job->own_pack) {
        return ask_fail(e, 400, "model", "weights are pinned for all members of '%s'",
                        serve->models[0].name);
    }
    if (w->n_members == 0) {
        given_weights(job);
    }
    double *weights = alloc_array(w->n_members, sizeof *weights);
    if (weights == NULL) {
        return ask_fail(e, 503, NULL, "there is not enough memory");
    }
    for (size_t i = 0; i < w->n_members; i++) {
        weights[i] = w->members[i].weight;
    }
    bool fine = pin(serve, weights, id, e);
    base_free(weights);
    if (fine) {
        reply_weights(&x->reply, w, id);
    }
    return fine;
}
