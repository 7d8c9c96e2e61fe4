/* A connection that moves to another thread's shard, each time to the one where it is not. Built with -DHOLDING, it
 * moves with bytes that are received here and decoded there. One thread plays both. */
#include "receiver.h"

static uint64_t exports;

static void cycle(unsigned index) {
    demuxbuf_exported_receiver moved;
    /* All connections change sides in the same loop iteration. */
#ifdef HOLDING
    demuxbuf_step step = report_readable(index);
    expect(step, DEMUXBUF_RECV);
    expect(receive(index, step), DEMUXBUF_DECODE);
#endif
    check(demuxbuf_receiver_export(pool, receivers[index], &moved));
    check(demuxbuf_receiver_import(other, &moved, &receivers[index]));
    demuxbuf_pool *here = pool;
    pool = other;
    run(index, demuxbuf_receiver_pending(pool, receivers[index]));
    pool = here;
    exports++;
    if (exports % CONNECTIONS == 0) {
        pool = other;
        other = here;
    }
}

static void finish(uint64_t cycles) {
    demuxbuf_pool_stats now = stats();
    if (exports != cycles || now.received_bytes != now.consumed_bytes + now.taken_bytes)
        fail("not each connection moved, or bytes are kept");
    free_pools();
}
