/* A stream as decoded by `demuxbuf_h2_peek` and its like. */
#ifndef OURS_H
#define OURS_H

#include "log.h"

struct ours {
    const struct stream *stream;
    demuxbuf_h2_decoder decoder;
    /* Where the front of what is not accepted yet lies in the stream. */
    uint32_t front;
    uint32_t given;
    /* The frame at the front, if its head was seen. */
    demuxbuf_h2_next next;
    int has_head;
    uint32_t sizes_acknowledged;
    uint32_t max_frame_size;
    /* The stream of the unfinished header block; 0 for none. */
    uint32_t block_id;
    struct log log;
};

/* Whether it has refused a frame, with an error of the connection or of a stream. */
static inline int ours_refuses(const struct ours *ours) {
    return ours->log.error_code != 0 || ours->log.stream_error_code != 0;
}

void ours_start(struct ours *ours, const struct stream *stream);

/* This many more bytes of the stream have arrived. */
void ours_feed(struct ours *ours, uint32_t count);

#endif /* OURS_H */
