#include "scenarios.h"

#include <string.h>

enum { HALF_BYTES = 20, BLOCK_BYTES = 40 };

void stage_open(struct stage *stage, uint32_t buffers, uint32_t buffer_bytes) {
    stage->count = 0;
    host_open(&stage->host, buffers, buffer_bytes);
}

void stage_close(struct stage *stage) {
    for (uint32_t at = 0; at < stage->count; at++) {
        struct actor *actor = &stage->cast[at];
        if (!actor->mux.closed) {
            mux_close(&actor->mux);
        }
        CHECK_NUMBER(actor->mux.finishes, 1);
        CHECK(actor->mux.idle_runs <= actor->mux.useless_max);
        peer_close(&actor->peer);
    }
    host_close(&stage->host);
}

static struct actor *join_with(struct stage *stage, uint8_t mode, uint16_t park_bytes) {
    CHECK(stage->count < CAST_MAX);
    struct actor *actor = &stage->cast[stage->count++];
    memset(&actor->peer, 0, sizeof actor->peer);
    mux_open(&actor->mux, &stage->host, mode, park_bytes, -1);
    actor->mux.preface_seen = true;
    mux_attach(&actor->mux, (struct ring){0});
    host_settle(&stage->host);
    return actor;
}

struct actor *join(struct stage *stage, uint8_t mode) {
    return join_with(stage, mode, 0);
}

struct actor *join_parking(struct stage *stage, uint8_t mode) {
    return join_with(stage, mode, SLOT_BYTES);
}

static struct actor *join_with_half(struct stage *stage, uint8_t mode) {
    struct actor *actor = join(stage, mode);
    peer_block(&actor->peer, BLOCK_BYTES, 1);
    peer_send(&actor->peer, &actor->mux.lower, HALF_BYTES);
    host_settle(&stage->host);
    return actor;
}

struct actor *join_holding(struct stage *stage, uint8_t mode) {
    struct actor *actor = join_with_half(stage, mode);
    CHECK(is_holding(actor));
    CHECK_NUMBER(actor->mux.ring.data, HALF_BYTES);
    return actor;
}

struct actor *join_waiting(struct stage *stage, uint8_t mode) {
    struct actor *actor = join_with_half(stage, mode);
    CHECK_NUMBER(wait_state(actor), WAITER_QUEUED);
    return actor;
}

void send_rest(struct actor *actor) {
    peer_send_all(&actor->peer, &actor->mux.lower);
}

void deliver(struct stage *stage, struct actor *actor) {
    peer_send_all(&actor->peer, &actor->mux.lower);
    host_settle(&stage->host);
}
