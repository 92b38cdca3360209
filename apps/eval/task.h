/* task.h - task files: JSON lines, one question a line; what a member reads of it.
 *
 *     {"id": "x-1", "query": "…", "choices": ["…", "…"], "gold": 0}       multiple choice
 *     {"id": "y-1", "query": "…", "answer": "18"}                         generation
 *
 * Other keys are not looked at. The first line may be {"template": "…{query}…"}; for generation also
 * "stop": ["…"], which end an answer, and "max_tokens": N. */
#ifndef EVAL_TASK_H
#define EVAL_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "packllm/packllm.h"

enum { TASK_CHOICES_MAX = 256, TASK_STOPS_MAX = 16 };

struct task_item {
    char *id, *query;
    char **choices; /* [n_choices]; none in a generation task */
    size_t n_choices, gold;
    char *answer; /* of a generation task, else NULL */
    size_t line;  /* of the file */
};

struct task {
    char *path, *name; /* the file's name without folder and .jsonl */
    char *form;        /* the template, with one {query} */
    bool generation;
    char *stop[TASK_STOPS_MAX]; /* [n_stop] given by the file; none: task_cut has its own */
    size_t n_stop;
    size_t max_tokens;       /* of an answer; 0: the task's kind says */
    struct task_item *items; /* [n] */
    size_t n, room, n_skipped;
};

struct task_rules {
    const char *form; /* "ask", "continue" or a template; NULL: what the file says, or its name */
    bool skip_bad;    /* bad lines are left out and told */
    void (*skipped)(void *data, const char *message);
    void *data;
};

/* E_IO; E_ARG: a bad template; E_TEXT: FILE:LINE:COLUMN and what was expected. task_done in any case
 * of success; on an error nothing is left. */
enum packllm_status task_read(struct task *task, const char *path, const struct task_rules *rules,
                              struct packllm_error *err);
void task_done(struct task *task);

/* Puts the items into an order drawn with the seed. */
void task_shuffle(struct task *task, uint64_t seed);

/* What stands before the answer: `before` (demonstrations), then the query in the task's form. */
bool task_prompt(const struct task *task, const struct task_item *item, const char *before,
                 struct buf *out);
/* A choice as it is read behind the prompt: after one space, in Chinese after none. */
bool task_choice(const struct buf *prompt, const char *choice, struct buf *out);
/* An item with its answer, and an empty line: a demonstration. */
bool task_demonstration(const struct task *task, const struct task_item *item, struct buf *out);

/* Generation: cuts text (NUL-terminated) before the first stop string that stands behind its leading
 * white space; true: one was found. Without strings of the file's own: where a text goes on, an
 * answer is its first word; else it ends where another question begins, and (shots) at an empty
 * line, as demonstrations do. */
bool task_cut(const struct task *task, bool shots, char *text);
size_t task_tokens(const struct task *task); /* the most an answer may have */

/* What the item says, for telling later whether it still says it. */
uint64_t task_hash(const void *bytes, size_t size, uint64_t start);

#endif
