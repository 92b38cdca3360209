/* model.c - which model, members and weights a request is for, and sets of weights that are kept. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "server/private.h"

bool model_unknown(const struct serve *serve, const char *name, struct ask_error *e) {
    struct buf list;
    buf_init(&list, 4096);
    for (size_t i = 0; i < serve->n_models; i++) {
        (void)buf_printf(&list, "%s%s", i > 0 ? ", " : "", serve->models[i].name);
    }
    (void)ask_fail(e, 404, "model", "there is no model '%.100s'; there are: %.900s", name,
                   list.data != NULL ? list.data : "");
    e->code = "model_not_found";
    buf_done(&list);
    return false;
}

bool model_pin(struct serve *serve, const double *weights, char out_id[PIN_ID],
               struct ask_error *e) {
    size_t n = serve->models[0].n;
    double *copy = alloc_array(n, sizeof *copy);
    if (copy == NULL) {
        return ask_fail(e, 503, NULL, "there is not enough memory");
    }
    memcpy(copy, weights, n * sizeof *copy);
    routes_id(serve, out_id, PIN_ID, "w");
    (void)pthread_mutex_lock(&serve->lock);
    struct pin *place = &serve->pins[serve->n_pins++ % PINS];
    base_free(place->weights);
    place->weights = copy;
    (void)snprintf(place->id, PIN_ID, "%s", out_id);
    atomic_store(&serve->metrics.value[METRIC_PINNED], serve->n_pins < PINS ? serve->n_pins : PINS);
    (void)pthread_mutex_unlock(&serve->lock);
    return true;
}

static bool find_pin(struct serve *serve, const char *id, struct job *job, struct ask_error *e) {
    size_t n = serve->models[0].n;
    bool found = false;
    (void)pthread_mutex_lock(&serve->lock);
    for (size_t i = 0; i < PINS && !found; i++) {
        if (serve->pins[i].weights != NULL && strcmp(serve->pins[i].id, id) == 0) {
            found = true;
            job->fixed = alloc_array(n, sizeof *job->fixed);
            if (job->fixed != NULL) {
                memcpy(job->fixed, serve->pins[i].weights, n * sizeof *job->fixed);
            }
        }
    }
    (void)pthread_mutex_unlock(&serve->lock);
    if (!found) {
        return ask_fail(e, 404, "model",
                        "there is no set of weights '%.40s': POST /v1/weights gives one, and the "
                        "last %d are kept",
                        id, PINS);
    }
    return job->fixed != NULL || ask_fail(e, 503, NULL, "there is not enough memory");
}

static bool choose_model(struct serve *serve, struct job *job, struct ask_error *e) {
    const char *name = job->ask.model != NULL ? job->ask.model : serve->models[0].name;
    size_t pack_size = strlen(serve->models[0].name);
    for (size_t i = 0; i < serve->n_models && job->model == NULL; i++) {
        job->model = strcmp(serve->models[i].name, name) == 0 ? &serve->models[i] : NULL;
    }
    if (job->model == NULL && strncmp(name, serve->models[0].name, pack_size) == 0 &&
        name[pack_size] == '@') {
        job->model = &serve->models[0];
        if (!find_pin(serve, name + pack_size + 1, job, e)) {
            return false;
        }
    }
    if (job->model == NULL) {
        return model_unknown(serve, name, e);
    }
    job->pack = job->model->pack;
    job->display = job->model->display;
    return true;
}

static bool member_index(const struct packllm_pack *pack, const char *name, size_t *out,
                         struct ask_error *e) {
    struct packllm_member_info info;
    for (size_t i = 0; i < packllm_pack_size(pack); i++) {
        if (packllm_pack_member(pack, i, &info) >= 0 && strcmp(info.name, name) == 0) {
            *out = i;
            return true;
        }
    }
    return ask_fail(e, 400, "packllm", "the model has no member '%.100s'", name);
}

static bool choose_members(struct job *job, struct ask_error *e) {
    size_t n = packllm_pack_size(job->pack), kept = 0;
    struct packllm_error err = {0};
    if (job->ask.n_members == 0) {
        return true;
    }
    bool *wanted = alloc_zero(n, sizeof *wanted);
    size_t *list = alloc_zero(n, sizeof *list);
    bool fine = wanted != NULL && list != NULL;
    if (!fine) {
        (void)ask_fail(e, 503, NULL, "there is not enough memory");
    }
    for (size_t i = 0; i < job->ask.n_members && fine; i++) {
        size_t at = 0;
        fine = member_index(job->pack, job->ask.members[i], &at, e);
        wanted[at] = true;
    }
    size_t display = 0;
    for (size_t i = 0; i < n && fine; i++) {
        display = wanted[i] && i == job->display ? kept : display;
        if (wanted[i]) {
            list[kept++] = i;
        }
    }
    if (fine && !wanted[job->display]) {
        fine = ask_fail(e, 400, "packllm.members",
                        "the member whose tokens are counted must be among them (GET /props)");
    }
    if (fine && job->fixed != NULL) {
        fine = ask_fail(e, 400, "packllm.members", "a pinned set of weights is of all members");
    }
    if (fine && kept < n) {
        struct packllm_pack *view = NULL;
        fine = packllm_pack_view(&view, job->pack, list, kept, &err) >= 0 ||
               ask_fail(e, 503, NULL, "%s", err.message);
        if (fine) {
            job->pack = view;
            job->own_pack = true;
            job->display = display;
        }
    }
    base_free(wanted);
    base_free(list);
    return fine;
}

static bool choose_weights(struct job *job, struct ask_error *e) {
    size_t n = packllm_pack_size(job->pack);
    double sum = 0;
    if (job->ask.n_weights == 0) {
        return true;
    }
    bool named_ones = job->ask.weights[0].name != NULL;
    if (!named_ones && job->ask.n_weights != n) {
        return ask_fail(e, 400, "packllm.weights", "%zu weights for %zu members",
                        job->ask.n_weights, n);
    }
    base_free(job->fixed);
    job->fixed = alloc_zero(n, sizeof *job->fixed);
    if (job->fixed == NULL) {
        return ask_fail(e, 503, NULL, "there is not enough memory");
    }
    for (size_t i = 0; i < job->ask.n_weights; i++) {
        size_t at = i;
        if (named_ones && !member_index(job->pack, job->ask.weights[i].name, &at, e)) {
            return false;
        }
        job->fixed[at] = job->ask.weights[i].value;
        sum += job->ask.weights[i].value;
    }
    return sum > 0 || ask_fail(e, 400, "packllm.weights", "one weight must be above 0");
}

/* A prompt that cannot fit is refused before anything is evaluated, with both numbers. */
static bool check_context(const struct job *job, struct ask_error *e) {
    for (size_t i = 0; i < job->ask.n_prompts && job->ask.kind == ASK_COMPLETION; i++) {
        const struct ask_prompt *p = &job->ask.prompts[i];
        size_t n = p->n_ids, most = p->size + 16;
        if (p->ids == NULL && p->size >= job->model->n_ctx) {
            int32_t *tokens = alloc_array(most, sizeof *tokens);
            if (tokens != NULL) {
                (void)packllm_pack_tokenize(job->pack, job->display, p->text, p->size, tokens, most,
                                            &n, NULL);
            }
            base_free(tokens);
        }
        if (n >= job->model->n_ctx) {
            (void)ask_fail(e, 400, "prompt",
                           "prompt %zu has %zu tokens, and the context holds %u with the reply", i,
                           n, (unsigned)job->model->n_ctx);
            e->type = "exceed_context_size_error";
            e->code = "context_length_exceeded";
            e->n_prompt_tokens = n;
            e->n_ctx = job->model->n_ctx;
            return false;
        }
    }
    return true;
}

bool model_choose(struct serve *serve, struct job *job, struct ask_error *e) {
    return choose_model(serve, job, e) && choose_members(job, e) && choose_weights(job, e) &&
           check_context(job, e);
}
