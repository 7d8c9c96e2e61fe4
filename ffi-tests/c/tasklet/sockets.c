/* The same mux over socket pairs: more connections than buffers, written to in pieces, half of them closed, half shut.
   */

#define _POSIX_C_SOURCE 200809L

#include "scenarios.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAIRS = 16, SOCKET_BUFFERS = 6, FRAMES_EACH = 60, ROUNDS_MAX = 200000 };

struct pair {
    struct actor actor;
    int peer_fd;
    bool is_shut;
};

static void open_pair(struct pair *pair, struct host *host, int index) {
    memset(pair, 0, sizeof *pair);
    int fds[2];
    CHECK_NUMBER(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    CHECK_NUMBER(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    pair->peer_fd = fds[1];
    mux_open(&pair->actor.mux, host, index % 2 ? OPTIMISTIC : ONE_SHOT, index % 3 ? SLOT_BYTES : 0, fds[0]);
    struct peer *peer = &pair->actor.peer;
    peer_preface(peer);
    for (uint32_t frame = 0; frame < FRAMES_EACH; frame++) {
        switch (frame % 3) {
        case 0: peer_block(peer, 7 * frame % 200, 2); break;
        case 1: peer_data(peer, frame % STREAMS, 11 * frame % 600, frame % 50); break;
        default: peer_ping(peer);
        }
    }
    mux_attach(&pair->actor.mux, (struct ring){0});
}

/* Writes some of the rest; then half of the peers close, and the others only shut their side down. */
static void write_some(struct pair *pair, uint32_t bytes, bool closes) {
    struct peer *peer = &pair->actor.peer;
    if (pair->is_shut) {
        return;
    }
    ssize_t written = send(pair->peer_fd, peer->bytes, least(bytes, peer->level), MSG_NOSIGNAL);
    CHECK(written >= 0 || errno == EAGAIN || errno == EWOULDBLOCK);
    if (written > 0) {
        peer->level -= (uint32_t)written;
        memmove(peer->bytes, peer->bytes + written, peer->level);
    }
    if (peer->level > 0) {
        return;
    }
    pair->is_shut = true;
    if (closes) {
        close(pair->peer_fd);
        pair->peer_fd = -1;
    } else {
        CHECK_NUMBER(shutdown(pair->peer_fd, SHUT_WR), 0);
    }
}

static void check_pair(const struct pair *pair) {
    const struct mux *mux = &pair->actor.mux;
    const struct peer *peer = &pair->actor.peer;
    CHECK_NUMBER(mux->frames, peer->frames);
    CHECK_NUMBER(mux->block_bytes, peer->block_bytes);
    CHECK_NUMBER(memcmp(mux->delivered, peer->sent, sizeof mux->delivered), 0);
    CHECK_NUMBER(mux->end_kind, 1);
    CHECK_NUMBER(mux->truncated_bytes, 0);
    CHECK(mux->idle_runs <= mux->useless_max);
}

void sockets(uint64_t seed) {
    static struct pair pairs[PAIRS];
    struct host host;
    host_open(&host, SOCKET_BUFFERS, 256);
    host.pool.reserves[NEED_STREAM] = 1;
    host.pool.reserves[NEED_RECEIVE] = 2;
    for (int at = 0; at < PAIRS; at++) {
        open_pair(&pairs[at], &host, at);
    }
    for (uint32_t ended = 0, round = 0; ended < PAIRS; round++) {
        CHECK(round < ROUNDS_MAX);
        ended = 0;
        for (int at = 0; at < PAIRS; at++) {
            struct mux *mux = &pairs[at].actor.mux;
            write_some(&pairs[at], random_below(&seed, 400), at % 4 < 2);
            lower_poll(&mux->lower);
            sched_run(&host.sched);
            mux_drain_transmit(mux);
            for (uint32_t stream = 0; stream < STREAMS; stream++) {
                mux_read_stream(mux, stream, UINT32_MAX);
            }
            ended += mux->ends;
        }
    }
    host_settle(&host);
    for (int at = 0; at < PAIRS; at++) {
        check_pair(&pairs[at]);
        mux_close(&pairs[at].actor.mux);
        CHECK_NUMBER(pairs[at].actor.mux.finishes, 1);
        peer_close(&pairs[at].actor.peer);
        if (pairs[at].peer_fd >= 0) {
            close(pairs[at].peer_fd);
        }
    }
    CHECK(host.pool.handoffs > 0);
    host_close(&host);
    printf("sockets ok\n");
}
