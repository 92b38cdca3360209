/* results.h - what was measured, question by question, in a file that survives the program: an SQLite
 * database with the tables
 *     settings(key, value)            what the figures depend on
 *     items(task, id, hash, figures)  one question each; figures is JSON (run.c)
 * Each question is written in a transaction of its own: after a kill at any time the file holds whole
 * questions. */
#ifndef EVAL_RESULTS_H
#define EVAL_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "packllm/packllm.h"

struct results;
struct results_setting {
    const char *key, *value;
};

/* Opens or begins a file; path NULL: in memory, gone at the end. E_ARG: it holds the results of other
 * settings, and which; E_IO: it cannot be used. */
enum packllm_status results_open(struct results **out, const char *path,
                                 const struct results_setting *settings, size_t n,
                                 struct packllm_error *err);
void results_close(struct results *results);

/* *out_found: whether the question is there; then its figures are added to out. E_ARG: it is there with
 * another hash. */
enum packllm_status results_get(struct results *results, const char *task, const char *id,
                                uint64_t hash, bool *out_found, struct buf *out,
                                struct packllm_error *err);
enum packllm_status results_put(struct results *results, const char *task, const char *id,
                                uint64_t hash, const struct buf *figures,
                                struct packllm_error *err);

#endif
