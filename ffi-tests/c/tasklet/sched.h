/*
 * A run queue of tasklets. Each is queued at most once; the reasons to run it add up until it runs.
 */

#ifndef TASKLET_SCHED_H
#define TASKLET_SCHED_H

#include <stdbool.h>
#include <stdint.h>

enum wake_reason {
    WAKE_READABLE = 1, /* read interest reported, and is off */
    WAKE_HANG_UP = 2,  /* the lower layer saw an end, armed or not */
    WAKE_GRANTED = 4,  /* the pool handed a buffer over */
    WAKE_UNBLOCKED = 8,
    WAKE_RESUME = 16, /* the iteration before left work */
    WAKE_NUDGE = 32,  /* a wake-up for nothing */
};

struct tasklet {
    struct tasklet *next;
    bool queued;
    uint32_t reasons;
    void (*run)(void *context, uint32_t reasons);
    void *context;
};

struct sched {
    struct tasklet *first;
    struct tasklet *last;
};

/* Queues the tasklet if it is not queued yet, and adds the reasons. */
void sched_wake(struct sched *sched, struct tasklet *tasklet, uint32_t reasons);

/* Takes the tasklet out of the queue, if it is there. */
void sched_remove(struct sched *sched, struct tasklet *tasklet);

/* Runs the first tasklet; false if there is none. */
bool sched_run(struct sched *sched);

#endif
