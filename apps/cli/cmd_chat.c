/* cmd_chat.c - `packllm chat`: a conversation, a line a message. On a terminal and in a pipe the same
 * loop; only the terminal gets a prompt, and only there Ctrl-C stops a reply without ending. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "cli.h"

struct chat {
    struct work work;
    struct packllm_message *messages; /* [n] contents are ours */
    size_t n, room;
    struct buf input; /* read and not yet taken */
    bool ended;       /* of input */
    struct buf reply, why;
    struct json why_json;
    struct packllm_weights weights;
    bool weighed;
    bool talks; /* a person sits there */
    bool safe;
};

/* ---- messages ---- */

static bool add_message(struct chat *chat, const char *role, const char *text, size_t size) {
    if (chat->n == chat->room) {
        size_t room = chat->room * 2 + 16;
        struct packllm_message *grown = alloc_resize(chat->messages, room, sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        chat->messages = grown;
        chat->room = room;
    }
    char *content = alloc_text(text != NULL ? text : "", size);
    if (content == NULL) {
        return false;
    }
    chat->messages[chat->n++] = (struct packllm_message){role, content};
    return true;
}

static void drop_messages(struct chat *chat, size_t keep) {
    while (chat->n > keep) {
        base_free((void *)(uintptr_t)chat->messages[--chat->n].content);
    }
}

/* The messages that /reset leaves: the system's. */
static size_t standing(const struct chat *chat) {
    return chat->n > 0 && strcmp(chat->messages[0].role, "system") == 0 ? 1 : 0;
}

/* ---- input ---- */

/* The next line into out, without its end. *got false: there is none. */
static int next_line(struct chat *chat, struct buf *out, bool *got) {
    struct cli *cli = chat->work.cli;
    struct buf *in = &chat->input;
    char chunk[1 << 14];
    for (;;) {
        const char *end = in->size > 0 ? memchr(in->data, '\n', in->size) : NULL;
        if (end != NULL || (chat->ended && in->size > 0)) {
            size_t size = end != NULL ? (size_t)(end - in->data) : in->size, rest = size + 1;
            buf_cut(out, 0);
            if (!buf_add(out, in->data, size)) {
                return ui_fail(cli, EXIT_WORK, "out of memory");
            }
            size_t left = rest < in->size ? in->size - rest : 0;
            memmove(in->data, in->data + (left > 0 ? rest : 0), left);
            buf_cut(in, left);
            *got = true;
            return EXIT_FINE;
        }
        if (chat->ended) {
            *got = false;
            return EXIT_FINE;
        }
        stop_wait(STDIN_FILENO);
        if (stop_asked()) {
            return stop_exit();
        }
        ssize_t n = read(STDIN_FILENO, chunk, sizeof chunk);
        if (n < 0 && errno != EINTR) {
            return ui_fail(cli, EXIT_WORK, "cannot read standard input: %s", strerror(errno));
        }
        chat->ended = n == 0;
        if (n > 0 && !buf_add(in, chunk, (size_t)n)) {
            return ui_fail(cli, EXIT_WORK, "a line is longer than %d MiB, the most one may be",
                           PROMPT_CEILING >> 20);
        }
    }
}

static int check_line(struct chat *chat, const struct buf *line) {
    size_t good = utf8_check(line->data, line->size);
    if (good < line->size) {
        return ui_fail(chat->work.cli, EXIT_WORK,
                       "the message is not valid UTF-8: byte 0x%02x at offset %zu of %zu",
                       (unsigned)(unsigned char)line->data[good], good, line->size);
    }
    if (memchr(line->data, '\0', line->size) != NULL) {
        return ui_fail(chat->work.cli, EXIT_WORK, "the message has a NUL byte; take it out");
    }
    return EXIT_FINE;
}

/* ---- a reply ---- */

static void note_why(struct chat *chat, const struct packllm_piece *piece) {
    struct packllm_why why;
    if (!chat->work.session_params.why || packllm_session_why(chat->work.session, &why) < 0) {
        return;
    }
    if (chat->work.cli->json) {
        run_why_json(&chat->why_json, &chat->weights, piece, &why);
    } else {
        run_why_line(&chat->why, piece, &why);
    }
}

static void begin_why(struct chat *chat) {
    buf_cut(&chat->why, 0);
    if (chat->work.session_params.why && chat->work.cli->json) {
        json_init(&chat->why_json, &chat->why);
        json_begin_array(&chat->why_json);
    } else if (chat->work.session_params.why) {
        run_why_head(&chat->why, &chat->weights);
    }
}

static int print_json(struct chat *chat, const char *finish) {
    struct work *work = &chat->work;
    struct packllm_stats stats;
    enum packllm_status status = packllm_session_stats(work->session, &stats, &work->err);
    if (status < 0) {
        return ui_status(work->cli, status, &work->err);
    }
    struct buf out;
    struct json json;
    buf_init(&out, RESULT_CEILING);
    json_init(&json, &out);
    json_begin_object(&json);
    json_key(&json, "text");
    json_bytes(&json, chat->reply.data != NULL ? chat->reply.data : "", chat->reply.size);
    json_key_text(&json, "finish", finish);
    json_key_uint(&json, "bytes", chat->reply.size);
    json_key_uint(&json, "message", chat->n - 1); /* number of the user's, from 0 */
    run_stats_json(&json, &chat->weights, &stats);
    if (work->session_params.why) {
        json_end_array(&chat->why_json);
        json_key(&json, "why");
        json_raw(&json, chat->why.data, chat->why.size);
        out.failed = out.failed || chat->why.failed;
    }
    json_end_object(&json);
    int code = output_json(work->cli, &out);
    buf_done(&out);
    return code;
}

static int write_reply(struct chat *chat) {
    struct work *work = &chat->work;
    for (;;) {
        struct packllm_piece piece = {.text = "", .token = -1};
        enum packllm_status status = packllm_session_step(work->session, &piece, &work->err);
        if (status < 0) {
            return ui_status(work->cli, status, &work->err);
        }
        if (stop_asked()) {
            return stop_exit();
        }
        if (piece.size > 0 && !buf_add(&chat->reply, piece.text, piece.size)) {
            return ui_fail(work->cli, EXIT_WORK, "the reply is too long, or there is no memory");
        }
        int code =
            work->cli->json ? EXIT_FINE : run_emit(work->cli, piece.text, piece.size, chat->safe);
        if (code != EXIT_FINE || status == PACKLLM_FINISHED) {
            return code;
        }
        note_why(chat, &piece);
    }
}

static int answer(struct chat *chat) {
    struct work *work = &chat->work;
    buf_cut(&chat->reply, 0);
    enum packllm_status status =
        packllm_session_chat(work->session, chat->messages, chat->n, &work->err);
    tty_progress_clear(&work->cli->progress);
    if (status == PACKLLM_E_CANCELLED && chat->talks && stop_forgive()) {
        drop_messages(chat, chat->n - 1);
        return EXIT_FINE;
    }
    if (status >= 0) {
        status = packllm_session_weights(work->session, &chat->weights);
    }
    if (status < 0) {
        int code = ui_status(work->cli, status, &work->err);
        drop_messages(chat, chat->n - 1);
        return chat->talks && status == PACKLLM_E_CONTEXT ? EXIT_FINE : code;
    }
    chat->weighed = true;
    begin_why(chat);
    int code = write_reply(chat);
    /* Ctrl-C, wherever it met the reply: in a step, or while a slow terminal was written to. */
    bool stopped = code > EXIT_SIGNAL && chat->talks && stop_forgive();
    code = stopped ? EXIT_FINE : code;
    if (code == EXIT_FINE && work->cli->json) {
        const char *finish =
            stopped ? "cancelled" : packllm_finish_name(packllm_session_finish(work->session));
        code = print_json(chat, finish);
    } else if (code == EXIT_FINE || (code > EXIT_SIGNAL && chat->safe)) {
        int end = output_write(work->cli, "\n", 1);
        code = code == EXIT_FINE ? end : code;
    }
    if (code == EXIT_FINE && !add_message(chat, "assistant", chat->reply.data, chat->reply.size)) {
        code = ui_fail(work->cli, EXIT_WORK, "out of memory");
    }
    return code;
}

/* ---- commands ---- */

static void show_weights(struct chat *chat) {
    struct buf table;
    if (!chat->weighed) {
        ui_line(chat->work.cli, UI_INFO, "no weights yet: they come with the first message");
        return;
    }
    buf_init(&table, RESULT_CEILING);
    table_weights(&table, &chat->weights, STDERR_FILENO);
    ui_lines(chat->work.cli, UI_INFO, &table);
    buf_done(&table);
}

static void show_why(struct chat *chat) {
    if (!chat->work.session_params.why) {
        ui_line(chat->work.cli, UI_INFO,
                "/why needs to be asked for at the start: packllm chat "
                "--why");
    } else if (chat->why.size == 0 || chat->work.cli->json) {
        ui_line(chat->work.cli, UI_INFO, "there is no reply yet, or it went out as JSON");
    } else {
        ui_lines(chat->work.cli, UI_INFO, &chat->why);
    }
}

static int command(struct chat *chat, const char *line, bool *quit) {
    struct cli *cli = chat->work.cli;
    char word[32] = "";
    size_t size = strcspn(line, " \t\r");
    memcpy(word, line, size < sizeof word ? size : sizeof word - 1);
    if (strcmp(word, "/quit") == 0 || strcmp(word, "/exit") == 0) {
        *quit = true;
    } else if (strcmp(word, "/reset") == 0) {
        drop_messages(chat, standing(chat));
        buf_cut(&chat->why, 0);
        chat->weighed = false;
        ui_line(cli, UI_INFO, "a new conversation");
    } else if (strcmp(word, "/weights") == 0) {
        show_weights(chat);
    } else if (strcmp(word, "/why") == 0) {
        show_why(chat);
    } else if (strcmp(word, "/help") == 0) {
        ui_line(cli, UI_INFO,
                "/weights  how much each member counts for this reply\n"
                "/why      what each member thought of its pieces (--why)\n"
                "/reset    begin a new conversation\n"
                "/quit     end, as does Ctrl-D; Ctrl-C stops a reply\n"
                "//…       a message that begins with a slash");
    } else if (chat->talks) {
        ui_warn(cli, "there is no %s; /help lists what there is", word);
    } else {
        return ui_fail(cli, EXIT_USE,
                       "there is no %s; a message that begins with a slash begins "
                       "with two",
                       word);
    }
    return EXIT_FINE;
}

static int take_line(struct chat *chat, struct buf *line, bool *quit) {
    if (line->size > 0 && line->data[line->size - 1] == '\r') {
        buf_cut(line, line->size - 1);
    }
    const char *text = line->data;
    if (line->size == 0 || strspn(text, " \t") == line->size) {
        return EXIT_FINE;
    }
    int code = check_line(chat, line);
    if (code != EXIT_FINE) {
        return chat->talks ? EXIT_FINE : code;
    }
    if (text[0] == '/' && text[1] != '/') {
        return command(chat, text, quit);
    }
    text += text[0] == '/';
    if (!add_message(chat, "user", text, strlen(text))) {
        return ui_fail(chat->work.cli, EXIT_WORK, "out of memory");
    }
    return answer(chat);
}

/* ---- the conversation ---- */

static void say_hello(struct chat *chat) {
    struct work *work = &chat->work;
    size_t plain = 0, n = packllm_pack_size(work->pack);
    struct packllm_member_info info;
    struct buf line;
    buf_init(&line, 1 << 16);
    for (size_t i = 0; i < n && packllm_pack_member(work->pack, i, &info) >= 0; i++) {
        (void)buf_printf(&line, "%s%s (%s)", i > 0 ? ", " : "", info.name, info.chat_template);
        plain += strcmp(info.chat_template, "plain") == 0;
        if (info.chat_warning != NULL) {
            ui_warn(work->cli, "%s", info.chat_warning);
        }
    }
    if (plain > 0 && plain < n) {
        ui_warn(work->cli,
                "chat models and base models in one pack: the base models know no turns, "
                "and may pull replies away from what the chat models would say");
    }
    if (chat->talks && !work->cli->quiet && line.data != NULL) {
        (void)buf_add_text(&line, "; /help lists commands");
        ui_line(work->cli, UI_INFO, line.data);
    }
    buf_done(&line);
}

static int converse(struct chat *chat) {
    struct cli *cli = chat->work.cli;
    const char *system = opt_text(&cli->args, OPT_SYSTEM_PROMPT);
    struct buf line;
    bool got = true, quit = false;
    int code = EXIT_FINE;
    say_hello(chat);
    if (system != NULL && !add_message(chat, "system", system, strlen(system))) {
        return ui_fail(cli, EXIT_WORK, "out of memory");
    }
    buf_init(&line, PROMPT_CEILING);
    while (code == EXIT_FINE && !quit) {
        if (chat->talks && tty_is(STDERR_FILENO)) {
            (void)fputs("> ", stderr);
            (void)fflush(stderr);
        }
        code = next_line(chat, &line, &got);
        if (code != EXIT_FINE || !got) {
            break;
        }
        code = take_line(chat, &line, &quit);
    }
    if (chat->talks && !quit && tty_is(STDERR_FILENO)) {
        (void)fputs("\n", stderr);
    }
    buf_done(&line);
    return code;
}

int cmd_chat(struct cli *cli) {
    struct chat chat = {.talks = isatty(STDIN_FILENO) == 1, .safe = isatty(STDOUT_FILENO) == 1};
    bool going = false;
    const char *system = opt_text(&cli->args, OPT_SYSTEM_PROMPT);
    if (system != NULL && utf8_check(system, strlen(system)) < strlen(system)) {
        return ui_fail(cli, EXIT_USE, "-sys: the text is not valid UTF-8");
    }
    buf_init(&chat.input, PROMPT_CEILING);
    buf_init(&chat.reply, RESULT_CEILING);
    buf_init(&chat.why, RESULT_CEILING);
    int code = work_begin(&chat.work, cli, NULL, &going);
    if (going) {
        code = converse(&chat);
    }
    work_done(&chat.work);
    drop_messages(&chat, 0);
    base_free(chat.messages);
    buf_done(&chat.input);
    buf_done(&chat.reply);
    buf_done(&chat.why);
    return code;
}
