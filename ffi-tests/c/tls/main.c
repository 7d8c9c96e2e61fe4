/*
 * A receiver under OpenSSL, in each mode of a poller: a record that is larger than the buffer, and a receive that has
 * to write first. The peer is OpenSSL, too. The certificate is made here, and not looked at.
 */
#define _GNU_SOURCE
#include "../pools.h"
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BUFFER_BYTES = 4096,
    FRAME_BYTES = 104,
    FRAMES = 157, /* 16,328 bytes, in one record */
    ITERATIONS_MAX = 10000,
    SPINS_MIN = 1000,
    ASLEEP_MS = 300,
};

static const uint32_t notices = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_RESCHEDULE;

struct host {
    demuxbuf_pool *pool;
    uint64_t receiver;
    SSL *server, *client;
    int ends[2]; /* of the server, of the client */
    int is_armed, is_scheduled, is_paused;
    uint32_t frames, iterations, wants_write;
};

static SSL_CTX *context(const SSL_METHOD *method) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    SSL_CTX *made = SSL_CTX_new(method);
    CHECK(key != NULL && certificate != NULL && made != NULL);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    CHECK(X509_sign(certificate, key, EVP_sha256()) > 0);
    CHECK_NUMBER(SSL_CTX_use_certificate(made, certificate), 1);
    CHECK_NUMBER(SSL_CTX_use_PrivateKey(made, key), 1);
    SSL_CTX_set_num_tickets(made, 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return made;
}

static SSL *end_on(SSL_CTX *made, int fd) {
    SSL *ssl = SSL_new(made);
    CHECK_NUMBER(SSL_set_fd(ssl, fd), 1);
    SSL_CTX_free(made); /* which the connection keeps */
    return ssl;
}

static struct host start(uint8_t mode, uint8_t reads_ahead) {
    struct host self = {0};
    demuxbuf_pool_config config = config_of(6, 4, BUFFER_BYTES);
    CHECK_NUMBER(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, self.ends), 0);
    self.server = end_on(context(TLS_server_method()), self.ends[0]);
    self.client = end_on(context(TLS_client_method()), self.ends[1]);
    SSL_set_accept_state(self.server);
    SSL_set_connect_state(self.client);
    for (int i = 0; i < 10; i++) {
        SSL_do_handshake(i % 2 != 0 ? self.server : self.client);
    }
    CHECK(SSL_is_init_finished(self.client) && SSL_is_init_finished(self.server));
    config.mode = mode;
    config.reads_ahead = reads_ahead;
    self.pool = pool_of(&config);
    demuxbuf_attach_options options = {.struct_size = sizeof options, .token = 1};
    CHECK_NUMBER(demuxbuf_receiver_attach(self.pool, &options, &self.receiver, NULL, NULL), DEMUXBUF_OK);
    return self;
}

static void finish(struct host *self) {
    CHECK_NUMBER(demuxbuf_pool_check_invariants(self->pool), DEMUXBUF_OK);
    SSL_free(self->server);
    SSL_free(self->client);
    close(self->ends[0]);
    close(self->ends[1]);
    demuxbuf_pool_free(self->pool);
}

static demuxbuf_step receive(struct host *self, demuxbuf_step step, int knows_recipe) {
    int got = SSL_read(self->server, step.data, (int)step.bytes);
    if (got > 0) {
        return demuxbuf_receiver_received(self->pool, self->receiver, (uint32_t)got);
    }
    int error = SSL_get_error(self->server, got);
    CHECK(error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE);
    if (error == SSL_ERROR_WANT_WRITE) {
        self->wants_write++;
        if (knows_recipe) {
            self->is_paused = 1;
            demuxbuf_receiver_pause_recv(self->pool, self->receiver);
        }
    }
    return demuxbuf_receiver_would_block(self->pool, self->receiver);
}

static demuxbuf_step decode(struct host *self, demuxbuf_step step) {
    uint32_t rest = step.bytes % FRAME_BYTES;
    self->frames += step.bytes / FRAME_BYTES;
    return demuxbuf_receiver_decoded(self->pool, self->receiver, step.bytes - rest, rest != 0 ? FRAME_BYTES - rest : 0);
}

static void run(struct host *self, demuxbuf_step step, int knows_recipe) {
    for (;;) {
        CHECK((step.actions & DEMUXBUF_ERROR) == 0);
        if ((step.actions & DEMUXBUF_RECV) != 0) {
            step = receive(self, step, knows_recipe);
        } else if ((step.actions & DEMUXBUF_DECODE) != 0) {
            step = decode(self, step);
        } else if ((step.actions & notices) != 0) {
            self->is_armed |= (step.actions & DEMUXBUF_WANT_RECV) != 0;
            self->is_armed &= (step.actions & DEMUXBUF_STOP_RECV) == 0;
            self->is_scheduled |= (step.actions & DEMUXBUF_RESCHEDULE) != 0;
            step = demuxbuf_receiver_done(self->pool, self->receiver, step.actions & notices);
        } else {
            return;
        }
    }
}

/* Until nothing is to be heard of the socket any more, or the loop spins. poll reports levels, of which edges are a
   part. */
static void serve(struct host *self, uint8_t mode, int knows_recipe) {
    run(self, demuxbuf_receiver_pending(self->pool, self->receiver), knows_recipe);
    while (self->iterations < ITERATIONS_MAX) {
        if (self->is_scheduled) {
            self->is_scheduled = 0;
            run(self, demuxbuf_receiver_wake(self->pool, self->receiver), knows_recipe);
            continue;
        }
        struct pollfd socket = {self->ends[0], self->is_paused ? POLLOUT : self->is_armed ? POLLIN : 0, 0};
        if (poll(&socket, 1, ASLEEP_MS) <= 0) {
            return;
        }
        self->iterations++;
        if (self->is_paused) {
            self->is_paused = 0;
            demuxbuf_receiver_resume_recv(self->pool, self->receiver);
        } else if (mode == DEMUXBUF_MODE_ONE_SHOT || mode == DEMUXBUF_MODE_OPTIMISTIC) {
            self->is_armed = 0;
        }
        run(self, demuxbuf_receiver_readable(self->pool, self->receiver), knows_recipe);
    }
}

static uint32_t frames_of_one_record(uint8_t mode, uint8_t reads_ahead) {
    static const char bytes[FRAME_BYTES * FRAMES];
    struct host self = start(mode, reads_ahead);
    CHECK_NUMBER(SSL_write(self.client, bytes, sizeof bytes), sizeof bytes);
    serve(&self, mode, 1);
    CHECK_NUMBER(SSL_pending(self.server) != 0, self.frames != FRAMES);
    CHECK(self.iterations < 10);
    uint32_t frames = self.frames;
    finish(&self);
    return frames;
}

static void s69_record_larger_than_the_buffer_is_drained(void) {
    for (uint8_t mode = DEMUXBUF_MODE_LEVEL; mode <= DEMUXBUF_MODE_OPTIMISTIC; mode++) {
        CHECK_NUMBER(frames_of_one_record(mode, 1), FRAMES);
    }
    CHECK(frames_of_one_record(DEMUXBUF_MODE_LEVEL, 0) < FRAMES); /* what the setting is for */
}

/* The client asks for key updates and reads nothing, and the socket is full: the server can answer none. More bytes of
   the client wait. Returns how often the loop woke. */
static uint32_t iterations_of_key_updates(uint8_t mode, int knows_recipe) {
    static const char bytes[FRAME_BYTES];
    static char other[65536];
    struct host self = start(mode, 1);
    while (write(self.ends[0], other, sizeof other) > 0) {
        continue;
    }
    for (int i = 0; i < 4; i++) {
        CHECK_NUMBER(SSL_key_update(self.client, SSL_KEY_UPDATE_REQUESTED), 1);
        CHECK_NUMBER(SSL_write(self.client, bytes, sizeof bytes), sizeof bytes);
    }
    serve(&self, mode, knows_recipe);
    uint32_t iterations = self.iterations;
    CHECK(self.wants_write > 0 && self.frames < 4);
    /* The client reads: the answers go out, and all comes in. */
    while (read(self.ends[1], other, sizeof other) > 0) {
        continue;
    }
    self.iterations = 0;
    serve(&self, mode, 1);
    CHECK_NUMBER(self.frames, 4);
    CHECK(self.iterations < 100);
    finish(&self);
    return iterations;
}

static void s70_key_update_that_cannot_be_answered_sleeps(void) {
    for (uint8_t mode = DEMUXBUF_MODE_LEVEL; mode <= DEMUXBUF_MODE_OPTIMISTIC; mode++) {
        CHECK(iterations_of_key_updates(mode, 1) < 10);
    }
    CHECK(iterations_of_key_updates(DEMUXBUF_MODE_LEVEL, 0) > SPINS_MIN); /* what the recipe is for */
}

int main(void) {
    s69_record_larger_than_the_buffer_is_drained();
    s70_key_update_that_cannot_be_answered_sleeps();
    return check_end();
}
