/*
 * h2relay: relays HTTP/2 connections, one to one, on a bounded number of receive buffers.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * An example of both halves of demuxbuf's C API in one program: receivers on a pool (buffers_pool.c), and the state
 * machine alone beside a host's own memory (buffers_static.c, --static-buffers). What the actions mean for sockets is
 * in transfer.c; start reading there.
 */
#define _GNU_SOURCE
#include "crew.h"
#include "options.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Signals as one more descriptor of the first loop, so that they come between loop iterations and never inside one. */
struct signals {
    struct registration registration; /* first: the loop's pointer to it is one to the signals */
    struct crew *crew;
    bool is_over;
};

static void on_signal(struct registration *registration, uint32_t events) {
    struct signals *signals = (struct signals *)(void *)registration;
    struct signalfd_siginfo info;
    (void)events;
    if (read(registration->fd, &info, sizeof info) != (ssize_t)sizeof info) {
        return;
    }
    if (info.ssi_signo == SIGUSR1) {
        crew_ask(signals->crew);
    } else {
        signals->is_over = true;
    }
}

/* Before there are threads, which have them blocked too then. */
static bool signals_open(struct signals *signals, struct crew *crew) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        return false;
    }
    *signals = (struct signals){.crew = crew};
    signals->registration =
        (struct registration){.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), .on_events = on_signal};
    return signals->registration.fd >= 0;
}

/* Raises the soft limit to the hard limit, which needs no privilege. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Makes the table of descriptors as large as all clients need, by one more name of this descriptor. Once there are
   threads, each that opens a descriptor waits for some 10 ms when the table has to double: until no other can be using
   the old one (synchronize_rcu, fs/file.c of Linux). */
static void reserve_descriptors(int fd, const struct options *options) {
    enum { DESCRIPTORS_OF_CLIENT = 2, OTHERS = 64 };
    struct rlimit limit;
    uint64_t most = (uint64_t)options->connections_max * DESCRIPTORS_OF_CLIENT + OTHERS;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= most) {
        most = limit.rlim_cur - 1;
    }
    int last = fcntl(fd, F_DUPFD_CLOEXEC, (int)most);
    if (last >= 0) {
        close(last);
    }
}

int main(int argc, char **argv) {
    struct options options;
    struct crew crew;
    struct signals signals;
    options_parse(&options, argc, argv);
    raise_descriptor_limit();
    if (!signals_open(&signals, &crew)) {
        fprintf(stderr, "h2relay: %s\n", strerror(errno));
        return 1;
    }
    reserve_descriptors(signals.registration.fd, &options);
    bool is_sound = crew_open(&crew, &options, &signals.registration);
    if (is_sound) {
        while (!signals.is_over) {
            crew_iterate(&crew);
        }
        is_sound = crew_close(&crew);
    }
    loop_close_fd(&signals.registration);
    return is_sound ? 0 : 1;
}
