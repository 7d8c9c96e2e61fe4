/* The present way: a queue and a free list for each thread, and one shared count of the buffers that exist. A buffer
 * that comes back goes to the first waiter of its own thread, else into the thread's list. No other thread is
 * signalled, so one with waiters and without buffers must try again by itself; that it does so every millisecond is
 * more than the original does: its waiters wait until their own thread releases something. */
#define _GNU_SOURCE
#include "load.h"

/* The most buffers in the list of a thread. */
#define LISTED_MAX 64

typedef struct {
    APART buffer_t *unused;
    unsigned listed;
    connection_t *first_waiter, **last_waiter;
    connection_t *served;
} local_t;

static local_t *locals;
static unsigned buffers_max;
static APART _Atomic unsigned exist;

static void pool_start(unsigned buffers, unsigned threads) {
    locals = allocate(threads, sizeof *locals);
    for (unsigned i = 0; i < threads; i++)
        locals[i].last_waiter = &locals[i].first_waiter;
    buffers_max = buffers;
    pool_sleep_ns = 1000000;
}

static buffer_t *find(local_t *local) {
    buffer_t *buffer = local->unused;
    if (buffer != NULL) {
        local->unused = buffer->next;
        local->listed--;
        return buffer;
    }
    unsigned count = atomic_load_explicit(&exist, memory_order_relaxed);
    do {
        if (count >= buffers_max)
            return NULL;
    } while (
        !atomic_compare_exchange_weak_explicit(&exist, &count, count + 1, memory_order_relaxed, memory_order_relaxed));
    return allocate(1, sizeof *buffer);
}

static int pool_get(unsigned thread, connection_t *connection) {
    local_t *local = &locals[thread];
    if (local->first_waiter == NULL) {
        connection->buffer = find(local);
        if (connection->buffer != NULL)
            return 1;
    }
    connection->next = NULL;
    *local->last_waiter = connection;
    local->last_waiter = &connection->next;
    return 0;
}

static void serve(local_t *local, buffer_t *buffer) {
    connection_t *waiter = local->first_waiter;
    local->first_waiter = waiter->next;
    if (local->first_waiter == NULL)
        local->last_waiter = &local->first_waiter;
    waiter->buffer = buffer;
    waiter->next = local->served;
    local->served = waiter;
}

static void pool_put(unsigned thread, buffer_t *buffer) {
    local_t *local = &locals[thread];
    if (local->first_waiter != NULL) {
        serve(local, buffer);
    } else if (local->listed < LISTED_MAX) {
        buffer->next = local->unused;
        local->unused = buffer;
        local->listed++;
    } else {
        free(buffer);
        atomic_fetch_sub_explicit(&exist, 1, memory_order_relaxed);
    }
}

static connection_t *pool_served(unsigned thread) {
    local_t *local = &locals[thread];
    if (local->served == NULL && local->first_waiter != NULL) {
        buffer_t *buffer = find(local);
        if (buffer != NULL)
            serve(local, buffer);
    }
    connection_t *served = local->served;
    local->served = NULL;
    return served;
}
