/* Calls for hosts under overload: tenants, sizes, growing, deadlines with parking and shedding; right and wrong. */
#include "check.h"

enum { SMALL = 1, LARGE = 2, SECOND = 1000000000 };

/* Three sizes out of a budget of four buffers of 1024 bytes; tenants, deadlines, slots of 256 bytes. */
static demuxbuf_pool_config usual_config(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 4, 8), DEMUXBUF_OK);
    config.buffer_bytes = 1024;
    config.other_buffer_bytes[SMALL - 1] = 64;
    config.other_buffer_bytes[LARGE - 1] = 4096;
    config.tenants_max = 2;
    config.park_ns = SECOND;
    config.lease_ns = (uint64_t)2 * SECOND;
    config.large_slots[0] = 8;
    config.reclaim_bytes = 256;
    return config;
}

static demuxbuf_pool *new_pool(const demuxbuf_pool_config *config) {
    demuxbuf_pool *pool;
    CHECK_NUMBER(demuxbuf_pool_new(config, &pool, NULL, 0), DEMUXBUF_OK);
    return pool;
}

static demuxbuf_pool_stats stats_of(const demuxbuf_pool *pool) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    return stats;
}

static uint64_t attach(demuxbuf_pool *pool, uint64_t token) {
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = token), &receiver, NULL, NULL), DEMUXBUF_OK);
    return receiver;
}

/* A receiver gets `bytes` bytes of a frame that needs `need_more` more. */
static demuxbuf_step receive(demuxbuf_pool *pool, uint64_t receiver, uint32_t bytes, uint32_t need_more) {
    demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK((step.actions & DEMUXBUF_RECV) != 0 && step.bytes >= bytes);
    memset(step.data, 'x', bytes);
    CHECK((demuxbuf_receiver_received(pool, receiver, bytes).actions & DEMUXBUF_DECODE) != 0);
    return demuxbuf_receiver_decoded(pool, receiver, 0, need_more);
}

/* Advances the clock by steps that count. */
static void advance(demuxbuf_pool *pool, uint64_t now, uint64_t until) {
    while (now < until) {
        now = until - now > SECOND / 4 ? now + SECOND / 4 : until;
        CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, now), DEMUXBUF_OK);
    }
}

static void refused_configurations_name_the_field(void) {
    const struct {
        const char *field;
        demuxbuf_pool_config config;
    } * wrong,
        all[] = {
            {"buffer_bytes", usual_config()}, {"first_size_index", usual_config()},   {"sizes", usual_config()},
            {"park_ns", usual_config()},      {"continuation_class", usual_config()}, {"reclaim_bytes", usual_config()},
            {"park_ns", usual_config()},
        };
    for (wrong = all; wrong < all + sizeof all / sizeof all[0]; wrong++) {
        demuxbuf_pool_config config = wrong->config;
        demuxbuf_pool *pool;
        char message[160];
        FILL(pool);
        switch (wrong - all) {
        case 0: config.other_buffer_bytes[0] = 96; break;
        case 1: config.first_size_index = 256; break;
        case 2: config.first_size_index = 3; break;
        case 3: config.park_ns = config.lease_ns + 1; break;
        case 4: config.continuation_class = 1; break;
        case 5: config.reclaim_bytes = 4097; break;
        default: config.lease_ns = UINT64_MAX; break;
        }
        CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, message, &(size_t){sizeof message}), DEMUXBUF_ERR_CONFIG);
        CHECK_UNTOUCHED(pool);
        CHECK(strstr(message, wrong->field) != NULL);
    }
}

static void null_and_stale_are_refused(void) {
    const demuxbuf_pool_config config = usual_config();
    demuxbuf_pool *pool = new_pool(&config);
    demuxbuf_pool *other = new_pool(&config);
    demuxbuf_tenant_config tenant_config = {sizeof tenant_config, 1, 0, UINT32_MAX};
    demuxbuf_request request = {.struct_size = sizeof request};
    demuxbuf_tenant_info info = {.struct_size = sizeof info};
    uint64_t tenant, foreign, handle;
    const uint64_t receiver = attach(pool, 1);
    CHECK_NUMBER(demuxbuf_pool_create_tenant(other, &tenant_config, &foreign, NULL, NULL), DEMUXBUF_OK);
    const demuxbuf_pool_stats before = stats_of(pool);
    FILL(tenant), FILL(handle), FILL_SIZED(info);
    CHECK_NUMBER(demuxbuf_pool_create_tenant(NULL, &tenant_config, &tenant, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, NULL, &tenant, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, NULL, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_remove_tenant(NULL, 1), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(NULL, 1, &info), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, 1, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_request_for(NULL, &request, &handle, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, NULL, &handle, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, NULL, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_receiver_set_tenant(NULL, receiver, 0), DEMUXBUF_ERR_NULL);
    CHECK_REFUSED(demuxbuf_receiver_grow(NULL, receiver, LARGE).actions, DEMUXBUF_ERR_NULL);
    const uint64_t wrong[] = {1, UINT64_MAX, foreign, receiver};
    for (size_t at = 0; at < sizeof wrong / sizeof wrong[0]; at++) {
        CHECK_NUMBER(demuxbuf_pool_remove_tenant(pool, wrong[at]), DEMUXBUF_ERR_STALE);
        CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, wrong[at], &info), DEMUXBUF_ERR_STALE);
        CHECK_NUMBER(demuxbuf_receiver_set_tenant(pool, receiver, wrong[at]), DEMUXBUF_ERR_STALE);
        request.tenant = wrong[at];
        CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &handle, NULL, NULL), DEMUXBUF_ERR_STALE);
    }
    request.tenant = 0;
    CHECK_NUMBER(demuxbuf_receiver_set_tenant(pool, UINT64_MAX, 0), DEMUXBUF_ERR_STALE);
    CHECK_REFUSED(demuxbuf_receiver_grow(pool, UINT64_MAX, LARGE).actions, DEMUXBUF_ERR_STALE);
    CHECK_REFUSED(demuxbuf_receiver_grow(pool, receiver, LARGE).actions, DEMUXBUF_ERR_NO_BUFFER);
    CHECK_REFUSED(demuxbuf_receiver_grow(pool, receiver, 3).actions, DEMUXBUF_ERR_SIZE);
    CHECK_REFUSED(demuxbuf_receiver_grow(pool, receiver, 256).actions, DEMUXBUF_ERR_SIZE);
    request.struct_size--;
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &handle, NULL, NULL), DEMUXBUF_ERR_STRUCT_SIZE);
    request.struct_size++, request.class_index = 1;
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &handle, NULL, NULL), DEMUXBUF_ERR_CLASS);
    request.class_index = 0, request.size_index = 3;
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &handle, NULL, NULL), DEMUXBUF_ERR_SIZE);
    tenant_config.struct_size--;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, &tenant, NULL, NULL), DEMUXBUF_ERR_STRUCT_SIZE);
    tenant_config.struct_size++, tenant_config.weight = 0;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, &tenant, NULL, NULL), DEMUXBUF_ERR_RANGE);
    tenant_config.weight = 1001;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, &tenant, NULL, NULL), DEMUXBUF_ERR_RANGE);
    tenant_config.weight = 1, tenant_config.guaranteed = 5;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, &tenant, NULL, NULL), DEMUXBUF_ERR_RANGE);
    tenant_config.guaranteed = 0, tenant_config.cap = 0;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, &tenant, NULL, NULL), DEMUXBUF_ERR_RANGE);
    CHECK_UNTOUCHED(tenant);
    CHECK_UNTOUCHED(handle);
    CHECK_UNTOUCHED_SIZED(info);
    const demuxbuf_pool_stats after = stats_of(pool);
    CHECK_SAME(&after, &before, sizeof after);
    demuxbuf_pool_free(other);
    demuxbuf_pool_free(pool);
}

static void tenant_ends_with_its_last_receiver(void) {
    const demuxbuf_pool_config config = usual_config();
    demuxbuf_pool *pool = new_pool(&config);
    const demuxbuf_tenant_config capped = {sizeof capped, 1, 0, 1};
    demuxbuf_request request = {.struct_size = sizeof request, .token = 7};
    demuxbuf_tenant_info info = {.struct_size = sizeof info};
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    uint64_t first, second, third, lease, wait;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &capped, &first, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &capped, &second, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &capped, &third, NULL, NULL), DEMUXBUF_ERR_TABLE_FULL);
    request.tenant = first, request.size_index = LARGE;
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &lease, NULL, NULL), DEMUXBUF_ERR_TOO_LARGE);
    request.size_index = 0;
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &lease, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &wait, NULL, NULL), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, first, &info), DEMUXBUF_OK);
    CHECK_NUMBER(info.outstanding_units, 16);
    CHECK(info.waiting == 1 && info.granted == 1 && info.weight == 1 && info.retiring == 0);
    /* Its cap is its own: others are served. */
    const uint64_t receiver = attach(pool, 9);
    CHECK_NUMBER(demuxbuf_receiver_set_tenant(pool, receiver, second), DEMUXBUF_OK);
    CHECK((demuxbuf_receiver_readable(pool, receiver).actions & DEMUXBUF_RECV) != 0);
    /* And these holders are asked for nothing, since their buffers are of no use to it; idle ones are found at once. */
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 0), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), SECOND / 4);
    advance(pool, 0, SECOND);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), UINT64_MAX);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.token == 7 && notice.wait == wait && notice.receiver == 0);
    CHECK_NUMBER(demuxbuf_pool_release(pool, notice.lease), DEMUXBUF_OK);
    /* Removed while a receiver requests in its name. */
    CHECK_NUMBER(demuxbuf_pool_remove_tenant(pool, second), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_remove_tenant(pool, second), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, second, &info), DEMUXBUF_OK);
    CHECK_NUMBER(info.retiring, 1);
    CHECK((demuxbuf_receiver_close(pool, receiver).actions & DEMUXBUF_FINISHED) != 0);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, second, &info), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &capped, &third, NULL, NULL), DEMUXBUF_OK);
    stats_of(pool);
    demuxbuf_pool_free(pool);
}

static void receiver_grows_for_one_frame(void) {
    demuxbuf_pool_config config = usual_config();
    config.buffers = 5;
    demuxbuf_pool *pool = new_pool(&config);
    demuxbuf_request request = {.struct_size = sizeof request, .size_index = SMALL};
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    uint64_t small;
    const uint64_t receiver = attach(pool, 1);
    demuxbuf_step step = receive(pool, receiver, 1000, 2000);
    CHECK((step.actions & DEMUXBUF_CANNOT_FIT) != 0);
    CHECK_REFUSED(demuxbuf_receiver_grow(pool, receiver, SMALL).actions, DEMUXBUF_ERR_NOT_LARGER);
    CHECK_REFUSED(demuxbuf_receiver_grow(pool, receiver, 0).actions, DEMUXBUF_ERR_NOT_LARGER);
    /* The other four are needed whole: it waits, and has them when the small one is back. */
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &small, NULL, NULL), DEMUXBUF_OK);
    CHECK((demuxbuf_receiver_grow(pool, receiver, LARGE).actions & DEMUXBUF_ERROR) == 0);
    CHECK_REFUSED(demuxbuf_receiver_grow(pool, receiver, LARGE).actions, DEMUXBUF_ERR_ALREADY_WAITING);
    CHECK_NUMBER(stats_of(pool).waiting, 1);
    CHECK_NUMBER(demuxbuf_pool_release(pool, small), DEMUXBUF_OK);
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK) {
        CHECK_NUMBER(notice.receiver, receiver);
    }
    CHECK(stats_of(pool).waiting == 0 && stats_of(pool).grown == 1);
    demuxbuf_pool_free(pool);

    /* With four in all it would wait for its own buffer, without end. */
    config.buffers = 4;
    pool = new_pool(&config);
    const uint64_t all = attach(pool, 1);
    receive(pool, all, 1000, 2000);
    CHECK_REFUSED(demuxbuf_receiver_grow(pool, all, LARGE).actions, DEMUXBUF_ERR_TOO_LARGE);
    CHECK(stats_of(pool).waiting == 0 && stats_of(pool).leased == 1);
    demuxbuf_pool_free(pool);

    demuxbuf_pool_config larger = usual_config();
    larger.buffers = 8;
    pool = new_pool(&larger);
    const uint64_t second = attach(pool, 2);
    step = receive(pool, second, 1000, 2000);
    step = demuxbuf_receiver_grow(pool, second, LARGE);
    CHECK((step.actions & (DEMUXBUF_CANNOT_FIT | DEMUXBUF_ERROR)) == 0);
    step = demuxbuf_receiver_readable(pool, second);
    CHECK((step.actions & DEMUXBUF_RECV) != 0);
    CHECK_NUMBER(step.bytes, 4096 - 1000);
    memset(step.data, 'y', 2000);
    step = demuxbuf_receiver_received(pool, second, 2000);
    CHECK((step.actions & DEMUXBUF_DECODE) != 0 && step.bytes == 3000);
    for (uint32_t at = 0; at < step.bytes; at++) {
        CHECK_NUMBER(step.data[at], at < 1000 ? 'x' : 'y');
    }
    demuxbuf_receiver_decoded(pool, second, 3000, 0);
    demuxbuf_pool_stats stats = stats_of(pool);
    CHECK(stats.grown == 1 && stats.leased == 0 && stats.free == stats.buffers);
    demuxbuf_pool_free(pool);
}

/* A process that stands still for hours sheds no receiver, and the first advance is the origin of all leases. */
static void s53_s54_pause_and_time_before_start_do_not_count(void) {
    const uint64_t origin = (uint64_t)864000 * SECOND, pause = (uint64_t)28800 * SECOND, step = SECOND / 4;
    demuxbuf_pool_config config = usual_config();
    config.buffers = 1;
    config.other_buffer_bytes[LARGE - 1] = 0;
    demuxbuf_pool *pool = new_pool(&config);
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    const uint64_t holds = attach(pool, 1), waits = attach(pool, 2);
    receive(pool, holds, 300, 100);
    demuxbuf_receiver_readable(pool, waits);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, origin), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), origin + step);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, origin + pause), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), origin + pause + step);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, holds, &info), DEMUXBUF_OK);
    CHECK(info.held_ns == step && info.idle_ns == step);
    CHECK_NUMBER(stats_of(pool).clock_skipped_ns, pause - step);
    /* From here on time counts, and the lease expires as usual. */
    advance(pool, origin + pause, origin + pause + 2 * SECOND);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == holds && (notice.step.actions & DEMUXBUF_SHED) != 0);
    demuxbuf_pool_free(pool);
}

/* A receiver that no longer needs a larger buffer waits for none, and does not keep the next from what is free. */
static void s55_growth_ends_with_its_need(void) {
    for (int end = 0; end < 5; end++) {
        demuxbuf_pool_config config = usual_config();
        config.lifeline = 0;
        config.buffers = 6;
        demuxbuf_pool *pool = new_pool(&config);
        uint64_t lease = 0;
        demuxbuf_notice notice = {.struct_size = sizeof notice};
        CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
        CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
        const uint64_t grows = attach(pool, 1), waits = attach(pool, 2);
        receive(pool, grows, 1000, 5000);
        CHECK_NUMBER(demuxbuf_receiver_grow(pool, grows, LARGE).actions & DEMUXBUF_ERROR, 0);
        CHECK((demuxbuf_receiver_readable(pool, waits).actions & DEMUXBUF_RECV) == 0);
        CHECK_NUMBER(stats_of(pool).waiting, 2);
        switch (end) {
        case 0: demuxbuf_receiver_decoded(pool, grows, 1, 0); break;
        case 1: demuxbuf_receiver_block(pool, grows, 1); break;
        case 2: demuxbuf_receiver_end_of_stream(pool, grows); break;
        case 3: demuxbuf_receiver_transport_error(pool, grows); break;
        default: demuxbuf_receiver_close(pool, grows); break;
        }
        CHECK_NUMBER(stats_of(pool).waiting, 0);
        CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
        CHECK_NUMBER(notice.receiver, waits);
        CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
        demuxbuf_pool_free(pool);
    }
}

/* A wait that was queued as one of new work becomes one of a partial frame. */
static void s57_wait_follows_the_frame_that_begins(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    uint64_t lease;
    demuxbuf_pool_config_init(&config, 2, 4);
    config.classes = 2;
    config.continuation_class = 0;
    config.reserves[1] = 1;
    demuxbuf_pool *pool = new_pool(&config);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 1, 0, &lease), DEMUXBUF_OK);
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.class_index = 1, .token = 7), &receiver, NULL, NULL),
                 DEMUXBUF_OK);
    receive(pool, receiver, 64, 100);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == receiver && stats_of(pool).outstanding_by_class[0] == 1);
    demuxbuf_pool_free(pool);
}

static void idle_holders_park_or_are_shed(void) {
    demuxbuf_pool_config config = usual_config();
    config.buffers = 2;
    config.other_buffer_bytes[LARGE - 1] = 0;
    demuxbuf_pool *pool = new_pool(&config);
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    const uint64_t parks = attach(pool, 1), stays = attach(pool, 2), waits = attach(pool, 3);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 5), DEMUXBUF_OK);
    receive(pool, parks, 200, 100);
    receive(pool, stays, 300, 100);
    advance(pool, 5, (uint64_t)10 * SECOND);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), UINT64_MAX);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, stays, &info), DEMUXBUF_OK);
    CHECK(info.held_ns == (uint64_t)10 * SECOND - 5 && info.idle_ns == info.held_ns && info.progress_bytes == 0);
    /* A request waits: the receiver with 200 bytes parks, and its buffer is passed on in the same call. */
    demuxbuf_receiver_readable(pool, waits);
    CHECK(demuxbuf_pool_poll_timeout(pool) <= (uint64_t)10 * SECOND);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == waits && (notice.step.actions & DEMUXBUF_RECV) != 0);
    demuxbuf_pool_stats stats = stats_of(pool);
    CHECK(stats.parked_on_demand == 1 && stats.slots_in_use_by_size[1] == 1 && stats.shed == 0);
    /* Another waits, and what is held now cannot be parked: the one that is idle is shed, once. */
    receive(pool, waits, 400, 100);
    demuxbuf_step step = demuxbuf_receiver_readable(pool, parks);
    CHECK((step.actions & DEMUXBUF_RECV) != 0 && step.bytes == 56);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == stays && (notice.step.actions & DEMUXBUF_SHED) != 0);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    CHECK((demuxbuf_receiver_close(pool, stays).actions & DEMUXBUF_FINISHED) != 0);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == parks && (notice.step.actions & DEMUXBUF_RECV) != 0);
    CHECK_NUMBER(notice.step.bytes, 1024 - 200);
    stats = stats_of(pool);
    CHECK(stats.shed == 1 && stats.sheds_asked == 1 && stats.dropped_bytes == 300);
    demuxbuf_pool_free(pool);
}

int main(void) {
    refused_configurations_name_the_field();
    null_and_stale_are_refused();
    tenant_ends_with_its_last_receiver();
    receiver_grows_for_one_frame();
    s53_s54_pause_and_time_before_start_do_not_count();
    s55_growth_ends_with_its_need();
    s57_wait_follows_the_frame_that_begins();
    idle_holders_park_or_are_shed();
    return check_end();
}
