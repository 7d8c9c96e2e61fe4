/* The state machine of the library alone, in a host that has buffers, a queue and read interest of its own, the same as
 * in per_thread.c with one-shot read interest. Two calls for a cycle: `readable`, and `sync` when the decoder has
 * run. */
#ifndef ONE_SHOT
#error "read interest that stays armed needs a third call, for a receive that ran dry"
#endif
#include "host.h"
#include "per_thread.h"

#include <demuxbuf.h>

typedef struct {
    waiter_t waiter;
    demuxbuf_connection state;
    char *area;
    uint32_t head;
    uint32_t level;
    uint32_t blocked;
} connection_t;

typedef struct {
    connection_t *armed_by;
} lower_t;

static connection_t connections[CONNECTIONS];
static lower_t lowers[CONNECTIONS];

static inline void arm(connection_t *connection, unsigned index) {
    lowers[index].armed_by = connection;
}

static inline __attribute__((always_inline)) void run(connection_t *connection, unsigned index, uint32_t actions) {
    while ((actions & (DEMUXBUF_REQUEST_BUFFER | DEMUXBUF_RECV | DEMUXBUF_DECODE)) != 0) {
        bool is_short = false, is_dry = false;
        if (connection->area == NULL) {
            connection->area = pool_take(&connection->waiter, LEVEL_RECEIVE);
            if (connection->area == NULL) {
                actions = demuxbuf_connection_buffer_denied(&connection->state);
                break;
            }
        }
        if ((actions & DEMUXBUF_DECODE) == 0) {
            if (connection->head != 0) {
                memmove(connection->area, connection->area + connection->head, connection->level);
                connection->head = 0;
            }
            uint32_t room = BUFFER_BYTES - connection->level;
            uint32_t got = transport_receive(index, connection->area + connection->level, room);
            connection->level += got;
            is_dry = got < room;
        }
        while (connection->level != 0 && connection->blocked == 0 && !is_short) {
            uint32_t taken = run_decoder(connection->area + connection->head, connection->level);
            is_short = taken == 0;
            connection->level -= taken;
            connection->head = connection->level != 0 ? connection->head + taken : 0;
        }
        if (connection->level == 0) {
            pool_give(connection->area);
            connection->area = NULL;
        }
        if (is_dry)
            arm(connection, index);
        actions =
            demuxbuf_connection_sync(&connection->state, connection->level, connection->area != NULL ? BUFFER_BYTES : 0,
                                     connection->blocked, is_short, lowers[index].armed_by != NULL);
    }
    if ((actions & DEMUXBUF_WANT_RECV) != 0) {
        arm(connection, index);
        actions = demuxbuf_connection_done(&connection->state, DEMUXBUF_WANT_RECV);
    }
    if (actions != 0)
        fail("there is something else to do");
}

static void cycle(unsigned index) {
    connection_t *connection = lowers[index].armed_by;
    if (connection == NULL)
        return;
    lowers[index].armed_by = NULL;
    run(connection, index, demuxbuf_connection_readable(&connection->state));
}

static void end_iteration(void) {
    for (waiter_t *waiter; (waiter = pool_woken()) != NULL;) {
        connection_t *connection = (connection_t *)(void *)waiter;
        connection->area = pool_take(waiter, LEVEL_RECEIVE);
        if (connection->area == NULL)
            continue;
        run(connection, (unsigned)(connection - connections),
            demuxbuf_connection_buffer_granted(&connection->state, BUFFER_BYTES));
    }
}

static void start(void) {
    const demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = DEMUXBUF_MODE_ONE_SHOT};
    pool_start(allocate((size_t)BUFFERS * BUFFER_BYTES), BUFFERS, BUFFER_BYTES);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        connection_t *connection = &connections[i];
        demuxbuf_connection_init(&connection->state, &policy, NULL, NULL);
        run(connection, i, demuxbuf_connection_attach(&connection->state, 0, 0));
    }
}

static void finish(uint64_t cycles) {
    (void)cycles;
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        if (demuxbuf_connection_pending(&connections[i].state) != 0 || lowers[i].armed_by != &connections[i])
            fail("a connection did not come to rest");
    }
    if (!pool_is_at_rest(BUFFERS))
        fail("a buffer is missing");
}
