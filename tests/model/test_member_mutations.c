/* test_member_mutations.c - damaged GGUF files never end the program. Goal: after our own check of a
 * file, libllama either loads it or gives an error, and a few tokens are evaluated or refused.
 *
 * Each mutation is tried in a child process; a child does many, one after another, and says which it
 * is at through a pipe, so that a death names its mutation. PACKLLM_MUTATIONS sets how many,
 * PACKLLM_SEED where they begin, PACKLLM_MUTATION runs a single one in this process. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "gguf_make.h"
#include "member/member.h"
#include "member/member_gguf.h"
#include "shared.h"

/* What is mutated: a trained tiny model (where the shared folder is), and made ones of
 * two kinds of vocabularies and three of memories. */
static struct {
    struct made file;
    struct member_gguf header;
} originals[6];
static size_t n_originals;

/* ---- mutations ----------------------------------------------------------------------------- */

static void put(uint8_t *at, uint64_t value, size_t width) {
    for (size_t i = 0; i < width; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint64_t odd_number(uint64_t *rng) {
    static const uint64_t odd[] = {0,
                                   1,
                                   2,
                                   3,
                                   5,
                                   7,
                                   8,
                                   16,
                                   31,
                                   33,
                                   63,
                                   64,
                                   65,
                                   127,
                                   255,
                                   256,
                                   257,
                                   511,
                                   512,
                                   513,
                                   1000,
                                   4096,
                                   65535,
                                   65536,
                                   1 << 20,
                                   0x7fffffff,
                                   0x80000000,
                                   0xffffffff,
                                   0x100000000,
                                   0x7fffffffffffffff,
                                   0xffffffffffffffff,
                                   0x7f800000,
                                   0x7fc00000,
                                   0xff800000,
                                   0xbf800000,
                                   0x3f800000};
    uint64_t pick = rng_next(rng) % (sizeof odd / sizeof *odd + 8);
    return pick < sizeof odd / sizeof *odd ? odd[pick] : rng_next(rng) >> (rng_next(rng) % 64);
}

/* A value of the header: the one way to damage that the structural checks cannot see. */
static void change_value(uint8_t *bytes, const struct member_gguf *g, uint64_t *rng) {
    static const size_t width[] = {1, 1, 2, 2, 4, 4, 4, 1, 1, 1, 8, 8, 8};
    const struct member_gguf_kv *kv = &g->kv[rng_next(rng) % g->n_kv];
    if (kv->element == GGUF_STRING) {
        if (kv->value_size > 0) {
            bytes[kv->value + rng_next(rng) % kv->value_size] = (uint8_t)rng_next(rng);
        }
        return;
    }
    size_t w = width[kv->element], n = kv->value_size / w;
    if (n > 0) {
        put(bytes + kv->value + rng_next(rng) % n * w, odd_number(rng), w);
    }
}

/* A tensor's shape, type or name, kept within what the file holds as often as not. */
static void change_tensor(uint8_t *bytes, const struct member_gguf *g, uint64_t *rng) {
    const struct member_gguf_tensor *t = &g->tensor[rng_next(rng) % g->n_tensors];
    uint8_t *after = bytes + t->name + t->name_size;
    switch (rng_next(rng) % 5) {
    case 0:
        bytes[t->name + rng_next(rng) % t->name_size] = (uint8_t)(32 + rng_next(rng) % 95);
        break;
    case 1:
        put(after, odd_number(rng), 4);
        break;
    case 2:
        put(after + 4 + 8 * (rng_next(rng) % t->n_dims), odd_number(rng), 8);
        break;
    case 3: { /* another type */
        put(after + 4 + 8 * t->n_dims, rng_next(rng) % 45, 4);
        break;
    }
    default: /* the shape turned round: the same bytes */
        if (t->n_dims == 2) {
            put(after + 4, t->shape[1], 8);
            put(after + 12, t->shape[0], 8);
        }
    }
}

/* Returns the file's new size. Its head goes up to where the tensors' data begin. */
static size_t mutate(struct made *file, uint64_t seed) {
    uint64_t state = seed * 0x9e3779b97f4a7c15U + 1, *rng = &state;
    const struct member_gguf *g = &originals[seed % n_originals].header;
    *file = made_copy(originals[seed % n_originals].file.bytes,
                      originals[seed % n_originals].file.size);
    uint8_t *bytes = file->bytes;
    size_t size = file->size, head = (size_t)g->data, n;
    switch (rng_next(rng) % 10) {
    case 0: /* a bit of the header */
    case 1:
        bytes[rng_next(rng) % head] ^= (uint8_t)(1U << rng_next(rng) % 8);
        break;
    case 2: /* a number somewhere in the header */
        put(bytes + rng_next(rng) % (head - 8), odd_number(rng), rng_next(rng) % 2 ? 4 : 8);
        break;
    case 3:
    case 4:
    case 5:
        change_value(bytes, g, rng);
        break;
    case 6:
        change_tensor(bytes, g, rng);
        break;
    case 7: /* cut off */
        size = rng_next(rng) % 2 ? (size_t)(rng_next(rng) % head) : (size_t)(rng_next(rng) % size);
        break;
    case 8: /* several bytes of the header */
        for (n = 1 + rng_next(rng) % 16; n > 0; n--) {
            bytes[rng_next(rng) % head] = (uint8_t)rng_next(rng);
        }
        break;
    default: /* the weights */
        for (n = 1 + rng_next(rng) % 64; n > 0; n--) {
            uint8_t *at = bytes + head + rng_next(rng) % (size - head - 8);
            put(at, rng_next(rng) % 2 ? 0x7fc00000 : rng_next(rng), 4);
        }
    }
    return size;
}

/* ---- one try ------------------------------------------------------------------------------- */

static enum packllm_status see_row(void *ctx, size_t item, const float *logits,
                                   struct packllm_error *err) {
    const uint32_t n = *(const uint32_t *)ctx;
    (void)item, (void)err;
    for (uint32_t i = 0; i < n; i++) {
        if (isnan(logits[i])) {
            abort(); /* the promise: never handed out */
        }
    }
    return PACKLLM_OK;
}

/* Opens, tokenises, evaluates. Any status is fine; an error must have a message. */
static enum packllm_status use(const char *path, struct packllm_error *err) {
    const struct packllm_member_spec spec = {.path = path, .n_gpu_layers = -1};
    const struct packllm_params params = {.n_threads = 1, .n_seq = 4};
    static const char text[] = "Once upon a time, \xe2\x82\xac <s> 123";
    struct member *m = NULL;
    struct member_context *c = NULL;
    int32_t tokens[64];
    struct member_item items[64];
    struct packllm_memory memory;
    size_t n = 0;
    enum packllm_status s = member_llama_memory(&spec, 0, &params, &memory, err);
    s = s == PACKLLM_OK ? member_llama_open(&m, &spec, 0, &params, err) : s;
    s = s == PACKLLM_OK ? member_context_open(m, &c, err) : s;
    s = s == PACKLLM_OK ? member_tokenize(m, text, sizeof text - 1, tokens, 64, &n, err) : s;
    n = s == PACKLLM_OK && n > m->n_ctx ? m->n_ctx : n;
    for (size_t i = 0; i < n; i++) {
        items[i] = (struct member_item){.token = tokens[i], .seq = 1, .want_row = true};
    }
    s = s == PACKLLM_OK ? member_eval(c, items, n, see_row, &m->table.n, err) : s;
    s = s == PACKLLM_OK ? member_fork(c, 0, 1, c->length[1], err) : s;
    items[0].seq = 0;
    s = s == PACKLLM_OK && c->length[0] < m->n_ctx
            ? member_eval(c, items, 1, see_row, &m->table.n, err)
            : s;
    member_context_close(c);
    member_close(m);
    return s;
}

static enum packllm_status try_one(uint64_t seed, const char *path, struct packllm_error *err) {
    struct made file;
    size_t size = mutate(&file, seed);
    file.size = size;
    if (!made_save(&file, path)) {
        abort();
    }
    made_free(&file);
    err->message[0] = '\0';
    enum packllm_status s = use(path, err);
    if (s != PACKLLM_OK && err->message[0] == '\0') {
        abort(); /* an error without words */
    }
    return s;
}

/* ---- many ---------------------------------------------------------------------------------- */

static void child(uint64_t from, uint64_t to, const char *path, int fd) {
    struct packllm_error err;
    if (setenv("GGML_NO_BACKTRACE", "1", 1) != 0 || freopen("/dev/null", "w", stderr) == NULL) {
        _exit(3);
    }
    for (uint64_t seed = from; seed < to; seed++) {
        (void)alarm(60); /* a hang is a death too */
        uint64_t said[2] = {seed, 0};
        if (write(fd, said, sizeof said) != (ssize_t)sizeof said) {
            _exit(3);
        }
        said[1] = try_one(seed, path, &err) == PACKLLM_OK ? 1 : 2;
        if (write(fd, said, sizeof said) != (ssize_t)sizeof said) {
            _exit(3);
        }
    }
    _exit(0);
}

/* Runs [from, to) in a child; returns the mutation after the last one that it finished. */
static uint64_t run_child(uint64_t from, uint64_t to, const char *path, uint64_t counts[3]) {
    int fds[2], status = 0;
    uint64_t said[2], at = from;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)close(fds[0]);
        child(from, to, path, fds[1]);
    }
    (void)close(fds[1]);
    while (read(fds[0], said, sizeof said) == (ssize_t)sizeof said) {
        if (said[1] != 0) {
            counts[said[1]]++;
            at = said[0] + 1;
        }
    }
    (void)close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0) {
        counts[0]++;
        print_message("mutation %llu ended the process: %s %d\n", (unsigned long long)at,
                      WIFSIGNALED(status) ? "signal" : "exit",
                      WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        at++;
    }
    return at;
}

static uint64_t number_from(const char *name, uint64_t usual) {
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? strtoull(text, NULL, 10) : usual;
}

static void test_mutations(void **state) {
    char path[64];
    struct packllm_error err;
    uint64_t counts[3] = {0}; /* dead, usable, refused */
    uint64_t first = number_from("PACKLLM_SEED", 1);
    uint64_t end = first + number_from("PACKLLM_MUTATIONS", 600);
    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/packllm-mutation-%ld.gguf", (long)getpid());
    if (getenv("PACKLLM_MUTATION") != NULL) {
        uint64_t seed = number_from("PACKLLM_MUTATION", 0);
        enum packllm_status s = try_one(seed, path, &err);
        print_message("mutation %llu: %d %s\n", (unsigned long long)seed, (int)s, err.message);
        (void)unlink(path);
        return;
    }
    for (uint64_t at = first; at < end;) {
        uint64_t to = at + 200 < end ? at + 200 : end;
        at = run_child(at, to, path, counts);
    }
    (void)unlink(path);
    print_message("%llu mutations: %llu refused, %llu usable, %llu ended the process\n",
                  (unsigned long long)(end - first), (unsigned long long)counts[2],
                  (unsigned long long)counts[1], (unsigned long long)counts[0]);
    assert_int_equal(counts[0], 0);
    assert_int_equal(counts[1] + counts[2], end - first);
    assert_true(end - first < 100 || (counts[1] > 0 && counts[2] > 0));
}

static void add_original(struct made file) {
    originals[n_originals].file = file;
    assert_int_equal(member_gguf_parse(&originals[n_originals].header, file.bytes, file.size,
                                       "original", 0, NULL),
                     PACKLLM_OK);
    n_originals++;
}

static int setup(void **state) {
    char path[512];
    size_t size;
    uint8_t *bytes;
    (void)state;
    add_original(made_model(MADE_SPM, 1));
    add_original(made_model(MADE_BPE, 1));
    add_original(made_model(MADE_WINDOW, 1));
    add_original(made_model(MADE_STATE, 1));
    add_original(made_model(MADE_HYBRID, 1));
    if (shared_path(path, sizeof path, "models/stories260K.gguf") &&
        (bytes = shared_read(path, &size)) != NULL) {
        add_original((struct made){bytes, size});
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (size_t i = 0; i < n_originals; i++) {
        member_gguf_done(&originals[i].header);
        made_free(&originals[i].file);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutations)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
