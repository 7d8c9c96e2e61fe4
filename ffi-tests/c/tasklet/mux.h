/*
 * The mux: one connection of a proxy that keeps its own buffers and its own run queue, and asks the state machine what
 * to do next. It receives into a ring, decodes frames there across the wrap, and reports with one `sync` what its ring
 * and flags look like, instead of counting at every place that cuts, folds or swaps the ring.
 */

#ifndef TASKLET_MUX_H
#define TASKLET_MUX_H

#include "demuxbuf.h"
#include "lower.h"
#include "peer.h"
#include "pool.h"
#include "ring.h"
#include "sched.h"

/* Why decoding cannot go on. */
enum block_reason {
    BLOCK_STREAM_FULL = 1,
    BLOCK_STREAM_BUFFER = 2, /* the stream waits for a buffer */
    BLOCK_TRANSMIT_FULL = 4,
    BLOCK_TRANSMIT_BUFFER = 8,
    BLOCK_STREAMS_MAX = 16, /* too many streams: the test decides */
};

enum { ACK_BYTES = 8, FRAMES_PER_RUN = 16, SLOT_BYTES = 16 };

/* The run queue and the buffers that connections share. */
struct host {
    struct sched sched;
    struct pool pool;
};

/* What the host does with a frame that can never fit into its buffer. */
enum misfit { MISFIT_FAIL, MISFIT_GROW };

struct mux {
    demuxbuf_connection connection;
    struct host *host;
    struct tasklet tasklet;
    struct lower lower;
    struct ring ring; /* the demux buffer; or what is parked, in `slot` */
    uint8_t slot[SLOT_BYTES];
    struct waiter waits[NEEDS];
    struct ring transmit;
    struct ring streams[STREAMS];
    uint32_t blocked;
    bool is_optimistic;
    bool lacks_data;
    bool failed;
    bool closed;
    bool sheds; /* asked to close itself */
    enum misfit misfit;

    /* How far the decoder is. */
    bool preface_seen;
    uint32_t stream;       /* of the DATA frame that is open */
    uint32_t payload_left; /* its data, then its padding, still to come */
    uint32_t padding_left;
    uint32_t responses_owed; /* by the application, for want of a buffer to write them to */

    /* Counters. */
    uint32_t frames;
    uint32_t block_bytes;
    uint32_t delivered[STREAMS]; /* bytes the application read and checked */
    uint32_t discarded;
    uint32_t ends;
    uint32_t end_kind; /* as in demuxbuf_connection_info */
    uint32_t truncated_bytes;
    uint32_t misfits;
    uint32_t sheds_seen;
    uint32_t finishes;
    uint32_t runs;
    uint32_t idle_runs;   /* that found nothing to do */
    uint32_t useless_max; /* nudges and ended blocks: wake-ups that may find nothing */
    uint32_t run_frames;  /* decoded in this run */
    uint32_t run_frames_max;
    uint32_t run_receives_max;
    uint32_t folds;
    uint32_t wraps; /* headers read across the wrap */
    uint32_t swaps;
    uint32_t parkings;
};

void host_open(struct host *host, uint32_t buffers, uint32_t buffer_bytes);
void host_close(struct host *host);
/* Runs tasklets until none is left; returns how many ran. That it ends at all is checked. */
uint32_t host_settle(struct host *host);

/* Opens a connection over the simulated transport, or over a socket; it parks at most `park_bytes`. */
void mux_open(struct mux *mux, struct host *host, uint8_t mode, uint16_t park_bytes, int fd);
/* Then starts it: with no buffer, or with a ring that already holds bytes. */
void mux_attach(struct mux *mux, struct ring ring);
/* Ends it in whatever state it is; everything it holds goes back. */
void mux_close(struct mux *mux);

/* A wake-up for nothing. */
void mux_nudge(struct mux *mux);
void mux_block(struct mux *mux, uint32_t reasons);
void mux_unblock(struct mux *mux, uint32_t reasons);
/* The application reads and checks at most this many bytes of a stream. */
uint32_t mux_read_stream(struct mux *mux, uint32_t stream, uint32_t bytes_max);
/* The transport takes everything that is to be sent. */
uint32_t mux_drain_transmit(struct mux *mux);
/* The application writes a response, or waits for a buffer to write it to. */
void mux_respond(struct mux *mux);
/* By the host's clock, the buffer is held too long without progress. */
void mux_expire(struct mux *mux);

uint32_t mux_pending(const struct mux *mux);
demuxbuf_connection_info mux_info(const struct mux *mux);
/* Checks that the machine's state equals the host's. */
void mux_check(const struct mux *mux);

/* Inside the mux: the decoder runs until it cannot go on; true if only its budget is used up. */
bool mux_decode(struct mux *mux);
/* A buffer for the need, or the reason that stands for its want is set. */
bool mux_obtain(struct mux *mux, struct ring *ring, enum need need, uint32_t reason);
void mux_release(struct mux *mux, struct ring *ring);

#endif
