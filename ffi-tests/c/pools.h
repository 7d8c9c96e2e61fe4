/* Pools for tests, by how many of their buffers can be leased. */
#ifndef POOLS_H
#define POOLS_H

#include "check.h"

/*
 * The least memory of which the host can lease this number of buffers, 6 or more. The others are the one that receivers
 * receive into, and those that are cut for partial frames of up to 64 bytes.
 */
static inline demuxbuf_pool_config config_of(uint32_t leases, uint32_t receivers_max, uint32_t buffer_bytes) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    for (uint64_t buffers = leases + 2;; buffers++) {
        const uint64_t memory_bytes = buffers * buffer_bytes, cells_max = memory_bytes / 512, cells = buffer_bytes / 64;
        const uint64_t headers = ((cells_max < receivers_max ? cells_max : receivers_max) + cells - 1) / cells;
        if (buffers - headers - 1 >= leases) {
            CHECK_NUMBER(demuxbuf_pool_config_init(&config, memory_bytes, receivers_max), DEMUXBUF_OK);
            config.buffer_bytes = buffer_bytes;
            return config;
        }
    }
}

static inline demuxbuf_pool *pool_of(const demuxbuf_pool_config *config) {
    demuxbuf_pool *pool;
    CHECK_NUMBER(demuxbuf_pool_new(config, &pool, NULL, NULL), DEMUXBUF_OK);
    return pool;
}

/* The host leases all but this number of buffers, for as long as the pool lives. */
static inline void leave_free(demuxbuf_pool *pool, uint32_t buffers) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    uint64_t lease;
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK(stats.free >= buffers);
    for (uint32_t free = stats.free; free > buffers; free--) {
        CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
    }
}

#endif /* POOLS_H */
