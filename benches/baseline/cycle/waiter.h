/* A place in a queue for buffers. */
#ifndef WAITER_H
#define WAITER_H

#include <stdint.h>

typedef struct waiter {
    struct waiter *next, **previous;
    struct waiter *woken; /* the next that may try again */
} waiter_t;

/* How critical a need is; receiving is the third. */
enum { LEVELS = 4, LEVEL_RECEIVE = 2 };

#endif
