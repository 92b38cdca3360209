/* utf8.c - the state machine of utf8.h (Unicode 15, table 3-7). */
#include "base/utf8.h"

bool utf8_may_follow(const struct utf8_state *state, uint8_t byte) {
    struct utf8_state copy = *state;
    return utf8_step(&copy, byte);
}

bool utf8_step(struct utf8_state *state, uint8_t byte) {
    if (state->need > 0) {
        if (byte < state->low || byte > state->high) {
            return false;
        }
        *state = (struct utf8_state){(uint8_t)(state->need - 1), 0x80, 0xbf};
        return true;
    }
    if (byte < 0x80) {
        return true;
    }
    if (byte < 0xc2 || byte > 0xf4) {
        return false;
    }
    if (byte < 0xe0) {
        *state = (struct utf8_state){1, 0x80, 0xbf};
    } else if (byte < 0xf0) {
        *state = (struct utf8_state){2, byte == 0xe0 ? 0xa0 : 0x80, byte == 0xed ? 0x9f : 0xbf};
    } else {
        *state = (struct utf8_state){3, byte == 0xf0 ? 0x90 : 0x80, byte == 0xf4 ? 0x8f : 0xbf};
    }
    return true;
}

size_t utf8_whole(const char *text, size_t size, bool *bad) {
    struct utf8_state state = {0};
    size_t whole = 0;
    *bad = false;
    for (size_t i = 0; i < size; i++) {
        if (!utf8_step(&state, (uint8_t)text[i])) {
            *bad = true;
            break;
        }
        if (state.need == 0) {
            whole = i + 1;
        }
    }
    return whole;
}

size_t utf8_check(const char *text, size_t size) {
    bool bad;
    return utf8_whole(text, size, &bad);
}

size_t utf8_repair(const char *text, size_t size, char *out, size_t *out_size) {
    struct utf8_state state = {0};
    size_t replaced = 0, n = 0, begun = 0; /* text[begun..i): of a character not yet whole */
    for (size_t i = 0; i <= size; i++) {
        bool fits = i < size && utf8_step(&state, (uint8_t)text[i]);
        if (fits && state.need == 0) {
            for (; begun <= i; begun++) {
                out[n++] = text[begun];
            }
        } else if (!fits && (i < size || begun < i)) {
            out[n++] = '\xef';
            out[n++] = '\xbf';
            out[n++] = '\xbd';
            replaced++;
            /* The byte that ended a beginning may begin a character itself. */
            i -= begun < i && i < size ? 1 : 0;
            begun = i + 1;
            state = (struct utf8_state){0};
        }
    }
    *out_size = n;
    return replaced;
}
