/* The results of one of the two implementations for a stream. */
#ifndef LOG_H
#define LOG_H

#include "stream.h"

struct frame {
    /* Bytes of the stream that had been given when it was seen. */
    uint32_t seen_at;
    uint32_t length, stream_id;
    uint8_t kind, flags;
};

struct log {
    struct frame frames[FRAMES_MAX];
    uint32_t count;
    /* Frames that were whole, a header block as one. */
    uint32_t complete;
    /* The error of the connection, 0 for none yet, and the bytes that had been given. */
    uint32_t error_code;
    uint32_t error_at;
    /* The last error of a stream, 0 for none yet. */
    uint32_t stream_error_code;
    char reason[80];
};

#endif /* LOG_H */
