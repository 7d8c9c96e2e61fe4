/* Connections that take their buffers from a pool: one of the files that define `pool_take` and its like. */
#ifndef POOLED_H
#define POOLED_H

#include "connection.h"

static inline char *get_buffer(connection_t *connection) {
    return pool_take(&connection->waiter, LEVEL_RECEIVE);
}

static inline void put_buffer(connection_t *connection) {
    pool_give(connection->buffer.area);
    connection->buffer = (buffer_t){0};
}

static inline waiter_t *next_woken(void) {
    return pool_woken();
}

static void start(void) {
    pool_start(allocate((size_t)BUFFERS * BUFFER_BYTES), BUFFERS, BUFFER_BYTES);
    start_connections();
}

static void finish(uint64_t cycles) {
    (void)cycles;
    check_connections();
    if (!pool_is_at_rest(BUFFERS))
        fail("a buffer is missing");
}

#endif
