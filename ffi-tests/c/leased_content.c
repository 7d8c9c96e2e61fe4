/* Buffers that leave and enter a receiver with what is in them, without a copy; and bytes that are there at the
   start. */
#include "pools.h"

enum { BUFFER_BYTES = 256, LEASES = 6 };

static demuxbuf_pool *new_pool(uint32_t receivers) {
    const demuxbuf_pool_config config = config_of(LEASES, receivers, BUFFER_BYTES);
    return pool_of(&config);
}

static demuxbuf_pool_stats stats_of(const demuxbuf_pool *pool) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    return stats;
}

static uint8_t *buffer_of(demuxbuf_pool *pool, uint64_t lease) {
    uint8_t *data;
    uint32_t bytes;
    CHECK_NUMBER(demuxbuf_pool_buffer(pool, lease, &data, &bytes), DEMUXBUF_OK);
    CHECK_NUMBER(bytes, BUFFER_BYTES);
    return data;
}

/* Receives this many bytes, numbered from `first`. */
static demuxbuf_step receive(demuxbuf_pool *pool, uint64_t receiver, uint32_t bytes, uint8_t first) {
    demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK((step.actions & DEMUXBUF_RECV) != 0 && step.bytes >= bytes);
    for (uint32_t at = 0; at < bytes; at++) {
        step.data[at] = (uint8_t)(first + at);
    }
    step = demuxbuf_receiver_received(pool, receiver, bytes);
    CHECK_NUMBER(demuxbuf_actions_status_inline(step.actions), DEMUXBUF_OK);
    return step;
}

static void check_content(const uint8_t *data, uint32_t bytes, uint8_t first) {
    for (uint32_t at = 0; at < bytes; at++) {
        CHECK_NUMBER(data[at], (uint8_t)(first + at));
    }
}

static void take_and_adopt_keep_the_content(void) {
    demuxbuf_pool *pool = new_pool(2);
    uint64_t from, to;
    demuxbuf_leased_content content;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = 1), &from, NULL, NULL), DEMUXBUF_OK);
    demuxbuf_step step = receive(pool, from, 100, 10);
    step = demuxbuf_receiver_decoded(pool, from, 30, 0);
    const uint8_t *place = step.data;
    CHECK_NUMBER(step.bytes, 70);

    CHECK_NUMBER(demuxbuf_receiver_take(pool, from, &content), DEMUXBUF_OK);
    CHECK(content.lease != 0 && content.offset == 30 && content.buffered_bytes == 70);
    CHECK(buffer_of(pool, content.lease) + content.offset == place);
    check_content(place, 70, 40);
    demuxbuf_pool_stats stats = stats_of(pool);
    CHECK(stats.taken_bytes == 70 && stats.free == LEASES - 1 && stats.dropped_bytes == 0);
    /* It is gone; reading goes on into another buffer. */
    demuxbuf_leased_content nothing;
    FILL(nothing);
    CHECK_NUMBER(demuxbuf_receiver_take(pool, from, &nothing), DEMUXBUF_ERR_NO_BUFFER);
    CHECK_UNTOUCHED(nothing);
    step = receive(pool, from, 5, 110);
    const uint8_t *buffer = buffer_of(pool, content.lease);
    CHECK(step.bytes == 5 && (step.data < buffer || step.data >= buffer + BUFFER_BYTES));

    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, OPTIONS(.token = 2), &content, &to, NULL, NULL), DEMUXBUF_OK);
    CHECK(to != from);
    step = demuxbuf_receiver_pending(pool, to);
    CHECK((step.actions & DEMUXBUF_DECODE) != 0 && step.data == place && step.bytes == 70);
    check_content(step.data, 70, 40);
    /* The lease is the receiver's now. */
    CHECK_NUMBER(demuxbuf_pool_release(pool, content.lease), DEMUXBUF_ERR_STALE);
    demuxbuf_receiver_decoded(pool, to, 70, 0);
    stats = stats_of(pool);
    CHECK(stats.free == LEASES && stats.copied_bytes == 0);
    demuxbuf_pool_free(pool);
}

static void lease_of_an_address(void) {
    demuxbuf_pool *pool = new_pool(2), *other = new_pool(1);
    uint64_t lease, second, foreign, receiver, found;
    FILL(found);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &second), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(other, 0, 0, &foreign), DEMUXBUF_OK);
    uint8_t *data = buffer_of(pool, lease), *behind = buffer_of(pool, second);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = 1), &receiver, NULL, NULL), DEMUXBUF_OK);
    const uint8_t *of_receiver = receive(pool, receiver, 100, 1).data;
    CHECK_NUMBER(demuxbuf_pool_lease_of_address(NULL, data, &found), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_lease_of_address(pool, NULL, &found), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_lease_of_address(pool, data, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_lease_of_address(pool, &found, &found), DEMUXBUF_ERR_ADDRESS);
    CHECK_NUMBER(demuxbuf_pool_lease_of_address(pool, buffer_of(other, foreign), &found), DEMUXBUF_ERR_ADDRESS);
    CHECK_NUMBER(demuxbuf_pool_lease_of_address(pool, of_receiver, &found), DEMUXBUF_ERR_STALE);
    CHECK_UNTOUCHED(found);
    for (uint32_t at = 0; at < BUFFER_BYTES; at++) {
        CHECK_NUMBER(demuxbuf_pool_lease_of_address(pool, data + at, &found), DEMUXBUF_OK);
        CHECK(found == lease);
        CHECK_NUMBER(demuxbuf_pool_lease_of_address(pool, behind + at, &found), DEMUXBUF_OK);
        CHECK(found == second);
    }
    FILL(found);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_lease_of_address(pool, data, &found), DEMUXBUF_ERR_STALE);
    CHECK_UNTOUCHED(found);
    /* Leased anew it is another lease; what a receiver gave up is the host's. */
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &second), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_lease_of_address(pool, buffer_of(pool, second) + 9, &found), DEMUXBUF_OK);
    CHECK(found == second && found != lease);
    demuxbuf_leased_content content;
    CHECK_NUMBER(demuxbuf_receiver_take(pool, receiver, &content), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_lease_of_address(pool, of_receiver, &found), DEMUXBUF_OK);
    CHECK(found == content.lease);
    demuxbuf_pool_free(other);
    demuxbuf_pool_free(pool);
}

static void adopt_of_a_requested_buffer(void) {
    demuxbuf_pool *pool = new_pool(1);
    uint64_t receiver;
    demuxbuf_leased_content content = {.offset = 200, .buffered_bytes = 56};
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &content.lease), DEMUXBUF_OK);
    for (int at = 0; at < 56; at++) {
        buffer_of(pool, content.lease)[200 + at] = (uint8_t)at;
    }
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &content, &receiver, NULL, NULL), DEMUXBUF_OK);
    /* Short of more: what is there moves to the front, and there is room behind it. */
    demuxbuf_step step = demuxbuf_receiver_decoded(pool, receiver, 0, 100);
    step = demuxbuf_receiver_readable(pool, receiver);
    CHECK((step.actions & DEMUXBUF_RECV) != 0 && step.bytes == 200);
    step = demuxbuf_receiver_received(pool, receiver, 100);
    CHECK((step.actions & DEMUXBUF_DECODE) != 0 && step.bytes == 156);
    check_content(step.data, 56, 0);
    demuxbuf_pool_free(pool);
}

static void adopt_of_wrong_content_is_refused(void) {
    demuxbuf_pool *pool = new_pool(2), *other = new_pool(1);
    uint64_t lease, foreign, released, holder, wait, made;
    demuxbuf_leased_content content;
    CHECK_NUMBER(demuxbuf_pool_request(other, 0, 0, &foreign), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &released), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_release(pool, released), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &holder, NULL, NULL), DEMUXBUF_OK);
    leave_free(pool, 0);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &wait), DEMUXBUF_STATUS_QUEUED);
    const demuxbuf_pool_stats before = stats_of(pool);
    FILL(made);

    content = (demuxbuf_leased_content){lease, 0, 10};
    CHECK_NUMBER(demuxbuf_receiver_adopt(NULL, NULL, &content, &made, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, NULL, &made, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &content, NULL, NULL, NULL), DEMUXBUF_ERR_NULL);
    const uint32_t wrong_classes[] = {1, 8, 255, 256, UINT32_MAX};
    for (size_t at = 0; at < sizeof wrong_classes / sizeof wrong_classes[0]; at++) {
        CHECK_NUMBER(
            demuxbuf_receiver_adopt(pool, OPTIONS(.class_index = wrong_classes[at]), &content, &made, NULL, NULL),
            DEMUXBUF_ERR_CLASS);
    }
    const uint32_t outside[][2] = {{0, BUFFER_BYTES + 1}, {1, BUFFER_BYTES},       {BUFFER_BYTES, 1},
                                   {BUFFER_BYTES + 1, 0}, {UINT32_MAX, 1},         {1, UINT32_MAX},
                                   {UINT32_MAX, 0},       {UINT32_MAX, UINT32_MAX}};
    for (size_t at = 0; at < sizeof outside / sizeof outside[0]; at++) {
        content = (demuxbuf_leased_content){lease, outside[at][0], outside[at][1]};
        CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &content, &made, NULL, NULL), DEMUXBUF_ERR_TOO_MANY_BYTES);
    }
    const uint64_t nobodys[] = {0, UINT64_MAX, foreign, released, holder, wait};
    for (size_t at = 0; at < sizeof nobodys / sizeof nobodys[0]; at++) {
        content = (demuxbuf_leased_content){nobodys[at], 0, 10};
        CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &content, &made, NULL, NULL), DEMUXBUF_ERR_STALE);
    }
    CHECK_UNTOUCHED(made);
    const demuxbuf_pool_stats after = stats_of(pool);
    CHECK_SAME(&after, &before, sizeof before);
    /* It still is the host's. */
    buffer_of(pool, lease)[0] = 1;
    CHECK_NUMBER(demuxbuf_pool_cancel(pool, wait), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
    demuxbuf_pool_free(other);
}

static void receiver_buffer_is_not_the_host_s(void) {
    demuxbuf_pool *pool = new_pool(2);
    uint64_t receiver, again;
    demuxbuf_leased_content content;
    uint8_t *data;
    uint32_t bytes;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receiver, NULL, NULL), DEMUXBUF_OK);
    receive(pool, receiver, 100, 0);
    CHECK_NUMBER(demuxbuf_receiver_take(pool, receiver, &content), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &content, &again, NULL, NULL), DEMUXBUF_OK);
    FILL(data), FILL(bytes), FILL(receiver);
    const demuxbuf_pool_stats before = stats_of(pool);
    CHECK_NUMBER(demuxbuf_pool_buffer(pool, content.lease, &data, &bytes), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_release(pool, content.lease), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &content, &receiver, NULL, NULL), DEMUXBUF_ERR_STALE);
    CHECK_UNTOUCHED(data);
    CHECK_UNTOUCHED(bytes);
    CHECK_UNTOUCHED(receiver);
    const demuxbuf_pool_stats after = stats_of(pool);
    CHECK_SAME(&after, &before, sizeof before);
    demuxbuf_pool_free(pool);
}

static void adopt_into_a_full_table_changes_nothing(void) {
    demuxbuf_pool *pool = new_pool(1);
    uint64_t receiver, made;
    demuxbuf_leased_content content = {.buffered_bytes = 10};
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receiver, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &content.lease), DEMUXBUF_OK);
    FILL(made);
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &content, &made, NULL, NULL), DEMUXBUF_ERR_TABLE_FULL);
    CHECK_UNTOUCHED(made);
    CHECK_NUMBER(demuxbuf_pool_release(pool, content.lease), DEMUXBUF_OK);
    CHECK_NUMBER(stats_of(pool).free, LEASES);
    demuxbuf_pool_free(pool);
}

static void adopt_of_an_empty_buffer_releases_it(void) {
    demuxbuf_pool *pool = new_pool(1);
    uint64_t receiver;
    demuxbuf_leased_content content = {.offset = BUFFER_BYTES, .buffered_bytes = 0};
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &content.lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &content, &receiver, NULL, NULL), DEMUXBUF_OK);
    demuxbuf_pool_stats stats = stats_of(pool);
    CHECK(stats.free == LEASES && stats.receivers == 1);
    demuxbuf_step step = demuxbuf_receiver_pending(pool, receiver);
    CHECK(step.data == NULL && step.bytes == 0);
    demuxbuf_pool_free(pool);
}

static void adopt_of_a_full_buffer(void) {
    demuxbuf_pool *pool = new_pool(1);
    uint64_t receiver;
    demuxbuf_leased_content content = {.offset = 0, .buffered_bytes = BUFFER_BYTES};
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &content.lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &content, &receiver, NULL, NULL), DEMUXBUF_OK);
    demuxbuf_step step = demuxbuf_receiver_pending(pool, receiver);
    CHECK((step.actions & DEMUXBUF_DECODE) != 0 && (step.actions & DEMUXBUF_WANT_RECV) == 0 &&
          step.bytes == BUFFER_BYTES);
    demuxbuf_pool_free(pool);
}

/* A protocol upgrade: bytes that another reader received are the first to decode. */
static void attach_with_bytes_decodes_them_first(void) {
    demuxbuf_pool *pool = new_pool(1);
    uint8_t upgrade[BUFFER_BYTES];
    uint64_t receiver;
    for (uint32_t length = 1; length <= BUFFER_BYTES; length++) {
        for (uint32_t at = 0; at < length; at++) {
            upgrade[at] = (uint8_t)(length + at);
        }
        CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = 5, .bytes = upgrade, .length = length), &receiver,
                                              NULL, NULL),
                     DEMUXBUF_OK);
        memset(upgrade, 0, sizeof upgrade);
        demuxbuf_step step = demuxbuf_receiver_pending(pool, receiver);
        CHECK((step.actions & DEMUXBUF_DECODE) != 0 && step.bytes == length);
        check_content(step.data, length, (uint8_t)length);
        if (length < BUFFER_BYTES) {
            step = demuxbuf_receiver_decoded(pool, receiver, 0, 1);
            step = receive(pool, receiver, 1, (uint8_t)(length + length));
            CHECK_NUMBER(step.bytes, length + 1);
            check_content(step.data, length + 1, (uint8_t)length);
        }
        step = demuxbuf_receiver_close(pool, receiver);
        CHECK_NUMBER(step.actions, DEMUXBUF_FINISHED);
    }
    demuxbuf_pool_free(pool);
}

/* The same with the state machine alone: the host's buffer leaves whole and a new one enters with content. */
static void adopt_of_a_host_buffer(void) {
    demuxbuf_connection connection = {0};
    CHECK_NUMBER(demuxbuf_connection_attach(&connection, 70, 70), DEMUXBUF_DECODE);
    CHECK_NUMBER(demuxbuf_connection_buffer_released(&connection), DEMUXBUF_WANT_RECV);
    CHECK_NUMBER(demuxbuf_connection_buffered_bytes_inline(&connection), 0);
    CHECK_NUMBER(demuxbuf_connection_capacity_inline(&connection), 0);
    CHECK_NUMBER(demuxbuf_connection_sync(&connection, 33, 100000, 0, 0, 0), DEMUXBUF_WANT_RECV | DEMUXBUF_DECODE);
    CHECK_NUMBER(demuxbuf_connection_buffered_bytes_inline(&connection), 33);
    CHECK_NUMBER(demuxbuf_connection_capacity_inline(&connection), 100000);
}

int main(void) {
    take_and_adopt_keep_the_content();
    lease_of_an_address();
    adopt_of_a_requested_buffer();
    adopt_of_wrong_content_is_refused();
    receiver_buffer_is_not_the_host_s();
    adopt_into_a_full_table_changes_nothing();
    adopt_of_an_empty_buffer_releases_it();
    adopt_of_a_full_buffer();
    attach_with_bytes_decodes_them_first();
    adopt_of_a_host_buffer();
    return check_end();
}
