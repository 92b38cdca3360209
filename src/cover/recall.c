/* recall.c - what followed a token when it ended before in this text. Words repeat, and what may stand
 * behind a part of one depends on the part more than on the words before it. So behind an end whose row
 * is not evaluated this says more than the row of another token does, and an end of a token that is known
 * here is worth a row only from a larger share on. It knows the text so far and nothing else, so it does
 * not look ahead. */
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "cover/private.h"

enum { TOKENS = 4096, SLOTS = 4 * TOKENS /* a power of 2 */ };

static uint32_t slot_of(const struct cover_recall *r, int32_t token) {
    uint32_t k = ((uint32_t)token * 2654435761u) >> 7 & (SLOTS - 1);
    while (r->slot[k] != 0 && r->token[r->slot[k] - 1] != token) {
        k = (k + 1) & (SLOTS - 1);
    }
    return k;
}

enum packllm_status recall_open(struct cover_recall *r, uint32_t n_vocab,
                                struct packllm_error *err) {
    r->most = n_vocab < TOKENS ? n_vocab : TOKENS;
    r->slot = alloc_zero(SLOTS, sizeof *r->slot);
    r->token = alloc_array(r->most, sizeof *r->token);
    r->told = alloc_array(r->most, sizeof *r->told);
    r->follows = alloc_array(r->most, PACKLLM_EVENTS * sizeof *r->follows);
    if (r->slot == NULL || r->token == NULL || r->told == NULL || r->follows == NULL) {
        return fail_memory(err, r->most * PACKLLM_EVENTS * sizeof *r->follows);
    }
    return PACKLLM_OK;
}

void recall_done(struct cover_recall *r) {
    base_free(r->slot);
    base_free(r->token);
    base_free(r->told);
    base_free(r->follows);
}

void recall_forget(struct cover_recall *r) {
    if (r->n > 0) {
        memset(r->slot, 0, SLOTS * sizeof *r->slot);
        r->n = 0;
    }
}

bool recall_knows(const struct cover_recall *r, int32_t token) {
    return r->slot[slot_of(r, token)] != 0;
}

const double *recall_of(const struct cover_recall *r, int32_t token) {
    uint32_t entry = r->slot[slot_of(r, token)];
    return entry != 0 && r->told[entry - 1] ? r->follows + (size_t)(entry - 1) * PACKLLM_EVENTS
                                            : NULL;
}

void recall_put(struct cover_recall *r, int32_t token, const double *follows) {
    uint32_t k = slot_of(r, token);
    if (r->slot[k] == 0) {
        if (r->n == r->most) {
            return; /* the first ones are kept: those are common tokens */
        }
        r->token[r->n] = token;
        r->told[r->n++] = false;
        r->slot[k] = (uint16_t)r->n;
    }
    if (follows != NULL) {
        size_t entry = (size_t)(r->slot[k] - 1);
        memcpy(r->follows + entry * PACKLLM_EVENTS, follows, PACKLLM_EVENTS * sizeof *follows);
        r->told[entry] = true;
    }
}
