#include "ours.h"

void ours_start(struct ours *ours, const struct stream *stream) {
    memset(ours, 0, sizeof *ours);
    ours->stream = stream;
    ours->max_frame_size = 16384;
    ours->next.struct_size = sizeof ours->next;
    CHECK_NUMBER(demuxbuf_h2_init(&ours->decoder, stream->side), DEMUXBUF_OK);
}

static void fail(struct ours *ours, uint32_t error_code) {
    ours->log.error_code = error_code;
    ours->log.error_at = ours->given;
}

/* One call answers as the look did, but that a frame other than DATA is found once it is whole. */
static void check_advance(const struct ours *ours, const uint8_t *front, uint32_t arrived, int32_t status) {
    demuxbuf_h2_decoder decoder = ours->decoder;
    demuxbuf_h2_next next = {.struct_size = sizeof next};
    const demuxbuf_h2_next *seen = &ours->next;
    CHECK_NUMBER(demuxbuf_h2_advance(&decoder, front, arrived, &next), status);
    if (status == DEMUXBUF_OK && seen->kind != DATA && seen->frame_bytes > arrived) {
        CHECK_NUMBER(next.need_more, seen->frame_bytes - arrived);
    } else {
        CHECK(next.need_more == seen->need_more && next.frame_bytes == seen->frame_bytes &&
              next.error_code == seen->error_code && next.stream_id == seen->stream_id);
    }
}

/* Looks at the front; returns whether there is a head or an error of a stream to deal with. */
static int look(struct ours *ours, uint32_t arrived) {
    const uint8_t *front = ours->stream->bytes + ours->front;
    int32_t status = demuxbuf_h2_peek(&ours->decoder, front, arrived, &ours->next);
    check_advance(ours, front, arrived, status);
    if (status == DEMUXBUF_ERR_PROTOCOL) {
        if (ours->next.stream_id == 0) {
            fail(ours, ours->next.error_code);
            return 0;
        }
        /* The others go on behind this frame, which is not accepted. */
        ours->log.stream_error_code = ours->next.error_code;
    } else {
        CHECK_NUMBER(status, DEMUXBUF_OK);
        if (ours->next.need_more > 0) {
            return 0;
        }
    }
    ours->has_head = 1;
    if (ours->next.is_preface == 0 && status == DEMUXBUF_OK) {
        CHECK(ours->log.count < FRAMES_MAX);
        ours->log.frames[ours->log.count++] = (struct frame){.seen_at = ours->given,
                                                             .length = ours->next.length,
                                                             .stream_id = ours->next.stream_id,
                                                             .kind = ours->next.kind,
                                                             .flags = ours->next.flags};
    }
    return 1;
}

/* Whether it is all there is of a frame or header block. */
static int ends_block(const demuxbuf_h2_next *next) {
    int is_of_block = next->kind == HEADERS || next->kind == PUSH_PROMISE || next->kind == CONTINUATION;
    return !is_of_block || (next->flags & END_HEADERS) != 0;
}

/* Goes on behind the frame at the front, which is whole. */
static void move_on(struct ours *ours) {
    const demuxbuf_h2_next *next = &ours->next;
    ours->front += next->frame_bytes;
    ours->has_head = 0;
    if (next->error_code != 0) {
        return;
    }
    CHECK_NUMBER(demuxbuf_h2_accept(&ours->decoder, next), DEMUXBUF_OK);
    if (next->is_preface != 0) {
        return;
    }
    ours->log.complete += (uint32_t)ends_block(next);
    ours->block_id = ends_block(next) ? 0 : next->stream_id;
    if (next->kind == SETTINGS && (next->flags & ACK) != 0 && ours->sizes_acknowledged < SIZES_MAX) {
        uint32_t size = ours->stream->sizes[ours->sizes_acknowledged++];
        CHECK_NUMBER(demuxbuf_h2_set_max_frame_size(&ours->decoder, size), DEMUXBUF_OK);
        ours->max_frame_size = size;
    }
}

void ours_feed(struct ours *ours, uint32_t count) {
    ours->given += count;
    while (ours->log.error_code == 0) {
        uint32_t arrived = ours->given - ours->front;
        if (!ours->has_head && !look(ours, arrived)) {
            return;
        }
        if (ours->next.length > 0 && arrived > HEAD_BYTES) {
            uint8_t pad_length = ours->stream->bytes[ours->front + HEAD_BYTES];
            if (demuxbuf_h2_check_padding(&ours->next, pad_length) == DEMUXBUF_ERR_PROTOCOL) {
                fail(ours, PROTOCOL_ERROR);
                return;
            }
        }
        if (arrived < ours->next.frame_bytes) {
            return;
        }
        move_on(ours);
    }
}
