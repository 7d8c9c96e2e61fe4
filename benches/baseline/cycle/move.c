/* A connection that moves to another thread's shard, each time to the one where it is not. Built with -DHOLDING, it moves
 * with a buffer: the bytes are received here and decoded there. One thread plays both. */
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
    if (exports != cycles || stats().leased != 0)
        fail("not each connection moved, or a buffer is kept");
    free_pools();
}
