/* member_spell.c - see member_spell.h. */
#include "member/member_spell.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int member_byte_of_text(const char *text) {
    static const char digits[] = "0123456789ABCDEF";
    if (strlen(text) != 6 || strncmp(text, "<0x", 3) != 0 || text[5] != '>') {
        return -1;
    }
    const char *high = strchr(digits, text[3]), *low = strchr(digits, text[4]);
    return high != NULL && low != NULL ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

bool member_is_padding(const char *text, int32_t id) {
    char padded[32], empty[32];
    (void)snprintf(padded, sizeof padded, "[PAD%" PRId32 "]", id);
    (void)snprintf(empty, sizeof empty, "[EMPTY_%" PRId32 "]", id);
    return strcmp(text, padded) == 0 || strcmp(text, empty) == 0;
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

size_t member_span(const char *text, size_t size, size_t run_max, bool stop_at_mark) {
    const size_t mark = sizeof MEMBER_SPACE_MARK - 1;
    size_t run = 0, i = 0;
    for (; i < size; i++) {
        if (stop_at_mark && size - i >= mark && memcmp(text + i, MEMBER_SPACE_MARK, mark) == 0) {
            break;
        }
        run = i > 0 && is_space(text[i]) == is_space(text[i - 1]) ? run + 1 : 0;
        if (run >= run_max && ((unsigned char)text[i] & 0xc0) != 0x80) {
            break;
        }
    }
    return i;
}
