/* commands.h - the commands' bits, by which an option says where it belongs, and their table. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "common/args.h"

enum {
    COMPLETE = 1, /* run alone */
    WEIGH = 2,
    SCORE = 4,
    BENCH = 8,
    MODELS = 16,
    HELP = 32,
    VERSION = 64,
    COMPLETION = 128,
    ALIGN = 256,
    SERVE = 2048,
    CHAT = 512,
    RUN = COMPLETE | CHAT, /* what writes */
    EVAL = 1024,
    CALIBRATE = 4096,
    ASK = EVAL | CALIBRATE, /* questions */
    TEXT = RUN | WEIGH | SCORE,
    WORK = TEXT | BENCH | SERVE,
    ALL = WORK | ASK | ALIGN | MODELS | HELP | VERSION | COMPLETION
};

/* In the order of help. */
const struct args_command *commands_table(size_t *out_n);

#endif
