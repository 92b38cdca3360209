/* ask.c - JSON to structs. Every field is looked at by one of a few readers that know type and range
 * and name the field in their error. Fields that are not known are ignored: clients send many. */
#include "server/ask.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "server/ask_fields.h"

static bool read_stop(struct ask *ask, const struct json_value *o, struct ask_error *e) {
    const struct json_value *value = json_get_field(o, "stop");
    enum json_kind type = json_kind(value);
    if (type == JSON_KIND_NULL) {
        return true;
    }
    if (type != JSON_KIND_TEXT && type != JSON_KIND_ARRAY) {
        return ask_wrong(e, "stop", "a string or strings", value);
    }
    size_t n = type == JSON_KIND_TEXT ? 1 : json_get_size(value);
    if (n > ASK_STOPS) {
        return ask_fail(e, 400, "stop", "%zu strings in 'stop': at most %d", n, ASK_STOPS);
    }
    ask->stop = alloc_zero(n, sizeof *ask->stop);
    if (ask->stop == NULL) {
        return ask_no_memory(e);
    }
    ask->n_stop = n;
    for (size_t i = 0; i < n; i++) {
        size_t size = 0;
        if (!ask_copy(type == JSON_KIND_TEXT ? value : json_get_at(value, i), "stop",
                      ASK_STOP_BYTES, true, &ask->stop[i], &size, e)) {
            return false;
        }
        if (size == 0) {
            return ask_fail(e, 400, "stop", "a string in 'stop' is empty");
        }
    }
    return true;
}

static bool read_bias(struct ask *ask, const struct json_value *o, struct ask_error *e) {
    const struct json_value *value = json_get_field(o, "logit_bias"), *entry;
    void *state = NULL;
    const char *key;
    if (json_kind(value) == JSON_KIND_NULL) {
        return true;
    }
    if (json_kind(value) != JSON_KIND_OBJECT) {
        return ask_wrong(e, "logit_bias", "an object of token ids and numbers", value);
    }
    size_t n = json_get_entries(value);
    if (n > ASK_BIASES) {
        return ask_fail(e, 400, "logit_bias", "%zu biases: at most %d", n, ASK_BIASES);
    }
    ask->bias = alloc_zero(n, sizeof *ask->bias);
    if (ask->bias == NULL) {
        return ask_no_memory(e);
    }
    while (json_next(value, &state, &key, &entry)) {
        double bias = 0;
        int64_t id = 0;
        for (const char *p = key; *p != '\0'; p++) {
            id = *p >= '0' && *p <= '9' && id <= INT32_MAX ? id * 10 + (*p - '0') : INT64_MAX / 16;
        }
        if (key[0] == '\0' || id > INT32_MAX) {
            return ask_fail(e, 400, "logit_bias", "'%.40s' is no token id", key);
        }
        if (!ask_double(value, key, -100, 100, &bias, e)) {
            (void)snprintf(e->param, sizeof e->param, "logit_bias");
            return false;
        }
        /* By convention -100 bans a token. */
        ask->bias[ask->n_bias++] = (struct packllm_bias){
            .token = (int32_t)id, .bias = bias <= -100 ? -(double)INFINITY : bias};
    }
    return true;
}

static bool read_sampling(struct ask *ask, const struct json_value *o, struct ask_error *e) {
    struct packllm_sampling *s = &ask->sampling;
    int64_t top_k = s->top_k, last_n = s->repeat_last_n, seed = -1;
    bool fine = ask_double(o, "temperature", 0, 100, &s->temp, e) &&
                ask_double(o, "top_p", 0, 1, &s->top_p, e) &&
                ask_double(o, "min_p", 0, 1, &s->min_p, e) &&
                ask_int(o, "top_k", -1, INT32_MAX, &top_k, e) &&
                ask_double(o, "repeat_penalty", 0.01, 100, &s->repeat_penalty, e) &&
                ask_int(o, "repeat_last_n", -1, INT32_MAX, &last_n, e) &&
                ask_double(o, "presence_penalty", -100, 100, &s->presence_penalty, e) &&
                ask_double(o, "frequency_penalty", -100, 100, &s->frequency_penalty, e) &&
                ask_bool(o, "ignore_eos", &s->ignore_eos, e) &&
                ask_int(o, "seed", INT64_MIN / 2, INT64_MAX / 2, &seed, e);
    if (!fine) {
        return false;
    }
    s->top_k = (int32_t)top_k;
    s->repeat_last_n = (int32_t)last_n;
    ask->seeded = json_kind(json_get_field(o, "seed")) != JSON_KIND_NULL && seed != -1;
    s->seed = (uint64_t)seed;
    return true;
}

static bool read_logprobs(struct ask *ask, const struct json_value *o, struct ask_error *e) {
    int64_t top = 0;
    const struct json_value *value = json_get_field(o, "logprobs");
    if (ask->kind == ASK_CHAT) {
        if (!ask_bool(o, "logprobs", &ask->logprobs, e) ||
            !ask_int(o, "top_logprobs", 0, ASK_LOGPROBS, &top, e)) {
            return false;
        }
    } else if (json_kind(value) == JSON_KIND_BOOL) {
        ask->logprobs = json_get_true(value);
    } else {
        ask->logprobs = json_kind(value) != JSON_KIND_NULL;
        if (!ask_int(o, "logprobs", 0, ASK_LOGPROBS, &top, e)) {
            return false;
        }
    }
    ask->n_top = (unsigned)top;
    return true;
}

static bool read_format(struct ask *ask, const struct json_value *o, struct ask_error *e) {
    const struct json_value *value = json_get_field(o, "response_format");
    const struct json_value *grammar = json_get_field(o, "grammar");
    if (json_kind(grammar) != JSON_KIND_NULL &&
        !ask_copy(grammar, "grammar", ASK_GRAMMAR, true, &ask->grammar, NULL, e)) {
        return false;
    }
    if (json_kind(value) == JSON_KIND_NULL) {
        return true;
    }
    size_t n = 0;
    const struct json_value *kind = json_get_field(value, "type");
    const char *name = json_kind(kind) == JSON_KIND_TEXT ? json_get_bytes(kind, &n) : "";
    if (json_kind(value) != JSON_KIND_OBJECT || json_kind(kind) != JSON_KIND_TEXT) {
        return ask_wrong(e, "response_format", "an object with a type",
                         json_kind(value) == JSON_KIND_OBJECT ? kind : value);
    }
    if (strcmp(name, "text") == 0) {
        return true;
    }
    if (strcmp(name, "json_object") == 0) {
        ask->json_schema = alloc_text("{\"type\":\"object\"}", 17);
    } else if (strcmp(name, "json_schema") == 0) {
        const struct json_value *schema = json_get_field(value, "json_schema");
        const struct json_value *inner = json_get_field(schema, "schema");
        schema = inner != NULL ? inner : schema;
        if (json_kind(schema) != JSON_KIND_OBJECT) {
            return ask_wrong(e, "response_format", "an object with a schema in 'json_schema'",
                             schema);
        }
        ask->json_schema = json_line(schema);
    } else {
        return ask_fail(e, 400, "response_format",
                        "'response_format' has the type '%.40s': text, json_object and json_schema "
                        "are known",
                        name);
    }
    if (ask->json_schema == NULL) {
        return ask_no_memory(e);
    }
    if (strlen(ask->json_schema) > ASK_GRAMMAR) {
        return ask_fail(e, 400, "response_format", "the schema has more than %d bytes",
                        ASK_GRAMMAR);
    }
    return ask->grammar == NULL ||
           ask_fail(e, 400, "grammar", "'grammar' and 'response_format' exclude each other");
}

static bool read_weights(struct ask *ask, const struct json_value *value, struct ask_error *e) {
    enum json_kind type = json_kind(value);
    const struct json_value *entry;
    const char *key = NULL;
    void *state = NULL;
    if (type == JSON_KIND_NULL) {
        return true;
    }
    if (type != JSON_KIND_ARRAY && type != JSON_KIND_OBJECT) {
        return ask_wrong(e, "weights", "an array of numbers or an object of names and numbers",
                         value);
    }
    size_t n = type == JSON_KIND_ARRAY ? json_get_size(value) : json_get_entries(value);
    if (n == 0) {
        return ask_fail(e, 400, "packllm.weights", "'packllm.weights' is empty");
    }
    ask->weights = n <= ASK_MEMBERS ? alloc_zero(n, sizeof *ask->weights) : NULL;
    if (ask->weights == NULL) {
        return ask_fail(e, 400, "packllm.weights", "%zu weights are too many", n);
    }
    for (size_t i = 0; i < n; i++) {
        if (type == JSON_KIND_ARRAY) {
            entry = json_get_at(value, i);
        } else {
            (void)json_next(value, &state, &key, &entry);
        }
        double number = 0;
        if (!json_get_number(entry, &number) || !(number >= 0 && number <= 1e9)) {
            return ask_fail(e, 400, "packllm.weights",
                            "a weight is a number of 0 to 1e9; what counts is their ratio");
        }
        ask->weights[i].value = number;
        ask->n_weights = i + 1;
        if (key != NULL) {
            ask->weights[i].name = alloc_text(key, strlen(key));
            if (ask->weights[i].name == NULL) {
                return ask_no_memory(e);
            }
        }
    }
    return true;
}

static bool read_packllm(struct ask *ask, const struct json_value *o, struct ask_error *e) {
    const struct json_value *value = json_get_field(o, "packllm");
    if (json_kind(value) == JSON_KIND_NULL) {
        return true;
    }
    if (json_kind(value) != JSON_KIND_OBJECT) {
        return ask_wrong(e, "packllm", "an object", value);
    }
    const struct json_value *members = json_get_field(value, "members");
    if (!read_weights(ask, json_get_field(value, "weights"), e) ||
        !ask_int(value, "context_tokens", 0, ASK_TOKENS, &ask->context_tokens, e) ||
        !ask_bool(value, "why", &ask->why, e)) {
        return false;
    }
    if (json_kind(members) == JSON_KIND_NULL) {
        return true;
    }
    size_t n = json_get_size(members);
    if (json_kind(members) != JSON_KIND_ARRAY || n == 0 || n > ASK_MEMBERS) {
        return ask_wrong(e, "packllm.members", "an array of members' names", members);
    }
    ask->members = alloc_zero(n, sizeof *ask->members);
    if (ask->members == NULL) {
        return ask_no_memory(e);
    }
    ask->n_members = n;
    for (size_t i = 0; i < n; i++) {
        if (!ask_copy(json_get_at(members, i), "packllm.members", 1024, true, &ask->members[i],
                      NULL, e)) {
            return false;
        }
    }
    return true;
}

static bool read_all(struct ask *ask, const struct json_value *o, struct ask_error *e) {
    const struct json_value *model = json_get_field(o, "model"), *options;
    int64_t n = 1;
    if (json_kind(o) != JSON_KIND_OBJECT) {
        return ask_fail(e, 400, NULL, "the body must be a JSON object; it is %s",
                        json_kind_name(json_kind(o)));
    }
    if (json_kind(model) != JSON_KIND_NULL &&
        !ask_copy(model, "model", 1024, true, &ask->model, NULL, e)) {
        return false;
    }
    bool fine = ask->kind == ASK_CHAT ? ask_messages(ask, o, e) : true;
    if (ask->kind == ASK_COMPLETION ||
        (ask->kind == ASK_WEIGHTS && json_get_field(o, "prompt") != NULL)) {
        fine = ask_prompts(ask, o, e);
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
    if (json_kind(json_get_field(o, "suffix")) == JSON_KIND_TEXT) {
        return ask_fail(e, 501, "suffix", "text before a suffix is not supported");
    }
    ask->max_tokens = ask->kind == ASK_CHAT ? -1 : 16;
    fine = ask_int(o, "max_tokens", 0, ASK_TOKENS, &ask->max_tokens, e) &&
           ask_int(o, "max_completion_tokens", 0, ASK_TOKENS, &ask->max_tokens, e) &&
           ask_int(o, "n", 1, ASK_N, &n, e) && ask_bool(o, "stream", &ask->stream, e) &&
           read_sampling(ask, o, e) && read_stop(ask, o, e) && read_bias(ask, o, e) &&
           read_logprobs(ask, o, e) && read_format(ask, o, e) && ask_tools(ask, o, e);
    if (fine && ask->kind == ASK_COMPLETION) {
        fine = ask_bool(o, "echo", &ask->echo, e);
    }
    options = json_get_field(o, "stream_options");
    if (fine && json_kind(options) == JSON_KIND_OBJECT) {
        fine = ask_bool(options, "include_usage", &ask->include_usage, e);
    }
    ask->n = (unsigned)n;
    return fine;
}

bool ask_read(struct ask *ask, enum ask_kind kind, const char *body, size_t size,
              struct ask_error *e) {
    struct json_wrong why;
    *ask = (struct ask){.kind = kind,
                        .context_tokens = -1,
                        .n = 1,
                        .sampling = packllm_session_params_default().sampling};
    struct json_value *o = json_read_strange(body, size, ASK_DEPTH, &why);
    if (o == NULL) {
        return ask_not_json(e, &why);
    }
    bool fine = read_all(ask, o, e);
    json_read_done(o);
    return fine;
}

void ask_done(struct ask *ask) {
    for (size_t i = 0; i < ask->n_prompts; i++) {
        base_free(ask->prompts[i].text);
        base_free(ask->prompts[i].ids);
    }
    for (size_t i = 0; i < ask->n_messages; i++) {
        ask_free_text(ask->messages[i].role);
        ask_free_text(ask->messages[i].content);
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
