/* test_pack_options.c - many methods from one reading, on packs of fake members. Goals: every method's
 * loss is that of packllm_session_score for the same text, context and parameters; a member alone is
 * lambda = e_k; permuting methods or options permutes the figures and changes none; refit finds lambda
 * from context and option; what is forgotten before and what is not give the same figures here, where
 * logits are exact; the context is evaluated once; so it is with options that begin alike, end inside each
 * other, are equal or one byte long, with more of them than lanes and than are read at once, and with
 * four lanes; what is wrong is refused, and the session can be used afterwards, also where memory ended
 * or a cancel came at any place. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "fake.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CASES = 100, TEXT = 60, MEMBERS = 3, OPTIONS = 3, METHODS = 14 };

/* Slices are floats, and score, whose text may go on, keeps the rows that reach its end instead. */
#define FLOATS 1e-7

static struct packllm_error err;

struct world {
    struct fake *fakes[MEMBERS];
    struct packllm_pack *pack;
    struct packllm_session *session;
    char context[2 * TEXT + 8], text[OPTIONS][2 * TEXT + 8];
    size_t size;
    struct packllm_option options[OPTIONS];
    struct packllm_method methods[METHODS];
};

static const double FIXED[MEMBERS] = {0.2, 0.5, 0.3};

static void fill_methods(struct packllm_method *m) {
    static const struct {
        enum packllm_weigher weigher;
        enum packllm_pool pool;
    } kinds[METHODS - 2] = {
        {PACKLLM_WEIGH_EXACT, PACKLLM_POOL_LOG},    {PACKLLM_WEIGH_EXACT, PACKLLM_POOL_LINEAR},
        {PACKLLM_WEIGH_SIM, PACKLLM_POOL_LOG},      {PACKLLM_WEIGH_UNIFORM, PACKLLM_POOL_LOG},
        {PACKLLM_WEIGH_TOP1, PACKLLM_POOL_LOG},     {PACKLLM_WEIGH_GREEDY, PACKLLM_POOL_LOG},
        {PACKLLM_WEIGH_FREE, PACKLLM_POOL_LOG},     {PACKLLM_WEIGH_EM, PACKLLM_POOL_LINEAR},
        {PACKLLM_WEIGH_BAYES, PACKLLM_POOL_LINEAR}, {PACKLLM_WEIGH_HEDGE, PACKLLM_POOL_LOG},
        {PACKLLM_WEIGH_DEXPERTS, PACKLLM_POOL_LOG}, {PACKLLM_WEIGH_FIXED, PACKLLM_POOL_LOG}};
    for (size_t k = 0; k < METHODS; k++) {
        m[k] = packllm_method_default();
        if (k < METHODS - 2) {
            m[k].weigher = kinds[k].weigher;
            m[k].pool = kinds[k].pool;
        }
        m[k].fixed = FIXED;
        for (int e = 0; e < 3; e++) {
            m[k].experts[e] = e;
        }
    }
    m[METHODS - 2].member = 1;
    m[METHODS - 1].member = 2;
    m[METHODS - 1].canonical = true;
}

static void world_open(struct world *w, uint64_t seed) {
    static const enum fake_vocabulary kinds[] = {FAKE_BYTES, FAKE_NESTED, FAKE_UTF8, FAKE_TWINS};
    static const char *const names[MEMBERS] = {"a", "b", "c"};
    struct packllm_own_member own[MEMBERS];
    uint64_t rng = seed;
    for (uint64_t i = 0; i < MEMBERS; i++) {
        struct fake_params params = fake_params_default();
        params.seed = seed * MEMBERS + i;
        w->fakes[i] = fake_open(kinds[(seed + i) % 4], &params);
        own[i] = fake_member(w->fakes[i], names[i]);
    }
    assert_int_equal(packllm_pack_open_own(&w->pack, own, MEMBERS, NULL, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_open(&w->session, w->pack, NULL, &err), PACKLLM_OK);
    w->size = fake_text(&rng, w->context, TEXT, true);
    for (size_t o = 0; o < OPTIONS; o++) {
        size_t size = fake_text(&rng, w->text[o], TEXT / 3, true);
        w->options[o] = (struct packllm_option){w->text[o], size};
    }
    fill_methods(w->methods);
}

static void world_close(struct world *w) {
    packllm_session_close(w->session);
    packllm_pack_close(w->pack);
    for (size_t i = 0; i < MEMBERS; i++) {
        fake_close(w->fakes[i]);
    }
}

/* The same by packllm_session_score, in nats. */
static double scored(struct world *w, uint64_t seed, const struct packllm_method *m, size_t o,
                     size_t context) {
    struct packllm_session_params p = packllm_session_params_default();
    struct packllm_session *session = NULL;
    struct packllm_score score;
    char text[4 * TEXT + 16];
    double alone[MEMBERS] = {0};
    size_t size = w->options[o].size;
    memcpy(text, w->context, w->size);
    memcpy(text + w->size, w->options[o].text, size);
    p.space = PACKLLM_SPACE_BYTES;
    p.weigher = m->weigher;
    p.pool = m->pool;
    p.fixed = FIXED;
    memcpy(p.experts, m->experts, sizeof p.experts);
    if (m->member >= 0) {
        alone[m->member] = 1;
        p.weigher = PACKLLM_WEIGH_FIXED;
        p.fixed = alone;
    }
    CHECK_CASE(seed, packllm_session_open(&session, w->pack, &p, &err) == PACKLLM_OK, "%s",
               err.message);
    struct packllm_score_params q = {.context_bytes = context};
    CHECK_CASE(seed,
               packllm_session_score(session, text, w->size + size, &q, &score, &err) == PACKLLM_OK,
               "%s", err.message);
    packllm_session_close(session);
    return score.bits_per_byte * (double)score.bytes * log(2);
}

static double log_token(const struct fake *fake, const struct packllm_own_member *own,
                        const int32_t *history, size_t n) {
    static float logits[1024];
    double z = 0.0;
    assert_true(own->n_tokens <= 1024);
    fake_logits(fake, history, n, logits);
    for (size_t t = 0; t < own->n_tokens; t++) {
        z += own->tokens[t].control ? 0.0 : exp((double)logits[t]);
    }
    return (double)logits[history[n]] - log(z);
}

/* A member along its tokens: those that end behind the context; NAN: one lies across. */
static double along(struct world *w, const struct packllm_method *m, size_t o) {
    const struct fake *fake = w->fakes[m->member];
    struct packllm_own_member own = fake_member(fake, "x");
    char text[4 * TEXT + 16];
    int32_t history[4 * TEXT + 17];
    size_t size = w->size + w->options[o].size, at = 0;
    double nll = 0.0;
    memcpy(text, w->context, w->size);
    memcpy(text + w->size, w->options[o].text, w->options[o].size);
    history[0] = own.start;
    long n = fake_tokenize(fake, text, size, history + 1, 4 * TEXT + 16);
    assert_true(n > 0);
    for (long k = 1; k <= n; k++) {
        size_t next = at + own.tokens[history[k]].size;
        nll -= at >= w->size ? log_token(fake, &own, history, (size_t)k) : 0.0;
        nll = at < w->size && next > w->size ? (double)NAN : nll;
        at = next;
    }
    return nll;
}

static struct packllm_options ask(struct world *w, uint64_t seed, bool refit, bool fresh) {
    struct packllm_options_params p = {.refit = refit, .fresh = fresh};
    struct packllm_options out;
    CHECK_CASE(seed,
               packllm_session_options(w->session, w->context, w->size, w->options, OPTIONS,
                                       w->methods, METHODS, &p, &out, &err) == PACKLLM_OK,
               "%s", err.message);
    return out;
}

static void same_as_score(void **state) {
    size_t compared = 0;
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + CASES; seed < end; seed++) {
        struct world w;
        world_open(&w, seed);
        struct packllm_options a = ask(&w, seed, false, true);
        for (size_t k = 0; k < METHODS; k++) {
            size_t o = (seed + k) % OPTIONS;
            bool canonical = w.methods[k].canonical;
            double want = canonical ? along(&w, &w.methods[k], o)
                                    : scored(&w, seed, &w.methods[k], o, w.size);
            double got = a.nll[k * OPTIONS + o];
            compared += canonical && !isnan(want);
            CHECK_CASE(seed, isnan(want) || fabs(got - want) <= FLOATS * (1 + fabs(want)),
                       "method %zu, option %zu: %.12g, score says %.12g", k, o, got, want);
        }
        /* Without forgetting: a second time, and in another order. */
        struct packllm_options b = ask(&w, seed, false, false);
        for (size_t k = 0; k < METHODS * OPTIONS; k++) {
            CHECK_CASE(seed, fabs(a.nll[k] - b.nll[k]) <= 1e-9 * (1 + fabs(a.nll[k])),
                       "%zu: %.12g, again %.12g", k, a.nll[k], b.nll[k]);
        }
        packllm_options_done(&b);
        struct world turned = w;
        for (size_t k = 0; k < METHODS; k++) {
            turned.methods[k] = w.methods[METHODS - 1 - k];
        }
        for (size_t o = 0; o < OPTIONS; o++) {
            turned.options[o] = w.options[(o + 1) % OPTIONS];
        }
        struct packllm_options c = ask(&turned, seed, false, true);
        for (size_t k = 0; k < METHODS; k++) {
            for (size_t o = 0; o < OPTIONS; o++) {
                double want = a.nll[k * OPTIONS + (o + 1) % OPTIONS];
                double got = c.nll[(METHODS - 1 - k) * OPTIONS + o];
                CHECK_CASE(seed, fabs(got - want) <= 1e-9 * (1 + fabs(want)),
                           "method %zu, option %zu: %.12g, turned %.12g", k, o, want, got);
            }
        }
        packllm_options_done(&a);
        packllm_options_done(&c);
        world_close(&w);
    }
    assert_true(compared > CASES / 4);
}

/* lambda = argmin over context and option is the lambda of weighing the whole text. */
static void refits(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + CASES / 3; seed < end; seed++) {
        struct world w;
        struct packllm_weights weights;
        char text[4 * TEXT + 16];
        world_open(&w, seed);
        struct packllm_options a = ask(&w, seed, true, true);
        size_t last = OPTIONS - 1, size = w.options[last].size;
        memcpy(text, w.context, w.size);
        memcpy(text + w.size, w.options[last].text, size);
        assert_int_equal(packllm_session_weigh(w.session, text, w.size + size, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_weights(w.session, &weights), PACKLLM_OK);
        for (size_t i = 0; i < MEMBERS; i++) {
            CHECK_CASE(seed, fabs(a.weights[i] - weights.members[i].weight) < 10 * FLOATS,
                       "member %zu: %g, weigh says %g", i, a.weights[i], weights.members[i].weight);
        }
        packllm_options_done(&a);
        world_close(&w);
    }
}

static void context_is_read_once(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 3);
    memset(w.context, 'a', TEXT);
    w.size = TEXT;
    struct packllm_options one, three;
    for (size_t o = 0; o < OPTIONS; o++) {
        w.options[o] = (struct packllm_option){o == 0 ? " xy" : o == 1 ? " zu" : " vw", 3};
    }
    assert_int_equal(packllm_session_options(w.session, w.context, w.size, w.options, 1, w.methods,
                                             1, NULL, &one, &err),
                     PACKLLM_OK);
    assert_int_equal(packllm_session_options(w.session, w.context, w.size, w.options, 3, w.methods,
                                             1, NULL, &three, &err),
                     PACKLLM_OK);
    for (size_t i = 0; i < MEMBERS; i++) {
        assert_true(three.tokens[i] > one.tokens[i]);
        assert_true(three.tokens[i] - one.tokens[i] <
                    one.tokens[i]); /* less than a second context */
    }
    packllm_options_done(&one);
    packllm_options_done(&three);
    world_close(&w);
}

static void refusals(void **state) {
    (void)state;
    struct world w;
    struct packllm_options out;
    world_open(&w, 5);
    struct packllm_session *s = w.session;
    struct packllm_option bad = {"\xff", 1}, none = {"", 0};
    struct packllm_method m = packllm_method_default();
    assert_int_equal(packllm_session_options(s, "", 0, w.options, 1, &m, 1, NULL, &out, &err),
                     PACKLLM_E_TEXT);
    assert_int_equal(packllm_session_options(s, "abc", 3, &bad, 1, &m, 1, NULL, &out, &err),
                     PACKLLM_E_TEXT);
    assert_int_equal(packllm_session_options(s, "abc", 3, &none, 1, &m, 1, NULL, &out, &err),
                     PACKLLM_E_TEXT);
    assert_int_equal(packllm_session_options(s, "abc", 3, w.options, 0, &m, 1, NULL, &out, &err),
                     PACKLLM_E_ARG);
    m.weigher = PACKLLM_WEIGH_EM;
    assert_int_equal(packllm_session_options(s, "abc", 3, w.options, 1, &m, 1, NULL, &out, &err),
                     PACKLLM_E_ARG);
    m = packllm_method_default();
    m.member = MEMBERS;
    assert_int_equal(packllm_session_options(s, "abc", 3, w.options, 1, &m, 1, NULL, &out, &err),
                     PACKLLM_E_ARG);
    m = packllm_method_default();
    m.whole = true;
    assert_int_equal(packllm_session_options(s, "abc", 3, w.options, 1, &m, 1, NULL, &out, &err),
                     PACKLLM_E_ARG);
    static char huge[1500]; /* the fakes hold 512 tokens */
    memset(huge, 'a', sizeof huge);
    m = packllm_method_default();
    assert_int_equal(packllm_session_fits(s, huge, sizeof huge, &err), PACKLLM_E_CONTEXT);
    assert_int_equal(packllm_session_fits(s, huge, 20, &err), PACKLLM_OK);
    assert_int_equal(
        packllm_session_options(s, huge, sizeof huge, w.options, 1, &m, 1, NULL, &out, &err),
        PACKLLM_E_CONTEXT);
    struct packllm_options fine = ask(&w, 5, false, true);
    packllm_options_done(&fine);
    world_close(&w);
}

/* One option is a stretch of a text: the loss is packllm_session_score's, which lets its end begin a longer
 * token, and never more than that of the same as a choice. */
static void one_option(void **state) {
    size_t less = 0;
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + CASES; seed < end; seed++) {
        struct world w;
        struct packllm_options one, both;
        struct packllm_score score;
        struct packllm_score_params q = {0};
        char text[4 * TEXT + 16];
        world_open(&w, seed);
        size_t size = w.size + w.options[0].size;
        const struct packllm_method *m = &w.methods[METHODS - 1];
        memcpy(text, w.context, w.size);
        memcpy(text + w.size, w.options[0].text, w.options[0].size);
        q.context_bytes = w.size;
        assert_int_equal(packllm_session_score(w.session, text, size, &q, &score, &err),
                         PACKLLM_OK);
        double want = score.members[m->member].bits_per_byte * (double)score.bytes * log(2);
        assert_int_equal(packllm_session_options(w.session, w.context, w.size, w.options, 1, m, 1,
                                                 NULL, &one, &err),
                         PACKLLM_OK);
        assert_int_equal(packllm_session_options(w.session, w.context, w.size, w.options, 2, m, 1,
                                                 NULL, &both, &err),
                         PACKLLM_OK);
        CHECK_CASE(seed, fabs(one.nll[0] - want) <= FLOATS * (1 + want), "%.9g, score says %.9g",
                   one.nll[0], want);
        CHECK_CASE(seed, both.nll[0] >= one.nll[0] - FLOATS * (1 + want), "%.9g, alone %.9g",
                   both.nll[0], one.nll[0]);
        less += both.nll[0] > one.nll[0] + 1e-3;
        packllm_options_done(&one);
        packllm_options_done(&both);
        world_close(&w);
    }
    assert_true(less > 0);
}

/* Options that are made of each other, and lanes that are few: each is what score says, one by one. */
static void options_alike(void **state) {
    (void)state;
    enum { MOST = 40 };
    for (uint64_t seed = check_first_seed(), end = seed + CASES / 2; seed < end; seed++) {
        struct world w;
        struct packllm_option options[MOST];
        struct packllm_options got;
        struct packllm_params params = packllm_params_default();
        struct packllm_own_member own[MEMBERS];
        uint64_t rng = seed + 77;
        world_open(&w, seed);
        packllm_session_close(w.session);
        packllm_pack_close(w.pack);
        for (size_t i = 0; i < MEMBERS; i++) {
            own[i] = fake_member(w.fakes[i], "f");
        }
        params.n_seq = seed % 2 == 0 ? 4 : 12;
        own[1].name = "g", own[2].name = "h";
        assert_int_equal(packllm_pack_open_own(&w.pack, own, MEMBERS, &params, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_open(&w.session, w.pack, NULL, &err), PACKLLM_OK);
        size_t n = 2 + rng_next(&rng) % (MOST - 2);
        for (size_t o = 0; o < n; o++) {
            options[o] = w.options[rng_next(&rng) % OPTIONS];
            size_t cut = rng_next(&rng) % 3 == 0 ? 1 : 1 + rng_next(&rng) % options[o].size;
            while (cut < options[o].size && ((uint8_t)options[o].text[cut] & 0xc0) == 0x80) {
                cut++;
            }
            options[o].size = rng_next(&rng) % 3 == 0 ? options[o].size : cut;
        }
        struct packllm_method methods[] = {w.methods[0], w.methods[METHODS - 1]};
        struct packllm_options_params p = {.fresh = seed % 3 != 0};
        for (int time = 0; time < 2; time++) { /* the second time on other options' remains */
            CHECK_CASE(seed,
                       packllm_session_options(w.session, w.context, w.size, options, n, methods, 2,
                                               &p, &got, &err) == PACKLLM_OK,
                       "%s", err.message);
            for (size_t k = 0; k < 2 * n; k += 1 + n / 4) {
                w.options[0] = options[k % n];
                double want = k / n == 1 ? along(&w, &methods[1], 0)
                                         : scored(&w, seed, &methods[0], 0, w.size);
                CHECK_CASE(seed,
                           isnan(want) || fabs(got.nll[k] - want) <= FLOATS * (1 + fabs(want)),
                           "option %zu of %zu, method %zu: %.12g, score says %.12g", k % n, n,
                           k / n, got.nll[k], want);
            }
            packllm_options_done(&got);
            struct packllm_option first = options[0];
            options[0] = options[n - 1];
            options[n - 1] = first;
            w.size = 1 + w.size / 2;
            while (((uint8_t)w.context[w.size] & 0xc0) == 0x80) {
                w.size++;
            }
        }
        world_close(&w);
    }
}

/* A member that cancels its session, or fails, at its n-th row. */
struct breaker {
    struct packllm_own_member inner;
    struct packllm_session *session;
    int left;
    bool fails;
};

static int breaking(void *data, const int32_t *history, size_t n, float *out_logits) {
    struct breaker *b = data;
    if (b->left > 0 && --b->left == 0) {
        packllm_session_cancel(b->session);
        if (b->fails) {
            return 1;
        }
    }
    return b->inner.logits(b->inner.data, history, n, out_logits);
}

static long breaker_tokenize(void *data, const char *text, size_t size, int32_t *out, size_t cap) {
    struct breaker *b = data;
    return b->inner.tokenize(b->inner.data, text, size, out, cap);
}

static void broken_off(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + 12; seed < end; seed++) {
        struct world w;
        world_open(&w, seed);
        struct packllm_options want = ask(&w, seed, false, true), got;
        struct breaker b = {.inner = fake_member(w.fakes[1], "b"), .fails = seed % 2 == 0};
        struct packllm_own_member own[MEMBERS];
        for (size_t i = 0; i < MEMBERS; i++) {
            own[i] = fake_member(w.fakes[i], i == 0 ? "a" : i == 1 ? "b" : "c");
        }
        own[1].logits = breaking;
        own[1].tokenize = breaker_tokenize;
        own[1].data = &b;
        packllm_session_close(w.session);
        packllm_pack_close(w.pack);
        assert_int_equal(packllm_pack_open_own(&w.pack, own, MEMBERS, NULL, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_open(&w.session, w.pack, NULL, &err), PACKLLM_OK);
        b.session = w.session;
        struct packllm_options_params p = {.fresh = false};
        bool whole = false;
        for (int at = 1; !whole; at += 1 + at / 8) {
            b.left = at;
            enum packllm_status status =
                packllm_session_options(w.session, w.context, w.size, w.options, OPTIONS, w.methods,
                                        METHODS, &p, &got, &err);
            whole = b.left > 0;
            b.left = 0;
            if (status >= 0) {
                packllm_options_done(&got); /* a cancel in a member's last batch comes too late */
            }
            CHECK_CASE(seed, !whole || status == PACKLLM_OK, "%s", err.message);
            struct packllm_options again = ask(&w, seed, false, seed % 3 == 0);
            for (size_t k = 0; k < METHODS * OPTIONS; k++) {
                CHECK_CASE(seed, fabs(want.nll[k] - again.nll[k]) <= 1e-9 * (1 + fabs(want.nll[k])),
                           "%zu after row %d: %.12g, else %.12g", k, at, again.nll[k], want.nll[k]);
            }
            packllm_options_done(&again);
            packllm_session_forget(w.session);
        }
        packllm_options_done(&want);
        world_close(&w);
    }
}

static void memory_ends(void **state) {
    (void)state;
    struct world w;
    world_open(&w, 7);
    struct packllm_options want = ask(&w, 7, false, true), got;
    bool whole = false;
    for (unsigned long nth = 1; !whole; nth += 1 + nth / 16) {
        struct packllm_session *s = NULL;
        assert_int_equal(packllm_session_open(&s, w.pack, NULL, &err), PACKLLM_OK);
        alloc_fail_nth(nth);
        enum packllm_status status = packllm_session_options(
            s, w.context, w.size, w.options, OPTIONS, w.methods, METHODS, NULL, &got, &err);
        alloc_fail_nth(0);
        whole = status == PACKLLM_OK;
        CHECK_CASE(7, whole || status == PACKLLM_E_MEMORY, "allocation %lu: %s", nth, err.message);
        if (!whole) {
            CHECK_CASE(7,
                       packllm_session_options(s, w.context, w.size, w.options, OPTIONS, w.methods,
                                               METHODS, NULL, &got, &err) == PACKLLM_OK,
                       "%s", err.message);
        }
        for (size_t k = 0; k < METHODS * OPTIONS; k++) {
            CHECK_CASE(7, fabs(want.nll[k] - got.nll[k]) <= 1e-9 * (1 + fabs(want.nll[k])),
                       "%zu after allocation %lu: %.12g, else %.12g", k, nth, got.nll[k],
                       want.nll[k]);
        }
        packllm_options_done(&got);
        packllm_session_close(s);
    }
    packllm_options_done(&want);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_score),        cmocka_unit_test(refits),
        cmocka_unit_test(context_is_read_once), cmocka_unit_test(refusals),
        cmocka_unit_test(one_option),           cmocka_unit_test(options_alike),
        cmocka_unit_test(broken_off),           cmocka_unit_test(memory_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
