/* added.h - added (user-defined) tokens: cut out of a text before anything else, the longest
 * first, among equal lengths the lowest id. */
#ifndef CANON_ADDED_H
#define CANON_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct canon_added_token {
    uint32_t at, size; /* into bytes */
    int32_t id;
    unsigned flags;
    uint32_t order; /* of cutting */
};

struct canon_added {
    uint8_t *bytes;
    struct canon_added_token *token; /* [n] by their bytes */
    uint32_t *by_order;              /* [n] into token */
    uint32_t n;
    size_t size;
    bool first[256]; /* a token begins with it */
};

void canon_added_done(struct canon_added *a);

#endif
