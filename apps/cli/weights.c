/* weights.c - --weights and --pool: from their texts to parameters, and what they say about each
 * other. */
#include <string.h>

#include "base/alloc.h"
#include "cli.h"
#include "common/number.h"

static const char DEXPERTS[] = "dexperts:";

static int read_fixed(struct work *work, const char *text) {
    struct cli *cli = work->cli;
    double sum = 0;
    size_t n = 0;
    work->fixed = alloc_zero(work->n, sizeof *work->fixed);
    if (work->fixed == NULL) {
        return ui_fail(cli, EXIT_WORK, "out of memory");
    }
    for (const char *p = text; p != NULL; n++) {
        char one[64];
        const char *comma = strchr(p, ',');
        size_t size = comma != NULL ? (size_t)(comma - p) : strlen(p);
        double weight = -1;
        if (size < sizeof one) {
            memcpy(one, p, size);
            one[size] = '\0';
        }
        if (size >= sizeof one || number_double(one, &weight) != NUMBER_OK || weight < 0 ||
            weight > 1e9) {
            return ui_fail(cli, EXIT_USE,
                           "--weights fixed:%s: '%.*s' is not a weight; numbers from 0 to 1 are "
                           "wanted, parted by commas",
                           text, (int)(size < 64 ? size : 64), p);
        }
        if (n < work->n) {
            work->fixed[n] = weight;
        }
        sum += weight;
        p = comma != NULL ? comma + 1 : NULL;
    }
    if (n != work->n) {
        return ui_fail(cli, EXIT_USE, "--weights fixed:%s: %zu weights for %zu members", text, n,
                       work->n);
    }
    if (!(sum > 0)) {
        return ui_fail(cli, EXIT_USE, "--weights fixed:%s: at least one must be above 0", text);
    }
    return EXIT_FINE;
}

/* Which pool: what --pool says, unless the weigher is for the other one. */
static int read_pool(struct work *work) {
    const struct args *args = &work->cli->args;
    struct packllm_session_params *session = &work->session_params;
    enum packllm_weigher weigher = session->weigher;
    const char *name = packllm_weigher_name(weigher);
    bool linear = strcmp(opt_text(args, OPT_POOL), "linear") == 0;
    bool only_linear = weigher == PACKLLM_WEIGH_EM || weigher == PACKLLM_WEIGH_BAYES;
    if (only_linear && !linear && args->values[OPT_POOL].source != ARGS_DEFAULT) {
        return ui_fail(work->cli, EXIT_USE,
                       "--weights %s is for --pool linear, which it implies; there is no %s of the "
                       "log pool",
                       name, name);
    }
    if ((weigher == PACKLLM_WEIGH_FREE || weigher == PACKLLM_WEIGH_DEXPERTS) && linear) {
        return ui_fail(work->cli, EXIT_USE, "--weights %s is for --pool log", name);
    }
    session->pool = linear || only_linear ? PACKLLM_POOL_LINEAR : PACKLLM_POOL_LOG;
    return EXIT_FINE;
}

/* A cap that the weigher does not look at is no mistake, but worth a word. */
static void warn_caps(struct work *work) {
    enum packllm_weigher weigher = work->session_params.weigher;
    if (weigher == PACKLLM_WEIGH_EXACT || weigher == PACKLLM_WEIGH_FREE ||
        weigher == PACKLLM_WEIGH_HEDGE) {
        return;
    }
    for (size_t i = 0; i < work->n; i++) {
        if (work->specs[i].member.cap < 1) {
            ui_warn(work->cli, "--weights %s does not keep cap=; exact, free and hedge do",
                    packllm_weigher_name(weigher));
            return;
        }
    }
}

int work_weigher(struct work *work) {
    const struct args *args = &work->cli->args;
    const char *text = opt_text(args, OPT_WEIGHTS);
    const char *name;
    int code = EXIT_FINE;
    if (strncmp(text, "fixed:", 6) == 0) {
        work->session_params.weigher = PACKLLM_WEIGH_FIXED;
        code = read_fixed(work, text + 6);
        work->session_params.fixed = work->fixed;
    } else if (strncmp(text, DEXPERTS, sizeof DEXPERTS - 1) == 0) {
        work->session_params.weigher = PACKLLM_WEIGH_DEXPERTS;
    } else {
        for (int i = 0; (name = packllm_weigher_name((enum packllm_weigher)i)) != NULL; i++) {
            if (strcmp(text, name) == 0) {
                work->session_params.weigher = (enum packllm_weigher)i;
            }
        }
    }
    bool scores = (args->command->bit & args->table->options[OPT_CONTEXT_BYTES].commands) != 0;
    if (code == EXIT_FINE && work->session_params.weigher == PACKLLM_WEIGH_HEDGE && !scores) {
        code = ui_fail(work->cli, EXIT_USE,
                       "--weights hedge is for packllm score: it runs along a text that is known");
    }
    if (code == EXIT_FINE) {
        code = read_pool(work);
    }
    if (code == EXIT_FINE) {
        warn_caps(work);
    }
    return code;
}

int work_experts(struct work *work) {
    const char *text = opt_text(&work->cli->args, OPT_WEIGHTS);
    struct packllm_session_params *session = &work->session_params;
    if (session->weigher != PACKLLM_WEIGH_DEXPERTS) {
        return EXIT_FINE;
    }
    const char *rest = text + sizeof DEXPERTS - 1;
    int parts = 0, code = EXIT_FINE;
    for (; rest != NULL && parts < 4 && code == EXIT_FINE; parts++) {
        const char *comma = strchr(rest, ',');
        size_t size = comma != NULL ? (size_t)(comma - rest) : strlen(rest);
        char *one = alloc_text(rest, size);
        if (one == NULL) {
            return ui_fail(work->cli, EXIT_WORK, "out of memory");
        }
        if (parts < 3) {
            code = work_member(work, "--weights dexperts", one, &session->experts[parts]);
        } else if (number_double(one, &session->alpha) != NUMBER_OK || !(session->alpha >= 0)) {
            code = ui_fail(work->cli, EXIT_USE, "--weights %s: '%s' is no alpha from 0 to 16", text,
                           one);
        }
        base_free(one);
        rest = comma != NULL ? comma + 1 : NULL;
    }
    if (code == EXIT_FINE && (parts < 3 || rest != NULL)) {
        code =
            ui_fail(work->cli, EXIT_USE,
                    "--weights %s: dexperts:BASE,EXPERT,ANTI[,ALPHA] is wanted, members by name or "
                    "number from 0",
                    text);
    }
    return code;
}
