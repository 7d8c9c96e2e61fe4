/* A frame of 24 bytes that arrives in two parts: of 4 bytes, which are kept in a small cell, and of 20. */
#include "receiver.h"

enum { FIRST_BYTES = 4, SECOND_BYTES = 20 };

static inline demuxbuf_step receive_part(unsigned index, uint32_t bytes) {
    demuxbuf_step step = report_readable(index);
    expect(step, DEMUXBUF_RECV);
    step = demuxbuf_receiver_received(pool, receivers[index], transport_bytes(step.data, bytes));
    expect(step, DEMUXBUF_DECODE);
    return step;
}

static void cycle(unsigned index) {
    receive_part(index, FIRST_BYTES);
    expect(demuxbuf_receiver_decoded(pool, receivers[index], 0, SECOND_BYTES), 0);
    demuxbuf_step step = receive_part(index, SECOND_BYTES);
    expect(demuxbuf_receiver_decoded(pool, receivers[index], run_decoder(step.data, step.bytes), 0), 0);
}

static void finish(uint64_t cycles) {
    finish_at_rest((FIRST_BYTES + SECOND_BYTES) * cycles);
    free_pools();
}
