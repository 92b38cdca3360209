/* member_chat.h - messages as one member's template writes them: control tokens and texts. Contents
 * are never seen by the template nor by a parser of control tokens, so nothing in them is more than
 * text. */
#ifndef MEMBER_MEMBER_CHAT_H
#define MEMBER_MEMBER_CHAT_H

#include "base/buf.h"
#include "member/member.h"

/* A control token, and the text up to the next one. */
struct member_piece {
    int32_t token; /* -1: none, at the beginning */
    size_t from;   /* into text */
    size_t size;   /* bytes; may be 0 */
};

struct member_chat {
    struct buf text; /* of all pieces; contents stand in it as they are */
    struct member_piece *pieces;
    size_t n_pieces, room;
    size_t n_messages;
    size_t *at;    /* [n_messages] byte of text where the content begins, white space before it not
                      counted; SIZE_MAX: left out */
    size_t *size;  /* [n_messages] bytes of it, white space behind it not counted */
    int32_t start; /* first token of the history, or -1; pieces[0] does not repeat it */
};

/* The messages with the reply's beginning behind them: the last piece is what the reply follows. By
 * the member's template, else the plain form:
 *     SYSTEM\n\n### User:\nUSER\n\n### Assistant:\nREPLY\n\n### User:\n … ### Assistant:\n
 * A tool's message is written as a user's. Roles and UTF-8 are the caller's to check. */
enum packllm_status member_chat_write(struct member *m, const struct packllm_message *messages,
                                      size_t n, struct member_chat *out, struct packllm_error *err);
void member_chat_done(struct member_chat *chat);
bool member_chat_is_plain(const struct member *m);
bool member_chat_is_tool(const struct packllm_message *message);
/* The piece in which that byte of the text stands. */
size_t member_chat_piece(const struct member_chat *chat, size_t at);
/* All tokens before the text of piece `upto`, its control token included (n_pieces: all there are):
 * *out[*out_n], to be freed.
 * What the vocabulary cannot spell is left out. */
enum packllm_status member_chat_tokens(struct member *m, const struct member_chat *chat,
                                       size_t upto, int32_t **out, size_t *out_n,
                                       struct packllm_error *err);

#endif
