/* member_gguf.c - the strict reader of member_gguf.h: every length, count, type and offset is held
 * against the file's size before it is used. */
#include "member/member_gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/status.h"

/* Far above any real file; they keep a damaged one from claiming the machine's memory. */
#define HEADER_MAX ((size_t)1 << 30)
enum { KEYS_MAX = 1 << 16, TENSORS_MAX = 1 << 18, KEY_SIZE_MAX = 65535, NAME_SIZE_MAX = 63 };
enum { READ_STEP = 1 << 20, TYPES_MAX = 43 };

static const uint8_t type_bytes[GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* ggml_type: elements and bytes of a block, in the order of the enum; {0, 0}: removed. */
static const uint16_t blocks[TYPES_MAX][2] = {
    {1, 4},    {1, 2},    {32, 18},  {32, 20},   {0, 0},     {0, 0},     {32, 22},   {32, 24},
    {32, 34},  {32, 36},  {256, 84}, {256, 110}, {256, 144}, {256, 176}, {256, 210}, {256, 292},
    {256, 66}, {256, 74}, {256, 98}, {256, 50},  {32, 18},   {256, 110}, {256, 82},  {256, 136},
    {1, 1},    {1, 2},    {1, 4},    {1, 8},     {1, 8},     {256, 56},  {1, 2},     {0, 0},
    {0, 0},    {0, 0},    {256, 54}, {256, 66},  {0, 0},     {0, 0},     {0, 0},     {32, 17},
    {64, 36},  {128, 18}, {64, 18},
};

bool member_gguf_block(uint32_t type, uint32_t *elements, uint32_t *bytes) {
    if (type >= TYPES_MAX || blocks[type][0] == 0) {
        return false;
    }
    *elements = blocks[type][0];
    *bytes = blocks[type][1];
    return true;
}

/* ---- names --------------------------------------------------------------------------------- */

enum packllm_status member_names_init(struct member_names *set, size_t n,
                                      struct packllm_error *err) {
    size_t room = 16;
    while (room < 2 * n) {
        room *= 2;
    }
    *set = (struct member_names){.bytes = alloc_zero(room, sizeof *set->bytes),
                                 .sizes = alloc_zero(room, sizeof *set->sizes),
                                 .mask = room - 1};
    if (set->bytes == NULL || set->sizes == NULL) {
        member_names_done(set);
        return fail_memory(err, room * sizeof *set->bytes);
    }
    return PACKLLM_OK;
}

bool member_names_add(struct member_names *set, const uint8_t *bytes, size_t size) {
    uint64_t hash = 0xcbf29ce484222325U; /* FNV-1a */
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3U;
    }
    size_t slot = (size_t)(hash ^ (hash >> 32)) & set->mask;
    for (; set->bytes[slot] != NULL; slot = (slot + 1) & set->mask) {
        if (set->sizes[slot] == size && memcmp(set->bytes[slot], bytes, size) == 0) {
            return false;
        }
    }
    set->bytes[slot] = bytes;
    set->sizes[slot] = size;
    return true;
}

void member_names_done(struct member_names *set) {
    base_free(set->bytes);
    base_free(set->sizes);
    *set = (struct member_names){0};
}

/* ---- reading ------------------------------------------------------------------------------- */

struct reader {
    struct member_gguf *g;
    int fd; /* -1: everything is in memory */
    size_t at;
    const char *label;
    int index;
    struct packllm_error *err;
};

static enum packllm_status damaged(const struct reader *r, const char *what) {
    return fail(r->err, PACKLLM_E_MODEL, r->index,
                "%s is damaged at byte %zu: %s; get the file again", r->label, r->at, what);
}

/* Makes n bytes from r->at on present in memory. */
static enum packllm_status need(struct reader *r, uint64_t n, const char *what) {
    struct member_gguf *g = r->g;
    if (n > g->file_size - r->at) {
        return fail(r->err, PACKLLM_E_MODEL, r->index,
                    "%s is truncated or damaged: %s at byte %zu needs %" PRIu64
                    " bytes, the file has %" PRIu64 "; get the file again",
                    r->label, what, r->at, n, g->file_size);
    }
    if (r->at + n > HEADER_MAX) {
        return damaged(r, "its header is larger than 1 GiB");
    }
    while (g->size < r->at + n) {
        size_t want = g->size < READ_STEP ? READ_STEP : g->size * 2;
        want = want < r->at + (size_t)n ? r->at + (size_t)n : want;
        want = want > g->file_size ? (size_t)g->file_size : want;
        uint8_t *bytes = alloc_resize(g->bytes, want, 1);
        if (bytes == NULL) {
            return fail_memory(r->err, want);
        }
        g->bytes = bytes;
        while (g->size < want) {
            ssize_t got = pread(r->fd, g->bytes + g->size, want - g->size, (off_t)g->size);
            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got <= 0) {
                return fail(r->err, PACKLLM_E_IO, r->index, "%s could not be read at byte %zu: %s",
                            r->label, g->size,
                            got < 0 ? strerror(errno) : "the file became shorter");
            }
            g->size += (size_t)got;
        }
    }
    return PACKLLM_OK;
}

static uint64_t little(const uint8_t *bytes, size_t n) {
    uint64_t value = 0;
    for (size_t i = n; i-- > 0;) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static enum packllm_status number(struct reader *r, size_t n, uint64_t *out, const char *what) {
    enum packllm_status s = need(r, n, what);
    if (s == PACKLLM_OK) {
        *out = little(r->g->bytes + r->at, n);
        r->at += n;
    }
    return s;
}

/* A length and that many bytes. */
static enum packllm_status string(struct reader *r, uint64_t max, size_t *at, size_t *size,
                                  const char *what) {
    uint64_t length = 0;
    enum packllm_status s = number(r, 8, &length, what);
    if (s == PACKLLM_OK && length > max) {
        return damaged(r, "a name or text is too long");
    }
    s = s == PACKLLM_OK ? need(r, length, what) : s;
    if (s == PACKLLM_OK) {
        *at = r->at;
        *size = (size_t)length;
        r->at += (size_t)length;
    }
    return s;
}

static enum packllm_status strings(struct reader *r, uint64_t count) {
    enum packllm_status s = PACKLLM_OK;
    for (uint64_t i = 0; i < count && s == PACKLLM_OK; i++) {
        size_t at, size;
        s = string(r, HEADER_MAX, &at, &size, "an array of texts");
    }
    return s;
}

static enum packllm_status array(struct reader *r, struct member_gguf_kv *kv) {
    uint64_t element = 0;
    enum packllm_status s = number(r, 4, &element, "the type of an array");
    s = s == PACKLLM_OK ? number(r, 8, &kv->count, "the length of an array") : s;
    if (s != PACKLLM_OK) {
        return s;
    }
    if (element >= GGUF_TYPES || element == GGUF_ARRAY) {
        return damaged(r, "an array has a type that does not exist, or is an array of arrays");
    }
    kv->element = (uint32_t)element;
    kv->value = r->at;
    if (kv->count > HEADER_MAX) {
        return damaged(r, "an array is too long");
    }
    if (element == GGUF_STRING) {
        s = strings(r, kv->count);
    } else {
        s = need(r, kv->count * type_bytes[element], "an array");
        r->at += s == PACKLLM_OK ? (size_t)(kv->count * type_bytes[element]) : 0;
    }
    kv->value_size = r->at - kv->value;
    return s;
}

static bool plain_name(const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] < 0x20 || bytes[i] > 0x7e) {
            return false;
        }
    }
    return size > 0;
}

static enum packllm_status key_value(struct reader *r, struct member_gguf_kv *kv) {
    uint64_t type = 0;
    enum packllm_status s = string(r, KEY_SIZE_MAX, &kv->key, &kv->key_size, "a key");
    if (s == PACKLLM_OK && !plain_name(r->g->bytes + kv->key, kv->key_size)) {
        return damaged(r, "a key is empty or not printable ASCII");
    }
    s = s == PACKLLM_OK ? number(r, 4, &type, "the type of a value") : s;
    if (s != PACKLLM_OK) {
        return s;
    }
    if (type >= GGUF_TYPES) {
        return damaged(r, "a value has a type that does not exist");
    }
    kv->type = kv->element = (uint32_t)type;
    kv->count = 1;
    if (type == GGUF_ARRAY) {
        return array(r, kv);
    }
    if (type == GGUF_STRING) {
        return string(r, HEADER_MAX, &kv->value, &kv->value_size, "a text");
    }
    s = need(r, type_bytes[type], "a value");
    if (s == PACKLLM_OK && type == GGUF_BOOL && r->g->bytes[r->at] > 1) {
        return damaged(r, "a truth value is neither 0 nor 1");
    }
    if (s == PACKLLM_OK) {
        kv->value = r->at;
        kv->value_size = type_bytes[type];
        r->at += type_bytes[type];
    }
    return s;
}

/* Offsets must be what they are when tensors follow each other, each aligned: no gap, no overlap. */
static enum packllm_status tensor(struct reader *r, struct member_gguf_tensor *t, uint64_t *next) {
    uint64_t n_dims = 0, type = 0, offset = 0, elements = 1;
    enum packllm_status s = string(r, NAME_SIZE_MAX, &t->name, &t->name_size, "a tensor's name");
    if (s == PACKLLM_OK && !plain_name(r->g->bytes + t->name, t->name_size)) {
        return damaged(r, "a tensor's name is empty or not printable ASCII");
    }
    s = s == PACKLLM_OK ? number(r, 4, &n_dims, "a tensor's shape") : s;
    if (s == PACKLLM_OK && (n_dims < 1 || n_dims > 4)) {
        return damaged(r, "a tensor has no or more than four dimensions");
    }
    t->n_dims = (uint32_t)n_dims;
    for (uint64_t i = 0; i < 4 && s == PACKLLM_OK; i++) {
        t->shape[i] = 1;
        s = i < n_dims ? number(r, 8, &t->shape[i], "a tensor's shape") : PACKLLM_OK;
        if (s == PACKLLM_OK && (t->shape[i] == 0 || t->shape[i] > INT64_MAX / 1024 / elements)) {
            return damaged(r, "a tensor's shape is empty or too large");
        }
        elements *= t->shape[i];
    }
    s = s == PACKLLM_OK ? number(r, 4, &type, "a tensor's type") : s;
    s = s == PACKLLM_OK ? number(r, 8, &offset, "a tensor's offset") : s;
    if (s != PACKLLM_OK) {
        return s;
    }
    uint32_t block = 0, bytes = 0;
    if (type > UINT32_MAX || !member_gguf_block((uint32_t)type, &block, &bytes)) {
        return damaged(r, "a tensor has a type that does not exist (any more)");
    }
    if (t->shape[0] % block != 0) {
        return damaged(r, "a tensor's rows are not whole blocks of its type");
    }
    t->type = (uint32_t)type;
    t->size = elements / block * bytes;
    if (offset != *next) {
        return damaged(r, "a tensor's offset leaves a gap or overlaps another");
    }
    uint64_t padded = (t->size + r->g->alignment - 1) / r->g->alignment * r->g->alignment;
    if (padded > INT64_MAX - *next) {
        return damaged(r, "its tensors are too large");
    }
    *next += padded;
    r->g->tensor_bytes += t->size;
    return PACKLLM_OK;
}

static enum packllm_status counts(struct reader *r, uint64_t *n_tensors, uint64_t *n_kv) {
    uint64_t version = 0;
    enum packllm_status s = need(r, 4, "its beginning");
    if (s != PACKLLM_OK || memcmp(r->g->bytes, "GGUF", 4) != 0) {
        return fail(r->err, PACKLLM_E_MODEL, r->index,
                    "%s is not a GGUF file: give a model in GGUF format", r->label);
    }
    r->at = 4;
    s = number(r, 4, &version, "its version");
    if (s == PACKLLM_OK && version != 2 && version != 3) {
        return fail(r->err, PACKLLM_E_MODEL, r->index,
                    "%s is GGUF version %" PRIu64
                    ", or of another byte order: versions 2 and 3, little-endian, can be read; "
                    "convert the model again",
                    r->label, version);
    }
    r->g->version = (uint32_t)version;
    s = s == PACKLLM_OK ? number(r, 8, n_tensors, "its counts") : s;
    s = s == PACKLLM_OK ? number(r, 8, n_kv, "its counts") : s;
    if (s == PACKLLM_OK && (*n_tensors > TENSORS_MAX || *n_kv > KEYS_MAX)) {
        return damaged(r, "it claims too many keys or tensors");
    }
    return s;
}

static enum packllm_status alignment(struct reader *r) {
    const struct member_gguf_kv *kv = member_gguf_find(r->g, "general.alignment");
    uint64_t value = 32;
    if (kv != NULL && (kv->type != GGUF_U32 || !member_gguf_integer(r->g, kv, &value) ||
                       value < 32 || value > 65536 || (value & (value - 1)) != 0)) {
        return damaged(r, "general.alignment is not a u32 power of two from 32 to 65536");
    }
    r->g->alignment = value;
    return PACKLLM_OK;
}

static enum packllm_status keys(struct reader *r, size_t n) {
    struct member_gguf *g = r->g;
    struct member_names names = {0};
    g->kv = alloc_zero(n, sizeof *g->kv);
    if (g->kv == NULL) {
        return fail_memory(r->err, n * sizeof *g->kv);
    }
    enum packllm_status s = PACKLLM_OK;
    for (; g->n_kv < n && s == PACKLLM_OK; g->n_kv++) {
        s = key_value(r, &g->kv[g->n_kv]);
    }
    /* The bytes may move while they are read, so names are looked at afterwards. */
    s = s == PACKLLM_OK ? member_names_init(&names, n, r->err) : s;
    for (size_t i = 0; i < n && s == PACKLLM_OK; i++) {
        if (!member_names_add(&names, g->bytes + g->kv[i].key, g->kv[i].key_size)) {
            s = damaged(r, "a key stands twice");
        }
    }
    member_names_done(&names);
    return s == PACKLLM_OK ? alignment(r) : s;
}

static enum packllm_status tensors(struct reader *r, size_t n) {
    struct member_gguf *g = r->g;
    struct member_names names = {0};
    uint64_t next = 0;
    g->tensor = alloc_zero(n, sizeof *g->tensor);
    if (g->tensor == NULL) {
        return fail_memory(r->err, n * sizeof *g->tensor);
    }
    enum packllm_status s = PACKLLM_OK;
    for (; g->n_tensors < n && s == PACKLLM_OK; g->n_tensors++) {
        s = tensor(r, &g->tensor[g->n_tensors], &next);
    }
    s = s == PACKLLM_OK ? member_names_init(&names, n, r->err) : s;
    for (size_t i = 0; i < n && s == PACKLLM_OK; i++) {
        if (!member_names_add(&names, g->bytes + g->tensor[i].name, g->tensor[i].name_size)) {
            s = damaged(r, "a tensor stands twice");
        }
    }
    member_names_done(&names);
    if (s != PACKLLM_OK) {
        return s;
    }
    g->data = (r->at + g->alignment - 1) / g->alignment * g->alignment;
    /* The last tensor's padding may be missing at the end of a file. */
    uint64_t end = n > 0 ? next - (g->alignment - 1) : 0;
    if (n > 0 && (g->data > g->file_size || end > g->file_size - g->data)) {
        uint64_t last = g->tensor[n - 1].size;
        uint64_t exact = next - (last + g->alignment - 1) / g->alignment * g->alignment + last;
        if (g->data > g->file_size || exact > g->file_size - g->data) {
            return fail(r->err, PACKLLM_E_MODEL, r->index,
                        "%s is truncated: its tensors end at byte %" PRIu64
                        ", the file has %" PRIu64 "; get the file again",
                        r->label, g->data + exact, g->file_size);
        }
    }
    return PACKLLM_OK;
}

static enum packllm_status read_header(struct reader *r) {
    uint64_t n_tensors = 0, n_kv = 0;
    enum packllm_status s = counts(r, &n_tensors, &n_kv);
    /* Each key takes 13 bytes or more, each tensor 33: counts beyond the file are not allocated. */
    s = s == PACKLLM_OK ? need(r, n_kv * 13 + n_tensors * 33, "its keys and tensors") : s;
    s = s == PACKLLM_OK ? keys(r, (size_t)n_kv) : s;
    return s == PACKLLM_OK ? tensors(r, (size_t)n_tensors) : s;
}

enum packllm_status member_gguf_parse(struct member_gguf *g, const void *bytes, size_t size,
                                      const char *label, int index, struct packllm_error *err) {
    *g = (struct member_gguf){.bytes = alloc_array(size, 1), .size = size, .file_size = size};
    if (g->bytes == NULL) {
        return fail_memory(err, size);
    }
    if (size > 0) {
        memcpy(g->bytes, bytes, size);
    }
    struct reader r = {.g = g, .fd = -1, .label = label, .index = index, .err = err};
    enum packllm_status s = read_header(&r);
    if (s != PACKLLM_OK) {
        member_gguf_done(g);
    }
    return s;
}

static enum packllm_status open_file(const char *path, const char *label, int index, int *out_fd,
                                     uint64_t *out_size, struct packllm_error *err) {
    struct stat st;
    const char *what = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not hang us */
    if (fd < 0) {
        return fail(err, PACKLLM_E_IO, index, "%s cannot be opened: %s", label, strerror(errno));
    }
    if (fstat(fd, &st) != 0) {
        what = strerror(errno);
    } else if (S_ISDIR(st.st_mode)) {
        what = "it is a directory; name the .gguf file in it";
    } else if (!S_ISREG(st.st_mode)) {
        what = "it is not a regular file";
    } else if (st.st_size == 0) {
        what = "it is empty; get the file again";
    }
    if (what != NULL) {
        (void)close(fd);
        return fail(err, PACKLLM_E_IO, index, "%s cannot be read: %s", label, what);
    }
    *out_fd = fd;
    *out_size = (uint64_t)st.st_size;
    return PACKLLM_OK;
}

enum packllm_status member_gguf_open(struct member_gguf *g, const char *path, const char *label,
                                     int index, struct packllm_error *err) {
    struct reader r = {.g = g, .fd = -1, .label = label, .index = index, .err = err};
    *g = (struct member_gguf){0};
    enum packllm_status s = open_file(path, label, index, &r.fd, &g->file_size, err);
    if (s != PACKLLM_OK) {
        return s;
    }
    s = read_header(&r);
    (void)close(r.fd);
    if (s != PACKLLM_OK) {
        member_gguf_done(g);
    }
    return s;
}

enum packllm_status member_gguf_refuse(const char *label, int index, struct packllm_error *err,
                                       const char *format, va_list args) {
    char what[512];
    (void)vsnprintf(what, sizeof what, format, args);
    return fail(err, PACKLLM_E_MODEL, index, "%s %s", label, what);
}

void member_gguf_done(struct member_gguf *g) {
    base_free(g->bytes);
    base_free(g->kv);
    base_free(g->tensor);
    *g = (struct member_gguf){0};
}

/* ---- looking up ---------------------------------------------------------------------------- */

const struct member_gguf_kv *member_gguf_find(const struct member_gguf *g, const char *key) {
    size_t size = strlen(key);
    for (size_t i = 0; i < g->n_kv; i++) {
        if (g->kv[i].key_size == size && memcmp(g->bytes + g->kv[i].key, key, size) == 0) {
            return &g->kv[i];
        }
    }
    return NULL;
}

const struct member_gguf_tensor *member_gguf_find_tensor(const struct member_gguf *g,
                                                         const char *name) {
    size_t size = strlen(name);
    for (size_t i = 0; i < g->n_tensors; i++) {
        if (g->tensor[i].name_size == size &&
            memcmp(g->bytes + g->tensor[i].name, name, size) == 0) {
            return &g->tensor[i];
        }
    }
    return NULL;
}

bool member_gguf_element(const struct member_gguf *g, const struct member_gguf_kv *kv, uint64_t i,
                         double *out) {
    if (i >= kv->count || kv->element == GGUF_STRING) {
        return false;
    }
    size_t width = type_bytes[kv->element];
    uint64_t bits = little(g->bytes + kv->value + i * width, width);
    float single;
    uint32_t half;
    switch ((enum member_gguf_type)kv->element) {
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_U64:
    case GGUF_BOOL:
        *out = (double)bits;
        return true;
    case GGUF_I8:
        *out = (double)(int8_t)bits;
        return true;
    case GGUF_I16:
        *out = (double)(int16_t)bits;
        return true;
    case GGUF_I32:
        *out = (double)(int32_t)bits;
        return true;
    case GGUF_I64:
        *out = (double)(int64_t)bits;
        return true;
    case GGUF_F32:
        half = (uint32_t)bits;
        memcpy(&single, &half, sizeof single);
        *out = (double)single;
        return true;
    case GGUF_F64:
        memcpy(out, &bits, sizeof *out);
        return true;
    case GGUF_STRING:
    case GGUF_ARRAY:
    case GGUF_TYPES:
        break;
    }
    return false;
}

bool member_gguf_integer(const struct member_gguf *g, const struct member_gguf_kv *kv,
                         uint64_t *out) {
    double value;
    if (kv == NULL || kv->type == GGUF_ARRAY || kv->type == GGUF_F32 || kv->type == GGUF_F64 ||
        kv->type == GGUF_BOOL || !member_gguf_element(g, kv, 0, &value) || value < 0) {
        return false;
    }
    *out = little(g->bytes + kv->value, kv->value_size);
    return true;
}

bool member_gguf_text(const struct member_gguf *g, const struct member_gguf_kv *kv, char *out,
                      size_t room) {
    if (kv == NULL || kv->type != GGUF_STRING || kv->value_size >= room) {
        return false;
    }
    memcpy(out, g->bytes + kv->value, kv->value_size);
    out[kv->value_size] = '\0';
    return strlen(out) == kv->value_size;
}

const uint8_t *member_gguf_next_string(const struct member_gguf *g, const struct member_gguf_kv *kv,
                                       size_t *at, size_t *size) {
    const uint8_t *here = g->bytes + kv->value + *at;
    *size = (size_t)little(here, 8);
    *at += 8 + *size;
    return here + 8;
}
