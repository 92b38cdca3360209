/* args.c - parsing by the table of args.h: defaults, then the environment, then flags. */
#include "common/args.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "common/nearest.h"
#include "common/number.h"

const struct args_command *args_command(const struct args_table *table, const char *name) {
    for (size_t i = 0; i < table->n_commands; i++) {
        if (strcmp(table->commands[i].name, name) == 0) {
            return &table->commands[i];
        }
    }
    return NULL;
}

void args_unknown_command(const struct args_table *table, const char *name, struct buf *error) {
    struct nearest nearest;
    nearest_init(&nearest, name);
    for (size_t i = 0; i < table->n_commands; i++) {
        nearest_offer(&nearest, table->commands[i].name);
    }
    (void)buf_printf(error, "unknown command '%s'", name);
    if (nearest.best != NULL) {
        (void)buf_printf(error, ", did you mean '%s'?", nearest.best);
    } else {
        (void)buf_printf(error, "; %s help lists the commands", table->program);
    }
}

void args_environment(const struct args_table *table, const struct args_option *option,
                      struct buf *out) {
    (void)buf_add_text(out, table->prefix);
    for (const char *p = option->name; *p != '\0'; p++) {
        char c = *p == '-' ? '_' : (char)(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
        (void)buf_add(out, &c, 1);
    }
}

/* The option as the user wrote it: "-n", "--top-k", "PACKLLM_TOP_K". */
struct origin {
    const char *spelled;
    enum args_source source;
};

static bool word_in(const char *words, const char *word) {
    size_t size = strlen(word);
    for (const char *p = words; p != NULL && *p != '\0';) {
        const char *bar = strchr(p, '|');
        size_t n = bar != NULL ? (size_t)(bar - p) : strlen(p);
        bool prefix = n > 0 && p[n - 1] == ':';
        if (prefix ? strncmp(word, p, n) == 0 : n == size && memcmp(p, word, n) == 0) {
            return true;
        }
        p = bar != NULL ? bar + 1 : NULL;
    }
    return false;
}

static void nearest_choice(const char *choices, const char *word, struct buf *error) {
    struct nearest nearest;
    nearest_init(&nearest, word);
    char *copy = alloc_text(choices, strlen(choices));
    if (copy != NULL) {
        char *rest = copy;
        for (char *one = strtok_r(copy, "|", &rest); one != NULL;
             one = strtok_r(NULL, "|", &rest)) {
            nearest_offer(&nearest, one);
        }
        if (nearest.best != NULL) {
            (void)buf_printf(error, ", did you mean '%s'?", nearest.best);
        }
        base_free(copy);
    }
}

static bool wrong_range(const struct args_option *option, const struct origin *from,
                        const char *text, const char *why, struct buf *error) {
    char low[NUMBER_TEXT], high[NUMBER_TEXT];
    number_shortest(low, option->minimum);
    number_shortest(high, option->maximum);
    if (option->type == ARGS_INT) { /* whole numbers without a power of ten */
        (void)buf_printf(error, "%s: '%s' %s; a whole number from %.0f to %.0f is wanted",
                         from->spelled, text, why, option->minimum, option->maximum);
    } else {
        (void)buf_printf(error, "%s: '%s' %s; a number from %s to %s is wanted", from->spelled,
                         text, why, low, high);
    }
    return false;
}

static bool read_number(const struct args_option *option, struct args_value *value,
                        const struct origin *from, const char *text, struct buf *error) {
    enum number_result result;
    if (option->type == ARGS_UINT) {
        if (strcmp(text, "-1") == 0) {
            value->given_minus_one = true;
            value->u = UINT64_MAX;
            return true;
        }
        value->given_minus_one = false;
        result = number_uint(text, &value->u);
        if (result != NUMBER_OK) {
            (void)buf_printf(error, "%s: '%s' is neither a whole number from 0 to %llu nor -1",
                             from->spelled, text, (unsigned long long)UINT64_MAX);
        }
        return result == NUMBER_OK;
    }
    double d = 0;
    if (option->type == ARGS_INT) {
        result = number_int(text, &value->i);
        d = (double)value->i;
    } else {
        result = number_double(text, &value->d);
        d = value->d;
    }
    if (result == NUMBER_NOT) {
        return wrong_range(option, from, text,
                           option->type == ARGS_INT ? "is not a whole number" : "is not a number",
                           error);
    }
    if (result == NUMBER_RANGE || d < option->minimum || d > option->maximum) {
        return wrong_range(option, from, text, "is out of range", error);
    }
    return true;
}

static bool read_choice(const struct args_option *option, struct args_value *value,
                        const struct origin *from, const char *text, struct buf *error) {
    if (word_in(option->choices, text)) {
        value->text = text;
        return true;
    }
    if (word_in(option->later_choices, text)) {
        (void)buf_printf(error, "%s %s is not in this version yet%s%s", from->spelled, text,
                         option->later_why != NULL ? ": " : "",
                         option->later_why != NULL ? option->later_why : "");
        return false;
    }
    (void)buf_printf(error, "%s: '%s' is not one of %s", from->spelled, text, option->choices);
    nearest_choice(option->choices, text, error);
    return false;
}

static bool append(struct args_value *value, const char *text, struct buf *error) {
    const char **list = alloc_resize(value->list, value->n + 1, sizeof *list);
    if (list == NULL) {
        (void)buf_add_text(error, "out of memory");
        return false;
    }
    list[value->n++] = text;
    value->list = list;
    return true;
}

static bool read_value(struct args *args, size_t index, const struct origin *from, const char *text,
                       struct buf *error) {
    const struct args_option *option = &args->table->options[index];
    struct args_value *value = &args->values[index];
    args->failed = index;
    if (option->later) {
        (void)buf_printf(error, "%s is not in this version yet", from->spelled);
        return false;
    }
    bool ok = true;
    switch (option->type) {
    case ARGS_FLAG:
        break;
    case ARGS_INT:
    case ARGS_UINT:
    case ARGS_DOUBLE:
        ok = read_number(option, value, from, text, error);
        break;
    case ARGS_CHOICE:
        ok = read_choice(option, value, from, text, error);
        break;
    case ARGS_TEXT:
        value->text = text;
        break;
    case ARGS_LIST:
        if (value->source != from->source) { /* flags replace what the environment gave */
            value->n = 0;
        }
        ok = append(value, text, error);
        break;
    }
    if (ok) {
        value->set = true;
        value->source = from->source;
        args->failed = args->table->n_options;
    }
    return ok;
}

static bool read_defaults(struct args *args, struct buf *error) {
    for (size_t i = 0; i < args->table->n_options; i++) {
        const struct args_option *option = &args->table->options[i];
        const struct origin from = {option->name, ARGS_DEFAULT};
        if (option->initial != NULL && !option->later &&
            !read_value(args, i, &from, option->initial, error)) {
            assert(false && "a default of the table is out of its own range");
            return false;
        }
    }
    return true;
}

static bool read_environment_flag(struct args *args, size_t index, const struct origin *from,
                                  const char *text, struct buf *error) {
    if (word_in("1|true|yes|on", text)) {
        return read_value(args, index, from, NULL, error);
    }
    if (word_in("0|false|no|off", text)) {
        args->values[index].set = false; /* also where a file says yes */
        return true;
    }
    (void)buf_printf(error, "%s: '%s' is neither 1 (true, yes, on) nor 0 (false, no, off)",
                     from->spelled, text);
    return false;
}

/* One value a line. */
static bool read_environment_list(struct args *args, size_t index, const struct origin *from,
                                  const char *text, struct buf *error) {
    char **copies = alloc_resize(args->copies, args->n_copies + 1, sizeof *copies);
    if (copies != NULL) {
        args->copies = copies;
    }
    char *copy = alloc_text(text, strlen(text));
    if (copies == NULL || copy == NULL) {
        base_free(copy);
        (void)buf_add_text(error, "out of memory");
        return false;
    }
    copies[args->n_copies++] = copy;
    char *rest = copy;
    for (char *line = strtok_r(copy, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (!read_value(args, index, from, line, error)) {
            return false;
        }
    }
    return true;
}

static bool read_text(struct args *args, size_t index, const struct origin *from, const char *text,
                      struct buf *error) {
    switch (args->table->options[index].type) {
    case ARGS_FLAG:
        return read_environment_flag(args, index, from, text, error);
    case ARGS_LIST:
        return read_environment_list(args, index, from, text, error);
    default:
        return read_value(args, index, from, text, error);
    }
}

static bool read_environment(struct args *args, struct buf *error) {
    struct buf name;
    buf_init(&name, 256);
    bool ok = true;
    for (size_t i = 0; ok && i < args->table->n_options; i++) {
        const struct args_option *option = &args->table->options[i];
        if ((option->commands & args->command->bit) == 0) {
            continue;
        }
        buf_cut(&name, 0);
        args_environment(args->table, option, &name);
        const char *text = name.failed ? NULL : getenv(name.data);
        if (text == NULL || *text == '\0') {
            continue;
        }
        const struct origin from = {name.data, ARGS_ENVIRONMENT};
        ok = read_text(args, i, &from, text, error);
    }
    buf_done(&name);
    return ok;
}

static bool read_settings(struct args *args, const struct args_setting *settings, size_t n,
                          struct buf *error) {
    const struct args_table *table = args->table;
    for (size_t k = 0; k < n; k++) {
        const struct origin from = {settings[k].spelled, ARGS_FILE};
        struct nearest nearest;
        size_t found = table->n_options;
        nearest_init(&nearest, settings[k].name);
        for (size_t i = 0; i < table->n_options; i++) {
            const struct args_option *option = &table->options[i];
            if ((option->commands & args->command->bit) != 0) {
                nearest_offer(&nearest, option->name);
                found = strcmp(option->name, settings[k].name) == 0 ? i : found;
            }
        }
        if (found == table->n_options) {
            (void)buf_printf(error, "%s: %s %s has no such option", settings[k].spelled,
                             table->program, args->command->name);
            if (nearest.best != NULL) {
                (void)buf_printf(error, ", did you mean '%s'?", nearest.best);
            }
            return false;
        }
        if (!read_text(args, found, &from, settings[k].value, error)) {
            return false;
        }
    }
    return true;
}

/* Index of the option that text names ("--top-k", "--top-k=3", "-n"); n_options: none. Of several with
 * the same name the command's own. */
static size_t find(const struct args *args, const char *text, const char **out_value) {
    const struct args_table *table = args->table;
    size_t found = table->n_options;
    bool wide = text[1] == '-';
    const char *equals = wide ? strchr(text, '=') : NULL;
    size_t size = equals != NULL ? (size_t)(equals - text) : strlen(text);
    *out_value = equals != NULL ? equals + 1 : NULL;
    for (size_t i = 0; i < table->n_options; i++) {
        const char *name = table->options[i].name, *brief = table->options[i].brief;
        if (wide ? size == strlen(name) + 2 && memcmp(text + 2, name, size - 2) == 0
                 : brief != NULL && strcmp(text, brief) == 0) {
            if ((table->options[i].commands & args->command->bit) != 0) {
                return i;
            }
            found = found < i ? found : i;
        }
    }
    return found;
}

static bool is_brief(const struct args *args, const char *word) {
    for (size_t i = 0; i < args->table->n_options; i++) {
        const struct args_option *option = &args->table->options[i];
        if (option->brief != NULL && strcmp(option->brief, word) == 0 &&
            (option->commands & args->command->bit) != 0) {
            return true;
        }
    }
    return false;
}

static bool unknown_option(const struct args *args, const char *text, struct buf *error) {
    struct nearest nearest;
    char word[64];
    size_t size = strcspn(text, "=");
    size = size < sizeof word ? size : sizeof word - 1;
    memcpy(word, text, size);
    word[size] = '\0';
    const char *bare = word + strspn(word, "-");
    nearest_init(&nearest, bare);
    for (size_t i = 0; i < args->table->n_options; i++) {
        const struct args_option *option = &args->table->options[i];
        if ((option->commands & args->command->bit) != 0 && !option->later) {
            nearest_offer(&nearest, option->name);
        }
    }
    if (text[size] == '=' && is_brief(args, word)) {
        (void)buf_printf(error, "unknown option '%s': %s takes its value behind a space, %s %s",
                         text, word, word, text + size + 1);
        return false;
    }
    (void)buf_printf(error, "unknown option '%s'", word);
    if (nearest.best != NULL) {
        (void)buf_printf(error, ", did you mean '--%s'?", nearest.best);
    } else {
        (void)buf_printf(error, "; %s %s --help lists the options", args->table->program,
                         args->command->name);
    }
    return false;
}

static bool other_command(const struct args *args, size_t index, const char *spelled,
                          struct buf *error) {
    const struct args_table *table = args->table;
    (void)buf_printf(error, "%s is not an option of %s %s (but of", spelled, table->program,
                     args->command->name);
    for (size_t i = 0; i < table->n_commands; i++) {
        if ((table->options[index].commands & table->commands[i].bit) != 0 &&
            !table->commands[i].later) {
            (void)buf_printf(error, " %s", table->commands[i].name);
        }
    }
    (void)buf_add_text(error, ")");
    return false;
}

/* Reads the option at argv[*at] and moves *at behind it. */
static bool read_option(struct args *args, int argc, char **argv, int *at, struct buf *error) {
    const char *value = NULL, *text = argv[*at];
    size_t index = find(args, text, &value);
    if (index == args->table->n_options) {
        return unknown_option(args, text, error);
    }
    const struct args_option *option = &args->table->options[index];
    char spelled[64];
    size_t size = value != NULL ? (size_t)(value - 1 - text) : strlen(text);
    size = size < sizeof spelled ? size : sizeof spelled - 1;
    memcpy(spelled, text, size);
    spelled[size] = '\0';
    if ((option->commands & args->command->bit) == 0) {
        return other_command(args, index, spelled, error);
    }
    if (option->type == ARGS_FLAG && value != NULL) {
        (void)buf_printf(error, "%s takes no value, but '%s' was given", spelled, value);
        return false;
    }
    if (option->type != ARGS_FLAG && value == NULL && !option->later) {
        if (*at + 1 >= argc) {
            (void)buf_printf(error, "%s needs a value: %s %s", spelled, spelled, option->argument);
            return false;
        }
        value = argv[++*at];
    }
    ++*at;
    const struct origin from = {spelled, ARGS_FLAGS};
    return read_value(args, index, &from, value, error);
}

static bool wants_help(int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

enum args_result args_parse(struct args *args, const struct args_table *table,
                            const struct args_command *command, int argc, char **argv,
                            struct buf *error) {
    return args_parse_file(args, table, command, NULL, 0, argc, argv, error);
}

const char *args_early(const struct args_table *table, const char *name, int argc, char **argv) {
    const char *found = NULL;
    size_t size = strlen(name);
    struct buf variable;
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *word = argv[i];
        if (strncmp(word, "--", 2) == 0 && strncmp(word + 2, name, size) == 0) {
            if (word[2 + size] == '=') {
                found = word + 2 + size + 1;
            } else if (word[2 + size] == '\0' && i + 1 < argc) {
                found = argv[i + 1];
            }
        }
    }
    buf_init(&variable, 256);
    args_environment(table, &(struct args_option){.name = name}, &variable);
    if (found == NULL && !variable.failed) {
        found = getenv(variable.data);
    }
    buf_done(&variable);
    return found != NULL && *found != '\0' ? found : NULL;
}

enum args_result args_parse_file(struct args *args, const struct args_table *table,
                                 const struct args_command *command,
                                 const struct args_setting *settings, size_t n_settings, int argc,
                                 char **argv, struct buf *error) {
    *args = (struct args){.table = table, .command = command, .failed = table->n_options};
    args->values = alloc_zero(table->n_options, sizeof *args->values);
    args->operands = alloc_zero((size_t)argc + 1, sizeof *args->operands);
    if (args->values == NULL || args->operands == NULL) {
        (void)buf_add_text(error, "out of memory");
        return ARGS_WRONG;
    }
    if (wants_help(argc, argv)) {
        return ARGS_HELP;
    }
    if (!read_defaults(args, error) || !read_settings(args, settings, n_settings, error) ||
        !read_environment(args, error)) {
        return ARGS_WRONG;
    }
    bool options = true;
    for (int i = 0; i < argc;) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
            i++;
        } else if (options && argv[i][0] == '-' && argv[i][1] != '\0') {
            if (!read_option(args, argc, argv, &i, error)) {
                return ARGS_WRONG;
            }
        } else if (args->n_operands == command->max_operands) {
            (void)buf_printf(error, "unexpected argument '%s'; usage: %s %s%s%s", argv[i],
                             table->program, command->name, *command->operands != '\0' ? " " : "",
                             command->operands);
            return ARGS_WRONG;
        } else {
            args->operands[args->n_operands++] = argv[i++];
        }
    }
    return ARGS_OK;
}

void args_done(struct args *args) {
    for (size_t i = 0; args->values != NULL && i < args->table->n_options; i++) {
        base_free(args->values[i].list);
    }
    for (size_t i = 0; i < args->n_copies; i++) {
        base_free(args->copies[i]);
    }
    base_free(args->copies);
    base_free(args->values);
    base_free(args->operands);
    *args = (struct args){0};
}
