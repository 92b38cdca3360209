/* args.h - one table of options, many uses: parsing (environment first, then flags), --help, man
 * pages, shell completion. The table belongs to the program (apps/cli/options.c); nothing here
 * knows a single option. Nothing is printed: texts go into buffers. */
#ifndef COMMON_ARGS_H
#define COMMON_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum args_type {
    ARGS_FLAG,   /* no argument; in the environment 1/true/yes/on or 0/false/no/off */
    ARGS_INT,    /* int64_t within minimum..maximum */
    ARGS_UINT,   /* any uint64_t, or -1, which reads as UINT64_MAX and sets `given_minus_one` */
    ARGS_DOUBLE, /* finite, within minimum..maximum */
    ARGS_TEXT,
    ARGS_CHOICE, /* one of `choices`; one that ends in ':' is a prefix with more behind it */
    ARGS_LIST    /* text, repeatable; in the environment one value a line */
};

struct args_option {
    const char *name;     /* long name without dashes; the environment variable follows from it */
    const char *brief;    /* another name with its dash, "-m"; NULL: none */
    const char *argument; /* what help calls the argument; NULL for a flag */
    enum args_type type;
    double minimum, maximum;   /* ARGS_INT, ARGS_DOUBLE */
    const char *choices;       /* ARGS_CHOICE: parted by '|' */
    const char *later_choices; /* recognised, but not in this version yet */
    const char *later_why;     /* what the error adds about them; NULL: nothing */
    const char *initial;       /* default, as one would write it; NULL: none */
    const char *group;         /* heading in help; NULL for an option of a later version */
    const char *help;
    uint32_t commands; /* bit of each command that takes it */
    bool later;        /* recognised, but not in this version yet */
    bool file;         /* the argument is a file: completion */
};

struct args_command {
    const char *name;
    const char *operands; /* what may follow the options, for the usage line */
    const char *summary;  /* one line */
    const char *details;  /* paragraphs for --help and man; NULL: none */
    const char *words;    /* first operands for completion, parted by '|' */
    size_t max_operands;
    uint32_t bit;
    bool later; /* recognised, but not in this version yet */
};

struct args_table {
    const char *program;
    const char *prefix; /* of environment variables, "PACKLLM_" */
    const char *summary;
    const char *version;
    const struct args_option *options; /* [n_options], in the order of help */
    size_t n_options;
    const struct args_command *commands; /* [n_commands] */
    size_t n_commands;
};

enum args_source { ARGS_DEFAULT, ARGS_FILE, ARGS_ENVIRONMENT, ARGS_FLAGS };

struct args_value {
    enum args_source source;
    bool set; /* flags: true; others: a value is there, be it the default */
    bool given_minus_one;
    int64_t i;
    uint64_t u;
    double d;
    const char *text;
    const char **list; /* [n] */
    size_t n;
};

struct args {
    const struct args_table *table;
    const struct args_command *command;
    struct args_value *values; /* [n_options], in the table's order */
    const char **operands;     /* [n_operands] */
    size_t n_operands;
    char **copies; /* [n_copies] texts of ours that values point into */
    size_t n_copies;
    size_t failed; /* option that an error is about; n_options: none */
};

enum args_result {
    ARGS_OK,
    ARGS_HELP, /* --help or -h was given: the rest was not looked at */
    ARGS_WRONG /* error holds one line */
};

const struct args_command *args_command(const struct args_table *table, const char *name);
/* error: one line for a command that does not exist, with the nearest one. */
void args_unknown_command(const struct args_table *table, const char *name, struct buf *error);

/* argv[argc] are the arguments after the command's name. Pointers into argv and the environment
 * stay in use. args_done also after an error. */
enum args_result args_parse(struct args *args, const struct args_table *table,
                            const struct args_command *command, int argc, char **argv,
                            struct buf *error);
void args_done(struct args *args);
/* An option's setting from a configuration file: the option's name, its value as in the environment, and
 * what errors call it ("FILE:3: port"). */
struct args_setting {
    const char *name, *value, *spelled;
};
/* The same, with what a file sets between the defaults and the environment. The settings stay in use. */
enum args_result args_parse_file(struct args *args, const struct args_table *table,
                                 const struct args_command *command,
                                 const struct args_setting *settings, size_t n_settings, int argc,
                                 char **argv, struct buf *error);
/* The value that --NAME (a text option of the command) would get from argv or the environment, before
 * anything is parsed; NULL: none. */
const char *args_early(const struct args_table *table, const char *name, int argc, char **argv);

/* "PACKLLM_TOP_K" for "top-k". */
void args_environment(const struct args_table *table, const struct args_option *option,
                      struct buf *out);

/* args_help.c: texts made from the table. width: columns. */
void args_help(const struct args_table *table, const struct args_command *command, size_t width,
               struct buf *out);
void args_overview(const struct args_table *table, size_t width, struct buf *out);
/* A man page in roff's man macros: of a command, or of the program where command is NULL. */
void args_man(const struct args_table *table, const struct args_command *command, struct buf *out);
/* A completion script for bash. */
void args_completion(const struct args_table *table, struct buf *out);

#endif
