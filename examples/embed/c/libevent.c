/* An echo server on libevent, level-triggered. While memory is short, it leaves partial frames in the kernel. It ends
   with SIGTERM or SIGINT. */
#include "embed.h"
#include <demuxbuf_posix.h>
#include <event2/event.h>
#include <event2/listener.h>

enum { FRAMES_PER_ITERATION = 64 };

struct connection {
    demuxbuf_posix_socket socket;
    uint64_t receiver;
    int is_scheduled;
    struct event *readable, *writable;
    uint32_t sent; /* how much of the frame at the front is sent */
};

static struct connection connections[CONNECTIONS_MAX], *scheduled[CONNECTIONS_MAX], *due[CONNECTIONS_MAX];
static demuxbuf_pool *pool;
static embed_counts counts;
static struct event_base *base;
static int scheduled_count, is_clock_advanced, is_stopping;

/* Once in an iteration, before anything else: libevent calls back from inside of its poll, so each callback begins with
   this. */
static void advance_clock(void) {
    if (!is_clock_advanced)
        demuxbuf_pool_handle_timeout(pool, embed_now_ns());
    is_clock_advanced = 1;
}

/* The events are freed before the descriptor is closed: libevent must not find it reused. */
static void drop(struct connection *self) {
    demuxbuf_receiver_close(pool, self->receiver);
    event_free(self->readable);
    event_free(self->writable);
    close(self->socket.fd);
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
        event_add(self->writable, NULL);
        return demuxbuf_receiver_block(pool, self->receiver, SOCKET_FULL);
    }
    self->sent = 0;
    return demuxbuf_receiver_decoded(pool, self->receiver, frame, 0);
}

/* Does the pending actions of one connection, until it waits or is closed. */
static void run(struct connection *self, demuxbuf_step step) {
    const uint32_t notices = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_RESCHEDULE;
    int frames = 0;
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
            step = frames++ < FRAMES_PER_ITERATION
                       ? decode(self, step)
                       : demuxbuf_receiver_report(pool, self->receiver, DEMUXBUF_EVENT_YIELD, 0);
        } else if ((step.actions & notices) != 0) {
            demuxbuf_posix_socket_set_mark(&self->socket, step);
            if ((step.actions & DEMUXBUF_WANT_RECV) != 0)
                event_add(self->readable, NULL);
            if ((step.actions & DEMUXBUF_STOP_RECV) != 0)
                event_del(self->readable);
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

/* Also for a hang-up: the receive that follows finds it. */
static void on_readable(evutil_socket_t fd, short events, void *argument) {
    struct connection *self = argument;
    (void)fd, (void)events;
    advance_clock();
    run(self, demuxbuf_receiver_readable(pool, self->receiver));
}

/* Also for a hang-up: the send that follows finds it. The event is not persistent, so it is off by now. */
static void on_writable(evutil_socket_t fd, short events, void *argument) {
    struct connection *self = argument;
    (void)fd, (void)events;
    advance_clock();
    run(self, demuxbuf_receiver_unblock(pool, self->receiver, SOCKET_FULL));
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int length,
                          void *argument) {
    struct connection *self = connections;
    (void)listener, (void)peer, (void)length, (void)argument;
    while (self < connections + CONNECTIONS_MAX && self->socket.fd >= 0)
        self++;
    uint64_t receiver, token = (uint64_t)(self - connections);
    advance_clock();
    demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = DEMUXBUF_MODE_LEVEL};
    demuxbuf_attach_options options = {.struct_size = sizeof options, .token = token, .policy = &policy};
    demuxbuf_posix_socket socket;
    demuxbuf_posix_socket_init(&socket, fd, BUFFER_BYTES, &policy);
    if (token == CONNECTIONS_MAX || demuxbuf_receiver_attach(pool, &options, &receiver, NULL, NULL) != DEMUXBUF_OK) {
        close(fd);
        return;
    }
    *self = (struct connection){.socket = socket, .receiver = receiver, .is_scheduled = self->is_scheduled};
    self->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, self);
    self->writable = event_new(base, fd, EV_WRITE, on_writable, self);
    if (self->readable == NULL || self->writable == NULL) {
        fprintf(stderr, "event_new: no memory\n");
        exit(1);
    }
    run(self, demuxbuf_receiver_pending(pool, receiver));
}

/* The iteration does what there is to do. */
static void on_deadline(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events, (void)argument;
}

static void on_signal(evutil_socket_t number, short events, void *argument) {
    (void)number, (void)events, (void)argument;
    is_stopping = 1;
}

/* One iteration: how long to sleep, poll and callbacks, what was scheduled, notices. */
static void iterate(struct event *deadline) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    int timeout_ms = embed_timeout_ms(demuxbuf_pool_poll_timeout(pool)), due_count = scheduled_count;
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    event_add(deadline, &timeout);
    memcpy(due, scheduled, sizeof due);
    scheduled_count = is_clock_advanced = 0;
    event_base_loop(base, due_count > 0 ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE);
    counts.wakeups++;
    advance_clock();
    for (int at = 0; at < due_count; at++) {
        due[at]->is_scheduled = 0;
        if (due[at]->socket.fd >= 0)
            run(due[at], demuxbuf_receiver_wake(pool, due[at]->receiver));
    }
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK)
        run(&connections[notice.token], notice.step);
}

int main(int argc, char **argv) {
    embed_options options = embed_parse(argc, argv, NULL);
    base = event_base_new();
    struct event *terminate = evsignal_new(base, SIGTERM, on_signal, NULL);
    struct event *interrupt = evsignal_new(base, SIGINT, on_signal, NULL);
    struct event *deadline = evtimer_new(base, on_deadline, NULL);
    event_add(terminate, NULL);
    event_add(interrupt, NULL);
    pool = embed_pool(&options, DEMUXBUF_MODE_LEVEL);
    for (int at = 0; at < CONNECTIONS_MAX; at++)
        connections[at].socket.fd = -1;
    /* The socket listens already. libevent makes what it accepts non-blocking. */
    struct evconnlistener *listener =
        evconnlistener_new(base, on_connection, NULL, LEV_OPT_CLOSE_ON_FREE, 0, embed_listen(&options));
    if (listener == NULL) {
        fprintf(stderr, "libevent does not listen\n");
        return 1;
    }
    while (!is_stopping)
        iterate(deadline);
    for (struct connection *self = connections; self < connections + CONNECTIONS_MAX; self++) {
        if (self->socket.fd >= 0)
            drop(self);
    }
    evconnlistener_free(listener);
    event_free(deadline);
    event_free(interrupt);
    event_free(terminate);
    event_base_free(base);
    return embed_finish(pool, &counts);
}
