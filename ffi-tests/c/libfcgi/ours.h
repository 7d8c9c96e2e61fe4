/* A host that reads one side's records from a buffer of the default size, with the library. */
#ifndef OURS_H
#define OURS_H

#include "request.h"

enum { BUFFER_BYTES = 16448 };

struct ours {
    demuxbuf_fcgi_decoder decoder;
    uint8_t buffer[BUFFER_BYTES];
    uint32_t buffered, given;
    /* The record that has begun, and what is left of it. */
    demuxbuf_fcgi_record now;
    uint32_t content_left, padding_left;
    /* Every record that was found, up to an error. */
    struct record records[RECORDS_MAX];
    uint32_t count, error_code;
    /* The streams of this request; of an application also how it ended. */
    struct request *request;
    uint32_t ended, protocol_status;
    /* What answers the records beside the request. */
    uint32_t results, unknown, refused;
};

/* All streams of `request` are empty then. */
void ours_start(struct ours *ours, uint32_t side, uint32_t request_id, struct request *request);
/* Reads on, in as many steps as the buffer makes necessary. */
void ours_feed(struct ours *ours, const uint8_t *bytes, uint32_t count);

#endif
