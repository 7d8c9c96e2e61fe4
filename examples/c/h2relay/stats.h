/* What the relay tells about itself. */
#ifndef H2RELAY_STATS_H
#define H2RELAY_STATS_H

#include "relay.h"

#include <stdint.h>

/* Prints to stderr (unless quiet) and writes the JSON file (if there is one), so that a reader of the file finds
   either the old statistics or the new ones, whole. */
void stats_report(struct relay *relay, uint64_t started_ns);

#endif
