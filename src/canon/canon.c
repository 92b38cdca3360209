/* canon.c - opens a vocabulary's rules, and applies them in order: added tokens, pretokeniser,
 * merges. */
#include "canon/canon.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "canon/private.h"

enum { PIECES_MAX = 1 << 25, BYTES_MAX = 1 << 30 };

/* ---- tables by hash ------------------------------------------------------------------------ */

static uint64_t mix(uint64_t h) {
    h = (h ^ h >> 32) * 0x9e3779b97f4a7c15U;
    return h ^ h >> 29;
}

static uint32_t slot_of(uint64_t hash, uint32_t n_slots) {
    return (uint32_t)((hash >> 32) * n_slots >> 32);
}

static uint64_t hash_bytes(const void *bytes, size_t size) {
    const uint8_t *p = bytes;
    uint64_t h = size * 0x2545f4914f6cdd1dU, word = 0;
    for (; size >= 8; size -= 8, p += 8) {
        memcpy(&word, p, 8);
        h = mix(h ^ word) * 0xd6e8feb86659fd93U;
    }
    word = 0;
    memcpy(&word, p, size);
    return mix(mix(h ^ word) * 0xd6e8feb86659fd93U);
}

static uint64_t hash_pair(int32_t left, int32_t right) {
    return mix(((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0xd6e8feb86659fd93U);
}

int32_t canon_find(const struct canon *c, const char *bytes, size_t size) {
    for (uint32_t i = slot_of(hash_bytes(bytes, size), c->n_slots);;
         i = i + 1 < c->n_slots ? i + 1 : 0) {
        if (c->slot[i] == 0) {
            return CANON_NONE;
        }
        uint32_t piece = c->slot[i] - 1;
        if (c->offset[piece + 1] - c->offset[piece] == size &&
            memcmp(c->bytes + c->offset[piece], bytes, size) == 0) {
            return (int32_t)piece;
        }
    }
}

int32_t canon_find_rank(const struct canon *c, int32_t left, int32_t right) {
    if (c->n_ranks == 0) {
        return CANON_NONE;
    }
    for (uint32_t i = slot_of(hash_pair(left, right), c->n_rank_slots);;
         i = i + 1 < c->n_rank_slots ? i + 1 : 0) {
        if (c->rank_slot[i] == 0) {
            return CANON_NONE;
        }
        uint32_t rank = c->rank_slot[i] - 1;
        if (c->rank[rank].left == left && c->rank[rank].right == right) {
            return (int32_t)rank;
        }
    }
}

static void enter_piece(struct canon *c, uint32_t piece) {
    uint32_t i =
        slot_of(hash_bytes(c->bytes + c->offset[piece], c->offset[piece + 1] - c->offset[piece]),
                c->n_slots);
    while (c->slot[i] != 0) {
        i = i + 1 < c->n_slots ? i + 1 : 0;
    }
    c->slot[i] = piece + 1;
}

static void enter_rank(struct canon *c, uint32_t rank) {
    uint32_t i = slot_of(hash_pair(c->rank[rank].left, c->rank[rank].right), c->n_rank_slots);
    while (c->rank_slot[i] != 0) {
        i = i + 1 < c->n_rank_slots ? i + 1 : 0;
    }
    c->rank_slot[i] = rank + 1;
}

/* ---- spelling ------------------------------------------------------------------------------ */

/* Byte-pair files write bytes as characters: printable Latin-1 as itself, the others as U+0100 and
 * on, in order. */
static int byte_of_code(uint32_t code) {
    if ((code >= 0x21 && code <= 0x7e) || (code >= 0xa1 && code <= 0xac) ||
        (code >= 0xae && code <= 0xff)) {
        return (int)code;
    }
    if (code >= 0x100 && code <= 0x120) {
        return (int)(code - 0x100); /* 00..20 */
    }
    if (code >= 0x121 && code <= 0x142) {
        return (int)(code - 0x121 + 0x7f); /* 7f..a0 */
    }
    return code == 0x143 ? 0xad : -1;
}

/* What a text of the file spells, into out (not longer than it). False: no text is written so. */
static bool spell(const struct canon *c, const uint8_t *text, size_t size, uint8_t *out,
                  size_t *out_n) {
    size_t n = 0;
    for (size_t at = 0; at < size;) {
        if (c->model == CANON_BYTE_PAIRS) {
            struct canon_char one[5];
            size_t left = size - at < 4 ? size - at : 4;
            (void)canon_decode((const char *)text + at, left, 0, one);
            int byte = one[0].code == UINT32_MAX ? -1 : byte_of_code(one[0].code);
            if (byte < 0) {
                return false;
            }
            out[n++] = (uint8_t)byte;
            at += one[1].at;
        } else if (text[at] == ' ') {
            return false;
        } else if (size - at >= 3 && memcmp(text + at, "\xe2\x96\x81", 3) == 0) {
            out[n++] = ' ';
            at += 3;
        } else {
            out[n++] = text[at++];
        }
    }
    *out_n = n;
    return n > 0;
}

/* ---- opening ------------------------------------------------------------------------------- */

static enum packllm_status add_piece(struct canon *c, const uint8_t *text, size_t size,
                                     struct packllm_error *err) {
    size_t used = c->offset[c->n_pieces], n = 0;
    if (c->n_pieces + 1 >= c->room_pieces || c->n_pieces >= PIECES_MAX || size > BYTES_MAX - used) {
        return fail(err, PACKLLM_E_MODEL, PACKLLM_NO_MEMBER, "the vocabulary is too large");
    }
    if (used + size > c->room_bytes) {
        size_t room = (used + size) * 5 / 4 + 4096;
        uint8_t *grown = alloc_resize(c->bytes, room, 1);
        if (grown == NULL) {
            return fail_memory(err, room);
        }
        c->bytes = grown;
        c->room_bytes = room;
    }
    if (!spell(c, text, size, c->bytes + used, &n)) {
        n = 0;
    }
    c->offset[++c->n_pieces] = (uint32_t)(used + n);
    return PACKLLM_OK;
}

static enum packllm_status read_tokens(struct canon *c, const struct canon_source *source,
                                       struct packllm_error *err) {
    enum packllm_status s = PACKLLM_OK;
    for (uint32_t i = 0; i < source->n_tokens && s == PACKLLM_OK; i++) {
        const struct canon_token *t = &source->tokens[i];
        s = add_piece(c, (const uint8_t *)t->text, t->size, err);
        const char *bytes = (const char *)c->bytes + c->offset[i];
        size_t size = c->offset[i + 1] - c->offset[i];
        if (s == PACKLLM_OK && size > 0 && canon_find(c, bytes, size) < 0) {
            enter_piece(c, i);
        }
        if (s == PACKLLM_OK && c->score != NULL) {
            c->score[i] = t->score;
        }
    }
    return s;
}

/* The piece of part of a merge, made where no token is it. */
static enum packllm_status intern(struct canon *c, const uint8_t *text, size_t size, int32_t *out,
                                  struct packllm_error *err) {
    enum packllm_status s = add_piece(c, text, size, err);
    if (s != PACKLLM_OK) {
        return s;
    }
    uint32_t piece = c->n_pieces - 1;
    const char *bytes = (const char *)c->bytes + c->offset[piece];
    size_t n = c->offset[piece + 1] - c->offset[piece];
    *out = n > 0 ? canon_find(c, bytes, n) : CANON_NONE;
    if (n > 0 && *out < 0) {
        enter_piece(c, piece);
        *out = (int32_t)piece;
    } else {
        c->n_pieces--;
    }
    return PACKLLM_OK;
}

/* "left right", parted at the first space behind the first byte. */
static enum packllm_status read_merge(struct canon *c, const struct canon_text *merge,
                                      uint8_t **joined, size_t *room, uint32_t rank,
                                      struct packllm_error *err) {
    const uint8_t *space = merge->size > 1 ? memchr(merge->bytes + 1, ' ', merge->size - 1) : NULL;
    struct canon_rank *r = &c->rank[rank];
    *r = (struct canon_rank){CANON_NONE, CANON_NONE, CANON_NONE};
    if (space == NULL) {
        return PACKLLM_OK;
    }
    size_t left = (size_t)(space - merge->bytes), right = merge->size - left - 1;
    if (left + right > *room) {
        uint8_t *grown = alloc_resize(*joined, (left + right) * 2, 1);
        if (grown == NULL) {
            return fail_memory(err, (left + right) * 2);
        }
        *joined = grown;
        *room = (left + right) * 2;
    }
    memcpy(*joined, merge->bytes, left);
    memcpy(*joined + left, space + 1, right);
    enum packllm_status s = intern(c, merge->bytes, left, &r->left, err);
    s = s == PACKLLM_OK ? intern(c, space + 1, right, &r->right, err) : s;
    if (s == PACKLLM_OK && r->left >= 0 && r->right >= 0) {
        s = intern(c, *joined, left + right, &r->result, err);
        if (s == PACKLLM_OK && canon_find_rank(c, r->left, r->right) < 0) {
            enter_rank(c, rank);
        }
    }
    return s;
}

static enum packllm_status read_merges(struct canon *c, const struct canon_source *source,
                                       struct packllm_error *err) {
    enum packllm_status s = PACKLLM_OK;
    uint8_t *joined = NULL;
    size_t room = 0;
    for (uint32_t i = 0; i < source->n_merges && s == PACKLLM_OK; i++) {
        c->n_ranks = i + 1;
        s = read_merge(c, &source->merges[i], &joined, &room, i, err);
    }
    base_free(joined);
    return s;
}

/* The token written as text, or CANON_NONE. */
static int32_t token_of(const struct canon *c, const char *text, size_t size) {
    int32_t piece = canon_find(c, text, size);
    return piece >= 0 && (uint32_t)piece < c->n_tokens ? piece : CANON_NONE;
}

static void find_bytes(struct canon *c) {
    static const char hex[] = "0123456789ABCDEF";
    for (unsigned b = 0; b < 256; b++) {
        const char one[1] = {(char)b}, name[] = {'<', '0', 'x', hex[b >> 4], hex[b & 15], '>'};
        c->byte_piece[b] = c->model == CANON_BYTE_PAIRS ? canon_find(c, one, 1) : CANON_NONE;
        if (c->model == CANON_BYTE_PAIRS) {
            /* A piece that is no token is spelled by those of its letters that are tokens. */
            c->byte_token[b] = b >= 0x21 && b <= 0x7e ? token_of(c, one, 1) : CANON_NONE;
            continue;
        }
        c->byte_token[b] = token_of(c, name, sizeof name);
        if (c->byte_token[b] < 0 && c->model == CANON_PIECES && b != ' ') {
            c->byte_token[b] = token_of(c, one, 1);
        }
    }
}

static int compare_added(const struct canon_added *a, const struct canon_added_token *x,
                         const struct canon_added_token *y) {
    int order = memcmp(a->bytes + x->at, a->bytes + y->at, x->size < y->size ? x->size : y->size);
    return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

/* Heap sort, by bytes or (by_order) by length, longest first, then id. */
static bool after(const struct canon_added *a, bool by_order, uint32_t x, uint32_t y) {
    const struct canon_added_token *t = a->token;
    if (!by_order) {
        return compare_added(a, &t[x], &t[y]) > 0;
    }
    uint32_t i = a->by_order[x], j = a->by_order[y];
    return t[i].size != t[j].size ? t[i].size < t[j].size : t[i].id > t[j].id;
}

static void swap(struct canon_added *a, bool by_order, uint32_t x, uint32_t y) {
    if (by_order) {
        uint32_t t = a->by_order[x];
        a->by_order[x] = a->by_order[y];
        a->by_order[y] = t;
    } else {
        struct canon_added_token t = a->token[x];
        a->token[x] = a->token[y];
        a->token[y] = t;
    }
}

static void sift(struct canon_added *a, bool by_order, uint32_t root, uint32_t n) {
    for (uint32_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && after(a, by_order, child + 1, child)) {
            child++;
        }
        if (!after(a, by_order, child, root)) {
            return;
        }
        swap(a, by_order, root, child);
    }
}

static void sort(struct canon_added *a, bool by_order) {
    for (uint32_t i = a->n / 2; i-- > 0;) {
        sift(a, by_order, i, a->n);
    }
    for (uint32_t n = a->n; n > 1; n--) {
        swap(a, by_order, 0, n - 1);
        sift(a, by_order, 0, n - 1);
    }
}

static enum packllm_status read_added(struct canon *c, const struct canon_source *source,
                                      struct packllm_error *err) {
    struct canon_added *a = &c->added;
    uint32_t n = 0;
    for (uint32_t i = 0; i < source->n_tokens; i++) {
        bool added = (source->tokens[i].flags & CANON_ADDED) != 0 && source->tokens[i].size > 0;
        n += added;
        a->size += added ? source->tokens[i].size : 0;
    }
    if (a->size > BYTES_MAX) {
        return fail(err, PACKLLM_E_MODEL, PACKLLM_NO_MEMBER, "the vocabulary is too large");
    }
    a->bytes = alloc_array(a->size, 1);
    a->token = alloc_array(n, sizeof *a->token);
    a->by_order = alloc_array(n, sizeof *a->by_order);
    if (a->bytes == NULL || a->token == NULL || a->by_order == NULL) {
        return fail_memory(err, a->size);
    }
    uint32_t used = 0;
    for (uint32_t i = 0; i < source->n_tokens; i++) {
        const struct canon_token *t = &source->tokens[i];
        if ((t->flags & CANON_ADDED) != 0 && t->size > 0) {
            memcpy(a->bytes + used, t->text, t->size);
            a->token[a->n++] = (struct canon_added_token){
                .at = used, .size = t->size, .id = (int32_t)i, .flags = t->flags};
            a->first[(uint8_t)t->text[0]] = true;
            used += t->size;
        }
    }
    sort(a, false);
    for (uint32_t i = 0; i < n; i++) {
        a->by_order[i] = i;
    }
    sort(a, true);
    for (uint32_t i = 0; i < n; i++) {
        a->token[a->by_order[i]].order = i;
    }
    return PACKLLM_OK;
}

static enum packllm_status allocate(struct canon *c, const struct canon_source *source,
                                    struct packllm_error *err) {
    /* Merges make at most three pieces each that are no tokens; real ones make none. */
    uint64_t pieces = (uint64_t)source->n_tokens + 3U * (uint64_t)source->n_merges + 2;
    if (source->n_tokens == 0 || source->n_tokens > PIECES_MAX || pieces > PIECES_MAX) {
        return fail(err, PACKLLM_E_MODEL, PACKLLM_NO_MEMBER, "the vocabulary is too large");
    }
    c->n_tokens = source->n_tokens;
    c->room_pieces = (uint32_t)pieces;
    c->n_slots = (uint32_t)(pieces + pieces / 3 + 8);
    c->n_rank_slots = source->n_merges + source->n_merges / 3 + 8;
    c->offset = alloc_zero(pieces, sizeof *c->offset);
    c->slot = alloc_zero(c->n_slots, sizeof *c->slot);
    if (source->model == CANON_PIECES) {
        c->score = alloc_zero(source->n_tokens, sizeof *c->score);
    } else {
        c->rank = alloc_array(source->n_merges, sizeof *c->rank);
        c->rank_slot = alloc_zero(c->n_rank_slots, sizeof *c->rank_slot);
    }
    bool good = c->offset != NULL && c->slot != NULL &&
                (c->score != NULL || (c->rank != NULL && c->rank_slot != NULL));
    return good ? PACKLLM_OK : fail_memory(err, pieces * 16);
}

/* Gives back what was held for pieces that did not come, and enters those that are there again. */
static enum packllm_status trim(struct canon *c, struct packllm_error *err) {
    uint32_t n_slots = c->n_pieces + c->n_pieces / 3 + 8;
    uint32_t *slot = alloc_zero(n_slots, sizeof *slot), *old = c->slot, n_old = c->n_slots;
    if (slot == NULL) {
        return fail_memory(err, n_slots * sizeof *slot);
    }
    c->slot = slot;
    c->n_slots = n_slots;
    for (uint32_t i = 0; i < n_old; i++) {
        if (old[i] != 0) {
            enter_piece(c, old[i] - 1);
        }
    }
    base_free(old);
    uint32_t *offset = alloc_resize(c->offset, (size_t)c->n_pieces + 1, sizeof *offset);
    c->offset = offset != NULL ? offset : c->offset;
    uint8_t *bytes = alloc_resize(c->bytes, c->offset[c->n_pieces], 1);
    c->bytes = bytes != NULL ? bytes : c->bytes;
    c->room_bytes = c->offset[c->n_pieces];
    c->room_pieces = c->n_pieces + 1;
    return PACKLLM_OK;
}

enum packllm_status canon_open(struct canon **out, const struct canon_source *source,
                               struct packllm_error *err) {
    struct canon *c = alloc_zero(1, sizeof *c);
    bool known = true;
    if (c == NULL) {
        return fail_memory(err, sizeof *c);
    }
    c->model = source->model;
    enum packllm_status s = allocate(c, source, err);
    if (s == PACKLLM_OK && c->model != CANON_PIECES) {
        s = pre_open(&c->pre, source->pre, &known, err);
    }
    if (c->pre.spaces_as_marks) {
        c->model = CANON_PAIRS_MARKS;
    }
    if (s == PACKLLM_OK && (!known || c->pre.spaces_as_marks != (c->model == CANON_PAIRS_MARKS))) {
        s = fail(err, PACKLLM_E_UNSUPPORTED, PACKLLM_NO_MEMBER,
                 "the pretokeniser '%s' is not known here", source->pre);
    }
    s = s == PACKLLM_OK ? read_tokens(c, source, err) : s;
    s = s == PACKLLM_OK && c->model != CANON_PIECES ? read_merges(c, source, err) : s;
    s = s == PACKLLM_OK ? read_added(c, source, err) : s;
    s = s == PACKLLM_OK ? trim(c, err) : s;
    if (s == PACKLLM_OK) {
        find_bytes(c);
    }
    if (s == PACKLLM_OK && c->model != CANON_BYTE_PAIRS &&
        (c->byte_token[0xe2] < 0 || c->byte_token[0x96] < 0 || c->byte_token[0x81] < 0)) {
        s = fail(err, PACKLLM_E_UNSUPPORTED, PACKLLM_NO_MEMBER,
                 "the vocabulary cannot spell U+2581, which stands for its spaces");
    }
    if (s != PACKLLM_OK) {
        canon_close(c);
        return s;
    }
    *out = c;
    return PACKLLM_OK;
}

void canon_close(struct canon *c) {
    if (c == NULL) {
        return;
    }
    pre_done(&c->pre);
    canon_added_done(&c->added);
    base_free(c->bytes);
    base_free(c->offset);
    base_free(c->score);
    base_free(c->slot);
    base_free(c->rank);
    base_free(c->rank_slot);
    base_free(c);
}

size_t canon_memory(const struct canon *c) {
    const struct canon_added *a = &c->added;
    return sizeof *c + c->room_bytes + (size_t)c->room_pieces * sizeof *c->offset +
           (size_t)c->n_slots * sizeof *c->slot +
           (c->score != NULL ? (size_t)c->n_tokens * sizeof *c->score : 0) +
           (c->rank != NULL ? (size_t)c->n_ranks * sizeof *c->rank +
                                  (size_t)c->n_rank_slots * sizeof *c->rank_slot
                            : 0) +
           a->size + (size_t)a->n * (sizeof *a->token + sizeof *a->by_order) + pre_memory(&c->pre);
}

bool canon_splits_characters(const struct canon *c) {
    return c->model == CANON_BYTE_PAIRS;
}

bool canon_unbounded(const struct canon *c) {
    return c->model != CANON_BYTE_PAIRS;
}

/* ---- encoding ------------------------------------------------------------------------------ */

void canon_work_done(struct canon_work *w) {
    base_free(w->id);
    base_free(w->end);
    base_free(w->chars);
    pre_work_done(&w->pre);
    base_free(w->part);
    base_free(w->part_next);
    base_free(w->present);
    base_free(w->symbol);
    base_free(w->heap);
    *w = (struct canon_work){0};
}

/* One piece between the pretokeniser's cuts. */
static enum packllm_status encode_piece(const struct canon *c, struct canon_work *w,
                                        const char *text, size_t from, size_t end,
                                        struct packllm_error *err) {
    bool newlines = c->pre.newline_runs;
    for (size_t i = from; i < end && newlines; i++) {
        newlines = text[i] == '\n';
    }
    if (c->pre.whole_first || newlines) {
        int32_t id = token_of(c, text + from, end - from);
        if (id >= 0) {
            return canon_put(w, id, end, err);
        }
    }
    return canon_merge_piece(c, w, text, from, end, err);
}

/* Characters of text[from..end) and the pretokeniser's cuts among them. */
static enum packllm_status cut(const struct canon *c, struct canon_work *w, const char *text,
                               size_t from, size_t end, uint8_t tail, struct packllm_error *err) {
    if (end - from + 1 > w->room_chars) {
        size_t room = end - from + 64;
        struct canon_char *grown = alloc_resize(w->chars, room, sizeof *grown);
        if (grown == NULL) {
            return fail_memory(err, room * sizeof *grown);
        }
        w->chars = grown;
        w->room_chars = room;
    }
    size_t n = canon_decode(text + from, end - from, tail, w->chars);
    return pre_cut(&c->pre, w->chars, n, &w->pre, err);
}

static enum packllm_status walk(const struct canon *c, struct canon_work *w, const char *text,
                                size_t size, uint8_t tail, bool merge, struct packllm_error *err) {
    assert(size <= INT32_MAX);
    w->n = w->dropped = 0;
    enum packllm_status s = canon_partition(c, w, text, size, err);
    for (size_t i = 0; i < w->n_part && s == PACKLLM_OK; i++) {
        struct canon_part part = w->part[i];
        if (part.token == CANON_SKIP) {
            w->dropped += part.end - part.from;
        }
        if (part.token != CANON_NONE || (!merge && c->pre.n == 0)) {
            s = part.token != CANON_SKIP ? canon_put(w, part.token, part.end, err) : s;
        } else if (c->pre.n == 0) {
            s = canon_merge_piece(c, w, text, part.from, part.end, err);
        } else {
            size_t from = part.from;
            s = cut(c, w, text, part.from, part.end, tail, err);
            for (size_t j = 0; j < w->pre.n && s == PACKLLM_OK; j++) {
                size_t end = part.from + w->chars[w->pre.cut[j]].at;
                s = merge ? encode_piece(c, w, text, from, end, err)
                          : canon_put(w, CANON_NONE, end, err);
                from = end;
            }
        }
    }
    return s;
}

enum packllm_status canon_encode(const struct canon *c, struct canon_work *w, const char *text,
                                 size_t size, uint8_t tail, struct packllm_error *err) {
    return walk(c, w, text, size, tail, true, err);
}

enum packllm_status canon_bounds(const struct canon *c, struct canon_work *w, const char *text,
                                 size_t size, uint8_t tail, struct packllm_error *err) {
    return walk(c, w, text, size, tail, false, err);
}

enum packllm_status canon_merge(const struct canon *c, struct canon_work *w, const char *text,
                                size_t size, struct packllm_error *err) {
    w->n = w->dropped = 0;
    return size > 0 ? canon_merge_piece(c, w, text, 0, size, err) : PACKLLM_OK;
}
