/* config.c - `packllm serve --config FILE`: settings from an INI file, under the environment and the
 * flags. Members stand there as in a pack file, or pack = FILE names one. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli.h"

static bool is_file(const char *key) {
    const struct args_table *table = options_table();
    for (size_t i = 0; i < table->n_options; i++) {
        if (table->options[i].file && strcmp(table->options[i].name, key) == 0) {
            return true;
        }
    }
    return false;
}

static bool add(struct config *config, const char *name, const char *value, const char *spelled) {
    char *copy = alloc_text(spelled, strlen(spelled));
    if (copy == NULL) {
        return false;
    }
    config->settings[config->n++] =
        (struct args_setting){.name = name, .value = value, .spelled = copy};
    return true;
}

int config_read(struct cli *cli, const struct args_table *table, const struct args_command *command,
                int argc, char **argv, struct config *out) {
    struct packllm_error err = {0};
    char spelled[1200];
    *out = (struct config){0};
    bool takes = (table->options[OPT_CONFIG].commands & command->bit) != 0;
    out->path = takes ? args_early(table, "config", argc, argv) : NULL;
    if (out->path == NULL) {
        return EXIT_FINE;
    }
    enum packllm_status status = packfile_config(out->path, is_file, &out->file, &err);
    if (status < 0) {
        return ui_fail(cli, status == PACKLLM_E_ARG ? EXIT_USE : EXIT_WORK, "--config: %s",
                       err.message);
    }
    out->settings = alloc_array(out->file.n + 1, sizeof *out->settings);
    bool fine = out->settings != NULL;
    for (size_t i = 0; i < out->file.n && fine; i++) {
        const struct packfile_setting *s = &out->file.settings[i];
        (void)snprintf(spelled, sizeof spelled, "%s:%d: %s", out->path, s->line, s->key);
        if (strcmp(s->key, "config") == 0) {
            return ui_fail(cli, EXIT_USE, "%s: a configuration names no other", spelled);
        }
        if (strcmp(s->key, "pack") == 0 && out->file.members) {
            return ui_fail(cli, EXIT_USE, "%s: the members stand in sections of this file already",
                           spelled);
        }
        fine = add(out, s->key, s->value, spelled);
    }
    if (fine && out->file.members) {
        fine = add(out, "pack", out->path, out->path);
    }
    return fine ? EXIT_FINE : ui_fail(cli, EXIT_WORK, "out of memory");
}

void config_done(struct config *config) {
    for (size_t i = 0; i < config->n; i++) {
        base_free((void *)(uintptr_t)config->settings[i].spelled);
    }
    base_free(config->settings);
    packfile_config_done(&config->file);
}
