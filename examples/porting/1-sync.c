/* Step 1 of docs/porting.md: the server of step 0 with its buffers, flags and counts. The state machine decides what is
   to be done next; `sync_machine` reports the flags and counts to it after each receive and each run of the decoder.
   Its loop is one of tasklets: what happens to a connection wakes its tasklet, and each iteration runs the tasklets
   that are woken. epoll is one-shot. It ends with SIGTERM or SIGINT. */
#include "../embed/c/server.h"
#include "memory.h"
#include <demuxbuf.h>

/* Flags of a connection. */
enum {
    SHORT = 1,   /* the frame at the front is not whole */
    BLOCKED = 2, /* the peer does not read its echo */
};

struct connection {
    struct waiter waiter;
    demuxbuf_connection machine;
    int fd;            /* 0: a free place */
    uint32_t interest; /* EPOLLIN: the machine asked for it. EPOLLOUT: decoding is blocked. */
    uint32_t woken;    /* bits of DEMUXBUF_EVENT_*, which the tasklet reports */
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

static void wake(struct connection *self, uint32_t event) {
    if (self->woken == 0)
        TAILQ_INSERT_TAIL(&runnable, self, run);
    self->woken |= 1u << event;
}

/* `waiter` is the first member. */
static void on_assigned(struct waiter *waiter) {
    wake((struct connection *)waiter, DEMUXBUF_EVENT_BUFFER_GRANTED);
}

static uint32_t grant(struct connection *self, uint8_t *buffer) {
    self->buffer = self->data = buffer;
    self->since_ns = now_ns;
    return demuxbuf_connection_buffer_granted(&self->machine, BUFFER_BYTES);
}

static uint32_t request(struct connection *self) {
    uint8_t *buffer = memory_request(&memory, &self->waiter);
    return buffer != NULL ? grant(self, buffer) : demuxbuf_connection_buffer_denied(&self->machine);
}

/* One-shot: a hang-up, which cannot be masked, is reported once, and not again before this. So it is also called for a
   connection that waits for a buffer, of which nothing else is to be heard. */
static void update_interest(struct connection *self) {
    struct epoll_event event = {.events = self->interest | EPOLLONESHOT, .data.ptr = self};
    epoll_ctl(poller, EPOLL_CTL_MOD, self->fd, &event);
}

/* What the flags and counts are now. */
static uint32_t sync_machine(struct connection *self) {
    return demuxbuf_connection_sync(&self->machine, self->buffered, self->buffer != NULL ? BUFFER_BYTES : 0,
                                    self->flags & BLOCKED, (self->flags & SHORT) != 0, (self->interest & EPOLLIN) != 0);
}

static uint32_t receive(struct connection *self) {
    uint32_t room = BUFFER_BYTES - self->buffered;
    self->data = memmove(self->buffer, self->data, self->buffered);
    ssize_t got = read(self->fd, self->data + self->buffered, room);
    if (got > 0) {
        self->buffered += (uint32_t)got;
        self->flags &= ~(uint32_t)SHORT;
        stats.received_bytes += (uint64_t)got;
        uint32_t actions = sync_machine(self);
        return got == (ssize_t)room ? actions : demuxbuf_connection_would_block(&self->machine);
    }
    return got == 0          ? demuxbuf_connection_end_of_stream(&self->machine)
           : errno == EAGAIN ? demuxbuf_connection_would_block(&self->machine)
                             : demuxbuf_connection_transport_error(&self->machine);
}

static uint32_t drop(struct connection *self) {
    stats.dropped_bytes += self->buffered;
    self->buffered = 0;
    return demuxbuf_connection_close(&self->machine);
}

/* Sends each whole frame back from where it lies. */
static uint32_t decode(struct connection *self) {
    while ((self->flags & (SHORT | BLOCKED)) == 0) {
        uint32_t frame = embed_frame_bytes(self->data, self->buffered);
        if (frame > BUFFER_BYTES)
            return drop(self); /* it can never fit */
        if (self->buffered < frame) {
            self->flags |= SHORT;
            break;
        }
        ssize_t sent = send(self->fd, self->data + self->sent, frame - self->sent, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return drop(self);
        if (sent > 0)
            self->sent += (uint32_t)sent;
        self->since_ns = now_ns;
        if (self->sent < frame) {
            counts.blocked++;
            self->flags |= BLOCKED;
            self->interest |= EPOLLOUT;
            update_interest(self);
            break;
        }
        self->sent = 0;
        self->data += frame;
        self->buffered -= frame;
        stats.consumed_bytes += frame;
    }
    return sync_machine(self);
}

/* Does the pending actions of one connection, until it waits or is gone. */
static void run(struct connection *self, uint32_t actions) {
    const uint32_t notices = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_RESCHEDULE;
    demuxbuf_connection *machine = &self->machine;
    for (;;) {
        if ((actions & DEMUXBUF_ERROR) != 0) { /* before all else: a mistake of this program */
            fprintf(stderr, "%s\n", demuxbuf_strerror(demuxbuf_actions_status_inline(actions)));
            exit(1);
        } else if ((actions & DEMUXBUF_FINISHED) != 0) {
            close(self->fd);
            self->fd = 0;
            stats.receivers--;
            return;
        } else if ((actions & (DEMUXBUF_END | DEMUXBUF_SHED | DEMUXBUF_CANNOT_FIT)) != 0) {
            stats.shed += (actions & DEMUXBUF_SHED) != 0;
            actions = drop(self);
        } else if ((actions & DEMUXBUF_RELEASE_BUFFER) != 0) {
            memory_release(&memory, self->buffer);
            self->buffer = self->data = NULL;
            actions = demuxbuf_connection_buffer_released(machine);
        } else if ((actions & DEMUXBUF_CANCEL_REQUEST) != 0) {
            memory_cancel(&memory, &self->waiter);
            actions = demuxbuf_connection_done(machine, DEMUXBUF_CANCEL_REQUEST);
        } else if ((actions & DEMUXBUF_REQUEST_BUFFER) != 0) {
            actions = request(self);
        } else if ((actions & DEMUXBUF_RECV) != 0) {
            actions = receive(self);
        } else if ((actions & DEMUXBUF_DECODE) != 0) {
            actions = decode(self);
        } else if ((actions & notices) != 0) {
            self->interest |= (actions & DEMUXBUF_WANT_RECV) != 0 ? EPOLLIN : 0;
            self->interest &= (actions & DEMUXBUF_STOP_RECV) != 0 ? ~(uint32_t)EPOLLIN : ~0u;
            if ((actions & (DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV)) != 0)
                update_interest(self);
            if ((actions & DEMUXBUF_RESCHEDULE) != 0)
                wake(self, DEMUXBUF_EVENT_WAKE);
            actions = demuxbuf_connection_done(machine, actions & notices);
        } else {
            return;
        }
    }
}

/* Reports what woke a connection, one by one: an event may end it. */
static void tasklet(struct connection *self, uint32_t woken) {
    for (uint32_t event = 0; woken >> event != 0; event++) {
        if ((woken >> event & 1) == 0 || self->fd == 0)
            continue;
        if (event == DEMUXBUF_EVENT_UNBLOCK) {
            self->flags &= ~(uint32_t)BLOCKED;
            run(self, sync_machine(self));
        } else if (event != DEMUXBUF_EVENT_BUFFER_GRANTED) {
            run(self, demuxbuf_connection_report(&self->machine, event, 0));
        } else if (self->waiter.buffer != NULL) { /* not cancelled meanwhile */
            run(self, grant(self, memory_pick_up(&memory, &self->waiter)));
        }
    }
    if (self->fd != 0 && self->interest == 0)
        update_interest(self);
}

/* While others wait, a holder without progress for a lease is to be shed; one that the host blocks has twice that. */
static void expire(void) {
    for (struct connection *self = connections; memory.waiting > 0 && self < connections + CONNECTIONS_MAX; self++) {
        uint64_t lease_ns = (self->flags & BLOCKED) != 0 ? 2ull * LEASE_NS : LEASE_NS;
        if (self->buffer != NULL && now_ns - self->since_ns >= lease_ns)
            run(self, demuxbuf_connection_report(&self->machine, DEMUXBUF_EVENT_LEASE_EXPIRED, 0));
    }
}

static void accept_all(int listener) {
    const demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = DEMUXBUF_MODE_ONE_SHOT};
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct connection *self = connections;
        while (self < connections + CONNECTIONS_MAX && (self->fd != 0 || self->woken != 0))
            self++;
        if (self == connections + CONNECTIONS_MAX) {
            close(fd);
            continue;
        }
        *self = (struct connection){.fd = fd};
        embed_arm(poller, fd, EPOLLONESHOT, self);
        demuxbuf_connection_init(&self->machine, &policy, NULL, NULL);
        stats.receivers++;
        run(self, demuxbuf_connection_attach(&self->machine, 0, 0));
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
                wake(self, DEMUXBUF_EVENT_TRANSPORT_ERROR);
            self->interest &= ~found;
            if (self->interest != 0)
                update_interest(self);
            if ((found & EPOLLIN) != 0)
                wake(self, DEMUXBUF_EVENT_READABLE);
            if ((found & EPOLLOUT) != 0)
                wake(self, DEMUXBUF_EVENT_UNBLOCK);
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
            run(self, drop(self));
    }
    return memory_finish(&memory, &stats, &counts);
}
