/* Step 0 of docs/porting.md: an echo server with a receive buffer for each connection that needs one, a queue for
   buffers, and receive logic of its own. Nothing of the library is in it. Its loop is one of tasklets: what happens to
   a connection wakes its tasklet, and each iteration runs the tasklets that are woken. epoll is one-shot. It ends with
   SIGTERM or SIGINT. */
#include "../embed/c/server.h"
#include "memory.h"

/* What wakes a tasklet. */
enum { READABLE = 1, WRITABLE = 2, BUFFER = 4, HUNG_UP = 8 };

/* Flags of a connection. */
enum {
    SHORT = 1,   /* the frame at the front is not whole */
    BLOCKED = 2, /* the peer does not read its echo */
    FULL = 4,    /* the buffer has no room */
    QUEUED = 8,  /* it waits for a buffer */
    ENDED = 16,  /* the peer sends no more */
    BROKEN = 32, /* nothing more can be done for the peer */
};

enum { READS_MAX = 4 }; /* receives of one connection in one iteration */

struct connection {
    struct waiter waiter;
    int fd;            /* 0: a free place */
    uint32_t interest; /* EPOLLIN, EPOLLOUT: what the poller looks for */
    uint32_t woken;    /* why the tasklet is to run */
    uint32_t flags;
    uint32_t sent;     /* how much of the frame at the front is sent */
    uint32_t buffered; /* bytes in the buffer */
    uint8_t *buffer;   /* what it holds */
    uint8_t *data;     /* what is buffered in it */
    uint64_t since_ns; /* when it was granted its buffer or made progress with it */
    TAILQ_ENTRY(connection) run;
};

TAILQ_HEAD(list, connection);
static struct list runnable = TAILQ_HEAD_INITIALIZER(runnable);
static struct connection connections[CONNECTIONS_MAX];
static struct memory memory;
static embed_stats stats;
static embed_counts counts;
static uint64_t now_ns; /* advances by at most an eighth of the lease at once: a pause of the process expires none */
static int poller, is_stopping;
static char listener_tag, signals_tag;

static void wake(struct connection *self, uint32_t reason) {
    if (self->woken == 0)
        TAILQ_INSERT_TAIL(&runnable, self, run);
    self->woken |= reason;
}

/* The queue's callback; `waiter` is the first member. */
static void on_assigned(struct waiter *waiter) {
    wake((struct connection *)waiter, BUFFER);
}

static void grant(struct connection *self, uint8_t *buffer) {
    self->flags &= ~(uint32_t)QUEUED;
    self->buffer = self->data = buffer;
    self->since_ns = now_ns;
}

/* Whether there is a buffer to receive into. If none is free, the connection is queued. */
static int get_buffer(struct connection *self) {
    if (self->buffer != NULL || (self->flags & QUEUED) != 0)
        return self->buffer != NULL;
    uint8_t *buffer = memory_request(&memory, &self->waiter);
    if (buffer == NULL)
        self->flags |= QUEUED;
    else
        grant(self, buffer);
    return buffer != NULL;
}

/* An empty buffer goes back, to the next connection in the queue if one waits. */
static void release_buffer(struct connection *self) {
    if (self->buffer != NULL && self->buffered == 0) {
        memory_release(&memory, self->buffer);
        self->buffer = self->data = NULL;
    }
}

static void leave_queue(struct connection *self) {
    if ((self->flags & QUEUED) != 0)
        memory_cancel(&memory, &self->waiter);
    self->flags &= ~(uint32_t)QUEUED;
}

/* One-shot: a hang-up, which cannot be masked, is reported once, and not again before this. So it is also called for a
   connection that waits for a buffer, of which nothing else is to be heard. */
static void update_interest(struct connection *self) {
    uint32_t is_off = self->flags & (QUEUED | FULL | ENDED | BROKEN);
    uint32_t wanted = (is_off == 0 ? EPOLLIN : 0) | ((self->flags & BLOCKED) != 0 ? EPOLLOUT : 0);
    struct epoll_event event = {.events = wanted | EPOLLONESHOT, .data.ptr = self};
    if (wanted == 0 || wanted != self->interest)
        epoll_ctl(poller, EPOLL_CTL_MOD, self->fd, &event);
    self->interest = wanted;
}

/* Receives once. Whether the socket may have more. */
static int receive(struct connection *self) {
    uint32_t room = BUFFER_BYTES - self->buffered;
    if (room == 0)
        self->flags |= FULL;
    if (room == 0 || (self->flags & (ENDED | BROKEN)) != 0 || !get_buffer(self))
        return 0;
    self->data = memmove(self->buffer, self->data, self->buffered);
    ssize_t got = read(self->fd, self->data + self->buffered, room);
    if (got > 0) {
        self->buffered += (uint32_t)got;
        self->flags &= ~(uint32_t)SHORT;
        stats.received_bytes += (uint64_t)got;
    } else if (got == 0) {
        self->flags |= ENDED;
    } else if (errno != EAGAIN) {
        self->flags |= BROKEN;
    }
    return got == (ssize_t)room;
}

static void drop(struct connection *self) {
    stats.dropped_bytes += self->buffered;
    self->buffered = 0;
    release_buffer(self);
    leave_queue(self);
    close(self->fd);
    self->fd = 0;
    stats.receivers--;
}

/* Sends each whole frame back from where it lies. */
static void decode(struct connection *self) {
    while ((self->flags & (SHORT | BLOCKED | BROKEN)) == 0) {
        uint32_t frame = embed_frame_bytes(self->data, self->buffered);
        if (self->buffered < frame) {
            self->flags |= frame > BUFFER_BYTES ? BROKEN : SHORT; /* one that can never fit, or one to wait for */
            return;
        }
        ssize_t sent = send(self->fd, self->data + self->sent, frame - self->sent, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            self->flags |= BROKEN;
            return;
        }
        if (sent > 0)
            self->sent += (uint32_t)sent;
        self->since_ns = now_ns;
        if (self->sent < frame) {
            counts.blocked++;
            self->flags |= BLOCKED;
            return;
        }
        self->sent = 0;
        self->data += frame;
        self->buffered -= frame;
        self->flags &= ~(uint32_t)FULL;
        stats.consumed_bytes += frame;
    }
}

/* Looks at all that may have changed since the last time. */
static void tasklet(struct connection *self, uint32_t woken) {
    if (self->fd == 0)
        return;
    if ((woken & BUFFER) != 0 && self->waiter.buffer != NULL)
        grant(self, memory_pick_up(&memory, &self->waiter));
    if ((woken & WRITABLE) != 0)
        self->flags &= ~(uint32_t)BLOCKED;
    if ((woken & HUNG_UP) != 0)
        self->flags |= BROKEN;
    decode(self); /* what the block left, although nothing new may come */
    if ((woken & ~(uint32_t)WRITABLE) != 0) {
        int has_more = 1; /* what is left after the last receive, the poller reports again */
        for (int reads = 0; has_more && reads < READS_MAX; reads++) {
            has_more = receive(self);
            decode(self);
        }
    }
    int is_over = (self->flags & ENDED) != 0 && (self->buffered == 0 || (self->flags & SHORT) != 0);
    if (is_over || (self->flags & BROKEN) != 0) {
        drop(self);
    } else {
        release_buffer(self);
        update_interest(self);
    }
}

/* While others wait, a holder without progress for a lease is closed; one that the host blocks has twice as long. */
static void expire(void) {
    for (struct connection *self = connections; memory.waiting > 0 && self < connections + CONNECTIONS_MAX; self++) {
        uint64_t lease_ns = (self->flags & BLOCKED) != 0 ? 2ull * LEASE_NS : LEASE_NS;
        if (self->buffer != NULL && now_ns - self->since_ns >= lease_ns) {
            stats.shed++;
            drop(self);
        }
    }
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct connection *self = connections;
        while (self < connections + CONNECTIONS_MAX && (self->fd != 0 || self->woken != 0))
            self++;
        if (self == connections + CONNECTIONS_MAX) {
            close(fd);
            continue;
        }
        *self = (struct connection){.fd = fd, .flags = SHORT};
        embed_arm(poller, fd, EPOLLONESHOT, self);
        stats.receivers++;
        update_interest(self);
    }
}

/* One iteration: wait, clock, events, tasklets, deadlines. While others wait, deadlines run: the clock advances eight
   times in a lease at least. */
static void iterate(int listener) {
    static uint64_t seen_ns;
    struct epoll_event events[64];
    struct list due = TAILQ_HEAD_INITIALIZER(due);
    int timeout_ms = !TAILQ_EMPTY(&runnable) ? 0 : memory.waiting > 0 ? (int)(LEASE_NS / 8 / 1000000) : -1;
    int ready = epoll_wait(poller, events, 64, timeout_ms);
    uint64_t passed_ns = embed_now_ns() - seen_ns;
    seen_ns += passed_ns;
    now_ns += passed_ns < LEASE_NS / 8 ? passed_ns : LEASE_NS / 8;
    counts.wakeups++;
    for (int at = 0; at < ready; at++) {
        struct connection *self = events[at].data.ptr;
        if (events[at].data.ptr == &listener_tag) {
            accept_all(listener);
        } else if (events[at].data.ptr == &signals_tag) {
            is_stopping = 1;
        } else { /* one-shot: both directions are off now */
            uint32_t found = events[at].events & self->interest;
            found = found != 0 ? found : self->interest; /* a hang-up alone */
            if (self->interest == 0 && self->woken == 0)
                wake(self, HUNG_UP);
            self->interest = 0;
            if ((found & EPOLLIN) != 0)
                wake(self, READABLE);
            if ((found & EPOLLOUT) != 0)
                wake(self, WRITABLE);
        }
    }
    TAILQ_CONCAT(&due, &runnable, run);
    for (struct connection *self; (self = TAILQ_FIRST(&due)) != NULL;) {
        uint32_t woken = self->woken;
        TAILQ_REMOVE(&due, self, run);
        self->woken = 0;
        tasklet(self, woken);
    }
    expire();
}

int main(int argc, char **argv) {
    embed_options options = embed_parse(argc, argv, NULL);
    int signals = embed_signals();
    memory_open(&memory, &options, on_assigned);
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = embed_listen(&options);
    embed_arm(poller, listener, EPOLLIN, &listener_tag);
    embed_arm(poller, signals, EPOLLIN, &signals_tag);
    while (!is_stopping)
        iterate(listener);
    for (struct connection *self = connections; self < connections + CONNECTIONS_MAX; self++) {
        if (self->fd != 0)
            drop(self);
    }
    return memory_finish(&memory, &stats, &counts);
}
