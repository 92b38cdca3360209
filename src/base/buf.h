/* buf.h - growing bytes, born with a ceiling (curl's dynbuf). */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* [size], with a NUL behind it once anything was added; NULL before */
    size_t size, room, ceiling;
    bool failed; /* an addition failed (ceiling or memory): later ones do nothing */
};

void buf_init(struct buf *buf, size_t ceiling); /* ceiling in bytes */
void buf_done(struct buf *buf);
bool buf_add(struct buf *buf, const void *bytes, size_t size);
bool buf_add_text(struct buf *buf, const char *text);
bool buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_cut(struct buf *buf, size_t size); /* size <= buf->size */

#endif
