/* terms.h - words, their numbers, and texts as tf-idf vectors. cbtm's own. */
#ifndef CBTM_TERMS_H
#define CBTM_TERMS_H

#include "base/buf.h"
#include "cbtm/cbtm.h"

struct terms {
    struct buf bytes; /* the words, lower case, one behind the other */
    size_t *start;    /* [n + 1] into bytes; sorted by bytes */
    double *idf;      /* [n] */
    size_t n;
};

/* A text: weights of the terms that stand in it, by ascending term; |x| = 1, or no terms at all. */
struct vector {
    size_t *term;   /* [n] */
    double *weight; /* [n] */
    size_t n;
};

enum packllm_status terms_open(struct terms *terms, const struct cbtm_text *texts, size_t n,
                               struct packllm_error *err);
void terms_done(struct terms *terms);
enum packllm_status terms_vector(const struct terms *terms, const char *text, size_t size,
                                 struct vector *out, struct packllm_error *err);
void vector_done(struct vector *x);

#endif
