/* task.c - reading and rendering tasks, see task.h. A file is read as a whole before anything is
 * evaluated, so that a bad line is told at once. */
#include "eval/task.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"
#include "common/json_read.h"

enum { FILE_MAX = 1 << 30 };

static const char ASK[] = "Question: {query}\nAnswer:";
static const char CONTINUE[] = "{query}";
static const char QUERY[] = "{query}";

/* Sets whose queries are beginnings of texts: the choice goes on. Compared as the name's beginning. */
static const char *const continuing[] = {"copa",        "hellaswag", "winogrande",
                                         "gen_lambada", "piqa",      "lambada"};

struct reader {
    struct task *task;
    const struct task_rules *rules;
    size_t line;
    struct packllm_error *err;
};

/* ---- what is wrong with a line ---- */

static enum packllm_status bad(const struct reader *r, size_t column, const char *format, ...)
    BASE_PRINTF(3, 4);

static enum packllm_status bad(const struct reader *r, size_t column, const char *format, ...) {
    char what[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return fail(r->err, PACKLLM_E_TEXT, PACKLLM_NO_MEMBER, "%s:%zu:%zu: %s", r->task->path, r->line,
                column, what);
}

/* The column of a key in the line, for errors about its value. */
static size_t column_of(const char *text, size_t size, const char *key) {
    char quoted[32];
    (void)snprintf(quoted, sizeof quoted, "\"%s\"", key);
    size_t length = strlen(quoted);
    for (size_t i = 0; i + length <= size; i++) {
        if (memcmp(text + i, quoted, length) == 0) {
            return i + 1;
        }
    }
    return 1;
}

static bool blank(const char *text) {
    return text[strspn(text, " \t\r\n")] == '\0';
}

static void item_done(struct task_item *item) {
    for (size_t i = 0; i < item->n_choices; i++) {
        base_free(item->choices[i]);
    }
    base_free(item->choices);
    base_free(item->id);
    base_free(item->query);
    base_free(item->answer);
    *item = (struct task_item){0};
}

static enum packllm_status take_text(const struct reader *r, const struct json_value *root,
                                     const char *key, const char *line, size_t size, char **out) {
    const char *text = json_get_text(json_get_field(root, key));
    size_t column = column_of(line, size, key);
    if (text == NULL) {
        return bad(r, column, "\"%s\" is %s; a string is expected", key,
                   json_get_field(root, key) != NULL ? "no string" : "missing");
    }
    if (blank(text)) {
        return bad(r, column, "\"%s\" is empty; some text is expected", key);
    }
    *out = alloc_text(text, strlen(text));
    return *out != NULL ? PACKLLM_OK : fail_memory(r->err, strlen(text));
}

static enum packllm_status take_choices(const struct reader *r, const struct json_value *root,
                                        const char *line, size_t size, struct task_item *item) {
    const struct json_value *list = json_get_field(root, "choices");
    size_t n = json_get_size(list), column = column_of(line, size, "choices");
    int64_t gold = -1;
    if (!json_kind_array(list)) {
        return bad(r, column, "\"choices\" is %s; a list of strings is expected",
                   list != NULL ? "no list" : "missing");
    }
    if (n < 2 || n > TASK_CHOICES_MAX) {
        return bad(r, column, "there %s %zu choice%s; 2 to %d are expected", n == 1 ? "is" : "are",
                   n, n == 1 ? "" : "s", TASK_CHOICES_MAX);
    }
    item->choices = alloc_zero(n, sizeof(char *));
    for (size_t i = 0; item->choices != NULL && i < n; i++) {
        const char *text = json_get_text(json_get_at(list, i));
        if (text == NULL || blank(text)) {
            return bad(r, column, "choice %zu is %s; a text is expected", i,
                       text == NULL ? "no string" : "empty");
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(text, item->choices[k]) == 0) {
                return bad(r, column, "choices %zu and %zu are equal; different ones are expected",
                           k, i);
            }
        }
        item->choices[i] = alloc_text(text, strlen(text));
        if (item->choices[i] == NULL) {
            return fail_memory(r->err, strlen(text));
        }
        item->n_choices++;
    }
    if (item->choices == NULL) {
        return fail_memory(r->err, n * sizeof(char *));
    }
    if (!json_get_whole(json_get_field(root, "gold"), &gold) || gold < 0 || gold >= (int64_t)n) {
        return bad(r, column_of(line, size, "gold"),
                   "\"gold\" is %s; the right choice is expected, a number from 0 to %zu",
                   json_get_field(root, "gold") == NULL ? "missing" : "none of the choices", n - 1);
    }
    item->gold = (size_t)gold;
    return PACKLLM_OK;
}

static enum packllm_status take_item(const struct reader *r, const struct json_value *root,
                                     const char *line, size_t size, struct task_item *item) {
    bool answers =
        json_get_field(root, "answer") != NULL && json_get_field(root, "choices") == NULL;
    item->line = r->line;
    enum packllm_status status = take_text(r, root, "id", line, size, &item->id);
    if (status >= 0) {
        status = take_text(r, root, "query", line, size, &item->query);
    }
    if (status >= 0) {
        status = answers ? take_text(r, root, "answer", line, size, &item->answer)
                         : take_choices(r, root, line, size, item);
    }
    if (status >= 0 && r->task->n > 0 && answers != r->task->generation) {
        status =
            bad(r, 1, "%s stands among questions of the other kind; one kind a file is expected",
                answers ? "a question with an \"answer\"" : "a question with \"choices\"");
    }
    return status;
}

/* ---- templates ---- */

static enum packllm_status set_form(struct task *task, const char *form, const char *where,
                                    struct packllm_error *err) {
    form = strcmp(form, "ask") == 0 ? ASK : strcmp(form, "continue") == 0 ? CONTINUE : form;
    const char *first = strstr(form, QUERY);
    if (first == NULL || strstr(first + 1, QUERY) != NULL) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "%s: a template is 'ask', 'continue', or a text with one {query} in it, not "
                    "'%.200s'",
                    where, form);
    }
    char *copy = alloc_text(form, strlen(form));
    if (copy == NULL) {
        return fail_memory(err, strlen(form));
    }
    base_free(task->form);
    task->form = copy;
    return PACKLLM_OK;
}

static enum packllm_status first_form(struct task *task, const struct task_rules *rules,
                                      struct packllm_error *err) {
    if (rules->form != NULL) {
        return set_form(task, rules->form, "--template", err);
    }
    for (size_t i = 0; i < sizeof continuing / sizeof *continuing; i++) {
        if (strncmp(task->name, continuing[i], strlen(continuing[i])) == 0) {
            return set_form(task, CONTINUE, task->name, err);
        }
    }
    return set_form(task, ASK, task->name, err);
}

/* ---- the file ---- */

static enum packllm_status add_item(struct task *task, const struct task_item *item,
                                    struct packllm_error *err) {
    if (task->n == task->room) {
        size_t room = task->room * 2 + 256;
        struct task_item *grown = alloc_resize(task->items, room, sizeof *grown);
        if (grown == NULL) {
            return fail_memory(err, room * sizeof *grown);
        }
        task->items = grown;
        task->room = room;
    }
    task->generation = item->answer != NULL;
    task->items[task->n++] = *item;
    return PACKLLM_OK;
}

/* "stop" and "max_tokens" of the first line. */
static enum packllm_status take_ends(struct reader *r, const struct json_value *root,
                                     const char *line, size_t size) {
    const struct json_value *stop = json_get_field(root, "stop");
    const struct json_value *most = json_get_field(root, "max_tokens");
    int64_t tokens = 0;
    size_t n = json_get_size(stop);
    if (stop != NULL && (!json_kind_array(stop) || n == 0 || n > TASK_STOPS_MAX)) {
        return bad(r, column_of(line, size, "stop"),
                   "\"stop\" is a list of 1 to %d strings that end an answer", TASK_STOPS_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        const char *text = json_get_text(json_get_at(stop, i));
        if (text == NULL || *text == '\0') {
            return bad(r, column_of(line, size, "stop"), "stop string %zu is %s", i,
                       text == NULL ? "no string" : "empty");
        }
        r->task->stop[i] = alloc_text(text, strlen(text));
        if (r->task->stop[i] == NULL) {
            return fail_memory(r->err, strlen(text));
        }
        r->task->n_stop++;
    }
    if (most != NULL && (!json_get_whole(most, &tokens) || tokens < 1 || tokens > 100000)) {
        return bad(r, column_of(line, size, "max_tokens"),
                   "\"max_tokens\" is a number from 1 to 100000");
    }
    r->task->max_tokens = (size_t)tokens;
    return PACKLLM_OK;
}

static enum packllm_status take_line(struct reader *r, const char *line, size_t size, bool first) {
    struct json_wrong wrong;
    struct task_item item = {0};
    struct json_value *root = json_read(line, size, &wrong);
    enum packllm_status status;
    if (root == NULL) {
        return bad(r, wrong.column, "not JSON: %s; one object a line is expected", wrong.what);
    }
    const char *form = json_get_text(json_get_field(root, "template"));
    bool head = first && json_kind_object(root) && json_get_field(root, "id") == NULL &&
                (form != NULL || json_get_field(root, "stop") != NULL ||
                 json_get_field(root, "max_tokens") != NULL);
    if (!json_kind_object(root)) {
        status = bad(r, 1, "an object {\"id\", \"query\", \"choices\", \"gold\"} is expected");
    } else if (head) {
        status = r->rules->form != NULL || form == NULL
                     ? PACKLLM_OK
                     : set_form(r->task, form, r->task->path, r->err);
        status = status >= 0 ? take_ends(r, root, line, size) : status;
        json_read_done(root);
        return status;
    } else {
        status = take_item(r, root, line, size, &item);
    }
    json_read_done(root);
    if (status >= 0) {
        status = add_item(r->task, &item, r->err);
    }
    if (status < 0) {
        item_done(&item);
    }
    return status;
}

static int by_id(const void *a, const void *b) {
    const struct task_item *const *x = a, *const *y = b;
    int order = strcmp((*x)->id, (*y)->id);
    return order != 0 ? order : ((*x)->line > (*y)->line) - ((*x)->line < (*y)->line);
}

/* The second of two items with one id is a bad line. */
static enum packllm_status check_ids(struct reader *r) {
    struct task *task = r->task;
    const struct task_item **sorted = alloc_array(task->n, sizeof *sorted);
    bool *twice = alloc_zero(task->n, sizeof *twice);
    enum packllm_status status = PACKLLM_OK;
    if (sorted == NULL || twice == NULL) {
        status = fail_memory(r->err, task->n * sizeof *sorted);
    }
    for (size_t i = 0; i < task->n && status >= 0; i++) {
        sorted[i] = &task->items[i];
    }
    if (status >= 0 && task->n > 0) {
        qsort(sorted, task->n, sizeof *sorted, by_id);
    }
    for (size_t i = 1; i < task->n && status >= 0; i++) {
        if (strcmp(sorted[i]->id, sorted[i - 1]->id) == 0) {
            r->line = sorted[i]->line;
            status = bad(r, 1,
                         "the id '%.100s' stands in line %zu, too; ids of their own are "
                         "expected",
                         sorted[i]->id, sorted[i - 1]->line);
            if (r->rules->skip_bad) {
                r->rules->skipped(r->rules->data, r->err->message);
                twice[sorted[i] - task->items] = true;
                status = PACKLLM_OK;
            }
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < task->n && status >= 0; i++) {
        if (twice[i]) {
            item_done(&task->items[i]);
            task->n_skipped++;
        } else {
            task->items[kept++] = task->items[i];
        }
    }
    task->n = status >= 0 ? kept : task->n;
    base_free(sorted);
    base_free(twice);
    return status;
}

static enum packllm_status take_lines(struct reader *r, const struct buf *text) {
    enum packllm_status status = PACKLLM_OK;
    bool first = true;
    /* A byte-order mark, as some editors put. */
    size_t begin = text->size >= 3 && memcmp(text->data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    for (size_t at = begin; at < text->size && status >= 0;) {
        const char *line = text->data + at, *end = memchr(line, '\n', text->size - at);
        size_t size = end != NULL ? (size_t)(end - line) : text->size - at;
        at += size + 1;
        r->line++;
        size_t lead = 0;
        while (lead < size && strchr(" \t\r", line[lead]) != NULL) {
            lead++;
        }
        if (lead == size) {
            continue;
        }
        status = take_line(r, line, size, first);
        first = false;
        if (status == PACKLLM_E_TEXT && r->rules->skip_bad) {
            r->rules->skipped(r->rules->data, r->err->message);
            r->task->n_skipped++;
            status = PACKLLM_OK;
        }
    }
    return status;
}

static enum packllm_status read_file(const char *path, struct buf *out, struct packllm_error *err) {
    char chunk[1 << 14];
    size_t n;
    FILE *file = fopen(path, "rbe");
    while (file != NULL && (n = fread(chunk, 1, sizeof chunk, file)) > 0 &&
           buf_add(out, chunk, n)) {
    }
    int why = errno;
    bool failed = file == NULL || ferror(file) != 0;
    if (file != NULL) {
        (void)fclose(file);
    }
    if (failed || out->failed) {
        return fail(err, PACKLLM_E_IO, PACKLLM_NO_MEMBER, "cannot read '%s': %s", path,
                    failed ? strerror(why) : "it is longer than 1 GiB");
    }
    return PACKLLM_OK;
}

static bool name_task(struct task *task, const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    size_t size = strlen(name);
    size -= size > 6 && strcmp(name + size - 6, ".jsonl") == 0 ? 6 : 0;
    task->path = alloc_text(path, strlen(path));
    task->name = alloc_text(name, size);
    return task->path != NULL && task->name != NULL;
}

enum packllm_status task_read(struct task *task, const char *path, const struct task_rules *rules,
                              struct packllm_error *err) {
    struct packllm_error why = {0};
    struct reader r = {.task = task, .rules = rules, .err = &why};
    struct buf text;
    *task = (struct task){0};
    buf_init(&text, FILE_MAX);
    enum packllm_status status =
        name_task(task, path) ? read_file(path, &text, &why) : fail_memory(&why, strlen(path));
    if (status >= 0) {
        status = first_form(task, rules, &why);
    }
    if (status >= 0) {
        status = take_lines(&r, &text);
    }
    if (status >= 0) {
        status = check_ids(&r);
    }
    if (status >= 0 && task->n == 0) {
        status = fail(&why, PACKLLM_E_TEXT, PACKLLM_NO_MEMBER,
                      "%s: there is no question in it; one JSON object a line is expected", path);
    }
    buf_done(&text);
    if (status < 0) {
        task_done(task);
        if (err != NULL) {
            *err = why;
        }
    }
    return status;
}

void task_done(struct task *task) {
    for (size_t i = 0; i < task->n; i++) {
        item_done(&task->items[i]);
    }
    base_free(task->items);
    base_free(task->path);
    base_free(task->name);
    base_free(task->form);
    for (size_t i = 0; i < task->n_stop; i++) {
        base_free(task->stop[i]);
    }
    *task = (struct task){0};
}

void task_shuffle(struct task *task, uint64_t seed) {
    for (size_t i = task->n; i > 1; i--) {
        size_t k = (size_t)(rng_key(seed, i, 0) % i);
        struct task_item swap = task->items[i - 1];
        task->items[i - 1] = task->items[k];
        task->items[k] = swap;
    }
}

/* ---- what is read ---- */

bool task_prompt(const struct task *task, const struct task_item *item, const char *before,
                 struct buf *out) {
    const char *hole = strstr(task->form, QUERY);
    return buf_add_text(out, before) && buf_add(out, task->form, (size_t)(hole - task->form)) &&
           buf_add_text(out, item->query) && buf_add_text(out, hole + sizeof QUERY - 1);
}

/* Characters of scripts that put no spaces between words: han and kana, and their punctuation. */
static bool unspaced(const char *at, size_t size) {
    unsigned char c[4] = {0};
    memcpy(c, at, size < 4 ? size : 4);
    unsigned code = 0;
    if (c[0] >= 0xe0 && c[0] < 0xf0) {
        code = (unsigned)(c[0] & 15) << 12 | (unsigned)(c[1] & 63) << 6 | (unsigned)(c[2] & 63);
    }
    return (code >= 0x2e80 && code <= 0x9fff) || (code >= 0xf900 && code <= 0xfaff) ||
           (code >= 0xff00 && code <= 0xffef) || (c[0] == 0xf0 && c[1] >= 0xa0 && c[1] < 0xb4);
}

bool task_choice(const struct buf *prompt, const char *choice, struct buf *out) {
    size_t at = prompt->size;
    while (at > 0 && ((unsigned char)prompt->data[--at] & 0xc0) == 0x80) {
    }
    char last = prompt->size > 0 ? prompt->data[prompt->size - 1] : '\0';
    bool space = last != ' ' && last != '\n' && last != '\0' && choice[0] != ' ' &&
                 !unspaced(prompt->data + at, prompt->size - at) &&
                 !unspaced(choice, strlen(choice));
    return (!space || buf_add_text(out, " ")) && buf_add_text(out, choice);
}

bool task_demonstration(const struct task *task, const struct task_item *item, struct buf *out) {
    struct buf part;
    buf_init(&part, out->ceiling);
    const char *answer = item->answer != NULL ? item->answer : item->choices[item->gold];
    bool ok = task_prompt(task, item, "", &part) && buf_add(out, part.data, part.size) &&
              task_choice(&part, answer, out) && buf_add_text(out, "\n\n");
    buf_done(&part);
    return ok;
}

/* ---- what is written ---- */

static const char *first_of(const char *from, const char *const *stop, size_t n) {
    const char *first = NULL;
    for (size_t i = 0; i < n; i++) {
        const char *at = strstr(from, stop[i]);
        first = at != NULL && (first == NULL || at < first) ? at : first;
    }
    return first;
}

bool task_cut(const struct task *task, bool shots, char *text) {
    static const char *const word[] = {" ", "\n", "\t", ".",  ",", "!",
                                       "?", ";",  ":",  "\"", ")", "("};
    static const char *const question[] = {"\nQuestion:", "\n\n"};
    char *from = text + strspn(text, " \t\r\n");
    const char *const *stop = question;
    size_t n = shots ? 2 : 1;
    if (task->n_stop > 0) {
        stop = (const char *const *)task->stop;
        n = task->n_stop;
    } else if (strcmp(task->form, CONTINUE) == 0) {
        stop = word;
        n = sizeof word / sizeof *word;
    }
    const char *end = first_of(from, stop, n);
    if (end != NULL) {
        text[end - text] = '\0';
    }
    return end != NULL;
}

size_t task_tokens(const struct task *task) {
    return task->max_tokens > 0 ? task->max_tokens : strcmp(task->form, CONTINUE) == 0 ? 16 : 256;
}

uint64_t task_hash(const void *bytes, size_t size, uint64_t start) {
    const unsigned char *p = bytes; /* FNV-1a, 64 bits */
    uint64_t hash = start != 0 ? start : 0xcbf29ce484222325U;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ p[i]) * 0x100000001b3U;
    }
    return hash;
}
