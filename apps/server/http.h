/* http.h - HTTP as the rest of the server sees it. http_mhd.c is the only file that knows the library. */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct http;
struct serve;
struct http_exchange {
    const char *method, *path;
    char id[40];
    double started;
    struct buf body; /* of the request */
    /* The reply: */
    int status;
    const char *type;
    struct buf reply;
    int retry_after;   /* seconds; 0: none */
    const char *allow; /* of a 405 */
    bool last;         /* the connection ends with it */
    /* A stream: called by the connection's thread for more; may wait; true: that was the end. reply
     * is sent first. done once it is over or broken off. */
    bool (*more)(struct http_exchange *x, struct buf *out);
    void (*done)(struct http_exchange *x);
    void *data;
    struct serve *server;
    void *connection; /* the library's */
    struct http *http;
    bool admitted, refused, answered;
    bool cut; /* the address has a NUL in its path */
    struct buf chunk;
    size_t chunk_at;
    bool ended;
};

struct http_config {
    int socket;           /* that listens */
    int timeout;          /* seconds */
    size_t body;          /* most bytes of a body */
    unsigned connections; /* that are meant; more are let in, and silent ones then end */
    void *data;
    bool (*admit)(void *data, struct http_exchange *x);  /* false: the reply is there */
    void (*handle)(void *data, struct http_exchange *x); /* fills the reply */
    void (*too_large)(void *data, struct http_exchange *x);
    void (*finished)(void *data, struct http_exchange *x, bool whole);
};

struct http *http_open(const struct http_config *config);
void http_quiesce(struct http *http); /* takes no more connections */
void http_close(struct http *http);
const char *http_header(const struct http_exchange *x, const char *name); /* NULL: none */
/* Two lengths of one body: where it ends depends on who reads it, and a proxy may read it otherwise. */
bool http_ambiguous(const struct http_exchange *x);
bool http_gone(const struct http_exchange *x); /* the client has left */

#endif
