/* test_pack_memories.c - members whose memory is no plain attention: a sliding window, a recurrent
 * state, a hybrid of state and attention. Goals: alone each is itself (its greedy text is what
 * libllama's rows say), in a pack it is weighed, written with and scored as any other, batch and
 * walk agree, a text longer than a window that is rolled back is right, and what evaluating again
 * costs is bounded and counted. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "gguf_make.h"
#include "member/member.h"
#include "oracle.h"
#include "packllm/packllm.h"

#include "check.h"

enum { CONTEXT = 128, STEPS = 24, CHAIN = 100 };

static struct packllm_error err;

static const struct {
    enum made_kind kind;
    const char *name;
} kinds[] = {{MADE_SPM, "attention"},
             {MADE_WINDOW, "sliding window"},
             {MADE_STATE, "recurrent"},
             {MADE_HYBRID, "hybrid"}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const char *const texts[] = {"the cat at the tea, abc", "a bath: the \xc3\xa9tat", "bat"};

static void save(char path[64], enum made_kind kind, uint64_t seed, int which) {
    struct made made = made_model(kind, seed);
    (void)snprintf(path, 64, "/tmp/packllm-memories-%ld-%d.gguf", (long)getpid(), which);
    assert_true(made_save(&made, path));
    made_free(&made);
}

static void must(enum packllm_status status) {
    if (status < 0) {
        fail_msg("%s", err.message);
    }
}

/* ---- one member is itself ------------------------------------------------------------------ */

/* The likeliest token whose bytes keep the text valid UTF-8 and that is text, from libllama's row. */
static llama_token likeliest(const struct oracle *o, const float *row, struct utf8_state *state) {
    llama_token best = -1;
    struct utf8_state after = *state;
    for (llama_token id = 2; id < llama_vocab_n_tokens(o->vocab); id++) {
        char piece[16];
        int32_t n = id == 2 ? 0 : llama_token_to_piece(o->vocab, id, piece, 16, 0, false);
        struct utf8_state s = *state;
        bool fits = id != 2 || s.need == 0;
        for (int32_t i = 0; i < n && fits; i++) {
            fits = utf8_step(&s, (uint8_t)piece[i]);
        }
        if (fits && (best < 0 || row[id] > row[best])) {
            best = id;
            after = s;
        }
    }
    *state = after;
    return best;
}

static size_t expected_text(struct oracle *o, const char *text, char *out, size_t room) {
    llama_token tokens[CONTEXT];
    struct utf8_state state = {0};
    size_t size = 0;
    int32_t n = oracle_tokenize(o, text, strlen(text), true, tokens, CONTEXT);
    assert_true(n > 0);
    for (int step = 0; step < STEPS; step++) {
        assert_true(oracle_eval(o, tokens, n)); /* from nothing each time */
        llama_token next = likeliest(o, oracle_row(o, n - 1), &state);
        if (next == 2) {
            break;
        }
        int32_t got =
            llama_token_to_piece(o->vocab, next, out + size, (int32_t)(room - size), 0, false);
        assert_true(got >= 0);
        size += (size_t)got;
        tokens[n++] = next;
    }
    /* A character that was begun and not ended is not given out. */
    bool bad;
    return utf8_whole(out, size, &bad);
}

static size_t write_text(struct packllm_session *session, const char *text, char *out) {
    struct packllm_piece piece;
    size_t size = 0;
    enum packllm_status status = packllm_session_prompt(session, text, strlen(text), &err);
    must(status);
    while ((status = packllm_session_step(session, &piece, &err)) == PACKLLM_PIECE) {
        memcpy(out + size, piece.text, piece.size);
        size += piece.size;
    }
    must(status);
    return size;
}

static void test_greedy(void **unused) {
    (void)unused;
    for (size_t k = 0; k < KINDS; k++) {
        char path[64], expected[1024], got[1024];
        struct oracle o;
        struct packllm_pack *pack = NULL;
        struct packllm_session *session = NULL;
        struct packllm_member_spec spec = packllm_member_spec_default();
        struct packllm_params params = packllm_params_default();
        struct packllm_session_params p = packllm_session_params_default();
        save(path, kinds[k].kind, 11 + k, 0);
        params.n_threads = 1;
        p.sampling.temp = 0.0;
        p.max_tokens = STEPS;
        spec.path = path;
        assert_true(oracle_open(&o, path, CONTEXT, 1));
        must(packllm_pack_open(&pack, &spec, 1, &params, &err));
        must(packllm_session_open(&session, pack, &p, &err));
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            /* The session goes from one text to the next: it forgets what it must. */
            size_t size = expected_text(&o, texts[i], expected, sizeof expected);
            size_t n = write_text(session, texts[i], got);
            if (n != size || memcmp(got, expected, n) != 0) {
                fail_msg("%s, text %zu: '%.*s' instead of '%.*s'", kinds[k].name, i, (int)n, got,
                         (int)size, expected);
            }
        }
        packllm_session_close(session);
        packllm_pack_close(pack);
        oracle_close(&o);
        (void)unlink(path);
    }
}

/* ---- in a pack ----------------------------------------------------------------------------- */

static void test_pack(void **unused) {
    static const char text[] = "the bath at the cat: abc the tea abab, the \xc3\xa9t\xc3\xa9 "
                               "the hat; a bat ate the heath, etc";
    (void)unused;
    for (size_t k = 1; k < KINDS; k++) {
        char path[2][64], out[1024];
        struct packllm_pack *pack = NULL;
        struct packllm_session *session = NULL;
        struct packllm_member_spec specs[2] = {packllm_member_spec_default(),
                                               packllm_member_spec_default()};
        struct packllm_params params = packllm_params_default();
        struct packllm_session_params p = packllm_session_params_default();
        static const double half[] = {0.5, 0.5};
        struct packllm_weights weights;
        struct packllm_stats stats;
        struct packllm_score batch, walk;
        double bits = 0.0;
        save(path[0], kinds[k].kind, 21 + k, 0);
        save(path[1], MADE_BPE, 31 + k, 1);
        specs[0].path = path[0];
        specs[1].path = path[1];
        params.n_threads = 1;
        p.max_tokens = 30;
        p.sampling.ignore_eos = true;
        p.fixed = half;
        must(packllm_pack_open(&pack, specs, 2, &params, &err));
        must(packllm_session_open(&session, pack, &p, &err));
        must(packllm_session_weigh(session, text, strlen(text), &err));
        must(packllm_session_weights(session, &weights));
        assert_true(weights.gap < 1e-6);
        bits = weights.members[0].bits_per_byte;
        assert_true(bits > 1.0 && bits < 20.0);
        packllm_session_close(session);
        p.weigher = PACKLLM_WEIGH_FIXED; /* so that both always write */
        must(packllm_session_open(&session, pack, &p, &err));
        struct packllm_score_params sp = packllm_score_params_default();
        sp.context_bytes = 20;
        must(packllm_session_score(session, text, strlen(text), &sp, &batch, &err));
        double batch_bits = batch.bits_per_byte, batch_own = batch.members[0].bits_per_byte_model;
        double batch_cost = (double)batch.members[0].forwards / (double)batch.members[0].tokens;
        assert_int_equal(batch.jensen_violations, 0);
        sp.through_generation = true;
        must(packllm_session_score(session, text, strlen(text), &sp, &walk, &err));
        double walk_cost = (double)walk.members[0].forwards / (double)walk.members[0].tokens;
        assert_int_equal(walk.jensen_violations, 0);
        assert_true(fabs(walk.bits_per_byte / batch_bits - 1.0) <= 5e-3);
        assert_true(fabs(walk.members[0].bits_per_byte_model / batch_own - 1.0) <= 5e-3);
        size_t size = write_text(session, "the cat ", out);
        bool bad;
        assert_true(size > 0 && utf8_whole(out, size, &bad) == size);
        must(packllm_session_stats(session, &stats, &err));
        assert_int_equal(stats.resyncs, 0);
        print_message("%s: %.3f bits/byte; forwards per token: %.2f scored, %.2f walked, %.2f "
                      "written\n",
                      kinds[k].name, batch_own, batch_cost, walk_cost,
                      (double)stats.members[0].forwards / (double)stats.members[0].tokens);
        packllm_session_close(session);
        packllm_pack_close(pack);
        (void)unlink(path[0]);
        (void)unlink(path[1]);
    }
}

/* ---- costs and rollbacks ------------------------------------------------------------------- */

struct rows {
    struct member *m;
    float kept[2][512]; /* the row of the last item, of the context and of a fresh one */
    int which;
};

static enum packllm_status keep(void *data, size_t item, const float *logits,
                                struct packllm_error *e) {
    struct rows *r = data;
    (void)item, (void)e;
    memcpy(r->kept[r->which], logits, r->m->table.n * sizeof *logits);
    return PACKLLM_OK;
}

static void evaluate(struct member_context *c, struct rows *r, int32_t seq, const int32_t *tokens,
                     size_t n) {
    struct member_item items[CONTEXT];
    for (size_t i = 0; i < n; i++) {
        items[i] = (struct member_item){.token = tokens[i], .seq = seq, .want_row = i + 1 == n};
    }
    must(member_eval(c, items, n, keep, r, &err));
}

static void same_as_fresh(struct member_context *fresh, struct rows *r, const int32_t *tokens,
                          size_t n, const char *name) {
    double worst = 0.0;
    must(member_truncate(fresh, 0, 0, &err));
    r->which = 1;
    evaluate(fresh, r, 0, tokens, n);
    r->which = 0;
    for (uint32_t i = 0; i < r->m->table.n; i++) {
        worst = fmax(worst, fabs((double)r->kept[0][i] - (double)r->kept[1][i]));
    }
    if (worst > 1e-2) {
        fail_msg("%s: after %zu tokens a logit is off by %g", name, n, worst);
    }
}

/* A text far longer than the window of 8; ends of tokens are tried along it, front to back as a
 * prompt is read, and then at the tip as text is written; then it is rolled back. */
static void test_costs(void **unused) {
    (void)unused;
    for (size_t k = 0; k < KINDS; k++) {
        char path[64];
        struct rows r = {0};
        struct member_context *c = NULL, *fresh = NULL;
        const struct packllm_params params = {.n_threads = 1, .n_seq = 6};
        int32_t tokens[CONTEXT], with_end[CONTEXT];
        save(path, kinds[k].kind, 41 + k, 0);
        const struct packllm_member_spec spec = {.path = path, .n_gpu_layers = -1};
        must(member_llama_open(&r.m, &spec, 0, &params, &err));
        (void)unlink(path);
        must(member_context_open(r.m, &c, &err));
        must(member_context_open(r.m, &fresh, &err));
        for (int i = 0; i < CONTEXT; i++) {
            tokens[i] = i == 0 ? 1 : 3 + (i * 37 + i * i * 11) % 260;
        }
        evaluate(c, &r, 0, tokens, CHAIN);
        assert_int_equal(c->forwards, CHAIN);
        unsigned tried = 0;
        for (uint32_t n = 3; n < CHAIN; n += 4, tried++) {
            int32_t seq = 1 + (int32_t)(tried % 3);
            memcpy(with_end, tokens, n * sizeof *tokens);
            with_end[n] = 3 + (int32_t)n;
            must(member_fork(c, seq, 0, n, &err));
            evaluate(c, &r, seq, &with_end[n], 1);
            same_as_fresh(fresh, &r, with_end, n + 1, kinds[k].name);
        }
        uint64_t along = c->forwards - CHAIN;
        c->forwards = 0;
        unsigned written = 0;
        for (uint32_t n = CHAIN; n + 1 < CONTEXT; n++, written++) {
            evaluate(c, &r, 0, &tokens[n],
                     1); /* goes on, and only then an end before it is tried */
            memcpy(with_end, tokens, n * sizeof *tokens);
            with_end[n] = 3 + (int32_t)n;
            must(member_fork(c, 1, 0, n, &err));
            evaluate(c, &r, 1, &with_end[n], 1);
            same_as_fresh(fresh, &r, with_end, n + 1, kinds[k].name);
        }
        uint64_t tip = c->forwards;
        c->forwards = 0;
        must(member_truncate(c, 0, 60, &err));
        evaluate(c, &r, 0, &with_end[CONTEXT - 2], 1);
        int32_t rolled[64];
        memcpy(rolled, tokens, 60 * sizeof *tokens);
        rolled[60] = with_end[CONTEXT - 2];
        same_as_fresh(fresh, &r, rolled, 61, kinds[k].name);
        print_message(
            "%s: %u ends along %d tokens cost %lu forwards, %u tokens and ends at the tip "
            "%lu, a rollback by half %lu\n",
            kinds[k].name, tried, CHAIN, (unsigned long)along, written, (unsigned long)tip,
            (unsigned long)c->forwards);
        assert_true(along <= tried + CHAIN);
        assert_int_equal(tip, 2 * written);
        assert_true(c->forwards <= 61);
        member_context_close(c);
        member_context_close(fresh);
        member_close(r.m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_greedy), cmocka_unit_test(test_pack),
                                       cmocka_unit_test(test_costs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
