/* bench_many.c - `packllm bench --parallel`: n texts at a time. The pack writes them in common batches
 * (packllm_step_many), each behind another cut of the text. The peer is what the hardware and libllama
 * give: each member alone decodes the same n texts, one token of each in a batch. Ratios are bytes a
 * second over those of one text at a time, in the same run. */
#define PACKLLM_EXPERIMENTAL
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

struct many {
    size_t n;
    struct packllm_session *sessions[BENCH_PARALLEL];
    struct buf text[BENCH_PARALLEL]; /* prompt and what was written */
    size_t prompt[BENCH_PARALLEL];   /* bytes */
    bool *worked;                    /* [n][n_members], whether it was evaluated at all */
    uint64_t tokens;
    double bytes, seconds, inside; /* written; wall time, time inside libllama */
};

int bench_parallel(struct cli *cli, size_t *out, size_t *out_n) {
    const char *list = opt_text(&cli->args, OPT_PARALLELS);
    bool asked[BENCH_PARALLEL + 1] = {false, true};
    *out_n = 0;
    for (const char *p = list; p != NULL;) {
        char one[32] = "";
        int64_t n = 0;
        size_t size = strcspn(p, ",");
        if (size < sizeof one) {
            memcpy(one, p, size);
            one[size] = '\0';
        }
        if (number_int(one, &n) != NUMBER_OK || n < 1 || n > BENCH_PARALLEL) {
            return ui_fail(cli, EXIT_USE,
                           "--parallel %s: '%.*s' is not a whole number from 1 to %d", list,
                           (int)(size < 64 ? size : 64), p, BENCH_PARALLEL);
        }
        asked[n] = true;
        p = p[size] == ',' ? p + size + 1 : NULL;
    }
    for (size_t n = 1; list != NULL && n <= BENCH_PARALLEL; n++) {
        if (asked[n]) {
            out[(*out_n)++] = n;
        }
    }
    return EXIT_FINE;
}

static void close_all(struct many *many) {
    stop_session(NULL);
    for (size_t k = 0; k < many->n; k++) {
        packllm_session_close(many->sessions[k]);
        many->sessions[k] = NULL;
    }
}

/* Sessions that stand behind their prompts. */
static int begin(struct bench *bench, struct many *many, size_t depth) {
    struct work *work = bench->work;
    int code = EXIT_FINE;
    packllm_session_close(work->session); /* its timeline is one of those that are needed */
    work->session = NULL;
    for (size_t k = 0; k < many->n && code == EXIT_FINE; k++) {
        code = bench_text(bench, depth, k, many->n);
        if (code != EXIT_FINE) {
            break;
        }
        buf_cut(&many->text[k], 0);
        (void)buf_add(&many->text[k], bench->text.data, bench->text.size);
        many->prompt[k] = bench->text.size;
        enum packllm_status status =
            packllm_session_open(&many->sessions[k], work->pack, &work->session_params, &work->err);
        stop_session(many->sessions[k]);
        if (status >= 0) {
            status = packllm_session_prompt(many->sessions[k], bench->text.data, bench->text.size,
                                            &work->err);
        }
        stop_session(NULL);
        if (status < 0 || stop_asked()) {
            code = ui_status(work->cli, status, &work->err);
        }
    }
    tty_progress_clear(&work->cli->progress);
    return code;
}

/* Steps until all have written their tokens. */
static int write_all(struct bench *bench, struct many *many) {
    struct work *work = bench->work;
    struct packllm_session *going[BENCH_PARALLEL];
    struct packllm_event events[BENCH_PARALLEL];
    size_t who[BENCH_PARALLEL], n = many->n;
    for (size_t k = 0; k < n; k++) {
        going[k] = many->sessions[k];
        who[k] = k;
    }
    double start = base_clock();
    while (n > 0) {
        enum packllm_status status = packllm_step_many(going, n, events, &work->err);
        size_t left = 0;
        for (size_t k = 0; k < n && status >= 0; k++) {
            status = events[k].status;
            if (status < 0) {
                work->err = events[k].error;
            } else if (status != PACKLLM_FINISHED) {
                (void)buf_add(&many->text[who[k]], events[k].piece.text, events[k].piece.size);
                going[left] = going[k];
                who[left++] = who[k];
            } else if (events[k].piece.size > 0) {
                (void)buf_add(&many->text[who[k]], events[k].piece.text, events[k].piece.size);
            }
        }
        if (status < 0 || stop_asked()) {
            return ui_status(work->cli, status, &work->err);
        }
        n = left;
    }
    many->seconds = base_clock() - start;
    return EXIT_FINE;
}

static int tally(struct bench *bench, struct many *many) {
    struct work *work = bench->work;
    many->tokens = 0;
    many->bytes = many->inside = 0;
    for (size_t k = 0; k < many->n; k++) {
        struct packllm_stats stats;
        enum packllm_status status = packllm_session_stats(many->sessions[k], &stats, &work->err);
        if (status < 0) {
            return ui_status(work->cli, status, &work->err);
        }
        many->tokens += stats.tokens;
        for (size_t i = 0; i < bench->n; i++) {
            many->inside += stats.members[i].seconds;
            many->worked[k * bench->n + i] = stats.members[i].weight > 0;
        }
        if (many->text[k].failed || many->text[k].size == many->prompt[k]) {
            return ui_fail(work->cli, EXIT_WORK, "bench: the pack wrote nothing after %zu bytes",
                           many->prompt[k]);
        }
        many->bytes += (double)(many->text[k].size - many->prompt[k]);
    }
    return EXIT_FINE;
}

/* A member alone on the texts, or on those at which it worked. No row: nothing was to do. */
static int decode(struct bench *bench, const struct many *many, size_t member, bool all,
                  struct row *row) {
    struct work *work = bench->work;
    struct packllm_plain texts[BENCH_PARALLEL];
    size_t n = 0;
    double seconds = 0;
    uint64_t tokens = 0;
    row->bytes = 0;
    for (size_t k = 0; k < many->n; k++) {
        if (all || many->worked[k * bench->n + member]) {
            texts[n++] = (struct packllm_plain){.text = many->text[k].data,
                                                .size = many->text[k].size,
                                                .context_bytes = many->prompt[k]};
            row->bytes += (double)(many->text[k].size - many->prompt[k]);
        }
    }
    if (n == 0) {
        row->seconds = 0;
        return EXIT_FINE;
    }
    enum packllm_status status =
        packllm_bench_plain_many(work->pack, member, texts, n, &seconds, &tokens, &work->err);
    if (status < 0 || stop_asked()) {
        return ui_status(work->cli, status, &work->err);
    }
    row->tokens = (double)tokens;
    row->seconds = fmin(row->seconds, seconds);
    return EXIT_FINE;
}

/* The members in turn, then all that worked one after the other, then the pack. */
static int measure(struct bench *bench, struct many *many, size_t depth, struct row *rows,
                   struct row *parts) {
    struct row *sum = &rows[bench->n], *pack = &rows[bench->n + 1];
    int code = begin(bench, many, depth);
    code = code == EXIT_FINE ? write_all(bench, many) : code;
    code = code == EXIT_FINE ? tally(bench, many) : code;
    close_all(many); /* members alone need a timeline, too */
    if (code == EXIT_FINE && many->seconds < pack->seconds) {
        pack->seconds = many->seconds;
        pack->bytes = many->bytes;
        pack->tokens = (double)many->tokens;
        pack->glue = 1 - many->inside / many->seconds;
    }
    for (size_t i = 0; code == EXIT_FINE && i < bench->n; i++) {
        size_t at = 0;
        for (size_t k = 0; k < many->n; k++) {
            at += many->worked[k * bench->n + i];
        }
        code = decode(bench, many, i, true, &rows[i]);
        if (at == many->n) {
            parts[i] = rows[i];
        } else if (code == EXIT_FINE) {
            code = decode(bench, many, i, false, &parts[i]);
        }
    }
    sum->seconds = 0;
    sum->bytes = many->bytes;
    sum->tokens = (double)NAN; /* the members' differ */
    for (size_t i = 0; i < bench->n; i++) {
        sum->seconds += parts[i].seconds;
    }
    pack->overhead = pack->seconds / sum->seconds - 1;
    return code;
}

static int add_rows(struct bench *bench, const struct many *many, int64_t tokens, size_t depth) {
    for (size_t i = 0; i < bench->n + 2; i++) {
        struct row *row = i < bench->n    ? bench_row(bench, "member", bench_member(bench, i))
                          : i == bench->n ? bench_row(bench, "members", "members")
                                          : bench_row(bench, "pack", "pack");
        if (row == NULL) {
            return ui_fail(bench->work->cli, EXIT_WORK, "out of memory");
        }
        row->context_bytes = depth;
        row->parallel = many->n;
        (void)snprintf(row->test, sizeof row->test, "tg%lldx%zu", (long long)tokens, many->n);
    }
    return EXIT_FINE;
}

/* Over the row of the same kind, at the same depth, with one text. */
static void set_ratios(struct bench *bench, size_t first) {
    for (size_t i = first; i < bench->n_rows; i++) {
        struct row *row = &bench->rows[i];
        for (size_t k = 0; k <= i; k++) {
            const struct row *one = &bench->rows[k];
            if (one->parallel == 1 && one->context_bytes == row->context_bytes &&
                strcmp(one->what, row->what) == 0 && strcmp(one->name, row->name) == 0) {
                row->ratio = row->bytes / row->seconds / (one->bytes / one->seconds);
            }
        }
    }
}

int bench_many(struct bench *bench, int64_t tokens, size_t depth, size_t n) {
    struct many many = {.n = n};
    size_t first = bench->n_rows;
    for (size_t k = 0; k < n; k++) {
        buf_init(&many.text[k], RESULT_CEILING);
    }
    many.worked = alloc_zero(n * bench->n, sizeof *many.worked);
    struct row *parts = alloc_zero(bench->n, sizeof *parts);
    int code = EXIT_FINE;
    if (many.worked == NULL || parts == NULL) {
        code = ui_fail(bench->work->cli, EXIT_WORK, "out of memory");
    }
    code = code == EXIT_FINE ? add_rows(bench, &many, tokens, depth) : code;
    for (size_t i = 0; code == EXIT_FINE && i < bench->n; i++) {
        parts[i].seconds = (double)INFINITY;
    }
    for (int64_t r = 0; code == EXIT_FINE && r < bench->repeat; r++) {
        code = measure(bench, &many, depth, &bench->rows[first], parts); /* the same texts */
    }
    if (code == EXIT_FINE) {
        set_ratios(bench, first);
    }
    for (size_t k = 0; k < n; k++) {
        buf_done(&many.text[k]);
    }
    base_free(many.worked);
    base_free(parts);
    return code;
}
