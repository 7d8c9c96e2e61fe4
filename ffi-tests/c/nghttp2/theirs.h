/* A stream as decoded by libnghttp2. */
#ifndef THEIRS_H
#define THEIRS_H

#include "log.h"

#include <nghttp2/nghttp2.h>

struct theirs {
    nghttp2_session *session;
    uint32_t given;
    /* It wants no more: GOAWAY came while no stream was open. */
    int is_done;
    struct log log;
};

/* Makes a session that receives this stream: it announces the same sizes, and has requested what a server answers. */
void theirs_start(struct theirs *theirs, const struct stream *stream);
void theirs_feed(struct theirs *theirs, const uint8_t *bytes, uint32_t count);

/* Whether this stream is over, or one above it was opened first: its frames may be passed over (RFC 9113 section 5.1).
   */
int theirs_has_closed(const struct theirs *theirs, uint32_t stream_id);
void theirs_end(struct theirs *theirs);

#endif /* THEIRS_H */
