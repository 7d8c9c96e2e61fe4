/* S21 to S33: receiving and decoding. */

#include "scenarios.h"

#include <string.h>

static const uint8_t MODES[2] = {ONE_SHOT, OPTIMISTIC};

/* Blocked with a whole frame buffered, and the transport is dry: the end of the block is enough. */
static void blocked_with_all_there(struct stage *stage, struct actor *actor) {
    uint32_t frames = actor->mux.frames;
    mux_block(&actor->mux, BLOCK_STREAMS_MAX);
    peer_block(&actor->peer, 30, 1);
    deliver(stage, actor);
    CHECK_NUMBER(actor->mux.frames, frames);
    CHECK_NUMBER(actor->mux.ring.data, HEADER_BYTES + 30);
    uint32_t receives = actor->mux.lower.receives;
    mux_unblock(&actor->mux, BLOCK_STREAMS_MAX);
    CHECK(mux_pending(&actor->mux) & DEMUXBUF_DECODE);
    host_settle(&stage->host);
    CHECK_NUMBER(actor->mux.frames, frames + 1);
    CHECK_NUMBER(actor->mux.lower.receives, receives);
}

/* It needs more and read interest is armed already: it sleeps until bytes arrive. */
static void lacks_data(struct stage *stage, struct actor *actor) {
    uint32_t frames = actor->mux.frames;
    peer_block(&actor->peer, 30, 1);
    peer_send(&actor->peer, &actor->mux.lower, 20);
    host_settle(&stage->host);
    uint32_t receives = actor->mux.lower.receives, times_armed = actor->mux.lower.times_armed;
    CHECK(actor->mux.lower.armed);
    mux_nudge(&actor->mux);
    CHECK_NUMBER(host_settle(&stage->host), 1);
    CHECK_NUMBER(actor->mux.lower.receives, receives);
    CHECK_NUMBER(actor->mux.lower.times_armed, times_armed);
    deliver(stage, actor);
    CHECK_NUMBER(actor->mux.frames, frames + 1);
}

static void s21(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    blocked_with_all_there(stage, join(stage, ONE_SHOT));
    blocked_with_all_there(stage, join(stage, OPTIMISTIC));
}

static void s22(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    lacks_data(stage, join(stage, ONE_SHOT));
    lacks_data(stage, join(stage, OPTIMISTIC));
}

static void s23(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    for (int at = 0; at < 2; at++) {
        struct actor *actor = join(stage, MODES[at]);
        for (int turn = 0; turn < 10; turn++) {
            blocked_with_all_there(stage, actor);
            lacks_data(stage, actor);
        }
    }
}

/* The transport holds exactly one buffer of bytes, or much more. No later byte arrives that could wake the receiver. */
static void s24(struct stage *stage) {
    stage_open(stage, 2, BUFFER_BYTES);
    for (int at = 0; at < 2; at++) {
        struct actor *actor = join(stage, MODES[at]);
        peer_block(&actor->peer, BUFFER_BYTES - HEADER_BYTES, 1);
        deliver(stage, actor);
        CHECK_NUMBER(actor->mux.frames, 1);
        for (int frame = 0; frame < 20; frame++) {
            peer_block(&actor->peer, 40, 2);
        }
        deliver(stage, actor);
        CHECK_NUMBER(actor->mux.frames, 21);
        CHECK_NUMBER(actor->mux.lower.level, 0);
        CHECK(actor->mux.lower.armed);
    }
}

static void s25(struct stage *stage) {
    stage_open(stage, 2, BUFFER_BYTES);
    for (int at = 0; at < 2; at++) {
        struct actor *fails = join(stage, MODES[at]), *grows = join(stage, MODES[at]);
        struct actor *actors[2] = {fails, grows};
        grows->mux.misfit = MISFIT_GROW;
        for (int which = 0; which < 2; which++) {
            peer_block(&actors[which]->peer, BUFFER_BYTES, 1);
            peer_send(&actors[which]->peer, &actors[which]->mux.lower, BUFFER_BYTES - 1);
            host_settle(&stage->host);
            CHECK_NUMBER(actors[which]->mux.misfits, 0);
            CHECK(actors[which]->mux.lower.armed);
            deliver(stage, actors[which]);
            CHECK_NUMBER(actors[which]->mux.misfits, 1);
            CHECK(actors[which]->mux.lower.armed);
        }
        CHECK(fails->mux.failed && !grows->mux.failed);
        CHECK_NUMBER(fails->mux.frames, 0);
        CHECK_NUMBER(grows->mux.frames, 1);
        CHECK_NUMBER(stage->host.pool.free, 2);
    }
}

/* A long padding is announced and only a part of it is there. */
static void s26(struct stage *stage) {
    stage_open(stage, 2, BUFFER_BYTES);
    struct actor *actor = join(stage, ONE_SHOT);
    peer_padded(&actor->peer, 1, 5, 200);
    peer_block(&actor->peer, 30, 1);
    peer_send(&actor->peer, &actor->mux.lower, HEADER_BYTES + 1 + 5 + 10);
    host_settle(&stage->host);
    CHECK_NUMBER(actor->mux.padding_left, 190);
    CHECK_NUMBER(actor->mux.frames, 0);
    CHECK(!is_holding(actor));
    deliver(stage, actor);
    CHECK_NUMBER(mux_read_stream(&actor->mux, 1, BUFFER_BYTES), 5);
    CHECK_NUMBER(actor->mux.frames, 2);
}

static void s27(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    struct actor *actor = join(stage, ONE_SHOT);
    mux_block(&actor->mux, BLOCK_STREAMS_MAX);
    mux_block(&actor->mux, BLOCK_STREAM_FULL);
    mux_block(&actor->mux, BLOCK_STREAM_FULL);
    peer_block(&actor->peer, 30, 1);
    deliver(stage, actor);
    mux_unblock(&actor->mux, BLOCK_STREAM_FULL);
    host_settle(&stage->host);
    CHECK_NUMBER(actor->mux.frames, 0);
    mux_unblock(&actor->mux, BLOCK_STREAMS_MAX);
    host_settle(&stage->host);
    CHECK_NUMBER(actor->mux.frames, 1);
}

/* The content of a full ring is dropped on an error: reading goes on, and the end is seen. */
static void s28(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    struct actor *actor = join(stage, ONE_SHOT);
    mux_block(&actor->mux, BLOCK_STREAMS_MAX);
    peer_nonsense(&actor->peer);
    for (int frame = 0; frame < 5; frame++) {
        peer_block(&actor->peer, 40, 1);
    }
    deliver(stage, actor);
    CHECK_NUMBER(actor->mux.ring.data, BUFFER_BYTES);
    CHECK(!actor->mux.lower.armed);
    mux_unblock(&actor->mux, BLOCK_STREAMS_MAX);
    host_settle(&stage->host);
    CHECK(actor->mux.failed);
    CHECK_NUMBER(actor->mux.discarded, actor->peer.written);
    CHECK(!is_holding(actor));
    CHECK(actor->mux.lower.armed);
    lower_finish(&actor->mux.lower);
    host_settle(&stage->host);
    CHECK_NUMBER(actor->mux.ends, 1);
}

/* No room to transmit stops the decoder, the ring fills, and the transport takes what was to be sent. */
static void s29(struct stage *stage) {
    enum { PINGS = 16 };
    stage_open(stage, 2, BUFFER_BYTES);
    for (int at = 0; at < 2; at++) {
        struct actor *actor = join(stage, MODES[at]);
        for (int ping = 0; ping < PINGS; ping++) {
            peer_ping(&actor->peer);
        }
        deliver(stage, actor);
        CHECK_NUMBER(actor->mux.frames, BUFFER_BYTES / ACK_BYTES);
        CHECK_NUMBER(actor->mux.ring.data, BUFFER_BYTES);
        CHECK(!actor->mux.lower.armed);
        mux_drain_transmit(&actor->mux);
        CHECK(mux_pending(&actor->mux) & DEMUXBUF_DECODE);
        host_settle(&stage->host);
        CHECK_NUMBER(actor->mux.frames, PINGS);
        CHECK(actor->mux.lower.armed);
        mux_drain_transmit(&actor->mux);
        host_settle(&stage->host);
    }
}

/* Byte by byte, at every level: each arrival costs one run and no more receives than it can use. */
static void s30(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    for (int at = 0; at < 2; at++) {
        struct actor *actor = join(stage, MODES[at]);
        for (int frame = 0; frame < 3; frame++) {
            peer_block(&actor->peer, BUFFER_BYTES - HEADER_BYTES - 1, 1);
        }
        while (actor->peer.level > 0) {
            uint32_t receives = actor->mux.lower.receives;
            peer_send(&actor->peer, &actor->mux.lower, 1);
            CHECK_NUMBER(host_settle(&stage->host), 1);
            CHECK(actor->mux.lower.receives - receives <= 2);
        }
        CHECK_NUMBER(actor->mux.frames, 3);
    }
}

/* A ring full of tiny frames, and a stream of buffers that change hands whole: an iteration is bounded. */
static void s31(struct stage *stage) {
    enum { TINY = 400, RECEIVES_PER_RUN = 4, LARGE = 4096 };
    stage_open(stage, 16, LARGE);
    for (int at = 0; at < 2; at++) {
        struct actor *busy = join(stage, MODES[at]), *neighbour = join(stage, MODES[at]);
        for (int frame = 0; frame < TINY; frame++) {
            peer_data(&busy->peer, 0, 0, 0);
        }
        peer_block(&neighbour->peer, 30, 1);
        peer_send_all(&busy->peer, &busy->mux.lower);
        peer_send_all(&neighbour->peer, &neighbour->mux.lower);
        CHECK(sched_run(&stage->host.sched) && sched_run(&stage->host.sched));
        CHECK_NUMBER(busy->mux.frames, FRAMES_PER_RUN);
        CHECK_NUMBER(neighbour->mux.frames, 1);
        host_settle(&stage->host);
        CHECK_NUMBER(busy->mux.frames, TINY);
        CHECK_NUMBER(busy->mux.run_frames_max, FRAMES_PER_RUN);

        struct actor *swapper = join(stage, MODES[at]);
        for (uint32_t stream = 0; stream < STREAMS; stream++) {
            peer_data(&swapper->peer, stream, LARGE - HEADER_BYTES, 0);
        }
        deliver(stage, swapper);
        CHECK_NUMBER(swapper->mux.swaps, STREAMS);
        CHECK(swapper->mux.run_receives_max <= RECEIVES_PER_RUN);
        for (uint32_t stream = 0; stream < STREAMS; stream++) {
            CHECK_NUMBER(mux_read_stream(&swapper->mux, stream, LARGE), LARGE - HEADER_BYTES);
        }
    }
}

/* A full ring, reading stopped, is handed to a stream. */
static void s32(struct stage *stage) {
    stage_open(stage, 4, BUFFER_BYTES);
    for (int at = 0; at < 2; at++) {
        struct actor *actor = join(stage, MODES[at]);
        peer_data(&actor->peer, 2, 2 * BUFFER_BYTES, 0);
        peer_send(&actor->peer, &actor->mux.lower, HEADER_BYTES);
        host_settle(&stage->host);
        mux_block(&actor->mux, BLOCK_STREAMS_MAX);
        peer_send(&actor->peer, &actor->mux.lower, BUFFER_BYTES);
        host_settle(&stage->host);
        CHECK_NUMBER(actor->mux.ring.data, BUFFER_BYTES);
        CHECK(!actor->mux.lower.armed);
        const uint8_t *area = actor->mux.ring.area;
        mux_unblock(&actor->mux, BLOCK_STREAMS_MAX);
        host_settle(&stage->host);
        CHECK(actor->mux.streams[2].area == area);
        CHECK_NUMBER(actor->mux.swaps, 1);
        CHECK(!is_holding(actor));
        CHECK(actor->mux.lower.armed);
        CHECK_NUMBER(mux_read_stream(&actor->mux, 2, BUFFER_BYTES), BUFFER_BYTES);
        deliver(stage, actor);
        CHECK_NUMBER(mux_read_stream(&actor->mux, 2, BUFFER_BYTES), BUFFER_BYTES);
        CHECK_NUMBER(actor->mux.frames, 1);
    }
    /* Parked bytes are copied: the slot stays with its connection. */
    struct actor *actor = join_parking(stage, ONE_SHOT);
    peer_data(&actor->peer, 2, SLOT_BYTES, 0);
    peer_send(&actor->peer, &actor->mux.lower, HEADER_BYTES);
    host_settle(&stage->host);
    mux_block(&actor->mux, BLOCK_STREAMS_MAX);
    deliver(stage, actor);
    CHECK_NUMBER(actor->mux.parkings, 1);
    mux_unblock(&actor->mux, BLOCK_STREAMS_MAX);
    host_settle(&stage->host);
    CHECK_NUMBER(actor->mux.streams[2].owner, RING_OF_POOL);
    CHECK_NUMBER(mux_read_stream(&actor->mux, 2, BUFFER_BYTES), SLOT_BYTES);
}

/* Takes what is written for the content of a ring of just this size, and attaches the connection with it. */
static void attach_full(struct stage *stage, struct actor *actor) {
    uint32_t bytes = actor->peer.level;
    struct ring ring = ring_over(must_have(malloc(bytes)), bytes, RING_OF_MALLOC);
    ring.data = bytes;
    peer_take(&actor->peer, ring.area, bytes);
    mux_open(&actor->mux, &stage->host, ONE_SHOT, 0, -1);
    actor->mux.preface_seen = true;
    mux_attach(&actor->mux, ring);
}

/* Attached with a ring of its own size that holds a preface, a frame and a half. */
static void s33(struct stage *stage) {
    enum { ODD_BYTES = 100 };
    stage_open(stage, 1, BUFFER_BYTES);
    for (int at = 0; at < 2; at++) {
        struct actor *actor = &stage->cast[stage->count++];
        memset(actor, 0, sizeof *actor);
        mux_open(&actor->mux, &stage->host, MODES[at], 0, -1);
        peer_preface(&actor->peer);
        peer_block(&actor->peer, 40, 1);
        peer_block(&actor->peer, 20, 1);
        struct ring ring = ring_over(must_have(malloc(ODD_BYTES)), ODD_BYTES, RING_OF_MALLOC);
        ring.data = PREFACE_BYTES + HEADER_BYTES + 40 + 5;
        peer_take(&actor->peer, ring.area, ring.data);
        mux_attach(&actor->mux, ring);
        CHECK_NUMBER(actor->mux.frames, 1);
        CHECK_NUMBER(actor->mux.runs, 0);
        CHECK_NUMBER(actor->mux.ring.size, ODD_BYTES);
        deliver(stage, actor);
        CHECK_NUMBER(actor->mux.frames, 2);
        CHECK(!is_holding(actor));
        CHECK(actor->mux.lower.armed);
    }
    /* Full from the start, and not decodable yet: read interest is off until there is room. */
    struct actor *holder = join_holding(stage, ONE_SHOT), *full = &stage->cast[stage->count++];
    memset(full, 0, sizeof *full);
    peer_ping(&full->peer);
    attach_full(stage, full);
    CHECK_NUMBER(full->mux.waits[NEED_TRANSMIT].state, WAITER_QUEUED);
    CHECK(!full->mux.lower.armed);
    deliver(stage, holder);
    CHECK_NUMBER(full->mux.frames, 1);
    CHECK(full->mux.lower.armed);
}

const struct scenario DECODE_SCENARIOS[] = {
    {"s21", s21}, {"s22", s22}, {"s23", s23}, {"s24", s24}, {"s25", s25}, {"s26", s26}, {"s27", s27},
    {"s28", s28}, {"s29", s29}, {"s30", s30}, {"s31", s31}, {"s32", s32}, {"s33", s33}, {NULL, NULL},
};
