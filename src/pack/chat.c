/* chat.c - conversations on a session (docs/math.md, "Chats"). Every member sees the messages in its
 * own template. What the members share is text: of a user's message, to find lambda, and of the
 * reply. Whatever stands before it is a prefix of tokens, each member's own. */
#include "pack/pack.h" /* first: it asks for the experimental tier */

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/status.h"
#include "member/member_chat.h"

/* So many of the users' messages count for lambda, each half as much as the one behind it. Rows of
 * older ones are given back. */
enum { TURNS = 4 };
#define OLDER 0.5

/* Members in the plain form go on with the next turn by themselves. */
static const char next_turn[] = "\n### User:";

struct chat {
    size_t n, n_members;
    struct packllm_message *messages; /* [n] copies */
    struct member_chat *written;      /* [n_members] */
    struct score_reading *readings;   /* [n_members][n] of the users' messages that count */
    bool *stands;                     /* [n_members] its cover is where the reply begins */
};

static struct score_reading *reading_of(const struct chat *chat, size_t member, size_t message) {
    return &chat->readings[member * chat->n + message];
}

static bool is_user(const struct packllm_message *message) {
    return strcmp(message->role, "user") == 0;
}

void pack_chat_close(struct chat *chat) {
    if (chat == NULL) {
        return;
    }
    for (size_t i = 0; chat->messages != NULL && i < chat->n; i++) {
        base_free((void *)(uintptr_t)chat->messages[i].role);
        base_free((void *)(uintptr_t)chat->messages[i].content);
    }
    for (size_t i = 0; chat->written != NULL && i < chat->n_members; i++) {
        member_chat_done(&chat->written[i]);
    }
    for (size_t i = 0; chat->readings != NULL && i < chat->n_members * chat->n; i++) {
        score_reading_done(&chat->readings[i]);
    }
    base_free(chat->messages);
    base_free(chat->written);
    base_free(chat->readings);
    base_free(chat->stands);
    base_free(chat);
}

static enum packllm_status check_messages(const struct packllm_message *messages, size_t n,
                                          struct packllm_error *err) {
    if (messages == NULL || n == 0) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER, "a chat needs at least one message");
    }
    for (size_t i = 0; i < n; i++) {
        const char *role = messages[i].role, *content = messages[i].content;
        if (role == NULL || content == NULL) {
            return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                        "message %zu has no role or no content", i + 1);
        }
        if (!is_user(&messages[i]) && !member_chat_is_tool(&messages[i]) &&
            strcmp(role, "system") != 0 && strcmp(role, "assistant") != 0) {
            return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                        "message %zu has the role '%.40s'; there are system, user, assistant and "
                        "tool",
                        i + 1, role);
        }
        struct packllm_error why;
        if (content[0] != '\0' && pack_check_utf8(content, strlen(content), &why) < 0) {
            return fail(err, PACKLLM_E_TEXT, PACKLLM_NO_MEMBER, "message %zu: %.400s", i + 1,
                        why.message);
        }
    }
    if (!is_user(&messages[n - 1]) && !member_chat_is_tool(&messages[n - 1])) {
        return fail(err, PACKLLM_E_ARG, PACKLLM_NO_MEMBER,
                    "the last message is the %s's: a reply follows a user's message or a tool's",
                    messages[n - 1].role);
    }
    return PACKLLM_OK;
}

static enum packllm_status open_chat(struct chat **out, size_t n_members,
                                     const struct packllm_message *messages, size_t n,
                                     struct packllm_error *err) {
    struct chat *chat = alloc_zero(1, sizeof *chat);
    if (chat == NULL) {
        return fail_memory(err, sizeof *chat);
    }
    chat->n = n;
    chat->n_members = n_members;
    chat->messages = alloc_zero(n, sizeof *chat->messages);
    chat->written = alloc_zero(n_members, sizeof *chat->written);
    chat->readings = alloc_zero(n_members * n, sizeof *chat->readings);
    chat->stands = alloc_zero(n_members, sizeof *chat->stands);
    bool fine = chat->messages != NULL && chat->written != NULL && chat->readings != NULL &&
                chat->stands != NULL;
    for (size_t i = 0; i < n && fine; i++) {
        chat->messages[i].role = alloc_text(messages[i].role, strlen(messages[i].role));
        chat->messages[i].content = alloc_text(messages[i].content, strlen(messages[i].content));
        fine = chat->messages[i].role != NULL && chat->messages[i].content != NULL;
    }
    if (!fine) {
        pack_chat_close(chat);
        return fail_memory(err, n * sizeof *chat->readings);
    }
    *out = chat;
    return PACKLLM_OK;
}

/* Each member's tokens, and whether they fit. */
static enum packllm_status write_all(struct packllm_session *s, struct chat *chat,
                                     struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    for (size_t i = 0; i < s->pack->n && status >= 0; i++) {
        struct member *m = s->pack->members[i];
        struct member_chat *written = &chat->written[i];
        int32_t *tokens = NULL;
        size_t n = 0;
        status = member_chat_write(m, chat->messages, chat->n, written, err);
        if (status >= 0) {
            status = member_chat_tokens(m, written, written->n_pieces, &tokens, &n, err);
        }
        base_free(tokens);
        if (status >= 0 && n >= m->n_ctx) {
            status = fail_context(
                err, (int)i, n, m->n_ctx,
                "the conversation is %zu tokens for member '%s', whose context holds %u; "
                "begin a new one, %s",
                n, m->name, (unsigned)m->n_ctx, pack_context_advice(m));
        }
        s->tokens_before[i] = n;
    }
    return status;
}

/* What was read of messages that are the same, up to the first that is not, is known. */
static void take_readings(struct chat *chat, struct chat *old) {
    for (size_t j = 0; old != NULL && j < chat->n && j < old->n; j++) {
        if (strcmp(chat->messages[j].role, old->messages[j].role) != 0 ||
            strcmp(chat->messages[j].content, old->messages[j].content) != 0) {
            break;
        }
        for (size_t i = 0; i < chat->n_members; i++) {
            *reading_of(chat, i, j) = *reading_of(old, i, j);
            *reading_of(old, i, j) = (struct score_reading){0};
        }
    }
}

/* The text from `from` on stands behind the tokens before its piece. */
static enum packllm_status set_prefix(struct packllm_session *s, size_t i, size_t piece,
                                      struct packllm_error *err) {
    int32_t *tokens = NULL;
    size_t n = 0;
    enum packllm_status status =
        member_chat_tokens(s->pack->members[i], &s->chat->written[i], piece, &tokens, &n, err);
    if (status >= 0) {
        status = cover_set_prefix(s->covers[i], tokens, n, err);
    }
    base_free(tokens);
    return status;
}

static enum packllm_status read_message(struct packllm_session *s, size_t i, size_t j,
                                        struct packllm_error *err) {
    const struct member_chat *written = &s->chat->written[i];
    struct cover *cover = NULL;
    size_t at = written->at[j], size = written->size[j];
    size_t k = member_chat_piece(written, at);
    const struct member_piece *piece = &written->pieces[k];
    enum packllm_status status = pack_cover_as_it_is(s, i, &cover, err);
    if (status >= 0) {
        status = set_prefix(s, i, k, err);
    }
    if (status >= 0) {
        cover_set_line_ends(cover, SIZE_MAX);
        s->chat->stands[i] = false;
        status = score_read_tail(cover, s->pack->members[i], written->text.data + piece->from,
                                 at + size - piece->from, at - piece->from,
                                 reading_of(s->chat, i, j), err);
    }
    return status;
}

enum packllm_status pack_chat_stand(struct packllm_session *s, size_t i,
                                    struct packllm_error *err) {
    struct chat *chat = s->chat;
    const struct member_chat *written = &chat->written[i];
    const struct member_piece *last = &written->pieces[written->n_pieces - 1];
    struct cover *cover = NULL;
    if (chat->stands[i] && s->covers[i] != NULL) {
        return PACKLLM_OK;
    }
    enum packllm_status status = pack_cover_as_it_is(s, i, &cover, err);
    if (status >= 0) {
        status = set_prefix(s, i, written->n_pieces - 1, err);
    }
    if (status >= 0) {
        bool plain = member_chat_is_plain(s->pack->members[i]);
        cover_set_line_ends(cover, plain ? last->size : SIZE_MAX);
        status = cover_sync(cover, last->size > 0 ? written->text.data + last->from : "",
                            last->size, err);
    }
    if (status >= 0) {
        status = cover_walk(cover, NULL, NULL, err);
    }
    chat->stands[i] = status >= 0;
    return status;
}

/* Users' messages that count, the last one first; returns how many. Empty ones and those that a
 * template leaves out say nothing. */
static size_t counted(const struct chat *chat, size_t *out) {
    size_t n = 0;
    for (size_t j = chat->n; j-- > 0 && n < TURNS;) {
        bool counts = is_user(&chat->messages[j]);
        for (size_t i = 0; i < chat->n_members; i++) {
            counts = counts && chat->written[i].at[j] != SIZE_MAX && chat->written[i].size[j] > 0;
        }
        if (counts) {
            out[n++] = j;
        }
    }
    return n;
}

/* What the table of members shows: sums in which a message counts as it does for lambda, scaled so
 * that `bytes` divides them. */
static void sum_readings(struct packllm_session *s, const size_t *turn, size_t n, size_t bytes) {
    struct chat *chat = s->chat;
    for (size_t i = 0; i < chat->n_members; i++) {
        struct score_reading sum = {.bytes = bytes, .windows = 1};
        double weight = 1.0, counts = 0.0, tokens = 0.0;
        for (size_t k = 0; k < n; k++, weight *= OLDER) {
            const struct score_reading *r = reading_of(chat, i, turn[k]);
            sum.nll_model += weight * r->nll_model;
            sum.whole.nll += weight * r->whole.nll;
            sum.whole.nll_full += weight * r->whole.nll_full;
            sum.whole.tokens += r->whole.tokens;
            sum.seconds += k == 0 ? r->seconds : 0.0;
            counts += weight * (double)r->bytes;
            tokens += weight * (double)r->whole.tokens;
        }
        if (counts > 0.0) {
            sum.nll_model *= (double)bytes / counts;
            sum.whole.nll *= (double)bytes / counts;
            sum.whole.nll_full *= tokens > 0.0 ? (double)sum.whole.tokens / tokens : 0.0;
        }
        s->readings[i] = sum;
    }
}

/* lambda from the messages turn[n], the last one first. */
static enum packllm_status weigh(struct packllm_session *s, const size_t *turn, size_t n,
                                 size_t bytes, struct score_weights *w, struct packllm_error *err) {
    struct chat *chat = s->chat;
    size_t members = chat->n_members, at = 0;
    struct score_method method;
    char *text = alloc_array(bytes, 1);
    double *weight = alloc_array(bytes, sizeof *weight);
    const float **rows = alloc_array(members, sizeof *rows);
    float *joined = alloc_array(n > 1 ? members * bytes : 1, PACKLLM_EVENTS * sizeof *joined);
    enum packllm_status status = PACKLLM_OK;
    if (text == NULL || weight == NULL || rows == NULL || joined == NULL) {
        status = fail_memory(err, members * bytes * PACKLLM_EVENTS * sizeof *joined);
        goto out;
    }
    double counts = 1.0;
    for (size_t k = 0; k < n; k++, counts *= OLDER) {
        const struct member_chat *written = &chat->written[0];
        size_t size = written->size[turn[k]];
        memcpy(text + at, written->text.data + written->at[turn[k]], size);
        for (size_t t = 0; t < size; t++) {
            weight[at + t] = counts;
        }
        for (size_t i = 0; i < members && n > 1; i++) {
            memcpy(joined + (i * bytes + at) * PACKLLM_EVENTS, reading_of(chat, i, turn[k])->logq,
                   size * PACKLLM_EVENTS * sizeof *joined);
        }
        at += size;
    }
    for (size_t i = 0; i < members; i++) {
        rows[i] = n > 1   ? joined + i * bytes * PACKLLM_EVENTS
                  : n > 0 ? reading_of(chat, i, turn[0])->logq
                          : NULL;
    }
    status = pack_method(s, text, bytes, &method, err);
    if (status >= 0) {
        member_gate_leave(s->pack->gate); /* as in contexts.c */
        status = score_weigh_rows(&method, members, rows, text, bytes, weight, s->lambda, w, err);
        member_gate_enter(s->pack->gate);
    }
out:
    base_free(text);
    base_free(weight);
    base_free(rows);
    base_free(joined);
    return status;
}

static enum packllm_status read_and_weigh(struct packllm_session *s, struct packllm_error *err) {
    struct chat *chat = s->chat;
    size_t turn[TURNS], n = counted(chat, turn), bytes = 0;
    struct score_weights w = {0};
    double start = base_clock();
    enum packllm_status status = PACKLLM_OK;
    for (size_t k = 0; k < n; k++) {
        bytes += chat->written[0].size[turn[k]];
    }
    for (size_t i = 0; i < chat->n_members && status >= 0; i++) {
        for (size_t k = n; k-- > 0 && status >= 0;) {
            status = reading_of(chat, i, turn[k])->logq == NULL ? read_message(s, i, turn[k], err)
                                                                : status;
        }
        if (status >= 0 && n > 0) {
            s->readings[i].nll_model = reading_of(chat, i, turn[0])->nll_model;
            s->readings[i].bytes = reading_of(chat, i, turn[0])->bytes;
            pack_keep_best(s);
        }
    }
    if (status >= 0) {
        status = weigh(s, turn, n, bytes, &w, err);
    }
    if (status < 0) {
        return status;
    }
    sum_readings(s, turn, n, bytes);
    s->in_tokens = false; /* what is read is read in bytes */
    pack_fill_weights(s, bytes > 0 ? bytes : 1, &w, base_clock() - start - w.seconds);
    s->weights.bytes = bytes;
    s->in_tokens = s->may_use_tokens;
    pack_keep_weighted(s);
    return PACKLLM_OK;
}

static bool plain_speaks(const struct packllm_session *s) {
    for (size_t i = 0; i < s->pack->n; i++) {
        if ((s->lambda[i] != 0.0 || i == s->display) && member_chat_is_plain(s->pack->members[i])) {
            return true;
        }
    }
    return false;
}

static enum packllm_status prompt_chat(struct packllm_session *s,
                                       const struct packllm_message *messages, size_t n,
                                       struct packllm_error *err) {
    struct chat *chat = NULL;
    enum packllm_status status = check_messages(messages, n, err);
    if (status >= 0 && s->mapped.on) {
        status = fail(err, PACKLLM_E_UNSUPPORTED, PACKLLM_NO_MEMBER,
                      "the members of a chat have templates of their own, so tokens of a reference "
                      "do not fit: leave the space to be chosen (--space auto)");
    }
    if (status >= 0) {
        status = pack_check_weigher(&s->params, s->pack->n, false, err);
    }
    if (status >= 0) {
        status = open_chat(&chat, s->pack->n, messages, n, err);
    }
    if (status < 0) {
        return status;
    }
    double start = base_clock();
    atomic_store(&s->cancel, false);
    s->ready = s->started = s->closing = false;
    status = write_all(s, chat, err);
    if (status < 0) {
        pack_chat_close(chat);
        return status;
    }
    /* From here on also a call that fails leaves what it has read. */
    take_readings(chat, s->chat);
    pack_chat_close(s->chat);
    s->chat = chat;
    pack_drop_readings(s);
    memset(s->dropped, 0, s->pack->n * sizeof *s->dropped);
    status = read_and_weigh(s, err);
    if (status < 0) {
        return status;
    }
    pack_choose_display(s);
    for (size_t i = 0; i < s->pack->n && status >= 0; i++) {
        bool speaks =
            s->lambda[i] != 0.0 || (s->params.choose == PACKLLM_CHOOSE_TOKENS && i == s->display);
        status = speaks ? pack_chat_stand(s, i, err) : status;
    }
    if (status >= 0) {
        status = pack_stop_strings(s, plain_speaks(s) ? next_turn : NULL, err);
    }
    if (status < 0) {
        return status;
    }
    uint64_t prompt_tokens = s->tokens_before[s->display];
    for (size_t i = 0; i < s->pack->n; i++) {
        s->tokens_before[i] = 0;
    }
    s->seconds_prompt = base_clock() - start;
    return pack_begin_reply(s, "", 0, prompt_tokens, err);
}

enum packllm_status packllm_session_chat(struct packllm_session *s,
                                         const struct packllm_message *messages, size_t n,
                                         struct packllm_error *err) {
    pack_enter(s);
    enum packllm_status status = prompt_chat(s, messages, n, err);
    pack_leave(s, status >= 0);
    return status;
}
