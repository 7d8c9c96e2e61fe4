/* A pool that threads share: what each function does and refuses, on one thread; then another thread's calls. */
#include "two_shards.h"

#include <pthread.h>

static void null_is_refused_everywhere(void) {
    const demuxbuf_pool_config config = shared_config();
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

static void refuse(const demuxbuf_pool_config *config, uint32_t shards, const char *sentence) {
    demuxbuf_shared_pool *shared_pool;
    char message[128];
    FILL(shared_pool);
    CHECK_NUMBER(demuxbuf_shared_pool_new(config, shards, &shared_pool, message, &(size_t){sizeof message}),
                 DEMUXBUF_ERR_CONFIG);
    if (strcmp(message, sentence) != 0) {
        fprintf(stderr, "expected: %s\nbut it is: %s\n", sentence, message);
    }
    CHECK(strcmp(message, sentence) == 0);
    CHECK_UNTOUCHED(shared_pool);
}

static void config_error_is_explained(void) {
    demuxbuf_pool_config config = shared_config();
    demuxbuf_shared_pool *shared_pool;
    FILL(shared_pool);
    refuse(&config, 0, "shards is 0; allowed is 1 to 1024");
    config.classes = DEMUXBUF_CLASSES_MAX; /* the library needs one more */
    refuse(&config, 2, "classes is 8; allowed is 1 to 7");
    config.classes = 1;
    config.memory_bytes = 16 * BUFFER_BYTES - 1; /* 8 buffers for each thread */
    refuse(&config, 2, "memory_bytes is 4095; allowed is 4096 or more");
    config.struct_size = 1;
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 2, &shared_pool, NULL, 0), DEMUXBUF_ERR_STRUCT_SIZE);
    CHECK_UNTOUCHED(shared_pool);
    config = shared_config();
    config.classes = DEMUXBUF_CLASSES_MAX - 1;
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 2, &shared_pool, NULL, 0), DEMUXBUF_OK);
    demuxbuf_shared_pool_free(shared_pool);
}

/* `receivers_max` and `waiters_max` are for each thread, all buffers for all. */
static void limits_are_for_each_thread_or_for_all(void) {
    demuxbuf_pool_config config = shared_config();
    uint64_t receiver, handle;
    config.waiters_max = 3;
    struct two two = new_two_of(&config);
    demuxbuf_pool *const pools[] = {two.a, two.b};
    leave_free(two.a, 0);
    CHECK_NUMBER(stats_of(two.b).free, 0);
    for (int at = 0; at < 2; at++) {
        for (uint32_t count = 0; count < 4; count++) {
            CHECK_NUMBER(demuxbuf_receiver_attach(pools[at], NULL, &receiver, NULL, NULL), DEMUXBUF_OK);
        }
        CHECK_NUMBER(demuxbuf_receiver_attach(pools[at], NULL, &receiver, NULL, NULL), DEMUXBUF_ERR_TABLE_FULL);
        for (uint32_t count = 0; count < 3; count++) {
            CHECK_NUMBER(demuxbuf_pool_request(pools[at], 0, 0, &handle), DEMUXBUF_STATUS_QUEUED);
        }
        CHECK_NUMBER(demuxbuf_pool_request(pools[at], 0, 0, &handle), DEMUXBUF_ERR_TABLE_FULL);
    }
    const demuxbuf_pool_stats a = stats_of(two.a), b = stats_of(two.b);
    CHECK(a.receivers == 4 && a.receivers_max == 4 && b.receivers == 4);
    CHECK(a.waiting == 6 && b.waiting == 6 && a.buffers == b.buffers &&
          a.buffers * BUFFER_BYTES == config.memory_bytes);
    free_two(&two);
}

static void shard_exists_once_at_a_time(void) {
    struct two two = new_two(4);
    demuxbuf_pool *pool;
    uint64_t wait;
    uint32_t index;
    FILL(pool);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(two.shared_pool, 2, &pool), DEMUXBUF_ERR_RANGE);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(two.shared_pool, 0, &pool), DEMUXBUF_ERR_IN_USE);
    CHECK_UNTOUCHED(pool);
    /* Of what receivers of a freed pool used, all goes to the waiter of another pool but what each pool has in any
       case. */
    keeping(two.a, 1, 1), keeping(two.a, 2, 2);
    leave_free(two.b, 0);
    CHECK_NUMBER(demuxbuf_pool_request(two.b, 0, 2, &wait), DEMUXBUF_STATUS_QUEUED);
    demuxbuf_pool_free(two.a);
    CHECK_NUMBER(demuxbuf_shared_pool_poll_wake(two.shared_pool, &index), DEMUXBUF_OK);
    CHECK_NUMBER(index, 1);
    CHECK_NUMBER(demuxbuf_shared_pool_poll_wake(two.shared_pool, &index), DEMUXBUF_STATUS_NONE);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.b, &notice), DEMUXBUF_OK);
    CHECK(notice.wait == wait && notice.token == 2);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(two.shared_pool, 0, &two.a), DEMUXBUF_OK);
    /* It has what each pool has in any case. */
    CHECK_NUMBER(receive(two.a, reading(two.a, 3), 3, 60).bytes, 60);
    free_two(&two);
}

static void release_reaches_a_waiter_of_another_thread(void) {
    struct two two = new_two(1);
    uint32_t index;
    uint64_t lease, wait;
    CHECK_NUMBER(demuxbuf_pool_request(two.a, 0, 1, &lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(two.b, 0, 7, &wait), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_cancel(two.a, wait), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_poll_wake(two.a, &index), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_pool_release(two.a, lease), DEMUXBUF_OK);
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
    const uint64_t holder = reading(two.a, 1);
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

/* A receiver that waits for room is served by what another thread releases, and its thread is named. */
static void release_wakes_a_receiver_of_another_thread(void) {
    struct two two = new_two(4);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    uint64_t leases[4], waiter;
    uint32_t index;
    for (int at = 0; at < 4; at++) {
        CHECK_NUMBER(demuxbuf_pool_request(two.a, 0, 0, &leases[at]), DEMUXBUF_OK);
    }
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(two.a, 1000), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(two.b, 1000), DEMUXBUF_OK);
    const demuxbuf_policy policy = {.struct_size = sizeof policy, .reads_ahead = 1};
    CHECK_NUMBER(demuxbuf_receiver_attach(two.b, OPTIONS(.token = 22, .policy = &policy), &waiter, NULL, NULL),
                 DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_readable(two.b, waiter).actions & DEMUXBUF_RECV, 0);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.b, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(two.b, 1500), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_describe(two.b, waiter, &info), DEMUXBUF_OK);
    CHECK(info.waiting == 1 && info.wait_age_ns == 500);
    CHECK_NUMBER(stats_of(two.b).claims, 1);
    CHECK_NUMBER(stats_of(two.a).claims, 0);
    while (demuxbuf_pool_poll_wake(two.a, &index) == DEMUXBUF_OK) {
    }
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.b, &notice), DEMUXBUF_STATUS_NONE);
    for (int at = 0; at < 4; at++) {
        CHECK_NUMBER(demuxbuf_pool_release(two.a, leases[at]), DEMUXBUF_OK);
    }
    CHECK_NUMBER(demuxbuf_pool_poll_wake(two.a, &index), DEMUXBUF_OK);
    CHECK_NUMBER(index, 1);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.b, &notice), DEMUXBUF_OK);
    CHECK(notice.kind == DEMUXBUF_NOTICE_RECEIVER && notice.receiver == waiter && notice.token == 22);
    CHECK((notice.step.actions & DEMUXBUF_RECV) != 0 && notice.step.bytes == BUFFER_BYTES);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.b, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_receiver_describe(two.b, waiter, &info), DEMUXBUF_OK);
    CHECK(info.waiting == 0 && info.wait_age_ns == 0);
    CHECK_NUMBER(stats_of(two.b).grants, 1);
    free_two(&two);
}

/* Of all threads, a request of a more critical class goes first, and of one class the one that came first. */
static void order_is_that_of_all_threads(void) {
    demuxbuf_pool_config config = shared_config();
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    static const uint32_t classes[] = {1, 1, 0, 0};
    static const int order[] = {2, 3, 0, 1};
    uint64_t lease, waits[4];
    uint32_t index;
    config.classes = 2;
    config.class_burst = 4;
    struct two two = new_two_of(&config);
    demuxbuf_pool *const pools[] = {two.a, two.b};
    leave_free(two.a, 1);
    CHECK_NUMBER(demuxbuf_pool_request(two.a, 0, 0, &lease), DEMUXBUF_OK);
    for (uint64_t at = 0; at < 4; at++) {
        CHECK_NUMBER(demuxbuf_pool_request(pools[at % 2], classes[at], at, &waits[at]), DEMUXBUF_STATUS_QUEUED);
    }
    CHECK(stats_of(two.a).waiting_by_class[0] == 2 && stats_of(two.b).waiting_by_class[1] == 2);
    while (demuxbuf_pool_poll_wake(two.a, &index) == DEMUXBUF_OK) {
    }
    for (int at = 0; at < 4; at++) {
        demuxbuf_pool *const served = pools[order[at] % 2], *const other = pools[1 - order[at] % 2];
        CHECK_NUMBER(demuxbuf_pool_release(two.a, lease), DEMUXBUF_OK);
        CHECK_NUMBER(demuxbuf_pool_poll_notice(other, &notice), DEMUXBUF_STATUS_NONE);
        CHECK_NUMBER(demuxbuf_pool_poll_notice(served, &notice), DEMUXBUF_OK);
        CHECK(notice.wait == waits[order[at]] && notice.token == (uint64_t)order[at]);
        lease = notice.lease;
    }
    const demuxbuf_pool_stats stats = stats_of(two.b);
    CHECK(stats.granted_by_handoff == 4 && stats.queued == 4 && stats.cancelled == 0 && stats.waiting == 0);
    free_two(&two);
}

/* A thread that does not pick its grant up loses it to another one, and its request queues again. */
static void grant_that_is_not_picked_up_goes_on(void) {
    enum { GRACE = 800 };
    demuxbuf_pool_config config = shared_config();
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    uint64_t lease, hangs, waits;
    config.frame_grace_ns = GRACE;
    struct two two = new_two_of(&config);
    leave_free(two.a, 1);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(two.a, 1), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(two.a, 0, 0, &lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(two.b, 0, 1, &hangs), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_request(two.a, 0, 2, &waits), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_release(two.a, lease), DEMUXBUF_OK);
    CHECK_NUMBER(stats_of(two.a).assigned, 1);
    for (uint64_t now_ns = 1; now_ns <= 4 * GRACE; now_ns += GRACE / 8) {
        CHECK_NUMBER(demuxbuf_pool_handle_timeout(two.a, now_ns), DEMUXBUF_OK);
        if (demuxbuf_pool_poll_notice(two.a, &notice) == DEMUXBUF_OK) {
            break;
        }
    }
    CHECK(notice.wait == waits && notice.token == 2);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.b, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_pool_release(two.a, notice.lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.b, &notice), DEMUXBUF_OK);
    CHECK(notice.wait == hangs && notice.token == 1);
    free_two(&two);
}

/* A process that stands still for hours sheds no receiver, and the first advance is the origin of all claims. */
static void s53_s54_pause_and_time_before_start_do_not_count(void) {
    enum { SECOND = 1000000000 };
    const uint64_t origin = (uint64_t)864000 * SECOND, pause = (uint64_t)28800 * SECOND, step = SECOND / 8;
    struct two two = new_two(0);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    use_spare(two.b, BUFFER_BYTES);
    const uint64_t waiter = reading(two.b, 2);
    CHECK_NUMBER(receive(two.b, waiter, 1, 64).bytes, 64);
    demuxbuf_receiver_decoded(two.b, waiter, 0, 100);
    CHECK_NUMBER(demuxbuf_receiver_readable(two.b, waiter).actions & DEMUXBUF_RECV, 0);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(two.b, origin), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(two.b, origin + pause), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.b, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_receiver_describe(two.b, waiter, &info), DEMUXBUF_OK);
    CHECK_NUMBER(info.wait_age_ns, step);
    CHECK_NUMBER(stats_of(two.b).clock_skipped_ns, pause - step);
    /* From here on time counts, and the claim comes to its end as usual: by a last receive, which brings nothing. */
    const uint64_t wait_ns_max = stats_of(two.b).wait_ns_max;
    uint64_t now_ns = origin + pause;
    while (demuxbuf_pool_poll_notice(two.b, &notice) == DEMUXBUF_STATUS_NONE) {
        CHECK(now_ns < origin + pause + wait_ns_max);
        CHECK_NUMBER(demuxbuf_pool_handle_timeout(two.b, now_ns += step), DEMUXBUF_OK);
    }
    CHECK(notice.receiver == waiter && (notice.step.actions & DEMUXBUF_RECV) != 0);
    CHECK((demuxbuf_receiver_would_block(two.b, waiter).actions & DEMUXBUF_SHED) != 0);
    CHECK_NUMBER(demuxbuf_receiver_describe(two.b, waiter, &info), DEMUXBUF_OK);
    CHECK_NUMBER(info.shed_reason, DEMUXBUF_SHED_REASON_DEADLINE);
    CHECK_NUMBER(demuxbuf_receiver_export(two.b, waiter, &(demuxbuf_exported_receiver){0}), DEMUXBUF_ERR_NOT_MOVABLE);
    CHECK_NUMBER(demuxbuf_receiver_close(two.b, waiter).actions, DEMUXBUF_FINISHED);
    const demuxbuf_pool_stats stats = stats_of(two.b);
    CHECK(stats.shed == 1 && stats.shed_at_deadline == 1 && stats.dropped_bytes == 64 && stats_of(two.a).shed == 0);
    free_two(&two);
}

static demuxbuf_tenant_info tenant_of(const demuxbuf_pool *pool, uint64_t tenant) {
    demuxbuf_tenant_info info = {.struct_size = sizeof info};
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, tenant, &info), DEMUXBUF_OK);
    return info;
}

/* A tenant of a shared pool is one of all its threads: its handle, what it holds, and its cap. */
static void tenants_are_of_all_threads(void) {
    demuxbuf_pool_config pool_config = shared_config();
    pool_config.tenants_max = 1;
    struct two two = new_two_of(&pool_config);
    demuxbuf_tenant_config config = {.struct_size = sizeof config, .weight = 1, .cap = 1};
    demuxbuf_request request = {.struct_size = sizeof request, .token = 5};
    uint64_t receiver, wait, lease, other;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(two.a, &config, &request.tenant, NULL, NULL), DEMUXBUF_OK);
    FILL(other);
    CHECK_NUMBER(demuxbuf_pool_create_tenant(two.b, &config, &other, NULL, NULL), DEMUXBUF_ERR_TABLE_FULL);
    CHECK_UNTOUCHED(other);
    CHECK_NUMBER(demuxbuf_receiver_attach(two.b, OPTIONS(.tenant = request.tenant), &receiver, NULL, NULL),
                 DEMUXBUF_OK);
    receive(two.b, receiver, 1, 200);
    CHECK_NUMBER(demuxbuf_actions_status(demuxbuf_receiver_decoded(two.b, receiver, 0, 50).actions), DEMUXBUF_OK);
    CHECK(tenant_of(two.a, request.tenant).outstanding_units == 1);

    /* What a receiver of one thread keeps is the cap of a request on the other, until the receiver moves there and
       ends. */
    CHECK_NUMBER(demuxbuf_pool_request_for(two.a, &request, &wait, NULL, NULL), DEMUXBUF_STATUS_QUEUED);
    CHECK(tenant_of(two.b, request.tenant).waiting == 1);
    demuxbuf_exported_receiver exported;
    CHECK_NUMBER(demuxbuf_receiver_export(two.b, receiver, &exported), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_import(two.a, &exported, &receiver), DEMUXBUF_OK);
    CHECK(tenant_of(two.b, request.tenant).outstanding_units == 1);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.a, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_receiver_close(two.a, receiver).actions, DEMUXBUF_FINISHED);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(two.a, &notice), DEMUXBUF_OK);
    CHECK(notice.lease != 0 && notice.token == 5);
    lease = notice.lease;

    CHECK_NUMBER(demuxbuf_pool_remove_tenant(two.b, request.tenant), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request_for(two.a, &request, &wait, NULL, NULL), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_attach(two.b, OPTIONS(.tenant = request.tenant), &receiver, NULL, NULL),
                 DEMUXBUF_ERR_STALE);
    CHECK(tenant_of(two.b, request.tenant).retiring == 1);
    CHECK_NUMBER(demuxbuf_pool_release(two.b, lease), DEMUXBUF_OK);
    demuxbuf_tenant_info info = {.struct_size = sizeof info};
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(two.a, request.tenant, &info), DEMUXBUF_ERR_STALE);
    free_two(&two);
}

static void shard_refuses_attach_after_shared_pool_free(void) {
    struct two two = new_two(6);
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
    receive(two.a, receiver, 3, 100);
    check_data(two.a, receiver, 3, 100);
    check_data(two.b, waiter, 2, 100);
    demuxbuf_pool_free(two.a);
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
    limits_are_for_each_thread_or_for_all();
    release_reaches_a_waiter_of_another_thread();
    release_wakes_a_receiver_of_another_thread();
    order_is_that_of_all_threads();
    grant_that_is_not_picked_up_goes_on();
    s53_s54_pause_and_time_before_start_do_not_count();
    tenants_are_of_all_threads();
    shard_refuses_attach_after_shared_pool_free();
    shard_refuses_another_thread_except_to_free();
    return check_end();
}
