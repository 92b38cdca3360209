/* schema_pattern.c - a regular expression (the common part of ECMA 262's) as GBNF over the body of a
 * JSON string: what JSON escapes is written escaped. Not anchored, it may stand anywhere in the
 * string. \w, \d and \s mean ASCII, and so do \W, \D and \S, which every reader of patterns agrees on.
 */
#include <stdlib.h>
#include <string.h>

#include "grammar/schema.h"

enum { RANGES_MAX = 256, PATTERN_DEPTH = 40, REPEAT_MOST = 100000 };

struct range32 {
    uint32_t low, high;
};

struct char_set {
    struct range32 ranges[RANGES_MAX];
    size_t n;
    bool full, ascii; /* too many ranges; only ASCII is meant */
};

struct pattern {
    struct schema *s;
    struct buf *out;
    const char *text;
    size_t at, end;
    unsigned depth;
    bool anchored;
};

static enum packllm_status refuse(struct pattern *p, const char *what) {
    return schema_error(p->s, "pattern, at character %zu: %s", p->at + 1, what);
}

static enum packllm_status done(struct pattern *p, bool fine) {
    return fine ? PACKLLM_OK : schema_error(p->s, "the schema is too large");
}

static int peek(const struct pattern *p) {
    return p->at < p->end ? (uint8_t)p->text[p->at] : -1;
}

static void add_range(struct char_set *set, uint32_t low, uint32_t high) {
    if (set->n == RANGES_MAX) {
        set->full = true;
        return;
    }
    set->ranges[set->n++] = (struct range32){low, high};
}

static uint32_t read_utf8(struct pattern *p) {
    uint8_t c = (uint8_t)p->text[p->at++];
    unsigned n = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    uint32_t value = n == 0 ? c : c & (0x3fU >> n);
    for (; n > 0; n--) {
        value = value << 6 | ((uint8_t)p->text[p->at++] & 0x3fU);
    }
    return value;
}

static bool in_set(const struct char_set *set, uint32_t c) {
    for (size_t i = 0; i < set->n; i++) {
        if (c >= set->ranges[i].low && c <= set->ranges[i].high) {
            return true;
        }
    }
    return false;
}

static void add_named(struct char_set *set, int name) {
    struct char_set one = {.n = 0};
    int kind = name | 32;
    if (kind == 'd' || kind == 'w') {
        add_range(&one, '0', '9');
    }
    if (kind == 'w') {
        add_range(&one, 'A', 'Z');
        add_range(&one, 'a', 'z');
        add_range(&one, '_', '_');
    }
    if (kind == 's') {
        add_range(&one, '\t', '\n');
        add_range(&one, '\f', '\r');
        add_range(&one, ' ', ' ');
    }
    set->ascii = true;
    for (uint32_t c = 0x20; name < 'a' && c < 0x7f; c++) {
        if (!in_set(&one, c)) {
            add_range(set, c, c);
        }
    }
    for (size_t i = 0; name >= 'a' && i < one.n; i++) {
        add_range(set, one.ranges[i].low, one.ranges[i].high);
    }
}

/* Behind a backslash: a named set (*named), or one character. */
static enum packllm_status read_escape(struct pattern *p, struct char_set *set, bool in_class,
                                       uint32_t *out, bool *named) {
    int c = peek(p);
    static const char from[] = "tnrfv0", to[] = "\t\n\r\f\v";
    const char *letter = c > 0 ? strchr(from, c) : NULL;
    *named = false;
    if (c > 0 && strchr("dDwWsS", c) != NULL) {
        add_named(set, c);
        *named = true;
    } else if (letter != NULL) {
        *out = (uint8_t)to[letter - from];
    } else if (c == 'b' && in_class) {
        *out = '\b';
    } else if (c == 'x' || c == 'u') {
        unsigned digits = c == 'x' ? 2 : 4;
        uint32_t value = 0;
        for (unsigned i = 0; i < digits; i++) {
            p->at++;
            int h = peek(p);
            int digit = h >= '0' && h <= '9'                ? h - '0'
                        : (h | 32) >= 'a' && (h | 32) <= 'f' ? (h | 32) - 'a' + 10
                                                             : -1;
            if (digit < 0) {
                return refuse(p, "hexadecimal digits are missing");
            }
            value = value << 4 | (uint32_t)digit;
        }
        if (value >= 0xd800 && value <= 0xdfff) {
            return refuse(p, "surrogates are not supported");
        }
        *out = value;
    } else if (c < 0 || c >= 0x80 || (c >= '1' && c <= '9') || (c >= 'a' && c <= 'z') ||
               (c >= 'A' && c <= 'Z')) {
        return refuse(p, "this escape is not supported");
    } else {
        *out = (uint32_t)c;
    }
    p->at++;
    return PACKLLM_OK;
}

/* ---- writing a set ---------------------------------------------------------------------------- */

static int by_low(const void *left, const void *right) {
    const struct range32 *a = left;
    const struct range32 *b = right;
    return (a->low > b->low) - (a->low < b->low);
}

static void complement(struct char_set *set) {
    struct char_set out = {.n = 0};
    uint32_t next = 0, last = set->ascii ? 0x7e : 0x10ffff;
    qsort(set->ranges, set->n, sizeof *set->ranges, by_low);
    for (size_t i = 0; i < set->n; i++) {
        if (set->ranges[i].low > next) {
            add_range(&out, next, set->ranges[i].low - 1);
        }
        next = set->ranges[i].high + 1 > next ? set->ranges[i].high + 1 : next;
    }
    if (next <= last) {
        add_range(&out, next, last);
    }
    out.full = out.full || set->full;
    *set = out;
}

/* A range without what JSON escapes, piece by piece. */
static bool add_plain(struct buf *out, uint32_t low, uint32_t high, bool *any) {
    static const uint32_t escaped[] = {'"', '\\', 0x7f};
    low = low < 0x20 ? 0x20 : low;
    for (size_t i = 0; i < 3; i++) {
        if (low <= escaped[i] && escaped[i] <= high) {
            if (low < escaped[i] && !add_plain(out, low, escaped[i] - 1, any)) {
                return false;
            }
            low = escaped[i] + 1;
        }
    }
    if (low > high || (low >= 0xd800 && high <= 0xdfff)) {
        return true;
    }
    low = low >= 0xd800 && low <= 0xdfff ? 0xe000 : low;
    high = high >= 0xd800 && high <= 0xdfff ? 0xd7ff : high;
    bool fine = *any || buf_add_text(out, "[");
    *any = true;
    return fine && buf_printf(out, "\\U%08x-\\U%08x", (unsigned)low, (unsigned)high);
}

static enum packllm_status write_set(struct pattern *p, struct char_set *set) {
    bool any = false, fine = buf_add_text(p->out, " (");
    if (set->full) {
        return refuse(p, "the class has too many ranges");
    }
    for (size_t i = 0; i < set->n; i++) {
        fine = fine && add_plain(p->out, set->ranges[i].low, set->ranges[i].high, &any);
    }
    fine = fine && (!any || buf_add_text(p->out, "]"));
    for (uint32_t c = 0; c < 0x80; c++) {
        if (!in_set(set, c) || !(c < 0x20 || c == '"' || c == '\\' || c == 0x7f)) {
            continue;
        }
        static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
        const char *letter = c != 0 ? strchr(from, (int)c) : NULL;
        char text[8] = {'\\', letter != NULL ? to[letter - from] : 'u', '\0'};
        static const char hex[] = "0123456789abcdef";
        if (letter == NULL) {
            memcpy(text + 2, (char[4]){'0', '0', hex[c >> 4], hex[c & 15]}, 4);
        }
        fine = fine && (!any || buf_add_text(p->out, " | ")) &&
               schema_add_literal(p->out, text, strlen(text));
        any = true;
    }
    return done(p, fine && buf_add_text(p->out, any ? ")" : "never)"));
}

static enum packllm_status read_class(struct pattern *p) {
    struct char_set set = {.n = 0};
    bool negated = false;
    p->at++;
    if (peek(p) == '^') {
        negated = true;
        p->at++;
    }
    while (peek(p) != ']') {
        uint32_t ends[2] = {0, 0};
        bool named = false;
        if (peek(p) < 0) {
            return refuse(p, "the class has no closing ']'");
        }
        for (int k = 0; k < 2; k++) {
            if (peek(p) == '\\') {
                p->at++;
                enum packllm_status status = read_escape(p, &set, true, &ends[k], &named);
                if (status < 0) {
                    return status;
                }
            } else if (peek(p) >= 0) {
                ends[k] = read_utf8(p);
            }
            bool range = !named && k == 0 && peek(p) == '-' && p->at + 1 < p->end &&
                         p->text[p->at + 1] != ']';
            if (!range) {
                ends[1] = k == 0 ? ends[0] : ends[1];
                break;
            }
            p->at++;
        }
        if (!named && ends[1] < ends[0]) {
            return refuse(p, "the range runs backwards");
        }
        if (!named) {
            add_range(&set, ends[0], ends[1]);
        }
    }
    p->at++;
    if (negated) {
        complement(&set);
    }
    return write_set(p, &set);
}

/* ---- the expression --------------------------------------------------------------------------- */

static enum packllm_status read_choice(struct pattern *p);

static enum packllm_status read_atom(struct pattern *p) {
    struct char_set set = {.n = 0};
    uint32_t c = 0;
    bool named = false;
    enum packllm_status status = PACKLLM_OK;
    switch (peek(p)) {
    case '[':
        return read_class(p);
    case '(':
        p->at++;
        if (peek(p) == '?') {
            if (p->at + 1 >= p->end || p->text[p->at + 1] != ':') {
                return refuse(p, "only groups ( ) and (?: ) are supported");
            }
            p->at += 2;
        }
        if (++p->depth > PATTERN_DEPTH) {
            return refuse(p, "groups are nested too deeply");
        }
        status = done(p, buf_add_text(p->out, " ("));
        status = status < 0 ? status : read_choice(p);
        if (status >= 0 && peek(p) != ')') {
            status = refuse(p, "')' is missing");
        }
        p->at++;
        p->depth--;
        return status < 0 ? status : done(p, buf_add_text(p->out, ")"));
    case '.':
        p->at++;
        add_range(&set, '\n', '\n');
        add_range(&set, '\r', '\r');
        add_range(&set, 0x2028, 0x2029);
        complement(&set);
        return write_set(p, &set);
    case '^':
    case '$':
        return refuse(p, "^ is supported at the beginning only, $ at the end only");
    case '*':
    case '+':
    case '?':
    case '{':
        return refuse(p, "there is nothing to repeat");
    case '\\':
        p->at++;
        status = read_escape(p, &set, false, &c, &named);
        break;
    default:
        c = read_utf8(p);
    }
    if (!named) {
        add_range(&set, c, c);
    }
    return status < 0 ? status : write_set(p, &set);
}

static enum packllm_status read_number(struct pattern *p, uint32_t *out) {
    *out = 0;
    if (peek(p) < '0' || peek(p) > '9') {
        return refuse(p, "a number of repetitions is missing");
    }
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++) {
        *out = *out * 10 + (uint32_t)(peek(p) - '0');
        if (*out > REPEAT_MOST) {
            return refuse(p, "too many repetitions");
        }
    }
    return PACKLLM_OK;
}

static enum packllm_status read_suffix(struct pattern *p) {
    int c = peek(p);
    uint32_t min = 0, max = UINT32_MAX;
    bool fine = true;
    if (c == '*' || c == '+' || c == '?') {
        char text[2] = {(char)c, '\0'};
        fine = buf_add_text(p->out, text);
        p->at++;
    } else if (c == '{') {
        p->at++;
        enum packllm_status status = read_number(p, &min);
        max = min;
        if (status >= 0 && peek(p) == ',') {
            p->at++;
            max = UINT32_MAX;
            status = peek(p) == '}' ? PACKLLM_OK : read_number(p, &max);
        }
        if (status < 0 || peek(p) != '}' || max < min) {
            return status < 0 ? status : refuse(p, "the repetition {m,n} is not right");
        }
        p->at++;
        fine = schema_add_counts(p->out, min, max);
    } else {
        return PACKLLM_OK;
    }
    p->at += peek(p) == '?' ? 1 : 0; /* how greedy it is changes nothing in what matches */
    return done(p, fine);
}

static enum packllm_status read_choice(struct pattern *p) {
    enum packllm_status status = PACKLLM_OK;
    while (status >= 0 && peek(p) >= 0 && peek(p) != ')') {
        if (peek(p) == '|') {
            if (p->depth == 0 && p->anchored) {
                return refuse(p, "alternatives beside ^ or $: put them into parentheses");
            }
            p->at++;
            status = done(p, buf_add_text(p->out, " |"));
        } else {
            status = read_atom(p);
            status = status < 0 ? status : read_suffix(p);
        }
    }
    return status;
}

enum packllm_status schema_pattern(struct schema *s, const char *text, size_t size,
                                   struct buf *out) {
    struct pattern p = {.s = s, .out = out, .text = text, .end = size};
    size_t slashes = 0;
    bool begin = size > 0 && text[0] == '^';
    p.at = begin ? 1 : 0;
    while (size > 1 && slashes < size - 1 && text[size - 2 - slashes] == '\\') {
        slashes++;
    }
    bool end = size > p.at && text[size - 1] == '$' && slashes % 2 == 0;
    p.end = end ? size - 1 : size;
    p.anchored = begin || end;
    bool fine = buf_add_text(out, begin ? " (" : " char* (");
    enum packllm_status status = done(&p, fine);
    status = status < 0 ? status : read_choice(&p);
    if (status >= 0 && p.at < p.end) {
        status = refuse(&p, "')' without '('");
    }
    return status < 0 ? status : done(&p, buf_add_text(out, end ? ")" : ") char*"));
}
