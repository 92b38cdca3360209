/* alloc.c - checked allocation, see alloc.h. */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static atomic_ulong fail_in;

static bool must_fail(void) {
    return atomic_load_explicit(&fail_in, memory_order_relaxed) != 0 &&
           atomic_fetch_sub(&fail_in, 1) == 1;
}

void alloc_fail_nth(unsigned long nth) {
    atomic_store(&fail_in, nth);
}

void *alloc_resize(void *old, size_t n, size_t size) {
    if (size != 0 && n > SIZE_MAX / size) {
        return NULL;
    }
    if (must_fail()) {
        return NULL;
    }
    size *= n;
    return realloc(old, size != 0 ? size : 1);
}

void *alloc_array(size_t n, size_t size) {
    return alloc_resize(NULL, n, size);
}

void *alloc_zero(size_t n, size_t size) {
    if (must_fail()) {
        return NULL;
    }
    return calloc(n != 0 ? n : 1, size != 0 ? size : 1);
}

char *alloc_text(const char *text, size_t size) {
    char *copy = size < SIZE_MAX ? alloc_array(size + 1, 1) : NULL;
    if (copy != NULL) {
        if (size > 0) {
            memcpy(copy, text, size);
        }
        copy[size] = '\0';
    }
    return copy;
}

void base_free(void *block) {
    free(block);
}
