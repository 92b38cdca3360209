/* tty.h - what a terminal wants to see: its width, bars, progress on stderr, safe text. */
#ifndef COMMON_TTY_H
#define COMMON_TTY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

bool tty_is(int fd);      /* a terminal that understands control sequences */
size_t tty_width(int fd); /* columns; 80 where none are known, 40..200 */
bool tty_colour(int fd);  /* a terminal, and NO_COLOR is not set */
bool tty_blocks(void);    /* the locale's names say UTF-8: block characters may be used */

/* A bar of `width` columns for share in 0..1; colour: within SGR sequences. */
void tty_bar(struct buf *out, double share, size_t width, bool colour);

/* Text that cannot steer a terminal: control characters but \n and \t become U+FFFD, and so do
 * bytes that are not UTF-8. one_line: \n and \t too. */
void tty_safe(struct buf *out, const char *text, size_t size, bool one_line);
/* Columns that text takes, one per character (wide ones are not known here). */
size_t tty_columns(const char *text, size_t size);
/* The text padded with blanks to width columns, or cut to it with "…". */
void tty_pad(struct buf *out, const char *text, size_t width);

/* One line on stderr that is rewritten in place; does nothing unless stderr is a terminal. */
struct tty_progress {
    bool on, shown;
    int last; /* per cent and label hash last shown, so that it is not rewritten for nothing */
};

void tty_progress_init(struct tty_progress *progress, bool wanted);
void tty_progress_show(struct tty_progress *progress, const char *what, const char *name,
                       double share);
void tty_progress_clear(struct tty_progress *progress);

#endif
