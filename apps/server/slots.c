/* slots.c - sessions that have nothing to do, and what they have evaluated. The next choice takes over
 * the one whose text begins most like its own; if none does, the one that was used longest ago. */
#include <string.h>

#include "base/alloc.h"
#include "server/private.h"

enum { ENOUGH = 4 }; /* a beginning counts where it is a fourth of the text */

void slot_key(struct buf *out, const struct choice *c) {
    const struct ask *ask = &c->job->ask;
    buf_init(out, (size_t)ASK_BODY * 4);
    (void)buf_add(out, ask->kind == ASK_CHAT ? "c" : "t", 1);
    for (size_t i = 0; i < ask->n_messages; i++) {
        const struct packllm_message *m = &ask->messages[i];
        (void)buf_add(out, m->role, strlen(m->role) + 1);
        (void)buf_add(out, m->content, strlen(m->content) + 1);
    }
    if (ask->kind == ASK_CHAT || c->prompt >= ask->n_prompts || (ask->echo && ask->logprobs)) {
        return; /* what is given token by token begins from nothing */
    }
    const struct ask_prompt *prompt = &ask->prompts[c->prompt];
    struct ask_error e;
    if (prompt->ids != NULL) {
        (void)tokens_text(c->job->model, prompt->ids, prompt->n_ids, out, &e);
    } else if (prompt->size > 0) {
        (void)buf_add(out, prompt->text, prompt->size);
    }
}

static size_t shared(const struct buf *a, const struct buf *b) {
    size_t n = 0, most = a->size < b->size ? a->size : b->size;
    while (n < most && a->data[n] == b->data[n]) {
        n++;
    }
    return n;
}

size_t slot_shares(const struct slot *slot, const struct packllm_pack *pack,
                   const struct packllm_pack *whole, const struct buf *key) {
    bool same = slot->session != NULL && (slot->pack == pack || slot->pack == whole);
    return same ? shared(&slot->key, key) : 0;
}

struct slot *slot_choose(struct slot *slots, size_t n, const struct job *job,
                         const struct packllm_pack *whole, const struct buf *key) {
    struct slot *found = NULL, *oldest = NULL;
    size_t most = 0;
    for (size_t i = 0; i < n; i++) {
        struct slot *slot = &slots[i];
        if (slot->busy) {
            continue;
        }
        bool same = slot->session != NULL &&
                    (slot->pack == job->pack || (job->own_pack && slot->pack == whole));
        size_t length = same ? shared(&slot->key, key) : 0;
        if (length > most && length >= key->size / ENOUGH) {
            most = length;
            found = slot;
        }
        if (oldest == NULL || slot->used < oldest->used) {
            oldest = slot;
        }
    }
    return found != NULL ? found : oldest;
}

void slot_clear(struct slot *slot) {
    packllm_session_close(slot->session);
    slot->session = NULL;
    slot->pack = NULL;
    buf_done(&slot->key);
}
