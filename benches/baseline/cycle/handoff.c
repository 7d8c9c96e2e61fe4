/* All buffers are held. A connection that becomes readable is queued; a holder finishes, and its buffer is handed to the
 * queued connection, which receives into it and is a holder from then on. */
#define CONFIGURE(config) ((config).lifeline = 0)
#include "receiver.h"

static unsigned oldest_holder;

static inline void hold(unsigned index, demuxbuf_step step) {
    if ((step.actions & DEMUXBUF_WANT_RECV) != 0)
        step = arm(index);
    expect(step, DEMUXBUF_RECV);
    expect(receive(index, step), DEMUXBUF_DECODE);
    expect(demuxbuf_receiver_block(pool, receivers[index], 1), 0);
}

static void cycle(unsigned index) {
    static unsigned holders;
    demuxbuf_step step = report_readable(index);
    if (holders < BUFFERS) {
        holders++;
        hold(index, step);
        return;
    }
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    if ((step.actions & DEMUXBUF_STOP_RECV) != 0)
        step = disarm(index);
    expect(step, 0);
    run(oldest_holder, demuxbuf_receiver_unblock(pool, receivers[oldest_holder], 1));
    oldest_holder = (oldest_holder + 1) % CONNECTIONS;
    check(demuxbuf_pool_poll_notice(pool, &notice));
    if (notice.token != index)
        fail("another connection than the queued one got the buffer");
    hold(index, notice.step);
}

static void finish(uint64_t cycles) {
    demuxbuf_pool_stats now = stats();
    if (now.granted_by_handoff != cycles - BUFFERS || now.leased != BUFFERS || now.waiting != 0)
        fail("not each cycle handed a buffer to the queued connection");
    free_pools();
}
