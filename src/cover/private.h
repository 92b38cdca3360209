/* private.h - what the files of the cover room share. */
#ifndef COVER_PRIVATE_H
#define COVER_PRIVATE_H

#include "canon/canon.h"
#include "cover/cover.h"
#include "cover/row.h"

/* What a row says along known text: at each depth the next bytes and what ends there. */
struct cover_slice {
    float ending, longer; /* mass of the tokens that are exactly the text so far; that go on */
    int32_t token;        /* that ends here, or -1 */
    uint32_t first;       /* into cover->slice_byte, slice_mass */
    uint32_t n;
};

enum node_valid { NODE_UNKNOWN, NODE_VALID, NODE_INVALID };

/* A history: its last token, and where in the text it ends. */
struct cover_node {
    struct cover *cover; /* whose text it is of */
    struct cover_node *parent;
    struct cover_node *same_at; /* next node that ends at the same byte */
    int32_t token;              /* -1: the empty history (no start token) */
    size_t at;                  /* bytes of the member's text it spells */
    uint32_t n_tokens;          /* length of the history */
    uint8_t valid;              /* enum node_valid */
    bool wanted;                /* its row is to be evaluated */
    bool sliced;   /* slices stand for the row, to the end of the text or of all mass */
    bool on_chain; /* part of the canonical tokenisation of the known text */
    size_t number; /* while cover_copy runs: its place in nodes */
    size_t place;  /* 1 + the first place it stands for while cover_read_places runs, or 0 */
    struct cover_row *row; /* or NULL: never evaluated, or given back */
    uint32_t first_slice, n_slices;
    double end; /* mass of END */
    double log_z;
    double nll, nll_full; /* of the *next* token of the chain under this row */
};

struct cover_open {
    struct cover_node *node;
    struct prefix_place place; /* in the row, where the node has one */
    double w;                  /* of the history, in units of P(text) */
};

struct cover_parked {
    struct cover_node *parent; /* NULL in a view: never opened */
    size_t at;                 /* where the token ended */
    double w;                  /* share of P(text) now */
    double base;               /* share of the end when it was parked, in units of P(text) now */
    struct prefix_place place; /* of the bytes that came since, among the tokens that may follow */
    int32_t token;
    bool pending; /* its row was asked for and is not there (known text) */
    bool joined;  /* token may stand behind its parent's */
    bool closed;  /* no token begins with the bytes that came since */
    bool split;   /* some token that may follow spells the first of those bytes */
};

enum { CANON_PAIRS = 16384 }; /* a power of 2 */
enum { CANON_WINDOW = 512 };  /* bytes */
enum { FRONT_OPEN = 40, FRONT_PARKED = 40 };

struct cover_view {
    size_t x;  /* bytes of the member's text it stands behind */
    bool lost; /* nothing explains the text: says nothing (uniform) until the next resync */
    unsigned n_open, n_parked;
    struct cover_open open[FRONT_OPEN];
    struct cover_parked parked[FRONT_PARKED];
};

struct cover_lane {
    int32_t *tokens; /* [n_ctx] what the member's sequence holds */
    uint32_t n;
    uint64_t used;                /* stamp of the last use */
    bool pinned;                  /* holds the chain of a text beside others */
    const struct cover_node *tip; /* the history whose tokens these are, where that is known */
};

/* The batch that is being put together. */
struct cover_batch {
    struct member_item *items; /* [room] */
    struct cover_node **node;  /* [room] of each item */
    size_t n, room, done;
    struct cover_node **tip; /* [n_seq] what each lane holds once the batch is evaluated; NULL: it
                                is not written to */
    int32_t *path;           /* [n_ctx + 1] scratch: the tokens of a history */
};

struct cover_pair {
    int32_t left, right;
    bool known, canonical;
};

struct cover {
    struct member *member;
    struct member_context *kv;
    const struct prefix_tree *tree;
    double epsilon;
    bool all; /* tokenisations, recombined */
    cover_progress_fn progress;
    void *progress_data;
    cover_token_fn on_token; /* while cover_read_tokens runs, or as cover_set_rows said */
    void *on_token_data;
    bool tokens_only;        /* no ends are opened */
    bool told;               /* the text was given by cover_read_tokens, to one who goes on */
    bool given;              /* histories of given tokens: no text, `at` counts them */
    cover_place_fn on_place; /* while cover_read_places or cover_read_given runs */
    void *on_place_data;
    const size_t *places; /* [n_places] bytes of the caller's text */
    size_t n_places;
    size_t *next_place; /* [n_places] 1 + the next place of the same node, or 0 */

    char *text; /* the member's text: with the space that a space_prefix vocabulary puts first */
    size_t size, room;
    size_t lead;     /* 1 with that space */
    size_t known;    /* bytes set by cover_sync: slices reach to here */
    int32_t *prefix; /* [n_prefix] tokens that the text stands behind */
    uint32_t n_prefix;
    size_t line_ends; /* byte of the member's text from which rows are bent, or SIZE_MAX */

    struct cover_node **nodes;
    size_t n_nodes, room_nodes;
    struct cover_node **at;    /* [room + 1] nodes that end at a byte */
    struct cover_node *root;   /* of the known text */
    struct cover_node **chain; /* [n_chain] canonical histories of the known text, root first */
    size_t n_chain, room_chain;
    struct cover_slice *slices;
    size_t n_slices, room_slices;
    uint8_t *slice_byte;
    float *slice_mass;
    size_t n_children, room_children;

    struct cover_lane *lanes; /* [member->n_seq] */
    uint64_t stamp;
    struct cover_batch batch;
    struct cover_row **spare; /* rows given back */
    size_t n_spare, n_live;
    struct cover_node **live; /* nodes that hold a row */
    size_t room_live;

    struct cover_view front;
    double standin[PACKLLM_EVENTS]; /* stand-in for the next event behind a parked end */
    bool standin_due;               /* not made yet: of the one history that the front is */
    double count[256], n_counted;   /* bytes of the text so far, older ones less */
    double often[256];              /* their frequencies, where */
    bool often_known;
    double *p_last; /* [room + 1] probability the walk gave to each byte of the member's text */
    uint64_t resyncs;

    struct cover *main;    /* of a text beside others: who evaluates for it; else NULL */
    struct cover **beside; /* [n_beside] of a main one */
    size_t n_beside;
    struct cover **together; /* [n_together] those that are being read */
    size_t n_together;
    bool settled; /* of a text beside others: its walk asks for nothing more */

    struct cover_node **request; /* [n_request] rows that the walk wants */
    size_t n_request, room_request;
    int32_t *tokens; /* [room_tokens] scratch of the tokenizer */
    size_t room_tokens;
    struct cover_pair
        *pairs;             /* [CANON_PAIRS] what the tokenizer said last, by a hash of the pair */
    struct canon_work work; /* of the member's own rules, where they are known */
    bool bounds_known;      /* bounds are of the text up to the front */
    size_t bounds_low;      /* byte that bounds[0] stands for */
    uint8_t bounds[CANON_WINDOW + 1]; /* a place that merges may not cross, whatever follows? */
};

/* node.c */
struct cover_node *node_get(struct cover *c, struct cover_node *parent, int32_t token, size_t at,
                            struct packllm_error *err); /* found or made; NULL: no memory */
void node_cut(struct cover *c, size_t keep_bytes); /* forgets nodes that reach behind that byte */
bool node_ready(const struct cover_node *node);    /* its row, or what it says, is there */
/* Whether the two, of one text or of two, are the same tokens that end at the same bytes. */
bool node_same(const struct cover_node *a, const struct cover_node *b);
void node_release(struct cover *c, struct cover_node *node);
void node_forget(struct cover *c, struct cover_node *node); /* what its row said */
void node_drop_all(struct cover *c);                        /* with them the text */
int32_t node_first(const struct cover *c);                  /* last token of the empty text */
enum packllm_status node_revive(struct cover *c, struct cover_node *node,
                                struct packllm_error *err); /* evaluates its row now */
void node_sweep(struct cover *c); /* gives back the rows that the front does not need */
struct cover_row *node_spare_row(struct cover *c, struct packllm_error *err);
enum packllm_status node_request(struct cover *c, struct cover_node *node,
                                 struct packllm_error *err);

/* lane.c: evaluates the rows of all wanted nodes on the paths to targets[n]. */
enum packllm_status lane_evaluate(struct cover *c, struct cover_node *const *targets, size_t n,
                                  struct packllm_error *err);
void lane_keep_best(struct cover *c, const int32_t *tokens, uint32_t n);
/* Writes the tokens of a history; room for node->n_tokens. */
void lane_path(const struct cover *c, const struct cover_node *node, int32_t *out);

/* slice.c: reduces a row along the known text. */
enum packllm_status slice_row(struct cover *c, struct cover_node *node, const struct cover_row *row,
                              bool *alive, struct packllm_error *err);

/* Takes away the slices of histories that are gone, once they are more than the others. */
void slice_compact(struct cover *c);

/* front.c: the arithmetic of fronts; pure but for the nodes they point at. */
void front_start(struct cover *c, struct cover_view *f, struct cover_node *node);
void front_copy(const struct cover_view *from, struct cover_view *to); /* what is in use */
void front_add_open(struct cover_view *f, struct cover_node *node, double w,
                    struct prefix_place place);
double front_step(const struct cover *c, const struct cover_view *from, uint8_t byte,
                  struct cover_view *to);
void front_count(struct cover *c, uint8_t byte); /* the text goes on with it */
void front_count_anew(struct cover *c);
double front_next(const struct cover *c, const struct cover_view *f, double *q);
double front_normalise(const struct cover *c, struct cover_view *f);
void front_park(struct cover_view *f, const struct cover_parked *parked);
void front_set_standin(struct cover *c, const struct cover_node *node);
/* Before the front goes on, or is looked at, by bytes: what front_start left undone. */
void front_ready(struct cover *c);
void node_spread(const struct cover *c, const struct cover_open *o, size_t x, double w, double *q);
/* Mass that ends exactly at x, and that goes on, behind an open entry whose place is set. */
void node_here(const struct cover *c, const struct cover_open *o, size_t x, double *ending,
               double *longer, int32_t *token);
/* Moves the entry's place from depth d to d + 1 by byte; false: nothing goes on. */
bool node_enter(const struct cover *c, struct cover_open *o, size_t x, uint8_t byte);

/* settle.c: opens what must be opened at the front. known: rows that are missing are requested. */
enum packllm_status settle_front(struct cover *c, bool known, struct packllm_error *err);
enum packllm_status settle_resync(struct cover *c, bool known, struct packllm_error *err);

/* canon.c: is this end canonical? By retokenising a window, by the member's own rules (rules.c) where
 * they are known. */
enum packllm_status canon_check(struct cover *c, struct cover_node *node,
                                struct packllm_error *err);
/* May right stand behind left, which ends at byte `at`? True also where nobody can tell. */
enum packllm_status canon_pair(struct cover *c, int32_t left, int32_t right, size_t at,
                               bool *canonical, struct packllm_error *err);
/* Where the window of text that decides about an end begins: behind a history, at most at `node`. */
struct cover_node *canon_window(struct cover *c, struct cover_node *node);
/* What the member's tokenizer makes of text[low..high), into c->tokens; a negative one stands for as
 * many bytes that the vocabulary cannot spell. */
enum packllm_status canon_tokens(struct cover *c, size_t low, size_t high, size_t *out_n,
                                 struct packllm_error *err);
/* Tokens of text[low..high) of the member's own text into c->tokens; *out_n < 0: cannot be asked. */
enum packllm_status canon_tokenize(struct cover *c, size_t low, size_t high, long *out_n,
                                   struct packllm_error *err);
/* Between the history and where it stands are bytes that the vocabulary cannot spell. */
bool canon_behind_gap(const struct cover *c, const struct cover_node *node);
/* *node goes on by one entry of c->tokens. E_TEXT behind `high`. */
enum packllm_status canon_next(struct cover *c, struct cover_node **node, int32_t token,
                               size_t high, struct packllm_error *err);
/* Canonical path of text[0..high) as nodes. *out NULL: the vocabulary cannot spell it. */
enum packllm_status canon_path(struct cover *c, size_t high, struct cover_node **out,
                               struct packllm_error *err);
bool canon_mid_character(const struct cover *c, size_t x);
/* The canonical history of text[0..x), x between characters. from: a canonical history of the text that
 * ends at or before x, or the root. Where the tokenizer cannot be asked, what stands before. */
enum packllm_status canon_prefix(struct cover *c, struct cover_node *from, size_t x,
                                 struct cover_node **out, struct packllm_error *err);

/* cover.c: room for a text of `size` bytes and what is kept per byte. */
enum packllm_status cover_reserve(struct cover *c, size_t size, struct packllm_error *err);
/* Sets the text and its chain; rows of the chain that are missing are wanted then. */
enum packllm_status cover_set_text(struct cover *c, const char *text, size_t size,
                                   struct packllm_error *err);
/* Of the lanes the one that shares most with what the text needs stays, the others are emptied. */
enum packllm_status cover_keep_lane(struct cover *c, struct packllm_error *err);
/* Walks ask for ends of ends: each round for what the last one made visible. Real models need three or
 * four; flat ones go on as long as the text does, and what is left then would not be causal. */
enum { COVER_ROUNDS = 1000 };

/* feed.c: tells the histories of the chain which places they stand for, requests those off the chain. */
enum packllm_status feed_mark(struct cover *c, struct packllm_error *err);
/* Gives a row to the places of its history. */
enum packllm_status feed_tell(const struct cover *c, const struct cover_node *node,
                              const struct cover_row *row, struct packllm_error *err);

/* rules.c: the same two questions to member->canon. */
enum packllm_status rules_check(struct cover *c, struct cover_node *node,
                                struct packllm_error *err);
enum packllm_status rules_pair(struct cover *c, int32_t left, int32_t right, size_t at,
                               bool *canonical, struct packllm_error *err);

#endif
