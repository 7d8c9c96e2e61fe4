/* An application on libfcgi, in a thread of its own. */
#ifndef THEIRS_H
#define THEIRS_H

#include "request.h"

#include <pthread.h>

struct theirs {
    pthread_t thread;
    int listener;
    /* Under this lock, what the next request is to be answered with, and what the last one was. */
    pthread_mutex_t lock;
    const struct request *answer;
    uint64_t random;
    int is_last;
    /* Requests that were answered; of the last, its parameters as text, and whether a stream ended in an error. */
    uint32_t answered, has_failed;
    struct request seen;
};

/* Listens at this path. */
void theirs_start(struct theirs *theirs, const char *path);
/* Waits until the thread has answered the request that is the last. */
void theirs_join(struct theirs *theirs);
/* How the next request is answered. */
void theirs_expect(struct theirs *theirs, const struct request *answer, uint64_t random, int is_last);

#endif
