/* The loads that each pool is measured under, the same as in benches/threads.rs. A pool is a source file that defines
 * what is declared here and then includes this file, so that the compiler may inline it into the loads.
 *
 * Usage: PROGRAM uncontended|exhausted THREADS MILLISECONDS; prints operations, the fewest of a thread, and
 * nanoseconds. */
#ifndef LOAD_H
#define LOAD_H

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Buffers for each thread when there are enough, and how many it takes at once. */
#define ENOUGH 16
#define AT_ONCE 8
/* Buffers and connections for each thread when there are not. */
#define FEW 8
#define CONNECTIONS 32

/* Keeps threads off each other's cache lines; two, because processors fetch them in pairs. */
#define APART _Alignas(128)

/* Where a thread sleeps: 1 is signalled, 0 is awake, -1 is asleep. */
typedef struct {
    APART _Atomic int state;
} bed_t;

static void futex(_Atomic int *word, int what, int value, const struct timespec *timeout) {
    syscall(SYS_futex, word, what | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

static void bed_signal(bed_t *bed) {
    if (atomic_exchange_explicit(&bed->state, 1, memory_order_release) == -1)
        futex(&bed->state, FUTEX_WAKE, 1, NULL);
}

static void bed_sleep(bed_t *bed, long nanoseconds) {
    const struct timespec timeout = {.tv_sec = 0, .tv_nsec = nanoseconds};
    if (atomic_fetch_sub_explicit(&bed->state, 1, memory_order_acquire) == 1)
        return;
    futex(&bed->state, FUTEX_WAIT, -1, &timeout);
    atomic_exchange_explicit(&bed->state, 0, memory_order_acquire);
}

/* One buffer; and one connection that wants one. A pool may link them as it likes. */
typedef struct buffer {
    APART struct buffer *next;
} buffer_t;

typedef struct connection {
    struct connection *next;
    buffer_t *buffer;
    unsigned thread;
} connection_t;

/* How long a thread with nothing to do sleeps if it is not signalled. */
static long pool_sleep_ns;
static void pool_start(unsigned buffers, unsigned threads);
/* Gets a buffer into `connection->buffer`; or queues the connection and returns 0. */
static int pool_get(unsigned thread, connection_t *connection);
static void pool_put(unsigned thread, buffer_t *buffer);
/* The connections of this thread that were queued and have a buffer now, linked by `next`. */
static connection_t *pool_served(unsigned thread);

static bed_t *beds;
static APART atomic_bool stop;
static pthread_barrier_t start;

typedef struct {
    APART pthread_t id;
    unsigned index;
    uint64_t operations;
} worker_t;

static void *allocate(size_t count, size_t size) {
    void *memory = aligned_alloc(128, (count * size + 127) / 128 * 128);
    if (memory == NULL) {
        perror("aligned_alloc");
        exit(1);
    }
    return memset(memory, 0, (count * size + 127) / 128 * 128);
}

/* Takes a few buffers and releases them, again and again. */
static void *uncontended(void *argument) {
    worker_t *worker = argument;
    connection_t connections[AT_ONCE] = {{NULL, NULL, 0}};
    uint64_t operations = 0;
    pthread_barrier_wait(&start);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        for (unsigned turn = 0; turn < 64; turn++) {
            for (unsigned i = 0; i < AT_ONCE; i++)
                if (!pool_get(worker->index, &connections[i]))
                    abort();
            for (unsigned i = 0; i < AT_ONCE; i++)
                pool_put(worker->index, connections[i].buffer);
        }
        operations += 64 * AT_ONCE;
    }
    worker->operations = operations;
    return NULL;
}

/* An event loop: each connection that has a buffer releases it and wants one again; with nothing to do it sleeps. */
static void *exhausted(void *argument) {
    worker_t *worker = argument;
    unsigned thread = worker->index;
    connection_t *connections = allocate(CONNECTIONS, sizeof *connections);
    connection_t *held = NULL;
    uint64_t operations = 0;
    pthread_barrier_wait(&start);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        connections[i].thread = thread;
        if (pool_get(thread, &connections[i])) {
            connections[i].next = held;
            held = &connections[i];
        }
    }
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        connection_t *turn[2] = {held, pool_served(thread)};
        if (turn[0] == NULL && turn[1] == NULL) {
            bed_sleep(&beds[thread], pool_sleep_ns);
            continue;
        }
        held = NULL;
        for (unsigned list = 0; list < 2; list++) {
            for (connection_t *next, *connection = turn[list]; connection != NULL; connection = next) {
                next = connection->next;
                pool_put(thread, connection->buffer);
                operations++;
                if (pool_get(thread, connection)) {
                    connection->next = held;
                    held = connection;
                }
            }
        }
    }
    worker->operations = operations;
    return NULL;
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s uncontended|exhausted THREADS MILLISECONDS\n", argv[0]);
        return 2;
    }
    int is_exhausted = strcmp(argv[1], "exhausted") == 0;
    unsigned threads = (unsigned)strtoul(argv[2], NULL, 10);
    uint64_t milliseconds = strtoull(argv[3], NULL, 10);
    worker_t *workers = allocate(threads, sizeof *workers);
    beds = allocate(threads, sizeof *beds);
    pool_start(threads * (is_exhausted ? FEW : ENOUGH), threads);
    pthread_barrier_init(&start, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++) {
        workers[i].index = i;
        if (pthread_create(&workers[i].id, NULL, is_exhausted ? exhausted : uncontended, &workers[i]) != 0)
            return 1;
    }
    pthread_barrier_wait(&start);
    uint64_t begin = now_ns();
    struct timespec pause = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000000};
    nanosleep(&pause, NULL);
    atomic_store(&stop, 1);
    uint64_t nanoseconds = now_ns() - begin;
    uint64_t all = 0, fewest = UINT64_MAX;
    for (unsigned i = 0; i < threads; i++) {
        bed_signal(&beds[i]);
        pthread_join(workers[i].id, NULL);
        all += workers[i].operations;
        if (workers[i].operations < fewest)
            fewest = workers[i].operations;
    }
    printf("%llu %llu %llu\n", (unsigned long long)all, (unsigned long long)fewest, (unsigned long long)nanoseconds);
    return 0;
}

#endif
