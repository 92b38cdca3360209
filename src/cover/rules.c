/* rules.c - is an end canonical? By the vocabulary's own rules (docs/internals/canon.md): within a
 * piece between the pretokeniser's cuts a sequence is canonical exactly if each two neighbours are,
 * merged alone. So a pair stands if merges keep it, or if a cut may fall between its tokens. What
 * follows the text may move cuts: a few followers stand for all kinds of it. */
#include <string.h>

#include "cover/private.h"

/* Nothing, letters, white space, digits, punctuation: what the patterns look at. */
static const char *const followers[] = {"",  "Q",  " ", "\n", "1",
                                        ".", "11", "e", " q", "\xe4\xb8\x80"};
enum { N_FOLLOWERS = sizeof followers / sizeof *followers, FOLLOWER_MAX = 4 };
/* What a character that is not whole yet may become. */
static const uint8_t tails[] = {CANON_LETTER, CANON_PUNCTUATION, CANON_SYMBOL,
                                CANON_MARK,   CANON_NUMBER,      CANON_WHITE};
enum { N_TAILS = sizeof tails };

/* The text from `low` to `x` and what follows in the i-th case. False: no more cases. */
static bool follow(const struct cover *c, size_t low, size_t x, size_t i, char *out, size_t *size,
                   uint8_t *tail) {
    bool half = canon_mid_character(c, x);
    if (i >= (half ? (size_t)N_TAILS : (size_t)N_FOLLOWERS)) {
        return false;
    }
    memcpy(out, c->text + low, x - low);
    *size = x - low;
    *tail = half ? tails[i] : 0;
    if (!half) {
        memcpy(out + *size, followers[i], strlen(followers[i]));
        *size += strlen(followers[i]);
    }
    return true;
}

/* Whether the ends of the tokens of the last canon_encode are those of the history. */
static bool same_ends(const struct cover *c, const struct cover_node *start,
                      const struct cover_node *node) {
    const struct canon_work *w = &c->work;
    size_t k = 0;
    while (k < w->n && w->end[k] < node->at - start->at) {
        k++;
    }
    for (; node != start; node = node->parent, k--) {
        if (k >= w->n || w->end[k] != node->at - start->at) {
            return false;
        }
    }
    return k == SIZE_MAX;
}

enum packllm_status rules_check(struct cover *c, struct cover_node *node,
                                struct packllm_error *err) {
    const struct canon *canon = c->member->canon;
    char text[CANON_WINDOW + FOLLOWER_MAX];
    struct cover_node *start = canon_window(c, node);
    size_t size = 0;
    uint8_t tail = 0;
    node->valid = NODE_VALID;
    if (node->at - start->at > CANON_WINDOW ||
        (!canon_splits_characters(canon) && canon_mid_character(c, node->at))) {
        return PACKLLM_OK; /* cannot be asked; the end of the character will tell */
    }
    for (size_t i = 0; follow(c, start->at, node->at, i, text, &size, &tail); i++) {
        enum packllm_status s = canon_encode(canon, &c->work, text, size, tail, err);
        if (s != PACKLLM_OK || c->work.dropped > 0 || same_ends(c, start, node)) {
            return s;
        }
    }
    node->valid = NODE_INVALID;
    return PACKLLM_OK;
}

/* ---- pairs --------------------------------------------------------------------------------- */

/* Cuts of the text up to the front, under any of the followers. */
static enum packllm_status find_bounds(struct cover *c, struct packllm_error *err) {
    size_t x = c->front.x, low = x > CANON_WINDOW ? x - CANON_WINDOW : 0, size = 0;
    char text[CANON_WINDOW + FOLLOWER_MAX];
    uint8_t tail = 0;
    /* From a place that is a cut for nearly all: a space behind something that is none. */
    for (size_t at = x > 32 ? x - 32 : 0; at > low; at--) {
        if (c->text[at] == ' ' && c->text[at - 1] > ' ') {
            low = at;
        }
    }
    memset(c->bounds, 0, x - low + 1);
    /* Without a pretokeniser only added tokens cut, and these are asked for as pairs. */
    size_t n_cases = canon_unbounded(c->member->canon) ? 1 : SIZE_MAX;
    for (size_t i = 0; i < n_cases && follow(c, low, x, i, text, &size, &tail); i++) {
        enum packllm_status s = canon_bounds(c->member->canon, &c->work, text, size, tail, err);
        if (s != PACKLLM_OK) {
            return s;
        }
        for (size_t k = 0; k < c->work.n && c->work.end[k] <= x - low; k++) {
            c->bounds[c->work.end[k]] = 1;
        }
    }
    c->bounds[0] = 1;
    c->bounds_low = low;
    c->bounds_known = true;
    return PACKLLM_OK;
}

static bool whole_characters(const uint8_t *bytes, uint32_t size) {
    uint32_t need = 0;
    for (uint32_t i = 0; i < size; i++) {
        bool inner = (bytes[i] & 0xc0) == 0x80;
        if (inner != (need > 0)) {
            return false;
        }
        need = inner             ? need - 1
               : bytes[i] < 0xc0 ? 0
               : bytes[i] < 0xe0 ? 1
               : bytes[i] < 0xf0 ? 2
                                 : 3;
    }
    return need == 0;
}

/* Whether merges keep the two tokens apart, and each whole. */
static enum packllm_status keeps(struct cover *c, int32_t left, int32_t right, bool *kept,
                                 struct packllm_error *err) {
    const struct vocab_table *t = &c->member->table;
    const struct canon *canon = c->member->canon;
    uint32_t n_left = vocab_size(t, left), n_right = vocab_size(t, right);
    char text[CANON_WINDOW];
    *kept = true;
    if (n_left + n_right > sizeof text ||
        (!canon_splits_characters(canon) && (!whole_characters(vocab_bytes(t, left), n_left) ||
                                             !whole_characters(vocab_bytes(t, right), n_right)))) {
        return PACKLLM_OK;
    }
    memcpy(text, vocab_bytes(t, left), n_left);
    memcpy(text + n_left, vocab_bytes(t, right), n_right);
    const struct canon_work *w = &c->work;
    bool added = t->kind[left] == VOCAB_USER || t->kind[right] == VOCAB_USER;
    enum packllm_status s = added ? canon_encode(canon, &c->work, text, n_left + n_right, 0, err)
                                  : canon_merge(canon, &c->work, text, n_left + n_right, err);
    *kept = w->dropped > 0 || (w->n > 0 && w->end[0] == n_left && (added || w->n == 2));
    return s;
}

enum packllm_status rules_pair(struct cover *c, int32_t left, int32_t right, size_t at,
                               bool *canonical, struct packllm_error *err) {
    *canonical = true;
    if (left < 0 || !vocab_is_text(&c->member->table, left)) {
        return PACKLLM_OK;
    }
    uint32_t slot = ((uint32_t)left * 0x9e3779b1U ^ (uint32_t)right * 0x85ebca77U) >> 7;
    struct cover_pair *pair = &c->pairs[slot % CANON_PAIRS];
    if (!pair->known || pair->left != left || pair->right != right) {
        bool kept = true;
        enum packllm_status s = keeps(c, left, right, &kept, err);
        if (s != PACKLLM_OK) {
            return s;
        }
        *pair = (struct cover_pair){left, right, true, kept};
    }
    if (!pair->canonical) {
        enum packllm_status s = c->bounds_known ? PACKLLM_OK : find_bounds(c, err);
        if (s != PACKLLM_OK) {
            return s;
        }
        *canonical = at < c->bounds_low || at > c->front.x || c->bounds[at - c->bounds_low] != 0;
    }
    return PACKLLM_OK;
}
