/* test_eval_task.c - task files: what is read, what is refused with file, line and column, what is
 * skipped; prompts, choices and demonstrations; the names of methods. */
#define PACKLLM_EXPERIMENTAL
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eval/method.h"
#include "eval/task.h"
#include "check.h"

#define GOOD "{\"id\": \"a\", \"query\": \"Why?\", \"choices\": [\"x\", \"y z\"], \"gold\": 1}\n"

static char path[64];
static struct packllm_error err;
static size_t skips;

static void count(void *data, const char *message) {
    (void)data;
    (void)message;
    skips++;
}

static enum packllm_status from(struct task *task, const char *text, const char *form, bool skip) {
    struct task_rules rules = {.form = form, .skip_bad = skip, .skipped = count};
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fwrite(text, 1, strlen(text), file) == strlen(text));
    assert_int_equal(fclose(file), 0);
    skips = 0;
    return task_read(task, path, &rules, &err);
}

static void refused(const char *second, const char *where, const char *says) {
    struct task task;
    char text[4096];
    (void)snprintf(text, sizeof text, "%s%s\n", GOOD, second);
    assert_int_equal(from(&task, text, NULL, false), PACKLLM_E_TEXT);
    if (strstr(err.message, where) == NULL || strstr(err.message, says) == NULL) {
        print_error("%s: wanted '%s' and '%s'\n", err.message, where, says);
        fail();
    }
    assert_int_equal(from(&task, text, NULL, true), PACKLLM_OK);
    assert_true(task.n == 1 && task.n_skipped == 1 && skips == 1);
    task_done(&task);
}

static void bad_lines(void **state) {
    (void)state;
    refused("{\"id\": \"b\",", ":2:", "not JSON");
    refused("[1, 2]", ":2:1:", "an object");
    refused("{\"id\": \"b\", \"id\": \"c\"}", ":2:", "duplicate");
    refused("{\"id\": 3, \"query\": \"q\"}", ":2:2:", "\"id\" is no string");
    refused("{\"id\": \"b\", \"query\": \" \"}", ":2:13:", "\"query\" is empty");
    refused("{\"id\": \"b\"}", ":2:1:", "\"query\" is missing");
    refused("{\"id\": \"b\", \"query\": \"q\"}", ":2:1:", "\"choices\" is missing");
    refused("{\"id\": \"b\", \"query\": \"q\", \"choices\": \"x\"}", ":2:27:", "no list");
    refused("{\"id\": \"b\", \"query\": \"q\", \"choices\": []}", ":2:27:", "0 choices");
    refused("{\"id\": \"b\", \"query\": \"q\", \"choices\": [\"x\"]}", ":2:27:", "1 choice;");
    refused("{\"id\": \"b\", \"query\": \"q\", \"choices\": [\"x\", \"x\"]}", ":2:27:", "equal");
    refused("{\"id\": \"b\", \"query\": \"q\", \"choices\": [\"x\", 2]}", ":2:27:", "choice 1");
    refused("{\"id\": \"b\", \"query\": \"q\", \"choices\": [\"x\", \"\"]}", ":2:27:", "empty");
    refused("{\"id\": \"b\", \"query\": \"q\", \"choices\": [\"x\", \"y\"]}", ":2:1:", "\"gold\"");
    refused("{\"id\": \"b\", \"query\": \"q\", \"choices\": [\"x\", \"y\"], \"gold\": 2}",
            ":2:50:", "0 to 1");
    refused("{\"id\": \"b\", \"query\": \"q\", \"choices\": [\"x\", \"y\"], \"gold\": -1}",
            ":2:50:", "0 to 1");
    refused("{\"id\": \"b\", \"query\": \"q\", \"choices\": [\"x\", \"y\"], \"gold\": 0.5}",
            ":2:50:", "0 to 1");
    refused("{\"id\": \"b\", \"query\": \"q\\u0000\", \"choices\": [\"x\", \"y\"], \"gold\": 0}",
            ":2:", "not JSON");
    refused("{\"id\": \"b\", \"query\": \"\xff\", \"choices\": [\"x\", \"y\"], \"gold\": 0}",
            ":2:", "not JSON");
    refused("{\"id\": \"b\", \"query\": null, \"choices\": [\"x\", \"y\"], \"gold\": 0}",
            ":2:13:", "no string");
    refused("{\"id\": \"b\", \"query\": \"q\", \"answer\": \"7\"}", ":2:1:", "other kind");
    refused("{\"id\": \"a\", \"query\": \"q\", \"choices\": [\"x\", \"y\"], \"gold\": 0}",
            ":2:1:", "stands in line 1");
}

static void whole_files(void **state) {
    (void)state;
    struct task task;
    assert_int_equal(from(&task, "", NULL, false), PACKLLM_E_TEXT);
    assert_int_equal(from(&task, "\n \n", NULL, true), PACKLLM_E_TEXT);
    assert_non_null(strstr(err.message, "no question"));
    assert_int_equal(from(&task, GOOD, "no place", false), PACKLLM_E_ARG);
    assert_int_equal(from(&task, GOOD, "{query}{query}", false), PACKLLM_E_ARG);
    struct task_rules rules = {0};
    assert_int_equal(task_read(&task, "/nowhere/x.jsonl", &rules, &err), PACKLLM_E_IO);
}

static void prompts(void **state) {
    (void)state;
    struct task task;
    struct buf out, choice;
    buf_init(&out, 4096);
    buf_init(&choice, 4096);
    assert_int_equal(from(&task, GOOD, NULL, false), PACKLLM_OK);
    assert_true(task_demonstration(&task, &task.items[0], &out));
    assert_string_equal(out.data, "Question: Why?\nAnswer: y z\n\n");
    buf_cut(&out, 0);
    assert_true(task_prompt(&task, &task.items[0], "before ", &out));
    assert_string_equal(out.data, "before Question: Why?\nAnswer:");
    task_done(&task);
    assert_int_equal(from(&task, "{\"template\": \"Q {query}\\n\"}\n" GOOD, NULL, false),
                     PACKLLM_OK);
    buf_cut(&out, 0);
    assert_true(task_demonstration(&task, &task.items[0], &out));
    assert_string_equal(out.data, "Q Why?\ny z\n\n");
    task_done(&task);
    buf_cut(&out, 0);
    assert_true(buf_add_text(&out, "\xe5\xba\x8a\xe5\x89\x8d") &&
                task_choice(&out, "\xe6\x98\x8e", &choice));
    assert_string_equal(choice.data, "\xe6\x98\x8e"); /* no space in Chinese */
    buf_done(&out);
    buf_done(&choice);
}

static void names(void **state) {
    (void)state;
    static const char *const members[] = {"one", "two"};
    struct method_rules rules = {members, 2, 1, 1};
    struct methods m = {0};
    assert_int_equal(methods_read(&m,
                                  "exact,sim:linear,bayes,uniform:whole,fixed:1/3:linear,members,"
                                  "canonical:two,exact",
                                  &rules, &err),
                     PACKLLM_OK);
    assert_int_equal(m.n, 8);
    assert_string_equal(m.names[4], "fixed:1/3:linear");
    assert_true(m.list[1].pool == PACKLLM_POOL_LINEAR && m.list[2].pool == PACKLLM_POOL_LINEAR);
    assert_true(m.list[3].whole && m.list[4].fixed[1] == 3 && m.list[6].member == 1);
    assert_true(m.list[7].canonical && strcmp(m.names[7], "canonical:two") == 0);
    methods_done(&m);
    static const char *const wrong[] = {"",          "exakt",        "exact:",     "member:three",
                                        "fixed:1",   "fixed:1/x",    "fixed:0/0",  "fixed:1/1/1",
                                        "dexperts:", "dexperts:one", "exact,,sim", "fixed:-1/2"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(methods_read(&m, wrong[i], &rules, &err), PACKLLM_E_ARG);
        assert_non_null(strstr(err.message, "--methods"));
        methods_done(&m);
    }
}

int main(void) {
    (void)snprintf(path, sizeof path, "/tmp/packllm-task-%ld.jsonl", (long)getpid());
    const struct CMUnitTest tests[] = {cmocka_unit_test(bad_lines), cmocka_unit_test(whole_files),
                                       cmocka_unit_test(prompts), cmocka_unit_test(names)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    return failed;
}
