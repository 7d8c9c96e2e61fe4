/* Helpers of every part of this host: checks that name the scenario they failed in, and small helpers.
   */

#ifndef TASKLET_SUPPORT_H
#define TASKLET_SUPPORT_H

/* The scenario that runs now. */
extern const char *check_scenario;

#define CHECK_PART check_scenario
#include "../check.h"

static inline uint32_t least(uint32_t left, uint32_t right) {
    return left < right ? left : right;
}

static inline uint32_t most(uint32_t left, uint32_t right) {
    return left > right ? left : right;
}

/* Memory that must be there: without it a test proves nothing. */
static inline void *must_have(void *memory) {
    CHECK(memory != NULL);
    return memory;
}

/* A number below `limit`. */
static inline uint32_t random_below(uint64_t *state, uint32_t limit) {
    return check_random(state) % limit;
}

#endif
