/* A host without a buffer to lend parks what it has in a small one of its own, which that fills. While it waits for a
   large one, the machine reports how many bytes have to be in the kernel before a receive helps: the low-water mark. */

#define _POSIX_C_SOURCE 200809L

#include "scenarios.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 9, FIRST = 5, PIECE = 1, QUIET_MS = 50, PATIENCE_MS = 10000 };

/* Two ends of a connection: the kernel ignores the mark of socket pairs. */
static void connect_pair(int fds[2]) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_NUMBER(bind(listener, (struct sockaddr *)&address, bytes), 0);
    CHECK_NUMBER(listen(listener, 1), 0);
    CHECK_NUMBER(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_NUMBER(connect(fds[1], (struct sockaddr *)&address, bytes), 0);
    fds[0] = accept(listener, NULL, NULL);
    CHECK(fds[0] >= 0);
    close(listener);
}

static bool is_readable(int fd, int timeout_ms) {
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    return poll(&poller, 1, timeout_ms) == 1;
}

static demuxbuf_connection_info look_at(const demuxbuf_connection *machine) {
    demuxbuf_connection_info info = {.struct_size = sizeof info};
    CHECK_NUMBER(demuxbuf_connection_describe(machine, &info), DEMUXBUF_OK);
    return info;
}

/* Receives the first bytes of a header in a large buffer, which goes back; they are parked in `slot`. */
static void park_first(demuxbuf_connection *machine, int fd, uint8_t *slot) {
    CHECK(is_readable(fd, PATIENCE_MS));
    CHECK(demuxbuf_connection_readable(machine) & DEMUXBUF_REQUEST_BUFFER);
    CHECK(demuxbuf_connection_buffer_granted(machine, BUFFER_BYTES) & DEMUXBUF_RECV);
    CHECK_NUMBER(recv(fd, slot, FIRST, 0), FIRST);
    CHECK(demuxbuf_connection_received(machine, FIRST) & DEMUXBUF_DECODE);
    CHECK(demuxbuf_connection_need_more(machine, HEADER - FIRST) & DEMUXBUF_PARK);
    CHECK(demuxbuf_connection_report(machine, DEMUXBUF_EVENT_BUFFER_PARKED, FIRST) & DEMUXBUF_WANT_RECV);
    demuxbuf_connection_done(machine, DEMUXBUF_WANT_RECV);
    CHECK_NUMBER(look_at(machine).hold, 1);
}

static void set_mark(int fd, uint32_t bytes) {
    int mark = (int)bytes;
    CHECK_NUMBER(setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof mark), 0);
}

void low_water_mark(void) {
    uint8_t buffer[BUFFER_BYTES], slot[FIRST];
    const uint8_t header[HEADER] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    int fds[2];
    demuxbuf_connection machine;
    demuxbuf_policy policy = {.struct_size = sizeof policy, .park_bytes = FIRST, .mode = ONE_SHOT};
    connect_pair(fds);
    CHECK_NUMBER(demuxbuf_connection_init(&machine, &policy, NULL, NULL), DEMUXBUF_OK);
    CHECK(demuxbuf_connection_attach(&machine, 0, 0) & DEMUXBUF_WANT_RECV);
    demuxbuf_connection_done(&machine, DEMUXBUF_WANT_RECV);
    CHECK_NUMBER(send(fds[1], header, FIRST, 0), FIRST);
    park_first(&machine, fds[0], slot);

    CHECK_NUMBER(send(fds[1], header + FIRST, PIECE, 0), PIECE);
    CHECK(is_readable(fds[0], PATIENCE_MS));
    CHECK(demuxbuf_connection_readable(&machine) & DEMUXBUF_REQUEST_BUFFER);
    CHECK_NUMBER(demuxbuf_connection_buffer_denied(&machine) & DEMUXBUF_RECV, 0);
    demuxbuf_connection_info denied = look_at(&machine);
    CHECK_NUMBER(denied.waiting, 1);
    CHECK_NUMBER(denied.buffered_bytes, FIRST);
    CHECK_NUMBER(denied.needed_bytes, HEADER - FIRST);
    set_mark(fds[0], denied.needed_bytes);
    CHECK(!is_readable(fds[0], QUIET_MS));
    CHECK_NUMBER(send(fds[1], header + FIRST + PIECE, HEADER - FIRST - PIECE, 0), HEADER - FIRST - PIECE);
    CHECK(is_readable(fds[0], PATIENCE_MS));

    /* The buffer is worth it now: one receive, and the decoder goes on. */
    memcpy(buffer, slot, FIRST);
    CHECK(demuxbuf_connection_buffer_granted(&machine, BUFFER_BYTES) & DEMUXBUF_RECV);
    CHECK_NUMBER(recv(fds[0], buffer + FIRST, BUFFER_BYTES - FIRST, 0), HEADER - FIRST);
    CHECK(demuxbuf_connection_received(&machine, HEADER - FIRST) & DEMUXBUF_DECODE);
    CHECK_NUMBER(look_at(&machine).needed_bytes, 0);
    CHECK_NUMBER(memcmp(buffer, header, HEADER), 0);
    set_mark(fds[0], 1);
    demuxbuf_connection_consumed(&machine, HEADER);
    CHECK(demuxbuf_connection_close(&machine) & DEMUXBUF_RELEASE_BUFFER);
    CHECK_NUMBER(demuxbuf_connection_buffer_released(&machine), DEMUXBUF_FINISHED);
    close(fds[0]);
    close(fds[1]);
    printf("low_water ok\n");
}
