/*
 * A ring: `data` bytes from `head` on, wrapping at `size`. It is cut at the front, folded in place, and swapped whole.
 */

#ifndef TASKLET_RING_H
#define TASKLET_RING_H

#include <stdbool.h>
#include <stdint.h>

/* Where the area belongs to. */
enum ring_owner { RING_OF_POOL, RING_OF_MALLOC, RING_OF_SLOT };

struct ring {
    uint8_t *area; /* NULL: no memory, and size is 0 */
    uint32_t size;
    uint32_t head;
    uint32_t data;
    enum ring_owner owner;
};

static inline uint32_t ring_room(const struct ring *ring) {
    return ring->size - ring->data;
}

/* An empty ring over this memory. */
struct ring ring_over(uint8_t *area, uint32_t size, enum ring_owner owner);

/* Where the next byte goes, and how many fit there in one piece. */
uint8_t *ring_tail(struct ring *ring, uint32_t *contiguous);

/* Whether the first `bytes` bytes lie in two pieces. */
bool ring_wraps_within(const struct ring *ring, uint32_t bytes);

/* The byte at `offset` from the front. */
uint8_t ring_at(const struct ring *ring, uint32_t offset);

/* Takes bytes off the front without moving any. An empty ring starts at its beginning again. */
void ring_cut(struct ring *ring, uint32_t bytes);

/* Turns the area in place until the front is at its beginning. */
void ring_fold(struct ring *ring);

/* Appends bytes that there is room for. */
void ring_put(struct ring *ring, const uint8_t *bytes, uint32_t count);

/* Moves bytes from the front of one ring to the end of another; both must allow it. */
void ring_move(struct ring *to, struct ring *from, uint32_t bytes);

#endif
