/* contexts.c - which members of a session hold a context: all of a small pack, of a large one the
 * best while a text is read and then those with a weight. A context costs its KV cache and two
 * vocabulary-wide buffers, often more than an adapter's weights. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

/* Contexts of members that wait: while the members read, and where their weight came out as 0. */
enum { COVERS_READ = 4, COVERS_IDLE = 4 };

static void on_progress(void *data, double share) {
    struct packllm_session *s = data;
    if (s->params.progress != NULL) {
        s->params.progress(s->params.progress_data, s->progressing, share);
    }
}

enum packllm_status pack_cover(struct packllm_session *s, size_t member, struct cover **out,
                               struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    if (s->covers[member] == NULL) {
        status = cover_open(&s->covers[member], s->pack->members[member], &s->pack->trees[member],
                            s->params.epsilon, &s->cancel, err);
        if (status < 0) {
            return status;
        }
        cover_set_progress(s->covers[member], on_progress, s);
    }
    s->progressing = (int)member;
    *out = s->covers[member];
    return status;
}

static void give_back(struct packllm_session *s, size_t member) {
    cover_close(s->covers[member]);
    s->covers[member] = NULL;
}

void pack_keep_best(struct packllm_session *s, size_t n_read) {
    size_t open = 0, worst = 0;
    for (size_t i = 0; i < n_read; i++) {
        if (s->covers[i] != NULL) {
            bool worse = s->readings[i].nll_model > s->readings[worst].nll_model;
            worst = open == 0 || worse ? i : worst;
            open++;
        }
    }
    if (open > COVERS_READ) {
        give_back(s, worst);
    }
}

void pack_keep_weighted(struct packllm_session *s) {
    for (size_t i = 0; s->pack->n > COVERS_IDLE && i < s->pack->n; i++) {
        if (s->lambda[i] == 0.0) {
            give_back(s, i);
        }
    }
}

void pack_count_from_here(struct packllm_session *s, size_t i) {
    s->forwards_before[i] = s->covers[i] != NULL ? cover_forwards(s->covers[i]) : 0;
    s->seconds_before[i] = s->covers[i] != NULL ? cover_seconds(s->covers[i]) : 0.0;
}

enum packllm_status pack_read_again(struct packllm_session *s, size_t i,
                                    struct packllm_error *err) {
    struct cover *cover = NULL;
    enum packllm_status status = pack_cover(s, i, &cover, err);
    if (status >= 0 && s->in_tokens) {
        status = cover_read_tokens(cover, s->prompt.data, s->prompt.size, NULL, NULL, err);
    } else if (status >= 0) {
        status = cover_sync(cover, s->prompt.data, s->prompt.size, err);
        status = status >= 0 ? cover_walk(cover, NULL, NULL, err) : status;
    }
    if (status < 0) {
        give_back(s, i);
        return status;
    }
    pack_count_from_here(s, i);
    return PACKLLM_OK;
}
