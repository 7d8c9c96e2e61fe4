/* Receivers: every function, right and wrong. Each refusal leaves the receiver and the pool's counts as they were. */
#include "pools.h"

typedef demuxbuf_step plain_event(demuxbuf_pool *, uint64_t);
typedef demuxbuf_step number_event(demuxbuf_pool *, uint64_t, uint32_t);

static plain_event *const plain_events[] = {
    demuxbuf_receiver_readable,
    demuxbuf_receiver_would_block,
    demuxbuf_receiver_end_of_stream,
    demuxbuf_receiver_transport_error,
    demuxbuf_receiver_wake,
    demuxbuf_receiver_pause_recv,
    demuxbuf_receiver_resume_recv,
    demuxbuf_receiver_fail,
    demuxbuf_receiver_close,
    demuxbuf_receiver_pending,
    demuxbuf_receiver_would_block_armed,
};
static number_event *const number_events[] = {
    demuxbuf_receiver_received,    demuxbuf_receiver_block, demuxbuf_receiver_unblock,
    demuxbuf_receiver_set_blocked, demuxbuf_receiver_done,  demuxbuf_receiver_received_and_decoded,
};
enum {
    PLAIN = sizeof plain_events / sizeof plain_events[0],
    NUMBER = sizeof number_events / sizeof number_events[0],
};

enum { BUFFER_BYTES = 128, LEASES = 6 };

static demuxbuf_pool *new_pool(uint32_t receivers) {
    const demuxbuf_pool_config config = config_of(LEASES, receivers, BUFFER_BYTES);
    return pool_of(&config);
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

static void check_error(demuxbuf_step step, int32_t status) {
    CHECK_REFUSED(step.actions, status);
    CHECK(step.data == NULL && step.bytes == 0);
}

/* A step with exactly these actions and this many bytes behind its pointer. */
static uint8_t *check_step(demuxbuf_step step, uint32_t actions, uint32_t bytes) {
    CHECK_NUMBER(step.actions, actions);
    CHECK_NUMBER(step.bytes, bytes);
    CHECK((step.data == NULL) == (bytes == 0));
    return step.data;
}

/* The call is refused with this status; neither the receiver nor any count of the pool has changed. */
#define REFUSED(call, pool, receiver, status)                                                                          \
    do {                                                                                                               \
        const demuxbuf_pool_stats before_ = stats_of(pool);                                                            \
        const demuxbuf_receiver_info info_ = describe(pool, receiver);                                                 \
        check_error(call, status);                                                                                     \
        const demuxbuf_pool_stats after_ = stats_of(pool);                                                             \
        const demuxbuf_receiver_info now_ = describe(pool, receiver);                                                  \
        CHECK_SAME(&after_, &before_, sizeof before_);                                                                 \
        CHECK_SAME(&now_.buffered_bytes, &info_.buffered_bytes,                                                        \
                   sizeof info_ - offsetof(demuxbuf_receiver_info, buffered_bytes));                                   \
        CHECK(now_.token == info_.token && now_.class_index == info_.class_index);                                     \
    } while (0)

static void every_call_refuses(demuxbuf_pool *pool, uint64_t receiver, int32_t status) {
    for (int at = 0; at < PLAIN; at++) {
        check_error(plain_events[at](pool, receiver), status);
    }
    for (int at = 0; at < NUMBER; at++) {
        check_error(number_events[at](pool, receiver, 1), status);
    }
    check_error(demuxbuf_receiver_decoded(pool, receiver, 0, 0), status);
    check_error(demuxbuf_receiver_decoded(pool, receiver, UINT32_MAX, UINT32_MAX), status);
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    demuxbuf_leased_content content;
    FILL_SIZED(info), FILL(content);
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, receiver, &info), status);
    CHECK_NUMBER(demuxbuf_receiver_take(pool, receiver, &content), status);
    CHECK_UNTOUCHED_SIZED(info);
    CHECK_UNTOUCHED(content);
}

static void null_is_refused_everywhere(void) {
    demuxbuf_pool *pool = new_pool(1);
    uint64_t receiver = attach(pool, 0), made;
    FILL(made);
    every_call_refuses(NULL, receiver, DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_attach(NULL, NULL, &made, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, NULL, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.length = 1), &made, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, receiver, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_take(pool, receiver, NULL), DEMUXBUF_ERR_NULL);
    CHECK_UNTOUCHED(made);
    CHECK_NUMBER(stats_of(pool).receivers, 1);
    demuxbuf_pool_free(pool);
}

/* A hint: harmless for whatever it is given, and nothing is changed by it. */
static void prefetch_changes_nothing(void) {
    demuxbuf_pool *pool = new_pool(2);
    const uint64_t closed = attach(pool, 0), receiver = attach(pool, 1);
    demuxbuf_receiver_close(pool, closed);
    const demuxbuf_pool_stats before = stats_of(pool);
    const demuxbuf_receiver_info info = describe(pool, receiver);
    const uint64_t any[] = {receiver, closed, 0, 1, UINT32_MAX, UINT64_MAX};
    for (size_t at = 0; at < sizeof any / sizeof any[0]; at++) {
        demuxbuf_receiver_prefetch(pool, any[at]);
        demuxbuf_receiver_prefetch(NULL, any[at]);
    }
    const demuxbuf_pool_stats after = stats_of(pool);
    const demuxbuf_receiver_info now = describe(pool, receiver);
    CHECK_SAME(&after, &before, sizeof before);
    CHECK_SAME(&now, &info, sizeof info);
    demuxbuf_pool_free(pool);
}

static void unknown_handles_are_refused(void) {
    demuxbuf_pool *pool = new_pool(3), *other = new_pool(3);
    uint64_t closed = attach(pool, 1), kept = attach(pool, 2), foreign = attach(other, 3);
    uint64_t lease;
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
    check_step(demuxbuf_receiver_close(pool, closed), DEMUXBUF_FINISHED, 0);
    const demuxbuf_pool_stats before = stats_of(pool);
    const uint64_t nobodys[] = {0, 1, UINT32_MAX, UINT64_MAX, closed, foreign, lease, kept ^ (UINT64_C(1) << 31)};
    for (size_t at = 0; at < sizeof nobodys / sizeof nobodys[0]; at++) {
        every_call_refuses(pool, nobodys[at], DEMUXBUF_ERR_STALE);
    }
    /* The row is used again; the old handle is still stale. */
    uint64_t again = attach(pool, 4);
    CHECK(again != closed);
    every_call_refuses(pool, closed, DEMUXBUF_ERR_STALE);
    check_step(demuxbuf_receiver_close(pool, again), DEMUXBUF_FINISHED, 0);
    const demuxbuf_pool_stats after = stats_of(pool);
    CHECK_SAME(&after, &before, sizeof before);
    CHECK_NUMBER(describe(pool, kept).token, 2);
    demuxbuf_pool_free(pool);
    demuxbuf_pool_free(other);
}

static void attach_is_checked(void) {
    demuxbuf_pool *pool = new_pool(2);
    const uint8_t bytes[BUFFER_BYTES + 1] = {1, 2, 3};
    uint64_t receiver;
    FILL(receiver);
    const uint32_t wrong_classes[] = {1, 8, 255, 256, UINT32_MAX};
    for (size_t at = 0; at < sizeof wrong_classes / sizeof wrong_classes[0]; at++) {
        CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.class_index = wrong_classes[at]), &receiver, NULL, NULL),
                     DEMUXBUF_ERR_CLASS);
        CHECK_NUMBER(demuxbuf_receiver_attach(pool,
                                              OPTIONS(.class_index = wrong_classes[at], .bytes = bytes, .length = 3),
                                              &receiver, NULL, NULL),
                     DEMUXBUF_ERR_CLASS);
    }
    const size_t too_many[] = {sizeof bytes, UINT32_MAX, (size_t)UINT32_MAX + 1, (size_t)PTRDIFF_MAX + 1, SIZE_MAX};
    for (size_t at = 0; at < sizeof too_many / sizeof too_many[0]; at++) {
        int32_t status =
            demuxbuf_receiver_attach(pool, OPTIONS(.bytes = bytes, .length = too_many[at]), &receiver, NULL, NULL);
        CHECK_NUMBER(status, DEMUXBUF_ERR_TOO_MANY_BYTES);
    }
    CHECK_UNTOUCHED(receiver);
    CHECK_NUMBER(stats_of(pool).receivers, 0);
    /* An address is not looked at if there are no bytes. */
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.bytes = bytes + sizeof bytes), &receiver, NULL, NULL),
                 DEMUXBUF_OK);
    uint64_t second = attach(pool, 0);
    uint64_t third;
    FILL(third);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &third, NULL, NULL), DEMUXBUF_ERR_TABLE_FULL);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.bytes = bytes, .length = 3), &third, NULL, NULL),
                 DEMUXBUF_ERR_TABLE_FULL);
    check_step(demuxbuf_receiver_close(pool, second), DEMUXBUF_FINISHED, 0);
    uint64_t lease;
    leave_free(pool, 1);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
    const demuxbuf_pool_stats before = stats_of(pool);
    for (uint32_t length = 65; length <= BUFFER_BYTES; length++) {
        CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.bytes = bytes, .length = length), &third, NULL, NULL),
                     DEMUXBUF_ERR_NO_BUFFER_FREE);
    }
    CHECK_UNTOUCHED(third);
    const demuxbuf_pool_stats after = stats_of(pool);
    CHECK_SAME(&after, &before, sizeof before);
    /* What fits the smallest cells needs no free buffer. */
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.bytes = bytes, .length = 64), &third, NULL, NULL),
                 DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_pending(pool, third).bytes, 64);
    check_step(demuxbuf_receiver_close(pool, third), DEMUXBUF_FINISHED, 0);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.bytes = bytes, .length = 65), &third, NULL, NULL),
                 DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_pending(pool, third).bytes, 65);
    demuxbuf_pool_free(pool);
}

static void receive_cycle_is_three_calls(void) {
    demuxbuf_pool *pool = new_pool(1);
    uint64_t receiver = attach(pool, 11);
    check_step(demuxbuf_receiver_pending(pool, receiver), DEMUXBUF_WANT_RECV, 0);
    check_step(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV), 0, 0);
    uint8_t *room = check_step(demuxbuf_receiver_readable(pool, receiver), DEMUXBUF_RECV, 128);
    memcpy(room, "hello", 5);
    uint8_t *content = check_step(demuxbuf_receiver_received(pool, receiver, 5), DEMUXBUF_DECODE, 5);
    CHECK_SAME(content, "hello", 5);
    check_step(demuxbuf_receiver_decoded(pool, receiver, 5, 0), 0, 0);
    const demuxbuf_pool_stats stats = stats_of(pool);
    CHECK(stats.free == LEASES && stats.received_bytes == 5 && stats.consumed_bytes == 5 && stats.copied_bytes == 0);
    demuxbuf_pool_free(pool);
}

/* In both calls of a cycle, and behind a part that was kept. */
static void receive_and_its_decoding_are_one_call(void) {
    demuxbuf_pool *pool = new_pool(1);
    const uint64_t receiver = attach(pool, 1);
    REFUSED(demuxbuf_receiver_received_and_decoded(pool, receiver, 1), pool, receiver, DEMUXBUF_ERR_NO_BUFFER);
    for (uint32_t bytes = 1; bytes <= BUFFER_BYTES; bytes += BUFFER_BYTES - 1) {
        check_step(demuxbuf_receiver_readable(pool, receiver), DEMUXBUF_WANT_RECV | DEMUXBUF_RECV, BUFFER_BYTES);
        REFUSED(demuxbuf_receiver_received_and_decoded(pool, receiver, 0), pool, receiver, DEMUXBUF_ERR_ZERO_BYTES);
        REFUSED(demuxbuf_receiver_received_and_decoded(pool, receiver, BUFFER_BYTES + 1), pool, receiver,
                DEMUXBUF_ERR_TOO_MANY_BYTES);
        const demuxbuf_step step = demuxbuf_receiver_received_and_decoded(pool, receiver, bytes);
        CHECK_NUMBER(step.actions & DEMUXBUF_DECODE, 0);
        demuxbuf_receiver_would_block(pool, receiver);
    }
    check_step(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV), 0, 0);
    for (int cycle = 0; cycle < 2; cycle++) {
        check_step(demuxbuf_receiver_readable(pool, receiver), DEMUXBUF_RECV, BUFFER_BYTES);
        REFUSED(demuxbuf_receiver_received_and_decoded(pool, receiver, 0), pool, receiver, DEMUXBUF_ERR_ZERO_BYTES);
        check_step(demuxbuf_receiver_received_and_decoded(pool, receiver, 7), 0, 0);
    }
    check_step(demuxbuf_receiver_readable(pool, receiver), DEMUXBUF_RECV, BUFFER_BYTES);
    check_step(demuxbuf_receiver_received(pool, receiver, 4), DEMUXBUF_DECODE, 4);
    check_step(demuxbuf_receiver_decoded(pool, receiver, 0, 20), 0, 4);
    check_step(demuxbuf_receiver_readable(pool, receiver), DEMUXBUF_RECV, BUFFER_BYTES - 4);
    check_step(demuxbuf_receiver_received_and_decoded(pool, receiver, 20), 0, 0);
    const demuxbuf_pool_stats stats = stats_of(pool);
    CHECK(stats.received_bytes == 129 + 14 + 24 && stats.consumed_bytes == stats.received_bytes);
    demuxbuf_pool_free(pool);
}

static void content_moves_to_the_front_only_to_make_room(void) {
    demuxbuf_pool *pool = new_pool(1);
    uint64_t receiver = attach(pool, 0);
    uint8_t *room = check_step(demuxbuf_receiver_readable(pool, receiver), DEMUXBUF_WANT_RECV | DEMUXBUF_RECV, 128);
    for (int at = 0; at < 128; at++) {
        room[at] = (uint8_t)at;
    }
    check_step(demuxbuf_receiver_received(pool, receiver, 128), DEMUXBUF_DECODE, 128);
    uint8_t *content =
        check_step(demuxbuf_receiver_decoded(pool, receiver, 124, 0), DEMUXBUF_WANT_RECV | DEMUXBUF_DECODE, 4);
    CHECK(content == room + 124 && content[0] == 124);
    CHECK_NUMBER(stats_of(pool).copied_bytes, 0);
    /* Nothing was offered to receive into, so nothing can have been received there. */
    REFUSED(demuxbuf_receiver_received(pool, receiver, 1), pool, receiver, DEMUXBUF_ERR_TOO_MANY_BYTES);
    REFUSED(demuxbuf_receiver_received(pool, receiver, 40), pool, receiver, DEMUXBUF_ERR_TOO_MANY_BYTES);
    room = check_step(demuxbuf_receiver_decoded(pool, receiver, 0, 1), DEMUXBUF_WANT_RECV | DEMUXBUF_RECV, 124);
    room[0] = 128;
    content = check_step(demuxbuf_receiver_received(pool, receiver, 1), DEMUXBUF_WANT_RECV | DEMUXBUF_DECODE, 5);
    CHECK(content[0] == 124 && content[3] == 127 && content[4] == 128);
    demuxbuf_pool_free(pool);
}

/* One call instead of two for a host that arms read interest as soon as it finds nothing. */
static void would_block_and_armed_in_one_call(void) {
    demuxbuf_pool_config config = config_of(LEASES, 1, BUFFER_BYTES);
    config.mode = DEMUXBUF_MODE_OPTIMISTIC;
    demuxbuf_pool *pool = pool_of(&config);
    uint64_t receiver = attach(pool, 0);
    CHECK((demuxbuf_receiver_pending(pool, receiver).actions & DEMUXBUF_RECV) != 0);
    check_step(demuxbuf_receiver_would_block(pool, receiver), DEMUXBUF_WANT_RECV, 0);
    check_step(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV), 0, 0);
    CHECK((demuxbuf_receiver_readable(pool, receiver).actions & DEMUXBUF_RECV) != 0);
    check_step(demuxbuf_receiver_would_block_armed(pool, receiver), 0, 0);
    check_step(demuxbuf_receiver_pause_recv(pool, receiver), DEMUXBUF_STOP_RECV, 0);
    demuxbuf_pool_free(pool);
}

/* A step that is an error asks for nothing, whatever bits it has. */
static void step_helpers_and_their_twins_agree(void) {
    for (uint64_t sample = 0; sample <= UINT32_MAX; sample += 65521) {
        const demuxbuf_step step = {NULL, 0, (uint32_t)sample};
        const uint32_t asked = (uint32_t)(sample * 2654435761u);
        CHECK_NUMBER(demuxbuf_step_status_inline(step), demuxbuf_step_status(step));
        CHECK_NUMBER(demuxbuf_step_status(step), demuxbuf_actions_status(step.actions));
        CHECK_NUMBER(demuxbuf_step_has_inline(step, asked), demuxbuf_step_has(step, asked));
        const int is_error = (step.actions & DEMUXBUF_ERROR) != 0;
        CHECK_NUMBER(demuxbuf_step_has(step, asked), !is_error && (step.actions & asked) != 0);
    }
    const demuxbuf_step error = {NULL, 0, UINT32_MAX};
    CHECK(demuxbuf_step_has_inline(error, UINT32_MAX) == 0 && demuxbuf_step_status_inline(error) == -1);
}

static void invalid_events_are_refused(void) {
    demuxbuf_pool *pool = new_pool(1);
    uint64_t receiver = attach(pool, 0);
    REFUSED(demuxbuf_receiver_received(pool, receiver, 1), pool, receiver, DEMUXBUF_ERR_NO_BUFFER);
    REFUSED(demuxbuf_receiver_received(pool, receiver, 0), pool, receiver, DEMUXBUF_ERR_ZERO_BYTES);
    REFUSED(demuxbuf_receiver_decoded(pool, receiver, 1, 0), pool, receiver, DEMUXBUF_ERR_TOO_MANY_BYTES);
    REFUSED(demuxbuf_receiver_decoded(pool, receiver, UINT32_MAX, 1), pool, receiver, DEMUXBUF_ERR_TOO_MANY_BYTES);
    REFUSED(demuxbuf_receiver_block(pool, receiver, 0), pool, receiver, DEMUXBUF_ERR_NO_REASONS);
    REFUSED(demuxbuf_receiver_unblock(pool, receiver, 0), pool, receiver, DEMUXBUF_ERR_NO_REASONS);
    REFUSED(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_END), pool, receiver, DEMUXBUF_ERR_NOT_PENDING);
    REFUSED(demuxbuf_receiver_done(pool, receiver, UINT32_MAX), pool, receiver, DEMUXBUF_ERR_NOT_PENDING);
    demuxbuf_leased_content content;
    FILL(content);
    CHECK_NUMBER(demuxbuf_receiver_take(pool, receiver, &content), DEMUXBUF_ERR_NO_BUFFER);
    CHECK_UNTOUCHED(content);
    check_step(demuxbuf_receiver_readable(pool, receiver), DEMUXBUF_WANT_RECV | DEMUXBUF_RECV, 128);
    REFUSED(demuxbuf_receiver_received(pool, receiver, 129), pool, receiver, DEMUXBUF_ERR_TOO_MANY_BYTES);
    REFUSED(demuxbuf_receiver_received(pool, receiver, UINT32_MAX), pool, receiver, DEMUXBUF_ERR_TOO_MANY_BYTES);
    REFUSED(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_RECV), pool, receiver, DEMUXBUF_ERR_NOT_PENDING);
    demuxbuf_step step = demuxbuf_receiver_received(pool, receiver, 10);
    CHECK_NUMBER(step.actions & DEMUXBUF_DECODE, DEMUXBUF_DECODE);
    /* Both halves or none: the 10 are there, but the second number cannot be counted. */
    REFUSED(demuxbuf_receiver_decoded(pool, receiver, 5, UINT32_MAX), pool, receiver, DEMUXBUF_ERR_TOO_MANY_BYTES);
    REFUSED(demuxbuf_receiver_decoded(pool, receiver, 11, 0), pool, receiver, DEMUXBUF_ERR_TOO_MANY_BYTES);
    step = demuxbuf_receiver_end_of_stream(pool, receiver);
    CHECK_NUMBER(step.actions & DEMUXBUF_DECODE, DEMUXBUF_DECODE);
    REFUSED(demuxbuf_receiver_received(pool, receiver, 1), pool, receiver, DEMUXBUF_ERR_AFTER_END);
    demuxbuf_pool_free(pool);
}

static void short_blocked_full_and_ended(void) {
    demuxbuf_pool *pool = new_pool(1);
    uint64_t receiver = attach(pool, 0);
    check_step(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV), 0, 0);
    check_step(demuxbuf_receiver_readable(pool, receiver), DEMUXBUF_RECV, 128);
    memset(demuxbuf_receiver_pending(pool, receiver).data, 7, 128);
    check_step(demuxbuf_receiver_received(pool, receiver, 128), DEMUXBUF_STOP_RECV | DEMUXBUF_DECODE, 128);
    check_step(demuxbuf_receiver_block(pool, receiver, 1), DEMUXBUF_STOP_RECV, 128);
    check_step(demuxbuf_receiver_unblock(pool, receiver, UINT32_MAX), DEMUXBUF_STOP_RECV | DEMUXBUF_DECODE, 128);
    check_step(demuxbuf_receiver_set_blocked(pool, receiver, 6), DEMUXBUF_STOP_RECV, 128);
    check_step(demuxbuf_receiver_set_blocked(pool, receiver, 1), DEMUXBUF_STOP_RECV, 128);
    check_step(demuxbuf_receiver_set_blocked(pool, receiver, 0), DEMUXBUF_STOP_RECV | DEMUXBUF_DECODE, 128);
    check_step(demuxbuf_receiver_report(pool, receiver, DEMUXBUF_EVENT_YIELD, 0), DEMUXBUF_RESCHEDULE, 128);
    check_step(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_RESCHEDULE), 0, 128);
    check_step(demuxbuf_receiver_wake(pool, receiver), DEMUXBUF_STOP_RECV | DEMUXBUF_DECODE, 128);
    check_step(demuxbuf_receiver_decoded(pool, receiver, 0, 1), DEMUXBUF_STOP_RECV | DEMUXBUF_CANNOT_FIT, 128);
    check_step(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_STOP_RECV | DEMUXBUF_CANNOT_FIT), 0, 128);
    check_step(demuxbuf_receiver_decoded(pool, receiver, 30, 1), DEMUXBUF_WANT_RECV | DEMUXBUF_RECV, 30);
    check_step(demuxbuf_receiver_pause_recv(pool, receiver), 0, 98);
    check_step(demuxbuf_receiver_resume_recv(pool, receiver), DEMUXBUF_WANT_RECV | DEMUXBUF_RECV, 30);
    check_step(demuxbuf_receiver_would_block(pool, receiver), DEMUXBUF_WANT_RECV, 98);
    REFUSED(demuxbuf_receiver_report(pool, receiver, DEMUXBUF_EVENT_LEASE_EXPIRED, 0), pool, receiver,
            DEMUXBUF_ERR_INTERNAL_EVENT);
    REFUSED(demuxbuf_receiver_report(pool, receiver, DEMUXBUF_EVENT_RECLAIM_REQUESTED, 0), pool, receiver,
            DEMUXBUF_ERR_INTERNAL_EVENT);
    check_step(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV), 0, 98);
    /* The partial frame can never become whole: it comes with the end. */
    uint8_t *rest = check_step(demuxbuf_receiver_end_of_stream(pool, receiver), DEMUXBUF_STOP_RECV | DEMUXBUF_END, 98);
    CHECK(rest[0] == 7 && rest[97] == 7);
    check_step(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_END), DEMUXBUF_STOP_RECV, 0);
    const demuxbuf_pool_stats stats = stats_of(pool);
    CHECK(stats.dropped_bytes == 98 && stats.free == LEASES);
    check_step(demuxbuf_receiver_close(pool, receiver), DEMUXBUF_FINISHED, 0);
    demuxbuf_pool_free(pool);
}

static void fail_discards_and_transport_error_ends(void) {
    demuxbuf_pool *pool = new_pool(1);
    uint64_t receiver = attach(pool, 0);
    demuxbuf_receiver_readable(pool, receiver);
    demuxbuf_receiver_received(pool, receiver, 10);
    check_step(demuxbuf_receiver_fail(pool, receiver), DEMUXBUF_WANT_RECV, 0);
    CHECK_NUMBER(describe(pool, receiver).failed, 1);
    CHECK_NUMBER(stats_of(pool).dropped_bytes, 10);
    /* The receiver itself discards later bytes. */
    check_step(demuxbuf_receiver_readable(pool, receiver), DEMUXBUF_WANT_RECV | DEMUXBUF_RECV, 128);
    CHECK_NUMBER(demuxbuf_receiver_received(pool, receiver, 20).bytes, 0);
    CHECK_NUMBER(stats_of(pool).dropped_bytes, 30);
    check_step(demuxbuf_receiver_transport_error(pool, receiver), DEMUXBUF_END, 0);
    CHECK_NUMBER(describe(pool, receiver).end, 2);
    check_step(demuxbuf_receiver_close(pool, receiver), DEMUXBUF_FINISHED, 0);
    CHECK_NUMBER(stats_of(pool).dropped_bytes, 30);
    demuxbuf_pool_free(pool);
}

/* 16384 bytes and a header of 9: the largest frame that every HTTP/2 peer may send. */
static void s65_largest_default_frame_fits_default_buffer(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    const uint32_t frame = 9 + 16384;
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 8 * 16448, 1), DEMUXBUF_OK);
    CHECK_NUMBER(config.buffer_bytes, 16448);
    demuxbuf_pool *pool = pool_of(&config);
    const uint64_t receiver = attach(pool, 1);
    check_step(demuxbuf_receiver_readable(pool, receiver), DEMUXBUF_WANT_RECV | DEMUXBUF_RECV, 16448);
    CHECK((demuxbuf_receiver_received(pool, receiver, 9).actions & DEMUXBUF_DECODE) != 0);
    CHECK((demuxbuf_receiver_decoded(pool, receiver, 0, 16384).actions & DEMUXBUF_CANNOT_FIT) == 0);
    CHECK((demuxbuf_receiver_readable(pool, receiver).actions & DEMUXBUF_RECV) != 0);
    check_step(demuxbuf_receiver_received(pool, receiver, 16384), DEMUXBUF_WANT_RECV | DEMUXBUF_DECODE, frame);
    check_step(demuxbuf_receiver_decoded(pool, receiver, frame, 0), DEMUXBUF_WANT_RECV, 0);
    CHECK_NUMBER(stats_of(pool).free, LEASES);
    demuxbuf_pool_free(pool);
}

int main(void) {
    null_is_refused_everywhere();
    prefetch_changes_nothing();
    unknown_handles_are_refused();
    attach_is_checked();
    receive_cycle_is_three_calls();
    receive_and_its_decoding_are_one_call();
    content_moves_to_the_front_only_to_make_room();
    would_block_and_armed_in_one_call();
    step_helpers_and_their_twins_agree();
    invalid_events_are_refused();
    short_blocked_full_and_ended();
    fail_discards_and_transport_error_ends();
    s65_largest_default_frame_fits_default_buffer();
    return check_end();
}
