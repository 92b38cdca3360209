/* cbtm.c - centres of the members' texts, and weights from the distances to them; see cbtm.h.
 *
 * k-means, for each member on its own texts:
 *   start   k-means++ (Arthur and Vassilvitskii 2007): the first centre is a text drawn evenly, each next
 *           one a text drawn with a chance proportional to its squared distance to the nearest
 *           centre so far. The draws are rng_key(0, step, 0), the same for every member, so that numbering
 *           changes nothing and a run repeats itself. Where all texts are centres there are no more.
 *   rounds  Lloyd's: texts to their nearest centres (ties: the first), centres to the means; until
 *           no text moves, or 100 times. A centre that lost all its texts stays where it was.
 *
 * c-BTM balances its clusters and reduces the vectors first; here a member's clusters are its own, so
 * there is nothing to balance, and the texts are few.
 */
#include "cbtm/cbtm.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"
#include "cbtm/terms.h"
#include "solve/solve.h"

enum { ROUNDS = 100 };

struct cbtm {
    struct terms terms;
    size_t n_members, clusters;
    size_t *n_centres; /* [n_members] <= clusters */
    double *centre;    /* [n_members][clusters][terms.n] */
    double *square;    /* [n_members][clusters] |centre|^2 */
};

/* |x - centre|^2, |x| being 1 or 0. */
static double distance(const struct vector *x, const double *centre, double square) {
    double dot = 0;
    for (size_t k = 0; k < x->n; k++) {
        dot += x->weight[k] * centre[x->term[k]];
    }
    return fmax((x->n > 0 ? 1 : 0) - 2 * dot + square, 0);
}

/* One member's texts x[n] and its centres. */
struct means {
    const struct vector *x;
    size_t n, terms, n_centres;
    double *centre, *square; /* [n_centres][terms], [n_centres] */
    size_t *nearest;         /* [n] */
    double *far;             /* [n] squared distance to the nearest centre */
};

static void set_square(struct means *m, size_t k) {
    double square = 0;
    for (size_t w = 0; w < m->terms; w++) {
        square += m->centre[k * m->terms + w] * m->centre[k * m->terms + w];
    }
    m->square[k] = square;
}

/* Texts to their nearest centres; false: none has moved. */
static bool assign(struct means *m) {
    bool moved = false;
    for (size_t i = 0; i < m->n; i++) {
        size_t best = 0;
        double least = HUGE_VAL;
        for (size_t k = 0; k < m->n_centres; k++) {
            double d = distance(&m->x[i], m->centre + k * m->terms, m->square[k]);
            best = d < least ? k : best;
            least = fmin(d, least);
        }
        moved = moved || m->nearest[i] != best;
        m->nearest[i] = best;
        m->far[i] = least;
    }
    return moved;
}

/* Centre k becomes the mean of the texts it is nearest to. */
static void recentre(struct means *m, size_t k) {
    size_t count = 0;
    double *centre = m->centre + k * m->terms;
    for (size_t i = 0; i < m->n; i++) {
        count += m->nearest[i] == k ? 1 : 0;
    }
    if (count == 0) {
        return;
    }
    memset(centre, 0, m->terms * sizeof *centre);
    for (size_t i = 0; i < m->n; i++) {
        for (size_t j = 0; m->nearest[i] == k && j < m->x[i].n; j++) {
            centre[m->x[i].term[j]] += m->x[i].weight[j] / (double)count;
        }
    }
    set_square(m, k);
}

static void add_centre(struct means *m, size_t text) {
    double *centre = m->centre + m->n_centres * m->terms;
    memset(centre, 0, m->terms * sizeof *centre);
    for (size_t j = 0; j < m->x[text].n; j++) {
        centre[m->x[text].term[j]] = m->x[text].weight[j];
    }
    set_square(m, m->n_centres++);
}

static void find_centres(struct means *m, size_t clusters) {
    add_centre(m, (size_t)(rng_uniform(rng_key(0, 0, 0)) * (double)m->n));
    (void)assign(m);
    for (size_t step = 1; step < clusters; step++) {
        double total = 0, along = 0;
        size_t last = m->n;
        for (size_t i = 0; i < m->n; i++) {
            m->far[i] = m->far[i] > 1e-12 ? m->far[i] : 0; /* a centre already, up to rounding */
            total += m->far[i];
        }
        double aim = rng_uniform(rng_key(0, step, 0)) * total;
        for (size_t i = 0; i < m->n && (last == m->n || along < aim); i++) {
            along += m->far[i];
            last = m->far[i] > 0 ? i : last;
        }
        if (last == m->n) {
            break;
        }
        add_centre(m, last);
        (void)assign(m);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t k = 0; k < m->n_centres; k++) {
            recentre(m, k);
        }
        if (!assign(m)) {
            break;
        }
    }
}

void cbtm_close(struct cbtm *c) {
    if (c == NULL) {
        return;
    }
    terms_done(&c->terms);
    base_free(c->n_centres);
    base_free(c->centre);
    base_free(c->square);
    base_free(c);
}

/* The centres of one member; x[n], nearest[n] and far[n] are work space for its texts. */
static enum packllm_status fit_member(struct cbtm *c, const struct cbtm_text *texts, size_t n,
                                      size_t member, struct vector *x, size_t *nearest, double *far,
                                      struct packllm_error *err) {
    struct means m = {.x = x,
                      .terms = c->terms.n,
                      .centre = c->centre + member * c->clusters * c->terms.n,
                      .square = c->square + member * c->clusters,
                      .nearest = nearest,
                      .far = far};
    enum packllm_status status = PACKLLM_OK;
    for (size_t i = 0; i < n && status == PACKLLM_OK; i++) {
        if (texts[i].member == member) {
            nearest[m.n] = 0;
            status = terms_vector(&c->terms, texts[i].text, texts[i].size, &x[m.n], err);
            m.n += status == PACKLLM_OK ? 1 : 0;
        }
    }
    if (status == PACKLLM_OK && m.n == 0) {
        status =
            fail(err, PACKLLM_E_ARG, (int)member, "cbtm: member %zu has no domain text", member);
    }
    if (status == PACKLLM_OK) {
        find_centres(&m, c->clusters);
        c->n_centres[member] = m.n_centres;
    }
    for (size_t i = 0; i < m.n; i++) {
        vector_done(&x[i]);
    }
    return status;
}

enum packllm_status cbtm_open(struct cbtm **out, const struct cbtm_text *texts, size_t n,
                              size_t n_members, size_t clusters, struct packllm_error *err) {
    assert(n_members >= 1 && clusters >= 1);
    struct vector *x = NULL;
    size_t *nearest = NULL;
    double *far = NULL;
    struct cbtm *c = alloc_zero(1, sizeof *c);
    if (c == NULL) {
        return fail_memory(err, sizeof *c);
    }
    c->n_members = n_members;
    c->clusters = clusters < n ? clusters : n;
    enum packllm_status status = terms_open(&c->terms, texts, n, err);
    if (status != PACKLLM_OK) {
        goto out;
    }
    if (n_members > PTRDIFF_MAX / sizeof(double) / c->terms.n / c->clusters) {
        status = fail_memory(err, PTRDIFF_MAX);
        goto out;
    }
    c->n_centres = alloc_zero(n_members, sizeof *c->n_centres);
    c->centre = alloc_array(n_members * c->clusters * c->terms.n, sizeof *c->centre);
    c->square = alloc_array(n_members * c->clusters, sizeof *c->square);
    x = alloc_array(n, sizeof *x);
    nearest = alloc_array(n, sizeof *nearest);
    far = alloc_array(n, sizeof *far);
    if (c->n_centres == NULL || c->centre == NULL || c->square == NULL || x == NULL ||
        nearest == NULL || far == NULL) {
        status = fail_memory(err, n_members * c->clusters * c->terms.n * sizeof *c->centre);
        goto out;
    }
    for (size_t i = 0; i < n_members && status == PACKLLM_OK; i++) {
        status = fit_member(c, texts, n, i, x, nearest, far, err);
    }
out:
    base_free(x);
    base_free(nearest);
    base_free(far);
    if (status != PACKLLM_OK) {
        cbtm_close(c);
        return status;
    }
    *out = c;
    return status;
}

enum packllm_status cbtm_weigh(const struct cbtm *c, const char *text, size_t size, double *lambda,
                               double *out_d2, struct packllm_error *err) {
    struct vector x;
    enum packllm_status status = terms_vector(&c->terms, text, size, &x, err);
    if (status != PACKLLM_OK) {
        return status;
    }
    for (size_t i = 0; i < c->n_members; i++) {
        lambda[i] = HUGE_VAL;
        for (size_t k = 0; k < c->n_centres[i]; k++) {
            size_t at = i * c->clusters + k;
            lambda[i] = fmin(lambda[i], distance(&x, c->centre + at * c->terms.n, c->square[at]));
        }
        if (out_d2 != NULL) {
            out_d2[i] = lambda[i];
        }
    }
    vector_done(&x);
    return solve_sim(lambda, c->n_members, CBTM_TAU, lambda, err);
}
