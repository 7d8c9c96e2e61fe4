/*
 * demuxbuf: helpers for hosts on sockets, optional.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * While memory is short, a receiver that counts leaves a partial frame in the kernel until the frame is whole. These
 * functions make the system calls for that. A host calls
 *
 * - demuxbuf_posix_socket_init for an accepted socket, before demuxbuf_receiver_attach;
 * - demuxbuf_posix_socket_receive for a step with DEMUXBUF_RECV or DEMUXBUF_PEEK;
 * - demuxbuf_posix_socket_set_mark for a step with DEMUXBUF_WANT_RECV, before it arms read interest.
 *
 * All else is as without them: the host decodes, arms its poller, and reports what it did. It need not look at the
 * events of its poller: an end or a full kernel is found where it matters.
 *
 * Linux counts, on TCP. Elsewhere the same calls receive without counting. kqueue has a mark of its own: a host there
 * may attach with `counting`, register EVFILT_READ with NOTE_LOWAT and `bytes` of DEMUXBUF_WANT_RECV as `data`, and
 * report EV_EOF as DEMUXBUF_EVENT_PEER_CLOSED. That was not tried.
 *
 * Thread rule: that of the pool. No function allocates or waits. They change errno.
 */

#ifndef DEMUXBUF_POSIX_H
#define DEMUXBUF_POSIX_H

#include "demuxbuf.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>
/* SO_PROTOCOL, which some C libraries hide from strict C. */
#if defined(__linux__) && !defined(SO_PROTOCOL)
#include <asm/socket.h>
#endif

/* An outcome: the socket works, but it cannot hold partial frames until they are whole. */
#define DEMUXBUF_POSIX_NOT_COUNTING 256

/* The least that a socket is asked to hold: below that, Linux closes the window inside of frames that follow each
   other. */
#define DEMUXBUF_POSIX_HOLD_MIN 262144

/* POLLRDHUP, which some C libraries only have with _GNU_SOURCE. */
#if defined(POLLRDHUP)
#define DEMUXBUF_POSIX_PEER_CLOSED POLLRDHUP
#elif defined(__linux__) && defined(__sparc__)
#define DEMUXBUF_POSIX_PEER_CLOSED 0x800
#elif defined(__linux__)
#define DEMUXBUF_POSIX_PEER_CLOSED 0x2000
#else
#define DEMUXBUF_POSIX_PEER_CLOSED 0
#endif

/* What a host keeps of a connected socket, beside its receiver. */
typedef struct {
    int fd;
    /* SO_RCVLOWAT, as it was set last. */
    uint32_t mark;
    /* Not 0: the mark is what the receiver asks for. Change it with `counting` in the policy of the receiver. */
    uint8_t is_counting;
    /* Not 0: the poller is edge-triggered. Change it with `mode` in that policy. */
    uint8_t is_edge;
} demuxbuf_posix_socket;

/* Internal: sets a number of the socket's. */
static inline int demuxbuf_posix_set(int fd, int name, int value) {
    return setsockopt(fd, SOL_SOCKET, name, &value, (socklen_t)sizeof value) == 0;
}

/* Internal: a number of the socket's; -1 if there is none. */
static inline int demuxbuf_posix_get(int fd, int name) {
    int value = -1;
    socklen_t bytes = (socklen_t)sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &bytes) == 0 ? value : -1;
}

/* Internal: prepares a socket to hold frames of up to this many bytes; 1 if it will wake the host when one is whole. */
static inline int demuxbuf_posix_can_hold(int fd, uint32_t buffer_bytes) {
#if defined(__linux__)
    /* The poll of other sockets ignores the mark. */
    if (demuxbuf_posix_get(fd, SO_PROTOCOL) != IPPROTO_TCP)
        return 0;
    /* An urgent byte outside of the stream is counted, and cannot be received: the poller would report it always. */
    if (!demuxbuf_posix_set(fd, SO_OOBINLINE, 1))
        return 0;
    uint32_t hold = 16 * buffer_bytes;
    /* A mark makes the kernel's buffer grow, and is capped without an error where that cannot grow. */
    int is_set =
        demuxbuf_posix_set(fd, SO_RCVLOWAT, (int)(hold > DEMUXBUF_POSIX_HOLD_MIN ? hold : DEMUXBUF_POSIX_HOLD_MIN));
    int can_hold = is_set && demuxbuf_posix_get(fd, SO_RCVLOWAT) >= (int)buffer_bytes;
    return demuxbuf_posix_set(fd, SO_RCVLOWAT, 1) && can_hold;
#else
    (void)fd, (void)buffer_bytes;
    return 0;
#endif
}

/*
 * Prepares a connected socket, and says in `policy->counting` whether its receiver may count; attach the receiver with
 * this policy. `buffer_bytes` is that of the pool. `policy->mode` is read, and so is `policy->reads_ahead`: TLS and the
 * optimistic mode do not count. Under a limit that the host set with SO_RCVBUF, a socket counts if the limit is at
 * least `buffer_bytes`, and holds frames that follow each other if it is at least 16 times that, and 262144.
 *
 * Cost: 5 system calls.
 * Returns `DEMUXBUF_OK` if it counts; `DEMUXBUF_POSIX_NOT_COUNTING` if it does not; `DEMUXBUF_ERR_NULL`;
 * `DEMUXBUF_ERR_RANGE` (`fd` below 0, `buffer_bytes` not from 128 to 16777216), and nothing is changed.
 */
static inline int32_t demuxbuf_posix_socket_init(demuxbuf_posix_socket *self, int fd, uint32_t buffer_bytes,
                                                 demuxbuf_policy *policy) {
    if (self == NULL || policy == NULL)
        return DEMUXBUF_ERR_NULL;
    if (fd < 0 || buffer_bytes < 128 || buffer_bytes > 16777216)
        return DEMUXBUF_ERR_RANGE;
    int may_count = policy->mode != DEMUXBUF_MODE_OPTIMISTIC && policy->reads_ahead == 0;
    self->fd = fd;
    self->mark = 1;
    self->is_edge = policy->mode == DEMUXBUF_MODE_EDGE;
    self->is_counting = demuxbuf_posix_can_hold(fd, buffer_bytes) && may_count;
    policy->counting = self->is_counting;
    return self->is_counting ? DEMUXBUF_OK : DEMUXBUF_POSIX_NOT_COUNTING;
}

/*
 * Sets the mark that a step with `DEMUXBUF_WANT_RECV` asks for. Call it before read interest is armed (epoll:
 * EPOLL_CTL_MOD; io_uring: a poll), and report `DEMUXBUF_WANT_RECV` done after both. Nothing happens for other steps,
 * or if the mark is in force. A step that is about bytes as well does not have the mark: the action comes again.
 *
 * A mark that the system does not take is found by `demuxbuf_posix_socket_receive`: the kernel counts as full then.
 * Cost: at most one system call.
 */
static inline void demuxbuf_posix_socket_set_mark(demuxbuf_posix_socket *self, demuxbuf_step step) {
    /* With these, `bytes` is something else. */
    const uint32_t others = DEMUXBUF_ERROR | DEMUXBUF_RECV | DEMUXBUF_PEEK | DEMUXBUF_DECODE | DEMUXBUF_END |
                            DEMUXBUF_CANNOT_FIT | DEMUXBUF_SHED;
    if (self == NULL || (step.actions & (DEMUXBUF_WANT_RECV | others)) != DEMUXBUF_WANT_RECV)
        return;
    const uint32_t mark = self->is_counting ? step.bytes : 1;
    /* Edge-triggered, the machine asks for the same mark again after a receive: what setting it would find, the next
       receive finds. */
    if (mark == self->mark)
        return;
    (void)demuxbuf_posix_set(self->fd, SO_RCVLOWAT, (int)mark);
    self->mark = mark;
}

/* Internal: one receive that does not wait; below 0 with errno if there is none. */
static inline ssize_t demuxbuf_posix_try_receive(int fd, uint8_t *data, uint32_t bytes, int flags) {
    ssize_t got;
    do {
        got = recv(fd, data, bytes, flags | MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    return got;
}

/* Internal: reports a receive that brought no bytes: `got` is 0, or below 0 with errno. */
static inline demuxbuf_step demuxbuf_posix_report_none(demuxbuf_pool *pool, uint64_t receiver, ssize_t got) {
    if (got == 0)
        return demuxbuf_receiver_end_of_stream(pool, receiver);
    return errno == EAGAIN || errno == EWOULDBLOCK ? demuxbuf_receiver_would_block(pool, receiver)
                                                   : demuxbuf_receiver_transport_error(pool, receiver);
}

/* Internal: does `DEMUXBUF_RECV`. A receive ends before an urgent byte, so that a whole may need several. What is there
   to be dropped is there. */
static inline demuxbuf_step demuxbuf_posix_receive(const demuxbuf_posix_socket *self, demuxbuf_pool *pool,
                                                   uint64_t receiver, demuxbuf_step step) {
    const int is_whole = (step.actions & DEMUXBUF_RECV_WHOLE) != 0;
    uint32_t bytes = 0;
    ssize_t got;
    do {
        got = demuxbuf_posix_try_receive(self->fd, step.data + bytes, step.bytes - bytes, 0);
        bytes += got > 0 ? (uint32_t)got : 0;
    } while (got > 0 && bytes < step.bytes && is_whole);
    return bytes > 0 ? demuxbuf_receiver_received(pool, receiver, bytes)
                     : demuxbuf_posix_report_none(pool, receiver, got);
}

/* Internal: 1 if this number of bytes can be received; if they cannot be counted, the receive finds out why. */
static inline int demuxbuf_posix_has(const demuxbuf_posix_socket *self, uint32_t bytes) {
    int count = 0;
    return ioctl(self->fd, FIONREAD, &count) != 0 || (count > 0 && (uint32_t)count >= bytes);
}

/* Internal: receives bytes that are there, or looks at them. A look ends before an urgent byte: the kernel cannot show
   all, and so holds no more that could be shown. */
static inline demuxbuf_step demuxbuf_posix_take_whole(const demuxbuf_posix_socket *self, demuxbuf_pool *pool,
                                                      uint64_t receiver, demuxbuf_step step) {
    if ((step.actions & DEMUXBUF_PEEK) == 0)
        return demuxbuf_posix_receive(self, pool, receiver, step);
    const ssize_t got = demuxbuf_posix_try_receive(self->fd, step.data, step.bytes, MSG_PEEK);
    if (got <= 0)
        return demuxbuf_posix_report_none(pool, receiver, got);
    return (uint32_t)got == step.bytes ? demuxbuf_receiver_received(pool, receiver, step.bytes)
                                       : demuxbuf_receiver_report(pool, receiver, DEMUXBUF_EVENT_KERNEL_FULL, 0);
}

/* Internal: does `DEMUXBUF_RECV` or `DEMUXBUF_PEEK` with `DEMUXBUF_RECV_WHOLE`. */
static inline demuxbuf_step demuxbuf_posix_receive_whole(const demuxbuf_posix_socket *self, demuxbuf_pool *pool,
                                                         uint64_t receiver, demuxbuf_step step) {
    if ((step.actions & DEMUXBUF_DISCARD) != 0)
        return demuxbuf_posix_receive(self, pool, receiver, step);
    if (demuxbuf_posix_has(self, step.bytes))
        return demuxbuf_posix_take_whole(self, pool, receiver, step);
    /* A lower mark can be reached by a part. The one for this frame is set next, and then the poller has more to
       report. But an edge-triggered one does not repeat a reset. */
    const int is_marked = self->mark >= step.bytes;
    if (!is_marked && !self->is_edge)
        return demuxbuf_receiver_would_block(pool, receiver);
    struct pollfd poller = {self->fd, POLLIN | DEMUXBUF_POSIX_PEER_CLOSED, 0};
    const int found = poll(&poller, 1, 0) > 0 ? poller.revents : 0;
    if ((found & (DEMUXBUF_POSIX_PEER_CLOSED | POLLHUP | POLLERR | POLLNVAL)) != 0)
        return demuxbuf_receiver_report(pool, receiver, DEMUXBUF_EVENT_PEER_CLOSED, 0);
    if (!is_marked || (found & POLLIN) == 0)
        return demuxbuf_receiver_would_block(pool, receiver);
    /* Counted after the poll: readable below the mark means that the kernel will hold no more. */
    if (demuxbuf_posix_has(self, step.bytes))
        return demuxbuf_posix_take_whole(self, pool, receiver, step);
    return demuxbuf_receiver_report(pool, receiver, DEMUXBUF_EVENT_KERNEL_FULL, 0);
}

/*
 * Does `DEMUXBUF_RECV` or `DEMUXBUF_PEEK`, and reports the outcome: bytes, nothing, the end of the stream, an error, a
 * peer that closed behind a partial frame, or a kernel that holds no more.
 *
 * With `DEMUXBUF_PEEK` pending in the step that it returns, the host has to look: `bytes` bytes of a frame are at
 * `data`, and stay in the socket. Report with `demuxbuf_receiver_decoded(pool, receiver, 0, needed)` how many bytes the
 * decoder needs in all, from the first one at `data` on: of the frame, or of its header while that is not whole.
 * Consume nothing.
 *
 * Where a frame is decoded while it stays in the socket, it looks at all of the frame and reports that as received; the
 * step after the decoder's report is one with `DEMUXBUF_RECV` once more, and the call drops what was decoded.
 *
 * With completion, call it for `DEMUXBUF_PEEK` and `DEMUXBUF_RECV_WHOLE`, and submit other receives.
 * Cost: one system call for `DEMUXBUF_RECV` or `DEMUXBUF_PEEK`, two for a whole frame and one more for what is dropped,
 * two or three for a frame that is not whole.
 * Returns what is to be done now, or with `DEMUXBUF_ERROR` set a status: `DEMUXBUF_ERR_NULL`, and what the reports
 * return. A step without `DEMUXBUF_RECV` and `DEMUXBUF_PEEK` is returned as it is.
 */
static inline demuxbuf_step demuxbuf_posix_socket_receive(demuxbuf_posix_socket *self, demuxbuf_pool *pool,
                                                          uint64_t receiver, demuxbuf_step step) {
    const demuxbuf_step refused = {NULL, 0, (uint32_t)DEMUXBUF_ERR_NULL};
    if (self == NULL || pool == NULL)
        return refused;
    if ((step.actions & (DEMUXBUF_ERROR | DEMUXBUF_RECV | DEMUXBUF_RECV_WHOLE)) == DEMUXBUF_RECV)
        step = demuxbuf_posix_receive(self, pool, receiver, step);
    /* What it returns with `DEMUXBUF_PEEK` was looked at. */
    while ((step.actions & DEMUXBUF_ERROR) == 0 && (step.actions & (DEMUXBUF_PEEK | DEMUXBUF_RECV_WHOLE)) != 0) {
        if ((step.actions & DEMUXBUF_RECV_WHOLE) != 0) {
            step = demuxbuf_posix_receive_whole(self, pool, receiver, step);
            continue;
        }
        ssize_t got = demuxbuf_posix_try_receive(self->fd, step.data, step.bytes, MSG_PEEK);
        if (got > 0) {
            step.bytes = (uint32_t)got;
            return step;
        }
        step = demuxbuf_posix_report_none(pool, receiver, got);
    }
    return step;
}

#endif /* DEMUXBUF_POSIX_H */
