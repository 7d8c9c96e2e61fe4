/* Calls for hosts under overload: tenants, and times in which memory is short; right and wrong. */
#include "pools.h"

enum { BUFFER_BYTES = 1024, LEASES = 6, SECOND = 1000000000 };

static demuxbuf_pool_config usual_config(void) {
    demuxbuf_pool_config config = config_of(LEASES, 8, BUFFER_BYTES);
    config.tenants_max = 2;
    return config;
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

static demuxbuf_receiver_info describe(const demuxbuf_pool *pool, uint64_t receiver) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, receiver, &info), DEMUXBUF_OK);
    return info;
}

/* Advances the clock by steps that count. */
static void advance(demuxbuf_pool *pool, uint64_t now, uint64_t until) {
    while (now < until) {
        now = until - now > SECOND / 8 ? now + SECOND / 8 : until;
        CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, now), DEMUXBUF_OK);
    }
}

static void null_and_stale_are_refused(void) {
    const demuxbuf_pool_config config = usual_config();
    demuxbuf_pool *pool = pool_of(&config);
    demuxbuf_pool *other = pool_of(&config);
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
    const uint64_t wrong[] = {1, UINT64_MAX, foreign, receiver};
    for (size_t at = 0; at < sizeof wrong / sizeof wrong[0]; at++) {
        CHECK_NUMBER(demuxbuf_pool_remove_tenant(pool, wrong[at]), DEMUXBUF_ERR_STALE);
        CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, wrong[at], &info), DEMUXBUF_ERR_STALE);
        request.tenant = wrong[at];
        CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &handle, NULL, NULL), DEMUXBUF_ERR_STALE);
    }
    request.tenant = 0;
    CHECK_NUMBER(demuxbuf_receiver_set_tenant(pool, UINT64_MAX, 0), DEMUXBUF_ERR_STALE);
    request.struct_size--;
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &handle, NULL, NULL), DEMUXBUF_ERR_STRUCT_SIZE);
    request.struct_size++, request.class_index = 1;
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &handle, NULL, NULL), DEMUXBUF_ERR_CLASS);
    tenant_config.struct_size--;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, &tenant, NULL, NULL), DEMUXBUF_ERR_STRUCT_SIZE);
    tenant_config.struct_size++, tenant_config.weight = 0;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, &tenant, NULL, NULL), DEMUXBUF_ERR_RANGE);
    tenant_config.weight = 1001;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, &tenant, NULL, NULL), DEMUXBUF_ERR_RANGE);
    tenant_config.weight = 1, tenant_config.guaranteed = 9;
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

static void tenant_ends_with_its_last_lease(void) {
    const demuxbuf_pool_config config = usual_config();
    demuxbuf_pool *pool = pool_of(&config);
    const demuxbuf_tenant_config capped = {sizeof capped, 1, 0, 1};
    demuxbuf_request request = {.struct_size = sizeof request, .token = 7};
    demuxbuf_tenant_info info = {.struct_size = sizeof info};
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    uint64_t first, second, third, lease, wait, other;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &capped, &first, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &capped, &second, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &capped, &third, NULL, NULL), DEMUXBUF_ERR_TABLE_FULL);
    request.tenant = first;
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &lease, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &wait, NULL, NULL), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, first, &info), DEMUXBUF_OK);
    CHECK_NUMBER(info.outstanding_units, 1);
    CHECK(info.waiting == 1 && info.granted == 1 && info.weight == 1 && info.retiring == 0);
    /* Its cap is its own: others are served, and no receiver is disturbed. */
    request.tenant = second;
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &other, NULL, NULL), DEMUXBUF_OK);
    const uint64_t receiver = attach(pool, 9);
    CHECK((demuxbuf_receiver_readable(pool, receiver).actions & DEMUXBUF_RECV) != 0);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 0), DEMUXBUF_OK);
    advance(pool, 0, (uint64_t)3 * SECOND);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), UINT64_MAX);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.token == 7 && notice.wait == wait && notice.receiver == 0);
    CHECK_NUMBER(demuxbuf_pool_release(pool, notice.lease), DEMUXBUF_OK);
    /* Removed while it has a lease. */
    CHECK_NUMBER(demuxbuf_pool_remove_tenant(pool, second), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_remove_tenant(pool, second), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, second, &info), DEMUXBUF_OK);
    CHECK_NUMBER(info.retiring, 1);
    CHECK_NUMBER(demuxbuf_pool_release(pool, other), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, second, &info), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &capped, &third, NULL, NULL), DEMUXBUF_OK);
    stats_of(pool);
    demuxbuf_pool_free(pool);
}

/* 64 bytes of a frame of 564 come, and there is no room for the others: the receiver waits. */
static void claim(demuxbuf_pool *pool, uint64_t receiver) {
    CHECK_NUMBER(demuxbuf_receiver_readable(pool, receiver).bytes, 64);
    CHECK((demuxbuf_receiver_received(pool, receiver, 64).actions & DEMUXBUF_DECODE) != 0);
    CHECK_REFUSED(demuxbuf_receiver_decoded(pool, receiver, 0, 500).actions, DEMUXBUF_OK);
    CHECK((demuxbuf_receiver_readable(pool, receiver).actions & DEMUXBUF_RECV) == 0);
    CHECK_NUMBER(describe(pool, receiver).waiting, 1);
}

/* A process that stands still for hours sheds no receiver, and the first advance is the origin of all times. */
static void s53_s54_pause_and_time_before_start_do_not_count(void) {
    const uint64_t origin = (uint64_t)864000 * SECOND, pause = (uint64_t)28800 * SECOND, step = SECOND / 8;
    const demuxbuf_pool_config config = usual_config();
    demuxbuf_pool *pool = pool_of(&config);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    const uint64_t waits = attach(pool, 1);
    leave_free(pool, 0);
    claim(pool, waits);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, origin), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), origin + step);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, origin + pause), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), origin + pause + step);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(describe(pool, waits).wait_age_ns, step);
    CHECK_NUMBER(stats_of(pool).clock_skipped_ns, pause - step);
    /* From here on time counts, and its last receive comes as usual: a second, and that for 564 bytes, after its
       start. */
    advance(pool, origin + pause, origin + pause + SECOND - step);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    advance(pool, origin + pause + SECOND - step, origin + pause + SECOND);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == waits && (notice.step.actions & DEMUXBUF_RECV) != 0 && notice.step.bytes == 500);
    CHECK((demuxbuf_receiver_would_block(pool, waits).actions & DEMUXBUF_SHED) != 0);
    demuxbuf_pool_free(pool);
}

/* Content that is kept beyond its time goes when another receiver needs the place, and only then. */
static void content_is_evicted_only_for_others(void) {
    const demuxbuf_pool_config config = usual_config();
    demuxbuf_pool *pool = pool_of(&config);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    const uint64_t slow = attach(pool, 1), waits = attach(pool, 2);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 5), DEMUXBUF_OK);
    CHECK((demuxbuf_receiver_readable(pool, slow).actions & DEMUXBUF_RECV) != 0);
    CHECK((demuxbuf_receiver_received(pool, slow, 600).actions & DEMUXBUF_DECODE) != 0);
    CHECK_REFUSED(demuxbuf_receiver_decoded(pool, slow, 0, 100).actions, DEMUXBUF_OK);
    leave_free(pool, 1); /* which is the reserve */
    advance(pool, 5, (uint64_t)10 * SECOND);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    CHECK(describe(pool, slow).buffered_bytes == 600 && describe(pool, slow).shed_reason == 0);
    claim(pool, waits);
    int is_granted = 0, is_shed = 0;
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK) {
        if (notice.receiver == slow) {
            CHECK((notice.step.actions & DEMUXBUF_SHED) != 0 && notice.step.data == NULL);
            is_shed++;
        } else {
            CHECK(notice.receiver == waits && (notice.step.actions & DEMUXBUF_RECV) != 0 && notice.step.bytes >= 500);
            CHECK((demuxbuf_receiver_received(pool, waits, 500).actions & DEMUXBUF_DECODE) != 0);
            CHECK_REFUSED(demuxbuf_receiver_decoded(pool, waits, 564, 0).actions, DEMUXBUF_OK);
            is_granted++;
        }
    }
    CHECK(is_granted == 1 && is_shed == 1);
    CHECK_NUMBER(describe(pool, slow).shed_reason, DEMUXBUF_SHED_REASON_EVICTED);
    CHECK_NUMBER(demuxbuf_receiver_close(pool, slow).actions, DEMUXBUF_FINISHED);
    const demuxbuf_pool_stats stats = stats_of(pool);
    CHECK(stats.evicted == 1 && stats.shed == 1 && stats.dropped_bytes == 600 && stats.consumed_bytes == 564);
    demuxbuf_pool_free(pool);
}

int main(void) {
    null_and_stale_are_refused();
    tenant_ends_with_its_last_lease();
    s53_s54_pause_and_time_before_start_do_not_count();
    content_is_evicted_only_for_others();
    return check_end();
}
