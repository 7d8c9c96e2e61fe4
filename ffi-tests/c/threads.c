/*
 * Threads that come and go on one shared pool, and connections that wander between them. Each thread also takes buffers
 * of its own, as many as it gets, so that there are often none. Each byte is checked, each connection has to come to
 * its end, and a sleeping thread must be signalled when it has notices: one that is not signalled within 60 seconds
 * fails the test.
 *
 * For ThreadSanitizer the library has to be built for it too; otherwise the order of the uses of one buffer by two
 * threads cannot be seen.
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include "shard.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

enum { THREADS = 4, CONNECTIONS = 120, STREAM_BYTES = 4000, BUFFER_BYTES = 256, SLEEP_MAX_S = 60 };

/* All partial frames have a place; of its own a thread asks for up to this many. */
enum { FREE = 96, LEASES_MAX = 80 };

/* In place of CHECK, which counts for one thread only. */
#define REQUIRE(condition) require((condition), #condition, __LINE__)

static void require(int holds, const char *what, int line) {
    if (!holds) {
        fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, line, what);
        abort();
    }
}

/* The eventfd of a thread, whether it has a pool at the time or not. */
struct mailbox {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int is_signalled;
    demuxbuf_exported_receiver exported[CONNECTIONS];
    int count;
};

/* How far one connection came; it moves with the connection. */
struct stream {
    uint32_t received, decoded;
};

struct mine {
    uint64_t receiver, connection;
};

struct thread {
    uint32_t index;
    uint64_t random;
    demuxbuf_pool *pool;
    struct mine mine[CONNECTIONS];
    int count;
    uint64_t leases[LEASES_MAX];
    int leased, waiting;
};

static demuxbuf_shared_pool *shared_pool;
static struct mailbox mailboxes[THREADS];
static struct stream streams[CONNECTIONS];
static atomic_int finished;
static atomic_ulong lives, moves, sleeps, stays;

static void signal_thread(uint32_t thread) {
    struct mailbox *const box = &mailboxes[thread];
    REQUIRE(pthread_mutex_lock(&box->mutex) == 0);
    box->is_signalled = 1;
    REQUIRE(pthread_cond_signal(&box->cond) == 0);
    REQUIRE(pthread_mutex_unlock(&box->mutex) == 0);
}

static void sleep_until_signalled(uint32_t thread) {
    struct mailbox *const box = &mailboxes[thread];
    struct timespec until;
    REQUIRE(clock_gettime(CLOCK_REALTIME, &until) == 0);
    until.tv_sec += SLEEP_MAX_S;
    REQUIRE(pthread_mutex_lock(&box->mutex) == 0);
    while (!box->is_signalled) {
        REQUIRE(pthread_cond_timedwait(&box->cond, &box->mutex, &until) == 0); /* else a wake was lost */
    }
    box->is_signalled = 0;
    REQUIRE(pthread_mutex_unlock(&box->mutex) == 0);
}

static uint8_t byte_at(uint64_t connection, uint32_t at) {
    return (uint8_t)(connection * 31 ^ at * 7);
}

/* Another thread's from now on, unless there is no buffer for it to leave in. */
static void send_away(struct thread *self, int at) {
    const uint32_t to = (self->index + 1 + check_random(&self->random) % (THREADS - 1)) % THREADS;
    demuxbuf_exported_receiver exported;
    const int32_t status = demuxbuf_receiver_export(self->pool, self->mine[at].receiver, &exported);
    if (status == DEMUXBUF_ERR_NO_BUFFER_FREE) {
        atomic_fetch_add(&stays, 1);
        return;
    }
    REQUIRE(status == DEMUXBUF_OK);
    self->mine[at] = self->mine[--self->count];
    struct mailbox *const box = &mailboxes[to];
    REQUIRE(pthread_mutex_lock(&box->mutex) == 0);
    box->exported[box->count++] = exported;
    REQUIRE(pthread_mutex_unlock(&box->mutex) == 0);
    atomic_fetch_add(&moves, 1);
    signal_thread(to);
}

/* Returns whether there was any. One that there is no buffer for now stays for the next iteration. */
static int import_all(struct thread *self) {
    struct mailbox *const box = &mailboxes[self->index];
    int count = 0;
    REQUIRE(pthread_mutex_lock(&box->mutex) == 0);
    while (box->count > 0) {
        struct mine *const mine = &self->mine[self->count];
        demuxbuf_receiver_info info = {.struct_size = sizeof info};
        const int32_t status = demuxbuf_receiver_import(self->pool, &box->exported[box->count - 1], &mine->receiver);
        if (status == DEMUXBUF_ERR_NO_BUFFER_FREE) {
            atomic_fetch_add(&stays, 1);
            count++;
            break;
        }
        REQUIRE(status == DEMUXBUF_OK);
        self->count++;
        box->count--;
        REQUIRE(demuxbuf_receiver_describe(self->pool, mine->receiver, &info) == DEMUXBUF_OK);
        mine->connection = info.token;
        count++;
    }
    REQUIRE(pthread_mutex_unlock(&box->mutex) == 0);
    return count;
}

/* Decodes whole pieces of 128 bytes, so that what is left over is often more than moves without a buffer. */
static demuxbuf_step decode(struct thread *self, const struct mine *mine, demuxbuf_step step) {
    struct stream *const stream = &streams[mine->connection];
    for (uint32_t at = 0; at < step.bytes; at++) {
        REQUIRE(step.data[at] == byte_at(mine->connection, stream->decoded + at));
    }
    const uint32_t left = STREAM_BYTES - stream->decoded - step.bytes;
    const uint32_t rest = left == 0 ? 0 : step.bytes % 128;
    const uint32_t need_more = rest == 0 ? 0 : left < 128 - rest ? left : 128 - rest;
    stream->decoded += step.bytes - rest;
    return demuxbuf_receiver_decoded(self->pool, mine->receiver, step.bytes - rest, need_more);
}

/* Returns whether anything was done; a connection that came to its end is closed. */
static int go_on(struct thread *self, int at) {
    const struct mine mine = self->mine[at];
    struct stream *const stream = &streams[mine.connection];
    demuxbuf_step step = demuxbuf_receiver_readable(self->pool, mine.receiver);
    int worked = 0;
    if ((step.actions & DEMUXBUF_RECV) != 0 && stream->received < STREAM_BYTES) {
        uint32_t bytes = 1 + check_random(&self->random) % 150;
        bytes = bytes < step.bytes ? bytes : step.bytes;
        bytes = bytes < STREAM_BYTES - stream->received ? bytes : STREAM_BYTES - stream->received;
        for (uint32_t offset = 0; offset < bytes; offset++) {
            step.data[offset] = byte_at(mine.connection, stream->received + offset);
        }
        stream->received += bytes;
        step = demuxbuf_receiver_received(self->pool, mine.receiver, bytes);
        worked = 1;
    }
    if ((step.actions & DEMUXBUF_DECODE) != 0 && (step.actions & DEMUXBUF_RECV) == 0) {
        step = decode(self, &mine, step);
        worked = 1;
    }
    REQUIRE(demuxbuf_actions_status_inline(step.actions) == DEMUXBUF_OK);
    if (stream->decoded == STREAM_BYTES) {
        REQUIRE(demuxbuf_receiver_close(self->pool, mine.receiver).actions == DEMUXBUF_FINISHED);
        self->mine[at] = self->mine[--self->count];
        if (atomic_fetch_add(&finished, 1) + 1 == CONNECTIONS) {
            for (uint32_t thread = 0; thread < THREADS; thread++) {
                signal_thread(thread);
            }
        }
    }
    return worked;
}

static void signal_named(struct thread *self) {
    uint32_t thread;
    int32_t named;
    while ((named = demuxbuf_pool_poll_wake(self->pool, &thread)) == DEMUXBUF_OK) {
        signal_thread(thread);
    }
    REQUIRE(named == DEMUXBUF_STATUS_NONE);
}

/* Buffers of its own, for some iterations. */
static void request_some(struct thread *self) {
    uint32_t count = check_random(&self->random) % 4 == 0 ? check_random(&self->random) % LEASES_MAX : 0;
    for (; count > 0 && self->leased + self->waiting < LEASES_MAX; count--) {
        uint64_t handle;
        const int32_t status = demuxbuf_pool_request(self->pool, 0, 0, &handle);
        REQUIRE(status == DEMUXBUF_OK || status == DEMUXBUF_STATUS_QUEUED);
        if (status == DEMUXBUF_OK) {
            self->leases[self->leased++] = handle;
        } else {
            self->waiting++;
        }
    }
}

static void release_all(struct thread *self) {
    while (self->leased > 0) {
        REQUIRE(demuxbuf_pool_release(self->pool, self->leases[--self->leased]) == DEMUXBUF_OK);
    }
}

static int poll_notices(struct thread *self) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    int worked = 0;
    while (demuxbuf_pool_poll_notice(self->pool, &notice) == DEMUXBUF_OK) {
        REQUIRE((notice.step.actions & DEMUXBUF_SHED) == 0);
        if (notice.kind == DEMUXBUF_NOTICE_LEASE) {
            self->leases[self->leased++] = notice.lease;
            self->waiting--;
        }
        worked = 1;
    }
    return worked;
}

static void iterate(struct thread *self) {
    int worked = import_all(self);
    worked |= poll_notices(self);
    request_some(self);
    for (int at = self->count - 1; at >= 0; at--) {
        worked |= go_on(self, at);
    }
    if (self->count > 0 && check_random(&self->random) % 4 == 0) {
        send_away(self, (int)(check_random(&self->random) % (uint32_t)self->count));
    }
    /* A thread that sleeps has none. */
    if (!worked || check_random(&self->random) % 4 == 0) {
        release_all(self);
    }
    signal_named(self);
    if (!worked && atomic_load(&finished) < CONNECTIONS) {
        atomic_fetch_add(&sleeps, 1);
        sleep_until_signalled(self->index);
    } else {
        sched_yield();
    }
}

/* A pool of its own for some iterations; then its connections go to other threads, and it comes again. */
static void live(struct thread *self, int is_first) {
    uint32_t thread;
    REQUIRE(demuxbuf_shared_pool_shard(shared_pool, self->index, &self->pool) == DEMUXBUF_OK);
    for (uint64_t connection = self->index; is_first && connection < CONNECTIONS; connection += THREADS) {
        struct mine *const mine = &self->mine[self->count++];
        mine->connection = connection;
        REQUIRE(demuxbuf_receiver_attach(self->pool, OPTIONS(.token = connection), &mine->receiver, NULL, NULL) ==
                DEMUXBUF_OK);
    }
    const uint32_t iterations = 1 + check_random(&self->random) % 40;
    for (uint32_t count = 0; count < iterations && atomic_load(&finished) < CONNECTIONS; count++) {
        iterate(self);
    }
    while (self->count > 0) {
        send_away(self, self->count - 1);
        /* What stays goes on: no clock is advanced here, so nothing else would make room. */
        for (int at = self->count - 1; at >= 0; at--) {
            go_on(self, at);
        }
        poll_notices(self);
        release_all(self);
        signal_named(self);
        /* What it waits for is another thread's to release. */
        sched_yield();
    }
    poll_notices(self);
    release_all(self);
    self->waiting = 0;
    demuxbuf_pool_free(self->pool);
    while (demuxbuf_shared_pool_poll_wake(shared_pool, &thread) == DEMUXBUF_OK) {
        signal_thread(thread);
    }
    atomic_fetch_add(&lives, 1);
}

static void *run(void *argument) {
    struct thread *const self = argument;
    live(self, 1);
    while (atomic_load(&finished) < CONNECTIONS) {
        live(self, 0);
    }
    return NULL;
}

int main(void) {
    static struct thread threads[THREADS];
    pthread_t handles[THREADS];
    const demuxbuf_pool_config config = shared_config_of(THREADS, FREE, CONNECTIONS, BUFFER_BYTES);
    demuxbuf_pool *pool;
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    uint32_t free_before;
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, THREADS, &shared_pool, NULL, 0), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(shared_pool, 0, &pool), DEMUXBUF_OK);
    leave_free(pool, FREE);
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    free_before = stats.free;
    demuxbuf_pool_free(pool);
    for (uint32_t index = 0; index < THREADS; index++) {
        threads[index].index = index;
        threads[index].random = index + 1;
        CHECK_NUMBER(pthread_mutex_init(&mailboxes[index].mutex, NULL), 0);
        CHECK_NUMBER(pthread_cond_init(&mailboxes[index].cond, NULL), 0);
    }
    for (uint32_t index = 0; index < THREADS; index++) {
        CHECK_NUMBER(pthread_create(&handles[index], NULL, run, &threads[index]), 0);
    }
    for (uint32_t index = 0; index < THREADS; index++) {
        CHECK_NUMBER(pthread_join(handles[index], NULL), 0);
    }
    CHECK_NUMBER(atomic_load(&finished), CONNECTIONS);
    for (uint32_t connection = 0; connection < CONNECTIONS; connection++) {
        CHECK_NUMBER(streams[connection].decoded, STREAM_BYTES);
    }
    CHECK_NUMBER(demuxbuf_shared_pool_shard(shared_pool, 0, &pool), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    /* What each pool has in any case is all that is in use. */
    CHECK_NUMBER(stats.free, free_before);
    CHECK_NUMBER(stats.waiting + stats.assigned, 0);
    /* Else the test was of nothing. */
    CHECK(stats.granted_by_handoff > 0 && atomic_load(&lives) > THREADS && atomic_load(&moves) > CONNECTIONS);
    printf("%lu lives, %lu moves, %lu stays, %lu sleeps, %" PRIu64 " hand-offs\n", atomic_load(&lives),
           atomic_load(&moves), atomic_load(&stays), atomic_load(&sleeps), stats.granted_by_handoff);
    demuxbuf_pool_free(pool);
    demuxbuf_shared_pool_free(shared_pool);
    return check_end();
}
