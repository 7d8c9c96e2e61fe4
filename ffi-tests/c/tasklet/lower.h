/*
 * The transport below the mux: bytes that a test pushes, or a socket. Read interest is off after its first report, and
 * looks again when it is armed; an end is reported whether it is armed or not, once nothing is left to read.
 */

#ifndef TASKLET_LOWER_H
#define TASKLET_LOWER_H

#include "sched.h"

#include <stddef.h>

enum lower_end { LOWER_OPEN, LOWER_ENDED, LOWER_BROKEN };

enum lower_outcome { LOWER_AGAIN = -1, LOWER_FAILED = -2 };

struct lower {
    struct sched *sched;
    struct tasklet *tasklet;
    int fd; /* a socket, or -1 */
    uint8_t *bytes;
    size_t bytes_max;
    uint32_t level;
    enum lower_end end;
    bool joins_end; /* the last bytes and the end come from the same receive */
    bool armed;
    bool hang_up_reported;
    uint32_t receives;
    uint32_t times_armed;
};

void lower_open(struct lower *lower, struct sched *sched, struct tasklet *tasklet, int fd);
void lower_close(struct lower *lower);

/* The peer's side of the simulation. */
void lower_push(struct lower *lower, const uint8_t *bytes, uint32_t count);
void lower_finish(struct lower *lower);
void lower_break(struct lower *lower);

/* At most `count` bytes; 0 at the end of the stream; else an outcome. `*ended` if the end came along with the bytes. */
int32_t lower_receive(struct lower *lower, uint8_t *area, uint32_t count, bool *ended);

void lower_arm(struct lower *lower);
void lower_disarm(struct lower *lower);

/* Looks at sockets once, without waiting. */
void lower_poll(struct lower *lower);

#endif
