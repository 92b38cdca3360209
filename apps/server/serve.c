/* serve.c - from a configuration to a server and back: listening, models, stopping. */
#include "server/private.h" /* first: it asks for the experimental tier */

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "server/http.h"

enum { GRACE = 10, THREADS_SPARE = 32, BACKLOG = 512 };

static bool on_admit(void *data, struct http_exchange *x) {
    struct ask_error e = {0};
    return routes_admit(data, x, &e);
}

static void on_handle(void *data, struct http_exchange *x) {
    routes_handle(data, x);
}

static void on_too_large(void *data, struct http_exchange *x) {
    struct ask_error e;
    (void)data;
    (void)ask_fail(&e, 413, NULL, "the body has more than %d bytes", ASK_BODY);
    reply_error(&x->reply, &e);
    x->status = 413;
}

static void on_finished(void *data, struct http_exchange *x, bool whole) {
    struct serve *serve = data;
    if (x->status == 0) {
        x->status = 408; /* it never came whole */
    }
    atomic_fetch_add(&serve->metrics.value[METRIC_REQUESTS], 1);
    if (x->status >= 400) {
        atomic_fetch_add(&serve->metrics.value[METRIC_REFUSED], 1);
    }
    log_request(serve, x->id, x->method, x->path, whole || x->status >= 400 ? x->status : 499,
                base_clock() - x->started, x->data);
}

/* A socket that listens; -1: *error. */
static int listen_on(const struct serve_config *config, int *out_port, char *error,
                     size_t error_size) {
    char port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    (void)snprintf(port, sizeof port, "%d", config->port);
    int why = getaddrinfo(config->host, port, &hints, &list);
    if (why != 0) {
        (void)snprintf(error, error_size, "--host %s: %s", config->host, gai_strerror(why));
        return -1;
    }
    int fd = socket(list->ai_family, list->ai_socktype | SOCK_CLOEXEC, list->ai_protocol);
    int one = 1;
    bool fine = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
                bind(fd, list->ai_addr, list->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0;
    int failed = errno;
    freeaddrinfo(list);
    if (!fine) {
        (void)snprintf(error, error_size,
                       failed == EADDRINUSE
                           ? "port %s of %s is in use: is another server running? --port N chooses "
                             "another port"
                           : "cannot listen on port %s of %s: %s",
                       port, config->host, strerror(failed));
        if (fd >= 0) {
            (void)close(fd);
        }
        return -1;
    }
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    char name[16] = "";
    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 &&
        getnameinfo((struct sockaddr *)&address, size, NULL, 0, name, sizeof name,
                    NI_NUMERICSERV) == 0) {
        *out_port = (int)strtol(name, NULL, 10);
    }
    return fd;
}

struct serve *serve_open(const struct serve_config *config, char *error, size_t error_size,
                         int *out_status) {
    *out_status = 2;
    if (config->key == NULL && !guard_loopback(config->host)) {
        (void)snprintf(error, error_size,
                       "--host %s is not this machine alone: others could use the server, so give "
                       "it a key (--api-key-file FILE)",
                       config->host);
        return NULL;
    }
    *out_status = 1;
    struct serve *serve = alloc_zero(1, sizeof *serve);
    if (serve == NULL) {
        (void)snprintf(error, error_size, "out of memory");
        return NULL;
    }
    serve->config = *config;
    (void)pthread_mutex_init(&serve->lock, NULL);
    serve->host = alloc_text(config->host, strlen(config->host));
    serve->key = config->key != NULL ? alloc_text(config->key, strlen(config->key)) : NULL;
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    serve->salt = (uint64_t)t.tv_sec * 1000000007U ^ (uint64_t)t.tv_nsec << 20 ^ (uint64_t)getpid();
    FILE *random = fopen("/dev/urandom", "rb");
    if (random != NULL) {
        (void)!fread(&serve->salt, sizeof serve->salt, 1, random);
        (void)fclose(random);
    }
    struct http_config http = {.timeout = config->timeout,
                               .body = ASK_BODY,
                               .connections =
                                   (unsigned)(config->parallel + config->queue) + THREADS_SPARE,
                               .data = serve,
                               .admit = on_admit,
                               .handle = on_handle,
                               .too_large = on_too_large,
                               .finished = on_finished};
    http.socket = listen_on(config, &serve->port, error, error_size);
    if (http.socket >= 0) {
        serve->http = http_open(&http);
        if (serve->http == NULL) {
            (void)snprintf(error, error_size, "the HTTP server could not be started");
            (void)close(http.socket);
        }
    }
    if (serve->http == NULL || serve->host == NULL || (config->key != NULL && serve->key == NULL)) {
        serve_close(serve);
        return NULL;
    }
    return serve;
}

int serve_port(const struct serve *serve) {
    return serve->port;
}

/* ---- models ---- */

static bool fill_model(struct model *m, const char *name, struct packllm_pack *pack,
                       size_t display) {
    struct packllm_member_info info;
    m->name = alloc_text(name, strlen(name));
    m->pack = pack;
    m->n = packllm_pack_size(pack);
    m->display = display;
    if (m->name == NULL || packllm_pack_member(pack, display, &info) < 0 ||
        packllm_pack_ends(pack, display, &m->start, &m->end, &m->space) < 0) {
        return false;
    }
    m->n_vocab = info.n_vocab;
    m->n_ctx = info.n_ctx;
    for (size_t i = 0; i < m->n; i++) {
        (void)packllm_pack_member(pack, i, &info);
        m->n_ctx = info.n_ctx < m->n_ctx ? info.n_ctx : m->n_ctx;
    }
    return true;
}

bool serve_pack(struct serve *serve, struct packllm_pack *pack,
                const struct packllm_session_params *params, char *error, size_t error_size) {
    size_t n = packllm_pack_size(pack);
    struct packllm_error err = {.message = "out of memory"};
    serve->params = *params;
    serve->params.display = params->display >= 0 ? params->display : 0;
    serve->params.stop = NULL;
    serve->params.n_stop = 0;
    serve->models = alloc_zero(n + 1, sizeof *serve->models);
    bool fine = serve->models != NULL;
    serve->n_models = fine ? 1 : 0;
    fine = fine && fill_model(&serve->models[0], "pack", pack, (size_t)serve->params.display);
    for (size_t i = 0; i < n && fine; i++) {
        struct packllm_member_info info;
        struct packllm_pack *view = NULL;
        (void)packllm_pack_member(pack, i, &info);
        fine = packllm_pack_view(&view, pack, &i, 1, &err) >= 0;
        if (fine) {
            struct model *m = &serve->models[serve->n_models++];
            m->own = true;
            fine = fill_model(m, info.name, view, 0);
            m->pack = view;
        }
    }
    if (fine) {
        serve->scheduler = scheduler_open(serve);
        fine = serve->scheduler != NULL;
    }
    if (!fine) {
        (void)snprintf(error, error_size, "%s", err.message);
        return false;
    }
    atomic_store(&serve->loaded, true);
    return true;
}

void serve_run(struct serve *serve, bool (*asked)(void)) {
    while (!asked()) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    http_quiesce(serve->http);
    scheduler_stop(serve->scheduler, GRACE);
}

void serve_close(struct serve *serve) {
    if (serve == NULL) {
        return;
    }
    atomic_store(&serve->loaded, false);
    scheduler_stop(serve->scheduler, 0);
    http_close(serve->http);
    scheduler_close(serve->scheduler);
    for (size_t i = 0; i < serve->n_models; i++) {
        if (serve->models[i].own) {
            packllm_pack_close(serve->models[i].pack);
        }
        base_free(serve->models[i].name);
    }
    for (size_t i = 0; i < PINS; i++) {
        base_free(serve->pins[i].weights);
    }
    base_free(serve->models);
    base_free(serve->host);
    base_free(serve->key);
    (void)pthread_mutex_destroy(&serve->lock);
    base_free(serve);
}
