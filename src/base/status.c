/* status.c - the error struct and the texts of the statuses. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct packllm_error *err, enum packllm_status status, int member,
                 const char *format, va_list args) BASE_PRINTF(4, 0);

static void fill(struct packllm_error *err, enum packllm_status status, int member,
                 const char *format, va_list args) {
    err->status = status;
    err->member = member;
    err->n_tokens = err->n_ctx = 0;
    (void)vsnprintf(err->message, sizeof err->message, format, args);
    /* One line: what comes from files or other programs may hold line ends. */
    for (char *p = err->message; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            *p = ' ';
        }
    }
}

enum packllm_status fail(struct packllm_error *err, enum packllm_status status, int member,
                         const char *format, ...) {
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        fill(err, status, member, format, args);
        va_end(args);
    }
    return status;
}

enum packllm_status fail_context(struct packllm_error *err, int member, uint64_t n_tokens,
                                 uint64_t n_ctx, const char *format, ...) {
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        fill(err, PACKLLM_E_CONTEXT, member, format, args);
        va_end(args);
        err->n_tokens = n_tokens;
        err->n_ctx = n_ctx;
    }
    return PACKLLM_E_CONTEXT;
}

enum packllm_status fail_memory(struct packllm_error *err, size_t size) {
    return fail(err, PACKLLM_E_MEMORY, PACKLLM_NO_MEMBER,
                "out of memory: %zu bytes could not be had; use fewer or smaller members, or a "
                "smaller context (-c)",
                size);
}

const char *packllm_status_text(enum packllm_status status) {
    switch (status) {
#define X(name, value, text)                                                                       \
    case name:                                                                                     \
        return text;
        PACKLLM_STATUSES(X)
#undef X
    }
    return "unknown status";
}

const char *packllm_version(void) {
    return PACKLLM_VERSION;
}
