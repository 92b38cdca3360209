/* parse.c - GBNF, llama.cpp's language of grammars, read by recursive descent:
 *
 *   grammar    = { name "::=" choice newline }      "#" begins a comment
 *   choice     = sequence { "|" sequence }
 *   sequence   = { ( literal | class | "." | name | "(" choice ")" ) { suffix } }
 *   suffix     = "*" | "+" | "?" | "{" m "}" | "{" m "," [ n ] "}"
 *
 * A rule ends with its line, except within parentheses and behind "|" and "::=".
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "base/utf8.h"
#include "grammar/private.h"

struct parser {
    struct builder *b;
    size_t at;
    unsigned depth;
    struct packllm_error *err;
};

enum packllm_status grammar_error(const struct builder *b, size_t at, struct packllm_error *err,
                                  const char *format, ...) {
    char what[400];
    size_t line = 1, column = 1;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    for (size_t i = 0; i < at && i < b->size; i++) {
        uint8_t c = (uint8_t)b->text[i];
        if (c == '\n') {
            line++;
            column = 1;
        } else if ((c & 0xc0) != 0x80) {
            column++;
        }
    }
    return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "grammar, line %zu, column %zu: %s", line,
                column, what);
}

/* What stands at a place, for messages. */
static const char *found(const struct parser *p, char *out, size_t room) {
    uint8_t c = p->at < p->b->size ? (uint8_t)p->b->text[p->at] : 0;
    if (p->at >= p->b->size) {
        (void)snprintf(out, room, "the end");
    } else if (c == '\n' || c == '\r') {
        (void)snprintf(out, room, "the end of the line");
    } else if (c < 0x20 || c >= 0x7f) {
        (void)snprintf(out, room, "byte 0x%02x", (unsigned)c);
    } else {
        (void)snprintf(out, room, "'%c'", (char)c);
    }
    return out;
}

static enum packllm_status expected(const struct parser *p, const char *what) {
    char here[32];
    return grammar_error(p->b, p->at, p->err, "expected %s, found %s", what,
                         found(p, here, sizeof here));
}

static int peek(const struct parser *p) {
    return p->at < p->b->size ? (uint8_t)p->b->text[p->at] : -1;
}

static bool is_word(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

static void skip_space(struct parser *p, bool lines) {
    for (;;) {
        int c = peek(p);
        if (c == '#') {
            while (p->at < p->b->size && peek(p) != '\n' && peek(p) != '\r') {
                p->at++;
            }
        } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
            p->at++;
        } else {
            return;
        }
    }
}

/* ---- characters ----------------------------------------------------------------------------------- */

static enum packllm_status read_escape(struct parser *p, uint32_t *out) {
    size_t begin = p->at++;
    int c = peek(p);
    unsigned digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (c < 0) {
        return expected(p, "the rest of an escape");
    }
    p->at++;
    if (digits == 0) {
        const char *names = "tnr\\\"[]-", *values = "\t\n\r\\\"[]-";
        const char *name = c == 0 ? NULL : strchr(names, c);
        if (name == NULL) {
            p->at = begin;
            return grammar_error(p->b, begin, p->err,
                                 "no escape is called so; there are \\n \\r \\t \\\\ \\\" \\[ \\] "
                                 "\\- \\xHH \\uHHHH \\UHHHHHHHH");
        }
        *out = (uint8_t)values[name - names];
        return PACKLLM_OK;
    }
    uint32_t value = 0;
    for (unsigned i = 0; i < digits; i++, p->at++) {
        c = peek(p);
        int digit = c >= '0' && c <= '9'                ? c - '0'
                    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                         : -1;
        if (digit < 0) {
            char what[40];
            (void)snprintf(what, sizeof what, "%u hexadecimal digits", digits);
            return expected(p, what);
        }
        value = value << 4 | (uint32_t)digit;
    }
    if (value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
        return grammar_error(p->b, begin, p->err, "U+%04X is no character", (unsigned)value);
    }
    *out = value;
    return PACKLLM_OK;
}

/* One character of a literal or a class; the source is valid UTF-8. */
static enum packllm_status read_char(struct parser *p, uint32_t *out) {
    if (peek(p) == '\\') {
        return read_escape(p, out);
    }
    uint8_t c = (uint8_t)peek(p);
    unsigned n = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    uint32_t value = n == 0 ? c : c & (0x3fU >> n);
    p->at++;
    for (unsigned i = 0; i < n; i++) {
        value = value << 6 | ((uint8_t)p->b->text[p->at++] & 0x3fU);
    }
    *out = value;
    return PACKLLM_OK;
}

static enum packllm_status parse_literal(struct parser *p, uint32_t *end) {
    size_t begin = p->at++;
    while (peek(p) != '"') {
        uint32_t c = 0;
        if (p->at >= p->b->size) {
            return grammar_error(p->b, begin, p->err, "the literal has no closing '\"'");
        }
        enum packllm_status status = read_char(p, &c);
        if (status < 0) {
            return status;
        }
        uint32_t next = build_state(p->b);
        build_range(p->b, *end, (struct range){c, c}, next);
        *end = next;
    }
    p->at++;
    return PACKLLM_OK;
}

static int by_low(const void *left, const void *right) {
    const struct range *a = left;
    const struct range *b = right;
    return (a->low > b->low) - (a->low < b->low);
}

/* Sorted, without overlaps; negated: what lies between. */
static void add_class(struct builder *b, struct range *ranges, size_t n, bool negated,
                      uint32_t from, uint32_t to) {
    uint32_t next = 0; /* first character not yet looked at */
    qsort(ranges, n, sizeof *ranges, by_low);
    for (size_t i = 0; i < n; i++) {
        uint32_t low = ranges[i].low > next ? ranges[i].low : next;
        if (negated && ranges[i].low > next) {
            build_range(b, from, (struct range){next, ranges[i].low - 1}, to);
        } else if (!negated && low <= ranges[i].high) {
            build_range(b, from, (struct range){low, ranges[i].high}, to);
        }
        next = ranges[i].high + 1 > next ? ranges[i].high + 1 : next;
    }
    if (negated && next <= 0x10ffff) {
        build_range(b, from, (struct range){next, 0x10ffff}, to);
    }
}

static enum packllm_status parse_class(struct parser *p, uint32_t from, uint32_t to) {
    size_t begin = p->at++, n = 0, room = 0;
    bool negated = peek(p) == '^';
    struct range *ranges = NULL;
    enum packllm_status status = PACKLLM_OK;
    p->at += negated ? 1 : 0;
    while (status >= 0 && peek(p) != ']') {
        struct range range = {0, 0};
        size_t at = p->at;
        if (p->at >= p->b->size) {
            status = grammar_error(p->b, begin, p->err, "the class has no closing ']'");
            break;
        }
        status = read_char(p, &range.low);
        range.high = range.low;
        if (status >= 0 && peek(p) == '-' && p->at + 1 < p->b->size &&
            p->b->text[p->at + 1] != ']') {
            p->at++;
            status = read_char(p, &range.high);
        }
        if (status >= 0 && range.high < range.low) {
            status = grammar_error(p->b, at, p->err, "the range U+%04X-U+%04X runs backwards",
                                   (unsigned)range.low, (unsigned)range.high);
        }
        if (n == room) {
            room = room == 0 ? 16 : 2 * room;
            struct range *more = alloc_resize(ranges, room, sizeof *ranges);
            if (more == NULL) {
                base_free(ranges);
                return fail_memory(p->err, room * sizeof *ranges);
            }
            ranges = more;
        }
        ranges[n++] = range;
    }
    if (status >= 0 && n == 0 && !negated) {
        status = grammar_error(p->b, begin, p->err, "the class [] has no character");
    }
    if (status >= 0) {
        p->at++;
        if (n == 0) {
            build_range(p->b, from, (struct range){0, 0x10ffff}, to);
        } else {
            add_class(p->b, ranges, n, negated, from, to);
        }
    }
    base_free(ranges);
    return status;
}

/* ---- sequences ------------------------------------------------------------------------------------ */

static enum packllm_status read_count(struct parser *p, uint32_t *out) {
    size_t begin = p->at;
    uint32_t value = 0;
    if (peek(p) < '0' || peek(p) > '9') {
        return expected(p, "a number of repetitions");
    }
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++) {
        value = value * 10 + (uint32_t)(peek(p) - '0');
        if (value > GRAMMAR_STATES_MAX) {
            return grammar_error(p->b, begin, p->err, "more than %d repetitions",
                                 GRAMMAR_STATES_MAX);
        }
    }
    *out = value;
    skip_space(p, p->depth > 0);
    return PACKLLM_OK;
}

static enum packllm_status parse_counts(struct parser *p, uint32_t *min, uint32_t *max) {
    size_t begin = p->at++;
    skip_space(p, p->depth > 0);
    *min = 0;
    enum packllm_status status = peek(p) == ',' ? PACKLLM_OK : read_count(p, min);
    *max = *min;
    if (status >= 0 && peek(p) == ',') {
        p->at++;
        skip_space(p, p->depth > 0);
        *max = GRAMMAR_NONE;
        status = peek(p) == '}' ? PACKLLM_OK : read_count(p, max);
    }
    if (status >= 0 && peek(p) != '}') {
        status = expected(p, "',' or '}'");
    }
    if (status >= 0 && *max < *min) {
        status = grammar_error(p->b, begin, p->err, "{%u,%u}: the second number is the smaller one",
                               (unsigned)*min, (unsigned)*max);
    }
    p->at++;
    return status;
}

static enum packllm_status parse_suffixes(struct parser *p, uint32_t *start, uint32_t *end) {
    for (;;) {
        uint32_t min = 0, max = GRAMMAR_NONE;
        int c = peek(p);
        if (c == '{') {
            enum packllm_status status = parse_counts(p, &min, &max);
            if (status < 0) {
                return status;
            }
        } else if (c == '*' || c == '+' || c == '?') {
            min = c == '+' ? 1 : 0;
            max = c == '?' ? 1 : GRAMMAR_NONE;
            p->at++;
        } else {
            return PACKLLM_OK;
        }
        build_repeat(p->b, start, end, min, max);
        skip_space(p, p->depth > 0);
    }
}

static enum packllm_status parse_choice(struct parser *p, uint32_t start, uint32_t end);

/* One element from start; *end: where it ends. *none: there is no element here. */
static enum packllm_status parse_element(struct parser *p, uint32_t start, uint32_t *end,
                                         bool *none) {
    struct builder *b = p->b;
    enum packllm_status status = PACKLLM_OK;
    size_t begin = p->at;
    int c = peek(p);
    if (c == '"') {
        *end = start;
        return parse_literal(p, end);
    }
    if (c == '<' || c == '!') {
        return grammar_error(b, p->at, p->err,
                             "tokens in grammars are not supported: write their text as a literal");
    }
    if (c == '*' || c == '+' || c == '?' || c == '{') {
        return expected(p, "something to repeat");
    }
    *none = c != '[' && c != '.' && c != '(' && !is_word(c);
    if (*none) {
        return status;
    }
    *end = build_state(b);
    if (c == '[') {
        status = parse_class(p, start, *end);
    } else if (c == '.') {
        p->at++;
        build_range(b, start, (struct range){0, 0x10ffff}, *end);
    } else if (c == '(') {
        p->at++;
        if (++p->depth > GRAMMAR_DEPTH_MAX) {
            return grammar_error(b, begin, p->err, "groups are nested deeper than %d",
                                 GRAMMAR_DEPTH_MAX);
        }
        skip_space(p, true);
        status = parse_choice(p, start, *end);
        if (status >= 0 && peek(p) != ')') {
            status = expected(p, "')'");
        }
        p->at++;
        p->depth--;
    } else {
        while (is_word(peek(p))) {
            p->at++;
        }
        uint32_t rule = build_name(b, begin, p->at - begin);
        if (rule != GRAMMAR_NONE) {
            build_call(b, start, rule, *end);
        }
    }
    return status;
}

static enum packllm_status parse_choice(struct parser *p, uint32_t start, uint32_t end) {
    struct builder *b = p->b;
    for (;;) {
        uint32_t at = start;
        for (;;) {
            uint32_t first = build_state(b), last = first, begin = first;
            bool none = false;
            enum packllm_status status = parse_element(p, begin, &last, &none);
            if (status < 0 || none) {
                if (status < 0) {
                    return status;
                }
                break;
            }
            skip_space(p, p->depth > 0);
            status = parse_suffixes(p, &first, &last);
            if (status < 0) {
                return status;
            }
            if (b->full || b->no_memory) {
                return PACKLLM_OK; /* said by the caller */
            }
            build_free(b, at, first);
            at = last;
        }
        build_free(b, at, end);
        if (peek(p) != '|') {
            return PACKLLM_OK;
        }
        p->at++;
        skip_space(p, true);
    }
}

static enum packllm_status parse_rule(struct parser *p) {
    struct builder *b = p->b;
    size_t begin = p->at;
    while (is_word(peek(p))) {
        p->at++;
    }
    if (p->at == begin) {
        return expected(p, "the name of a rule");
    }
    size_t size = p->at - begin;
    skip_space(p, false);
    if (b->size - p->at < 3 || memcmp(b->text + p->at, "::=", 3) != 0) {
        return expected(p, "'::='");
    }
    p->at += 3;
    skip_space(p, true);
    uint32_t rule = build_name(b, begin, size);
    if (rule == GRAMMAR_NONE) {
        return PACKLLM_OK;
    }
    if (b->g->rules[rule].defined) {
        return grammar_error(b, begin, p->err, "the rule '%.*s' is defined twice",
                             (int)(size < 64 ? size : 64), b->text + begin);
    }
    b->g->rules[rule].defined = true;
    b->g->rules[rule].where = begin;
    enum packllm_status status =
        parse_choice(p, b->g->rules[rule].start, b->g->rules[rule].end);
    if (status >= 0 && !b->full && !b->no_memory && p->at < b->size && peek(p) != '\n' &&
        peek(p) != '\r') {
        status = expected(p, "an element, '|' or the end of the line");
    }
    skip_space(p, true);
    return status;
}

enum packllm_status grammar_parse(struct builder *b, struct packllm_error *err) {
    struct parser p = {.b = b, .err = err};
    if (b->size > GRAMMAR_TEXT_MAX) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "the grammar is longer than %d bytes", GRAMMAR_TEXT_MAX);
    }
    size_t good = utf8_check(b->text, b->size);
    if (good < b->size) {
        return grammar_error(b, good, err, "the grammar is not valid UTF-8 at byte %zu", good);
    }
    skip_space(&p, true);
    while (p.at < b->size) {
        size_t at = p.at;
        enum packllm_status status = parse_rule(&p);
        if (status < 0) {
            return status;
        }
        if (b->no_memory) {
            return fail_memory(err, b->edges_room * sizeof(struct edge));
        }
        if (b->full) {
            return grammar_error(b, at, err,
                                 "the grammar is too large: with this rule it has more than %d "
                                 "states or %d steps; fewer repetitions make it smaller",
                                 GRAMMAR_STATES_MAX, GRAMMAR_EDGES_MAX);
        }
    }
    return PACKLLM_OK;
}
