/* FastCGI records: what may stand at the front, what may not, how each is taken, and calls that make no sense. */
#include "check.h"

enum {
    BEGIN_REQUEST = 1,
    ABORT_REQUEST,
    END_REQUEST,
    PARAMS,
    STDIN,
    STDOUT,
    STDERR,
    DATA,
    GET_VALUES,
    GET_VALUES_RESULT,
    UNKNOWN_TYPE
};
enum { HEAD_BYTES = 8 };

static void write_head(uint8_t head[HEAD_BYTES], uint8_t kind, uint32_t request_id, uint32_t length, uint8_t padding) {
    const uint8_t bytes[HEAD_BYTES] = {
        1, kind, (uint8_t)(request_id >> 8), (uint8_t)request_id, (uint8_t)(length >> 8), (uint8_t)length, padding, 0};
    memcpy(head, bytes, sizeof bytes);
}

static demuxbuf_fcgi_decoder decoder_of(uint32_t side) {
    demuxbuf_fcgi_decoder decoder;
    FILL(decoder);
    CHECK_NUMBER(demuxbuf_fcgi_init(&decoder, side), DEMUXBUF_OK);
    return decoder;
}

/* Looks at a header alone, in both ways: they find the same error, and the same record unless it has to be whole. */
static int32_t peek_bytes(const demuxbuf_fcgi_decoder *decoder, const uint8_t head[HEAD_BYTES],
                          demuxbuf_fcgi_record *record) {
    demuxbuf_fcgi_record whole = {.struct_size = sizeof whole};
    int32_t status = demuxbuf_fcgi_peek(decoder, head, HEAD_BYTES, record);
    CHECK_NUMBER(demuxbuf_fcgi_peek_whole(decoder, head, HEAD_BYTES, &whole), status);
    if (status == DEMUXBUF_OK && record->form == DEMUXBUF_FCGI_DISCRETE && record->record_bytes > HEAD_BYTES) {
        CHECK(whole.need_more == record->record_bytes - HEAD_BYTES && whole.record_bytes == 0);
    } else {
        CHECK_SAME(&whole, record, sizeof whole);
    }
    return status;
}

static int32_t peek_head(const demuxbuf_fcgi_decoder *decoder, uint8_t kind, uint32_t request_id, uint32_t length,
                         uint8_t padding, demuxbuf_fcgi_record *record) {
    uint8_t head[HEAD_BYTES];
    write_head(head, kind, request_id, length, padding);
    return peek_bytes(decoder, head, record);
}

static void null_is_refused_everywhere(void) {
    static const uint8_t head[HEAD_BYTES] = {1, PARAMS, 0, 1};
    demuxbuf_fcgi_decoder decoder = {0};
    const demuxbuf_fcgi_decoder before = decoder;
    demuxbuf_fcgi_record record = {.struct_size = sizeof record};
    FILL_SIZED(record);
    CHECK_NUMBER(demuxbuf_fcgi_init(NULL, DEMUXBUF_FCGI_WEB_SERVER), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_fcgi_set_max_discrete_bytes(NULL, 16448), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_fcgi_peek(NULL, head, 8, &record), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_fcgi_peek(&decoder, NULL, 8, &record), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_fcgi_peek(&decoder, head, 8, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_fcgi_peek_whole(NULL, head, 8, &record), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_fcgi_peek_whole(&decoder, NULL, 8, &record), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_fcgi_peek_whole(&decoder, head, 8, NULL), DEMUXBUF_ERR_NULL);
    CHECK_UNTOUCHED_SIZED(record);
    CHECK_SAME(&decoder, &before, sizeof before);
    /* Without bytes there is nothing to point at. */
    CHECK_NUMBER(demuxbuf_fcgi_peek(&decoder, NULL, 0, &record), DEMUXBUF_OK);
    CHECK_NUMBER(record.need_more, HEAD_BYTES);
    CHECK_NUMBER(demuxbuf_fcgi_peek_whole(&decoder, NULL, 0, &record), DEMUXBUF_OK);
    CHECK_NUMBER(record.need_more, HEAD_BYTES);
}

static void fcgi_all_zero_is_for_a_web_server(void) {
    demuxbuf_fcgi_decoder zero = {0}, decoder = decoder_of(DEMUXBUF_FCGI_WEB_SERVER);
    CHECK_SAME(&decoder, &zero, sizeof zero);
}

static void numbers_out_of_range_are_refused(void) {
    demuxbuf_fcgi_decoder decoder = decoder_of(DEMUXBUF_FCGI_APPLICATION);
    const demuxbuf_fcgi_decoder before = decoder;
    const uint32_t sides[] = {2, 3, 255, 1u << 31, UINT32_MAX};
    for (size_t at = 0; at < sizeof sides / sizeof sides[0]; at++) {
        CHECK_NUMBER(demuxbuf_fcgi_init(&decoder, sides[at]), DEMUXBUF_ERR_RANGE);
    }
    const uint32_t sizes[] = {0, 1, 270, DEMUXBUF_FCGI_RECORD_BYTES_MAX + 1, 1u << 31, UINT32_MAX};
    for (size_t at = 0; at < sizeof sizes / sizeof sizes[0]; at++) {
        CHECK_NUMBER(demuxbuf_fcgi_set_max_discrete_bytes(&decoder, sizes[at]), DEMUXBUF_ERR_RANGE);
    }
    CHECK_SAME(&decoder, &before, sizeof before);
}

/* An older host's struct is too short, a newer one's gets what this library knows. */
static void record_of_another_size(void) {
    struct {
        demuxbuf_fcgi_record record;
        uint32_t later;
    } newer;
    uint8_t head[HEAD_BYTES];
    const demuxbuf_fcgi_decoder decoder = decoder_of(DEMUXBUF_FCGI_WEB_SERVER);
    write_head(head, STDIN, 7, 300, 4);
    const uint32_t refused[] = {0, 4, sizeof(demuxbuf_fcgi_record) - 1, 4097, UINT32_MAX};
    for (size_t at = 0; at < sizeof refused / sizeof refused[0]; at++) {
        demuxbuf_fcgi_record record = {.struct_size = refused[at]};
        CHECK_NUMBER(demuxbuf_fcgi_peek(&decoder, head, 8, &record), DEMUXBUF_ERR_STRUCT_SIZE);
        CHECK_NUMBER(demuxbuf_fcgi_peek_whole(&decoder, head, 8, &record), DEMUXBUF_ERR_STRUCT_SIZE);
        CHECK(record.struct_size == refused[at] && record.record_bytes == 0);
    }
    for (int is_whole = 0; is_whole < 2; is_whole++) {
        FILL(newer);
        newer.record.struct_size = sizeof newer;
        CHECK_NUMBER((is_whole ? demuxbuf_fcgi_peek_whole : demuxbuf_fcgi_peek)(&decoder, head, 8, &newer.record),
                     DEMUXBUF_OK);
        CHECK_NUMBER(newer.record.struct_size, sizeof newer.record);
        CHECK(newer.record.record_bytes == 8 + 300 + 4 && newer.record.reserved == 0);
        CHECK_UNTOUCHED(newer.later);
    }
}

/* Garbage in the decoder: refused by name, or judged like any other, and never more than the bytes are read. */
static void decoder_of_garbage_is_harmless(void) {
    uint64_t random = 3;
    unsigned found_count = 0;
    for (int round = 0; round < 100000; round++) {
        demuxbuf_fcgi_decoder decoder;
        demuxbuf_fcgi_record found = {.struct_size = sizeof found};
        uint8_t bytes[24];
        uint32_t count = check_random(&random) % 25;
        for (size_t at = 0; at < sizeof decoder; at++) {
            /* Mostly small numbers, or no decoder would be accepted. */
            ((unsigned char *)&decoder)[at] =
                (unsigned char)(at % 4 == 0 || round % 16 == 0 ? check_random(&random) % 3 : 0);
        }
        for (size_t at = 0; at < sizeof bytes; at++) {
            bytes[at] = (uint8_t)(check_random(&random) % (at < 3 ? 12 : 256));
        }
        bytes[0] = check_random(&random) % 8 != 0;
        const demuxbuf_fcgi_decoder before = decoder;
        for (int is_whole = 0; is_whole < 2; is_whole++) {
            FILL_SIZED(found);
            int32_t status = (is_whole ? demuxbuf_fcgi_peek_whole : demuxbuf_fcgi_peek)(&decoder, bytes, count, &found);
            CHECK(status == DEMUXBUF_OK || status == DEMUXBUF_ERR_PROTOCOL || status == DEMUXBUF_ERR_RANGE);
            if (status == DEMUXBUF_ERR_RANGE) {
                CHECK_UNTOUCHED_SIZED(found);
            }
            found_count += status == DEMUXBUF_OK && found.record_bytes != 0;
        }
        CHECK_SAME(&decoder, &before, sizeof before);
    }
    CHECK(found_count > 1000);
    demuxbuf_fcgi_decoder ones;
    memset(&ones, 0xff, sizeof ones);
    CHECK_NUMBER(demuxbuf_fcgi_set_max_discrete_bytes(&ones, 16448), DEMUXBUF_ERR_RANGE);
}

/* A header is judged as soon as its eight bytes are there, not before and not later. */
static void fcgi_header_needs_eight_bytes(void) {
    const demuxbuf_fcgi_decoder decoder = decoder_of(DEMUXBUF_FCGI_WEB_SERVER);
    demuxbuf_fcgi_record record = {.struct_size = sizeof record};
    uint8_t head[HEAD_BYTES];
    write_head(head, STDOUT, 1, 0, 0);
    for (uint32_t bytes = 0; bytes < HEAD_BYTES; bytes++) {
        CHECK_NUMBER(demuxbuf_fcgi_peek(&decoder, head, bytes, &record), DEMUXBUF_OK);
        CHECK(record.need_more == HEAD_BYTES - bytes && record.record_bytes == 0);
        CHECK_NUMBER(demuxbuf_fcgi_peek_whole(&decoder, head, bytes, &record), DEMUXBUF_OK);
        CHECK(record.need_more == HEAD_BYTES - bytes && record.record_bytes == 0);
    }
    CHECK_NUMBER(demuxbuf_fcgi_peek(&decoder, head, HEAD_BYTES, &record), DEMUXBUF_ERR_PROTOCOL);
    CHECK_NUMBER(record.error_code, DEMUXBUF_FCGI_ERROR_DIRECTION);
    CHECK_NUMBER(peek_head(&decoder, STDIN, 0x0102, 0x0304, 5, &record), DEMUXBUF_OK);
    CHECK(record.kind == STDIN && record.request_id == 0x0102 && record.content_length == 0x0304 &&
          record.padding_length == 5 && record.record_bytes == 8 + 0x0304 + 5 && record.need_more == 0 &&
          record.error_code == 0);
    CHECK_NUMBER(peek_head(&decoder, STDIN, 65535, 65535, 255, &record), DEMUXBUF_OK);
    CHECK_NUMBER(record.record_bytes, DEMUXBUF_FCGI_RECORD_BYTES_MAX);
    /* The reserved byte is ignored. */
    write_head(head, STDIN, 1, 0, 0);
    head[7] = 0xff;
    CHECK_NUMBER(demuxbuf_fcgi_peek(&decoder, head, HEAD_BYTES, &record), DEMUXBUF_OK);
}

static void fcgi_header_rules(void) {
    static const struct {
        uint32_t side, request_id, length, error_code;
        uint8_t kind;
    } broken[] = {
        {0, 1, 0, DEMUXBUF_FCGI_ERROR_DIRECTION, STDOUT},
        {0, 1, 0, DEMUXBUF_FCGI_ERROR_DIRECTION, STDERR},
        {0, 1, 8, DEMUXBUF_FCGI_ERROR_DIRECTION, END_REQUEST},
        {0, 0, 0, DEMUXBUF_FCGI_ERROR_DIRECTION, GET_VALUES_RESULT},
        {0, 0, 8, DEMUXBUF_FCGI_ERROR_DIRECTION, UNKNOWN_TYPE},
        {1, 1, 8, DEMUXBUF_FCGI_ERROR_DIRECTION, BEGIN_REQUEST},
        {1, 1, 0, DEMUXBUF_FCGI_ERROR_DIRECTION, ABORT_REQUEST},
        {1, 1, 0, DEMUXBUF_FCGI_ERROR_DIRECTION, PARAMS},
        {1, 1, 0, DEMUXBUF_FCGI_ERROR_DIRECTION, STDIN},
        {1, 1, 0, DEMUXBUF_FCGI_ERROR_DIRECTION, DATA},
        {1, 0, 0, DEMUXBUF_FCGI_ERROR_DIRECTION, GET_VALUES},
        {0, 0, 8, DEMUXBUF_FCGI_ERROR_REQUEST_ID, BEGIN_REQUEST},
        {0, 0, 0, DEMUXBUF_FCGI_ERROR_REQUEST_ID, ABORT_REQUEST},
        {0, 0, 5, DEMUXBUF_FCGI_ERROR_REQUEST_ID, PARAMS},
        {0, 0, 5, DEMUXBUF_FCGI_ERROR_REQUEST_ID, STDIN},
        {0, 0, 5, DEMUXBUF_FCGI_ERROR_REQUEST_ID, DATA},
        {0, 1, 5, DEMUXBUF_FCGI_ERROR_REQUEST_ID, GET_VALUES},
        {1, 0, 8, DEMUXBUF_FCGI_ERROR_REQUEST_ID, END_REQUEST},
        {1, 0, 5, DEMUXBUF_FCGI_ERROR_REQUEST_ID, STDOUT},
        {1, 0, 5, DEMUXBUF_FCGI_ERROR_REQUEST_ID, STDERR},
        {1, 1, 5, DEMUXBUF_FCGI_ERROR_REQUEST_ID, GET_VALUES_RESULT},
        {1, 1, 8, DEMUXBUF_FCGI_ERROR_REQUEST_ID, UNKNOWN_TYPE},
        {0, 9, 7, DEMUXBUF_FCGI_ERROR_CONTENT_LENGTH, BEGIN_REQUEST},
        {0, 9, 9, DEMUXBUF_FCGI_ERROR_CONTENT_LENGTH, BEGIN_REQUEST},
        {0, 9, 1, DEMUXBUF_FCGI_ERROR_CONTENT_LENGTH, ABORT_REQUEST},
        {1, 9, 0, DEMUXBUF_FCGI_ERROR_CONTENT_LENGTH, END_REQUEST},
        {1, 9, 9, DEMUXBUF_FCGI_ERROR_CONTENT_LENGTH, END_REQUEST},
        {1, 0, 7, DEMUXBUF_FCGI_ERROR_CONTENT_LENGTH, UNKNOWN_TYPE},
        {1, 0, 9, DEMUXBUF_FCGI_ERROR_CONTENT_LENGTH, UNKNOWN_TYPE},
        {0, 0, 16440, DEMUXBUF_FCGI_ERROR_TOO_LONG, GET_VALUES},
        {1, 0, 65535, DEMUXBUF_FCGI_ERROR_TOO_LONG, GET_VALUES_RESULT},
    };
    for (size_t at = 0; at < sizeof broken / sizeof broken[0]; at++) {
        const demuxbuf_fcgi_decoder decoder = decoder_of(broken[at].side);
        demuxbuf_fcgi_record record = {.struct_size = sizeof record};
        FILL_SIZED(record);
        int32_t status = peek_head(&decoder, broken[at].kind, broken[at].request_id, broken[at].length, 3, &record);
        int is_of_record = broken[at].error_code >= DEMUXBUF_FCGI_ERROR_CONTENT_LENGTH;
        CHECK_NUMBER(status, DEMUXBUF_ERR_PROTOCOL);
        CHECK_NUMBER(record.error_code, broken[at].error_code);
        CHECK_NUMBER(record.request_id, is_of_record ? broken[at].request_id : 0);
        CHECK_NUMBER(record.record_bytes, is_of_record ? 8 + broken[at].length + 3 : 0);
        CHECK_NUMBER(record.need_more, 0);
    }
    for (uint32_t side = 0; side < 2; side++) {
        const demuxbuf_fcgi_decoder decoder = decoder_of(side);
        demuxbuf_fcgi_record record = {.struct_size = sizeof record};
        const uint8_t head[HEAD_BYTES] = {(uint8_t)(2 * side), PARAMS, 0, 1};
        CHECK_NUMBER(peek_bytes(&decoder, head, &record), DEMUXBUF_ERR_PROTOCOL);
        CHECK(record.error_code == DEMUXBUF_FCGI_ERROR_VERSION && record.record_bytes == 0);
    }
}

/* A discrete record is found once it is whole; everything else at its header. */
static void fcgi_peek_whole_waits_for_discrete_records(void) {
    static const struct {
        uint8_t kind, form;
        uint16_t request_id, length;
    } records[] = {
        {BEGIN_REQUEST, DEMUXBUF_FCGI_DISCRETE, 1, 8},
        {ABORT_REQUEST, DEMUXBUF_FCGI_DISCRETE, 1, 0},
        {GET_VALUES, DEMUXBUF_FCGI_DISCRETE, 0, 100},
        {PARAMS, DEMUXBUF_FCGI_STREAM, 1, 100},
        {STDIN, DEMUXBUF_FCGI_STREAM_END, 1, 0},
        {DATA, DEMUXBUF_FCGI_STREAM, 1, 1},
        {12, DEMUXBUF_FCGI_UNKNOWN, 0, 50},
        {0, DEMUXBUF_FCGI_UNKNOWN, 1, 0},
    };
    const demuxbuf_fcgi_decoder decoder = decoder_of(DEMUXBUF_FCGI_WEB_SERVER);
    demuxbuf_fcgi_record record = {.struct_size = sizeof record};
    for (size_t at = 0; at < sizeof records / sizeof records[0]; at++) {
        uint8_t bytes[200] = {0};
        uint32_t whole = HEAD_BYTES + records[at].length + 5;
        uint32_t wanted = records[at].form == DEMUXBUF_FCGI_DISCRETE ? whole : HEAD_BYTES;
        write_head(bytes, records[at].kind, records[at].request_id, records[at].length, 5);
        for (uint32_t count = 0; count <= whole; count++) {
            CHECK_NUMBER(demuxbuf_fcgi_peek_whole(&decoder, bytes, count, &record), DEMUXBUF_OK);
            if (count < wanted) {
                CHECK_NUMBER(record.need_more, (count < HEAD_BYTES ? HEAD_BYTES : whole) - count);
                CHECK_NUMBER(record.record_bytes, 0);
            } else {
                CHECK(record.need_more == 0 && record.record_bytes == whole && record.form == records[at].form &&
                      record.kind == records[at].kind && record.content_length == records[at].length);
            }
            if (count >= HEAD_BYTES) {
                CHECK_NUMBER(demuxbuf_fcgi_peek(&decoder, bytes, count, &record), DEMUXBUF_OK);
                CHECK(record.record_bytes == whole && record.form == records[at].form);
            }
        }
    }
}

static void fcgi_limit_is_of_discrete_records(void) {
    demuxbuf_fcgi_decoder decoder = decoder_of(DEMUXBUF_FCGI_WEB_SERVER);
    demuxbuf_fcgi_record record = {.struct_size = sizeof record};
    CHECK_NUMBER(peek_head(&decoder, GET_VALUES, 0, 16440, 0, &record), DEMUXBUF_OK);
    CHECK_NUMBER(peek_head(&decoder, GET_VALUES, 0, 16440, 1, &record), DEMUXBUF_ERR_PROTOCOL);
    CHECK_NUMBER(demuxbuf_fcgi_set_max_discrete_bytes(&decoder, DEMUXBUF_FCGI_RECORD_BYTES_MAX), DEMUXBUF_OK);
    CHECK_NUMBER(peek_head(&decoder, GET_VALUES, 0, 65535, 255, &record), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_fcgi_set_max_discrete_bytes(&decoder, 271), DEMUXBUF_OK);
    CHECK_NUMBER(peek_head(&decoder, GET_VALUES, 0, 264, 0, &record), DEMUXBUF_ERR_PROTOCOL);
    CHECK_NUMBER(record.error_code, DEMUXBUF_FCGI_ERROR_TOO_LONG);
    CHECK_NUMBER(peek_head(&decoder, BEGIN_REQUEST, 1, 8, 255, &record), DEMUXBUF_OK);
    CHECK_NUMBER(peek_head(&decoder, STDIN, 1, 65535, 255, &record), DEMUXBUF_OK);
    CHECK_NUMBER(peek_head(&decoder, 12, 0, 65535, 255, &record), DEMUXBUF_OK);
}

int main(void) {
    null_is_refused_everywhere();
    fcgi_all_zero_is_for_a_web_server();
    numbers_out_of_range_are_refused();
    record_of_another_size();
    decoder_of_garbage_is_harmless();
    fcgi_header_needs_eight_bytes();
    fcgi_header_rules();
    fcgi_peek_whole_waits_for_discrete_records();
    fcgi_limit_is_of_discrete_records();
    return check_end();
}
