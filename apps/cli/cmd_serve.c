/* cmd_serve.c - `packllm serve`: options to the server's configuration, then it runs. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "server/serve.h"

enum { KEY_ROOM = 4096 };

static int read_key(struct cli *cli, char *room, const char **out_key) {
    const struct args *args = &cli->args;
    const char *key = opt_text(args, OPT_API_KEY), *file = opt_text(args, OPT_API_KEY_FILE);
    char error[1024];
    *out_key = NULL;
    if (file != NULL) {
        if (!serve_key_file(file, room, KEY_ROOM, error, sizeof error)) {
            return ui_fail(cli, EXIT_WORK, "%s", error);
        }
        *out_key = room;
    } else if (key != NULL) {
        for (const char *p = key; *p != '\0'; p++) {
            if (*p <= ' ' || *p > '~') {
                return ui_fail(cli, EXIT_USE, "--api-key: a key is printable ASCII without blanks");
            }
        }
        if (key[0] == '\0') {
            return ui_fail(cli, EXIT_USE, "--api-key: the key is empty");
        }
        *out_key = key;
    }
    return EXIT_FINE;
}

static int run(struct cli *cli, struct serve *serve) {
    struct work work;
    bool go = false;
    char error[1200];
    int code = work_begin(&work, cli, NULL, &go);
    if (go) {
        /* The sessions are the server's; none of them shows progress here. */
        stop_session(NULL);
        packllm_session_close(work.session);
        work.session = NULL;
        work.session_params.progress = NULL;
        if (!serve_pack(serve, work.pack, &work.session_params, error, sizeof error)) {
            code = ui_fail(cli, EXIT_WORK, "%s", error);
        } else {
            ui_line(cli, UI_INFO, "ready");
            serve_run(serve, stop_asked);
            ui_line(cli, UI_INFO, "stopped");
        }
    }
    serve_close(serve);
    work_done(&work);
    return code;
}

int cmd_serve(struct cli *cli) {
    const struct args *args = &cli->args;
    char room[KEY_ROOM], error[1200], line[512];
    struct serve_config config = {.host = opt_text(args, OPT_HOST),
                                  .port = (int)opt_int(args, OPT_PORT),
                                  .parallel = (size_t)opt_int(args, OPT_PARALLEL),
                                  .queue = (size_t)opt_int(args, OPT_QUEUE),
                                  .timeout = (int)opt_int(args, OPT_TIMEOUT),
                                  .log_json = cli->log_json,
                                  .quiet = cli->quiet};
    int code = read_key(cli, room, &config.key);
    if (code != EXIT_FINE) {
        return code;
    }
    if (opt_set(args, OPT_MEMORY)) {
        struct work work;
        bool go = false;
        code = work_begin(&work, cli, NULL, &go);
        work_done(&work);
        return code;
    }
    struct serve *serve = serve_open(&config, error, sizeof error, &code);
    if (serve == NULL) {
        return ui_fail(cli, code, "%s", error);
    }
    bool v6 = strchr(config.host, ':') != NULL;
    (void)snprintf(line, sizeof line, "listening on http://%s%.256s%s:%d", v6 ? "[" : "",
                   config.host, v6 ? "]" : "", serve_port(serve));
    ui_line(cli, UI_INFO, line);
    return run(cli, serve);
}
