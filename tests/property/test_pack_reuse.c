/* test_pack_reuse.c - sessions that take over what another one evaluated. Goals: whatever the old one
 * did (a prompt, steps, a chat, a text given token by token, a cancel), the new one gives the bits that
 * a session opened anew gives, with its own parameters, also in a view of the pack; what is shared is
 * not evaluated again; on an error the old one is as it was. The same of a copy, after which the old one
 * goes on. */
#define PACKLLM_EXPERIMENTAL
#include <malloc.h>
#include <string.h>

#include "base/rng.h"
#include "fake.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CASES = 80, MEMBERS = 2, TEXT = 50, STEPS = 8, SLACK = 512 /* bytes */ };

static struct packllm_error err;

struct world {
    struct fake *fakes[MEMBERS];
    struct packllm_pack *pack, *view;
};

static void world_open(struct world *w, uint64_t seed, uint32_t n_parallel) {
    static const enum fake_vocabulary kinds[] = {FAKE_BYTES, FAKE_NESTED, FAKE_UTF8, FAKE_TWINS,
                                                 FAKE_USER};
    static const char *const names[MEMBERS] = {"a", "b"};
    static const size_t second[] = {1};
    struct packllm_own_member own[MEMBERS];
    struct packllm_params params = packllm_params_default();
    for (uint64_t i = 0; i < MEMBERS; i++) {
        struct fake_params p = fake_params_default();
        p.seed = seed * MEMBERS + i;
        p.end_bias = -4;
        p.n_ctx = 400;
        w->fakes[i] = fake_open(kinds[(seed + i * (seed % 3)) % 5], &p);
        own[i] = fake_member(w->fakes[i], names[i]);
    }
    params.n_parallel = n_parallel;
    assert_int_equal(packllm_pack_open_own(&w->pack, own, MEMBERS, &params, &err), PACKLLM_OK);
    assert_int_equal(packllm_pack_view(&w->view, w->pack, second, 1, &err), PACKLLM_OK);
}

static void world_close(struct world *w) {
    packllm_pack_close(w->view);
    packllm_pack_close(w->pack);
    for (size_t i = 0; i < MEMBERS; i++) {
        fake_close(w->fakes[i]);
    }
}

struct result {
    enum packllm_status prompt, last;
    double lambda[MEMBERS], bits[MEMBERS], logprob[STEPS];
    char text[1024];
    size_t size, n;
};

/* What a request is. */
struct ask {
    char text[8 * TEXT + 1], more[4 * TEXT + 1];
    size_t size;
    bool chat, view, given, cancelled;
    struct packllm_session_params params;
};

static void ask_make(struct ask *a, uint64_t *rng, const char *common) {
    char own[4 * TEXT + 1];
    *a = (struct ask){.params = packllm_session_params_default()};
    own[fake_text(rng, own, TEXT, true)] = '\0';
    a->more[fake_text(rng, a->more, TEXT, true)] = '\0';
    a->size = (size_t)snprintf(a->text, sizeof a->text, "%s%s", common, own);
    a->chat = rng_next(rng) % 4 == 0;
    a->view = rng_next(rng) % 4 == 0;
    a->given = !a->chat && rng_next(rng) % 6 == 0;
    a->cancelled = rng_next(rng) % 6 == 0;
    a->params.sampling.seed = rng_next(rng) % 100;
    a->params.choose =
        rng_next(rng) % 3 == 0 && !a->given ? PACKLLM_CHOOSE_BYTES : PACKLLM_CHOOSE_TOKENS;
    a->params.epsilon = rng_next(rng) % 2 == 0 ? 0.003 : 0.05;
    a->params.pool = rng_next(rng) % 3 == 0 ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG;
    a->params.space = rng_next(rng) % 3 == 0 ? PACKLLM_SPACE_BYTES : PACKLLM_SPACE_AUTO;
}

static enum packllm_status begin(struct packllm_session *s, const struct ask *a) {
    static const double equal[MEMBERS] = {1, 1};
    if (a->given) {
        return packllm_session_begin(s, equal, a->view ? 1 : MEMBERS, &err);
    }
    if (a->chat) {
        const struct packllm_message messages[] = {
            {"system", a->text}, {"user", a->more}, {"assistant", "ab"}, {"user", a->text}};
        return packllm_session_chat(s, messages, 4, &err);
    }
    return packllm_session_prompt(s, a->text, a->size, &err);
}

static void run(struct packllm_session *s, const struct ask *a, struct result *r) {
    struct packllm_weights w;
    struct packllm_piece piece;
    *r = (struct result){.prompt = begin(s, a)};
    r->last = r->prompt;
    if (r->prompt >= 0 && packllm_session_weights(s, &w) == PACKLLM_OK) {
        for (size_t i = 0; i < w.n_members; i++) {
            r->lambda[i] = w.members[i].weight;
            r->bits[i] = a->given ? 0 : w.members[i].bits_per_byte_model;
        }
    }
    while (r->last >= 0 && r->n < STEPS) {
        if (a->cancelled && r->n == 3) {
            packllm_session_cancel(s);
        }
        r->last = packllm_session_step(s, &piece, &err);
        if (r->last != PACKLLM_PIECE) {
            break;
        }
        memcpy(r->text + r->size, piece.text, piece.size);
        r->size += piece.size;
        r->logprob[r->n++] = piece.logprob;
    }
}

static void test_as_a_new_one(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= CASES; seed++) {
        struct world w;
        struct ask a;
        uint64_t rng = seed;
        char common[4 * TEXT + 1];
        world_open(&w, seed, seed % 2 == 0 ? 1 : 2);
        common[fake_text(&rng, common, TEXT, true)] = '\0';
        struct packllm_session *kept = NULL;
        for (size_t k = 0; k < 5; k++) {
            struct packllm_session *fresh = NULL;
            struct result want, got;
            ask_make(&a, &rng, common);
            struct packllm_pack *pack = a.view ? w.view : w.pack;
            if (seed % 2 == 0 || kept == NULL) { /* one session at a time has room, or two */
                struct world other;
                world_open(&other, seed, 1);
                assert_int_equal(
                    packllm_session_open(&fresh, a.view ? other.view : other.pack, &a.params, &err),
                    PACKLLM_OK);
                run(fresh, &a, &want);
                packllm_session_close(fresh);
                world_close(&other);
            } else {
                assert_int_equal(packllm_session_open(&fresh, pack, &a.params, &err), PACKLLM_OK);
                run(fresh, &a, &want);
                packllm_session_close(fresh);
            }
            CHECK_CASE(seed,
                       packllm_session_open_from(&kept, pack, &a.params, kept, &err) == PACKLLM_OK,
                       "%s", err.message);
            run(kept, &a, &got);
            CHECK_CASE(seed, want.prompt == got.prompt && want.last == got.last,
                       "request %zu: %d %d, %d %d", k, want.prompt, got.prompt, want.last,
                       got.last);
            CHECK_CASE(seed, want.size == got.size && memcmp(want.text, got.text, got.size) == 0,
                       "request %zu: another text", k);
            CHECK_CASE(
                seed, want.n == got.n && memcmp(want.logprob, got.logprob, sizeof got.logprob) == 0,
                "request %zu: other log-probabilities", k);
            CHECK_CASE(seed,
                       memcmp(want.lambda, got.lambda, sizeof got.lambda) == 0 &&
                           memcmp(want.bits, got.bits, sizeof got.bits) == 0,
                       "request %zu: other weights", k);
        }
        packllm_session_close(kept);
        world_close(&w);
    }
}

static uint64_t calls(const struct world *w) {
    return fake_calls(w->fakes[0]) + fake_calls(w->fakes[1]);
}

static void test_shared_text_costs_nothing(void **state) {
    (void)state;
    static const char text[] = "abcabc bca cab abc, abcabc bca cab abc. abcabc bca cab abc";
    struct packllm_session_params p = packllm_session_params_default();
    for (int mode = 0; mode < 3; mode++) { /* bytes, chat, tokens */
        bool chat = mode == 1;
        p.space = mode == 2 ? PACKLLM_SPACE_TOKENS : PACKLLM_SPACE_BYTES;
        struct world w;
        struct packllm_session *s = NULL;
        struct packllm_piece piece;
        uint64_t cost[2];
        world_open(&w, mode == 2 ? 3 : 1, 2); /* 3: members share a vocabulary */
        for (size_t k = 0; k < 2; k++) {
            uint64_t before = calls(&w);
            const struct packllm_message messages[] = {{"system", text},
                                                       {"user", k == 0 ? "ab" : "ca"}};
            assert_int_equal(packllm_session_open_from(&s, w.pack, &p, s, &err), PACKLLM_OK);
            assert_true((chat ? packllm_session_chat(s, messages, 2, &err)
                              : packllm_session_prompt(s, text, sizeof text - 1, &err)) >= 0);
            cost[k] = calls(&w) - before;
            for (int step = 0; step < 4; step++) {
                assert_true(packllm_session_step(s, &piece, &err) >= 0);
            }
        }
        assert_true(cost[0] > 40);
        assert_true(cost[1] * 2 < cost[0]);
        packllm_session_close(s);
        world_close(&w);
    }
}

/* A copy gives what a new session gives, whatever stood in the session before, and the one it was taken
 * from goes on as if nothing had been. */
static void test_a_copy_as_a_new_one(void **state) {
    (void)state;
    uint64_t copied = 0;
    for (uint64_t seed = 1; seed <= CASES; seed++) {
        struct world w, other;
        struct ask first, a;
        uint64_t rng = seed + 1000;
        char common[4 * TEXT + 1];
        struct packllm_session *from = NULL, *to = NULL, *fresh = NULL;
        struct packllm_piece piece, want_piece;
        struct result want, got, one, two;
        world_open(&w, seed, 2);
        world_open(&other, seed, 1);
        common[fake_text(&rng, common, TEXT, true)] = '\0';
        ask_make(&first, &rng, common);
        ask_make(&a, &rng, common);
        first.cancelled = false;
        assert_int_equal(
            packllm_session_open(&from, first.view ? w.view : w.pack, &first.params, &err), 0);
        run(from, &first, &one);
        assert_int_equal(packllm_session_open(&to, a.view ? w.view : w.pack, &a.params, &err), 0);
        if (seed % 3 == 0) { /* something else stood there */
            (void)packllm_session_prompt(to, "abcab", 5, &err);
        }
        enum packllm_status status = packllm_session_copy(to, from, &err);
        CHECK_CASE(seed, status == PACKLLM_OK || status == PACKLLM_E_UNSUPPORTED, "%s",
                   err.message);
        copied += status == PACKLLM_OK;
        run(to, &a, &got);
        assert_int_equal(
            packllm_session_open(&fresh, a.view ? other.view : other.pack, &a.params, &err), 0);
        run(fresh, &a, &want);
        packllm_session_close(fresh);
        CHECK_CASE(seed, memcmp(&want, &got, sizeof got) == 0,
                   "not what a new one gives: %d %d, %s, %s", want.last, got.last, want.text,
                   got.text);
        assert_int_equal(
            packllm_session_open(&fresh, first.view ? other.view : other.pack, &first.params, &err),
            0);
        run(fresh, &first, &two);
        CHECK_CASE(seed, memcmp(&one, &two, sizeof one) == 0, "the first is not what it was");
        for (int step = 0; step < 3 && one.last == PACKLLM_PIECE; step++) {
            enum packllm_status want_step = packllm_session_step(fresh, &want_piece, &err);
            CHECK_CASE(seed, packllm_session_step(from, &piece, &err) == want_step,
                       "another status");
            CHECK_CASE(seed,
                       want_step < 0 ||
                           (piece.size == want_piece.size && piece.logprob == want_piece.logprob &&
                            memcmp(piece.text, want_piece.text, piece.size) == 0),
                       "the first goes on in another way");
        }
        packllm_session_close(fresh);
        packllm_session_close(from);
        packllm_session_close(to);
        world_close(&other);
        world_close(&w);
    }
    assert_true(copied > CASES / 2);
}

static void test_a_copy_costs_its_new_part(void **state) {
    (void)state;
    static const char text[] = "abcabc bca cab abc, abcabc bca cab abc. abcabc bca cab abc";
    struct packllm_session_params p = packllm_session_params_default();
    for (int mode = 0; mode < 3; mode++) { /* bytes, chat, tokens */
        p.space = mode == 2 ? PACKLLM_SPACE_TOKENS : PACKLLM_SPACE_BYTES;
        struct world w;
        struct packllm_session *s[2] = {NULL, NULL};
        struct packllm_piece piece;
        uint64_t cost[2];
        world_open(&w, mode == 2 ? 3 : 1, 2); /* 3: members share a vocabulary */
        for (size_t k = 0; k < 2; k++) {
            uint64_t before = calls(&w);
            const struct packllm_message messages[] = {{"system", text},
                                                       {"user", k == 0 ? "ab" : "ca"}};
            assert_int_equal(packllm_session_open(&s[k], w.pack, &p, &err), PACKLLM_OK);
            if (k > 0) {
                assert_int_equal(packllm_session_copy(s[k], s[0], &err), PACKLLM_OK);
                assert_int_equal(calls(&w), before);
            }
            assert_true((mode == 1
                             ? packllm_session_chat(s[k], messages, 2, &err)
                             : packllm_session_prompt(s[k], text, sizeof text - 1, &err)) >= 0);
            cost[k] = calls(&w) - before;
            assert_true(packllm_session_step(s[0], &piece, &err) >= 0);
        }
        assert_true(cost[0] > 40);
        assert_true(cost[1] * 2 < cost[0]);
        packllm_session_close(s[0]);
        assert_true(packllm_session_step(s[1], &piece, &err) >= 0);
        packllm_session_close(s[1]);
        world_close(&w);
    }
}

/* What requests leave behind is taken away: texts that begin alike, one after the other, for ever. */
static void test_memory_is_level(void **state) {
    (void)state;
    struct world w;
    struct packllm_session *s = NULL;
    struct packllm_piece piece;
    size_t early = 0, late = 0;
    world_open(&w, 1, 2);
    for (int k = 0; k < 960; k++) { /* what grows by doubling has grown after 640 */
        char text[160];
        int size =
            snprintf(text, sizeof text, "abcabc bca cab abc, abcabc bca cab %d abc bca cab", k % 7);
        assert_int_equal(packllm_session_open_from(&s, w.pack, NULL, s, &err), PACKLLM_OK);
        assert_true(packllm_session_prompt(s, text, (size_t)size, &err) >= 0);
        for (int step = 0; step < 3; step++) {
            assert_true(packllm_session_step(s, &piece, &err) >= 0);
        }
        struct mallinfo2 info = mallinfo2(); /* zeros under a sanitizer's own allocator */
        size_t used = info.uordblks + info.hblkhd;
        early = k < 640 && used > early ? used : early;
        late = k >= 640 && used > late ? used : late;
    }
    /* The allocator gives a block up to 16 bytes more than asked for; a word kept per request would be
     * 320 times its least block. */
    assert_true(late <= early + SLACK);
    packllm_session_close(s);
    world_close(&w);
}

static void test_what_cannot_be_copied(void **state) {
    (void)state;
    for (uint32_t n = 1; n <= 2; n++) {
        struct world w;
        struct packllm_session *a = NULL, *b = NULL;
        world_open(&w, 1, n);
        assert_int_equal(packllm_session_open(&a, w.pack, NULL, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_open(&b, w.pack, NULL, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_copy(b, a, &err), PACKLLM_E_UNSUPPORTED);
        if (n == 1) { /* timelines of their own */
            assert_int_equal(packllm_session_prompt(a, "abc", 3, &err), PACKLLM_OK);
            assert_int_equal(packllm_session_copy(b, a, &err), PACKLLM_E_UNSUPPORTED);
        }
        assert_int_equal(packllm_session_prompt(b, "abc", 3, &err), PACKLLM_OK);
        packllm_session_close(a);
        packllm_session_close(b);
        world_close(&w);
    }
}

static void test_an_error_leaves_the_old_one(void **state) {
    (void)state;
    struct world w;
    struct packllm_session *s = NULL, *none = NULL;
    struct packllm_session_params p = packllm_session_params_default();
    struct packllm_piece piece;
    world_open(&w, 1, 1);
    assert_int_equal(packllm_session_open_from(&s, w.pack, NULL, NULL, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_prompt(s, "abc", 3, &err), PACKLLM_OK);
    p.tau = -1;
    assert_int_equal(packllm_session_open_from(&none, w.pack, &p, s, &err), PACKLLM_E_ARG);
    assert_null(none);
    assert_true(packllm_session_step(s, &piece, &err) >= 0);
    packllm_session_close(s);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_a_new_one),
        cmocka_unit_test(test_shared_text_costs_nothing),
        cmocka_unit_test(test_an_error_leaves_the_old_one),
        cmocka_unit_test(test_a_copy_as_a_new_one),
        cmocka_unit_test(test_a_copy_costs_its_new_part),
        cmocka_unit_test(test_memory_is_level),
        cmocka_unit_test(test_what_cannot_be_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
