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

enum { GRAMMAR_MOST = 1 << 20 }; /* bytes of a grammar */

static const char *const PRELUDE =
    "w ::= | \" \" | \"\\n\" [ \\t]{0,20}\n"
    "plain ::= [^\"\\\\\\x00-\\x1f\\x7f]\n"
    "hex ::= [0-9a-fA-F]\n"
    "char ::= plain | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" ([0-9a-cA-CefEF] hex | [dD] [0-7]) hex hex)\n"
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
    return schema_error(s, "type is '%.60s': it must be null, boolean, integer, number, string, "
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
        [VALUE_NULL] = TYPE_NULL,
        [VALUE_BOOL] = TYPE_BOOLEAN,
        [VALUE_INTEGER] = TYPE_INTEGER,
        [VALUE_REAL] = TYPE_NUMBER,
        [VALUE_TEXT] = TYPE_STRING,
        [VALUE_LIST] = TYPE_ARRAY,
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
        return schema_error(s, "$ref is '%.100s': only places in this schema, as '#/$defs/name', "
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

static enum packllm_status full(struct schema *s) {
    return schema_error(s, "the schema is too large: its grammar is longer than %d bytes",
                        GRAMMAR_MOST);
}

static enum packllm_status add_schema(struct schema *s, const struct value *v, struct buf *out);

/* Appends the name of the rule for a schema, which is made if it is new. */
static enum packllm_status add_rule(struct schema *s, const struct value *v, const char *step,
                                    struct buf *out) {
    for (size_t i = 0; i < s->n_known; i++) {
        if (s->known[i].schema == v) {
            return buf_printf(out, " s%u", s->known[i].rule) ? PACKLLM_OK : full(s);
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
    if (path < 1000) {
        (void)buf_printf(&s->path, "/%.80s", step);
    }
    if (s->depth == SCHEMA_DEPTH_MAX || s->visits >= SCHEMA_VISITS_MAX) {
        return schema_error(s, "schemas are nested deeper than %d, or lead back to themselves by a "
                               "way that cannot be followed", SCHEMA_DEPTH_MAX);
    }
    s->depth++;
    s->visits++;
    unsigned rule = ++s->n_rules;
    s->known[s->n_known++] = (struct known){v, rule};
    struct buf body;
    buf_init(&body, GRAMMAR_MOST);
    enum packllm_status status = add_schema(s, v, &body);
    if (status >= 0 && !(buf_printf(s->out, "s%u ::=", rule) &&
                         buf_add(s->out, body.data, body.size) && buf_add_text(s->out, "\n") &&
                         buf_printf(out, " s%u", rule))) {
        status = full(s);
    }
    buf_done(&body);
    if (status >= 0) {
        buf_cut(&s->path, path);
    }
    s->depth--;
    return status;
}

/* ---- objects ---------------------------------------------------------------------------------- */

struct property {
    const char *name;
    const struct value *schema; /* NULL: any value */
    bool required;
};

static int by_name(const void *left, const void *right) {
    const char *const *a = left;
    const char *const *b = right;
    return strcmp(*a, *b);
}

/* Bytes of a name that plain characters of a key can be: none that JSON escapes. */
static bool is_plain(const char *name) {
    for (; *name != '\0'; name++) {
        if ((uint8_t)*name < 0x20 || *name == 0x7f || *name == '"' || *name == '\\') {
            return false;
        }
    }
    return true;
}

static size_t char_size(const char *text) {
    uint8_t c = (uint8_t)*text;
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* A rule for keys that are none of names[n], which share their first `depth` bytes; sorted, distinct. */
static enum packllm_status add_other_keys(struct schema *s, const char **names, size_t n,
                                          size_t depth, const char *rule, unsigned *count) {
    struct buf line;
    buf_init(&line, GRAMMAR_MOST);
    unsigned own = (*count)++;
    size_t i = 0;
    bool taken = n > 0 && names[0][depth] == '\0';
    enum packllm_status status = PACKLLM_OK;
    bool fine = buf_printf(&line, "%s%u ::= ", rule, own);
    i = taken ? 1 : 0;
    size_t first = i;
    while (i < n && status >= 0) { /* the names that go on by the same character */
        size_t size = char_size(names[i] + depth), end = i + 1;
        while (end < n && strncmp(names[end] + depth, names[i] + depth, size) == 0) {
            end++;
        }
        fine = fine && buf_add_text(&line, "\"") && buf_add(&line, names[i] + depth, size) &&
               buf_printf(&line, "\" %s%u | ", rule, *count);
        status = add_other_keys(s, names + i, end - i, depth + size, rule, count);
        i = end;
    }
    fine = fine && buf_add_text(&line, "[^\"\\\\\\x00-\\x1f\\x7f");
    for (i = first; i < n; i++) {
        const char *at = names[i] + depth;
        fine = fine && buf_add_text(&line, *at == ']' || *at == '-' || *at == '[' ? "\\" : "") &&
               buf_add(&line, at, char_size(at));
    }
    fine = fine && buf_add_text(&line, "] plain*") && buf_add_text(&line, taken ? "\n" : " |\n") &&
           buf_add(s->out, line.data, line.size);
    buf_done(&line);
    return status < 0 ? status : fine ? PACKLLM_OK : full(s);
}

/* The rule for a property beyond those named: a key that is none of theirs, its value. */
static enum packllm_status add_others(struct schema *s, const struct property *properties, size_t n,
                                      const struct value *schema, unsigned rule) {
    const char **names = alloc_array(n, sizeof *names);
    struct buf line;
    char keys[32];
    unsigned count = 0;
    size_t plain = 0;
    if (names == NULL) {
        return fail_memory(s->err, n * sizeof *names);
    }
    for (size_t i = 0; i < n; i++) {
        if (is_plain(properties[i].name)) {
            names[plain++] = properties[i].name;
        }
    }
    qsort(names, plain, sizeof *names, by_name);
    (void)snprintf(keys, sizeof keys, "o%u-k", rule);
    enum packllm_status status = add_other_keys(s, names, plain, 0, keys, &count);
    buf_init(&line, GRAMMAR_MOST);
    bool fine = buf_printf(&line, "o%u-other ::= \"\\\"\" %s0 \"\\\":\" w", rule, keys);
    if (status >= 0 && !value_is_true(schema)) {
        status = add_rule(s, schema, "additionalProperties", &line);
    } else {
        fine = fine && buf_add_text(&line, " value");
    }
    fine = fine && buf_add_text(&line, " w\n") && buf_add(s->out, line.data, line.size);
    base_free(names);
    buf_done(&line);
    return status < 0 ? status : fine ? PACKLLM_OK : full(s);
}

/* Rules o…-f0 (nothing stands yet) and o…-r0 (something does), and on for each property. */
static enum packllm_status add_properties(struct schema *s, const struct property *properties,
                                          size_t n, bool others, unsigned rule) {
    enum packllm_status status = PACKLLM_OK;
    for (size_t i = 0; i < n && status >= 0; i++) {
        struct buf pair, name;
        const struct property *p = &properties[i];
        buf_init(&pair, GRAMMAR_MOST);
        buf_init(&name, GRAMMAR_MOST);
        bool fine = value_dump_text(p->name, &name);
        fine = fine && schema_add_literal(&pair, name.data, name.size) &&
               buf_add_text(&pair, " \":\" w");
        if (p->schema == NULL) {
            fine = fine && buf_add_text(&pair, " value");
        } else {
            status = add_rule(s, p->schema, p->name, &pair);
        }
        const char *pair_text = pair.data != NULL ? pair.data : "";
        fine = fine && buf_printf(s->out, "o%u-p%zu ::= %s w\n", rule, i, pair_text) &&
               buf_printf(s->out, "o%u-f%zu ::= o%u-p%zu o%u-r%zu", rule, i, rule, i, rule, i + 1) &&
               (p->required || buf_printf(s->out, " | o%u-f%zu", rule, i + 1)) &&
               buf_printf(s->out, "\no%u-r%zu ::= \",\" w o%u-p%zu o%u-r%zu", rule, i, rule, i, rule,
                          i + 1) &&
               (p->required || buf_printf(s->out, " | o%u-r%zu", rule, i + 1)) &&
               buf_add_text(s->out, "\n");
        buf_done(&pair);
        buf_done(&name);
        if (status >= 0 && !fine) {
            status = full(s);
        }
    }
    if (status >= 0 && !(others ? buf_printf(s->out,
                                             "o%u-f%zu ::= (o%u-other (\",\" w o%u-other)*)?\n"
                                             "o%u-r%zu ::= (\",\" w o%u-other)*\n",
                                             rule, n, rule, rule, rule, n, rule)
                                : buf_printf(s->out, "o%u-f%zu ::= \"\"\no%u-r%zu ::= \"\"\n", rule,
                                             n, rule, n))) {
        status = full(s);
    }
    return status;
}

/* properties, and what is required without being among them. out[properties + required] */
static enum packllm_status list_properties(struct schema *s, const struct value *properties,
                                           const struct value *required,
                                           const struct value *additional, struct property *out,
                                           size_t *out_n) {
    size_t n = 0;
    if (properties != NULL) {
        for (void *it = value_first(properties); it != NULL; it = value_next(properties, it)) {
            out[n++] = (struct property){.name = value_key(it), .schema = value_of(it)};
        }
    }
    for (size_t i = 0; required != NULL && i < value_count(required); i++) {
        const struct value *name = value_at(required, i);
        size_t size, k = 0;
        if (value_kind(name) != VALUE_TEXT) {
            return schema_error(s, "required must be a list of names");
        }
        const char *text = value_text(name, &size);
        while (k < n && strcmp(out[k].name, text) != 0) {
            k++;
        }
        if (k == n) {
            out[n++] = (struct property){
                .name = text,
                .schema = additional != NULL && !value_is_true(additional) ? additional : NULL};
        }
        out[k].required = true;
    }
    *out_n = n;
    return PACKLLM_OK;
}

static enum packllm_status add_object(struct schema *s, const struct value *v, struct buf *out) {
    const struct value *properties = value_get(v, "properties");
    const struct value *required = value_get(v, "required");
    const struct value *additional = value_get(v, "additionalProperties");
    uint32_t least = 0, most = UINT32_MAX, n_required = 0;
    if (properties != NULL && value_kind(properties) != VALUE_OBJECT) {
        return schema_error(s, "properties must be an object");
    }
    if (required != NULL && value_kind(required) != VALUE_LIST) {
        return schema_error(s, "required must be a list of names");
    }
    enum packllm_status status = schema_count(s, v, "minProperties", &least);
    status = status < 0 ? status : schema_count(s, v, "maxProperties", &most);
    if (status < 0) {
        return status;
    }
    size_t n = (properties != NULL ? value_count(properties) : 0) +
               (required != NULL ? value_count(required) : 0);
    bool others = additional != NULL ? !value_is_false(additional)
                                     : properties == NULL || value_count(properties) == 0;
    struct property *list = alloc_array(n, sizeof *list);
    if (list == NULL) {
        return fail_memory(s->err, n * sizeof *list);
    }
    status = list_properties(s, properties, required, additional, list, &n);
    for (size_t i = 0; i < n; i++) {
        n_required += list[i].required ? 1 : 0;
    }
    if (status >= 0 && least > n_required) {
        status = schema_error(s, "minProperties is not supported beyond the required ones");
    }
    if (status >= 0 && most < n && others == false) {
        status = schema_error(s, "maxProperties below the number of properties is not supported");
    }
    if (status >= 0 && most != UINT32_MAX && others && most > 0) {
        status = schema_error(s, "maxProperties is not supported where properties may be added");
    }
    others = others && most > 0;
    if (status >= 0 && n == 0 && others && (additional == NULL || value_is_true(additional))) {
        status = buf_add_text(out, " object") ? PACKLLM_OK : full(s);
    } else if (status >= 0) {
        unsigned rule = ++s->n_rules;
        if (others) {
            status = add_others(s, list, n,
                                additional != NULL ? additional : value_make_bool(s->doc, true),
                                rule);
        }
        if (status >= 0) {
            status = add_properties(s, list, n, others, rule);
        }
        if (status >= 0 && !buf_printf(out, " \"{\" w o%u-f0 \"}\"", rule)) {
            status = full(s);
        }
    }
    base_free(list);
    return status;
}

/* ---- arrays ----------------------------------------------------------------------------------- */

static enum packllm_status add_array(struct schema *s, const struct value *v, struct buf *out) {
    const struct value *prefix = value_get(v, "prefixItems"), *items = value_get(v, "items");
    const struct value *unique = value_get(v, "uniqueItems");
    uint32_t least = 0, most = UINT32_MAX;
    if (items != NULL && value_kind(items) == VALUE_LIST) { /* as drafts before 2020-12 had it */
        prefix = items;
        items = value_get(v, "additionalItems");
    }
    if (unique != NULL && !value_is_false(unique)) {
        return schema_error(s, "uniqueItems is not supported");
    }
    if (prefix != NULL && value_kind(prefix) != VALUE_LIST) {
        return schema_error(s, "prefixItems must be a list of schemas");
    }
    enum packllm_status status = schema_count(s, v, "minItems", &least);
    status = status < 0 ? status : schema_count(s, v, "maxItems", &most);
    if (status >= 0 && most < least) {
        status = schema_error(s, "minItems %u is more than maxItems %u", (unsigned)least,
                              (unsigned)most);
    }
    uint32_t n = prefix != NULL ? (uint32_t)value_count(prefix) : 0;
    uint32_t shown = n < most ? n : most;
    struct buf item, chain;
    buf_init(&item, GRAMMAR_MOST);
    buf_init(&chain, GRAMMAR_MOST);
    bool fine = buf_add_text(&item, ""), closed = items != NULL && value_is_false(items);
    if (status >= 0 && !closed) {
        status = items == NULL || value_is_true(items) ? PACKLLM_OK
                                                       : add_rule(s, items, "items", &item);
        fine = fine && (items != NULL && !value_is_true(items) ? true
                                                               : buf_add_text(&item, " value"));
    }
    unsigned rule = ++s->n_rules;
    for (uint32_t i = 0; i < shown && status >= 0; i++) {
        char step[40];
        (void)snprintf(step, sizeof step, "prefixItems/%u", (unsigned)i);
        buf_cut(&chain, 0);
        fine = fine && buf_printf(&chain, "a%u-%u ::=%s", rule, (unsigned)i, i > 0 ? " \",\" w" : "");
        status = add_rule(s, value_at(prefix, i), step, &chain);
        fine = fine && buf_printf(&chain, " w a%u-%u%s\n", rule, (unsigned)i + 1,
                                  i >= least ? " |" : "") &&
               buf_add(s->out, chain.data, chain.size);
    }
    /* What follows the prefix. */
    uint32_t min = least > shown ? least - shown : 0;
    uint32_t max = most == UINT32_MAX ? most : most - shown;
    fine = fine && buf_printf(s->out, "a%u-%u ::=", rule, (unsigned)shown);
    if (status >= 0 && closed && min > 0) {
        fine = fine && buf_add_text(s->out, " never");
    } else if (!closed && max > 0 && shown > 0) {
        fine = fine && buf_printf(s->out, " (\",\" w%s w)", item.data) &&
               schema_add_counts(s->out, min, max);
    } else if (!closed && max > 0) {
        fine = fine && buf_printf(s->out, " (%s w (\",\" w%s w)", item.data, item.data) &&
               schema_add_counts(s->out, min > 0 ? min - 1 : 0, max == UINT32_MAX ? max : max - 1) &&
               buf_add_text(s->out, min == 0 ? ")?" : ")");
    }
    fine = fine && buf_add_text(s->out, "\n") && buf_printf(out, " \"[\" w a%u-0 \"]\"", rule);
    buf_done(&item);
    buf_done(&chain);
    return status < 0 ? status : fine ? PACKLLM_OK : full(s);
}

/* ---- any schema ------------------------------------------------------------------------------- */

static enum packllm_status add_values(struct schema *s, const struct value *v,
                                      const struct value *list, const struct value *one,
                                      struct buf *out) {
    size_t n = one != NULL ? 1 : value_count(list);
    bool any = false;
    for (void *it = value_first(v); it != NULL; it = value_next(v, it)) {
        static const char *const heard[] = {"type",    "enum",      "const",
                                            "minimum", "maximum",   "exclusiveMinimum",
                                            "exclusiveMaximum", "minLength", "maxLength"};
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
            buf_init(&text, GRAMMAR_MOST);
            fine = value_dump(value, &text) && buf_add_text(out, any ? " | " : " ") &&
                   schema_add_literal(out, text.data, text.size);
            buf_done(&text);
            any = true;
        }
        if (!fine) {
            return full(s);
        }
    }
    return any || buf_add_text(out, " never") ? PACKLLM_OK : full(s);
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
                status = schema_error(s, "oneOf: it is not clear that no value satisfies both "
                                         "branch %zu and branch %zu; if either will do, write anyOf",
                                      k, i);
            }
        }
        if (status >= 0 && beside) {
            status = schema_merge(s, rest, branch, &branch);
        }
        if (status >= 0 && i > 0 && !buf_add_text(out, " |")) {
            status = full(s);
        }
        if (status >= 0) {
            status = add_rule(s, branch, step, out);
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
        return buf_add_text(out, value_get(v, "type") != NULL ? " never" : " value") ? PACKLLM_OK
                                                                                     : full(s);
    }
    bool any = false;
    for (unsigned bit = 1; bit <= TYPE_OBJECT && status >= 0; bit <<= 1) {
        if ((types & bit) == 0 || (bit == TYPE_INTEGER && (types & TYPE_NUMBER) != 0)) {
            continue;
        }
        if (any && !buf_add_text(out, " |")) {
            return full(s);
        }
        any = true;
        switch (bit) {
        case TYPE_NULL:
            status = buf_add_text(out, " \"null\"") ? PACKLLM_OK : full(s);
            break;
        case TYPE_BOOLEAN:
            status = buf_add_text(out, " \"true\" | \"false\"") ? PACKLLM_OK : full(s);
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
            status = add_array(s, v, out);
            break;
        default:
            status = add_object(s, v, out);
        }
    }
    return status < 0 || !out->failed ? status : full(s);
}

static enum packllm_status add_schema(struct schema *s, const struct value *v, struct buf *out) {
    if (value_is_true(v) || value_is_false(v)) {
        return buf_add_text(out, value_is_true(v) ? " value" : " never") ? PACKLLM_OK : full(s);
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
        return status < 0 ? status : add_rule(s, flat, "$ref", out);
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
                                        struct packllm_error *err) {
    struct schema s = {.out = out, .err = err};
    struct buf root;
    enum packllm_status status = document_open(&s.doc, text, size, err);
    if (status < 0) {
        return status;
    }
    buf_init(&s.path, 1 << 12);
    buf_init(&root, 64);
    if (!buf_add_text(out, PRELUDE)) {
        status = full(&s);
    }
    if (status >= 0) {
        status = add_rule(&s, document_root(s.doc), "", &root);
    }
    if (status >= 0 && !(buf_printf(out, "root ::=%s\n", root.data))) {
        status = full(&s);
    }
    buf_done(&root);
    buf_done(&s.path);
    base_free(s.known);
    document_close(s.doc);
    return status;
}
