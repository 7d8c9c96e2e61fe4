/*
 * Resident and trimmed memory: scenarios S78 and S79. The program stands in for a machine and an allocator that this
 * machine may not have: pages of the size of its argument, and a calloc that writes the memory it returns.
 */
#define _GNU_SOURCE
#include "shard.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_calloc(size_t, size_t);
extern long __sysconf(int);

static size_t page_bytes = 4096;
static int calloc_writes;
static unsigned long advised;

static size_t up(size_t bytes) {
    return (bytes + page_bytes - 1) / page_bytes * page_bytes;
}

/* Mappings begin where a page does. */
void *mmap(void *at, size_t bytes, int rights, int flags, int file, off_t offset) {
    if (at != NULL || (flags & MAP_FIXED) != 0) {
        return (void *)syscall(SYS_mmap, at, bytes, rights, flags, file, offset);
    }
    void *mapped = (void *)syscall(SYS_mmap, NULL, bytes + page_bytes, rights, flags, file, offset);
    return mapped == MAP_FAILED ? mapped : (void *)up((size_t)mapped);
}

/* A start inside of a page is refused, and the length is rounded up. */
int madvise(void *at, size_t bytes, int advice) {
    if (advice != MADV_DONTNEED) {
        return 0;
    }
    advised++;
    if ((size_t)at % page_bytes != 0) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_madvise, at, up(bytes), advice);
}

long sysconf(int name) {
    return name == _SC_PAGESIZE ? (long)page_bytes : __sysconf(name);
}

void *calloc(size_t count, size_t bytes) {
    static void *(*volatile write)(void *, int, size_t) = memset;
    void *memory = __libc_calloc(count, bytes);
    if (memory != NULL && calloc_writes) {
        write(memory, 0, count * bytes);
    }
    return memory;
}

static uint64_t resident_bytes(void) {
    unsigned long size, pages;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%lu %lu", &size, &pages) == 2);
    fclose(file);
    return (uint64_t)pages * 4096;
}

static uint64_t trim(demuxbuf_pool *pool) {
    uint64_t bytes;
    CHECK_NUMBER(demuxbuf_pool_trim(pool, &bytes), DEMUXBUF_OK);
    return bytes;
}

enum { COUNT = 64, SIZES_MAX = 5 };

/* Each receiver fills half a buffer, every `step`th is closed, and pages are trimmed: the others keep their bytes. */
static void s78_contents_of_buffers_in_use_stay(demuxbuf_pool *pool, uint32_t buffer_bytes, int step,
                                                uint64_t trimmed_min) {
    uint64_t receivers[COUNT];
    uint32_t half = buffer_bytes / 2;
    for (int at = 0; at < COUNT; at++) {
        CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receivers[at], NULL, NULL), DEMUXBUF_OK);
        demuxbuf_step received = demuxbuf_receiver_readable(pool, receivers[at]);
        CHECK(received.data != NULL && received.bytes >= half);
        memset(received.data, 'A' + at % 26, half);
        demuxbuf_receiver_received(pool, receivers[at], half);
        CHECK_NUMBER(demuxbuf_actions_status_inline(demuxbuf_receiver_decoded(pool, receivers[at], 0, 1).actions),
                     DEMUXBUF_OK);
    }
    for (int at = 0; at < COUNT; at += step) {
        demuxbuf_receiver_close(pool, receivers[at]);
    }
    CHECK(trim(pool) >= trimmed_min);
    for (int at = 0; at < COUNT; at++) {
        if (at % step != 0) {
            demuxbuf_receiver_readable(pool, receivers[at]);
            demuxbuf_step decoded = demuxbuf_receiver_received(pool, receivers[at], 1);
            uint32_t same = 0;
            while (same < half && decoded.data[same] == 'A' + at % 26) {
                same++;
            }
            CHECK_NUMBER(same, half);
        }
    }
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
}

static void s78_contents_stay(uint32_t buffer_bytes, int step) {
    const demuxbuf_pool_config config = config_of(2 * COUNT, COUNT, buffer_bytes);
    const demuxbuf_pool_config shared = shared_config_of(2, 2 * COUNT, COUNT, buffer_bytes);
    demuxbuf_shared_pool *shared_pool;
    demuxbuf_pool *pool;
    /* Two halves lie in one buffer; a page that they share with others stays. */
    const uint64_t used_bytes = COUNT / 2 * (uint64_t)buffer_bytes;
    const uint64_t trimmed_min = step == 1 && used_bytes > 2 * page_bytes ? used_bytes - 2 * page_bytes : 0;
    s78_contents_of_buffers_in_use_stay(pool_of(&config), buffer_bytes, step, trimmed_min);
    CHECK_NUMBER(demuxbuf_shared_pool_new(&shared, 2, &shared_pool, NULL, 0), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(shared_pool, 0, &pool), DEMUXBUF_OK);
    /* Those that the thread caches stay. */
    s78_contents_of_buffers_in_use_stay(pool, buffer_bytes, step, 0);
    demuxbuf_shared_pool_free(shared_pool);
}

/*
 * An allocator that writes: no more becomes resident than the statistics allow, and hardly anything does before it is
 * used.
 */
static void s79_nothing_is_resident_before_it_is_used(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    demuxbuf_pool *pool;
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, UINT64_C(4000) * 16384, 1000), DEMUXBUF_OK);
    config.buffer_bytes = 16384;
    uint64_t before = resident_bytes();
    calloc_writes = 1;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, NULL), DEMUXBUF_OK);
    calloc_writes = 0;
    CHECK(resident_bytes() - before < 4 << 20);
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK_NUMBER(stats.memory_bytes, 4000 * 16384);
    demuxbuf_pool_free(pool);
}

/* 1,000,000 receivers for each of eight threads, and 10,000 buffers. */
static void s79_shard_tables_are_resident_when_used(void) {
    enum { THREADS = 8 };
    demuxbuf_pool_config config = shared_config_of(THREADS, 10000, 1000000, 16384);
    demuxbuf_shared_pool *shared_pool;
    demuxbuf_pool *pools[THREADS];
    uint64_t before = resident_bytes();
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, THREADS, &shared_pool, NULL, 0), DEMUXBUF_OK);
    for (uint32_t at = 0; at < THREADS; at++) {
        CHECK_NUMBER(demuxbuf_shared_pool_shard(shared_pool, at, &pools[at]), DEMUXBUF_OK);
    }
    CHECK(resident_bytes() - before < 4 << 20);
    for (int at = 0; at < THREADS; at++) {
        demuxbuf_pool_free(pools[at]);
    }
    demuxbuf_shared_pool_free(shared_pool);
}

/* Buffers that were not used since the last call are neither named to the system nor counted; neighbours go together.
   */
static void s79_trim_touches_what_was_used(void) {
    const demuxbuf_pool_config config = config_of(200000, 300, 65536);
    demuxbuf_pool *pool = pool_of(&config);
    uint64_t receivers[300];
    advised = 0;
    CHECK(trim(pool) == 0 && advised == 0);
    for (int at = 0; at < 300; at++) {
        CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receivers[at], NULL, NULL), DEMUXBUF_OK);
        CHECK(demuxbuf_receiver_readable(pool, receivers[at]).data != NULL);
    }
    /* One of them has the receive buffer, which is never free. */
    for (int at = 0; at < 300; at++) {
        demuxbuf_receiver_close(pool, receivers[(at * 7) % 300]);
    }
    CHECK(trim(pool) == 299 * 65536 && advised == 1);
    CHECK(trim(pool) == 0 && advised == 1);
    demuxbuf_pool_free(pool);
}

int main(int count, char **arguments) {
    static const uint32_t sizes[SIZES_MAX] = {256, 4096, 16384, 16448, 65536};
    if (count > 1) {
        page_bytes = strtoul(arguments[1], NULL, 10);
    }
    for (int at = 0; at < SIZES_MAX; at++) {
        for (int step = 1; step <= 4; step++) {
            s78_contents_stay(sizes[at], step);
        }
    }
    s79_nothing_is_resident_before_it_is_used();
    s79_shard_tables_are_resident_when_used();
    s79_trim_touches_what_was_used();
    return check_end();
}
