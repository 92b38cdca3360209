/* test_pack_align.c - vocabularies of real files through the public interface. Goals: of a file only
 * the vocabulary is loaded, and files without weights will do; no context comes of such a member; the
 * map's arrays and tokens are what they say; a cancel ends it; wrong arguments are refused. */
#define PACKLLM_EXPERIMENTAL
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "member/member.h"
#include "packllm/packllm.h"
#include "shared.h"

static struct packllm_error err;

static struct packllm_member_spec spec_of(char path[1024], const char *name) {
    struct packllm_member_spec spec = packllm_member_spec_default();
    if (!shared_path(path, 1024, name)) {
        print_message("%s is not there\n", name);
        exit(77);
    }
    spec.path = path;
    return spec;
}

static void real_files(void **state) {
    (void)state;
    char paths[2][1024];
    struct packllm_member_spec a = spec_of(paths[0], "models/stories260K.gguf");
    struct packllm_member_spec b = spec_of(paths[1], "models/aidreams260K.gguf");
    struct packllm_alignment *alignment = NULL;
    struct packllm_align_map map;
    assert_int_equal(packllm_align_open(&alignment, &a, &b, NULL, &err), PACKLLM_OK);
    assert_int_equal(packllm_align_get(alignment, &map), PACKLLM_OK);
    assert_string_equal(map.reference, "stories260K");
    assert_string_equal(map.member, "aidreams260K");
    assert_string_equal(map.warning, "");
    assert_false(map.cached);
    assert_int_equal(map.n, 512);
    assert_int_equal(map.n_member, 512);
    assert_int_equal(map.exact + map.near + map.unmatched, map.n);
    for (int32_t id = 0; id < (int32_t)map.n; id++) {
        const void *left = NULL, *right = NULL;
        size_t left_size = 0, right_size = 0;
        bool usable = false, other = false;
        assert_int_equal(packllm_align_token(alignment, false, id, &left, &left_size, &usable),
                         PACKLLM_OK);
        if (map.to[id] < 0) {
            assert_int_equal(map.distance[id], UINT32_MAX);
            continue;
        }
        assert_int_equal(
            packllm_align_token(alignment, true, map.to[id], &right, &right_size, &other),
            PACKLLM_OK);
        assert_int_equal(usable, other);
        bool same = left_size == right_size && memcmp(left, right, left_size) == 0;
        assert_int_equal(map.distance[id] == 0, same);
    }
    packllm_align_close(alignment);
}

static void no_context(void **state) {
    (void)state;
    char path[1024];
    struct packllm_member_spec a = spec_of(path, "models/stories260K.gguf");
    struct packllm_params params = packllm_params_default();
    struct member *m = NULL;
    struct member_context *c = NULL;
    int32_t tokens[8];
    size_t n = 0;
    assert_int_equal(member_llama_vocabulary(&m, &a, 0, &params, &err), PACKLLM_OK);
    assert_int_equal(m->table.n, 512);
    assert_int_equal(member_tokenize(m, "Once upon", 9, tokens, 8, &n, &err), PACKLLM_OK);
    assert_int_equal(tokens[0], 403);
    assert_int_equal(member_context_open(m, &c, &err), PACKLLM_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "only its vocabulary"));
    member_close(m);
}

static void without_weights(void **state) {
    (void)state;
    const char *prefix = getenv("PACKLLM_LLAMA_PREFIX");
    char paths[2][1024];
    struct packllm_member_spec spec[2] = {packllm_member_spec_default(),
                                          packllm_member_spec_default()};
    static const char *const names[] = {"llama-spm", "phi-3"};
    for (int i = 0; i < 2; i++) {
        (void)snprintf(paths[i], sizeof paths[i], "%s/share/llama/vocab/ggml-vocab-%s.gguf",
                       prefix != NULL ? prefix : "", names[i]);
        spec[i].path = paths[i];
        FILE *f = fopen(paths[i], "rb");
        if (f == NULL) {
            print_message("%s is not there\n", paths[i]);
            skip();
        }
        (void)fclose(f);
    }
    struct packllm_alignment *alignment = NULL;
    struct packllm_align_map map;
    assert_int_equal(packllm_align_open(&alignment, &spec[0], &spec[1], NULL, &err), PACKLLM_OK);
    assert_int_equal(packllm_align_get(alignment, &map), PACKLLM_OK);
    assert_int_equal(map.n, 32000); /* phi-3 is llama's vocabulary and 64 tokens more */
    assert_int_equal(map.n_member, 32064);
    assert_int_equal(map.near, 0);
    assert_true(map.exact > 31990);
    packllm_align_close(alignment);

    struct packllm_pack *pack = NULL; /* but a member that works it is not */
    assert_int_equal(packllm_pack_open(&pack, spec, 1, NULL, &err), PACKLLM_E_MODEL);
    assert_non_null(strstr(err.message, "vocabulary only"));
}

static bool refuse(void *data, int member, double share) {
    (void)share;
    return member != *(int *)data;
}

static void refused(void **state) {
    (void)state;
    char paths[2][1024];
    struct packllm_member_spec a = spec_of(paths[0], "models/stories260K.gguf");
    struct packllm_member_spec b = spec_of(paths[1], "models/aidreams260K.gguf");
    struct packllm_align_params params = packllm_align_params_default();
    struct packllm_alignment *alignment = NULL;
    int cancel = PACKLLM_NO_MEMBER;
    params.progress = refuse;
    params.progress_data = &cancel;
    assert_int_equal(packllm_align_open(&alignment, &a, &b, &params, &err), PACKLLM_E_CANCELLED);
    params = packllm_align_params_default();
    params.n_threads = -1;
    assert_int_equal(packllm_align_open(&alignment, &a, &b, &params, &err), PACKLLM_E_ARG);
    params = packllm_align_params_default();
    params.method = (enum packllm_align)3;
    assert_int_equal(packllm_align_open(&alignment, &a, &b, &params, &err), PACKLLM_E_ARG);
    assert_int_equal(packllm_align_open(&alignment, &a, NULL, NULL, &err), PACKLLM_E_ARG);
    b.path = "/nowhere/none.gguf";
    assert_int_equal(packllm_align_open(&alignment, &a, &b, NULL, &err), PACKLLM_E_IO);
    assert_int_equal(err.member, 1);
    assert_null(alignment);
    assert_null(packllm_align_name((enum packllm_align)3));
    assert_string_equal(packllm_align_name(PACKLLM_ALIGN_FIRST), "first");
    packllm_align_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_files),
        cmocka_unit_test(no_context),
        cmocka_unit_test(without_weights),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
