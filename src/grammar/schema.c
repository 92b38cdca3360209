/* schema.c - JSON Schema to GBNF: one rule for each schema, so that $ref may lead back.
 *
 * What is written satisfies the schema; not all that satisfies it can be written: keys stand in the
 * schema's order, white space is short, an object that names its properties has no others unless
 * additionalProperties asks for them, and a schema without a type is read as of the type that its
 * keywords are about. A keyword that would have to be obeyed and cannot be is refused by name.
 */
#include "grammar/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

static const char *const PRELUDE =
    "w ::= | \" \" | \"\\n\" [ \\t]{0,20}\n"
    "plain ::= [^\"\\\\\\x00-\\x1f\\x7f]\n"
    "hex ::= [0-9a-fA-F]\n"
    "char ::= plain | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" ([0-9a-cA-CefEF] hex | [dD] [0-7]) hex "
    "hex)\n"
    "string ::= \"\\\"\" char* \"\\\"\"\n"
    "int ::= \"0\" | [1-9] [0-9]{0,14}\n"
    "integer ::= \"-\"? int\n"
    "number ::= \"-\"? int (\".\" [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?\n"
    "value ::= object | array | string | number | \"true\" | \"false\" | \"null\"\n"
    "object ::= \"{\" w (member (\",\" w member)*)? \"}\"\n"
    "member ::= string \":\" w value w\n"
    "array ::= \"[\" w (value w (\",\" w value w)*)? \"]\"\n"
    "never ::= \"x\" never\n";

enum packllm_status schema_error(struct schema *s, const char *format, ...) {
    char what[600];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return fail(s->err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "JSON schema, at '#%.200s': %s",
                s->path.size > 0 ? s->path.data : "", what);
}

/* ---- what a schema says ----------------------------------------------------------------------- */

struct keyword {
    const char *name;
    unsigned types; /* that it is about; 0: of any */
    bool refused;
};

static const struct keyword KEYWORDS[] = {
    {"type", 0, false},
    {"enum", 0, false},
    {"const", 0, false},
    {"anyOf", 0, false},
    {"oneOf", 0, false},
    {"allOf", 0, false},
    {"$ref", 0, false},
    {"properties", TYPE_OBJECT, false},
    {"required", TYPE_OBJECT, false},
    {"additionalProperties", TYPE_OBJECT, false},
    {"minProperties", TYPE_OBJECT, false},
    {"maxProperties", TYPE_OBJECT, false},
    {"items", TYPE_ARRAY, false},
    {"prefixItems", TYPE_ARRAY, false},
    {"additionalItems", TYPE_ARRAY, false},
    {"minItems", TYPE_ARRAY, false},
    {"maxItems", TYPE_ARRAY, false},
    {"uniqueItems", TYPE_ARRAY, false},
    {"minLength", TYPE_STRING, false},
    {"maxLength", TYPE_STRING, false},
    {"pattern", TYPE_STRING, false},
    {"format", TYPE_STRING, false},
    {"minimum", TYPE_NUMBER | TYPE_INTEGER, false},
    {"maximum", TYPE_NUMBER | TYPE_INTEGER, false},
    {"exclusiveMinimum", TYPE_NUMBER | TYPE_INTEGER, false},
    {"exclusiveMaximum", TYPE_NUMBER | TYPE_INTEGER, false},
    {"multipleOf", TYPE_NUMBER | TYPE_INTEGER, true},
    {"not", 0, true},
    {"if", 0, true},
    {"then", 0, true},
    {"else", 0, true},
    {"dependentSchemas", 0, true},
    {"dependentRequired", 0, true},
    {"dependencies", 0, true},
    {"patternProperties", 0, true},
    {"propertyNames", 0, true},
    {"contains", 0, true},
    {"minContains", 0, true},
    {"maxContains", 0, true},
    {"unevaluatedProperties", 0, true},
    {"unevaluatedItems", 0, true},
    {"$dynamicRef", 0, true},
    {"$recursiveRef", 0, true},
};

static const struct keyword *find_keyword(const char *name) {
    for (size_t i = 0; i < sizeof KEYWORDS / sizeof *KEYWORDS; i++) {
        if (strcmp(KEYWORDS[i].name, name) == 0) {
            return &KEYWORDS[i];
        }
    }
    return NULL;
}

bool schema_is_note(const char *key) {
    return find_keyword(key) == NULL;
}

static const struct {
    const char *name;
    unsigned bits;
} TYPES[] = {{"null", TYPE_NULL},       {"boolean", TYPE_BOOLEAN},
             {"integer", TYPE_INTEGER}, {"number", TYPE_NUMBER | TYPE_INTEGER},
             {"string", TYPE_STRING},   {"array", TYPE_ARRAY},
             {"object", TYPE_OBJECT}};

static enum packllm_status add_type(struct schema *s, const struct value *name, unsigned *out) {
    size_t size;
    const char *text = value_kind(name) == VALUE_TEXT ? value_text(name, &size) : NULL;
    for (size_t i = 0; text != NULL && i < sizeof TYPES / sizeof *TYPES; i++) {
        if (strcmp(TYPES[i].name, text) == 0) {
            *out |= TYPES[i].bits;
            return PACKLLM_OK;
        }
    }
    return schema_error(s,
                        "type is '%.60s': it must be null, boolean, integer, number, string, "
                        "array or object, or a list of them",
                        text != NULL ? text : "no text");
}

enum packllm_status schema_types(struct schema *s, const struct value *v, unsigned *out) {
    const struct value *type = value_get(v, "type");
    enum packllm_status status = PACKLLM_OK;
    *out = 0;
    if (type != NULL && value_kind(type) == VALUE_LIST) {
        for (size_t i = 0; i < value_count(type) && status >= 0; i++) {
            status = add_type(s, value_at(type, i), out);
        }
        return status;
    }
    if (type != NULL) {
        return add_type(s, type, out);
    }
    for (void *it = value_first(v); it != NULL; it = value_next(v, it)) {
        const struct keyword *keyword = find_keyword(value_key(it));
        *out |= keyword != NULL ? keyword->types : 0;
    }
    return status;
}

unsigned schema_type_of(const struct value *v) {
    static const unsigned types[] = {
        [VALUE_NULL] = TYPE_NULL,     [VALUE_BOOL] = TYPE_BOOLEAN, [VALUE_INTEGER] = TYPE_INTEGER,
        [VALUE_REAL] = TYPE_NUMBER,   [VALUE_TEXT] = TYPE_STRING,  [VALUE_LIST] = TYPE_ARRAY,
        [VALUE_OBJECT] = TYPE_OBJECT,
    };
    return types[value_kind(v)];
}

enum packllm_status schema_resolve(struct schema *s, const struct value *ref,
                                   const struct value **out) {
    size_t size = 0;
    const char *text = value_kind(ref) == VALUE_TEXT ? value_text(ref, &size) : NULL;
    const struct value *at = document_root(s->doc);
    if (text == NULL || text[0] != '#' || (text[1] != '\0' && text[1] != '/')) {
        return schema_error(s,
                            "$ref is '%.100s': only places in this schema, as '#/$defs/name', "
                            "can be meant",
                            text != NULL ? text : "no text");
    }
    const char *p = text + 1;
    while (*p == '/' && at != NULL) {
        char key[256];
        size_t n = 0;
        for (p++; *p != '\0' && *p != '/' && n + 1 < sizeof key; p++) {
            bool tilde = *p == '~' && (p[1] == '0' || p[1] == '1');
            key[n++] = tilde ? (p[1] == '0' ? '~' : '/') : *p;
            p += tilde ? 1 : 0;
        }
        key[n] = '\0';
        if (value_kind(at) == VALUE_OBJECT) {
            at = value_get(at, key);
        } else if (value_kind(at) == VALUE_LIST && n > 0 && strspn(key, "0123456789") == n) {
            size_t i = (size_t)strtoul(key, NULL, 10);
            at = i < value_count(at) ? value_at(at, i) : NULL;
        } else {
            at = NULL;
        }
    }
    if (at == NULL || *p != '\0') {
        return schema_error(s, "$ref '%.100s' leads nowhere", text);
    }
    *out = at;
    return PACKLLM_OK;
}

/* ---- rules ------------------------------------------------------------------------------------ */

enum packllm_status schema_full(struct schema *s) {
    return schema_error(s, "the schema is too large: its grammar is longer than %d bytes",
                        SCHEMA_GRAMMAR_MOST);
}

static enum packllm_status add_schema(struct schema *s, const struct value *v, struct buf *out);

enum packllm_status schema_rule(struct schema *s, const struct value *v, const char *step,
                                struct buf *out) {
    for (size_t i = 0; i < s->n_known; i++) {
        if (s->known[i].schema == v) {
            return buf_printf(out, " s%u", s->known[i].rule) ? PACKLLM_OK : schema_full(s);
        }
    }
    if (s->n_known == s->known_room) {
        size_t room = s->known_room == 0 ? 32 : 2 * s->known_room;
        struct known *known = alloc_resize(s->known, room, sizeof *known);
        if (known == NULL) {
            return fail_memory(s->err, room * sizeof *known);
        }
        s->known = known;
        s->known_room = room;
    }
    size_t path = s->path.size;
    if (path < 1000 && step[0] != '\0') {
        (void)buf_printf(&s->path, "/%.80s", step);
    }
    if (s->depth == SCHEMA_DEPTH_MAX || s->visits >= SCHEMA_VISITS_MAX) {
        return schema_error(s,
                            "schemas are nested deeper than %d, or lead back to themselves by a "
                            "way that cannot be followed",
                            SCHEMA_DEPTH_MAX);
    }
    s->depth++;
    s->visits++;
    unsigned rule = ++s->n_rules;
    s->known[s->n_known++] = (struct known){v, rule};
    struct buf body;
    buf_init(&body, SCHEMA_GRAMMAR_MOST);
    enum packllm_status status = add_schema(s, v, &body);
    if (status >= 0 &&
        !(buf_printf(s->out, "s%u ::=", rule) && buf_add(s->out, body.data, body.size) &&
          buf_add_text(s->out, "\n") && buf_printf(out, " s%u", rule))) {
        status = schema_full(s);
    }
    buf_done(&body);
    if (status >= 0) {
        buf_cut(&s->path, path);
    }
    s->depth--;
    return status;
}

/* ---- any schema ------------------------------------------------------------------------------- */

static enum packllm_status add_values(struct schema *s, const struct value *v,
                                      const struct value *list, const struct value *one,
                                      struct buf *out) {
    size_t n = one != NULL ? 1 : value_count(list);
    bool any = false;
    for (void *it = value_first(v); it != NULL; it = value_next(v, it)) {
        static const char *const heard[] = {"type",
                                            "enum",
                                            "const",
                                            "minimum",
                                            "maximum",
                                            "exclusiveMinimum",
                                            "exclusiveMaximum",
                                            "minLength",
                                            "maxLength"};
        bool known = schema_is_note(value_key(it));
        for (size_t i = 0; i < sizeof heard / sizeof *heard; i++) {
            known = known || strcmp(heard[i], value_key(it)) == 0;
        }
        if (!known) {
            return schema_error(s, "'%.60s' beside enum or const is not supported", value_key(it));
        }
    }
    for (size_t i = 0; i < n; i++) {
        const struct value *value = one != NULL ? one : value_at(list, i);
        struct buf text;
        bool accepted = false, fine = true;
        enum packllm_status status = schema_accepts(s, v, value, &accepted);
        if (status < 0) {
            return status;
        }
        if (accepted) {
            buf_init(&text, SCHEMA_GRAMMAR_MOST);
            fine = value_dump(value, &text) && buf_add_text(out, any ? " | " : " ") &&
                   schema_add_literal(out, text.data, text.size);
            buf_done(&text);
            any = true;
        }
        if (!fine) {
            return schema_full(s);
        }
    }
    return any || buf_add_text(out, " never") ? PACKLLM_OK : schema_full(s);
}

/* anyOf, oneOf: each branch with what stands beside it. */
static enum packllm_status add_branches(struct schema *s, const struct value *v, const char *key,
                                        struct buf *out) {
    const struct value *list = value_get(v, key);
    struct value *rest = value_make_object(s->doc, NULL);
    bool beside = false, one = strcmp(key, "oneOf") == 0;
    if (value_kind(list) != VALUE_LIST || value_count(list) == 0) {
        return schema_error(s, "%s must be a list of schemas, not an empty one", key);
    }
    for (void *it = value_first(v); rest != NULL && it != NULL; it = value_next(v, it)) {
        if (strcmp(value_key(it), key) != 0 && !schema_is_note(value_key(it))) {
            beside = true;
            rest = value_set(rest, value_key(it), value_of(it)) ? rest : NULL;
        }
    }
    if (rest == NULL) {
        return fail_memory(s->err, 64);
    }
    enum packllm_status status = PACKLLM_OK;
    for (size_t i = 0; i < value_count(list) && status >= 0; i++) {
        const struct value *branch = value_at(list, i);
        char step[40];
        (void)snprintf(step, sizeof step, "%s/%zu", key, i);
        for (size_t k = 0; one && k < i && status >= 0; k++) {
            bool apart = false;
            status = schema_apart(s, value_at(list, k), branch, 4, &apart);
            if (status >= 0 && !apart) {
                status = schema_error(s,
                                      "oneOf: it is not clear that no value satisfies both "
                                      "branch %zu and branch %zu; if either will do, write anyOf",
                                      k, i);
            }
        }
        if (status >= 0 && beside) {
            status = schema_merge(s, rest, branch, &branch);
        }
        if (status >= 0 && i > 0 && !buf_add_text(out, " |")) {
            status = schema_full(s);
        }
        if (status >= 0) {
            status = schema_rule(s, branch, step, out);
        }
    }
    return status;
}

static enum packllm_status check_keys(struct schema *s, const struct value *v) {
    for (void *it = value_first(v); it != NULL; it = value_next(v, it)) {
        const struct keyword *keyword = find_keyword(value_key(it));
        if (keyword != NULL && keyword->refused) {
            return schema_error(s, "'%s' is not supported", value_key(it));
        }
    }
    return PACKLLM_OK;
}

static enum packllm_status add_types(struct schema *s, const struct value *v, struct buf *out) {
    unsigned types = 0;
    enum packllm_status status = schema_types(s, v, &types);
    if (status >= 0 && types == 0) {
        return buf_add_text(out, value_get(v, "type") != NULL ? " never" : " value")
                   ? PACKLLM_OK
                   : schema_full(s);
    }
    bool any = false;
    for (unsigned bit = 1; bit <= TYPE_OBJECT && status >= 0; bit <<= 1) {
        if ((types & bit) == 0 || (bit == TYPE_INTEGER && (types & TYPE_NUMBER) != 0)) {
            continue;
        }
        if (any && !buf_add_text(out, " |")) {
            return schema_full(s);
        }
        any = true;
        switch (bit) {
        case TYPE_NULL:
            status = buf_add_text(out, " \"null\"") ? PACKLLM_OK : schema_full(s);
            break;
        case TYPE_BOOLEAN:
            status = buf_add_text(out, " \"true\" | \"false\"") ? PACKLLM_OK : schema_full(s);
            break;
        case TYPE_INTEGER:
            status = schema_integer(s, v, out);
            break;
        case TYPE_NUMBER:
            status = schema_number(s, v, out);
            break;
        case TYPE_STRING:
            status = schema_string(s, v, out);
            break;
        case TYPE_ARRAY:
            status = schema_array(s, v, out);
            break;
        default:
            status = schema_object(s, v, out);
        }
    }
    return status < 0 || !out->failed ? status : schema_full(s);
}

static enum packllm_status add_schema(struct schema *s, const struct value *v, struct buf *out) {
    if (value_is_true(v) || value_is_false(v)) {
        return buf_add_text(out, value_is_true(v) ? " value" : " never") ? PACKLLM_OK
                                                                         : schema_full(s);
    }
    if (value_kind(v) != VALUE_OBJECT) {
        return schema_error(s, "a schema must be an object, true or false");
    }
    const struct value *ref = value_get(v, "$ref"), *flat = v;
    enum packllm_status status = check_keys(s, v);
    bool alone = true;
    for (void *it = value_first(v); it != NULL; it = value_next(v, it)) {
        alone = alone && (schema_is_note(value_key(it)) || strcmp(value_key(it), "$ref") == 0);
    }
    if (status >= 0 && ref != NULL && alone) {
        status = schema_resolve(s, ref, &flat);
        return status < 0 ? status : schema_rule(s, flat, "$ref", out);
    }
    if (status >= 0 && (ref != NULL || value_get(v, "allOf") != NULL)) {
        status = schema_flatten(s, v, &flat);
        if (status >= 0 && value_kind(flat) != VALUE_OBJECT) {
            return add_schema(s, flat, out);
        }
        status = status < 0 ? status : check_keys(s, flat);
    }
    if (status < 0) {
        return status;
    }
    if (value_get(flat, "anyOf") != NULL || value_get(flat, "oneOf") != NULL) {
        return add_branches(s, flat, value_get(flat, "anyOf") != NULL ? "anyOf" : "oneOf", out);
    }
    const struct value *list = value_get(flat, "enum"), *one = value_get(flat, "const");
    if (list != NULL && value_kind(list) != VALUE_LIST) {
        return schema_error(s, "enum must be a list of values");
    }
    if (list != NULL || one != NULL) {
        return add_values(s, flat, list, one, out);
    }
    return add_types(s, flat, out);
}

enum packllm_status grammar_from_schema(struct buf *out, const char *text, size_t size,
                                        bool or_text, struct packllm_error *err) {
    struct schema s = {.out = out, .err = err};
    struct buf root;
    enum packllm_status status = document_open(&s.doc, text, size, err);
    if (status < 0) {
        return status;
    }
    buf_init(&s.path, 1 << 12);
    buf_init(&root, 64);
    if (!buf_add_text(out, PRELUDE)) {
        status = schema_full(&s);
    }
    if (status >= 0) {
        status = schema_rule(&s, document_root(s.doc), "", &root);
    }
    if (status >= 0 && !buf_printf(out,
                                   or_text ? "root ::= [ \\t\\r\\n]* (%s | ([^ \\t\\r\\n{] .*)?)\n"
                                           : "root ::=%s\n",
                                   root.data)) {
        status = schema_full(&s);
    }
    buf_done(&root);
    buf_done(&s.path);
    base_free(s.known);
    document_close(s.doc);
    return status;
}
