/* jsonin.h - reads JSON from clients: the only door to the JSON library, with our caps before it. */
#ifndef SERVER_JSONIN_H
#define SERVER_JSONIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum jsonin_type {
    JSONIN_NULL, /* also what is not there */
    JSONIN_BOOL,
    JSONIN_INT,
    JSONIN_REAL,
    JSONIN_TEXT,
    JSONIN_ARRAY,
    JSONIN_OBJECT
};

struct jsonin; /* a value; values inside live as long as the one that was parsed */

/* NULL: out_why says why and where. depth: the most arrays and objects inside each other. */
struct jsonin *jsonin_parse(const char *text, size_t size, unsigned depth, char *out_why,
                            size_t why_size);
void jsonin_free(struct jsonin *value);

enum jsonin_type jsonin_type(const struct jsonin *value); /* NULL allowed */
const char *jsonin_type_name(enum jsonin_type type);      /* "an array" */
bool jsonin_bool(const struct jsonin *value);
int64_t jsonin_int(const struct jsonin *value);
double jsonin_number(const struct jsonin *value);                      /* INT or REAL */
const char *jsonin_text(const struct jsonin *value, size_t *out_size); /* UTF-8, a NUL behind it */
size_t jsonin_size(const struct jsonin *value);                        /* of an array or object */
const struct jsonin *jsonin_at(const struct jsonin *array, size_t i);
const struct jsonin *jsonin_get(const struct jsonin *object, const char *key); /* NULL: not there */
/* The entries of an object in turn: *state begins as NULL; false after the last. */
bool jsonin_next(struct jsonin *object, void **state, const char **out_key,
                 const struct jsonin **out_value);
/* The value written as one compact line; NULL: no memory. Freed with base_free. */
char *jsonin_dump(const struct jsonin *value);

#endif
