#include "frames.h"

#include <string.h>

enum { DATA = 0, HEADERS = 1, SETTINGS = 4, GOAWAY = 7 };
enum { FLAG_ACK = 0x1, FLAG_END_STREAM = 0x1 };
enum { SETTINGS_MAX_FRAME_SIZE = 5, SETTING_BYTES = 6 };
enum { MAX_FRAME_SIZE_MIN = 16384, MAX_FRAME_SIZE_MAX = 16777215 };

static const uint8_t PREFACE[DEMUXBUF_H2_PREFACE_BYTES + 1] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const char *const FRAME_NAMES[FRAME_KINDS] = {"data",          "headers",      "priority", "rst_stream",
                                              "settings",      "push_promise", "ping",     "goaway",
                                              "window_update", "continuation", "other"};

void gate_open(struct gate *gate, struct gate *other, struct frame_counts *counts, bool is_server) {
    *gate = (struct gate){.other = other,
                          .counts = counts,
                          .limit = MAX_FRAME_SIZE_MIN,
                          .announced = MAX_FRAME_SIZE_MIN,
                          .is_server = is_server};
    demuxbuf_h2_init(&gate->decoder, is_server ? DEMUXBUF_H2_SERVER : DEMUXBUF_H2_CLIENT);
}

static void limit_set(struct gate *gate, uint32_t bytes) {
    gate->limit = bytes;
    demuxbuf_h2_set_max_frame_size(&gate->decoder, bytes);
}

/* The side of `gate` announces settings: 0, or the error code of one that is not allowed. */
static uint32_t announce(struct gate *gate, const uint8_t *payload, uint32_t bytes) {
    for (uint32_t at = 0; at + SETTING_BYTES <= bytes; at += SETTING_BYTES) {
        const uint8_t *setting = payload + at;
        if (setting[0] != 0 || setting[1] != SETTINGS_MAX_FRAME_SIZE) {
            continue;
        }
        uint32_t value =
            (uint32_t)setting[2] << 24 | (uint32_t)setting[3] << 16 | (uint32_t)setting[4] << 8 | setting[5];
        if (value < MAX_FRAME_SIZE_MIN || value > MAX_FRAME_SIZE_MAX) {
            return H2_PROTOCOL_ERROR;
        }
        gate->announced = value;
    }
    gate->unacknowledged++;
    /* A higher limit holds as soon as the peer may have read it, a lower one only after the peer's acknowledgement. */
    if (gate->announced > gate->other->limit) {
        limit_set(gate->other, gate->announced);
    }
    return 0;
}

/* The side of `gate` acknowledges the oldest settings of the other side. */
static void acknowledge(struct gate *gate) {
    struct gate *announcer = gate->other;
    if (announcer->unacknowledged > 0 && --announcer->unacknowledged == 0) {
        limit_set(gate, announcer->announced);
    }
}

static uint32_t read_settings(struct gate *gate, const demuxbuf_h2_next *frame, const uint8_t *data, bool is_whole) {
    if ((frame->flags & FLAG_ACK) != 0) {
        acknowledge(gate);
        return 0;
    }
    if (is_whole) {
        return announce(gate, data + FRAME_HEAD_BYTES, frame->length);
    }
    /* Settings that pass in pieces are not read, so nothing can be held against the other side any more. */
    gate->announced = MAX_FRAME_SIZE_MAX;
    return announce(gate, NULL, 0);
}

static void count(struct gate *gate, const demuxbuf_h2_next *frame) {
    struct frame_counts *counts = gate->counts;
    uint32_t kind = frame->kind < FRAME_KINDS - 1 ? frame->kind : FRAME_KINDS - 1;
    counts->by_kind[kind]++;
    if (kind == HEADERS && frame->stream_id > gate->last_stream_id) {
        counts->streams_opened++;
        gate->last_stream_id = frame->stream_id;
    }
    if ((kind == HEADERS || kind == DATA) && (frame->flags & FLAG_END_STREAM) != 0) {
        counts->streams_ended++;
    }
}

/* Accepts the frame at the front although it will never be whole in the buffer. */
static int32_t pass_in_pieces(struct gate *gate, const uint8_t *front, uint32_t left, demuxbuf_h2_next *next) {
    int32_t status = demuxbuf_h2_peek(&gate->decoder, front, left, next);
    if (status == DEMUXBUF_OK && next->need_more == 0) {
        gate->counts->oversized++;
        status = demuxbuf_h2_accept(&gate->decoder, next);
    }
    return status;
}

struct gate_view gate_look(struct gate *gate, const uint8_t *data, uint32_t bytes, bool cannot_fit) {
    while (gate->cleared < bytes) {
        const uint8_t *front = data + gate->cleared;
        uint32_t left = bytes - gate->cleared;
        demuxbuf_h2_next next = {.struct_size = sizeof next};
        int32_t status = demuxbuf_h2_advance(&gate->decoder, front, left, &next);
        if (status == DEMUXBUF_OK && next.need_more > 0) {
            if (!cannot_fit || gate->cleared > 0) {
                return (struct gate_view){.need_more = next.need_more};
            }
            status = pass_in_pieces(gate, front, left, &next);
        }
        if (status != DEMUXBUF_OK) {
            uint32_t code = status == DEMUXBUF_ERR_PROTOCOL ? next.error_code : H2_INTERNAL_ERROR;
            return (struct gate_view){.error_code = code};
        }
        if (next.need_more > 0) {
            return (struct gate_view){.need_more = next.need_more};
        }
        bool is_whole = next.frame_bytes <= left;
        if (next.is_preface) {
            gate->preface_passed = true;
        } else {
            uint32_t error_code = next.kind == SETTINGS ? read_settings(gate, &next, front, is_whole) : 0;
            if (error_code != 0) {
                return (struct gate_view){.error_code = error_code};
            }
            count(gate, &next);
            gate->frame_passed = true;
        }
        gate->cleared += next.frame_bytes;
    }
    return (struct gate_view){0};
}

uint32_t gate_needs(const struct gate *gate, const uint8_t *data, uint32_t bytes, uint32_t buffer_bytes) {
    demuxbuf_h2_next next = {.struct_size = sizeof next};
    if (gate->cleared > 0) {
        return gate->cleared < buffer_bytes ? gate->cleared : buffer_bytes;
    }
    if (gate->is_misfit) {
        return FRAME_HEAD_BYTES;
    }
    if (demuxbuf_h2_peek(&gate->decoder, data, bytes, &next) != DEMUXBUF_OK) {
        /* What is wrong with it is found once it is received. */
        return bytes;
    }
    if (next.need_more > 0) {
        return bytes + next.need_more;
    }
    /* A frame without a place passes in pieces. */
    return next.frame_bytes <= buffer_bytes ? next.frame_bytes : bytes;
}

static uint8_t *write_head(uint8_t *out, uint32_t length, uint8_t kind) {
    memset(out, 0, FRAME_HEAD_BYTES);
    out[2] = (uint8_t)length;
    out[3] = kind;
    return out + FRAME_HEAD_BYTES;
}

static uint8_t *write_number(uint8_t *out, uint32_t number) {
    out[0] = (uint8_t)(number >> 24);
    out[1] = (uint8_t)(number >> 16);
    out[2] = (uint8_t)(number >> 8);
    out[3] = (uint8_t)number;
    return out + 4;
}

size_t farewell_write(uint8_t out[FAREWELL_BYTES_MAX], const struct gate *sent, const struct gate *received,
                      uint32_t error_code) {
    uint8_t *end = out;
    if (!sent->is_server && !sent->preface_passed) {
        memcpy(end, PREFACE, DEMUXBUF_H2_PREFACE_BYTES);
        end += DEMUXBUF_H2_PREFACE_BYTES;
    }
    if (!sent->frame_passed) {
        end = write_head(end, 0, SETTINGS);
    }
    end = write_head(end, 8, GOAWAY);
    end = write_number(end, received->last_stream_id);
    end = write_number(end, error_code);
    return (size_t)(end - out);
}
