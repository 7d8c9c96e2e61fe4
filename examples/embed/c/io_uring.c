/* An echo server on io_uring: a poll finds a socket readable, then one receive brings what is there, into memory that
   the library names. So no idle connection holds a buffer. While memory is short, the poll completes once a frame is
   whole, and partial frames stay in the kernel. It ends with SIGTERM or SIGINT; status 77: there is no io_uring. */
#include "embed.h"
#include "uring.h"
#include <demuxbuf_posix.h>

struct connection {
    demuxbuf_posix_socket socket;
    uint64_t receiver;
    int is_open, is_scheduled;
    int is_polled;       /* a poll is submitted, and not cancelled */
    uint32_t sent;       /* how much of the frame at the front is sent */
    uint32_t operations; /* that the kernel has not completed; until then the place is not used again */
    uint8_t probe[PROBE_BYTES];
};

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

/* One that is submitted already will do: it heeds the new mark. */
static void submit_poll(struct connection *self) {
    if (self->is_polled)
        return;
    struct io_uring_sqe *sqe = entry();
    io_uring_prep_poll_add(sqe, self->socket.fd, POLLIN);
    begin(self, sqe, OP_READABLE);
    self->is_polled = 1;
}

/* The socket was found readable. If that is past, this completes with EAGAIN at once and keeps no buffer. */
static void submit_receive(struct connection *self, demuxbuf_step step) {
    struct io_uring_sqe *sqe = entry();
    io_uring_prep_recv(sqe, self->socket.fd, step.data, step.bytes, MSG_DONTWAIT);
    begin(self, sqe, OP_RECEIVE);
}

static void close_if_complete(struct connection *self) {
    if (!self->is_open && self->operations == 0 && self->socket.fd >= 0) {
        close(self->socket.fd);
        self->socket.fd = -1;
    }
}

/* The memory of a receive in flight stays the kernel's until its outcome is reported, so the descriptor stays open. */
static void drop(struct connection *self) {
    demuxbuf_receiver_close(pool, self->receiver);
    self->is_open = 0;
    if (self->operations > 0) {
        submit_cancel(data_of(self, OP_READABLE));
        submit_cancel(data_of(self, OP_SEND));
    }
    close_if_complete(self);
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
    self->sent += sent > 0 ? (uint32_t)sent : 0;
    if (self->sent < frame) {
        counts.blocked++;
        begin(self, prepare_send(self->socket.fd, self->probe, step.data + self->sent, frame - self->sent), OP_SEND);
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
        } else if ((step.actions & (DEMUXBUF_PEEK | DEMUXBUF_RECV_WHOLE)) != 0) { /* at once, not submitted */
            step = demuxbuf_posix_socket_receive(&self->socket, pool, self->receiver, step);
            if ((step.actions & DEMUXBUF_PEEK) != 0) /* a look at a frame that stays in the socket */
                step = demuxbuf_receiver_decoded(pool, self->receiver, 0, embed_frame_bytes(step.data, step.bytes));
        } else if ((step.actions & DEMUXBUF_RECV) != 0) {
            submit_receive(self, step);
            step = demuxbuf_receiver_done(pool, self->receiver, DEMUXBUF_RECV);
        } else if ((step.actions & DEMUXBUF_DECODE) != 0) {
            step = decode(self, step);
        } else if ((step.actions & notices) != 0) {
            demuxbuf_posix_socket_set_mark(&self->socket, step);
            if ((step.actions & DEMUXBUF_WANT_RECV) != 0)
                submit_poll(self);
            if ((step.actions & DEMUXBUF_STOP_RECV) != 0) {
                submit_cancel(data_of(self, OP_READABLE)); /* a receive needs none: it does not wait */
                self->is_polled = 0;
            }
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

static demuxbuf_step report_received(struct connection *self, int32_t got) {
    return got > 0          ? demuxbuf_receiver_received(pool, self->receiver, (uint32_t)got)
           : got == 0       ? demuxbuf_receiver_end_of_stream(pool, self->receiver)
           : got == -EAGAIN ? demuxbuf_receiver_would_block(pool, self->receiver)
                            : demuxbuf_receiver_transport_error(pool, self->receiver);
}

/* Of a closed connection only the outcome of a receive is reported: it ends the receiver. */
static void complete(struct connection *self, enum op op, int32_t result) {
    self->operations--;
    if (op == OP_RECEIVE) {
        demuxbuf_step step = report_received(self, result);
        if (self->is_open)
            run(self, step);
    } else if (self->is_open && op == OP_SEND && result >= 0) {
        self->sent += (uint32_t)result;
        run(self, demuxbuf_receiver_unblock(pool, self->receiver, SOCKET_FULL));
    } else if (self->is_open && op == OP_SEND) {
        demuxbuf_receiver_fail(pool, self->receiver); /* what is buffered is of no use any more */
        run(self, demuxbuf_receiver_transport_error(pool, self->receiver));
    } else if (self->is_open && result != -ECANCELED) { /* a hang-up, too: the receive finds it */
        self->is_polled = 0;
        run(self, demuxbuf_receiver_readable(pool, self->receiver));
    }
    close_if_complete(self);
}

static void accepted(int fd) {
    struct connection *self = connections;
    submit_accept(listener);
    while (self < connections + CONNECTIONS_MAX && self->socket.fd >= 0)
        self++;
    uint64_t made, token = (uint64_t)(self - connections);
    demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = DEMUXBUF_MODE_COMPLETION};
    demuxbuf_attach_options with = {.struct_size = sizeof with, .token = token, .policy = &policy};
    demuxbuf_posix_socket socket;
    demuxbuf_posix_socket_init(&socket, fd, BUFFER_BYTES, &policy);
    if (fd < 0 || token == CONNECTIONS_MAX || demuxbuf_receiver_attach(pool, &with, &made, NULL, NULL) != DEMUXBUF_OK) {
        close(fd);
        return;
    }
    *self = (struct connection){.socket = socket, .receiver = made, .is_open = 1, .is_scheduled = self->is_scheduled};
    run(self, demuxbuf_receiver_would_block(pool, made)); /* in place of a receive that holds a buffer: a poll */
}

/* Submits, waits, advances the clock if this is the first time in the iteration, and handles what is complete. */
static void wait_and_complete(int timeout_ms, int is_first) {
    struct __kernel_timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000ll};
    struct io_uring_cqe *cqe;
    io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &timeout, NULL);
    counts.wakeups++;
    if (is_first)
        demuxbuf_pool_handle_timeout(pool, embed_now_ns());
    while (io_uring_peek_cqe(&ring, &cqe) == 0) {
        enum op op = cqe->user_data % OPS;
        struct connection *self = &connections[cqe->user_data / OPS];
        int32_t result = cqe->res;
        io_uring_cqe_seen(&ring, cqe);
        if (op == OP_ACCEPT) {
            accepted(result);
        } else if (op == OP_SIGNAL) {
            is_stopping = 1;
        } else if (op != OP_CANCEL) {
            complete(self, op, result);
        }
    }
}

/* One iteration: wait, clock, completions, what was scheduled, the receives that follow from these, notices. */
static void iterate(void) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    int due_count = scheduled_count;
    memcpy(due, scheduled, sizeof due);
    scheduled_count = 0;
    wait_and_complete(due_count > 0 ? 0 : embed_timeout_ms(demuxbuf_pool_poll_timeout(pool)), 1);
    for (int at = 0; at < due_count; at++) {
        due[at]->is_scheduled = 0;
        if (due[at]->is_open)
            run(due[at], demuxbuf_receiver_wake(pool, due[at]->receiver));
    }
    if (io_uring_sq_ready(&ring) > 0) /* bytes in a socket are no progress before they are received */
        wait_and_complete(0, 0);
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK)
        run(&connections[notice.token], notice.step);
}

int main(int argc, char **argv) {
    embed_options options = embed_parse(argc, argv, NULL);
    int signals = embed_signals(), status = io_uring_queue_init(ENTRIES, &ring, 0);
    if (status < 0) {
        fprintf(stderr, "io_uring: %s\n", strerror(-status));
        return NOT_SUPPORTED;
    }
    pool = embed_pool(&options, DEMUXBUF_MODE_COMPLETION);
    for (int at = 0; at < CONNECTIONS_MAX; at++)
        connections[at].socket.fd = -1;
    listener = embed_listen(&options);
    submit_accept(listener);
    submit_signal(signals);
    while (!is_stopping)
        iterate();
    /* The kernel completes what is in flight before the memory goes. */
    for (struct connection *self = connections; self < connections + CONNECTIONS_MAX; self++) {
        if (self->is_open)
            drop(self);
        while (self->socket.fd >= 0)
            wait_and_complete(1000, 1);
    }
    io_uring_queue_exit(&ring);
    return embed_finish(pool, &counts);
}
