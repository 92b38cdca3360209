/* logprobs.c - display tokens by number: --logit-bias before the choice, --logprobs after it. */
#define PACKLLM_EXPERIMENTAL
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "cli.h"
#include "common/number.h"

/* TOKEN+BIAS or TOKEN-BIAS, as llama.cpp writes it; -inf: never. */
static bool read_bias(const char *text, struct packllm_bias *out) {
    char id[24];
    uint64_t token = 0;
    size_t digits = strspn(text, "0123456789");
    const char *bias = text + digits;
    if (digits == 0 || digits >= sizeof id || (*bias != '+' && *bias != '-')) {
        return false;
    }
    memcpy(id, text, digits);
    id[digits] = '\0';
    if (number_uint(id, &token) != NUMBER_OK || token > INT32_MAX) {
        return false;
    }
    out->token = (int32_t)token;
    if (strcmp(bias, "-inf") == 0) {
        out->bias = (double)-INFINITY;
        return true;
    }
    return number_double(bias, &out->bias) == NUMBER_OK;
}

int work_bias(struct work *work) {
    const struct args *args = &work->cli->args;
    struct packllm_session_params *p = &work->session_params;
    if ((args->command->bit & args->table->options[OPT_LOGIT_BIAS].commands) == 0) {
        return EXIT_FINE;
    }
    size_t n = args->values[OPT_LOGIT_BIAS].n;
    p->n_top = (size_t)opt_int(args, OPT_LOGPROBS);
    if (p->n_top > 0 && !work->cli->json) {
        return ui_fail(work->cli, EXIT_USE, "--logprobs stand in the JSON object: add --json");
    }
    work->bias = alloc_array(n, sizeof *work->bias);
    if (work->bias == NULL) {
        return ui_fail(work->cli, EXIT_WORK, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        const char *text = args->values[OPT_LOGIT_BIAS].list[i];
        if (!read_bias(text, &work->bias[i])) {
            return ui_fail(work->cli, EXIT_USE,
                           "--logit-bias %s: write TOKEN+BIAS or TOKEN-BIAS, such as 15043-1.5 or "
                           "2-inf, with a display token's number",
                           text);
        }
    }
    p->bias = work->bias;
    p->n_bias = n;
    return EXIT_FINE;
}

static void add_token(struct json *json, const struct work *work, size_t display, int32_t token,
                      size_t begun, double logprob) {
    struct packllm_token told = {.bytes = ""};
    if (token >= 0) {
        (void)packllm_pack_token(work->pack, display, token, &told);
    }
    json_key(json, "token");
    json_int(json, token);
    json_key(json, "text");
    json_bytes(json, told.bytes + begun, told.size - begun);
    json_key_double(json, "logprob", logprob);
}

void logprobs_json(struct json *json, const struct work *work, size_t display,
                   const struct packllm_piece *piece) {
    const struct packllm_top *top = NULL;
    size_t n = 0;
    if (packllm_session_top(work->session, &top, &n) < 0) {
        return;
    }
    json_begin_object(json);
    add_token(json, work, display, piece->token, piece->begun, piece->logprob);
    json_key(json, "top");
    json_begin_array(json);
    for (size_t i = 0; i < n; i++) {
        json_begin_object(json);
        add_token(json, work, display, top[i].token, top[i].begun, top[i].logprob);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
}
