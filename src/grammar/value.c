/* value.c - JSON read by jansson, behind names of our own: the only file of the library that sees it. */
#include "grammar/value.h"

#include <jansson.h>

#include "base/alloc.h"
#include "base/status.h"

struct document {
    json_t *root;
    json_t *made; /* a list that owns what was made */
};

/* struct value is json_t under another name; jansson takes no const. */
static json_t *of(const struct value *v) {
    return (json_t *)(uintptr_t)v;
}

static struct value *as(json_t *json) {
    return (struct value *)(void *)json;
}

enum packllm_status document_open(struct document **out, const char *text, size_t size,
                                  struct packllm_error *err) {
    struct document *doc = alloc_zero(1, sizeof *doc);
    if (doc == NULL) {
        return fail_memory(err, sizeof *doc);
    }
    json_error_t why;
    doc->root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    doc->made = json_array();
    if (doc->root == NULL || doc->made == NULL) {
        bool memory = doc->made == NULL;
        document_close(doc);
        return memory ? fail_memory(err, size)
                      : fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                             "JSON schema, line %d, column %d: %s", why.line,
                             why.column < 0 ? 0 : why.column, why.text);
    }
    *out = doc;
    return PACKLLM_OK;
}

void document_close(struct document *doc) {
    if (doc != NULL) {
        json_decref(doc->made);
        json_decref(doc->root);
        base_free(doc);
    }
}

const struct value *document_root(const struct document *doc) {
    return as(doc->root);
}

enum value_kind value_kind(const struct value *v) {
    switch (json_typeof(of(v))) {
    case JSON_OBJECT:
        return VALUE_OBJECT;
    case JSON_ARRAY:
        return VALUE_LIST;
    case JSON_STRING:
        return VALUE_TEXT;
    case JSON_INTEGER:
        return VALUE_INTEGER;
    case JSON_REAL:
        return VALUE_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return VALUE_BOOL;
    case JSON_NULL:
        break;
    }
    return VALUE_NULL;
}

bool value_is_true(const struct value *v) {
    return json_is_true(of(v));
}

bool value_is_false(const struct value *v) {
    return json_is_false(of(v));
}

double value_number(const struct value *v) {
    return json_number_value(of(v));
}

const char *value_text(const struct value *v, size_t *out_size) {
    *out_size = json_string_length(of(v));
    return json_string_value(of(v));
}

size_t value_count(const struct value *v) {
    return json_is_array(of(v)) ? json_array_size(of(v)) : json_object_size(of(v));
}

const struct value *value_at(const struct value *list, size_t i) {
    return as(json_array_get(of(list), i));
}

const struct value *value_get(const struct value *object, const char *key) {
    return as(json_object_get(of(object), key));
}

bool value_equal(const struct value *a, const struct value *b) {
    return json_equal(of(a), of(b)) == 1;
}

static int dump_part(const char *bytes, size_t size, void *out) {
    return buf_add(out, bytes, size) ? 0 : -1;
}

bool value_dump(const struct value *v, struct buf *out) {
    return json_dump_callback(of(v), dump_part, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0;
}

bool value_dump_text(const char *text, struct buf *out) {
    json_t *string = json_string(text);
    bool fine = string != NULL && value_dump(as(string), out);
    json_decref(string);
    return fine;
}

void *value_first(const struct value *object) {
    return json_object_iter(of(object));
}

void *value_next(const struct value *object, void *it) {
    return json_object_iter_next(of(object), it);
}

const char *value_key(void *it) {
    return json_object_iter_key(it);
}

const struct value *value_of(void *it) {
    return as(json_object_iter_value(it));
}

static struct value *keep(struct document *doc, json_t *made) {
    return made != NULL && json_array_append_new(doc->made, made) == 0 ? as(made) : NULL;
}

struct value *value_make_object(struct document *doc, const struct value *copy) {
    return keep(doc, copy != NULL ? json_copy(of(copy)) : json_object());
}

struct value *value_make_list(struct document *doc) {
    return keep(doc, json_array());
}

const struct value *value_make_bool(struct document *doc, bool truth) {
    return keep(doc, truth ? json_true() : json_false());
}

bool value_set(struct value *object, const char *key, const struct value *v) {
    return json_object_set(of(object), key, of(v)) == 0;
}

bool value_append(struct value *list, const struct value *v) {
    return json_array_append(of(list), of(v)) == 0;
}
