/* rows.c - see rows.h. The text is drawn from a softmax over random scores; a member sees those
 * scores sharpened or flattened, with noise of its own. */
#include "rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "fuse/fuse.h"

static double uniform(uint64_t *state) {
    return rng_uniform(rng_next(state));
}

double rows_normal(uint64_t *state) {
    double radius = sqrt(-2 * log(uniform(state)));
    return radius * cos(6.283185307179586 * uniform(state));
}

static void *need(size_t n, size_t size) {
    void *block = calloc(n, size);
    if (block == NULL) {
        abort();
    }
    return block;
}

static void fill_row(const double *score, double skill, double noise, uint64_t *state, float *row) {
    double q[PACKLLM_EVENTS], sum = 0;
    for (size_t c = 0; c < PACKLLM_EVENTS; c++) {
        q[c] = exp(skill * score[c] + noise * rows_normal(state));
        sum += q[c];
    }
    for (size_t c = 0; c < PACKLLM_EVENTS; c++) {
        q[c] /= sum;
    }
    fuse_floor(q, row);
}

void rows_open(struct rows *rows, size_t n_members, size_t n_bytes, uint64_t seed) {
    uint64_t state = seed * 0x9e3779b97f4a7c15U + 1;
    double score[PACKLLM_EVENTS];
    rows->n_members = n_members;
    rows->n_bytes = n_bytes;
    rows->logq = need(n_members, sizeof *rows->logq);
    rows->event = need(n_bytes, sizeof *rows->event);
    double *skill = need(n_members, sizeof *skill), *noise = need(n_members, sizeof *noise);
    for (size_t i = 0; i < n_members; i++) {
        rows->logq[i] = need(n_bytes * PACKLLM_EVENTS, sizeof **rows->logq);
        skill[i] = 0.2 + 1.2 * uniform(&state);
        noise[i] = 0.1 + 1.5 * uniform(&state);
    }
    for (size_t t = 0; t < n_bytes; t++) {
        double best = -HUGE_VAL;
        for (size_t c = 0; c < PACKLLM_EVENTS; c++) {
            score[c] = 3 * rows_normal(&state);
            double noisy = score[c] - log(-log(uniform(&state)));
            if (noisy > best) {
                best = noisy;
                rows->event[t] = (uint16_t)c;
            }
        }
        for (size_t i = 0; i < n_members; i++) {
            fill_row(score, skill[i], noise[i], &state, rows->logq[i] + t * PACKLLM_EVENTS);
        }
    }
    free(skill);
    free(noise);
}

void rows_close(struct rows *rows) {
    for (size_t i = 0; i < rows->n_members; i++) {
        free(rows->logq[i]);
    }
    free(rows->logq);
    free(rows->event);
}

void rows_copy(struct rows *rows, size_t from, size_t to) {
    memcpy(rows->logq[to], rows->logq[from], rows->n_bytes * PACKLLM_EVENTS * sizeof **rows->logq);
}

void rows_lambda(size_t n, uint64_t *state, double *lambda) {
    uint64_t kind = rng_next(state) % 4;
    size_t vertex = rng_next(state) % n;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        bool zero = kind == 0 ? i != vertex : kind == 1 && i != vertex && rng_next(state) % 2 == 0;
        lambda[i] = zero ? 0 : kind == 0 ? 1 : -log(uniform(state));
        sum += lambda[i];
    }
    for (size_t i = 0; i < n; i++) {
        lambda[i] /= sum;
    }
}
