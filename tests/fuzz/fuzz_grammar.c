/* fuzz_grammar.c - any bytes as a grammar or a schema. It is refused with a message, or compiled; then
 * a walk through it is never stuck before an end, and taking bytes back leads to where one was. The
 * first byte says which of the two, the second seeds the walk. */
#include <assert.h>
#include <string.h>

#include "base/buf.h"
#include "base/rng.h"
#include "grammar/grammar.h"

enum { STEPS = 60 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct grammar *grammar, uint64_t rng) {
    struct grammar_state *state = NULL;
    struct packllm_error err = {0};
    if (grammar_state_open(&state, grammar, &err) < 0) {
        assert(err.message[0] != '\0');
        return;
    }
    for (int step = 0; step < STEPS; step++) {
        uint64_t before[4], after[4];
        memcpy(before, grammar_state_allowed(state), sizeof before);
        bool end = grammar_state_may_end(state);
        unsigned allowed[256], n = 0;
        for (unsigned b = 0; b < 256; b++) {
            if (grammar_mask_has(before, (uint8_t)b)) {
                allowed[n++] = b;
            } else {
                assert(!grammar_state_push(state, (uint8_t)b));
            }
        }
        assert(n > 0 || end);
        if (n == 0) {
            break;
        }
        uint8_t byte = (uint8_t)allowed[rng_next(&rng) % n];
        if (!grammar_state_push(state, byte)) {
            assert(grammar_state_status(state, &err) < 0 && err.message[0] != '\0');
            break;
        }
        grammar_state_pop(state, 1);
        memcpy(after, grammar_state_allowed(state), sizeof after);
        assert(memcmp(before, after, sizeof after) == 0 && grammar_state_may_end(state) == end);
        if (!grammar_state_push(state, byte)) {
            break;
        }
    }
    grammar_state_close(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct grammar *grammar = NULL;
    struct packllm_error err = {0};
    struct buf text;
    if (size < 2) {
        return 0;
    }
    buf_init(&text, 1 << 20);
    enum packllm_status status = PACKLLM_OK;
    if (data[0] % 2 == 0) {
        (void)buf_add(&text, data + 2, size - 2);
    } else {
        status = grammar_from_schema(&text, (const char *)data + 2, size - 2, false, &err);
    }
    if (status >= 0) {
        status = grammar_open(&grammar, text.data != NULL ? text.data : "", text.size, NULL, &err);
    }
    assert((status >= 0) == (grammar != NULL) && (status >= 0 || err.message[0] != '\0'));
    /* A schema's grammar may be refused for size, or as empty or endless: never as badly written. */
    assert(data[0] % 2 == 0 || status >= 0 || strstr(err.message, "expected") == NULL ||
           strstr(err.message, "JSON schema") != NULL);
    if (grammar != NULL) {
        walk(grammar, data[1]);
    }
    grammar_close(grammar);
    buf_done(&text);
    return 0;
}
