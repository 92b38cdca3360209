/* golden.c - see golden.h. */
#include "golden.h"

#include <stdlib.h>
#include <string.h>

static void give_up(const char *what, const char *about) {
    (void)fprintf(stderr, "golden: %s '%s'\n", what, about);
    exit(1);
}

FILE *golden_open(const char *name) {
    const char *source = getenv("PACKLLM_SOURCE");
    char path[4096], line[256];
    (void)snprintf(path, sizeof path, "%s/tests/golden/%s", source != NULL ? source : ".", name);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof line, file) == NULL) { /* the comment */
        give_up("cannot read", path);
    }
    return file;
}

void golden_close(FILE *file) {
    (void)fclose(file);
}

size_t golden_read(FILE *file, const char *key, double *out, size_t room) {
    char found[64], number[64];
    size_t count;
    if (fscanf(file, "%63s %zu", found, &count) != 2 || strcmp(found, key) != 0 || count > room) {
        give_up("no line of the expected size for", key);
    }
    for (size_t i = 0; i < count; i++) {
        char *end = number;
        if (fscanf(file, "%63s", number) == 1) {
            out[i] = strtod(number, &end);
        }
        if (end == number || *end != '\0') {
            give_up("no number in", key);
        }
    }
    return count;
}

double golden_number(FILE *file, const char *key) {
    double x = 0;
    if (golden_read(file, key, &x, 1) != 1) {
        give_up("not one number in", key);
    }
    return x;
}
