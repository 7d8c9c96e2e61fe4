/*
 * The messages of every call that reads a struct of settings: each names the field, its value and what is allowed, fits
 * into the room that there is, and the call reports how much room it needs.
 */
#include "shard.h"

enum { ROOM = 160 };

static demuxbuf_pool *pool, *shard;
static demuxbuf_connection connection;
static uint64_t handle;

/* Whichever call it is, with these settings. */
typedef int32_t call(const void *settings, char *message, size_t *message_bytes);

static int32_t make_pool(const void *settings, char *message, size_t *message_bytes) {
    demuxbuf_pool *made;
    FILL(made);
    const int32_t status = demuxbuf_pool_new(settings, &made, message, message_bytes);
    CHECK_UNTOUCHED(made);
    return status;
}

static int32_t make_shared_pool(const void *settings, char *message, size_t *message_bytes) {
    demuxbuf_shared_pool *made;
    FILL(made);
    const int32_t status = demuxbuf_shared_pool_new(settings, 2, &made, message, message_bytes);
    CHECK_UNTOUCHED(made);
    return status;
}

static int32_t init_connection(const void *settings, char *message, size_t *message_bytes) {
    FILL(connection);
    const int32_t status = demuxbuf_connection_init(&connection, settings, message, message_bytes);
    if (status != DEMUXBUF_OK) {
        CHECK_UNTOUCHED(connection);
    }
    return status;
}

static int32_t create_in(demuxbuf_pool *where, const void *settings, char *message, size_t *message_bytes) {
    FILL(handle);
    const int32_t status = demuxbuf_pool_create_tenant(where, settings, &handle, message, message_bytes);
    if (status != DEMUXBUF_OK) {
        CHECK_UNTOUCHED(handle);
    }
    return status;
}

static int32_t create_tenant(const void *settings, char *message, size_t *message_bytes) {
    return create_in(pool, settings, message, message_bytes);
}

static int32_t create_shared_tenant(const void *settings, char *message, size_t *message_bytes) {
    return create_in(shard, settings, message, message_bytes);
}

static int32_t request_in(demuxbuf_pool *where, const void *settings, char *message, size_t *message_bytes) {
    FILL(handle);
    const int32_t status = demuxbuf_pool_request_for(where, settings, &handle, message, message_bytes);
    if (status < 0) {
        CHECK_UNTOUCHED(handle);
    }
    return status;
}

static int32_t request(const void *settings, char *message, size_t *message_bytes) {
    return request_in(pool, settings, message, message_bytes);
}

static int32_t request_shared(const void *settings, char *message, size_t *message_bytes) {
    return request_in(shard, settings, message, message_bytes);
}

/* The call is refused with this status and sentence, whatever room there is for it. */
static void refused(call *made, const void *settings, int32_t status, const char *sentence) {
    const size_t whole = strlen(sentence) + 1;
    CHECK(whole + 2 <= ROOM);
    for (size_t room = 0; room <= whole + 2; room++) {
        char message[ROOM];
        FILL(message);
        size_t needed = room;
        CHECK_NUMBER(made(settings, message, &needed), status);
        const size_t written = room < whole ? room : whole;
        if (needed != whole || (written > 0 && strncmp(message, sentence, written - 1) != 0)) {
            fprintf(stderr, "expected: %s\nbut it is: %.*s\n", sentence, (int)written, message);
        }
        CHECK_NUMBER(needed, whole);
        CHECK(written == 0 || (message[written - 1] == 0 && strncmp(message, sentence, written - 1) == 0));
        check_pattern(message + written, sizeof message - written, "behind the message", __FILE__, __LINE__);
    }
    size_t needed = SIZE_MAX;
    CHECK_NUMBER(made(settings, NULL, &needed), status);
    CHECK_NUMBER(needed, whole);
    CHECK_NUMBER(made(settings, NULL, NULL), status);
    /* An array without its size. */
    char message[ROOM];
    FILL(message);
    CHECK_NUMBER(made(settings, message, NULL), DEMUXBUF_ERR_NULL);
    CHECK_UNTOUCHED(message);
}

/* A call that succeeds has nothing to say. */
static void taken(call *made, const void *settings) {
    char message[ROOM];
    size_t room = sizeof message;
    FILL(message);
    CHECK_NUMBER(made(settings, message, &room), DEMUXBUF_OK);
    CHECK_UNTOUCHED(message);
    CHECK_NUMBER(room, sizeof message);
    CHECK_NUMBER(made(settings, NULL, NULL), DEMUXBUF_OK);
}

/* What holds for every struct. */
static void each_call_names_what_is_wrong_with_a_struct(void) {
    static const struct {
        call *made;
        uint32_t bytes;
    } calls[] = {
        {make_pool, sizeof(demuxbuf_pool_config)},
        {make_shared_pool, sizeof(demuxbuf_pool_config)},
        {init_connection, sizeof(demuxbuf_policy)},
        {create_tenant, sizeof(demuxbuf_tenant_config)},
        {create_shared_tenant, sizeof(demuxbuf_tenant_config)},
        {request, sizeof(demuxbuf_request)},
        {request_shared, sizeof(demuxbuf_request)},
    };
    for (size_t at = 0; at < sizeof calls / sizeof calls[0]; at++) {
        uint32_t words[64] = {calls[at].bytes - 1};
        char sentence[ROOM];
        snprintf(sentence, sizeof sentence, "struct_size is %u; allowed is %u to 4096", words[0], calls[at].bytes);
        refused(calls[at].made, words, DEMUXBUF_ERR_STRUCT_SIZE, sentence);
        words[0] = calls[at].bytes + 8;
        words[calls[at].bytes / 4 + 1] = 7;
        snprintf(sentence, sizeof sentence,
                 "the field at byte %u, which this library does not know, is 7; allowed is 0", calls[at].bytes + 4);
        refused(calls[at].made, words, DEMUXBUF_ERR_UNKNOWN_FIELD, sentence);
        if (calls[at].made != init_connection) {
            refused(calls[at].made, NULL, DEMUXBUF_ERR_NULL, "the struct is NULL");
        }
    }
    taken(init_connection, NULL);
}

static void policy_names_the_field(void) {
    demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = 5};
    refused(init_connection, &policy, DEMUXBUF_ERR_CONFIG, "mode is 5; allowed is 0 to 4");
    policy.mode = 255;
    refused(init_connection, &policy, DEMUXBUF_ERR_CONFIG, "mode is 255; allowed is 0 to 4");
    policy.mode = DEMUXBUF_MODE_COMPLETION;
    taken(init_connection, &policy);
}

static void tenant_names_the_field(void) {
    demuxbuf_tenant_config tenant = {sizeof tenant, 0, 0, UINT32_MAX};
    refused(create_tenant, &tenant, DEMUXBUF_ERR_RANGE, "weight is 0; allowed is 1 to 1000");
    tenant.weight = 1001;
    refused(create_tenant, &tenant, DEMUXBUF_ERR_RANGE, "weight is 1001; allowed is 1 to 1000");
    tenant.weight = 1;
    tenant.guaranteed = 9;
    refused(create_tenant, &tenant, DEMUXBUF_ERR_RANGE, "guaranteed is 9; allowed is 0 to 8");
    tenant.guaranteed = 0;
    tenant.cap = 0;
    refused(create_tenant, &tenant, DEMUXBUF_ERR_RANGE, "cap is 0; allowed is 1 to 4294967295");
    tenant.cap = UINT32_MAX;
    refused(create_shared_tenant, &tenant, DEMUXBUF_ERR_TABLE_FULL, "all 0 tenants are in use");
    taken(create_tenant, &tenant);
    refused(create_tenant, &tenant, DEMUXBUF_ERR_TABLE_FULL, "all 2 tenants are in use");
}

static void request_names_the_field(void) {
    static call *const calls[] = {request, request_shared};
    for (size_t at = 0; at < 2; at++) {
        demuxbuf_request asked = {.struct_size = sizeof asked};
        /* A number as the core has them, its largest, one that it cannot have, and one that a cut would make 0. */
        static const uint32_t wrong[] = {2, 255, 256, UINT32_MAX};
        for (size_t number = 0; number < sizeof wrong / sizeof wrong[0]; number++) {
            char sentence[ROOM];
            asked.class_index = wrong[number];
            snprintf(sentence, sizeof sentence, "class_index is %u; allowed is 0 to 1", wrong[number]);
            refused(calls[at], &asked, DEMUXBUF_ERR_CLASS, sentence);
        }
    }
    demuxbuf_request asked = {.struct_size = sizeof asked, .tenant = 0x1234};
    refused(request, &asked, DEMUXBUF_ERR_STALE, "tenant is 0x1234; allowed is 0 or a tenant of this pool");
    refused(request_shared, &asked, DEMUXBUF_ERR_STALE, "tenant is 0x1234; allowed is 0 or a tenant of this pool");
    asked.tenant = 0;
    taken(request, &asked);
    taken(request_shared, &asked);
}

int main(void) {
    demuxbuf_pool_config config = config_of(6, 4, 256);
    config.classes = 2;
    const struct shard of_shared = new_shard(&config);
    shard = of_shared.pool;
    config.tenants_max = 2;
    pool = pool_of(&config);
    each_call_names_what_is_wrong_with_a_struct();
    policy_names_the_field();
    tenant_names_the_field();
    request_names_the_field();
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(shard), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
    free_shard(of_shared);
    return check_end();
}
