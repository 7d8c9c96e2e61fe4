/* The registrations with epoll, changed as rarely as possible. */
#ifndef H2RELAY_LOOP_H
#define H2RELAY_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

/* A file descriptor in the set, embedded in what it belongs to. */
struct registration {
    int fd; /* -1 once closed: later events of the same iteration are ignored */
    uint32_t interest;
    bool is_added;
    void (*on_events)(struct registration *registration, uint32_t events);
};

enum { EVENTS_PER_ITERATION = 256 };

struct loop {
    int epoll_fd;
    uint64_t ctl_calls;
    uint64_t iteration_max_ns; /* of iterations with much to do, from when the events were there */
    int events_count;          /* of this iteration */
    struct epoll_event events[EVENTS_PER_ITERATION];
};

/* False if there is no epoll; errno has the reason. */
bool loop_open(struct loop *loop);

void loop_close(struct loop *loop);

/* Makes the interest what is given, with a system call only if it is not that yet. False if the kernel refuses. */
bool loop_set(struct loop *loop, struct registration *registration, uint32_t interest);

/* Takes a descriptor out of the set without closing it. */
void loop_remove(struct loop *loop, struct registration *registration);

/* Takes a descriptor out of the set by closing it. */
void loop_close_fd(struct registration *registration);

/* Waits for events until the deadline (UINT64_MAX: without end; the past: not at all). */
void loop_wait(struct loop *loop, uint64_t deadline_ns);

/* Hands out the events that were waited for. */
void loop_dispatch(struct loop *loop);

/* Ends an iteration that began at this time. */
void loop_note_length(struct loop *loop, uint64_t began_ns);

/* Monotonic time, in nanoseconds. */
uint64_t loop_now_ns(void);

#endif
