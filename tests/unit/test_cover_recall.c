/* test_cover_recall.c - what is recalled of a token. Goals: each token gives what was put last, one that
 * was only asked for is known and gives nothing, a full table keeps its first tokens and takes no more,
 * and nothing is left when a text begins. */
#include <string.h>

#include "base/rng.h"
#include "cover/private.h"

#include "check.h"

enum { VOCAB = 9000, FULL = 4096 };

static struct packllm_error err;

static void fill(double *events, double first) {
    for (int e = 0; e < PACKLLM_EVENTS; e++) {
        events[e] = first + e;
    }
}

static void test_as_an_array(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + 20; seed++) {
        static double last[VOCAB]; /* 0: never put, -1: asked for */
        uint32_t n_vocab = seed % 2 == 0 ? VOCAB : 50;
        struct cover_recall r = {0};
        double events[PACKLLM_EVENTS];
        size_t n = 0;
        memset(last, 0, sizeof last);
        assert_int_equal(recall_open(&r, n_vocab, &err), PACKLLM_OK);
        for (uint64_t k = 0; k < 12000; k++) {
            int32_t token = (int32_t)(rng_key(seed, k, 0) % n_vocab);
            bool asked = rng_key(seed, k, 1) % 4 == 0, room = n < FULL || last[token] != 0.0;
            fill(events, (double)(k + 1));
            recall_put(&r, token, asked ? NULL : events);
            n += room && last[token] == 0.0;
            if (room) {
                last[token] = !asked ? (double)(k + 1) : last[token] == 0.0 ? -1.0 : last[token];
            }
        }
        for (int32_t token = 0; token < (int32_t)n_vocab; token++) {
            const double *told = recall_of(&r, token);
            CHECK_CASE(seed, recall_knows(&r, token) == (last[token] != 0.0), "token %d", token);
            CHECK_CASE(seed, (told != NULL) == (last[token] > 0.0), "token %d", token);
            CHECK_CASE(seed,
                       told == NULL || (told[0] == last[token] &&
                                        told[PACKLLM_EVENT_END] == last[token] + PACKLLM_EVENT_END),
                       "token %d", token);
        }
        CHECK_CASE(seed, n == FULL || n_vocab == 50, "the table was not filled");
        recall_forget(&r);
        for (int32_t token = 0; token < (int32_t)n_vocab; token++) {
            CHECK_CASE(seed, !recall_knows(&r, token) && recall_of(&r, token) == NULL, "token %d",
                       token);
        }
        recall_done(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_an_array)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
