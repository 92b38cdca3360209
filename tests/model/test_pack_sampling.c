/* test_pack_sampling.c - one member with any sampling options is libllama's own sampler chain on that
 * member's rows, token for token, with the same noise. The chain is built of libllama's samplers in
 * the order of its tools; the last step, the draw, is theirs by distribution and ours by noise
 * (docs/math.md, "Sampling"). What is ours is done to the row first: tokens of equal bytes are one,
 * what cannot be text is none, and what would break UTF-8 is none. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "oracle.h"
#include "packllm/packllm.h"
#include "shared.h"

#include "check.h"

enum { SETTINGS = 320, STEPS = 10, CONTEXT = 256, VOCABULARY = 1024, PIECE = 32, END = 2 };

static struct packllm_error err;

static const char *const texts[] = {
    "Once upon a time, there was a little girl named Lily. She liked to play", "The dog said \"I",
    "One day, one day, one day, a big", "caf\xc3\xa9 caf"};

struct table {
    int32_t n, end;
    char piece[VOCABULARY][PIECE];
    int32_t size[VOCABULARY];     /* 0: not text */
    llama_token twin[VOCABULARY]; /* the token that stands for these bytes */
};

static void fill(struct table *t, const struct oracle *o) {
    t->n = llama_vocab_n_tokens(o->vocab);
    t->end = llama_vocab_eos(o->vocab);
    assert_true(t->n <= VOCABULARY && t->end == END);
    for (llama_token id = 0; id < t->n; id++) {
        int special = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN;
        bool text = ((int)llama_vocab_get_attr(o->vocab, id) & special) == 0;
        t->size[id] = text ? llama_token_to_piece(o->vocab, id, t->piece[id], PIECE, 0, false) : 0;
        t->twin[id] = id;
        assert_true(t->size[id] >= 0);
    }
    for (llama_token id = 0; id < t->n; id++) {
        for (llama_token k = 0; k < t->n && t->size[id] > 0; k++) {
            bool normal = ((int)llama_vocab_get_attr(o->vocab, k) & LLAMA_TOKEN_ATTR_NORMAL) != 0;
            if (k != id && normal && t->size[k] == t->size[id] &&
                memcmp(t->piece[k], t->piece[id], (size_t)t->size[id]) == 0) {
                t->twin[id] = k;
            }
        }
    }
}

static bool fits(const struct table *t, llama_token id, struct utf8_state state) {
    for (int32_t i = 0; i < t->size[id]; i++) {
        if (!utf8_step(&state, (uint8_t)t->piece[id][i])) {
            return false;
        }
    }
    return id == t->end ? state.need == 0 : t->size[id] > 0;
}

static double uniform(uint64_t *rng) {
    return rng_uniform(rng_next(rng));
}

struct setting {
    struct packllm_sampling sampling;
    struct packllm_bias bias[6];
    size_t n_bias;
};

static double pick(uint64_t *rng, const double *values, size_t n) {
    return values[rng_next(rng) % n];
}

static struct setting draw_setting(uint64_t *rng, int32_t vocabulary) {
    static const double temps[] = {0.0, -1.0, 0.1, 0.7, 1.0, 1.5, 3.0},
                        ks[] = {0.0, -1.0, 1.0, 2.0, 5.0, 40.0, 64.0, 100.0, 5000.0},
                        ps[] = {0.0, 0.1, 0.5, 0.9, 0.95, 1.0, 1.0},
                        mins[] = {0.0, 0.0, 0.01, 0.05, 0.3, 1.0},
                        repeats[] = {1.0, 1.0, 1.1, 1.5, 5.0, 0.8},
                        lasts[] = {64.0, 0.0, -1.0, 1.0, 7.0, 20.0},
                        adds[] = {0.0, 0.0, 0.0, 0.5, 2.0, -0.7};
    struct setting s = {0};
#define PICK(values) pick(rng, values, sizeof values / sizeof *(values))
    s.sampling = (struct packllm_sampling){.temp = PICK(temps),
                                           .top_k = (int32_t)PICK(ks),
                                           .top_p = PICK(ps),
                                           .min_p = PICK(mins),
                                           .repeat_penalty = PICK(repeats),
                                           .repeat_last_n = (int32_t)PICK(lasts),
                                           .presence_penalty = PICK(adds),
                                           .frequency_penalty = PICK(adds),
                                           .seed = rng_next(rng),
                                           .ignore_eos = rng_next(rng) % 2 == 0};
#undef PICK
    s.n_bias = rng_next(rng) % 3 == 0 ? 1 + rng_next(rng) % 6 : 0;
    for (size_t i = 0; i < s.n_bias; i++) {
        /* ids distinct: what a second bias for an id does is said elsewhere */
        int32_t id = 2 + (int32_t)(rng_next(rng) % 80) + (int32_t)i * 80;
        s.bias[i] = (struct packllm_bias){
            .token = id < vocabulary ? id : 2 + (int32_t)i,
            .bias = rng_next(rng) % 4 == 0 ? (double)-INFINITY : 12.0 * (uniform(rng) - 0.5)};
    }
    if (s.n_bias > 0 && rng_next(rng) % 2 == 0) {
        s.bias[0] = (struct packllm_bias){.token = END, .bias = 9.0}; /* so that texts end */
    }
    return s;
}

static struct llama_sampler *chain_of(const struct setting *s, const struct table *t) {
    const struct packllm_sampling *p = &s->sampling;
    struct llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    llama_logit_bias bias[6];
    for (size_t i = 0; i < s->n_bias; i++) {
        bias[i] = (llama_logit_bias){s->bias[i].token, (float)s->bias[i].bias};
    }
    llama_sampler_chain_add(chain, llama_sampler_init_logit_bias(t->n, (int32_t)s->n_bias, bias));
    llama_sampler_chain_add(
        chain, llama_sampler_init_penalties(t->n, p->repeat_last_n < 0 ? CONTEXT : p->repeat_last_n,
                                            (float)p->repeat_penalty, (float)p->frequency_penalty,
                                            (float)p->presence_penalty));
    llama_sampler_chain_add(chain, llama_sampler_init_top_k(p->top_k));
    llama_sampler_chain_add(chain, llama_sampler_init_top_p((float)p->top_p, 0));
    llama_sampler_chain_add(chain, llama_sampler_init_min_p((float)p->min_p, 0));
    llama_sampler_chain_add(chain, llama_sampler_init_temp((float)p->temp));
    return chain;
}

/* The token of libllama's chain; *margin: by how much it won. */
static llama_token choose(const struct table *t, const struct setting *s,
                          struct llama_sampler *chain, const float *row, struct utf8_state state,
                          uint64_t position, double *margin) {
    static llama_token_data data[VOCABULARY];
    static double logit[VOCABULARY];
    llama_token_data_array all = {.data = data, .size = 0, .selected = -1, .sorted = false};
    for (llama_token id = 0; id < t->n; id++) {
        logit[id] = (double)row[id];
    }
    for (llama_token id = 0; id < t->n; id++) {
        llama_token k = t->twin[id];
        if (k != id) {
            double high = fmax(logit[k], logit[id]), low = fmin(logit[k], logit[id]);
            logit[k] = high + log1p(exp(low - high));
        }
    }
    for (llama_token id = 0; id < t->n; id++) {
        bool end = id == t->end;
        if (t->twin[id] == id && fits(t, id, state) && !(end && s->sampling.ignore_eos)) {
            data[all.size++] = (llama_token_data){.id = id, .logit = (float)logit[id]};
        }
    }
    llama_sampler_apply(chain, &all);
    llama_token best = -1;
    double most = -INFINITY;
    *margin = INFINITY;
    for (size_t i = 0; i < all.size; i++) {
        llama_token id = all.data[i].id;
        uint64_t symbol = (uint64_t)(id == t->end ? t->n : id);
        double x = (double)all.data[i].logit +
                   (s->sampling.temp > 0.0 ? rng_gumbel(s->sampling.seed, position, symbol) : 0.0);
        if (x > most || best < 0) {
            *margin = x - most;
            most = x;
            best = id;
        } else {
            *margin = fmin(*margin, most - x);
        }
    }
    return best;
}

struct counts {
    unsigned tokens, ends;
};

static void compare(struct oracle *o, const struct table *t, struct packllm_pack *pack,
                    uint64_t seed, struct counts *counts) {
    uint64_t rng = seed;
    const char *text = texts[rng_next(&rng) % (sizeof texts / sizeof *texts)];
    const struct setting s = draw_setting(&rng, t->n);
    struct packllm_session_params p = packllm_session_params_default();
    struct packllm_session *session = NULL;
    llama_token tokens[CONTEXT];
    struct utf8_state state = {0};
    struct llama_sampler *chain = chain_of(&s, t);
    p.sampling = s.sampling;
    p.max_tokens = STEPS;
    p.bias = s.bias;
    p.n_bias = s.n_bias;
    assert_int_equal(packllm_session_open(&session, pack, &p, &err), PACKLLM_OK);
    assert_int_equal(packllm_session_prompt(session, text, strlen(text), &err), PACKLLM_OK);
    int32_t n = oracle_tokenize(o, text, strlen(text), true, tokens, CONTEXT);
    assert_true(n > 0 && oracle_eval(o, tokens, n));
    for (int32_t i = 0; i < n; i++) {
        llama_sampler_accept(chain, tokens[i]);
    }
    const float *row = oracle_row(o, n - 1);
    for (uint64_t position = 0; position < STEPS; position++) {
        struct packllm_piece piece = {.token = -2};
        double margin;
        llama_token expected = choose(t, &s, chain, row, state, position, &margin);
        enum packllm_status status = packllm_session_step(session, &piece, &err);
        CHECK_CASE(seed, status >= 0, "%s", err.message);
        bool ended = packllm_session_finish(session) == PACKLLM_FINISH_END;
        llama_token got = ended ? t->end : piece.token;
        CHECK_CASE(seed, got == expected,
                   "token %d instead of %d (by %g) at %llu; temp %g, top-k %d, top-p %g, min-p %g, "
                   "repeat %g over %d, presence %g, frequency %g, %zu biases",
                   got, expected, margin, (unsigned long long)position, s.sampling.temp,
                   s.sampling.top_k, s.sampling.top_p, s.sampling.min_p, s.sampling.repeat_penalty,
                   s.sampling.repeat_last_n, s.sampling.presence_penalty,
                   s.sampling.frequency_penalty, s.n_bias);
        counts->tokens++;
        if (ended) {
            counts->ends++;
            break;
        }
        llama_sampler_accept(chain, got);
        for (int32_t i = 0; i < t->size[got]; i++) {
            assert_true(utf8_step(&state, (uint8_t)t->piece[got][i]));
        }
        struct llama_batch batch = llama_batch_get_one(&got, 1);
        assert_int_equal(llama_decode(o->context, batch), 0);
        row = oracle_row(o, -1);
    }
    llama_sampler_free(chain);
    packllm_session_close(session);
}

static void test_chain(void **state) {
    static const char *const names[] = {"models/stories260K.gguf", "models/aidreams260K.gguf"};
    static struct table table;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[1024];
        struct oracle o;
        struct packllm_pack *pack = NULL;
        struct packllm_member_spec spec = packllm_member_spec_default();
        struct packllm_params params = packllm_params_default();
        struct counts counts = {0};
        if (!shared_path(path, sizeof path, names[i])) {
            skip();
        }
        spec.path = path;
        params.n_threads = 1;
        params.n_seq = 4;
        params.n_ctx = 128;
        assert_true(oracle_open(&o, path, 128, 1));
        fill(&table, &o);
        assert_int_equal(packllm_pack_open(&pack, &spec, 1, &params, &err), PACKLLM_OK);
        const uint64_t first = check_first_seed();
        for (uint64_t seed = first; seed < first + SETTINGS / 2; seed++) {
            compare(&o, &table, pack, seed + 1000 * i, &counts);
        }
        print_message("%s: %d settings, %u tokens alike, %u ends\n", names[i], SETTINGS / 2,
                      counts.tokens, counts.ends);
        packllm_pack_close(pack);
        oracle_close(&o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_chain)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
