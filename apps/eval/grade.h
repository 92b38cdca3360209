/* grade.h - from losses to marks, and what can be said about a difference. Formulas: docs/math.md,
 * "Marks". */
#ifndef EVAL_GRADE_H
#define EVAL_GRADE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One question under one method. */
struct grade_mark {
    bool right;      /* the option of the smallest loss is the gold one */
    bool right_norm; /* the same with the loss per byte */
    double gold_nll; /* -log softmax(-loss per byte) at the gold one, nats */
};
/* nll[n] in nats, bytes[n] > 0; ties to the first option. */
struct grade_mark grade_choice(const double *nll, const size_t *bytes, size_t n, size_t gold);

/* Generation: the whole answer (white space at the ends, case of ASCII letters and a full stop behind
 * it do not count), and the last number of the text against the answer's. */
bool grade_exact(const char *text, const char *answer);
bool grade_number(const char *text, const char *answer);
/* The answer is a number and nothing else (a sign, $ or % beside it): such answers are right where the
 * last numbers agree, others where the whole text does. */
bool grade_is_number(const char *answer);

struct grade_sum {
    size_t items, correct, correct_norm;
    double accuracy, accuracy_norm, gold_nll;        /* means */
    double stderr_accuracy, stderr_norm, stderr_nll; /* of the means; NAN for fewer than 2 items */
};
/* marks[n], n >= 1. */
struct grade_sum grade_add_up(const struct grade_mark *marks, size_t n);

/* Two methods on the same questions. */
struct grade_pair {
    size_t won, lost;         /* questions that only a, only b has right */
    double difference;        /* of the accuracies, a - b */
    double low, high;         /* its 95 % interval by the paired bootstrap */
    double mcnemar;           /* p of the exact two-sided test; 1 where nothing differs */
    double nll_difference;    /* of gold_nll, a - b */
    double nll_low, nll_high; /* its 95 % interval */
};
/* a[n], b[n]. Resamples `rounds` times, drawn with the seed; memory: rounds doubles. False: there is
 * none. */
bool grade_compare(const struct grade_mark *a, const struct grade_mark *b, size_t n, uint64_t seed,
                   size_t rounds, struct grade_pair *out);
double grade_mcnemar(size_t won, size_t lost);

#endif
