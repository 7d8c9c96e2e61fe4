/* A pool that one thread has for itself, with the settings of pools that threads share. */
#ifndef SHARD_H
#define SHARD_H

#include "check.h"

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

static inline void free_shard(struct shard shard) {
    demuxbuf_pool_free(shard.pool);
    demuxbuf_shared_pool_free(shard.shared_pool);
}

#endif /* SHARD_H */
