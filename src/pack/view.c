/* view.c - some members of a pack as a pack of their own, and what a member's tokens are: for a
 * program that offers one loaded pack as several models. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

enum packllm_status packllm_pack_view(struct packllm_pack **out_view, struct packllm_pack *pack,
                                      const size_t *members, size_t n, struct packllm_error *err) {
    for (size_t i = 0; i < n; i++) {
        if (members[i] >= pack->n || (i > 0 && members[i] <= members[i - 1])) {
            return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                        "members of a view are numbers below %zu, ascending", pack->n);
        }
    }
    if (n == 0) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "a pack needs at least one member");
    }
    struct packllm_pack *view = alloc_zero(1, sizeof *view);
    if (view == NULL) {
        return fail_memory(err, sizeof *view);
    }
    view->view = true;
    (void)pthread_mutex_init(&view->lock, NULL);
    view->gate = pack->gate;
    view->n_contexts = pack->n_contexts;
    view->n_writing = pack->n_writing;
    view->params = pack->params;
    view->members = alloc_zero(n, sizeof(struct member *));
    view->trees = alloc_zero(n, sizeof(struct prefix_tree *));
    view->prior = alloc_zero(n, sizeof *view->prior);
    view->cap = alloc_zero(n, sizeof *view->cap);
    view->domain = alloc_zero(n, sizeof *view->domain);
    bool fine = view->members != NULL && view->trees != NULL && view->prior != NULL &&
                view->cap != NULL && view->domain != NULL;
    double priors = 0.0, caps = 0.0;
    for (size_t i = 0; i < n && fine; i++) {
        const char *domain = pack->domain[members[i]];
        view->members[i] = pack->members[members[i]];
        view->trees[i] = pack->trees[members[i]];
        view->prior[i] = pack->prior[members[i]];
        view->cap[i] = pack->cap[members[i]];
        priors += view->prior[i];
        caps += view->cap[i];
        view->domain[i] = domain != NULL ? alloc_text(domain, strlen(domain)) : NULL;
        fine = (domain == NULL) == (view->domain[i] == NULL);
        view->n++;
    }
    if (!fine) {
        packllm_pack_close(view);
        return fail_memory(err, n * sizeof *view->prior);
    }
    for (size_t i = 0; i < n; i++) {
        view->prior[i] /= priors;
        view->cap[i] = caps < 1.0 ? 1.0 : view->cap[i]; /* what is left must be able to sum to 1 */
    }
    *out_view = view;
    return PACKLLM_OK;
}

enum packllm_status packllm_pack_token(const struct packllm_pack *pack, size_t member, int32_t id,
                                       struct packllm_token *out_token) {
    if (member >= pack->n || id < 0 || (uint32_t)id >= pack->members[member]->table.n) {
        return PACKLLM_E_ARG;
    }
    const struct vocab_table *table = &pack->members[member]->table;
    bool text = vocab_is_text(table, id);
    *out_token =
        (struct packllm_token){.kind = text                           ? PACKLLM_TOKEN_TEXT
                                       : table->kind[id] == VOCAB_END ? PACKLLM_TOKEN_END
                                                                      : PACKLLM_TOKEN_CONTROL,
                               .bytes = text ? (const char *)vocab_bytes(table, id) : "",
                               .size = text ? vocab_size(table, id) : 0};
    return PACKLLM_OK;
}

enum packllm_status packllm_pack_ends(const struct packllm_pack *pack, size_t member,
                                      int32_t *out_start, int32_t *out_end, bool *out_space) {
    if (member >= pack->n) {
        return PACKLLM_E_ARG;
    }
    *out_start = pack->members[member]->start;
    *out_end = pack->trees[member]->n_ends > 0 ? pack->trees[member]->ends[0] : -1;
    *out_space = pack->members[member]->space_prefix;
    return PACKLLM_OK;
}

enum packllm_status packllm_pack_tokenize(const struct packllm_pack *pack, size_t member,
                                          const char *text, size_t size, int32_t *out, size_t cap,
                                          size_t *out_n, struct packllm_error *err) {
    if (member >= pack->n) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "there is no member %zu", member);
    }
    enum packllm_status status = pack_check_utf8(text, size, err);
    return status < 0 ? status
                      : member_tokenize(pack->members[member], text, size, out, cap, out_n, err);
}
