/* fuzz_server_ask.c - bodies of requests: whatever comes, it is read or refused with a message. The first
 * byte says which route reads it. */
#include "server/ask.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const char *body = (const char *)data + 1;
    struct ask_error e = {0};
    bool fine;
    unsigned kind = data[0] % 5U;
    if (kind < 3) {
        struct ask ask;
        fine = ask_read(&ask, (enum ask_kind)kind, body, size - 1, &e);
        if (fine && (ask.n == 0 || ask.n > ASK_N || ask.n_prompts > ASK_PROMPTS ||
                     ask.max_tokens > ASK_TOKENS || ask.n_stop > ASK_STOPS)) {
            abort();
        }
        ask_done(&ask);
    } else {
        struct ask_text ask;
        fine = ask_text_read(&ask, kind == 4, body, size - 1, &e);
        ask_text_done(&ask);
    }
    if (!fine && (e.status < 400 || e.message[0] == '\0' ||
                  memchr(e.message, '\0', sizeof e.message) == NULL)) {
        abort();
    }
    return 0;
}
