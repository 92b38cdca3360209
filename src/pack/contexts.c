/* contexts.c - which members of a session hold a context: all of a small pack, of a large one the
 * best while a text is read and then those with a weight. A context costs its KV cache and two
 * vocabulary-wide buffers, often more than an adapter's weights. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

/* Packs of so many members keep all their contexts. */
enum { COVERS_IDLE = 4 };

static void on_progress(void *data, double share) {
    struct packllm_session *s = data;
    if (s->params.progress != NULL) {
        s->params.progress(s->params.progress_data, s->progressing, share);
    }
}

void pack_take_cover(struct packllm_session *s, size_t member, struct cover *cover) {
    cover_adopt(cover, s->params.epsilon, &s->cancel);
    cover_set_progress(cover, on_progress, s);
    s->covers[member] = cover;
}

enum packllm_status pack_cover_as_it_is(struct packllm_session *s, size_t member,
                                        struct cover **out, struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    if (s->covers[member] == NULL) {
        status =
            cover_open(&s->covers[member], s->pack->members[member], s->pack->trees[member],
                       s->params.epsilon, s->params.covers == PACKLLM_COVERS_ALL, &s->cancel, err);
        if (status < 0) {
            return status;
        }
        cover_set_progress(s->covers[member], on_progress, s);
    }
    s->progressing = (int)member;
    cover_set_epsilon(s->covers[member], s->params.epsilon); /* a reply may have changed it */
    *out = s->covers[member];
    return status;
}

enum packllm_status pack_cover(struct packllm_session *s, size_t member, struct cover **out,
                               struct packllm_error *err) {
    enum packllm_status status = pack_cover_as_it_is(s, member, out, err);
    if (status >= 0) {
        status = cover_set_prefix(*out, NULL, 0, err);
        cover_set_line_ends(*out, SIZE_MAX);
    }
    return status;
}

void pack_give_back(struct packllm_session *s, size_t member) {
    cover_close(s->covers[member]);
    s->covers[member] = NULL;
}

/* Nats per byte of what the member has read; without a reading it is the first to go. */
static double loss(const struct packllm_session *s, size_t i) {
    const struct score_reading *r = &s->readings[i];
    return r->bytes > 0 ? r->nll_model / (double)r->bytes : HUGE_VAL;
}

void pack_keep_best(struct packllm_session *s) {
    size_t open = 0, worst = 0;
    for (size_t i = 0; i < s->pack->n; i++) {
        if (s->covers[i] != NULL) {
            worst = open == 0 || loss(s, i) > loss(s, worst) ? i : worst;
            open++;
        }
    }
    if (open > s->pack->n_contexts) {
        pack_give_back(s, worst);
    }
}

void pack_drop_readings(struct packllm_session *s) {
    for (size_t i = 0; s->readings != NULL && i < s->pack->n; i++) {
        score_reading_done(&s->readings[i]);
    }
}

void pack_drop_text(struct packllm_session *s) {
    pack_drop_readings(s);
    pack_chat_close(s->chat);
    s->chat = NULL;
    memset(s->dropped, 0, s->pack->n * sizeof *s->dropped);
}

enum packllm_status pack_read_bytes(struct packllm_session *s, const char *text, size_t size,
                                    size_t weighed, size_t from, bool windows,
                                    struct score_weights *w, struct packllm_error *err) {
    size_t n = s->pack->n;
    struct score_method method;
    const struct score_reading **readings = alloc_array(n, sizeof *readings);
    enum packllm_status status =
        readings != NULL ? PACKLLM_OK : fail_memory(err, n * sizeof *readings);
    for (size_t i = 0; i < n && status >= 0; i++) {
        struct cover *cover = NULL;
        score_reading_done(&s->readings[i]);
        status = pack_cover(s, i, &cover, err);
        if (status >= 0) {
            status = score_read(cover, s->pack->members[i], text, size, from, windows,
                                &s->readings[i], err);
        }
        readings[i] = &s->readings[i];
        if (status >= 0) {
            pack_keep_best(s);
        }
    }
    if (status >= 0) {
        status = pack_method(s, text, weighed, &method, err);
    }
    if (status >= 0) {
        member_gate_leave(s->pack->gate); /* no model is needed, and others need not wait */
        status = score_weigh(&method, n, readings, text, weighed, s->lambda, w, err);
        member_gate_enter(s->pack->gate);
    }
    base_free(readings);
    return status;
}

const char *pack_context_advice(const struct member *m) {
    return m->n_ctx < m->n_ctx_train
               ? "shorten it or ask for a larger context (-c)"
               : "shorten it, or leave this member out: it was trained on no more";
}

/* The pack's context is the smallest of its members', in bytes of the text at hand: the error names
 * that member, not the first one that failed. */
enum packllm_status pack_context_error(const struct packllm_session *s, const char *text,
                                       size_t size, struct packllm_error *err) {
    int32_t *tokens = alloc_array(size + 16, sizeof *tokens);
    const struct member *least = NULL;
    double room = HUGE_VAL;
    size_t needed = 0;
    for (size_t i = 0; tokens != NULL && i < s->pack->n; i++) {
        struct member *m = s->pack->members[i];
        size_t n = 0;
        if (member_tokenize(m, text, size, tokens, size + 16, &n, NULL) == PACKLLM_OK) {
            n += m->start >= 0 ? 1 : 0;
            double bytes = (double)size * (double)m->n_ctx / (double)n;
            if (bytes < room) {
                room = bytes;
                least = m;
                needed = n;
            }
        }
    }
    base_free(tokens);
    if (least == NULL || room >= (double)size) {
        return PACKLLM_E_CONTEXT; /* *err says what the member said */
    }
    return fail_context(
        err, least->index, needed, least->n_ctx,
        "the text of %zu bytes is %zu tokens for member '%s', whose context holds %u, about "
        "%.0f bytes of this text; %s",
        size, needed, least->name, (unsigned)least->n_ctx, room, pack_context_advice(least));
}

void pack_keep_weighted(struct packllm_session *s) {
    for (size_t i = 0; s->pack->n > COVERS_IDLE && i < s->pack->n; i++) {
        if (s->lambda[i] == 0.0) {
            pack_give_back(s, i);
        }
    }
}

enum packllm_status pack_check_room(const struct packllm_session *s, struct packllm_error *err) {
    size_t with = 0;
    for (size_t i = 0; i < s->pack->n; i++) {
        with += s->lambda[i] != 0.0;
    }
    if (with <= s->pack->n_writing) {
        return PACKLLM_OK;
    }
    return fail(err, PACKLLM_E_MEMORY, PACKLLM_NO_MEMBER,
                "%zu members have weight, and %zu contexts fit into the memory that the pack may "
                "use: allow more (--memory-limit), or take a smaller context (-c)",
                with, s->pack->n_writing);
}

void pack_count_from_here(struct packllm_session *s, size_t i) {
    s->forwards_before[i] = s->covers[i] != NULL ? cover_forwards(s->covers[i]) : 0;
    s->seconds_before[i] = s->covers[i] != NULL ? cover_seconds(s->covers[i]) : 0.0;
}

enum packllm_status pack_read_again(struct packllm_session *s, size_t i,
                                    struct packllm_error *err) {
    struct cover *cover = NULL;
    enum packllm_status status =
        s->chat != NULL ? pack_chat_stand(s, i, err) : pack_cover(s, i, &cover, err);
    if (s->chat != NULL) {
        /* it reads the conversation */
    } else if (status >= 0 && s->in_tokens) {
        status = pack_tokens_read_again(s, i, err);
    } else if (status >= 0) {
        status = cover_sync(cover, s->prompt.data, s->prompt.size, err);
        status = status >= 0 ? cover_walk(cover, NULL, NULL, err) : status;
    }
    if (status < 0) {
        pack_give_back(s, i);
        return status;
    }
    pack_count_from_here(s, i);
    return PACKLLM_OK;
}
