/* What the TLS server adds to embed.h: its options, OpenSSL's settings, and records that are counted in the socket,
   below OpenSSL, so that it reads whole records alone. */
#ifndef EMBED_TLS_H
#define EMBED_TLS_H

#include "embed.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/ioctl.h>

enum {
    RECORD_HEADER_BYTES = 5,
    RECORD_BYTES_MAX = RECORD_HEADER_BYTES + 16384 + 256, /* a longer one is refused by OpenSSL */
    SOCKET_KIB_MAX = 65536,
};

typedef struct {
    const char *certificate, *key, *records, *socket_kib;
} tls_options;

/* A socket below OpenSSL. */
typedef struct {
    int fd;
    int counts_records; /* OpenSSL gets whole records alone */
    int allowed;        /* bytes left of the record that it may read */
    int mark;           /* bytes for which the poller reports the socket */
    int is_reported;    /* it did since the mark was set */
    int is_at_end;
} tls_socket;

/* Takes its own options out of the command line and leaves the rest to embed_parse. */
static inline tls_options tls_parse(int *argc, char **argv) {
    tls_options options = {.records = "whole", .socket_kib = "256"};
    int kept = 1;
    for (int at = 1; at < *argc; at++) {
        const char **value = strcmp(argv[at], "--certificate") == 0  ? &options.certificate
                             : strcmp(argv[at], "--key") == 0        ? &options.key
                             : strcmp(argv[at], "--records") == 0    ? &options.records
                             : strcmp(argv[at], "--socket-kib") == 0 ? &options.socket_kib
                                                                     : NULL;
        if (value != NULL && at + 1 < *argc)
            *value = argv[++at];
        else
            argv[kept++] = argv[at];
    }
    *argc = kept;
    embed_number("socket-kib", options.socket_kib, 0, SOCKET_KIB_MAX);
    if (!embed_is_one_of(options.records, "whole|any|ahead")) {
        fprintf(stderr, "--records is \"%s\"; allowed is whole|any|ahead\n", options.records);
        exit(2);
    }
    return options;
}

/* With --records ahead, OpenSSL reads as much as its buffer holds; else no further than the end of a record. */
static inline SSL_CTX *tls_context(const tls_options *options) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (options->certificate == NULL || options->key == NULL || context == NULL ||
        SSL_CTX_use_certificate_chain_file(context, options->certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, options->key, SSL_FILETYPE_PEM) != 1) {
        fprintf(stderr, "--certificate and --key need files in PEM form that belong together\n");
        exit(2);
    }
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION); /* so that no write has to read first */
    SSL_CTX_set_num_tickets(context, 0);
    /* A buffer that is empty is freed. A write that found the socket full goes on from a frame that may have moved. */
    SSL_CTX_set_mode(context,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, strcmp(options->records, "ahead") == 0);
    return context;
}

/* How many bytes have to be in the socket before the poller reports it. The kernel caps it without an error. */
static inline int tls_mark(int fd, int bytes) {
    int set = 0;
    socklen_t length = sizeof set;
    return setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes) == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &set, &length) == 0 && set == bytes;
}

/* Whether OpenSSL may read on: a whole record is in the socket, an end, or all that the kernel holds. If not, the
   poller reports the socket once it is. Edge-triggered, it is setting the mark that makes the poller look again. */
static inline int tls_has_record(tls_socket *self) {
    uint8_t header[RECORD_HEADER_BYTES];
    int needed = RECORD_HEADER_BYTES, there = 0;
    ioctl(self->fd, FIONREAD, &there); /* before the peek: a count is never of bytes whose header was not seen */
    ssize_t peeked = recv(self->fd, header, sizeof header, MSG_PEEK | MSG_DONTWAIT);
    if (peeked == RECORD_HEADER_BYTES)
        needed += header[3] << 8 | header[4];
    int may_come = (peeked > 0 || (peeked < 0 && errno == EAGAIN)) && needed <= RECORD_BYTES_MAX;
    /* The poller reported less than the mark: the kernel takes in no more, or the peer has ended. */
    int is_all = self->is_reported && self->mark > 1 && there < self->mark;
    self->is_reported = 0;
    if (there < needed && may_come && !is_all && tls_mark(self->fd, needed)) {
        self->mark = needed;
        return 0;
    }
    tls_mark(self->fd, 1);
    self->mark = 1;
    self->allowed = needed;
    return 1;
}

/* One read of OpenSSL goes on past the end of a handshake and past key updates, so the records are counted here. */
static inline int tls_read(BIO *bio, char *to, int bytes) {
    tls_socket *self = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (self->counts_records && self->allowed == 0 && !tls_has_record(self)) {
        BIO_set_retry_read(bio);
        return -1;
    }
    ssize_t got =
        recv(self->fd, to, (size_t)(self->counts_records && bytes > self->allowed ? self->allowed : bytes), 0);
    self->is_at_end = got == 0;
    if (got < 0 && errno == EAGAIN)
        BIO_set_retry_read(bio);
    if (got > 0 && self->counts_records)
        self->allowed -= (int)got;
    return (int)got;
}

static inline int tls_write(BIO *bio, const char *from, int bytes) {
    tls_socket *self = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t sent = send(self->fd, from, (size_t)bytes, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN)
        BIO_set_retry_write(bio);
    return (int)sent;
}

static inline long tls_control(BIO *bio, int command, long number, void *pointer) {
    (void)number, (void)pointer;
    const tls_socket *self = BIO_get_data(bio);
    return command == BIO_CTRL_FLUSH || (command == BIO_CTRL_EOF && self->is_at_end);
}

/* A connection on this socket, whose first read greets. Before, the socket's memory is let grow: with the 256 KiB of
   the default the kernel can hold a whole record behind what was read of others, in spite of its own overhead. */
static inline SSL *tls_accept(SSL_CTX *context, const tls_options *options, tls_socket *self) {
    static BIO_METHOD *method;
    if (method == NULL && (method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket")) != NULL) {
        BIO_meth_set_read(method, tls_read);
        BIO_meth_set_write(method, tls_write);
        BIO_meth_set_ctrl(method, tls_control);
    }
    BIO *bio = method != NULL ? BIO_new(method) : NULL;
    SSL *ssl = SSL_new(context);
    if (bio == NULL || ssl == NULL) {
        BIO_free(bio);
        SSL_free(ssl);
        return NULL;
    }
    BIO_set_data(bio, self);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_accept_state(ssl);
    self->counts_records = strcmp(options->records, "whole") == 0;
    tls_mark(self->fd, atoi(options->socket_kib) * 1024);
    tls_mark(self->fd, 1);
    self->mark = 1;
    return ssl;
}

#endif
