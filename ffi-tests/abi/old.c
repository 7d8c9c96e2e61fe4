/*
 * A program that was built with the header of the first version, in all that its structs can do. It is compiled with
 * `demuxbuf-0.1.h` and linked with the library of today, whose structs may be longer by then.
 */
#include "demuxbuf-0.1.h"

#include "../c/shard.h"

/* The struct that a call writes, and behind it what the call must not write. */
#define GUARDED(type)                                                                                                  \
    struct {                                                                                                           \
        type it;                                                                                                       \
        uint8_t behind[64];                                                                                            \
    }

#define PREPARE(guarded) (FILL(guarded), (guarded).it.struct_size = sizeof(guarded).it)

/* The whole of the program's struct was written, and nothing behind it. */
#define CHECK_WRITTEN(guarded)                                                                                         \
    do {                                                                                                               \
        CHECK_NUMBER((guarded).it.struct_size, sizeof(guarded).it);                                                    \
        CHECK_UNTOUCHED((guarded).behind);                                                                             \
    } while (0)

int main(void) {
    GUARDED(demuxbuf_pool_config) config;
    GUARDED(demuxbuf_pool_stats) stats;
    GUARDED(demuxbuf_receiver_info) info;
    GUARDED(demuxbuf_connection_info) connection_info;
    GUARDED(demuxbuf_tenant_info) tenant_info;
    GUARDED(demuxbuf_notice) notice;
    GUARDED(demuxbuf_finding) finding;
    GUARDED(demuxbuf_h2_next) next;
    GUARDED(demuxbuf_fcgi_record) record;
    demuxbuf_pool *pool;
    uint64_t receiver, tenant, lease, wait;

    PREPARE(config);
    CHECK_NUMBER(demuxbuf_pool_config_init(&config.it, 8 * 16448 + 1, 4), DEMUXBUF_OK);
    CHECK_WRITTEN(config);
    CHECK(config.it.memory_bytes == 8 * 16448 + 1 && config.it.receivers_max == 4);
    config.it.tenants_max = 1;
    CHECK_NUMBER(demuxbuf_pool_new(&config.it, &pool, NULL, NULL), DEMUXBUF_OK);
    leave_free(pool, 1);

    const demuxbuf_tenant_config tenant_config = {sizeof tenant_config, 3, 0, UINT32_MAX};
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, &tenant, NULL, NULL), DEMUXBUF_OK);
    PREPARE(tenant_info);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, tenant, &tenant_info.it), DEMUXBUF_OK);
    CHECK_WRITTEN(tenant_info);
    CHECK_NUMBER(tenant_info.it.weight, 3);

    const demuxbuf_attach_options options = {.struct_size = sizeof options, .token = 7};
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, &options, &receiver, NULL, NULL), DEMUXBUF_OK);
    PREPARE(info);
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, receiver, &info.it), DEMUXBUF_OK);
    CHECK_WRITTEN(info);
    CHECK(info.it.token == 7 && info.it.open != 0);

    const demuxbuf_request request = {.struct_size = sizeof request, .token = 9, .tenant = tenant};
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &lease, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &wait, NULL, NULL), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    PREPARE(notice);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice.it), DEMUXBUF_OK);
    CHECK_WRITTEN(notice);
    CHECK(notice.it.token == 9 && notice.it.wait == wait && notice.it.receiver == 0);
    PREPARE(stats);
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats.it), DEMUXBUF_OK);
    CHECK_WRITTEN(stats);
    CHECK(stats.it.buffers == 8 && stats.it.leased == 8 && stats.it.receivers == 1);
    CHECK(stats.it.memory_bytes >= 8 * 16448 && stats.it.wait_ns_max > 1000000000);
    demuxbuf_pool_free(pool);

    config.it.tenants_max = 0;
    config.it.audit = 1;
    const struct shard shard = new_shard(&config.it);
    PREPARE(finding);
    CHECK_NUMBER(demuxbuf_pool_poll_audit(shard.pool, 1, &finding.it), DEMUXBUF_OK);
    CHECK_WRITTEN(finding);
    CHECK(finding.it.kind == DEMUXBUF_FINDING_CLOCK_STOPPED && finding.it.receiver == 0);
    CHECK(demuxbuf_finding_str(&finding.it, NULL, 0) > 0);
    PREPARE(stats);
    CHECK_NUMBER(demuxbuf_pool_get_stats(shard.pool, &stats.it), DEMUXBUF_OK);
    CHECK_WRITTEN(stats);
    CHECK(stats.it.buffers == 8 && stats.it.leased == 3 && stats.it.free == 5);
    free_shard(shard);

    demuxbuf_connection connection;
    const demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = DEMUXBUF_MODE_EDGE};
    CHECK_NUMBER(demuxbuf_connection_init(&connection, &policy, NULL, NULL), DEMUXBUF_OK);
    PREPARE(connection_info);
    CHECK_NUMBER(demuxbuf_connection_describe(&connection, &connection_info.it), DEMUXBUF_OK);
    CHECK_WRITTEN(connection_info);
    CHECK_NUMBER(connection_info.it.mode, DEMUXBUF_MODE_EDGE);

    demuxbuf_h2_decoder decoder;
    static const uint8_t settings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0}, ping[17] = {0, 0, 8, 6, 0, 0, 0, 0, 0};
    CHECK_NUMBER(demuxbuf_h2_init(&decoder, DEMUXBUF_H2_SERVER), DEMUXBUF_OK);
    PREPARE(next);
    CHECK_NUMBER(demuxbuf_h2_peek(&decoder, settings, sizeof settings, &next.it), DEMUXBUF_OK);
    CHECK_WRITTEN(next);
    CHECK_NUMBER(next.it.frame_bytes, 9);
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &next.it), DEMUXBUF_OK);
    PREPARE(next);
    CHECK_NUMBER(demuxbuf_h2_advance(&decoder, ping, sizeof ping, &next.it), DEMUXBUF_OK);
    CHECK_WRITTEN(next);
    CHECK_NUMBER(next.it.frame_bytes, 17);

    demuxbuf_fcgi_decoder records;
    static const uint8_t abort_request[8] = {1, 2, 1, 7, 0, 0, 0, 0};
    CHECK_NUMBER(demuxbuf_fcgi_init(&records, DEMUXBUF_FCGI_WEB_SERVER), DEMUXBUF_OK);
    PREPARE(record);
    CHECK_NUMBER(demuxbuf_fcgi_peek(&records, abort_request, sizeof abort_request, &record.it), DEMUXBUF_OK);
    CHECK_WRITTEN(record);
    CHECK(record.it.record_bytes == 8 && record.it.request_id == 263 && record.it.form == DEMUXBUF_FCGI_DISCRETE);
    PREPARE(record);
    CHECK_NUMBER(demuxbuf_fcgi_peek_whole(&records, abort_request, sizeof abort_request, &record.it), DEMUXBUF_OK);
    CHECK_WRITTEN(record);
    CHECK(record.it.record_bytes == 8 && record.it.request_id == 263 && record.it.form == DEMUXBUF_FCGI_DISCRETE);
    return check_end();
}
