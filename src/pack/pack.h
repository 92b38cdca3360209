/* pack.h - what the files of the pack room share: the two handles of the public API. */
#ifndef PACK_PACK_H
#define PACK_PACK_H

#define PACKLLM_EXPERIMENTAL
#include <pthread.h>
#include <stdatomic.h>

#include "align/align.h"
#include "base/buf.h"
#include "base/utf8.h"
#include "cbtm/cbtm.h"
#include "cover/cover.h"
#include "fuse/fuse.h"
#include "member/member.h"
#include "member/member_shared.h"
#include "packllm/packllm.h"
#include "sample/sample.h"
#include "score/mapped.h"
#include "score/score.h"
#include "score/tokens.h"
#include "vocab/prefix.h"

enum { PACK_BLOCK = 64 }; /* bytes between which a running lambda stays */

struct packllm_pack {
    size_t n;
    struct member **members;    /* [n] */
    struct prefix_tree **trees; /* [n]; members of one vocabulary share one */
    double *prior, *cap;        /* [n] prior sums to 1 */
    struct packllm_params params;
    size_t n_contexts;        /* that stay open while the members read; one more is, for the next */
    size_t n_writing;         /* that may be open while text is written */
    struct member_gate *gate; /* of the threads that drive sessions; NULL: one thread does */
    char **domain;            /* [n] paths, or NULL */
    bool view;                /* members and trees are another pack's */
    struct cbtm *cbtm;        /* of them, once it is asked for */
    pthread_mutex_t lock;     /* of cbtm: sessions may be opened by any thread */
};

/* A member that stopped reading early. */
struct pack_dropped {
    size_t after;        /* bytes; 0: it did not stop */
    double likely, most; /* see struct packllm_member_weight */
};

/* Fusing in the tokens of a reference, which not all members share. */
struct pack_mapped {
    bool on;
    size_t reference; /* of the text at hand */
    bool made;        /* maps stand, and are of: */
    size_t made_for;
    bool *shares;           /* [n] has the reference's vocabulary: no map */
    struct score_map *maps; /* [n] empty until needed */
    float **mass;   /* [n] a row over the reference's tokens while text is written, or NULL */
    double **block; /* [n] */
};

struct packllm_session {
    struct packllm_pack *pack;
    struct packllm_session_params params;
    double *fixed;
    bool may_use_tokens; /* the members share a vocabulary, and bytes were not asked for */
    bool in_tokens;      /* the last text was read in it */
    struct pack_mapped mapped;
    char *align_cache;
    char **stop;
    struct cover **covers;          /* [n] opened when first needed */
    struct score_reading *readings; /* [n] of the prompt */
    struct score_tokens *told;      /* [n] of the last prompt, where it was read in tokens */
    double *lambda;                 /* [n] */
    struct pack_dropped *dropped;   /* [n] */
    double *nearness;               /* [n] weights of cbtm */
    struct packllm_weights weights;
    struct packllm_member_weight *member_weights; /* [n] */
    struct packllm_member_stats *member_stats;    /* [n] */
    struct packllm_member_score *member_scores;   /* [n] */
    atomic_bool cancel;
    bool ready;      /* a prompt stands: steps may follow */
    bool started;    /* the first step was taken */
    int progressing; /* member whose evaluation reports progress */
    unsigned ticket; /* of member_gate_expect: a step is likely to follow at once */

    size_t display; /* member whose tokens are chosen among */
    struct sampler *sampler;
    struct stopper *stopper;
    bool stops_more;        /* it has a string beside the session's */
    struct chat *chat;      /* the conversation, or NULL: the timeline began with a text */
    struct buf prompt;      /* the text that the timeline began with */
    struct buf text;        /* what was generated, held text included */
    size_t emitted;         /* bytes of it given out */
    size_t releasable;      /* bytes of it that no stop string can still take back */
    struct utf8_state utf8; /* at the end of text */
    int32_t pending;        /* chosen and not yet evaluated: token or byte; -1: none */
    bool inside;            /* the text ends inside a token of the display member's: see begun.c */
    bool back_to_tokens;    /* in token space, but for that token */
    uint32_t begun;         /* bytes of the token chosen last that stood already, */
    unsigned begun_index;   /* and the history that it follows */
    uint64_t position;      /* steps taken */
    bool closing;           /* the end is decided; held text goes out first */
    enum packllm_finish finish;
    uint64_t prompt_tokens, tokens;
    uint64_t *forwards_before, *tokens_before; /* [n] at the end of the prompt */
    double *seconds_before;
    double normaliser_min, normaliser_max;
    uint64_t jensen_checked, jensen_violations; /* of the reply's bytes, with params.why */
    double seconds_prompt, seconds_generate;

    bool known;     /* begun with an empty text: tokens may be forced */
    bool first;     /* nothing stands yet, and the display member puts a space before a text */
    int32_t forced; /* the token that the choice must be, or -1 */
    /* The display member's row where a text is read in one go; NULL: the cover has it. */
    const struct cover_tokens *given_row;
    struct packllm_bias *bias;      /* [params.n_bias] */
    struct packllm_top *top;        /* [params.n_top] */
    size_t n_top;                   /* of the last step */
    struct choice *choice;          /* work space of choose.c */
    struct constraint *constraint;  /* what a reply may be; NULL: anything */
    struct packllm_why_member *why; /* [n] */
    /* The parameters'; constraint is it, until the reply has become free text. */
    struct constraint *constraint_given;
};

/* space.c: token space. May the session use it? E_ARG: it is asked for, and cannot. */
enum packllm_status pack_choose_space(struct packllm_session *s, struct packllm_error *err);
/* The members read text in tokens; readings, lambda and *w. */
enum packllm_status pack_read_tokens(struct packllm_session *s, const char *text, size_t size,
                                     struct score_weights *w, struct packllm_error *err);
/* What packllm_session_score does, in tokens. */
enum packllm_status pack_score_tokens(struct packllm_session *s, const char *text, size_t size,
                                      size_t context, struct packllm_score *out,
                                      struct packllm_error *err);

/* Member i reads text in its own tokens, into *out and its reading. go_on: as score_read_tokens. */
enum packllm_status pack_read_own_tokens(struct packllm_session *s, size_t i, const char *text,
                                         size_t size, size_t context, bool go_on,
                                         struct score_tokens *out, struct packllm_error *err);
bool pack_same_vocabulary(const struct packllm_session *s, size_t a, size_t b, uint32_t *differs);

/* mapped.c: token space of members with different vocabularies. */
enum packllm_status pack_mapped_open(struct packllm_session *s, struct packllm_error *err);
void pack_mapped_close(struct packllm_session *s);
/* All members' readings into tokens[n], of the reference's positions. The first `weighed` bytes choose
 * the reference; figures of canonical are behind `context`. */
enum packllm_status pack_mapped_read(struct packllm_session *s, const char *text, size_t size,
                                     size_t weighed, size_t context, struct score_tokens *tokens,
                                     struct packllm_error *err);
/* While text is written: the member goes on by the display token; its row over the display tokens. */
enum packllm_status pack_tokens_advance(struct packllm_session *s, size_t i, int32_t token,
                                        struct packllm_error *err);
enum packllm_status pack_tokens_row(struct packllm_session *s, size_t i, struct cover_tokens *out,
                                    struct packllm_error *err);
enum packllm_status pack_tokens_read_again(struct packllm_session *s, size_t i,
                                           struct packllm_error *err);
/* alignment.c: from the tokens of a reference to a member's, which change nothing. As align_cached. */
struct pack_align {
    struct member *reference, *member;
    enum packllm_align method;
    int n_threads; /* at least 1 */
    const char *cache;
    bool (*progress)(void *ctx, double share); /* or NULL */
    void *progress_ctx;
};
enum packllm_status pack_align(struct align_map *out, const struct pack_align *a, char *warning,
                               size_t room, bool *out_cached, struct packllm_error *err);

/* session.c: around what one thread does with a session. */
void pack_enter(struct packllm_session *s);
void pack_leave(struct packllm_session *s, bool steps_follow);
/* session.c: the members go on by what was chosen last. Before any text: see known.c. */
enum packllm_status pack_advance(struct packllm_session *s, struct packllm_error *err);
bool pack_member_active(const struct packllm_session *s, size_t i);
/* known.c, for told.c: a text of given tokens begins, its covers stand; nobody weighed, so there is nothing
 * to tell but names and weights; one more token, whose bytes are the prompt's and count for penalties. */
enum packllm_status pack_know(struct packllm_session *s, struct packllm_error *err);
void pack_fill_names(struct packllm_session *s);
enum packllm_status pack_put_known(struct packllm_session *s, int32_t token,
                                   struct packllm_error *err);
/* E_TEXT: the member has no such token, or it is no text; the piece of one that is. */
enum packllm_status pack_check_token(const struct member *m, int32_t token,
                                     struct packllm_error *err);
struct packllm_piece pack_known_piece(const struct member *m, int32_t token);
/* No reply yet. */
void pack_reset_reply(struct packllm_session *s);

/* session.c: what a prompt and a chat share. */
void pack_choose_display(struct packllm_session *s);
void pack_fill_weights(struct packllm_session *s, size_t size, const struct score_weights *w,
                       double evaluate);
/* more: a string that ends replies beside the session's own; NULL: none. */
enum packllm_status pack_stop_strings(struct packllm_session *s, const char *more,
                                      struct packllm_error *err);
/* Steps may follow; text: what count_tokens begins with. */
enum packllm_status pack_begin_reply(struct packllm_session *s, const char *text, size_t size,
                                     uint64_t prompt_tokens, struct packllm_error *err);
/* chat.c */
struct chat;
void pack_chat_close(struct chat *chat); /* NULL allowed */
/* The member's cover stands where the reply begins, if it does not already. */
enum packllm_status pack_chat_stand(struct packllm_session *s, size_t member,
                                    struct packllm_error *err);

/* contexts.c. The member's cover, opened where there is none, for a text that begins with it. */
enum packllm_status pack_cover(struct packllm_session *s, size_t member, struct cover **out,
                               struct packllm_error *err);
/* Whatever it stands behind. */
enum packllm_status pack_cover_as_it_is(struct packllm_session *s, size_t member,
                                        struct cover **out, struct packllm_error *err);
/* The members read text in bytes; lambda from its first `weighed` bytes. from: see score_read. The
 * readings stay until they are dropped. */
enum packllm_status pack_read_bytes(struct packllm_session *s, const char *text, size_t size,
                                    size_t weighed, size_t from, bool windows,
                                    struct score_weights *w, struct packllm_error *err);
void pack_drop_readings(struct packllm_session *s);
void pack_drop_text(struct packllm_session *s); /* them, the chat, and who stopped reading */
/* options.c. The options' rows under a member, out[n_options], behind the context; out[0] begins with those
 * of the context. What was evaluated, and its time, stands in some of them. fresh: see the public params. */
enum packllm_status pack_read_options(struct packllm_session *s, size_t i, const char *context,
                                      size_t size, const struct packllm_option *options,
                                      size_t n_options, bool fresh, struct score_reading *out,
                                      struct packllm_error *err);
void pack_drop_told(struct packllm_session *s);                /* told */
void pack_give_back(struct packllm_session *s, size_t member); /* its context */
/* The cover becomes s's. */
void pack_take_cover(struct packllm_session *s, size_t member, struct cover *cover);
void pack_keep_best(
    struct packllm_session *s); /* closes the worst reader's, if there are too many */
void pack_keep_weighted(struct packllm_session *s);
/* E_MEMORY: more members have weight than contexts fit into the limit on memory. */
enum packllm_status pack_check_room(const struct packllm_session *s, struct packllm_error *err);
/* crowd.c. Whether members stop reading early; then readings, lambda, dropped and *w, in either space. */
bool pack_is_crowd(const struct packllm_session *s, size_t size);
enum packllm_status pack_read_crowd(struct packllm_session *s, const char *text, size_t size,
                                    bool windows, struct score_weights *w,
                                    struct packllm_error *err);
/* What to do about a text that m's context does not hold. */
const char *pack_context_advice(const struct member *m);
enum packllm_status pack_context_error(const struct packllm_session *s, const char *text,
                                       size_t size, struct packllm_error *err); /* E_CONTEXT */
void pack_count_from_here(struct packllm_session *s, size_t i); /* forwards and seconds */
/* A member whose context was given back has its say after all: it reads the prompt again. */
enum packllm_status pack_read_again(struct packllm_session *s, size_t i, struct packllm_error *err);
/* E_TEXT with the byte offset if text is not valid UTF-8. */
enum packllm_status pack_check_utf8(const char *text, size_t size, struct packllm_error *err);
/* weighers.c: whether the weigher fits the pool and n members, and (scoring false) can weigh without a
 * text to score. */
enum packllm_status pack_check_weigher(const struct packllm_session_params *p, size_t n,
                                       bool scoring, struct packllm_error *err);
/* options.c: whether such a method exists, and fits the pack. */
enum packllm_status pack_check_method(struct packllm_session *s, const struct packllm_method *m,
                                      struct packllm_error *err);
/* One fused row of the n members active[n] (NULL: member k is k), their lambda[n] and rows[n]. */
void pack_pool(const struct packllm_session *s, size_t n, const size_t *active,
               const double *lambda, const float *const *rows, float *out_logp);
/* weighers.c: how lambda is to be found; with cbtm it is found here, from the text's words. */
enum packllm_status pack_method(struct packllm_session *s, const char *text, size_t size,
                                struct score_method *out, struct packllm_error *err);
/* Reads the members' domain texts, once. E_ARG: a member has none. */
enum packllm_status pack_domains(struct packllm_pack *pack, struct packllm_error *err);

/* session.c: packllm_session_step, by a thread that is in the pack's gate already. */
enum packllm_status pack_step(struct packllm_session *s, struct packllm_piece *out_piece,
                              struct packllm_error *err);

/* constrain.c: the reply as a text of a grammar. */
struct constraint;
/* *out NULL where neither is given. */
enum packllm_status constraint_open(struct constraint **out, const char *grammar,
                                    const char *json_schema, bool or_text,
                                    struct packllm_error *err);
void constraint_close(struct constraint *c);
/* A reply begins, in the tokens of this tree (NULL: in bytes) of the member so named. */
enum packllm_status constraint_begin(struct constraint *c, const struct prefix_tree *tree,
                                     const char *member, struct packllm_error *err);
/* These bytes were chosen. */
enum packllm_status constraint_take(struct constraint *c, const char *bytes, size_t size,
                                    struct packllm_error *err);
/* The error, if looking ahead came upon one. */
enum packllm_status constraint_status(const struct constraint *c, struct packllm_error *err);
bool constraint_may_end(const struct constraint *c);
bool constraint_must_end(const struct constraint *c); /* nothing may follow */
bool constraint_is_text(const struct constraint *c);  /* free: anything may follow */
bool constraint_allows(const struct constraint *c, uint8_t byte);
bool constraint_fits(struct constraint *c, const uint8_t *bytes, size_t size);
/* ranks[tree->n]: the tokens that fit, ascending. False: `budget` bytes were tried before all. */
bool constraint_list(struct constraint *c, size_t budget, uint32_t *ranks, size_t *out_n);

/* use.c: how the session weighs and fuses from now on; fixed weights are set apart. */
void pack_put_method(struct packllm_session *s, const struct packllm_method *method);

/* choose.c: one symbol of the reply. *out_id: display token (or byte), or -1 for END. */
struct choice;
enum packllm_status choice_open(struct choice **out, const struct packllm_session *s,
                                struct packllm_error *err);
void choice_close(struct choice *choice);
/* The biases of params, once the display member is known. */
enum packllm_status choice_bias(struct packllm_session *s, struct packllm_error *err);
enum packllm_status choose_token(struct packllm_session *s, int32_t *out_id, double *out_logprob,
                                 struct packllm_error *err);
enum packllm_status choose_byte(struct packllm_session *s, int32_t *out_id, double *out_logprob,
                                struct packllm_error *err);

#endif
