/*
 * Every allocation of the calls that make pools fails in turn, alone and with all that follow; then, with the argument
 * `limits`, every mapping does, as the limit of the address space grows step by step. Each time there is a clear error,
 * nothing is written, and everything is freed.
 */
#include "counted.h"
#include "shard.h"

#include <sys/resource.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 120, MESSAGES_MAX = 32 };

static demuxbuf_shared_pool *shared_pool;

/* The different messages of refusals so far. */
static char messages[MESSAGES_MAX][MESSAGE_BYTES];
static unsigned long messages_count;

static int32_t make_pool(const void *config, void **made, char *message) {
    return demuxbuf_pool_new(config, (demuxbuf_pool **)made, message, &(size_t){MESSAGE_BYTES});
}

static void free_pool(void *made) {
    demuxbuf_pool_free(made);
}

static int32_t make_shards(const void *config, void **made, char *message) {
    return demuxbuf_shared_pool_new(config, 3, (demuxbuf_shared_pool **)made, message, &(size_t){MESSAGE_BYTES});
}

static void free_shards(void *made) {
    demuxbuf_shared_pool_free(made);
}

/* This call has no sentence, only its status. */
static int32_t make_thread(const void *config, void **made, char *message) {
    (void)config;
    (void)message;
    return demuxbuf_shared_pool_shard(shared_pool, 1, (demuxbuf_pool **)made);
}

struct maker {
    int32_t (*make)(const void *config, void **made, char *message);
    void (*free)(void *made);
    int has_messages;
};

static const struct maker pool_maker = {make_pool, free_pool, 1}, shards_maker = {make_shards, free_shards, 1},
                          thread_maker = {make_thread, free_pool, 0};

static void note(const char *message) {
    for (unsigned long at = 0; at < messages_count; at++) {
        if (strcmp(messages[at], message) == 0) {
            return;
        }
    }
    CHECK(messages_count < MESSAGES_MAX);
    strcpy(messages[messages_count++], message);
}

/*
 * Makes one; if it is refused, as it must be when memory is and only then: nothing is written or kept. Returns whether
 * it was made.
 */
static int make_one(const struct maker *maker, const void *config) {
    char message[MESSAGE_BYTES] = "";
    void *made;
    FILL(made);
    const unsigned long held = counted_allocations() - counted_frees();
    const int32_t status = maker->make(config, &made, message);
    const unsigned long refused = counted_refused();
    if (status == DEMUXBUF_OK) {
        CHECK_NUMBER(refused, 0);
        CHECK(counted_allocations() - counted_frees() > held);
        maker->free(made);
    } else {
        CHECK_NUMBER(status, DEMUXBUF_ERR_NO_MEMORY);
        CHECK(refused > 0);
        CHECK_UNTOUCHED(made);
        if (maker->has_messages) {
            CHECK(strstr(message, "no memory") != NULL);
            note(message);
        }
    }
    CHECK_NUMBER(counted_allocations() - counted_frees(), held);
    return status == DEMUXBUF_OK;
}

static void each_allocation_fails(const struct maker *maker, const void *config) {
    messages_count = 0;
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        unsigned long succeed = 0;
        for (;; succeed++) {
            counted_refuse(succeed, for_ever);
            if (make_one(maker, config)) {
                break;
            }
        }
        /* A pool is several pieces. */
        CHECK(succeed > 3);
    }
    /* The message names the piece. */
    CHECK(!maker->has_messages || messages_count >= 3);
}

static void allocations_fail_in_turn(void) {
    const demuxbuf_pool_config shared = shared_config_of(3, 6, 16, 16448);
    demuxbuf_pool_config config = config_of(6, 16, 16448);
    config.tenants_max = 4;
    each_allocation_fails(&pool_maker, &config);
    each_allocation_fails(&shards_maker, &shared);
    CHECK_NUMBER(demuxbuf_shared_pool_new(&shared, 3, &shared_pool, NULL, 0), DEMUXBUF_OK);
    each_allocation_fails(&thread_maker, &shared);
    demuxbuf_shared_pool_free(shared_pool);
}

/* Pages that the process has mapped. */
static unsigned long mapped_pages(void) {
    unsigned long pages;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    return pages;
}

/* The arena is larger than the free memory of the C library, so it has to be mapped; so are the larger tables. */
static void every_mapping_fails_in_turn(const struct maker *maker, const void *config) {
    const unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE), before = mapped_pages();
    struct rlimit old, limit;
    CHECK(getrlimit(RLIMIT_AS, &old) == 0);
    unsigned long made = 0, refused = 0;
    for (unsigned long more = 0; made < 10; more += 64) {
        limit = old;
        limit.rlim_cur = (before + more) * page;
        CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
        *(make_one(maker, config) ? &made : &refused) += 1;
        CHECK(setrlimit(RLIMIT_AS, &old) == 0);
    }
    /* It takes more than its arena until it can be made; the C library keeps little free memory afterwards. */
    CHECK(refused * 64 * page >= 4096 * 16448ul);
    CHECK(mapped_pages() - before < 1024);
}

int main(int count, char **arguments) {
    allocations_fail_in_turn();
    if (count > 1 && strcmp(arguments[1], "limits") == 0) {
        const demuxbuf_pool_config config = config_of(4096, 16, 16448);
        const demuxbuf_pool_config shared = shared_config_of(3, 4096, 16, 16448);
        every_mapping_fails_in_turn(&pool_maker, &config);
        every_mapping_fails_in_turn(&shards_maker, &shared);
    }
    return check_end();
}
