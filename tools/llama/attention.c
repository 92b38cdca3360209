/* attention.c - attention over a cache of half-precision keys and values, for ggml's CPU back end.
 *
 * ggml's own flash attention splits a single token's cells by the number of threads, so that last
 * bits depend on it, reads a branch's keys once for every branch, and is no faster than products and
 * softmax by themselves; those read the cells of all other timelines, only to mask them. Here the
 * cells that tokens see are met in blocks of CELLS, in order, and a block is multiplied with all rows
 * that see some of it. ours.cmake puts this before ggml's, which has the rest (other types, other
 * processors).
 *
 * Online softmax: Milakov and Gimelshein, arXiv 1805.02867; by blocks: Dao and others, arXiv
 * 2205.14135. Everything is summed in 32 bits. Nothing depends on the number of threads. Sums depend
 * on how many tokens share a block: up to FEW rows are multiplied along the width, more along cells.
 * Threads: all of a graph call this at once; each takes every nth tile of rows. */
#include "common.h"
#include "ggml-cpu-impl.h"
#include "ggml-impl.h"
#include "simd-mappings.h"
#include "vec.h"
/* after them: it names their struct in parameter lists */
#include "ops.h"

/* The library's own, renamed by ours.cmake. */
void ggml_compute_forward_flash_attn_ext_others(const struct ggml_compute_params *params,
                                                struct ggml_tensor *dst);

/* Whether attention is computed here: packllm looks for it in the library that it is linked with. */
extern const int packllm_attention;
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
const int packllm_attention = 1;

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__) && defined(__AVX512DQ__)
enum { LANES = 16, VECTORS = 4 };
typedef __m512 floats;
#define WIDE(operation) _mm512_##operation
INLINE floats load_half(const ggml_fp16_t *at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at));
}
INLINE __m256 half(floats x) { /* sums of every eighth lane */
    return _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
}
#else
enum { LANES = 8, VECTORS = 2 };
typedef __m256 floats;
#define WIDE(operation) _mm256_##operation
INLINE floats load_half(const ggml_fp16_t *at) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at));
}
INLINE __m256 half(floats x) {
    return x;
}
#endif

INLINE floats load(const float *at) {
    return WIDE(loadu_ps)(at);
}
INLINE void store(float *at, floats x) {
    WIDE(storeu_ps)(at, x);
}
INLINE floats same(float x) {
    return WIDE(set1_ps)(x);
}
INLINE floats add_product(floats a, floats b, floats sum) {
    return WIDE(fmadd_ps)(a, b, sum);
}
INLINE floats greater(floats a, floats b) {
    return WIDE(max_ps)(a, b);
}
INLINE __m128 quarter(floats x) { /* sums of every fourth lane */
    __m256 two = half(x);
    return _mm_add_ps(_mm256_castps256_ps128(two), _mm256_extractf128_ps(two, 1));
}

enum {
    CELLS = GGML_FA_TILE_KV,
    ROWS = GGML_FA_TILE_Q,
    GROUP = 6,      /* rows that a register tile holds */
    AHEAD = 16,     /* cells that are fetched early */
    FEW = 8,        /* up to so many rows are not worth turning keys over */
    APART = 16,     /* so many tokens are tiles of their own: they may be of as many timelines */
    TILES = 16,     /* so many tiles at least, where there are tokens enough */
    HIDDEN = 0xfc00 /* minus infinity, in a mask */
};

/* What ggml_graph_plan sets aside for a thread, in numbers. */
static int64_t share_of(int64_t dk, int64_t dv) {
    return ROWS * (dk + 2 * CELLS + dv) + CELLS * (dk + dv);
}

/* A call. Shapes, the fastest first: q [dk][tokens][heads][batch], k [dk][cells][heads_kv][batch],
 * v [dv][cells][heads_kv][batch], mask [cells][tokens][1][batch or 1], dst [dv][heads][tokens][batch]. */
struct call {
    const struct ggml_tensor *q, *k, *v, *mask, *sinks, *dst;
    int64_t dk, dv, width; /* width: dv up to a whole number of LANES */
    int64_t n_tokens, n_cells, n_heads;
    float scale, cap, bias;
};

/* The memory of a tile. Rows are tokens times the heads that share keys. */
struct tile {
    int n, heads, tokens;    /* n = heads * tokens */
    int64_t token, head, at; /* the first ones; at: of the batch */
    float *q, *scores, *out; /* [ROWS][dk], [ROWS][CELLS], [ROWS][width] */
    float *keys, *values;    /* of a block: [dk][CELLS], [CELLS][width] */
    float most[ROWS], sum[ROWS], slope[ROWS];
    /* The block: cells that some token sees, in order; behind them the last one again. */
    int n_cells;
    int64_t cells[CELLS];
    const ggml_fp16_t *block_keys[CELLS], *block_values[CELLS];
};

/* out[r] (+)= sum over i < n of a[r][i] * b[i], for `rows` rows and `vectors` registers of columns
 * from column `at`; both are constants where this is inlined. b: a list of rows in halves, or numbers
 * [n][stride]. */
INLINE void product(int rows, int vectors, bool halves, const float *const *a, int64_t n,
                    const void *b, int64_t stride, int64_t at, float *const *out, bool begin) {
    floats sums[GROUP][VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            sums[r][j] = begin ? same(0) : load(out[r] + j * LANES);
        }
    }
    for (int64_t i = 0; i < n; i++) {
        floats x[VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            x[j] = halves ? load_half(((const ggml_fp16_t *const *)b)[i] + at + j * LANES)
                          : load((const float *)b + i * stride + at + j * LANES);
        }
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            floats by = same(a[r][i]);
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) {
                sums[r][j] = add_product(by, x[j], sums[r][j]);
            }
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            store(out[r] + j * LANES, sums[r][j]);
        }
    }
}

INLINE void product_of(int rows, int vectors, bool halves, const float *const *a, int64_t n,
                       const void *b, int64_t stride, int64_t at, float *const *out, bool begin) {
    switch (rows) {
    case 1:
        product(1, vectors, halves, a, n, b, stride, at, out, begin);
        break;
    case 2:
        product(2, vectors, halves, a, n, b, stride, at, out, begin);
        break;
    case 3:
        product(3, vectors, halves, a, n, b, stride, at, out, begin);
        break;
    case 4:
        product(4, vectors, halves, a, n, b, stride, at, out, begin);
        break;
    case 5:
        product(5, vectors, halves, a, n, b, stride, at, out, begin);
        break;
    default:
        product(GROUP, vectors, halves, a, n, b, stride, at, out, begin);
        break;
    }
}

/* The same over `width` columns, for the rows named in `rows`. */
INLINE void products(bool halves, const int *rows, int n_rows, const float *a, int64_t a_width,
                     int64_t n, const void *b, int64_t stride, float *out, int64_t width,
                     bool begin) {
    for (int from = 0; from < n_rows; from += GROUP) {
        int some = n_rows - from < GROUP ? n_rows - from : GROUP;
        const float *left[GROUP];
        for (int r = 0; r < some; r++) {
            left[r] = a + rows[from + r] * a_width;
        }
        for (int64_t j = 0; j < width;) {
            float *to[GROUP];
            for (int r = 0; r < some; r++) {
                to[r] = out + rows[from + r] * width + j;
            }
            if (width - j >= VECTORS * LANES) {
                product_of(some, VECTORS, halves, left, n, b, stride, j, to, begin);
                j += VECTORS * LANES;
            } else {
                product_of(some, 1, halves, left, n, b, stride, j, to, begin);
                j += LANES;
            }
        }
    }
}

/* scores [row][CELLS] of up to 4 rows with 4 cells, along the width. */
INLINE void dots(int rows, const float *const *q, const ggml_fp16_t *const *keys, int64_t dk,
                 float *const *scores) {
    floats sums[4][4];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) {
            sums[r][c] = same(0);
        }
    }
    for (int64_t i = 0; i < dk; i += LANES) {
        floats x[4];
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) {
            x[c] = load_half(keys[c] + i);
        }
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            floats y = load(q[r] + i);
#pragma GCC unroll 4
            for (int c = 0; c < 4; c++) {
                sums[r][c] = add_product(y, x[c], sums[r][c]);
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        _mm_storeu_ps(scores[r],
                      _mm_hadd_ps(_mm_hadd_ps(quarter(sums[r][0]), quarter(sums[r][1])),
                                  _mm_hadd_ps(quarter(sums[r][2]), quarter(sums[r][3]))));
    }
}

static const ggml_fp16_t *cell_of(const struct ggml_tensor *x, int64_t cell, int64_t head,
                                  int64_t at) {
    return (const ggml_fp16_t *)((const char *)x->data + cell * x->nb[1] + head * x->nb[2] +
                                 at * x->nb[3]);
}

/* A cell's keys or values lie apart from the next one's: the processor does not see them coming. */
INLINE void fetch(const ggml_fp16_t *at, int64_t width) {
    for (int64_t i = 0; i < width; i += 32) {
        __builtin_prefetch(at + i);
    }
}

/* q times the keys of a block, for the rows named; columns of their scores behind it are not
 * written. */
static void score_few(struct tile *t, const int *rows, int n_rows, int64_t dk) {
    for (int c = 0; c < t->n_cells; c += 4) {
        const ggml_fp16_t *const *at = t->block_keys + c;
        for (int i = 0; i < 4 && c + AHEAD < CELLS; i++) {
            fetch(at[AHEAD + i], dk);
        }
        for (int from = 0; from < n_rows; from += 4) {
            const float *q[4];
            float *scores[4];
            int some = n_rows - from < 4 ? n_rows - from : 4;
            for (int r = 0; r < some; r++) {
                q[r] = t->q + rows[from + r] * dk;
                scores[r] = t->scores + rows[from + r] * CELLS + c;
            }
            switch (some) {
            case 1:
                dots(1, q, at, dk, scores);
                break;
            case 2:
                dots(2, q, at, dk, scores);
                break;
            case 3:
                dots(3, q, at, dk, scores);
                break;
            default:
                dots(4, q, at, dk, scores);
                break;
            }
        }
    }
}

/* Keys of a block turned over, in 32 bits: out [dk][CELLS]. */
static void turn_over(float *out, const struct tile *t, int64_t dk) {
    for (int c = 0; c < t->n_cells; c += 8) {
        const ggml_fp16_t *const *at = t->block_keys + c;
        int64_t d = 0;
        for (; d + 8 <= dk; d += 8) {
            __m128i x[8], y[8];
            for (int i = 0; i < 8; i++) {
                x[i] = _mm_loadu_si128((const __m128i *)(at[i] + d));
            }
            for (int i = 0; i < 4; i++) { /* pairs of 16 bits: cells 2i and 2i + 1 */
                y[2 * i] = _mm_unpacklo_epi16(x[2 * i], x[2 * i + 1]);
                y[2 * i + 1] = _mm_unpackhi_epi16(x[2 * i], x[2 * i + 1]);
            }
            for (int i = 0; i < 2; i++) { /* of 32: four cells */
                x[4 * i] = _mm_unpacklo_epi32(y[4 * i], y[4 * i + 2]);
                x[4 * i + 1] = _mm_unpackhi_epi32(y[4 * i], y[4 * i + 2]);
                x[4 * i + 2] = _mm_unpacklo_epi32(y[4 * i + 1], y[4 * i + 3]);
                x[4 * i + 3] = _mm_unpackhi_epi32(y[4 * i + 1], y[4 * i + 3]);
            }
            for (int i = 0; i < 4; i++) {
                _mm256_storeu_ps(out + (d + 2 * i) * CELLS + c,
                                 _mm256_cvtph_ps(_mm_unpacklo_epi64(x[i], x[4 + i])));
                _mm256_storeu_ps(out + (d + 2 * i + 1) * CELLS + c,
                                 _mm256_cvtph_ps(_mm_unpackhi_epi64(x[i], x[4 + i])));
            }
        }
        for (; d < dk; d++) {
            for (int i = 0; i < 8; i++) {
                out[d * CELLS + c + i] = GGML_CPU_FP16_TO_FP32(at[i][d]);
            }
        }
    }
}

/* A row's scores become weights against its greatest so far; what it has is brought to that. */
static void weigh(const struct call *call, struct tile *t, int row, const ggml_fp16_t *mask) {
    float *scores = t->scores + row * CELLS;
    if (call->cap != 0) {
        for (int c = 0; c < CELLS; c++) {
            scores[c] = call->cap * tanhf(scores[c]);
        }
    }
    floats most = same(-INFINITY);
    for (int c = 0; c < CELLS; c += LANES) {
        floats x = add_product(same(t->slope[row]), load_half(mask + c), load(scores + c));
        store(scores + c, x);
        most = greater(most, x);
    }
    float lanes[LANES], top = t->most[row];
    store(lanes, most);
    for (int i = 0; i < LANES; i++) {
        top = lanes[i] > top ? lanes[i] : top;
    }
    floats sum = same(0), less = same(-top), one = same(1);
    for (int c = 0; c < CELLS; c += LANES) {
        floats x = ggml_v_expf(add_product(one, load(scores + c), less));
        store(scores + c, x);
        sum = add_product(one, x, sum);
    }
    if (top > t->most[row]) {
        float by = expf(t->most[row] - top);
        float *out = t->out + row * call->width;
        for (int64_t d = 0; d < call->width; d += LANES) {
            store(out + d, add_product(same(by), load(out + d), same(0)));
        }
        t->sum[row] *= by;
        t->most[row] = top;
    }
    store(lanes, sum);
    for (int i = 0; i < LANES; i++) {
        t->sum[row] += lanes[i];
    }
}

/* What token i of the tile adds to the scores of the block, [CELLS]; whether it sees any of it. */
static const ggml_fp16_t *mask_of(const struct call *call, const struct tile *t, int i,
                                  ggml_fp16_t *room, bool *sees) {
    static const ggml_fp16_t none[CELLS];
    const ggml_fp16_t *m = none;
    bool whole = t->n_cells == CELLS;
    if (call->mask != NULL) {
        m = cell_of(call->mask, t->token + i, 0, t->at % call->mask->ne[3]);
        whole = whole && t->cells[CELLS - 1] == t->cells[0] + CELLS - 1;
    }
    for (int c = 0; c < CELLS && !whole; c++) {
        room[c] = c >= t->n_cells ? HIDDEN : call->mask != NULL ? m[t->cells[c]] : 0;
    }
    m = !whole ? room : call->mask != NULL ? m + t->cells[0] : none;
    uint32_t seen = 0;
    for (int c = 0; c < CELLS; c++) {
        seen |= (uint32_t)(m[c] ^ HIDDEN);
    }
    *sees = seen != 0;
    return m;
}

/* The block for all rows of the tile that see some of it. */
static void block(const struct call *call, struct tile *t) {
    ggml_fp16_t room[ROWS][CELLS];
    const ggml_fp16_t *masks[ROWS];
    int rows[ROWS], n_rows = 0;
    for (int i = 0; i < t->tokens; i++) {
        bool sees;
        const ggml_fp16_t *m = mask_of(call, t, i, room[i], &sees);
        for (int h = 0; sees && h < t->heads; h++) {
            masks[n_rows] = m;
            rows[n_rows++] = i * t->heads + h;
        }
    }
    int64_t head = t->head / (call->n_heads / call->k->ne[2]);
    for (int c = 0; c < CELLS; c++) {
        int64_t cell = t->cells[c < t->n_cells ? c : t->n_cells - 1];
        t->block_keys[c] = cell_of(call->k, cell, head, t->at);
        t->block_values[c] = cell_of(call->v, cell, head, t->at);
    }
    bool few = n_rows <= FEW;
    for (int c = 0; few && c < t->n_cells; c++) {
        fetch(t->block_values[c], call->dv);
    }
    /* Columns behind the block's cells are masked, and must be numbers all the same. */
    bool rest = t->n_cells < CELLS;
    if (few && call->dk % LANES == 0) {
        if (rest) {
            memset(t->scores, 0, sizeof(float) * (size_t)(t->n * CELLS));
        }
        score_few(t, rows, n_rows, call->dk);
    } else {
        if (rest) {
            memset(t->keys, 0, sizeof(float) * (size_t)(call->dk * CELLS));
        }
        turn_over(t->keys, t, call->dk);
        products(false, rows, n_rows, t->q, call->dk, call->dk, t->keys, CELLS, t->scores, CELLS,
                 true);
    }
    for (int r = 0; r < n_rows; r++) {
        weigh(call, t, rows[r], masks[r]);
    }
    if (few && call->dv == call->width) {
        products(true, rows, n_rows, t->scores, CELLS, t->n_cells, t->block_values, 0, t->out,
                 call->width, false);
        return;
    }
    for (int c = 0; c < t->n_cells; c++) {
        const ggml_fp16_t *from = t->block_values[c];
        float *to = t->values + c * call->width;
        int64_t d = 0;
        for (; d + LANES <= call->dv; d += LANES) {
            store(to + d, load_half(from + d));
        }
        for (; d < call->width; d++) {
            to[d] = d < call->dv ? GGML_CPU_FP16_TO_FP32(from[d]) : 0;
        }
    }
    products(false, rows, n_rows, t->scores, CELLS, t->n_cells, t->values, call->width, t->out,
             call->width, false);
}

/* seen[c]: 0 where no token of the tile sees cell from + c. Returns whether one sees any. */
static bool look(const struct call *call, const struct tile *t, int64_t from, int n,
                 uint16_t *seen) {
    memset(seen, call->mask == NULL ? 0xff : 0, CELLS * sizeof *seen);
    for (int i = 0; i < t->tokens && call->mask != NULL; i++) {
        const ggml_fp16_t *m = cell_of(call->mask, t->token + i, 0, t->at % call->mask->ne[3]);
        for (int c = 0; c < n; c++) {
            seen[c] |= (uint16_t)(m[from + c] ^ HIDDEN);
        }
    }
    uint32_t any = 0;
    for (int c = 0; c < CELLS; c++) {
        any |= seen[c];
    }
    return any != 0;
}

/* All blocks of a tile. Timelines that were read side by side lie in each other's cells. */
static void blocks(const struct call *call, struct tile *t) {
    uint16_t seen[CELLS];
    t->n_cells = 0;
    for (int64_t from = 0; from < call->n_cells; from += CELLS) {
        int n = call->n_cells - from < CELLS ? (int)(call->n_cells - from) : CELLS;
        if (!look(call, t, from, n, seen)) {
            continue;
        }
        for (int c = 0; c < n; c++) {
            t->cells[t->n_cells] = from + c;
            t->n_cells += seen[c] != 0;
            if (t->n_cells == CELLS) {
                block(call, t);
                t->n_cells = 0;
            }
        }
    }
    if (t->n_cells > 0) {
        block(call, t);
    }
}

/* Biases by distance (Press and others, arXiv 2108.12409), as ggml spreads them over the heads. */
static float slope_of(const struct call *call, int64_t head) {
    if (call->bias <= 0) {
        return 1;
    }
    uint32_t n = 1u << (uint32_t)floor(log2((double)call->n_heads));
    return head < n ? powf(powf(2, -call->bias / (float)n), (float)(head + 1))
                    : powf(powf(2, -call->bias / 2 / (float)n), (float)(2 * (head - n) + 1));
}

static void compute(const struct call *call, struct tile *t) {
    for (int r = 0; r < t->n; r++) {
        int64_t head = t->head + r % t->heads;
        const float *q =
            (const float *)((const char *)call->q->data +
                            (t->token + r / t->heads) * (int64_t)call->q->nb[1] +
                            head * (int64_t)call->q->nb[2] + t->at * (int64_t)call->q->nb[3]);
        for (int64_t d = 0; d < call->dk; d++) {
            t->q[r * call->dk + d] = q[d] * call->scale;
        }
        t->most[r] = -INFINITY;
        t->sum[r] = 0;
        t->slope[r] = slope_of(call, head);
    }
    memset(t->out, 0, sizeof(float) * (size_t)(t->n * call->width));
    blocks(call, t);
    for (int r = 0; r < t->n; r++) {
        int64_t head = t->head + r % t->heads, token = t->token + r / t->heads;
        float *out = t->out + r * call->width, by = 1;
        if (call->sinks != NULL) { /* a cell of its own for each head, without a value */
            float sink = ((const float *)call->sinks->data)[head];
            float top = sink > t->most[r] ? sink : t->most[r];
            by = expf(t->most[r] - top);
            t->sum[r] = t->sum[r] * by + expf(sink - top);
        }
        by = t->sum[r] == 0 ? 0 : by / t->sum[r];
        float *to = (float *)((char *)call->dst->data +
                              ((t->at * call->n_tokens + token) * call->n_heads + head) *
                                  (int64_t)call->dst->nb[1]);
        for (int64_t d = 0; d < call->dv; d++) {
            to[d] = out[d] * by;
        }
    }
}

/* Rows that fit the memory of a thread, or 0. */
static int64_t rows_of(const struct call *call) {
    int64_t room = share_of(call->dk, call->dv) - CELLS * (call->dk + call->width);
    int64_t rows = room / (call->dk + CELLS + call->width);
    return rows < ROWS ? rows : ROWS;
}

static bool ours(const struct ggml_compute_params *params, const struct call *call) {
    const struct ggml_tensor *q = call->q, *k = call->k, *v = call->v, *mask = call->mask;
    return !params->use_ref && q->type == GGML_TYPE_F32 && k->type == GGML_TYPE_F16 &&
           v->type == GGML_TYPE_F16 && q->nb[0] == sizeof(float) && k->nb[0] == 2 &&
           v->nb[0] == 2 && k->ne[2] == v->ne[2] && k->ne[3] == v->ne[3] &&
           (mask == NULL || (mask->type == GGML_TYPE_F16 && mask->ne[2] == 1)) &&
           rows_of(call) >= 1 &&
           params->wsize >= (size_t)(params->nth * share_of(call->dk, call->dv)) * sizeof(float);
}

static void attend(const struct ggml_compute_params *params, const struct call *call) {
    int64_t most = rows_of(call), heads_kv = call->k->ne[2], share = call->n_heads / heads_kv;
    struct tile t;
    t.q = (float *)params->wdata + params->ith * share_of(call->dk, call->dv);
    t.keys = t.q + most * call->dk;
    t.values = t.keys + CELLS * call->dk;
    t.scores = t.values + CELLS * call->width;
    t.out = t.scores + most * CELLS;
    /* Few tokens are spread over more tiles, and a single one over the heads, so that there is work
     * for every thread. Here the number of threads may decide, since up to FEW rows are summed alike
     * in every tile. */
    int64_t batch = call->q->ne[3], work = call->n_tokens * heads_kv * batch, heads = share;
    while (heads > most || share % heads != 0) {
        heads--;
    }
    if (call->n_tokens == 1 &&
        (share <= FEW ? work < 4 * params->nth && params->nth > 1 : work < TILES)) {
        heads = 1;
    }
    int64_t tokens = call->n_tokens <= APART ? 1 : (work + TILES - 1) / TILES;
    tokens = tokens < most / heads ? tokens : most / heads;
    int64_t across = (call->n_tokens + tokens - 1) / tokens;
    int64_t n = batch * (call->n_heads / heads) * across;
    for (int64_t i = params->ith; i < n; i += params->nth) {
        t.token = i % across * tokens;
        t.head = i / across % (call->n_heads / heads) * heads;
        t.at = i / across / (call->n_heads / heads);
        t.heads = (int)heads;
        t.tokens = (int)(call->n_tokens - t.token < tokens ? call->n_tokens - t.token : tokens);
        t.n = t.heads * t.tokens;
        compute(call, &t);
    }
}

void ggml_compute_forward_flash_attn_ext(const struct ggml_compute_params *params,
                                         struct ggml_tensor *dst) {
    struct call call = {.q = dst->src[0],
                        .k = dst->src[1],
                        .v = dst->src[2],
                        .mask = dst->src[3],
                        .sinks = dst->src[4],
                        .dst = dst};
    call.dk = call.k->ne[0];
    call.dv = call.v->ne[0];
    call.width = (call.dv + LANES - 1) / LANES * LANES;
    call.n_tokens = call.q->ne[1];
    call.n_cells = call.k->ne[1];
    call.n_heads = call.q->ne[2];
    memcpy(&call.scale, (const float *)dst->op_params, sizeof(float));
    memcpy(&call.bias, (const float *)dst->op_params + 1, sizeof(float));
    memcpy(&call.cap, (const float *)dst->op_params + 2, sizeof(float));
    if (call.cap != 0) {
        call.scale /= call.cap;
    }
    if (ours(params, &call)) {
        attend(params, &call);
        return;
    }
    /* ggml's plain way, where its other one would split cells by the number of threads */
    struct ggml_compute_params plain = *params;
    plain.use_ref = params->use_ref || call.n_tokens == 1;
    ggml_compute_forward_flash_attn_ext_others(&plain, dst);
}
#else
const int packllm_attention = 0;

void ggml_compute_forward_flash_attn_ext(const struct ggml_compute_params *params,
                                         struct ggml_tensor *dst) {
    ggml_compute_forward_flash_attn_ext_others(params, dst);
}
#endif
