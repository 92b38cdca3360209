/* buf.c - growing bytes with a ceiling, see buf.h. */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

void buf_init(struct buf *buf, size_t ceiling) {
    *buf = (struct buf){.ceiling = ceiling};
}

void buf_done(struct buf *buf) {
    base_free(buf->data);
    *buf = (struct buf){.ceiling = buf->ceiling};
}

static bool reserve(struct buf *buf, size_t more) {
    if (buf->failed || more > buf->ceiling || buf->size > buf->ceiling - more) {
        buf->failed = true;
        return false;
    }
    size_t need = buf->size + more + 1;
    if (need > buf->room) {
        size_t room = buf->room < 64 ? 64 : buf->room;
        while (room < need) {
            room *= 2;
        }
        char *data = alloc_resize(buf->data, room, 1);
        if (data == NULL) {
            buf->failed = true;
            return false;
        }
        buf->data = data;
        buf->room = room;
    }
    return true;
}

bool buf_add(struct buf *buf, const void *bytes, size_t size) {
    if (!reserve(buf, size)) {
        return false;
    }
    if (size > 0) {
        memcpy(buf->data + buf->size, bytes, size);
    }
    buf->size += size;
    buf->data[buf->size] = '\0';
    return true;
}

bool buf_add_text(struct buf *buf, const char *text) {
    return buf_add(buf, text, strlen(text));
}

bool buf_printf(struct buf *buf, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    bool ok = size >= 0 && reserve(buf, (size_t)size);
    if (ok) {
        (void)vsnprintf(buf->data + buf->size, (size_t)size + 1, format, again);
        buf->size += (size_t)size;
    }
    va_end(again);
    return ok;
}

void buf_cut(struct buf *buf, size_t size) {
    assert(size <= buf->size);
    buf->size = size;
    if (buf->data != NULL) {
        buf->data[size] = '\0';
    }
}
