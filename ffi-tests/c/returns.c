/*
 * Which errors can each event function return? Random walks through all of them print each pair that is seen, for a
 * test to compare with what the header documents. Last comes the number of calls.
 */
#include "shard.h"

#define EVENT(name)                                                                                                    \
    { #name, name }

static const struct {
    const char *name;
    uint32_t (*call)(demuxbuf_connection *);
} plain[] = {
    EVENT(demuxbuf_connection_readable),
    EVENT(demuxbuf_connection_buffer_denied),
    EVENT(demuxbuf_connection_buffer_released),
    EVENT(demuxbuf_connection_would_block),
    EVENT(demuxbuf_connection_end_of_stream),
    EVENT(demuxbuf_connection_transport_error),
    EVENT(demuxbuf_connection_wake),
    EVENT(demuxbuf_connection_pause_recv),
    EVENT(demuxbuf_connection_resume_recv),
    EVENT(demuxbuf_connection_fail),
    EVENT(demuxbuf_connection_close),
    EVENT(demuxbuf_connection_would_block_armed),
};
static const struct {
    const char *name;
    uint32_t (*call)(demuxbuf_connection *, uint32_t);
} number[] = {
    EVENT(demuxbuf_connection_buffer_granted), EVENT(demuxbuf_connection_received),
    EVENT(demuxbuf_connection_consumed),       EVENT(demuxbuf_connection_need_more),
    EVENT(demuxbuf_connection_block),          EVENT(demuxbuf_connection_unblock),
    EVENT(demuxbuf_connection_done),           EVENT(demuxbuf_connection_set_blocked),
};
static const struct {
    const char *name;
    demuxbuf_step (*call)(demuxbuf_pool *, uint64_t);
} receiver_plain[] = {
    EVENT(demuxbuf_receiver_readable),
    EVENT(demuxbuf_receiver_would_block),
    EVENT(demuxbuf_receiver_end_of_stream),
    EVENT(demuxbuf_receiver_transport_error),
    EVENT(demuxbuf_receiver_wake),
    EVENT(demuxbuf_receiver_pause_recv),
    EVENT(demuxbuf_receiver_resume_recv),
    EVENT(demuxbuf_receiver_fail),
    EVENT(demuxbuf_receiver_close),
    EVENT(demuxbuf_receiver_pending),
    EVENT(demuxbuf_receiver_would_block_armed),
};
static const struct {
    const char *name;
    demuxbuf_step (*call)(demuxbuf_pool *, uint64_t, uint32_t);
} receiver_number[] = {
    EVENT(demuxbuf_receiver_received),    EVENT(demuxbuf_receiver_block), EVENT(demuxbuf_receiver_unblock),
    EVENT(demuxbuf_receiver_set_blocked), EVENT(demuxbuf_receiver_done),
};
#define LENGTH(table) (sizeof(table) / sizeof(table)[0])

/* Errors are multiples of `UNIT`. */
enum {
    UNIT = 65536,
    ERRORS = 72,
    FUNCTIONS = LENGTH(plain) + LENGTH(number) + LENGTH(receiver_plain) + LENGTH(receiver_number) + 5
};

static uint64_t seed = 7;
static const char *functions[FUNCTIONS];
static unsigned char seen[FUNCTIONS][ERRORS];

static uint32_t any_number(void) {
    static const uint32_t numbers[] = {0, 1, 2, 9, DEMUXBUF_RECV, 63, 64, 65, 200, UINT32_MAX};
    return numbers[check_random(&seed) % LENGTH(numbers)];
}

static void note(const char *name, uint32_t actions) {
    int32_t status = demuxbuf_actions_status_inline(actions);
    if (status == DEMUXBUF_OK) {
        return;
    }
    CHECK(status < 0 && status % UNIT == 0 && status > -ERRORS * UNIT);
    int at = 0;
    while (functions[at] != NULL && strcmp(functions[at], name) != 0) {
        at++;
    }
    functions[at] = name;
    seen[at][-(status / UNIT)] = 1;
}

static void walk_connection(uint8_t mode) {
    demuxbuf_policy policy = {.struct_size = sizeof policy, .park_bytes = 64, .mode = mode, .reads_per_wake = 2};
    demuxbuf_connection connection;
    CHECK_NUMBER(demuxbuf_connection_init(&connection, &policy, NULL, NULL), DEMUXBUF_OK);
    if (check_random(&seed) % 8 == 0) {
        memset(&connection, 0xff, sizeof connection);
    }
    for (int step = 0; step < 150; step++) {
        uint32_t chosen = check_random(&seed) % (LENGTH(plain) + LENGTH(number) + 6);
        uint32_t with = any_number();
        if (chosen < LENGTH(plain)) {
            note(plain[chosen].name, plain[chosen].call(&connection));
        } else if (chosen < LENGTH(plain) + LENGTH(number)) {
            chosen -= LENGTH(plain);
            note(number[chosen].name, number[chosen].call(&connection, with));
        } else if (chosen == LENGTH(plain) + LENGTH(number)) {
            note("demuxbuf_connection_sync", demuxbuf_connection_sync(&connection, with, any_number(), 0, 0, 0));
        } else if (chosen <= LENGTH(plain) + LENGTH(number) + 2) {
            uint32_t event = check_random(&seed) % 25;
            note("demuxbuf_connection_report",
                 demuxbuf_connection_report(&connection, event, with % 3 == 0 ? 0 : with));
        } else {
            note("demuxbuf_connection_attach", demuxbuf_connection_attach(&connection, with, any_number()));
            if ((demuxbuf_connection_pending(&connection) & DEMUXBUF_REQUEST_BUFFER) != 0) {
                if (check_random(&seed) % 2 == 0) {
                    demuxbuf_connection_buffer_granted(&connection, 64);
                } else {
                    demuxbuf_connection_buffer_denied(&connection);
                    demuxbuf_connection_report(&connection, DEMUXBUF_EVENT_BUFFER_PARKED, 64);
                    demuxbuf_connection_received(&connection, 9);
                    demuxbuf_connection_need_more(&connection, 9);
                }
            }
            if ((demuxbuf_connection_pending(&connection) & DEMUXBUF_RECV) != 0 && check_random(&seed) % 2 == 0) {
                demuxbuf_connection_done(&connection, DEMUXBUF_RECV);
                /* From a slot, so rare that the walk does not always come by. */
                note("demuxbuf_connection_consumed", demuxbuf_connection_consumed(&connection, 1));
            }
        }
    }
}

static void walk_receivers(demuxbuf_pool *pool, uint64_t receivers[8]) {
    uint64_t *receiver = &receivers[check_random(&seed) % 8];
    uint32_t chosen = check_random(&seed) % (LENGTH(receiver_plain) + LENGTH(receiver_number) + 5);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    if (chosen < LENGTH(receiver_plain)) {
        note(receiver_plain[chosen].name, receiver_plain[chosen].call(pool, *receiver).actions);
    } else if (chosen < LENGTH(receiver_plain) + LENGTH(receiver_number)) {
        chosen -= LENGTH(receiver_plain);
        note(receiver_number[chosen].name, receiver_number[chosen].call(pool, *receiver, any_number()).actions);
    } else if (chosen == LENGTH(receiver_plain) + LENGTH(receiver_number)) {
        demuxbuf_receiver_done(pool, *receiver, DEMUXBUF_RECV);
        const uint32_t consumed = any_number();
        note("demuxbuf_receiver_decoded", demuxbuf_receiver_decoded(pool, *receiver, consumed, any_number()).actions);
        while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK) {
        }
    } else if (chosen <= LENGTH(receiver_plain) + LENGTH(receiver_number) + 3) {
        const uint32_t event = check_random(&seed) % 25, value = check_random(&seed) % 2 != 0 ? any_number() : 0;
        note("demuxbuf_receiver_report", demuxbuf_receiver_report(pool, *receiver, event, value).actions);
    } else {
        demuxbuf_receiver_close(pool, *receiver);
        demuxbuf_receiver_would_block(pool, *receiver);
        CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, receiver, NULL, NULL), DEMUXBUF_OK);
    }
}

/* Nothing is decoded while there is no buffer for it: the one to receive into is another receiver's. */
static void consume_without_a_buffer(void) {
    const demuxbuf_pool_config config = config_of(6, 2, 128);
    demuxbuf_pool *pool = pool_of(&config);
    uint64_t keeps, receives;
    leave_free(pool, 0);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &keeps, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receives, NULL, NULL), DEMUXBUF_OK);
    demuxbuf_receiver_readable(pool, keeps);
    demuxbuf_receiver_received(pool, keeps, 9);
    CHECK_REFUSED(demuxbuf_receiver_block(pool, keeps, 1).actions, DEMUXBUF_OK);
    CHECK((demuxbuf_receiver_readable(pool, receives).actions & DEMUXBUF_RECV) != 0);
    note("demuxbuf_receiver_decoded", demuxbuf_receiver_decoded(pool, keeps, 1, 0).actions);
    note("demuxbuf_receiver_report", demuxbuf_receiver_report(pool, keeps, DEMUXBUF_EVENT_CONSUMED, 1).actions);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
}

/* Of a receiver that counts, while memory is short: a frame is looked at, decoded, and received away. */
static void look_at_frames(void) {
    const demuxbuf_pool_config config = config_of(6, 2, 128);
    const demuxbuf_policy policy = {.struct_size = sizeof policy, .counting = 1};
    const demuxbuf_attach_options counting = {.struct_size = sizeof counting, .policy = &policy};
    demuxbuf_pool *pool = pool_of(&config);
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, &counting, &receiver, NULL, NULL), DEMUXBUF_OK);
    leave_free(pool, 0);
    CHECK((demuxbuf_receiver_readable(pool, receiver).actions & DEMUXBUF_PEEK) != 0);
    CHECK((demuxbuf_receiver_decoded(pool, receiver, 0, 100).actions & DEMUXBUF_RECV_WHOLE) != 0);
    note("demuxbuf_receiver_received", demuxbuf_receiver_received(pool, receiver, 99).actions);
    note("demuxbuf_receiver_report", demuxbuf_receiver_report(pool, receiver, DEMUXBUF_EVENT_RECEIVED, 99).actions);
    CHECK((demuxbuf_receiver_received(pool, receiver, 100).actions & DEMUXBUF_DECODE) != 0);
    note("demuxbuf_receiver_end_of_stream", demuxbuf_receiver_end_of_stream(pool, receiver).actions);
    CHECK((demuxbuf_receiver_decoded(pool, receiver, 100, 0).actions & DEMUXBUF_DISCARD) != 0);
    note("demuxbuf_receiver_would_block", demuxbuf_receiver_would_block(pool, receiver).actions);
    note("demuxbuf_receiver_would_block_armed", demuxbuf_receiver_would_block_armed(pool, receiver).actions);
    CHECK_REFUSED(demuxbuf_receiver_received(pool, receiver, 100).actions, DEMUXBUF_OK);
    CHECK((demuxbuf_receiver_readable(pool, receiver).actions & DEMUXBUF_PEEK) != 0);
    CHECK((demuxbuf_receiver_decoded(pool, receiver, 0, 200).actions & DEMUXBUF_CANNOT_FIT) != 0);
    note("demuxbuf_receiver_decoded", demuxbuf_receiver_decoded(pool, receiver, 0, 0).actions);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
}

/* Delivered bytes stay in the host's memory until they are reported on. */
static void leave_bytes_in_place(void) {
    const demuxbuf_pool_config config = config_of(6, 2, 128);
    demuxbuf_pool *pool = pool_of(&config);
    uint8_t ring[128] = {0};
    uint32_t accepted;
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receiver, NULL, NULL), DEMUXBUF_OK);
    demuxbuf_step step = demuxbuf_receiver_deliver(pool, receiver, ring, 5, &accepted);
    CHECK((step.actions & DEMUXBUF_DECODE) != 0);
    note("demuxbuf_receiver_decoded", demuxbuf_receiver_decoded(pool, receiver, 1, 5).actions);
    note("demuxbuf_receiver_end_of_stream", demuxbuf_receiver_end_of_stream(pool, receiver).actions);
    note("demuxbuf_receiver_transport_error", demuxbuf_receiver_transport_error(pool, receiver).actions);
    note("demuxbuf_receiver_report",
         demuxbuf_receiver_report(pool, receiver, DEMUXBUF_EVENT_TRANSPORT_ERROR, 0).actions);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
}

static void walk_pool(demuxbuf_pool *pool, int steps) {
    uint64_t receivers[8] = {0};
    for (int step = 0; step < steps; step++) {
        walk_receivers(pool, receivers);
        CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    }
}

static void walk_pools(void) {
    const demuxbuf_pool_config config = config_of(6, 8, 128);
    demuxbuf_pool_config shared_config = shared_config_of(1, 6, 8, 128);
    shared_config.mode = DEMUXBUF_MODE_COMPLETION;
    for (uint32_t left = 0; left <= 1; left++) {
        demuxbuf_pool *pool = pool_of(&config);
        leave_free(pool, left);
        walk_pool(pool, 200000);
        demuxbuf_pool_free(pool);
    }
    const struct shard shard = new_shard(&shared_config);
    walk_pool(shard.pool, 2000000);
    free_shard(shard);
}

int main(void) {
    for (int walk = 0; walk < 4000; walk++) {
        walk_connection((uint8_t)(walk % 5));
    }
    walk_pools();
    consume_without_a_buffer();
    look_at_frames();
    leave_bytes_in_place();
    for (int at = 0; at < FUNCTIONS; at++) {
        for (int status = 1; status < ERRORS; status++) {
            if (seen[at][status]) {
                printf("%s %d\n", functions[at], -status * UNIT);
            }
        }
    }
    return check_end();
}
