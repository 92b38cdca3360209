/* cmd_bench.c - `packllm bench`: speed of the members alone and of the pack, from one loaded pack
 * and in one run, so that the ratios compare like with like.
 *
 * overhead = the pack's time per byte / sum over members of their own time per byte - 1, the members
 * decoding the very bytes that the pack wrote, plainly, one token after another. Extra forwards of
 * covers therefore count; a member of weight 0 is
 * not evaluated and not in the sum. glue = share of the pack's time spent outside libllama. Of several
 * repetitions the fastest of each kind counts. Several texts at a time: bench_many.c. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "bench.h"

enum { WORD_MOST = 32 }; /* bytes */

/* A text to read where none is given: long enough after repetition, plain English. */
static const char passage[] =
    "The harbour lay quiet in the early morning. Two fishing boats had come in during the night, "
    "and their crews were sorting the catch under a single lamp. An old man with a grey dog walked "
    "along the wall, counting the steps as he did every day, and stopped where the ferry would "
    "land "
    "at nine. He had been a pilot once, and he still read the water before he read the paper: the "
    "wind was turning, the tide would be late, and by noon there would be rain over the hills. ";

static bool inside(const char *text, size_t at) {
    return ((unsigned char)text[at] & 0xc0) == 0x80;
}

int bench_text(struct bench *bench, size_t size, size_t k, size_t n) {
    const char *from = bench->given->size > 0 ? bench->given->data : passage;
    size_t length = bench->given->size > 0 ? bench->given->size : sizeof passage - 1;
    size_t at = length / n * k;
    while (at > 0 && inside(from, at)) {
        at--;
    }
    buf_cut(&bench->text, 0);
    while (bench->text.size < size && !bench->text.failed) {
        size_t rest = size - bench->text.size, there = length - at;
        size_t take = there < rest ? there : rest;
        while (take < there && take > 0 && inside(from, at + take)) {
            take--;
        }
        if (take == 0) {
            break;
        }
        (void)buf_add(&bench->text, from + at, take);
        at = 0;
    }
    /* It ends with a word, as prompts do: inside one, members that are fused in tokens would read the
     * prompt's other ends before they write. */
    for (size_t end = bench->text.size; end > 1 && end + WORD_MOST > bench->text.size; end--) {
        if (bench->text.data[end - 1] == ' ') {
            buf_cut(&bench->text, end - 1);
            break;
        }
    }
    return bench->text.failed || bench->text.size == 0
               ? ui_fail(bench->work->cli, EXIT_WORK, "the text cannot be made %zu bytes long",
                         size)
               : EXIT_FINE;
}

struct row *bench_row(struct bench *bench, const char *what, const char *name) {
    struct row *rows = alloc_resize(bench->rows, bench->n_rows + 1, sizeof *rows);
    if (rows == NULL) {
        return NULL;
    }
    bench->rows = rows;
    rows[bench->n_rows] = (struct row){.what = what,
                                       .name = name,
                                       .overhead = (double)NAN,
                                       .glue = (double)NAN,
                                       .ratio = (double)NAN,
                                       .seconds = (double)INFINITY};
    return &rows[bench->n_rows++];
}

/* A row for the members in turn, then the pack's. */
static struct row *next_row(struct bench *bench, size_t i) {
    return i == bench->n ? bench_row(bench, "pack", "pack")
                         : bench_row(bench, "member", bench_member(bench, i));
}

const char *bench_member(const struct bench *bench, size_t member) {
    return bench->work->specs[member].name;
}

/* ---- pp: evaluating a prompt ---- */

static int weigh_once(struct bench *bench, struct packllm_weights *out_weights,
                      double *out_seconds) {
    struct work *work = bench->work;
    int code = work_session(work); /* nothing to reuse */
    if (code != EXIT_FINE) {
        return code;
    }
    double start = base_clock();
    enum packllm_status status =
        packllm_session_weigh(work->session, bench->text.data, bench->text.size, &work->err);
    *out_seconds = base_clock() - start;
    tty_progress_clear(&work->cli->progress);
    if (status == PACKLLM_OK) {
        status = packllm_session_weights(work->session, out_weights);
    }
    return status < 0 ? ui_status(work->cli, status, &work->err) : EXIT_FINE;
}

static int measure_prompt(struct bench *bench, int64_t tokens) {
    struct packllm_weights weights;
    double seconds = 0, per_byte = 0;
    int code = bench_text(bench, 1024, 0, 1); /* how many bytes a token has; warms up, too */
    code = code == EXIT_FINE ? weigh_once(bench, &weights, &seconds) : code;
    if (code != EXIT_FINE) {
        return code;
    }
    for (size_t i = 0; i < bench->n; i++) {
        per_byte += (double)weights.members[i].tokens / (double)weights.bytes / (double)bench->n;
    }
    double size = per_byte > 0 ? (double)tokens / per_byte : (double)tokens * 4;
    code = bench_text(bench, (size_t)size, 0, 1);
    size_t first = bench->n_rows;
    for (size_t i = 0; code == EXIT_FINE && i < bench->n + 1; i++) {
        struct row *row = next_row(bench, i);
        if (row == NULL) {
            return ui_fail(bench->work->cli, EXIT_WORK, "out of memory");
        }
        (void)snprintf(row->test, sizeof row->test, "pp%lld", (long long)tokens);
    }
    for (int64_t r = 0; code == EXIT_FINE && r < bench->repeat; r++) {
        code = weigh_once(bench, &weights, &seconds);
        for (size_t i = 0; code == EXIT_FINE && i < bench->n; i++) {
            struct row *row = &bench->rows[first + i];
            row->bytes = (double)weights.bytes;
            row->tokens = (double)weights.members[i].tokens;
            row->seconds = fmin(row->seconds, weights.members[i].seconds);
        }
        struct row *pack = &bench->rows[first + bench->n];
        pack->bytes = (double)bench->text.size;
        pack->tokens = (double)NAN; /* the members' differ */
        pack->seconds = fmin(pack->seconds, seconds);
    }
    return code;
}

/* ---- tg: generating ---- */

struct generated {
    struct buf text; /* prompt and what was written */
    size_t prompt;   /* bytes */
    uint64_t tokens;
    double seconds, inside; /* wall time, time inside libllama */
    bool *worked;           /* [n], whether the member was evaluated at all (weight above 0) */
};

static int generate(struct bench *bench, struct generated *out) {
    struct work *work = bench->work;
    struct packllm_stats stats;
    int code = work_session(work);
    if (code != EXIT_FINE) {
        return code;
    }
    buf_cut(&out->text, 0);
    (void)buf_add(&out->text, bench->text.data, bench->text.size);
    out->prompt = bench->text.size;
    enum packllm_status status =
        packllm_session_prompt(work->session, bench->text.data, bench->text.size, &work->err);
    tty_progress_clear(&work->cli->progress);
    double start = base_clock();
    while (status >= 0 && status != PACKLLM_FINISHED) {
        struct packllm_piece piece = {.text = ""};
        status = packllm_session_step(work->session, &piece, &work->err);
        if (status >= 0 && piece.size > 0) {
            (void)buf_add(&out->text, piece.text, piece.size);
        }
    }
    out->seconds = base_clock() - start;
    if (status >= 0) {
        status = packllm_session_stats(work->session, &stats, &work->err);
    }
    if (status < 0 || stop_asked()) {
        return ui_status(work->cli, status, &work->err);
    }
    out->tokens = stats.tokens;
    out->inside = 0;
    for (size_t i = 0; i < stats.n_members; i++) {
        out->inside += stats.members[i].seconds;
        out->worked[i] = stats.members[i].weight > 0;
    }
    if (out->text.failed || out->text.size == out->prompt) {
        return ui_fail(work->cli, EXIT_WORK, "bench: the pack wrote nothing after %zu bytes",
                       out->prompt);
    }
    return EXIT_FINE;
}

static int decode_plain(struct bench *bench, const struct generated *text, size_t member,
                        struct row *row) {
    struct work *work = bench->work;
    double seconds = 0;
    uint64_t tokens = 0;
    enum packllm_status status =
        packllm_bench_plain(work->pack, member, text->text.data, text->text.size, text->prompt,
                            &seconds, &tokens, &work->err);
    if (status < 0 || stop_asked()) {
        return ui_status(work->cli, status, &work->err);
    }
    row->bytes = (double)(text->text.size - text->prompt);
    row->tokens = (double)tokens;
    row->seconds = fmin(row->seconds, seconds);
    return EXIT_FINE;
}

static int add_generation_rows(struct bench *bench, int64_t tokens) {
    for (size_t i = 0; i < bench->n + 1; i++) {
        struct row *row = next_row(bench, i);
        if (row == NULL) {
            return ui_fail(bench->work->cli, EXIT_WORK, "out of memory");
        }
        row->context_bytes = bench->text.size;
        (void)snprintf(row->test, sizeof row->test, "tg%lld", (long long)tokens);
    }
    return EXIT_FINE;
}

static int measure_generation(struct bench *bench, int64_t tokens, size_t depth) {
    struct generated text;
    buf_init(&text.text, RESULT_CEILING);
    text.worked = alloc_zero(bench->n, sizeof *text.worked);
    if (text.worked == NULL) {
        return ui_fail(bench->work->cli, EXIT_WORK, "out of memory");
    }
    size_t first = bench->n_rows;
    int code = bench_text(bench, depth, 0, 1);
    code = code == EXIT_FINE ? add_generation_rows(bench, tokens) : code;
    for (int64_t r = 0; code == EXIT_FINE && r < bench->repeat; r++) {
        code = generate(bench, &text); /* greedy: the same text each time */
        struct row *pack = &bench->rows[first + bench->n];
        if (code == EXIT_FINE && text.seconds < pack->seconds) {
            pack->bytes = (double)(text.text.size - text.prompt);
            pack->tokens = (double)text.tokens;
            pack->seconds = text.seconds;
            pack->glue = 1 - text.inside / text.seconds;
        }
        for (size_t i = 0; code == EXIT_FINE && i < bench->n; i++) {
            code = decode_plain(bench, &text, i, &bench->rows[first + i]);
        }
    }
    if (code == EXIT_FINE) {
        double alone = 0;
        struct row *pack = &bench->rows[first + bench->n];
        for (size_t i = 0; i < bench->n; i++) {
            const struct row *row = &bench->rows[first + i];
            alone += text.worked[i] ? row->seconds / row->bytes : 0;
        }
        pack->overhead = pack->seconds / pack->bytes / alone - 1;
    }
    base_free(text.worked);
    buf_done(&text.text);
    return code;
}

/* ---- the result ---- */

static void print_json_row(struct json *json, const struct row *row) {
    json_begin_object(json);
    json_key_text(json, "what", row->what);
    json_key_text(json, "name", row->name);
    json_key_text(json, "test", row->test);
    json_key_double(json, "tokens_per_s", row->tokens / row->seconds);
    json_key_double(json, "bytes_per_s", row->bytes / row->seconds);
    json_key_double(json, "overhead", row->overhead);
    json_key_double(json, "glue", row->glue);
    json_key_uint(json, "context_bytes", row->context_bytes);
    json_key_uint(json, "bytes", (uint64_t)row->bytes);
    json_key_double(json, "seconds", row->seconds);
    if (row->parallel > 0) {
        json_key_uint(json, "parallel", row->parallel);
        json_key_double(json, "ratio", row->ratio);
    }
    json_end_object(json);
}

static void print_table_row(struct buf *out, const struct row *row) {
    double tokens = row->tokens / row->seconds;
    tty_pad(out, row->name, 24);
    (void)buf_printf(out, "  %-7s  %7llu", row->test, (unsigned long long)row->context_bytes);
    if (isfinite(tokens)) {
        (void)buf_printf(out, "  %8.1f", tokens);
    } else {
        (void)buf_printf(out, "  %8s", "-");
    }
    (void)buf_printf(out, "  %8.1f", row->bytes / row->seconds);
    if (isfinite(row->overhead)) {
        (void)buf_printf(out, "  %6.1f %%", 100 * row->overhead);
    } else if (row->parallel > 0) {
        (void)buf_printf(out, "  %8s", "");
    }
    if (isfinite(row->glue)) {
        (void)buf_printf(out, "  %4.1f %%", 100 * row->glue);
    } else if (row->parallel > 0) {
        (void)buf_printf(out, "  %6s", "");
    }
    if (isfinite(row->ratio)) {
        (void)buf_printf(out, "  %5.2f", row->ratio);
    }
    (void)buf_add_text(out, "\n");
}

static int print(struct bench *bench) {
    struct buf out;
    buf_init(&out, RESULT_CEILING);
    if (!bench->work->cli->json) {
        (void)buf_printf(&out, "%-24s  %-7s  %7s  %8s  %8s  %8s  %6s%s\n", "what", "test",
                         "context", "tokens/s", "bytes/s", "overhead", "glue",
                         opt_text(&bench->work->cli->args, OPT_PARALLELS) != NULL ? "  ratio" : "");
    }
    for (size_t i = 0; i < bench->n_rows; i++) {
        if (bench->work->cli->json) { /* one object a line */
            struct json json;
            json_init(&json, &out);
            print_json_row(&json, &bench->rows[i]);
            (void)buf_add_text(&out, "\n");
        } else {
            print_table_row(&out, &bench->rows[i]);
        }
    }
    int code = output_buf(bench->work->cli, &out);
    buf_done(&out);
    return code;
}

static int measure(struct bench *bench, int64_t tokens, size_t depth) {
    size_t many[BENCH_PARALLEL], n = 0;
    int code = measure_generation(bench, tokens, depth);
    code = code == EXIT_FINE ? bench_parallel(bench->work->cli, many, &n) : code;
    for (size_t i = 0; code == EXIT_FINE && i < n; i++) {
        code = bench_many(bench, tokens, depth, many[i]);
    }
    return code;
}

/* --n-depth: whole numbers parted by commas. Measures each, or only checks them. */
static int each_depth(struct bench *bench, struct cli *cli) {
    const char *list = opt_text(&cli->args, OPT_N_DEPTH);
    int code = EXIT_FINE;
    for (const char *p = list; p != NULL && code == EXIT_FINE;) {
        char one[32] = "";
        int64_t depth = 0;
        size_t size = strcspn(p, ",");
        if (size < sizeof one) {
            memcpy(one, p, size);
            one[size] = '\0';
        }
        if (number_int(one, &depth) != NUMBER_OK || depth < 1 || depth > PROMPT_CEILING) {
            return ui_fail(cli, EXIT_USE, "--n-depth %s: '%.*s' is not a whole number from 1 to %d",
                           list, (int)(size < 64 ? size : 64), p, PROMPT_CEILING);
        }
        if (bench != NULL) {
            code = measure(bench, opt_int(&cli->args, OPT_N_GEN), (size_t)depth);
        }
        p = p[size] == ',' ? p + size + 1 : NULL;
    }
    return code;
}

int cmd_bench(struct cli *cli) {
    struct work work;
    struct buf text;
    bool going = false;
    int code = each_depth(NULL, cli);
    if (code != EXIT_FINE) {
        return code;
    }
    bool given = cli->args.n_operands > 0 || opt_set(&cli->args, OPT_PROMPT) ||
                 opt_set(&cli->args, OPT_FILE);
    buf_init(&text, PROMPT_CEILING);
    code = work_begin(&work, cli, given ? &text : NULL, &going);
    if (going) {
        struct bench bench = {.work = &work, .given = &text, .n = work.n};
        bench.repeat = opt_int(&cli->args, OPT_REPEAT);
        buf_init(&bench.text, PROMPT_CEILING);
        work.session_params.max_tokens = opt_int(&cli->args, OPT_N_GEN);
        work.session_params.sampling.temp = 0;
        work.session_params.sampling.ignore_eos = true;
        code = measure_prompt(&bench, opt_int(&cli->args, OPT_N_PROMPT));
        code = code == EXIT_FINE ? each_depth(&bench, cli) : code;
        code = code == EXIT_FINE ? print(&bench) : code;
        base_free(bench.rows);
        buf_done(&bench.text);
    }
    work_done(&work);
    buf_done(&text);
    return code;
}
