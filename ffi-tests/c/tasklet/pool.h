/*
 * The host's own buffers: a fixed number, a queue for each need, and a released buffer is assigned to the next waiter
 * before any other request can see it.
 */

#ifndef TASKLET_POOL_H
#define TASKLET_POOL_H

#include "sched.h"

/* The needs for a buffer, the most critical first. */
enum need { NEED_TRANSMIT, NEED_STREAM, NEED_RECEIVE, NEEDS };

enum waiter_state { WAITER_IDLE, WAITER_QUEUED, WAITER_ASSIGNED, WAITER_RETIRED };

/* One need of one owner. */
struct waiter {
    struct waiter *previous;
    struct waiter *next;
    struct tasklet *tasklet; /* woken when a buffer is assigned */
    enum need need;
    enum waiter_state state;
    uint8_t *area; /* the assigned buffer */
};

enum pool_outcome { POOL_GRANTED, POOL_QUEUED, POOL_REFUSED };

struct pool {
    struct sched *sched;
    uint8_t *arena;
    bool *leased; /* for each buffer: it is not free */
    uint32_t buffers;
    uint32_t buffer_bytes;
    uint32_t free;
    uint32_t assigned;
    uint32_t reserves[NEEDS]; /* a need is served only while more buffers than this are free */
    struct waiter *first[NEEDS];
    struct waiter *last[NEEDS];
    uint64_t handoffs;
};

void pool_open(struct pool *pool, struct sched *sched, uint32_t buffers, uint32_t buffer_bytes);

/* Everything must be back. */
void pool_close(struct pool *pool);

/* Takes a buffer, or queues the waiter; refused if it is queued, has one assigned, or is retired. */
enum pool_outcome pool_request(struct pool *pool, struct waiter *waiter, uint8_t **area);

/* Releases a buffer; the next waiter has it when this returns. False if it is not a leased one of this pool. */
bool pool_release(struct pool *pool, uint8_t *area);

/* Picks up the assigned buffer. */
uint8_t *pool_take(struct pool *pool, struct waiter *waiter);

/* Leaves the queue; an assigned buffer goes to the next waiter in the same step. */
void pool_cancel(struct pool *pool, struct waiter *waiter);

/* Cancels, and refuses every later request. */
void pool_retire(struct pool *pool, struct waiter *waiter);

#endif
