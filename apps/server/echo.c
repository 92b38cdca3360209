/* echo.c - log pi of a prompt's own tokens (completions with echo and logprobs), and prompts that are
 * nothing but a start. The text stands behind the neutral start of every member. Members that are fused in
 * bytes, and one alone, read it in one go; else it is given token by token.
 *
 * Weights: one member alone has none; pinned ones hold throughout. With context_tokens they come from
 * that context, which the caller says is known. Else they run: at byte t (given by tokens: at one that
 * begins there) they come from the text before the last multiple of 64 bytes up to t, before the first
 * they are the prior (uniform). Nothing is ever weighed by what stands behind it. */
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "server/private.h"

enum { BLOCK = 64 }; /* bytes */

/* Ids that begin a text, or end one, stand for the neutral start: only in front. */
static size_t starts(const struct model *model, const int32_t *ids, size_t n) {
    size_t skip = 0;
    struct packllm_token token;
    while (skip < n && skip < 2 &&
           (ids[skip] == model->start ||
            (packllm_pack_token(model->pack, model->display, ids[skip], &token) >= 0 &&
             token.kind == PACKLLM_TOKEN_END))) {
        skip++;
    }
    return skip;
}

bool tokens_text(const struct model *model, const int32_t *ids, size_t n, struct buf *out,
                 struct ask_error *e) {
    struct packllm_token token;
    size_t first = starts(model, ids, n);
    for (size_t i = first; i < n; i++) {
        if (packllm_pack_token(model->pack, model->display, ids[i], &token) < 0) {
            return ask_fail(e, 400, "prompt", "%d is no token: ids are 0 to %u", (int)ids[i],
                            (unsigned)model->n_vocab - 1);
        }
        if (token.kind != PACKLLM_TOKEN_TEXT) {
            return ask_fail(e, 400, "prompt",
                            "token %d (entry %zu) is no text: tokens that begin or end a text may "
                            "stand only in front",
                            (int)ids[i], i);
        }
        size_t space = i == first && model->space && token.size > 0 && token.bytes[0] == ' ';
        if (!buf_add(out, token.bytes + space, token.size - space)) {
            return ask_fail(e, 400, "prompt", "the text is too long");
        }
    }
    return true;
}

struct walk {
    struct serve *serve;
    struct choice *c;
    struct packllm_session *reader; /* finds the weights, token by token; NULL: nobody needs to */
    const int32_t *ids;
    size_t n;
    double *weights; /* [members] */
    struct buf text;
    size_t weighed; /* bytes of text that weights come from */
};

/* Weights from the first `size` bytes, cut back to whole characters. */
static enum packllm_status weigh(struct walk *w, size_t size, struct packllm_error *err) {
    bool bad;
    size_t whole = utf8_whole(w->text.data, size, &bad);
    struct packllm_weights found;
    if (whole == 0 || bad) {
        return PACKLLM_OK;
    }
    (void)pthread_mutex_lock(&w->c->job->lock);
    struct packllm_session *walking = w->c->session;
    w->c->session = w->reader; /* the one to cancel */
    (void)pthread_mutex_unlock(&w->c->job->lock);
    enum packllm_status status = packllm_session_weigh(w->reader, w->text.data, whole, err);
    (void)pthread_mutex_lock(&w->c->job->lock);
    w->c->session = walking;
    if (status >= 0 && packllm_session_weights(w->reader, &found) >= 0) {
        choice_weights(w->c, &found);
        for (size_t i = 0; i < found.n_members; i++) {
            w->weights[i] = found.members[i].weight;
        }
    }
    (void)pthread_mutex_unlock(&w->c->job->lock);
    return status;
}

static bool tell(struct walk *w, const struct packllm_piece *piece, bool first) {
    struct choice *c = w->c;
    (void)pthread_mutex_lock(&c->job->lock);
    bool fine = job_piece(c, piece, first);
    (void)pthread_mutex_unlock(&c->job->lock);
    size_t space = w->text.size == 0 && c->job->model->space && piece->text[0] == ' ' ? 1 : 0;
    return fine && buf_add(&w->text, piece->text + space, piece->size - space);
}

static enum packllm_status give(struct walk *w, size_t i, bool first, struct packllm_error *err) {
    struct choice *c = w->c;
    struct packllm_piece piece;
    if (atomic_load(&c->job->cancelled)) {
        return PACKLLM_E_CANCELLED;
    }
    enum packllm_status status = packllm_session_force(c->session, w->ids[i], &piece, err);
    if (status < 0) {
        return status;
    }
    return tell(w, &piece, first) ? PACKLLM_OK : PACKLLM_E_MEMORY;
}

/* Entries for the tokens in front, which have no log-probability of their own. */
static void tell_starts(struct walk *w, size_t skip) {
    (void)pthread_mutex_lock(&w->c->job->lock);
    for (size_t i = 0; i < skip && w->c->job->ask.logprobs && w->c->job->ask.echo; i++) {
        struct packllm_piece piece = {.text = "", .token = w->ids[i]};
        (void)job_piece(w->c, &piece, true);
    }
    (void)pthread_mutex_unlock(&w->c->job->lock);
}

struct given {
    struct walk *w;
    size_t skip;
};

static bool on_given(void *data, size_t index, const struct packllm_piece *piece) {
    struct given *g = data;
    return tell(g->w, piece, g->skip + index == 0);
}

/* A member alone has no weights to find on the way: it reads, instead of walking. */
static enum packllm_status read_alone(struct walk *w, size_t skip, struct packllm_error *err) {
    struct given g = {.w = w, .skip = skip};
    return packllm_session_read(w->c->session, w->ids + skip, w->n - skip, on_given, &g, err);
}

static enum packllm_status open_reader(struct walk *w, struct packllm_error *err) {
    struct packllm_session_params params = choice_params(w->serve, w->c);
    params.n_stop = params.n_bias = params.n_top = 0;
    params.grammar = params.json_schema = NULL;
    params.why = false;
    return packllm_session_open(&w->reader, w->c->job->pack, &params, err);
}

/* Of a pack: *out_told false where the tokens are to be given one by one. */
static enum packllm_status read_pack(struct walk *w, size_t skip, size_t context, bool *out_told,
                                     struct packllm_error *err) {
    struct given g = {.w = w, .skip = skip};
    struct choice *c = w->c;
    const double *weights = c->job->fixed;
    /* A context that is nothing but a start says nothing. */
    weights = weights == NULL && context > 0 && context <= skip ? w->weights : weights;
    enum packllm_status status =
        packllm_session_tell(c->session, w->ids + skip, w->n - skip, weights,
                             context > skip ? context - skip : 0, on_given, &g, err);
    *out_told = status != PACKLLM_E_UNSUPPORTED;
    return *out_told ? status : PACKLLM_OK;
}

static enum packllm_status walk(struct walk *w, struct packllm_error *err) {
    struct choice *c = w->c;
    struct job *job = c->job;
    size_t members = packllm_pack_size(job->pack), skip = starts(job->model, w->ids, w->n);
    enum packllm_status status = PACKLLM_OK;
    size_t context = job->ask.context_tokens > 0 ? (size_t)job->ask.context_tokens : 0;
    for (size_t i = 0; i < members; i++) {
        w->weights[i] = job->fixed != NULL ? job->fixed[i] : 1.0;
    }
    bool told = false;
    tell_starts(w, skip);
    if (members > 1 && skip < w->n) {
        status = read_pack(w, skip, context, &told, err);
    }
    if (told) {
        return status;
    }
    status = members > 1 && job->fixed == NULL ? open_reader(w, err) : PACKLLM_OK;
    if (w->reader != NULL && context > 0 && status >= 0) {
        struct ask_error e;
        context = context < w->n ? context : w->n;
        if (tokens_text(job->model, w->ids, context, &w->text, &e) && w->text.size > 0) {
            status = weigh(w, w->text.size, err);
        }
        buf_cut(&w->text, 0);
    }
    if (status >= 0) {
        status = packllm_session_begin(c->session, w->weights, members, err);
    }
    if (members == 1 && skip < w->n && !job->ask.why && status >= 0) {
        return read_alone(w, skip, err);
    }
    for (size_t i = skip; i < w->n && status >= 0; i++) {
        size_t block = w->text.size / BLOCK * BLOCK;
        if (w->reader != NULL && context == 0 && block > w->weighed) {
            w->weighed = block;
            status = weigh(w, block, err);
            if (status >= 0) {
                status = packllm_session_reweigh(c->session, w->weights, members, err);
            }
        }
        status = status >= 0 ? give(w, i, i == 0, err) : status;
    }
    return status;
}

enum packllm_status echo_read(struct serve *serve, struct choice *c, struct packllm_error *err) {
    struct job *job = c->job;
    const struct ask_prompt *prompt = &job->ask.prompts[c->prompt];
    size_t members = packllm_pack_size(job->pack);
    struct walk w = {.serve = serve, .c = c, .ids = prompt->ids, .n = prompt->n_ids};
    int32_t *made = NULL;
    enum packllm_status status = PACKLLM_OK;
    buf_init(&w.text, (size_t)ASK_BODY * 4);
    w.weights = alloc_zero(members, sizeof *w.weights);
    if (prompt->ids == NULL) {
        made = alloc_array(prompt->size + 16, sizeof *made);
        status = made == NULL
                     ? PACKLLM_E_MEMORY
                     : packllm_pack_tokenize(job->pack, job->display, prompt->text, prompt->size,
                                             made, prompt->size + 16, &w.n, err);
        w.ids = made;
    }
    if (status >= 0 && w.weights == NULL) {
        status = PACKLLM_E_MEMORY;
    }
    if (status >= 0) {
        status = walk(&w, err);
    }
    (void)pthread_mutex_lock(&job->lock);
    if (status >= 0) {
        c->prompt_tokens = w.n;
        if (job->ask.echo) {
            (void)buf_add(&c->text, w.text.size > 0 ? w.text.data : "", w.text.size);
        }
    }
    (void)pthread_mutex_unlock(&job->lock);
    packllm_session_close(w.reader);
    buf_done(&w.text);
    base_free(w.weights);
    base_free(made);
    return status;
}
