/* test_sample_chain.c - property: the sampler picks what a slow, literal restatement of llama.cpp's
 * chain with the same noise picks, for random options, histories and vocabularies. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "sample/sample.h"
#include "check.h"

#define VOCABULARY 900
#define HISTORY 100

static double uniform(uint64_t *state) {
    return rng_uniform(rng_next(state));
}

/* Sorted by value, then id: insertion, as slow as it is plain. */
static void sort(struct sample_candidate *c, size_t n) {
    for (size_t i = 1; i < n; i++) {
        for (size_t j = i; j > 0 && (c[j].logp > c[j - 1].logp ||
                                     (c[j].logp == c[j - 1].logp && c[j].id < c[j - 1].id));
             j--) {
            struct sample_candidate swap = c[j];
            c[j] = c[j - 1];
            c[j - 1] = swap;
        }
    }
}

/* The chain by the book. Returns the id; *out_kept how many the draw was from. */
static int32_t restated(const struct packllm_sampling *p, const int32_t *history, size_t size,
                        struct sample_candidate *c, size_t n, uint64_t position, size_t *out_kept) {
    size_t first = p->repeat_last_n >= 0 && size > (size_t)p->repeat_last_n
                       ? size - (size_t)p->repeat_last_n
                       : 0;
    for (size_t i = 0; i < n; i++) {
        int count = 0;
        for (size_t k = first; k < size; k++) {
            count += history[k] == c[i].id ? 1 : 0;
        }
        if (count > 0) {
            c[i].logp =
                c[i].logp > 0 ? c[i].logp / p->repeat_penalty : c[i].logp * p->repeat_penalty;
            c[i].logp -= count * p->frequency_penalty + p->presence_penalty;
        }
    }
    sort(c, n);
    if (p->temp <= 0) {
        *out_kept = 1;
        return c[0].id;
    }
    if (p->top_k > 0 && (size_t)p->top_k < n) {
        n = (size_t)p->top_k;
    }
    if (p->top_p < 1) {
        long double all = 0, sum = 0;
        for (size_t i = 0; i < n; i++) {
            all += expl((long double)c[i].logp - (long double)c[0].logp);
        }
        for (size_t i = 0; i < n; i++) {
            sum += expl((long double)c[i].logp - (long double)c[0].logp) / all;
            if (sum >= (long double)p->top_p) {
                n = i + 1;
            }
        }
    }
    if (p->min_p > 0) {
        size_t keep = 1;
        while (keep < n && exp(c[keep].logp - c[0].logp) >= p->min_p) {
            keep++;
        }
        n = keep;
    }
    *out_kept = n;
    size_t best = 0;
    double most = -HUGE_VAL;
    for (size_t i = 0; i < n; i++) {
        double x = c[i].logp / p->temp + rng_gumbel(p->seed, position, (uint64_t)c[i].id);
        if (x > most) {
            most = x;
            best = i;
        }
    }
    return c[best].id;
}

static struct packllm_sampling random_options(uint64_t *s) {
    struct packllm_sampling p = {0};
    p.temp = rng_next(s) % 6 == 0 ? 0 : 0.1 + 2 * uniform(s);
    p.top_k = rng_next(s) % 3 == 0 ? 0 : (int32_t)(rng_next(s) % 60);
    p.top_p = rng_next(s) % 3 == 0 ? 1 : uniform(s);
    p.min_p = rng_next(s) % 3 == 0 ? 0 : 0.3 * uniform(s);
    p.repeat_penalty = rng_next(s) % 3 == 0 ? 1 : 0.8 + uniform(s);
    p.repeat_last_n = (int32_t)(rng_next(s) % HISTORY) - 1;
    p.presence_penalty = rng_next(s) % 3 == 0 ? 2 * uniform(s) - 1 : 0;
    p.frequency_penalty = rng_next(s) % 3 == 0 ? 2 * uniform(s) - 1 : 0;
    p.seed = rng_next(s);
    return p;
}

static void as_restated(void **state) {
    (void)state;
    static struct sample_candidate given[VOCABULARY], slow[VOCABULARY];
    size_t kept_one = 0, kept_many = 0;
    for (uint64_t seed = check_first_seed(), end = seed + 3000; seed < end; seed++) {
        uint64_t s = seed;
        struct packllm_sampling params = random_options(&s);
        struct sampler *sampler = NULL;
        CHECK_CASE(seed, sampler_open(&sampler, &params, NULL) == PACKLLM_OK, "open");
        int32_t history[HISTORY];
        size_t size = rng_next(&s) % HISTORY;
        size_t n = 1 + rng_next(&s) % (rng_next(&s) % 8 == 0 ? VOCABULARY : 80);
        for (size_t k = 0; k < size; k++) {
            history[k] = (int32_t)(rng_next(&s) % 90);
            CHECK_CASE(seed, sampler_accept(sampler, history[k], NULL) == PACKLLM_OK, "accept");
        }
        double spread = 0.05 + 6 * uniform(&s);
        bool coarse = rng_next(&s) % 4 == 0; /* many ties */
        for (size_t i = 0; i < n; i++) {
            double x = spread * (2 * uniform(&s) - 1.2);
            given[i] = (struct sample_candidate){(int32_t)i, coarse ? floor(x) : x};
            if (rng_next(&s) % 50 == 0 && i > 0) {
                given[i].logp = -HUGE_VAL;
            }
        }
        for (size_t i = n; i > 1; i--) { /* any order */
            size_t j = rng_next(&s) % i;
            struct sample_candidate swap = given[i - 1];
            given[i - 1] = given[j];
            given[j] = swap;
        }
        memcpy(slow, given, n * sizeof *given);
        uint64_t position = rng_next(&s) % 1000;
        size_t kept;
        int32_t want = restated(&params, history, size, slow, n, position, &kept);
        int32_t got = given[sampler_pick(sampler, given, n, position)].id;
        CHECK_CASE(seed, got == want, "%d, want %d of %zu kept", (int)got, (int)want, kept);
        kept_one += kept == 1 ? 1 : 0;
        kept_many += kept > 20 ? 1 : 0;
        sampler_close(sampler);
    }
    assert_true(check_first_seed() != 1 || (kept_one > 100 && kept_many > 100));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_restated)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
