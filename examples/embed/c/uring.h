/* What the two servers on io_uring have in common. */
#ifndef URING_H
#define URING_H

#include "server.h"
#include <liburing.h>
#include <poll.h>

enum { ENTRIES = 1024, PROBE_BYTES = 256, NOT_SUPPORTED = 77 };
enum op { OP_READABLE, OP_RECEIVE, OP_SEND, OP_ACCEPT, OP_SIGNAL, OP_CANCEL, OPS = 8 };

static struct io_uring ring;

static struct io_uring_sqe *entry(void) {
    struct io_uring_sqe *sqe;
    while ((sqe = io_uring_get_sqe(&ring)) == NULL)
        io_uring_submit(&ring);
    return sqe;
}

/* Waits for room by a send of the next few bytes, which are copied to `probe`; the library keeps the rest. A poll for
   POLLOUT completes at once when the peer has ended its stream, again and again: the ring cannot mask POLLRDHUP. */
static struct io_uring_sqe *prepare_send(int fd, uint8_t *probe, const uint8_t *rest, uint32_t bytes) {
    struct io_uring_sqe *sqe = entry();
    uint32_t probe_bytes = bytes < PROBE_BYTES ? bytes : PROBE_BYTES;
    memcpy(probe, rest, probe_bytes);
    io_uring_prep_send(sqe, fd, probe, probe_bytes, MSG_NOSIGNAL);
    return sqe;
}

static void submit_accept(int listener) {
    struct io_uring_sqe *sqe = entry();
    io_uring_prep_accept(sqe, listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    io_uring_sqe_set_data64(sqe, OP_ACCEPT);
}

static void submit_signal(int signals) {
    struct io_uring_sqe *sqe = entry();
    io_uring_prep_poll_add(sqe, signals, POLLIN);
    io_uring_sqe_set_data64(sqe, OP_SIGNAL);
}

/* What is cancelled completes all the same. */
static void submit_cancel(uint64_t data) {
    struct io_uring_sqe *sqe = entry();
    io_uring_prep_cancel64(sqe, data, 0);
    io_uring_sqe_set_data64(sqe, OP_CANCEL);
}

#endif
