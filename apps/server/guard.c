/* guard.c - who may ask: keys in constant time, Host against DNS rebinding, Origin against pages of
 * other sites; key files that others cannot read. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/private.h"

bool guard_loopback(const char *host) {
    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
        strcmp(host, "[::1]") == 0) {
        return true;
    }
    unsigned part[4];
    char rest;
    return sscanf(host, "%3u.%3u.%3u.%3u%c", &part[0], &part[1], &part[2], &part[3], &rest) == 4 &&
           part[0] == 127 && part[1] < 256 && part[2] < 256 && part[3] < 256;
}

bool guard_key(const char *key, const char *authorization) {
    static const char scheme[] = "Bearer ";
    if (authorization == NULL || strncasecmp(authorization, scheme, sizeof scheme - 1) != 0) {
        return false;
    }
    const char *given = authorization + sizeof scheme - 1;
    size_t n = strlen(key), n_given = strlen(given);
    /* Time depends on the length of what was given only. */
    volatile unsigned char difference = (unsigned char)(n != n_given);
    for (size_t i = 0; i < n_given; i++) {
        difference |= (unsigned char)(given[i] ^ key[n > 0 ? i % n : 0]);
    }
    return difference == 0;
}

/* The name of "name:port", "[v6]:port"; false: neither. */
static bool host_name(const char *header, char *out, size_t room) {
    size_t size = header[0] == '[' ? strcspn(header, "]") + 1 : strcspn(header, ":");
    if (size == 0 || size >= room || size > strlen(header)) {
        return false;
    }
    memcpy(out, header, size);
    out[size] = '\0';
    const char *port = header + size;
    if (*port == '\0') {
        return true;
    }
    return *port == ':' && strspn(port + 1, "0123456789") == strlen(port + 1);
}

bool guard_host(const char *host_header, const char *host, bool loopback_only) {
    char name[256];
    if (host_header == NULL || !host_name(host_header, name, sizeof name)) {
        return false;
    }
    return !loopback_only || guard_loopback(name) || strcasecmp(name, host) == 0;
}

bool guard_origin(const char *origin, const char *host_header) {
    if (origin == NULL) {
        return true; /* no browser, or a page asking its own server */
    }
    const char *rest = strncmp(origin, "http://", 7) == 0    ? origin + 7
                       : strncmp(origin, "https://", 8) == 0 ? origin + 8
                                                             : NULL;
    return rest != NULL && host_header != NULL && strcasecmp(rest, host_header) == 0;
}

bool serve_key_file(const char *path, char *out_key, size_t key_size, char *error,
                    size_t error_size) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        (void)snprintf(error, error_size, "--api-key-file %s: %s", path, strerror(errno));
        if (fd >= 0) {
            (void)close(fd);
        }
        return false;
    }
    const char *wrong = NULL;
    ssize_t n = 0;
    if (!S_ISREG(st.st_mode)) {
        wrong = "is no regular file";
    } else if ((st.st_mode & 077) != 0) {
        wrong = "can be read or changed by others: chmod 600 it";
    } else {
        n = read(fd, out_key, key_size - 1);
        wrong = n < 0                       ? "cannot be read"
                : (size_t)n == key_size - 1 ? "is too long for a key"
                                            : NULL;
    }
    (void)close(fd);
    if (wrong == NULL) {
        while (n > 0 && isspace((unsigned char)out_key[n - 1])) {
            n--;
        }
        out_key[n] = '\0';
        for (ssize_t i = 0; i < n; i++) {
            wrong = out_key[i] <= ' ' || out_key[i] > '~' ? "must hold one key of printable ASCII"
                                                          : wrong;
        }
        wrong = n == 0 ? "is empty" : wrong;
    }
    if (wrong != NULL) {
        (void)snprintf(error, error_size, "--api-key-file %s: it %s", path, wrong);
    }
    return wrong == NULL;
}
