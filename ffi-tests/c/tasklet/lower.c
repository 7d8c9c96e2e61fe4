#define _POSIX_C_SOURCE 200809L

#include "lower.h"

#include "support.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void lower_open(struct lower *lower, struct sched *sched, struct tasklet *tasklet, int fd) {
    memset(lower, 0, sizeof *lower);
    lower->sched = sched;
    lower->tasklet = tasklet;
    lower->fd = fd;
}

void lower_close(struct lower *lower) {
    lower->armed = false;
    free(lower->bytes);
    lower->bytes = NULL;
    if (lower->fd >= 0) {
        close(lower->fd);
        lower->fd = -1;
    }
}

static void report(struct lower *lower) {
    if (lower->armed) {
        lower->armed = false;
        sched_wake(lower->sched, lower->tasklet, WAKE_READABLE);
    }
}

/* Bytes before an end must be read first, or they would be lost. */
static void report_end(struct lower *lower) {
    if (lower->end != LOWER_OPEN && lower->level == 0 && !lower->hang_up_reported) {
        lower->hang_up_reported = true;
        sched_wake(lower->sched, lower->tasklet, WAKE_HANG_UP);
    }
}

void lower_push(struct lower *lower, const uint8_t *bytes, uint32_t count) {
    CHECK(lower->end == LOWER_OPEN);
    if (lower->level + count > lower->bytes_max) {
        lower->bytes_max = 2 * (size_t)(lower->level + count);
        lower->bytes = must_have(realloc(lower->bytes, lower->bytes_max));
    }
    memcpy(lower->bytes + lower->level, bytes, count);
    lower->level += count;
    report(lower);
}

void lower_finish(struct lower *lower) {
    lower->end = LOWER_ENDED;
    report(lower);
    report_end(lower);
}

void lower_break(struct lower *lower) {
    lower->end = LOWER_BROKEN;
    lower->level = 0;
    report(lower);
    report_end(lower);
}

static int32_t receive_from_socket(struct lower *lower, uint8_t *area, uint32_t count) {
    ssize_t received = recv(lower->fd, area, count, MSG_DONTWAIT);
    if (received >= 0) {
        return (int32_t)received;
    }
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? LOWER_AGAIN : LOWER_FAILED;
}

int32_t lower_receive(struct lower *lower, uint8_t *area, uint32_t count, bool *ended) {
    *ended = false;
    lower->receives++;
    if (lower->fd >= 0) {
        return receive_from_socket(lower, area, count);
    }
    if (lower->level == 0) {
        return lower->end == LOWER_OPEN ? LOWER_AGAIN : lower->end == LOWER_ENDED ? 0 : LOWER_FAILED;
    }
    uint32_t piece = least(count, lower->level);
    memcpy(area, lower->bytes, piece);
    lower->level -= piece;
    memmove(lower->bytes, lower->bytes + piece, lower->level);
    *ended = lower->joins_end && lower->level == 0 && lower->end == LOWER_ENDED;
    return (int32_t)piece;
}

void lower_arm(struct lower *lower) {
    lower->times_armed++;
    lower->armed = true;
    if (lower->level > 0 || lower->end != LOWER_OPEN) {
        report(lower);
    }
}

void lower_disarm(struct lower *lower) {
    lower->armed = false;
}

/* The next event of a socket that hung up: an end, if nothing is left to read. */
static enum lower_end look_for_end(int fd) {
    uint8_t byte;
    ssize_t seen = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (seen == 0) {
        return LOWER_ENDED;
    }
    return seen < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR ? LOWER_BROKEN : LOWER_OPEN;
}

void lower_poll(struct lower *lower) {
    struct pollfd polled = {.fd = lower->fd, .events = lower->armed ? POLLIN : 0};
    CHECK(poll(&polled, 1, 0) >= 0);
    if (polled.revents != 0) {
        report(lower);
    }
    if (polled.revents & (POLLHUP | POLLERR)) {
        lower->end = look_for_end(lower->fd);
        report_end(lower);
    }
}
