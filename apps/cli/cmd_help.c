/* cmd_help.c - `packllm help`, `version`, `completion`: texts made from the table. */
#include <string.h>
#include <unistd.h>

#include "cli.h"

static int print(struct cli *cli, struct buf *out) {
    int code = output_buf(cli, out);
    buf_done(out);
    return code;
}

int cmd_help(struct cli *cli) {
    const struct args_table *table = cli->args.table;
    const struct args_command *command = NULL;
    struct buf out;
    buf_init(&out, 1 << 20);
    if (cli->args.n_operands > 0) {
        const char *name = cli->args.operands[0];
        command = args_command(table, name);
        if (command == NULL) {
            args_unknown_command(table, name, &out);
            int code = ui_fail(cli, EXIT_USE, "%s", out.data != NULL ? out.data : name);
            buf_done(&out);
            return code;
        }
        if (command->later) {
            return ui_fail(cli, EXIT_USE, "'%s' is not in this version yet", name);
        }
    }
    size_t width = tty_is(STDOUT_FILENO) ? tty_width(STDOUT_FILENO) : 80;
    width = width > 100 ? 100 : width;
    if (opt_set(&cli->args, OPT_MAN)) {
        args_man(table, command, &out);
    } else if (command != NULL) {
        args_help(table, command, width, &out);
    } else {
        args_overview(table, width, &out);
    }
    return print(cli, &out);
}

int cmd_version(struct cli *cli) {
    struct buf out;
    buf_init(&out, 1 << 16);
    if (cli->json) {
        struct json json;
        json_init(&json, &out);
        json_begin_object(&json);
        json_key_text(&json, "version", packllm_version());
        json_end_object(&json);
        (void)buf_add_text(&out, "\n");
    } else {
        (void)buf_printf(&out, "packllm %s\n", packllm_version());
    }
    return print(cli, &out);
}

int cmd_completion(struct cli *cli) {
    if (cli->args.n_operands != 1 || strcmp(cli->args.operands[0], "bash") != 0) {
        return ui_fail(cli, EXIT_USE,
                       "completion needs the name of a shell: packllm completion "
                       "bash");
    }
    struct buf out;
    buf_init(&out, 1 << 20);
    args_completion(cli->args.table, &out);
    return print(cli, &out);
}
