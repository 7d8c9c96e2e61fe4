/* What the C servers with a pool have in common beside `server.h`: the pool's settings, and its statistics at the end. */
#ifndef EMBED_H
#define EMBED_H

#include "server.h"
#include <demuxbuf.h>

enum {
    /* A buffer and a parking slot of each size. Each connection has a slot of 64 bytes beside these. */
    SHARE_BYTES = BUFFER_BYTES + 256 + 1024 + 4096,
    SLOTS_KIB = CONNECTIONS_MAX * 64 / 1024 + 1,
};

static inline uint8_t embed_mode(const embed_options *options) {
    return strcmp(options->trigger, "edge") == 0    ? DEMUXBUF_MODE_EDGE
           : strcmp(options->trigger, "level") == 0 ? DEMUXBUF_MODE_LEVEL
                                                    : DEMUXBUF_MODE_ONE_SHOT;
}

static inline uint32_t embed_epoll_flag(const embed_options *options) {
    uint8_t mode = embed_mode(options);
    return mode == DEMUXBUF_MODE_EDGE ? (uint32_t)EPOLLET : mode == DEMUXBUF_MODE_ONE_SHOT ? (uint32_t)EPOLLONESHOT : 0;
}

/* All memory to receive into, buffers and slots together, is within --memory-kib. */
static inline demuxbuf_pool *embed_pool(const embed_options *options, uint8_t mode) {
    uint32_t shares = (uint32_t)((options->memory_kib - SLOTS_KIB) * 1024 / SHARE_BYTES);
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    demuxbuf_pool *pool = NULL;
    char message[256];
    size_t message_bytes = sizeof message;
    demuxbuf_pool_config_init(&config, shares, CONNECTIONS_MAX);
    config.mode = mode;
    config.reads_ahead = options->reads_ahead;
    config.pause_when_blocked = options->pause_when_blocked;
    config.park_ns = 0;          /* while others wait, a partial frame of up to 4096 bytes moves to a slot at once, */
    config.lease_ns = LEASE_NS;  /* and a connection that holds a buffer without progress for 1 s is closed */
    config.reclaim_bytes = 4096; /* what is parked on demand; above that only the lease helps */
    for (int size = 0; size < 3; size++)
        config.large_slots[size] = shares;
    if (demuxbuf_pool_new(&config, &pool, message, &message_bytes) != DEMUXBUF_OK) {
        fprintf(stderr, "%s\n", message);
        exit(1);
    }
    return pool;
}

/* The statistics of a pool, which is freed. Returns the exit status. */
static inline int embed_finish(demuxbuf_pool *pool, const embed_counts *counts) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    int32_t status = demuxbuf_pool_check_invariants(pool);
    if (status == DEMUXBUF_OK)
        status = demuxbuf_pool_get_stats(pool, &stats);
    if (status != DEMUXBUF_OK)
        fprintf(stderr, "%s\n", demuxbuf_strerror(status));
    const embed_stats printed = {
        .leased = stats.leased,
        .assigned = stats.assigned,
        .waiting = stats.waiting,
        .receivers = stats.receivers,
        .slots_in_use = stats.slots_in_use,
        .memory_bytes = stats.memory_bytes,
        .received_bytes = stats.received_bytes,
        .consumed_bytes = stats.consumed_bytes,
        .dropped_bytes = stats.dropped_bytes,
        .queued = stats.queued,
        .shed = stats.shed,
    };
    int left = embed_print(&printed, counts);
    demuxbuf_pool_free(pool);
    return status != DEMUXBUF_OK || left;
}

#endif
