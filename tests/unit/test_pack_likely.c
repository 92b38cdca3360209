/* test_pack_likely.c - the likeliest tokens of a row. Goal: whatever the widths, ties, zeros and blocks,
 * the same ranks as sorting all of them by mass, the lower rank first. */
#include "pack/likely.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "check.h"

enum { WIDEST = 1000, BLOCKS = WIDEST / COVER_BLOCK + 1 };

struct row {
    float mass[WIDEST];
    double block[BLOCKS];
    uint64_t sorted[WIDEST]; /* keys, largest first */
    uint32_t n;
};

static int larger_first(const void *left, const void *right) {
    const uint64_t *a = left;
    const uint64_t *b = right;
    return (*a < *b) - (*a > *b);
}

/* Widths around whole vectors and blocks; few different values, so that ties are many. */
static struct cover_tokens make(struct row *row, uint64_t seed) {
    static const uint32_t widths[] = {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 500, 512, WIDEST};
    uint64_t values = 1 + rng_key(seed, 1, 0) % 40, spread = rng_key(seed, 2, 0) % 30;
    row->n = widths[seed % (sizeof widths / sizeof *widths)];
    for (uint32_t b = 0; b < BLOCKS; b++) {
        row->block[b] = 0.0;
    }
    for (uint32_t rank = 0; rank < row->n; rank++) {
        uint64_t value = rng_key(seed, 3, rank) % values;
        row->mass[rank] =
            value == 0 ? 0.0F : (float)exp(-(double)(value * (1 + spread)) / 10.0) / 1000.0F;
        row->block[rank / COVER_BLOCK] += (double)row->mass[rank];
        row->sorted[rank] = likely_key(row->mass[rank], rank);
    }
    qsort(row->sorted, row->n, sizeof *row->sorted, larger_first);
    return (struct cover_tokens){row->mass, row->block, 0.0, 0.0};
}

static void test_keys(void **state) {
    (void)state;
    assert_true(likely_key(0.25F, 7) > likely_key(0.25F, 8));
    assert_true(likely_key(0.25F, 8) > likely_key(0.2F, 7));
    assert_true(likely_key(1e-40F, 1) > likely_key(0.0F, 0));
    assert_int_equal(likely_rank(likely_key(0.3F, 123456)), 123456);
    assert_true(likely_mass(likely_key(0.3F, 5)) == (double)0.3F);
}

static void test_top(void **state) {
    (void)state;
    static const size_t most[] = {1, 2, 3, 8, 64, 65, 256, 2 * WIDEST};
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + 600; seed++) {
        static struct row row;
        static uint64_t keys[2 * WIDEST];
        struct cover_tokens told = make(&row, seed);
        for (size_t k = 0; k < sizeof most / sizeof *most; k++) {
            size_t n = likely_top(&told, 0, row.n, most[k], keys);
            CHECK_CASE(seed, n == (most[k] < row.n ? most[k] : row.n), "%zu of %u", n, row.n);
            qsort(keys, n, sizeof *keys, larger_first);
            CHECK_CASE(seed, memcmp(keys, row.sorted, n * sizeof *keys) == 0, "top %zu of %u",
                       most[k], row.n);
        }
    }
}

static void test_above(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + 600; seed++) {
        static struct row row;
        static uint64_t keys[WIDEST];
        struct cover_tokens told = make(&row, seed);
        for (uint32_t at = 0; at < row.n; at += 1 + row.n / 9) {
            double mass = likely_mass(row.sorted[at]);
            double least[] = {mass, nextafter(mass, 0.0), nextafter(mass, 1.0), mass * 0.999};
            for (size_t k = 0; k < 4 && mass > 0.0; k++) {
                size_t expected = 0;
                while (expected < row.n && likely_mass(row.sorted[expected]) >= least[k]) {
                    expected++;
                }
                size_t n = likely_above(&told, row.n, least[k], WIDEST, keys);
                CHECK_CASE(seed, n == expected, "%zu of at least %g, not %zu", n, least[k],
                           expected);
                qsort(keys, n, sizeof *keys, larger_first);
                CHECK_CASE(seed, memcmp(keys, row.sorted, n * sizeof *keys) == 0, "least %g",
                           least[k]);
                CHECK_CASE(seed, likely_above(&told, row.n, least[k], expected, keys) == expected,
                           "as many as there is room for");
                CHECK_CASE(seed,
                           expected == 0 ||
                               likely_above(&told, row.n, least[k], expected - 1, keys) == expected,
                           "more than there is room for");
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_top),
        cmocka_unit_test(test_above),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
