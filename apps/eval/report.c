/* report.c - see report.h. */
#include "eval/report.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "common/json.h"
#include "common/tty.h"
#include "eval/write.h"

enum { ROUNDS = 1000 }; /* of the bootstrap */
#define SEED 17
#define BITS_PER_NAT 1.4426950408889634

/* The questions of one task, or of all with options. */
struct pool {
    const struct eval_task *tasks;
    size_t first, end; /* tasks */
    size_t n;          /* questions */
    const char *name;
    bool pooled; /* leaves out what was written */
};

static bool left_out(const struct pool *pool, size_t t) {
    return pool->pooled && pool->tasks[t].task->generation;
}

static struct grade_mark mark_written(const struct eval_record *r, size_t method) {
    const char *text = r->texts[method];
    struct grade_mark mark = {.right_norm = grade_exact(text, r->answer), .gold_nll = (double)NAN};
    mark.right = grade_is_number(r->answer) ? grade_number(text, r->answer) : mark.right_norm;
    return mark;
}

static void mark(const struct pool *pool, size_t method, struct grade_mark *out) {
    for (size_t t = pool->first, at = 0; t < pool->end; t++) {
        for (size_t i = 0; i < pool->tasks[t].n && !left_out(pool, t); i++) {
            const struct eval_record *r = &pool->tasks[t].records[i];
            if (r->texts != NULL) {
                out[at++] = mark_written(r, method);
                continue;
            }
            out[at++] =
                grade_choice(r->nll + method * r->n_options, r->bytes, r->n_options, r->gold);
        }
    }
}

static void add_figures(const struct pool *pool, size_t method, const struct eval *e,
                        struct report_row *row) {
    int32_t alone = e->methods->list[method].member;
    double share = 1 / (double)pool->n;
    for (size_t t = pool->first; t < pool->end; t++) {
        for (size_t i = 0; i < pool->tasks[t].n && !left_out(pool, t); i++) {
            const struct eval_record *r = &pool->tasks[t].records[i];
            row->number += r->texts != NULL && grade_number(r->texts[method], r->answer);
            row->loss += r->loss[method] * BITS_PER_NAT * share;
            row->own += r->own[method];
            row->everything += r->seconds;
            for (size_t k = 0; k < e->n_members; k++) {
                row->weights[k] += r->weights[method * e->n_members + k] * share;
                row->seconds += alone < 0 || alone == (int32_t)k ? r->reading[k] : 0;
                row->forward += r->forward[k];
                row->tokens += (uint64_t)r->tokens[k];
            }
        }
    }
    row->seconds += row->own;
}

/* The member, of those asked for, with the most questions right; of equal ones the one of the lower
 * gold_nll. n_methods: none. */
static size_t best_member(const struct report_row *rows, const struct methods *methods) {
    size_t best = methods->n;
    for (size_t k = 0; k < methods->n; k++) {
        if (methods->list[k].member < 0 || rows[k].none) {
            continue;
        }
        const struct grade_sum *a = &rows[k].sum, *b = best < methods->n ? &rows[best].sum : NULL;
        if (b == NULL || a->correct > b->correct ||
            (a->correct == b->correct && a->gold_nll < b->gold_nll)) {
            best = k;
        }
    }
    return best;
}

static enum packllm_status make_rows(const struct pool *pool, const struct eval *e,
                                     struct report_row *rows, struct packllm_error *err) {
    size_t m = e->methods->n;
    struct grade_mark *marks = alloc_array(m * pool->n, sizeof *marks);
    if (marks == NULL) {
        return fail_memory(err, m * pool->n * sizeof *marks);
    }
    bool written = pool->tasks[pool->first].task->generation && !pool->pooled;
    for (size_t k = 0; k < m; k++) {
        rows[k].task = pool->name;
        rows[k].written = written;
        rows[k].none = written && !eval_writes(&e->methods->list[k]);
        rows[k].method = e->methods->names[k];
        if (rows[k].none) {
            continue;
        }
        mark(pool, k, marks + k * pool->n);
        rows[k].sum = grade_add_up(marks + k * pool->n, pool->n);
        add_figures(pool, k, e, &rows[k]);
    }
    size_t best = best_member(rows, e->methods);
    enum packllm_status status = PACKLLM_OK;
    for (size_t k = 0; k < m && best < m && status >= 0; k++) {
        if (k != best && !rows[k].none) {
            rows[k].against = e->methods->names[best];
            if (!grade_compare(marks + k * pool->n, marks + best * pool->n, pool->n, SEED, ROUNDS,
                               &rows[k].pair)) {
                status = fail_memory(err, ROUNDS * sizeof(double));
            }
        }
    }
    base_free(marks);
    return status;
}

enum packllm_status report_make(struct report *report, const struct eval_task *done, size_t n,
                                const struct eval *e, struct packllm_error *err) {
    size_t m = e->methods->n, choices = 0;
    for (size_t t = 0; t < n; t++) {
        choices += !done[t].task->generation;
    }
    size_t groups = choices > 1 ? n + 1 : n;
    enum packllm_status status = PACKLLM_OK;
    *report = (struct report){.n_tasks = groups, .n_methods = m, .n_members = e->n_members};
    report->rows = alloc_zero(groups * m, sizeof *report->rows);
    if (report->rows == NULL) {
        return fail_memory(err, groups * m * sizeof *report->rows);
    }
    report->n = groups * m;
    for (size_t k = 0; k < report->n && status >= 0; k++) {
        report->rows[k].weights = alloc_zero(e->n_members, sizeof(double));
        status = report->rows[k].weights != NULL ? status : fail_memory(err, e->n_members * 8);
    }
    for (size_t g = 0; g < groups && status >= 0; g++) {
        struct pool pool = {.tasks = done, .first = g < n ? g : 0, .end = g < n ? g + 1 : n};
        pool.name = g < n ? done[g].task->name : "all";
        pool.pooled = g == n;
        for (size_t t = pool.first; t < pool.end; t++) {
            pool.n += left_out(&pool, t) ? 0 : done[t].n;
        }
        status = make_rows(&pool, e, report->rows + g * m, err);
    }
    if (status < 0) {
        report_done(report);
    }
    return status;
}

void report_done(struct report *report) {
    for (size_t k = 0; k < report->n; k++) {
        base_free(report->rows[k].weights);
    }
    base_free(report->rows);
    *report = (struct report){0};
}

/* ---- JSON ---- */

static void against_json(struct json *json, const struct report_row *row) {
    const struct grade_pair *p = &row->pair;
    json_key(json, "against");
    if (row->against == NULL) {
        json_nothing(json);
        return;
    }
    json_begin_object(json);
    json_key_text(json, "method", row->against);
    json_key_uint(json, "won", p->won);
    json_key_uint(json, "lost", p->lost);
    json_key_double(json, "difference", p->difference);
    json_key_double(json, "low", p->low);
    json_key_double(json, "high", p->high);
    json_key_double(json, "mcnemar", p->mcnemar);
    json_key_double(json, "nll_difference", p->nll_difference);
    json_key_double(json, "nll_low", p->nll_low);
    json_key_double(json, "nll_high", p->nll_high);
    json_end_object(json);
}

void report_json(const struct report *report, const char *const *members, struct buf *out) {
    for (size_t k = 0; k < report->n; k++) {
        const struct report_row *row = &report->rows[k];
        struct json json;
        if (row->none) {
            continue;
        }
        json_init(&json, out);
        json_begin_object(&json);
        json_key_text(&json, "task", row->task);
        json_key_text(&json, "method", row->method);
        json_key_uint(&json, "items", row->sum.items);
        json_key_uint(&json, "correct", row->sum.correct);
        json_key_double(&json, "accuracy", row->sum.accuracy);
        json_key_double(&json, "stderr", row->sum.stderr_accuracy);
        if (row->written) {
            json_key_uint(&json, "exact", row->sum.correct_norm);
            json_key_uint(&json, "number", row->number);
        } else {
            json_key_uint(&json, "correct_norm", row->sum.correct_norm);
            json_key_double(&json, "accuracy_norm", row->sum.accuracy_norm);
            json_key_double(&json, "stderr_norm", row->sum.stderr_norm);
            json_key_double(&json, "gold_nll", row->sum.gold_nll);
            json_key_double(&json, "stderr_nll", row->sum.stderr_nll);
        }
        json_key_double(&json, "context_bits_per_byte", row->loss);
        json_key(&json, "weights");
        json_begin_object(&json);
        for (size_t i = 0; i < report->n_members; i++) {
            json_key_double(&json, members[i], row->weights[i]);
        }
        json_end_object(&json);
        against_json(&json, row);
        json_key_uint(&json, "tokens", row->tokens);
        json_key_double(&json, "seconds", row->seconds);
        json_key_double(&json, "seconds_own", row->own);
        json_key_double(&json, "seconds_all", row->everything);
        json_key_double(&json, "seconds_forward", row->forward);
        json_end_object(&json);
        (void)buf_add_text(out, "\n");
    }
}

/* ---- tables ---- */

static void percent(struct buf *out, double share, double error) {
    (void)buf_printf(out, "  %5.1f", 100 * share);
    if (isfinite(error)) {
        (void)buf_printf(out, " ± %4.1f", 100 * error);
    } else {
        (void)buf_add_text(out, "       ");
    }
}

static void table_row(const struct report_row *row, size_t width, struct buf *out) {
    tty_pad(out, row->method, width);
    percent(out, row->sum.accuracy, row->sum.stderr_accuracy);
    percent(out, row->sum.accuracy_norm, row->sum.stderr_norm);
    if (row->written) {
        (void)buf_printf(out, "  %8s", "");
    } else {
        (void)buf_printf(out, "  %8.4f", row->sum.gold_nll);
    }
    if (row->against != NULL) {
        (void)buf_printf(out, "  %+5.1f [%+5.1f, %+5.1f]  %6.3f", 100 * row->pair.difference,
                         100 * row->pair.low, 100 * row->pair.high, row->pair.mcnemar);
    }
    (void)buf_add_text(out, "\n");
}

void report_table(const struct report *report, struct buf *out) {
    size_t width = 6;
    for (size_t k = 0; k < report->n_methods; k++) {
        size_t columns = tty_columns(report->rows[k].method, strlen(report->rows[k].method));
        columns = columns > 22 ? 22 : columns;
        width = columns > width ? columns : width;
    }
    for (size_t g = 0; g < report->n_tasks; g++) {
        const struct report_row *rows = report->rows + g * report->n_methods;
        const char *against = NULL;
        size_t items = 0;
        for (size_t k = 0; k < report->n_methods; k++) {
            items = rows[k].sum.items > 0 ? rows[k].sum.items : items;
            against = rows[k].against != NULL ? rows[k].against : against;
        }
        (void)buf_add_text(out, g > 0 ? "\n" : "");
        tty_safe(out, rows[0].task, strlen(rows[0].task), true);
        (void)buf_printf(out, ", %zu questions\n", items);
        tty_pad(out, "method", width);
        bool written = rows[0].written;
        (void)buf_printf(out, "  %12s  %12s  %8s%s\n", "accuracy", written ? "exact" : "per byte",
                         written ? "" : "gold nll",
                         against != NULL ? "  against the best member   McNemar" : "");
        for (size_t k = 0; k < report->n_methods; k++) {
            if (!rows[k].none) {
                table_row(&rows[k], width, out);
            }
        }
        size_t told = 0; /* at least one has figures */
        while (rows[told].none) {
            told++;
        }
        (void)buf_printf(out, "%.1f s, %.1f s of them in the members' models, %llu tokens\n",
                         rows[told].everything, rows[told].forward,
                         (unsigned long long)rows[told].tokens);
        if (against != NULL) {
            (void)buf_add_text(out, "best member: ");
            tty_safe(out, against, strlen(against), true);
            (void)buf_add_text(out, "\n");
        }
    }
}
