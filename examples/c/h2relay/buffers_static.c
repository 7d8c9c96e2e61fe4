#define _GNU_SOURCE
#include "buffers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The buffer stays with its connection, so every wish of the machine about it is granted at once. */
static uint32_t serve_buffer_wishes(struct inlet *inlet, uint32_t actions) {
    struct buffers *buffers = inlet->buffers;
    demuxbuf_connection *machine = &inlet->own.machine;
    for (;;) {
        if ((actions & DEMUXBUF_ERROR) != 0) {
            return actions;
        }
        if ((actions & DEMUXBUF_DISCARD) != 0) {
            uint32_t buffered_bytes = demuxbuf_connection_buffered_bytes_inline(machine);
            buffers->stats.dropped_bytes += buffered_bytes;
            inlet->own.start = 0;
            actions = demuxbuf_connection_consumed(machine, buffered_bytes);
        } else if ((actions & DEMUXBUF_RELEASE_BUFFER) != 0) {
            actions = demuxbuf_connection_buffer_released(machine);
        } else if ((actions & DEMUXBUF_REQUEST_BUFFER) != 0) {
            inlet->own.start = 0;
            actions = demuxbuf_connection_buffer_granted(machine, buffers->buffer_bytes);
        } else {
            return actions;
        }
    }
}

/* The content moves to the front only when more is received behind it. */
static demuxbuf_step step_of(struct inlet *inlet, uint32_t actions) {
    actions = serve_buffer_wishes(inlet, actions);
    uint32_t buffered_bytes = demuxbuf_connection_buffered_bytes_inline(&inlet->own.machine);
    demuxbuf_step step = {.data = inlet->own.memory + inlet->own.start, .bytes = buffered_bytes, .actions = actions};
    if ((actions & (DEMUXBUF_ERROR | DEMUXBUF_RECV)) == DEMUXBUF_RECV) {
        if (inlet->own.start > 0) {
            memmove(inlet->own.memory, step.data, buffered_bytes);
            inlet->own.start = 0;
            inlet->buffers->stats.copied_bytes += buffered_bytes;
        }
        step.data = inlet->own.memory + buffered_bytes;
        step.bytes = demuxbuf_connection_recv_max(&inlet->own.machine);
    }
    return step;
}

/* No receiver waits, so no tenant has a share. */
static bool attach(struct inlet *inlet, int fd, uint64_t tenant, void *token) {
    (void)tenant;
    (void)token;
    struct buffers *buffers = inlet->buffers;
    inlet->socket = (demuxbuf_posix_socket){.fd = fd, .mark = 1};
    inlet->own.memory = malloc(buffers->buffer_bytes);
    if (inlet->own.memory == NULL) {
        return false;
    }
    inlet->own.start = 0;
    demuxbuf_connection_init(&inlet->own.machine, &buffers->policy, NULL, NULL);
    demuxbuf_connection_attach(&inlet->own.machine, 0, 0);
    demuxbuf_pool_stats *stats = &buffers->stats;
    stats->receivers++;
    stats->buffers++;
    stats->leased++;
    stats->leased_peak = stats->leased > stats->leased_peak ? stats->leased : stats->leased_peak;
    stats->memory_bytes += buffers->buffer_bytes;
    return true;
}

static uint32_t received(struct inlet *inlet, uint32_t bytes) {
    uint32_t actions = demuxbuf_connection_received(&inlet->own.machine, bytes);
    if ((actions & DEMUXBUF_ERROR) == 0) {
        inlet->buffers->stats.received_bytes += bytes;
    }
    return actions;
}

static uint32_t decoded(struct inlet *inlet, uint32_t consumed, uint32_t need_more) {
    uint32_t actions = demuxbuf_connection_consumed(&inlet->own.machine, consumed);
    if ((actions & DEMUXBUF_ERROR) != 0) {
        return actions;
    }
    inlet->own.start =
        demuxbuf_connection_buffered_bytes_inline(&inlet->own.machine) == 0 ? 0 : inlet->own.start + consumed;
    if (need_more > 0) {
        actions = demuxbuf_connection_need_more(&inlet->own.machine, need_more);
    }
    return actions;
}

static uint32_t close_machine(struct inlet *inlet) {
    demuxbuf_connection *machine = &inlet->own.machine;
    demuxbuf_pool_stats *stats = &inlet->buffers->stats;
    stats->dropped_bytes += demuxbuf_connection_buffered_bytes_inline(machine);
    uint32_t actions = demuxbuf_connection_close(machine);
    actions = serve_buffer_wishes(inlet, actions);
    free(inlet->own.memory);
    inlet->own.memory = NULL;
    inlet->own.start = 0;
    stats->receivers--;
    stats->buffers--;
    stats->leased--;
    stats->memory_bytes -= inlet->buffers->buffer_bytes;
    return actions;
}

static demuxbuf_step report(struct inlet *inlet, enum inlet_event event, uint32_t value, struct need need) {
    demuxbuf_connection *machine = &inlet->own.machine;
    switch (event) {
    case INLET_PENDING: break;
    case INLET_READABLE: return step_of(inlet, demuxbuf_connection_readable(machine));
    case INLET_RECEIVED: return step_of(inlet, received(inlet, value));
    case INLET_WOULD_BLOCK: return step_of(inlet, demuxbuf_connection_would_block(machine));
    case INLET_END_OF_STREAM: return step_of(inlet, demuxbuf_connection_end_of_stream(machine));
    case INLET_TRANSPORT_ERROR: return step_of(inlet, demuxbuf_connection_transport_error(machine));
    case INLET_DECODED: return step_of(inlet, decoded(inlet, value, need.more));
    case INLET_BLOCK: return step_of(inlet, demuxbuf_connection_block(machine, value));
    case INLET_UNBLOCK: return step_of(inlet, demuxbuf_connection_unblock(machine, value));
    case INLET_PAUSE: return step_of(inlet, demuxbuf_connection_pause_recv(machine));
    case INLET_RESUME: return step_of(inlet, demuxbuf_connection_resume_recv(machine));
    case INLET_WAKE: return step_of(inlet, demuxbuf_connection_wake(machine));
    case INLET_FAIL: return step_of(inlet, demuxbuf_connection_fail(machine));
    case INLET_DONE: return step_of(inlet, demuxbuf_connection_done(machine, value));
    case INLET_CLOSE: return (demuxbuf_step){.actions = close_machine(inlet)};
    }
    return step_of(inlet, demuxbuf_connection_pending(machine));
}

static demuxbuf_step receive(struct inlet *inlet, demuxbuf_step step) {
    ssize_t bytes;
    do {
        bytes = recv(inlet->socket.fd, step.data, step.bytes, 0);
    } while (bytes < 0 && errno == EINTR);
    if (bytes > 0) {
        return inlet_report(inlet, INLET_RECEIVED, (uint32_t)bytes);
    }
    if (bytes == 0) {
        return inlet_report(inlet, INLET_END_OF_STREAM, 0);
    }
    bool is_dry = errno == EAGAIN || errno == EWOULDBLOCK;
    return inlet_report(inlet, is_dry ? INLET_WOULD_BLOCK : INLET_TRANSPORT_ERROR, 0);
}

static bool poll_notice(struct buffers *buffers, void **token, demuxbuf_step *step) {
    (void)buffers;
    (void)token;
    (void)step;
    return false;
}

static void handle_timeout(struct buffers *buffers, uint64_t now_ns) {
    (void)buffers;
    (void)now_ns;
}

static uint64_t poll_timeout(struct buffers *buffers) {
    (void)buffers;
    return UINT64_MAX;
}

static void describe(struct inlet *inlet, demuxbuf_receiver_info *info) {
    demuxbuf_connection_info machine = {.struct_size = sizeof machine};
    demuxbuf_connection_describe(&inlet->own.machine, &machine);
    info->buffered_bytes = machine.buffered_bytes;
    info->end = machine.end;
    /* The machine releases an empty buffer; the memory stays here all the same. */
    info->hold = 2;
    info->capacity = inlet->buffers->buffer_bytes;
}

static uint64_t create_tenant(struct buffers *buffers) {
    (void)buffers;
    return 0;
}

static void remove_tenant(struct buffers *buffers, uint64_t tenant) {
    (void)buffers;
    (void)tenant;
}

static bool poll_wake(struct buffers *buffers, uint32_t *thread) {
    (void)buffers;
    (void)thread;
    return false;
}

static void get_stats(struct buffers *buffers, demuxbuf_pool_stats *stats) {
    *stats = buffers->stats;
}

static void close_static(struct buffers *buffers) {
    (void)buffers;
}

static const struct buffers_kind STATIC = {
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
    .close = close_static,
};

void buffers_open_static(struct buffers *buffers, const struct options *options) {
    *buffers = (struct buffers){.kind = &STATIC, .buffer_bytes = options->buffer_bytes};
    buffers->policy = (demuxbuf_policy){
        .struct_size = sizeof(demuxbuf_policy),
        .mode = options->edge_triggered ? DEMUXBUF_MODE_EDGE : DEMUXBUF_MODE_LEVEL,
    };
}
