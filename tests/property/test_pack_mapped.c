/* test_pack_mapped.c - token space of members with different vocabularies, on packs of fake members.
 * Goals: a vocabulary that differs by its numbers alone gives what the plain token space gives; the order
 * of the members does not matter; what is written is by hand the mapped row's likeliest token, whichever
 * way the members are fed; what a text is given does not depend on what follows; wrong use is refused. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "fake.h"
#include "packllm/packllm.h"

#include "check.h"

enum { TEXT = 60, MOST = 4 * TEXT + 200, TOKENS = 700, MEMBERS = 3 };

static struct packllm_error err;

static struct packllm_session_params mapped_params(enum packllm_feed feed, int32_t reference) {
    struct packllm_session_params p = packllm_session_params_default();
    p.space = PACKLLM_SPACE_TOKENS;
    p.feed = feed;
    p.reference = reference;
    p.shrink = 0;
    return p;
}

static struct packllm_session *open_session(uint64_t seed, struct packllm_pack *pack,
                                            const struct packllm_session_params *p) {
    struct packllm_session *session = NULL;
    CHECK_CASE(seed, packllm_session_open(&session, pack, p, &err) == PACKLLM_OK, "%s",
               err.message);
    return session;
}

static struct packllm_pack *open_pack(uint64_t seed, const struct packllm_own_member *own,
                                      size_t n) {
    struct packllm_pack *pack = NULL;
    CHECK_CASE(seed, packllm_pack_open_own(&pack, own, n, NULL, &err) == PACKLLM_OK, "%s",
               err.message);
    return pack;
}

/* ---- a member with its tokens in another order ---- */

struct turned {
    struct fake *fake;
    uint32_t n;
    struct packllm_own_token token[TOKENS];
};

static long turned_tokenize(void *data, const char *text, size_t size, int32_t *out, size_t cap) {
    const struct turned *t = data;
    long n = fake_tokenize(t->fake, text, size, out, cap);
    for (long i = 0; i < n; i++) {
        out[i] = (int32_t)t->n - 1 - out[i];
    }
    return n;
}

static int turned_logits(void *data, const int32_t *history, size_t n, float *out) {
    const struct turned *t = data;
    int32_t back[1024];
    float logits[TOKENS];
    for (size_t i = 0; i < n; i++) {
        back[i] = (int32_t)t->n - 1 - history[i];
    }
    fake_logits(t->fake, back, n, logits);
    for (uint32_t i = 0; i < t->n; i++) {
        out[i] = logits[t->n - 1 - i];
    }
    return 0;
}

static struct packllm_own_member turn(struct turned *t, struct fake *fake, const char *name) {
    struct packllm_own_member m = fake_member(fake, name);
    t->fake = fake;
    t->n = fake_size(fake);
    for (uint32_t i = 0; i < t->n; i++) {
        t->token[i] = m.tokens[t->n - 1 - i];
    }
    m.tokens = t->token;
    m.start = m.start >= 0 ? (int32_t)t->n - 1 - m.start : -1;
    m.tokenize = turned_tokenize;
    m.logits = turned_logits;
    m.data = t;
    return m;
}

static void test_other_numbers_alone_change_nothing(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + 50; seed++) {
        static struct turned turned;
        struct fake_params params = fake_params_default();
        char text[MOST];
        uint64_t rng = seed * 31 + 7;
        struct fake *fakes[2];
        for (uint64_t i = 0; i < 2; i++) {
            params.seed = seed * 2 + i;
            fakes[i] = fake_open(FAKE_NESTED, &params);
        }
        struct packllm_own_member plain[] = {fake_member(fakes[0], "a"),
                                             fake_member(fakes[1], "b")};
        struct packllm_own_member other[] = {plain[0], turn(&turned, fakes[1], "b")};
        struct packllm_pack *packs[] = {open_pack(seed, plain, 2), open_pack(seed, other, 2)};
        size_t size = fake_text(&rng, text, TEXT, false);
        for (size_t i = 0; i < size; i++) {
            /* Inside a character a member that is fed the text reads up to its beginning. */
            text[i] = (char)((text[i] & 0x80) != 0 ? 'e' : text[i]);
        }
        /* No token has a byte behind this one: a text that ends inside a token goes on otherwise over
         * a map. */
        text[size - 1] = 'd';
        struct packllm_weights w[3];
        double weight[3], model[3], scores[3];
        char written[3][MOST] = {{0}};
        for (int k = 0; k < 3; k++) {
            struct packllm_session_params p =
                mapped_params(k == 2 ? PACKLLM_FEED_TRANSLATED : PACKLLM_FEED_TEXT, 0);
            struct packllm_score_params q = {.context_bytes = 0};
            struct packllm_score score;
            struct packllm_piece piece;
            p.sampling.seed = seed;
            p.max_tokens = 12;
            p.display = 0;
            struct packllm_session *s = open_session(seed, packs[k > 0], &p);
            CHECK_CASE(seed, packllm_session_score(s, text, size, &q, &score, &err) == PACKLLM_OK,
                       "%s", err.message);
            CHECK_CASE(seed, packllm_session_prompt(s, text, size, &err) == PACKLLM_OK, "%s",
                       err.message);
            assert_int_equal(packllm_session_weights(s, &w[k]), PACKLLM_OK);
            weight[k] = w[k].members[1].weight;
            model[k] = w[k].members[1].bits_per_byte_model;
            scores[k] = score.bits_per_byte;
            enum packllm_status status;
            while ((status = packllm_session_step(s, &piece, &err)) == PACKLLM_PIECE) {
                strncat(written[k], piece.text, piece.size);
            }
            CHECK_CASE(seed, status == PACKLLM_FINISHED, "%s", err.message);
            CHECK_CASE(seed, w[k].reference == (k == 0 ? -1 : 0), "reference %d", w[k].reference);
            packllm_session_close(s);
        }
        for (int k = 1; k < 3; k++) {
            CHECK_CASE(seed,
                       fabs(weight[k] - weight[0]) <= 1e-12 && fabs(model[k] - model[0]) <= 1e-12 &&
                           fabs(scores[k] - scores[0]) <= 1e-12 &&
                           fabs(w[k].objective - w[0].objective) <= 1e-12,
                       "way %d: weight %.15g %.15g, model %.15g %.15g, score %.15g %.15g", k,
                       weight[k], weight[0], model[k], model[0], scores[k], scores[0]);
            /* Where a choice is not canonical, a member that is fed the text reads other tokens. */
            CHECK_CASE(seed, k == 1 || strcmp(written[k], written[0]) == 0, "'%s' and '%s'",
                       written[k], written[0]);
        }
        for (int i = 0; i < 2; i++) {
            packllm_pack_close(packs[i]);
            fake_close(fakes[i]);
        }
    }
}

/* ---- packs of unlike vocabularies ---- */

struct world {
    struct fake *fakes[MEMBERS];
    struct packllm_own_member own[MEMBERS];
};

static void world_open(struct world *w, uint64_t seed) {
    static const enum fake_vocabulary kinds[] = {FAKE_BYTES, FAKE_NESTED, FAKE_UTF8, FAKE_LACKING};
    static const char *const names[MEMBERS] = {"a", "b", "c"};
    for (uint64_t i = 0; i < MEMBERS; i++) {
        struct fake_params params = fake_params_default();
        params.seed = seed * MEMBERS + i;
        params.end_bias = -8;
        w->fakes[i] = fake_open(kinds[(seed + i) % 4], &params);
        w->own[i] = fake_member(w->fakes[i], names[i]);
    }
}

static void world_close(struct world *w) {
    for (size_t i = 0; i < MEMBERS; i++) {
        fake_close(w->fakes[i]);
    }
}

static void test_the_order_of_members_does_not_matter(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + 20; seed++) {
        struct world w;
        char text[MOST];
        uint64_t rng = seed;
        world_open(&w, seed);
        size_t size = fake_text(&rng, text, TEXT, true);
        for (int way = 0; way < 8; way++) {
            double weight[2][MEMBERS], objective[2];
            int32_t reference[2];
            for (int turned = 0; turned < 2; turned++) {
                struct packllm_own_member own[MEMBERS];
                struct packllm_session_params p = mapped_params(
                    way % 2 == 0 ? PACKLLM_FEED_TEXT : PACKLLM_FEED_TRANSLATED, way < 4 ? -1 : 1);
                struct packllm_weights told;
                p.mass = way / 2 % 2 == 0 ? PACKLLM_MASS_SPLIT : PACKLLM_MASS_PAPER;
                for (int i = 0; i < MEMBERS; i++) {
                    own[i] = w.own[turned ? MEMBERS - 1 - i : i];
                }
                struct packllm_pack *pack = open_pack(seed, own, MEMBERS);
                struct packllm_session *s = open_session(seed, pack, &p);
                CHECK_CASE(seed, packllm_session_weigh(s, text, size, &err) == PACKLLM_OK, "%s",
                           err.message);
                assert_int_equal(packllm_session_weights(s, &told), PACKLLM_OK);
                objective[turned] = told.objective;
                reference[turned] = turned ? MEMBERS - 1 - told.reference : told.reference;
                for (int i = 0; i < MEMBERS; i++) {
                    weight[turned][i] = told.members[turned ? MEMBERS - 1 - i : i].weight;
                    CHECK_CASE(seed, told.members[i].tokens > 0, "no tokens");
                }
                packllm_session_close(s);
                packllm_pack_close(pack);
            }
            CHECK_CASE(seed, reference[0] == reference[1], "references %d, %d", reference[0],
                       reference[1]);
            CHECK_CASE(seed, memcmp(weight[0], weight[1], sizeof weight[0]) == 0,
                       "way %d: %.17g %.17g %.17g, turned %.17g %.17g %.17g", way, weight[0][0],
                       weight[0][1], weight[0][2], weight[1][0], weight[1][1], weight[1][2]);
            CHECK_CASE(seed, objective[0] == objective[1], "%.17g, turned %.17g", objective[0],
                       objective[1]);
        }
        world_close(&w);
    }
}

/* ---- what is written, by hand ---- */

static bool is_text(const struct packllm_own_member *m, size_t id) {
    return !m->tokens[id].end && !m->tokens[id].control;
}

/* The lowest id of the member's text with these bytes. */
static int32_t equal(const struct packllm_own_member *m, const struct packllm_own_token *t) {
    for (size_t id = 0; id < m->n_tokens; id++) {
        if (is_text(m, id) && m->tokens[id].size == t->size &&
            memcmp(m->tokens[id].bytes, t->bytes, t->size) == 0) {
            return (int32_t)id;
        }
    }
    return -1;
}

/* The reference's likeliest token by an exact map of the member's row; -1: END. */
static int32_t likeliest(const struct packllm_own_member *reference, const struct fake *fake,
                         const struct packllm_own_member *member, const int32_t *history, size_t n,
                         const struct utf8_state *utf8) {
    float logits[TOKENS];
    double best = -HUGE_VAL;
    int32_t found = -2;
    fake_logits(fake, history, n, logits);
    if (utf8->need == 0) {
        best = (double)logits[fake_end(fake)];
        found = -1;
    }
    for (size_t id = 0; id < reference->n_tokens; id++) {
        const struct packllm_own_token *t = &reference->tokens[id];
        int32_t to = is_text(reference, id) ? equal(member, t) : -1;
        struct utf8_state after = *utf8;
        bool fits = true;
        for (size_t b = 0; b < t->size && fits; b++) {
            fits = utf8_step(&after, (uint8_t)t->bytes[b]);
        }
        if (to >= 0 && fits && (double)logits[to] > best) {
            best = (double)logits[to];
            found = (int32_t)id;
        }
    }
    return found;
}

struct hand {
    int32_t fed[MOST];
    size_t n_fed, n_text;
    char text[MOST];
    struct utf8_state utf8;
};

static void hand_add(struct hand *h, const struct packllm_own_member *reference,
                     const struct packllm_own_member *member, int32_t token) {
    const struct packllm_own_token *t = &reference->tokens[token];
    int32_t to = equal(member, t);
    if (to >= 0) {
        h->fed[h->n_fed++] = to;
    }
    memcpy(h->text + h->n_text, t->bytes, t->size);
    h->n_text += t->size;
    for (size_t b = 0; b < t->size; b++) {
        (void)utf8_step(&h->utf8, (uint8_t)t->bytes[b]);
    }
}

static void test_what_is_written_is_the_mapped_rows_likeliest(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + 40; seed++) {
        struct world w;
        char text[MOST];
        static struct hand h;
        int32_t tokens[MOST];
        uint64_t rng = seed;
        world_open(&w, seed);
        size_t size = fake_text(&rng, text, TEXT, true);
        struct packllm_pack *pack = open_pack(seed, w.own, 2);
        for (int feed = PACKLLM_FEED_TEXT; feed <= PACKLLM_FEED_TRANSLATED; feed++) {
            struct packllm_session_params p = mapped_params((enum packllm_feed)feed, 0);
            p.align = PACKLLM_ALIGN_EXACT;
            p.weigher = PACKLLM_WEIGH_FIXED;
            p.fixed = (const double[]){0, 1};
            p.sampling.temp = 0;
            p.max_tokens = 25;
            struct packllm_session *s = open_session(seed, pack, &p);
            struct packllm_piece piece;
            enum packllm_status status = PACKLLM_PIECE;
            CHECK_CASE(seed, packllm_session_prompt(s, text, size, &err) == PACKLLM_OK, "%s",
                       err.message);
            h = (struct hand){.fed = {w.own[1].start}, .n_fed = 1};
            long n = fake_tokenize(w.fakes[0], text, size, tokens, MOST);
            for (long k = 0; k < n; k++) {
                hand_add(&h, &w.own[0], &w.own[1], tokens[k]);
            }
            for (int step = 0; step < 25 && status == PACKLLM_PIECE; step++) {
                if (feed == PACKLLM_FEED_TEXT) {
                    size_t whole = h.n_text;
                    while (whole > 0 && h.utf8.need > 0 &&
                           ((uint8_t)h.text[--whole] & 0xc0) == 0x80) {
                    }
                    long m = fake_tokenize(w.fakes[1], h.text, whole, h.fed + 1, MOST - 1);
                    if (m < 0) {
                        break; /* it reads around what it cannot spell: other tests */
                    }
                    h.n_fed = 1 + (size_t)m;
                }
                int32_t want = likeliest(&w.own[0], w.fakes[1], &w.own[1], h.fed, h.n_fed, &h.utf8);
                status = packllm_session_step(s, &piece, &err);
                CHECK_CASE(seed, status >= 0, "%s", err.message);
                int32_t got = packllm_session_finish(s) == PACKLLM_FINISH_END ? -1 : piece.token;
                CHECK_CASE(seed, got == want, "feed %d step %d: token %d, by hand %d", feed, step,
                           got, want);
                if (want < 0) {
                    break;
                }
                hand_add(&h, &w.own[0], &w.own[1], want);
            }
            packllm_session_close(s);
        }
        packllm_pack_close(pack);
        world_close(&w);
    }
}

static void test_what_follows_changes_nothing_before(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + 20; seed++) {
        struct world w;
        char text[MOST];
        uint64_t rng = seed;
        world_open(&w, seed);
        size_t size = fake_text(&rng, text, TEXT, true);
        struct packllm_pack *pack = open_pack(seed, w.own, MEMBERS);
        for (int feed = PACKLLM_FEED_TEXT; feed <= PACKLLM_FEED_TRANSLATED; feed++) {
            struct packllm_session_params p = mapped_params((enum packllm_feed)feed, -1);
            struct packllm_session *s = open_session(seed, pack, &p);
            struct packllm_score_params q = {.context_bytes = size};
            struct packllm_score score;
            double weight[2][MEMBERS];
            int32_t reference[2];
            for (int k = 0; k < 2; k++) {
                /* Behind ". " no vocabulary has a token that reaches back. */
                char more[MOST + 64];
                int n = snprintf(more, sizeof more, "%.*s. ", (int)size, text);
                q.context_bytes = (size_t)n;
                n += snprintf(more + n, sizeof more - (size_t)n, "%s",
                              k == 0 ? "thing abcd" : "in the an er");
                CHECK_CASE(
                    seed, packllm_session_score(s, more, (size_t)n, &q, &score, &err) == PACKLLM_OK,
                    "%s", err.message);
                reference[k] = score.reference;
                for (int i = 0; i < MEMBERS; i++) {
                    weight[k][i] = score.members[i].weight;
                }
            }
            CHECK_CASE(seed, reference[0] == reference[1], "%d, %d", reference[0], reference[1]);
            for (int i = 0; i < MEMBERS; i++) {
                CHECK_CASE(seed, fabs(weight[0][i] - weight[1][i]) < 1e-9, "%g, %g", weight[0][i],
                           weight[1][i]);
            }
            packllm_session_close(s);
        }
        packllm_pack_close(pack);
        world_close(&w);
    }
}

static void test_wrong_use_is_refused(void **state) {
    (void)state;
    struct world w;
    struct packllm_session *s = NULL;
    world_open(&w, 1);
    struct packllm_pack *pack = open_pack(1, w.own, MEMBERS);
    struct packllm_session_params good = mapped_params(PACKLLM_FEED_TEXT, 0), p = good;
    p.reference = MEMBERS;
    assert_int_equal(packllm_session_open(&s, pack, &p, &err), PACKLLM_E_ARG);
    p = good;
    p.align = (enum packllm_align)7;
    assert_int_equal(packllm_session_open(&s, pack, &p, &err), PACKLLM_E_ARG);
    p = good;
    p.feed = (enum packllm_feed)2;
    assert_int_equal(packllm_session_open(&s, pack, &p, &err), PACKLLM_E_ARG);
    p = good;
    p.mass = (enum packllm_mass)2;
    assert_int_equal(packllm_session_open(&s, pack, &p, &err), PACKLLM_E_ARG);
    p = good;
    p.display = 1;
    assert_int_equal(packllm_session_open(&s, pack, &p, &err), PACKLLM_E_ARG);
    assert_non_null(strstr(err.message, "reference 'a'"));
    packllm_pack_close(pack);
    world_close(&w);
}

static void test_a_map_without_tokens_is_refused(void **state) {
    (void)state;
    static const struct packllm_own_token letters[] = {{.bytes = "</s>", .size = 4, .end = true},
                                                       {.bytes = "x", .size = 1}};
    struct fake *fake = fake_open(FAKE_LACKING, NULL);
    struct packllm_own_member other = fake_member(fake, "a");
    struct packllm_own_token q[] = {letters[0], {.bytes = "q", .size = 1}};
    struct packllm_own_member own[] = {other, other};
    own[1].name = "queue";
    own[1].tokens = q;
    own[1].n_tokens = 2;
    own[1].start = -1;
    own[1].tokenize = NULL;
    struct packllm_pack *pack = open_pack(0, own, 2);
    struct packllm_session_params p = mapped_params(PACKLLM_FEED_TRANSLATED, 0);
    p.align = PACKLLM_ALIGN_EXACT;
    struct packllm_session *s = open_session(0, pack, &p);
    assert_int_equal(packllm_session_weigh(s, "abc", 3, &err), PACKLLM_E_ARG);
    assert_non_null(strstr(err.message, "no token of the reference 'a'"));
    packllm_session_close(s);
    packllm_pack_close(pack);
    fake_close(fake);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_numbers_alone_change_nothing),
        cmocka_unit_test(test_the_order_of_members_does_not_matter),
        cmocka_unit_test(test_what_is_written_is_the_mapped_rows_likeliest),
        cmocka_unit_test(test_what_follows_changes_nothing_before),
        cmocka_unit_test(test_wrong_use_is_refused),
        cmocka_unit_test(test_a_map_without_tokens_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
