#include "mux.h"

#include "support.h"

#include <string.h>

/* A run that goes on for longer than this never ends. */
enum { ACTIONS_PER_RUN_MAX = 1000, RUNS_PER_SETTLE_MAX = 100000 };

void host_open(struct host *host, uint32_t buffers, uint32_t buffer_bytes) {
    memset(host, 0, sizeof *host);
    pool_open(&host->pool, &host->sched, buffers, buffer_bytes);
}

void host_close(struct host *host) {
    CHECK(host->sched.first == NULL);
    pool_close(&host->pool);
}

uint32_t host_settle(struct host *host) {
    uint32_t runs = 0;
    while (sched_run(&host->sched)) {
        runs++;
        CHECK(runs < RUNS_PER_SETTLE_MAX);
    }
    return runs;
}

uint32_t mux_pending(const struct mux *mux) {
    return demuxbuf_connection_pending(&mux->connection);
}

demuxbuf_connection_info mux_info(const struct mux *mux) {
    demuxbuf_connection_info info = {.struct_size = sizeof info};
    CHECK_NUMBER(demuxbuf_connection_describe(&mux->connection, &info), DEMUXBUF_OK);
    return info;
}

/* Read interest is armed, or its report is pending: either will bring a wake-up. */
static bool is_armed(const struct mux *mux) {
    return mux->lower.armed || (mux->tasklet.reasons & WAKE_READABLE) != 0;
}

static bool is_waiting(const struct waiter *waiter) {
    return waiter->state == WAITER_QUEUED || waiter->state == WAITER_ASSIGNED;
}

void mux_check(const struct mux *mux) {
    demuxbuf_connection_info info = mux_info(mux);
    CHECK_NUMBER(info.buffered_bytes, mux->ring.data);
    CHECK_NUMBER(info.capacity, mux->ring.size);
    CHECK_NUMBER(info.hold, mux->ring.area == NULL ? 0 : mux->ring.owner == RING_OF_SLOT ? 1 : 2);
    CHECK_NUMBER(info.waiting, is_waiting(&mux->waits[NEED_RECEIVE]));
    CHECK_NUMBER(info.open, !mux->closed);
    CHECK(mux->ring.data <= mux->ring.size);
    if (!mux->closed) {
        CHECK_NUMBER(info.armed, is_armed(mux));
        CHECK_NUMBER(info.blocked, mux->blocked);
        CHECK_NUMBER(info.needed_bytes > 0, mux->lacks_data);
        CHECK_NUMBER(info.failed, mux->failed);
    }
}

static void note_actions(struct mux *mux, uint32_t actions) {
    CHECK_NUMBER(demuxbuf_actions_status_inline(actions), DEMUXBUF_OK);
    mux_check(mux);
}

/* The ring and the flags are the truth. */
static void sync(struct mux *mux) {
    note_actions(mux, demuxbuf_connection_sync(&mux->connection, mux->ring.data, mux->ring.size, mux->blocked,
                                               mux->lacks_data, is_armed(mux)));
}

static void report_done(struct mux *mux, uint32_t action) {
    note_actions(mux, demuxbuf_connection_done(&mux->connection, action));
}

bool mux_obtain(struct mux *mux, struct ring *ring, enum need need, uint32_t reason) {
    if (ring->area != NULL) {
        return true;
    }
    uint8_t *area;
    if (pool_request(&mux->host->pool, &mux->waits[need], &area) == POOL_GRANTED) {
        *ring = ring_over(area, mux->host->pool.buffer_bytes, RING_OF_POOL);
        return true;
    }
    mux->blocked |= reason;
    return false;
}

void mux_release(struct mux *mux, struct ring *ring) {
    if (ring->area == NULL) {
        return;
    }
    if (ring->owner == RING_OF_MALLOC) {
        free(ring->area);
    } else if (ring->owner == RING_OF_POOL) {
        CHECK(pool_release(&mux->host->pool, ring->area));
    }
    memset(ring, 0, sizeof *ring);
}

/* The content goes on in another ring. */
static void move_to(struct mux *mux, struct ring ring) {
    ring_move(&ring, &mux->ring, mux->ring.data);
    mux_release(mux, &mux->ring);
    mux->ring = ring;
}

static void accept_buffer(struct mux *mux, uint8_t *area) {
    move_to(mux, ring_over(area, mux->host->pool.buffer_bytes, RING_OF_POOL));
    note_actions(mux, demuxbuf_connection_buffer_granted(&mux->connection, mux->ring.size));
}

static void park(struct mux *mux) {
    move_to(mux, ring_over(mux->slot, SLOT_BYTES, RING_OF_SLOT));
    mux->parkings++;
    note_actions(mux, demuxbuf_connection_report(&mux->connection, DEMUXBUF_EVENT_BUFFER_PARKED, SLOT_BYTES));
}

static void request_buffer(struct mux *mux) {
    uint8_t *area;
    switch (pool_request(&mux->host->pool, &mux->waits[NEED_RECEIVE], &area)) {
    case POOL_GRANTED: accept_buffer(mux, area); break;
    case POOL_QUEUED: note_actions(mux, demuxbuf_connection_buffer_denied(&mux->connection)); break;
    case POOL_REFUSED: CHECK(!"asked for a buffer while waiting for one");
    }
}

static void release_buffer(struct mux *mux) {
    mux_release(mux, &mux->ring);
    note_actions(mux, demuxbuf_connection_buffer_released(&mux->connection));
}

/* The transport ran dry. A one-shot host arms read interest and reports that with the sync; the other is asked to. */
static void run_dry(struct mux *mux) {
    if (mux->is_optimistic) {
        note_actions(mux, demuxbuf_connection_would_block(&mux->connection));
    } else {
        lower_arm(&mux->lower);
        sync(mux);
    }
}

static void receive(struct mux *mux) {
    uint32_t contiguous;
    uint8_t *tail = ring_tail(&mux->ring, &contiguous);
    CHECK_NUMBER(demuxbuf_connection_recv_max(&mux->connection), ring_room(&mux->ring));
    CHECK(contiguous > 0);
    bool ended;
    int32_t received = lower_receive(&mux->lower, tail, contiguous, &ended);
    if (received > 0) {
        mux->ring.data += (uint32_t)received;
        mux->lacks_data = false;
        sync(mux);
        if (ended) {
            note_actions(mux, demuxbuf_connection_end_of_stream(&mux->connection));
        } else if ((uint32_t)received < contiguous) {
            run_dry(mux);
        }
    } else if (received == 0) {
        note_actions(mux, demuxbuf_connection_end_of_stream(&mux->connection));
    } else if (received == LOWER_AGAIN) {
        run_dry(mux);
    } else {
        note_actions(mux, demuxbuf_connection_transport_error(&mux->connection));
    }
}

/* After a fatal error nothing is decoded any more, and nothing is waited for but the receive buffer. */
static void fail(struct mux *mux) {
    mux->failed = true;
    mux->blocked = 0;
    mux->lacks_data = false;
    pool_cancel(&mux->host->pool, &mux->waits[NEED_STREAM]);
    note_actions(mux, demuxbuf_connection_fail(&mux->connection));
}

static void decode(struct mux *mux) {
    bool out_of_budget = mux_decode(mux);
    if (mux->failed) {
        mux->failed = false;
        sync(mux);
        fail(mux);
        return;
    }
    sync(mux);
    if (out_of_budget) {
        note_actions(mux, demuxbuf_connection_report(&mux->connection, DEMUXBUF_EVENT_YIELD, 0));
    }
}

static void discard(struct mux *mux) {
    mux->discarded += mux->ring.data;
    ring_cut(&mux->ring, mux->ring.data);
    sync(mux);
}

static void note_end(struct mux *mux) {
    demuxbuf_connection_info info = mux_info(mux);
    mux->ends++;
    mux->end_kind = info.end;
    mux->truncated_bytes = info.truncated_bytes;
    report_done(mux, DEMUXBUF_END);
}

/* A larger ring takes the content over, or the connection is given up. */
static void cope_with_misfit(struct mux *mux) {
    mux->misfits++;
    report_done(mux, DEMUXBUF_CANNOT_FIT);
    if (mux->misfit == MISFIT_FAIL) {
        fail(mux);
        return;
    }
    uint32_t size = 2 * mux->ring.size;
    move_to(mux, ring_over(must_have(malloc(size)), size, RING_OF_MALLOC));
    sync(mux);
}

static void arm_read_interest(struct mux *mux) {
    lower_arm(&mux->lower);
    report_done(mux, DEMUXBUF_WANT_RECV);
}

/* A pending report is taken back too: it comes again once read interest is armed. Its run finds nothing to do. */
static void disarm_read_interest(struct mux *mux) {
    lower_disarm(&mux->lower);
    if (mux->tasklet.reasons & WAKE_READABLE) {
        mux->tasklet.reasons &= ~(uint32_t)WAKE_READABLE;
        mux->useless_max++;
    }
    report_done(mux, DEMUXBUF_STOP_RECV);
}

static void schedule(struct mux *mux) {
    sched_wake(&mux->host->sched, &mux->tasklet, WAKE_RESUME);
    report_done(mux, DEMUXBUF_RESCHEDULE);
}

static void cancel_request(struct mux *mux) {
    pool_cancel(&mux->host->pool, &mux->waits[NEED_RECEIVE]);
    report_done(mux, DEMUXBUF_CANCEL_REQUEST);
}

static void shed(struct mux *mux) {
    mux->sheds = true;
    mux->sheds_seen++;
    report_done(mux, DEMUXBUF_SHED);
}

/* Each action, in the order in which a host wants them done: what frees or fills a buffer before what sleeps. */
static const struct {
    uint32_t action;
    void (*obey)(struct mux *mux);
} ORDERS[] = {
    {DEMUXBUF_SHED, shed},
    {DEMUXBUF_CANCEL_REQUEST, cancel_request},
    {DEMUXBUF_DECODE, decode},
    {DEMUXBUF_DISCARD, discard},
    {DEMUXBUF_CANNOT_FIT, cope_with_misfit},
    {DEMUXBUF_PARK, park},
    {DEMUXBUF_RECV, receive},
    {DEMUXBUF_RELEASE_BUFFER, release_buffer},
    {DEMUXBUF_REQUEST_BUFFER, request_buffer},
    {DEMUXBUF_END, note_end},
    {DEMUXBUF_RESCHEDULE, schedule},
    {DEMUXBUF_STOP_RECV, disarm_read_interest},
    {DEMUXBUF_WANT_RECV, arm_read_interest},
};

/* Does what is to be done until nothing is; true if there was anything but read interest to arm. */
static bool obey(struct mux *mux) {
    bool worked = false;
    for (uint32_t done = 0;; done++) {
        uint32_t pending = mux_pending(mux);
        CHECK_NUMBER(demuxbuf_actions_status_inline(pending), DEMUXBUF_OK);
        CHECK(done < ACTIONS_PER_RUN_MAX);
        if (pending == 0 || pending == DEMUXBUF_FINISHED) {
            return worked;
        }
        /* Whole frames are decoded before the end is reported. */
        CHECK(!(pending & DEMUXBUF_DECODE) || !(pending & (DEMUXBUF_END | DEMUXBUF_RECV)));
        size_t order = 0;
        while (!(pending & ORDERS[order].action)) {
            order++;
            CHECK(order < sizeof ORDERS / sizeof *ORDERS);
        }
        worked |= !(ORDERS[order].action & (DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV));
        ORDERS[order].obey(mux);
    }
}

static void write_responses(struct mux *mux) {
    const uint8_t response[ACK_BYTES] = "answer";
    uint8_t *area;
    if (mux->responses_owed > 0 && mux->transmit.area == NULL &&
        pool_request(&mux->host->pool, &mux->waits[NEED_TRANSMIT], &area) == POOL_GRANTED) {
        mux->transmit = ring_over(area, mux->host->pool.buffer_bytes, RING_OF_POOL);
    }
    for (; mux->responses_owed > 0 && ring_room(&mux->transmit) >= ACK_BYTES; mux->responses_owed--) {
        ring_put(&mux->transmit, response, ACK_BYTES);
    }
}

/* Picks up what the pool assigned, for each need of its own. */
static void take_grants(struct mux *mux) {
    struct pool *pool = &mux->host->pool;
    struct ring *rings[] = {&mux->transmit, &mux->streams[mux->stream]};
    const uint32_t reasons[] = {BLOCK_TRANSMIT_BUFFER, BLOCK_STREAM_BUFFER};
    for (int need = 0; need < NEEDS; need++) {
        if (mux->waits[need].state != WAITER_ASSIGNED) {
            continue;
        }
        uint8_t *area = pool_take(pool, &mux->waits[need]);
        if (need == NEED_RECEIVE) {
            accept_buffer(mux, area);
            continue;
        }
        CHECK(rings[need]->area == NULL);
        *rings[need] = ring_over(area, pool->buffer_bytes, RING_OF_POOL);
        mux->blocked &= ~reasons[need];
        sync(mux);
    }
    write_responses(mux);
}

static void report_hang_up(struct mux *mux) {
    if (mux->lower.end == LOWER_BROKEN) {
        note_actions(mux, demuxbuf_connection_transport_error(&mux->connection));
    } else if (mux->lower.end == LOWER_ENDED) {
        note_actions(mux, demuxbuf_connection_end_of_stream(&mux->connection));
    }
}

static void run(void *context, uint32_t reasons) {
    struct mux *mux = context;
    mux->runs++;
    uint32_t receives = mux->lower.receives;
    mux->run_frames = 0;
    if (reasons & WAKE_READABLE) {
        note_actions(mux, demuxbuf_connection_readable(&mux->connection));
    }
    if (reasons & WAKE_HANG_UP) {
        report_hang_up(mux);
    }
    if (reasons & WAKE_GRANTED) {
        take_grants(mux);
    }
    if (reasons & WAKE_RESUME) {
        note_actions(mux, demuxbuf_connection_wake(&mux->connection));
    }
    bool worked = obey(mux);
    mux->run_receives_max = most(mux->run_receives_max, mux->lower.receives - receives);
    mux->run_frames_max = most(mux->run_frames_max, mux->run_frames);
    mux->idle_runs += !worked && !(reasons & (WAKE_GRANTED | WAKE_HANG_UP));
    if (mux->sheds) {
        mux_close(mux);
    }
}

void mux_open(struct mux *mux, struct host *host, uint8_t mode, uint16_t park_bytes, int fd) {
    CHECK(park_bytes <= SLOT_BYTES);
    memset(mux, 0, sizeof *mux);
    mux->is_optimistic = mode == DEMUXBUF_MODE_OPTIMISTIC;
    mux->host = host;
    mux->tasklet = (struct tasklet){.run = run, .context = mux};
    for (int need = 0; need < NEEDS; need++) {
        mux->waits[need] = (struct waiter){.tasklet = &mux->tasklet, .need = (enum need)need};
    }
    lower_open(&mux->lower, &host->sched, &mux->tasklet, fd);
    const demuxbuf_policy policy = {.struct_size = sizeof policy, .park_bytes = park_bytes, .mode = mode};
    CHECK_NUMBER(demuxbuf_connection_init(&mux->connection, &policy, NULL, NULL), DEMUXBUF_OK);
}

void mux_attach(struct mux *mux, struct ring ring) {
    mux->ring = ring;
    note_actions(mux, demuxbuf_connection_attach(&mux->connection, ring.data, ring.size));
    obey(mux);
}

void mux_close(struct mux *mux) {
    mux->closed = true;
    note_actions(mux, demuxbuf_connection_close(&mux->connection));
    obey(mux);
    mux->finishes += mux_pending(mux) == DEMUXBUF_FINISHED;
    sched_remove(&mux->host->sched, &mux->tasklet);
    for (int need = 0; need < NEEDS; need++) {
        pool_retire(&mux->host->pool, &mux->waits[need]);
    }
    for (int stream = 0; stream < STREAMS; stream++) {
        mux_release(mux, &mux->streams[stream]);
    }
    mux_release(mux, &mux->transmit);
    lower_close(&mux->lower);
}

void mux_nudge(struct mux *mux) {
    mux->useless_max++;
    sched_wake(&mux->host->sched, &mux->tasklet, WAKE_NUDGE);
}

void mux_block(struct mux *mux, uint32_t reasons) {
    mux->blocked |= reasons;
    sync(mux);
    /* Bytes that are blocked in the slot receive nothing more, so what arrives must not wake the tasklet. */
    if (mux_pending(mux) & DEMUXBUF_STOP_RECV) {
        disarm_read_interest(mux);
    }
}

void mux_unblock(struct mux *mux, uint32_t reasons) {
    if (mux->blocked & reasons) {
        mux->blocked &= ~reasons;
        mux->useless_max++;
        sync(mux);
        sched_wake(&mux->host->sched, &mux->tasklet, WAKE_UNBLOCKED);
    }
}

uint32_t mux_read_stream(struct mux *mux, uint32_t stream, uint32_t bytes_max) {
    struct ring *ring = &mux->streams[stream];
    uint32_t bytes = least(bytes_max, ring->data);
    for (uint32_t at = 0; at < bytes; at++) {
        CHECK_NUMBER(ring_at(ring, at), pattern(stream + 1, mux->delivered[stream] + at));
    }
    mux->delivered[stream] += bytes;
    if (bytes > 0) {
        ring_cut(ring, bytes);
    }
    if (ring->data == 0) {
        mux_release(mux, ring);
    }
    if (bytes > 0 && stream == mux->stream) {
        mux_unblock(mux, BLOCK_STREAM_FULL);
    }
    return bytes;
}

uint32_t mux_drain_transmit(struct mux *mux) {
    uint32_t bytes = mux->transmit.data;
    mux_release(mux, &mux->transmit);
    mux_unblock(mux, BLOCK_TRANSMIT_FULL);
    write_responses(mux);
    return bytes;
}

void mux_respond(struct mux *mux) {
    mux->responses_owed++;
    write_responses(mux);
}

void mux_expire(struct mux *mux) {
    note_actions(mux, demuxbuf_connection_report(&mux->connection, DEMUXBUF_EVENT_LEASE_EXPIRED, 0));
    mux_nudge(mux);
}
