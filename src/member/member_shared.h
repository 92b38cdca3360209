/* member_shared.h - several timelines in one context of a member: what they evaluate at the same time
 * travels as one batch, so the weights are read once for all of them.
 *
 * Each timeline is driven by a thread of its own. A thread that wants rows waits until every other
 * running thread waits too (or has left); then one of them evaluates for all. It does not wait longer
 * than the last batch took: others may be busy without a model. The threads are known by enter and
 * leave, which the pack calls around its public functions. Batches are formed per member. A long request
 * (a prompt) travels in portions, the short ones first, so nobody waits for a whole prompt, and a batch
 * takes a fraction of a second. While a much shorter prompt is read it pauses, for a bounded number of
 * batches.
 *
 * Rows depend on the batch they travelled in by rounding, as libllama's sums do.
 */
#ifndef MEMBER_MEMBER_SHARED_H
#define MEMBER_MEMBER_SHARED_H

#include "member/member.h"

/* One for all members of a pack: it counts the threads that run. All functions from any thread. */
struct member_gate;

enum packllm_status member_gate_open(struct member_gate **out, struct packllm_error *err);
void member_gate_close(struct member_gate *gate); /* NULL allowed */
void member_gate_enter(struct member_gate *gate); /* NULL allowed: nothing is shared */
void member_gate_leave(struct member_gate *gate);
/* A thread that leaves between two steps will come again at once: batches wait for it a moment.
 * *ticket: the timeline's, 0 at first; expected false: it is here, or will not come. */
void member_gate_expect(struct member_gate *gate, unsigned *ticket, bool expected);

/* A member whose first n contexts share one context of `real`, which has room for n times its n_seq
 * histories, and is closed with it. On an error real stays the caller's. */
enum packllm_status member_shared_open(struct member **out, struct member *real, uint32_t n,
                                       struct member_gate *gate, struct packllm_error *err);

/* Sequence dst of one timeline becomes the first n tokens of sequence src of another one, of the same
 * shared member: its cells are then both's. E_UNSUPPORTED: they share no context. Threads: both timelines
 * must be the caller's. */
enum packllm_status member_shared_copy(struct member_context *to, int32_t dst,
                                       const struct member_context *from, int32_t src, uint32_t n,
                                       struct packllm_error *err);

#endif
