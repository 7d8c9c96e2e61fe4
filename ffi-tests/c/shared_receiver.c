/* Receivers of a pool that threads share: what they park, the slots that are lent to them, and receives in flight. */
#include "shard.h"

static struct shard new_pool(uint32_t buffers, uint32_t receivers, uint32_t buffer_bytes, uint16_t park_bytes) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, buffers, receivers), DEMUXBUF_OK);
    config.buffer_bytes = buffer_bytes;
    config.park_bytes = park_bytes;
    config.lifeline = park_bytes != 0;
    return new_shard(&config);
}

static uint64_t attach(demuxbuf_pool *pool, uint64_t token) {
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = token), &receiver, NULL, NULL), DEMUXBUF_OK);
    return receiver;
}

static demuxbuf_pool_stats stats_of(const demuxbuf_pool *pool) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    return stats;
}

static demuxbuf_receiver_info describe(const demuxbuf_pool *pool, uint64_t receiver) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, receiver, &info), DEMUXBUF_OK);
    return info;
}

/* A step with exactly these actions and this many bytes behind its pointer. */
static uint8_t *check_step(demuxbuf_step step, uint32_t actions, uint32_t bytes) {
    CHECK_NUMBER(step.actions, actions);
    CHECK_NUMBER(step.bytes, bytes);
    CHECK((step.data == NULL) == (bytes == 0));
    return step.data;
}

static void small_partial_frame_is_parked_and_unparked(void) {
    const struct shard shard = new_pool(1, 2, 128, 64);
    demuxbuf_pool *pool = shard.pool;
    uint64_t first = attach(pool, 1), second = attach(pool, 2);
    memcpy(demuxbuf_receiver_readable(pool, first).data, "part a frame", 12);
    demuxbuf_receiver_received(pool, first, 12);
    uint8_t *content = check_step(demuxbuf_receiver_decoded(pool, first, 5, 3), DEMUXBUF_WANT_RECV, 7);
    CHECK_SAME(content, "a frame", 7);
    demuxbuf_pool_stats stats = stats_of(pool);
    CHECK(stats.leased == 0 && stats.parked == 1 && stats.slots_in_use == 1);
    CHECK_NUMBER(describe(pool, first).hold, 1);
    demuxbuf_leased_content taken;
    FILL(taken);
    CHECK_NUMBER(demuxbuf_receiver_take(pool, first, &taken), DEMUXBUF_ERR_NO_BUFFER);
    CHECK_UNTOUCHED(taken);

    uint8_t *room = check_step(demuxbuf_receiver_readable(pool, first), DEMUXBUF_WANT_RECV | DEMUXBUF_RECV, 121);
    *room = 's';
    stats = stats_of(pool);
    CHECK(stats.leased == 1 && stats.unparked == 1 && stats.slots_in_use == 0);
    check_step(demuxbuf_receiver_report(pool, first, DEMUXBUF_EVENT_RECLAIM_REQUESTED, 0),
               DEMUXBUF_WANT_RECV | DEMUXBUF_RECV, 121);

    /* With none free, the second receives into a slot; then it is handed the buffer, with what came meanwhile. */
    room = check_step(demuxbuf_receiver_readable(pool, second), DEMUXBUF_WANT_RECV | DEMUXBUF_RECV, 64);
    memcpy(room, "ping", 4);
    content = check_step(demuxbuf_receiver_received(pool, second, 4), DEMUXBUF_WANT_RECV | DEMUXBUF_DECODE, 4);
    CHECK_SAME(content, "ping", 4);
    CHECK_NUMBER(stats_of(pool).lifelines, 1);
    /* What came out of the slot is in front of what came since. */
    demuxbuf_step step = demuxbuf_receiver_received(pool, first, 1);
    CHECK_NUMBER(step.bytes, 8);
    CHECK_SAME(step.data, "a frames", 8);
    free_shard(shard);
}

static void release_grants_the_waiter(void) {
    const struct shard shard = new_pool(1, 3, 64, 0);
    demuxbuf_pool *pool = shard.pool;
    uint64_t holder = attach(pool, 1), waiter = attach(pool, 22), dying = attach(pool, 3);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    demuxbuf_receiver_readable(pool, holder);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 1000), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_readable(pool, dying).actions & DEMUXBUF_RECV, 0);
    CHECK_NUMBER(demuxbuf_receiver_readable(pool, waiter).actions & DEMUXBUF_RECV, 0);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 1500), DEMUXBUF_OK);
    CHECK_NUMBER(describe(pool, waiter).wait_age_ns, 500);
    CHECK_NUMBER(describe(pool, waiter).waiting, 1);
    CHECK_NUMBER(describe(pool, holder).wait_age_ns, 0);
    check_step(demuxbuf_receiver_close(pool, holder), DEMUXBUF_FINISHED, 0);
    /* Assigned to one that dies before it has picked it up: it goes on in that step. */
    CHECK_NUMBER(stats_of(pool).assigned, 1);
    check_step(demuxbuf_receiver_close(pool, dying), DEMUXBUF_FINISHED, 0);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.token == 22 && notice.receiver == waiter && notice.lease == 0 && notice.wait == 0);
    CHECK_NUMBER(notice.step.actions & DEMUXBUF_RECV, DEMUXBUF_RECV);
    CHECK(notice.step.bytes == 64 && notice.step.data != NULL);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    free_shard(shard);
}

static void in_flight_receive_offers_no_memory_again(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 1, 1), DEMUXBUF_OK);
    config.mode = DEMUXBUF_MODE_COMPLETION;
    const struct shard shard = new_shard(&config);
    demuxbuf_pool *pool = shard.pool;
    const uint64_t receiver = attach(pool, 1);
    check_step(demuxbuf_receiver_pending(pool, receiver), DEMUXBUF_RECV, 16448);
    check_step(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_RECV), 0, 0);
    check_step(demuxbuf_receiver_received(pool, receiver, 5), DEMUXBUF_DECODE, 5);
    free_shard(shard);
}

/* A receive that was cancelled as asked brought nothing: the host is asked to submit a poll, which holds no buffer. */
static void s68_cancelled_receive_leaves_a_poll_pending(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 1, 2), DEMUXBUF_OK);
    config.mode = DEMUXBUF_MODE_COMPLETION;
    config.lifeline = 0;
    config.lease_ns = 10;
    const struct shard shard = new_shard(&config);
    demuxbuf_pool *pool = shard.pool;
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 1), DEMUXBUF_OK);
    const uint64_t holder = attach(pool, 1);
    check_step(demuxbuf_receiver_pending(pool, holder), DEMUXBUF_RECV, 16448);
    check_step(demuxbuf_receiver_done(pool, holder, DEMUXBUF_RECV), 0, 0);
    const uint64_t waiter = attach(pool, 2);
    check_step(demuxbuf_receiver_pending(pool, waiter), 0, 0);
    /* Each advance of the clock counts for at most an eighth of the lease. */
    for (uint64_t now_ns = 2; now_ns <= 11; now_ns++) {
        CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, now_ns), DEMUXBUF_OK);
    }
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.token == 1 && notice.step.actions == DEMUXBUF_STOP_RECV);
    check_step(demuxbuf_receiver_done(pool, holder, DEMUXBUF_STOP_RECV), 0, 0);
    check_step(demuxbuf_receiver_would_block(pool, holder), DEMUXBUF_WANT_RECV, 0);
    check_step(demuxbuf_receiver_pending(pool, holder), DEMUXBUF_WANT_RECV, 0);
    check_step(demuxbuf_receiver_done(pool, holder, DEMUXBUF_WANT_RECV), 0, 0);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.token == 2 && notice.step.actions == DEMUXBUF_RECV);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    check_step(demuxbuf_receiver_would_block(pool, waiter), DEMUXBUF_WANT_RECV, 0);
    /* The poll completes. */
    check_step(demuxbuf_receiver_readable(pool, holder), DEMUXBUF_RECV, 16448);
    free_shard(shard);
}

/* What a policy has about parking is checked, and changes nothing if it is wrong. */
static void wrong_policies_are_refused(void) {
    const struct shard shard = new_pool(1, 2, 128, 64);
    demuxbuf_pool *pool = shard.pool;
    demuxbuf_policy policy = {.struct_size = sizeof policy, .park_bytes = 65};
    const uint64_t receiver = attach(pool, 1);
    uint64_t made;
    char message[120];
    size_t room = sizeof message;
    FILL(made);
    CHECK_REFUSED(demuxbuf_receiver_set_policy(pool, receiver, &policy, message, &room).actions, DEMUXBUF_ERR_RANGE);
    CHECK(strcmp(message, "policy.park_bytes is 65; allowed is 0 to 64") == 0);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.policy = &policy), &made, NULL, NULL), DEMUXBUF_ERR_RANGE);
    policy.park_bytes = 64, policy.reclaim_bytes = 4097;
    CHECK_REFUSED(demuxbuf_receiver_set_policy(pool, receiver, &policy, NULL, NULL).actions, DEMUXBUF_ERR_RANGE);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.policy = &policy), &made, NULL, NULL), DEMUXBUF_ERR_RANGE);
    CHECK_UNTOUCHED(made);
    CHECK_NUMBER(stats_of(pool).receivers, 1);
    policy.reclaim_bytes = 4096;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.policy = &policy), &made, NULL, NULL), DEMUXBUF_OK);
    free_shard(shard);
}

/* A request that waits goes to the end of the receiver's new class. */
static void class_is_of_each_receiver(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 1, 3), DEMUXBUF_OK);
    config.classes = 2, config.lifeline = 0;
    const struct shard shard = new_shard(&config);
    demuxbuf_pool *pool = shard.pool;
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    uint64_t receivers[2], lease;
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
    for (uint64_t at = 0; at < 2; at++) {
        CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.class_index = 1, .token = at), &receivers[at], NULL, NULL),
                     DEMUXBUF_OK);
        demuxbuf_receiver_readable(pool, receivers[at]);
    }
    CHECK_NUMBER(demuxbuf_receiver_set_class(pool, receivers[1], 2), DEMUXBUF_ERR_CLASS);
    CHECK_NUMBER(demuxbuf_receiver_set_class(pool, receivers[1], 0), DEMUXBUF_OK);
    CHECK_NUMBER(describe(pool, receivers[1]).class_index, 0);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.kind == DEMUXBUF_NOTICE_RECEIVER && notice.token == 1 && notice.receiver == receivers[1]);
    free_shard(shard);
}

int main(void) {
    wrong_policies_are_refused();
    class_is_of_each_receiver();
    small_partial_frame_is_parked_and_unparked();
    release_grants_the_waiter();
    in_flight_receive_offers_no_memory_again();
    s68_cancelled_receive_leaves_a_poll_pending();
    return check_end();
}
