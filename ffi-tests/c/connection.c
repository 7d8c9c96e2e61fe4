/* The state machine alone: every function, right and wrong, and the inline twins in every state a walk reaches. */
#include "check.h"

typedef uint32_t plain_event(demuxbuf_connection *);
typedef uint32_t number_event(demuxbuf_connection *, uint32_t);

static plain_event *const plain_events[] = {
    demuxbuf_connection_readable,    demuxbuf_connection_buffer_denied, demuxbuf_connection_buffer_released,
    demuxbuf_connection_would_block, demuxbuf_connection_end_of_stream, demuxbuf_connection_transport_error,
    demuxbuf_connection_wake,        demuxbuf_connection_pause_recv,    demuxbuf_connection_resume_recv,
    demuxbuf_connection_fail,        demuxbuf_connection_close,         demuxbuf_connection_would_block_armed,
};
static number_event *const number_events[] = {
    demuxbuf_connection_buffer_granted, demuxbuf_connection_received,    demuxbuf_connection_consumed,
    demuxbuf_connection_need_more,      demuxbuf_connection_block,       demuxbuf_connection_unblock,
    demuxbuf_connection_done,           demuxbuf_connection_set_blocked,
};
enum {
    PLAIN = sizeof plain_events / sizeof plain_events[0],
    NUMBER = sizeof number_events / sizeof number_events[0],
};

/* The call is refused with this status, and the connection is byte for byte what it was. */
#define REFUSED(call, connection, status)                                                                              \
    do {                                                                                                               \
        const demuxbuf_connection before_ = *(connection);                                                             \
        CHECK_REFUSED(call, status);                                                                                   \
        CHECK_SAME(connection, &before_, sizeof before_);                                                              \
    } while (0)

static demuxbuf_connection_info describe(const demuxbuf_connection *connection) {
    demuxbuf_connection_info info = {.struct_size = sizeof info};
    CHECK_NUMBER(demuxbuf_connection_describe(connection, &info), DEMUXBUF_OK);
    return info;
}

/* All queries and their inline twins return the same. */
static void compare_views(const demuxbuf_connection *connection) {
    const demuxbuf_connection before = *connection;
    demuxbuf_connection_info info = describe(connection);
    CHECK_NUMBER(demuxbuf_connection_buffered_bytes_inline(connection), demuxbuf_connection_buffered_bytes(connection));
    CHECK_NUMBER(demuxbuf_connection_capacity_inline(connection), demuxbuf_connection_capacity(connection));
    CHECK_NUMBER(info.buffered_bytes, demuxbuf_connection_buffered_bytes_inline(connection));
    CHECK_NUMBER(info.capacity, demuxbuf_connection_capacity_inline(connection));
    CHECK_NUMBER(demuxbuf_connection_end_kind_inline(connection), demuxbuf_connection_end_kind(connection));
    CHECK_NUMBER(demuxbuf_connection_is_waiting_inline(connection), demuxbuf_connection_is_waiting(connection));
    CHECK_NUMBER(info.end, demuxbuf_connection_end_kind_inline(connection));
    CHECK_NUMBER(info.waiting, demuxbuf_connection_is_waiting_inline(connection));
    CHECK_NUMBER(info.pending, demuxbuf_connection_pending(connection));
    CHECK_NUMBER(demuxbuf_actions_status_inline(info.pending), DEMUXBUF_OK);
    uint32_t room = (info.pending & DEMUXBUF_RECV) != 0 ? info.capacity - info.buffered_bytes : 0;
    CHECK_NUMBER(demuxbuf_connection_recv_max(connection), room);
    CHECK_SAME(connection, &before, sizeof before);
}

static void null_is_refused_everywhere(void) {
    for (int at = 0; at < PLAIN; at++) {
        CHECK_REFUSED(plain_events[at](NULL), DEMUXBUF_ERR_NULL);
    }
    for (int at = 0; at < NUMBER; at++) {
        CHECK_REFUSED(number_events[at](NULL, 0), DEMUXBUF_ERR_NULL);
        CHECK_REFUSED(number_events[at](NULL, UINT32_MAX), DEMUXBUF_ERR_NULL);
    }
    CHECK_REFUSED(demuxbuf_connection_attach(NULL, 0, 0), DEMUXBUF_ERR_NULL);
    CHECK_REFUSED(demuxbuf_connection_sync(NULL, 0, 0, 0, 0, 0), DEMUXBUF_ERR_NULL);
    CHECK_REFUSED(demuxbuf_connection_pending(NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_connection_init(NULL, NULL, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_connection_recv_max(NULL), 0);
    CHECK_NUMBER(demuxbuf_connection_buffered_bytes(NULL), 0);
    CHECK_NUMBER(demuxbuf_connection_capacity(NULL), 0);
    CHECK_NUMBER(demuxbuf_connection_buffered_bytes_inline(NULL), 0);
    CHECK_NUMBER(demuxbuf_connection_capacity_inline(NULL), 0);
    CHECK_NUMBER(demuxbuf_connection_end_kind(NULL), DEMUXBUF_END_KIND_NONE);
    CHECK_NUMBER(demuxbuf_connection_end_kind_inline(NULL), DEMUXBUF_END_KIND_NONE);
    CHECK_NUMBER(demuxbuf_connection_is_waiting(NULL), 0);
    CHECK_NUMBER(demuxbuf_connection_is_waiting_inline(NULL), 0);

    demuxbuf_connection connection = {0};
    demuxbuf_connection_info info = {.struct_size = sizeof info};
    FILL_SIZED(info);
    CHECK_NUMBER(demuxbuf_connection_describe(NULL, &info), DEMUXBUF_ERR_NULL);
    CHECK_UNTOUCHED_SIZED(info);
    CHECK_NUMBER(demuxbuf_connection_describe(&connection, NULL), DEMUXBUF_ERR_NULL);
}

static void connection_all_zero_is_not_attached(void) {
    demuxbuf_connection connection = {0};
    for (int at = 0; at < PLAIN; at++) {
        REFUSED(plain_events[at](&connection), &connection, DEMUXBUF_ERR_NOT_ATTACHED);
    }
    for (int at = 0; at < NUMBER; at++) {
        REFUSED(number_events[at](&connection, 1), &connection, DEMUXBUF_ERR_NOT_ATTACHED);
        REFUSED(number_events[at](&connection, UINT32_MAX), &connection, DEMUXBUF_ERR_NOT_ATTACHED);
    }
    REFUSED(demuxbuf_connection_sync(&connection, 1, 2, 0, 0, 0), &connection, DEMUXBUF_ERR_NOT_ATTACHED);
    CHECK_NUMBER(demuxbuf_connection_pending(&connection), 0);
    compare_views(&connection);
    demuxbuf_connection_info info = describe(&connection);
    CHECK(!info.open && info.hold == 0 && info.mode == DEMUXBUF_MODE_LEVEL);

    /* It has the default policy: the same bytes as an explicit one. */
    demuxbuf_connection prepared;
    FILL(prepared);
    CHECK_NUMBER(demuxbuf_connection_init(&prepared, NULL, NULL, NULL), DEMUXBUF_OK);
    CHECK_SAME(&prepared, &connection, sizeof connection);
}

static void all_ones_is_poisoned(void) {
    demuxbuf_connection connection;
    demuxbuf_connection_info info = {.struct_size = sizeof info};
    memset(&connection, 0xff, sizeof connection);
    FILL_SIZED(info);
    for (int at = 0; at < PLAIN; at++) {
        REFUSED(plain_events[at](&connection), &connection, DEMUXBUF_ERR_POISONED);
    }
    for (int at = 0; at < NUMBER; at++) {
        REFUSED(number_events[at](&connection, 1), &connection, DEMUXBUF_ERR_POISONED);
    }
    REFUSED(demuxbuf_connection_attach(&connection, 0, 0), &connection, DEMUXBUF_ERR_POISONED);
    REFUSED(demuxbuf_connection_sync(&connection, 0, 0, 0, 0, 0), &connection, DEMUXBUF_ERR_POISONED);
    CHECK_REFUSED(demuxbuf_connection_pending(&connection), DEMUXBUF_ERR_POISONED);
    CHECK_NUMBER(demuxbuf_connection_describe(&connection, &info), DEMUXBUF_ERR_POISONED);
    CHECK_UNTOUCHED_SIZED(info);
    CHECK_NUMBER(demuxbuf_connection_recv_max(&connection), 0);
    CHECK_NUMBER(demuxbuf_connection_buffered_bytes_inline(&connection),
                 demuxbuf_connection_buffered_bytes(&connection));
    CHECK_NUMBER(demuxbuf_connection_capacity_inline(&connection), demuxbuf_connection_capacity(&connection));

    /* Preparing it anew is the way out. */
    CHECK_NUMBER(demuxbuf_connection_init(&connection, NULL, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_connection_attach(&connection, 0, 0), DEMUXBUF_WANT_RECV);
}

static void policies_are_checked(void) {
    demuxbuf_connection connection = {0};
    CHECK_NUMBER(demuxbuf_connection_attach(&connection, 3, 64), DEMUXBUF_WANT_RECV | DEMUXBUF_DECODE);
    const demuxbuf_connection before = connection;
    const uint32_t wrong_sizes[] = {0, 1, sizeof(demuxbuf_policy) - 1, 4097, UINT32_MAX};
    for (size_t at = 0; at < sizeof wrong_sizes / sizeof wrong_sizes[0]; at++) {
        demuxbuf_policy policy = {.struct_size = wrong_sizes[at]};
        CHECK_NUMBER(demuxbuf_connection_init(&connection, &policy, NULL, NULL), DEMUXBUF_ERR_STRUCT_SIZE);
        CHECK_SAME(&connection, &before, sizeof before);
    }
    for (int mode = 0; mode <= UINT8_MAX; mode++) {
        demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = (uint8_t)mode};
        demuxbuf_connection other;
        FILL(other);
        if (mode <= DEMUXBUF_MODE_COMPLETION) {
            CHECK_NUMBER(demuxbuf_connection_init(&other, &policy, NULL, NULL), DEMUXBUF_OK);
            CHECK_NUMBER(describe(&other).mode, mode);
        } else {
            CHECK_NUMBER(demuxbuf_connection_init(&other, &policy, NULL, NULL), DEMUXBUF_ERR_CONFIG);
            CHECK_UNTOUCHED(other);
        }
    }
    /* All that is left has no wrong value. */
    demuxbuf_policy policy = {sizeof policy, UINT32_MAX, UINT16_MAX, UINT16_MAX, DEMUXBUF_MODE_EDGE,
                              UINT8_MAX,     UINT8_MAX,  UINT8_MAX,  UINT8_MAX,  {0}};
    CHECK_NUMBER(demuxbuf_connection_init(&connection, &policy, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_connection_attach(&connection, 0, 0), DEMUXBUF_WANT_RECV);
}

static void receive_cycle(void) {
    demuxbuf_connection connection = {0};
    CHECK_NUMBER(demuxbuf_connection_attach(&connection, 0, 0), DEMUXBUF_WANT_RECV);
    CHECK_NUMBER(demuxbuf_connection_done(&connection, DEMUXBUF_WANT_RECV), 0);
    CHECK_NUMBER(demuxbuf_connection_readable(&connection), DEMUXBUF_REQUEST_BUFFER);
    CHECK_NUMBER(demuxbuf_connection_buffer_granted(&connection, 100), DEMUXBUF_RECV);
    CHECK_NUMBER(demuxbuf_connection_recv_max(&connection), 100);
    CHECK_NUMBER(demuxbuf_connection_received(&connection, 60), DEMUXBUF_DECODE);
    CHECK_NUMBER(demuxbuf_connection_recv_max(&connection), 0);
    CHECK_NUMBER(demuxbuf_connection_consumed(&connection, 50), DEMUXBUF_DECODE);
    CHECK_NUMBER(demuxbuf_connection_need_more(&connection, 5), 0);
    CHECK_NUMBER(describe(&connection).needed_bytes, 5);
    CHECK_NUMBER(demuxbuf_connection_readable(&connection), DEMUXBUF_RECV);
    CHECK_NUMBER(demuxbuf_connection_recv_max(&connection), 90);
    CHECK_NUMBER(demuxbuf_connection_received(&connection, 5), DEMUXBUF_DECODE);
    CHECK_NUMBER(demuxbuf_connection_consumed(&connection, 15), DEMUXBUF_RELEASE_BUFFER);
    CHECK_NUMBER(demuxbuf_connection_buffer_released(&connection), 0);
    CHECK_NUMBER(demuxbuf_connection_pending(&connection), 0);
    CHECK_NUMBER(demuxbuf_connection_end_of_stream(&connection), DEMUXBUF_STOP_RECV | DEMUXBUF_END);
    CHECK_NUMBER(demuxbuf_connection_done(&connection, DEMUXBUF_STOP_RECV | DEMUXBUF_END), 0);
    CHECK_NUMBER(demuxbuf_connection_close(&connection), DEMUXBUF_FINISHED);
    CHECK_NUMBER(demuxbuf_connection_close(&connection), DEMUXBUF_FINISHED);
    /* Finished, it may start again. */
    CHECK_NUMBER(demuxbuf_connection_attach(&connection, 0, 0), DEMUXBUF_WANT_RECV);
}

static void waiting_blocking_and_pausing(void) {
    demuxbuf_connection connection = {0};
    demuxbuf_connection_attach(&connection, 0, 0);
    demuxbuf_connection_done(&connection, DEMUXBUF_WANT_RECV);
    demuxbuf_connection_readable(&connection);
    CHECK_NUMBER(demuxbuf_connection_buffer_denied(&connection), DEMUXBUF_STOP_RECV);
    CHECK(describe(&connection).waiting);
    CHECK_NUMBER(demuxbuf_connection_pause_recv(&connection), DEMUXBUF_STOP_RECV | DEMUXBUF_CANCEL_REQUEST);
    CHECK_NUMBER(demuxbuf_connection_resume_recv(&connection), DEMUXBUF_STOP_RECV);
    CHECK_NUMBER(demuxbuf_connection_buffer_granted(&connection, 64), DEMUXBUF_RECV);
    CHECK_NUMBER(demuxbuf_connection_received(&connection, 64), DEMUXBUF_STOP_RECV | DEMUXBUF_DECODE);
    CHECK_NUMBER(demuxbuf_connection_block(&connection, 5), DEMUXBUF_STOP_RECV);
    CHECK_NUMBER(demuxbuf_connection_block(&connection, 3), DEMUXBUF_STOP_RECV);
    CHECK_NUMBER(describe(&connection).blocked, 7);
    CHECK_NUMBER(demuxbuf_connection_unblock(&connection, 6), DEMUXBUF_STOP_RECV);
    CHECK_NUMBER(demuxbuf_connection_unblock(&connection, 9), DEMUXBUF_STOP_RECV | DEMUXBUF_DECODE);
    CHECK_NUMBER(demuxbuf_connection_set_blocked(&connection, 5), DEMUXBUF_STOP_RECV);
    CHECK_NUMBER(demuxbuf_connection_set_blocked(&connection, 2), DEMUXBUF_STOP_RECV);
    CHECK_NUMBER(describe(&connection).blocked, 2);
    CHECK_NUMBER(demuxbuf_connection_set_blocked(&connection, 0), DEMUXBUF_STOP_RECV | DEMUXBUF_DECODE);
    CHECK_NUMBER(demuxbuf_connection_report(&connection, DEMUXBUF_EVENT_YIELD, 0),
                 DEMUXBUF_STOP_RECV | DEMUXBUF_RESCHEDULE);
    CHECK_NUMBER(demuxbuf_connection_done(&connection, DEMUXBUF_RESCHEDULE), DEMUXBUF_STOP_RECV);
    CHECK_NUMBER(demuxbuf_connection_wake(&connection), DEMUXBUF_STOP_RECV | DEMUXBUF_DECODE);
    CHECK_NUMBER(demuxbuf_connection_need_more(&connection, 1), DEMUXBUF_STOP_RECV | DEMUXBUF_CANNOT_FIT);
    /* The host grows the buffer. */
    CHECK_NUMBER(demuxbuf_connection_buffer_granted(&connection, 128), DEMUXBUF_RECV);
    CHECK_NUMBER(demuxbuf_connection_would_block(&connection), 0);
    CHECK_NUMBER(demuxbuf_connection_report(&connection, DEMUXBUF_EVENT_LEASE_EXPIRED, 0), DEMUXBUF_SHED);
    CHECK_NUMBER(demuxbuf_connection_done(&connection, DEMUXBUF_SHED), 0);
    CHECK_NUMBER(demuxbuf_connection_fail(&connection), DEMUXBUF_DISCARD);
    CHECK_NUMBER(describe(&connection).failed, 1);
    CHECK_NUMBER(demuxbuf_connection_consumed(&connection, 64), DEMUXBUF_RELEASE_BUFFER);
    CHECK_NUMBER(demuxbuf_connection_transport_error(&connection),
                 DEMUXBUF_STOP_RECV | DEMUXBUF_RELEASE_BUFFER | DEMUXBUF_END);
    CHECK_NUMBER(describe(&connection).end, 2);
    CHECK_NUMBER(demuxbuf_connection_close(&connection), DEMUXBUF_RELEASE_BUFFER);
    CHECK_NUMBER(demuxbuf_connection_buffer_released(&connection), DEMUXBUF_FINISHED);
}

static void parking(void) {
    demuxbuf_connection connection;
    demuxbuf_policy policy = {.struct_size = sizeof policy, .park_bytes = 64};
    CHECK_NUMBER(demuxbuf_connection_init(&connection, &policy, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_connection_attach(&connection, 10, 1000), DEMUXBUF_WANT_RECV | DEMUXBUF_DECODE);
    CHECK_NUMBER(demuxbuf_connection_done(&connection, DEMUXBUF_WANT_RECV), DEMUXBUF_DECODE);
    CHECK_NUMBER(demuxbuf_connection_need_more(&connection, 4), DEMUXBUF_PARK);
    CHECK_NUMBER(demuxbuf_connection_report(&connection, DEMUXBUF_EVENT_BUFFER_PARKED, 64), 0);
    CHECK_NUMBER(describe(&connection).hold, 1);
    CHECK_NUMBER(demuxbuf_connection_readable(&connection), DEMUXBUF_REQUEST_BUFFER);
    CHECK_NUMBER(demuxbuf_connection_buffer_granted(&connection, 1000), DEMUXBUF_RECV);
    CHECK_NUMBER(demuxbuf_connection_report(&connection, DEMUXBUF_EVENT_RECLAIM_REQUESTED, 0),
                 DEMUXBUF_PARK | DEMUXBUF_RECV);
    CHECK_NUMBER(demuxbuf_connection_report(&connection, DEMUXBUF_EVENT_BUFFER_PARKED, 64), DEMUXBUF_REQUEST_BUFFER);
    CHECK_NUMBER(demuxbuf_connection_buffered_bytes_inline(&connection), 10);
}

static void sync_takes_the_state_over(void) {
    demuxbuf_connection connection;
    demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = DEMUXBUF_MODE_OPTIMISTIC};
    CHECK_NUMBER(demuxbuf_connection_init(&connection, &policy, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_connection_attach(&connection, 0, 0), DEMUXBUF_REQUEST_BUFFER);
    CHECK_NUMBER(demuxbuf_connection_sync(&connection, 20, 100, 0, 0, 0), DEMUXBUF_DECODE);
    CHECK_NUMBER(demuxbuf_connection_sync(&connection, 20, 100, 0, 7, 0), DEMUXBUF_RECV);
    CHECK_NUMBER(describe(&connection).needed_bytes, 1);
    /* Armed read interest means that there was nothing to receive. */
    CHECK_NUMBER(demuxbuf_connection_sync(&connection, 20, 100, 1, 0, 1) & DEMUXBUF_DECODE, 0);
    CHECK_NUMBER(describe(&connection).armed, 1);
    REFUSED(demuxbuf_connection_sync(&connection, 101, 100, 0, 0, 0), &connection, DEMUXBUF_ERR_CAPACITY_TOO_SMALL);
    REFUSED(demuxbuf_connection_sync(&connection, UINT32_MAX, 0, 0, 0, 0), &connection,
            DEMUXBUF_ERR_CAPACITY_TOO_SMALL);
    CHECK_NUMBER(demuxbuf_connection_sync(&connection, UINT32_MAX, UINT32_MAX, 0, 0, 0) & DEMUXBUF_RECV, 0);
    CHECK_NUMBER(demuxbuf_connection_sync(&connection, 0, 0, 0, 0, 0), DEMUXBUF_WANT_RECV);
    demuxbuf_connection_close(&connection);
    REFUSED(demuxbuf_connection_sync(&connection, 0, 0, 0, 0, 0), &connection, DEMUXBUF_ERR_CLOSED);
}

static void invalid_events_are_refused(void) {
    demuxbuf_connection connection = {0};
    demuxbuf_connection *self = &connection;
    REFUSED(demuxbuf_connection_attach(self, 1, 0), self, DEMUXBUF_ERR_CAPACITY_TOO_SMALL);
    REFUSED(demuxbuf_connection_attach(self, UINT32_MAX, UINT32_MAX - 1), self, DEMUXBUF_ERR_CAPACITY_TOO_SMALL);
    demuxbuf_connection_attach(self, 0, 0);
    REFUSED(demuxbuf_connection_attach(self, 0, 0), self, DEMUXBUF_ERR_ALREADY_ATTACHED);
    REFUSED(demuxbuf_connection_received(self, 1), self, DEMUXBUF_ERR_NO_BUFFER);
    REFUSED(demuxbuf_connection_received(self, 0), self, DEMUXBUF_ERR_ZERO_BYTES);
    REFUSED(demuxbuf_connection_buffer_released(self), self, DEMUXBUF_ERR_NO_BUFFER);
    REFUSED(demuxbuf_connection_buffer_granted(self, 0), self, DEMUXBUF_ERR_CAPACITY_TOO_SMALL);
    REFUSED(demuxbuf_connection_report(self, DEMUXBUF_EVENT_BUFFER_PARKED, 0), self, DEMUXBUF_ERR_CAPACITY_TOO_SMALL);
    REFUSED(demuxbuf_connection_consumed(self, 1), self, DEMUXBUF_ERR_TOO_MANY_BYTES);
    REFUSED(demuxbuf_connection_need_more(self, 0), self, DEMUXBUF_ERR_ZERO_BYTES);
    REFUSED(demuxbuf_connection_block(self, 0), self, DEMUXBUF_ERR_NO_REASONS);
    REFUSED(demuxbuf_connection_unblock(self, 0), self, DEMUXBUF_ERR_NO_REASONS);
    REFUSED(demuxbuf_connection_done(self, DEMUXBUF_STOP_RECV), self, DEMUXBUF_ERR_NOT_PENDING);
    REFUSED(demuxbuf_connection_done(self, DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV), self, DEMUXBUF_ERR_NOT_PENDING);
    REFUSED(demuxbuf_connection_done(self, UINT32_MAX), self, DEMUXBUF_ERR_NOT_PENDING);
    REFUSED(demuxbuf_connection_done(self, DEMUXBUF_ERROR), self, DEMUXBUF_ERR_NOT_PENDING);
    demuxbuf_connection_readable(self);
    /* Pending, but it has an outcome of its own to report. */
    REFUSED(demuxbuf_connection_done(self, DEMUXBUF_REQUEST_BUFFER), self, DEMUXBUF_ERR_NOT_PENDING);
    demuxbuf_connection_buffer_denied(self);
    REFUSED(demuxbuf_connection_buffer_denied(self), self, DEMUXBUF_ERR_ALREADY_WAITING);
    demuxbuf_connection_buffer_granted(self, 64);
    REFUSED(demuxbuf_connection_buffer_granted(self, 64), self, DEMUXBUF_ERR_ALREADY_HELD);
    REFUSED(demuxbuf_connection_buffer_denied(self), self, DEMUXBUF_ERR_ALREADY_HELD);
    REFUSED(demuxbuf_connection_received(self, 65), self, DEMUXBUF_ERR_TOO_MANY_BYTES);
    REFUSED(demuxbuf_connection_received(self, UINT32_MAX), self, DEMUXBUF_ERR_TOO_MANY_BYTES);
    demuxbuf_connection_received(self, 10);
    REFUSED(demuxbuf_connection_buffer_granted(self, 9), self, DEMUXBUF_ERR_CAPACITY_TOO_SMALL);
    REFUSED(demuxbuf_connection_report(self, DEMUXBUF_EVENT_BUFFER_PARKED, 9), self, DEMUXBUF_ERR_CAPACITY_TOO_SMALL);
    REFUSED(demuxbuf_connection_consumed(self, 11), self, DEMUXBUF_ERR_TOO_MANY_BYTES);
    REFUSED(demuxbuf_connection_need_more(self, UINT32_MAX), self, DEMUXBUF_ERR_TOO_MANY_BYTES);
    demuxbuf_connection_end_of_stream(self);
    REFUSED(demuxbuf_connection_received(self, 1), self, DEMUXBUF_ERR_AFTER_END);
}

static void close_admits_few_events(void) {
    demuxbuf_connection connection = {0};
    demuxbuf_connection *self = &connection;
    demuxbuf_connection_attach(self, 10, 64);
    CHECK_NUMBER(demuxbuf_connection_close(self), DEMUXBUF_RELEASE_BUFFER);
    REFUSED(demuxbuf_connection_attach(self, 0, 0), self, DEMUXBUF_ERR_ALREADY_ATTACHED);
    REFUSED(demuxbuf_connection_received(self, 1), self, DEMUXBUF_ERR_CLOSED);
    REFUSED(demuxbuf_connection_need_more(self, 1), self, DEMUXBUF_ERR_CLOSED);
    REFUSED(demuxbuf_connection_buffer_denied(self), self, DEMUXBUF_ERR_CLOSED);
    REFUSED(demuxbuf_connection_buffer_granted(self, 100), self, DEMUXBUF_ERR_CLOSED);
    REFUSED(demuxbuf_connection_report(self, DEMUXBUF_EVENT_BUFFER_PARKED, 64), self, DEMUXBUF_ERR_CLOSED);
    REFUSED(demuxbuf_connection_fail(self), self, DEMUXBUF_ERR_CLOSED);
    /* Events that cross a close change nothing. */
    const demuxbuf_connection closing = connection;
    plain_event *const noise[] = {demuxbuf_connection_readable,      demuxbuf_connection_would_block,
                                  demuxbuf_connection_end_of_stream, demuxbuf_connection_transport_error,
                                  demuxbuf_connection_wake,          demuxbuf_connection_pause_recv,
                                  demuxbuf_connection_resume_recv};
    for (size_t at = 0; at < sizeof noise / sizeof noise[0]; at++) {
        CHECK_NUMBER(noise[at](self), DEMUXBUF_RELEASE_BUFFER);
        CHECK_SAME(self, &closing, sizeof closing);
    }
    CHECK_NUMBER(demuxbuf_connection_buffer_released(self), DEMUXBUF_FINISHED);
    REFUSED(demuxbuf_connection_buffer_released(self), self, DEMUXBUF_ERR_NO_BUFFER);

    /* A grant that crosses a close: it was waited for, so it is taken and released. */
    demuxbuf_connection_attach(self, 0, 0);
    demuxbuf_connection_readable(self);
    demuxbuf_connection_buffer_denied(self);
    CHECK_NUMBER(demuxbuf_connection_close(self), DEMUXBUF_CANCEL_REQUEST);
    CHECK_NUMBER(demuxbuf_connection_buffer_granted(self, 64), DEMUXBUF_RELEASE_BUFFER);
    CHECK_NUMBER(demuxbuf_connection_buffer_released(self), DEMUXBUF_FINISHED);
}

/* Any event with any number: it is refused and changes nothing, or all views agree afterwards. */
static void one_event(demuxbuf_connection *connection, uint64_t *random) {
    static const uint32_t numbers[] = {0, 1, 2, 9, 32, 63, 64, 65, 100, 1024, 16384, UINT32_MAX - 1, UINT32_MAX};
    uint32_t number = numbers[check_random(random) % (sizeof numbers / sizeof numbers[0])];
    uint32_t other = numbers[check_random(random) % (sizeof numbers / sizeof numbers[0])];
    uint32_t chosen = check_random(random) % (PLAIN + NUMBER + 4);
    const demuxbuf_connection before = *connection;
    uint32_t actions;
    if (chosen < PLAIN) {
        actions = plain_events[chosen](connection);
    } else if (chosen < PLAIN + NUMBER) {
        actions = number_events[chosen - PLAIN](connection, number);
    } else if (chosen == PLAIN + NUMBER) {
        actions = demuxbuf_connection_sync(connection, number, other, number & other, (uint8_t)other, (uint8_t)number);
    } else if (chosen == PLAIN + NUMBER + 1) {
        actions = demuxbuf_connection_attach(connection, number, other);
    } else {
        /* Half of the walk is an obedient host, or it would stay near its start. */
        uint32_t pending = demuxbuf_connection_pending(connection);
        uint32_t reported = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_CANCEL_REQUEST | DEMUXBUF_END;
        actions = (pending & DEMUXBUF_RECV) != 0             ? demuxbuf_connection_received(connection, 1 + number % 8)
                  : (pending & DEMUXBUF_REQUEST_BUFFER) != 0 ? demuxbuf_connection_buffer_granted(connection, 64)
                  : (pending & DEMUXBUF_RELEASE_BUFFER) != 0 ? demuxbuf_connection_buffer_released(connection)
                                                             : demuxbuf_connection_done(connection, pending & reported);
    }
    if (demuxbuf_actions_status_inline(actions) != DEMUXBUF_OK) {
        CHECK(demuxbuf_actions_status_inline(actions) < 0);
        CHECK_SAME(connection, &before, sizeof before);
    } else {
        CHECK_NUMBER(actions, demuxbuf_connection_pending(connection));
    }
}

static void views_agree_on_random_walks(void) {
    uint64_t random = 1;
    for (uint32_t walk = 0; walk < 2000; walk++) {
        demuxbuf_policy policy = {
            .struct_size = sizeof policy,
            .resume_free_bytes = check_random(&random) % 100,
            .park_bytes = (uint16_t)(check_random(&random) % 65),
            .mode = (uint8_t)(walk % 5),
            .reads_per_wake = (uint8_t)(check_random(&random) % 4),
            .pause_when_blocked = (uint8_t)(check_random(&random) % 2),
            .reads_ahead = (uint8_t)(check_random(&random) % 2),
        };
        demuxbuf_connection connection;
        CHECK_NUMBER(demuxbuf_connection_init(&connection, &policy, NULL, NULL), DEMUXBUF_OK);
        for (int step = 0; step < 200; step++) {
            one_event(&connection, &random);
            compare_views(&connection);
        }
    }
}

/* Bytes that no call of the library ever wrote: any answer will do, a crash will not. */
static void connection_of_garbage_is_harmless(void) {
    uint64_t random = 2;
    for (int round = 0; round < 20000; round++) {
        demuxbuf_connection connection;
        for (size_t at = 0; at < sizeof connection; at++) {
            ((unsigned char *)&connection)[at] = (unsigned char)check_random(&random);
        }
        for (int step = 0; step < 20; step++) {
            one_event(&connection, &random);
            CHECK_NUMBER(demuxbuf_connection_buffered_bytes_inline(&connection),
                         demuxbuf_connection_buffered_bytes(&connection));
            CHECK_NUMBER(demuxbuf_connection_capacity_inline(&connection), demuxbuf_connection_capacity(&connection));
            CHECK_NUMBER(demuxbuf_connection_end_kind_inline(&connection), demuxbuf_connection_end_kind(&connection));
            CHECK_NUMBER(demuxbuf_connection_is_waiting_inline(&connection),
                         demuxbuf_connection_is_waiting(&connection));
        }
    }
}

/* While it is not queued, it may be moved like any other value. */
static void connection_moves_with_memcpy(void) {
    demuxbuf_connection first = {0}, second;
    demuxbuf_connection_attach(&first, 5, 64);
    memcpy(&second, &first, sizeof second);
    memset(&first, 0, sizeof first);
    CHECK_NUMBER(demuxbuf_connection_consumed(&second, 5), DEMUXBUF_WANT_RECV | DEMUXBUF_RELEASE_BUFFER);
    CHECK(sizeof(demuxbuf_connection) <= 32);
}

int main(void) {
    null_is_refused_everywhere();
    connection_all_zero_is_not_attached();
    all_ones_is_poisoned();
    policies_are_checked();
    receive_cycle();
    waiting_blocking_and_pausing();
    parking();
    sync_takes_the_state_over();
    invalid_events_are_refused();
    close_admits_few_events();
    views_agree_on_random_walks();
    connection_of_garbage_is_harmless();
    connection_moves_with_memcpy();
    return check_end();
}
