/* test_pack_bytes.c - a pack as a model of bytes, on fake members with awkward vocabularies. Goals:
 * properness (257 values sum to 1), causality (text behind a byte changes nothing before it; exactly
 * in the walk that generates), scoring in one go agrees with that walk, a member of single bytes
 * gives its own token model, NLL(pool) <= sum lambda NLL, the same seed gives the same text in valid
 * UTF-8, a session can be used again after a cancel, and a member of little weight costs less. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "fake.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CASES = 200, TEXT = 120 };

static struct packllm_error err;

struct world {
    struct fake *fakes[2];
    struct packllm_pack *pack;
    struct packllm_session *session;
};

static void world_open(struct world *w, uint64_t seed, const struct packllm_session_params *p) {
    static const enum fake_vocabulary kinds[] = {FAKE_BYTES,    FAKE_NESTED, FAKE_UTF8,
                                                 FAKE_FALLBACK, FAKE_TWINS,  FAKE_LACKING};
    enum { KINDS = sizeof kinds / sizeof *kinds };
    struct packllm_own_member own[2];
    for (uint64_t i = 0; i < 2; i++) {
        struct fake_params params = fake_params_default();
        params.seed = seed * 2 + i;
        w->fakes[i] =
            fake_open(kinds[(seed + i * (1 + seed / KINDS % (KINDS - 1))) % KINDS], &params);
        own[i] = fake_member(w->fakes[i], i == 0 ? "first" : "second");
    }
    assert_int_equal(packllm_pack_open_own(&w->pack, own, 2, NULL, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_open(&w->session, w->pack, p, &err), PACKLLM_OK);
}

static void world_close(struct world *w) {
    packllm_session_close(w->session);
    packllm_pack_close(w->pack);
    fake_close(w->fakes[0]);
    fake_close(w->fakes[1]);
}

struct bytes {
    double log2_pack[4 * TEXT];
    size_t n;
};

static void keep_byte(void *data, size_t offset, double log2_pack, const double *log2_members,
                      double parked) {
    struct bytes *b = data;
    (void)offset, (void)log2_members, (void)parked;
    b->log2_pack[b->n++] = log2_pack;
}

static size_t character_start(const char *text, size_t at) {
    while (((uint8_t)text[at] & 0xc0) == 0x80) {
        at--;
    }
    return at;
}

static struct packllm_score score(struct world *w, uint64_t seed, const char *text, size_t size,
                                  size_t context, bool walk, struct bytes *out) {
    struct packllm_score_params p = {.context_bytes = context,
                                     .through_generation = walk,
                                     .next = true,
                                     .per_byte = keep_byte,
                                     .per_byte_data = out};
    struct packllm_score result;
    out->n = 0;
    CHECK_CASE(seed, packllm_session_score(w->session, text, size, &p, &result, &err) == PACKLLM_OK,
               "%s", err.message);
    return result;
}

static void test_causal_proper_and_one_model(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct world w;
        uint64_t rng = seed;
        char text[2 * TEXT + 16], other[2 * TEXT + 16];
        struct bytes one, two;
        world_open(&w, seed, NULL);
        size_t size = fake_text(&rng, text, TEXT, false);
        while (size < 12) {
            text[size++] = 'a';
        }
        size_t context = character_start(text, size / 3);
        size_t cut = character_start(text, size * 2 / 3);
        memcpy(other, text, cut);
        size_t other_size = cut + fake_text(&rng, other + cut, TEXT, false);
        for (int walk = 0; walk < 2 && context > 0 && cut > context; walk++) {
            struct packllm_score a = score(&w, seed, text, size, context, walk == 1, &one);
            double sum = 0.0;
            for (int e = 0; e < PACKLLM_EVENTS; e++) {
                sum += a.next[e];
                CHECK_CASE(seed, a.next[e] >= 0.0, "next[%d] = %g", e, a.next[e]);
            }
            CHECK_CASE(seed, fabs(sum - 1.0) < 1e-6, "next sums to %.9f", sum);
            CHECK_CASE(seed, a.jensen_violations == 0, "%llu bytes above sum lambda NLL",
                       (unsigned long long)a.jensen_violations);
            (void)score(&w, seed, other, other_size, context, walk == 1, &two);
            for (size_t t = 0; t < cut - context; t++) {
                double difference = fabs(one.log2_pack[t] - two.log2_pack[t]);
                /* In one go, sums are floats that depend on where the text ends. */
                CHECK_CASE(seed, difference <= (walk == 1 ? 0.0 : 1e-4),
                           "byte %zu of %zu, walk %d: %g and %g", t, cut - context, walk,
                           one.log2_pack[t], two.log2_pack[t]);
            }
        }
        if (context > 0) {
            struct packllm_score a = score(&w, seed, text, size, context, false, &one);
            struct packllm_score b = score(&w, seed, text, size, context, true, &two);
            CHECK_CASE(seed, fabs(a.bits_per_byte - b.bits_per_byte) <= 2e-3 * b.bits_per_byte,
                       "in one go %.6f, walked %.6f bits/byte", a.bits_per_byte, b.bits_per_byte);
        }
        world_close(&w);
    }
}

/* With a vocabulary of bytes there is one tokenisation, so the byte model is the token model. */
static void test_a_member_of_bytes_is_itself(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct fake_params params = fake_params_default();
        params.seed = seed;
        struct fake *fake = fake_open(FAKE_BYTES, &params);
        struct packllm_own_member own = fake_member(fake, "bytes");
        struct packllm_pack *pack = NULL;
        struct packllm_session *session = NULL;
        struct packllm_weights weights;
        uint64_t rng = seed;
        char text[TEXT + 16];
        size_t size = fake_text(&rng, text, TEXT, false);
        assert_int_equal(packllm_pack_open_own(&pack, &own, 1, NULL, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_open(&session, pack, NULL, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_weigh(session, text, size, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_weights(session, &weights), PACKLLM_OK);
        double canonical = weights.members[0].bits_per_byte;
        CHECK_CASE(seed, fabs(weights.bits_per_byte - canonical) <= 1e-5 * (1.0 + canonical),
                   "bytes %.8f, tokens %.8f", weights.bits_per_byte, canonical);
        CHECK_CASE(seed, weights.members[0].weight == 1.0, "weight %g", weights.members[0].weight);
        packllm_session_close(session);
        packllm_pack_close(pack);
        fake_close(fake);
    }
}

/* ---- all tokenisations ---- */

/* p(tokens that are text[from..to), or begin so, or both | history), summed over ids. */
static void masses(const struct fake *fake, const struct packllm_own_member *own,
                   const int32_t *history, size_t n, const char *bytes, size_t size, double *ending,
                   double *longer, int32_t *id) {
    static float logits[4096];
    double z = 0.0, most = -HUGE_VAL;
    assert_true(own->n_tokens <= 4096);
    fake_logits(fake, history, n, logits);
    for (size_t t = 0; t < own->n_tokens; t++) {
        most = own->tokens[t].control ? most : fmax(most, (double)logits[t]);
    }
    for (size_t t = 0; t < own->n_tokens; t++) {
        z += own->tokens[t].control ? 0.0 : exp((double)logits[t] - most);
    }
    *ending = *longer = 0.0;
    *id = -1;
    for (size_t t = 0; t < own->n_tokens; t++) {
        const struct packllm_own_token *token = &own->tokens[t];
        double p = token->control ? 0.0 : exp((double)logits[t] - most) / z;
        if (token->end) {
            *longer += size == 0 ? p : 0.0;
        } else if (token->size == size && memcmp(token->bytes, bytes, size) == 0) {
            *ending += p;
            *id = *id < 0 ? (int32_t)t : *id;
        } else if (token->size > size && memcmp(token->bytes, bytes, size) == 0) {
            *longer += p;
        }
    }
}

struct all_covers {
    double w[TEXT + 1];
    int32_t history[TEXT + 1][TEXT + 2]; /* of the heaviest that ends there */
    size_t n[TEXT + 1];
};

/* log2 P(byte | text before) of all tokenisations, recombined where they end at one byte. */
static void expected_bytes(const struct fake *fake, const struct packllm_own_member *own,
                           const char *text, size_t size, double *out) {
    static struct all_covers a;
    double before = 1.0;
    a.w[0] = 1.0;
    a.n[0] = own->start >= 0 ? 1 : 0;
    a.history[0][0] = own->start;
    for (size_t x = 1; x <= size; x++) {
        double heaviest = 0.0, p = 0.0;
        a.w[x] = 0.0;
        for (size_t y = 0; y < x; y++) {
            double ending, longer;
            int32_t id;
            if (a.w[y] <= 0.0) {
                continue;
            }
            masses(fake, own, a.history[y], a.n[y], text + y, x - y, &ending, &longer, &id);
            a.w[x] += a.w[y] * ending;
            p += a.w[y] * (ending + longer);
            if (id >= 0 && a.w[y] * ending > heaviest) {
                heaviest = a.w[y] * ending;
                memcpy(a.history[x], a.history[y], a.n[y] * sizeof **a.history);
                a.history[x][a.n[y]] = id;
                a.n[x] = a.n[y] + 1;
            }
        }
        out[x - 1] = log2((1.0 - 1e-9) * p / before + 1e-9 / PACKLLM_EVENTS);
        before = p;
    }
}

/* Every tokenisation counts: no share is lost, and walk and brute force are one model. */
static void test_all_tokenisations(void **state) {
    static const enum fake_vocabulary kinds[] = {FAKE_BYTES,    FAKE_NESTED, FAKE_UTF8,
                                                 FAKE_FALLBACK, FAKE_TWINS,  FAKE_USER};
    double worst = 0.0, more = 0.0;
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + 60; seed++) {
        struct packllm_session_params p = packllm_session_params_default();
        struct fake_params params = fake_params_default();
        struct world w = {0};
        struct bytes got;
        double expected[TEXT + 1];
        char text[2 * TEXT];
        uint64_t rng = seed;
        params.seed = seed;
        w.fakes[0] = fake_open(kinds[seed % (sizeof kinds / sizeof *kinds)], &params);
        struct packllm_own_member own = fake_member(w.fakes[0], "one");
        memcpy(text, "ab", 2);
        size_t size = 2 + fake_text(&rng, text + 2, 40, true);
        p.epsilon = 1e-9;
        p.covers = PACKLLM_COVERS_ALL;
        assert_int_equal(packllm_pack_open_own(&w.pack, &own, 1, NULL, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_open(&w.session, w.pack, &p, &err), PACKLLM_OK);
        expected_bytes(w.fakes[0], &own, text, size, expected);
        for (int walk = 0; walk < 2; walk++) {
            struct packllm_score s = score(&w, seed, text, size, 2, walk == 1, &got);
            CHECK_CASE(seed, s.resyncs == 0, "%llu resyncs", (unsigned long long)s.resyncs);
            for (size_t t = 0; t < got.n; t++) {
                double off = fabs(got.log2_pack[t] - expected[t + 2]);
                worst = fmax(worst, off);
                CHECK_CASE(seed, off <= 2e-3, "walk %d, byte %zu: %g instead of %g", walk, t,
                           got.log2_pack[t], expected[t + 2]);
            }
            more += s.members[0].bits_per_byte - s.members[0].bits_per_byte_model;
        }
        packllm_session_close(w.session);
        packllm_pack_close(w.pack);
        fake_close(w.fakes[0]);
    }
    print_message("off by at most %g bits; %g bits/byte below canonical on average\n", worst,
                  more / 120.0);
}

static size_t generate(struct world *w, uint64_t seed, char *out, size_t room) {
    struct packllm_piece piece;
    enum packllm_status status = packllm_session_prompt(w->session, "ab cab", 6, &err);
    size_t size = 0;
    CHECK_CASE(seed, status == PACKLLM_OK, "%s", err.message);
    while ((status = packllm_session_step(w->session, &piece, &err)) == PACKLLM_PIECE) {
        assert_true(size + piece.size <= room);
        memcpy(out + size, piece.text, piece.size);
        size += piece.size;
    }
    CHECK_CASE(seed, status == PACKLLM_FINISHED, "%s", err.message);
    return size;
}

static void test_same_seed_same_text(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct packllm_session_params p = packllm_session_params_default();
        struct world w;
        char one[4096], two[4096];
        p.sampling.seed = seed;
        p.max_tokens = 24;
        p.choose = seed % 2 == 0 ? PACKLLM_CHOOSE_TOKENS : PACKLLM_CHOOSE_BYTES;
        world_open(&w, seed, &p);
        size_t size = generate(&w, seed, one, sizeof one);
        CHECK_CASE(seed, utf8_check(one, size) == size, "byte %zu", utf8_check(one, size));
        /* A cancel before a step ends it; the session goes on with a new prompt, the same text. */
        assert_int_equal(packllm_session_prompt(w.session, "abc", 3, &err), PACKLLM_OK);
        struct packllm_piece piece;
        packllm_session_cancel(w.session);
        CHECK_CASE(seed, packllm_session_step(w.session, &piece, &err) == PACKLLM_E_CANCELLED, "%s",
                   err.message);
        size_t again = generate(&w, seed, two, sizeof two);
        CHECK_CASE(seed, again == size && memcmp(one, two, size) == 0, "%zu and %zu bytes", size,
                   again);
        world_close(&w);
    }
}

/* Forwards of the second member for a byte of the reply, over many packs. */
static double forwards_a_byte(double epsilon) {
    double forwards = 0.0, bytes = 0.0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct packllm_session_params p = packllm_session_params_default();
        double weights[2] = {0.95, 0.05};
        struct packllm_stats stats;
        struct world w;
        char out[4096];
        p.sampling.seed = seed;
        p.max_tokens = 24;
        p.epsilon = epsilon;
        p.weigher = PACKLLM_WEIGH_FIXED;
        p.fixed = weights;
        p.display = 0;
        p.space = PACKLLM_SPACE_BYTES;
        world_open(&w, seed, &p);
        bytes += (double)generate(&w, seed, out, sizeof out);
        assert_int_equal(packllm_session_stats(w.session, &stats, &err), PACKLLM_OK);
        forwards += (double)stats.members[1].forwards;
        world_close(&w);
    }
    return forwards / bytes;
}

/* A member of little weight does not open ends that would hardly move the pool: 0.5 / 0.05 times the
 * epsilon counts, at most 0.03, so that 0.003 costs as 0.03 does. */
static void test_little_weight_costs_less(void **state) {
    (void)state;
    double small = forwards_a_byte(0.0003), usual = forwards_a_byte(0.003),
           large = forwards_a_byte(0.03);
    print_message("forwards a byte: %.4f, %.4f, %.4f\n", small, usual, large);
    assert_true(fabs(usual - large) <= 0.01 * large && small > 1.02 * large);
}

static void test_missing_arrays_are_refused(void **state) {
    (void)state;
    static const char *const stop[] = {"a", NULL};
    struct world w;
    struct packllm_session *none = NULL;
    world_open(&w, 1, NULL);
    for (int k = 0; k < 3; k++) {
        static const char *const said[] = {"stop is NULL", "stop string 1 is NULL", "bias is NULL"};
        struct packllm_session_params p = packllm_session_params_default();
        p.n_stop = k < 2 ? 2 : 0;
        p.stop = k == 1 ? stop : NULL;
        p.n_bias = k == 2;
        assert_int_equal(packllm_session_open(&none, w.pack, &p, &err), PACKLLM_E_ARG);
        assert_non_null(strstr(err.message, said[k]));
    }
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_causal_proper_and_one_model),
                                       cmocka_unit_test(test_a_member_of_bytes_is_itself),
                                       cmocka_unit_test(test_all_tokenisations),
                                       cmocka_unit_test(test_same_seed_same_text),
                                       cmocka_unit_test(test_little_weight_costs_less),
                                       cmocka_unit_test(test_missing_arrays_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
