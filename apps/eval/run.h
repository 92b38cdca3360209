/* run.h - tasks through a session: each question's figures, from the members or from the results file.
 */
#ifndef EVAL_RUN_H
#define EVAL_RUN_H

#include "eval/method.h" /* first: it asks for the experimental tier */

#include "eval/results.h"
#include "eval/task.h"

/* One question's figures; m methods, o options, n members. */
struct eval_record {
    size_t n_options, gold;
    size_t *bytes;   /* [o] of each option, its space included */
    size_t context;  /* bytes that lambda came from */
    double *nll;     /* [m][o] nats; the block that the others point into */
    double *loss;    /* [m] of the context, nats per byte */
    double *weights; /* [m][n] */
    double *own;     /* [m] seconds of the method's own */
    double *tokens;  /* [n] evaluated */
    double *reading; /* [n] seconds */
    double *forward; /* [n] seconds of them inside the model library */
    double seconds;  /* in all */
    char **texts;    /* [m] of a generation task, else NULL; of one that does not write NULL */
    char *answer;    /* what was wanted */
};
/* Zeros; false: no memory, and nothing is held. */
bool eval_record_room(struct eval_record *r, size_t m, size_t o, size_t n);
bool eval_record_answers(struct eval_record *r, size_t m, const char *answer);
void eval_record_done(struct eval_record *r, size_t m);

struct eval_task {
    const struct task *task;
    struct eval_record *records; /* [n] */
    size_t n, skipped, n_methods;
};

struct eval {
    struct packllm_session *session;
    size_t n_members;
    const struct methods *methods;
    struct results *results;
    bool refit, running, skip_bad;
    size_t limit;                  /* questions of each task; 0: all */
    size_t shots;                  /* demonstrations */
    const struct task *shots_from; /* NULL: the task's own first ones, which are not asked then */
    /* Before each question. left: seconds, NAN where nothing is known yet. false: stop. */
    bool (*progress)(void *data, const char *task, size_t done, size_t n, double left);
    void (*skipped)(void *data, const char *message);
    void *data;
};

/* What can be said before anything is evaluated: questions that do not fit, too few demonstrations,
 * figures in the results file that are of another question. Nothing is skipped here. */
enum packllm_status eval_check(const struct eval *e, const struct task *task,
                               struct packllm_error *err);
/* out->task is task. E_CANCELLED: progress said so. What was measured is in the results file in any
 * case. */
enum packllm_status eval_run(const struct eval *e, const struct task *task, struct eval_task *out,
                             struct packllm_error *err);
void eval_task_done(struct eval_task *done);

#endif
