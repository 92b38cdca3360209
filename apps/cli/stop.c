/* stop.c - Ctrl-C and SIGTERM: the first asks the work to end, the second ends the process at once
 * (the handler removes itself); a chat forgives Ctrl-C, which then ended a reply. No terminal mode is changed anywhere, so none needs restoring. */
#include <signal.h>
#include <sys/select.h>

#include "cli.h"

static volatile sig_atomic_t asked;              /* the signal's number, 0: none */
static struct packllm_session *volatile current; /* to cancel */

static void on_signal(int number) {
    asked = number;
    struct packllm_session *session = current;
    if (session != NULL) {
        packllm_session_cancel(session); /* async-signal-safe by its contract */
    }
}

void stop_install(void) {
    struct sigaction action = {.sa_handler = on_signal};
    action.sa_flags = (int)SA_RESETHAND;
    (void)sigemptyset(&action.sa_mask);
    struct sigaction old;
    if (sigaction(SIGINT, NULL, &old) == 0 && old.sa_handler != SIG_IGN) {
        (void)sigaction(SIGINT, &action, NULL);
    }
    (void)sigaction(SIGTERM, &action, NULL);
    /* A closed pipe is an error of write(2), not the end of the process. */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigemptyset(&ignore.sa_mask);
    (void)sigaction(SIGPIPE, &ignore, NULL);
}

void stop_session(struct packllm_session *session) {
    current = session;
    if (session != NULL && asked != 0) { /* it came before there was a session */
        packllm_session_cancel(session);
    }
}

bool stop_forgive(void) {
    if (asked != SIGINT) {
        return false;
    }
    asked = 0;
    struct sigaction action = {.sa_handler = on_signal};
    action.sa_flags = (int)SA_RESETHAND;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    return true;
}

bool stop_asked(void) {
    return asked != 0;
}

void stop_wait(int descriptor) {
    sigset_t both, before;
    fd_set readable;
    (void)sigemptyset(&both);
    (void)sigaddset(&both, SIGINT);
    (void)sigaddset(&both, SIGTERM);
    FD_ZERO(&readable);
    FD_SET(descriptor, &readable);
    /* A signal between a look at `asked` and read() would be lost until the next line. */
    (void)pthread_sigmask(SIG_BLOCK, &both, &before);
    if (asked == 0) {
        (void)pselect(descriptor + 1, &readable, NULL, NULL, NULL, &before);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int stop_exit(void) {
    return EXIT_SIGNAL + (asked != 0 ? asked : SIGINT);
}
