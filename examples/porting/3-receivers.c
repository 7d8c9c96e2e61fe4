/* Step 3 of docs/porting.md: an echo server whose buffers, queue and deadlines are the library's. Its loop is one of
   tasklets: what happens to a connection wakes its tasklet, and each iteration runs the tasklets that are woken. epoll
   is one-shot. It ends with SIGTERM or SIGINT. */
#include "../embed/c/embed.h"
#include <sys/queue.h>

struct connection {
    uint64_t receiver;
    int fd;            /* 0: a free place */
    uint32_t interest; /* EPOLLIN: the receiver asked for it. EPOLLOUT: decoding is blocked. */
    uint32_t woken;    /* bits of DEMUXBUF_EVENT_*, which the tasklet reports */
    uint32_t sent;     /* how much of the frame at the front is sent */
    TAILQ_ENTRY(connection) run;
};

TAILQ_HEAD(list, connection);
static struct list runnable = TAILQ_HEAD_INITIALIZER(runnable);
static struct connection connections[CONNECTIONS_MAX];
static demuxbuf_pool *pool;
static embed_counts counts;
static int poller, is_stopping;
static char listener_tag, signals_tag;

static void wake(struct connection *self, uint32_t event) {
    if (self->woken == 0)
        TAILQ_INSERT_TAIL(&runnable, self, run);
    self->woken |= 1u << event;
}

/* One-shot: a hang-up, which cannot be masked, is reported once, and not again before this. So it is also called for a
   connection that waits for a buffer, of which nothing else is to be heard. */
static void update_interest(struct connection *self) {
    struct epoll_event event = {.events = self->interest | EPOLLONESHOT, .data.ptr = self};
    epoll_ctl(poller, EPOLL_CTL_MOD, self->fd, &event);
}

static demuxbuf_step receive(struct connection *self, demuxbuf_step step) {
    ssize_t got = read(self->fd, step.data, step.bytes);
    return got > 0           ? demuxbuf_receiver_received(pool, self->receiver, (uint32_t)got)
           : got == 0        ? demuxbuf_receiver_end_of_stream(pool, self->receiver)
           : errno == EAGAIN ? demuxbuf_receiver_would_block(pool, self->receiver)
                             : demuxbuf_receiver_transport_error(pool, self->receiver);
}

static demuxbuf_step drop(struct connection *self) {
    return demuxbuf_receiver_close(pool, self->receiver);
}

static demuxbuf_step decode(struct connection *self, demuxbuf_step step) {
    uint32_t frame = embed_frame_bytes(step.data, step.bytes);
    if (step.bytes < frame)
        return demuxbuf_receiver_decoded(pool, self->receiver, 0, frame - step.bytes);
    ssize_t sent = send(self->fd, step.data + self->sent, frame - self->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        return drop(self);
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

/* Does the pending actions of one connection, until it waits or is gone. */
static void run(struct connection *self, demuxbuf_step step) {
    const uint32_t notices = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_RESCHEDULE;
    for (;;) {
        uint32_t actions = step.actions;
        if ((actions & DEMUXBUF_ERROR) != 0) { /* before all else: a mistake of this program */
            fprintf(stderr, "%s\n", demuxbuf_strerror(demuxbuf_actions_status_inline(actions)));
            exit(1);
        } else if ((actions & DEMUXBUF_FINISHED) != 0) {
            close(self->fd);
            self->fd = 0;
            return;
        } else if ((actions & (DEMUXBUF_END | DEMUXBUF_SHED | DEMUXBUF_CANNOT_FIT)) != 0) {
            step = drop(self);
        } else if ((actions & DEMUXBUF_RECV) != 0) {
            step = receive(self, step);
        } else if ((actions & DEMUXBUF_DECODE) != 0) {
            step = decode(self, step);
        } else if ((actions & notices) != 0) {
            self->interest |= (actions & DEMUXBUF_WANT_RECV) != 0 ? EPOLLIN : 0;
            self->interest &= (actions & DEMUXBUF_STOP_RECV) != 0 ? ~(uint32_t)EPOLLIN : ~0u;
            if ((actions & (DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV)) != 0)
                update_interest(self);
            if ((actions & DEMUXBUF_RESCHEDULE) != 0)
                wake(self, DEMUXBUF_EVENT_WAKE);
            step = demuxbuf_receiver_done(pool, self->receiver, actions & notices);
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
        uint32_t value = event == DEMUXBUF_EVENT_UNBLOCK ? SOCKET_FULL : 0;
        run(self, demuxbuf_receiver_report(pool, self->receiver, event, value));
    }
    if (self->fd != 0 && self->interest == 0)
        update_interest(self);
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct connection *self = connections;
        while (self < connections + CONNECTIONS_MAX && (self->fd != 0 || self->woken != 0))
            self++;
        uint64_t receiver, token = (uint64_t)(self - connections);
        demuxbuf_attach_options options = {.struct_size = sizeof options, .token = token};
        if (token == CONNECTIONS_MAX ||
            demuxbuf_receiver_attach(pool, &options, &receiver, NULL, NULL) != DEMUXBUF_OK) {
            close(fd);
            continue;
        }
        *self = (struct connection){.fd = fd, .receiver = receiver};
        embed_arm(poller, fd, EPOLLONESHOT, self);
        run(self, demuxbuf_receiver_pending(pool, receiver));
    }
}

/* One iteration: wait, clock, events, tasklets, notices. */
static void iterate(int listener) {
    struct epoll_event events[64];
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    struct list due = TAILQ_HEAD_INITIALIZER(due);
    int timeout_ms = !TAILQ_EMPTY(&runnable) ? 0 : embed_timeout_ms(demuxbuf_pool_poll_timeout(pool));
    int ready = epoll_wait(poller, events, 64, timeout_ms);
    demuxbuf_pool_handle_timeout(pool, embed_now_ns());
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
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK)
        run(&connections[notice.token], notice.step);
}

int main(int argc, char **argv) {
    embed_options options = embed_parse(argc, argv, NULL);
    int signals = embed_signals();
    pool = embed_pool(&options, DEMUXBUF_MODE_ONE_SHOT);
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
    return embed_finish(pool, &counts);
}
