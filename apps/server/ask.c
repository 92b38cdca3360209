/* ask.c - JSON to structs. Every field is looked at by one of a few readers that know type and range
 * and name the field in their error. Fields that are not known are ignored: clients send many. */
#include "server/ask.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "server/jsonin.h"

bool ask_fail(struct ask_error *e, int status, const char *param, const char *format, ...) {
    va_list args;
    *e = (struct ask_error){.status = status,
                            .type = status == 401   ? "authentication_error"
                                    : status == 404 ? "not_found_error"
                                    : status == 429 ? "rate_limit_error"
                                    : status == 501 ? "not_supported_error"
                                    : status >= 500 ? "server_error"
                                                    : "invalid_request_error",
                            .retry_after = status == 429 || status == 503};
    (void)snprintf(e->param, sizeof e->param, "%s", param != NULL ? param : "");
    va_start(args, format);
    (void)vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
    return false;
}

static bool no_memory(struct ask_error *e) {
    return ask_fail(e, 503, NULL, "there is not enough memory for this request");
}

static bool wrong(struct ask_error *e, const char *key, const char *wanted,
                  const struct jsonin *value) {
    return ask_fail(e, 400, key, "'%s' must be %s; it is %s", key, wanted,
                    jsonin_type_name(jsonin_type(value)));
}

/* ---- readers of one field: true also where it is not there ---- */

static bool read_bool(const struct jsonin *o, const char *key, bool *out, struct ask_error *e) {
    const struct jsonin *value = jsonin_get(o, key);
    if (jsonin_type(value) == JSONIN_NULL) {
        return true;
    }
    if (jsonin_type(value) != JSONIN_BOOL) {
        return wrong(e, key, "true or false", value);
    }
    *out = jsonin_bool(value);
    return true;
}

static bool read_int(const struct jsonin *o, const char *key, int64_t least, int64_t most,
                     int64_t *out, struct ask_error *e) {
    const struct jsonin *value = jsonin_get(o, key);
    if (jsonin_type(value) == JSONIN_NULL) {
        return true;
    }
    double real = jsonin_number(value);
    bool whole = jsonin_type(value) == JSONIN_INT ||
                 (jsonin_type(value) == JSONIN_REAL && floor(real) >= real);
    if (!whole) {
        return wrong(e, key, "a whole number", value);
    }
    if (!(real >= (double)least && real <= (double)most)) {
        return ask_fail(e, 400, key, "'%s' is %.17g: give %lld to %lld", key, real,
                        (long long)least, (long long)most);
    }
    *out = jsonin_type(value) == JSONIN_INT ? jsonin_int(value) : (int64_t)real;
    return true;
}

static bool read_double(const struct jsonin *o, const char *key, double least, double most,
                        double *out, struct ask_error *e) {
    const struct jsonin *value = jsonin_get(o, key);
    enum jsonin_type type = jsonin_type(value);
    if (type == JSONIN_NULL) {
        return true;
    }
    if (type != JSONIN_INT && type != JSONIN_REAL) {
        return wrong(e, key, "a number", value);
    }
    double number = jsonin_number(value);
    if (!(number >= least && number <= most)) {
        return ask_fail(e, 400, key, "'%s' is %g: give %g to %g", key, number, least, most);
    }
    *out = number;
    return true;
}

/* A copy; plain: a NUL would cut what goes on as a C string. */
static bool copy_text(const struct jsonin *value, const char *key, size_t most, bool plain,
                      char **out, size_t *out_size, struct ask_error *e) {
    size_t size = 0;
    if (jsonin_type(value) != JSONIN_TEXT) {
        return wrong(e, key, "a string", value);
    }
    const char *text = jsonin_text(value, &size);
    if (size > most) {
        return ask_fail(e, 400, key, "'%s' has %zu bytes: at most %zu", key, size, most);
    }
    if (plain && memchr(text, '\0', size) != NULL) {
        return ask_fail(e, 400, key, "'%s' has a NUL character in it", key);
    }
    *out = alloc_text(text, size);
    if (out_size != NULL) {
        *out_size = size;
    }
    return *out != NULL || no_memory(e);
}

static bool read_ids(const struct jsonin *array, const char *key, int32_t **out, size_t *out_n,
                     struct ask_error *e) {
    size_t n = jsonin_size(array);
    if (n > ASK_TOKENS) {
        return ask_fail(e, 400, key, "'%s' has %zu tokens: at most %d", key, n, ASK_TOKENS);
    }
    *out = alloc_array(n, sizeof **out);
    if (*out == NULL) {
        return no_memory(e);
    }
    for (size_t i = 0; i < n; i++) {
        const struct jsonin *value = jsonin_at(array, i);
        if (jsonin_type(value) != JSONIN_INT) {
            return ask_fail(e, 400, key, "'%s': entry %zu is %s; token ids are whole numbers", key,
                            i, jsonin_type_name(jsonin_type(value)));
        }
        int64_t id = jsonin_int(value);
        if (id < 0 || id > INT32_MAX) {
            return ask_fail(e, 400, key, "'%s': entry %zu is %lld, which is no token id", key, i,
                            (long long)id);
        }
        (*out)[i] = (int32_t)id;
        *out_n = i + 1;
    }
    return true;
}

/* ---- prompt: a string, strings, ids, lists of ids ---- */

static bool read_one_prompt(const struct jsonin *value, struct ask_prompt *out,
                            struct ask_error *e) {
    if (jsonin_type(value) == JSONIN_TEXT) {
        return copy_text(value, "prompt", ASK_BODY, false, &out->text, &out->size, e);
    }
    if (jsonin_type(value) == JSONIN_ARRAY) {
        return read_ids(value, "prompt", &out->ids, &out->n_ids, e);
    }
    return wrong(e, "prompt", "a string, strings, token ids, or lists of token ids", value);
}

static bool read_prompts(struct ask *ask, const struct jsonin *o, struct ask_error *e) {
    const struct jsonin *value = jsonin_get(o, "prompt");
    if (value == NULL) {
        return ask_fail(e, 400, "prompt", "'prompt' is missing");
    }
    enum jsonin_type first = jsonin_type(value) == JSONIN_ARRAY && jsonin_size(value) > 0
                                 ? jsonin_type(jsonin_at(value, 0))
                                 : JSONIN_NULL;
    bool several = first == JSONIN_TEXT || first == JSONIN_ARRAY;
    size_t n = several ? jsonin_size(value) : 1;
    if (n > ASK_PROMPTS) {
        return ask_fail(e, 400, "prompt", "%zu prompts in one request: at most %d", n, ASK_PROMPTS);
    }
    ask->prompts = alloc_zero(n, sizeof *ask->prompts);
    if (ask->prompts == NULL) {
        return no_memory(e);
    }
    ask->n_prompts = n;
    for (size_t i = 0; i < n; i++) {
        struct ask_prompt *prompt = &ask->prompts[i];
        if (!read_one_prompt(several ? jsonin_at(value, i) : value, prompt, e)) {
            return false;
        }
        if (prompt->size == 0 && prompt->n_ids == 0) {
            return ask_fail(e, 400, "prompt",
                            "prompt %zu is empty: the weights come from what it says, give some "
                            "text",
                            i);
        }
    }
    return true;
}

/* ---- messages ---- */

static bool read_parts(const struct jsonin *parts, const char *key, char **out,
                       struct ask_error *e) {
    size_t size = 0, at = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < jsonin_size(parts); i++) {
            const struct jsonin *part = jsonin_at(parts, i);
            const struct jsonin *kind = jsonin_get(part, "type");
            const struct jsonin *text = jsonin_get(part, "text");
            size_t n = 0;
            const char *name = jsonin_type(kind) == JSONIN_TEXT ? jsonin_text(kind, &n) : "";
            if (name[0] != '\0' && strcmp(name, "text") != 0) {
                return ask_fail(e, 400, key,
                                "a part of '%s' has the type '%.40s': only text parts are "
                                "supported",
                                key, name);
            }
            if (name[0] == '\0' || jsonin_type(text) != JSONIN_TEXT) {
                return ask_fail(e, 400, key,
                                "part %zu of '%s' must be {\"type\": \"text\", \"text\": \"…\"}", i,
                                key);
            }
            const char *bytes = jsonin_text(text, &n);
            if (pass == 1) {
                memcpy(*out + at, bytes, n);
                at += n;
            }
            size += n;
        }
        if (pass == 0) {
            *out = alloc_zero(size + 1, 1);
            if (*out == NULL) {
                return no_memory(e);
            }
        }
    }
    return strlen(*out) == at || ask_fail(e, 400, key, "'%s' has a NUL character in it", key);
}

static bool read_message(const struct jsonin *value, size_t i, struct packllm_message *out,
                         struct ask_error *e) {
    char *role = NULL, *content = NULL, key[64];
    const struct jsonin *given = jsonin_get(value, "content");
    (void)snprintf(key, sizeof key, "messages[%zu]", i);
    if (jsonin_type(value) != JSONIN_OBJECT) {
        return wrong(e, key, "an object with a role and content", value);
    }
    (void)snprintf(key, sizeof key, "messages[%zu].role", i);
    bool fine = copy_text(jsonin_get(value, "role"), key, 64, true, &role, NULL, e);
    out->role = role;
    if (fine && strcmp(role, "developer") == 0) {
        (void)strcpy(role, "system"); /* the newer name of the same */
    }
    if (fine && strcmp(role, "system") != 0 && strcmp(role, "user") != 0 &&
        strcmp(role, "assistant") != 0) {
        return ask_fail(e, 400, key,
                        "'%.40s' is no role: system, developer, user and assistant are known",
                        role);
    }
    (void)snprintf(key, sizeof key, "messages[%zu].content", i);
    if (fine && jsonin_type(given) == JSONIN_ARRAY) {
        fine = read_parts(given, key, &content, e);
    } else if (fine && jsonin_type(given) != JSONIN_TEXT) {
        fine = wrong(e, key, "a string or text parts", given);
    } else if (fine) {
        fine = copy_text(given, key, ASK_BODY, true, &content, NULL, e);
    }
    out->content = content;
    return fine;
}

static bool read_messages(struct ask *ask, const struct jsonin *o, struct ask_error *e) {
    const struct jsonin *value = jsonin_get(o, "messages");
    if (jsonin_type(value) != JSONIN_ARRAY) {
        return wrong(e, "messages", "an array of messages", value);
    }
    size_t n = jsonin_size(value);
    if (n == 0 || n > ASK_MESSAGES) {
        return ask_fail(e, 400, "messages", "%zu messages: give 1 to %d", n, ASK_MESSAGES);
    }
    ask->messages = alloc_zero(n, sizeof *ask->messages);
    if (ask->messages == NULL) {
        return no_memory(e);
    }
    ask->n_messages = n;
    for (size_t i = 0; i < n; i++) {
        if (!read_message(jsonin_at(value, i), i, &ask->messages[i], e)) {
            return false;
        }
    }
    return strcmp(ask->messages[n - 1].role, "user") == 0 ||
           ask_fail(e, 400, "messages", "the last message must be the user's");
}

/* ---- the rest ---- */

static bool read_stop(struct ask *ask, const struct jsonin *o, struct ask_error *e) {
    const struct jsonin *value = jsonin_get(o, "stop");
    enum jsonin_type type = jsonin_type(value);
    if (type == JSONIN_NULL) {
        return true;
    }
    if (type != JSONIN_TEXT && type != JSONIN_ARRAY) {
        return wrong(e, "stop", "a string or strings", value);
    }
    size_t n = type == JSONIN_TEXT ? 1 : jsonin_size(value);
    if (n > ASK_STOPS) {
        return ask_fail(e, 400, "stop", "%zu strings in 'stop': at most %d", n, ASK_STOPS);
    }
    ask->stop = alloc_zero(n, sizeof *ask->stop);
    if (ask->stop == NULL) {
        return no_memory(e);
    }
    ask->n_stop = n;
    for (size_t i = 0; i < n; i++) {
        size_t size = 0;
        if (!copy_text(type == JSONIN_TEXT ? value : jsonin_at(value, i), "stop", ASK_STOP_BYTES,
                       true, &ask->stop[i], &size, e)) {
            return false;
        }
        if (size == 0) {
            return ask_fail(e, 400, "stop", "a string in 'stop' is empty");
        }
    }
    return true;
}

static bool read_bias(struct ask *ask, const struct jsonin *o, struct ask_error *e) {
    const struct jsonin *value = jsonin_get(o, "logit_bias"), *entry;
    void *state = NULL;
    const char *key;
    if (jsonin_type(value) == JSONIN_NULL) {
        return true;
    }
    if (jsonin_type(value) != JSONIN_OBJECT) {
        return wrong(e, "logit_bias", "an object of token ids and numbers", value);
    }
    size_t n = jsonin_size(value);
    if (n > ASK_BIASES) {
        return ask_fail(e, 400, "logit_bias", "%zu biases: at most %d", n, ASK_BIASES);
    }
    ask->bias = alloc_zero(n, sizeof *ask->bias);
    if (ask->bias == NULL) {
        return no_memory(e);
    }
    /* The iteration does not change the object; its signature is the library's. */
    while (jsonin_next((struct jsonin *)(uintptr_t)value, &state, &key, &entry)) {
        double bias = 0;
        int64_t id = 0;
        for (const char *p = key; *p != '\0'; p++) {
            id = *p >= '0' && *p <= '9' && id <= INT32_MAX ? id * 10 + (*p - '0') : INT64_MAX / 16;
        }
        if (key[0] == '\0' || id > INT32_MAX) {
            return ask_fail(e, 400, "logit_bias", "'%.40s' is no token id", key);
        }
        if (!read_double(value, key, -100, 100, &bias, e)) {
            (void)snprintf(e->param, sizeof e->param, "logit_bias");
            return false;
        }
        /* By convention -100 bans a token. */
        ask->bias[ask->n_bias++] = (struct packllm_bias){
            .token = (int32_t)id, .bias = bias <= -100 ? -(double)INFINITY : bias};
    }
    return true;
}

static bool read_sampling(struct ask *ask, const struct jsonin *o, struct ask_error *e) {
    struct packllm_sampling *s = &ask->sampling;
    int64_t top_k = s->top_k, last_n = s->repeat_last_n, seed = -1;
    bool fine = read_double(o, "temperature", 0, 100, &s->temp, e) &&
                read_double(o, "top_p", 0, 1, &s->top_p, e) &&
                read_double(o, "min_p", 0, 1, &s->min_p, e) &&
                read_int(o, "top_k", -1, INT32_MAX, &top_k, e) &&
                read_double(o, "repeat_penalty", 0.01, 100, &s->repeat_penalty, e) &&
                read_int(o, "repeat_last_n", -1, INT32_MAX, &last_n, e) &&
                read_double(o, "presence_penalty", -100, 100, &s->presence_penalty, e) &&
                read_double(o, "frequency_penalty", -100, 100, &s->frequency_penalty, e) &&
                read_bool(o, "ignore_eos", &s->ignore_eos, e) &&
                read_int(o, "seed", INT64_MIN / 2, INT64_MAX / 2, &seed, e);
    if (!fine) {
        return false;
    }
    s->top_k = (int32_t)top_k;
    s->repeat_last_n = (int32_t)last_n;
    ask->seeded = jsonin_type(jsonin_get(o, "seed")) != JSONIN_NULL && seed != -1;
    s->seed = (uint64_t)seed;
    return true;
}

static bool read_logprobs(struct ask *ask, const struct jsonin *o, struct ask_error *e) {
    int64_t top = 0;
    const struct jsonin *value = jsonin_get(o, "logprobs");
    if (ask->kind == ASK_CHAT) {
        if (!read_bool(o, "logprobs", &ask->logprobs, e) ||
            !read_int(o, "top_logprobs", 0, ASK_LOGPROBS, &top, e)) {
            return false;
        }
    } else if (jsonin_type(value) == JSONIN_BOOL) {
        ask->logprobs = jsonin_bool(value);
    } else {
        ask->logprobs = jsonin_type(value) != JSONIN_NULL;
        if (!read_int(o, "logprobs", 0, ASK_LOGPROBS, &top, e)) {
            return false;
        }
    }
    ask->n_top = (unsigned)top;
    return true;
}

static bool read_format(struct ask *ask, const struct jsonin *o, struct ask_error *e) {
    const struct jsonin *value = jsonin_get(o, "response_format");
    const struct jsonin *grammar = jsonin_get(o, "grammar");
    if (jsonin_type(grammar) != JSONIN_NULL &&
        !copy_text(grammar, "grammar", ASK_GRAMMAR, true, &ask->grammar, NULL, e)) {
        return false;
    }
    if (jsonin_type(value) == JSONIN_NULL) {
        return true;
    }
    size_t n = 0;
    const struct jsonin *kind = jsonin_get(value, "type");
    const char *name = jsonin_type(kind) == JSONIN_TEXT ? jsonin_text(kind, &n) : "";
    if (jsonin_type(value) != JSONIN_OBJECT || jsonin_type(kind) != JSONIN_TEXT) {
        return wrong(e, "response_format", "an object with a type",
                     jsonin_type(value) == JSONIN_OBJECT ? kind : value);
    }
    if (strcmp(name, "text") == 0) {
        return true;
    }
    if (strcmp(name, "json_object") == 0) {
        ask->json_schema = alloc_text("{\"type\":\"object\"}", 17);
    } else if (strcmp(name, "json_schema") == 0) {
        const struct jsonin *schema = jsonin_get(value, "json_schema");
        const struct jsonin *inner = jsonin_get(schema, "schema");
        schema = inner != NULL ? inner : schema;
        if (jsonin_type(schema) != JSONIN_OBJECT) {
            return wrong(e, "response_format", "an object with a schema in 'json_schema'", schema);
        }
        ask->json_schema = jsonin_dump(schema);
    } else {
        return ask_fail(e, 400, "response_format",
                        "'response_format' has the type '%.40s': text, json_object and json_schema "
                        "are known",
                        name);
    }
    if (ask->json_schema == NULL) {
        return no_memory(e);
    }
    if (strlen(ask->json_schema) > ASK_GRAMMAR) {
        return ask_fail(e, 400, "response_format", "the schema has more than %d bytes",
                        ASK_GRAMMAR);
    }
    return ask->grammar == NULL ||
           ask_fail(e, 400, "grammar", "'grammar' and 'response_format' exclude each other");
}

static bool read_weights(struct ask *ask, const struct jsonin *value, struct ask_error *e) {
    enum jsonin_type type = jsonin_type(value);
    const struct jsonin *entry;
    const char *key = NULL;
    void *state = NULL;
    if (type == JSONIN_NULL) {
        return true;
    }
    if (type != JSONIN_ARRAY && type != JSONIN_OBJECT) {
        return wrong(e, "weights", "an array of numbers or an object of names and numbers", value);
    }
    size_t n = jsonin_size(value);
    ask->weights = n <= ASK_MEMBERS ? alloc_zero(n, sizeof *ask->weights) : NULL;
    if (ask->weights == NULL) {
        return ask_fail(e, 400, "packllm.weights", "%zu weights are too many", n);
    }
    for (size_t i = 0; i < n; i++) {
        if (type == JSONIN_ARRAY) {
            entry = jsonin_at(value, i);
        } else {
            (void)jsonin_next((struct jsonin *)(uintptr_t)value, &state, &key, &entry);
        }
        enum jsonin_type kind = jsonin_type(entry);
        double number = jsonin_number(entry);
        if ((kind != JSONIN_INT && kind != JSONIN_REAL) || !(number >= 0 && number <= 1e9)) {
            return ask_fail(e, 400, "packllm.weights", "a weight is a number from 0 to 1");
        }
        ask->weights[i].value = number;
        ask->n_weights = i + 1;
        if (key != NULL) {
            ask->weights[i].name = alloc_text(key, strlen(key));
            if (ask->weights[i].name == NULL) {
                return no_memory(e);
            }
        }
    }
    return true;
}

static bool read_packllm(struct ask *ask, const struct jsonin *o, struct ask_error *e) {
    const struct jsonin *value = jsonin_get(o, "packllm");
    if (jsonin_type(value) == JSONIN_NULL) {
        return true;
    }
    if (jsonin_type(value) != JSONIN_OBJECT) {
        return wrong(e, "packllm", "an object", value);
    }
    const struct jsonin *members = jsonin_get(value, "members");
    if (!read_weights(ask, jsonin_get(value, "weights"), e) ||
        !read_int(value, "context_tokens", 0, ASK_TOKENS, &ask->context_tokens, e) ||
        !read_bool(value, "why", &ask->why, e)) {
        return false;
    }
    if (jsonin_type(members) == JSONIN_NULL) {
        return true;
    }
    size_t n = jsonin_size(members);
    if (jsonin_type(members) != JSONIN_ARRAY || n == 0 || n > ASK_MEMBERS) {
        return wrong(e, "packllm.members", "an array of members' names", members);
    }
    ask->members = alloc_zero(n, sizeof *ask->members);
    if (ask->members == NULL) {
        return no_memory(e);
    }
    ask->n_members = n;
    for (size_t i = 0; i < n; i++) {
        if (!copy_text(jsonin_at(members, i), "packllm.members", 1024, true, &ask->members[i], NULL,
                       e)) {
            return false;
        }
    }
    return true;
}

/* Calls of tools are nothing that members of several templates could agree on. */
static bool no_tools(const struct jsonin *o, struct ask_error *e) {
    static const char *const keys[] = {"tools", "functions"};
    size_t n = 0;
    const struct jsonin *choice = jsonin_get(o, "tool_choice");
    if (jsonin_type(choice) == JSONIN_TEXT && strcmp(jsonin_text(choice, &n), "none") == 0) {
        return true;
    }
    for (size_t i = 0; i < 2; i++) {
        const struct jsonin *value = jsonin_get(o, keys[i]);
        if (jsonin_type(value) == JSONIN_ARRAY && jsonin_size(value) > 0) {
            return ask_fail(e, 501, keys[i],
                            "'%s' is not supported: replies are text, or JSON by response_format",
                            keys[i]);
        }
    }
    return true;
}

static bool read_all(struct ask *ask, const struct jsonin *o, struct ask_error *e) {
    const struct jsonin *model = jsonin_get(o, "model"), *options;
    int64_t n = 1;
    if (jsonin_type(o) != JSONIN_OBJECT) {
        return ask_fail(e, 400, NULL, "the body must be a JSON object; it is %s",
                        jsonin_type_name(jsonin_type(o)));
    }
    if (jsonin_type(model) != JSONIN_NULL &&
        !copy_text(model, "model", 1024, true, &ask->model, NULL, e)) {
        return false;
    }
    if (!no_tools(o, e)) {
        return false;
    }
    bool fine = ask->kind == ASK_CHAT ? read_messages(ask, o, e) : true;
    if (ask->kind == ASK_COMPLETION ||
        (ask->kind == ASK_WEIGHTS && jsonin_get(o, "prompt") != NULL)) {
        fine = read_prompts(ask, o, e);
    }
    if (!fine || !read_packllm(ask, o, e)) {
        return false;
    }
    if (ask->kind == ASK_WEIGHTS) {
        return ask->n_prompts == 1 || (ask->n_prompts == 0 && ask->n_weights > 0) ||
               (ask->n_prompts == 0
                    ? ask_fail(e, 400, "prompt", "'prompt' is missing: one text to weigh")
                    : ask_fail(e, 400, "prompt", "'prompt' has %zu texts: give one to weigh",
                               ask->n_prompts));
    }
    if (jsonin_type(jsonin_get(o, "suffix")) == JSONIN_TEXT) {
        return ask_fail(e, 501, "suffix", "text before a suffix is not supported");
    }
    ask->max_tokens = ask->kind == ASK_CHAT ? -1 : 16;
    fine = read_int(o, "max_tokens", 0, ASK_TOKENS, &ask->max_tokens, e) &&
           read_int(o, "max_completion_tokens", 0, ASK_TOKENS, &ask->max_tokens, e) &&
           read_int(o, "n", 1, ASK_N, &n, e) && read_bool(o, "stream", &ask->stream, e) &&
           read_sampling(ask, o, e) && read_stop(ask, o, e) && read_bias(ask, o, e) &&
           read_logprobs(ask, o, e) && read_format(ask, o, e);
    if (fine && ask->kind == ASK_COMPLETION) {
        fine = read_bool(o, "echo", &ask->echo, e);
    }
    options = jsonin_get(o, "stream_options");
    if (fine && jsonin_type(options) == JSONIN_OBJECT) {
        fine = read_bool(options, "include_usage", &ask->include_usage, e);
    }
    ask->n = (unsigned)n;
    return fine;
}

bool ask_read(struct ask *ask, enum ask_kind kind, const char *body, size_t size,
              struct ask_error *e) {
    char why[256];
    *ask = (struct ask){.kind = kind,
                        .context_tokens = -1,
                        .n = 1,
                        .sampling = packllm_session_params_default().sampling};
    struct jsonin *o = jsonin_parse(body, size, ASK_DEPTH, why, sizeof why);
    if (o == NULL) {
        return ask_fail(e, 400, NULL, "the body is not JSON: %s", why);
    }
    bool fine = read_all(ask, o, e);
    jsonin_free(o);
    return fine;
}

void ask_done(struct ask *ask) {
    for (size_t i = 0; i < ask->n_prompts; i++) {
        base_free(ask->prompts[i].text);
        base_free(ask->prompts[i].ids);
    }
    for (size_t i = 0; i < ask->n_messages; i++) {
        base_free((void *)(uintptr_t)ask->messages[i].role);
        base_free((void *)(uintptr_t)ask->messages[i].content);
    }
    for (size_t i = 0; i < ask->n_stop; i++) {
        base_free(ask->stop[i]);
    }
    for (size_t i = 0; i < ask->n_weights; i++) {
        base_free(ask->weights[i].name);
    }
    for (size_t i = 0; i < ask->n_members; i++) {
        base_free(ask->members[i]);
    }
    base_free(ask->model);
    base_free(ask->prompts);
    base_free(ask->messages);
    base_free(ask->stop);
    base_free(ask->bias);
    base_free(ask->json_schema);
    base_free(ask->grammar);
    base_free(ask->weights);
    base_free(ask->members);
    *ask = (struct ask){0};
}

bool ask_text_read(struct ask_text *ask, bool tokens, const char *body, size_t size,
                   struct ask_error *e) {
    char why[256];
    bool fine;
    *ask = (struct ask_text){.special = false};
    struct jsonin *o = jsonin_parse(body, size, ASK_DEPTH, why, sizeof why);
    if (o == NULL) {
        return ask_fail(e, 400, NULL, "the body is not JSON: %s", why);
    }
    if (jsonin_type(o) != JSONIN_OBJECT) {
        (void)ask_fail(e, 400, NULL, "the body must be a JSON object; it is %s",
                       jsonin_type_name(jsonin_type(o)));
        jsonin_free(o);
        return false;
    }
    if (tokens) {
        const struct jsonin *value = jsonin_get(o, "tokens");
        fine = jsonin_type(value) == JSONIN_ARRAY
                   ? read_ids(value, "tokens", &ask->ids, &ask->n_ids, e)
                   : wrong(e, "tokens", "an array of token ids", value);
    } else {
        const struct jsonin *value = jsonin_get(o, "prompt");
        value = value != NULL ? value : jsonin_get(o, "content");
        fine = copy_text(value, "prompt", ASK_BODY, false, &ask->text, &ask->size, e) &&
               read_bool(o, "add_special_tokens", &ask->special, e) &&
               read_bool(o, "add_special", &ask->special, e);
    }
    jsonin_free(o);
    return fine;
}

void ask_text_done(struct ask_text *ask) {
    base_free(ask->text);
    base_free(ask->ids);
    *ask = (struct ask_text){0};
}
