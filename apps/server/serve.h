/* serve.h - the server as the command line sees it: start listening, load the pack, serve, stop. */
#ifndef SERVER_SERVE_H
#define SERVER_SERVE_H

#include <stdbool.h>
#include <stddef.h>

#include "packllm/packllm.h"

struct serve_config {
    const char *host; /* an address or localhost */
    int port;         /* 0: any that is free */
    const char *key;  /* NULL: none, and then only loopback */
    size_t parallel;  /* replies that are written at once */
    size_t queue;     /* requests that wait for their turn */
    int timeout; /* seconds that a client may take for a request, or to read a piece of a reply */
    bool log_json;
    bool quiet; /* no line for each request */
};

struct serve;

/* Checks the configuration and listens; from now on requests are told that the model is loading.
 * error: one line. status: 2 for wrong use, 1 for what failed. */
struct serve *serve_open(const struct serve_config *config, char *error, size_t error_size,
                         int *out_status);
int serve_port(const struct serve *serve);
/* The pack is there: params are what sessions begin with, display the member whose tokens count. */
bool serve_pack(struct serve *serve, struct packllm_pack *pack,
                const struct packllm_session_params *params, char *error, size_t error_size);
/* Returns once asked() is true and what ran has ended, or was told to. */
void serve_run(struct serve *serve, bool (*asked)(void));
void serve_close(struct serve *serve); /* before the pack is closed; NULL allowed */

/* Reads a key: the only line of a file that nobody else may read. False: error says why. */
bool serve_key_file(const char *path, char *out_key, size_t key_size, char *error,
                    size_t error_size);

#endif
