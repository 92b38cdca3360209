/* calls.c - replies that are calls of a tool. The schema makes them {"name": NAME, "arguments": …} in this
 * order, and a name has nothing that JSON escapes; so where things stand is found by their quotes. */
#include <stdio.h>
#include <string.h>

#include "server/private.h"

static size_t behind_white(const struct buf *text, size_t at) {
    while (at < text->size && memchr(" \t\r\n", text->data[at], 4) != NULL) {
        at++;
    }
    return at;
}

/* Behind the JSON object that begins at `at`, or the text's end. */
static size_t object_end(const struct buf *text, size_t at) {
    unsigned depth = 0;
    bool quoted = false;
    for (; at < text->size; at++) {
        char c = text->data[at];
        if (quoted) {
            at += c == '\\' ? 1 : 0;
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && depth-- <= 1) {
            return at + 1;
        }
    }
    return text->size;
}

bool choice_call(const struct choice *c, struct call *out) {
    const struct buf *text = &c->text;
    size_t quote[6] = {0}, n = 0, at = behind_white(text, 0);
    if (!c->job->ask.tools || at == text->size || text->data[at] != '{') {
        return false;
    }
    for (; at < text->size && n < 6; at++) {
        if (text->data[at] == '"') {
            quote[n++] = at;
        }
    }
    *out = (struct call){.name = quote[2] + 1, .name_size = quote[3] - quote[2] - 1};
    out->from = out->to = quote[3] + 1;
    at = n == 6 ? behind_white(text, at) : text->size;
    at = at < text->size ? behind_white(text, at + 1) : at; /* behind the colon */
    if (at < text->size) {
        out->from = at;
        out->to = object_end(text, at);
    }
    return n >= 4;
}

size_t choice_told(const struct choice *c, bool last) {
    struct call call;
    size_t at = behind_white(&c->text, 0);
    bool open = at == c->text.size || c->text.data[at] == '{';
    if (choice_call(c, &call)) {
        return call.to;
    }
    return !c->job->ask.tools || last || !open ? c->text.size : 0;
}

const char *choice_finish(const struct choice *c) {
    struct call call;
    return c->finish == PACKLLM_FINISH_LENGTH                         ? "length"
           : c->finish == PACKLLM_FINISH_END && choice_call(c, &call) ? "tool_calls"
                                                                      : "stop";
}

void call_write(struct json *json, const struct choice *c, const struct call *call, size_t from,
                bool chunk) {
    char id[64];
    const char *job = strchr(c->job->id, '-'); /* behind "chatcmpl" */
    size_t begin = call->from > from ? call->from : from;
    size_t size = call->to > begin ? call->to - begin : 0;
    json_key(json, "tool_calls");
    json_begin_array(json);
    json_begin_object(json);
    if (chunk) {
        json_key_uint(json, "index", 0);
    }
    if (from == 0) {
        (void)snprintf(id, sizeof id, "call_%s%02zu", job != NULL ? job + 1 : "", c->index);
        json_key_text(json, "id", id);
        json_key_text(json, "type", "function");
    }
    json_key(json, "function");
    json_begin_object(json);
    if (from == 0) {
        json_key(json, "name");
        json_bytes(json, c->text.data + call->name, call->name_size);
    }
    json_key(json, "arguments");
    json_bytes(json, size > 0 ? c->text.data + begin : "", size);
    json_end_object(json);
    json_end_object(json);
    json_end_array(json);
}
