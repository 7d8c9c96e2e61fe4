/* An echo server for TLS, with OpenSSL on epoll, level-triggered, edge-triggered, one-shot or optimistic. It ends with
   SIGTERM or SIGINT. OpenSSL may hold bytes that epoll does not report: hence `reads_ahead` in the policy. */
#include "tls.h"

enum { EVENTS = 64 };

struct connection {
    uint64_t receiver;
    SSL *ssl;
    tls_socket socket;
    int is_registered, is_scheduled;
    uint32_t interest;         /* EPOLLIN: the library asked for it. EPOLLOUT: there is something to write first. */
    uint32_t sent;             /* how much of the frame at the front is sent */
    int is_blocked;            /* the echo waits for room */
    int is_writing_first;      /* a receive waits for room: it has to answer a key update, or to greet */
    int is_closing, is_broken; /* the close_notify waits for room; there can be none */
};

static struct connection connections[CONNECTIONS_MAX], *scheduled[CONNECTIONS_MAX], *due[CONNECTIONS_MAX];
static demuxbuf_pool *pool;
static SSL_CTX *context;
static tls_options tls;
static embed_counts counts;
static uint64_t wrote_first, truncated;
static int poller, scheduled_count, is_stopping;
static uint32_t trigger; /* 0, EPOLLET or EPOLLONESHOT */
static char listener_tag, signals_tag;

/* EPOLLHUP and EPOLLERR cannot be masked: a socket of which nothing is to be heard is taken out of the poller. */
static void update_interest(struct connection *self) {
    struct epoll_event event = {.events = self->interest | trigger, .data.ptr = self};
    if (self->interest != 0) {
        epoll_ctl(poller, self->is_registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, self->socket.fd, &event);
    } else if (self->is_registered) {
        epoll_ctl(poller, EPOLL_CTL_DEL, self->socket.fd, NULL);
    }
    self->is_registered = self->interest != 0;
}

static void want_write(struct connection *self) {
    self->interest |= EPOLLOUT;
    update_interest(self);
}

/* The receiver is closed at once; the connection once its close_notify is sent, or if that cannot be. */
static void finish(struct connection *self) {
    if (!self->is_closing)
        demuxbuf_receiver_close(pool, self->receiver);
    ERR_clear_error();
    int result = self->is_broken ? 0 : SSL_shutdown(self->ssl);
    self->is_closing = result < 0 && !is_stopping && SSL_get_error(self->ssl, result) == SSL_ERROR_WANT_WRITE;
    self->interest = 0;
    if (self->is_closing) {
        want_write(self);
    } else {
        SSL_free(self->ssl);
        close(self->socket.fd); /* which takes it out of the poller */
        self->socket.fd = -1;
    }
}

static demuxbuf_step receive(struct connection *self, demuxbuf_step step) {
    ERR_clear_error();
    int got = SSL_read(self->ssl, step.data, (int)step.bytes);
    if (got > 0)
        return demuxbuf_receiver_received(pool, self->receiver, (uint32_t)got);
    switch (SSL_get_error(self->ssl, got)) {
    case SSL_ERROR_WANT_READ: return demuxbuf_receiver_would_block(pool, self->receiver);
    case SSL_ERROR_WANT_WRITE: /* a readable socket would report without end: it is not asked before it is writable */
        wrote_first++;
        self->is_writing_first = 1;
        want_write(self);
        demuxbuf_receiver_pause_recv(pool, self->receiver);
        return demuxbuf_receiver_would_block(pool, self->receiver);
    case SSL_ERROR_ZERO_RETURN: /* the close_notify */ return demuxbuf_receiver_end_of_stream(pool, self->receiver);
    default: /* among them an end without close_notify, which any machine between the two can make */
        truncated += ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
        self->is_broken = 1;
        return demuxbuf_receiver_transport_error(pool, self->receiver);
    }
}

/* Sends the frame at the front from where it lies. What does not go out is kept, and decoding is blocked. */
static demuxbuf_step decode(struct connection *self, demuxbuf_step step) {
    uint32_t frame = embed_frame_bytes(step.data, step.bytes);
    if (step.bytes < frame)
        return demuxbuf_receiver_decoded(pool, self->receiver, 0, frame - step.bytes);
    while (self->sent < frame) {
        ERR_clear_error();
        int sent = SSL_write(self->ssl, step.data + self->sent, (int)(frame - self->sent));
        if (sent > 0) {
            self->sent += (uint32_t)sent;
        } else if (SSL_get_error(self->ssl, sent) == SSL_ERROR_WANT_WRITE) {
            counts.blocked++;
            self->is_blocked = 1;
            want_write(self);
            return demuxbuf_receiver_block(pool, self->receiver, SOCKET_FULL);
        } else {
            self->is_broken = 1;
            demuxbuf_receiver_fail(pool, self->receiver); /* what is buffered is of no use any more */
            return demuxbuf_receiver_transport_error(pool, self->receiver);
        }
    }
    self->sent = 0;
    return demuxbuf_receiver_decoded(pool, self->receiver, frame, 0);
}

/* Does the pending actions of one connection, until it waits or is closed. */
static void run(struct connection *self, demuxbuf_step step) {
    const uint32_t over = DEMUXBUF_ERROR | DEMUXBUF_END | DEMUXBUF_SHED | DEMUXBUF_CANNOT_FIT;
    const uint32_t notices = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_RESCHEDULE;
    for (;;) {
        if ((step.actions & over) != 0) { /* an error before all else: the other bits mean nothing then */
            if ((step.actions & DEMUXBUF_ERROR) != 0)
                fprintf(stderr, "%s\n", demuxbuf_strerror(demuxbuf_actions_status_inline(step.actions)));
            finish(self);
            return;
        } else if ((step.actions & DEMUXBUF_RECV) != 0) {
            step = receive(self, step);
        } else if ((step.actions & DEMUXBUF_DECODE) != 0) {
            step = decode(self, step);
        } else if ((step.actions & notices) != 0) {
            if ((step.actions & (DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV)) != 0) {
                int wants = (step.actions & DEMUXBUF_WANT_RECV) != 0;
                self->interest = (self->interest & ~(uint32_t)EPOLLIN) | (wants ? EPOLLIN : 0);
                update_interest(self);
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

/* What waited for room goes on: the close_notify alone, or a receive that had to write first, and the echo. */
static void report_writable(struct connection *self) {
    int is_writing_first = self->is_writing_first && !self->is_closing, is_blocked = self->is_blocked;
    self->interest &= ~(uint32_t)EPOLLOUT;
    self->is_writing_first = self->is_blocked = 0;
    if (self->is_closing)
        finish(self);
    if (is_writing_first) {
        demuxbuf_receiver_resume_recv(pool, self->receiver);
        run(self, demuxbuf_receiver_readable(pool, self->receiver));
    }
    if (is_blocked && self->socket.fd >= 0 && !self->is_closing)
        run(self, demuxbuf_receiver_unblock(pool, self->receiver, SOCKET_FULL));
}

/* A hang-up or an error is readable and writable: the receive or the send that follows finds it. */
static void report(struct connection *self, uint32_t events) {
    int is_readable = (self->interest & EPOLLIN) != 0 && (events & ~(uint32_t)EPOLLOUT) != 0;
    int is_writable = (self->interest & EPOLLOUT) != 0 && (events & ~(uint32_t)EPOLLIN) != 0;
    self->socket.is_reported |= (events & EPOLLIN) != 0;
    if (trigger == EPOLLONESHOT && is_readable)
        self->interest &= ~(uint32_t)EPOLLIN;
    if (is_readable)
        run(self, demuxbuf_receiver_readable(pool, self->receiver));
    if (is_writable && self->socket.fd >= 0)
        report_writable(self);
    if ((is_writable || trigger == EPOLLONESHOT) && self->socket.fd >= 0)
        update_interest(self);
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct connection *self = connections;
        while (self < connections + CONNECTIONS_MAX && self->socket.fd >= 0)
            self++;
        uint64_t receiver, token = (uint64_t)(self - connections);
        demuxbuf_attach_options options = {.struct_size = sizeof options, .token = token};
        if (token == CONNECTIONS_MAX ||
            demuxbuf_receiver_attach(pool, &options, &receiver, NULL, NULL) != DEMUXBUF_OK) {
            close(fd);
            continue;
        }
        *self = (struct connection){.receiver = receiver, .is_scheduled = self->is_scheduled};
        self->socket = (tls_socket){.fd = fd};
        self->ssl = tls_accept(context, &tls, &self->socket);
        self->is_broken = self->ssl == NULL;
        if (self->is_broken)
            finish(self);
        else
            run(self, demuxbuf_receiver_pending(pool, receiver));
    }
}

/* One iteration: wait, clock, events, what was scheduled, notices. */
static void iterate(int listener) {
    struct epoll_event events[EVENTS];
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    int timeout_ms = scheduled_count > 0 ? 0 : embed_timeout_ms(demuxbuf_pool_poll_timeout(pool));
    int ready = epoll_wait(poller, events, EVENTS, timeout_ms);
    int due_count = scheduled_count;
    counts.wakeups++;
    memcpy(due, scheduled, sizeof due);
    scheduled_count = 0;
    demuxbuf_pool_handle_timeout(pool, embed_now_ns());
    for (int at = 0; at < ready; at++) {
        struct connection *self = events[at].data.ptr;
        if (events[at].data.ptr == &listener_tag) {
            accept_all(listener);
        } else if (events[at].data.ptr == &signals_tag) {
            is_stopping = 1;
        } else if (self->socket.fd >= 0) { /* it may have been closed in this iteration */
            report(self, events[at].events);
        }
    }
    for (int at = 0; at < due_count; at++) {
        due[at]->is_scheduled = 0;
        if (due[at]->socket.fd >= 0 && !due[at]->is_closing)
            run(due[at], demuxbuf_receiver_wake(pool, due[at]->receiver));
    }
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK)
        run(&connections[notice.token], notice.step);
}

int main(int argc, char **argv) {
    tls = tls_parse(&argc, argv);
    embed_options options = embed_parse(argc, argv, "level|edge|one-shot|optimistic");
    int signals = embed_signals();
    context = tls_context(&tls);
    options.reads_ahead = 1;
    options.pause_when_blocked = 1; /* no SSL_read while an SSL_write is unfinished: a key update would come between */
    trigger = embed_epoll_flag(&options);
    pool = embed_pool(&options, embed_mode(&options));
    for (int at = 0; at < CONNECTIONS_MAX; at++)
        connections[at].socket.fd = -1;
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = embed_listen(&options);
    embed_arm(poller, listener, EPOLLIN, &listener_tag);
    embed_arm(poller, signals, EPOLLIN, &signals_tag);
    while (!is_stopping)
        iterate(listener);
    for (struct connection *self = connections; self < connections + CONNECTIONS_MAX; self++) {
        if (self->socket.fd >= 0)
            finish(self);
    }
    SSL_CTX_free(context);
    printf("wrote_first %llu\ntruncated %llu\n", (unsigned long long)wrote_first, (unsigned long long)truncated);
    return embed_finish(pool, &counts);
}
