/* 01_generate.c - a prompt in, the pack's text out.
 *
 *     01_generate PROMPT MODEL.gguf [MODEL.gguf...]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packllm/packllm.h"

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s PROMPT MODEL.gguf [MODEL.gguf...]\n", argv[0]);
        return 2;
    }
    struct packllm_pack *pack = NULL;
    struct packllm_session *session = NULL;
    struct packllm_piece piece;
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
    params.max_tokens = 40;
    params.sampling.temp = 0; /* greedy */

    enum packllm_status s = packllm_pack_open(&pack, specs, n, NULL, &err);
    if (s == PACKLLM_OK) {
        s = packllm_session_open(&session, pack, &params, &err);
    }
    if (s == PACKLLM_OK) {
        s = packllm_session_prompt(session, argv[1], strlen(argv[1]), &err);
    }
    while (s >= 0 && (s = packllm_session_step(session, &piece, &err)) == PACKLLM_PIECE) {
        fwrite(piece.text, 1, piece.size, stdout);
        fflush(stdout);
    }
    putchar('\n');
    if (s < 0) {
        fprintf(stderr, "%s\n", err.message);
    }
    packllm_session_close(session);
    packllm_pack_close(pack);
    free(specs);
    return s < 0 ? 1 : 0;
}
