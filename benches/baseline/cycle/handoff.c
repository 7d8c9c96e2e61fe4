/* Memory is full. A connection that becomes readable receives the start of a frame, and waits; a holder finishes, and
 * its room is handed to the connection that waits, which receives the rest and is a holder from then on. */
static void earn_credit(void);
#define PREPARE earn_credit
#include "receiver.h"

/* More than half of a buffer, and what is received of it while memory is full. */
enum { FRAME_BYTES = 10000, START_BYTES = 64 };

static uint64_t holders;
static unsigned oldest_holder;

/* Without credit some memory is kept for others. */
static void earn_credit(void) {
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            demuxbuf_step step = report_readable(i);
            expect(step, DEMUXBUF_RECV);
            step = demuxbuf_receiver_received(pool, receivers[i], transport_bytes(step.data, BUFFER_BYTES - 1));
            run(i, step);
        }
        end_iteration();
    }
}

static inline void hold(unsigned index, demuxbuf_step step, uint32_t bytes) {
    if ((step.actions & DEMUXBUF_WANT_RECV) != 0)
        step = arm(index);
    expect(step, DEMUXBUF_RECV);
    step = demuxbuf_receiver_received(pool, receivers[index], transport_bytes(step.data, bytes));
    if ((step.actions & DEMUXBUF_STOP_RECV) != 0)
        step = disarm(index);
    expect(step, DEMUXBUF_DECODE);
    block(index);
}

static void cycle(unsigned index) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    demuxbuf_step step = report_readable(index);
    if (step.bytes > START_BYTES) {
        holders++;
        hold(index, step, FRAME_BYTES);
        return;
    }
    expect(step, DEMUXBUF_RECV);
    step = demuxbuf_receiver_received(pool, receivers[index], transport_bytes(step.data, START_BYTES));
    expect(step, DEMUXBUF_DECODE);
    expect(demuxbuf_receiver_decoded(pool, receivers[index], 0, FRAME_BYTES - START_BYTES), 0);
    expect(report_readable(index), DEMUXBUF_STOP_RECV);
    expect(disarm(index), 0);
    run(oldest_holder, demuxbuf_receiver_unblock(pool, receivers[oldest_holder], 1));
    oldest_holder = (oldest_holder + 1) % CONNECTIONS;
    check(demuxbuf_pool_poll_notice(pool, &notice));
    if (notice.token != index)
        fail("another connection than the one that waits has the room");
    hold(index, notice.step, FRAME_BYTES - START_BYTES);
}

static void finish(uint64_t cycles) {
    if (holders == 0 || stats().grants != cycles - holders)
        fail("not each cycle handed memory to the connection that waits");
    free_pools();
}
