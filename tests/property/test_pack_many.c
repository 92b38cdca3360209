/* test_pack_many.c - many sessions of one pack at the same time. Goals: stepped together, or each
 * driven by a thread of its own, every session gives the text, the log-probabilities and the weights
 * that it gives alone (fakes do not depend on batches, so to the bit), also when some are cancelled
 * or do not fit; what is evaluated together is fewer batches; the limits are refused. */
#define PACKLLM_EXPERIMENTAL
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/rng.h"
#include "fake.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CASES = 60, SESSIONS = 5, MEMBERS = 2, TEXT = 60, STEPS = 12 };

static struct packllm_error err;

struct world {
    struct fake *fakes[MEMBERS];
    struct packllm_pack *pack;
};

static void world_open(struct world *w, uint64_t seed, uint32_t n_parallel) {
    static const enum fake_vocabulary kinds[] = {FAKE_BYTES, FAKE_NESTED, FAKE_UTF8, FAKE_TWINS};
    static const char *const names[MEMBERS] = {"a", "b"};
    struct packllm_own_member own[MEMBERS];
    struct packllm_params params = packllm_params_default();
    for (uint64_t i = 0; i < MEMBERS; i++) {
        struct fake_params p = fake_params_default();
        p.seed = seed * MEMBERS + i;
        p.end_bias = -4;
        p.n_ctx = 200;
        w->fakes[i] = fake_open(kinds[(seed + i) % 4], &p);
        own[i] = fake_member(w->fakes[i], names[i]);
    }
    params.n_parallel = n_parallel;
    assert_int_equal(packllm_pack_open_own(&w->pack, own, MEMBERS, &params, &err), PACKLLM_OK);
}

static void world_close(struct world *w) {
    packllm_pack_close(w->pack);
    for (size_t i = 0; i < MEMBERS; i++) {
        fake_close(w->fakes[i]);
    }
}

struct result {
    enum packllm_status prompt, last;
    double lambda[MEMBERS], logprob[STEPS];
    char text[1024];
    size_t size, n;
};

struct task {
    struct packllm_session *session;
    char text[4 * TEXT * 8];
    size_t size;
    bool cancel; /* before the third step */
    struct result result;
};

static void add_piece(struct result *r, const struct packllm_piece *piece) {
    memcpy(r->text + r->size, piece->text, piece->size);
    r->size += piece->size;
    r->logprob[r->n++] = piece->logprob;
}

static void read_weights(struct task *t) {
    struct packllm_weights w;
    if (t->result.prompt == PACKLLM_OK && packllm_session_weights(t->session, &w) == PACKLLM_OK) {
        for (size_t i = 0; i < MEMBERS; i++) {
            t->result.lambda[i] = w.members[i].weight;
        }
    }
}

static void *run(void *data) {
    struct task *t = data;
    struct packllm_error why;
    t->result.prompt = packllm_session_prompt(t->session, t->text, t->size, &why);
    read_weights(t);
    t->result.last = t->result.prompt;
    while (t->result.prompt == PACKLLM_OK && t->result.n < STEPS) {
        struct packllm_piece piece;
        if (t->cancel && t->result.n == 2) {
            packllm_session_cancel(t->session);
        }
        t->result.last = packllm_session_step(t->session, &piece, &why);
        if (t->result.last != PACKLLM_PIECE) {
            break;
        }
        add_piece(&t->result, &piece);
    }
    return NULL;
}

static void tasks_open(struct world *w, uint64_t seed, struct task *tasks, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint64_t rng = seed * 1000 + i;
        struct packllm_session_params p = packllm_session_params_default();
        memset(&tasks[i], 0, sizeof tasks[i]);
        p.sampling.seed = seed + i;
        p.choose = i % 2 == 0 ? PACKLLM_CHOOSE_TOKENS : PACKLLM_CHOOSE_BYTES;
        tasks[i].size = fake_text(&rng, tasks[i].text, TEXT, false);
        if (i == 3) { /* does not fit a context */
            for (size_t k = 1; k < 8; k++) {
                memcpy(tasks[i].text + k * tasks[i].size, tasks[i].text, tasks[i].size);
            }
            tasks[i].size *= 8;
        }
        tasks[i].cancel = i == 1;
        CHECK_CASE(seed, packllm_session_open(&tasks[i].session, w->pack, &p, &err) == PACKLLM_OK,
                   "%s", err.message);
    }
}

static void tasks_close(struct task *tasks, size_t n) {
    for (size_t i = 0; i < n; i++) {
        packllm_session_close(tasks[i].session);
    }
}

static void check_same(uint64_t seed, const struct task *a, const struct task *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const struct result *x = &a[i].result, *y = &b[i].result;
        CHECK_CASE(seed, x->prompt == y->prompt && x->last == y->last, "session %zu: %d %d, %d %d",
                   i, x->prompt, y->prompt, x->last, y->last);
        CHECK_CASE(seed, x->size == y->size && memcmp(x->text, y->text, x->size) == 0,
                   "session %zu: another text", i);
        CHECK_CASE(seed, x->n == y->n && memcmp(x->logprob, y->logprob, sizeof x->logprob) == 0,
                   "session %zu: other log-probabilities", i);
        CHECK_CASE(seed, memcmp(x->lambda, y->lambda, sizeof x->lambda) == 0,
                   "session %zu: other weights", i);
    }
}

static void test_threads(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= CASES; seed++) {
        static struct task alone[SESSIONS], together[SESSIONS];
        pthread_t threads[SESSIONS];
        struct world w;
        world_open(&w, seed, 1);
        tasks_open(&w, seed, alone, SESSIONS);
        for (size_t i = 0; i < SESSIONS; i++) {
            (void)run(&alone[i]);
        }
        tasks_close(alone, SESSIONS);
        world_close(&w);
        world_open(&w, seed, SESSIONS);
        tasks_open(&w, seed, together, SESSIONS);
        for (size_t i = 0; i < SESSIONS; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, run, &together[i]), 0);
        }
        for (size_t i = 0; i < SESSIONS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        tasks_close(together, SESSIONS);
        world_close(&w);
        check_same(seed, alone, together, SESSIONS);
    }
}

static void test_step_many(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= CASES; seed++) {
        static struct task alone[3], together[3];
        struct packllm_session *sessions[3];
        struct packllm_event events[3];
        struct world w;
        world_open(&w, seed, 4);
        tasks_open(&w, seed, alone, 3);
        alone[1].cancel = false;
        for (size_t i = 0; i < 3; i++) {
            (void)run(&alone[i]);
        }
        tasks_close(alone, 3);
        tasks_open(&w, seed, together, 3);
        size_t of[3];
        for (size_t i = 0; i < 3; i++) {
            together[i].result.prompt = together[i].result.last = packllm_session_prompt(
                together[i].session, together[i].text, together[i].size, &err);
            read_weights(&together[i]);
        }
        for (size_t k = 0; k < STEPS; k++) {
            size_t n = 0;
            for (size_t i = 0; i < 3; i++) {
                if (together[i].result.last == PACKLLM_OK ||
                    together[i].result.last == PACKLLM_PIECE) {
                    of[n] = i;
                    sessions[n++] = together[i].session;
                }
            }
            assert_int_equal(packllm_step_many(sessions, n, events, &err), PACKLLM_OK);
            for (size_t e = 0; e < n; e++) {
                struct result *r = &together[of[e]].result;
                r->last = events[e].status;
                if (r->last == PACKLLM_PIECE) {
                    add_piece(r, &events[e].piece);
                }
            }
        }
        tasks_close(together, 3);
        world_close(&w);
        check_same(seed, alone, together, 3);
    }
}

static void test_limits(void **state) {
    (void)state;
    struct world w;
    struct packllm_session *session = NULL, *more = NULL;
    struct packllm_event events[2];
    struct packllm_params params = packllm_params_default();
    struct packllm_pack *pack = NULL;
    params.n_parallel = 17;
    struct packllm_own_member none = {0};
    assert_int_equal(packllm_pack_open_own(&pack, &none, 1, &params, &err), PACKLLM_E_ARG);
    assert_non_null(strstr(err.message, "17 timelines"));
    world_open(&w, 1, 2);
    struct packllm_session *third = NULL;
    assert_int_equal(packllm_session_open(&session, w.pack, NULL, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_open(&more, w.pack, NULL, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_open(&third, w.pack, NULL, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_prompt(session, "ab", 2, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_prompt(more, "ab", 2, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_prompt(third, "ab", 2, &err), PACKLLM_E_MEMORY);
    assert_non_null(strstr(err.message, "timelines are in use"));
    packllm_session_close(more);
    assert_int_equal(packllm_session_prompt(third, "ab", 2, &err), PACKLLM_OK);
    struct packllm_session *twice[] = {session, session};
    assert_int_equal(packllm_step_many(twice, 2, events, &err), PACKLLM_E_ARG);
    assert_int_equal(packllm_step_many(twice, 0, events, &err), PACKLLM_OK);
    packllm_session_close(third);
    packllm_session_close(session);
    world_close(&w);
}

/* A timeline that began in a view goes on in the pack once the view is closed (it kept the view's
 * vocabulary structure, which was gone). */
static void test_a_view_that_is_gone(void **state) {
    (void)state;
    struct world w;
    const size_t first = 0;
    struct packllm_pack *view = NULL;
    struct packllm_session *session = NULL;
    struct packllm_piece piece;
    world_open(&w, 1, 3);
    assert_int_equal(packllm_pack_view(&view, w.pack, &first, 1, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_open(&session, view, NULL, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_prompt(session, "abab", 4, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_open_from(&session, w.pack, NULL, session, &err), PACKLLM_OK);
    packllm_pack_close(view);
    assert_int_equal(packllm_session_prompt(session, "ababba", 6, &err), PACKLLM_OK);
    assert_true(packllm_session_step(session, &piece, &err) >= 0);
    packllm_session_close(session);
    world_close(&w);
}

/* Texts that a member decodes side by side are the tokens of each, in as many batches as the longest has
 * tokens; and the limits. */
static void test_plain_side_by_side(void **state) {
    (void)state;
    struct world w;
    static const struct packllm_plain texts[] = {
        {"abababab", 8, 3}, {"ba", 2, 1}, {"aaaa bbbb", 9, 2}, {"b", 1, 0}};
    world_open(&w, 3, 4);
    for (size_t m = 0; m < MEMBERS; m++) {
        uint64_t sum = 0, together = 0, most = 0;
        double seconds = -1;
        uint64_t alone = fake_calls(w.fakes[m]);
        for (size_t k = 0; k < 4; k++) {
            uint64_t one = 0;
            assert_int_equal(packllm_bench_plain(w.pack, m, texts[k].text, texts[k].size,
                                                 texts[k].context_bytes, &seconds, &one, &err),
                             PACKLLM_OK);
            sum += one;
            most = one > most ? one : most;
        }
        assert_true(sum > most);
        alone = fake_calls(w.fakes[m]) - alone;
        uint64_t before = fake_calls(w.fakes[m]);
        assert_int_equal(packllm_bench_plain_many(w.pack, m, texts, 4, &seconds, &together, &err),
                         PACKLLM_OK);
        assert_true(seconds >= 0);
        assert_int_equal(together, sum);
        assert_int_equal(fake_calls(w.fakes[m]) - before, alone);
    }
    struct packllm_plain wrong = {"ab", 2, 2};
    double seconds = 0;
    uint64_t tokens = 0;
    assert_int_equal(packllm_bench_plain_many(w.pack, 0, texts, 0, &seconds, &tokens, &err),
                     PACKLLM_E_ARG);
    assert_int_equal(packllm_bench_plain_many(w.pack, 0, texts, 13, &seconds, &tokens, &err),
                     PACKLLM_E_ARG);
    assert_int_equal(packllm_bench_plain_many(w.pack, MEMBERS, texts, 1, &seconds, &tokens, &err),
                     PACKLLM_E_ARG);
    assert_int_equal(packllm_bench_plain_many(w.pack, 0, &wrong, 1, &seconds, &tokens, &err),
                     PACKLLM_E_ARG);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_step_many),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_a_view_that_is_gone),
        cmocka_unit_test(test_plain_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
