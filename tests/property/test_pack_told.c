/* test_pack_told.c - how likely a pack finds given tokens, from one reading of the text. Goals: they add up
 * to what packllm_session_score finds in the same bytes, and to what packllm_session_options finds in two
 * options behind one context, with weights that run; where each byte is a token they are its score;
 * what stands behind a token changes nothing before it; the likeliest are told beside it; what is written
 * behind the text is what follows the same prompt; what cannot be told so is not begun. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "fake.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CASES = 120, TEXT = 150, ROOM = 4 * TEXT + 8, CONTEXT = 1024 };

static struct packllm_error err;
static double halves[] = {0.5, 0.5}, alone[] = {1.0, 0.0};

struct pair {
    struct fake *fake[2];
    struct packllm_pack *pack;
    struct packllm_session *session;
    double logprob[ROOM];
    size_t n, stop_at;              /* told; to stop at */
    struct packllm_top other[ROOM]; /* the likeliest beside each; logprob NAN: none */
};

static void open_pair(struct pair *p, uint64_t seed, enum fake_vocabulary display, double *fixed) {
    static const enum fake_vocabulary kinds[] = {FAKE_NESTED, FAKE_TWINS, FAKE_UTF8};
    struct packllm_own_member own[2];
    struct packllm_session_params params = packllm_session_params_default();
    for (size_t i = 0; i < 2; i++) {
        struct fake_params fp = fake_params_default();
        fp.seed = 2 * seed + i;
        fp.n_ctx = CONTEXT;
        p->fake[i] = fake_open(i == 0 ? display : kinds[seed % 3], &fp);
        own[i] = fake_member(p->fake[i], i == 0 ? "display" : "other");
    }
    assert_int_equal(packllm_pack_open_own(&p->pack, own, 2, NULL, &err), PACKLLM_OK);
    params.display = 0;
    params.space = PACKLLM_SPACE_BYTES;
    params.weigher = fixed != NULL ? PACKLLM_WEIGH_FIXED : params.weigher;
    params.fixed = fixed;
    params.n_top = 4;
    p->stop_at = SIZE_MAX;
    assert_int_equal(packllm_session_open(&p->session, p->pack, &params, &err), PACKLLM_OK);
}

static void close_pair(struct pair *p) {
    packllm_session_close(p->session);
    packllm_pack_close(p->pack);
    fake_close(p->fake[0]);
    fake_close(p->fake[1]);
}

static bool on_told(void *data, size_t index, const struct packllm_piece *piece) {
    struct pair *p = data;
    const struct packllm_top *top = NULL;
    size_t n = 0;
    assert_int_equal(index, p->n);
    assert_true(piece->logprob <= 0.0 && isfinite(piece->logprob));
    assert_int_equal(packllm_session_top(p->session, &top, &n), PACKLLM_OK);
    p->other[p->n].logprob = (double)NAN;
    for (size_t k = n; k-- > 0;) {
        assert_true(top[k].logprob <= 0.0 && (k == 0 || top[k].logprob <= top[k - 1].logprob));
        if (top[k].token != piece->token) {
            p->other[p->n] = top[k];
        } else {
            assert_true(memcmp(&top[k].logprob, &piece->logprob, sizeof(double)) == 0);
        }
    }
    p->logprob[p->n++] = piece->logprob;
    return p->n < p->stop_at;
}

static enum packllm_status tell(struct pair *p, const int32_t *tokens, size_t n,
                                const double *weights, size_t context) {
    p->n = 0;
    return packllm_session_tell(p->session, tokens, n, weights, context, on_told, p, &err);
}

/* Sum over all tokens, nats. */
static double told(struct pair *p, const char *text, size_t size, const double *weights,
                   size_t *out_n) {
    int32_t tokens[ROOM];
    double sum = 0.0;
    long n = fake_tokenize(p->fake[0], text, size, tokens, ROOM);
    assert_true(n > 0);
    if (tell(p, tokens, (size_t)n, weights, 0) != PACKLLM_OK) {
        print_message("%s\n", err.message);
        fail();
    }
    assert_int_equal(p->n, n);
    for (size_t k = 0; k < p->n; k++) {
        sum += p->logprob[k];
    }
    *out_n = p->n;
    return sum;
}

/* text: room for 4 * TEXT bytes. */
static size_t text_of(uint64_t seed, char *text) {
    return fake_text(&seed, text, TEXT, true);
}

static enum fake_vocabulary kind_of(uint64_t seed) {
    static const enum fake_vocabulary kinds[] = {FAKE_BYTES, FAKE_NESTED, FAKE_UTF8, FAKE_TWINS,
                                                 FAKE_USER};
    return kinds[seed % 5];
}

static void adds_up_to_the_score(void **state) {
    static struct pair p; /* large */
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        char text[4 * TEXT];
        size_t size = text_of(seed, text), n;
        struct packllm_score score;
        open_pair(&p, seed, kind_of(seed), halves);
        double sum = told(&p, text, size, halves, &n);
        assert_int_equal(packllm_session_score(p.session, text, size, NULL, &score, &err),
                         PACKLLM_OK);
        double bits = -score.bits_per_byte * (double)size;
        CHECK_CASE(seed, fabs(sum - bits * log(2.0)) < 1e-3, "%g nats, score has %g", sum,
                   bits * log(2.0));
        close_pair(&p);
    }
}

/* The same beginning, two ways to go on; the first may be begun by a token of either. */
static void adds_up_to_the_options(void **state) {
    static struct pair p;
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        static const char *const ways[] = {" the cat sat on a mat", " we went in again and again"};
        char text[4 * TEXT + 64];
        size_t size = text_of(seed, text), n = 0;
        struct packllm_method method = packllm_method_default();
        struct packllm_options_params params = {.running = true, .fresh = true};
        struct packllm_option options[2];
        struct packllm_options found;
        double sum[2];
        open_pair(&p, seed, kind_of(seed), NULL);
        for (size_t o = 0; o < 2; o++) {
            options[o] = (struct packllm_option){.text = ways[o], .size = strlen(ways[o])};
            memcpy(text + size, ways[o], options[o].size);
            sum[o] = told(&p, text, size + options[o].size, NULL, &n);
        }
        assert_int_equal(packllm_session_options(p.session, text, size, options, 2, &method, 1,
                                                 &params, &found, &err),
                         PACKLLM_OK);
        CHECK_CASE(seed, fabs(sum[1] - sum[0] - (found.nll[0] - found.nll[1])) < 1e-3,
                   "%g nats apart, the options %g", sum[1] - sum[0], found.nll[0] - found.nll[1]);
        packllm_options_done(&found);
        close_pair(&p);
    }
}

static void keep_byte(void *data, size_t offset, double log2_pack, const double *log2_members,
                      double parked) {
    double *log_p = data;
    (void)log2_members;
    (void)parked;
    log_p[offset] = log2_pack * log(2.0);
}

static void is_the_score_of_each_byte(void **state) {
    static struct pair p;
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES / 4; seed++) {
        char text[4 * TEXT];
        double log_p[4 * TEXT];
        size_t size = text_of(seed, text), n;
        struct packllm_score_params params = packllm_score_params_default();
        struct packllm_score score;
        params.per_byte = keep_byte;
        params.per_byte_data = log_p;
        open_pair(&p, seed, FAKE_BYTES, halves);
        (void)told(&p, text, size, halves, &n);
        assert_int_equal(n, size);
        assert_int_equal(packllm_session_score(p.session, text, size, &params, &score, &err),
                         PACKLLM_OK);
        for (size_t k = 0; k < n; k++) {
            CHECK_CASE(seed, fabs(log_p[k] - p.logprob[k]) < 1e-5, "byte %zu: %g, score has %g", k,
                       p.logprob[k], log_p[k]);
        }
        close_pair(&p);
    }
}

/* Where a token is one byte, its number and the others' are log pi, but for the normaliser. */
static void others_are_log_pi_of_bytes(void **state) {
    static struct pair p;
    size_t compared = 0;
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES / 4; seed++) {
        char text[4 * TEXT];
        int32_t tokens[ROOM];
        size_t size = text_of(seed, text), n;
        open_pair(&p, seed, FAKE_BYTES, halves);
        (void)told(&p, text, size, halves, &n);
        (void)fake_tokenize(p.fake[0], text, size, tokens, ROOM);
        assert_int_equal(packllm_session_begin(p.session, halves, 2, &err), PACKLLM_OK);
        for (size_t k = 0; k < n; k++) {
            struct packllm_piece piece;
            const struct packllm_top *top = NULL;
            size_t n_top = 0;
            assert_int_equal(packllm_session_force(p.session, tokens[k], &piece, &err), PACKLLM_OK);
            assert_int_equal(packllm_session_top(p.session, &top, &n_top), PACKLLM_OK);
            for (size_t i = 0; i < n_top && !isnan(p.other[k].logprob); i++) {
                double apart = p.other[k].logprob - p.logprob[k];
                bool same = top[i].token == p.other[k].token;
                compared += same;
                /* The other member's ends are opened a little earlier there. */
                CHECK_CASE(seed, !same || fabs(apart - (top[i].logprob - piece.logprob)) < 0.02,
                           "token %zu: %g nats apart, force %g", k, apart,
                           top[i].logprob - piece.logprob);
            }
        }
        close_pair(&p);
    }
    assert_true(compared > CASES);
}

static void is_causal(void **state) {
    static struct pair p, q;
    size_t compared = 0;
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES / 4; seed++) {
        char text[4 * TEXT];
        int32_t tokens[ROOM];
        size_t size = text_of(seed, text), n;
        open_pair(&p, seed, kind_of(seed), NULL);
        open_pair(&q, seed, kind_of(seed), NULL);
        (void)told(&p, text, size, NULL, &n);
        (void)fake_tokenize(p.fake[0], text, size, tokens, ROOM);
        size_t part = n / 2;
        if (tell(&q, tokens, part, NULL, 0) == PACKLLM_E_UNSUPPORTED) { /* inside a character */
            part = 0;
        }
        compared += part;
        bool open = part == 0 || !(q.logprob[part - 1] < 0.0); /* it may make up for others */
        for (size_t k = 0; k + 1 < part; k++) {
            CHECK_CASE(seed, open || fabs(p.logprob[k] - q.logprob[k]) < 1e-6,
                       "token %zu of %zu: %g and %g", k, part, p.logprob[k], q.logprob[k]);
        }
        close_pair(&p);
        close_pair(&q);
    }
    assert_true(compared > CASES);
}

/* What is written behind the text is what is written behind it as a prompt. */
static void steps_follow(void **state) {
    static struct pair p, q;
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES / 4; seed++) {
        char text[4 * TEXT + 1];
        struct packllm_piece a, b;
        size_t size = text_of(seed, text), n;
        text[size++] = 'Q'; /* no token goes on with it: a prompt may end inside one */
        open_pair(&p, seed, kind_of(seed), halves);
        open_pair(&q, seed, kind_of(seed), halves);
        (void)told(&p, text, size, halves, &n);
        assert_int_equal(packllm_session_prompt(q.session, text, size, &err), PACKLLM_OK);
        for (size_t k = 0; k < 4; k++) {
            enum packllm_status one = packllm_session_step(p.session, &a, &err);
            enum packllm_status two = packllm_session_step(q.session, &b, &err);
            CHECK_CASE(seed, one == two && (one != PACKLLM_PIECE || a.token == b.token),
                       "step %zu: %d, token %d, and %d, token %d", k, (int)one, (int)a.token,
                       (int)two, (int)b.token);
            if (one != PACKLLM_PIECE) {
                break;
            }
        }
        close_pair(&p);
        close_pair(&q);
    }
}

static void what_is_not_told(void **state) {
    static struct pair p;
    struct packllm_weights found;
    int32_t tokens[ROOM];
    (void)state;
    open_pair(&p, 1, FAKE_BYTES, NULL);
    long n = fake_tokenize(p.fake[0], "ab\xc3\xa9", 4, tokens, ROOM);
    assert_int_equal(n, 4);
    assert_int_equal(tell(&p, tokens, 4, alone, 0), PACKLLM_E_UNSUPPORTED);
    assert_int_equal(tell(&p, tokens, 3, halves, 0), PACKLLM_E_UNSUPPORTED);
    assert_int_equal(p.n, 0);
    /* Weights from a context are those of the context as a prompt. */
    assert_int_equal(tell(&p, tokens, 4, NULL, 2), PACKLLM_OK);
    assert_int_equal(packllm_session_weights(p.session, &found), PACKLLM_OK);
    double weight = found.members[0].weight;
    assert_int_equal(packllm_session_weigh(p.session, "ab", 2, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_weights(p.session, &found), PACKLLM_OK);
    assert_true(fabs(found.members[0].weight - weight) < 1e-9);
    p.stop_at = 2;
    assert_int_equal(tell(&p, tokens, 4, NULL, 0), PACKLLM_E_CANCELLED);
    assert_int_equal(p.n, 2);
    tokens[1] = -1;
    assert_int_equal(tell(&p, tokens, 4, NULL, 0), PACKLLM_E_TEXT);
    tokens[1] = tokens[2]; /* the first half of a character, twice */
    assert_int_equal(tell(&p, tokens, 4, NULL, 0), PACKLLM_E_TEXT);
    close_pair(&p);
    open_pair(&p, 1, FAKE_NESTED, NULL);
    n = fake_tokenize(p.fake[0], "th", 2, tokens, ROOM);
    assert_int_equal(n, 1); /* its own, so these are not: */
    (void)fake_tokenize(p.fake[0], "t", 1, tokens, ROOM);
    (void)fake_tokenize(p.fake[0], "h", 1, tokens + 1, ROOM);
    assert_int_equal(tell(&p, tokens, 2, NULL, 0), PACKLLM_E_UNSUPPORTED);
    close_pair(&p);
}

/* More members than stay open side by side: who goes on would not stand behind the text. */
static void not_of_many(void **state) {
    enum { MANY = 13 };
    struct fake *fakes[MANY];
    struct packllm_own_member own[MANY];
    static const char *const names[MANY] = {"a", "b", "c", "d", "e", "f", "g",
                                            "h", "i", "j", "k", "l", "m"};
    struct packllm_pack *pack = NULL;
    struct packllm_session *session = NULL;
    struct packllm_session_params params = packllm_session_params_default();
    double weights[MANY] = {0.5, 0.5};
    int32_t tokens[ROOM];
    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        struct fake_params p = fake_params_default();
        p.seed = i;
        fakes[i] = fake_open(i == 0 ? FAKE_BYTES : FAKE_NESTED, &p);
        own[i] = fake_member(fakes[i], names[i]);
    }
    params.display = 0;
    assert_int_equal(packllm_pack_open_own(&pack, own, MANY, NULL, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_open(&session, pack, &params, &err), PACKLLM_OK);
    size_t n = (size_t)fake_tokenize(fakes[0], "the end", 7, tokens, ROOM);
    assert_int_equal(packllm_session_tell(session, tokens, n, NULL, 0, NULL, NULL, &err),
                     PACKLLM_E_UNSUPPORTED);
    assert_int_equal(packllm_session_tell(session, tokens, n, weights, 0, NULL, NULL, &err),
                     PACKLLM_OK);
    packllm_session_close(session);
    packllm_pack_close(pack);
    for (size_t i = 0; i < MANY; i++) {
        fake_close(fakes[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds_up_to_the_score),
        cmocka_unit_test(adds_up_to_the_options),
        cmocka_unit_test(is_the_score_of_each_byte),
        cmocka_unit_test(others_are_log_pi_of_bytes),
        cmocka_unit_test(is_causal),
        cmocka_unit_test(steps_follow),
        cmocka_unit_test(what_is_not_told),
        cmocka_unit_test(not_of_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
