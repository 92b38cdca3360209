/* cbtm.h - weights from what the members were trained on: the prompt's tf-idf distance to each one's
 * domain text (c-BTM, arXiv 2303.14177, as the PackLLM paper uses it). Knows texts, no models.
 *
 *     lambda_i = softmax_i(-d_i^2 / 0.1),   d_i the distance from the prompt to member i's nearest centre
 *
 * Words, tf-idf: terms.c. Centres: k-means of the member's texts, see cbtm.c.
 */
#ifndef CBTM_CBTM_H
#define CBTM_CBTM_H

#include <stddef.h>

#include "packllm/packllm.h"

#define CBTM_TAU 0.1

struct cbtm_text {
    const char *text; /* [size] UTF-8 */
    size_t size;
    size_t member; /* whose domain it is an example of */
};

struct cbtm;

/* texts[n]: every member 0..n_members-1 has at least one. clusters >= 1: centres of a member, at
 * most; fewer where it has fewer different texts. The same texts give the same centres; nothing of
 * them is kept but words. E_ARG: a member without text, or texts without a word; E_MEMORY. */
enum packllm_status cbtm_open(struct cbtm **out, const struct cbtm_text *texts, size_t n,
                              size_t n_members, size_t clusters, struct packllm_error *err);
void cbtm_close(struct cbtm *c);
/* lambda[n_members], and the squared distances into out_d2 [n_members] unless it is NULL. A text of
 * unknown words only is the zero vector: it weighs the members by how spread their texts are. */
enum packllm_status cbtm_weigh(const struct cbtm *c, const char *text, size_t size, double *lambda,
                               double *out_d2, struct packllm_error *err);

#endif
