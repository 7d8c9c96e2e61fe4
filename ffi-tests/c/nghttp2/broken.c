#include "broken.h"

static const uint8_t zeros[64];

static void clear(struct stream *stream) {
    stream->length = 0;
    stream->frames = 0;
}

static void start_again(struct stream *stream) {
    clear(stream);
    if (stream->side == DEMUXBUF_H2_CLIENT) {
        stream_preface(stream);
    }
}

/* Any length but this one. */
static uint32_t other_length(struct stream *stream, uint32_t right) {
    uint32_t length = below(stream, sizeof zeros);
    return length == right ? length + 1 : length;
}

static void add_wrong_preface(struct stream *stream) {
    clear(stream);
    stream_preface(stream);
    stream->bytes[below(stream, 24)] ^= (uint8_t)(1u << below(stream, 8));
}

static void add_first_other(struct stream *stream) {
    static const struct {
        uint32_t kind, id, length;
    } others[] = {{DATA, 1, 3},   {HEADERS, 1, 0},       {PRIORITY, 1, 5},     {RST_STREAM, 1, 4}, {PING, 0, 8},
                  {GOAWAY, 0, 8}, {WINDOW_UPDATE, 0, 4}, {CONTINUATION, 1, 0}, {0x20, 0, 7}};
    start_again(stream);
    uint32_t which = below(stream, sizeof others / sizeof others[0]);
    stream_frame(stream, others[which].kind, 0, others[which].id, zeros, others[which].length);
}

static void add_first_acknowledgement(struct stream *stream) {
    start_again(stream);
    stream_frame(stream, SETTINGS, ACK, 0, NULL, 0);
}

/* A payload of this length and more than is allowed; a block in it is valid. */
static uint32_t too_long(struct stream *stream, uint8_t *payload) {
    uint32_t length = stream->max_frame_size + 1 + below(stream, 2) * below(stream, 5000);
    stream_fields(stream, payload, length);
    return length;
}

static uint8_t payload[STREAM_BYTES_MAX];

static void add_too_long(struct stream *stream) {
    uint32_t id = stream_usable(stream), length = too_long(stream, payload);
    if (below(stream, 2) == 0) {
        stream_frame(stream, DATA, 0, id, payload, length);
    } else {
        stream_frame(stream, 0x20, 0, id, payload, length);
    }
}

static void add_too_long_headers(struct stream *stream) {
    uint32_t id = stream_usable(stream), length = too_long(stream, payload);
    stream_frame(stream, HEADERS, END_HEADERS | END_STREAM, id, payload, length);
}

/* Opens a block that CONTINUATION is to end. */
static uint32_t open_block(struct stream *stream) {
    uint32_t id = stream_usable(stream);
    stream_frame(stream, HEADERS, END_STREAM, id, (const uint8_t[]){0x88}, 1);
    return id;
}

static void add_too_long_continuation(struct stream *stream) {
    uint32_t id = open_block(stream), length = too_long(stream, payload);
    stream_frame(stream, CONTINUATION, END_HEADERS, id, payload, length);
}

static void add_other_inside_block(struct stream *stream) {
    static const struct {
        uint32_t kind, length;
        int is_of_connection;
    } others[] = {{DATA, 3, 0}, {HEADERS, 0, 0}, {PRIORITY, 5, 0},      {RST_STREAM, 4, 0},    {SETTINGS, 6, 1},
                  {PING, 8, 1}, {GOAWAY, 8, 1},  {WINDOW_UPDATE, 4, 0}, {WINDOW_UPDATE, 4, 1}, {0x20, 7, 0}};
    uint32_t id = open_block(stream), which = below(stream, sizeof others / sizeof others[0]);
    stream_frame(stream, others[which].kind, 0, others[which].is_of_connection ? 0 : id, zeros, others[which].length);
}

static void add_other_block_inside_block(struct stream *stream) {
    uint32_t id = open_block(stream);
    stream_frame(stream, CONTINUATION, END_HEADERS, below(stream, 2) == 0 ? 0 : id + 2, NULL, 0);
}

static void add_continuation_alone(struct stream *stream) {
    stream_frame(stream, CONTINUATION, END_HEADERS, stream_usable(stream), NULL, 0);
}

static void add_data_of_connection(struct stream *stream) {
    stream_frame(stream, DATA, 0, 0, zeros, below(stream, 20));
}

static void add_headers_of_connection(struct stream *stream) {
    stream_frame(stream, HEADERS, END_HEADERS, 0, (const uint8_t[]){0x82}, 1);
}

static void add_priority_of_connection(struct stream *stream) {
    stream_frame(stream, PRIORITY, 0, 0, zeros, 5);
}

static void add_rst_stream_of_connection(struct stream *stream) {
    stream_frame(stream, RST_STREAM, 0, 0, zeros, 4);
}

static void add_promise_of_connection(struct stream *stream) {
    const uint8_t promised[5] = {0, 0, 0, (uint8_t)stream->next_id, 0x82};
    stream_frame(stream, PUSH_PROMISE, END_HEADERS, 0, promised, sizeof promised);
}

static void add_continuation_of_connection(struct stream *stream) {
    stream_frame(stream, CONTINUATION, END_HEADERS, 0, NULL, 0);
}

static void add_settings_of_stream(struct stream *stream) {
    stream_frame(stream, SETTINGS, 0, stream_usable(stream), zeros, 0);
}

static void add_ping_of_stream(struct stream *stream) {
    stream_frame(stream, PING, 0, stream_usable(stream), zeros, 8);
}

static void add_goaway_of_stream(struct stream *stream) {
    stream_frame(stream, GOAWAY, 0, stream_usable(stream), zeros, 8);
}

static void add_data_without_pad_length(struct stream *stream) {
    stream_frame(stream, DATA, PADDED, stream_usable(stream), NULL, 0);
}

static void add_headers_without_pad_length(struct stream *stream) {
    uint32_t flags = END_HEADERS | END_STREAM | PADDED;
    stream_frame(stream, HEADERS, flags, stream_usable(stream), NULL, 0);
}

static void add_promise_without_pad_length(struct stream *stream) {
    stream_frame(stream, PUSH_PROMISE, END_HEADERS | PADDED, stream_usable(stream), NULL, 0);
}

static void add_headers_without_priority(struct stream *stream) {
    uint32_t flags = END_HEADERS | END_STREAM | WITH_PRIORITY;
    stream_frame(stream, HEADERS, flags, stream_usable(stream), zeros, below(stream, 5));
}

static void add_padded_headers_without_priority(struct stream *stream) {
    uint32_t flags = END_HEADERS | END_STREAM | WITH_PRIORITY | PADDED;
    stream_frame(stream, HEADERS, flags, stream_usable(stream), zeros, 1 + below(stream, 5));
}

static void add_promise_without_stream(struct stream *stream) {
    stream_frame(stream, PUSH_PROMISE, END_HEADERS, stream_usable(stream), zeros, below(stream, 4));
}

static void add_padded_promise_without_stream(struct stream *stream) {
    stream_frame(stream, PUSH_PROMISE, END_HEADERS | PADDED, stream_usable(stream), zeros, 1 + below(stream, 4));
}

static void add_priority_of_other_length(struct stream *stream) {
    stream_frame(stream, PRIORITY, 0, stream_usable(stream), zeros, other_length(stream, 5));
}

static void add_rst_stream_of_other_length(struct stream *stream) {
    stream_frame(stream, RST_STREAM, 0, stream_usable(stream), zeros, other_length(stream, 4));
}

static void add_settings_of_other_length(struct stream *stream) {
    stream_frame(stream, SETTINGS, 0, 0, zeros, 6 * below(stream, 5) + 1 + below(stream, 5));
}

static void add_long_acknowledgement(struct stream *stream) {
    stream_frame(stream, SETTINGS, ACK, 0, zeros, other_length(stream, 0));
}

static void add_ping_of_other_length(struct stream *stream) {
    stream_frame(stream, PING, 0, 0, zeros, other_length(stream, 8));
}

static void add_short_goaway(struct stream *stream) {
    stream_frame(stream, GOAWAY, 0, 0, zeros, below(stream, 8));
}

static void add_window_update_of_other_length(struct stream *stream) {
    stream_frame(stream, WINDOW_UPDATE, 0, below(stream, 2) == 0 ? 0 : stream_usable(stream), zeros,
                 other_length(stream, 4));
}

static void add_promise_of_client(struct stream *stream) {
    static const uint8_t promised[5] = {0, 0, 0, 2, 0x82};
    stream_frame(stream, PUSH_PROMISE, END_HEADERS, stream_usable(stream), promised, sizeof promised);
}

/* A padded frame with `fixed` bytes behind the pad length, and more padding than there is room for. */
static void add_over_padded(struct stream *stream, uint32_t kind, uint32_t flags, uint32_t fixed) {
    uint32_t length = 1 + fixed + below(stream, 40), most = length - 1 - fixed;
    uint8_t over[64] = {0};
    over[0] = (uint8_t)(most + 1 + below(stream, 255 - most));
    memset(over + 1, 0, length - 1);
    if (kind == PUSH_PROMISE) {
        over[4] = (uint8_t)stream->next_id;
    }
    stream_frame(stream, kind, flags | PADDED, stream_usable(stream), over, length);
}

static void add_over_padded_data(struct stream *stream) {
    add_over_padded(stream, DATA, 0, 0);
}

static void add_over_padded_headers(struct stream *stream) {
    add_over_padded(stream, HEADERS, END_HEADERS | END_STREAM, 0);
}

static void add_over_padded_headers_with_priority(struct stream *stream) {
    add_over_padded(stream, HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, 5);
}

static void add_over_padded_promise(struct stream *stream) {
    add_over_padded(stream, PUSH_PROMISE, END_HEADERS, 4);
}

enum { PROTOCOL = PROTOCOL_ERROR, SIZE = FRAME_SIZE_ERROR };

/* Why they differ. */
static const char unchecked[] = "4.2: a frame that is too long is a FRAME_SIZE_ERROR; it does not look at CONTINUATION";
static const char too_small[] = "4.2: a frame too small for what it must contain is a FRAME_SIZE_ERROR";
static const char of_stream[] = "6.3: only an error of the stream, not of the connection";

const struct rule rules[] = {
    {"a client starts with the preface", add_wrong_preface, CLIENT, 1, PROTOCOL, 0, PROTOCOL, NULL},
    {"the first frame is SETTINGS", add_first_other, BOTH, 1, PROTOCOL, 0, PROTOCOL, NULL},
    {"the first frame is no acknowledgement", add_first_acknowledgement, BOTH, 1, PROTOCOL, 0, PROTOCOL, NULL},
    {"a frame is not too long", add_too_long, BOTH, 0, SIZE, 0, SIZE, NULL},
    {"HEADERS are not too long", add_too_long_headers, BOTH, 0, SIZE, 0, SIZE, NULL},
    {"CONTINUATION is not too long", add_too_long_continuation, BOTH, 0, SIZE, 0, 0, unchecked},
    {"a block is one piece", add_other_inside_block, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"a block is of one stream", add_other_block_inside_block, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"CONTINUATION continues", add_continuation_alone, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"DATA has a stream", add_data_of_connection, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"HEADERS have a stream", add_headers_of_connection, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"PRIORITY has a stream", add_priority_of_connection, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"RST_STREAM has a stream", add_rst_stream_of_connection, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"PUSH_PROMISE has a stream", add_promise_of_connection, SERVER, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"CONTINUATION has a stream", add_continuation_of_connection, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"SETTINGS have no stream", add_settings_of_stream, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"PING has no stream", add_ping_of_stream, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"GOAWAY has no stream", add_goaway_of_stream, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"padded DATA has a pad length", add_data_without_pad_length, BOTH, 0, SIZE, 0, PROTOCOL, too_small},
    {"padded HEADERS have a pad length", add_headers_without_pad_length, BOTH, 0, SIZE, 0, PROTOCOL, too_small},
    {"padded PUSH_PROMISE has one", add_promise_without_pad_length, SERVER, 0, SIZE, 0, PROTOCOL, too_small},
    {"HEADERS have their priority", add_headers_without_priority, BOTH, 0, SIZE, 0, SIZE, NULL},
    {"padded HEADERS have it", add_padded_headers_without_priority, BOTH, 0, SIZE, 0, PROTOCOL, too_small},
    {"PUSH_PROMISE has its stream", add_promise_without_stream, SERVER, 0, SIZE, 0, SIZE, NULL},
    {"padded PUSH_PROMISE has it", add_padded_promise_without_stream, SERVER, 0, SIZE, 0, PROTOCOL, too_small},
    {"PRIORITY is 5 bytes long", add_priority_of_other_length, BOTH, 0, SIZE, 1, SIZE, of_stream},
    {"RST_STREAM is 4 bytes long", add_rst_stream_of_other_length, BOTH, 0, SIZE, 0, SIZE, NULL},
    {"SETTINGS are a multiple of 6 bytes", add_settings_of_other_length, BOTH, 0, SIZE, 0, SIZE, NULL},
    {"an acknowledgement is empty", add_long_acknowledgement, BOTH, 0, SIZE, 0, SIZE, NULL},
    {"PING is 8 bytes long", add_ping_of_other_length, BOTH, 0, SIZE, 0, SIZE, NULL},
    {"GOAWAY is at least 8 bytes long", add_short_goaway, BOTH, 0, SIZE, 0, SIZE, NULL},
    {"WINDOW_UPDATE is 4 bytes long", add_window_update_of_other_length, BOTH, 0, SIZE, 0, SIZE, NULL},
    {"a client does not promise", add_promise_of_client, CLIENT, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"padding fits into DATA", add_over_padded_data, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"padding fits into HEADERS", add_over_padded_headers, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"padding fits beside a priority", add_over_padded_headers_with_priority, BOTH, 0, PROTOCOL, 0, PROTOCOL, NULL},
    {"padding fits into PUSH_PROMISE", add_over_padded_promise, SERVER, 0, PROTOCOL, 0, PROTOCOL, NULL},
};
const uint32_t rules_count = sizeof rules / sizeof rules[0];
