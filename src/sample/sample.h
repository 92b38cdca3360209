/* sample.h - a distribution in, a symbol out: llama.cpp's options, meaning and order: logit bias,
 * penalties, top-k, top-p, min-p, temperature, draw. Knows no packs.
 *
 * The draw is Gumbel-max with noise keyed by (seed, position, symbol): the same seed gives the same
 * text however many numbers were drawn before, drafting on or off, and in whatever order the
 * candidates come. temp <= 0 is argmax with ties to the lowest id; bias and penalties still apply.
 */
#ifndef SAMPLE_SAMPLE_H
#define SAMPLE_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packllm/packllm.h"

struct sample_candidate {
    int32_t id;
    /* Any constant may be added: only the repeat penalty sees it. It divides what is > 0 and
     * multiplies what is <= 0, so it acts on these numbers as they come, as llama.cpp's acts on raw
     * logits; nothing is normalised before it. To have llama.cpp's results with one member, pass
     * that member's raw logits (or the constant that leads back to them). With log pi (all <= 0) it
     * is a power: pi^penalty for what was said before, before normalisation. -inf: impossible; NaN
     * is a bug of the caller. */
    double logp; /* nats; changed by the chain */
};

struct sampler;

/* Checks every field (E_ARG names the field, its value and range). */
enum packllm_status sampler_open(struct sampler **out, const struct packllm_sampling *params,
                                 struct packllm_error *err);
void sampler_close(struct sampler *sampler);
/* Adds bias to the logp of id from now on (before anything else); a second bias for an id replaces
 * the first. -INFINITY bans it. E_ARG: NaN or +INFINITY. */
enum packllm_status sampler_bias(struct sampler *sampler, int32_t id, double bias,
                                 struct packllm_error *err);
/* Forgets the history of accepted symbols; biases stay. */
void sampler_reset(struct sampler *sampler);
/* A symbol became part of the text (prompt tokens too, as llama.cpp's tools do). */
enum packllm_status sampler_accept(struct sampler *sampler, int32_t id, struct packllm_error *err);
/* Runs the chain over candidates[n], n >= 1 (reordered and changed; ids distinct), for the draw at
 * `position` (0, 1, 2, … of the reply), and returns the index into candidates of the chosen one.
 * Where candidates are equal the lower id comes first, in every cut and in the draw. If nothing is
 * possible (all -inf) the lowest id is taken. ignore_eos is the caller's: the end is no candidate. */
size_t sampler_pick(struct sampler *sampler, struct sample_candidate *candidates, size_t n,
                    uint64_t position);

/* Stop strings over a stream of bytes: text that may be the beginning of a stop string is held
 * back. What counts is the stop string that is complete first; of those complete at the same byte
 * the longest. So the outcome does not depend on how the text is cut into pieces. */
struct stopper;
/* stop[n] NUL-terminated, copied; n = 0: nothing ever stops. E_ARG: an empty stop string. */
enum packllm_status stopper_open(struct stopper **out, const char *const *stop, size_t n,
                                 struct packllm_error *err);
void stopper_close(struct stopper *stopper);
void stopper_reset(struct stopper *stopper);
/* Adds text. *out_release: how many of the bytes held (since the last release, oldest first, this
 * text behind them) may be given out now. Returns true when a stop string is complete: then release
 * holds what stands before it, and the rest is dropped; after that every call returns true with
 * nothing to release, until stopper_reset. */
bool stopper_add(struct stopper *stopper, const char *text, size_t size, size_t *out_release);
/* Bytes still held back (given out when the text ends otherwise); 0 after a stop. */
size_t stopper_held(const struct stopper *stopper);

#endif
