/* member_gguf.h - a strict, bounded reader of GGUF headers (versions 2 and 3, little-endian). It is
 * run before libllama sees a file, because libllama aborts the process on some damaged ones; it
 * knows no models (that is member_facts.h), so that adapters can be read with it too.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
#ifndef MEMBER_MEMBER_GGUF_H
#define MEMBER_MEMBER_GGUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packllm/packllm.h"

enum member_gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPES
};

/* One key. Scalars have count 1; arrays have type GGUF_ARRAY and the type of their elements. */
struct member_gguf_kv {
    size_t key, key_size; /* offset in bytes[] */
    uint32_t type, element;
    uint64_t count;
    size_t value, value_size; /* offset in bytes[]: of the elements, or of a string's text */
};

struct member_gguf_tensor {
    size_t name, name_size;
    uint32_t n_dims;
    uint64_t shape[4]; /* 1 beyond n_dims */
    uint32_t type;     /* ggml_type */
    uint64_t size;     /* bytes */
};

struct member_gguf {
    uint8_t *bytes; /* the file's beginning, at least the header */
    size_t size;
    uint64_t file_size;
    uint32_t version;
    uint64_t alignment, data; /* data: where the tensors begin */
    struct member_gguf_kv *kv;
    size_t n_kv;
    struct member_gguf_tensor *tensor;
    size_t n_tensors;
    uint64_t tensor_bytes;
};

/* label: how errors call the file ("member 'a' (a.gguf)"). */
enum packllm_status member_gguf_open(struct member_gguf *g, const char *path, const char *label,
                                     int index, struct packllm_error *err);
/* The same from memory: bytes is the whole file (copied). */
enum packllm_status member_gguf_parse(struct member_gguf *g, const void *bytes, size_t size,
                                      const char *label, int index, struct packllm_error *err);
/* E_MODEL with "label what", what by format and args. */
enum packllm_status member_gguf_refuse(const char *label, int index, struct packllm_error *err,
                                       const char *format, va_list args)
    __attribute__((format(printf, 4, 0)));
void member_gguf_done(struct member_gguf *g);

const struct member_gguf_kv *member_gguf_find(const struct member_gguf *g, const char *key);
const struct member_gguf_tensor *member_gguf_find_tensor(const struct member_gguf *g,
                                                         const char *name);
/* A scalar of any integer type (not bool, not negative); false if it is something else. */
bool member_gguf_integer(const struct member_gguf *g, const struct member_gguf_kv *kv,
                         uint64_t *out);
/* Element i of a numeric array, or a scalar where i = 0. */
bool member_gguf_element(const struct member_gguf *g, const struct member_gguf_kv *kv, uint64_t i,
                         double *out);
/* Copies a string of at most room - 1 bytes; false if it is no string or does not fit. */
bool member_gguf_text(const struct member_gguf *g, const struct member_gguf_kv *kv, char *out,
                      size_t room);
/* Walks an array of strings: *at starts at 0. */
const uint8_t *member_gguf_next_string(const struct member_gguf *g, const struct member_gguf_kv *kv,
                                       size_t *at, size_t *size);

/* A ggml type's block: elements and bytes; false for a type that does not exist (any more). */
bool member_gguf_block(uint32_t type, uint32_t *elements, uint32_t *bytes);

/* A set of byte strings, for uniqueness: open addressing, capacity fixed at the start. */
struct member_names {
    const uint8_t **bytes;
    size_t *sizes;
    size_t mask;
};
enum packllm_status member_names_init(struct member_names *set, size_t n,
                                      struct packllm_error *err);
/* False: it was there already. At most n additions. */
bool member_names_add(struct member_names *set, const uint8_t *bytes, size_t size);
void member_names_done(struct member_names *set);

#endif
