/* Pools that threads share, and the pool that one thread has of such a one for itself. */
#ifndef SHARD_H
#define SHARD_H

#include "pools.h"

/*
 * The least memory of which the hosts of these threads can lease this number of buffers together, or more if that is
 * less than 8 buffers for each thread. The others are, of each thread, the one that its receivers receive into, a
 * spare, and those that are cut for partial frames of up to 64 bytes.
 */
static inline demuxbuf_pool_config shared_config_of(uint32_t threads, uint32_t leases, uint32_t receivers_max,
                                                    uint32_t buffer_bytes) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    for (uint64_t buffers = (uint64_t)8 * threads;; buffers++) {
        const uint64_t memory_bytes = buffers * buffer_bytes, cells = buffer_bytes / 64;
        const uint64_t cells_max = memory_bytes / 512 / threads;
        const uint64_t headers = ((cells_max < receivers_max ? cells_max : receivers_max) + cells - 1) / cells;
        if (buffers >= leases + threads * (2 + headers)) {
            CHECK_NUMBER(demuxbuf_pool_config_init(&config, memory_bytes, receivers_max), DEMUXBUF_OK);
            config.buffer_bytes = buffer_bytes;
            return config;
        }
    }
}

struct shard {
    demuxbuf_shared_pool *shared_pool;
    demuxbuf_pool *pool;
};

static inline struct shard new_shard(const demuxbuf_pool_config *config) {
    struct shard shard;
    CHECK_NUMBER(demuxbuf_shared_pool_new(config, 1, &shard.shared_pool, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(shard.shared_pool, 0, &shard.pool), DEMUXBUF_OK);
    return shard;
}

/* A receiver of this pool keeps a partial frame in its spare, for as long as the pool lives. */
static inline void use_spare(demuxbuf_pool *pool, uint32_t buffer_bytes) {
    uint64_t receiver;
    uint8_t *const bytes = calloc(1, buffer_bytes - 1);
    const demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = DEMUXBUF_MODE_LEVEL};
    const demuxbuf_attach_options options = {.struct_size = sizeof options,
                                             .token = UINT64_MAX,
                                             .length = buffer_bytes - 1,
                                             .policy = &policy,
                                             .bytes = bytes};
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, &options, &receiver, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_actions_status(demuxbuf_receiver_decoded(pool, receiver, 0, 1).actions), DEMUXBUF_OK);
    free(bytes);
}

static inline void free_shard(struct shard shard) {
    demuxbuf_pool_free(shard.pool);
    demuxbuf_shared_pool_free(shard.shared_pool);
}

#endif /* SHARD_H */
