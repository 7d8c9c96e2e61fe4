/* What docs/porting.md shows beside the steps: each piece of `examples/porting/recipes.h` does what the page
   promises. */
#include "shard.h"
#include "../../examples/porting/recipes.h"

enum { JOBS = 300, BUFFER_BYTES = 16448, MS = 1000000 };

static const enum proxy_class ORDER_OF_JOB[] = {RECEIVED, TO_SERVER, FROM_SERVER, TO_CLIENT};
enum { LEASES_OF_JOB = sizeof ORDER_OF_JOB / sizeof *ORDER_OF_JOB };

/* A request of a client that goes through the proxy. It keeps every buffer until it has its last one. */
struct job {
    uint64_t leases[LEASES_OF_JOB];
    int held, waits;
};

/* All memory in this number of buffers. */
static demuxbuf_pool_config config_in(uint32_t buffers, uint32_t receivers_max) {
    demuxbuf_pool_config config = {.struct_size = sizeof config};
    CHECK_NUMBER(demuxbuf_pool_config_init(&config, (uint64_t)buffers * BUFFER_BYTES, receivers_max), DEMUXBUF_OK);
    return config;
}

static void take_grants(demuxbuf_pool *pool, struct job *jobs) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    while (demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK) {
        struct job *job = &jobs[notice.token];
        job->leases[job->held++] = notice.lease;
        job->waits = 0;
    }
}

/* Steps of one job in its turn. Whether it did anything. */
static int step_of(demuxbuf_pool *pool, struct job *jobs, uint64_t at, const enum proxy_class *order) {
    struct job *job = &jobs[at];
    if (job->waits || job->held < 0)
        return 0;
    if (job->held == LEASES_OF_JOB) {
        while (job->held > 0)
            CHECK_NUMBER(demuxbuf_pool_release(pool, job->leases[--job->held]), DEMUXBUF_OK);
        job->held = -1; /* done */
        return 1;
    }
    uint64_t handle;
    int32_t status = demuxbuf_pool_request(pool, order[job->held], at, &handle);
    CHECK(status == DEMUXBUF_OK || status == DEMUXBUF_STATUS_QUEUED);
    job->waits = status == DEMUXBUF_STATUS_QUEUED;
    if (!job->waits)
        job->leases[job->held++] = handle;
    return 1;
}

/* Jobs in random order; returns how many are done when none can go on. */
static int jobs_done(const demuxbuf_pool_config *config, const enum proxy_class *order, uint64_t seed) {
    static struct job jobs[JOBS];
    demuxbuf_pool *pool = pool_of(config);
    memset(jobs, 0, sizeof jobs);
    for (int idle = 0; idle < 20 * JOBS;) {
        idle = step_of(pool, jobs, check_random(&seed) % JOBS, order) ? 0 : idle + 1;
        take_grants(pool, jobs);
    }
    int done = 0;
    for (int at = 0; at < JOBS; at++)
        done += jobs[at].held < 0;
    CHECK_NUMBER(demuxbuf_pool_check_invariants(pool), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
    return done;
}

/* 300 jobs that hold up to four buffers each finish with 16 buffers and more; with one class for all they lock each
   other out, and so they do with the order upside down. */
static void two_sided_jobs_finish(void) {
    static const enum proxy_class one_class[] = {RECEIVED, RECEIVED, RECEIVED, RECEIVED};
    static const enum proxy_class upside_down[] = {TO_CLIENT, FROM_SERVER, TO_SERVER, RECEIVED};
    static const uint32_t buffers[] = {16, 17, 31, 64, 100};
    for (uint64_t seed = 1; seed <= 5; seed++) {
        demuxbuf_pool_config config = config_in(buffers[seed - 1], JOBS);
        set_classes(&config);
        CHECK_NUMBER(jobs_done(&config, ORDER_OF_JOB, seed), JOBS);
        CHECK(jobs_done(&config, one_class, seed) < JOBS);
        CHECK(jobs_done(&config, upside_down, seed) < JOBS);
    }
}

/* Each class asks only for more critical ones, and has more than theirs to leave. */
static void classes_keep_their_rules(void) {
    demuxbuf_pool_config config = config_in(64, 10);
    demuxbuf_nested_request nested[LEASES_OF_JOB * LEASES_OF_JOB];
    size_t pairs = 0;
    set_classes(&config);
    for (int at = 1; at < LEASES_OF_JOB; at++) {
        CHECK(ORDER_OF_JOB[at] < ORDER_OF_JOB[at - 1]);
        CHECK(config.reserves[ORDER_OF_JOB[at]] < config.reserves[ORDER_OF_JOB[at - 1]]);
    }
    CHECK_NUMBER(config.reserves[RECEIVED], 25);
    CHECK_NUMBER(config.reserves[TO_SERVER], 4);
    for (int holds = 0; holds < LEASES_OF_JOB; holds++) {
        for (int asks = holds + 1; asks < LEASES_OF_JOB; asks++)
            nested[pairs++] = (demuxbuf_nested_request){ORDER_OF_JOB[holds], ORDER_OF_JOB[asks]};
    }
    CHECK_NUMBER(demuxbuf_pool_config_check_nested_requests(&config, 0, nested, pairs, NULL, NULL), DEMUXBUF_OK);
}

/* Responses to clients that do not read leave buffers for all other classes. */
static void responses_leave_room(void) {
    demuxbuf_pool_config config = config_in(64, 100);
    set_classes(&config);
    demuxbuf_pool *pool = pool_of(&config);
    uint64_t handle;
    int responses = 0;
    while (demuxbuf_pool_request(pool, TO_CLIENT, 0, &handle) == DEMUXBUF_OK)
        responses++;
    CHECK_NUMBER(responses, 32);
    for (uint32_t class_index = FROM_SERVER; class_index < PROXY_CLASSES; class_index++)
        CHECK_NUMBER(demuxbuf_pool_request(pool, class_index, 0, &handle), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
}

/* Bytes are cut out of the middle; what is in front and behind stays, and the decoder goes on. */
static void cut_out_counts_as_consumed(void) {
    demuxbuf_connection machine = {0};
    uint8_t buffer[16] = "abXXcd";
    CHECK_REFUSED(demuxbuf_connection_attach(&machine, 6, sizeof buffer), DEMUXBUF_OK);
    CHECK((cut_out(&machine, buffer, 2, 2) & DEMUXBUF_DECODE) != 0);
    CHECK_SAME(buffer, "abcd", 4);
    CHECK_NUMBER(demuxbuf_connection_buffered_bytes(&machine), 4);
    CHECK_REFUSED(cut_out(&machine, buffer, 0, 4), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_connection_buffered_bytes(&machine), 0);
}

static uint64_t attach(demuxbuf_pool *pool, uint64_t token) {
    uint64_t receiver;
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, OPTIONS(.token = token), &receiver, NULL, NULL), DEMUXBUF_OK);
    CHECK_REFUSED(demuxbuf_receiver_done(pool, receiver, DEMUXBUF_WANT_RECV).actions, DEMUXBUF_OK);
    return receiver;
}

static demuxbuf_step receive(demuxbuf_pool *pool, uint64_t receiver, const char *text) {
    demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
    CHECK((step.actions & DEMUXBUF_RECV) != 0);
    memcpy(step.data, text, strlen(text));
    return demuxbuf_receiver_received(pool, receiver, (uint32_t)strlen(text));
}

/* A frame alone in its buffer leaves with it; one with bytes behind it stays. */
static void frame_is_handed_on_in_place(void) {
    const demuxbuf_pool_config config = config_of(6, 4, BUFFER_BYTES);
    demuxbuf_pool *pool = pool_of(&config);
    uint64_t receiver = attach(pool, 0);
    demuxbuf_leased_content content = {0};
    demuxbuf_step step = receive(pool, receiver, "frame!fr");
    CHECK(!hand_on(pool, receiver, &step, 6, &content));
    step = demuxbuf_receiver_decoded(pool, receiver, 6, 0);
    CHECK(hand_on(pool, receiver, &step, 2, &content));
    uint8_t *data;
    uint32_t bytes;
    CHECK_NUMBER(demuxbuf_pool_buffer(pool, content.lease, &data, &bytes), DEMUXBUF_OK);
    CHECK_NUMBER(content.buffered_bytes, 2);
    CHECK_SAME(data + content.offset, "fr", 2);
    data[content.offset] = 'F'; /* the host's own now: it may be changed in place */
    step = receive(pool, receiver, "next");
    CHECK((step.actions & DEMUXBUF_DECODE) != 0);
    CHECK_SAME(step.data, "next", 4);
    CHECK_NUMBER(demuxbuf_pool_release(pool, content.lease), DEMUXBUF_OK);
    demuxbuf_pool_free(pool);
}

/* Whether the next notice is that nothing is left. */
static int is_drained(demuxbuf_pool *pool) {
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    return demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_OK && notice.kind == DEMUXBUF_NOTICE_DRAINED;
}

/* Touches all buffers that the host can lease; returns how many. */
static uint32_t use_all(demuxbuf_pool *pool) {
    enum { ALL = 32 };
    uint64_t leases[ALL];
    uint8_t *data;
    uint32_t bytes, count = 0;
    const demuxbuf_request request = {.struct_size = sizeof request};
    while (demuxbuf_pool_try_request(pool, &request, &leases[count], NULL, NULL) == DEMUXBUF_OK)
        CHECK(++count < ALL);
    for (uint32_t at = 0; at < count; at++) {
        CHECK_NUMBER(demuxbuf_pool_buffer(pool, leases[at], &data, &bytes), DEMUXBUF_OK);
        memset(data, 1, bytes);
        CHECK_NUMBER(demuxbuf_pool_release(pool, leases[at]), DEMUXBUF_OK);
    }
    return count;
}

/* What is limited is not resident any more, whatever was used before, until the limit is higher. */
static void memory_is_limited(void) {
    const demuxbuf_pool_config config = config_of(16, 4, 65536); /* whole pages */
    demuxbuf_pool *pool = pool_of(&config);
    demuxbuf_pool_stats stats = {.struct_size = sizeof stats};
    char message[100];
    size_t room = sizeof message;
    uint64_t least, lease, trimmed_bytes;
    const uint32_t all = use_all(pool);
    CHECK_NUMBER(demuxbuf_pool_set_memory_limit(pool, 1, message, &room), DEMUXBUF_ERR_CONFIG);
    CHECK_NUMBER(sscanf(message, "limit_bytes is 1; allowed is %" SCNu64, &least), 1);
    CHECK_NUMBER(limit_memory(pool, least), 0); /* from the next advance on */
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 1), DEMUXBUF_OK);
    CHECK_NUMBER(limit_memory(pool, least), 1);
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK_NUMBER(stats.withheld, stats.buffers - least / 65536);
    CHECK_NUMBER(use_all(pool), all - stats.withheld);
    CHECK_NUMBER(demuxbuf_pool_trim(pool, &trimmed_bytes), DEMUXBUF_OK);
    CHECK_NUMBER(trimmed_bytes, (all - stats.withheld) * 65536);
    CHECK_NUMBER(limit_memory(pool, config.memory_bytes), 1);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 2), DEMUXBUF_OK);
    /* What is leased stays. */
    CHECK_NUMBER(demuxbuf_pool_request(pool, 0, 0, &lease), DEMUXBUF_OK);
    leave_free(pool, 1);
    CHECK_NUMBER(demuxbuf_pool_set_memory_limit(pool, least, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 3), DEMUXBUF_OK);
    CHECK_NUMBER(limit_memory(pool, least), 0);
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK_NUMBER(stats.withheld, 1);
    CHECK_NUMBER(demuxbuf_pool_release(pool, lease), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_get_stats(pool, &stats), DEMUXBUF_OK);
    CHECK_NUMBER(stats.withheld, 2);
    demuxbuf_pool_free(pool);
}

/* A connection with a part of a frame goes to another thread; nothing is lost, and the poller learns of it. */
static void connection_is_stolen(void) {
    const demuxbuf_pool_config config = shared_config_of(2, 4, 4, BUFFER_BYTES);
    demuxbuf_shared_pool *shared;
    demuxbuf_pool *a, *b;
    CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 2, &shared, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(shared, 0, &a), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_shared_pool_shard(shared, 1, &b), DEMUXBUF_OK);
    uint64_t receiver = attach(a, 7), moved;
    CHECK((receive(a, receiver, "half").actions & DEMUXBUF_DECODE) != 0);
    CHECK_REFUSED(demuxbuf_receiver_decoded(a, receiver, 0, 4).actions, DEMUXBUF_OK);
    demuxbuf_exported_receiver exported;
    int is_armed = 0;
    CHECK(give_up(a, receiver, &exported));
    CHECK(!give_up(a, receiver, &exported));
    CHECK(take_over(b, &exported, &moved, &is_armed));
    CHECK(is_armed);
    CHECK(!take_over(b, &exported, &moved, &is_armed));
    demuxbuf_step step = receive(b, moved, "more");
    CHECK_NUMBER(step.bytes, 8);
    CHECK_SAME(step.data, "halfmore", 8);
    CHECK_NUMBER(demuxbuf_pool_drain(a), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_pool_drain(b), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_attach(b, NULL, &receiver, NULL, NULL), DEMUXBUF_ERR_DRAINING);
    CHECK(!is_drained(b));
    CHECK_REFUSED(demuxbuf_receiver_decoded(b, moved, 8, 0).actions, DEMUXBUF_OK);
    CHECK(!is_drained(b)); /* it holds nothing any more, and is still there */
    CHECK_NUMBER(demuxbuf_receiver_close(b, moved).actions, DEMUXBUF_FINISHED);
    CHECK(is_drained(a) && is_drained(b));
    demuxbuf_shared_pool_free(shared);
    demuxbuf_pool_free(a);
    demuxbuf_pool_free(b);
}

/* The state machine alone: a queued connection leaves the queue, moves as bytes, and asks again. */
static void queued_machine_moves(void) {
    const demuxbuf_policy policy = {.struct_size = sizeof policy, .mode = DEMUXBUF_MODE_LEVEL};
    demuxbuf_connection here, there;
    CHECK_NUMBER(demuxbuf_connection_init(&here, &policy, NULL, NULL), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_connection_attach(&here, 0, 0), DEMUXBUF_WANT_RECV);
    CHECK_NUMBER(demuxbuf_connection_done(&here, DEMUXBUF_WANT_RECV), 0);
    CHECK_NUMBER(demuxbuf_connection_readable(&here), DEMUXBUF_REQUEST_BUFFER);
    CHECK_NUMBER(demuxbuf_connection_buffer_denied(&here), DEMUXBUF_STOP_RECV);
    CHECK_REFUSED(demuxbuf_connection_done(&here, DEMUXBUF_CANCEL_REQUEST), DEMUXBUF_ERR_NOT_PENDING);
    CHECK_NUMBER(demuxbuf_connection_pause_recv(&here), DEMUXBUF_STOP_RECV | DEMUXBUF_CANCEL_REQUEST);
    CHECK_NUMBER(demuxbuf_connection_done(&here, DEMUXBUF_STOP_RECV | DEMUXBUF_CANCEL_REQUEST), 0);
    memcpy(&there, &here, sizeof there);
    CHECK_NUMBER(demuxbuf_connection_resume_recv(&there), DEMUXBUF_WANT_RECV | DEMUXBUF_REQUEST_BUFFER);
}

/* Between two pools, in every state of its content: none, little, more, with a receive asked for, or to be decoded. */
static void connection_moves_to_a_new_pool(void) {
    static const char *const CONTENTS[] = {"", "half",
                                           "a part of a frame that is longer than the smallest cells of 64 bytes.."};
    const demuxbuf_pool_config config = config_of(6, 4, BUFFER_BYTES);
    for (int content = 0; content < 3; content++) {
        for (int state = 0; state < 3; state++) {
            const int is_readable = state == 1, is_decoding = state == 2 && content > 0;
            uint32_t bytes = (uint32_t)strlen(CONTENTS[content]);
            demuxbuf_pool *from = pool_of(&config), *to = pool_of(&config);
            uint64_t receiver = attach(from, 7), other = attach(to, 8);
            leave_free(to, 1);
            if (bytes > 0) {
                receive(from, receiver, CONTENTS[content]);
                if (!is_decoding)
                    demuxbuf_receiver_decoded(from, receiver, 0, 30);
            }
            if (is_readable)
                CHECK((demuxbuf_receiver_readable(from, receiver).actions & DEMUXBUF_RECV) != 0);
            /* The buffer to receive into is in use, and the last one is for what is left in it: there is no room. */
            CHECK((receive(to, other, "x").actions & DEMUXBUF_DECODE) != 0);
            CHECK_NUMBER(move_to_pool(from, &receiver, to, 0), bytes == 0);
            CHECK_REFUSED(demuxbuf_receiver_decoded(to, other, 1, 0).actions, DEMUXBUF_OK);
            if (bytes > 0) { /* it stays as it was, readable or not */
                CHECK_NUMBER((demuxbuf_receiver_pending(from, receiver).actions & DEMUXBUF_RECV) != 0, is_readable);
                CHECK_NUMBER((demuxbuf_receiver_pending(from, receiver).actions & DEMUXBUF_DECODE) != 0, is_decoding);
                CHECK(move_to_pool(from, &receiver, to, 0));
            }
            demuxbuf_step step = demuxbuf_receiver_pending(to, receiver);
            CHECK_NUMBER((step.actions & DEMUXBUF_DECODE) != 0, bytes > 0);
            CHECK(bytes == 0 || (step.bytes == bytes && memcmp(step.data, CONTENTS[content], bytes) == 0));
            CHECK_NUMBER(demuxbuf_pool_drain(from), DEMUXBUF_OK);
            CHECK(is_drained(from));
            CHECK_NUMBER(demuxbuf_pool_check_invariants(from), DEMUXBUF_OK);
            CHECK_NUMBER(demuxbuf_pool_check_invariants(to), DEMUXBUF_OK);
            demuxbuf_pool_free(from);
            demuxbuf_pool_free(to);
        }
    }
}

/* What was printed by `print_receiver`. */
static const char *printed(const demuxbuf_pool *pool, uint64_t receiver) {
    static char line[400];
    FILE *log = tmpfile();
    CHECK(log != NULL);
    print_receiver(log, pool, receiver);
    rewind(log);
    CHECK(fgets(line, sizeof line, log) != NULL);
    fclose(log);
    line[strcspn(line, "\n")] = 0;
    return line;
}

static void check_text(const char *text, const char *expected) {
    if (strcmp(text, expected) != 0)
        fprintf(stderr, "\"%s\"\n", text);
    CHECK(strcmp(text, expected) == 0);
}

/* Each line of the table "what to look at when it stalls". */
static void stalls_are_printed(void) {
    const demuxbuf_pool_config config = config_of(6, 4, BUFFER_BYTES);
    demuxbuf_pool *pool = pool_of(&config);
    uint64_t unarmed, keeps = attach(pool, 1), waiter = attach(pool, 2);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 1000 * MS), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_receiver_attach(pool, NULL, &unarmed, NULL, NULL), DEMUXBUF_OK);
    check_text(printed(pool, unarmed), "0: open, holds nothing, 0 of 0 bytes, pending WANT_RECV");
    char text[101];
    memset(text, 'x', 100);
    text[100] = 0;
    receive(pool, keeps, text);
    check_text(printed(pool, keeps), "1: open, holds a buffer, 100 of 16448 bytes, pending DECODE, armed");
    demuxbuf_receiver_decoded(pool, keeps, 0, 1);
    check_text(printed(pool, keeps), "1: open, holds a part, 100 of 16448 bytes, pending NONE, needs 1, armed");
    demuxbuf_receiver_block(pool, keeps, 4);
    check_text(printed(pool, keeps),
               "1: open, holds a part, 100 of 16448 bytes, pending STOP_RECV, needs 1, blocked by 0x4, armed");
    demuxbuf_receiver_pause_recv(pool, keeps);
    CHECK(strstr(printed(pool, keeps), "pending STOP_RECV") != NULL &&
          strstr(printed(pool, keeps), ", paused") != NULL);
    leave_free(pool, 0);
    CHECK((demuxbuf_receiver_readable(pool, waiter).actions & DEMUXBUF_RECV) != 0);
    demuxbuf_receiver_received(pool, waiter, 64);
    demuxbuf_receiver_decoded(pool, waiter, 0, 2000);
    demuxbuf_receiver_readable(pool, waiter);
    CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, 1100 * MS), DEMUXBUF_OK);
    CHECK(strstr(printed(pool, waiter), ", queued for 100 ms") != NULL);
    FILE *log = tmpfile();
    print_pool(log, pool);
    rewind(log);
    char line[400];
    CHECK(fgets(line, sizeof line, log) != NULL);
    check_text(line, "0 of 8 buffers free, 0 assigned; 0 wait; 3 receivers; longest wait 0 of 3132 ms; 0 shed\n");
    fclose(log);
    /* Its last receive, which brings nothing. */
    demuxbuf_notice notice = {.struct_size = sizeof notice};
    for (uint64_t now_ms = 1200; demuxbuf_pool_poll_notice(pool, &notice) == DEMUXBUF_STATUS_NONE; now_ms += 100)
        CHECK_NUMBER(demuxbuf_pool_handle_timeout(pool, now_ms * MS), DEMUXBUF_OK);
    CHECK_NUMBER(notice.receiver, waiter);
    demuxbuf_receiver_would_block(pool, waiter);
    CHECK(strstr(printed(pool, waiter), "SHED") != NULL);
    CHECK(strstr(printed(pool, waiter), ", shed at its deadline") != NULL);
    demuxbuf_pool_free(pool);
}

int main(void) {
    classes_keep_their_rules();
    two_sided_jobs_finish();
    responses_leave_room();
    cut_out_counts_as_consumed();
    frame_is_handed_on_in_place();
    connection_is_stolen();
    queued_machine_moves();
    memory_is_limited();
    connection_moves_to_a_new_pool();
    stalls_are_printed();
    return check_end();
}
