/* method.c - from names to methods, see method.h. */
#include "eval/method.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "common/nearest.h"
#include "common/number.h"

static const char ALL[] = "exact,exact:linear,sim,sim:linear,uniform,uniform:linear,uniform:whole,"
                          "top1,greedy,greedy:linear,free,em,bayes,hedge,members";

static enum packllm_status add(struct methods *methods, const char *name,
                               const struct packllm_method *method, double *fixed,
                               struct packllm_error *err) {
    for (size_t i = 0; i < methods->n; i++) {
        if (strcmp(methods->names[i], name) == 0) {
            base_free(fixed);
            return PACKLLM_OK; /* named twice, as by `all` and by itself */
        }
    }
    if (methods->n == methods->room) {
        size_t room = methods->room * 2 + 16;
        struct packllm_method *list = alloc_resize(methods->list, room, sizeof *list);
        methods->list = list != NULL ? list : methods->list;
        char **names = alloc_resize(methods->names, room, sizeof *names);
        methods->names = names != NULL ? names : methods->names;
        double **all_fixed = alloc_resize(methods->fixed, room, sizeof *all_fixed);
        methods->fixed = all_fixed != NULL ? all_fixed : methods->fixed;
        if (list == NULL || names == NULL || all_fixed == NULL) {
            base_free(fixed);
            return fail_memory(err, room * sizeof *list);
        }
        methods->room = room;
    }
    char *copy = alloc_text(name, strlen(name));
    if (copy == NULL) {
        base_free(fixed);
        return fail_memory(err, strlen(name));
    }
    methods->names[methods->n] = copy;
    methods->fixed[methods->n] = fixed;
    methods->list[methods->n] = *method;
    methods->list[methods->n++].fixed = fixed;
    return PACKLLM_OK;
}

static enum packllm_status find_member(const struct method_rules *rules, const char *name,
                                       size_t size, int32_t *out, struct packllm_error *err) {
    struct nearest nearest;
    char word[256];
    (void)snprintf(word, sizeof word, "%.*s", (int)size, name);
    nearest_init(&nearest, word);
    for (size_t i = 0; i < rules->n_members; i++) {
        if (strcmp(rules->members[i], word) == 0) {
            *out = (int32_t)i;
            return PACKLLM_OK;
        }
        nearest_offer(&nearest, rules->members[i]);
    }
    return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                "--methods: no member is called '%s'; the %s one is '%s'", word,
                nearest.best != NULL ? "nearest" : "first",
                nearest.best != NULL ? nearest.best : rules->members[0]);
}

static enum packllm_status add_members(struct methods *methods, bool canonical,
                                       const struct method_rules *rules,
                                       struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    for (size_t i = 0; i < rules->n_members && status >= 0; i++) {
        char name[512];
        struct packllm_method method = packllm_method_default();
        method.member = (int32_t)i;
        method.canonical = canonical;
        (void)snprintf(name, sizeof name, "%s:%s", canonical ? "canonical" : "member",
                       rules->members[i]);
        status = add(methods, name, &method, NULL, err);
    }
    return status;
}

/* ":log", ":linear" or ":whole" at the end of word[*size], which is cut off; linear with the weighers
 * that are only that. */
static void take_pool(const char *word, size_t *size, struct packllm_method *method) {
    static const char *const ends[] = {":log", ":linear", ":whole"};
    for (size_t k = 0; k < 3; k++) {
        size_t length = strlen(ends[k]);
        if (*size > length && memcmp(word + *size - length, ends[k], length) == 0) {
            *size -= length;
            method->pool = k == 0 ? PACKLLM_POOL_LOG : PACKLLM_POOL_LINEAR;
            method->whole = k == 2;
            return;
        }
    }
}

/* "@NUMBER" at the end of word[*size], which is cut off: what --tau is to sim and --shrink to exact and
 * free, for this method alone. */
static enum packllm_status take_setting(const char *word, size_t *size,
                                        struct packllm_method *method, struct packllm_error *err) {
    const char *at = memchr(word, '@', *size);
    if (at == NULL) {
        return PACKLLM_OK;
    }
    size_t name = (size_t)(at - word), length = *size - name - 1;
    bool tau = name == 3 && memcmp(word, "sim", name) == 0;
    bool shrink = (name == 5 && memcmp(word, "exact", name) == 0) ||
                  (name == 4 && memcmp(word, "free", name) == 0);
    char number[64];
    double value = -1;
    (void)snprintf(number, sizeof number, "%.*s", (int)length, at + 1);
    bool ok = (tau || shrink) && length < sizeof number &&
              number_double(number, &value) == NUMBER_OK && value <= (tau ? 1e6 : 1e9) &&
              value >= (tau ? 1e-6 : 0);
    if (!ok) {
        return fail(
            err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
            "--methods: '%s': sim@TAU (above 0), exact@SHRINK or free@SHRINK (0 or more) is "
            "wanted",
            word);
    }
    method->tau = tau ? value : method->tau;
    method->shrink = shrink ? value : method->shrink;
    *size = name;
    return PACKLLM_OK;
}

static enum packllm_status read_fixed(struct methods *methods, const char *name, const char *text,
                                      size_t size, struct packllm_method *method,
                                      const struct method_rules *rules, struct packllm_error *err) {
    double *fixed = alloc_zero(rules->n_members, sizeof *fixed), sum = 0;
    size_t n = 0;
    bool ok = fixed != NULL;
    for (size_t at = 0; ok && at <= size; n++) {
        const char *slash = memchr(text + at, '/', size - at);
        size_t part = slash != NULL ? (size_t)(slash - text) - at : size - at;
        char one[64];
        (void)snprintf(one, sizeof one, "%.*s", (int)part, text + at);
        double weight = -1;
        ok = part < sizeof one && number_double(one, &weight) == NUMBER_OK && weight >= 0 &&
             weight < 1e9 && n < rules->n_members;
        if (ok) {
            fixed[n] = weight;
            sum += weight;
        }
        at += part + 1;
    }
    if (!ok || n != rules->n_members || !(sum > 0)) {
        base_free(fixed);
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "--methods: '%s': %zu weights are wanted, parted by '/', from 0 on and not all "
                    "0",
                    name, rules->n_members);
    }
    method->weigher = PACKLLM_WEIGH_FIXED;
    return add(methods, name, method, fixed, err);
}

static enum packllm_status read_experts(struct methods *methods, const char *name, const char *text,
                                        size_t size, struct packllm_method *method,
                                        const struct method_rules *rules,
                                        struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    size_t n = 0;
    bool ok = true;
    for (size_t at = 0; ok && at <= size && status >= 0; n++) {
        const char *slash = memchr(text + at, '/', size - at);
        size_t part = slash != NULL ? (size_t)(slash - text) - at : size - at;
        if (n < 3) {
            status = find_member(rules, text + at, part, &method->experts[n], err);
        } else {
            char one[64];
            (void)snprintf(one, sizeof one, "%.*s", (int)part, text + at);
            ok = n == 3 && number_double(one, &method->alpha) == NUMBER_OK && method->alpha >= 0;
        }
        at += part + 1;
    }
    if (status < 0) {
        return status;
    }
    if (!ok || n < 3) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "--methods: '%s': dexperts:BASE/EXPERT/ANTI[/ALPHA] is wanted", name);
    }
    method->weigher = PACKLLM_WEIGH_DEXPERTS;
    return add(methods, name, method, NULL, err);
}

static enum packllm_status read_weigher(struct methods *methods, const char *word, size_t size,
                                        struct packllm_method *method, struct packllm_error *err) {
    struct nearest nearest;
    const char *name;
    nearest_init(&nearest, word);
    for (int i = 0; (name = packllm_weigher_name((enum packllm_weigher)i)) != NULL; i++) {
        bool bare = i != PACKLLM_WEIGH_FIXED && i != PACKLLM_WEIGH_DEXPERTS;
        if (bare && strlen(name) == size && memcmp(name, word, size) == 0) {
            method->weigher = (enum packllm_weigher)i;
            bool said = strlen(word) > size;
            bool linear = i == PACKLLM_WEIGH_EM || i == PACKLLM_WEIGH_BAYES;
            method->pool = linear && !said ? PACKLLM_POOL_LINEAR : method->pool;
            return add(methods, word, method, NULL, err);
        }
        nearest_offer(&nearest, name);
    }
    static const char *const others[] = {"members", "member:NAME", "canonical", "all"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        nearest_offer(&nearest, others[i]);
    }
    return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                "--methods: '%s' is no method%s%s%s packllm eval --help lists them", word,
                nearest.best != NULL ? ", did you mean '" : ";",
                nearest.best != NULL ? nearest.best : "", nearest.best != NULL ? "'?" : "");
}

static enum packllm_status read_one(struct methods *methods, const char *word,
                                    const struct method_rules *rules, struct packllm_error *err) {
    struct packllm_method method = packllm_method_default();
    size_t size = strlen(word);
    method.shrink = rules->shrink;
    method.tau = rules->tau;
    if (strcmp(word, "all") == 0) {
        return methods_read(methods, ALL, rules, err);
    }
    if (strcmp(word, "members") == 0 || strcmp(word, "canonical") == 0) {
        return add_members(methods, word[0] == 'c', rules, err);
    }
    if (strncmp(word, "member:", 7) == 0 || strncmp(word, "canonical:", 10) == 0) {
        size_t head = word[0] == 'm' ? 7 : 10;
        method.canonical = word[0] == 'c';
        enum packllm_status status =
            find_member(rules, word + head, size - head, &method.member, err);
        return status < 0 ? status : add(methods, word, &method, NULL, err);
    }
    take_pool(word, &size, &method);
    if (size > 6 && memcmp(word, "fixed:", 6) == 0) {
        return read_fixed(methods, word, word + 6, size - 6, &method, rules, err);
    }
    if (size > 9 && memcmp(word, "dexperts:", 9) == 0) {
        return read_experts(methods, word, word + 9, size - 9, &method, rules, err);
    }
    enum packllm_status status = take_setting(word, &size, &method, err);
    return status < 0 ? status : read_weigher(methods, word, size, &method, err);
}

enum packllm_status methods_read(struct methods *methods, const char *text,
                                 const struct method_rules *rules, struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    for (const char *at = text; at != NULL && status >= 0;) {
        const char *comma = strchr(at, ',');
        size_t size = comma != NULL ? (size_t)(comma - at) : strlen(at);
        char *word = alloc_text(at, size);
        if (word == NULL) {
            return fail_memory(err, size);
        }
        status = read_one(methods, word, rules, err);
        base_free(word);
        at = comma != NULL ? comma + 1 : NULL;
    }
    return status;
}

void methods_done(struct methods *methods) {
    for (size_t i = 0; i < methods->n; i++) {
        base_free(methods->names[i]);
        base_free(methods->fixed[i]);
    }
    base_free(methods->names);
    base_free(methods->fixed);
    base_free(methods->list);
    *methods = (struct methods){0};
}
