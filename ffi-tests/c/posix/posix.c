/* The helpers of demuxbuf_posix.h on loopback TCP, while a pool has no memory for partial frames.
   Usage: posix PART, of which ffi-tests/tests/sockets.rs has each. */
#include "peer.h"
#include <pthread.h>

/* What takes longer never comes: the longest that Linux waits by itself, on a closed window, are seconds. */
enum { PATIENCE_S = 60, WAKES_BEFORE = 8, NOT_SUPPORTED = 77 };

enum { MODES = 4 };
static const uint8_t modes[MODES] = {DEMUXBUF_MODE_LEVEL, DEMUXBUF_MODE_EDGE, DEMUXBUF_MODE_ONE_SHOT,
                                     DEMUXBUF_MODE_COMPLETION};
static uint64_t all_wakes, all_segments, all_frames, all_claims, all_peers, all_counting;

static time_t seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* What changes with each step forward. */
static uint64_t progress(void) {
    uint64_t sum = stats().received_bytes;
    for (uint32_t at = 0; at < peer_count; at++)
        sum += peers[at].sent + (uint64_t)peers[at].is_finished + !peers[at].is_open;
    return sum;
}

static const peer *first_open(void) {
    const peer *self = peers;
    while (self < peers + peer_count && !self->is_open)
        self++;
    return self < peers + peer_count ? self : NULL;
}

static int waits(const peer *self) {
    demuxbuf_receiver_info info = {.struct_size = sizeof info};
    if (!self->is_open)
        return 0;
    CHECK_NUMBER(demuxbuf_receiver_describe(pool, self->receiver, &info), DEMUXBUF_OK);
    return info.waiting;
}

/* While a receiver claims, and a little longer, memory is not short: a frame of which the kernel will hold no more has
   to go somewhere. */
static void relieve(uint32_t *relieved) {
    int is_claimed = 0;
    for (uint32_t at = 0; at < peer_count; at++)
        is_claimed |= waits(&peers[at]);
    if (is_claimed) {
        end_shortage();
        *relieved = 16;
    } else if (*relieved > 0 && --*relieved == 0) {
        begin_shortage();
    }
}

/* The host serves until it closed all. With clients in a thread of their own, anything may arrive between its calls. */
static void serve_all(int has_thread) {
    uint64_t before = 0;
    uint32_t relieved = 0;
    time_t since = seconds();
    while (first_open() != NULL) {
        int has_acted = 0;
        for (uint32_t at = 0; at < peer_count && !has_thread; at++)
            has_acted |= advance_client(&peers[at]);
        iterate(has_acted ? 0 : 1);
        now_ns += 1000;
        relieve(&relieved);
        if (progress() != before) {
            before = progress();
            since = seconds();
        } else if (seconds() - since > PATIENCE_S) {
            check_peer(first_open(), 0, "none is stuck");
        }
    }
}

/* Each peer has all its frames in the end, and woke the host for what happened alone. */
static void play(int has_thread) {
    pthread_t clients;
    if (has_thread)
        CHECK_NUMBER(pthread_create(&clients, NULL, run_clients, NULL), 0);
    serve_all(has_thread);
    if (has_thread)
        CHECK_NUMBER(pthread_join(clients, NULL), 0);
    for (uint32_t at = 0; at < peer_count; at++) {
        const peer *self = &peers[at];
        check_peer(self, self->decoded == self->whole, "all frames");
        check_peer(self, self->wakes <= WAKES_BEFORE + 2ull * self->segments + 3 * self->frame_count, "no spin");
        all_wakes += self->wakes;
        all_segments += self->segments;
        all_frames += self->frame_count;
        all_counting += self->socket.is_counting;
    }
    all_peers += peer_count;
    all_claims += stats().claims;
}

/* From `min` to `max`; each order of magnitude alike. */
static uint32_t draw(uint64_t *state, uint32_t min, uint32_t max) {
    uint32_t bits = 0;
    while (max >> bits > min)
        bits++;
    const uint32_t top = max >> check_random(state) % (bits + 1);
    return top <= min ? min : min + check_random(state) % (top - min + 1);
}

static plan draw_plan(uint64_t *state) {
    plan drawn = {.mode = modes[check_random(state) % MODES], .frame_min = 30};
    static const int segment_maxima[] = {88, 1448, 0, 0};
    drawn.receive_buffer = check_random(state) % 4 == 0 ? 0 : 2048 << check_random(state) % 9;
    drawn.segment_max = segment_maxima[check_random(state) % 4];
    drawn.piece_bytes = draw(state, 1, 65000);
    drawn.urgent_every = check_random(state) % 4 == 0 ? draw(state, 1, 20) : 0;
    drawn.frame_max = draw(state, 30, buffer_bytes);
    drawn.ending = (enum ending)(check_random(state) % 4 % 3);
    /* The system closes the window of a small socket for a fifth of a second and more, again and again. */
    const uint32_t most = drawn.receive_buffer != 0 && drawn.receive_buffer < 8192 ? 30000 : 400000;
    const uint32_t pieces = drawn.piece_bytes < most / 2000 ? 2000 * drawn.piece_bytes : most;
    drawn.frames = draw(state, 1, 1 + pieces / drawn.frame_max);
    drawn.frames = drawn.frames > 100 ? 100 : drawn.frames;
    drawn.seed = (uint64_t)check_random(state) << 32 | check_random(state);
    return drawn;
}

static void random_runs(uint32_t runs, uint64_t seed) {
    static const uint32_t sizes[] = {1024, 4160, 16448, 16448};
    uint64_t state = seed * 2654435761u + 88172645463325252u;
    while (all_peers < runs) {
        begin_pool(sizes[check_random(&state) % 4]);
        const uint32_t count = 1 + check_random(&state) % PEERS_MAX;
        for (uint32_t at = 0; at < count; at++) {
            const plan drawn = draw_plan(&state);
            connect_peer(&drawn);
        }
        play(check_random(&state) % 2);
        end_pool();
    }
}

/* Frames back to back on a socket with the system's buffer, and on one that can hold little more than a frame. */
static void frames_back_to_back_become_whole(void) {
    static const uint32_t pieces[] = {16393, 17000, 20000, 32768, 65000};
    static const int receive_buffers[] = {0, 32768};
    for (int size = 0; size < 2; size++) {
        for (int mode = 0; mode < MODES; mode++) {
            for (int segment_max = 0; segment_max <= 1448; segment_max += 1448) {
                begin_pool(16448);
                for (int at = 0; at < 5; at++) {
                    const plan plan = {.mode = modes[mode],
                                       .receive_buffer = receive_buffers[size],
                                       .segment_max = segment_max,
                                       .piece_bytes = pieces[at],
                                       .frames = 60,
                                       .frame_min = 16393,
                                       .frame_max = 16393,
                                       .seed = 1};
                    CHECK(connect_peer(&plan)->socket.is_counting);
                }
                play(0);
                end_pool();
            }
        }
    }
}

static void rest(int iterations) {
    for (; iterations > 0; iterations--) {
        iterate(0);
        now_ns += 1000;
    }
}

/* Lets the host run until this holds: the system may need time to deliver what was sent. */
#define WAIT_UNTIL(self, condition)                                                                                    \
    for (const time_t since = seconds(); !(condition);) {                                                              \
        check_peer(self, seconds() - since <= PATIENCE_S, #condition);                                                 \
        iterate(1);                                                                                                    \
        now_ns += 1000;                                                                                                \
    }

/* A mark of a large frame, then a small one: with its first byte, memory is short or not any more. */
static void mark_follows_each_frame(void) {
    for (int mode = 0; mode < MODES; mode++) {
        for (int is_short = 0; is_short <= 1; is_short++) {
            begin_pool(16448);
            const plan plan = {.mode = modes[mode],
                               .piece_bytes = 8197,
                               .frames = 2,
                               .frame_min = 16393,
                               .frame_max = 16393,
                               .frame_last = 30};
            peer *self = connect_peer(&plan);
            advance_client(self);
            WAIT_UNTIL(self, demuxbuf_posix_get(self->socket.fd, SO_RCVLOWAT) == 16393);
            if (!is_short)
                end_shortage();
            advance_client(self);
            WAIT_UNTIL(self, self->frame_count == 1 && demuxbuf_posix_get(self->socket.fd, SO_RCVLOWAT) <= 30);
            advance_client(self);
            WAIT_UNTIL(self, self->frame_count == 2);
            play(0);
            end_pool();
        }
    }
}

/* A socket goes with its receiver to the pool of another thread, as docs/porting.md has it. */
static void move_to(demuxbuf_pool *to, peer *self) {
    demuxbuf_exported_receiver exported;
    const demuxbuf_step first_mark = {.actions = DEMUXBUF_WANT_RECV, .bytes = 1};
    self->interest = 0;
    update_interest(self);
    CHECK_NUMBER(demuxbuf_receiver_export(pool, self->receiver, &exported), DEMUXBUF_OK);
    demuxbuf_posix_socket_set_mark(&self->socket, first_mark);
    pool = to;
    CHECK_NUMBER(demuxbuf_receiver_import(pool, &exported, &self->receiver), DEMUXBUF_OK);
    run(self, demuxbuf_receiver_pending(pool, self->receiver));
}

/* A frame that is partly there: on whichever thread its receiver waits, the rest of it wakes that, nothing before. */
static void mark_moves_along(void) {
    for (int mode = 0; mode < MODES; mode++) {
        demuxbuf_shared_pool *shared_pool;
        demuxbuf_pool *threads[2];
        demuxbuf_pool_config config = {.struct_size = sizeof config};
        buffer_bytes = 16448;
        CHECK_NUMBER(demuxbuf_pool_config_init(&config, 16ull * buffer_bytes, PEERS_MAX), DEMUXBUF_OK);
        config.buffer_bytes = buffer_bytes;
        CHECK_NUMBER(demuxbuf_shared_pool_new(&config, 2, &shared_pool, NULL, 0), DEMUXBUF_OK);
        for (uint32_t thread = 0; thread < 2; thread++)
            CHECK_NUMBER(demuxbuf_shared_pool_shard(shared_pool, thread, &threads[thread]), DEMUXBUF_OK);
        pool = threads[0];
        poller = epoll_create1(EPOLL_CLOEXEC);
        now_ns = 0;
        begin_shortage();
        const plan plan = {
            .mode = modes[mode], .piece_bytes = 8197, .frames = 2, .frame_min = 16393, .frame_max = 16393};
        peer *self = connect_peer(&plan);
        advance_client(self);
        WAIT_UNTIL(self, demuxbuf_posix_get(self->socket.fd, SO_RCVLOWAT) == 16393);
        for (int times = 1; times <= 2; times++) {
            move_to(threads[times % 2], self);
            CHECK_NUMBER(demuxbuf_posix_get(self->socket.fd, SO_RCVLOWAT), 16393);
            const uint64_t wakes = self->wakes;
            rest(100);
            CHECK_NUMBER(self->wakes, wakes);
        }
        advance_client(self);
        WAIT_UNTIL(self, self->frame_count == 1);
        play(0);
        end_pool();
        demuxbuf_pool_free(threads[1]);
        demuxbuf_shared_pool_free(shared_pool);
    }
}

/* FIN and RST behind a partial frame: with its bytes, or while its receiver waits under a mark. */
static void ends_behind_a_partial_frame(void) {
    for (int mode = 0; mode < MODES; mode++) {
        for (int ending = FINISH_PARTIAL; ending <= RESET_PARTIAL; ending++) {
            for (int is_late = 0; is_late <= 1; is_late++) {
                begin_pool(16448);
                const plan plan = {.mode = modes[mode],
                                   .piece_bytes = 16448,
                                   .frame_min = 16393,
                                   .frame_max = 16393,
                                   .ending = (enum ending)ending,
                                   .seed = 3};
                peer *self = connect_peer(&plan);
                advance_client(self);
                CHECK(self->sent == self->bytes && self->bytes > 64);
                if (is_late)
                    WAIT_UNTIL(self, demuxbuf_posix_get(self->socket.fd, SO_RCVLOWAT) == 16393);
                hang_ups = 0;
                while (!advance_client(self))
                    ;
                play(0);
                CHECK_NUMBER(hang_ups, 1);
                CHECK_NUMBER(fulls, 0);
                end_pool();
            }
        }
    }
}

/* A socket that cannot hold a frame, though it could when it was accepted, and no memory for a claim. */
static void full_kernel_ends_at_the_deadline(void) {
    for (int mode = 0; mode < MODES; mode++) {
        begin_pool(16448);
        const plan plan = {
            .mode = modes[mode], .piece_bytes = 1000, .frames = 2, .frame_min = 16393, .frame_max = 16393};
        peer *self = connect_peer(&plan);
        set(self->socket.fd, SOL_SOCKET, SO_RCVBUF, 4096);
        may_shed = 1;
        fulls = sheds = 0;
        while (self->sent < self->bytes && advance_client(self))
            ;
        WAIT_UNTIL(self, fulls == 1);
        for (int iteration = 0; iteration < 1000; iteration++) {
            if (self->sent < self->bytes)
                advance_client(self);
            rest(1);
        }
        CHECK_NUMBER(fulls, 1);
        CHECK_NUMBER(sheds, 0);
        check_peer(self, self->wakes <= WAKES_BEFORE + 2ull * self->segments, "no spin");
        for (int time = 0; time < 100 && self->is_open; time++) {
            now_ns += 100000000;
            rest(1);
        }
        CHECK_NUMBER(sheds, 1);
        may_shed = 0;
        end_pool();
    }
}

static void finish_all_writes(void) {
    while (peers->sent < peers->bytes)
        advance_client(peers);
}

/* The rest of a frame arrives after it was counted, and before the poll that decides whether the kernel is full. */
static void frame_that_becomes_whole_is_not_full(void) {
    for (int mode = 0; mode < MODES; mode++) {
        begin_pool(16448);
        const plan plan = {
            .mode = modes[mode], .piece_bytes = 8000, .frames = 2, .frame_min = 10000, .frame_max = 10000};
        peer *self = connect_peer(&plan);
        advance_client(self);
        WAIT_UNTIL(self, demuxbuf_posix_get(self->socket.fd, SO_RCVLOWAT) == 10000);
        before_poll = finish_all_writes;
        run(self, demuxbuf_receiver_readable(pool, self->receiver));
        WAIT_UNTIL(self, self->frame_count > 0);
        before_poll = NULL;
        play(0);
        CHECK_NUMBER(fulls, 0);
        end_pool();
    }
}

/* One urgent byte inside of a partial frame, on each of 20 connections: while nothing comes, nothing wakes the host. */
static void urgent_bytes_wake_nothing(void) {
    for (int mode = 0; mode < MODES; mode++) {
        uint64_t wakes = 0;
        begin_pool(16448);
        for (int at = 0; at < PEERS_MAX; at++) {
            const plan plan = {.mode = modes[mode],
                               .piece_bytes = 500,
                               .urgent_every = 1,
                               .frames = 2,
                               .frame_min = 16393,
                               .frame_max = 16393,
                               .seed = 1};
            advance_client(connect_peer(&plan));
        }
        rest(1000);
        for (int at = 0; at < PEERS_MAX; at++)
            wakes += peers[at].wakes;
        CHECK(wakes <= 3 * PEERS_MAX);
        CHECK_NUMBER(fulls, 0);
        play(0);
        /* A look ends before an urgent byte, so that the frame is received as a claim. */
        CHECK(fulls <= 2 * PEERS_MAX);
        fulls = 0;
        end_pool();
    }
}

/* What counts, and what is refused. */
static void init_checks_each_socket(void) {
    demuxbuf_policy policy = {.struct_size = sizeof policy};
    demuxbuf_posix_socket made;
    int pair[2], inline_urgent = 0;
    socklen_t length = sizeof inline_urgent;
    const int tcp = socket(AF_INET, SOCK_STREAM, 0), tcp6 = socket(AF_INET6, SOCK_STREAM, 0);
    const int small = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_NUMBER(demuxbuf_posix_socket_init(NULL, tcp, 16448, &policy), DEMUXBUF_ERR_NULL);
    CHECK_NUMBER(demuxbuf_posix_socket_init(&made, tcp, 16448, NULL), DEMUXBUF_ERR_NULL);
    FILL(made);
    CHECK_NUMBER(demuxbuf_posix_socket_init(&made, -1, 16448, &policy), DEMUXBUF_ERR_RANGE);
    CHECK_NUMBER(demuxbuf_posix_socket_init(&made, tcp, 127, &policy), DEMUXBUF_ERR_RANGE);
    CHECK_NUMBER(demuxbuf_posix_socket_init(&made, tcp, 16777217, &policy), DEMUXBUF_ERR_RANGE);
    CHECK_UNTOUCHED(made);
    CHECK_NUMBER(policy.counting, 0);

    CHECK_NUMBER(demuxbuf_posix_socket_init(&made, tcp, 16448, &policy), DEMUXBUF_OK);
    CHECK(made.fd == tcp && made.mark == 1 && made.is_counting == 1 && made.is_edge == 0 && policy.counting == 1);
    CHECK_NUMBER(demuxbuf_posix_get(tcp, SO_RCVLOWAT), 1);
    CHECK_NUMBER(getsockopt(tcp, SOL_SOCKET, SO_OOBINLINE, &inline_urgent, &length), 0);
    CHECK_NUMBER(inline_urgent, 1);
    CHECK(demuxbuf_posix_get(tcp, SO_RCVBUF) >= 2 * 262144);
    if (tcp6 >= 0)
        CHECK_NUMBER(demuxbuf_posix_socket_init(&made, tcp6, 16448, &policy), DEMUXBUF_OK);

    CHECK_NUMBER(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CHECK_NUMBER(demuxbuf_posix_socket_init(&made, pair[0], 16448, &policy), DEMUXBUF_POSIX_NOT_COUNTING);
    CHECK(made.fd == pair[0] && made.is_counting == 0 && policy.counting == 0);
    CHECK_NUMBER(demuxbuf_posix_socket_init(&made, udp, 16448, &policy), DEMUXBUF_POSIX_NOT_COUNTING);
    set(small, SOL_SOCKET, SO_RCVBUF, 16384);
    CHECK_NUMBER(demuxbuf_posix_socket_init(&made, small, 16384, &policy), DEMUXBUF_OK);
    CHECK_NUMBER(demuxbuf_posix_socket_init(&made, small, 16448, &policy), DEMUXBUF_POSIX_NOT_COUNTING);
    CHECK_NUMBER(demuxbuf_posix_get(small, SO_RCVLOWAT), 1);

    policy.mode = DEMUXBUF_MODE_EDGE;
    CHECK_NUMBER(demuxbuf_posix_socket_init(&made, tcp, 16448, &policy), DEMUXBUF_OK);
    CHECK_NUMBER(made.is_edge, 1);
    policy.mode = DEMUXBUF_MODE_OPTIMISTIC;
    CHECK_NUMBER(demuxbuf_posix_socket_init(&made, tcp, 16448, &policy), DEMUXBUF_POSIX_NOT_COUNTING);
    policy.mode = DEMUXBUF_MODE_LEVEL;
    policy.reads_ahead = 1;
    CHECK_NUMBER(demuxbuf_posix_socket_init(&made, tcp, 16448, &policy), DEMUXBUF_POSIX_NOT_COUNTING);
    close(tcp);
    policy.reads_ahead = 0;
    CHECK_NUMBER(demuxbuf_posix_socket_init(&made, tcp, 16448, &policy), DEMUXBUF_POSIX_NOT_COUNTING);
    close(small), close(udp), close(pair[0]), close(pair[1]);
    if (tcp6 >= 0)
        close(tcp6);
}

/* Whether the kernel of this machine wakes a host by the mark. */
static int is_supported(void) {
    demuxbuf_policy policy = {.struct_size = sizeof policy};
    demuxbuf_posix_socket made;
    struct pollfd polled[2];
    int pair[2];
    connect_pair(pair, 0, 0);
    const uint8_t bytes[100] = {0};
    const demuxbuf_step step = {.actions = DEMUXBUF_WANT_RECV, .bytes = sizeof bytes};
    int counts = demuxbuf_posix_socket_init(&made, pair[1], 16448, &policy) == DEMUXBUF_OK;
    demuxbuf_posix_socket_set_mark(&made, step);
    for (int half = 0; half < 2; half++) {
        polled[half] = (struct pollfd){.fd = pair[1], .events = POLLIN};
        CHECK_NUMBER(send(pair[0], bytes, sizeof bytes / 2, 0), sizeof bytes / 2);
        counts &= poll(&polled[half], 1, half == 0 ? 100 : 10000) == half;
    }
    close(pair[0]), close(pair[1]);
    return counts;
}

int main(int argc, char **argv) {
    const char *part = argc > 1 ? argv[1] : "";
    if (strcmp(part, "probe") == 0) {
        return is_supported() ? 0 : NOT_SUPPORTED;
    } else if (strcmp(part, "init") == 0) {
        init_checks_each_socket();
    } else if (strcmp(part, "marks") == 0) {
        mark_follows_each_frame();
    } else if (strcmp(part, "moves") == 0) {
        mark_moves_along();
    } else if (strcmp(part, "ends") == 0) {
        ends_behind_a_partial_frame();
    } else if (strcmp(part, "race") == 0) {
        frame_that_becomes_whole_is_not_full();
    } else if (strcmp(part, "full") == 0) {
        full_kernel_ends_at_the_deadline();
    } else if (strcmp(part, "back-to-back") == 0) {
        frames_back_to_back_become_whole();
    } else if (strcmp(part, "urgent") == 0) {
        urgent_bytes_wake_nothing();
    } else if (strcmp(part, "random") == 0 && argc == 4) {
        random_runs((uint32_t)atoi(argv[2]), (uint64_t)atoi(argv[3]));
    } else {
        return fprintf(stderr,
                       "usage: %s probe | init | marks | moves | ends | race | full | back-to-back | urgent | random "
                       "RUNS SEED\n",
                       argv[0]),
               2;
    }
    printf("%" PRIu64 " connections, %" PRIu64 " that count; %" PRIu64 " frames, %" PRIu64 " segments, %" PRIu64
           " wake-ups, %" PRIu64 " receives, %" PRIu64 " looks, %" PRIu64 " interrupted; %" PRIu64
           " times full, %" PRIu64 " hang-ups, %" PRIu64 " claims\n",
           all_peers, all_counting, all_frames, all_segments, all_wakes, receives, looks, interrupts, fulls, hang_ups,
           all_claims);
    return check_end();
}
