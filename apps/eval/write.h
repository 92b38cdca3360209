/* write.h - generation: every method, and every member alone, writes its own answer. */
#ifndef EVAL_WRITE_H
#define EVAL_WRITE_H

#include "eval/run.h" /* first: it asks for the experimental tier */

/* Whole options and hedge need a text that is known, and canonical members write as members do. */
bool eval_writes(const struct packllm_method *method);

/* Greedily, from the prompt, until the task's stop strings or its most tokens. The members read the
 * prompt once; out->texts[k] is NULL where method k does not write. progress is asked after every
 * token. */
enum packllm_status eval_write(const struct eval *e, const struct task *task, const char *prompt,
                               size_t size, const char *answer, bool fresh, struct eval_record *out,
                               struct packllm_error *err);

#endif
