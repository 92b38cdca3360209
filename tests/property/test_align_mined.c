/* test_align_mined.c - property: the nearest tokens are those of comparing all with all, whatever the
 * vocabularies and the number of threads; and the bit-parallel distance is the textbook's. The
 * vocabularies are small and awkward: few letters, so that ties abound; runs of one byte; tokens
 * longer than a word of 64 bits and longer than the join takes; bytes 0x00 and 0xff; the same token
 * twice; kinds that must stay out. */
#include <string.h>

#include "align/align.h"
#include "align/edit.h"
#include "base/rng.h"
#include "check.h"

enum { TOKEN_MAX = 300, CASES = 1500 };

/* By the definition, one row at a time. */
static uint32_t textbook(const uint8_t *a, uint32_t n, const uint8_t *b, uint32_t m) {
    static uint32_t row[TOKEN_MAX + 1];
    for (uint32_t j = 0; j <= m; j++) {
        row[j] = j;
    }
    for (uint32_t i = 1; i <= n; i++) {
        uint32_t corner = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= m; j++) {
            uint32_t exchange = corner + (a[i - 1] != b[j - 1]);
            uint32_t step = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            corner = row[j];
            row[j] = exchange < step ? exchange : step;
        }
    }
    return row[m];
}

static uint32_t draw(uint64_t *s, uint32_t n) {
    return n > 1 ? (uint32_t)(rng_next(s) % n) : 0;
}

static uint32_t make_text(uint64_t *s, uint32_t letters, uint8_t *out) {
    static const uint8_t alphabet[] = {'a', 'b', ' ', 0x00, 0xff, 0xe2, 0x82, 0xac,
                                       'c', 'A', '0', '!',  'd',  'e',  'f',  'g'};
    uint32_t kind = draw(s, 40), size = 1 + draw(s, 9);
    size = kind == 0   ? 60 + draw(s, 10)
           : kind == 1 ? 1 + draw(s, TOKEN_MAX)
           : kind < 5  ? size * 5
                       : size;
    size = size > TOKEN_MAX ? TOKEN_MAX : size;
    uint8_t same = alphabet[draw(s, letters)];
    for (uint32_t i = 0; i < size; i++) {
        out[i] = kind % 8 == 7 && draw(s, 10) > 0 ? same : alphabet[draw(s, letters)];
    }
    return size;
}

static void make(struct vocab_table *out, uint64_t *s, uint32_t n, uint32_t letters) {
    static const enum vocab_kind kinds[] = {VOCAB_USER, VOCAB_BYTE, VOCAB_END, VOCAB_MASKED};
    struct vocab_builder b;
    uint8_t text[TOKEN_MAX] = {0};
    uint32_t size = 0;
    assert_int_equal(vocab_builder_begin(&b, n, NULL), PACKLLM_OK);
    for (uint32_t i = 0; i < n; i++) {
        if (i == 0 || draw(s, 12) > 0) { /* else the last one once more */
            size = make_text(s, letters, text);
        }
        enum vocab_kind kind = draw(s, 8) > 0 ? VOCAB_NORMAL : kinds[draw(s, 4)];
        assert_int_equal(vocab_builder_add(&b, text, kind == VOCAB_BYTE ? 1 : size, kind, NULL),
                         PACKLLM_OK);
    }
    vocab_builder_end(&b, out);
}

static void check_token(uint64_t seed, const struct align_map *map, const struct vocab_table *r,
                        const struct vocab_table *m, int32_t id) {
    int32_t to = ALIGN_NONE;
    uint32_t best = ALIGN_FAR;
    for (int32_t k = 0; k < (int32_t)m->n; k++) {
        if (align_is_text(m, k)) {
            uint32_t d = textbook(vocab_bytes(r, id), vocab_size(r, id), vocab_bytes(m, k),
                                  vocab_size(m, k));
            to = d < best ? k : to;
            best = d < best ? d : best;
        }
    }
    CHECK_CASE(seed, map->to[id] == to && map->distance[id] == best,
               "token %d: %d at %u, but %d at %u", (int)id, (int)map->to[id],
               (unsigned)map->distance[id], (int)to, (unsigned)best);
}

static void same_as_all_with_all(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(), end = seed + CASES; seed < end; seed++) {
        uint64_t s = seed;
        struct vocab_table r, m;
        struct align_map map, again;
        uint32_t letters = 1 + draw(&s, 16);
        make(&r, &s, 1 + draw(&s, 40), letters);
        make(&m, &s, 1 + draw(&s, seed % 10 == 0 ? 400 : 60), letters);
        struct align_request request = {
            .reference = &r, .member = &m, .method = ALIGN_MINED, .threads = 1 + draw(&s, 4)};
        assert_int_equal(align_build(&map, &request, NULL), PACKLLM_OK);
        for (int32_t id = 0; id < (int32_t)r.n; id++) {
            if (align_is_text(&r, id)) {
                check_token(seed, &map, &r, &m, id);
            } else {
                CHECK_CASE(seed, r.kind[id] != VOCAB_MASKED || map.to[id] == ALIGN_NONE, "%d",
                           (int)id);
            }
        }
        request.threads = 1;
        assert_int_equal(align_build(&again, &request, NULL), PACKLLM_OK);
        CHECK_CASE(seed,
                   memcmp(map.to, again.to, r.n * sizeof *map.to) == 0 &&
                       memcmp(map.distance, again.distance, r.n * sizeof *map.distance) == 0,
                   "one thread gives another map");
        align_done(&map);
        align_done(&again);
        vocab_table_done(&r);
        vocab_table_done(&m);
    }
}

static void distances(void **state) {
    (void)state;
    static uint8_t a[TOKEN_MAX], b[TOKEN_MAX], others[EDIT_LANES][TOKEN_MAX];
    struct edit edit;
    assert_true(edit_init(&edit, TOKEN_MAX));
    for (uint64_t seed = check_first_seed(), end = seed + 20000; seed < end; seed++) {
        uint64_t s = seed;
        uint32_t letters = 1 + draw(&s, 16);
        edit_set(&edit, a, 0); /* the pattern that was set goes before its bytes do */
        uint32_t n = make_text(&s, letters, a), m = make_text(&s, letters, b);
        uint32_t d = textbook(a, n, b, m), bound = draw(&s, 2 * d + 2);
        edit_set(&edit, a, n);
        uint32_t got = edit_distance(&edit, b, m, bound);
        CHECK_CASE(seed, got == (d <= bound ? d : bound + 1), "%u, but %u, bound %u", (unsigned)got,
                   (unsigned)d, (unsigned)bound);
        if (n > EDIT_LANES_MAX) {
            continue;
        }
        const uint8_t *text[EDIT_LANES];
        uint32_t out[EDIT_LANES];
        for (int k = 0; k < EDIT_LANES; k++) {
            text[k] = others[k];
            memcpy(others[k], b, m);
            others[k][draw(&s, m)] = (uint8_t)rng_next(&s);
        }
        edit_lanes(&edit, text, m, out);
        for (int k = 0; k < EDIT_LANES; k++) {
            CHECK_CASE(seed, out[k] == textbook(a, n, others[k], m), "lane %d: %u", k,
                       (unsigned)out[k]);
        }
    }
    edit_done(&edit);
}

/* More left-overs than one table of the join takes: 40 bytes leave 821, and a table takes 4 million.
 * Every 400th reference token has a neighbour at distance 2. */
static void several_tables(void **state) {
    (void)state;
    enum { REFERENCE = 8000, SIZE = 40, STEP = 400 };
    uint64_t s = check_first_seed();
    struct vocab_builder left, right;
    struct vocab_table r, m;
    struct align_map map;
    assert_int_equal(vocab_builder_begin(&left, REFERENCE, NULL), PACKLLM_OK);
    assert_int_equal(vocab_builder_begin(&right, REFERENCE / STEP, NULL), PACKLLM_OK);
    for (uint32_t i = 0; i < REFERENCE; i++) {
        uint8_t text[SIZE];
        for (uint32_t k = 0; k < SIZE; k++) {
            text[k] = (uint8_t)('a' + draw(&s, 20));
        }
        assert_int_equal(vocab_builder_add(&left, text, SIZE, VOCAB_NORMAL, NULL), PACKLLM_OK);
        if (i % STEP == 0) {
            text[draw(&s, 20)] = 'z';
            text[20 + draw(&s, 20)] = 'y';
            assert_int_equal(vocab_builder_add(&right, text, SIZE, VOCAB_NORMAL, NULL), PACKLLM_OK);
        }
    }
    vocab_builder_end(&left, &r);
    vocab_builder_end(&right, &m);
    struct align_request request = {
        .reference = &r, .member = &m, .method = ALIGN_MINED, .threads = 2};
    assert_int_equal(align_build(&map, &request, NULL), PACKLLM_OK);
    for (int32_t id = 0; id < REFERENCE; id++) {
        if (id % STEP == 0) {
            assert_int_equal(map.to[id], id / STEP);
            assert_int_equal(map.distance[id], 2);
        } else if (id % 40 == 1) {
            check_token(s, &map, &r, &m, id);
        }
    }
    align_done(&map);
    vocab_table_done(&r);
    vocab_table_done(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances),
        cmocka_unit_test(same_as_all_with_all),
        cmocka_unit_test(several_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
