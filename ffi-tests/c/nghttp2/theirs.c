#include "theirs.h"

/*
 * Versions with a limit on the frames of a header block count each piece of a head that a call brings as one, so that
 * a block that arrives byte by byte is refused. Others have no limit, and no such function.
 */
void nghttp2_option_set_max_continuations(nghttp2_option *option, size_t frames) __attribute__((weak));

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *head, void *user) {
    struct theirs *theirs = user;
    (void)session;
    CHECK(theirs->log.count < FRAMES_MAX);
    theirs->log.frames[theirs->log.count++] = (struct frame){.seen_at = theirs->given,
                                                             .length = (uint32_t)head->length,
                                                             .stream_id = (uint32_t)head->stream_id,
                                                             .kind = head->type,
                                                             .flags = head->flags};
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    (void)session;
    (void)frame;
    ((struct theirs *)user)->log.complete++;
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    struct theirs *theirs = user;
    (void)session;
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        theirs->log.stream_error_code = frame->rst_stream.error_code;
    }
    if (frame->hd.type == NGHTTP2_GOAWAY && theirs->log.error_code == 0) {
        theirs->log.error_code = frame->goaway.error_code;
        theirs->log.error_at = theirs->given;
        snprintf(theirs->log.reason, sizeof theirs->log.reason, "%.*s", (int)frame->goaway.opaque_data_len,
                 (const char *)frame->goaway.opaque_data);
    }
    return 0;
}

static int on_extension_chunk(nghttp2_session *session, const nghttp2_frame_hd *head, const uint8_t *data, size_t bytes,
                              void *user) {
    (void)session;
    (void)head;
    (void)data;
    (void)bytes;
    (void)user;
    return 0;
}

static int unpack_extension(nghttp2_session *session, void **payload, const nghttp2_frame_hd *head, void *user) {
    (void)session;
    (void)head;
    (void)user;
    *payload = NULL;
    return 0;
}

static void send_all(struct theirs *theirs) {
    const uint8_t *bytes;
    ssize_t count;
    while ((count = nghttp2_session_mem_send(theirs->session, &bytes)) > 0) {
    }
    CHECK(count == 0);
}

static void request_all(struct theirs *theirs) {
    static const nghttp2_nv method = {(uint8_t *)":method", (uint8_t *)"GET", 7, 3, NGHTTP2_NV_FLAG_NONE};
    for (uint32_t nth = 0; nth < REQUESTED; nth++) {
        CHECK_NUMBER(nghttp2_submit_request(theirs->session, NULL, &method, 1, NULL, NULL), 2 * nth + 1);
    }
}

void theirs_start(struct theirs *theirs, const struct stream *stream) {
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    memset(theirs, 0, sizeof *theirs);
    CHECK(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(callbacks, on_extension_chunk);
    nghttp2_session_callbacks_set_unpack_extension_callback(callbacks, unpack_extension);
    nghttp2_option_set_no_http_messaging(option, 1);
    /* It reports no frame of an unknown type. */
    for (uint32_t kind = CONTINUATION + 1; kind < 256; kind++) {
        nghttp2_option_set_user_recv_extension_type(option, (uint8_t)kind);
    }
    if (nghttp2_option_set_max_continuations != NULL) {
        nghttp2_option_set_max_continuations(option, STREAM_BYTES_MAX);
    }
    if (stream->side == DEMUXBUF_H2_CLIENT) {
        CHECK(nghttp2_session_server_new2(&theirs->session, callbacks, theirs, option) == 0);
    } else {
        CHECK(nghttp2_session_client_new2(&theirs->session, callbacks, theirs, option) == 0);
    }
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    for (uint32_t at = 0; at < SIZES_MAX; at++) {
        const nghttp2_settings_entry size = {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, stream->sizes[at]};
        CHECK(nghttp2_submit_settings(theirs->session, NGHTTP2_FLAG_NONE, &size, 1) == 0);
    }
    if (stream->side == DEMUXBUF_H2_SERVER) {
        request_all(theirs);
    }
    send_all(theirs);
}

void theirs_feed(struct theirs *theirs, const uint8_t *bytes, uint32_t count) {
    theirs->given += count;
    if (theirs->log.error_code != 0) {
        return;
    }
    ssize_t taken = nghttp2_session_mem_recv(theirs->session, bytes, count);
    if (taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC) {
        theirs->log.error_code = PROTOCOL_ERROR;
        theirs->log.error_at = theirs->given;
        return;
    }
    CHECK_NUMBER(taken, count);
    send_all(theirs);
    theirs->is_done = theirs->log.error_code == 0 && nghttp2_session_want_read(theirs->session) == 0;
}

int theirs_has_closed(const struct theirs *theirs, uint32_t stream_id) {
    nghttp2_stream *stream = stream_id > 0 ? nghttp2_session_find_stream(theirs->session, (int32_t)stream_id) : NULL;
    /* One that is idle here is known by its priority alone; to take it for one to come would be an error. */
    return stream_id > 0 && (stream == NULL || nghttp2_stream_get_state(stream) == NGHTTP2_STREAM_STATE_CLOSED ||
                             nghttp2_stream_get_state(stream) == NGHTTP2_STREAM_STATE_IDLE);
}

void theirs_end(struct theirs *theirs) {
    nghttp2_session_del(theirs->session);
}
