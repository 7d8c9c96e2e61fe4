/* A connection that ends: a receive finds the end of the stream, the connection is closed, and another one is
   attached. */
#include "receiver.h"

static void cycle(unsigned index) {
    demuxbuf_step step = report_readable(index);
    expect(step, DEMUXBUF_RECV);
    step = demuxbuf_receiver_end_of_stream(pool, receivers[index]);
    if ((step.actions & DEMUXBUF_STOP_RECV) != 0)
        step = disarm(index);
    expect(step, DEMUXBUF_END);
    expect(demuxbuf_receiver_done(pool, receivers[index], DEMUXBUF_END), 0);
    expect(demuxbuf_receiver_close(pool, receivers[index]), DEMUXBUF_FINISHED);
    attach(index);
}

static void finish(uint64_t cycles) {
    (void)cycles;
    finish_at_rest(0);
    free_pools();
}
