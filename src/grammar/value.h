/* value.h - JSON values as the schema compiler sees them; value.c is the only file of the library that
 * includes jansson. */
#ifndef GRAMMAR_VALUE_H
#define GRAMMAR_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "packllm/packllm.h"

struct value;    /* a JSON value; owned by its document */
struct document; /* the text read, and what was made from it */

enum value_kind {
    VALUE_NULL,
    VALUE_BOOL,
    VALUE_INTEGER,
    VALUE_REAL,
    VALUE_TEXT,
    VALUE_LIST,
    VALUE_OBJECT
};

/* E_ARG with line and column: it is not JSON, or an object has a key twice. */
enum packllm_status document_open(struct document **out, const char *text, size_t size,
                                  struct packllm_error *err);
void document_close(struct document *doc); /* NULL allowed */
const struct value *document_root(const struct document *doc);

enum value_kind value_kind(const struct value *v);
bool value_is_true(const struct value *v);  /* the value true itself */
bool value_is_false(const struct value *v); /* the value false itself */
double value_number(const struct value *v);
const char *value_text(const struct value *v, size_t *out_size);
size_t value_count(const struct value *v);                              /* of a list or an object */
const struct value *value_at(const struct value *list, size_t i);       /* i < count */
const struct value *value_get(const struct value *object, const char *key); /* NULL: none */
bool value_equal(const struct value *a, const struct value *b);
bool value_dump(const struct value *v, struct buf *out); /* as JSON without spaces */

bool value_dump_text(const char *text, struct buf *out);         /* the text as a JSON string */

/* In the order of the text: for (it = value_first(o); it != NULL; it = value_next(o, it)). */
void *value_first(const struct value *object);
void *value_next(const struct value *object, void *it);
const char *value_key(void *it);
const struct value *value_of(void *it);

/* New values, owned by the document; NULL: no memory. What is set or appended is shared. */
struct value *value_make_object(struct document *doc, const struct value *copy); /* NULL: empty */
struct value *value_make_list(struct document *doc);
const struct value *value_make_bool(struct document *doc, bool truth);
bool value_set(struct value *object, const char *key, const struct value *v);
bool value_append(struct value *list, const struct value *v);

#endif
