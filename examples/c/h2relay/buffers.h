/*
 * Where received bytes go. The relay knows one interface; behind it is either the library's pool (buffers_pool.c), or
 * a buffer for each connection and direction (buffers_static.c) that only the library's state machine runs.
 */
#ifndef H2RELAY_BUFFERS_H
#define H2RELAY_BUFFERS_H

#include "demuxbuf.h"
#include "demuxbuf_posix.h"
#include "options.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffers;

/* The receiving half of one socket. */
struct inlet {
    struct buffers *buffers;
    demuxbuf_posix_socket socket;
    union {
        uint64_t receiver; /* of the pool */
        struct {
            demuxbuf_connection machine;
            uint8_t *memory;
            uint32_t start; /* of what is buffered, in bytes */
        } own;
    };
};

/* The events of an inlet. */
enum inlet_event {
    INLET_PENDING, /* nothing; what is to be done is asked again */
    INLET_READABLE,
    INLET_RECEIVED, /* value: bytes */
    INLET_WOULD_BLOCK,
    INLET_END_OF_STREAM,
    INLET_TRANSPORT_ERROR,
    INLET_DECODED, /* value: bytes consumed; need: bytes that must arrive before the decoder can go on */
    INLET_BLOCK,   /* value: reasons */
    INLET_UNBLOCK, /* value: reasons */
    INLET_PAUSE,
    INLET_RESUME,
    INLET_WAKE,
    INLET_FAIL,
    INLET_DONE, /* value: actions */
    INLET_CLOSE,
};

/* What the decoder makes of bytes that are to come. */
struct need {
    uint32_t more;   /* without that many it cannot go on; 0 if it was reported, or is not known */
    uint32_t usable; /* the most that it can use at once, though fewer help; 0 for the same */
};

/* The functions of a kind of buffers. */
struct buffers_kind {
    /* False if there is no memory or no place for one more. `tenant` is 0 for the default tenant; the token comes back
       with notices. */
    bool (*attach)(struct inlet *inlet, int fd, uint64_t tenant, void *token);
    /* The tenant's number, or 0 if there is no place for one more. */
    uint64_t (*create_tenant)(struct buffers *buffers);
    void (*remove_tenant)(struct buffers *buffers, uint64_t tenant);
    demuxbuf_step (*report)(struct inlet *inlet, enum inlet_event event, uint32_t value, struct need need);
    /* Does DEMUXBUF_RECV or DEMUXBUF_PEEK, and reports the outcome. With DEMUXBUF_PEEK in the step that it returns, the
       bytes at `data` are still in the socket: how many are needed from there on is to be reported as need.more. */
    demuxbuf_step (*receive)(struct inlet *inlet, demuxbuf_step step);
    /* True if a receiver that waited may receive, or is to be shed: writes its token, and the actions. */
    bool (*poll_notice)(struct buffers *buffers, void **token, demuxbuf_step *step);
    void (*handle_timeout)(struct buffers *buffers, uint64_t now_ns);
    uint64_t (*poll_timeout)(struct buffers *buffers);
    void (*describe)(struct inlet *inlet, demuxbuf_receiver_info *info);
    void (*get_stats)(struct buffers *buffers, demuxbuf_pool_stats *stats);
    /* True if another thread is to be woken, which has something to pick up: writes which one. */
    bool (*poll_wake)(struct buffers *buffers, uint32_t *thread);
    void (*close)(struct buffers *buffers);
};

struct buffers {
    const struct buffers_kind *kind;
    demuxbuf_pool *pool; /* only for the pool, as the next */
    bool is_shared;      /* by several threads */
    bool is_counting;    /* partial frames stay in the kernel while memory is short */
    demuxbuf_policy policy;
    uint32_t buffer_bytes;
    demuxbuf_pool_stats stats; /* only for static buffers */
};

/* A pool for all threads. It writes a sentence to `message` and returns false if there is no memory or the options do
   not fit together, as the next does. */
bool buffers_open_shared_pool(demuxbuf_shared_pool **shared_pool, const struct options *options, char *message,
                              size_t message_bytes);

/* The pool of a thread: its part of `shared_pool`, or one of its own if that is NULL. */
bool buffers_open_pool(struct buffers *buffers, const struct options *options, demuxbuf_shared_pool *shared_pool,
                       uint32_t thread, char *message, size_t message_bytes);

void buffers_open_static(struct buffers *buffers, const struct options *options);

/* Whether what was received has ended in an error, as opposed to an end. */
static inline bool inlet_is_broken(struct inlet *inlet) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    inlet->buffers->kind->describe(inlet, &info);
    return info.end == DEMUXBUF_END_KIND_ERROR;
}

static inline demuxbuf_step inlet_report(struct inlet *inlet, enum inlet_event event, uint32_t value) {
    return inlet->buffers->kind->report(inlet, event, value, (struct need){0});
}

static inline demuxbuf_step inlet_decoded(struct inlet *inlet, uint32_t consumed, struct need need) {
    return inlet->buffers->kind->report(inlet, INLET_DECODED, consumed, need);
}

#endif
