/* pre.h - pretokenisers by name: how a text is cut before merges, as `tokenizer.ggml.pre` says it. */
#ifndef CANON_PRE_H
#define CANON_PRE_H

#include <stdbool.h>

#include "canon/pattern.h"

/* One pass: cuts every piece further, at the matches of a pattern or by a rule of its own. */
enum pre_rule {
    PRE_PATTERN,
    PRE_TRAILING, /* white space at a piece's end: `\s+$`, which as a pattern would be quadratic */
    PRE_THREES,   /* digits by threes from the right: an empty match before (\d{3})+(?!\d) */
    PRE_NUMBERS   /* numbers by threes from the right, the first with what stands before it */
};

enum { PRE_PASSES = 8 };

struct pre {
    struct {
        enum pre_rule rule;
        struct pattern *pattern;
    } pass[PRE_PASSES];
    unsigned n;
    bool whole_first;     /* a piece that is a token is one, without merges ("ignore_merges") */
    bool spaces_as_marks; /* SentencePiece-like: spaces are U+2581, bytes are <0xXX> */
    bool newline_runs;    /* a run of newlines that is a token is one */
};

/* name "" is the default of files without one. *known false, and *out empty: none of ours. */
enum packllm_status pre_open(struct pre *out, const char *name, bool *known,
                             struct packllm_error *err);
void pre_done(struct pre *pre);
size_t pre_memory(const struct pre *pre);

/* Room of pre_cut: ends of pieces in characters, and the match's stack. */
struct pre_work {
    uint32_t *cut, *next; /* [room] */
    size_t n, room;
    struct pattern_stack stack;
};
void pre_work_done(struct pre_work *w);

/* Cuts chars[0..n) (n > 0): work->cut[0..work->n) are the ends of the pieces, ascending. */
enum packllm_status pre_cut(const struct pre *pre, const struct canon_char *chars, size_t n,
                            struct pre_work *work, struct packllm_error *err);

#endif
