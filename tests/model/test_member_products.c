/* test_member_products.c - products of quantised weights with several rows of activations, which
 * tools/llama/gemm.c makes. Goal: for all its types, odd shapes and numbers of threads they are those
 * with one row at a time, which ggml makes itself. */
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

enum { MOST = 67 };

static void fill(float *out, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i++) {
        out[i] = (float)(rng_uniform(rng_key(seed, i, 0)) - 0.5);
    }
}

/* out [n][m]: the products of w [m][k] with n rows x. */
static void product(struct ggml_tensor *w, const float *x, int64_t n, int threads, float *out) {
    struct ggml_init_params params = {.mem_size = (size_t)16 << 20};
    struct ggml_context *c = ggml_init(params);
    assert_non_null(c);
    struct ggml_tensor *y = ggml_new_tensor_2d(c, GGML_TYPE_F32, w->ne[0], n);
    memcpy(y->data, x, ggml_nbytes(y));
    struct ggml_tensor *z = ggml_mul_mat(c, w, y);
    struct ggml_cgraph *graph = ggml_new_graph(c);
    ggml_build_forward_expand(graph, z);
    assert_int_equal(ggml_graph_compute_with_ctx(c, graph, threads), GGML_STATUS_SUCCESS);
    memcpy(out, z->data, ggml_nbytes(z));
    ggml_free(c);
}

static void check(enum ggml_type type, int64_t m, int64_t k, uint64_t seed) {
    static const int64_t columns[] = {1, 2, 3, 5, 7, 8, 9, 12, 13, 16, 17, 33, MOST};
    struct ggml_init_params params = {.mem_size = (size_t)16 << 20};
    struct ggml_context *c = ggml_init(params);
    assert_non_null(c);
    struct ggml_tensor *w = ggml_new_tensor_2d(c, type, k, m);
    float *numbers = malloc(sizeof *numbers * (size_t)(m * k));
    float *x = malloc(sizeof *x * (size_t)(MOST * k));
    float *one = malloc(sizeof *one * (size_t)(MOST * m));
    float *many = malloc(sizeof *many * (size_t)(MOST * m));
    assert_true(numbers != NULL && x != NULL && one != NULL && many != NULL);
    fill(numbers, (size_t)(m * k), seed);
    fill(x, (size_t)(MOST * k), seed + 1);
    assert_int_equal(ggml_quantize_chunk(type, numbers, w->data, 0, m, k, NULL), ggml_nbytes(w));
    for (int64_t j = 0; j < MOST; j++) {
        product(w, x + j * k, 1, 1, one + j * m);
    }
    double worst = 0, size = 0;
    for (size_t q = 0; q < sizeof columns / sizeof *columns; q++) {
        product(w, x, columns[q], 1 + (int)(q % 3), many);
        for (int64_t i = 0; i < columns[q] * m; i++) {
            worst = fmax(worst, fabs((double)many[i] - (double)one[i]));
            size += fabs((double)one[i]);
        }
    }
    /* Another order of the sums is allowed (libraries without gemm.c), a wrong one is not. */
    assert_true(size > 0);
    assert_true(worst <= 1e-5 * sqrt((double)k));
    free(numbers);
    free(x);
    free(one);
    free(many);
    ggml_free(c);
}

static void test_products(void **state) {
    static const enum ggml_type types[] = {GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0,
                                           GGML_TYPE_Q8_0};
    static const struct {
        int64_t m, k;
    } shapes[] = {{1, 32},    {2, 64},    {7, 576},  {64, 640},
                  {33, 1536}, {2100, 64}, {5, 8192}, {3, 8224}};
    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            check(types[t], shapes[s].m, shapes[s].k, 10 * t + s);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
