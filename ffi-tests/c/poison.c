/*
 * Memory that is not lent, under AddressSanitizer or Valgrind, with a library that has the feature `poison`: the
 * argument names the mistake that is made, and the tool ends the program there. `none` makes none, and uses all that is
 * lent.
 */
#define _GNU_SOURCE
#include "check.h"

#include <sys/mman.h>

enum { BUFFER = 1024 };

static demuxbuf_pool *pool;

static void make_pool(uint32_t buffers) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, (uint64_t)buffers * BUFFER, 8), DEMUXBUF_OK);
    config.buffer_bytes = BUFFER;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, NULL), DEMUXBUF_OK);
}

static uint64_t attach(void) {
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &receiver, NULL, NULL), DEMUXBUF_OK);
    return receiver;
}

/* A step with room to receive into, all of it written. */
static demuxbuf_step receive_area(uint64_t receiver) {
    demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK((step.actions & DEMUXBUF_RECV) != 0);
    memset(step.data, 'r', step.bytes);
    return step;
}

/* A step with this much to decode, all of it read and written. */
static demuxbuf_step received(uint64_t receiver, uint32_t bytes) {
    receive_area(receiver);
    demuxbuf_step step = demuxbuf_receiver_received(pool, receiver, bytes);
    CHECK((step.actions & DEMUXBUF_DECODE) != 0 && step.bytes == bytes);
    CHECK(step.data[0] == 'r' && step.data[bytes - 1] == 'r');
    memset(step.data, 'd', bytes);
    return step;
}

static uint64_t request(uint8_t **data) {
    uint64_t lease;
    uint32_t bytes;
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_buffer(pool, lease, data, &bytes), DEMUXBUF_OK);
    memset(*data, 'l', bytes);
    return lease;
}

/* What is left of a partial frame moves from the receive buffer to a cell, and from there to another. */
static uint8_t *left_in_a_cell(uint64_t receiver) {
    received(receiver, 60);
    demuxbuf_step step = demuxbuf_receiver_decoded(pool, receiver, 0, 1);
    CHECK(step.bytes == 60 && step.data[59] == 'd');
    step = receive_area(receiver);
    CHECK(step.data[-60] == 'd' && step.data[-1] == 'd'); /* a host may decode before it reports */
    demuxbuf_step more = demuxbuf_receiver_received(pool, receiver, 100);
    CHECK(more.bytes == 160 && more.data[59] == 'd' && more.data[159] == 'r');
    more = demuxbuf_receiver_decoded(pool, receiver, 0, 1);
    CHECK(more.bytes == 160 && more.data[159] == 'r' && more.data != step.data);
    return step.data;
}

/* A receiver that waits under a mark, and has nothing, is looked at while another one receives. */
static void receive_beside_a_mark(void) {
    make_pool(8);
    const demuxbuf_policy policy = {.struct_size = sizeof policy, .counting = 1};
    const demuxbuf_attach_options counting = {.struct_size = sizeof counting, .policy = &policy};
    const demuxbuf_request any = {.struct_size = sizeof any};
    uint64_t marked, lease;
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 1), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, &counting, &marked, NULL, NULL), DEMUXBUF_OK);
    while (demuxbuf_pool_try_request(pool, &any, &lease, NULL, NULL) == DEMUXBUF_OK)
        ;
    CHECK((demuxbuf_receiver_readable(pool, marked).actions & DEMUXBUF_PEEK) != 0);
    demuxbuf_receiver_decoded(pool, marked, 0, 200);
    CHECK((demuxbuf_receiver_would_block(pool, marked).actions & DEMUXBUF_WANT_RECV) != 0);
    demuxbuf_receiver_done(pool, marked, DEMUXBUF_WANT_RECV);
    demuxbuf_step step = receive_area(attach());
    demuxbuf_receiver_pending(pool, marked);
    memset(step.data, 'r', step.bytes);
    demuxbuf_pool_free(pool);
}

/* What is lent may be used: by the host, and by the system. */
static void none(void) {
    uint64_t receiver = attach(), lease, adopted;
    uint8_t *data;
    demuxbuf_leased_content content;
    demuxbuf_step step = received(receiver, 100);
    /* A handler that reports while the decoder uses the data. */
    CHECK(demuxbuf_receiver_pause_recv(pool, receiver).data == step.data);
    CHECK(demuxbuf_receiver_resume_recv(pool, receiver).data == step.data);
    memset(step.data, 'd', 100);
    while (demuxbuf_pool_poll_notice(pool, &(demuxbuf_notice){.struct_size = sizeof(demuxbuf_notice)}) == DEMUXBUF_OK)
        ;
    memset(step.data, 'd', 100); /* a decoder that is running keeps it */
    step = demuxbuf_receiver_decoded(pool, receiver, 10, 5);
    CHECK(step.bytes == 90 && step.data[0] == 'd' && step.data[89] == 'd');
    step = receive_area(receiver);
    CHECK_NUMBER(step.bytes, BUFFER - 90);
    step = demuxbuf_receiver_received(pool, receiver, 10);
    CHECK(step.data[0] == 'd' && step.data[99] == 'r');
    /* The buffer with its content becomes the host's, and a receiver's again. */
    CHECK_NUMBER(demuxbuf_receiver_take(pool, receiver, &content), DEMUXBUF_OK);
    uint32_t bytes;
    CHECK_NUMBER(demuxbuf_pool_buffer(pool, content.lease, &data, &bytes), DEMUXBUF_OK);
    memset(data, 'h', bytes);
    CHECK_NUMBER(demuxbuf_receiver_adopt(pool, NULL, &content, &adopted, NULL, NULL), DEMUXBUF_OK);
    step = demuxbuf_receiver_pending(pool, adopted);
    CHECK(step.bytes == 100 && step.data[99] == 'h');
    demuxbuf_receiver_close(pool, adopted);
    lease = request(&data);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    left_in_a_cell(receiver);
    demuxbuf_receiver_close(pool, receiver);
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
    /* Memory of a receive in flight stays the system's, whatever is called meanwhile. */
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, 8 * BUFFER, 8), DEMUXBUF_OK);
    config.buffer_bytes = BUFFER;
    config.mode = DEMUXBUF_MODE_COMPLETION;
    CHECK_NUMBER(demuxbuf_pool_new(&config, &pool, NULL, NULL), DEMUXBUF_OK);
    receiver = attach();
    step = demuxbuf_receiver_pending(pool, receiver);
    CHECK_NUMBER(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_RECV).actions, 0);
    demuxbuf_receiver_pause_recv(pool, receiver);
    demuxbuf_receiver_close(pool, receiver);
    memset(step.data, 's', step.bytes);
    CHECK(demuxbuf_receiver_received(pool, receiver, 5).actions == DEMUXBUF_FINISHED);
    demuxbuf_pool_free(pool);
    receive_beside_a_mark();
    /* Its memory is the allocator's and the system's again. */
    void *other = malloc(2 * BUFFER);
    memset(other, 0, 2 * BUFFER);
    free(other);
    make_pool(1000);
    demuxbuf_pool_free(pool);
    for (int at = 0; at < 4; at++) {
        void *mapped =
            mmap(NULL, 1000 * BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        CHECK(mapped != MAP_FAILED);
        memset(mapped, 0, 1000 * BUFFER);
    }
}

static void s87_write_after_release(void) {
    uint64_t receiver = attach();
    demuxbuf_step step = received(receiver, 100);
    demuxbuf_receiver_decoded(pool, receiver, 100, 0);
    step.data[50] = 'x';
}

static void s87_write_into_a_cell_that_was_left(void) {
    left_in_a_cell(attach())[8] = 'x';
}

/* The advance has ended the borrow, and kept what was not decoded. */
static void s87_write_after_the_clock_was_advanced(void) {
    demuxbuf_step step = received(attach(), 100);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 1), DEMUXBUF_OK);
    step.data[50] = 'x';
}

static void s87_write_into_a_lease_that_was_released(void) {
    uint8_t *data;
    CHECK_NUMBER(demuxbuf_pool_release(pool, request(&data)), DEMUXBUF_OK);
    data[BUFFER - 1] = 'x';
}

/* The receiver is not named, and its bytes may have moved. */
static void s73_read_after_poll_notice(void) {
    uint64_t receiver = attach();
    received(receiver, 100);
    demuxbuf_step step = demuxbuf_receiver_decoded(pool, receiver, 0, 1);
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    CHECK(step.data[0] == 'd');
    CHECK_NUMBER(demuxbuf_pool_poll_notice(pool, &notice), DEMUXBUF_STATUS_NONE);
    CHECK(step.data[0] == 'd');
}

static void read_of_what_was_consumed(void) {
    uint64_t receiver = attach();
    demuxbuf_step step = received(receiver, 100);
    demuxbuf_receiver_decoded(pool, receiver, 64, 1);
    CHECK(step.data[20] == 'd');
}

/* The receive wrote behind what it reported. */
static void write_behind_what_was_received(void) {
    uint64_t receiver = attach();
    demuxbuf_step step = received(receiver, 96);
    step.data[96] = 'x';
}

static void write_after_close(void) {
    uint64_t receiver = attach();
    demuxbuf_step step = received(receiver, 100);
    demuxbuf_receiver_close(pool, receiver);
    step.data[0] = 'x';
}

/* The rest of a frame came, and all of it was decoded. */
static void write_after_both_parts(void) {
    uint64_t receiver = attach();
    received(receiver, 60);
    demuxbuf_receiver_decoded(pool, receiver, 0, 40);
    receive_area(receiver);
    demuxbuf_step step = demuxbuf_receiver_received(pool, receiver, 40);
    CHECK(step.bytes == 100 && step.data[59] == 'd' && step.data[99] == 'r');
    demuxbuf_receiver_decoded(pool, receiver, 100, 0);
    step.data[50] = 'x';
}

/* The decoder could go on, and all was decoded. */
static void write_after_a_block(void) {
    uint64_t receiver = attach();
    received(receiver, 100);
    demuxbuf_step step = demuxbuf_receiver_block(pool, receiver, 1);
    if ((step.actions & DEMUXBUF_STOP_RECV) != 0)
        demuxbuf_receiver_done(pool, receiver, DEMUXBUF_STOP_RECV);
    step = demuxbuf_receiver_unblock(pool, receiver, 1);
    CHECK((step.actions & DEMUXBUF_DECODE) != 0 && step.bytes == 100 && step.data[99] == 'd');
    demuxbuf_receiver_decoded(pool, receiver, 100, 0);
    step.data[50] = 'x';
}

/* What others use lies beside it. */
static void write_beyond_the_buffer(void) {
    demuxbuf_step step = receive_area(attach());
    CHECK_NUMBER(step.bytes, BUFFER);
    step.data[BUFFER] = 'x';
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } mistakes[] = {
        {"none", none},
        {"write-after-release", s87_write_after_release},
        {"cell", s87_write_into_a_cell_that_was_left},
        {"advance", s87_write_after_the_clock_was_advanced},
        {"lease", s87_write_into_a_lease_that_was_released},
        {"poll-notice", s73_read_after_poll_notice},
        {"consumed", read_of_what_was_consumed},
        {"behind", write_behind_what_was_received},
        {"close", write_after_close},
        {"both-parts", write_after_both_parts},
        {"block", write_after_a_block},
        {"beyond", write_beyond_the_buffer},
    };
    for (size_t at = 0; argc == 2 && at < sizeof mistakes / sizeof mistakes[0]; at++) {
        if (strcmp(argv[1], mistakes[at].name) == 0) {
            make_pool(8);
            mistakes[at].run();
            return check_end();
        }
    }
    for (size_t at = 0; argc == 1 && at < sizeof mistakes / sizeof mistakes[0]; at++) {
        puts(mistakes[at].name);
    }
    return argc != 1;
}
