#include "pool.h"

#include "support.h"

#include <string.h>

void pool_open(struct pool *pool, struct sched *sched, uint32_t buffers, uint32_t buffer_bytes) {
    memset(pool, 0, sizeof *pool);
    pool->sched = sched;
    pool->arena = must_have(malloc((size_t)buffers * buffer_bytes));
    pool->leased = must_have(calloc(buffers, sizeof *pool->leased));
    pool->buffers = pool->free = buffers;
    pool->buffer_bytes = buffer_bytes;
}

void pool_close(struct pool *pool) {
    CHECK_NUMBER(pool->free, pool->buffers);
    CHECK_NUMBER(pool->assigned, 0);
    for (int need = 0; need < NEEDS; need++) {
        CHECK(pool->first[need] == NULL && pool->last[need] == NULL);
    }
    free(pool->leased);
    free(pool->arena);
}

static uint8_t *take_free(struct pool *pool) {
    uint32_t index = 0;
    while (pool->leased[index]) {
        index++;
    }
    pool->leased[index] = true;
    pool->free--;
    return pool->arena + (size_t)index * pool->buffer_bytes;
}

static void unlink_waiter(struct pool *pool, struct waiter *waiter) {
    *(waiter->previous != NULL ? &waiter->previous->next : &pool->first[waiter->need]) = waiter->next;
    *(waiter->next != NULL ? &waiter->next->previous : &pool->last[waiter->need]) = waiter->previous;
    waiter->previous = waiter->next = NULL;
}

static void serve(struct pool *pool) {
    for (int need = 0; need < NEEDS; need++) {
        while (pool->first[need] != NULL && pool->free > pool->reserves[need]) {
            struct waiter *waiter = pool->first[need];
            unlink_waiter(pool, waiter);
            waiter->area = take_free(pool);
            waiter->state = WAITER_ASSIGNED;
            pool->assigned++;
            pool->handoffs++;
            sched_wake(pool->sched, waiter->tasklet, WAKE_GRANTED);
        }
    }
}

enum pool_outcome pool_request(struct pool *pool, struct waiter *waiter, uint8_t **area) {
    enum need need = waiter->need;
    if (waiter->state != WAITER_IDLE) {
        return POOL_REFUSED;
    }
    if (pool->first[need] == NULL && pool->free > pool->reserves[need]) {
        *area = take_free(pool);
        return POOL_GRANTED;
    }
    waiter->previous = pool->last[need];
    *(waiter->previous != NULL ? &waiter->previous->next : &pool->first[need]) = waiter;
    pool->last[need] = waiter;
    waiter->state = WAITER_QUEUED;
    return POOL_QUEUED;
}

bool pool_release(struct pool *pool, uint8_t *area) {
    size_t offset = (size_t)(area - pool->arena);
    size_t index = offset / pool->buffer_bytes;
    if (index >= pool->buffers || offset % pool->buffer_bytes != 0 || !pool->leased[index]) {
        return false;
    }
    pool->leased[index] = false;
    pool->free++;
    serve(pool);
    return true;
}

uint8_t *pool_take(struct pool *pool, struct waiter *waiter) {
    CHECK_NUMBER(waiter->state, WAITER_ASSIGNED);
    waiter->state = WAITER_IDLE;
    pool->assigned--;
    return waiter->area;
}

void pool_cancel(struct pool *pool, struct waiter *waiter) {
    if (waiter->state == WAITER_QUEUED) {
        unlink_waiter(pool, waiter);
        waiter->state = WAITER_IDLE;
    } else if (waiter->state == WAITER_ASSIGNED) {
        CHECK(pool_release(pool, pool_take(pool, waiter)));
    }
}

void pool_retire(struct pool *pool, struct waiter *waiter) {
    pool_cancel(pool, waiter);
    waiter->state = WAITER_RETIRED;
}
