/* routes.h - what answers each address; routes.c has the table. A route fills the reply, or returns false
 * with *e. */
#ifndef SERVER_ROUTES_H
#define SERVER_ROUTES_H

#include "server/http.h"
#include "server/private.h"

/* routes_tell.c, routes_tokens.c, routes_work.c */
bool route_get_page(struct serve *serve, struct http_exchange *x, struct ask_error *e);
bool route_get_health(struct serve *serve, struct http_exchange *x, struct ask_error *e);
bool route_get_metrics(struct serve *serve, struct http_exchange *x, struct ask_error *e);
bool route_get_model(struct serve *serve, struct http_exchange *x, struct ask_error *e);
bool route_get_models(struct serve *serve, struct http_exchange *x, struct ask_error *e);
bool route_get_props(struct serve *serve, struct http_exchange *x, struct ask_error *e);
bool route_get_tokenizer(struct serve *serve, struct http_exchange *x, struct ask_error *e);
bool route_post_tokenize(struct serve *serve, struct http_exchange *x, struct ask_error *e);
bool route_post_detokenize(struct serve *serve, struct http_exchange *x, struct ask_error *e);
bool route_post_completion(struct serve *serve, struct http_exchange *x, struct ask_error *e);
bool route_post_chat(struct serve *serve, struct http_exchange *x, struct ask_error *e);
bool route_post_weights(struct serve *serve, struct http_exchange *x, struct ask_error *e);

#endif
