/* test_pack_crowd.c - a large pack of fake members that stop reading early. Goals: against --drop off the
 * objective is within 0.002 bits/byte and the next bytes' loss within 0.2 %, nobody whom the full
 * computation gives more than 2 % is dropped (also a weak member that complements a strong one), the
 * same run gives the same bits, what is said of the dropped is consistent; small packs, short texts
 * and other weighers read everything. Texts are drawn from the product of two fields: one strong
 * member knows the first, a weak one the second, noisy ones something of the first, most nothing. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CASES = 6, LETTERS = 26, MEMBERS = 40, PROMPT = 1200, NEXT = 400 };

static struct packllm_error err;

struct field {
    uint64_t seed;
    double a, b, noise; /* parts of the two fields of the text, and of one of its own */
    uint64_t own;
};

static double draw(uint64_t seed, int32_t last, int32_t before, uint32_t c) {
    uint64_t x = seed * 0x9e3779b97f4a7c15U ^ ((uint64_t)(uint32_t)(last + 1) << 40) ^
                 ((uint64_t)(uint32_t)(before + 1) << 20) ^ c;
    x ^= x >> 31;
    x *= 0xbf58476d1ce4e5b9U;
    x ^= x >> 29;
    x *= 0x94d049bb133111ebU;
    x ^= x >> 32;
    return ((double)(x >> 11) * 0x1p-53 - 0.5) * 3.4641; /* variance 1 */
}

static int logits(void *data, const int32_t *history, size_t n, float *out) {
    const struct field *f = data;
    int32_t last = n > 0 ? history[n - 1] : -1, before = n > 1 ? history[n - 2] : -1;
    for (uint32_t c = 0; c < LETTERS; c++) {
        out[c] = (float)(f->a * draw(2 * f->seed, last, before, c) +
                         f->b * draw(2 * f->seed + 1, last, -1, c) +
                         f->noise * draw(1000 + f->own, last, before, c));
    }
    out[LETTERS] = -12.0F; /* the end */
    return 0;
}

static void set_members(uint64_t seed, struct field *fields, size_t n) {
    uint64_t rng = seed;
    for (size_t i = 0; i < n; i++) {
        double x = rng_uniform(rng_next(&rng));
        fields[i] = (struct field){.seed = seed, .own = seed * MEMBERS + i, .noise = 0.5 + x};
        if (i % 8 == 3) { /* like the strong one, and worse */
            fields[i].a = 0.3 + 0.5 * x;
        }
    }
    fields[seed % n] = (struct field){.seed = seed, .a = 1.5, .own = 1, .noise = 0.2};
    fields[(seed * 7 + 5) % n] = (struct field){.seed = seed, .b = 0.7, .own = 2, .noise = 0.1};
}

static void write_text(uint64_t seed, char *out, size_t size) {
    struct field truth = {.seed = seed, .a = 1.5, .b = 0.8};
    int32_t history[2] = {-1, -1};
    uint64_t rng = seed + 77;
    for (size_t t = 0; t < size; t++) {
        float z[LETTERS + 1];
        double sum = 0.0, p[LETTERS];
        (void)logits(&truth, history, 2, z);
        for (size_t c = 0; c < LETTERS; c++) {
            sum += p[c] = exp((double)z[c]);
        }
        double at = rng_uniform(rng_next(&rng)) * sum;
        int32_t c = 0;
        for (; c < LETTERS - 1 && at >= p[c]; c++) {
            at -= p[c];
        }
        out[t] = (char)('a' + c);
        history[0] = history[1];
        history[1] = c;
    }
}

static struct packllm_pack *open_pack(struct field *fields, size_t n) {
    static char letters[LETTERS];
    static char names[MEMBERS][8];
    struct packllm_own_token tokens[LETTERS + 1];
    struct packllm_own_member own[MEMBERS];
    struct packllm_pack *pack = NULL;
    for (size_t c = 0; c < LETTERS; c++) {
        letters[c] = (char)('a' + c);
        tokens[c] = (struct packllm_own_token){.bytes = &letters[c], .size = 1};
    }
    tokens[LETTERS] = (struct packllm_own_token){.bytes = "", .end = true};
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(names[i], sizeof names[i], "m%zu", i);
        own[i] = (struct packllm_own_member){.name = names[i],
                                             .tokens = tokens,
                                             .n_tokens = LETTERS + 1,
                                             .start = -1,
                                             .n_ctx = 4096,
                                             .logits = logits,
                                             .data = &fields[i]};
    }
    assert_int_equal(packllm_pack_open_own(&pack, own, n, NULL, &err), PACKLLM_OK);
    return pack;
}

struct result {
    struct packllm_weights weights;
    struct packllm_member_weight member[MEMBERS];
};

static struct result weigh(uint64_t seed, struct packllm_pack *pack, const char *text, size_t size,
                           struct packllm_session_params p) {
    struct packllm_session *session = NULL;
    struct result r;
    CHECK_CASE(seed, packllm_session_open(&session, pack, &p, &err) == PACKLLM_OK, "%s",
               err.message);
    CHECK_CASE(seed, packllm_session_weigh(session, text, size, &err) == PACKLLM_OK, "%s",
               err.message);
    assert_int_equal(packllm_session_weights(session, &r.weights), PACKLLM_OK);
    memcpy(r.member, r.weights.members, r.weights.n_members * sizeof *r.member);
    packllm_session_close(session);
    return r;
}

/* Loss of the text behind the prompt at given weights, bits per byte. */
static double next_loss(uint64_t seed, struct packllm_pack *pack, const char *text,
                        const struct result *r) {
    double fixed[MEMBERS];
    struct packllm_session *session = NULL;
    struct packllm_score score;
    struct packllm_score_params p = {.context_bytes = PROMPT};
    struct packllm_session_params params = packllm_session_params_default();
    for (size_t i = 0; i < r->weights.n_members; i++) {
        fixed[i] = r->member[i].weight;
    }
    params.space = PACKLLM_SPACE_BYTES;
    params.weigher = PACKLLM_WEIGH_FIXED;
    params.fixed = fixed;
    CHECK_CASE(seed,
               packllm_session_open(&session, pack, &params, &err) == PACKLLM_OK &&
                   packllm_session_score(session, text, PROMPT + NEXT, &p, &score, &err) ==
                       PACKLLM_OK,
               "%s", err.message);
    packllm_session_close(session);
    return score.bits_per_byte;
}

static void check_told(uint64_t seed, const struct result *r) {
    size_t dropped = 0;
    double most = 0.0;
    for (size_t i = 0; i < r->weights.n_members; i++) {
        const struct packllm_member_weight *m = &r->member[i];
        dropped += m->dropped;
        most = m->gain_most > most ? m->gain_most : most;
        CHECK_CASE(seed, m->dropped == (m->bytes < PROMPT), "member %zu read %zu", i,
                   (size_t)m->bytes);
        CHECK_CASE(seed, !m->dropped || (m->weight == 0.0 && m->bytes >= 128), "member %zu", i);
        CHECK_CASE(seed, m->gain_likely <= m->gain_most && m->gain_likely >= 0.0, "member %zu", i);
        CHECK_CASE(seed, m->dropped || m->gain_most == 0.0, "member %zu", i);
        CHECK_CASE(seed, isfinite(m->bits_per_byte_model) && m->bits_per_byte_model > 0.0,
                   "member %zu", i);
    }
    CHECK_CASE(seed, dropped == r->weights.dropped && most == r->weights.gain_most, "%zu of %zu",
               dropped, r->weights.dropped);
    CHECK_CASE(seed, r->weights.gap <= 1e-9, "gap %g", r->weights.gap);
}

static void case_of(uint64_t seed, enum packllm_space space, enum packllm_pool pool) {
    static char text[PROMPT + NEXT];
    struct field fields[MEMBERS];
    struct packllm_session_params p = packllm_session_params_default();
    p.space = space;
    p.pool = pool;
    set_members(seed, fields, MEMBERS);
    write_text(seed, text, sizeof text);
    struct packllm_pack *pack = open_pack(fields, MEMBERS);
    struct result drop = weigh(seed, pack, text, PROMPT, p);
    struct result again = weigh(seed, pack, text, PROMPT, p);
    p.drop = PACKLLM_DROP_OFF;
    struct result full = weigh(seed, pack, text, PROMPT, p);
    check_told(seed, &drop);
    CHECK_CASE(seed, full.weights.dropped == 0, "%zu dropped", full.weights.dropped);
    CHECK_CASE(seed, drop.weights.dropped >= MEMBERS / 2, "%zu dropped", drop.weights.dropped);
    for (size_t i = 0; i < MEMBERS; i++) {
        CHECK_CASE(seed, drop.member[i].weight == again.member[i].weight, "member %zu: %a, %a", i,
                   drop.member[i].weight, again.member[i].weight);
        CHECK_CASE(seed, !drop.member[i].dropped || full.member[i].weight <= 0.02,
                   "member %zu has weight %g and was dropped after %zu bytes", i,
                   full.member[i].weight, (size_t)drop.member[i].bytes);
    }
    CHECK_CASE(seed, fabs(drop.weights.bits_per_byte - full.weights.bits_per_byte) <= 0.002,
               "objective %g, %g in full", drop.weights.bits_per_byte, full.weights.bits_per_byte);
    double a = next_loss(seed, pack, text, &drop), b = next_loss(seed, pack, text, &full);
    CHECK_CASE(seed, fabs(a - b) <= 0.002 * b, "next bytes %g, %g in full", a, b);
    packllm_pack_close(pack);
}

static void within_tolerance_in_bytes(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= CASES; seed++) {
        case_of(seed, PACKLLM_SPACE_BYTES, seed % 4 == 0 ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG);
    }
}

static void within_tolerance_in_tokens(void **state) {
    (void)state;
    for (uint64_t seed = 101; seed < 101 + CASES; seed++) {
        case_of(seed, PACKLLM_SPACE_TOKENS, seed % 4 == 0 ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG);
    }
}

static void others_read_everything(void **state) {
    (void)state;
    static char text[PROMPT];
    static const enum packllm_weigher weighers[] = {PACKLLM_WEIGH_SIM, PACKLLM_WEIGH_UNIFORM,
                                                    PACKLLM_WEIGH_TOP1, PACKLLM_WEIGH_FREE};
    struct field fields[MEMBERS];
    struct packllm_session_params p = packllm_session_params_default();
    set_members(5, fields, MEMBERS);
    write_text(5, text, sizeof text);
    struct packllm_pack *pack = open_pack(fields, 20), *small = open_pack(fields, 15);
    assert_true(weigh(5, pack, text, PROMPT, p).weights.dropped > 0);
    assert_int_equal(weigh(5, pack, text, 500, p).weights.dropped, 0);
    assert_int_equal(weigh(5, small, text, PROMPT, p).weights.dropped, 0);
    for (size_t k = 0; k < sizeof weighers / sizeof *weighers; k++) {
        p.weigher = weighers[k];
        assert_int_equal(weigh(5, pack, text, PROMPT, p).weights.dropped, 0);
    }
    packllm_pack_close(pack);
    packllm_pack_close(small);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(within_tolerance_in_bytes),
        cmocka_unit_test(within_tolerance_in_tokens),
        cmocka_unit_test(others_read_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
