/* shared.c - see shared.h. */
#include "shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool there(const char *out, size_t room, int size) {
    return size > 0 && (size_t)size < room && access(out, R_OK) == 0;
}

bool shared_path(char *out, size_t room, const char *name) {
    const char *folder = getenv("PACKLLM_SHARED");
    folder = folder != NULL && folder[0] != '\0' ? folder : "../shared";
    return there(out, room, snprintf(out, room, "%s/%s", folder, name));
}

bool shared_pack_path(char *out, size_t room, const char *name) {
    const char *cache = getenv("PACKLLM_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (cache != NULL && cache[0] != '\0') {
        return there(out, room, snprintf(out, room, "%s/models/%s", cache, name));
    }
    if (xdg != NULL && xdg[0] != '\0') {
        return there(out, room, snprintf(out, room, "%s/packllm/models/%s", xdg, name));
    }
    return home != NULL &&
           there(out, room, snprintf(out, room, "%s/.cache/packllm/models/%s", home, name));
}

uint8_t *shared_read(const char *path, size_t *out_size) {
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;
    long size = -1;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0 &&
        fseek(file, 0, SEEK_SET) == 0 && (bytes = malloc((size_t)size + 1)) != NULL &&
        fread(bytes, 1, (size_t)size, file) != (size_t)size) {
        free(bytes);
        bytes = NULL;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    *out_size = bytes != NULL ? (size_t)size : 0;
    return bytes;
}
