/* report.h - from records to rows: a row for each task and method, and for all tasks together. */
#ifndef EVAL_REPORT_H
#define EVAL_REPORT_H

#include "eval/run.h" /* first: it asks for the experimental tier */

#include "eval/grade.h"

struct report_row {
    const char *task; /* "all" for the pooled row */
    const char *method;
    struct grade_sum sum;
    bool written;  /* a generation task: sum's per-byte marks are of the exact match, no gold_nll */
    bool none;     /* the method does not write: nothing else is said */
    size_t number; /* written: answers whose last number is right */
    double loss;   /* mean over the questions of what lambda came from, bits per byte */
    double *weights;     /* [n_members] means */
    const char *against; /* the best member of these questions; NULL: none, or this is it */
    struct grade_pair pair;
    double seconds, own; /* what the method takes by itself: reading and its own; only its own */
    double everything;   /* seconds for all methods */
    double forward;      /* of them inside the members' models */
    uint64_t tokens;     /* evaluated for all methods */
};

struct report {
    struct report_row *rows; /* [n]: task by task, each with all methods */
    size_t n, n_tasks, n_methods, n_members;
};

/* done[n]; with more than one multiple-choice task their pooled rows come last. */
enum packllm_status report_make(struct report *report, const struct eval_task *done, size_t n,
                                const struct eval *e, struct packllm_error *err);
void report_done(struct report *report);

/* One JSON object a line; members[n_members] are their names. */
void report_json(const struct report *report, const char *const *members, struct buf *out);
/* For people. */
void report_table(const struct report *report, struct buf *out);

#endif
