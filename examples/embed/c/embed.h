/* What the C servers of this folder have in common: options, the listening socket, the pool's settings, where a frame
   ends, and the statistics at the end. A frame is four bytes of length, big-endian, and a payload; it is echoed. */
#ifndef EMBED_H
#define EMBED_H

#define _GNU_SOURCE
#include <demuxbuf.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 1000, /* below 1024, the usual limit of open descriptors */
    BUFFER_BYTES = 16448,
    HEADER_BYTES = 4,
    SOCKET_FULL = 1, /* the reason of `block`: the peer does not read its echo */
    /* A buffer and a parking slot of each size. Each connection has a slot of 64 bytes beside these. */
    SHARE_BYTES = BUFFER_BYTES + 256 + 1024 + 4096,
    SLOTS_KIB = CONNECTIONS_MAX * 64 / 1024 + 1,
    MEMORY_KIB_MIN = 160,
    MEMORY_KIB_MAX = 1048576,
};

#define LEASE_NS 1000000000u

typedef struct {
    unsigned long port, memory_kib;
    const char *trigger; /* NULL for a program that has no such option */
} embed_options;

/* Wake-ups of the loop, and how often a frame found the socket full. */
typedef struct {
    uint64_t wakeups, blocked;
} embed_counts;

static inline uint64_t embed_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline unsigned long embed_number(const char *name, const char *text, unsigned long min, unsigned long max) {
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != 0 || errno != 0 || value < min || value > max) {
        fprintf(stderr, "--%s is \"%s\"; allowed is a number from %lu to %lu\n", name, text, min, max);
        exit(2);
    }
    return value;
}

/* With a wrong option, prints what is allowed and exits with status 2. */
static inline embed_options embed_parse(int argc, char **argv, const char *trigger) {
    static const struct option known[] = {
        {"port", 1, NULL, 'p'}, {"memory-kib", 1, NULL, 'm'}, {"trigger", 1, NULL, 't'}, {0}};
    embed_options options = {.memory_kib = 1024, .trigger = trigger};
    for (int found; (found = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (found == 'p') {
            options.port = embed_number("port", optarg, 0, 65535);
        } else if (found == 'm') {
            options.memory_kib = embed_number("memory-kib", optarg, MEMORY_KIB_MIN, MEMORY_KIB_MAX);
        } else if (found == 't' && trigger != NULL && (!strcmp(optarg, "level") || !strcmp(optarg, "edge"))) {
            options.trigger = optarg;
        } else {
            optind = argc + 1; /* getopt_long has named an option that it does not know */
            break;
        }
    }
    if (optind != argc) {
        fprintf(stderr, "usage: %s [--port 0..65535, 0 for any] [--memory-kib %d..%d]%s\n", argv[0], MEMORY_KIB_MIN,
                MEMORY_KIB_MAX, trigger != NULL ? " [--trigger level|edge]" : "");
        exit(2);
    }
    return options;
}

/* Listens on the loopback address and prints the port, also one that the system chose. */
static inline int embed_listen(const embed_options *options) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)options->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 1024) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        perror("listen");
        exit(1);
    }
    printf("port %u\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

/* Adds a descriptor to an epoll descriptor. */
static inline void embed_watch(int poller, int fd, uint32_t events, void *tag) {
    struct epoll_event event = {.events = events, .data.ptr = tag};
    if (fd < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

/* A descriptor that is readable once the process is to end. */
static inline int embed_signals(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    return signalfd(-1, &signals, SFD_CLOEXEC);
}

/* All memory to receive into, buffers and slots together, is within --memory-kib. */
static inline demuxbuf_pool *embed_pool(const embed_options *options, uint8_t mode) {
    uint32_t shares = (uint32_t)((options->memory_kib - SLOTS_KIB) * 1024 / SHARE_BYTES);
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    demuxbuf_pool *pool = NULL;
    char message[256];
    size_t message_bytes = sizeof message;
    demuxbuf_pool_config_init(&config, shares, CONNECTIONS_MAX);
    config.mode = mode;
    config.park_ns = 0;          /* while others wait, a partial frame of up to 4096 bytes moves to a slot at once, */
    config.lease_ns = LEASE_NS;  /* and a connection that holds a buffer without progress for 1 s is closed */
    config.reclaim_bytes = 4096; /* what is parked on demand; above that only the lease helps */
    for (int size = 0; size < 3; size++)
        config.large_slots[size] = shares;
    if (demuxbuf_pool_new(&config, &pool, message, &message_bytes) != DEMUXBUF_OK) {
        fprintf(stderr, "%s\n", message);
        exit(1);
    }
    return pool;
}

/* Length of the frame at the front with its header; of the header alone as long as that is not whole. What can never
   fit is cut down to the smallest such length. */
static inline uint32_t embed_frame_bytes(const uint8_t *data, uint32_t bytes) {
    if (bytes < HEADER_BYTES)
        return HEADER_BYTES;
    uint32_t payload = (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
    return payload < BUFFER_BYTES ? HEADER_BYTES + payload : HEADER_BYTES + BUFFER_BYTES;
}

/* How long a poll may last. */
static inline int embed_timeout_ms(uint64_t deadline_ns) {
    uint64_t now = embed_now_ns();
    if (deadline_ns <= now)
        return 0;
    return deadline_ns - now > 60000000000u ? 60000 : (int)((deadline_ns - now + 999999) / 1000000);
}

/* Prints the statistics as `name number`. Returns the exit status: 0 if nothing was left behind. */
static inline int embed_print(const demuxbuf_pool_stats *stats, const embed_counts *counts) {
    printf("leased %u\nassigned %u\nwaiting %u\nreceivers %u\nslots_in_use %u\n", stats->leased, stats->assigned,
           stats->waiting, stats->receivers, stats->slots_in_use);
    printf("memory_bytes %llu\nreceived_bytes %llu\nconsumed_bytes %llu\ndropped_bytes %llu\nqueued %llu\nshed %llu\n",
           (unsigned long long)stats->memory_bytes, (unsigned long long)stats->received_bytes,
           (unsigned long long)stats->consumed_bytes, (unsigned long long)stats->dropped_bytes,
           (unsigned long long)stats->queued, (unsigned long long)stats->shed);
    printf("blocked %llu\nwakeups %llu\n", (unsigned long long)counts->blocked, (unsigned long long)counts->wakeups);
    return stats->leased + stats->assigned + stats->waiting + stats->receivers + stats->slots_in_use != 0;
}

/* The statistics of a pool, which is freed. Returns the exit status. */
static inline int embed_finish(demuxbuf_pool *pool, const embed_counts *counts) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    int32_t status = demuxbuf_pool_check_invariants(pool);
    if (status == DEMUXBUF_OK)
        status = demuxbuf_pool_get_stats(pool, &stats);
    if (status != DEMUXBUF_OK)
        fprintf(stderr, "%s\n", demuxbuf_strerror(status));
    int left = embed_print(&stats, counts);
    demuxbuf_pool_free(pool);
    return status != DEMUXBUF_OK || left;
}

#endif
