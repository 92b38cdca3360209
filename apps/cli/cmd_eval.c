/* cmd_eval.c - `packllm eval`: task files through a pack, methods side by side. What is wrong with
 * the command line, the files and the names is found before a model is loaded. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli.h"
#include "common/number.h"
#include "eval/report.h"

struct evaluation {
    struct cli *cli;
    struct work work;
    struct task *tasks; /* [n] */
    struct eval_task *done;
    size_t n, n_done;
    struct task shots;
    const char **names; /* [members] */
    struct methods methods;
    struct results *results;
    char *form;         /* the template, its escapes read */
    struct buf members; /* settings of the results file */
    struct buf settings;
    struct buf progress;
};

static void on_skipped(void *data, const char *message) {
    struct evaluation *e = data;
    ui_warn(e->cli, "skipped: %s", message);
}

static bool on_progress(void *data, const char *task, size_t done, size_t n, double left) {
    struct evaluation *e = data;
    buf_cut(&e->progress, 0);
    if (isfinite(left)) { /* first: the end is what a narrow label loses */
        int seconds = (int)(left + 0.5);
        (void)buf_printf(&e->progress, "%d:%02d left, ", seconds / 60, seconds % 60);
    }
    (void)buf_printf(&e->progress, "%zu/%zu %s", done, n, task);
    tty_progress_show(&e->cli->progress, "asking", e->progress.data, (double)done / (double)n);
    return !stop_asked();
}

/* ---- what is asked ---- */

/* \n and \t of a command line, where no shell has made them. */
char *eval_unescaped(const char *text) {
    char *out = alloc_text(text, strlen(text)), *to = out;
    for (const char *p = text; out != NULL && *p != '\0'; p++) {
        bool escape = *p == '\\' && (p[1] == 'n' || p[1] == 't' || p[1] == '\\');
        p += escape;
        *to++ = !escape ? *p : (char)(*p == 'n' ? '\n' : *p == 't' ? '\t' : '\\');
    }
    if (out != NULL) {
        *to = '\0';
    }
    return out;
}

static bool runs(const struct args *args) {
    return strcmp(opt_text(args, OPT_WEIGHTS_MODE), "running") == 0;
}

static int read_tasks(struct evaluation *e) {
    struct cli *cli = e->cli;
    const struct args *args = &cli->args;
    struct packllm_error err = {0};
    struct task_rules rules = {
        .skip_bad = opt_set(args, OPT_SKIP_BAD), .skipped = on_skipped, .data = e};
    if (args->n_operands == 0) {
        return ui_fail(cli, EXIT_USE, "no task; usage: packllm eval TASK.jsonl...");
    }
    if (opt_set(args, OPT_REFIT) && runs(args)) {
        return ui_fail(cli, EXIT_USE,
                       "--refit and --weights-mode running: both say where weights come from, give "
                       "up one");
    }
    if (opt_set(args, OPT_TEMPLATE)) {
        rules.form = e->form = eval_unescaped(opt_text(args, OPT_TEMPLATE));
    }
    e->tasks = alloc_zero(args->n_operands, sizeof *e->tasks);
    e->done = alloc_zero(args->n_operands, sizeof *e->done);
    if (e->tasks == NULL || e->done == NULL || (rules.form == NULL && e->form != NULL)) {
        return ui_fail(cli, EXIT_WORK, "out of memory");
    }
    for (size_t i = 0; i < args->n_operands; i++) {
        enum packllm_status status = task_read(&e->tasks[i], args->operands[i], &rules, &err);
        if (status < 0) {
            return ui_status(cli, status, &err);
        }
        e->n++;
        for (size_t k = 0; k < i; k++) {
            if (strcmp(e->tasks[i].name, e->tasks[k].name) == 0) {
                return ui_fail(cli, EXIT_USE, "two tasks are called '%s': %s and %s",
                               e->tasks[i].name, e->tasks[k].path, e->tasks[i].path);
            }
        }
        if (args->values[OPT_ORDER_SEED].set) {
            task_shuffle(&e->tasks[i], (uint64_t)opt_int(args, OPT_ORDER_SEED));
        }
    }
    if (opt_set(args, OPT_SHOTS_FILE)) {
        if (opt_int(args, OPT_SHOTS) == 0) {
            return ui_fail(cli, EXIT_USE, "--shots-file needs --shots N, the demonstrations of it");
        }
        enum packllm_status status =
            task_read(&e->shots, opt_text(args, OPT_SHOTS_FILE), &rules, &err);
        if (status < 0) {
            return ui_status(cli, status, &err);
        }
        if (args->values[OPT_ORDER_SEED].set) {
            task_shuffle(&e->shots, (uint64_t)opt_int(args, OPT_ORDER_SEED));
        }
    }
    return EXIT_FINE;
}

/* The names of the members are known before they are loaded. */
static int read_methods(struct evaluation *e) {
    const struct args *args = &e->cli->args;
    struct packllm_error err = {0};
    e->names = alloc_array(e->work.n, sizeof *e->names);
    if (e->names == NULL) {
        return ui_fail(e->cli, EXIT_WORK, "out of memory");
    }
    for (size_t i = 0; i < e->work.n; i++) {
        e->names[i] = e->work.specs[i].name;
    }
    struct method_rules rules = {.members = e->names,
                                 .n_members = e->work.n,
                                 .shrink = e->work.session_params.shrink,
                                 .tau = opt_double(args, OPT_TAU)};
    enum packllm_status status =
        methods_read(&e->methods, opt_text(args, OPT_METHODS), &rules, &err);
    return status < 0 ? ui_status(e->cli, status, &err) : EXIT_FINE;
}

/* Answers are written greedily. */
static int open_writer(struct evaluation *e) {
    bool any = false;
    for (size_t i = 0; i < e->n; i++) {
        any = any || e->tasks[i].generation;
    }
    e->work.session_params.sampling.temp = 0;
    return any ? work_session(&e->work) : EXIT_FINE;
}

/* ---- the results file ---- */

/* Size and a hash of the ends: enough to tell models apart without reading them. */
static uint64_t fingerprint(const char *path) {
    enum { PIECE = 1 << 20 };
    uint64_t hash = 0;
    char *bytes = alloc_array(PIECE, 1);
    FILE *file = bytes != NULL ? fopen(path, "rbe") : NULL;
    if (file != NULL) {
        size_t n = fread(bytes, 1, PIECE, file);
        hash = task_hash(bytes, n, hash);
        if (fseek(file, 0, SEEK_END) == 0) {
            long size = ftell(file);
            hash = task_hash(&size, sizeof size, hash);
            if (size > PIECE && fseek(file, size - PIECE, SEEK_SET) == 0) {
                n = fread(bytes, 1, PIECE, file);
                hash = task_hash(bytes, n, hash);
            }
        }
        (void)fclose(file);
    }
    base_free(bytes);
    return hash;
}

static bool describe_members(struct evaluation *e) {
    const struct args *args = &e->cli->args;
    char number[NUMBER_TEXT];
    bool ok = buf_printf(&e->members, "context %lld", (long long)opt_int(args, OPT_CTX_SIZE));
    for (size_t i = 0; i < e->work.n && ok; i++) {
        const struct packllm_member_spec *m = &e->work.member[i];
        ok = buf_printf(&e->members, "; %s %016llx", m->name,
                        (unsigned long long)fingerprint(m->path));
        if (m->lora != NULL) {
            number_shortest(number, m->lora_scale);
            ok = ok && buf_printf(&e->members, " + %016llx:%s",
                                  (unsigned long long)fingerprint(m->lora), number);
        }
        number_shortest(number, m->prior);
        ok = ok && buf_printf(&e->members, " prior %s", number);
        if (m->temperature != 1) {
            number_shortest(number, m->temperature);
            ok = ok && buf_printf(&e->members, " temperature %s", number);
        }
        number_shortest(number, m->cap);
        ok = ok && buf_printf(&e->members, " cap %s c %u", number, (unsigned)m->n_ctx);
    }
    return ok;
}

static bool describe_settings(struct evaluation *e) {
    const struct args *args = &e->cli->args;
    char shrink[NUMBER_TEXT], tau[NUMBER_TEXT], epsilon[NUMBER_TEXT];
    number_shortest(shrink, e->work.session_params.shrink);
    number_shortest(tau, opt_double(args, OPT_TAU));
    number_shortest(epsilon, opt_double(args, OPT_EPSILON));
    bool ok = buf_printf(&e->settings, "shrink %s, tau %s, epsilon %s, shots %lld, weights from %s",
                         shrink, tau, epsilon, (long long)opt_int(args, OPT_SHOTS),
                         opt_set(args, OPT_REFIT) ? "each option, too"
                         : runs(args)             ? "what stands before, every 64 bytes"
                                                  : "the question");
    if (args->values[OPT_ORDER_SEED].set && opt_int(args, OPT_SHOTS) > 0) {
        ok =
            ok && buf_printf(&e->settings, ", seed %lld", (long long)opt_int(args, OPT_ORDER_SEED));
    }
    return ok;
}

static int open_results(struct evaluation *e) {
    struct packllm_error err = {0};
    struct buf methods;
    buf_init(&methods, 1 << 20);
    bool ok = describe_members(e) && describe_settings(e);
    for (size_t i = 0; i < e->methods.n && ok; i++) {
        ok = buf_printf(&methods, "%s%s", i > 0 ? "," : "", e->methods.names[i]);
    }
    if (!ok) {
        buf_done(&methods);
        return ui_fail(e->cli, EXIT_WORK, "out of memory");
    }
    const struct results_setting settings[] = {{"version", PACKLLM_VERSION},
                                               {"pack", e->members.data},
                                               {"methods", methods.data},
                                               {"settings", e->settings.data}};
    enum packllm_status status = results_open(&e->results, opt_text(&e->cli->args, OPT_RESULTS),
                                              settings, sizeof settings / sizeof *settings, &err);
    buf_done(&methods);
    return status < 0 ? ui_status(e->cli, status, &err) : EXIT_FINE;
}

/* ---- the work ---- */

static int ask(struct evaluation *e) {
    const struct args *args = &e->cli->args;
    struct packllm_error err = {0};
    struct report report = {0};
    enum packllm_status status = PACKLLM_OK;
    struct eval run = {.session = e->work.session,
                       .n_members = e->work.n,
                       .methods = &e->methods,
                       .results = e->results,
                       .refit = opt_set(args, OPT_REFIT),
                       .running = runs(args),
                       .skip_bad = opt_set(args, OPT_SKIP_BAD),
                       .limit = (size_t)opt_int(args, OPT_LIMIT),
                       .shots = (size_t)opt_int(args, OPT_SHOTS),
                       .shots_from = e->shots.n > 0 ? &e->shots : NULL,
                       .progress = on_progress,
                       .skipped = on_skipped,
                       .data = e};
    for (size_t i = 0; i < e->n && status >= 0 && !run.skip_bad; i++) {
        status = eval_check(&run, &e->tasks[i], &err);
    }
    for (size_t i = 0; i < e->n && status >= 0; i++) {
        status = eval_run(&run, &e->tasks[i], &e->done[i], &err);
        e->n_done += status >= 0;
    }
    tty_progress_clear(&e->cli->progress);
    if (status >= 0) {
        status = report_make(&report, e->done, e->n_done, &run, &err);
    }
    if (status < 0) {
        return ui_status(e->cli, status, &err);
    }
    struct buf out;
    buf_init(&out, RESULT_CEILING);
    if (e->cli->json) {
        report_json(&report, e->names, &out);
    } else {
        report_table(&report, &out);
    }
    int code = output_buf(e->cli, &out);
    buf_done(&out);
    report_done(&report);
    return code;
}

static int begin(struct evaluation *e, bool *going) {
    int code = read_tasks(e);
    return code == EXIT_FINE ? work_begin(&e->work, e->cli, NULL, going) : code;
}

int cmd_eval(struct cli *cli) {
    struct evaluation e = {.cli = cli, .work = {.cli = cli}};
    bool going = false;
    buf_init(&e.members, 1 << 24);
    buf_init(&e.settings, 1 << 16);
    buf_init(&e.progress, 4096);
    int code = begin(&e, &going);
    code = going ? read_methods(&e) : code;
    code = going && code == EXIT_FINE ? open_writer(&e) : code;
    code = going && code == EXIT_FINE ? open_results(&e) : code;
    code = going && code == EXIT_FINE ? ask(&e) : code;
    results_close(e.results);
    for (size_t i = 0; i < e.n_done; i++) {
        eval_task_done(&e.done[i]);
    }
    for (size_t i = 0; i < e.n; i++) {
        task_done(&e.tasks[i]);
    }
    task_done(&e.shots);
    methods_done(&e.methods);
    work_done(&e.work);
    buf_done(&e.members);
    buf_done(&e.settings);
    buf_done(&e.progress);
    base_free(e.form);
    base_free(e.names);
    base_free(e.tasks);
    base_free(e.done);
    return code;
}
