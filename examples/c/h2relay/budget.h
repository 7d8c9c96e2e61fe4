/* How the receive memory is divided among buffers and parking slots. */
#ifndef H2RELAY_BUDGET_H
#define H2RELAY_BUDGET_H

#include "options.h"

#include <stdint.h>

enum { LARGE_SLOT_SIZES = 3 };

/* Slots of each thread. */
struct slots {
    uint32_t small;                   /* of 64 bytes */
    uint32_t large[LARGE_SLOT_SIZES]; /* of 256, 1024 and 4096 bytes */
};

/* As many buffers as fit into the memory that the options allow, beside the slots; 0 if not even one does. */
uint32_t budget_buffers(const struct options *options);

/* The least memory that one buffer fits into, in KiB. */
uint64_t budget_least_kib(const struct options *options);

struct slots budget_slots(const struct options *options);

#endif
