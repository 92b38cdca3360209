/* test_sample_stopper.c - stop strings over a stream. (Any chunking: tests/property.) */
#include <string.h>

#include "base/alloc.h"
#include "sample/sample.h"
#include "check.h"

static struct stopper *open_stopper(const char *const *stop, size_t n) {
    struct stopper *stopper = NULL;
    assert_int_equal(stopper_open(&stopper, stop, n, NULL), PACKLLM_OK);
    return stopper;
}

/* Goal: without stop strings everything is released at once. */
static void nothing_to_stop_at(void **state) {
    (void)state;
    struct stopper *stopper = open_stopper(NULL, 0);
    size_t release;
    assert_false(stopper_add(stopper, "text", 4, &release));
    assert_int_equal(release, 4);
    assert_int_equal(stopper_held(stopper), 0);
    stopper_close(stopper);
    stopper_close(NULL);
}

/* Goal: a beginning is held, given back when it comes to nothing, and cut when it completes. */
static void beginnings_are_held(void **state) {
    (void)state;
    struct stopper *stopper = open_stopper((const char *[]){"\n\nUser:"}, 1);
    size_t release;
    assert_false(stopper_add(stopper, "Hi\n", 3, &release));
    assert_int_equal(release, 2);
    assert_int_equal(stopper_held(stopper), 1);
    assert_false(stopper_add(stopper, "\nU", 2, &release));
    assert_int_equal(release, 0);
    assert_int_equal(stopper_held(stopper), 3);
    assert_false(stopper_add(stopper, "p", 1, &release));
    assert_int_equal(release, 4);
    assert_false(stopper_add(stopper, "x\n\n\nUser", 8, &release));
    assert_int_equal(release, 2);
    assert_int_equal(stopper_held(stopper), 6);
    assert_true(stopper_add(stopper, ": and more", 10, &release));
    assert_int_equal(release, 0);
    assert_int_equal(stopper_held(stopper), 0);
    assert_true(stopper_add(stopper, "more", 4, &release)); /* stays stopped */
    assert_int_equal(release, 0);
    stopper_reset(stopper);
    assert_false(stopper_add(stopper, "more", 4, &release));
    assert_int_equal(release, 4);
    stopper_close(stopper);
}

/* Goal: the string complete first wins, of those complete together the longest; half a character
 * of a multi-byte stop string is held too. */
static void which_match_counts(void **state) {
    (void)state;
    size_t release;
    struct stopper *stopper = open_stopper((const char *[]){"abcd", "bc"}, 2);
    assert_true(stopper_add(stopper, "xabcd", 5, &release));
    assert_int_equal(release, 2);
    stopper_close(stopper);
    stopper = open_stopper((const char *[]){"c", "bc", "abc"}, 3);
    assert_true(stopper_add(stopper, "xabcd", 5, &release));
    assert_int_equal(release, 1);
    stopper_close(stopper);
    stopper = open_stopper((const char *[]){"\xe3\x80\x82"}, 1);
    assert_false(stopper_add(stopper, "a\xe3\x80", 3, &release));
    assert_int_equal(release, 1);
    assert_true(stopper_add(stopper, "\x82", 1, &release));
    assert_int_equal(release, 0);
    stopper_close(stopper);
}

/* Goal: wrong use is refused, and every allocation may fail without a leak. */
static void errors(void **state) {
    (void)state;
    struct stopper *stopper = NULL;
    struct packllm_error err;
    assert_int_equal(stopper_open(&stopper, (const char *[]){"a", ""}, 2, &err), PACKLLM_E_ARG);
    assert_string_equal(err.message, "stop string 2 is empty");
    assert_null(stopper);
    unsigned long nth = 0;
    enum packllm_status status;
    do {
        alloc_fail_nth(++nth);
        status = stopper_open(&stopper, (const char *[]){"ab", "cd"}, 2, &err);
        assert_true(status == PACKLLM_OK || status == PACKLLM_E_MEMORY);
    } while (status != PACKLLM_OK);
    alloc_fail_nth(0);
    assert_int_equal(nth, 7); /* two, and two for each string */
    stopper_close(stopper);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_to_stop_at),
        cmocka_unit_test(beginnings_are_held),
        cmocka_unit_test(which_match_counts),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
