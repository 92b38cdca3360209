/* reuse.c - a session that goes on from what another one's members have evaluated: for programs that
 * answer one request after the other, many of which begin alike. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include "base/status.h"

/* The same members in the same order: what was read of a conversation is theirs. */
static bool same_members(const struct packllm_session *a, const struct packllm_session *b) {
    bool same = a->pack->n == b->pack->n;
    for (size_t i = 0; i < a->pack->n && same; i++) {
        same = a->pack->members[i] == b->pack->members[i];
    }
    return same;
}

static void take_covers(struct packllm_session *s, struct packllm_session *old) {
    for (size_t i = 0; i < s->pack->n; i++) {
        for (size_t k = 0; k < old->pack->n; k++) {
            if (s->pack->members[i] == old->pack->members[k] && old->covers[k] != NULL) {
                pack_take_cover(s, i, old->covers[k]);
                old->covers[k] = NULL;
                s->told[i] = old->told[k];
                old->told[k] = (struct score_tokens){0};
            }
        }
    }
}

enum packllm_status packllm_session_copy(struct packllm_session *s, struct packllm_session *from,
                                         struct packllm_error *err) {
    enum packllm_status status = PACKLLM_E_UNSUPPORTED;
    for (size_t i = 0; i < s->pack->n; i++) {
        for (size_t k = 0; k < from->pack->n; k++) {
            struct cover *cover = NULL;
            if (s->pack->members[i] != from->pack->members[k] || from->covers[k] == NULL ||
                s->pack->n_contexts < s->pack->n) {
                continue;
            }
            score_tokens_done(&s->told[i]);
            status = pack_cover_as_it_is(s, i, &cover, err);
            if (status >= 0) {
                status = cover_copy(cover, from->covers[k], err);
            }
            if (status >= 0) {
                status = score_tokens_copy(&s->told[i], &from->told[k], err);
            }
            if (status < 0) {
                if (cover != NULL) {
                    cover_forget(cover);
                }
                return status;
            }
        }
    }
    return status < 0
               ? fail(err, status, PACKLLM_NO_MEMBER, "nothing of that session can be copied")
               : PACKLLM_OK;
}

enum packllm_status packllm_session_open_from(struct packllm_session **out_session,
                                              struct packllm_pack *pack,
                                              const struct packllm_session_params *params,
                                              struct packllm_session *old,
                                              struct packllm_error *err) {
    struct packllm_session *s = NULL;
    enum packllm_status status = packllm_session_open(&s, pack, params, err);
    if (status < 0) {
        return status;
    }
    if (old != NULL) {
        take_covers(s, old);
        /* Its readings were made with its epsilon. */
        if (old->chat != NULL && same_members(s, old) && s->params.epsilon == old->params.epsilon) {
            s->chat = old->chat;
            old->chat = NULL;
        }
        packllm_session_close(old);
    }
    *out_session = s;
    return PACKLLM_OK;
}
