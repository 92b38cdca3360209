/* options.c - the table. Its order is the order of help. An option that comes with a later version
 * stands here too, so that it is recognised and says so. */
#include "options.h"

#include "common/number.h"
#include "packllm/packllm.h"

enum {
    COMPLETE = 1, /* run alone */
    WEIGH = 2,
    SCORE = 4,
    BENCH = 8,
    MODELS = 16,
    HELP = 32,
    VERSION = 64,
    COMPLETION = 128,
    ALIGN = 256,
    CHAT = 512,
    RUN = COMPLETE | CHAT, /* what writes */
    EVAL = 1024,
    TEXT = RUN | WEIGH | SCORE,
    WORK = TEXT | BENCH,
    ALL = WORK | EVAL | ALIGN | MODELS | HELP | VERSION | COMPLETION
};

static const char MEMBERS[] = "Members";
static const char FUSION[] = "Fusion";
static const char PROMPT[] = "Prompt";
static const char SAMPLING[] = "Sampling (on the display member's tokens, as llama.cpp means it)";
static const char SCORING[] = "Scoring";
static const char ASKING[] = "Asking";
static const char MEASURING[] = "Measuring";
static const char MAPPING[] = "Mapping (with --space tokens, of members that share no vocabulary)";
static const char OUTPUT[] = "Output";

#define LATER(wide, narrow, kinds)                                                                 \
    { .name = (wide), .brief = (narrow), .type = ARGS_TEXT, .commands = (kinds), .later = true }

static char initials[N_OPTIONS][NUMBER_TEXT];

static struct args_option options[N_OPTIONS] = {
    [OPT_MODEL] =
        {.name = "model",
         .brief = "-m",
         .argument = "SPEC",
         .type = ARGS_LIST,
         .group = MEMBERS,
         .commands = WORK | EVAL,
         .file = true,
         .help = "a member: a GGUF file or a name in the cache, then ,KEY=VALUE: name, prior, cap, "
                 "ngl, c, threads, lora=ADAPTER[:SCALE], domain=TEXT (for cbtm), chat-template. "
                 "Members "
                 "of one file share its weights. "
                 "Without any: the default pack, fetched on first use"},
    [OPT_PACK] = {.name = "pack",
                  .argument = "FILE",
                  .type = ARGS_TEXT,
                  .group = MEMBERS,
                  .commands = WORK | EVAL,
                  .file = true,
                  .help = "members from an INI file: a section each, [NAME] with model = PATH and "
                          "the settings of -m"},
    [OPT_HF_REPO] = LATER("hf-repo", "-hf", WORK | EVAL),
    [OPT_CACHE] = {.name = "cache",
                   .argument = "DIR",
                   .type = ARGS_TEXT,
                   .group = MEMBERS,
                   .commands = WORK | ALIGN | MODELS | EVAL,
                   .file = true,
                   .help = "the folder of downloaded models; else $XDG_CACHE_HOME/packllm or "
                           "~/.cache/packllm"},
    [OPT_CTX_SIZE] = {.name = "ctx-size",
                      .brief = "-c",
                      .argument = "N",
                      .type = ARGS_INT,
                      .maximum = 16777216,
                      .initial = "0",
                      .group = MEMBERS,
                      .commands = WORK | EVAL,
                      .help =
                          "context of every member in tokens; 0: the model's own, at most 4096"},
    [OPT_THREADS] = {.name = "threads",
                     .brief = "-t",
                     .argument = "N",
                     .type = ARGS_INT,
                     .maximum = 512,
                     .initial = "0",
                     .group = MEMBERS,
                     .commands = WORK | ALIGN | EVAL,
                     .help = "threads; 0: the machine's cores, at most 16"},
    [OPT_N_GPU_LAYERS] = {.name = "n-gpu-layers",
                          .brief = "-ngl",
                          .argument = "N",
                          .type = ARGS_INT,
                          .maximum = 9999,
                          .initial = "0",
                          .group = MEMBERS,
                          .commands = WORK | EVAL,
                          .help = "layers of every member on a GPU"},
    [OPT_ISOLATE] = {.name = "isolate",
                     .argument = "WHERE",
                     .type = ARGS_CHOICE,
                     .choices = "off",
                     .later_choices = "on",
                     .initial = "off",
                     .group = MEMBERS,
                     .commands = WORK | EVAL,
                     .help = "members in worker processes"},
    [OPT_RPC] = LATER("rpc", NULL, WORK | EVAL),
    [OPT_MEMORY] = {.name = "memory",
                    .type = ARGS_FLAG,
                    .group = MEMBERS,
                    .commands = WORK | EVAL,
                    .help = "print how much memory the pack would take, and stop"},
    [OPT_MEMORY_LIMIT] = {.name = "memory-limit",
                          .argument = "SIZE",
                          .type = ARGS_TEXT,
                          .group = MEMBERS,
                          .commands = WORK,
                          .help =
                              "most memory the pack may take: bytes, or with K, M, G (8G); else "
                              "what the machine has free"},
    [OPT_SPACE] = {.name = "space",
                   .argument = "SPACE",
                   .type = ARGS_CHOICE,
                   .choices = "auto|bytes|tokens",
                   .initial = "auto",
                   .group = FUSION,
                   .commands = WORK,
                   .help = "what the members are fused in; auto: their tokens where all share a "
                           "vocabulary, else bytes; tokens: of others a reference's, see Mapping"},
    [OPT_POOL] = {.name = "pool",
                  .argument = "POOL",
                  .type = ARGS_CHOICE,
                  .choices = "log|linear",
                  .initial = "log",
                  .group = FUSION,
                  .commands = WORK,
                  .help = "log: weighted product of probabilities; linear: weighted sum"},
    [OPT_WEIGHTS] = {.name = "weights",
                     .argument = "HOW",
                     .type = ARGS_CHOICE,
                     .choices =
                         "exact|greedy|sim|free|em|bayes|hedge|uniform|top1|fixed:|dexperts:|cbtm",
                     .initial = "exact",
                     .group = FUSION,
                     .commands = WORK,
                     .help =
                         "how the weights come from the prompt; greedy: the paper's grid; free: "
                         "their sum is free, too; em, bayes: of the linear pool; hedge: a mixture "
                         "of pool and members that runs along a scored text; fixed:0.7,0.3 gives "
                         "them; dexperts:BASE,EXPERT,ANTI[,ALPHA]: a base steered by two others"},
    [OPT_DROP] = {.name = "drop",
                  .argument = "WHEN",
                  .type = ARGS_CHOICE,
                  .choices = "auto|off",
                  .initial = "auto",
                  .group = FUSION,
                  .commands = RUN | WEIGH | BENCH,
                  .help = "auto: in a pack of 16 members and more, those that cannot earn weight "
                          "(exact, em) stop reading the prompt early; off: all read all of it"},
    [OPT_SHRINK] = {.name = "shrink",
                    .argument = "K",
                    .type = ARGS_DOUBLE,
                    .maximum = 1e9,
                    .group = FUSION,
                    .commands = WORK | EVAL,
                    .help = "pull of exact and free toward the priors; 0: the pure problem"},
    [OPT_TAU] = {.name = "tau",
                 .argument = "T",
                 .type = ARGS_DOUBLE,
                 .minimum = 1e-6,
                 .maximum = 1e6,
                 .group = FUSION,
                 .commands = WORK | EVAL,
                 .help = "temperature of sim"},
    [OPT_EPSILON] =
        {.name = "epsilon",
         .argument = "E",
         .type = ARGS_DOUBLE,
         .minimum = 1e-9,
         .maximum = 0.5,
         .group = FUSION,
         .commands = WORK | EVAL,
         .help = "share of the probability from which the end of a token is evaluated (advanced)"},
    [OPT_ALIGN] = {.name = "align",
                   .argument = "HOW",
                   .type = ARGS_CHOICE,
                   .choices = "exact|first|mined",
                   .initial = "mined",
                   .group = MAPPING,
                   .commands = WORK | ALIGN,
                   .help = "the token of a vocabulary B that stands for a reference's; exact: one "
                           "of the same bytes; first: else the first token of those bytes in B's "
                           "own tokenisation; mined: else the token of B at the smallest edit "
                           "distance over bytes, the lowest id of several"},
    [OPT_FEED] = {.name = "feed",
                  .argument = "WHAT",
                  .type = ARGS_CHOICE,
                  .choices = "text|translated",
                  .initial = "text",
                  .group = MAPPING,
                  .commands = WORK,
                  .help =
                      "what members with another vocabulary read: the text in their own tokens, "
                      "or the tokens that stand for the reference's (the paper's way)"},
    [OPT_MASS] = {.name = "mass",
                  .argument = "WHOSE",
                  .type = ARGS_CHOICE,
                  .choices = "split|paper",
                  .initial = "split",
                  .group = MAPPING,
                  .commands = WORK,
                  .help = "a token that stands for several of the reference's: they share its "
                          "probability, or each has all of it (the paper's way)"},
    [OPT_REFERENCE] =
        {.name = "reference",
         .argument = "NAME",
         .type = ARGS_TEXT,
         .group = MAPPING,
         .commands = WORK,
         .help = "the member, by name or number from 0, whose tokens are the space; auto: the one "
                 "of the lowest bits/byte on the prompt"},
    [OPT_PROMPT] = {.name = "prompt",
                    .brief = "-p",
                    .argument = "TEXT",
                    .type = ARGS_TEXT,
                    .group = PROMPT,
                    .commands = WORK & ~CHAT,
                    .help = "the text"},
    [OPT_FILE] =
        {.name = "file",
         .brief = "-f",
         .argument = "FILE",
         .type = ARGS_TEXT,
         .group = PROMPT,
         .commands = WORK & ~CHAT,
         .file = true,
         .help = "the text from a file, every byte of it, at most 64 MiB; - reads stdin, as does "
                 "a pipe without -p and -f"},
    [OPT_SYSTEM_PROMPT] = {.name = "system-prompt",
                           .brief = "-sys",
                           .argument = "TEXT",
                           .type = ARGS_TEXT,
                           .group = PROMPT,
                           .commands = RUN,
                           .help = "the system's message, before all others; in run the text is "
                                   "then a user's message, and what is written the reply"},
    [OPT_CHAT_TEMPLATE] =
        {.name = "chat-template",
         .argument = "NAME",
         .type = ARGS_TEXT,
         .group = PROMPT,
         .commands = RUN,
         .help =
             "how the members write a chat, by llama.cpp's names: chatml, gemma, llama3 and so on; "
             "plain: ### User: and ### Assistant:; else as each model's file says; in run it "
             "makes the text a user's message"},
    [OPT_N_PREDICT] =
        {.name = "n-predict",
         .brief = "-n",
         .argument = "N",
         .type = ARGS_INT,
         .minimum = -1,
         .maximum = 1e9,
         .initial = "256",
         .group = SAMPLING,
         .commands = RUN,
         .help = "tokens to write; -1: until the text ends or the context is full; 0: none"},
    [OPT_TEMP] = {.name = "temp",
                  .argument = "T",
                  .type = ARGS_DOUBLE,
                  .maximum = 100,
                  .group = SAMPLING,
                  .commands = RUN,
                  .help = "temperature; 0: greedy"},
    [OPT_TOP_K] = {.name = "top-k",
                   .argument = "N",
                   .type = ARGS_INT,
                   .maximum = 1e9,
                   .group = SAMPLING,
                   .commands = RUN,
                   .help = "the N likeliest; 0: off"},
    [OPT_TOP_P] = {.name = "top-p",
                   .argument = "P",
                   .type = ARGS_DOUBLE,
                   .maximum = 1,
                   .group = SAMPLING,
                   .commands = RUN,
                   .help = "the likeliest that hold P of the probability; 1: off"},
    [OPT_MIN_P] = {.name = "min-p",
                   .argument = "P",
                   .type = ARGS_DOUBLE,
                   .maximum = 1,
                   .group = SAMPLING,
                   .commands = RUN,
                   .help = "those with at least P times the likeliest's; 0: off"},
    [OPT_REPEAT_PENALTY] = {.name = "repeat-penalty",
                            .argument = "X",
                            .type = ARGS_DOUBLE,
                            .minimum = 0.01,
                            .maximum = 100,
                            .group = SAMPLING,
                            .commands = RUN,
                            .help = "penalty of tokens that stand already; 1: off"},
    [OPT_REPEAT_LAST_N] = {.name = "repeat-last-n",
                           .argument = "N",
                           .type = ARGS_INT,
                           .minimum = -1,
                           .maximum = 1e9,
                           .group = SAMPLING,
                           .commands = RUN,
                           .help = "tokens that penalties look back at; 0: off, -1: all"},
    [OPT_PRESENCE_PENALTY] = {.name = "presence-penalty",
                              .argument = "X",
                              .type = ARGS_DOUBLE,
                              .minimum = -100,
                              .maximum = 100,
                              .group = SAMPLING,
                              .commands = RUN,
                              .help = "penalty once for a token that stands already; 0: off"},
    [OPT_FREQUENCY_PENALTY] = {.name = "frequency-penalty",
                               .argument = "X",
                               .type = ARGS_DOUBLE,
                               .minimum = -100,
                               .maximum = 100,
                               .group = SAMPLING,
                               .commands = RUN,
                               .help = "penalty for each time a token stands already; 0: off"},
    [OPT_IGNORE_EOS] = {.name = "ignore-eos",
                        .type = ARGS_FLAG,
                        .group = SAMPLING,
                        .commands = RUN,
                        .help = "never choose the end of the text"},
    [OPT_SEED] = {.name = "seed",
                  .brief = "-s",
                  .argument = "SEED",
                  .type = ARGS_UINT,
                  .group = SAMPLING,
                  .commands = RUN,
                  .help = "the same seed writes the same text; -1: a new one each time"},
    [OPT_STOP] = {.name = "stop",
                  .argument = "TEXT",
                  .type = ARGS_LIST,
                  .group = SAMPLING,
                  .commands = RUN,
                  .help = "end before this text"},
    [OPT_TOKENIZER] =
        {.name = "tokenizer",
         .argument = "NAME",
         .type = ARGS_TEXT,
         .group = SAMPLING,
         .commands =
             RUN | BENCH,
         .help = "display member: the member, by name or number from 0, among whose tokens is "
                 "chosen; else the one of the largest weight"},
    [OPT_CHOOSE] = {.name = "choose",
                    .argument = "WHAT",
                    .type = ARGS_CHOICE,
                    .choices = "tokens|bytes",
                    .initial = "tokens",
                    .group = SAMPLING,
                    .commands = RUN | BENCH,
                    .help = "choose among tokens or single bytes"},
    [OPT_LOGIT_BIAS] = LATER("logit-bias", NULL, RUN),
    [OPT_GRAMMAR_FILE] = {.name = "grammar-file",
                          .argument = "FILE",
                          .type = ARGS_TEXT,
                          .group = SAMPLING,
                          .commands = RUN,
                          .help = "the text is one of the GBNF grammar in FILE (docs/grammar.md)"},
    [OPT_JSON_SCHEMA] = {.name = "json-schema",
                         .argument = "TEXT|@FILE",
                         .type = ARGS_TEXT,
                         .group = SAMPLING,
                         .commands = RUN,
                         .help = "the text is JSON that satisfies the schema"},
    [OPT_LOGPROBS] = LATER("logprobs", NULL, RUN),
    [OPT_DRAFT] = LATER("draft", NULL, RUN),
    [OPT_CONTEXT_BYTES] =
        {.name = "context-bytes",
         .argument = "N",
         .type = ARGS_INT,
         .maximum = PTRDIFF_MAX / 1024,
         .group = SCORING,
         .commands = SCORE,
         .help = "the weights come from the first N bytes (of each window), the rest is scored; "
                 "else a third of them, at most 800"},
    [OPT_WINDOW] = {.name = "window",
                    .argument = "W",
                    .type = ARGS_INT,
                    .minimum = 2,
                    .maximum = PTRDIFF_MAX / 1024,
                    .group = SCORING,
                    .commands = SCORE,
                    .help = "score in windows of W bytes, each with its own context and weights, "
                            "and give the mean over the windows"},
    [OPT_WINDOWS] = {.name = "windows",
                     .argument = "N",
                     .type = ARGS_INT,
                     .minimum = 1,
                     .maximum = 1e9,
                     .group = SCORING,
                     .commands = SCORE,
                     .help = "with --window: only N windows, spread evenly over the text"},
    [OPT_THROUGH_GENERATION] = {.name = "through-generation",
                                .type = ARGS_FLAG,
                                .group = SCORING,
                                .commands = SCORE,
                                .help = "walk byte by byte through the path that generates"},
    [OPT_PER_BYTE] =
        {.name = "per-byte",
         .argument = "FILE",
         .type = ARGS_TEXT,
         .group = SCORING,
         .commands = SCORE,
         .file = true,
         .help = "write a line for each scored byte, parted by tabs: offset, log2 of the pack's "
                 "probability, of each member's, share of parked ends"},
    [OPT_NEXT] = {.name = "next",
                  .type = ARGS_FLAG,
                  .group = SCORING,
                  .commands = SCORE,
                  .help = "also give the 257 probabilities of what follows the text (JSON)"},
    [OPT_METHODS] =
        {.name = "methods",
         .argument = "LIST",
         .type = ARGS_TEXT,
         .initial = "exact,sim,greedy,uniform,top1,members",
         .group = ASKING,
         .commands = EVAL,
         .help = "ways of weighing and fusing, parted by commas: exact, sim, greedy, free, em, "
                 "bayes, hedge, uniform, top1, cbtm, fixed:0.7/0.3, dexperts:BASE/EXPERT/ANTI; "
                 ":log, :linear or :whole behind one says the pool (whole: a mixture of whole "
                 "options); members, member:NAME: each alone; canonical, canonical:NAME: the same "
                 "along canonical tokens; all"},
    [OPT_REFIT] = {.name = "refit",
                   .type = ARGS_FLAG,
                   .group = ASKING,
                   .commands = EVAL,
                   .help = "weights from question and option, for each option anew; else from the "
                           "question alone"},
    [OPT_SHOTS] = {.name = "shots",
                   .argument = "N",
                   .type = ARGS_INT,
                   .maximum = 1000,
                   .initial = "0",
                   .group = ASKING,
                   .commands = EVAL,
                   .help = "N answered questions stand before each; they are not asked"},
    [OPT_SHOTS_FILE] = {.name = "shots-file",
                        .argument = "FILE",
                        .type = ARGS_TEXT,
                        .group = ASKING,
                        .commands = EVAL,
                        .file = true,
                        .help =
                            "they come from this file; else they are the task's own first ones"},
    [OPT_LIMIT] = {.name = "limit",
                   .argument = "N",
                   .type = ARGS_INT,
                   .maximum = 1e9,
                   .initial = "0",
                   .group = ASKING,
                   .commands = EVAL,
                   .help = "ask N questions of each task; 0: all"},
    [OPT_ORDER_SEED] = {.name = "seed",
                        .argument = "SEED",
                        .brief = "-s",
                        .type = ARGS_INT,
                        .maximum = 9007199254740991.0,
                        .group = ASKING,
                        .commands = EVAL,
                        .help = "questions (and demonstrations) in an order drawn with it; else in "
                                "the file's"},
    [OPT_TEMPLATE] =
        {.name = "template",
         .argument = "TEXT",
         .type = ARGS_TEXT,
         .group = ASKING,
         .commands = EVAL,
         .help = "how a question is put: ask (Question: {query}\\nAnswer:), continue ({query}), or "
                 "a text with {query} in it, where \\n is a new line; else what the file's first "
                 "line says, else ask, but continue for sets that are known to go on with a text"},
    [OPT_SKIP_BAD] = {.name = "skip-bad",
                      .type = ARGS_FLAG,
                      .group = ASKING,
                      .commands = EVAL,
                      .help =
                          "leave out bad lines, and questions that are too long, with a warning"},
    [OPT_RESULTS] = {.name = "results",
                     .argument = "FILE",
                     .type = ARGS_TEXT,
                     .group = ASKING,
                     .commands = EVAL,
                     .file = true,
                     .help =
                         "keep every question's figures in this file (SQLite); the same command "
                         "goes on where it was stopped"},
    [OPT_N_PROMPT] = {.name = "n-prompt",
                      .argument = "N",
                      .type = ARGS_INT,
                      .minimum = 16,
                      .maximum = 1e6,
                      .initial = "512",
                      .group = MEASURING,
                      .commands = BENCH,
                      .help = "tokens of the prompt that is evaluated, about"},
    [OPT_N_GEN] = {.name = "n-gen",
                   .argument = "N",
                   .type = ARGS_INT,
                   .minimum = 1,
                   .maximum = 1e6,
                   .initial = "64",
                   .group = MEASURING,
                   .commands = BENCH,
                   .help = "tokens that are generated"},
    [OPT_N_DEPTH] = {.name = "n-depth",
                     .argument = "LIST",
                     .type = ARGS_TEXT,
                     .initial = "400,1600",
                     .group = MEASURING,
                     .commands = BENCH,
                     .help = "bytes of context before the generated text, one measurement each"},
    [OPT_REPEAT] = {.name = "repeat",
                    .argument = "N",
                    .type = ARGS_INT,
                    .minimum = 1,
                    .maximum = 1000,
                    .initial = "3",
                    .group = MEASURING,
                    .commands = BENCH,
                    .help = "the fastest of N runs counts"},
    [OPT_DUMP] = {.name = "dump",
                  .argument = "FILE",
                  .type = ARGS_TEXT,
                  .group = MAPPING,
                  .commands = ALIGN,
                  .file = true,
                  .help = "write the map, a line for each token of A, parted by tabs: its id, the "
                          "id of B's token, the distance; -1 and -1 where there is none"},
    [OPT_DUMP_BYTES] =
        {.name = "dump-bytes",
         .argument = "FILE",
         .type = ARGS_TEXT,
         .group = MAPPING,
         .commands = ALIGN,
         .file = true,
         .help =
             "write A's tokens of text, between which and B's distances are taken: id, tab, the "
             "bytes in hexadecimal"},
    [OPT_WORST] = {.name = "worst",
                   .argument = "N",
                   .type = ARGS_INT,
                   .maximum = 10000,
                   .initial = "10",
                   .group = MAPPING,
                   .commands = ALIGN,
                   .help = "show the N pairs of the largest distance"},
    [OPT_MAN] = {.name = "man",
                 .type = ARGS_FLAG,
                 .group = OUTPUT,
                 .commands = HELP,
                 .help = "as a man page"},
    [OPT_JSON] = {.name = "json",
                  .type = ARGS_FLAG,
                  .group = OUTPUT,
                  .commands = WORK | ALIGN | MODELS | VERSION | EVAL,
                  .help = "print one JSON object"},
    [OPT_ECHO] = {.name = "echo",
                  .type = ARGS_FLAG,
                  .group = OUTPUT,
                  .commands = COMPLETE,
                  .help = "print the prompt before what follows it"},
    [OPT_WHY] = {.name = "why",
                 .type = ARGS_FLAG,
                 .group = OUTPUT,
                 .commands = RUN,
                 .help = "for each piece, what each member thought of it and would have written"},
    [OPT_VERBOSE] = {.name = "verbose",
                     .brief = "-v",
                     .type = ARGS_FLAG,
                     .group = OUTPUT,
                     .commands = WORK | ALIGN | EVAL,
                     .help = "libllama's log on stderr"},
    [OPT_LOG_JSON] = {.name = "log-json",
                      .type = ARGS_FLAG,
                      .group = OUTPUT,
                      .commands = ALL,
                      .help = "stderr in JSON, one object a line"},
    [OPT_NO_PROGRESS] = {.name = "no-progress",
                         .type = ARGS_FLAG,
                         .group = OUTPUT,
                         .commands = WORK | ALIGN | MODELS | EVAL,
                         .help = "no progress and no table of members on stderr"},
};

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
         "outside libllama."},
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
     .summary = "Multiple choice: methods side by side, from one reading of the members.",
     .details =
         "A task is a file of JSON objects, one a line, with id, query, choices and gold. Members "
         "read each question once; every method weighs and fuses the same rows. accuracy: the "
         "option of the smallest loss; per byte: of the smallest loss per byte; gold nll: of the "
         "gold option after a softmax over losses per byte, nats. Differences are to the best "
         "member on these questions, with a paired bootstrap interval.\n\nExample: packllm eval "
         "copa.jsonl --methods all --limit 100 --results copa.db"},
    {.name = "help",
     .operands = "[COMMAND]",
     .max_operands = 1,
     .bit = HELP,
     .words = "run|chat|weigh|score|models|bench|align|eval|help|version|completion",
     .summary = "Tell about a command."},
    {.name = "version", .operands = "", .bit = VERSION, .summary = "Print the version."},
    {.name = "completion",
     .operands = "bash",
     .max_operands = 1,
     .bit = COMPLETION,
     .words = "bash",
     .summary = "Print a completion script for bash.",
     .details = "Example: eval \"$(packllm completion bash)\""},
    {.name = "serve", .operands = "", .summary = "", .later = true},
};

static const struct args_table table = {
    .program = "packllm",
    .prefix = "PACKLLM_",
    .summary = "Fuse several language models at test time: every prompt weighs them anew.",
    .version = PACKLLM_VERSION,
    .options = options,
    .n_options = N_OPTIONS,
    .commands = commands,
    .n_commands = sizeof commands / sizeof commands[0],
};

static void initial(enum option option, double value) {
    number_shortest(initials[option], value);
    options[option].initial = initials[option];
}

const struct args_table *options_table(void) {
    if (options[OPT_SHRINK].initial == NULL) {
        const struct packllm_session_params params = packllm_session_params_default();
        const struct packllm_sampling *sampling = &params.sampling;
        initial(OPT_SHRINK, params.shrink);
        initial(OPT_TAU, params.tau);
        initial(OPT_EPSILON, params.epsilon);
        initial(OPT_TEMP, sampling->temp);
        initial(OPT_TOP_K, sampling->top_k);
        initial(OPT_TOP_P, sampling->top_p);
        initial(OPT_MIN_P, sampling->min_p);
        initial(OPT_REPEAT_PENALTY, sampling->repeat_penalty);
        initial(OPT_REPEAT_LAST_N, sampling->repeat_last_n);
        initial(OPT_PRESENCE_PENALTY, sampling->presence_penalty);
        initial(OPT_FREQUENCY_PENALTY, sampling->frequency_penalty);
        initial(OPT_SEED, (double)sampling->seed);
    }
    return &table;
}
