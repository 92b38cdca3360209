/* test_cbtm_weights.c - properties of cbtm on random texts: weights on the simplex, numbering of the
 * members does not matter to the bit, a member given twice shares, a text is at distance 0 from its own
 * centre where each has one, more centres are never further from the texts on average. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "cbtm/cbtm.h"
#include "check.h"

enum { MEMBERS = 4, EACH = 6, ROOM = 400 };

struct domain {
    char text[MEMBERS][EACH][ROOM];
    size_t count[MEMBERS];
};

static void write_text(char *out, uint64_t *s, unsigned topic) {
    size_t size = 0;
    for (size_t words = 1 + rng_next(s) % 30; words > 0; words--) {
        unsigned word = (unsigned)(rng_next(s) % 12) + (rng_next(s) % 3 == 0 ? 0 : 8 * topic);
        size += (size_t)snprintf(out + size, ROOM - size, "w%u ", word);
    }
}

static struct cbtm *open_domain(uint64_t seed, const struct domain *d, size_t n, const size_t *from,
                                size_t clusters) {
    struct cbtm_text texts[MEMBERS * EACH];
    struct packllm_error err = {0};
    struct cbtm *c = NULL;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < d->count[from[i]]; k++) {
            const char *text = d->text[from[i]][k];
            texts[count++] = (struct cbtm_text){text, strlen(text), i};
        }
    }
    CHECK_CASE(seed, cbtm_open(&c, texts, count, n, clusters, &err) == PACKLLM_OK, "%s",
               err.message);
    return c;
}

static void properties(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 1000; seed < end; seed++) {
        uint64_t s = seed;
        struct domain d;
        size_t n = 1 + rng_next(&s) % MEMBERS, shift = rng_next(&s) % n,
               clusters = 1 + rng_next(&s) % 4;
        size_t plain[MEMBERS], turned[MEMBERS];
        char prompt[ROOM];
        double a[MEMBERS], b[MEMBERS], d2[MEMBERS], sum = 0;
        for (size_t i = 0; i < n; i++) {
            d.count[i] = 1 + rng_next(&s) % EACH;
            plain[i] = i;
            turned[i] = (i + shift) % n;
            for (size_t k = 0; k < d.count[i]; k++) {
                write_text(d.text[i][k], &s, (unsigned)i);
            }
        }
        write_text(prompt, &s, (unsigned)(rng_next(&s) % n));
        struct cbtm *c = open_domain(seed, &d, n, plain, clusters);
        struct cbtm *t = open_domain(seed, &d, n, turned, clusters);
        CHECK_CASE(seed, cbtm_weigh(c, prompt, strlen(prompt), a, d2, NULL) == PACKLLM_OK, "weigh");
        CHECK_CASE(seed, cbtm_weigh(t, prompt, strlen(prompt), b, NULL, NULL) == PACKLLM_OK,
                   "weigh");
        for (size_t i = 0; i < n; i++) {
            CHECK_CASE(seed, b[i] == a[(i + shift) % n], "numbering: %g, %g", b[i],
                       a[(i + shift) % n]);
            CHECK_CASE(seed, a[i] >= 0 && d2[i] >= 0 && d2[i] <= 2 + 1e-12, "%g %g", a[i], d2[i]);
            sum += a[i];
        }
        CHECK_CASE(seed, fabs(sum - 1) < 1e-14, "sum %.17g", sum);
        cbtm_close(t);
        cbtm_close(c);

        size_t twice[2] = {0, 0};
        c = open_domain(seed, &d, 2, twice, EACH);
        CHECK_CASE(seed, cbtm_weigh(c, prompt, strlen(prompt), a, NULL, NULL) == PACKLLM_OK,
                   "weigh");
        CHECK_CASE(seed, a[0] == 0.5 && a[1] == 0.5, "copies: %g %g", a[0], a[1]);
        struct cbtm *one = open_domain(seed, &d, 1, plain, 1);
        double near = 0, far = 0;
        for (size_t k = 0; k < d.count[0]; k++) {
            const char *text = d.text[0][k];
            (void)cbtm_weigh(c, text, strlen(text), a, d2, NULL);
            CHECK_CASE(seed, d2[0] < 1e-12, "text %zu is %g from its own centre", k, d2[0]);
            near += d2[0];
            (void)cbtm_weigh(one, text, strlen(text), a, d2, NULL);
            CHECK_CASE(seed, a[0] == 1, "one member: %g", a[0]);
            far += d2[0];
        }
        CHECK_CASE(seed, near <= far + 1e-12, "%g, with one centre %g", near, far);
        cbtm_close(one);
        cbtm_close(c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(properties)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
