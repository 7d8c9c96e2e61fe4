/* A buffer of its own for each connection, for as long as it lives. */
#include "connection.h"

static inline char *get_buffer(connection_t *connection) {
    (void)connection;
    return NULL;
}

static inline void put_buffer(connection_t *connection) {
    (void)connection;
}

static inline waiter_t *next_woken(void) {
    return NULL;
}

static void start(void) {
    char *memory = allocate((size_t)CONNECTIONS * BUFFER_BYTES);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        connections[i].buffer.area = memory + (size_t)i * BUFFER_BYTES;
        connections[i].buffer.size = BUFFER_BYTES;
    }
    start_connections();
}

static void finish(uint64_t cycles) {
    (void)cycles;
    check_connections();
}
