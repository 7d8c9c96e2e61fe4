/* An echo server on io_uring with a ring of buffers: one receive per connection stays submitted, and the kernel puts
   what comes into a buffer of its choice. That is delivered: decoded and sent from where it is. It ends with SIGTERM or
   SIGINT; status 77: there is no such io_uring. */
#include "embed.h"
#include "ring.h"

struct connection {
    uint64_t receiver;
    int fd, is_open, is_scheduled;
    int is_armed, is_wanted; /* the receive is submitted; it is to be */
    int is_ended;            /* behind what is not delivered yet */
    uint32_t sent;           /* how much of the frame at the front is sent */
    uint32_t operations;     /* that the kernel has not completed; until then the place is not used again */
    struct queue queue;      /* what came and is not delivered yet */
    uint8_t probe[PROBE_BYTES];
};

static const uint32_t OVER = DEMUXBUF_ERROR | DEMUXBUF_END | DEMUXBUF_SHED | DEMUXBUF_CANNOT_FIT;
static struct connection connections[CONNECTIONS_MAX], *scheduled[CONNECTIONS_MAX], *due[CONNECTIONS_MAX];
static demuxbuf_pool *pool;
static embed_counts counts;
static int listener, scheduled_count, is_stopping;

static uint64_t data_of(const struct connection *self, enum op op) {
    return (uint64_t)(self - connections) * OPS + op;
}

static void begin(struct connection *self, struct io_uring_sqe *sqe, enum op op) {
    io_uring_sqe_set_data64(sqe, data_of(self, op));
    self->operations++;
}

static void close_if_complete(struct connection *self) {
    if (!self->is_open && self->operations == 0 && self->fd >= 0) {
        close(self->fd);
        self->fd = -1;
    }
}

static void drop(struct connection *self) {
    demuxbuf_receiver_close(pool, self->receiver);
    self->is_open = 0;
    while (self->queue.first != NONE)
        pop(&self->queue);
    if (self->operations > 0) {
        submit_cancel(data_of(self, OP_RECEIVE));
        submit_cancel(data_of(self, OP_SEND));
    }
    close_if_complete(self);
}

/* Sends the frame at the front from where it lies. What does not go out is kept, and decoding is blocked until a send
   of a few bytes completes. */
static demuxbuf_step decode(struct connection *self, demuxbuf_step step) {
    uint32_t frame = embed_frame_bytes(step.data, step.bytes);
    if (step.bytes < frame)
        return demuxbuf_receiver_delivered(pool, self->receiver, step.data, 0, frame - step.bytes);
    ssize_t sent = send(self->fd, step.data + self->sent, frame - self->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        demuxbuf_receiver_fail(pool, self->receiver); /* what is buffered is of no use any more */
        return demuxbuf_receiver_transport_error(pool, self->receiver);
    }
    self->sent += sent > 0 ? (uint32_t)sent : 0;
    if (self->sent < frame) {
        counts.blocked++;
        begin(self, prepare_send(self->fd, self->probe, step.data + self->sent, frame - self->sent), OP_SEND);
        demuxbuf_receiver_block(pool, self->receiver, SOCKET_FULL);
        return demuxbuf_receiver_delivered(pool, self->receiver, step.data, 0, 0);
    }
    self->sent = 0;
    return demuxbuf_receiver_delivered(pool, self->receiver, step.data, frame, 0);
}

/* Delivers what came, as far as it is accepted; then the end, if that came behind it. */
static demuxbuf_step deliver(struct connection *self) {
    while (self->queue.first != NONE) {
        struct piece *piece = &pieces[self->queue.first];
        uint32_t accepted = 0;
        demuxbuf_step step = demuxbuf_receiver_deliver(pool, self->receiver, piece->at, piece->bytes, &accepted);
        while ((step.actions & (OVER | DEMUXBUF_DECODE)) == DEMUXBUF_DECODE)
            step = decode(self, step);
        piece->at += accepted;
        piece->bytes -= accepted;
        if ((step.actions & OVER) != 0 || piece->bytes > 0)
            return step; /* RECV comes when more can be accepted */
        pop(&self->queue);
    }
    return self->is_ended ? demuxbuf_receiver_end_of_stream(pool, self->receiver)
                          : demuxbuf_receiver_pending(pool, self->receiver);
}

/* If no receive is submitted, the next bytes are in the socket: the ring had no buffer, or it was cancelled. */
static demuxbuf_step receive(struct connection *self, demuxbuf_step step) {
    if (self->is_armed)
        return demuxbuf_receiver_would_block(pool, self->receiver);
    ssize_t got = recv(self->fd, step.data, step.bytes, MSG_DONTWAIT);
    return got > 0           ? demuxbuf_receiver_received(pool, self->receiver, (uint32_t)got)
           : got == 0        ? demuxbuf_receiver_end_of_stream(pool, self->receiver)
           : errno == EAGAIN ? demuxbuf_receiver_would_block(pool, self->receiver)
                             : demuxbuf_receiver_transport_error(pool, self->receiver);
}

static demuxbuf_step acknowledge(struct connection *self, uint32_t notices) {
    if ((notices & (DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV)) != 0)
        self->is_wanted = (notices & DEMUXBUF_WANT_RECV) != 0;
    if ((notices & DEMUXBUF_STOP_RECV) != 0 && self->is_armed)
        submit_cancel(data_of(self, OP_RECEIVE));
    if ((notices & DEMUXBUF_RESCHEDULE) != 0 && !self->is_scheduled) {
        self->is_scheduled = 1;
        scheduled[scheduled_count++] = self;
    }
    return demuxbuf_receiver_done(pool, self->receiver, notices);
}

/* Does the pending actions of one connection, until it waits or is closed. */
static void run(struct connection *self, demuxbuf_step step) {
    const uint32_t notices = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_RESCHEDULE;
    for (;;) {
        if ((step.actions & DEMUXBUF_ERROR) != 0) /* the other bits mean nothing then */
            fprintf(stderr, "%s\n", demuxbuf_strerror(demuxbuf_actions_status_inline(step.actions)));
        if ((step.actions & OVER) != 0) {
            drop(self);
            return;
        } else if ((step.actions & DEMUXBUF_RECV) != 0) {
            step = self->queue.first != NONE ? deliver(self) : receive(self, step);
        } else if ((step.actions & DEMUXBUF_DECODE) != 0) {
            step = decode(self, step);
        } else if ((step.actions & notices) != 0) {
            step = acknowledge(self, step.actions & notices);
        } else {
            break;
        }
    }
    if (self->is_wanted && !self->is_armed) {
        begin(self, prepare_receive(self->fd), OP_RECEIVE);
        self->is_armed = 1;
    }
}

/* A buffer, or the end; without a buffer, or after a poll, it is in the socket. Of a closed connection: nothing. */
static void received(struct connection *self, int32_t result, uint32_t flags) {
    uint32_t buffer = taken(flags);
    int is_in_socket = result == -ENOBUFS || (result > 0 && buffer == NONE);
    self->is_armed = (flags & IORING_CQE_F_MORE) != 0;
    self->operations -= !self->is_armed;
    if (buffer != NONE && (result <= 0 || !self->is_open))
        recycle(buffer);
    else if (buffer != NONE)
        push(&self->queue, buffer, (uint32_t)result);
    if (!self->is_open)
        return;
    self->is_ended |= result == 0;
    if (result < 0 && result != -ENOBUFS && result != -ECANCELED)
        run(self, demuxbuf_receiver_transport_error(pool, self->receiver));
    else if (is_in_socket && self->queue.first == NONE)
        run(self, demuxbuf_receiver_readable(pool, self->receiver));
    else
        run(self, deliver(self));
}

static void complete_send(struct connection *self, int32_t result) {
    self->operations--;
    if (self->is_open && result >= 0) {
        self->sent += (uint32_t)result;
        run(self, demuxbuf_receiver_unblock(pool, self->receiver, SOCKET_FULL));
    } else if (self->is_open) {
        demuxbuf_receiver_fail(pool, self->receiver); /* what is buffered is of no use any more */
        run(self, demuxbuf_receiver_transport_error(pool, self->receiver));
    }
}

static void accepted(int fd) {
    struct connection *self = connections;
    submit_accept(listener);
    while (self < connections + CONNECTIONS_MAX && self->fd >= 0)
        self++;
    uint64_t made, token = (uint64_t)(self - connections);
    demuxbuf_attach_options with = {.struct_size = sizeof with, .token = token};
    if (fd < 0 || token == CONNECTIONS_MAX || demuxbuf_receiver_attach(pool, &with, &made, NULL, NULL) != DEMUXBUF_OK) {
        close(fd);
        return;
    }
    *self =
        (struct connection){made, .fd = fd, .is_open = 1, .is_scheduled = self->is_scheduled, .queue = {NONE, NONE}};
    run(self, demuxbuf_receiver_pending(pool, made));
}

/* Submits, waits, advances the clock, and handles what is complete. */
static void wait_and_complete(int timeout_ms) {
    struct __kernel_timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000ll};
    struct io_uring_cqe *cqe;
    io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &timeout, NULL);
    counts.wakeups++;
    demuxbuf_pool_handle_timeout(pool, embed_now_ns());
    while (io_uring_peek_cqe(&ring, &cqe) == 0) {
        struct io_uring_cqe done = *cqe;
        enum op op = done.user_data % OPS;
        struct connection *self = &connections[done.user_data / OPS];
        io_uring_cqe_seen(&ring, cqe);
        is_stopping |= op == OP_SIGNAL;
        if (op == OP_ACCEPT) {
            accepted(done.res);
        } else if (op == OP_RECEIVE || op == OP_SEND) {
            op == OP_RECEIVE ? received(self, done.res, done.flags) : complete_send(self, done.res);
            close_if_complete(self);
        }
    }
}

/* One iteration: wait, clock, completions, what was scheduled, notices. */
static void iterate(void) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    int due_count = scheduled_count;
    memcpy(due, scheduled, sizeof due);
    scheduled_count = 0;
    wait_and_complete(due_count > 0 ? 0 : embed_timeout_ms(demuxbuf_pool_poll_timeout(pool)));
    for (int at = 0; at < due_count; at++) {
        due[at]->is_scheduled = 0;
        if (due[at]->is_open)
            run(due[at], demuxbuf_receiver_wake(pool, due[at]->receiver));
    }
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK)
        run(&connections[notice.token], notice.step);
}

int main(int argc, char **argv) {
    embed_options options = embed_parse(argc, argv, NULL);
    int signals = embed_signals(), status = make_ring();
    if (status < 0) {
        fprintf(stderr, "io_uring: %s\n", strerror(-status));
        return NOT_SUPPORTED;
    }
    pool = embed_pool(&options, DEMUXBUF_MODE_LEVEL);
    for (int at = 0; at < CONNECTIONS_MAX; at++)
        connections[at].fd = -1;
    listener = embed_listen(&options);
    submit_accept(listener);
    submit_signal(signals);
    while (!is_stopping)
        iterate();
    for (struct connection *self = connections; self < connections + CONNECTIONS_MAX; self++) {
        if (self->is_open)
            drop(self);
        while (self->fd >= 0)
            wait_and_complete(1000);
    }
    io_uring_queue_exit(&ring);
    return embed_finish(pool, &counts);
}
