/* test_member_shared.c - who is in the next batch when several timelines wait. Goals: a long prompt pauses
 * while a short one is read, also by another member, and goes on between; it always advances, however
 * many short ones come; beside steps it does not pause. Batches are those of a member that only counts
 * and says that each took an hour: as nobody is left behind for less, the schedule does not depend on
 * the machine. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "member/member_shared.h"

enum { MEMBERS = 2, VIEWS = 3, LONG = 2000, MOST = 4096, PAUSE = 16, PAUSE_SHORT = 8 };

/* All batches of both members in their order: how many tokens of each timeline. */
struct seen {
    size_t n, of[MOST][VIEWS];
    int member[MOST];
};

struct counting {
    struct member base;
    struct member_context context;
    uint32_t length[VIEWS];
    struct seen *seen;
};

static enum packllm_status count_open(struct member *m, struct member_context **out,
                                      struct packllm_error *err) {
    struct counting *c = (struct counting *)m;
    (void)err;
    c->context = (struct member_context){.member = m, .length = c->length};
    *out = &c->context;
    return PACKLLM_OK;
}

static void count_close_context(struct member_context *c) {
    (void)c;
}

static void count_close(struct member *m) {
    (void)m;
}

static enum packllm_status count_eval(struct member_context *base, const struct member_item *items,
                                      size_t n, member_row_fn on_row, void *ctx,
                                      struct packllm_error *err) {
    struct counting *c = (struct counting *)base->member;
    struct seen *s = c->seen;
    (void)on_row, (void)ctx, (void)err;
    assert_true(s->n < MOST);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(items[i].token, c->length[items[i].seq]++); /* each one in its order */
        s->of[s->n][items[i].seq]++;
    }
    s->member[s->n++] = base->member->index;
    base->seconds += 3600.0;
    return PACKLLM_OK;
}

static enum packllm_status count_truncate(struct member_context *base, int32_t seq, uint32_t n,
                                          struct packllm_error *err) {
    (void)err;
    base->length[seq] = n;
    return PACKLLM_OK;
}

static const struct member_ops count_ops = {
    .context_open = count_open,
    .context_close = count_close_context,
    .eval = count_eval,
    .truncate = count_truncate,
    .close = count_close,
};

struct world {
    struct seen seen;
    struct member_gate *gate;
    struct counting real[MEMBERS];
    struct member *shared[MEMBERS];
    struct member_context *view[VIEWS][MEMBERS];
};

static void read_tokens(struct member_context *view, size_t n) {
    struct member_item items[LONG];
    for (size_t i = 0; i < n; i++) {
        items[i] = (struct member_item){.token = (int32_t)(view->length[0] + i)};
    }
    assert_int_equal(member_eval(view, items, n, NULL, NULL, NULL), PACKLLM_OK);
}

static void world_open(struct world *w) {
    memset(w, 0, sizeof *w);
    assert_int_equal(member_gate_open(&w->gate, NULL), PACKLLM_OK);
    for (int i = 0; i < MEMBERS; i++) {
        struct counting *c = &w->real[i];
        c->seen = &w->seen;
        c->base = (struct member){.ops = &count_ops, .index = i, .n_ctx = 1U << 20, .n_seq = VIEWS};
        c->base.table.n = c->base.n_ctx;
        assert_int_equal(member_shared_open(&w->shared[i], &c->base, VIEWS, w->gate, NULL),
                         PACKLLM_OK);
        for (size_t k = 0; k < VIEWS; k++) {
            assert_int_equal(member_context_open(w->shared[i], &w->view[k][i], NULL), PACKLLM_OK);
        }
    }
    /* The first batch takes an hour, so from the second on everybody is waited for. */
    member_gate_enter(w->gate);
    read_tokens(w->view[0][0], 1);
    member_gate_leave(w->gate);
    w->seen = (struct seen){0};
}

static void world_close(struct world *w) {
    for (size_t i = 0; i < MEMBERS; i++) {
        for (size_t k = 0; k < VIEWS; k++) {
            member_context_close(w->view[k][i]);
        }
        member_close(w->shared[i]);
    }
    member_gate_close(w->gate);
}

/* What a timeline asks for, one after the other. */
struct part {
    struct world *w;
    size_t view, times;
    const size_t *sizes; /* of its requests, 0 behind the last of a member; the members in turn */
    bool anew;           /* each time is a new text */
};

static void *drive(void *data) {
    const struct part *p = data;
    for (size_t k = 0; k < p->times; k++) {
        const size_t *size = p->sizes;
        for (size_t m = 0; m < MEMBERS; m++, size++) {
            struct member_context *view = p->w->view[p->view][m];
            if (p->anew) {
                assert_int_equal(member_truncate(view, 0, 0, NULL), PACKLLM_OK);
            }
            for (; *size > 0; size++) {
                read_tokens(view, *size);
            }
        }
    }
    member_gate_leave(p->w->gate);
    return NULL;
}

/* All begin together: who has entered is waited for. */
static void together(struct world *w, struct part *parts, size_t n) {
    pthread_t threads[VIEWS];
    for (size_t i = 0; i < n; i++) {
        member_gate_enter(w->gate);
    }
    for (size_t i = 0; i < n; i++) {
        parts[i].w = w;
        assert_int_equal(pthread_create(&threads[i], NULL, drive, &parts[i]), 0);
    }
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

/* A prompt of 40 tokens, ends of its tokens, first steps. */
static const size_t long_prompt[] = {LONG, 0, 0},
                    short_prompt[] = {40, 11, 11, 11, 7, 0, 42, 11, 1, 0};
static const size_t other_prompt[] = {0, 30, 12, 9, 0}, steps[] = {1, 1, 1, 1, 0, 0};

/* The last batch with a token of this timeline, and all its tokens. */
static size_t last_of(const struct seen *s, size_t view, size_t *sum) {
    size_t last = 0;
    *sum = 0;
    for (size_t i = 0; i < s->n; i++) {
        last = s->of[i][view] > 0 ? i : last;
        *sum += s->of[i][view];
    }
    return last;
}

static void test_a_short_prompt_goes_first(void **state) {
    static struct world w;
    struct part parts[] = {{.view = 0, .times = 1, .sizes = long_prompt},
                           {.view = 1, .times = 1, .sizes = short_prompt}};
    size_t sum = 0;
    (void)state;
    world_open(&w);
    together(&w, parts, 2);
    size_t last = last_of(&w.seen, 1, &sum);
    assert_int_equal(sum, 40 + 33 + 7 + 42 + 11 + 1);
    assert_true(last < PAUSE); /* as many batches as alone: 16 tokens are an hour */
    for (size_t i = 0; i <= last; i++) {
        assert_int_equal(w.seen.of[i][0], 0);
    }
    (void)last_of(&w.seen, 0, &sum);
    assert_int_equal(sum, LONG);
    world_close(&w);
}

static void test_a_long_prompt_advances(void **state) {
    static struct world w;
    struct part parts[] = {{.view = 0, .times = 1, .sizes = long_prompt},
                           {.view = 1, .times = 150, .sizes = short_prompt, .anew = true},
                           {.view = 2, .times = 300, .sizes = other_prompt, .anew = true}};
    size_t sum = 0, passed = 0, most = 0, portions = 0;
    (void)state;
    world_open(&w);
    together(&w, parts, 3);
    size_t last = last_of(&w.seen, 0, &sum), end = last_of(&w.seen, 1, &sum);
    assert_true(last < end); /* there were short ones as long as it was read */
    for (size_t i = 0; i <= last; i++) {
        passed = w.seen.of[i][0] > 0 ? 0 : passed + 1;
        most = passed > most ? passed : most;
        portions += w.seen.of[i][0] > 0;
    }
    assert_int_equal(most, PAUSE); /* one more would be too many, one less no pause */
    assert_in_range(portions, 1, LONG / 12);
    world_close(&w);
}

/* The ends of a long prompt's tokens, a few at a time. */
static void test_its_ends_wait_too(void **state) {
    static const size_t ends[] = {12, 0, 0};
    static struct world w;
    struct part parts[] = {{.view = 0, .times = 20, .sizes = ends},
                           {.view = 1, .times = 1, .sizes = short_prompt}};
    size_t sum = 0, beside = 0;
    (void)state;
    world_open(&w);
    member_gate_enter(w.gate);
    read_tokens(w.view[0][0], LONG);
    member_gate_leave(w.gate);
    w.seen = (struct seen){0};
    together(&w, parts, 2);
    size_t last = last_of(&w.seen, 1, &sum);
    assert_int_equal(sum, 40 + 33 + 7 + 42 + 11 + 1);
    for (size_t i = 0; i <= last; i++) {
        beside += w.seen.of[i][0];
    }
    assert_in_range(beside, 1,
                    12 * (last / PAUSE_SHORT + 1)); /* beside a step, and out of pauses */
    (void)last_of(&w.seen, 0, &sum);
    assert_int_equal(sum, 20 * 12);
    world_close(&w);
}

static void test_beside_steps_it_goes_on(void **state) {
    static struct world w;
    struct part parts[] = {{.view = 0, .times = 1, .sizes = long_prompt},
                           {.view = 1, .times = 50, .sizes = steps},
                           {.view = 2, .times = 50, .sizes = steps}};
    size_t sum = 0;
    (void)state;
    world_open(&w);
    together(&w, parts, 3);
    size_t last = last_of(&w.seen, 1, &sum);
    for (size_t i = 0; i <= last; i++) {
        assert_true(w.seen.of[i][0] >= 4);
        assert_true(w.seen.of[i][0] <= 16);
    }
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_short_prompt_goes_first),
        cmocka_unit_test(test_a_long_prompt_advances),
        cmocka_unit_test(test_its_ends_wait_too),
        cmocka_unit_test(test_beside_steps_it_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
