/* many.c - a step of many sessions at the same time. Each gets a thread; where the pack's members are
 * shared (member_shared.h) the threads meet at every evaluation, which is then one batch. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <pthread.h>

#include "base/alloc.h"
#include "base/status.h"

struct job {
    struct packllm_session *session;
    struct packllm_event *event;
    pthread_t thread;
    bool started;
};

static void *step(void *data) {
    struct job *job = data;
    struct packllm_event *event = job->event;
    event->status = pack_step(job->session, &event->piece, &event->error);
    member_gate_leave(job->session->pack->gate);
    return NULL;
}

enum packllm_status packllm_step_many(struct packllm_session *const *sessions, size_t n,
                                      struct packllm_event *out_events, struct packllm_error *err) {
    for (size_t i = 0; i < n; i++) {
        if (sessions[i]->pack != sessions[0]->pack) {
            return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "session %zu is of another pack", i);
        }
        for (size_t k = 0; k < i; k++) {
            if (sessions[k] == sessions[i]) {
                return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "session %zu is given twice", i);
            }
        }
    }
    struct job *jobs = alloc_zero(n, sizeof *jobs);
    if (jobs == NULL) {
        return fail_memory(err, n * sizeof *jobs);
    }
    struct member_gate *gate = n > 0 ? sessions[0]->pack->gate : NULL;
    /* All are counted before the first one runs, so that it waits for the others. */
    for (size_t i = 0; i < n; i++) {
        jobs[i] = (struct job){.session = sessions[i], .event = &out_events[i]};
        out_events[i] = (struct packllm_event){.piece = {.text = "", .token = -1}};
        pack_enter(sessions[i]);
    }
    for (size_t i = 0; gate != NULL && i + 1 < n; i++) {
        jobs[i].started = pthread_create(&jobs[i].thread, NULL, step, &jobs[i]) == 0;
        if (!jobs[i].started) {
            member_gate_leave(gate); /* nobody shall wait for it: its turn comes below */
        }
    }
    for (size_t i = n; i-- > 0;) {
        if (!jobs[i].started) {
            if (i + 1 < n) {
                member_gate_enter(gate);
            }
            (void)step(&jobs[i]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (jobs[i].started) {
            (void)pthread_join(jobs[i].thread, NULL);
        }
    }
    base_free(jobs);
    return PACKLLM_OK;
}
