/* schema.h - what the files of the schema compiler share. schema.c walks the schema, schema_merge.c
 * makes one schema of several, schema_scalar.c writes numbers and strings, schema_pattern.c regular
 * expressions. What is written is GBNF; docs/grammar.md says which schemas. */
#ifndef GRAMMAR_SCHEMA_H
#define GRAMMAR_SCHEMA_H

#include "base/buf.h"
#include "grammar/grammar.h"
#include "grammar/value.h"

enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8, /* a set with NUMBER has INTEGER too */
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_ALL = 127
};

enum {
    SCHEMA_DEPTH_MAX = 64,     /* of nested schemas */
    SCHEMA_VISITS_MAX = 1 << 14 /* schemas looked at, with those made by merging */
};

struct known {
    const struct value *schema;
    unsigned rule;
};

struct schema {
    struct buf *out;
    struct document *doc;
    struct known *known; /* [n_known] schemas that have a rule */
    size_t n_known, known_room;
    unsigned n_rules, depth, visits;
    struct buf path; /* where one is, for messages */
    struct packllm_error *err;
};

/* The error at the present path. */
enum packllm_status schema_error(struct schema *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The types that a schema names, or that its keywords are about; 0: it names none. */
enum packllm_status schema_types(struct schema *s, const struct value *v, unsigned *out);
unsigned schema_type_of(const struct value *v); /* of an instance */
/* Whether the key says nothing about what is valid. */
bool schema_is_note(const char *key);
/* The schema that "#/…" points at. */
enum packllm_status schema_resolve(struct schema *s, const struct value *ref,
                                   const struct value **out);

/* schema_merge.c: one schema of a and b (objects, or true and false). */
enum packllm_status schema_merge(struct schema *s, const struct value *a, const struct value *b,
                                 const struct value **out);
/* $ref beside other keys and allOf worked into the schema itself. */
enum packllm_status schema_flatten(struct schema *s, const struct value *v,
                                   const struct value **out);
/* Whether no instance can satisfy both, as far as that is easily seen. */
enum packllm_status schema_apart(struct schema *s, const struct value *a, const struct value *b,
                                 unsigned depth, bool *out);

/* schema_scalar.c: what may be written for a type, as an expression. */
enum packllm_status schema_integer(struct schema *s, const struct value *v, struct buf *out);
enum packllm_status schema_number(struct schema *s, const struct value *v, struct buf *out);
enum packllm_status schema_string(struct schema *s, const struct value *v, struct buf *out);
/* A number >= 0 without fraction; *out stays when the key is missing. */
enum packllm_status schema_count(struct schema *s, const struct value *v, const char *key,
                                 uint32_t *out);
/* {min,max} behind an element; max UINT32_MAX: without end. */
bool schema_add_counts(struct buf *out, uint32_t min, uint32_t max);
/* The instance satisfies the bounds in v (for enum and const). */
enum packllm_status schema_accepts(struct schema *s, const struct value *v,
                                   const struct value *instance, bool *out);
/* JSON text as a GBNF literal. */
bool schema_add_literal(struct buf *out, const char *text, size_t size);

/* schema_pattern.c: the body of a JSON string that the regular expression matches. */
enum packllm_status schema_pattern(struct schema *s, const char *text, size_t size,
                                   struct buf *out);

#endif
