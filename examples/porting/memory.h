/* Buffers of a host's own, and the queue for them, as a proxy has them before it uses the library. */
#ifndef PORTING_MEMORY_H
#define PORTING_MEMORY_H

#include "../embed/c/server.h"
#include <sys/queue.h>

struct waiter {
    TAILQ_ENTRY(waiter) link;
    uint8_t *buffer; /* assigned and not picked up yet; NULL while it is queued */
};

struct memory {
    TAILQ_HEAD(, waiter) waiters;
    void (*assigned_to)(struct waiter *); /* called inside of `memory_release` */
    uint8_t *arena, *free;                /* a free buffer begins with the address of the next */
    uint32_t leased, assigned, waiting;
    uint64_t queued, memory_bytes;
};

/* A released buffer is the next waiter's at once: no later request overtakes it. */
static void memory_release(struct memory *self, uint8_t *buffer) {
    struct waiter *next = TAILQ_FIRST(&self->waiters);
    self->leased--;
    if (next == NULL) {
        memcpy(buffer, &self->free, sizeof self->free);
        self->free = buffer;
        return;
    }
    TAILQ_REMOVE(&self->waiters, next, link);
    next->buffer = buffer;
    self->waiting--;
    self->assigned++;
    self->assigned_to(next);
}

/* Buffers of all memory of --memory-kib. */
static void memory_open(struct memory *self, const embed_options *options, void (*assigned_to)(struct waiter *)) {
    size_t buffers = options->memory_kib * 1024 / BUFFER_BYTES;
    *self = (struct memory){.assigned_to = assigned_to, .memory_bytes = buffers * BUFFER_BYTES};
    TAILQ_INIT(&self->waiters);
    self->arena = malloc(self->memory_bytes);
    if (self->arena == NULL) {
        fprintf(stderr, "--memory-kib is %lu; there is less memory\n", options->memory_kib);
        exit(1);
    }
    self->leased = (uint32_t)buffers;
    for (size_t at = 0; at < buffers; at++)
        memory_release(self, self->arena + at * BUFFER_BYTES);
}

/* A buffer, or NULL: the waiter is queued. */
static uint8_t *memory_request(struct memory *self, struct waiter *waiter) {
    uint8_t *buffer = self->free;
    waiter->buffer = NULL;
    if (buffer != NULL) {
        memcpy(&self->free, buffer, sizeof self->free);
        self->leased++;
    } else {
        TAILQ_INSERT_TAIL(&self->waiters, waiter, link);
        self->waiting++;
        self->queued++;
    }
    return buffer;
}

/* The buffer that was assigned; NULL if none is. */
static uint8_t *memory_pick_up(struct memory *self, struct waiter *waiter) {
    uint8_t *buffer = waiter->buffer;
    waiter->buffer = NULL;
    self->assigned -= buffer != NULL;
    self->leased += buffer != NULL;
    return buffer;
}

/* Leaves the queue; a buffer that is assigned already goes to the next waiter. */
static void memory_cancel(struct memory *self, struct waiter *waiter) {
    uint8_t *buffer = memory_pick_up(self, waiter);
    if (buffer != NULL) {
        memory_release(self, buffer);
    } else {
        TAILQ_REMOVE(&self->waiters, waiter, link);
        self->waiting--;
    }
}

/* The statistics at the end, to which those of the memory are added; it is freed. Returns the exit status. */
static int memory_finish(struct memory *self, embed_stats *stats, const embed_counts *counts) {
    stats->leased = self->leased;
    stats->assigned = self->assigned;
    stats->waiting = self->waiting;
    stats->queued = self->queued;
    stats->memory_bytes = self->memory_bytes;
    free(self->arena);
    return embed_print(stats, counts);
}

#endif
