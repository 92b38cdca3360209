/* routes.c - what is asked for, and who may ask. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/http.h"
#include "server/private.h"
#include "server/routes.h"

static bool post_unsupported(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    (void)serve;
    (void)x;
    return ask_fail(e, 501, NULL,
                    "not supported: this server completes text (/v1/completions, "
                    "/v1/chat/completions)");
}

static const struct route {
    const char *path, *method;
    bool (*run)(struct serve *serve, struct http_exchange *x, struct ask_error *e);
    bool open;    /* needs no key */
    bool loading; /* answers while the pack is loading */
} routes[] = {
    {"/", "GET", route_get_page, true, true},
    {"/index.html", "GET", route_get_page, true, true},
    {"/pack.js", "GET", route_get_page, true, true},
    {"/server.js", "GET", route_get_page, true, true},
    {"/app.js", "GET", route_get_page, true, true},
    {"/style.css", "GET", route_get_page, true, true},
    {"/icon.svg", "GET", route_get_page, true, true},
    {"/favicon.ico", "GET", route_get_page, true, true},
    {"/health", "GET", route_get_health, true, false},
    {"/v1/models", "GET", route_get_models, false, false},
    {"/v1/models/", "GET", route_get_model, false, false}, /* and a name */
    {"/props", "GET", route_get_props, false, false},
    {"/tokenizer_info", "GET", route_get_tokenizer, false, false},
    {"/metrics", "GET", route_get_metrics, false, true},
    {"/v1/completions", "POST", route_post_completion, false, false},
    {"/v1/chat/completions", "POST", route_post_chat, false, false},
    {"/v1/weights", "POST", route_post_weights, false, false},
    {"/tokenize", "POST", route_post_tokenize, false, false},
    {"/detokenize", "POST", route_post_detokenize, false, false},
    {"/v1/embeddings", "POST", post_unsupported, false, true},
    {"/v1/images/generations", "POST", post_unsupported, false, true},
    {"/v1/audio/transcriptions", "POST", post_unsupported, false, true},
    {"/v1/audio/speech", "POST", post_unsupported, false, true},
};

static const struct route *find(const char *path, const char *method, const char **out_allowed) {
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        size_t size = strlen(routes[i].path);
        bool begins = routes[i].run == route_get_model && strncmp(routes[i].path, path, size) == 0;
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

void routes_id(struct serve *serve, char *out, size_t room, const char *prefix) {
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
    if (http_ambiguous(x)) {
        x->last = true;
        return ask_fail(e, 400, NULL, "more than one Content-Length or Transfer-Encoding header");
    }
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
    routes_id(serve, x->id, sizeof x->id, "req-");
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
