/* libnghttp2, which has no decoder apart from its session: a server's, that checks the state of streams and windows and
 * decodes header blocks as well. What can be turned off is: the rules of HTTP, and the updates of its windows, which
 * are so large that nothing fills them. Nothing that is decoded asks for an answer. */
#include "host.h"

#include <nghttp2/nghttp2.h>

static nghttp2_session *session;

static void check(int status) {
    if (status < 0)
        fail(nghttp2_strerror(status));
}

static int on_frame(nghttp2_session *of, const nghttp2_frame *frame, void *user) {
    (void)of;
    (void)user;
    count((uint32_t)frame->hd.length);
    if (frame->hd.type == NGHTTP2_PING)
        count_eight(frame->ping.opaque_data);
    else if (frame->hd.type == NGHTTP2_WINDOW_UPDATE)
        counts.content += (uint32_t)frame->window_update.window_size_increment;
    return 0;
}

/* It lets some frames go by without a word, others end its session. */
static int on_invalid_frame(nghttp2_session *of, const nghttp2_frame *frame, int error, void *user) {
    (void)of;
    (void)frame;
    (void)user;
    fail(nghttp2_strerror(error));
    return 0;
}

static void start(const uint8_t *prologue, size_t bytes) {
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;
    check(nghttp2_session_callbacks_new(&callbacks));
    check(nghttp2_option_new(&options));
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_option_set_no_http_messaging(options, 1);
    nghttp2_option_set_no_auto_window_update(options, 1);
    check(nghttp2_session_server_new2(&session, callbacks, NULL, options));
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(options);
    receive(prologue, bytes);
    /* Of the connection, and of the stream that the prologue has opened. */
    check(nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, INT32_MAX));
    check(nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 1, INT32_MAX));
}

static size_t decode(const uint8_t *data, size_t bytes) {
    ssize_t taken = nghttp2_session_mem_recv(session, data, bytes);
    check((int)taken);
    return (size_t)taken;
}

static void finish(void) {
    if (!nghttp2_session_want_read(session))
        fail("the session has ended");
    nghttp2_session_del(session);
}
