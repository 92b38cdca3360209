/* http_mhd.c - the only file that includes microhttpd.h. A thread for each connection: they wait for
 * the scheduler, and there are few of them (a limit). Timeouts are the library's while bytes move;
 * while we work there is none. A sweep ends connections whose request does not come whole in time,
 * however steadily it drips; and where there are more connections than we are meant to have, those that
 * have been silent longest, so that silent ones cannot keep others out. */
#include <sys/types.h> /* first: microhttpd.h wants these names */

#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "server/http.h"

enum { CHUNK_ROOM = 1 << 24, CONNECTION_MEMORY = 64 << 10 };
enum { SPARE = 512 };       /* connections beyond those that are meant, before none is accepted */
enum { SWEEP = 100000000 }; /* nanoseconds */
static const double WORD = 0.25; /* seconds to send a request in, where connections are scarce */

struct connection { /* one that is open; for the sweep */
    int fd;
    double since; /* of the request that has not come whole; 0: it has, and we work */
    bool ended;   /* by the sweep */
};

struct http {
    struct http_config config;
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock;
    struct connection *open; /* [room] fd -1: free */
    unsigned room;
    pthread_t sweeper;
    bool sweeping;
    atomic_bool stop;
};

static int fd_of(struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info != NULL ? info->connect_fd : -1;
}

/* since: a request is awaited from then on; 0: it has come; < 0: the connection is gone. */
static void note(struct http *http, int fd, double since) {
    (void)pthread_mutex_lock(&http->lock);
    struct connection *place = NULL;
    for (unsigned i = 0; i < http->room; i++) {
        struct connection *c = &http->open[i];
        if (c->fd == fd || (c->fd < 0 && place == NULL)) {
            place = c;
            if (c->fd == fd) {
                break;
            }
        }
    }
    if (place != NULL) {
        *place = since < 0 ? (struct connection){.fd = -1}
                           : (struct connection){.fd = fd, .since = since};
    }
    (void)pthread_mutex_unlock(&http->lock);
}

/* Its own thread closes it. */
static void end(struct connection *c) {
    (void)shutdown(c->fd, SHUT_RDWR);
    c->since = 0;
    c->ended = true;
}

/* Where there are more than `most`, the one that is awaited longest goes, if it has been since before
 * `limit`; with the lock. */
static bool end_oldest(struct http *http, unsigned most, double limit) {
    struct connection *oldest = NULL;
    unsigned n = 0;
    for (unsigned i = 0; i < http->room; i++) {
        struct connection *c = &http->open[i];
        n += c->fd >= 0 && !c->ended;
        if (c->fd >= 0 && c->since > 0 && (oldest == NULL || c->since < oldest->since)) {
            oldest = c;
        }
    }
    if (n <= most || oldest == NULL || oldest->since >= limit) {
        return false;
    }
    end(oldest);
    return true;
}

static void *sweep(void *data) {
    struct http *http = data;
    while (!atomic_load(&http->stop)) {
        (void)nanosleep(&(struct timespec){.tv_nsec = SWEEP}, NULL);
        (void)pthread_mutex_lock(&http->lock);
        double now = base_clock(), limit = now - (double)http->config.timeout;
        for (unsigned i = 0; i < http->room; i++) {
            struct connection *c = &http->open[i];
            if (c->fd >= 0 && c->since > 0 && c->since < limit) {
                end(c);
            }
        }
        while (end_oldest(http, http->config.connections, now - WORD)) {
        }
        (void)pthread_mutex_unlock(&http->lock);
    }
    return NULL;
}

static void on_connection(void *data, struct MHD_Connection *c, void **socket,
                          enum MHD_ConnectionNotificationCode code) {
    struct http *http = data;
    (void)socket;
    if (code != MHD_CONNECTION_NOTIFY_STARTED) {
        note(http, fd_of(c), -1);
        return;
    }
    double now = base_clock();
    note(http, fd_of(c), now);
    /* The library breaks off whoever comes when it has `room`: it shall not come to that. */
    (void)pthread_mutex_lock(&http->lock);
    while (end_oldest(http, http->config.connections + SPARE / 2, now)) {
    }
    (void)pthread_mutex_unlock(&http->lock);
}

/* ---- replies ---- */

static ssize_t on_read(void *data, uint64_t position, char *out, size_t most) {
    struct http_exchange *x = data;
    (void)position;
    while (x->chunk_at >= x->chunk.size) {
        if (x->ended) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        buf_cut(&x->chunk, 0);
        x->chunk_at = 0;
        (void)MHD_set_connection_option(x->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0U);
        x->ended = x->more(x, &x->chunk);
        (void)MHD_set_connection_option(x->connection, MHD_CONNECTION_OPTION_TIMEOUT,
                                        (unsigned)x->http->config.timeout);
        if (x->chunk.failed) {
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
    }
    size_t size = x->chunk.size - x->chunk_at;
    size = size < most ? size : most;
    memcpy(out, x->chunk.data + x->chunk_at, size);
    x->chunk_at += size;
    return (ssize_t)size;
}

static enum MHD_Result send_reply(struct http_exchange *x) {
    struct MHD_Response *r =
        x->more != NULL
            ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, on_read, x, NULL)
            : MHD_create_response_from_buffer(x->reply.size,
                                              x->reply.size > 0 ? x->reply.data : (char *)"",
                                              MHD_RESPMEM_PERSISTENT);
    if (r == NULL) {
        return MHD_NO;
    }
    if (x->more != NULL) {
        (void)buf_add(&x->chunk, x->reply.data != NULL ? x->reply.data : "", x->reply.size);
    }
    char number[32];
    (void)MHD_add_response_header(r, "Content-Type", x->type);
    (void)MHD_add_response_header(r, "X-Request-Id", x->id);
    (void)MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    (void)MHD_add_response_header(r, "Cache-Control", "no-store");
    if (strncmp(x->type, "text/html", 9) == 0) {
        (void)MHD_add_response_header(
            r, "Content-Security-Policy",
            "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'");
    }
    if (x->retry_after > 0) {
        (void)snprintf(number, sizeof number, "%d", x->retry_after);
        (void)MHD_add_response_header(r, "Retry-After", number);
    }
    if (x->allow != NULL) {
        (void)MHD_add_response_header(r, "Allow", x->allow);
    }
    if (x->last) {
        (void)MHD_add_response_header(r, "Connection", "close");
    }
    if (x->status == 401) {
        (void)MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    }
    enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)x->status, r);
    MHD_destroy_response(r);
    x->answered = result == MHD_YES;
    return result;
}

/* ---- requests ---- */

static void *on_uri(void *data, const char *uri, struct MHD_Connection *c) {
    struct http_exchange *x = alloc_zero(1, sizeof *x);
    if (x != NULL) {
        const char *nul = strstr(uri, "%00"), *query = strchr(uri, '?');
        x->cut = nul != NULL && (query == NULL || nul < query);
        x->connection = c;
        x->started = base_clock();
        note(data, fd_of(c), x->started);
    }
    return x;
}

static enum MHD_Result on_request(void *data, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state) {
    struct http *http = data;
    struct http_exchange *x = *state;
    (void)version;
    if (x == NULL) {
        return MHD_NO;
    }
    if (!x->admitted) {
        x->admitted = true;
        x->http = http;
        x->method = method;
        x->path = x->cut ? "/%00" : url; /* what stands behind a NUL would not be seen */
        x->type = "application/json";
        buf_init(&x->body, http->config.body);
        buf_init(&x->reply, (size_t)1 << 30);
        buf_init(&x->chunk, CHUNK_ROOM);
        /* A refused body is read and dropped, so that the client comes to read the reply. */
        x->refused = !http->config.admit(http->config.data, x);
        return MHD_YES;
    }
    if (*upload_size > 0) {
        if (!x->refused && !buf_add(&x->body, upload, *upload_size)) {
            x->refused = true;
            http->config.too_large(http->config.data, x);
        }
        *upload_size = 0;
        return MHD_YES;
    }
    if (x->answered) {
        return MHD_YES;
    }
    note(http, fd_of(c), 0);
    if (!x->refused) {
        (void)MHD_set_connection_option(c, MHD_CONNECTION_OPTION_TIMEOUT, 0U);
        http->config.handle(http->config.data, x);
        (void)MHD_set_connection_option(c, MHD_CONNECTION_OPTION_TIMEOUT,
                                        (unsigned)http->config.timeout);
    }
    return send_reply(x);
}

static void on_completed(void *data, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode code) {
    struct http *http = data;
    struct http_exchange *x = *state;
    *state = NULL;
    if (x == NULL) {
        return;
    }
    if (x->admitted) {
        http->config.finished(http->config.data, x, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
        if (x->done != NULL) {
            x->done(x);
        }
        buf_done(&x->body);
        buf_done(&x->reply);
        buf_done(&x->chunk);
    }
    base_free(x);
    note(http, fd_of(c), base_clock()); /* the next one is awaited */
}

const char *http_header(const struct http_exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

static enum MHD_Result count_length(void *data, enum MHD_ValueKind kind, const char *name,
                                    const char *value) {
    (void)kind;
    (void)value;
    *(int *)data +=
        strcasecmp(name, "Content-Length") == 0 || strcasecmp(name, "Transfer-Encoding") == 0;
    return MHD_YES;
}

bool http_ambiguous(const struct http_exchange *x) {
    int n = 0;
    (void)MHD_get_connection_values(x->connection, MHD_HEADER_KIND, count_length, &n);
    return n > 1;
}

bool http_gone(const struct http_exchange *x) {
    char byte;
    ssize_t n = recv(fd_of(x->connection), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/* The library's own complaints (broken requests, mostly) are not for the log. */
static void on_log(void *data, const char *format, va_list args) {
    (void)data;
    (void)format;
    (void)args;
}

struct http *http_open(const struct http_config *config) {
    struct http *http = alloc_zero(1, sizeof *http);
    if (http == NULL) {
        return NULL;
    }
    http->config = *config;
    (void)pthread_mutex_init(&http->lock, NULL);
    http->room = config->connections + SPARE;
    http->open = alloc_array(http->room, sizeof *http->open);
    for (unsigned i = 0; http->open != NULL && i < http->room; i++) {
        http->open[i] = (struct connection){.fd = -1};
    }
    http->daemon =
        http->open == NULL
            ? NULL
            : MHD_start_daemon(
                  MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
                      MHD_USE_ITC | MHD_USE_ERROR_LOG,
                  0, NULL, NULL, on_request, http, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
                  MHD_OPTION_LISTEN_SOCKET, config->socket, MHD_OPTION_CONNECTION_LIMIT, http->room,
                  MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
                  MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)config->timeout,
                  MHD_OPTION_URI_LOG_CALLBACK, on_uri, http, MHD_OPTION_NOTIFY_CONNECTION,
                  on_connection, http, MHD_OPTION_NOTIFY_COMPLETED, on_completed, http,
                  MHD_OPTION_THREAD_STACK_SIZE, (size_t)1 << 20, MHD_OPTION_END);
    if (http->daemon == NULL) {
        http_close(http);
        return NULL;
    }
    http->sweeping = pthread_create(&http->sweeper, NULL, sweep, http) == 0;
    return http;
}

void http_quiesce(struct http *http) {
    int fd = MHD_quiesce_daemon(http->daemon);
    if (fd >= 0) {
        (void)close(fd);
    }
}

void http_close(struct http *http) {
    if (http == NULL) {
        return;
    }
    atomic_store(&http->stop, true);
    if (http->sweeping) {
        (void)pthread_join(http->sweeper, NULL);
    }
    if (http->daemon != NULL) {
        MHD_stop_daemon(http->daemon);
    }
    (void)pthread_mutex_destroy(&http->lock);
    base_free(http->open);
    base_free(http);
}
