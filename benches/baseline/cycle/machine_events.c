/* The state machine alone, event by event, in a host that has one buffer: five calls for a cycle in level mode. */
#include "host.h"

#include <demuxbuf.h>

static demuxbuf_connection connections[CONNECTIONS];
static char *buffer;

static inline void expect(uint32_t actions, uint32_t expected) {
    if (actions != expected)
        fail("other actions are pending than the cycle expects");
}

static void cycle(unsigned index) {
    demuxbuf_connection *connection = &connections[index];
    expect(demuxbuf_connection_readable(connection), DEMUXBUF_REQUEST_BUFFER);
    expect(demuxbuf_connection_buffer_granted(connection, BUFFER_BYTES), DEMUXBUF_RECV);
    uint32_t bytes = transport_receive(index, buffer, BUFFER_BYTES);
    expect(demuxbuf_connection_received(connection, bytes), DEMUXBUF_DECODE);
    expect(demuxbuf_connection_consumed(connection, run_decoder(buffer, bytes)), DEMUXBUF_RELEASE_BUFFER);
    expect(demuxbuf_connection_buffer_released(connection), 0);
}

static void end_iteration(void) {
}

static void start(void) {
    const demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = DEMUXBUF_MODE_LEVEL};
    buffer = allocate(BUFFER_BYTES);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        if (demuxbuf_connection_init(&connections[i], &policy, NULL, NULL) != DEMUXBUF_OK)
            fail("the policy is refused");
        expect(demuxbuf_connection_attach(&connections[i], 0, 0), DEMUXBUF_WANT_RECV);
        expect(demuxbuf_connection_done(&connections[i], DEMUXBUF_WANT_RECV), 0);
    }
}

static void finish(uint64_t cycles) {
    (void)cycles;
    for (unsigned i = 0; i < CONNECTIONS; i++)
        expect(demuxbuf_connection_pending(&connections[i]), 0);
}
