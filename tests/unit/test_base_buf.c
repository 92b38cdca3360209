/* test_base_buf.c - bytes with a ceiling, allocation that can be made to fail, and error lines. */
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/status.h"

/* Before check.h, whose cmocka has a macro of the same name. */
static enum packllm_status say(struct packllm_error *err, const char *text) {
    return fail(err, PACKLLM_E_MODEL, 3, "member: %s", text);
}

#include "check.h"

/* Goal: what goes in comes out, with a NUL behind it, NUL bytes included. */
static void buf_keeps_bytes(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    assert_true(buf_add(&buf, "", 0));
    assert_true(buf_add(&buf, "a\0b", 3));
    assert_true(buf_add_text(&buf, "cd"));
    assert_true(buf_printf(&buf, "%d-%s", 42, "x"));
    assert_int_equal(buf.size, 9);
    assert_memory_equal(buf.data, "a\0bcd42-x", 10);
    buf_cut(&buf, 2);
    assert_memory_equal(buf.data, "a\0\0", 3);
    buf_done(&buf);
    assert_null(buf.data);
    assert_true(buf_add_text(&buf, "again"));
    buf_done(&buf);
}

/* Goal: the ceiling is exact, an addition beyond it changes nothing, and no later one succeeds. */
static void buf_has_a_ceiling(void **state) {
    (void)state;
    for (size_t ceiling = 0; ceiling < 200; ceiling += 7) {
        struct buf buf;
        buf_init(&buf, ceiling);
        for (size_t i = 0; i < ceiling; i++) {
            assert_true(buf_add(&buf, "x", 1));
        }
        assert_false(buf.failed);
        assert_false(buf_add(&buf, "y", 1));
        assert_true(buf.failed);
        assert_int_equal(buf.size, ceiling);
        buf_cut(&buf, 0);
        assert_false(buf_add(&buf, "", 0));
        assert_false(buf_printf(&buf, "z"));
        buf_done(&buf);
        assert_false(buf.failed);
    }
    struct buf buf;
    buf_init(&buf, 4);
    assert_false(buf_printf(&buf, "%s", "five!"));
    assert_int_equal(buf.size, 0);
    buf_done(&buf);
    buf_init(&buf, 4);
    assert_false(buf_add(&buf, "", SIZE_MAX)); /* size sums must not wrap */
    buf_done(&buf);
}

/* Goal: a failed allocation leaves the bytes that stand there. */
static void buf_survives_no_memory(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 100000);
    assert_true(buf_add_text(&buf, "kept"));
    char large[5000];
    memset(large, 'x', sizeof large);
    alloc_fail_nth(1);
    assert_false(buf_add(&buf, large, sizeof large));
    assert_true(buf.failed);
    assert_string_equal(buf.data, "kept");
    buf_done(&buf);
}

/* Goal: exactly the nth allocation fails, once. */
static void the_nth_allocation_fails(void **state) {
    (void)state;
    for (unsigned long nth = 1; nth < 6; nth++) {
        alloc_fail_nth(nth);
        for (unsigned long i = 1; i < 10; i++) {
            void *block = i % 3 == 0   ? alloc_array(2, 8)
                          : i % 3 == 1 ? alloc_zero(2, 8)
                                       : (void *)alloc_text("abc", 3);
            assert_true((block == NULL) == (i == nth));
            base_free(block);
        }
    }
    alloc_fail_nth(1);
    alloc_fail_nth(0);
    void *block = alloc_array(1, 1);
    assert_non_null(block);
    alloc_fail_nth(1);
    assert_null(alloc_resize(block, 100, 1));
    base_free(block); /* still ours */
}

/* Goal: sizes are multiplied with a check; zero is not failure; text is copied with its NULs. */
static void sizes_are_checked(void **state) {
    (void)state;
    assert_null(alloc_array(SIZE_MAX / 2, 3));
    void *none = alloc_array(0, 8), *zero = alloc_zero(0, 0);
    assert_non_null(none);
    assert_non_null(zero);
    base_free(none);
    base_free(zero);
    char *text = alloc_text("a\0b", 3);
    assert_memory_equal(text, "a\0b", 4);
    base_free(text);
    assert_null(alloc_text("", SIZE_MAX));
}

/* Goal: fail() gives its status back and writes one line, whatever stands in the arguments. */
static void errors_are_one_line(void **state) {
    (void)state;
    struct packllm_error err = {0};
    assert_int_equal(say(&err, "two\nlines\tand\x7f"), PACKLLM_E_MODEL);
    assert_int_equal(err.status, PACKLLM_E_MODEL);
    assert_int_equal(err.member, 3);
    assert_string_equal(err.message, "member: two lines and ");
    assert_int_equal(say(NULL, "no error struct"), PACKLLM_E_MODEL);
    char large[3000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    (void)say(&err, large);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_string_equal(packllm_status_text(PACKLLM_OK), "fine");
    assert_string_equal(packllm_status_text((enum packllm_status)99), "unknown status");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_keeps_bytes),        cmocka_unit_test(buf_has_a_ceiling),
        cmocka_unit_test(buf_survives_no_memory), cmocka_unit_test(the_nth_allocation_fails),
        cmocka_unit_test(sizes_are_checked),      cmocka_unit_test(errors_are_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
