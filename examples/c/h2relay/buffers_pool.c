#define _GNU_SOURCE
#include "buffers.h"

#include <stdio.h>

static bool attach(struct inlet *inlet, int fd, uint64_t tenant, void *token) {
    struct buffers *buffers = inlet->buffers;
    demuxbuf_policy policy = buffers->policy;
    demuxbuf_attach_options options = {
        .struct_size = sizeof options, .tenant = tenant, .token = (uint64_t)(uintptr_t)token, .policy = &policy};
    inlet->socket = (demuxbuf_posix_socket){.fd = fd, .mark = 1, .is_edge = policy.mode == DEMUXBUF_MODE_EDGE};
    if (buffers->is_counting) {
        /* A socket that cannot count receives as it would without. */
        demuxbuf_posix_socket_init(&inlet->socket, fd, buffers->buffer_bytes, &policy);
    }
    return demuxbuf_receiver_attach(buffers->pool, &options, &inlet->receiver, NULL, NULL) == DEMUXBUF_OK;
}

static demuxbuf_step receive(struct inlet *inlet, demuxbuf_step step) {
    return demuxbuf_posix_socket_receive(&inlet->socket, inlet->buffers->pool, inlet->receiver, step);
}

static demuxbuf_step report(struct inlet *inlet, enum inlet_event event, uint32_t value, struct need need) {
    demuxbuf_pool *pool = inlet->buffers->pool;
    uint64_t receiver = inlet->receiver;
    switch (event) {
    case INLET_PENDING: break;
    case INLET_READABLE: return demuxbuf_receiver_readable(pool, receiver);
    case INLET_RECEIVED: return demuxbuf_receiver_received(pool, receiver, value);
    case INLET_WOULD_BLOCK: return demuxbuf_receiver_would_block(pool, receiver);
    case INLET_END_OF_STREAM: return demuxbuf_receiver_end_of_stream(pool, receiver);
    case INLET_TRANSPORT_ERROR: return demuxbuf_receiver_transport_error(pool, receiver);
    case INLET_DECODED: return demuxbuf_receiver_decoded_usable(pool, receiver, value, need.more, need.usable);
    case INLET_BLOCK: return demuxbuf_receiver_block(pool, receiver, value);
    case INLET_UNBLOCK: return demuxbuf_receiver_unblock(pool, receiver, value);
    case INLET_PAUSE: return demuxbuf_receiver_pause_recv(pool, receiver);
    case INLET_RESUME: return demuxbuf_receiver_resume_recv(pool, receiver);
    case INLET_WAKE: return demuxbuf_receiver_wake(pool, receiver);
    case INLET_FAIL: return demuxbuf_receiver_fail(pool, receiver);
    case INLET_DONE: return demuxbuf_receiver_done(pool, receiver, value);
    case INLET_CLOSE: return demuxbuf_receiver_close(pool, receiver);
    }
    return demuxbuf_receiver_pending(pool, receiver);
}

static bool poll_notice(struct buffers *buffers, void **token, demuxbuf_step *step) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    if (demuxbuf_pool_poll_notice(buffers->pool, &notice) != DEMUXBUF_OK) {
        return false;
    }
    *token = (void *)(uintptr_t)notice.token;
    *step = notice.step;
    return true;
}

static void handle_timeout(struct buffers *buffers, uint64_t now_ns) {
    demuxbuf_pool_handle_timeout(buffers->pool, now_ns);
}

static uint64_t poll_timeout(struct buffers *buffers) {
    return demuxbuf_pool_poll_timeout(buffers->pool);
}

static void describe(struct inlet *inlet, demuxbuf_receiver_info *info) {
    demuxbuf_receiver_describe(inlet->buffers->pool, inlet->receiver, info);
}

/* All tenants have the same weight, and may have what the others leave. */
static uint64_t create_tenant(struct buffers *buffers) {
    demuxbuf_tenant_config tenant_config = {.struct_size = sizeof tenant_config, .weight = 1, .cap = UINT32_MAX};
    uint64_t tenant = 0;
    demuxbuf_pool_create_tenant(buffers->pool, &tenant_config, &tenant, NULL, NULL);
    return tenant;
}

static void remove_tenant(struct buffers *buffers, uint64_t tenant) {
    demuxbuf_pool_remove_tenant(buffers->pool, tenant);
}

static bool poll_wake(struct buffers *buffers, uint32_t *thread) {
    /* In each loop iteration: not even called where there is one thread. */
    return buffers->is_shared && demuxbuf_pool_poll_wake(buffers->pool, thread) == DEMUXBUF_OK;
}

static void get_stats(struct buffers *buffers, demuxbuf_pool_stats *stats) {
    demuxbuf_pool_get_stats(buffers->pool, stats);
}

static void close_pool(struct buffers *buffers) {
    demuxbuf_pool_free(buffers->pool);
}

static const struct buffers_kind POOL = {
    .attach = attach,
    .create_tenant = create_tenant,
    .remove_tenant = remove_tenant,
    .report = report,
    .receive = receive,
    .poll_notice = poll_notice,
    .handle_timeout = handle_timeout,
    .poll_timeout = poll_timeout,
    .describe = describe,
    .get_stats = get_stats,
    .poll_wake = poll_wake,
    .close = close_pool,
};

static uint8_t mode_of(const struct options *options) {
    return options->edge_triggered ? DEMUXBUF_MODE_EDGE : DEMUXBUF_MODE_LEVEL;
}

/* The same for one thread and for several, which share the memory. */
static demuxbuf_pool_config config_of(const struct options *options) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    /* A client and a backend for each connection, all of which may be on one thread. */
    demuxbuf_pool_config_init(&config, (uint64_t)options->memory_kib * 1024, 2 * options->connections_max);
    config.buffer_bytes = options->buffer_bytes;
    config.frame_grace_ns = options->grace_ms * UINT64_C(1000000);
    config.blocked_ns = 2 * config.frame_grace_ns;
    config.mode = mode_of(options);
    /* All buffers are for receiving. */
    config.waiters_max = 0;
    config.tenants_max = options->tenant == TENANT_NONE ? 0 : options->tenants_max;
    return config;
}

bool buffers_open_shared_pool(demuxbuf_shared_pool **shared_pool, const struct options *options, char *message,
                              size_t message_bytes) {
    demuxbuf_pool_config config = config_of(options);
    return demuxbuf_shared_pool_new(&config, options->threads, shared_pool, message, &message_bytes) == DEMUXBUF_OK;
}

bool buffers_open_pool(struct buffers *buffers, const struct options *options, demuxbuf_shared_pool *shared_pool,
                       uint32_t thread, char *message, size_t message_bytes) {
    *buffers = (struct buffers){
        .kind = &POOL,
        .is_shared = shared_pool != NULL,
        .is_counting = options->counting,
        .policy = {.struct_size = sizeof(demuxbuf_policy), .mode = mode_of(options)},
        .buffer_bytes = options->buffer_bytes,
    };
    if (shared_pool == NULL) {
        demuxbuf_pool_config config = config_of(options);
        return demuxbuf_pool_new(&config, &buffers->pool, message, &message_bytes) == DEMUXBUF_OK;
    }
    int32_t status = demuxbuf_shared_pool_shard(shared_pool, thread, &buffers->pool);
    snprintf(message, message_bytes, "%s", demuxbuf_strerror(status));
    return status == DEMUXBUF_OK;
}
