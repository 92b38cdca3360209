/* unicode.c - see unicode.h. */
#include "canon/unicode.h"

uint8_t canon_class(uint32_t code) {
    if (code < 128) {
        return canon_ascii[code];
    }
    if (code > 0x10ffff) {
        return 0;
    }
    uint32_t low = 0, high = canon_unicode_n; /* range low begins at or before code */
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (canon_unicode[mid] >> 6 <= code) {
            low = mid;
        } else {
            high = mid;
        }
    }
    return canon_unicode[low] & 63;
}

static size_t length_of(uint8_t lead) {
    return lead < 0x80    ? 1
           : lead < 0xc2  ? 0
           : lead < 0xe0  ? 2
           : lead < 0xf0  ? 3
           : lead <= 0xf4 ? 4
                          : 0;
}

size_t canon_decode(const char *text, size_t size, uint8_t tail, struct canon_char *out) {
    size_t n = 0;
    for (size_t at = 0; at < size; n++) {
        uint8_t lead = (uint8_t)text[at];
        size_t length = length_of(lead), have = length > 0;
        uint32_t code = length < 2 ? lead : lead & (0x7fU >> length);
        while (have > 0 && have < length && at + have < size &&
               ((uint8_t)text[at + have] & 0xc0) == 0x80) {
            code = code << 6 | ((uint8_t)text[at + have++] & 0x3f);
        }
        bool whole = length > 0 && have == length, cut = have > 0 && at + have == size;
        out[n] = (struct canon_char){
            .at = (uint32_t)at,
            .code = whole ? code : UINT32_MAX,
            .bits = whole ? canon_class(code)
                    : cut ? tail
                          : 0,
        };
        at += whole || cut ? have : 1;
    }
    out[n] = (struct canon_char){.at = (uint32_t)size, .code = UINT32_MAX};
    return n;
}
