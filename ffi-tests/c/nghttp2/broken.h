/* Streams that break one rule of the frame layer in their last frame, and the error of each of the two. */
#ifndef BROKEN_H
#define BROKEN_H

#include "stream.h"

struct rule {
    const char *name;
    /* Adds the frame that breaks it. */
    void (*add)(struct stream *stream);
    /* Which sides can: a mask of CLIENT and SERVER. */
    uint32_t sides;
    /* The rule breaks the first frames, so no others stand before. */
    int is_first;
    /* The error code, and whether it is only an error of the stream. */
    uint32_t ours;
    int is_of_stream;
    /* The error of libnghttp2, always of the connection; 0: none. */
    uint32_t theirs;
    /* Why that differs, with the section of RFC 9113; NULL if it does not. */
    const char *difference;
};

enum { CLIENT = 1 << DEMUXBUF_H2_CLIENT, SERVER = 1 << DEMUXBUF_H2_SERVER, BOTH = CLIENT | SERVER };

extern const struct rule rules[];
extern const uint32_t rules_count;

#endif /* BROKEN_H */
