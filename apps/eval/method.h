/* method.h - the names of methods: how members are weighed and fused, or which stands alone.
 *
 *     exact, sim, greedy, free, em, bayes, hedge, uniform, top1, cbtm     a weigher, its usual pool
 *     sim@TAU, exact@SHRINK, free@SHRINK     with that --tau or --shrink
 *     NAME:log, NAME:linear     in that pool
 *     NAME:whole                a mixture of whole options, weights of the linear pool
 *     fixed:0.7/0.3             given weights; also with a pool behind
 *     dexperts:BASE/EXPERT/ANTI[/ALPHA]
 *     members, member:NAME      each member alone, through its byte model
 *     canonical, canonical:NAME each member alone, along its canonical tokens
 *     all                       the methods that need nothing said, and members */
#ifndef EVAL_METHOD_H
#define EVAL_METHOD_H

#define PACKLLM_EXPERIMENTAL
#include <stddef.h>

#include "packllm/packllm.h"

struct methods {
    struct packllm_method *list; /* [n] */
    char **names;                /* [n] */
    double **fixed;              /* [n] weights that a method owns, or NULL */
    size_t n, room;
};

struct method_rules {
    const char *const *members; /* [n_members] their names */
    size_t n_members;
    double shrink, tau;
};

/* text: names parted by commas. E_ARG says which one is wrong. */
enum packllm_status methods_read(struct methods *methods, const char *text,
                                 const struct method_rules *rules, struct packllm_error *err);
void methods_done(struct methods *methods);

#endif
