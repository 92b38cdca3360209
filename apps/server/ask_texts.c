/* ask_texts.c - what is to be read: prompts, messages, and the bodies of the small routes. */
#include "server/ask_fields.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

/* ---- prompt: a string, strings, ids, lists of ids ---- */

static bool read_one_prompt(const struct json_value *value, struct ask_prompt *out,
                            struct ask_error *e) {
    if (json_kind(value) == JSON_KIND_TEXT) {
        return ask_copy(value, "prompt", ASK_BODY, false, &out->text, &out->size, e);
    }
    if (json_kind(value) == JSON_KIND_ARRAY) {
        return ask_ids(value, "prompt", &out->ids, &out->n_ids, e);
    }
    return ask_wrong(e, "prompt", "a string, strings, token ids, or lists of token ids", value);
}

bool ask_prompts(struct ask *ask, const struct json_value *o, struct ask_error *e) {
    const struct json_value *value = json_get_field(o, "prompt");
    if (value == NULL) {
        return ask_fail(e, 400, "prompt", "'prompt' is missing");
    }
    enum json_kind first = json_kind(value) == JSON_KIND_ARRAY && json_get_size(value) > 0
                               ? json_kind(json_get_at(value, 0))
                               : JSON_KIND_NULL;
    bool several = first == JSON_KIND_TEXT || first == JSON_KIND_ARRAY;
    size_t n = several ? json_get_size(value) : 1;
    if (n > ASK_PROMPTS) {
        return ask_fail(e, 400, "prompt", "%zu prompts in one request: at most %d", n, ASK_PROMPTS);
    }
    ask->prompts = alloc_zero(n, sizeof *ask->prompts);
    if (ask->prompts == NULL) {
        return ask_no_memory(e);
    }
    ask->n_prompts = n;
    for (size_t i = 0; i < n; i++) {
        struct ask_prompt *prompt = &ask->prompts[i];
        if (!read_one_prompt(several ? json_get_at(value, i) : value, prompt, e)) {
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

static bool read_parts(const struct json_value *parts, const char *key, char **out,
                       struct ask_error *e) {
    size_t size = 0, at = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < json_get_size(parts); i++) {
            const struct json_value *part = json_get_at(parts, i);
            const struct json_value *kind = json_get_field(part, "type");
            const struct json_value *text = json_get_field(part, "text");
            size_t n = 0;
            const char *name = json_kind(kind) == JSON_KIND_TEXT ? json_get_bytes(kind, &n) : "";
            if (name[0] != '\0' && strcmp(name, "text") != 0) {
                return ask_fail(e, 400, key,
                                "a part of '%s' has the type '%.40s': only text parts are "
                                "supported",
                                key, name);
            }
            if (name[0] == '\0' || json_kind(text) != JSON_KIND_TEXT) {
                return ask_fail(e, 400, key,
                                "part %zu of '%s' must be {\"type\": \"text\", \"text\": \"…\"}", i,
                                key);
            }
            const char *bytes = json_get_bytes(text, &n);
            if (pass == 1) {
                memcpy(*out + at, bytes, n);
                at += n;
            }
            size += n;
        }
        if (pass == 0) {
            *out = alloc_zero(size + 1, 1);
            if (*out == NULL) {
                return ask_no_memory(e);
            }
        }
    }
    return strlen(*out) == at || ask_fail(e, 400, key, "'%s' has a NUL character in it", key);
}

void ask_free_text(const char *text) {
    union {
        const char *text;
        char *ours;
    } u = {.text = text};
    base_free(u.ours);
}

/* before: calls of the assistant's that the message may be a result of. */
static bool read_message(const struct json_value *value, size_t i, const struct json_value *before,
                         struct packllm_message *out, struct ask_error *e) {
    char *role = NULL, *content = NULL, key[64];
    const struct json_value *given = json_get_field(value, "content");
    const struct json_value *calls = json_get_field(value, "tool_calls");
    (void)snprintf(key, sizeof key, "messages[%zu]", i);
    if (json_kind(value) != JSON_KIND_OBJECT) {
        return ask_wrong(e, key, "an object with a role and content", value);
    }
    (void)snprintf(key, sizeof key, "messages[%zu].role", i);
    bool fine = ask_copy(json_get_field(value, "role"), key, 64, true, &role, NULL, e);
    out->role = role;
    if (fine && strcmp(role, "developer") == 0) {
        memcpy(role, "system", sizeof "system"); /* the newer name of the same */
    }
    bool assistant = fine && strcmp(role, "assistant") == 0;
    bool tool = fine && strcmp(role, "tool") == 0;
    bool called = assistant && json_kind(calls) != JSON_KIND_NULL &&
                  (json_kind(calls) != JSON_KIND_ARRAY || json_get_size(calls) > 0);
    if (fine && !assistant && !tool && strcmp(role, "system") != 0 && strcmp(role, "user") != 0) {
        return ask_fail(e, 400, key,
                        "'%.40s' is no role: system, developer, user, assistant and tool are known",
                        role);
    }
    (void)snprintf(key, sizeof key, "messages[%zu].content", i);
    if (fine && json_kind(given) == JSON_KIND_ARRAY) {
        fine = read_parts(given, key, &content, e);
    } else if (called && json_kind(given) == JSON_KIND_NULL) {
        content = alloc_text("", 0);
        fine = content != NULL || ask_no_memory(e);
    } else if (fine && json_kind(given) != JSON_KIND_TEXT) {
        fine = ask_wrong(e, key, "a string or text parts", given);
    } else if (fine) {
        fine = ask_copy(given, key, ASK_BODY, true, &content, NULL, e);
    }
    if (fine && called) {
        fine = ask_calls(calls, i, &content, e);
    } else if (fine && tool) {
        fine = ask_result(value, before, i, &content, e);
    }
    out->content = content;
    return fine;
}

bool ask_messages(struct ask *ask, const struct json_value *o, struct ask_error *e) {
    const struct json_value *value = json_get_field(o, "messages");
    if (json_kind(value) != JSON_KIND_ARRAY) {
        return ask_wrong(e, "messages", "an array of messages", value);
    }
    size_t n = json_get_size(value);
    if (n == 0 || n > ASK_MESSAGES) {
        return ask_fail(e, 400, "messages", "%zu messages: give 1 to %d", n, ASK_MESSAGES);
    }
    ask->messages = alloc_zero(n + 1, sizeof *ask->messages); /* one for ask_tools */
    if (ask->messages == NULL) {
        return ask_no_memory(e);
    }
    ask->n_messages = n;
    const struct json_value *calls = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct json_value *message = json_get_at(value, i);
        if (!read_message(message, i, calls, &ask->messages[i], e)) {
            return false;
        }
        const char *role = ask->messages[i].role;
        if (strcmp(role, "tool") != 0) {
            calls = strcmp(role, "assistant") == 0 ? json_get_field(message, "tool_calls") : NULL;
        }
    }
    const char *last = ask->messages[n - 1].role;
    return strcmp(last, "user") == 0 || strcmp(last, "tool") == 0 ||
           ask_fail(e, 400, "messages", "the last message must be the user's or a tool's");
}

/* ---- /tokenize and /detokenize ---- */

bool ask_text_read(struct ask_text *ask, bool tokens, const char *body, size_t size,
                   struct ask_error *e) {
    struct json_wrong why;
    bool fine;
    *ask = (struct ask_text){.special = false};
    struct json_value *o = json_read_strange(body, size, ASK_DEPTH, &why);
    if (o == NULL) {
        return ask_not_json(e, &why);
    }
    if (json_kind(o) != JSON_KIND_OBJECT) {
        (void)ask_fail(e, 400, NULL, "the body must be a JSON object; it is %s",
                       json_kind_name(json_kind(o)));
        json_read_done(o);
        return false;
    }
    if (tokens) {
        const struct json_value *value = json_get_field(o, "tokens");
        fine = json_kind(value) == JSON_KIND_ARRAY
                   ? ask_ids(value, "tokens", &ask->ids, &ask->n_ids, e)
                   : ask_wrong(e, "tokens", "an array of token ids", value);
    } else {
        const struct json_value *value = json_get_field(o, "prompt");
        value = value != NULL ? value : json_get_field(o, "content");
        fine = ask_copy(value, "prompt", ASK_BODY, false, &ask->text, &ask->size, e) &&
               ask_bool(o, "add_special_tokens", &ask->special, e) &&
               ask_bool(o, "add_special", &ask->special, e);
    }
    json_read_done(o);
    return fine;
}

void ask_text_done(struct ask_text *ask) {
    base_free(ask->text);
    base_free(ask->ids);
    *ask = (struct ask_text){0};
}
