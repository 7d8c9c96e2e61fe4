/*
 * A completion host: receives and polls are submitted to a ring, complete later, and are cancelled when the library
 * asks for that. The ring is an emulation on poll(2) and read(2) of real sockets. More connections than buffers, frames
 * in pieces, ends and aborts inside of frames: every byte is compared, no connection is lost, and the loop does not
 * spin.
 */
#define _GNU_SOURCE
#include "shard.h"
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 24, BUFFERS = 3, FRAMES = 60, STREAM_MAX = FRAMES * 402, ITERATIONS_MAX = 200000 };

struct connection {
    uint64_t receiver;
    int fd, peer, is_scheduled, is_polled, is_submitted, is_cancelled;
    uint8_t *area; /* where the submitted receive goes */
    uint32_t area_bytes;
    uint8_t stream[STREAM_MAX]; /* what the peer sends */
    uint32_t stream_bytes, whole_bytes, sent, decoded;
};

static struct connection all[CONNECTIONS];
static demuxbuf_pool *pool;
static unsigned long completions, cancels, polls, wakes;
static int open_count = CONNECTIONS;
static uint64_t random_state = 1;

static uint32_t below(uint32_t limit) {
    return check_random(&random_state) % limit;
}

static void finish(struct connection *self) {
    CHECK(!self->is_submitted);
    CHECK_NUMBER(self->decoded, self->whole_bytes);
    CHECK_NUMBER(demuxbuf_receiver_close(pool, self->receiver).actions, DEMUXBUF_FINISHED);
    close(self->fd);
    self->fd = -1;
    self->is_polled = 0;
    open_count--;
}

static demuxbuf_step decode(struct connection *self, demuxbuf_step step) {
    uint32_t frame = step.bytes < 2 ? 2 : 2u + (uint32_t)(step.data[0] << 8 | step.data[1]);
    CHECK_SAME(step.data, self->stream + self->decoded, step.bytes);
    if (step.bytes < frame) {
        return demuxbuf_receiver_decoded(pool, self->receiver, 0, frame - step.bytes);
    }
    self->decoded += frame;
    return demuxbuf_receiver_decoded(pool, self->receiver, frame, 0);
}

/* Submits, and sometimes prefers to poll, but not inside of a frame: its last receive may be this one. */
static demuxbuf_step receive(struct connection *self, demuxbuf_step step) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    CHECK(!self->is_submitted && step.bytes > 0);
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, self->receiver, &info), DEMUXBUF_OK);
    if (info.buffered_bytes == 0 && below(16) == 0) {
        return demuxbuf_receiver_would_block(pool, self->receiver);
    }
    self->is_submitted = 1;
    self->area = step.data;
    self->area_bytes = step.bytes;
    return demuxbuf_receiver_done(pool, self->receiver, DEMUXBUF_RECV);
}

static void run(struct connection *self, demuxbuf_step step) {
    const uint32_t notices = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_RESCHEDULE;
    for (;;) {
        CHECK_NUMBER(demuxbuf_actions_status_inline(step.actions), DEMUXBUF_OK);
        CHECK((step.actions & (DEMUXBUF_SHED | DEMUXBUF_CANNOT_FIT)) == 0);
        if ((step.actions & DEMUXBUF_END) != 0) {
            finish(self);
            return;
        } else if ((step.actions & DEMUXBUF_RECV) != 0) {
            step = receive(self, step);
        } else if ((step.actions & DEMUXBUF_DECODE) != 0) {
            step = decode(self, step);
        } else if ((step.actions & notices) != 0) {
            if ((step.actions & DEMUXBUF_WANT_RECV) != 0) {
                CHECK(!self->is_polled && !self->is_submitted);
                self->is_polled = 1;
                polls++;
            }
            if ((step.actions & DEMUXBUF_STOP_RECV) != 0) {
                CHECK(self->is_polled || (self->is_submitted && !self->is_cancelled));
                self->is_polled = 0;
                self->is_cancelled = self->is_submitted;
                cancels++;
            }
            self->is_scheduled |= (step.actions & DEMUXBUF_RESCHEDULE) != 0;
            step = demuxbuf_receiver_done(pool, self->receiver, step.actions & notices);
        } else {
            return;
        }
    }
}

/* Completes the submitted operations of this connection, if possible. */
static void complete(struct connection *self) {
    struct pollfd ready = {.fd = self->fd, .events = POLLIN};
    int is_readable = poll(&ready, 1, 0) == 1;
    if (self->is_submitted && (is_readable || self->is_cancelled)) {
        ssize_t got = -1;
        int is_late = self->is_cancelled && below(2) == 0;
        self->is_submitted = self->is_cancelled = 0;
        completions++;
        errno = EAGAIN;
        if (is_readable && !is_late) {
            got = read(self->fd, self->area, self->area_bytes);
        }
        run(self, got > 0           ? demuxbuf_receiver_received(pool, self->receiver, (uint32_t)got)
                  : got == 0        ? demuxbuf_receiver_end_of_stream(pool, self->receiver)
                  : errno == EAGAIN ? demuxbuf_receiver_would_block(pool, self->receiver)
                                    : demuxbuf_receiver_transport_error(pool, self->receiver));
    } else if (self->is_polled && is_readable) {
        self->is_polled = 0;
        completions++;
        run(self, demuxbuf_receiver_readable(pool, self->receiver));
    }
}

/* A third of the streams end inside of a frame. */
static void make_stream(struct connection *self) {
    for (int frame = 0; frame < FRAMES; frame++) {
        uint32_t payload = below(400);
        self->whole_bytes = self->stream_bytes;
        self->stream[self->stream_bytes++] = (uint8_t)(payload >> 8);
        self->stream[self->stream_bytes++] = (uint8_t)payload;
        for (uint32_t at = 0; at < payload; at++) {
            self->stream[self->stream_bytes++] = (uint8_t)below(256);
        }
    }
    if (below(3) == 0) {
        self->stream_bytes = self->whole_bytes + 1;
    } else {
        self->whole_bytes = self->stream_bytes;
    }
}

/* The peer sends some more, and closes at the end; it never stops where more than a slot holds is left over. */
static void let_peer_send(struct connection *self) {
    uint32_t left = self->stream_bytes - self->sent;
    uint32_t bytes = 1 + below(600);
    if (self->peer < 0 || below(40) != 0) {
        return;
    }
    ssize_t sent = write(self->peer, self->stream + self->sent, bytes < left ? bytes : left);
    CHECK(sent >= 0 || errno == EAGAIN);
    self->sent += sent > 0 ? (uint32_t)sent : 0;
    if (self->sent == self->stream_bytes) {
        close(self->peer);
        self->peer = -1;
    }
}

/* Something is submitted, queued or scheduled for each connection, or it could be lost. */
static void threads_lose_no_connection(void) {
    for (struct connection *self = all; self < all + CONNECTIONS; self++) {
        demuxbuf_receiver_info info = {.struct_size = sizeof info};
        if (self->fd >= 0) {
            CHECK_NUMBER(demuxbuf_receiver_describe(pool, self->receiver, &info), DEMUXBUF_OK);
            CHECK_NUMBER(info.in_flight, self->is_submitted);
            CHECK_NUMBER(info.armed, self->is_polled);
            CHECK(self->is_submitted || self->is_polled || self->is_scheduled || info.waiting);
        }
    }
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
}

/* Of eight buffers, one receive in flight at most. */
static demuxbuf_pool_config usual_config(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 8 * 512, CONNECTIONS), DEMUXBUF_OK);
    config.mode = DEMUXBUF_MODE_COMPLETION;
    config.buffer_bytes = 512;
    config.frame_grace_ns = 10000000000u;
    return config;
}

/* On the pool that was made. */
static void s68_completion_host_submits_and_cancels(void) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    unsigned long iterations = 0;
    open_count = CONNECTIONS;
    for (struct connection *self = all; self < all + CONNECTIONS; self++) {
        int ends[2];
        memset(self, 0, sizeof *self);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
        self->fd = ends[0];
        self->peer = ends[1];
        make_stream(self);
        CHECK_NUMBER(
            demuxbuf_receiver_attach(pool, OPTIONS(.token = (uint64_t)(self - all)), &self->receiver, NULL, NULL),
            DEMUXBUF_OK);
        run(self, demuxbuf_receiver_pending(pool, self->receiver));
    }
    while (open_count > 0) {
        CHECK(iterations++ < ITERATIONS_MAX);
        CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, iterations * 1000000), DEMUXBUF_OK);
        for (struct connection *self = all; self < all + CONNECTIONS; self++) {
            let_peer_send(self);
            if (self->fd >= 0) {
                complete(self);
            }
            if (self->fd >= 0 && self->is_scheduled) {
                self->is_scheduled = 0;
                wakes++;
                run(self, demuxbuf_receiver_wake(pool, self->receiver));
            }
        }
        while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK) {
            run(&all[notice.token], notice.step);
        }
        threads_lose_no_connection();
    }
}

int main(void) {
    const demuxbuf_pool_config config = usual_config();
    pool = pool_of(&config);
    s68_completion_host_submits_and_cancels();
    demuxbuf_pool_free(pool);
    const struct shard shard = new_shard(&config);
    pool = shard.pool;
    s68_completion_host_submits_and_cancels();
    free_shard(shard);
    CHECK(polls > 100 && cancels > 100 && wakes > 0);
    /* Each completion brings bytes, or was asked for: none is idle. */
    CHECK(completions < 2ul * CONNECTIONS * STREAM_MAX / 20);
    printf("%lu completions, %lu polls, %lu cancels, %lu wakes\n", completions, polls, cancels, wakes);
    return check_end();
}
