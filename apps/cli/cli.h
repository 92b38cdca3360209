/* cli.h - what the commands share: the parsed command line, the two streams, the pack at work.
 *
 * Rules: results go to stdout (output.c), everything else to stderr (ui.c); a command returns its
 * exit code; what a failed command printed to stderr is one line. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "common/args.h"
#include "common/json.h"
#include "common/packfile.h"
#include "common/spec.h"
#include "common/tty.h"
#include "options.h"
#include "packllm/packllm.h"

enum exit_code { EXIT_FINE = 0, EXIT_WORK = 1, EXIT_USE = 2, EXIT_SIGNAL = 128 };

enum { PROMPT_CEILING = 64 << 20 }; /* bytes of a prompt */
enum { RESULT_CEILING = 1 << 30 };  /* bytes of a result */

struct cli {
    struct args args;
    struct buf folder; /* the cache's, once members.c or cmd_models.c has asked for it */
    bool json, log_json, quiet;
    bool untempered; /* members are opened without the temperatures of their specs */
    size_t replaced; /* --lossy: places of the prompt that are U+FFFD now */
    struct tty_progress progress;
};

/* ---- ui.c: stderr ---- */

enum ui_level { UI_DEBUG, UI_INFO, UI_WARN, UI_ERROR };

void ui_line(struct cli *cli, enum ui_level level, const char *text);
/* "packllm: error: …" and the exit code given, so that `return ui_fail(…)` reads. */
int ui_fail(struct cli *cli, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void ui_warn(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The exit code for an error of the library, after saying it. */
int ui_status(struct cli *cli, enum packllm_status status, const struct packllm_error *err);
/* Several lines, each a ui_line. */
void ui_lines(struct cli *cli, enum ui_level level, const struct buf *text);

/* ---- config.c: settings from a file, for commands with --config ---- */

struct config {
    const char *path; /* NULL: none */
    struct packfile_config file;
    struct args_setting *settings; /* [n] */
    size_t n;
};
/* EXIT_FINE, or the exit code after saying why; config_done in any case, once args is done with. */
int config_read(struct cli *cli, const struct args_table *table, const struct args_command *command,
                int argc, char **argv, struct config *out);
void config_done(struct config *config);

/* ---- output.c: stdout, and files that are whole or not there ---- */

/* Writes and flushes. EXIT_FINE, or the exit code after saying why (a closed pipe is left in
 * silence). */
int output_write(struct cli *cli, const char *text, size_t size);
int output_buf(struct cli *cli, const struct buf *text);
/* The JSON line: adds the line end. */
int output_json(struct cli *cli, struct buf *text);

struct output_file {
    void *stream; /* FILE * */
    const char *path;
    char *temporary; /* NULL: written in place, as path is no regular file */
};
int output_file_open(struct cli *cli, struct output_file *file, const char *path);
/* keep false: what was written is removed. */
int output_file_close(struct cli *cli, struct output_file *file, bool keep);

/* ---- stop.c: Ctrl-C ---- */

void stop_install(void);
void stop_session(struct packllm_session *session); /* the one to cancel; NULL: none */
bool stop_asked(void);
bool stop_forgive(void); /* it was Ctrl-C: as if it had not come, and the next one counts again */
void stop_wait(int descriptor); /* until there is something to read, or a stop is asked for */
int stop_exit(void);            /* 130 or 143 */

/* ---- input.c ---- */

/* The text of -p, -f, "-" or a piped stdin into out (empty, its ceiling the longest prompt):
 * valid UTF-8 and not empty. */
int input_read(struct cli *cli, struct buf *out);
/* With --lossy: "replaced", in how many places U+FFFD was put. */
void input_json(struct json *json, const struct cli *cli);
/* A file as it stands, up to out's ceiling. */
int input_file(struct cli *cli, const char *path, struct buf *out);

/* ---- members.c: from -m to a session ---- */

struct work {
    struct cli *cli;
    const char *option;                 /* "-m ", or "": what messages put before a SPEC */
    struct spec *specs;                 /* [n] */
    struct packllm_member_spec *member; /* [n], pointing into specs */
    size_t n, n_filed;                  /* the first n_filed are a pack file's */
    struct packfile_settings settings;
    double *fixed; /* [n] for --weights fixed:…, else NULL */
    struct packllm_params params;
    struct packllm_session_params session_params;
    struct packllm_bias *bias; /* that session_params points at */
    struct buf constraint;     /* the grammar or the schema that session_params points at */
    struct packllm_pack *pack;
    struct packllm_session *session;
    struct packllm_error err;
};

/* From the command line to a loaded pack with a session, and the text read (text NULL: none is
 * wanted). What is wrong with the command line is found first, then with the text, then with the
 * files; only then something is fetched or loaded. --memory prints the estimate instead. out_go:
 * whether there is work to do; else the code returned is the command's. work_done in any case. */
/* Only the members' files: specs and member of the n SPECs, found, fetched where they are missing. */
int work_files(struct work *work, struct cli *cli, const char *const *specs, size_t n);
int work_begin(struct work *work, struct cli *cli, struct buf *text, bool *out_go);
void work_log(void *data, int level, const char *line); /* a line of libllama's, for --verbose */
int work_session(struct work *work); /* closes the session, opens another with session_params */
void work_done(struct work *work);
/* weights.c: --weights and --pool into session_params; the specs are read. */
int work_weigher(struct work *work);
/* logprobs.c: --logit-bias and --logprobs into session_params. */
int work_bias(struct work *work);
/* The piece of the last step and the likeliest tokens in its place, tokens of that member. */
void logprobs_json(struct json *json, const struct work *work, size_t display,
                   const struct packllm_piece *piece);
/* The members of --weights dexperts:…, once their names are known. */
int work_experts(struct work *work);
/* members.c: a member's name or its number from 0; option is what an error names. */
int work_member(struct work *work, const char *option, const char *name, int32_t *out);
/* pack_write.c: a pack file of the members at work; the file is whole or not there. */
struct pack_settings {
    const double *prior, *temperature; /* [n_members] */
    double shrink;
    const char *comment; /* one line */
};
int work_write_pack(const struct work *work, const char *path, const struct pack_settings *p);
/* "reference" (a member, -1: none) and how the others meet its tokens. */
void mapping_json(struct json *json, const struct work *work, int32_t reference);

/* ---- table.c: tables for people ---- */

/* lines into out; terminal: with bars, in colour where fd allows it. */
void table_weights(struct buf *out, const struct packllm_weights *weights, int fd);
void table_memory(struct buf *out, const struct work *work, const struct packllm_memory *total,
                  const struct packllm_memory *members);

struct table_score {
    double bits_per_byte;
    const struct packllm_member_score *members; /* [n] */
    size_t n, best; /* best: the member of the fewest canonical bits/byte */
    uint64_t bytes, context_bytes, windows, resyncs;
};
void table_scores(struct buf *out, const struct table_score *score, int fd);

/* ---- cmd_run.c: what a chat prints, too ---- */

/* Text to stdout, to a terminal without what could steer it. */
int run_emit(struct cli *cli, const char *text, size_t size, bool safe);
/* members, usage, seconds, … of a reply. */
void run_stats_json(struct json *json, const struct packllm_weights *weights,
                    const struct packllm_stats *stats);
/* --why: a table's head and its line for a piece; or its object. */
void run_why_head(struct buf *out, const struct packllm_weights *weights);
void run_why_line(struct buf *out, const struct packllm_piece *piece,
                  const struct packllm_why *why);
void run_why_json(struct json *json, const struct packllm_weights *weights,
                  const struct packllm_piece *piece, const struct packllm_why *why);

/* ---- commands ---- */

int cmd_run(struct cli *cli);
int cmd_chat(struct cli *cli);
int cmd_weigh(struct cli *cli);
int cmd_score(struct cli *cli);
int cmd_models(struct cli *cli);
int cmd_bench(struct cli *cli);
int cmd_align(struct cli *cli);
int cmd_eval(struct cli *cli);
int cmd_calibrate(struct cli *cli);
int cmd_serve(struct cli *cli);
int cmd_help(struct cli *cli);
int cmd_version(struct cli *cli);
int cmd_completion(struct cli *cli);

/* cmd_eval.c: a template with its \n and \t read; NULL: no memory. To be freed. */
char *eval_unescaped(const char *text);

/* cmd_models.c: runs the fetch script; EXIT_FINE or the exit code. */
int models_folder(struct cli *cli);
int models_fetch(struct cli *cli, const char *const *names, size_t n);

#endif
