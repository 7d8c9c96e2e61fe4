/* What a connection is attached with, what of it is changed later, and the notice that follows a full table. */
#include "pools.h"

enum { BUFFER_BYTES = 256, LEASES = 6 };

static demuxbuf_pool *new_pool(uint32_t receivers) {
    demuxbuf_pool_config config = config_of(LEASES, receivers, BUFFER_BYTES);
    config.classes = 2;
    return pool_of(&config);
}

static uint64_t attach(demuxbuf_pool *pool, const demuxbuf_attach_options *options) {
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, options, &receiver, NULL, NULL), DEMUXBUF_OK);
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

static void null_options_are_the_defaults(void) {
    demuxbuf_pool *pool = new_pool(2);
    const uint64_t receivers[] = {attach(pool, NULL), attach(pool, OPTIONS(.token = 0))};
    for (int at = 0; at < 2; at++) {
        const demuxbuf_receiver_info info = describe(pool, receivers[at]);
        CHECK(info.class_index == 0 && info.token == 0 && info.mode == DEMUXBUF_MODE_LEVEL && info.open == 1);
    }
    demuxbuf_pool_free(pool);
}

/* Refused, with nothing attached, and the output untouched; so is adopting, and the lease stays the host's. */
static void check_refused(demuxbuf_pool *pool, const demuxbuf_attach_options *options, int32_t status) {
    uint64_t made, lease;
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
    const demuxbuf_pool_stats before = stats_of(pool);
    const demuxbuf_leased_content content = {.lease = lease, .buffered_bytes = 5};
    FILL(made);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, options, &made, NULL, NULL), status);
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, options, &content, &made, NULL, NULL), status);
    CHECK_UNTOUCHED(made);
    const demuxbuf_pool_stats after = stats_of(pool);
    CHECK_SAME(&after, &before, sizeof after);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
}

/* What is refused is named, with its value and what is allowed. */
static void refusals_have_messages(void) {
    demuxbuf_pool *pool = new_pool(1);
    demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = 5};
    static const uint8_t byte = 1;
    const struct {
        demuxbuf_attach_options options;
        const char *message;
    } cases[] = {
        {{.class_index = 258}, "class_index is 258; allowed is 0 to 1"},
        {{.policy = &policy}, "mode is 5; allowed is 0 to 4"},
        {{.length = 3}, "bytes is NULL; allowed is that only if length is 0"},
        {{.bytes = &byte, .length = 257}, "more bytes than fit"},
    };
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        demuxbuf_attach_options options = cases[at].options;
        options.struct_size = sizeof options;
        char message[120];
        size_t room = sizeof message;
        uint64_t made;
        CHECK(demuxbuf_receiver_attach(pool, &options, &made, message, &room) < 0);
        CHECK(strcmp(message, cases[at].message) == 0 && room == strlen(message) + 1);
    }
    demuxbuf_pool_free(pool);
}

static void wrong_options_are_refused(void) {
    demuxbuf_pool *pool = new_pool(1);
    demuxbuf_policy policy = {.struct_size = sizeof policy};
    demuxbuf_attach_options options = {.struct_size = sizeof options, .policy = &policy};
    options.struct_size--;
    check_refused(pool, &options, DEMUXBUF_ERR_STRUCT_SIZE);
    options.struct_size++, policy.struct_size--;
    check_refused(pool, &options, DEMUXBUF_ERR_STRUCT_SIZE);
    policy.struct_size++, policy.mode = 5;
    check_refused(pool, &options, DEMUXBUF_ERR_CONFIG);
    policy.mode = 0, options.class_index = 2;
    check_refused(pool, &options, DEMUXBUF_ERR_CLASS);
    options.class_index = 256;
    check_refused(pool, &options, DEMUXBUF_ERR_CLASS);
    options.class_index = 1, options.unknown_length = 1;
    /* Bytes beside a buffer that has content are a mistake. */
    uint64_t made, lease;
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
    const demuxbuf_leased_content content = {.lease = lease, .buffered_bytes = 5};
    const uint8_t byte = 1;
    char message[80];
    size_t room = sizeof message;
    options.bytes = &byte, options.length = 1;
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, &options, &content, &made, message, &room), DEMUXBUF_ERR_CONFIG);
    CHECK(strcmp(message, "length is 1; allowed is 0 to 0") == 0);
    options.length = 0;
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, &options, &content, &made, NULL, NULL), DEMUXBUF_OK);
    CHECK(describe(pool, made).class_index == 1 && describe(pool, made).buffered_bytes == 5);
    demuxbuf_pool_free(pool);
}

/* A plaintext connection and one behind a layer that reads ahead, in one pool; the first is upgraded. */
static void policy_is_of_each_receiver(void) {
    demuxbuf_pool *pool = new_pool(2);
    demuxbuf_policy edge = {.struct_size = sizeof edge, .mode = DEMUXBUF_MODE_EDGE};
    const uint64_t plain = attach(pool, NULL), ahead = attach(pool, OPTIONS(.token = 1, .policy = &edge));
    edge.mode = 5; /* it was read by the call alone */
    CHECK(describe(pool, plain).mode == DEMUXBUF_MODE_LEVEL && describe(pool, ahead).mode == DEMUXBUF_MODE_EDGE);
    CHECK_REFUSED(demuxbuf_receiver_set_policy(pool, plain, &edge, NULL, NULL).actions, DEMUXBUF_ERR_CONFIG);
    CHECK_REFUSED(demuxbuf_receiver_set_policy(pool, plain, NULL, NULL, NULL).actions, DEMUXBUF_ERR_NULL);
    edge.mode = DEMUXBUF_MODE_EDGE;
    CHECK_REFUSED(demuxbuf_receiver_set_policy(NULL, plain, &edge, NULL, NULL).actions, DEMUXBUF_ERR_NULL);
    CHECK_REFUSED(demuxbuf_receiver_set_policy(pool, 0, &edge, NULL, NULL).actions, DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_done(pool, plain, DEMUXBUF_WANT_RECV).actions, 0);
    CHECK_NUMBER(demuxbuf_receiver_set_policy(pool, plain, &edge, NULL, NULL).actions, DEMUXBUF_WANT_RECV);
    CHECK_NUMBER(describe(pool, plain).mode, DEMUXBUF_MODE_EDGE);
    demuxbuf_pool_free(pool);

    demuxbuf_connection connection = {0};
    CHECK_REFUSED(demuxbuf_connection_set_policy(NULL, &edge, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_REFUSED(demuxbuf_connection_set_policy(&connection, NULL, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_REFUSED(demuxbuf_connection_set_policy(&connection, &edge, NULL, NULL), DEMUXBUF_ERR_NOT_ATTACHED);
    CHECK_NUMBER(demuxbuf_connection_attach(&connection, 0, 0), DEMUXBUF_WANT_RECV);
    CHECK_NUMBER(demuxbuf_connection_done(&connection, DEMUXBUF_WANT_RECV), 0);
    CHECK_NUMBER(demuxbuf_connection_set_policy(&connection, &edge, NULL, NULL), DEMUXBUF_WANT_RECV);
    demuxbuf_connection_close(&connection);
    CHECK_REFUSED(demuxbuf_connection_set_policy(&connection, &edge, NULL, NULL), DEMUXBUF_ERR_CLOSED);
}

static void class_is_of_each_receiver(void) {
    demuxbuf_pool *pool = new_pool(2);
    const uint64_t first = attach(pool, OPTIONS(.class_index = 1)), second = attach(pool, OPTIONS(.class_index = 1));
    CHECK_NUMBER(demuxbuf_receiver_set_class(NULL, second, 0), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_set_class(pool, 0, 0), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_set_class(pool, second, 2), DEMUXBUF_ERR_CLASS);
    CHECK_NUMBER(demuxbuf_receiver_set_class(pool, second, 256), DEMUXBUF_ERR_CLASS);
    CHECK_NUMBER(demuxbuf_receiver_set_class(pool, second, 0), DEMUXBUF_OK);
    CHECK(describe(pool, first).class_index == 1 && describe(pool, second).class_index == 0);
    stats_of(pool);
    demuxbuf_pool_free(pool);
}

/* A host that accepts no more while the table is full learns once when it can go on. */
static void full_table_is_followed_by_one_notice(void) {
    demuxbuf_pool *pool = new_pool(1);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    uint64_t receiver = attach(pool, NULL), made, lease, wait;
    FILL(made);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &made, NULL, NULL), DEMUXBUF_ERR_TABLE_FULL);
    demuxbuf_receiver_close(pool, receiver);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    receiver = attach(pool, OPTIONS(.notify_if_full = 1));
    for (int at = 0; at < 3; at++) {
        CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.notify_if_full = 1), &made, NULL, NULL),
                     DEMUXBUF_ERR_TABLE_FULL);
    }
    CHECK_UNTOUCHED(made);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    demuxbuf_receiver_close(pool, receiver);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.kind == DEMUXBUF_NOTICE_ATTACHABLE && notice.struct_size == sizeof notice);
    CHECK(notice.token == 0 && notice.receiver == 0 && notice.lease == 0 && notice.wait == 0);
    CHECK(notice.step.data == NULL && notice.step.bytes == 0 && notice.step.actions == 0);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    attach(pool, OPTIONS(.notify_if_full = 1));
    /* The other kind. */
    leave_free(pool, 1);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 7, &wait), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.kind == DEMUXBUF_NOTICE_LEASE && notice.token == 7 && notice.wait == wait && notice.receiver == 0);
    CHECK(notice.step.data == NULL && notice.step.bytes == 0 && notice.step.actions == 0);
    demuxbuf_pool_free(pool);
}

/*
 * Where no buffer is free for bytes that were read already, they are given to the first receives as far as there is
 * room, and the receiver waits for more.
 */
static void bytes_without_a_buffer_are_given_to_the_first_receives(void) {
    demuxbuf_pool *pool = new_pool(1);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    uint8_t bytes[100];
    uint64_t leases[2], receiver;
    leave_free(pool, 2);
    for (int at = 0; at < 100; at++) {
        bytes[at] = (uint8_t)at;
    }
    for (int at = 0; at < 2; at++) {
        CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &leases[at]), DEMUXBUF_OK);
    }
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.bytes = bytes, .length = sizeof bytes), &receiver, NULL, NULL),
                 DEMUXBUF_ERR_NO_BUFFER_FREE);
    receiver = attach(pool, OPTIONS(.token = 3));
    demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK(demuxbuf_step_has(step, DEMUXBUF_RECV) && step.bytes == 64);
    memcpy(step.data, bytes, 64);
    step = demuxbuf_receiver_received(pool, receiver, 64);
    CHECK(demuxbuf_step_has(step, DEMUXBUF_DECODE) && step.bytes == 64);
    step = demuxbuf_receiver_decoded(pool, receiver, 0, 36);
    step = demuxbuf_receiver_readable(pool, receiver);
    CHECK(!demuxbuf_step_has(step, DEMUXBUF_RECV) && describe(pool, receiver).waiting == 1);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    for (int at = 0; at < 2; at++) {
        CHECK_NUMBER(demuxbuf_pool_release(pool, leases[at]), DEMUXBUF_OK);
    }
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.token == 3 && demuxbuf_step_has(notice.step, DEMUXBUF_RECV) && notice.step.bytes >= 36);
    memcpy(notice.step.data, bytes + 64, 36);
    step = demuxbuf_receiver_received(pool, receiver, 36);
    CHECK(demuxbuf_step_has(step, DEMUXBUF_DECODE) && step.bytes == sizeof bytes);
    CHECK_SAME(step.data, bytes, sizeof bytes);
    demuxbuf_pool_free(pool);
}

int main(void) {
    null_options_are_the_defaults();
    refusals_have_messages();
    wrong_options_are_refused();
    policy_is_of_each_receiver();
    class_is_of_each_receiver();
    full_table_is_followed_by_one_notice();
    bytes_without_a_buffer_are_given_to_the_first_receives();
    return check_end();
}
