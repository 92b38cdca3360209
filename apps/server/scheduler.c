/* scheduler.c - the one thread that owns sessions. Connections parse and queue; only this file and
 * echo.c evaluate, so no lock guards a KV cache.
 *
 * Jobs wait in a queue. A choice of the first job is begun when a place is free, and the job goes to the
 * end if more of it remain: a request of many prompts does not hold up the others. A prompt is
 * evaluated whole; between prompts every session that writes takes a step (step_many, the seam for
 * batches over sessions). */
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "server/private.h"

struct scheduler {
    struct serve *serve;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct job *first, *last;
    size_t n_queued;
    struct choice **active; /* [parallel] */
    size_t n_active;
    bool stop, abandon, running;
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
static enum packllm_status read_prompt(struct serve *serve, struct choice *c,
                                       struct packllm_error *err) {
    struct job *job = c->job;
    const struct ask *ask = &job->ask;
    if (ask->kind == ASK_CHAT) {
        return packllm_session_chat(c->session, ask->messages, ask->n_messages, err);
    }
    const struct ask_prompt *prompt = &ask->prompts[c->prompt];
    if (ask->kind == ASK_WEIGHTS) {
        return packllm_session_weigh(c->session, prompt->text, prompt->size, err);
    }
    struct buf text;
    struct ask_error e;
    buf_init(&text, ASK_BODY * 4);
    enum packllm_status status = PACKLLM_OK;
    if (prompt->ids == NULL) {
        (void)buf_add(&text, prompt->text, prompt->size);
    } else if (!tokens_text(job->model, prompt->ids, prompt->n_ids, &text, &e)) {
        *err = (struct packllm_error){.status = PACKLLM_E_TEXT};
        memcpy(err->message, e.message, sizeof err->message - 1);
        buf_done(&text);
        return PACKLLM_E_TEXT;
    }
    if ((ask->echo && ask->logprobs) || text.size == 0) {
        status = echo_read(serve, c, err);
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

/* The choice is over; the last one ends the job. Nobody here looks at it afterwards. */
static void end_choice(struct choice *c, enum packllm_status status,
                       const struct packllm_error *err) {
    struct job *job = c->job;
    struct packllm_session *session = c->session;
    (void)pthread_mutex_lock(&job->lock);
    c->session = NULL;
    (void)pthread_mutex_unlock(&job->lock);
    packllm_session_close(session); /* of the job's pack, so before the job may go */
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

static enum packllm_status begin(struct serve *serve, struct choice *c, struct packllm_error *err) {
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
    enum packllm_status status = packllm_session_open(&session, job->pack, &params, err);
    if (status < 0) {
        return status;
    }
    (void)pthread_mutex_lock(&job->lock);
    c->session = session;
    c->state = CHOICE_READS;
    (void)pthread_mutex_unlock(&job->lock);
    double start = serve_clock();
    if (job->ask.kind == ASK_WEIGHTS && job->ask.n_prompts == 0) {
        return PACKLLM_OK;
    }
    status = read_prompt(serve, c, err);
    count(serve, METRIC_PROMPT_MS, (uint64_t)((serve_clock() - start) * 1e3));
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
    count(serve, METRIC_PROMPT_TOKENS, c->prompt_tokens);
    return PACKLLM_OK;
}

/* One step; true once the choice has ended. */
static bool step(struct serve *serve, struct choice *c) {
    struct job *job = c->job;
    struct packllm_piece piece = {.text = "", .token = -1};
    struct packllm_error err = {0};
    enum packllm_status status = PACKLLM_E_CANCELLED;
    if (!atomic_load(&job->cancelled)) {
        status = packllm_session_step(c->session, &piece, &err);
    }
    bool ended = status != PACKLLM_PIECE, fine = true;
    if (status >= 0) {
        (void)pthread_mutex_lock(&job->lock);
        enum packllm_finish finish = packllm_session_finish(c->session);
        fine = (!job->ask.why || why_add(c, &piece)) &&
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
    }
    if (!fine) {
        status = PACKLLM_E_MEMORY;
        (void)strcpy(err.message, "there is not enough memory for the reply");
    }
    if (ended || !fine) {
        end_choice(c, status, &err);
    }
    return ended || !fine;
}

/* Every session that writes goes on by one step: the seam for one batch over all of them. */
static void step_many(struct scheduler *s) {
    size_t kept = 0;
    double start = serve_clock();
    for (size_t i = 0; i < s->n_active; i++) {
        if (!step(s->serve, s->active[i])) {
            s->active[kept++] = s->active[i];
        }
    }
    s->n_active = kept;
    count(s->serve, METRIC_STEP_MS, (uint64_t)((serve_clock() - start) * 1e3));
}

static void begin_next(struct scheduler *s, struct choice *c) {
    struct packllm_error err = {0};
    enum packllm_status status = begin(s->serve, c, &err);
    if (status < 0 || c->job->ask.kind == ASK_WEIGHTS) {
        end_choice(c, status, &err);
        return;
    }
    s->active[s->n_active++] = c;
}

static void *run(void *data) {
    struct scheduler *s = data;
    for (;;) {
        struct choice *next = NULL;
        (void)pthread_mutex_lock(&s->lock);
        atomic_store(&s->serve->metrics.value[METRIC_ACTIVE], s->n_active);
        while (s->first == NULL && s->n_active == 0 && !s->stop) {
            (void)pthread_cond_wait(&s->changed, &s->lock);
        }
        bool over = s->stop && s->first == NULL && s->n_active == 0;
        if (s->first != NULL && s->n_active < s->serve->config.parallel) {
            struct job *job = pop(s);
            next = &job->choices[job->n_begun++];
            if (job->n_begun < job->n_choices) {
                push(s, job);
            }
        }
        if (s->abandon) {
            for (size_t i = 0; i < s->n_active; i++) {
                atomic_store(&s->active[i]->job->cancelled, true);
            }
            for (struct job *job = s->first; job != NULL; job = job->next) {
                atomic_store(&job->cancelled, true);
            }
            if (next != NULL) {
                atomic_store(&next->job->cancelled, true);
            }
        }
        atomic_store(&s->serve->metrics.value[METRIC_ACTIVE], s->n_active + (next != NULL));
        (void)pthread_mutex_unlock(&s->lock);
        if (over) {
            return NULL;
        }
        if (next != NULL) {
            begin_next(s, next);
        }
        step_many(s);
    }
}

struct scheduler *scheduler_open(struct serve *serve) {
    struct scheduler *s = alloc_zero(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->serve = serve;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->changed, NULL);
    s->active = alloc_zero(serve->config.parallel, sizeof(struct choice *));
    s->running = s->active != NULL && pthread_create(&s->thread, NULL, run, s) == 0;
    if (!s->running) {
        scheduler_close(s);
        return NULL;
    }
    return s;
}

void scheduler_stop(struct scheduler *s, double grace) {
    if (s == NULL || !s->running) {
        return;
    }
    double until = serve_clock() + grace;
    (void)pthread_mutex_lock(&s->lock);
    s->stop = true;
    (void)pthread_cond_signal(&s->changed);
    while (serve_clock() < until &&
           (s->first != NULL || atomic_load(&s->serve->metrics.value[METRIC_ACTIVE]) > 0)) {
        (void)pthread_mutex_unlock(&s->lock);
        (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        (void)pthread_mutex_lock(&s->lock);
    }
    s->abandon = true;
    atomic_store(&s->serve->stopping, true);
    (void)pthread_cond_signal(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->thread, NULL);
    s->running = false;
}

void scheduler_close(struct scheduler *s) {
    if (s == NULL) {
        return;
    }
    scheduler_stop(s, 0);
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->lock);
    base_free(s->active);
    base_free(s);
}
