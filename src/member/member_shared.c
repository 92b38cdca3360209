/* member_shared.c - one batch for many timelines, see member_shared.h. */
#include "member/member_shared.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"
#include "member/member_base.h"

enum {
    BATCH = 64,       /* tokens evaluated together, */
    BATCH_LEAST = 16, /* and at least, where BATCH would take too long; */
    SHORT = 16,       /* requests of so few tokens go first, */
    SHORT_SHARE = 48, /* but leave room for a portion of a long one, */
    PORTION = 4,      /* which beside them has at least so many tokens, */
    NEARLY = 12,      /* or so many where no more than a batch is left; */
    PATIENCE = 4,     /* and nobody waits for more batches of other members, */
    PAUSE = 16,       /* but a long one for so many, */
    PAUSE_SHORT = 8,  /* its short requests for so many */
    STEP = 6,         /* of those who read: requests of more tokens, */
    SHORTER = 4       /* so many times as far behind it */
};

/* Numbers in the rows of a batch from which on each owner reads its own, several at a time. */
#define ROWS_LARGE 500000

/* Seconds. A long batch keeps others waiting, who may come at any time, and cannot be cancelled. */
#define BATCH_SECONDS 0.2
/* Who was expected for his next step and does not come is waited for so long; who is busy with
 * something else, as long as the last batch took, and at least so long. */
#define LINGER 0.002
#define HOLD_LEAST 0.01

struct view {
    struct member_context base;
    uint32_t first; /* of its sequences in the shared context */
};

struct shared {
    struct member base;
    struct member_ops ops; /* shared_ops, less what the real member lacks */
    struct member *real;
    struct member_gate *gate;
    struct member_context *context; /* of real, while views are open */
    uint32_t n_views;
    bool *taken;      /* [n_views] */
    double per_token; /* seconds a token of larger batches takes; 0: not known */
};

/* What a waiting thread wants evaluated. It lives on that thread's stack. */
struct request {
    struct request *next;
    struct view *view;
    double since;
    const struct member_item *items; /* [n], of which `done` are evaluated */
    size_t n, done;
    size_t portion;  /* taken into the batch that is being evaluated */
    unsigned passed; /* batches since it was served, */
    unsigned most;   /* which shall be no more */
    uint32_t saved[MEMBER_SEQ_MAX];
    member_row_fn on_row;
    void *ctx;
    enum packllm_status status;
    struct packllm_error *err;
    bool reads; /* its rows of the batch are there */
    bool finished;
};

struct member_gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int running;    /* threads inside the pack that do not wait for rows */
    int expected;   /* of those that left between two steps */
    unsigned epoch; /* raised when those expected are given up */
    bool computing; /* one of the waiting threads evaluates for all */
    double quiet;   /* since when nobody runs */
    double last;    /* seconds the last batch took */
    struct request *waiting;
    /* The batch that is being evaluated. */
    struct member_item items[BATCH];
    struct request *owner[BATCH]; /* of each item */
    size_t index[BATCH];          /* its place in the owner's items */
    size_t from;                  /* its items before this one are left out */
    const float *row[BATCH];      /* of each item, where owners read their own; else NULL */
    float greatest[BATCH];        /* of the row */
    size_t reading;               /* owners that have not read theirs */
};

/* ---- the gate ------------------------------------------------------------------------------ */

enum packllm_status member_gate_open(struct member_gate **out, struct packllm_error *err) {
    struct member_gate *gate = alloc_zero(1, sizeof *gate);
    if (gate == NULL) {
        return fail_memory(err, sizeof *gate);
    }
    pthread_condattr_t attributes;
    (void)pthread_mutex_init(&gate->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&gate->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    *out = gate;
    return PACKLLM_OK;
}

void member_gate_close(struct member_gate *gate) {
    if (gate != NULL) {
        (void)pthread_cond_destroy(&gate->changed);
        (void)pthread_mutex_destroy(&gate->lock);
        base_free(gate);
    }
}

/* With the lock: one thread fewer runs. */
static void one_less(struct member_gate *gate) {
    gate->running--;
    if (gate->running <= 0) {
        gate->quiet = base_clock();
    }
}

void member_gate_enter(struct member_gate *gate) {
    if (gate != NULL) {
        (void)pthread_mutex_lock(&gate->lock);
        gate->running++;
        (void)pthread_mutex_unlock(&gate->lock);
    }
}

void member_gate_leave(struct member_gate *gate) {
    if (gate != NULL) {
        (void)pthread_mutex_lock(&gate->lock);
        one_less(gate);
        (void)pthread_cond_broadcast(&gate->changed);
        (void)pthread_mutex_unlock(&gate->lock);
    }
}

void member_gate_expect(struct member_gate *gate, unsigned *ticket, bool expected) {
    if (gate == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&gate->lock);
    bool counted = *ticket == gate->epoch + 1;
    if (expected != counted) {
        gate->expected += expected ? 1 : -1;
    }
    *ticket = expected ? gate->epoch + 1 : 0;
    if (!expected) {
        (void)pthread_cond_broadcast(&gate->changed);
    }
    (void)pthread_mutex_unlock(&gate->lock);
}

/* For what changes the shared context: the lock, while nobody evaluates. */
static void lock_idle(struct member_gate *gate) {
    (void)pthread_mutex_lock(&gate->lock);
    while (gate->computing) {
        (void)pthread_cond_wait(&gate->changed, &gate->lock);
    }
}

/* ---- batches ------------------------------------------------------------------------------- */

static struct shared *shared_of(const struct view *view) {
    return (struct shared *)view->base.member;
}

static size_t left(const struct request *r) {
    return r->n - r->done;
}

/* Takes the next portion of r into the batch, at most `most` tokens; returns the batch's new size. */
static size_t take(struct member_gate *gate, struct request *r, size_t n, size_t most) {
    r->portion = left(r) < most ? left(r) : most;
    for (size_t i = 0; i < r->portion; i++, n++) {
        gate->items[n] = r->items[r->done + i];
        gate->items[n].seq += (int32_t)r->view->first;
        gate->owner[n] = r;
        gate->index[n] = r->done + i;
    }
    return n;
}

static bool is_short(const struct request *r) {
    return left(r) <= SHORT;
}

/* Tokens that its timeline has, or will have. */
static size_t reach(const struct request *r) {
    return left(r) + r->view->base.length[r->items[r->done].seq];
}

/* Batches that a request may be paused for. */
static unsigned longest_pause(const struct request *r) {
    return is_short(r) ? PAUSE_SHORT : PAUSE;
}

/* Somebody whose text is far shorter goes first, also before the ends of tokens of a long one, which are
 * short requests, many of them, and slow. Steps of those who write do not count: they may take long in
 * all, and a portion of a prompt costs them little; nor do they pause. */
static bool pauses(const struct member_gate *gate, const struct request *r) {
    bool may = r->n > STEP && r->passed < longest_pause(r);
    for (const struct request *o = gate->waiting; o != NULL && may; o = o->next) {
        if (o->n > STEP && reach(o) < reach(r) / SHORTER) {
            return true;
        }
    }
    return false;
}

/* Whose batch is next: the member that most wait for with a few tokens, so that who is behind the
 * others meets them at the next batch of its member; then the one asked for first. Nobody is passed
 * over too often. Not all can pause: who has the shortest text does not. */
static const struct shared *next_member(const struct member_gate *gate) {
    const struct request *found = NULL;
    size_t most = 0;
    for (struct request *r = gate->waiting; r != NULL; r = r->next) {
        if (pauses(gate, r)) {
            r->most = longest_pause(r);
            continue;
        }
        if (r->passed >= r->most) {
            return shared_of(r->view);
        }
        size_t n = 0;
        for (const struct request *o = gate->waiting; o != NULL && is_short(r); o = o->next) {
            n += is_short(o) && shared_of(o->view) == shared_of(r->view);
        }
        if (found == NULL || n > most) {
            most = n;
            found = r;
        }
    }
    return shared_of(found->view);
}

/* Tokens of a batch of this member that may be evaluated in BATCH_SECONDS. */
static size_t room_of(const struct shared *m) {
    double n = m->per_token > 0.0 ? BATCH_SECONDS / m->per_token : BATCH;
    return n >= BATCH ? BATCH : n <= BATCH_LEAST ? BATCH_LEAST : (size_t)n;
}

/* The next batch: short requests, and behind them a portion of the long one that has least left, or
 * has waited too long. It is as large as what the short ones wait for anyway, unless nobody else waits,
 * or it comes out of a pause. */
static size_t gather(struct member_gate *gate) {
    const struct shared *m = next_member(gate);
    struct request *rest = NULL;
    size_t n = 0, room = room_of(m);
    bool others = false;
    for (struct request *r = gate->waiting; r != NULL; r = r->next) {
        r->portion = 0;
        if (shared_of(r->view) != m) {
            others = others || is_short(r);
        } else if (pauses(gate, r)) {
            continue;
        } else if (is_short(r) && n + left(r) <= SHORT_SHARE) {
            n = take(gate, r, n, SHORT);
        } else if (rest == NULL ||
                   (rest->passed < PAUSE && (r->passed >= PAUSE || left(r) < left(rest)))) {
            rest = r;
        }
    }
    if (rest != NULL) {
        /* What is nearly read is read sooner: its first byte waits for it. */
        size_t least = left(rest) <= BATCH ? NEARLY : PORTION;
        size_t most = (n == 0 && !others) || rest->passed >= PAUSE ? room : n > least ? n : least;
        most = most < room ? most : room;
        n = take(gate, rest, n, most < BATCH - n ? most : BATCH - n);
    }
    return n;
}

/* A row goes to its owner. An owner that fails does not stop the others. */
static void give_row(struct member_gate *gate, size_t item, const float *logits, float greatest) {
    struct request *r = gate->owner[item];
    if (r->status >= 0) {
        r->view->base.greatest = greatest;
        r->status = r->on_row(r->ctx, gate->index[item], logits, r->err);
    }
}

static enum packllm_status on_row(void *ctx, size_t item, const float *logits,
                                  struct packllm_error *err) {
    struct member_gate *gate = ctx;
    const struct member_context *c = shared_of(gate->owner[gate->from + item]->view)->context;
    (void)err;
    give_row(gate, gate->from + item, logits, c->greatest);
    return PACKLLM_OK;
}

static enum packllm_status keep_row(void *ctx, size_t item, const float *logits,
                                    struct packllm_error *err) {
    struct member_gate *gate = ctx;
    (void)err;
    gate->row[gate->from + item] = logits;
    gate->greatest[gate->from + item] =
        shared_of(gate->owner[gate->from + item]->view)->context->greatest;
    return PACKLLM_OK;
}

/* With the lock, which is given back meanwhile: r's rows of the batch. */
static void read_rows(struct member_gate *gate, struct request *r) {
    r->reads = false;
    (void)pthread_mutex_unlock(&gate->lock);
    for (size_t i = 0; i < BATCH; i++) {
        if (gate->row[i] != NULL && gate->owner[i] == r) {
            give_row(gate, i, gate->row[i], gate->greatest[i]);
        }
    }
    (void)pthread_mutex_lock(&gate->lock);
    if (--gate->reading == 0) {
        (void)pthread_cond_broadcast(&gate->changed);
    }
}

/* The kept rows are read by who asked for them, each in its own thread; own: of this one. */
static void hand_round(struct member_gate *gate, struct request *own) {
    (void)pthread_mutex_lock(&gate->lock);
    for (size_t i = 0; i < BATCH; i++) {
        if (gate->row[i] != NULL && !gate->owner[i]->reads) {
            gate->owner[i]->reads = true;
            gate->reading++;
        }
    }
    (void)pthread_cond_broadcast(&gate->changed);
    while (gate->reading > 0) {
        if (own->reads) {
            read_rows(gate, own);
        } else {
            (void)pthread_cond_wait(&gate->changed, &gate->lock);
        }
    }
    (void)pthread_mutex_unlock(&gate->lock);
}

/* Rows of a batch that several owners should read side by side. */
static bool are_large(const struct member_gate *gate, size_t from, size_t to) {
    const struct member *real = shared_of(gate->owner[from]->view)->real;
    size_t rows = 0;
    for (size_t i = from; i < to; i++) {
        rows += gate->items[i].want_row;
    }
    return real->rows_stay >= to - from && gate->owner[from] != gate->owner[to - 1] &&
           rows * real->table.n >= ROWS_LARGE;
}

/* Evaluates items [from, to) of the batch. Only who is alone in it can be stopped in the middle. */
static enum packllm_status evaluate(struct member_gate *gate, struct request *own, size_t from,
                                    size_t to, struct packllm_error *err) {
    bool large = are_large(gate, from, to);
    struct member_context *c = shared_of(gate->owner[from]->view)->context;
    bool alone = gate->owner[from] == gate->owner[to - 1];
    double start = c->seconds;
    gate->from = from;
    c->abort_flag = alone ? gate->owner[from]->view->base.abort_flag : NULL;
    enum packllm_status status =
        member_eval(c, gate->items + from, to - from, large ? keep_row : on_row, gate, err);
    c->abort_flag = NULL;
    if (large && status >= 0) {
        hand_round(gate, own);
    }
    if (large) { /* they were read, or are evaluated again */
        memset(gate->row, 0, sizeof gate->row);
    }
    gate->last = c->seconds - start;
    if (status >= 0 && to - from >= BATCH_LEAST) {
        struct shared *m = shared_of(gate->owner[from]->view);
        double each = gate->last / (double)(to - from);
        m->per_token = m->per_token > 0.0 ? 0.7 * m->per_token + 0.3 * each : each;
    }
    for (size_t i = from; i < to; i++) {
        gate->owner[i]->view->base.seconds += gate->last / (double)(to - from);
        gate->owner[i]->view->base.forwards += status >= 0;
    }
    return status;
}

/* The batch of n items. If it fails for all, each owner's part is tried alone, so that the error
 * meets whom it concerns. */
static void evaluate_batch(struct member_gate *gate, struct request *own, size_t n) {
    struct packllm_error why = {0};
    bool together = gate->owner[0] != gate->owner[n - 1];
    if (together && evaluate(gate, own, 0, n, &why) >= 0) {
        return;
    }
    for (size_t from = 0, to = 0; from < n; from = to) {
        struct request *r = gate->owner[from];
        to = from + r->portion;
        enum packllm_status status = evaluate(gate, own, from, to, &why);
        if (status < 0 && r->status >= 0) {
            r->status = status;
            if (r->err != NULL) {
                *r->err = why;
            }
        }
    }
}

/* A request ends: on an error its sequences are back where they were. */
static void finish(struct member_gate *gate, struct request *r) {
    struct member_context *c = shared_of(r->view)->context;
    for (uint32_t k = 0; r->status < 0 && k < r->view->base.member->n_seq; k++) {
        if (r->view->base.length[k] > r->saved[k]) {
            (void)member_truncate(c, (int32_t)(r->view->first + k), r->saved[k], NULL);
        }
    }
    r->finished = true;
    gate->running++; /* on its behalf, so that nobody takes it for one that waits */
}

/* After a batch: who is done leaves the list; who was served in part goes to its end. */
static void sort_out(struct member_gate *gate) {
    struct request *rest = NULL, *served = NULL, **rest_end = &rest, **served_end = &served;
    for (struct request *r = gate->waiting, *next; r != NULL; r = next) {
        next = r->next;
        r->next = NULL;
        r->done += r->status >= 0 ? r->portion : 0;
        r->passed = r->portion > 0 ? 0 : r->passed + 1;
        r->most = r->portion > 0 ? PATIENCE : r->most;
        if (r->status < 0 || r->done == r->n) {
            finish(gate, r);
        } else if (r->portion > 0) {
            *served_end = r;
            served_end = &r->next;
        } else {
            *rest_end = r;
            rest_end = &r->next;
        }
        r->portion = 0;
    }
    *rest_end = served;
    gate->waiting = rest;
}

/* One batch for those who wait. Called with the lock, which is given back meanwhile: requests that
 * come in behind the others are not touched. */
static void lead(struct member_gate *gate, struct request *own) {
    bool cancelled = false;
    for (struct request *r = gate->waiting; r != NULL; r = r->next) {
        const struct member_context *c = &r->view->base;
        if (c->abort_flag != NULL && atomic_load(c->abort_flag)) {
            r->status = fail(r->err, PACKLLM_E_CANCELLED, c->member->index,
                             "cancelled while member '%s' was evaluated", c->member->name);
            cancelled = true;
        }
    }
    if (!cancelled) {
        size_t n = gather(gate);
        gate->computing = true;
        (void)pthread_mutex_unlock(&gate->lock);
        evaluate_batch(gate, own, n);
        (void)pthread_mutex_lock(&gate->lock);
        gate->computing = false;
    }
    sort_out(gate);
    double at = base_clock(); /* those it served may come again before the next */
    for (struct request *r = gate->waiting; r != NULL; r = r->next) {
        r->since = at;
    }
    (void)pthread_cond_broadcast(&gate->changed);
}

/* Seconds until a batch may begin without those who do not wait: <= 0 now. */
static double until_batch(struct member_gate *gate) {
    double most = gate->last > HOLD_LEAST ? gate->last : HOLD_LEAST, at = base_clock();
    double since = gate->waiting->since;
    for (const struct request *r = gate->waiting; r != NULL; r = r->next) {
        since = r->since < since ? r->since : since;
    }
    if (gate->running > 0) {
        return since + most - at;
    }
    if (gate->expected <= 0) {
        return 0.0;
    }
    double rest = (gate->quiet > since ? gate->quiet : since) + LINGER - at;
    if (rest <= 0.0) { /* whoever that is does something else */
        gate->expected = 0;
        gate->epoch++;
    }
    return rest;
}

static void wait_for(struct member_gate *gate, double seconds) {
    double at = base_clock() + seconds;
    struct timespec until = {.tv_sec = (time_t)at};
    until.tv_nsec = (long)((at - (double)until.tv_sec) * 1e9);
    (void)pthread_cond_timedwait(&gate->changed, &gate->lock, &until);
}

static enum packllm_status view_eval(struct member_context *base, const struct member_item *items,
                                     size_t n, member_row_fn row_fn, void *ctx,
                                     struct packllm_error *err) {
    struct view *view = (struct view *)base;
    struct member_gate *gate = shared_of(view)->gate;
    struct request r = {.view = view,
                        .most = PATIENCE,
                        .items = items,
                        .n = n,
                        .on_row = row_fn,
                        .ctx = ctx,
                        .err = err};
    memcpy(r.saved, base->length, base->member->n_seq * sizeof *r.saved);
    (void)pthread_mutex_lock(&gate->lock);
    struct request **end = &gate->waiting;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = &r;
    r.since = base_clock();
    one_less(gate);
    while (!r.finished) {
        double seconds = gate->computing ? 0.0 : until_batch(gate);
        if (r.reads) {
            read_rows(gate, &r);
        } else if (gate->computing) {
            (void)pthread_cond_wait(&gate->changed, &gate->lock);
        } else if (seconds <= 0.0) {
            lead(gate, &r);
        } else {
            wait_for(gate, seconds);
        }
    }
    (void)pthread_mutex_unlock(&gate->lock);
    return r.status < 0 ? r.status : PACKLLM_OK;
}

/* ---- views --------------------------------------------------------------------------------- */

static enum packllm_status view_fork(struct member_context *base, int32_t dst, int32_t src,
                                     uint32_t n, struct packllm_error *err) {
    const struct view *view = (const struct view *)base;
    struct shared *m = shared_of(view);
    lock_idle(m->gate);
    enum packllm_status status =
        member_fork(m->context, dst + (int32_t)view->first, src + (int32_t)view->first, n, err);
    (void)pthread_mutex_unlock(&m->gate->lock);
    return status;
}

enum packllm_status member_shared_copy(struct member_context *to, int32_t dst,
                                       const struct member_context *from, int32_t src, uint32_t n,
                                       struct packllm_error *err) {
    if (to->member != from->member || to == from || to->member->ops->eval != view_eval) {
        return fail(err, PACKLLM_E_UNSUPPORTED, to->member->index,
                    "member '%s': these timelines share no context", to->member->name);
    }
    const struct view *into = (const struct view *)to, *of = (const struct view *)from;
    struct shared *m = shared_of(into);
    assert(dst >= 0 && (uint32_t)dst < m->base.n_seq && src >= 0 && (uint32_t)src < m->base.n_seq);
    lock_idle(m->gate);
    enum packllm_status status =
        member_fork(m->context, dst + (int32_t)into->first, src + (int32_t)of->first, n, err);
    (void)pthread_mutex_unlock(&m->gate->lock);
    return status;
}

static enum packllm_status view_truncate(struct member_context *base, int32_t seq, uint32_t n,
                                         struct packllm_error *err) {
    const struct view *view = (const struct view *)base;
    struct shared *m = shared_of(view);
    lock_idle(m->gate);
    enum packllm_status status = member_truncate(m->context, seq + (int32_t)view->first, n, err);
    (void)pthread_mutex_unlock(&m->gate->lock);
    return status;
}

static enum packllm_status view_open(struct member *base, struct member_context **out,
                                     struct packllm_error *err) {
    struct shared *m = (struct shared *)base;
    struct view *view = alloc_zero(1, sizeof *view);
    enum packllm_status status = PACKLLM_OK;
    uint32_t k = 0;
    if (view == NULL) {
        return fail_memory(err, sizeof *view);
    }
    lock_idle(m->gate);
    while (k < m->n_views && m->taken[k]) {
        k++;
    }
    if (k == m->n_views) {
        status = fail(err, PACKLLM_E_MEMORY, base->index,
                      "member '%s': all its %" PRIu32 " timelines are in use: close a session, or "
                      "open the pack for more (n_parallel)",
                      base->name, m->n_views);
    } else if (m->context == NULL) {
        status = member_context_open(m->real, &m->context, err);
    }
    if (status >= 0) {
        m->taken[k] = true;
        view->base.member = base;
        view->first = k * base->n_seq;
        view->base.length = m->context->length + view->first;
        *out = &view->base;
    } else {
        base_free(view);
    }
    (void)pthread_mutex_unlock(&m->gate->lock);
    return status;
}

static void view_close(struct member_context *base) {
    struct view *view = (struct view *)base;
    struct shared *m = shared_of(view);
    bool used = false;
    lock_idle(m->gate);
    for (uint32_t k = 0; k < base->member->n_seq; k++) {
        (void)member_truncate(m->context, (int32_t)(view->first + k), 0, NULL);
    }
    m->taken[view->first / base->member->n_seq] = false;
    for (uint32_t k = 0; k < m->n_views; k++) {
        used = used || m->taken[k];
    }
    if (!used) {
        member_context_close(m->context);
        m->context = NULL;
    }
    (void)pthread_mutex_unlock(&m->gate->lock);
    base_free(view);
}

/* ---- the member ---------------------------------------------------------------------------- */

static enum packllm_status shared_tokenize(struct member *base, const char *text, size_t size,
                                           bool inside, int32_t *out, size_t cap, size_t *out_n,
                                           struct packllm_error *err) {
    struct member *real = ((struct shared *)base)->real;
    return real->ops->tokenize(real, text, size, inside, out, cap, out_n, err);
}

static enum packllm_status shared_render(struct member *base,
                                         const struct packllm_message *messages, size_t n,
                                         struct buf *out, struct packllm_error *err) {
    struct member *real = ((struct shared *)base)->real;
    return real->ops->chat_render(real, messages, n, out, err);
}

static enum packllm_status shared_controls(struct member *base, const char *words, size_t size,
                                           struct member_control *out, size_t cap, size_t *out_n,
                                           struct packllm_error *err) {
    struct member *real = ((struct shared *)base)->real;
    return real->ops->chat_controls(real, words, size, out, cap, out_n, err);
}

static void shared_close(struct member *base) {
    struct shared *m = (struct shared *)base;
    assert(m->context == NULL);
    member_close(m->real);
    base_free(m->taken);
    base_free(m);
}

static const struct member_ops shared_ops = {
    .tokenize = shared_tokenize,
    .context_open = view_open,
    .context_close = view_close,
    .eval = view_eval,
    .fork = view_fork,
    .truncate = view_truncate,
    .chat_render = shared_render,
    .chat_controls = shared_controls,
    .close = shared_close,
};

enum packllm_status member_shared_open(struct member **out, struct member *real, uint32_t n,
                                       struct member_gate *gate, struct packllm_error *err) {
    assert(n > 0 && real->n_seq % n == 0 && real->n_seq / n <= MEMBER_SEQ_MAX);
    struct shared *m = alloc_zero(1, sizeof *m);
    bool *taken = alloc_zero(n, sizeof *taken);
    if (m == NULL || taken == NULL) {
        base_free(m);
        base_free(taken);
        return fail_memory(err, sizeof *m);
    }
    *m = (struct shared){.base = *real, .real = real, .gate = gate, .n_views = n, .taken = taken};
    m->ops = shared_ops;
    m->ops.chat_render = real->ops->chat_render != NULL ? shared_render : NULL;
    m->ops.chat_controls = real->ops->chat_controls != NULL ? shared_controls : NULL;
    m->base.ops = &m->ops;
    m->base.n_seq = real->n_seq / n;
    *out = &m->base;
    return PACKLLM_OK;
}
