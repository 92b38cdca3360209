/* cmd_score.c - `packllm score`: bits per byte of a known text, in one go or in windows, each with
 * its own context and its own weights. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli.h"
#include "common/number.h"

enum { CONTEXT_MOST = 800 }; /* bytes of context unless told otherwise */

struct window {
    size_t start, size, context;          /* bytes; context counts from start */
    struct packllm_score score;           /* its members point to `members` */
    struct packllm_member_score *members; /* [n] */
};

struct score {
    struct work *work;
    const struct buf *text;
    struct packllm_score_params params;
    struct window *windows;         /* [n_windows] */
    size_t n_windows, window_bytes; /* window_bytes 0: the text in one go */
    size_t n;                       /* members */
    struct output_file per_byte;
    size_t offset; /* of the window being scored */
    /* Means over the windows. */
    struct packllm_member_score *means; /* [n], sums where they count something */
    struct table_score total;
    double seconds_evaluate, seconds_solve;
    uint64_t jensen_violations;
    double posterior, regret, regret_bound; /* of the pool; nats: bayes and hedge */
};

/* The largest start of a character at or below offset. */
static size_t character(const struct buf *text, size_t offset) {
    if (offset >= text->size) {
        return text->size;
    }
    while (offset > 0 && ((unsigned char)text->data[offset] & 0xc0) == 0x80) {
        offset--;
    }
    return offset;
}

/* ---- windows ---- */

static size_t context_of(const struct score *score, size_t size) {
    const struct args_value *given = &score->work->cli->args.values[OPT_CONTEXT_BYTES];
    if (given->set) {
        return (size_t)given->i;
    }
    return size / 3 < CONTEXT_MOST ? size / 3 : CONTEXT_MOST;
}

/* Adds the window [start, end) if something is left of it behind its context. */
static void add_window(struct score *score, size_t start, size_t end, size_t context) {
    start = character(score->text, start);
    end = character(score->text, end);
    size_t inner = character(score->text, start + context) - start;
    if (end > start && end - start > inner) {
        score->windows[score->n_windows++] =
            (struct window){.start = start, .size = end - start, .context = inner};
    }
}

static int cut_windows(struct score *score) {
    const struct args *args = &score->work->cli->args;
    struct cli *cli = score->work->cli;
    size_t size = score->text->size, width = size, wanted = 1;
    if (opt_set(args, OPT_WINDOW)) {
        width = score->window_bytes = (size_t)opt_int(args, OPT_WINDOW);
        wanted = (size - 1) / width + 1;
    }
    size_t context = context_of(score, width);
    size_t spread = 0; /* 0: all windows, one behind the other */
    if (opt_set(args, OPT_WINDOWS) && (size_t)opt_int(args, OPT_WINDOWS) < wanted) {
        spread = wanted = (size_t)opt_int(args, OPT_WINDOWS);
    }
    score->windows = alloc_zero(wanted, sizeof *score->windows);
    if (score->windows == NULL) {
        return ui_fail(cli, EXIT_WORK, "out of memory");
    }
    for (size_t i = 0; i < wanted; i++) {
        size_t start = i * width;
        if (spread > 0) { /* evenly: the first at the start, the last at the end */
            double step = spread > 1 ? (double)(size - width) / (double)(spread - 1) : 0;
            start = (size_t)((double)i * step);
        }
        add_window(score, start, size - start < width ? size : start + width, context);
    }
    if (score->n_windows == 0) {
        return ui_fail(
            cli, EXIT_WORK,
            "nothing to score: the text has %zu bytes and %zu are context; give a longer "
            "text, or fewer --context-bytes%s",
            size, context, score->window_bytes > 0 ? ", or a smaller --window" : "");
    }
    return EXIT_FINE;
}

/* ---- scoring ---- */

static void on_byte(void *data, size_t offset, double log2_pack, const double *log2_members,
                    double parked) {
    struct score *score = data;
    FILE *stream = score->per_byte.stream;
    char number[NUMBER_TEXT];
    number_shortest(number, log2_pack);
    (void)fprintf(stream, "%zu\t%s", score->offset + offset, number);
    for (size_t i = 0; i < score->n; i++) {
        number_shortest(number, log2_members[i]);
        (void)fprintf(stream, "\t%s", number);
    }
    number_shortest(number, parked);
    (void)fprintf(stream, "\t%s\n", number);
}

static int score_window(struct score *score, struct window *window) {
    struct work *work = score->work;
    struct packllm_score_params params = score->params;
    params.context_bytes = window->context;
    score->offset = window->start;
    enum packllm_status status =
        packllm_session_score(work->session, score->text->data + window->start, window->size,
                              &params, &window->score, &work->err);
    if (status < 0 || stop_asked()) {
        return ui_status(work->cli, status, &work->err);
    }
    window->members = alloc_array(score->n, sizeof *window->members);
    if (window->members == NULL) {
        return ui_fail(work->cli, EXIT_WORK, "out of memory");
    }
    memcpy(window->members, window->score.members, score->n * sizeof *window->members);
    window->score.members = window->members;
    return EXIT_FINE;
}

static int add_up(struct score *score) {
    double share = 1 / (double)score->n_windows;
    score->means = alloc_zero(score->n, sizeof *score->means);
    if (score->means == NULL) {
        return ui_fail(score->work->cli, EXIT_WORK, "out of memory");
    }
    struct table_score *total = &score->total;
    *total = (struct table_score){.members = score->means,
                                  .n = score->n,
                                  .windows = score->n_windows,
                                  .context_bytes = score->windows[0].score.context_bytes};
    for (size_t w = 0; w < score->n_windows; w++) {
        const struct packllm_score *one = &score->windows[w].score;
        total->bits_per_byte += one->bits_per_byte * share;
        total->bytes += one->bytes;
        total->resyncs += one->resyncs;
        score->jensen_violations += one->jensen_violations;
        score->posterior += one->posterior * share;
        score->regret += one->regret * share;
        score->regret_bound += one->regret_bound * share;
        score->seconds_evaluate += one->seconds_evaluate;
        score->seconds_solve += one->seconds_solve;
        for (size_t i = 0; i < score->n; i++) {
            struct packllm_member_score *mean = &score->means[i];
            const struct packllm_member_score *member = &one->members[i];
            mean->name = member->name;
            mean->weight += member->weight * share;
            mean->bits_per_byte += member->bits_per_byte * share;
            mean->bits_per_byte_model += member->bits_per_byte_model * share;
            mean->posterior += member->posterior * share;
            mean->forwards += member->forwards;
            mean->tokens += member->tokens;
            mean->windows += member->windows;
            mean->seconds += member->seconds;
        }
    }
    for (size_t i = 0; i < score->n; i++) {
        const double best = score->means[total->best].bits_per_byte;
        if (score->means[i].bits_per_byte < best || isnan(best)) {
            total->best = i;
        }
    }
    return EXIT_FINE;
}

static int score_all(struct score *score) {
    struct cli *cli = score->work->cli;
    int code = EXIT_FINE;
    for (size_t i = 0; code == EXIT_FINE && i < score->n_windows; i++) {
        if (score->window_bytes > 0) {
            tty_progress_show(&cli->progress, "scoring", "windows",
                              (double)i / (double)score->n_windows);
        }
        code = score_window(score, &score->windows[i]);
    }
    tty_progress_clear(&cli->progress);
    return code == EXIT_FINE ? add_up(score) : code;
}

/* ---- the result ---- */

static void members_json(struct json *json, const struct packllm_member_score *members, size_t n) {
    json_key(json, "members");
    json_begin_array(json);
    for (size_t i = 0; i < n; i++) {
        json_begin_object(json);
        json_key_text(json, "name", members[i].name);
        json_key_double(json, "weight", members[i].weight);
        if (isfinite(members[i].posterior)) {
            json_key_double(json, "posterior", members[i].posterior);
        }
        json_key_double(json, "bits_per_byte", members[i].bits_per_byte);
        json_key_double(json, "bits_per_byte_model", members[i].bits_per_byte_model);
        json_key_uint(json, "forwards", members[i].forwards);
        json_key_uint(json, "tokens", members[i].tokens);
        json_key_uint(json, "windows", members[i].windows);
        json_key_double(json, "seconds", members[i].seconds);
        json_end_object(json);
    }
    json_end_array(json);
}

/* What the running mixture of bayes or hedge says about itself. */
static void mixture_json(struct json *json, double posterior, double regret, double bound) {
    if (isfinite(regret)) {
        json_key_double(json, "posterior", posterior);
        json_key_double(json, "regret", regret);
        json_key_double(json, "regret_bound", bound);
    }
}

static void windows_json(struct json *json, const struct score *score) {
    json_key_uint(json, "window", score->window_bytes);
    json_key(json, "windows");
    json_begin_array(json);
    for (size_t i = 0; i < score->n_windows; i++) {
        const struct window *window = &score->windows[i];
        json_begin_object(json);
        json_key_uint(json, "offset", window->start);
        json_key_uint(json, "bytes", window->score.bytes);
        json_key_uint(json, "context_bytes", window->score.context_bytes);
        json_key_double(json, "bits_per_byte", window->score.bits_per_byte);
        members_json(json, window->members, score->n);
        mixture_json(json, window->score.posterior, window->score.regret,
                     window->score.regret_bound);
        json_key_uint(json, "resyncs", window->score.resyncs);
        json_end_object(json);
    }
    json_end_array(json);
}

static void score_json(struct buf *out, const struct score *score) {
    const struct table_score *total = &score->total;
    const struct packllm_member_score *best = &score->means[total->best];
    const struct packllm_session_params *params = &score->work->session_params;
    struct json json;
    json_init(&json, out);
    json_begin_object(&json);
    mapping_json(&json, score->work, score->windows[0].score.reference);
    json_key_text(&json, "pool", packllm_pool_name(params->pool));
    json_key_text(&json, "weights", packllm_weigher_name(params->weigher));
    json_key_uint(&json, "bytes", total->bytes);
    input_json(&json, score->work->cli);
    json_key_uint(&json, "context_bytes", total->context_bytes);
    json_key_double(&json, "bits_per_byte", total->bits_per_byte);
    members_json(&json, score->means, score->n);
    mixture_json(&json, score->posterior, score->regret, score->regret_bound);
    json_key_uint(&json, "resyncs", total->resyncs);
    json_key(&json, "best_member"); /* with hindsight: the fewest canonical bits/byte */
    json_begin_object(&json);
    json_key_text(&json, "name", best->name);
    json_key_double(&json, "bits_per_byte", best->bits_per_byte);
    json_key_double(&json, "bits_per_byte_model", best->bits_per_byte_model);
    json_end_object(&json);
    json_key_uint(&json, "jensen_violations", score->jensen_violations);
    if (score->params.next) {
        json_key(&json, "next");
        json_begin_array(&json);
        for (size_t i = 0; i < PACKLLM_EVENTS; i++) {
            json_double(&json, score->windows[0].score.next[i]);
        }
        json_end_array(&json);
    }
    if (score->window_bytes > 0) {
        windows_json(&json, score);
    }
    json_key(&json, "seconds");
    json_begin_object(&json);
    json_key_double(&json, "evaluate", score->seconds_evaluate);
    json_key_double(&json, "solve", score->seconds_solve);
    json_end_object(&json);
    json_end_object(&json);
}

static int print(struct score *score) {
    struct cli *cli = score->work->cli;
    struct buf out;
    buf_init(&out, RESULT_CEILING);
    int code;
    if (score->jensen_violations > 0) {
        ui_warn(cli, "%llu bytes break NLL(pool) <= sum of the members': a bug, please report it",
                (unsigned long long)score->jensen_violations);
    }
    if (cli->json) {
        score_json(&out, score);
        code = output_json(cli, &out);
    } else {
        table_scores(&out, &score->total, STDOUT_FILENO);
        if (isfinite(score->regret)) {
            (void)buf_printf(&out,
                             "running mixture: %.3f nats above its best expert, at most %.3f\n",
                             score->regret, score->regret_bound);
        }
        code = output_buf(cli, &out);
    }
    buf_done(&out);
    return code;
}

static int go(struct score *score) {
    struct cli *cli = score->work->cli;
    score->params = packllm_score_params_default();
    score->params.through_generation = opt_set(&cli->args, OPT_THROUGH_GENERATION);
    score->params.next = opt_set(&cli->args, OPT_NEXT);
    int code = cut_windows(score);
    if (code == EXIT_FINE && opt_set(&cli->args, OPT_PER_BYTE)) {
        code = output_file_open(cli, &score->per_byte, opt_text(&cli->args, OPT_PER_BYTE));
        score->params.per_byte = on_byte;
        score->params.per_byte_data = score;
    }
    if (code == EXIT_FINE) {
        code = score_all(score);
    }
    int closed = output_file_close(cli, &score->per_byte, code == EXIT_FINE);
    code = code == EXIT_FINE ? closed : code;
    return code == EXIT_FINE ? print(score) : code;
}

/* What the options say about each other. */
static int check(struct cli *cli) {
    const struct args *args = &cli->args;
    bool window = opt_set(args, OPT_WINDOW);
    if (opt_set(args, OPT_NEXT) && (window || !cli->json)) {
        return ui_fail(cli, EXIT_USE, "--next needs --json and goes without --window");
    }
    if (opt_set(args, OPT_WINDOWS) && !window) {
        return ui_fail(cli, EXIT_USE, "--windows needs --window W, the bytes of each");
    }
    if (window && opt_set(args, OPT_CONTEXT_BYTES) &&
        opt_int(args, OPT_CONTEXT_BYTES) >= opt_int(args, OPT_WINDOW)) {
        return ui_fail(
            cli, EXIT_USE, "--context-bytes: %lld leaves nothing to score in windows of %lld bytes",
            (long long)opt_int(args, OPT_CONTEXT_BYTES), (long long)opt_int(args, OPT_WINDOW));
    }
    return EXIT_FINE;
}

int cmd_score(struct cli *cli) {
    struct work work;
    struct buf text;
    bool going = false;
    int code = check(cli);
    if (code != EXIT_FINE) {
        return code;
    }
    buf_init(&text, PROMPT_CEILING);
    code = work_begin(&work, cli, &text, &going);
    if (going) {
        struct score score = {.work = &work, .text = &text, .n = work.n};
        code = go(&score);
        for (size_t i = 0; i < score.n_windows; i++) {
            base_free(score.windows[i].members);
        }
        base_free(score.windows);
        base_free(score.means);
    }
    work_done(&work);
    buf_done(&text);
    return code;
}
