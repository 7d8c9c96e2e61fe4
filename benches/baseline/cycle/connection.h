/* One connection of a multiplexing proxy as such proxies write it by hand: flags, a buffer, a place in a queue, and
 * read interest in the transport. How buffers are had is up to the file that includes this one: it defines
 * `get_buffer`, `put_buffer` and `next_woken`. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "host.h"
#include "waiter.h"

#include <stdbool.h>

enum {
    IS_WAITING = 1, /* in the queue for a buffer */
    IS_FULL = 2,    /* no room to receive into */
    IS_SHORT = 4,   /* the decoder needs more bytes */
    IS_BLOCKED = 8, /* the decoder cannot go on for another reason */
    HAS_ENDED = 16,
    HAS_FAILED = 32,
};

enum { EVENT_RECEIVE = 1 };

typedef struct {
    char *area;
    uint32_t size; /* 0 for none */
    uint32_t head;
    uint32_t level;
} buffer_t;

typedef struct {
    waiter_t waiter;
    buffer_t buffer;
    uint32_t flags;
    uint32_t events; /* armed for */
} connection_t;

/* The transport below a connection. */
typedef struct {
    connection_t *armed_by;
} lower_t;

static connection_t connections[CONNECTIONS];
static lower_t lowers[CONNECTIONS];

/* A buffer; or NULL, and the connection is queued. */
static inline char *get_buffer(connection_t *connection);
static inline void put_buffer(connection_t *connection);
/* The next connection that had waited and may try again, or NULL. */
static inline waiter_t *next_woken(void);

static inline bool may_receive(const connection_t *connection) {
    if ((connection->flags & (HAS_ENDED | HAS_FAILED | IS_WAITING)) != 0)
        return false;
    return connection->buffer.level == 0 || (connection->flags & (IS_FULL | IS_BLOCKED)) == 0;
}

static inline void receive(connection_t *connection, unsigned index) {
    buffer_t *buffer = &connection->buffer;
    if (!may_receive(connection))
        return;
    if (buffer->size == 0) {
        buffer->area = get_buffer(connection);
        if (buffer->area == NULL) {
            connection->flags |= IS_WAITING;
            return;
        }
        buffer->size = BUFFER_BYTES;
    }
    if (buffer->head != 0) {
        memmove(buffer->area, buffer->area + buffer->head, buffer->level);
        buffer->head = 0;
    }
    buffer->level += transport_receive(index, buffer->area + buffer->level, buffer->size - buffer->level);
    connection->flags &= ~(uint32_t)IS_SHORT;
    if (buffer->level == buffer->size)
        connection->flags |= IS_FULL;
}

static inline void decode(connection_t *connection) {
    buffer_t *buffer = &connection->buffer;
    while (buffer->level != 0 && (connection->flags & (IS_SHORT | IS_BLOCKED | HAS_FAILED)) == 0) {
        uint32_t taken = run_decoder(buffer->area + buffer->head, buffer->level);
        if (taken == 0) {
            connection->flags |= IS_SHORT;
            return;
        }
        buffer->level -= taken;
        buffer->head = buffer->level != 0 ? buffer->head + taken : 0;
        connection->flags &= ~(uint32_t)IS_FULL;
    }
}

/* In the event loop itself, as if the loop had but this one kind of connection. */
static inline __attribute__((always_inline)) void run(connection_t *connection, unsigned index) {
    receive(connection, index);
    decode(connection);
    if (connection->buffer.size != 0 && connection->buffer.level == 0)
        put_buffer(connection);
    uint32_t events = may_receive(connection) ? EVENT_RECEIVE : 0;
    if (connection->events != events) {
        connection->events = events;
        lowers[index].armed_by = events != 0 ? connection : NULL;
    }
}

static void cycle(unsigned index) {
    connection_t *connection = lowers[index].armed_by;
    if (connection == NULL)
        return;
#ifdef ONE_SHOT
    lowers[index].armed_by = NULL;
    connection->events = 0;
#endif
    run(connection, index);
}

static void end_iteration(void) {
    for (waiter_t *waiter; (waiter = next_woken()) != NULL;) {
        connection_t *connection = (connection_t *)(void *)waiter;
        connection->flags &= ~(uint32_t)IS_WAITING;
        run(connection, (unsigned)(connection - connections));
    }
}

static void start_connections(void) {
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        connections[i].events = EVENT_RECEIVE;
        lowers[i].armed_by = &connections[i];
    }
}

static void check_connections(void) {
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        const connection_t *connection = &connections[i];
        if (connection->flags != 0 || connection->buffer.level != 0 || lowers[i].armed_by != connection)
            fail("a connection did not come to rest");
    }
}

#endif
