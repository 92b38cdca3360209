/* merge.c - merges within one piece of text: a queue of neighbours, the best first (rank, or score),
 * among equals the leftmost. n characters take O(n log n) steps, whatever they are. */
#include "base/alloc.h"
#include "base/status.h"
#include "canon/private.h"

struct canon_symbol {
    uint32_t at, size; /* size 0: merged into the one before */
    int32_t before, next;
    int32_t piece; /* or CANON_NONE */
};

struct canon_pair {
    float score;  /* SentencePiece: higher first */
    int32_t rank; /* lower first */
    int32_t left, right;
    uint32_t size;
    int32_t result;
};

enum packllm_status canon_put(struct canon_work *w, int32_t id, size_t end,
                              struct packllm_error *err) {
    if (w->n == w->room) {
        size_t room = w->room * 2 + 64;
        int32_t *ids = alloc_resize(w->id, room, sizeof *ids);
        w->id = ids != NULL ? ids : w->id;
        uint32_t *ends = alloc_resize(w->end, room, sizeof *ends);
        w->end = ends != NULL ? ends : w->end;
        if (ids == NULL || ends == NULL) {
            return fail_memory(err, room * sizeof *ids);
        }
        w->room = room;
    }
    w->id[w->n] = id;
    w->end[w->n++] = (uint32_t)end;
    return PACKLLM_OK;
}

static bool better(const struct canon_pair *a, const struct canon_pair *b) {
    if (a->score > b->score || a->score < b->score) {
        return a->score > b->score;
    }
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static bool heap_push(struct canon_work *w, struct canon_pair pair) {
    if (w->n_heap == w->room_heap) {
        size_t room = w->room_heap * 2 + 64;
        struct canon_pair *grown = alloc_resize(w->heap, room, sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        w->heap = grown;
        w->room_heap = room;
    }
    size_t i = w->n_heap++;
    for (; i > 0 && better(&pair, &w->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        w->heap[i] = w->heap[(i - 1) / 2];
    }
    w->heap[i] = pair;
    return true;
}

static struct canon_pair heap_pop(struct canon_work *w) {
    struct canon_pair top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (size_t child = 1; child < w->n_heap; child = 2 * i + 1) {
        if (child + 1 < w->n_heap && better(&w->heap[child + 1], &w->heap[child])) {
            child++;
        }
        if (!better(&w->heap[child], &last)) {
            break;
        }
        w->heap[i] = w->heap[child];
        i = child;
    }
    if (w->n_heap > 0) {
        w->heap[i] = last;
    }
    return top;
}

/* Queues the two neighbours if they may be merged; false: no memory. */
static bool offer(const struct canon *c, struct canon_work *w, const char *text, int32_t left,
                  int32_t right) {
    if (left < 0 || right < 0) {
        return true;
    }
    const struct canon_symbol *a = &w->symbol[left], *b = &w->symbol[right];
    struct canon_pair pair = {.left = left, .right = right, .size = a->size + b->size};
    if (c->model == CANON_PIECES) {
        pair.result = canon_find(c, text + a->at, pair.size);
        pair.score = pair.result >= 0 ? c->score[pair.result] : 0.0F;
        return pair.result < 0 || heap_push(w, pair);
    }
    if (a->piece < 0 || b->piece < 0) {
        return true;
    }
    pair.rank = canon_find_rank(c, a->piece, b->piece);
    if (pair.rank < 0) {
        return true;
    }
    pair.result = c->rank[pair.rank].result;
    return heap_push(w, pair);
}

static uint32_t character(const char *text, size_t from, size_t end) {
    uint8_t lead = (uint8_t)text[from];
    uint32_t size = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    return size < end - from ? size : (uint32_t)(end - from);
}

/* The piece's symbols: bytes, or characters. Returns their number. */
static int32_t cut_symbols(const struct canon *c, struct canon_work *w, const char *text,
                           size_t from, size_t end) {
    int32_t n = 0;
    for (size_t at = from; at < end; n++) {
        bool bytes = c->model == CANON_BYTE_PAIRS;
        uint32_t size = bytes ? 1 : character(text, at, end);
        w->symbol[n] = (struct canon_symbol){
            .at = (uint32_t)at,
            .size = size,
            .before = n - 1,
            .next = at + size < end ? n + 1 : -1,
            .piece = bytes ? c->byte_piece[(uint8_t)text[at]] : canon_find(c, text + at, size),
        };
        at += size;
    }
    return n;
}

/* A symbol's token, or its bytes'. */
static enum packllm_status put_symbol(const struct canon *c, struct canon_work *w, const char *text,
                                      const struct canon_symbol *symbol,
                                      struct packllm_error *err) {
    enum packllm_status s = PACKLLM_OK;
    if (symbol->piece >= 0 && (uint32_t)symbol->piece < c->n_tokens) {
        return canon_put(w, symbol->piece, symbol->at + symbol->size, err);
    }
    for (uint32_t i = 0; i < symbol->size && s == PACKLLM_OK; i++) {
        int32_t id = c->byte_token[(uint8_t)text[symbol->at + i]];
        if (id >= 0) {
            s = canon_put(w, id, symbol->at + i + 1, err);
        } else {
            w->dropped++;
        }
    }
    return s;
}

enum packllm_status canon_merge_piece(const struct canon *c, struct canon_work *w, const char *text,
                                      size_t from, size_t end, struct packllm_error *err) {
    if (end - from > w->room_symbols) {
        size_t room = end - from + 64;
        struct canon_symbol *grown = alloc_resize(w->symbol, room, sizeof *grown);
        if (grown == NULL) {
            return fail_memory(err, room * sizeof *grown);
        }
        w->symbol = grown;
        w->room_symbols = room;
    }
    int32_t n = cut_symbols(c, w, text, from, end);
    bool room = true;
    w->n_heap = 0;
    for (int32_t i = 1; i < n && room; i++) {
        room = offer(c, w, text, i - 1, i);
    }
    while (w->n_heap > 0 && room) {
        struct canon_pair pair = heap_pop(w);
        struct canon_symbol *left = &w->symbol[pair.left], *right = &w->symbol[pair.right];
        /* Symbols only grow: were one of them merged since, the sizes would not add up. */
        if (left->size == 0 || right->size == 0 || left->size + right->size != pair.size) {
            continue;
        }
        left->size = pair.size;
        left->piece = pair.result;
        left->next = right->next;
        right->size = 0;
        if (right->next >= 0) {
            w->symbol[right->next].before = pair.left;
        }
        room =
            offer(c, w, text, left->before, pair.left) && offer(c, w, text, pair.left, left->next);
    }
    enum packllm_status s =
        room ? PACKLLM_OK : fail_memory(err, w->room_heap * 2 * sizeof *w->heap);
    for (int32_t i = n > 0 ? 0 : -1; i >= 0 && s == PACKLLM_OK; i = w->symbol[i].next) {
        s = put_symbol(c, w, text, &w->symbol[i], err);
    }
    return s;
}
