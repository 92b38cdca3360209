/* number.h - numbers as text, the same in every locale: strict reading, shortest exact writing. */
#ifndef COMMON_NUMBER_H
#define COMMON_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

#define NUMBER_TEXT 40 /* room for any number written here, with its NUL */

enum number_result {
    NUMBER_OK,
    NUMBER_NOT,  /* not a number: empty, blanks, letters, "nan", "inf", hexadecimal */
    NUMBER_RANGE /* a number that the type cannot hold */
};

/* The whole text must be the number: [sign] digits, for doubles also [. digits] [e [sign] digits].
 * out_* is written only on NUMBER_OK. */
enum number_result number_int(const char *text, int64_t *out_value);
enum number_result number_uint(const char *text, uint64_t *out_value);
enum number_result number_double(const char *text, double *out_value);

/* The fewest digits that read back as the same double; value must be finite. */
void number_shortest(char out_text[NUMBER_TEXT], double value);

/* "1536", "1.5K", "8G", "8GiB": bytes above 0, in powers of 1024. */
enum number_result number_bytes(const char *text, uint64_t *out_bytes);

/* 1536 -> "1.5 KiB". */
void number_size(char out_text[NUMBER_TEXT], uint64_t bytes);

#endif
