/* The pool of 2017: one lock around the free list, and one queue, for all threads. A spin lock: uncontended it is the
 * cheapest there is. */
#ifndef ONE_LOCK_H
#define ONE_LOCK_H

#include "waiter.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

static atomic_flag lock = ATOMIC_FLAG_INIT;
static void **first_free;
static uint32_t free_count;
static waiter_t *first_waiter, **last_waiter = &first_waiter;
static waiter_t *first_woken;

static inline void acquire(void) {
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        ;
}

static inline void release(void) {
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

static void pool_start(char *memory, uint32_t buffers, uint32_t buffer_bytes) {
    for (uint32_t i = 0; i < buffers; i++) {
        void **buffer = (void **)(void *)(memory + (size_t)i * buffer_bytes);
        *buffer = first_free;
        first_free = buffer;
        free_count++;
    }
}

/* A buffer, or NULL and a place in the queue, which knows no levels. */
static inline void *pool_take(waiter_t *waiter, uint32_t level) {
    (void)level;
    acquire();
    void **buffer = first_waiter == NULL ? first_free : NULL;
    if (buffer != NULL) {
        first_free = *buffer;
        free_count--;
    } else {
        waiter->next = NULL;
        waiter->previous = last_waiter;
        *last_waiter = waiter;
        last_waiter = &waiter->next;
    }
    release();
    return buffer;
}

static inline void pool_give(void *memory) {
    void **buffer = memory;
    acquire();
    *buffer = first_free;
    first_free = buffer;
    free_count++;
    waiter_t *waiter = first_waiter;
    if (waiter != NULL) {
        first_waiter = waiter->next;
        if (first_waiter != NULL)
            first_waiter->previous = &first_waiter;
        else
            last_waiter = &first_waiter;
        waiter->woken = first_woken;
        first_woken = waiter;
    }
    release();
}

/* The next connection that may try again, or NULL. */
static inline waiter_t *pool_woken(void) {
    acquire();
    waiter_t *waiter = first_woken;
    if (waiter != NULL)
        first_woken = waiter->woken;
    release();
    return waiter;
}

static bool pool_is_at_rest(uint32_t buffers) {
    return free_count == buffers && first_waiter == NULL && first_woken == NULL;
}

#endif
