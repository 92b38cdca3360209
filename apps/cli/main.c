/* main.c - finds the command, reads its line, runs it. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static const struct {
    const char *name;
    int (*run)(struct cli *cli);
} runners[] = {
    {"run", cmd_run},     {"chat", cmd_chat},       {"weigh", cmd_weigh},
    {"score", cmd_score}, {"models", cmd_models},   {"bench", cmd_bench},
    {"align", cmd_align}, {"eval", cmd_eval},       {"serve", cmd_serve},
    {"help", cmd_help},   {"version", cmd_version}, {"completion", cmd_completion},
};

/* A closed standard stream must not be reopened by chance as some file of ours: it becomes one whose
 * use fails. */
static void hold_streams(void) {
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        }
    }
}

static int run_command(struct cli *cli, const struct args_command *command) {
    for (size_t i = 0; i < sizeof runners / sizeof runners[0]; i++) {
        if (strcmp(runners[i].name, command->name) == 0) {
            return runners[i].run(cli);
        }
    }
    return ui_fail(cli, EXIT_USE, "'%s' is not in this version yet", command->name);
}

static int show_help(struct cli *cli, const struct args_table *table,
                     const struct args_command *command) {
    struct buf out;
    buf_init(&out, 1 << 20);
    size_t width = tty_is(STDOUT_FILENO) ? tty_width(STDOUT_FILENO) : 80;
    width = width > 100 ? 100 : width;
    if (command != NULL) {
        args_help(table, command, width, &out);
    } else {
        args_overview(table, width, &out);
    }
    int code = output_buf(cli, &out);
    buf_done(&out);
    return code;
}

static int parse_and_run(struct cli *cli, const struct args_table *table,
                         const struct args_command *command, int argc, char **argv) {
    struct buf error;
    buf_init(&error, 1 << 16);
    struct config config;
    int code = config_read(cli, table, command, argc, argv, &config);
    if (code != EXIT_FINE) {
        config_done(&config);
        buf_done(&error);
        return code;
    }
    switch (args_parse_file(&cli->args, table, command, config.settings, config.n, argc, argv,
                            &error)) {
    case ARGS_OK:
        cli->json = opt_set(&cli->args, OPT_JSON);
        cli->log_json = opt_set(&cli->args, OPT_LOG_JSON);
        cli->quiet = opt_set(&cli->args, OPT_NO_PROGRESS);
        tty_progress_init(&cli->progress, !cli->quiet && !cli->log_json);
        code = run_command(cli, command);
        break;
    case ARGS_HELP:
        code = show_help(cli, table, command);
        break;
    case ARGS_WRONG:
    default:
        cli->log_json = cli->args.values != NULL && opt_set(&cli->args, OPT_LOG_JSON);
        code = ui_fail(cli, EXIT_USE, "%s", error.data != NULL ? error.data : "out of memory");
        break;
    }
    args_done(&cli->args);
    config_done(&config);
    buf_done(&error);
    return code;
}

static int named_command(struct cli *cli, const struct args_table *table, int argc, char **argv) {
    const struct args_command *command = args_command(table, argv[1]);
    if (command == NULL) {
        struct buf error;
        buf_init(&error, 1 << 16);
        args_unknown_command(table, argv[1], &error);
        int code = ui_fail(cli, EXIT_USE, "%s", error.data != NULL ? error.data : argv[1]);
        buf_done(&error);
        return code;
    }
    if (command->later) {
        return ui_fail(cli, EXIT_USE, "'%s' is not in this version yet", argv[1]);
    }
    return parse_and_run(cli, table, command, argc - 2, argv + 2);
}

int main(int argc, char **argv) {
    struct cli cli = {0};
    hold_streams();
    stop_install();
    buf_init(&cli.folder, 1 << 16);
    const struct args_table *table = options_table();
    int code;
    if (argc < 2) {
        code = ui_fail(&cli, EXIT_USE, "no command; packllm help lists them");
    } else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        code = show_help(&cli, table, NULL);
    } else if (strcmp(argv[1], "--version") == 0) {
        code = parse_and_run(&cli, table, args_command(table, "version"), argc - 2, argv + 2);
    } else if (argv[1][0] == '-') {
        code = ui_fail(&cli, EXIT_USE, "a command comes before the options, as in packllm run %s",
                       argv[1]);
    } else {
        code = named_command(&cli, table, argc, argv);
    }
    buf_done(&cli.folder);
    return code;
}
