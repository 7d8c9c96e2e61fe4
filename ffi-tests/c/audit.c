/*
 * The audit of hosts in C: mistakes made on purpose, and the line that names each. tests/audit has the others; what is
 * here is about C: statuses, masks, descriptors, growable structs, and texts that are cut.
 */
#define _GNU_SOURCE
#include "pools.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MS = 1000000 };

static uint64_t now_ns;

/* With this number of buffers free. */
static demuxbuf_pool *make_pool(uint8_t mode, uint32_t free_buffers) {
    demuxbuf_pool_config config = config_of(6, 8, 256);
    config.mode = mode;
    config.audit = 1;
    config.frame_grace_ns = (uint64_t)10000 * MS;
    demuxbuf_pool *pool = pool_of(&config);
    leave_free(pool, free_buffers);
    now_ns = MS;
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, now_ns), DEMUXBUF_OK);
    return pool;
}

static uint64_t attach(demuxbuf_pool *pool, uint64_t token) {
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = token), &receiver, NULL, NULL), DEMUXBUF_OK);
    demuxbuf_step step = demuxbuf_receiver_pending(pool, receiver);
    if ((step.actions & DEMUXBUF_WANT_RECV) != 0) {
        demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV);
    }
    return receiver;
}

/* Ends the iteration with an audit, in which this receiver alone is named, by this line; none with an empty one. */
static void audit(demuxbuf_pool *pool, uint64_t receiver, uint64_t token, const char *expected) {
    demuxbuf_finding finding;
    char line[512], wanted[512];
    FILL_SIZED(finding);
    if (expected[0] != 0) {
        CHECK_NUMBER(demuxbuf_pool_poll_audit(pool, now_ns, &finding), DEMUXBUF_OK);
        CHECK(finding.receiver == receiver && finding.token == token);
        size_t needed = demuxbuf_finding_str(&finding, line, sizeof line);
        CHECK_NUMBER(needed, strlen(line) + 1);
        snprintf(wanted, sizeof wanted, "receiver %" PRIu64 " (token %" PRIu64 "): %s", receiver, token, expected);
        if (strcmp(line, wanted) != 0) {
            fprintf(stderr, "%s\n%s\n", line, wanted);
        }
        CHECK(strcmp(line, wanted) == 0);
    }
    FILL_SIZED(finding);
    CHECK_NUMBER(demuxbuf_pool_poll_audit(pool, now_ns, &finding), DEMUXBUF_STATUS_NONE);
    CHECK_UNTOUCHED_SIZED(finding);
    now_ns += MS;
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, now_ns), DEMUXBUF_OK);
}

/* The host does not look at the status. */
static void s66_ignored_error_leaves_an_action_undone(void) {
    demuxbuf_pool *pool = make_pool(DEMUXBUF_MODE_EDGE, 2);
    uint64_t receiver = attach(pool, 7);
    demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK_NUMBER(step.actions, DEMUXBUF_RECV);
    demuxbuf_receiver_received(pool, receiver, step.bytes + 1);
    audit(pool, receiver, 7, "RECV is undone: receive, then report the outcome, would_block if there was nothing");
    audit(pool, receiver, 7,
          "RECV is undone for 1 ms: receive, then report the outcome, would_block if there was nothing");
    CHECK_NUMBER(demuxbuf_receiver_would_block(pool, receiver).actions, 0);
    audit(pool, receiver, 7, "");
    demuxbuf_pool_free(pool);
}

/* A receiver that waits for room, since the cell of what it keeps is full. */
static uint64_t waiting(demuxbuf_pool *pool, uint64_t token) {
    const uint64_t receiver = attach(pool, token);
    const demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK_NUMBER(step.actions, DEMUXBUF_RECV);
    memset(step.data, 0, 64);
    demuxbuf_receiver_received(pool, receiver, 64);
    CHECK_NUMBER(demuxbuf_receiver_decoded(pool, receiver, 0, 100).actions, 0);
    CHECK_NUMBER(demuxbuf_receiver_readable(pool, receiver).actions, DEMUXBUF_STOP_RECV);
    return receiver;
}

/* The step of a notice is not looked at. */
static void ignored_step_of_a_notice_is_named(void) {
    demuxbuf_pool *pool = make_pool(DEMUXBUF_MODE_LEVEL, 4);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    uint64_t leases[4];
    for (int at = 0; at < 4; at++) {
        CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &leases[at]), DEMUXBUF_OK);
    }
    const uint64_t waiter = waiting(pool, 8);
    CHECK_NUMBER(demuxbuf_receiver_done(pool, waiter, DEMUXBUF_STOP_RECV).actions, 0);
    for (int at = 0; at < 4; at++) {
        CHECK_NUMBER(demuxbuf_pool_release(pool, leases[at]), DEMUXBUF_OK);
    }
    audit(pool, waiter, 8, "a notice is not picked up: drain poll_notice in each iteration, before you sleep");
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    audit(pool, waiter, 8,
          "WANT_RECV|RECV is undone: receive, then report the outcome, would_block if there was nothing");
    demuxbuf_pool_free(pool);
}

/* A decoder is blocked while delivered bytes are in place, and the host does not report them. */
static void bytes_in_place_that_are_left_are_named(void) {
    demuxbuf_pool *pool = make_pool(DEMUXBUF_MODE_LEVEL, 4);
    uint64_t receiver = 0;
    uint32_t accepted = 0;
    uint8_t memory[20] = {0};
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = 7), &receiver, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_deliver(pool, receiver, memory, 20, &accepted).actions & DEMUXBUF_DECODE,
                 DEMUXBUF_DECODE);
    demuxbuf_receiver_block(pool, receiver, 1);
    demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV);
    audit(pool, receiver, 7,
          "delivered bytes are in place for 0 ns and not to be decoded: report them as delivered, with 0 consumed if "
          "need be, before you sleep");
    demuxbuf_receiver_delivered(pool, receiver, memory, 0, 0);
    demuxbuf_receiver_done(pool, receiver, DEMUXBUF_STOP_RECV);
    audit(pool, receiver, 7, "");
    demuxbuf_pool_free(pool);
}

/* A socket that stays in the poller after STOP_RECV, with no events: its hang-up cannot be masked. */
static void s72_hang_up_that_is_not_masked_is_named(void) {
    demuxbuf_pool *pool = make_pool(DEMUXBUF_MODE_LEVEL, 0);
    int ends[2], poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK_NUMBER(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    CHECK_NUMBER(epoll_ctl(poller, EPOLL_CTL_ADD, ends[0], &event), 0);
    const uint64_t waiter = waiting(pool, 8);
    event.events = 0;
    CHECK_NUMBER(epoll_ctl(poller, EPOLL_CTL_MOD, ends[0], &event), 0);
    demuxbuf_receiver_done(pool, waiter, DEMUXBUF_STOP_RECV);
    close(ends[1]);
    for (int iterations = 0; iterations < 1000; iterations++) {
        CHECK_NUMBER(epoll_wait(poller, &event, 1, 1000), 1);
        demuxbuf_receiver_readable(pool, waiter);
        audit(pool, waiter, 8, "");
    }
    demuxbuf_receiver_readable(pool, waiter);
    demuxbuf_finding finding = {.struct_size = sizeof finding};
    CHECK_NUMBER(demuxbuf_pool_poll_audit(pool, now_ns, &finding), DEMUXBUF_OK);
    CHECK(finding.kind == DEMUXBUF_FINDING_SPINNING && finding.receiver == waiter && finding.count == 1000);
    CHECK_NUMBER(demuxbuf_pool_poll_audit(pool, now_ns, &finding), DEMUXBUF_STATUS_NONE);
    close(ends[0]);
    close(poller);
    demuxbuf_pool_free(pool);
}

static void refusals_write_nothing(void) {
    const demuxbuf_pool_config config = config_of(6, 2, 256);
    demuxbuf_finding finding;
    FILL_SIZED(finding);
    CHECK_NUMBER(config.audit, 0);
    demuxbuf_pool *pool = pool_of(&config);
    CHECK_NUMBER(demuxbuf_pool_poll_audit(pool, 1, &finding), DEMUXBUF_ERR_AUDIT_OFF);
    demuxbuf_pool_free(pool);
    pool = make_pool(DEMUXBUF_MODE_LEVEL, 2);
    CHECK_NUMBER(demuxbuf_pool_poll_audit(NULL, 1, &finding), DEMUXBUF_ERR_NULL);
    CHECK_UNTOUCHED_SIZED(finding);
    CHECK_NUMBER(demuxbuf_pool_poll_audit(pool, 1, NULL), DEMUXBUF_ERR_NULL);
    finding.struct_size = 47;
    CHECK_NUMBER(demuxbuf_pool_poll_audit(pool, 1, &finding), DEMUXBUF_ERR_STRUCT_SIZE);
    CHECK_NUMBER(demuxbuf_finding_str(NULL, NULL, 0), 0);
    CHECK_NUMBER(demuxbuf_finding_str(&finding, NULL, 0), 0);
    FILL_SIZED(finding);
    CHECK_NUMBER(demuxbuf_finding_str(&finding, NULL, 0), 0);
    demuxbuf_pool_free(pool);
}

static void text_is_cut_at_the_end_of_the_room(void) {
    demuxbuf_finding finding = {.struct_size = sizeof finding, .kind = DEMUXBUF_FINDING_NOTICE_LEFT};
    static const char whole[] =
        "pool: a notice is not picked up: drain poll_notice in each iteration, before you sleep";
    char line[sizeof whole + 8];
    memset(line, '.', sizeof line);
    CHECK_NUMBER(demuxbuf_finding_str(&finding, NULL, 99), sizeof whole);
    CHECK_NUMBER(demuxbuf_finding_str(&finding, line, 6), sizeof whole);
    CHECK_SAME(line, "pool:\0.", 7);
    CHECK_NUMBER(demuxbuf_finding_str(&finding, line, sizeof line), sizeof whole);
    CHECK(strcmp(line, whole) == 0);
    for (uint32_t kind = DEMUXBUF_FINDING_ACTION_UNDONE; kind <= DEMUXBUF_FINDING_MISFIT_UNREAD; kind++) {
        finding.kind = kind;
        CHECK(demuxbuf_finding_str(&finding, line, sizeof line) > 40);
    }
    finding.kind = DEMUXBUF_FINDING_MISFIT_UNREAD + 1;
    CHECK_NUMBER(demuxbuf_finding_str(&finding, line, sizeof line), 0);
}

/* The host goes on while it is asked to, and answers a frame that is too long, of which it has consumed the header, as
   if it had decoded nothing of it. */
static void misfit_that_is_answered_with_nothing_is_named(void) {
    demuxbuf_pool *pool = make_pool(DEMUXBUF_MODE_LEVEL, 2);
    uint64_t receiver = attach(pool, 7);
    CHECK_NUMBER(demuxbuf_receiver_readable(pool, receiver).actions, DEMUXBUF_RECV);
    CHECK_NUMBER(demuxbuf_receiver_received(pool, receiver, 9).actions, DEMUXBUF_DECODE);
    demuxbuf_step step = demuxbuf_receiver_decoded(pool, receiver, 9, 257);
    CHECK((step.actions & DEMUXBUF_CANNOT_FIT) != 0 && step.bytes == 0);
    demuxbuf_receiver_done(pool, receiver, step.actions & DEMUXBUF_STOP_RECV);
    int answers = 0;
    for (; (step.actions & DEMUXBUF_CANNOT_FIT) != 0 && answers < 9; answers++) {
        step = demuxbuf_receiver_decoded(pool, receiver, 0, 0);
    }
    CHECK_NUMBER(answers, 1);
    CHECK_NUMBER(demuxbuf_step_status(step), DEMUXBUF_ERR_ZERO_BYTES);
    audit(pool, receiver, 7,
          "a frame is larger than the buffer, and nothing of it was received: fail or close; to pass it on in pieces, "
          "report what its next piece needs, which is its header if that was looked at");
    demuxbuf_pool_free(pool);
}

int main(void) {
    s66_ignored_error_leaves_an_action_undone();
    ignored_step_of_a_notice_is_named();
    bytes_in_place_that_are_left_are_named();
    misfit_that_is_answered_with_nothing_is_named();
    s72_hang_up_that_is_not_masked_is_named();
    refusals_write_nothing();
    text_is_cut_at_the_end_of_the_room();
    return check_end();
}
