/* gemm.c - products of quantised weights with several rows of activations, for ggml's CPU back end.
 *
 * ggml multiplies k-quants by tiles, Q8_0, Q5_0 and Q4_0 by small ones, and Q4_1 a row and a column
 * at a time. Prompts, common batches and scored texts of a model of these types (the default pack's
 * are) take two to five times as long as they need. ours.cmake compiles this into the library and
 * puts it before llamafile_sgemm, which has the other types.
 *
 * Blocks of weights are unpacked once for 16 columns. With few columns each sum is made in ggml's
 * own order for x86 (ggml_vec_dot_q4_1_q8_1, tinyBLAS_Q0_AVX), and results have the same bits. With
 * more (wide_tile) a block's sum is a whole number, and rounded less often.
 * Threads: all of a graph call this at once; each makes a share of the rows. */
#include "ggml-cpu-impl.h"
#include "ggml-impl.h"
#include "llamafile/sgemm.h"
#include "simd-mappings.h"
#define GGML_COMMON_DECL_C
#include "ggml-common.h"

/* The library's own, renamed by ours.cmake. */
bool llamafile_sgemm_others(const struct ggml_compute_params *params, int64_t m, int64_t n,
                            int64_t k, const void *a, int64_t lda, const void *b, int64_t ldb,
                            void *c, int64_t ldc, int a_type, int b_type, int c_type);

#if defined(__AVX2__) && defined(__FMA__)

#include <immintrin.h>

enum {
    COLUMNS = 16,
    GROUP = 512,      /* rows that meet all columns while they are in the processor's cache */
    BLOCKS_MOST = 256 /* of a row: what is known of COLUMNS columns is on the stack (160 KiB) */
};

#define INLINE static inline __attribute__((always_inline))

/* Weights are unsigned bytes here, `offset` too great each, times the block's scale, plus its
 * minimum (Q4_1). Their products with y are those of the bytes less offset times the sum of y. */
struct kind {
    int type, offset;
    size_t size, other_size; /* bytes of a block of weights, of activations */
};

/* One register holds a block of each of ROWS rows of weights, 256 bits a row. */
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) &&                      \
    defined(__AVX512VNNI__)
#define WIDE_ROWS 1
enum { ROWS = 2, EIGHT_BITS = 1 };
typedef __m512 floats;
typedef __m512i bytes;

INLINE bytes join(const __m256i *rows) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(rows[0]), rows[1], 1);
}

INLINE floats zero(void) {
    return _mm512_setzero_ps();
}

INLINE floats scales(const float *d) {
    __m256 rows[ROWS] = {_mm256_set1_ps(d[0]), _mm256_set1_ps(d[1])};
    return _mm512_castsi512_ps(join((const __m256i *)rows));
}

INLINE floats dots(bytes a, __m256i b, __m256i from) {
    return _mm512_cvtepi32_ps(
        _mm512_dpbusd_epi32(_mm512_broadcast_i64x4(from), a, _mm512_broadcast_i64x4(b)));
}

INLINE floats add_scaled(floats sum, floats d, float by, floats x) {
    return _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(by)), x, sum);
}

INLINE __m256 row_of(floats x, int row) {
    return row == 0 ? _mm512_castps512_ps256(x)
                    : _mm256_castsi256_ps(_mm512_extracti64x4_epi64(_mm512_castps_si512(x), 1));
}
#else
#define WIDE_ROWS 0
enum { ROWS = 1, EIGHT_BITS = 0 }; /* sums of two products of eight bits do not fit in 16 */
typedef __m256 floats;
typedef __m256i bytes;

INLINE bytes join(const __m256i *rows) {
    return rows[0];
}

INLINE floats zero(void) {
    return _mm256_setzero_ps();
}

INLINE floats scales(const float *d) {
    return _mm256_set1_ps(d[0]);
}

INLINE floats dots(bytes a, __m256i b, __m256i from) {
    __m256i sums = _mm256_madd_epi16(_mm256_set1_epi16(1), _mm256_maddubs_epi16(a, b));
    return _mm256_cvtepi32_ps(_mm256_add_epi32(sums, from));
}

INLINE floats add_scaled(floats sum, floats d, float by, floats x) {
    return _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_set1_ps(by)), x, sum);
}

INLINE __m256 row_of(floats x, int row) {
    (void)row;
    return x;
}
#endif

/* Activations: each column's scales, its sums times them (of Q8_1), and what the dot products with
 * its blocks begin from: -offset times the sum of each four numbers. */
struct columns {
    const char *at[COLUMNS];
    float d[BLOCKS_MOST][COLUMNS], s[BLOCKS_MOST][COLUMNS];
    __m256i from[BLOCKS_MOST][COLUMNS];
};

INLINE __m256i nibbles(const uint8_t *at) {
    __m128i packed = _mm_loadu_si128((const __m128i *)at);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(packed, 4), packed),
                            _mm256_set1_epi8(15));
}

/* 16 in each byte whose bit is set. */
INLINE __m256i fifth_bits(const uint8_t *at) {
    uint32_t bits;
    memcpy(&bits, at, sizeof bits);
    __m256i spread = _mm256_shuffle_epi8(
        _mm256_set1_epi32((int)bits),
        _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0));
    __m256i each = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, each), each);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

INLINE __m256i unpack(int type, const char *block) {
    switch (type) {
    case GGML_TYPE_Q4_1:
        return nibbles(((const block_q4_1 *)block)->qs);
    case GGML_TYPE_Q4_0:
        return nibbles(((const block_q4_0 *)block)->qs);
    case GGML_TYPE_Q5_0:
        return _mm256_or_si256(nibbles(((const block_q5_0 *)block)->qs),
                               fifth_bits(((const block_q5_0 *)block)->qh));
    default: {
        const block_q8_0 *x = (const block_q8_0 *)block;
        return _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)x->qs), _mm256_set1_epi8(-128));
    }
    }
}

INLINE float sum_of(__m256 x) {
    __m128 sum = _mm_add_ps(_mm256_extractf128_ps(x, 1), _mm256_castps256_ps128(x));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

/* out[row][column], for ROWS rows and n columns; kind and n are constants where this is inlined. */
INLINE void tile(struct kind kind, const char *const *rows, const struct columns *columns, int n,
                 int64_t k, float out[ROWS][COLUMNS]) {
    const bool minima = kind.type == GGML_TYPE_Q4_1;
    floats sums[COLUMNS];
    __m256 least[ROWS][COLUMNS / 8]; /* minima times the columns' sums */
    for (int j = 0; j < n; j++) {
        sums[j] = zero();
    }
    for (int r = 0; r < ROWS; r++) {
        for (int j = 0; j < n; j += 8) {
            least[r][j / 8] = _mm256_setzero_ps();
        }
    }
    for (int64_t block = 0; block < k; block++) {
        __m256i a[ROWS];
        float d[ROWS];
        for (int r = 0; r < ROWS; r++) {
            const char *x = rows[r] + (size_t)block * kind.size;
            ggml_half half[2]; /* all these blocks begin with the scale */
            memcpy(half, x, sizeof half);
            a[r] = unpack(kind.type, x);
            d[r] = GGML_CPU_FP16_TO_FP32(half[0]);
            if (minima) {
                __m256 m = _mm256_set1_ps(GGML_CPU_FP16_TO_FP32(half[1]));
                for (int j = 0; j < n; j += 8) {
                    __m256 s = _mm256_loadu_ps(columns->s[block] + j);
                    least[r][j / 8] = _mm256_fmadd_ps(m, s, least[r][j / 8]);
                }
            }
        }
        floats scale = scales(d);
        bytes both = join(a);
        for (int j = 0; j < n; j++) {
            const char *y = columns->at[j] + (size_t)block * kind.other_size;
            __m256i from = minima ? _mm256_setzero_si256() : columns->from[block][j];
            __m256i b = _mm256_loadu_si256((const __m256i *)y);
            sums[j] = add_scaled(sums[j], scale, columns->d[block][j], dots(both, b, from));
        }
    }
    for (int r = 0; r < ROWS; r++) {
        for (int j = 0; j < n; j += 8) {
            _mm256_storeu_ps(out[r] + j, least[r][j / 8]);
        }
        for (int j = 0; j < n; j++) {
            out[r][j] += sum_of(row_of(sums[j], r));
        }
    }
}

/* Columns beyond n, up to the next width there is, are computed and not used. */
INLINE void tile_of(struct kind kind, const char *const *rows, const struct columns *columns, int n,
                    int64_t k, float out[ROWS][COLUMNS]) {
    switch (n) {
    case 1:
    case 2:
        tile(kind, rows, columns, 2, k, out);
        break;
    case 3:
    case 4:
        tile(kind, rows, columns, 4, k, out);
        break;
    case 5:
    case 6:
        tile(kind, rows, columns, 6, k, out);
        break;
    case 7:
    case 8:
        tile(kind, rows, columns, 8, k, out);
        break;
    case 9:
    case 10:
    case 11:
    case 12:
        tile(kind, rows, columns, 12, k, out);
        break;
    default:
        tile(kind, rows, columns, COLUMNS, k, out);
        break;
    }
}

/* Columns j to j + width of b, the last one repeated. */
INLINE void prepare(struct kind kind, struct columns *out, const char *b, int64_t ldb, int width,
                    int64_t k) {
    for (int x = 0; x < COLUMNS; x++) {
        const char *y = b + (size_t)((x < width ? x : width - 1) * ldb) * kind.other_size;
        out->at[x] = y + kind.other_size - QK8_0; /* the numbers end a block */
        for (int64_t block = 0; block < k; block++, y += kind.other_size) {
            ggml_half half[2];
            memcpy(half, y, sizeof half);
            out->d[block][x] = GGML_CPU_FP16_TO_FP32(half[0]);
            if (kind.type == GGML_TYPE_Q4_1) {
                out->s[block][x] = GGML_CPU_FP16_TO_FP32(half[1]);
            } else {
                __m256i q = _mm256_loadu_si256((const __m256i *)(y + kind.other_size - QK8_0));
                __m256i sums = _mm256_madd_epi16(_mm256_set1_epi16((short)-kind.offset),
                                                 _mm256_maddubs_epi16(_mm256_set1_epi8(1), q));
                out->from[block][x] = sums;
            }
        }
    }
}

#if WIDE_ROWS
/* With enough columns a register holds one sum of each: a block takes 8 products, of 4 numbers of a
 * row with 4 of all columns. */
enum { NARROW = 6, LINES = 8 };

struct wide {
    __m512i numbers[BLOCKS_MOST][8], from[BLOCKS_MOST];
    __m512 d[BLOCKS_MOST], s[BLOCKS_MOST];
};

INLINE void wide_prepare(struct kind kind, struct wide *out, const char *b, int64_t ldb, int width,
                         int64_t k) {
    for (int64_t block = 0; block < k; block++) {
        int32_t numbers[8][COLUMNS] = {{0}};
        float d[COLUMNS] = {0}, s[COLUMNS] = {0};
        for (int x = 0; x < width; x++) {
            const char *y = b + (size_t)(x * ldb + block) * kind.other_size;
            ggml_half half[2];
            memcpy(half, y, sizeof half);
            d[x] = GGML_CPU_FP16_TO_FP32(half[0]);
            s[x] = kind.type == GGML_TYPE_Q4_1 ? GGML_CPU_FP16_TO_FP32(half[1]) : 0;
            for (int g = 0; g < 8; g++) {
                memcpy(&numbers[g][x], y + kind.other_size - QK8_0 + 4 * g, 4);
            }
        }
        __m512i sum = _mm512_setzero_si512();
        for (int g = 0; g < 8; g++) {
            out->numbers[block][g] = _mm512_loadu_si512(numbers[g]);
            sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), out->numbers[block][g]);
        }
        out->from[block] = _mm512_mullo_epi32(sum, _mm512_set1_epi32(-kind.offset));
        out->d[block] = _mm512_loadu_ps(d);
        out->s[block] = _mm512_loadu_ps(s);
    }
}

/* out[row][column] for LINES rows. */
INLINE void wide_tile(struct kind kind, const char *const *rows, const struct wide *columns,
                      int64_t k, float out[LINES][COLUMNS]) {
    __m512 sums[LINES];
#pragma GCC unroll 8
    for (int r = 0; r < LINES; r++) {
        sums[r] = _mm512_setzero_ps();
    }
    for (int64_t block = 0; block < k; block++) {
        __m512i y[8];
        for (int g = 0; g < 8; g++) {
            y[g] = columns->numbers[block][g];
        }
#pragma GCC unroll 8
        for (int r = 0; r < LINES; r++) {
            const char *x = rows[r] + (size_t)block * kind.size;
            ggml_half half[2];
            int32_t numbers[8];
            memcpy(half, x, sizeof half);
            _mm256_storeu_si256((__m256i *)numbers, unpack(kind.type, x));
            __asm__("" : "+m"(numbers)); /* they are loaded anew: cheaper than to shuffle them */
            __m512i sum = columns->from[block];
            for (int g = 0; g < 8; g++) {
                sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(numbers[g]), y[g]);
            }
            __m512 d =
                _mm512_mul_ps(columns->d[block], _mm512_set1_ps(GGML_CPU_FP16_TO_FP32(half[0])));
            sums[r] = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(sum), sums[r]);
            if (kind.type == GGML_TYPE_Q4_1) {
                __m512 m = _mm512_set1_ps(GGML_CPU_FP16_TO_FP32(half[1]));
                sums[r] = _mm512_fmadd_ps(m, columns->s[block], sums[r]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < LINES; r++) {
        _mm512_storeu_ps(out[r], sums[r]);
    }
}

/* c's columns j to j + width for rows [from, to). */
INLINE void wide_columns(struct kind kind, int64_t from, int64_t to, int width, int64_t k,
                         const char *a, int64_t lda, const char *b, int64_t ldb, float *c,
                         int64_t ldc) {
    struct wide columns;
    float out[LINES][COLUMNS];
    wide_prepare(kind, &columns, b, ldb, width, k);
    for (int64_t i = from; i < to; i += LINES) {
        const char *rows[LINES];
        for (int r = 0; r < LINES; r++) {
            rows[r] = a + (size_t)((i + r < to ? i + r : i) * lda) * kind.size;
        }
        wide_tile(kind, rows, &columns, k, out);
        for (int x = 0; x < width; x++) {
            for (int r = 0; r < LINES && i + r < to; r++) {
                c[x * ldc + i + r] = out[r][x];
            }
        }
    }
}
#else
enum { LINES = 2 };
#endif

/* The same with few columns. */
INLINE void narrow_columns(struct kind kind, int64_t from, int64_t to, int width, int64_t k,
                           const char *a, int64_t lda, const char *b, int64_t ldb, float *c,
                           int64_t ldc) {
    struct columns columns;
    float out[ROWS][COLUMNS];
    prepare(kind, &columns, b, ldb, width, k);
    for (int64_t i = from; i < to; i += ROWS) {
        const char *rows[ROWS];
        for (int r = 0; r < ROWS; r++) {
            rows[r] = a + (size_t)((i + r < to ? i + r : i) * lda) * kind.size;
        }
        tile_of(kind, rows, &columns, width, k, out);
        for (int r = 0; r < ROWS && i + r < to; r++) {
            for (int x = 0; x < width; x++) {
                c[x * ldc + i + r] = out[r][x];
            }
        }
    }
}

/* c [n][ldc]: c[j][i] = row i of a [m][lda blocks] times column j of b [n][ldb blocks]; this
 * thread's rows. k: blocks of a row. */
INLINE void multiply(struct kind kind, const struct ggml_compute_params *params, int64_t m,
                     int64_t n, int64_t k, const char *a, int64_t lda, const char *b, int64_t ldb,
                     float *c, int64_t ldc) {
    int64_t groups = (m + LINES - 1) / LINES;
    int64_t from = groups * params->ith / params->nth * LINES;
    int64_t to = groups * (params->ith + 1) / params->nth * LINES;
    to = to < m ? to : m;
    for (int64_t near = from; near < to; near += GROUP) {
        int64_t end = near + GROUP < to ? near + GROUP : to;
        for (int64_t j = 0; j < n; j += COLUMNS) {
            int width = n - j < COLUMNS ? (int)(n - j) : COLUMNS;
            const char *y = b + (size_t)(j * ldb) * kind.other_size;
#if WIDE_ROWS
            if (width > NARROW) {
                wide_columns(kind, near, end, width, k, a, lda, y, ldb, c + j * ldc, ldc);
                continue;
            }
#endif
            narrow_columns(kind, near, end, width, k, a, lda, y, ldb, c + j * ldc, ldc);
        }
    }
}

#define MULTIPLY(NAME, TYPE, OFFSET, BLOCK, OTHER)                                                 \
    static void NAME(const struct ggml_compute_params *params, int64_t m, int64_t n, int64_t k,    \
                     const void *a, int64_t lda, const void *b, int64_t ldb, void *c,              \
                     int64_t ldc) {                                                                \
        const struct kind kind = {TYPE, OFFSET, sizeof(BLOCK), sizeof(OTHER)};                     \
        multiply(kind, params, m, n, k, a, lda, b, ldb, c, ldc);                                   \
    }
MULTIPLY(multiply_q4_1, GGML_TYPE_Q4_1, 0, block_q4_1, block_q8_1)
MULTIPLY(multiply_q4_0, GGML_TYPE_Q4_0, 8, block_q4_0, block_q8_0)
MULTIPLY(multiply_q5_0, GGML_TYPE_Q5_0, 16, block_q5_0, block_q8_0)
MULTIPLY(multiply_q8_0, GGML_TYPE_Q8_0, 128, block_q8_0, block_q8_0)

typedef void (*multiply_fn)(const struct ggml_compute_params *, int64_t, int64_t, int64_t,
                            const void *, int64_t, const void *, int64_t, void *, int64_t);

static multiply_fn multiply_of(int type, int other) {
    if (type == GGML_TYPE_Q4_1) {
        return other == GGML_TYPE_Q8_1 ? multiply_q4_1 : NULL;
    }
    return other != GGML_TYPE_Q8_0                ? NULL
           : type == GGML_TYPE_Q4_0               ? multiply_q4_0
           : type == GGML_TYPE_Q5_0               ? multiply_q5_0
           : type == GGML_TYPE_Q8_0 && EIGHT_BITS ? multiply_q8_0
                                                  : NULL;
}

#endif

bool llamafile_sgemm(const struct ggml_compute_params *params, int64_t m, int64_t n, int64_t k,
                     const void *a, int64_t lda, const void *b, int64_t ldb, void *c, int64_t ldc,
                     int a_type, int b_type, int c_type) {
#if defined(__AVX2__) && defined(__FMA__)
    multiply_fn product = multiply_of(a_type, b_type);
    if (product != NULL && c_type == GGML_TYPE_F32 && n > 1 && k <= BLOCKS_MOST &&
        !params->use_ref) {
        product(params, m, n, k, a, lda, b, ldb, c, ldc);
        return true;
    }
#endif
    return llamafile_sgemm_others(params, m, n, k, a, lda, b, ldb, c, ldc, a_type, b_type, c_type);
}
