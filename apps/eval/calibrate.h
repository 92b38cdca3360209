/* calibrate.h - a pack's settings fitted on labelled items, and what they change on items that they
 * were not fitted on. Knows no models: it sees the loss of an item at a point. */
#ifndef EVAL_CALIBRATE_H
#define EVAL_CALIBRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packllm/packllm.h"

struct calib_point {
    double *prior;       /* [n_members] > 0, sum 1 */
    double *temperature; /* [n_members] > 0 */
    double shrink;       /* >= 0 */
};
/* All 1 / n, 1 and the shrink given. False: no memory. */
bool calib_point_init(struct calib_point *point, size_t n_members, double shrink);
void calib_point_done(struct calib_point *point);

struct calib {
    size_t n_members, n_items;
    size_t folds;                     /* 2..n_items */
    bool blocks;                      /* folds are stretches of neighbours (a text), else drawn */
    bool temperatures;                /* are fitted, too */
    const struct calib_point *before; /* what the pack has now */
    /* The loss of an item, and whether its answer is right. */
    enum packllm_status (*loss)(void *data, size_t item, const struct calib_point *point,
                                double *out_loss, bool *out_right, struct packllm_error *err);
    /* A prior to begin from as well, from the items in use [n_items]; NULL: none. */
    enum packllm_status (*start)(void *data, const bool *use, double *out_prior,
                                 struct packllm_error *err);
    /* After every point tried; false: stop. NULL: none. */
    bool (*progress)(void *data, size_t points);
    void *data;
};

/* Means over items; "held out": each item at the point that was fitted without its fold. */
struct calib_result {
    struct calib_point point; /* fitted on all items */
    size_t points;            /* tried */
    double before, fitted;    /* loss: as the pack is, and of the point on what it was fitted on */
    double held_out;
    double change, stderr_change; /* held_out - before, paired */
    size_t right_before, right_held_out;
    double stderr_right; /* of the difference of the shares */
};

/* E_CANCELLED: progress said so; or what loss returned. calib_result_done after success. */
enum packllm_status calib_fit(const struct calib *calib, struct calib_result *out,
                              struct packllm_error *err);
void calib_result_done(struct calib_result *result);

#endif
