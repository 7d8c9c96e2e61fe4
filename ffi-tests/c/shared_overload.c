/* A pool that threads share under overload: deadlines with parking and shedding, and the class of partial frames. */
#include "shard.h"

enum { SECOND = 1000000000 };

/* Four buffers of 1024 bytes; deadlines, slots of 256 bytes. */
static demuxbuf_pool_config usual_config(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 4, 8), DEMUXBUF_OK);
    config.buffer_bytes = 1024;
    config.park_ns = SECOND;
    config.lease_ns = (uint64_t)2 * SECOND;
    config.large_slots[0] = 8;
    config.reclaim_bytes = 256;
    return config;
}

static demuxbuf_pool_stats stats_of(const demuxbuf_pool *pool) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    return stats;
}

static uint64_t attach(demuxbuf_pool *pool, uint64_t token) {
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = token), &receiver, NULL, NULL), DEMUXBUF_OK);
    return receiver;
}

/* A receiver gets `bytes` bytes of a frame that needs `need_more` more. */
static demuxbuf_step receive(demuxbuf_pool *pool, uint64_t receiver, uint32_t bytes, uint32_t need_more) {
    demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK((step.actions & DEMUXBUF_RECV) != 0 && step.bytes >= bytes);
    memset(step.data, 'x', bytes);
    CHECK((demuxbuf_receiver_received(pool, receiver, bytes).actions & DEMUXBUF_DECODE) != 0);
    return demuxbuf_receiver_decoded(pool, receiver, 0, need_more);
}

/* Advances the clock by steps that count. */
static void advance(demuxbuf_pool *pool, uint64_t now, uint64_t until) {
    while (now < until) {
        now = until - now > SECOND / 4 ? now + SECOND / 4 : until;
        CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, now), DEMUXBUF_OK);
    }
}

/* A process that stands still for hours sheds no receiver, and the first advance is the origin of all leases. */
static void s53_s54_pause_and_time_before_start_do_not_count(void) {
    const uint64_t origin = (uint64_t)864000 * SECOND, pause = (uint64_t)28800 * SECOND, step = SECOND / 4;
    demuxbuf_pool_config config = usual_config();
    config.buffers = 1;
    const struct shard shard = new_shard(&config);
    demuxbuf_pool *pool = shard.pool;
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    const uint64_t holds = attach(pool, 1), waits = attach(pool, 2);
    receive(pool, holds, 300, 100);
    demuxbuf_receiver_readable(pool, waits);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, origin), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), origin + step);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, origin + pause), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), origin + pause + step);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, holds, &info), DEMUXBUF_OK);
    CHECK(info.held_ns == step && info.idle_ns == step);
    CHECK_NUMBER(stats_of(pool).clock_skipped_ns, pause - step);
    /* From here on time counts, and the lease expires as usual. */
    advance(pool, origin + pause, origin + pause + 2 * SECOND);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == holds && (notice.step.actions & DEMUXBUF_SHED) != 0);
    free_shard(shard);
}

/* A wait that was queued as one of new work becomes one of a partial frame. */
static void s57_wait_follows_the_frame_that_begins(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    uint64_t lease;
    demuxbuf_pool_config_init(&config, 2, 4);
    config.classes = 2;
    config.continuation_class = 0;
    config.reserves[1] = 1;
    const struct shard shard = new_shard(&config);
    demuxbuf_pool *pool = shard.pool;
    CHECK_NUMBER(demuxbuf_pool_request(pool, 1, 0, &lease), DEMUXBUF_OK);
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.class_index = 1, .token = 7), &receiver, NULL, NULL),
                 DEMUXBUF_OK);
    receive(pool, receiver, 64, 100);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == receiver && stats_of(pool).outstanding_by_class[0] == 1);
    free_shard(shard);
}

static void idle_holders_park_or_are_shed(void) {
    demuxbuf_pool_config config = usual_config();
    config.buffers = 2;
    const struct shard shard = new_shard(&config);
    demuxbuf_pool *pool = shard.pool;
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    const uint64_t parks = attach(pool, 1), stays = attach(pool, 2), waits = attach(pool, 3);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 5), DEMUXBUF_OK);
    receive(pool, parks, 200, 100);
    receive(pool, stays, 300, 100);
    advance(pool, 5, (uint64_t)10 * SECOND);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), UINT64_MAX);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, stays, &info), DEMUXBUF_OK);
    CHECK(info.held_ns == (uint64_t)10 * SECOND - 5 && info.idle_ns == info.held_ns && info.progress_bytes == 0);
    /* A request waits: the receiver with 200 bytes parks, and its buffer is passed on in the same call. */
    demuxbuf_receiver_readable(pool, waits);
    CHECK(demuxbuf_pool_poll_timeout(pool) <= (uint64_t)10 * SECOND);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == waits && (notice.step.actions & DEMUXBUF_RECV) != 0);
    demuxbuf_pool_stats stats = stats_of(pool);
    CHECK(stats.parked_on_demand == 1 && stats.slots_in_use_by_size[1] == 1 && stats.shed == 0);
    /* Another waits, and what is held now cannot be parked: the one that is idle is shed, once. */
    receive(pool, waits, 400, 100);
    demuxbuf_step step = demuxbuf_receiver_readable(pool, parks);
    CHECK((step.actions & DEMUXBUF_RECV) != 0 && step.bytes == 56);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == stays && (notice.step.actions & DEMUXBUF_SHED) != 0);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    CHECK((demuxbuf_receiver_close(pool, stays).actions & DEMUXBUF_FINISHED) != 0);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == parks && (notice.step.actions & DEMUXBUF_RECV) != 0);
    CHECK_NUMBER(notice.step.bytes, 1024 - 200);
    stats = stats_of(pool);
    CHECK(stats.shed == 1 && stats.sheds_asked == 1 && stats.dropped_bytes == 300);
    free_shard(shard);
}

int main(void) {
    s53_s54_pause_and_time_before_start_do_not_count();
    s57_wait_follows_the_frame_that_begins();
    idle_holders_park_or_are_shed();
    return check_end();
}
