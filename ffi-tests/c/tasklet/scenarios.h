/* The scenarios, by name, and the stage they play on. */

#ifndef TASKLET_SCENARIOS_H
#define TASKLET_SCENARIOS_H

#include "support.h"
#include "mux.h"

enum { CAST_MAX = 48, BUFFER_BYTES = 64, ONE_SHOT = DEMUXBUF_MODE_ONE_SHOT, OPTIMISTIC = DEMUXBUF_MODE_OPTIMISTIC };

/* One connection and its peer. */
struct actor {
    struct mux mux;
    struct peer peer;
};

struct stage {
    struct host host;
    struct actor cast[CAST_MAX];
    uint32_t count;
};

struct scenario {
    const char *name;
    void (*play)(struct stage *stage);
};

void stage_open(struct stage *stage, uint32_t buffers, uint32_t buffer_bytes);
/* Closes every connection; each finished once, and every buffer is back. */
void stage_close(struct stage *stage);

/* A connection that is past its preface, attached without a buffer, and settled. */
struct actor *join(struct stage *stage, uint8_t mode);
/* As `join`, and it parks small partial frames. */
struct actor *join_parking(struct stage *stage, uint8_t mode);
/* As `join`, and it holds a buffer with a partial header block. */
struct actor *join_holding(struct stage *stage, uint8_t mode);
/* As `join`, and a partial header block waits for a buffer; none must be free. */
struct actor *join_waiting(struct stage *stage, uint8_t mode);
/* What is missing of it. */
void send_rest(struct actor *actor);

/* Sends everything that is written and runs until nothing is left to do. */
void deliver(struct stage *stage, struct actor *actor);

static inline bool is_holding(const struct actor *actor) {
    return actor->mux.ring.area != NULL && actor->mux.ring.owner != RING_OF_SLOT;
}

static inline enum waiter_state wait_state(const struct actor *actor) {
    return actor->mux.waits[NEED_RECEIVE].state;
}

extern const struct scenario QUEUE_SCENARIOS[], DECODE_SCENARIOS[], END_SCENARIOS[];

/* Thousands of random steps, then rest: nothing is stuck. */
void soak(uint64_t seed, uint32_t steps);
/* Real sockets under the same mux. */
void sockets(uint64_t seed);
/* A partial header is parked, and the socket wakes the host once the rest is there. */
void low_water_mark(void);

#endif
