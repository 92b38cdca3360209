/* pack.c - opening a pack: the members, their vocabularies' prefix structures, and whether they fit. */

#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/status.h"

struct packllm_member_spec packllm_member_spec_default(void) {
    return (struct packllm_member_spec){
        .n_gpu_layers = -1, .prior = 1.0, .cap = 1.0, .temperature = 1.0, .lora_scale = 1.0};
}

struct packllm_params packllm_params_default(void) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return (struct packllm_params){.n_threads = (int32_t)(cores < 1    ? 1
                                                          : cores > 16 ? 16
                                                                       : cores),
                                   .n_seq = 12,
                                   .n_parallel = 1};
}

static enum packllm_status check_params(const struct packllm_params *given,
                                        struct packllm_params *out, struct packllm_error *err) {
    struct packllm_params defaults = packllm_params_default();
    *out = given != NULL ? *given : defaults;
    out->n_threads = out->n_threads == 0 ? defaults.n_threads : out->n_threads;
    out->n_seq = out->n_seq == 0 ? defaults.n_seq : out->n_seq;
    if (out->n_threads < 0 || out->n_threads > 512) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "%d threads: give 1 to 512",
                    (int)out->n_threads);
    }
    out->n_parallel = out->n_parallel == 0 ? 1 : out->n_parallel;
    if (out->n_parallel > 16 || out->n_seq * out->n_parallel > 256) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "%u timelines of %u histories: give at most 16, and 256 histories in all",
                    (unsigned)out->n_parallel, (unsigned)out->n_seq);
    }
    if (out->n_seq < 4 || out->n_seq > 64) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "n_seq is %u: give 4 to 64",
                    (unsigned)out->n_seq);
    }
    return PACKLLM_OK;
}

static enum packllm_status check_specs(const struct packllm_member_spec *specs, size_t n,
                                       struct packllm_error *err) {
    double caps = 0.0;
    if (specs == NULL || n == 0) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "a pack needs at least one member");
    }
    for (size_t i = 0; i < n; i++) {
        if (specs[i].path == NULL || specs[i].path[0] == '\0') {
            return fail(err, PACKLLM_E_ARG, (int)i, "member %zu has no path", i + 1);
        }
        if (!(specs[i].prior > 0.0) || !isfinite(specs[i].prior)) {
            return fail(err, PACKLLM_E_ARG, (int)i, "member %zu ('%s'): prior %g is not > 0", i + 1,
                        specs[i].path, specs[i].prior);
        }
        if (!(specs[i].temperature > 0.0) || !isfinite(specs[i].temperature)) {
            return fail(err, PACKLLM_E_ARG, (int)i, "member %zu ('%s'): temperature %g is not > 0",
                        i + 1, specs[i].path, specs[i].temperature);
        }
        if (!(specs[i].cap > 0.0) || specs[i].cap > 1.0) {
            return fail(err, PACKLLM_E_ARG, (int)i, "member %zu ('%s'): cap %g is not in (0, 1]",
                        i + 1, specs[i].path, specs[i].cap);
        }
        if (specs[i].n_threads < 0 || specs[i].n_threads > 512) {
            return fail(err, PACKLLM_E_ARG, (int)i, "member %zu ('%s'): %d threads: give 1 to 512",
                        i + 1, specs[i].path, (int)specs[i].n_threads);
        }
        if (specs[i].lora != NULL && !isfinite(specs[i].lora_scale)) {
            return fail(err, PACKLLM_E_ARG, (int)i, "member %zu ('%s'): the adapter's scale is %g",
                        i + 1, specs[i].path, specs[i].lora_scale);
        }
        caps += specs[i].cap;
        for (size_t k = 0; k < i; k++) {
            if (specs[i].name != NULL && specs[k].name != NULL &&
                strcmp(specs[i].name, specs[k].name) == 0) {
                return fail(err, PACKLLM_E_ARG, (int)i,
                            "two members are called '%s': give one another name (name=…)",
                            specs[i].name);
            }
        }
    }
    if (caps < 1.0 - 1e-9) { /* the solver's tolerance */
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "the caps sum to %g: weights of sum 1 do not fit below them", caps);
    }
    return PACKLLM_OK;
}

static bool same_model(const struct packllm_member_spec *a, const struct packllm_member_spec *b) {
    return strcmp(a->path, b->path) == 0 && a->n_gpu_layers == b->n_gpu_layers;
}

/* Packs of so many members keep all their contexts; larger ones a few while they read. */
enum { SMALL = 4, READING = 12 };

/* What one more open context takes. */
static uint64_t context_bytes(const struct packllm_memory *one) {
    return one->kv + one->buffers - one->tables + one->adapter;
}

/* The n_open largest contexts are open; weights and vocabularies of all files are there once. */
static void sum_large(const struct packllm_member_spec *specs, size_t n,
                      const struct packllm_memory *members, size_t n_open, bool *open,
                      struct packllm_memory *total) {
    for (size_t k = 0; k < n_open; k++) {
        size_t largest = n;
        for (size_t i = 0; i < n; i++) {
            if (!open[i] &&
                (largest == n || context_bytes(&members[i]) > context_bytes(&members[largest]))) {
                largest = i;
            }
        }
        open[largest] = true;
    }
    for (size_t i = 0; i < n; i++) {
        const struct packllm_memory *one = &members[i];
        bool again = false;
        for (size_t k = 0; k < i && !again; k++) {
            again = same_model(&specs[i], &specs[k]);
        }
        total->weights += (again ? 0 : one->weights - one->adapter) + (open[i] ? one->adapter : 0);
        total->tables += again ? 0 : one->tables;
        total->buffers += (again ? 0 : one->tables) + (open[i] ? one->buffers - one->tables : 0);
        total->adapter += open[i] ? one->adapter : 0;
        total->kv += open[i] ? one->kv : 0;
    }
    total->total = total->weights + total->kv + total->buffers;
}

/* What the pack takes at its peak while its members read, and with how many contexts that is: all of a
 * small pack, else as many as fit, two at least and READING + 1 at most. */
static enum packllm_status sum_memory(const struct packllm_member_spec *specs, size_t n,
                                      const struct packllm_memory *members, uint64_t limit,
                                      struct packllm_memory *out, struct packllm_error *err) {
    size_t n_open = n <= SMALL ? n : n <= READING + 1 ? n : READING + 1;
    for (;; n_open--) {
        struct packllm_memory total = {.available = members[0].available,
                                       .contexts = (uint32_t)n_open};
        bool *open = alloc_zero(n, sizeof *open);
        if (open == NULL) {
            return fail_memory(err, n);
        }
        sum_large(specs, n, members, n_open, open, &total);
        base_free(open);
        if (n <= SMALL || n_open <= 2 || limit == 0 || total.total <= limit) {
            *out = total;
            return PACKLLM_OK;
        }
    }
}

static uint64_t limit_of(const struct packllm_params *params, uint64_t available) {
    bool asked = params->memory_limit > 0 && (available == 0 || params->memory_limit < available);
    return asked ? params->memory_limit : available;
}

enum packllm_status packllm_pack_memory(const struct packllm_member_spec *specs, size_t n,
                                        const struct packllm_params *params,
                                        struct packllm_memory *out_total,
                                        struct packllm_memory *out_members,
                                        struct packllm_error *err) {
    struct packllm_params checked;
    enum packllm_status status = check_params(params, &checked, err);
    if (status >= 0) {
        status = check_specs(specs, n, err);
    }
    if (status < 0) {
        return status;
    }
    struct packllm_memory total = {0}, *members = alloc_zero(n, sizeof *members);
    if (members == NULL) {
        return fail_memory(err, n * sizeof *members);
    }
    for (size_t i = 0; i < n && status >= 0; i++) {
        status = member_llama_memory(&specs[i], (int)i, &checked, &members[i], err);
    }
    if (status >= 0) {
        uint64_t limit = limit_of(&checked, members[0].available);
        status = sum_memory(specs, n, members, limit, &total, err);
    }
    for (size_t i = 0; i < n && status >= 0 && out_members != NULL; i++) {
        out_members[i] = members[i];
        for (size_t k = 0; k < i; k++) { /* what a file holds is there once, whoever uses it */
            if (same_model(&specs[i], &specs[k])) {
                out_members[i].weights = members[i].adapter;
                out_members[i].buffers -= members[i].tables;
                out_members[i].tables = 0;
                out_members[i].total =
                    out_members[i].weights + out_members[i].kv + out_members[i].buffers;
                break;
            }
        }
    }
    base_free(members);
    if (status >= 0) {
        *out_total = total;
    }
    return status;
}

static enum packllm_status allocate(struct packllm_pack **out, size_t n,
                                    const struct packllm_params *params,
                                    struct packllm_error *err) {
    struct packllm_pack *pack = alloc_zero(1, sizeof *pack);
    if (pack == NULL) {
        return fail_memory(err, sizeof *pack);
    }
    (void)pthread_mutex_init(&pack->lock, NULL);
    pack->params = *params;
    pack->members = alloc_zero(n, sizeof(struct member *));
    pack->trees = alloc_zero(n, sizeof(struct prefix_tree *));
    pack->prior = alloc_zero(n, sizeof *pack->prior);
    pack->cap = alloc_zero(n, sizeof *pack->cap);
    pack->domain = alloc_zero(n, sizeof *pack->domain);
    if (pack->members == NULL || pack->trees == NULL || pack->prior == NULL || pack->cap == NULL ||
        pack->domain == NULL) {
        packllm_pack_close(pack);
        return fail_memory(err, n * sizeof *pack->prior);
    }
    enum packllm_status status =
        params->n_parallel > 1 ? member_gate_open(&pack->gate, err) : PACKLLM_OK;
    if (status < 0) {
        packllm_pack_close(pack);
        return status;
    }
    *out = pack;
    return PACKLLM_OK;
}

/* Takes the member in, also when its vocabulary's structure cannot be made (close frees both). */
static enum packllm_status take(struct packllm_pack *pack, struct member *member, double prior,
                                double cap, struct packllm_error *err) {
    size_t i = pack->n++;
    struct member *shared = NULL;
    pack->members[i] = member;
    if (pack->gate != NULL) {
        enum packllm_status status =
            member_shared_open(&shared, member, pack->params.n_parallel, pack->gate, err);
        if (status < 0) {
            return status;
        }
        pack->members[i] = member = shared;
    }
    pack->prior[i] = prior;
    pack->cap[i] = cap;
    for (size_t k = 0; k < i; k++) {
        if (strcmp(pack->members[k]->name, member->name) == 0) {
            return fail(err, PACKLLM_E_ARG, (int)i,
                        "two members are called '%s': give one another name (name=…)",
                        member->name);
        }
    }
    for (size_t k = 0; k < i; k++) {
        if (pack->members[k]->table.bytes == member->table.bytes) {
            pack->trees[i] = pack->trees[k];
            return PACKLLM_OK;
        }
    }
    pack->trees[i] = alloc_zero(1, sizeof *pack->trees[i]);
    return pack->trees[i] != NULL ? prefix_init(pack->trees[i], &member->table, err)
                                  : fail_memory(err, sizeof *pack->trees[i]);
}

static void normalise_priors(struct packllm_pack *pack) {
    double sum = 0.0;
    for (size_t i = 0; i < pack->n; i++) {
        sum += pack->prior[i];
    }
    for (size_t i = 0; i < pack->n; i++) {
        pack->prior[i] /= sum;
    }
}

static enum packllm_status finish(struct packllm_pack *pack, enum packllm_status status,
                                  struct packllm_pack **out_pack) {
    if (status < 0) {
        packllm_pack_close(pack);
        return status;
    }
    normalise_priors(pack);
    *out_pack = pack;
    return PACKLLM_OK;
}

enum packllm_status packllm_pack_open(struct packllm_pack **out_pack,
                                      const struct packllm_member_spec *specs, size_t n,
                                      const struct packllm_params *params,
                                      struct packllm_error *err) {
    struct packllm_params checked;
    struct packllm_memory memory;
    struct packllm_pack *pack = NULL;
    enum packllm_status status = check_params(params, &checked, err);
    if (status >= 0) {
        status = packllm_pack_memory(specs, n, &checked, &memory, NULL, err);
    }
    uint64_t limit = status >= 0 ? limit_of(&checked, memory.available) : 0;
    if (status >= 0 && limit > 0 && memory.total > limit) {
        status = fail(err, PACKLLM_E_MEMORY, PACKLLM_NO_MEMBER,
                      "the pack needs about %.0f MiB and %.0f MiB are %s: use fewer or smaller "
                      "members, or a smaller context (-c)",
                      (double)memory.total / 1048576.0, (double)limit / 1048576.0,
                      limit == checked.memory_limit ? "allowed (--memory-limit)" : "free");
    }
    if (status >= 0) {
        status = allocate(&pack, n, &checked, err);
    }
    if (status >= 0) {
        pack->n_contexts = n <= SMALL ? n : memory.contexts - 1;
        pack->n_writing = checked.memory_limit > 0 ? memory.contexts : n;
    }
    for (size_t i = 0; i < n && status >= 0; i++) {
        struct member *member = NULL;
        status = member_llama_open(&member, &specs[i], (int)i, &checked, err);
        if (status >= 0) {
            status = take(pack, member, specs[i].prior, specs[i].cap, err);
            pack->members[i]->temperature = specs[i].temperature;
        }
        if (status >= 0 && specs[i].domain != NULL) {
            pack->domain[i] = alloc_text(specs[i].domain, strlen(specs[i].domain));
            status = pack->domain[i] != NULL ? status : fail_memory(err, strlen(specs[i].domain));
        }
    }
    return finish(pack, status, out_pack);
}

enum packllm_status packllm_pack_open_own(struct packllm_pack **out_pack,
                                          const struct packllm_own_member *members, size_t n,
                                          const struct packllm_params *params,
                                          struct packllm_error *err) {
    struct packllm_params checked;
    struct packllm_pack *pack = NULL;
    if (members == NULL || n == 0) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "a pack needs at least one member");
    }
    enum packllm_status status = check_params(params, &checked, err);
    if (status >= 0) {
        status = allocate(&pack, n, &checked, err);
    }
    for (size_t i = 0; i < n && status >= 0; i++) {
        struct member *member = NULL;
        pack->n_contexts = n <= SMALL ? n : READING;
        pack->n_writing = n;
        status = member_own_open(&member, &members[i], (int)i, &checked, err);
        if (status >= 0) {
            status = take(pack, member, 1.0, 1.0, err);
        }
    }
    return finish(pack, status, out_pack);
}

void packllm_pack_close(struct packllm_pack *pack) {
    if (pack == NULL) {
        return;
    }
    for (size_t i = pack->view ? 0 : pack->n; i-- > 0;) {
        size_t k = 0;
        while (pack->trees[k] != pack->trees[i]) {
            k++;
        }
        if (k == i && pack->trees[i] != NULL) { /* the first of those that share it */
            prefix_done(pack->trees[i]);
            base_free(pack->trees[i]);
        }
        member_close(pack->members[i]);
    }
    for (size_t i = 0; pack->domain != NULL && i < pack->n; i++) {
        base_free(pack->domain[i]);
    }
    member_gate_close(pack->view ? NULL : pack->gate);
    cbtm_close(pack->cbtm);
    (void)pthread_mutex_destroy(&pack->lock);
    base_free(pack->domain);
    base_free(pack->members);
    base_free(pack->trees);
    base_free(pack->prior);
    base_free(pack->cap);
    base_free(pack);
}

size_t packllm_pack_size(const struct packllm_pack *pack) {
    return pack->n;
}

enum packllm_status packllm_pack_member(const struct packllm_pack *pack, size_t member,
                                        struct packllm_member_info *out_info) {
    if (member >= pack->n) {
        return PACKLLM_E_ARG;
    }
    const struct member *m = pack->members[member];
    *out_info = (struct packllm_member_info){.name = m->name,
                                             .path = m->path,
                                             .description = m->description,
                                             .chat_template = m->chat_form,
                                             .chat_warning = m->chat_warning,
                                             .n_vocab = m->table.n,
                                             .n_ctx = m->n_ctx,
                                             .n_ctx_train = m->n_ctx_train,
                                             .bytes_weights = m->bytes_weights};
    return PACKLLM_OK;
}

const char *packllm_pool_name(enum packllm_pool pool) {
    static const char *const names[] = {"log", "linear"};
    return (unsigned)pool < sizeof names / sizeof *names ? names[pool] : NULL;
}

const char *packllm_finish_name(enum packllm_finish finish) {
    static const char *const names[] = {"none", "stop", "length", "end"};
    return (unsigned)finish < sizeof names / sizeof *names ? names[finish] : NULL;
}
