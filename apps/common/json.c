/* json.c - see json.h. */
#include "common/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "common/number.h"

void json_init(struct json *json, struct buf *out) {
    *json = (struct json){.out = out};
}

/* Before every value: the comma, unless a key has already placed it. */
static void place(struct json *json) {
    if (json->keyed) {
        json->keyed = false;
        return;
    }
    if (json->filled[json->depth]) {
        (void)buf_add(json->out, ",", 1);
    }
    json->filled[json->depth] = true;
}

static void begin(struct json *json, const char *bracket) {
    place(json);
    (void)buf_add(json->out, bracket, 1);
    assert(json->depth + 1 < JSON_DEPTH);
    json->depth++;
    json->filled[json->depth] = false;
}

static void end(struct json *json, const char *bracket) {
    assert(json->depth > 0 && !json->keyed);
    json->depth--;
    (void)buf_add(json->out, bracket, 1);
}

void json_begin_object(struct json *json) {
    begin(json, "{");
}

void json_end_object(struct json *json) {
    end(json, "}");
}

void json_begin_array(struct json *json) {
    begin(json, "[");
}

void json_end_array(struct json *json) {
    end(json, "]");
}

void json_key(struct json *json, const char *key) {
    json_text(json, key);
    (void)buf_add(json->out, ":", 1);
    json->keyed = true;
}

static void add_escaped(struct buf *out, const char *text, size_t size) {
    size_t start = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\') {
            continue;
        }
        (void)buf_add(out, text + start, i - start);
        start = i + 1;
        switch (c) {
        case '"':
            (void)buf_add_text(out, "\\\"");
            break;
        case '\\':
            (void)buf_add_text(out, "\\\\");
            break;
        case '\n':
            (void)buf_add_text(out, "\\n");
            break;
        case '\r':
            (void)buf_add_text(out, "\\r");
            break;
        case '\t':
            (void)buf_add_text(out, "\\t");
            break;
        default:
            (void)buf_printf(out, "\\u%04x", (unsigned)c);
            break;
        }
    }
    (void)buf_add(out, text + start, size - start);
}

void json_bytes(struct json *json, const char *text, size_t size) {
    place(json);
    (void)buf_add(json->out, "\"", 1);
    while (size > 0) {
        size_t good = utf8_check(text, size);
        add_escaped(json->out, text, good);
        text += good;
        size -= good;
        if (size > 0) { /* one byte that is not UTF-8 */
            (void)buf_add_text(json->out, "\xef\xbf\xbd");
            text++;
            size--;
        }
    }
    (void)buf_add(json->out, "\"", 1);
}

void json_text(struct json *json, const char *text) {
    if (text == NULL) {
        json_nothing(json);
    } else {
        json_bytes(json, text, strlen(text));
    }
}

void json_double(struct json *json, double value) {
    if (!isfinite(value)) {
        json_nothing(json);
        return;
    }
    char text[NUMBER_TEXT];
    number_shortest(text, value);
    place(json);
    (void)buf_add_text(json->out, text);
    if (strpbrk(text, ".e") == NULL) { /* readers that tell 1 from 1.0 see a fraction */
        (void)buf_add_text(json->out, ".0");
    }
}

void json_int(struct json *json, int64_t value) {
    place(json);
    (void)buf_printf(json->out, "%" PRId64, value);
}

void json_uint(struct json *json, uint64_t value) {
    place(json);
    (void)buf_printf(json->out, "%" PRIu64, value);
}

void json_bool(struct json *json, bool value) {
    place(json);
    (void)buf_add_text(json->out, value ? "true" : "false");
}

void json_nothing(struct json *json) {
    place(json);
    (void)buf_add_text(json->out, "null");
}

void json_raw(struct json *json, const char *text, size_t size) {
    place(json);
    (void)buf_add(json->out, text, size);
}

void json_key_text(struct json *json, const char *key, const char *text) {
    json_key(json, key);
    json_text(json, text);
}

void json_key_double(struct json *json, const char *key, double value) {
    json_key(json, key);
    json_double(json, value);
}

void json_key_uint(struct json *json, const char *key, uint64_t value) {
    json_key(json, key);
    json_uint(json, value);
}
