/* ids.h - a small map from ids to numbers, for the sampler's counts and biases. sample's own.
 * Open addressing, power-of-two room, at most half full; nothing is ever taken out. */
#ifndef SAMPLE_IDS_H
#define SAMPLE_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ids_entry {
    int32_t id;
    bool used;
    double value;
};
struct ids {
    struct ids_entry *entries; /* [room], NULL while empty */
    size_t room, used;
};

void ids_done(struct ids *ids);
/* The value of id, or 0 where it is not in the map. */
double ids_get(const struct ids *ids, int32_t id);
/* Where the value of id stands, entered as 0 if new; NULL: no memory. Valid until the next call. */
double *ids_at(struct ids *ids, int32_t id);

#endif
