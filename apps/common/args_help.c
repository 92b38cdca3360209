/* args_help.c - help, man pages and completion, all made from the one table (args.h). */
#include <stdio.h>
#include <string.h>

#include "common/args.h"
#include "common/number.h"

enum { INDENT = 28 }; /* column where the explanations of options begin */

/* Adds text in words, lines of at most `width` columns, each but the first indented. `column` is
 * where the line stands now. A line end in the text begins a new line. */
static void add_wrapped(struct buf *out, const char *text, size_t indent, size_t width,
                        size_t column) {
    bool first = true;
    while (*text != '\0') {
        if (*text == '\n') {
            (void)buf_printf(out, "\n%*s", text[1] == '\n' ? 0 : (int)indent, "");
            column = indent;
            first = true;
            text++;
            continue;
        }
        size_t n = strcspn(text, " \n");
        if (!first && column + 1 + n > width) {
            (void)buf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
            first = true;
        }
        (void)buf_printf(out, "%s%.*s", first ? "" : " ", (int)n, text);
        column += n + (first ? 0 : 1);
        first = false;
        text += n;
        text += *text == ' ' ? 1 : 0;
    }
}

static bool belongs(const struct args_option *option, const struct args_command *command) {
    return (option->commands & command->bit) != 0;
}

/* The range, where it is worth a word: not the far ends that only keep numbers sane. */
static void add_range(const struct args_option *option, struct buf *out) {
    char low[NUMBER_TEXT], high[NUMBER_TEXT];
    number_shortest(low, option->minimum);
    number_shortest(high, option->maximum);
    if (option->type == ARGS_INT) {
        (void)buf_printf(out, "%.0f to %.0f", option->minimum, option->maximum);
    } else {
        (void)buf_printf(out, "%s to %s", low, high);
    }
}

/* "help text. Default 40, 0 to 1000; PACKLLM_TOP_K". */
static void add_explanation(const struct args_table *table, const struct args_option *option,
                            struct buf *out) {
    (void)buf_add_text(out, option->help);
    (void)buf_add_text(out, " (");
    if (option->type == ARGS_CHOICE) {
        for (const char *c = option->choices; *c != '\0'; c++) { /* so that lines can break */
            (void)buf_add(out, *c == '|' ? ", " : c, *c == '|' ? 2 : 1);
        }
        (void)buf_add_text(out, "; ");
    } else if (option->type == ARGS_INT || option->type == ARGS_DOUBLE) {
        add_range(option, out);
        (void)buf_add_text(out, "; ");
    } else if (option->type == ARGS_LIST) {
        (void)buf_add_text(out, "repeatable; ");
    }
    if (option->initial != NULL) {
        (void)buf_printf(out, "default %s; ", option->initial);
    }
    args_environment(table, option, out);
    (void)buf_add_text(out, ")");
}

static void add_option(const struct args_table *table, const struct args_option *option,
                       size_t width, struct buf *out) {
    char left[96];
    int n = snprintf(left, sizeof left, "  %s%s--%s%s%s",
                     option->brief != NULL ? option->brief : "", option->brief != NULL ? ", " : "",
                     option->name, option->argument != NULL ? " " : "",
                     option->argument != NULL ? option->argument : "");
    (void)buf_add_text(out, left);
    if (n + 2 > INDENT) {
        (void)buf_printf(out, "\n%*s", INDENT, "");
    } else {
        (void)buf_printf(out, "%*s", INDENT - n, "");
    }
    struct buf text;
    buf_init(&text, 1 << 16);
    add_explanation(table, option, &text);
    add_wrapped(out, text.data != NULL ? text.data : "", INDENT, width, INDENT);
    buf_done(&text);
    (void)buf_add_text(out, "\n");
}

/* The options that later versions bring, as one list of names. */
static void add_later(const struct args_table *table, const struct args_command *command,
                      const char *part, struct buf *out) {
    bool first = true;
    for (size_t i = 0; i < table->n_options; i++) {
        const struct args_option *option = &table->options[i];
        if (option->later && belongs(option, command)) {
            (void)buf_printf(out, "%s--%s", first ? "" : part, option->name);
            first = false;
        } else if (option->later_choices != NULL && belongs(option, command)) {
            (void)buf_printf(out, "%s--%s %s", first ? "" : part, option->name,
                             option->later_choices);
            first = false;
        }
    }
}

static bool first_of_group(const struct args_table *table, const struct args_command *command,
                           size_t index) {
    for (size_t i = 0; i < index; i++) {
        const struct args_option *option = &table->options[i];
        if (!option->later && belongs(option, command) &&
            strcmp(option->group, table->options[index].group) == 0) {
            return false;
        }
    }
    return true;
}

void args_help(const struct args_table *table, const struct args_command *command, size_t width,
               struct buf *out) {
    struct buf usage;
    buf_init(&usage, 1 << 16);
    (void)buf_printf(&usage, "usage: %s %s [options]%s%s", table->program, command->name,
                     *command->operands != '\0' ? " " : "", command->operands);
    add_wrapped(out, usage.data != NULL ? usage.data : "", 7, width, 0);
    buf_done(&usage);
    (void)buf_add_text(out, "\n\n");
    add_wrapped(out, command->summary, 0, width, 0);
    (void)buf_add_text(out, "\n");
    if (command->details != NULL) {
        (void)buf_add_text(out, "\n");
        add_wrapped(out, command->details, 0, width, 0);
        (void)buf_add_text(out, "\n");
    }
    for (size_t i = 0; i < table->n_options; i++) {
        const struct args_option *head = &table->options[i];
        if (head->later || !belongs(head, command) || !first_of_group(table, command, i)) {
            continue;
        }
        (void)buf_printf(out, "\n%s\n", head->group);
        for (size_t j = i; j < table->n_options; j++) {
            const struct args_option *option = &table->options[j];
            if (!option->later && belongs(option, command) &&
                strcmp(option->group, head->group) == 0) {
                add_option(table, option, width, out);
            }
        }
    }
    struct buf later;
    buf_init(&later, 1 << 16);
    add_later(table, command, ", ", &later);
    if (later.size > 0) {
        (void)buf_add_text(out, "\nNot in this version yet\n  ");
        add_wrapped(out, later.data, 2, width, 2);
        (void)buf_add_text(out, "\n");
    }
    buf_done(&later);
    (void)buf_add_text(out, "\n");
    add_wrapped(out,
                "An option beats its environment variable; an empty variable counts as unset. Exit "
                "status: 0 fine, 1 the work failed, 2 wrong use, 130 interrupted.",
                0, width, 0);
    (void)buf_add_text(out, "\n");
}

void args_overview(const struct args_table *table, size_t width, struct buf *out) {
    (void)buf_printf(out, "usage: %s COMMAND [options]\n\n", table->program);
    add_wrapped(out, table->summary, 0, width, 0);
    (void)buf_add_text(out, "\n\n");
    for (size_t i = 0; i < table->n_commands; i++) {
        const struct args_command *command = &table->commands[i];
        if (!command->later) {
            (void)buf_printf(out, "  %-12s", command->name);
            add_wrapped(out, command->summary, 14, width, 14);
            (void)buf_add_text(out, "\n");
        }
    }
    const char *part = "\nNot in this version yet: ";
    bool later = false;
    for (size_t i = 0; i < table->n_commands; i++) {
        if (table->commands[i].later) {
            (void)buf_printf(out, "%s%s", part, table->commands[i].name);
            part = ", ";
            later = true;
        }
    }
    (void)buf_printf(out, "%s\n%s COMMAND --help tells about a command.\n", later ? "\n" : "",
                     table->program);
}

/* ---- man ------------------------------------------------------------------------------------- */

/* roff reads a backslash and a leading dot or quote as its own; a minus must stay a minus. */
static void add_roff(struct buf *out, const char *text) {
    bool line_start = true;
    for (; *text != '\0'; text++) {
        if (*text == '\\') {
            (void)buf_add_text(out, "\\e");
        } else if (*text == '-') {
            (void)buf_add_text(out, "\\-");
        } else if (line_start && (*text == '.' || *text == '\'')) {
            (void)buf_printf(out, "\\&%c", *text);
        } else if (*text == '\n' && text[1] == '\n') {
            (void)buf_add_text(out, "\n.PP");
        } else {
            (void)buf_add(out, text, 1);
        }
        line_start = *text == '\n';
    }
}

static void man_options(const struct args_table *table, const struct args_command *command,
                        struct buf *out) {
    (void)buf_add_text(out, ".SH OPTIONS\n");
    struct buf text;
    buf_init(&text, 1 << 16);
    for (size_t i = 0; i < table->n_options; i++) {
        const struct args_option *option = &table->options[i];
        if (option->later || !belongs(option, command)) {
            continue;
        }
        (void)buf_add_text(out, ".TP\n\\fB");
        if (option->brief != NULL) {
            add_roff(out, option->brief);
            (void)buf_add_text(out, "\\fR, \\fB");
        }
        (void)buf_add_text(out, "\\-\\-");
        add_roff(out, option->name);
        (void)buf_add_text(out, "\\fR");
        if (option->argument != NULL) {
            (void)buf_add_text(out, " \\fI");
            add_roff(out, option->argument);
            (void)buf_add_text(out, "\\fR");
        }
        (void)buf_add_text(out, "\n");
        buf_cut(&text, 0);
        add_explanation(table, option, &text);
        add_roff(out, text.data != NULL ? text.data : "");
        (void)buf_add_text(out, "\n");
    }
    buf_cut(&text, 0);
    add_later(table, command, ", ", &text);
    if (text.size > 0) {
        (void)buf_add_text(out, ".SH NOT IN THIS VERSION YET\n");
        add_roff(out, text.data);
        (void)buf_add_text(out, "\n");
    }
    buf_done(&text);
}

static void man_head(const struct args_table *table, const char *name, const char *summary,
                     struct buf *out) {
    (void)buf_add_text(out, ".TH ");
    for (const char *p = name; *p != '\0'; p++) {
        char c = (char)(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
        (void)buf_printf(out, "%s%c", c == '-' ? "\\" : "", c);
    }
    (void)buf_printf(out, " 1 \"\" \"%s %s\"\n.SH NAME\n", table->program, table->version);
    add_roff(out, name);
    (void)buf_add_text(out, " \\- ");
    add_roff(out, summary);
    (void)buf_add_text(out, "\n");
}

static void man_program(const struct args_table *table, struct buf *out) {
    man_head(table, table->program, table->summary, out);
    (void)buf_printf(out, ".SH SYNOPSIS\n\\fB%s\\fR \\fICOMMAND\\fR [options]\n.SH COMMANDS\n",
                     table->program);
    for (size_t i = 0; i < table->n_commands; i++) {
        const struct args_command *command = &table->commands[i];
        if (!command->later) {
            (void)buf_printf(out, ".TP\n\\fB%s\\fR\n", command->name);
            add_roff(out, command->summary);
            (void)buf_add_text(out, "\n");
        }
    }
}

void args_man(const struct args_table *table, const struct args_command *command, struct buf *out) {
    if (command == NULL) {
        man_program(table, out);
    } else {
        char name[96];
        (void)snprintf(name, sizeof name, "%s-%s", table->program, command->name);
        man_head(table, name, command->summary, out);
        (void)buf_printf(out, ".SH SYNOPSIS\n\\fB%s %s\\fR [options] ", table->program,
                         command->name);
        add_roff(out, command->operands);
        (void)buf_add_text(out, "\n");
        if (command->details != NULL) {
            (void)buf_add_text(out, ".SH DESCRIPTION\n");
            add_roff(out, command->details);
            (void)buf_add_text(out, "\n");
        }
        man_options(table, command, out);
    }
    (void)buf_printf(
        out,
        ".SH ENVIRONMENT\nEvery option has a variable, \\fB%s\\fR and its long name in "
        "capitals with _ for \\-; an option beats its variable, an empty variable "
        "counts as unset, repeatable ones hold one value a line.\n"
        ".SH EXIT STATUS\n0 fine, 1 the work failed, 2 wrong use, 130 interrupted.\n",
        table->prefix);
}

/* ---- completion ------------------------------------------------------------------------------ */

static void add_words(struct buf *out, const char *words) {
    for (; *words != '\0'; words++) {
        char c = *words == '|' ? ' ' : *words;
        (void)buf_add(out, &c, 1);
    }
}

static void completion_values(const struct args_table *table, struct buf *out) {
    (void)buf_add_text(out, "    case $prev in\n");
    for (size_t i = 0; i < table->n_options; i++) {
        const struct args_option *option = &table->options[i];
        if (option->later || option->type == ARGS_FLAG) {
            continue;
        }
        (void)buf_printf(out, "    --%s%s%s)\n        ", option->name,
                         option->brief != NULL ? "|" : "",
                         option->brief != NULL ? option->brief : "");
        if (option->type == ARGS_CHOICE) {
            (void)buf_add_text(out, "COMPREPLY=($(compgen -W \"");
            add_words(out, option->choices);
            (void)buf_add_text(out, "\" -- \"$word\"))");
        } else if (option->file) {
            (void)buf_add_text(out, "COMPREPLY=($(compgen -f -- \"$word\"))");
        } else {
            (void)buf_add_text(out, "COMPREPLY=()");
        }
        (void)buf_add_text(out, "\n        return ;;\n");
    }
    (void)buf_add_text(out, "    esac\n");
}

void args_completion(const struct args_table *table, struct buf *out) {
    const char *program = table->program;
    (void)buf_printf(out,
                     "# bash completion for %s; made by: %s completion bash\n"
                     "_%s() {\n"
                     "    local word=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                     "    local command=${COMP_WORDS[1]} words=\n"
                     "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                     "        COMPREPLY=($(compgen -W \"",
                     program, program, program);
    for (size_t i = 0; i < table->n_commands; i++) {
        if (!table->commands[i].later) {
            (void)buf_printf(out, "%s%s", i > 0 ? " " : "", table->commands[i].name);
        }
    }
    (void)buf_add_text(out, "\" -- \"$word\"))\n        return\n    fi\n");
    completion_values(table, out);
    (void)buf_add_text(out, "    case $command in\n");
    for (size_t i = 0; i < table->n_commands; i++) {
        const struct args_command *command = &table->commands[i];
        if (command->later) {
            continue;
        }
        (void)buf_printf(out, "    %s) words=\"--help", command->name);
        for (size_t j = 0; j < table->n_options; j++) {
            if (!table->options[j].later && belongs(&table->options[j], command)) {
                (void)buf_printf(out, " --%s", table->options[j].name);
            }
        }
        if (command->words != NULL) {
            (void)buf_add_text(out, " ");
            add_words(out, command->words);
        }
        (void)buf_add_text(out, "\" ;;\n");
    }
    (void)buf_printf(out,
                     "    esac\n"
                     "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
                     "}\n"
                     "complete -o filenames -F _%s %s\n",
                     program, program);
}
