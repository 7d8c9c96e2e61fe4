/* The library with FastCGI records: it finds and judges a header; the content is the host's to read. */
#include "host.h"

#include <demuxbuf.h>

static demuxbuf_fcgi_decoder decoder;
/* Content and padding of a record that has begun. */
static uint32_t left;

static void start(const uint8_t *prologue, size_t bytes) {
    demuxbuf_fcgi_init(&decoder, DEMUXBUF_FCGI_WEB_SERVER);
    receive(prologue, bytes);
}

static size_t decode(const uint8_t *data, size_t bytes) {
    size_t taken = 0;
    /* Each call leaves its `struct_size` as it must be for the next one. */
    demuxbuf_fcgi_record record = {.struct_size = sizeof record};
    for (;;) {
        uint32_t part = left < bytes - taken ? left : (uint32_t)(bytes - taken);
        left -= part;
        taken += part;
        if (left != 0)
            return taken;
        if (demuxbuf_fcgi_peek_whole(&decoder, data + taken, (uint32_t)(bytes - taken), &record) != DEMUXBUF_OK)
            fail("the records break a rule");
        if (record.need_more != 0)
            return taken;
        taken += record.record_bytes - record.content_length - record.padding_length;
        left = record.content_length + record.padding_length;
        count(record.content_length);
        /* A discrete record is whole, all others go on as they come. */
        if (record.form == DEMUXBUF_FCGI_DISCRETE)
            count_eight(data + taken);
    }
}

static void finish(void) {
    if (left != 0)
        fail("a record is left");
}
