/* job.c - one request's work and what came of it so far: where connections and the scheduler meet. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "server/private.h"

enum { TEXT_CEILING = 1 << 28 };

struct job *job_open(void) {
    struct job *job = alloc_zero(1, sizeof *job);
    pthread_condattr_t attributes;
    if (job == NULL) {
        return NULL;
    }
    (void)pthread_mutex_init(&job->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&job->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    job->created = (int64_t)time(NULL);
    job->started = base_clock();
    return job;
}

bool job_choices(struct job *job, struct ask_error *e) {
    size_t prompts = job->ask.kind == ASK_COMPLETION ? job->ask.n_prompts : 1;
    size_t n = prompts * job->ask.n, members = packllm_pack_size(job->pack);
    job->choices = alloc_zero(n, sizeof *job->choices);
    job->sent_text = alloc_zero(n, sizeof *job->sent_text);
    job->sent_pieces = alloc_zero(n, sizeof *job->sent_pieces);
    job->sent_why = alloc_zero(n, sizeof *job->sent_why);
    job->sent_first = alloc_zero(n, sizeof *job->sent_first);
    job->sent_last = alloc_zero(n, sizeof *job->sent_last);
    bool fine = job->choices != NULL && job->sent_text != NULL && job->sent_pieces != NULL &&
                job->sent_why != NULL && job->sent_first != NULL && job->sent_last != NULL;
    for (size_t i = 0; i < n && fine; i++) {
        struct choice *c = &job->choices[i];
        c->job = job;
        c->index = i;
        c->prompt = i / job->ask.n;
        buf_init(&c->text, TEXT_CEILING);
        buf_init(&c->bytes, TEXT_CEILING);
        c->member_weights = alloc_zero(members, sizeof *c->member_weights);
        fine = c->member_weights != NULL;
        job->n_choices = i + 1;
    }
    return fine || ask_fail(e, 503, NULL, "there is not enough memory for this request");
}

void job_close(struct job *job) {
    if (job == NULL) {
        return;
    }
    for (size_t i = 0; i < job->n_choices; i++) {
        struct choice *c = &job->choices[i];
        for (size_t k = 0; k < c->n_pieces; k++) {
            base_free(c->pieces[k].top);
        }
        base_free(c->pieces);
        base_free(c->member_weights);
        why_done(&c->why);
        buf_done(&c->text);
        buf_done(&c->bytes);
    }
    ask_done(&job->ask);
    if (job->own_pack) {
        packllm_pack_close(job->pack);
    }
    base_free(job->choices);
    base_free(job->sent_text);
    base_free(job->sent_pieces);
    base_free(job->sent_why);
    base_free(job->sent_first);
    base_free(job->sent_last);
    base_free(job->fixed);
    (void)pthread_cond_destroy(&job->changed);
    (void)pthread_mutex_destroy(&job->lock);
    base_free(job);
}

/* The field that the library complains of; its messages begin with what they are about. */
static const char *blamed(const char *message) {
    static const struct {
        const char *begins, *param;
    } rows[] = {
        {"a bias ", "logit_bias"}, {"JSON schema", "response_format"}, {"grammar", "grammar"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strncmp(message, rows[i].begins, strlen(rows[i].begins)) == 0) {
            return rows[i].param;
        }
    }
    return NULL;
}

void job_fail(struct job *job, enum packllm_status status, const struct packllm_error *err) {
    if (job->failed) {
        return;
    }
    job->failed = true;
    struct ask_error *e = &job->error;
    switch (status) {
    case PACKLLM_E_ARG:
    case PACKLLM_E_TEXT:
        if (!job->ask.tools || !ask_tools_blamed(err->message, e)) {
            (void)ask_fail(e, 400, job->ask.tools ? "tools" : blamed(err->message), "%s",
                           err->message);
        }
        break;
    case PACKLLM_E_CONTEXT:
        (void)ask_fail(e, 400, job->ask.kind == ASK_CHAT ? "messages" : "prompt", "%s",
                       err->message);
        e->type = "exceed_context_size_error";
        e->code = "context_length_exceeded";
        e->n_prompt_tokens = err->n_tokens;
        e->n_ctx = err->n_ctx;
        break;
    case PACKLLM_E_UNSUPPORTED:
        (void)ask_fail(e, 501, NULL, "%s", err->message);
        break;
    case PACKLLM_E_CANCELLED:
        (void)ask_fail(e, 503, NULL, "the server stops: this reply was broken off");
        e->retry_after = 5;
        break;
    default:
        (void)ask_fail(e, status == PACKLLM_E_MEMORY ? 503 : 500, NULL, "%s", err->message);
        break;
    }
}

bool job_piece(struct choice *c, const struct packllm_piece *piece, bool first) {
    const struct packllm_top *top = NULL;
    size_t n_top = 0;
    struct packllm_token token = {.bytes = ""};
    if (c->n_pieces == c->room_pieces) {
        size_t room = c->room_pieces * 2 + 32;
        struct piece *grown = alloc_resize(c->pieces, room, sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        c->pieces = grown;
        c->room_pieces = room;
    }
    if (piece->token >= 0) {
        (void)packllm_pack_token(c->job->pack, c->job->display, piece->token, &token);
    }
    (void)packllm_session_top(c->session, &top, &n_top);
    struct piece p = {.token = piece->token,
                      .first = first,
                      .logprob = piece->logprob,
                      .begun = piece->begun,
                      .at = c->bytes.size,
                      .size = token.size - piece->begun,
                      .text_end = c->text.size};
    if (n_top > 0) {
        p.top = alloc_array(n_top, sizeof *p.top);
        if (p.top == NULL) {
            return false;
        }
        memcpy(p.top, top, n_top * sizeof *p.top);
        p.n_top = n_top;
    }
    c->pieces[c->n_pieces++] = p;
    return p.size == 0 || buf_add(&c->bytes, token.bytes + piece->begun, p.size);
}

void job_cancel(struct job *job) {
    atomic_store(&job->cancelled, true);
    for (size_t i = 0; i < job->n_choices; i++) {
        if (job->choices[i].session != NULL) {
            packllm_session_cancel(job->choices[i].session);
        }
    }
}

void job_wait(struct job *job, double seconds) {
    struct timespec until;
    double whole = floor(seconds);
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)whole;
    until.tv_nsec += (long)((seconds - whole) * 1e9);
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&job->changed, &job->lock, &until);
}
