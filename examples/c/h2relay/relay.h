/* Clients and backends, one to one: accepting, connecting, and the end of a pair. */
#ifndef H2RELAY_RELAY_H
#define H2RELAY_RELAY_H

#include "buffers.h"
#include "frames.h"
#include "list.h"
#include "loop.h"
#include "options.h"
#include "tenants.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct relay;
struct pair;

/* One socket: what it receives goes through its inlet and its gate to the peer's socket. */
struct endpoint {
    struct registration registration; /* first: the loop's pointer to it is one to the endpoint */
    struct pair *pair;
    struct endpoint *peer;
    struct inlet inlet;
    struct gate gate;
    struct list run; /* on relay->run: has work for the next loop iteration */
    struct list end; /* on relay->ends: what epoll reported of its end is still to be looked at */
    uint32_t end_events;
    bool wants_recv;  /* read interest of the inlet is armed */
    bool wants_send;  /* the peer's inlet is blocked until there is room to send here */
    bool end_near;    /* the other side will send no more; bytes may still arrive */
    bool hung_up;     /* epoll has nothing more to report for this socket */
    bool is_broken;   /* failed, as opposed to ended */
    bool input_over;  /* everything it sent was passed on */
    bool output_over; /* nothing is sent to it any more */
};

/* A client, and the backend connection opened for it. */
struct pair {
    struct relay *relay;
    struct tenant *tenant; /* NULL for the default tenant */
    struct endpoint client;
    struct endpoint backend;
    struct list link;   /* on relay->pairs, then on relay->closed */
    struct list linger; /* on relay->lingering: waits for one side to read its farewell and leave */
    uint64_t linger_until_ns;
    bool is_connecting;
    bool is_lingering;
    bool is_closed;
};

/* Counters beside those of the buffers and the loop. */
struct relay_counts {
    uint64_t connections_total;
    uint64_t refused;
    uint64_t shed;
    uint64_t goaway_sent;
    uint64_t protocol_errors;
    uint64_t backends_lost;
    uint64_t truncated_frames;
    uint64_t misuses; /* calls the library refused: a defect of this program */
    uint64_t iterations;
    uint64_t clock_gap_max_ns; /* between two advances of the pool's clock, where the pool asked for the second */
    uint64_t recv_calls;
    uint64_t send_calls;
    uint64_t relayed_bytes;
    uint64_t wakes; /* of other threads, for what they have to pick up */
    struct frame_counts client_frames;
    struct frame_counts backend_frames;
};

/* One address that clients connect to. */
struct listener {
    struct registration registration; /* first: the loop's pointer to it is one to the listener */
    struct relay *relay;
};

/* Logs why a client is shed, at a limited rate, so that the log is no target. */
struct shed_log {
    uint64_t since_ns; /* the second that is counted */
    uint32_t lines;    /* written in it */
    uint64_t suppressed;
};

/* The part that all threads share. */
struct common {
    const struct options *options;
    demuxbuf_shared_pool *shared_pool;    /* the pool of several threads; NULL for one, and for static buffers */
    struct address listen[LISTENERS_MAX]; /* with the ports that the first thread got */
    int wake_fds[THREADS_MAX];            /* of each thread: its sleep ends when something is written there */
    struct tenants tenants;
    uint64_t started_ns;
    _Atomic uint64_t connections;
    _Atomic uint64_t connections_peak;
};

/* One event loop, on a thread of its own. */
struct relay {
    struct common *common;
    const struct options *options;
    uint32_t thread; /* which one */
    struct registration wake;
    struct loop loop;
    struct buffers buffers;
    struct listener listeners[LISTENERS_MAX];
    struct shed_log shed_log;
    uint64_t listen_again_ns; /* UINT64_MAX while it listens */
    uint64_t clock_ns;        /* as the pool's clock was last advanced to; 0 before that */
    int spare_fd; /* given up for a moment when descriptors ran out: to refuse a client, to write statistics */
    struct list pairs;
    struct list run;
    struct list ends;      /* in the order in which epoll reported them */
    struct list lingering; /* ordered by deadline, as all linger equally long */
    struct list closed;    /* freed at the end of the iteration, when no event can name them any more */
    bool grants_left;
    struct relay_counts counts;
};

/* Reserves what this thread needs; false after a message on stderr, and nothing is held. The thread that calls is the
   one that uses it. */
bool relay_open(struct relay *relay, struct common *common, uint32_t thread);

/* Starts to listen: the first thread at the addresses of the options, the others at the same. False after a message on
   stderr. */
bool relay_listen(struct relay *relay);

/* Prints on stdout where the relay listens. */
void relay_announce(const struct common *common);

/* Ends the sleep of a thread. */
void relay_wake(const struct common *common, uint32_t thread);

/* Closes every connection; the statistics stay readable. */
void relay_close_all(struct relay *relay);

/* Without a connection: picks up what other threads handed to this one before they ended, and has no use for it. */
void relay_pick_up(struct relay *relay);

void relay_close(struct relay *relay);

/* Waits for something to happen and does what is to be done then. */
void relay_iterate(struct relay *relay);

/* Frees the spare descriptor, and opens it again. */
void relay_free_descriptor(struct relay *relay);
void relay_keep_descriptor(struct relay *relay);

/* For the transfer. Both close a pair; only its memory lives until the end of the iteration. */
void pair_close(struct pair *pair);

/* Closes a pair because this endpoint holds memory that others wait for. The client gets a GOAWAY, if possible. */
void pair_shed(struct pair *pair, struct endpoint *endpoint);

/* Sends a GOAWAY to one side and closes the other. The first side is closed too once it has left, or after a short
   while: closed at once, it might lose the GOAWAY. */
void pair_dismiss(struct pair *pair, struct endpoint *endpoint, uint32_t error_code);

#endif
