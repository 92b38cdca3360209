/* clock.h - time that passes, for figures and waiting: no date. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/* Seconds since some moment, by CLOCK_MONOTONIC. From any thread. */
double base_clock(void);

#endif
