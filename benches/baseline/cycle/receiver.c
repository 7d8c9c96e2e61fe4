/* The common cycle: one receive, and all of it is decoded. Level mode makes three calls, one-shot mode one more, for
 * read interest that is armed anew. The other modes receive until the transport is empty. */
#include "receiver.h"

static void cycle(unsigned index) {
    run(index, report_readable(index));
}

static void finish(uint64_t cycles) {
    (void)cycles;
    finish_at_rest(received_bytes);
    free_pools();
}
