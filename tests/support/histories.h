/* histories.h - random forks, rollbacks and evaluations of a member against the plain meaning of
 * them: a history is a list of tokens, and its row is that of the list evaluated afresh. */
#ifndef TESTS_HISTORIES_H
#define TESTS_HISTORIES_H

#include <stdint.h>

#include "member/member.h"

struct histories_result {
    unsigned long rows; /* compared */
    double worst;       /* largest difference of a logit */
    unsigned long forks, truncations, evaluations, cancels;
};

/* `steps` random operations on a fresh context of m, rows compared with a second context. Fails the
 * cmocka test on a status that should not be, a wrong length, or a logit off by more than
 * tolerance. texts: tokens are drawn from [first, m->table.n). Prints the seed where it fails. */
struct histories_result histories_check(struct member *m, uint64_t seed, int steps, int32_t first,
                                        double tolerance);

#endif
