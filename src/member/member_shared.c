/* member_shared.c - one batch for many timelines, see member_shared.h. */
#include "member/member_shared.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "member/member_base.h"

enum {
    BATCH = 64,      /* tokens evaluated together */
    SHORT = 8,       /* requests of so few tokens go first … */
    SHORT_SHARE = 48 /* … but leave room for a portion of a long one */
};

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
    bool *taken; /* [n_views] */
};

/* What a waiting thread wants evaluated. It lives on that thread's stack. */
struct request {
    struct request *next;
    struct view *view;
    const struct member_item *items; /* [n], of which `done` are evaluated */
    size_t n, done;
    size_t portion; /* taken into the batch that is being evaluated */
    uint32_t saved[MEMBER_SEQ_MAX];
    member_row_fn on_row;
    void *ctx;
    enum packllm_status status;
    struct packllm_error *err;
    bool finished;
};

struct member_gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int running;    /* threads inside the pack that do not wait for rows */
    bool computing; /* one of the waiting threads evaluates for all */
    struct request *waiting;
    /* The batch that is being evaluated. */
    struct member_item items[BATCH];
    struct request *owner[BATCH]; /* of each item */
    size_t index[BATCH];          /* its place in the owner's items */
    size_t from;                  /* its items before this one are left out */
};

/* ---- the gate ------------------------------------------------------------------------------ */

enum packllm_status member_gate_open(struct member_gate **out, struct packllm_error *err) {
    struct member_gate *gate = alloc_zero(1, sizeof *gate);
    if (gate == NULL) {
        return fail_memory(err, sizeof *gate);
    }
    (void)pthread_mutex_init(&gate->lock, NULL);
    (void)pthread_cond_init(&gate->changed, NULL);
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
        gate->running--;
        (void)pthread_cond_broadcast(&gate->changed);
        (void)pthread_mutex_unlock(&gate->lock);
    }
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

/* Takes the next portion of r into the batch, at most `most` tokens; returns the batch's new size. */
static size_t take(struct member_gate *gate, struct request *r, size_t n, size_t most) {
    size_t left = r->n - r->done;
    r->portion = left < most ? left : most;
    for (size_t i = 0; i < r->portion; i++, n++) {
        gate->items[n] = r->items[r->done + i];
        gate->items[n].seq += (int32_t)r->view->first;
        gate->owner[n] = r;
        gate->index[n] = r->done + i;
    }
    return n;
}

/* The next batch: of the member that was asked for first, short requests before long ones. */
static size_t gather(struct member_gate *gate) {
    const struct shared *m = shared_of(gate->waiting->view);
    size_t n = 0;
    for (struct request *r = gate->waiting; r != NULL; r = r->next) {
        r->portion = 0;
        if (shared_of(r->view) == m && r->n - r->done <= SHORT &&
            n + r->n - r->done <= SHORT_SHARE) {
            n = take(gate, r, n, SHORT);
        }
    }
    for (struct request *r = gate->waiting; r != NULL && n < BATCH; r = r->next) {
        if (shared_of(r->view) == m && r->portion == 0) {
            n = take(gate, r, n, BATCH - n);
        }
    }
    return n;
}

/* A row goes to its owner, who waits. An owner that fails does not stop the others. */
static enum packllm_status on_row(void *ctx, size_t item, const float *logits,
                                  struct packllm_error *err) {
    struct member_gate *gate = ctx;
    struct request *r = gate->owner[gate->from + item];
    (void)err;
    if (r->status >= 0) {
        r->view->base.greatest = shared_of(r->view)->context->greatest;
        r->status = r->on_row(r->ctx, gate->index[gate->from + item], logits, r->err);
    }
    return PACKLLM_OK;
}

/* Evaluates items [from, to) of the batch. Only who is alone in it can be stopped in the middle. */
static enum packllm_status evaluate(struct member_gate *gate, size_t from, size_t to,
                                    struct packllm_error *err) {
    struct member_context *c = shared_of(gate->owner[from]->view)->context;
    bool alone = gate->owner[from] == gate->owner[to - 1];
    double start = c->seconds;
    gate->from = from;
    c->abort_flag = alone ? gate->owner[from]->view->base.abort_flag : NULL;
    enum packllm_status status = member_eval(c, gate->items + from, to - from, on_row, gate, err);
    c->abort_flag = NULL;
    for (size_t i = from; i < to; i++) {
        gate->owner[i]->view->base.seconds += (c->seconds - start) / (double)(to - from);
        gate->owner[i]->view->base.forwards += status >= 0;
    }
    return status;
}

/* The batch of n items. If it fails for all, each owner's part is tried alone, so that the error
 * meets whom it concerns. */
static void evaluate_batch(struct member_gate *gate, size_t n) {
    struct packllm_error why = {0};
    bool together = gate->owner[0] != gate->owner[n - 1];
    if (together && evaluate(gate, 0, n, &why) >= 0) {
        return;
    }
    for (size_t from = 0, to = 0; from < n; from = to) {
        struct request *r = gate->owner[from];
        to = from + r->portion;
        enum packllm_status status = evaluate(gate, from, to, &why);
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
static void lead(struct member_gate *gate) {
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
        evaluate_batch(gate, n);
        (void)pthread_mutex_lock(&gate->lock);
        gate->computing = false;
    }
    sort_out(gate);
    (void)pthread_cond_broadcast(&gate->changed);
}

static enum packllm_status view_eval(struct member_context *base, const struct member_item *items,
                                     size_t n, member_row_fn row_fn, void *ctx,
                                     struct packllm_error *err) {
    struct view *view = (struct view *)base;
    struct member_gate *gate = shared_of(view)->gate;
    struct request r = {
        .view = view, .items = items, .n = n, .on_row = row_fn, .ctx = ctx, .err = err};
    memcpy(r.saved, base->length, base->member->n_seq * sizeof *r.saved);
    (void)pthread_mutex_lock(&gate->lock);
    struct request **end = &gate->waiting;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = &r;
    gate->running--;
    while (!r.finished) {
        if (!gate->computing && gate->running <= 0) {
            lead(gate);
        } else {
            (void)pthread_cond_wait(&gate->changed, &gate->lock);
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
                                           int32_t *out, size_t cap, size_t *out_n,
                                           struct packllm_error *err) {
    struct member *real = ((struct shared *)base)->real;
    return real->ops->tokenize(real, text, size, out, cap, out_n, err);
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
