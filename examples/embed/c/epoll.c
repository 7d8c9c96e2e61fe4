/* An echo server on epoll, level-triggered or edge-triggered. While memory is short, it leaves partial frames in the
   kernel. It ends with SIGTERM or SIGINT. */
#include "embed.h"
#include <demuxbuf_posix.h>

enum { EVENTS = 64 };

struct connection {
    demuxbuf_posix_socket socket;
    uint64_t receiver;
    int is_registered, is_scheduled;
    uint32_t interest; /* EPOLLIN: the library asked for it. EPOLLOUT: the echo waits for room. */
    uint32_t sent;     /* how much of the frame at the front is sent */
};

static struct connection connections[CONNECTIONS_MAX], *scheduled[CONNECTIONS_MAX], *due[CONNECTIONS_MAX];
static demuxbuf_pool *pool;
static embed_counts counts;
static int poller, scheduled_count, is_stopping;
static uint32_t trigger; /* 0 or EPOLLET */
static uint8_t mode;
static char listener_tag, signals_tag;

/* EPOLLHUP and EPOLLERR cannot be masked: a socket of which nothing is to be heard is taken out of the poller. */
static void update_interest(struct connection *self) {
    struct epoll_event event = {.events = self->interest | trigger, .data.ptr = self};
    if (self->interest != 0) {
        epoll_ctl(poller, self->is_registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, self->socket.fd, &event);
    } else if (self->is_registered) {
        epoll_ctl(poller, EPOLL_CTL_DEL, self->socket.fd, NULL);
    }
    self->is_registered = self->interest != 0;
}

static void drop(struct connection *self) {
    demuxbuf_receiver_close(pool, self->receiver);
    close(self->socket.fd); /* which takes it out of the poller */
    self->socket.fd = -1;
}

/* Sends the frame at the front from where it lies. What does not go out is kept, and decoding is blocked. */
static demuxbuf_step decode(struct connection *self, demuxbuf_step step) {
    uint32_t frame = embed_frame_bytes(step.data, step.bytes);
    if (step.bytes < frame)
        return demuxbuf_receiver_decoded(pool, self->receiver, 0, frame - step.bytes);
    ssize_t sent = send(self->socket.fd, step.data + self->sent, frame - self->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        demuxbuf_receiver_fail(pool, self->receiver); /* what is buffered is of no use any more */
        return demuxbuf_receiver_transport_error(pool, self->receiver);
    }
    if (sent > 0)
        self->sent += (uint32_t)sent;
    if (self->sent < frame) {
        counts.blocked++;
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
        } else if ((step.actions & (DEMUXBUF_RECV | DEMUXBUF_PEEK)) != 0) {
            step = demuxbuf_posix_socket_receive(&self->socket, pool, self->receiver, step);
            if ((step.actions & DEMUXBUF_PEEK) != 0) /* a look at a frame that stays in the socket */
                step = demuxbuf_receiver_decoded(pool, self->receiver, 0, embed_frame_bytes(step.data, step.bytes));
        } else if ((step.actions & DEMUXBUF_DECODE) != 0) {
            step = decode(self, step);
        } else if ((step.actions & notices) != 0) {
            demuxbuf_posix_socket_set_mark(&self->socket, step);
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

/* A hang-up or an error is readable and writable: the receive or the send that follows finds it. */
static void report(struct connection *self, uint32_t events) {
    int is_readable = (self->interest & EPOLLIN) != 0 && (events & ~(uint32_t)EPOLLOUT) != 0;
    int is_writable = (self->interest & EPOLLOUT) != 0 && (events & ~(uint32_t)EPOLLIN) != 0;
    if (is_readable)
        run(self, demuxbuf_receiver_readable(pool, self->receiver));
    if (is_writable && self->socket.fd >= 0) {
        self->interest &= ~(uint32_t)EPOLLOUT;
        run(self, demuxbuf_receiver_unblock(pool, self->receiver, SOCKET_FULL));
        if (self->socket.fd >= 0)
            update_interest(self);
    }
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct connection *self = connections;
        while (self < connections + CONNECTIONS_MAX && self->socket.fd >= 0)
            self++;
        uint64_t receiver, token = (uint64_t)(self - connections);
        demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = mode};
        demuxbuf_attach_options options = {.struct_size = sizeof options, .token = token, .policy = &policy};
        demuxbuf_posix_socket socket;
        demuxbuf_posix_socket_init(&socket, fd, BUFFER_BYTES, &policy);
        if (token == CONNECTIONS_MAX ||
            demuxbuf_receiver_attach(pool, &options, &receiver, NULL, NULL) != DEMUXBUF_OK) {
            close(fd);
            continue;
        }
        *self = (struct connection){.socket = socket, .receiver = receiver, .is_scheduled = self->is_scheduled};
        run(self, demuxbuf_receiver_pending(pool, receiver));
    }
}

/* One iteration: wait, clock, what was scheduled, events, notices. */
static void iterate(int listener) {
    struct epoll_event events[EVENTS];
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    int timeout_ms = scheduled_count > 0 ? 0 : embed_timeout_ms(demuxbuf_pool_poll_timeout(pool));
    int ready = epoll_wait(poller, events, EVENTS, timeout_ms);
    int due_count = scheduled_count;
    counts.wakeups++;
    memcpy(due, scheduled, sizeof due);
    scheduled_count = 0;
    demuxbuf_pool_handle_timeout(pool, embed_now_ns());
    for (int at = 0; at < due_count; at++) {
        due[at]->is_scheduled = 0;
        if (due[at]->socket.fd >= 0)
            run(due[at], demuxbuf_receiver_wake(pool, due[at]->receiver));
    }
    for (int at = 0; at < ready; at++) {
        struct connection *self = events[at].data.ptr;
        if (events[at].data.ptr == &listener_tag) {
            accept_all(listener);
        } else if (events[at].data.ptr == &signals_tag) {
            is_stopping = 1;
        } else if (self->socket.fd >= 0) { /* it may have been closed in this iteration */
            report(self, events[at].events);
        }
    }
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK)
        run(&connections[notice.token], notice.step);
}

int main(int argc, char **argv) {
    embed_options options = embed_parse(argc, argv, "level|edge");
    int signals = embed_signals();
    trigger = embed_epoll_flag(&options);
    mode = embed_mode(&options);
    pool = embed_pool(&options, mode);
    for (int at = 0; at < CONNECTIONS_MAX; at++)
        connections[at].socket.fd = -1;
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = embed_listen(&options);
    embed_arm(poller, listener, EPOLLIN, &listener_tag);
    embed_arm(poller, signals, EPOLLIN, &signals_tag);
    while (!is_stopping)
        iterate(listener);
    for (struct connection *self = connections; self < connections + CONNECTIONS_MAX; self++) {
        if (self->socket.fd >= 0)
            drop(self);
    }
    return embed_finish(pool, &counts);
}
