/* json_read.h - reads JSON texts into values. A thin face of jansson, so that one file knows it. */
#ifndef COMMON_JSON_READ_H
#define COMMON_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_value; /* owned by the root that json_read gave */

enum json_kind {
    JSON_KIND_NULL, /* also what is not there */
    JSON_KIND_BOOL,
    JSON_KIND_WHOLE,
    JSON_KIND_REAL,
    JSON_KIND_TEXT,
    JSON_KIND_ARRAY,
    JSON_KIND_OBJECT
};

struct json_wrong {
    size_t line, column; /* from 1; the column counts bytes */
    char what[192];
};

/* NULL: it is not JSON (a key twice in one object, a NUL in a string and bytes that are not UTF-8
 * included); wrong (NULL allowed) then says where and why. */
struct json_value *json_read(const char *text, size_t size, struct json_wrong *wrong);
/* What strangers send: an array or object with at most `depth` of them inside each other (the reader
 * descends by recursion); of a key that comes twice the last counts, and texts may hold NULs. */
struct json_value *json_read_strange(const char *text, size_t size, unsigned depth,
                                     struct json_wrong *wrong);
void json_read_done(struct json_value *root); /* NULL allowed */

enum json_kind json_kind(const struct json_value *value); /* NULL allowed */
const char *json_kind_name(enum json_kind kind);          /* "an array" */

/* Values that are NULL, or not of the kind asked for, give NULL or false. */
bool json_kind_object(const struct json_value *value);
bool json_kind_array(const struct json_value *value);
bool json_kind_null(const struct json_value *value);
const struct json_value *json_get_field(const struct json_value *object, const char *key);
size_t json_get_size(const struct json_value *array); /* 0 for what is no array */
const struct json_value *json_get_at(const struct json_value *array, size_t index);
size_t json_get_entries(const struct json_value *object); /* how many; 0 for what is no object */
/* The entries of an object in turn: *state begins as NULL; false after the last. */
bool json_next(const struct json_value *object, void **state, const char **out_key,
               const struct json_value **out_value);
const char *json_get_text(const struct json_value *value); /* NUL-terminated UTF-8 */
/* The same, where a NUL may be in it. */
const char *json_get_bytes(const struct json_value *value, size_t *out_size);
bool json_get_true(const struct json_value *value); /* it is `true` */
bool json_get_whole(const struct json_value *value, int64_t *out_value);
bool json_get_number(const struct json_value *value, double *out_value);
/* The value as one compact line; NULL: no memory. Freed with base_free. */
char *json_line(const struct json_value *value);

#endif
