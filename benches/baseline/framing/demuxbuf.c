/* The library: it finds the end of a frame and judges its header; the payload is the host's to read. */
#include "host.h"

#include <demuxbuf.h>

static demuxbuf_h2_decoder decoder;
/* Of a frame of DATA that has begun. */
static uint32_t payload_left;

static void start(const uint8_t *prologue, size_t bytes) {
    demuxbuf_h2_init(&decoder, DEMUXBUF_H2_CLIENT);
    receive(prologue, bytes);
}

static void read_payload(uint8_t kind, const uint8_t *payload) {
    if (kind == PING)
        count_eight(payload);
    else if (kind == WINDOW_UPDATE)
        counts.content +=
            (uint32_t)payload[0] << 24 | (uint32_t)payload[1] << 16 | (uint32_t)payload[2] << 8 | payload[3];
}

static size_t decode(const uint8_t *data, size_t bytes) {
    size_t taken = 0;
    /* Each call leaves its `struct_size` as it must be for the next one. */
    demuxbuf_h2_next next = {.struct_size = sizeof next};
    for (;;) {
        uint32_t part = payload_left < bytes - taken ? payload_left : (uint32_t)(bytes - taken);
        payload_left -= part;
        taken += part;
        if (payload_left != 0)
            return taken;
        if (demuxbuf_h2_advance(&decoder, data + taken, (uint32_t)(bytes - taken), &next) != DEMUXBUF_OK)
            fail("the frames break a rule");
        /* DATA goes on as it comes, any other frame when it is whole. */
        if (next.need_more != 0)
            return taken;
        taken += next.frame_bytes - next.length;
        if (next.is_preface != 0)
            continue;
        count(next.length);
        if (next.kind == DATA) {
            payload_left = next.length;
        } else {
            read_payload(next.kind, data + taken);
            taken += next.length;
        }
    }
}

static void finish(void) {
    if (payload_left != 0)
        fail("a frame is left");
}
