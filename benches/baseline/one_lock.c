/* The way of 2017, at its best: one lock around the pool and its queue. A buffer that comes back is handed to the first
 * waiter under the lock (the original woke the waiter to try again, which is slower and unfair), and a thread is
 * signalled only if it has nothing to pick up yet. A thread picks up all it was given at once. */
#define _GNU_SOURCE
#include "load.h"

typedef struct {
    APART connection_t *served;
    atomic_bool is_signalled;
} inbox_t;

static APART pthread_mutex_t lock;
static APART buffer_t *unused;
static connection_t *first_waiter, **last_waiter = &first_waiter;
static inbox_t *inboxes;

static void pool_start(unsigned buffers, unsigned threads) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    /* Spins for a moment before it sleeps: what is done under the lock is short. */
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&lock, &attributes);
    inboxes = allocate(threads, sizeof *inboxes);
    buffer_t *all = allocate(buffers, sizeof *all);
    for (unsigned i = 0; i < buffers; i++) {
        all[i].next = unused;
        unused = &all[i];
    }
    pool_sleep_ns = 100000000;
}

static int pool_get(unsigned thread, connection_t *connection) {
    (void)thread;
    pthread_mutex_lock(&lock);
    buffer_t *buffer = unused;
    if (buffer != NULL) {
        unused = buffer->next;
    } else {
        connection->next = NULL;
        *last_waiter = connection;
        last_waiter = &connection->next;
    }
    /* Before the lock is free: after it, a waiter may have been served already. */
    connection->buffer = buffer;
    pthread_mutex_unlock(&lock);
    return buffer != NULL;
}

static void pool_put(unsigned thread, buffer_t *buffer) {
    pthread_mutex_lock(&lock);
    connection_t *waiter = first_waiter;
    if (waiter == NULL) {
        buffer->next = unused;
        unused = buffer;
        pthread_mutex_unlock(&lock);
        return;
    }
    first_waiter = waiter->next;
    if (first_waiter == NULL)
        last_waiter = &first_waiter;
    unsigned other = waiter->thread;
    inbox_t *inbox = &inboxes[other];
    waiter->buffer = buffer;
    waiter->next = inbox->served;
    inbox->served = waiter;
    int was_signalled = atomic_load_explicit(&inbox->is_signalled, memory_order_relaxed);
    atomic_store_explicit(&inbox->is_signalled, 1, memory_order_release);
    pthread_mutex_unlock(&lock);
    if (!was_signalled && other != thread)
        bed_signal(&beds[other]);
}

static connection_t *pool_served(unsigned thread) {
    inbox_t *inbox = &inboxes[thread];
    if (!atomic_load_explicit(&inbox->is_signalled, memory_order_acquire))
        return NULL;
    pthread_mutex_lock(&lock);
    connection_t *served = inbox->served;
    inbox->served = NULL;
    atomic_store_explicit(&inbox->is_signalled, 0, memory_order_relaxed);
    pthread_mutex_unlock(&lock);
    return served;
}
