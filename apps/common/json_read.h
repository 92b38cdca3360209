/* json_read.h - reads JSON texts into values. A thin face of jansson, so that one file knows it. */
#ifndef COMMON_JSON_READ_H
#define COMMON_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_value; /* owned by the root that json_read gave */

struct json_wrong {
    size_t line, column; /* from 1; the column counts bytes */
    char what[192];
};

/* NULL: it is not JSON (a key twice in one object, a NUL in a string and bytes that are not UTF-8
 * included); wrong (NULL allowed) then says where and why. */
struct json_value *json_read(const char *text, size_t size, struct json_wrong *wrong);
void json_read_done(struct json_value *root); /* NULL allowed */

/* Values that are NULL, or not of the kind asked for, give NULL or false. */
bool json_kind_object(const struct json_value *value);
bool json_kind_array(const struct json_value *value);
bool json_kind_null(const struct json_value *value);
const struct json_value *json_get_field(const struct json_value *object, const char *key);
size_t json_get_size(const struct json_value *array); /* 0 for what is no array */
const struct json_value *json_get_at(const struct json_value *array, size_t index);
const char *json_get_text(const struct json_value *value); /* NUL-terminated UTF-8 */
bool json_get_whole(const struct json_value *value, int64_t *out_value);
bool json_get_number(const struct json_value *value, double *out_value);

#endif
