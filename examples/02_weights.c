/* 02_weights.c - how well each member understands a text, and the weights that follow.
 *
 *     02_weights TEXT MODEL.gguf [MODEL.gguf...]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packllm/packllm.h"

static void print(const struct packllm_weights *weights) {
    for (size_t i = 0; i < weights->n_members; i++) {
        const struct packllm_member_weight *member = &weights->members[i];
        printf("%-24s weight %.3f  %.4f bits/byte  perplexity %.2f\n", member->name, member->weight,
               member->bits_per_byte, member->perplexity);
    }
    printf("%-24s              %.4f bits/byte  gap %.1e nats/byte\n", "pack",
           weights->bits_per_byte, weights->gap);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s TEXT MODEL.gguf [MODEL.gguf...]\n", argv[0]);
        return 2;
    }
    struct packllm_pack *pack = NULL;
    struct packllm_session *session = NULL;
    struct packllm_weights weights;
    struct packllm_error err;
    size_t n = (size_t)argc - 2;
    struct packllm_member_spec *specs = calloc(n, sizeof *specs);
    if (specs == NULL) {
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        specs[i] = packllm_member_spec_default();
        specs[i].path = argv[2 + i];
    }
    struct packllm_session_params params = packllm_session_params_default();
    params.shrink = 0; /* the pure problem: no better weights exist for this text */

    enum packllm_status s = packllm_pack_open(&pack, specs, n, NULL, &err);
    if (s == PACKLLM_OK) {
        s = packllm_session_open(&session, pack, &params, &err);
    }
    if (s == PACKLLM_OK) {
        s = packllm_session_weigh(session, argv[1], strlen(argv[1]), &err);
    }
    if (s < 0) {
        fprintf(stderr, "%s\n", err.message);
    } else if (packllm_session_weights(session, &weights) == PACKLLM_OK) {
        print(&weights);
    }
    packllm_session_close(session);
    packllm_pack_close(pack);
    free(specs);
    return s < 0 ? 1 : 0;
}
