/* test_pack_chat.c - chats on fake members. Goals: lambda's text is the users' messages behind each
 * member's own tokens, later ones counting twice as much (stated again from the logits alone); a
 * conversation that goes on is the same as one that begins there; prompts and chats do not disturb
 * each other; the plain form's line ends; what is refused, and that a session survives it. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "fake.h"
#include "packllm/packllm.h"

#include "check.h"

enum { TEXT = 60, HISTORY = 1024 };

static struct packllm_error err;

/* Role's first letter, ": ", content, the end token, a space; then "a: ". */
static char end_text[32];

static long chat(void *data, const struct packllm_message *messages, size_t n, char *out,
                 size_t cap) {
    size_t size = 0;
    (void)data;
    for (size_t i = 0; i <= n; i++) {
        char part[4 * TEXT + 64];
        int length = i < n ? snprintf(part, sizeof part, "%c: %s%s ", messages[i].role[0],
                                      messages[i].content, end_text)
                           : snprintf(part, sizeof part, "a: ");
        if (size + (size_t)length <= cap) {
            memcpy(out + size, part, (size_t)length);
        }
        size += (size_t)length;
    }
    return (long)size;
}

struct world {
    struct fake *fakes[2];
    struct packllm_pack *pack;
    struct packllm_session *session;
};

/* Member 0 has a template, member 1 as said. */
static void world_open(struct world *w, uint64_t seed, size_t n, const enum fake_vocabulary *kinds,
                       bool both, const struct packllm_session_params *p) {
    struct packllm_own_member own[2];
    *w = (struct world){0};
    for (size_t i = 0; i < n; i++) {
        struct fake_params params = fake_params_default();
        params.seed = seed * 2 + i;
        w->fakes[i] = fake_open(kinds[i], &params);
        own[i] = fake_member(w->fakes[i], i == 0 ? "first" : "second");
        const struct packllm_own_token *end = &own[i].tokens[fake_end(w->fakes[i])];
        (void)snprintf(end_text, sizeof end_text, "%.*s", (int)end->size,
                       end->size > 0 ? end->bytes : "");
        own[i].chat = i == 0 || both ? chat : NULL;
    }
    assert_int_equal(packllm_pack_open_own(&w->pack, own, n, NULL, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_open(&w->session, w->pack, p, &err), PACKLLM_OK);
}

static void world_close(struct world *w) {
    packllm_session_close(w->session);
    packllm_pack_close(w->pack);
    for (size_t i = 0; i < 2; i++) {
        fake_close(w->fakes[i]);
    }
}

static size_t reply(struct packllm_session *s, uint64_t seed,
                    const struct packllm_message *messages, size_t n, char *out) {
    struct packllm_piece piece;
    size_t size = 0;
    enum packllm_status status = packllm_session_chat(s, messages, n, &err);
    CHECK_CASE(seed, status == PACKLLM_OK, "%s", err.message);
    while ((status = packllm_session_step(s, &piece, &err)) == PACKLLM_PIECE) {
        memcpy(out + size, piece.text, piece.size);
        size += piece.size;
    }
    CHECK_CASE(seed, status == PACKLLM_FINISHED, "%s", err.message);
    out[size] = '\0';
    return size;
}

/* Plain text that no member trims. */
static void some_text(uint64_t *rng, char *out) {
    size_t size = fake_text(rng, out + 1, TEXT, true);
    out[0] = 'a';
    out[size + 1] = 'b';
    out[size + 2] = '\0';
}

/* Of a member of bytes. */
static int32_t token_of(const struct fake *f, char byte) {
    int32_t token = -1;
    for (uint32_t i = 0; i < fake_size(f) && token < 0; i++) {
        const struct packllm_own_token *t = &fake_member(f, "x").tokens[i];
        token = t->size == 1 && *t->bytes == byte && !t->control && !t->end ? (int32_t)i : token;
    }
    return token;
}

/* -log softmax over all tokens of the byte. */
static double nll_of(const struct fake *f, const int32_t *history, size_t n, int32_t token) {
    float logits[1024];
    double max = -(double)INFINITY, sum = 0;
    fake_logits(f, history, n, logits);
    for (uint32_t i = 0; i < fake_size(f); i++) {
        max = fmax(max, (double)logits[i]);
    }
    for (uint32_t i = 0; i < fake_size(f); i++) {
        sum += exp((double)logits[i] - max);
    }
    return max + log(sum) - (double)logits[token];
}

static void test_lambdas_text_is_the_users(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + 100; seed++) {
        static const enum fake_vocabulary kinds[] = {FAKE_BYTES};
        struct world w;
        struct packllm_weights weights;
        uint64_t rng = seed;
        char one[TEXT + 4], two[TEXT + 4], three[TEXT + 4];
        int32_t history[HISTORY];
        size_t n = 0, tokens = 0, bytes = 0;
        double sum = 0, count = 0;
        some_text(&rng, one);
        some_text(&rng, two);
        some_text(&rng, three);
        const struct packllm_message messages[] = {
            {"system", three}, {"user", one}, {"assistant", three}, {"user", two}, {"tool", one}};
        const size_t n_messages = 4 + seed % 2; /* a tool's is a user's that is not heard */
        world_open(&w, seed, 1, kinds, true, NULL);
        assert_int_equal(packllm_session_chat(w.session, messages, n_messages, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_weights(w.session, &weights), PACKLLM_OK);
        const struct packllm_own_member own = fake_member(w.fakes[0], "x");
        history[n++] = own.start;
        for (size_t m = 0; m < 4; m++) {
            double weight = m == 3 ? 1.0 : m == 1 ? 0.5 : 0.0;
            history[n++] = token_of(w.fakes[0], messages[m].role[0]);
            history[n++] = token_of(w.fakes[0], ':');
            history[n++] = token_of(w.fakes[0], ' ');
            for (const char *c = messages[m].content; *c != '\0'; c++) {
                sum += weight * nll_of(w.fakes[0], history, n, token_of(w.fakes[0], *c));
                count += weight;
                tokens += weight > 0.0;
                bytes += weight > 0.0;
                history[n++] = token_of(w.fakes[0], *c);
            }
            if (end_text[0] != '\0') {
                history[n++] = fake_end(w.fakes[0]);
            }
            history[n++] = token_of(w.fakes[0], ' ');
        }
        double perplexity = exp(sum / count), got = weights.members[0].perplexity;
        CHECK_CASE(seed, fabs(got / perplexity - 1.0) < 1e-4, "perplexity %.8f, expected %.8f", got,
                   perplexity);
        CHECK_CASE(seed, weights.members[0].tokens == tokens && weights.bytes == bytes, "%zu",
                   tokens);
        CHECK_CASE(seed, weights.members[0].weight == 1.0, "weight");
        world_close(&w);
    }
}

static void test_a_conversation_that_goes_on(void **state) {
    static const enum fake_vocabulary all[] = {FAKE_BYTES,    FAKE_NESTED, FAKE_UTF8,
                                               FAKE_FALLBACK, FAKE_TWINS,  FAKE_LACKING};
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + 60; seed++) {
        const enum fake_vocabulary kinds[] = {all[seed % 6], all[(seed / 6 + seed) % 6]};
        struct packllm_session_params p = packllm_session_params_default();
        struct packllm_session *fresh = NULL;
        struct packllm_weights before, after;
        struct world w;
        uint64_t rng = seed;
        char one[TEXT + 4], two[TEXT + 4], said[4096], again[4096], once[4096];
        some_text(&rng, one);
        some_text(&rng, two);
        p.max_tokens = 12;
        p.sampling.seed = seed;
        p.choose = seed % 3 == 0 ? PACKLLM_CHOOSE_BYTES : PACKLLM_CHOOSE_TOKENS;
        world_open(&w, seed, 2, kinds, seed % 2 == 0, &p);
        const struct packllm_message first = {"user", one};
        (void)reply(w.session, seed, &first, 1, said);
        const struct packllm_message messages[] = {
            {"user", one}, {"assistant", said}, {"user", two}};
        size_t size = reply(w.session, seed, messages, 3, again);
        assert_int_equal(packllm_session_weights(w.session, &after), PACKLLM_OK);
        assert_int_equal(packllm_session_open(&fresh, w.pack, &p, &err), PACKLLM_OK);
        size_t size_once = reply(fresh, seed, messages, 3, once);
        assert_int_equal(packllm_session_weights(fresh, &before), PACKLLM_OK);
        for (size_t i = 0; i < 2; i++) {
            CHECK_CASE(seed, fabs(before.members[i].weight - after.members[i].weight) < 1e-5,
                       "lambda %g and %g", before.members[i].weight, after.members[i].weight);
        }
        CHECK_CASE(seed, size == size_once && memcmp(again, once, size) == 0, "'%s' and '%s'",
                   again, once);
        /* A prompt knows nothing of the chat before, and the other way round. */
        const char *const text = "the cab and the bag";
        assert_int_equal(packllm_session_prompt(w.session, text, strlen(text), &err), PACKLLM_OK);
        assert_int_equal(packllm_session_weights(w.session, &after), PACKLLM_OK);
        double bits = after.bits_per_byte;
        packllm_session_close(fresh);
        assert_int_equal(packllm_session_open(&fresh, w.pack, &p, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_prompt(fresh, text, strlen(text), &err), PACKLLM_OK);
        assert_int_equal(packllm_session_weights(fresh, &before), PACKLLM_OK);
        CHECK_CASE(seed, fabs(bits - before.bits_per_byte) < 1e-5, "%g and %g bits per byte", bits,
                   before.bits_per_byte);
        (void)reply(w.session, seed, messages, 3, again);
        CHECK_CASE(seed, memcmp(again, once, size + 1) == 0, "'%s' and '%s'", again, once);
        packllm_session_close(fresh);
        world_close(&w);
    }
}

/* In the plain form half of what begins with a line end is the end. */
static void test_line_ends_of_the_plain_form(void **state) {
    (void)state;
    unsigned ended = 0, lines = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct fake_params params = fake_params_default();
        struct packllm_session_params p = packllm_session_params_default();
        struct packllm_pack *pack = NULL;
        struct packllm_session *session = NULL;
        struct packllm_piece piece;
        int32_t history[HISTORY];
        struct utf8_state utf8 = {0};
        size_t n = 0;
        params.seed = seed;
        params.scale = 1.0;
        p.max_tokens = 40;
        p.sampling = (struct packllm_sampling){
            .temp = 1.0, .top_p = 1.0, .repeat_penalty = 1.0, .seed = seed};
        struct fake *fake = fake_open(FAKE_BYTES, &params);
        struct packllm_own_member own = fake_member(fake, "base");
        assert_int_equal(packllm_pack_open_own(&pack, &own, 1, NULL, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_open(&session, pack, &p, &err), PACKLLM_OK);
        const struct packllm_message message = {"user", "abc"};
        assert_int_equal(packllm_session_chat(session, &message, 1, &err), PACKLLM_OK);
        history[n++] = own.start;
        for (const char *c = "### User:\nabc\n\n### Assistant:\n"; *c != '\0'; c++) {
            history[n++] = token_of(fake, *c);
        }
        const int32_t line_end = token_of(fake, '\n');
        enum packllm_status s;
        while ((s = packllm_session_step(session, &piece, &err)) == PACKLLM_PIECE &&
               piece.token >= 0) {
            /* Among the tokens that keep the text valid UTF-8. */
            double mass = 0, half = exp(-nll_of(fake, history, n, line_end)) / 2;
            for (int32_t t = 0; t < (int32_t)fake_size(fake); t++) {
                struct utf8_state next = utf8;
                const struct packllm_own_token *token = &own.tokens[t];
                bool end = t == fake_end(fake);
                if (end ? utf8.need == 0
                        : !token->control && utf8_step(&next, (uint8_t)*token->bytes)) {
                    mass += exp(-nll_of(fake, history, n, t)) - (t == line_end ? half : 0) +
                            (end ? half : 0);
                }
            }
            double logp = -nll_of(fake, history, n, piece.token) - log(mass);
            logp -= piece.token == line_end ? log(2.0) : 0.0;
            (void)utf8_step(&utf8, (uint8_t)*own.tokens[piece.token].bytes);
            lines += piece.token == line_end;
            CHECK_CASE(seed, fabs(piece.logprob - logp) < 1e-4, "token %d: %.6f, expected %.6f",
                       (int)piece.token, piece.logprob, logp);
            history[n++] = piece.token;
        }
        ended += packllm_session_finish(session) == PACKLLM_FINISH_END;
        packllm_session_close(session);
        packllm_pack_close(pack);
        fake_close(fake);
    }
    print_message("%u ended, %u line ends\n", ended, lines);
    assert_true(ended > 0 && lines > 0);
}

static void test_what_is_refused(void **state) {
    static const enum fake_vocabulary kinds[] = {FAKE_NESTED, FAKE_BYTES};
    (void)state;
    struct world w;
    struct packllm_session_params p = packllm_session_params_default();
    struct packllm_piece piece;
    char out[4096], once[4096], big[8192];
    p.max_tokens = 8;
    world_open(&w, 1, 2, kinds, true, &p);
    const struct packllm_message good = {"user", "abc"};
    (void)reply(w.session, 1, &good, 1, once);
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    const struct {
        struct packllm_message message;
        enum packllm_status status;
        const char *says;
    } cases[] = {
        {{"assistant", "x"}, PACKLLM_E_ARG, "follows a user's message"},
        {{"function", "x"}, PACKLLM_E_ARG, "'function'"},
        {{"User", "x"}, PACKLLM_E_ARG, "'User'"},
        {{"user", NULL}, PACKLLM_E_ARG, "no content"},
        {{NULL, "x"}, PACKLLM_E_ARG, "no role"},
        {{"user", "a\xff"}, PACKLLM_E_TEXT, "message 1"},
        {{"user", big}, PACKLLM_E_CONTEXT, "tokens for member"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_CASE(i,
                   packllm_session_chat(w.session, &cases[i].message, 1, &err) == cases[i].status,
                   "%s", err.message);
        CHECK_CASE(i, strstr(err.message, cases[i].says) != NULL, "%s", err.message);
    }
    assert_int_equal(packllm_session_chat(w.session, NULL, 0, &err), PACKLLM_E_ARG);
    /* Nothing to weigh by: the priors. */
    const struct packllm_message empty = {"user", " \n"};
    struct packllm_weights weights;
    (void)reply(w.session, 1, &empty, 1, out);
    assert_int_equal(packllm_session_weights(w.session, &weights), PACKLLM_OK);
    assert_true(weights.bytes == 0 && weights.members[0].weight == 0.5);
    /* A cancel ends the step, not the session. */
    assert_int_equal(packllm_session_chat(w.session, &good, 1, &err), PACKLLM_OK);
    packllm_session_cancel(w.session);
    assert_int_equal(packllm_session_step(w.session, &piece, &err), PACKLLM_E_CANCELLED);
    (void)reply(w.session, 1, &good, 1, out);
    assert_string_equal(out, once);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lambdas_text_is_the_users),
                                       cmocka_unit_test(test_a_conversation_that_goes_on),
                                       cmocka_unit_test(test_line_ends_of_the_plain_form),
                                       cmocka_unit_test(test_what_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
