/* table.c - tables for people: columns that hold in 80, bars on a terminal, plain in a pipe. */
#include <math.h>
#include <string.h>

#include "cli.h"
#include "common/number.h"

enum { NAME_MOST = 24, BAR = 14 };

/* Columns for the names: as wide as the widest, within bounds. */
static size_t widest(size_t now, const char *name) {
    size_t columns = tty_columns(name, strlen(name));
    columns = columns > NAME_MOST ? NAME_MOST : columns;
    return columns > now ? columns : now;
}

/* A number in `width` columns, "-" where there is none. */
static void add_number(struct buf *out, int width, int digits, double value) {
    if (isfinite(value)) {
        (void)buf_printf(out, "  %*.*f", width, value >= 1e6 ? 0 : digits, value);
    } else {
        (void)buf_printf(out, "  %*s", width, "-");
    }
}

static void add_weight(struct buf *out, double weight, int fd) {
    add_number(out, 6, 3, weight);
    if (tty_is(fd)) {
        (void)buf_add_text(out, "  ");
        tty_bar(out, weight, BAR, tty_colour(fd));
    }
}

static void add_head(struct buf *out, size_t name, int fd) {
    tty_pad(out, "member", name);
    (void)buf_printf(out, "  %6s", "weight");
    if (tty_is(fd)) {
        (void)buf_printf(out, "  %*s", BAR, "");
    }
}

/* Of a member whose context is shorter than the text. */
static void add_windows(struct buf *out, const char *name, uint64_t windows) {
    if (windows > 1) {
        tty_safe(out, name, strlen(name), true);
        (void)buf_printf(out, " reads in %llu windows: its context is shorter than the text\n",
                         (unsigned long long)windows);
    }
}

void table_weights(struct buf *out, const struct packllm_weights *weights, int fd) {
    size_t name = 6;
    for (size_t i = 0; i < weights->n_members; i++) {
        name = widest(name, weights->members[i].name);
    }
    add_head(out, name, fd);
    bool some = weights->dropped > 0;
    (void)buf_printf(out, "  %9s  %10s  %7s%s\n", "bits/byte", "perplexity", "tokens",
                     some ? "  dropped at" : "");
    for (size_t i = 0; i < weights->n_members; i++) {
        const struct packllm_member_weight *member = &weights->members[i];
        tty_pad(out, member->name, name);
        add_weight(out, member->weight, fd);
        add_number(out, 9, 4, member->bits_per_byte);
        add_number(out, 10, 2, member->perplexity);
        (void)buf_printf(out, "  %7llu", (unsigned long long)member->tokens);
        if (member->dropped) {
            (void)buf_printf(out, "  %10llu", (unsigned long long)member->bytes);
        }
        (void)buf_add_text(out, "\n");
    }
    tty_pad(out, "pack", name);
    (void)buf_printf(out, "  %6s", packllm_weigher_name(weights->weigher));
    if (tty_is(fd)) {
        (void)buf_printf(out, "  %*s", BAR, "");
    }
    add_number(out, 9, 4, weights->bits_per_byte);
    (void)buf_printf(out, "\n%llu bytes, %s pool", (unsigned long long)weights->bytes,
                     packllm_pool_name(weights->pool));
    if (isfinite(weights->gap)) {
        (void)buf_printf(out, ", gap %.1e nats/byte, %u passes", weights->gap, weights->passes);
    }
    if (isfinite(weights->prequential)) {
        (void)buf_printf(out, ", %.4f bits/byte running", weights->prequential);
    }
    (void)buf_printf(out, ", read in %.2f s\n", weights->seconds_evaluate);
    if (some) {
        (void)buf_printf(out,
                         "%zu of %zu members stopped reading early, their figures are of the bytes "
                         "they read;\nby these each could take off %.4f bits/byte at most, %.4f "
                         "three standard errors up\n",
                         weights->dropped, weights->n_members,
                         weights->gain_likely * 1.4426950408889634,
                         weights->gain_most * 1.4426950408889634);
    }
    for (size_t i = 0; i < weights->n_members; i++) {
        add_windows(out, weights->members[i].name, weights->members[i].windows);
    }
}

void table_scores(struct buf *out, const struct table_score *score, int fd) {
    size_t name = 6;
    for (size_t i = 0; i < score->n; i++) {
        name = widest(name, score->members[i].name);
    }
    add_head(out, name, fd);
    (void)buf_printf(out, "  %9s  %9s  %8s  %7s\n", "bits/byte", "bytewise", "forwards", "tokens");
    for (size_t i = 0; i < score->n; i++) {
        const struct packllm_member_score *member = &score->members[i];
        tty_pad(out, member->name, name);
        add_weight(out, member->weight, fd);
        add_number(out, 9, 4, member->bits_per_byte);
        add_number(out, 9, 4, member->bits_per_byte_model);
        (void)buf_printf(out, "  %8llu  %7llu\n", (unsigned long long)member->forwards,
                         (unsigned long long)member->tokens);
    }
    tty_pad(out, "pack", name);
    (void)buf_printf(out, "  %6s", "");
    if (tty_is(fd)) {
        (void)buf_printf(out, "  %*s", BAR, "");
    }
    add_number(out, 9, 4, score->bits_per_byte);
    (void)buf_printf(out, "\n%llu bytes scored after %llu of context",
                     (unsigned long long)score->bytes, (unsigned long long)score->context_bytes);
    if (score->windows > 1) {
        (void)buf_printf(out, " each, mean of %llu windows", (unsigned long long)score->windows);
    }
    if (score->resyncs > 0) {
        (void)buf_printf(out, ", %llu resyncs", (unsigned long long)score->resyncs);
    }
    const struct packllm_member_score *best = &score->members[score->best];
    (void)buf_add_text(out, "\n");
    if (isfinite(best->bits_per_byte) && best->bits_per_byte > 0) {
        (void)buf_printf(out, "the pack takes %+.2f %% bits against the best member alone (",
                         100 * (score->bits_per_byte / best->bits_per_byte - 1));
        tty_safe(out, best->name, strlen(best->name), true);
        (void)buf_add_text(out, ")\n");
    }
    for (size_t i = 0; i < score->n; i++) {
        bool cut =
            score->members[i].windows > score->windows; /* one a window of the text at least */
        add_windows(out, score->members[i].name, cut ? score->members[i].windows : 1);
    }
}

static void add_size(struct buf *out, uint64_t bytes) {
    char text[NUMBER_TEXT];
    number_size(text, bytes);
    (void)buf_printf(out, "  %10s", text);
}

static void memory_row(struct buf *out, size_t name_width, const char *name,
                       const struct packllm_memory *memory) {
    tty_pad(out, name, name_width);
    add_size(out, memory->weights);
    add_size(out, memory->kv);
    add_size(out, memory->buffers);
    add_size(out, memory->total);
    (void)buf_add_text(out, "\n");
}

void table_memory(struct buf *out, const struct work *work, const struct packllm_memory *total,
                  const struct packllm_memory *members) {
    size_t name = 6;
    for (size_t i = 0; i < work->n; i++) {
        name = widest(name, work->specs[i].name);
    }
    tty_pad(out, "member", name);
    (void)buf_printf(out, "  %10s  %10s  %10s  %10s\n", "weights", "KV cache", "buffers", "total");
    for (size_t i = 0; i < work->n; i++) {
        memory_row(out, name, work->specs[i].name, &members[i]);
    }
    memory_row(out, name, "pack", total);
    if (total->contexts < work->n) {
        (void)buf_printf(out, "at most %u contexts are open at once while the members read\n",
                         (unsigned)total->contexts);
    }
    if (total->available > 0) {
        char text[NUMBER_TEXT];
        number_size(text, total->available);
        (void)buf_printf(out, "%s are free%s\n", text,
                         total->total > total->available ? ": not enough" : "");
    }
}
