#include "counted.h"

#include <demuxbuf.h>

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
int __real_posix_memalign(void **, size_t, size_t);
void *__real_aligned_alloc(size_t, size_t);
void *__real_mmap(void *, size_t, int, int, int, off_t);
void *__real_mmap64(void *, size_t, int, int, int, off_t);
int __real_munmap(void *, size_t);
void __real_free(void *);
int32_t __real_demuxbuf_pool_new(const demuxbuf_pool_config *, demuxbuf_pool **, char *, size_t *);
int32_t __real_demuxbuf_shared_pool_new(const demuxbuf_pool_config *, uint32_t, demuxbuf_shared_pool **, char *,
                                        size_t *);
int32_t __real_demuxbuf_shared_pool_shard(const demuxbuf_shared_pool *, uint32_t, demuxbuf_pool **);
void __real_demuxbuf_pool_free(demuxbuf_pool *);
void __real_demuxbuf_shared_pool_free(demuxbuf_shared_pool *);

static atomic_ulong allocations, frees;
static atomic_ulong refused;
/* This thread is inside a call that makes or frees. */
static _Thread_local int is_allowed;
/* The counts of this thread. */
static _Thread_local unsigned long own;
/* For the one thread of a test that refuses. */
static int refuses, refuses_for_ever;
static unsigned long succeed_left;

unsigned long counted_allocations(void) {
    return allocations;
}

unsigned long counted_frees(void) {
    return frees;
}

void counted_refuse(unsigned long succeed, int for_ever) {
    refuses = 1;
    refuses_for_ever = for_ever;
    succeed_left = succeed;
}

unsigned long counted_refused(void) {
    refuses = 0;
    return atomic_exchange(&refused, 0);
}

static void must_be_allowed(const char *function) {
    if (!is_allowed) {
        fprintf(stderr, "the library called %s outside of the calls that make and free pools\n", function);
        abort();
    }
}

/* Whether this allocation is to be refused. */
static int is_refused(const char *function) {
    must_be_allowed(function);
    if (!refuses) {
        return 0;
    }
    if (succeed_left > 0) {
        succeed_left--;
        return 0;
    }
    refuses = refuses_for_ever;
    refused++;
    errno = ENOMEM;
    return 1;
}

static void count(int is_had) {
    if (is_had) {
        allocations++;
        own++;
    } else {
        refused++;
    }
}

static void *had(void *place) {
    count(place != NULL);
    return place;
}

void *__wrap_malloc(size_t bytes) {
    return is_refused("malloc") ? NULL : had(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes) {
    return is_refused("calloc") ? NULL : had(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *place, size_t bytes) {
    if (is_refused("realloc")) {
        return NULL;
    }
    void *moved = __real_realloc(place, bytes);
    if (place == NULL || moved == NULL) {
        count(moved != NULL);
    }
    return moved;
}

int __wrap_posix_memalign(void **place, size_t alignment, size_t bytes) {
    if (is_refused("posix_memalign")) {
        return ENOMEM;
    }
    int status = __real_posix_memalign(place, alignment, bytes);
    count(status == 0);
    return status;
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    return is_refused("aligned_alloc") ? NULL : had(__real_aligned_alloc(alignment, bytes));
}

/* The result of a failed mmap(2). */
#define NO_MAPPING ((void *)-1)

static void *mapped(void *place) {
    count(place != NO_MAPPING);
    return place;
}

void *__wrap_mmap(void *place, size_t bytes, int protection, int flags, int file, off_t offset) {
    return is_refused("mmap") ? NO_MAPPING : mapped(__real_mmap(place, bytes, protection, flags, file, offset));
}

void *__wrap_mmap64(void *place, size_t bytes, int protection, int flags, int file, off_t offset) {
    return is_refused("mmap64") ? NO_MAPPING : mapped(__real_mmap64(place, bytes, protection, flags, file, offset));
}

int __wrap_munmap(void *place, size_t bytes) {
    must_be_allowed("munmap");
    frees++;
    return __real_munmap(place, bytes);
}

void __wrap_free(void *place) {
    must_be_allowed("free");
    frees += place != NULL;
    __real_free(place);
}

/* Begins a call that makes a pool; returns what this thread had before. */
static unsigned long begin_making(void) {
    is_allowed++;
    return own;
}

/* Ends it. A pool is never made of nothing: if none of it was seen, nor would be what other calls ask. */
static int32_t end_making(int32_t status, unsigned long before) {
    is_allowed--;
    if (status == DEMUXBUF_OK && own == before) {
        fprintf(stderr, "the library made a pool, and none of its allocations was seen\n");
        abort();
    }
    return status;
}

int32_t __wrap_demuxbuf_pool_new(const demuxbuf_pool_config *config, demuxbuf_pool **pool, char *message,
                                 size_t *bytes) {
    const unsigned long before = begin_making();
    return end_making(__real_demuxbuf_pool_new(config, pool, message, bytes), before);
}

int32_t __wrap_demuxbuf_shared_pool_new(const demuxbuf_pool_config *config, uint32_t shards,
                                        demuxbuf_shared_pool **shared_pool, char *message, size_t *bytes) {
    const unsigned long before = begin_making();
    return end_making(__real_demuxbuf_shared_pool_new(config, shards, shared_pool, message, bytes), before);
}

int32_t __wrap_demuxbuf_shared_pool_shard(const demuxbuf_shared_pool *shared_pool, uint32_t index,
                                          demuxbuf_pool **pool) {
    const unsigned long before = begin_making();
    return end_making(__real_demuxbuf_shared_pool_shard(shared_pool, index, pool), before);
}

void __wrap_demuxbuf_pool_free(demuxbuf_pool *pool) {
    is_allowed++;
    __real_demuxbuf_pool_free(pool);
    is_allowed--;
}

void __wrap_demuxbuf_shared_pool_free(demuxbuf_shared_pool *shared_pool) {
    is_allowed++;
    __real_demuxbuf_shared_pool_free(shared_pool);
    is_allowed--;
}

__attribute__((destructor)) static void check_balance(void) {
    if (allocations != frees) {
        fprintf(stderr, "the library had %lu allocations and gave %lu back\n", allocations, frees);
        _Exit(1);
    }
}
