#include "peer.h"

#include "support.h"

#include <string.h>

static void put(struct peer *peer, uint8_t byte) {
    if (peer->level == peer->bytes_max) {
        peer->bytes_max = 2 * peer->bytes_max + 64;
        peer->bytes = must_have(realloc(peer->bytes, peer->bytes_max));
    }
    peer->bytes[peer->level++] = byte;
    peer->written++;
}

static void put_header(struct peer *peer, uint32_t bytes, uint8_t kind, uint8_t flags, uint32_t stream) {
    const uint8_t header[HEADER_BYTES] = {
        (uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8), (uint8_t)bytes, kind, flags, 0, 0, 0, (uint8_t)stream,
    };
    for (int at = 0; at < HEADER_BYTES; at++) {
        put(peer, header[at]);
    }
}

uint8_t preface_byte(uint32_t offset) {
    return (uint8_t)(0xa0 + offset);
}

void peer_preface(struct peer *peer) {
    for (uint32_t at = 0; at < PREFACE_BYTES; at++) {
        put(peer, preface_byte(at));
    }
}

static void put_data(struct peer *peer, uint32_t stream, uint32_t bytes) {
    for (uint32_t at = 0; at < bytes; at++) {
        put(peer, pattern(stream + 1, peer->sent[stream]++));
    }
    peer->frames++;
}

void peer_data(struct peer *peer, uint32_t stream, uint32_t bytes, uint32_t padding) {
    if (padding > 0) {
        peer_padded(peer, stream, bytes, padding);
        return;
    }
    put_header(peer, bytes, FRAME_DATA, 0, stream);
    put_data(peer, stream, bytes);
}

void peer_padded(struct peer *peer, uint32_t stream, uint32_t bytes, uint32_t padding) {
    CHECK(padding < 256);
    put_header(peer, 1 + bytes + padding, FRAME_DATA, FLAG_PADDED, stream);
    put(peer, (uint8_t)padding);
    put_data(peer, stream, bytes);
    for (uint32_t at = 0; at < padding; at++) {
        put(peer, 0xff);
    }
}

void peer_block(struct peer *peer, uint32_t bytes, uint32_t pieces) {
    CHECK(pieces > 0);
    for (uint32_t piece = 0; piece < pieces; piece++) {
        uint32_t length = bytes / pieces + (piece < bytes % pieces ? 1 : 0);
        put_header(peer, length, piece == 0 ? FRAME_HEADERS : FRAME_CONTINUATION,
                   piece + 1 == pieces ? FLAG_END_HEADERS : 0, 1);
        for (uint32_t at = 0; at < length; at++) {
            put(peer, pattern(0, peer->block_bytes++));
        }
    }
    peer->frames++;
}

void peer_ping(struct peer *peer) {
    put_header(peer, PING_BYTES, FRAME_PING, 0, 0);
    for (uint32_t at = 0; at < PING_BYTES; at++) {
        put(peer, (uint8_t)at);
    }
    peer->frames++;
}

void peer_nonsense(struct peer *peer) {
    put_header(peer, 0, 0x77, 0, 0);
}

void peer_take(struct peer *peer, uint8_t *area, uint32_t bytes) {
    CHECK(bytes <= peer->level);
    memcpy(area, peer->bytes, bytes);
    peer->level -= bytes;
    memmove(peer->bytes, peer->bytes + bytes, peer->level);
}

void peer_send(struct peer *peer, struct lower *lower, uint32_t bytes) {
    bytes = least(bytes, peer->level);
    if (bytes == 0) {
        return;
    }
    lower_push(lower, peer->bytes, bytes);
    peer->level -= bytes;
    memmove(peer->bytes, peer->bytes + bytes, peer->level);
}

void peer_send_all(struct peer *peer, struct lower *lower) {
    peer_send(peer, lower, peer->level);
}

void peer_close(struct peer *peer) {
    free(peer->bytes);
    memset(peer, 0, sizeof *peer);
}
