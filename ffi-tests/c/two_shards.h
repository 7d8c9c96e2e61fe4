/* A shared pool of two threads, which are one, and what its receivers do. */
#ifndef TWO_SHARDS_H
#define TWO_SHARDS_H

#include "shard.h"

#define BUFFER_BYTES 256

/* For two threads. */
static inline demuxbuf_pool_config shared_config(void) {
    return shared_config_of(2, 6, 4, BUFFER_BYTES);
}

/* A shared pool and the pools of two threads, which are this one. */
struct two {
    demuxbuf_shared_pool *shared_pool;
    demuxbuf_pool *a, *b;
};

static inline struct two new_two_of(const demuxbuf_pool_config *config) {
    struct two two;
    CHECK_NUMBER(demuxbuf_shared_pool_new(config, 2, &two.shared_pool, NULL, 0), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(two.shared_pool, 0, &two.a), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(two.shared_pool, 1, &two.b), DEMUXBUF_OK);
    return two;
}

/* With this number of buffers free. */
static inline struct two new_two(uint32_t free_buffers) {
    const demuxbuf_pool_config config = shared_config();
    const struct two two = new_two_of(&config);
    leave_free(two.a, free_buffers);
    return two;
}

static inline void free_two(const struct two *two) {
    CHECK_NUMBER(demuxbuf_pool_check_invariants(two->a), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(two->b), DEMUXBUF_OK);
    demuxbuf_pool_free(two->a);
    demuxbuf_shared_pool_free(two->shared_pool);
    demuxbuf_pool_free(two->b);
}

static inline demuxbuf_pool_stats stats_of(const demuxbuf_pool *pool) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    return stats;
}

/* Attaches a receiver and arms its read interest. */
static inline uint64_t reading(demuxbuf_pool *pool, uint64_t token) {
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = token), &receiver, NULL, NULL), DEMUXBUF_OK);
    CHECK_REFUSED(demuxbuf_receiver_readable(pool, receiver).actions, DEMUXBUF_OK);
    return receiver;
}

static inline demuxbuf_step receive(demuxbuf_pool *pool, uint64_t receiver, int byte, uint32_t bytes) {
    const demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK((step.actions & DEMUXBUF_RECV) != 0 && step.bytes >= bytes);
    memset(step.data, byte, bytes);
    return demuxbuf_receiver_received(pool, receiver, bytes);
}

/* The content is `bytes` times this byte. */
static inline void check_data(demuxbuf_pool *pool, uint64_t receiver, int byte, uint32_t bytes) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, receiver, &info), DEMUXBUF_OK);
    CHECK_NUMBER(info.buffered_bytes, bytes);
    const demuxbuf_step step = demuxbuf_receiver_pending(pool, receiver);
    CHECK_NUMBER(step.actions & DEMUXBUF_RECV, 0);
    CHECK_NUMBER(step.bytes, bytes);
    for (uint32_t at = 0; at < bytes; at++) {
        CHECK_NUMBER(step.data[at], byte);
    }
}

/* A partial frame of 200 bytes, which is kept in a buffer of its own. */
static inline uint64_t keeping(demuxbuf_pool *pool, uint64_t token, int byte) {
    const uint64_t receiver = reading(pool, token);
    CHECK_NUMBER(receive(pool, receiver, byte, 200).bytes, 200);
    CHECK_REFUSED(demuxbuf_receiver_decoded(pool, receiver, 0, 20).actions, DEMUXBUF_OK);
    return receiver;
}

#endif /* TWO_SHARDS_H */
