/* run.c - see run.h.
 *
 * The same command gives the same numbers, also after a kill: a question is read by members that have
 * forgotten everything before it. With demonstrations, which are worth keeping, they forget at every
 * BLOCK-th question only, and a block that is not whole in the results file is measured again from
 * its first question. */
#include "eval/run.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"
#include "common/json.h"
#include "common/json_read.h"
#include "eval/write.h"

enum { BLOCK = 32, TEXT_MAX = 1 << 28 };

/* ---- records ---- */

bool eval_record_room(struct eval_record *r, size_t m, size_t o, size_t n) {
    *r = (struct eval_record){.n_options = o};
    r->bytes = alloc_zero(o, sizeof *r->bytes);
    r->nll = alloc_zero(m * (o + n + 2) + 3 * n, sizeof *r->nll);
    if (r->bytes == NULL || r->nll == NULL) {
        base_free(r->bytes);
        base_free(r->nll);
        *r = (struct eval_record){0};
        return false;
    }
    r->loss = r->nll + m * o;
    r->weights = r->loss + m;
    r->own = r->weights + m * n;
    r->tokens = r->own + m;
    r->reading = r->tokens + n;
    r->forward = r->reading + n;
    return true;
}

bool eval_record_answers(struct eval_record *r, size_t m, const char *answer) {
    r->texts = alloc_zero(m, sizeof *r->texts);
    r->answer = alloc_text(answer, strlen(answer));
    return r->texts != NULL && r->answer != NULL;
}

void eval_record_done(struct eval_record *r, size_t m) {
    for (size_t k = 0; k < m && r->texts != NULL; k++) {
        base_free(r->texts[k]);
    }
    base_free(r->texts);
    base_free(r->answer);
    base_free(r->bytes);
    base_free(r->nll);
    *r = (struct eval_record){0};
}

void eval_task_done(struct eval_task *done) {
    for (size_t i = 0; i < done->n; i++) {
        eval_record_done(&done->records[i], done->n_methods);
    }
    base_free(done->records);
    *done = (struct eval_task){0};
}

static void write_list(struct json *json, const char *key, const double *values, size_t n) {
    json_key(json, key);
    json_begin_array(json);
    for (size_t i = 0; i < n; i++) {
        json_double(json, values[i]);
    }
    json_end_array(json);
}

static void write_record(const struct eval_record *r, size_t m, size_t n, struct buf *out) {
    struct json json;
    json_init(&json, out);
    json_begin_object(&json);
    json_key_uint(&json, "gold", r->gold);
    json_key_uint(&json, "context", r->context);
    json_key(&json, "bytes");
    json_begin_array(&json);
    for (size_t i = 0; i < r->n_options; i++) {
        json_uint(&json, r->bytes[i]);
    }
    json_end_array(&json);
    write_list(&json, "nll", r->nll, m * r->n_options);
    write_list(&json, "loss", r->loss, m);
    write_list(&json, "weights", r->weights, m * n);
    write_list(&json, "own", r->own, m);
    write_list(&json, "tokens", r->tokens, n);
    write_list(&json, "reading", r->reading, n);
    write_list(&json, "forward", r->forward, n);
    json_key_double(&json, "seconds", r->seconds);
    if (r->texts != NULL) {
        json_key_text(&json, "answer", r->answer);
        json_key(&json, "texts");
        json_begin_array(&json);
        for (size_t k = 0; k < m; k++) {
            json_text(&json, r->texts[k]);
        }
        json_end_array(&json);
    }
    json_end_object(&json);
}

static bool read_list(const struct json_value *root, const char *key, double *out, size_t n) {
    const struct json_value *list = json_get_field(root, key);
    bool ok = json_get_size(list) == n;
    for (size_t i = 0; i < n && ok; i++) {
        const struct json_value *value = json_get_at(list, i);
        out[i] = (double)NAN; /* null: there was no number */
        ok = json_get_number(value, &out[i]) || json_kind_null(value);
    }
    return ok;
}

/* What was written, where something was. */
static bool read_texts(struct eval_record *r, size_t m, const struct json_value *root) {
    const struct json_value *texts = json_get_field(root, "texts");
    const char *answer = json_get_text(json_get_field(root, "answer"));
    if (texts == NULL) {
        return true;
    }
    bool ok = answer != NULL && json_get_size(texts) == m && eval_record_answers(r, m, answer);
    for (size_t k = 0; k < m && ok; k++) {
        const struct json_value *value = json_get_at(texts, k);
        const char *text = json_get_text(value);
        if (text != NULL) {
            r->texts[k] = alloc_text(text, strlen(text));
        }
        ok = r->texts[k] != NULL || json_kind_null(value);
    }
    return ok;
}

static bool read_record(struct eval_record *r, size_t m, size_t n, const struct buf *text) {
    struct json_value *root = json_read(text->data, text->size, NULL);
    const struct json_value *bytes = json_get_field(root, "bytes");
    size_t o = json_get_size(bytes);
    int64_t gold = -1, context = -1, size = 0;
    bool ok = o > 0 && o <= TASK_CHOICES_MAX && eval_record_room(r, m, o, n);
    for (size_t i = 0; i < o && ok; i++) {
        ok = json_get_whole(json_get_at(bytes, i), &size) && size > 0;
        r->bytes[i] = (size_t)size;
    }
    ok = ok && json_get_whole(json_get_field(root, "gold"), &gold) && gold >= 0 &&
         gold < (int64_t)o && json_get_whole(json_get_field(root, "context"), &context) &&
         context > 0 && read_list(root, "nll", r->nll, m * o) &&
         read_list(root, "loss", r->loss, m) && read_list(root, "weights", r->weights, m * n) &&
         read_list(root, "own", r->own, m) && read_list(root, "tokens", r->tokens, n) &&
         read_list(root, "reading", r->reading, n) && read_list(root, "forward", r->forward, n) &&
         json_get_number(json_get_field(root, "seconds"), &r->seconds) && read_texts(r, m, root);
    if (ok) {
        r->gold = (size_t)gold;
        r->context = (size_t)context;
    }
    json_read_done(root);
    return ok;
}

/* ---- one question ---- */

struct question {
    const struct task_item *item;
    struct buf prompt;
    struct buf texts[TASK_CHOICES_MAX]; /* [n_choices] */
    uint64_t hash;
};

static void question_done(struct question *q) {
    buf_done(&q->prompt);
    for (size_t i = 0; i < q->item->n_choices; i++) {
        buf_done(&q->texts[i]);
    }
}

static bool question_init(struct question *q, const struct task *task, const struct task_item *item,
                          const char *before) {
    q->item = item;
    buf_init(&q->prompt, TEXT_MAX);
    bool ok = task_prompt(task, item, before, &q->prompt);
    q->hash = task_hash(q->prompt.data, q->prompt.size, 0);
    for (size_t i = 0; i < item->n_choices; i++) {
        buf_init(&q->texts[i], TEXT_MAX);
        ok = ok && task_choice(&q->prompt, item->choices[i], &q->texts[i]);
        q->hash = task_hash(q->texts[i].data, q->texts[i].size + 1, q->hash);
    }
    q->hash = task_hash(&item->gold, sizeof item->gold, q->hash);
    if (item->answer != NULL) { /* where it would end is part of the question */
        size_t most = task_tokens(task);
        q->hash = task_hash(item->answer, strlen(item->answer) + 1, q->hash);
        q->hash = task_hash(&most, sizeof most, q->hash);
        for (size_t i = 0; i < task->n_stop; i++) {
            q->hash = task_hash(task->stop[i], strlen(task->stop[i]) + 1, q->hash);
        }
    }
    return ok;
}

static enum packllm_status check_fits(const struct eval *e, const struct question *q,
                                      struct packllm_error *err) {
    struct buf text;
    enum packllm_status status = PACKLLM_OK;
    if (q->item->answer != NULL) {
        return packllm_session_fits(e->session, q->prompt.data, q->prompt.size, err);
    }
    buf_init(&text, TEXT_MAX);
    for (size_t i = 0; i < q->item->n_choices && status >= 0; i++) {
        buf_cut(&text, 0);
        if (!buf_add(&text, q->prompt.data, q->prompt.size) ||
            !buf_add(&text, q->texts[i].data, q->texts[i].size)) {
            status = fail_memory(err, q->prompt.size);
        } else {
            status = packllm_session_fits(e->session, text.data, text.size, err);
        }
    }
    buf_done(&text);
    return status;
}

static enum packllm_status measure(const struct eval *e, const struct question *q, bool fresh,
                                   struct eval_record *out, struct packllm_error *err) {
    struct packllm_option options[TASK_CHOICES_MAX];
    struct packllm_options_params params = {
        .refit = e->refit, .running = e->running, .fresh = fresh};
    struct packllm_options got;
    size_t o = q->item->n_choices, m = e->methods->n, n = e->n_members;
    for (size_t i = 0; i < o; i++) {
        options[i] = (struct packllm_option){q->texts[i].data, q->texts[i].size};
    }
    enum packllm_status status =
        packllm_session_options(e->session, q->prompt.data, q->prompt.size, options, o,
                                e->methods->list, m, &params, &got, err);
    if (status < 0) {
        return status;
    }
    if (!eval_record_room(out, m, o, n)) {
        packllm_options_done(&got);
        return fail_memory(err, m * o * sizeof(double));
    }
    out->gold = q->item->gold;
    out->context = q->prompt.size;
    out->seconds = got.seconds;
    memcpy(out->nll, got.nll, m * o * sizeof(double));
    memcpy(out->loss, got.context, m * sizeof(double));
    memcpy(out->weights, got.weights, m * n * sizeof(double));
    memcpy(out->own, got.own, m * sizeof(double));
    memcpy(out->reading, got.reading, n * sizeof(double));
    memcpy(out->forward, got.forward, n * sizeof(double));
    for (size_t i = 0; i < n; i++) {
        out->tokens[i] = (double)got.tokens[i];
    }
    for (size_t i = 0; i < o; i++) {
        out->bytes[i] = options[i].size;
    }
    packllm_options_done(&got);
    return PACKLLM_OK;
}

/* ---- the task ---- */

struct running {
    const struct eval *e;
    const struct task *task;
    struct eval_task *out;
    struct buf before;            /* demonstrations */
    const struct task_item **ask; /* [n] */
    bool *known;                  /* [n] its figures are in the results file */
    size_t n;
    double started;
    size_t measured, to_measure;
    struct question q;
    struct buf figures;
};

static enum packllm_status demonstrate(struct running *r, struct packllm_error *err) {
    const struct task *from = r->e->shots_from != NULL ? r->e->shots_from : r->task;
    if (from->n < r->e->shots) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "--shots %zu: %s has %zu questions; give fewer shots or another --shots-file",
                    r->e->shots, from->path, from->n);
    }
    bool ok = buf_add_text(&r->before, "");
    for (size_t i = 0; i < r->e->shots && ok; i++) {
        /* In the form of the task that is asked, whatever file they come from. */
        ok = task_demonstration(r->task, &from->items[i], &r->before);
    }
    return ok ? PACKLLM_OK : fail_memory(err, r->before.size);
}

/* A demonstration is not asked. */
static bool shown(const struct running *r, const struct task_item *item) {
    const struct task *from = r->e->shots_from != NULL ? r->e->shots_from : r->task;
    for (size_t i = 0; i < r->e->shots; i++) {
        if (strcmp(from->items[i].query, item->query) == 0) {
            return true;
        }
    }
    return false;
}

/* Which questions are asked: those that fit, up to the limit, and whether they are known already. */
static enum packllm_status choose(struct running *r, struct packllm_error *err) {
    const struct eval *e = r->e;
    enum packllm_status status = PACKLLM_OK;
    r->ask = alloc_array(r->task->n, sizeof *r->ask);
    r->known = alloc_zero(r->task->n, sizeof *r->known);
    if (r->ask == NULL || r->known == NULL) {
        return fail_memory(err, r->task->n * sizeof *r->ask);
    }
    for (size_t i = 0; i < r->task->n && status >= 0 && (e->limit == 0 || r->n < e->limit); i++) {
        const struct task_item *item = &r->task->items[i];
        struct packllm_error why = {0};
        if (shown(r, item)) {
            continue;
        }
        bool made = question_init(&r->q, r->task, item, r->before.data);
        status = made ? check_fits(e, &r->q, &why) : fail_memory(err, r->q.prompt.size);
        if (status == PACKLLM_E_CONTEXT) {
            status = fail(err, status, why.member, "%s:%zu: question '%.100s': %.800s",
                          r->task->path, item->line, item->id, why.message);
            if (e->skip_bad) {
                struct packllm_error told;
                (void)fail(&told, status, why.member, "%s:%zu: question '%.100s': %.800s",
                           r->task->path, item->line, item->id, why.message);
                e->skipped(e->data, told.message);
                r->out->skipped++;
                status = PACKLLM_OK;
            }
            question_done(&r->q);
            continue;
        }
        if (status >= 0) {
            buf_cut(&r->figures, 0);
            status = results_get(e->results, r->task->name, item->id, r->q.hash, &r->known[r->n],
                                 &r->figures, err);
            r->ask[r->n++] = item;
        }
        question_done(&r->q);
    }
    if (status >= 0 && r->n == 0) {
        status = fail(err, PACKLLM_E_TEXT, PACKLLM_NO_MEMBER, "%s: no question is left to ask",
                      r->task->path);
    }
    return status;
}

/* Blocks are known as a whole or not at all. */
static void settle_blocks(struct running *r) {
    size_t block = r->e->shots > 0 ? BLOCK : 1;
    for (size_t first = 0; first < r->n; first += block) {
        size_t end = first + block < r->n ? first + block : r->n;
        bool whole = true;
        for (size_t i = first; i < end; i++) {
            whole = whole && r->known[i];
        }
        for (size_t i = first; i < end; i++) {
            r->known[i] = whole;
            r->to_measure += !whole;
        }
    }
}

static enum packllm_status one(struct running *r, size_t i, struct packllm_error *err) {
    const struct eval *e = r->e;
    struct eval_record *record = &r->out->records[i];
    size_t m = e->methods->n, n = e->n_members, block = e->shots > 0 ? BLOCK : 1;
    bool found = false;
    enum packllm_status status = PACKLLM_OK;
    if (!question_init(&r->q, r->task, r->ask[i], r->before.data)) {
        status = fail_memory(err, r->q.prompt.size);
    }
    buf_cut(&r->figures, 0);
    if (status >= 0 && r->known[i]) {
        status = results_get(e->results, r->task->name, r->ask[i]->id, r->q.hash, &found,
                             &r->figures, err);
        if (status >= 0 && !(found && read_record(record, m, n, &r->figures))) {
            status = fail(err, PACKLLM_E_IO, PACKLLM_NO_MEMBER,
                          "the results file is damaged at question '%s' of %s; delete it to start "
                          "anew",
                          r->ask[i]->id, r->task->name);
        }
    } else if (status >= 0) {
        bool fresh = i % block == 0;
        status = r->task->generation ? eval_write(e, r->task, r->q.prompt.data, r->q.prompt.size,
                                                  r->ask[i]->answer, fresh, record, err)
                                     : measure(e, &r->q, fresh, record, err);
        if (status >= 0) {
            write_record(record, m, n, &r->figures);
            status = r->figures.failed ? fail_memory(err, r->figures.size)
                                       : results_put(e->results, r->task->name, r->ask[i]->id,
                                                     r->q.hash, &r->figures, err);
            r->measured++;
        }
    }
    r->out->n = record->nll != NULL ? i + 1 : i;
    question_done(&r->q);
    return status;
}

static enum packllm_status check_methods(const struct eval *e, const struct task *task,
                                         struct packllm_error *err) {
    bool any = !task->generation;
    for (size_t k = 0; k < e->methods->n; k++) {
        any = any || eval_writes(&e->methods->list[k]);
    }
    return any ? PACKLLM_OK
               : fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                      "%s: answers are to be written, and none of --methods can: hedge, whole "
                      "options and canonical figures need a text that is known",
                      task->path);
}

static void running_done(struct running *r) {
    buf_done(&r->before);
    buf_done(&r->figures);
    base_free(r->ask);
    base_free(r->known);
    base_free(r);
}

static enum packllm_status running_open(struct running **out_running, const struct eval *e,
                                        const struct task *task, struct eval_task *out,
                                        struct packllm_error *err) {
    struct running *r = alloc_zero(1, sizeof *r);
    *out = (struct eval_task){.task = task, .n_methods = e->methods->n};
    if (r == NULL) {
        return fail_memory(err, sizeof *r);
    }
    *r = (struct running){.e = e, .task = task, .out = out};
    buf_init(&r->before, TEXT_MAX);
    buf_init(&r->figures, TEXT_MAX);
    enum packllm_status status = check_methods(e, task, err);
    if (status >= 0) {
        status = demonstrate(r, err);
    }
    if (status >= 0) {
        status = choose(r, err);
    }
    if (status < 0) {
        running_done(r);
        return status;
    }
    *out_running = r;
    return status;
}

enum packllm_status eval_check(const struct eval *e, const struct task *task,
                               struct packllm_error *err) {
    struct eval_task none;
    struct running *r = NULL;
    enum packllm_status status = running_open(&r, e, task, &none, err);
    if (status >= 0) {
        running_done(r);
    }
    return status;
}

enum packllm_status eval_run(const struct eval *e, const struct task *task, struct eval_task *out,
                             struct packllm_error *err) {
    struct running *r = NULL;
    enum packllm_status status = running_open(&r, e, task, out, err);
    if (status < 0) {
        return status;
    }
    settle_blocks(r);
    out->records = alloc_zero(r->n, sizeof *out->records);
    status = out->records != NULL ? status : fail_memory(err, r->n * sizeof *out->records);
    r->started = base_clock();
    for (size_t i = 0; status >= 0 && i < r->n; i++) {
        double each = (base_clock() - r->started) / (double)r->measured; /* NAN before the first */
        double left = r->measured > 0 ? each * (double)(r->to_measure - r->measured) : (double)NAN;
        status = e->progress(e->data, task->name, i, r->n, left)
                     ? one(r, i, err)
                     : fail(err, PACKLLM_E_CANCELLED, PACKLLM_NO_MEMBER, "cancelled");
    }
    running_done(r);
    if (status < 0) {
        eval_task_done(out);
    }
    return status;
}
