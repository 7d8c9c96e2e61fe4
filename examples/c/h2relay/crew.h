/* All event loops: the first runs on the thread that calls here, each other one on a thread of its own. */
#ifndef H2RELAY_CREW_H
#define H2RELAY_CREW_H

#include "relay.h"
#include "stats.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct crew;

/* One event loop and the thread that it is on. */
struct worker {
    struct crew *crew;
    struct relay relay;
    struct figures figures; /* as of the last time it was asked, then as of its end */
    pthread_t thread;
    bool is_open;
    bool is_started;
    atomic_bool is_asked; /* for its figures */
};

struct crew {
    struct common common;
    struct worker *workers;
    sem_t opened; /* a worker is open, or could not be */
    atomic_bool is_over;
    atomic_uint unanswered; /* workers that were asked for their figures and have not answered */
    bool is_reporting;
    bool is_asked_again;
};

/* Reserves memory, starts all threads, and prints the address on stdout; false after a message on stderr, and nothing
   is held. Signals must be blocked by now, so that no other thread takes them; the first loop polls for them. */
bool crew_open(struct crew *crew, const struct options *options, struct registration *signals);

/* One iteration of the first loop. */
void crew_iterate(struct crew *crew);

/* Asks all threads for their figures, and reports them in this iteration or a later one. */
void crew_ask(struct crew *crew);

/* Closes every connection, ends all threads, reports, and frees everything. False if a call was refused by the library:
   a defect of this program. */
bool crew_close(struct crew *crew);

#endif
