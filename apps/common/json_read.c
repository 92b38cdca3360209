/* json_read.c - see json_read.h. The only file that includes jansson's header. */
#include "common/json_read.h"

#include <jansson.h>
#include <stdio.h>

static const json_t *of(const struct json_value *value) {
    return (const json_t *)(const void *)value;
}

static const struct json_value *from(const json_t *value) {
    return (const struct json_value *)(const void *)value;
}

struct json_value *json_read(const char *text, size_t size, struct json_wrong *wrong) {
    json_error_t error;
    json_t *root = json_loadb(text != NULL ? text : "", size,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (root == NULL && wrong != NULL) {
        wrong->line = error.line > 0 ? (size_t)error.line : 1;
        wrong->column = error.column > 0 ? (size_t)error.column : 1;
        (void)snprintf(wrong->what, sizeof wrong->what, "%s", error.text);
    }
    return (struct json_value *)(void *)root;
}

void json_read_done(struct json_value *root) {
    json_decref((json_t *)(void *)root);
}

bool json_kind_object(const struct json_value *value) {
    return json_is_object(of(value));
}

bool json_kind_array(const struct json_value *value) {
    return json_is_array(of(value));
}

bool json_kind_null(const struct json_value *value) {
    return json_is_null(of(value));
}

const struct json_value *json_get_field(const struct json_value *object, const char *key) {
    return from(json_object_get(of(object), key));
}

size_t json_get_size(const struct json_value *array) {
    return json_array_size(of(array));
}

const struct json_value *json_get_at(const struct json_value *array, size_t index) {
    return from(json_array_get(of(array), index));
}

const char *json_get_text(const struct json_value *value) {
    return json_string_value(of(value));
}

bool json_get_whole(const struct json_value *value, int64_t *out_value) {
    if (!json_is_integer(of(value))) {
        return false;
    }
    *out_value = (int64_t)json_integer_value(of(value));
    return true;
}

bool json_get_number(const struct json_value *value, double *out_value) {
    if (!json_is_number(of(value))) {
        return false;
    }
    *out_value = json_number_value(of(value));
    return true;
}
