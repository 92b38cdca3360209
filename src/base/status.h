/* status.h - how every room says that something failed: a status returned, an error struct filled
 * last (example 5 of the house). */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include "packllm/packllm.h"

#if defined(__GNUC__)
#define BASE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define BASE_PRINTF(fmt, args)
#endif

/* Fills *err (NULL allowed) with one line and returns status, so that `return fail(…)` reads. */
enum packllm_status fail(struct packllm_error *err, enum packllm_status status, int member,
                         const char *format, ...) BASE_PRINTF(4, 5);

/* E_CONTEXT with both numbers. */
enum packllm_status fail_context(struct packllm_error *err, int member, uint64_t n_tokens,
                                 uint64_t n_ctx, const char *format, ...) BASE_PRINTF(5, 6);

/* The error for an allocation of size bytes that failed. */
enum packllm_status fail_memory(struct packllm_error *err, size_t size);

#endif
