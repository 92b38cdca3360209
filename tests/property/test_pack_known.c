/* test_pack_known.c - a text given token by token, and the same read in one go by a member alone. Goals:
 * log pi of each token, the likeliest beside it and all that is written afterwards are the same (fakes
 * do not depend on batches, so to the bit); log pi is the member's own softmax over text and end; the
 * session can be used again; wrong use is refused. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "fake.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CASES = 1000, TEXT = 40, ROOM = 4 * TEXT + 8, TOP = 3, STEPS = 4, CONTEXT = 200 };

static struct packllm_error err;

struct told {
    struct packllm_session *session;
    int32_t token[ROOM];
    double logprob[ROOM];
    struct packllm_top top[ROOM][TOP];
    size_t n_top[ROOM], n, stop_at;
};

static void keep(struct told *t, const struct packllm_piece *piece) {
    const struct packllm_top *top = NULL;
    assert_int_equal(packllm_session_top(t->session, &top, &t->n_top[t->n]), PACKLLM_OK);
    assert_true(t->n_top[t->n] <= TOP);
    memcpy(t->top[t->n], top, t->n_top[t->n] * sizeof *top);
    t->token[t->n] = piece->token;
    t->logprob[t->n++] = piece->logprob;
}

static bool on_given(void *data, size_t index, const struct packllm_piece *piece) {
    struct told *t = data;
    assert_int_equal(index, t->n);
    keep(t, piece);
    return t->n < t->stop_at;
}

static struct packllm_pack *open_pack(struct fake **fakes, size_t n, uint64_t seed) {
    static const enum fake_vocabulary kinds[] = {FAKE_BYTES, FAKE_NESTED, FAKE_UTF8, FAKE_TWINS,
                                                 FAKE_USER};
    static const char *const names[] = {"a", "b"};
    struct packllm_own_member own[2];
    struct packllm_pack *pack = NULL;
    for (size_t i = 0; i < n; i++) {
        struct fake_params p = fake_params_default();
        p.seed = seed * 2 + i;
        p.n_ctx = CONTEXT;
        p.end_bias = -3;
        fakes[i] = fake_open(kinds[(seed + i) % 5], &p);
        own[i] = fake_member(fakes[i], names[i]);
    }
    assert_int_equal(packllm_pack_open_own(&pack, own, n, NULL, &err), PACKLLM_OK);
    return pack;
}

static struct packllm_session *open_session(struct packllm_pack *pack) {
    static const double one[] = {1.0, 1.0};
    struct packllm_session_params p = packllm_session_params_default();
    struct packllm_session *session = NULL;
    p.n_top = TOP;
    p.display = 0;
    p.max_tokens = STEPS;
    p.sampling.temp = 0;
    assert_int_equal(packllm_session_open(&session, pack, &p, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_begin(session, one, packllm_pack_size(pack), &err),
                     PACKLLM_OK);
    return session;
}

static void write_on(struct told *t) {
    struct packllm_piece piece;
    for (size_t i = 0; i < STEPS; i++) {
        if (packllm_session_step(t->session, &piece, &err) != PACKLLM_PIECE) {
            break;
        }
        keep(t, &piece);
    }
}

static void check_case(uint64_t seed) {
    struct fake *fake = NULL;
    struct packllm_pack *pack = open_pack(&fake, 1, seed);
    static struct told walked, read; /* large */
    char text[4 * TEXT];
    int32_t tokens[ROOM];
    uint64_t rng = seed;
    size_t size = fake_text(&rng, text, TEXT, true);
    long n = fake_tokenize(fake, text, size, tokens, ROOM);
    walked = (struct told){.session = open_session(pack)};
    read = (struct told){.session = open_session(pack), .stop_at = SIZE_MAX};
    CHECK_CASE(seed, n > 0, "%ld tokens", n);
    for (long i = 0; i < n; i++) {
        struct packllm_piece piece;
        assert_int_equal(packllm_session_force(walked.session, tokens[i], &piece, &err),
                         PACKLLM_OK);
        keep(&walked, &piece);
    }
    CHECK_CASE(seed,
               packllm_session_read(read.session, tokens, (size_t)n, on_given, &read, &err) ==
                   PACKLLM_OK,
               "%s", err.message);
    CHECK_CASE(seed, read.n == (size_t)n, "%zu told", read.n);
    write_on(&walked);
    write_on(&read);
    CHECK_CASE(seed, read.n == walked.n, "%zu and %zu", read.n, walked.n);
    for (size_t i = 0; i < read.n; i++) {
        CHECK_CASE(seed,
                   read.token[i] == walked.token[i] &&
                       memcmp(&read.logprob[i], &walked.logprob[i], sizeof(double)) == 0,
                   "entry %zu: %d %.17g, %d %.17g", i, (int)read.token[i], read.logprob[i],
                   (int)walked.token[i], walked.logprob[i]);
        CHECK_CASE(seed, read.n_top[i] == walked.n_top[i], "entry %zu", i);
        for (size_t k = 0; k < read.n_top[i]; k++) {
            CHECK_CASE(
                seed,
                read.top[i][k].token == walked.top[i][k].token &&
                    memcmp(&read.top[i][k].logprob, &walked.top[i][k].logprob, sizeof(double)) == 0,
                "entry %zu, place %zu", i, k);
        }
    }
    /* The session goes on with another text as a new one would. */
    struct packllm_session *fresh = open_session(pack);
    struct packllm_weights a, b;
    assert_int_equal(packllm_session_prompt(read.session, text, size, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_prompt(fresh, text, size, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_weights(read.session, &a), PACKLLM_OK);
    assert_int_equal(packllm_session_weights(fresh, &b), PACKLLM_OK);
    CHECK_CASE(seed,
               memcmp(&a.members[0].perplexity, &b.members[0].perplexity, sizeof(double)) == 0,
               "%g and %g", a.members[0].perplexity, b.members[0].perplexity);
    packllm_session_close(fresh);
    packllm_session_close(walked.session);
    packllm_session_close(read.session);
    packllm_pack_close(pack);
    fake_close(fake);
}

static void reading_is_walking(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        check_case(check_first_seed() + i);
    }
}

static void it_may_be_stopped(void **state) {
    struct fake *fake = NULL;
    struct packllm_pack *pack = open_pack(&fake, 1, 1);
    struct told t = {.session = open_session(pack), .stop_at = 2};
    int32_t tokens[8];
    static const double one = 1;
    (void)state;
    long n = fake_tokenize(fake, "abcabc", 6, tokens, 8);
    assert_true(n > 2);
    assert_int_equal(packllm_session_read(t.session, tokens, (size_t)n, on_given, &t, &err),
                     PACKLLM_E_CANCELLED);
    assert_int_equal(t.n, 2);
    assert_true(packllm_session_step(t.session, &(struct packllm_piece){0}, &err) < 0);
    assert_int_equal(packllm_session_begin(t.session, &one, 1, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_read(t.session, tokens, (size_t)n, NULL, NULL, &err),
                     PACKLLM_OK);
    packllm_session_close(t.session);
    packllm_pack_close(pack);
    fake_close(fake);
}

static void wrong_use(void **state) {
    struct fake *fake = NULL, *two[2];
    struct packllm_pack *pack = open_pack(&fake, 1, 1), *both = open_pack(two, 2, 1);
    struct packllm_session *session = open_session(pack), *of_two = open_session(both);
    int32_t tokens[CONTEXT + 1];
    static const double one = 1;
    (void)state;
    (void)fake_tokenize(fake, "a", 1, tokens, 1);
    for (size_t i = 1; i <= CONTEXT; i++) {
        tokens[i] = tokens[0];
    }
    assert_int_equal(packllm_session_read(of_two, tokens, 1, NULL, NULL, &err),
                     PACKLLM_E_UNSUPPORTED);
    assert_int_equal(packllm_session_read(session, tokens, CONTEXT + 1, NULL, NULL, &err),
                     PACKLLM_E_CONTEXT);
    assert_non_null(strstr(err.message, "200"));
    for (int32_t bad = -1; bad < 2; bad++) {
        int32_t wrong[] = {tokens[0], bad < 0    ? -1
                                      : bad == 0 ? fake_end(fake)
                                                 : (int32_t)fake_size(fake)};
        assert_int_equal(packllm_session_begin(session, &one, 1, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_read(session, wrong, 2, NULL, NULL, &err), PACKLLM_E_TEXT);
    }
    assert_int_equal(packllm_session_begin(session, &one, 1, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_read(session, tokens, 1, NULL, NULL, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_read(session, tokens, 1, NULL, NULL, &err), PACKLLM_E_ARG);
    packllm_session_close(session);
    packllm_session_close(of_two);
    packllm_pack_close(pack);
    packllm_pack_close(both);
    fake_close(fake);
    fake_close(two[0]);
    fake_close(two[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_is_walking),
        cmocka_unit_test(it_may_be_stopped),
        cmocka_unit_test(wrong_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
