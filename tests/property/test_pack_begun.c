/* test_pack_begun.c - prompts that end inside a token of the display member. Goals: log pi of the first
 * token is that of brute force over the canonical tokenisations of all texts that begin with the prompt
 * (fakes with awkward vocabularies, epsilon small); only what the prompt lacks of the token is written;
 * the member then stands behind the tokens that its tokenizer would give; in a pack each token is
 * corrected by the bytes that it writes; members that share a vocabulary do the same, and evaluate no ends
 * far from the prompt's; under a grammar it is the likeliest token that the grammar allows. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "fake.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CASES = 150, TEXT = 24, ROOM = 64, EVENTS_MOST = 2000, TOP = 64 };

static struct packllm_error err;
static const char *const followers[] = {"", "Q", " ", "\n", "1", "."};

/* One history and the token behind it. */
struct event {
    char rest[16]; /* what it writes */
    size_t size;
    int32_t token;
    double p; /* of the whole history */
};

struct truth {
    struct event event[EVENTS_MOST];
    size_t n;
    double sum, ended,
        end; /* of all; of the prompt's own tokens and anything; of END behind them */
};

/* log of the mass of tokens with the bytes of `token`; *end: END's mass. */
static double log_mass(const struct fake *fake, const struct packllm_own_member *own,
                       const int32_t *history, size_t n, int32_t token, double *end) {
    static float logits[1024];
    double z = 0.0, mass = 0.0;
    assert_true(own->n_tokens <= 1024);
    fake_logits(fake, history, n, logits);
    *end = 0.0;
    for (size_t t = 0; t < own->n_tokens; t++) {
        const struct packllm_own_token *told = &own->tokens[t];
        double p = told->control ? 0.0 : exp((double)logits[t]);
        bool same = token >= 0 && !told->end && told->size == own->tokens[token].size &&
                    memcmp(told->bytes, own->tokens[token].bytes, told->size) == 0;
        z += p;
        mass += same ? p : 0.0;
        *end += told->end ? p : 0.0;
    }
    *end /= z;
    return log(mass / z);
}

static bool same_bytes(const struct packllm_own_member *own, int32_t a, int32_t b) {
    return own->tokens[a].size == own->tokens[b].size &&
           memcmp(own->tokens[a].bytes, own->tokens[b].bytes, own->tokens[a].size) == 0;
}

/* The history of prompt + rest[size], if it is canonical before something and ends in the token. */
static long history_of(const struct fake *fake, const struct packllm_own_member *own,
                       const char *prompt, size_t n_prompt, const char *rest, size_t size,
                       int32_t token, int32_t *out) {
    char text[2 * TEXT + 32];
    for (size_t f = 0; f < sizeof followers / sizeof *followers; f++) {
        size_t all = n_prompt + size, more = strlen(followers[f]), at = 0;
        memcpy(text, prompt, n_prompt);
        memcpy(text + n_prompt, rest, size);
        memcpy(text + all, followers[f], more);
        out[0] = own->start;
        long n = fake_tokenize(fake, text, all + more, out + 1, ROOM - 1);
        for (long k = 1; k <= n && at < all; k++) {
            at += own->tokens[out[k]].size;
            if (at == all && same_bytes(own, out[k], token)) {
                return k + 1;
            }
        }
        char last = text[all - 1];
        if (last != ' ' && last != '\n') {
            break; /* what follows does not matter, see canon.c */
        }
    }
    return -1;
}

/* P(history, token) for all tokens that go on from inside the prompt or behind it. */
static void brute_force(const struct fake *fake, const struct packllm_own_member *own,
                        const char *prompt, size_t n_prompt, struct truth *t) {
    int32_t history[ROOM];
    double end = 0.0, none;
    *t = (struct truth){0};
    for (int32_t v = 0; v < (int32_t)own->n_tokens; v++) {
        const struct packllm_own_token *told = &own->tokens[v];
        bool twin = told->control || told->end;
        for (int32_t w = 0; w < v && !twin; w++) {
            twin = !own->tokens[w].control && !own->tokens[w].end && same_bytes(own, v, w);
        }
        for (size_t begun = 0; begun < told->size && begun < n_prompt && !twin; begun++) {
            if (memcmp(prompt + n_prompt - begun, told->bytes, begun) != 0) {
                continue;
            }
            const char *rest = told->bytes + begun;
            size_t size = told->size - begun;
            struct utf8_state state = {0};
            bool fits = true;
            for (size_t k = 0; k < size; k++) {
                fits = fits && utf8_step(&state, (uint8_t)rest[k]);
            }
            long n = !fits ? -1 : history_of(fake, own, prompt, n_prompt, rest, size, v, history);
            if (n < 0) {
                continue;
            }
            double log_p = 0.0;
            for (long k = 1; k < n; k++) {
                log_p += log_mass(fake, own, history, (size_t)k, history[k], &none);
            }
            assert_true(t->n < EVENTS_MOST && size <= sizeof t->event->rest);
            struct event *e = &t->event[t->n++];
            *e = (struct event){.size = size, .token = v, .p = exp(log_p)};
            memcpy(e->rest, rest, size);
            t->sum += e->p;
            t->ended += begun == 0 ? e->p : 0.0;
        }
    }
    history[0] = own->start;
    long n = fake_tokenize(fake, prompt, n_prompt, history + 1, ROOM - 1);
    double log_p = 0.0;
    for (long k = 1; k <= n; k++) {
        log_p += log_mass(fake, own, history, (size_t)k, history[k], &none);
    }
    (void)log_mass(fake, own, history, (size_t)n + 1, -1, &end);
    t->end = exp(log_p) * end;
    t->sum += t->end;
    t->ended += t->end;
}

static struct fake *open_fake(uint64_t seed, double scale) {
    static const enum fake_vocabulary kinds[] = {FAKE_NESTED, FAKE_TWINS, FAKE_UTF8};
    struct fake_params p = fake_params_default();
    p.seed = seed;
    p.scale = scale;
    p.n_ctx = 1024;
    return fake_open(kinds[seed % 3], &p);
}

static struct packllm_session *open_session_in(struct packllm_pack *pack, double *weights,
                                               enum packllm_space space) {
    struct packllm_session_params p = packllm_session_params_default();
    struct packllm_session *session = NULL;
    p.epsilon = 1e-9;
    p.space = space;
    p.n_top = TOP;
    p.display = 0;
    p.max_tokens = 2;
    p.sampling.temp = 0;
    if (weights != NULL) {
        p.weigher = PACKLLM_WEIGH_FIXED;
        p.fixed = weights;
    }
    assert_int_equal(packllm_session_open(&session, pack, &p, &err), PACKLLM_OK);
    return session;
}

static struct packllm_session *open_session(struct packllm_pack *pack, double *weights) {
    return open_session_in(pack, weights, PACKLLM_SPACE_BYTES);
}

/* Letters that these vocabularies merge: the end is often inside one of their tokens. */
static size_t prompt_text(uint64_t *rng, char *out) {
    static const char *const pieces[] = {"ab",  " th", "th",           "a", "in", "é",
                                         " an", "er",  "\xe2\x82\xac", "b", " ",  "t"};
    size_t size = 1, least = 4 + rng_next(rng) % 8;
    out[0] = 'b';
    while (size < least) {
        const char *piece = pieces[rng_next(rng) % (sizeof pieces / sizeof *pieces)];
        memcpy(out + size, piece, strlen(piece));
        size += strlen(piece);
    }
    return size;
}

static const struct event *find(const struct truth *t, const struct packllm_own_member *own,
                                int32_t token, size_t begun) {
    for (size_t i = 0; i < t->n; i++) {
        if (same_bytes(own, t->event[i].token, token) &&
            t->event[i].size + begun == own->tokens[token].size) {
            return &t->event[i];
        }
    }
    return NULL;
}

/* The display member has all the weight: a pack of one goes on as its member does. */
static double alone[] = {1.0, 0.0};

static void test_is_brute_force(void **state) {
    static struct truth t; /* large */
    size_t inside = 0, between = 0, missed = 0, compared = 0;
    double worst = 0.0;
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct fake *fake = open_fake(seed, 6.0);
        struct packllm_own_member own = fake_member(fake, "one");
        struct packllm_own_member two[] = {own, fake_member(fake, "other")};
        struct packllm_pack *pack = NULL;
        const struct packllm_top *top = NULL;
        struct packllm_piece piece;
        char prompt[TEXT + 8];
        uint64_t rng = seed;
        size_t size = prompt_text(&rng, prompt), n_top = 0;
        assert_int_equal(packllm_pack_open_own(&pack, two, 2, NULL, &err), PACKLLM_OK);
        struct packllm_session *session = open_session(pack, alone);
        brute_force(fake, &own, prompt, size, &t);
        assert_int_equal(packllm_session_prompt(session, prompt, size, &err), PACKLLM_OK);
        assert_true(packllm_session_step(session, &piece, &err) >= 0);
        assert_int_equal(packllm_session_top(session, &top, &n_top), PACKLLM_OK);
        double ended = t.ended / t.sum;
        bool any = false;
        for (size_t i = 0; i < n_top; i++) {
            any = any || top[i].begun > 0;
        }
        /* The member's share counts what is not canonical, too, and fakes have much of it. */
        missed += any ? ended > 0.6 : ended < 0.4;
        inside += any;
        between += !any;
        bool halves =
            seed % 3 == 2; /* tokens that end inside a character: nobody can ask for them */
        double first = (double)NAN;
        for (size_t i = 0; i < n_top && any; i++) {
            const struct event *e =
                top[i].token >= 0 ? find(&t, &own, top[i].token, top[i].begun) : NULL;
            double p = top[i].token >= 0 ? (e != NULL ? e->p : 0.0) : t.end;
            CHECK_CASE(seed, p > 0.0 || halves, "token %d, %zu begun", (int)top[i].token,
                       top[i].begun);
            if (p <= 0.0) {
                continue;
            }
            double got = 0.0;
            for (size_t k = 0; k < n_top; k++) { /* tokens with equal bytes */
                bool same = top[i].token < 0 || top[k].token < 0
                                ? i == k
                                : top[k].begun == top[i].begun &&
                                      same_bytes(&own, top[k].token, top[i].token);
                got += same ? exp(top[k].logprob) : 0.0;
            }
            /* Of what is no candidate the member's mass counts, canonical or not: exact are ratios. */
            first = isnan(first) ? log(got) - log(p) : first;
            CHECK_CASE(seed, halves || fabs(first + log(t.sum)) < 0.1, "normaliser %g, not %g",
                       exp(-first), t.sum);
            double expected = exp(log(p) + first), off = fabs(got - expected);
            worst = fmax(worst, off);
            compared++;
            CHECK_CASE(seed, off <= 2e-3, "token %d, %zu begun: %g instead of %g",
                       (int)top[i].token, top[i].begun, got, expected);
        }
        packllm_session_close(session);
        packllm_pack_close(pack);
        fake_close(fake);
    }
    print_message("%zu prompts end inside a token, %zu do not, %zu missed; %zu tokens, off by at "
                  "most %g\n",
                  inside, between, missed, compared, worst);
    assert_true(inside >= CASES / 5 && between >= CASES / 5 && missed <= CASES / 8);
}

/* What is written is the rest of the token, and the member goes on behind what its tokenizer makes of
 * all the text, as if it had been given these tokens. */
static void test_goes_on_from_it(void **state) {
    size_t begun = 0;
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct fake *fake = open_fake(seed, 6.0);
        struct packllm_own_member own = fake_member(fake, "one");
        struct packllm_own_member two[] = {own, fake_member(fake, "other")};
        struct packllm_pack *pack = NULL;
        struct packllm_piece piece, next, forced;
        struct packllm_stats stats;
        char text[2 * TEXT];
        int32_t tokens[ROOM];
        uint64_t rng = seed;
        size_t size = prompt_text(&rng, text);
        assert_int_equal(packllm_pack_open_own(&pack, two, 2, NULL, &err), PACKLLM_OK);
        struct packllm_session *session = open_session(pack, alone), *other;
        assert_int_equal(packllm_session_prompt(session, text, size, &err), PACKLLM_OK);
        enum packllm_status status = packllm_session_step(session, &piece, &err);
        const struct packllm_own_token *token =
            status == PACKLLM_PIECE ? &own.tokens[piece.token] : NULL;
        CHECK_CASE(seed, token == NULL || piece.begun + piece.size <= token->size,
                   "%zu and %zu of %zu bytes", piece.begun, piece.size, token->size);
        /* Half a character is held back: then there is no text to compare. */
        if (token != NULL && piece.begun > 0 && piece.begun + piece.size == token->size) {
            begun++;
            assert_memory_equal(piece.text, token->bytes + piece.begun, piece.size);
            assert_memory_equal(text + size - piece.begun, token->bytes, piece.begun);
            memcpy(text + size, piece.text, piece.size);
            size += piece.size;
            long n = fake_tokenize(fake, text, size, tokens, ROOM);
            CHECK_CASE(seed, n > 0 && same_bytes(&own, tokens[n - 1], piece.token), "%.*s",
                       (int)size, text);
            tokens[n - 1] = piece.token; /* of twins the one that was chosen */
            uint64_t calls = fake_calls(fake);
            status = packllm_session_step(session, &next, &err);
            CHECK_CASE(seed, fake_calls(fake) == calls + 1, "%llu rows",
                       (unsigned long long)(fake_calls(fake) - calls));
            assert_int_equal(packllm_session_stats(session, &stats, &err), PACKLLM_OK);
            assert_int_equal(stats.resyncs, 0);
            other = open_session(pack, alone);
            assert_int_equal(packllm_session_begin(other, alone, 2, &err), PACKLLM_OK);
            for (long k = 0; k < n; k++) {
                assert_int_equal(packllm_session_force(other, tokens[k], &forced, &err),
                                 PACKLLM_OK);
            }
            assert_true(packllm_session_step(other, &forced, &err) >= 0);
            CHECK_CASE(seed, forced.token == next.token, "token %d, given %d", (int)next.token,
                       (int)forced.token);
            CHECK_CASE(seed, status != PACKLLM_PIECE || next.begun == 0, "%zu begun", next.begun);
            CHECK_CASE(seed, status != PACKLLM_PIECE || forced.logprob == next.logprob, "%g, %g",
                       next.logprob, forced.logprob);
            packllm_session_close(other);
        }
        packllm_session_close(session);
        packllm_pack_close(pack);
        fake_close(fake);
    }
    assert_true(begun >= CASES / 8);
}

/* Where a grammar says what may be written, the likeliest of what it allows. */
static void test_under_a_grammar(void **state) {
    static struct truth t; /* large */
    static const char letters[] = "thance \n";
    size_t inside = 0;
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct fake *fake = open_fake(seed, 6.0);
        struct packllm_own_member own = fake_member(fake, "one");
        struct packllm_own_member two[] = {own, fake_member(fake, "other")};
        struct packllm_pack *pack = NULL;
        struct packllm_session *session = NULL;
        struct packllm_piece piece;
        struct packllm_session_params p = packllm_session_params_default();
        char prompt[TEXT + 8];
        uint64_t rng = seed;
        size_t size = prompt_text(&rng, prompt);
        assert_int_equal(packllm_pack_open_own(&pack, two, 2, NULL, &err), PACKLLM_OK);
        p.epsilon = 1e-9;
        p.space = seed % 2 == 0 ? PACKLLM_SPACE_BYTES : PACKLLM_SPACE_TOKENS;
        p.display = 0;
        p.max_tokens = 3;
        p.sampling.temp = 0;
        p.weigher = PACKLLM_WEIGH_FIXED;
        p.fixed = alone;
        p.grammar = "root ::= [thance \\n]+";
        assert_int_equal(packllm_session_open(&session, pack, &p, &err), PACKLLM_OK);
        assert_int_equal(packllm_session_prompt(session, prompt, size, &err), PACKLLM_OK);
        enum packllm_status status = packllm_session_step(session, &piece, &err);
        CHECK_CASE(seed, status == PACKLLM_PIECE, "%s", err.message);
        double best = 0.0;
        brute_force(fake, &own, prompt, size, &t);
        for (size_t i = 0; i < t.n; i++) {
            bool fits = true;
            for (size_t k = 0; k < t.event[i].size; k++) {
                fits = fits && memchr(letters, t.event[i].rest[k], sizeof letters - 1) != NULL;
            }
            best = fits ? fmax(best, t.event[i].p) : best;
        }
        if (piece.begun > 0) {
            const struct event *e = find(&t, &own, piece.token, piece.begun);
            inside++;
            CHECK_CASE(seed, e != NULL && e->p >= 0.998 * best, "token %d: %g, the best %g",
                       (int)piece.token, e != NULL ? e->p : 0.0, best);
        }
        while (status == PACKLLM_PIECE) {
            for (size_t k = 0; k < piece.size; k++) {
                CHECK_CASE(seed, memchr(letters, piece.text[k], sizeof letters - 1) != NULL,
                           "wrote '%.*s'", (int)piece.size, piece.text);
            }
            status = packllm_session_step(session, &piece, &err);
        }
        CHECK_CASE(seed, status == PACKLLM_FINISHED, "%s", err.message);
        packllm_session_close(session);
        packllm_pack_close(pack);
        fake_close(fake);
    }
    print_message("%zu texts begin inside a token\n", inside);
    assert_true(inside >= CASES / 10);
}

/* Of a long prompt that was read in tokens only the ends of its last bytes are evaluated. */
static void test_reads_the_tail_alone(void **state) {
    size_t begun = 0;
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct fake *fakes[2] = {open_fake(seed, 6.0), open_fake(seed + 3000, 6.0)};
        struct packllm_own_member own[2] = {fake_member(fakes[0], "first"),
                                            fake_member(fakes[1], "second")};
        double weights[2] = {0.7, 0.3};
        struct packllm_pack *pack = NULL;
        struct packllm_piece piece;
        char text[640];
        uint64_t rng = seed, calls[2];
        size_t size[2] = {0, 0};
        assert_int_equal(packllm_pack_open_own(&pack, own, 2, NULL, &err), PACKLLM_OK);
        for (size_t k = 0; k < 2; k++) { /* the longer one ends as the shorter one does */
            struct packllm_session *session = open_session_in(pack, weights, PACKLLM_SPACE_TOKENS);
            char end[TEXT + 8];
            rng = seed;
            size_t n = prompt_text(&rng, end);
            while (size[k] + n < (k == 0 ? 160U : 600U)) {
                memcpy(text + size[k], "bab in ", 7);
                size[k] += 7;
            }
            memcpy(text + size[k], end, n);
            size[k] += n;
            assert_int_equal(packllm_session_prompt(session, text, size[k], &err), PACKLLM_OK);
            calls[k] = fake_calls(fakes[0]) + fake_calls(fakes[1]);
            assert_true(packllm_session_step(session, &piece, &err) >= 0);
            calls[k] = fake_calls(fakes[0]) + fake_calls(fakes[1]) - calls[k];
            begun += k == 1 && piece.begun > 0;
            packllm_session_close(session);
        }
        CHECK_CASE(seed, calls[1] <= calls[0] + 40, "%llu rows, of the shorter prompt %llu",
                   (unsigned long long)calls[1], (unsigned long long)calls[0]);
        packllm_pack_close(pack);
        fake_close(fakes[0]);
        fake_close(fakes[1]);
    }
    print_message("%zu prompts end inside a token\n", begun);
    assert_true(begun >= CASES / 10);
}

static void next_bytes(struct packllm_pack *pack, double *weights, const char *text, size_t size,
                       double *out) {
    struct packllm_session *session = open_session(pack, weights);
    struct packllm_score_params p = {.context_bytes = 1, .through_generation = true, .next = true};
    struct packllm_score score;
    assert_int_equal(packllm_session_score(session, text, size, &p, &score, &err), PACKLLM_OK);
    for (int e = 0; e < PACKLLM_EVENTS; e++) {
        out[e] = score.next[e];
    }
    packllm_session_close(session);
}

/* Of tokens that write one byte c: log pi in the pack less that alone is log p(c) / q(c), and the two
 * normalisers, which are the same for all. */
static void test_is_corrected(void **state) {
    size_t compared = 0;
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct fake *fakes[2] = {open_fake(seed, 6.0), open_fake(seed + 1000, 6.0)};
        struct packllm_own_member own[2] = {fake_member(fakes[0], "first"),
                                            fake_member(fakes[1], "second")};
        double both[2] = {0.4, 0.6}, first[2] = {1.0, 0.0}, p[PACKLLM_EVENTS], q[PACKLLM_EVENTS];
        struct packllm_pack *pack = NULL;
        const struct packllm_top *top[2];
        size_t n[2] = {0, 0};
        char text[TEXT + 8];
        uint64_t rng = seed;
        size_t size = prompt_text(&rng, text);
        assert_int_equal(packllm_pack_open_own(&pack, own, 2, NULL, &err), PACKLLM_OK);
        struct packllm_session *sessions[2] = {open_session(pack, both), open_session(pack, first)};
        for (size_t k = 0; k < 2; k++) {
            struct packllm_piece piece;
            assert_int_equal(packllm_session_prompt(sessions[k], text, size, &err), PACKLLM_OK);
            assert_true(packllm_session_step(sessions[k], &piece, &err) >= 0);
            assert_int_equal(packllm_session_top(sessions[k], &top[k], &n[k]), PACKLLM_OK);
        }
        double constant = (double)NAN;
        for (size_t i = 0; i < n[0]; i++) {
            for (size_t k = 0; k < n[1]; k++) {
                int32_t token = top[0][i].token;
                if (token != top[1][k].token || token < 0 || top[0][i].begun == 0 ||
                    top[0][i].begun != top[1][k].begun ||
                    own[0].tokens[token].size != top[0][i].begun + 1) {
                    continue;
                }
                if (isnan(constant)) {
                    next_bytes(pack, both, text, size, p);
                    next_bytes(pack, first, text, size, q);
                }
                uint8_t c = (uint8_t)own[0].tokens[token].bytes[top[0][i].begun];
                double here = top[0][i].logprob - top[1][k].logprob - log(p[c] / q[c]);
                constant = isnan(constant) ? here : constant;
                CHECK_CASE(seed, fabs(here - constant) < 1e-3, "byte %d: %g and %g", c, here,
                           constant);
                compared++;
            }
        }
        packllm_session_close(sessions[0]);
        packllm_session_close(sessions[1]);
        packllm_pack_close(pack);
        fake_close(fakes[0]);
        fake_close(fakes[1]);
    }
    print_message("%zu tokens compared\n", compared);
    assert_true(compared >= CASES / 4);
}

/* Members that share a vocabulary are read in its tokens, and write as if they had been read in bytes. */
static void test_shared_vocabulary(void **state) {
    size_t begun = 0, alike = 0, followed = 0;
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + CASES; seed++) {
        struct fake *fakes[2] = {open_fake(seed, 6.0), open_fake(seed + 3000, 6.0)};
        struct packllm_own_member own[2] = {fake_member(fakes[0], "first"),
                                            fake_member(fakes[1], "second")};
        double weights[2] = {0.7, 0.3};
        struct packllm_pack *pack = NULL;
        struct packllm_piece piece[2];
        char text[2 * TEXT];
        uint64_t rng = seed;
        size_t size = prompt_text(&rng, text);
        assert_int_equal(packllm_pack_open_own(&pack, own, 2, NULL, &err), PACKLLM_OK);
        struct packllm_session *session[2] = {open_session_in(pack, weights, PACKLLM_SPACE_BYTES),
                                              open_session_in(pack, weights, PACKLLM_SPACE_TOKENS)};
        enum packllm_status status[2];
        for (size_t k = 0; k < 2; k++) {
            assert_int_equal(packllm_session_prompt(session[k], text, size, &err), PACKLLM_OK);
            status[k] = packllm_session_step(session[k], &piece[k], &err);
            CHECK_CASE(seed, status[k] >= 0, "%s", err.message);
        }
        if (status[1] == PACKLLM_PIECE && piece[1].begun > 0) {
            begun++;
            CHECK_CASE(seed,
                       piece[0].token == piece[1].token && piece[0].begun == piece[1].begun &&
                           fabs(piece[0].logprob - piece[1].logprob) < 1e-5,
                       "token %d (%g), in bytes %d (%g)", (int)piece[1].token, piece[1].logprob,
                       (int)piece[0].token, piece[0].logprob);
        }
        alike += (status[0] == PACKLLM_PIECE && piece[0].begun > 0) ==
                 (status[1] == PACKLLM_PIECE && piece[1].begun > 0);
        struct packllm_piece first = piece[1];
        size_t rest = first.size;
        memcpy(text + size, first.text, rest);
        while (status[1] == PACKLLM_PIECE) {
            uint64_t calls = fake_calls(fakes[0]) + fake_calls(fakes[1]);
            status[1] = packllm_session_step(session[1], &piece[1], &err);
            calls = fake_calls(fakes[0]) + fake_calls(fakes[1]) - calls;
            CHECK_CASE(seed, calls <= 2, "%llu rows", (unsigned long long)calls);
        }
        const struct packllm_own_token *token = &own[0].tokens[first.token > 0 ? first.token : 0];
        if (first.begun > 0 && first.begun + rest == token->size && piece[1].token >= 0) {
            /* Behind that token the members are fused in tokens, as if it had been given. */
            struct packllm_session *other = open_session_in(pack, weights, PACKLLM_SPACE_TOKENS);
            struct packllm_piece forced;
            int32_t tokens[ROOM];
            long n = fake_tokenize(fakes[0], text, size + rest, tokens, ROOM);
            assert_int_equal(packllm_session_begin(other, weights, 2, &err), PACKLLM_OK);
            for (long k = 0; k < n; k++) {
                tokens[k] = k == n - 1 ? first.token : tokens[k]; /* of twins the one chosen */
                assert_int_equal(packllm_session_force(other, tokens[k], &forced, &err),
                                 PACKLLM_OK);
            }
            assert_true(packllm_session_step(other, &forced, &err) >= 0);
            CHECK_CASE(seed, forced.token == piece[1].token && forced.logprob == piece[1].logprob,
                       "token %d (%g), given %d (%g)", (int)piece[1].token, piece[1].logprob,
                       (int)forced.token, forced.logprob);
            packllm_session_close(other);
            followed++;
        }
        CHECK_CASE(seed, status[1] == PACKLLM_FINISHED, "%s", err.message);
        /* The next prompt is read in tokens again. */
        assert_int_equal(packllm_session_prompt(session[1], "bb ", 3, &err), PACKLLM_OK);
        assert_true(packllm_session_step(session[1], &piece[1], &err) >= 0);
        packllm_session_close(session[0]);
        packllm_session_close(session[1]);
        packllm_pack_close(pack);
        fake_close(fakes[0]);
        fake_close(fakes[1]);
    }
    print_message("%zu prompts end inside a token; bytes and tokens agree on that in %zu of %d\n",
                  begun, alike, CASES);
    assert_true(begun >= CASES / 10 && alike >= CASES * 9 / 10 && followed >= CASES / 20);
}

static void test_one_member_is_that_member(void **state) {
    (void)state;
    for (uint64_t seed = check_first_seed(); seed < check_first_seed() + 20; seed++) {
        struct fake *fake = open_fake(seed, 6.0);
        struct packllm_own_member own = fake_member(fake, "one");
        struct packllm_pack *pack = NULL;
        struct packllm_piece piece, forced;
        char text[TEXT + 8];
        int32_t tokens[ROOM];
        uint64_t rng = seed;
        static const double one = 1.0;
        size_t size = prompt_text(&rng, text);
        assert_int_equal(packllm_pack_open_own(&pack, &own, 1, NULL, &err), PACKLLM_OK);
        struct packllm_session *session = open_session(pack, NULL);
        struct packllm_session *other = open_session(pack, NULL);
        assert_int_equal(packllm_session_prompt(session, text, size, &err), PACKLLM_OK);
        assert_true(packllm_session_step(session, &piece, &err) >= 0);
        long n = fake_tokenize(fake, text, size, tokens, ROOM);
        assert_int_equal(packllm_session_begin(other, &one, 1, &err), PACKLLM_OK);
        for (long k = 0; k < n; k++) {
            assert_int_equal(packllm_session_force(other, tokens[k], &forced, &err), PACKLLM_OK);
        }
        assert_true(packllm_session_step(other, &forced, &err) >= 0);
        CHECK_CASE(seed, piece.begun == 0 && piece.token == forced.token, "token %d, given %d",
                   (int)piece.token, (int)forced.token);
        packllm_session_close(session);
        packllm_session_close(other);
        packllm_pack_close(pack);
        fake_close(fake);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shared_vocabulary),
                                       cmocka_unit_test(test_is_brute_force),
                                       cmocka_unit_test(test_one_member_is_that_member),
                                       cmocka_unit_test(test_goes_on_from_it),
                                       cmocka_unit_test(test_is_corrected),
                                       cmocka_unit_test(test_under_a_grammar),
                                       cmocka_unit_test(test_reads_the_tail_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
