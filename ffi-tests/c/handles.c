/*
 * Handles of other pools, and what a host may do wrong with memory that it no longer holds: scenarios S84, S86, S87 and
 * S88 from C.
 */
#define _POSIX_C_SOURCE 200809L

#include "shard.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { POOLS_MAX = 1023, THREADS = 300, BUFFER_BYTES = 256, LEASES = 6 };

/* Of one thread, with one buffer left. */
static demuxbuf_pool *new_pool(void) {
    demuxbuf_pool_config config = config_of(LEASES, 1, BUFFER_BYTES);
    config.tenants_max = 1;
    demuxbuf_pool *pool = pool_of(&config);
    leave_free(pool, 1);
    return pool;
}

/* A handle of each kind. */
struct handles {
    uint64_t receiver, lease, wait, tenant;
};

/* Of a pool with one buffer left. */
static struct handles handles_of(demuxbuf_pool *pool) {
    struct handles of;
    demuxbuf_tenant_config tenant_config = {.struct_size = sizeof tenant_config, .weight = 1, .cap = UINT32_MAX};
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = 1), &of.receiver, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 2, &of.lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 3, &of.wait), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, &of.tenant, NULL, NULL), DEMUXBUF_OK);
    return of;
}

static void check_all_stale(demuxbuf_pool *pool, struct handles of) {
    demuxbuf_tenant_info tenant = {.struct_size = sizeof tenant};
    demuxbuf_leased_content content = {of.lease, 0, 0};
    demuxbuf_request request = {.struct_size = sizeof request, .tenant = of.tenant};
    uint64_t handle;
    uint8_t *data;
    uint32_t bytes;
    CHECK_REFUSED(demuxbuf_receiver_wake(pool, of.receiver).actions, DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_buffer(pool, of.lease, &data, &bytes), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &content, &handle, NULL, NULL), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_release(pool, of.lease), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_cancel(pool, of.wait), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, of.tenant, &tenant), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &handle, NULL, NULL), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_remove_tenant(pool, of.tenant), DEMUXBUF_ERR_STALE);
}

/* The handles work where they are from. */
static void use_up(demuxbuf_pool *pool, struct handles of) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    demuxbuf_tenant_info tenant = {.struct_size = sizeof tenant};
    CHECK_REFUSED(demuxbuf_receiver_wake(pool, of.receiver).actions, DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, of.tenant, &tenant), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_release(pool, of.lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.wait == of.wait && notice.lease != of.lease);
    CHECK_NUMBER(demuxbuf_pool_release(pool, notice.lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_remove_tenant(pool, of.tenant), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
}

/* Every configuration in between is refused, or the call fails. */
static void fail_in_between(int number) {
    demuxbuf_pool_config config = config_of(LEASES, 1, BUFFER_BYTES);
    demuxbuf_pool *pool = NULL;
    demuxbuf_shared_pool *shared_pool = NULL;
    config.classes = 0;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, 0), DEMUXBUF_ERR_CONFIG);
    if (number % 3 == 0) {
        CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 2, &shared_pool, NULL, 0), DEMUXBUF_ERR_CONFIG);
        CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 0, &shared_pool, NULL, 0), DEMUXBUF_ERR_CONFIG);
    }
    CHECK(pool == NULL && shared_pool == NULL);
}

static void s84_pool_after_pool_refuses_the_one_before(void) {
    demuxbuf_pool *before = NULL;
    struct handles of_before = {0, 0, 0, 0};
    for (int number = 0; number < 3 * POOLS_MAX; number++) {
        demuxbuf_pool *pool = new_pool();
        struct handles of = handles_of(pool);
        fail_in_between(number);
        if (before) {
            check_all_stale(pool, of_before);
            check_all_stale(before, of);
            use_up(before, of_before);
            demuxbuf_pool_free(before);
        }
        before = pool;
        of_before = of;
    }
    demuxbuf_pool_free(before);
}

static void s84_pool_without_a_tag_of_its_own_is_refused(void) {
    static demuxbuf_pool *pools[POOLS_MAX];
    static uint64_t leases[POOLS_MAX];
    const demuxbuf_pool_config shared_config = shared_config_of(2, LEASES, 1, BUFFER_BYTES);
    const demuxbuf_pool_config config = config_of(LEASES, 1, BUFFER_BYTES);
    demuxbuf_pool *pool = NULL;
    demuxbuf_shared_pool *shared_pool = NULL;
    char message[128];
    for (int at = 0; at < POOLS_MAX; at++) {
        pools[at] = new_pool();
        CHECK_NUMBER(demuxbuf_pool_request(pools[at], 0, 0, &leases[at]), DEMUXBUF_OK);
    }
    for (int at = 0; at < POOLS_MAX; at++) {
        for (int other = 0; other < POOLS_MAX; other++) {
            if (other != at && demuxbuf_pool_release(pools[at], leases[other]) != DEMUXBUF_ERR_STALE) {
                CHECK_NUMBER(other, at);
            }
        }
    }
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, message, &(size_t){sizeof message}), DEMUXBUF_ERR_TOO_MANY_POOLS);
    CHECK(strcmp(message, "1023 pools are alive in the process; allowed are 1023") == 0);
    CHECK_NUMBER(demuxbuf_shared_pool_new(&shared_config, 2, &shared_pool, NULL, 0), DEMUXBUF_ERR_TOO_MANY_POOLS);
    CHECK(pool == NULL && shared_pool == NULL);

    /* The pools of a shared one's threads go by its tag, which it keeps until the last of them is freed. */
    demuxbuf_pool_free(pools[7]);
    CHECK_NUMBER(demuxbuf_shared_pool_new(&shared_config, 2, &shared_pool, NULL, 0), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(shared_pool, 1, &pools[7]), DEMUXBUF_OK);
    demuxbuf_shared_pool_free(shared_pool);
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, 0), DEMUXBUF_ERR_TOO_MANY_POOLS);
    for (int at = 0; at < POOLS_MAX; at++) {
        demuxbuf_pool_free(pools[at]);
    }
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, 0), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
}

static void s84_each_of_300_threads_refuses_all_others(void) {
    static demuxbuf_pool *pools[THREADS];
    static uint64_t receivers[THREADS];
    const demuxbuf_pool_config config = shared_config_of(THREADS, LEASES, 1, BUFFER_BYTES);
    demuxbuf_shared_pool *shared_pool;
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, THREADS, &shared_pool, NULL, 0), DEMUXBUF_OK);
    for (uint32_t at = 0; at < THREADS; at++) {
        CHECK_NUMBER(demuxbuf_shared_pool_shard(shared_pool, at, &pools[at]), DEMUXBUF_OK);
        CHECK_NUMBER(demuxbuf_receiver_attach(pools[at], NULL, &receivers[at], NULL, NULL), DEMUXBUF_OK);
    }
    for (int at = 0; at < THREADS; at++) {
        for (int other = 0; other < THREADS; other++) {
            int32_t status =
                demuxbuf_actions_status_inline(demuxbuf_receiver_wake(pools[at], receivers[other]).actions);
            if (status != (other == at ? DEMUXBUF_OK : DEMUXBUF_ERR_STALE)) {
                CHECK_NUMBER(other, at);
            }
        }
    }
    /* The next pool of this thread refuses the handles of its last pool. */
    demuxbuf_pool_free(pools[5]);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(shared_pool, 5, &pools[5]), DEMUXBUF_OK);
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pools[5], NULL, &receiver, NULL, NULL), DEMUXBUF_OK);
    CHECK_REFUSED(demuxbuf_receiver_wake(pools[5], receivers[5]).actions, DEMUXBUF_ERR_STALE);
    for (int at = 0; at < THREADS; at++) {
        demuxbuf_pool_free(pools[at]);
    }
    demuxbuf_shared_pool_free(shared_pool);
}

struct two {
    demuxbuf_shared_pool *shared_pool;
    demuxbuf_pool *a, *b;
};

static struct two new_two(void) {
    const demuxbuf_pool_config config = shared_config_of(2, LEASES, 4, BUFFER_BYTES);
    struct two two;
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 2, &two.shared_pool, NULL, 0), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(two.shared_pool, 0, &two.a), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(two.shared_pool, 1, &two.b), DEMUXBUF_OK);
    return two;
}

static void free_two(struct two two) {
    demuxbuf_pool_free(two.a);
    demuxbuf_pool_free(two.b);
    demuxbuf_shared_pool_free(two.shared_pool);
}

/* The value is refused and unchanged, and no pool has one receiver or buffer more. */
static void check_refused(demuxbuf_pool *pool, demuxbuf_exported_receiver *exported) {
    demuxbuf_exported_receiver before = *exported;
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats}, stats_before = {.struct_size = sizeof stats_before};
    uint64_t receiver;
    FILL(receiver);
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats_before), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_import(pool, exported, &receiver), DEMUXBUF_ERR_STALE);
    CHECK_UNTOUCHED(receiver);
    CHECK_SAME(exported, &before, sizeof before);
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK(stats.receivers == stats_before.receivers && stats.leased == stats_before.leased);
    CHECK(stats.received_bytes == stats_before.received_bytes && stats.taken_bytes == stats_before.taken_bytes);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
}

/* Attaches a receiver that keeps this many bytes: none, few, or many; or waits for room for the rest of its frame. */
static uint64_t new_receiver(demuxbuf_pool *pool, uint32_t bytes, int waits) {
    static const uint8_t content[200];
    uint64_t receiver;
    CHECK_NUMBER(
        demuxbuf_receiver_attach(pool, OPTIONS(.token = 1, .bytes = content, .length = bytes), &receiver, NULL, NULL),
        DEMUXBUF_OK);
    if (waits) {
        demuxbuf_receiver_info info = {.struct_size = sizeof info};
        CHECK_REFUSED(demuxbuf_receiver_decoded(pool, receiver, 0, 100).actions, DEMUXBUF_OK);
        CHECK_REFUSED(demuxbuf_receiver_readable(pool, receiver).actions, DEMUXBUF_OK);
        CHECK_NUMBER(demuxbuf_receiver_describe(pool, receiver, &info), DEMUXBUF_OK);
        CHECK(info.waiting != 0);
    }
    return receiver;
}

static void s86_copy_of_an_exported_receiver_is_stale(void) {
    static const uint32_t bytes[] = {0, 20, 200, 64};
    struct two two = new_two(), others = new_two();
    for (int kind = 0; kind < 4; kind++) {
        int waits = kind == 3;
        if (waits) {
            leave_free(two.a, 0);
            use_spare(two.a, BUFFER_BYTES);
        }
        for (int round = 0; round < 3; round++) {
            demuxbuf_exported_receiver exported, copy, other;
            uint64_t receiver = new_receiver(two.a, bytes[kind], waits);
            uint64_t foreign = new_receiver(others.a, bytes[kind], 0);
            CHECK_NUMBER(demuxbuf_receiver_export(two.a, receiver, &exported), DEMUXBUF_OK);
            CHECK_NUMBER(demuxbuf_receiver_export(others.a, foreign, &other), DEMUXBUF_OK);
            copy = exported;
            /* Of another shared pool, in which one with the same numbers is exported. */
            check_refused(others.b, &exported);
            check_refused(two.b, &other);
            /* With a mode that there is none of. */
            exported.connection[5] |= 0xff000000;
            check_refused(two.b, &exported);
            exported = copy;
            /* Once it is taken in, no copy is: not on this thread, nor on the one that it came from, nor once it is
             * closed.
         */
            CHECK_NUMBER(demuxbuf_receiver_import(round == 1 ? two.a : two.b, &exported, &receiver), DEMUXBUF_OK);
            check_refused(two.a, &copy);
            check_refused(two.b, &copy);
            CHECK((demuxbuf_receiver_close(round == 1 ? two.a : two.b, receiver).actions & DEMUXBUF_FINISHED) != 0);
            check_refused(two.b, &copy);
            /* And not while the next one is exported. */
            receiver = new_receiver(two.a, 0, 0);
            CHECK_NUMBER(demuxbuf_receiver_export(two.a, receiver, &exported), DEMUXBUF_OK);
            check_refused(two.b, &copy);
            CHECK_NUMBER(demuxbuf_receiver_import(two.a, &exported, &receiver), DEMUXBUF_OK);
            CHECK((demuxbuf_receiver_close(two.a, receiver).actions & DEMUXBUF_FINISHED) != 0);
            CHECK_NUMBER(demuxbuf_receiver_import(others.b, &other, &foreign), DEMUXBUF_OK);
            CHECK((demuxbuf_receiver_close(others.b, foreign).actions & DEMUXBUF_FINISHED) != 0);
        }
    }
    free_two(two);
    free_two(others);
}

enum { ROUNDS = 2000 };

struct importer {
    demuxbuf_shared_pool *shared_pool;
    uint32_t index;
    demuxbuf_exported_receiver *exported;
    pthread_barrier_t *barrier;
    int32_t status[ROUNDS];
};

/* Imports a copy of each value at the same time as the other thread. */
static void *import_copies(void *argument) {
    struct importer *self = argument;
    demuxbuf_pool *pool = NULL;
    if (demuxbuf_shared_pool_shard(self->shared_pool, self->index, &pool)) {
        return NULL;
    }
    for (int round = 0; round < ROUNDS; round++) {
        demuxbuf_exported_receiver copy = self->exported[round];
        uint64_t receiver;
        pthread_barrier_wait(self->barrier);
        self->status[round] = demuxbuf_receiver_import(pool, &copy, &receiver);
        if (self->status[round] == DEMUXBUF_OK) {
            demuxbuf_receiver_close(pool, receiver);
        }
    }
    demuxbuf_pool_free(pool);
    return NULL;
}

static void s86_copy_is_imported_by_one_thread(void) {
    static demuxbuf_exported_receiver exported[ROUNDS];
    static struct importer importers[2];
    const demuxbuf_pool_config config = shared_config_of(3, LEASES, ROUNDS, BUFFER_BYTES);
    demuxbuf_shared_pool *shared_pool;
    demuxbuf_pool *pool;
    pthread_barrier_t barrier;
    pthread_t threads[2];
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 3, &shared_pool, NULL, 0), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(shared_pool, 2, &pool), DEMUXBUF_OK);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t receiver = new_receiver(pool, round % 2 ? 20 : 0, 0);
        CHECK_NUMBER(demuxbuf_receiver_export(pool, receiver, &exported[round]), DEMUXBUF_OK);
    }
    CHECK_NUMBER(pthread_barrier_init(&barrier, NULL, 2), 0);
    for (uint32_t at = 0; at < 2; at++) {
        importers[at].shared_pool = shared_pool;
        importers[at].index = at;
        importers[at].exported = exported;
        importers[at].barrier = &barrier;
        CHECK_NUMBER(pthread_create(&threads[at], NULL, import_copies, &importers[at]), 0);
    }
    for (int at = 0; at < 2; at++) {
        CHECK_NUMBER(pthread_join(threads[at], NULL), 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        CHECK_NUMBER(importers[0].status[round] + importers[1].status[round], DEMUXBUF_ERR_STALE);
    }
    pthread_barrier_destroy(&barrier);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
    demuxbuf_shared_pool_free(shared_pool);
}

/* The host writes through an old pointer into cells that it no longer has; none that is in use is given again. */
static void s87_late_write_into_a_cell_is_ignored(void) {
    const demuxbuf_pool_config config = config_of(LEASES, 8, BUFFER_BYTES);
    demuxbuf_pool *pool = pool_of(&config);
    uint64_t receivers[6];
    uint8_t *cells[6];
    for (int at = 0; at < 6; at++) {
        CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receivers[at], NULL, NULL), DEMUXBUF_OK);
        memset(demuxbuf_receiver_readable(pool, receivers[at]).data, 'a' + at, 60);
        demuxbuf_receiver_received(pool, receivers[at], 60);
        demuxbuf_receiver_decoded(pool, receivers[at], 0, 1);
        cells[at] = demuxbuf_receiver_pending(pool, receivers[at]).data;
        for (int other = 0; other < at; other++) {
            const int is_left = at > 2 && (other == 1 || other == 2);
            const uint8_t *kept = demuxbuf_receiver_pending(pool, receivers[other]).data;
            CHECK(is_left || (cells[other] != cells[at] && kept == cells[other] && kept[0] == 'a' + other));
        }
        if (at == 2) {
            CHECK((demuxbuf_receiver_close(pool, receivers[2]).actions & DEMUXBUF_FINISHED) != 0);
            CHECK((demuxbuf_receiver_close(pool, receivers[1]).actions & DEMUXBUF_FINISHED) != 0);
#ifndef POISONED /* a memory checker would end the program here: ffi-tests/c/poison.c */
            memset(cells[1], 0, 64);
            memset(cells[2], 0xff, 64);
#endif
        }
    }
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
}

static uint64_t buffered_of(const demuxbuf_pool *pool) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    return stats.received_bytes - stats.consumed_bytes - stats.dropped_bytes - stats.taken_bytes;
}

static void s88_counters_add_up_for_attach_and_adopt(void) {
    static const uint8_t bytes[100];
    const demuxbuf_pool_config config = config_of(LEASES, 2, BUFFER_BYTES);
    demuxbuf_pool *pool = pool_of(&config);
    uint64_t receiver;
    demuxbuf_leased_content content;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.bytes = bytes, .length = 10), &receiver, NULL, NULL),
                 DEMUXBUF_OK);
    CHECK_NUMBER(buffered_of(pool), 10);
    CHECK_NUMBER(demuxbuf_actions_status_inline(demuxbuf_receiver_decoded(pool, receiver, 10, 0).actions), DEMUXBUF_OK);
    CHECK_NUMBER(buffered_of(pool), 0);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.bytes = bytes, .length = 100), &receiver, NULL, NULL),
                 DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_take(pool, receiver, &content), DEMUXBUF_OK);
    CHECK_NUMBER(buffered_of(pool), 0);
    CHECK((demuxbuf_receiver_close(pool, receiver).actions & DEMUXBUF_FINISHED) != 0);
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &content, &receiver, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(buffered_of(pool), 100);
    CHECK((demuxbuf_receiver_close(pool, receiver).actions & DEMUXBUF_FINISHED) != 0);
    CHECK_NUMBER(buffered_of(pool), 0);
    demuxbuf_pool_free(pool);
}

/* A pool of one thread works on in the child, on a copy; there a shared pool can be made. */
static void s90_pool_of_one_thread_works_in_a_child(void) {
    demuxbuf_pool *pool = new_pool();
    uint8_t *data;
    uint32_t bytes;
    struct handles of = handles_of(pool);
    CHECK_NUMBER(demuxbuf_pool_buffer(pool, of.lease, &data, &bytes), DEMUXBUF_OK);
    data[0] = 'p';
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(data[0] == 'p');
        data[0] = 'c';
        use_up(pool, of);
        demuxbuf_pool_free(pool);
        free_two(new_two());
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(data[0] == 'p');
    use_up(pool, of);
    demuxbuf_pool_free(pool);
}

int main(void) {
    s84_pool_after_pool_refuses_the_one_before();
    s84_pool_without_a_tag_of_its_own_is_refused();
    s84_each_of_300_threads_refuses_all_others();
    s86_copy_of_an_exported_receiver_is_stale();
    s86_copy_is_imported_by_one_thread();
    s87_late_write_into_a_cell_is_ignored();
    s88_counters_add_up_for_attach_and_adopt();
    s90_pool_of_one_thread_works_in_a_child();
    return check_end();
}
