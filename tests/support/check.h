/* check.h - how property tests fail: with the seed of the case, so that it can be run alone.
 * Include it instead of cmocka.h, after all other headers (cmocka defines a macro `fail`). */
#ifndef SUPPORT_CHECK_H
#define SUPPORT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* In a loop over cases: says the case's seed and the numbers behind the failure. */
#define CHECK_CASE(seed, condition, ...)                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("%s:%d: seed %llu: %s: ", __FILE__, __LINE__, (unsigned long long)(seed),  \
                        #condition);                                                               \
            print_error(__VA_ARGS__);                                                              \
            print_error("\n");                                                                     \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

/* The first seed of a property test: PACKLLM_SEED runs one case again, from there. */
static inline uint64_t check_first_seed(void) {
    const char *text = getenv("PACKLLM_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 1;
}

#endif
