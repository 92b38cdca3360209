/* member_chat.c - chats as tokens, see member_chat.h. A template is rendered with marks in place of
 * the contents, since libllama tells no boundaries; the rendering is then cut at the marks and at the
 * control tokens that its own words spell. */
#include "member/member_chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

enum { TEXT_MAX = 1 << 28 };

/* A mark is "\t\x02N\x03\t". No template has such bytes; the tabs tell whether it trims contents. */
#define MARK_OPEN '\x02'
#define MARK_CLOSE '\x03'

bool member_chat_is_plain(const struct member *m) {
    return m->ops->chat_render == NULL || m->chat_form == NULL ||
           strcmp(m->chat_form, "plain") == 0;
}

/* Templates that libllama knows have no form for it, or each its own: it goes in as a user's. */
bool member_chat_is_tool(const struct packllm_message *message) {
    return strcmp(message->role, "tool") == 0;
}

void member_chat_done(struct member_chat *chat) {
    buf_done(&chat->text);
    base_free(chat->pieces);
    base_free(chat->at);
    base_free(chat->size);
    *chat = (struct member_chat){0};
}

static bool add_piece(struct member_chat *chat, int32_t token) {
    if (chat->n_pieces == chat->room) {
        size_t room = chat->room * 2 + 16;
        struct member_piece *grown = alloc_resize(chat->pieces, room, sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        chat->pieces = grown;
        chat->room = room;
    }
    chat->pieces[chat->n_pieces++] = (struct member_piece){token, chat->text.size, 0};
    return true;
}

static bool add_text(struct member_chat *chat, const char *text, size_t size) {
    if (size == 0) {
        return true;
    }
    chat->pieces[chat->n_pieces - 1].size += size;
    return buf_add(&chat->text, text, size);
}

static bool white(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool add_content(struct member_chat *chat, const struct packllm_message *message,
                        size_t index, bool trim_left, bool trim_right) {
    const char *from = message->content;
    size_t size = strlen(from);
    while (trim_left && size > 0 && white(from[0])) {
        from++;
        size--;
    }
    while (trim_right && size > 0 && white(from[size - 1])) {
        size--;
    }
    /* Where contents are not trimmed, the message still counts without the white space around it: the
     * members must agree on its bytes. */
    size_t low = 0, high = size;
    while (low < high && white(from[low])) {
        low++;
    }
    while (high > low && white(from[high - 1])) {
        high--;
    }
    chat->at[index] = chat->text.size + low;
    chat->size[index] = high - low;
    return add_text(chat, from, size);
}

static bool write_plain(struct member_chat *chat, const struct packllm_message *messages,
                        size_t n) {
    static const char reply[] = "### Assistant:\n";
    bool fine = add_piece(chat, -1);
    for (size_t i = 0; i < n && fine; i++) {
        const char *role = messages[i].role;
        const char *head = strcmp(role, "user") == 0 || member_chat_is_tool(&messages[i])
                               ? "### User:\n"
                           : strcmp(role, "assistant") == 0 ? "### Assistant:\n"
                                                            : "";
        fine = add_text(chat, head, strlen(head)) &&
               add_content(chat, &messages[i], i, true, true) && add_text(chat, "\n\n", 2);
    }
    return fine && add_text(chat, reply, strlen(reply));
}

/* The template's own words: control tokens part the pieces. */
static enum packllm_status add_words(struct member *m, struct member_chat *chat, const char *words,
                                     size_t size, struct packllm_error *err) {
    size_t room = size + 8, n = 0, at = 0;
    struct member_control *controls = alloc_array(room, sizeof *controls);
    if (controls == NULL) {
        return fail_memory(err, room * sizeof *controls);
    }
    enum packllm_status status =
        size > 0 ? m->ops->chat_controls(m, words, size, controls, room, &n, err) : PACKLLM_OK;
    bool fine = true, strip = false;
    for (size_t i = 0; i <= n && status >= 0 && fine; i++) {
        size_t end = size, next = size;
        if (i < n) {
            /* They come in their order, so each stands where its text is next found. */
            size_t length = strlen(controls[i].text);
            const char *found = NULL;
            for (size_t k = at; k + length <= size && found == NULL; k++) {
                found = memcmp(words + k, controls[i].text, length) == 0 ? words + k : NULL;
            }
            if (found == NULL) {
                continue; /* the unknown token, for a character that the vocabulary lacks */
            }
            end = (size_t)(found - words);
            next = end + length;
        }
        while (strip && at < end && white(words[at])) {
            at++;
        }
        while (i < n && controls[i].strips_left && end > at && white(words[end - 1])) {
            end--;
        }
        fine = add_text(chat, words + at, end - at);
        bool repeated = i < n && chat->n_pieces == 1 && chat->pieces[0].size == 0 &&
                        chat->pieces[0].token < 0 && controls[i].token == chat->start;
        if (i < n && fine && !repeated) {
            fine = add_piece(chat, controls[i].token);
        }
        strip = i < n && controls[i].strips_right;
        at = next;
    }
    base_free(controls);
    return status >= 0 && !fine ? fail_memory(err, size) : status;
}

/* The next mark at or behind `from`: its first byte, the byte behind it, the message it stands for. */
static bool next_mark(const struct buf *text, size_t from, size_t *low, size_t *high,
                      size_t *message) {
    for (size_t i = from; i < text->size; i++) {
        if (text->data[i] == MARK_OPEN) {
            char *end = NULL;
            *message = (size_t)strtoul(text->data + i + 1, &end, 10);
            *low = i;
            *high = (size_t)(end - text->data) + 1;
            return *end == MARK_CLOSE;
        }
    }
    return false;
}

static enum packllm_status cut(struct member *m, const struct packllm_message *messages, size_t n,
                               const struct buf *rendered, struct member_chat *chat,
                               struct packllm_error *err) {
    enum packllm_status status = PACKLLM_OK;
    size_t at = 0, low = 0, high = 0, message = 0;
    if (!add_piece(chat, -1)) {
        return fail_memory(err, rendered->size);
    }
    while (status >= 0 && next_mark(rendered, at, &low, &high, &message) && message < n) {
        bool left = low > at && rendered->data[low - 1] == '\t';
        bool right = high < rendered->size && rendered->data[high] == '\t';
        status = add_words(m, chat, rendered->data + at, low - left - at, err);
        if (status >= 0 && !add_content(chat, &messages[message], message, !left, !right)) {
            status = fail_memory(err, rendered->size);
        }
        at = high + right;
    }
    return status < 0 ? status : add_words(m, chat, rendered->data + at, rendered->size - at, err);
}

static enum packllm_status write_template(struct member *m, const struct packllm_message *messages,
                                          size_t n, struct member_chat *chat,
                                          struct packllm_error *err) {
    struct packllm_message *marked = alloc_array(n, sizeof *marked);
    char(*marks)[32] = alloc_array(n, sizeof *marks);
    struct buf rendered;
    enum packllm_status status = PACKLLM_OK;
    buf_init(&rendered, TEXT_MAX);
    if (marked == NULL || marks == NULL) {
        status = fail_memory(err, n * sizeof *marks);
    }
    for (size_t i = 0; i < n && status >= 0; i++) {
        (void)snprintf(marks[i], sizeof marks[i], "\t%c%zu%c\t", MARK_OPEN, i, MARK_CLOSE);
        marked[i] = (struct packllm_message){
            member_chat_is_tool(&messages[i]) ? "user" : messages[i].role, marks[i]};
    }
    if (status >= 0) {
        status = m->ops->chat_render(m, marked, n, &rendered, err);
    }
    if (status >= 0) {
        status = cut(m, messages, n, &rendered, chat, err);
    }
    buf_done(&rendered);
    base_free(marked);
    base_free(marks);
    if (status >= 0 && chat->at[n - 1] == SIZE_MAX) {
        return fail(err, PACKLLM_E_MODEL, m->index,
                    "member '%s': its chat template leaves the last message out; choose another "
                    "one (chat-template=NAME)",
                    m->name);
    }
    return status;
}

enum packllm_status member_chat_write(struct member *m, const struct packllm_message *messages,
                                      size_t n, struct member_chat *out,
                                      struct packllm_error *err) {
    bool plain = member_chat_is_plain(m);
    struct member_chat chat = {.n_messages = n, .start = plain ? m->start : m->chat_start};
    enum packllm_status status = PACKLLM_OK;
    buf_init(&chat.text, TEXT_MAX);
    chat.at = alloc_array(n, sizeof *chat.at);
    chat.size = alloc_zero(n, sizeof *chat.size);
    if (chat.at == NULL || chat.size == NULL) {
        status = fail_memory(err, n * sizeof *chat.at);
    }
    for (size_t i = 0; i < n && status >= 0; i++) {
        chat.at[i] = SIZE_MAX;
    }
    if (status >= 0 && plain) {
        status = write_plain(&chat, messages, n) ? status : fail_memory(err, chat.text.size);
    } else if (status >= 0) {
        status = write_template(m, messages, n, &chat, err);
    }
    if (status < 0) {
        member_chat_done(&chat);
        return status;
    }
    *out = chat;
    return PACKLLM_OK;
}

size_t member_chat_piece(const struct member_chat *chat, size_t at) {
    size_t i = chat->n_pieces - 1;
    while (i > 0 && chat->pieces[i].from > at) {
        i--;
    }
    return i;
}

/* Text without the characters that the vocabulary cannot spell, into out[size]; returns its size. */
static size_t spellable(struct member *m, const char *text, size_t size, char *out) {
    size_t kept = 0;
    for (size_t at = 0, next = 0; at < size; at = next) {
        int32_t tokens[16];
        size_t n = 0;
        for (next = at + 1; next < size && ((uint8_t)text[next] & 0xc0) == 0x80;) {
            next++;
        }
        if (member_tokenize(m, text + at, next - at, tokens, 16, &n, NULL) == PACKLLM_OK) {
            memcpy(out + kept, text + at, next - at);
            kept += next - at;
        }
    }
    return kept;
}

static enum packllm_status tokenize(struct member *m, const char *text, size_t size, int32_t *out,
                                    size_t cap, size_t *out_n, struct packllm_error *err) {
    struct packllm_error why;
    enum packllm_status status = member_tokenize(m, text, size, out, cap, out_n, &why);
    if (status == PACKLLM_E_TEXT) {
        char *copy = alloc_array(size, 1);
        if (copy == NULL) {
            return fail_memory(err, size);
        }
        size = spellable(m, text, size, copy);
        status = member_tokenize(m, copy, size, out, cap, out_n, &why);
        base_free(copy);
    }
    if (status < 0 && err != NULL) {
        *err = why;
    }
    return status;
}

enum packllm_status member_chat_tokens(struct member *m, const struct member_chat *chat,
                                       size_t upto, int32_t **out, size_t *out_n,
                                       struct packllm_error *err) {
    size_t n_pieces = chat->n_pieces, n = 0;
    size_t room = 2 * (chat->text.size + n_pieces) + 16;
    int32_t *tokens = alloc_array(room, sizeof *tokens);
    enum packllm_status status = PACKLLM_OK;
    if (tokens == NULL) {
        return fail_memory(err, room * sizeof *tokens);
    }
    if (chat->start >= 0) {
        tokens[n++] = chat->start;
    }
    for (size_t i = 0; i <= upto && i < n_pieces && status >= 0; i++) {
        const struct member_piece *piece = &chat->pieces[i];
        size_t more = 0;
        if (piece->token >= 0) {
            tokens[n++] = piece->token;
        }
        if (i < upto && piece->size > 0) {
            status = tokenize(m, chat->text.data + piece->from, piece->size, tokens + n, room - n,
                              &more, err);
            n += status >= 0 ? more : 0;
        }
    }
    if (status < 0) {
        base_free(tokens);
        return status;
    }
    *out = tokens;
    *out_n = n;
    return PACKLLM_OK;
}
