/* A buffer from the allocator of the C library for each receive. */
#include "connection.h"

static inline char *get_buffer(connection_t *connection) {
    (void)connection;
    char *area = malloc(BUFFER_BYTES);
    if (area == NULL)
        fail("no memory");
    return area;
}

static inline void put_buffer(connection_t *connection) {
    free(connection->buffer.area);
    connection->buffer = (buffer_t){0};
}

static inline waiter_t *next_woken(void) {
    return NULL;
}

static void start(void) {
    start_connections();
}

static void finish(uint64_t cycles) {
    (void)cycles;
    check_connections();
}
