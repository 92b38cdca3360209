/* score.c - reading texts with members, see score.h. */
#include "score/score.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"

void score_reading_done(struct score_reading *r) {
    base_free(r->logq);
    base_free(r->parked);
    base_free(r->ended);
    *r = (struct score_reading){0};
}

struct visit {
    struct score_reading *r;
    const struct cover *cover;
    const char *text; /* of this window */
    size_t low;       /* offset of the window in the whole text */
    size_t skip;      /* bytes of the window that another one scores */
    size_t base;      /* offset in the whole text of the reading's first row */
    double temperature;
};

static void visit_byte(void *data, size_t offset, const double *q, double parked) {
    struct visit *v = data;
    if (offset < v->skip) {
        return;
    }
    size_t at = v->low + offset - v->base;
    float *row = v->r->logq + at * PACKLLM_EVENTS;
    fuse_floor(q, row);
    fuse_temper(v->temperature, row);
    v->r->parked[at] = (float)parked;
    v->r->ended[at] = (float)cover_ends(v->cover);
    v->r->nll_model -= (double)row[(uint8_t)v->text[offset]];
}

/* What the cover says of the text that was set. */
static enum packllm_status take_window(struct cover *cover, struct visit *v, size_t size,
                                       size_t from, struct packllm_error *err) {
    v->cover = cover;
    enum packllm_status status = cover_walk_from(cover, v->skip, visit_byte, v, err);
    if (status < 0) {
        return status;
    }
    struct cover_canonical part;
    cover_canonical(cover, v->skip, &part);
    v->r->whole.nll += part.nll;
    v->r->whole.nll_full += part.nll_full;
    v->r->whole.tokens += part.tokens;
    if (v->low + size > from) {
        size_t low = from > v->low + v->skip ? from - v->low : v->skip;
        cover_canonical(cover, low, &part);
        v->r->canonical.nll += part.nll;
        v->r->canonical.let_off += part.let_off;
        v->r->canonical.nll_full += part.nll_full;
        v->r->canonical.tokens += part.tokens;
    }
    v->r->resyncs += cover_resyncs(cover);
    v->r->windows++;
    return PACKLLM_OK;
}

static enum packllm_status read_window(struct cover *cover, struct visit *v, size_t size,
                                       size_t from, struct packllm_error *err) {
    enum packllm_status status = cover_sync(cover, v->text, size, err);
    return status >= 0 ? take_window(cover, v, size, from, err) : status;
}

/* Cuts the text into windows of at most a context, each half covered by the one before. */
static enum packllm_status read_windows(struct cover *cover, const struct member *member,
                                        const char *text, size_t size, size_t from,
                                        struct score_reading *r, struct packllm_error *err) {
    size_t room = size + 16, n = 0, *ends = NULL;
    struct member *m = (struct member *)(uintptr_t)member;
    int32_t *tokens = alloc_array(room, sizeof *tokens);
    enum packllm_status status = PACKLLM_OK;
    if (tokens == NULL || (ends = alloc_array(room + 1, sizeof *ends)) == NULL) {
        status = fail_memory(err, room * 12);
        goto out;
    }
    status = member_tokenize(m, text, size, tokens, room, &n, err);
    if (status < 0) {
        goto out;
    }
    size_t at = 0, most = member->n_ctx > 48 ? member->n_ctx - 32 : member->n_ctx / 2;
    ends[0] = 0;
    for (size_t i = 0; i < n; i++) {
        at += vocab_size(&member->table, tokens[i]);
        size_t lead = member->space_prefix ? 1 : 0;
        ends[i + 1] = at > lead ? at - lead : 0;
    }
    for (size_t first = 0, done = 0; done < size && status >= 0; first += most / 2) {
        size_t low = ends[first], high = first + most >= n ? size : ends[first + most];
        while (low > 0 && ((uint8_t)text[low] & 0xc0) == 0x80) {
            low--;
        }
        while (high < size && ((uint8_t)text[high] & 0xc0) == 0x80) {
            high--;
        }
        struct visit v = {.r = r,
                          .text = text + low,
                          .low = low,
                          .skip = done - low,
                          .temperature = member->temperature};
        status = read_window(cover, &v, high - low, from, err);
        done = high;
    }
out:
    base_free(tokens);
    base_free(ends);
    return status;
}

static bool reading_room(struct score_reading *r) {
    r->logq = alloc_array(r->bytes, PACKLLM_EVENTS * sizeof *r->logq);
    r->parked = alloc_array(r->bytes, sizeof *r->parked);
    r->ended = alloc_array(r->bytes, sizeof *r->ended);
    if (r->logq == NULL || r->parked == NULL || r->ended == NULL) {
        score_reading_done(r);
        return false;
    }
    return true;
}

/* Rows from byte `base` on; windows only with base 0. */
static enum packllm_status read_from(struct cover *cover, const struct member *member,
                                     const char *text, size_t size, size_t from, size_t base,
                                     bool windows, struct score_reading *out,
                                     struct packllm_error *err) {
    struct packllm_error why;
    struct score_reading r = {.bytes = size - base};
    double start = base_clock(), inside = cover_seconds(cover);
    uint64_t forwards = cover_forwards(cover);
    if (!reading_room(&r)) {
        return fail_memory(err, r.bytes * PACKLLM_EVENTS * sizeof(float));
    }
    struct visit v = {
        .r = &r, .text = text, .skip = base, .base = base, .temperature = member->temperature};
    enum packllm_status status = read_window(cover, &v, size, from, &why);
    if (status == PACKLLM_E_CONTEXT && windows) {
        status = read_windows(cover, member, text, size, from, &r, &why);
    }
    if (status < 0) {
        score_reading_done(&r);
        if (err != NULL) {
            *err = why;
            err->member = member->index;
        }
        return status;
    }
    r.forwards = cover_forwards(cover) - forwards;
    r.seconds = base_clock() - start;
    r.seconds_model = cover_seconds(cover) - inside;
    *out = r;
    return PACKLLM_OK;
}

enum packllm_status score_read(struct cover *cover, const struct member *member, const char *text,
                               size_t size, size_t from, bool windows, struct score_reading *out,
                               struct packllm_error *err) {
    return read_from(cover, member, text, size, from, 0, windows, out, err);
}

enum packllm_status score_read_tail(struct cover *cover, const struct member *member,
                                    const char *text, size_t size, size_t from,
                                    struct score_reading *out, struct packllm_error *err) {
    return read_from(cover, member, text, size, from, from, false, out, err);
}

enum packllm_status score_read_beside(struct cover *cover, const struct member *member,
                                      const struct score_text *texts, size_t n,
                                      struct score_reading *out, struct packllm_error *err) {
    struct cover_text of[COVER_BESIDE_MOST];
    double start = base_clock(), inside = cover_seconds(cover);
    uint64_t forwards = cover_forwards(cover);
    for (size_t k = 0; k < n; k++) {
        of[k] = (struct cover_text){texts[k].text, texts[k].size};
        out[k] = (struct score_reading){.bytes = texts[k].size - texts[k].base};
    }
    enum packllm_status status = cover_sync_beside(cover, of, n, err);
    for (size_t k = 0; k < n && status >= 0; k++) {
        const struct score_text *t = &texts[k];
        struct visit v = {.r = &out[k],
                          .text = t->text,
                          .skip = t->base,
                          .base = t->base,
                          .temperature = member->temperature};
        status = reading_room(&out[k])
                     ? take_window(cover_beside(cover, k), &v, t->size, t->from, err)
                     : fail_memory(err, t->size * PACKLLM_EVENTS * sizeof(float));
    }
    for (size_t k = 0; k < n && status < 0; k++) {
        score_reading_done(&out[k]);
    }
    out[0].forwards = cover_forwards(cover) - forwards;
    out[0].seconds = base_clock() - start;
    out[0].seconds_model = cover_seconds(cover) - inside;
    return status;
}
