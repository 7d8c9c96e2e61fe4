/* S34 to S44: the end of a connection, and partial frames that stay. */

#include "scenarios.h"

#include <string.h>

static const uint8_t MODES[2] = {ONE_SHOT, OPTIMISTIC};

enum end_kind { END_STREAM = 1, END_ERROR = 2 };

static void finish(struct stage *stage, struct actor *actor) {
    lower_finish(&actor->mux.lower);
    host_settle(&stage->host);
}

static void check_ending(const struct actor *actor, uint32_t kind, uint32_t truncated_bytes) {
    CHECK_NUMBER(actor->mux.ends, 1);
    CHECK_NUMBER(actor->mux.end_kind, kind);
    CHECK_NUMBER(actor->mux.truncated_bytes, truncated_bytes);
    CHECK(!is_holding(actor));
    CHECK(!actor->mux.lower.armed);
}

/* The end comes while whole frames and a partial one are buffered. */
static void end_behind_frames(struct stage *stage, uint8_t mode, void (*end)(struct lower *), uint32_t kind) {
    struct actor *actor = join(stage, mode);
    mux_block(&actor->mux, BLOCK_STREAMS_MAX);
    peer_block(&actor->peer, 10, 1);
    peer_block(&actor->peer, 10, 1);
    peer_block(&actor->peer, 10, 1);
    peer_send(&actor->peer, &actor->mux.lower, 2 * (HEADER_BYTES + 10) + 12);
    host_settle(&stage->host);
    end(&actor->mux.lower);
    host_settle(&stage->host);
    CHECK_NUMBER(actor->mux.ends, 0);
    CHECK_NUMBER(actor->mux.frames, 0);
    CHECK_NUMBER(mux_info(&actor->mux).end, kind);
    mux_unblock(&actor->mux, BLOCK_STREAMS_MAX);
    host_settle(&stage->host);
    CHECK_NUMBER(actor->mux.frames, 2);
    check_ending(actor, kind, 12);
    mux_nudge(&actor->mux);
    sched_wake(&stage->host.sched, &actor->mux.tasklet, WAKE_HANG_UP | WAKE_READABLE);
    host_settle(&stage->host);
    check_ending(actor, kind, 12);
}

/* The end is already in the transport behind more frames than a buffer holds. */
static void s34(struct stage *stage) {
    enum { FRAMES = 20 };
    stage_open(stage, 1, BUFFER_BYTES);
    for (int at = 0; at < 2; at++) {
        struct actor *actor = join(stage, MODES[at]);
        for (int frame = 0; frame < FRAMES; frame++) {
            peer_block(&actor->peer, 30, 1);
        }
        peer_send_all(&actor->peer, &actor->mux.lower);
        finish(stage, actor);
        CHECK_NUMBER(actor->mux.frames, FRAMES);
        check_ending(actor, END_STREAM, 0);
    }
}

/* The bytes of a frame, cut short. */
static struct actor *cut_short(struct stage *stage, struct actor *actor, uint32_t bytes) {
    peer_send(&actor->peer, &actor->mux.lower, bytes);
    finish(stage, actor);
    CHECK_NUMBER(actor->mux.frames, 0);
    return actor;
}

static void s35(struct stage *stage) {
    stage_open(stage, 2, BUFFER_BYTES);
    for (int at = 0; at < 2; at++) {
        struct actor *actor = join(stage, MODES[at]);
        actor->mux.preface_seen = false;
        peer_preface(&actor->peer);
        check_ending(cut_short(stage, actor, 10), END_STREAM, 10);

        actor = join(stage, MODES[at]);
        peer_block(&actor->peer, 30, 1);
        check_ending(cut_short(stage, actor, 5), END_STREAM, 5);

        actor = join(stage, MODES[at]);
        peer_padded(&actor->peer, 1, 10, 10);
        check_ending(cut_short(stage, actor, HEADER_BYTES), END_STREAM, HEADER_BYTES);

        actor = join(stage, MODES[at]);
        peer_data(&actor->peer, 1, 30, 0);
        check_ending(cut_short(stage, actor, HEADER_BYTES + 12), END_STREAM, 0);
        CHECK_NUMBER(actor->mux.payload_left, 18);
        CHECK_NUMBER(mux_read_stream(&actor->mux, 1, BUFFER_BYTES), 12);

        actor = join(stage, MODES[at]);
        peer_block(&actor->peer, 20, 2);
        check_ending(cut_short(stage, actor, 2 * HEADER_BYTES + 10 + 4), END_STREAM, 2 * HEADER_BYTES + 10 + 4);
    }
}

/* The end comes with data, with the last free byte, or on a frame's boundary; reported alone or with the bytes. */
static void s36(struct stage *stage) {
    enum { WHOLE = BUFFER_BYTES - HEADER_BYTES };
    const uint32_t blocks[] = {WHOLE, WHOLE, 30, 30}, sent[] = {BUFFER_BYTES, BUFFER_BYTES - 1, 39, 20};
    stage_open(stage, 1, BUFFER_BYTES);
    for (int which = 0; which < 16; which++) {
        struct actor *actor = join(stage, MODES[which & 1]);
        actor->mux.lower.joins_end = which & 2;
        peer_block(&actor->peer, blocks[which >> 2], 1);
        peer_send(&actor->peer, &actor->mux.lower, sent[which >> 2]);
        finish(stage, actor);
        bool is_whole = sent[which >> 2] == blocks[which >> 2] + HEADER_BYTES;
        CHECK_NUMBER(actor->mux.frames, is_whole);
        check_ending(actor, END_STREAM, is_whole ? 0 : sent[which >> 2]);
    }
    /* With the last free byte of a frame that would not have fitted anyway. */
    struct actor *actor = join(stage, ONE_SHOT);
    actor->mux.lower.joins_end = true;
    peer_block(&actor->peer, BUFFER_BYTES, 1);
    peer_send(&actor->peer, &actor->mux.lower, BUFFER_BYTES);
    finish(stage, actor);
    check_ending(actor, END_STREAM, BUFFER_BYTES);
    CHECK_NUMBER(actor->mux.misfits, 0);
}

/* The end while no buffer can be had, or while parked: it is seen at once, and the queue is left. */
static void s37(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    struct actor *holder = join_holding(stage, ONE_SHOT);
    struct actor *guessing = join(stage, OPTIMISTIC), *waiting = join_waiting(stage, ONE_SHOT);
    struct actor *next = join_waiting(stage, ONE_SHOT);
    CHECK_NUMBER(wait_state(guessing), WAITER_QUEUED);
    finish(stage, guessing);
    check_ending(guessing, END_STREAM, 0);
    CHECK_NUMBER(wait_state(guessing), WAITER_IDLE);
    lower_break(&waiting->mux.lower);
    host_settle(&stage->host);
    check_ending(waiting, END_ERROR, 0);
    CHECK_NUMBER(wait_state(waiting), WAITER_IDLE);
    struct actor *parked = join_parking(stage, ONE_SHOT);
    deliver(stage, holder);
    CHECK(is_holding(next));
    deliver(stage, next);
    peer_block(&parked->peer, 30, 1);
    peer_send(&parked->peer, &parked->mux.lower, 7);
    host_settle(&stage->host);
    CHECK(!is_holding(parked) && parked->mux.ring.data == 7);
    holder = join_holding(stage, ONE_SHOT);
    mux_block(&parked->mux, BLOCK_STREAMS_MAX);
    mux_unblock(&parked->mux, BLOCK_STREAMS_MAX);
    finish(stage, parked);
    check_ending(parked, END_STREAM, 7);
}

static void s38(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    end_behind_frames(stage, ONE_SHOT, lower_break, END_ERROR);
    end_behind_frames(stage, OPTIMISTIC, lower_break, END_ERROR);
}

static void s39(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    struct actor *empty = join(stage, ONE_SHOT);
    mux_block(&empty->mux, BLOCK_STREAMS_MAX);
    finish(stage, empty);
    CHECK_NUMBER(empty->mux.ends, 0);
    mux_unblock(&empty->mux, BLOCK_STREAMS_MAX);
    host_settle(&stage->host);
    check_ending(empty, END_STREAM, 0);
    end_behind_frames(stage, ONE_SHOT, lower_finish, END_STREAM);
    end_behind_frames(stage, OPTIMISTIC, lower_finish, END_STREAM);
}

/* Brings a connection into one of the states in which it can be closed; false if there is no such state. */
static bool bring_into(struct stage *stage, struct actor *actor, int state) {
    struct mux *mux = &actor->mux;
    switch (state) {
    case 0: return true;
    case 1: /* holds a partial frame */
        peer_block(&actor->peer, 40, 1);
        peer_send(&actor->peer, &mux->lower, 20);
        return true;
    case 2: /* blocked and full */
        mux_block(mux, BLOCK_STREAMS_MAX);
        peer_block(&actor->peer, BUFFER_BYTES, 1);
        peer_send_all(&actor->peer, &mux->lower);
        return true;
    case 3: /* waits for a buffer to transmit */
        join_holding(stage, ONE_SHOT);
        peer_ping(&actor->peer);
        peer_send_all(&actor->peer, &mux->lower);
        return true;
    case 4: /* waits for a buffer of a stream, and for one to answer */
        join_holding(stage, ONE_SHOT);
        peer_data(&actor->peer, 1, 20, 0);
        peer_send_all(&actor->peer, &mux->lower);
        mux_respond(mux);
        return true;
    case 5: /* ended, and not decoded for want of leave */
        mux_block(mux, BLOCK_STREAMS_MAX);
        peer_ping(&actor->peer);
        peer_send_all(&actor->peer, &mux->lower);
        lower_finish(&mux->lower);
        return true;
    case 6: /* failed */
        peer_nonsense(&actor->peer);
        peer_send_all(&actor->peer, &mux->lower);
        return true;
    case 7: /* waits to receive */
        join_holding(stage, ONE_SHOT);
        join_holding(stage, ONE_SHOT);
        peer_block(&actor->peer, 40, 1);
        peer_send(&actor->peer, &mux->lower, 20);
        return true;
    case 8: /* broken */ lower_break(&mux->lower); return true;
    case 9: /* a stream holds a ring that was handed to it */
        peer_data(&actor->peer, 1, BUFFER_BYTES, 0);
        peer_send_all(&actor->peer, &mux->lower);
        return true;
    case 10: /* a partial frame is parked, and the rest waits for a buffer */
        join_holding(stage, ONE_SHOT);
        peer_block(&actor->peer, 40, 1);
        peer_send(&actor->peer, &mux->lower, 7);
        host_settle(&stage->host);
        if (mux->parkings > 0) {
            join_holding(stage, ONE_SHOT);
        }
        peer_send_all(&actor->peer, &mux->lower);
        return true;
    default: return false;
    }
}

/* Closed in every state, at rest and with its wake-ups still under way. */
static void s40(struct stage *stage) {
    stage_open(stage, 2, BUFFER_BYTES);
    bool is_state = true;
    for (int state = 0; is_state; state++) {
        for (int which = 0; which < 8; which++) {
            struct actor *actor = (which & 2 ? join_parking : join)(stage, MODES[which & 1]);
            is_state = bring_into(stage, actor, state);
            if (which & 4) {
                host_settle(&stage->host);
            }
            mux_close(&actor->mux);
            CHECK_NUMBER(mux_pending(&actor->mux), DEMUXBUF_FINISHED);
            uint32_t runs = actor->mux.runs;
            stage_close(stage);
            CHECK_NUMBER(actor->mux.runs, runs);
            stage_open(stage, 2, BUFFER_BYTES);
        }
    }
    /* One that has been handed a buffer and has not run since. */
    struct actor *first = join_holding(stage, ONE_SHOT), *second = join_holding(stage, ONE_SHOT);
    struct actor *assigned = join_waiting(stage, ONE_SHOT);
    send_rest(first);
    CHECK(sched_run(&stage->host.sched));
    CHECK_NUMBER(wait_state(assigned), WAITER_ASSIGNED);
    mux_close(&assigned->mux);
    CHECK_NUMBER(stage->host.pool.free, 1);
    CHECK(is_holding(second));
}

enum { BUFFERS = 4, ATTACKERS = 10 * BUFFERS };

/* Ten times as many clients as buffers send the beginning of a frame header and stay; then an honest one comes. */
static struct actor *attack(struct stage *stage, struct actor *(*join_as)(struct stage *, uint8_t)) {
    stage_open(stage, BUFFERS, BUFFER_BYTES);
    for (uint32_t at = 0; at < ATTACKERS; at++) {
        struct actor *attacker = join_as(stage, ONE_SHOT);
        peer_block(&attacker->peer, 30, 1);
        peer_send(&attacker->peer, &attacker->mux.lower, 1 + at % (HEADER_BYTES - 1));
        host_settle(&stage->host);
    }
    struct actor *honest = join(stage, ONE_SHOT);
    peer_block(&honest->peer, 30, 1);
    deliver(stage, honest);
    return honest;
}

/* Every lease that is held now runs out; returns how many connections have been shed so far. */
static uint32_t expire_all(struct stage *stage) {
    for (uint32_t at = 0; at < stage->count; at++) {
        if (is_holding(&stage->cast[at])) {
            mux_expire(&stage->cast[at].mux);
        }
    }
    host_settle(&stage->host);
    uint32_t shed = 0;
    for (uint32_t at = 0; at < stage->count; at++) {
        shed += stage->cast[at].mux.sheds_seen;
    }
    return shed;
}

/*
 * With slots of the host's own only the honest client gets a buffer. Without them the attackers keep theirs, and
 * the host ends the leases that make no progress: each time exactly the holders are shed, the next in the queue follow,
 * and the honest client is served in its order and never shed.
 */
static void s41(struct stage *stage) {
    struct actor *honest = attack(stage, join_parking);
    CHECK_NUMBER(honest->mux.frames, 1);
    CHECK_NUMBER(stage->host.pool.free, BUFFERS);
    CHECK_NUMBER(stage->host.pool.handoffs, 0);
    for (uint32_t at = 0; at < ATTACKERS; at++) {
        CHECK_NUMBER(stage->cast[at].mux.parkings, 1);
        deliver(stage, &stage->cast[at]);
        CHECK_NUMBER(stage->cast[at].mux.frames, 1);
    }
    stage_close(stage);

    honest = attack(stage, join);
    for (uint32_t round = 1; round <= ATTACKERS / BUFFERS; round++) {
        CHECK_NUMBER(honest->mux.frames, 0);
        CHECK_NUMBER(expire_all(stage), round * BUFFERS);
    }
    CHECK_NUMBER(honest->mux.frames, 1);
    CHECK_NUMBER(honest->mux.sheds_seen, 0);
    CHECK_NUMBER(stage->host.pool.free, BUFFERS);
}

/* All attackers leave at once: the last of them hands its buffer to the honest one in that step. */
static void s44(struct stage *stage) {
    struct actor *honest = attack(stage, join);
    CHECK_NUMBER(wait_state(honest), WAITER_QUEUED);
    for (uint32_t at = ATTACKERS; at-- > 0;) {
        mux_close(&stage->cast[at].mux);
    }
    CHECK_NUMBER(wait_state(honest), WAITER_ASSIGNED);
    CHECK_NUMBER(stage->host.pool.free, BUFFERS - 1);
    CHECK_NUMBER(host_settle(&stage->host), 1);
    CHECK_NUMBER(honest->mux.frames, 1);
}

const struct scenario END_SCENARIOS[] = {
    {"s34", s34}, {"s35", s35}, {"s36", s36}, {"s37", s37}, {"s38", s38},
    {"s39", s39}, {"s40", s40}, {"s41", s41}, {"s44", s44}, {NULL, NULL},
};
