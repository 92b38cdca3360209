/* test_sample_stopper.c - property: however the text is cut, the stopper gives out what searching
 * the whole text gives, and never holds back more than it must. */
#include <string.h>

#include "base/rng.h"
#include "sample/sample.h"
#include "check.h"

#define TEXT 60
#define STOPS 5

/* Where the text ends by the definition in sample.h: the first end of a stop string, less the
 * longest that ends there. size when there is none. *stopped says which. */
static size_t search(const char *text, size_t size, const char *const *stop, size_t n,
                     bool *stopped) {
    for (size_t end = 1; end <= size; end++) {
        size_t longest = 0;
        for (size_t k = 0; k < n; k++) {
            size_t length = strlen(stop[k]);
            if (length <= end && length > longest &&
                memcmp(text + end - length, stop[k], length) == 0) {
                longest = length;
            }
        }
        if (longest > 0) {
            *stopped = true;
            return end - longest;
        }
    }
    *stopped = false;
    return size;
}

/* The longest end of text that begins a stop string. */
static size_t must_hold(const char *text, size_t size, const char *const *stop, size_t n) {
    size_t hold = 0;
    for (size_t k = 0; k < n; k++) {
        for (size_t length = strlen(stop[k]) - 1; length > hold; length--) {
            if (length <= size && memcmp(text + size - length, stop[k], length) == 0) {
                hold = length;
            }
        }
    }
    return hold;
}

static void any_chunking(void **state) {
    (void)state;
    static const char *const letters[] = {"a", "b", "\n", "\xc3\xa9"};
    for (uint64_t seed = check_first_seed(), end = seed + 20000; seed < end; seed++) {
        uint64_t s = seed;
        char text[TEXT * 2 + 1] = "", stops[STOPS][16] = {""};
        const char *stop[STOPS];
        size_t n = rng_next(&s) % (STOPS + 1), kinds = 1 + rng_next(&s) % 4;
        for (size_t k = 0; k < n; k++) {
            for (uint64_t i = 1 + rng_next(&s) % 6; i > 0; i--) {
                strcat(stops[k], letters[rng_next(&s) % kinds]);
            }
            stop[k] = stops[k];
        }
        for (uint64_t i = rng_next(&s) % TEXT; i > 0; i--) {
            strcat(text, letters[rng_next(&s) % (kinds < 4 ? kinds + 1 : kinds)]);
        }
        size_t size = strlen(text), at = 0, given = 0;
        bool stops_there, stopped = false;
        size_t want = search(text, size, stop, n, &stops_there);
        struct stopper *stopper = NULL;
        CHECK_CASE(seed, stopper_open(&stopper, stop, n, NULL) == PACKLLM_OK, "open");
        while (at < size && !stopped) {
            size_t piece = rng_next(&s) % 8, release;
            piece = piece < size - at ? piece : size - at;
            stopped = stopper_add(stopper, text + at, piece, &release);
            at += piece;
            given += release;
            CHECK_CASE(seed, given + stopper_held(stopper) == at || stopped, "bytes lost");
            CHECK_CASE(seed, stopped || stopper_held(stopper) == must_hold(text, at, stop, n),
                       "held %zu at %zu", stopper_held(stopper), at);
        }
        given += stopper_held(stopper);
        CHECK_CASE(seed, stopped == stops_there && given == want, "given %zu, want %zu", given,
                   want);
        stopper_close(stopper);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_chunking)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
