/* grade.c - marks and what can be said about them, see grade.h. */
#include "eval/grade.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

struct grade_mark grade_choice(const double *nll, const size_t *bytes, size_t n, size_t gold) {
    size_t best = 0, best_norm = 0;
    double least = HUGE_VAL, sum = 0;
    for (size_t i = 0; i < n; i++) {
        double each = nll[i] / (double)bytes[i];
        best = nll[i] < nll[best] ? i : best;
        best_norm = each < nll[best_norm] / (double)bytes[best_norm] ? i : best_norm;
        least = fmin(least, each);
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp(least - nll[i] / (double)bytes[i]);
    }
    return (struct grade_mark){.right = best == gold,
                               .right_norm = best_norm == gold,
                               .gold_nll = nll[gold] / (double)bytes[gold] - least + log(sum)};
}

/* ---- generation ---- */

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void trim(const char **text, size_t *size) {
    while (*size > 0 && is_blank(**text)) {
        (*text)++;
        (*size)--;
    }
    while (*size > 0 && (is_blank((*text)[*size - 1]) || (*text)[*size - 1] == '.')) {
        (*size)--;
    }
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool grade_exact(const char *text, const char *answer) {
    size_t n = strlen(text), m = strlen(answer);
    trim(&text, &n);
    trim(&answer, &m);
    bool same = n == m;
    for (size_t i = 0; i < n && same; i++) {
        same = lower(text[i]) == lower(answer[i]);
    }
    return same;
}

/* The last number of the text: digits, commas between them, a point with digits behind it. */
static bool last_number(const char *text, double *out) {
    bool found = false;
    for (const char *p = text; *p != '\0';) {
        if (*p < '0' || *p > '9') {
            p++;
            continue;
        }
        bool negative = p > text && p[-1] == '-';
        double value = 0, scale = 1;
        for (; (*p >= '0' && *p <= '9') || (*p == ',' && p[1] >= '0' && p[1] <= '9'); p++) {
            value = *p == ',' ? value : value * 10 + (*p - '0');
        }
        if (*p == '.' && p[1] >= '0' && p[1] <= '9') {
            for (p++; *p >= '0' && *p <= '9'; p++) {
                value = value * 10 + (*p - '0');
                scale *= 10;
            }
        }
        *out = (negative ? -value : value) / scale;
        found = true;
    }
    return found;
}

bool grade_number(const char *text, const char *answer) {
    double a = 0, b = 0;
    return last_number(text, &a) && last_number(answer, &b) &&
           fabs(a - b) <= 1e-9 * fmax(1, fabs(b));
}

bool grade_is_number(const char *answer) {
    double value;
    size_t n = strlen(answer);
    trim(&answer, &n);
    for (size_t i = 0; i < n; i++) {
        if (strchr("0123456789.,-+$% ", answer[i]) == NULL) {
            return false;
        }
    }
    return last_number(answer, &value);
}

/* ---- means ---- */

/* Standard error of a mean of n values with that mean and that sum of squares. */
static double standard_error(double sum, double squares, size_t n) {
    double mean = sum / (double)n, rest = squares - sum * mean;
    return n < 2 ? (double)NAN : sqrt(fmax(0, rest) / (double)(n - 1) / (double)n);
}

struct grade_sum grade_add_up(const struct grade_mark *marks, size_t n) {
    struct grade_sum s = {.items = n};
    double nll = 0, squares = 0, count = (double)n;
    for (size_t i = 0; i < n; i++) {
        s.correct += marks[i].right;
        s.correct_norm += marks[i].right_norm;
        nll += marks[i].gold_nll;
        squares += marks[i].gold_nll * marks[i].gold_nll;
    }
    s.accuracy = (double)s.correct / count;
    s.accuracy_norm = (double)s.correct_norm / count;
    s.gold_nll = nll / count;
    s.stderr_accuracy = standard_error((double)s.correct, (double)s.correct, n);
    s.stderr_norm = standard_error((double)s.correct_norm, (double)s.correct_norm, n);
    s.stderr_nll = standard_error(nll, squares, n);
    return s;
}

/* ---- pairs ---- */

/* P(a fair coin falls as unevenly as won : lost), both sides. */
double grade_mcnemar(size_t won, size_t lost) {
    double n = (double)(won + lost), p = 0;
    size_t least = won < lost ? won : lost;
    for (size_t k = 0; k <= least; k++) {
        double i = (double)k;
        p += exp(lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) - n * log(2));
    }
    return fmin(1, 2 * p);
}

static int ascending(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The quantile by linear interpolation between order statistics. */
static double quantile(const double *sorted, size_t n, double share) {
    double at = share * (double)(n - 1);
    size_t low = (size_t)at, high = low + 1 < n ? low + 1 : low;
    return sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
}

bool grade_compare(const struct grade_mark *a, const struct grade_mark *b, size_t n, uint64_t seed,
                   size_t rounds, struct grade_pair *out) {
    double *means = alloc_array(2 * rounds, sizeof *means);
    struct grade_pair pair = {0};
    if (means == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        pair.won += a[i].right && !b[i].right;
        pair.lost += !a[i].right && b[i].right;
        pair.nll_difference += (a[i].gold_nll - b[i].gold_nll) / (double)n;
    }
    for (size_t r = 0; r < rounds; r++) {
        double right = 0, nll = 0;
        for (size_t i = 0; i < n; i++) {
            size_t k = (size_t)(rng_key(seed, r, i) % n);
            right += (double)a[k].right - (double)b[k].right;
            nll += a[k].gold_nll - b[k].gold_nll;
        }
        means[r] = right / (double)n;
        means[rounds + r] = nll / (double)n;
    }
    qsort(means, rounds, sizeof *means, ascending);
    qsort(means + rounds, rounds, sizeof *means, ascending);
    pair.difference = ((double)pair.won - (double)pair.lost) / (double)n;
    pair.low = quantile(means, rounds, 0.025);
    pair.high = quantile(means, rounds, 0.975);
    pair.nll_low = quantile(means + rounds, rounds, 0.025);
    pair.nll_high = quantile(means + rounds, rounds, 0.975);
    pair.mcnemar = grade_mcnemar(pair.won, pair.lost);
    base_free(means);
    *out = pair;
    return true;
}
