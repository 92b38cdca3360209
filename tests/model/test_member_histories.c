/* test_member_histories.c - forks, rollbacks, batches and cancels of every class of model that
 * libllama has: plain attention, sliding window, recurrent state. Goal: whatever happened to a
 * history, its rows are those of the same tokens evaluated afresh (the last bits apart). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf_make.h"
#include "histories.h"
#include "member/member.h"

static void check_kind(enum made_kind kind, const char *name) {
    char path[64];
    struct packllm_error err;
    struct member *m = NULL;
    struct made made = made_model(kind, 7);
    (void)snprintf(path, sizeof path, "/tmp/packllm-histories-%ld.gguf", (long)getpid());
    const struct packllm_member_spec spec = {.path = path, .n_gpu_layers = -1};
    const struct packllm_params params = {.n_threads = 1, .n_seq = 5};
    assert_true(made_save(&made, path));
    made_free(&made);
    if (member_llama_open(&m, &spec, 0, &params, &err) != PACKLLM_OK) {
        fail_msg("%s", err.message);
    }
    (void)unlink(path);
    struct histories_result all = {0};
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct histories_result r = histories_check(m, seed, 120, 3, 1e-2);
        all.rows += r.rows;
        all.worst = r.worst > all.worst ? r.worst : all.worst;
    }
    print_message("%s: %lu rows, off by at most %g\n", name, all.rows, all.worst);
    assert_true(all.rows > 1000);
    member_close(m);
}

static void test_attention(void **state) {
    (void)state;
    check_kind(MADE_SPM, "plain attention");
}

static void test_window(void **state) {
    (void)state;
    check_kind(MADE_WINDOW, "sliding window");
}

static void test_recurrent(void **state) {
    (void)state;
    check_kind(MADE_STATE, "recurrent");
}

static void test_hybrid(void **state) {
    (void)state;
    check_kind(MADE_HYBRID, "hybrid");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_recurrent),
        cmocka_unit_test(test_hybrid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
