/* The decoder: frames out of the ring, in place, across the wrap. */

#include "mux.h"

#include "support.h"

#include <string.h>

enum verdict { GO_ON, SHORT, BLOCKED, FATAL };

struct header {
    uint32_t bytes;
    uint8_t kind;
    uint8_t flags;
    uint32_t stream;
};

static struct header header_at(struct mux *mux, uint32_t offset) {
    const struct ring *ring = &mux->ring;
    mux->wraps += ring_wraps_within(ring, offset + HEADER_BYTES);
    return (struct header){
        .bytes = (uint32_t)ring_at(ring, offset) << 16 | (uint32_t)ring_at(ring, offset + 1) << 8 |
                 ring_at(ring, offset + 2),
        .kind = ring_at(ring, offset + 3),
        .flags = ring_at(ring, offset + 4),
        .stream = ring_at(ring, offset + 8),
    };
}

static enum verdict decode_preface(struct mux *mux) {
    if (mux->ring.data < PREFACE_BYTES) {
        return SHORT;
    }
    for (uint32_t at = 0; at < PREFACE_BYTES; at++) {
        if (ring_at(&mux->ring, at) != preface_byte(at)) {
            return FATAL;
        }
    }
    ring_cut(&mux->ring, PREFACE_BYTES);
    mux->preface_seen = true;
    return GO_ON;
}

static enum verdict go_on_in_data(struct mux *mux) {
    mux->frames += mux->payload_left == 0 && mux->padding_left == 0;
    return GO_ON;
}

/* The piece of an open DATA frame that has arrived goes to its stream. */
static enum verdict decode_payload(struct mux *mux) {
    struct ring *ring = &mux->ring, *stream = &mux->streams[mux->stream];
    if (ring->data == 0) {
        return SHORT;
    }
    bool is_all_payload = ring->data <= mux->payload_left;
    if (stream->area == NULL && ring->owner != RING_OF_SLOT && is_all_payload && ring->data > ring->size / 2) {
        /* Nothing but this stream's bytes: the whole ring changes hands, and no byte is copied. */
        mux->payload_left -= ring->data;
        *stream = *ring;
        memset(ring, 0, sizeof *ring);
        mux->swaps++;
        return go_on_in_data(mux);
    }
    if (!mux_obtain(mux, stream, NEED_STREAM, BLOCK_STREAM_BUFFER)) {
        return BLOCKED;
    }
    uint32_t bytes = least(least(mux->payload_left, ring->data), ring_room(stream));
    if (bytes == 0) {
        mux->blocked |= BLOCK_STREAM_FULL;
        return BLOCKED;
    }
    ring_move(stream, ring, bytes);
    mux->payload_left -= bytes;
    return go_on_in_data(mux);
}

/* Only what arrived is skipped. */
static enum verdict decode_padding(struct mux *mux) {
    uint32_t bytes = least(mux->padding_left, mux->ring.data);
    if (bytes == 0) {
        return SHORT;
    }
    ring_cut(&mux->ring, bytes);
    mux->padding_left -= bytes;
    return go_on_in_data(mux);
}

static enum verdict decode_data(struct mux *mux, struct header header) {
    uint32_t padding = 0, front = HEADER_BYTES;
    if (header.flags & FLAG_PADDED) {
        if (mux->ring.data <= HEADER_BYTES) {
            return SHORT;
        }
        padding = ring_at(&mux->ring, HEADER_BYTES);
        front++;
    }
    if (header.stream >= STREAMS || header.bytes < front - HEADER_BYTES + padding) {
        return FATAL;
    }
    ring_cut(&mux->ring, front);
    mux->stream = header.stream;
    mux->padding_left = padding;
    mux->payload_left = header.bytes - (front - HEADER_BYTES) - padding;
    return go_on_in_data(mux);
}

static enum verdict decode_ping(struct mux *mux, struct header header) {
    if (header.bytes != PING_BYTES) {
        return FATAL;
    }
    if (mux->ring.data < HEADER_BYTES + PING_BYTES) {
        return SHORT;
    }
    if (!mux_obtain(mux, &mux->transmit, NEED_TRANSMIT, BLOCK_TRANSMIT_BUFFER)) {
        return BLOCKED;
    }
    if (ring_room(&mux->transmit) < ACK_BYTES) {
        mux->blocked |= BLOCK_TRANSMIT_FULL;
        return BLOCKED;
    }
    const uint8_t ack[ACK_BYTES] = "ack";
    ring_put(&mux->transmit, ack, ACK_BYTES);
    ring_cut(&mux->ring, HEADER_BYTES + PING_BYTES);
    mux->frames++;
    return GO_ON;
}

/* A header block is taken whole, up to its last CONTINUATION, and lies in one piece then. */
static enum verdict decode_block(struct mux *mux) {
    struct ring *ring = &mux->ring;
    uint32_t block = 0;
    for (struct header header = {0}; !(header.flags & FLAG_END_HEADERS);) {
        if (ring->data < block + HEADER_BYTES) {
            return SHORT;
        }
        header = header_at(mux, block);
        if (header.kind != (block == 0 ? FRAME_HEADERS : FRAME_CONTINUATION)) {
            return FATAL;
        }
        if (ring->data < block + HEADER_BYTES + header.bytes) {
            return SHORT;
        }
        block += HEADER_BYTES + header.bytes;
    }
    if (ring_wraps_within(ring, block)) {
        ring_fold(ring);
        mux->folds++;
    }
    const uint8_t *front = ring->area + ring->head;
    for (uint32_t at = 0; at < block;) {
        uint32_t end = at + HEADER_BYTES + ((uint32_t)front[at] << 16 | (uint32_t)front[at + 1] << 8 | front[at + 2]);
        for (at += HEADER_BYTES; at < end; at++) {
            CHECK_NUMBER(front[at], pattern(0, mux->block_bytes++));
        }
    }
    ring_cut(ring, block);
    mux->frames++;
    return GO_ON;
}

static enum verdict decode_frame(struct mux *mux) {
    if (mux->ring.data < HEADER_BYTES) {
        return SHORT;
    }
    struct header header = header_at(mux, 0);
    switch (header.kind) {
    case FRAME_DATA: return decode_data(mux, header);
    case FRAME_HEADERS: return decode_block(mux);
    case FRAME_PING: return decode_ping(mux, header);
    default: return FATAL;
    }
}

static enum verdict decode_step(struct mux *mux) {
    if (!mux->preface_seen) {
        return decode_preface(mux);
    }
    if (mux->payload_left == 0 && mux->padding_left == 0) {
        return decode_frame(mux);
    }
    return mux->payload_left > 0 ? decode_payload(mux) : decode_padding(mux);
}

bool mux_decode(struct mux *mux) {
    mux->lacks_data = false;
    for (uint32_t steps = 0; mux->blocked == 0; steps++) {
        if (mux->run_frames >= FRAMES_PER_RUN && mux->ring.data > 0) {
            return true;
        }
        uint32_t frames = mux->frames;
        enum verdict verdict = decode_step(mux);
        mux->run_frames += mux->frames - frames;
        mux->lacks_data = verdict == SHORT;
        mux->failed = verdict == FATAL;
        if (verdict != GO_ON) {
            return false;
        }
    }
    return false;
}
