/* grammar.c - from the text of a grammar to its compiled form, in three steps: read, build, check. */
#include "grammar/grammar.h"

#include "base/alloc.h"
#include "base/status.h"
#include "grammar/private.h"

enum packllm_status grammar_open(struct grammar **out, const char *text, size_t size,
                                 const bool *bytes, struct packllm_error *err) {
    struct grammar *g = alloc_zero(1, sizeof *g);
    if (g == NULL) {
        return fail_memory(err, sizeof *g);
    }
    struct builder b = {.g = g, .bytes = bytes, .text = text, .size = size};
    enum packllm_status status = grammar_parse(&b, err);
    if (status >= 0) {
        status = grammar_finish(&b, err);
    }
    base_free(b.names);
    if (status < 0) {
        grammar_close(g);
        return status;
    }
    *out = g;
    return PACKLLM_OK;
}

void grammar_close(struct grammar *g) {
    if (g != NULL) {
        base_free(g->edges);
        base_free(g->first);
        base_free(g->accepts);
        base_free(g->rules);
        base_free(g);
    }
}
