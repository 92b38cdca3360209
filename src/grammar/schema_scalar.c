/* schema_scalar.c - numbers within bounds and strings within lengths, as GBNF. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "grammar/schema.h"

#define MOST 999999999999999 /* 15 digits: whole in a double */
#define MOST_EXCLUDED 1e9    /* beyond it six decimals may round to the bound */

bool schema_add_literal(struct buf *out, const char *text, size_t size) {
    bool fine = buf_add_text(out, "\"");
    for (size_t i = 0; i < size; i++) {
        fine = fine && (text[i] != '"' && text[i] != '\\' ? true : buf_add_text(out, "\\")) &&
               buf_add(out, text + i, 1);
    }
    return fine && buf_add_text(out, "\"");
}

bool schema_add_counts(struct buf *out, uint32_t min, uint32_t max) {
    if (max == UINT32_MAX) {
        return min == 0 ? buf_add_text(out, "*") : buf_printf(out, "{%u,}", (unsigned)min);
    }
    return buf_printf(out, "{%u,%u}", (unsigned)min, (unsigned)max);
}

enum packllm_status schema_count(struct schema *s, const struct value *v, const char *key,
                                 uint32_t *out) {
    const struct value *count = value_get(v, key);
    if (count == NULL) {
        return PACKLLM_OK;
    }
    bool number = value_kind(count) == VALUE_INTEGER || value_kind(count) == VALUE_REAL;
    double x = number ? value_number(count) : -1.0;
    if (!(x >= 0.0) || x != floor(x)) {
        return schema_error(s, "%s must be a whole number >= 0", key);
    }
    if (x > 200000.0 && key[1] == 'i') { /* min…: more than a grammar can hold */
        return schema_error(s, "%s is %.0f: at most 200000 is supported", key, x);
    }
    *out = x > 200000.0 ? UINT32_MAX : (uint32_t)x;
    return PACKLLM_OK;
}

/* ---- numbers ---------------------------------------------------------------------------------- */

struct bounds {
    double low, high;         /* -inf, inf: none */
    bool low_open, high_open; /* the bound itself is excluded */
};

static enum packllm_status read_bounds(struct schema *s, const struct value *v,
                                       struct bounds *out) {
    static const char *const keys[] = {"minimum", "exclusiveMinimum", "maximum",
                                       "exclusiveMaximum"};
    *out = (struct bounds){.low = -HUGE_VAL, .high = HUGE_VAL};
    for (size_t i = 0; i < 4; i++) {
        const struct value *bound = value_get(v, keys[i]);
        if (bound == NULL) {
            continue;
        }
        if (value_kind(bound) != VALUE_INTEGER && value_kind(bound) != VALUE_REAL) {
            return schema_error(s, "%s must be a number", keys[i]);
        }
        double x = value_number(bound);
        bool open = i % 2 == 1;
        if (i < 2 && (x > out->low || (x == out->low && open))) {
            out->low = x;
            out->low_open = open;
        } else if (i >= 2 && (x < out->high || (x == out->high && open))) {
            out->high = x;
            out->high_open = open;
        }
    }
    return PACKLLM_OK;
}

/* All strings of n digits from low to high, both of n digits. */
static bool add_digits(struct buf *out, const char *low, const char *high, size_t n) {
    if (n == 0) {
        return buf_add_text(out, "\"\"");
    }
    if (strspn(low, "0") >= n && strspn(high, "9") >= n) {
        return buf_printf(out, "[0-9]{%zu}", n);
    }
    if (low[0] == high[0]) {
        return buf_printf(out, "\"%c\" (", low[0]) && add_digits(out, low + 1, high + 1, n - 1) &&
               buf_add_text(out, ")");
    }
    static const char zeros[] = "0000000000000000", nines[] = "9999999999999999";
    bool from = strspn(low + 1, "0") >= n - 1, to = strspn(high + 1, "9") >= n - 1;
    char first = from ? low[0] : (char)(low[0] + 1), last = to ? high[0] : (char)(high[0] - 1);
    bool any = false, fine = true;
    if (!from) {
        fine = buf_printf(out, "\"%c\" (", low[0]) && add_digits(out, low + 1, nines, n - 1) &&
               buf_add_text(out, ")");
        any = true;
    }
    if (first <= last) {
        fine = fine && buf_printf(out, "%s[%c-%c]", any ? " | " : "", first, last) &&
               (n == 1 || buf_printf(out, " [0-9]{%zu}", n - 1));
        any = true;
    }
    if (!to) {
        fine = fine && buf_printf(out, "%s\"%c\" (", any ? " | " : "", high[0]) &&
               add_digits(out, zeros, high + 1, n - 1) && buf_add_text(out, ")");
    }
    return fine;
}

/* The whole numbers from low to high, 0 <= low <= high, in parentheses. */
static bool add_whole(struct buf *out, int64_t low, int64_t high) {
    bool fine = buf_add_text(out, "("), any = false;
    for (int64_t least = 0, most = 9; fine && least <= high;
         least = most + 1, most = most * 10 + 9) {
        int64_t from = low > least ? low : least, to = high < most ? high : most;
        if (from <= to) {
            char one[24], two[24];
            (void)snprintf(one, sizeof one, "%lld", (long long)from);
            (void)snprintf(two, sizeof two, "%lld", (long long)to);
            fine = (!any || buf_add_text(out, " | ")) && add_digits(out, one, two, strlen(one));
            any = true;
        }
    }
    return fine && buf_add_text(out, ")");
}

static enum packllm_status add_never(struct schema *s, struct buf *out) {
    return buf_add_text(out, " never") ? PACKLLM_OK : schema_error(s, "the schema is too large");
}

static enum packllm_status clamp(struct schema *s, double *low, double *high) {
    if (*low > (double)MOST || *high < -(double)MOST) {
        return schema_error(s, "bounds beyond 15 digits are not supported");
    }
    *low = *low < -(double)MOST ? -(double)MOST : *low;
    *high = *high > (double)MOST ? (double)MOST : *high;
    return PACKLLM_OK;
}

enum packllm_status schema_integer(struct schema *s, const struct value *v, struct buf *out) {
    struct bounds b;
    enum packllm_status status = read_bounds(s, v, &b);
    if (status < 0) {
        return status;
    }
    if (isinf(b.low) && isinf(b.high)) {
        return buf_add_text(out, " integer") ? PACKLLM_OK : PACKLLM_E_MEMORY;
    }
    b.low = b.low_open ? floor(b.low) + 1.0 : ceil(b.low);
    b.high = b.high_open ? ceil(b.high) - 1.0 : floor(b.high);
    if (b.low > b.high) {
        return add_never(s, out);
    }
    status = clamp(s, &b.low, &b.high);
    if (status < 0) {
        return status;
    }
    int64_t low = (int64_t)b.low, high = (int64_t)b.high;
    bool fine = true, negative = low < 0;
    if (negative) {
        fine = buf_add_text(out, " \"-\" ") && add_whole(out, high < 0 ? -high : 1, -low);
    }
    if (high >= 0) {
        fine = fine && buf_add_text(out, negative ? " | " : " ") &&
               add_whole(out, low > 0 ? low : 0, high);
    }
    return fine ? PACKLLM_OK : schema_error(s, "the schema is too large");
}

/* Numbers of this size, 0 <= low <= high whole; *any: something was written before. */
static bool add_size(struct buf *out, const char *sign, int64_t low, int64_t high, bool low_open,
                     bool high_open, bool *any) {
    bool fine = true;
    const char *bar = *any ? " | " : " ";
    if (!low_open && (low < high || !high_open)) {
        fine = buf_printf(out, "%s%s\"%lld\"%s", bar, sign, (long long)low,
                          low < high ? " (\".\" [0-9]{1,6})?" : "");
        *any = true;
    } else if (low_open && low < high) {
        fine = buf_printf(out, "%s%s\"%lld.\" [0-9]{0,5} [1-9]", bar, sign, (long long)low);
        *any = true;
    }
    if (low + 1 <= high - 1) {
        fine = fine && buf_printf(out, " | %s", sign) && add_whole(out, low + 1, high - 1) &&
               buf_add_text(out, " (\".\" [0-9]{1,6})?");
    }
    if (low < high && !high_open) {
        fine = fine && buf_printf(out, " | %s\"%lld\"", sign, (long long)high);
    }
    return fine;
}

enum packllm_status schema_number(struct schema *s, const struct value *v, struct buf *out) {
    struct bounds b;
    enum packllm_status status = read_bounds(s, v, &b);
    if (status < 0) {
        return status;
    }
    if (isinf(b.low) && isinf(b.high)) {
        return buf_add_text(out, " number") ? PACKLLM_OK : PACKLLM_E_MEMORY;
    }
    if ((isfinite(b.low) && b.low != floor(b.low)) ||
        (isfinite(b.high) && b.high != floor(b.high))) {
        return schema_error(s, "a bound with a fraction is not supported: give whole numbers");
    }
    if ((b.low_open && fabs(b.low) > MOST_EXCLUDED) ||
        (b.high_open && fabs(b.high) > MOST_EXCLUDED)) {
        return schema_error(s, "an excluded bound beyond %g is not supported", MOST_EXCLUDED);
    }
    if (b.low > b.high || (b.low == b.high && (b.low_open || b.high_open))) {
        return add_never(s, out);
    }
    status = clamp(s, &b.low, &b.high);
    if (status < 0) {
        return status;
    }
    int64_t low = (int64_t)b.low, high = (int64_t)b.high;
    bool fine = true, any = false;
    if (low < 0) {
        fine = add_size(out, "\"-\" ", high < 0 ? -high : 0, -low, high <= 0 && b.high_open,
                        b.low_open, &any);
    }
    if (high > 0 || (high == 0 && low <= 0 && !b.high_open && !(low == 0 && b.low_open))) {
        fine = fine && add_size(out, "", low > 0 ? low : 0, high, low >= 0 && b.low_open,
                                b.high_open, &any);
    }
    return fine && any ? PACKLLM_OK : schema_error(s, "the schema is too large");
}

/* ---- strings ---------------------------------------------------------------------------------- */

#define YEAR "[0-9]{4}"
#define MONTH_DAY                                                                                  \
    "((\"0\" [13578] | \"1\" [02]) \"-\" (\"0\" [1-9] | [12] [0-9] | \"3\" [01]) | (\"0\" [469] "  \
    "| "                                                                                           \
    "\"11\") \"-\" (\"0\" [1-9] | [12] [0-9] | \"30\") | \"02-\" (\"0\" [1-9] | \"1\" [0-9] | "    \
    "\"2\" [0-8]))"
#define DATE                                                                                       \
    "(\"000\" [1-9] | \"00\" [1-9] [0-9] | \"0\" [1-9] [0-9]{2} | [1-9] [0-9]{3}) "                \
    "\"-\" " MONTH_DAY
#define TIME                                                                                       \
    "([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9] \":\" [0-5] [0-9] (\".\" [0-9]{1,6})? (\"Z\" | " \
    "[-+] ([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9])"
#define BYTE "(\"25\" [0-5] | \"2\" [0-4] [0-9] | \"1\" [0-9]{2} | [1-9]? [0-9])"

static const struct {
    const char *name, *body;
} FORMATS[] = {
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE " \"T\" " TIME},
    {"uuid", "hex{8} (\"-\" hex{4}){3} \"-\" hex{12}"},
    {"ipv4", BYTE " (\".\" " BYTE "){3}"},
    {"email", "[a-zA-Z0-9_]{1,30} (\".\" [a-zA-Z0-9_]{1,30}){0,3} \"@\" [a-z0-9]{1,30} (\".\" "
              "[a-z]{2,10}){1,3}"},
};

enum packllm_status schema_string(struct schema *s, const struct value *v, struct buf *out) {
    const struct value *pattern = value_get(v, "pattern"), *format = value_get(v, "format");
    uint32_t least = 0, most = UINT32_MAX;
    enum packllm_status status = schema_count(s, v, "minLength", &least);
    status = status < 0 ? status : schema_count(s, v, "maxLength", &most);
    if (status < 0) {
        return status;
    }
    size_t size = 0;
    bool lengths = least > 0 || most != UINT32_MAX, fine = true;
    const char *body = NULL;
    if (format != NULL && value_kind(format) == VALUE_TEXT) {
        for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++) {
            body = strcmp(FORMATS[i].name, value_text(format, &size)) == 0 ? FORMATS[i].body : body;
        }
    }
    if ((body != NULL) + (pattern != NULL) + lengths > 1) {
        return schema_error(s, "only one of pattern, format and minLength or maxLength is "
                               "supported for a string");
    }
    if (most < least) {
        return add_never(s, out);
    }
    if (pattern != NULL) {
        if (value_kind(pattern) != VALUE_TEXT) {
            return schema_error(s, "pattern must be a regular expression");
        }
        const char *text = value_text(pattern, &size);
        fine = buf_add_text(out, " \"\\\"\" ");
        status = schema_pattern(s, text, size, out);
        fine = fine && buf_add_text(out, " \"\\\"\"");
    } else if (body != NULL) {
        fine = buf_printf(out, " \"\\\"\" %s \"\\\"\"", body);
    } else if (lengths) {
        fine = buf_add_text(out, " \"\\\"\" char") && schema_add_counts(out, least, most) &&
               buf_add_text(out, " \"\\\"\"");
    } else {
        fine = buf_add_text(out, " string");
    }
    return status < 0 ? status : fine ? PACKLLM_OK : schema_error(s, "the schema is too large");
}

/* ---- enum and const --------------------------------------------------------------------------- */

enum packllm_status schema_accepts(struct schema *s, const struct value *v,
                                   const struct value *instance, bool *out) {
    unsigned types = 0, type = schema_type_of(instance);
    const struct value *list = value_get(v, "enum");
    uint32_t least = 0, most = UINT32_MAX;
    struct bounds b;
    enum packllm_status status = PACKLLM_OK;
    *out = true;
    if (value_get(v, "type") != NULL) {
        status = schema_types(s, v, &types);
        bool whole = type == TYPE_NUMBER && value_number(instance) == floor(value_number(instance));
        *out = (types & (whole ? TYPE_INTEGER | TYPE_NUMBER : type)) != 0;
    }
    if (status >= 0 && list != NULL && value_get(v, "const") != NULL) {
        bool found = false;
        for (size_t i = 0; i < value_count(list); i++) {
            found = found || value_equal(value_at(list, i), instance);
        }
        *out = *out && found;
    }
    status = status < 0 ? status : read_bounds(s, v, &b);
    status = status < 0 ? status : schema_count(s, v, "minLength", &least);
    status = status < 0 ? status : schema_count(s, v, "maxLength", &most);
    if (status < 0) {
        return status;
    }
    if (type == TYPE_INTEGER || type == TYPE_NUMBER) {
        double x = value_number(instance);
        *out = *out && (b.low_open ? x > b.low : x >= b.low) &&
               (b.high_open ? x < b.high : x <= b.high);
    } else if (type == TYPE_STRING) {
        size_t size = 0, n = 0;
        const char *text = value_text(instance, &size);
        for (size_t i = 0; i < size; i++) {
            n += ((uint8_t)text[i] & 0xc0) != 0x80 ? 1 : 0;
        }
        *out = *out && n >= least && n <= most;
    }
    return PACKLLM_OK;
}
