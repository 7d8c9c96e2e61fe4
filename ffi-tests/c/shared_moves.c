/* Receivers that move between the threads of a shared pool: in which states they do, and what is refused. */
#include "two_shards.h"

static uint64_t moved(demuxbuf_pool *from, uint64_t receiver, demuxbuf_pool *to) {
    static const demuxbuf_exported_receiver zero;
    demuxbuf_exported_receiver exported;
    uint64_t there;
    CHECK_NUMBER(demuxbuf_receiver_export(from, receiver, &exported), DEMUXBUF_OK);
    CHECK_REFUSED(demuxbuf_receiver_wake(from, receiver).actions, DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_import(to, &exported, &there), DEMUXBUF_OK);
    CHECK_SAME(&exported, &zero, sizeof exported);
    return there;
}

static void receiver_moves_in_any_state(void) {
    struct two two = new_two(2);
    uint64_t receiver;
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_receiver_attach(two.a, OPTIONS(.token = 9), &receiver, NULL, NULL), DEMUXBUF_OK);
    receiver = moved(two.a, receiver, two.b); /* idle */
    CHECK_REFUSED(demuxbuf_receiver_readable(two.b, receiver).actions, DEMUXBUF_OK);
    receive(two.b, receiver, 1, 40);
    CHECK_REFUSED(demuxbuf_receiver_decoded(two.b, receiver, 0, 60).actions, DEMUXBUF_OK);
    receiver = moved(two.b, receiver, two.a); /* keeping a little, which goes without a buffer */
    CHECK_NUMBER(stats_of(two.a).free, 2);
    check_data(two.a, receiver, 1, 40);
    CHECK_NUMBER(demuxbuf_receiver_pending(two.a, receiver).actions & DEMUXBUF_DECODE, 0); /* it needs 60 more */
    receive(two.a, receiver, 1, 60);
    CHECK_REFUSED(demuxbuf_receiver_decoded(two.a, receiver, 10, 0).actions, DEMUXBUF_OK);
    receiver = moved(two.a, receiver, two.b); /* decoding: more, which goes with a buffer */
    check_data(two.b, receiver, 1, 90);
    CHECK_REFUSED(demuxbuf_receiver_decoded(two.b, receiver, 0, 50).actions, DEMUXBUF_OK);
    receiver = moved(two.b, receiver, two.a); /* keeping more */
    check_data(two.a, receiver, 1, 90);
    CHECK_REFUSED(demuxbuf_receiver_decoded(two.a, receiver, 90, 0).actions, DEMUXBUF_OK);
    receive(two.a, receiver, 6, 100);
    receiver = moved(two.a, receiver, two.b); /* decoding all that was received */
    check_data(two.b, receiver, 6, 100);
    CHECK((demuxbuf_receiver_pending(two.b, receiver).actions & DEMUXBUF_DECODE) != 0);
    CHECK_REFUSED(demuxbuf_receiver_decoded(two.b, receiver, 100, 0).actions, DEMUXBUF_OK);
    CHECK((demuxbuf_receiver_readable(two.b, receiver).actions & DEMUXBUF_RECV) != 0);
    receiver = moved(two.b, receiver, two.a); /* receiving */
    CHECK((demuxbuf_receiver_pending(two.a, receiver).actions & DEMUXBUF_RECV) != 0);
    CHECK_REFUSED(demuxbuf_receiver_close(two.a, receiver).actions, DEMUXBUF_OK);
    CHECK_NUMBER(stats_of(two.a).free, 2);
    /* Waiting: it asks again where it comes to, and is served there. */
    leave_free(two.a, 0);
    use_spare(two.a, BUFFER_BYTES), use_spare(two.b, BUFFER_BYTES);
    uint64_t waiter = reading(two.a, 8);
    receive(two.a, waiter, 4, 64);
    CHECK_REFUSED(demuxbuf_receiver_decoded(two.a, waiter, 0, 100).actions, DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_readable(two.a, waiter).actions & DEMUXBUF_RECV, 0);
    waiter = moved(two.a, waiter, two.b);
    check_data(two.b, waiter, 4, 64);
    CHECK_NUMBER(demuxbuf_receiver_readable(two.b, waiter).actions & DEMUXBUF_RECV, 0);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.a, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.b, &notice), DEMUXBUF_STATUS_NONE);
    const demuxbuf_pool_stats a = stats_of(two.a), b = stats_of(two.b);
    CHECK(a.received_bytes == a.consumed_bytes + a.dropped_bytes + a.taken_bytes + BUFFER_BYTES - 1);
    CHECK(b.received_bytes == b.consumed_bytes + b.dropped_bytes + b.taken_bytes + BUFFER_BYTES - 1 + 64);
    free_two(&two);
}

static void not_movable_is_refused(void) {
    const demuxbuf_pool_config config = config_of(6, 1, 256);
    struct two two = new_two(6);
    demuxbuf_pool *alone = pool_of(&config);
    demuxbuf_exported_receiver exported;
    uint64_t receiver, other, refused;
    uint32_t index;
    CHECK_NUMBER(demuxbuf_receiver_attach(alone, NULL, &receiver, NULL, NULL), DEMUXBUF_OK);
    FILL(exported), FILL(refused);
    CHECK_NUMBER(demuxbuf_receiver_export(alone, receiver, &exported), DEMUXBUF_ERR_NOT_SHARED);
    CHECK_NUMBER(demuxbuf_receiver_export(two.a, receiver, &exported), DEMUXBUF_ERR_STALE);
    CHECK_UNTOUCHED(exported);
    CHECK_NUMBER(demuxbuf_receiver_import(two.a, &exported, &refused), DEMUXBUF_ERR_STALE);
    memset(&exported, 0, sizeof exported);
    CHECK_NUMBER(demuxbuf_receiver_import(two.a, &exported, &refused), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_import(alone, &exported, &refused), DEMUXBUF_ERR_NOT_SHARED);
    CHECK_NUMBER(demuxbuf_pool_poll_wake(alone, &index), DEMUXBUF_STATUS_NONE);
    /* One that keeps bytes is imported once, whatever copies there are, and by the pool it is of. */
    struct two others = new_two(6);
    receiver = keeping(two.a, 1, 3);
    CHECK_NUMBER(demuxbuf_receiver_export(two.a, receiver, &exported), DEMUXBUF_OK);
    demuxbuf_exported_receiver copy = exported;
    CHECK_NUMBER(demuxbuf_receiver_import(others.a, &copy, &refused), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_import(two.b, &exported, &receiver), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_import(two.a, &copy, &refused), DEMUXBUF_ERR_STALE);
    check_data(two.b, receiver, 3, 200);
    /* Any bytes at all are refused or make no more than a strange connection. */
    const uint32_t leased = stats_of(two.b).leased;
    uint64_t random = 7;
    for (int round = 0; round < 20000; round++) {
        CHECK_NUMBER(demuxbuf_receiver_export(two.b, receiver, &exported), DEMUXBUF_OK);
        copy = exported;
        ((uint8_t *)&copy)[check_random(&random) % sizeof copy] ^= (uint8_t)(1u << check_random(&random) % 8);
        if (demuxbuf_receiver_import(two.b, &copy, &receiver) != DEMUXBUF_OK) {
            CHECK_NUMBER(demuxbuf_receiver_import(two.b, &exported, &receiver), DEMUXBUF_OK);
        } else {
            CHECK_NUMBER(demuxbuf_receiver_close(two.b, receiver).actions, DEMUXBUF_FINISHED);
            receiver = keeping(two.b, 1, 3);
        }
        /* Nothing leaks; a spare comes and goes. */
        const uint32_t now = stats_of(two.b).leased;
        CHECK(now + 1 >= leased && now <= leased + 1);
    }
    /* A full table. */
    for (int count = 0; count < 4; count++) {
        CHECK_NUMBER(demuxbuf_receiver_attach(two.a, NULL, &other, NULL, NULL), DEMUXBUF_OK);
    }
    CHECK_NUMBER(demuxbuf_receiver_export(two.b, receiver, &exported), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_import(two.a, &exported, &refused), DEMUXBUF_ERR_TABLE_FULL);
    CHECK_UNTOUCHED(refused);
    CHECK_NUMBER(demuxbuf_receiver_import(two.b, &exported, &receiver), DEMUXBUF_OK);
    demuxbuf_pool_free(alone);
    free_two(&others);
    free_two(&two);
}

/* Without a buffer: for more than 64 bytes to leave with, and for any to come into. */
static void move_without_a_buffer_is_refused(void) {
    struct two two = new_two(1);
    demuxbuf_exported_receiver exported;
    uint64_t refused, kept = reading(two.a, 1), other;
    FILL(exported), FILL(refused);
    CHECK_NUMBER(receive(two.a, kept, 5, 50).bytes, 50);
    CHECK_REFUSED(demuxbuf_receiver_decoded(two.a, kept, 0, 20).actions, DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_export(two.a, kept, &exported), DEMUXBUF_OK);
    /* The buffer to receive into is in use, and there is none beside it but what that may need. */
    other = reading(two.b, 2);
    leave_free(two.b, 0);
    CHECK((demuxbuf_receiver_readable(two.b, other).actions & DEMUXBUF_RECV) != 0);
    CHECK_NUMBER(demuxbuf_receiver_import(two.b, &exported, &refused), DEMUXBUF_ERR_NO_BUFFER_FREE);
    CHECK_UNTOUCHED(refused);
    CHECK_REFUSED(demuxbuf_receiver_would_block(two.b, other).actions, DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_import(two.b, &exported, &kept), DEMUXBUF_OK);
    check_data(two.b, kept, 5, 50);
    free_two(&two);
}

int main(void) {
    receiver_moves_in_any_state();
    not_movable_is_refused();
    move_without_a_buffer_is_refused();
    return check_end();
}
