/*
 * How long `data` of a step is valid: while RECV or DECODE is pending, until the next event for its receiver, and no
 * longer than the next advance of the clock. Random calls on receivers that compete for two buffers, of a pool of one
 * thread and of one that threads share.
 */
#include "shard.h"

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
static unsigned long kept_while_decoding, kept_while_others_went_on, shed;

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

/* While the decoder may run, these do not move its data either. */
static void any_call_while_decoding(struct kept *self) {
    if (self->data == NULL || (self->actions & DEMUXBUF_DECODE) == 0) {
        return;
    }
    uint32_t chosen = below(3);
    demuxbuf_step step = chosen == 0   ? demuxbuf_receiver_pause_recv(pool, self->receiver)
                         : chosen == 1 ? demuxbuf_receiver_resume_recv(pool, self->receiver)
                                       : demuxbuf_receiver_unblock(pool, self->receiver, 1 + below(9));
    CHECK(step.data == self->data && step.bytes == self->bytes);
    CHECK_SAME(step.data, self->copy, self->bytes);
    self->actions = step.actions;
    kept_while_decoding++;
}

/* What it has open stays, whatever happens to others. */
static void open_data_is_unchanged(void) {
    for (struct kept *self = all; self < all + RECEIVERS; self++) {
        if ((self->actions & (DEMUXBUF_RECV | DEMUXBUF_DECODE)) != 0) {
            const demuxbuf_step step = demuxbuf_receiver_pending(pool, self->receiver);
            CHECK(step.actions == self->actions && step.data == (self->data != NULL ? self->data : self->area));
            if (self->data != NULL) {
                CHECK_SAME(step.data, self->copy, self->bytes);
            }
            kept_while_others_went_on++;
        }
    }
}

/* Calls that end no receiver's data. */
static void any_call_but_the_clock(const struct kept *self) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    uint64_t handle, trimmed_bytes;
    switch (below(7)) {
    case 0: CHECK_NUMBER(demuxbuf_receiver_describe(pool, self->receiver, &info), DEMUXBUF_OK); break;
    case 1: CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK); break;
    case 2: CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK); break;
    case 3: CHECK_NUMBER(demuxbuf_pool_trim(pool, &trimmed_bytes), DEMUXBUF_OK); break;
    case 4: CHECK_NUMBER(demuxbuf_receiver_set_class(pool, self->receiver, below(2)), DEMUXBUF_OK); break;
    case 5: demuxbuf_receiver_prefetch(pool, self->receiver); break;
    default:
        switch (demuxbuf_pool_request(pool, 0, RECEIVERS, &handle)) {
        case DEMUXBUF_OK: CHECK_NUMBER(demuxbuf_pool_release(pool, handle), DEMUXBUF_OK); break;
        case DEMUXBUF_STATUS_QUEUED: CHECK_NUMBER(demuxbuf_pool_cancel(pool, handle), DEMUXBUF_OK); break;
        default: CHECK(0);
        }
    }
}

static void attach_anew(struct kept *self) {
    const uint64_t token = (uint64_t)(self - all);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = token), &self->receiver, NULL, NULL), DEMUXBUF_OK);
    keep(self, demuxbuf_receiver_pending(pool, self->receiver));
}

static void any_event_or_close(struct kept *self) {
    const demuxbuf_step now = demuxbuf_receiver_pending(pool, self->receiver);
    if ((now.actions & DEMUXBUF_SHED) != 0) {
        CHECK((demuxbuf_receiver_close(pool, self->receiver).actions & DEMUXBUF_FINISHED) != 0);
        attach_anew(self);
        shed++;
    } else {
        keep(self, any_event(self, now));
    }
}

/* The next loop iteration: what is not decoded yet is kept, and notices name those that go on. */
static void begin_iteration(uint64_t now_ns) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, now_ns), DEMUXBUF_OK);
    for (struct kept *self = all; self < all + RECEIVERS; self++) {
        keep(self, demuxbuf_receiver_wake(pool, self->receiver));
    }
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK) {
        if (notice.receiver != 0) {
            keep(&all[notice.token], notice.step);
        } else {
            CHECK_NUMBER(demuxbuf_pool_release(pool, notice.lease), DEMUXBUF_OK);
        }
        open_data_is_unchanged();
    }
}

static void s73_data_is_valid_as_documented(void) {
    uint64_t now_ns = 0;
    leave_free(pool, 2);
    for (struct kept *self = all; self < all + RECEIVERS; self++) {
        attach_anew(self);
    }
    for (int step = 0; step < STEPS; step++) {
        struct kept *self = &all[below(RECEIVERS)];
        switch (below(9)) {
        case 0: begin_iteration(now_ns += below(100000000)); break;
        case 1:
        case 2: any_call_but_the_clock(self); break;
        case 3: any_call_while_decoding(self); break;
        default: any_event_or_close(self); break;
        }
        open_data_is_unchanged();
    }
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    CHECK(kept_while_others_went_on > 100000 && kept_while_decoding > 1000 && shed > 10);
    kept_while_others_went_on = kept_while_decoding = shed = 0;
}

/* Any edit of the content, as the host's own copy has it: the bytes before a hole move up to its end, and the hole is
   consumed. Whatever was kept before, and with bytes consumed before it. */
static void holes_are_closed_in_place(void) {
    uint64_t receiver;
    uint8_t expected[301], seen[301];
    const demuxbuf_pool_config config = config_of(6, 1, 320);
    pool = pool_of(&config);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receiver, NULL, NULL), DEMUXBUF_OK);
    for (int round = 0; round < 20000; round++) {
        const uint32_t bytes = 1 + below(300);
        demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
        CHECK(demuxbuf_step_has(step, DEMUXBUF_RECV) && step.bytes >= bytes);
        for (uint32_t at = 0; at < bytes; at++) {
            step.data[at] = expected[at] = (uint8_t)below(256);
        }
        step = demuxbuf_receiver_received(pool, receiver, bytes);
        uint32_t left = bytes;
        if (below(4) == 0) { /* a byte is missing: what is there is kept, and comes back */
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
    demuxbuf_pool_config config = config_of(6, RECEIVERS, 256);
    config.classes = 2;
    pool = pool_of(&config);
    s73_data_is_valid_as_documented();
    demuxbuf_pool_free(pool);
    config = shared_config_of(1, 6, RECEIVERS, 256);
    config.classes = 2;
    const struct shard shard = new_shard(&config);
    pool = shard.pool;
    s73_data_is_valid_as_documented();
    free_shard(shard);
    holes_are_closed_in_place();
    return check_end();
}
