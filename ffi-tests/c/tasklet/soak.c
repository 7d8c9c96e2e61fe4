/*
 * Random arrivals, blocks, ends, deaths and wake-ups for nothing; then all needs are met, and nothing may be left:
 * every frame decoded, every end reported once, every buffer back.
 */

#include "scenarios.h"

#include <string.h>

enum {
    CLIENTS = 24,
    SOAK_BUFFERS = 8,
    SOAK_BUFFER_BYTES = 256,
    UPGRADE_BYTES = 100,
    BLOCK_BYTES_MAX = 400,
    DATA_BYTES_MAX = 900,
    WRITTEN_MAX = 4000, /* not sent yet */
    STEPS_BETWEEN_RESTS = 5000,
    RECEIVES_PER_RUN = 4,
};

/* One connection after the other for the same client. */
struct client {
    struct mux mux;
    struct peer peer;
    bool is_cut;  /* its bytes end inside a frame, are lost, or are nonsense */
    bool is_over; /* its end was sent */
};

struct totals {
    uint64_t connections, frames, bytes, runs, swaps, folds, wraps, misfits, sheds, ends, upgrades, parkings;
};

struct soak {
    struct host host;
    struct client clients[CLIENTS];
    struct totals totals;
    uint64_t random;
};

static uint32_t below(struct soak *soak, uint32_t limit) {
    return random_below(&soak->random, limit);
}

static void open_client(struct soak *soak, struct client *client) {
    memset(client, 0, sizeof *client);
    mux_open(&client->mux, &soak->host, below(soak, 2) ? ONE_SHOT : OPTIMISTIC, below(soak, 2) ? SLOT_BYTES : 0, -1);
    client->mux.misfit = MISFIT_GROW;
    client->mux.lower.joins_end = below(soak, 2);
    peer_preface(&client->peer);
    struct ring ring = {0};
    if (below(soak, 3) == 0) {
        peer_block(&client->peer, below(soak, BLOCK_BYTES_MAX), 1 + below(soak, 3));
        ring = ring_over(must_have(malloc(UPGRADE_BYTES)), UPGRADE_BYTES, RING_OF_MALLOC);
        ring.head = below(soak, UPGRADE_BYTES);
        uint8_t bytes[UPGRADE_BYTES];
        uint32_t count = least(below(soak, UPGRADE_BYTES + 1), client->peer.level);
        peer_take(&client->peer, bytes, count);
        ring_put(&ring, bytes, count);
        soak->totals.upgrades++;
    }
    mux_attach(&client->mux, ring);
}

/* However a connection ends, nothing of it may be left; and if it was not cut short, nothing of it is missing. */
static void close_client(struct soak *soak, struct client *client) {
    struct mux *mux = &client->mux;
    struct totals *totals = &soak->totals;
    if (!mux->closed) {
        mux_close(mux);
    }
    CHECK_NUMBER(mux->finishes, 1);
    CHECK(mux->ends <= 1);
    CHECK(mux->idle_runs <= mux->useless_max);
    CHECK(mux->run_frames_max <= FRAMES_PER_RUN);
    CHECK(mux->run_receives_max <= RECEIVES_PER_RUN);
    totals->connections++;
    totals->frames += mux->frames;
    totals->bytes += client->peer.written - client->peer.level;
    totals->runs += mux->runs;
    totals->swaps += mux->swaps;
    totals->folds += mux->folds;
    totals->wraps += mux->wraps;
    totals->misfits += mux->misfits;
    totals->parkings += mux->parkings;
    totals->sheds += mux->sheds_seen;
    totals->ends += mux->ends;
    peer_close(&client->peer);
}

static void write_frame(struct soak *soak, struct peer *peer) {
    if (peer->level > WRITTEN_MAX) {
        return;
    }
    switch (below(soak, 4)) {
    case 0: peer_ping(peer); break;
    case 1: peer_block(peer, below(soak, BLOCK_BYTES_MAX), 1 + below(soak, 3)); break;
    case 2:
        peer_data(peer, below(soak, STREAMS), below(soak, DATA_BYTES_MAX), below(soak, 3) ? 0 : below(soak, 256));
        break;
    default: peer_data(peer, below(soak, STREAMS), below(soak, 20), 0); break;
    }
}

static uint32_t read_all_streams(struct client *client) {
    uint32_t bytes = 0;
    for (uint32_t stream = 0; stream < STREAMS; stream++) {
        bytes += mux_read_stream(&client->mux, stream, UINT32_MAX);
    }
    return bytes;
}

/* Some of these cut a connection short, so they are rare. */
static void rare_step(struct soak *soak, struct client *client) {
    struct mux *mux = &client->mux;
    switch (below(soak, 6)) {
    case 0:
        lower_break(&mux->lower);
        client->is_cut = client->is_over = true;
        break;
    case 1:
        client->is_cut |= client->peer.level > 0;
        client->is_over = true;
        lower_finish(&mux->lower);
        break;
    case 2:
        peer_send_all(&client->peer, &mux->lower);
        lower_finish(&mux->lower);
        client->is_over = true;
        break;
    case 3:
        peer_send_all(&client->peer, &mux->lower);
        peer_nonsense(&client->peer);
        client->is_cut = true;
        break;
    case 4: mux_expire(mux); break;
    default: close_client(soak, client); open_client(soak, client);
    }
}

static void step(struct soak *soak, struct client *client) {
    struct mux *mux = &client->mux;
    if (mux->closed || mux->ends > 0) {
        close_client(soak, client);
        open_client(soak, client);
        return;
    }
    uint32_t reason = below(soak, 2) ? BLOCK_STREAMS_MAX : BLOCK_STREAMS_MAX << 1;
    switch (below(soak, 12)) {
    case 0: mux_nudge(mux); break;
    case 1: mux_block(mux, mux->failed ? 0 : reason); break;
    case 2:
    case 3: mux_unblock(mux, reason); break;
    case 4: mux_drain_transmit(mux); break;
    case 5: mux_read_stream(mux, below(soak, STREAMS), below(soak, 300)); break;
    case 6: read_all_streams(client); break;
    case 7: mux_respond(mux); break;
    case 8:
        if (below(soak, 12) == 0 && !client->is_over) {
            rare_step(soak, client);
        }
        break;
    default:
        if (!client->is_over) {
            write_frame(soak, &client->peer);
            peer_send(&client->peer, &mux->lower, below(soak, 300));
        }
    }
}

/* Meets every need of a client; true if it had anything to do. */
static bool help(struct client *client) {
    struct mux *mux = &client->mux;
    if (mux->closed) {
        return false;
    }
    mux_unblock(mux, BLOCK_STREAMS_MAX | BLOCK_STREAMS_MAX << 1);
    if (!client->is_over) {
        peer_send_all(&client->peer, &mux->lower);
    }
    uint32_t drained = mux_drain_transmit(mux);
    drained += read_all_streams(client);
    return host_settle(mux->host) + drained > 0;
}

/* At rest: an open connection is armed or has ended, holds nothing, and has decoded and delivered everything sent. */
static void check_at_rest(const struct client *client) {
    const struct mux *mux = &client->mux;
    if (mux->closed) {
        return;
    }
    CHECK(!mux->tasklet.queued);
    CHECK_NUMBER(mux_pending(mux), 0);
    CHECK_NUMBER(mux->blocked, 0);
    CHECK_NUMBER(mux->lower.level, 0);
    CHECK(mux->ring.area == NULL);
    CHECK_NUMBER(mux->ends, client->is_over);
    CHECK_NUMBER(mux->lower.armed, !client->is_over);
    if (!client->is_cut) {
        CHECK_NUMBER(mux->frames, client->peer.frames);
        CHECK_NUMBER(mux->block_bytes, client->peer.block_bytes);
        CHECK_NUMBER(memcmp(mux->delivered, client->peer.sent, sizeof mux->delivered), 0);
        CHECK_NUMBER(mux->discarded, 0);
    }
    for (int need = 0; need < NEEDS; need++) {
        CHECK_NUMBER(mux->waits[need].state, WAITER_IDLE);
    }
}

static void come_to_rest(struct soak *soak) {
    host_settle(&soak->host);
    bool is_busy = true;
    for (int round = 0; is_busy; round++) {
        CHECK(round < 10000);
        is_busy = false;
        for (int at = 0; at < CLIENTS; at++) {
            is_busy |= help(&soak->clients[at]);
        }
    }
    for (int at = 0; at < CLIENTS; at++) {
        check_at_rest(&soak->clients[at]);
    }
    CHECK_NUMBER(soak->host.pool.free, soak->host.pool.buffers);
}

void soak(uint64_t seed, uint32_t steps) {
    static struct soak soak;
    memset(&soak, 0, sizeof soak);
    soak.random = seed;
    host_open(&soak.host, SOAK_BUFFERS, SOAK_BUFFER_BYTES);
    soak.host.pool.reserves[NEED_STREAM] = 1;
    soak.host.pool.reserves[NEED_RECEIVE] = 2;
    for (int at = 0; at < CLIENTS; at++) {
        open_client(&soak, &soak.clients[at]);
    }
    for (uint32_t at = 1; at <= steps; at++) {
        step(&soak, &soak.clients[below(&soak, CLIENTS)]);
        for (uint32_t runs = below(&soak, 4); runs > 0; runs--) {
            sched_run(&soak.host.sched);
        }
        if (at % STEPS_BETWEEN_RESTS == 0) {
            come_to_rest(&soak);
        }
    }
    for (int at = 0; at < CLIENTS; at++) {
        close_client(&soak, &soak.clients[at]);
    }
    const struct totals *totals = &soak.totals;
    CHECK(totals->swaps > 0 && totals->folds > 0 && totals->wraps > 0 && totals->misfits > 0 && totals->sheds > 0);
    CHECK(totals->ends > 0 && totals->upgrades > 0 && totals->parkings > 0 && soak.host.pool.handoffs > 0);
    host_close(&soak.host);
    printf("soak ok\n");
    fprintf(stderr,
            "soak: %llu connections, %llu frames, %llu bytes, %llu runs, %llu hand-offs, %llu rings swapped, "
            "%llu folded, %llu headers across the wrap, %llu misfits, %llu parked, %llu shed\n",
            (unsigned long long)totals->connections, (unsigned long long)totals->frames,
            (unsigned long long)totals->bytes, (unsigned long long)totals->runs,
            (unsigned long long)soak.host.pool.handoffs, (unsigned long long)totals->swaps,
            (unsigned long long)totals->folds, (unsigned long long)totals->wraps, (unsigned long long)totals->misfits,
            (unsigned long long)totals->parkings, (unsigned long long)totals->sheds);
}
