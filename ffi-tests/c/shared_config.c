/* The settings of pools that threads share: defaults, limits, and what is refused. */
#include "check.h"

/* Jobs that hold one buffer and ask for another: which pairs can wait for each other without end. */
static void nested_requests_are_checked(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 4, 4), DEMUXBUF_OK);
    config.classes = 3, config.reserves[1] = 1, config.reserves[2] = 1;
    const demuxbuf_nested_request nested[] = {{1, 0}, {2, 0}, {2, 1}, {1, 3}};
    char message[160];
    size_t room = sizeof message;
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, nested, 2, message, &room), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, nested, 3, message, &room), DEMUXBUF_ERR_DEADLOCK);
    CHECK(strcmp(message,
                 "jobs that hold class 2 and ask for class 1 can wait without end: they can leave 1 units free, "
                 "and class 1 needs 2") == 0);
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, nested, 4, NULL, NULL), DEMUXBUF_ERR_CONFIG);
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(NULL, nested, 2, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, NULL, 1, NULL, NULL), DEMUXBUF_ERR_NULL);
    config.classes = 0;
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, NULL, 0, NULL, NULL), DEMUXBUF_ERR_CONFIG);
}

static void defaults_are_as_documented(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    FILL_SIZED(config);
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 3, 100), DEMUXBUF_OK);
    CHECK_NUMBER(config.struct_size, sizeof config);
    CHECK(config.buffers == 3 && config.receivers_max == 100 && config.waiters_max == 200);
    CHECK(config.buffer_bytes == 16448 && config.slots == 100 && config.classes == 1 && config.class_burst >= 1);
    CHECK(config.lifeline == 1 && config.park_bytes == 64 && config.mode == DEMUXBUF_MODE_LEVEL);
    for (int at = 0; at < DEMUXBUF_CLASSES_MAX; at++) {
        CHECK(config.reserves[at] == 0 && config.class_caps[at] == UINT32_MAX);
    }
    /* Twice as many waits as can be counted are as many as can be counted, and refused only by pool_new. */
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, UINT32_MAX, UINT32_MAX), DEMUXBUF_OK);
    CHECK_NUMBER(config.waiters_max, UINT32_MAX);
}

/* Refused; the message names the field and its value; neither the pool nor what is behind the message is written. */
static void refuse_config(const demuxbuf_pool_config *config, const char *field, const char *value, int32_t status) {
    demuxbuf_shared_pool *pool;
    char message[200];
    FILL(pool), FILL(message);
    CHECK_NUMBER(demuxbuf_shared_pool_new(config, 1, &pool, message, &(size_t){sizeof message}), status);
    CHECK_UNTOUCHED(pool);
    CHECK(memchr(message, 0, sizeof message) != NULL);
    if (strstr(message, field) == NULL || strstr(message, value) == NULL) {
        fprintf(stderr, "expected %s and %s in: %s\n", field, value, message);
        CHECK(0);
    }
    size_t whole = strlen(message);
    for (size_t room = 0; room <= whole + 2; room++) {
        char cut[200];
        FILL(cut);
        size_t needed = room;
        CHECK_NUMBER(demuxbuf_shared_pool_new(config, 1, &pool, cut, &needed), status);
        CHECK_NUMBER(needed, whole + 1);
        size_t written = room == 0 ? 0 : room <= whole ? room : whole + 1;
        CHECK(written == 0 || (cut[written - 1] == 0 && strncmp(cut, message, written - 1) == 0));
        check_pattern(cut + written, sizeof cut - written, "what is behind the message", __FILE__, __LINE__);
    }
    size_t needed = SIZE_MAX;
    CHECK_NUMBER(demuxbuf_shared_pool_new(config, 1, &pool, NULL, &needed), status);
    CHECK_NUMBER(needed, whole + 1);
    CHECK_NUMBER(demuxbuf_shared_pool_new(config, 1, &pool, NULL, NULL), status);
    FILL(message);
    CHECK_NUMBER(demuxbuf_shared_pool_new(config, 1, &pool, message, NULL), DEMUXBUF_ERR_NULL);
    CHECK_UNTOUCHED(message);
    CHECK_UNTOUCHED(pool);
}

/* A message names a field that can be changed by its name, and one that must be 0 by its place. */
#define REFUSE_FIELD_AS(status, field, wrong, value)                                                                   \
    do {                                                                                                               \
        demuxbuf_pool_config config_ = {.struct_size = sizeof config_};                                                \
        demuxbuf_pool_config_init(&config_, 4, 10);                                                                    \
        config_.field = (wrong);                                                                                       \
        refuse_config(&config_, (status) == DEMUXBUF_ERR_UNKNOWN_FIELD ? "byte" : #field, value, status);              \
    } while (0)

#define REFUSE_FIELD(field, wrong, value) REFUSE_FIELD_AS(DEMUXBUF_ERR_CONFIG, field, wrong, value)

static void config_error_names_the_field(void) {
    REFUSE_FIELD_AS(DEMUXBUF_ERR_STRUCT_SIZE, struct_size, 0, "0");
    REFUSE_FIELD_AS(DEMUXBUF_ERR_STRUCT_SIZE, struct_size, sizeof(demuxbuf_pool_config) - 1, "is ");
    REFUSE_FIELD_AS(DEMUXBUF_ERR_STRUCT_SIZE, struct_size, 4097, "is 4097");
    REFUSE_FIELD_AS(DEMUXBUF_ERR_STRUCT_SIZE, struct_size, UINT32_MAX, "4294967295");
    REFUSE_FIELD_AS(DEMUXBUF_ERR_UNKNOWN_FIELD, reserved, 7, "is 7");
    REFUSE_FIELD(mode, 5, "5");
    REFUSE_FIELD(mode, 255, "255");
    REFUSE_FIELD(park_bytes, 65, "65");
    REFUSE_FIELD(park_bytes, UINT16_MAX, "65535");
    REFUSE_FIELD(buffers, 0, "0");
    REFUSE_FIELD(buffers, UINT32_MAX, "4294967295");
    REFUSE_FIELD(buffer_bytes, 0, "0");
    REFUSE_FIELD(buffer_bytes, 63, "63");
    REFUSE_FIELD(buffer_bytes, 65, "65");
    REFUSE_FIELD(buffer_bytes, 16777217, "16777217");
    REFUSE_FIELD(buffer_bytes, 16777280, "16777280");
    REFUSE_FIELD(buffer_bytes, UINT32_MAX, "4294967295");
    REFUSE_FIELD(receivers_max, 0, "0");
    REFUSE_FIELD(receivers_max, UINT32_MAX, "4294967295");
    REFUSE_FIELD(waiters_max, 0, "0");
    REFUSE_FIELD(waiters_max, 9, "9");
    REFUSE_FIELD(waiters_max, UINT32_MAX, "4294967295");
    REFUSE_FIELD(classes, 0, "0");
    REFUSE_FIELD(classes, 9, "9");
    REFUSE_FIELD(classes, 256, "256");
    REFUSE_FIELD(classes, UINT32_MAX, "4294967295");
    REFUSE_FIELD(class_burst, 0, "0");
    REFUSE_FIELD(reserves[0], 4, "4");
    REFUSE_FIELD(reserves[0], UINT32_MAX, "4294967295");
    REFUSE_FIELD(reserves[1], 1, "1");
    REFUSE_FIELD(class_caps[7], 0, "0");
    REFUSE_FIELD(reclaim_bytes, 4097, "4097");
    REFUSE_FIELD(continuation_class, 1, "1");
    REFUSE_FIELD(continuation_class, 256, "256");
    REFUSE_FIELD(first_size_index, 256, "256");
    REFUSE_FIELD(park_ns, 1, "1");
    REFUSE_FIELD(lease_ns, 0, "0");

    demuxbuf_pool_config config = {.struct_size = sizeof config};
    memset(&config, 0, sizeof config);
    refuse_config(&config, "struct_size", "0", DEMUXBUF_ERR_STRUCT_SIZE);
    memset(&config, 0xff, sizeof config);
    refuse_config(&config, "struct_size", "4294967295", DEMUXBUF_ERR_STRUCT_SIZE);
}

/* 2^23 buffers of 2^24 bytes are more than the addresses of a process. */
static void no_memory_is_an_error(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    demuxbuf_shared_pool *pool;
    char message[100];
    FILL(pool);
    demuxbuf_pool_config_init(&config, 1u << 23, 1);
    config.buffer_bytes = 1u << 24;
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 1, &pool, message, &(size_t){sizeof message}),
                 DEMUXBUF_ERR_NO_MEMORY);
    CHECK_UNTOUCHED(pool);
    CHECK(strstr(message, "buffers") != NULL && strstr(message, "no memory") != NULL);
}

static void limits_are_allowed(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    demuxbuf_shared_pool *pool;
    char message[8];
    demuxbuf_pool_config_init(&config, 2, 1);
    config.buffer_bytes = 1u << 24;
    config.classes = DEMUXBUF_CLASSES_MAX;
    config.class_burst = UINT32_MAX;
    config.slots = 0;
    config.waiters_max = 1;
    for (int at = 0; at < DEMUXBUF_CLASSES_MAX; at++) {
        config.reserves[at] = 1;
        config.class_caps[at] = 1;
    }
    FILL(message);
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 1, &pool, message, &(size_t){sizeof message}), DEMUXBUF_OK);
    CHECK_UNTOUCHED(message);
    demuxbuf_shared_pool_free(pool);
}

int main(void) {
    nested_requests_are_checked();
    defaults_are_as_documented();
    config_error_names_the_field();
    no_memory_is_an_error();
    limits_are_allowed();
    return check_end();
}
