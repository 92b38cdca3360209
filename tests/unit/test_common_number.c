/* test_common_number.c - strict reading, and writing that reads back as the same double. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "common/number.h"
#include "check.h"

static void refused(void **state) {
    (void)state;
    static const char *const texts[] = {"",     " 1",   "1 ",  "-",   "+",   ".",   "e5",      "1e",
                                        "1e+",  "nan",  "inf", "0x1", "1,5", "--1", "+-1",     "1f",
                                        "1e5.", "1..2", "\n",  "1\n", "1e-", "1 2", "\xd9\xa3"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        double d = 7;
        int64_t n = 7;
        uint64_t u = 7;
        assert_int_equal(number_double(texts[i], &d), NUMBER_NOT);
        assert_int_equal(number_int(texts[i], &n), NUMBER_NOT);
        assert_int_equal(number_uint(texts[i], &u), NUMBER_NOT);
        assert_true(d == 7 && n == 7 && u == 7); /* written only on success */
    }
}

static void ranges(void **state) {
    (void)state;
    int64_t n = 0;
    uint64_t u = 0;
    double d = 0;
    assert_int_equal(number_int("9223372036854775807", &n), NUMBER_OK);
    assert_true(n == INT64_MAX);
    assert_int_equal(number_int("-9223372036854775807", &n), NUMBER_OK);
    assert_int_equal(number_int("9223372036854775808", &n), NUMBER_RANGE);
    assert_int_equal(number_uint("18446744073709551615", &u), NUMBER_OK);
    assert_true(u == UINT64_MAX);
    assert_int_equal(number_uint("18446744073709551616", &u), NUMBER_RANGE);
    assert_int_equal(number_uint("-1", &u), NUMBER_NOT);
    assert_int_equal(number_double("1e999", &d), NUMBER_RANGE);
    assert_int_equal(number_double("-1e-999", &d), NUMBER_OK); /* rounds to zero */
    assert_int_equal(number_double(".5", &d), NUMBER_OK);
    assert_true(d == 0.5);
    assert_int_equal(number_double("-5.e1", &d), NUMBER_OK);
    assert_true(d == -50);
}

static void round_trip(void **state) {
    (void)state;
    uint64_t first = check_first_seed();
    for (uint64_t seed = first; seed < first + 20000; seed++) {
        uint64_t stream = seed;
        uint64_t bits = rng_next(&stream);
        double value = 0, back = 0;
        memcpy(&value, &bits, sizeof value);
        if (seed % 2 == 0) { /* half of them short decimals */
            value = ((double)(bits % 200001) - 100000) / 1000;
        }
        if (!isfinite(value)) {
            continue;
        }
        char text[NUMBER_TEXT];
        number_shortest(text, value);
        CHECK_CASE(seed, number_double(text, &back) == NUMBER_OK && back == value, "%s", text);
        CHECK_CASE(seed, seed % 2 != 0 || strlen(text) <= 8, "%s is not the shortest", text);
    }
}

static void sizes(void **state) {
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{0, "0 B"},
                 {1023, "1023 B"},
                 {1024, "1.0 KiB"},
                 {1536, "1.5 KiB"},
                 {1048575, "1023 KiB"},
                 {3500000000, "3.2 GiB"},
                 {UINT64_MAX, "15.9 EiB"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[NUMBER_TEXT];
        number_size(text, cases[i].bytes);
        assert_string_equal(text, cases[i].text);
    }
}

static void sizes_read(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes; /* 0: refused */
    } cases[] = {{"1", 1},
                 {"1536", 1536},
                 {"1.5K", 1536},
                 {"1.5 K", 0},
                 {"8G", 8ULL << 30},
                 {"8GiB", 8ULL << 30},
                 {"8gb", 8ULL << 30},
                 {"2T", 2ULL << 40},
                 {"100B", 100},
                 {"", 0},
                 {"G", 0},
                 {"0", 0},
                 {"-1G", 0},
                 {"1GG", 0},
                 {"1Gi", 0},
                 {"nan", 0},
                 {"1e30", 0},
                 {"8X", 0},
                 {"1e3M", 1000ULL << 20}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t bytes = 0;
        enum number_result result = number_bytes(cases[i].text, &bytes);
        assert_true((result == NUMBER_OK) == (cases[i].bytes > 0));
        assert_true(bytes == cases[i].bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused), cmocka_unit_test(ranges),     cmocka_unit_test(round_trip),
        cmocka_unit_test(sizes),   cmocka_unit_test(sizes_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
