/* spec.c - see spec.h. */
#include "common/spec.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/status.h"
#include "common/nearest.h"
#include "common/number.h"

enum setting {
    NAME,
    PRIOR,
    CAP,
    TEMPERATURE,
    NGL,
    CONTEXT,
    LORA,
    THREADS,
    DOMAIN,
    TEMPLATE,
    LATER
};
static const struct {
    const char *key;
    enum setting setting;
} settings[] = {
    {"name", NAME},
    {"prior", PRIOR},
    {"cap", CAP},
    {"ngl", NGL},
    {"c", CONTEXT},
    {"threads", THREADS},
    {"domain", DOMAIN},
    {"lora", LORA},
    {"temperature", TEMPERATURE},
    {"model", LATER},
    {"chat-template", TEMPLATE},
};
enum { N_SETTINGS = sizeof settings / sizeof settings[0] };

static enum packllm_status unknown_key(const char *where, const char *key,
                                       struct packllm_error *err) {
    struct nearest nearest;
    nearest_init(&nearest, key);
    for (size_t i = 0; i < N_SETTINGS; i++) {
        if (settings[i].setting != LATER) {
            nearest_offer(&nearest, settings[i].key);
        }
    }
    if (nearest.best != NULL) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "%s: unknown setting '%s', did you mean '%s'?", where, key, nearest.best);
    }
    return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                "%s: unknown setting '%s'; there are name=, prior=, cap=, temperature=, ngl=, c=, "
                "threads=, "
                "lora=, domain= and chat-template=",
                where, key);
}

static enum packllm_status range(const char *where, const char *key, const char *value,
                                 const char *wanted, struct packllm_error *err) {
    return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "%s: %s=%s: %s is wanted", where, key, value,
                wanted);
}

/* Behind the last colon of FILE:SCALE stands a number that is none: nan, inf, 1e999. */
static bool no_scale(const char *colon) {
    static const char *const words[] = {"nan", "inf", "infinity"};
    double number;
    if (colon == NULL) {
        return false;
    }
    const char *text = colon + 1;
    if (number_double(text, &number) == NUMBER_RANGE) {
        return true;
    }
    text += *text == '-' || *text == '+' ? 1 : 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static enum packllm_status read_setting(struct spec *spec, const char *where, enum setting setting,
                                        const char *key, const char *value,
                                        struct packllm_error *err) {
    double number = 0;
    int64_t whole = 0;
    switch (setting) {
    case NAME:
        if (*value == '\0') {
            return range(where, key, value, "a name", err);
        }
        base_free(spec->name);
        spec->name = alloc_text(value, strlen(value));
        return spec->name != NULL ? PACKLLM_OK : fail_memory(err, strlen(value));
    case PRIOR:
        if (number_double(value, &number) != NUMBER_OK || !(number > 0) || number > 1e9) {
            return range(where, key, value, "a number above 0, at most 1e9", err);
        }
        spec->member.prior = number;
        return PACKLLM_OK;
    case CAP:
        if (number_double(value, &number) != NUMBER_OK || !(number > 0) || number > 1) {
            return range(where, key, value, "a number above 0, at most 1", err);
        }
        spec->member.cap = number;
        return PACKLLM_OK;
    case TEMPERATURE:
        if (number_double(value, &number) != NUMBER_OK || !(number >= 0.01) || number > 100) {
            return range(where, key, value, "a number from 0.01 to 100", err);
        }
        spec->member.temperature = number;
        return PACKLLM_OK;
    case NGL:
        if (number_int(value, &whole) != NUMBER_OK || whole < 0 || whole > 9999) {
            return range(where, key, value, "a whole number from 0 to 9999", err);
        }
        spec->member.n_gpu_layers = (int32_t)whole;
        return PACKLLM_OK;
    case CONTEXT:
        if (number_int(value, &whole) != NUMBER_OK || whole < 0 || whole > 16777216) {
            return range(where, key, value, "a whole number from 0 to 16777216", err);
        }
        spec->member.n_ctx = (uint32_t)whole;
        return PACKLLM_OK;
    case LORA: {
        const char *colon = strrchr(value, ':');
        bool scaled = colon != NULL && number_double(colon + 1, &number) == NUMBER_OK;
        size_t size = scaled ? (size_t)(colon - value) : strlen(value);
        if (size == 0 || (scaled && fabs(number) > 1e6) || (!scaled && no_scale(colon))) {
            return range(where, key, value, "an adapter's file, FILE or FILE:SCALE,", err);
        }
        base_free(spec->lora);
        spec->lora = alloc_text(value, size);
        spec->member.lora_scale = scaled ? number : 1.0;
        return spec->lora != NULL ? PACKLLM_OK : fail_memory(err, size);
    }
    case THREADS:
        if (number_int(value, &whole) != NUMBER_OK || whole < 0 || whole > 512) {
            return range(where, key, value, "a whole number from 0 to 512", err);
        }
        spec->member.n_threads = (int32_t)whole;
        return PACKLLM_OK;
    case DOMAIN:
        if (*value == '\0') {
            return range(where, key, value, "a text file", err);
        }
        base_free(spec->domain);
        spec->domain = alloc_text(value, strlen(value));
        return spec->domain != NULL ? PACKLLM_OK : fail_memory(err, strlen(value));
    case TEMPLATE:
        if (*value == '\0') {
            return range(where, key, value, "a template's name", err);
        }
        base_free(spec->chat_template);
        spec->chat_template = alloc_text(value, strlen(value));
        return spec->chat_template != NULL ? PACKLLM_OK : fail_memory(err, strlen(value));
    case LATER:
        break;
    }
    return fail(err, PACKLLM_E_UNSUPPORTED, PACKLLM_NO_MEMBER,
                "%s: the setting %s= is not in this version yet", where, key);
}

enum packllm_status spec_set(struct spec *spec, const char *where, const char *key,
                             const char *value, struct packllm_error *err) {
    for (size_t i = 0; i < N_SETTINGS; i++) {
        if (strcmp(settings[i].key, key) == 0) {
            return read_setting(spec, where, settings[i].setting, key, value, err);
        }
    }
    return unknown_key(where, key, err);
}

static enum packllm_status read_settings(struct spec *spec, const char *text, char *rest,
                                         struct packllm_error *err) {
    char where[256];
    (void)snprintf(where, sizeof where, "-m %s", text);
    while (rest != NULL) {
        char *key = rest, *comma = strchr(rest, ',');
        rest = comma != NULL ? comma + 1 : NULL;
        if (comma != NULL) {
            *comma = '\0';
        }
        char *equals = strchr(key, '=');
        if (equals == NULL) {
            return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                        "-m %s: '%s' is not key=value; a SPEC is PATH[,key=value...]", text, key);
        }
        *equals = '\0';
        enum packllm_status status = spec_set(spec, where, key, equals + 1, err);
        if (status != PACKLLM_OK) {
            return status;
        }
    }
    return PACKLLM_OK;
}

bool spec_remote(const char *text) {
    return strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
}

enum packllm_status spec_read(struct spec *spec, const char *text, struct packllm_error *err) {
    *spec = (struct spec){.member = packllm_member_spec_default()};
    if (spec_remote(text)) {
        return fail(err, PACKLLM_E_UNSUPPORTED, PACKLLM_NO_MEMBER,
                    "-m %s: remote members are not in this version yet", text);
    }
    spec->path = alloc_text(text, strlen(text));
    if (spec->path == NULL) {
        return fail_memory(err, strlen(text));
    }
    /* A file may have commas in its name: what exists as it stands is a path. */
    struct stat st;
    char *comma = stat(text, &st) == 0 ? NULL : strchr(spec->path, ',');
    enum packllm_status status = PACKLLM_OK;
    if (comma != NULL) {
        *comma = '\0';
        status = read_settings(spec, text, comma + 1, err);
    }
    if (status == PACKLLM_OK && *spec->path == '\0') {
        status = fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                      "-m: '%s' names no model; a SPEC is PATH[,key=value...]", text);
    }
    if (status != PACKLLM_OK) {
        spec_done(spec);
    }
    return status;
}

void spec_done(struct spec *spec) {
    base_free(spec->path);
    base_free(spec->name);
    base_free(spec->lora);
    base_free(spec->domain);
    base_free(spec->chat_template);
    *spec = (struct spec){0};
}
