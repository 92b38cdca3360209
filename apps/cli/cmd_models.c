/* cmd_models.c - `packllm models`: the cache of downloaded models. Names are entries of its folder,
 * never paths. Downloads are the embedded script's work (tools/fetch-models.sh). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "common/cache.h"
#include "common/nearest.h"
#include "common/number.h"
#include "embed_fetch_models.h"

int models_folder(struct cli *cli) {
    struct packllm_error err = {0};
    buf_cut(&cli->folder, 0);
    enum packllm_status status = cache_folder(opt_text(&cli->args, OPT_CACHE), &cli->folder, &err);
    return status == PACKLLM_OK ? EXIT_FINE : ui_status(cli, status, &err);
}

/* --log-json: a line of the script's, "packllm: error: …" or "packllm: …". */
static void on_script(void *data, const char *text) {
    static const char program[] = "packllm: ", error[] = "error: ";
    bool own = strncmp(text, program, sizeof program - 1) == 0;
    text += own ? sizeof program - 1 : 0;
    bool wrong = own && strncmp(text, error, sizeof error - 1) == 0;
    ui_line(data, wrong ? UI_ERROR : UI_INFO, text + (wrong ? sizeof error - 1 : 0));
}

int models_fetch(struct cli *cli, const char *const *names, size_t n) {
    struct packllm_error err = {0};
    const char *arguments[65] = {"pull"};
    const struct cache_watch watch = {cli->log_json ? on_script : NULL, cli, stop_asked};
    int script = 0;
    if (n > 64) {
        return ui_fail(cli, EXIT_USE, "more than 64 models at once");
    }
    for (size_t i = 0; i < n; i++) {
        arguments[1 + i] = names[i];
    }
    enum packllm_status status = cache_run_script(embed_fetch_models, cli->folder.data, arguments,
                                                  n + 1, &watch, &script, &err);
    if (status != PACKLLM_OK) {
        return ui_status(cli, status, &err);
    }
    if (stop_asked()) {
        return stop_exit();
    }
    if (script == 127) {
        return ui_fail(cli, EXIT_WORK, "fetching models needs /bin/sh and the usual tools");
    }
    if (script > EXIT_SIGNAL) {
        return ui_fail(cli, EXIT_WORK, "fetching was ended by signal %d", script - EXIT_SIGNAL);
    }
    return script == 0 ? EXIT_FINE : EXIT_WORK; /* the script has said why */
}

/* ---- list ---- */

static void list_json(struct buf *out, const char *folder, const struct cache_list *list) {
    struct json json;
    json_init(&json, out);
    json_begin_object(&json);
    json_key_text(&json, "cache", folder);
    json_key(&json, "models");
    json_begin_array(&json);
    for (size_t i = 0; i < list->n; i++) {
        const struct cache_model *model = &list->models[i];
        json_begin_object(&json);
        json_key_text(&json, "name", model->name);
        json_key_text(&json, "path", model->path);
        json_key_uint(&json, "bytes", model->bytes);
        json_key(&json, "here");
        json_bool(&json, model->here);
        json_key(&json, "default");
        json_bool(&json, model->is_default);
        json_end_object(&json);
    }
    json_end_array(&json);
    json_end_object(&json);
}

static void list_table(struct buf *out, const struct cache_list *list) {
    for (size_t i = 0; i < list->n; i++) {
        const struct cache_model *model = &list->models[i];
        char size[NUMBER_TEXT] = "not here";
        if (model->here) {
            number_size(size, model->bytes);
        }
        tty_pad(out, model->name, 32);
        (void)buf_printf(out, "  %10s  %s  ", size, model->is_default ? "default" : "       ");
        tty_safe(out, model->path, strlen(model->path), true);
        (void)buf_add_text(out, "\n");
    }
}

static int do_list(struct cli *cli) {
    struct cache_list list;
    struct packllm_error err = {0};
    enum packllm_status status = cache_list_read(&list, cli->folder.data, &err);
    if (status != PACKLLM_OK) {
        return ui_status(cli, status, &err);
    }
    struct buf out;
    buf_init(&out, RESULT_CEILING);
    int code;
    if (cli->json) {
        list_json(&out, cli->folder.data, &list);
        code = output_json(cli, &out);
    } else {
        list_table(&out, &list);
        code = output_buf(cli, &out);
    }
    buf_done(&out);
    cache_list_done(&list);
    return code;
}

/* ---- pull, remove, path, demo ---- */

static int unknown_model(struct cli *cli, const char *name) {
    struct cache_list list;
    struct nearest nearest;
    nearest_init(&nearest, name);
    if (cache_list_read(&list, cli->folder.data, NULL) == PACKLLM_OK) {
        for (size_t i = 0; i < list.n; i++) {
            nearest_offer(&nearest, list.models[i].name);
        }
        int code =
            nearest.best != NULL
                ? ui_fail(cli, EXIT_WORK, "no model is called '%s' here, did you mean '%s'?", name,
                          nearest.best)
                : ui_fail(cli, EXIT_WORK,
                          "no model is called '%s' here; packllm models list shows them", name);
        cache_list_done(&list);
        return code;
    }
    return ui_fail(cli, EXIT_WORK, "no model is called '%s' here", name);
}

/* What the list calls a model of the cache's own folder, or a file there by its full name. */
static int remove_one(struct cli *cli, const char *name) {
    struct cache_list list;
    struct packllm_error err = {0};
    enum packllm_status status = cache_list_read(&list, cli->folder.data, &err);
    if (status != PACKLLM_OK) {
        return ui_status(cli, status, &err);
    }
    const struct cache_model *found = NULL;
    for (size_t i = 0; i < list.n && found == NULL; i++) {
        const struct cache_model *model = &list.models[i];
        const char *slash = strrchr(model->path, '/');
        if (model->here && !model->foreign &&
            (strcmp(model->name, name) == 0 || strcmp(slash != NULL ? slash + 1 : "", name) == 0)) {
            found = model;
        }
    }
    int code = EXIT_FINE;
    if (found == NULL) {
        code = unknown_model(cli, name);
    } else if (unlink(found->path) != 0) {
        code = ui_fail(cli, EXIT_WORK, "cannot remove '%s': %s", found->path, strerror(errno));
    }
    cache_list_done(&list);
    return code;
}

/* --json: {"KEY":["name", …]}, or with their files {"KEY":[{"name","path"}, …]}. */
static int names_json(struct cli *cli, const char *key, const char *const *names, size_t n,
                      bool files) {
    struct buf out, path;
    struct json json;
    buf_init(&out, RESULT_CEILING);
    buf_init(&path, 1 << 16);
    json_init(&json, &out);
    json_begin_object(&json);
    json_key(&json, key);
    json_begin_array(&json);
    for (size_t i = 0; i < n; i++) {
        if (!files) {
            json_text(&json, names[i]);
            continue;
        }
        buf_cut(&path, 0);
        (void)cache_find(cli->folder.data, names[i], &path);
        json_begin_object(&json);
        json_key_text(&json, "name", names[i]);
        json_key_text(&json, "path", path.size > 0 ? path.data : NULL);
        json_end_object(&json);
    }
    json_end_array(&json);
    json_end_object(&json);
    int code = output_json(cli, &out);
    buf_done(&path);
    buf_done(&out);
    return code;
}

static int do_remove(struct cli *cli, const char *const *names, size_t n) {
    int code = EXIT_FINE;
    if (n == 0) {
        return ui_fail(cli, EXIT_USE, "models remove needs a NAME; models list shows them");
    }
    for (size_t i = 0; code == EXIT_FINE && i < n; i++) {
        code = remove_one(cli, names[i]);
    }
    return code == EXIT_FINE && cli->json ? names_json(cli, "removed", names, n, false) : code;
}

static int do_path(struct cli *cli, const char *const *names, size_t n) {
    if (n != 1) {
        return ui_fail(cli, EXIT_USE, "models path needs one NAME; models list shows them");
    }
    struct buf path;
    buf_init(&path, 1 << 16);
    int code;
    enum cache_state state = cache_find(cli->folder.data, names[0], &path);
    if (state == CACHE_HERE && cli->json) {
        code = names_json(cli, "models", names, 1, true);
    } else if (state == CACHE_HERE) {
        (void)buf_add_text(&path, "\n");
        code = output_buf(cli, &path);
    } else if (state == CACHE_MISSING) {
        code = ui_fail(cli, EXIT_WORK, "%s is not here yet: packllm models pull %s", names[0],
                       names[0]);
    } else {
        code = unknown_model(cli, names[0]);
    }
    buf_done(&path);
    return code;
}

static int do_demo(struct cli *cli) {
    struct buf out;
    struct json json;
    buf_init(&out, RESULT_CEILING);
    json_init(&json, &out);
    if (cli->json) {
        json_begin_object(&json);
        json_key(&json, "models");
        json_begin_array(&json);
    }
    for (size_t i = 0; i < n_cache_defaults; i++) {
        const struct cache_default *model = &cache_defaults[i];
        if (cli->json) {
            json_begin_object(&json);
            json_key_text(&json, "name", model->name);
            json_key_text(&json, "file", model->file);
            json_key_text(&json, "licence", model->licence);
            json_end_object(&json);
        } else {
            (void)buf_printf(&out, "%-16s%s (%s)\n", model->name, model->file, model->licence);
        }
    }
    if (cli->json) {
        json_end_array(&json);
        json_end_object(&json);
        (void)buf_add_text(&out, "\n");
    }
    int code = output_buf(cli, &out);
    buf_done(&out);
    return code;
}

static int do_pull(struct cli *cli, const char *const *names, size_t n) {
    const char *defaults[8];
    if (n == 0 || (n == 1 && strcmp(names[0], "demo") == 0)) {
        for (size_t i = 0; i < n_cache_defaults; i++) {
            defaults[i] = cache_defaults[i].name;
        }
        names = defaults;
        n = n_cache_defaults;
    }
    int code = models_fetch(cli, names, n);
    return code == EXIT_FINE && cli->json ? names_json(cli, "models", names, n, true) : code;
}

int cmd_models(struct cli *cli) {
    const struct args *args = &cli->args;
    const char *verb = args->n_operands > 0 ? args->operands[0] : "list";
    const char *const *names = (const char *const *)args->operands + 1;
    size_t n = args->n_operands > 0 ? args->n_operands - 1 : 0;
    int code = models_folder(cli);
    if (code != EXIT_FINE) {
        return code;
    }
    bool alone = strcmp(verb, "list") == 0 || strcmp(verb, "demo") == 0;
    if (alone && n > 0) {
        return ui_fail(cli, EXIT_USE, "models %s takes no names, but '%s' was given", verb,
                       names[0]);
    }
    if (strcmp(verb, "list") == 0) {
        return do_list(cli);
    }
    if (strcmp(verb, "pull") == 0) {
        return do_pull(cli, names, n);
    }
    if (strcmp(verb, "remove") == 0) {
        return do_remove(cli, names, n);
    }
    if (strcmp(verb, "path") == 0) {
        return do_path(cli, names, n);
    }
    if (strcmp(verb, "demo") == 0) {
        return do_demo(cli);
    }
    static const char *const verbs[] = {"list", "pull", "remove", "path", "demo"};
    struct nearest nearest;
    nearest_init(&nearest, verb);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        nearest_offer(&nearest, verbs[i]);
    }
    return nearest.best != NULL
               ? ui_fail(cli, EXIT_USE, "models: unknown word '%s', did you mean '%s'?", verb,
                         nearest.best)
               : ui_fail(cli, EXIT_USE, "models: unknown word '%s'; usage: packllm models %s", verb,
                         args->command->operands);
}
