/* greedy.c - the paper's weights (PackLLM, arXiv 2404.11531, "opt"), for comparison with solve_exact.
 *
 * Members in the order of their losses, best first. curr begins as the best one; each next member is
 * folded in with the step a of the grid that gives the prompt the least loss:
 *
 *     curr <- a curr + (1 - a) next,     a in {0, 0.05, ..., 1}
 *
 * so that lambda_1 = prod_k a_k and lambda_j = (1 - a_j) prod_{k > j} a_k. The paper mixes logits. A
 * constant added to the logits of one byte drops out of its softmax, so whether curr is normalised
 * between folds changes nothing, and the mixture is the pool at lambda(a) = a lambda + (1 - a) e_next.
 * That is how it is evaluated here, for both pools: sum(lambda) = 1 all along.
 *
 * Departs from the paper's code in its ties: here they go to the incumbent (the larger a), and what
 * differs by less than rounding is a tie, so that a member given twice is not folded in by chance.
 */
#include <assert.h>
#include <math.h>

#include "base/alloc.h"
#include "base/status.h"
#include "solve/solve.h"

enum { GRID = 20 }; /* steps of 0.05 */
#define TIE 1e-14   /* relative rounding of f */

/* order[n]: members by loss, ties as the problem orders them. */
static void sort_by_loss(const struct solve_problem *problem, const double *nll, size_t *order) {
    for (size_t i = 0; i < problem->n; i++) {
        size_t k = problem->order != NULL ? problem->order[i] : i, at = i;
        while (at > 0 && nll[k] < nll[order[at - 1]]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = k;
    }
}

/* Folds member `next` into lambda; trial[n] is work space. */
static enum packllm_status fold(const struct solve_problem *problem, size_t next, double *lambda,
                                double *trial, double *out_f) {
    double best = 0, alpha = 1;
    for (int step = GRID; step >= 0; step--) {
        double a = (double)step / GRID, f;
        for (size_t i = 0; i < problem->n; i++) {
            trial[i] = a * lambda[i];
        }
        trial[next] += 1 - a;
        enum packllm_status status = problem->eval(problem->ctx, trial, &f, NULL, NULL);
        if (status != PACKLLM_OK) {
            return status;
        }
        if (step == GRID || f < best - TIE * (1 + fabs(best))) {
            best = f;
            alpha = a;
        }
    }
    for (size_t i = 0; i < problem->n; i++) {
        lambda[i] *= alpha;
    }
    lambda[next] += 1 - alpha;
    *out_f = best;
    return PACKLLM_OK;
}

enum packllm_status solve_greedy(const struct solve_problem *problem, const double *nll,
                                 double *lambda, struct solve_result *out,
                                 struct packllm_error *err) {
    size_t n = problem->n;
    assert(n >= 1);
    struct solve_problem pure = *problem; /* what the gap is about */
    pure.ridge = 0;
    pure.cap = pure.prior = NULL;
    size_t *order = alloc_array(n, sizeof *order);
    double *curr = alloc_zero(2 * n, sizeof *curr);
    enum packllm_status status = PACKLLM_OK;
    struct solve_result result = {.f = (double)NAN};
    if (order == NULL || curr == NULL) {
        status = fail_memory(err, 2 * n * sizeof *curr);
        goto out;
    }
    sort_by_loss(problem, nll, order);
    curr[order[0]] = 1;
    if (n == 1) {
        status = problem->eval(problem->ctx, curr, &result.f, NULL, NULL);
    }
    for (size_t k = 1; k < n && status == PACKLLM_OK; k++) {
        status = fold(problem, order[k], curr, curr + n, &result.f);
        result.passes += GRID + 1;
    }
    if (status != PACKLLM_OK) {
        status = fail(err, status, PACKLLM_NO_MEMBER, "weights: the objective failed: %s",
                      packllm_status_text(status));
        goto out;
    }
    status = solve_gap(&pure, curr, &result.gap, err);
    if (status == PACKLLM_OK) {
        for (size_t i = 0; i < n; i++) {
            lambda[i] = curr[i];
        }
        *out = result;
    }
out:
    base_free(order);
    base_free(curr);
    return status;
}
