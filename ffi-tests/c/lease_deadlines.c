/* Deadlines of the host's own leases, of a pool of one thread and of threads. */
#include "two_shards.h"

#define MS UINT64_C(1000000)
#define LEASE_NS (80 * MS)
/* The most that one advance of the clock counts for. */
#define STEP_NS (LEASE_NS / 8)

static const demuxbuf_request timed = {.struct_size = sizeof timed, .token = 7, .has_deadline = 1};
static const demuxbuf_request plain = {.struct_size = sizeof plain, .token = 8};

static void advance(demuxbuf_pool *pool, uint64_t from_step, uint64_t to_step) {
    for (uint64_t step = from_step; step <= to_step; step++) {
        CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, step * STEP_NS), DEMUXBUF_OK);
    }
}

static void expect_none(demuxbuf_pool *pool) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
}

static void expect_overdue(demuxbuf_pool *pool, uint64_t lease) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK_NUMBER(notice.kind, DEMUXBUF_NOTICE_OVERDUE);
    CHECK(notice.lease == lease && notice.token == 7 && notice.receiver == 0 && notice.wait == 0);
    CHECK(notice.step.actions == 0 && notice.step.data == NULL && notice.step.bytes == 0);
    expect_none(pool);
}

static uint64_t lease_of(demuxbuf_pool *pool, const demuxbuf_request *request) {
    uint64_t lease;
    CHECK_NUMBER(demuxbuf_pool_try_request(pool, request, &lease, NULL, NULL), DEMUXBUF_OK);
    return lease;
}

static void overdue_lease_is_named_while_a_request_waits(void) {
    demuxbuf_pool_config config = config_of(6, 1, 256);
    config.lease_ns = LEASE_NS;
    demuxbuf_pool *pool = pool_of(&config);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 0), DEMUXBUF_OK);
    const uint64_t held = lease_of(pool, &timed), untimed = lease_of(pool, &plain);
    leave_free(pool, 0);
    advance(pool, 1, 9);
    expect_none(pool);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), UINT64_MAX);
    uint64_t wait;
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &plain, &wait, NULL, NULL), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), 9 * STEP_NS);
    expect_overdue(pool, held);
    CHECK_NUMBER(demuxbuf_pool_renew_lease(pool, held), DEMUXBUF_OK);
    advance(pool, 10, 16);
    expect_none(pool);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), 17 * STEP_NS);
    advance(pool, 17, 17);
    expect_overdue(pool, held);

    CHECK_NUMBER(demuxbuf_pool_renew_lease(NULL, held), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_renew_lease(pool, untimed), DEMUXBUF_ERR_NO_DEADLINE);
    CHECK_NUMBER(demuxbuf_pool_renew_lease(pool, wait), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_release(pool, held), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_renew_lease(pool, held), DEMUXBUF_ERR_STALE);
    demuxbuf_pool_free(pool);
}

/* The thread that has the lease learns of it, though another one waits; and not once another thread has ended the
   lease. */
static void overdue_lease_is_named_to_its_thread(void) {
    demuxbuf_pool_config config = shared_config();
    config.lease_ns = LEASE_NS;
    const struct two two = new_two_of(&config);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(two.a, 0), DEMUXBUF_OK);
    const uint64_t held = lease_of(two.a, &timed), ended = lease_of(two.a, &timed);
    leave_free(two.b, 0);
    uint64_t wait;
    CHECK_NUMBER(demuxbuf_pool_request(two.b, 0, 1, &wait), DEMUXBUF_STATUS_QUEUED);
    uint32_t index;
    CHECK_NUMBER(demuxbuf_pool_poll_wake(two.b, &index), DEMUXBUF_OK);
    CHECK_NUMBER(index, 0);
    CHECK_NUMBER(demuxbuf_pool_renew_lease(two.b, held), DEMUXBUF_ERR_NO_DEADLINE);
    CHECK_NUMBER(demuxbuf_pool_release(two.b, ended), DEMUXBUF_OK);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.b, &notice), DEMUXBUF_OK);
    CHECK(notice.kind == DEMUXBUF_NOTICE_LEASE && notice.wait == wait);
    CHECK_NUMBER(demuxbuf_pool_request(two.b, 0, 1, &wait), DEMUXBUF_STATUS_QUEUED);
    advance(two.a, 1, 7);
    expect_none(two.a);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(two.a), 8 * STEP_NS);
    advance(two.a, 8, 8);
    expect_overdue(two.a, held);
    free_two(&two);
}

static void deadline_that_is_not_there_is_refused(void) {
    demuxbuf_pool_config config = config_of(6, 1, 256);
    demuxbuf_pool *pool = pool_of(&config);
    uint64_t lease;
    FILL(lease);
    char message[96];
    size_t room = sizeof message;
    CHECK_NUMBER(demuxbuf_pool_try_request(pool, &timed, &lease, message, &room), DEMUXBUF_ERR_DEADLINES_OFF);
    CHECK(strcmp(message, "has_deadline is not 0; allowed is 0, as lease_ns is 0 in the configuration") == 0);
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &timed, &lease, NULL, NULL), DEMUXBUF_ERR_DEADLINES_OFF);
    demuxbuf_request request = timed;
    request.has_deadline = 0, request.reserved = 1;
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &lease, NULL, NULL), DEMUXBUF_ERR_UNKNOWN_FIELD);
    CHECK_UNTOUCHED(lease);
    demuxbuf_pool_free(pool);
}

int main(void) {
    overdue_lease_is_named_while_a_request_waits();
    overdue_lease_is_named_to_its_thread();
    deadline_that_is_not_there_is_refused();
    return check_end();
}
