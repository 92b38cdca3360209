/* bench.h - what the two files of `packllm bench` share. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "base/buf.h"
#include "cli.h"
#include "common/number.h"

enum { BENCH_PARALLEL = 15 }; /* texts at a time, at most */

struct row {
    const char *what; /* "member", "members" (all that work, one after the other), "pack" */
    const char *name;
    char test[NUMBER_TEXT];
    double tokens, bytes, seconds;
    double overhead, glue; /* NAN: none */
    uint64_t context_bytes;
    size_t parallel; /* texts at a time; 0: not asked for */
    double ratio;    /* bytes a second over those of one text at a time; NAN: none */
};

struct bench {
    struct work *work;
    const struct buf *given; /* text of the user, may be empty */
    struct buf text;         /* what is read */
    size_t n;                /* members */
    struct row *rows;        /* [n_rows] */
    size_t n_rows;
    int64_t repeat;
};

/* cmd_bench.c: `size` bytes into text, from the (k / n)th of what there is on, repeated as often as
 * needed, whole characters. */
int bench_text(struct bench *bench, size_t size, size_t k, size_t n);
/* A row of the test; NULL: no memory. Pointers to rows before it are void. */
struct row *bench_row(struct bench *bench, const char *what, const char *name);
const char *bench_member(const struct bench *bench, size_t member);

/* bench_many.c: n texts at a time, the pack and the members alone. */
int bench_many(struct bench *bench, int64_t tokens, size_t depth, size_t n);
/* --parallel: each number to out[BENCH_PARALLEL] (out_n of them, ascending, 1 among them; 0: not given). */
int bench_parallel(struct cli *cli, size_t *out, size_t *out_n);

#endif
