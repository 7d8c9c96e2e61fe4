/* Clients and a host, over loopback TCP: each client writes its frames in pieces, the host receives them
   through demuxbuf_posix.h and compares every byte. */
#ifndef PEER_H
#define PEER_H

#define _GNU_SOURCE
#include "../check.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* What the helpers do: receives are counted, and ended by a signal now and then. */
static uint64_t receives, looks, interrupts, fulls, hang_ups;
/* Not NULL: called before each poll of one socket. */
static void (*before_poll)(void);

static ssize_t checked_recv(int fd, void *data, size_t bytes, int flags) {
    static uint64_t state = 1;
    if (check_random(&state) % 16 == 0) {
        interrupts++;
        errno = EINTR;
        return -1;
    }
    receives++;
    looks += (flags & MSG_PEEK) != 0;
    return recv(fd, data, bytes, flags);
}

static int checked_poll(struct pollfd *polled, nfds_t count, int timeout_ms) {
    if (before_poll != NULL)
        before_poll();
    return poll(polled, count, timeout_ms);
}

static demuxbuf_step checked_report(demuxbuf_pool *pool, uint64_t receiver, uint32_t event, uint32_t value) {
    fulls += event == DEMUXBUF_EVENT_KERNEL_FULL;
    hang_ups += event == DEMUXBUF_EVENT_PEER_CLOSED;
    return demuxbuf_receiver_report(pool, receiver, event, value);
}

#define recv checked_recv
#define poll checked_poll
#define demuxbuf_receiver_report checked_report
#include <demuxbuf_posix.h>
#undef recv
#undef poll
#undef demuxbuf_receiver_report

enum { HEADER_BYTES = 4, PEERS_MAX = 20, LEASES_MAX = 16 };
enum ending { FINISH, FINISH_PARTIAL, RESET_PARTIAL };

/* What a client does, and how its socket is set. */
typedef struct {
    uint8_t mode;          /* DEMUXBUF_MODE_* */
    int receive_buffer;    /* SO_RCVBUF; 0 for the system's choice */
    int segment_max;       /* TCP_MAXSEG; 0 for the system's choice */
    uint32_t piece_bytes;  /* of each write */
    uint32_t urgent_every; /* of this number of pieces, one ends with an urgent byte; 0 for none */
    uint32_t frames;       /* that are whole */
    uint32_t frame_min, frame_max;
    uint32_t frame_last; /* length of the last whole one; 0 for the same as others */
    enum ending ending;
    uint64_t seed;
} plan;

typedef struct {
    plan plan;
    int client, is_open, is_registered, is_scheduled;
    demuxbuf_posix_socket socket;
    uint64_t receiver;
    uint32_t interest;
    uint8_t *stream;                /* all that the client sends */
    uint32_t bytes, whole, decoded; /* of the stream: all, up to the partial frame, and how far the host is */
    uint32_t frame_count, pieces, segment_bytes;
    uint64_t wakes;
    atomic_uint sent, segments, is_finished; /* by the client, which may be in a thread of its own */
} peer;

static peer peers[PEERS_MAX];
static uint32_t peer_count;
static demuxbuf_pool *pool;
static uint64_t now_ns, leases[LEASES_MAX];
static uint32_t lease_count, buffer_bytes, sheds;
static int poller, may_shed;

static void describe(const peer *self) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    int waiting = 0;
    char actions[128] = "";
    ioctl(self->socket.fd, FIONREAD, &waiting);
    if (self->is_open && demuxbuf_receiver_describe(pool, self->receiver, &info) == DEMUXBUF_OK)
        demuxbuf_actions_str(info.pending, actions, sizeof actions);
    const plan *plan = &self->plan;
    fprintf(stderr,
            "peer %d: mode %u, SO_RCVBUF %d, TCP_MAXSEG %d, pieces of %u, urgent %u, %u frames of %u to %u, ending %d, "
            "seed %" PRIu64 "\n  open %d, sent %u of %u, decoded %u of %u (%u frames), wakes %" PRIu64
            " with %u segments; counting %d, mark %u, %d bytes in the socket, %s\n",
            (int)(self - peers), plan->mode, plan->receive_buffer, plan->segment_max, plan->piece_bytes,
            plan->urgent_every, plan->frames, plan->frame_min, plan->frame_max, (int)plan->ending, plan->seed,
            self->is_open, self->sent, self->bytes, self->decoded, self->whole, self->frame_count, self->wakes,
            self->segments, self->socket.is_counting, self->socket.mark, waiting, actions);
}

/* Ends the program, with the peer that is to blame. */
static void check_peer(const peer *self, int holds, const char *what) {
    if (!holds)
        describe(self);
    check_that(holds, what, __FILE__, __LINE__);
}

/* The same for the client, which may be in another thread: what passes is not counted. */
static void check_client(const peer *self, int holds, const char *what) {
    if (!holds)
        check_peer(self, 0, what);
}

/* Frames with numbered payloads, and perhaps a part of one. */
static void make_stream(peer *self) {
    uint64_t state = self->plan.seed | 1;
    const uint32_t spread = self->plan.frame_max - self->plan.frame_min + 1;
    const uint32_t count = self->plan.frames + (self->plan.ending != FINISH);
    self->stream = malloc((size_t)count * self->plan.frame_max);
    CHECK(self->stream != NULL);
    for (uint32_t frame = 0; frame < count; frame++) {
        uint32_t bytes = self->plan.frame_min + check_random(&state) % spread;
        if (frame + 1 == self->plan.frames && self->plan.frame_last != 0)
            bytes = self->plan.frame_last;
        const uint32_t payload = bytes - HEADER_BYTES;
        uint8_t *at = self->stream + self->bytes;
        for (int place = 0; place < HEADER_BYTES; place++)
            at[place] = (uint8_t)(payload >> (24 - 8 * place));
        for (uint32_t place = HEADER_BYTES; place < bytes; place++)
            at[place] = (uint8_t)((self->bytes + place) * 2654435761u >> 24);
        if (frame == self->plan.frames)
            bytes = 1 + check_random(&state) % (bytes - 1);
        self->bytes += bytes;
        self->whole += frame < self->plan.frames ? bytes : 0;
    }
}

/* Length of the frame at the front, as far as it is known. */
static uint32_t frame_bytes(const uint8_t *data, uint32_t bytes) {
    if (bytes < HEADER_BYTES)
        return HEADER_BYTES;
    return HEADER_BYTES + ((uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3]);
}

static void update_interest(peer *self) {
    const uint32_t trigger = self->plan.mode == DEMUXBUF_MODE_EDGE    ? (uint32_t)EPOLLET
                             : self->plan.mode == DEMUXBUF_MODE_LEVEL ? 0
                                                                      : (uint32_t)EPOLLONESHOT;
    struct epoll_event event = {.events = self->interest | trigger, .data.ptr = self};
    const int operation = self->interest == 0 ? EPOLL_CTL_DEL : self->is_registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    /* Registered again, an edge-triggered socket would be reported again. */
    if (operation == EPOLL_CTL_MOD && self->plan.mode == DEMUXBUF_MODE_EDGE)
        return;
    if (self->interest != 0 || self->is_registered)
        CHECK_NUMBER(epoll_ctl(poller, operation, self->socket.fd, &event), 0);
    self->is_registered = self->interest != 0;
}

static void drop(peer *self) {
    demuxbuf_receiver_close(pool, self->receiver);
    close(self->socket.fd);
    self->is_open = 0;
}

/* What is left is the part of a frame that the peer sent. */
static void end(peer *self, demuxbuf_step step) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, self->receiver, &info), DEMUXBUF_OK);
    check_peer(self, info.end == (self->plan.ending == RESET_PARTIAL ? 2 : 1), "a reset is no end of the stream");
    check_peer(self, step.bytes == self->bytes - self->decoded, "all of the partial frame");
    check_peer(self, step.bytes == 0 || memcmp(step.data, self->stream + self->decoded, step.bytes) == 0,
               "as it was sent");
    drop(self);
}

static demuxbuf_step decode(peer *self, demuxbuf_step step) {
    const uint32_t needed = frame_bytes(step.data, step.bytes);
    check_peer(self, step.bytes <= self->bytes - self->decoded, "no more than what was sent");
    check_peer(self, memcmp(step.data, self->stream + self->decoded, step.bytes) == 0, "every byte as it was sent");
    if (step.bytes < needed)
        return demuxbuf_receiver_decoded(pool, self->receiver, 0, needed - step.bytes);
    self->decoded += needed;
    self->frame_count++;
    return demuxbuf_receiver_decoded(pool, self->receiver, needed, 0);
}

/* The first bytes of a frame that stays in the socket. */
static demuxbuf_step look(peer *self, demuxbuf_step step) {
    check_peer(self, step.bytes <= self->bytes - self->decoded, "no more than what was sent");
    check_peer(self, memcmp(step.data, self->stream + self->decoded, step.bytes) == 0, "every byte as it was sent");
    return demuxbuf_receiver_decoded(pool, self->receiver, 0, frame_bytes(step.data, step.bytes));
}

/* A receive that is submitted, and is complete at once. */
static demuxbuf_step submit(const peer *self, demuxbuf_step step) {
    const demuxbuf_step submitted = demuxbuf_receiver_done(pool, self->receiver, DEMUXBUF_RECV);
    check_peer(self, demuxbuf_actions_status_inline(submitted.actions) == DEMUXBUF_OK, "the receive can be submitted");
    const ssize_t got = recv(self->socket.fd, step.data, step.bytes, MSG_DONTWAIT);
    return got > 0           ? demuxbuf_receiver_received(pool, self->receiver, (uint32_t)got)
           : got == 0        ? demuxbuf_receiver_end_of_stream(pool, self->receiver)
           : errno == EAGAIN ? demuxbuf_receiver_would_block(pool, self->receiver)
                             : demuxbuf_receiver_transport_error(pool, self->receiver);
}

static void run(peer *self, demuxbuf_step step) {
    const uint32_t at_once = DEMUXBUF_PEEK | DEMUXBUF_RECV_WHOLE;
    const uint32_t notices = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_RESCHEDULE;
    for (;;) {
        check_peer(self, demuxbuf_actions_status_inline(step.actions) == DEMUXBUF_OK, "no report is refused");
        check_peer(self, (step.actions & DEMUXBUF_CANNOT_FIT) == 0, "all frames fit");
        if ((step.actions & DEMUXBUF_SHED) != 0) {
            check_peer(self, may_shed, "no peer is shed");
            sheds++;
            drop(self);
            return;
        } else if ((step.actions & DEMUXBUF_END) != 0) {
            end(self, step);
            return;
        } else if (self->plan.mode == DEMUXBUF_MODE_COMPLETION &&
                   (step.actions & (DEMUXBUF_RECV | at_once)) == DEMUXBUF_RECV) {
            step = submit(self, step);
        } else if ((step.actions & (DEMUXBUF_RECV | DEMUXBUF_PEEK)) != 0) {
            step = demuxbuf_posix_socket_receive(&self->socket, pool, self->receiver, step);
            if ((step.actions & DEMUXBUF_PEEK) != 0)
                step = look(self, step);
        } else if ((step.actions & DEMUXBUF_DECODE) != 0) {
            step = decode(self, step);
        } else if ((step.actions & notices) != 0) {
            demuxbuf_posix_socket_set_mark(&self->socket, step);
            if ((step.actions & DEMUXBUF_WANT_RECV) != 0)
                self->interest = EPOLLIN;
            if ((step.actions & DEMUXBUF_STOP_RECV) != 0)
                self->interest = 0;
            if ((step.actions & (DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV)) != 0)
                update_interest(self);
            self->is_scheduled |= (step.actions & DEMUXBUF_RESCHEDULE) != 0;
            step = demuxbuf_receiver_done(pool, self->receiver, step.actions & notices);
        } else {
            return;
        }
    }
}

static void set(int fd, int level, int name, int value) {
    CHECK_NUMBER(setsockopt(fd, level, name, &value, sizeof value), 0);
}

/* The two ends of a connection, the client's first. */
static void connect_pair(int *pair, int receive_buffer, int segment_max) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    pair[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (receive_buffer != 0)
        set(listener, SOL_SOCKET, SO_RCVBUF, receive_buffer);
    if (segment_max != 0) {
        set(listener, IPPROTO_TCP, TCP_MAXSEG, segment_max);
        set(pair[0], IPPROTO_TCP, TCP_MAXSEG, segment_max);
    }
    CHECK_NUMBER(bind(listener, (struct sockaddr *)&address, length), 0);
    CHECK_NUMBER(listen(listener, 1), 0);
    CHECK_NUMBER(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    CHECK_NUMBER(connect(pair[0], (struct sockaddr *)&address, length), 0);
    set(pair[0], IPPROTO_TCP, TCP_NODELAY, 1);
    pair[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CHECK(pair[1] >= 0);
    close(listener);
}

/* The least bytes of a segment, but for the last of a piece: the window of a small socket opens by parts of its
   size. */
static uint32_t segment_bytes(const peer *self) {
    int bytes = 0;
    socklen_t length = sizeof bytes;
    CHECK_NUMBER(getsockopt(self->client, IPPROTO_TCP, TCP_MAXSEG, &bytes, &length), 0);
    const int window = self->plan.receive_buffer / 8;
    return (uint32_t)(window != 0 && window < bytes ? window : bytes);
}

/* Connects a client as its plan has it, and attaches the other end. */
static peer *connect_peer(const plan *plan) {
    peer *self = &peers[peer_count++];
    const uint64_t token = (uint64_t)(self - peers);
    demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = plan->mode};
    int pair[2];
    connect_pair(pair, plan->receive_buffer, plan->segment_max);
    *self = (peer){.plan = *plan, .client = pair[0], .is_open = 1};
    self->segment_bytes = segment_bytes(self);
    make_stream(self);
    CHECK(demuxbuf_posix_socket_init(&self->socket, pair[1], buffer_bytes, &policy) >= 0);
    CHECK_NUMBER(
        demuxbuf_receiver_attach(pool, OPTIONS(.token = token, .policy = &policy), &self->receiver, NULL, NULL),
        DEMUXBUF_OK);
    run(self, demuxbuf_receiver_pending(pool, self->receiver));
    return self;
}

/* The client's next piece, or its end. Returns whether it did something. */
static int advance_client(peer *self) {
    if (self->is_finished)
        return 0;
    if (self->sent < self->bytes) {
        const uint32_t left = self->bytes - self->sent;
        const uint32_t piece = left < self->plan.piece_bytes ? left : self->plan.piece_bytes;
        const int is_urgent = self->plan.urgent_every != 0 && self->pieces % self->plan.urgent_every == 0;
        const ssize_t got = send(self->client, self->stream + self->sent, piece,
                                 MSG_DONTWAIT | MSG_NOSIGNAL | (is_urgent ? MSG_OOB : 0));
        check_client(self, got > 0 || errno == EAGAIN, "the client can send");
        if (got <= 0)
            return 0;
        self->sent += (uint32_t)got;
        self->pieces++;
        self->segments += ((uint32_t)got + self->segment_bytes - 1) / self->segment_bytes;
        return 1;
    }
    int unacknowledged = 0;
    if (self->plan.ending == RESET_PARTIAL) {
        /* A reset would drop what was not sent. */
        check_client(self, ioctl(self->client, TIOCOUTQ, &unacknowledged) == 0, "the system counts what is not sent");
        if (unacknowledged != 0)
            return 0;
        const struct linger at_once = {.l_onoff = 1};
        check_client(self, setsockopt(self->client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0,
                     "the client can reset");
        close(self->client);
        self->client = -1;
    } else {
        check_client(self, shutdown(self->client, SHUT_WR) == 0, "the client can end");
    }
    self->is_finished = 1;
    return 1;
}

/* All clients, in a thread. */
static void *run_clients(void *unused) {
    for (int are_finished = 0; !are_finished;) {
        int has_acted = 0;
        are_finished = 1;
        for (uint32_t at = 0; at < peer_count; at++) {
            has_acted |= advance_client(&peers[at]);
            are_finished &= peers[at].is_finished != 0;
        }
        if (!has_acted && !are_finished)
            poll(NULL, 0, 1);
    }
    return unused;
}

/* One iteration of the host: wait, clock, what was scheduled, events, notices. Returns the number of events. */
static int iterate(int timeout_ms) {
    struct epoll_event events[PEERS_MAX];
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    const int ready = epoll_wait(poller, events, PEERS_MAX, timeout_ms);
    CHECK(ready >= 0);
    demuxbuf_pool_handle_timeout(pool, now_ns);
    for (uint32_t at = 0; at < peer_count; at++) {
        if (peers[at].is_scheduled) {
            peers[at].is_scheduled = 0;
            if (peers[at].is_open)
                run(&peers[at], demuxbuf_receiver_wake(pool, peers[at].receiver));
        }
    }
    for (int at = 0; at < ready; at++) {
        peer *self = events[at].data.ptr;
        if (self->is_open) {
            self->wakes++;
            run(self, demuxbuf_receiver_readable(pool, self->receiver));
        }
    }
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK) {
        if (notice.kind == DEMUXBUF_NOTICE_RECEIVER)
            run(&peers[notice.token], notice.step);
    }
    return ready;
}

static demuxbuf_pool_stats stats(void) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    return stats;
}

/* The host leases all that is free: no receiver may keep more than 64 bytes. */
static void begin_shortage(void) {
    const demuxbuf_request request = {.struct_size = sizeof request};
    while (lease_count < LEASES_MAX &&
           demuxbuf_pool_try_request(pool, &request, &leases[lease_count], NULL, NULL) == DEMUXBUF_OK)
        lease_count++;
}

static void end_shortage(void) {
    while (lease_count > 0)
        CHECK_NUMBER(demuxbuf_pool_release(pool, leases[--lease_count]), DEMUXBUF_OK);
}

/* A pool of 8 buffers, all of which are leased but the one to receive into and that for 64-byte cells. */
static void begin_pool(uint32_t bytes_of_buffer) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    buffer_bytes = bytes_of_buffer;
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 8ull * buffer_bytes, PEERS_MAX), DEMUXBUF_OK);
    config.buffer_bytes = buffer_bytes;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, NULL), DEMUXBUF_OK);
    poller = epoll_create1(EPOLL_CLOEXEC);
    now_ns = 0;
    begin_shortage();
}

static void end_pool(void) {
    for (; peer_count > 0; peer_count--) {
        peer *self = &peers[peer_count - 1];
        if (self->is_open)
            drop(self);
        if (self->client >= 0)
            close(self->client);
        free(self->stream);
    }
    end_shortage();
    close(poller);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
}

#endif /* PEER_H */
