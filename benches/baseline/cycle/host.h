/* What every way of managing receive buffers is measured in: an event loop that finds each of a few connections
 * readable in turn. A way is a source file that includes this one and defines what is declared here. The transport and
 * the decoder are the host's and cost the same for all, so they are empty, but the compiler must not know that.
 *
 * Read interest stays armed while a connection may receive, as with a level-triggered poller. Built with -DONE_SHOT it
 * is off after its first report, and is armed anew.
 *
 * Usage: PROGRAM CYCLES; prints the nanoseconds that they took, the bytes that were received and those that were
 * decoded. Built with -DCOUNTED the time is 0: digits of a time would cost a varying number of instructions. Built with
 * -DRECV: PROGRAM CYCLES BYTES BUSY, where each cycle receives BYTES from a socket, and BUSY connections are readable
 * at once; what sends is not timed. */
#ifndef HOST_H
#define HOST_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 64
#define BUFFERS 8
#define BUFFER_BYTES 16448
#define RECEIVED_BYTES 100

static void start(void);
/* The connection is readable: receives once, decodes all, keeps nothing. */
static void cycle(unsigned index);
/* Once for each loop iteration: serves connections that waited for a buffer and may have one. */
static void end_iteration(void);
/* Ends the program unless every buffer is back and no connection waits. */
static void finish(uint64_t cycles);

/* What shows that each way has done the same. */
static uint64_t received_bytes, decoded_bytes;

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

#ifdef RECV
static int sockets[CONNECTIONS][2];

static void open_sockets(void) {
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets[i]) != 0)
            fail("socketpair");
    }
}

static void fill_sockets(unsigned busy, size_t bytes) {
    static const char content[BUFFER_BYTES];
    for (unsigned i = 0; i < busy; i++) {
        if (send(sockets[i][1], content, bytes, 0) != (ssize_t)bytes)
            fail("send");
    }
}
#endif

static inline uint32_t transport_receive(unsigned index, void *area, uint32_t room) {
#ifdef RECV
    ssize_t got = recv(sockets[index][0], area, room, 0);
    if (got <= 0)
        fail("recv");
#else
    uint32_t got = RECEIVED_BYTES;
    (void)index;
    __asm__ volatile("" : "+r"(got) : "r"(area), "r"(room) : "memory");
#endif
    received_bytes += (uint64_t)got;
    return (uint32_t)got;
}

/* As a receive that brings this many bytes, which the compiler must not know. */
static inline uint32_t transport_bytes(void *area, uint32_t bytes) {
    __asm__ volatile("" : "+r"(bytes) : "r"(area) : "memory");
    received_bytes += bytes;
    return bytes;
}

/* Returns how many bytes it took: all. */
static inline uint32_t run_decoder(const void *data, uint32_t bytes) {
    __asm__ volatile("" : "+r"(bytes) : "r"(data) : "memory");
    decoded_bytes += bytes;
    return bytes;
}

/* At the start of a page, as is best for the system's copies; and each is touched, so that none is missing while it is
   measured. */
static inline char *allocate(size_t bytes) {
    char *memory = aligned_alloc(4096, bytes);
    if (memory == NULL)
        fail("no memory");
    return memset(memory, 1, bytes);
}

static uint64_t now_ns(void) {
    struct timespec now = {0, 0};
#ifndef COUNTED
    clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline void run_iteration(unsigned busy) {
    for (unsigned index = 0; index < busy; index++)
        cycle(index);
    end_iteration();
}

int main(int argc, char **argv) {
    uint64_t spent = 0, iterations, cycles = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    unsigned busy = CONNECTIONS;
    start();
#ifdef RECV
    size_t bytes = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    busy = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    /* A receive that fills the buffer would not run dry. */
    if (bytes == 0 || bytes >= BUFFER_BYTES || busy == 0 || busy > CONNECTIONS)
        fail("usage: PROGRAM CYCLES BYTES BUSY");
    iterations = cycles / busy;
    open_sockets();
    for (uint64_t iteration = 0; iteration < iterations; iteration++) {
        fill_sockets(busy, bytes);
        uint64_t begin = now_ns();
        run_iteration(busy);
        spent += now_ns() - begin;
    }
#else
    iterations = cycles / CONNECTIONS;
    uint64_t begin = now_ns();
    for (uint64_t iteration = 0; iteration < iterations; iteration++)
        run_iteration(CONNECTIONS);
    spent = now_ns() - begin;
#endif
    if (iterations == 0)
        fail("too few cycles");
    finish(iterations * busy);
    printf("%llu %llu %llu\n", (unsigned long long)spent, (unsigned long long)received_bytes,
           (unsigned long long)decoded_bytes);
    return 0;
}

#endif
