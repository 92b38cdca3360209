/* stretch.h - stretches of readings as problems for crowd.h: in bytes, and in tokens. */
#ifndef SCORE_STRETCH_H
#define SCORE_STRETCH_H

#include "score/crowd.h"
#include "score/tokens.h"

struct score_stretch_of {
    enum packllm_pool pool;
    const char *text;
    const struct score_reading *readings; /* [all members]; those asked about have read so far */
    const struct score_tokens *tokens;    /* the same in token space, else NULL */
};
/* of must outlive what is returned. */
struct score_stretch score_stretch_make(struct score_stretch_of *of);

#endif
