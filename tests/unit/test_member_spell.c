/* test_member_spell.c - the small pure parts of members on libllama: byte names, padded rows, spans
 * that a tokenizer may see at once, and which line of a log becomes the error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "member/member_log.h"
#include "member/member_spell.h"

static void test_byte_names(void **state) {
    (void)state;
    assert_int_equal(member_byte_of_text("<0x00>"), 0);
    assert_int_equal(member_byte_of_text("<0x0A>"), 10);
    assert_int_equal(member_byte_of_text("<0xFF>"), 255);
    assert_int_equal(member_byte_of_text("<0xff>"), -1);
    assert_int_equal(member_byte_of_text("<0x0A"), -1);
    assert_int_equal(member_byte_of_text("<0x0G>"), -1);
    assert_int_equal(member_byte_of_text(""), -1);
}

static void test_padding(void **state) {
    (void)state;
    assert_true(member_is_padding("[PAD151936]", 151936));
    assert_true(member_is_padding("[EMPTY_7]", 7));
    assert_false(member_is_padding("[PAD7]", 8));
    assert_false(member_is_padding("[PAD]", 7));
}

static void test_spans(void **state) {
    static const char marked[] = "ab" MEMBER_SPACE_MARK "c", euros[] = "\xe2\x82\xac\xe2\x82\xac";
    (void)state;
    assert_int_equal(member_span(marked, 6, SIZE_MAX, true), 2);
    assert_int_equal(member_span(marked, 6, SIZE_MAX, false), 6);
    assert_int_equal(member_span(marked + 2, 4, SIZE_MAX, true), 0);
    assert_int_equal(member_span("aaaa bbbb", 9, 4, false), 9); /* no run is longer than four */
    assert_int_equal(member_span("aaaaaa", 6, 4, false), 4);
    assert_int_equal(member_span("a     b", 7, 3, false), 4);
    assert_int_equal(member_span(euros, 6, 4, false), 6); /* never inside a character */
    assert_int_equal(member_span("", 0, 4, true), 0);
}

static char lines[256];

static void take(void *data, int level, const char *line) {
    char *to = data;
    size_t size = strlen(to);
    to[size] = (char)('0' + level);
    memcpy(to + size + 1, line, strlen(line) + 1);
    strcat(to, "|");
}

static void test_log(void **state) {
    (void)state;
    member_log_begin(take, lines);
    member_log_add(2, "loading ");
    member_log_add(MEMBER_LOG_SAME, "a\nsecond\n");
    member_log_add(3, "f: odd\n");
    member_log_add(4, "load_model: no tensor: x\n");
    member_log_add(4, "outer: failed\n");
    assert_string_equal(member_log_end(),
                        "no tensor: x"); /* the first error, without its function */
    assert_string_equal(lines,
                        "2loading a|2second|3f: odd|4load_model: no tensor: x|4outer: failed|");
    member_log_begin(NULL, NULL);
    member_log_add(3, "only a warning");
    assert_string_equal(member_log_end(), "only a warning");
    member_log_begin(NULL, NULL);
    assert_string_equal(member_log_end(), "libllama gave no reason");
    member_log_begin(NULL, NULL);
    for (int i = 0; i < 100; i++) { /* longer than any buffer */
        member_log_add(MEMBER_LOG_SAME, "0123456789");
    }
    (void)member_log_end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_names),
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
