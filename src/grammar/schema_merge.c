/* schema_merge.c - one schema that says what two say together. Keywords are joined one by one; where
 * that is not possible the keyword is refused by name. */
#include <string.h>

#include "base/status.h"
#include "grammar/schema.h"

static enum packllm_status no_memory(struct schema *s) {
    return fail_memory(s->err, 64);
}

/* {"allOf": [a, b]}, worked out when it is come upon. */
static const struct value *both(struct schema *s, const struct value *a, const struct value *b) {
    if (value_is_true(a) || value_equal(a, b)) {
        return b;
    }
    if (value_is_true(b)) {
        return a;
    }
    struct value *list = value_make_list(s->doc), *object = value_make_object(s->doc, NULL);
    bool fine = list != NULL && object != NULL && value_append(list, a) && value_append(list, b) &&
                value_set(object, "allOf", list);
    return fine ? object : NULL;
}

/* The names of both lists, or the values that stand in both. */
static const struct value *join_lists(struct schema *s, const struct value *a,
                                      const struct value *b, bool common) {
    struct value *list = value_make_list(s->doc);
    for (size_t i = 0; list != NULL && i < value_count(a); i++) {
        bool found = !common;
        for (size_t k = 0; common && k < value_count(b) && !found; k++) {
            found = value_equal(value_at(a, i), value_at(b, k));
        }
        list = !found || value_append(list, value_at(a, i)) ? list : NULL;
    }
    for (size_t k = 0; !common && list != NULL && k < value_count(b); k++) {
        list = value_append(list, value_at(b, k)) ? list : NULL;
    }
    return list;
}

/* The types in both; number and integer have integer in common. */
static enum packllm_status join_types(struct schema *s, const struct value *a,
                                      const struct value *b, const struct value **out) {
    unsigned one = 0, two = 0;
    enum packllm_status status = schema_types(s, a, &one);
    status = status < 0 ? status : schema_types(s, b, &two);
    if (status < 0) {
        return status;
    }
    const struct value *types[2] = {value_get(a, "type"), value_get(b, "type")};
    struct value *list = value_make_list(s->doc);
    for (int side = 0; side < 2; side++) { /* each name that lies wholly in both */
        const struct value *from = types[side];
        bool many = value_kind(from) == VALUE_LIST;
        for (size_t i = 0; list != NULL && i < (many ? value_count(from) : 1); i++) {
            const struct value *name = many ? value_at(from, i) : from;
            struct value *probe = value_make_object(s->doc, NULL);
            unsigned bits = 0;
            if (probe == NULL || !value_set(probe, "type", name)) {
                return no_memory(s);
            }
            status = schema_types(s, probe, &bits);
            if (status < 0) {
                return status;
            }
            list = (bits & ~(one & two)) != 0 || value_append(list, name) ? list : NULL;
        }
    }
    *out = list;
    return list != NULL ? PACKLLM_OK : no_memory(s);
}

/* The properties of both; what one side closes or bounds by additionalProperties it does for those
 * that only the other names. */
static enum packllm_status join_properties(struct schema *s, const struct value *a,
                                           const struct value *b, struct value *into) {
    const struct value *side[2] = {a, b};
    struct value *all = value_make_object(s->doc, NULL);
    for (int i = 0; i < 2 && all != NULL; i++) {
        const struct value *mine = value_get(side[i], "properties");
        const struct value *theirs = value_get(side[1 - i], "properties");
        const struct value *rest = value_get(side[1 - i], "additionalProperties");
        if (mine == NULL) {
            continue;
        }
        if (value_kind(mine) != VALUE_OBJECT ||
            (theirs != NULL && value_kind(theirs) != VALUE_OBJECT)) {
            return schema_error(s, "properties must be an object");
        }
        for (void *it = value_first(mine); it != NULL && all != NULL; it = value_next(mine, it)) {
            const struct value *schema = value_of(it);
            const struct value *other = theirs != NULL ? value_get(theirs, value_key(it)) : NULL;
            other = other != NULL ? other : rest;
            if (other != NULL && value_is_false(other)) {
                schema = other;
            } else if (other != NULL && !value_is_false(schema)) {
                schema = i == 0 ? both(s, schema, other) : both(s, other, schema);
            }
            all = schema != NULL && value_set(all, value_key(it), schema) ? all : NULL;
        }
    }
    if (all == NULL || (value_count(all) > 0 && !value_set(into, "properties", all))) {
        return no_memory(s);
    }
    return PACKLLM_OK;
}

/* What key says in the schema that says it for both: x from a, y from b. */
static enum packllm_status join(struct schema *s, const char *key, const struct value *a,
                                const struct value *b, const struct value **out) {
    static const char *const larger[] = {"minimum",  "exclusiveMinimum", "minLength",
                                         "minItems", "minProperties",    NULL};
    static const char *const smaller[] = {"maximum",  "exclusiveMaximum", "maxLength",
                                          "maxItems", "maxProperties",    NULL};
    const struct value *x = value_get(a, key), *y = value_get(b, key);
    if (value_equal(x, y)) {
        *out = x;
        return PACKLLM_OK;
    }
    for (size_t i = 0; larger[i] != NULL; i++) {
        bool up = strcmp(larger[i], key) == 0;
        if (up || strcmp(smaller[i], key) == 0) {
            *out = (value_number(x) > value_number(y)) == up ? x : y;
            return PACKLLM_OK;
        }
    }
    bool lists = value_kind(x) == VALUE_LIST && value_kind(y) == VALUE_LIST;
    if (strcmp(key, "type") == 0) {
        return join_types(s, a, b, out);
    }
    if (lists && (strcmp(key, "required") == 0 || strcmp(key, "enum") == 0)) {
        *out = join_lists(s, x, y, key[0] == 'e');
        return *out != NULL ? PACKLLM_OK : no_memory(s);
    }
    if (strcmp(key, "additionalProperties") == 0 ||
        (strcmp(key, "items") == 0 && value_get(a, "prefixItems") == NULL &&
         value_get(b, "prefixItems") == NULL)) {
        *out = value_is_false(x) ? x : value_is_false(y) ? y : both(s, x, y);
        return *out != NULL ? PACKLLM_OK : no_memory(s);
    }
    return schema_error(s, "allOf (or what stands beside anyOf, oneOf or $ref): '%.60s' is said "
                           "twice in different words",
                        key);
}

enum packllm_status schema_merge(struct schema *s, const struct value *a, const struct value *b,
                                 const struct value **out) {
    enum packllm_status status = schema_flatten(s, a, &a);
    status = status < 0 ? status : schema_flatten(s, b, &b);
    if (status < 0) {
        return status;
    }
    if (value_is_true(a) || value_is_true(b)) {
        *out = value_is_true(a) ? b : a;
        return PACKLLM_OK;
    }
    if (value_is_false(a) || value_is_false(b)) {
        *out = value_make_bool(s->doc, false);
        return *out != NULL ? PACKLLM_OK : no_memory(s);
    }
    if (value_kind(a) != VALUE_OBJECT || value_kind(b) != VALUE_OBJECT) {
        return schema_error(s, "a schema must be an object, true or false");
    }
    struct value *made = value_make_object(s->doc, a);
    if (made == NULL) {
        return no_memory(s);
    }
    for (void *it = value_first(b); it != NULL && status >= 0; it = value_next(b, it)) {
        const char *key = value_key(it);
        const struct value *v = value_of(it);
        if (schema_is_note(key) || strcmp(key, "properties") == 0) {
            continue;
        }
        if (value_get(a, key) != NULL) {
            status = join(s, key, a, b, &v);
        }
        if (status >= 0 && !value_set(made, key, v)) {
            status = no_memory(s);
        }
    }
    if (status >= 0) {
        status = join_properties(s, a, b, made);
    }
    *out = made;
    return status;
}

enum packllm_status schema_flatten(struct schema *s, const struct value *v,
                                   const struct value **out) {
    const struct value *ref = NULL, *all = NULL, *part = NULL, *flat = NULL;
    if (value_kind(v) == VALUE_OBJECT) {
        ref = value_get(v, "$ref");
        all = value_get(v, "allOf");
    }
    if (ref == NULL && all == NULL) {
        *out = v;
        return PACKLLM_OK;
    }
    if (all != NULL && value_kind(all) != VALUE_LIST) {
        return schema_error(s, "allOf must be a list of schemas");
    }
    if (s->depth == SCHEMA_DEPTH_MAX || s->visits >= SCHEMA_VISITS_MAX) {
        return schema_error(s, "allOf or $ref leads back to itself, or is nested deeper than %d",
                            SCHEMA_DEPTH_MAX);
    }
    s->depth++;
    s->visits++;
    struct value *rest = value_make_object(s->doc, NULL);
    for (void *it = value_first(v); rest != NULL && it != NULL; it = value_next(v, it)) {
        if (strcmp(value_key(it), "$ref") != 0 && strcmp(value_key(it), "allOf") != 0 &&
            !schema_is_note(value_key(it))) {
            rest = value_set(rest, value_key(it), value_of(it)) ? rest : NULL;
        }
    }
    flat = rest;
    enum packllm_status status = rest != NULL ? PACKLLM_OK : no_memory(s);
    if (status >= 0 && ref != NULL) {
        status = schema_resolve(s, ref, &part);
        status = status < 0 ? status : schema_merge(s, flat, part, &flat);
    }
    for (size_t i = 0; all != NULL && i < value_count(all) && status >= 0; i++) {
        status = schema_merge(s, flat, value_at(all, i), &flat);
    }
    s->depth--;
    *out = flat;
    return status;
}

/* ---- apart ------------------------------------------------------------------------------------ */

/* The values that a schema lists, or NULL. */
static const struct value *listed(const struct value *v, size_t i, bool *more) {
    const struct value *one = value_get(v, "const"), *list = value_get(v, "enum");
    *more = true;
    if (one != NULL) {
        *more = i == 0;
        return one;
    }
    if (list == NULL || value_kind(list) != VALUE_LIST) {
        return NULL;
    }
    *more = i < value_count(list);
    return *more ? value_at(list, i) : list;
}

/* What types an instance of the schema can have; keywords alone bind no type. */
static enum packllm_status types_of(struct schema *s, const struct value *v, unsigned *out) {
    bool more;
    *out = 0;
    if (listed(v, 0, &more) != NULL) {
        for (size_t i = 0; more; i++) {
            const struct value *value = listed(v, i, &more);
            *out |= more ? schema_type_of(value) : 0;
        }
        return PACKLLM_OK;
    }
    if (value_get(v, "type") == NULL) {
        *out = TYPE_ALL;
        return PACKLLM_OK;
    }
    return schema_types(s, v, out);
}

static bool is_required(const struct value *v, const char *name) {
    const struct value *required = value_get(v, "required");
    for (size_t i = 0; required != NULL && value_kind(required) == VALUE_LIST &&
                       i < value_count(required); i++) {
        size_t size;
        const struct value *text = value_at(required, i);
        if (value_kind(text) == VALUE_TEXT && strcmp(value_text(text, &size), name) == 0) {
            return true;
        }
    }
    return false;
}

enum packllm_status schema_apart(struct schema *s, const struct value *a, const struct value *b,
                                 unsigned depth, bool *out) {
    unsigned one = 0, two = 0;
    bool more_a = true, more_b = true;
    *out = false;
    enum packllm_status status = schema_flatten(s, a, &a);
    status = status < 0 ? status : schema_flatten(s, b, &b);
    if (status < 0 || depth == 0) {
        return status;
    }
    if (value_is_false(a) || value_is_false(b)) {
        *out = true;
        return PACKLLM_OK;
    }
    if (value_kind(a) != VALUE_OBJECT || value_kind(b) != VALUE_OBJECT) {
        return PACKLLM_OK;
    }
    status = types_of(s, a, &one);
    status = status < 0 ? status : types_of(s, b, &two);
    /* A number without fraction is an integer too: 1.0 */
    unsigned wide = (two & (TYPE_INTEGER | TYPE_NUMBER)) != 0 ? TYPE_INTEGER | TYPE_NUMBER : 0;
    if (status < 0 || (one & (two | wide)) == 0) {
        *out = status >= 0;
        return status;
    }
    if (listed(a, 0, &more_a) != NULL && listed(b, 0, &more_b) != NULL) {
        bool same = false;
        for (size_t i = 0; listed(a, i, &more_a) != NULL && more_a; i++) {
            for (size_t k = 0; listed(b, k, &more_b) != NULL && more_b; k++) {
                same = same || value_equal(listed(a, i, &more_a), listed(b, k, &more_b));
            }
            more_a = true;
        }
        *out = !same;
        return PACKLLM_OK;
    }
    const struct value *mine = value_get(a, "properties"), *theirs = value_get(b, "properties");
    bool objects = (one & two) == TYPE_OBJECT && mine != NULL && theirs != NULL &&
                   value_kind(mine) == VALUE_OBJECT && value_kind(theirs) == VALUE_OBJECT;
    for (void *it = objects ? value_first(mine) : NULL; it != NULL && !*out && status >= 0;
         it = value_next(mine, it)) {
        const struct value *other = value_get(theirs, value_key(it));
        const struct value *rest = value_get(b, "additionalProperties");
        bool here = is_required(a, value_key(it));
        if (here && other == NULL && rest != NULL && value_is_false(rest)) {
            *out = true;
        } else if (here && other != NULL && is_required(b, value_key(it))) {
            status = schema_apart(s, value_of(it), other, depth - 1, out);
        }
    }
    for (void *it = objects ? value_first(theirs) : NULL; it != NULL && !*out && status >= 0;
         it = value_next(theirs, it)) {
        const struct value *rest = value_get(a, "additionalProperties");
        *out = is_required(b, value_key(it)) && value_get(mine, value_key(it)) == NULL &&
               rest != NULL && value_is_false(rest);
    }
    return status;
}
