/* scheduler.c - who works on which choice, and when. `parallel` workers, each a thread, take the next
 * choice from the queue and drive its session to the end; what they evaluate at the same time the
 * library makes into one batch for each member (packllm_params.n_parallel), prompts in portions behind
 * single tokens. So nobody here waits for anybody else's prompt.
 *
 * Jobs wait in a queue. A worker begins one choice of the first job (all choices of one long prompt,
 * so that it is evaluated once), and the job goes to the end if more of it remain: a request of many
 * prompts does not hold up the others. Sessions stay in their slots when a choice has ended, and the
 * next one takes over what its text shares (slots.c).
 *
 * Locks: the scheduler's before a job's. */
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "server/private.h"

enum { LONG = 512 }; /* bytes of a prompt whose choices are written one after the other */

struct worker {
    struct scheduler *scheduler;
    pthread_t thread;
    struct choice *choice; /* that it works on, or NULL; under the scheduler's lock */
};

struct scheduler {
    struct serve *serve;
    pthread_mutex_t lock, echo;
    pthread_cond_t changed;
    struct job *first, *last;
    size_t n_queued, n_active;
    struct worker *workers; /* [n_workers] */
    size_t n_workers;
    struct slot *slots; /* [parallel] */
    struct share share;
    uint64_t turn; /* of their last use */
    bool stop, abandon;
};

static void count(struct serve *serve, enum metric metric, uint64_t by) {
    atomic_fetch_add(&serve->metrics.value[metric], by);
}

static void push(struct scheduler *s, struct job *job) {
    job->next = NULL;
    if (s->last != NULL) {
        s->last->next = job;
    } else {
        s->first = job;
    }
    s->last = job;
    s->n_queued++;
    atomic_store(&s->serve->metrics.value[METRIC_QUEUED], s->n_queued);
}

static struct job *pop(struct scheduler *s) {
    struct job *job = s->first;
    s->first = job->next;
    s->last = s->first == NULL ? NULL : s->last;
    s->n_queued--;
    atomic_store(&s->serve->metrics.value[METRIC_QUEUED], s->n_queued);
    return job;
}

bool scheduler_add(struct scheduler *s, struct job *job, struct ask_error *e) {
    (void)pthread_mutex_lock(&s->lock);
    bool full = s->n_queued >= s->serve->config.queue, stop = s->stop;
    if (!full && !stop) {
        push(s, job);
        (void)pthread_cond_signal(&s->changed);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (full || stop) {
        (void)ask_fail(e, stop ? 503 : 429, NULL,
                       stop ? "the server is stopping" : "too many requests wait: try again later");
        e->retry_after = stop ? 5 : 1;
    }
    return !full && !stop;
}

/* Else it would keep its place in the queue, and its connection, until a worker comes to it. */
void scheduler_drop(struct scheduler *s, struct job *job) {
    struct packllm_error err = {.status = PACKLLM_E_CANCELLED};
    (void)pthread_mutex_lock(&s->lock);
    struct job *before = NULL, *found = s->first;
    while (found != NULL && found != job) {
        before = found;
        found = found->next;
    }
    if (found != NULL) {
        *(before != NULL ? &before->next : &s->first) = job->next;
        s->last = s->last == job ? before : s->last;
        s->n_queued--;
        atomic_store(&s->serve->metrics.value[METRIC_QUEUED], s->n_queued);
        (void)pthread_mutex_lock(&job->lock);
        job_fail(job, PACKLLM_E_CANCELLED, &err);
        for (; job->n_begun < job->n_choices; job->n_begun++) {
            job->choices[job->n_begun].state = CHOICE_DONE;
            job->n_ended++;
        }
        job->finished = job->n_ended == job->n_choices;
        (void)pthread_cond_broadcast(&job->changed);
        (void)pthread_mutex_unlock(&job->lock);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

/* ---- one choice ---- */

void choice_weights(struct choice *c, const struct packllm_weights *weights) {
    memcpy(c->member_weights, weights->members, weights->n_members * sizeof *c->member_weights);
    c->weights = *weights;
    c->weights.members = c->member_weights;
}

struct packllm_session_params choice_params(const struct serve *serve, const struct choice *c) {
    const struct job *job = c->job;
    struct packllm_session_params p = serve->params;
    bool all = job->pack == serve->models[0].pack;
    p.sampling = job->ask.sampling;
    p.sampling.seed += c->index % job->ask.n;
    p.display = (int32_t)job->display;
    p.max_tokens = job->ask.max_tokens;
    p.stop = (const char *const *)job->ask.stop;
    p.n_stop = job->ask.n_stop;
    p.n_top = job->ask.logprobs ? job->ask.n_top : 0;
    p.bias = job->ask.bias;
    p.n_bias = job->ask.n_bias;
    p.json_schema = job->ask.json_schema;
    p.json_schema_or_text = job->ask.or_text;
    p.grammar = job->ask.grammar;
    p.why = job->ask.why;
    if (job->fixed != NULL) {
        p.weigher = PACKLLM_WEIGH_FIXED;
        p.fixed = job->fixed;
    } else if (!all && (p.weigher == PACKLLM_WEIGH_FIXED || p.weigher == PACKLLM_WEIGH_DEXPERTS)) {
        p.weigher = PACKLLM_WEIGH_EXACT; /* those name members that are not all here */
    }
    return p;
}

/* A cancel between the job's flag and the session's beginning would be lost: look again. */
static void on_progress(void *data, int member, double share) {
    struct choice *c = data;
    (void)member;
    (void)share;
    if (atomic_load(&c->job->cancelled)) {
        packllm_session_cancel(c->session);
    }
}

/* Reads the prompt as the request has it: text, ids, messages. */
static enum packllm_status read_prompt(struct scheduler *s, struct choice *c,
                                       struct packllm_error *err) {
    struct job *job = c->job;
    const struct ask *ask = &job->ask;
    if (ask->kind == ASK_CHAT) {
        return packllm_session_chat(c->session, ask->messages, ask->n_messages, err);
    }
    const struct ask_prompt *prompt = &ask->prompts[c->prompt];
    struct buf text;
    struct ask_error e;
    buf_init(&text, (size_t)ASK_BODY * 4);
    enum packllm_status status = PACKLLM_OK;
    if (prompt->ids == NULL) {
        (void)buf_add(&text, prompt->text, prompt->size);
    } else if (!tokens_text(job->model, prompt->ids, prompt->n_ids, &text, &e)) {
        *err = (struct packllm_error){.status = PACKLLM_E_TEXT};
        memcpy(err->message, e.message, sizeof err->message - 1);
        buf_done(&text);
        return PACKLLM_E_TEXT;
    }
    if (ask->kind == ASK_WEIGHTS) {
        status = packllm_session_weigh(c->session, text.data, text.size, err);
    } else if ((ask->echo && ask->logprobs) || text.size == 0) {
        /* It may need a second session, and the pack has room for one more than there are slots. */
        (void)pthread_mutex_lock(&s->echo);
        status = echo_read(s->serve, c, err);
        (void)pthread_mutex_unlock(&s->echo);
    } else {
        status = packllm_session_prompt(c->session, text.data, text.size, err);
        (void)pthread_mutex_lock(&job->lock);
        if (status >= 0 && ask->echo) {
            (void)buf_add(&c->text, text.data, text.size);
        }
        (void)pthread_mutex_unlock(&job->lock);
    }
    buf_done(&text);
    return status;
}

/* The session stays in its slot, unless what failed makes it doubtful. Views that are the job's own
 * go with it, so the session becomes the whole pack's. */
static void keep_session(struct serve *serve, struct slot *slot, const struct job *job,
                         enum packllm_status status) {
    bool keep = slot->session != NULL &&
                (status >= 0 || status == PACKLLM_E_CANCELLED || status == PACKLLM_E_CONTEXT);
    if (keep && job->own_pack && slot->pack == job->pack) {
        keep = packllm_session_open_from(&slot->session, serve->models[0].pack, &serve->params,
                                         slot->session, NULL) >= 0;
        slot->pack = serve->models[0].pack;
    }
    if (!keep) {
        slot_clear(slot);
    }
}

/* The choice is over; the last one ends the job. Nobody here looks at it afterwards. The slot is free
 * before anybody is told, so that a request which follows finds there what its text shares. */
static void end_choice(struct worker *w, struct slot *slot, struct choice *c,
                       enum packllm_status status, const struct packllm_error *err) {
    struct job *job = c->job;
    (void)pthread_mutex_lock(&w->scheduler->lock);
    w->choice = NULL;
    (void)pthread_mutex_unlock(&w->scheduler->lock);
    share_end(&w->scheduler->share, slot, status >= 0);
    (void)pthread_mutex_lock(&job->lock);
    bool opened = c->session != NULL;
    c->session = NULL;
    (void)pthread_mutex_unlock(&job->lock);
    if (opened) {
        keep_session(w->scheduler->serve, slot, job, status);
    }
    (void)pthread_mutex_lock(&w->scheduler->lock);
    slot->busy = false;
    (void)pthread_mutex_unlock(&w->scheduler->lock);
    (void)pthread_mutex_lock(&job->lock);
    if (status < 0) {
        job_fail(job, status, err);
        atomic_store(&job->cancelled, true); /* its other choices need not go on */
    }
    c->state = CHOICE_DONE;
    job->n_ended++;
    job->finished = job->n_ended == job->n_choices;
    (void)pthread_cond_broadcast(&job->changed);
    (void)pthread_mutex_unlock(&job->lock);
}

static enum packllm_status begin(struct scheduler *s, struct slot *slot, struct choice *c,
                                 struct buf *key, struct packllm_error *err) {
    size_t have = slot_shares(slot, c->job->pack, s->serve->models[0].pack, key);
    struct serve *serve = s->serve;
    struct job *job = c->job;
    struct packllm_session_params params = choice_params(serve, c);
    struct packllm_session *session = NULL;
    struct packllm_weights weights;
    struct packllm_stats stats;
    params.progress = on_progress;
    params.progress_data = c;
    if (atomic_load(&job->cancelled)) {
        return PACKLLM_E_CANCELLED;
    }
    enum packllm_status status =
        packllm_session_open_from(&session, job->pack, &params, slot->session, err);
    if (status < 0) {
        return status;
    }
    (void)pthread_mutex_lock(&s->lock); /* others compare their texts with it */
    slot->session = session;
    slot->pack = job->pack;
    buf_done(&slot->key);
    slot->key = *key;
    *key = (struct buf){0};
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_mutex_lock(&job->lock);
    c->session = session;
    c->state = CHOICE_READS;
    (void)pthread_mutex_unlock(&job->lock);
    double start = base_clock();
    if (job->ask.kind == ASK_WEIGHTS && job->ask.n_prompts == 0) {
        return PACKLLM_OK;
    }
    count(serve, METRIC_SHARED, share_take(&s->share, slot, have, &job->cancelled));
    status = atomic_load(&job->cancelled) ? PACKLLM_E_CANCELLED : read_prompt(s, c, err);
    count(serve, METRIC_PROMPT_MS, (uint64_t)((base_clock() - start) * 1e3));
    if (status < 0) {
        return status;
    }
    (void)pthread_mutex_lock(&job->lock);
    if (c->weights.space == NULL && packllm_session_weights(session, &weights) >= 0) {
        choice_weights(c, &weights);
    }
    if (c->prompt_tokens == 0 && job->ask.kind != ASK_WEIGHTS &&
        packllm_session_stats(session, &stats, NULL) >= 0) {
        c->prompt_tokens = stats.prompt_tokens;
    }
    c->state = CHOICE_WRITES;
    (void)pthread_cond_broadcast(&job->changed);
    (void)pthread_mutex_unlock(&job->lock);
    share_give(&s->share, slot);
    count(serve, METRIC_PROMPT_TOKENS, c->prompt_tokens);
    return PACKLLM_OK;
}

/* Steps until the choice has ended. */
static enum packllm_status write_reply(struct scheduler *s, struct slot *slot, struct choice *c,
                                       struct packllm_error *err) {
    struct serve *serve = s->serve;
    struct job *job = c->job;
    enum packllm_status status = PACKLLM_PIECE;
    while (status == PACKLLM_PIECE) {
        struct packllm_piece piece = {.text = "", .token = -1};
        double start = base_clock();
        status = atomic_load(&job->cancelled) ? PACKLLM_E_CANCELLED
                                              : packllm_session_step(c->session, &piece, err);
        count(serve, METRIC_STEP_MS, (uint64_t)((base_clock() - start) * 1e3));
        if (status < 0) {
            return status;
        }
        share_give(&s->share, slot);
        (void)pthread_mutex_lock(&job->lock);
        enum packllm_finish finish = packllm_session_finish(c->session);
        bool fine = (!job->ask.why || why_add(c, &piece)) &&
                    (piece.size == 0 || buf_add(&c->text, piece.text, piece.size));
        if (piece.token >= 0) {
            c->tokens++;
            count(serve, METRIC_TOKENS, 1);
        }
        bool told_end = c->finish == PACKLLM_FINISH_NONE && finish == PACKLLM_FINISH_END;
        if (fine && job->ask.logprobs && (piece.token >= 0 || (told_end && job->ask.echo))) {
            fine = job_piece(c, &piece, false);
        }
        c->finish = finish;
        (void)pthread_cond_broadcast(&job->changed);
        (void)pthread_mutex_unlock(&job->lock);
        if (!fine) {
            (void)strcpy(err->message, "there is not enough memory for the reply");
            return PACKLLM_E_MEMORY;
        }
    }
    return status;
}

/* ---- workers ---- */

/* With the lock: the next choices that one worker takes, from *out; how many. */
static size_t next_choices(struct scheduler *s, struct choice **out) {
    struct job *job = pop(s);
    const struct ask *ask = &job->ask;
    size_t from = job->n_begun, n = 1, size = 0;
    for (size_t i = 0; i < ask->n_messages; i++) {
        size += strlen(ask->messages[i].content);
    }
    const struct choice *first = &job->choices[from];
    if (ask->kind == ASK_COMPLETION) {
        const struct ask_prompt *prompt = &ask->prompts[first->prompt];
        size = prompt->size > prompt->n_ids ? prompt->size : prompt->n_ids;
    }
    while (size >= LONG && from + n < job->n_choices &&
           job->choices[from + n].prompt == first->prompt) {
        n++;
    }
    *out = &job->choices[from];
    job->n_begun += n;
    if (job->n_begun < job->n_choices) {
        push(s, job);
    }
    return n;
}

static void work_on(struct worker *w, struct choice *c) {
    struct scheduler *s = w->scheduler;
    struct packllm_error err = {0};
    struct buf key;
    slot_key(&key, c);
    (void)pthread_mutex_lock(&s->lock);
    struct slot *slot =
        slot_choose(s->slots, s->serve->config.parallel, c->job, s->serve->models[0].pack, &key);
    slot->busy = true;
    slot->used = ++s->turn;
    (void)pthread_mutex_unlock(&s->lock);
    enum packllm_status status = begin(s, slot, c, &key, &err);
    buf_done(&key);
    if (status >= 0 && c->job->ask.kind != ASK_WEIGHTS) {
        status = write_reply(s, slot, c, &err);
    }
    end_choice(w, slot, c, status, &err);
}

static void *run(void *data) {
    struct worker *w = data;
    struct scheduler *s = w->scheduler;
    (void)pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->first == NULL && !s->stop) {
            (void)pthread_cond_wait(&s->changed, &s->lock);
        }
        if (s->first == NULL) {
            break;
        }
        struct choice *from = NULL;
        size_t n = next_choices(s, &from);
        atomic_store(&s->serve->metrics.value[METRIC_ACTIVE], ++s->n_active);
        for (size_t i = 0; i < n; i++) {
            if (s->abandon) {
                atomic_store(&from[i].job->cancelled, true);
            }
            w->choice = &from[i];
            (void)pthread_mutex_unlock(&s->lock);
            work_on(w, &from[i]);
            (void)pthread_mutex_lock(&s->lock);
        }
        atomic_store(&s->serve->metrics.value[METRIC_ACTIVE], --s->n_active);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

struct scheduler *scheduler_open(struct serve *serve) {
    size_t n = serve->config.parallel;
    struct scheduler *s = alloc_zero(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->serve = serve;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_mutex_init(&s->echo, NULL);
    (void)pthread_cond_init(&s->changed, NULL);
    s->workers = alloc_zero(n, sizeof *s->workers);
    s->slots = alloc_zero(n, sizeof *s->slots);
    bool fine = s->workers != NULL && s->slots != NULL &&
                share_init(&s->share, &s->lock, s->slots, n, serve->models[0].pack);
    for (size_t i = 0; i < n && fine; i++) {
        s->workers[i].scheduler = s;
        fine = pthread_create(&s->workers[i].thread, NULL, run, &s->workers[i]) == 0;
        s->n_workers += fine;
    }
    if (!fine) {
        scheduler_close(s);
        return NULL;
    }
    return s;
}

/* With the lock: everything that runs or waits is to end. */
static void abandon(struct scheduler *s) {
    s->abandon = true;
    for (size_t i = 0; i < s->n_workers; i++) {
        struct choice *c = s->workers[i].choice;
        if (c != NULL) {
            (void)pthread_mutex_lock(&c->job->lock);
            job_cancel(c->job);
            (void)pthread_mutex_unlock(&c->job->lock);
        }
    }
    for (struct job *job = s->first; job != NULL; job = job->next) {
        atomic_store(&job->cancelled, true);
    }
}

void scheduler_stop(struct scheduler *s, double grace) {
    if (s == NULL || s->n_workers == 0) {
        return;
    }
    double until = base_clock() + grace;
    (void)pthread_mutex_lock(&s->lock);
    s->stop = true;
    (void)pthread_cond_broadcast(&s->changed);
    while (base_clock() < until && (s->first != NULL || s->n_active > 0)) {
        (void)pthread_mutex_unlock(&s->lock);
        (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        (void)pthread_mutex_lock(&s->lock);
    }
    abandon(s);
    atomic_store(&s->serve->stopping, true);
    (void)pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < s->n_workers; i++) {
        (void)pthread_join(s->workers[i].thread, NULL);
    }
    s->n_workers = 0;
}

void scheduler_close(struct scheduler *s) {
    if (s == NULL) {
        return;
    }
    scheduler_stop(s, 0);
    for (size_t i = 0; s->slots != NULL && i < s->serve->config.parallel; i++) {
        slot_clear(&s->slots[i]);
    }
    share_done(&s->share);
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->echo);
    (void)pthread_mutex_destroy(&s->lock);
    base_free(s->workers);
    base_free(s->slots);
    base_free(s);
}
