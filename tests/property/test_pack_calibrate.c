/* test_pack_calibrate.c - kept rows and methods that take turns, on packs of fake members. Goals: at the
 * pack's own settings a kept item has the losses and lambda of packllm_session_options; a prior with a
 * lot of shrinkage is lambda; temperatures change the losses, and at 1 nothing; the one lambda is
 * certified, and no other does better; a session that takes on a method writes what a session opened with
 * it writes, whatever wrote before. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <string.h>

#include "fake.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CASES = 25, TEXT = 50, MEMBERS = 3, OPTIONS = 3, ITEMS = 3, LONG = 8 };

static struct packllm_error err;

struct world {
    struct fake *fakes[MEMBERS];
    struct packllm_pack *pack;
    struct packllm_session *session;
    char context[ITEMS][2 * TEXT + 8], text[ITEMS][OPTIONS][2 * TEXT + 8];
    size_t size[ITEMS];
    struct packllm_option options[ITEMS][OPTIONS];
};

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
    for (size_t k = 0; k < ITEMS; k++) {
        w->size[k] = fake_text(&rng, w->context[k], TEXT, true);
        for (size_t o = 0; o < OPTIONS; o++) {
            size_t size = fake_text(&rng, w->text[k][o], TEXT / 3, true);
            w->options[k][o] = (struct packllm_option){w->text[k][o], size};
        }
    }
}

static void world_close(struct world *w) {
    packllm_session_close(w->session);
    packllm_pack_close(w->pack);
    for (size_t i = 0; i < MEMBERS; i++) {
        fake_close(w->fakes[i]);
    }
}

static const double EQUAL[MEMBERS] = {1.0 / 3, 1.0 / 3, 1.0 / 3}, ONES[MEMBERS] = {1, 1, 1};

static void check_item(struct world *w, uint64_t seed, struct packllm_calibration *c, size_t k) {
    struct packllm_method method = packllm_method_default();
    struct packllm_options got;
    double nll[OPTIONS], other[OPTIONS], lambda[MEMBERS];
    struct packllm_calibration_point at = {EQUAL, NULL, method.shrink};
    CHECK_CASE(seed,
               packllm_session_options(w->session, w->context[k], w->size[k], w->options[k],
                                       OPTIONS, &method, 1, NULL, &got, &err) == PACKLLM_OK,
               "%s", err.message);
    CHECK_CASE(seed, packllm_calibration_score(c, k, &at, nll, lambda, &err) == PACKLLM_OK, "%s",
               err.message);
    for (size_t o = 0; o < OPTIONS; o++) {
        CHECK_CASE(seed, fabs(nll[o] - got.nll[o]) < 1e-6 * (1 + got.nll[o]), "%g, want %g", nll[o],
                   got.nll[o]);
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        CHECK_CASE(seed, fabs(lambda[i] - got.weights[i]) < 1e-6, "%g, want %g", lambda[i],
                   got.weights[i]);
    }
    packllm_options_done(&got);
    at.temperature = ONES;
    assert_int_equal(packllm_calibration_score(c, k, &at, other, lambda, &err), PACKLLM_OK);
    assert_memory_equal(nll, other, sizeof nll);
    const double prior[MEMBERS] = {0.7, 0.2, 0.1}, warm[MEMBERS] = {1, 2, 0.5};
    at = (struct packllm_calibration_point){prior, warm, 1e9};
    assert_int_equal(packllm_calibration_score(c, k, &at, other, lambda, &err), PACKLLM_OK);
    for (size_t i = 0; i < MEMBERS; i++) {
        CHECK_CASE(seed, fabs(lambda[i] - prior[i]) < 1e-4, "%g, want %g", lambda[i], prior[i]);
    }
    CHECK_CASE(seed, memcmp(nll, other, sizeof nll) != 0, "temperatures changed nothing (%g)",
               nll[0]);
}

/* Bytes' mean loss of the gold texts at one lambda. */
static double loss_at(const struct packllm_calibration *c, const struct world *w,
                      const double *prior, const bool *use) {
    struct packllm_calibration_point at = {prior, NULL, 1e12};
    double sum = 0, bytes = 0, nll[OPTIONS], lambda[MEMBERS];
    for (size_t k = 0; k < ITEMS; k++) {
        assert_int_equal(packllm_calibration_score(c, k, &at, nll, lambda, &err), PACKLLM_OK);
        sum += use[k] ? nll[k % OPTIONS] : 0;
        bytes += use[k] ? (double)w->options[k][k % OPTIONS].size : 0;
    }
    return sum / bytes;
}

static void kept_items(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct world w;
        struct packllm_calibration *c = NULL;
        double lambda[MEMBERS], gap, sum = 0;
        const bool use[ITEMS] = {true, false, true};
        world_open(&w, seed);
        assert_int_equal(packllm_calibration_open(&c, w.session, &err), PACKLLM_OK);
        for (size_t k = 0; k < ITEMS; k++) {
            CHECK_CASE(seed,
                       packllm_calibration_add(c, w.context[k], w.size[k], w.options[k], OPTIONS,
                                               k % OPTIONS, &err) == PACKLLM_OK,
                       "%s", err.message);
        }
        for (size_t k = 0; k < ITEMS; k++) {
            check_item(&w, seed, c, k);
        }
        assert_int_equal(packllm_calibration_one(c, use, lambda, &gap, &err), PACKLLM_OK);
        CHECK_CASE(seed, gap < 1e-6, "gap %g", gap);
        for (size_t i = 0; i < MEMBERS; i++) {
            lambda[i] = fmax(lambda[i], 1e-9);
            sum += lambda[i];
        }
        for (size_t i = 0; i < MEMBERS; i++) {
            lambda[i] /= sum;
        }
        double least = loss_at(c, &w, lambda, use);
        CHECK_CASE(seed, least <= loss_at(c, &w, EQUAL, use) + 1e-6, "%g", least);
        for (size_t i = 0; i < MEMBERS; i++) {
            double near[MEMBERS];
            for (size_t j = 0; j < MEMBERS; j++) {
                near[j] = 0.9 * lambda[j] + (i == j ? 0.1 : 0);
            }
            CHECK_CASE(seed, least <= loss_at(c, &w, near, use) + 1e-6, "%g", least);
        }
        assert_int_equal(packllm_calibration_add(c, "x", 1, w.options[0], 0, 0, &err),
                         PACKLLM_E_ARG);
        struct packllm_calibration_point bad = {EQUAL, NULL, -1};
        assert_int_equal(packllm_calibration_score(c, 0, &bad, lambda, lambda, &err),
                         PACKLLM_E_ARG);
        packllm_calibration_close(c);
        world_close(&w);
    }
}

/* ---- methods that take turns ---- */

static size_t written(uint64_t seed, struct packllm_session *s, const char *text, size_t size,
                      char *out) {
    struct packllm_piece piece;
    size_t at = 0;
    enum packllm_status status = packllm_session_prompt(s, text, size, &err);
    for (size_t k = 0; k < LONG && status >= 0 && status != PACKLLM_FINISHED; k++) {
        status = packllm_session_step(s, &piece, &err);
        if (status == PACKLLM_PIECE) {
            memcpy(out + at, piece.text, piece.size);
            at += piece.size;
        }
    }
    CHECK_CASE(seed, status >= 0, "%s", err.message);
    return at;
}

static void methods_take_turns(void **state) {
    (void)state;
    static const enum packllm_weigher kinds[] = {PACKLLM_WEIGH_EXACT, PACKLLM_WEIGH_EM,
                                                 PACKLLM_WEIGH_UNIFORM, PACKLLM_WEIGH_FIXED,
                                                 PACKLLM_WEIGH_DEXPERTS};
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct world w;
        world_open(&w, seed);
        struct packllm_session_params p = packllm_session_params_default();
        p.sampling.temp = 0;
        packllm_session_close(w.session);
        assert_int_equal(packllm_session_open(&w.session, w.pack, &p, &err), PACKLLM_OK);
        for (size_t k = 0; k < 6; k++) {
            static char got[4096], want[4096];
            struct packllm_session *alone = NULL;
            struct packllm_method m = packllm_method_default();
            double fixed[MEMBERS] = {0.2, 0.5, 0.3}, single[MEMBERS] = {0, 1, 0};
            m.weigher = kinds[k < 5 ? k : 0];
            m.pool = m.weigher == PACKLLM_WEIGH_EM ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG;
            m.member = k == 5 ? 1 : -1;
            m.fixed = fixed;
            for (int e = 0; e < 3; e++) {
                m.experts[e] = e;
            }
            p = packllm_session_params_default();
            p.sampling.temp = 0;
            p.space = PACKLLM_SPACE_BYTES;
            p.weigher = k == 5 ? PACKLLM_WEIGH_FIXED : m.weigher;
            p.pool = m.pool;
            p.fixed = k == 5 ? single : fixed;
            memcpy(p.experts, m.experts, sizeof p.experts);
            assert_int_equal(packllm_session_open(&alone, w.pack, &p, &err), PACKLLM_OK);
            size_t n = written(seed, alone, w.context[0], w.size[0], want);
            packllm_session_close(alone);
            CHECK_CASE(seed, packllm_session_use(w.session, &m, &err) == PACKLLM_OK, "%s",
                       err.message);
            if (k % 2 == 1) {
                packllm_session_forget(w.session);
            }
            CHECK_CASE(seed,
                       written(seed, w.session, w.context[0], w.size[0], got) == n &&
                           memcmp(got, want, n) == 0,
                       "method %zu wrote '%.*s', alone '%.*s'", k, (int)n, got, (int)n, want);
        }
        struct packllm_method hedge = packllm_method_default();
        hedge.weigher = PACKLLM_WEIGH_HEDGE;
        assert_int_equal(packllm_session_use(w.session, &hedge, &err), PACKLLM_E_ARG);
        world_close(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(kept_items),
                                       cmocka_unit_test(methods_take_turns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
