/* member_base.c - histories, rows and names, see member_base.h. */
#include "member/member_base.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "math/vec.h"

enum packllm_status member_histories_init(struct member_histories *h, uint32_t n_seq,
                                          struct packllm_error *err) {
    *h = (struct member_histories){
        .tokens = alloc_zero(n_seq, sizeof *h->tokens),
        .room = alloc_zero(n_seq, sizeof *h->room),
        .length = alloc_zero(n_seq, sizeof *h->length),
        .n_seq = n_seq,
    };
    if (h->tokens == NULL || h->room == NULL || h->length == NULL) {
        member_histories_done(h);
        return fail_memory(err, n_seq * sizeof *h->tokens);
    }
    return PACKLLM_OK;
}

void member_histories_done(struct member_histories *h) {
    for (uint32_t i = 0; h->tokens != NULL && i < h->n_seq; i++) {
        base_free(h->tokens[i]);
    }
    base_free(h->tokens);
    base_free(h->room);
    base_free(h->length);
    *h = (struct member_histories){0};
}

static enum packllm_status reserve(struct member_histories *h, int32_t seq, uint32_t need,
                                   struct packllm_error *err) {
    uint32_t room = h->room[seq];
    if (need <= room) {
        return PACKLLM_OK;
    }
    room = room < 64 ? 64 : room;
    while (room < need) {
        room = room > UINT32_MAX / 2 ? need : room * 2;
    }
    int32_t *tokens = alloc_resize(h->tokens[seq], room, sizeof *tokens);
    if (tokens == NULL) {
        return fail_memory(err, room * sizeof *tokens);
    }
    h->tokens[seq] = tokens;
    h->room[seq] = room;
    return PACKLLM_OK;
}

enum packllm_status member_histories_push(struct member_histories *h, int32_t seq, int32_t token,
                                          struct packllm_error *err) {
    assert(seq >= 0 && (uint32_t)seq < h->n_seq);
    enum packllm_status s = reserve(h, seq, h->length[seq] + 1, err);
    if (s == PACKLLM_OK) {
        h->tokens[seq][h->length[seq]++] = token;
    }
    return s;
}

uint32_t member_histories_common(const struct member_histories *h, int32_t dst, int32_t src,
                                 uint32_t n) {
    uint32_t common = 0;
    n = n < h->length[dst] ? n : h->length[dst];
    n = n < h->length[src] ? n : h->length[src];
    while (common < n && h->tokens[dst][common] == h->tokens[src][common]) {
        common++;
    }
    return common;
}

enum packllm_status member_histories_copy(struct member_histories *h, int32_t dst, int32_t src,
                                          uint32_t keep, uint32_t n, struct packllm_error *err) {
    assert(keep <= n && keep <= h->length[dst] && n <= h->length[src]);
    enum packllm_status s = reserve(h, dst, n, err);
    if (s != PACKLLM_OK) {
        return s;
    }
    if (n > keep) {
        memcpy(h->tokens[dst] + keep, h->tokens[src] + keep, (n - keep) * sizeof **h->tokens);
    }
    h->length[dst] = n;
    return PACKLLM_OK;
}

enum packllm_status member_row_check(struct member_context *c, const float *logits,
                                     struct packllm_error *err) {
    /* Every row passes here, so many at a time: NaN fails both comparisons. */
    const struct member *m = c->member;
    const float most = 3.4028234e38F;
    vec_floats max = {0}, x;
    vec_float_bits good = {0}, larger;
    uint32_t n = m->table.n, i = 0, bad = 0;
    float greatest = -HUGE_VALF;
    good = ~good;
    max -= HUGE_VALF;
    for (; i + VEC_FLOATS <= n; i += VEC_FLOATS) {
        memcpy(&x, logits + i, sizeof x);
        good &= (vec_float_bits)(x <= most);
        larger = (vec_float_bits)(x > max);
        max = (vec_floats)(((vec_float_bits)x & larger) | ((vec_float_bits)max & ~larger));
    }
    for (; i < n; i++) {
        bad |= !(logits[i] <= most);
        greatest = logits[i] > greatest ? logits[i] : greatest;
    }
    for (uint32_t lane = 0; lane < VEC_FLOATS; lane++) {
        bad |= ~good[lane];
        greatest = max[lane] > greatest ? max[lane] : greatest;
    }
    c->greatest = greatest;
    if (bad != 0 || !(greatest >= -most)) {
        return fail(err, PACKLLM_E_MODEL, m->index,
                    "member '%s' gave logits that are not numbers (%s): its file is damaged, or "
                    "its architecture overflows on this machine; get the file again",
                    m->name, bad != 0 ? "NaN or +infinity" : "all -infinity");
    }
    return PACKLLM_OK;
}

const char *member_name_of(const char *name, const char *path, size_t *size) {
    if (name != NULL) {
        *size = strlen(name);
        return name;
    }
    const char *slash = strrchr(path, '/');
    name = slash != NULL ? slash + 1 : path;
    *size = strlen(name);
    if (*size > 5 && strcmp(name + *size - 5, ".gguf") == 0) {
        *size -= 5;
    }
    return name;
}

enum packllm_status member_base_init(struct member *m, const struct member_ops *ops,
                                     const char *name, const char *path, int index,
                                     struct packllm_error *err) {
    m->ops = ops;
    m->index = index;
    m->start = -1;
    m->chat_start = -1;
    m->chat_form = "plain";
    m->prior = 1;
    m->temperature = 1;
    m->cap = 1;
    size_t size = 0;
    name = member_name_of(name, path, &size);
    m->name = alloc_text(name, size);
    m->path = alloc_text(path, strlen(path));
    if (m->name == NULL || m->path == NULL) {
        return fail_memory(err, size + strlen(path));
    }
    return PACKLLM_OK;
}

void member_base_done(struct member *m) {
    vocab_table_done(&m->table);
    base_free(m->chat_warning);
    base_free(m->description);
    base_free(m->path);
    base_free(m->name);
}

bool member_on_progress(float share, void *data) {
    struct member_progress *p = data;
    if (p->params->progress != NULL &&
        !p->params->progress(p->params->progress_data, p->index, (double)share)) {
        p->cancelled = true;
    }
    return !p->cancelled;
}
