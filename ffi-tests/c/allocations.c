/*
 * Nothing is allocated after a pool was made: a random host makes every call there is, right and wrong, while
 * `counted.c` counts what the library asks of the C library.
 */
#include "counted.h"
#include "pools.h"

enum { RECEIVERS = 24, LEASES = 8, WAITS = 8, STEPS = 1000000 };

/* The handles of the host. Handles stay in their arrays after they ended, so that stale ones are used too. */
static uint64_t receivers[RECEIVERS], leases[LEASES], waits[WAITS];
static demuxbuf_leased_content content;
static uint64_t seed = 88172645463325252u, now_ns;
static unsigned long done, refused;

static uint32_t below(uint32_t limit) {
    return check_random(&seed) % limit;
}

static void count(int32_t status) {
    if (status < 0) {
        refused++;
    } else {
        done++;
    }
}

/* Does what the step demands, now and then something else. */
static void obey(demuxbuf_pool *pool, uint64_t receiver, demuxbuf_step step) {
    count(demuxbuf_actions_status_inline(step.actions));
    if (demuxbuf_actions_status_inline(step.actions) != DEMUXBUF_OK) {
        return;
    }
    if ((step.actions & DEMUXBUF_RECV) != 0) {
        uint32_t bytes = 1 + below(step.bytes);
        memset(step.data, 1, bytes);
        step = below(8) == 0 ? demuxbuf_receiver_would_block(pool, receiver)
                             : demuxbuf_receiver_received(pool, receiver, bytes);
    } else if ((step.actions & DEMUXBUF_DECODE) != 0) {
        step = demuxbuf_receiver_decoded(pool, receiver, below(2) * (1 + below(step.bytes)), below(3) * below(100));
    }
    uint32_t reported = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_END | DEMUXBUF_SHED | DEMUXBUF_RESCHEDULE |
                        DEMUXBUF_CANNOT_FIT;
    step = demuxbuf_receiver_done(pool, receiver, step.actions & reported);
    count(demuxbuf_actions_status_inline(step.actions));
}

static void call_receiver(demuxbuf_pool *pool) {
    static const uint8_t upgrade[100] = {0};
    uint32_t slot = below(RECEIVERS);
    uint64_t receiver = receivers[slot];
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    switch (below(32)) {
    case 0:
    case 1:
        /* Content that is overwritten is released first, or the host would lose it. */
        obey(pool, receiver, demuxbuf_receiver_close(pool, receiver));
        count(below(3) == 0 ? demuxbuf_receiver_adopt(pool, OPTIONS(.class_index = below(3), .token = slot), &content,
                                                      &receivers[slot], NULL, NULL)
                            : demuxbuf_receiver_attach(pool,
                                                       OPTIONS(.class_index = below(3), .token = slot, .bytes = upgrade,
                                                               .length = below(2) * below(100)),
                                                       &receivers[slot], NULL, NULL));
        break;
    case 2:
        count(demuxbuf_pool_release(pool, content.lease));
        count(demuxbuf_receiver_take(pool, receiver, &content));
        break;
    case 3: count(demuxbuf_receiver_describe(pool, receiver, &info)); break;
    case 4: obey(pool, receiver, demuxbuf_receiver_decoded(pool, receiver, below(100), below(100))); break;
    case 5: obey(pool, receiver, demuxbuf_receiver_received(pool, receiver, below(300))); break;
    case 6: obey(pool, receiver, demuxbuf_receiver_would_block(pool, receiver)); break;
    case 7: obey(pool, receiver, demuxbuf_receiver_end_of_stream(pool, receiver)); break;
    case 8: obey(pool, receiver, demuxbuf_receiver_transport_error(pool, receiver)); break;
    case 9: obey(pool, receiver, demuxbuf_receiver_block(pool, receiver, below(4))); break;
    case 10: obey(pool, receiver, demuxbuf_receiver_unblock(pool, receiver, 7)); break;
    case 11: obey(pool, receiver, demuxbuf_receiver_report(pool, receiver, DEMUXBUF_EVENT_YIELD, 0)); break;
    case 12: obey(pool, receiver, demuxbuf_receiver_wake(pool, receiver)); break;
    case 13: obey(pool, receiver, demuxbuf_receiver_pause_recv(pool, receiver)); break;
    case 14: obey(pool, receiver, demuxbuf_receiver_resume_recv(pool, receiver)); break;
    case 15: obey(pool, receiver, demuxbuf_receiver_fail(pool, receiver)); break;
    case 16: obey(pool, receiver, demuxbuf_receiver_report(pool, receiver, DEMUXBUF_EVENT_RECLAIM_REQUESTED, 0)); break;
    case 17: obey(pool, receiver, demuxbuf_receiver_report(pool, receiver, DEMUXBUF_EVENT_LEASE_EXPIRED, 0)); break;
    case 18: obey(pool, receiver, demuxbuf_receiver_done(pool, receiver, check_random(&seed))); break;
    case 19: obey(pool, receiver, demuxbuf_receiver_close(pool, receiver)); break;
    case 20: obey(pool, receiver, demuxbuf_receiver_pending(pool, receiver)); break;
    default: obey(pool, receiver, demuxbuf_receiver_readable(pool, receiver)); break;
    }
}

static void call_pool(demuxbuf_pool *pool) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    uint64_t handle, number;
    uint8_t *data;
    uint32_t bytes;
    switch (below(16)) {
    case 0: {
        uint32_t slot = below(LEASES);
        if (below(4) == 0) {
            count(demuxbuf_pool_release(pool, leases[slot]));
        }
        int32_t status = demuxbuf_pool_request(pool, below(3), 0, &handle);
        count(status);
        if (status >= 0) {
            uint64_t *at = status == DEMUXBUF_OK ? &leases[slot] : &waits[below(WAITS)];
            /* What is overwritten ends before, or the host would lose it. */
            count(status == DEMUXBUF_OK ? demuxbuf_pool_release(pool, *at) : demuxbuf_pool_cancel(pool, *at));
            *at = handle;
        }
        break;
    }
    case 1:
        if (below(4) == 0) {
            count(demuxbuf_pool_release(pool, leases[below(LEASES)]));
        }
        break;
    case 2: count(demuxbuf_pool_cancel(pool, waits[below(WAITS)])); break;
    case 3: count(demuxbuf_pool_buffer(pool, leases[below(LEASES)], &data, &bytes)); break;
    case 4:
    case 10:
    case 11:
    case 12:
    case 13: count(demuxbuf_pool_handle_timeout(pool, now_ns += below(10000000))); break;
    case 5: count(demuxbuf_pool_poll_timeout(pool) > 0 ? DEMUXBUF_OK : DEMUXBUF_ERR_RANGE); break;
    case 6: count(demuxbuf_pool_bypass_bound(pool, &number)); break;
    case 7: count(demuxbuf_pool_get_stats(pool, &stats)); break;
    case 8: count(demuxbuf_pool_trim(pool, &number)); break;
    case 9: count(demuxbuf_pool_release(pool, content.lease)); break;
    default:
        while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK) {
            if (notice.receiver != 0) {
                obey(pool, notice.receiver, notice.step);
            } else {
                count(demuxbuf_pool_release(pool, notice.lease));
            }
        }
    }
}

static void call_the_rest(void) {
    static const uint8_t head[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    static demuxbuf_h2_decoder decoder;
    static demuxbuf_connection connection;
    demuxbuf_connection_info info = {.struct_size = sizeof info};
    demuxbuf_h2_next next = {.struct_size = sizeof next};
    count(demuxbuf_h2_init(&decoder, below(3)));
    count(demuxbuf_h2_set_max_frame_size(&decoder, below(40000)));
    if (demuxbuf_h2_peek(&decoder, head, below(10), &next) == DEMUXBUF_OK) {
        count(demuxbuf_h2_accept(&decoder, &next));
    }
    count(demuxbuf_connection_init(&connection, NULL, NULL, NULL));
    count(demuxbuf_actions_status_inline(demuxbuf_connection_attach(&connection, below(70), 64)));
    count(demuxbuf_actions_status_inline(demuxbuf_connection_readable(&connection)));
    count(demuxbuf_actions_status_inline(demuxbuf_connection_sync(&connection, below(70), 64, 0, 0, 0)));
    count(demuxbuf_actions_status_inline(demuxbuf_connection_close(&connection)));
    count(demuxbuf_connection_describe(&connection, &info));
    CHECK(demuxbuf_strerror(-(int32_t)below(50)) != NULL);
}

int main(void) {
    demuxbuf_pool_config config = config_of(6, RECEIVERS, 256);
    config.classes = 2;
    config.reserves[1] = 1;
    config.waiters_max = WAITS;
    config.frame_grace_ns = config.blocked_ns = 20000000;
    demuxbuf_pool *pool = pool_of(&config);
    /* The counters count: a pool is several pieces. */
    const unsigned long allocated = counted_allocations();
    CHECK(allocated >= 3);

    for (int step = 0; step < STEPS; step++) {
        switch (below(16)) {
        case 0: call_the_rest(); break;
        case 1:
        case 2:
        case 3: call_pool(pool); break;
        default: call_receiver(pool);
        }
        if (step % 64 == 0) {
            CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
        }
    }
    CHECK_NUMBER(counted_allocations(), allocated);
    CHECK_NUMBER(counted_refused(), 0);
    CHECK_NUMBER(counted_frees(), 0);

    /* The run went everywhere, or it shows nothing. */
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK(stats.granted_at_once > 100 && stats.granted_by_handoff > 100 && stats.cancelled > 100);
    CHECK(stats.claims > 100 && stats.grants > 5 && stats.trials > 10 && stats.copied_bytes > 100);
    CHECK(stats.evicted > 10 && stats.shed_at_deadline > 10);
    CHECK(stats.received_bytes > 100 && stats.dropped_bytes > 100 && stats.taken_bytes > 100);
    CHECK(stats.waiting_peak > 5 && stats.leased_peak == stats.buffers && done > 100000 && refused > 10000);

    demuxbuf_pool_free(pool);
    CHECK_NUMBER(counted_allocations(), allocated);
    /* All of it is released, piece by piece. */
    CHECK_NUMBER(counted_frees(), allocated);

    /* The same without such memory: the system has refused the arena, and the rest is freed. */
    config.memory_bytes = UINT64_C(1) << 47;
    config.buffer_bytes = 1u << 24;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, 0), DEMUXBUF_ERR_NO_MEMORY);
    CHECK_NUMBER(counted_refused(), 1);
    CHECK(counted_allocations() > allocated);
    CHECK_NUMBER(counted_frees(), counted_allocations());
    return check_end();
}
