/* 03_own_member.c - members without a model file: two that count letter pairs in a text each. The
 * pack weighs them by the prompt, and each one's text shows in what it writes. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "packllm/packllm.h"

static const char letters[] = "abcdefghijklmnopqrstuvwxyz .";
enum { N = sizeof letters }; /* the letters and, last, the end of the text */

/* log of (how often `next` follows the last letter in the member's text, plus a little). */
static int pair_logits(void *data, const int32_t *history, size_t n, float *out_logits) {
    const char *text = data;
    for (size_t v = 0; v < N; v++) {
        double count = v + 1 == N ? 0.001 : 0.01;
        for (const char *p = text; n > 0 && p[1] != '\0' && v + 1 < N; p++) {
            count += p[0] == letters[history[n - 1]] && p[1] == letters[v] ? 1 : 0;
        }
        out_logits[v] = (float)log(count);
    }
    return 0;
}

int main(void) {
    static char sea[] = "the sea the wave the sand the sea was near and the sand was wet. the sea.";
    static char kin[] = "my mother my sister my brother my uncle kissed my little sister. my kin.";
    struct packllm_own_token tokens[N];
    memset(tokens, 0, sizeof tokens);
    for (size_t v = 0; v < N; v++) {
        tokens[v].bytes = letters + v;
        tokens[v].size = v + 1 < N ? 1 : 0;
        tokens[v].end = v + 1 == N;
    }
    struct packllm_own_member members[2] = {
        {.name = "sea", .data = sea},
        {.name = "kin", .data = kin},
    };
    for (size_t i = 0; i < 2; i++) {
        members[i].tokens = tokens;
        members[i].n_tokens = N;
        members[i].start = -1;
        members[i].n_ctx = 256;
        members[i].logits = pair_logits;
    }
    struct packllm_session_params params = packllm_session_params_default();
    params.max_tokens = 30;
    params.sampling.temp = 0.5;
    struct packllm_pack *pack = NULL;
    struct packllm_session *session = NULL;
    struct packllm_weights weights;
    struct packllm_piece piece;
    struct packllm_error err;
    static const char prompt[] = "the wave was near the sand";

    enum packllm_status s = packllm_pack_open_own(&pack, members, 2, NULL, &err);
    s = s < 0 ? s : packllm_session_open(&session, pack, &params, &err);
    s = s < 0 ? s : packllm_session_prompt(session, prompt, strlen(prompt), &err);
    if (s >= 0 && packllm_session_weights(session, &weights) == PACKLLM_OK) {
        for (size_t i = 0; i < weights.n_members; i++) {
            printf("%s: weight %.2f\n", weights.members[i].name, weights.members[i].weight);
        }
        printf("%s|", prompt);
    }
    while (s >= 0 && (s = packllm_session_step(session, &piece, &err)) == PACKLLM_PIECE) {
        fwrite(piece.text, 1, piece.size, stdout);
    }
    printf("\n%s", s < 0 ? err.message : "");
    packllm_session_close(session);
    packllm_pack_close(pack);
    return s < 0 ? 1 : 0;
}
