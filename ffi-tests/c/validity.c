/*
 * How long `data` of a step is valid: until the next event for its receiver, and no longer than the next
 * demuxbuf_pool_poll_notice, which may move what it does not name. Random calls on receivers that compete for two
 * buffers.
 */
#include "check.h"

enum { RECEIVERS = 6, STEPS = 200000, CONTENT_MAX = 4096 };

struct kept {
    uint64_t receiver;
    const uint8_t *data; /* of the last step; NULL once it is not valid any more */
    const uint8_t *area; /* with RECV: where to */
    uint32_t bytes, actions;
    uint8_t copy[CONTENT_MAX];
};

static struct kept all[RECEIVERS];
static demuxbuf_pool *pool;
static uint64_t seed = 3;
static unsigned long moved_unnamed, kept_while_decoding, kept_in_slots;

static uint32_t below(uint32_t limit) {
    return check_random(&seed) % limit;
}

/* The content, and its place. The room of a receive has no content yet. */
static void keep(struct kept *self, demuxbuf_step step) {
    int has_content = (step.actions & DEMUXBUF_RECV) == 0 && step.data != NULL;
    CHECK_NUMBER(demuxbuf_actions_status_inline(step.actions), DEMUXBUF_OK);
    self->data = has_content ? step.data : NULL;
    self->area = (step.actions & DEMUXBUF_RECV) != 0 ? step.data : NULL;
    self->bytes = has_content ? step.bytes : 0;
    self->actions = step.actions;
    CHECK(self->bytes <= CONTENT_MAX);
    if (has_content) {
        memcpy(self->copy, step.data, step.bytes);
    }
}

static void all_are_unchanged(void) {
    for (struct kept *self = all; self < all + RECEIVERS; self++) {
        if (self->data != NULL) {
            CHECK_SAME(self->data, self->copy, self->bytes);
        }
    }
}

static demuxbuf_step any_event(struct kept *self, demuxbuf_step now) {
    if ((now.actions & DEMUXBUF_RECV) != 0) {
        uint32_t bytes = 1 + below(now.bytes < 90 ? now.bytes : 90);
        if (below(4) == 0) {
            return demuxbuf_receiver_would_block(pool, self->receiver);
        }
        for (uint32_t at = 0; at < bytes; at++) {
            now.data[at] = (uint8_t)below(256);
        }
        return demuxbuf_receiver_received(pool, self->receiver, bytes);
    }
    if ((now.actions & DEMUXBUF_DECODE) != 0) {
        uint32_t consumed = below(2) == 0 ? now.bytes : below(now.bytes);
        return below(4) == 0 ? demuxbuf_receiver_block(pool, self->receiver, 1)
                             : demuxbuf_receiver_decoded(pool, self->receiver, consumed,
                                                         consumed < now.bytes ? 1 + below(20) : 0);
    }
    switch (below(4)) {
    case 0: return demuxbuf_receiver_unblock(pool, self->receiver, 1);
    case 1: return demuxbuf_receiver_resume_recv(pool, self->receiver);
    case 2:
        return demuxbuf_receiver_done(pool, self->receiver,
                                      now.actions & (DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_SHED));
    default: return demuxbuf_receiver_readable(pool, self->receiver);
    }
}

/* Calls that neither move nor free what any receiver has buffered. */
static void any_harmless_call(void) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    struct kept *self = &all[below(RECEIVERS)];
    uint64_t handle, trimmed_bytes;
    static uint64_t now_ns;
    switch (below(9)) {
    case 5: CHECK_NUMBER(demuxbuf_receiver_set_class(pool, self->receiver, below(2)), DEMUXBUF_OK); break;
    case 6: CHECK_NUMBER(demuxbuf_receiver_set_tenant(pool, self->receiver, 0), DEMUXBUF_OK); break;
    case 7: demuxbuf_receiver_prefetch(pool, self->receiver); break;
    case 0: CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, now_ns += below(200)), DEMUXBUF_OK); break;
    case 1: CHECK_NUMBER(demuxbuf_receiver_describe(pool, self->receiver, &info), DEMUXBUF_OK); break;
    case 2: CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK); break;
    case 3: CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK); break;
    case 4: CHECK_NUMBER(demuxbuf_pool_trim(pool, &trimmed_bytes), DEMUXBUF_OK); break;
    default:
        switch (demuxbuf_pool_request(pool, 0, RECEIVERS, &handle)) {
        case DEMUXBUF_OK: CHECK_NUMBER(demuxbuf_pool_release(pool, handle), DEMUXBUF_OK); break;
        case DEMUXBUF_STATUS_QUEUED: CHECK_NUMBER(demuxbuf_pool_cancel(pool, handle), DEMUXBUF_OK); break;
        default: CHECK(0);
        }
    }
    demuxbuf_step step = demuxbuf_receiver_pending(pool, self->receiver);
    CHECK(self->data == NULL || (step.data == self->data && step.bytes == self->bytes));
    CHECK(self->area == NULL || step.data == self->area);
}

/* While the decoder may run, these do not move its data either. */
static void any_call_while_decoding(struct kept *self) {
    if (self->data == NULL || (self->actions & DEMUXBUF_DECODE) == 0) {
        return;
    }
    uint32_t chosen = below(4);
    demuxbuf_step step = chosen == 0   ? demuxbuf_receiver_pause_recv(pool, self->receiver)
                         : chosen == 1 ? demuxbuf_receiver_resume_recv(pool, self->receiver)
                         : chosen == 2 ? demuxbuf_receiver_unblock(pool, self->receiver, 1 + below(9))
                                       : demuxbuf_receiver_report(pool, self->receiver, DEMUXBUF_EVENT_YIELD, 0);
    CHECK(step.data == self->data && step.bytes == self->bytes);
    CHECK_SAME(step.data, self->copy, self->bytes);
    self->actions = step.actions;
    kept_while_decoding++;
}

/* Afterwards only what could be decoded, and was not named, is where it was; all of the rest has to be asked for again.
   */
static void drain(void) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    int is_named[RECEIVERS + 1] = {0};
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK) {
        is_named[notice.token] = 1;
        if (notice.token == RECEIVERS) {
            CHECK_NUMBER(demuxbuf_pool_release(pool, notice.lease), DEMUXBUF_OK);
        }
    }
    for (int at = 0; at < RECEIVERS; at++) {
        struct kept *self = &all[at];
        demuxbuf_step step = demuxbuf_receiver_pending(pool, self->receiver);
        if (self->data != NULL && !is_named[at]) {
            int could_decode = (self->actions & DEMUXBUF_DECODE) != 0;
            CHECK(!could_decode || step.data == self->data);
            if ((step.actions & DEMUXBUF_RECV) == 0) {
                CHECK_NUMBER(step.bytes, self->bytes);
                CHECK_SAME(step.data, self->copy, self->bytes);
                moved_unnamed += step.data != self->data;
            }
        }
        keep(self, step);
    }
}

static void s73_data_is_valid_as_documented(void) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 2, RECEIVERS), DEMUXBUF_OK);
    config.buffer_bytes = CONTENT_MAX;
    config.reclaim_bytes = 256;
    config.classes = 2;
    config.large_slots[0] = 2;
    config.park_ns = 100;
    config.lease_ns = 1000;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, 0), DEMUXBUF_OK);
    for (int at = 0; at < RECEIVERS; at++) {
        CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = (uint64_t)at), &all[at].receiver, NULL, NULL),
                     DEMUXBUF_OK);
    }
    for (int step = 0; step < STEPS; step++) {
        struct kept *self = &all[below(RECEIVERS)];
        demuxbuf_receiver_info info = {.struct_size = sizeof info};
        switch (below(8)) {
        case 0: drain(); break;
        case 1:
        case 2: any_harmless_call(); break;
        case 3: any_call_while_decoding(self); break;
        default:
            self->data = self->area = NULL;
            keep(self, any_event(self, demuxbuf_receiver_pending(pool, self->receiver)));
            CHECK_NUMBER(demuxbuf_receiver_describe(pool, self->receiver, &info), DEMUXBUF_OK);
            kept_in_slots += self->data != NULL && info.hold == 1;
        }
        all_are_unchanged();
    }
    demuxbuf_pool_free(pool);
    CHECK(moved_unnamed > 100 && kept_while_decoding > 1000 && kept_in_slots > 100);
}

/* Any edit of the content, as the host's own copy has it: the bytes before a hole move up to its end, and the hole is
   consumed. Whatever lies in a slot or in a buffer, and with bytes consumed before it. */
static void holes_are_closed_in_place(void) {
    uint64_t receiver;
    uint8_t expected[301], seen[301];
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 1, 1), DEMUXBUF_OK);
    config.buffer_bytes = 320;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receiver, NULL, NULL), DEMUXBUF_OK);
    for (int round = 0; round < 20000; round++) {
        const uint32_t bytes = 1 + below(300);
        demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
        CHECK(demuxbuf_step_has(step, DEMUXBUF_RECV) && step.bytes >= bytes);
        for (uint32_t at = 0; at < bytes; at++) {
            step.data[at] = expected[at] = (uint8_t)below(256);
        }
        step = demuxbuf_receiver_received(pool, receiver, bytes);
        uint32_t left = bytes, is_parked = below(4) == 0;
        if (is_parked) { /* a byte is missing: into a slot if it fits, and back */
            demuxbuf_receiver_decoded(pool, receiver, 0, 1);
            step = demuxbuf_receiver_readable(pool, receiver);
            step.data[0] = expected[left++] = 7;
            step = demuxbuf_receiver_received(pool, receiver, 1);
        }
        for (int edit = 0; edit < 3 && left > 1; edit++) {
            const uint32_t before = below(left), hole = below(left - before), behind = left - before - hole;
            CHECK(demuxbuf_step_has(step, DEMUXBUF_DECODE) && step.bytes == left);
            memmove(step.data + hole, step.data, before);
            memmove(expected + before, expected + before + hole, behind);
            left -= hole;
            step.data[hole] ^= 0x55, expected[0] ^= 0x55; /* and a byte is changed */
            step = demuxbuf_receiver_decoded(pool, receiver, hole, 0);
            memcpy(seen, step.data, step.bytes);
            CHECK_NUMBER(step.bytes, left);
            CHECK_SAME(seen, expected, left);
        }
        demuxbuf_receiver_decoded(pool, receiver, left, 0);
        CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    }
    demuxbuf_pool_free(pool);
}

int main(void) {
    s73_data_is_valid_as_documented();
    holes_are_closed_in_place();
    printf("%lu moved unnamed, %lu kept while decoding, %lu kept in slots\n", moved_unnamed, kept_while_decoding,
           kept_in_slots);
    return check_end();
}
