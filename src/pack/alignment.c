/* alignment.c - how two vocabularies meet, for the public API: two files' vocabularies and the map
 * between them. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include "align/store.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"

struct packllm_alignment {
    struct member *side[2]; /* reference, member */
    struct align_map map;
    double seconds;
    bool cached;
    char warning[512];
};

const char *packllm_align_name(enum packllm_align method) {
    static const char *const names[] = {"exact", "first", "mined"};
    return (unsigned)method < sizeof names / sizeof *names ? names[method] : NULL;
}

const char *packllm_feed_name(enum packllm_feed feed) {
    static const char *const names[] = {"text", "translated"};
    return (unsigned)feed < sizeof names / sizeof *names ? names[feed] : NULL;
}

const char *packllm_mass_name(enum packllm_mass mass) {
    static const char *const names[] = {"split", "paper"};
    return (unsigned)mass < sizeof names / sizeof *names ? names[mass] : NULL;
}

struct packllm_align_params packllm_align_params_default(void) {
    return (struct packllm_align_params){.method = PACKLLM_ALIGN_MINED,
                                         .n_threads = packllm_params_default().n_threads};
}

/* The first token of the bytes in the member's own tokenisation: bytes from the middle of a text.
 * What is not UTF-8, or cannot be spelled, has none. */
static int32_t first_token(void *ctx, const uint8_t *bytes, size_t size) {
    struct member *m = ctx;
    int32_t *tokens = alloc_array(size + 1, sizeof *tokens);
    size_t n = 0;
    int32_t first = ALIGN_NONE;
    if (tokens != NULL &&
        member_tokenize_inside(m, (const char *)bytes, size, tokens, size + 1, &n, NULL) ==
            PACKLLM_OK &&
        n > 0) {
        first = tokens[0];
    }
    base_free(tokens);
    return first;
}

enum packllm_status pack_align(struct align_map *out, const struct pack_align *a, char *warning,
                               size_t room, bool *out_cached, struct packllm_error *err) {
    static const enum align_method methods[] = {ALIGN_EXACT, ALIGN_FIRST, ALIGN_MINED};
    struct align_request request = {
        .reference = &a->reference->table,
        .member = &a->member->table,
        .method = methods[a->method],
        .threads = (unsigned)a->n_threads,
        .first = first_token,
        .first_ctx = a->member,
        .progress = a->progress,
        .progress_ctx = a->progress_ctx,
    };
    return align_cached(out, &request, a->cache, out_cached, warning, room, err);
}

static bool on_progress(void *ctx, double share) {
    const struct packllm_align_params *p = ctx;
    return p->progress(p->progress_data, PACKLLM_NO_MEMBER, share);
}

enum packllm_status packllm_align_open(struct packllm_alignment **out_alignment,
                                       const struct packllm_member_spec *reference,
                                       const struct packllm_member_spec *member,
                                       const struct packllm_align_params *params,
                                       struct packllm_error *err) {
    const struct packllm_member_spec *specs[] = {reference, member};
    struct packllm_align_params given = params != NULL ? *params : packllm_align_params_default();
    if (out_alignment == NULL || reference == NULL || member == NULL) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "packllm_align_open: a pointer is missing");
    }
    if (packllm_align_name(given.method) == NULL || given.n_threads < 0 || given.n_threads > 512) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "packllm_align_open: method %d with %d threads; there are methods 0 to 2, and "
                    "0 to 512 threads",
                    (int)given.method, (int)given.n_threads);
    }
    struct packllm_params load = packllm_params_default();
    load.progress = given.progress;
    load.progress_data = given.progress_data;
    load.log = given.log;
    load.log_data = given.log_data;
    given.n_threads = given.n_threads > 0 ? given.n_threads : load.n_threads;
    struct packllm_alignment *a = alloc_zero(1, sizeof *a);
    if (a == NULL) {
        return fail_memory(err, sizeof *a);
    }
    enum packllm_status s = PACKLLM_OK;
    for (int i = 0; i < 2 && s == PACKLLM_OK; i++) {
        s = member_llama_vocabulary(&a->side[i], specs[i], i, &load, err);
    }
    if (s == PACKLLM_OK) {
        const struct pack_align how = {.reference = a->side[0],
                                       .member = a->side[1],
                                       .method = given.method,
                                       .n_threads = given.n_threads,
                                       .cache = given.cache,
                                       .progress = given.progress != NULL ? on_progress : NULL,
                                       .progress_ctx = &given};
        double start = base_clock();
        s = pack_align(&a->map, &how, a->warning, sizeof a->warning, &a->cached, err);
        a->seconds = base_clock() - start;
    }
    if (s != PACKLLM_OK) {
        packllm_align_close(a);
        return s;
    }
    *out_alignment = a;
    return PACKLLM_OK;
}

void packllm_align_close(struct packllm_alignment *alignment) {
    if (alignment == NULL) {
        return;
    }
    align_done(&alignment->map);
    member_close(alignment->side[0]);
    member_close(alignment->side[1]);
    base_free(alignment);
}

enum packllm_status packllm_align_get(const struct packllm_alignment *alignment,
                                      struct packllm_align_map *out_map) {
    if (alignment == NULL || out_map == NULL) {
        return PACKLLM_E_ARG;
    }
    const struct align_map *map = &alignment->map;
    *out_map = (struct packllm_align_map){.reference = alignment->side[0]->name,
                                          .member = alignment->side[1]->name,
                                          .n = map->n,
                                          .n_member = map->n_member,
                                          .to = map->to,
                                          .distance = map->distance,
                                          .exact = map->exact,
                                          .near = map->near,
                                          .unmatched = map->unmatched,
                                          .seconds = alignment->seconds,
                                          .cached = alignment->cached,
                                          .warning = alignment->warning};
    return PACKLLM_OK;
}

enum packllm_status packllm_align_token(const struct packllm_alignment *alignment, bool of_member,
                                        int32_t id, const void **out_bytes, size_t *out_size,
                                        bool *out_usable) {
    if (alignment == NULL || out_bytes == NULL || out_size == NULL || out_usable == NULL) {
        return PACKLLM_E_ARG;
    }
    const struct vocab_table *t = &alignment->side[of_member ? 1 : 0]->table;
    if (id < 0 || (uint32_t)id >= t->n) {
        return PACKLLM_E_ARG;
    }
    *out_bytes = vocab_bytes(t, id);
    *out_size = vocab_size(t, id);
    *out_usable = align_is_text(t, id);
    return PACKLLM_OK;
}
