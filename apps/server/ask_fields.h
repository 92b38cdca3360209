/* ask_fields.h - readers of a body's fields, for the files that read bodies. True also where the field is not
 * there; false: *e names it. */
#ifndef SERVER_ASK_FIELDS_H
#define SERVER_ASK_FIELDS_H

#include "common/json_read.h"
#include "server/ask.h"

/* False, so that `return ask_…` reads. */
bool ask_no_memory(struct ask_error *e);
bool ask_not_json(struct ask_error *e, const struct json_wrong *why);
bool ask_wrong(struct ask_error *e, const char *key, const char *wanted,
               const struct json_value *value);

bool ask_bool(const struct json_value *o, const char *key, bool *out, struct ask_error *e);
bool ask_int(const struct json_value *o, const char *key, int64_t least, int64_t most, int64_t *out,
             struct ask_error *e);
bool ask_double(const struct json_value *o, const char *key, double least, double most, double *out,
                struct ask_error *e);
/* A copy; plain: a NUL would cut what goes on as a C string. */
bool ask_copy(const struct json_value *value, const char *key, size_t most, bool plain, char **out,
              size_t *out_size, struct ask_error *e);
bool ask_ids(const struct json_value *array, const char *key, int32_t **out, size_t *out_n,
             struct ask_error *e);

/* ask_texts.c */
bool ask_prompts(struct ask *ask, const struct json_value *o, struct ask_error *e);
bool ask_messages(struct ask *ask, const struct json_value *o, struct ask_error *e);
void ask_free_text(const char *text); /* of a message: the library's struct, but the text is ours */

/* ask_tools.c. Behind ask_messages and all else that bounds the reply: */
bool ask_tools(struct ask *ask, const struct json_value *o, struct ask_error *e);
/* *content, the text of message i, with the assistant's calls behind it. */
bool ask_calls(const struct json_value *calls, size_t i, char **content, struct ask_error *e);
/* *content, the text of message i, as what one of the assistant's calls before it returned. */
bool ask_result(const struct json_value *message, const struct json_value *calls, size_t i,
                char **content, struct ask_error *e);

#endif
