/* HTTP/2 frames: what may stand at the front, what may not, and calls that make no sense. */
#include "check.h"

static const uint8_t preface[24] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { ACK = 0x1, END_HEADERS = 0x4, PADDED = 0x8 };
enum { PROTOCOL_ERROR = 0x1, FRAME_SIZE_ERROR = 0x6 };

static void write_head(uint8_t head[9], uint32_t length, uint8_t kind, uint8_t flags, uint32_t stream_id) {
    const uint8_t bytes[9] = {(uint8_t)(length >> 16),
                              (uint8_t)(length >> 8),
                              (uint8_t)length,
                              kind,
                              flags,
                              (uint8_t)(stream_id >> 24),
                              (uint8_t)(stream_id >> 16),
                              (uint8_t)(stream_id >> 8),
                              (uint8_t)stream_id};
    memcpy(head, bytes, sizeof bytes);
}

/* A decoder for this side that is behind its first SETTINGS. */
static demuxbuf_h2_decoder started(uint32_t side) {
    demuxbuf_h2_decoder decoder;
    demuxbuf_h2_next next = {.struct_size = sizeof next};
    uint8_t head[9];
    CHECK_NUMBER(demuxbuf_h2_init(&decoder, side), DEMUXBUF_OK);
    if (side == DEMUXBUF_H2_CLIENT) {
        CHECK_NUMBER(demuxbuf_h2_peek(&decoder, preface, 24, &next), DEMUXBUF_OK);
        CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &next), DEMUXBUF_OK);
    }
    write_head(head, 0, SETTINGS, 0, 0);
    CHECK_NUMBER(demuxbuf_h2_peek(&decoder, head, 9, &next), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &next), DEMUXBUF_OK);
    return decoder;
}

static int32_t peek_head(const demuxbuf_h2_decoder *decoder, uint32_t length, uint8_t kind, uint8_t flags,
                         uint32_t stream_id, demuxbuf_h2_next *next) {
    uint8_t head[9];
    write_head(head, length, kind, flags, stream_id);
    return demuxbuf_h2_peek(decoder, head, 9, next);
}

static void null_is_refused_everywhere(void) {
    demuxbuf_h2_decoder decoder = {0};
    const demuxbuf_h2_decoder before = decoder;
    demuxbuf_h2_next next = {.struct_size = sizeof next};
    FILL_SIZED(next);
    CHECK_NUMBER(demuxbuf_h2_init(NULL, DEMUXBUF_H2_CLIENT), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_h2_set_max_frame_size(NULL, 16384), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_h2_peek(NULL, preface, 24, &next), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_h2_peek(&decoder, NULL, 24, &next), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_h2_peek(&decoder, preface, 24, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_h2_advance(NULL, preface, 24, &next), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_h2_advance(&decoder, NULL, 24, &next), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_h2_advance(&decoder, preface, 24, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_h2_accept(NULL, &next), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, NULL), DEMUXBUF_ERR_NULL);
    CHECK_UNTOUCHED_SIZED(next);
    CHECK_SAME(&decoder, &before, sizeof before);
    /* Without bytes there is nothing to point at. */
    CHECK_NUMBER(demuxbuf_h2_peek(&decoder, NULL, 0, &next), DEMUXBUF_OK);
    CHECK_NUMBER(next.need_more, 24);
}

static void h2_all_zero_is_a_client_at_its_first_byte(void) {
    demuxbuf_h2_decoder zero = {0}, client;
    FILL(client);
    CHECK_NUMBER(demuxbuf_h2_init(&client, DEMUXBUF_H2_CLIENT), DEMUXBUF_OK);
    CHECK_SAME(&client, &zero, sizeof zero);
}

static void numbers_out_of_range_are_refused(void) {
    demuxbuf_h2_decoder decoder = started(DEMUXBUF_H2_SERVER);
    const demuxbuf_h2_decoder before = decoder;
    const uint32_t sides[] = {2, 3, 255, 1u << 31, UINT32_MAX};
    for (size_t at = 0; at < sizeof sides / sizeof sides[0]; at++) {
        CHECK_NUMBER(demuxbuf_h2_init(&decoder, sides[at]), DEMUXBUF_ERR_RANGE);
    }
    const uint32_t sizes[] = {0, 1, 16383, 16777216, 1u << 31, UINT32_MAX};
    for (size_t at = 0; at < sizeof sizes / sizeof sizes[0]; at++) {
        CHECK_NUMBER(demuxbuf_h2_set_max_frame_size(&decoder, sizes[at]), DEMUXBUF_ERR_RANGE);
    }
    CHECK_SAME(&decoder, &before, sizeof before);
}

/* Garbage in the decoder: refused by name, or judged like any other state, and never more than the bytes are read. */
static void connection_of_garbage_is_harmless(void) {
    uint64_t random = 3;
    for (int round = 0; round < 100000; round++) {
        demuxbuf_h2_decoder decoder;
        demuxbuf_h2_next next = {.struct_size = sizeof next}, found = {.struct_size = sizeof found};
        uint8_t bytes[24];
        uint32_t count = check_random(&random) % 25;
        for (size_t at = 0; at < sizeof decoder; at++) {
            /* Mostly small numbers, or no decoder would be accepted. */
            ((unsigned char *)&decoder)[at] =
                (unsigned char)(at % 4 == 0 || round % 16 == 0 ? check_random(&random) % 3 : 0);
        }
        for (size_t at = 0; at < sizeof next; at++) {
            ((unsigned char *)&next)[at] = (unsigned char)check_random(&random);
        }
        for (size_t at = 0; at < sizeof bytes; at++) {
            bytes[at] = (uint8_t)check_random(&random);
        }
        next.struct_size = sizeof next;
        next.need_more *= check_random(&random) % 2;
        const demuxbuf_h2_decoder before = decoder;
        FILL_SIZED(found);
        int32_t status = demuxbuf_h2_peek(&decoder, bytes, count, &found);
        CHECK(status == DEMUXBUF_OK || status == DEMUXBUF_ERR_PROTOCOL || status == DEMUXBUF_ERR_RANGE);
        CHECK_SAME(&decoder, &before, sizeof before);
        if (status == DEMUXBUF_ERR_RANGE) {
            CHECK_UNTOUCHED_SIZED(found);
        }
        demuxbuf_h2_decoder advanced = decoder;
        FILL_SIZED(found);
        status = demuxbuf_h2_advance(&advanced, bytes, count, &found);
        CHECK(status == DEMUXBUF_OK || status == DEMUXBUF_ERR_PROTOCOL || status == DEMUXBUF_ERR_RANGE);
        if (status == DEMUXBUF_ERR_RANGE) {
            CHECK_UNTOUCHED_SIZED(found);
        }
        if (status != DEMUXBUF_OK) {
            CHECK_SAME(&advanced, &before, sizeof before);
        }
        status = demuxbuf_h2_accept(&decoder, &next);
        CHECK(status == DEMUXBUF_OK || status == DEMUXBUF_ERR_RANGE);
        if (status != DEMUXBUF_OK) {
            CHECK_SAME(&decoder, &before, sizeof before);
        }
    }
    demuxbuf_h2_decoder ones;
    demuxbuf_h2_next next = {.struct_size = sizeof next};
    memset(&ones, 0xff, sizeof ones);
    const demuxbuf_h2_decoder before = ones;
    memset(&next, 0, sizeof next);
    next.struct_size = sizeof next;
    CHECK_NUMBER(demuxbuf_h2_set_max_frame_size(&ones, 16384), DEMUXBUF_ERR_RANGE);
    CHECK_NUMBER(demuxbuf_h2_accept(&ones, &next), DEMUXBUF_ERR_RANGE);
    FILL_SIZED(next);
    CHECK_NUMBER(demuxbuf_h2_peek(&ones, preface, 24, &next), DEMUXBUF_ERR_RANGE);
    CHECK_UNTOUCHED_SIZED(next);
    CHECK_NUMBER(demuxbuf_h2_advance(&ones, preface, 24, &next), DEMUXBUF_ERR_RANGE);
    CHECK_UNTOUCHED_SIZED(next);
    CHECK_SAME(&ones, &before, sizeof before);
}

static void h2_preface_comes_first(void) {
    demuxbuf_h2_decoder decoder = {0};
    demuxbuf_h2_next next = {.struct_size = sizeof next};
    for (uint32_t bytes = 0; bytes < 24; bytes++) {
        CHECK_NUMBER(demuxbuf_h2_peek(&decoder, preface, bytes, &next), DEMUXBUF_OK);
        CHECK(next.need_more == 24 - bytes && next.frame_bytes == 0 && next.is_preface == 0);
        CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &next), DEMUXBUF_OK);
    }
    for (uint32_t wrong = 0; wrong < 24; wrong++) {
        uint8_t other[24];
        memcpy(other, preface, sizeof other);
        other[wrong] ^= 0x20;
        CHECK_NUMBER(demuxbuf_h2_peek(&decoder, other, wrong + 1, &next), DEMUXBUF_ERR_PROTOCOL);
        CHECK(next.error_code == PROTOCOL_ERROR && next.stream_id == 0 && next.frame_bytes == 0);
    }
    CHECK_NUMBER(demuxbuf_h2_peek(&decoder, preface, 24, &next), DEMUXBUF_OK);
    CHECK(next.is_preface == 1 && next.frame_bytes == DEMUXBUF_H2_PREFACE_BYTES && next.need_more == 0);
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &next), DEMUXBUF_OK);
    /* Then SETTINGS, not its acknowledgement and nothing else. */
    CHECK_NUMBER(peek_head(&decoder, 0, SETTINGS, ACK, 0, &next), DEMUXBUF_ERR_PROTOCOL);
    CHECK_NUMBER(peek_head(&decoder, 8, PING, 0, 0, &next), DEMUXBUF_ERR_PROTOCOL);
    CHECK_NUMBER(peek_head(&decoder, 12, SETTINGS, 0, 0, &next), DEMUXBUF_OK);
    CHECK(next.frame_bytes == 21 && next.length == 12 && next.kind == SETTINGS);
}

/* A header is judged as soon as its nine bytes are there, not before and not later. */
static void h2_header_needs_nine_bytes(void) {
    demuxbuf_h2_decoder decoder = started(DEMUXBUF_H2_CLIENT);
    demuxbuf_h2_next next = {.struct_size = sizeof next};
    uint8_t head[9];
    write_head(head, 16385, DATA, 0, 1);
    for (uint32_t bytes = 0; bytes < 9; bytes++) {
        CHECK_NUMBER(demuxbuf_h2_peek(&decoder, head, bytes, &next), DEMUXBUF_OK);
        CHECK_NUMBER(next.need_more, 9 - bytes);
    }
    CHECK_NUMBER(demuxbuf_h2_peek(&decoder, head, 9, &next), DEMUXBUF_ERR_PROTOCOL);
    CHECK_NUMBER(next.error_code, FRAME_SIZE_ERROR);
    CHECK_NUMBER(demuxbuf_h2_set_max_frame_size(&decoder, 16385), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_h2_peek(&decoder, head, 9, &next), DEMUXBUF_OK);
    CHECK(next.frame_bytes == 9 + 16385 && next.stream_id == 1 && next.kind == DATA && next.flags == 0);
    CHECK_NUMBER(demuxbuf_h2_set_max_frame_size(&decoder, 16777215), DEMUXBUF_OK);
    CHECK_NUMBER(peek_head(&decoder, 16777215, DATA, 0, 0x7fffffff, &next), DEMUXBUF_OK);
    CHECK(next.frame_bytes == 9 + 16777215 && next.stream_id == 0x7fffffff);
    /* The reserved bit is ignored. */
    CHECK_NUMBER(peek_head(&decoder, 0, DATA, 0, 0xffffffff, &next), DEMUXBUF_OK);
    CHECK_NUMBER(next.stream_id, 0x7fffffff);
}

static void h2_header_rules(void) {
    static const struct {
        uint32_t length, stream_id, error_code, error_stream;
        uint8_t kind, flags;
    } broken[] = {
        {0, 0, PROTOCOL_ERROR, 0, DATA, 0},         {0, 0, PROTOCOL_ERROR, 0, HEADERS, 0},
        {5, 0, PROTOCOL_ERROR, 0, PRIORITY, 0},     {4, 0, PROTOCOL_ERROR, 0, RST_STREAM, 0},
        {0, 1, PROTOCOL_ERROR, 0, SETTINGS, 0},     {8, 1, PROTOCOL_ERROR, 0, PING, 0},
        {8, 1, PROTOCOL_ERROR, 0, GOAWAY, 0},       {9, 1, PROTOCOL_ERROR, 0, CONTINUATION, 0},
        {4, 1, PROTOCOL_ERROR, 0, PUSH_PROMISE, 0}, {4, 1, FRAME_SIZE_ERROR, 1, PRIORITY, 0},
        {3, 1, FRAME_SIZE_ERROR, 0, RST_STREAM, 0}, {5, 0, FRAME_SIZE_ERROR, 0, SETTINGS, 0},
        {6, 0, FRAME_SIZE_ERROR, 0, SETTINGS, ACK}, {7, 0, FRAME_SIZE_ERROR, 0, PING, 0},
        {7, 0, FRAME_SIZE_ERROR, 0, GOAWAY, 0},     {5, 0, FRAME_SIZE_ERROR, 0, WINDOW_UPDATE, 0},
        {0, 1, FRAME_SIZE_ERROR, 0, DATA, PADDED},  {0, 1, FRAME_SIZE_ERROR, 0, HEADERS, PADDED},
        {4, 1, FRAME_SIZE_ERROR, 0, HEADERS, 0x20}, {16385, 1, FRAME_SIZE_ERROR, 0, 0xff, 0},
    };
    demuxbuf_h2_decoder decoder = started(DEMUXBUF_H2_CLIENT);
    const demuxbuf_h2_decoder before = decoder;
    for (size_t at = 0; at < sizeof broken / sizeof broken[0]; at++) {
        demuxbuf_h2_next next = {.struct_size = sizeof next};
        FILL_SIZED(next);
        int32_t status =
            peek_head(&decoder, broken[at].length, broken[at].kind, broken[at].flags, broken[at].stream_id, &next);
        CHECK_NUMBER(status, DEMUXBUF_ERR_PROTOCOL);
        CHECK_NUMBER(next.error_code, broken[at].error_code);
        CHECK_NUMBER(next.stream_id, broken[at].error_stream);
        CHECK_NUMBER(next.frame_bytes, broken[at].error_stream != 0 ? 9 + broken[at].length : 0);
        CHECK_NUMBER(next.need_more, 0);
        CHECK_SAME(&decoder, &before, sizeof before);
    }
}

static void h2_padding_leaves_room(void) {
    demuxbuf_h2_decoder decoder = started(DEMUXBUF_H2_SERVER);
    const struct {
        uint32_t length;
        uint8_t kind, flags, longest;
    } frames[] = {{10, DATA, PADDED, 9},
                  {10, HEADERS, PADDED, 9},
                  {10, HEADERS, PADDED | 0x20, 4},
                  {10, PUSH_PROMISE, PADDED, 5}};
    demuxbuf_h2_next next = {.struct_size = sizeof next};
    for (size_t at = 0; at < sizeof frames / sizeof frames[0]; at++) {
        CHECK_NUMBER(peek_head(&decoder, frames[at].length, frames[at].kind, frames[at].flags, 1, &next), DEMUXBUF_OK);
        for (uint32_t pad_length = 0; pad_length < 256; pad_length++) {
            int32_t expected = pad_length <= frames[at].longest ? DEMUXBUF_OK : DEMUXBUF_ERR_PROTOCOL;
            CHECK_NUMBER(demuxbuf_h2_check_padding(&next, (uint8_t)pad_length), expected);
        }
    }
    CHECK_NUMBER(peek_head(&decoder, 10, DATA, 0, 1, &next), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_h2_check_padding(&next, 255), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_h2_check_padding(NULL, 0), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_h2_peek(&decoder, NULL, 0, &next), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_h2_check_padding(&next, 0), DEMUXBUF_ERR_RANGE);
}

static void h2_header_block_is_one_piece(void) {
    demuxbuf_h2_decoder decoder = started(DEMUXBUF_H2_SERVER);
    demuxbuf_h2_next next = {.struct_size = sizeof next};
    CHECK_NUMBER(peek_head(&decoder, 10, HEADERS, 0, 3, &next), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &next), DEMUXBUF_OK);
    CHECK_NUMBER(peek_head(&decoder, 10, DATA, 0, 3, &next), DEMUXBUF_ERR_PROTOCOL);
    CHECK_NUMBER(peek_head(&decoder, 10, 0xff, 0, 3, &next), DEMUXBUF_ERR_PROTOCOL);
    CHECK_NUMBER(peek_head(&decoder, 10, CONTINUATION, END_HEADERS, 5, &next), DEMUXBUF_ERR_PROTOCOL);
    CHECK_NUMBER(peek_head(&decoder, 10, CONTINUATION, END_HEADERS, 3, &next), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &next), DEMUXBUF_OK);
    CHECK_NUMBER(peek_head(&decoder, 10, DATA, 0, 3, &next), DEMUXBUF_OK);
    CHECK_NUMBER(peek_head(&decoder, 10, 0xff, 0, 3, &next), DEMUXBUF_OK);
}

/* DATA is accepted with its header, any other frame once it is whole. */
static void h2_advance_accepts_data_at_its_header(void) {
    static const uint8_t ping[17] = {0, 0, 8, 6};
    static const uint8_t data[9] = {0, 0x40, 0, 0, 0, 0, 0, 0, 1};
    demuxbuf_h2_decoder decoder = started(DEMUXBUF_H2_SERVER);
    const demuxbuf_h2_decoder before = decoder;
    demuxbuf_h2_next next = {.struct_size = sizeof next};
    for (uint32_t bytes = 0; bytes < sizeof ping; bytes++) {
        CHECK_NUMBER(demuxbuf_h2_advance(&decoder, ping, bytes, &next), DEMUXBUF_OK);
        CHECK_NUMBER(next.need_more, (bytes < 9 ? 9 : sizeof ping) - bytes);
        CHECK_NUMBER(next.frame_bytes, 0);
        CHECK_SAME(&decoder, &before, sizeof before);
    }
    CHECK_NUMBER(demuxbuf_h2_advance(&decoder, ping, sizeof ping, &next), DEMUXBUF_OK);
    CHECK(next.need_more == 0 && next.frame_bytes == 17 && next.length == 8 && next.kind == PING &&
          next.stream_id == 0);
    CHECK_NUMBER(demuxbuf_h2_advance(&decoder, data, sizeof data, &next), DEMUXBUF_OK);
    CHECK(next.need_more == 0 && next.frame_bytes == 9 + 16384 && next.kind == DATA && next.stream_id == 1);
    CHECK_NUMBER(demuxbuf_h2_advance(&decoder, ping, 9, &next), DEMUXBUF_OK);
    CHECK_NUMBER(next.need_more, 8);
}

/* Only what a look could have found is accepted. */
static void h2_accept_out_of_order_is_refused(void) {
    demuxbuf_h2_decoder decoder = {0};
    const demuxbuf_h2_decoder fresh = decoder;
    demuxbuf_h2_next frame = {.struct_size = sizeof(demuxbuf_h2_next), .frame_bytes = 9, .kind = SETTINGS};
    demuxbuf_h2_next first = {.struct_size = sizeof(demuxbuf_h2_next), .frame_bytes = 24, .is_preface = 1};
    demuxbuf_h2_next zero = {.struct_size = sizeof(demuxbuf_h2_next)};
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &frame), DEMUXBUF_ERR_RANGE);
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &zero), DEMUXBUF_ERR_RANGE);
    CHECK_SAME(&decoder, &fresh, sizeof fresh);
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &first), DEMUXBUF_OK);
    const demuxbuf_h2_decoder second = decoder;
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &first), DEMUXBUF_ERR_RANGE);
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &zero), DEMUXBUF_ERR_RANGE);
    CHECK_SAME(&decoder, &second, sizeof second);
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &frame), DEMUXBUF_OK);
    const demuxbuf_h2_decoder third = decoder;
    demuxbuf_h2_next too_long = {
        .struct_size = sizeof(demuxbuf_h2_next), .length = UINT32_MAX, .kind = DATA, .stream_id = 1};
    CHECK_NUMBER(demuxbuf_h2_accept(&decoder, &too_long), DEMUXBUF_ERR_RANGE);
    CHECK_SAME(&decoder, &third, sizeof third);
}

int main(void) {
    null_is_refused_everywhere();
    h2_all_zero_is_a_client_at_its_first_byte();
    numbers_out_of_range_are_refused();
    connection_of_garbage_is_harmless();
    h2_preface_comes_first();
    h2_header_needs_nine_bytes();
    h2_header_rules();
    h2_padding_leaves_room();
    h2_header_block_is_one_piece();
    h2_advance_accepts_data_at_its_header();
    h2_accept_out_of_order_is_refused();
    return check_end();
}
