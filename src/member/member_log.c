/* member_log.c - see member_log.h. */
#include "member/member_log.h"

#include <stdio.h>
#include <string.h>

enum { LEVEL_INFO = 2, LEVEL_WARNING = 3, LEVEL_ERROR = 4 };

static _Thread_local struct {
    char line[512];
    size_t size;
    int level;
    char error[512];
    char warning[512];
    void (*log)(void *data, int level, const char *line);
    void *data;
} state;

static void flush(void) {
    char *line = state.line;
    line[state.size] = '\0';
    state.size = 0;
    if (line[0] == '\0') {
        return;
    }
    if (state.log != NULL) {
        state.log(state.data, state.level, line);
    }
    /* "function: text": the function's name says nothing to a user. */
    const char *text = strstr(line, ": ");
    text = text != NULL && strcspn(line, " ") > (size_t)(text - line) ? text + 2 : line;
    if (state.level >= LEVEL_ERROR && state.error[0] == '\0') {
        (void)snprintf(state.error, sizeof state.error, "%s", text);
    } else if (state.level == LEVEL_WARNING) {
        (void)snprintf(state.warning, sizeof state.warning, "%s", text);
    }
}

void member_log_begin(void (*log)(void *data, int level, const char *line), void *data) {
    state.size = 0;
    state.level = LEVEL_INFO;
    state.error[0] = state.warning[0] = '\0';
    state.log = log;
    state.data = data;
}

void member_log_add(int level, const char *text) {
    if (level != MEMBER_LOG_SAME) {
        flush();
        state.level = level;
    }
    for (; *text != '\0'; text++) {
        if (*text == '\n' || state.size == sizeof state.line - 1) {
            flush();
        }
        if (*text != '\n') {
            state.line[state.size++] = *text;
        }
    }
}

const char *member_log_end(void) {
    flush();
    state.log = NULL;
    return state.error[0] != '\0'     ? state.error
           : state.warning[0] != '\0' ? state.warning
                                      : "libllama gave no reason";
}
