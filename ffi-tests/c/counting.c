/*
 * A receiver that counts, while memory is short: what its steps have, in a pool of one thread and in that of a shard.
 */
#include "shard.h"

enum { BUFFER = 16448 };

static void settings(demuxbuf_pool_config *config) {
    config->mode = DEMUXBUF_MODE_ONE_SHOT;
    config->counting = 1;
}

static demuxbuf_pool *new_pool(void) {
    demuxbuf_pool_config config = config_of(6, 10, BUFFER);
    CHECK_NUMBER(config.counting, 0);
    settings(&config);
    return pool_of(&config);
}

static struct shard shard_of_counting(void) {
    demuxbuf_pool_config config = shared_config_of(1, 6, 10, BUFFER);
    settings(&config);
    return new_shard(&config);
}

static demuxbuf_receiver_info describe(demuxbuf_pool *pool, uint64_t receiver) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, receiver, &info), DEMUXBUF_OK);
    return info;
}

static void step_has(demuxbuf_step step, uint32_t actions, uint32_t bytes, int has_data) {
    CHECK_NUMBER(step.actions, actions);
    CHECK_NUMBER(step.bytes, bytes);
    CHECK_NUMBER(step.data != NULL, has_data);
}

/* A frame of 5000 bytes that is whole at its second report. What the decoder may leave has no place: it is decoded
   while it is in the kernel, and received then. */
static void frame_is_decoded_when_it_is_whole(demuxbuf_pool *pool, int has_spare) {
    uint64_t receiver = 0;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receiver, NULL, NULL), DEMUXBUF_OK);
    step_has(demuxbuf_receiver_pending(pool, receiver), DEMUXBUF_WANT_RECV, 1, 0);
    CHECK_NUMBER(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV).actions, 0);
    const demuxbuf_request request = {.struct_size = sizeof request};
    uint64_t lease;
    int32_t status;
    do {
        status = demuxbuf_pool_try_request(pool, &request, &lease, NULL, NULL);
    } while (status == DEMUXBUF_OK);
    CHECK_NUMBER(status, DEMUXBUF_STATUS_NONE);
    if (has_spare) {
        use_spare(pool, BUFFER);
    }
    step_has(demuxbuf_receiver_readable(pool, receiver), DEMUXBUF_PEEK, 64, 1);
    demuxbuf_step step = demuxbuf_receiver_received(pool, receiver, 10);
    CHECK_NUMBER(demuxbuf_step_status(step), DEMUXBUF_ERR_TOO_MANY_BYTES);
    const uint32_t look = DEMUXBUF_PEEK | DEMUXBUF_RECV_WHOLE;
    const uint32_t away = DEMUXBUF_RECV | DEMUXBUF_RECV_WHOLE | DEMUXBUF_DISCARD;
    step_has(demuxbuf_receiver_decoded(pool, receiver, 0, 5000), look, 5000, 1);
    step_has(demuxbuf_receiver_would_block(pool, receiver), DEMUXBUF_WANT_RECV, 5000, 0);
    CHECK_NUMBER(describe(pool, receiver).awaited_bytes, 5000);
    step_has(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV), 0, 0, 0);
    step_has(demuxbuf_receiver_readable(pool, receiver), look, 5000, 1);
    step = demuxbuf_receiver_received(pool, receiver, 4999);
    CHECK_NUMBER(demuxbuf_step_status(step), DEMUXBUF_ERR_LOOKED_AT);
    step_has(demuxbuf_receiver_received(pool, receiver, 5000), DEMUXBUF_DECODE, 5000, 1);
    step_has(demuxbuf_receiver_decoded(pool, receiver, 5000, 0), away, 5000, 1);
    step = demuxbuf_receiver_would_block(pool, receiver);
    CHECK_NUMBER(demuxbuf_step_status(step), DEMUXBUF_ERR_LOOKED_AT);
    step_has(demuxbuf_receiver_received(pool, receiver, 1000), away, 4000, 1);
    step_has(demuxbuf_receiver_received(pool, receiver, 4000), DEMUXBUF_PEEK, 64, 1);
    step_has(demuxbuf_receiver_would_block(pool, receiver), DEMUXBUF_WANT_RECV, 1, 0);
    CHECK_NUMBER(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV).actions, 0);

    /* The kernel holds no more of the next one; then the peer is gone. */
    step_has(demuxbuf_receiver_readable(pool, receiver), DEMUXBUF_PEEK, 64, 1);
    CHECK_NUMBER(demuxbuf_receiver_decoded(pool, receiver, 0, 300).bytes, 300);
    step = demuxbuf_receiver_report(pool, receiver, DEMUXBUF_EVENT_KERNEL_FULL, 0);
    step_has(step, DEMUXBUF_RECV, 64, 1);
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK_NUMBER(stats.full_kernels, 1);
    CHECK_NUMBER(describe(pool, receiver).peer_closed, 0);
    step = demuxbuf_receiver_report(pool, receiver, DEMUXBUF_EVENT_PEER_CLOSED, 0);
    step_has(step, DEMUXBUF_RECV, 64, 1);
    CHECK_NUMBER(describe(pool, receiver).peer_closed, 1);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
}

/* Each cause has a sentence of its own. */
static void what_cannot_count_is_refused(void) {
    demuxbuf_pool *pool = new_pool();
    uint64_t receiver = 7;
    char message[80];
    size_t message_bytes = sizeof message;
    demuxbuf_policy policy = {.struct_size = sizeof policy, .counting = 1, .mode = DEMUXBUF_MODE_OPTIMISTIC};
    demuxbuf_attach_options options = {.struct_size = sizeof options, .policy = &policy};
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, &options, &receiver, message, &message_bytes),
                 DEMUXBUF_ERR_CANNOT_COUNT);
    CHECK(strcmp(message, "counting is not possible with the mode optimistic") == 0 && receiver == 7);
    options.unknown_length = 1, policy.mode = DEMUXBUF_MODE_LEVEL, message_bytes = sizeof message;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, &options, &receiver, message, &message_bytes),
                 DEMUXBUF_ERR_CANNOT_COUNT);
    CHECK(strcmp(message, "counting is not possible with unknown_length") == 0);
    policy.reserved[1] = 1;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, &options, &receiver, NULL, NULL), DEMUXBUF_ERR_UNKNOWN_FIELD);
    policy.reserved[1] = 0, policy.counting = 0;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, &options, &receiver, NULL, NULL), DEMUXBUF_OK);
    policy.counting = 1;
    demuxbuf_step step = demuxbuf_receiver_set_policy(pool, receiver, &policy, NULL, NULL);
    CHECK_NUMBER(demuxbuf_step_status(step), DEMUXBUF_ERR_CANNOT_COUNT);
    demuxbuf_pool_free(pool);
}

int main(void) {
    demuxbuf_pool *pool = new_pool();
    frame_is_decoded_when_it_is_whole(pool, 0);
    demuxbuf_pool_free(pool);
    const struct shard shard = shard_of_counting();
    frame_is_decoded_when_it_is_whole(shard.pool, 1);
    free_shard(shard);
    what_cannot_count_is_refused();
    return check_end();
}
