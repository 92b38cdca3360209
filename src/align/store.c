/* store.c - see store.h. A file, little-endian whatever the machine:
 *
 *   0  8 bytes   "packmap\n"
 *   8  u32       version of the format; 12  u32  method
 *  16  u32 n;    20  u32 n_member
 *  24  16 bytes  the key
 *  40  i32 to[n], u32 distance[n]
 *  40 + 8 n  u64 hash of all before it
 */
#include "align/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/status.h"

enum { VERSION = 1, HEADER = 40, TAIL = 8, PATH_CEILING = 1 << 16 };
static const char magic[8] = {'p', 'a', 'c', 'k', 'm', 'a', 'p', '\n'};

static void put32(uint8_t *out, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static void put64(uint8_t *out, uint64_t value) {
    put32(out, (uint32_t)value);
    put32(out + 4, (uint32_t)(value >> 32));
}

static uint32_t get32(const uint8_t *in) {
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

static uint64_t get64(const uint8_t *in) {
    return get32(in) | (uint64_t)get32(in + 4) << 32;
}

struct align_key align_key_of(const struct align_request *request) {
    const struct vocab_table *tables[] = {request->reference, request->member};
    uint8_t all[8 + 2 * (4 + 3 * 16)], *at = all;
    put32(at, VERSION);
    put32(at + 4, (uint32_t)request->method);
    at += 8;
    for (int i = 0; i < 2; i++) {
        const struct vocab_table *t = tables[i];
        /* Offsets are hashed as this machine has them: maps are not carried to others. */
        struct align_key part[3] = {
            align_hash_wide(t->bytes, t->offset[t->n]),
            align_hash_wide(t->offset, ((size_t)t->n + 1) * sizeof *t->offset),
            align_hash_wide(t->kind, t->n),
        };
        put32(at, t->n);
        at += 4;
        for (int k = 0; k < 3; k++, at += 16) {
            put64(at, part[k].low);
            put64(at + 8, part[k].high);
        }
    }
    return align_hash_wide(all, sizeof all);
}

/* ---- reading ------------------------------------------------------------------------------- */

const char *align_parse(struct align_map *out, const void *bytes, size_t size,
                        const struct align_key *key, uint32_t n, uint32_t n_member) {
    const uint8_t *b = bytes;
    struct align_map map;
    if (size < HEADER + TAIL || memcmp(b, magic, sizeof magic) != 0) {
        return "is no map";
    }
    if (get32(b + 8) != VERSION) {
        return "is a map of another version";
    }
    if (get32(b + 16) != n || get32(b + 20) != n_member || get64(b + 24) != key->low ||
        get64(b + 32) != key->high) {
        return "is the map of other vocabularies";
    }
    if ((size - HEADER - TAIL) % 8 != 0 || (size - HEADER - TAIL) / 8 != n) {
        return "is cut short or too long";
    }
    if (get64(b + size - TAIL) != align_hash(b, size - TAIL)) {
        return "is damaged";
    }
    if (!align_map_init(&map, n, n_member)) {
        return "is too large for the memory";
    }
    const uint8_t *to = b + HEADER, *distance = to + (size_t)n * 4;
    for (uint32_t id = 0; id < n; id++) {
        uint32_t token = get32(to + (size_t)id * 4);
        bool none = token == UINT32_MAX;
        map.to[id] = none ? ALIGN_NONE : (int32_t)(token & INT32_MAX);
        map.distance[id] = get32(distance + (size_t)id * 4);
        if ((!none && token >= n_member) || none != (map.distance[id] == ALIGN_FAR)) {
            align_done(&map);
            return "maps to tokens that do not exist";
        }
    }
    align_map_count(&map);
    *out = map;
    return NULL;
}

/* The file's bytes, NULL with errno where it cannot be read; at most `most` of them. */
static uint8_t *read_whole(const char *path, size_t most, size_t *out_size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *bytes = fd >= 0 ? alloc_array(most, 1) : NULL;
    size_t size = 0;
    ssize_t got = 1;
    while (bytes != NULL && size < most && got > 0) {
        got = read(fd, bytes + size, most - size);
        size += got > 0 ? (size_t)got : 0;
    }
    int why = fd < 0 ? errno : bytes == NULL ? ENOMEM : got < 0 ? errno : 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (why != 0) {
        base_free(bytes);
        errno = why;
        return NULL;
    }
    *out_size = size;
    return bytes;
}

/* ---- writing ------------------------------------------------------------------------------- */

static uint8_t *to_bytes(const struct align_map *map, const struct align_request *request,
                         const struct align_key *key, size_t *out_size) {
    size_t size = HEADER + (size_t)map->n * 8 + TAIL;
    uint8_t *b = alloc_array(size, 1);
    if (b == NULL) {
        return NULL;
    }
    memcpy(b, magic, sizeof magic);
    put32(b + 8, VERSION);
    put32(b + 12, (uint32_t)request->method);
    put32(b + 16, map->n);
    put32(b + 20, map->n_member);
    put64(b + 24, key->low);
    put64(b + 32, key->high);
    uint8_t *to = b + HEADER, *distance = to + (size_t)map->n * 4;
    for (uint32_t id = 0; id < map->n; id++) {
        put32(to + (size_t)id * 4, (uint32_t)map->to[id]);
        put32(distance + (size_t)id * 4, map->distance[id]);
    }
    put64(b + size - TAIL, align_hash(b, size - TAIL));
    *out_size = size;
    return b;
}

static bool write_whole(int fd, const uint8_t *bytes, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        bytes += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* The folder and those above it. */
static bool make_folders(char *path) {
    for (char *p = path + 1;; p++) {
        char was = *p;
        if (was == '/' || was == '\0') {
            *p = '\0';
            bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
            *p = was;
            if (!made || was == '\0') {
                return made;
            }
        }
    }
}

static bool save(const char *path, const uint8_t *bytes, size_t size) {
    struct buf temporary;
    buf_init(&temporary, PATH_CEILING);
    bool good = buf_printf(&temporary, "%s.XXXXXX", path);
    int fd = good ? mkstemp(temporary.data) : -1;
    /* mkstemp's files are their owner's alone; a map may be read by whoever reads the folder. */
    good = fd >= 0 && fchmod(fd, 0644) == 0 && write_whole(fd, bytes, size);
    int why = errno;
    if (fd >= 0 && close(fd) != 0 && good) {
        good = false;
        why = errno;
    }
    if (good && rename(temporary.data, path) != 0) {
        good = false;
        why = errno;
    }
    if (fd >= 0 && !good) {
        (void)unlink(temporary.data);
    }
    buf_done(&temporary);
    errno = why;
    return good;
}

/* ---- both ---------------------------------------------------------------------------------- */

static void warn(char *warning, size_t room, const char *path, const char *what, int why) {
    if (warning[0] == '\0') { /* the first thing that went wrong explains the others */
        (void)snprintf(warning, room, "%s %s%s%s", path, what, why != 0 ? ": " : "",
                       why != 0 ? strerror(why) : "");
    }
}

static bool load(struct align_map *out, const struct align_request *request,
                 const struct align_key *key, const char *path, char *warning, size_t room) {
    const uint32_t n = request->reference->n;
    size_t size = 0;
    uint8_t *bytes = read_whole(path, HEADER + (size_t)n * 8 + TAIL + 1, &size);
    if (bytes == NULL) {
        if (errno != ENOENT && errno != ENOTDIR) {
            warn(warning, room, path, "could not be read", errno);
        }
        return false;
    }
    const char *what = align_parse(out, bytes, size, key, n, request->member->n);
    base_free(bytes);
    if (what != NULL) {
        char text[96];
        (void)snprintf(text, sizeof text, "%s and was made anew", what);
        warn(warning, room, path, text, 0);
    }
    return what == NULL;
}

static void store(const struct align_map *map, const struct align_request *request,
                  const struct align_key *key, struct buf *folder, const char *path, char *warning,
                  size_t room) {
    size_t size = 0;
    uint8_t *bytes = to_bytes(map, request, key, &size);
    if (bytes == NULL || !make_folders(folder->data) || !save(path, bytes, size)) {
        warn(warning, room, path, "could not be written", bytes == NULL ? ENOMEM : errno);
    }
    base_free(bytes);
}

enum packllm_status align_cached(struct align_map *out, const struct align_request *request,
                                 const char *folder, bool *out_cached, char *warning, size_t room,
                                 struct packllm_error *err) {
    struct buf maps, path;
    *out_cached = false;
    warning[0] = '\0';
    if (folder == NULL || request->method != ALIGN_MINED) {
        return align_build(out, request, err);
    }
    struct align_key key = align_key_of(request);
    buf_init(&maps, PATH_CEILING);
    buf_init(&path, PATH_CEILING);
    enum packllm_status s = PACKLLM_OK;
    if (!buf_printf(&maps, "%s/maps", folder) ||
        !buf_printf(&path, "%s/%016llx%016llx.map", maps.data, (unsigned long long)key.high,
                    (unsigned long long)key.low)) {
        s = fail_memory(err, PATH_CEILING);
    } else if (load(out, request, &key, path.data, warning, room)) {
        *out_cached = true;
    } else {
        s = align_build(out, request, err);
        if (s == PACKLLM_OK) {
            store(out, request, &key, &maps, path.data, warning, room);
        }
    }
    buf_done(&maps);
    buf_done(&path);
    return s;
}
