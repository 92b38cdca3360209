/* ask_fields.c - one field of a body: type and range, and an error that names it. */
#include "server/ask_fields.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

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

bool ask_no_memory(struct ask_error *e) {
    return ask_fail(e, 503, NULL, "there is not enough memory for this request");
}

bool ask_wrong(struct ask_error *e, const char *key, const char *wanted,
               const struct json_value *value) {
    return ask_fail(e, 400, key, "'%s' must be %s; it is %s", key, wanted,
                    json_kind_name(json_kind(value)));
}

bool ask_bool(const struct json_value *o, const char *key, bool *out, struct ask_error *e) {
    const struct json_value *value = json_get_field(o, key);
    if (json_kind(value) == JSON_KIND_NULL) {
        return true;
    }
    if (json_kind(value) != JSON_KIND_BOOL) {
        return ask_wrong(e, key, "true or false", value);
    }
    *out = json_get_true(value);
    return true;
}

bool ask_int(const struct json_value *o, const char *key, int64_t least, int64_t most, int64_t *out,
             struct ask_error *e) {
    const struct json_value *value = json_get_field(o, key);
    if (json_kind(value) == JSON_KIND_NULL) {
        return true;
    }
    double real = 0;
    int64_t number = 0;
    bool exact = json_get_whole(value, &number);
    if (!json_get_number(value, &real) || (!exact && floor(real) < real)) {
        return ask_wrong(e, key, "a whole number", value);
    }
    if (!(real >= (double)least && real <= (double)most)) {
        return ask_fail(e, 400, key, "'%s' is %.17g: give %lld to %lld", key, real,
                        (long long)least, (long long)most);
    }
    *out = exact ? number : (int64_t)real;
    return true;
}

bool ask_double(const struct json_value *o, const char *key, double least, double most, double *out,
                struct ask_error *e) {
    const struct json_value *value = json_get_field(o, key);
    double number = 0;
    if (json_kind(value) == JSON_KIND_NULL) {
        return true;
    }
    if (!json_get_number(value, &number)) {
        return ask_wrong(e, key, "a number", value);
    }
    if (!(number >= least && number <= most)) {
        return ask_fail(e, 400, key, "'%s' is %g: give %g to %g", key, number, least, most);
    }
    *out = number;
    return true;
}

bool ask_copy(const struct json_value *value, const char *key, size_t most, bool plain, char **out,
              size_t *out_size, struct ask_error *e) {
    size_t size = 0;
    if (json_kind(value) != JSON_KIND_TEXT) {
        return ask_wrong(e, key, "a string", value);
    }
    const char *text = json_get_bytes(value, &size);
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
    return *out != NULL || ask_no_memory(e);
}

bool ask_ids(const struct json_value *array, const char *key, int32_t **out, size_t *out_n,
             struct ask_error *e) {
    size_t n = json_get_size(array);
    if (n > ASK_TOKENS) {
        return ask_fail(e, 400, key, "'%s' has %zu tokens: at most %d", key, n, ASK_TOKENS);
    }
    *out = alloc_array(n, sizeof **out);
    if (*out == NULL) {
        return ask_no_memory(e);
    }
    for (size_t i = 0; i < n; i++) {
        const struct json_value *value = json_get_at(array, i);
        int64_t id = 0;
        if (!json_get_whole(value, &id)) {
            return ask_fail(e, 400, key, "'%s': entry %zu is %s; token ids are whole numbers", key,
                            i, json_kind_name(json_kind(value)));
        }
        if (id < 0 || id > INT32_MAX) {
            return ask_fail(e, 400, key, "'%s': entry %zu is %lld, which is no token id", key, i,
                            (long long)id);
        }
        (*out)[i] = (int32_t)id;
        *out_n = i + 1;
    }
    return true;
}

bool ask_not_json(struct ask_error *e, const struct json_wrong *why) {
    return ask_fail(e, 400, NULL, "the body is not JSON: %s (line %zu, column %zu)", why->what,
                    why->line, why->column);
}
