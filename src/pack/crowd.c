/* crowd.c - a large pack reads a text on growing pieces; after each, members that cannot earn weight
 * stop reading (score/crowd.h, docs/math.md "Large packs"). At the end those that stopped are judged
 * again by the weights found, on what they had read, and the most promising of them go on after all. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "score/stretch.h"

/* Packs of fewer members read everything: there is little to save. Pieces grow from FIRST bytes by
 * twos; the members that may read a piece are halved from one to the next, down to KEEP_LEAST. */
enum { CROWD_LEAST = 16, FIRST = 128, PIECES = 24, KEEP_LEAST = 8, CALLED_BACK = 4 };
#define SHARE_FIRST 0.3 /* of the members, that may read the second piece */
#define SLACK 0.0005    /* what dropping one member may cost, nats per byte */

struct crowd {
    struct packllm_session *s;
    const char *text;
    size_t size, n, n_alive;
    bool windows;
    struct score_method method;  /* of all members */
    struct score_tokens *tokens; /* [n], or NULL: in bytes */
    struct score_stretch_of of;
    struct score_stretch stretch;
    size_t *alive;                /* [n] ascending, n_alive of them */
    size_t *group, *work;         /* [n] scratch */
    unsigned *stopped;            /* [n] piece after which the member stopped; PIECES: it did not */
    bool *keep;                   /* [n] scratch */
    double *seconds;              /* [n] */
    double *lambda, *prior, *cap; /* [n] of the members at hand */
    struct score_outlook *outlook; /* [n] of the members at hand */
    size_t piece[PIECES];          /* bytes */
    unsigned n_pieces;             /* the whole text is none */
};

bool pack_is_crowd(const struct packllm_session *s, size_t size) {
    return s->params.drop == PACKLLM_DROP_AUTO && !s->mapped.on && s->pack->n >= CROWD_LEAST &&
           size >= 4 * (size_t)FIRST && score_crowd_can(s->params.weigher);
}

static void crowd_done(struct crowd *c) {
    for (size_t i = 0; c->tokens != NULL && i < c->n; i++) {
        score_tokens_done(&c->tokens[i]);
    }
    base_free(c->tokens);
    base_free(c->alive);
    base_free(c->group);
    base_free(c->work);
    base_free(c->stopped);
    base_free(c->keep);
    base_free(c->seconds);
    base_free(c->lambda);
    base_free(c->prior);
    base_free(c->cap);
    base_free(c->outlook);
}

static enum packllm_status crowd_init(struct crowd *c, struct packllm_error *err) {
    size_t n = c->n = c->n_alive = c->s->pack->n;
    c->alive = alloc_array(n, sizeof *c->alive);
    c->group = alloc_array(n, sizeof *c->group);
    c->work = alloc_array(n, sizeof *c->work);
    c->stopped = alloc_array(n, sizeof *c->stopped);
    c->keep = alloc_array(n, sizeof *c->keep);
    c->seconds = alloc_zero(n, sizeof *c->seconds);
    c->lambda = alloc_array(n, sizeof *c->lambda);
    c->prior = alloc_array(n, sizeof *c->prior);
    c->cap = alloc_array(n, sizeof *c->cap);
    c->outlook = alloc_array(n, sizeof *c->outlook);
    if (c->alive == NULL || c->group == NULL || c->work == NULL || c->stopped == NULL ||
        c->keep == NULL || c->seconds == NULL || c->lambda == NULL || c->prior == NULL ||
        c->cap == NULL || c->outlook == NULL) {
        return fail_memory(err, n * 64);
    }
    if (c->s->in_tokens && (c->tokens = alloc_zero(n, sizeof *c->tokens)) == NULL) {
        return fail_memory(err, n * sizeof *c->tokens);
    }
    for (size_t i = 0; i < n; i++) {
        c->alive[i] = i;
        c->stopped[i] = PIECES;
    }
    c->of = (struct score_stretch_of){.pool = c->s->params.pool,
                                      .text = c->text,
                                      .readings = c->s->readings,
                                      .tokens = c->tokens};
    c->stretch = score_stretch_make(&c->of);
    for (size_t size = FIRST; c->n_pieces < PIECES && size + size / 2 < c->size; size *= 2) {
        size_t at = size;
        while (((uint8_t)c->text[at] & 0xc0) == 0x80) {
            at--;
        }
        c->piece[c->n_pieces++] = at;
    }
    return pack_method(c->s, c->text, c->size, &c->method, err);
}

/* Member i reads the first `size` bytes; what it had read before is given up. */
static enum packllm_status read_member(struct crowd *c, size_t i, size_t size,
                                       struct packllm_error *err) {
    struct packllm_session *s = c->s;
    struct cover *cover = NULL;
    struct score_reading reading = {0};
    struct score_tokens tokens = {0};
    enum packllm_status status = pack_cover(s, i, &cover, err);
    if (status >= 0 && c->tokens != NULL) {
        status = score_read_tokens(cover, s->pack->trees[i], c->text, size, 0, false, &tokens,
                                   &reading, err);
    } else if (status >= 0) {
        status =
            score_read(cover, s->pack->members[i], c->text, size, 0, c->windows, &reading, err);
    }
    if (status < 0) {
        return status;
    }
    score_reading_done(&s->readings[i]);
    s->readings[i] = reading;
    c->seconds[i] += reading.seconds;
    if (c->tokens != NULL) {
        score_tokens_done(&c->tokens[i]);
        c->tokens[i] = tokens;
    }
    pack_keep_best(s);
    return PACKLLM_OK;
}

static enum packllm_status read_alive(struct crowd *c, size_t size, struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    for (size_t k = 0; k < c->n_alive && status >= 0; k++) {
        if (c->s->readings[c->alive[k]].bytes != size) {
            status = read_member(c, c->alive[k], size, err);
        }
    }
    return status;
}

/* The method for some members only. */
static struct score_method method_of(struct crowd *c, size_t n, const size_t *member) {
    struct score_method method = c->method;
    score_crowd_prior(c->method.prior, n, member, c->prior);
    for (size_t k = 0; k < n; k++) {
        c->cap[k] = c->method.cap[member[k]];
    }
    method.prior = c->prior;
    method.cap = c->cap;
    return method;
}

/* What n members think of the first `bytes` bytes, or (tokens) of the positions there that all of them
 * spell alike: a cut text may end in other tokens than the whole one has there. */
static enum packllm_status look(struct crowd *c, size_t n, const size_t *member, size_t bytes,
                                bool solve, struct packllm_error *err) {
    size_t read = bytes, whole = c->size;
    if (c->tokens != NULL) {
        const struct fuse_rows *shortest = &c->tokens[member[0]].rows;
        for (size_t k = 1; k < n; k++) {
            const struct fuse_rows *rows = &c->tokens[member[k]].rows;
            shortest = rows->n < shortest->n ? rows : shortest;
        }
        read = shortest->n;
        for (size_t k = 0; k < n; k++) {
            const uint32_t *actual = c->tokens[member[k]].rows.actual;
            size_t same = 0;
            while (same < read && actual[same] == shortest->actual[same]) {
                same++;
            }
            read = same;
        }
        whole = (size_t)((double)read * (double)c->size / (double)bytes);
    }
    if (read < SCORE_CROWD_BATCHES) {
        return PACKLLM_OK; /* too little to judge by; outlook says that nobody is hopeless */
    }
    struct score_method method = method_of(c, n, member);
    enum packllm_status status = score_crowd_look(&method, &c->stretch, n, member, read, whole,
                                                  solve, c->lambda, c->outlook, err);
    double per_byte = (double)read / (double)bytes;
    for (size_t k = 0; k < n && status >= 0; k++) {
        c->outlook[k].likely *= per_byte;
        c->outlook[k].most *= per_byte;
    }
    return status;
}

static enum packllm_status drop(struct crowd *c, unsigned piece, struct packllm_error *err) {
    size_t n = c->n_alive, kept = 0;
    size_t most = (size_t)ceil(SHARE_FIRST * (double)c->n) >> piece;
    for (size_t k = 0; k < n; k++) {
        c->lambda[k] = 0.0;
        c->outlook[k] = (struct score_outlook){.most = (double)INFINITY};
    }
    enum packllm_status status = look(c, n, c->alive, c->piece[piece], true, err);
    if (status < 0) {
        return status;
    }
    for (size_t k = 0; k < n; k++) {
        c->cap[k] = c->method.cap[c->alive[k]];
    }
    (void)score_crowd_keep(n, c->lambda, c->outlook, c->cap, KEEP_LEAST / 2,
                           most > KEEP_LEAST ? most : KEEP_LEAST, SLACK, c->keep, c->work);
    for (size_t k = 0; k < n; k++) {
        size_t i = c->alive[k];
        if (c->keep[k]) {
            c->alive[kept++] = i;
        } else {
            c->stopped[i] = piece;
            pack_give_back(c->s, i);
        }
    }
    c->n_alive = kept;
    return PACKLLM_OK;
}

/* The weights, from what the members that are left have read: all of the text. */
static enum packllm_status weigh(struct crowd *c, struct score_weights *w,
                                 struct packllm_error *err) {
    size_t n = c->n_alive;
    struct score_method method = method_of(c, n, c->alive);
    enum packllm_status status = PACKLLM_OK;
    const struct score_reading **readings = alloc_array(n, sizeof *readings);
    struct score_tokens *tokens = alloc_array(n, sizeof *tokens);
    if (readings == NULL || tokens == NULL) {
        status = fail_memory(err, n * sizeof *tokens);
    }
    for (size_t k = 0; k < n && status >= 0; k++) {
        readings[k] = &c->s->readings[c->alive[k]];
        if (c->tokens != NULL) {
            tokens[k] = c->tokens[c->alive[k]]; /* lent */
        }
    }
    if (status >= 0 && c->tokens != NULL) {
        status =
            score_weigh_tokens(&method, n, tokens, tokens[0].rows.n, c->size, c->lambda, w, err);
    } else if (status >= 0) {
        status = score_weigh(&method, n, readings, c->text, c->size, c->lambda, w, err);
    }
    base_free(readings);
    base_free(tokens);
    for (size_t i = 0; status >= 0 && i < c->n; i++) {
        c->s->lambda[i] = 0.0;
    }
    for (size_t k = 0; status >= 0 && k < n; k++) {
        c->s->lambda[c->alive[k]] = c->lambda[k];
    }
    return status;
}

/* The members that stopped, judged at the session's weights on what they have read. */
static enum packllm_status judge_again(struct crowd *c, struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    for (unsigned piece = 0; piece < c->n_pieces && status >= 0; piece++) {
        size_t n = c->n_alive;
        memcpy(c->group, c->alive, n * sizeof *c->group);
        for (size_t i = 0; i < c->n; i++) {
            if (c->stopped[i] == piece) {
                c->group[n++] = i;
            }
        }
        if (n == c->n_alive) {
            continue;
        }
        for (size_t k = 0; k < n; k++) {
            c->lambda[k] = c->s->lambda[c->group[k]];
            c->outlook[k] = (struct score_outlook){0};
        }
        status = look(c, n, c->group, c->piece[piece], false, err);
        for (size_t k = c->n_alive; k < n && status >= 0; k++) {
            c->s->dropped[c->group[k]] = (struct pack_dropped){
                .after = c->s->readings[c->group[k]].bytes,
                .likely = c->outlook[k].likely,
                .most = c->outlook[k].most,
            };
        }
    }
    return status;
}

/* The stopped member that would take off most, as estimated; n: none is worth reading on. */
static size_t most_promising(const struct crowd *c) {
    size_t best = c->n;
    for (size_t i = 0; i < c->n; i++) {
        double likely = c->s->dropped[i].likely;
        if (c->stopped[i] < PIECES && likely > SLACK &&
            (best == c->n || likely > c->s->dropped[best].likely)) {
            best = i;
        }
    }
    return best;
}

/* Whether any was called back: they have read all of the text then. */
static enum packllm_status call_back(struct crowd *c, bool *out_any, struct packllm_error *err) {
    *out_any = false;
    for (int times = 0; times < CALLED_BACK; times++) {
        size_t i = most_promising(c), at = c->n_alive;
        if (i == c->n) {
            break;
        }
        enum packllm_status status = read_member(c, i, c->size, err);
        if (status < 0) {
            return status;
        }
        for (; at > 0 && c->alive[at - 1] > i; at--) {
            c->alive[at] = c->alive[at - 1];
        }
        c->alive[at] = i;
        c->n_alive++;
        c->stopped[i] = PIECES;
        c->s->dropped[i] = (struct pack_dropped){0};
        *out_any = true;
    }
    return PACKLLM_OK;
}

static enum packllm_status read_all(struct crowd *c, struct score_weights *w,
                                    struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    bool any = false;
    for (unsigned piece = 0; piece < c->n_pieces && status >= 0; piece++) {
        status = read_alive(c, c->piece[piece], err);
        status = status < 0 ? status : drop(c, piece, err);
    }
    status = status < 0 ? status : read_alive(c, c->size, err);
    status = status < 0 ? status : weigh(c, w, err);
    status = status < 0 ? status : judge_again(c, err);
    status = status < 0 ? status : call_back(c, &any, err);
    if (status >= 0 && any) {
        double first = w->seconds;
        status = weigh(c, w, err);
        w->seconds += first;
        status = status < 0 ? status : judge_again(c, err);
    }
    return status;
}

enum packllm_status pack_read_crowd(struct packllm_session *s, const char *text, size_t size,
                                    bool windows, struct score_weights *w,
                                    struct packllm_error *err) {
    struct crowd c = {.s = s, .text = text, .size = size, .windows = windows};
    pack_drop_readings(s);
    enum packllm_status status = crowd_init(&c, err);
    status = status < 0 ? status : read_all(&c, w, err);
    for (size_t i = 0; i < c.n && status >= 0; i++) {
        s->readings[i].seconds = c.seconds[i];
    }
    crowd_done(&c);
    return status;
}
