/* consumer.c - what a program outside this tree looks like: the installed header, one call. */
#include <packllm/packllm.h>

#include <stdio.h>
#include <string.h>

int main(void) {
    puts(packllm_version());
    return strcmp(packllm_version(), PACKLLM_VERSION) == 0 ? 0 : 1;
}
