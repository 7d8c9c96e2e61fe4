/* The frame layer: which bytes of a stream of frames may be passed on now, and what they are. */
#ifndef H2RELAY_FRAMES_H
#define H2RELAY_FRAMES_H

#include "demuxbuf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAME_HEAD_BYTES = 9 };

/* The ten types of RFC 9113 section 6, and everything else. */
enum { FRAME_KINDS = 11 };

/* Counts of the frames of one side, over all connections. */
struct frame_counts {
    uint64_t by_kind[FRAME_KINDS];
    uint64_t streams_opened;
    uint64_t streams_ended;
    uint64_t oversized;
};

/* Names of the types, in lower case; the last is "other". */
extern const char *const FRAME_NAMES[FRAME_KINDS];

/* Error codes the relay sends by itself (RFC 9113 section 7). */
enum { H2_PROTOCOL_ERROR = 1, H2_INTERNAL_ERROR = 2, H2_ENHANCE_YOUR_CALM = 11 };

/* The frames that one side of a connection sends. Each of two gates knows the other, and its settings limit the other's
   frames. */
struct gate {
    demuxbuf_h2_decoder decoder;
    struct gate *other;
    struct frame_counts *counts;
    /* Bytes from the front on that may be passed on, also those of a frame that have not arrived yet: 0 exactly if
       what was passed on ends with a whole frame. */
    uint32_t cleared;
    uint32_t last_stream_id;
    /* The longest payload this side may send: the largest limit that the other side announced and that this side
       may still go by, as it has not acknowledged a later one. */
    uint32_t limit;
    /* The limit that this side announced last, and how many of its SETTINGS are not acknowledged yet. */
    uint32_t announced;
    uint32_t unacknowledged;
    bool is_server;
    bool preface_passed;
    bool frame_passed;
    /* The next frame fits into no buffer, and its head was not received when that was found. */
    bool is_misfit;
};

/* The bytes that are cleared, and what a look at the next ones found. */
struct gate_view {
    uint32_t need_more;  /* bytes that must arrive before more can be cleared; 0 if all are cleared */
    uint32_t error_code; /* not 0: what stands there breaks a rule */
};

void gate_open(struct gate *gate, struct gate *other, struct frame_counts *counts, bool is_server);

/* Clears all frames that may be passed on: DATA as soon as its header has arrived, any other frame once it is whole, or
   at once if `cannot_fit` is set: then the first frame never will be. */
struct gate_view gate_look(struct gate *gate, const uint8_t *data, uint32_t bytes, bool cannot_fit);

/* The bytes that are needed from the first one of `data` on before any of them are worth receiving: a whole frame, as
   far as a buffer has room for it. Nothing is cleared. */
uint32_t gate_needs(const struct gate *gate, const uint8_t *data, uint32_t bytes, uint32_t buffer_bytes);

/* The longest farewell. */
enum { FAREWELL_BYTES_MAX = 24 + 9 + 17 };

/* Writes what ends the stream that `sent` describes with an error: GOAWAY, and what the receiver must have seen
   before it. `received` is the gate of the receiver's own frames. Returns the length in bytes. */
size_t farewell_write(uint8_t out[FAREWELL_BYTES_MAX], const struct gate *sent, const struct gate *received,
                      uint32_t error_code);

#endif
