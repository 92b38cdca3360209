/* test_pack_running.c - weights that run along an option, on packs of fake members: its loss is that of
 * its stretches between multiples of 64 bytes, each under the lambda of all bytes before, as
 * packllm_session_options finds it with that much context; a mixture of whole options keeps the first
 * lambda; a member alone, and equal weights, do not notice; refit and running exclude each other. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <string.h>

#include "fake.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CASES = 12, MEMBERS = 2, CONTEXT = 90, OPTION = 80, BLOCK = 64, METHODS = 4 };

static struct packllm_error err;

static void fill(uint64_t *rng, char *out, size_t n) {
    char part[64];
    for (size_t at = 0; at < n;) {
        size_t size = fake_text(rng, part, 40, true);
        for (size_t k = 0; k < size && at < n; k++) {
            out[at++] = (unsigned char)part[k] < 0x80 ? part[k] : 'a';
        }
    }
}

static void methods(struct packllm_method *m) {
    for (size_t k = 0; k < METHODS; k++) {
        m[k] = packllm_method_default();
    }
    m[1].pool = PACKLLM_POOL_LINEAR;
    m[2].weigher = PACKLLM_WEIGH_UNIFORM;
    m[3].member = 1;
}

/* Losses of text[from..to) behind text[0..context), from <= to. */
static void stretch(uint64_t seed, struct packllm_session *s, const char *text, size_t context,
                    size_t to, double *out) {
    struct packllm_method m[METHODS];
    struct packllm_options got;
    struct packllm_option option = {text + context, to - context};
    methods(m);
    memset(out, 0, METHODS * sizeof *out);
    if (to > context) {
        CHECK_CASE(seed,
                   packllm_session_options(s, text, context, &option, 1, m, METHODS, NULL, &got,
                                           &err) == PACKLLM_OK,
                   "%s", err.message);
        memcpy(out, got.nll, METHODS * sizeof *out);
        packllm_options_done(&got);
    }
}

static void losses(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct fake *fakes[MEMBERS];
        struct packllm_own_member own[MEMBERS];
        struct packllm_pack *pack;
        struct packllm_session *s;
        struct packllm_method m[METHODS + 1];
        struct packllm_options_params params = {.running = true, .fresh = true};
        struct packllm_options got;
        char text[CONTEXT + OPTION];
        uint64_t rng = seed;
        for (uint64_t i = 0; i < MEMBERS; i++) {
            struct fake_params p = fake_params_default();
            p.seed = 2 * seed + i;
            p.n_ctx = 512;
            fakes[i] = fake_open(i == 0 ? FAKE_NESTED : FAKE_BYTES, &p);
            own[i] = fake_member(fakes[i], i == 0 ? "a" : "b");
        }
        assert_int_equal(packllm_pack_open_own(&pack, own, MEMBERS, NULL, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_open(&s, pack, NULL, &err), PACKLLM_OK);
        fill(&rng, text, sizeof text);
        size_t context = 66 + seed, end = context + OPTION;
        struct packllm_option options[2] = {{text + context, 3}, {text + context, OPTION}};
        methods(m);
        m[METHODS] = m[1];
        m[METHODS].whole = true;
        CHECK_CASE(seed,
                   packllm_session_options(s, text, context, options, 2, m, METHODS + 1, &params,
                                           &got, &err) == PACKLLM_OK,
                   "%s", err.message);
        double want[METHODS] = {0};
        for (size_t block = BLOCK; block < end; block += BLOCK) {
            size_t low = block > context ? block : context;
            size_t high = block + BLOCK < end ? block + BLOCK : end;
            double to[METHODS], from[METHODS];
            stretch(seed, s, text, block, high, to);
            stretch(seed, s, text, block, low, from);
            for (size_t k = 0; k < METHODS; k++) {
                want[k] += to[k] - from[k];
            }
        }
        for (size_t k = 0; k < METHODS; k++) {
            double is = got.nll[2 * k + 1];
            CHECK_CASE(seed, fabs(is - want[k]) < 1e-4 * (1 + want[k]), "method %zu: %g, want %g",
                       k, is, want[k]);
        }
        assert_true(isfinite(got.nll[2 * METHODS + 1]));
        packllm_options_done(&got);
        params.refit = true;
        assert_int_equal(
            packllm_session_options(s, text, context, options, 2, m, METHODS, &params, &got, &err),
            PACKLLM_E_ARG);
        packllm_session_close(s);
        packllm_pack_close(pack);
        for (size_t i = 0; i < MEMBERS; i++) {
            fake_close(fakes[i]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(losses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
