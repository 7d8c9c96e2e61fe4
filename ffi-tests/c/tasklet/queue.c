/* S01 to S20: the wait queue of a host that keeps its own. */

#include "scenarios.h"

#include <string.h>

/* A waiter is served in the step of the release. */
static void s01(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    struct actor *holder = join_holding(stage, ONE_SHOT), *waiter = join_waiting(stage, ONE_SHOT);
    send_rest(holder);
    CHECK(sched_run(&stage->host.sched));
    CHECK(!is_holding(holder));
    CHECK_NUMBER(wait_state(waiter), WAITER_ASSIGNED);
    CHECK_NUMBER(stage->host.pool.free, 0);
    host_settle(&stage->host);
    CHECK(is_holding(waiter));
}

static void s02(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    struct actor *queue[4] = {join_holding(stage, ONE_SHOT)};
    for (int at = 1; at < 4; at++) {
        queue[at] = join_waiting(stage, at % 2 ? OPTIMISTIC : ONE_SHOT);
    }
    for (int turn = 0; turn < 4; turn++) {
        for (int at = 0; at < 4; at++) {
            CHECK_NUMBER(is_holding(queue[at]), at == turn);
        }
        send_rest(queue[turn]);
        host_settle(&stage->host);
        CHECK_NUMBER(queue[turn]->mux.frames, 1);
    }
    CHECK_NUMBER(stage->host.pool.free, 1);
}

/* A newcomer asks after the release and before the next waiter has run. One buffer is reserved for others. */
static void s03(struct stage *stage) {
    stage_open(stage, 2, BUFFER_BYTES);
    stage->host.pool.reserves[NEED_RECEIVE] = 1;
    struct actor *holder = join_holding(stage, ONE_SHOT), *waiter = join_waiting(stage, ONE_SHOT);
    send_rest(holder);
    CHECK(sched_run(&stage->host.sched));
    struct actor *newcomer = &stage->cast[stage->count++];
    memset(newcomer, 0, sizeof *newcomer);
    mux_open(&newcomer->mux, &stage->host, OPTIMISTIC, 0, -1);
    mux_attach(&newcomer->mux, (struct ring){0});
    CHECK_NUMBER(wait_state(newcomer), WAITER_QUEUED);
    CHECK_NUMBER(wait_state(waiter), WAITER_ASSIGNED);
    host_settle(&stage->host);
    CHECK(is_holding(waiter));
    send_rest(waiter);
    host_settle(&stage->host);
    CHECK_NUMBER(wait_state(newcomer), WAITER_IDLE);
}

/* One wait for each need of one connection. */
static void s04(struct stage *stage) {
    stage_open(stage, 2, BUFFER_BYTES);
    struct actor *first = join_holding(stage, ONE_SHOT), *second = join_holding(stage, ONE_SHOT);
    struct actor *needy = join_waiting(stage, ONE_SHOT);
    mux_respond(&needy->mux);
    CHECK_NUMBER(needy->mux.waits[NEED_TRANSMIT].state, WAITER_QUEUED);
    send_rest(first);
    host_settle(&stage->host);
    CHECK_NUMBER(needy->mux.transmit.data, ACK_BYTES);
    CHECK_NUMBER(wait_state(needy), WAITER_QUEUED);
    send_rest(second);
    host_settle(&stage->host);
    CHECK(is_holding(needy));
    deliver(stage, needy);
    CHECK_NUMBER(needy->mux.frames, 1);
}

/* An owner of a receive buffer goes on while it waits for another kind. */
static void s05(struct stage *stage) {
    stage_open(stage, 2, BUFFER_BYTES);
    struct actor *holder = join_holding(stage, ONE_SHOT), *owner = join_holding(stage, OPTIMISTIC);
    mux_respond(&owner->mux);
    for (uint32_t turn = 1; turn <= 5; turn++) {
        uint32_t rest = owner->peer.level;
        peer_block(&owner->peer, 30, 1);
        peer_send(&owner->peer, &owner->mux.lower, rest + 10);
        host_settle(&stage->host);
        CHECK_NUMBER(owner->mux.frames, turn);
        CHECK_NUMBER(owner->mux.waits[NEED_TRANSMIT].state, WAITER_QUEUED);
    }
    deliver(stage, holder);
    CHECK_NUMBER(owner->mux.transmit.data, ACK_BYTES);
}

/* A waiter dies after its grant and before it used the buffer. */
static void s06(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    struct actor *holder = join_holding(stage, ONE_SHOT), *dying = join_waiting(stage, ONE_SHOT);
    struct actor *next = join_waiting(stage, OPTIMISTIC);
    send_rest(holder);
    CHECK(sched_run(&stage->host.sched));
    CHECK_NUMBER(wait_state(dying), WAITER_ASSIGNED);
    mux_close(&dying->mux);
    CHECK_NUMBER(wait_state(next), WAITER_ASSIGNED);
    host_settle(&stage->host);
    CHECK(is_holding(next));
    CHECK_NUMBER(dying->mux.runs, 1);
}

static void s07(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    struct actor *holder = join_holding(stage, ONE_SHOT), *queued = join_waiting(stage, ONE_SHOT);
    struct actor *assigned = join_waiting(stage, ONE_SHOT);
    mux_close(&queued->mux);
    send_rest(holder);
    CHECK(sched_run(&stage->host.sched));
    CHECK(assigned->mux.tasklet.queued);
    mux_close(&assigned->mux);
    struct actor *dead[2] = {queued, assigned};
    for (int at = 0; at < 2; at++) {
        struct mux *mux = &dead[at]->mux;
        uint8_t *area;
        CHECK_NUMBER(pool_request(&stage->host.pool, &mux->waits[NEED_RECEIVE], &area), POOL_REFUSED);
        CHECK_NUMBER(demuxbuf_actions_status_inline(demuxbuf_connection_buffer_denied(&mux->connection)),
                     DEMUXBUF_ERR_CLOSED);
        CHECK_NUMBER(demuxbuf_actions_status_inline(demuxbuf_connection_buffer_granted(&mux->connection, 1)),
                     DEMUXBUF_ERR_CLOSED);
        CHECK_NUMBER(mux_pending(mux), DEMUXBUF_FINISHED);
    }
    CHECK_NUMBER(host_settle(&stage->host), 0);
    CHECK_NUMBER(stage->host.pool.free, 1);
}

/* A waiter without a need any more: assigned and not picked up yet, and still queued. */
static void s08(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    struct actor *holder = join_holding(stage, ONE_SHOT), *broken = join_waiting(stage, ONE_SHOT);
    struct actor *paused = join_waiting(stage, ONE_SHOT), *next = join_waiting(stage, ONE_SHOT);
    demuxbuf_connection_pause_recv(&paused->mux.connection);
    CHECK(mux_pending(&paused->mux) & DEMUXBUF_CANCEL_REQUEST);
    mux_nudge(&paused->mux);
    host_settle(&stage->host);
    CHECK_NUMBER(wait_state(paused), WAITER_IDLE);
    send_rest(holder);
    CHECK(sched_run(&stage->host.sched));
    CHECK_NUMBER(wait_state(broken), WAITER_ASSIGNED);
    lower_break(&broken->mux.lower);
    CHECK(sched_run(&stage->host.sched));
    CHECK_NUMBER(broken->mux.ends, 1);
    CHECK_NUMBER(wait_state(next), WAITER_ASSIGNED);
    deliver(stage, next);
    CHECK_NUMBER(next->mux.frames, 1);
    demuxbuf_connection_resume_recv(&paused->mux.connection);
    mux_nudge(&paused->mux);
    deliver(stage, paused);
    CHECK_NUMBER(paused->mux.frames, 1);
}

/* A buffer comes back after the request was refused and before the refusal is reported to the machine. */
static void s09(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    struct actor *holder = join_holding(stage, ONE_SHOT), *late = join(stage, ONE_SHOT);
    send_rest(holder);
    lower_disarm(&late->mux.lower);
    CHECK(demuxbuf_connection_readable(&late->mux.connection) & DEMUXBUF_REQUEST_BUFFER);
    uint8_t *area;
    CHECK_NUMBER(pool_request(&stage->host.pool, &late->mux.waits[NEED_RECEIVE], &area), POOL_QUEUED);
    CHECK(sched_run(&stage->host.sched));
    CHECK_NUMBER(wait_state(late), WAITER_ASSIGNED);
    CHECK_NUMBER(demuxbuf_connection_buffer_denied(&late->mux.connection), 0);
    peer_block(&late->peer, 30, 1);
    deliver(stage, late);
    CHECK_NUMBER(late->mux.frames, 1);
}

static void s12(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    struct actor *holder = join_holding(stage, ONE_SHOT), *waiter = join_waiting(stage, ONE_SHOT);
    demuxbuf_connection before = waiter->mux.connection;
    uint8_t *area;
    CHECK_NUMBER(pool_request(&stage->host.pool, &waiter->mux.waits[NEED_RECEIVE], &area), POOL_REFUSED);
    CHECK_NUMBER(demuxbuf_actions_status_inline(demuxbuf_connection_buffer_denied(&waiter->mux.connection)),
                 DEMUXBUF_ERR_ALREADY_WAITING);
    CHECK_NUMBER(memcmp(&before, &waiter->mux.connection, sizeof before), 0);
    deliver(stage, holder);
    CHECK(is_holding(waiter));
    CHECK_NUMBER(stage->host.pool.handoffs, 1);
}

/* N buffers come back, many more requests wait: N are woken. */
static void s13(struct stage *stage) {
    enum { RELEASES = 3, WAITERS = 20 };
    stage_open(stage, RELEASES, BUFFER_BYTES);
    struct actor *holders[RELEASES], *waiters[WAITERS];
    for (int at = 0; at < RELEASES; at++) {
        holders[at] = join_holding(stage, ONE_SHOT);
    }
    uint32_t runs[WAITERS];
    for (int at = 0; at < WAITERS; at++) {
        waiters[at] = join_waiting(stage, at % 2 ? OPTIMISTIC : ONE_SHOT);
        runs[at] = waiters[at]->mux.runs;
    }
    for (int at = 0; at < RELEASES; at++) {
        send_rest(holders[at]);
    }
    host_settle(&stage->host);
    CHECK_NUMBER(stage->host.pool.handoffs, RELEASES);
    for (int at = 0; at < WAITERS; at++) {
        CHECK_NUMBER(is_holding(waiters[at]), at < RELEASES);
        CHECK_NUMBER(waiters[at]->mux.runs - runs[at], at < RELEASES ? 1 : 0);
    }
}

/* A waiter's own deadline passes: it goes without a buffer, once. */
static void s17(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    struct actor *holder = join_holding(stage, ONE_SHOT), *late = join_waiting(stage, OPTIMISTIC);
    uint32_t runs = late->mux.runs;
    mux_close(&late->mux);
    CHECK_NUMBER(wait_state(late), WAITER_RETIRED);
    CHECK_NUMBER(late->mux.finishes, 1);
    CHECK_NUMBER(demuxbuf_connection_close(&late->mux.connection), DEMUXBUF_FINISHED);
    CHECK_NUMBER(host_settle(&stage->host), 0);
    deliver(stage, holder);
    CHECK_NUMBER(late->mux.runs, runs);
    CHECK_NUMBER(stage->host.pool.handoffs, 0);
}

/* Woken again and again, a waiter keeps its place and asks no second time. */
static void s18(struct stage *stage) {
    stage_open(stage, 1, BUFFER_BYTES);
    struct actor *holder = join_holding(stage, ONE_SHOT), *first = join_waiting(stage, ONE_SHOT);
    struct actor *second = join_waiting(stage, ONE_SHOT);
    for (int turn = 0; turn < 5; turn++) {
        mux_nudge(&first->mux);
        sched_wake(&stage->host.sched, &first->mux.tasklet, WAKE_READABLE);
        host_settle(&stage->host);
        CHECK(stage->host.pool.first[NEED_RECEIVE] == &first->mux.waits[NEED_RECEIVE]);
    }
    deliver(stage, holder);
    CHECK(is_holding(first));
    deliver(stage, first);
    CHECK(is_holding(second));
}

/* After any traffic, an idle system holds no buffer, and the read interest of every receiver is armed. */
static void s20(struct stage *stage) {
    stage_open(stage, 4, BUFFER_BYTES);
    for (int at = 0; at < 10; at++) {
        struct actor *actor = join(stage, at % 2 ? OPTIMISTIC : ONE_SHOT);
        peer_block(&actor->peer, 30, 2);
        peer_ping(&actor->peer);
        peer_data(&actor->peer, 1, 50, 3);
        while (actor->peer.level > 0) {
            peer_send(&actor->peer, &actor->mux.lower, 13);
            host_settle(&stage->host);
            mux_read_stream(&actor->mux, 1, BUFFER_BYTES);
        }
        host_settle(&stage->host);
        mux_read_stream(&actor->mux, 1, BUFFER_BYTES);
        mux_drain_transmit(&actor->mux);
        CHECK_NUMBER(actor->mux.frames, 3);
        CHECK_NUMBER(actor->mux.delivered[1], 50);
    }
    CHECK_NUMBER(stage->host.pool.free, 4);
    for (uint32_t at = 0; at < stage->count; at++) {
        CHECK(stage->cast[at].mux.lower.armed);
    }
}

const struct scenario QUEUE_SCENARIOS[] = {
    {"s01", s01}, {"s02", s02}, {"s03", s03}, {"s04", s04}, {"s05", s05}, {"s06", s06}, {"s07", s07}, {"s08", s08},
    {"s09", s09}, {"s12", s12}, {"s13", s13}, {"s17", s17}, {"s18", s18}, {"s20", s20}, {NULL, NULL},
};
