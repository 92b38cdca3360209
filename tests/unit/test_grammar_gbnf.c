/* test_grammar_gbnf.c - the language of grammars. Goals: what llama.cpp's grammars are written with
 * parses and means the same; what is wrong is refused with line and column; a grammar made to hurt
 * neither hangs nor grows; characters are taken byte by byte and never broken; bytes that cannot be
 * written lead to no dead end. */
#include <string.h>

#include "base/buf.h"
#include "grammar/grammar.h"

#include "check.h"

static struct packllm_error err;

static struct grammar *open_text(const char *text, const bool *bytes) {
    struct grammar *g = NULL;
    CHECK_CASE(0, grammar_open(&g, text, strlen(text), bytes, &err) == PACKLLM_OK, "%s: %s", text,
               err.message);
    return g;
}

/* 2: a whole text, 1: a beginning of one, 0: neither. */
static int match(const struct grammar *g, const char *text, size_t size) {
    struct grammar_state *s = NULL;
    size_t n = 0;
    assert_int_equal(grammar_state_open(&s, g, &err), PACKLLM_OK);
    while (n < size && grammar_state_push(s, (uint8_t)text[n])) {
        n++;
    }
    int result = n < size ? 0 : grammar_state_may_end(s) ? 2 : 1;
    grammar_state_close(s);
    return result;
}

static void expect(const char *grammar, const char *text, int result) {
    struct grammar *g = open_text(grammar, NULL);
    CHECK_CASE(0, match(g, text, strlen(text)) == result, "%s on '%s': %d", grammar, text,
               match(g, text, strlen(text)));
    grammar_close(g);
}

static void test_means(void **state) {
    (void)state;
    expect("root ::= \"a\" | \"bc\"", "bc", 2);
    expect("root ::= \"a\" | \"bc\"", "b", 1);
    expect("root ::= \"a\" | \"bc\"", "c", 0);
    expect(
        "# comment\nroot ::= (x | \"y\"\n  | z)+ # more\nx ::= [a-c]{2}\n\nz ::= \"\\x41\\u00e9\"",
        "aby", 2);
    expect("root ::= [^a-z\\]]*", "A-]", 0);
    expect("root ::= [^a-z]*", "A-\xc3\xa9", 2);
    expect("root ::= [a\\-z-]+", "a-z", 2);
    expect("root ::= [a\\-z-]+", "b", 0);
    expect("root ::= .", "\xf0\x9f\x98\x80", 2);
    expect("root ::= .", "\xed\xa0\x80", 0); /* a surrogate */
    expect("root ::= [\xc3\xa0-\xc3\xbc]", "\xc3\xa9", 2);
    expect("root ::= [\xc3\xa0-\xc3\xbc]", "\xc3", 1);
    expect("root ::= \"a\"{2,3} \"b\"{,1} \"c\"{2,}", "aabcc", 2);
    expect("root ::= \"a\"{2,3}", "aaaa", 0);
    expect("root ::= \"a\"{2,3}", "a", 1);
    expect("root ::= \"ab\"{2}", "abab", 2);
    expect("root ::= \"a\"?", "", 2);
    expect("root ::= \"\"", "", 2);
    expect("root ::= |\n \"a\"", "a", 2);
    expect("root ::= \"(\" root? \")\"", "(())", 2);
    expect("root ::= \"(\" root? \")\"", "(()", 1);
    expect("root ::= (\"a\"*)* \"b\"", "aab", 2);
    expect("root ::= a a a\na ::= b?\nb ::= \"x\" | \"\"", "xx", 2);
    expect("root ::= [^]", "x", 2);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "line 1, column 1: there is no rule 'root'"},
        {"roots ::= \"a\"", "no rule 'root'"},
        {"root ::= a", "line 1, column 10: the rule 'a' is not defined"},
        {"root = \"a\"", "line 1, column 6: expected '::='"},
        {"root ::= \"a", "line 1, column 10: the literal has no closing"},
        {"root ::= \"a\"\n  b", "line 2, column 4: expected '::='"},
        {"root ::= [a", "line 1, column 10: the class has no closing"},
        {"root ::= []", "no character"},
        {"root ::= [z-a]", "line 1, column 11: the range U+007A-U+0061 runs backwards"},
        {"root ::= \"\xc3\xa9\" ?? ) ", "line 1, column 17: expected an element"},
        {"root ::= (\"a\"", "expected ')', found the end"},
        {"root ::= * \"a\"", "column 10: expected something to repeat, found '*'"},
        {"root ::= \"a\"{x}", "column 14: expected a number of repetitions, found 'x'"},
        {"root ::= \"a\"{3,2}", "the second number is the smaller one"},
        {"root ::= \"a\"{1000000}", "more than"},
        {"root ::= \"a\"{99999999999999999999}", "more than"},
        {"root ::= ((\"a\"{60000}){60000} \"b\"{60000}){200000}", "too large"},
        {"root ::= \"\\q\"", "column 11: no escape is called so"},
        {"root ::= \"\\x4\"", "expected 2 hexadecimal digits"},
        {"root ::= \"\\ud800\"", "U+D800 is no character"},
        {"root ::= \"\\U00110000\"", "is no character"},
        {"root ::= <think>", "tokens in grammars are not supported"},
        {"root ::= !<[1]>", "tokens in grammars are not supported"},
        {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: the rule 'root' is defined twice"},
        {"root ::= root \"a\" | \"b\"", "'root' is left-recursive"},
        {"root ::= \"a\"\nb ::= c\nc ::= (\"x\"? b)*", "is left-recursive"},
        {"root ::= (\"\" root){2}", "'root' is left-recursive"},
        {"root ::= \"a\" root", "no text satisfies"},
        {"root ::= \"\xff\"", "line 1, column 11: the grammar is not valid UTF-8"},
        {"root ::= \"a\" |\n", NULL}, /* fine: the other is empty */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct grammar *g = NULL;
        enum packllm_status status = grammar_open(&g, bad[i].text, strlen(bad[i].text), NULL, &err);
        CHECK_CASE(i, (status == PACKLLM_E_ARG) == (bad[i].says != NULL), "%s", bad[i].text);
        CHECK_CASE(i, bad[i].says == NULL || strstr(err.message, bad[i].says) != NULL,
                   "%s: %s, not %s", bad[i].text, err.message, bad[i].says);
        grammar_close(g);
    }
    char deep[400];
    memset(deep, '(', sizeof deep);
    memcpy(deep, "root ::= ", 9);
    struct grammar *g = NULL;
    assert_int_equal(grammar_open(&g, deep, sizeof deep, NULL, &err), PACKLLM_E_ARG);
    assert_non_null(strstr(err.message, "nested deeper"));
}

/* Each of these doubles something with each byte where ways are kept apart. */
static void test_hostile(void **state) {
    (void)state;
    static const char *const grammars[] = {
        "root ::= a\na ::= \"a\" a b | \"a\" a c | \"a\"\nb ::= \"a\"?\nc ::= \"a\"?",
        "root ::= ((\"a\"*)* (\"a\"+)*)*",
        "root ::= (\"a\" | \"a\" | \"aa\" | [a-b])*",
        "root ::= \"a\" root \"a\" | \"a\" root | \"a\"",
        "root ::= \"a\" root | \"\"",
        "root ::= (x{0,50}){0,50}\nx ::= \"a\"{0,50}",
    };
    enum { TOO_MANY = 5 };
    for (size_t i = 0; i < sizeof grammars / sizeof *grammars; i++) {
        struct grammar *g = open_text(grammars[i], NULL);
        struct grammar_state *s = NULL;
        assert_int_equal(grammar_state_open(&s, g, &err), PACKLLM_OK);
        for (int k = 0; k < 300 && i != TOO_MANY; k++) {
            CHECK_CASE(i, grammar_state_push(s, 'a'), "byte %d", k);
        }
        while (i == TOO_MANY && grammar_state_push(s, 'a')) {
        }
        if (i == TOO_MANY) { /* it ends with a word, not with the machine's memory */
            assert_int_equal(grammar_state_status(s, &err), PACKLLM_E_UNSUPPORTED);
            assert_non_null(strstr(err.message, "too ambiguous"));
            grammar_state_close(s);
            grammar_close(g);
            continue;
        }
        CHECK_CASE(i, grammar_state_may_end(s), "%s", grammars[i]);
        grammar_state_pop(s, 299);
        CHECK_CASE(i, grammar_mask_has(grammar_state_allowed(s), 'a'), "%s", grammars[i]);
        grammar_state_close(s);
        grammar_close(g);
    }
}

/* What needs a byte that cannot be written is gone, also where it would be found out later only. */
static void test_bytes_that_cannot_be_written(void **state) {
    (void)state;
    bool bytes[256];
    memset(bytes, true, sizeof bytes);
    bytes['q'] = bytes[0xf0] = false;
    struct grammar *g = open_text("root ::= \"aaq\" | \"b\" [p-r] | .", bytes), *none = NULL;
    struct grammar_state *s = NULL;
    assert_int_equal(match(g, "aa", 2), 0);
    assert_int_equal(match(g, "br", 2), 2);
    assert_int_equal(match(g, "bq", 2), 0);
    assert_int_equal(grammar_state_open(&s, g, &err), PACKLLM_OK);
    assert_false(grammar_mask_has(grammar_state_allowed(s), 0xf0));
    assert_true(grammar_mask_has(grammar_state_allowed(s), 0xf1));
    grammar_state_close(s);
    grammar_close(g);
    assert_int_equal(grammar_open(&none, "root ::= \"q\"", 12, bytes, &err), PACKLLM_E_ARG);
    assert_non_null(strstr(err.message, "tokens can write"));
}

static void test_a_schema(void **state) {
    (void)state;
    static const char text[] =
        "{\"type\":\"array\",\"items\":{\"anyOf\":[{\"const\":1},{\"type\":"
        "\"object\",\"properties\":{\"a\":{}},\"additionalProperties\":{}}]}}";
    struct buf grammar;
    buf_init(&grammar, 1 << 16);
    assert_int_equal(grammar_from_schema(&grammar, text, strlen(text), false, &err), PACKLLM_OK);
    struct grammar *g = open_text(grammar.data, NULL);
    assert_int_equal(match(g, "[1,{\"a\":null,\"b\":[]}]", 21), 2);
    grammar_close(g);
    buf_done(&grammar);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_means), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_hostile),
                                       cmocka_unit_test(test_bytes_that_cannot_be_written),
                                       cmocka_unit_test(test_a_schema)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
