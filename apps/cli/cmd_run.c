/* cmd_run.c - `packllm run`: the prompt is read and weighed, then the pack writes on, streaming. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

struct run {
    struct work *work;
    const struct buf *prompt;
    struct buf text; /* what was written */
    struct buf why;  /* --why: a JSON array, or lines of a table */
    struct json why_json;
    struct buf logprobs; /* --logprobs: a JSON array */
    struct json logprobs_json;
    size_t display;
    bool stream, safe; /* text goes out piece by piece; to a terminal: without control characters */
    bool json;
    struct packllm_weights weights;
};

int run_emit(struct cli *cli, const char *text, size_t size, bool safe) {
    if (!safe || size == 0) {
        return output_write(cli, text, size);
    }
    struct buf out;
    buf_init(&out, RESULT_CEILING);
    tty_safe(&out, text, size, false);
    int code = output_buf(cli, &out);
    buf_done(&out);
    return code;
}

static int emit(struct run *run, const char *text, size_t size) {
    return run->stream ? run_emit(run->work->cli, text, size, run->safe) : EXIT_FINE;
}

/* ---- why ---- */

void run_why_json(struct json *json, const struct packllm_weights *weights,
                  const struct packllm_piece *piece, const struct packllm_why *why) {
    json_begin_object(json);
    json_key(json, "text");
    json_bytes(json, piece->text, piece->size);
    json_key(json, "token");
    json_int(json, piece->token);
    json_key_double(json, "logprob", piece->logprob);
    json_key(json, "members");
    json_begin_array(json);
    for (size_t i = 0; i < why->n_members; i++) {
        json_begin_object(json);
        json_key_text(json, "name", weights->members[i].name);
        json_key_double(json, "logprob", why->members[i].logprob);
        json_key_text(json, "first", why->members[i].first);
        json_key_double(json, "first_logprob", why->members[i].first_logprob);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
}

/* A piece in quotes, white space made visible, in `width` columns. */
static void add_quoted(struct buf *out, const char *text, size_t size, size_t width) {
    struct buf shown;
    buf_init(&shown, 1 << 16);
    (void)buf_add_text(&shown, "'");
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
            (void)buf_add_text(&shown, text[i] == '\n' ? "\\n" : text[i] == '\t' ? "\\t" : "\\r");
        } else if (text[i] != '\0') {
            (void)buf_add(&shown, text + i, 1);
        }
    }
    (void)buf_add_text(&shown, "'");
    tty_pad(out, shown.data != NULL ? shown.data : "", width);
    buf_done(&shown);
}

static void add_logprob(struct buf *out, double value) {
    if (isfinite(value)) {
        (void)buf_printf(out, " %7.2f", value);
    } else {
        (void)buf_printf(out, " %7s", "-");
    }
}

void run_why_head(struct buf *out, const struct packllm_weights *weights) {
    (void)buf_printf(out, "%-14s %7s", "piece", "pack");
    for (size_t i = 0; i < weights->n_members; i++) {
        (void)buf_add_text(out, "  ");
        tty_pad(out, weights->members[i].name, 22);
    }
    (void)buf_add_text(out, "\n");
}

void run_why_line(struct buf *out, const struct packllm_piece *piece,
                  const struct packllm_why *why) {
    add_quoted(out, piece->text, piece->size, 14);
    add_logprob(out, piece->logprob);
    for (size_t i = 0; i < why->n_members; i++) {
        add_logprob(out, why->members[i].logprob);
        (void)buf_add_text(out, "  ");
        add_quoted(out, why->members[i].first, strlen(why->members[i].first), 14);
    }
    (void)buf_add_text(out, "\n");
}

static void add_why(struct run *run, const struct packllm_piece *piece) {
    struct packllm_why why;
    if (packllm_session_why(run->work->session, &why) < 0) {
        return;
    }
    if (run->json) {
        run_why_json(&run->why_json, &run->weights, piece, &why);
    } else {
        run_why_line(&run->why, piece, &why);
    }
}

/* ---- the run ---- */

static int read_prompt(struct run *run) {
    struct work *work = run->work;
    struct cli *cli = work->cli;
    enum packllm_status status = PACKLLM_OK;
    const char *system = opt_text(&cli->args, OPT_SYSTEM_PROMPT);
    if (system == NULL && !opt_set(&cli->args, OPT_CHAT_TEMPLATE)) {
        status =
            packllm_session_prompt(work->session, run->prompt->data, run->prompt->size, &work->err);
    } else if (memchr(run->prompt->data, '\0', run->prompt->size) != NULL) {
        return ui_fail(cli, EXIT_WORK, "a message may have no NUL byte; take it out");
    } else {
        const struct packllm_message messages[] = {{"system", system}, {"user", run->prompt->data}};
        bool told = system != NULL;
        status = packllm_session_chat(work->session, messages + (told ? 0 : 1), told ? 2 : 1,
                                      &work->err);
    }
    tty_progress_clear(&cli->progress);
    if (status < 0) {
        return ui_status(cli, status, &work->err);
    }
    status = packllm_session_weights(work->session, &run->weights);
    if (status < 0) {
        return ui_fail(cli, EXIT_WORK, "%s", packllm_status_text(status));
    }
    if (!cli->quiet && !cli->json) {
        struct buf table;
        buf_init(&table, RESULT_CEILING);
        table_weights(&table, &run->weights, STDERR_FILENO);
        (void)buf_add_text(&table, tty_is(STDERR_FILENO) ? "\n" : "");
        ui_lines(cli, UI_INFO, &table);
        buf_done(&table);
    }
    return EXIT_FINE;
}

static int write_on(struct run *run) {
    struct work *work = run->work;
    bool why = work->session_params.why;
    for (;;) {
        struct packllm_piece piece = {.text = "", .token = -1};
        enum packllm_status status = packllm_session_step(work->session, &piece, &work->err);
        if (status < 0) {
            return ui_status(work->cli, status, &work->err);
        }
        if (stop_asked()) {
            return stop_exit();
        }
        if (piece.size > 0 && !buf_add(&run->text, piece.text, piece.size)) {
            return ui_fail(work->cli, EXIT_WORK, "the text is too long, or there is no memory");
        }
        int code = emit(run, piece.text, piece.size);
        if (code != EXIT_FINE) {
            return code;
        }
        if (status == PACKLLM_FINISHED) {
            return EXIT_FINE;
        }
        if (why) {
            add_why(run, &piece);
        }
        if (work->session_params.n_top > 0 && piece.token >= 0) {
            logprobs_json(&run->logprobs_json, work, run->display, &piece);
        }
    }
}

void run_stats_json(struct json *json, const struct packllm_weights *weights,
                    const struct packllm_stats *stats) {
    json_key(json, "members");
    json_begin_array(json);
    for (size_t i = 0; i < stats->n_members; i++) {
        const struct packllm_member_stats *member = &stats->members[i];
        json_begin_object(json);
        json_key_text(json, "name", member->name);
        json_key_double(json, "weight", member->weight);
        json_key_uint(json, "forwards", member->forwards);
        json_key_uint(json, "tokens", member->tokens);
        json_key_double(json, "bits_per_byte", weights->members[i].bits_per_byte);
        json_key_double(json, "perplexity", weights->members[i].perplexity);
        json_key_double(json, "seconds", member->seconds);
        json_end_object(json);
    }
    json_end_array(json);
    json_key(json, "usage");
    json_begin_object(json);
    json_key_uint(json, "prompt_tokens", stats->prompt_tokens);
    json_key_uint(json, "completion_tokens", stats->tokens);
    json_key_uint(json, "total_tokens", stats->prompt_tokens + stats->tokens);
    json_end_object(json);
    json_key(json, "seconds");
    json_begin_object(json);
    json_key_double(json, "prompt", stats->seconds_prompt);
    json_key_double(json, "generate", stats->seconds_generate);
    json_end_object(json);
    json_key_uint(json, "resyncs", stats->resyncs);
    json_key(json, "normaliser");
    json_begin_object(json);
    json_key_double(json, "min", stats->normaliser_min);
    json_key_double(json, "max", stats->normaliser_max);
    json_end_object(json);
}

static int print_json(struct run *run) {
    struct work *work = run->work;
    struct packllm_stats stats;
    enum packllm_status status = packllm_session_stats(work->session, &stats, &work->err);
    if (status < 0) {
        return ui_status(work->cli, status, &work->err);
    }
    struct buf out;
    struct json json;
    buf_init(&out, RESULT_CEILING);
    json_init(&json, &out);
    json_begin_object(&json);
    if (opt_set(&work->cli->args, OPT_ECHO)) {
        json_key(&json, "prompt");
        json_bytes(&json, run->prompt->data, run->prompt->size);
    }
    json_key(&json, "text");
    json_bytes(&json, run->text.data != NULL ? run->text.data : "", run->text.size);
    json_key_text(&json, "finish", packllm_finish_name(packllm_session_finish(work->session)));
    json_key_uint(&json, "bytes", run->text.size);
    json_key_uint(&json, "seed", work->session_params.sampling.seed);
    run_stats_json(&json, &run->weights, &stats);
    if (work->session_params.why) {
        json_end_array(&run->why_json);
        json_key(&json, "why");
        json_raw(&json, run->why.data, run->why.size);
        out.failed = out.failed || run->why.failed;
    }
    if (work->session_params.n_top > 0) {
        json_end_array(&run->logprobs_json);
        json_key(&json, "logprobs");
        json_raw(&json, run->logprobs.data, run->logprobs.size);
        out.failed = out.failed || run->logprobs.failed;
    }
    json_end_object(&json);
    int code = output_json(work->cli, &out);
    buf_done(&out);
    return code;
}

static int go(struct run *run) {
    struct cli *cli = run->work->cli;
    bool why = run->work->session_params.why, terminal = isatty(STDOUT_FILENO) == 1;
    int code = read_prompt(run);
    if (code != EXIT_FINE) {
        return code;
    }
    if (why && run->json) {
        json_init(&run->why_json, &run->why);
        json_begin_array(&run->why_json);
    } else if (why) {
        run_why_head(&run->why, &run->weights);
    }
    if (run->work->session_params.n_top > 0) {
        struct packllm_stats stats;
        run->display = packllm_session_stats(run->work->session, &stats, NULL) >= 0
                           ? (size_t)stats.display
                           : 0;
        json_init(&run->logprobs_json, &run->logprobs);
        json_begin_array(&run->logprobs_json);
    }
    if (opt_set(&cli->args, OPT_ECHO)) {
        code = emit(run, run->prompt->data, run->prompt->size);
    }
    if (code == EXIT_FINE) {
        code = write_on(run);
    }
    if (run->stream && terminal && (code == EXIT_FINE || code > EXIT_SIGNAL)) {
        (void)output_write(cli, "\n", 1);
    }
    if (code == EXIT_FINE && run->json) {
        code = print_json(run);
    } else if (code == EXIT_FINE && why) {
        ui_lines(cli, UI_INFO, &run->why);
    }
    return code;
}

int cmd_run(struct cli *cli) {
    struct work work;
    struct buf prompt;
    bool going = false;
    buf_init(&prompt, PROMPT_CEILING);
    int code = work_begin(&work, cli, &prompt, &going);
    if (going) {
        struct run run = {.work = &work,
                          .prompt = &prompt,
                          .json = cli->json,
                          .stream = !cli->json,
                          .safe = isatty(STDOUT_FILENO) == 1};
        buf_init(&run.text, RESULT_CEILING);
        buf_init(&run.why, RESULT_CEILING);
        buf_init(&run.logprobs, RESULT_CEILING);
        code = go(&run);
        buf_done(&run.text);
        buf_done(&run.why);
        buf_done(&run.logprobs);
    }
    work_done(&work);
    buf_done(&prompt);
    return code;
}
