/* commands.c - the table of commands: what they take, and what help says of them. */
#include "commands.h"

static const struct args_command commands[] = {
    {.name = "run",
     .operands = "[-]",
     .max_operands = 1,
     .bit = COMPLETE,
     .summary = "Complete a prompt with the pack, streaming.",
     .details =
         "Each member reads the prompt; weights come from how well it understands it; the pack "
         "writes on. The text goes to stdout, piece by piece, without the prompt; the table of "
         "members to stderr.\n\nExample: packllm run -p 'The largest planet is' -n 40"},
    {.name = "chat",
     .operands = "",
     .bit = CHAT,
     .summary = "Talk with the pack.",
     .details =
         "A line is a message. Each member reads the conversation in its own chat template; "
         "weights come from how well it understands what you wrote, later messages counting more. "
         "Lines that begin with / are commands: /weights, /why (with --why), /reset, /help, /quit; "
         "// begins a message with a slash. Ctrl-C stops a reply and keeps the conversation, "
         "Ctrl-D "
         "ends. From a pipe each line is a message too; with --json each reply is an object.\n\n"
         "Example: packllm chat -sys 'Answer in one sentence.'"},
    {.name = "weigh",
     .operands = "[-]",
     .max_operands = 1,
     .bit = WEIGH,
     .summary = "Show each member's perplexity on a prompt and its weight.",
     .details = "Nothing is generated. A member whose context is shorter than the prompt reads it "
                "in windows, and the output says so."},
    {.name = "score",
     .operands = "[-]",
     .max_operands = 1,
     .bit = SCORE,
     .summary = "Bits per byte of a text under each member and under the pack.",
     .details =
         "The weights come from the first bytes, the rest is scored. All figures are causal: "
         "what stands later in the text changes nothing before it."},
    {.name = "models",
     .operands = "[list | pull [NAME...] | remove NAME... | path NAME | demo]",
     .max_operands = 64,
     .bit = MODELS,
     .words = "list|pull|remove|path|demo",
     .summary = "List, fetch and remove models of the cache.",
     .details = "list: what is there. pull: fetches the models named, or the default pack; "
                "ggml-vocab-gpt-2 and others are vocabularies of llama.cpp, for align. "
                "remove: deletes models. path: prints a model's file. demo: names the default "
                "pack."},
    {.name = "bench",
     .operands = "[-]",
     .max_operands = 1,
     .bit = BENCH,
     .summary = "Speed of the members alone and of the pack.",
     .details =
         "pp: evaluating a prompt as weigh does it. tg: generating; members decode the very text "
         "that the pack wrote, plainly, one token after another. overhead: the pack's time per "
         "byte over the sum of the members', minus one. glue: the share of the pack's time spent "
         "outside libllama.\n\nWith --parallel: tg64x8 are 8 texts at a time. Members decode them "
         "in batches of one token of each; members: all that have weight, one after the other. "
         "ratio: bytes a second over those of one text at a time; what the members' says is what "
         "the machine and libllama gain from batches, what the pack's lacks of it is packllm's."},
    {.name = "align",
     .operands = "A B",
     .max_operands = 2,
     .bit = ALIGN,
     .summary = "How two vocabularies meet: exact, near, unmatched; the worst pairs.",
     .details =
         "For each token of A, the reference, the token of B that stands for it. A and B are GGUF "
         "files or names in the cache; files without weights will do. Mined maps are kept in the "
         "cache folder, in maps.\n\nExample: packllm align smollm2-135m gemma-3-270m"},
    {.name = "eval",
     .operands = "TASK.jsonl...",
     .max_operands = 1024,
     .bit = EVAL,
     .summary = "Questions: methods side by side, from one reading of the members.",
     .details =
         "A task is a file of JSON objects, one a line, with id, query, choices and gold, or "
         "answer in place of these two: then every method writes its own. Members "
         "read each question once; every method weighs and fuses the same rows. accuracy: the "
         "option of the smallest loss; per byte: of the smallest loss per byte; gold nll: of the "
         "gold option after a softmax over losses per byte, nats. Differences are to the best "
         "member on these questions, with a paired bootstrap interval.\n\nExample: packllm eval "
         "copa.jsonl --methods all --limit 100 --results copa.db"},
    {.name = "calibrate",
     .operands = "TASK.jsonl...",
     .max_operands = 1024,
     .bit = CALIBRATE,
     .summary = "Fit priors, shrinkage and temperatures on your own questions or text.",
     .details =
         "Task files are those of eval, with choices; -f FILE is a text instead. The settings are "
         "those of the lowest gold nll (bits per byte of a text) under exact weights and the log "
         "pool. What they change is told on parts that they were not fitted on, with the standard "
         "error; a pack file is written only where asked for, and where that is a gain.\n\n"
         "Example: packllm calibrate arc_easy.jsonl --limit 200 -o mine.ini"},
    {.name = "serve",
     .operands = "",
     .bit = SERVE,
     .summary = "Serve the pack to OpenAI-compatible clients.",
     .details = "The pack and each member alone are models. Routes, clients and security: "
                "docs/server.md.\n\nExample: packllm serve --port 8080"},
    {.name = "help",
     .operands = "[COMMAND]",
     .max_operands = 1,
     .bit = HELP,
     .words =
         "run|chat|weigh|score|models|bench|align|eval|calibrate|serve|help|version|completion",
     .summary = "Tell about a command."},
    {.name = "version", .operands = "", .bit = VERSION, .summary = "Print the version."},
    {.name = "completion",
     .operands = "bash",
     .max_operands = 1,
     .bit = COMPLETION,
     .words = "bash",
     .summary = "Print a completion script for bash.",
     .details = "Example: eval \"$(packllm completion bash)\""},
};

const struct args_command *commands_table(size_t *out_n) {
    *out_n = sizeof commands / sizeof commands[0];
    return commands;
}
