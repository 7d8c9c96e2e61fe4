#define _GNU_SOURCE
#include "loop.h"

#include <errno.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

uint64_t loop_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool loop_open(struct loop *loop) {
    *loop = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    return loop->epoll_fd >= 0;
}

void loop_close(struct loop *loop) {
    close(loop->epoll_fd);
}

bool loop_set(struct loop *loop, struct registration *registration, uint32_t interest) {
    if (registration->is_added && registration->interest == interest) {
        return true;
    }
    struct epoll_event event = {.events = interest, .data = {.ptr = registration}};
    loop->ctl_calls++;
    if (epoll_ctl(loop->epoll_fd, registration->is_added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, registration->fd, &event) !=
        0) {
        return false;
    }
    registration->is_added = true;
    registration->interest = interest;
    return true;
}

void loop_remove(struct loop *loop, struct registration *registration) {
    if (registration->is_added) {
        loop->ctl_calls++;
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, registration->fd, NULL);
        registration->is_added = false;
    }
}

void loop_close_fd(struct registration *registration) {
    close(registration->fd);
    registration->fd = -1;
    registration->is_added = false;
}

static int timeout_ms(uint64_t deadline_ns) {
    if (deadline_ns == UINT64_MAX) {
        return -1;
    }
    uint64_t now_ns = loop_now_ns();
    if (deadline_ns <= now_ns) {
        return 0;
    }
    /* Rounded up, or the last fraction of a millisecond would be spent spinning. */
    uint64_t ms = (deadline_ns - now_ns + 999999u) / 1000000u;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

void loop_wait(struct loop *loop, uint64_t deadline_ns) {
    loop->events_count = epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_ITERATION, timeout_ms(deadline_ns));
}

void loop_dispatch(struct loop *loop) {
    for (int index = 0; index < loop->events_count; index++) {
        struct registration *registration = loop->events[index].data.ptr;
        if (registration->fd >= 0) {
            registration->on_events(registration, loop->events[index].events);
        }
    }
}

void loop_note_length(struct loop *loop, uint64_t began_ns) {
    uint64_t length_ns = loop_now_ns() - began_ns;
    loop->iteration_max_ns = length_ns > loop->iteration_max_ns ? length_ns : loop->iteration_max_ns;
}
