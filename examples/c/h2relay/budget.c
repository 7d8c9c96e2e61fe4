#include "budget.h"

#include <stdbool.h>

enum { SMALL_SLOT_BYTES = 64 };

static const uint32_t LARGE_SLOT_BYTES[LARGE_SLOT_SIZES] = {256, 1024, 4096};

/* How many slots of the larger sizes the largest partial frame needs. No size is larger than a buffer, which has to
   take back the content of a slot. */
static uint32_t large_sizes(const struct options *options) {
    uint32_t sizes = 0;
    uint32_t smaller_bytes = SMALL_SLOT_BYTES;
    while (sizes < LARGE_SLOT_SIZES && options->park_bytes > smaller_bytes &&
           LARGE_SLOT_BYTES[sizes] <= options->buffer_bytes) {
        smaller_bytes = LARGE_SLOT_BYTES[sizes++];
    }
    return sizes;
}

/* A small slot for each side of each connection, on whatever thread: all may wait, and each has its lifeline (a parking
   slot lent to a waiting receiver). Each larger size gets `slot_percent` of the buffers' memory, shared equally by the
   threads. */
static struct slots slots_of(const struct options *options, uint64_t each_bytes) {
    struct slots slots = {.small = options->park_bytes == 0 ? 0 : 2 * options->connections_max};
    for (uint32_t size = 0; size < large_sizes(options); size++) {
        uint64_t count = each_bytes / options->threads / LARGE_SLOT_BYTES[size];
        /* No more than there are partial frames. */
        slots.large[size] = count < slots.small ? (uint32_t)count : slots.small;
    }
    return slots;
}

static bool fits(const struct options *options, uint32_t buffers, uint64_t each_bytes) {
    struct slots slots = slots_of(options, each_bytes);
    uint64_t bytes = (uint64_t)slots.small * SMALL_SLOT_BYTES;
    for (uint32_t size = 0; size < LARGE_SLOT_SIZES; size++) {
        bytes += (uint64_t)slots.large[size] * LARGE_SLOT_BYTES[size];
    }
    bytes *= options->threads;
    return bytes + (uint64_t)buffers * options->buffer_bytes <= (uint64_t)options->memory_kib * 1024;
}

/* The memory of each larger size of slot, in proportion to the buffers. */
static uint64_t proportion(const struct options *options, uint32_t buffers) {
    return (uint64_t)buffers * options->buffer_bytes * options->slot_percent / 100;
}

uint32_t budget_buffers(const struct options *options) {
    uint32_t most = 0;
    for (uint32_t more = UINT32_C(1) << 19; more > 0; more /= 2) {
        uint32_t buffers = most + more;
        if (buffers <= BUFFERS_MAX && fits(options, buffers, proportion(options, buffers))) {
            most = buffers;
        }
    }
    /* Without a buffer there is no relay, so that the first comes before its slots. */
    return most == 0 && fits(options, 1, 0) ? 1 : most;
}

struct slots budget_slots(const struct options *options) {
    if (options->memory_kib == 0) {
        return slots_of(options, proportion(options, options->buffers));
    }
    /* The memory that the buffers leave. */
    uint64_t most = 0;
    for (uint64_t more = UINT64_C(1) << 41; more > 0; more /= 2) {
        most += fits(options, options->buffers, most + more) ? more : 0;
    }
    return slots_of(options, most);
}

uint64_t budget_least_kib(const struct options *options) {
    uint64_t small = slots_of(options, 0).small;
    return (small * SMALL_SLOT_BYTES * options->threads + options->buffer_bytes + 1023) / 1024;
}
