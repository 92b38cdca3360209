/* stretch.c - a few positions of what members have read as a problem of its own, see stretch.h. */
#include "score/stretch.h"

#include "base/alloc.h"
#include "base/status.h"

/* The block or the rows come first: they are the ctx of eval, and what is freed is found from them. */
struct byte_part {
    struct fuse_block block;
    const float **logq;
    uint16_t *event;
};
struct token_part {
    struct fuse_tokens tokens;
    const struct fuse_rows **rows;
};

static void byte_part_free(struct byte_part *part) {
    fuse_block_done(&part->block);
    base_free(part->logq);
    base_free(part->event);
    base_free(part);
}

static enum packllm_status begin_bytes(const struct score_stretch_of *of, size_t n,
                                       const size_t *member, size_t low, size_t high,
                                       struct solve_problem *out, struct packllm_error *err) {
    struct byte_part *part = alloc_zero(1, sizeof *part);
    if (part == NULL) {
        return fail_memory(err, sizeof *part);
    }
    part->logq = alloc_array(n, sizeof *part->logq);
    part->event = alloc_array(high - low, sizeof *part->event);
    if (part->logq == NULL || part->event == NULL) {
        byte_part_free(part);
        return fail_memory(err, n * sizeof *part->logq);
    }
    for (size_t k = 0; k < n; k++) {
        part->logq[k] = of->readings[member[k]].logq + low * PACKLLM_EVENTS;
    }
    for (size_t t = low; t < high; t++) {
        part->event[t - low] = (uint8_t)of->text[t];
    }
    enum packllm_status status = fuse_block_init(&part->block, of->pool, n, high - low, part->logq,
                                                 part->event, NULL, NULL, err);
    if (status < 0) {
        byte_part_free(part);
        return status;
    }
    *out = (struct solve_problem){
        .n = n, .eval = fuse_objective, .ctx = &part->block, .order = part->block.order};
    return PACKLLM_OK;
}

static enum packllm_status begin_tokens(const struct score_stretch_of *of, size_t n,
                                        const size_t *member, size_t low, size_t high,
                                        struct solve_problem *out, struct packllm_error *err) {
    struct token_part *part = alloc_zero(1, sizeof *part);
    const struct fuse_rows **rows = alloc_array(n, sizeof *rows);
    enum packllm_status status = PACKLLM_OK;
    if (part == NULL || rows == NULL) {
        status = fail_memory(err, n * sizeof *rows);
    }
    for (size_t k = 0; k < n && status >= 0; k++) {
        rows[k] = &of->tokens[member[k]].rows;
    }
    if (status >= 0) {
        status = fuse_tokens_init(&part->tokens, of->pool, n, rows, low, high, (double)(high - low),
                                  err);
    }
    if (status < 0) {
        base_free(rows);
        base_free(part);
        return status;
    }
    part->rows = rows;
    *out = (struct solve_problem){
        .n = n, .eval = fuse_tokens_objective, .ctx = &part->tokens, .order = part->tokens.order};
    return PACKLLM_OK;
}

static enum packllm_status begin(void *data, size_t n, const size_t *member, size_t low,
                                 size_t high, struct solve_problem *out,
                                 struct packllm_error *err) {
    const struct score_stretch_of *of = data;
    return (of->tokens != NULL ? begin_tokens : begin_bytes)(of, n, member, low, high, out, err);
}

static void finish(void *data, struct solve_problem *problem) {
    const struct score_stretch_of *of = data;
    if (of->tokens == NULL) {
        byte_part_free(problem->ctx);
        return;
    }
    struct token_part *part = problem->ctx;
    fuse_tokens_done(&part->tokens);
    base_free(part->rows);
    base_free(part);
}

struct score_stretch score_stretch_make(struct score_stretch_of *of) {
    return (struct score_stretch){.data = of, .begin = begin, .finish = finish};
}
