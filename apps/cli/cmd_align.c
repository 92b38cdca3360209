/* cmd_align.c - `packllm align`: how two vocabularies meet, and the map between them in files. */
#define PACKLLM_EXPERIMENTAL
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli.h"

struct view {
    struct work *work;
    struct packllm_alignment *alignment;
    struct packllm_align_map map;
    uint32_t *worst; /* [n_worst] reference ids, the largest distance first */
    size_t n_worst;
};

static bool on_progress(void *data, int member, double share) {
    struct work *work = data;
    const char *name = member >= 0 ? work->specs[member].name : "the vocabularies";
    tty_progress_show(&work->cli->progress, member >= 0 ? "loading" : "mapping", name, share);
    return !stop_asked();
}

/* ---- the worst pairs ----------------------------------------------------------------------- */

/* Keeps the `most` mapped tokens of the largest distance, of equal ones the lowest id. */
static bool find_worst(struct view *view, size_t most) {
    const struct packllm_align_map *map = &view->map;
    view->worst = alloc_array(most + 1, sizeof *view->worst);
    for (uint32_t id = 0; view->worst != NULL && id < map->n; id++) {
        uint32_t distance = map->distance[id];
        if (distance == 0 || map->to[id] < 0) {
            continue;
        }
        size_t at = view->n_worst;
        for (; at > 0 && map->distance[view->worst[at - 1]] < distance; at--) {
            view->worst[at] = view->worst[at - 1];
        }
        view->worst[at] = id;
        view->n_worst += view->n_worst < most;
    }
    return view->worst != NULL;
}

/* ---- files --------------------------------------------------------------------------------- */

static void write_map_line(FILE *out, const struct view *view, int32_t id) {
    const struct packllm_align_map *map = &view->map;
    long long distance = map->to[id] < 0 ? -1 : (long long)map->distance[id];
    (void)fprintf(out, "%ld\t%ld\t%lld\n", (long)id, (long)map->to[id], distance);
}

static void write_bytes_line(FILE *out, const struct view *view, int32_t id) {
    const void *bytes = NULL;
    size_t size = 0;
    bool usable = false;
    (void)packllm_align_token(view->alignment, false, id, &bytes, &size, &usable);
    if (!usable) {
        return;
    }
    (void)fprintf(out, "%ld\t", (long)id);
    for (size_t i = 0; i < size; i++) {
        (void)fprintf(out, "%02x", ((const unsigned char *)bytes)[i]);
    }
    (void)fputc('\n', out);
}

static int dump(struct view *view, enum option option,
                void (*line)(FILE *out, const struct view *view, int32_t id)) {
    struct cli *cli = view->work->cli;
    struct output_file file;
    if (!opt_set(&cli->args, option)) {
        return EXIT_FINE;
    }
    int code = output_file_open(cli, &file, opt_text(&cli->args, option));
    if (code != EXIT_FINE) {
        return code;
    }
    for (uint32_t id = 0; id < view->map.n && !stop_asked(); id++) {
        line(file.stream, view, (int32_t)id);
    }
    code = output_file_close(cli, &file, !stop_asked());
    return stop_asked() ? stop_exit() : code;
}

/* ---- the result ---------------------------------------------------------------------------- */

static void token_of(const struct view *view, bool of_member, int32_t id, const char **out_text,
                     size_t *out_size) {
    const void *bytes = "";
    bool usable = false;
    *out_size = 0;
    (void)packllm_align_token(view->alignment, of_member, id, &bytes, out_size, &usable);
    *out_text = bytes;
}

static void print_json(struct buf *out, const struct view *view) {
    const struct packllm_align_map *map = &view->map;
    const char *text = "";
    size_t size = 0;
    struct json json;
    json_init(&json, out);
    json_begin_object(&json);
    json_key_text(&json, "reference", map->reference);
    json_key_text(&json, "member", map->member);
    json_key_text(&json, "align", opt_text(&view->work->cli->args, OPT_ALIGN));
    json_key_uint(&json, "exact", map->exact);
    json_key_uint(&json, "near", map->near);
    json_key_uint(&json, "unmatched", map->unmatched);
    json_key_double(&json, "seconds", map->seconds);
    json_key(&json, "cached");
    json_bool(&json, map->cached);
    json_key(&json, "worst");
    json_begin_array(&json);
    for (size_t i = 0; i < view->n_worst; i++) {
        int32_t id = (int32_t)view->worst[i];
        json_begin_object(&json);
        json_key_uint(&json, "reference_id", (uint64_t)id);
        json_key(&json, "reference");
        token_of(view, false, id, &text, &size);
        json_bytes(&json, text, size);
        json_key_uint(&json, "member_id", (uint64_t)map->to[id]);
        json_key(&json, "member");
        token_of(view, true, map->to[id], &text, &size);
        json_bytes(&json, text, size);
        json_key_uint(&json, "distance", map->distance[id]);
        json_end_object(&json);
    }
    json_end_array(&json);
    json_end_object(&json);
}

static void add_count(struct buf *out, const char *what, uint32_t count, uint32_t n) {
    (void)buf_printf(out, "%-10s %8lu  %6.2f %%\n", what, (unsigned long)count,
                     100.0 * count / (n > 0 ? n : 1));
}

/* A token in quotes, padded to width columns. */
static void add_token(struct buf *out, const struct view *view, bool of_member, int32_t id,
                      size_t width) {
    const char *text = "";
    size_t size = 0;
    struct buf safe, quoted;
    buf_init(&safe, RESULT_CEILING);
    buf_init(&quoted, RESULT_CEILING);
    token_of(view, of_member, id, &text, &size);
    tty_safe(&safe, text, size, true);
    (void)buf_printf(&quoted, "'%s'", safe.data != NULL ? safe.data : "");
    tty_pad(out, quoted.data != NULL ? quoted.data : "", width);
    buf_done(&safe);
    buf_done(&quoted);
}

static void print_table(struct buf *out, const struct view *view) {
    const struct packllm_align_map *map = &view->map;
    (void)buf_add_text(out, "reference  ");
    tty_safe(out, map->reference, strlen(map->reference), true);
    (void)buf_printf(out, ", %lu tokens\nmember     ", (unsigned long)map->n);
    tty_safe(out, map->member, strlen(map->member), true);
    (void)buf_printf(out, ", %lu tokens\n", (unsigned long)map->n_member);
    add_count(out, "exact", map->exact, map->n);
    add_count(out, "near", map->near, map->n);
    add_count(out, "unmatched", map->unmatched, map->n);
    (void)buf_printf(out, "%s in %.3f s\n", map->cached ? "read from the cache" : "mapped",
                     map->seconds);
    if (view->n_worst > 0) {
        (void)buf_printf(out, "\n%8s  %-32s  %s\n", "distance", "reference", "member");
    }
    for (size_t i = 0; i < view->n_worst; i++) {
        int32_t id = (int32_t)view->worst[i];
        (void)buf_printf(out, "%8lu  ", (unsigned long)map->distance[id]);
        add_token(out, view, false, id, 32);
        (void)buf_add_text(out, "  ");
        add_token(out, view, true, map->to[id], 32);
        while (out->size > 0 && out->data[out->size - 1] == ' ') { /* a token ends with a quote */
            buf_cut(out, out->size - 1);
        }
        (void)buf_add_text(out, "\n");
    }
}

static int show(struct view *view) {
    struct cli *cli = view->work->cli;
    struct buf out;
    int code = dump(view, OPT_DUMP, write_map_line);
    code = code == EXIT_FINE ? dump(view, OPT_DUMP_BYTES, write_bytes_line) : code;
    if (code != EXIT_FINE) {
        return code;
    }
    if (!find_worst(view, (size_t)opt_int(&cli->args, OPT_WORST))) {
        return ui_fail(cli, EXIT_WORK, "out of memory");
    }
    buf_init(&out, RESULT_CEILING);
    if (cli->json) {
        print_json(&out, view);
        code = output_json(cli, &out);
    } else {
        print_table(&out, view);
        code = output_buf(cli, &out);
    }
    buf_done(&out);
    return code;
}

static int align(struct work *work) {
    struct cli *cli = work->cli;
    struct view view = {.work = work};
    struct packllm_align_params params = packllm_align_params_default();
    const char *method = opt_text(&cli->args, OPT_ALIGN);
    for (int i = 0; packllm_align_name((enum packllm_align)i) != NULL; i++) {
        if (strcmp(packllm_align_name((enum packllm_align)i), method) == 0) {
            params.method = (enum packllm_align)i;
        }
    }
    params.n_threads = (int32_t)opt_int(&cli->args, OPT_THREADS);
    params.cache = cli->folder.data;
    params.progress = on_progress;
    params.progress_data = work;
    if (opt_set(&cli->args, OPT_VERBOSE)) {
        params.log = work_log;
        params.log_data = work;
    }
    enum packllm_status status = packllm_align_open(&view.alignment, &work->member[0],
                                                    &work->member[1], &params, &work->err);
    tty_progress_clear(&cli->progress);
    if (status != PACKLLM_OK) {
        return ui_status(cli, status, &work->err);
    }
    (void)packllm_align_get(view.alignment, &view.map);
    if (view.map.warning[0] != '\0') {
        ui_warn(cli, "%s", view.map.warning);
    }
    int code = show(&view);
    base_free(view.worst);
    packllm_align_close(view.alignment);
    return code;
}

int cmd_align(struct cli *cli) {
    struct work work = {.cli = cli};
    if (cli->args.n_operands != 2) {
        return ui_fail(cli, EXIT_USE,
                       "align needs two vocabularies, as in packllm align smollm2-135m "
                       "gemma-3-270m");
    }
    int code = work_files(&work, cli, cli->args.operands, 2);
    if (code == EXIT_FINE) {
        code = align(&work);
    }
    work_done(&work);
    return code;
}
