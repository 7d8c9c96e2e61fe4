/*
 * Streams of HTTP/2 frames as one side would send them, made of seeded random numbers. They are valid in every layer,
 * so that an endpoint refuses them only for a broken rule of the frame layer.
 */
#ifndef STREAM_H
#define STREAM_H

#include "../check.h"

enum kind { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { ACK = 0x1, END_STREAM = 0x1, END_HEADERS = 0x4, PADDED = 0x8, WITH_PRIORITY = 0x20 };
enum {
    PROTOCOL_ERROR = 0x1,
    FLOW_CONTROL_ERROR = 0x3,
    STREAM_CLOSED = 0x5,
    FRAME_SIZE_ERROR = 0x6,
    COMPRESSION_ERROR = 0x9,
    ENHANCE_YOUR_CALM = 0xb
};

enum { STREAM_BYTES_MAX = 1 << 20, FRAMES_MAX = 4096, OPEN_MAX = 8, SIZES_MAX = 3, HEAD_BYTES = 9 };

/* A stream of the connection that its sender may still send on. */
struct open_stream {
    uint32_t id;
    /* HEADERS were sent on it: DATA may follow. */
    int has_headers;
};

struct stream {
    /* The side that sends it. */
    uint32_t side;
    uint8_t *bytes;
    uint32_t length;
    /* Where each of its frames starts. */
    uint32_t heads[FRAMES_MAX];
    uint32_t frames;
    /* The largest payloads that the receiver announces: each holds from its acknowledgement in the stream on. */
    uint32_t sizes[SIZES_MAX];
    uint32_t sizes_acknowledged;
    uint32_t max_frame_size;
    struct open_stream open[OPEN_MAX];
    uint32_t open_count;
    uint32_t next_id;
    /* This one stays open, or the receiver would be done with GOAWAY and read no further; 0 for none yet. */
    uint32_t kept_id;
    uint64_t random;
};

/* Streams that the receiver has requested when a server's stream starts: 1, 3, 5 ... */
enum { REQUESTED = 4 };

/* Starts a stream of this side with its first SETTINGS. `bytes` has room for STREAM_BYTES_MAX. */
void stream_start(struct stream *stream, uint32_t side, uint8_t *bytes, uint64_t seed);

/* Adds a frame that may stand there, or all frames of a header block. */
void stream_add(struct stream *stream);

/* Adds a frame with these fields, whatever they are. */
void stream_frame(struct stream *stream, uint32_t kind, uint32_t flags, uint32_t id, const uint8_t *payload,
                  uint32_t length);

/* Adds the preface. */
void stream_preface(struct stream *stream);

/* A stream that DATA may be sent on, opened if there is none. */
uint32_t stream_usable(struct stream *stream);

/* Fills `block` with valid header fields of exactly this length. */
void stream_fields(struct stream *stream, uint8_t *block, uint32_t length);

/* The flags that RFC 9113 section 6 knows for a type; the others must be ignored (section 4.1). */
uint8_t known_flags(uint32_t kind);

static inline uint32_t below(struct stream *stream, uint32_t limit) {
    return check_random(&stream->random) % limit;
}

#endif /* STREAM_H */
