/* json.h - a JSON writer: one compact line into a buffer. Commas are placed by the writer, strings
 * come out as valid UTF-8 whatever went in, doubles with the fewest digits that read back the same
 * (NaN and infinities, which JSON has not, become null). The same bytes in every locale. */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define JSON_DEPTH 16

struct json {
    struct buf *out;         /* its `failed` tells whether everything fitted */
    bool filled[JSON_DEPTH]; /* level -> a value stands before the next one */
    unsigned depth;
    bool keyed; /* a key was written, its value comes next */
};

void json_init(struct json *json, struct buf *out);

void json_begin_object(struct json *json);
void json_end_object(struct json *json);
void json_begin_array(struct json *json);
void json_end_array(struct json *json);
void json_key(struct json *json, const char *key);

void json_bytes(struct json *json, const char *text, size_t size);
void json_text(struct json *json, const char *text); /* NULL -> null */
void json_double(struct json *json, double value);
void json_int(struct json *json, int64_t value);
void json_uint(struct json *json, uint64_t value);
void json_bool(struct json *json, bool value);
void json_nothing(struct json *json);
/* A value that was written by another writer. */
void json_raw(struct json *json, const char *text, size_t size);

/* Key and value in one call. */
void json_key_text(struct json *json, const char *key, const char *text);
void json_key_double(struct json *json, const char *key, double value);
void json_key_uint(struct json *json, const char *key, uint64_t value);

#endif
