/*
 * A layer between socket and receiver, such as a TLS library, that has taken all that the socket had and hands it on in
 * pieces, while the socket reports nothing any more.
 */
#include "shard.h"

enum { BYTES = 5000, PIECE = 1000, STEPS_MAX = 100 };

static const uint32_t notices = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_RESCHEDULE;
static const uint8_t modes[] = {DEMUXBUF_MODE_LEVEL, DEMUXBUF_MODE_EDGE, DEMUXBUF_MODE_ONE_SHOT,
                                DEMUXBUF_MODE_OPTIMISTIC};

static demuxbuf_pool *new_pool(uint8_t mode, uint8_t reads_ahead) {
    demuxbuf_pool_config config = config_of(6, 10, 16448);
    config.mode = mode;
    config.reads_ahead = reads_ahead;
    return pool_of(&config);
}

static struct shard shard_of(uint8_t mode, uint8_t reads_ahead) {
    demuxbuf_pool_config config = shared_config_of(1, 6, 10, 16448);
    CHECK_NUMBER(config.reads_ahead, 0);
    config.mode = mode;
    config.reads_ahead = reads_ahead;
    return new_shard(&config);
}

static uint64_t attach(demuxbuf_pool *pool) {
    demuxbuf_attach_options options = {.struct_size = sizeof options, .token = 1};
    uint64_t receiver = 0;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, &options, &receiver, NULL, NULL), DEMUXBUF_OK);
    demuxbuf_step step = demuxbuf_receiver_pending(pool, receiver);
    if ((step.actions & DEMUXBUF_RECV) != 0) {
        step = demuxbuf_receiver_would_block(pool, receiver);
    }
    CHECK_NUMBER(step.actions, DEMUXBUF_WANT_RECV);
    CHECK_NUMBER(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV).actions, 0);
    return receiver;
}

/* How many bytes stay in the layer after the socket's one report. A host that knows when the layer is empty may report
   that at once, which saves a receive. */
static uint32_t left_in_layer(demuxbuf_pool *pool, int knows_layer) {
    uint64_t receiver = attach(pool);
    uint32_t layer = BYTES, empty_receives = 0;
    demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    for (int i = 0; i < STEPS_MAX; i++) {
        CHECK((step.actions & DEMUXBUF_ERROR) == 0);
        if (step.actions & DEMUXBUF_RECV) {
            uint32_t bytes = layer < PIECE ? layer : PIECE;
            bytes = bytes < step.bytes ? bytes : step.bytes;
            layer -= bytes;
            empty_receives += bytes == 0;
            step = bytes != 0 ? demuxbuf_receiver_received(pool, receiver, bytes)
                              : demuxbuf_receiver_would_block(pool, receiver);
            if (knows_layer && layer == 0) {
                step = demuxbuf_receiver_would_block(pool, receiver);
            }
        } else if (step.actions & DEMUXBUF_DECODE) {
            step = demuxbuf_receiver_decoded(pool, receiver, step.bytes, 0);
        } else if (step.actions & notices) {
            uint32_t again = step.actions & DEMUXBUF_RESCHEDULE;
            step = demuxbuf_receiver_done(pool, receiver, step.actions & notices);
            if (again != 0) {
                step = demuxbuf_receiver_wake(pool, receiver);
            }
        } else {
            break;
        }
    }
    CHECK_NUMBER(step.actions, 0);
    CHECK_NUMBER(empty_receives, layer == 0 && !knows_layer);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    return layer;
}

static void s69_layer_is_drained_in_every_mode(void) {
    for (size_t at = 0; at < sizeof modes; at++) {
        const int is_dry_when_short = modes[at] == DEMUXBUF_MODE_LEVEL || modes[at] == DEMUXBUF_MODE_ONE_SHOT;
        for (int run = 0; run < 3; run++) {
            const uint8_t reads_ahead = run < 2;
            const uint32_t left = !reads_ahead && is_dry_when_short ? BYTES - PIECE : 0;
            demuxbuf_pool *pool = new_pool(modes[at], reads_ahead);
            CHECK_NUMBER(left_in_layer(pool, run == 1), left);
            demuxbuf_pool_free(pool);
            const struct shard shard = shard_of(modes[at], reads_ahead);
            CHECK_NUMBER(left_in_layer(shard.pool, run == 1), left);
            free_shard(shard);
        }
    }
}

/*
 * What a layer has taken already is reported by nothing: where memory is short, its receiver takes nothing, and goes on
 * when it is granted room. Of others, small frames are received.
 */
static void waiting_receiver_receives_nothing(demuxbuf_pool *pool, uint8_t reads_ahead, int has_spare) {
    uint64_t leases[4], receiver = attach(pool);
    leave_free(pool, 4);
    for (int i = 0; i < 4; i++) {
        CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 2, &leases[i]), DEMUXBUF_OK);
    }
    if (has_spare) {
        use_spare(pool, 16448);
    }
    demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK_NUMBER((step.actions & DEMUXBUF_RECV) != 0, !reads_ahead);
    CHECK(reads_ahead || step.bytes == 64);
    if (reads_ahead) {
        demuxbuf_notice notice = {.struct_size = sizeof notice};
        CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
        for (int i = 0; i < 4; i++) {
            CHECK_NUMBER(demuxbuf_pool_release(pool, leases[i]), DEMUXBUF_OK);
        }
        CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
        CHECK(notice.receiver == receiver && (notice.step.actions & DEMUXBUF_RECV) != 0);
        CHECK_NUMBER(notice.step.bytes, 16448);
    }
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
}

static void s71_waiting_receiver_receives_nothing(void) {
    for (size_t at = 0; at < sizeof modes; at++) {
        for (uint8_t reads_ahead = 0; reads_ahead < 2; reads_ahead++) {
            demuxbuf_pool *pool = new_pool(modes[at], reads_ahead);
            waiting_receiver_receives_nothing(pool, reads_ahead, 0);
            demuxbuf_pool_free(pool);
            const struct shard shard = shard_of(modes[at], reads_ahead);
            waiting_receiver_receives_nothing(shard.pool, reads_ahead, 1);
            free_shard(shard);
        }
    }
}

int main(void) {
    s69_layer_is_drained_in_every_mode();
    s71_waiting_receiver_receives_nothing();
    return check_end();
}
