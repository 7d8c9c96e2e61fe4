/* An echo server on poll(2). With --fold it joins small frames in place, as a proxy does that hands on fewer and larger
   ones, and echoes those; meanwhile it pauses reading. While memory is short, it leaves partial frames in the kernel.
   It ends with SIGTERM or SIGINT. */
#define EMBED_OWN_OPTIONS " [--fold]"
#include "embed.h"
#include <demuxbuf_posix.h>
#include <poll.h>

enum { LISTENER = CONNECTIONS_MAX, SIGNALS, SOCKETS };

struct connection {
    demuxbuf_posix_socket socket;
    uint64_t receiver;
    int is_scheduled;
    uint32_t sent; /* how much of the frame at the front is sent */
};

static struct connection connections[CONNECTIONS_MAX];
static struct pollfd sockets[SOCKETS]; /* those of the connections have the same places */
static demuxbuf_pool *pool;
static embed_counts counts;
static int is_folding, scheduled_count;

/* A hang-up cannot be masked: poll skips a socket of which nothing is to be heard only if its number is below 0. */
static void set_interest(struct connection *self, int events) {
    sockets[self - connections] = (struct pollfd){.fd = events != 0 ? self->socket.fd : -1, .events = (short)events};
}

static int interest_of(const struct connection *self) {
    return sockets[self - connections].events;
}

static void drop(struct connection *self) {
    demuxbuf_receiver_close(pool, self->receiver);
    set_interest(self, 0);
    close(self->socket.fd);
    self->socket.fd = -1;
    scheduled_count -= self->is_scheduled;
    self->is_scheduled = 0;
}

/* Joins the frame at the front with the whole one behind it, whose header becomes a hole: all before the hole moves up
   to its end, and the hole is consumed at the front. 0 if there is no such frame. */
static int fold(const struct connection *self, demuxbuf_step *step, uint32_t frame) {
    uint8_t *next = step->data + frame;
    uint32_t left = step->bytes - frame, next_frame = embed_frame_bytes(next, left);
    if (left < HEADER_BYTES || left < next_frame || self->sent > 0)
        return 0;
    uint32_t payload = frame + next_frame - 2 * HEADER_BYTES;
    memmove(step->data + 2 * HEADER_BYTES, step->data + HEADER_BYTES, frame - HEADER_BYTES);
    for (uint32_t at = 0; at < HEADER_BYTES; at++)
        step->data[HEADER_BYTES + at] = (uint8_t)(payload >> (24 - 8 * at));
    *step = demuxbuf_receiver_decoded(pool, self->receiver, HEADER_BYTES, 0);
    return 1;
}

/* Sends the frame at the front from where it lies. What does not go out is kept, and decoding is blocked. */
static demuxbuf_step decode(struct connection *self, demuxbuf_step step) {
    uint32_t frame = embed_frame_bytes(step.data, step.bytes);
    if (step.bytes < frame)
        return demuxbuf_receiver_decoded(pool, self->receiver, 0, frame - step.bytes);
    if (is_folding) {
        demuxbuf_receiver_pause_recv(pool, self->receiver); /* no more for now; `data` stays as it is */
        if (fold(self, &step, frame))
            return step;
    }
    ssize_t sent = send(self->socket.fd, step.data + self->sent, frame - self->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        demuxbuf_receiver_fail(pool, self->receiver); /* what is buffered is of no use any more */
        return demuxbuf_receiver_transport_error(pool, self->receiver);
    }
    self->sent += sent > 0 ? (uint32_t)sent : 0;
    if (is_folding)
        demuxbuf_receiver_resume_recv(pool, self->receiver);
    if (self->sent < frame) {
        counts.blocked++;
        set_interest(self, interest_of(self) | POLLOUT);
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
                set_interest(self, interest_of(self) | POLLIN);
            if ((step.actions & DEMUXBUF_STOP_RECV) != 0)
                set_interest(self, interest_of(self) & ~POLLIN);
            if ((step.actions & DEMUXBUF_RESCHEDULE) != 0 && !self->is_scheduled) {
                self->is_scheduled = 1;
                scheduled_count++;
            }
            step = demuxbuf_receiver_done(pool, self->receiver, step.actions & notices);
        } else {
            return;
        }
    }
}

/* A hang-up or an error is readable and writable: the receive or the send that follows finds it. */
static void report(struct connection *self, int events) {
    int interest = interest_of(self);
    if ((interest & POLLIN) != 0 && (events & ~POLLOUT) != 0)
        run(self, demuxbuf_receiver_readable(pool, self->receiver));
    if ((interest & POLLOUT) != 0 && (events & ~POLLIN) != 0 && self->socket.fd >= 0) {
        set_interest(self, interest_of(self) & ~POLLOUT);
        run(self, demuxbuf_receiver_unblock(pool, self->receiver, SOCKET_FULL));
    }
}

static void accept_all(void) {
    for (int fd; (fd = accept4(sockets[LISTENER].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct connection *self = connections;
        while (self < connections + CONNECTIONS_MAX && self->socket.fd >= 0)
            self++;
        uint64_t receiver, token = (uint64_t)(self - connections);
        demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = DEMUXBUF_MODE_LEVEL};
        demuxbuf_attach_options options = {.struct_size = sizeof options, .token = token, .policy = &policy};
        demuxbuf_posix_socket socket;
        demuxbuf_posix_socket_init(&socket, fd, BUFFER_BYTES, &policy);
        if (is_folding) /* what is left of a frame that stays in the kernel is shown again as it came, not folded */
            policy.counting = socket.is_counting = 0;
        if (token == CONNECTIONS_MAX ||
            demuxbuf_receiver_attach(pool, &options, &receiver, NULL, NULL) != DEMUXBUF_OK) {
            close(fd);
            continue;
        }
        *self = (struct connection){.socket = socket, .receiver = receiver};
        run(self, demuxbuf_receiver_pending(pool, receiver));
    }
}

/* What was scheduled, and what the poller found, of one connection. */
static void serve(struct connection *self, int events) {
    if (self->is_scheduled) {
        self->is_scheduled = 0;
        scheduled_count--;
        run(self, demuxbuf_receiver_wake(pool, self->receiver));
    }
    if (self->socket.fd >= 0 && events != 0)
        report(self, events);
}

/* One iteration: wait, clock, what was scheduled and the events, notices. Returns whether to go on. */
static int iterate(void) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    int timeout_ms = scheduled_count > 0 ? 0 : embed_timeout_ms(demuxbuf_pool_poll_timeout(pool));
    int ready = poll(sockets, SOCKETS, timeout_ms); /* below 0: a signal, and what was found before is no news */
    counts.wakeups++;
    demuxbuf_pool_handle_timeout(pool, embed_now_ns());
    for (struct connection *self = connections; self < connections + CONNECTIONS_MAX; self++) {
        if (self->socket.fd >= 0)
            serve(self, ready > 0 ? sockets[self - connections].revents : 0);
    }
    if (ready > 0 && sockets[LISTENER].revents != 0)
        accept_all();
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK)
        run(&connections[notice.token], notice.step);
    return ready <= 0 || sockets[SIGNALS].revents == 0;
}

/* Takes its own option out of the command line and leaves the rest to embed_parse. */
static int take_fold(int *argc, char **argv) {
    int kept = 1, is_found = 0;
    for (int at = 1; at < *argc; at++) {
        if (strcmp(argv[at], "--fold") == 0)
            is_found = 1;
        else
            argv[kept++] = argv[at];
    }
    *argc = kept;
    return is_found;
}

int main(int argc, char **argv) {
    is_folding = take_fold(&argc, argv);
    embed_options options = embed_parse(argc, argv, NULL);
    sockets[SIGNALS] = (struct pollfd){.fd = embed_signals(), .events = POLLIN};
    pool = embed_pool(&options, DEMUXBUF_MODE_LEVEL);
    for (int at = 0; at < CONNECTIONS_MAX; at++)
        connections[at].socket.fd = sockets[at].fd = -1;
    sockets[LISTENER] = (struct pollfd){.fd = embed_listen(&options), .events = POLLIN};
    while (iterate()) {
    }
    for (struct connection *self = connections; self < connections + CONNECTIONS_MAX; self++) {
        if (self->socket.fd >= 0)
            drop(self);
    }
    return embed_finish(pool, &counts);
}
