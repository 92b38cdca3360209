/* stopper.c - stop strings over a stream, see sample.h.
 *
 * Each stop string runs its own Knuth-Morris-Pratt automaton: state[k] is the length of the longest
 * beginning of string k that the text ends with. Held back is the longest of them: whatever stop
 * string may still complete, its beginning is within the bytes held. A string that completes at this
 * byte began state = its length bytes ago; the longest of those began first.
 */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "sample/sample.h"

struct pattern {
    char *text;   /* [size] */
    size_t *back; /* [size]: longest proper beginning of text[0..i] that text[0..i] ends with */
    size_t size, state;
};

struct stopper {
    struct pattern *patterns; /* [n] */
    size_t n, held;
    bool stopped;
};

static bool pattern_open(struct pattern *pattern, const char *text) {
    size_t size = strlen(text);
    pattern->size = size;
    pattern->text = alloc_text(text, size);
    pattern->back = alloc_array(size, sizeof *pattern->back);
    if (pattern->text == NULL || pattern->back == NULL) {
        return false;
    }
    pattern->back[0] = 0;
    for (size_t i = 1, length = 0; i < size; i++) {
        while (length > 0 && text[i] != text[length]) {
            length = pattern->back[length - 1];
        }
        length += text[i] == text[length] ? 1 : 0;
        pattern->back[i] = length;
    }
    return true;
}

enum packllm_status stopper_open(struct stopper **out, const char *const *stop, size_t n,
                                 struct packllm_error *err) {
    for (size_t k = 0; k < n; k++) {
        if (stop[k] == NULL || stop[k][0] == '\0') {
            return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "stop string %zu is empty", k + 1);
        }
    }
    struct stopper *stopper = alloc_zero(1, sizeof *stopper);
    if (stopper == NULL) {
        return fail_memory(err, sizeof *stopper);
    }
    stopper->patterns = alloc_zero(n, sizeof *stopper->patterns);
    if (stopper->patterns == NULL) {
        base_free(stopper);
        return fail_memory(err, n * sizeof *stopper->patterns);
    }
    for (; stopper->n < n; stopper->n++) {
        struct pattern *pattern = &stopper->patterns[stopper->n];
        if (!pattern_open(pattern, stop[stopper->n])) {
            size_t size = pattern->size;
            stopper->n++; /* half-built: closed with the others */
            stopper_close(stopper);
            return fail_memory(err, size * (1 + sizeof *pattern->back));
        }
    }
    *out = stopper;
    return PACKLLM_OK;
}

void stopper_close(struct stopper *stopper) {
    if (stopper == NULL) {
        return;
    }
    for (size_t k = 0; k < stopper->n; k++) {
        base_free(stopper->patterns[k].text);
        base_free(stopper->patterns[k].back);
    }
    base_free(stopper->patterns);
    base_free(stopper);
}

void stopper_reset(struct stopper *stopper) {
    for (size_t k = 0; k < stopper->n; k++) {
        stopper->patterns[k].state = 0;
    }
    stopper->held = 0;
    stopper->stopped = false;
}

/* One byte into one automaton; true: the pattern is complete. */
static bool step(struct pattern *pattern, char byte) {
    assert(pattern->text != NULL);
    while (pattern->state > 0 && pattern->text[pattern->state] != byte) {
        pattern->state = pattern->back[pattern->state - 1];
    }
    pattern->state += pattern->text[pattern->state] == byte ? 1 : 0;
    return pattern->state == pattern->size;
}

bool stopper_add(struct stopper *stopper, const char *text, size_t size, size_t *out_release) {
    *out_release = 0;
    if (stopper->stopped) {
        return true;
    }
    size_t pending = stopper->held; /* bytes held, with what of text was read */
    size_t keep = stopper->held;
    for (size_t i = 0; i < size; i++) {
        size_t complete = 0;
        keep = 0;
        pending++;
        for (size_t k = 0; k < stopper->n; k++) {
            struct pattern *pattern = &stopper->patterns[k];
            if (step(pattern, text[i]) && pattern->size > complete) {
                complete = pattern->size;
            }
            keep = pattern->state > keep ? pattern->state : keep;
        }
        if (complete > 0) {
            *out_release = pending - complete;
            stopper->held = 0;
            stopper->stopped = true;
            return true;
        }
    }
    *out_release = pending - keep;
    stopper->held = keep;
    return false;
}

size_t stopper_held(const struct stopper *stopper) {
    return stopper->held;
}
