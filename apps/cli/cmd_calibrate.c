/* cmd_calibrate.c - `packllm calibrate`: the pack's settings fitted on a user's own questions or text,
 * what they change where they were not fitted, and, if asked for, a pack file that has them. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "cli.h"
#include "eval/calibrate.h"
#include "eval/grade.h"
#include "eval/task.h"

enum { TEXT_MAX = 1 << 28 };
#define ROWS_MAX ((uint64_t)4 << 30) /* bytes of rows that are kept */
#define BITS_PER_NAT 1.4426950408889634

/* What is kept of an item beside its rows. */
struct label {
    size_t n_options, gold;
    size_t bytes[TASK_CHOICES_MAX];
};

struct calibration {
    struct cli *cli;
    struct work work;
    struct task *tasks; /* [n] */
    size_t n;
    struct buf text; /* of -f */
    char *form;
    struct packllm_calibration *rows;
    struct label *labels; /* [n_items] */
    size_t n_items, room, wanted;
    double *lambda; /* scratch */
    struct calib_point before;
    struct calib_result fitted;
    double started;
    struct buf progress;
};

static bool of_text(const struct calibration *k) {
    return k->n == 0;
}

static void on_skipped(void *data, const char *message) {
    struct calibration *k = data;
    ui_warn(k->cli, "skipped: %s", message);
}

static bool show(struct calibration *k) {
    double share = (double)k->n_items / (double)k->wanted;
    buf_cut(&k->progress, 0);
    if (k->n_items > 0) {
        int seconds = (int)((base_clock() - k->started) * (1 / share - 1) + 0.5);
        (void)buf_printf(&k->progress, "%d:%02d left, ", seconds / 60, seconds % 60);
    }
    (void)buf_printf(&k->progress, "%zu/%zu", k->n_items, k->wanted);
    tty_progress_show(&k->cli->progress, "reading", k->progress.data, share);
    return !stop_asked();
}

static bool on_point(void *data, size_t points) {
    struct calibration *k = data;
    buf_cut(&k->progress, 0);
    (void)buf_printf(&k->progress, "%zu settings tried", points);
    tty_progress_show(&k->cli->progress, "fitting", k->progress.data,
                      1 - exp(-(double)points / 100)); /* how many there will be is not known */
    return !stop_asked();
}

/* ---- what it is fitted on ---- */

static int read_tasks(struct calibration *k) {
    struct cli *cli = k->cli;
    const struct args *args = &cli->args;
    struct packllm_error err = {0};
    struct task_rules rules = {
        .skip_bad = opt_set(args, OPT_SKIP_BAD), .skipped = on_skipped, .data = k};
    if (opt_set(args, OPT_TEMPLATE)) {
        rules.form = k->form = eval_unescaped(opt_text(args, OPT_TEMPLATE));
    }
    k->tasks = alloc_zero(args->n_operands, sizeof *k->tasks);
    if (k->tasks == NULL || (opt_set(args, OPT_TEMPLATE) && k->form == NULL)) {
        return ui_fail(cli, EXIT_WORK, "out of memory");
    }
    for (size_t i = 0; i < args->n_operands; i++) {
        enum packllm_status status = task_read(&k->tasks[i], args->operands[i], &rules, &err);
        if (status < 0) {
            return ui_status(cli, status, &err);
        }
        k->n++;
        if (k->tasks[i].generation) {
            return ui_fail(cli, EXIT_USE,
                           "%s: its answers are to be written; questions with \"choices\" and "
                           "\"gold\" are wanted, or a text (-f)",
                           k->tasks[i].path);
        }
        if (args->values[OPT_ORDER_SEED].set) {
            task_shuffle(&k->tasks[i], (uint64_t)opt_int(args, OPT_ORDER_SEED));
        }
    }
    return EXIT_FINE;
}

static int read_text(struct calibration *k, const char *path) {
    int code = input_file(k->cli, path, &k->text);
    size_t good = code == EXIT_FINE ? utf8_check(k->text.data, k->text.size) : 0;
    if (code != EXIT_FINE || good == k->text.size) {
        return code;
    }
    return ui_fail(k->cli, EXIT_WORK, "'%s' is not valid UTF-8: byte 0x%02x at offset %zu of %zu",
                   path, (unsigned)(unsigned char)k->text.data[good], good, k->text.size);
}

static int check_use(struct calibration *k) {
    const struct args *args = &k->cli->args;
    const char *file = opt_text(args, OPT_FILE), *out = opt_text(args, OPT_OUTPUT);
    struct stat st;
    if ((file != NULL) == (args->n_operands > 0)) {
        return ui_fail(k->cli, EXIT_USE,
                       "questions or a text are wanted%s; usage: packllm calibrate TASK.jsonl..., "
                       "or packllm calibrate -f FILE",
                       file != NULL ? ", not both" : "");
    }
    if (out != NULL && !opt_set(args, OPT_FORCE) && stat(out, &st) == 0) {
        return ui_fail(k->cli, EXIT_USE,
                       "-o %s: the file is there; --force replaces it, or give another name", out);
    }
    /* That it cannot be written is said before the work, not behind it. */
    struct output_file probe;
    int code = out != NULL ? output_file_open(k->cli, &probe, out) : EXIT_FINE;
    return out != NULL && code == EXIT_FINE ? output_file_close(k->cli, &probe, false) : code;
}

/* One more labelled text. */
static enum packllm_status add_item(struct calibration *k, const char *context, size_t size,
                                    const struct packllm_option *options, size_t n, size_t gold,
                                    struct packllm_error *err) {
    if (k->n_items == k->room) {
        size_t room = k->room * 2 + 64;
        struct label *grown = alloc_resize(k->labels, room, sizeof *grown);
        if (grown == NULL) {
            *err = (struct packllm_error){.status = PACKLLM_E_MEMORY, .message = "out of memory"};
            return PACKLLM_E_MEMORY;
        }
        k->labels = grown;
        k->room = room;
    }
    enum packllm_status status =
        packllm_calibration_add(k->rows, context, size, options, n, gold, err);
    if (status < 0) {
        return status;
    }
    struct label *label = &k->labels[k->n_items++];
    label->n_options = n;
    label->gold = gold;
    for (size_t o = 0; o < n; o++) {
        label->bytes[o] = options[o].size;
    }
    if (packllm_calibration_bytes(k->rows) > ROWS_MAX) {
        *err = (struct packllm_error){.status = PACKLLM_E_MEMORY};
        (void)snprintf(err->message, sizeof err->message,
                       "what the members say of %zu items takes more than 4 GiB: give --limit %zu",
                       k->n_items, k->n_items - 1);
        return PACKLLM_E_MEMORY;
    }
    return PACKLLM_OK;
}

static enum packllm_status add_question(struct calibration *k, const struct task *task,
                                        const struct task_item *item, struct packllm_error *err) {
    struct packllm_option options[TASK_CHOICES_MAX];
    struct buf prompt, texts[TASK_CHOICES_MAX];
    buf_init(&prompt, TEXT_MAX);
    bool fine = task_prompt(task, item, "", &prompt);
    for (size_t o = 0; o < item->n_choices; o++) {
        buf_init(&texts[o], TEXT_MAX);
        fine = fine && task_choice(&prompt, item->choices[o], &texts[o]);
        options[o] = (struct packllm_option){texts[o].data, texts[o].size};
    }
    *err = (struct packllm_error){.status = PACKLLM_E_MEMORY, .message = "out of memory"};
    enum packllm_status status =
        fine ? add_item(k, prompt.data, prompt.size, options, item->n_choices, item->gold, err)
             : PACKLLM_E_MEMORY;
    for (size_t o = 0; o < item->n_choices; o++) {
        buf_done(&texts[o]);
    }
    buf_done(&prompt);
    if (status == PACKLLM_E_CONTEXT && opt_set(&k->cli->args, OPT_SKIP_BAD)) {
        ui_warn(k->cli, "skipped: %s:%zu: %s", task->path, item->line, err->message);
        k->wanted--;
        status = PACKLLM_OK;
    }
    return status;
}

static size_t asked(const struct calibration *k, size_t n) {
    size_t limit = (size_t)opt_int(&k->cli->args, OPT_LIMIT);
    return limit > 0 && limit < n ? limit : n;
}

static enum packllm_status add_questions(struct calibration *k, struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    for (size_t t = 0; t < k->n; t++) {
        k->wanted += asked(k, k->tasks[t].n);
    }
    for (size_t t = 0; t < k->n && status >= 0; t++) {
        for (size_t i = 0; i < asked(k, k->tasks[t].n) && status >= 0; i++) {
            status = show(k) ? add_question(k, &k->tasks[t], &k->tasks[t].items[i], err)
                             : PACKLLM_E_CANCELLED;
        }
    }
    return status;
}

/* The beginning of a character at or before `at`. */
static size_t whole_at(const struct buf *text, size_t at) {
    while (at > 0 && at < text->size && ((unsigned char)text->data[at] & 0xc0) == 0x80) {
        at--;
    }
    return at;
}

/* Windows of W bytes: the first half weighs, the second is scored. Fewer than there are (--limit): from all
 * over the text. */
static enum packllm_status add_windows(struct calibration *k, struct packllm_error *err) {
    size_t window = (size_t)opt_int(&k->cli->args, OPT_CALIBRATE_WINDOW);
    size_t all = k->text.size / window;
    enum packllm_status status = PACKLLM_OK;
    k->wanted = asked(k, all);
    for (size_t i = 0; i < k->wanted && status >= 0; i++) {
        size_t low = whole_at(&k->text, i * all / k->wanted * window);
        size_t middle = whole_at(&k->text, low + window / 2),
               high = whole_at(&k->text, low + window);
        struct packllm_option rest = {k->text.data + middle, high - middle};
        status = show(k) ? add_item(k, k->text.data + low, middle - low, &rest, 1, 0, err)
                         : PACKLLM_E_CANCELLED;
    }
    return status;
}

/* ---- the fit ---- */

static enum packllm_status on_loss(void *data, size_t item, const struct calib_point *at,
                                   double *out_loss, bool *out_right, struct packllm_error *err) {
    struct calibration *k = data;
    const struct label *label = &k->labels[item];
    double nll[TASK_CHOICES_MAX];
    struct packllm_calibration_point point = {at->prior, at->temperature, at->shrink};
    enum packllm_status status =
        packllm_calibration_score(k->rows, item, &point, nll, k->lambda, err);
    if (status < 0) {
        return status;
    }
    struct grade_mark mark = grade_choice(nll, label->bytes, label->n_options, label->gold);
    *out_loss = of_text(k) ? nll[0] / (double)label->bytes[0] : mark.gold_nll;
    *out_right = mark.right;
    return PACKLLM_OK;
}

static enum packllm_status on_start(void *data, const bool *use, double *out_prior,
                                    struct packllm_error *err) {
    struct calibration *k = data;
    double gap;
    return packllm_calibration_one(k->rows, use, out_prior, &gap, err);
}

static bool read_before(struct calibration *k) {
    double sum = 0;
    size_t n = k->work.n;
    if (!calib_point_init(&k->before, n, k->work.session_params.shrink)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        sum += k->work.specs[i].member.prior;
    }
    for (size_t i = 0; i < n; i++) {
        k->before.prior[i] = k->work.specs[i].member.prior / sum;
        k->before.temperature[i] = k->work.specs[i].member.temperature;
    }
    return true;
}

static bool fits_temperatures(const struct calibration *k) {
    const char *when = opt_text(&k->cli->args, OPT_TEMPERATURES);
    return strcmp(when, "on") == 0 || (strcmp(when, "auto") == 0 && of_text(k));
}

static int fit(struct calibration *k) {
    const struct args *args = &k->cli->args;
    struct packllm_error err = {0};
    struct calib calib = {.n_members = k->work.n,
                          .folds = (size_t)opt_int(args, OPT_FOLDS),
                          .blocks = of_text(k),
                          .temperatures = fits_temperatures(k),
                          .before = &k->before,
                          .loss = on_loss,
                          .start = on_start,
                          .progress = on_point,
                          .data = k};
    k->lambda = alloc_array(k->work.n, sizeof *k->lambda);
    if (!read_before(k) || k->lambda == NULL) {
        return ui_fail(k->cli, EXIT_WORK, "out of memory");
    }
    k->started = base_clock();
    enum packllm_status status = packllm_calibration_open(&k->rows, k->work.session, &err);
    if (status >= 0) {
        status = of_text(k) ? add_windows(k, &err) : add_questions(k, &err);
    }
    tty_progress_clear(&k->cli->progress);
    if (status == PACKLLM_E_CANCELLED || stop_asked()) {
        return stop_asked() ? stop_exit() : ui_status(k->cli, status, &err);
    }
    if (status < 0) {
        return ui_status(k->cli, status, &err);
    }
    calib.n_items = k->n_items;
    if (calib.n_items < calib.folds) {
        return ui_fail(k->cli, EXIT_WORK,
                       "there are %zu %s for %zu folds: give more of them%s, or fewer --folds",
                       k->n_items, of_text(k) ? "windows" : "questions", calib.folds,
                       of_text(k) ? " (a smaller --window-bytes)" : "");
    }
    status = calib_fit(&calib, &k->fitted, &err);
    tty_progress_clear(&k->cli->progress);
    if (status == PACKLLM_E_CANCELLED && stop_asked()) {
        return stop_exit();
    }
    return status < 0 ? ui_status(k->cli, status, &err) : EXIT_FINE;
}

/* ---- the pack file ---- */

/* More than its standard error. */
static bool gains(const struct calib_result *r) {
    return r->change + (isfinite(r->stderr_change) ? r->stderr_change : 0) < 0;
}

static int write_pack(struct calibration *k) {
    char comment[256];
    const struct calib_point *at = &k->fitted.point;
    struct pack_settings settings = {at->prior, at->temperature, at->shrink, comment};
    if (!gains(&k->fitted) && !opt_set(&k->cli->args, OPT_FORCE)) {
        return ui_fail(k->cli, EXIT_WORK,
                       "nothing is written: on what they were not fitted on, the settings gain "
                       "nothing beyond the standard error; --force writes them all the same");
    }
    (void)snprintf(comment, sizeof comment,
                   "packllm calibrate %s: %zu %s, loss held out %.4f, was %.4f (nats)",
                   PACKLLM_VERSION, k->n_items, of_text(k) ? "windows" : "questions",
                   k->fitted.held_out, k->fitted.before);
    return work_write_pack(&k->work, opt_text(&k->cli->args, OPT_OUTPUT), &settings);
}

/* ---- what is told ---- */

static void result_json(const struct calibration *k, const char *written, struct buf *out) {
    const struct calib_result *r = &k->fitted;
    double unit = of_text(k) ? BITS_PER_NAT : 1, n = (double)k->n_items;
    struct json json;
    json_init(&json, out);
    json_begin_object(&json);
    json_key_text(&json, "loss", of_text(k) ? "bits_per_byte" : "gold_nll");
    json_key_uint(&json, "items", k->n_items);
    json_key_uint(&json, "folds", (uint64_t)opt_int(&k->cli->args, OPT_FOLDS));
    json_key_uint(&json, "tried", r->points);
    json_key_double(&json, "shrink", r->point.shrink);
    json_key_double(&json, "shrink_before", k->before.shrink);
    json_key(&json, "members");
    json_begin_array(&json);
    for (size_t i = 0; i < k->work.n; i++) {
        json_begin_object(&json);
        json_key_text(&json, "name", k->work.specs[i].name);
        json_key_double(&json, "prior", r->point.prior[i]);
        json_key_double(&json, "prior_before", k->before.prior[i]);
        json_key_double(&json, "temperature", r->point.temperature[i]);
        json_key_double(&json, "temperature_before", k->before.temperature[i]);
        json_end_object(&json);
    }
    json_end_array(&json);
    json_key_double(&json, "before", r->before * unit);
    json_key_double(&json, "fitted", r->fitted * unit);
    json_key_double(&json, "held_out", r->held_out * unit);
    json_key_double(&json, "change", r->change * unit);
    json_key_double(&json, "stderr", r->stderr_change * unit);
    if (!of_text(k)) {
        json_key_double(&json, "accuracy_before", (double)r->right_before / n);
        json_key_double(&json, "accuracy_held_out", (double)r->right_held_out / n);
        json_key_double(&json, "stderr_accuracy", r->stderr_right);
    }
    json_key_text(&json, "written", written);
    json_key_double(&json, "seconds", base_clock() - k->started);
    json_end_object(&json);
}

static void result_text(const struct calibration *k, struct buf *out) {
    const struct calib_result *r = &k->fitted;
    double unit = of_text(k) ? BITS_PER_NAT : 1, n = (double)k->n_items;
    const char *what = of_text(k) ? "bits per byte" : "gold nll";
    (void)buf_printf(out, "%-24s  %18s  %18s\n", "", "before", "fitted");
    for (size_t i = 0; i < k->work.n; i++) {
        const char *name = k->work.specs[i].name;
        tty_pad(out, name, 18);
        (void)buf_printf(out, " prior  %18.4f  %18.4f\n", k->before.prior[i], r->point.prior[i]);
        (void)buf_printf(out, "%24s  %18.4f  %18.4f\n", "temperature", k->before.temperature[i],
                         r->point.temperature[i]);
    }
    (void)buf_printf(out, "%-24s  %18.4f  %18.4f\n", "shrink", k->before.shrink, r->point.shrink);
    (void)buf_printf(out, "%-24s  %18.4f  %18.4f\n", what, r->before * unit, r->fitted * unit);
    (void)buf_printf(out, "\nheld out (%zu %s, %lld folds): %s %.4f, a change of %+.4f ± %.4f\n",
                     k->n_items, of_text(k) ? "windows" : "questions",
                     (long long)opt_int(&k->cli->args, OPT_FOLDS), what, r->held_out * unit,
                     r->change * unit, r->stderr_change * unit);
    if (!of_text(k)) {
        (void)buf_printf(out, "accuracy %.1f %%, before %.1f %%, a change of %+.1f ± %.1f\n",
                         100 * (double)r->right_held_out / n, 100 * (double)r->right_before / n,
                         100 * ((double)r->right_held_out - (double)r->right_before) / n,
                         100 * r->stderr_right);
    }
    (void)buf_add_text(out, gains(r) ? "" : "no gain beyond the standard error\n");
}

/* What was found is told also where it is not worth writing. */
static int report(struct calibration *k) {
    const char *path = opt_text(&k->cli->args, OPT_OUTPUT);
    struct buf out;
    int code = path != NULL ? write_pack(k) : EXIT_FINE, printed;
    const char *written = code == EXIT_FINE ? path : NULL;
    buf_init(&out, RESULT_CEILING);
    if (k->cli->json) {
        result_json(k, written, &out);
        printed = output_json(k->cli, &out);
    } else {
        result_text(k, &out);
        if (written != NULL) {
            (void)buf_printf(&out, "written: %s\n", written);
        }
        printed = output_buf(k->cli, &out);
    }
    buf_done(&out);
    return code == EXIT_FINE ? printed : code;
}

int cmd_calibrate(struct cli *cli) {
    struct calibration k = {.cli = cli, .work = {.cli = cli}};
    bool going = false;
    buf_init(&k.text, PROMPT_CEILING);
    buf_init(&k.progress, 4096);
    cli->untempered = true; /* the fit puts temperatures on itself */
    int code = check_use(&k);
    const char *file = opt_text(&cli->args, OPT_FILE);
    if (code == EXIT_FINE) {
        code = file != NULL ? read_text(&k, file) : read_tasks(&k);
    }
    code = code == EXIT_FINE ? work_begin(&k.work, cli, NULL, &going) : code;
    code = going ? fit(&k) : code;
    code = going && code == EXIT_FINE ? report(&k) : code;
    packllm_calibration_close(k.rows);
    for (size_t i = 0; i < k.n; i++) {
        task_done(&k.tasks[i]);
    }
    calib_point_done(&k.before);
    calib_result_done(&k.fitted);
    work_done(&k.work);
    buf_done(&k.text);
    buf_done(&k.progress);
    base_free(k.tasks);
    base_free(k.labels);
    base_free(k.lambda);
    base_free(k.form);
    return code;
}
