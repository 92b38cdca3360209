/* added.c - finds added tokens. Which of them occur at all is found in one walk over the text; only
 * those are then cut out one after the other, as libllama does with all. So a text without any costs
 * a look at each byte. */
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "canon/private.h"

void canon_added_done(struct canon_added *a) {
    base_free(a->bytes);
    base_free(a->token);
    base_free(a->by_order);
    *a = (struct canon_added){0};
}

static enum packllm_status add_part(struct canon_work *w, struct canon_part **list, size_t *n,
                                    struct canon_part part, struct packllm_error *err) {
    if (*n == w->room_part) {
        size_t room = w->room_part * 2 + 64;
        struct canon_part *a = alloc_resize(w->part, room, sizeof *a);
        bool swapped = *list == w->part;
        w->part = a != NULL ? a : w->part;
        struct canon_part *b = alloc_resize(w->part_next, room, sizeof *b);
        w->part_next = b != NULL ? b : w->part_next;
        *list = swapped ? w->part : w->part_next;
        if (a == NULL || b == NULL) {
            return fail_memory(err, room * sizeof *a);
        }
        w->room_part = room;
    }
    (*list)[(*n)++] = part;
    return PACKLLM_OK;
}

/* Marks which tokens begin at text[at]: walks down the sorted list, byte by byte. */
static void mark_at(const struct canon_added *a, const uint8_t *text, size_t left,
                    uint8_t *present) {
    uint32_t low = 0, high = a->n;
    for (size_t depth = 0; depth < left && low < high; depth++) {
        uint32_t from = low, to = high;
        while (from < to) { /* the first whose byte here is not less */
            uint32_t mid = from + (to - from) / 2;
            const struct canon_added_token *t = &a->token[mid];
            if (t->size <= depth || a->bytes[t->at + depth] < text[depth]) {
                from = mid + 1;
            } else {
                to = mid;
            }
        }
        low = from;
        to = high;
        while (from < to) { /* the first whose byte here is greater */
            uint32_t mid = from + (to - from) / 2;
            const struct canon_added_token *t = &a->token[mid];
            if (a->bytes[t->at + depth] <= text[depth]) {
                from = mid + 1;
            } else {
                to = mid;
            }
        }
        high = from;
        if (low < high && a->token[low].size == depth + 1) {
            present[a->token[low].order] = 1;
            low++;
        }
    }
}

static bool blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Cuts one added token out of a part of text, from the left. */
static enum packllm_status cut_token(struct canon_work *w, const struct canon_added *a,
                                     const struct canon_added_token *t, const char *text,
                                     struct canon_part part, size_t *n, struct packllm_error *err) {
    enum packllm_status s = PACKLLM_OK;
    const char *name = (const char *)a->bytes + t->at;
    uint32_t from = part.from;
    for (uint32_t at = from; s == PACKLLM_OK && part.end - at >= t->size;) {
        const char *next = memchr(text + at, name[0], part.end - at - t->size + 1);
        if (next == NULL) {
            break;
        }
        at = (uint32_t)(next - text);
        if (memcmp(next, name, t->size) != 0) {
            at++;
            continue;
        }
        uint32_t left = at, right = at + t->size;
        while ((t->flags & CANON_STRIP_LEFT) != 0 && left > from && blank(text[left - 1])) {
            left--;
        }
        while ((t->flags & CANON_STRIP_RIGHT) != 0 && right < part.end && blank(text[right])) {
            right++;
        }
        const struct canon_part made[] = {
            {from, left, CANON_NONE},
            {left, at, CANON_SKIP},
            {at, at + t->size, t->id},
            {at + t->size, right, CANON_SKIP},
        };
        for (size_t i = 0; i < sizeof made / sizeof *made && s == PACKLLM_OK; i++) {
            if (made[i].end > made[i].from) {
                s = add_part(w, &w->part_next, n, made[i], err);
            }
        }
        from = at = right;
    }
    part.from = from;
    return s == PACKLLM_OK && part.end > from ? add_part(w, &w->part_next, n, part, err) : s;
}

static const char space_mark[] = "\xe2\x96\x81";

/* Where spaces are written as U+2581, that character itself is spelled by its bytes: it would come
 * back as a space. */
static enum packllm_status cut_marks(const struct canon *c, struct canon_work *w, const char *text,
                                     size_t size, struct packllm_error *err) {
    enum packllm_status s = PACKLLM_OK;
    size_t from = 0;
    for (size_t at = 0; c->model != CANON_BYTE_PAIRS && at + 3 <= size && s == PACKLLM_OK;) {
        const char *next = memchr(text + at, space_mark[0], size - at - 2);
        if (next == NULL) {
            break;
        }
        at = (size_t)(next - text);
        if (memcmp(next, space_mark, 3) != 0) {
            at++;
            continue;
        }
        if (at > from) {
            struct canon_part part = {(uint32_t)from, (uint32_t)at, CANON_NONE};
            s = add_part(w, &w->part, &w->n_part, part, err);
        }
        for (size_t i = 0; i < 3 && s == PACKLLM_OK; i++) {
            struct canon_part part = {(uint32_t)(at + i), (uint32_t)(at + i + 1),
                                      c->byte_token[(uint8_t)space_mark[i]]};
            s = add_part(w, &w->part, &w->n_part, part, err);
        }
        from = at += 3;
    }
    if (s == PACKLLM_OK && size > from) {
        s = add_part(w, &w->part, &w->n_part,
                     (struct canon_part){(uint32_t)from, (uint32_t)size, CANON_NONE}, err);
    }
    return s;
}

enum packllm_status canon_partition(const struct canon *c, struct canon_work *w, const char *text,
                                    size_t size, struct packllm_error *err) {
    const struct canon_added *a = &c->added;
    bool any = false;
    w->n_part = 0;
    enum packllm_status s = cut_marks(c, w, text, size, err);
    for (size_t at = 0; at < size && !any; at++) {
        any = a->first[(uint8_t)text[at]];
    }
    if (s != PACKLLM_OK || !any) {
        return s;
    }
    if (w->present == NULL) {
        w->present = alloc_array(a->n, 1);
        if (w->present == NULL) {
            return fail_memory(err, a->n);
        }
    }
    memset(w->present, 0, a->n);
    for (size_t at = 0; at < size; at++) {
        if (a->first[(uint8_t)text[at]]) {
            mark_at(a, (const uint8_t *)text + at, size - at, w->present);
        }
    }
    for (uint32_t i = 0; i < a->n && s == PACKLLM_OK; i++) {
        if (w->present[i] == 0) {
            continue;
        }
        size_t n = 0;
        for (size_t j = 0; j < w->n_part && s == PACKLLM_OK; j++) {
            struct canon_part part = w->part[j];
            s = part.token == CANON_NONE
                    ? cut_token(w, a, &a->token[a->by_order[i]], text, part, &n, err)
                    : add_part(w, &w->part_next, &n, part, err);
        }
        struct canon_part *old = w->part;
        w->part = w->part_next;
        w->part_next = old;
        w->n_part = n;
    }
    return s;
}
