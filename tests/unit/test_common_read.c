/* test_common_read.c - JSON from strangers: what is read, and what is refused with its place; nothing that is
 * deep comes to the reader, which descends by recursion. */
#include "common/json_read.h"

#include <string.h>

#include "base/alloc.h"
#include "check.h"

static struct json_value *strange(const char *text, struct json_wrong *wrong) {
    return json_read_strange(text, strlen(text), 3, wrong);
}

static void values(void **state) {
    (void)state;
    static const struct {
        const char *key;
        enum json_kind kind;
    } cases[] = {{"n", JSON_KIND_NULL},   {"b", JSON_KIND_BOOL},   {"w", JSON_KIND_WHOLE},
                 {"r", JSON_KIND_REAL},   {"t", JSON_KIND_TEXT},   {"a", JSON_KIND_ARRAY},
                 {"o", JSON_KIND_OBJECT}, {"none", JSON_KIND_NULL}};
    struct json_value *root = strange(
        "{\"n\":null,\"b\":true,\"w\":-7,\"r\":0.5,\"t\":\"a\\u0000b\",\"a\":[1,\"[[[[\\\"\"],"
        "\"o\":{\"x\":1,\"y\":2},\"t2\":1,\"t2\":2}",
        NULL);
    assert_non_null(root);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(json_kind(json_get_field(root, cases[i].key)), cases[i].kind);
    }
    size_t size = 0;
    const char *text = json_get_bytes(json_get_field(root, "t"), &size);
    assert_int_equal(size, 3);
    assert_memory_equal(text, "a\0b", 3);
    assert_true(json_get_true(json_get_field(root, "b")));
    assert_false(json_get_true(json_get_field(root, "w")));
    int64_t whole = 0;
    assert_true(json_get_whole(json_get_field(root, "t2"), &whole) && whole == 2); /* the last */
    const struct json_value *object = json_get_field(root, "o"), *entry = NULL;
    assert_int_equal(json_get_entries(object), 2);
    assert_int_equal(json_get_entries(json_get_field(root, "a")), 0);
    void *at = NULL;
    const char *key = NULL;
    double sum = 0, number = 0;
    while (json_next(object, &at, &key, &entry)) {
        assert_true(json_get_number(entry, &number) && strlen(key) == 1);
        sum += number;
    }
    assert_true(sum > 2.5 && sum < 3.5);
    char *line = json_line(json_get_field(root, "a"));
    assert_string_equal(line, "[1,\"[[[[\\\"\"]");
    base_free(line);
    json_read_done(root);
}

static void places(void **state) {
    (void)state;
    struct json_wrong wrong = {0};
    assert_null(strange("{\"a\":\n [[[1]]]}", &wrong));
    assert_true(wrong.line == 2 && wrong.column == 4);
    assert_non_null(strstr(wrong.what, "more than 3"));
    struct json_value *root = strange("{\"a\":[[1]]}", NULL);
    assert_non_null(root);
    json_read_done(root);
    assert_null(strange("{\"a\":NaN}", &wrong));
    assert_true(wrong.line == 1 && wrong.what[0] != '\0');
    assert_null(strange("", &wrong));
    assert_null(strange("1", &wrong)); /* an array or an object */
    assert_null(json_read_strange(NULL, 0, 3, &wrong));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(values), cmocka_unit_test(places)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
