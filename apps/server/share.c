/* share.c - requests that come at the same time and begin alike: the same system prompt from several
 * clients. The first one reads it, the others wait until it has, and get a copy
 * (packllm_session_copy); who comes while it writes gets one between two of its steps.
 *
 * Nobody waits for one who waits, nor longer than PATIENCE, nor for a prompt of which less than half is
 * shared. If the one waited for fails, those who wait choose anew, and the first of them reads. */
#include <time.h>

#include "base/clock.h"
#include "server/private.h"

enum { WORTH = 256 };      /* bytes more than there are already */
enum { PATIENCE = 60 };    /* seconds */
enum { LOOK = 100000000 }; /* nanoseconds between two looks whether the client is still there */

/* On the stack of the worker that waits; under the lock. */
struct share_wait {
    struct packllm_session *session; /* that gets the copy */
    bool copying, over, taken;
    struct share_wait *next;
};

bool share_init(struct share *share, pthread_mutex_t *lock, struct slot *slots, size_t n,
                const struct packllm_pack *whole) {
    pthread_condattr_t attributes;
    *share = (struct share){.lock = lock, .slots = slots, .n = n, .whole = whole};
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    bool fine = pthread_cond_init(&share->given, &attributes) == 0;
    (void)pthread_condattr_destroy(&attributes);
    return fine;
}

void share_done(struct share *share) {
    (void)pthread_cond_destroy(&share->given);
}

/* With the lock: the slot to wait for, or NULL. */
static struct slot *source(const struct share *share, const struct slot *slot, size_t have) {
    struct slot *found = NULL;
    size_t most = have + WORTH;
    for (size_t i = 0; i < share->n; i++) {
        struct slot *other = &share->slots[i];
        if (other == slot || !(other->reads || other->writes)) {
            continue;
        }
        size_t n = slot_shares(other, slot->pack, share->whole, &slot->key);
        if (n >= most && (other->writes || n >= other->key.size / 2)) {
            most = n;
            found = other;
        }
    }
    return found;
}

static void look(struct share *share) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&share->given, share->lock, &until);
}

static void forget(struct slot *from, const struct share_wait *wait) {
    struct share_wait **at = &from->waits;
    while (*at != NULL && *at != wait) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        *at = wait->next;
    }
}

bool share_take(struct share *share, struct slot *slot, size_t have, const atomic_bool *cancelled) {
    double until = base_clock() + PATIENCE;
    bool taken = false;
    (void)pthread_mutex_lock(share->lock);
    while (!taken && !atomic_load(cancelled) && base_clock() < until) {
        struct slot *from = source(share, slot, have);
        if (from == NULL) {
            break;
        }
        struct share_wait wait = {.session = slot->session, .next = from->waits};
        from->waits = &wait;
        while (!wait.over && (wait.copying || (!atomic_load(cancelled) && base_clock() < until))) {
            look(share);
        }
        forget(from, &wait);
        taken = wait.taken;
        if (wait.over && !taken && (from->reads || from->writes)) {
            break; /* it is there, and cannot be copied */
        }
    }
    slot->reads = true;
    (void)pthread_mutex_unlock(share->lock);
    return taken;
}

/* With the lock, which is given up meanwhile. */
static void give_all(struct share *share, struct slot *slot) {
    while (slot->waits != NULL) {
        struct share_wait *wait = slot->waits;
        slot->waits = wait->next;
        wait->copying = true;
        (void)pthread_mutex_unlock(share->lock);
        bool taken = packllm_session_copy(wait->session, slot->session, NULL) >= 0;
        (void)pthread_mutex_lock(share->lock);
        wait->taken = taken;
        wait->over = true;
        wait->copying = false;
        (void)pthread_cond_broadcast(&share->given);
    }
}

void share_give(struct share *share, struct slot *slot) {
    (void)pthread_mutex_lock(share->lock);
    slot->reads = false;
    slot->writes = true;
    give_all(share, slot);
    (void)pthread_mutex_unlock(share->lock);
}

void share_end(struct share *share, struct slot *slot, bool fine) {
    (void)pthread_mutex_lock(share->lock);
    if (fine && slot->session != NULL) {
        give_all(share, slot);
    }
    slot->reads = slot->writes = false;
    for (struct share_wait *wait = slot->waits; wait != NULL; wait = wait->next) {
        wait->over = true;
    }
    slot->waits = NULL;
    (void)pthread_cond_broadcast(&share->given);
    (void)pthread_mutex_unlock(share->lock);
}
