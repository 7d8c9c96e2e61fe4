/* The buffers that the kernel chooses from, for `io_uring_ring.c`: what came in one of them is a piece, and a queue of
   pieces is what is left of them. */
#ifndef RING_H
#define RING_H

#include "uring.h"

enum { BUFFERS = 64, NONE = BUFFERS };

/* What is left of a buffer, and the next one in its queue. */
static struct piece {
    uint8_t *at;
    uint32_t bytes, next;
} pieces[BUFFERS];

static uint8_t buffers[BUFFERS][BUFFER_BYTES];
static struct io_uring_buf_ring *buffer_ring;
static uint32_t free_buffers;

/* The kernel may put something else into a buffer. */
static void recycle(uint32_t buffer) {
    free_buffers++;
    io_uring_buf_ring_add(buffer_ring, buffers[buffer], BUFFER_BYTES, (unsigned short)buffer, BUFFERS - 1, 0);
    io_uring_buf_ring_advance(buffer_ring, 1);
}

/* A queue of pieces, NONE and whatever if it is empty. */
struct queue {
    uint32_t first, last;
};

static void push(struct queue *queue, uint32_t buffer, uint32_t bytes) {
    uint32_t *link = queue->first == NONE ? &queue->first : &pieces[queue->last].next;
    *link = queue->last = buffer;
    pieces[buffer] = (struct piece){buffers[buffer], bytes, NONE};
}

/* The first piece is of no use any more. */
static void pop(struct queue *queue) {
    uint32_t buffer = queue->first;
    queue->first = pieces[buffer].next;
    recycle(buffer);
}

/* The buffer of a completion, which is the kernel's no more; or NONE. */
static uint32_t taken(uint32_t flags) {
    if ((flags & IORING_CQE_F_BUFFER) == 0)
        return NONE;
    free_buffers--;
    return flags >> IORING_CQE_BUFFER_SHIFT;
}

/* A receive that completes again and again, the last time without IORING_CQE_F_MORE. From an empty ring it would
   complete at once, whether there is something or not, so it is a poll then, which completes once. */
static struct io_uring_sqe *prepare_receive(int fd) {
    struct io_uring_sqe *sqe = entry();
    if (free_buffers == 0) {
        io_uring_prep_poll_add(sqe, fd, POLLIN);
        return sqe;
    }
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    return sqe;
}

/* Whether a receive brings a byte, in a buffer of the ring; 0, or an error. */
static int try_receive(void) {
    int pair[2], status = -ENOSYS;
    struct io_uring_cqe *cqe;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || write(pair[1], "", 1) != 1)
        return -errno;
    prepare_receive(pair[0]);
    close(pair[1]); /* the second completion is the end */
    for (int more = 1; more && io_uring_submit_and_wait(&ring, 1) >= 0 && io_uring_peek_cqe(&ring, &cqe) == 0;) {
        more = (cqe->flags & IORING_CQE_F_MORE) != 0;
        status = cqe->res < 0 ? cqe->res : cqe->res == 1 ? 0 : status;
        uint32_t buffer = taken(cqe->flags);
        if (buffer != NONE)
            recycle(buffer);
        io_uring_cqe_seen(&ring, cqe);
    }
    close(pair[0]);
    return status;
}

/* 0, or why there is no such ring. */
static int make_ring(void) {
    static _Alignas(4096) struct io_uring_buf memory[BUFFERS];
    struct io_uring_buf_reg with = {.ring_addr = (uintptr_t)memory, .ring_entries = BUFFERS};
    int status = io_uring_queue_init(ENTRIES, &ring, 0);
    if (status < 0 || (status = io_uring_register_buf_ring(&ring, &with, 0)) < 0)
        return status;
    buffer_ring = (struct io_uring_buf_ring *)memory;
    io_uring_buf_ring_init(buffer_ring);
    for (uint32_t buffer = 0; buffer < BUFFERS; buffer++)
        recycle(buffer);
    return try_receive();
}

#endif
