/* fuzz_replay.c - a main for fuzz targets without libFuzzer: feeds them the empty input and every file of
 * the folders named, so that builds with any compiler test what a fuzzer once found. */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return -1;
    }
    uint8_t *data = NULL;
    size_t size = 0;
    struct stat info;
    int result = -1;
    if (fstat(fileno(file), &info) != 0 || info.st_size < 0) {
        perror(path);
        goto out;
    }
    /* Exactly as large as the file, so that a sanitizer sees the first byte read beyond it. */
    size = (size_t)info.st_size;
    data = malloc(size > 0 ? size : 1);
    if (data == NULL || fread(data, 1, size, file) != size) {
        perror(path);
        goto out;
    }
    (void)LLVMFuzzerTestOneInput(data, size);
    result = 0;
out:
    free(data);
    fclose(file);
    return result;
}

static int replay_folder(const char *folder, int *count) {
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        return 0; /* a target may have no kept inputs yet */
    }
    int result = 0;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char path[4096];
        int length = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (length < 0 || (size_t)length >= sizeof path || replay_file(path) != 0) {
            result = -1;
            break;
        }
        (*count)++;
    }
    closedir(dir);
    return result;
}

int main(int argc, char **argv) {
    const uint8_t nothing = 0;
    int count = 1;
    (void)LLVMFuzzerTestOneInput(&nothing, 0);
    for (int i = 1; i < argc; i++) {
        if (replay_folder(argv[i], &count) != 0) {
            return 1;
        }
    }
    printf("%d inputs replayed\n", count);
    return 0;
}
