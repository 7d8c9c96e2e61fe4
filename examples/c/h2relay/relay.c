#define _GNU_SOURCE
#include "relay.h"
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Clients that come, leave or are shed by the thousand are let in and out a few at a time, so that those that stay need
   not wait for all of them: each takes 20 to 50 us, and the backend has as much to do with it. All threads share these
   bounds. */
enum { ACCEPTS_PER_ITERATION = 4, ENDS_PER_ITERATION = 8, SHEDS_PER_ITERATION = 8, NOTICES_PER_ITERATION = 64 };

enum { EVENTS_OF_SHORT_ITERATION = 8 };

/* And for no longer than this: where the backend takes the processor for each that leaves, those that stay would wait
   for a few that leave as long as for all. */
static const uint64_t TURN_NS = 250000;

/* What one thread has of a bound for all. */
static int share(const struct relay *relay, int most) {
    int threads = (int)relay->options->threads;
    return most > threads ? most / threads : 1;
}

/* Whether one more is let in or out in this iteration, after this many. */
static bool has_turn(const struct relay *relay, int count, int most) {
    return count == 0 || (count < share(relay, most) && loop_now_ns() - relay->clock_ns < TURN_NS);
}

/* How long a dismissed side may take to read its farewell. */
static const uint64_t LINGER_NS = 1000000000u;

static void endpoint_close(struct endpoint *endpoint) {
    if (endpoint->registration.fd >= 0) {
        inlet_report(&endpoint->inlet, INLET_CLOSE, 0);
        loop_close_fd(&endpoint->registration);
        list_remove(&endpoint->run);
        list_remove(&endpoint->end);
    }
}

/* One client more on whichever thread, if there is a place for it. */
static bool enter(struct common *common) {
    uint64_t connections = atomic_load(&common->connections);
    do {
        if (connections >= common->options->connections_max) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&common->connections, &connections, connections + 1));
    uint64_t peak = atomic_load(&common->connections_peak);
    while (peak < connections + 1 && !atomic_compare_exchange_weak(&common->connections_peak, &peak, connections + 1)) {
    }
    return true;
}

static void leave(struct common *common) {
    atomic_fetch_sub(&common->connections, 1);
}

void pair_close(struct pair *pair) {
    struct relay *relay = pair->relay;
    if (!pair->is_closed) {
        pair->is_closed = true;
        endpoint_close(&pair->client);
        endpoint_close(&pair->backend);
        list_remove(&pair->linger);
        list_append(&relay->closed, &pair->link);
        tenants_leave(&relay->common->tenants, &relay->buffers, pair->tenant);
        leave(relay->common);
    }
}

static void say_farewell(struct endpoint *endpoint, uint32_t error_code) {
    struct endpoint *peer = endpoint->peer;
    /* Inside a frame a farewell would be read as its payload. */
    if (endpoint->output_over || peer->gate.cleared > 0) {
        return;
    }
    uint8_t bytes[FAREWELL_BYTES_MAX];
    size_t length = farewell_write(bytes, &peer->gate, &endpoint->gate, error_code);
    if (send(endpoint->registration.fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)length) {
        endpoint->pair->relay->counts.goaway_sent++;
    }
}

static const char *reason_of(uint8_t shed_reason) {
    switch (shed_reason) {
    case DEMUXBUF_SHED_REASON_DEADLINE: return "was not whole at its deadline, and there was no room to keep it";
    case DEMUXBUF_SHED_REASON_EVICTED: return "was kept beyond its deadline, and others needed the room";
    default: return "could not be passed on, and there was no room to keep it";
    }
}

static void log_shed(struct relay *relay, struct endpoint *endpoint) {
    enum { LINES_PER_SECOND = 10 };
    struct shed_log *log = &relay->shed_log;
    uint64_t now_ns = loop_now_ns();
    if (now_ns - log->since_ns >= 1000000000u) {
        log->since_ns = now_ns;
        log->lines = 0;
    }
    uint32_t threads = relay->options->threads;
    if (log->lines >= (LINES_PER_SECOND > threads ? LINES_PER_SECOND / threads : 1)) {
        log->suppressed++;
        return;
    }
    log->lines++;
    demuxbuf_receiver_info info = {.struct_size = sizeof(demuxbuf_receiver_info)};
    relay->buffers.kind->describe(&endpoint->inlet, &info);
    struct address client = {.bytes = sizeof client.storage};
    char host[NI_MAXHOST] = "?";
    char port[NI_MAXSERV] = "?";
    if (getpeername(endpoint->pair->client.registration.fd, (struct sockaddr *)&client.storage, &client.bytes) == 0) {
        getnameinfo((const struct sockaddr *)&client.storage, client.bytes, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    }
    fprintf(stderr, "h2relay: shed client %s port %s: what its %s sent %s; %llu not logged since the last line\n", host,
            port, endpoint == &endpoint->pair->client ? "side" : "backend", reason_of(info.shed_reason),
            (unsigned long long)log->suppressed);
    log->suppressed = 0;
}

void pair_shed(struct pair *pair, struct endpoint *endpoint) {
    pair->relay->counts.shed++;
    log_shed(pair->relay, endpoint);
    say_farewell(&pair->client, H2_ENHANCE_YOUR_CALM);
    /* At once, not lingering: it would go on asking for what it is shed for. */
    pair_close(pair);
}

void pair_dismiss(struct pair *pair, struct endpoint *endpoint, uint32_t error_code) {
    say_farewell(endpoint, error_code);
    if (endpoint->input_over) {
        pair_close(pair);
        return;
    }
    endpoint_close(endpoint->peer);
    shutdown(endpoint->registration.fd, SHUT_WR);
    endpoint->output_over = true;
    endpoint->wants_send = false;
    pair->is_lingering = true;
    pair->linger_until_ns = loop_now_ns() + LINGER_NS;
    list_append(&pair->relay->lingering, &pair->linger);
    transfer_report(endpoint, INLET_FAIL, 0);
    transfer_report(endpoint, INLET_RESUME, 0);
}

/* The attempt to connect to the backend is over. */
static void backend_answered(struct pair *pair, bool is_connected) {
    pair->is_connecting = false;
    if (!is_connected) {
        pair->relay->counts.backends_lost++;
        pair_dismiss(pair, &pair->client, H2_INTERNAL_ERROR);
        return;
    }
    pair->backend.wants_send = false;
    transfer_set_interest(&pair->backend);
    transfer_report(&pair->client, INLET_RESUME, 0);
}

static void take_events(struct endpoint *endpoint, uint32_t events) {
    struct pair *pair = endpoint->pair;
    if (endpoint == &pair->backend && pair->is_connecting) {
        if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
            backend_answered(pair, (events & (EPOLLERR | EPOLLHUP)) == 0);
        }
    } else if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
        transfer_room(endpoint);
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        transfer_input(endpoint, events);
    }
}

/* An end waits for its turn. Level-triggered, it would be reported again until then; what is done with it registers the
   socket again. */
static void on_socket(struct registration *registration, uint32_t events) {
    struct endpoint *endpoint = (struct endpoint *)(void *)registration;
    struct relay *relay = endpoint->pair->relay;
    if ((events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) == 0) {
        take_events(endpoint, events);
        return;
    }
    if (!relay->options->edge_triggered) {
        loop_remove(&relay->loop, registration);
    }
    endpoint->end_events |= events;
    if (list_is_empty(&endpoint->end)) {
        list_append(&relay->ends, &endpoint->end);
    }
}

static void take_ends(struct relay *relay) {
    /* While more is ready than was reported, that comes first: the kernel has it in one queue, ends and requests. */
    int most = relay->loop.events_count < EVENTS_PER_ITERATION ? ENDS_PER_ITERATION : 1;
    for (int count = 0; !list_is_empty(&relay->ends) && has_turn(relay, count, most); count++) {
        struct endpoint *endpoint = LIST_OWNER(relay->ends.next, struct endpoint, end);
        uint32_t events = endpoint->end_events;
        list_remove(&endpoint->end);
        endpoint->end_events = 0;
        take_events(endpoint, events);
    }
}

static bool endpoint_attach(struct endpoint *endpoint, struct endpoint *peer, struct pair *pair, int fd) {
    struct relay *relay = pair->relay;
    bool is_backend = endpoint == &pair->backend;
    endpoint->pair = pair;
    endpoint->peer = peer;
    endpoint->inlet.buffers = &relay->buffers;
    list_init(&endpoint->run);
    list_init(&endpoint->end);
    gate_open(&endpoint->gate, &peer->gate, is_backend ? &relay->counts.backend_frames : &relay->counts.client_frames,
              is_backend);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    endpoint->registration = (struct registration){.fd = -1, .on_events = on_socket};
    if (!relay->buffers.kind->attach(&endpoint->inlet, fd, tenant_number(pair->tenant), endpoint)) {
        return false;
    }
    endpoint->registration.fd = fd;
    return true;
}

/* A socket that is connecting to the backend, is connected, or was refused, which epoll will report; -1 if there is
   none. */
static int backend_connect(const struct address *backend) {
    int fd = socket(backend->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&backend->storage, backend->bytes) != 0 &&
        errno != EINPROGRESS && errno != ECONNREFUSED) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Both directions start at once, but nothing is taken from the client before there is somewhere to send it. */
static void pair_start(struct pair *pair) {
    struct relay *relay = pair->relay;
    relay->counts.connections_total++;
    list_append(&relay->pairs, &pair->link);
    pair->is_connecting = true;
    pair->backend.wants_send = true;
    transfer_report(&pair->client, INLET_PAUSE, 0);
    transfer_report(&pair->backend, INLET_PENDING, 0);
}

/* Takes over the client's descriptor. */
static void pair_open(struct listener *listener, int client_fd, const struct address *address) {
    struct relay *relay = listener->relay;
    struct pair *pair = NULL;
    int backend_fd = -1;
    bool has_place = enter(relay->common);
    if (has_place) {
        backend_fd = backend_connect(&relay->options->backend);
        pair = backend_fd >= 0 ? calloc(1, sizeof *pair) : NULL;
    }
    if (pair == NULL) {
        relay->counts.refused++;
        close(client_fd);
        if (backend_fd >= 0) {
            close(backend_fd);
        }
        if (has_place) {
            leave(relay->common);
        }
        return;
    }
    pair->relay = relay;
    uint32_t index = (uint32_t)(listener - relay->listeners);
    pair->tenant = tenants_enter(&relay->common->tenants, &relay->buffers, address, index);
    list_init(&pair->link);
    list_init(&pair->linger);
    bool is_attached = endpoint_attach(&pair->client, &pair->backend, pair, client_fd);
    if (is_attached && endpoint_attach(&pair->backend, &pair->client, pair, backend_fd)) {
        pair_start(pair);
        return;
    }
    relay->counts.refused++;
    if (is_attached) {
        endpoint_close(&pair->client);
    } else {
        close(client_fd);
    }
    close(backend_fd);
    tenants_leave(&relay->common->tenants, &relay->buffers, pair->tenant);
    leave(relay->common);
    free(pair);
}

void relay_free_descriptor(struct relay *relay) {
    if (relay->spare_fd >= 0) {
        close(relay->spare_fd);
        relay->spare_fd = -1;
    }
}

void relay_keep_descriptor(struct relay *relay) {
    relay->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Descriptors ran out. A client left in the queue would wake the loop without end, so it is accepted and closed. If
   another thread was quicker to use the spare descriptor, the client stays in the queue, and is looked for again a
   little later. */
static bool refuse_without_descriptor(struct listener *listener) {
    enum { PAUSE_NS = 100000000 };
    struct relay *relay = listener->relay;
    relay_free_descriptor(relay);
    int fd = accept4(listener->registration.fd, NULL, NULL, SOCK_CLOEXEC);
    bool is_taken = fd >= 0;
    if (is_taken) {
        relay->counts.refused++;
        close(fd);
    } else if (errno == EMFILE || errno == ENFILE) {
        loop_set(&relay->loop, &listener->registration, 0);
        relay->listen_again_ns = loop_now_ns() + PAUSE_NS;
    }
    relay_keep_descriptor(relay);
    return is_taken;
}

static void listen_again(struct relay *relay, uint64_t now_ns) {
    if (now_ns < relay->listen_again_ns) {
        return;
    }
    relay->listen_again_ns = UINT64_MAX;
    if (relay->spare_fd < 0) {
        relay_keep_descriptor(relay);
    }
    for (uint32_t index = 0; index < relay->options->listeners; index++) {
        loop_set(&relay->loop, &relay->listeners[index].registration, EPOLLIN);
    }
}

static void on_listener(struct registration *registration, uint32_t events) {
    struct listener *listener = (struct listener *)(void *)registration;
    (void)events;
    for (int count = 0; has_turn(listener->relay, count, ACCEPTS_PER_ITERATION); count++) {
        struct address client = {.bytes = sizeof client.storage};
        int fd =
            accept4(registration->fd, (struct sockaddr *)&client.storage, &client.bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            pair_open(listener, fd, &client);
        } else if (errno == EMFILE || errno == ENFILE) {
            if (!refuse_without_descriptor(listener)) {
                return;
            }
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        }
        /* Every other error is that of a client that left already. */
    }
}

/* A socket that listens at this address, with the port that the kernel chose; -1 if there is none. */
static int listen_at(struct address *address, bool is_shared) {
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    int shared = is_shared;
    struct address bound = {.bytes = sizeof bound.storage};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &shared, sizeof shared) != 0 ||
        bind(fd, (const struct sockaddr *)&address->storage, address->bytes) != 0 || listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, (struct sockaddr *)&bound.storage, &bound.bytes) != 0) {
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    *address = bound;
    return fd;
}

bool relay_listen(struct relay *relay) {
    for (uint32_t index = 0; index < relay->options->listeners; index++) {
        struct listener *listener = &relay->listeners[index];
        struct address *address = &relay->common->listen[index];
        if (relay->thread == 0) {
            *address = relay->options->listen[index];
        }
        /* Alone, it would be a mistake to share a port: with another relay that was left running. */
        int fd = listen_at(address, relay->options->threads > 1);
        *listener = (struct listener){.registration = {.fd = fd, .on_events = on_listener}, .relay = relay};
        if (fd < 0 || !loop_set(&relay->loop, &listener->registration, EPOLLIN)) {
            fprintf(stderr, "h2relay: cannot listen: %s\n", strerror(errno));
            return false;
        }
    }
    return true;
}

void relay_announce(const struct common *common) {
    for (uint32_t index = 0; index < common->options->listeners; index++) {
        const struct address *address = &common->listen[index];
        char host[NI_MAXHOST] = "?";
        char port[NI_MAXSERV] = "?";
        getnameinfo((const struct sockaddr *)&address->storage, address->bytes, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
        bool is_v6 = address->storage.ss_family == AF_INET6;
        printf("h2relay: listening on %s%s%s:%s\n", is_v6 ? "[" : "", host, is_v6 ? "]" : "", port);
    }
    fflush(stdout);
}

void relay_wake(const struct common *common, uint32_t thread) {
    uint64_t one = 1;
    /* It cannot fail but by an overflow: then it is awake already, for a long time. */
    (void)!write(common->wake_fds[thread], &one, sizeof one);
}

/* There is nothing to do but to be awake. */
static void on_wake(struct registration *registration, uint32_t events) {
    uint64_t count;
    (void)events;
    (void)!read(registration->fd, &count, sizeof count);
}

static bool open_buffers(struct relay *relay) {
    char message[256] = "no memory";
    if (relay->options->static_buffers) {
        buffers_open_static(&relay->buffers, relay->options);
        return true;
    }
    bool is_open = buffers_open_pool(&relay->buffers, relay->options, relay->common->shared_pool, relay->thread,
                                     message, sizeof message);
    if (!is_open) {
        fprintf(stderr, "h2relay: %s\n", message);
    }
    return is_open;
}

bool relay_open(struct relay *relay, struct common *common, uint32_t thread) {
    *relay = (struct relay){.common = common,
                            .options = common->options,
                            .thread = thread,
                            .wake = {.fd = common->wake_fds[thread], .on_events = on_wake},
                            .loop = {.epoll_fd = -1},
                            .listen_again_ns = UINT64_MAX,
                            .spare_fd = -1};
    for (uint32_t index = 0; index < LISTENERS_MAX; index++) {
        relay->listeners[index].registration.fd = -1;
    }
    list_init(&relay->pairs);
    list_init(&relay->run);
    list_init(&relay->ends);
    list_init(&relay->lingering);
    list_init(&relay->closed);
    if (!open_buffers(relay)) {
        return false;
    }
    relay_keep_descriptor(relay);
    if (relay->spare_fd < 0 || !loop_open(&relay->loop) || !loop_set(&relay->loop, &relay->wake, EPOLLIN)) {
        fprintf(stderr, "h2relay: %s\n", strerror(errno));
        relay_close(relay);
        return false;
    }
    return true;
}

static void free_closed(struct relay *relay) {
    while (!list_is_empty(&relay->closed)) {
        struct pair *pair = LIST_OWNER(relay->closed.next, struct pair, link);
        list_remove(&pair->link);
        free(pair);
    }
}

/* Signals the sleeping threads that have notices to poll. */
static void wake_others(struct relay *relay) {
    uint32_t thread;
    while (relay->buffers.kind->poll_wake(&relay->buffers, &thread)) {
        relay->counts.wakes++;
        relay_wake(relay->common, thread);
    }
}

void relay_close_all(struct relay *relay) {
    while (!list_is_empty(&relay->pairs)) {
        pair_close(LIST_OWNER(relay->pairs.next, struct pair, link));
    }
    free_closed(relay);
    wake_others(relay);
}

void relay_close(struct relay *relay) {
    relay->buffers.kind->close(&relay->buffers);
    for (uint32_t index = 0; index < LISTENERS_MAX; index++) {
        if (relay->listeners[index].registration.fd >= 0) {
            loop_close_fd(&relay->listeners[index].registration);
        }
    }
    relay_free_descriptor(relay);
    if (relay->loop.epoll_fd >= 0) {
        loop_close(&relay->loop);
    }
}

/* When there is something to do at the latest. */
static uint64_t deadline_ns(struct relay *relay) {
    if (!list_is_empty(&relay->run) || !list_is_empty(&relay->ends) || relay->grants_left) {
        return 0;
    }
    uint64_t deadline = relay->buffers.kind->poll_timeout(&relay->buffers);
    if (!list_is_empty(&relay->lingering)) {
        uint64_t linger = LIST_OWNER(relay->lingering.next, struct pair, linger)->linger_until_ns;
        deadline = linger < deadline ? linger : deadline;
    }
    return relay->listen_again_ns < deadline ? relay->listen_again_ns : deadline;
}

static void run_scheduled(struct relay *relay) {
    struct list now;
    list_init(&now);
    list_take(&relay->run, &now);
    while (!list_is_empty(&now)) {
        struct endpoint *endpoint = LIST_OWNER(now.next, struct endpoint, run);
        list_remove(&endpoint->run);
        transfer_run(endpoint);
    }
}

/* Receivers that waited, and receivers to shed. A bounded number, so that sockets do not wait for them. */
static void drain_notices(struct relay *relay) {
    void *token;
    demuxbuf_step step;
    uint64_t shed_before = relay->counts.shed;
    for (int count = 0; count < NOTICES_PER_ITERATION; count++) {
        if (!has_turn(relay, (int)(relay->counts.shed - shed_before), SHEDS_PER_ITERATION)) {
            break;
        }
        if (!relay->buffers.kind->poll_notice(&relay->buffers, &token, &step)) {
            relay->grants_left = false;
            return;
        }
        transfer_drive(token, step);
    }
    relay->grants_left = true;
}

void relay_pick_up(struct relay *relay) {
    do {
        drain_notices(relay);
    } while (relay->grants_left);
}

static void end_lingering(struct relay *relay, uint64_t now_ns) {
    while (!list_is_empty(&relay->lingering)) {
        struct pair *pair = LIST_OWNER(relay->lingering.next, struct pair, linger);
        if (pair->linger_until_ns > now_ns) {
            return;
        }
        pair_close(pair);
    }
}

/* The pool's time stands still in what a gap has beyond an eighth of a frame's allowance. While the pool has no
   deadline, a gap is of no interest. */
static void advance_clock(struct relay *relay, uint64_t now_ns) {
    uint64_t gap_ns = now_ns - relay->clock_ns;
    bool is_due = relay->buffers.kind->poll_timeout(&relay->buffers) != UINT64_MAX;
    if (is_due && relay->clock_ns > 0 && gap_ns > relay->counts.clock_gap_max_ns) {
        relay->counts.clock_gap_max_ns = gap_ns;
    }
    relay->clock_ns = now_ns;
    relay->buffers.kind->handle_timeout(&relay->buffers, now_ns);
}

void relay_iterate(struct relay *relay) {
    loop_wait(&relay->loop, deadline_ns(relay));
    relay->counts.iterations++;
    uint64_t now_ns = loop_now_ns();
    /* Before anything is received: the pool ends here what the last iteration left, in the time of that iteration. */
    advance_clock(relay, now_ns);
    listen_again(relay, now_ns);
    /* What found no buffer in the last iteration comes before what is new. */
    run_scheduled(relay);
    loop_dispatch(&relay->loop);
    bool is_short = relay->loop.events_count <= EVENTS_OF_SHORT_ITERATION && list_is_empty(&relay->ends);
    take_ends(relay);
    drain_notices(relay);
    end_lingering(relay, now_ns);
    free_closed(relay);
    wake_others(relay);
    /* The clock is not read once more in each short iteration. */
    if (!is_short || relay->grants_left) {
        loop_note_length(&relay->loop, now_ns);
    }
}
