/*
 * A program that was built with a header newer than the library: each of its structs has one more field at its end. Of
 * an input, the library takes it if the field is 0. Of an output, the library leaves the field as it is, and sets
 * `struct_size` to what it wrote.
 */
#include "../c/shard.h"

#define NEWER(type)                                                                                                    \
    union {                                                                                                            \
        type it;                                                                                                       \
        struct {                                                                                                       \
            uint8_t known[sizeof(type)];                                                                               \
            uint64_t more;                                                                                             \
        };                                                                                                             \
    }

#define PREPARE(newer) (FILL(newer), (newer).it.struct_size = sizeof(newer))

#define CHECK_WRITTEN(newer)                                                                                           \
    do {                                                                                                               \
        CHECK_NUMBER((newer).it.struct_size, sizeof(newer).known);                                                     \
        CHECK_UNTOUCHED((newer).more);                                                                                 \
    } while (0)

static NEWER(demuxbuf_pool_config) config;

static void the_tail_of_an_input_must_be_zero(void) {
    demuxbuf_pool *pool, *made;
    demuxbuf_shared_pool *shared_pool;
    uint64_t tenant, handle;
    char message[128];
    PREPARE(config);
    CHECK_NUMBER(demuxbuf_pool_config_init(&config.it, 8 * 16448, 4), DEMUXBUF_OK);
    config.it.tenants_max = 1;
    config.it.struct_size = sizeof config;
    config.more = 0;
    CHECK_NUMBER(demuxbuf_pool_new(&config.it, &pool, NULL, NULL), DEMUXBUF_OK);
    FILL(made);
    config.more = 1;
    size_t room = sizeof message;
    CHECK_NUMBER(demuxbuf_pool_new(&config.it, &made, message, &room), DEMUXBUF_ERR_UNKNOWN_FIELD);
    char expected[128];
    snprintf(expected, sizeof expected, "the field at byte %zu, which this library does not know, is 1; allowed is 0",
             sizeof(demuxbuf_pool_config));
    CHECK(strcmp(message, expected) == 0 && room == strlen(expected) + 1);
    CHECK_UNTOUCHED(made);

    config.it.tenants_max = 0;
    FILL(shared_pool);
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config.it, 1, &shared_pool, NULL, NULL), DEMUXBUF_ERR_UNKNOWN_FIELD);
    CHECK_UNTOUCHED(shared_pool);
    config.more = 0;
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config.it, 1, &shared_pool, NULL, NULL), DEMUXBUF_OK);
    demuxbuf_shared_pool_free(shared_pool);

    NEWER(demuxbuf_tenant_config) tenant_config = {.it = {sizeof tenant_config, 1, 0, UINT32_MAX}};
    tenant_config.more = UINT64_C(1) << 63;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config.it, &tenant, NULL, NULL), DEMUXBUF_ERR_UNKNOWN_FIELD);
    tenant_config.more = 0;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config.it, &tenant, NULL, NULL), DEMUXBUF_OK);

    NEWER(demuxbuf_attach_options) options = {.it = {.struct_size = sizeof options}};
    options.more = UINT64_C(1) << 40;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, &options.it, &handle, NULL, NULL), DEMUXBUF_ERR_UNKNOWN_FIELD);
    options.more = 0;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, &options.it, &handle, NULL, NULL), DEMUXBUF_OK);

    NEWER(demuxbuf_request) request = {.it = {.struct_size = sizeof request}};
    request.more = 256;
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request.it, &handle, NULL, NULL), DEMUXBUF_ERR_UNKNOWN_FIELD);
    request.more = 0;
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request.it, &handle, NULL, NULL), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);

    demuxbuf_connection connection = {0};
    NEWER(demuxbuf_policy) policy = {.it = {.struct_size = sizeof policy, .mode = DEMUXBUF_MODE_EDGE}};
    policy.more = 1;
    CHECK_NUMBER(demuxbuf_connection_init(&connection, &policy.it, NULL, NULL), DEMUXBUF_ERR_UNKNOWN_FIELD);
    policy.more = 0;
    CHECK_NUMBER(demuxbuf_connection_init(&connection, &policy.it, NULL, NULL), DEMUXBUF_OK);

    demuxbuf_h2_decoder decoder;
    static const uint8_t settings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    NEWER(demuxbuf_h2_next) next = {.it = {.struct_size = sizeof next}};
    CHECK_NUMBER(demuxbuf_h2_init(&decoder, DEMUXBUF_H2_SERVER), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_h2_peek(&decoder, settings, sizeof settings, &next.it), DEMUXBUF_OK);
    next.it.struct_size = sizeof next;
    next.more = 1;
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &next.it), DEMUXBUF_ERR_UNKNOWN_FIELD);
    CHECK_NUMBER(demuxbuf_h2_check_padding(&next.it, 0), DEMUXBUF_ERR_UNKNOWN_FIELD);
    next.more = 0;
    CHECK_NUMBER(demuxbuf_h2_check_padding(&next.it, 0), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &next.it), DEMUXBUF_OK);
}

static void the_tail_of_an_output_stays(void) {
    NEWER(demuxbuf_pool_stats) stats;
    NEWER(demuxbuf_receiver_info) info;
    NEWER(demuxbuf_connection_info) connection_info;
    NEWER(demuxbuf_tenant_info) tenant_info;
    NEWER(demuxbuf_notice) notice;
    NEWER(demuxbuf_finding) finding;
    NEWER(demuxbuf_h2_next) next;
    NEWER(demuxbuf_fcgi_record) record;
    demuxbuf_pool *pool;
    uint64_t receiver, tenant, lease, wait;
    PREPARE(config);
    CHECK_NUMBER(demuxbuf_pool_config_init(&config.it, 8 * 16448, 4), DEMUXBUF_OK);
    CHECK_WRITTEN(config);
    /* The size that was written is one that the library takes. */
    config.it.tenants_max = 1;
    CHECK_NUMBER(demuxbuf_pool_new(&config.it, &pool, NULL, NULL), DEMUXBUF_OK);
    leave_free(pool, 1);
    const demuxbuf_tenant_config tenant_config = {sizeof tenant_config, 3, 0, UINT32_MAX};
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, &tenant, NULL, NULL), DEMUXBUF_OK);
    PREPARE(tenant_info);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, tenant, &tenant_info.it), DEMUXBUF_OK);
    CHECK_WRITTEN(tenant_info);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = 7), &receiver, NULL, NULL), DEMUXBUF_OK);
    PREPARE(info);
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, receiver, &info.it), DEMUXBUF_OK);
    CHECK_WRITTEN(info);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 1, &lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 2, &wait), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    PREPARE(notice);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice.it), DEMUXBUF_OK);
    CHECK_WRITTEN(notice);
    CHECK_NUMBER(notice.it.token, 2);
    PREPARE(stats);
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats.it), DEMUXBUF_OK);
    CHECK_WRITTEN(stats);
    demuxbuf_pool_free(pool);

    config.it.tenants_max = 0;
    config.it.audit = 1;
    const struct shard shard = new_shard(&config.it);
    PREPARE(finding);
    CHECK_NUMBER(demuxbuf_pool_poll_audit(shard.pool, 1, &finding.it), DEMUXBUF_OK);
    CHECK_WRITTEN(finding);
    CHECK(finding.it.kind == DEMUXBUF_FINDING_CLOCK_STOPPED && finding.it.receiver == 0);
    CHECK(demuxbuf_finding_str(&finding.it, NULL, 0) > 0);
    free_shard(shard);

    demuxbuf_connection connection = {0};
    PREPARE(connection_info);
    CHECK_NUMBER(demuxbuf_connection_describe(&connection, &connection_info.it), DEMUXBUF_OK);
    CHECK_WRITTEN(connection_info);
    demuxbuf_h2_decoder decoder;
    static const uint8_t settings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0}, ping[17] = {0, 0, 8, 6, 0, 0, 0, 0, 0};
    CHECK_NUMBER(demuxbuf_h2_init(&decoder, DEMUXBUF_H2_SERVER), DEMUXBUF_OK);
    PREPARE(next);
    CHECK_NUMBER(demuxbuf_h2_advance(&decoder, settings, sizeof settings, &next.it), DEMUXBUF_OK);
    CHECK_WRITTEN(next);
    /* Among frames there is a fast path, which writes whole structs only. */
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
    /* Of a record that is whole there is a fast path, which writes whole structs only. */
    PREPARE(record);
    CHECK_NUMBER(demuxbuf_fcgi_peek_whole(&records, abort_request, sizeof abort_request, &record.it), DEMUXBUF_OK);
    CHECK_WRITTEN(record);
    CHECK_NUMBER(record.it.record_bytes, 8);
}

/* A notice is not lost to a struct that is refused. */
static void a_wrong_size_writes_nothing(void) {
    static const uint32_t sizes[] = {0, 4, sizeof(demuxbuf_notice) - 1, 4097, UINT32_MAX};
    const demuxbuf_pool_config usual = config_of(6, 4, 256);
    demuxbuf_pool *pool = pool_of(&usual);
    uint64_t lease, wait;
    leave_free(pool, 1);
    demuxbuf_notice notice;
    for (int is_there = 0; is_there < 2; is_there++) {
        for (size_t at = 0; at < sizeof sizes / sizeof sizes[0]; at++) {
            FILL(notice);
            notice.struct_size = sizes[at];
            CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_ERR_STRUCT_SIZE);
            check_pattern((const uint8_t *)&notice + 4, sizeof notice - 4, "notice", __FILE__, __LINE__);
            CHECK_NUMBER(notice.struct_size, sizes[at]);
        }
        if (is_there == 0) {
            CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 1, &lease), DEMUXBUF_OK);
            CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 2, &wait), DEMUXBUF_STATUS_QUEUED);
            CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
        }
    }
    notice.struct_size = sizeof notice;
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK_NUMBER(notice.token, 2);
    demuxbuf_pool_free(pool);
}

int main(void) {
    the_tail_of_an_input_must_be_zero();
    the_tail_of_an_output_stays();
    a_wrong_size_writes_nothing();
    return check_end();
}
