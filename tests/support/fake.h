/* fake.h - small exact language models for tests: a vocabulary that is awkward in one way, a
 * byte-pair tokenizer with ranks (so that the canonical tokenisation is not the longest match), and
 * logits that are a keyed function of the last two tokens. Everything can be computed again by a
 * test from the history alone, to the bit. */
#ifndef TESTS_FAKE_H
#define TESTS_FAKE_H

#define PACKLLM_EXPERIMENTAL
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packllm/packllm.h"
#include "vocab/table.h"

enum fake_vocabulary {
    FAKE_BYTES,    /* the 256 bytes and no more */
    FAKE_NESTED,   /* tokens within tokens; ranks make a|bc canonical although abc is a token */
    FAKE_UTF8,     /* tokens that begin or end inside a character */
    FAKE_FALLBACK, /* characters first, bytes <0xXX> where there is none (SentencePiece's way):
                      ASCII letters stand twice with the same bytes */
    FAKE_TWINS,    /* pairs of tokens with equal bytes, the second never canonical */
    FAKE_USER,     /* user-defined tokens, cut out of the text before any merge, longest first */
    FAKE_LACKING,  /* no token for the bytes 0x01..0x08, 'q' and 0xf0..0xff */
    FAKE_VOCABULARIES
};

struct fake_params {
    uint64_t seed;
    double scale;    /* spread of the logits: 0 uniform, 4 lively, 20 nearly certain */
    double lost;     /* share of (history, token) pairs with logit -inf */
    double end_bias; /* added to the end token's logit: -8 makes texts long */
    uint32_t n_ctx;
    bool no_start; /* histories begin with no token */
};

struct fake;

struct fake_params fake_params_default(void);
/* Aborts where memory ends: tests only. */
struct fake *fake_open(enum fake_vocabulary vocabulary, const struct fake_params *params);
void fake_close(struct fake *f);
/* The member of it, to be given to member_own_open or packllm_pack_open_own; f must outlive it. */
struct packllm_own_member fake_member(const struct fake *f, const char *name);

uint32_t fake_size(const struct fake *f); /* tokens */
int32_t fake_end(const struct fake *f);   /* the end token */
/* The canonical tokenisation; < 0: a byte cannot be spelled (or cap is too small). */
long fake_tokenize(const struct fake *f, const char *text, size_t size, int32_t *out, size_t cap);
void fake_logits(const struct fake *f, const int32_t *history, size_t n, float *out_logits);
/* An own member's tokens are all VOCAB_NORMAL; this marks the user-defined and byte-fallback ones. */
void fake_mark_kinds(const struct fake *f, struct vocab_table *table);
/* How often logits were asked for. */
uint64_t fake_calls(const struct fake *f);

/* Valid UTF-8 of 1..max bytes, of letters that these vocabularies merge, other ASCII, and some
 * two-, three- and four-byte characters. plain: nothing that FAKE_LACKING cannot spell. */
size_t fake_text(uint64_t *rng, char *out, size_t max, bool plain);

#endif
