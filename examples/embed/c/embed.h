/* What C servers with a pool have in common beside `server.h`: its settings, and statistics at the end. */
#ifndef EMBED_H
#define EMBED_H

#include "server.h"
#include <demuxbuf.h>

static inline uint8_t embed_mode(const embed_options *options) {
    return strcmp(options->trigger, "edge") == 0       ? DEMUXBUF_MODE_EDGE
           : strcmp(options->trigger, "level") == 0    ? DEMUXBUF_MODE_LEVEL
           : strcmp(options->trigger, "one-shot") == 0 ? DEMUXBUF_MODE_ONE_SHOT
                                                       : DEMUXBUF_MODE_OPTIMISTIC;
}

static inline uint32_t embed_epoll_flag(const embed_options *options) {
    uint8_t mode = embed_mode(options);
    return mode == DEMUXBUF_MODE_EDGE ? (uint32_t)EPOLLET : mode == DEMUXBUF_MODE_LEVEL ? 0 : (uint32_t)EPOLLONESHOT;
}

/* All memory to receive into is within --memory-kib. */
static inline demuxbuf_pool *embed_pool(const embed_options *options, uint8_t mode) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    demuxbuf_pool *pool = NULL;
    char message[256];
    size_t message_bytes = sizeof message;
    demuxbuf_pool_config_init(&config, options->memory_kib * 1024, CONNECTIONS_MAX);
    config.mode = mode;
    config.reads_ahead = options->reads_ahead;
    config.pause_when_blocked = options->pause_when_blocked;
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
        .receivers = stats.receivers,
        .memory_bytes = stats.memory_bytes,
        .received_bytes = stats.received_bytes,
        .consumed_bytes = stats.consumed_bytes,
        .dropped_bytes = stats.dropped_bytes,
        .queued = stats.claims,
        .shed = stats.shed,
    };
    int left = embed_print(&printed, counts);
    demuxbuf_pool_free(pool);
    return status != DEMUXBUF_OK || left;
}

#endif
