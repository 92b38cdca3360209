/* test_server_ask.c - bodies to structs: what comes in is there, what is out of range names its field. */
#include "server/private.h" /* first: it asks for the experimental tier */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

#include "check.h"

static bool parse(struct ask *ask, enum ask_kind kind, const char *body, struct ask_error *e) {
    return ask_read(ask, kind, body, strlen(body), e);
}

static void fields(void **state) {
    (void)state;
    struct ask ask;
    struct ask_error e;
    assert_true(
        parse(&ask, ASK_COMPLETION,
              "{\"prompt\":\"a\\u0000b\",\"max_tokens\":7,\"temperature\":0,\"seed\":5,\"n\":2,"
              "\"stop\":\"x\",\"logit_bias\":{\"9\":-100},\"logprobs\":3,"
              "\"packllm\":{\"weights\":{\"m\":1}},\"unknown\":[{}]}",
              &e));
    assert_int_equal(ask.n_prompts, 1);
    assert_int_equal(ask.prompts[0].size, 3);
    assert_memory_equal(ask.prompts[0].text, "a\0b", 3);
    assert_int_equal(ask.max_tokens, 7);
    assert_true(ask.sampling.temp <= 0 && ask.seeded && ask.sampling.seed == 5 && ask.n == 2);
    assert_int_equal(ask.n_stop, 1);
    assert_true(ask.n_bias == 1 && ask.bias[0].token == 9 && ask.bias[0].bias < -1e300);
    assert_true(ask.logprobs && ask.n_top == 3);
    assert_string_equal(ask.weights[0].name, "m");
    ask_done(&ask);
    assert_true(parse(&ask, ASK_COMPLETION, "{\"prompt\":[[1,2],[3]]}", &e));
    assert_true(ask.n_prompts == 2 && ask.prompts[0].n_ids == 2 && ask.max_tokens == 16);
    ask_done(&ask);
    assert_true(parse(&ask, ASK_COMPLETION, "{\"prompt\":[4,5,6]}", &e));
    assert_true(ask.n_prompts == 1 && ask.prompts[0].n_ids == 3);
    ask_done(&ask);
    assert_true(
        parse(&ask, ASK_CHAT,
              "{\"messages\":[{\"role\":\"developer\",\"content\":\"s\"},{\"role\":\"user\","
              "\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":"
              "\"b\"}]}]}",
              &e));
    assert_string_equal(ask.messages[0].role, "system");
    assert_string_equal(ask.messages[1].content, "ab");
    assert_int_equal(ask.max_tokens, -1);
    ask_done(&ask);
}

/* Errors in a chat name the message and its field. */
static void messages(void **state) {
    (void)state;
    static const struct {
        const char *body, *param;
    } cases[] = {
        {"{\"messages\":[]}", "messages"},
        {"{\"messages\":[3]}", "messages[0]"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"king\"}]}",
         "messages[1].role"},
        {"{\"messages\":[{\"content\":\"a\"}]}", "messages[0].role"},
        {"{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}",
         "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}",
         "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"response_format\":\"json\"}",
         "response_format"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ask ask;
        struct ask_error e;
        assert_false(parse(&ask, ASK_CHAT, cases[i].body, &e));
        assert_int_equal(e.status, 400);
        assert_string_equal(e.param, cases[i].param);
        ask_done(&ask);
    }
}

/* Tools become a schema and the system's text, turns about them text; no allocation need succeed. */
static void tools(void **state) {
    (void)state;
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":"
        "null,\"tool_calls\":[{\"id\":\"i\",\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"arguments\":\"{\\\"b\\\":1}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"i\",\"content\":"
        "\"c\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{"
        "\"properties\":{\"b\":{\"$ref\":\"#/$defs/n\"}},\"$defs\":{\"n\":{\"const\":"
        "\"\\\"$ref\\\":\\\"#\"}}}}},{\"type\":\"function\",\"function\":{\"name\":\"g\"}}],"
        "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}}";
    struct ask ask;
    struct ask_error e;
    bool fine = false;
    for (unsigned long nth = 1; !fine; nth++) {
        alloc_fail_nth(nth);
        fine = parse(&ask, ASK_CHAT, body, &e);
        alloc_fail_nth(0);
        assert_true(fine || e.status == 503);
        if (!fine) {
            ask_done(&ask);
        }
    }
    assert_true(ask.tools && !ask.or_text && ask.n_messages == 4);
    assert_string_equal(
        ask.json_schema,
        "{\"anyOf\":[{\"type\":\"object\",\"required\":[\"name\",\"arguments\"],"
        "\"additionalProperties\":false,\"properties\":{\"name\":{\"const\":\"f\"},\"arguments\":{"
        "\"type\":\"object\",\"properties\":{\"b\":{\"$ref\":\"#/anyOf/0/properties/arguments/"
        "$defs/n"
        "\"}},\"$defs\":{\"n\":{\"const\":\"\\\"$ref\\\":\\\"#\"}}}}},false]}");
    assert_string_equal(ask.messages[0].role, "system");
    assert_non_null(strstr(ask.messages[0].content, "{\"name\":\"g\"}\n"));
    assert_string_equal(ask.messages[2].content, "{\"name\": \"f\", \"arguments\": {\"b\":1}}");
    assert_string_equal(ask.messages[3].role, "tool");
    assert_string_equal(ask.messages[3].content, "Tool f returned: c");
    ask_done(&ask);
    assert_true(ask_tools_blamed("JSON schema, at '#/anyOf/7/properties/arguments/b': no", &e));
    assert_string_equal(e.param, "tools[7].function.parameters");
    assert_string_equal(e.message, "JSON schema in 'tools[7].function.parameters', at '#/b': no");
    assert_false(ask_tools_blamed("JSON schema, at '#/anyOf/7/properties/name': no", &e));
    assert_false(ask_tools_blamed("JSON schema: no", &e));
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *body, *param;
    } cases[] = {
        {"{\"prompt\":\"a\",\"max_tokens\":-1}", "max_tokens"},
        {"{\"prompt\":\"a\",\"max_tokens\":1e30}", "max_tokens"},
        {"{\"prompt\":\"a\",\"temperature\":\"0\"}", "temperature"},
        {"{\"prompt\":\"a\",\"top_p\":1.01}", "top_p"},
        {"{\"prompt\":\"a\",\"n\":17}", "n"},
        {"{\"prompt\":\"a\",\"logprobs\":21}", "logprobs"},
        {"{\"prompt\":\"a\",\"stop\":[\"\"]}", "stop"},
        {"{\"prompt\":\"a\",\"logit_bias\":{\"-1\":1}}", "logit_bias"},
        {"{\"prompt\":\"a\",\"logit_bias\":{\"99999999999999999999\":1}}", "logit_bias"},
        {"{\"prompt\":[1,-2]}", "prompt"},
        {"{\"prompt\":[1,4294967296]}", "prompt"},
        {"{\"prompt\":[\"a\",[1]],\"stop\":[1]}", "stop"},
        {"{\"prompt\":[\"a\",3]}", "prompt"},
        {"{}", "prompt"},
        {"[]", ""},
        {"{\"prompt\":\"a\"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ask ask;
        struct ask_error e;
        assert_false(parse(&ask, ASK_COMPLETION, cases[i].body, &e));
        assert_int_equal(e.status, 400);
        assert_string_equal(e.param, cases[i].param);
        assert_string_equal(e.type, "invalid_request_error");
        ask_done(&ask);
    }
}

static void guards(void **state) {
    (void)state;
    assert_true(guard_loopback("127.0.0.1") && guard_loopback("127.8.9.1") &&
                guard_loopback("localhost") && guard_loopback("::1"));
    assert_false(guard_loopback("0.0.0.0") || guard_loopback("127.0.0.1.evil.example") ||
                 guard_loopback("::") || guard_loopback("1270.0.0.1") || guard_loopback(""));
    assert_true(guard_key("sesame", "Bearer sesame") && guard_key("sesame", "bearer sesame"));
    assert_false(guard_key("sesame", "Bearer sesam") ||
                 guard_key("sesame", "Bearer sesamesesame") || guard_key("sesame", "Bearer ") ||
                 guard_key("sesame", "sesame") || guard_key("sesame", NULL));
    assert_true(guard_host("localhost:80", "127.0.0.1", true) &&
                guard_host("[::1]:80", "::1", true) && guard_host("a.example", "0.0.0.0", false));
    assert_false(guard_host("a.example", "127.0.0.1", true) || guard_host(NULL, "x", false) ||
                 guard_host("localhost:80x", "127.0.0.1", true) || guard_host("", "", true) ||
                 guard_host("localhost:80@evil", "127.0.0.1", true));
    assert_true(guard_origin(NULL, "h:1") && guard_origin("http://h:1", "h:1"));
    assert_false(guard_origin("http://h:2", "h:1") || guard_origin("null", "h:1") ||
                 guard_origin("http://", "h:1"));
}

static void key_files(void **state) {
    (void)state;
    char path[] = "/tmp/packllm-key-XXXXXX", key[64], error[512];
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "sesame\n", 7) == 7);
    assert_true(serve_key_file(path, key, sizeof key, error, sizeof error));
    assert_string_equal(key, "sesame");
    assert_int_equal(fchmod(fd, 0640), 0);
    assert_false(serve_key_file(path, key, sizeof key, error, sizeof error));
    assert_non_null(strstr(error, "chmod 600"));
    assert_int_equal(fchmod(fd, 0600), 0);
    assert_true(write(fd, "two\n", 4) == 4);
    assert_false(serve_key_file(path, key, sizeof key, error, sizeof error));
    (void)close(fd);
    (void)unlink(path);
    assert_false(serve_key_file(path, key, sizeof key, error, sizeof error));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields),   cmocka_unit_test(messages), cmocka_unit_test(tools),
        cmocka_unit_test(refusals), cmocka_unit_test(guards),   cmocka_unit_test(key_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
