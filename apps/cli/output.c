/* output.c - stdout, flushed piece by piece and checked; files that are whole or not there. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli.h"

int output_write(struct cli *cli, const char *text, size_t size) {
    while (size > 0) {
        ssize_t n = write(STDOUT_FILENO, text, size);
        if (n >= 0) {
            text += n;
            size -= (size_t)n;
        } else if (errno == EPIPE) {
            return EXIT_WORK; /* whoever read has gone: nothing to say */
        } else if (errno != EINTR) {
            return ui_fail(cli, EXIT_WORK, "cannot write to standard output: %s", strerror(errno));
        } else if (stop_asked()) {
            return stop_exit();
        }
    }
    return EXIT_FINE;
}

int output_buf(struct cli *cli, const struct buf *text) {
    if (text->failed) {
        return ui_fail(cli, EXIT_WORK, "the result is too large, or there is not enough memory");
    }
    return output_write(cli, text->data, text->size);
}

int output_json(struct cli *cli, struct buf *text) {
    (void)buf_add_text(text, "\n");
    return output_buf(cli, text);
}

int output_file_open(struct cli *cli, struct output_file *file, const char *path) {
    struct stat st;
    *file = (struct output_file){.path = path};
    if (strcmp(path, "-") == 0) { /* what else is printed would stand in between */
        return ui_fail(
            cli, EXIT_USE,
            "'-': a file is wanted, apart from what is printed; give its name, or ./- if "
            "that is meant");
    }
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) { /* a terminal, a pipe, /dev/null */
        if (S_ISDIR(st.st_mode)) {
            return ui_fail(cli, EXIT_WORK, "cannot write '%s': it is a directory", path);
        }
        file->stream = fopen(path, "w");
    } else {
        struct buf name;
        buf_init(&name, 1 << 16);
        if (buf_printf(&name, "%s.%ld.tmp", path, (long)getpid())) {
            file->temporary = alloc_text(name.data, name.size);
        }
        buf_done(&name);
        if (file->temporary == NULL) {
            return ui_fail(cli, EXIT_WORK, "out of memory");
        }
        int fd = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        file->stream = fd >= 0 ? fdopen(fd, "w") : NULL;
        if (fd >= 0 && file->stream == NULL) {
            (void)close(fd);
            (void)unlink(file->temporary);
        }
    }
    if (file->stream == NULL) {
        int why = errno;
        base_free(file->temporary);
        *file = (struct output_file){0};
        return ui_fail(cli, EXIT_WORK, "cannot write '%s': %s", path, strerror(why));
    }
    return EXIT_FINE;
}

int output_file_close(struct cli *cli, struct output_file *file, bool keep) {
    if (file->stream == NULL) {
        return EXIT_FINE;
    }
    FILE *stream = file->stream;
    bool ok = fflush(stream) == 0 && ferror(stream) == 0;
    int why = errno;
    if (fclose(stream) != 0 && ok) {
        ok = false;
        why = errno;
    }
    if (ok && keep && file->temporary != NULL && rename(file->temporary, file->path) != 0) {
        ok = false;
        why = errno;
    }
    if (file->temporary != NULL && !(ok && keep)) {
        (void)unlink(file->temporary);
    }
    const char *path = file->path;
    base_free(file->temporary);
    *file = (struct output_file){0};
    return ok || !keep ? EXIT_FINE
                       : ui_fail(cli, EXIT_WORK, "cannot write '%s': %s", path, strerror(why));
}
