/* metrics.c - counters as Prometheus reads them. */
#include "server/private.h"

void metrics_write(const struct metrics *metrics, struct buf *out) {
    static const struct {
        const char *name, *kind, *help;
    } rows[] = {
#define X(id, name, kind, help) {name, kind, help},
        METRICS(X)
#undef X
    };
    for (int i = 0; i < N_METRICS; i++) {
        (void)buf_printf(out, "# HELP packllm_%s %s\n# TYPE packllm_%s %s\npackllm_%s %llu\n",
                         rows[i].name, rows[i].help, rows[i].name, rows[i].kind, rows[i].name,
                         (unsigned long long)atomic_load(&metrics->value[i]));
    }
}
