#include "ours.h"

void ours_start(struct ours *ours, uint32_t side, uint32_t request_id, struct request *request) {
    memset(ours, 0, sizeof *ours);
    CHECK_NUMBER(demuxbuf_fcgi_init(&ours->decoder, side), DEMUXBUF_OK);
    request->id = request_id;
    request->params.length = request->in.length = request->data.length = 0;
    request->out.length = request->err.length = 0;
    ours->request = request;
}

static struct value *stream_of(struct request *request, uint8_t kind) {
    switch (kind) {
    case PARAMS: return &request->params;
    case STDIN: return &request->in;
    case DATA: return &request->data;
    case STDOUT: return &request->out;
    default: return &request->err;
    }
}

/* A discrete record, which is whole. */
static void take_discrete(struct ours *ours, const uint8_t *content) {
    const demuxbuf_fcgi_record *now = &ours->now;
    switch (now->kind) {
    case BEGIN_REQUEST:
        if (now->request_id == ours->request->id) {
            ours->request->role = (uint32_t)content[0] << 8 | content[1];
        }
        break;
    case END_REQUEST:
        if (content[4] == CANT_MPX_CONN) {
            /* A second request, perhaps with the id of the first. */
            ours->refused++;
            break;
        }
        CHECK(now->request_id == ours->request->id);
        ours->ended++;
        ours->request->status =
            (uint32_t)content[0] << 24 | (uint32_t)content[1] << 16 | (uint32_t)content[2] << 8 | content[3];
        ours->protocol_status = content[4];
        break;
    case GET_VALUES_RESULT: ours->results++; break;
    case UNKNOWN_TYPE: ours->unknown++; break;
    default: break;
    }
}

/* Takes a piece of the record that has begun from the front; returns its length. */
static uint32_t take_rest(struct ours *ours, const uint8_t *front, uint32_t count) {
    uint32_t content = ours->content_left < count ? ours->content_left : count;
    if (ours->now.form == DEMUXBUF_FCGI_STREAM && ours->now.request_id == ours->request->id) {
        value_add(stream_of(ours->request, ours->now.kind), front, content);
    }
    ours->content_left -= content;
    uint32_t padding = ours->padding_left < count - content ? ours->padding_left : count - content;
    ours->padding_left -= padding;
    return content + padding;
}

/* Finds the record at the front; returns whether there is one. */
static int find(struct ours *ours, const uint8_t *front, uint32_t count) {
    demuxbuf_fcgi_record *now = &ours->now;
    now->struct_size = sizeof *now;
    int32_t status = demuxbuf_fcgi_peek_whole(&ours->decoder, front, count, now);
    if (status == DEMUXBUF_ERR_PROTOCOL) {
        ours->error_code = now->error_code;
        return 0;
    }
    CHECK_NUMBER(status, DEMUXBUF_OK);
    if (now->need_more > 0) {
        return 0;
    }
    CHECK(ours->count < RECORDS_MAX);
    ours->records[ours->count++] = (struct record){.at = ours->given - count,
                                                   .id = now->request_id,
                                                   .length = now->content_length,
                                                   .kind = now->kind,
                                                   .padding = now->padding_length};
    if (now->form == DEMUXBUF_FCGI_DISCRETE) {
        CHECK(count >= now->record_bytes);
        take_discrete(ours, front + HEAD_BYTES);
    }
    ours->content_left = now->content_length;
    ours->padding_left = now->padding_length;
    return 1;
}

static void decode(struct ours *ours) {
    uint32_t at = 0;
    while (ours->error_code == 0) {
        at += take_rest(ours, ours->buffer + at, ours->buffered - at);
        if (ours->content_left + ours->padding_left > 0 || !find(ours, ours->buffer + at, ours->buffered - at)) {
            break;
        }
        at += HEAD_BYTES;
    }
    ours->buffered -= at;
    memmove(ours->buffer, ours->buffer + at, ours->buffered);
}

void ours_feed(struct ours *ours, const uint8_t *bytes, uint32_t count) {
    while (count > 0 && ours->error_code == 0) {
        uint32_t room = BUFFER_BYTES - ours->buffered, piece = count < room ? count : room;
        CHECK(piece > 0);
        memcpy(ours->buffer + ours->buffered, bytes, piece);
        ours->buffered += piece;
        ours->given += piece;
        decode(ours);
        bytes += piece;
        count -= piece;
    }
}
