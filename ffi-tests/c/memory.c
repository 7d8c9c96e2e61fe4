/* A pool on the memory model: what a receiver may receive, what of it is kept, and which receivers lose their place. */
#include "check.h"

enum { BUFFER_BYTES = 256, RECEIVERS = 8, MS = 1000000 };

static demuxbuf_pool *pool;

static demuxbuf_pool_config settings(uint32_t buffers) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, (uint64_t)buffers * BUFFER_BYTES, RECEIVERS), DEMUXBUF_OK);
    config.buffer_bytes = BUFFER_BYTES, config.waiters_max = 2, config.tenants_max = 1;
    return config;
}

static void new_pool(uint32_t buffers) {
    const demuxbuf_pool_config config = settings(buffers);
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, NULL), DEMUXBUF_OK);
}

static uint64_t attach(uint64_t token) {
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = token), &receiver, NULL, NULL), DEMUXBUF_OK);
    return receiver;
}

static demuxbuf_pool_stats stats_of_pool(void) {
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    return stats;
}

static demuxbuf_receiver_info describe(uint64_t receiver) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, receiver, &info), DEMUXBUF_OK);
    return info;
}

/* The receiver is readable and may receive this much. */
static demuxbuf_step may_receive(uint64_t receiver, uint32_t room) {
    const demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK_NUMBER(step.actions & (DEMUXBUF_ERROR | DEMUXBUF_RECV), DEMUXBUF_RECV);
    CHECK_NUMBER(step.bytes, room);
    return step;
}

/* It receives bytes of this value, which are to be decoded behind those that it kept. */
static demuxbuf_step receive(uint64_t receiver, demuxbuf_step step, uint8_t value, uint32_t bytes) {
    memset(step.data, value, bytes);
    const demuxbuf_step next = demuxbuf_receiver_received(pool, receiver, bytes);
    CHECK_NUMBER(demuxbuf_step_status(next), DEMUXBUF_OK);
    return next;
}

static demuxbuf_step decoded(uint64_t receiver, uint32_t consumed, uint32_t need_more) {
    const demuxbuf_step step = demuxbuf_receiver_decoded(pool, receiver, consumed, need_more);
    CHECK_NUMBER(demuxbuf_step_status(step), DEMUXBUF_OK);
    return step;
}

/* Receivers that keep nothing all receive into the same buffer, and nothing is copied. */
static void whole_frames_keep_nothing(void) {
    new_pool(8);
    const uint8_t *receive_buffer = NULL;
    const uint32_t free = stats_of_pool().free;
    for (uint64_t token = 0; token < RECEIVERS; token++) {
        const uint64_t receiver = attach(token);
        for (int again = 0; again < 3; again++) {
            demuxbuf_step step = may_receive(receiver, BUFFER_BYTES);
            CHECK(receive_buffer == NULL || step.data == receive_buffer);
            receive_buffer = step.data;
            step = receive(receiver, step, 7, 40);
            CHECK(demuxbuf_step_has(step, DEMUXBUF_DECODE) && step.data == receive_buffer && step.bytes == 40);
            const demuxbuf_step same = demuxbuf_receiver_pending(pool, receiver);
            CHECK(same.data == step.data && same.bytes == 40 && same.actions == step.actions);
            step = decoded(receiver, 40, 0);
            CHECK(step.data == NULL && !demuxbuf_step_has(step, DEMUXBUF_RECV | DEMUXBUF_DECODE));
            if (demuxbuf_step_has(step, DEMUXBUF_WANT_RECV)) {
                step = demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV);
                CHECK(step.actions == 0 && step.data == NULL);
            }
        }
    }
    const demuxbuf_pool_stats stats = stats_of_pool();
    CHECK(stats.free == free && stats.buffers == 8 && stats.copied_bytes == 0 && stats.claims == 0);
    CHECK_NUMBER(stats.received_bytes, RECEIVERS * 3 * 40);
    CHECK_NUMBER(demuxbuf_pool_poll_timeout(pool), UINT64_MAX);
    demuxbuf_pool_free(pool);
}

/* A frame that arrives byte by byte is kept, and is whole at its end. */
static void frame_that_trickles_is_whole(void) {
    new_pool(8);
    const uint64_t receiver = attach(1);
    for (uint32_t at = 0; at < 150; at++) {
        demuxbuf_step step = may_receive(receiver, BUFFER_BYTES - at);
        step = receive(receiver, step, (uint8_t)at, 1);
        CHECK(demuxbuf_step_has(step, DEMUXBUF_DECODE) && step.bytes == at + 1);
        for (uint32_t byte = 0; byte <= at; byte++) {
            CHECK(step.data[byte] == byte);
        }
        if (at < 149) {
            decoded(receiver, 0, 1);
            CHECK(describe(receiver).hold != 0 && describe(receiver).buffered_bytes == at + 1);
        }
    }
    decoded(receiver, 150, 0);
    CHECK(describe(receiver).hold == 0);
    CHECK(stats_of_pool().copied_bytes > 0);
    demuxbuf_pool_free(pool);
}

static void refused(const demuxbuf_pool_config *config, const char *sentence) {
    demuxbuf_pool *made;
    char message[160];
    size_t room = sizeof message;
    FILL(made);
    CHECK_NUMBER(demuxbuf_pool_new(config, &made, message, &room), DEMUXBUF_ERR_CONFIG);
    if (strcmp(message, sentence) != 0) {
        fprintf(stderr, "the message is: %s\n", message);
    }
    CHECK(strcmp(message, sentence) == 0 && room == strlen(sentence) + 1);
    CHECK_UNTOUCHED(made);
}

static void refusals_have_the_numbers(void) {
    demuxbuf_pool_config config = settings(8);
    config.memory_bytes--;
    refused(&config, "memory_bytes is 2047; allowed is 2048 or more");
    config = settings(8), config.buffer_bytes = 200;
    refused(&config, "buffer_bytes is 200; allowed is a multiple of 64 from 128 to 16777216");
    config = settings(8), config.in_flight_max = 9;
    refused(&config, "in_flight_max is 9; allowed is 0 to 8");
    config = settings(8), config.mode = 5;
    refused(&config, "mode is 5; allowed is 0 to 4");
    config = settings(8), config.frame_grace_ns = 7;
    refused(&config, "frame_grace_ns is 7; allowed is 8 to 4611686018427387903");
    config = settings(12), config.reserves[0] = 8;
    refused(&config, "reserves[0] is 8; allowed is 0 to 7");
    config = settings(12), config.class_caps[0] = 4;
    refused(&config, "class_caps[0] is 4; allowed is 5 or more");
    config = settings(8), config.classes = 256;
    refused(&config, "classes is 256; allowed is 1 to 8");
    config = settings(8), config.receivers_max = 0;
    refused(&config, "receivers_max is 0; allowed is 1 to 536870911");
    config = settings(8), config.counting = 1, config.reads_ahead = 1;
    refused(&config, "counting is 1; allowed is 0 with reads_ahead");
    config = settings(8), config.counting = 1, config.mode = DEMUXBUF_MODE_OPTIMISTIC;
    refused(&config, "counting is 1; allowed is 0 with the mode optimistic");
    demuxbuf_pool *made;
    FILL(made);
    config = settings(8), config.reserved_word = 1;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &made, NULL, NULL), DEMUXBUF_ERR_UNKNOWN_FIELD);
    config = settings(8), config.struct_size--;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &made, NULL, NULL), DEMUXBUF_ERR_STRUCT_SIZE);
    CHECK_NUMBER(demuxbuf_pool_new(NULL, &made, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_UNTOUCHED(made);
    CHECK_NUMBER(demuxbuf_pool_new(&config, NULL, NULL, NULL), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_pool_config_init(NULL, 1, 1), DEMUXBUF_ERR_NULL);
}

/* The host takes all that receivers do not need. */
static uint32_t lease_all(uint64_t *leases) {
    uint32_t count = 0;
    uint64_t wait;
    while (demuxbuf_pool_try_request(pool, &(demuxbuf_request){.struct_size = sizeof(demuxbuf_request)}, &leases[count],
                                     NULL, NULL) == DEMUXBUF_OK) {
        count++;
    }
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 3, &wait), DEMUXBUF_STATUS_QUEUED);
    CHECK_NUMBER(demuxbuf_pool_cancel(pool, wait), DEMUXBUF_OK);
    return count;
}

/* A frame of 164 bytes, of which 64 came: the receiver keeps them, and claims room for the others. */
static void claim(uint64_t receiver, uint8_t value) {
    receive(receiver, may_receive(receiver, 64), value, 64);
    decoded(receiver, 0, 100);
    const demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK(!demuxbuf_step_has(step, DEMUXBUF_RECV | DEMUXBUF_DECODE | DEMUXBUF_SHED));
    CHECK(step.bytes == 64 && describe(receiver).waiting == 1);
}

/*
 * No memory is left but for partial frames of up to 64 bytes. Small frames are decoded in each loop iteration. Of two
 * larger ones each has a last try at its deadline: the one that is whole then is decoded, the other is shed.
 */
static void half_frame_is_shed_at_its_deadline(void) {
    uint64_t leases[8], now_ns = 0;
    new_pool(8);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, now_ns), DEMUXBUF_OK);
    CHECK_NUMBER(lease_all(leases), 6);
    const uint64_t small = attach(1), whole = attach(2), half = attach(3);
    claim(whole, 5);
    claim(half, 6);
    uint32_t tries = 0, sheds = 0;
    for (int iteration = 0; iteration < 12; iteration++) {
        demuxbuf_notice notice = {.struct_size = sizeof notice};
        CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, now_ns), DEMUXBUF_OK);
        demuxbuf_step step = receive(small, may_receive(small, 64), 9, 40);
        CHECK(demuxbuf_step_has(step, DEMUXBUF_DECODE) && step.bytes == 40 && step.data[39] == 9);
        decoded(small, 40, 0);
        while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK) {
            CHECK(notice.kind == DEMUXBUF_NOTICE_RECEIVER && now_ns > 1000 * MS);
            CHECK(demuxbuf_step_has(notice.step, DEMUXBUF_RECV) && notice.step.bytes == 100);
            tries++;
            if (notice.receiver == whole) {
                CHECK(notice.token == 2);
                step = receive(whole, notice.step, 5, 100);
                CHECK(demuxbuf_step_has(step, DEMUXBUF_DECODE) && step.bytes == 164);
                CHECK(step.data[0] == 5 && step.data[163] == 5);
                decoded(whole, 164, 0);
            } else {
                CHECK(notice.receiver == half && notice.token == 3);
                step = demuxbuf_receiver_would_block(pool, half);
                CHECK(demuxbuf_step_has(step, DEMUXBUF_SHED) && step.data == NULL);
                sheds++;
            }
            notice.struct_size = sizeof notice;
        }
        const uint64_t due_ns = demuxbuf_pool_poll_timeout(pool);
        CHECK(due_ns == UINT64_MAX || (due_ns > now_ns && due_ns <= now_ns + 125 * MS));
        CHECK((due_ns == UINT64_MAX) == (tries == 2));
        now_ns += 125 * MS;
    }
    CHECK(tries == 2 && sheds == 1);
    CHECK_NUMBER(describe(half).shed_reason, DEMUXBUF_SHED_REASON_DEADLINE);
    CHECK_NUMBER(describe(whole).shed_reason, 0);
    const demuxbuf_pool_stats stats = stats_of_pool();
    CHECK(stats.claims == 2 && stats.trials == 2 && stats.grants == 0);
    CHECK(stats.shed_at_deadline == 1 && stats.evicted == 0 && stats.shed_for_memory == 0 && stats.shed == 1);
    CHECK(stats.longest_claim_ns > 1000 * MS && stats.longest_claim_ns <= stats.wait_ns_max);
    CHECK_NUMBER(stats.dropped_bytes, 64);
    CHECK_NUMBER(demuxbuf_receiver_close(pool, half).actions, DEMUXBUF_FINISHED);
    demuxbuf_pool_free(pool);
}

/* A claim is granted as soon as there is room. */
static void claim_is_granted_with_room(void) {
    uint64_t leases[8];
    new_pool(8);
    CHECK_NUMBER(lease_all(leases), 6);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 1000), DEMUXBUF_OK);
    const uint64_t receiver = attach(2);
    claim(receiver, 5);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 1500), DEMUXBUF_OK);
    CHECK_NUMBER(describe(receiver).wait_age_ns, 500);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_pool_release(pool, leases[0]), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_release(pool, leases[1]), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_OK);
    CHECK(notice.receiver == receiver && demuxbuf_step_has(notice.step, DEMUXBUF_RECV) && notice.step.bytes == 100);
    const demuxbuf_step step = receive(receiver, notice.step, 5, 100);
    CHECK(demuxbuf_step_has(step, DEMUXBUF_DECODE) && step.bytes == 164);
    decoded(receiver, 164, 0);
    const demuxbuf_pool_stats stats = stats_of_pool();
    CHECK(stats.grants == 1 && stats.trials == 0);
    demuxbuf_pool_free(pool);
}

/* While one receiver decodes, others may do anything. */
static void data_stays_while_others_go_on(void) {
    new_pool(8);
    const uint64_t first = attach(1), second = attach(2);
    const demuxbuf_step at = receive(first, may_receive(first, BUFFER_BYTES), 1, 90);
    const demuxbuf_step other = may_receive(second, BUFFER_BYTES);
    CHECK(other.data != at.data);
    receive(second, other, 2, 70);
    decoded(second, 0, 30);
    demuxbuf_receiver_close(pool, second);
    demuxbuf_step step = demuxbuf_receiver_pending(pool, first);
    CHECK(step.data == at.data && step.bytes == 90 && step.data[0] == 1 && step.data[89] == 1);
    /* What was not decoded when the clock is advanced is kept, and can be decoded in the next loop iteration. */
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 5), DEMUXBUF_OK);
    step = demuxbuf_receiver_wake(pool, first);
    CHECK(demuxbuf_step_has(step, DEMUXBUF_DECODE) && step.bytes == 90 && step.data[0] == 1 && step.data[89] == 1);
    decoded(first, 90, 0);
    stats_of_pool();
    demuxbuf_pool_free(pool);
}

static void content_leaves_and_comes(void) {
    new_pool(8);
    const uint64_t first = attach(1);
    uint64_t second, third;
    demuxbuf_leased_content content;
    FILL(content);
    CHECK_NUMBER(demuxbuf_receiver_take(pool, first, &content), DEMUXBUF_ERR_NO_BUFFER);
    CHECK_UNTOUCHED(content);
    receive(first, may_receive(first, BUFFER_BYTES), 3, 100);
    decoded(first, 10, 20);
    CHECK_NUMBER(demuxbuf_receiver_take(pool, first, &content), DEMUXBUF_OK);
    CHECK_NUMBER(content.buffered_bytes, 90);
    CHECK(demuxbuf_receiver_pending(pool, first).data == NULL);
    uint8_t *data;
    uint32_t bytes;
    CHECK_NUMBER(demuxbuf_pool_buffer(pool, content.lease, &data, &bytes), DEMUXBUF_OK);
    CHECK(bytes == BUFFER_BYTES && data[content.offset] == 3 && data[content.offset + 89] == 3);
    uint64_t found;
    CHECK_NUMBER(demuxbuf_pool_lease_of_address(pool, data + bytes - 1, &found), DEMUXBUF_OK);
    CHECK(found == content.lease);
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &content, &second, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_release(pool, content.lease), DEMUXBUF_ERR_STALE);
    demuxbuf_step step = demuxbuf_receiver_pending(pool, second);
    CHECK(demuxbuf_step_has(step, DEMUXBUF_DECODE) && step.data == data + content.offset && step.bytes == 90);
    decoded(second, 90, 0);
    static const uint8_t upgraded[] = "upgraded";
    const demuxbuf_attach_options *options = OPTIONS(.bytes = upgraded, .length = 8, .unknown_length = 1);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, options, &third, NULL, NULL), DEMUXBUF_OK);
    step = demuxbuf_receiver_pending(pool, third);
    CHECK(demuxbuf_step_has(step, DEMUXBUF_DECODE) && step.bytes == 8);
    CHECK_SAME(step.data, upgraded, 8);
    decoded(third, 8, 0);
    CHECK_NUMBER(stats_of_pool().taken_bytes, 90);
    demuxbuf_pool_free(pool);
}

static void tenant_holds_what_its_receivers_keep(void) {
    new_pool(8);
    const demuxbuf_tenant_config tenant_config = {sizeof tenant_config, 1, 0, 1};
    demuxbuf_tenant_info info = {.struct_size = sizeof info};
    uint64_t tenant, lease, receiver;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, &tenant, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.tenant = tenant), &receiver, NULL, NULL), DEMUXBUF_OK);
    receive(receiver, may_receive(receiver, BUFFER_BYTES), 3, 100);
    decoded(receiver, 0, 100);
    const demuxbuf_request request = {.struct_size = sizeof request, .tenant = tenant};
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, tenant, &info), DEMUXBUF_OK);
    CHECK_NUMBER(info.outstanding_units, 1);
    CHECK_NUMBER(demuxbuf_pool_try_request(pool, &request, &lease, NULL, NULL), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_receiver_set_tenant(pool, receiver, 0), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_try_request(pool, &request, &lease, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_set_tenant(pool, receiver, tenant), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_remove_tenant(pool, tenant), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, tenant, &info), DEMUXBUF_OK);
    CHECK(info.outstanding_units == 1 && info.retiring);
    CHECK_NUMBER(demuxbuf_receiver_close(pool, receiver).actions, DEMUXBUF_FINISHED);
    CHECK_NUMBER(demuxbuf_pool_describe_tenant(pool, tenant, &info), DEMUXBUF_ERR_STALE);
    demuxbuf_pool_free(pool);
}

static void what_it_cannot_do_is_refused(void) {
    new_pool(8);
    const demuxbuf_tenant_config tenant_config = {sizeof tenant_config, 1, 0, 1};
    uint64_t tenant, lease, made;
    CHECK_NUMBER(demuxbuf_pool_create_tenant(pool, &tenant_config, &tenant, NULL, NULL), DEMUXBUF_OK);
    const uint64_t receiver = attach(1);
    FILL(made);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.tenant = tenant + 1), &made, NULL, NULL), DEMUXBUF_ERR_STALE);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.class_index = 1), &made, NULL, NULL), DEMUXBUF_ERR_CLASS);
    CHECK_UNTOUCHED(made);
    CHECK_NUMBER(demuxbuf_receiver_set_tenant(pool, receiver, tenant + 1), DEMUXBUF_ERR_STALE);
    CHECK_REFUSED(demuxbuf_receiver_readable(pool, receiver + 1).actions, DEMUXBUF_ERR_STALE);
    /* Of its own the host has tenants. */
    const demuxbuf_request request = {.struct_size = sizeof request, .tenant = tenant};
    CHECK_NUMBER(demuxbuf_pool_request_for(pool, &request, &lease, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_try_request(pool, &request, &made, NULL, NULL), DEMUXBUF_STATUS_NONE);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_remove_tenant(pool, tenant), DEMUXBUF_OK);
    /* Read edge-triggered from now on: reads until nothing is there. */
    const demuxbuf_policy edge = {.struct_size = sizeof edge, .mode = DEMUXBUF_MODE_EDGE};
    demuxbuf_step step = demuxbuf_receiver_set_policy(pool, receiver, &edge, NULL, NULL);
    CHECK(demuxbuf_step_has(step, DEMUXBUF_WANT_RECV) && describe(receiver).mode == DEMUXBUF_MODE_EDGE);
    step = receive(receiver, may_receive(receiver, BUFFER_BYTES), 3, 100);
    CHECK(demuxbuf_step_has(step, DEMUXBUF_DECODE));
    CHECK(demuxbuf_step_has(decoded(receiver, 100, 0), DEMUXBUF_RECV));
    CHECK_NUMBER(demuxbuf_step_status(demuxbuf_receiver_would_block(pool, receiver)), DEMUXBUF_OK);
    stats_of_pool();
    demuxbuf_pool_free(pool);
}

struct peer {
    uint64_t receiver;
    /* Positions in its stream. */
    uint32_t received, consumed;
};

/* The byte at a position of a peer's stream. */
static uint8_t byte_at(int peer, uint32_t position) {
    return (uint8_t)(peer * 31 + position * 7 + position / 256);
}

/* Does one thing that the step asks for, with any number of bytes. */
static demuxbuf_step go_on(struct peer *self, int peer, demuxbuf_step step, uint64_t *random) {
    if (demuxbuf_step_has(step, DEMUXBUF_RECV)) {
        const uint32_t bytes = check_random(random) % (step.bytes + 1);
        for (uint32_t at = 0; at < bytes; at++) {
            step.data[at] = byte_at(peer, self->received + at);
        }
        self->received += bytes;
        return bytes == 0 ? demuxbuf_receiver_would_block(pool, self->receiver)
                          : demuxbuf_receiver_received(pool, self->receiver, bytes);
    }
    CHECK(step.bytes == self->received - self->consumed);
    for (uint32_t at = 0; at < step.bytes; at++) {
        CHECK(step.data[at] == byte_at(peer, self->consumed + at));
    }
    const uint32_t bytes = check_random(random) % 3 == 0 ? check_random(random) % (step.bytes + 1) : step.bytes;
    const uint32_t left = step.bytes - bytes;
    const uint32_t need_more =
        left == 0 ? 0 : 1 + check_random(random) % (BUFFER_BYTES - left + (left == BUFFER_BYTES));
    self->consumed += bytes;
    return demuxbuf_receiver_decoded(pool, self->receiver, bytes, need_more);
}

static void serve(struct peer *self, int peer, demuxbuf_step step, uint64_t *random) {
    for (int times = 0; times < 20; times++) {
        CHECK_NUMBER(demuxbuf_step_status(step), DEMUXBUF_OK);
        CHECK_NUMBER(describe(self->receiver).pending, step.actions);
        if (demuxbuf_step_has(step, DEMUXBUF_SHED | DEMUXBUF_CANNOT_FIT)) {
            CHECK(demuxbuf_step_has(demuxbuf_receiver_close(pool, self->receiver), DEMUXBUF_FINISHED));
            *self = (struct peer){.receiver = attach((uint64_t)peer)};
            return;
        }
        if (!demuxbuf_step_has(step, DEMUXBUF_RECV | DEMUXBUF_DECODE) || check_random(random) % 8 == 0) {
            return;
        }
        step = go_on(self, peer, step, random);
    }
}

/* Whatever peers send, and however scarce memory is: each byte is decoded once and in order. */
static void every_byte_is_decoded_in_order(void) {
    uint64_t random = 12345, now_ns = 0;
    struct peer peers[RECEIVERS];
    new_pool(8);
    for (int leases = 0; leases < 4; leases++) {
        uint64_t lease;
        CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
    }
    for (int peer = 0; peer < RECEIVERS; peer++) {
        peers[peer] = (struct peer){.receiver = attach((uint64_t)peer)};
    }
    for (int iteration = 0; iteration < 3000; iteration++) {
        demuxbuf_notice notice = {.struct_size = sizeof notice};
        CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, now_ns += check_random(&random) % (200 * MS)), DEMUXBUF_OK);
        for (int event = 0; event < 6; event++) {
            const int peer = (int)(check_random(&random) % RECEIVERS);
            serve(&peers[peer], peer, demuxbuf_receiver_wake(pool, peers[peer].receiver), &random);
            serve(&peers[peer], peer, demuxbuf_receiver_readable(pool, peers[peer].receiver), &random);
        }
        while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK) {
            CHECK(notice.receiver == peers[notice.token].receiver);
            serve(&peers[notice.token], (int)notice.token, notice.step, &random);
            notice.struct_size = sizeof notice;
        }
        CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    }
    const demuxbuf_pool_stats stats = stats_of_pool();
    CHECK(stats.claims > 500 && stats.grants > 100 && stats.trials > 100 && stats.shed_at_deadline > 50 &&
          stats.evicted > 50);
    CHECK(stats.consumed_bytes > 10000);
    demuxbuf_pool_free(pool);
}

/* In shortage a receive takes what the decoder could use, and no more than its cell has room for. */
static void decoder_names_what_it_can_use(void) {
    static const uint32_t usable_and_room[][2] = {{0, 1}, {1, 1}, {30, 30}, {500, 54}};
    for (size_t at = 0; at < sizeof usable_and_room / sizeof usable_and_room[0]; at++) {
        new_pool(8);
        uint64_t receiver = attach(1), leases[8];
        receive(receiver, may_receive(receiver, BUFFER_BYTES), 'u', 10);
        demuxbuf_step step = demuxbuf_receiver_decoded_usable(pool, receiver, 0, 1, usable_and_room[at][0]);
        CHECK_NUMBER(demuxbuf_step_status(step), DEMUXBUF_OK);
        lease_all(leases);
        may_receive(receiver, usable_and_room[at][1]);
        CHECK_NUMBER(demuxbuf_step_status(demuxbuf_receiver_decoded_usable(pool, receiver, 11, 0, 0)),
                     DEMUXBUF_ERR_TOO_MANY_BYTES);
        demuxbuf_pool_free(pool);
    }
}

/* Settings that the other tests do not have. */
static void settings_have_their_effect(void) {
    demuxbuf_pool_config config = settings(8);
    demuxbuf_finding finding = {.struct_size = sizeof finding};
    uint64_t leases[8];
    CHECK_NUMBER(config.audit | config.wipe | config.no_dump | config.reads_ahead, 0);
    config.audit = config.wipe = config.reads_ahead = 1;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, MS), DEMUXBUF_OK);
    uint64_t receiver = attach(7);
    CHECK_NUMBER(demuxbuf_pool_poll_audit(pool, MS, &finding), DEMUXBUF_OK);
    CHECK(finding.kind == DEMUXBUF_FINDING_ACTION_UNDONE && finding.receiver == receiver && finding.token == 7);
    CHECK_NUMBER(demuxbuf_pool_poll_audit(pool, MS, &finding), DEMUXBUF_STATUS_NONE);
    /* The receive buffer is wiped after each use. */
    demuxbuf_step step = receive(receiver, may_receive(receiver, BUFFER_BYTES), 'w', 100);
    decoded(receiver, 100, 0);
    CHECK(step.data[0] == 0 && step.data[99] == 0);
    /* Under a layer that reads ahead a receiver receives nothing in shortage, not even 64 bytes. */
    CHECK_NUMBER(demuxbuf_receiver_would_block(pool, receiver).actions & DEMUXBUF_ERROR, 0);
    lease_all(leases);
    CHECK_NUMBER(demuxbuf_receiver_readable(pool, receiver).actions & (DEMUXBUF_ERROR | DEMUXBUF_RECV), 0);
    demuxbuf_pool_free(pool);
#ifdef __linux__
    config.no_dump = 1;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, NULL), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
#endif
}

int main(void) {
    whole_frames_keep_nothing();
    frame_that_trickles_is_whole();
    refusals_have_the_numbers();
    half_frame_is_shed_at_its_deadline();
    claim_is_granted_with_room();
    data_stays_while_others_go_on();
    content_leaves_and_comes();
    tenant_holds_what_its_receivers_keep();
    what_it_cannot_do_is_refused();
    decoder_names_what_it_can_use();
    settings_have_their_effect();
    every_byte_is_decoded_in_order();
    return check_end();
}
