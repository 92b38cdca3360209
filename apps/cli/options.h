/* options.h - the one table of commands and options (house example 9: one list, many uses). */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "common/args.h"

enum option {
    OPT_MODEL,
    OPT_PACK,
    OPT_HF_REPO,
    OPT_CACHE,
    OPT_CTX_SIZE,
    OPT_THREADS,
    OPT_N_GPU_LAYERS,
    OPT_ISOLATE,
    OPT_RPC,
    OPT_MEMORY,
    OPT_MEMORY_LIMIT,
    OPT_SPACE,
    OPT_POOL,
    OPT_WEIGHTS,
    OPT_DROP,
    OPT_SHRINK,
    OPT_TAU,
    OPT_EPSILON,
    OPT_SCORE_EPSILON,
    OPT_COVERS,
    OPT_ALIGN,
    OPT_FEED,
    OPT_MASS,
    OPT_REFERENCE,
    OPT_PROMPT,
    OPT_FILE,
    OPT_LOSSY,
    OPT_SYSTEM_PROMPT,
    OPT_CHAT_TEMPLATE,
    OPT_N_PREDICT,
    OPT_TEMP,
    OPT_TOP_K,
    OPT_TOP_P,
    OPT_MIN_P,
    OPT_REPEAT_PENALTY,
    OPT_REPEAT_LAST_N,
    OPT_PRESENCE_PENALTY,
    OPT_FREQUENCY_PENALTY,
    OPT_IGNORE_EOS,
    OPT_SEED,
    OPT_STOP,
    OPT_TOKENIZER,
    OPT_CHOOSE,
    OPT_LOGIT_BIAS,
    OPT_GRAMMAR_FILE,
    OPT_JSON_SCHEMA,
    OPT_LOGPROBS,
    OPT_DRAFT,
    OPT_CONTEXT_BYTES,
    OPT_WINDOW,
    OPT_WINDOWS,
    OPT_THROUGH_GENERATION,
    OPT_PER_BYTE,
    OPT_NEXT,
    OPT_METHODS,
    OPT_REFIT,
    OPT_WEIGHTS_MODE,
    OPT_SHOTS,
    OPT_SHOTS_FILE,
    OPT_LIMIT,
    OPT_ORDER_SEED,
    OPT_TEMPLATE,
    OPT_SKIP_BAD,
    OPT_RESULTS,
    OPT_FOLDS,
    OPT_CALIBRATE_WINDOW,
    OPT_TEMPERATURES,
    OPT_OUTPUT,
    OPT_FORCE,
    OPT_N_PROMPT,
    OPT_N_GEN,
    OPT_N_DEPTH,
    OPT_REPEAT,
    OPT_PARALLELS,
    OPT_DUMP,
    OPT_DUMP_BYTES,
    OPT_WORST,
    OPT_CONFIG,
    OPT_OPEN,
    OPT_HOST,
    OPT_PORT,
    OPT_API_KEY,
    OPT_API_KEY_FILE,
    OPT_PARALLEL,
    OPT_QUEUE,
    OPT_TIMEOUT,
    OPT_MAN,
    OPT_JSON,
    OPT_ECHO,
    OPT_WHY,
    OPT_VERBOSE,
    OPT_LOG_JSON,
    OPT_NO_PROGRESS,
    N_OPTIONS
};

/* Filled at the first call: defaults that the library knows are asked from it. */
const struct args_table *options_table(void);

/* Values of a parsed command line. */
static inline bool opt_set(const struct args *args, enum option option) {
    return args->values[option].set;
}
static inline int64_t opt_int(const struct args *args, enum option option) {
    return args->values[option].i;
}
static inline double opt_double(const struct args *args, enum option option) {
    return args->values[option].d;
}
static inline const char *opt_text(const struct args *args, enum option option) {
    return args->values[option].text;
}

#endif
