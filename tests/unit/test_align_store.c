/* test_align_store.c - maps on disk. Goals: a file is read back as the map it was; one that is cut,
 * changed in any bit, of another version, or of other vocabularies is not read but made anew, with a
 * warning; a folder that cannot be written costs a warning and nothing else; writers at once are safe. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "align/store.h"
#include "check.h"

enum { FILE_MAX = 4096 };

static struct packllm_error err;
static struct vocab_table reference, member, other;
static struct align_map expected;
static char folder[] = "/tmp/packllm-store-XXXXXX";
static char path[256]; /* of the one map in it */

static void make(struct vocab_table *out, const char *const *texts, uint32_t n) {
    struct vocab_builder b;
    assert_int_equal(vocab_builder_begin(&b, n, &err), PACKLLM_OK);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(vocab_builder_add(&b, texts[i], strlen(texts[i]), VOCAB_NORMAL, &err),
                         PACKLLM_OK);
    }
    vocab_builder_end(&b, out);
}

static struct align_request request_of(const struct vocab_table *m) {
    return (struct align_request){
        .reference = &reference, .member = m, .method = ALIGN_MINED, .threads = 1};
}

/* A map of expected's contents, whether it was cached, and whether there was a warning with the word. */
static void get(bool cached, const char *warned) {
    struct align_request request = request_of(&member);
    struct align_map map;
    char warning[256];
    bool was = !cached;
    assert_int_equal(align_cached(&map, &request, folder, &was, warning, sizeof warning, &err),
                     PACKLLM_OK);
    assert_int_equal(was, cached);
    if (warned == NULL) {
        assert_string_equal(warning, "");
    } else if (strstr(warning, warned) == NULL) {
        print_error("'%s' is not in '%s'\n", warned, warning);
        fail();
    }
    assert_int_equal(map.n, expected.n);
    assert_int_equal(map.n_member, expected.n_member);
    assert_memory_equal(map.to, expected.to, map.n * sizeof *map.to);
    assert_memory_equal(map.distance, expected.distance, map.n * sizeof *map.distance);
    assert_int_equal(map.exact, expected.exact);
    assert_int_equal(map.near, expected.near);
    assert_int_equal(map.unmatched, expected.unmatched);
    align_done(&map);
}

static size_t read_file(uint8_t *out) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t size = fread(out, 1, FILE_MAX, f);
    (void)fclose(f);
    return size;
}

static void write_file(const uint8_t *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    (void)fclose(f);
}

static unsigned files(char *out_path) {
    char maps[128];
    unsigned n = 0;
    (void)snprintf(maps, sizeof maps, "%s/maps", folder);
    DIR *dir = opendir(maps);
    assert_non_null(dir);
    for (struct dirent *entry = NULL; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(out_path, 256, "%.100s/%.100s", maps, entry->d_name);
            n++;
        }
    }
    (void)closedir(dir);
    return n;
}

static int set_up(void **state) {
    (void)state;
    static const char *const left[] = {"the", " cat", "sat", "zebra", "\xe2\x82"};
    static const char *const right[] = {"cat", "the", "mat", "zeb", "\xe2\x82\xac", "q"};
    make(&reference, left, 5);
    make(&member, right, 6);
    make(&other, right, 5);
    assert_non_null(mkdtemp(folder));
    struct align_request request = request_of(&member);
    assert_int_equal(align_build(&expected, &request, &err), PACKLLM_OK);
    get(false, NULL);
    assert_int_equal(files(path), 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[300];
    (void)snprintf(command, sizeof command, "chmod -R u+w %s; rm -rf %s", folder, folder);
    align_done(&expected);
    vocab_table_done(&reference);
    vocab_table_done(&member);
    vocab_table_done(&other);
    return system(command); /* NOLINT(cert-env33-c): a name of our own */
}

static void read_back(void **state) {
    (void)state;
    get(true, NULL);
}

static void cut_at_every_length(void **state) {
    (void)state;
    uint8_t whole[FILE_MAX], now[FILE_MAX];
    size_t size = read_file(whole);
    assert_int_equal(size, 40 + 5 * 8 + 8);
    for (size_t cut = 0; cut < size; cut++) {
        write_file(whole, cut);
        get(false, "made anew");
        assert_int_equal(read_file(now), size);
        assert_memory_equal(now, whole, size);
    }
    memcpy(now, whole, size);
    now[size] = 0;
    write_file(now, size + 1);
    get(false, "cut short or too long");
}

static void every_bit_changed(void **state) {
    (void)state;
    uint8_t bytes[FILE_MAX];
    size_t size = read_file(bytes);
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        /* The method's name in the header is told by the key already, but covered by the checksum. */
        write_file(bytes, size);
        get(false, bit < 64 ? "is no map" : bit < 96 ? "another version" : "made anew");
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

/* What a checksum cannot tell: a file that is whole and says nonsense. */
static void sound_but_senseless(void **state) {
    (void)state;
    uint8_t bytes[FILE_MAX];
    struct align_request request = request_of(&member);
    struct align_key key = align_key_of(&request);
    struct align_map map;
    size_t size = read_file(bytes);
    const struct {
        size_t at;
        uint8_t value[4];
    } changes[] = {
        {40, {6, 0, 0, 0}},             /* a token above the last */
        {40, {0, 0, 0, 0x80}},          /* a negative one */
        {40, {0xff, 0xff, 0xff, 0xff}}, /* none, at a distance */
        {60, {0xff, 0xff, 0xff, 0xff}}, /* one, at no distance */
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        uint8_t changed[FILE_MAX];
        memcpy(changed, bytes, size);
        memcpy(changed + changes[i].at, changes[i].value, 4);
        uint64_t hash = align_hash(changed, size - 8);
        for (int k = 0; k < 8; k++) {
            changed[size - 8 + (size_t)k] = (uint8_t)(hash >> (8 * k));
        }
        const char *what = align_parse(&map, changed, size, &key, reference.n, member.n);
        assert_non_null(what);
        assert_non_null(strstr(what, "do not exist"));
    }
    assert_null(align_parse(&map, bytes, size, &key, reference.n, member.n));
    align_done(&map);
}

static void other_vocabularies(void **state) {
    (void)state;
    struct align_request request = request_of(&member), changed = request_of(&other);
    struct align_key key = align_key_of(&request), with_other = align_key_of(&changed);
    assert_true(key.low != with_other.low && key.high != with_other.high);
    member.kind[5] = VOCAB_USER;
    with_other = align_key_of(&request);
    member.kind[5] = VOCAB_NORMAL;
    assert_true(key.low != with_other.low);
    request.method = ALIGN_EXACT;
    with_other = align_key_of(&request);
    assert_true(key.low != with_other.low);

    uint8_t bytes[FILE_MAX];
    struct align_map map;
    size_t size = read_file(bytes);
    const char *what = align_parse(&map, bytes, size, &with_other, reference.n, member.n);
    assert_non_null(strstr(what, "other vocabularies"));
}

static void folders_that_fail(void **state) {
    (void)state;
    char maps[128], aside[128];
    (void)snprintf(maps, sizeof maps, "%s/maps", folder);
    (void)snprintf(aside, sizeof aside, "%s/aside", folder);
    assert_int_equal(rename(maps, aside), 0); /* vanished: it is made again */
    get(false, NULL);
    get(true, NULL);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(maps), 0);
    int fd = open(maps, O_CREAT | O_WRONLY, 0600); /* a file in its place */
    assert_true(fd >= 0);
    (void)close(fd);
    get(false, "could not be written");
    assert_int_equal(unlink(maps), 0);
    assert_int_equal(rename(aside, maps), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0); /* a folder in the file's place */
    get(false, "could not be read");
    assert_int_equal(rmdir(path), 0);
    get(false, NULL);
}

static void methods_that_are_not_kept(void **state) {
    (void)state;
    struct align_request request = request_of(&member);
    struct align_map map;
    char warning[256], found[256];
    bool cached = true;
    request.method = ALIGN_EXACT;
    assert_int_equal(align_cached(&map, &request, folder, &cached, warning, sizeof warning, &err),
                     PACKLLM_OK);
    assert_false(cached);
    align_done(&map);
    assert_int_equal(files(found), 1);
}

static void *writer(void *good) {
    for (int i = 0; i < 50; i++) {
        struct align_request request = request_of(&member);
        struct align_map map;
        char warning[256];
        bool cached = false;
        (void)unlink(path);
        if (align_cached(&map, &request, folder, &cached, warning, sizeof warning, NULL) !=
                PACKLLM_OK ||
            warning[0] != '\0' || memcmp(map.to, expected.to, map.n * sizeof *map.to) != 0) {
            *(bool *)good = false;
            return NULL;
        }
        align_done(&map);
    }
    return NULL;
}

static void writers_at_once(void **state) {
    (void)state;
    pthread_t thread[4];
    bool good[4] = {true, true, true, true};
    char found[256];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, writer, &good[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_true(good[i]);
    }
    assert_true(files(found) <= 1); /* no temporary file is left */
    get(files(found) == 1, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_back),          cmocka_unit_test(cut_at_every_length),
        cmocka_unit_test(every_bit_changed),  cmocka_unit_test(sound_but_senseless),
        cmocka_unit_test(other_vocabularies), cmocka_unit_test(folders_that_fail),
        cmocka_unit_test(writers_at_once),    cmocka_unit_test(methods_that_are_not_kept),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
