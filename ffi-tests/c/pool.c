/* The pool: configuration, requests of the host's own, hand-off, statistics; right and wrong. */
#include "pools.h"

enum { BUFFER_BYTES = 16448, BUFFERS = 8, LEASES = 6 };

static demuxbuf_pool_config usual_config(void) {
    return config_of(LEASES, 1, BUFFER_BYTES);
}

/* One class, one receiver, this many buffers left, and this many waits of the host's own. */
static demuxbuf_pool *new_pool(uint32_t buffers, uint32_t waits) {
    demuxbuf_pool_config config = usual_config();
    config.waiters_max = waits;
    demuxbuf_pool *pool = pool_of(&config);
    leave_free(pool, buffers);
    return pool;
}

static demuxbuf_pool_stats stats_of(const demuxbuf_pool *pool) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    CHECK_NUMBER(stats.free + stats.leased + stats.assigned, stats.buffers);
    return stats;
}

/* The call is refused with this status, and the pool counts what it did before. */
#define REFUSED(call, pool, status)                                                                                    \
    do {                                                                                                               \
        const demuxbuf_pool_stats before_ = stats_of(pool);                                                            \
        CHECK_NUMBER(call, status);                                                                                    \
        const demuxbuf_pool_stats after_ = stats_of(pool);                                                             \
        CHECK_SAME(&after_, &before_, sizeof before_);                                                                 \
    } while (0)

static void null_is_refused_everywhere(void) {
    const demuxbuf_pool_config config = usual_config();
    demuxbuf_pool *pool = new_pool(1, 1);
    demuxbuf_pool *made;
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    uint64_t number;
    uint8_t *data;
    uint32_t bytes;
    char message[16];
    FILL(made), FILL_SIZED(stats), FILL_SIZED(notice), FILL(number), FILL(data), FILL(bytes), FILL(message);
    CHECK_NUMBER(demuxbuf_pool_config_init(NULL, 1, 1), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_new(NULL, &made, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_new(&config, NULL, message, &(size_t){sizeof message}), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_request(NULL, 0, 0, &number), DEMUXBUF_ERR_NULL);
    REFUSED(demuxbuf_pool_request(pool, 0, 0, NULL), pool, DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_release(NULL, 0), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_cancel(NULL, 0), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_buffer(NULL, 0, &data, &bytes), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_buffer(pool, 0, NULL, &bytes), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_buffer(pool, 0, &data, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(NULL, &notice), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(NULL, 1), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(NULL), UINT64_MAX);
    CHECK_NUMBER(demuxbuf_pool_bypass_bound(NULL, &number), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_bypass_bound(pool, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_trim(NULL, &number), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_drain(NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_set_times(NULL, 8, 8, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_set_times(pool, 8, 8, message, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_set_memory_limit(NULL, 8, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_set_memory_limit(pool, 8, message, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_trim(pool, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_get_stats(NULL, &stats), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(NULL), DEMUXBUF_ERR_NULL);
    CHECK_UNTOUCHED(made);
    CHECK_UNTOUCHED_SIZED(stats);
    CHECK_UNTOUCHED_SIZED(notice);
    CHECK_UNTOUCHED(number);
    CHECK_UNTOUCHED(data);
    CHECK_UNTOUCHED(bytes);
    CHECK_UNTOUCHED(message);
    demuxbuf_pool_free(pool);
    demuxbuf_pool_free(NULL);
}

/* Granted or not, it leaves no wait behind, and no notice follows. */
static void try_request_never_queues(void) {
    demuxbuf_pool_config config = usual_config();
    config.classes = 2;
    demuxbuf_pool *pool = pool_of(&config);
    leave_free(pool, 1);
    demuxbuf_request request = {.struct_size = sizeof request, .token = 5};
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    uint64_t lease, wait, none;
    FILL(none);
    CHECK_NUMBER(demuxbuf_pool_try_request(NULL, &request, &none, NULL, NULL), DEMUXBUF_ERR_NULL);
    REFUSED(demuxbuf_pool_try_request(pool, NULL, &none, NULL, NULL), pool, DEMUXBUF_ERR_NULL);
    REFUSED(demuxbuf_pool_try_request(pool, &request, NULL, NULL, NULL), pool, DEMUXBUF_ERR_NULL);
    request.struct_size--;
    REFUSED(demuxbuf_pool_try_request(pool, &request, &none, NULL, NULL), pool, DEMUXBUF_ERR_STRUCT_SIZE);
    request.struct_size++, request.class_index = 2;
    REFUSED(demuxbuf_pool_try_request(pool, &request, &none, NULL, NULL), pool, DEMUXBUF_ERR_CLASS);
    request.class_index = 0, request.tenant = 1;
    REFUSED(demuxbuf_pool_try_request(pool, &request, &none, NULL, NULL), pool, DEMUXBUF_ERR_STALE);
    request.tenant = 0;
    CHECK_NUMBER(demuxbuf_pool_try_request(pool, &request, &lease, NULL, NULL), DEMUXBUF_OK);
    REFUSED(demuxbuf_pool_try_request(pool, &request, &none, NULL, NULL), pool, DEMUXBUF_STATUS_NONE);
    CHECK_UNTOUCHED(none);
    /* The buffer is assigned to the request that queued, and none goes before it. */
    CHECK_NUMBER(demuxbuf_pool_request(pool, 1, 6, &wait), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    REFUSED(demuxbuf_pool_try_request(pool, &request, &none, NULL, NULL), pool, DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.wait == wait && notice.token == 6);
    CHECK_NUMBER(demuxbuf_pool_release(pool, notice.lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_try_request(pool, &request, &lease, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    demuxbuf_pool_free(pool);
}

/* Jobs that hold one buffer and ask for another: which pairs can wait for each other without end. */
static void nested_requests_are_checked(void) {
    demuxbuf_pool_config config = usual_config();
    config.classes = 3, config.reserves[1] = 1, config.reserves[2] = 1;
    const demuxbuf_nested_request nested[] = {{1, 0}, {1, 0}, {2, 0}, {2, 1}};
    char message[160];
    size_t room = sizeof message;
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 0, nested, 3, message, &room), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 0, NULL, 0, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 0, nested, 4, message, &room),
                 DEMUXBUF_ERR_DEADLOCK);
    CHECK(strcmp(message,
                 "jobs that hold class 2 and ask for class 1 can wait without end: they can leave 1 units free, "
                 "and class 1 needs 2") == 0);
    CHECK_NUMBER(room, strlen(message) + 1);
    room = 8;
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 0, nested, 4, message, &room),
                 DEMUXBUF_ERR_DEADLOCK);
    CHECK(strcmp(message, "jobs th") == 0 && room > 8);
    config.reserves[2] = 2;
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 0, nested, 4, NULL, NULL), DEMUXBUF_OK);

    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(NULL, 0, nested, 4, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 0, NULL, 1, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 0, nested, 4, message, NULL), DEMUXBUF_ERR_NULL);
    const demuxbuf_nested_request wrong[] = {{2, 1}, {1, 3}, {256, 0}};
    room = sizeof message;
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 0, wrong, 2, message, &room), DEMUXBUF_ERR_CONFIG);
    CHECK(strcmp(message, "asks[1] is 3; allowed is 0 to 2") == 0);
    room = sizeof message;
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 0, wrong + 2, 1, message, &room),
                 DEMUXBUF_ERR_CONFIG);
    CHECK(strcmp(message, "holds[0] is 256; allowed is 0 to 2") == 0);
    config.classes = 0, room = sizeof message;
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 0, wrong, 3, message, &room), DEMUXBUF_ERR_CONFIG);
    CHECK(strstr(message, "classes is 0") != NULL);
    config = usual_config(), config.classes = 3, config.memory_bytes = 16 * config.buffer_bytes,
    config.class_caps[1] = 10;
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 0, nested, 1, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 2, nested, 1, NULL, NULL), DEMUXBUF_ERR_DEADLOCK);
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 3, nested, 1, message, &room),
                 DEMUXBUF_ERR_CONFIG);
    config.struct_size--;
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 0, nested, 4, NULL, NULL),
                 DEMUXBUF_ERR_STRUCT_SIZE);
}

static void defaults_are_as_documented(void) {
    demuxbuf_pool_config config;
    FILL_SIZED(config);
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 1000000, 100), DEMUXBUF_OK);
    CHECK_NUMBER(config.struct_size, sizeof config);
    CHECK(config.memory_bytes == 1000000 && config.receivers_max == 100 && config.waiters_max == 100);
    CHECK(config.buffer_bytes == 16448 && config.tenants_max == 0 && config.classes == 1 && config.class_burst >= 1);
    CHECK(config.frame_grace_ns == 1000000000 && config.blocked_ns == 2000000000);
    CHECK(config.mode == DEMUXBUF_MODE_LEVEL && config.reads_per_wake == 0 && config.pause_when_blocked == 0);
    CHECK(config.reads_ahead == 0 && config.resume_free_bytes == 0 && config.in_flight_max == 0);
    for (int at = 0; at < DEMUXBUF_CLASSES_MAX; at++) {
        CHECK(config.reserves[at] == 0 && config.class_caps[at] == UINT32_MAX);
    }
    /* What is too much is refused only when a pool is made. */
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, UINT64_MAX, UINT32_MAX), DEMUXBUF_OK);
    CHECK(config.waiters_max == UINT32_MAX && config.memory_bytes == UINT64_MAX);
}

/* Refused; the message names the field and its value; neither the pool nor what is behind the message is written. */
static void refuse_config(const demuxbuf_pool_config *config, const char *field, const char *value, int32_t status) {
    demuxbuf_pool *pool;
    char message[200];
    FILL(pool), FILL(message);
    CHECK_NUMBER(demuxbuf_pool_new(config, &pool, message, &(size_t){sizeof message}), status);
    CHECK_UNTOUCHED(pool);
    CHECK(memchr(message, 0, sizeof message) != NULL);
    if (strstr(message, field) == NULL || strstr(message, value) == NULL) {
        fprintf(stderr, "expected %s and %s in: %s\n", field, value, message);
        CHECK(0);
    }
    size_t whole = strlen(message);
    for (size_t room = 0; room <= whole + 2; room++) {
        char cut[200];
        FILL(cut);
        size_t needed = room;
        CHECK_NUMBER(demuxbuf_pool_new(config, &pool, cut, &needed), status);
        CHECK_NUMBER(needed, whole + 1);
        size_t written = room == 0 ? 0 : room <= whole ? room : whole + 1;
        CHECK(written == 0 || (cut[written - 1] == 0 && strncmp(cut, message, written - 1) == 0));
        check_pattern(cut + written, sizeof cut - written, "what is behind the message", __FILE__, __LINE__);
    }
    size_t needed = SIZE_MAX;
    CHECK_NUMBER(demuxbuf_pool_new(config, &pool, NULL, &needed), status);
    CHECK_NUMBER(needed, whole + 1);
    CHECK_NUMBER(demuxbuf_pool_new(config, &pool, NULL, NULL), status);
    FILL(message);
    CHECK_NUMBER(demuxbuf_pool_new(config, &pool, message, NULL), DEMUXBUF_ERR_NULL);
    CHECK_UNTOUCHED(message);
    CHECK_UNTOUCHED(pool);
}

#define REFUSE_FIELD_AS(status, field, wrong, value)                                                                   \
    do {                                                                                                               \
        demuxbuf_pool_config config_ = usual_config();                                                                 \
        config_.field = (wrong);                                                                                       \
        refuse_config(&config_, #field, value, status);                                                                \
    } while (0)

#define REFUSE_FIELD(field, wrong, value) REFUSE_FIELD_AS(DEMUXBUF_ERR_CONFIG, field, wrong, value)

static void config_error_names_the_field(void) {
    REFUSE_FIELD_AS(DEMUXBUF_ERR_STRUCT_SIZE, struct_size, 0, "0");
    REFUSE_FIELD_AS(DEMUXBUF_ERR_STRUCT_SIZE, struct_size, sizeof(demuxbuf_pool_config) - 1, "is ");
    REFUSE_FIELD_AS(DEMUXBUF_ERR_STRUCT_SIZE, struct_size, 4097, "is 4097");
    REFUSE_FIELD_AS(DEMUXBUF_ERR_STRUCT_SIZE, struct_size, UINT32_MAX, "4294967295");
    REFUSE_FIELD(mode, 5, "5");
    REFUSE_FIELD(mode, 255, "255");
    REFUSE_FIELD(memory_bytes, 0, "0");
    REFUSE_FIELD(memory_bytes, BUFFERS * BUFFER_BYTES - 1, "131583");
    REFUSE_FIELD(memory_bytes, UINT64_MAX, "18446744073709551615");
    REFUSE_FIELD(buffer_bytes, 0, "0");
    REFUSE_FIELD(buffer_bytes, 64, "64");
    REFUSE_FIELD(buffer_bytes, 129, "129");
    REFUSE_FIELD(buffer_bytes, 16777217, "16777217");
    REFUSE_FIELD(buffer_bytes, 16777280, "16777280");
    REFUSE_FIELD(buffer_bytes, UINT32_MAX, "4294967295");
    REFUSE_FIELD(receivers_max, 0, "0");
    REFUSE_FIELD(receivers_max, UINT32_MAX, "4294967295");
    REFUSE_FIELD(frame_grace_ns, 0, "0");
    REFUSE_FIELD(frame_grace_ns, UINT64_MAX, "18446744073709551615");
    REFUSE_FIELD(blocked_ns, 7, "7");
    REFUSE_FIELD(blocked_ns, UINT64_MAX, "18446744073709551615");
    REFUSE_FIELD(in_flight_max, BUFFERS + 1, "9");
    REFUSE_FIELD(waiters_max, UINT32_MAX, "4294967295");
    REFUSE_FIELD(tenants_max, UINT32_MAX, "4294967295");
    REFUSE_FIELD(classes, 0, "0");
    REFUSE_FIELD(classes, 9, "9");
    REFUSE_FIELD(classes, 256, "256");
    REFUSE_FIELD(classes, UINT32_MAX, "4294967295");
    REFUSE_FIELD(class_burst, 0, "0");
    REFUSE_FIELD(reserves[0], 5, "5");
    REFUSE_FIELD(reserves[0], UINT32_MAX, "4294967295");
    REFUSE_FIELD(reserves[1], 1, "1");
    REFUSE_FIELD(class_caps[0], 3, "3");
    REFUSE_FIELD(class_caps[7], 0, "0");

    demuxbuf_pool_config config;
    memset(&config, 0, sizeof config);
    refuse_config(&config, "struct_size", "0", DEMUXBUF_ERR_STRUCT_SIZE);
    memset(&config, 0xff, sizeof config);
    refuse_config(&config, "struct_size", "4294967295", DEMUXBUF_ERR_STRUCT_SIZE);
}

/* 2^23 buffers of 2^24 bytes are more than the addresses of a process. */
static void no_memory_is_an_error(void) {
    demuxbuf_pool_config config = usual_config();
    demuxbuf_pool *pool;
    char message[100];
    FILL(pool);
    config.memory_bytes = UINT64_C(1) << 47;
    config.buffer_bytes = 1u << 24;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, message, &(size_t){sizeof message}), DEMUXBUF_ERR_NO_MEMORY);
    CHECK_UNTOUCHED(pool);
    CHECK(strstr(message, "no memory") != NULL);
}

static void limits_are_allowed(void) {
    demuxbuf_pool_config config = usual_config();
    demuxbuf_pool *pool;
    char message[8];
    config.memory_bytes = BUFFERS * (1ull << 24);
    config.buffer_bytes = 1u << 24;
    config.frame_grace_ns = config.blocked_ns = UINT64_MAX / 4;
    config.classes = DEMUXBUF_CLASSES_MAX;
    config.class_burst = UINT32_MAX;
    config.waiters_max = 0;
    for (int at = 0; at < DEMUXBUF_CLASSES_MAX; at++) {
        config.reserves[at] = at < DEMUXBUF_CLASSES_MAX - 1 ? LEASES - 1 : LEASES - 2;
        config.class_caps[at] = at < DEMUXBUF_CLASSES_MAX - 1 ? 1 : 4;
    }
    FILL(message);
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, message, &(size_t){sizeof message}), DEMUXBUF_OK);
    CHECK_UNTOUCHED(message);
    CHECK_NUMBER(stats_of(pool).memory_bytes, 8u << 24);
    /* Every class can have a buffer. */
    for (uint32_t class_index = 0; class_index < DEMUXBUF_CLASSES_MAX; class_index++) {
        uint64_t lease;
        CHECK_NUMBER(demuxbuf_pool_request(pool, class_index, 0, &lease), DEMUXBUF_OK);
        CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    }
    demuxbuf_pool_free(pool);
}

static void host_buffer_lease(void) {
    demuxbuf_pool *pool = new_pool(2, 4);
    uint64_t leases[2];
    uint8_t *data[2];
    uint32_t bytes;
    for (int at = 0; at < 2; at++) {
        CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 7, &leases[at]), DEMUXBUF_OK);
        CHECK(leases[at] != 0);
        CHECK_NUMBER(demuxbuf_pool_buffer(pool, leases[at], &data[at], &bytes), DEMUXBUF_OK);
        CHECK_NUMBER(bytes, 16448);
        CHECK_NUMBER((uintptr_t)data[at] % 64, 0);
        memset(data[at], at + 1, bytes);
    }
    CHECK(data[0] + bytes <= data[1] || data[1] + bytes <= data[0]);
    CHECK(data[0][0] == 1 && data[0][bytes - 1] == 1 && data[1][0] == 2 && data[1][bytes - 1] == 2);
    demuxbuf_pool_stats stats = stats_of(pool);
    CHECK(stats.leased == BUFFERS && stats.free == 0 && stats.granted_at_once == BUFFERS);
    CHECK(stats.leased_peak == BUFFERS && stats.buffers == BUFFERS);
    CHECK_NUMBER(demuxbuf_pool_release(pool, leases[0]), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_release(pool, leases[1]), DEMUXBUF_OK);
    CHECK_NUMBER(stats_of(pool).free, 2);
    demuxbuf_pool_free(pool);
}

static void unknown_handles_are_refused(void) {
    demuxbuf_pool *pool = new_pool(2, 2), *other = new_pool(2, 2);
    uint64_t lease, last, wait, foreign, foreign_last, foreign_wait, receiver, gone;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = 1), &receiver, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 1, &gone), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_release(pool, gone), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 1, &lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 1, &last), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 1, &wait), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_request(other, 0, 1, &foreign), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(other, 0, 1, &foreign_last), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(other, 0, 1, &foreign_wait), DEMUXBUF_STATUS_QUEUED);

    uint64_t nobodys[70] = {
        0, UINT64_MAX, 1, UINT32_MAX, UINT64_C(1) << 32, gone, foreign, foreign_last, foreign_wait, receiver};
    size_t count = 10;
    for (int bit = 0; bit < 60; bit++) {
        nobodys[count++] = lease ^ (UINT64_C(1) << bit) ^ (UINT64_C(1) << 63);
    }
    for (size_t at = 0; at < count; at++) {
        uint8_t *data;
        uint32_t bytes;
        FILL(data), FILL(bytes);
        REFUSED(demuxbuf_pool_release(pool, nobodys[at]), pool, DEMUXBUF_ERR_STALE);
        REFUSED(demuxbuf_pool_cancel(pool, nobodys[at]), pool, DEMUXBUF_ERR_STALE);
        REFUSED(demuxbuf_pool_buffer(pool, nobodys[at], &data, &bytes), pool, DEMUXBUF_ERR_STALE);
        CHECK_UNTOUCHED(data);
        CHECK_UNTOUCHED(bytes);
    }
    /* A handle of another kind is stale. */
    REFUSED(demuxbuf_pool_release(pool, wait), pool, DEMUXBUF_ERR_STALE);
    REFUSED(demuxbuf_pool_cancel(pool, lease), pool, DEMUXBUF_ERR_STALE);
    REFUSED(demuxbuf_pool_cancel(pool, last), pool, DEMUXBUF_ERR_STALE);
    for (int at = 0; at < 3; at++) {
        demuxbuf_step step = demuxbuf_receiver_pending(pool, (const uint64_t[]){lease, last, wait}[at]);
        CHECK_REFUSED(step.actions, DEMUXBUF_ERR_STALE);
    }
    /* Cancelled or released twice. */
    CHECK_NUMBER(demuxbuf_pool_cancel(pool, wait), DEMUXBUF_OK);
    REFUSED(demuxbuf_pool_cancel(pool, wait), pool, DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    REFUSED(demuxbuf_pool_release(pool, lease), pool, DEMUXBUF_ERR_STALE);
    demuxbuf_pool_free(pool);
    demuxbuf_pool_free(other);
}

static void class_out_of_range_is_refused(void) {
    demuxbuf_pool *pool = new_pool(1, 1);
    const uint32_t wrong[] = {1, 7, 8, 255, 256, 257, 1u << 31, UINT32_MAX};
    for (size_t at = 0; at < sizeof wrong / sizeof wrong[0]; at++) {
        uint64_t number;
        FILL(number);
        REFUSED(demuxbuf_pool_request(pool, wrong[at], 0, &number), pool, DEMUXBUF_ERR_CLASS);
        CHECK_UNTOUCHED(number);
    }
    demuxbuf_pool_free(pool);
}

static void waiters_are_served_in_order_by_handoff(void) {
    demuxbuf_pool *pool = new_pool(1, 3);
    uint64_t lease, waits[3], number;
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 99, &lease), DEMUXBUF_OK);
    for (int at = 0; at < 3; at++) {
        CHECK_NUMBER(demuxbuf_pool_request(pool, 0, UINT64_MAX - (uint64_t)at, &waits[at]), DEMUXBUF_STATUS_QUEUED);
    }
    FILL(number), FILL_SIZED(notice);
    REFUSED(demuxbuf_pool_request(pool, 0, 5, &number), pool, DEMUXBUF_ERR_TABLE_FULL);
    CHECK_UNTOUCHED(number);
    REFUSED(demuxbuf_pool_poll_notice(pool, &notice), pool, DEMUXBUF_STATUS_NONE);
    CHECK_UNTOUCHED_SIZED(notice);
    CHECK_NUMBER(stats_of(pool).waiting, 3);

    /* A hand-off inside the release; a waiter that ends with the buffer assigned passes it on. */
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    demuxbuf_pool_stats stats = stats_of(pool);
    CHECK(stats.assigned == 1 && stats.waiting == 2 && stats.free == 0);
    CHECK_NUMBER(demuxbuf_pool_cancel(pool, waits[0]), DEMUXBUF_OK);
    stats = stats_of(pool);
    CHECK(stats.assigned == 1 && stats.waiting == 1 && stats.free == 0 && stats.cancelled == 1);

    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.token == UINT64_MAX - 1 && notice.wait == waits[1] && notice.receiver == 0 && notice.lease != 0);
    CHECK(notice.step.actions == 0 && notice.step.data == NULL && notice.step.bytes == 0);
    REFUSED(demuxbuf_pool_cancel(pool, waits[1]), pool, DEMUXBUF_ERR_STALE);
    REFUSED(demuxbuf_pool_release(pool, lease), pool, DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_release(pool, notice.lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.token == UINT64_MAX - 2 && notice.wait == waits[2]);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    stats = stats_of(pool);
    CHECK(stats.granted_by_handoff == 3 && stats.waiting_peak == 3 && stats.granted_at_once == BUFFERS);
    demuxbuf_pool_free(pool);
}

static void time_and_bounds(void) {
    demuxbuf_pool *pool = new_pool(1, 3);
    uint64_t grants;
    CHECK_NUMBER(demuxbuf_pool_bypass_bound(pool, &grants), DEMUXBUF_OK);
    CHECK_NUMBER(grants, 2);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 10), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 10), DEMUXBUF_OK);
    CHECK_NUMBER(stats_of(pool).clock_backwards, 0);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 9), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 0), DEMUXBUF_OK);
    CHECK_NUMBER(stats_of(pool).clock_backwards, 2);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, UINT64_MAX), DEMUXBUF_OK);
    CHECK_NUMBER(stats_of(pool).clock_backwards, 2);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), UINT64_MAX);
    demuxbuf_pool_free(pool);
}

/* Times out of range are refused as in a configuration. */
static void times_change_while_the_pool_lives(void) {
    demuxbuf_pool *pool = new_pool(1, 3);
    char message[64];
    size_t room = sizeof message;
    const uint64_t bound_ns = stats_of(pool).wait_ns_max;
    CHECK_NUMBER(demuxbuf_pool_set_times(pool, 7, 8, message, &room), DEMUXBUF_ERR_CONFIG);
    CHECK(strcmp(message, "frame_grace_ns is 7; allowed is 8 to 4611686018427387903") == 0);
    CHECK_NUMBER(demuxbuf_pool_set_times(pool, 8, 0, NULL, NULL), DEMUXBUF_ERR_CONFIG);
    CHECK_NUMBER(stats_of(pool).wait_ns_max, bound_ns);
    CHECK_NUMBER(demuxbuf_pool_set_times(pool, 200000000, 8, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(stats_of(pool).wait_ns_max, bound_ns - 900000000);
    demuxbuf_pool_free(pool);
}

static void trim_returns_pages_of_free_buffers(void) {
    const demuxbuf_pool_config config = config_of(LEASES, 1, 16384); /* whole pages */
    demuxbuf_pool *pool = pool_of(&config);
    uint64_t leases[4], bytes;
    uint8_t *data;
    uint32_t size;
    for (int at = 0; at < 4; at++) {
        CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &leases[at]), DEMUXBUF_OK);
        CHECK_NUMBER(demuxbuf_pool_buffer(pool, leases[at], &data, &size), DEMUXBUF_OK);
        memset(data, 0x77, size);
    }
    CHECK_NUMBER(demuxbuf_pool_trim(pool, &bytes), DEMUXBUF_OK);
    CHECK_NUMBER(bytes, 0);
    for (int at = 0; at < 3; at++) {
        CHECK_NUMBER(demuxbuf_pool_release(pool, leases[at]), DEMUXBUF_OK);
    }
    CHECK_NUMBER(demuxbuf_pool_trim(pool, &bytes), DEMUXBUF_OK);
    CHECK_NUMBER(bytes, 3 * 16384);
    CHECK_NUMBER(demuxbuf_pool_buffer(pool, leases[3], &data, &size), DEMUXBUF_OK);
    CHECK(data[0] == 0x77 && data[size - 1] == 0x77);
    demuxbuf_pool_free(pool);
}

/*
 * A pool that is freed while buffers are outstanding, waits queued and grants not picked up leaks nothing (seen by
 * valgrind).
 */
static void pool_free_while_busy(void) {
    demuxbuf_pool *pool = new_pool(1, 3);
    uint64_t lease, wait, receiver;
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &wait), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receiver, NULL, NULL), DEMUXBUF_OK);
    CHECK((demuxbuf_receiver_readable(pool, receiver).actions & DEMUXBUF_RECV) != 0);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    const demuxbuf_pool_stats stats = stats_of(pool);
    CHECK(stats.assigned == 1 && stats.receivers == 1);
    demuxbuf_pool_free(pool);
}

int main(void) {
    null_is_refused_everywhere();
    try_request_never_queues();
    nested_requests_are_checked();
    defaults_are_as_documented();
    config_error_names_the_field();
    no_memory_is_an_error();
    limits_are_allowed();
    host_buffer_lease();
    unknown_handles_are_refused();
    class_out_of_range_is_refused();
    waiters_are_served_in_order_by_handoff();
    time_and_bounds();
    times_change_while_the_pool_lives();
    trim_returns_pages_of_free_buffers();
    pool_free_while_busy();
    return check_end();
}
