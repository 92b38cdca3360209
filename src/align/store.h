/* store.h - maps on disk, so that a pair of vocabularies is aligned once. A file is named by the hash
 * of what it follows from: the bytes and kinds of both vocabularies, the method, the version of the
 * format. It is written beside its place and renamed, so readers see whole files and two writers at
 * once both succeed with the same bytes. */
#ifndef ALIGN_STORE_H
#define ALIGN_STORE_H

#include "align/private.h"

struct align_key align_key_of(const struct align_request *request);

/* A file's contents as the map of key with n and n_member tokens, into out; or says why it is not
 * that map, and leaves out alone. */
const char *align_parse(struct align_map *out, const void *bytes, size_t size,
                        const struct align_key *key, uint32_t n, uint32_t n_member);

/* align_build, by way of folder/maps for ALIGN_MINED (the others are faster made than read, and
 * ALIGN_FIRST depends on more than the key). *out_cached: it was read. A file that is damaged, or a
 * folder that cannot be written, is no error but a warning: a line of text of at most `room` bytes,
 * "" for none. folder NULL: nothing is read or written. */
enum packllm_status align_cached(struct align_map *out, const struct align_request *request,
                                 const char *folder, bool *out_cached, char *warning, size_t room,
                                 struct packllm_error *err);

#endif
