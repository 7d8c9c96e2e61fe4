/* What arrives cannot be decoded at once: the decoder is blocked, and goes on when it is unblocked. */
#include "receiver.h"

static void cycle(unsigned index) {
    demuxbuf_step step = report_readable(index);
    expect(step, DEMUXBUF_RECV);
    step = receive(index, step);
    expect(step, DEMUXBUF_DECODE);
    block(index);
    run(index, demuxbuf_receiver_unblock(pool, receivers[index], 1));
}

static void finish(uint64_t cycles) {
    finish_at_rest(RECEIVED_BYTES * cycles);
    free_pools();
}
