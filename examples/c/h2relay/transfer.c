#define _GNU_SOURCE
#include "transfer.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

/* The reason why decoding is blocked: the peer's socket is full. */
enum { PEER_IS_FULL = 1 };

/* Each of them is done by a receive, or by a look. */
enum { RECEIVES = DEMUXBUF_RECV | DEMUXBUF_PEEK };

static const demuxbuf_step NOTHING = {0};

static bool is_closed(const struct endpoint *endpoint) {
    return endpoint->registration.fd < 0;
}

static bool is_client(const struct endpoint *endpoint) {
    return endpoint == &endpoint->pair->client;
}

static struct relay_counts *counts_of(struct endpoint *endpoint) {
    return &endpoint->pair->relay->counts;
}

/* Bytes arrive straight where they are decoded, and stay there until they are sent. While memory is short, a frame
   stays in the socket until it is whole; it is looked at there. */
static demuxbuf_step receive(struct endpoint *endpoint, demuxbuf_step step) {
    struct inlet *inlet = &endpoint->inlet;
    counts_of(endpoint)->recv_calls++;
    step = inlet->buffers->kind->receive(inlet, step);
    if ((step.actions & (DEMUXBUF_ERROR | DEMUXBUF_PEEK)) != DEMUXBUF_PEEK) {
        return step;
    }
    uint32_t more = gate_needs(&endpoint->gate, step.data, step.bytes, inlet->buffers->buffer_bytes);
    return inlet_decoded(inlet, 0, (struct need){.more = more});
}

/* Nothing can be sent to the peer any more. A backend may still have sent something that its client wants to read. */
static demuxbuf_step peer_broke(struct endpoint *endpoint) {
    struct endpoint *peer = endpoint->peer;
    peer->is_broken = true;
    peer->output_over = true;
    if (is_client(peer)) {
        pair_close(endpoint->pair);
        return NOTHING;
    }
    if (peer->input_over) {
        pair_dismiss(endpoint->pair, endpoint, H2_INTERNAL_ERROR);
        return NOTHING;
    }
    return inlet_report(&endpoint->inlet, INLET_FAIL, 0);
}

static demuxbuf_step block(struct endpoint *endpoint) {
    endpoint->peer->wants_send = true;
    transfer_set_interest(endpoint->peer);
    /* Closed if epoll has no memory left for the registration. */
    return is_closed(endpoint) ? NOTHING : inlet_report(&endpoint->inlet, INLET_BLOCK, PEER_IS_FULL);
}

/* Sends what may be passed on from the front of what is buffered. */
static demuxbuf_step forward(struct endpoint *endpoint, demuxbuf_step step) {
    struct gate *gate = &endpoint->gate;
    bool cannot_fit = (step.actions & DEMUXBUF_CANNOT_FIT) != 0;
    if (cannot_fit && step.bytes == 0) {
        /* Its head was looked at, and is still in the socket: it comes once more, and what it begins passes in
           pieces. */
        gate->is_misfit = true;
        return inlet_decoded(&endpoint->inlet, 0, (struct need){.more = FRAME_HEAD_BYTES});
    }
    cannot_fit = cannot_fit || gate->is_misfit;
    struct gate_view view = gate_look(gate, step.data, step.bytes, cannot_fit);
    if (gate->cleared == 0) {
        if (view.error_code == 0) {
            return inlet_decoded(&endpoint->inlet, 0, (struct need){.more = view.need_more});
        }
        counts_of(endpoint)->protocol_errors++;
        pair_dismiss(endpoint->pair, endpoint, view.error_code);
        return NOTHING;
    }
    gate->is_misfit = false;
    uint32_t bytes = gate->cleared < step.bytes ? gate->cleared : step.bytes;
    counts_of(endpoint)->send_calls++;
    ssize_t sent = send(endpoint->peer->registration.fd, step.data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        if (errno == EINTR) {
            return step;
        }
        return errno == EAGAIN || errno == EWOULDBLOCK ? block(endpoint) : peer_broke(endpoint);
    }
    gate->cleared -= (uint32_t)sent;
    counts_of(endpoint)->relayed_bytes += (uint64_t)sent;
    bool is_all = (uint32_t)sent == bytes && view.error_code == 0;
    struct need need = {.more = is_all ? view.need_more : 0};
    if (cannot_fit || (is_all && gate->cleared > 0)) {
        /* The rest of a frame that passes in pieces is worth decoding as soon as there is any of it. While memory is
           short, it comes in turns, each of which takes as much as is asked for here. */
        need = (struct need){.more = 1, .usable = is_all ? gate->cleared : 0};
    }
    return inlet_decoded(&endpoint->inlet, (uint32_t)sent, need);
}

/* Everything this endpoint sent was passed on, but for a frame that will never be whole. */
static demuxbuf_step end(struct endpoint *endpoint, demuxbuf_step step) {
    struct pair *pair = endpoint->pair;
    struct endpoint *peer = endpoint->peer;
    if (step.bytes > 0 || endpoint->gate.cleared > 0) {
        counts_of(endpoint)->truncated_frames++;
    }
    endpoint->input_over = true;
    endpoint->is_broken = endpoint->is_broken || inlet_is_broken(&endpoint->inlet);
    if (pair->is_lingering || peer->input_over || (endpoint->is_broken && is_client(endpoint))) {
        pair_close(pair);
        return NOTHING;
    }
    if (endpoint->is_broken) {
        counts_of(endpoint)->backends_lost++;
        pair_dismiss(pair, peer, H2_INTERNAL_ERROR);
        return NOTHING;
    }
    shutdown(peer->registration.fd, SHUT_WR);
    peer->output_over = true;
    return inlet_report(&endpoint->inlet, INLET_DONE, DEMUXBUF_END);
}

/* The actions that need no look at the bytes. */
static demuxbuf_step take_notice(struct endpoint *endpoint, demuxbuf_step step, uint32_t notices) {
    if ((notices & DEMUXBUF_WANT_RECV) != 0) {
        demuxbuf_posix_socket_set_mark(&endpoint->inlet.socket, step);
        endpoint->wants_recv = true;
    }
    if ((notices & DEMUXBUF_STOP_RECV) != 0) {
        endpoint->wants_recv = false;
    }
    if ((notices & DEMUXBUF_RESCHEDULE) != 0) {
        list_append(&endpoint->pair->relay->run, &endpoint->run);
    }
    return inlet_report(&endpoint->inlet, INLET_DONE, notices);
}

void transfer_drive(struct endpoint *endpoint, demuxbuf_step step) {
    enum { NOTICES = DEMUXBUF_WANT_RECV | DEMUXBUF_STOP_RECV | DEMUXBUF_RESCHEDULE };
    while (!is_closed(endpoint)) {
        uint32_t actions = step.actions;
        if ((actions & DEMUXBUF_ERROR) != 0) {
            fprintf(stderr, "h2relay: %s\n", demuxbuf_strerror(demuxbuf_actions_status_inline(actions)));
            counts_of(endpoint)->misuses++;
            pair_close(endpoint->pair);
        } else if ((actions & DEMUXBUF_SHED) != 0) {
            pair_shed(endpoint->pair, endpoint);
        } else if ((actions & RECEIVES) != 0) {
            step = receive(endpoint, step);
        } else if ((actions & DEMUXBUF_DECODE) != 0 ||
                   ((actions & DEMUXBUF_CANNOT_FIT) != 0 && !endpoint->peer->wants_send)) {
            step = forward(endpoint, step);
        } else if ((actions & DEMUXBUF_END) != 0) {
            step = end(endpoint, step);
        } else if ((actions & NOTICES) != 0) {
            /* Last: a step that is about bytes as well does not have the mark. */
            step = take_notice(endpoint, step, actions & NOTICES);
        } else {
            transfer_set_interest(endpoint);
            break;
        }
    }
}

void transfer_report(struct endpoint *endpoint, enum inlet_event event, uint32_t value) {
    if (!is_closed(endpoint)) {
        transfer_drive(endpoint, inlet_report(&endpoint->inlet, event, value));
    }
}

void transfer_room(struct endpoint *endpoint) {
    if (endpoint->wants_send) {
        endpoint->wants_send = false;
        transfer_set_interest(endpoint);
        transfer_report(endpoint->peer, INLET_UNBLOCK, PEER_IS_FULL);
    }
}

/* An end is to be seen also while nothing can be received; but not before what was sent ahead of it. */
static demuxbuf_step look_for_end(struct endpoint *endpoint, uint32_t events, demuxbuf_step step) {
    uint8_t byte;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0 || endpoint->input_over) {
        return step;
    }
    /* The last bytes of a client that reset are of no use; a response may be. */
    if ((events & EPOLLERR) != 0 && is_client(endpoint)) {
        endpoint->is_broken = true;
        return inlet_report(&endpoint->inlet, INLET_TRANSPORT_ERROR, 0);
    }
    counts_of(endpoint)->recv_calls++;
    if (recv(endpoint->registration.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
        return inlet_report(&endpoint->inlet, INLET_END_OF_STREAM, 0);
    }
    return step;
}

void transfer_input(struct endpoint *endpoint, uint32_t events) {
    if (is_closed(endpoint)) {
        return;
    }
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        endpoint->end_near = true;
    }
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        endpoint->hung_up = true;
    }
    demuxbuf_step step = inlet_report(&endpoint->inlet, INLET_READABLE, 0);
    if ((step.actions & (DEMUXBUF_ERROR | RECEIVES)) == 0) {
        step = look_for_end(endpoint, events, step);
    }
    transfer_drive(endpoint, step);
}

void transfer_run(struct endpoint *endpoint) {
    transfer_report(endpoint, endpoint->hung_up ? INLET_READABLE : INLET_WAKE, 0);
}

/* A level-triggered registration of a socket that hung up reports without end and cannot be masked: the run list
   replaces it. */
static void remove_hung_up(struct endpoint *endpoint) {
    struct relay *relay = endpoint->pair->relay;
    loop_remove(&relay->loop, &endpoint->registration);
    if (endpoint->wants_recv && !endpoint->input_over) {
        list_append(&relay->run, &endpoint->run);
    }
}

void transfer_set_interest(struct endpoint *endpoint) {
    struct relay *relay = endpoint->pair->relay;
    uint32_t interest = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    if (is_closed(endpoint)) {
        return;
    }
    if (!relay->options->edge_triggered) {
        if (endpoint->hung_up) {
            remove_hung_up(endpoint);
            return;
        }
        interest = (endpoint->wants_recv ? EPOLLIN : 0u) | (endpoint->wants_send ? EPOLLOUT : 0u) |
                   (endpoint->end_near ? 0u : EPOLLRDHUP);
    }
    if (!loop_set(&relay->loop, &endpoint->registration, interest)) {
        pair_close(endpoint->pair);
    }
}
