/* members.c - from the command line to a pack and a session: names to files (the default pack is
 * fetched on first use), options to parameters. What is wrong with the command line is found before
 * anything is fetched, and what is wrong with files before anything is loaded. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/status.h"
#include "bench.h"
#include "cli.h"
#include "common/cache.h"
#include "common/nearest.h"
#include "common/number.h"
#include "common/packfile.h"

static const struct args_value *value(const struct work *work, enum option option) {
    return &work->cli->args.values[option];
}

static int failed(struct work *work, enum packllm_status status) {
    return ui_status(work->cli, status, &work->err);
}

/* ---- names to files ---- */

static bool set_text(char **out_text, const char *text, size_t size) {
    char *copy = alloc_text(text, size);
    if (copy != NULL) {
        base_free(*out_text);
        *out_text = copy;
    }
    return copy != NULL;
}

/* The name that results call it: given, the cache's, or the file's without .gguf. */
static bool set_name(struct spec *spec, const char *known) {
    if (spec->name != NULL) {
        return true;
    }
    const char *path = spec->lora != NULL ? spec->lora : spec->path;
    const char *slash = strrchr(path, '/');
    known = spec->lora != NULL ? NULL : known;
    const char *name = known != NULL ? known : slash != NULL ? slash + 1 : path;
    size_t size = strlen(name);
    if (known == NULL && size > 5 && strcmp(name + size - 5, ".gguf") == 0) {
        size -= 5;
    }
    return set_text(&spec->name, name, size);
}

/* What a message about this member's file begins with: "-m ", or the pack file and the section. */
static const char *whence(const struct work *work, const struct spec *spec, struct buf *out) {
    if ((size_t)(spec - work->specs) >= work->n_filed) {
        return work->option;
    }
    bool fine = buf_printf(out, "%s: [%s]: ", value(work, OPT_PACK)->text, spec->name);
    return fine ? out->data : "";
}

static int no_such(struct work *work, const char *where, const char *name, int why) {
    struct cache_list list;
    struct nearest nearest;
    int code = EXIT_WORK;
    nearest_init(&nearest, name);
    if (strchr(name, '/') == NULL &&
        cache_list_read(&list, work->cli->folder.data, NULL) == PACKLLM_OK) {
        for (size_t i = 0; i < list.n; i++) {
            nearest_offer(&nearest, list.models[i].name);
        }
        if (nearest.best != NULL) {
            (void)ui_fail(work->cli, code, "%s%s: no such file or model, did you mean '%s'?", where,
                          name, nearest.best);
        }
        cache_list_done(&list);
    }
    if (nearest.best == NULL) {
        (void)ui_fail(work->cli, code, "%s%s: %s; packllm models list shows the cached models",
                      where, name, why == ENOENT ? "no such file or model" : strerror(why));
    }
    return code;
}

/* spec->path is a path or a name; it becomes the path. */
static int locate(struct work *work, struct spec *spec) {
    struct cli *cli = work->cli;
    struct stat st;
    const char *written = spec->path;
    struct buf path, where;
    int code = EXIT_FINE;
    buf_init(&where, 1 << 16);
    if (stat(written, &st) == 0 && cache_find_default(written) == NULL) {
        if (S_ISDIR(st.st_mode)) {
            code = ui_fail(cli, EXIT_WORK, "%s%s: this is a directory; a GGUF file is wanted",
                           whence(work, spec, &where), written);
        } else if (!set_name(spec, NULL)) {
            code = ui_fail(cli, EXIT_WORK, "out of memory");
        }
        buf_done(&where);
        return code;
    }
    int why = errno;
    buf_init(&path, 1 << 16);
    enum cache_state state = cache_find(cli->folder.data, written, &path);
    if (state == CACHE_UNKNOWN) {
        code = no_such(work, whence(work, spec, &where), written, why);
    } else if (state == CACHE_MISSING) {
        code = models_fetch(cli, &written, 1);
    }
    if (code == EXIT_FINE) {
        const struct cache_default *known = cache_find_default(written);
        if (path.failed || !set_name(spec, known != NULL ? known->name : NULL) ||
            !set_text(&spec->path, path.data, path.size)) {
            code = ui_fail(cli, EXIT_WORK, "out of memory");
        }
    }
    buf_done(&path);
    buf_done(&where);
    return code;
}

/* The SPECs given, or the default pack's where there are none; those of a pack file before them. */
static int read_specs(struct work *work, const char *const *given, size_t n, const char *file) {
    if (file != NULL) {
        const char *config = value(work, OPT_CONFIG)->text;
        bool settings = config != NULL && strcmp(config, file) == 0;
        enum packllm_status status =
            packfile_read(file, settings, &work->specs, &work->n, &work->settings, &work->err);
        if (status != PACKLLM_OK) {
            return failed(work, status);
        }
        work->n_filed = work->n;
    }
    size_t more = n > 0 ? n : file != NULL ? 0 : n_cache_defaults;
    struct spec *grown = alloc_resize(work->specs, work->n + more, sizeof *grown);
    work->specs = grown != NULL ? grown : work->specs;
    work->member = alloc_zero(work->n + more, sizeof *work->member);
    if (grown == NULL || work->member == NULL) {
        return ui_fail(work->cli, EXIT_WORK, "out of memory");
    }
    for (size_t i = 0; i < more; i++) {
        const char *text = n > 0 ? given[i] : cache_defaults[i].name;
        enum packllm_status status = spec_read(&work->specs[work->n], text, &work->err);
        if (status != PACKLLM_OK) {
            return failed(work, status);
        }
        work->n++;
    }
    return EXIT_FINE;
}

static int locate_all(struct work *work) {
    /* First what needs no fetching: what is missing for good is said before a download. */
    for (int fetch = 0; fetch < 2; fetch++) {
        for (size_t i = 0; i < work->n; i++) {
            struct spec *spec = &work->specs[i];
            bool is_default = cache_find_default(spec->path) != NULL;
            int code = is_default == (fetch != 0) ? locate(work, spec) : EXIT_FINE;
            if (code != EXIT_FINE) {
                return code;
            }
        }
    }
    for (size_t i = 0; i < work->n; i++) {
        work->member[i] = work->specs[i].member;
        work->member[i].temperature = work->cli->untempered ? 1 : work->specs[i].member.temperature;
        work->member[i].path = work->specs[i].path;
        work->member[i].name = work->specs[i].name;
        work->member[i].lora = work->specs[i].lora;
        work->member[i].domain = work->specs[i].domain;
        work->member[i].chat_template = work->specs[i].chat_template != NULL
                                            ? work->specs[i].chat_template
                                            : value(work, OPT_CHAT_TEMPLATE)->text;
    }
    return EXIT_FINE;
}

/* ---- options to parameters ---- */

static bool name_is(const struct spec *spec, const char *name) {
    if (spec->name != NULL) {
        return strcmp(spec->name, name) == 0;
    }
    return strcmp(spec->path, name) == 0;
}

int work_member(struct work *work, const char *option, const char *name, int32_t *out) {
    int64_t number = 0;
    struct nearest nearest;
    nearest_init(&nearest, name);
    for (size_t i = 0; i < work->n; i++) {
        if (name_is(&work->specs[i], name)) {
            *out = (int32_t)i;
            return EXIT_FINE;
        }
        nearest_offer(&nearest, work->specs[i].name);
    }
    if (number_int(name, &number) == NUMBER_OK && number >= 0 && number < (int64_t)work->n) {
        *out = (int32_t)number;
        return EXIT_FINE;
    }
    return ui_fail(work->cli, EXIT_USE,
                   "%s: '%s' is neither a member's name nor a number from 0 to %zu; the %s member "
                   "is '%s'",
                   option, name, work->n - 1, nearest.best != NULL ? "nearest" : "first",
                   nearest.best != NULL ? nearest.best : work->specs[0].name);
}

static int read_display(struct work *work) {
    const char *name = value(work, OPT_TOKENIZER)->text;
    return name == NULL ? EXIT_FINE
                        : work_member(work, "--tokenizer", name, &work->session_params.display);
}

static int index_of(const char *text, const char *(*name)(int i)) {
    int i = 0;
    while (name(i) != NULL && strcmp(name(i), text) != 0) {
        i++;
    }
    return name(i) != NULL ? i : 0;
}
static const char *align_name(int i) {
    return packllm_align_name((enum packllm_align)i);
}
static const char *feed_name(int i) {
    return packllm_feed_name((enum packllm_feed)i);
}
static const char *mass_name(int i) {
    return packllm_mass_name((enum packllm_mass)i);
}

/* How members that share no vocabulary meet in tokens. */
static int read_mapping(struct work *work) {
    const struct args *args = &work->cli->args;
    struct packllm_session_params *session = &work->session_params;
    const enum option options[] = {OPT_ALIGN, OPT_FEED, OPT_MASS, OPT_REFERENCE};
    const char *reference = value(work, OPT_REFERENCE)->text;
    session->align = (enum packllm_align)index_of(opt_text(args, OPT_ALIGN), align_name);
    session->feed = (enum packllm_feed)index_of(opt_text(args, OPT_FEED), feed_name);
    session->mass = (enum packllm_mass)index_of(opt_text(args, OPT_MASS), mass_name);
    session->align_cache = work->cli->folder.data;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (session->space != PACKLLM_SPACE_TOKENS &&
            value(work, options[i])->source == ARGS_FLAGS) {
            ui_warn(work->cli, "--%s does nothing without --space tokens",
                    args->table->options[options[i]].name);
            break;
        }
    }
    return reference == NULL || strcmp(reference, "auto") == 0
               ? EXIT_FINE
               : work_member(work, "--reference", reference, &session->reference);
}

void mapping_json(struct json *json, const struct work *work, int32_t reference) {
    if (reference >= 0) {
        json_key_text(json, "reference", work->specs[reference].name);
        json_key_text(json, "align", packllm_align_name(work->session_params.align));
        json_key_text(json, "feed", packllm_feed_name(work->session_params.feed));
        json_key_text(json, "mass", packllm_mass_name(work->session_params.mass));
    }
}

static void read_sampling(struct work *work) {
    const struct args *args = &work->cli->args;
    struct packllm_sampling *sampling = &work->session_params.sampling;
    if ((args->command->bit & args->table->options[OPT_TEMP].commands) == 0) {
        return;
    }
    sampling->temp = opt_double(args, OPT_TEMP);
    sampling->top_k = (int32_t)opt_int(args, OPT_TOP_K);
    sampling->top_p = opt_double(args, OPT_TOP_P);
    sampling->min_p = opt_double(args, OPT_MIN_P);
    sampling->repeat_penalty = opt_double(args, OPT_REPEAT_PENALTY);
    sampling->repeat_last_n = (int32_t)opt_int(args, OPT_REPEAT_LAST_N);
    sampling->presence_penalty = opt_double(args, OPT_PRESENCE_PENALTY);
    sampling->frequency_penalty = opt_double(args, OPT_FREQUENCY_PENALTY);
    sampling->ignore_eos = opt_set(args, OPT_IGNORE_EOS);
    sampling->seed = args->values[OPT_SEED].u;
    if (args->values[OPT_SEED].given_minus_one) {
        FILE *random = fopen("/dev/urandom", "rb");
        if (random == NULL || fread(&sampling->seed, sizeof sampling->seed, 1, random) != 1) {
            sampling->seed = (uint64_t)(uintptr_t)&sampling;
        }
        sampling->seed >>= 11; /* exact in every reader of JSON */
        if (random != NULL) {
            (void)fclose(random);
        }
    }
    work->session_params.max_tokens = opt_int(args, OPT_N_PREDICT);
    work->session_params.stop = args->values[OPT_STOP].list;
    work->session_params.n_stop = args->values[OPT_STOP].n;
    work->session_params.why = opt_set(args, OPT_WHY);
}

/* --grammar-file and --json-schema: the library says what is wrong with them. */
static int read_constraint(struct work *work) {
    const struct args *args = &work->cli->args;
    struct packllm_session_params *session = &work->session_params;
    if ((args->command->bit & args->table->options[OPT_GRAMMAR_FILE].commands) == 0) {
        return EXIT_FINE;
    }
    const char *grammar = opt_text(args, OPT_GRAMMAR_FILE);
    const char *schema = opt_text(args, OPT_JSON_SCHEMA);
    if (grammar != NULL && schema != NULL) {
        return ui_fail(work->cli, EXIT_USE,
                       "--grammar-file and --json-schema are both given: give up one");
    }
    bool file = grammar != NULL || (schema != NULL && schema[0] == '@');
    if (file) {
        int code = input_file(work->cli, grammar != NULL ? grammar : schema + 1, &work->constraint);
        if (code != EXIT_FINE) {
            return code;
        }
    } else if (schema != NULL && !buf_add_text(&work->constraint, schema)) {
        return ui_fail(work->cli, EXIT_WORK, "--json-schema is too long");
    }
    const char *text = work->constraint.data != NULL ? work->constraint.data : "";
    if (strlen(text) != work->constraint.size) {
        return ui_fail(work->cli, EXIT_USE, "'%s' has a NUL byte: it is no text",
                       grammar != NULL ? grammar : schema + 1);
    }
    session->grammar = grammar != NULL ? text : NULL;
    session->json_schema = schema != NULL ? text : NULL;
    return EXIT_FINE;
}

static bool on_load(void *data, int member, double share) {
    struct work *work = data;
    const char *name = member >= 0 && (size_t)member < work->n ? work->specs[member].name : "";
    tty_progress_show(&work->cli->progress, "loading", name, share);
    return !stop_asked();
}

static void on_read(void *data, int member, double share) {
    struct work *work = data;
    const char *name = member >= 0 && (size_t)member < work->n ? work->specs[member].name : "";
    tty_progress_show(&work->cli->progress, "reading", name, share);
}

void work_log(void *data, int level, const char *line) {
    struct work *work = data;
    enum ui_level levels[] = {UI_DEBUG, UI_DEBUG, UI_INFO, UI_WARN, UI_ERROR};
    struct buf text, safe;
    buf_init(&text, 1 << 16);
    buf_init(&safe, 1 << 16);
    size_t size = strlen(line);
    while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r')) {
        size--;
    }
    tty_safe(&safe, line, size, true);
    if (buf_printf(&text, "libllama: %s", safe.data != NULL ? safe.data : "")) {
        enum ui_level at = levels[level >= 0 && level <= 4 ? level : 0];
        ui_line(work->cli, work->cli->log_json ? at : UI_DEBUG, text.data);
    }
    buf_done(&safe);
    buf_done(&text);
}

static int read_params(struct work *work) {
    const struct args *args = &work->cli->args;
    work->params = packllm_params_default();
    work->params.n_ctx = (uint32_t)opt_int(args, OPT_CTX_SIZE);
    work->params.n_threads = (int32_t)opt_int(args, OPT_THREADS);
    work->params.n_gpu_layers = (int32_t)opt_int(args, OPT_N_GPU_LAYERS);
    const char *limit = opt_text(args, OPT_MEMORY_LIMIT);
    if (limit != NULL && number_bytes(limit, &work->params.memory_limit) != NUMBER_OK) {
        return ui_fail(
            work->cli, EXIT_USE,
            "--memory-limit: '%s' is no size: a number of bytes above 0 is wanted, or one "
            "with K, M or G behind it, such as 8G",
            limit);
    }
    if (strcmp(work->cli->args.command->name, "serve") == 0) {
        /* One more than there are replies: a prompt that is told token by token may take two. */
        work->params.n_parallel = (uint32_t)opt_int(args, OPT_PARALLEL) + 1;
    }
    if (strcmp(work->cli->args.command->name, "eval") == 0) {
        work->params.n_seq = 32; /* a question's options and their ends of tokens, side by side */
    }
    size_t many[BENCH_PARALLEL], n_many = 0;
    int code = bench_parallel(work->cli, many, &n_many);
    if (n_many > 0) { /* side by side in the pack, and as histories of a member alone */
        uint32_t most = (uint32_t)many[n_many - 1];
        work->params.n_parallel = most;
        work->params.n_seq = most > work->params.n_seq ? most : work->params.n_seq;
    }
    work->params.progress = on_load;
    work->params.progress_data = work;
    if (opt_set(args, OPT_VERBOSE)) {
        work->params.log = work_log;
        work->params.log_data = work;
    }
    work->session_params = packllm_session_params_default();
    struct packllm_session_params *session = &work->session_params;
    const char *space = opt_text(args, OPT_SPACE);
    session->space = space == NULL                  ? PACKLLM_SPACE_AUTO
                     : strcmp(space, "tokens") == 0 ? PACKLLM_SPACE_TOKENS
                     : strcmp(space, "bytes") == 0  ? PACKLLM_SPACE_BYTES
                                                    : PACKLLM_SPACE_AUTO;
    const char *drop = opt_text(args, OPT_DROP);
    session->drop = drop != NULL && strcmp(drop, "off") == 0 ? PACKLLM_DROP_OFF : PACKLLM_DROP_AUTO;
    bool own = work->settings.shrink_given && value(work, OPT_SHRINK)->source == ARGS_DEFAULT;
    session->shrink = own ? work->settings.shrink : opt_double(args, OPT_SHRINK);
    session->tau = opt_double(args, OPT_TAU);
    bool scores = (args->command->bit & args->table->options[OPT_SCORE_EPSILON].commands) != 0;
    session->epsilon = opt_double(args, scores ? OPT_SCORE_EPSILON : OPT_EPSILON);
    const char *covers = opt_text(args, OPT_COVERS);
    session->covers = covers != NULL && strcmp(covers, "all") == 0 ? PACKLLM_COVERS_ALL
                                                                   : PACKLLM_COVERS_CANONICAL;
    const char *choose = opt_text(args, OPT_CHOOSE);
    session->choose = choose != NULL && strcmp(choose, "bytes") == 0 ? PACKLLM_CHOOSE_BYTES
                                                                     : PACKLLM_CHOOSE_TOKENS;
    session->progress = on_read;
    session->progress_data = work;
    read_sampling(work);
    return code == EXIT_FINE && opt_text(args, OPT_WEIGHTS) != NULL ? work_weigher(work) : code;
}

/* ---- steps ---- */

static void memory_json(struct json *json, const struct packllm_memory *memory) {
    json_key_uint(json, "weights", memory->weights);
    json_key_uint(json, "kv", memory->kv);
    json_key_uint(json, "buffers", memory->buffers);
    json_key_uint(json, "total", memory->total);
}

static int print_memory(struct work *work) {
    struct packllm_memory total = {0};
    struct packllm_memory *members = alloc_zero(work->n, sizeof *members);
    if (members == NULL) {
        return ui_fail(work->cli, EXIT_WORK, "out of memory");
    }
    struct buf out;
    buf_init(&out, RESULT_CEILING);
    int code;
    enum packllm_status status =
        packllm_pack_memory(work->member, work->n, &work->params, &total, members, &work->err);
    if (status != PACKLLM_OK) {
        code = failed(work, status);
    } else if (work->cli->json) {
        struct json json;
        json_init(&json, &out);
        json_begin_object(&json);
        memory_json(&json, &total);
        json_key_uint(&json, "contexts", total.contexts);
        json_key(&json, "available");
        if (total.available > 0) {
            json_uint(&json, total.available);
        } else {
            json_nothing(&json);
        }
        json_key(&json, "members");
        json_begin_array(&json);
        for (size_t i = 0; i < work->n; i++) {
            json_begin_object(&json);
            json_key_text(&json, "name", work->specs[i].name);
            memory_json(&json, &members[i]);
            json_end_object(&json);
        }
        json_end_array(&json);
        json_end_object(&json);
        code = output_json(work->cli, &out);
    } else {
        table_memory(&out, work, &total, members);
        code = output_buf(work->cli, &out);
    }
    buf_done(&out);
    base_free(members);
    return code;
}

static int open_pack(struct work *work) {
    enum packllm_status status =
        packllm_pack_open(&work->pack, work->member, work->n, &work->params, &work->err);
    tty_progress_clear(&work->cli->progress);
    if (status != PACKLLM_OK) {
        return failed(work, status);
    }
    return work_session(work);
}

int work_files(struct work *work, struct cli *cli, const char *const *specs, size_t n) {
    *work = (struct work){.cli = cli, .option = ""};
    int code = models_folder(cli);
    code = code == EXIT_FINE ? read_specs(work, specs, n, NULL) : code;
    return code == EXIT_FINE ? locate_all(work) : code;
}

int work_begin(struct work *work, struct cli *cli, struct buf *text, bool *out_go) {
    const struct args_value *models = &cli->args.values[OPT_MODEL];
    *work = (struct work){.cli = cli, .option = "-m "};
    buf_init(&work->constraint, 1 << 22);
    *out_go = false;
    bool memory = opt_set(&cli->args, OPT_MEMORY);
    int code = models_folder(cli);
    if (code == EXIT_FINE) {
        code = read_specs(work, models->list, models->n, value(work, OPT_PACK)->text);
    }
    if (code == EXIT_FINE) {
        code = read_params(work);
    }
    if (code == EXIT_FINE && !memory && text != NULL) {
        code = input_read(cli, text);
    }
    if (code == EXIT_FINE) {
        code = read_constraint(work);
        code = code == EXIT_FINE ? work_bias(work) : code;
    }
    if (code == EXIT_FINE) {
        code = locate_all(work);
    }
    if (code == EXIT_FINE) {
        code = read_display(work);
    }
    if (code == EXIT_FINE) {
        code = read_mapping(work);
    }
    if (code == EXIT_FINE) {
        code = work_experts(work);
    }
    if (code == EXIT_FINE && memory) {
        return print_memory(work);
    }
    if (code == EXIT_FINE) {
        code = open_pack(work);
    }
    *out_go = code == EXIT_FINE;
    return code;
}

int work_session(struct work *work) {
    stop_session(NULL);
    packllm_session_close(work->session);
    work->session = NULL;
    enum packllm_status status =
        packllm_session_open(&work->session, work->pack, &work->session_params, &work->err);
    if (status != PACKLLM_OK) {
        return failed(work, status);
    }
    stop_session(work->session);
    return stop_asked() ? stop_exit() : EXIT_FINE;
}

void work_done(struct work *work) {
    stop_session(NULL);
    tty_progress_clear(&work->cli->progress);
    packllm_session_close(work->session);
    packllm_pack_close(work->pack);
    packfile_done(work->specs, work->n);
    base_free(work->member);
    base_free(work->fixed);
    base_free(work->bias);
    buf_done(&work->constraint);
    *work = (struct work){.cli = work->cli};
}
