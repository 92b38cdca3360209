/* member_log.h - the log of a library that writes pieces of lines to one global callback: lines are
 * put together per thread, passed on, and the one that says why a call failed is kept. */
#ifndef MEMBER_MEMBER_LOG_H
#define MEMBER_MEMBER_LOG_H

/* Levels as packllm_params.log has them: 1 debug, 2 info, 3 warning, 4 error. */
enum { MEMBER_LOG_SAME = -1 }; /* goes on with the line before */

/* A call of this thread begins: its lines go to log (NULL: nowhere). */
void member_log_begin(void (*log)(void *data, int level, const char *line), void *data);
void member_log_add(int level, const char *text);
/* The call has ended. Returns its first error (the most exact one), else its last warning, else a
 * sentence that says there was none; valid until this thread's next call. */
const char *member_log_end(void);

#endif
