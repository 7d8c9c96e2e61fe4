/* A pool that threads share: what each function does and refuses, on one thread; then another thread's calls. */
#include "pools.h"

#include <pthread.h>

#define BUFFER_BYTES 256

static demuxbuf_pool_config shared_config(uint32_t buffers) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, buffers, 4), DEMUXBUF_OK);
    config.buffer_bytes = BUFFER_BYTES;
    config.slots = 2;
    return config;
}

/* A shared pool and the pools of two threads, which are this one. */
struct two {
    demuxbuf_shared_pool *shared_pool;
    demuxbuf_pool *a, *b;
};

static struct two new_two(uint32_t buffers) {
    const demuxbuf_pool_config config = shared_config(buffers);
    struct two two;
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 2, &two.shared_pool, NULL, 0), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(two.shared_pool, 0, &two.a), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(two.shared_pool, 1, &two.b), DEMUXBUF_OK);
    return two;
}

static void free_two(const struct two *two) {
    CHECK_NUMBER(demuxbuf_pool_check_invariants(two->a), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(two->b), DEMUXBUF_OK);
    demuxbuf_pool_free(two->a);
    demuxbuf_shared_pool_free(two->shared_pool);
    demuxbuf_pool_free(two->b);
}

static demuxbuf_pool_stats stats_of(const demuxbuf_pool *pool) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    return stats;
}

/* Attaches a receiver and arms its read interest. */
static uint64_t reading(demuxbuf_pool *pool, uint64_t token) {
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = token), &receiver, NULL, NULL), DEMUXBUF_OK);
    CHECK_REFUSED(demuxbuf_receiver_readable(pool, receiver).actions, DEMUXBUF_OK);
    return receiver;
}

static demuxbuf_step receive(demuxbuf_pool *pool, uint64_t receiver, int byte, uint32_t bytes) {
    const demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK((step.actions & DEMUXBUF_RECV) != 0 && step.bytes >= bytes);
    memset(step.data, byte, bytes);
    return demuxbuf_receiver_received(pool, receiver, bytes);
}

/* The content is `bytes` times this byte. */
static void check_data(demuxbuf_pool *pool, uint64_t receiver, int byte, uint32_t bytes) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, receiver, &info), DEMUXBUF_OK);
    CHECK_NUMBER(info.buffered_bytes, bytes);
    const demuxbuf_step step = demuxbuf_receiver_pending(pool, receiver);
    CHECK((step.actions & DEMUXBUF_DECODE) != 0);
    CHECK_NUMBER(step.bytes, bytes);
    for (uint32_t at = 0; at < bytes; at++) {
        CHECK_NUMBER(step.data[at], byte);
    }
}

static uint64_t moved(demuxbuf_pool *from, uint64_t receiver, demuxbuf_pool *to) {
    static const demuxbuf_exported_receiver zero;
    demuxbuf_exported_receiver exported;
    uint64_t there;
    CHECK_NUMBER(demuxbuf_receiver_export(from, receiver, &exported), DEMUXBUF_OK);
    CHECK_REFUSED(demuxbuf_receiver_wake(from, receiver).actions, DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_import(to, &exported, &there), DEMUXBUF_OK);
    CHECK_SAME(&exported, &zero, sizeof exported);
    return there;
}

static void null_is_refused_everywhere(void) {
    const demuxbuf_pool_config config = shared_config(1);
    struct two two = new_two(1);
    demuxbuf_shared_pool *shared_pool;
    demuxbuf_pool *pool;
    demuxbuf_exported_receiver exported;
    uint64_t receiver;
    uint32_t index;
    FILL(shared_pool), FILL(pool), FILL(exported), FILL(receiver), FILL(index);
    CHECK_NUMBER(demuxbuf_shared_pool_new(NULL, 1, &shared_pool, NULL, 0), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 1, NULL, NULL, 0), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(NULL, 0, &pool), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(two.shared_pool, 0, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_shared_pool_poll_wake(NULL, &index), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_shared_pool_poll_wake(two.shared_pool, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_poll_wake(NULL, &index), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_poll_wake(two.a, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_export(NULL, 0, &exported), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_export(two.a, 0, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_import(NULL, &exported, &receiver), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_import(two.a, NULL, &receiver), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_import(two.a, &exported, NULL), DEMUXBUF_ERR_NULL);
    CHECK_UNTOUCHED(shared_pool), CHECK_UNTOUCHED(pool), CHECK_UNTOUCHED(exported), CHECK_UNTOUCHED(receiver);
    CHECK_UNTOUCHED(index);
    demuxbuf_shared_pool_free(NULL);
    free_two(&two);
}

static void config_error_is_explained(void) {
    demuxbuf_pool_config config = shared_config(4);
    demuxbuf_shared_pool *shared_pool;
    char message[128];
    FILL(shared_pool);
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 0, &shared_pool, message, &(size_t){sizeof message}),
                 DEMUXBUF_ERR_CONFIG);
    CHECK(strcmp(message, "shards is 0; allowed is 1 to 1024") == 0);
    config.tenants_max = 3;
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 2, &shared_pool, message, &(size_t){sizeof message}),
                 DEMUXBUF_ERR_CONFIG);
    CHECK(strcmp(message, "tenants_max is 3; allowed is 0 to 0") == 0);
    config.tenants_max = 0;
    config.other_buffer_bytes[0] = 2 * BUFFER_BYTES;
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 2, &shared_pool, message, &(size_t){sizeof message}),
                 DEMUXBUF_ERR_CONFIG);
    CHECK(strcmp(message, "sizes[1] is 2; allowed is 0 to 0") == 0);
    config.struct_size = 1;
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 2, &shared_pool, NULL, 0), DEMUXBUF_ERR_STRUCT_SIZE);
    CHECK_UNTOUCHED(shared_pool);
}

static void shard_exists_once_at_a_time(void) {
    struct two two = new_two(2);
    demuxbuf_pool *pool;
    uint32_t index;
    FILL(pool);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(two.shared_pool, 2, &pool), DEMUXBUF_ERR_RANGE);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(two.shared_pool, 0, &pool), DEMUXBUF_ERR_IN_USE);
    CHECK_UNTOUCHED(pool);
    /* The buffers of a freed pool go to the waiter of another pool. */
    for (int count = 0; count < 2; count++) {
        CHECK_NUMBER(receive(two.a, reading(two.a, 1), 1, 100).bytes, 100);
    }
    const uint64_t waiter = reading(two.b, 2);
    demuxbuf_pool_free(two.a);
    CHECK_NUMBER(demuxbuf_shared_pool_poll_wake(two.shared_pool, &index), DEMUXBUF_OK);
    CHECK_NUMBER(index, 1);
    CHECK_NUMBER(demuxbuf_shared_pool_poll_wake(two.shared_pool, &index), DEMUXBUF_STATUS_NONE);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.b, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == waiter && notice.token == 2);
    CHECK_NUMBER(stats_of(two.b).free, 1);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(two.shared_pool, 0, &two.a), DEMUXBUF_OK);
    free_two(&two);
}

static void release_reaches_a_waiter_of_another_thread(void) {
    struct two two = new_two(1);
    const uint64_t holder = reading(two.a, 1);
    uint32_t index;
    uint64_t wait;
    receive(two.a, holder, 1, 100);
    CHECK_NUMBER(demuxbuf_pool_request(two.b, 0, 7, &wait), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_cancel(two.a, wait), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_poll_wake(two.a, &index), DEMUXBUF_STATUS_NONE);
    CHECK_REFUSED(demuxbuf_receiver_decoded(two.a, holder, 100, 0).actions, DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_wake(two.a, &index), DEMUXBUF_OK);
    CHECK_NUMBER(index, 1);
    CHECK_NUMBER(demuxbuf_pool_poll_wake(two.a, &index), DEMUXBUF_STATUS_NONE);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.a, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.b, &notice), DEMUXBUF_OK);
    CHECK(notice.wait == wait && notice.token == 7 && notice.receiver == 0);
    /* A buffer of the host's own goes with its content to another thread, which releases it. */
    uint8_t *here, *there;
    uint32_t bytes;
    CHECK_NUMBER(demuxbuf_pool_buffer(two.b, notice.lease, &here, &bytes), DEMUXBUF_OK);
    CHECK_NUMBER(bytes, BUFFER_BYTES);
    CHECK_NUMBER(demuxbuf_pool_buffer(two.a, notice.lease, &there, &bytes), DEMUXBUF_OK);
    CHECK(here == there);
    CHECK_NUMBER(demuxbuf_pool_release(two.a, notice.lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_release(two.b, notice.lease), DEMUXBUF_ERR_STALE);
    /* A receiver's is its thread's. */
    receive(two.a, holder, 2, 100);
    demuxbuf_leased_content content;
    CHECK_NUMBER(demuxbuf_receiver_take(two.a, holder, &content), DEMUXBUF_OK);
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_adopt(two.b, OPTIONS(.token = 3), &content, &receiver, NULL, NULL), DEMUXBUF_OK);
    check_data(two.b, receiver, 2, 100);
    CHECK_NUMBER(demuxbuf_pool_release(two.a, content.lease), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_adopt(two.a, OPTIONS(.token = 3), &content, &receiver, NULL, NULL),
                 DEMUXBUF_ERR_STALE);
    free_two(&two);
}

static void receiver_moves_in_any_state(void) {
    struct two two = new_two(1);
    uint64_t receiver;
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_receiver_attach(two.a, OPTIONS(.token = 9), &receiver, NULL, NULL), DEMUXBUF_OK);
    receiver = moved(two.a, receiver, two.b); /* idle */
    CHECK_REFUSED(demuxbuf_receiver_readable(two.b, receiver).actions, DEMUXBUF_OK);
    receive(two.b, receiver, 1, 40);
    CHECK_REFUSED(demuxbuf_receiver_decoded(two.b, receiver, 0, 60).actions, DEMUXBUF_OK);
    CHECK_NUMBER(stats_of(two.b).slots_in_use, 1);
    receiver = moved(two.b, receiver, two.a); /* parked */
    CHECK_NUMBER(stats_of(two.a).slots_in_use, 1);
    CHECK_NUMBER(stats_of(two.b).slots_in_use, 0);
    CHECK_REFUSED(demuxbuf_receiver_readable(two.a, receiver).actions, DEMUXBUF_OK);
    receive(two.a, receiver, 1, 60);
    CHECK_REFUSED(demuxbuf_receiver_decoded(two.a, receiver, 10, 0).actions, DEMUXBUF_OK);
    receiver = moved(two.a, receiver, two.b); /* holding a buffer */
    check_data(two.b, receiver, 1, 90);
    uint64_t waiter = moved(two.a, reading(two.a, 8), two.b); /* waiting */
    waiter = moved(two.b, waiter, two.a);
    CHECK_REFUSED(demuxbuf_receiver_close(two.b, receiver).actions, DEMUXBUF_OK);
    waiter = moved(two.a, waiter, two.b); /* assigned, and not picked up yet */
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.a, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.b, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == waiter && notice.token == 8 && (notice.step.actions & DEMUXBUF_RECV) != 0);
    free_two(&two);
}

static void not_movable_is_refused(void) {
    const demuxbuf_memory_config config = config_of(6, 1, 256);
    struct two two = new_two(2);
    demuxbuf_pool *alone = pool_of(&config);
    demuxbuf_exported_receiver exported;
    uint64_t receiver, other, refused;
    uint32_t index;
    CHECK_NUMBER(demuxbuf_receiver_attach(alone, NULL, &receiver, NULL, NULL), DEMUXBUF_OK);
    FILL(exported), FILL(refused);
    CHECK_NUMBER(demuxbuf_receiver_export(alone, receiver, &exported), DEMUXBUF_ERR_NOT_SHARED);
    CHECK_NUMBER(demuxbuf_receiver_export(two.a, receiver, &exported), DEMUXBUF_ERR_STALE);
    CHECK_UNTOUCHED(exported);
    CHECK_NUMBER(demuxbuf_receiver_import(two.a, &exported, &refused), DEMUXBUF_ERR_STALE);
    memset(&exported, 0, sizeof exported);
    CHECK_NUMBER(demuxbuf_receiver_import(two.a, &exported, &refused), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_import(alone, &exported, &refused), DEMUXBUF_ERR_NOT_SHARED);
    CHECK_NUMBER(demuxbuf_pool_poll_wake(alone, &index), DEMUXBUF_STATUS_NONE);
    /* One that holds a buffer is imported once, whatever copies there are, and by the pool it is of. */
    struct two others = new_two(2);
    receiver = reading(two.a, 1);
    receive(two.a, receiver, 3, 100);
    CHECK_NUMBER(demuxbuf_receiver_export(two.a, receiver, &exported), DEMUXBUF_OK);
    demuxbuf_exported_receiver copy = exported;
    CHECK_NUMBER(demuxbuf_receiver_import(others.a, &copy, &refused), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_import(two.b, &exported, &receiver), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_import(two.a, &copy, &refused), DEMUXBUF_ERR_STALE);
    check_data(two.b, receiver, 3, 100);
    /* Any bytes at all are refused or make no more than a strange connection. */
    uint64_t random = 7;
    for (int round = 0; round < 20000; round++) {
        CHECK_NUMBER(demuxbuf_receiver_export(two.b, receiver, &exported), DEMUXBUF_OK);
        copy = exported;
        ((uint8_t *)&copy)[check_random(&random) % sizeof copy] ^= (uint8_t)(1u << check_random(&random) % 8);
        if (demuxbuf_receiver_import(two.b, &copy, &receiver) != DEMUXBUF_OK) {
            CHECK_NUMBER(demuxbuf_receiver_import(two.b, &exported, &receiver), DEMUXBUF_OK);
        } else {
            CHECK_NUMBER(demuxbuf_receiver_close(two.b, receiver).actions, DEMUXBUF_FINISHED);
            CHECK_NUMBER(stats_of(two.b).leased, 0);
            receiver = reading(two.b, 1);
            receive(two.b, receiver, 3, 100);
        }
    }
    /* A full table. */
    for (int count = 0; count < 4; count++) {
        CHECK_NUMBER(demuxbuf_receiver_attach(two.a, NULL, &other, NULL, NULL), DEMUXBUF_OK);
    }
    CHECK_NUMBER(demuxbuf_receiver_export(two.b, receiver, &exported), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_import(two.a, &exported, &refused), DEMUXBUF_ERR_TABLE_FULL);
    CHECK_UNTOUCHED(refused);
    CHECK_NUMBER(demuxbuf_receiver_import(two.b, &exported, &receiver), DEMUXBUF_OK);
    demuxbuf_pool_free(alone);
    free_two(&others);
    free_two(&two);
}

/* A shared pool has no tenants: each call that names one is refused, and changes nothing. */
static void tenants_are_refused(void) {
    struct two two = new_two(1);
    const uint64_t receiver = reading(two.a, 1);
    demuxbuf_tenant_config config;
    demuxbuf_tenant_info info;
    demuxbuf_request request;
    uint64_t handle;
    memset(&config, 0, sizeof config), memset(&request, 0, sizeof request);
    config.struct_size = sizeof config, config.weight = 1, config.cap = UINT32_MAX;
    request.struct_size = sizeof request, request.tenant = 1;
    FILL_SIZED(info), FILL(handle);
    CHECK_NUMBER(demuxbuf_pool_create_tenant(two.a, &config, &handle, NULL, NULL), DEMUXBUF_ERR_TENANTS_UNSUPPORTED);
    CHECK_NUMBER(demuxbuf_pool_remove_tenant(two.a, 1), DEMUXBUF_ERR_TENANTS_UNSUPPORTED);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(two.a, 1, &info), DEMUXBUF_ERR_TENANTS_UNSUPPORTED);
    CHECK_NUMBER(demuxbuf_receiver_set_tenant(two.a, receiver, 1), DEMUXBUF_ERR_TENANTS_UNSUPPORTED);
    CHECK_NUMBER(demuxbuf_receiver_set_tenant(two.a, receiver, 0), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request_for(two.a, &request, &handle, NULL, NULL), DEMUXBUF_ERR_TENANTS_UNSUPPORTED);
    CHECK_UNTOUCHED_SIZED(info);
    CHECK_UNTOUCHED(handle);
    free_two(&two);
}

static void shard_refuses_attach_after_shared_pool_free(void) {
    struct two two = new_two(2);
    const uint64_t receiver = reading(two.a, 1), waiter = reading(two.b, 2);
    uint64_t refused;
    receive(two.a, receiver, 1, 100);
    receive(two.b, waiter, 2, 100);
    demuxbuf_shared_pool_free(two.shared_pool);
    FILL(refused);
    CHECK_NUMBER(demuxbuf_receiver_attach(two.a, NULL, &refused, NULL, NULL), DEMUXBUF_ERR_POOL_CLOSED);
    CHECK_NUMBER(
        demuxbuf_receiver_attach(two.a, OPTIONS(.bytes = (const uint8_t *)"early", .length = 5), &refused, NULL, NULL),
        DEMUXBUF_ERR_POOL_CLOSED);
    CHECK_NUMBER(demuxbuf_pool_request(two.b, 0, 0, &refused), DEMUXBUF_ERR_POOL_CLOSED);
    demuxbuf_leased_content content;
    CHECK_NUMBER(demuxbuf_receiver_take(two.a, receiver, &content), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_adopt(two.b, NULL, &content, &refused, NULL, NULL), DEMUXBUF_ERR_POOL_CLOSED);
    CHECK_UNTOUCHED(refused);
    CHECK_NUMBER(demuxbuf_pool_release(two.a, content.lease), DEMUXBUF_OK);
    /* Those that are there go on. */
    CHECK_REFUSED(demuxbuf_receiver_readable(two.a, receiver).actions, DEMUXBUF_OK);
    receive(two.a, receiver, 3, 100);
    check_data(two.a, receiver, 3, 100);
    check_data(two.b, waiter, 2, 100);
    demuxbuf_pool_free(two.a);
    CHECK_NUMBER(stats_of(two.b).free, 1);
    demuxbuf_pool_free(two.b);
}

/* The calls that are refused from another thread in every build. */
static void *call_from_elsewhere(void *argument) {
    demuxbuf_pool *pool = argument;
    demuxbuf_exported_receiver exported;
    uint64_t receiver;
    uint32_t index;
    memset(&exported, 0, sizeof exported);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 1), DEMUXBUF_ERR_WRONG_THREAD);
    CHECK_NUMBER(demuxbuf_pool_poll_wake(pool, &index), DEMUXBUF_ERR_WRONG_THREAD);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receiver, NULL, NULL), DEMUXBUF_ERR_WRONG_THREAD);
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &(demuxbuf_leased_content){0}, &receiver, NULL, NULL),
                 DEMUXBUF_ERR_WRONG_THREAD);
    CHECK_NUMBER(demuxbuf_receiver_export(pool, 0, &exported), DEMUXBUF_ERR_WRONG_THREAD);
    CHECK_NUMBER(demuxbuf_receiver_import(pool, &exported, &receiver), DEMUXBUF_ERR_WRONG_THREAD);
    return NULL;
}

static void shard_refuses_another_thread_except_to_free(void) {
    struct two two = new_two(1);
    pthread_t thread;
    /* Checks are counted by one thread at a time. */
    const int created = pthread_create(&thread, NULL, call_from_elsewhere, two.a), joined = pthread_join(thread, NULL);
    CHECK(created == 0 && joined == 0);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(two.a, 1), DEMUXBUF_OK);
    free_two(&two);
}

int main(void) {
    null_is_refused_everywhere();
    config_error_is_explained();
    shard_exists_once_at_a_time();
    release_reaches_a_waiter_of_another_thread();
    receiver_moves_in_any_state();
    not_movable_is_refused();
    tenants_are_refused();
    shard_refuses_attach_after_shared_pool_free();
    shard_refuses_another_thread_except_to_free();
    return check_end();
}
