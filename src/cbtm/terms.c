/* terms.c - tf-idf as scikit-learn's TfidfVectorizer has it by default:
 *
 *     a word      two or more word characters in a row (\b\w\w+\b), in lower case
 *     idf(w)      ln((1 + n) / (1 + df(w))) + 1,   df(w) of the n texts hold w
 *     x_w         count(w) idf(w), then divided by |x|; words that no text held are left out
 *
 * Departs from it in what a word character is, so that no table of Unicode is needed: ASCII letters,
 * digits and _, and every character from U+00C0 on but U+2000..U+206F and U+3000..U+303F (dashes,
 * quotes, spaces). Only ASCII is brought to lower case.
 */
#include "cbtm/terms.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

enum { TERMS_CEILING = 1 << 28 }; /* bytes of words in all texts */

struct word {
    const char *bytes; /* [size], lower case */
    size_t size;
    size_t text; /* where it stands */
};

/* The character at text: its length in bytes, and whether it is one of a word. What is no UTF-8 is a
 * byte that is none. */
static size_t character(const char *text, size_t size, bool *out_word) {
    const uint8_t *b = (const uint8_t *)text;
    size_t n = b[0] < 0x80 ? 1 : b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
    *out_word = false;
    if (n == 1) {
        uint8_t low = b[0] | 0x20;
        *out_word = (low >= 'a' && low <= 'z') || (b[0] >= '0' && b[0] <= '9') || b[0] == '_';
        return 1;
    }
    if (n == 0 || n > size) {
        return 1;
    }
    uint32_t point = b[0] & (0xffU >> (n + 1));
    for (size_t k = 1; k < n; k++) {
        if ((b[k] & 0xc0) != 0x80) {
            return 1;
        }
        point = point << 6 | (b[k] & 0x3f);
    }
    *out_word = point >= 0xc0 && !(point >= 0x2000 && point < 0x2070) &&
                !(point >= 0x3000 && point < 0x3040);
    return n;
}

/* The next word from *at on: its place, bytes and characters. False: there is none. */
static bool next_word(const char *text, size_t size, size_t *at, size_t *out_start,
                      size_t *out_size) {
    while (*at < size) {
        size_t start = *at, letters = 0;
        bool word = true;
        while (*at < size) {
            size_t n = character(text + *at, size - *at, &word);
            if (!word) {
                break;
            }
            *at += n;
            letters++;
        }
        if (letters >= 2) {
            *out_start = start;
            *out_size = *at - start;
            return true;
        }
        if (!word) {
            *at += character(text + *at, size - *at, &word);
        }
    }
    return false;
}

static int compare_bytes(const char *a, size_t a_size, const char *b, size_t b_size) {
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

static int compare_words(const void *left, const void *right) {
    const struct word *a = left, *b = right;
    int order = compare_bytes(a->bytes, a->size, b->bytes, b->size);
    return order != 0 ? order : (a->text > b->text) - (a->text < b->text);
}

static void lower(char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (char)(bytes[i] >= 'A' && bytes[i] <= 'Z' ? bytes[i] + 32 : bytes[i]);
    }
}

/* The words of the texts, sorted, into *out [*out_n]; their bytes are those of all. */
static enum packllm_status sorted_words(const struct cbtm_text *texts, size_t n, struct buf *all,
                                        struct word **out, size_t *out_n,
                                        struct packllm_error *err) {
    size_t count = 0, start, size;
    for (size_t i = 0; i < n; i++) {
        for (size_t at = 0; next_word(texts[i].text, texts[i].size, &at, &start, &size); count++) {
            (void)buf_add(all, texts[i].text + start, size);
        }
    }
    if (all->failed) {
        return fail(err, PACKLLM_E_MEMORY, PACKLLM_NO_MEMBER,
                    "cbtm: no memory for the texts, or more than %d bytes of words",
                    (int)TERMS_CEILING);
    }
    struct word *words = alloc_array(count, sizeof *words);
    if (words == NULL) {
        return fail_memory(err, count * sizeof *words);
    }
    char *bytes = all->data;
    for (size_t i = 0, k = 0; i < n; i++) {
        for (size_t at = 0; next_word(texts[i].text, texts[i].size, &at, &start, &size); k++) {
            lower(bytes, size);
            words[k] = (struct word){bytes, size, i};
            bytes += size;
        }
    }
    qsort(words, count, sizeof *words, compare_words);
    *out = words;
    *out_n = count;
    return PACKLLM_OK;
}

enum packllm_status terms_open(struct terms *terms, const struct cbtm_text *texts, size_t n,
                               struct packllm_error *err) {
    struct buf all;
    struct word *words = NULL;
    size_t count = 0;
    *terms = (struct terms){0};
    buf_init(&all, TERMS_CEILING);
    buf_init(&terms->bytes, TERMS_CEILING);
    enum packllm_status status = sorted_words(texts, n, &all, &words, &count, err);
    if (status != PACKLLM_OK) {
        goto out;
    }
    if (count == 0) {
        status = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "cbtm: the texts hold no word");
        goto out;
    }
    terms->start = alloc_array(count + 1, sizeof *terms->start);
    terms->idf = alloc_array(count, sizeof *terms->idf);
    if (terms->start == NULL || terms->idf == NULL) {
        status = fail_memory(err, count * sizeof *terms->idf);
        goto out;
    }
    for (size_t i = 0; i < count;) {
        size_t held = 0, k = i; /* texts that hold it */
        while (k < count &&
               compare_bytes(words[k].bytes, words[k].size, words[i].bytes, words[i].size) == 0) {
            held += k == i || words[k].text != words[k - 1].text ? 1 : 0;
            k++;
        }
        terms->start[terms->n] = terms->bytes.size;
        terms->idf[terms->n++] = log((1.0 + (double)n) / (1.0 + (double)held)) + 1;
        (void)buf_add(&terms->bytes, words[i].bytes, words[i].size);
        i = k;
    }
    terms->start[terms->n] = terms->bytes.size;
    if (terms->bytes.failed) {
        status = fail_memory(err, all.size);
    }
out:
    buf_done(&all);
    base_free(words);
    if (status != PACKLLM_OK) {
        terms_done(terms);
    }
    return status;
}

void terms_done(struct terms *terms) {
    buf_done(&terms->bytes);
    base_free(terms->start);
    base_free(terms->idf);
    *terms = (struct terms){0};
}

/* The word's number, or n: unknown. */
static size_t find(const struct terms *terms, const char *bytes, size_t size) {
    size_t low = 0, high = terms->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2, start = terms->start[middle];
        int order =
            compare_bytes(bytes, size, terms->bytes.data + start, terms->start[middle + 1] - start);
        if (order == 0) {
            return middle;
        }
        low = order > 0 ? middle + 1 : low;
        high = order > 0 ? high : middle;
    }
    return terms->n;
}

static int compare_terms(const void *left, const void *right) {
    const size_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

enum packllm_status terms_vector(const struct terms *terms, const char *text, size_t size,
                                 struct vector *out, struct packllm_error *err) {
    struct cbtm_text one = {text, size, 0};
    struct buf all;
    struct word *words = NULL;
    struct vector x = {0};
    size_t count = 0, known = 0;
    buf_init(&all, TERMS_CEILING);
    enum packllm_status status = sorted_words(&one, 1, &all, &words, &count, err);
    if (status != PACKLLM_OK) {
        goto out;
    }
    x.term = alloc_array(count, sizeof *x.term);
    x.weight = alloc_array(count, sizeof *x.weight);
    if (x.term == NULL || x.weight == NULL) {
        vector_done(&x);
        status = fail_memory(err, count * sizeof *x.weight);
        goto out;
    }
    for (size_t k = 0; k < count; k++) {
        size_t term = find(terms, words[k].bytes, words[k].size);
        if (term < terms->n) {
            x.term[known++] = term;
        }
    }
    qsort(x.term, known, sizeof *x.term, compare_terms);
    double square = 0;
    for (size_t k = 0; k < known;) {
        size_t next = k;
        while (next < known && x.term[next] == x.term[k]) {
            next++;
        }
        x.weight[x.n] = (double)(next - k) * terms->idf[x.term[k]];
        x.term[x.n] = x.term[k];
        square += x.weight[x.n] * x.weight[x.n];
        x.n++;
        k = next;
    }
    for (size_t k = 0; k < x.n; k++) {
        x.weight[k] /= sqrt(square);
    }
    *out = x;
out:
    buf_done(&all);
    base_free(words);
    return status;
}

void vector_done(struct vector *x) {
    base_free(x->term);
    base_free(x->weight);
    *x = (struct vector){0};
}
