/* clock.c - see clock.h. */
#include "base/clock.h"

#include <time.h>

double base_clock(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
