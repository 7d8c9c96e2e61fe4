/* An echo server on libuv streams, level-triggered. libuv only reports, and a RECV reads from the socket itself, since
   a notice brings one too. While memory is short, partial frames stay in the kernel. It ends with SIGTERM or SIGINT. */
#include "embed.h"
#include <demuxbuf_posix.h>
#include <uv.h>

enum { FRAMES_PER_ITERATION = 64, PROBE_BYTES = 256 };

struct connection {
    demuxbuf_posix_socket socket;
    uint64_t receiver;
    uv_tcp_t stream;
    uv_write_t write;
    int is_open, is_closing, is_scheduled;
    uint32_t sent; /* how much of the frame at the front is sent */
    char probe[PROBE_BYTES];
};

static struct connection connections[CONNECTIONS_MAX], *scheduled[CONNECTIONS_MAX], *due[CONNECTIONS_MAX];
static demuxbuf_pool *pool;
static embed_counts counts;
static uv_loop_t *loop;
static uv_tcp_t listener;
static uv_timer_t deadline;
static uv_prepare_t before_poll;
static uv_idle_t rescheduled; /* active while a connection is scheduled, so that the loop does not sleep */
static uv_signal_t signals[2];
static int scheduled_count, is_clock_advanced, is_accept_pending;

static void accept_one(void), on_written(uv_write_t *, int);
static void on_read(uv_stream_t *, ssize_t, const uv_buf_t *);

/* Once in an iteration, before anything else: each callback begins with this. libuv read the clock after the poll. */
static void advance_clock(void) {
    if (!is_clock_advanced)
        demuxbuf_pool_handle_timeout(pool, uv_now(loop) * 1000000u);
    is_clock_advanced = 1;
}

static void on_closed(uv_handle_t *handle) {
    struct connection *self = handle->data;
    self->is_closing = 0;
    if (is_accept_pending)
        accept_one();
}

static void drop(struct connection *self) {
    demuxbuf_receiver_close(pool, self->receiver);
    self->is_open = 0;
    self->is_closing = 1;
    uv_close((uv_handle_t *)&self->stream, on_closed);
}

/* libuv has no wait for room. A write of the next few bytes, which are copied, is one. The pool keeps the rest. */
static demuxbuf_step wait_for_room(struct connection *self, const uint8_t *rest, uint32_t bytes) {
    uv_buf_t probe = uv_buf_init(self->probe, bytes < PROBE_BYTES ? bytes : PROBE_BYTES);
    memcpy(self->probe, rest, probe.len);
    counts.blocked++;
    self->sent += (uint32_t)probe.len;
    if (uv_write(&self->write, (uv_stream_t *)&self->stream, &probe, 1, on_written) != 0) {
        demuxbuf_receiver_fail(pool, self->receiver);
        return demuxbuf_receiver_transport_error(pool, self->receiver);
    }
    return demuxbuf_receiver_block(pool, self->receiver, SOCKET_FULL);
}

static demuxbuf_step decode(struct connection *self, demuxbuf_step step) {
    uint32_t frame = embed_frame_bytes(step.data, step.bytes);
    if (step.bytes < frame)
        return demuxbuf_receiver_decoded(pool, self->receiver, 0, frame - step.bytes);
    if (self->sent < frame) {
        uv_buf_t rest = uv_buf_init((char *)step.data + self->sent, frame - self->sent);
        int sent = uv_try_write((uv_stream_t *)&self->stream, &rest, 1);
        if (sent < 0 && sent != UV_EAGAIN) {
            demuxbuf_receiver_fail(pool, self->receiver); /* what is buffered is of no use any more */
            return demuxbuf_receiver_transport_error(pool, self->receiver);
        }
        if (sent > 0)
            self->sent += (uint32_t)sent;
        if (self->sent < frame)
            return wait_for_room(self, step.data + self->sent, frame - self->sent);
    }
    self->sent = 0;
    return demuxbuf_receiver_decoded(pool, self->receiver, frame, 0);
}

/* libuv gets no buffer (UV_ENOBUFS), so that it reads nothing and only reports. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(NULL, 0);
}

/* Does the pending actions of one connection, until it waits or is closed. */
static void run(struct connection *self, demuxbuf_step step) {
    const uint32_t notices = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_RESCHEDULE;
    uv_stream_t *stream = (uv_stream_t *)&self->stream;
    int frames = 0;
    for (;;) {
        if ((step.actions & DEMUXBUF_ERROR) != 0) { /* before all else: the other bits mean nothing then */
            fprintf(stderr, "%s\n", demuxbuf_strerror(demuxbuf_actions_status_inline(step.actions)));
            drop(self);
            return;
        } else if ((step.actions & (DEMUXBUF_END | DEMUXBUF_SHED | DEMUXBUF_CANNOT_FIT)) != 0) {
            drop(self);
            return;
        } else if ((step.actions & (DEMUXBUF_RECV | DEMUXBUF_PEEK)) != 0) {
            step = demuxbuf_posix_socket_receive(&self->socket, pool, self->receiver, step);
            if ((step.actions & DEMUXBUF_PEEK) != 0) /* a look at a frame that stays in the socket */
                step = demuxbuf_receiver_decoded(pool, self->receiver, 0, embed_frame_bytes(step.data, step.bytes));
        } else if ((step.actions & DEMUXBUF_DECODE) != 0) {
            step = frames++ < FRAMES_PER_ITERATION
                       ? decode(self, step)
                       : demuxbuf_receiver_report(pool, self->receiver, DEMUXBUF_EVENT_YIELD, 0);
        } else if ((step.actions & notices) != 0) {
            demuxbuf_posix_socket_set_mark(&self->socket, step);
            if ((step.actions & DEMUXBUF_WANT_RECV) != 0)
                uv_read_start(stream, on_alloc, on_read);
            if ((step.actions & DEMUXBUF_STOP_RECV) != 0)
                uv_read_stop(stream);
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

static void on_read(uv_stream_t *stream, ssize_t status, const uv_buf_t *buffer) {
    struct connection *self = stream->data;
    (void)status, (void)buffer;
    advance_clock();
    run(self, demuxbuf_receiver_readable(pool, self->receiver));
}

static void on_written(uv_write_t *request, int status) {
    struct connection *self = request->data;
    if (!self->is_open)
        return;
    advance_clock();
    if (status < 0)
        demuxbuf_receiver_fail(pool, self->receiver);
    run(self, status < 0 ? demuxbuf_receiver_transport_error(pool, self->receiver)
                         : demuxbuf_receiver_unblock(pool, self->receiver, SOCKET_FULL));
}

/* Without a place the connection stays with libuv, which accepts no other until it is taken. */
static void accept_one(void) {
    struct connection *self = connections;
    while (self < connections + CONNECTIONS_MAX && (self->is_open || self->is_closing))
        self++;
    is_accept_pending = self == connections + CONNECTIONS_MAX;
    if (is_accept_pending)
        return;
    int fd;
    demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = DEMUXBUF_MODE_LEVEL};
    *self = (struct connection){.is_closing = 1, .is_scheduled = self->is_scheduled};
    uv_tcp_init(loop, &self->stream);
    self->stream.data = self->write.data = self;
    demuxbuf_attach_options options = {
        .struct_size = sizeof options, .token = (uint64_t)(self - connections), .policy = &policy};
    if (uv_accept((uv_stream_t *)&listener, (uv_stream_t *)&self->stream) != 0 ||
        uv_fileno((uv_handle_t *)&self->stream, &fd) != 0 ||
        demuxbuf_posix_socket_init(&self->socket, fd, BUFFER_BYTES, &policy) < 0 ||
        demuxbuf_receiver_attach(pool, &options, &self->receiver, NULL, NULL) != DEMUXBUF_OK) {
        uv_close((uv_handle_t *)&self->stream, on_closed);
        return;
    }
    self->is_closing = 0;
    self->is_open = 1;
    run(self, demuxbuf_receiver_pending(pool, self->receiver));
}

static void on_connection(uv_stream_t *stream, int status) {
    (void)stream;
    advance_clock();
    if (status == 0)
        accept_one();
}

static void on_rescheduled(uv_idle_t *handle) {
    int due_count = scheduled_count;
    (void)handle;
    advance_clock();
    memcpy(due, scheduled, sizeof due);
    scheduled_count = 0;
    for (int at = 0; at < due_count; at++) {
        due[at]->is_scheduled = 0;
        if (due[at]->is_open)
            run(due[at], demuxbuf_receiver_wake(pool, due[at]->receiver));
    }
}

static void on_deadline(uv_timer_t *handle) {
    (void)handle; /* the iteration does what there is to do */
}

/* The last thing in an iteration, before the loop sleeps: notices, then how long to sleep. */
static void on_prepare(uv_prepare_t *handle) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    (void)handle;
    counts.wakeups++;
    advance_clock();
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK)
        run(&connections[notice.token], notice.step);
    is_clock_advanced = 0;
    uint64_t deadline_ns = demuxbuf_pool_poll_timeout(pool), now_ns = uv_now(loop) * 1000000u; /* as for timers */
    uint64_t wait_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    uv_timer_start(&deadline, on_deadline, wait_ns / 1000000 + (wait_ns % 1000000 != 0), 0);
    if (scheduled_count > 0)
        uv_idle_start(&rescheduled, on_rescheduled);
    else
        uv_idle_stop(&rescheduled);
}

static void on_signal(uv_signal_t *handle, int number) {
    (void)number;
    uv_stop(handle->loop);
}

int main(int argc, char **argv) {
    static const int numbers[2] = {SIGTERM, SIGINT};
    embed_options options = embed_parse(argc, argv, NULL);
    loop = uv_default_loop();
    for (int at = 0; at < 2; at++) {
        uv_signal_init(loop, &signals[at]);
        uv_signal_start(&signals[at], on_signal, numbers[at]);
    }
    uv_timer_init(loop, &deadline);
    uv_idle_init(loop, &rescheduled);
    uv_prepare_init(loop, &before_poll);
    uv_prepare_start(&before_poll, on_prepare);
    pool = embed_pool(&options, DEMUXBUF_MODE_LEVEL);
    uv_tcp_init(loop, &listener);
    if (uv_tcp_open(&listener, embed_listen(&options)) != 0 ||
        uv_listen((uv_stream_t *)&listener, 1024, on_connection) != 0) {
        fprintf(stderr, "libuv does not listen\n");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN); /* libuv sends with write() */
    uv_run(loop, UV_RUN_DEFAULT);
    for (struct connection *self = connections; self < connections + CONNECTIONS_MAX; self++) {
        if (self->is_open)
            drop(self);
    }
    return embed_finish(pool, &counts);
}
