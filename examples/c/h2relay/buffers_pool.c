#include "buffers.h"

static bool attach(struct inlet *inlet, uint32_t class_index, void *token)
{
    uint64_t number = (uint64_t)(uintptr_t)token;
    return demuxbuf_receiver_attach(inlet->buffers->pool, class_index, number, NULL, 0, &inlet->receiver) == DEMUXBUF_OK;
}

static demuxbuf_step report(struct inlet *inlet, enum inlet_event event, uint32_t value, uint32_t need_more)
{
    demuxbuf_pool *pool = inlet->buffers->pool;
    uint64_t receiver = inlet->receiver;
    switch (event) {
    case INLET_PENDING:
        break;
    case INLET_READABLE:
        return demuxbuf_receiver_readable(pool, receiver);
    case INLET_RECEIVED:
        return demuxbuf_receiver_received(pool, receiver, value);
    case INLET_WOULD_BLOCK:
        return demuxbuf_receiver_would_block(pool, receiver);
    case INLET_END_OF_STREAM:
        return demuxbuf_receiver_end_of_stream(pool, receiver);
    case INLET_TRANSPORT_ERROR:
        return demuxbuf_receiver_transport_error(pool, receiver);
    case INLET_DECODED:
        return demuxbuf_receiver_decoded(pool, receiver, value, need_more);
    case INLET_BLOCK:
        return demuxbuf_receiver_block(pool, receiver, value);
    case INLET_UNBLOCK:
        return demuxbuf_receiver_unblock(pool, receiver, value);
    case INLET_PAUSE:
        return demuxbuf_receiver_pause_recv(pool, receiver);
    case INLET_RESUME:
        return demuxbuf_receiver_resume_recv(pool, receiver);
    case INLET_WAKE:
        return demuxbuf_receiver_wake(pool, receiver);
    case INLET_FAIL:
        return demuxbuf_receiver_fail(pool, receiver);
    case INLET_DONE:
        return demuxbuf_receiver_done(pool, receiver, value);
    case INLET_CLOSE:
        return demuxbuf_receiver_close(pool, receiver);
    }
    return demuxbuf_receiver_pending(pool, receiver);
}

static bool poll_grant(struct buffers *buffers, void **token, demuxbuf_step *step)
{
    demuxbuf_grant grant;
    if (demuxbuf_pool_poll_grant(buffers->pool, &grant) != DEMUXBUF_OK) {
        return false;
    }
    *token = (void *)(uintptr_t)grant.token;
    *step = grant.step;
    return true;
}

static void handle_timeout(struct buffers *buffers, uint64_t now_ns)
{
    demuxbuf_pool_handle_timeout(buffers->pool, now_ns);
}

static uint64_t poll_timeout(struct buffers *buffers)
{
    return demuxbuf_pool_poll_timeout(buffers->pool);
}

static void describe(struct inlet *inlet, demuxbuf_connection_info *info)
{
    demuxbuf_receiver_info receiver = {0};
    demuxbuf_receiver_describe(inlet->buffers->pool, inlet->receiver, &receiver);
    *info = receiver.connection;
}

static void get_stats(struct buffers *buffers, demuxbuf_pool_stats *stats)
{
    demuxbuf_pool_get_stats(buffers->pool, stats);
}

static void close_pool(struct buffers *buffers)
{
    demuxbuf_pool_free(buffers->pool);
}

static const struct buffers_kind POOL = {attach,       report,   poll_grant, handle_timeout,
                                         poll_timeout, describe, get_stats,  close_pool};

/* Kept free for responses. */
static uint32_t reserve_of(uint32_t buffers)
{
    if (buffers < 2) {
        return 0;
    }
    return buffers < 16 ? 1 : buffers / 16;
}

bool buffers_open_pool(struct buffers *buffers, const struct options *options, char *message, size_t message_bytes)
{
    demuxbuf_pool_config config;
    demuxbuf_pool_config_init(&config, options->buffers, 2 * options->connections_max);
    config.buffer_bytes = options->buffer_bytes;
    config.classes = CLASSES;
    config.reserves[CLASS_CLIENT] = reserve_of(options->buffers);
    config.policy.mode = options->edge_triggered ? DEMUXBUF_MODE_EDGE : DEMUXBUF_MODE_LEVEL;
    config.policy.park_bytes = options->park_bytes;
    if (options->park_bytes == 0) {
        config.lifeline = 0;
        config.slots = 0;
    }
    if (options->lease_ms > 0) {
        config.lease_ns = options->lease_ms * UINT64_C(1000000);
        config.park_ns = config.lease_ns / 2;
    }
    *buffers = (struct buffers){.kind = &POOL};
    return demuxbuf_pool_new(&config, &buffers->pool, message, message_bytes) == DEMUXBUF_OK;
}
