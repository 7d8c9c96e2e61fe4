#include "judge.h"

const struct reason reasons[] = {
    {PROTOCOL_ERROR, "stream in idle", "5.1"},
    {PROTOCOL_ERROR, "to idle stream", "5.1"},
    {PROTOCOL_ERROR, "client received request", "5.1"},
    {PROTOCOL_ERROR, "stream in reserved", "5.1"},
    {PROTOCOL_ERROR, "to reserved stream", "5.1"},
    {PROTOCOL_ERROR, "stream not opened", "5.1"},
    {STREAM_CLOSED, "stream in half-closed", "5.1"},
    {STREAM_CLOSED, "stream closed", "5.1"},
    {PROTOCOL_ERROR, "HEADERS: invalid stream_id", "5.1.1"},
    {PROTOCOL_ERROR, "PUSH_PROMISE: invalid stream_id", "6.6"},
    {PROTOCOL_ERROR, "invalid promised_stream_id", "6.6"},
    {PROTOCOL_ERROR, "push disabled", "6.6"},
    {PROTOCOL_ERROR, "invalid last_stream_id", "6.8"},
    {PROTOCOL_ERROR, "invalid SETTINGS_", "6.5.2"},
    {ENHANCE_YOUR_CALM, "too many setting entries", "10.5"},
    {COMPRESSION_ERROR, NULL, "4.3"},
};
const uint32_t reasons_count = sizeof reasons / sizeof reasons[0];

int reason_of(const struct log *log) {
    for (uint32_t at = 0; at < reasons_count; at++) {
        const struct reason *reason = &reasons[at];
        int is_said = reason->text == NULL ? log->reason[0] == 0 : strstr(log->reason, reason->text) != NULL;
        if (is_said && log->error_code == reason->error_code) {
            return (int)at;
        }
    }
    return -1;
}

struct head head_at(const uint8_t *bytes) {
    return (struct head){.length = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2],
                         .stream_id = (uint32_t)(bytes[5] & 0x7f) << 24 | (uint32_t)bytes[6] << 16 |
                                      (uint32_t)bytes[7] << 8 | bytes[8],
                         .kind = bytes[3],
                         .flags = bytes[4]};
}

int is_padded(const struct head *head) {
    return (head->flags & PADDED) != 0 && (head->kind == DATA || head->kind == HEADERS || head->kind == PUSH_PROMISE);
}

/* Whether a frame of this type may have this stream (section 6). */
static int has_right_stream(const struct head *head) {
    switch (head->kind) {
    case SETTINGS:
    case PING:
    case GOAWAY: return head->stream_id == 0;
    case DATA:
    case HEADERS:
    case PRIORITY:
    case RST_STREAM:
    case PUSH_PROMISE:
    case CONTINUATION: return head->stream_id != 0;
    default: return 1;
    }
}

/* Whether a frame of this type may have this length, apart from what it contains (section 6). */
static int has_right_length(const struct head *head) {
    switch (head->kind) {
    case PRIORITY: return head->length == 5;
    case RST_STREAM:
    case WINDOW_UPDATE: return head->length == 4;
    case SETTINGS: return (head->flags & ACK) != 0 ? head->length == 0 : head->length % 6 == 0;
    case PING: return head->length == 8;
    case GOAWAY: return head->length >= 8;
    default: return 1;
    }
}

/* The fields before the data, the header block or the padding of a frame. */
static uint32_t fixed_bytes(const struct head *head) {
    uint32_t priority = head->kind == HEADERS && (head->flags & WITH_PRIORITY) != 0 ? 5 : 0;
    return (uint32_t)is_padded(head) + priority + (head->kind == PUSH_PROMISE ? 4 : 0);
}

struct broken_codes codes_of(const struct ours *ours, const uint8_t *frame) {
    const struct head head = head_at(frame);
    uint32_t fixed = fixed_bytes(&head), pad_length = is_padded(&head) ? frame[HEAD_BYTES] : 0;
    int is_first = ours->log.complete == 0 && ours->block_id == 0;
    int is_inside = ours->block_id != 0;
    int continues = head.kind == CONTINUATION && head.stream_id == ours->block_id;
    struct broken_codes broken = {.is_too_small = head.length < fixed};
    broken.size = broken.is_too_small || head.length > ours->max_frame_size || !has_right_length(&head);
    broken.protocol = !has_right_stream(&head) || (is_inside ? !continues : head.kind == CONTINUATION) ||
                      (is_first && (head.kind != SETTINGS || (head.flags & ACK) != 0)) ||
                      (head.kind == PUSH_PROMISE && ours->stream->side == DEMUXBUF_H2_CLIENT) ||
                      (!broken.is_too_small && pad_length > head.length - fixed);
    return broken;
}
