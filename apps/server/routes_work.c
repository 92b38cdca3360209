/* routes_work.c - requests that make the members work: a job is queued, waited for, and told, whole or as a
 * stream; the client is looked after meanwhile. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "server/http.h"
#include "server/private.h"
#include "server/routes.h"

static void end_job(struct http_exchange *x) {
    struct job *job = x->data;
    x->data = NULL;
    if (job == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&job->lock);
    bool over = job->finished;
    atomic_store(&job->cancelled, true);
    (void)pthread_mutex_unlock(&job->lock);
    if (!over) {
        scheduler_drop(x->server->scheduler, job);
    }
    (void)pthread_mutex_lock(&job->lock);
    while (!job->finished) {
        job_cancel(job); /* again and again: a session that just begins forgets a cancel */
        job_wait(job, 0.02);
    }
    (void)pthread_mutex_unlock(&job->lock);
    job_close(job);
}

/* Waits, with the lock held, for something to happen, and looks after the client meanwhile. */
static void wait_a_little(struct serve *serve, struct http_exchange *x, struct job *job) {
    job_wait(job, 0.1);
    if (!job->finished && !atomic_load(&job->cancelled) && http_gone(x)) {
        atomic_fetch_add(&serve->metrics.value[METRIC_CANCELLED], 1);
        job_cancel(job);
    }
    if (!job->finished && (atomic_load(&serve->stopping) || atomic_load(&job->cancelled))) {
        job_cancel(job);
        (void)pthread_mutex_unlock(&job->lock);
        scheduler_drop(serve->scheduler, job);
        (void)pthread_mutex_lock(&job->lock);
    }
}

static bool stream_more(struct http_exchange *x, struct buf *out) {
    struct job *job = x->data;
    struct serve *serve = x->server;
    (void)pthread_mutex_lock(&job->lock);
    bool over = reply_stream(out, job);
    while (!over && out->size == 0) {
        wait_a_little(serve, x, job);
        over = reply_stream(out, job);
        if (out->size == 0 && base_clock() - job->last_sent > 1.0) {
            (void)buf_add_text(out, ": ping\n\n");
        }
    }
    job->last_sent = base_clock();
    (void)pthread_mutex_unlock(&job->lock);
    return over;
}

static bool parse_job(struct serve *serve, struct http_exchange *x, enum ask_kind kind,
                      struct job *job, struct ask_error *e) {
    if (!ask_read(&job->ask, kind, x->body.data != NULL ? x->body.data : "", x->body.size, e) ||
        !model_choose(serve, job, e)) {
        return false;
    }
    routes_id(serve, job->id, sizeof job->id, kind == ASK_CHAT ? "chatcmpl-" : "cmpl-");
    if (!job->ask.seeded) {
        (void)pthread_mutex_lock(&serve->lock);
        job->ask.sampling.seed = serve->salt ^ (serve->counter * 0xd1342543de82ef95ULL);
        (void)pthread_mutex_unlock(&serve->lock);
    }
    return job_choices(job, e);
}

static bool run_job(struct serve *serve, struct http_exchange *x, enum ask_kind kind,
                    struct ask_error *e) {
    struct job *job = job_open();
    if (job == NULL) {
        return ask_fail(e, 503, NULL, "there is not enough memory for this request");
    }
    x->server = serve;
    if (!parse_job(serve, x, kind, job, e) || !scheduler_add(serve->scheduler, job, e)) {
        job_close(job);
        return false;
    }
    x->data = job;
    x->done = end_job;
    (void)pthread_mutex_lock(&job->lock);
    double until = base_clock() + 0.5;
    /* What fails at once gets its own status, also where a stream is wanted. */
    while (!job->finished &&
           !(job->ask.stream && (base_clock() > until || job->choices[0].state >= CHOICE_WRITES))) {
        wait_a_little(serve, x, job);
    }
    bool fine = !(job->finished && job->failed);
    if (!fine) {
        *e = job->error;
        if (atomic_load(&job->cancelled) && !atomic_load(&serve->stopping) && http_gone(x)) {
            (void)ask_fail(e, 499, NULL, "the client left"); /* for the log */
        }
    } else if (job->ask.stream) {
        x->type = "text/event-stream";
        x->more = stream_more;
        job->last_sent = 0; /* whoever waited so long is told at once that we live */
    } else if (kind != ASK_WEIGHTS) {
        reply_job(&x->reply, job);
    }
    (void)pthread_mutex_unlock(&job->lock);
    return fine;
}

bool route_post_completion(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    return run_job(serve, x, ASK_COMPLETION, e);
}

bool route_post_chat(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    return run_job(serve, x, ASK_CHAT, e);
}

/* Weights that were given without a prompt: nothing was read, so there is nothing to tell but them. */
static void given_weights(struct job *job) {
    struct choice *c = &job->choices[0];
    size_t n = packllm_pack_size(job->pack);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += job->fixed[i];
    }
    for (size_t i = 0; i < n; i++) {
        struct packllm_member_info info = {0};
        (void)packllm_pack_member(job->pack, i, &info);
        c->member_weights[i] = (struct packllm_member_weight){.name = info.name,
                                                              .weight = job->fixed[i] / sum,
                                                              .bits_per_byte = (double)NAN,
                                                              .bits_per_byte_model = (double)NAN,
                                                              .perplexity = (double)NAN};
    }
    c->weights = (struct packllm_weights){.weigher = PACKLLM_WEIGH_FIXED,
                                          .bits_per_byte = (double)NAN,
                                          .objective = (double)NAN,
                                          .gap = (double)NAN,
                                          .n_members = n,
                                          .members = c->member_weights};
}

bool route_post_weights(struct serve *serve, struct http_exchange *x, struct ask_error *e) {
    char id[PIN_ID];
    if (!run_job(serve, x, ASK_WEIGHTS, e)) {
        return false;
    }
    struct job *job = x->data;
    struct packllm_weights *w = &job->choices[0].weights;
    if (job->model != &serve->models[0] || job->own_pack) {
        return ask_fail(e, 400, "model", "weights are pinned for all members of '%s'",
                        serve->models[0].name);
    }
    if (w->n_members == 0) {
        given_weights(job);
    }
    double *weights = alloc_array(w->n_members, sizeof *weights);
    if (weights == NULL) {
        return ask_fail(e, 503, NULL, "there is not enough memory");
    }
    for (size_t i = 0; i < w->n_members; i++) {
        weights[i] = w->members[i].weight;
    }
    bool fine = model_pin(serve, weights, id, e);
    base_free(weights);
    if (fine) {
        reply_weights(&x->reply, w, id);
    }
    return fine;
}
