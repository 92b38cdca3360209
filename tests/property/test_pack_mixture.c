/* test_pack_mixture.c - scores of running mixtures (bayes, hedge) on packs of fake members. Goals: the
 * loss is the mixture's by definition, computed here again from the per-byte figures of the members
 * and of the exact pool; it is at most log(K + 1) nats (bayes: log K, with the context) above the best;
 * text behind a byte changes nothing before it; next sums to 1; the walk that generates agrees; weigh
 * and prompt refuse hedge, and a weigher that does not fit the pool is refused at the opening. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "fake.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CASES = 1000, TEXT = 90, MEMBERS = 3, MOST = 4 * TEXT };

static struct packllm_error err;

struct world {
    struct fake *fakes[MEMBERS];
    struct packllm_pack *pack;
};

struct bytes {
    double pack[MOST], member[MOST][MEMBERS]; /* nats */
    size_t n;
};

static void world_open(struct world *w, uint64_t seed) {
    static const enum fake_vocabulary kinds[] = {FAKE_BYTES, FAKE_NESTED, FAKE_UTF8, FAKE_TWINS};
    static const char *const names[MEMBERS] = {"a", "b", "c"};
    struct packllm_own_member own[MEMBERS];
    for (uint64_t i = 0; i < MEMBERS; i++) {
        struct fake_params params = fake_params_default();
        params.seed = seed * MEMBERS + i;
        w->fakes[i] = fake_open(kinds[(seed + i) % 4], &params);
        own[i] = fake_member(w->fakes[i], names[i]);
    }
    assert_int_equal(packllm_pack_open_own(&w->pack, own, MEMBERS, NULL, &err), PACKLLM_OK);
}

static void world_close(struct world *w) {
    packllm_pack_close(w->pack);
    for (size_t i = 0; i < MEMBERS; i++) {
        fake_close(w->fakes[i]);
    }
}

static void keep(void *data, size_t offset, double log2_pack, const double *log2_members,
                 double parked) {
    struct bytes *b = data;
    (void)offset, (void)parked;
    b->pack[b->n] = -log2_pack * log(2);
    for (size_t i = 0; i < MEMBERS; i++) {
        b->member[b->n][i] = -log2_members[i] * log(2);
    }
    b->n++;
}

static struct packllm_score score(struct world *w, uint64_t seed, enum packllm_weigher weigher,
                                  const char *text, size_t size, size_t context, bool walk,
                                  struct bytes *out) {
    struct packllm_session_params p = packllm_session_params_default();
    struct packllm_session *session = NULL;
    struct packllm_score result;
    p.weigher = weigher;
    p.pool = weigher == PACKLLM_WEIGH_BAYES ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG;
    struct packllm_score_params q = {.context_bytes = context,
                                     .through_generation = walk,
                                     .next = true,
                                     .per_byte = keep,
                                     .per_byte_data = out};
    out->n = 0;
    CHECK_CASE(seed, packllm_session_open(&session, w->pack, &p, &err) == PACKLLM_OK, "%s",
               err.message);
    CHECK_CASE(seed, packllm_session_score(session, text, size, &q, &result, &err) == PACKLLM_OK,
               "%s", err.message);
    packllm_session_close(session);
    return result;
}

/* -log sum_e 1/E exp(-loss_e[0..n)): the mixture's whole loss so far, in closed form. */
static double closed_form(const double *loss, size_t n) {
    double least = HUGE_VAL, sum = 0;
    for (size_t e = 0; e < n; e++) {
        least = fmin(least, loss[e]);
    }
    for (size_t e = 0; e < n; e++) {
        sum += exp(least - loss[e]) / (double)n;
    }
    return least - log(sum);
}

static void hedged(uint64_t seed, struct world *w, const char *text, size_t size, size_t context) {
    struct bytes pool, mixture, walked;
    double loss[MEMBERS + 1] = {0}, total = 0, sum = 0, least = HUGE_VAL;
    (void)score(w, seed, PACKLLM_WEIGH_EXACT, text, size, context, false, &pool);
    struct packllm_score a =
        score(w, seed, PACKLLM_WEIGH_HEDGE, text, size, context, false, &mixture);
    for (size_t t = 0; t < mixture.n; t++) {
        double before = closed_form(loss, MEMBERS + 1);
        for (size_t i = 0; i < MEMBERS; i++) {
            loss[i] += mixture.member[t][i];
        }
        loss[MEMBERS] += pool.pack[t];
        double step = closed_form(loss, MEMBERS + 1) - before;
        CHECK_CASE(seed, fabs(step - mixture.pack[t]) < 1e-9, "byte %zu: %g, by definition %g", t,
                   mixture.pack[t], step);
        total += mixture.pack[t];
    }
    for (size_t e = 0; e <= MEMBERS; e++) {
        least = fmin(least, loss[e]);
    }
    CHECK_CASE(seed, total <= least + log(MEMBERS + 1) + 1e-9, "%g nats, the best %g", total,
               least);
    CHECK_CASE(seed, fabs(a.regret - (total - least)) < 1e-9 && a.regret <= a.regret_bound + 1e-9,
               "regret %g, bound %g", a.regret, a.regret_bound);
    for (int e = 0; e < PACKLLM_EVENTS; e++) {
        sum += a.next[e];
    }
    CHECK_CASE(seed, fabs(sum - 1) < 1e-6, "next sums to %g", sum);
    if (context > 0) {
        struct packllm_score b =
            score(w, seed, PACKLLM_WEIGH_HEDGE, text, size, context, true, &walked);
        CHECK_CASE(seed, fabs(a.bits_per_byte - b.bits_per_byte) <= 3e-3 * b.bits_per_byte,
                   "in one go %.6f, walked %.6f", a.bits_per_byte, b.bits_per_byte);
        char other[MOST];
        size_t cut = (size + context) / 2;
        while (((uint8_t)text[cut] & 0xc0) == 0x80) {
            cut--;
        }
        memcpy(other, text, cut);
        memcpy(other + cut, "xyz", 3);
        if (cut > context) {
            struct bytes changed;
            (void)score(w, seed, PACKLLM_WEIGH_HEDGE, other, cut + 3, context, true, &changed);
            for (size_t t = 0; t < cut - context; t++) {
                CHECK_CASE(seed, changed.pack[t] == walked.pack[t], "byte %zu is not causal", t);
            }
        }
    }
}

static void posterior(uint64_t seed, struct world *w, const char *text, size_t size,
                      size_t context) {
    struct bytes all, part;
    double total = 0, rest = 0;
    struct packllm_score a = score(w, seed, PACKLLM_WEIGH_BAYES, text, size, 0, false, &all);
    struct packllm_score b = score(w, seed, PACKLLM_WEIGH_BAYES, text, size, context, false, &part);
    for (size_t t = 0; t < all.n; t++) {
        total += all.pack[t];
        rest += t >= context ? fabs(all.pack[t] - part.pack[t - context]) : 0;
    }
    CHECK_CASE(seed, a.regret <= log(MEMBERS) + 1e-9 && fabs(a.regret_bound - log(MEMBERS)) < 1e-12,
               "regret %g", a.regret);
    /* The context is only where counting starts: the mixture is the same. */
    CHECK_CASE(seed, rest < 1e-3 * (1 + total) && fabs(a.regret - b.regret) < 1e-3, "%g; %g, %g",
               rest, a.regret, b.regret);
}

static void mixtures(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + CASES; seed < end; seed++) {
        struct world w;
        uint64_t rng = seed;
        char text[2 * TEXT + 16];
        size_t size = fake_text(&rng, text, TEXT, true);
        while (size < 12) {
            text[size++] = 'a';
        }
        size_t context = size / 3;
        while (((uint8_t)text[context] & 0xc0) == 0x80) {
            context--;
        }
        world_open(&w, seed);
        hedged(seed, &w, text, size, seed % 3 == 0 ? 0 : context);
        posterior(seed, &w, text, size, context);
        world_close(&w);
    }
}

static void refusals(void **state) {
    (void)state;
    struct world w;
    struct packllm_session *session = NULL;
    struct packllm_session_params p = packllm_session_params_default();
    world_open(&w, 1);
    for (int k = 0; k < 3; k++) {
        p.weigher = k == 0 ? PACKLLM_WEIGH_EM : k == 1 ? PACKLLM_WEIGH_BAYES : PACKLLM_WEIGH_FREE;
        p.pool = k == 2 ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG;
        assert_int_equal(packllm_session_open(&session, w.pack, &p, &err), PACKLLM_E_ARG);
    }
    p.weigher = PACKLLM_WEIGH_HEDGE;
    assert_int_equal(packllm_session_open(&session, w.pack, &p, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_weigh(session, "abc", 3, &err), PACKLLM_E_ARG);
    assert_int_equal(packllm_session_prompt(session, "abc", 3, &err), PACKLLM_E_ARG);
    assert_non_null(strstr(err.message, "hedge"));
    packllm_session_close(session);
    static const int32_t wrong[][3] = {{0, 1, 1}, {0, 1, MEMBERS}, {-1, 0, 1}};
    p.weigher = PACKLLM_WEIGH_DEXPERTS;
    for (size_t k = 0; k < 3; k++) {
        memcpy(p.experts, wrong[k], sizeof p.experts);
        assert_int_equal(packllm_session_open(&session, w.pack, &p, &err), PACKLLM_E_ARG);
    }
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(mixtures), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
