/*
 * Deliveries from C: bytes that the host has received already are completed in the pool, or decoded in the host's
 * memory; afterwards nothing depends on that memory. Wrong calls are refused and write nothing.
 */
#include "check.h"

enum { BUFFER_BYTES = 256, RECEIVERS = 4 };

static demuxbuf_pool *new_pool(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    demuxbuf_pool *pool = NULL;
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 8 * BUFFER_BYTES, RECEIVERS), DEMUXBUF_OK);
    config.buffer_bytes = BUFFER_BYTES;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, NULL), DEMUXBUF_OK);
    return pool;
}

static uint64_t attach(demuxbuf_pool *pool) {
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receiver, NULL, NULL), DEMUXBUF_OK);
    return receiver;
}

static demuxbuf_step deliver(demuxbuf_pool *pool, uint64_t receiver, const void *bytes, uint32_t length,
                             uint32_t accepted) {
    uint32_t written;
    FILL(written);
    demuxbuf_step step = demuxbuf_receiver_deliver(pool, receiver, bytes, length, &written);
    CHECK_NUMBER(demuxbuf_step_status(step), DEMUXBUF_OK);
    CHECK_NUMBER(written, accepted);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    return step;
}

static uint64_t copied_bytes(demuxbuf_pool *pool) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    return stats.copied_bytes;
}

/* Whole frames are not copied; what is left of the last is. */
static void in_place_bytes_are_decoded_where_they_are(void) {
    demuxbuf_pool *pool = new_pool();
    uint64_t receiver = attach(pool);
    char ring[] = "onetwothr";
    demuxbuf_step step = deliver(pool, receiver, ring, 9, 9);
    CHECK(step.data == (uint8_t *)ring && step.bytes == 9 && (step.actions & DEMUXBUF_DECODE) != 0);
    step = demuxbuf_receiver_pending(pool, receiver);
    CHECK(step.data == NULL && step.bytes == 0 && (step.actions & DEMUXBUF_DECODE) != 0);
    step = demuxbuf_receiver_delivered(pool, receiver, (uint8_t *)ring, 3, 0);
    CHECK(step.data == (uint8_t *)ring + 3 && step.bytes == 6);
    CHECK_NUMBER(copied_bytes(pool), 0);
    step = demuxbuf_receiver_delivered(pool, receiver, step.data, 3, 2);
    CHECK((step.actions & DEMUXBUF_DECODE) == 0);
    memset(ring, 'x', sizeof ring);
    step = demuxbuf_receiver_pending(pool, receiver);
    CHECK_NUMBER(step.bytes, 3);
    CHECK_SAME(step.data, "thr", 3);
    /* What completes it is copied behind it, and the others can be delivered afterwards. */
    memcpy(ring, "eefour", 6);
    step = deliver(pool, receiver, ring, 6, 2);
    CHECK_NUMBER(step.bytes, 5);
    CHECK_SAME(step.data, "three", 5);
    step = demuxbuf_receiver_delivered(pool, receiver, NULL, 5, 0);
    CHECK((step.actions & DEMUXBUF_RECV) != 0);
    step = deliver(pool, receiver, ring + 2, 4, 4);
    CHECK(step.data == (uint8_t *)ring + 2);
    step = demuxbuf_receiver_decoded(pool, receiver, 4, 0);
    CHECK_NUMBER(demuxbuf_step_status(step), DEMUXBUF_OK);
    CHECK((step.actions & (DEMUXBUF_DECODE | DEMUXBUF_RECV)) == 0 && step.data == NULL);
    demuxbuf_pool_free(pool);
}

static void delivery_that_is_wrong_is_refused(void) {
    demuxbuf_pool *pool = new_pool();
    uint64_t receiver = attach(pool), other = attach(pool);
    static const uint8_t ring[BUFFER_BYTES + 1] = "hello";
    uint32_t accepted;
    FILL(accepted);
    const struct {
        demuxbuf_pool *pool;
        uint64_t receiver;
        const uint8_t *bytes;
        uint32_t length, *accepted;
        int32_t status;
    } refused[] = {
        {NULL, receiver, ring, 5, &accepted, DEMUXBUF_ERR_NULL},
        {pool, receiver, NULL, 5, &accepted, DEMUXBUF_ERR_NULL},
        {pool, receiver, ring, 5, NULL, DEMUXBUF_ERR_NULL},
        {pool, receiver, ring, 0, &accepted, DEMUXBUF_ERR_ZERO_BYTES},
        {pool, receiver, NULL, 0, &accepted, DEMUXBUF_ERR_ZERO_BYTES},
        {pool, receiver, ring, BUFFER_BYTES + 1, &accepted, DEMUXBUF_ERR_TOO_MANY_BYTES},
        {pool, receiver + 1000, ring, 5, &accepted, DEMUXBUF_ERR_STALE},
    };
    for (size_t at = 0; at < sizeof refused / sizeof *refused; at++) {
        demuxbuf_step step = demuxbuf_receiver_deliver(refused[at].pool, refused[at].receiver, refused[at].bytes,
                                                       refused[at].length, refused[at].accepted);
        CHECK_REFUSED(step.actions, refused[at].status);
        CHECK_UNTOUCHED(accepted);
    }
    deliver(pool, receiver, ring, 5, 5);
    CHECK_REFUSED(demuxbuf_receiver_deliver(pool, other, ring, 5, &accepted).actions, DEMUXBUF_ERR_IN_PLACE);
    CHECK_REFUSED(demuxbuf_receiver_decoded(pool, receiver, 1, 5).actions, DEMUXBUF_ERR_IN_PLACE);
    CHECK_REFUSED(demuxbuf_receiver_end_of_stream(pool, receiver).actions, DEMUXBUF_ERR_IN_PLACE);
    CHECK_REFUSED(demuxbuf_receiver_delivered(pool, receiver, NULL, 5, 0).actions, DEMUXBUF_ERR_NULL);
    CHECK_REFUSED(demuxbuf_receiver_delivered(NULL, receiver, ring, 5, 0).actions, DEMUXBUF_ERR_NULL);
    CHECK_REFUSED(demuxbuf_receiver_delivered(pool, receiver, ring, 6, 0).actions, DEMUXBUF_ERR_TOO_MANY_BYTES);
    CHECK_REFUSED(demuxbuf_receiver_delivered(pool, receiver + 1000, ring, 5, 0).actions, DEMUXBUF_ERR_STALE);
    demuxbuf_leased_content content;
    CHECK_NUMBER(demuxbuf_receiver_take(pool, receiver, &content), DEMUXBUF_ERR_IN_PLACE);
    CHECK_NUMBER(demuxbuf_step_status(demuxbuf_receiver_delivered(pool, receiver, ring, 5, 0)), DEMUXBUF_OK);
    demuxbuf_receiver_end_of_stream(pool, receiver);
    CHECK_REFUSED(demuxbuf_receiver_deliver(pool, receiver, ring, 5, &accepted).actions, DEMUXBUF_ERR_AFTER_END);
    CHECK_UNTOUCHED(accepted);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
}

/* A reason that is reported in the middle of decoding leaves the bytes in place; the report behind it copies them. */
static void blocked_bytes_are_copied_by_the_report(void) {
    demuxbuf_pool *pool = new_pool();
    uint64_t receiver = attach(pool);
    char ring[] = "blocked";
    demuxbuf_step step = deliver(pool, receiver, ring, 7, 7);
    CHECK((demuxbuf_receiver_block(pool, receiver, 1).actions & DEMUXBUF_DECODE) == 0);
    step = demuxbuf_receiver_delivered(pool, receiver, step.data, 0, 0);
    CHECK((step.actions & DEMUXBUF_DECODE) == 0 && step.data != (uint8_t *)ring);
    /* It takes no more meanwhile. */
    deliver(pool, receiver, "more", 4, 0);
    memset(ring, 'x', sizeof ring);
    step = demuxbuf_receiver_unblock(pool, receiver, 1);
    CHECK_NUMBER(step.bytes, 7);
    CHECK_SAME(step.data, "blocked", 7);
    step = demuxbuf_receiver_delivered(pool, receiver, step.data, 7, 0);
    CHECK((step.actions & DEMUXBUF_RECV) != 0);
    CHECK((deliver(pool, receiver, "more", 4, 4).actions & DEMUXBUF_DECODE) != 0);
    CHECK_NUMBER(demuxbuf_receiver_close(pool, receiver).actions, DEMUXBUF_FINISHED);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
}

int main(void) {
    in_place_bytes_are_decoded_where_they_are();
    delivery_that_is_wrong_is_refused();
    blocked_bytes_are_copied_by_the_report();
    return check_end();
}
