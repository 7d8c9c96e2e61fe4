/* What a border alone costs: a buffer of its own for each connection, as in own.c, behind the same three calls as
 * receivers are. Each checks what the library's contract asks for, the pool, the handle and the length, and does next
 * to nothing else: no pool, no queue, no class, no policy, no counts. No library with these calls can be cheaper. */
#include "host.h"

#include <stdbool.h>
#include <stddef.h>

enum { STEP_RECEIVE = 1, STEP_DECODE = 2, STEP_ERROR = 4 };

typedef struct {
    char *data;
    uint32_t bytes;
    uint32_t actions;
} step_t;

typedef struct {
    char *area;
    uint32_t level;
    uint32_t generation; /* 0 for one that is not attached */
} entry_t;

typedef struct {
    entry_t *entries;
    uint32_t count;
    bool is_poisoned;
} table_t;

static entry_t entries[CONNECTIONS];
static table_t connections = {entries, CONNECTIONS, false};
static uint64_t handles[CONNECTIONS];
static bool is_armed[CONNECTIONS];

static const step_t nothing, refused = {NULL, 0, STEP_ERROR};

static inline entry_t *find(table_t *table, uint64_t handle) {
    uint32_t index = (uint32_t)handle, generation = (uint32_t)(handle >> 32);
    if (table == NULL || table->is_poisoned || index >= table->count)
        return NULL;
    entry_t *entry = &table->entries[index];
    return entry->generation == generation && generation != 0 ? entry : NULL;
}

/* In a program that is linked to a library the compiler sees nothing of these. */
#define BORDER static __attribute__((noipa))

BORDER step_t readable(table_t *table, uint64_t handle) {
    entry_t *entry = find(table, handle);
    if (entry == NULL)
        return refused;
    return (step_t){entry->area + entry->level, BUFFER_BYTES - entry->level, STEP_RECEIVE};
}

BORDER step_t received(table_t *table, uint64_t handle, uint32_t bytes) {
    entry_t *entry = find(table, handle);
    if (entry == NULL || bytes == 0 || bytes > BUFFER_BYTES - entry->level)
        return refused;
    entry->level += bytes;
    return (step_t){entry->area, entry->level, STEP_DECODE};
}

BORDER step_t decoded(table_t *table, uint64_t handle, uint32_t consumed, uint32_t need_more) {
    entry_t *entry = find(table, handle);
    if (entry == NULL || need_more != 0 || consumed != entry->level)
        return refused;
    entry->level = 0;
    return nothing;
}

static void cycle(unsigned index) {
    if (!is_armed[index])
        return;
    step_t step = readable(&connections, handles[index]);
    while ((step.actions & (STEP_RECEIVE | STEP_DECODE)) != 0) {
        if ((step.actions & STEP_RECEIVE) != 0)
            step = received(&connections, handles[index], transport_receive(index, step.data, step.bytes));
        else
            step = decoded(&connections, handles[index], run_decoder(step.data, step.bytes), 0);
    }
    if (step.actions != 0)
        fail("there is something else to do");
}

static void end_iteration(void) {
}

static void start(void) {
    char *memory = allocate((size_t)CONNECTIONS * BUFFER_BYTES);
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        entries[i] = (entry_t){memory + (size_t)i * BUFFER_BYTES, 0, i + 1};
        handles[i] = (uint64_t)(i + 1) << 32 | i;
        is_armed[i] = true;
    }
}

static void finish(uint64_t cycles) {
    (void)cycles;
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        if (entries[i].level != 0)
            fail("a connection did not come to rest");
    }
}
