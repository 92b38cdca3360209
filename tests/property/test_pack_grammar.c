/* test_pack_grammar.c - packs of fake members with awkward vocabularies write under a grammar. Goals:
 * every text that is not cut is one of the grammar, every beginning is a beginning of one, whatever
 * the members think likely (also nothing: logits of -inf), in tokens and in bytes; the grammar's only
 * end is taken at once; a session can be used again; where text is allowed beside a schema, it is
 * free. */
#define PACKLLM_EXPERIMENTAL
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "fake.h"
#include "grammar/grammar.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CASES = 160, ROOM = 4096 };

static struct packllm_error err;

static const char *const grammars[] = {
    "root ::= \"abc\" | \"cab\"",
    "root ::= ([a-c]{2,5} \" \")+ [^a-z]",
    "root ::= \"\xe2\x82\xac\" ([\xc3\xa0-\xc3\xbc] | \"\xf0\x9f\x98\x80\"){3} \"!\"",
    "root ::= \"[\" (root (\",\" root)*)? \"]\"",
    "root ::= \"q\" | \"\\x01\" | \"bc\" .{0,4}",
    "root ::= (\"a\" root \"b\")?",
};

static size_t generate(struct packllm_session *session, uint64_t seed, char *out) {
    struct packllm_piece piece;
    enum packllm_status status = packllm_session_prompt(session, "ab cab", 6, &err);
    size_t size = 0;
    CHECK_CASE(seed, status == PACKLLM_OK, "%s", err.message);
    while ((status = packllm_session_step(session, &piece, &err)) == PACKLLM_PIECE) {
        assert_true(size + piece.size <= ROOM);
        memcpy(out + size, piece.text, piece.size);
        size += piece.size;
    }
    CHECK_CASE(seed, status == PACKLLM_FINISHED, "%s", err.message);
    return size;
}

static void test_texts_are_the_grammars(void **state) {
    (void)state;
    enum { KINDS = FAKE_VOCABULARIES, GRAMMARS = sizeof grammars / sizeof *grammars };
    unsigned whole = 0;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct fake *fakes[2];
        struct packllm_own_member own[2];
        struct packllm_pack *pack = NULL;
        struct packllm_session *session = NULL;
        for (uint64_t i = 0; i < 2; i++) {
            struct fake_params params = fake_params_default();
            params.seed = seed * 2 + i;
            params.lost = seed % 3 == 0 ? 0.9 : 0.1;
            params.scale = seed % 5 == 0 ? 20.0 : 4.0;
            fakes[i] =
                fake_open((enum fake_vocabulary)((seed + i * (seed / KINDS)) % KINDS), &params);
            own[i] = fake_member(fakes[i], i == 0 ? "first" : "second");
        }
        struct packllm_session_params p = packllm_session_params_default();
        const char *text = grammars[seed % GRAMMARS];
        p.grammar = text;
        p.max_tokens = 60;
        p.sampling.seed = seed;
        p.sampling.temp = seed % 4 == 0 ? 0.0 : 1.5;
        p.sampling.top_k = seed % 7 == 0 ? 0 : 40;
        p.sampling.ignore_eos = seed % 11 == 0;
        p.choose = seed % 3 == 1 ? PACKLLM_CHOOSE_BYTES : PACKLLM_CHOOSE_TOKENS;
        p.why = seed % 2 == 0;
        size_t n = 1 + seed % 2;
        assert_int_equal(packllm_pack_open_own(&pack, own, n, NULL, &err), PACKLLM_OK);
        CHECK_CASE(seed, packllm_session_open(&session, pack, &p, &err) == PACKLLM_OK, "%s",
                   err.message);
        char out[ROOM], again[ROOM];
        size_t size = generate(session, seed, out);
        enum packllm_finish finish = packllm_session_finish(session);
        struct grammar *g = NULL;
        struct grammar_state *s = NULL;
        assert_int_equal(grammar_open(&g, text, strlen(text), NULL, &err), PACKLLM_OK);
        assert_int_equal(grammar_state_open(&s, g, &err), PACKLLM_OK);
        for (size_t k = 0; k < size; k++) {
            CHECK_CASE(seed, grammar_state_push(s, (uint8_t)out[k]), "byte %zu of '%.*s' in %s", k,
                       (int)size, out, text);
        }
        CHECK_CASE(seed, finish != PACKLLM_FINISH_END || grammar_state_may_end(s), "'%.*s' in %s",
                   (int)size, out, text);
        CHECK_CASE(seed, utf8_check(out, size) == size, "'%.*s'", (int)size, out);
        whole += finish == PACKLLM_FINISH_END ? 1 : 0;
        size_t size_again = generate(session, seed, again);
        CHECK_CASE(seed, size_again == size && memcmp(out, again, size) == 0, "%zu and %zu bytes",
                   size, size_again);
        grammar_state_close(s);
        grammar_close(g);
        packllm_session_close(session);
        packllm_pack_close(pack);
        fake_close(fakes[0]);
        fake_close(fakes[1]);
    }
    assert_true(whole > CASES / 2);
}

/* A schema or free text: the reply is one of them, free text is what is written without a schema, and
 * both come. */
static void test_a_schema_or_text(void **state) {
    (void)state;
    static const char schema[] = "{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[1,\"bc\"]},"
                                 "\"b\":{\"type\":\"integer\"}},\"required\":[\"a\",\"b\"]}";
    unsigned called = 0, same = 0;
    struct buf text;
    struct grammar *g = NULL;
    buf_init(&text, 1 << 20);
    assert_int_equal(grammar_from_schema(&text, schema, strlen(schema), false, &err), PACKLLM_OK);
    assert_int_equal(grammar_open(&g, text.data, text.size, NULL, &err), PACKLLM_OK);
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct fake_params params = fake_params_default();
        struct packllm_pack *pack = NULL;
        struct packllm_session *session = NULL, *unbound = NULL;
        params.seed = seed;
        struct fake *fake =
            fake_open((enum fake_vocabulary)(seed % (uint64_t)FAKE_VOCABULARIES), &params);
        struct packllm_own_member own = fake_member(fake, "one");
        struct packllm_session_params p = packllm_session_params_default();
        p.max_tokens = 60;
        p.sampling.seed = seed;
        p.sampling.temp = 2.0;
        p.choose = seed % 3 == 1 ? PACKLLM_CHOOSE_BYTES : PACKLLM_CHOOSE_TOKENS;
        assert_int_equal(packllm_pack_open_own(&pack, &own, 1, NULL, &err), PACKLLM_OK);
        struct packllm_bias brace = {.bias = 8.0}; /* else there would hardly be any JSON */
        while (own.tokens[brace.token].size != 1 || *own.tokens[brace.token].bytes != '{') {
            brace.token++;
        }
        p.bias = &brace;
        p.n_bias = seed % 2 == 0 && p.choose == PACKLLM_CHOOSE_TOKENS;
        assert_int_equal(packllm_session_open(&unbound, pack, &p, &err), PACKLLM_OK);
        p.json_schema = schema;
        p.json_schema_or_text = true;
        CHECK_CASE(seed, packllm_session_open(&session, pack, &p, &err) == PACKLLM_OK, "%s",
                   err.message);
        char out[ROOM], free_text[ROOM];
        size_t size = generate(session, seed, out), at = 0;
        enum packllm_finish finish = packllm_session_finish(session);
        while (at < size && memchr(" \t\r\n", out[at], 4) != NULL) {
            at++;
        }
        if (at < size && out[at] == '{') {
            struct grammar_state *s = NULL;
            called++;
            assert_int_equal(grammar_state_open(&s, g, &err), PACKLLM_OK);
            for (; at < size; at++) {
                CHECK_CASE(seed, grammar_state_push(s, (uint8_t)out[at]), "byte %zu of '%.*s'", at,
                           (int)size, out);
            }
            CHECK_CASE(seed, finish != PACKLLM_FINISH_END || grammar_state_may_end(s), "'%.*s'",
                       (int)size, out);
            grammar_state_close(s);
        } else {
            size_t size_free = generate(unbound, seed, free_text);
            same += size == size_free && memcmp(out, free_text, size) == 0;
        }
        packllm_session_close(session);
        packllm_session_close(unbound);
        packllm_pack_close(pack);
        fake_close(fake);
    }
    print_message("%u of %d are JSON, %u what is written without a schema\n", called, CASES, same);
    assert_true(called > CASES / 10 && same == CASES - called);
    grammar_close(g);
    buf_done(&text);
}

static void test_refused(void **state) {
    (void)state;
    struct fake_params params = fake_params_default();
    struct fake *fake = fake_open(FAKE_LACKING, &params);
    struct packllm_own_member own = fake_member(fake, "lacking");
    struct packllm_pack *pack = NULL;
    struct packllm_session *session = NULL;
    struct packllm_session_params p = packllm_session_params_default();
    assert_int_equal(packllm_pack_open_own(&pack, &own, 1, NULL, &err), PACKLLM_OK);
    p.grammar = "root ::= x";
    assert_int_equal(packllm_session_open(&session, pack, &p, &err), PACKLLM_E_ARG);
    assert_non_null(strstr(err.message, "line 1, column 10"));
    p.json_schema = "{}";
    assert_int_equal(packllm_session_open(&session, pack, &p, &err), PACKLLM_E_ARG);
    assert_non_null(strstr(err.message, "give up one"));
    p.json_schema = NULL;
    p.grammar = "root ::= \"q\"";
    assert_int_equal(packllm_session_open(&session, pack, &p, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_prompt(session, "ab", 2, &err), PACKLLM_E_ARG);
    assert_non_null(strstr(err.message, "member 'lacking'"));
    packllm_session_close(session);
    packllm_pack_close(pack);
    fake_close(fake);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts_are_the_grammars),
                                       cmocka_unit_test(test_a_schema_or_text),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
