/* The pool of the best present proxies: everything belongs to one thread, so there is no lock. Free buffers are a list
 * that is linked through the buffers themselves, the one used last first. A connection that gets none queues by how
 * critical its need is, and the less critical leave a reserve. A release wakes as many waiters as may have a buffer,
 * and they try again. */
#ifndef PER_THREAD_H
#define PER_THREAD_H

#include "waiter.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    void **first_free;
    uint32_t free;
    uint32_t waiting_levels; /* a bit for each level with a waiter */
    uint32_t reserves[LEVELS];
    waiter_t *first[LEVELS], **last[LEVELS];
    waiter_t *woken;
} pool_t;

static pool_t pool;

static void pool_start(char *memory, uint32_t buffers, uint32_t buffer_bytes) {
    for (uint32_t level = 0; level < LEVELS; level++) {
        pool.reserves[level] = level;
        pool.last[level] = &pool.first[level];
    }
    for (uint32_t i = 0; i < buffers; i++) {
        void **buffer = (void **)(void *)(memory + (size_t)i * buffer_bytes);
        *buffer = pool.first_free;
        pool.first_free = buffer;
        pool.free++;
    }
}

__attribute__((noinline, cold)) static void pool_queue(waiter_t *waiter, uint32_t level) {
    waiter->next = NULL;
    waiter->previous = pool.last[level];
    *pool.last[level] = waiter;
    pool.last[level] = &waiter->next;
    pool.waiting_levels |= 1u << level;
}

/* The most critical first, each level down to its reserve. */
__attribute__((noinline, cold)) static void pool_wake(void) {
    uint32_t left = pool.free;
    for (uint32_t level = 0; level < LEVELS; level++) {
        while (pool.first[level] != NULL && left > pool.reserves[level]) {
            waiter_t *waiter = pool.first[level];
            pool.first[level] = waiter->next;
            if (waiter->next != NULL)
                waiter->next->previous = &pool.first[level];
            else
                pool.last[level] = &pool.first[level];
            waiter->woken = pool.woken;
            pool.woken = waiter;
            left--;
        }
        if (pool.first[level] == NULL)
            pool.waiting_levels &= ~(1u << level);
    }
}

/* A buffer, or NULL and a place in the queue. A newcomer does not overtake a waiter of its level or a more critical
   one. */
static inline void *pool_take(waiter_t *waiter, uint32_t level) {
    uint32_t as_critical = (2u << level) - 1;
    if ((pool.waiting_levels & as_critical) != 0 || pool.free <= pool.reserves[level]) {
        pool_queue(waiter, level);
        return NULL;
    }
    void **buffer = pool.first_free;
    pool.first_free = *buffer;
    pool.free--;
    return buffer;
}

static inline void pool_give(void *memory) {
    void **buffer = memory;
    *buffer = pool.first_free;
    pool.first_free = buffer;
    pool.free++;
    if (pool.waiting_levels != 0)
        pool_wake();
}

/* The next connection that may try again, or NULL. */
static inline waiter_t *pool_woken(void) {
    waiter_t *waiter = pool.woken;
    if (waiter != NULL)
        pool.woken = waiter->woken;
    return waiter;
}

static bool pool_is_at_rest(uint32_t buffers) {
    return pool.free == buffers && pool.waiting_levels == 0 && pool.woken == NULL;
}

#endif
