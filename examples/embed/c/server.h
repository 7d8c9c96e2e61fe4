/* What the C servers of the examples have in common, with the library and without it: options, the listening socket,
   where a frame ends, and the statistics at the end. A frame is four bytes of length, big-endian, and a payload; it is
   echoed. */
#ifndef SERVER_H
#define SERVER_H

#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
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
    MEMORY_KIB_MIN = 160,
    MEMORY_KIB_MAX = 1048576,
};

#define LEASE_NS 1000000000u

#ifndef EMBED_OWN_OPTIONS
#define EMBED_OWN_OPTIONS "" /* what a program takes out of the command line before embed_parse */
#endif

typedef struct {
    unsigned long port, memory_kib;
    const char *trigger;                     /* NULL for a program that has no such option */
    uint8_t reads_ahead, pause_when_blocked; /* as in the policy, which a program may set */
} embed_options;

/* Wake-ups of the loop, and how often a frame found the socket full. */
typedef struct {
    uint64_t wakeups, blocked;
} embed_counts;

/* What is left behind at the end, bytes, and how often a connection had to wait or was closed for others. */
typedef struct {
    uint32_t leased, assigned, waiting, receivers;
    uint64_t memory_bytes, received_bytes, consumed_bytes, dropped_bytes, queued, shed;
} embed_stats;

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

/* Whether the text is one of these words, between which there is a bar. */
static inline int embed_is_one_of(const char *text, const char *words) {
    size_t length = strlen(text);
    for (; words != NULL; words = strchr(words, '|') != NULL ? strchr(words, '|') + 1 : NULL) {
        if (length > 0 && strncmp(words, text, length) == 0 && (words[length] == '|' || words[length] == 0))
            return 1;
    }
    return 0;
}

/* With a wrong option, prints what is allowed and exits with status 2. `triggers` are those that the program has. */
static inline embed_options embed_parse(int argc, char **argv, const char *triggers) {
    static const struct option known[] = {
        {"port", 1, NULL, 'p'}, {"memory-kib", 1, NULL, 'm'}, {"trigger", 1, NULL, 't'}, {0}};
    embed_options options = {.memory_kib = 1024, .trigger = triggers != NULL ? "level" : NULL};
    for (int found; (found = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (found == 'p') {
            options.port = embed_number("port", optarg, 0, 65535);
        } else if (found == 'm') {
            options.memory_kib = embed_number("memory-kib", optarg, MEMORY_KIB_MIN, MEMORY_KIB_MAX);
        } else if (found == 't' && embed_is_one_of(optarg, triggers)) {
            options.trigger = optarg;
        } else {
            optind = argc + 1; /* getopt_long has named an option that it does not know */
            break;
        }
    }
    if (optind != argc) {
        fprintf(stderr, "usage: %s [--port 0..65535, 0 for any] [--memory-kib %d..%d]" EMBED_OWN_OPTIONS "%s%s\n",
                argv[0], MEMORY_KIB_MIN, MEMORY_KIB_MAX, triggers != NULL ? " --trigger " : "",
                triggers != NULL ? triggers : "");
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
static inline void embed_arm(int poller, int fd, uint32_t events, void *tag) {
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
static inline int embed_print(const embed_stats *stats, const embed_counts *counts) {
    const struct {
        const char *name;
        uint64_t number;
    } lines[] = {
        {"leased", stats->leased},
        {"assigned", stats->assigned},
        {"waiting", stats->waiting},
        {"receivers", stats->receivers},
        {"memory_bytes", stats->memory_bytes},
        {"received_bytes", stats->received_bytes},
        {"consumed_bytes", stats->consumed_bytes},
        {"dropped_bytes", stats->dropped_bytes},
        {"queued", stats->queued},
        {"shed", stats->shed},
        {"blocked", counts->blocked},
        {"wakeups", counts->wakeups},
    };
    for (size_t line = 0; line < sizeof lines / sizeof *lines; line++)
        printf("%s %llu\n", lines[line].name, (unsigned long long)lines[line].number);
    return stats->leased + stats->assigned + stats->waiting + stats->receivers != 0 ||
           stats->received_bytes != stats->consumed_bytes + stats->dropped_bytes;
}

#endif
