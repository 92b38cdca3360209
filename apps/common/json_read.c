/* json_read.c - see json_read.h. The only file that includes jansson's header. */
#include "common/json_read.h"

#include <jansson.h>
#include <stdio.h>

#include "base/alloc.h"

static const json_t *of(const struct json_value *value) {
    return (const json_t *)(const void *)value;
}

static const struct json_value *from(const json_t *value) {
    return (const struct json_value *)(const void *)value;
}

static struct json_value *load(const char *text, size_t size, size_t flags,
                               struct json_wrong *wrong) {
    json_error_t error;
    json_t *root = json_loadb(text != NULL ? text : "", size, flags, &error);
    if (root == NULL && wrong != NULL) {
        wrong->line = error.line > 0 ? (size_t)error.line : 1;
        wrong->column = error.column > 0 ? (size_t)error.column : 1;
        (void)snprintf(wrong->what, sizeof wrong->what, "%s", error.text);
    }
    return (struct json_value *)(void *)root;
}

struct json_value *json_read(const char *text, size_t size, struct json_wrong *wrong) {
    return load(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, wrong);
}

/* Where the first array or object opens that is one too many; size: none does. */
static size_t too_deep(const char *text, size_t size, unsigned most) {
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
                return i;
            }
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return size;
}

struct json_value *json_read_strange(const char *text, size_t size, unsigned depth,
                                     struct json_wrong *wrong) {
    size_t at = too_deep(text, size, depth);
    if (at == size) {
        return load(text, size, JSON_ALLOW_NUL, wrong);
    }
    if (wrong != NULL) {
        wrong->line = wrong->column = 1;
        for (size_t i = 0; i < at; i++) {
            wrong->column = text[i] == '\n' ? 1 : wrong->column + 1;
            wrong->line += text[i] == '\n';
        }
        (void)snprintf(wrong->what, sizeof wrong->what,
                       "more than %u arrays and objects inside each other", depth);
    }
    return NULL;
}

void json_read_done(struct json_value *root) {
    json_decref((json_t *)(void *)root);
}

enum json_kind json_kind(const struct json_value *value) {
    if (value == NULL) {
        return JSON_KIND_NULL;
    }
    switch (json_typeof(of(value))) {
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_KIND_BOOL;
    case JSON_INTEGER:
        return JSON_KIND_WHOLE;
    case JSON_REAL:
        return JSON_KIND_REAL;
    case JSON_STRING:
        return JSON_KIND_TEXT;
    case JSON_ARRAY:
        return JSON_KIND_ARRAY;
    case JSON_OBJECT:
        return JSON_KIND_OBJECT;
    case JSON_NULL:
    default:
        return JSON_KIND_NULL;
    }
}

const char *json_kind_name(enum json_kind kind) {
    static const char *const names[] = {"null",     "true or false", "a whole number", "a number",
                                        "a string", "an array",      "an object"};
    return names[kind];
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

size_t json_get_entries(const struct json_value *object) {
    return json_object_size(of(object));
}

bool json_next(const struct json_value *object, void **state, const char **out_key,
               const struct json_value **out_value) {
    /* It is not changed; the signature is jansson's. */
    union {
        const struct json_value *given;
        json_t *value;
    } u = {.given = object};
    *state = *state == NULL ? json_object_iter(u.value) : json_object_iter_next(u.value, *state);
    if (*state == NULL) {
        return false;
    }
    *out_key = json_object_iter_key(*state);
    *out_value = from(json_object_iter_value(*state));
    return true;
}

const char *json_get_bytes(const struct json_value *value, size_t *out_size) {
    *out_size = json_string_length(of(value));
    return json_string_value(of(value));
}

bool json_get_true(const struct json_value *value) {
    return json_is_true(of(value));
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

char *json_line(const struct json_value *value) {
    size_t size = json_dumpb(of(value), NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
    char *text = size > 0 ? alloc_array(size + 1, 1) : NULL;
    if (text != NULL) {
        size_t written = json_dumpb(of(value), text, size, JSON_COMPACT | JSON_ENCODE_ANY);
        text[written < size ? written : size] = '\0';
    }
    return text;
}
