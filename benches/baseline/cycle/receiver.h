/* Receivers of the library: pool, memory and queue belong to it. A cycle is a source file that includes this one and
 * defines `cycle` and `finish`.
 *
 * Built with -DMODE=DEMUXBUF_MODE_*, the host receives in that mode; -DONE_SHOT is short for one of them, and level
 * mode is the default. Built with -DTWO_CALLS, it decodes where it has received and reports both in one call. Built
 * with -DSHARED, the pool is one shard of a pool that two shards share; the other shard is idle. */
#ifndef RECEIVER_H
#define RECEIVER_H

#include "host.h"

#include <demuxbuf.h>
#include <stdbool.h>

#ifndef MODE
#ifdef ONE_SHOT
#define MODE DEMUXBUF_MODE_ONE_SHOT
#else
#define MODE DEMUXBUF_MODE_LEVEL
#endif
#endif

/* Whether the read interest stays armed after an event. */
#define IS_PERSISTENT (MODE == DEMUXBUF_MODE_LEVEL || MODE == DEMUXBUF_MODE_EDGE)
/* Whether the host receives until the transport is empty. */
#define RECEIVES_UNTIL_EMPTY                                                                                           \
    (MODE == DEMUXBUF_MODE_EDGE || MODE == DEMUXBUF_MODE_OPTIMISTIC || MODE == DEMUXBUF_MODE_COMPLETION)

/* Threads that share the memory. */
#ifdef SHARED
#define THREADS 2
static demuxbuf_shared_pool *shared;
static demuxbuf_pool *other;
#else
#define THREADS 1
#endif
static demuxbuf_pool *pool;
static uint64_t receivers[CONNECTIONS];
static bool is_armed[CONNECTIONS];
/* Whether the transport has bytes. */
static bool has_bytes[CONNECTIONS];

static void check(int32_t status) {
    if (status != DEMUXBUF_OK)
        fail(demuxbuf_strerror(status));
}

static inline void expect(demuxbuf_step step, uint32_t actions) {
    if (step.actions != actions)
        fail("other actions are pending than the cycle expects");
}

static inline demuxbuf_step arm(unsigned index) {
    is_armed[index] = true;
    return demuxbuf_receiver_done(pool, receivers[index], DEMUXBUF_WANT_RECV);
}

static inline demuxbuf_step disarm(unsigned index) {
    is_armed[index] = false;
    return demuxbuf_receiver_done(pool, receivers[index], DEMUXBUF_STOP_RECV);
}

/* Decoding is blocked: nothing more is received. */
static inline void block(unsigned index) {
    demuxbuf_step step = demuxbuf_receiver_block(pool, receivers[index], 1);
    if ((step.actions & DEMUXBUF_STOP_RECV) != 0)
        step = disarm(index);
    expect(step, 0);
}

static inline demuxbuf_step receive(unsigned index, demuxbuf_step step) {
    if (RECEIVES_UNTIL_EMPTY) {
        if (!has_bytes[index])
            return demuxbuf_receiver_would_block(pool, receivers[index]);
        has_bytes[index] = false;
    }
    if (MODE == DEMUXBUF_MODE_COMPLETION)
        expect(demuxbuf_receiver_done(pool, receivers[index], DEMUXBUF_RECV), 0);
    uint32_t bytes = transport_receive(index, step.data, step.bytes);
#ifdef TWO_CALLS
    return demuxbuf_receiver_received_and_decoded(pool, receivers[index], run_decoder(step.data, bytes));
#else
    return demuxbuf_receiver_received(pool, receivers[index], bytes);
#endif
}

static inline __attribute__((always_inline)) void run(unsigned index, demuxbuf_step step) {
    while ((step.actions & (DEMUXBUF_RECV | DEMUXBUF_DECODE)) != 0) {
        if ((step.actions & DEMUXBUF_RECV) != 0)
            step = receive(index, step);
        else
            step = demuxbuf_receiver_decoded(pool, receivers[index], run_decoder(step.data, step.bytes), 0);
    }
    if ((step.actions & DEMUXBUF_WANT_RECV) != 0)
        step = arm(index);
    /* The host's own poll, which it submits where no receive is in flight. */
    if (MODE == DEMUXBUF_MODE_COMPLETION)
        is_armed[index] = true;
    expect(step, 0);
}

static inline demuxbuf_step report_readable(unsigned index) {
    if (!is_armed[index])
        fail("the read interest is off");
    if (!IS_PERSISTENT)
        is_armed[index] = false;
    if (RECEIVES_UNTIL_EMPTY)
        has_bytes[index] = true;
    return demuxbuf_receiver_readable(pool, receivers[index]);
}

static inline void attach(unsigned index) {
    demuxbuf_attach_options options = {.struct_size = sizeof options, .token = index};
    check(demuxbuf_receiver_attach(pool, &options, &receivers[index], NULL, NULL));
    run(index, demuxbuf_receiver_pending(pool, receivers[index]));
}

static inline demuxbuf_pool_stats stats(void) {
    demuxbuf_pool_stats now = {.struct_size = sizeof now};
    check(demuxbuf_pool_get_stats(pool, &now));
    return now;
}

static void end_iteration(void) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    check(demuxbuf_pool_handle_timeout(pool, 0));
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK)
        run((unsigned)notice.token, notice.step);
}

static void start(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    check(demuxbuf_pool_config_init(&config, (uint64_t)BUFFERS * THREADS * BUFFER_BYTES, CONNECTIONS));
    config.buffer_bytes = BUFFER_BYTES;
    config.mode = MODE;
#ifdef SHARED
    check(demuxbuf_shared_pool_new(&config, THREADS, &shared, NULL, 0));
    check(demuxbuf_shared_pool_shard(shared, 0, &pool));
    check(demuxbuf_shared_pool_shard(shared, 1, &other));
#else
    check(demuxbuf_pool_new(&config, &pool, NULL, 0));
#endif
    for (unsigned i = 0; i < CONNECTIONS; i++)
        attach(i);
#ifdef PREPARE
    PREPARE();
#endif
}

/* Ends the program unless this many bytes were received and decoded without a wait, and all is at rest. */
static inline void finish_at_rest(uint64_t bytes) {
    demuxbuf_pool_stats now = stats();
    if (now.received_bytes != bytes || now.consumed_bytes != bytes || now.claims != 0)
        fail("a cycle received another number of bytes, kept some, or waited");
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        if (!is_armed[i])
            fail("a connection did not come to rest");
    }
}

static inline void free_pools(void) {
    demuxbuf_pool_free(pool);
#ifdef SHARED
    demuxbuf_pool_free(other);
    demuxbuf_shared_pool_free(shared);
#endif
}

#endif
