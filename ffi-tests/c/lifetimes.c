/*
 * How long things of a shared pool live: leases of the host's own while pools are freed, waits while the shared pool is
 * freed, and one lease number that two threads use at the same moment.
 */
#define _POSIX_C_SOURCE 200809L
#include "shard.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { BUFFER_BYTES = 128, LEASES = 128, FREE_ROUNDS = 400, PAIR_ROUNDS = 400 };

static demuxbuf_shared_pool *shared_pool;

static demuxbuf_shared_pool *new_shards(uint32_t buffers, uint32_t receivers_max, uint32_t threads) {
    const demuxbuf_pool_config config = shared_config_of(threads, buffers, receivers_max, BUFFER_BYTES);
    demuxbuf_shared_pool *made;
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, threads, &made, NULL, 0), DEMUXBUF_OK);
    return made;
}

static demuxbuf_pool *pool_at(uint32_t index) {
    demuxbuf_pool *pool;
    CHECK_NUMBER(demuxbuf_shared_pool_shard(shared_pool, index, &pool), DEMUXBUF_OK);
    return pool;
}

static demuxbuf_pool_stats stats_of(const demuxbuf_pool *pool) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    return stats;
}

static uint64_t attached(demuxbuf_pool *pool, uint64_t token) {
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = token), &receiver, NULL, NULL), DEMUXBUF_OK);
    return receiver;
}

/* Whether it has a buffer now. */
static int reads(demuxbuf_pool *pool, uint64_t receiver) {
    const demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK_REFUSED(step.actions, DEMUXBUF_OK);
    return (step.actions & DEMUXBUF_RECV) != 0;
}

/* S82: a lease of the host's own, and the content of its buffer, survive the pool it was taken on. */
static void s82_lease_outlives_pools(void) {
    shared_pool = new_shards(6, 4, 2);
    demuxbuf_pool *const a = pool_at(0), *b = pool_at(1);
    uint64_t lease, wait;
    uint8_t *data, *same;
    uint32_t bytes, index;
    leave_free(b, 1);
    CHECK_NUMBER(demuxbuf_pool_request(a, 0, 0, &lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_buffer(a, lease, &data, &bytes), DEMUXBUF_OK);
    memset(data, 7, bytes);
    const uint32_t leased = stats_of(b).leased;
    demuxbuf_pool_free(a);
    CHECK_NUMBER(demuxbuf_shared_pool_poll_wake(shared_pool, &index), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(stats_of(b).leased, leased);
    CHECK_NUMBER(demuxbuf_pool_request(b, 0, 1, &wait), DEMUXBUF_STATUS_QUEUED);
    /* The next pool of that thread does not own it more than another one. */
    demuxbuf_pool *const next = pool_at(0);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(next), DEMUXBUF_OK);
    demuxbuf_pool_free(next);
    demuxbuf_shared_pool_free(shared_pool);
    CHECK_NUMBER(demuxbuf_pool_buffer(b, lease, &same, &bytes), DEMUXBUF_OK);
    CHECK(same == data && data[0] == 7 && data[BUFFER_BYTES - 1] == 7);
    CHECK_NUMBER(demuxbuf_pool_release(b, lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_release(b, lease), DEMUXBUF_ERR_STALE);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_pool_poll_notice(b, &notice), DEMUXBUF_OK);
    CHECK(notice.wait == wait && notice.token == 1);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(b), DEMUXBUF_OK);
    demuxbuf_pool_free(b);
}

/* S82: a receiver of another thread takes such a lease in, with its content. */
static void s82_lease_of_a_freed_pool_is_adopted(void) {
    shared_pool = new_shards(6, 4, 2);
    demuxbuf_pool *const a = pool_at(0), *const b = pool_at(1);
    const uint64_t of_a = attached(a, 1);
    uint64_t of_b;
    demuxbuf_leased_content content;
    CHECK(reads(a, of_a));
    memset(demuxbuf_receiver_pending(a, of_a).data, 9, 10);
    CHECK_REFUSED(demuxbuf_receiver_received(a, of_a, 10).actions, DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_take(a, of_a, &content), DEMUXBUF_OK);
    demuxbuf_pool_free(a);
    const uint32_t free_before = stats_of(b).free;
    CHECK_NUMBER(demuxbuf_receiver_adopt(b, OPTIONS(.token = 2), &content, &of_b, NULL, NULL), DEMUXBUF_OK);
    const demuxbuf_step step = demuxbuf_receiver_pending(b, of_b);
    CHECK(step.bytes == 10 && step.data[0] == 9 && step.data[9] == 9);
    CHECK_NUMBER(demuxbuf_pool_release(b, content.lease), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_close(b, of_b).actions, DEMUXBUF_FINISHED);
    CHECK_NUMBER(stats_of(b).free, free_before + 1);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(b), DEMUXBUF_OK);
    demuxbuf_pool_free(b);
    demuxbuf_shared_pool_free(shared_pool);
}

static uint64_t leases[LEASES];
static atomic_int turn;

static void wait_for(int value) {
    while (atomic_load(&turn) != value) {
        sched_yield();
    }
}

/* How many of the leases it released. */
static void *release_all(void *released) {
    demuxbuf_pool *pool;
    if (demuxbuf_shared_pool_shard(shared_pool, 1, &pool) != DEMUXBUF_OK) {
        abort();
    }
    atomic_store(&turn, 1);
    wait_for(2);
    for (int at = LEASES - 1; at >= 0; at--) {
        *(int *)released += demuxbuf_pool_release(pool, leases[at]) == DEMUXBUF_OK;
    }
    demuxbuf_pool_free(pool);
    return released;
}

/* S81: the pool that leases were taken on is freed while another thread releases them; each is released once. */
static void s81_free_while_leases_are_released(void) {
    for (int round = 0; round < FREE_ROUNDS; round++) {
        shared_pool = new_shards(LEASES, 4, 2);
        demuxbuf_pool *const pool = pool_at(0);
        pthread_t thread;
        int released = 0;
        const uint32_t free_before = stats_of(pool).free;
        for (int at = 0; at < LEASES; at++) {
            CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &leases[at]), DEMUXBUF_OK);
        }
        atomic_store(&turn, 0);
        CHECK_NUMBER(pthread_create(&thread, NULL, release_all, &released), 0);
        wait_for(1);
        atomic_store(&turn, 2);
        demuxbuf_pool_free(pool);
        if (round % 2 == 0) {
            demuxbuf_shared_pool_free(shared_pool);
        }
        CHECK_NUMBER(pthread_join(thread, NULL), 0);
        CHECK_NUMBER(released, LEASES);
        if (round % 2 != 0) {
            demuxbuf_pool *const after = pool_at(0);
            CHECK_NUMBER(stats_of(after).free, free_before);
            CHECK_NUMBER(demuxbuf_pool_check_invariants(after), DEMUXBUF_OK);
            demuxbuf_pool_free(after);
            demuxbuf_shared_pool_free(shared_pool);
        }
    }
}

/* One call of one of two threads on the same lease, or on the receiver that may hold it. */
enum call { RELEASE, ADOPT, BUFFER, TAKE, CLOSE, DESCRIBE, EXPORT };

static demuxbuf_pool *pools[2];
static enum call calls[2];
static int32_t results[2];
static uint64_t lease, adopted[2], holder;
static demuxbuf_leased_content taken;
static demuxbuf_exported_receiver exported;
static atomic_int round_at, arrived;

static int32_t act(int me) {
    demuxbuf_pool *const pool = pools[me];
    const demuxbuf_leased_content content = {lease, 0, 4};
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    uint8_t *data;
    uint32_t bytes;
    switch (calls[me]) {
    case RELEASE: return demuxbuf_pool_release(pool, lease);
    case ADOPT: return demuxbuf_receiver_adopt(pool, NULL, &content, &adopted[me], NULL, NULL);
    case BUFFER: return demuxbuf_pool_buffer(pool, lease, &data, &bytes);
    case TAKE: return demuxbuf_receiver_take(pool, holder, &taken);
    case CLOSE: return demuxbuf_actions_status_inline(demuxbuf_receiver_close(pool, holder).actions);
    case DESCRIBE: return demuxbuf_receiver_describe(pool, holder, &info);
    default: return demuxbuf_receiver_export(pool, holder, &exported);
    }
}

/* Both begin the call as nearly at once as can be. */
static void meet(int round) {
    if (atomic_fetch_add(&arrived, 1) == 1) {
        atomic_store(&arrived, 0);
        atomic_store(&round_at, round);
    }
    for (int spins = 0; atomic_load(&round_at) != round; spins++) {
        if (spins > 1000) {
            sched_yield();
        }
    }
}

/* Checks are counted by the first thread. */
static void *act_as_second(void *unused) {
    if (demuxbuf_shared_pool_shard(shared_pool, 1, &pools[1]) != DEMUXBUF_OK) {
        abort();
    }
    for (int round = 1;; round += 4) {
        meet(round);
        if (calls[1] == calls[0] && lease == 0) {
            return unused;
        }
        meet(round + 1);
        results[1] = act(1);
        meet(round + 2);
        /* Each thread tidies up what is its own. */
        if (calls[1] == ADOPT && results[1] == DEMUXBUF_OK) {
            demuxbuf_receiver_close(pools[1], adopted[1]);
        }
        meet(round + 3);
    }
}

static void prepare(int is_held) {
    CHECK_NUMBER(demuxbuf_pool_request(pools[0], 0, 0, &lease), DEMUXBUF_OK);
    const demuxbuf_leased_content content = {lease, 0, 4};
    if (is_held) {
        CHECK_NUMBER(demuxbuf_receiver_adopt(pools[0], NULL, &content, &holder, NULL, NULL), DEMUXBUF_OK);
    }
}

static void tidy_up(void) {
    const int first = results[0] == DEMUXBUF_OK, second = results[1] == DEMUXBUF_OK && calls[1] != BUFFER;
    if (calls[0] == ADOPT && first) {
        demuxbuf_receiver_close(pools[0], adopted[0]);
    } else if (calls[0] == TAKE) {
        /* The number that the receiver adopted has ended for good. */
        CHECK(!second && taken.lease != lease);
        CHECK_NUMBER(demuxbuf_pool_release(pools[0], taken.lease), DEMUXBUF_OK);
        demuxbuf_receiver_close(pools[0], holder);
    } else if (calls[0] == EXPORT) {
        CHECK_NUMBER(demuxbuf_receiver_import(pools[0], &exported, &holder), DEMUXBUF_OK);
        demuxbuf_receiver_close(pools[0], holder);
    } else if (calls[0] == DESCRIBE) {
        demuxbuf_receiver_close(pools[0], holder);
    }
}

/* S85: of two calls that would both have the lease, one succeeds and the other is stale; any other call is not
   hindered. */
static void s85_two_calls_with_one_lease(void) {
    static const enum call pairs[][2] = {
        {RELEASE, RELEASE}, {ADOPT, ADOPT}, {ADOPT, RELEASE}, {RELEASE, ADOPT},    {RELEASE, BUFFER}, {ADOPT, BUFFER},
        {TAKE, RELEASE},    {TAKE, ADOPT},  {CLOSE, RELEASE}, {DESCRIBE, RELEASE}, {EXPORT, RELEASE}, {EXPORT, ADOPT},
    };
    pthread_t thread;
    int round = 1;
    shared_pool = new_shards(8, 8, 2);
    pools[0] = pool_at(0);
    const uint32_t free_before = stats_of(pools[0]).free;
    atomic_store(&arrived, 0), atomic_store(&round_at, 0);
    CHECK_NUMBER(pthread_create(&thread, NULL, act_as_second, NULL), 0);
    for (size_t pair = 0; pair < sizeof pairs / sizeof pairs[0]; pair++) {
        for (int count = 0; count < PAIR_ROUNDS; count++, round += 4) {
            calls[0] = pairs[pair][0], calls[1] = pairs[pair][1];
            prepare(calls[0] >= TAKE);
            meet(round);
            meet(round + 1);
            results[0] = act(0);
            meet(round + 2);
            const int is_exclusive = calls[0] < BUFFER && calls[1] < BUFFER;
            if (is_exclusive) {
                CHECK((results[0] == DEMUXBUF_OK) + (results[1] == DEMUXBUF_OK) == 1);
            } else {
                CHECK_NUMBER(results[0], DEMUXBUF_OK);
            }
            CHECK(results[0] == DEMUXBUF_OK || results[0] == DEMUXBUF_ERR_STALE);
            CHECK(results[1] == DEMUXBUF_OK || results[1] == DEMUXBUF_ERR_STALE);
            /* A lease of a receiver is no lease of the host's own. */
            CHECK(calls[0] < CLOSE || results[1] == DEMUXBUF_ERR_STALE);
            meet(round + 3);
            tidy_up();
            CHECK_NUMBER(stats_of(pools[0]).free, free_before);
            CHECK_NUMBER(demuxbuf_pool_check_invariants(pools[0]), DEMUXBUF_OK);
        }
    }
    lease = 0, calls[0] = calls[1];
    meet(round);
    CHECK_NUMBER(pthread_join(thread, NULL), 0);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pools[1]), DEMUXBUF_OK);
    demuxbuf_pool_free(pools[0]);
    demuxbuf_pool_free(pools[1]);
    demuxbuf_shared_pool_free(shared_pool);
}

int main(void) {
    s82_lease_outlives_pools();
    s82_lease_of_a_freed_pool_is_adopted();
    s81_free_while_leases_are_released();
    s85_two_calls_with_one_lease();
    return check_end();
}
