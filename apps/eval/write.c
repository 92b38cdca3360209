/* write.c - answers written by each method behind one prompt, see write.h. The session is told the
 * method and given the prompt again: what the members read of it before is still there, so a further
 * method costs its own walk, its weights and its text. */
#include "eval/write.h" /* first: it asks for the experimental tier */

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"

enum { ANSWER_MAX = 1 << 24 };

bool eval_writes(const struct packllm_method *method) {
    return method->member >= 0 ? !method->canonical
                               : !method->whole && method->weigher != PACKLLM_WEIGH_HEDGE;
}

/* Until the end, a stop string, or the most tokens. */
static enum packllm_status write_answer(const struct eval *e, const struct task *task,
                                        struct buf *text, struct packllm_error *err) {
    size_t most = task_tokens(task);
    enum packllm_status status = buf_add_text(text, "") ? PACKLLM_PIECE : fail_memory(err, 1);
    for (size_t k = 0; k < most && status == PACKLLM_PIECE; k++) {
        struct packllm_piece piece;
        status = packllm_session_step(e->session, &piece, err);
        if (status != PACKLLM_PIECE) {
            break;
        }
        if (!buf_add(text, piece.text, piece.size)) {
            return fail_memory(err, text->size);
        }
        if (memchr(piece.text, '\0', piece.size) != NULL ||
            task_cut(task, e->shots > 0, text->data)) {
            break;
        }
    }
    return status < 0 ? status : PACKLLM_OK;
}

static enum packllm_status write_one(const struct eval *e, const struct task *task,
                                     const char *prompt, size_t size, size_t k, bool first,
                                     struct eval_record *out, struct packllm_error *err) {
    struct packllm_weights weights;
    struct packllm_stats stats;
    struct buf text;
    size_t n = e->n_members;
    double start = base_clock(), read = 0;
    buf_init(&text, ANSWER_MAX);
    enum packllm_status status = packllm_session_use(e->session, &e->methods->list[k], err);
    if (status >= 0) {
        status = packllm_session_prompt(e->session, prompt, size, err);
    }
    if (status >= 0) {
        status = packllm_session_weights(e->session, &weights);
    }
    for (size_t i = 0; i < n && status >= 0; i++) {
        out->weights[k * n + i] = weights.members[i].weight;
        if (first) {
            out->reading[i] = weights.members[i].seconds;
            out->tokens[i] = (double)weights.members[i].tokens;
            out->forward[i] = weights.members[i].seconds;
            read += weights.members[i].seconds;
        }
    }
    if (status >= 0) {
        out->loss[k] = weights.objective;
        status = write_answer(e, task, &text, err);
    }
    if (status >= 0) {
        status = packllm_session_stats(e->session, &stats, err);
    }
    for (size_t i = 0; i < n && status >= 0; i++) {
        out->forward[i] += stats.members[i].seconds;
        out->tokens[i] += (double)stats.members[i].forwards;
    }
    if (status >= 0) {
        out->texts[k] = alloc_text(text.data, strlen(text.data));
        status = out->texts[k] != NULL ? PACKLLM_OK : fail_memory(err, text.size);
    }
    out->own[k] = base_clock() - start - read;
    out->seconds += base_clock() - start;
    buf_done(&text);
    return status;
}

enum packllm_status eval_write(const struct eval *e, const struct task *task, const char *prompt,
                               size_t size, const char *answer, bool fresh, struct eval_record *out,
                               struct packllm_error *err) {
    size_t m = e->methods->n;
    bool first = true;
    enum packllm_status status = PACKLLM_OK;
    if (!eval_record_room(out, m, 1, e->n_members) || !eval_record_answers(out, m, answer)) {
        return fail_memory(err, m * sizeof(char *));
    }
    out->bytes[0] = 1; /* there are no options; records have one all the same */
    out->context = size;
    if (fresh) {
        packllm_session_forget(e->session);
    }
    for (size_t k = 0; k < m && status >= 0; k++) {
        if (eval_writes(&e->methods->list[k])) {
            status = write_one(e, task, prompt, size, k, first, out, err);
            first = false;
        }
    }
    if (status < 0) {
        eval_record_done(out, m);
    }
    return status;
}
