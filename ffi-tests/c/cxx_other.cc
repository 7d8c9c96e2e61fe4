// The second translation unit of cxx.cc. The headers are included twice here, which must be harmless.
#include <demuxbuf_posix.h>

#include <cstring>

#include <demuxbuf.h>
#include <demuxbuf_posix.h>

int32_t other_status(uint32_t actions) {
    return demuxbuf_actions_status_inline(actions);
}

uint32_t other_buffered_bytes(const demuxbuf_connection *connection) {
    return demuxbuf_connection_buffered_bytes_inline(connection);
}

uint32_t other_capacity(const demuxbuf_connection *connection) {
    return demuxbuf_connection_capacity_inline(connection);
}

demuxbuf_step other_receive(demuxbuf_pool *pool, uint64_t receiver) {
    const demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    std::memcpy(step.data, "bytes", 5);
    return demuxbuf_receiver_received(pool, receiver, 5);
}

uint32_t other_version() {
    return demuxbuf_version();
}
