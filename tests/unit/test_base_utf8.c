/* test_base_utf8.c - the state machine against a decoder that computes the code point (RFC 3629). */
#include <string.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "check.h"

/* Length of the valid character at text, 0: none, -1: cut off by the end but valid so far. Works on
 * code points (which ones the missing bytes may still make), so it shares no rule with the machine. */
static int whole_character(const uint8_t *text, size_t size) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (text[0] < 0x80) {
        return 1;
    }
    int length = (text[0] & 0xe0) == 0xc0   ? 2
                 : (text[0] & 0xf0) == 0xe0 ? 3
                 : (text[0] & 0xf8) == 0xf0 ? 4
                                            : 0;
    if (length == 0) {
        return 0;
    }
    uint32_t low = text[0] & (0x7fU >> length), high;
    size_t have = size < (size_t)length ? size : (size_t)length;
    for (size_t i = 1; i < have; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
        low = low << 6 | (text[i] & 0x3f);
    }
    high = low;
    for (size_t i = have; i < (size_t)length;
         i++) { /* what the missing bytes may still make of it */
        low = low << 6;
        high = high << 6 | 0x3f;
    }
    uint32_t from = low > least[length] ? low : least[length];
    uint32_t to = high < 0x10ffff ? high : 0x10ffff;
    bool possible = from <= to && !(from >= 0xd800 && to <= 0xdfff);
    return !possible ? 0 : have == (size_t)length ? length : -1;
}

static size_t brute_whole(const uint8_t *text, size_t size, bool *bad) {
    size_t at = 0;
    *bad = false;
    while (at < size) {
        int length = whole_character(text + at, size - at);
        if (length <= 0) {
            *bad = length == 0;
            break;
        }
        at += (size_t)length;
    }
    return at;
}

static void compare(const uint8_t *text, size_t size, uint64_t seed) {
    bool bad, bad_brute;
    size_t whole = utf8_whole((const char *)text, size, &bad);
    size_t brute = brute_whole(text, size, &bad_brute);
    CHECK_CASE(seed, whole == brute && bad == bad_brute, "%zu %d, brute force %zu %d", whole, bad,
               brute, bad_brute);
    assert_int_equal(utf8_check((const char *)text, size), brute);
}

/* Goal: every text of up to three bytes is judged like the brute-force decoder does. */
static void short_texts(void **state) {
    (void)state;
    uint8_t text[3];
    for (uint32_t code = 0; code < 0x1000000; code += code < 0x10000 ? 1 : 3) {
        memcpy(text, (uint8_t[]){(uint8_t)code, (uint8_t)(code >> 8), (uint8_t)(code >> 16)}, 3);
        compare(text, code < 0x100 ? 1 : code < 0x10000 ? 2 : 3, code);
    }
}

/* Goal: so is every character of four bytes, whole and cut, and its neighbours beyond the range. */
static void long_characters(void **state) {
    (void)state;
    for (uint32_t code = 0xf000; code < 0x200000; code += 7) {
        uint8_t text[4] = {(uint8_t)(0xf0 | code >> 18), (uint8_t)(0x80 | (code >> 12 & 0x3f)),
                           (uint8_t)(0x80 | (code >> 6 & 0x3f)), (uint8_t)(0x80 | (code & 0x3f))};
        for (size_t size = 1; size <= 4; size++) {
            compare(text, size, code);
        }
    }
}

/* Goal: random mixtures of good and bad, and a byte that may not follow leaves the state as it was. */
static void random_texts(void **state) {
    (void)state;
    static const char *const parts[] = {"a",        "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                                        "\xed\xa0", "\xc0",     "\xf4\x90",     "\x80",
                                        "\xe2\x82", "\xf0\x9f", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"};
    for (uint64_t seed = check_first_seed(), end = seed + 5000; seed < end; seed++) {
        uint64_t s = seed;
        char text[64] = "";
        for (uint64_t k = rng_next(&s) % 8; k > 0; k--) {
            strcat(text, parts[rng_next(&s) % (sizeof parts / sizeof *parts)]);
        }
        compare((const uint8_t *)text, strlen(text), seed);
        struct utf8_state machine = {0};
        for (size_t i = 0; text[i] != '\0'; i++) {
            struct utf8_state old = machine;
            bool may = utf8_may_follow(&machine, (uint8_t)text[i]);
            CHECK_CASE(seed, utf8_step(&machine, (uint8_t)text[i]) == may, "byte %zu", i);
            CHECK_CASE(seed, may || memcmp(&old, &machine, sizeof old) == 0, "byte %zu", i);
        }
    }
}

/* Goal: repaired text is UTF-8, what was good of it stands, and known cases come out as the standard's
 * table 3-8 has them. */
static void repaired(void **state) {
    static const struct {
        const char *text, *expected;
        size_t replaced;
    } cases[] = {
        {"abc \xc3\xa9", "abc \xc3\xa9", 0},
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b",
         1},
        {"\xe2\x82", "\xef\xbf\xbd", 1},
        {"\xe2\x82\xe2\x82\xac", "\xef\xbf\xbd\xe2\x82\xac", 1},
        {"\xc0\xaf\xe0\x80\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 5},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 3},
        {"\xf4\x91\x92\x93\xff"
         "A",
         "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
         "A",
         5},
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf"
         "A",
         "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
         "A",
         4},
    };
    char out[256];
    size_t size = 0;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = utf8_repair(cases[i].text, strlen(cases[i].text), out, &size);
        CHECK_CASE(i, n == cases[i].replaced, "%zu", n);
        CHECK_CASE(i, size == strlen(cases[i].expected), "%zu bytes", size);
        assert_memory_equal(out, cases[i].expected, size);
    }
    for (uint64_t seed = check_first_seed(), end = seed + 5000; seed < end; seed++) {
        uint64_t s = seed;
        char text[64];
        size_t length = 1 + rng_next(&s) % sizeof text, good;
        for (size_t i = 0; i < length; i++) {
            text[i] = (char)(rng_next(&s) % 3 == 0 ? 'a' : 0x80 + rng_next(&s) % 0x80);
        }
        size_t n = utf8_repair(text, length, out, &size);
        good = utf8_check(text, length);
        CHECK_CASE(seed, size <= 3 * length && utf8_check(out, size) == size, "%zu", size);
        CHECK_CASE(seed, (n == 0) == (good == length), "%zu replaced", n);
        CHECK_CASE(seed, memcmp(text, out, good) == 0, "the first %zu bytes", good);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_texts),
        cmocka_unit_test(long_characters),
        cmocka_unit_test(random_texts),
        cmocka_unit_test(repaired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
