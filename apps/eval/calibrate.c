/* calibrate.c - see calibrate.h. The settings stand on a lattice: logs of the priors in steps of 1/4,
 * the shrinkage in factors of the root of 2, logs of the temperatures in steps of 1/20. The search goes along
 * one coordinate after the other, in steps of 8, 4, 2 and 1, while that lowers the mean loss. All items
 * are measured at every point once, and all folds read what stands there: cross-validation costs the
 * few points that folds do not share. */
#include "eval/calibrate.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"

enum {
    PRIOR_LOW = -32,  /* quarters: e^-8 of the largest */
    SHRINK_ONE = 5,   /* index of 1; 0 is no shrinkage at all */
    SHRINK_HIGH = 29, /* 4096 */
    WARM = 20,        /* twentieths: temperatures from 1/e to e */
    FIRST_STEP = 8
};
#define LEAST_GAIN 1e-4 /* nats: no settings are worth less */
#define SEED 17

bool calib_point_init(struct calib_point *point, size_t n, double shrink) {
    *point = (struct calib_point){.shrink = shrink};
    point->prior = alloc_array(n, sizeof(double));
    point->temperature = alloc_array(n, sizeof(double));
    for (size_t i = 0; i < n && point->prior != NULL && point->temperature != NULL; i++) {
        point->prior[i] = 1.0 / (double)n;
        point->temperature[i] = 1.0;
    }
    return point->prior != NULL && point->temperature != NULL;
}

void calib_point_done(struct calib_point *point) {
    base_free(point->prior);
    base_free(point->temperature);
    *point = (struct calib_point){0};
}

void calib_result_done(struct calib_result *result) {
    calib_point_done(&result->point);
}

/* ---- points ---- */

/* z[n] of the priors, z[n] the shrinkage, z[n + 1 ..] of the temperatures. */
struct tried {
    int *z;       /* NULL: what the pack has now */
    double *loss; /* [n_items] */
    bool *right;
};

struct fit {
    const struct calib *c;
    size_t n, dims;
    struct tried *points; /* [n_points]; the first is what the pack has now */
    size_t n_points, room;
    struct calib_point at; /* scratch */
    size_t *fold;          /* [n_items] */
    bool *use;             /* [n_items] scratch */
    struct packllm_error *err;
};

static int clamp(int value, int low, int high) {
    return value < low ? low : value > high ? high : value;
}

/* The largest prior is 0, so that a prior has one name. */
static void settle(const struct fit *f, int *z) {
    int most = z[0];
    for (size_t i = 1; i < f->n; i++) {
        most = z[i] > most ? z[i] : most;
    }
    for (size_t i = 0; i < f->n; i++) {
        z[i] = clamp(z[i] - most, PRIOR_LOW, 0);
        z[f->n + 1 + i] = clamp(z[f->n + 1 + i], -WARM, WARM);
    }
    z[f->n] = clamp(z[f->n], 0, SHRINK_HIGH);
}

static double shrink_of(int index) {
    return index == 0 ? 0.0 : exp2((double)(index - SHRINK_ONE) / 2.0);
}

static void to_point(const struct fit *f, const int *z, struct calib_point *out) {
    double sum = 0.0;
    for (size_t i = 0; i < f->n; i++) {
        out->prior[i] = exp(0.25 * (double)z[i]);
        out->temperature[i] = exp(0.05 * (double)z[f->n + 1 + i]);
        sum += out->prior[i];
    }
    for (size_t i = 0; i < f->n; i++) {
        out->prior[i] /= sum;
    }
    out->shrink = shrink_of(z[f->n]);
}

static void from_point(const struct fit *f, const double *prior, const struct calib_point *p,
                       int *z) {
    for (size_t i = 0; i < f->n; i++) {
        z[i] = (int)lround(4.0 * log(fmax(prior[i], 1e-4)));
        z[f->n + 1 + i] = f->c->temperatures ? (int)lround(20.0 * log(p->temperature[i])) : 0;
    }
    z[f->n] = p->shrink < 0.2 ? 0 : SHRINK_ONE + (int)lround(2.0 * log2(p->shrink));
    settle(f, z);
}

/* Measures all items at z (NULL: as the pack is), unless that was done; *out its number. */
static enum packllm_status try_point(struct fit *f, const int *z, size_t *out) {
    size_t items = f->c->n_items, bytes = f->dims * sizeof(int);
    for (size_t k = 0; k < f->n_points; k++) {
        if (z != NULL && f->points[k].z != NULL && memcmp(f->points[k].z, z, bytes) == 0) {
            *out = k;
            return PACKLLM_OK;
        }
    }
    if (f->n_points == f->room) {
        size_t room = f->room * 2 + 64;
        struct tried *grown = alloc_resize(f->points, room, sizeof *grown);
        if (grown == NULL) {
            return fail_memory(f->err, room * sizeof *grown);
        }
        f->points = grown;
        f->room = room;
    }
    struct tried *t = &f->points[f->n_points++];
    *t = (struct tried){.z = z != NULL ? alloc_array(f->dims, sizeof(int)) : NULL,
                        .loss = alloc_array(items, sizeof(double)),
                        .right = alloc_array(items, sizeof(bool))};
    if ((z != NULL && t->z == NULL) || t->loss == NULL || t->right == NULL) {
        return fail_memory(f->err, items * sizeof(double));
    }
    const struct calib_point *at = f->c->before;
    if (z != NULL) {
        memcpy(t->z, z, bytes);
        to_point(f, z, &f->at);
        for (size_t i = 0; i < f->n && !f->c->temperatures; i++) {
            f->at.temperature[i] = f->c->before->temperature[i]; /* as they are */
        }
        at = &f->at;
    }
    for (size_t i = 0; i < items; i++) {
        enum packllm_status status =
            f->c->loss(f->c->data, i, at, &t->loss[i], &t->right[i], f->err);
        if (status < 0) {
            return status;
        }
    }
    *out = f->n_points - 1;
    return f->c->progress == NULL || f->c->progress(f->c->data, f->n_points)
               ? PACKLLM_OK
               : fail(f->err, PACKLLM_E_CANCELLED, PACKLLM_NO_MEMBER, "cancelled");
}

/* Over the items that are not in the fold; folds: over all. */
static double mean_without(const struct fit *f, size_t point, size_t fold) {
    double sum = 0.0, n = 0.0;
    for (size_t i = 0; i < f->c->n_items; i++) {
        if (f->fold[i] != fold) {
            sum += f->points[point].loss[i];
            n += 1.0;
        }
    }
    return sum / n;
}

/* ---- the search ---- */

static enum packllm_status descend(struct fit *f, int *z, size_t fold, size_t *out_point,
                                   double *out_loss) {
    size_t best = 0, here = 0;
    int *next = alloc_array(f->dims, sizeof *next);
    enum packllm_status status =
        next != NULL ? try_point(f, z, &best) : fail_memory(f->err, f->dims * sizeof *next);
    double least = status >= 0 ? mean_without(f, best, fold) : 0.0;
    size_t dims = f->c->temperatures ? f->dims : f->n + 1;
    for (int step = FIRST_STEP; step > 0 && status >= 0; step /= 2) {
        bool moved = true;
        while (moved && status >= 0) {
            moved = false;
            for (size_t k = 0; k < 2 * dims && status >= 0; k++) {
                if (k / 2 < f->n && f->n == 1) {
                    continue; /* one member has one prior */
                }
                memcpy(next, z, f->dims * sizeof *next);
                next[k / 2] += k % 2 == 0 ? step : -step;
                settle(f, next);
                status = try_point(f, next, &here);
                double loss = status >= 0 ? mean_without(f, here, fold) : least;
                if (loss < least - LEAST_GAIN) {
                    least = loss;
                    best = here;
                    memcpy(z, next, f->dims * sizeof *next);
                    moved = true;
                }
            }
        }
    }
    base_free(next);
    *out_point = best;
    *out_loss = least;
    return status;
}

/* The best point for the items outside a fold: from what the pack has, and from the start given. What
 * the pack has stays where nothing beats it. */
static enum packllm_status fit_without(struct fit *f, size_t fold, size_t *out_point) {
    int *z = alloc_array(f->dims, sizeof *z);
    double *prior = alloc_array(f->n, sizeof *prior);
    double least = mean_without(f, 0, fold);
    enum packllm_status status =
        z != NULL && prior != NULL ? PACKLLM_OK : fail_memory(f->err, f->dims * sizeof *z);
    *out_point = 0;
    for (int from = 0; from < 2 && status >= 0; from++) {
        size_t point = 0;
        double loss = least;
        if (from == 1 && f->c->start == NULL) {
            break;
        }
        memcpy(prior, f->c->before->prior, f->n * sizeof *prior);
        for (size_t i = 0; i < f->c->n_items; i++) {
            f->use[i] = f->fold[i] != fold;
        }
        if (from == 1) {
            status = f->c->start(f->c->data, f->use, prior, f->err);
        }
        if (status >= 0) {
            from_point(f, prior, f->c->before, z);
            status = descend(f, z, fold, &point, &loss);
        }
        if (status >= 0 && loss < least - LEAST_GAIN) {
            least = loss;
            *out_point = point;
        }
    }
    base_free(z);
    base_free(prior);
    return status;
}

static void draw_folds(struct fit *f) {
    const struct calib *c = f->c;
    for (size_t i = 0; i < c->n_items; i++) {
        f->fold[i] = c->blocks ? i * c->folds / c->n_items : i % c->folds;
    }
    for (size_t i = c->n_items; i > 1 && !c->blocks; i--) {
        size_t k = (size_t)(rng_key(SEED, i, 0) % i), swap = f->fold[i - 1];
        f->fold[i - 1] = f->fold[k];
        f->fold[k] = swap;
    }
}

static double spread(double sum, double squares, double n) {
    return n < 2 ? (double)NAN : sqrt(fmax(0.0, squares - sum * sum / n) / (n - 1.0) / n);
}

static enum packllm_status cross_validate(struct fit *f, struct calib_result *out) {
    const struct calib *c = f->c;
    double sum = 0.0, squares = 0.0, rights = 0.0, right_squares = 0.0, n = (double)c->n_items;
    for (size_t fold = 0; fold < c->folds; fold++) {
        size_t point = 0;
        enum packllm_status status = fit_without(f, fold, &point);
        if (status < 0) {
            return status;
        }
        const struct tried *before = &f->points[0], *after = &f->points[point];
        for (size_t i = 0; i < c->n_items; i++) {
            if (f->fold[i] == fold) {
                double change = after->loss[i] - before->loss[i];
                double right = (double)after->right[i] - (double)before->right[i];
                sum += change;
                squares += change * change;
                rights += right;
                right_squares += right * right;
                out->right_before += before->right[i];
                out->right_held_out += after->right[i];
            }
        }
    }
    out->before = mean_without(f, 0, c->folds);
    out->change = sum / n;
    out->held_out = out->before + out->change;
    out->stderr_change = spread(sum, squares, n);
    out->stderr_right = spread(rights, right_squares, n);
    return PACKLLM_OK;
}

static enum packllm_status fit_all(struct fit *f, struct calib_result *out) {
    const struct calib_point *before = f->c->before;
    size_t point = 0;
    enum packllm_status status = fit_without(f, f->c->folds, &point);
    if (status < 0) {
        return status;
    }
    if (!calib_point_init(&out->point, f->n, before->shrink)) {
        calib_point_done(&out->point);
        return fail_memory(f->err, f->n * sizeof(double));
    }
    if (f->points[point].z != NULL) {
        to_point(f, f->points[point].z, &out->point);
    } else {
        memcpy(out->point.prior, before->prior, f->n * sizeof(double));
    }
    if (f->points[point].z == NULL || !f->c->temperatures) {
        memcpy(out->point.temperature, before->temperature, f->n * sizeof(double));
    }
    out->fitted = mean_without(f, point, f->c->folds);
    out->points = f->n_points;
    return PACKLLM_OK;
}

enum packllm_status calib_fit(const struct calib *c, struct calib_result *out,
                              struct packllm_error *err) {
    struct packllm_error why = {0};
    struct calib_result result = {0};
    struct fit f = {.c = c, .n = c->n_members, .dims = 2 * c->n_members + 1, .err = &why};
    size_t now = 0;
    if (c->n_items < 2 || c->folds < 2 || c->folds > c->n_items) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "%zu folds of %zu items: 2 folds at least, and no more than items", c->folds,
                    c->n_items);
    }
    f.fold = alloc_array(c->n_items, sizeof *f.fold);
    f.use = alloc_array(c->n_items, sizeof *f.use);
    enum packllm_status status = PACKLLM_OK;
    if (!calib_point_init(&f.at, f.n, 1.0) || f.fold == NULL || f.use == NULL) {
        status = fail_memory(&why, c->n_items * sizeof *f.fold);
    }
    if (status >= 0) {
        draw_folds(&f);
        status = try_point(&f, NULL, &now);
    }
    if (status >= 0) {
        status = cross_validate(&f, &result);
    }
    if (status >= 0) {
        status = fit_all(&f, &result);
    }
    for (size_t k = 0; k < f.n_points; k++) {
        base_free(f.points[k].z);
        base_free(f.points[k].loss);
        base_free(f.points[k].right);
    }
    base_free(f.points);
    base_free(f.fold);
    base_free(f.use);
    calib_point_done(&f.at);
    if (status >= 0) {
        *out = result;
    } else if (err != NULL) {
        *err = why;
    }
    return status;
}
