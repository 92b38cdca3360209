/* cmd_weigh.c - `packllm weigh`: how well each member understands a text, and the weights. */
#include <unistd.h>

#include "cli.h"

static void weigh_json(struct buf *out, const struct work *work,
                       const struct packllm_weights *weights) {
    struct json json;
    json_init(&json, out);
    json_begin_object(&json);
    json_key_text(&json, "space", weights->space);
    mapping_json(&json, work, weights->reference);
    json_key_text(&json, "pool", packllm_pool_name(weights->pool));
    json_key_text(&json, "weights", packllm_weigher_name(weights->weigher));
    json_key_double(&json, "shrink", weights->shrink);
    json_key_uint(&json, "bytes", weights->bytes);
    input_json(&json, work->cli);
    json_key_double(&json, "bits_per_byte", weights->bits_per_byte);
    json_key_double(&json, "objective", weights->objective);
    json_key_double(&json, "gap", weights->gap);
    json_key_double(&json, "error", weights->error);
    json_key_uint(&json, "passes", weights->passes);
    json_key_text(&json, "certifies", packllm_weigher_certifies(weights->weigher));
    json_key_uint(&json, "dropped", weights->dropped);
    json_key_double(&json, "gain_likely", weights->gain_likely);
    json_key_double(&json, "gain_most", weights->gain_most);
    if (weights->weigher == PACKLLM_WEIGH_BAYES) {
        json_key_double(&json, "prequential", weights->prequential);
        json_key_double(&json, "regret", weights->regret);
        json_key_double(&json, "regret_bound", weights->regret_bound);
    }
    json_key(&json, "members");
    json_begin_array(&json);
    for (size_t i = 0; i < weights->n_members; i++) {
        const struct packllm_member_weight *member = &weights->members[i];
        json_begin_object(&json);
        json_key_text(&json, "name", member->name);
        json_key_double(&json, "weight", member->weight);
        json_key_double(&json, "bits_per_byte", member->bits_per_byte);
        json_key_double(&json, "bits_per_byte_model", member->bits_per_byte_model);
        json_key_double(&json, "perplexity", member->perplexity);
        json_key_uint(&json, "tokens", member->tokens);
        json_key_uint(&json, "vocabulary", member->vocabulary);
        json_key_uint(&json, "windows", member->windows);
        json_key_uint(&json, "bytes", member->bytes);
        json_key(&json, "dropped");
        json_bool(&json, member->dropped);
        if (member->dropped) {
            json_key_double(&json, "gain_likely", member->gain_likely);
            json_key_double(&json, "gain_most", member->gain_most);
        }
        json_key_double(&json, "seconds", member->seconds);
        json_end_object(&json);
    }
    json_end_array(&json);
    json_key(&json, "seconds");
    json_begin_object(&json);
    json_key_double(&json, "evaluate", weights->seconds_evaluate);
    json_key_double(&json, "solve", weights->seconds_solve);
    json_end_object(&json);
    json_end_object(&json);
}

static int weigh(struct work *work, const struct buf *text) {
    struct packllm_weights weights;
    enum packllm_status status =
        packllm_session_weigh(work->session, text->data, text->size, &work->err);
    tty_progress_clear(&work->cli->progress);
    if (status < 0) {
        return ui_status(work->cli, status, &work->err);
    }
    status = packllm_session_weights(work->session, &weights);
    if (status < 0) {
        return ui_fail(work->cli, EXIT_WORK, "%s", packllm_status_text(status));
    }
    struct buf out;
    buf_init(&out, RESULT_CEILING);
    int code;
    if (work->cli->json) {
        weigh_json(&out, work, &weights);
        code = output_json(work->cli, &out);
    } else {
        table_weights(&out, &weights, STDOUT_FILENO);
        code = output_buf(work->cli, &out);
    }
    buf_done(&out);
    return code;
}

int cmd_weigh(struct cli *cli) {
    struct work work;
    struct buf text;
    bool go = false;
    buf_init(&text, PROMPT_CEILING);
    int code = work_begin(&work, cli, &text, &go);
    if (go) {
        code = weigh(&work, &text);
    }
    work_done(&work);
    buf_done(&text);
    return code;
}
