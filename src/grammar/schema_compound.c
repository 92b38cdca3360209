/* schema_compound.c - objects and arrays as GBNF: what may follow what, comma by comma. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "grammar/schema.h"

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
    buf_init(&line, SCHEMA_GRAMMAR_MOST);
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
    fine = fine && buf_add_text(&line, "] plain*") &&
           buf_add_text(&line, taken ? "\n" : " | \"\"\n") && buf_add(s->out, line.data, line.size);
    buf_done(&line);
    return status < 0 ? status : fine ? PACKLLM_OK : schema_full(s);
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
    buf_init(&line, SCHEMA_GRAMMAR_MOST);
    bool fine = buf_printf(&line, "o%u-other ::= \"\\\"\" %s0 \"\\\":\" w", rule, keys);
    if (status >= 0 && !value_is_true(schema)) {
        status = schema_rule(s, schema, "additionalProperties", &line);
    } else {
        fine = fine && buf_add_text(&line, " value");
    }
    fine = fine && buf_add_text(&line, " w\n") && buf_add(s->out, line.data, line.size);
    base_free(names);
    buf_done(&line);
    return status < 0 ? status : fine ? PACKLLM_OK : schema_full(s);
}

/* Rules o…-f0 (nothing stands yet) and o…-r0 (something does), and on for each property. */
static enum packllm_status add_properties(struct schema *s, const struct property *properties,
                                          size_t n, bool others, unsigned rule) {
    enum packllm_status status = PACKLLM_OK;
    for (size_t i = 0; i < n && status >= 0; i++) {
        struct buf pair, name;
        const struct property *p = &properties[i];
        buf_init(&pair, SCHEMA_GRAMMAR_MOST);
        buf_init(&name, SCHEMA_GRAMMAR_MOST);
        bool fine = value_dump_text(p->name, &name);
        fine = fine && schema_add_literal(&pair, name.data, name.size) &&
               buf_add_text(&pair, " \":\" w");
        if (p->schema == NULL) {
            fine = fine && buf_add_text(&pair, " value");
        } else {
            char step[80];
            (void)snprintf(step, sizeof step, "properties/%.60s", p->name);
            status = schema_rule(s, p->schema, step, &pair);
        }
        const char *pair_text = pair.data != NULL ? pair.data : "";
        fine =
            fine && buf_printf(s->out, "o%u-p%zu ::= %s w\n", rule, i, pair_text) &&
            buf_printf(s->out, "o%u-f%zu ::= o%u-p%zu o%u-r%zu", rule, i, rule, i, rule, i + 1) &&
            (p->required || buf_printf(s->out, " | o%u-f%zu", rule, i + 1)) &&
            buf_printf(s->out, "\no%u-r%zu ::= \",\" w o%u-p%zu o%u-r%zu", rule, i, rule, i, rule,
                       i + 1) &&
            (p->required || buf_printf(s->out, " | o%u-r%zu", rule, i + 1)) &&
            buf_add_text(s->out, "\n");
        buf_done(&pair);
        buf_done(&name);
        if (status >= 0 && !fine) {
            status = schema_full(s);
        }
    }
    if (status >= 0 && !(others ? buf_printf(s->out,
                                             "o%u-f%zu ::= (o%u-other (\",\" w o%u-other)*)?\n"
                                             "o%u-r%zu ::= (\",\" w o%u-other)*\n",
                                             rule, n, rule, rule, rule, n, rule)
                                : buf_printf(s->out, "o%u-f%zu ::= \"\"\no%u-r%zu ::= \"\"\n", rule,
                                             n, rule, n))) {
        status = schema_full(s);
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

enum packllm_status schema_object(struct schema *s, const struct value *v, struct buf *out) {
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
        status = buf_add_text(out, " object") ? PACKLLM_OK : schema_full(s);
    } else if (status >= 0) {
        unsigned rule = ++s->n_rules;
        if (others) {
            status = add_others(
                s, list, n, additional != NULL ? additional : value_make_bool(s->doc, true), rule);
        }
        if (status >= 0) {
            status = add_properties(s, list, n, others, rule);
        }
        if (status >= 0 && !buf_printf(out, " \"{\" w o%u-f0 \"}\"", rule)) {
            status = schema_full(s);
        }
    }
    base_free(list);
    return status;
}

/* ---- arrays ----------------------------------------------------------------------------------- */

enum packllm_status schema_array(struct schema *s, const struct value *v, struct buf *out) {
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
    buf_init(&item, SCHEMA_GRAMMAR_MOST);
    buf_init(&chain, SCHEMA_GRAMMAR_MOST);
    bool fine = buf_add_text(&item, ""), closed = items != NULL && value_is_false(items);
    if (status >= 0 && !closed) {
        status = items == NULL || value_is_true(items) ? PACKLLM_OK
                                                       : schema_rule(s, items, "items", &item);
        fine =
            fine && (items != NULL && !value_is_true(items) ? true : buf_add_text(&item, " value"));
    }
    unsigned rule = ++s->n_rules;
    for (uint32_t i = 0; i < shown && status >= 0; i++) {
        char step[40];
        (void)snprintf(step, sizeof step, "prefixItems/%u", (unsigned)i);
        buf_cut(&chain, 0);
        fine =
            fine && buf_printf(&chain, "a%u-%u ::=%s", rule, (unsigned)i, i > 0 ? " \",\" w" : "");
        status = schema_rule(s, value_at(prefix, i), step, &chain);
        fine = fine &&
               buf_printf(&chain, " w a%u-%u%s\n", rule, (unsigned)i + 1,
                          i >= least ? " | \"\"" : "") &&
               buf_add(s->out, chain.data, chain.size);
    }
    /* What follows the prefix. */
    uint32_t min = least > shown ? least - shown : 0;
    uint32_t max = most == UINT32_MAX ? most : most - shown;
    fine = fine && buf_printf(s->out, "a%u-%u ::= \"\"", rule, (unsigned)shown);
    if (status >= 0 && closed && min > 0) {
        fine = fine && buf_add_text(s->out, " never");
    } else if (!closed && max > 0 && shown > 0) {
        fine = fine && buf_printf(s->out, " (\",\" w%s w)", item.data) &&
               schema_add_counts(s->out, min, max);
    } else if (!closed && max > 0) {
        fine =
            fine && buf_printf(s->out, " (%s w (\",\" w%s w)", item.data, item.data) &&
            schema_add_counts(s->out, min > 0 ? min - 1 : 0, max == UINT32_MAX ? max : max - 1) &&
            buf_add_text(s->out, min == 0 ? ")?" : ")");
    }
    fine = fine && buf_add_text(s->out, "\n") && buf_printf(out, " \"[\" w a%u-0 \"]\"", rule);
    buf_done(&item);
    buf_done(&chain);
    return status < 0 ? status : fine ? PACKLLM_OK : schema_full(s);
}
