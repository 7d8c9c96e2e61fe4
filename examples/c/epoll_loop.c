/* An echo server on epoll: frames of two length bytes and a payload, 160 KiB to receive into, up to 1000 connections.
   Usage: epoll_loop level|edge|one-shot|optimistic COUNT; it prints its port and ends after COUNT connections. */
#define _GNU_SOURCE
#include <demuxbuf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 1000, EVENTS = 64, SOCKET_FULL = 1 };

struct connection {
    uint64_t receiver;
    int fd, is_registered, is_scheduled;
    uint32_t interest; /* EPOLLIN: the library asked for it. EPOLLOUT: the echo waits for room. */
    uint32_t sent;     /* how much of the frame at the front is sent */
};

static struct connection connections[CONNECTIONS_MAX], *scheduled[CONNECTIONS_MAX];
static demuxbuf_pool *pool;
static int poller, scheduled_count, closed_count;
static uint32_t trigger; /* 0, EPOLLET or EPOLLONESHOT */

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* EPOLLHUP and EPOLLERR cannot be masked: a socket of which nothing is to be heard is taken out of the poller. */
static void update_interest(struct connection *self) {
    struct epoll_event event = {.events = self->interest | trigger, .data.ptr = self};
    if (self->interest != 0) {
        epoll_ctl(poller, self->is_registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, self->fd, &event);
    } else if (self->is_registered) {
        epoll_ctl(poller, EPOLL_CTL_DEL, self->fd, NULL);
    }
    self->is_registered = self->interest != 0;
}

static void drop(struct connection *self) {
    demuxbuf_receiver_close(pool, self->receiver);
    close(self->fd);
    self->fd = -1;
    closed_count++;
}

static demuxbuf_step receive(struct connection *self, demuxbuf_step step) {
    ssize_t got = read(self->fd, step.data, step.bytes);
    return got > 0           ? demuxbuf_receiver_received(pool, self->receiver, (uint32_t)got)
           : got == 0        ? demuxbuf_receiver_end_of_stream(pool, self->receiver)
           : errno == EAGAIN ? demuxbuf_receiver_would_block(pool, self->receiver)
                             : demuxbuf_receiver_transport_error(pool, self->receiver);
}

static demuxbuf_step decode(struct connection *self, demuxbuf_step step) {
    uint32_t frame = step.bytes < 2 ? 2 : 2u + (uint32_t)(step.data[0] << 8 | step.data[1]);
    if (step.bytes < frame)
        return demuxbuf_receiver_decoded(pool, self->receiver, 0, frame - step.bytes);
    ssize_t sent = send(self->fd, step.data + self->sent, frame - self->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        demuxbuf_receiver_fail(pool, self->receiver); /* what is buffered is of no use any more */
        return demuxbuf_receiver_transport_error(pool, self->receiver);
    }
    if (sent > 0)
        self->sent += (uint32_t)sent;
    if (self->sent < frame) {
        self->interest |= EPOLLOUT;
        update_interest(self);
        return demuxbuf_receiver_block(pool, self->receiver, SOCKET_FULL);
    }
    self->sent = 0;
    return demuxbuf_receiver_decoded(pool, self->receiver, frame, 0);
}

/* Does the pending actions of one connection, until it waits or is closed. */
static void run(struct connection *self, demuxbuf_step step) {
    const uint32_t notices = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_RESCHEDULE;
    for (;;) {
        if ((step.actions & DEMUXBUF_ERROR) != 0) { /* before all else: the other bits mean nothing then */
            fprintf(stderr, "%s\n", demuxbuf_strerror(demuxbuf_actions_status_inline(step.actions)));
            drop(self);
            return;
        } else if ((step.actions & (DEMUXBUF_END | DEMUXBUF_SHED | DEMUXBUF_CANNOT_FIT)) != 0) {
            drop(self);
            return;
        } else if ((step.actions & DEMUXBUF_RECV) != 0) {
            step = receive(self, step);
        } else if ((step.actions & DEMUXBUF_DECODE) != 0) {
            step = decode(self, step);
        } else if ((step.actions & notices) != 0) {
            if ((step.actions & DEMUXBUF_WANT_RECV) != 0)
                self->interest |= EPOLLIN;
            if ((step.actions & DEMUXBUF_STOP_RECV) != 0)
                self->interest &= ~(uint32_t)EPOLLIN;
            if ((step.actions & (DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV)) != 0)
                update_interest(self);
            if ((step.actions & DEMUXBUF_RESCHEDULE) != 0 && !self->is_scheduled) {
                self->is_scheduled = 1;
                scheduled[scheduled_count++] = self;
            }
            step = demuxbuf_receiver_done(pool, self->receiver, step.actions & notices);
        } else {
            return;
        }
    }
}

/* The poller reports a socket. With EPOLLONESHOT it reports no more until read interest is armed again. */
static void report(struct connection *self, uint32_t events) {
    int is_readable = (self->interest & EPOLLIN) != 0 && (events & ~(uint32_t)EPOLLOUT) != 0;
    int is_writable = (self->interest & EPOLLOUT) != 0 && (events & ~(uint32_t)EPOLLIN) != 0;
    if (is_readable && trigger == EPOLLONESHOT)
        self->interest &= ~(uint32_t)EPOLLIN;
    if (is_writable)
        self->interest &= ~(uint32_t)EPOLLOUT;
    if (is_readable)
        run(self, demuxbuf_receiver_readable(pool, self->receiver));
    if (is_writable && self->fd >= 0)
        run(self, demuxbuf_receiver_unblock(pool, self->receiver, SOCKET_FULL));
    if (self->fd >= 0 && (is_writable || trigger == EPOLLONESHOT))
        update_interest(self);
}

static void accept_one(int listener) {
    struct connection *self = connections;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    while (self < connections + CONNECTIONS_MAX && self->fd >= 0)
        self++;
    if (fd < 0 || self == connections + CONNECTIONS_MAX) {
        if (fd >= 0)
            close(fd);
        return;
    }
    *self = (struct connection){.fd = fd, .is_scheduled = self->is_scheduled};
    demuxbuf_attach_options options = {.struct_size = sizeof options, .token = (uint64_t)(self - connections)};
    demuxbuf_receiver_attach(pool, &options, &self->receiver, NULL, NULL);
    run(self, demuxbuf_receiver_pending(pool, self->receiver));
}

static int timeout_ms(void) {
    uint64_t deadline = demuxbuf_pool_poll_timeout(pool), now = now_ns();
    if (scheduled_count > 0 || deadline <= now)
        return 0;
    return deadline - now > 60000000000u ? 60000 : (int)((deadline - now + 999999) / 1000000);
}

/* For debugging: what this host left undone, before it sleeps. A host that does everything prints nothing. */
static void audit(void) {
    demuxbuf_finding finding = {.struct_size = sizeof finding};
    char line[256];
    while (demuxbuf_pool_poll_audit(pool, now_ns(), &finding) == DEMUXBUF_OK) {
        demuxbuf_finding_str(&finding, line, sizeof line);
        fprintf(stderr, "%s\n", line);
    }
}

/* One iteration: wait, clock, what was scheduled, events, notices, audit. */
static void iterate(int listener) {
    struct epoll_event events[EVENTS];
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    int ready = epoll_wait(poller, events, EVENTS, timeout_ms());
    int due_count = scheduled_count;
    struct connection *due[CONNECTIONS_MAX];
    memcpy(due, scheduled, sizeof due);
    scheduled_count = 0;
    demuxbuf_pool_handle_timeout(pool, now_ns());
    for (int at = 0; at < due_count; at++) {
        due[at]->is_scheduled = 0;
        if (due[at]->fd >= 0)
            run(due[at], demuxbuf_receiver_wake(pool, due[at]->receiver));
    }
    for (int at = 0; at < ready; at++) {
        struct connection *self = events[at].data.ptr;
        if (self == NULL) {
            accept_one(listener);
        } else if (self->fd >= 0) { /* it may have been closed in this iteration */
            report(self, events[at].events);
        }
    }
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK)
        run(&connections[notice.token], notice.step);
    audit();
}

int main(int argc, char **argv) {
    static const char *const modes[] = {"level", "edge", "one-shot", "optimistic"};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    char message[128];
    size_t message_bytes = sizeof message;
    unsigned long iterations = 0;
    uint8_t mode = DEMUXBUF_MODE_LEVEL;
    while (argc == 3 && mode < 4 && strcmp(argv[1], modes[mode]) != 0)
        mode++;
    if (argc != 3 || mode == 4)
        return fprintf(stderr, "usage: %s MODE CONNECTIONS\n", argv[0]), 2;
    trigger = mode == DEMUXBUF_MODE_LEVEL ? 0 : mode == DEMUXBUF_MODE_EDGE ? (uint32_t)EPOLLET : (uint32_t)EPOLLONESHOT;

    demuxbuf_pool_config_init(&config, 160 << 10, CONNECTIONS_MAX);
    config.mode = mode;
    config.audit = 1; /* for debugging: it looks at each receiver in each iteration */
    if (demuxbuf_pool_new(&config, &pool, message, &message_bytes) != DEMUXBUF_OK) {
        return fprintf(stderr, "%s\n", message), 1;
    }
    for (int at = 0; at < CONNECTIONS_MAX; at++)
        connections[at].fd = -1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    poller = epoll_create1(0);
    if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 128) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0 ||
        epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) != 0) {
        return perror("listen"), 1;
    }
    printf("port %u\n", ntohs(address.sin_port));
    fflush(stdout);
    while (closed_count < atoi(argv[2])) {
        iterate(listener);
        iterations++;
    }
    printf("%d connections, %lu iterations\n", closed_count, iterations);
    demuxbuf_pool_free(pool);
    return 0;
}
