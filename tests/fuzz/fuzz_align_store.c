/* fuzz_align_store.c - any bytes as a map on disk: the parser refuses them, or gives a map whose tokens
 * exist. The first bytes say which map is asked for; the last eight are made right half of the time, as
 * no fuzzer guesses a hash. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "align/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct align_key key = {0};
    struct align_map map;
    if (size < 3) {
        return 0;
    }
    uint32_t n = data[0], n_member = data[1];
    size -= 3;
    uint8_t *bytes = malloc(size + 1);
    assert(bytes != NULL);
    memcpy(bytes, data + 3, size);
    if (data[2] % 2 == 0 && size >= 8) {
        uint64_t hash = align_hash(bytes, size - 8);
        for (int i = 0; i < 8; i++) {
            bytes[size - 8 + (size_t)i] = (uint8_t)(hash >> (8 * i));
        }
    }
    if (align_parse(&map, bytes, size, &key, n, n_member) == NULL) {
        assert(map.n == n && map.exact + map.near + map.unmatched == n);
        for (uint32_t i = 0; i < n; i++) {
            assert(map.to[i] == ALIGN_NONE || (map.to[i] >= 0 && (uint32_t)map.to[i] < n_member));
        }
        align_done(&map);
    }
    free(bytes);
    return 0;
}
