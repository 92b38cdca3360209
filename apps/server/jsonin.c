/* jsonin.c - the only file of the server that includes jansson.h. struct jsonin is its json_t under our name. */
#include "server/jsonin.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

static const json_t *in(const struct jsonin *value) {
    return (const json_t *)(const void *)value;
}

/* The reader descends by recursion, so depth is counted before it begins. */
static bool too_deep(const char *text, size_t size, unsigned most) {
    unsigned depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (quoted) {
            i += c == '\\' ? 1 : 0;
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            if (++depth > most) {
                return true;
            }
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return false;
}

struct jsonin *jsonin_parse(const char *text, size_t size, unsigned depth, char *out_why,
                            size_t why_size) {
    json_error_t error;
    if (too_deep(text, size, depth)) {
        (void)snprintf(out_why, why_size, "more than %u arrays and objects inside each other",
                       depth);
        return NULL;
    }
    json_t *value = json_loadb(text, size, JSON_ALLOW_NUL, &error);
    if (value == NULL) {
        (void)snprintf(out_why, why_size, "%s (line %d, column %d)", error.text, error.line,
                       error.column);
    }
    return (struct jsonin *)(void *)value;
}

void jsonin_free(struct jsonin *value) {
    json_decref((json_t *)(void *)value);
}

enum jsonin_type jsonin_type(const struct jsonin *value) {
    if (value == NULL) {
        return JSONIN_NULL;
    }
    switch (json_typeof(in(value))) {
    case JSON_TRUE:
    case JSON_FALSE:
        return JSONIN_BOOL;
    case JSON_INTEGER:
        return JSONIN_INT;
    case JSON_REAL:
        return JSONIN_REAL;
    case JSON_STRING:
        return JSONIN_TEXT;
    case JSON_ARRAY:
        return JSONIN_ARRAY;
    case JSON_OBJECT:
        return JSONIN_OBJECT;
    case JSON_NULL:
    default:
        return JSONIN_NULL;
    }
}

const char *jsonin_type_name(enum jsonin_type type) {
    static const char *const names[] = {"null",     "true or false", "a whole number", "a number",
                                        "a string", "an array",      "an object"};
    return names[type];
}

bool jsonin_bool(const struct jsonin *value) {
    return json_is_true(in(value));
}

int64_t jsonin_int(const struct jsonin *value) {
    return (int64_t)json_integer_value(in(value));
}

double jsonin_number(const struct jsonin *value) {
    return json_number_value(in(value));
}

const char *jsonin_text(const struct jsonin *value, size_t *out_size) {
    *out_size = json_string_length(in(value));
    return json_string_value(in(value));
}

size_t jsonin_size(const struct jsonin *value) {
    return json_is_object(in(value)) ? json_object_size(in(value)) : json_array_size(in(value));
}

const struct jsonin *jsonin_at(const struct jsonin *array, size_t i) {
    return (const struct jsonin *)(const void *)json_array_get(in(array), i);
}

const struct jsonin *jsonin_get(const struct jsonin *object, const char *key) {
    return (const struct jsonin *)(const void *)json_object_get(in(object), key);
}

bool jsonin_next(struct jsonin *object, void **state, const char **out_key,
                 const struct jsonin **out_value) {
    json_t *value = (json_t *)(void *)object;
    *state = *state == NULL ? json_object_iter(value) : json_object_iter_next(value, *state);
    if (*state == NULL) {
        return false;
    }
    *out_key = json_object_iter_key(*state);
    *out_value = (const struct jsonin *)(void *)json_object_iter_value(*state);
    return true;
}

char *jsonin_dump(const struct jsonin *value) {
    size_t size = json_dumpb(in(value), NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
    char *text = size > 0 ? alloc_array(size + 1, 1) : NULL;
    if (text != NULL) {
        size_t written = json_dumpb(in(value), text, size, JSON_COMPACT | JSON_ENCODE_ANY);
        text[written < size ? written : size] = '\0';
    }
    return text;
}
