/* ask_tools.c - tools (docs/server.md, "Tools"). What a client offers becomes text in the system's
 * message, which every template can write, and a schema of all calls; calls and results of earlier
 * turns become text, too. So nothing here asks what a member's template knows of tools. */
#include "server/ask_fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"

enum { TOOLS_TEXT = 2 * ASK_BODY, NAME = 64, TOOLS_AUTO = ASK_TOOLS, TOOLS_ANY, TOOLS_NONE };

static const char *text_of(const struct json_value *value) {
    return json_kind(value) == JSON_KIND_TEXT ? json_get_text(value) : "";
}

/* The name in function.name of a tool or a call, whose place in the request is `key`. */
static bool read_name(const struct json_value *value, const char *key, const char **out,
                      struct ask_error *e) {
    char where[96];
    const struct json_value *name = json_get_field(json_get_field(value, "function"), "name");
    size_t size = 0;
    (void)snprintf(where, sizeof where, "%s.function.name", key);
    if (json_kind(name) != JSON_KIND_TEXT) {
        return ask_wrong(e, where, "a string", name);
    }
    *out = json_get_bytes(name, &size);
    if (size == 0 || size > NAME ||
        strspn(*out, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != size) {
        return ask_fail(e, 400, where,
                        "'%s' is '%.80s': a name has 1 to %d letters, digits, '_' and '-'", where,
                        *out, NAME);
    }
    return true;
}

/* ---- what is offered ---- */

static bool check_tool(const struct json_value *tools, size_t i, struct ask_error *e) {
    char key[64];
    const struct json_value *tool = json_get_at(tools, i);
    const struct json_value *function = json_get_field(tool, "function");
    const struct json_value *parameters = json_get_field(function, "parameters");
    const struct json_value *description = json_get_field(function, "description");
    const char *type = text_of(json_get_field(tool, "type")), *name = NULL, *other = NULL;
    (void)snprintf(key, sizeof key, "tools[%zu]", i);
    if (json_kind(function) != JSON_KIND_OBJECT || strcmp(type, "function") != 0) {
        return ask_fail(e, 400, key,
                        "'%s' must be {\"type\": \"function\", \"function\": {\"name\": …}}", key);
    }
    if (!read_name(tool, key, &name, e)) {
        return false;
    }
    for (size_t k = 0; k < i; k++) {
        if (read_name(json_get_at(tools, k), key, &other, e) && strcmp(name, other) == 0) {
            return ask_fail(e, 400, "tools", "two of the 'tools' have the name '%s'", name);
        }
    }
    if (json_kind(description) != JSON_KIND_NULL && json_kind(description) != JSON_KIND_TEXT) {
        (void)snprintf(key, sizeof key, "tools[%zu].function.description", i);
        return ask_wrong(e, key, "a string", description);
    }
    (void)snprintf(key, sizeof key, "tools[%zu].function.parameters", i);
    if (json_kind(parameters) != JSON_KIND_NULL && json_kind(parameters) != JSON_KIND_OBJECT) {
        return ask_wrong(e, key, "an object, a JSON schema", parameters);
    }
    const struct json_value *kind = json_get_field(parameters, "type");
    return kind == NULL || strcmp(text_of(kind), "object") == 0 ||
           ask_fail(e, 400, key, "'%s' must have the type object, as arguments are one", key);
}

/* *out: the place of the tool that is named, or TOOLS_AUTO, TOOLS_ANY, TOOLS_NONE. */
static bool read_choice(const struct json_value *o, const struct json_value *tools, size_t *out,
                        struct ask_error *e) {
    const struct json_value *choice = json_get_field(o, "tool_choice");
    const struct json_value *name = json_get_field(json_get_field(choice, "function"), "name");
    const char *text = text_of(choice);
    size_t n = json_get_size(tools);
    *out = n > 0 ? TOOLS_AUTO : TOOLS_NONE;
    if (json_kind(choice) == JSON_KIND_NULL || strcmp(text, "auto") == 0) {
        return true;
    }
    if (strcmp(text, "none") == 0) {
        *out = TOOLS_NONE;
        return true;
    }
    bool named = json_kind(name) == JSON_KIND_TEXT &&
                 strcmp(text_of(json_get_field(choice, "type")), "function") == 0;
    if (!named && strcmp(text, "required") != 0) {
        return ask_fail(e, 400, "tool_choice",
                        "'tool_choice' must be none, auto, required or {\"type\": \"function\", "
                        "\"function\": {\"name\": …}}");
    }
    if (n == 0) {
        return ask_fail(e, 400, "tool_choice", "'tool_choice' asks for a call of no 'tools'");
    }
    *out = TOOLS_ANY;
    for (size_t i = 0; named && i < n; i++) {
        const char *other = NULL;
        if (read_name(json_get_at(tools, i), "tools", &other, e) &&
            strcmp(other, json_get_text(name)) == 0) {
            *out = i;
        }
    }
    return !named || *out < n ||
           ask_fail(e, 400, "tool_choice",
                    "'tool_choice' names '%.80s', which is none of the 'tools'",
                    json_get_text(name));
}

/* The parameters' schema where `place` says, so what it points at in itself has moved. In a compact line
 * the quotes of a text inside are escaped, so the key is found by its own. */
static bool add_parameters(struct buf *out, const struct json_value *parameters,
                           const char *place) {
    static const char key[] = "\"$ref\":\"#";
    const struct json_value *properties = json_get_field(parameters, "properties");
    if (json_get_entries(parameters) == 0) {
        return buf_add_text(out, "{\"type\":\"object\",\"additionalProperties\":false}");
    }
    char *line = json_line(parameters);
    bool typed = json_get_field(parameters, "type") != NULL;
    bool none = json_kind(properties) == JSON_KIND_OBJECT && json_get_entries(properties) == 0 &&
                json_get_field(parameters, "additionalProperties") == NULL;
    bool fine = line != NULL && buf_add_text(out, "{") &&
                buf_add_text(out, typed ? "" : "\"type\":\"object\",") &&
                buf_add_text(out, none ? "\"additionalProperties\":false," : "");
    const char *at = line != NULL ? line + 1 : NULL, *next = NULL; /* behind its brace */
    while (fine && (next = strstr(at, key)) != NULL) {
        next += sizeof key - 1;
        fine = buf_add(out, at, (size_t)(next - at)) && buf_add_text(out, place);
        at = next;
    }
    fine = fine && buf_add_text(out, at);
    base_free(line);
    return fine;
}

/* Calls of the tool that was chosen, or of any: a branch for each, so that its number is the tool's. */
static bool add_schema(struct buf *out, const struct json_value *tools, size_t choice) {
    bool fine = buf_add_text(out, "{\"anyOf\":[");
    for (size_t i = 0; i < json_get_size(tools) && fine; i++) {
        char place[64];
        const struct json_value *function = json_get_field(json_get_at(tools, i), "function");
        (void)snprintf(place, sizeof place, "/anyOf/%zu/properties/arguments", i);
        fine = buf_add_text(out, i > 0 ? "," : "");
        if (choice < ASK_TOOLS && choice != i) {
            fine = fine && buf_add_text(out, "false");
            continue;
        }
        fine =
            fine &&
            buf_printf(out,
                       "{\"type\":\"object\",\"required\":[\"name\",\"arguments\"],"
                       "\"additionalProperties\":false,\"properties\":{\"name\":{\"const\":\"%s\"},"
                       "\"arguments\":",
                       json_get_text(json_get_field(function, "name"))) &&
            add_parameters(out, json_get_field(function, "parameters"), place) &&
            buf_add_text(out, "}}");
    }
    return fine && buf_add_text(out, "]}");
}

/* All of them, whatever was chosen: so turns of one conversation begin alike. */
static bool add_description(struct buf *out, const struct json_value *tools) {
    bool fine = buf_add_text(out, "You can call these functions:\n");
    for (size_t i = 0; i < json_get_size(tools) && fine; i++) {
        char *line = json_line(json_get_field(json_get_at(tools, i), "function"));
        fine = line != NULL && buf_add_text(out, line) && buf_add_text(out, "\n");
        base_free(line);
    }
    return fine &&
           buf_add_text(out,
                        "\nTo call one, reply with only a JSON object of its name and arguments: "
                        "{\"name\": <function-name>, \"arguments\": <args-json-object>}. "
                        "Otherwise reply in plain text.");
}

/* Behind the system's message, or as one: the first. ask_messages left room for it. */
static bool tell_members(struct ask *ask, const struct json_value *tools) {
    struct packllm_message *first = &ask->messages[0];
    struct buf text;
    buf_init(&text, TOOLS_TEXT);
    if (strcmp(first->role, "system") != 0) {
        char *role = alloc_text("system", 6), *content = alloc_text("", 0);
        memmove(first + 1, first, ask->n_messages++ * sizeof *first);
        *first = (struct packllm_message){role, content};
        if (role == NULL || content == NULL) {
            return false;
        }
    }
    bool fine = buf_add_text(&text, first->content) &&
                buf_add_text(&text, first->content[0] != '\0' ? "\n\n" : "") &&
                add_description(&text, tools);
    char *content = fine ? alloc_text(text.data, text.size) : NULL;
    buf_done(&text);
    if (content != NULL) {
        ask_free_text(first->content);
        first->content = content;
    }
    return content != NULL;
}

bool ask_tools(struct ask *ask, const struct json_value *o, struct ask_error *e) {
    const struct json_value *tools = json_get_field(o, "tools");
    bool parallel = false;
    size_t n = json_get_size(tools), choice = TOOLS_NONE;
    if (json_get_size(json_get_field(o, "functions")) > 0) {
        return ask_fail(e, 501, "functions", "'functions' is not supported: give them as 'tools'");
    }
    if (json_kind(tools) != JSON_KIND_NULL && json_kind(tools) != JSON_KIND_ARRAY) {
        return ask_wrong(e, "tools", "an array of functions", tools);
    }
    if (n > ASK_TOOLS) {
        return ask_fail(e, 400, "tools", "%zu tools: at most %d", n, ASK_TOOLS);
    }
    for (size_t i = 0; i < n; i++) {
        if (!check_tool(tools, i, e)) {
            return false;
        }
    }
    if (!ask_bool(o, "parallel_tool_calls", &parallel, e) || !read_choice(o, tools, &choice, e)) {
        return false;
    }
    if (choice == TOOLS_NONE) {
        return true;
    }
    if (ask->kind != ASK_CHAT) {
        return ask_fail(e, 501, "tools",
                        "'tools' are not supported here: ask for a chat completion");
    }
    if (ask->json_schema != NULL || ask->grammar != NULL) {
        const char *other = ask->grammar != NULL ? "grammar" : "response_format";
        return ask_fail(e, 400, other,
                        "'%s' and 'tools' exclude each other, unless 'tool_choice' is none", other);
    }
    struct buf schema;
    buf_init(&schema, (size_t)ASK_BODY * 8); /* room for all that a body can make it */
    bool fine = add_schema(&schema, tools, choice), large = schema.size > ASK_GRAMMAR;
    ask->json_schema = fine && !large ? alloc_text(schema.data, schema.size) : NULL;
    buf_done(&schema);
    if (large) {
        return ask_fail(e, 400, "tools", "the schemas of the 'tools' have more than %d bytes",
                        ASK_GRAMMAR);
    }
    ask->tools = true;
    ask->or_text = choice == TOOLS_AUTO;
    return (ask->json_schema != NULL && tell_members(ask, tools)) || ask_no_memory(e);
}

bool ask_tools_blamed(const char *message, struct ask_error *e) {
    static const char begins[] = "JSON schema, at '#/anyOf/", behind[] = "/properties/arguments";
    if (strncmp(message, begins, sizeof begins - 1) != 0) {
        return false;
    }
    char *rest = NULL, key[64];
    unsigned long i = strtoul(message + sizeof begins - 1, &rest, 10);
    (void)snprintf(key, sizeof key, "tools[%lu].function.parameters", i);
    if (strncmp(rest, behind, sizeof behind - 1) != 0) {
        return false;
    }
    (void)ask_fail(e, 400, key, "JSON schema in '%s', at '#%s", key, rest + sizeof behind - 1);
    return true;
}

/* ---- calls and results of earlier turns ---- */

bool ask_calls(const struct json_value *calls, size_t i, char **content, struct ask_error *e) {
    char key[80];
    struct buf text;
    (void)snprintf(key, sizeof key, "messages[%zu].tool_calls", i);
    if (json_kind(calls) != JSON_KIND_ARRAY || json_get_size(calls) > ASK_TOOLS) {
        return ask_fail(e, 400, key, "'%s' must be an array of at most %d calls", key, ASK_TOOLS);
    }
    buf_init(&text, TOOLS_TEXT);
    bool fine = true, room = buf_add_text(&text, *content);
    for (size_t k = 0; k < json_get_size(calls) && fine; k++) {
        const struct json_value *call = json_get_at(calls, k);
        const char *name = NULL;
        char *arguments = NULL;
        (void)snprintf(key, sizeof key, "messages[%zu].tool_calls[%zu]", i, k);
        fine = read_name(call, key, &name, e);
        (void)snprintf(key, sizeof key, "messages[%zu].tool_calls[%zu].function.arguments", i, k);
        fine = fine && ask_copy(json_get_field(json_get_field(call, "function"), "arguments"), key,
                                ASK_BODY, true, &arguments, NULL, e);
        room = room && fine &&
               buf_printf(&text, "%s{\"name\": \"%s\", \"arguments\": ", text.size > 0 ? "\n" : "",
                          name) &&
               buf_add_text(&text, arguments[0] != '\0' ? arguments : "{}") &&
               buf_add_text(&text, "}");
        base_free(arguments);
    }
    base_free(*content);
    *content = fine && room ? alloc_text(text.data, text.size) : NULL;
    buf_done(&text);
    return fine && (*content != NULL || ask_no_memory(e));
}

bool ask_result(const struct json_value *message, const struct json_value *calls, size_t i,
                char **content, struct ask_error *e) {
    char key[80];
    const char *name = NULL;
    const struct json_value *id = json_get_field(message, "tool_call_id");
    (void)snprintf(key, sizeof key, "messages[%zu].tool_call_id", i);
    if (json_kind(id) != JSON_KIND_TEXT) {
        return ask_wrong(e, key, "a string", id);
    }
    for (size_t k = 0; k < json_get_size(calls) && name == NULL; k++) {
        const struct json_value *call = json_get_at(calls, k);
        if (strcmp(text_of(json_get_field(call, "id")), json_get_text(id)) == 0) {
            name = text_of(json_get_field(json_get_field(call, "function"), "name"));
        }
    }
    if (name == NULL) {
        return ask_fail(e, 400, key,
                        "'%s' is '%.80s': the assistant's message before it has no such call", key,
                        json_get_text(id));
    }
    struct buf text;
    buf_init(&text, TOOLS_TEXT);
    bool fine = buf_printf(&text, "Tool %s returned: ", name) && buf_add_text(&text, *content);
    base_free(*content);
    *content = fine ? alloc_text(text.data, text.size) : NULL;
    buf_done(&text);
    return *content != NULL || ask_no_memory(e);
}
