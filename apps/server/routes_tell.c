/* routes_tell.c - what the server tells of itself: the page, health, metrics, models, the pack. */
#include <string.h>

#include "embed_web_app_js.h"
#include "embed_web_icon_svg.h"
#include "embed_web_index_html.h"
#include "embed_web_pack_js.h"
#include "embed_web_server_js.h"
#include "embed_web_style_css.h"
#include "server/http.h"
#include "server/private.h"
#include "server/routes.h"

bool route_get_page(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
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

bool route_get_health(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    (void)e;
    (void)serve;
    return buf_add_text(&x->reply, "{\"status\":\"ok\"}") || true;
}

bool route_get_metrics(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    (void)e;
    x->type = "text/plain; version=0.0.4";
    metrics_write(&serve->metrics, &x->reply);
    return true;
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

bool route_get_model(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    const char *name = x->path + strlen("/v1/models/");
    struct json json;
    json_init(&json, &x->reply);
    for (size_t i = 0; i < serve->n_models; i++) {
        if (strcmp(serve->models[i].name, name) == 0) {
            model(&json, &serve->models[i]);
            return true;
        }
    }
    return model_unknown(serve, name, e);
}

bool route_get_models(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
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

bool route_get_props(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
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
