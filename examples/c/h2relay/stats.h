/* The relay's statistics. */
#ifndef H2RELAY_STATS_H
#define H2RELAY_STATS_H

#include "relay.h"

#include <stdbool.h>
#include <stdint.h>

enum { FIGURES_MAX = 112, NAME_BYTES = 40 };

struct figure {
    char name[NAME_BYTES];
    uint64_t value;
    bool is_peak;
};

/* The same for each thread, so that they can be added up, and printed in two ways. */
struct figures {
    struct figure list[FIGURES_MAX];
    uint32_t count;
};

/* How a thread stands; called on that thread. */
void stats_collect(struct figures *figures, struct relay *relay);

/* Adds those of one more thread. */
void stats_add(struct figures *sum, const struct figures *figures);

/* Prints to stderr (unless quiet) and writes the JSON file (if there is one), so that a reader of the file finds
   either the old statistics or the new ones, whole. Two files are open, one after the other. */
void stats_report(const struct figures *figures, const struct options *options);

#endif
