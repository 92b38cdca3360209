/* cmd_serve.c - `packllm serve`: options to the server's configuration, then it runs. */
#ifdef __linux__
#include <malloc.h>
#endif
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "server/serve.h"

enum { KEY_ROOM = 4096 };

extern char **environ;

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

/* A browser that a desktop has, else a line that says where the page is. The shell leaves at once, so
 * nothing of the browser's is ours to wait for. */
static void open_page(struct cli *cli, const char *host, int port) {
    char url[400], line[512], command[] = "xdg-open \"$1\" >/dev/null 2>&1 &", shell[] = "sh",
                              flag[] = "-c";
    bool any = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    bool v6 = !any && strchr(host, ':') != NULL;
    (void)snprintf(url, sizeof url, "http://%s%.256s%s:%d/", v6 ? "[" : "",
                   any ? "localhost" : host, v6 ? "]" : "", port);
    char *argv[] = {shell, flag, command, shell, url, NULL};
    const char *x = getenv("DISPLAY"), *wayland = getenv("WAYLAND_DISPLAY");
    bool desktop = (x != NULL && *x != '\0') || (wayland != NULL && *wayland != '\0');
    pid_t pid = 0;
    if (desktop && posix_spawnp(&pid, "sh", NULL, NULL, argv, environ) == 0) {
        (void)waitpid(pid, NULL, 0);
    }
    (void)snprintf(line, sizeof line, "the page: %s", url);
    ui_line(cli, UI_INFO, line);
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
            if (opt_set(&cli->args, OPT_OPEN)) {
                open_page(cli, opt_text(&cli->args, OPT_HOST), serve_port(serve));
            }
            serve_run(serve, stop_asked);
            ui_line(cli, UI_INFO, "stopped");
        }
    }
    serve_close(serve);
    work_done(&work);
    return code;
}

/* Each connection has a thread. glibc would give many of them a heap of their own, each to keep what one
 * large request once took: the server would grow for minutes, by as much again as it needs. And it would
 * let ever larger blocks into the heaps. */
static void small_heaps(void) {
#ifdef M_ARENA_MAX
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 4 << 20);
#endif
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
    small_heaps();
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
