/*
 * The other side: writes frames whose payload is a counter stream, so that every byte that arrives can be checked.
 *
 * A frame is 9 bytes (length 3, type 1, flags 1, stream 4, most significant first) and its payload. A padded DATA
 * frame starts with the length of its padding. A header block is a HEADERS frame and the CONTINUATION frames up to the
 * one with END_HEADERS. The first bytes of all are the preface.
 */

#ifndef TASKLET_PEER_H
#define TASKLET_PEER_H

#include "lower.h"

enum { PREFACE_BYTES = 24, HEADER_BYTES = 9, PING_BYTES = 8, STREAMS = 8 };
enum frame_kind { FRAME_DATA = 0, FRAME_HEADERS = 1, FRAME_PING = 6, FRAME_CONTINUATION = 9 };
enum frame_flag { FLAG_END_HEADERS = 4, FLAG_PADDED = 8 };

struct peer {
    uint8_t *bytes; /* written and not sent yet */
    size_t bytes_max;
    uint32_t level;
    uint64_t written;       /* all bytes ever written */
    uint32_t sent[STREAMS]; /* data bytes of each stream */
    uint32_t block_bytes;   /* bytes of header blocks */
    uint32_t frames;        /* DATA frames, pings and header blocks */
};

/* Byte `offset` of counter stream `key`: 0 for header blocks, else the stream's number. */
static inline uint8_t pattern(uint32_t key, uint32_t offset) {
    return (uint8_t)(offset * 7 + (offset >> 8) * 13 + key * 29);
}

uint8_t preface_byte(uint32_t offset);
void peer_preface(struct peer *peer);
void peer_data(struct peer *peer, uint32_t stream, uint32_t bytes, uint32_t padding);
void peer_padded(struct peer *peer, uint32_t stream, uint32_t bytes, uint32_t padding);
void peer_block(struct peer *peer, uint32_t bytes, uint32_t pieces);
void peer_ping(struct peer *peer);
/* A frame of a type that is an error. */
void peer_nonsense(struct peer *peer);

/* Sends the first bytes of what is written, at most `bytes`. */
void peer_send(struct peer *peer, struct lower *lower, uint32_t bytes);
void peer_send_all(struct peer *peer, struct lower *lower);
/* Takes them for the start of a connection that is attached with them. */
void peer_take(struct peer *peer, uint8_t *area, uint32_t bytes);
void peer_close(struct peer *peer);

#endif
