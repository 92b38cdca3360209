/* logsum.h - sums of exponentials over arrays: maximum first, double sums in a fixed order, -inf
 * allowed, NaN refused by assertion. Arrays in, numbers out. */
#ifndef MATH_LOGSUM_H
#define MATH_LOGSUM_H

#include <stddef.h>

#define MATH_BITS_PER_NAT 1.44269504088896340736 /* 1 / ln 2 */

/* log sum_i exp(x[i]); -INFINITY for n = 0 or all -inf. */
double math_log_sum_exp(const double *x, size_t n);
double math_log_sum_exp_f(const float *x, size_t n);
/* x[n] in nats -> out[n] = exp(x) / sum exp(x); out may be x. At least one x[i] > -inf. */
void math_softmax(const double *x, size_t n, double *out);
double math_max_f(const float *x, size_t n); /* -INFINITY for n = 0 */
/* Sum in a fixed order with Neumaier's compensation: as if summed with twice the digits and rounded
 * once. At once, or term by term from a struct of zeros. */
double math_sum(const double *x, size_t n);
struct math_sum {
    double total, lost;
};
void math_sum_add(struct math_sum *sum, double x);
double math_sum_total(const struct math_sum *sum);

#endif
