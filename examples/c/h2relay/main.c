/*
 * h2relay: relays HTTP/2 connections, one to one, on a bounded number of receive buffers.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * An example of both halves of demuxbuf's C API in one program: receivers on a pool (buffers_pool.c), and the state
 * machine alone beside a host's own memory (buffers_static.c, --static-buffers). What the actions mean for sockets is
 * in transfer.c; start reading there.
 */
#define _GNU_SOURCE
#include "options.h"
#include "relay.h"
#include "stats.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Signals as one more descriptor, so that they come between turns and never inside one. */
struct signals {
    struct watch watch; /* first: the loop's pointer to it is one to the signals */
    struct relay *relay;
    uint64_t started_ns;
    bool is_over;
};

static void on_signal(struct watch *watch, uint32_t events)
{
    struct signals *signals = (struct signals *)(void *)watch;
    struct signalfd_siginfo info;
    (void)events;
    if (read(watch->fd, &info, sizeof info) != (ssize_t)sizeof info) {
        return;
    }
    if (info.ssi_signo == SIGUSR1) {
        stats_report(signals->relay, signals->started_ns);
    } else {
        signals->is_over = true;
    }
}

static bool signals_open(struct signals *signals, struct relay *relay)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        return false;
    }
    *signals = (struct signals){.relay = relay, .started_ns = loop_now_ns()};
    signals->watch = (struct watch){.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), .on_events = on_signal};
    return signals->watch.fd >= 0 && loop_set(&relay->loop, &signals->watch, EPOLLIN);
}

/* Two descriptors for each client: as many as are allowed without asking anybody. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct options options;
    struct relay relay;
    struct signals signals;
    options_parse(&options, argc, argv);
    raise_descriptor_limit();
    if (!relay_open(&relay, &options)) {
        return 1;
    }
    if (!signals_open(&signals, &relay)) {
        fprintf(stderr, "h2relay: %s\n", strerror(errno));
        relay_close(&relay);
        return 1;
    }
    bool is_listening = relay_listen(&relay);
    while (is_listening && !signals.is_over) {
        relay_turn(&relay);
    }
    if (is_listening) {
        relay_close_all(&relay);
        stats_report(&relay, signals.started_ns);
    }
    loop_close_fd(&signals.watch);
    relay_close(&relay);
    return is_listening && relay.counts.misuses == 0 ? 0 : 1;
}
