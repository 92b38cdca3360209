/* objective.c - the prompt's mean loss under the pool as a function of lambda, with its gradient and
 * Hessian, see fuse.h.
 *
 * Symbols: t a byte of the prompt, x_t what stood there, l_i(t, c) member i's log-probability.
 *
 *   log pool   z_c = sum_i lambda_i l_i(c),  p_c = exp(z_c) / Z,  Z = sum_c exp(z_c)
 *              L_t = log Z - z_{x_t},  dL_t/di = mu_i - l_i(x_t),  mu_i = sum_c p_c l_i(c)
 *              d2L_t/didj = sum_c p_c (l_i(c) - mu_i)(l_j(c) - mu_j)
 *   linear     L_t = -log q,  q = sum_i lambda_i q_i(x_t);  dL_t/di = -q_i/q,  d2L_t/didj = q_i q_j/q^2
 *
 * L's second derivative is taken around the means, so that nothing cancels and H has no negative
 * eigenvalue beyond rounding. All in doubles: the certificate needs f and g to about 1e-12, and a
 * pass is bound by the exponentials. Sums over t are compensated (f, g); sums over members run in
 * block->order.
 */
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "fuse/fuse.h"
#include "math/logsum.h"
#include "math/vec.h"

#define EVENTS ((size_t)PACKLLM_EVENTS)
#define PADDED ((size_t)VEC_PAD(PACKLLM_EVENTS))
#define WHOLE ((size_t)PACKLLM_EVENTS / VEC_LANES * VEC_LANES)

/* ---- the block ------------------------------------------------------------------------------ */

static enum packllm_status check_values(const struct fuse_block *block, struct packllm_error *err) {
    for (size_t t = 0; t < block->n_bytes; t++) {
        if (block->event[t] >= PACKLLM_EVENTS) {
            return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "fuse: byte %zu: event %u is none",
                        t, (unsigned)block->event[t]);
        }
    }
    const float low = (float)(FUSE_LOG_FLOOR - 0.01), high = 0.01F;
    for (size_t i = 0; i < block->n_members; i++) {
        for (size_t t = 0; t < block->n_bytes; t++) {
            const float *row = block->logq[i] + t * EVENTS;
            int wrong = 0;
            for (size_t c = 0; c < PACKLLM_EVENTS; c++) {
                wrong |= !(row[c] >= low) | !(row[c] <= high); /* NaN is wrong too */
            }
            if (wrong != 0) {
                return fail(err, PACKLLM_E_ARG, (int)i,
                            "fuse: byte %zu has a value that is no floored log-probability", t);
            }
        }
    }
    return PACKLLM_OK;
}

/* Times 1 changes no bit. */
static double weight(const struct fuse_block *block, size_t t) {
    return block->weight != NULL ? block->weight[t] : 1.0;
}

void fuse_member_nll(const struct fuse_block *block, double *out_nll) {
    for (size_t i = 0; i < block->n_members; i++) {
        struct math_sum sum = {0};
        for (size_t t = 0; t < block->n_bytes; t++) {
            math_sum_add(&sum,
                         weight(block, t) * (double)block->logq[i][t * EVENTS + block->event[t]]);
        }
        out_nll[i] = -math_sum_total(&sum) / block->count;
    }
}

static int compare(double a, double b) {
    return (a > b) - (a < b);
}

/* < 0: member a comes first. */
static int compare_members(const struct fuse_block *block, const double *prior, const double *cap,
                           const double *nll, size_t a, size_t b) {
    int order = compare(nll[a], nll[b]);
    if (order == 0 && prior != NULL) {
        order = compare(prior[a], prior[b]);
    }
    if (order == 0 && cap != NULL) {
        order = compare(cap[a], cap[b]);
    }
    size_t size = block->n_bytes * EVENTS * sizeof(float);
    return order != 0 ? order : memcmp(block->logq[a], block->logq[b], size);
}

static void sort_members(const struct fuse_block *block, const double *prior, const double *cap,
                         const double *nll, size_t *order) {
    for (size_t i = 0; i < block->n_members; i++) {
        size_t at = i;
        while (at > 0 && compare_members(block, prior, cap, nll, i, order[at - 1]) < 0) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
}

static void fill_probabilities(const struct fuse_block *block, double *q) {
    size_t n = block->n_members;
    for (size_t t = 0; t < block->n_bytes; t++) {
        for (size_t a = 0; a < n; a++) {
            const float *column = block->logq[block->order[a]];
            q[t * n + a] = exp((double)column[t * EVENTS + block->event[t]]);
        }
    }
}

/* What a pass needs, in doubles, in canonical order: see struct pass. */
static size_t pass_size(size_t n) {
    return n + n + n * n + 2 * n;
}

enum packllm_status fuse_block_init(struct fuse_block *block, enum packllm_pool pool,
                                    size_t n_members, size_t n_bytes, const float *const *logq,
                                    const uint16_t *event, const double *prior, const double *cap,
                                    struct packllm_error *err) {
    assert(n_members >= 1 && n_bytes >= 1 && n_members <= 4096);
    *block = (struct fuse_block){.n_members = n_members,
                                 .n_bytes = n_bytes,
                                 .logq = logq,
                                 .event = event,
                                 .pool = pool,
                                 .count = (double)n_bytes};
    enum packllm_status status = check_values(block, err);
    if (status != PACKLLM_OK) {
        return status;
    }
    size_t rows = pool == PACKLLM_POOL_LOG ? PADDED : n_bytes;
    if (n_bytes > SIZE_MAX / sizeof(double) / (n_members + 2) / 2) {
        return fail_memory(err, n_bytes);
    }
    size_t size = pass_size(n_members) + (n_members + 1) * rows;
    block->order = alloc_array(n_members, sizeof *block->order);
    block->scratch = alloc_array(size, sizeof *block->scratch);
    if (block->order == NULL || block->scratch == NULL) {
        fuse_block_done(block);
        return fail_memory(err, size * sizeof *block->scratch);
    }
    fuse_member_nll(block, block->scratch);
    sort_members(block, prior, cap, block->scratch, block->order);
    if (pool == PACKLLM_POOL_LINEAR) {
        fill_probabilities(block, block->scratch + pass_size(n_members));
    }
    return PACKLLM_OK;
}

void fuse_block_done(struct fuse_block *block) {
    base_free(block->order);
    base_free(block->scratch);
    block->order = NULL;
    block->scratch = NULL;
}

void fuse_block_weigh(struct fuse_block *block, const double *weights) {
    struct math_sum sum = {0};
    block->weight = weights;
    for (size_t t = 0; t < block->n_bytes; t++) {
        math_sum_add(&sum, weight(block, t));
    }
    block->count = math_sum_total(&sum);
}

/* ---- one pass ------------------------------------------------------------------------------- */

/* All in canonical order. */
struct pass {
    const struct fuse_block *block;
    size_t n;
    double *lambda; /* [n] */
    double *mean;   /* [n], mu_i of this byte */
    double *H;      /* [n][n], sum over t, upper triangle; NULL: not wanted */
    double *g_total,
        *g_lost;  /* [n], sum over t (struct math_sum in two arrays); NULL: not wanted */
    double *rows; /* log pool: [n][PADDED]; linear: [n_bytes][n] of q_i(x_t) */
    double *z;    /* log pool: [PADDED] */
    struct math_sum f;
};

static void add_gradient(struct pass *pass, size_t i, double x) {
    struct math_sum sum = {pass->g_total[i], pass->g_lost[i]};
    math_sum_add(&sum, x);
    pass->g_total[i] = sum.total;
    pass->g_lost[i] = sum.lost;
}

/* rows <- the members' values in doubles, padding 0; z <- sum_i lambda_i l_i, padding -inf.
 * Returns max z. */
static double load_rows(struct pass *pass, size_t t) {
    const struct fuse_block *block = pass->block;
    double *z = pass->z;
    vec_double v, sum, max;
    memset(z, 0, PADDED * sizeof *z);
    for (size_t i = 0; i < pass->n; i++) {
        const float *from = block->logq[block->order[i]] + t * EVENTS;
        double *row = pass->rows + i * PADDED;
        double weight = pass->lambda[i];
        for (size_t c = 0; c < WHOLE; c += VEC_LANES) {
            vec_load_float(from + c, &v);
            vec_store(&v, row + c);
            vec_load(z + c, &sum);
            sum += weight * v;
            vec_store(&sum, z + c);
        }
        row[PACKLLM_EVENT_END] = (double)from[PACKLLM_EVENT_END];
        z[PACKLLM_EVENT_END] += weight * row[PACKLLM_EVENT_END];
        for (size_t c = PACKLLM_EVENTS; c < PADDED; c++) {
            row[c] = 0;
        }
    }
    for (size_t c = PACKLLM_EVENTS; c < PADDED; c++) {
        z[c] = -HUGE_VAL;
    }
    vec_load(z, &max);
    for (size_t c = VEC_LANES; c < PADDED; c += VEC_LANES) {
        vec_load(z + c, &v);
        vec_max_into(&max, &v);
    }
    return vec_max(&max);
}

/* z <- exp(z - m); returns the sum. */
static double exponentiate(double *z, double m) {
    vec_double v, sum;
    vec_set(0, &sum);
    for (size_t c = 0; c < PADDED; c += VEC_LANES) {
        vec_load(z + c, &v);
        v -= m;
        vec_exp(&v);
        vec_store(&v, z + c);
        sum += v;
    }
    return vec_sum(&sum);
}

static double dot(const double *a, const double *b) {
    vec_double sum, x, y;
    vec_set(0, &sum);
    for (size_t c = 0; c < PADDED; c += VEC_LANES) {
        vec_load(a + c, &x);
        vec_load(b + c, &y);
        sum += x * y;
    }
    return vec_sum(&sum);
}

/* H += Cov_p: rows become deviations from the means, then weighted ones, member by member. */
static void add_covariance(struct pass *pass, double normaliser, double counts) {
    size_t n = pass->n;
    vec_double v, p;
    for (size_t i = 0; i < n; i++) {
        double *row = pass->rows + i * PADDED;
        for (size_t c = 0; c < PADDED; c += VEC_LANES) {
            vec_load(row + c, &v);
            v -= pass->mean[i];
            vec_store(&v, row + c);
        }
    }
    for (size_t i = 0; i < n; i++) {
        double *row = pass->rows + i * PADDED;
        vec_double sum;
        vec_set(0, &sum);
        for (size_t c = 0; c < PADDED; c += VEC_LANES) {
            vec_load(row + c, &v);
            vec_load(pass->z + c, &p);
            vec_double weighted = v * p;
            sum += weighted * v;
            vec_store(&weighted, row + c);
        }
        pass->H[i * n + i] += counts * vec_sum(&sum) / normaliser;
        for (size_t j = i + 1; j < n; j++) {
            pass->H[i * n + j] += counts * dot(row, pass->rows + j * PADDED) / normaliser;
        }
    }
}

static void add_log_pool(struct pass *pass, size_t t) {
    size_t seen = pass->block->event[t];
    double m = load_rows(pass, t);
    double z_seen = pass->z[seen];
    double normaliser = exponentiate(pass->z, m);
    double counts = weight(pass->block, t);
    math_sum_add(&pass->f, counts * ((m - z_seen) + log(normaliser)));
    if (pass->g_total == NULL) {
        return;
    }
    for (size_t i = 0; i < pass->n; i++) {
        const double *row = pass->rows + i * PADDED;
        pass->mean[i] = dot(row, pass->z) / normaliser;
        add_gradient(pass, i, counts * (pass->mean[i] - row[seen]));
    }
    if (pass->H != NULL) {
        add_covariance(pass, normaliser, counts);
    }
}

static void add_linear_pool(struct pass *pass, size_t t) {
    size_t n = pass->n;
    const double *q_i = pass->rows + t * n;
    double q = 0;
    for (size_t i = 0; i < n; i++) {
        q += pass->lambda[i] * q_i[i];
    }
    double counts = weight(pass->block, t);
    math_sum_add(&pass->f, counts * -log(q));
    if (pass->g_total == NULL) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        pass->mean[i] = q_i[i] / q;
        add_gradient(pass, i, counts * -pass->mean[i]);
    }
    for (size_t i = 0; pass->H != NULL && i < n; i++) {
        for (size_t j = i; j < n; j++) {
            pass->H[i * n + j] += counts * (pass->mean[i] * pass->mean[j]);
        }
    }
}

static void begin(struct pass *pass, const struct fuse_block *block, const double *lambda,
                  bool want_g, bool want_H) {
    size_t n = block->n_members;
    double *from = block->scratch;
    *pass = (struct pass){.block = block, .n = n};
    pass->lambda = from;
    pass->mean = from + n;
    pass->H = want_H ? from + 2 * n : NULL;
    pass->g_total = want_g || want_H ? from + 2 * n + n * n : NULL;
    pass->g_lost = want_g || want_H ? from + 3 * n + n * n : NULL;
    pass->rows = from + pass_size(n);
    pass->z = block->pool == PACKLLM_POOL_LOG ? pass->rows + n * PADDED : NULL;
    memset(from + 2 * n, 0, (n * n + 2 * n) * sizeof *from);
    for (size_t i = 0; i < n; i++) {
        pass->lambda[i] = lambda[block->order[i]];
    }
}

enum packllm_status fuse_objective(void *ctx, const double *lambda, double *f, double *g,
                                   double *H) {
    const struct fuse_block *block = ctx;
    const size_t *order = block->order;
    size_t n = block->n_members;
    double count = block->count;
    struct pass pass;
    begin(&pass, block, lambda, g != NULL, H != NULL);
    for (size_t t = 0; t < block->n_bytes; t++) {
        if (block->pool == PACKLLM_POOL_LOG) {
            add_log_pool(&pass, t);
        } else {
            add_linear_pool(&pass, t);
        }
    }
    *f = math_sum_total(&pass.f) / count;
    for (size_t i = 0; i < n; i++) {
        if (g != NULL) {
            g[order[i]] = (pass.g_total[i] + pass.g_lost[i]) / count;
        }
        for (size_t j = i; H != NULL && j < n; j++) {
            double h = pass.H[i * n + j] / count;
            H[order[i] * n + order[j]] = h;
            H[order[j] * n + order[i]] = h;
        }
    }
    return PACKLLM_OK;
}
