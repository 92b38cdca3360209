/* canon.c - is an end canonical? Histories are canonical when retokenising their text gives them
 * back; of canonical sequences every beginning is canonical, so this can be asked at each end. Only
 * a window is retokenised, from a place where no token of the vocabularies in use reaches across:
 * a space behind something that is not white space. */
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "base/utf8.h"
#include "cover/private.h"

enum { WINDOW_LEAST = 8, WINDOW_MOST = 400 }; /* bytes */

bool canon_mid_character(const struct cover *c, size_t x) {
    /* The last lead byte says how long its character is. */
    for (size_t back = 1; back <= 3 && back <= x; back++) {
        uint8_t byte = (uint8_t)c->text[x - back];
        if (byte < 0x80) {
            return false;
        }
        if (byte >= 0xc0) {
            size_t need = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
            return back < need;
        }
    }
    return false;
}

bool canon_behind_gap(const struct cover *c, const struct cover_node *node) {
    size_t before = node->parent != NULL ? node->parent->at : 0;
    size_t own = node->parent != NULL ? vocab_size(&c->member->table, node->token) : 0;
    return node->at != before + own;
}

/* Tokens of text[low..high) behind the first n of c->tokens. */
static enum packllm_status append_tokens(struct cover *c, size_t low, size_t high, size_t *n,
                                         struct packllm_error *err) {
    size_t more = 0;
    enum packllm_status status = member_tokenize(c->member, c->text + low, high - low,
                                                 c->tokens + *n, c->room_tokens - *n, &more, err);
    *n += status >= 0 ? more : 0;
    return status;
}

/* Some vocabularies cannot spell every character. The member does not see such a one: its tokens
 * are those of the text before and behind, with a gap of minus so many bytes between. */
static enum packllm_status around_gaps(struct cover *c, size_t low, size_t high, size_t *out_n,
                                       struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    size_t n = 0, from = low;
    for (size_t x = low; x < high && status >= 0;) {
        size_t next = x + 1, unused = n;
        struct packllm_error why;
        while (next < high && ((uint8_t)c->text[next] & 0xc0) == 0x80) {
            next++;
        }
        status = append_tokens(c, x, next, &unused, &why);
        if (status == PACKLLM_E_TEXT) {
            status = x > from ? append_tokens(c, from, x, &n, err) : PACKLLM_OK;
            c->tokens[n++] = -(int32_t)(next - x);
            from = next;
        } else if (status < 0 && err != NULL) {
            *err = why;
        }
        x = next;
    }
    if (status >= 0 && high > from) {
        status = append_tokens(c, from, high, &n, err);
    }
    *out_n = n;
    return status;
}

enum packllm_status canon_tokens(struct cover *c, size_t low, size_t high, size_t *out_n,
                                 struct packllm_error *err) {
    if (high - low + 16 > c->room_tokens) {
        size_t room = (high - low) * 2 + 256;
        int32_t *grown = alloc_resize(c->tokens, room, sizeof *grown);
        if (grown == NULL) {
            return fail_memory(err, room * sizeof *grown);
        }
        c->tokens = grown;
        c->room_tokens = room;
    }
    enum packllm_status status = member_tokenize(c->member, c->text + low, high - low, c->tokens,
                                                 c->room_tokens, out_n, err);
    /* Vocabularies that put a space first would put it behind every gap. */
    return status == PACKLLM_E_TEXT && c->lead == 0 ? around_gaps(c, low, high, out_n, err)
                                                    : status;
}

enum packllm_status canon_tokenize(struct cover *c, size_t low, size_t high, long *out_n,
                                   struct packllm_error *err) {
    struct packllm_error why;
    size_t n = 0, skip = 0;
    *out_n = -1;
    if (c->lead > 0) {
        /* The vocabulary puts the space in front by itself. */
        if (c->text[low] != ' ' || high < low + 2) {
            return PACKLLM_OK;
        }
        skip = 1;
    }
    enum packllm_status status = canon_tokens(c, low + skip, high, &n, &why);
    if (status == PACKLLM_E_MEMORY) {
        if (err != NULL) {
            *err = why;
        }
        return status;
    }
    *out_n = status >= 0 ? (long)n : -1;
    return PACKLLM_OK;
}

static bool white(char byte) {
    return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

/* Whether the text from start to node, with `next` behind it, begins with node's own tokens. */
static enum packllm_status tokenised_so(struct cover *c, const struct cover_node *start,
                                        const struct cover_node *node, const char *next, bool *same,
                                        struct packllm_error *err) {
    long n = 0, k = 0;
    size_t size = strlen(next), at = start->at;
    char saved[4];
    memcpy(saved, c->text + node->at, size);
    memcpy(c->text + node->at, next, size);
    enum packllm_status status = canon_tokenize(c, start->at, node->at + size, &n, err);
    memcpy(c->text + node->at, saved, size);
    *same = true;
    for (long i = 0; i < n; i++) {
        n = c->tokens[i] < 0 ? -1 : n;
    }
    if (status < 0 || n < 0) {
        return status; /* cannot be asked */
    }
    while (k < n && at < node->at) {
        at += vocab_size(&c->member->table, c->tokens[k++]);
    }
    *same = at == node->at;
    for (; *same && node != start; node = node->parent) {
        *same =
            k > 0 && vocab_size(&c->member->table, c->tokens[--k]) == node->at - node->parent->at;
    }
    *same = *same && k == 0;
    return PACKLLM_OK;
}

struct cover_node *canon_window(struct cover *c, struct cover_node *node) {
    bool anywhere = c->lead == 0 || c->member->canon != NULL;
    struct cover_node *start = node->parent;
    while (start->at > 0 && !canon_behind_gap(c, start)) {
        size_t distance = node->at - start->at;
        if (distance >= WINDOW_LEAST && c->text[start->at] == ' ' &&
            !white(c->text[start->at - 1])) {
            break;
        }
        if (distance > WINDOW_MOST && anywhere && !canon_mid_character(c, start->at)) {
            break;
        }
        start = start->parent;
    }
    return start;
}

enum packllm_status canon_check(struct cover *c, struct cover_node *node,
                                struct packllm_error *err) {
    if (c->all) {
        node->valid = NODE_VALID;
        return PACKLLM_OK;
    }
    if (c->member->canon != NULL) {
        return rules_check(c, node, err);
    }
    if (canon_mid_character(c, node->at)) {
        node->valid = NODE_VALID; /* cannot be asked; the end of the character will tell */
        return PACKLLM_OK;
    }
    struct cover_node *start = canon_window(c, node);
    /* What may come next decides too: in "a\n\nb" the two line ends are two tokens of byte-pair
     * vocabularies, in "a\n\n" they are one. An end is canonical if it is so before something. */
    static const char *const followers[] = {"", "Q", " ", "\n", "1", "."};
    node->valid = NODE_INVALID;
    for (size_t f = 0; f < sizeof followers / sizeof *followers; f++) {
        bool same = false;
        enum packllm_status status = tokenised_so(c, start, node, followers[f], &same, err);
        if (status < 0) {
            return status;
        }
        if (same) {
            node->valid = NODE_VALID;
            break;
        }
        if (!white(c->text[node->at - 1])) {
            break;
        }
    }
    return PACKLLM_OK;
}

static bool letter(char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

/* Whatever stands around them, two tokens of one canonical sequence are canonical by themselves:
 * merges, scores and longest matches never look across the ends of what they made. Rules that look
 * at kinds of characters first (runs of white space, digits, 's) do, but for these: letters or
 * white space before a letter, or before one space and a letter. Only there can the pair be asked
 * alone. */
static bool askable(const char *left, uint32_t n_left, const char *right, uint32_t n_right) {
    for (uint32_t i = 0; i < n_left; i++) {
        if ((left[i] & 0x80) != 0) {
            return false; /* may be half a character */
        }
    }
    return (letter(left[n_left - 1]) || white(left[n_left - 1])) &&
           (right[n_right - 1] & 0x80) == 0 &&
           (letter(right[0]) || (n_right > 1 && right[0] == ' ' && letter(right[1])));
}

enum packllm_status canon_pair(struct cover *c, int32_t left, int32_t right, size_t at,
                               bool *canonical, struct packllm_error *err) {
    const struct vocab_table *table = &c->member->table;
    *canonical = true;
    if (c->member->canon != NULL) {
        return rules_pair(c, left, right, at, canonical, err);
    }
    if (left < 0 || !vocab_is_text(table, left)) {
        return PACKLLM_OK;
    }
    uint32_t n_left = vocab_size(table, left), n_right = vocab_size(table, right);
    char text[2 * WINDOW_MOST];
    if (n_left + n_right + 1 > sizeof text ||
        !askable((const char *)vocab_bytes(table, left), n_left,
                 (const char *)vocab_bytes(table, right), n_right)) {
        return PACKLLM_OK;
    }
    uint32_t slot = ((uint32_t)left * 0x9e3779b1U ^ (uint32_t)right * 0x85ebca77U) >> 7;
    struct cover_pair *pair = &c->pairs[slot % CANON_PAIRS];
    if (!pair->known || pair->left != left || pair->right != right) {
        /* A line end keeps the space that some vocabularies put first away from the pair. */
        size_t n = c->lead;
        text[0] = '\n';
        memcpy(text + n, vocab_bytes(table, left), n_left);
        memcpy(text + n + n_left, vocab_bytes(table, right), n_right);
        struct packllm_error why;
        int32_t tokens[2 * WINDOW_MOST + 16];
        size_t n_tokens = 0;
        enum packllm_status status =
            member_tokenize(c->member, text, n + n_left + n_right, tokens,
                            sizeof tokens / sizeof *tokens, &n_tokens, &why);
        if (status == PACKLLM_E_MEMORY) {
            if (err != NULL) {
                *err = why;
            }
            return status;
        }
        bool parted = n_tokens >= 2 && vocab_size(table, tokens[n_tokens - 1]) == n_right &&
                      vocab_size(table, tokens[n_tokens - 2]) == n_left;
        *pair = (struct cover_pair){left, right, true, status < 0 || parted};
    }
    *canonical = pair->canonical;
    return PACKLLM_OK;
}

enum packllm_status canon_next(struct cover *c, struct cover_node **node, int32_t token,
                               size_t high, struct packllm_error *err) {
    struct cover_node *from = *node;
    size_t at = from->at + (token < 0 ? (size_t)-token : vocab_size(&c->member->table, token));
    if (at == from->at || at > high) {
        return fail(err, PACKLLM_E_TEXT, c->member->index,
                    "member '%s': its tokenizer does not give the text back (near byte %zu)",
                    c->member->name, from->at);
    }
    /* Behind a gap stands the same history, only further on. */
    struct cover_node *next = token < 0 ? node_get(c, from->parent, from->token, at, err)
                                        : node_get(c, from, token, at, err);
    if (next == NULL) {
        return PACKLLM_E_MEMORY;
    }
    next->valid = NODE_VALID;
    *node = next;
    return PACKLLM_OK;
}

enum packllm_status canon_path(struct cover *c, size_t high, struct cover_node **out,
                               struct packllm_error *err) {
    long n = 0;
    *out = NULL;
    struct cover_node *node = node_get(c, NULL, node_first(c), 0, err);
    if (node == NULL) {
        return PACKLLM_E_MEMORY;
    }
    if (high > 0) {
        enum packllm_status status = canon_tokenize(c, 0, high, &n, err);
        if (status < 0 || n < 0) {
            return status;
        }
    }
    for (long i = 0; i < n; i++) {
        enum packllm_status status = canon_next(c, &node, c->tokens[i], high, NULL);
        if (status < 0) {
            return status == PACKLLM_E_MEMORY ? fail_memory(err, sizeof *node) : PACKLLM_OK;
        }
    }
    *out = node->at == high ? node : NULL;
    return PACKLLM_OK;
}

enum packllm_status canon_prefix(struct cover *c, struct cover_node *from, size_t x,
                                 struct cover_node **out, struct packllm_error *err) {
    struct cover_node *start = from;
    long n = 0;
    while (start->at > 0 && start->parent != NULL && !canon_behind_gap(c, start)) {
        size_t distance = start->at <= x ? x - start->at : 0;
        if ((distance >= WINDOW_LEAST && c->text[start->at] == ' ' &&
             !white(c->text[start->at - 1])) ||
            (distance > WINDOW_MOST && c->lead == 0 && !canon_mid_character(c, start->at))) {
            break;
        }
        start = start->parent;
    }
    *out = start;
    if (start->at >= x) {
        return PACKLLM_OK;
    }
    enum packllm_status status = canon_tokenize(c, start->at, x, &n, err);
    struct cover_node *node = start;
    for (long i = 0; i < n && status >= 0; i++) {
        status = canon_next(c, &node, c->tokens[i], x, err);
    }
    if (status == PACKLLM_E_TEXT) {
        return PACKLLM_OK; /* cannot be asked */
    }
    *out = status >= 0 && n > 0 ? node : start;
    return status;
}
