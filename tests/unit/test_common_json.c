/* test_common_json.c - what the writer makes is JSON whatever goes in; and the texts for terminals. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "common/json.h"
#include "common/nearest.h"
#include "common/spec.h"
#include "common/tty.h"
#include "check.h"

static void shapes(void **state) {
    (void)state;
    struct buf out;
    struct json json;
    buf_init(&out, 4096);
    json_init(&json, &out);
    json_begin_object(&json);
    json_key_text(&json, "a", "x\"\\\n\t\r\x01\x7f");
    json_key_text(&json, "none", NULL);
    json_key(&json, "list");
    json_begin_array(&json);
    json_double(&json, 0.1);
    json_double(&json, 3);
    json_double(&json, (double)NAN);
    json_double(&json, -(double)INFINITY);
    json_double(&json, 3.1e-12);
    json_int(&json, INT64_MIN);
    json_uint(&json, UINT64_MAX);
    json_bool(&json, true);
    json_begin_object(&json);
    json_end_object(&json);
    json_begin_array(&json);
    json_end_array(&json);
    json_raw(&json, "[1]", 3);
    json_end_array(&json);
    json_key(&json, "nul");
    json_bytes(&json, "a\0b", 3);
    json_end_object(&json);
    assert_string_equal(out.data,
                        "{\"a\":\"x\\\"\\\\\\n\\t\\r\\u0001\x7f\",\"none\":null,\"list\":[0.1,3.0,"
                        "null,null,3.1e-12,-9223372036854775808,18446744073709551615,true,{},[],"
                        "[1]],\"nul\":\"a\\u0000b\"}");
    buf_done(&out);
}

/* Random bytes: the text between the quotes is UTF-8 without control characters, and bytes that were
 * fine stay as they are. */
static void random_texts(void **state) {
    (void)state;
    static const char odd[] = "a\"\\\n\x1b\x80\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xff\xed\xa0";
    uint64_t first = check_first_seed();
    for (uint64_t seed = first; seed < first + 5000; seed++) {
        uint64_t stream = seed;
        char text[64];
        size_t size = (size_t)(rng_next(&stream) % sizeof text);
        for (size_t i = 0; i < size; i++) {
            text[i] = odd[rng_next(&stream) % (sizeof odd - 1)];
        }
        struct buf out, safe;
        struct json json;
        buf_init(&out, 4096);
        buf_init(&safe, 4096);
        json_init(&json, &out);
        json_bytes(&json, text, size);
        CHECK_CASE(seed, utf8_check(out.data, out.size) == out.size, "not UTF-8");
        for (size_t i = 0; i < out.size; i++) {
            CHECK_CASE(seed, (unsigned char)out.data[i] >= 0x20, "byte %zu", i);
        }
        tty_safe(&safe, text, size, true);
        CHECK_CASE(seed, safe.size == 0 || utf8_check(safe.data, safe.size) == safe.size, "tty");
        for (size_t i = 0; i < safe.size; i++) {
            CHECK_CASE(seed, (unsigned char)safe.data[i] >= 0x20, "tty byte %zu", i);
        }
        buf_done(&out);
        buf_done(&safe);
    }
}

static void terminal(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 4096);
    tty_safe(&out, "a\x1b[2J\nb\xc2\x9bm", 10, false);
    assert_string_equal(out.data, "a\xef\xbf\xbd[2J\nb\xef\xbf\xbdm");
    buf_cut(&out, 0);
    tty_pad(&out, "abc", 5);
    assert_string_equal(out.data, "abc  ");
    buf_cut(&out, 0);
    tty_pad(&out, "äöüß", 3);
    assert_string_equal(out.data, "äö…");
    for (double share = -0.5; share < 1.6; share += 0.01) {
        buf_cut(&out, 0);
        tty_bar(&out, share, 10, false);
        assert_int_equal(tty_columns(out.data, out.size), 10);
    }
    buf_done(&out);
}

static const char *suggestion(const char *word, const char *one, const char *two) {
    struct nearest nearest;
    nearest_init(&nearest, word);
    nearest_offer(&nearest, one);
    nearest_offer(&nearest, two);
    return nearest.best;
}

static void nearest_words(void **state) {
    (void)state;
    assert_int_equal(nearest_distance("kitten", "sitting"), 3);
    assert_int_equal(nearest_distance("ab", "ba"), 1);
    assert_int_equal(nearest_distance("", "abc"), 3);
    assert_int_equal(nearest_distance("same", "same"), 0);
    assert_string_equal(suggestion("tmep", "temp", "top-p"), "temp");
    assert_string_equal(suggestion("thr", "temp", "threads"), "threads");
    assert_null(suggestion("x", "n", "m"));
    assert_null(suggestion("completely", "different", "words"));
}

static void specs(void **state) {
    (void)state;
    struct spec spec;
    struct packllm_error err;
    assert_int_equal(spec_read(&spec, "no/such.gguf,name=law,prior=2,cap=0.5,ngl=99,c=512", &err),
                     PACKLLM_OK);
    assert_string_equal(spec.path, "no/such.gguf");
    assert_string_equal(spec.name, "law");
    assert_true(spec.member.prior == 2 && spec.member.cap == 0.5);
    assert_true(spec.member.n_gpu_layers == 99 && spec.member.n_ctx == 512);
    spec_done(&spec);
    assert_int_equal(spec_read(&spec, "a,name=b,name=c", &err), PACKLLM_OK);
    assert_string_equal(spec.name, "c"); /* the last one holds */
    spec_done(&spec);
    assert_int_equal(spec_read(&spec, "a,cap=2", &err), PACKLLM_E_ARG);
    assert_int_equal(spec_read(&spec, "a,", &err), PACKLLM_E_ARG);
    assert_int_equal(spec_read(&spec, "", &err), PACKLLM_E_ARG);
    assert_int_equal(spec_read(&spec, "a,lora=x:y:0.5", &err), PACKLLM_OK);
    assert_string_equal(spec.lora, "x:y");
    assert_true(spec.member.lora_scale == 0.5);
    spec_done(&spec);
    assert_int_equal(spec_read(&spec, "a,lora=x:y", &err), PACKLLM_OK);
    assert_string_equal(spec.lora, "x:y");
    assert_true(spec.member.lora_scale == 1.0);
    spec_done(&spec);
    assert_int_equal(spec_read(&spec, "a,lora=x:nan", &err), PACKLLM_E_ARG);
    assert_int_equal(spec_read(&spec, "a,lora=:2", &err), PACKLLM_E_ARG);
    assert_int_equal(spec_read(&spec, "https://h/v1,model=x", &err), PACKLLM_E_UNSUPPORTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),        cmocka_unit_test(random_texts), cmocka_unit_test(terminal),
        cmocka_unit_test(nearest_words), cmocka_unit_test(specs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
