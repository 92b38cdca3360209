/* test_cbtm_golden.c - words, tf-idf, k-means and weights against scikit-learn (make_golden.py); what is
 * a word; errors. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "cbtm/cbtm.h"
#include "check.h"
#include "golden.h"

enum { TEXTS = 32, BYTES = 2048 };

static char store[TEXTS][BYTES];

static size_t read_text(FILE *file, char *out) {
    static double bytes[BYTES];
    size_t size = golden_read(file, "text", bytes, BYTES);
    for (size_t i = 0; i < size; i++) {
        out[i] = (char)(unsigned char)bytes[i];
    }
    return size;
}

static void as_scikit_learn_says(void **state) {
    (void)state;
    struct cbtm_text texts[TEXTS];
    FILE *file = golden_open("cbtm.txt");
    size_t n = (size_t)golden_number(file, "texts");
    assert_true(n <= TEXTS);
    for (size_t i = 0; i < n; i++) {
        texts[i].member = (size_t)golden_number(file, "member");
        texts[i].size = read_text(file, store[i]);
        texts[i].text = store[i];
    }
    for (size_t want = 1; want <= 3; want++) {
        struct cbtm *c = NULL;
        size_t clusters = (size_t)golden_number(file, "clusters");
        assert_int_equal(cbtm_open(&c, texts, n, 3, clusters, NULL), PACKLLM_OK);
        for (size_t left = (size_t)golden_number(file, "prompts"); left > 0; left--) {
            char prompt[BYTES];
            double d2[3], weights[3], got_d2[3], got[3];
            size_t size = read_text(file, prompt);
            assert_int_equal(golden_read(file, "d2", d2, 3), 3);
            assert_int_equal(golden_read(file, "weights", weights, 3), 3);
            assert_int_equal(cbtm_weigh(c, prompt, size, got, got_d2, NULL), PACKLLM_OK);
            for (size_t i = 0; i < 3; i++) {
                if (!(fabs(got_d2[i] - d2[i]) < 1e-12 && fabs(got[i] - weights[i]) < 1e-10)) {
                    print_error("%zu clusters, '%.*s', member %zu: %.12g, golden %.12g\n", clusters,
                                (int)size, prompt, i, got_d2[i], d2[i]);
                    fail();
                }
            }
        }
        cbtm_close(c);
    }
    golden_close(file);
}

static struct cbtm_text text_of(const char *text, size_t member) {
    return (struct cbtm_text){text, strlen(text), member};
}

/* Goal: words of one character and what is between words do not count; case does not; the distance of
 * a text from itself is 0. */
static void words(void **state) {
    (void)state;
    static const char *const same[] = {"gene CELL", "Cell, gene!", "cell\xe2\x80\x94gene",
                                       "a cell b gene c", "\xff Cell\x80gene"};
    struct cbtm_text texts[] = {text_of("cell gene", 0), text_of("law court", 1)};
    struct cbtm *c = NULL;
    double lambda[2], d2[2];
    assert_int_equal(cbtm_open(&c, texts, 2, 2, 4, NULL), PACKLLM_OK);
    for (size_t k = 0; k < sizeof same / sizeof *same; k++) {
        assert_int_equal(cbtm_weigh(c, same[k], strlen(same[k]), lambda, d2, NULL), PACKLLM_OK);
        assert_true(d2[0] < 1e-15 && fabs(d2[1] - 2) < 1e-15);
        assert_true(fabs(lambda[1] - 1 / (1 + exp(20))) < 1e-15);
    }
    static const char *const others[] = {"cellgene", "cell_gene", "c ell g ene", "c\xc3\xa9ll"};
    for (size_t k = 0; k < sizeof others / sizeof *others; k++) {
        assert_int_equal(cbtm_weigh(c, others[k], strlen(others[k]), lambda, d2, NULL), PACKLLM_OK);
        assert_true(fabs(d2[0] - 1) < 1e-15 && lambda[0] == lambda[1]);
    }
    cbtm_close(c);
}

static void errors(void **state) {
    (void)state;
    struct cbtm_text texts[] = {text_of("cell gene", 0), text_of("law court", 0)};
    struct cbtm_text empty = text_of("? - a", 0);
    struct packllm_error err;
    struct cbtm *c = NULL;
    assert_int_equal(cbtm_open(&c, texts, 2, 2, 1, &err), PACKLLM_E_ARG);
    assert_int_equal(err.member, 1);
    assert_int_equal(cbtm_open(&c, &empty, 1, 1, 1, &err), PACKLLM_E_ARG);
    for (unsigned long nth = 1; nth < 60; nth++) {
        double lambda[1];
        alloc_fail_nth(nth);
        if (cbtm_open(&c, texts, 2, 1, 2, &err) == PACKLLM_OK) {
            (void)cbtm_weigh(c, "law", 3, lambda, NULL, &err);
            cbtm_close(c);
        }
    }
    alloc_fail_nth(0);
    cbtm_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_scikit_learn_says),
                                       cmocka_unit_test(words), cmocka_unit_test(errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
