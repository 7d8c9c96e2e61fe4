#include "ring.h"

#include "support.h"

#include <string.h>

struct ring ring_over(uint8_t *area, uint32_t size, enum ring_owner owner) {
    return (struct ring){.area = area, .size = size, .owner = owner};
}

uint8_t *ring_tail(struct ring *ring, uint32_t *contiguous) {
    uint32_t tail = ring->head + ring->data;
    if (tail >= ring->size) {
        tail -= ring->size;
    }
    *contiguous = least(ring_room(ring), ring->size - tail);
    return ring->area + tail;
}

bool ring_wraps_within(const struct ring *ring, uint32_t bytes) {
    return ring->head + bytes > ring->size;
}

uint8_t ring_at(const struct ring *ring, uint32_t offset) {
    CHECK(offset < ring->data);
    uint32_t place = ring->head + offset;
    return ring->area[place < ring->size ? place : place - ring->size];
}

void ring_cut(struct ring *ring, uint32_t bytes) {
    CHECK(bytes <= ring->data);
    ring->data -= bytes;
    ring->head += bytes;
    if (ring->head >= ring->size) {
        ring->head -= ring->size;
    }
    if (ring->data == 0) {
        ring->head = 0;
    }
}

static void reverse(uint8_t *area, uint32_t from, uint32_t to) {
    while (from + 1 < to) {
        uint8_t byte = area[from];
        area[from++] = area[--to];
        area[to] = byte;
    }
}

void ring_fold(struct ring *ring) {
    reverse(ring->area, 0, ring->head);
    reverse(ring->area, ring->head, ring->size);
    reverse(ring->area, 0, ring->size);
    ring->head = 0;
}

void ring_put(struct ring *ring, const uint8_t *bytes, uint32_t count) {
    CHECK(count <= ring_room(ring));
    while (count > 0) {
        uint32_t contiguous;
        uint8_t *tail = ring_tail(ring, &contiguous);
        uint32_t piece = least(count, contiguous);
        memcpy(tail, bytes, piece);
        ring->data += piece;
        bytes += piece;
        count -= piece;
    }
}

void ring_move(struct ring *to, struct ring *from, uint32_t bytes) {
    CHECK(bytes <= from->data && bytes <= ring_room(to));
    while (bytes > 0) {
        uint32_t piece = least(bytes, from->size - from->head);
        ring_put(to, from->area + from->head, piece);
        ring_cut(from, piece);
        bytes -= piece;
    }
}
