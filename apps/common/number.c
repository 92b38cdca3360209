/* number.c - see number.h. The C library's conversions follow the locale's decimal point, so the
 * text is checked by hand first and the point is exchanged on the way in and out. */
#include "common/number.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static size_t digits(const char *text) {
    size_t n = 0;
    while (is_digit(text[n])) {
        n++;
    }
    return n;
}

enum number_result number_uint(const char *text, uint64_t *out_value) {
    const char *p = *text == '+' ? text + 1 : text;
    size_t n = digits(p);
    if (n == 0 || p[n] != '\0') {
        return NUMBER_NOT;
    }
    uint64_t value = 0;
    for (; *p != '\0'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return NUMBER_RANGE;
        }
        value = value * 10 + digit;
    }
    *out_value = value;
    return NUMBER_OK;
}

enum number_result number_int(const char *text, int64_t *out_value) {
    bool negative = *text == '-';
    uint64_t value = 0;
    if (negative && text[1] == '+') {
        return NUMBER_NOT;
    }
    enum number_result result = number_uint(negative ? text + 1 : text, &value);
    if (result != NUMBER_OK) {
        return result;
    }
    if (value > (uint64_t)INT64_MAX) {
        return NUMBER_RANGE;
    }
    *out_value = negative ? -(int64_t)value : (int64_t)value;
    return NUMBER_OK;
}

/* Offset of the decimal point in text, or of its end; false: not a decimal number. */
static bool decimal(const char *text, size_t *out_point) {
    size_t i = *text == '+' || *text == '-' ? 1 : 0;
    size_t whole = digits(text + i), part = 0;
    i += whole;
    *out_point = i;
    if (text[i] == '.') {
        part = digits(text + i + 1);
        i += 1 + part;
    }
    if (whole + part == 0) {
        return false;
    }
    if (text[i] == 'e' || text[i] == 'E') {
        i++;
        i += text[i] == '+' || text[i] == '-' ? 1 : 0;
        size_t power = digits(text + i);
        if (power == 0) {
            return false;
        }
        i += power;
    }
    return text[i] == '\0';
}

enum number_result number_double(const char *text, double *out_value) {
    size_t point = 0;
    if (!decimal(text, &point)) {
        return NUMBER_NOT;
    }
    const char *local = localeconv()->decimal_point;
    size_t size = strlen(text), more = strlen(local);
    char *copy = alloc_array(size + more + 1, 1);
    if (copy == NULL) {
        return NUMBER_RANGE;
    }
    memcpy(copy, text, point);
    if (text[point] == '.') {
        memcpy(copy + point, local, more);
        memcpy(copy + point + more, text + point + 1, size - point);
    } else {
        memcpy(copy + point, text + point, size - point + 1);
    }
    double value = strtod(copy, NULL);
    base_free(copy);
    if (!isfinite(value)) {
        return NUMBER_RANGE;
    }
    *out_value = value;
    return NUMBER_OK;
}

enum number_result number_bytes(const char *text, uint64_t *out_bytes) {
    static const char units[] = "KMGT";
    char number[NUMBER_TEXT];
    double value = 0, scale = 1;
    size_t size = strcspn(text, "KMGTkmgtBb");
    const char *rest = text + size;
    if (size >= sizeof number) {
        return NUMBER_NOT;
    }
    memcpy(number, text, size);
    number[size] = '\0';
    for (size_t i = 0; i < sizeof units - 1; i++) {
        if (*rest == units[i] || *rest == units[i] + ('a' - 'A')) {
            scale = ldexp(1, 10 * (int)(i + 1));
            rest++;
            rest += *rest == 'i' && (rest[1] == 'B' || rest[1] == 'b') ? 1 : 0;
            break;
        }
    }
    rest += *rest == 'B' || *rest == 'b' ? 1 : 0;
    enum number_result result = *rest == '\0' ? number_double(number, &value) : NUMBER_NOT;
    if (result != NUMBER_OK) {
        return result;
    }
    if (!(value * scale >= 1 && value * scale < ldexp(1, 62))) {
        return NUMBER_RANGE;
    }
    *out_bytes = (uint64_t)(value * scale);
    return NUMBER_OK;
}

void number_shortest(char out_text[NUMBER_TEXT], double value) {
    /* %g drops trailing zeros and 15 digits always survive, so this finds the shortest form. */
    for (int precision = 15; precision <= 17; precision++) {
        (void)snprintf(out_text, NUMBER_TEXT, "%.*g", precision, value);
        if (strtod(out_text, NULL) == value) {
            break;
        }
    }
    const char *local = localeconv()->decimal_point;
    char *found = strcmp(local, ".") != 0 ? strstr(out_text, local) : NULL;
    if (found != NULL) {
        size_t more = strlen(local);
        *found = '.';
        memmove(found + 1, found + more, strlen(found + more) + 1);
    }
}

void number_size(char out_text[NUMBER_TEXT], uint64_t bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    uint64_t whole = bytes, tenths = 0;
    while (whole >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        tenths = (whole % 1024) * 10 / 1024;
        whole /= 1024;
        unit++;
    }
    if (unit == 0 || whole >= 100) {
        (void)snprintf(out_text, NUMBER_TEXT, "%llu %s", (unsigned long long)whole, units[unit]);
    } else {
        (void)snprintf(out_text, NUMBER_TEXT, "%llu.%llu %s", (unsigned long long)whole,
                       (unsigned long long)tenths, units[unit]);
    }
}
