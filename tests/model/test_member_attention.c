/* test_member_attention.c - attention over half-precision keys and values, which
 * tools/llama/attention.c computes. Goal: for every shape, mask, bias, cap and sink it is what its
 * definition says, worked out here in double precision; and its bits do not depend on the number
 * of threads, nor on what other cells hold. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include "base/rng.h"
#include "oracle.h"

enum mask { WHOLE, CAUSAL, WINDOW, SCATTERED, APART };

struct problem {
    int64_t dk, dv, heads, heads_kv, tokens, cells;
    enum mask mask;
    float bias, cap;
    bool sinks;
};

struct parts {
    struct ggml_context *c;
    struct ggml_tensor *q, *k, *v, *mask, *sinks, *out;
};

static float number(uint64_t seed, uint64_t i) {
    return (float)(4 * rng_uniform(rng_key(seed, i, 0)) - 2);
}

static bool sees(const struct problem *p, int64_t token, int64_t cell) {
    switch (p->mask) {
    case WHOLE:
        return true;
    case CAUSAL:
        return cell <= p->cells - p->tokens + token;
    case WINDOW:
        return cell <= p->cells - p->tokens + token && cell > p->cells - p->tokens + token - 70;
    case SCATTERED: /* a token may see nothing */
        return rng_uniform(rng_key(99, (uint64_t)(token * p->cells + cell), 0)) < 0.02;
    default: /* timelines behind each other */
        return cell * p->tokens / p->cells == token;
    }
}

static void fill(struct ggml_tensor *x, uint64_t seed) {
    for (int64_t i = 0; i < ggml_nelements(x); i++) {
        if (x->type == GGML_TYPE_F16) {
            ((ggml_fp16_t *)x->data)[i] = ggml_fp32_to_fp16(number(seed, (uint64_t)i));
        } else {
            ((float *)x->data)[i] = number(seed, (uint64_t)i);
        }
    }
}

/* As libllama lays them out: heads of a cell lie side by side. */
static void make(struct parts *x, const struct problem *p, uint64_t seed) {
    struct ggml_init_params params = {.mem_size = (size_t)64 << 20};
    *x = (struct parts){.c = ggml_init(params)};
    assert_non_null(x->c);
    struct ggml_tensor *q = ggml_new_tensor_3d(x->c, GGML_TYPE_F32, p->dk, p->heads, p->tokens);
    struct ggml_tensor *k = ggml_new_tensor_3d(x->c, GGML_TYPE_F16, p->dk, p->heads_kv, p->cells);
    struct ggml_tensor *v = ggml_new_tensor_3d(x->c, GGML_TYPE_F16, p->dv, p->heads_kv, p->cells);
    fill(q, seed);
    fill(k, seed + 1);
    fill(v, seed + 2);
    x->q = ggml_permute(x->c, q, 0, 2, 1, 3);
    x->k = ggml_permute(x->c, k, 0, 2, 1, 3);
    x->v = ggml_permute(x->c, v, 0, 2, 1, 3);
    if (p->mask != WHOLE) {
        x->mask = ggml_new_tensor_2d(x->c, GGML_TYPE_F16, p->cells, p->tokens);
        for (int64_t t = 0; t < p->tokens; t++) {
            for (int64_t c = 0; c < p->cells; c++) {
                float distance = p->bias > 0 ? -fabsf((float)(p->cells - p->tokens + t - c)) : 0;
                ((ggml_fp16_t *)x->mask->data)[t * p->cells + c] =
                    ggml_fp32_to_fp16(sees(p, t, c) ? distance : -INFINITY);
            }
        }
    }
    x->out = ggml_flash_attn_ext(x->c, x->q, x->k, x->v, x->mask, 1 / sqrtf((float)p->dk), p->bias,
                                 p->cap);
    if (p->sinks) {
        x->sinks = ggml_new_tensor_1d(x->c, GGML_TYPE_F32, p->heads);
        fill(x->sinks, seed + 3);
        ggml_flash_attn_ext_add_sinks(x->out, x->sinks);
    }
}

static void compute(const struct parts *x, int threads) {
    struct ggml_cgraph *graph = ggml_new_graph(x->c);
    ggml_build_forward_expand(graph, x->out);
    assert_int_equal(ggml_graph_compute_with_ctx(x->c, graph, threads), GGML_STATUS_SUCCESS);
}

static double half_at(const struct ggml_tensor *x, int64_t i, int64_t cell, int64_t head) {
    const char *at = (const char *)x->data + (size_t)cell * x->nb[1] + (size_t)head * x->nb[2];
    return (double)ggml_fp16_to_fp32(((const ggml_fp16_t *)at)[i]);
}

/* The greatest difference of one token and head from the definition. */
static double difference(const struct parts *x, const struct problem *p, int64_t token,
                         int64_t head) {
    int64_t shared = head / (p->heads / p->heads_kv);
    const float *q = (const float *)((const char *)x->q->data + (size_t)token * x->q->nb[1] +
                                     (size_t)head * x->q->nb[2]);
    const float *out = (const float *)x->out->data + (token * p->heads + head) * p->dv;
    int64_t power = 1;
    while (2 * power <= p->heads) {
        power *= 2;
    }
    double slope =
        p->bias <= 0 ? 1
        : head < power
            ? pow(2, -(double)p->bias * (double)(head + 1) / (double)power)
            : pow(2, -(double)p->bias / 2 * (double)(2 * (head - power) + 1) / (double)power);
    double *weights = calloc((size_t)p->cells, sizeof *weights), most = (double)-INFINITY, sum = 0,
           worst = 0;
    assert_non_null(weights);
    for (int64_t c = 0; c < p->cells; c++) {
        double s = 0;
        for (int64_t i = 0; i < p->dk; i++) {
            s += (double)q[i] * half_at(x->k, i, c, shared);
        }
        s /= sqrt((double)p->dk);
        s = p->cap > 0 ? (double)p->cap * tanh(s / (double)p->cap) : s;
        weights[c] = (double)-INFINITY;
        if (sees(p, token, c)) {
            weights[c] = s + (x->mask == NULL ? 0 : slope * half_at(x->mask, c, token, 0));
        }
        most = fmax(most, weights[c]);
    }
    if (p->sinks) {
        most = fmax(most, (double)((const float *)x->sinks->data)[head]);
        sum = exp((double)((const float *)x->sinks->data)[head] - most);
    }
    for (int64_t c = 0; c < p->cells; c++) {
        weights[c] = !isfinite(weights[c]) ? 0 : exp(weights[c] - most);
        sum += weights[c];
    }
    for (int64_t i = 0; i < p->dv; i++) {
        double y = 0;
        for (int64_t c = 0; c < p->cells && sum > 0; c++) {
            y += weights[c] / sum * half_at(x->v, i, c, shared);
        }
        worst = fmax(worst, fabs(y - (double)out[i]));
    }
    free(weights);
    return worst;
}

static void check(const struct problem *p, uint64_t seed) {
    bool ours = oracle_attention_is_ours();
    struct parts x;
    make(&x, p, seed);
    compute(&x, 1);
    for (int64_t t = 0; t < p->tokens; t++) {
        for (int64_t h = 0; h < p->heads; h++) { /* ggml's own sums in half precision */
            assert_true(difference(&x, p, t, h) <= (ours ? 1e-5 : 1e-2));
        }
    }
    size_t size = ggml_nbytes(x.out);
    void *bits = malloc(size);
    assert_non_null(bits);
    memcpy(bits, x.out->data, size);
    for (int threads = 2; ours && threads <= 5; threads++) {
        memset(x.out->data, 0xff, size);
        compute(&x, threads);
        assert_memory_equal(x.out->data, bits, size);
    }
    free(bits);
    ggml_free(x.c);
}

static void test_shapes(void **state) {
    static const int64_t widths[][2] = {{8, 8},     {36, 36},   {48, 48},   {64, 64},  {80, 80},
                                        {128, 128}, {192, 128}, {256, 256}, {576, 512}};
    static const int64_t heads[][2] = {{9, 3}, {4, 1}, {5, 5}, {1, 1}, {128, 1}};
    static const int64_t tokens[] = {1, 2, 3, 8, 40}, cells[] = {1, 63, 64, 130, 530};
    uint64_t n = 0;
    (void)state;
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++) {
            for (size_t c = 0; c < sizeof cells / sizeof *cells; c++) {
                const int64_t *h = heads[n % (tokens[t] < 4 ? 5 : 4)];
                struct problem p = {.dk = widths[w][0],
                                    .dv = widths[w][1],
                                    .heads = h[0],
                                    .heads_kv = h[1],
                                    .tokens = tokens[t],
                                    .cells = cells[c],
                                    .mask = (enum mask)(n % 5)};
                if (p.cells >= p.tokens) {
                    check(&p, n);
                }
                n++;
            }
        }
    }
}

static void test_extras(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++) {
        struct problem p = {.dk = 64,
                            .dv = 64,
                            .heads = 6,
                            .heads_kv = 2,
                            .tokens = 1 + i % 9,
                            .cells = 200,
                            .mask = (enum mask)(1 + i % 4),
                            .bias = i % 3 == 1 ? 8.0F : 0,
                            .cap = i % 3 == 2 ? 5.0F : 0,
                            .sinks = i % 2 == 1};
        check(&p, 1000 + (uint64_t)i);
    }
}

/* What a token does not see may be anything, other timelines' numbers above all. */
static void test_masked(void **state) {
    struct problem p = {
        .dk = 64, .dv = 64, .heads = 3, .heads_kv = 1, .tokens = 4, .cells = 512, .mask = APART};
    struct parts a, b;
    (void)state;
    make(&a, &p, 7);
    make(&b, &p, 7);
    for (int64_t c = 128; c < p.cells; c++) { /* not the first token's */
        for (int64_t i = 0; i < p.dk; i++) {
            ((ggml_fp16_t *)b.k->data)[c * p.dk + i] = ggml_fp32_to_fp16(60000);
            ((ggml_fp16_t *)b.v->data)[c * p.dk + i] = ggml_fp32_to_fp16(-60000);
        }
    }
    compute(&a, 1);
    compute(&b, 1);
    assert_memory_equal(a.out->data, b.out->data, sizeof(float) * (size_t)(p.heads * p.dv));
    ggml_free(a.c);
    ggml_free(b.c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_extras),
                                       cmocka_unit_test(test_masked)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
